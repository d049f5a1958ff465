/* vector/avx2.h - 8 floats at a time: AVX2, FMA, F16C.                         SIMD, floor 2: kernel
 *
 * The names that the templates of this folder are written in; avx512.h and neon.h have the same ones. min and max give
 * their second operand when one is NaN. A `part` has n < V_WIDTH elements; what is behind them is not touched.
 */
#ifndef SONDEP_KERNEL_VECTOR_H
#define SONDEP_KERNEL_VECTOR_H

#include <immintrin.h>

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif

/* A tile of the product: 12 sums, 2 vectors of B and two elements of A fill the 16 registers. */
enum { V_WIDTH = 8, TILE_VECTORS = 2 };
#define TILE_ROWS 6
typedef __m256 vec;
typedef __m256 vec_mask;

/* The first n lanes. */
static inline __m256i v_first(int64_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline vec v_set(float x)
{
    return _mm256_set1_ps(x);
}

static inline vec v_load(const void *p)
{
    return _mm256_loadu_ps(p);
}

static inline vec v_load_part(const void *p, int64_t n)
{
    return _mm256_maskload_ps(p, v_first(n));
}

static inline vec v_from_bf16(__m128i h)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

/* n 16-bit elements; there is no masked load for them. */
static inline __m128i v_load_halves(const void *p, int64_t n)
{
    uint16_t h[8] = {0};
    memcpy(h, p, (size_t)n * 2);
    return _mm_loadu_si128((const __m128i *)h);
}

static inline vec v_load_bf16(const void *p)
{
    return v_from_bf16(_mm_loadu_si128((const __m128i *)p));
}

static inline vec v_load_bf16_part(const void *p, int64_t n)
{
    return v_from_bf16(v_load_halves(p, n));
}

static inline vec v_load_f16(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

static inline vec v_load_f16_part(const void *p, int64_t n)
{
    return _mm256_cvtph_ps(v_load_halves(p, n));
}

static inline void v_store(float *p, vec x)
{
    _mm256_storeu_ps(p, x);
}

static inline void v_store_part(float *p, vec x, int64_t n)
{
    _mm256_maskstore_ps(p, v_first(n), x);
}

static inline vec v_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}

static inline vec v_sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}

static inline vec v_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}

static inline vec v_div(vec a, vec b)
{
    return _mm256_div_ps(a, b);
}

static inline vec v_fma(vec a, vec b, vec c) /* a b + c */
{
    return _mm256_fmadd_ps(a, b, c);
}

static inline vec v_fnma(vec a, vec b, vec c) /* c - a b */
{
    return _mm256_fnmadd_ps(a, b, c);
}

static inline vec v_min(vec a, vec b)
{
    return _mm256_min_ps(a, b);
}

static inline vec v_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}

static inline vec v_sqrt(vec a)
{
    return _mm256_sqrt_ps(a);
}

static inline vec v_abs(vec a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}

/* To the nearest whole number, ties to even. */
static inline vec v_round(vec a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* 2^n for whole n in [-126, 127] */
static inline vec v_power_of_2(__m256i n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

/* a 2^n, n whole in [-252, 254], in two factors: the second product alone rounds, into subnormals and infinity too. */
static inline vec v_scale(vec a, vec n)
{
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    return _mm256_mul_ps(_mm256_mul_ps(a, v_power_of_2(half)), v_power_of_2(_mm256_sub_epi32(whole, half)));
}

static inline vec_mask v_less(vec a, vec b)
{
    return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}

/* a > b, or one of them is NaN. */
static inline vec_mask v_exceeds(vec a, vec b)
{
    return _mm256_cmp_ps(a, b, _CMP_NLE_UQ);
}

/* Lane i as bit i. */
static inline unsigned v_bits(vec_mask m)
{
    return (unsigned)_mm256_movemask_ps(m);
}

/* The lanes that `bits` names, side by side; what is behind them, up to a whole vector, may be overwritten. */
static inline void v_store_lanes(void *p, vec x, unsigned bits)
{
    float lanes[V_WIDTH], *to = p;

    _mm256_storeu_ps(lanes, x);
    for (; bits; bits &= bits - 1)
        *to++ = lanes[__builtin_ctz(bits)];
}

static inline vec v_select(vec_mask m, vec yes, vec no)
{
    return _mm256_blendv_ps(no, yes, m);
}

/* Lanes joined in halves: the same tree for every caller. */
static inline float v_sum(vec a)
{
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

/* v_sum of four vectors at once, by the same tree. */
static inline void v_sum_four(float *out, const vec a[4])
{
    __m128 q[4], s, t;
    for (int i = 0; i < 4; i++)
        q[i] = _mm_add_ps(_mm256_castps256_ps128(a[i]), _mm256_extractf128_ps(a[i], 1));
    s = _mm_add_ps(_mm_movelh_ps(q[0], q[1]), _mm_movehl_ps(q[1], q[0]));
    t = _mm_add_ps(_mm_movelh_ps(q[2], q[3]), _mm_movehl_ps(q[3], q[2]));
    _mm_storeu_ps(out, _mm_add_ps(_mm_shuffle_ps(s, t, 0x88), _mm_shuffle_ps(s, t, 0xdd)));
}

/* The greatest lane; NaN lanes may or may not count. */
static inline float v_greatest(vec a)
{
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}

/* True if a lane is NaN or infinite: |a| <= FLT_MAX fails. */
static inline bool v_any_nonfinite(vec a)
{
    return _mm256_movemask_ps(_mm256_cmp_ps(v_abs(a), _mm256_set1_ps(0x1.fffffep127f), _CMP_LE_OQ)) != 0xff;
}

/* To the nearest bf16, ties to even, as a float; NaN stays NaN. */
static inline vec v_round_bf16(vec a)
{
    __m256i bits = _mm256_castps_si256(a);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    vec rounded = _mm256_castsi256_ps(_mm256_and_si256(up, _mm256_set1_epi32((int)0xffff0000)));
    return v_select(_mm256_cmp_ps(a, a, _CMP_UNORD_Q), a, rounded);
}

/* r[i][j] becomes r[j][i]. */
static inline void v_transpose(vec r[8])
{
    vec t[8];
    for (int i = 0; i < 8; i += 4) { /* 4x4 blocks, in both lanes */
        vec a = _mm256_unpacklo_ps(r[i], r[i + 1]), b = _mm256_unpackhi_ps(r[i], r[i + 1]);
        vec c = _mm256_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
        t[i] = _mm256_shuffle_ps(a, c, 0x44);
        t[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
        t[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
        t[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
    for (int i = 0; i < 4; i++) { /* then the lanes */
        r[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
}

#endif
