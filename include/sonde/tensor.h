/* sonde/tensor.h - arrays with a type and a shape.                             floor 1: tensor
 *
 * A sonde_tensor is plain data: where the elements lie, what they are and how many along each axis. Tensors are always
 * contiguous and row-major, so that a tensor is also a C array. Who owns the elements is said by the function that
 * gives the tensor: most tensors of this library are views.
 */
#ifndef SONDE_TENSOR_H
#define SONDE_TENSOR_H

#include <sonde/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The one list of element types: name, value, bytes, name in safetensors, name in npy headers ("" where it has none). */
#define SONDE_DTYPE_LIST(X)            \
    X(SONDE_F32, 0, 4, "F32", "<f4")   \
    X(SONDE_F64, 1, 8, "F64", "<f8")   \
    X(SONDE_F16, 2, 2, "F16", "<f2")   \
    X(SONDE_BF16, 3, 2, "BF16", "")    \
    X(SONDE_I64, 4, 8, "I64", "<i8")   \
    X(SONDE_I32, 5, 4, "I32", "<i4")   \
    X(SONDE_I16, 6, 2, "I16", "<i2")   \
    X(SONDE_I8, 7, 1, "I8", "|i1")     \
    X(SONDE_U8, 8, 1, "U8", "|u1")     \
    X(SONDE_BOOL, 9, 1, "BOOL", "|b1") \
    X(SONDE_U16, 10, 2, "U16", "<u2")  \
    X(SONDE_U32, 11, 4, "U32", "<u4")  \
    X(SONDE_U64, 12, 8, "U64", "<u8")

#define SONDE_DTYPE_ENUM(name, value, bytes, safetensors, npy) name = (value),
typedef enum sonde_dtype { SONDE_DTYPE_LIST(SONDE_DTYPE_ENUM) SONDE_N_DTYPES } sonde_dtype;
#undef SONDE_DTYPE_ENUM

enum { SONDE_MAX_RANK = 8 };

typedef struct sonde_tensor {
    void *data; /* first element; aligned to its type, or to 1 byte where a file says so */
    sonde_dtype dtype;
    int rank;                      /* 0 is a scalar */
    int64_t shape[SONDE_MAX_RANK]; /* shape[0] is the slowest; entries from `rank` on are 0 */
} sonde_tensor;

/* Bytes of one element; 0 for a value outside the list. Owns: nothing. Errors: none. */
SONDE_API size_t sonde_dtype_bytes(sonde_dtype dtype);

/* Name of a type as safetensors writes it ("BF16"). Owns: borrows; a static string. Errors: none ("?" if unknown). */
SONDE_API const char *sonde_dtype_name(sonde_dtype dtype);

/* Type with a given name: safetensors' ("BF16", any case), torch's ("bfloat16", "torch.float32").
 * Owns: nothing. Errors: SONDE_E_UNSUPPORTED names the text; `out` is untouched. */
SONDE_API sonde_status sonde_dtype_parse(sonde_dtype *out, const char *name) SONDE_MUST_USE;

/* A view of `data`. Owns: a view; the elements stay the caller's.
 * Errors: SONDE_E_SHAPE if rank is outside [0, 8], an axis is negative, or the bytes do not fit in size_t. */
SONDE_API sonde_status sonde_tensor_view(sonde_tensor *out, void *data, sonde_dtype dtype, const int64_t *shape,
                                         int rank) SONDE_MUST_USE;

/* Number of elements and of bytes. Owns: nothing. Errors: none: a tensor that was made by this library fits. */
SONDE_API int64_t sonde_tensor_n_elements(const sonde_tensor *t);
SONDE_API size_t sonde_tensor_bytes(const sonde_tensor *t);

/* Writes "[2, 17, 288]" into `out`, cut to `out_bytes`. Owns: nothing. Errors: none. Returns out. */
SONDE_API char *sonde_tensor_format_shape(char *out, size_t out_bytes, const sonde_tensor *t);

/* Converts n elements of any type to float or double, or floats to a type. Widening is exact; narrowing rounds to
 * nearest, ties to even; a float too large for F16 becomes infinity, NaN stays NaN; integers are clamped to the type.
 *
 * src, dst   n elements, no alignment needed; must not overlap
 *
 * Owns: nothing. Errors: none (an unknown type is the caller's bug). Source: IEEE 754-2019 5.4.
 * Reference: every one of the 65,536 halves against numpy and torch (tests/unit/tensor). */
SONDE_API void sonde_convert_to_f32(float *dst, const void *src, sonde_dtype dtype, int64_t n);
SONDE_API void sonde_convert_to_f64(double *dst, const void *src, sonde_dtype dtype, int64_t n);
SONDE_API void sonde_convert_from_f32(void *dst, sonde_dtype dtype, const float *src, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
