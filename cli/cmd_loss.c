/* cmd_loss.c - `sonde loss`: cross-entropy, perplexity, bits per byte, surprisal of each token.   floor 10: cli
 *
 * Texts become contexts: packed one behind another and cut at the model's context, or (--each) one for each text. In a
 * context every token but the first is predicted from those before it. All sums are in double.
 */
#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* what the command line says */
static bool is_each, per_token;

static const cli_option options[] = {
    {"each", 0, CLI_FLAG, &is_each, NULL, 0, 0,
     "each text is a context of its own, cut at the model's (else texts are packed)"},
    {"per-token", 0, CLI_FLAG, &per_token, NULL, 0, 0, "print the surprisal of each predicted token, in nats"},
    {0},
};

/* One token of the contexts that wait for a pass. */
typedef struct loss_token {
    int32_t id;
    int64_t bytes; /* of its text that no token before it owns */
    int64_t document, position;
} loss_token;

/* What a run of the command holds: contexts that fill, one pass at a time, and the sums of all passes. */
typedef struct loss_work {
    cli_model m;
    sonde_run *run;
    cli_source *source;
    cli_progress progress;
    /* contexts that wait for a pass */
    loss_token *tokens;
    int64_t n_tokens, tokens_capacity;
    int64_t *lengths, B, lengths_capacity;
    double *log_sum_exp;
    int64_t rows_capacity;
    json_t *surprisals; /* with --json --per-token */
    /* results */
    double nats;
    int64_t n_predicted, n_bytes, n_contexts, n_documents, n_cut, n_with_bos;
} loss_work;

/* ---- one pass ---------------------------------------------------------------------------------------------------- */

/* A predicted token and what it cost. */
static sonde_status show_token(loss_work *w, const loss_token *token, double nats)
{
    char *label;

    CLI_TRY(cli_token_label(&label, &w->m, token->id));
    /* JSON keeps the rows for the end; text is printed as it comes, for files of any size. */
    if (cli.json)
        json_array_append_new(w->surprisals, json_pack("{s:I, s:I, s:i, s:s, s:o}", "document", (json_int_t)token->document,
                                                       "position", (json_int_t)token->position, "id", (int)token->id,
                                                       "token", label, "nats", cli_json_real(nats)));
    else
        printf("%8lld %8lld %8d %10.5f  |%s|\n", (long long)token->document, (long long)token->position, (int)token->id,
               nats, label);
    free(label);
    return SONDE_OK;
}

/* Adds -log p(target) of one row. */
static sonde_status add_row(loss_work *w, const float *logits, double log_sum_exp, const loss_token *target, int64_t V)
{
    double nats;

    /* Ids of --ids are the user's: one beyond the logits' row must not be read. */
    if (target->id < 0 || target->id >= V)
        return cli_fail(SONDE_E_RANGE, "token %d is outside the vocabulary of %lld", (int)target->id, (long long)V);
    /* -log softmax(logits)[target] */
    nats = log_sum_exp - (double)logits[target->id];
    if (!isfinite(nats))
        return cli_fail(SONDE_E_NONFINITE, "the surprisal of token %lld of text %lld is not finite",
                        (long long)target->position, (long long)target->document);
    w->nats += nats;
    w->n_predicted++;
    w->n_bytes += target->bytes;
    return per_token ? show_token(w, target, nats) : SONDE_OK;
}

/* Rows of logits, those of all contexts one after another: row r predicts token r + 1, unless that begins a context. */
static sonde_status on_logits(const float *logits, int64_t first_row, int64_t n_rows, int64_t n_vocab, void *ctx)
{
    loss_work *w = ctx;
    int64_t b = 0, end = w->B > 0 ? w->lengths[0] : 0;

    /* Grows to the largest block so far, and is used again. */
    while (w->rows_capacity < n_rows)
        CLI_TRY(CLI_GROW(w->log_sum_exp, w->rows_capacity, w->rows_capacity));
    sonde_log_sum_exp(w->log_sum_exp, logits, n_rows, n_vocab);
    /* walks rows and contexts together; the last row of a context predicts nothing that is there */
    for (int64_t r = 0; r < n_rows; r++) {
        int64_t row = first_row + r;
        while (row >= end && b + 1 < w->B)
            end += w->lengths[++b];
        if (row + 1 < end)
            CLI_TRY(add_row(w, logits + r * n_vocab, w->log_sum_exp[r], &w->tokens[row + 1], n_vocab));
    }
    return SONDE_OK;
}

