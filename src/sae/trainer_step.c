/* trainer_step.c - the steps of an autoencoder's training.                      floor 7: sae
 *
 * A step changes nothing until all of its gradients are known to be finite: their norm is formed first, exactly, by a pass that
 * forms each feature's gradient and throws it away; a second pass forms it again and uses it. That costs less than to keep them.
 */
#include "sae/trainer.h"

#include <math.h>

/* Gradients whose squares would be infinite as floats, with a margin for each: moments would never be finite again. */
static const double LARGEST_NORM = 1e18;

/* ---- before the pass ---------------------------------------------------------------------------------------------------------- */

/* Each row by its own numbers. */
static void normalise(const sonde_sae_trainer *t, float *to, const float *x, int64_t n)
{
#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t row = 0; row < n; row++) {
        sondep_sae_scaling s = sondep_sae_scaling_of(t->normalization, false, x + row * t->D, t->D);
        for (int64_t d = 0; d < t->D; d++)
            to[row * t->D + d] = (float)(((double)x[row * t->D + d] - s.shift) * s.factor);
    }
}

/* One number, the matrix of the whitening, or each row's own numbers. */
void sondep_sae_scale_x(const sonde_sae_trainer *t, float *to, const float *x, int64_t n)
{
    sondep_matrix in = {t->centred, SONDE_F32, t->D, 1}, whitening = {t->whitening, SONDE_F32, t->D, 1};
    float scale = (float)t->scale_in;

    if (t->normalization != SONDE_SAE_AS_IT_IS) {
        normalise(t, to, x, n);
        return;
    }
    if (t->mean == NULL) {
#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
        for (int64_t i = 0; i < n * t->D; i++)
            to[i] = x[i] * scale;
        return;
    }
#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t row = 0; row < n; row++)
        for (int64_t d = 0; d < t->D; d++)
            t->centred[row * t->D + d] = (float)((double)x[row * t->D + d] - t->mean[d]);
    sondep_product(to, t->D, &in, &whitening, n, t->D, t->D, NULL, SONDEP_F32, t->scratch);
}

/* y in its scale, without what the skip gives: that is not asked of the features. */
static void scale_target(const sonde_sae_trainer *t, const float *y, int64_t n)
{
    const float *skip = sondep_sae_at(t, t->w, SONDEP_SAE_SKIP);
    sondep_matrix in = {t->scaled, SONDE_F32, t->D, 1}, w = {skip, SONDE_F32, 1, t->D};
    float scale = (float)t->scale_out;

    if (skip != NULL)
        sondep_product(t->rest, t->O, &in, &w, n, t->O, t->D, NULL, SONDEP_F32, t->scratch);
#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t i = 0; i < n * t->O; i++)
        t->target[i] = y[i] * scale - (skip ? t->rest[i] : 0.0f);
}

/* Rows in the scale of the training, what is encoded of them, and what they are to become. */
void sondep_sae_prepare_rows(const sonde_sae_trainer *t, const float *x, const float *y, int64_t n_rows)
{
    const float *b = sondep_sae_at(t, t->w, SONDEP_SAE_B_DEC);

    sondep_sae_scale_x(t, t->scaled, x, n_rows);
    if (t->is_transcoder)
        scale_target(t, y, n_rows);
    if (!t->ties_bias)
        return;
#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t n = 0; n < n_rows; n++)
        for (int64_t d = 0; d < t->D; d++)
            t->x[n * t->D + d] = t->scaled[n * t->D + d] - b[d];
}

/* Lengths of the decoder's rows, thresholds that are not below 0, and the list of the dead. */
static void prepare_features(sonde_sae_trainer *t)
{
    const float *w = sondep_sae_at(t, t->w, SONDEP_SAE_OUT);
    float *threshold = sondep_sae_at(t, t->w, SONDEP_SAE_VECTOR + 1);

#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t s = 0; s < t->S; s++) {
        t->norms[s] = (float)sqrt(sondep_sum_squares(w + s * t->O, t->O));
        t->pull[s] = 0.0f;
    }
    for (int64_t s = 0; s < t->S && t->opts.arch == SONDE_SAE_ARCH_JUMPRELU; s++)
        threshold[s] = threshold[s] > 0.0f ? threshold[s] : 0.0f;
    for (int64_t s = 0; s < t->S && t->rule->has_gate; s++)
        t->exp_r[s] = expf(sondep_sae_at(t, t->w, SONDEP_SAE_VECTOR + 2)[s]);
    t->n_dead = 0;
    for (int64_t s = 0; s < t->S; s++)
        if (t->silent[s] > t->opts.dead_window)
            t->dead[t->n_dead++] = (int32_t)s;
}

/* ---- the pass --------------------------------------------------------------------------------------------------------------------- */

