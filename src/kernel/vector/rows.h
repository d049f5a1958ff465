/* vector/rows.h - the operations on rows of numbers, in SIMD.                           floor 2: kernel
 *
 * A template over avx512.h, avx2.h or neon.h. Sums of squares and means are kept in 16 doubles, joined in a fixed tree,
 * on every instruction set alike.
 */
#ifndef SONDEP_KERNEL_VECTOR_ROWS_H
#define SONDEP_KERNEL_VECTOR_ROWS_H

#include <math.h>

/* ---- element by element --------------------------------------------------------------------------------------------------- */

/* `act` is a constant: one loop for each function. The part at the end goes through the same vector code. */
static inline __attribute__((always_inline)) void activate_as(float *out, const float *in, int64_t n, sondep_act act)
{
    int64_t i = 0;

    for (; i + V_WIDTH <= n; i += V_WIDTH)
        v_store(out + i, v_act(v_load(in + i), act));
    if (i < n)
        v_store_part(out + i, v_act(v_load_part(in + i, n - i), act), n - i);
}

static void activate(float *out, const float *in, sondep_act act, int64_t n)
{
    switch (act) {
#define X(name) \
    case name: activate_as(out, in, n, name); break;
        ACT_CASES(X)
#undef X
    default:
        if (out != in)
            memmove(out, in, (size_t)n * sizeof *out);
    }
}

/* Left to the compiler, which makes vectors of it: there is nothing to reorder. */
static void add(float *out, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = a[i] + b[i];
}

static void multiply(float *out, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = a[i] * b[i];
}

/* y += factor x, one rounding */
static void add_scaled(float *y, const float *x, float factor, int64_t n)
{
    vec f = v_set(factor);
    int64_t i = 0;

    for (; i + V_WIDTH <= n; i += V_WIDTH)
        v_store(y + i, v_fma(f, v_load(x + i), v_load(y + i)));
    if (i < n)
        v_store_part(y + i, v_fma(f, v_load_part(x + i, n - i), v_load_part(y + i, n - i)), n - i);
}

static void scale(float *y, const float *x, float factor, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * factor;
}

/* Lane by lane, then the lanes joined. */
static float dot(const float *a, const float *b, int64_t n)
{
    vec sum = v_set(0.0f);
    int64_t i = 0;

    for (; i + V_WIDTH <= n; i += V_WIDTH)
        sum = v_fma(v_load(a + i), v_load(b + i), sum);
    if (i < n)
        sum = v_fma(v_load_part(a + i, n - i), v_load_part(b + i, n - i), sum);
    return v_sum(sum);
}

/* ---- softmax ---------------------------------------------------------------------------------------------------------------- */

