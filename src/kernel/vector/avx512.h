/* vector/avx512.h - 16 floats at a time: AVX-512 F, DQ, BW, VL.                SIMD, floor 2: kernel
 *
 * The names that the templates of this folder are written in; avx2.h and neon.h have the same ones. min and max give
 * their second operand when one is NaN. A `part` has n < V_WIDTH elements; what is behind them is not touched.
 */
#ifndef SONDEP_KERNEL_VECTOR_H
#define SONDEP_KERNEL_VECTOR_H

#include <immintrin.h>

#include <stdbool.h>
#include <stdint.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c"))), \
                             apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")
#endif

/* A tile of the product: 28 sums, 2 vectors of B and one element of A fill the 32 registers. */
enum { V_WIDTH = 16, TILE_VECTORS = 2 };
#define TILE_ROWS 14
typedef __m512 vec;
typedef __mmask16 vec_mask;

/* The first n lanes. */
static inline vec_mask v_first(int64_t n)
{
    return (vec_mask)((1u << n) - 1u);
}

static inline vec v_set(float x)
{
    return _mm512_set1_ps(x);
}

static inline vec v_load(const void *p)
{
    return _mm512_loadu_ps(p);
}

static inline vec v_load_part(const void *p, int64_t n)
{
    return _mm512_maskz_loadu_ps(v_first(n), p);
}

static inline vec v_load_bf16(const void *p)
{
    __m256i h = _mm256_loadu_si256((const __m256i *)p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

static inline vec v_load_bf16_part(const void *p, int64_t n)
{
    __m256i h = _mm256_maskz_loadu_epi16(v_first(n), p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

static inline vec v_load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

static inline vec v_load_f16_part(const void *p, int64_t n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(v_first(n), p));
}

static inline void v_store(float *p, vec x)
{
    _mm512_storeu_ps(p, x);
}

static inline void v_store_part(float *p, vec x, int64_t n)
{
    _mm512_mask_storeu_ps(p, v_first(n), x);
}

static inline vec v_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}

static inline vec v_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}

static inline vec v_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}

static inline vec v_div(vec a, vec b)
{
    return _mm512_div_ps(a, b);
}

static inline vec v_fma(vec a, vec b, vec c) /* a b + c */
{
    return _mm512_fmadd_ps(a, b, c);
}

static inline vec v_fnma(vec a, vec b, vec c) /* c - a b */
{
    return _mm512_fnmadd_ps(a, b, c);
}

static inline vec v_min(vec a, vec b)
{
    return _mm512_min_ps(a, b);
}

static inline vec v_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

static inline vec v_sqrt(vec a)
{
    return _mm512_sqrt_ps(a);
}

static inline vec v_abs(vec a)
{
    return _mm512_abs_ps(a);
}

/* To the nearest whole number, ties to even. */
static inline vec v_round(vec a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* a 2^n, n whole: rounded once, into subnormals and infinity too. */
static inline vec v_scale(vec a, vec n)
{
    return _mm512_scalef_ps(a, n);
}

static inline vec_mask v_less(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

/* a > b, or one of them is NaN. */
static inline vec_mask v_exceeds(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_NLE_UQ);
}

/* Lane i as bit i. */
static inline unsigned v_bits(vec_mask m)
{
    return m;
}

/* The lanes that `bits` names, side by side; what is behind them, up to a whole vector, is overwritten. */
static inline void v_store_lanes(void *p, vec x, unsigned bits)
{
    _mm512_storeu_ps(p, _mm512_maskz_compress_ps((vec_mask)bits, x));
}

static inline vec v_select(vec_mask m, vec yes, vec no)
{
    return _mm512_mask_blend_ps(m, no, yes);
}

/* Lanes joined in halves: the same tree for every caller. */
static inline float v_sum(vec a)
{
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

/* v_sum of four vectors at once, by the same tree. */
static inline void v_sum_four(float *out, const vec a[4])
{
    __m128 q[4], s, t;
    for (int i = 0; i < 4; i++) {
        __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a[i]), _mm512_extractf32x8_ps(a[i], 1));
        q[i] = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    }
    s = _mm_add_ps(_mm_movelh_ps(q[0], q[1]), _mm_movehl_ps(q[1], q[0]));
    t = _mm_add_ps(_mm_movelh_ps(q[2], q[3]), _mm_movehl_ps(q[3], q[2]));
    _mm_storeu_ps(out, _mm_add_ps(_mm_shuffle_ps(s, t, 0x88), _mm_shuffle_ps(s, t, 0xdd)));
}

/* The greatest lane; NaN lanes may or may not count. */
static inline float v_greatest(vec a)
{
    return _mm512_reduce_max_ps(a);
}

/* True if a lane is NaN or infinite. */
static inline bool v_any_nonfinite(vec a)
{
    return _mm512_fpclass_ps_mask(a, 0x99) != 0;
}

/* To the nearest bf16, ties to even, as a float; NaN stays NaN. */
static inline vec v_round_bf16(vec a)
{
    __m512i bits = _mm512_castps_si512(a);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    vec rounded = _mm512_castsi512_ps(_mm512_and_si512(up, _mm512_set1_epi32((int)0xffff0000)));
    return v_select(_mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a, rounded);
}

/* r[i][j] becomes r[j][i]. */
static inline void v_transpose(vec r[16])
{
    vec t[16];
    for (int i = 0; i < 16; i += 4) { /* 4x4 blocks, in each of four lanes */
        vec a = _mm512_unpacklo_ps(r[i], r[i + 1]), b = _mm512_unpackhi_ps(r[i], r[i + 1]);
        vec c = _mm512_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm512_unpackhi_ps(r[i + 2], r[i + 3]);
        t[i] = _mm512_shuffle_ps(a, c, 0x44);
        t[i + 1] = _mm512_shuffle_ps(a, c, 0xee);
        t[i + 2] = _mm512_shuffle_ps(b, d, 0x44);
        t[i + 3] = _mm512_shuffle_ps(b, d, 0xee);
    }
    for (int i = 0; i < 4; i++) { /* then the lanes */
        vec a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88), b = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88);
        vec c = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd), d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
        r[i] = _mm512_shuffle_f32x4(a, b, 0x88);
        r[i + 4] = _mm512_shuffle_f32x4(c, d, 0x88);
        r[i + 8] = _mm512_shuffle_f32x4(a, b, 0xdd);
        r[i + 12] = _mm512_shuffle_f32x4(c, d, 0xdd);
    }
}

#endif
