/* vector/gradients.h - the gradients' rows, and AdamW, in SIMD.                floor 2: kernel
 *
 * A template over avx512.h, avx2.h or neon.h, on top of rows.h. A `part` at the end of a row goes through the same vector
 * code as the rest. All of them wait for memory as soon as rows leave the third cache, so that what matters is how often a
 * row is read: activations once, norms twice (moments, which leave the row in the first cache, and the gradient), the loss
 * three times while it lies in the second cache, AdamW once.
 */
#ifndef SONDEP_KERNEL_VECTOR_GRADIENTS_H
#define SONDEP_KERNEL_VECTOR_GRADIENTS_H

#include "kernel/vector/rows.h"
#include "kernel/vector/slope.h"

/* n = V_WIDTH: a whole vector. */
static inline __attribute__((always_inline)) vec v_load_n(const float *p, int64_t n)
{
    return n == V_WIDTH ? v_load(p) : v_load_part(p, n);
}

/* The same for stores: what is behind the part is not touched. */
static inline __attribute__((always_inline)) void v_store_n(float *p, vec x, int64_t n)
{
    if (n == V_WIDTH)
        v_store(p, x);
    else
        v_store_part(p, x, n);
}

/* ---- activation functions ------------------------------------------------------------------------------------------------ */

/* The five or six streams of sondep_activate_backward, at the vector that is meant. */
typedef struct act_streams {
    float *dpre, *dup, *post;
    const float *dpost, *pre, *up;
} act_streams;

/* All is read before anything is written: outputs may be inputs. post takes the roundings of the forward pass. */
static inline __attribute__((always_inline)) void activate_backward_vector(const act_streams *s, int64_t i, int64_t n,
                                                                           sondep_act act)
{
    vec x = v_load_n(s->pre + i, n), g = v_load_n(s->dpost + i, n), to_pre = v_mul(g, v_act_slope(x, act));

    if (s->up) {
        vec u = v_load_n(s->up + i, n), active = v_act(x, act);
        to_pre = v_mul(to_pre, u);
        v_store_n(s->dup + i, v_mul(g, active), n);
        if (s->post)
            v_store_n(s->post + i, v_mul(active, u), n);
    } else if (s->post) {
        v_store_n(s->post + i, v_act(x, act), n);
    }
    v_store_n(s->dpre + i, to_pre, n);
}

/* `act` is a constant here, as in activate_as. */
static inline __attribute__((always_inline)) void activate_backward_as(const act_streams *s, int64_t n, sondep_act act)
{
    int64_t i = 0;

    for (; i + V_WIDTH <= n; i += V_WIDTH)
        activate_backward_vector(s, i, V_WIDTH, act);
    if (i < n)
        activate_backward_vector(s, i, n - i, act);
}

/* See kernel.h: one loop for each function. */
static void activate_backward(float *dpre, float *dup, float *post, const float *dpost, const float *pre, const float *up,
                              sondep_act act, int64_t n)
{
    act_streams s = {dpre, dup, post, dpost, pre, up};

    switch (act) {
#define X(name) \
    case name: activate_backward_as(&s, n, name); break;
        ACT_CASES(X)
#undef X
    default: activate_backward_as(&s, n, SONDEP_ACT_LINEAR);
    }
}

/* ---- normalisation -------------------------------------------------------------------------------------------------------- */

/* What a row's elements share. The mean is in two parts: x - high loses nothing where it matters. */
typedef struct norm_terms {
    vec mean_high, mean_low, inverse, mean_g, along;
} norm_terms;

/* The normalised element. */
static inline __attribute__((always_inline)) vec v_unit(const norm_terms *t, vec x)
{
    return v_mul(v_sub(v_sub(x, t->mean_high), t->mean_low), t->inverse);
}

