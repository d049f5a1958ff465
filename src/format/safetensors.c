/* safetensors.c - reading safetensors: one file, or shards with an index.      floor 2: format
 *
 * Files are mapped and tensors are views of them. All names of all shards stand in one sorted table. A tensor whose type
 * this library lacks (8-bit floats) does not spoil the file: it is an error when it is asked for.
 */
#include "format/safetensors.h"

#include "base/base.h"
#include "format/json.h"

#include <stdlib.h>

/* Whether a text ends in `end`. */
static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && memcmp(text + n - m, end, m) == 0;
}

/* Order of the table: names as bytes. */
static int by_name(const void *a, const void *b)
{
    return strcmp(((const sondep_entry *)a)->name, ((const sondep_entry *)b)->name);
}

/* The entry of a name, readable or not; NULL if there is none. */
static sondep_entry *find(const sonde_safetensors *file, const char *name)
{
    sondep_entry key = {.name = (char *)(uintptr_t)name};
    return file->n_entries == 0 ? NULL : bsearch(&key, file->entries, (size_t)file->n_entries, sizeof key, by_name);
}

/* ---- shards ------------------------------------------------------------------------------------------------------ */

/* A shard's name comes from the index, which may be hostile: it may not lead out of the index's folder. */
static sonde_status check_shard_name(const char *name, const char *path)
{
    bool is_bad = name[0] == '\0' || name[0] == '/';
    /* Each step of the path in turn: none may be "..". */
    for (const char *p = name; !is_bad && p != NULL; p = strchr(p, '/')) {
        p += *p == '/';
        is_bad = strncmp(p, "..", 2) == 0 && (p[2] == '/' || p[2] == '\0');
    }
    if (is_bad)
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s' names the file '%s', which is not inside its folder", path, name);
    return SONDE_OK;
}

/* The distinct names of shards in a weight map, sorted; borrowed from it. */
static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static sonde_status list_shards(const char ***out, int64_t *n_out, json_t *weight_map, const char *path)
{
    const char **names, *key;
    int64_t n = 0, n_distinct = 0;
    json_t *value;

    /* Room for one name a tensor; sorting brings the equal ones together. */
    SONDE_TRY(SONDE_NEW(names, (int64_t)json_object_size(weight_map)));
    *out = names;
    json_object_foreach(weight_map, key, value)
    {
        const char *name = json_string_value(value);
        if (name == NULL || strlen(name) != json_string_length(value))
            return SONDE_FAIL(SONDE_E_FORMAT, "'%s': the file of tensor '%s' is not a name", path, key);
        SONDE_TRY(check_shard_name(name, path));
        names[n++] = name;
    }
    if (n > 0)
        qsort(names, (size_t)n, sizeof *names, by_text);
    for (int64_t i = 0; i < n; i++)
        if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
            names[n_distinct++] = names[i];
    *n_out = n_distinct;
    return SONDE_OK;
}

/* Keeps the entry of each shard that the index gives to that shard, and drops the others. */
static void drop_unlisted(sonde_safetensors *file, json_t *weight_map, const char *const *shards)
{
    int64_t n = 0;
    for (int64_t i = 0; i < file->n_entries; i++) {
        sondep_entry *e = &file->entries[i];
        const char *shard = json_string_value(json_object_get(weight_map, e->name));
        if (shard != NULL && strcmp(shard, shards[e->shard]) == 0) {
            file->entries[n++] = *e;
        } else {
            sondep_free(e->name);
            sondep_free(e->unsupported);
        }
    }
    file->n_entries = n;
}

/* Every tensor that the index promises must be in the shard that it names. */
static sonde_status check_all_found(const sonde_safetensors *file, json_t *weight_map, const char *path)
{
    const char *key;
    json_t *value;
    json_object_foreach(weight_map, key, value)
    {
        if (find(file, key) == NULL)
            return SONDE_FAIL(SONDE_E_NOTFOUND, "tensor '%s' is missing in '%s', where '%s' says it is", key,
                              json_string_value(value), path);
    }
    return SONDE_OK;
}

/* Puts the table in order, so that names can be searched. */
static void sort_entries(sonde_safetensors *file)
{
    if (file->n_entries > 0)
        qsort(file->entries, (size_t)file->n_entries, sizeof *file->entries, by_name);
}

/* Opens all shards of an index. A tensor that two shards hold is taken from the one that the index names. */
static sonde_status open_index(sonde_safetensors *file, const char *path)
{
    const char **names = NULL, *slash = strrchr(path, '/');
    char *folder = NULL, *shard_path = NULL;
    json_t *root = NULL, *weight_map;
    sonde_status status;

    SONDE_TRY_DONE(sondep_json_load(&root, path));
    weight_map = json_object_get(root, "weight_map");
    if (!json_is_object(weight_map)) {
        status = SONDE_FAIL(SONDE_E_FORMAT, "'%s' is not an index of safetensors files: 'weight_map' is missing", path);
        goto done;
    }
    /* Names of shards are relative to the folder of the index. */
    SONDE_TRY_DONE(sondep_copy_bytes(&folder, slash ? path : ".", slash ? (size_t)(slash - path) + 1 : 1));
    SONDE_TRY_DONE(list_shards(&names, &file->n_shards, weight_map, path));
    SONDE_TRY_DONE(SONDE_NEW(file->shards, file->n_shards));
    for (int64_t i = 0; i < file->n_shards; i++) {
        SONDE_TRY_DONE(sondep_path_join(&shard_path, folder, names[i]));
        SONDE_TRY_DONE(sondep_safetensors_read_shard(file, i, shard_path));
        sondep_free(shard_path);
        shard_path = NULL;
    }
    /* The index decides what there is; the table is searched only once it is in order. */
    drop_unlisted(file, weight_map, names);
    sort_entries(file);
    status = check_all_found(file, weight_map, path);
done:
    sondep_free(shard_path);
    sondep_free(folder);
    sondep_free((void *)names);
    json_decref(root);
    return status;
}

