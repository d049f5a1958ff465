/* vector/math.h - exp and the activation functions on vectors.                 floor 2: kernel
 *
 * A template over avx512.h, avx2.h or neon.h. Polynomials are minimax fits in relative error (Lawson's iteration in
 * double, then rounded to float). The largest errors against double are in tests/kernel/tolerances.h: 3 units in the last
 * place or less, the left tails of the gelus included, until results are subnormal.
 * NaN stays NaN: v_min and v_max give their second operand then, so the variable always stands there.
 */
#ifndef SONDEP_KERNEL_VECTOR_MATH_H
#define SONDEP_KERNEL_VECTOR_MATH_H

#include "kernel/kernel.h"

/* c[0] + c[1] x + ... + c[n-1] x^(n-1) */
static inline vec v_polynomial(vec x, const float *c, int n)
{
    vec sum = v_set(c[n - 1]);
    for (int i = n - 2; i >= 0; i--)
        sum = v_fma(sum, x, v_set(c[i]));
    return sum;
}

/* exp(high + low), low much smaller than high: 2^n e^r, |r| <= ln 2 / 2, e^r = 1 + r + r^2 Q(r).
 * Below -104 the result rounds to 0, above 88.73 it is infinite. */
static inline vec v_exp_of_sum(vec high, vec low)
{
    static const float q[] = {0.49999994f, 0.166665196f, 0.0416684076f, 0.00836889911f, 0.00138142193f};
    vec x = v_max(v_set(-104.0f), v_min(v_set(89.0f), high));
    vec n = v_round(v_mul(x, v_set(1.44269504f)));
    vec r = v_fnma(n, v_set(0x1.62e4p-1f), x); /* ln 2 in two parts; n times the first is exact */
    r = v_add(v_fnma(n, v_set(0x1.7f7d1cp-20f), r), low);
    return v_scale(v_add(v_set(1.0f), v_fma(v_mul(r, r), v_polynomial(r, q, 5), r)), n);
}

static inline vec v_exp(vec x)
{
    return v_exp_of_sum(x, v_set(0.0f));
}

/* 1 / (1 + exp(-x)); the exponential is of -|x|, so that it does not overflow */
static inline vec v_sigmoid(vec x)
{
    vec e = v_exp(v_sub(v_set(0.0f), v_abs(x)));
    return v_div(v_select(v_less(x, v_set(0.0f)), e, v_set(1.0f)), v_add(v_set(1.0f), e));
}

/* x sigmoid(high + low); where the sigmoid is 0, so is the result, for x = -inf too */
static inline vec v_times_sigmoid(vec x, vec high, vec low)
{
    vec zero = v_set(0.0f), is_left = v_set(1.0f), magnitude = v_abs(high), e;
    vec_mask left = v_less(high, zero);

    e = v_exp_of_sum(v_sub(zero, magnitude), v_select(left, low, v_sub(zero, low)));
    is_left = v_select(left, e, is_left);
    x = v_max(v_set(-0x1.fffffep127f), x);
    return v_div(v_mul(x, is_left), v_add(v_set(1.0f), e));
}

/* |x| < 0.625: x + x^3 P(x^2); else 1 - 2 / (exp(2 |x|) + 1) with x's sign */
static inline vec v_tanh(vec x)
{
    static const float p[] = {-0.333332837f, 0.133314535f, -0.0537406653f, 0.0206423439f, -0.00570878154f};
    vec magnitude = v_abs(x), square = v_mul(x, x), one = v_set(1.0f), zero = v_set(0.0f), large;
    vec small = v_fma(v_mul(x, square), v_polynomial(square, p, 5), x);

    large = v_sub(one, v_div(v_set(2.0f), v_add(v_exp(v_add(magnitude, magnitude)), one)));
    large = v_select(v_less(x, zero), v_sub(zero, large), large);
    return v_select(v_less(magnitude, v_set(0.625f)), small, large);
}

/* Phi(-x) for x >= 0, as exp(-x^2/2) r f(u), r = 1/(x + 2.5), u = 2 x r: the exponential carries the tail, f is smooth,
 * and exact where u is 0. x^2 is kept in two parts. The exponential itself, sqrt(2 pi) times the density, is in *power. */
static inline vec v_normal_tail_and(vec *power, vec x)
{
    static const float f[] = {1.25f,          -0.621695161f,   0.0423806272f,   0.0366486087f,
                              0.00286556222f, -0.00328474841f, 0.000303433917f, -0.000927278481f,
                              0.00033861291f, 5.11770304e-05f, -2.41683665e-05f};
    vec bounded = v_min(v_set(15.0f), x), square = v_mul(bounded, bounded), half = v_set(-0.5f);
    vec rest = v_fma(bounded, bounded, v_sub(v_set(0.0f), square));
    vec r = v_div(v_set(1.0f), v_add(bounded, v_set(2.5f))), u = v_mul(v_add(bounded, bounded), r);

    *power = v_exp_of_sum(v_mul(half, square), v_mul(half, rest));
    return v_mul(*power, v_mul(r, v_polynomial(u, f, 11)));
}

static inline vec v_normal_tail(vec x)
{
    vec power;
    return v_normal_tail_and(&power, x);
}

/* x Phi(x) */
static inline vec v_gelu(vec x)
{
    vec tail = v_normal_tail(v_abs(x));
    vec left = v_mul(v_max(v_set(-0x1.fffffep127f), x), tail);

    return v_select(v_less(x, v_set(0.0f)), left, v_fnma(v_min(v_set(15.0f), x), tail, x));
}