/* The first n lanes of x, `rest` in the others. */
static inline __attribute__((always_inline)) vec v_first_of(vec x, int64_t n, vec rest)
{
    static const float number[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return v_select(v_less(v_load(number), v_set((float)n)), x, rest);
}

/* The greatest element (-inf of none). A NaN may or may not win: it stays in the row and makes its sum NaN. */
static float greatest(const float *x, int64_t n)
{
    vec most = v_set(-INFINITY);
    int64_t i = 0;

    for (; i + V_WIDTH <= n; i += V_WIDTH)
        most = v_max(v_load(x + i), most);
    if (i < n)
        most = v_max(v_first_of(v_load_part(x + i, n - i), n - i, most), most);
    return v_greatest(most);
}

/* x = exp(x scale - most), and their sum: floats in a block of V_WIDTH lanes, which never grow long. */
static float exponentials(float *x, int64_t n, float factor, float most)
{
    vec sum = v_set(0.0f), f = v_set(factor), m = v_set(most), e;
    int64_t i = 0;

    for (; i + V_WIDTH <= n; i += V_WIDTH) {
        e = v_exp(v_sub(v_mul(v_load(x + i), f), m));
        v_store(x + i, e);
        sum = v_add(sum, e);
    }
    if (i < n) {
        e = v_exp(v_sub(v_mul(v_load_part(x + i, n - i), f), m));
        v_store_part(x + i, e, n - i);
        sum = v_add(sum, v_first_of(e, n - i, v_set(0.0f)));
    }
    return v_sum(sum);
}

/* See leaf.h. The factor to the new maximum is 0 at first, when nothing was summed before. */
static float soften(float *x, int64_t n, float factor, float *most, double *sum)
{
    float top = greatest(x, n) * factor, before = *most, change;

    top = top > before ? top : before;
    if (top == -INFINITY)
        top = 0.0f; /* nothing but -inf (or NaN): exp gives 0 (or NaN) */
    change = before == top ? 1.0f : before == -INFINITY ? 0.0f : (float)exp((double)before - top);
    *sum = *sum * change + exponentials(x, n, factor, top);
    *most = top;
    return change;
}

enum { SOFTMAX_BLOCK = 256 }; /* whose sum is taken in floats; blocks are summed in double */

/* Blocks bound the error of the sum; a row of nothing but -inf sums to 0 and becomes 0. */
static void softmax(float *x, int64_t n)
{
    float most = greatest(x, n);
    double sum = 0.0;

    if (most == -INFINITY)
        most = 0.0f;
    for (int64_t i = 0; i < n; i += SOFTMAX_BLOCK)
        sum += exponentials(x + i, n - i < SOFTMAX_BLOCK ? n - i : SOFTMAX_BLOCK, 1.0f, most);
    scale(x, x, sum == 0.0 ? 0.0f : (float)(1.0 / sum), n);
}

/* The row is read twice; exponentials go through a block on the stack. */
static double log_sum_exp(const float *x, int64_t n)
{
    float most = greatest(x, n), block[SOFTMAX_BLOCK];
    double sum = 0.0;

    for (int64_t i = 0; i < n; i += SOFTMAX_BLOCK) {
        int64_t width = n - i < SOFTMAX_BLOCK ? n - i : SOFTMAX_BLOCK;
        memcpy(block, x + i, (size_t)width * sizeof *x);
        sum += exponentials(block, width, 1.0f, most == -INFINITY ? 0.0f : most);
    }
    return sum == 0.0 ? -INFINITY : most + log(sum); /* a NaN anywhere has made sum NaN */
}

/* ---- weights of a draw --------------------------------------------------------------------------------------------------------- */

enum { AT_ONCE = 4 }; /* vectors whose maxima and checks run side by side */

/* The greatest of a block; x * 0 is not 0 where x is not finite, and stays so in *check. */
static inline float greatest_finite(const float *x, int64_t n, float *check)
{
    /* AT_ONCE chains, so that none waits for itself */
    vec zero = v_set(0.0f), most[AT_ONCE], wrong[AT_ONCE];
    float result = -INFINITY;
    int64_t i = 0;

    UNROLL for (int k = 0; k < AT_ONCE; k++) most[k] = v_set(-INFINITY), wrong[k] = zero;
    for (; i + AT_ONCE * V_WIDTH <= n; i += AT_ONCE * V_WIDTH) {
        UNROLL for (int k = 0; k < AT_ONCE; k++)
        {
            vec v = v_load(x + i + k * V_WIDTH);
            most[k] = v_max(v, most[k]);
            wrong[k] = v_fma(v, zero, wrong[k]);
        }
    }
    /* of no vector the greatest is -inf */
    if (i > 0)
        result = v_greatest(v_max(v_max(most[0], most[1]), v_max(most[2], most[3])));
    *check += v_sum(v_add(v_add(wrong[0], wrong[1]), v_add(wrong[2], wrong[3])));
    for (; i < n; i++) {
        result = x[i] > result ? x[i] : result;
        *check += x[i] * 0.0f;
    }
    return result;
}

/* Weights of a block; the lanes' sums, joined, are returned. */
static inline float weigh_block(float *y, const float *x, float most, float factor, int64_t n)
{
    vec sum = v_set(0.0f), f = v_set(factor), m = v_set(most), e;
    float total, last[V_WIDTH];
    int64_t i = 0;

    for (; i + V_WIDTH <= n; i += V_WIDTH) {
        e = v_exp(v_mul(v_sub(v_load(x + i), m), f));
        if (y)
            v_store(y + i, e);
        sum = v_add(sum, e);
    }
    /* the lanes first, then what is left one by one: the same order for every block of a length */
    total = v_sum(sum);
    if (i < n) {
        v_store(last, v_exp(v_mul(v_sub(v_load_part(x + i, n - i), m), f)));
        for (int64_t k = 0; k < n - i; k++) {
            total += last[k];
            if (y)
                y[i + k] = last[k];
        }
    }
    return total;
}

/* The same for those who want the weights and not their sum. */
static void weigh(float *y, const float *x, float most, float factor, int64_t n)
{
    (void)weigh_block(y, x, most, factor, n);
}

/* The block is in the first cache when its exponentials are taken: the row is read from memory once. */
static bool sum_blocks(float *most, float *sum, const float *x, float factor, int64_t n)
{
    float check = 0.0f;

    for (int64_t i = 0; i < n; i += SONDEP_DRAW_BLOCK, most++) {
        int64_t width = n - i < SONDEP_DRAW_BLOCK ? n - i : SONDEP_DRAW_BLOCK;
        *most = greatest_finite(x + i, width, &check);
        if (sum)
            *sum++ = weigh_block(NULL, x + i, *most, factor, width);
    }
    return check == 0.0f;
}

/* ---- normalisation ------------------------------------------------------------------------------------------------------------ */

enum { LANES = 16 };

/* Halves onto halves: 16, 8, 4, 2, 1. */
static double join(const double *lane)
{
    double s[LANES];

    memcpy(s, lane, sizeof s);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            s[i] += s[i + width];
    return s[0];
}

/* Element i goes to lane i mod LANES. */
static double sum_of(const float *x, int64_t n)
{
    double lane[LANES] = {0};
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++)
            lane[k] += (double)x[i + k];
    for (int k = 0; i < n; i++, k++)
        lane[k] += (double)x[i];
    return join(lane);
}

