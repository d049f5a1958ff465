/* trainer_begin.c - what rows say before the first step, weights that are there, and new directions for dead features.   floor 7: sae
 *
 *   average     one number: sqrt(D) over the mean length of rows
 *   whitening   mean and covariance of rows, and the eigenvectors of that; in double, and multiplied by as floats
 *   median      the point with the least sum of distances to all rows, where b_dec of 2023's recipe begins
 *   resampling  rows drawn by their squared losses become the directions of dead features
 *
 * Sums are in double and in the order of rows.
 */
#include "sae/trainer.h"

#include <math.h>

enum { MEDIAN_STEPS = 100 };

/* ---- scale ---------------------------------------------------------------------------------------------------------------------- */

/* In double. */
static double norm_of(const float *x, int64_t n)
{
    return sqrt(sondep_sum_squares(x, n));
}

/* sqrt(width) / mean |x|. Errors: SONDE_E_RANGE where all rows are 0. */
static sonde_status measure_scale(double *out, const float *x, int64_t N, int64_t width)
{
    double sum = 0.0;

    for (int64_t n = 0; n < N; n++)
        sum += norm_of(x + n * width, width);
    if (!(sum > 0.0))
        return SONDE_FAIL(SONDE_E_RANGE, "all %lld rows are 0: they have no scale", (long long)N);
    *out = sqrt((double)width) * (double)N / sum;
    return SONDE_OK;
}

/* Mean and covariance of rows, in double. */
static void measure_covariance(double *mean, double *covariance, const float *x, int64_t N, int64_t D)
{
    for (int64_t d = 0; d < D; d++) {
        mean[d] = 0.0;
        for (int64_t n = 0; n < N; n++)
            mean[d] += x[n * D + d];
        mean[d] /= (double)N;
    }
#pragma omp parallel for num_threads(sonde_threads()) schedule(dynamic, 4)
    for (int64_t i = 0; i < D; i++) {
        double *row = covariance + i * D;
        memset(row, 0, (size_t)D * sizeof *row);
        for (int64_t n = 0; n < N; n++)
            for (int64_t j = 0; j <= i; j++)
                row[j] += ((double)x[n * D + i] - mean[i]) * ((double)x[n * D + j] - mean[j]);
        for (int64_t j = 0; j <= i; j++)
            row[j] /= N > 1 ? (double)(N - 1) : 1.0;
    }
}

/* whiten = E diag(lambda + 1e-3)^(-1/2), unwhiten = diag(lambda + 1e-3)^(1/2) E^T. */
static sonde_status measure_whitening(sonde_sae_trainer *t, const float *x, int64_t N)
{
    int64_t D = t->D;
    double *lambda = NULL;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(lambda, D));
    if (t->mean == NULL)
        SONDE_TRY_DONE(SONDE_NEW(t->mean, D + 2 * D * D));
    t->whiten = t->mean + D;
    t->unwhiten = t->whiten + D * D;
    measure_covariance(t->mean, t->unwhiten, x, N, D);
    SONDE_TRY_DONE(sondep_eigen_symmetric(lambda, t->unwhiten, D));
    for (int64_t j = 0; j < D; j++) {
        double root = sqrt((lambda[j] > 0.0 ? lambda[j] : 0.0) + 1e-3);
        for (int64_t i = 0; i < D; i++) {
            t->whiten[i * D + j] = t->unwhiten[j * D + i] / root;
            t->unwhiten[j * D + i] *= root;
        }
    }
    sondep_sae_use_whitening(t);
done:
    sondep_free(lambda);
    return status;
}

/* Kept in double, multiplied by as floats. */
void sondep_sae_use_whitening(sonde_sae_trainer *t)
{
    for (int64_t i = 0; i < t->D * t->D; i++)
        t->whitening[i] = (float)t->whiten[i];
}

/* ---- the geometric median --------------------------------------------------------------------------------------------------------- */