/* Longer lists of candidates; what was prepared is gone. */
static sonde_status grow(sonde_sae_trainer *t, const float *x, const float *y)
{
    t->capacity = 2 * t->pairs.codes.capacity;
    SONDE_TRY(sondep_sae_make_room(t));
    sondep_sae_prepare_rows(t, x, y, t->N);
    prepare_features(t);
    return SONDE_OK;
}

/* One way or the other. */
static sonde_status pass(sonde_sae_trainer *t, sondep_sae_terms *terms, const float *x, const float *y)
{
    bool is_done = false;

    /* groups have residuals of their own, and say so */
    t->all_residual = t->outer_residual = t->residual;
    t->inner = 0.0;
    terms->n_groups = 1;
    memset(terms->n, 0, sizeof terms->n);
    if (t->opts.arch == SONDE_SAE_ARCH_PURSUIT)
        return sondep_sae_pass_pursuit(t, terms);
    if (!t->is_dense)
        SONDE_TRY(sondep_sae_pass_codes(t, terms, &is_done));
    while (!is_done && t->rule->is_topk) {
        SONDE_TRY(grow(t, x, y));
        t->all_residual = t->outer_residual = t->residual;
        SONDE_TRY(sondep_sae_pass_codes(t, terms, &is_done));
    }
    if (!is_done)
        sondep_sae_pass_dense(t, terms);
    return SONDE_OK;
}

/* Which way the next step goes: back to codes as soon as they would have had room twice. */
static void choose_way(sonde_sae_trainer *t)
{
    int64_t most = 0;

    for (int64_t n = 0; n < t->N; n++)
        most = most > t->found[n] ? most : t->found[n];
    if (!t->rule->is_topk && t->opts.arch != SONDE_SAE_ARCH_PURSUIT)
        t->is_dense = most > t->pairs.codes.capacity / (t->is_dense ? 2 : 1);
}

/* The variance of the rows, summed over dimensions: that of what is asked of the features. */
static double spread(const sonde_sae_trainer *t)
{
    double sum = 0.0;

    memset(t->column, 0, (size_t)(2 * t->O) * sizeof *t->column);
    for (int64_t n = 0; n < t->N; n++)
        for (int64_t d = 0; d < t->O; d++) {
            double y = t->target[n * t->O + d];
            t->column[d] += y;
            t->column[t->O + d] += y * y;
        }
    for (int64_t d = 0; d < t->O; d++)
        sum += t->column[t->O + d] - t->column[d] * t->column[d] / (double)t->N;
    return sum;
}

/* The L1 penalty of both matrices: a feature is one thread's, and features are in order. */
static double size_of_weights(sonde_sae_trainer *t)
{
    const float *in = sondep_sae_at(t, t->w, SONDEP_SAE_IN), *out = sondep_sae_at(t, t->w, SONDEP_SAE_OUT);
    double sum = 0.0;

#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t s = 0; s < t->S; s++) {
        t->means[s] = 0.0;
        for (int64_t d = 0; d < t->D; d++)
            t->means[s] += fabsf(in[s * t->D + d]);
        for (int64_t d = 0; d < t->O; d++)
            t->means[s] += fabsf(out[s * t->O + d]);
    }
    for (int64_t s = 0; s < t->S; s++)
        sum += t->means[s];
    return t->opts.weight_l1 * sum;
}

/* What the rows say, in their order. */
static void report_rows(sonde_sae_trainer *t, sonde_sae_train_report *out)
{
    double error = 0.0, penalty = 0.0, on = 0.0, all = spread(t);

    for (int64_t n = 0; n < t->N; n++) {
        error += t->error[n];
        penalty += t->penalty[n];
        on += (double)t->n_on[n];
    }
    out->mse = error / (double)t->N;
    out->sparsity = penalty / (double)t->N + (t->rule->has_means ? t->of_features + size_of_weights(t) : 0.0);
    out->l0 = on / (double)t->N;
    out->explained_variance = all > 0.0 ? 1.0 - error / all : NAN;
    for (int64_t n = 0; n < t->N && t->rule->has_gate; n++)
        out->aux += t->gate_error[n] / (double)t->N;
}

/* ---- gradients -------------------------------------------------------------------------------------------------------------------- */

/* A parameter's place in the gradients of what is no feature's row. */
static float *gradient_at(const sonde_sae_trainer *t, int parameter)
{
    return t->gradient + (t->first[parameter] - t->first[SONDEP_SAE_VECTOR]);
}

