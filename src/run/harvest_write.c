/* harvest_write.c - shards, one after the other, each as a whole or not at all.  floor 6: run
 *
 *   a shard    groups of documents, which go through the model together, the longer ones first
 *   a group    its rows in memory; then each hook's to its place in the file
 *
 * Which documents are a group depends on the shard alone, so that a shard has the same bytes whatever was written before it.
 */
#include "run/harvest.h"

#include "base/file.h"

#include <errno.h>
#include <unistd.h>

/* Once, for the largest group. */
sonde_status sondep_harvest_make_room(sonde_harvest *h)
{
    int64_t n;

    if (h->rows != NULL)
        return SONDE_OK;
    SONDE_TRY(SONDE_NEW(h->tokens, h->group_rows));
    SONDE_TRY(SONDE_NEW(h->document, h->group_rows));
    SONDE_TRY(SONDE_NEW(h->position, h->group_rows));
    SONDE_TRY(SONDE_NEW(h->documents, h->group_rows));
    SONDE_TRY(SONDE_NEW(h->ids, h->stream->context));
    SONDE_TRY(SONDE_NEW(h->converted, SONDEP_CONVERTED));
    SONDE_TRY(SONDE_NEW(h->rows, h->layout.n_hooks));
    for (int64_t i = 0; i < h->layout.n_hooks; i++) {
        SONDE_TRY(sondep_mul_i64(&n, h->group_rows, h->layout.widths[i], "rows of a group"));
        SONDE_TRY(SONDE_NEW(h->rows[i], n));
    }
    return SONDE_OK;
}

/* One document at least, however many rows it has: the buffer has room for the longest. */
int64_t sondep_harvest_group(const sonde_harvest *h, int64_t first, int64_t end, int64_t most_rows)
{
    int64_t n = 0, rows = 0;

    /* documents without rows take a place in the list all the same */
    while (first + n < end && n < h->group_rows && (n == 0 || rows + h->stream->n_rows[first + n] <= most_rows))
        rows += h->stream->n_rows[first + n++];
    return n;
}

/* ---- a group ---------------------------------------------------------------------------------------------------------------- */

/* Where the rows of n documents come from; how many rows these are. */
static int64_t list_places(sonde_harvest *h, int64_t first, int64_t n)
{
    const sondep_stream *s = h->stream;
    int64_t row = 0, at, n_tokens, n_bytes;

    for (int64_t i = 0; i < n; i++) {
        int64_t document = h->documents[i] = first + i, length = sondep_stream_length(s, document);
        sonde_corpus_document(&at, &n_tokens, &n_bytes, s->corpus, document);
        sonde_corpus_read(h->ids, s->corpus, at, length);
        for (int64_t t = 0; t < length; t++) {
            if (!sondep_stream_is_row(s, h->ids[t]))
                continue;
            h->tokens[row] = h->ids[t];
            h->document[row] = document;
            h->position[row++] = (int32_t)t;
        }
    }
    return row;
}

/* n floats to a tensor of the shard, in its type. */
static sonde_status put_floats(const sonde_harvest *h, sonde_sink *sink, int64_t tensor, int64_t first, const float *x,
                               int64_t n)
{
    if (h->dtype == SONDE_F32)
        return sonde_sink_put(sink, tensor, first, x, n);
    for (int64_t i = 0; i < n; i += SONDEP_CONVERTED) {
        int64_t some = n - i < SONDEP_CONVERTED ? n - i : SONDEP_CONVERTED;
        sonde_convert_from_f32(h->converted, h->dtype, x + i, some);
        SONDE_TRY(sonde_sink_put(sink, tensor, first + i, h->converted, some));
    }
    return SONDE_OK;
}

/* The rows of n documents, to row `to` of the shard on; *n_rows is how many. */
static sonde_status write_group(sonde_harvest *h, int64_t *n_rows, sonde_sink *sink, int64_t first, int64_t n, int64_t to)
{
    const sondep_shard_layout *l = &h->layout;
    int64_t rows = *n_rows = list_places(h, first, n);

    /* the model, once for all hooks */
    SONDE_TRY(sondep_stream_fill(h->rows, h->documents, n, h->stream));
    for (int64_t i = 0; i < l->n_hooks; i++)
        SONDE_TRY(put_floats(h, sink, i, to * l->widths[i], h->rows[i], rows * l->widths[i]));
    /* and where each row comes from */
    SONDE_TRY(sonde_sink_put(sink, l->n_hooks + SONDEP_STORE_TOKENS, to, h->tokens, rows));
    SONDE_TRY(sonde_sink_put(sink, l->n_hooks + SONDEP_STORE_DOCUMENT, to, h->document, rows));
    return sonde_sink_put(sink, l->n_hooks + SONDEP_STORE_POSITION, to, h->position, rows);
}

/* ---- a shard ---------------------------------------------------------------------------------------------------------------- */

