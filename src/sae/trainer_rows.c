/* trainer_rows.c - forward and back over the rows of a step.                    floor 7: sae
 *
 *   codes   x -> encoder with the selection inside -> pairs -> rule -> decoder and its way back -> rule -> pairs by features
 *   dense   blocks of rows: x W_enc -> rule -> f W_dec -> r -> r W_dec^T -> rule -> gradients of both matrices added up
 */
#include "sae/trainer.h"

#include <math.h>

/* Rows that a thread takes at a time; features whose sums it forms. */
enum { ROWS_EACH = 16, FEATURES_EACH = 64 };

/* ---- what both ways share --------------------------------------------------------------------------------------------------- */

/* Row n of some pairs. */
static sondep_sae_row row_of(const sonde_sae_trainer *t, const sondep_sae_pairs *p, int64_t n)
{
    int64_t at = n * p->codes.capacity;
    sondep_sae_row row = {.number = n,
                          .index = p->codes.index + at,
                          .h = p->h + at,
                          .value = p->codes.value + at,
                          .dvalue = p->dvalue + at,
                          .n = p->codes.count[n]};

    if (t->rule->has_gate) {
        row.gate = p->gate + at;
        row.dgate = p->dgate + at;
    }
    for (int i = 0; i < t->rule->n_extras; i++)
        row.extra[i] = p->extra[i] + at;
    return row;
}

/* Row i of the block of the dense way. */
static sondep_sae_row dense_row(const sonde_sae_trainer *t, int64_t first, int64_t i)
{
    int64_t at = i * t->S;
    sondep_sae_row row = {
        .number = first + i, .h = t->dense_h + at, .value = t->dense_value + at, .dvalue = t->dense_dvalue + at, .n = t->S};

    if (t->rule->has_gate) {
        row.gate = t->dense_gate + at;
        row.dgate = t->dense_dgate + at;
    }
    for (int k = 0; k < t->rule->n_extras; k++)
        row.extra[k] = t->dense_extra[k] + at;
    return row;
}

/* Features of row n, and how many of them there are. */
static void activate_row(sonde_sae_trainer *t, int64_t n, const sondep_sae_row *row)
{
    int64_t on = 0;

    if (t->rule->activate != NULL)
        t->rule->activate(t, row);
    for (int64_t i = 0; i < row->n; i++)
        on += row->value[i] != 0.0f;
    t->n_on[n] = on;
}

/* The gradient by y of the mean over rows of |y - t|^2. */
static float factor_of(const sonde_sae_trainer *t)
{
    return 2.0f / (float)t->N;
}

/* The bias that h has in it. */
static const float *encoder_bias(const sonde_sae_trainer *t)
{
    return sondep_sae_at(t, t->w, SONDEP_SAE_VECTOR);
}

/* ---- codes ------------------------------------------------------------------------------------------------------------------ */

/* What keys must be above, where that is not 0: what JumpReLU's thresholds have a gradient for. */
static const float *bars_of(sonde_sae_trainer *t)
{
    const float *threshold = sondep_sae_at(t, t->w, SONDEP_SAE_VECTOR + 1);

    if (t->opts.arch != SONDE_SAE_ARCH_JUMPRELU)
        return NULL;
    for (int64_t s = 0; s < t->S; s++)
        t->bar[s] = threshold[s] - (float)(0.5 * t->opts.bandwidth);
    return t->bar;
}