/* The point with the least sum of distances to all rows, by Weiszfeld's iteration; rows that it lies on are left out of a step. */
static sonde_status find_median(float *out, const float *x, int64_t N, int64_t D)
{
    double *next = NULL, *at = NULL, moved = 1.0;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(next, D));
    SONDE_TRY_DONE(SONDE_NEW(at, D));
    for (int64_t n = 0; n < N; n++)
        for (int64_t d = 0; d < D; d++)
            at[d] += x[n * D + d] / (double)N;
    for (int step = 0; step < MEDIAN_STEPS && moved > 1e-12; step++) {
        double weights = 0.0, size = 0.0;
        memset(next, 0, (size_t)D * sizeof *next);
        for (int64_t n = 0; n < N; n++) {
            double squares = 0.0;
            for (int64_t d = 0; d < D; d++)
                squares += (x[n * D + d] - at[d]) * (x[n * D + d] - at[d]);
            if (!(squares > 0.0))
                continue;
            weights += 1.0 / sqrt(squares);
            for (int64_t d = 0; d < D; d++)
                next[d] += x[n * D + d] / sqrt(squares);
        }
        moved = 0.0;
        for (int64_t d = 0; d < D && weights > 0.0; d++) {
            double old = at[d];
            at[d] = next[d] / weights;
            moved += (at[d] - old) * (at[d] - old);
            size += at[d] * at[d];
        }
        moved = size > 0.0 ? moved / size : 0.0;
    }
    for (int64_t d = 0; d < D; d++)
        out[d] = (float)at[d];
    status = SONDE_OK;
done:
    sondep_free(next);
    sondep_free(at);
    return status;
}

/* ---- before the first step ------------------------------------------------------------------------------------------------------------ */

/* b_dec in the middle of the rows, in the scale of the training. */
static sonde_status begin_at_median(sonde_sae_trainer *t, const float *x, int64_t N)
{
    float *scaled = NULL;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(scaled, N * t->D));
    for (int64_t first = 0; first < N; first += t->N)
        sondep_sae_scale_x(t, scaled + first * t->D, x + first * t->D, N - first < t->N ? N - first : t->N);
    status = find_median(sondep_sae_at(t, t->w, SONDEP_SAE_B_DEC), scaled, N, t->D);
done:
    sondep_free(scaled);
    return status;
}

/* Everything is checked before anything is set. */
sonde_status sonde_sae_trainer_begin(sonde_sae_trainer *t, const float *x, const float *y, int64_t N)
{
    if (t->step > 0)
        return SONDE_FAIL(SONDE_E_STATE, "%lld steps are done", (long long)t->step);
    if (N < 1)
        return SONDE_FAIL(SONDE_E_RANGE, "there are no rows to begin with");
    SONDE_TRY(sondep_sae_check_rows(x, N, t->D));
    if (t->is_transcoder)
        SONDE_TRY(sondep_sae_check_rows(y, N, t->O));
    SONDE_TRY(sondep_sae_make_scratch(t));
    if (t->opts.scaling == SONDE_SAE_SCALE_AVERAGE) {
        SONDE_TRY(measure_scale(&t->scale_in, x, N, t->D));
        t->scale_out = t->scale_in;
        if (t->is_transcoder)
            SONDE_TRY(measure_scale(&t->scale_out, y, N, t->O));
    }
    if (t->opts.scaling == SONDE_SAE_SCALE_WHITENING)
        SONDE_TRY(measure_whitening(t, x, N));
    return t->opts.arch == SONDE_SAE_ARCH_STANDARD_2023 ? begin_at_median(t, x, N) : SONDE_OK;
}

/* ---- resampling ---------------------------------------------------------------------------------------------------------------------- */

/* Squares of the losses of N rows, summed up, so that a number below the last is in the share of one row. */
static sonde_status sum_squared_losses(double *out, sonde_sae_trainer *t, const float *x, int64_t N)
{
    double sum = 0.0;

    for (int64_t first = 0; first < N; first += t->N) {
        int64_t n = N - first < t->N ? N - first : t->N;
        sondep_sae_prepare_rows(t, x + first * t->D, NULL, n);
        sondep_sae_forward_dense(t, n);
        for (int64_t i = 0; i < n; i++)
            out[first + i] = sum += t->error[i] * t->error[i];
    }
    if (!(sum > 0.0) || !isfinite(sum))
        return SONDE_FAIL(SONDE_E_RANGE, "the squared losses of %lld rows are %g together: nothing can be drawn",
                          (long long)N, sum);
    return SONDE_OK;
}

