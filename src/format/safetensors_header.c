/* safetensors_header.c - the header of one safetensors file, checked.          floor 2: format
 *
 * The file: 8 bytes of length (little endian), so many bytes of JSON, then the data of all tensors without holes:
 *
 *   {"__metadata__": {text: text}, name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
 *
 * Checked is what the official library checks: lengths, types, that each tensor's bytes are its shape's product, and that
 * the tensors tile the data from its first byte to its last.
 * Source: safetensors 0.7 (Rust), Metadata::validate and read_metadata.
 */
#include "format/safetensors.h"

#include "base/base.h"
#include "format/json.h"

#include <stdlib.h>

enum { LENGTH_BYTES = 8, MAX_HEADER_BYTES = 100000000 };

/* Types that the format has and this library does not read, with their bits, so that their sizes are checked all the same.
 */
static const struct {
    const char *name;
    int bits;
} other_types[] = {
    {"F4", 4},      {"F6_E2M3", 6},     {"F6_E3M2", 6},     {"F8_E5M2", 8}, {"F8_E4M3", 8},
    {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"C64", 64},
};

/* Bits of an element, 0 for a name that is not known. */
static int element_bits(sonde_dtype *dtype, bool *is_ours, const char *name)
{
    for (int i = 0; i < SONDE_N_DTYPES; i++)
        if (strcmp(sonde_dtype_name((sonde_dtype)i), name) == 0) {
            *dtype = (sonde_dtype)i;
            *is_ours = true;
            return 8 * (int)sonde_dtype_bytes(*dtype);
        }
    *is_ours = false;
    for (size_t i = 0; i < sizeof other_types / sizeof *other_types; i++)
        if (strcmp(other_types[i].name, name) == 0)
            return other_types[i].bits;
    return 0;
}

/* The place of an error: file and tensor. */
#define TENSOR "'%s', tensor '%s': "