/* Pairs of all rows; *is_done false: some rows have more than there is room for. */
static sonde_status encode(sonde_sae_trainer *t, bool *is_done)
{
    const sondep_sae_rule *rule = t->rule;
    sondep_codes out = t->pairs.codes;
    sondep_selection selection = {.k = out.capacity,
                                  .scale = rule->is_topk && t->opts.rescales ? t->norms : NULL,
                                  .threshold = bars_of(t),
                                  .is_absolute = rule->is_absolute};

    /* pre-activations go where the rule wants them; features may be the same array */
    out.value = t->pairs.h;
    sondep_encode(&out, t->found, t->x, t->D, sondep_sae_at(t, t->w, SONDEP_SAE_IN), encoder_bias(t), &selection, t->N, t->S,
                  t->D, SONDEP_F32, t->scratch);
    *is_done = true;
    for (int64_t n = 0; n < t->N; n++) {
        if (t->found[n] < 0)
            return SONDE_FAIL(SONDE_E_NONFINITE, "a pre-activation is not a number: row %lld", (long long)n);
        *is_done = *is_done && (rule->is_topk || t->found[n] <= out.capacity);
    }
    return SONDE_OK;
}

/* Both reconstructions, and gradients by features. */
static void decode(sonde_sae_trainer *t, sondep_sae_terms *terms)
{
    const float *w = sondep_sae_at(t, t->w, SONDEP_SAE_OUT), *b = sondep_sae_at(t, t->w, SONDEP_SAE_B_DEC);
    sondep_sae_pairs *p = &t->pairs;
    sondep_decode_backward back = {t->target, t->O, factor_of(t), t->residual, p->dvalue, t->error};
    sondep_codes gate = p->codes;

    sondep_decode(NULL, &p->codes, w, b, &back, t->N, t->O);
    terms->all[0][terms->n[0]++] = (sondep_feature_term){&p->codes, &p->columns, p->dvalue, t->x, t->D, t->residual};
    if (!t->rule->has_gate)
        return;
    /* the same pairs with other values: what the gates alone would give */
    gate.value = p->gate;
    back.residual = t->gate_residual;
    back.dvalue = p->dgate;
    back.error = t->gate_error;
    sondep_decode(NULL, &gate, w, b, &back, t->N, t->O);
    t->gate_codes = gate;
    terms->all[0][terms->n[0]++] = (sondep_feature_term){&t->gate_codes, &p->columns, NULL, t->x, t->D, t->gate_residual};
}

/* Features summed over all rows, before the penalty of their means. */
static void sum_means(sonde_sae_trainer *t)
{
    const sondep_codes *codes = &t->pairs.codes;

    memset(t->means, 0, (size_t)t->S * sizeof *t->means);
    for (int64_t n = 0; n < t->N; n++)
        for (int64_t at = n * codes->capacity, i = 0; i < codes->count[n]; i++)
            t->means[codes->index[at + i]] += codes->value[at + i];
    sondep_sae_weigh_means(t);
}

/* Two passes over rows with the decoder between them, and one over features. */
sonde_status sondep_sae_pass_codes(sonde_sae_trainer *t, sondep_sae_terms *terms, bool *is_done)
{
    SONDE_TRY(encode(t, is_done));
    *is_done = *is_done && (!t->rule->is_batch || sondep_sae_choose_batch(t));
    if (!*is_done)
        return SONDE_OK;
#pragma omp parallel for num_threads(sonde_threads()) schedule(dynamic, ROWS_EACH)
    for (int64_t n = 0; n < t->N; n++) {
        sondep_sae_row row = row_of(t, &t->pairs, n);
        activate_row(t, n, &row);
    }
    if (t->rule->has_means)
        sum_means(t);
    if (t->rule->is_nested)
        sondep_sae_decode_groups(t, terms);
    else
        decode(t, terms);
#pragma omp parallel for num_threads(sonde_threads()) schedule(dynamic, ROWS_EACH)
    for (int64_t n = 0; n < t->N; n++) {
        sondep_sae_row row = row_of(t, &t->pairs, n);
        t->penalty[n] = t->rule->back != NULL ? t->rule->back(t, &row) : 0.0;
    }
    sondep_list_columns(&t->pairs.columns, &t->pairs.codes, t->N, t->S, t->scratch);
    sondep_sae_sum_pairs(t, &t->pairs, false);
    return SONDE_OK;
}

