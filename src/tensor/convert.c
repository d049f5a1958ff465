/* convert.c - conversion between element types, one element at a time.         floor 1: tensor
 *
 * The definition: plain C on the bits, right for every value. The products convert tile by tile with the processor's own
 * instructions (kernel/); those are checked against this file.
 */
#include <sonde/tensor.h>

#include "base/base.h"
#include "tensor/half.h"

#include <math.h>

/* Reads element i of an unaligned array as `type`. */
#define READ(type, src, i) read_##type((const char *)(src) + (size_t)(i) * sizeof(type))
#define DEFINE_READ(type)                         \
    static inline type read_##type(const char *p) \
    {                                             \
        type value;                               \
        memcpy(&value, p, sizeof value);          \
        return value;                             \
    }
DEFINE_READ(float)
DEFINE_READ(double)
DEFINE_READ(uint16_t)
DEFINE_READ(int16_t)
DEFINE_READ(int32_t)
DEFINE_READ(uint32_t)
DEFINE_READ(int64_t)
DEFINE_READ(uint64_t)

/* One element as double: exact for every type but 64-bit integers beyond 2^53. */
static double element(const void *src, sonde_dtype dtype, int64_t i)
{
    switch (dtype) {
    case SONDE_F32: return READ(float, src, i);
    case SONDE_F64: return READ(double, src, i);
    case SONDE_F16: return sondep_f16_to_f32(READ(uint16_t, src, i));
    case SONDE_BF16: return sondep_bf16_to_f32(READ(uint16_t, src, i));
    case SONDE_I64: return (double)READ(int64_t, src, i);
    case SONDE_I32: return READ(int32_t, src, i);
    case SONDE_I16: return READ(int16_t, src, i);
    case SONDE_I8: return ((const int8_t *)src)[i];
    case SONDE_U8: return ((const uint8_t *)src)[i];
    case SONDE_BOOL: return ((const uint8_t *)src)[i] != 0;
    case SONDE_U16: return READ(uint16_t, src, i);
    case SONDE_U32: return READ(uint32_t, src, i);
    case SONDE_U64: return (double)READ(uint64_t, src, i);
    default: sondep_assert_failed("an element type", __FILE__, __LINE__); return NAN;
    }
}

/* The three types of weights have loops of their own, which the compiler turns into vectors. */
void sonde_convert_to_f32(float *dst, const void *src, sonde_dtype dtype, int64_t n)
{
    switch (dtype) {
    case SONDE_F32:
        if (n > 0)
            memcpy(dst, src, (size_t)n * sizeof *dst);
        break;
    case SONDE_BF16:
        for (int64_t i = 0; i < n; i++)
            dst[i] = sondep_bf16_to_f32(READ(uint16_t, src, i));
        break;
    case SONDE_F16:
        for (int64_t i = 0; i < n; i++)
            dst[i] = sondep_f16_to_f32(READ(uint16_t, src, i));
        break;
    case SONDE_I64: /* straight to float: through double it would be rounded twice */
        for (int64_t i = 0; i < n; i++)
            dst[i] = (float)READ(int64_t, src, i);
        break;
    case SONDE_U64:
        for (int64_t i = 0; i < n; i++)
            dst[i] = (float)READ(uint64_t, src, i);
        break;
    default:
        for (int64_t i = 0; i < n; i++)
            dst[i] = (float)element(src, dtype, i);
    }
}

/* Exact but for 64-bit integers beyond 2^53. */
void sonde_convert_to_f64(double *dst, const void *src, sonde_dtype dtype, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        dst[i] = element(src, dtype, i);
}

/* The nearest integer in [low, high]; NaN gives 0. `high` must be a double that the integer type holds. */
static double clamp_integer(float x, double low, double high)
{
    double r = nearbyint((double)x);
    return isnan(r) ? 0.0 : r < low ? low : r > high ? high : r;
}

/* The largest integers of 64 bits are no doubles. */
static int64_t to_int64(float x)
{
    return x >= 0x1p63f ? INT64_MAX : (int64_t)clamp_integer(x, -0x1p63, 0x1p63 - 1024);
}

static uint64_t to_uint64(float x)
{
    return x >= 0x1p64f ? UINT64_MAX : (uint64_t)clamp_integer(x, 0, 0x1p64 - 2048);
}

#define WRITE(type, dst, i, value)                                                   \
    do {                                                                             \
        type value_ = (type)(value);                                                 \
        memcpy((char *)(dst) + (size_t)(i) * sizeof value_, &value_, sizeof value_); \
    } while (0)

/* One float as any type, at any alignment. */
static void write_element(void *dst, sonde_dtype dtype, int64_t i, float x)
{
    switch (dtype) {
    case SONDE_F32: WRITE(float, dst, i, x); break;
    case SONDE_F64: WRITE(double, dst, i, x); break;
    case SONDE_F16: WRITE(uint16_t, dst, i, sondep_f32_to_f16(x)); break;
    case SONDE_BF16: WRITE(uint16_t, dst, i, sondep_f32_to_bf16(x)); break;
    case SONDE_I64: WRITE(int64_t, dst, i, to_int64(x)); break;
    case SONDE_I32: WRITE(int32_t, dst, i, clamp_integer(x, INT32_MIN, INT32_MAX)); break;
    case SONDE_I16: WRITE(int16_t, dst, i, clamp_integer(x, INT16_MIN, INT16_MAX)); break;
    case SONDE_I8: WRITE(int8_t, dst, i, clamp_integer(x, INT8_MIN, INT8_MAX)); break;
    case SONDE_U8: WRITE(uint8_t, dst, i, clamp_integer(x, 0, UINT8_MAX)); break;
    case SONDE_BOOL: WRITE(uint8_t, dst, i, x != 0.0f); break;
    case SONDE_U16: WRITE(uint16_t, dst, i, clamp_integer(x, 0, UINT16_MAX)); break;
    case SONDE_U32: WRITE(uint32_t, dst, i, clamp_integer(x, 0, UINT32_MAX)); break;
    case SONDE_U64: WRITE(uint64_t, dst, i, to_uint64(x)); break;
    default: sondep_assert_failed("an element type", __FILE__, __LINE__);
    }
}

void sonde_convert_from_f32(void *dst, sonde_dtype dtype, const float *src, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        write_element(dst, dtype, i, src[i]);
}
