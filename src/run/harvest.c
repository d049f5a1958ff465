/* harvest.c - what a harvest will write, known before it begins.                floor 6: run
 *
 * Rows of all documents are counted, documents are gathered into shards, and every file's length follows from that. What is there
 * already, of an earlier harvest that was stopped, is looked at and not written again.
 */
#include "run/harvest.h"

#include "base/file.h"
#include "format/sink.h"

#include <stdlib.h>

enum { GROUP_BYTES = 1 << 26, SHARD_BYTES = 1 << 28 };

/* Floats, one shard a quarter of a gigabyte. */
void sonde_harvest_opts_init(sonde_harvest_opts *out)
{
    *out = (sonde_harvest_opts){.struct_size = sizeof *out, .dtype = SONDE_F32, .shard_bytes = SHARD_BYTES};
}

/* Within their bounds, nothing left to choose. */
static sonde_status read_opts(sonde_harvest_opts *out, const sonde_harvest_opts *opts)
{
    sonde_harvest_opts_init(out);
    SONDE_TRY(sondep_opts_read(out, sizeof *out, opts, "the struct of a harvest's options"));
    if (out->dtype != SONDE_F32 && out->dtype != SONDE_BF16)
        return SONDE_FAIL(SONDE_E_ARG, "option 'dtype' is %lld; activations are stored as F32 or BF16",
                          (long long)out->dtype);
    if (out->shard_bytes < 0 || out->n_rows < 0 || out->batch < 0 || out->context < 0 || out->n_left_out < 0)
        return SONDE_FAIL(
            SONDE_E_ARG,
            "options of a harvest below 0: shard_bytes %lld, n_rows %lld, batch %lld, context %lld, n_left_out %lld",
            (long long)out->shard_bytes, (long long)out->n_rows, (long long)out->batch, (long long)out->context,
            (long long)out->n_left_out);
    out->shard_bytes = out->shard_bytes > 0 ? out->shard_bytes : SHARD_BYTES;
    return SONDE_OK;
}

/* ---- counting --------------------------------------------------------------------------------------------------------------- */

/* As many documents as were asked for, and what they have. */
static void count_documents(sonde_harvest *h, int64_t most_rows)
{
    const sondep_stream *s = h->stream;
    int64_t first, n, n_bytes;

    /* whole documents: a row more than was asked for is better than half a text */
    while (h->n_documents < s->n_documents && (most_rows == 0 || h->n_rows < most_rows)) {
        int64_t document = h->n_documents++, seen = sondep_stream_length(s, document);
        sonde_corpus_document(&first, &n, &n_bytes, s->corpus, document);
        h->n_rows += s->n_rows[document];
        h->n_tokens += seen;
        h->n_behind += n - seen;
    }
}

/* Where each shard begins: the first document that does not fit begins the next. */
static sonde_status cut_shards(sonde_harvest *h)
{
    int64_t most_rows = h->most_shard_bytes / sondep_shard_row_bytes(&h->layout), row = 0, held = 0;

    SONDE_TRY(SONDE_NEW(h->first_document, h->n_documents + 1));
    SONDE_TRY(SONDE_NEW(h->first_row, h->n_documents + 1));
    for (int64_t i = 0; i < h->n_documents; i++) {
        int64_t n = h->stream->n_rows[i];
        /* a document that is larger than a shard has one of its own */
        if (i == 0 || (held > 0 && held + n > most_rows)) {
            h->first_document[h->n_shards] = i;
            h->first_row[h->n_shards++] = row;
            held = 0;
        }
        held += n;
        row += n;
    }
    /* where the last one ends */
    h->first_document[h->n_shards] = h->n_documents;
    h->first_row[h->n_shards] = row;
    return SONDE_OK;
}

