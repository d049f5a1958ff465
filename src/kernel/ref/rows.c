/* ref/rows.c - the definition of the small operations on rows. */
#include "kernel/ref.h"

#include <math.h>

/* out = a + b, rounded once. */
void sondep_add_ref(float *out, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = a[i] + b[i];
}

/* out = a b, rounded once. */
void sondep_multiply_ref(float *out, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = a[i] * b[i];
}

/* Pairs (x[i], x[i + d/2]) turned by the angle of their position: both are read before either is written, so that out may
 * be x. Source: Su et al. 2021; the pairing is that of transformers ("rotate_half"), not of the paper. */
void sondep_rotate_ref(float *out, const float *x, const int64_t *position, const float *cos, const float *sin, int64_t N,
                       int64_t n_heads, int64_t d, int64_t ld_out, int64_t ld_x)
{
    int64_t half = d / 2;

    for (int64_t n = 0; n < N; n++) {
        const float *c = cos + position[n] * half, *s = sin + position[n] * half;
        for (int64_t head = 0; head < n_heads; head++) {
            const float *from = x + n * ld_x + head * d;
            float *to = out + n * ld_out + head * d;
            for (int64_t i = 0; i < half; i++) {
                double lower = from[i], upper = from[i + half];
                to[i] = (float)(lower * c[i] - upper * s[i]);
                to[i + half] = (float)(upper * c[i] + lower * s[i]);
            }
        }
    }
}

/* out[n] = table[ids[n]], or out[n] += it: token and position embeddings. */
void sondep_gather_rows_ref(float *out, const sondep_matrix *table, const int64_t *ids, bool add, int64_t N, int64_t D)
{
    for (int64_t n = 0; n < N; n++) {
        for (int64_t d = 0; d < D; d++) {
            float x = sondep_matrix_get(table, ids[n], d);
            out[n * D + d] = add ? out[n * D + d] + x : x;
        }
    }
}

/* max + log(sum exp(x - max)): finite whenever the result is; -inf of nothing but -inf; a NaN wins the maximum and stays. */
double sondep_log_sum_exp_ref(const float *x, int64_t n)
{
    double most = -INFINITY, sum = 0.0;

    for (int64_t i = 0; i < n; i++)
        most = x[i] > most || isnan(x[i]) ? x[i] : most;
    if (most == -INFINITY)
        return most;
    for (int64_t i = 0; i < n; i++)
        sum += exp(x[i] - most);
    return most + log(sum);
}

/* The first place, so that an error can name it. */
int64_t sondep_find_nonfinite_ref(const float *x, int64_t n, bool allow_minus_infinity)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]) && !(allow_minus_infinity && x[i] == -INFINITY))
            return i;
    return -1;
}

/* Eight chains of multiply-adds, as the compiler has them. */
double sondep_fma_flops_ref(int64_t n)
{
    volatile double sink;
    double x[8] = {1, 2, 3, 4, 5, 6, 7, 8};

    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < 8; k++)
            x[k] = x[k] * 0.999 + 1e-3;
    sink = x[0] + x[1] + x[2] + x[3] + x[4] + x[5] + x[6] + x[7];
    (void)sink;
    return (double)n * 16;
}
