/* ref/norm.c - the definition of LayerNorm and RMSNorm: mean and squares in double. */
#include "kernel/ref.h"

#include <math.h>

/* One row: s = sqrt(mean((x - mean)^2) + eps), normalized = (x - mean) / s, y = normalized w + b.
 * The mean is that of LayerNorm, 0 for RMSNorm. eps is added to the mean square, inside the root.
 * The normalized row is rounded to float before the gain: it is a hook point of its own. */
static void norm_row(float *y, float *normalized, float *scale, const float *x, const float *w, const float *b, bool is_rms,
                     double eps, int64_t D)
{
    double mean = 0.0, squares = 0.0, s;

    for (int64_t d = 0; d < D && !is_rms; d++)
        mean += x[d];
    mean /= (double)D;
    for (int64_t d = 0; d < D; d++)
        squares += (x[d] - mean) * (x[d] - mean);
    s = sqrt(squares / (double)D + eps);

    for (int64_t d = 0; d < D; d++) {
        float unit = (float)((x[d] - mean) / s);
        if (normalized)
            normalized[d] = unit;
        if (y)
            y[d] = b ? unit * w[d] + b[d] : unit * w[d];
    }
    if (scale)
        *scale = (float)s;
}

void sondep_norm_ref(float *y, float *normalized, float *scale, const float *x, const float *w, const float *b, bool is_rms,
                     double eps, int64_t N, int64_t D)
{
#pragma omp parallel for schedule(static) num_threads(sonde_threads())
    for (int64_t n = 0; n < N; n++)
        norm_row(y ? y + n * D : NULL, normalized ? normalized + n * D : NULL, scale ? scale + n : NULL, x + n * D, w, b,
                 is_rms, eps, D);
}

/* y = normalized w + b, with the same roundings as above. */
void sondep_norm_gain_ref(float *y, const float *normalized, const float *w, const float *b, int64_t N, int64_t D)
{
    for (int64_t n = 0; n < N; n++)
        for (int64_t d = 0; d < D; d++)
            y[n * D + d] = b ? normalized[n * D + d] * w[d] + b[d] : normalized[n * D + d] * w[d];
}
