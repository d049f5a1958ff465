/* common_text.c - models, tokenizers and the stream of sequences that commands read.     floor 10: cli
 *
 * Wherever a command takes a TEXT it takes files and token ids too, by the same options and through the same source:
 *
 *   TEXT, -f FILE ...  ->  documents  ->  tokenizer  ->  specials, BOS  \
 *   --ids 1,2,3 ...    ------------------------------------------------> sequences, held to the context
 *
 * Sequences come one by one; batches put several side by side for one pass.
 */
#include "common.h"

#include <stdlib.h>
#include <string.h>

/* ---- models ------------------------------------------------------------------------------------------------------ */

/* The weights are mapped, not read: opening costs the headers. The tokenizer waits until a text needs it. */
sonde_status cli_model_open(cli_model *out, const char *path)
{
    sonde_model_opts opts;

    *out = (cli_model){.path = path};
    sonde_model_opts_init(&opts);
    opts.products = cli.products;
    CLI_TRY(sonde_model_load(&out->model, path, &opts));
    out->config = sonde_model_config(out->model);
    return SONDE_OK;
}

/* Loaded once, however often it is asked for. */
sonde_status cli_model_tokenizer(cli_model *m)
{
    if (m->tokenizer != NULL)
        return SONDE_OK;
    CLI_TRY(sonde_tokenizer_load(&m->tokenizer, m->path));
    return SONDE_OK;
}

/* Labels are worth having, but no reason to fail: a folder without a tokenizer still has ids. */
bool cli_model_has_tokenizer(cli_model *m)
{
    if (m->tokenizer == NULL && sonde_tokenizer_load(&m->tokenizer, m->path) != SONDE_OK)
        sonde_clear_error();
    return m->tokenizer != NULL;
}

/* Fine on a model that was never opened. */
void cli_model_close(cli_model *m)
{
    sonde_tokenizer_free(m->tokenizer);
    sonde_model_free(m->model);
    *m = (cli_model){0};
}

/* That of the tokenizer, or of the config where there is no tokenizer. */
int32_t cli_bos_id(const cli_model *m)
{
    int32_t id = m->tokenizer != NULL ? sonde_tokenizer_bos(m->tokenizer) : -1;

    if (id < 0 && m->config != NULL)
        id = (int32_t)m->config->bos_id;
    return id;
}

/* All patterns together; a point that two of them name is there once. */
sonde_status cli_match_hooks(int64_t **out, int64_t *n, const sonde_model *model)
{
    int64_t n_points;
    const sonde_hook_point *points = sonde_model_hook_points(model, &n_points);
    bool *is_hooked = NULL;
    int64_t *indices = NULL;
    sonde_status status;

    *n = 0;
    CLI_TRY_DONE(CLI_NEW(is_hooked, n_points));
    for (int64_t i = 0; i < cli.hooks.n; i++)
        CLI_TRY_DONE(sonde_hook_match(is_hooked, cli.hooks.items[i], points, n_points));
    CLI_TRY_DONE(CLI_NEW(indices, n_points));
    for (int64_t i = 0; i < n_points; i++) {
        if (is_hooked[i])
            indices[(*n)++] = i;
    }
done:
    free(is_hooked);
    *out = indices;
    return status;
}

/* What stands in tables and messages for a token. */
sonde_status cli_token_label(char **out, const cli_model *m, int32_t id)
{
    char number[32];
    size_t n_bytes = 0;
    const char *bytes = m->tokenizer != NULL ? sonde_tokenizer_bytes(&n_bytes, m->tokenizer, id) : NULL;

    if (bytes != NULL)
        return cli_escape(out, bytes, n_bytes);
    return cli_escape(out, number, (size_t)snprintf(number, sizeof number, "#%d", (int)id));
}

/* ---- the stream of sequences ------------------------------------------------------------------------------------- */

