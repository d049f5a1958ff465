/* ref/pursue.c - the definition of matching pursuit. */
#include "kernel/ref.h"

#include <math.h>

/* y -= factor x. */
static void subtract(float *y, const float *x, float factor, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (float)((double)y[i] - (double)factor * x[i]);
}

/* The first of the largest. */
static int64_t find_largest(const float *v, int64_t n)
{
    int64_t at = 0;

    for (int64_t i = 1; i < n; i++)
        at = v[i] > v[at] ? i : at;
    return at;
}

/* One feature more of row n; false when it was the last, or there was none. */
static bool take_feature(const sondep_codes *out, const sondep_pursuit *p, int64_t n, int64_t S, int64_t D)
{
    int64_t s = find_largest(p->v + n * S, S), at = n * out->capacity, count = out->count[n];
    const float *w = p->w + s * D;
    float *rest = p->rest + n * D;
    double amount = 0.0, squares = 0.0;
    bool is_new = true;

    for (int64_t d = 0; d < D; d++)
        amount += (double)rest[d] * w[d];
    if (!(amount > 0.0))
        return false;
    for (int64_t i = 0; i < count; i++)
        is_new = is_new && out->index[at + i] != s;
    out->index[at + count] = (int32_t)s;
    out->value[at + count] = (float)amount;
    out->count[n]++;
    subtract(rest, w, (float)amount, D);
    subtract(p->v + n * S, p->gram + s * S, (float)amount, S);
    for (int64_t d = 0; d < D; d++)
        squares += (double)rest[d] * rest[d];
    return (is_new || p->repeats) && !(sqrt(squares) < p->least);
}

/* Rows have nothing to do with each other. */
void sondep_pursue_ref(const sondep_codes *out, const sondep_pursuit *p, int64_t N, int64_t S, int64_t D)
{
#pragma omp parallel for schedule(static) num_threads(sonde_threads())
    for (int64_t n = 0; n < N; n++) {
        out->count[n] = 0;
        while (out->count[n] < out->capacity && take_feature(out, p, n, S, D))
            ;
    }
}
