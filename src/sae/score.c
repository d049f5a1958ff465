/* score.c - sums over positions, metrics from sums, and how sure they are.        floor 7: sae
 *
 * Texts are what is drawn again: positions of one text are too much alike to count as independent.
 */
#include "sae/score.h"

#include <math.h>
#include <stdlib.h>

#define NAME(value, name, formula) name,
#define FORMULA(value, name, formula) formula,
static const char *const names[] = {SONDE_SAE_METRIC_LIST(NAME)};
static const char *const formulas[] = {SONDE_SAE_METRIC_LIST(FORMULA)};

static bool is_metric(sonde_sae_metric which)
{
    return (int)which >= 0 && (int)which < SONDE_N_SAE_METRICS;
}

const char *sonde_sae_metric_name(sonde_sae_metric which)
{
    return is_metric(which) ? names[which] : "?";
}

const char *sonde_sae_metric_formula(sonde_sae_metric which)
{
    return is_metric(which) ? formulas[which] : "?";
}

/* ---- one position ------------------------------------------------------------------------------------------------------- */

/* a / b, 0 for nothing out of nothing: a row of zeros that is reconstructed as zeros is no error. */
static double share(double a, double b)
{
    return a == 0.0 ? 0.0 : a / b;
}

void sondep_sae_add_position(double sums[N_SUMS], const float *x, const float *y, const double *mean, int64_t O,
                             const float *f, int64_t S)
{
    double xx = 0.0, yy = 0.0, xy = 0.0, error = 0.0, variance = 0.0, l0 = 0.0, l1 = 0.0;

    for (int64_t d = 0; d < O; d++) {
        double a = x[d], b = y[d], off = a - b, around = a - mean[d];
        xx += a * a;
        yy += b * b;
        xy += a * b;
        error += off * off;
        variance += around * around;
    }
    for (int64_t s = 0; s < S; s++) {
        l0 += f[s] != 0.0f;
        l1 += fabs((double)f[s]);
    }
    sums[SUM_POSITIONS] += 1.0;
    sums[SUM_L0] += l0;
    sums[SUM_L1] += l1;
    sums[SUM_ERROR] += error;
    sums[SUM_RELATIVE_ERROR] += share(error, xx);
    sums[SUM_SQUARES] += xx;
    sums[SUM_VARIANCE] += variance;
    sums[SUM_ERROR_SHARE] += share(error, variance);
    sums[SUM_COSINE] += share(xy, sqrt(xx * yy));
    sums[SUM_RATIO] += share(sqrt(yy), sqrt(xx));
    sums[SUM_DOT] += xy;
    sums[SUM_OUTPUT] += yy;
    sums[SUM_LENGTH] += sqrt(xx);
    sums[SUM_OUTPUT_LENGTH] += sqrt(yy);
}

/* ---- metrics ------------------------------------------------------------------------------------------------------------ */

/* Those that need no logits. */
static void reconstruction(double *m, const double *s, int64_t O)
{
    double n = s[SUM_POSITIONS], squares = s[SUM_SQUARES] / n, per_dimension = squares / (double)O;

    m[SONDE_SAE_L0] = s[SUM_L0] / n;
    m[SONDE_SAE_L1] = s[SUM_L1] / n;
    m[SONDE_SAE_MSE] = s[SUM_ERROR] / n;
    m[SONDE_SAE_NMSE] = s[SUM_RELATIVE_ERROR] / n;
    m[SONDE_SAE_FVU] = s[SUM_ERROR] / s[SUM_VARIANCE];
    m[SONDE_SAE_EV] = 1.0 - m[SONDE_SAE_FVU];
    m[SONDE_SAE_COSINE] = s[SUM_COSINE] / n;
    m[SONDE_SAE_L2_IN] = s[SUM_LENGTH] / n;
    m[SONDE_SAE_L2_OUT] = s[SUM_OUTPUT_LENGTH] / n;
    m[SONDE_SAE_L2_RATIO] = s[SUM_RATIO] / n;
    m[SONDE_SAE_BIAS] = s[SUM_OUTPUT] / s[SUM_DOT];
    m[SONDE_SAE_EV_LEGACY] = 1.0 - s[SUM_ERROR_SHARE] / n;
    m[SONDE_SAE_EV_060] = 1.0 - m[SONDE_SAE_MSE] / (squares - per_dimension * per_dimension);
}

