/* npy.c - numpy's array files: header, reading.                                floor 2: format
 *
 *   \x93NUMPY, version (2 bytes), length of the header (2 bytes in version 1, else 4), the header: a Python dictionary
 *   {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } padded with spaces and a newline; then the elements.
 *
 * Any order of the three keys and any spacing is read, nothing else of Python is.
 * Source: numpy/lib/format.py; NEP 1.
 */
#include "format/npy.h"

#include "base/file.h"
#include "format/sink.h"

#include <stdlib.h>

static const char magic[6] = {'\x93', 'N', 'U', 'M', 'P', 'Y'};
enum { MAGIC_BYTES = 6, ALIGN_BYTES = 64 };

#define ROW(name, value, bytes, safetensors, npy) npy,
static const char *const type_names[SONDE_N_DTYPES] = {SONDE_DTYPE_LIST(ROW)};
#undef ROW

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* Version 1.0, whose two bytes of length are enough for 8 axes. */
sonde_status sondep_npy_header(sondep_string *out, const sonde_tensor *t)
{
    size_t padding;

    SONDE_ASSERT(type_names[t->dtype][0] != '\0');
    SONDE_TRY(sondep_string_append(out, magic, MAGIC_BYTES));
    SONDE_TRY(sondep_string_append(out, "\x01\x00\x00\x00", 4)); /* version 1.0, and room for the length */
    SONDE_TRY(sondep_string_printf(out, "{'descr': '%s', 'fortran_order': False, 'shape': (", type_names[t->dtype]));
    for (int i = 0; i < t->rank; i++)
        SONDE_TRY(sondep_string_printf(out, "%s%lld", i ? ", " : "", (long long)t->shape[i]));
    SONDE_TRY(sondep_string_printf(out, "%s), }", t->rank == 1 ? "," : ""));
    /* Spaces and a newline up to a multiple of 64: numpy maps the elements where they lie. */
    padding = ALIGN_BYTES - 1 - out->n % ALIGN_BYTES;
    for (size_t i = 0; i < padding; i++)
        SONDE_TRY(sondep_string_append(out, " ", 1));
    SONDE_TRY(sondep_string_append(out, "\n", 1));
    out->text[8] = (char)((out->n - 10) & 0xff);
    out->text[9] = (char)((out->n - 10) >> 8 & 0xff);
    return SONDE_OK;
}

/* ---- the header's dictionary --------------------------------------------------------------------------------------- */

/* Where in the header we are; everything that fails names the byte. */
typedef struct npy_reader {
    const char *bytes, *path;
    size_t at, end;
} npy_reader;

/* The error of a header that does not read on as it should. */
static sonde_status fail_at(const npy_reader *r, const char *wanted)
{
    return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is not a numpy file: byte %zu of its header: %s expected", r->path, r->at,
                      wanted);
}

/* Past white space, which may stand between any two words. */
static void skip_space(npy_reader *r)
{
    while (r->at < r->end && strchr(" \t\r\n", r->bytes[r->at]) != NULL && r->bytes[r->at] != '\0')
        r->at++;
}

/* True, and past it, if the next character is c. */
static bool accept(npy_reader *r, char c)
{
    skip_space(r);
    if (r->at >= r->end || r->bytes[r->at] != c)
        return false;
    r->at++;
    return true;
}

/* True, and past it, if the next word is `word`. */
static bool accept_word(npy_reader *r, const char *word)
{
    size_t n = strlen(word);
    skip_space(r);
    if (r->end - r->at < n || memcmp(r->bytes + r->at, word, n) != 0)
        return false;
    r->at += n;
    return true;
}

/* A quoted string without escapes into out (cut to its size: no key and no type of ours is as long). */
static sonde_status read_quoted(char out[32], npy_reader *r)
{
    char quote = accept(r, '\'') ? '\'' : '"';
    size_t n = 0;

    if (quote == '"' && !accept(r, '"'))
        return fail_at(r, "a string");
    while (r->at < r->end && r->bytes[r->at] != quote) {
        if (n < 31)
            out[n++] = r->bytes[r->at];
        r->at++;
    }
    out[n] = '\0';
    return accept(r, quote) ? SONDE_OK : fail_at(r, "the end of a string");
}

