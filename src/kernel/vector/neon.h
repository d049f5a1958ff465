/* vector/neon.h - 4 floats at a time: Advanced SIMD of arm64.                  floor 2: kernel
 *
 * The names that the templates of this folder are written in; avx512.h and avx2.h have the same ones. min and max give
 * their second operand when one is NaN. A `part` has n < V_WIDTH elements; what is behind them is not touched.
 */
#ifndef SONDEP_KERNEL_VECTOR_H
#define SONDEP_KERNEL_VECTOR_H

#include <arm_neon.h>

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* A tile of the product: 24 sums, 3 vectors of B and an element of A in 32 registers. */
enum { V_WIDTH = 4, TILE_VECTORS = 3 };
#define TILE_ROWS 8
typedef float32x4_t vec;
typedef uint32x4_t vec_mask;

static inline vec v_set(float x)
{
    return vdupq_n_f32(x);
}

static inline vec v_load(const void *p)
{
    return vreinterpretq_f32_u8(vld1q_u8(p)); /* bytes: floats may lie at any address */
}

static inline vec v_load_part(const void *p, int64_t n)
{
    float x[4] = {0};
    memcpy(x, p, (size_t)n * sizeof *x);
    return vld1q_f32(x);
}

/* n 16-bit elements. */
static inline uint16x4_t v_load_halves(const void *p, int64_t n)
{
    uint16_t h[4] = {0};
    memcpy(h, p, (size_t)n * sizeof *h);
    return vld1_u16(h);
}

static inline vec v_load_bf16_part(const void *p, int64_t n)
{
    return vreinterpretq_f32_u32(vshll_n_u16(v_load_halves(p, n), 16));
}

static inline vec v_load_bf16(const void *p)
{
    return v_load_bf16_part(p, 4);
}

static inline vec v_load_f16_part(const void *p, int64_t n)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(v_load_halves(p, n)));
}

static inline vec v_load_f16(const void *p)
{
    return v_load_f16_part(p, 4);
}

static inline void v_store(float *p, vec x)
{
    vst1q_f32(p, x);
}

static inline void v_store_part(float *p, vec x, int64_t n)
{
    float all[4];
    vst1q_f32(all, x);
    memcpy(p, all, (size_t)n * sizeof *p);
}

static inline vec v_add(vec a, vec b)
{
    return vaddq_f32(a, b);
}

static inline vec v_sub(vec a, vec b)
{
    return vsubq_f32(a, b);
}

static inline vec v_mul(vec a, vec b)
{
    return vmulq_f32(a, b);
}

static inline vec v_div(vec a, vec b)
{
    return vdivq_f32(a, b);
}

static inline vec v_fma(vec a, vec b, vec c) /* a b + c */
{
    return vfmaq_f32(c, a, b);
}

static inline vec v_fnma(vec a, vec b, vec c) /* c - a b */
{
    return vfmsq_f32(c, a, b);
}

static inline vec v_min(vec a, vec b)
{
    return vbslq_f32(vcltq_f32(a, b), a, b);
}

static inline vec v_max(vec a, vec b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}

static inline vec v_sqrt(vec a)
{
    return vsqrtq_f32(a);
}

static inline vec v_abs(vec a)
{
    return vabsq_f32(a);
}

static inline vec v_round(vec a)
{
    return vrndnq_f32(a);
}

/* 2^n for whole n in [-126, 127] */
static inline vec v_power_of_2(int32x4_t n)
{
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
}

/* a 2^n, n whole in [-252, 254], in two factors: the second product alone rounds, into subnormals and infinity too. */
static inline vec v_scale(vec a, vec n)
{
    int32x4_t whole = vcvtnq_s32_f32(n), half = vshrq_n_s32(whole, 1);
    return vmulq_f32(vmulq_f32(a, v_power_of_2(half)), v_power_of_2(vsubq_s32(whole, half)));
}

static inline vec_mask v_less(vec a, vec b)
{
    return vcltq_f32(a, b);
}

/* a > b, or one of them is NaN. */
static inline vec_mask v_exceeds(vec a, vec b)
{
    return vmvnq_u32(vcleq_f32(a, b));
}

/* Lane i as bit i. */
static inline unsigned v_bits(vec_mask m)
{
    static const uint32_t bit[4] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(m, vld1q_u32(bit)));
}

/* The lanes that `bits` names, side by side; what is behind them, up to a whole vector, may be overwritten. */
static inline void v_store_lanes(void *p, vec x, unsigned bits)
{
    float lanes[V_WIDTH], *to = p;

    vst1q_f32(lanes, x);
    for (; bits; bits &= bits - 1)
        *to++ = lanes[__builtin_ctz(bits)];
}

static inline vec v_select(vec_mask m, vec yes, vec no)
{
    return vbslq_f32(m, yes, no);
}

/* Lanes joined in halves: the same tree for every caller. */
static inline float v_sum(vec a)
{
    float32x2_t h = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(h, 0) + vget_lane_f32(h, 1);
}

/* v_sum of four vectors at once, by the same tree. */
static inline void v_sum_four(float *out, const vec a[4])
{
    float32x2_t h[4];
    for (int i = 0; i < 4; i++)
        h[i] = vadd_f32(vget_low_f32(a[i]), vget_high_f32(a[i]));
    vst1q_f32(out, vpaddq_f32(vcombine_f32(h[0], h[1]), vcombine_f32(h[2], h[3])));
}

static inline float v_greatest(vec a)
{
    return vmaxnmvq_f32(a);
}

/* True if a lane is NaN or infinite: |a| <= FLT_MAX fails. */
static inline bool v_any_nonfinite(vec a)
{
    return vminvq_u32(vcleq_f32(vabsq_f32(a), vdupq_n_f32(0x1.fffffep127f))) == 0;
}

/* To the nearest bf16, ties to even, as a float; NaN stays NaN. */
static inline vec v_round_bf16(vec a)
{
    uint32x4_t bits = vreinterpretq_u32_f32(a), odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    uint32x4_t up = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    return v_select(vceqq_f32(a, a), vreinterpretq_f32_u32(vandq_u32(up, vdupq_n_u32(0xffff0000u))), a);
}

/* r[i][j] becomes r[j][i]. */
static inline void v_transpose(vec r[4])
{
    float32x4x2_t a = vtrnq_f32(r[0], r[1]), b = vtrnq_f32(r[2], r[3]);
    r[0] = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
    r[1] = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
    r[2] = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
    r[3] = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
}

#endif
