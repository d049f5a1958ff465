/* vector/toy.h - rows of toy models, and draws of their features, in SIMD.     floor 2: kernel
 *
 * A template over avx512.h, avx2.h or neon.h. Rows lie side by side in vectors, features and hidden numbers below each other: weights
 * are single numbers that meet whole vectors, so that a model of two hidden numbers is as good as one of forty. Sums over rows
 * stay in vectors until the rows of a call are through.
 *
 *   x (n, R)  ->  h = W_in^T x (m, R)  ->  pre = W_out h + b (n, R)  ->  error, loss, d (n, R)  ->  dh = W_out^T d (m, R)
 *   g_out += d h^T,  g_in += x dh^T,  g_b += sum d      tied: g += d h^T + x dh^T in one pass
 *
 * All three products take four outputs and two vectors of rows at a time: eight sums in registers, each number that is loaded is used
 * four times or twice. The gradients are sums over rows, lane by lane and joined by v_sum_four's tree, so that a call gives the same
 * bits whoever makes it. Of ten flops for each weight and row, half are in the gradients.
 *
 * Draws: sixteen generators of xoshiro128++ side by side, in integer vectors of the compiler, which become one, two or four registers. One draw says
 * both whether a feature is on and how large it is: below the bar p 2^31 it is on, and bits / bar is uniform in [0, 1). For p = 0.001 that
 * leaves 21 bits of the value, which is more than a float of that size would miss.
 */
#ifndef SONDEP_KERNEL_VECTOR_TOY_H
#define SONDEP_KERNEL_VECTOR_TOY_H

#include "kernel/vector/codes.h"

enum { TOY_SUMS = 4 /* outputs that share what is loaded */, TOY_STRIDE = SONDEP_TOY_ROWS };

/* out[o,r] = bias[o] + sum_k w[o ld_o + k ld_k] x[k,r] for n <= TOY_SUMS outputs, two vectors of rows at a time. */
static inline __attribute__((always_inline)) void toy_mix_some(float *out, const float *bias, const float *w, int64_t ld_o,
                                                               int64_t ld_k, const float *x, int64_t K, const int n)
{
    for (int64_t r = 0; r < TOY_STRIDE; r += 2 * V_WIDTH) {
        vec sums[TOY_SUMS][2];
        UNROLL for (int o = 0; o < n; o++) sums[o][0] = sums[o][1] = v_set(bias ? bias[o] : 0.0f);
        for (int64_t k = 0; k < K; k++) {
            vec a = v_load(x + k * TOY_STRIDE + r), b = v_load(x + k * TOY_STRIDE + r + V_WIDTH);
            UNROLL for (int o = 0; o < n; o++)
            {
                vec f = v_set(w[o * ld_o + k * ld_k]);
                sums[o][0] = v_fma(f, a, sums[o][0]);
                sums[o][1] = v_fma(f, b, sums[o][1]);
            }
        }
        UNROLL for (int o = 0; o < n; o++)
        {
            v_store(out + o * TOY_STRIDE + r, sums[o][0]);
            v_store(out + o * TOY_STRIDE + r + V_WIDTH, sums[o][1]);
        }
    }
}

/* All M outputs. */
static void toy_mix(float *out, const float *bias, const float *w, int64_t ld_o, int64_t ld_k, const float *x, int64_t M,
                    int64_t K)
{
    int64_t o = 0;

    for (; o + TOY_SUMS <= M; o += TOY_SUMS)
        toy_mix_some(out + o * TOY_STRIDE, bias ? bias + o : NULL, w + o * ld_o, ld_o, ld_k, x, K, TOY_SUMS);
    out += o * TOY_STRIDE;
    bias = bias ? bias + o : NULL;
    switch (M - o) {
    case 1: toy_mix_some(out, bias, w + o * ld_o, ld_o, ld_k, x, K, 1); break;
    case 2: toy_mix_some(out, bias, w + o * ld_o, ld_o, ld_k, x, K, 2); break;
    case 3: toy_mix_some(out, bias, w + o * ld_o, ld_o, ld_k, x, K, 3); break;
    default: break;
    }
}

