/* ref/train.c - the definition of what training adds to the operations: the loss, scattered rows, AdamW. */
#include "kernel/ref.h"

#include <math.h>

/* One row: its loss, and the gradient in its place. */
static double cross_entropy_row(float *x, int64_t target, float weight, bool is_gradient, int64_t V)
{
    double total, loss;

    if (target < 0) {
        for (int64_t v = 0; v < V && is_gradient; v++)
            x[v] = 0.0f;
        return 0.0;
    }
    total = sondep_log_sum_exp_ref(x, V);
    loss = total - x[target];
    for (int64_t v = 0; v < V && is_gradient; v++)
        x[v] = (float)((exp(x[v] - total) - (v == target ? 1.0 : 0.0)) * weight);
    return loss;
}

void sondep_cross_entropy_ref(double *loss, float *x, int64_t ld, const int64_t *target, float weight, bool is_gradient,
                              int64_t N, int64_t V)
{
#pragma omp parallel for schedule(static) num_threads(sonde_threads())
    for (int64_t n = 0; n < N; n++)
        loss[n] = cross_entropy_row(x + n * ld, target[n], weight, is_gradient, V);
}

/* The same row may come more than once: in the order of n. */
void sondep_scatter_add_rows_ref(float *table, const float *x, const int64_t *ids, int64_t N, int64_t D)
{
    for (int64_t n = 0; n < N; n++)
        for (int64_t d = 0; d < D; d++)
            table[ids[n] * D + d] += x[n * D + d];
}

double sondep_sum_squares_ref(const float *x, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sum;
}

/* In double between what is stored as float. */
void sondep_adamw_step_ref(float *w, float *m, float *v, const float *g, const sondep_adamw *a, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double clipped = g[i] * a->clip, first = m[i] + (1.0 - a->beta1) * (clipped - m[i]);
        double second = v[i] + (1.0 - a->beta2) * (clipped * clipped - v[i]);
        double step = first / a->correction1 / (sqrt(second / a->correction2) + a->eps);

        w[i] = (float)(w[i] * (1.0 - a->rate * a->decay) - a->rate * step);
        m[i] = (float)first;
        v[i] = (float)second;
    }
}