/* Whether the rule needs a sum. */
static bool is_summed(const sondep_sae_rule *rule, int sum)
{
    bool is_needed = sum == SONDEP_SAE_SUM_DH || (rule->has_pull && rule->pull == (sondep_sae_sum)sum);

    for (int i = 0; rule->vectors[i] != NULL; i++)
        is_needed = is_needed || rule->gradients[i] == (sondep_sae_sum)sum;
    return is_needed;
}

/* A feature is one thread's, and its pairs are in the order of rows. */
void sondep_sae_sum_pairs(sonde_sae_trainer *t, const sondep_sae_pairs *p, bool is_dead)
{
    const float *const from[SONDEP_N_SAE_SUMS] = {p->dvalue, p->codes.value, p->gate, p->extra[0], p->extra[1], p->extra[2]};

#pragma omp parallel for num_threads(sonde_threads()) schedule(dynamic, FEATURES_EACH)
    for (int64_t s = 0; s < t->S; s++) {
        int64_t first = p->columns.first[s], end = p->columns.first[s + 1];
        for (int i = 0; i < (is_dead ? 1 : SONDEP_N_SAE_SUMS); i++) {
            double sum = 0.0;
            if (!is_summed(t->rule, i))
                continue;
            for (int64_t k = first; k < end; k++)
                sum += from[i][p->columns.at[k]];
            t->sums[i][s] = is_dead ? t->sums[i][s] + sum : sum;
        }
        if (is_dead)
            continue;
        t->fired[s] = 0;
        for (int64_t k = first; k < end; k++)
            t->fired[s] += p->codes.value[p->columns.at[k]] != 0.0f;
    }
}

/* ---- dense -------------------------------------------------------------------------------------------------------------------- */

/* y = f W_dec + b_dec of n rows; r and the errors. */
static void reconstruct(sonde_sae_trainer *t, float *residual, double *error, const float *value, int64_t first, int64_t n)
{
    sondep_matrix f = {value, SONDE_F32, t->S, 1}, w = {sondep_sae_at(t, t->w, SONDEP_SAE_OUT), SONDE_F32, t->O, 1};
    sondep_epilogue bias = {.bias = sondep_sae_at(t, t->w, SONDEP_SAE_B_DEC)};
    float *r = residual + first * t->O, factor = factor_of(t);

    sondep_product(r, t->O, &f, &w, n, t->O, t->S, &bias, SONDEP_F32, t->scratch);
#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        const float *target = t->target + (first + i) * t->O;
        double sum = 0.0;
        for (int64_t d = 0; d < t->O; d++) {
            float difference = r[i * t->O + d] - target[d];
            sum += (double)difference * difference;
            r[i * t->O + d] = difference * factor;
        }
        error[first + i] = sum;
    }
}

/* df = r W_dec^T of n rows. */
static void pull_back(const sonde_sae_trainer *t, float *out, const float *residual, int64_t first, int64_t n)
{
    sondep_matrix r = {residual + first * t->O, SONDE_F32, t->O, 1};
    sondep_matrix w = {sondep_sae_at(t, t->w, SONDEP_SAE_OUT), SONDE_F32, 1, t->O};

    sondep_product(out, t->S, &r, &w, n, t->S, t->O, NULL, SONDEP_F32, t->scratch);
}

/* g (S,width) += a^T b, or = of the first block; a (n,S), b (n,width). */
static void add_outer(const sonde_sae_trainer *t, float *g, const float *a, const float *b, int64_t width, int64_t n,
                      bool is_first)
{
    sondep_matrix turned = {a, SONDE_F32, 1, t->S}, rows = {b, SONDE_F32, width, 1};
    sondep_epilogue onto = {.residual = g, .ld_residual = width};

    sondep_product(g, width, &turned, &rows, t->S, width, n, is_first ? NULL : &onto, SONDEP_F32, t->scratch);
}