/* A vector's share of sum(g) and sum(g n); it adds to the sums over rows on the way, where they are wanted. */
static inline __attribute__((always_inline)) void norm_sums_vector(vec *sum, vec *along, float *dw, float *db,
                                                                   const float *dy, const float *x, const float *w,
                                                                   const norm_terms *t, int64_t n)
{
    vec dy_i = v_load_n(dy, n), g = v_mul(dy_i, v_load_n(w, n)), unit = v_unit(t, v_load_n(x, n));

    *sum = v_add(*sum, g);
    *along = v_fma(g, unit, *along);
    if (dw)
        v_store_n(dw, v_fma(dy_i, unit, v_load_n(dw, n)), n);
    if (db)
        v_store_n(db, v_add(v_load_n(db, n), dy_i), n);
}

enum { NORM_BLOCK = 256 }; /* whose sums are taken in floats; blocks are summed in double */

/* sum(g) and sum(g n) of a row, g = dy w; dw += dy n, db += dy (each may be NULL) */
static void norm_sums(double *sum, double *along, float *dw, float *db, const float *dy, const float *x, const float *w,
                      const norm_terms *t, int64_t D)
{
    *sum = *along = 0.0;
    for (int64_t start = 0; start < D; start += NORM_BLOCK) {
        int64_t end = D - start < NORM_BLOCK ? D : start + NORM_BLOCK, d = start;
        vec s = v_set(0.0f), a = v_set(0.0f);
        for (; d + V_WIDTH <= end; d += V_WIDTH)
            norm_sums_vector(&s, &a, dw ? dw + d : NULL, db ? db + d : NULL, dy + d, x + d, w + d, t, V_WIDTH);
        if (d < end)
            norm_sums_vector(&s, &a, dw ? dw + d : NULL, db ? db + d : NULL, dy + d, x + d, w + d, t, end - d);
        *sum += (double)v_sum(s);
        *along += (double)v_sum(a);
    }
}

/* dx = (g - mean(g) - n mean(g n)) / scale */
static inline __attribute__((always_inline)) void norm_dx_vector(float *dx, const float *dy, const float *x, const float *w,
                                                                 const norm_terms *t, bool adds, int64_t n)
{
    vec g = v_mul(v_load_n(dy, n), v_load_n(w, n)), unit = v_unit(t, v_load_n(x, n));
    vec to_x = v_mul(v_fnma(unit, t->along, v_sub(g, t->mean_g)), t->inverse);

    v_store_n(dx, adds ? v_add(v_load_n(dx, n), to_x) : to_x, n);
}

/* One row; its moments in double, as norm_row has them. */
static void norm_backward_row(float *dx, float *dw, float *db, const float *dy, const float *x, const float *w, bool is_rms,
                              double eps, int64_t D, bool adds)
{
    double mean = is_rms ? 0.0 : sum_of(x, D) / (double)D, sum, along;
    double s = sqrt(sum_of_squares(x, mean, D) / (double)D + eps);
    float high = (float)mean;
    norm_terms t = {.mean_high = v_set(high), .mean_low = v_set((float)(mean - high)), .inverse = v_set((float)(1.0 / s))};
    int64_t d = 0;

    norm_sums(&sum, &along, dw, db, dy, x, w, &t, D);
    t.mean_g = v_set(is_rms ? 0.0f : (float)(sum / (double)D));
    t.along = v_set((float)(along / (double)D));
    for (; d + V_WIDTH <= D; d += V_WIDTH)
        norm_dx_vector(dx + d, dy + d, x + d, w + d, &t, adds, V_WIDTH);
    if (d < D)
        norm_dx_vector(dx + d, dy + d, x + d, w + d, &t, adds, D - d);
}

/* ---- attention ------------------------------------------------------------------------------------------------------------ */

/* See leaf.h: the way back through a row of the softmax. What is behind the row's end stays 0 in p, whatever the factor. */
static void unsoften(float *p, float *dp, float factor, float along, float scaled, int64_t n)
{
    vec f = v_set(factor), a = v_set(along), s = v_set(scaled), pattern;

    for (int64_t i = 0; i < n; i += V_WIDTH) {
        pattern = v_mul(v_load(p + i), f);
        if (n - i < V_WIDTH)
            pattern = v_first_of(pattern, n - i, v_set(0.0f));
        v_store(p + i, pattern);
        v_store(dp + i, v_mul(v_mul(pattern, s), v_sub(v_load(dp + i), a)));
    }
}

