/* store.c - a store that is there: opened, checked, read.                       floor 6: run
 *
 * store.json says what there must be; each shard is held against it and against those before it, so that what is read later can be
 * trusted. Rows are mapped: opening costs the headers alone.
 */
#include "run/store.h"

#include "format/safetensors.h"

#include "base/file.h"
#include "format/json.h"
#include "kernel/kernel.h"

#include <stdio.h>
#include <stdlib.h>

struct sonde_store {
    char *folder;
    json_t *json; /* store.json, from which names are borrowed */
    const char *model, *id;
    uint64_t model_hash, hash;
    sondep_shard_layout layout;
    const char **hooks; /* (n_hooks) */
    int64_t *widths;    /* (n_hooks) */
    int64_t n_rows, n_documents, n_shards;
    int64_t *first_row;         /* (n_shards + 1) */
    sonde_safetensors **shards; /* (n_shards) */
    sonde_tensor *tensors;      /* (n_shards, hooks and columns) */
};

/* ---- store.json ------------------------------------------------------------------------------------------------------------- */

/* A number that counts something, 1 at least. */
static sonde_status read_count(int64_t *out, const json_t *json, const char *key, const char *path)
{
    SONDE_TRY(sondep_json_get_int(out, json, key, path));
    return *out >= 1 ? SONDE_OK : SONDE_FAIL(SONDE_E_FORMAT, "'%s': '%s' is %lld, below 1", path, key, (long long)*out);
}

/* 16 digits. */
static sonde_status read_hash(uint64_t *out, const char **text, const json_t *json, const char *key, const char *path)
{
    char *end;

    SONDE_TRY(sondep_json_get_string(text, json, key, path));
    /* all of the text, and no more than fits */
    *out = strtoull(*text, &end, 16);
    return strlen(*text) == 16 && *end == '\0' ? SONDE_OK
                                               : SONDE_FAIL(SONDE_E_FORMAT, "'%s': '%s' is no hash: '%s'", path, key, *text);
}

/* Names, and numbers of a row. */
static sonde_status read_hooks(sonde_store *s, const char *path)
{
    const json_t *list;

    SONDE_TRY(sondep_json_get_array(&list, s->json, "hooks", path));
    SONDE_TRY(SONDE_NEW(s->hooks, (int64_t)json_array_size(list)));
    SONDE_TRY(SONDE_NEW(s->widths, (int64_t)json_array_size(list)));
    for (size_t i = 0; i < json_array_size(list); i++) {
        SONDE_TRY(sondep_json_get_string(&s->hooks[i], json_array_get(list, i), "name", path));
        SONDE_TRY(read_count(&s->widths[i], json_array_get(list, i), "width", path));
    }
    s->layout = (sondep_shard_layout){(int64_t)json_array_size(list), s->hooks, s->widths, SONDE_F32};
    return s->layout.n_hooks > 0 ? SONDE_OK : SONDE_FAIL(SONDE_E_FORMAT, "'%s' has no hooks", path);
}

/* Floats, of four bytes or of two. */
static sonde_status read_dtype(sonde_store *s, const char *path)
{
    const char *name;

    SONDE_TRY(sondep_json_get_string(&name, s->json, "dtype", path));
    SONDE_TRY(sonde_dtype_parse(&s->layout.dtype, name));
    if (s->layout.dtype != SONDE_F32 && s->layout.dtype != SONDE_BF16)
        return SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s': rows are %s; F32 and BF16 are read", path, name);
    return SONDE_OK;
}