/* The same for (x - mean)^2. */
static double sum_of_squares(const float *x, double mean, int64_t n)
{
    double lane[LANES] = {0};
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++)
            lane[k] += ((double)x[i + k] - mean) * ((double)x[i + k] - mean);
    for (int k = 0; i < n; i++, k++)
        lane[k] += ((double)x[i] - mean) * ((double)x[i] - mean);
    return join(lane);
}

/* Two roundings, as separate passes would have them. */
static void gain_row(float *y, const float *normalized, const float *w, const float *b, int64_t D)
{
    for (int64_t d = 0; d < D && b != NULL; d++)
        y[d] = normalized[d] * w[d] + b[d];
    for (int64_t d = 0; d < D && b == NULL; d++)
        y[d] = normalized[d] * w[d];
}

/* y and normalized may each be NULL; the normalized row is always formed as floats first. */
static void norm_row(float *y, float *normalized, float *scale_out, const float *x, const float *w, const float *b,
                     bool is_rms, double eps, int64_t D)
{
    double mean = is_rms ? 0.0 : sum_of(x, D) / (double)D;
    double s = sqrt(sum_of_squares(x, mean, D) / (double)D + eps), inverse = 1.0 / s;
    float *to = normalized ? normalized : y;

    for (int64_t d = 0; d < D && to != NULL; d++)
        to[d] = (float)(((double)x[d] - mean) * inverse);
    if (y)
        gain_row(y, to, w, b, D);
    if (scale_out)
        *scale_out = (float)s;
}

/* ---- rotary, conversion, search ------------------------------------------------------------------------------------------------- */

/* Both halves are loaded before either is stored: out may be x. */
static void rotate_head(float *out, const float *x, const float *c, const float *s, int64_t half)
{
    int64_t i = 0;

    for (; i < half; i += V_WIDTH) {
        int64_t n = half - i;
        bool whole = n >= V_WIDTH;
        vec lower = whole ? v_load(x + i) : v_load_part(x + i, n);
        vec upper = whole ? v_load(x + half + i) : v_load_part(x + half + i, n);
        vec cosine = whole ? v_load(c + i) : v_load_part(c + i, n), sine = whole ? v_load(s + i) : v_load_part(s + i, n);
        vec low = v_fnma(upper, sine, v_mul(lower, cosine)), high = v_fma(lower, sine, v_mul(upper, cosine));

        if (whole) {
            v_store(out + i, low);
            v_store(out + half + i, high);
        } else {
            v_store_part(out + i, low, n);
            v_store_part(out + half + i, high, n);
        }
    }
}

static inline __attribute__((always_inline)) void convert_as(float *out, const char *from, bool adds, int64_t n,
                                                             sonde_dtype dtype, bool rounds)
{
    int64_t i = 0;

    for (; i + V_WIDTH <= n; i += V_WIDTH) {
        vec x = v_load_as(from + i * bytes_of(dtype), dtype, rounds);
        v_store(out + i, adds ? v_add(v_load(out + i), x) : x);
    }
    if (i < n) {
        vec x = v_load_part_as(from + i * bytes_of(dtype), dtype, rounds, n - i);
        v_store_part(out + i, adds ? v_add(v_load_part(out + i, n - i), x) : x, n - i);
    }
}

static void convert_row(float *out, const void *x, sonde_dtype dtype, bool adds, int64_t n)
{
    WITH_TYPE(convert_as, dtype, false, out, x, adds, n);
}

/* Vectors are tested whole; only one that has something is looked at element by element. */
static int64_t find_nonfinite(const float *x, int64_t n, bool allow_minus_infinity)
{
    int64_t i = 0;

    for (; i < n; i++) {
        if (i + V_WIDTH <= n && !v_any_nonfinite(v_load(x + i)))
            i += V_WIDTH - 1;
        else if (!isfinite(x[i]) && !(allow_minus_infinity && x[i] == -INFINITY))
            return i;
    }
    return -1;
}

#endif