/* Two whole numbers [begin, end) inside the data. */
static sonde_status read_offsets(sondep_entry *e, const json_t *object, int64_t data_bytes, const char *path)
{
    const json_t *pair = json_object_get(object, "data_offsets");
    const json_t *begin = json_array_get(pair, 0), *end = json_array_get(pair, 1);

    if (json_array_size(pair) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return SONDE_FAIL(SONDE_E_FORMAT, TENSOR "'data_offsets' is not two whole numbers", path, e->name);
    e->begin = json_integer_value(begin);
    e->end = json_integer_value(end);
    if (e->begin < 0 || e->end < e->begin || e->end > data_bytes)
        return SONDE_FAIL(SONDE_E_FORMAT, TENSOR "bytes %lld to %lld are outside the data, which has %lld bytes", path,
                          e->name, (long long)e->begin, (long long)e->end, (long long)data_bytes);
    return SONDE_OK;
}

/* The shape; *n is the number of elements. A shape with more axes than a tensor has is legal, and marked. */
static sonde_status read_shape(sondep_entry *e, int64_t *n, const json_t *object, const char *path)
{
    const json_t *shape = json_object_get(object, "shape");
    size_t rank = json_array_size(shape);

    if (!json_is_array(shape))
        return SONDE_FAIL(SONDE_E_FORMAT, TENSOR "'shape' is missing or is not an array", path, e->name);
    *n = 1;
    for (size_t i = 0; i < rank; i++) {
        const json_t *axis = json_array_get(shape, i);
        int64_t length = json_integer_value(axis);
        if (!json_is_integer(axis) || length < 0)
            return SONDE_FAIL(SONDE_E_FORMAT, TENSOR "axis %zu of 'shape' is not a whole number", path, e->name, i);
        if (__builtin_mul_overflow(*n, length, n))
            return SONDE_FAIL(SONDE_E_FORMAT, TENSOR "the product of 'shape' is too large, at axis %zu of %lld", path,
                              e->name, i, (long long)length);
        if (i < SONDE_MAX_RANK)
            e->tensor.shape[i] = length;
    }
    e->tensor.rank = (int)(rank < SONDE_MAX_RANK ? rank : SONDE_MAX_RANK);
    return SONDE_OK;
}

/* Marks a tensor that is legal but cannot be read, with the reason. */
static sonde_status mark_unsupported(sondep_entry *e, const char *type, size_t rank)
{
    sondep_string why = {0};
    sonde_status status = rank > SONDE_MAX_RANK
                              ? sondep_string_printf(&why, "%zu axes, more than %d", rank, (int)SONDE_MAX_RANK)
                              : sondep_string_printf(&why, "element type '%s'", type);
    e->unsupported = why.text;
    return status;
}

/* Bytes of n elements against the bytes that the tensor takes. */
static sonde_status check_size(const sondep_entry *e, int64_t n, int bits, const char *path)
{
    int64_t n_bits, bytes = e->end - e->begin;
    if (__builtin_mul_overflow(n, (int64_t)bits, &n_bits))
        return SONDE_FAIL(SONDE_E_FORMAT, TENSOR "%lld elements of %d bits are too large", path, e->name, (long long)n,
                          bits);
    if (n_bits % 8 != 0 || n_bits / 8 != bytes)
        return SONDE_FAIL(SONDE_E_FORMAT, TENSOR "its shape needs %lld bytes, bytes %lld to %lld are %lld", path, e->name,
                          (long long)(n_bits / 8 + (n_bits % 8 != 0)), (long long)e->begin, (long long)e->end,
                          (long long)bytes);
    return SONDE_OK;
}

/* One tensor: its name first, so that every error can name it; then place, shape and type, and that they agree. */
static sonde_status read_entry(sondep_entry *e, const char *name, const json_t *object, const char *data, int64_t data_bytes,
                               const char *path)
{
    const char *type = json_string_value(json_object_get(object, "dtype"));
    size_t rank = json_array_size(json_object_get(object, "shape"));
    int64_t n = 0, shape[SONDE_MAX_RANK];
    sonde_dtype dtype = SONDE_F32;
    bool is_ours;
    int bits;

    SONDE_TRY(sondep_copy_string(&e->name, name));
    if (!json_is_object(object) || type == NULL)
        return SONDE_FAIL(SONDE_E_FORMAT, TENSOR "'dtype' is missing or is not a string", path, name);
    SONDE_TRY(read_offsets(e, object, data_bytes, path));
    SONDE_TRY(read_shape(e, &n, object, path));
    bits = element_bits(&dtype, &is_ours, type);
    if (bits == 0)
        return SONDE_FAIL(SONDE_E_UNSUPPORTED, TENSOR "element type '%s' is not known", path, name, type);
    SONDE_TRY(check_size(e, n, bits, path));
    /* Legal, but not for us: an error only if somebody asks for it. */
    if (!is_ours || rank > SONDE_MAX_RANK)
        return mark_unsupported(e, type, rank);
    /* The data is a view of the mapped file, at whatever alignment the header left it. */
    memcpy(shape, e->tensor.shape, sizeof shape);
    if (sonde_tensor_view(&e->tensor, (void *)(uintptr_t)(data + e->begin), dtype, shape, (int)rank) != SONDE_OK)
        return SONDE_FAIL(SONDE_E_FORMAT, TENSOR "its shape is too large", path, name);
    return SONDE_OK;
}

/* Copies the texts of __metadata__; null and absent mean none. */
static sonde_status read_metadata(sondep_shard *s, json_t *object)
{
    const char *key;
    json_t *value;

    if (object == NULL || json_is_null(object))
        return SONDE_OK;
    if (!json_is_object(object))
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s': '__metadata__' is not an object", s->file.path);
    SONDE_TRY(SONDE_NEW(s->metadata, 2 * (int64_t)json_object_size(object)));
    json_object_foreach(object, key, value)
    {
        char **pair = s->metadata + 2 * s->n_metadata;
        if (!json_is_string(value))
            return SONDE_FAIL(SONDE_E_FORMAT, "'%s': field '%s' of '__metadata__' is not a string", s->file.path, key);
        s->n_metadata++; /* before the copies, so that close frees what there is */
        SONDE_TRY(sondep_copy_string(&pair[0], key));
        SONDE_TRY(sondep_copy_bytes(&pair[1], json_string_value(value), json_string_length(value)));
    }
    return SONDE_OK;
}

/* Order of places; of two tensors at one place the empty one comes first. */
static int by_offset(const void *a, const void *b)
{
    const sondep_entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* The tensors must tile the data: no byte in two of them, none in none. Sorts them by place. */
static sonde_status check_tiling(sondep_entry *entries, int64_t n, int64_t data_bytes, const char *path)
{
    int64_t end = 0;

    if (n > 0)
        qsort(entries, (size_t)n, sizeof *entries, by_offset);
    for (int64_t i = 0; i < n; i++) {
        const sondep_entry *e = &entries[i];
        if (e->begin < end)
            return SONDE_FAIL(SONDE_E_FORMAT,
                              TENSOR "it begins at byte %lld of the data, inside tensor '%s', which ends at %lld", path,
                              e->name, (long long)e->begin, entries[i - 1].name, (long long)end);
        if (e->begin > end)
            return SONDE_FAIL(SONDE_E_FORMAT,
                              TENSOR "it begins at byte %lld of the data, bytes from %lld on belong to no tensor", path,
                              e->name, (long long)e->begin, (long long)end);
        end = e->end;
    }
    if (end != data_bytes)
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s': the tensors end at byte %lld of the data, which has %lld bytes", path,
                          (long long)end, (long long)data_bytes);
    return SONDE_OK;
}

/* The JSON of the header; *data is what follows it. */
static sonde_status parse_header(json_t **out, const char **data, int64_t *data_bytes, const sondep_file *f)
{
    uint64_t length = 0;

    *out = NULL;
    if (f->bytes < LENGTH_BYTES)
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is truncated: %zu bytes, a safetensors file has at least %d", f->path,
                          f->bytes, (int)LENGTH_BYTES);
    /* The length is checked before it is used: against the library's limit, then against the file. */
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        length = length << 8 | (unsigned char)f->data[i];
    if (length > MAX_HEADER_BYTES)
        return SONDE_FAIL(SONDE_E_FORMAT,
                          "'%s' is not a safetensors file: bytes 0 to 7 say that the header has %llu bytes, more than %d",
                          f->path, (unsigned long long)length, (int)MAX_HEADER_BYTES);
    if (length > f->bytes - LENGTH_BYTES)
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is truncated: the header ends at byte %llu, the file at %zu", f->path,
                          (unsigned long long)length + LENGTH_BYTES, f->bytes);
    SONDE_TRY(sondep_json_parse_exact(out, f->data + LENGTH_BYTES, (size_t)length, f->path, LENGTH_BYTES));
    *data = f->data + LENGTH_BYTES + length;
    *data_bytes = (int64_t)(f->bytes - LENGTH_BYTES - length);
    return SONDE_OK;
}

