/* act_write.c - `sonde act`: from hooks and rows of logits to the file and the running sums.   floor 10: cli
 *
 * The file holds [documents, positions, ...]; a pass holds [its documents, its longest, ...]. Each document's rows are
 * copied as they come; what is never written stays 0.
 */
#include "act.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the file ---------------------------------------------------------------------------------------------------- */

/* Writes n floats of tensor i from element `first` on, in the type that is stored. */
static sonde_status put_floats(act *a, int64_t i, int64_t first, const float *x, int64_t n)
{
    /* as they are, without a copy */
    if (a->dtype == SONDE_F32)
        return sonde_sink_put(a->sink, i, first, x, n);
    if (a->converted_capacity < n) {
        free(a->converted);
        a->converted_capacity = 0;
        a->converted = cli_alloc(n, 2);
        if (a->converted == NULL)
            return SONDE_E_NOMEM;
        a->converted_capacity = n;
    }
    sonde_convert_from_f32(a->converted, a->dtype, x, n);
    return sonde_sink_put(a->sink, i, first, a->converted, n);
}

/* A (documents, width) tensor of integers, padded with `pad`. */
static sonde_status put_integers(act *a, int64_t index, int64_t width, bool is_positions, int64_t pad)
{
    int64_t *row;
    sonde_status status = SONDE_OK;

    CLI_TRY(CLI_NEW(row, width));
    for (int64_t d = 0; d < a->n_documents && status == SONDE_OK; d++) {
        const act_document *document = &a->documents[d];
        for (int64_t k = 0; k < width; k++) {
            if (is_positions)
                row[k] = k < document->n_positions ? a->positions[document->first_position + k] : pad;
            else
                row[k] = k < document->n ? a->ids[document->first_id + k] : pad;
        }
        status = sonde_sink_put(a->sink, index, d * width, row, width);
    }
    free(row);
    return status;
}

/* The number of tokens of each document. */
static sonde_status put_lengths(act *a, int64_t index)
{
    for (int64_t d = 0; d < a->n_documents; d++)
        CLI_TRY(sonde_sink_put(a->sink, index, d, &a->documents[d].n, 1));
    return SONDE_OK;
}

/* Over all documents: --ids may begin with BOS in one and not in another. */
const char *act_bos(const act *a)
{
    int64_t n_with = 0;

    for (int64_t d = 0; d < a->n_documents; d++)
        n_with += a->documents[d].has_bos;
    return n_with == a->n_documents ? "true" : n_with == 0 ? "false" : "mixed";
}

/* Where the tensors lie behind the hooks. -1: not in this file. */
typedef struct extra_tensors {
    int64_t tokens, lengths, positions;
} extra_tensors;

/* Names and shapes of all tensors: hooks, logits, tokens, lengths, positions. An .npy has room for one. */
static int64_t declare_tensors(act *a, const char **names, sonde_tensor *declared, extra_tensors *extra, bool is_npy)
{
    int64_t n = 0, B = a->n_documents, rows = a->has_chosen ? a->P : a->T;

    *extra = (extra_tensors){-1, -1, -1};
    for (; n < a->n_slots; n++) {
        names[n] = a->slots[n].name;
        declared[n] = a->slots[n].shape;
        a->slots[n].index = n;
    }
    if (a->wants_logits) {
        a->logits_index = n;
        names[n] = "logits";
        declared[n++] = (sonde_tensor){.dtype = a->dtype, .rank = 3, .shape = {B, rows, a->m.config->n_vocab}};
    }
    /* what goes with the activations; an .npy has no room for it */
    if (is_npy)
        return n;
    extra->tokens = n;
    names[n] = "tokens";
    declared[n++] = (sonde_tensor){.dtype = SONDE_I64, .rank = 2, .shape = {B, a->T}};
    if (B > 1) {
        extra->lengths = n;
        names[n] = "lengths";
        declared[n++] = (sonde_tensor){.dtype = SONDE_I64, .rank = 1, .shape = {B}};
    }
    if (a->has_chosen) {
        extra->positions = n;
        names[n] = "positions";
        declared[n++] = (sonde_tensor){.dtype = SONDE_I64, .rank = 2, .shape = {B, a->P}};
    }
    return n;
}