/* b_dec is in the reconstruction, and taken from what is encoded: all_residual summed over rows, less (sum dh) W_enc. */
static void gradient_of_b_dec(sonde_sae_trainer *t)
{
    float *g = gradient_at(t, SONDEP_SAE_B_DEC);
    sondep_matrix dh = {t->bar, SONDE_F32, t->S, 1}, w = {sondep_sae_at(t, t->w, SONDEP_SAE_IN), SONDE_F32, t->D, 1};
    sondep_epilogue onto = {.residual = g, .ld_residual = t->O};

    /* as it stands in the reconstruction, and in the one of gates */
    memset(g, 0, (size_t)t->O * sizeof *g);
    sondep_add_column_sums(g, t->all_residual, t->O, t->N, t->O, t->scratch);
    if (t->rule->has_gate)
        sondep_add_column_sums(g, t->gate_residual, t->O, t->N, t->O, t->scratch);
    if (!t->ties_bias)
        return;
    if (t->opts.arch == SONDE_SAE_ARCH_PURSUIT) {
        sondep_add_column_sums(g, t->rest_residual, t->O, t->N, t->O, t->scratch);
        return;
    }
    /* as it is taken from what is encoded; the room of bars is free by now */
    for (int64_t s = 0; s < t->S; s++)
        t->bar[s] = (float)-t->sums[SONDEP_SAE_SUM_DH][s];
    sondep_product(g, t->O, &dh, &w, 1, t->D, t->S, &onto, SONDEP_F32, t->scratch);
}

/* All but those of the features' rows. */
static void form_gradients(sonde_sae_trainer *t)
{
    sondep_matrix turned = {t->all_residual, SONDE_F32, 1, t->O}, x = {t->scaled, SONDE_F32, t->D, 1};
    double weight = sondep_sae_coefficient(t) / (double)t->N;

    for (int i = 0; t->rule->vectors[i] != NULL; i++)
        for (int64_t s = 0; s < t->S; s++)
            gradient_at(t, SONDEP_SAE_VECTOR + i)[s] = (float)t->sums[t->rule->gradients[i]][s];
    gradient_of_b_dec(t);
    if (sondep_sae_at(t, t->w, SONDEP_SAE_SKIP) != NULL)
        sondep_product(gradient_at(t, SONDEP_SAE_SKIP), t->D, &turned, &x, t->O, t->D, t->N, NULL, SONDEP_F32, t->scratch);
    for (int64_t s = 0; s < t->S && t->rule->has_pull; s++)
        t->pull[s] = t->norms[s] > 0.0f ? (float)(weight * t->sums[t->rule->pull][s] / t->norms[s]) : 0.0f;
    for (int64_t s = 0; s < t->S && t->below != NULL; s++)
        t->pull[s] += t->norms[s] > 0.0f ? (float)(t->opts.pre_act / (double)t->N * t->below[s] / t->norms[s]) : 0.0f;
}

/* Features of one range, as the kernels take them. */
static sondep_features features_of(const sonde_sae_trainer *t, int64_t first)
{
    int64_t in = t->first[SONDEP_SAE_IN] + first * t->D, out = t->first[SONDEP_SAE_OUT] + first * t->O;

    return (sondep_features){.w_in = t->w + in,
                             .m_in = t->m + in,
                             .v_in = t->v + in,
                             .w_out = t->w + out,
                             .m_out = t->m + out,
                             .v_out = t->v + out,
                             .pull = t->rule->has_pull ? t->pull + first : NULL,
                             .shrink = t->rule->has_means ? (float)t->opts.weight_l1 : 0.0f,
                             .is_tangent = t->rule->is_unit,
                             .norm = t->rule->is_unit ? t->ones + first : NULL};
}

/* Each range of features with its terms: their squares, or with `a` a step of them. */
static double walk_features(const sonde_sae_trainer *t, const sondep_sae_terms *terms, const sondep_adamw *a)
{
    int64_t D = sondep_sae_at(t, t->w, SONDEP_SAE_IN) != NULL ? t->D : 0; /* matching pursuit has one matrix */
    double sum = 0.0;

    for (int64_t g = 0, first = 0; g < terms->n_groups; first = t->groups[g], g++) {
        int64_t end = terms->n_groups > 1 ? t->groups[g] : t->S;
        sondep_features f = features_of(t, first);
        sondep_feature_term own[SONDEP_SAE_TERMS];
        sondep_columns columns[SONDEP_SAE_TERMS];
        for (int64_t i = 0; i < terms->n[g]; i++) {
            own[i] = terms->all[g][i];
            columns[i] = *own[i].columns;
            columns[i].first += first;
            own[i].columns = &columns[i];
        }
        if (a != NULL)
            sondep_feature_step(&f, own, terms->n[g], a, end - first, D, t->O, t->scratch);
        else
            sum += sondep_feature_squares(&f, own, terms->n[g], end - first, D, t->O, t->scratch);
    }
    return sum;
}