/* Sums over the n rows of a block, feature by feature in the order of rows. */
static void sum_block(sonde_sae_trainer *t, int64_t n, bool is_first)
{
    const float *const from[SONDEP_N_SAE_SUMS] = {t->dense_dvalue,   t->dense_value,    t->dense_gate,
                                                  t->dense_extra[0], t->dense_extra[1], t->dense_extra[2]};

#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t first = 0; first < t->S; first += FEATURES_EACH) {
        int64_t width = t->S - first < FEATURES_EACH ? t->S - first : FEATURES_EACH;
        for (int i = 0; i < SONDEP_N_SAE_SUMS; i++) {
            double *sum = t->sums[i] + first;
            if (!is_summed(t->rule, i))
                continue;
            for (int64_t s = 0; s < width && is_first; s++)
                sum[s] = 0.0;
            for (int64_t row = 0; row < n; row++)
                for (int64_t s = 0; s < width; s++)
                    sum[s] += from[i][row * t->S + first + s];
        }
        for (int64_t s = 0; s < width && is_first; s++)
            t->fired[first + s] = 0;
        for (int64_t row = 0; row < n; row++)
            for (int64_t s = 0; s < width; s++)
                t->fired[first + s] += t->dense_value[row * t->S + first + s] != 0.0f;
    }
}

/* What the way of codes would keep of a row. */
static int64_t count_above(const float *h, const float *bars, int64_t S)
{
    int64_t count = 0;

    for (int64_t s = 0; s < S; s++)
        count += h[s] > (bars ? bars[s] : 0.0f);
    return count;
}

/* h of rows first .. first + n. */
static void multiply_block(sonde_sae_trainer *t, int64_t first, int64_t n)
{
    sondep_matrix in = {t->x + first * t->D, SONDE_F32, t->D, 1},
                  w = {sondep_sae_at(t, t->w, SONDEP_SAE_IN), SONDE_F32, 1, t->D};
    sondep_epilogue bias = {.bias = encoder_bias(t)};

    sondep_product(t->dense_h, t->S, &in, &w, n, t->S, t->D, &bias, SONDEP_F32, t->scratch);
}

/* Features, reconstructions and errors of these rows. */
static void forward_block(sonde_sae_trainer *t, int64_t first, int64_t n)
{
    const float *bars = bars_of(t);

    multiply_block(t, first, n);
#pragma omp parallel for num_threads(sonde_threads()) schedule(dynamic, ROWS_EACH)
    for (int64_t i = 0; i < n; i++) {
        sondep_sae_row row = dense_row(t, first, i);
        t->found[first + i] = count_above(row.h, bars, t->S);
        activate_row(t, first + i, &row);
    }
    reconstruct(t, t->residual, t->error, t->dense_value, first, n);
    if (t->rule->has_gate)
        reconstruct(t, t->gate_residual, t->gate_error, t->dense_gate, first, n);
}

/* Without the way back: losses of rows that nothing is learnt from. */
void sondep_sae_forward_dense(sonde_sae_trainer *t, int64_t n)
{
    for (int64_t first = 0; first < n; first += t->block)
        forward_block(t, first, n - first < t->block ? n - first : t->block);
}

/* The way back of these rows. */
static void pass_block(sonde_sae_trainer *t, int64_t first, int64_t n)
{
    const float *x = t->x + first * t->D;

    forward_block(t, first, n);
    pull_back(t, t->dense_dvalue, t->residual, first, n);
    if (t->rule->has_gate)
        pull_back(t, t->dense_dgate, t->gate_residual, first, n);
#pragma omp parallel for num_threads(sonde_threads()) schedule(dynamic, ROWS_EACH)
    for (int64_t i = 0; i < n; i++) {
        sondep_sae_row row = dense_row(t, first, i);
        t->penalty[first + i] = t->rule->back(t, &row);
    }
    /* what was the gradient by features is by pre-activations now */
    add_outer(t, t->dense_in, t->dense_dvalue, x, t->D, n, first == 0);
    add_outer(t, t->dense_out, t->dense_value, t->residual + first * t->O, t->O, n, first == 0);
    if (t->rule->has_gate)
        add_outer(t, t->dense_out, t->dense_gate, t->gate_residual + first * t->O, t->O, n, false);
    sum_block(t, n, first == 0);
}