/* Runs the waiting contexts and forgets them. */
static sonde_status run_pass(loss_work *w)
{
    int64_t T = 0, at = 0;
    int32_t *ids;
    sonde_status status;

    /* Padded to the longest: [B, T]. The tokens that wait lie one context behind another. */
    for (int64_t b = 0; b < w->B; b++)
        T = w->lengths[b] > T ? w->lengths[b] : T;
    CLI_TRY(CLI_NEW(ids, w->B * T));
    for (int64_t b = 0; b < w->B; b++) {
        for (int64_t t = 0; t < w->lengths[b]; t++)
            ids[b * T + t] = w->tokens[at++].id;
    }
    status = T > 0 ? sonde_run_forward(w->run, ids, w->lengths, w->B, T) : SONDE_OK;
    free(ids);
    /* results are in the sums: the contexts may go */
    w->n_contexts += w->B;
    w->n_tokens = w->B = 0;
    if (status == SONDE_OK && ferror(stdout))
        status = cli_check_stdout();
    cli_progress_step(&w->progress, (double)w->n_predicted, cli_source_progress(w->source));
    return status;
}

/* ---- contexts ---------------------------------------------------------------------------------------------------- */

/* Closes the context that is being filled, of `length` tokens, and runs what waits once it is enough. */
static sonde_status end_context(loss_work *w, int64_t length)
{
    CLI_TRY(CLI_GROW(w->lengths, w->B, w->lengths_capacity));
    w->lengths[w->B++] = length;
    return w->n_tokens >= CLI_BATCH_TOKENS ? run_pass(w) : SONDE_OK;
}

/* Appends one text to the contexts; *open is the length of the one that is being filled. */
static sonde_status add_document(loss_work *w, const cli_sequence *sequence, int64_t *open)
{
    int64_t reached = 0, context = w->m.config->n_context;

    for (int64_t t = 0; t < sequence->n; t++) {
        /* Bytes that an earlier token reached are not counted again, where several tokens share a character. */
        int64_t end = sequence->end != NULL ? sequence->end[t] : 0, bytes = end > reached ? end - reached : 0;

        /* the context is full: it may run, and this token begins the next one */
        if (*open == context) {
            CLI_TRY(end_context(w, *open));
            *open = 0;
        }
        CLI_TRY(CLI_GROW(w->tokens, w->n_tokens, w->tokens_capacity));
        w->tokens[w->n_tokens++] =
            (loss_token){.id = sequence->ids[t], .bytes = bytes, .document = sequence->index, .position = t};
        reached += bytes;
        (*open)++;
    }
    /* the next text begins a context of its own */
    if (is_each) {
        CLI_TRY(end_context(w, *open));
        *open = 0;
    }
    return SONDE_OK;
}