/* Opens a file that holds everything. */
static sonde_status open_single(sonde_safetensors *file, const char *path)
{
    file->n_shards = 1;
    SONDE_TRY(SONDE_NEW(file->shards, 1));
    SONDE_TRY(sondep_safetensors_read_shard(file, 0, path));
    sort_entries(file);
    return SONDE_OK;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* The file to open for a path: for a directory, the one file or the index in it. */
static sonde_status find_file(char **out, const char *path)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json"};

    *out = NULL;
    /* A path that is no directory is taken as it is; whether it exists is seen when it is opened. */
    if (!sondep_is_directory(path))
        return sondep_copy_string(out, path);
    for (int i = 0; i < 2; i++) {
        SONDE_TRY(sondep_path_join(out, path, names[i]));
        if (sondep_is_file(*out))
            return SONDE_OK;
        sondep_free(*out);
        *out = NULL;
    }
    return SONDE_FAIL(SONDE_E_NOTFOUND, "directory '%s' has neither '%s' nor '%s'", path, names[0], names[1]);
}

/* Lists the tensors that can be read. */
static sonde_status list_readable(sonde_safetensors *file)
{
    SONDE_TRY(SONDE_NEW(file->readable, file->n_entries));
    for (int64_t i = 0; i < file->n_entries; i++) {
        const sondep_entry *e = &file->entries[i];
        if (e->unsupported == NULL)
            file->readable[file->n_readable++] = i;
        else
            sondep_log(SONDE_LOG_NOTE, "'%s': tensor '%s' has %s, which is not read", file->path, e->name, e->unsupported);
    }
    return SONDE_OK;
}

/* What a failed opening leaves behind is freed by close, which takes a half-made file. */
sonde_status sonde_safetensors_open(sonde_safetensors **out, const char *path)
{
    sonde_safetensors *file;
    sonde_status status;

    *out = NULL;
    SONDE_TRY(SONDE_NEW(file, 1));
    SONDE_TRY_DONE(find_file(&file->path, path));
    SONDE_TRY_DONE(ends_with(file->path, ".json") ? open_index(file, file->path) : open_single(file, file->path));
    SONDE_TRY_DONE(list_readable(file));
    *out = file;
done:
    if (status != SONDE_OK)
        sonde_safetensors_close(file);
    return status;
}

/* Frees what a shard owns and unmaps its file. */
static void release_shard(sondep_shard *s)
{
    for (int64_t i = 0; i < 2 * s->n_metadata; i++)
        sondep_free(s->metadata[i]);
    sondep_free(s->metadata);
    sondep_file_release(&s->file);
}

void sonde_safetensors_close(sonde_safetensors *file)
{
    if (file == NULL)
        return;
    /* Entries own their names; their tensors are views of the shards. */
    for (int64_t i = 0; i < file->n_entries; i++) {
        sondep_free(file->entries[i].name);
        sondep_free(file->entries[i].unsupported);
    }
    for (int64_t i = 0; file->shards != NULL && i < file->n_shards; i++)
        release_shard(&file->shards[i]);
    sondep_free(file->entries);
    sondep_free(file->readable);
    sondep_free(file->shards);
    sondep_free(file->path);
    sondep_free(file);
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

int64_t sonde_safetensors_n(const sonde_safetensors *file)
{
    return file->n_readable;
}

/* The i-th tensor that can be read. */
static const sondep_entry *readable(const sonde_safetensors *file, int64_t i)
{
    SONDE_ASSERT(i >= 0 && i < file->n_readable);
    return &file->entries[file->readable[i]];
}

const char *sonde_safetensors_name(const sonde_safetensors *file, int64_t i)
{
    return readable(file, i)->name;
}

void sonde_safetensors_at(sonde_tensor *out, const sonde_safetensors *file, int64_t i)
{
    *out = readable(file, i)->tensor;
}

/* `out` is written last, so that a failure leaves it alone. */
sonde_status sonde_safetensors_get(sonde_tensor *out, const sonde_safetensors *file, const char *name)
{
    const sondep_entry *e = find(file, name);

    if (e == NULL)
        return SONDE_FAIL(SONDE_E_NOTFOUND, "tensor '%s' is missing in '%s'", name, file->path);
    if (e->unsupported != NULL)
        return SONDE_FAIL(SONDE_E_UNSUPPORTED, "tensor '%s' of '%s' has %s, which is not supported", name, file->path,
                          e->unsupported);
    *out = e->tensor;
    return SONDE_OK;
}

/* True for a tensor that cannot be read, too: asking for it then says why. */
bool sonde_safetensors_has(const sonde_safetensors *file, const char *name)
{
    return find(file, name) != NULL;
}

const char *sonde_safetensors_metadata(const sonde_safetensors *file, const char *key)
{
    /* The first shard that has the key wins: in practice all say the same. */
    for (int64_t s = 0; s < file->n_shards; s++)
        for (int64_t i = 0; i < file->shards[s].n_metadata; i++)
            if (strcmp(file->shards[s].metadata[2 * i], key) == 0)
                return file->shards[s].metadata[2 * i + 1];
    return NULL;
}

/* Shard by shard. */
void sondep_safetensors_forget(const sonde_safetensors *file)
{
    for (int64_t i = 0; i < file->n_shards; i++)
        sondep_file_forget(&file->shards[i].file);
}