/* The hook names, joined by commas; a gradient is of one of them. */
static sonde_status join_hooks(char **out, const act *a)
{
    size_t n = 1, used = 0;

    for (int64_t i = 0; i < a->n_slots; i++)
        n += strlen(a->slots[i].point->name) + 1;
    CLI_TRY(CLI_NEW(*out, (int64_t)n));
    for (int64_t i = 0; i < a->n_slots; i++)
        if (!a->slots[i].is_gradient)
            used += (size_t)snprintf(*out + used, n - used, "%s%s", i > 0 ? "," : "", a->slots[i].point->name);
    return SONDE_OK;
}

/* Whether a path has an ending. */
static bool ends_with(const char *text, const char *ending)
{
    size_t n = strlen(text), m = strlen(ending);
    return n >= m && strcmp(text + n - m, ending) == 0;
}

/* Declares all tensors, writes the integers at once, and leaves activations to the hooks. */
sonde_status act_open_sink(act *a, const char *path)
{
    const char **names = NULL;
    sonde_tensor *declared = NULL;
    extra_tensors extra;
    char *hooks = NULL, hash[32], *model = NULL, *goal = NULL;
    int64_t n;
    sonde_status status;

    if (ends_with(path, ".npy") && a->n_slots + a->wants_logits > 1) {
        cli_misuse("'%s' holds one tensor, %lld are asked for", path, (long long)a->n_slots + a->wants_logits);
        return cli_hint(SONDE_E_ARG, ".npz and .safetensors hold several");
    }
    /* names, shapes and metadata must be known before the first value */
    CLI_TRY_DONE(CLI_NEW(names, a->n_slots + 4));
    CLI_TRY_DONE(CLI_NEW(declared, a->n_slots + 4));
    CLI_TRY_DONE(join_hooks(&hooks, a));
    CLI_TRY_DONE(cli_escape(&model, a->m.path, strlen(a->m.path)));
    if (a->goal.is_on)
        CLI_TRY_DONE(act_describe_goal(&goal, a));
    snprintf(hash, sizeof hash, "fnv1a64:%016llx", (unsigned long long)a->hash);
    n = declare_tensors(a, names, declared, &extra, ends_with(path, ".npy"));
    {
        const char *metadata[] = {"sonde_version", sonde_version(),     "model",       model,         "hooks",
                                  hooks,           "prepends_bos",      act_bos(a),    "tokens_hash", hash,
                                  "kernel",        sonde_kernel_name(), "gradient_of", goal};
        int64_t n_pairs = sizeof metadata / sizeof *metadata / 2 - (goal == NULL);
        CLI_TRY_DONE(sonde_sink_open(&a->sink, path, names, declared, n, metadata, n_pairs));
    }
    if (extra.tokens >= 0)
        CLI_TRY_DONE(put_integers(a, extra.tokens, a->T, false, 0));
    if (extra.lengths >= 0)
        CLI_TRY_DONE(put_lengths(a, extra.lengths));
    if (extra.positions >= 0)
        CLI_TRY_DONE(put_integers(a, extra.positions, a->P, true, -1));
done:
    free(names);
    free(declared);
    free(hooks);
    free(model);
    free(goal);
    return status;
}

/* ---- sums -------------------------------------------------------------------------------------------------------- */

/* Adds n values; the sums of one call are gathered in registers first. */
static void add_to_sums(act_sums *sums, const float *x, int64_t n)
{
    double sum = 0, squares = 0, count = 0, smallest = sums->smallest, largest = sums->largest;

    for (int64_t i = 0; i < n; i++) {
        double v = x[i];
        if (v == -INFINITY)
            continue;
        sum += v;
        squares += v * v;
        smallest = v < smallest ? v : smallest;
        largest = v > largest ? v : largest;
        count += 1;
    }
    *sums = (act_sums){sums->n + count, sums->sum + sum, sums->squares + squares, smallest, largest};
}

