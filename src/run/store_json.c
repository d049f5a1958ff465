/* store_json.c - store.json: what a store says of itself.                       floor 6: run */
#include "run/harvest.h"

#include "base/file.h"
#include "format/json.h"

#include <sonde/kernel.h>

#include <stdio.h>

/* A hash as all are shown: 16 digits. */
static void put_hash(sondep_json_writer *w, const char *name, uint64_t hash)
{
    char text[SONDEP_STORE_ID];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    sondep_json_put_text(w, name, text);
}

/* Names and widths, in the order of the tensors. */
static void put_hooks(sondep_json_writer *w, const sondep_shard_layout *layout)
{
    sondep_json_put_begin(w, "hooks", '[');
    for (int64_t i = 0; i < layout->n_hooks; i++) {
        sondep_json_put_begin(w, NULL, '{');
        sondep_json_put_text(w, "name", layout->hooks[i]);
        sondep_json_put_int(w, "width", layout->widths[i]);
        sondep_json_put_end(w, '}');
    }
    sondep_json_put_end(w, ']');
}

/* What decides the rows. */
static void put_identity(sondep_json_writer *w, const sonde_harvest *h)
{
    const sondep_stream *s = h->stream;

    sondep_json_put_text(w, "schema", SONDEP_STORE_SCHEMA);
    /* of the weights and of the tokens: names of files may stay the same */
    put_hash(w, "model_hash", h->model_hash);
    put_hash(w, "corpus_hash", sonde_corpus_hash(s->corpus));
    put_hooks(w, &h->layout);
    sondep_json_put_text(w, "dtype", sonde_dtype_name(h->dtype));
    sondep_json_put_text(w, "products", s->model->precision == SONDEP_BF16 ? "bf16" : "f32");
    /* what is a row */
    sondep_json_put_int(w, "context", s->context);
    sondep_json_put_begin(w, "left_out", '[');
    for (int64_t i = 0; i < s->n_left_out; i++)
        sondep_json_put_int(w, NULL, s->left_out[i]);
    sondep_json_put_end(w, ']');
    /* how much there is of it, and how it is cut into files */
    sondep_json_put_int(w, "n_documents", h->n_documents);
    sondep_json_put_int(w, "n_rows", h->n_rows);
    sondep_json_put_int(w, "n_shards", h->n_shards);
    sondep_json_put_int(w, "shard_bytes", h->most_shard_bytes);
    sondep_json_put_int(w, "batch", s->batch);
}

/* FNV-1a. */
static uint64_t hash_text(const sondep_string *text)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < text->n; i++)
        hash = (hash ^ (unsigned char)text->text[i]) * 0x100000001b3u;
    return hash;
}

/* Written before the first shard, so that an interrupted harvest can be told from another one. */
sonde_status sondep_store_describe(sonde_harvest *h)
{
    sondep_json_writer w = {0};

    sondep_json_put_begin(&w, NULL, '{');
    /* two harvests with the same text up to here have the same rows */
    put_identity(&w, h);
    snprintf(h->id, sizeof h->id, "%016llx", (unsigned long long)hash_text(&w.text));
    sondep_json_put_text(&w, "id", h->id);
    /* for people; another path to the same model is no other store */
    sondep_json_put_text(&w, "model", h->model_name);
    sondep_json_put_text(&w, "kernels", sonde_kernel_name());
    sondep_json_put_text(&w, "version", sonde_version());
    sondep_json_put_end(&w, '}');
    h->json = w.text;
    return w.status;
}

/* ---- one that is there ------------------------------------------------------------------------------------------------------ */

/* A value on one line, cut where it is long. */
static void show(char *out, size_t out_bytes, const json_t *value)
{
    size_t n = value ? json_dumpb(value, out, out_bytes - 1, JSON_ENCODE_ANY | JSON_COMPACT) : 0;

    if (value == NULL)
        n = (size_t)snprintf(out, out_bytes, "missing");
    out[n < out_bytes - 1 ? n : out_bytes - 1] = '\0';
}

/* What does not make it another store. */
static bool may_differ(const char *key)
{
    static const char *const keys[] = {"id", "model", "kernels", "version"};

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(key, keys[i]) == 0)
            return true;
    return false;
}

/* Each thing that the own text has, the other has. */
static sonde_status compare(const json_t *own, const json_t *other, const char *path)
{
    char is[100], was[100];
    const char *key;
    const json_t *value;

    json_object_foreach((json_t *)(uintptr_t)own, key, value)
    {
        const json_t *has = json_object_get(other, key);
        if (may_differ(key) || json_equal(value, has))
            continue;
        show(is, sizeof is, value);
        show(was, sizeof was, has);
        return SONDE_FAIL(SONDE_E_ARG, "'%s' is of another harvest: its '%s' is %s, here it is %s", path, key, was, is);
    }
    return SONDE_OK;
}

/* The text that is there becomes the harvest's: its name of the model and its version stay. */
static sonde_status take_over(sonde_harvest *h, const json_t *other)
{
    const char *kernels = json_string_value(json_object_get(other, "kernels"));
    sondep_file file;
    sonde_status status;

    /* not refused: the rows are as good, only the promise of equal bytes is gone */
    if (kernels == NULL || strcmp(kernels, sonde_kernel_name()) != 0)
        sondep_log(SONDE_LOG_WARN, "'%s' was begun with the kernels '%s', here they are '%s': bytes will differ by rounding",
                   h->folder, kernels ? kernels : "", sonde_kernel_name());
    SONDE_TRY(sondep_file_map(&file, h->json_path));
    h->json.n = 0;
    h->has_json = true;
    status = sondep_string_append(&h->json, file.data, file.bytes);
    sondep_file_release(&file);
    return status;
}

/* What is there must be of this harvest. */
sonde_status sondep_store_look(sonde_harvest *h)
{
    json_t *own = NULL, *other = NULL;
    sonde_status status;

    if (!sondep_is_file(h->json_path))
        return SONDE_OK;
    /* one that is no JSON is nothing to go on with, and the error says so */
    SONDE_TRY_DONE(sondep_json_load(&other, h->json_path));
    SONDE_TRY_DONE(sondep_json_parse(&own, h->json.text, h->json.n, "store.json", 1, 0));
    SONDE_TRY_DONE(compare(own, other, h->json_path));
    status = take_over(h, other);
done:
    json_decref(own);
    json_decref(other);
    return status;
}