/* The length of each shard's file. */
static sonde_status measure_shards(sonde_harvest *h)
{
    int64_t n = h->layout.n_hooks + SONDEP_N_STORE_COLUMNS;
    sonde_tensor *declared = NULL;
    const char **names = NULL;
    sondep_shard_texts texts;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(h->shard_bytes, h->n_shards));
    SONDE_TRY_DONE(SONDE_NEW(h->is_there, h->n_shards));
    SONDE_TRY_DONE(SONDE_NEW(declared, n));
    SONDE_TRY_DONE(SONDE_NEW(names, n));
    for (int64_t i = 0; i < h->n_shards; i++) {
        /* the header has the numbers of rows in it, so its length differs from shard to shard */
        for (int64_t k = 0; k < n; k++)
            names[k] = sondep_shard_tensor(&declared[k], &h->layout, k, h->first_row[i + 1] - h->first_row[i]);
        sondep_shard_describe(&texts, h->id, i, h->first_row[i]);
        SONDE_TRY_DONE(sondep_safetensors_bytes(&h->shard_bytes[i], names, declared, n, texts.pairs, SONDEP_N_SHARD_TEXTS));
    }
    status = SONDE_OK;
done:
    sondep_free(declared);
    sondep_free((void *)names);
    return status;
}

/* Shards that are whole, of a store that was begun. What is wrong with the others does not matter: they are written again. */
static sonde_status look_for_shards(sonde_harvest *h)
{
    sonde_safetensors *file;
    int64_t n_rows;

    for (int64_t i = 0; h->has_json && i < h->n_shards; i++) {
        sonde_status status = sondep_shard_open(&file, &n_rows, &h->layout, h->folder, h->id, i, h->first_row[i]);
        /* whole, but of other documents, is not there either */
        h->is_there[i] = status == SONDE_OK && n_rows == h->first_row[i + 1] - h->first_row[i];
        sonde_safetensors_close(file);
        if (status == SONDE_E_NOMEM || status == SONDE_E_IO)
            return status;
    }
    sonde_clear_error();
    return SONDE_OK;
}

/* ---- life ------------------------------------------------------------------------------------------------------------------- */

/* Two tensors of a shard cannot have one name. */
static sonde_status check_hooks(const sondep_stream *s)
{
    for (int64_t i = 0; i < s->n_hooks; i++)
        for (int64_t k = 0; k < i; k++)
            if (strcmp(s->hooks[i], s->hooks[k]) == 0)
                return SONDE_FAIL(SONDE_E_ARG, "'%s' is asked for twice", s->hooks[i]);
    return s->n_hooks > 0 ? SONDE_OK : SONDE_FAIL(SONDE_E_ARG, "no hook points are asked for");
}

/* Rows of a group: as many as fit into a buffer of some size, a pass at least, and each document by itself. */
static int64_t choose_group_rows(const sonde_harvest *h)
{
    int64_t floats = 0, n;

    SONDE_ASSERT(h->layout.n_hooks > 0 && h->n_documents > 0);
    /* numbers of a row, all hooks together */
    for (int64_t i = 0; i < h->layout.n_hooks; i++)
        floats += h->layout.widths[i];
    n = GROUP_BYTES / (int64_t)sizeof(float) / (floats > 0 ? floats : 1);
    n = n > h->stream->batch ? n : h->stream->batch;
    /* no document is taken apart */
    for (int64_t i = 0; i < h->n_documents; i++)
        n = n > h->stream->n_rows[i] ? n : h->stream->n_rows[i];
    return n < h->n_rows ? n : h->n_rows;
}

/* Everything but what the folder says. */
static sonde_status harvest_make(sonde_harvest *h, const sonde_model *model, const sonde_corpus *corpus,
                                 const char *const *hooks, int64_t n_hooks, const sonde_harvest_opts *o)
{
    sonde_stream_opts how;

    sonde_stream_opts_init(&how);
    how.batch = o->batch;
    how.context = o->context;
    how.left_out = o->left_out;
    how.n_left_out = o->n_left_out;
    /* documents, their rows, the run that will listen */
    SONDE_TRY(sondep_stream_new(&h->stream, model, corpus, hooks, n_hooks, &how));
    SONDE_TRY(check_hooks(h->stream));
    h->dtype = (sonde_dtype)o->dtype;
    h->most_shard_bytes = o->shard_bytes;
    h->layout = (sondep_shard_layout){n_hooks, (const char *const *)h->stream->hooks, h->stream->widths, h->dtype};
    /* what follows from them: rows, shards, groups */
    count_documents(h, o->n_rows);
    if (h->n_rows == 0)
        return SONDE_FAIL(SONDE_E_RANGE, "there are no rows of activations");
    SONDE_TRY(cut_shards(h));
    h->group_rows = choose_group_rows(h);
    /* what the store says of itself needs all of that */
    h->model_hash = sonde_model_hash(model);
    SONDE_TRY(sondep_copy_string(&h->model_name, o->model ? o->model : sonde_model_directory(model)));
    return sondep_store_describe(h);
}