/* A whole number, checked digit by digit. */
static sonde_status read_length(int64_t *out, npy_reader *r)
{
    int64_t value = 0;
    size_t first;

    skip_space(r);
    first = r->at;
    for (; r->at < r->end && r->bytes[r->at] >= '0' && r->bytes[r->at] <= '9'; r->at++)
        if (__builtin_mul_overflow(value, (int64_t)10, &value) ||
            __builtin_add_overflow(value, (int64_t)(r->bytes[r->at] - '0'), &value))
            return fail_at(r, "a smaller number");
    if (r->at == first)
        return fail_at(r, "a whole number");
    (void)accept(r, 'L'); /* Python 2 wrote 3L */
    *out = value;
    return SONDE_OK;
}

/* (), (3,), (3, 4): the comma behind the last number is optional from two on. */
static sonde_status read_shape(int64_t shape[SONDE_MAX_RANK], int *rank, npy_reader *r)
{
    *rank = 0;
    if (!accept(r, '('))
        return fail_at(r, "'('");
    while (!accept(r, ')')) {
        if (*rank == SONDE_MAX_RANK)
            return SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' has an array of more than %d axes", r->path, (int)SONDE_MAX_RANK);
        SONDE_TRY(read_length(&shape[(*rank)++], r));
        if (!accept(r, ',')) {
            if (!accept(r, ')'))
                return fail_at(r, "')'");
            break;
        }
    }
    return SONDE_OK;
}

/* "<f4" and the like; '=' and '|' are this machine's order. */
static sonde_status find_type(sondep_npy *out, const char *text, const char *path)
{
    /* The first character is the order of bytes, the rest kind and size. */
    for (int i = 0; i < SONDE_N_DTYPES; i++)
        if (type_names[i][0] != '\0' && text[0] != '\0' && strcmp(type_names[i] + 1, text + 1) == 0 &&
            strchr("<>=|", text[0])) {
            out->tensor.dtype = (sonde_dtype)i;
            out->is_big_endian = text[0] == '>';
            return SONDE_OK;
        }
    return SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' has elements of type '%s', which is not supported", path, text);
}

/* Checks the six bytes, the version and the length; *r then spans the dictionary. */
static sonde_status find_dictionary(npy_reader *r, const char *bytes, size_t n, const char *path)
{
    size_t length_bytes, length = 0;

    if (n < MAGIC_BYTES + 4 || memcmp(bytes, magic, MAGIC_BYTES) != 0)
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is not a numpy file: it does not begin with \\x93NUMPY, or ends there",
                          path);
    if (bytes[6] < 1 || bytes[6] > 3)
        return SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' is a numpy file of version %d, known are 1 to 3", path,
                          (unsigned char)bytes[6]);
    /* Version 1 has 2 bytes of length, the later ones 4; version 3 differs from 2 in allowing UTF-8 in names. */
    length_bytes = bytes[6] == 1 ? 2 : 4;
    r->at = MAGIC_BYTES + 2 + length_bytes;
    if (n < r->at)
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is truncated: %zu bytes", path, n);
    for (size_t i = length_bytes; i-- > 0;)
        length = length << 8 | (unsigned char)bytes[MAGIC_BYTES + 2 + i];
    if (length > n - r->at)
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is truncated: the header ends at byte %zu, the file at %zu", path,
                          r->at + length, n);
    r->bytes = bytes;
    r->path = path;
    r->end = r->at + length;
    return SONDE_OK;
}

/* One `key: value` of the dictionary; `seen` gathers a bit for each key. */
static sonde_status read_item(sondep_npy *out, unsigned *seen, int64_t shape[SONDE_MAX_RANK], int *rank, npy_reader *r)
{
    char key[32], type[32];

    SONDE_TRY(read_quoted(key, r));
    if (!accept(r, ':'))
        return fail_at(r, "':'");
    /* Each key may come once or more, the last one holds, as in a Python dictionary. */
    if (strcmp(key, "descr") == 0) {
        *seen |= 1;
        if (accept(r, '['))
            return SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' has elements with fields, which are not supported", r->path);
        SONDE_TRY(read_quoted(type, r));
        return find_type(out, type, r->path);
    }
    if (strcmp(key, "fortran_order") == 0) {
        *seen |= 2;
        out->is_fortran = accept_word(r, "True");
        return out->is_fortran || accept_word(r, "False") ? SONDE_OK : fail_at(r, "True or False");
    }
    if (strcmp(key, "shape") == 0) {
        *seen |= 4;
        return read_shape(shape, rank, r);
    }
    return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is not a numpy file: its header has the key '%s'", r->path, key);
}