struct cli_source {
    cli_model *m;
    const char *const *texts; /* positional texts; NULL where ids or files are read */
    int n_texts;
    cli_too_long too_long;
    int64_t n_given;            /* documents given out so far */
    int64_t item;               /* next text, id list or file */
    sonde_documents *documents; /* the open file, or NULL */
    sonde_tokens tokens;
    int32_t *ids; /* ids with BOS in front, or those of --ids */
    int64_t *start, *end;
    int64_t ids_capacity;
};

/* Exactly one of TEXT, --ids and -f. */
static sonde_status check_kinds(int n_texts)
{
    int n_kinds = (n_texts > 0) + (cli.ids.n > 0) + (cli.files.n > 0);

    if (n_kinds == 0)
        return cli_misuse("no text: give TEXT, '-f FILE' or '--ids 1,2,3'");
    if (n_kinds > 1)
        return cli_misuse("TEXT, '--file' and '--ids' exclude each other");
    return SONDE_OK;
}

/* The tokenizer is loaded here, so that a folder without one is refused before anything is read. */
sonde_status cli_source_open(cli_source **out, cli_model *m, const char *const *texts, int n_texts, cli_too_long too_long)
{
    cli_source *source;

    *out = NULL;
    CLI_TRY(check_kinds(n_texts));
    if (cli.ids.n == 0)
        CLI_TRY(cli_model_tokenizer(m));
    if (cli.bos == CLI_BOS_ALWAYS && cli.ids.n == 0 && cli_bos_id(m) < 0)
        return cli_misuse("option '--bos' is 'always', but '%s' names no BOS token", m->path);
    CLI_TRY(CLI_NEW(source, 1));
    source->m = m;
    source->texts = texts;
    source->n_texts = n_texts;
    source->too_long = too_long == CLI_LONG_FAILS && cli.truncate ? CLI_LONG_IS_CUT : too_long;
    *out = source;
    return SONDE_OK;
}

/* NULL is fine, as for every close. */
void cli_source_close(cli_source *source)
{
    if (source == NULL)
        return;
    sonde_documents_close(source->documents);
    sonde_tokens_release(&source->tokens);
    free(source->ids);
    free(source->start);
    free(source->end);
    free(source);
}

/* By the share of the open file that was read, since documents are not counted beforehand. */
double cli_source_progress(const cli_source *source)
{
    double share = 0, n = (double)(source->n_texts > 0 ? source->n_texts : cli.ids.n > 0 ? cli.ids.n : cli.files.n);

    if (cli.limit > 0)
        return (double)source->n_given / (double)cli.limit;
    if (source->documents != NULL)
        share = sonde_documents_progress(source->documents) - 1; /* `item` already counts the open file */
    return share < -1 ? -1 : ((double)source->item + share) / n;
}

/* Room for n ids of the source's own. */
static sonde_status reserve_ids(cli_source *source, int64_t n)
{
    int64_t start_capacity = source->ids_capacity, end_capacity = source->ids_capacity;

    CLI_TRY(CLI_GROW(source->start, n, start_capacity));
    CLI_TRY(CLI_GROW(source->end, n, end_capacity));
    return CLI_GROW(source->ids, n, source->ids_capacity);
}

/* One list of --ids, taken as it is. */
static sonde_status take_ids(cli_source *source, cli_sequence *out, const char *text)
{
    int64_t *numbers, n;
    sonde_status status;

    CLI_TRY(cli_parse_integers(&numbers, &n, text, "--ids"));
    CLI_TRY_DONE(reserve_ids(source, n));
    for (int64_t i = 0; i < n; i++) {
        if (numbers[i] < 0 || numbers[i] > INT32_MAX) {
            status = cli_fail(SONDE_E_RANGE, "token %lld of '--ids' is %lld, not an id of any vocabulary", (long long)i,
                              (long long)numbers[i]);
            goto done;
        }
        source->ids[i] = (int32_t)numbers[i];
    }
    *out = (cli_sequence){.ids = source->ids, .n = n};
done:
    free(numbers);
    return status;
}

