/* pursuit.c - matching pursuit: features one after another, each from what the others left.      floor 7: sae
 *
 *   rest = x - b_dec;   repeat: s = argmax(max(rest . W_dec[s], 0)), f[s] += that value, rest -= that value W_dec[s]
 *
 * A row ends when the features that it has are those of the step before, or when less than residual_threshold is left of it.
 * One product serves all rows that go on; the value is taken anew for the chosen feature.
 *
 * Source: Mallat and Zhang 1993; sae_lens 6.54.12, _encode_matching_pursuit.
 */
#include "sae/trainer.h"

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

/* ---- training -------------------------------------------------------------------------------------------------------------------- */

/* With r the gradient by the reconstruction, e_i what was left before feature i of a row was chosen, v_i = e_i . d_i, and G = 0 behind the last:
 *
 *   dv_i = (r - G) . d_i;   gradient of d_i += v_i (r - G) + dv_i e_i;   G += dv_i d_i
 *
 * from the last feature to the first; then G is the gradient by what was encoded. */

/* One feature more of row n, which `encode` chose for place i; false when it was the last. */
static bool take_feature(const sonde_sae_trainer *t, int64_t n, const sondep_codes *chosen, int64_t i)
{
    const sondep_codes *all = &t->pairs.codes;
    int64_t at = n * all->capacity, count = all->count[n], s = chosen->count[i] > 0 ? chosen->index[i] : 0;
    const float *d = sondep_sae_at(t, t->w, SONDEP_SAE_OUT) + s * t->O;
    float *rest = t->rest + n * t->O, value = chosen->count[i] > 0 ? chosen->value[i] : 0.0f;
    bool is_new = value > 0.0f;

    if (!is_new)
        return false;
    for (int64_t k = 0; k < count; k++)
        is_new = is_new && all->index[at + k] != s;
    all->index[at + count] = (int32_t)s;
    all->value[at + count] = value;
    all->count[n]++;
    for (int64_t k = 0; k < t->O; k++)
        rest[k] -= value * d[k];
    return is_new && !(sqrt(sondep_sum_squares(rest, t->O)) < t->opts.residual_threshold);
}

/* The features of all rows; rows that go on lie together in front of `x`. */
static sonde_status choose_features(sonde_sae_trainer *t)
{
    sondep_codes chosen = {t->chosen_index, t->chosen_value, t->n_on, 1};
    sondep_selection largest = {.k = 1};
    int64_t n = t->N, k = t->pairs.codes.capacity;

    /* nothing is chosen yet: all of a row is left */
    memcpy(t->rest, t->x, (size_t)(t->N * t->D) * sizeof(float));
    memset(t->pairs.codes.count, 0, (size_t)t->N * sizeof *t->pairs.codes.count);
    for (int64_t i = 0; i < n; i++)
        t->order[i] = i;
    for (int64_t step = 0; step < k && n > 0; step++) {
        int64_t kept = 0;
#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
        for (int64_t i = 0; i < n; i++)
            memcpy(t->residual + i * t->D, t->rest + t->order[i] * t->D, (size_t)t->D * sizeof(float));
        sondep_encode(&chosen, t->found, t->residual, t->D, sondep_sae_at(t, t->w, SONDEP_SAE_OUT), NULL, &largest, n, t->S,
                      t->D, SONDEP_F32, t->scratch);
        for (int64_t i = 0; i < n; i++)
            if (t->found[i] < 0)
                return SONDE_FAIL(SONDE_E_NONFINITE, "a pre-activation is not a number: row %lld", (long long)t->order[i]);
#pragma omp parallel for num_threads(sonde_threads()) schedule(dynamic, 8)
        for (int64_t i = 0; i < n; i++)
            if (!take_feature(t, t->order[i], &chosen, i))
                t->order[i] = -1;
        for (int64_t i = 0; i < n; i++)
            if (t->order[i] >= 0)
                t->order[kept++] = t->order[i];
        n = kept;
    }
    return SONDE_OK;
}