/* Features summed over all rows: their products come before those of the way back, since that needs all of the sums. */
static void sum_dense_means(sonde_sae_trainer *t)
{
    memset(t->means, 0, (size_t)t->S * sizeof *t->means);
    for (int64_t first = 0; first < t->N; first += t->block) {
        int64_t n = t->N - first < t->block ? t->N - first : t->block;
        multiply_block(t, first, n);
#pragma omp parallel for num_threads(sonde_threads()) schedule(static, FEATURES_EACH)
        for (int64_t s = 0; s < t->S; s++)
            for (int64_t i = 0; i < n; i++)
                t->means[s] += t->dense_h[i * t->S + s] > 0.0f ? (double)t->dense_h[i * t->S + s] : 0.0;
    }
    sondep_sae_weigh_means(t);
}

/* Blocks of rows, so that the matrices of a block stay below a few hundred megabytes. */
void sondep_sae_pass_dense(sonde_sae_trainer *t, sondep_sae_terms *terms)
{
    if (t->rule->has_means)
        sum_dense_means(t);
    for (int64_t first = 0; first < t->N; first += t->block)
        pass_block(t, first, t->N - first < t->block ? t->N - first : t->block);
    terms->all[0][terms->n[0]++] =
        (sondep_feature_term){&t->one_each, &t->one_each_columns, t->ones, t->dense_in, t->D, t->dense_out};
}

/* ---- dead features that are lifted -------------------------------------------------------------------------------------------------- */

/* What n rows say of dead features: their distances from thresholds are summed, and h becomes the gradient by it; a feature is one
 * thread's. ReLU's thresholds are 0. */
static void weigh_below(sonde_sae_trainer *t, int64_t n)
{
    bool has_threshold = t->opts.arch == SONDE_SAE_ARCH_JUMPRELU;
    const float *threshold = sondep_sae_at(t, t->w, SONDEP_SAE_VECTOR + 1);
    double share = t->opts.pre_act / (double)t->N;

#pragma omp parallel for num_threads(sonde_threads()) schedule(static, FEATURES_EACH)
    for (int64_t s = 0; s < t->S; s++) {
        double pull = t->silent[s] > t->opts.dead_window ? share * t->norms[s] : 0.0;
        int64_t count = 0;
        for (int64_t i = 0; i < n; i++) {
            float *h = &t->dense_h[i * t->S + s], by = (has_threshold ? threshold[s] : 0.0f) - *h;
            bool counts = pull > 0.0 && by > 0.0f;
            t->below[s] += counts ? by : 0.0;
            count += counts;
            *h = counts ? (float)-pull : 0.0f;
        }
        t->sums[SONDEP_SAE_SUM_DH][s] -= (double)count * pull;
        if (has_threshold)
            t->sums[SONDEP_SAE_SUM_EXTRA][s] += (double)count * pull;
    }
}

/* All features' products: dead ones are rare, and soon none. */
void sondep_sae_pass_below(sonde_sae_trainer *t, sondep_sae_terms *terms, double *loss)
{
    bool is_added = terms->all[0][0].x == t->dense_in;

    *loss = 0.0;
    memset(t->below, 0, (size_t)t->S * sizeof *t->below);
    if (t->n_dead == 0)
        return;
    for (int64_t first = 0; first < t->N; first += t->block) {
        int64_t n = t->N - first < t->block ? t->N - first : t->block;
        multiply_block(t, first, n);
        weigh_below(t, n);
        add_outer(t, t->dense_in, t->dense_h, t->x + first * t->D, t->D, n, first == 0 && !is_added);
    }
    for (int64_t s = 0; s < t->S; s++)
        *loss += t->opts.pre_act / (double)t->N * t->norms[s] * t->below[s];
    /* the dense way has a term of this matrix */
    if (!is_added)
        terms->all[0][terms->n[0]++] =
            (sondep_feature_term){&t->one_each, &t->one_each_columns, t->ones, t->dense_in, t->D, NULL};
}