/* Room in file->entries for n more. */
static sonde_status grow_entries(sonde_safetensors *file, int64_t n)
{
    sondep_entry *entries = sondep_resize(file->entries, file->n_entries + n, sizeof *entries);
    if (entries == NULL)
        return SONDE_E_NOMEM;
    memset(entries + file->n_entries, 0, (size_t)n * sizeof *entries);
    file->entries = entries;
    return SONDE_OK;
}

/* On failure the entries made so far stay in `file`, whose close frees them. */
sonde_status sondep_safetensors_read_shard(sonde_safetensors *file, int64_t shard, const char *path)
{
    sondep_shard *s = &file->shards[shard];
    json_t *header = NULL, *value;
    const char *data = NULL, *name;
    int64_t data_bytes = 0;
    sonde_status status;

    SONDE_TRY_DONE(sondep_file_map(&s->file, path));
    SONDE_TRY_DONE(parse_header(&header, &data, &data_bytes, &s->file));
    if (!json_is_object(header)) {
        status = SONDE_FAIL(SONDE_E_FORMAT, "'%s' is not a safetensors file: its header is not a JSON object", path);
        goto done;
    }
    SONDE_TRY_DONE(read_metadata(s, json_object_get(header, "__metadata__")));
    SONDE_TRY_DONE(grow_entries(file, (int64_t)json_object_size(header)));
    s->first_entry = file->n_entries;
    json_object_foreach(header, name, value)
    {
        sondep_entry *e = &file->entries[file->n_entries];
        if (strcmp(name, "__metadata__") == 0)
            continue;
        e->shard = shard;
        file->n_entries++; /* before it is read, so that close frees what there is */
        SONDE_TRY_DONE(read_entry(e, name, value, data, data_bytes, path));
    }
    s->n_entries = file->n_entries - s->first_entry;
    status = check_tiling(file->entries + s->first_entry, s->n_entries, data_bytes, path);
done:
    json_decref(header);
    return status;
}
