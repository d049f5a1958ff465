/* gated.c - gated autoencoders: one product says which features are on, and how large they are.    floor 7: sae
 *
 *   u = (x - b_dec) W_enc;   f = [u + b_gate > 0] max(u exp(r_mag) + b_mag, 0)
 *
 * Source: Rajamanoharan et al. 2024, arXiv 2404.16014, equations 6 and 7.
 */
#include "sae/sae.h"

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
