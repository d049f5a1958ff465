/* shard.c - one file of a store: what it has, and whether it has it.            floor 6: run */
#include "run/store.h"

#include "base/file.h"
#include "format/json.h"

#include <stdio.h>

/* ---- what it has ------------------------------------------------------------------------------------------------------------ */

/* Hooks come first, in the order of the harvest; columns behind them. */
const char *sondep_shard_tensor(sonde_tensor *out, const sondep_shard_layout *layout, int64_t i, int64_t n_rows)
{
    static const char *const names[] = {"tokens", "document", "position"};
    static const sonde_dtype types[] = {SONDE_I32, SONDE_I64, SONDE_I32};
    int64_t column = i - layout->n_hooks;

    /* a hook: a matrix of the store's type */
    if (column < 0) {
        *out = (sonde_tensor){.dtype = layout->dtype, .rank = 2, .shape = {n_rows, layout->widths[i]}};
        return layout->hooks[i];
    }
    *out = (sonde_tensor){.dtype = types[column], .rank = 1, .shape = {n_rows}};
    return names[column];
}

/* Numbers of all hooks, and where the row comes from. */
int64_t sondep_shard_row_bytes(const sondep_shard_layout *layout)
{
    sonde_tensor t;
    size_t bytes = 0;

    for (int64_t i = 0; i < layout->n_hooks + SONDEP_N_STORE_COLUMNS; i++) {
        sondep_shard_tensor(&t, layout, i, 1);
        bytes += sonde_tensor_bytes(&t);
    }
    return (int64_t)bytes;
}

/* Five digits, so that names sort. */
sonde_status sondep_shard_path(char **out, const char *folder, int64_t i)
{
    char name[40];
    snprintf(name, sizeof name, "shard-%05lld.safetensors", (long long)i);
    return sondep_path_join(out, folder, name);
}

/* A shard that lies elsewhere still says what it is a part of. */
void sondep_shard_describe(sondep_shard_texts *out, const char *id, int64_t i, int64_t first_row)
{
    static const char *const keys[] = {"schema", "store", "shard", "first_row"};

    snprintf(out->values[0], SONDEP_SHARD_TEXT, SONDEP_STORE_SCHEMA);
    snprintf(out->values[1], SONDEP_SHARD_TEXT, "%s", id);
    snprintf(out->values[2], SONDEP_SHARD_TEXT, "%lld", (long long)i);
    snprintf(out->values[3], SONDEP_SHARD_TEXT, "%lld", (long long)first_row);
    for (int k = 0; k < SONDEP_N_SHARD_TEXTS; k++) {
        out->pairs[2 * k] = keys[k];
        out->pairs[2 * k + 1] = out->values[k];
    }
}

/* ---- whether it has it ------------------------------------------------------------------------------------------------------ */

/* The bytes that a header promises; 0 where the header itself is not whole. */
static int64_t promised_bytes(const sondep_file *f)
{
    const size_t length_bytes = 8;
    json_t *header, *value;
    const char *name;
    uint64_t length = 0;
    int64_t end = 0;

    /* little endian, as the format has it */
    for (size_t i = length_bytes; i > 0 && f->bytes >= length_bytes; i--)
        length = length << 8 | (unsigned char)f->data[i - 1];
    /* what is not there cannot be read: then the reader's own words stand */
    if (length == 0 || length > f->bytes - length_bytes)
        return 0;
    if (sondep_json_parse_exact(&header, f->data + length_bytes, (size_t)length, f->path, (int64_t)length_bytes) != SONDE_OK)
        return 0;
    /* the tensor that lies last says where the file ends */
    json_object_foreach(header, name, value)
    {
        int64_t last = json_integer_value(json_array_get(json_object_get(value, "data_offsets"), 1));
        end = last > end ? last : end;
    }
    json_decref(header);
    return (int64_t)length_bytes + (int64_t)length + end;
}