/* Norm of all gradients together. */
static sonde_status measure_norm(const sonde_sae_trainer *t, const sondep_sae_terms *terms, double *norm)
{
    int64_t n = t->first[SONDEP_N_SAE_PARAMETERS] - t->first[SONDEP_SAE_VECTOR];

    *norm = sqrt(walk_features(t, terms, NULL) + sondep_sum_squares(t->gradient, n));
    if (!isfinite(*norm) || *norm * sondep_clip_factor(*norm, t->opts.clip) > LARGEST_NORM)
        return SONDE_FAIL(SONDE_E_NONFINITE, "the norm of the gradients is %g: they or their squares are not finite", *norm);
    return SONDE_OK;
}

/* ---- the step ------------------------------------------------------------------------------------------------------------------- */

/* Adam on everything. */
static void update(sonde_sae_trainer *t, const sondep_sae_terms *terms, const sonde_sae_train_report *report)
{
    const sonde_sae_train_opts *o = &t->opts;
    double step = (double)(t->step + 1);
    int64_t first = t->first[SONDEP_SAE_VECTOR], n = t->first[SONDEP_N_SAE_PARAMETERS] - first;
    sondep_adamw a = {.rate = report->lr,
                      .beta1 = o->beta1,
                      .beta2 = o->beta2,
                      .eps = o->eps,
                      .decay = o->weight_decay,
                      .clip = sondep_clip_factor(report->gradient_norm, o->clip),
                      .correction1 = 1.0 - pow(o->beta1, step),
                      .correction2 = 1.0 - pow(o->beta2, step)};

    /* nothing fails from here on */
    walk_features(t, terms, &a);
    sondep_adamw_step(t->w + first, t->m + first, t->v + first, t->gradient, &a, n);
    for (int64_t s = 0; s < t->S; s++)
        t->silent[s] = t->fired[s] > 0 ? 0 : t->silent[s] + 1;
    if (t->rule->is_batch && t->least > 0.0) {
        t->threshold += o->threshold_rate * (t->least - t->threshold);
        t->threshold_weight += o->threshold_rate * (1.0 - t->threshold_weight);
    }
    if (t->opts.arch == SONDE_SAE_ARCH_PANNEAL)
        sondep_sae_step_anneal(t);
    sondep_sae_control(t, report);
    sondep_sae_step_plateau(t, report->loss);
    choose_way(t);
    t->step++;
}

/* All of a step but for its change of the weights. */
static sonde_status measure(sonde_sae_trainer *t, sondep_sae_terms *terms, sonde_sae_train_report *out, const float *x,
                            const float *y)
{
    double dead = 0.0;

    sondep_sae_prepare_rows(t, x, y, t->N);
    prepare_features(t);
    SONDE_TRY(pass(t, terms, x, y));
    report_rows(t, out);
    if (t->rule->is_topk)
        SONDE_TRY(sondep_sae_pass_dead(t, terms, &dead));
    if (t->below != NULL)
        sondep_sae_pass_below(t, terms, &dead);
    out->n_dead = t->n_dead;
    out->aux += dead;
    out->loss = out->mse + out->sparsity + out->aux + t->inner;
    if (!isfinite(out->loss))
        return SONDE_FAIL(SONDE_E_NONFINITE, "the loss is %g", out->loss);
    /* the weights are as they were until the norm is known */
    form_gradients(t);
    return measure_norm(t, terms, &out->gradient_norm);
}

/* A row that is not finite. */
sonde_status sondep_sae_check_rows(const float *x, int64_t N, int64_t width)
{
    int64_t at = sondep_find_nonfinite(x, N * width, false);

    return at < 0 ? SONDE_OK
                  : SONDE_FAIL(SONDE_E_NONFINITE, "an activation is %g: row %lld, column %lld", (double)x[at],
                               (long long)(at / width), (long long)(at % width));
}

/* Rows are looked at first: what is not finite is named by its place. */
sonde_status sonde_sae_trainer_step(sonde_sae_trainer *t, sonde_sae_train_report *out, const float *x, const float *y)
{
    sondep_sae_terms terms;
    sonde_status status;

    *out = (sonde_sae_train_report){.step = t->step + 1};
    if (t->step >= t->opts.steps)
        return SONDE_FAIL(SONDE_E_STATE, "all %lld steps are done", (long long)t->opts.steps);
    SONDE_TRY(sondep_sae_check_rows(x, t->N, t->D));
    if (t->is_transcoder)
        SONDE_TRY(sondep_sae_check_rows(y, t->N, t->O));
    SONDE_TRY(sondep_sae_make_scratch(t));
    out->lr = sondep_schedule_rate(&t->schedule, t->step) * t->plateau.share;
    status = measure(t, &terms, out, x, y);
    if (status == SONDE_E_NONFINITE)
        return sondep_hint(status, "at step %lld; the weights are those of step %lld", (long long)t->step + 1,
                           (long long)t->step);
    SONDE_TRY(status);
    update(t, &terms, out);
    out->threshold = t->threshold;
    return SONDE_OK;
}