/* Those of what the model predicts. */
static void behaviour(double *m, const double *s)
{
    double n = s[SUM_PREDICTED], clean = s[SUM_CE_CLEAN] / n, ce[3], kl[3];

    for (int i = 0; i < 3; i++) {
        ce[i] = s[SUM_CE + i] / n;
        kl[i] = s[SUM_KL + i] / n;
        m[SONDE_SAE_CE_SPLICED + i] = ce[i];
        m[SONDE_SAE_KL_SPLICED + i] = kl[i];
    }
    m[SONDE_SAE_CE_CLEAN] = clean;
    m[SONDE_SAE_RECOVERED] = (ce[1] - ce[0]) / (ce[1] - clean);
    m[SONDE_SAE_RECOVERED_MEAN] = (ce[2] - ce[0]) / (ce[2] - clean);
    m[SONDE_SAE_KL_SCORE] = (kl[1] - kl[0]) / kl[1];
    m[SONDE_SAE_KL_SCORE_MEAN] = (kl[2] - kl[0]) / kl[2];
}

static void all_metrics(double *m, const double *s, int64_t O, bool has_loss)
{
    for (int i = 0; i < SONDE_N_SAE_METRICS; i++)
        m[i] = NAN;
    reconstruction(m, s, O);
    if (has_loss)
        behaviour(m, s);
}

/* ---- intervals ---------------------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Sums of as many texts as there are, drawn with replacement. */
static void draw_texts(double total[N_SUMS], const double *sums, int64_t n_texts, uint64_t seed, int64_t resample)
{
    memset(total, 0, N_SUMS * sizeof *total);
    for (int64_t i = 0; i < n_texts; i++) {
        double u = sonde_random_uniform(seed, (uint64_t)resample, (uint64_t)i);
        const double *of = sums + (int64_t)(u * (double)n_texts) * N_SUMS;
        for (int k = 0; k < N_SUMS; k++)
            total[k] += of[k];
    }
}

/* Percentiles of each metric over the drawings, which lie metric by metric. */
static void take_percentiles(sonde_sae_report *out, double *drawn, int64_t n)
{
    for (int i = 0; i < SONDE_N_SAE_METRICS; i++) {
        double *of = drawn + i * n;
        bool is_defined = true;
        /* what was not measured, or is not defined in some drawing, has no interval */
        for (int64_t r = 0; r < n; r++)
            is_defined = is_defined && isfinite(of[r]);
        if (!is_defined)
            continue;
        qsort(of, (size_t)n, sizeof *of, by_value);
        out->metrics[i].low = of[(int64_t)(0.025 * (double)(n - 1) + 0.5)];
        out->metrics[i].high = of[(int64_t)(0.975 * (double)(n - 1) + 0.5)];
    }
}

sonde_status sondep_sae_estimate(sonde_sae_report *out, const double *sums, int64_t n_texts, int64_t O, bool has_loss,
                                 int64_t n_resamples, uint64_t seed)
{
    double total[N_SUMS] = {0}, m[SONDE_N_SAE_METRICS], *drawn;

    for (int64_t i = 0; i < n_texts; i++)
        for (int k = 0; k < N_SUMS; k++)
            total[k] += sums[i * N_SUMS + k];
    all_metrics(m, total, O, has_loss);
    for (int i = 0; i < SONDE_N_SAE_METRICS; i++)
        out->metrics[i] = (sonde_sae_estimate){m[i], NAN, NAN};
    out->n_texts = n_texts;
    out->n_positions = (int64_t)total[SUM_POSITIONS];
    out->n_predicted = (int64_t)total[SUM_PREDICTED];
    if (n_resamples < 1)
        return SONDE_OK;
    SONDE_TRY(SONDE_NEW(drawn, n_resamples * SONDE_N_SAE_METRICS));
    for (int64_t r = 0; r < n_resamples; r++) {
        draw_texts(total, sums, n_texts, seed, r);
        all_metrics(m, total, O, has_loss);
        for (int i = 0; i < SONDE_N_SAE_METRICS; i++)
            drawn[i * n_resamples + r] = m[i];
    }
    take_percentiles(out, drawn, n_resamples);
    sondep_free(drawn);
    return SONDE_OK;
}
