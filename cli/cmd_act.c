/* cmd_act.c - `sonde act`: activations of a text, by name, to a file or as numbers.   floor 10: cli
 *
 *   texts -> ids and positions (act_select.c)
 *         -> passes over batches, with a reading hook at every point that is wanted; with --grad there and back
 *         -> the file and running sums (act_write.c), while the pass goes on
 *         -> tables or JSON (act_print.c)
 *
 * Nothing is kept from pass to pass: memory is the weights and one pass, however long the texts are.
 */
#include "act.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DTYPE_F32, DTYPE_BF16, DTYPE_F16 };

/* what the command line says */
static const char *output;
static act_choice choice;
static bool wants_logits;
static const char *gradient;
static int64_t top, act_dtype, gradient_position = -1;

static const cli_option options[] = {
    {"output", 'o', CLI_TEXT, &output, "FILE", 0, 0, "write the tensors to a .safetensors, .npz, .npy, .pt or .json"},
    {"token", 0, CLI_TEXT, &choice.token, "TEXT", 0, 0,
     "only at the tokens with this text, every one (\" cat\", \"cat\", \"Ġcat\")"},
    {"pos", 0, CLI_TEXT, &choice.pos, "POSITIONS", 0, 0,
     "only at these positions: 3,-1 (0 is the first token, BOS too; -1 the last)"},
    {"word", 0, CLI_TEXT, &choice.word, "N", 0, 0, "only at the tokens of the Nth word (0 is the first, -1 the last)"},
    {"logits", 0, CLI_FLAG, &wants_logits, NULL, 0, 0, "the logits too, as tensor 'logits'"},
    {"top", 0, CLI_INT, &top, "K", 1, 1000, "print the K likeliest next tokens (behind the last token, or the chosen ones)"},
    {"grad", 0, CLI_TEXT, &gradient, "OF", 0, 0,
     "the gradients of the hooks too, as '<hook>_grad': of the 'loss', of 'logit:TOKEN', or of 'logit:A,B' (A minus B)"},
    {"grad-position", 0, CLI_INT, &gradient_position, "N", -1e9, 1e9, "position of the logits of --grad (-1, the last)"},
    {"act-dtype", 0, CLI_CHOICE, &act_dtype, "f32|bf16|f16", 0, 0, "type in which activations are stored"},
    {0},
};

/* ---- setting up -------------------------------------------------------------------------------------------------- */

/* Shape of a point's tensor in the file: B is all documents, the (query) position axis the chosen ones. */
static void store_shape(act_slot *slot)
{
    const act *a = slot->act;
    const sonde_hook_point *point = slot->point;
    bool is_first_t = true;

    slot->shape = (sonde_tensor){.dtype = a->dtype, .rank = point->rank};
    for (int i = 0; i < point->rank; i++) {
        slot->shape.shape[i] = point->width[i];
        if (point->axes[i] == 'B')
            slot->shape.shape[i] = a->n_documents;
        /* attention is square: only its first T, the query, can be chosen */
        if (point->axes[i] == 'T') {
            slot->shape.shape[i] = is_first_t && a->has_chosen ? a->P : a->T;
            is_first_t = false;
        }
    }
}

/* One slot for each point that the patterns name, with --grad a second one behind it. Previews are for people, and for few
 * points only. */
static sonde_status make_slots(act *a)
{
    int64_t *wanted = NULL, n_points, each = a->goal.is_on ? 2 : 1;
    const sonde_hook_point *points = sonde_model_hook_points(a->m.model, &n_points);
    sonde_status status;

    CLI_TRY_DONE(cli_match_hooks(&wanted, &a->n_slots, a->m.model));
    a->n_slots *= each;
    CLI_TRY_DONE(CLI_NEW(a->slots, a->n_slots));
    for (int64_t i = 0; i < a->n_slots; i++) {
        act_slot *slot = &a->slots[i];
        const sonde_hook_point *point = &points[wanted[i / each]];
        size_t n = strlen(point->name);
        bool is_gradient = i % each == 1, is_scores = n >= 11 && strcmp(point->name + n - 11, "attn_scores") == 0;

        /* where scores are masked they are -inf, and their gradient 0 */
        *slot = (act_slot){
            .act = a, .point = point, .is_gradient = is_gradient, .fill = is_scores && !is_gradient ? -INFINITY : 0};
        snprintf(slot->name, sizeof slot->name, "%s%s", point->name, is_gradient ? "_grad" : "");
        slot->sums = (act_sums){.smallest = INFINITY, .largest = -INFINITY};
        store_shape(slot);
        if (output == NULL && !cli.json && strcmp(slot->point->axes, "BHTT") != 0 && a->n_slots <= 4) {
            CLI_TRY_DONE(CLI_NEW(slot->preview, ACT_SHOWN * ACT_PREVIEW));
            CLI_TRY_DONE(CLI_NEW(slot->norm, ACT_SHOWN));
        }
    }
done:
    free(wanted);
    return status;
}