/* What the store says of itself; shards must agree. */
static sonde_status read_json(sonde_store *s, const char *path)
{
    const char *schema, *text;

    SONDE_TRY(sondep_json_load(&s->json, path));
    SONDE_TRY(sondep_json_get_string(&schema, s->json, "schema", path));
    if (strcmp(schema, SONDEP_STORE_SCHEMA) != 0)
        return SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' has the schema '%s'; '" SONDEP_STORE_SCHEMA "' is read", path, schema);
    /* whose activations these are, and what tells this store from others */
    SONDE_TRY(sondep_json_get_string(&s->model, s->json, "model", path));
    SONDE_TRY(read_hash(&s->model_hash, &text, s->json, "model_hash", path));
    SONDE_TRY(read_hash(&s->hash, &s->id, s->json, "id", path));
    SONDE_TRY(read_hooks(s, path));
    SONDE_TRY(read_dtype(s, path));
    /* sizes: a file that lies about them is found when the shards are opened */
    SONDE_TRY(read_count(&s->n_rows, s->json, "n_rows", path));
    SONDE_TRY(read_count(&s->n_documents, s->json, "n_documents", path));
    SONDE_TRY(read_count(&s->n_shards, s->json, "n_shards", path));
    return s->n_shards <= s->n_rows ? SONDE_OK
                                    : SONDE_FAIL(SONDE_E_FORMAT, "'%s': %lld rows are in %lld shards", path,
                                                 (long long)s->n_rows, (long long)s->n_shards);
}

/* ---- opening ---------------------------------------------------------------------------------------------------------------- */

/* Shard i, where those before it end, and its tensors. */
static sonde_status open_shard(sonde_store *s, int64_t i)
{
    int64_t n = s->layout.n_hooks + SONDEP_N_STORE_COLUMNS, n_rows;
    sonde_tensor declared;

    SONDE_TRY(sondep_shard_open(&s->shards[i], &n_rows, &s->layout, s->folder, s->id, i, s->first_row[i]));
    /* views into the map, so that reading does not look names up */
    s->first_row[i + 1] = s->first_row[i] + n_rows;
    for (int64_t k = 0; k < n; k++)
        SONDE_TRY(sonde_safetensors_get(&s->tensors[i * n + k], s->shards[i],
                                        sondep_shard_tensor(&declared, &s->layout, k, n_rows)));
    return SONDE_OK;
}

/* A shard that is missing or damaged: what can be done about it. */
static sonde_status explain(const sonde_store *s, sonde_status status, int64_t i)
{
    if (status == SONDE_E_NOTFOUND)
        SONDE_FAIL(status, "'%s' is not complete: shard %lld of %lld is missing", s->folder, (long long)i,
                   (long long)s->n_shards);
    if (status == SONDE_E_NOTFOUND || status == SONDE_E_FORMAT)
        return sondep_hint(status, "'sonde harvest --resume -o %s' writes what is missing", s->folder);
    return status;
}

/* All shards, whose rows are those that store.json promises. */
static sonde_status open_shards(sonde_store *s)
{
    /* n_shards is at most n_rows, but both may be a lie: the first missing shard ends it */
    SONDE_TRY(SONDE_NEW(s->first_row, s->n_shards + 1));
    SONDE_TRY(SONDE_NEW(s->shards, s->n_shards));
    SONDE_TRY(SONDE_NEW(s->tensors, s->n_shards * (s->layout.n_hooks + SONDEP_N_STORE_COLUMNS)));
    for (int64_t i = 0; i < s->n_shards; i++) {
        sonde_status status = open_shard(s, i);
        if (status != SONDE_OK)
            return explain(s, status, i);
    }
    if (s->first_row[s->n_shards] != s->n_rows)
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s': the shards have %lld rows, store.json says %lld", s->folder,
                          (long long)s->first_row[s->n_shards], (long long)s->n_rows);
    return SONDE_OK;
}