/* First values and norm of one of the first stored positions; `row` counts them over all documents. */
static void keep_preview(act_slot *slot, int64_t row, const float *x, int64_t n)
{
    double squares = 0;

    if (slot->preview == NULL || row >= ACT_SHOWN)
        return;
    for (int64_t i = 0; i < n; i++)
        squares += (double)x[i] * x[i];
    slot->norm[row] = sqrt(squares);
    for (int64_t i = 0; i < ACT_PREVIEW && i < n; i++)
        slot->preview[row * ACT_PREVIEW + i] = x[i];
}

/* Stored rows of the documents before d. */
static int64_t rows_before(const act *a, int64_t d)
{
    return a->has_chosen ? a->documents[d].first_position : a->documents[d].first_id;
}

/* ---- hooks ------------------------------------------------------------------------------------------------------- */

/* n elements for the file (element `first` on) and the sums. */
static sonde_status take_row(act_slot *slot, int64_t first, const float *x, int64_t n)
{
    act *a = slot->act;

    if (a->wants_sums)
        add_to_sums(&slot->sums, x, n);
    return a->sink != NULL ? put_floats(a, slot->index, first, x, n) : SONDE_OK;
}

/* Document d of a tensor [B, T, ...], whose rows begin at x. */
static sonde_status take_positions(act_slot *slot, int64_t d, const float *x, int64_t inner)
{
    act *a = slot->act;
    int64_t n, rows = slot->shape.shape[1];
    const int64_t *chosen = act_chosen(a, d, &n);

    /* the first positions are kept for the tables, whether or not they are written */
    for (int64_t k = 0; k < n && rows_before(a, d) + k < ACT_SHOWN; k++)
        keep_preview(slot, rows_before(a, d) + k, x + (chosen != NULL ? chosen[k] : k) * inner, inner);
    if (chosen == NULL)
        return take_row(slot, d * rows * inner, x, n * inner);
    for (int64_t k = 0; k < n; k++)
        CLI_TRY(take_row(slot, (d * rows + k) * inner, x + chosen[k] * inner, inner));
    return SONDE_OK;
}

/* Document d of attention scores or a pattern [B, H, T, T], at x [H, T, T]: rows are queries, and shorter than the file's.
 * `row` is scratch of one row of the file. */
static sonde_status take_attention(act_slot *slot, int64_t d, const float *x, int64_t T, float *row)
{
    act *a = slot->act;
    int64_t n, H = slot->shape.shape[1], rows = slot->shape.shape[2], keys = slot->shape.shape[3],
               length = a->documents[d].n;
    const int64_t *chosen = act_chosen(a, d, &n);

    for (int64_t h = 0; h < H; h++) {
        for (int64_t k = 0; k < rows; k++) {
            int64_t query = chosen != NULL && k < n ? chosen[k] : k;
            bool is_there = k < n;

            for (int64_t j = 0; j < keys; j++)
                row[j] = is_there && j < length ? x[(h * T + query) * T + j] : slot->fill;
            if (is_there && a->wants_sums)
                add_to_sums(&slot->sums, row, length);
            /* what is never written is 0: padding is written only where it is something else */
            if (a->sink != NULL && (is_there || slot->fill != 0))
                CLI_TRY(put_floats(a, slot->index, ((d * H + h) * rows + k) * keys, row, keys));
        }
    }
    return SONDE_OK;
}

/* Elements of one document, and of one of its positions, in the tensor of a pass. */
static void count_inner(const sonde_tensor *x, int64_t *document, int64_t *position)
{
    *position = 1;
    for (int i = 2; i < x->rank; i++)
        *position *= x->shape[i];
    *document = *position * x->shape[1];
}

/* Called during the pass, once for each batch: x is gone afterwards. */
sonde_status act_on_hook(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    act_slot *slot = ctx;
    act *a = slot->act;
    bool is_attention = strcmp(slot->point->axes, "BHTT") == 0;
    int64_t per_document, per_position;
    float *row = NULL;
    sonde_status status = SONDE_OK;

    /* scores and patterns are square, and their squares differ from pass to file: they go row by row */
    if (is_attention)
        CLI_TRY(CLI_NEW(row, slot->shape.shape[3]));
    count_inner(x, &per_document, &per_position);
    for (int64_t b = 0; b < event->n_sequences && status == SONDE_OK; b++) {
        const float *at = (const float *)x->data + b * per_document;
        if (is_attention)
            status = take_attention(slot, a->first_document + b, at, event->n_positions, row);
        else
            status = take_positions(slot, a->first_document + b, at, per_position);
    }
    free(row);
    return status;
}