/* Reads the texts and runs their contexts as they fill; the last one may be short. */
static sonde_status run_all(loss_work *w)
{
    cli_sequence sequence;
    int64_t open = 0;
    bool has_more = true;

    while (has_more) {
        CLI_TRY(cli_source_next(w->source, &sequence, &has_more));
        if (!has_more)
            break;
        w->n_documents++;
        w->n_cut += sequence.is_truncated;
        w->n_with_bos += sequence.has_bos;
        CLI_TRY(add_document(w, &sequence, &open));
        CLI_TRY(cli_check_interrupt());
    }
    /* The last context is closed as it is, and what waits is run. */
    if (open > 0)
        CLI_TRY(end_context(w, open));
    return run_pass(w);
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

/* Whether BOS stood in front of the texts. */
static const char *bos_text(const loss_work *w)
{
    return w->n_with_bos == w->n_documents ? "true" : w->n_with_bos == 0 ? "false" : "mixed";
}

/* The results under the names that scripts rely on. */
static sonde_status print_json(loss_work *w, double ce, double bits)
{
    json_t *out = cli_json("sonde.loss/1");

    json_object_set_new(out, "model", json_string(w->m.path));
    json_object_set_new(out, "contexts_are", json_string(is_each ? "each" : "packed"));
    json_object_set_new(out, "ce_nats", cli_json_real(ce));
    json_object_set_new(out, "tokens", json_integer(w->n_predicted));
    json_object_set_new(out, "ppl", cli_json_real(exp(ce)));
    json_object_set_new(out, "bits_per_byte", cli_json_real(bits));
    json_object_set_new(out, "bytes", json_integer(w->n_bytes));
    json_object_set_new(out, "contexts", json_integer(w->n_contexts));
    json_object_set_new(out, "documents", json_integer(w->n_documents));
    json_object_set_new(out, "truncated_documents", json_integer(w->n_cut));
    json_object_set_new(out, "prepends_bos", json_string(bos_text(w)));
    if (per_token)
        json_object_set(out, "per_token", w->surprisals);
    return cli_json_write(out);
}

/* Means of the sums, with all counts that a reader needs to compare them with another tool. */
static sonde_status print_results(loss_work *w)
{
    double ce = w->nats / (double)w->n_predicted, bits = w->nats / log(2.0) / (double)w->n_bytes;

    /* 0 / 0: an error, not a NaN in the output. */
    if (w->n_predicted == 0)
        return cli_fail(SONDE_E_RANGE, "nothing to predict: no context has 2 tokens (%s)",
                        cli_counted(w->n_documents, "text"));
    /* Packed, a text's first token follows the text before it: only --each loses it. */
    if (w->n_with_bos < w->n_documents && is_each)
        cli_note("no BOS in front of %lld texts: their first tokens are not predicted ('--bos always' puts one there)",
                 (long long)(w->n_documents - w->n_with_bos));
    if (cli.json)
        return print_json(w, ce, bits);
    if (per_token)
        putchar('\n');
    /* Six digits: enough to hold it against another tool. */
    printf("cross-entropy  %.6f nats per token\n", ce);
    printf("perplexity     %.6g\n", exp(ce));
    if (w->n_bytes > 0)
        printf("bits per byte  %.6f\n", bits);
    printf("%s predicted", cli_counted(w->n_predicted, "token"));
    if (w->n_bytes > 0)
        printf(", %s", cli_counted(w->n_bytes, "byte"));
    printf(", %s in %s (%s), BOS in front: %s\n", cli_counted(w->n_documents, "text"), cli_counted(w->n_contexts, "context"),
           is_each ? "each its own" : "packed", bos_text(w));
    /* What was cut is not in the numbers above. */
    if (w->n_cut > 0)
        printf("cut at the context of %s: %s\n", cli_counted(w->m.config->n_context, "token"),
               cli_counted(w->n_cut, "text"));
    return SONDE_OK;
}

/* Gives back all that was made. */
static void free_work(loss_work *w)
{
    cli_progress_end(&w->progress);
    json_decref(w->surprisals);
    cli_source_close(w->source);
    sonde_run_free(w->run);
    free(w->tokens);
    free(w->lengths);
    free(w->log_sum_exp);
    cli_model_close(&w->m);
}

/* Logits are never kept: the run hands over blocks of rows. */
static sonde_status run(const cli_call *call)
{
    loss_work w = {0};
    sonde_status status;

    cli_progress_begin(&w.progress, "tokens");
    CLI_TRY_DONE(cli_model_open(&w.m, call->arguments[0]));
    CLI_TRY_DONE(cli_source_open(&w.source, &w.m, call->arguments + 1, call->n_arguments - 1,
                                 is_each ? CLI_LONG_IS_CUT : CLI_LONG_IS_FINE));
    CLI_TRY_DONE(sonde_run_new(&w.run, w.m.model));
    sonde_run_stream_logits(w.run, on_logits, &w);
    w.surprisals = json_array();
    if (per_token)
        cli_model_has_tokenizer(&w.m);
    if (per_token && !cli.json)
        printf("%8s %8s %8s %10s  token\n", "text", "position", "id", "nats");
    CLI_TRY_DONE(run_all(&w));
    status = print_results(&w);
done:
    free_work(&w);
    return status;
}

const cli_command cli_cmd_loss = {
    .name = "loss",
    .summary = "how well a model predicts texts: cross-entropy, perplexity, bits per byte, surprisal",
    .arguments = "MODEL [TEXT]",
    .min_arguments = 1,
    .max_arguments = 2,
    .examples = {"sonde loss models/stories -f stories.jsonl --each --limit 20",
                 "sonde loss models/stories \"Once upon a time\" --per-token --json"},
    .options = {options, cli_text_options, cli_model_options},
    .notes = "Packed: texts with their special tokens follow each other and are cut at the model's context; the last "
             "context may be\n"
             "shorter. Every token but the first of each context is predicted, special tokens between texts too.\n"
             "Bits per byte: all nats / ln 2 / bytes of text that the predicted tokens own. --json: ce_nats, tokens, ppl,\n"
             "bits_per_byte.",
    .run = run,
};
