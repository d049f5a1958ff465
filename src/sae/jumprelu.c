/* jumprelu.c - JumpReLU: f = max(v, 0) where v > threshold, else 0.               floor 7: sae
 *
 * Source: Rajamanoharan et al. 2024, arXiv 2407.14435, equation 4.
 */
#include "sae/sae.h"

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