/* Gradients of the pairs of row n, at `out`; from what is left of it, which becomes what was encoded again. */
static void pursue_back(const sonde_sae_trainer *t, float *out, int64_t n)
{
    const sondep_codes *all = &t->pairs.codes;
    const float *w = sondep_sae_at(t, t->w, SONDEP_SAE_OUT), *r = t->residual + n * t->O;
    float *rest = t->rest + n * t->O, *g = t->rest_residual + n * t->O;

    memset(g, 0, (size_t)t->O * sizeof *g);
    for (int64_t i = all->count[n] - 1; i >= 0; i--) {
        const float *d = w + all->index[n * all->capacity + i] * t->O;
        float value = all->value[n * all->capacity + i], *of_pair = out + i * t->O;
        double by_value = 0.0;
        for (int64_t k = 0; k < t->O; k++)
            by_value += ((double)r[k] - g[k]) * d[k];
        for (int64_t k = 0; k < t->O; k++) {
            rest[k] += value * d[k];
            of_pair[k] = value * (r[k] - g[k]) + (float)by_value * rest[k];
            g[k] += (float)by_value * d[k];
        }
    }
    /* by b_dec, which is taken from what is encoded */
    for (int64_t k = 0; k < t->O; k++)
        g[k] = -g[k];
}

/* Errors, residuals, and how many features rows have: a feature may have been chosen twice. */
static void measure_rest(const sonde_sae_trainer *t)
{
    const sondep_codes *all = &t->pairs.codes;

#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t n = 0; n < t->N; n++) {
        const int32_t *index = all->index + n * all->capacity;
        t->error[n] = sondep_sum_squares(t->rest + n * t->O, t->O);
        t->penalty[n] = 0.0;
        t->n_on[n] = all->count[n];
        for (int64_t i = 0; i < all->count[n] - 1; i++)
            t->n_on[n] -= index[i] == index[all->count[n] - 1];
        for (int64_t k = 0; k < t->O; k++)
            t->residual[n * t->O + k] = -2.0f / (float)t->N * t->rest[n * t->O + k];
    }
}

/* Gradients of the pairs of rows first .. first + n, added to those of their features in the order of rows. */
static void add_block(sonde_sae_trainer *t, int64_t first, int64_t n)
{
    int64_t k = t->pairs.codes.capacity;
    sondep_codes codes = t->pairs.codes;
    const sondep_columns *columns = &t->pairs.columns;

    codes.index += first * k;
    codes.count += first;
#pragma omp parallel for num_threads(sonde_threads()) schedule(dynamic, 8)
    for (int64_t i = 0; i < n; i++)
        pursue_back(t, t->pursued + i * k * t->O, first + i);
    sondep_list_columns(columns, &codes, n, t->S, t->scratch);
#pragma omp parallel for num_threads(sonde_threads()) schedule(dynamic, 64)
    for (int64_t s = 0; s < t->S; s++) {
        float *g = t->dense_out + s * t->O;
        for (int64_t i = columns->first[s]; i < columns->first[s + 1]; i++)
            for (int64_t d = 0; d < t->O; d++)
                g[d] += t->pursued[columns->at[i] * t->O + d];
        t->fired[s] += columns->first[s + 1] - columns->first[s];
    }
}

/* Gradients of pairs differ from pair to pair: they are added up in a matrix, some rows at a time. */
sonde_status sondep_sae_pass_pursuit(sonde_sae_trainer *t, sondep_sae_terms *terms)
{
    SONDE_TRY(choose_features(t));
    measure_rest(t);
    memset(t->dense_out, 0, (size_t)(t->S * t->O) * sizeof *t->dense_out);
    memset(t->fired, 0, (size_t)t->S * sizeof *t->fired);
    for (int64_t first = 0; first < t->N; first += t->block)
        add_block(t, first, t->N - first < t->block ? t->N - first : t->block);
    terms->all[0][terms->n[0]++] = (sondep_feature_term){&t->one_each, &t->one_each_columns, NULL, NULL, 0, t->dense_out};
    return SONDE_OK;
}
