/* jumprelu.c - JumpReLU: f = max(v, 0) where v > threshold, else 0.               floor 7: sae
 *
 * The threshold has no gradient; in training it is given an estimate from the rows within a window of some width around it:
 *   df / dthreshold = -(threshold / width) [|v - threshold| < width / 2];   d[v > threshold] / dthreshold = -(1 / width) [same]
 * and, where that is asked for, v has the same estimates with the other sign, beside its own gradient where f > 0.
 * The penalty is l0 times: sum [v > threshold];  sum tanh(scale f |d_s|);  2 / target (sum [v > threshold] - target)^2.
 *
 * Source: Rajamanoharan et al. 2024, arXiv 2407.14435, equations 4, 9 to 12; sae_lens 6.54.12, whose threshold is no logarithm.
 */
#include "sae/trainer.h"

#include <math.h>

sonde_status sondep_sae_jumprelu(const sondep_sae_rows *r)
{
    const float *threshold = r->sae->w[SONDEP_THRESHOLD];
    int64_t S = r->sae->config.d_sae;

#pragma omp parallel for num_threads(sonde_threads())
    for (int64_t n = 0; n < r->N; n++)
        for (int64_t s = 0; s < S; s++) {
            float v = r->v[n * S + s];
            /* a threshold below 0 leaves ReLU's own */
            r->v[n * S + s] = v > threshold[s] && v > 0.0f ? v : 0.0f;
        }
    return SONDE_OK;
}

/* Pre-activations that are near a threshold, but below it, are among the pairs, too: with the feature 0. */
void sondep_sae_jumprelu_activate(const sonde_sae_trainer *t, const sondep_sae_row *row)
{
    const float *threshold = sondep_sae_at(t, t->w, SONDEP_SAE_VECTOR + 1);

    for (int64_t i = 0; i < row->n; i++)
        row->value[i] = row->h[i] > threshold[sondep_sae_feature_of(row, i)] ? row->h[i] : 0.0f;
}

/* The penalty of a row, and its derivative by each [v > threshold], for all of the row alike: what counts is how many are on. */
static double count_penalty(double *slope, const sonde_sae_trainer *t, const sondep_sae_row *row)
{
    const float *threshold = sondep_sae_at(t, t->w, SONDEP_SAE_VECTOR + 1);
    double target = t->opts.target_l0, on = 0.0;

    *slope = 0.0;
    if (t->opts.penalty == SONDE_SAE_PENALTY_TANH)
        return 0.0;
    *slope = 1.0;
    for (int64_t i = 0; i < row->n; i++)
        on += row->h[i] > threshold[sondep_sae_feature_of(row, i)];
    if (t->opts.penalty == SONDE_SAE_PENALTY_STEP)
        return on;
    *slope = 4.0 / target * (on - target);
    return 2.0 / target * (on - target) * (on - target);
}

/* tanh of feature s, if that is the penalty: its gradient by f is added to *slope, and *by_norm becomes that by |d_s|. */
static double tanh_penalty(double *slope, float *by_norm, const sonde_sae_trainer *t, float f, int64_t s)
{
    double scale = t->opts.tanh_scale, value, steep;

    *by_norm = 0.0f;
    if (t->opts.penalty != SONDE_SAE_PENALTY_TANH)
        return 0.0;
    value = tanh(scale * f * t->norms[s]);
    steep = (1.0 - value * value) * scale;
    *slope += sondep_sae_coefficient(t) / (double)t->N * steep * t->norms[s];
    *by_norm = (float)(steep * f);
    return value;
}

/* The estimates are zero for all that is far from its threshold. */
double sondep_sae_jumprelu_back(const sonde_sae_trainer *t, const sondep_sae_row *row)
{
    const float *threshold = sondep_sae_at(t, t->w, SONDEP_SAE_VECTOR + 1);
    double weight = sondep_sae_coefficient(t), slope, sum = count_penalty(&slope, t, row), width = t->opts.bandwidth;

    slope *= weight / (double)t->N;
    for (int64_t i = 0; i < row->n; i++) {
        int64_t s = sondep_sae_feature_of(row, i);
        double by_value = row->dvalue[i], far = (double)(row->h[i] - threshold[s]) / width, estimate = 0.0;
        sum += tanh_penalty(&by_value, &row->extra[1][i], t, row->value[i], s);
        if (far > -0.5 && far < 0.5)
            estimate = (threshold[s] * by_value + slope) / width;
        row->extra[0][i] = (float)-estimate;
        row->dvalue[i] = (float)((row->value[i] > 0.0f ? by_value : 0.0) + (t->opts.ste_to_input ? estimate : 0.0));
    }
    return weight * sum;
}