/* 2 u = x (a + b x^2) of the gelu by tanh; rounding it would cost digits in the left tail, so it has a low part, too */
static inline vec v_gelu_tanh_argument(vec *low, vec x)
{
    const double exact_a = 1.5957691216057308, exact_b = exact_a * 0.044715;
    vec a = v_set((float)exact_a), a_low = v_set((float)(exact_a - (float)exact_a));
    vec b = v_set((float)exact_b), b_low = v_set((float)(exact_b - (float)exact_b));
    vec zero = v_set(0.0f), bounded = v_max(v_set(-50.0f), v_min(v_set(50.0f), x));
    vec square = v_mul(bounded, bounded), square_low = v_fma(bounded, bounded, v_sub(zero, square));
    vec product = v_mul(b, square), product_low = v_fma(b, square, v_sub(zero, product));
    vec sum = v_add(a, product), from_a = v_sub(sum, product);
    vec sum_low = v_add(v_sub(a, from_a), v_sub(product, v_sub(sum, from_a)));
    vec high = v_mul(bounded, sum), rest = v_fma(bounded, sum, v_sub(zero, high));

    sum_low = v_add(v_add(sum_low, product_low), v_fma(b, square_low, v_fma(b_low, square, a_low)));
    *low = v_fma(bounded, sum_low, rest);
    return high;
}

/* x sigmoid(2 u) */
static inline vec v_gelu_tanh(vec x)
{
    vec low, high = v_gelu_tanh_argument(&low, x);
    return v_times_sigmoid(x, high, low);
}

/* 1.702 x, and what its rounding left */
static inline vec v_quick_gelu_argument(vec *low, vec x)
{
    vec bounded = v_max(v_set(-200.0f), v_min(v_set(200.0f), x)), c = v_set(1.702f), high = v_mul(c, bounded);
    *low = v_fma(bounded, v_set(1.702 - (double)1.702f), v_fma(c, bounded, v_sub(v_set(0.0f), high)));
    return high;
}

/* x sigmoid(1.702 x) */
static inline vec v_quick_gelu(vec x)
{
    vec low, high = v_quick_gelu_argument(&low, x);
    return v_times_sigmoid(x, high, low);
}

/* x tanh(log(1 + e^x)) = x w / (w + 2), w = e^x (e^x + 2); it is x itself from 20 on */
static inline vec v_mish(vec x)
{
    vec e = v_exp(v_min(v_set(20.0f), x)), w = v_mul(e, v_add(e, v_set(2.0f)));
    vec bounded = v_max(v_set(-0x1.fffffep127f), x);

    return v_select(v_less(v_set(20.0f), x), x, v_div(v_mul(bounded, w), v_add(w, v_set(2.0f))));
}

/* Phi(z), z = (x - mu) / sigma */
static inline vec v_laplace(vec x)
{
    vec z = v_div(v_sub(x, v_set(0.707107f)), v_set(0.282095f)), tail = v_normal_tail(v_abs(z));
    return v_select(v_less(z, v_set(0.0f)), tail, v_sub(v_set(1.0f), tail));
}

/* x clip(x + 3, 0, 6) / 6 */
static inline vec v_hardswish(vec x)
{
    vec clipped = v_min(v_set(6.0f), v_max(v_set(0.0f), v_add(x, v_set(3.0f))));
    return v_mul(v_max(v_set(-4.0f), x), v_div(clipped, v_set(6.0f)));
}

/* sqrt(max(x, 0) + log(1 + e)), e = exp(-|x|) = h^2; log(1 + e) = 2 atanh(s), s = e / (2 + e); h itself far to the left */
static inline vec v_sqrt_softplus(vec x)
{
    static const float p[] = {0.333333373f, 0.199994385f, 0.143084422f, 0.107138284f, 0.121504687f};
    vec h = v_exp(v_mul(v_set(-0.5f), v_abs(x))), e = v_mul(h, h), s = v_div(e, v_add(v_set(2.0f), e));
    vec square = v_mul(s, s), half = v_fma(v_mul(s, square), v_polynomial(square, p, 5), s);
    vec root = v_sqrt(v_add(v_max(v_set(0.0f), x), v_add(half, half)));

    return v_select(v_less(x, v_set(-20.0f)), h, root);
}

static inline vec v_clip(vec x, float low, float high)
{
    return v_min(v_set(high), v_max(v_set(low), x));
}

/* act(x); `act` is the same for a whole array, so that this branch is taken outside of the loop. */
static inline __attribute__((always_inline)) vec v_act(vec x, sondep_act act)
{
    vec zero = v_set(0.0f);

    switch (act) {
    case SONDEP_ACT_RELU: return v_max(zero, x);
    case SONDEP_ACT_GELU: return v_gelu(x);
    case SONDEP_ACT_GELU_TANH: return v_gelu_tanh(x);
    case SONDEP_ACT_SILU: return v_times_sigmoid(x, x, zero);
    case SONDEP_ACT_QUICK_GELU: return v_quick_gelu(x);
    case SONDEP_ACT_TANH: return v_tanh(x);
    case SONDEP_ACT_SIGMOID: return v_sigmoid(x);
    case SONDEP_ACT_RELU2: return v_mul(v_max(zero, x), v_max(zero, x));
    case SONDEP_ACT_RELU6: return v_clip(x, 0.0f, 6.0f);
    case SONDEP_ACT_LEAKY_RELU: return v_select(v_less(x, zero), v_mul(v_set(0.01f), x), x);
    case SONDEP_ACT_MISH: return v_mish(x);
    case SONDEP_ACT_LAPLACE: return v_laplace(x);
    case SONDEP_ACT_GELU_10: return v_clip(v_gelu(x), -10.0f, 10.0f);
    case SONDEP_ACT_HARDSWISH: return v_hardswish(x);
    case SONDEP_ACT_SQRT_SOFTPLUS: return v_sqrt_softplus(x);
    default: return x;
    }
}

#endif
