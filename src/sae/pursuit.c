/* pursuit.c - matching pursuit: features one after another, each from what the others left.      floor 7: sae
 *
 *   rest = x - b_dec;   repeat: s = argmax(max(rest . W_dec[s], 0)), f[s] += that value, rest -= that value W_dec[s]
 *
 * A row ends when a feature comes again, or when less than residual_threshold is left of it. Products of all features with what is left are
 * kept up to date by the Gram matrix of the decoder, where that is not too large, else formed anew.
 *
 * Source: Mallat and Zhang 1993; sae_lens 6.54.12, _encode_matching_pursuit.
 */
#include "sae/trainer.h"

#include <math.h>

/* One feature more of row n, by the products v of what is left of it; false when it was the last, or there was none. */
static bool take_feature(const sondep_codes *out, const sondep_pursuit *p, const float *v, int64_t n, int64_t S, int64_t D)
{
    int64_t s = 0, at = n * out->capacity, count = out->count[n];
    float *rest = p->rest + n * D;
    const float *w;
    double dot = 0.0;
    bool is_new = true;

    for (int64_t i = 1; i < S; i++)
        s = v[i] > v[s] ? i : s;
    w = p->w + s * D;
    for (int64_t d = 0; d < D; d++)
        dot += (double)rest[d] * w[d];
    if (!(dot > 0.0))
        return false;
    for (int64_t i = 0; i < count; i++)
        is_new = is_new && out->index[at + i] != s;
    out->index[at + count] = (int32_t)s;
    out->value[at + count] = (float)dot;
    out->count[n]++;
    for (int64_t d = 0; d < D; d++)
        rest[d] -= (float)dot * w[d];
    return (is_new || p->repeats) && !(sqrt(sondep_sum_squares(rest, D)) < p->least);
}

/* All products anew for each feature. Rows that go on are copied together, so that one product serves them all. */
static void pursue_by_products(const sondep_codes *out, const sondep_pursuit *p, const sondep_sae_pursuit_room *room,
                               int64_t N, int64_t S, int64_t D)
{
    sondep_matrix rest = {room->rest, SONDE_F32, D, 1}, encoder = {p->w, SONDE_F32, 1, D};
    int64_t n = N;

    memset(out->count, 0, (size_t)N * sizeof *out->count);
    for (int64_t i = 0; i < n; i++)
        room->order[i] = i;
    for (int64_t step = 0; step < out->capacity && n > 0; step++) {
        int64_t kept = 0;
        for (int64_t i = 0; i < n; i++)
            memcpy(room->rest + i * D, p->rest + room->order[i] * D, (size_t)D * sizeof *p->rest);
        sondep_product(p->v, S, &rest, &encoder, n, S, D, NULL, SONDEP_F32, room->scratch);
#pragma omp parallel for num_threads(sonde_threads()) schedule(dynamic, 8)
        for (int64_t i = 0; i < n; i++)
            if (!take_feature(out, p, p->v + i * S, room->order[i], S, D))
                room->order[i] = -1;
        for (int64_t i = 0; i < n; i++)
            if (room->order[i] >= 0)
                room->order[kept++] = room->order[i];
        n = kept;
    }
}

/* 256 MB. */
bool sondep_sae_has_gram(int64_t S)
{
    return S <= 8192;
}

/* W W^T, both triangles: the product is as fast as half of it would be. */
void sondep_sae_make_gram(float *gram, const float *w, int64_t S, int64_t D, void *scratch)
{
    sondep_matrix rows = {w, SONDE_F32, D, 1}, columns = {w, SONDE_F32, 1, D};

    sondep_product(gram, S, &rows, &columns, S, S, D, NULL, SONDEP_F32, scratch);
}

/* A number that is none is found in the first products: later ones come of them. */
sonde_status sondep_sae_pursue(const sondep_codes *out, const sondep_pursuit *p, const sondep_sae_pursuit_room *room,
                               int64_t N, int64_t S, int64_t D)
{
    sondep_matrix rest = {p->rest, SONDE_F32, D, 1}, encoder = {p->w, SONDE_F32, 1, D};
    int64_t at;

    sondep_product(p->v, S, &rest, &encoder, N, S, D, NULL, SONDEP_F32, room->scratch);
    at = sondep_find_nonfinite(p->v, N * S, false);
    if (at >= 0)
        return SONDE_FAIL(SONDE_E_NONFINITE, "a pre-activation is not a number: row %lld", (long long)(at / S));
    if (p->gram != NULL)
        sondep_pursue(out, p, N, S, D);
    else
        pursue_by_products(out, p, room, N, S, D);
    return SONDE_OK;
}

/* Features that came twice have the sum of both. */
sonde_status sondep_sae_pursuit(const sondep_sae_rows *r)
{
    const sonde_sae_config *c = &r->sae->config;
    int64_t S = c->d_sae;
    sondep_pursuit p = {r->sae->w[SONDEP_W_DEC], r->gram, r->x, r->v, c->residual_threshold, !c->stops_on_duplicate};
    sondep_sae_pursuit_room room = {r->rest, r->order, r->scratch};

    SONDE_TRY(sondep_sae_pursue(&r->codes, &p, &room, r->N, S, c->d_in));
    memset(r->v, 0, (size_t)(r->N * S) * sizeof *r->v);
    for (int64_t n = 0; n < r->N; n++)
        for (int64_t i = n * r->codes.capacity; i < n * r->codes.capacity + r->codes.count[n]; i++)
            r->v[n * S + r->codes.index[i]] += r->codes.value[i];
    return SONDE_OK;
}

/* ---- training -------------------------------------------------------------------------------------------------------------------- */

/* With r the gradient by the reconstruction, e_i what was left before feature i of a row was chosen, v_i = e_i . d_i, and G = 0 behind the last:
 *
 *   dv_i = (r - G) . d_i;   gradient of d_i += v_i (r - G) + dv_i e_i;   G += dv_i d_i
 *
 * from the last feature to the first; then G is the gradient by what was encoded. */

/* Rows of codes from `first` on. */
static sondep_codes codes_from(const sondep_codes *all, int64_t first)
{
    return (sondep_codes){all->index + first * all->capacity, all->value + first * all->capacity, all->count + first,
                          all->capacity};
}

/* The features of all rows, some rows at a time: products of all with all are too many to keep. */
static sonde_status choose_features(sonde_sae_trainer *t)
{
    const float *w = sondep_sae_at(t, t->w, SONDEP_SAE_OUT);
    sondep_sae_pursuit_room room = {t->residual, t->order, t->scratch};

    /* nothing is chosen yet: all of a row is left */
    memcpy(t->rest, t->x, (size_t)(t->N * t->D) * sizeof(float));
    if (t->gram != NULL)
        sondep_sae_make_gram(t->gram, w, t->S, t->D, t->scratch);
    for (int64_t first = 0; first < t->N; first += t->block) {
        sondep_pursuit p = {w, t->gram, t->rest + first * t->D, t->products, t->opts.residual_threshold, false};
        sondep_codes codes = codes_from(&t->pairs.codes, first);
        SONDE_TRY(sondep_sae_pursue(&codes, &p, &room, t->N - first < t->block ? t->N - first : t->block, t->S, t->D));
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
    sondep_codes codes = codes_from(&t->pairs.codes, first);
    const sondep_columns *columns = &t->pairs.columns;

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
