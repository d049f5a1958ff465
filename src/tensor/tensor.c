/* tensor.c - element types, shapes, views.                                     floor 1: tensor
 *
 * The table of types is made from the list in the header. A view is checked once, where it is made: its number of elements
 * and of bytes fit from then on, and no code behind it checks again.
 */
#include <sonde/tensor.h>

#include "base/base.h"

#include <stdio.h>
#include <strings.h>

#define ROW(name, value, bytes, safetensors, npy) {bytes, safetensors},
static const struct {
    size_t bytes;
    const char *name;
} dtypes[SONDE_N_DTYPES] = {SONDE_DTYPE_LIST(ROW)};
#undef ROW

/* Whether a number is one of the list: files and callers may hold others. */
static bool is_dtype(sonde_dtype dtype)
{
    return (int)dtype >= 0 && dtype < SONDE_N_DTYPES;
}

size_t sonde_dtype_bytes(sonde_dtype dtype)
{
    return is_dtype(dtype) ? dtypes[dtype].bytes : 0;
}

const char *sonde_dtype_name(sonde_dtype dtype)
{
    return is_dtype(dtype) ? dtypes[dtype].name : "?";
}

/* torch's names for what is stored in models; safetensors' own names are in the table above. */
static const struct {
    const char *name;
    sonde_dtype dtype;
} torch_names[] = {
    {"float32", SONDE_F32}, {"float", SONDE_F32},     {"float64", SONDE_F64}, {"double", SONDE_F64}, {"float16", SONDE_F16},
    {"half", SONDE_F16},    {"fp32", SONDE_F32},      {"fp16", SONDE_F16},    {"int64", SONDE_I64},  {"int32", SONDE_I32},
    {"int16", SONDE_I16},   {"bfloat16", SONDE_BF16}, {"int8", SONDE_I8},     {"uint8", SONDE_U8},   {"uint16", SONDE_U16},
    {"uint32", SONDE_U32},  {"uint64", SONDE_U64},
};

/* Names are compared without case: config files write them either way. */
sonde_status sonde_dtype_parse(sonde_dtype *out, const char *name)
{
    const char *bare = strncmp(name, "torch.", 6) == 0 ? name + 6 : name;

    for (int i = 0; i < SONDE_N_DTYPES; i++)
        if (strcasecmp(bare, dtypes[i].name) == 0) {
            *out = (sonde_dtype)i;
            return SONDE_OK;
        }
    for (size_t i = 0; i < sizeof torch_names / sizeof *torch_names; i++)
        if (strcasecmp(bare, torch_names[i].name) == 0) {
            *out = torch_names[i].dtype;
            return SONDE_OK;
        }
    return SONDE_FAIL(SONDE_E_UNSUPPORTED, "element type '%s' is not known", name);
}

sonde_status sonde_tensor_view(sonde_tensor *out, void *data, sonde_dtype dtype, const int64_t *shape, int rank)
{
    sonde_tensor t = {.data = data, .dtype = dtype, .rank = rank};
    int64_t n = 1;

    if (!is_dtype(dtype))
        return SONDE_FAIL(SONDE_E_ARG, "element type %d is not known", (int)dtype);
    if (rank < 0 || rank > SONDE_MAX_RANK)
        return SONDE_FAIL(SONDE_E_SHAPE, "a tensor has %d axes, more than %d", rank, (int)SONDE_MAX_RANK);
    /* Axes from `rank` on stay 0, so that two equal shapes are equal bytes. */
    for (int i = 0; i < rank; i++) {
        if (shape[i] < 0)
            return SONDE_FAIL(SONDE_E_SHAPE, "axis %d of a tensor is %lld long", i, (long long)shape[i]);
        t.shape[i] = shape[i];
    }
    /* An empty tensor may have any other axes; the product is checked without the zero, so that none overflows later. */
    for (int i = 0; i < rank; i++)
        if (__builtin_mul_overflow(n, shape[i] ? shape[i] : 1, &n) || n > (int64_t)(PTRDIFF_MAX / sonde_dtype_bytes(dtype)))
            return SONDE_FAIL(SONDE_E_SHAPE, "a tensor of %d axes from %lld on is too large", rank, (long long)shape[0]);
    *out = t;
    return SONDE_OK;
}

int64_t sonde_tensor_n_elements(const sonde_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->shape[i];
    return n;
}

size_t sonde_tensor_bytes(const sonde_tensor *t)
{
    return (size_t)sonde_tensor_n_elements(t) * sonde_dtype_bytes(t->dtype);
}

/* Bracket, lengths, bracket; the buffer always ends in a NUL. */
char *sonde_tensor_format_shape(char *out, size_t out_bytes, const sonde_tensor *t)
{
    size_t used = 0;
    for (int i = 0; i <= t->rank && used < out_bytes; i++) {
        int n = i < t->rank ? snprintf(out + used, out_bytes - used, "%s%lld", i ? ", " : "[", (long long)t->shape[i])
                            : snprintf(out + used, out_bytes - used, "%s]", i ? "" : "[");
        used += (size_t)n;
    }
    return out;
}