/* Puts BOS in front of the tokens, in arrays of the source's own. */
static sonde_status prepend_bos(cli_source *source, cli_sequence *out, int32_t bos)
{
    size_t n = (size_t)out->n;

    CLI_TRY(reserve_ids(source, out->n + 1));
    source->ids[0] = bos;
    source->start[0] = source->end[0] = 0;
    if (n > 0) {
        memcpy(source->ids + 1, out->ids, n * sizeof *source->ids);
        memcpy(source->start + 1, out->start, n * sizeof *source->start);
        memcpy(source->end + 1, out->end, n * sizeof *source->end);
    }
    out->ids = source->ids;
    out->start = source->start;
    out->end = source->end;
    out->n++;
    return SONDE_OK;
}

/* A text as tokens, with the specials that --no-special and --bos ask for. A BOS that stands in the text itself owns bytes
 * of it: it is text, and never counted as the added one. */
static sonde_status take_text(cli_source *source, cli_sequence *out, const char *text, size_t n_bytes)
{
    sonde_tokens *tokens = &source->tokens;
    int32_t bos = cli_bos_id(source->m);
    bool is_added;

    CLI_TRY(sonde_tokenizer_encode(tokens, source->m->tokenizer, text, n_bytes,
                                   cli.no_special ? SONDE_SPECIALS_NONE : SONDE_SPECIALS_AS_FILE));
    *out = (cli_sequence){
        .ids = tokens->ids, .n = tokens->n, .start = tokens->start, .end = tokens->end, .text = text, .text_bytes = n_bytes};
    /* what was added owns no bytes */
    is_added = out->n > 0 && out->ids[0] == bos && out->start[0] == out->end[0];
    if (cli.bos == CLI_BOS_ALWAYS && !is_added)
        return prepend_bos(source, out, bos);
    /* the other special tokens stay: BOS alone was refused */
    if (cli.bos == CLI_BOS_NEVER && is_added) {
        out->ids++;
        out->start++;
        out->end++;
        out->n--;
    }
    return SONDE_OK;
}

/* The next document of the files of -f; *has_more is false behind the last. */
static sonde_status take_document(cli_source *source, cli_sequence *out, bool *has_more)
{
    const char *text = NULL;
    size_t n_bytes = 0;

    /* files follow each other; an empty one has no documents */
    while (text == NULL) {
        if (source->documents == NULL) {
            *has_more = source->item < cli.files.n;
            if (!*has_more)
                return SONDE_OK;
            CLI_TRY(sonde_documents_open(&source->documents, cli.files.items[source->item++], cli.field));
        }
        CLI_TRY(sonde_documents_next(source->documents, &text, &n_bytes));
        if (text == NULL) {
            sonde_documents_close(source->documents);
            source->documents = NULL;
        }
    }
    *has_more = true;
    return take_text(source, out, text, n_bytes);
}

/* Holds a sequence to the model's context. */
static sonde_status fit_context(const cli_source *source, cli_sequence *sequence)
{
    const sonde_config *config = source->m->config;

    if (config == NULL || sequence->n <= config->n_context || source->too_long == CLI_LONG_IS_FINE)
        return SONDE_OK;
    /* never cut without being told to: the activations would be those of another text */
    if (source->too_long == CLI_LONG_FAILS) {
        cli_fail(SONDE_E_RANGE, "text %lld has %lld tokens, the context of '%s' is %lld", (long long)sequence->index,
                 (long long)sequence->n, source->m->path, (long long)config->n_context);
        return cli_hint(SONDE_E_RANGE, "--truncate cuts it there");
    }
    sequence->n = config->n_context;
    sequence->is_truncated = true;
    return SONDE_OK;
}