/* Every shard is looked at: a cut one shows here, not in the middle of a training. */
sonde_status sonde_store_open(sonde_store **out, const char *folder)
{
    sonde_store *s = NULL;
    char *path = NULL;
    sonde_status status;

    *out = NULL;
    SONDE_TRY_DONE(SONDE_NEW(s, 1));
    SONDE_TRY_DONE(sondep_copy_string(&s->folder, folder));
    SONDE_TRY_DONE(sondep_path_join(&path, folder, "store.json"));
    if (!sondep_is_file(path)) {
        status = SONDE_FAIL(SONDE_E_NOTFOUND, "'%s' is no store of activations: it has no store.json", folder);
        goto done;
    }
    SONDE_TRY_DONE(read_json(s, path));
    SONDE_TRY_DONE(open_shards(s));
    *out = s;
    s = NULL;
done:
    sondep_free(path);
    sonde_store_close(s);
    return status;
}

/* Shards are unmapped. */
void sonde_store_close(sonde_store *s)
{
    if (s == NULL)
        return;
    for (int64_t i = 0; i < s->n_shards && s->shards != NULL; i++)
        sonde_safetensors_close(s->shards[i]);
    json_decref(s->json);
    sondep_free(s->folder);
    sondep_free((void *)s->hooks);
    sondep_free(s->widths);
    sondep_free(s->first_row);
    sondep_free(s->shards);
    sondep_free(s->tensors);
    sondep_free(s);
}

/* ---- what it has ------------------------------------------------------------------------------------------------------------ */

int64_t sonde_store_n_rows(const sonde_store *store)
{
    return store->n_rows;
}

int64_t sonde_store_n_documents(const sonde_store *store)
{
    return store->n_documents;
}

int64_t sonde_store_n_shards(const sonde_store *store)
{
    return store->n_shards;
}

const int64_t *sondep_store_shards(const sonde_store *store, int64_t *n_shards)
{
    *n_shards = store->n_shards;
    return store->first_row;
}

int64_t sonde_store_n_hooks(const sonde_store *store)
{
    return store->layout.n_hooks;
}

const char *sonde_store_hook(const sonde_store *store, int64_t i)
{
    SONDE_ASSERT(i >= 0 && i < store->layout.n_hooks);
    return store->hooks[i];
}

int64_t sonde_store_width(const sonde_store *store, int64_t i)
{
    SONDE_ASSERT(i >= 0 && i < store->layout.n_hooks);
    return store->widths[i];
}

sonde_dtype sonde_store_dtype(const sonde_store *store)
{
    return store->layout.dtype;
}

const char *sonde_store_model(const sonde_store *store)
{
    return store->model;
}

uint64_t sonde_store_hash(const sonde_store *store)
{
    return store->hash;
}

/* Exact names alone: a pattern would need the model's list of points. */
sonde_status sonde_store_find_hook(int64_t *out, const sonde_store *store, const char *name)
{
    sondep_string names = {0};
    sonde_status status = SONDE_OK;

    for (int64_t i = 0; i < store->layout.n_hooks; i++) {
        if (strcmp(store->hooks[i], name) == 0) {
            *out = i;
            sondep_string_release(&names);
            return SONDE_OK;
        }
        /* gathered for the message, in case it is none of them */
        if (status == SONDE_OK)
            status = sondep_string_printf(&names, "%s'%s'", i > 0 ? ", " : "", store->hooks[i]);
    }
    if (status == SONDE_OK)
        status = SONDE_FAIL(SONDE_E_HOOK, "'%s' is not in the store '%s', which has %s", name, store->folder, names.text);
    sondep_string_release(&names);
    return status;
}

