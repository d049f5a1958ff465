/* gated.c - gated autoencoders: one product says which features are on, and how large they are.    floor 7: sae
 *
 *   u = (x - b_dec) W_enc;   f = [u + b_gate > 0] max(u exp(r_mag) + b_mag, 0)
 *
 * In training h = u + b_gate, and g = max(h, 0) makes a reconstruction of its own and bears the penalty l1 sum g |d_s|:
 *   dm = df where f > 0;   dg' = (dg + l1 |d_s|) where h > 0
 *   by W_enc: dg' + dm exp(r_mag);   b_gate: dg';   b_mag: dm;   r_mag: dm u exp(r_mag)
 *
 * Source: Rajamanoharan et al. 2024, arXiv 2404.16014, equations 6 to 8; sae_lens 6.54.12, which lets the second reconstruction change
 * W_dec and b_dec too.
 */
#include "sae/trainer.h"

#include <math.h>

sonde_status sondep_sae_gated(const sondep_sae_rows *r)
{
    const float *gate = r->sae->w[SONDEP_B_GATE], *bias = r->sae->w[SONDEP_B_MAG], *scale = r->sae->w[SONDEP_R_MAG];
    int64_t S = r->sae->config.d_sae;

    /* columns are a thread's, so that each exponential is taken once */
#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t s = 0; s < S; s++) {
        float factor = expf(scale[s]);
        for (int64_t n = 0; n < r->N; n++) {
            float u = r->v[n * S + s], size = u * factor + bias[s];
            r->v[n * S + s] = u + gate[s] > 0.0f && size > 0.0f ? size : 0.0f;
        }
    }
    return SONDE_OK;
}

/* Both at once: what is on, and how large it is. */
void sondep_sae_gated_activate(const sonde_sae_trainer *t, const sondep_sae_row *row)
{
    const float *gate = sondep_sae_at(t, t->w, SONDEP_SAE_VECTOR), *bias = sondep_sae_at(t, t->w, SONDEP_SAE_VECTOR + 1);

    for (int64_t i = 0; i < row->n; i++) {
        int64_t s = sondep_sae_feature_of(row, i);
        float size = (row->h[i] - gate[s]) * t->exp_r[s] + bias[s];
        row->gate[i] = row->h[i] > 0.0f ? row->h[i] : 0.0f;
        row->value[i] = row->h[i] > 0.0f && size > 0.0f ? size : 0.0f;
    }
}

/* The gate learns from its own reconstruction, the size from the other one. */
double sondep_sae_gated_back(const sonde_sae_trainer *t, const sondep_sae_row *row)
{
    const float *gate = sondep_sae_at(t, t->w, SONDEP_SAE_VECTOR);
    double weight = sondep_sae_coefficient(t), sum = 0.0;
    float share = (float)(weight / (double)t->N);

    for (int64_t i = 0; i < row->n; i++) {
        int64_t s = sondep_sae_feature_of(row, i);
        float size = row->value[i] > 0.0f ? row->dvalue[i] : 0.0f;
        float on = row->h[i] > 0.0f ? row->dgate[i] + share * t->norms[s] : 0.0f;
        sum += (double)row->gate[i] * t->norms[s];
        row->extra[0][i] = on;
        row->extra[1][i] = size;
        row->extra[2][i] = size * (row->h[i] - gate[s]) * t->exp_r[s];
        row->dvalue[i] = on + size * t->exp_r[s];
    }
    return weight * sum;
}