/* Gives back all that was gathered. */
static void free_act(act *a)
{
    for (int64_t i = 0; a->slots != NULL && i < a->n_slots; i++) {
        free(a->slots[i].preview);
        free(a->slots[i].norm);
    }
    for (int64_t i = 0; i < a->n_next; i++) {
        free(a->next[i].ids);
        free(a->next[i].logit);
    }
    free(a->slots);
    free(a->next);
    free(a->ids);
    free(a->positions);
    free(a->documents);
    free(a->converted);
    cli_model_close(&a->m);
}

/* The run with a reading hook at every slot's point, and the logits that are wanted. */
static sonde_status make_run(sonde_run **run, act *a)
{
    CLI_TRY(sonde_run_new(run, a->m.model));
    for (int64_t i = 0; i < a->n_slots; i++) {
        act_slot *slot = &a->slots[i];
        CLI_TRY(slot->is_gradient ? sonde_run_hook_gradient(*run, slot->point->name, act_on_hook, slot, NULL)
                                  : sonde_run_hook(*run, slot->point->name, SONDE_HOOK_READ, act_on_hook, slot, NULL));
    }
    if (a->wants_logits || (a->top > 0 && a->has_chosen))
        sonde_run_stream_logits(*run, act_on_logits, a); /* in blocks: all logits of a pass would be its largest tensor */
    else if (a->top > 0)
        sonde_run_want_logits(*run, SONDE_LOGITS_LAST);
    return SONDE_OK;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

/* Documents from `first` on that make one batch, and its longest. */
static int64_t batch_size(const act *a, int64_t first, int64_t *T)
{
    int64_t B = 0;

    for (*T = 0; first + B < a->n_documents; B++) {
        int64_t n = a->documents[first + B].n, longest = n > *T ? n : *T;
        if (B > 0 && (B + 1) * longest > CLI_BATCH_TOKENS)
            break;
        *T = longest;
    }
    return B;
}

/* The likeliest tokens behind the last token of each document of a pass. */
static sonde_status take_last_logits(act *a, const sonde_run *run, int64_t B)
{
    sonde_tensor logits;

    CLI_TRY(sonde_run_get(&logits, run, "logits"));
    for (int64_t b = 0; b < B; b++) {
        int64_t d = a->first_document + b, V = a->m.config->n_vocab;
        if (a->documents[d].n > 0)
            CLI_TRY(act_add_next(a, d, a->documents[d].n - 1, (const float *)logits.data + b * V, V));
    }
    return SONDE_OK;
}

/* Logits are computed of the chosen positions alone. */
static sonde_status choose_rows(act *a, sonde_run *run, int64_t first, int64_t B, int64_t T)
{
    int64_t n;

    a->batch_T = T;
    if (!a->has_chosen)
        return SONDE_OK;
    CLI_TRY(CLI_NEW(a->chosen_rows, B * T));
    for (int64_t b = 0; b < B; b++) {
        const int64_t *chosen = act_chosen(a, first + b, &n);
        for (int64_t k = 0; k < n; k++)
            a->chosen_rows[b * T + chosen[k]] = true;
    }
    sonde_run_choose_logits(run, a->chosen_rows);
    return SONDE_OK;
}

/* One pass over B documents. */
static sonde_status run_batch(act *a, sonde_run *run, int64_t first, int64_t B, int64_t T)
{
    int32_t *tokens = NULL;
    int64_t *lengths = NULL;
    sonde_status status;

    CLI_TRY_DONE(CLI_NEW(tokens, B * T));
    CLI_TRY_DONE(CLI_NEW(lengths, B));
    for (int64_t b = 0; b < B; b++) {
        const act_document *document = &a->documents[first + b];
        lengths[b] = document->n;
        memcpy(tokens + b * T, a->ids + document->first_id, (size_t)document->n * sizeof *tokens);
    }
    /* where the hooks and the rows of logits find themselves among the documents */
    a->first_document = a->row_document = first;
    a->row_position = 0;
    CLI_TRY_DONE(choose_rows(a, run, first, B, T));
    CLI_TRY_DONE(a->goal.is_on ? act_run_back(a, run, tokens, lengths, first, B, T)
                               : sonde_run_forward(run, tokens, lengths, B, T));
    if (a->top > 0 && !a->wants_logits && !a->has_chosen)
        status = take_last_logits(a, run, B);
done:
    sonde_run_choose_logits(run, NULL);
    free(a->chosen_rows);
    a->chosen_rows = NULL;
    free(tokens);
    free(lengths);
    return status;
}

/* All batches, in the order of the documents. An interrupted pass ends here with its status. */
static sonde_status run_all(act *a, sonde_run *run)
{
    cli_progress progress;
    int64_t B, T, done_tokens = 0;
    sonde_status status = SONDE_OK;

    cli_progress_begin(&progress, "tokens");
    for (int64_t first = 0; first < a->n_documents && status == SONDE_OK; first += B) {
        B = batch_size(a, first, &T);
        if (T > 0)
            status = run_batch(a, run, first, B, T);
        for (int64_t b = 0; b < B; b++)
            done_tokens += a->documents[first + b].n;
        cli_progress_step(&progress, (double)done_tokens, (double)done_tokens / (double)a->n_ids);
    }
    cli_progress_end(&progress);
    return status;
}

/* Bytes that the file will have, its header left out. */
static double output_bytes(const act *a)
{
    double elements = 0, rows = (double)(a->has_chosen ? a->P : a->T);

    for (int64_t i = 0; i < a->n_slots; i++)
        elements += (double)sonde_tensor_n_elements(&a->slots[i].shape);
    if (a->wants_logits)
        elements += (double)a->n_documents * rows * (double)a->m.config->n_vocab;
    return elements * (double)sonde_dtype_bytes(a->dtype) + 8.0 * (double)a->n_documents * (double)a->T;
}

/* --dry-run: the largest pass, the whole work, the file. */
static sonde_status print_plan(const act *a, sonde_run *run)
{
    sonde_plan plan, largest = {0};
    double flops = 0;
    int64_t B, T, n_passes = 0;
    json_t *out;

    for (int64_t first = 0; first < a->n_documents; first += B) {
        B = batch_size(a, first, &T);
        if (T == 0)
            continue;
        CLI_TRY(sonde_run_plan(&plan, run, B, T));
        if (plan.kept_bytes + plan.scratch_bytes >= largest.kept_bytes + largest.scratch_bytes)
            largest = plan;
        flops += plan.flops;
        n_passes++;
    }
    if (!cli.json) {
        printf("%s, %s, %lld %s of at most %s, %.4g GFLOP\n", cli_counted(a->n_documents, "text"),
               cli_counted(a->n_ids, "token"), (long long)n_passes, n_passes == 1 ? "pass" : "passes",
               cli_counted(largest.n_layers, "layer"), flops * 1e-9);
        printf("memory: weights %s, kept %s, scratch %s; file: %s\n", cli_bytes((double)largest.weight_bytes),
               cli_bytes((double)largest.kept_bytes), cli_bytes((double)largest.scratch_bytes),
               cli_bytes(output != NULL ? output_bytes(a) : 0));
        return SONDE_OK;
    }
    out = cli_json("sonde.plan/1");
    json_object_set_new(out, "weight_bytes", json_integer(largest.weight_bytes));
    json_object_set_new(out, "kept_bytes", json_integer(largest.kept_bytes));
    json_object_set_new(out, "scratch_bytes", json_integer(largest.scratch_bytes));
    json_object_set_new(out, "file_bytes", cli_json_real(output != NULL ? output_bytes(a) : 0));
    json_object_set_new(out, "flops", cli_json_real(flops));
    json_object_set_new(out, "passes", json_integer(n_passes));
    return cli_json_write(out);
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

/* What can be refused before the model is opened: nothing asked for, an ending that no format has. */
static sonde_status check_options(void)
{
    static const char *const endings[] = {".safetensors", ".npz", ".npy", ".pt", ".json"};
    size_t n = output != NULL ? strlen(output) : 0;

    if (cli.hooks.n == 0 && !wants_logits && top == 0)
        return cli_misuse("nothing is asked for: give '--hook PATTERN', '--logits' or '--top K'");
    if (gradient != NULL && cli.hooks.n == 0)
        return cli_misuse("'--grad' needs '--hook PATTERN': gradients of what");
    if (gradient == NULL && gradient_position != -1)
        return cli_misuse("'--grad-position' needs '--grad logit:TOKEN'");
    for (size_t i = 0; output != NULL && i < sizeof endings / sizeof *endings; i++) {
        size_t m = strlen(endings[i]);
        if (n > m && strcmp(output + n - m, endings[i]) == 0)
            return SONDE_OK;
    }
    return output == NULL ? SONDE_OK : cli_misuse("'%s' ends in none of .safetensors, .npz, .npy, .pt, .json", output);
}

/* From documents to results; nothing is written if no token matched. */
static sonde_status extract(act *a)
{
    sonde_run *run = NULL;
    sonde_status status;

    CLI_TRY_DONE(make_slots(a));
    CLI_TRY_DONE(make_run(&run, a));
    if (cli.dry_run) {
        status = print_plan(a, run);
        goto done;
    }
    /* the file comes first: a path that cannot be written should not cost a run */
    if (output != NULL)
        CLI_TRY_DONE(act_open_sink(a, output));
    CLI_TRY_DONE(run_all(a, run));
    if (a->sink != NULL) {
        /* the file appears under its name only now */
        sonde_sink *sink = a->sink;
        a->sink = NULL; /* committing frees it */
        CLI_TRY_DONE(sonde_sink_commit(sink));
    }
    if (output == NULL || top > 0)
        cli_model_has_tokenizer(&a->m); /* for the labels of tokens */
    status = act_print(a, output);
done:
    if (a->sink != NULL)
        sonde_sink_abort(a->sink);
    sonde_run_free(run);
    return status;
}

/* Refuse early, read, choose, run; one exit frees all. */
static sonde_status run(const cli_call *call)
{
    static const sonde_dtype dtypes[] = {[DTYPE_F32] = SONDE_F32, [DTYPE_BF16] = SONDE_BF16, [DTYPE_F16] = SONDE_F16};
    act a = {.wants_logits = wants_logits,
             .top = top,
             .dtype = dtypes[act_dtype],
             .wants_sums = output == NULL || cli.json,
             .logits_sums = {.smallest = INFINITY, .largest = -INFINITY}};
    sonde_status status;

    CLI_TRY(check_options());
    CLI_TRY_DONE(cli_model_open(&a.m, call->arguments[0]));
    CLI_TRY_DONE(act_read_documents(&a, call, &choice));
    CLI_TRY_DONE(act_read_goal(&a, gradient, gradient_position));
    if (!(a.has_chosen && a.P == 0)) /* no match has been said */
        status = extract(&a);
done:
    free_act(&a);
    return status;
}

const cli_command cli_cmd_act = {
    .name = "act",
    .summary = "activations at hook points, for whole texts or chosen tokens: to a file, or as numbers",
    .arguments = "MODEL [TEXT]",
    .min_arguments = 1,
    .max_arguments = 2,
    .examples =
        {"sonde act models/stories \"The cat sat on the mat\" --hook resid_post3 --token \" cat\" -o cat.safetensors",
         "sonde act models/stories \"Once upon a\" --hook 'blocks.{0,5}.mlp.hook_post' --pos -1 --top 10",
         "sonde act models/stories -f stories.jsonl --limit 4 --hook '*' --logits -o stories.npz",
         "sonde act models/stories \"The cat sat on the\" --hook 'blocks.*.mlp.hook_post' --grad 'logit: mat, dog' -o "
         "grad.npz"},
    .options = {options, cli_hook_options, cli_text_options, cli_model_options, cli_dry_run_options},
    .notes = "One tensor for each hook point, named by it, batch axis kept, plus 'tokens' (int64). Several texts are padded "
             "on the\n"
             "right, with 'lengths'; chosen positions are in 'positions' (int64, -1 where a text has fewer). An .npy holds "
             "the one\n"
             "tensor alone. --token \" cat\" matches the token with exactly that text; without the space in front it "
             "matches both\n"
             "\"cat\" and \" cat\". A word is what stands between white space; all tokens that own a byte of it are taken.\n"
             "Without a match the exit status is 1 and nothing is written.\n"
             "--grad goes back from the mean loss of all tokens, or from logits behind one position of each text (summed "
             "over\n"
             "texts), to the hooks: tensor '<hook>_grad' beside each. A token is a text that is one token, or #ID.",
    .run = run,
};