/* ---- logits ------------------------------------------------------------------------------------------------------ */

/* One pass over the row: most logits are below the k-th best so far. */
sonde_status act_add_next(act *a, int64_t document, int64_t position, const float *logits, int64_t n_vocab)
{
    act_next next = {.document = document, .position = position};
    int64_t k = a->top < n_vocab ? a->top : n_vocab, n = 0;

    CLI_TRY(CLI_GROW(a->next, a->n_next, a->next_capacity));
    CLI_TRY(CLI_NEW(next.ids, k));
    a->next[a->n_next++] = next;
    CLI_TRY(CLI_NEW(a->next[a->n_next - 1].logit, k));
    next = a->next[a->n_next - 1];
    for (int64_t v = 0; v < n_vocab; v++) { /* insertion into the k best so far; the lower id wins ties */
        int64_t at = n < k ? n : k - 1;
        /* by far the most: not among the k best */
        if (n == k && !(logits[v] > next.logit[k - 1]))
            continue;
        n += n < k;
        for (; at > 0 && logits[v] > next.logit[at - 1]; at--) {
            next.logit[at] = next.logit[at - 1];
            next.ids[at] = next.ids[at - 1];
        }
        next.logit[at] = logits[v];
        next.ids[at] = (int32_t)v;
    }
    sonde_log_sum_exp(&a->next[a->n_next - 1].log_sum_exp, logits, 1, n_vocab);
    return SONDE_OK;
}

/* One stored row of logits: row k of document d. */
static sonde_status store_logits(act *a, int64_t d, int64_t k, const float *logits, int64_t V)
{
    int64_t rows = a->has_chosen ? a->P : a->T;

    if (!a->wants_logits)
        return SONDE_OK;
    if (a->wants_sums)
        add_to_sums(&a->logits_sums, logits, V);
    return a->sink != NULL ? put_floats(a, a->logits_index, (d * rows + k) * V, logits, V) : SONDE_OK;
}

/* One row of logits, of the document and position that are next in line. */
static sonde_status take_logits(act *a, const float *logits, int64_t V)
{
    int64_t d = a->row_document, t = a->row_position, n;
    const int64_t *chosen = act_chosen(a, d, &n);

    for (int64_t k = 0; chosen != NULL && k < n; k++) { /* --pos may name a position twice */
        if (chosen[k] != t)
            continue;
        CLI_TRY(store_logits(a, d, k, logits, V));
        if (a->top > 0)
            CLI_TRY(act_add_next(a, d, t, logits, V));
    }
    if (chosen != NULL)
        return SONDE_OK;
    CLI_TRY(store_logits(a, d, t, logits, V));
    return a->top > 0 && t == a->documents[d].n - 1 ? act_add_next(a, d, t, logits, V) : SONDE_OK;
}

/* Whether the row at the present place has logits: it is a token's, and, where positions were chosen, that of one of them. */
static bool has_logits(const act *a)
{
    int64_t at = (a->row_document - a->first_document) * a->batch_T + a->row_position;
    return a->row_position < a->documents[a->row_document].n && (a->chosen_rows == NULL || a->chosen_rows[at]);
}

/* Blocks of rows come in order, so that a place in the documents is enough to know whose they are. */
sonde_status act_on_logits(const float *logits, int64_t first_row, int64_t n_rows, int64_t n_vocab, void *ctx)
{
    act *a = ctx;

    (void)first_row; /* rows come in order */
    for (int64_t r = 0; r < n_rows; r++) {
        while (!has_logits(a)) {
            a->row_position++;
            if (a->row_position >= a->documents[a->row_document].n) {
                a->row_document++;
                a->row_position = 0;
            }
        }
        CLI_TRY(take_logits(a, logits + r * n_vocab, n_vocab));
        a->row_position++;
    }
    return SONDE_OK;
}