/* A file that is no safetensors file, in the words of a store: cut, and by how much, where that is it. */
static sonde_status explain(sonde_status status, const char *path)
{
    sondep_file file = {0};
    sonde_error error = *sonde_last_error();
    int64_t bytes;

    /* no memory, no file: nothing to explain */
    if (status != SONDE_E_FORMAT || sondep_file_map(&file, path) != SONDE_OK)
        return sondep_fail(error.status, error.file, error.line, "%s", error.message);
    /* looking may have left an error of its own: the one of the reader is put back */
    bytes = promised_bytes(&file);
    if (bytes > (int64_t)file.bytes)
        status = SONDE_FAIL(SONDE_E_FORMAT, "'%s' is cut: it has %zu of %lld bytes, %lld are missing", path, file.bytes,
                            (long long)bytes, (long long)bytes - (long long)file.bytes);
    else
        status = sondep_fail(error.status, error.file, error.line, "%s", error.message);
    sondep_file_release(&file);
    return status;
}

/* Its texts are those that it must have. */
static sonde_status check_texts(const sonde_safetensors *file, const char *id, int64_t i, int64_t first_row,
                                const char *path)
{
    sondep_shard_texts own;

    sondep_shard_describe(&own, id, i, first_row);
    for (int k = 0; k < SONDEP_N_SHARD_TEXTS; k++) {
        const char *key = own.pairs[2 * k], *has = sonde_safetensors_metadata(file, key);
        if (has == NULL || strcmp(has, own.values[k]) != 0)
            return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is no shard of this store: its '%s' is %s, not %s", path, key,
                              has ? has : "missing", own.values[k]);
    }
    return SONDE_OK;
}

/* So are its tensors: all have the rows that the tokens have. */
static sonde_status check_tensors(int64_t *n_rows, const sonde_safetensors *file, const sondep_shard_layout *layout,
                                  const char *path)
{
    char have[160], want[160];
    sonde_tensor t, declared;

    /* the tokens say how many rows there are */
    SONDE_TRY(sonde_safetensors_get(&t, file, sondep_shard_tensor(&declared, layout, layout->n_hooks, 0)));
    *n_rows = t.shape[0];
    for (int64_t i = 0; i < layout->n_hooks + SONDEP_N_STORE_COLUMNS; i++) {
        const char *name = sondep_shard_tensor(&declared, layout, i, *n_rows);
        SONDE_TRY(sonde_safetensors_get(&t, file, name));
        /* both shapes are in the message, so that it can be seen which of them is wrong */
        if (t.dtype != declared.dtype || t.rank != declared.rank || t.shape[0] != *n_rows || t.shape[1] != declared.shape[1])
            return SONDE_FAIL(SONDE_E_FORMAT, "'%s': tensor '%s' is %s %s, not %s %s", path, name, sonde_dtype_name(t.dtype),
                              sonde_tensor_format_shape(have, sizeof have, &t), sonde_dtype_name(declared.dtype),
                              sonde_tensor_format_shape(want, sizeof want, &declared));
    }
    return SONDE_OK;
}

/* The reader has checked that the file is a safetensors file without holes; here it is held against the store. */
sonde_status sondep_shard_open(sonde_safetensors **out, int64_t *n_rows, const sondep_shard_layout *layout,
                               const char *folder, const char *id, int64_t i, int64_t first_row)
{
    sonde_safetensors *file = NULL;
    char *path = NULL;
    sonde_status status;

    *out = NULL;
    SONDE_TRY_DONE(sondep_shard_path(&path, folder, i));
    status = sonde_safetensors_open(&file, path);
    if (status != SONDE_OK) {
        status = explain(status, path);
        goto done;
    }
    SONDE_TRY_DONE(check_texts(file, id, i, first_row, path));
    SONDE_TRY_DONE(check_tensors(n_rows, file, layout, path));
    *out = file;
    file = NULL;
done:
    sonde_safetensors_close(file);
    sondep_free(path);
    return status;
}