/* By the hash of config and weights: a name says nothing. */
sonde_status sonde_store_check_model(const sonde_store *store, const sonde_model *model)
{
    uint64_t hash = sonde_model_hash(model);

    if (hash == store->model_hash)
        return SONDE_OK;
    return SONDE_FAIL(SONDE_E_ARG,
                      "'%s' has activations of another model: '%s' with the hash %016llx, not '%s' with %016llx",
                      store->folder, store->model, (unsigned long long)store->model_hash, sonde_model_directory(model),
                      (unsigned long long)hash);
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------- */

/* The shard that has a row. */
static int64_t shard_of(const sonde_store *s, int64_t row)
{
    int64_t low = 0, high = s->n_shards - 1;

    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2;
        if (s->first_row[middle] <= row)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* Rows from `row` on that lie in one shard: that shard, which is *i, and how many of n. */
static int64_t together(int64_t *i, const sonde_store *s, int64_t row, int64_t n)
{
    int64_t left;

    /* up to the end of the shard, or of what is wanted */
    *i = shard_of(s, row);
    left = s->first_row[*i + 1] - row;
    return left < n ? left : n;
}

/* Element `first` of a tensor of shard i. */
static const char *element(const sonde_store *s, int64_t i, int64_t tensor, int64_t first)
{
    const sonde_tensor *t = &s->tensors[i * (s->layout.n_hooks + SONDEP_N_STORE_COLUMNS) + tensor];
    return (const char *)t->data + (size_t)first * sonde_dtype_bytes(t->dtype);
}

/* From one shard into the next, as they are read. */
void sondep_store_want(const sonde_store *s, int64_t hook, int64_t first, int64_t n)
{
    int64_t width = s->widths[hook], i;

    for (int64_t some; n > 0; first += some, n -= some) {
        some = together(&i, s, first, n);
        sondep_file_want(element(s, i, hook, (first - s->first_row[i]) * width),
                         (size_t)(some * width) * (size_t)sonde_dtype_bytes(s->layout.dtype));
    }
}

/* What was read does not stay, or a training would seem to hold all of the store. */
void sondep_store_forget(const sonde_store *s)
{
    for (int64_t i = 0; i < s->n_shards; i++)
        sondep_safetensors_forget(s->shards[i]);
}

/* From one shard into the next where the rows go over its end. */
sonde_status sonde_store_read(float *out, const sonde_store *s, int64_t hook, int64_t first, int64_t n)
{
    int64_t width = s->widths[hook], i, at;

    SONDE_ASSERT(hook >= 0 && hook < s->layout.n_hooks && first >= 0 && n >= 0 && n <= s->n_rows - first);
    for (int64_t some; n > 0; out += some * width, first += some, n -= some) {
        some = together(&i, s, first, n);
        sonde_convert_to_f32(out, element(s, i, hook, (first - s->first_row[i]) * width), s->layout.dtype, some * width);
        /* a harvest writes none: the disk has lost what was there */
        at = sondep_find_nonfinite(out, some * width, false);
        if (at >= 0)
            return SONDE_FAIL(SONDE_E_NONFINITE, "'%s', shard %lld: '%s' is %g at row %lld, column %lld", s->folder,
                              (long long)i, s->hooks[hook], (double)out[at],
                              (long long)(first - s->first_row[i] + at / width), (long long)(at % width));
    }
    return SONDE_OK;
}

/* Some elements of a column, if they are wanted. */
static void copy_column(void *out, const sonde_store *s, int64_t column, int64_t first, int64_t n)
{
    size_t size = column == SONDEP_STORE_DOCUMENT ? sizeof(int64_t) : sizeof(int32_t);
    char *to = out;
    int64_t i;

    /* as in sonde_store_read, without a conversion */
    for (int64_t some; to != NULL && n > 0; to += (size_t)some * size, first += some, n -= some) {
        some = together(&i, s, first, n);
        memcpy(to, element(s, i, s->layout.n_hooks + column, first - s->first_row[i]), (size_t)some * size);
    }
}

/* Those of the three that are wanted. */
void sonde_store_places(int32_t *tokens, int64_t *documents, int32_t *positions, const sonde_store *store, int64_t first,
                        int64_t n)
{
    SONDE_ASSERT(first >= 0 && n >= 0 && n <= store->n_rows - first);
    copy_column(tokens, store, SONDEP_STORE_TOKENS, first, n);
    copy_column(documents, store, SONDEP_STORE_DOCUMENT, first, n);
    copy_column(positions, store, SONDEP_STORE_POSITION, first, n);
}