/* One sequence of whichever kind, its number, and whether BOS is there; then the context. */
sonde_status cli_source_next(cli_source *source, cli_sequence *out, bool *has_more)
{
    *has_more = false;
    if (cli.limit > 0 && source->n_given >= cli.limit)
        return SONDE_OK;
    if (source->n_texts > 0) {
        *has_more = source->item < source->n_texts;
        if (*has_more) {
            const char *text = source->texts[source->item++];
            CLI_TRY(take_text(source, out, text, strlen(text)));
        }
    } else if (cli.ids.n > 0) {
        *has_more = source->item < cli.ids.n;
        if (*has_more)
            CLI_TRY(take_ids(source, out, cli.ids.items[source->item++]));
    } else {
        CLI_TRY(take_document(source, out, has_more));
    }
    if (!*has_more)
        return SONDE_OK;
    out->index = source->n_given++;
    out->has_bos = out->n > 0 && out->ids[0] == cli_bos_id(source->m);
    return fit_context(source, out);
}

/* ---- batches ----------------------------------------------------------------------------------------------------- */

/* Appends a sequence to the flat list of ids. */
static sonde_status append_ids(cli_batch *batch, const cli_sequence *sequence)
{
    while (batch->flat_capacity < batch->n_flat + sequence->n + 1)
        CLI_TRY(CLI_GROW(batch->flat, batch->flat_capacity, batch->flat_capacity));
    if (sequence->n > 0)
        memcpy(batch->flat + batch->n_flat, sequence->ids, (size_t)sequence->n * sizeof *batch->flat);
    batch->n_flat += sequence->n;
    return SONDE_OK;
}

/* Lays the first B sequences of the flat list out as (B,T). */
static sonde_status lay_out(cli_batch *batch)
{
    int64_t at = 0;

    free(batch->tokens);
    CLI_TRY(CLI_NEW(batch->tokens, batch->B * batch->T));
    for (int64_t b = 0; b < batch->B; b++) {
        if (batch->lengths[b] > 0)
            memcpy(batch->tokens + b * batch->T, batch->flat + at, (size_t)batch->lengths[b] * sizeof *batch->tokens);
        at += batch->lengths[b];
    }
    batch->n_tokens = at;
    return SONDE_OK;
}

/* Begins a new batch: what did not fit into the last one comes first. */
static void start_batch(cli_batch *batch)
{
    batch->first += batch->B;
    batch->B = batch->T = batch->n_tokens = 0;
    if (!batch->has_pending) {
        batch->n_flat = 0;
        return;
    }
    /* the one that waits lies at the end of the list: it moves to the front */
    memmove(batch->flat, batch->flat + batch->n_flat - batch->n_pending, (size_t)batch->n_pending * sizeof *batch->flat);
    batch->n_flat = batch->T = batch->lengths[0] = batch->n_pending;
    batch->B = 1;
    batch->has_pending = false;
}

/* Gathers until the next sequence would make the padded batch too large; that one waits for the next call. */
sonde_status cli_batch_next(cli_batch *batch, cli_source *source, int64_t max_tokens)
{
    cli_sequence sequence;
    bool has_more;

    start_batch(batch);
    for (;;) {
        CLI_TRY(CLI_GROW(batch->lengths, batch->B, batch->row_capacity));
        CLI_TRY(cli_source_next(source, &sequence, &has_more));
        if (!has_more)
            break;
        CLI_TRY(append_ids(batch, &sequence));
        /* padding is computed nowhere, but it takes memory */
        if (batch->B > 0 && (batch->B + 1) * (sequence.n > batch->T ? sequence.n : batch->T) > max_tokens) {
            batch->has_pending = true;
            batch->n_pending = sequence.n;
            break;
        }
        batch->lengths[batch->B++] = sequence.n;
        batch->T = sequence.n > batch->T ? sequence.n : batch->T;
    }
    return lay_out(batch);
}

/* Leaves it as it began: zero. */
void cli_batch_release(cli_batch *batch)
{
    free(batch->tokens);
    free(batch->lengths);
    free(batch->flat);
    *batch = (cli_batch){0};
}
