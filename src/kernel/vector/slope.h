/* vector/slope.h - the derivatives of the activation functions on vectors.     floor 2: kernel
 *
 * A template over math.h: what a function and its slope have in common (the exponential) is written alike, so that the
 * compiler takes it once where both are wanted. Errors are a few 2^-24, relative to 1 or to the slope where that is larger
 * (tests/kernel/tolerances.h). At infinity, x f(x) gives NaN as its formula does, in torch too; at a corner, torch's side.
 */
#ifndef SONDEP_KERNEL_VECTOR_SLOPE_H
#define SONDEP_KERNEL_VECTOR_SLOPE_H

#include "kernel/vector/math.h"

/* 1 where the mask is set, 0 elsewhere */
static inline vec v_one_where(vec_mask m)
{
    return v_select(m, v_set(1.0f), v_set(0.0f));
}

/* s = 1 / (1 + exp(-(high + low))), and s (1 - s) = e / (1 + e)^2, e = exp(-|high + low|): nothing cancels */
static inline vec v_logistic(vec *slope, vec high, vec low)
{
    vec zero = v_set(0.0f), one = v_set(1.0f), magnitude = v_abs(high), e, r;
    vec_mask left = v_less(high, zero);

    e = v_exp_of_sum(v_sub(zero, magnitude), v_select(left, low, v_sub(zero, low)));
    r = v_div(one, v_add(one, e));
    *slope = v_mul(v_mul(e, r), r);
    return v_mul(v_select(left, e, one), r);
}

/* (x s(c x))' = s + c x s' */
static inline vec v_swish_slope(vec x, float c, vec high, vec low)
{
    vec slope, s = v_logistic(&slope, high, low);
    return v_fma(x, v_mul(v_set(c), slope), s); /* c x may overflow */
}

/* Phi(x) + x phi(x) */
static inline vec v_gelu_slope(vec x)
{
    vec power, tail = v_normal_tail_and(&power, v_abs(x));
    vec below = v_select(v_less(x, v_set(0.0f)), tail, v_sub(v_set(1.0f), tail));

    return v_fma(v_mul(x, v_set(0.39894228f)), power, below);
}

/* s + x s' (2u)', (2u)' = a + 3 b x^2; where that would overflow, s' is 0 */
static inline vec v_gelu_tanh_slope(vec x)
{
    const double a = 1.5957691216057308;
    vec low, high = v_gelu_tanh_argument(&low, x), slope, s = v_logistic(&slope, high, low);
    vec bounded = v_max(v_set(-50.0f), v_min(v_set(50.0f), x));
    vec inner = v_fma(v_mul(bounded, bounded), v_set((float)(a * 3.0 * 0.044715)), v_set((float)a));

    return v_fma(v_mul(x, slope), inner, s);
}

/* 1 / cosh(x)^2 = 4 e / (1 + e)^2, e = exp(-2 |x|) */
static inline vec v_tanh_slope(vec x)
{
    vec slope;
    (void)v_logistic(&slope, v_add(x, x), v_set(0.0f));
    return v_mul(v_set(4.0f), slope);
}

/* d (w + 4 x e (1 + e) d), e = exp(x), w = e (e + 2), d = 1 / (w + 2); 1 from 20 on */
static inline vec v_mish_slope(vec x)
{
    vec one = v_set(1.0f), e = v_exp(v_min(v_set(20.0f), x)), w = v_mul(e, v_add(e, v_set(2.0f)));
    vec d = v_div(one, v_add(w, v_set(2.0f))), inner = v_mul(v_mul(e, v_add(one, e)), d);

    inner = v_fma(x, v_mul(v_set(4.0f), inner), w);
    return v_select(v_less(v_set(20.0f), x), v_fma(x, v_set(0.0f), one), v_mul(inner, d));
}

/* The normal density with transformers' mean and deviation. */
static inline vec v_laplace_slope(vec x)
{
    const double sigma = 0.282095;
    vec z = v_div(v_sub(x, v_set(0.707107f)), v_set((float)sigma));
    return v_mul(v_set((float)(0.39894228040143267794 / sigma)), v_exp(v_mul(v_set(-0.5f), v_mul(z, z))));
}

/* 0 left of -3, 1 right of 3, x / 3 + 1/2 between; 3 itself belongs to the middle */
static inline vec v_hardswish_slope(vec x)
{
    vec middle = v_add(v_div(x, v_set(3.0f)), v_set(0.5f));
    middle = v_select(v_less(x, v_set(0x1.800002p+1f)), middle, v_set(1.0f));
    return v_select(v_less(x, v_set(-3.0f)), v_set(0.0f), middle);
}

/* s / (2 sqrt(softplus)); far to the left both are powers of e, and half the root is left */
static inline vec v_sqrt_softplus_slope(vec x)
{
    vec half = v_set(0.5f), slope, s = v_logistic(&slope, x, v_set(0.0f)), root = v_sqrt_softplus(x);
    return v_select(v_less(x, v_set(-20.0f)), v_mul(half, root), v_div(v_mul(half, s), root));
}

/* act'(x); `act` is a constant where it is called. */
static inline __attribute__((always_inline)) vec v_act_slope(vec x, sondep_act act)
{
    vec zero = v_set(0.0f), slope, low, high;

    switch (act) {
    case SONDEP_ACT_RELU: return v_one_where(v_less(zero, x));
    case SONDEP_ACT_GELU: return v_gelu_slope(x);
    case SONDEP_ACT_GELU_TANH: return v_gelu_tanh_slope(x);
    case SONDEP_ACT_SILU: return v_swish_slope(x, 1.0f, x, zero);
    case SONDEP_ACT_QUICK_GELU: high = v_quick_gelu_argument(&low, x); return v_swish_slope(x, 1.702f, high, low);
    case SONDEP_ACT_TANH: return v_tanh_slope(x);
    case SONDEP_ACT_SIGMOID: (void)v_logistic(&slope, x, zero); return slope;
    case SONDEP_ACT_RELU2: return v_select(v_less(zero, x), v_add(x, x), zero);
    case SONDEP_ACT_RELU6: return v_select(v_less(x, v_set(6.0f)), v_one_where(v_less(zero, x)), zero);
    case SONDEP_ACT_LEAKY_RELU: return v_select(v_less(zero, x), v_set(1.0f), v_set(0.01f));
    case SONDEP_ACT_MISH: return v_mish_slope(x);
    case SONDEP_ACT_LAPLACE: return v_laplace_slope(x);
    case SONDEP_ACT_GELU_10: /* 10 itself is inside */
        return v_select(v_less(v_abs(v_gelu(x)), v_set(0x1.400002p+3f)), v_gelu_slope(x), zero);
    case SONDEP_ACT_HARDSWISH: return v_hardswish_slope(x);
    case SONDEP_ACT_SQRT_SOFTPLUS: return v_sqrt_softplus_slope(x);
    default: return v_set(1.0f);
    }
}

#endif