/* The first row whose sum is above a share of the last. */
static int64_t draw(const double *sums, int64_t N, double share)
{
    int64_t low = 0, high = N - 1;

    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (sums[middle] > share * sums[N - 1])
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Mean length of the encoders' rows of living features; 1 if none lives. */
static double living_norm(const sonde_sae_trainer *t)
{
    double sum = 0.0;
    int64_t n = 0;

    for (int64_t s = 0; s < t->S; s++)
        if (t->silent[s] <= t->opts.dead_window) {
            sum += norm_of(sondep_sae_at(t, t->w, SONDEP_SAE_IN) + s * t->D, t->D);
            n++;
        }
    return n > 0 ? sum / (double)n : 1.0;
}

/* Feature s takes the direction of a row (D); what Adam knew of it is forgotten. */
static void take_direction(sonde_sae_trainer *t, int64_t s, const float *row, double encoder_norm)
{
    float *blocks[] = {t->w, t->m, t->v};
    double norm = norm_of(row, t->D);

    for (int i = 0; i < 3; i++)
        for (int64_t d = 0; d < t->D; d++) {
            double along = i == 0 && norm > 0.0 ? row[d] / norm : 0.0;
            sondep_sae_at(t, blocks[i], SONDEP_SAE_IN)[s * t->D + d] = (float)(along * encoder_norm);
            sondep_sae_at(t, blocks[i], SONDEP_SAE_OUT)[s * t->D + d] = (float)along;
        }
    for (int i = 0; i < 3; i++)
        sondep_sae_at(t, blocks[i], SONDEP_SAE_VECTOR)[s] = 0.0f;
    t->silent[s] = 0;
}

/* The number of a draw is that of the step and the feature: the same rows give the same directions. */
sonde_status sonde_sae_trainer_resample(sonde_sae_trainer *t, int64_t *n_resampled, const float *x, int64_t N)
{
    double *sums = NULL, norm = living_norm(t);
    int64_t n = 0;
    sonde_status status;

    if (t->opts.arch != SONDE_SAE_ARCH_STANDARD_2023)
        return SONDE_FAIL(SONDE_E_ARG, "resampling is of the architecture standard-2023");
    SONDE_TRY(sondep_sae_check_rows(x, N, t->D));
    SONDE_TRY(sondep_sae_make_scratch(t));
    SONDE_TRY_DONE(SONDE_NEW(sums, N));
    SONDE_TRY_DONE(sum_squared_losses(sums, t, x, N));
    for (int64_t s = 0; s < t->S; s++) {
        double u = sonde_random_uniform((uint64_t)t->opts.seed, ~(uint64_t)t->step, (uint64_t)s);
        if (t->silent[s] <= t->opts.dead_window)
            continue;
        /* the row without b_dec, as it is encoded */
        sondep_sae_prepare_rows(t, x + draw(sums, N, u) * t->D, NULL, 1);
        take_direction(t, s, t->x, 0.2 * norm);
        n++;
    }
    if (n_resampled != NULL)
        *n_resampled = n;
done:
    sondep_free(sums);
    return status;
}

/* ---- from weights that are there ------------------------------------------------------------------------------------------------------- */

/* The architecture that an autoencoder of these options is used as. */
static sonde_status check_kind(const sonde_sae_trainer *t, const sonde_sae_config *c)
{
    static const sonde_sae_activation used_as[] = {[SONDE_SAE_ARCH_STANDARD_2023] = SONDE_SAE_RELU,
                                                   [SONDE_SAE_ARCH_STANDARD] = SONDE_SAE_RELU,
                                                   [SONDE_SAE_ARCH_GATED] = SONDE_SAE_GATED,
                                                   [SONDE_SAE_ARCH_TOPK] = SONDE_SAE_TOPK,
                                                   [SONDE_SAE_ARCH_BATCHTOPK] = SONDE_SAE_JUMPRELU,
                                                   [SONDE_SAE_ARCH_ABSTOPK] = SONDE_SAE_ABSTOPK,
                                                   [SONDE_SAE_ARCH_MATRYOSHKA] = SONDE_SAE_JUMPRELU,
                                                   [SONDE_SAE_ARCH_JUMPRELU] = SONDE_SAE_JUMPRELU,
                                                   [SONDE_SAE_ARCH_PANNEAL] = SONDE_SAE_RELU,
                                                   [SONDE_SAE_ARCH_PURSUIT] = SONDE_SAE_PURSUIT,
                                                   [SONDE_SAE_ARCH_KL] = SONDE_SAE_RELU};

    if (c->d_in != t->D || c->d_sae != t->S || c->d_out != t->O)
        return SONDE_FAIL(SONDE_E_ARG, "the autoencoder is %lld x %lld x %lld, the training %lld x %lld x %lld",
                          (long long)c->d_in, (long long)c->d_sae, (long long)c->d_out, (long long)t->D, (long long)t->S,
                          (long long)t->O);
    if (c->activation != used_as[t->opts.arch] || c->is_transcoder != t->is_transcoder ||
        c->has_skip != (t->opts.has_skip != 0) || c->normalization != t->normalization || c->centres_input ||
        (!c->is_transcoder && c->applies_b_dec != t->ties_bias))
        return SONDE_FAIL(SONDE_E_ARG, "the autoencoder is of another kind ('%s') than the training", c->architecture);
    return SONDE_OK;
}

/* One matrix of features' rows, times a number; columns are features where `is_turned`. */
static void copy_rows(float *to, const float *from, int64_t S, int64_t width, bool is_turned, double factor)
{
#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t s = 0; s < S; s++)
        for (int64_t d = 0; d < width; d++)
            to[s * width + d] = (float)(factor * from[is_turned ? d * S + s : s * width + d]);
}

/* Decoder rows of length 1, as they must be: features take their lengths, which changes nothing where they come of a ReLU. */
static void fold_lengths(const sonde_sae_trainer *t)
{
    float *in = sondep_sae_at(t, t->w, SONDEP_SAE_IN), *out = sondep_sae_at(t, t->w, SONDEP_SAE_OUT),
          *b_enc = sondep_sae_at(t, t->w, SONDEP_SAE_VECTOR);

    for (int64_t s = 0; s < t->S; s++) {
        double norm = sqrt(sondep_sum_squares(out + s * t->O, t->O));
        /* a row of length 0 has no direction that it could keep */
        if (!(norm > 0.0))
            continue;
        for (int64_t d = 0; d < t->O; d++)
            out[s * t->O + d] = (float)(out[s * t->O + d] / norm);
        for (int64_t d = 0; d < t->D; d++)
            in[s * t->D + d] = (float)(in[s * t->D + d] * norm);
        b_enc[s] = (float)(b_enc[s] * norm);
    }
}

/* The inverse of the export, but for the lengths of decoder rows: folded in, they are 1. */
sonde_status sonde_sae_trainer_start_from(sonde_sae_trainer *t, const sonde_sae *sae)
{
    static const char *const names[] = {"b_enc", "threshold", "b_gate", "b_mag", "r_mag"};
    static const int weights[] = {SONDEP_B_ENC, SONDEP_THRESHOLD, SONDEP_B_GATE, SONDEP_B_MAG, SONDEP_R_MAG};

    if (t->step > 0)
        return SONDE_FAIL(SONDE_E_STATE, "%lld steps are done", (long long)t->step);
    SONDE_TRY(check_kind(t, &sae->config));
    if (t->mean != NULL)
        return SONDE_FAIL(SONDE_E_UNSUPPORTED, "fine-tuning does not go with whitening");
    /* what is used has the scale of the rows folded in: it is taken out again */
    if (sae->w[SONDEP_W_ENC] != NULL)
        copy_rows(sondep_sae_at(t, t->w, SONDEP_SAE_IN), sae->w[SONDEP_W_ENC], t->S, t->D, true, 1.0 / t->scale_in);
    copy_rows(sondep_sae_at(t, t->w, SONDEP_SAE_OUT), sae->w[SONDEP_W_DEC], t->S, t->O, false,
              sae->w[SONDEP_W_ENC] != NULL ? t->scale_out : 1.0);
    copy_rows(sondep_sae_at(t, t->w, SONDEP_SAE_B_DEC), sae->w[SONDEP_B_DEC], t->O, 1, false, t->scale_out);
    if (t->opts.has_skip)
        copy_rows(sondep_sae_at(t, t->w, SONDEP_SAE_SKIP), sae->w[SONDEP_W_SKIP], t->O, t->D, false,
                  t->scale_out / t->scale_in);
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
        for (int k = 0; t->rule->vectors[k] != NULL; k++)
            if (strcmp(t->rule->vectors[k], names[i]) == 0)
                memcpy(sondep_sae_at(t, t->w, SONDEP_SAE_VECTOR + k), sae->w[weights[i]], (size_t)t->S * sizeof(float));
    if (t->rule->is_batch) {
        t->threshold = (double)sae->w[SONDEP_THRESHOLD][0] * (t->opts.rescales ? t->scale_out : 1.0);
        t->threshold_weight = 1.0;
    }
    if (t->rule->is_unit)
        fold_lengths(t);
    return SONDE_OK;
}
