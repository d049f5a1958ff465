/* ref/norm_backward.c - the definition of the gradients of LayerNorm and RMSNorm, and of sums over rows: in double. */
#include "kernel/ref.h"

#include <math.h>

/* Mean (0 for RMSNorm) and scale of a row, as in ref/norm.c. */
static void moments(double *mean, double *scale, const float *x, bool is_rms, double eps, int64_t D)
{
    double squares = 0.0;

    *mean = 0.0;
    for (int64_t d = 0; d < D && !is_rms; d++)
        *mean += x[d] / (double)D;
    for (int64_t d = 0; d < D; d++)
        squares += (x[d] - *mean) * (x[d] - *mean);
    *scale = sqrt(squares / (double)D + eps);
}

/* dx of one row: what moves the mean, and what moves the scale, is taken out of g = dy w. */
static void dx_row(float *dx, const float *dy, const float *x, const float *w, bool is_rms, double eps, int64_t D, bool adds)
{
    double mean, scale, sum = 0.0, along = 0.0;

    moments(&mean, &scale, x, is_rms, eps, D);
    for (int64_t d = 0; d < D; d++) {
        double g = (double)dy[d] * w[d];
        sum += is_rms ? 0.0 : g;
        along += g * (x[d] - mean) / scale;
    }
    for (int64_t d = 0; d < D; d++) {
        double g = (double)dy[d] * w[d], unit = (x[d] - mean) / scale;
        double to_x = (g - sum / (double)D - unit * along / (double)D) / scale;
        dx[d] = (float)(adds ? dx[d] + to_x : to_x);
    }
}

/* dw += sum dy n and db += sum dy, in double; before dx, which may lie where dy does. */
static void dw_and_db(float *dw, float *db, const float *dy, const float *x, bool is_rms, double eps, int64_t N, int64_t D)
{
    for (int64_t d = 0; d < D; d++) {
        double to_w = 0.0, to_b = 0.0;
        for (int64_t n = 0; n < N; n++) {
            double mean, scale;
            moments(&mean, &scale, x + n * D, is_rms, eps, D);
            to_w += dy[n * D + d] * (x[n * D + d] - mean) / scale;
            to_b += dy[n * D + d];
        }
        if (dw)
            dw[d] = (float)(dw[d] + to_w);
        if (db)
            db[d] = (float)(db[d] + to_b);
    }
}

void sondep_norm_backward_ref(float *dx, float *dw, float *db, const float *dy, const float *x, const float *w, bool is_rms,
                              double eps, int64_t N, int64_t D, bool adds, void *scratch)
{
    (void)scratch;
    if (dw || db)
        dw_and_db(dw, db, dy, x, is_rms, eps, N, D);
#pragma omp parallel for schedule(static) num_threads(sonde_threads())
    for (int64_t n = 0; n < N; n++)
        dx_row(dx + n * D, dy + n * D, x + n * D, w, is_rms, eps, D, adds);
}

size_t sondep_norm_backward_scratch_bytes_ref(int64_t N, int64_t D)
{
    (void)N, (void)D;
    return 64;
}

/* out[c] += sum of column c. */
void sondep_add_column_sums_ref(float *out, const float *x, int64_t ld, int64_t N, int64_t D, void *scratch)
{
    (void)scratch;
    for (int64_t d = 0; d < D; d++) {
        double sum = 0.0;
        for (int64_t n = 0; n < N; n++)
            sum += x[n * ld + d];
        out[d] = (float)(out[d] + sum);
    }
}