/* ---- the loss --------------------------------------------------------------------------------------------------------------- */

/* Sum of exp(x - most) over all but the target; the exponentials stay in the row, 0 at the target's place, if it `keeps`
 * them, else they go through a block on the stack. */
static double exponentials_of_others(float *x, int64_t target, float most, bool keeps, int64_t V)
{
    double sum = 0.0;
    float copy[SOFTMAX_BLOCK];

    for (int64_t v = 0; v < V; v += SOFTMAX_BLOCK) {
        int64_t n = V - v < SOFTMAX_BLOCK ? V - v : SOFTMAX_BLOCK;
        float *block = keeps ? x + v : copy;
        if (!keeps)
            memcpy(copy, x + v, (size_t)n * sizeof *x);
        if (target >= v && target < v + n)
            block[target - v] = -INFINITY;
        sum += (double)exponentials(block, n, 1.0f, most);
    }
    return sum;
}

/* Two passes behind the one for the maximum. With the target's exponential apart, nothing cancels when it is nearly all of
 * the sum: loss = log(1 + others / own), and its gradient is -others / sum. */
static double cross_entropy(float *x, int64_t target, float weight, bool is_gradient, int64_t V)
{
    float most, at;
    double own, others, sum;

    if (target < 0) {
        memset(x, 0, is_gradient ? (size_t)V * sizeof *x : 0);
        return 0.0;
    }
    at = x[target];
    most = greatest(x, V);
    most = most == -INFINITY ? 0.0f : most;
    own = exp((double)at - most);
    others = exponentials_of_others(x, target, most, is_gradient, V);
    sum = own + others;
    if (is_gradient) {
        scale(x, x, (float)(weight / sum), V);
        x[target] = (float)(-others / sum * weight);
    }
    return own > 0.0 ? log1p(others / own) : most - (double)at + log(sum); /* where it underflows, or is NaN */
}

/* ---- the optimizer ------------------------------------------------------------------------------------------------------------ */

/* Sixteen doubles, joined in a fixed tree, as the norms have them. */
static double sum_squares(const float *x, int64_t n)
{
    return sum_of_squares(x, 0.0, n);
}

/* What all parameters share, formed in double: 1 - beta would lose digits in floats. */
typedef struct adamw_terms {
    vec clip, to_m, to_v, by_correction2, rate, eps, decay;
} adamw_terms;

/* The decay and the step are added up before they meet w, so that a small one is not lost in 1 - rate decay. */
static inline __attribute__((always_inline)) void adamw_vector(float *w, float *m, float *v, const float *g,
                                                               const adamw_terms *t, int64_t n)
{
    vec clipped = v_mul(v_load_n(g, n), t->clip), m_i = v_load_n(m, n), v_i = v_load_n(v, n), w_i = v_load_n(w, n), step;

    m_i = v_fma(t->to_m, v_sub(clipped, m_i), m_i);
    v_i = v_fma(t->to_v, v_sub(v_mul(clipped, clipped), v_i), v_i);
    step = v_div(v_mul(m_i, t->rate), v_add(v_sqrt(v_mul(v_i, t->by_correction2)), t->eps));
    v_store_n(w, v_sub(w_i, v_fma(w_i, t->decay, step)), n);
    v_store_n(m, m_i, n);
    v_store_n(v, v_i, n);
}

/* n parameters, in floats: within 1e-6 of the definition's step. */
static void adamw(float *w, float *m, float *v, const float *g, const sondep_adamw *a, int64_t n)
{
    adamw_terms t = {v_set((float)a->clip),
                     v_set((float)(1.0 - a->beta1)),
                     v_set((float)(1.0 - a->beta2)),
                     v_set((float)(1.0 / a->correction2)),
                     v_set((float)(a->rate / a->correction1)),
                     v_set((float)a->eps),
                     v_set((float)(a->rate * a->decay))};
    int64_t i = 0;

    for (; i + V_WIDTH <= n; i += V_WIDTH)
        adamw_vector(w + i, m + i, v + i, g + i, &t, V_WIDTH);
    if (i < n)
        adamw_vector(w + i, m + i, v + i, g + i, &t, n - i);
}

#endif