/* g[j] += sum_r a[r] b[j,r] (+ c[r] d[j,r]) for n <= TOY_SUMS columns. */
static inline __attribute__((always_inline)) void toy_outer_some(float *g, const float *a, const float *b, const float *c,
                                                                 const float *d, const int n)
{
    vec sums[TOY_SUMS] = {v_set(0.0f), v_set(0.0f), v_set(0.0f), v_set(0.0f)};
    float joined[TOY_SUMS];

    for (int64_t r = 0; r < TOY_STRIDE; r += V_WIDTH) {
        vec x = v_load(a + r), y = c ? v_load(c + r) : x;
        UNROLL for (int j = 0; j < n; j++)
        {
            sums[j] = v_fma(x, v_load(b + j * TOY_STRIDE + r), sums[j]);
            if (c)
                sums[j] = v_fma(y, v_load(d + j * TOY_STRIDE + r), sums[j]);
        }
    }
    v_sum_four(joined, sums);
    for (int j = 0; j < n; j++)
        g[j] += joined[j];
}

/* g (N,M): rows of a and c by rows of b and d. c NULL: one product. */
static void toy_outer(float *g, const float *a, const float *b, const float *c, const float *d, int64_t N, int64_t M)
{
    for (int64_t i = 0; i < N; i++) {
        const float *x = a + i * TOY_STRIDE, *y = c ? c + i * TOY_STRIDE : NULL;
        int64_t j = 0;
        for (; j + TOY_SUMS <= M; j += TOY_SUMS)
            toy_outer_some(g + i * M + j, x, b + j * TOY_STRIDE, y, d + j * TOY_STRIDE, TOY_SUMS);
        switch (M - j) {
        case 1: toy_outer_some(g + i * M + j, x, b + j * TOY_STRIDE, y, d + j * TOY_STRIDE, 1); break;
        case 2: toy_outer_some(g + i * M + j, x, b + j * TOY_STRIDE, y, d + j * TOY_STRIDE, 2); break;
        case 3: toy_outer_some(g + i * M + j, x, b + j * TOY_STRIDE, y, d + j * TOY_STRIDE, 3); break;
        default: break;
        }
    }
}

/* Output i of all rows: its error, and what of the gradient reaches the pre-activation, which stands in `pre` before. */
static inline vec toy_error(float *pre, const sondep_toy *t, const float *x, int64_t i, vec *of_bias)
{
    vec loss = v_set(0.0f), importance = v_set(t->importance[i]), share = v_set(t->factor * t->importance[i]);
    vec zero = v_set(0.0f);

    for (int64_t r = 0; r < TOY_STRIDE; r += V_WIDTH) {
        vec h = v_load(pre + r), target = v_load(x + r), error, d;
        target = t->is_absolute ? v_abs(target) : target;
        /* where the ReLU cuts off, nothing is learnt */
        error = v_sub(t->has_relu ? v_max(h, zero) : h, target);
        loss = v_fma(v_mul(importance, error), error, loss);
        d = v_mul(share, error);
        d = t->has_relu ? v_select(v_less(zero, h), d, zero) : d;
        *of_bias = v_add(*of_bias, d);
        v_store(pre + r, d);
    }
    return loss;
}

/* x = max(x, 0), and in the way back: 0 where h is 0. */
static inline void toy_gate(float *x, const float *h, int64_t n)
{
    vec zero = v_set(0.0f);

    for (int64_t i = 0; i < n; i += V_WIDTH)
        v_store(x + i, v_select(v_less(zero, v_load(h + i)), v_load(x + i), zero));
}