/* Dictionary, type, shape, then whether the elements are all there: nothing is allocated before that is known. */
sonde_status sondep_npy_parse(sondep_npy *out, const char *bytes, size_t n, const char *path)
{
    npy_reader r = {0};
    unsigned seen = 0;
    int64_t shape[SONDE_MAX_RANK];
    int rank = 0;

    *out = (sondep_npy){0};
    SONDE_TRY(find_dictionary(&r, bytes, n, path));
    if (!accept(&r, '{'))
        return fail_at(&r, "'{'");
    /* Items and commas, the last of which Python may leave standing. */
    while (!accept(&r, '}')) {
        SONDE_TRY(read_item(out, &seen, shape, &rank, &r));
        if (!accept(&r, ',')) {
            if (!accept(&r, '}'))
                return fail_at(&r, "'}'");
            break;
        }
    }
    /* All three keys, or there is no telling what the bytes are. */
    if (seen != 7)
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is not a numpy file: its header lacks '%s'", path,
                          !(seen & 1)   ? "descr"
                          : !(seen & 2) ? "fortran_order"
                                        : "shape");
    out->header_bytes = r.end;
    if (sonde_tensor_view(&out->tensor, NULL, out->tensor.dtype, shape, rank) != SONDE_OK)
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s' has an array whose shape is too large", path);
    if (sonde_tensor_bytes(&out->tensor) > n - out->header_bytes)
        return SONDE_FAIL(SONDE_E_FORMAT,
                          "'%s' is truncated: the array needs %zu bytes from byte %zu on, the file ends at %zu", path,
                          sonde_tensor_bytes(&out->tensor), out->header_bytes, n);
    return SONDE_OK;
}

/* ---- elements ---------------------------------------------------------------------------------------------------- */

/* Turns big-endian elements around, in place. */
static void swap_bytes(char *data, int64_t n, size_t size)
{
    for (int64_t i = 0; i < n; i++)
        for (size_t a = 0, b = size - 1; a < b; a++, b--) {
            char *element = data + (size_t)i * size, byte = element[a];
            element[a] = element[b];
            element[b] = byte;
        }
}

/* Column-major to row-major: walks the target in order and keeps the source's place by its strides. */
static void from_fortran(char *out, const char *in, const sonde_tensor *t, size_t size)
{
    int64_t index[SONDE_MAX_RANK] = {0}, n = sonde_tensor_n_elements(t);

    for (int64_t i = 0; i < n; i++) {
        int64_t from = 0, stride = 1;
        for (int a = 0; a < t->rank; a++) {
            from += index[a] * stride;
            stride *= t->shape[a];
        }
        memcpy(out + (size_t)i * size, in + (size_t)from * size, size);
        for (int a = t->rank - 1; a >= 0 && ++index[a] == t->shape[a]; a--)
            index[a] = 0;
    }
}

/* Order of axes first, then order of bytes: both work on whole elements. */
sonde_status sondep_npy_decode(sonde_tensor *out, const char *bytes, size_t n, const char *path)
{
    sondep_npy array;
    size_t size;
    char *data;

    SONDE_TRY(sondep_npy_parse(&array, bytes, n, path));
    size = sonde_dtype_bytes(array.tensor.dtype);
    SONDE_TRY(SONDE_NEW(data, (int64_t)sonde_tensor_bytes(&array.tensor)));
    if (array.is_fortran)
        from_fortran(data, bytes + array.header_bytes, &array.tensor, size);
    else
        memcpy(data, bytes + array.header_bytes, sonde_tensor_bytes(&array.tensor));
    if (array.is_big_endian)
        swap_bytes(data, sonde_tensor_n_elements(&array.tensor), size);
    *out = array.tensor;
    out->data = data;
    return SONDE_OK;
}

/* The mapped file is copied once, so that what the caller gets is aligned and its own. */
sonde_status sonde_npy_read(sonde_tensor *out, const char *path)
{
    sondep_file file;
    sonde_status status;

    SONDE_TRY(sondep_file_map(&file, path));
    status = sondep_npy_decode(out, file.data, file.bytes, path);
    sondep_file_release(&file);
    return status;
}

void sonde_npy_free(sonde_tensor *t)
{
    sondep_free(t->data);
    *t = (sonde_tensor){0};
}