/* The file of shard i, with room for all its rows. */
static sonde_status open_shard(sonde_sink **out, const sonde_harvest *h, int64_t i, const char *path)
{
    int64_t n = h->layout.n_hooks + SONDEP_N_STORE_COLUMNS, n_rows = h->first_row[i + 1] - h->first_row[i];
    sonde_tensor *declared = NULL;
    const char **names = NULL;
    sondep_shard_texts texts;
    sonde_status status;

    *out = NULL;
    SONDE_TRY_DONE(SONDE_NEW(declared, n));
    SONDE_TRY_DONE(SONDE_NEW(names, n));
    for (int64_t k = 0; k < n; k++)
        names[k] = sondep_shard_tensor(&declared[k], &h->layout, k, n_rows);
    sondep_shard_describe(&texts, h->id, i, h->first_row[i]);
    status = sonde_sink_open(out, path, names, declared, n, texts.pairs, SONDEP_N_SHARD_TEXTS);
done:
    sondep_free(declared);
    sondep_free((void *)names);
    return status;
}

/* How far a harvest is. */
typedef struct writing {
    sonde_harvest_fn *fn;
    void *ctx;
    int64_t n_rows; /* written by this run */
} writing;

/* All groups of a shard. */
static sonde_status fill_shard(sonde_harvest *h, sonde_sink *sink, int64_t i, writing *w)
{
    int64_t end = h->first_document[i + 1], rows, to = 0;

    for (int64_t first = h->first_document[i], n; first < end; first += n) {
        if (sondep_interrupted())
            return SONDE_FAIL(SONDE_E_INTERRUPTED, "interrupted in shard %lld of %lld", (long long)i,
                              (long long)h->n_shards);
        n = sondep_harvest_group(h, first, end, h->group_rows);
        SONDE_TRY(write_group(h, &rows, sink, first, n, to));
        to += rows;
        w->n_rows += rows;
        if (w->fn != NULL)
            SONDE_TRY(w->fn(w->n_rows, w->ctx));
    }
    return SONDE_OK;
}

/* Beside and renamed: a shard is there whole or not at all. */
static sonde_status write_shard(sonde_harvest *h, int64_t i, writing *w)
{
    sonde_sink *sink = NULL;
    char *path;
    sonde_status status;

    SONDE_TRY(sondep_shard_path(&path, h->folder, i));
    status = open_shard(&sink, h, i, path);
    if (status == SONDE_OK)
        status = fill_shard(h, sink, i, w);
    if (status == SONDE_OK)
        status = sonde_sink_commit(sink);
    else
        sonde_sink_abort(sink);
    h->is_there[i] = status == SONDE_OK;
    sondep_free(path);
    return status;
}

/* ---- the folder ------------------------------------------------------------------------------------------------------------- */

/* store.json stands there before the first shard. A folder that could not be begun is not left. */
static sonde_status begin_folder(sonde_harvest *h)
{
    sondep_writer writer = {.fd = -1};
    bool is_new = !sondep_is_directory(h->folder);
    sonde_status status;

    if (h->has_json)
        return SONDE_OK;
    /* the folder above it must be there: a wrong path is not made up */
    if (is_new && sondep_syscalls.mkdir(h->folder, 0777) != 0)
        return SONDE_FAIL(SONDE_E_IO, "cannot make the folder '%s': %s", h->folder, strerror(errno));
    SONDE_TRY_DONE(sondep_writer_open(&writer, h->json_path));
    SONDE_TRY_DONE(sondep_writer_put(&writer, h->json.text, h->json.n));
    status = sondep_writer_commit(&writer);
done:
    sondep_writer_abort(&writer);
    h->has_json = status == SONDE_OK;
    if (status != SONDE_OK && is_new)
        (void)rmdir(h->folder);
    return status;
}

/* Behind the shards that are there. */
sonde_status sonde_harvest_run(sonde_harvest *h, sonde_harvest_fn *fn, void *ctx)
{
    writing w = {fn, ctx, 0};

    SONDE_TRY(sondep_harvest_make_room(h));
    SONDE_TRY(begin_folder(h));
    for (int64_t i = 0; i < h->n_shards; i++)
        if (!h->is_there[i])
            SONDE_TRY(write_shard(h, i, &w));
    return SONDE_OK;
}

/* ---- a trial ---------------------------------------------------------------------------------------------------------------- */

/* Tokens of n documents that the model sees. */
static int64_t count_tokens(const sonde_harvest *h, int64_t first, int64_t n)
{
    int64_t tokens = 0;

    for (int64_t i = 0; i < n; i++)
        tokens += sondep_stream_length(h->stream, first + i);
    return tokens;
}

/* A few documents are enough to tell the rate. */
sonde_status sonde_harvest_measure(double *tokens_per_second, sonde_harvest *h, double seconds)
{
    int64_t tokens = 0, n;
    double took = 0;

    SONDE_TRY(sondep_harvest_make_room(h));
    for (int64_t first = 0, pass = 0; first < h->n_documents && took < seconds; first += n, pass++) {
        double began = sondep_seconds();
        n = sondep_harvest_group(h, first, h->n_documents, h->stream->batch);
        list_places(h, first, n);
        SONDE_TRY(sondep_stream_fill(h->rows, h->documents, n, h->stream));
        /* the first pass touches its memory for the first time: it counts where it is the only one */
        if (pass == 1)
            tokens = 0, took = 0;
        tokens += count_tokens(h, first, n);
        took += sondep_seconds() - began;
    }
    /* tokens, not rows: what the model computes on */
    *tokens_per_second = (double)tokens / took;
    return SONDE_OK;
}