/* Nothing is written yet: a plan can be looked at first. */
sonde_status sonde_harvest_new(sonde_harvest **out, const sonde_model *model, const sonde_corpus *corpus,
                               const char *const *hooks, int64_t n_hooks, const char *folder, const sonde_harvest_opts *opts)
{
    sonde_harvest_opts o;
    sonde_harvest *h = NULL;
    sonde_status status;

    *out = NULL;
    SONDE_TRY(read_opts(&o, opts));
    SONDE_TRY(SONDE_NEW(h, 1));
    SONDE_TRY_DONE(harvest_make(h, model, corpus, hooks, n_hooks, &o));
    SONDE_TRY_DONE(measure_shards(h));
    SONDE_TRY_DONE(sondep_copy_string(&h->folder, folder));
    SONDE_TRY_DONE(sondep_path_join(&h->json_path, folder, "store.json"));
    /* what is there of it already */
    SONDE_TRY_DONE(sondep_store_look(h));
    SONDE_TRY_DONE(look_for_shards(h));
    *out = h;
    h = NULL;
done:
    sonde_harvest_free(h);
    return status;
}

/* Shards that are complete stay. */
void sonde_harvest_free(sonde_harvest *h)
{
    if (h == NULL)
        return;
    for (int64_t i = 0; i < h->layout.n_hooks && h->rows != NULL; i++)
        sondep_free(h->rows[i]);
    void *const blocks[] = {h->folder,      h->json_path, h->model_name, h->first_document, h->first_row,
                            h->shard_bytes, h->is_there,  h->rows,       h->tokens,         h->document,
                            h->position,    h->documents, h->ids,        h->converted};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        sondep_free(blocks[i]);
    sondep_string_release(&h->json);
    sondep_stream_free(h->stream);
    sondep_free(h);
}

/* ---- the plan --------------------------------------------------------------------------------------------------------------- */

/* Exact in rows and bytes, which follow from the tokens alone. */
sonde_status sonde_harvest_get_plan(sonde_harvest_plan *out, sonde_harvest *h)
{
    const sondep_stream *s = h->stream;
    int64_t longest = 0, floats = 0, B;

    *out = (sonde_harvest_plan){.n_documents = h->n_documents,
                                .n_tokens = h->n_tokens,
                                .n_rows = h->n_rows,
                                .n_left_out = h->n_tokens - h->n_rows,
                                .n_behind = h->n_behind,
                                .n_shards = h->n_shards,
                                .file_bytes = (int64_t)h->json.n,
                                .missing_bytes = h->has_json ? 0 : (int64_t)h->json.n};
    /* files, and those of them that are missing */
    for (int64_t i = 0; i < h->n_shards; i++) {
        out->n_there += h->is_there[i];
        out->file_bytes += h->shard_bytes[i];
        out->missing_bytes += h->is_there[i] ? 0 : h->shard_bytes[i];
        out->missing_rows += h->is_there[i] ? 0 : h->first_row[i + 1] - h->first_row[i];
    }
    for (int64_t i = 0; i < h->layout.n_hooks; i++)
        floats += h->layout.widths[i];
    out->buffer_bytes = h->group_rows * (4 * floats + SONDEP_STORE_PLACE_BYTES);
    /* the largest pass has documents as long as the longest */
    for (int64_t i = 0; i < h->n_documents; i++) {
        int64_t n = sondep_stream_length(s, i);
        longest = n > longest ? n : longest;
    }
    longest = longest > 0 ? longest : 1;
    B = s->batch / longest > 1 ? s->batch / longest : 1;
    B = B < h->n_documents ? B : h->n_documents;
    return sonde_run_plan(&out->pass, s->run, B, longest);
}