/* See leaf.h. */
static double toy_rows(const sondep_toy *t, const float *x, float *scratch)
{
    int64_t n = t->n, m = t->m;
    float *h = scratch, *dh = h + m * TOY_STRIDE, *pre = dh + m * TOY_STRIDE;
    vec loss = v_set(0.0f);

    toy_mix(h, NULL, t->w_in, 1, m, x, m, n);
    if (t->has_hidden_relu)
        toy_gate(h, h, m * TOY_STRIDE);
    toy_mix(pre, t->b, t->w_out, m, 1, h, n, m);
    for (int64_t i = 0; i < n; i++) {
        vec of_bias = v_set(0.0f);
        loss = v_add(loss, toy_error(pre + i * TOY_STRIDE, t, x + i * TOY_STRIDE, i, &of_bias));
        if (t->g_b)
            t->g_b[i] += v_sum(of_bias);
    }
    if (!t->g_b)
        return v_sum(loss);
    toy_mix(dh, NULL, t->w_out, 1, m, pre, m, n);
    if (t->has_hidden_relu)
        toy_gate(dh, h, m * TOY_STRIDE);
    if (t->g_in == t->g_out) {
        /* tied: both shares of the gradient in one pass */
        toy_outer(t->g_in, pre, h, x, dh, n, m);
    } else {
        toy_outer(t->g_out, pre, h, NULL, dh, n, m);
        toy_outer(t->g_in, x, dh, NULL, dh, n, m);
    }
    return v_sum(loss);
}

/* ---- draws -------------------------------------------------------------------------------------------------------------------- */

/* 16 generators side by side, whatever the width of vectors: the same numbers everywhere. */
typedef uint32_t toy_words __attribute__((vector_size(4 * SONDEP_TOY_LANES)));
typedef int32_t toy_ints __attribute__((vector_size(4 * SONDEP_TOY_LANES)));
typedef float toy_floats __attribute__((vector_size(4 * SONDEP_TOY_LANES)));

#define TOY_TURN(x, k) ((x) << (k) | (x) >> (32 - (k)))

/* The next 31 bits of each, of xoshiro128++ (Blackman and Vigna 2021). */
#define TOY_NEXT(out, s)                                     \
    do {                                                     \
        toy_words sum_ = s[0] + s[3], next_ = s[1] << 9;     \
        (out) = (toy_ints)((TOY_TURN(sum_, 7) + s[0]) >> 1); \
        s[2] ^= s[0];                                        \
        s[3] ^= s[1];                                        \
        s[1] ^= s[2];                                        \
        s[0] ^= s[3];                                        \
        s[2] ^= next_;                                       \
        s[3] = TOY_TURN(s[3], 11);                           \
    } while (0)

/* A number in [0, 1) where `on`, or in [-1, 1) of signed features; else 0. */
#define TOY_PUT(to, on, bits, scale, sets)                                         \
    do {                                                                           \
        toy_floats value_ = __builtin_convertvector((bits), toy_floats) * (scale); \
        value_ = (sets)->is_signed ? value_ * 2.0f - 1.0f : value_;                \
        value_ = (toy_floats)((toy_ints)value_ & (on));                            \
        memcpy((to), &value_, sizeof value_);                                      \
    } while (0)

/* See leaf.h. An independent feature takes one draw: below p 2^31 it is on, and how far below is its value. */
static void toy_draw(float *x, const sondep_toy_sets *sets, uint32_t *state)
{
    toy_words s[4];
    toy_ints bits, which, on;

    memcpy(s, state, sizeof s);
    for (int64_t g = 0; g < sets->n; g++) {
        const sondep_toy_set *set = &sets->sets[g];
        for (int64_t i = set->first; i < set->first + set->n && set->kind == SONDEP_TOY_ALONE; i++)
            for (int64_t r = 0; r < TOY_STRIDE; r += SONDEP_TOY_LANES) {
                TOY_NEXT(bits, s);
                on = bits < sets->bar[i];
                TOY_PUT(x + i * TOY_STRIDE + r, on, bits, sets->scale[i], sets);
            }
        for (int64_t r = 0; r < TOY_STRIDE && set->kind != SONDEP_TOY_ALONE; r += SONDEP_TOY_LANES) {
            TOY_NEXT(which, s);
            on = which < sets->bar[set->first];
            /* which of the set it is, where it is one of them */
            which = __builtin_convertvector(
                __builtin_convertvector(which, toy_floats) * (sets->scale[set->first] * (float)set->n), toy_ints);
            for (int64_t i = 0; i < set->n; i++) {
                toy_ints own = set->kind == SONDEP_TOY_ONE_OF ? on & (which == (int32_t)i) : on;
                TOY_NEXT(bits, s);
                TOY_PUT(x + (set->first + i) * TOY_STRIDE + r, own, bits, 0x1p-31f, sets);
            }
        }
    }
    memcpy(state, s, sizeof s);
}

#endif
