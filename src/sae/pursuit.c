/* pursuit.c - matching pursuit: features one after another, each from what the others left.      floor 7: sae
 *
 *   rest = x - b_dec;   repeat: s = argmax(max(rest . W_dec[s], 0)), f[s] += that value, rest -= that value W_dec[s]
 *
 * A row ends when the features that it has are those of the step before, or when less than residual_threshold is left of it.
 * One product serves all rows that go on; the value is taken anew for the chosen feature.
 *
 * Source: Mallat and Zhang 1993; sae_lens 6.54.12, _encode_matching_pursuit.
 */
#include "sae/sae.h"

#include <math.h>

/* The first of the largest of S values; the first of all if none is above 0. */
static int64_t best_of(const float *v, int64_t S)
{
    int64_t best = 0;
    float most = 0.0f;

    for (int64_t s = 0; s < S; s++)
        if (v[s] > most) {
            most = v[s];
            best = s;
        }
    return best;
}

/* One step of one row; false when it was its last. */
static bool step_row(float *f, float *rest, const float *v, const sonde_sae *sae)
{
    const sonde_sae_config *c = &sae->config;
    int64_t s = best_of(v, c->d_sae), D = c->d_in;
    const float *row = sae->w[SONDEP_W_DEC] + s * D;
    double dot = 0.0;
    float value;
    bool is_new = f[s] == 0.0f;

    for (int64_t d = 0; d < D; d++)
        dot += (double)rest[d] * row[d];
    value = dot > 0.0 ? (float)dot : 0.0f;
    f[s] += value;
    for (int64_t d = 0; d < D; d++)
        rest[d] -= value * row[d];
    if (c->stops_on_duplicate && !(is_new && value > 0.0f))
        return false;
    return !(c->residual_threshold > 0.0) || !(sqrt(sondep_sum_squares(rest, D)) < c->residual_threshold);
}

/* Closes the gaps that rows leave whose turn has ended (their order is below 0); how many go on. */
static int64_t close_gaps(float *rest, int64_t *order, int64_t n, int64_t D)
{
    int64_t kept = 0;

    for (int64_t i = 0; i < n; i++) {
        if (order[i] < 0)
            continue;
        if (kept < i)
            memcpy(rest + kept * D, rest + i * D, (size_t)D * sizeof *rest);
        order[kept++] = order[i];
    }
    return kept;
}

/* Rows that go on lie together in front: a row's bits do not depend on how many there are. */
sonde_status sondep_sae_pursuit(const sondep_sae_rows *r)
{
    const sonde_sae_config *c = &r->sae->config;
    int64_t D = c->d_in, S = c->d_sae, n = r->N;
    sondep_matrix rest = {r->x, SONDE_F32, D, 1}, encoder = {r->sae->w[SONDEP_W_DEC], SONDE_F32, 1, D};

    memset(r->v, 0, (size_t)(n * S) * sizeof *r->v);
    for (int64_t i = 0; i < n; i++)
        r->order[i] = i;
    for (int64_t step = 0; step < c->max_iterations && n > 0; step++) {
        sondep_product(r->spare, S, &rest, &encoder, n, S, D, NULL, SONDEP_F32, r->scratch);
#pragma omp parallel for num_threads(sonde_threads()) schedule(dynamic, 8)
        for (int64_t i = 0; i < n; i++)
            if (!step_row(r->v + r->order[i] * S, r->x + i * D, r->spare + i * S, r->sae))
                r->order[i] = -1;
        n = close_gaps(r->x, r->order, n, D);
    }
    return SONDE_OK;
}
