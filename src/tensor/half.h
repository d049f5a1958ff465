/* tensor/half.h - the two 16-bit float types, on their bits.                   floor 1: tensor
 *
 * bf16 is the upper half of a float; f16 (IEEE binary16) has 5 exponent and 10 mantissa bits, subnormals and infinities.
 * Source: IEEE 754-2019 3.6, 5.4; checked against numpy and torch on all 65,536 values.
 */
#ifndef SONDEP_HALF_H
#define SONDEP_HALF_H

#include <stdint.h>
#include <string.h>

/* A float's bits, and a float of bits. */
static inline uint32_t sondep_float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float sondep_bits_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Exact: bf16 is a float without its lower half. */
static inline float sondep_bf16_to_f32(uint16_t h)
{
    return sondep_bits_float((uint32_t)h << 16);
}

/* To nearest, ties to even; a NaN stays one (its payload may not round to infinity). */
static inline uint16_t sondep_f32_to_bf16(float x)
{
    uint32_t bits = sondep_float_bits(x);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Exact for every value; subnormals become normal floats. */
static inline float sondep_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 0x1f, mantissa = h & 0x3ff;

    if (exponent == 31) /* infinity, or a NaN: made quiet, as the processor's instruction does */
        return sondep_bits_float(sign | 0x7f800000 | mantissa << 13 | (mantissa ? 0x400000 : 0));
    if (exponent == 0) { /* zero or subnormal: mantissa * 2^-24 is exact */
        float magnitude = (float)mantissa * 0x1p-24f;
        return sondep_bits_float(sign | sondep_float_bits(magnitude));
    }
    return sondep_bits_float(sign | (exponent + 112) << 23 | mantissa << 13);
}

/* To nearest, ties to even, through subnormals to zero and up to infinity. */
static inline uint16_t sondep_f32_to_f16(float x)
{
    uint32_t bits = sondep_float_bits(x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;

    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x1ff));
    if (magnitude >= 0x477ff000) /* 65520 and more round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) { /* below 2^-14: adding 0.5 leaves round(x * 2^24) in the low bits */
        float shifted = sondep_bits_float(magnitude) + 0.5f;
        return (uint16_t)(sign | (sondep_float_bits(shifted) - 0x3f000000));
    }
    magnitude += 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (magnitude - 0x38000000) >> 13);
}

#endif
