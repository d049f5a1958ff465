/* topk.c - TopK and AbsTopK: the k features of a row that are largest.            floor 7: sae
 *
 *   TopK      f = v where v is among the k largest of max(v, 0)
 *   AbsTopK   f = v where |v| is among the k largest
 *
 * With rescales_by_norm v is first multiplied by the length of the feature's decoder row. The pre-activations are never written:
 * the encoder selects while it multiplies.
 *
 * Source: Gao et al. 2024, arXiv 2406.04093, equation 2; Zhu et al. 2026, arXiv 2510.00404.
 */
#include "sae/sae.h"

/* The features of one row from its pairs. */
static void spread(float *features, const sonde_sae *sae, const int32_t *index, const float *value, int64_t n)
{
    memset(features, 0, (size_t)sae->config.d_sae * sizeof *features);
    for (int64_t i = 0; i < n; i++)
        features[index[i]] = sae->norms != NULL ? value[i] * sae->norms[index[i]] : value[i];
}

sonde_status sondep_sae_topk(const sondep_sae_rows *r)
{
    const sonde_sae_config *c = &r->sae->config;
    sondep_selection largest = {.k = c->k, .scale = r->sae->norms, .is_absolute = c->activation == SONDE_SAE_ABSTOPK};

    sondep_encode(&r->codes, r->order, r->x, c->d_in, r->sae->encoder, r->sae->w[SONDEP_B_ENC], &largest, r->N, c->d_sae,
                  c->d_in, SONDEP_F32, r->scratch);
    for (int64_t n = 0; n < r->N; n++)
        if (r->order[n] < 0)
            return SONDE_FAIL(SONDE_E_NONFINITE, "a pre-activation is not a number: row %lld", (long long)n);
#pragma omp parallel for num_threads(sonde_threads())
    for (int64_t n = 0; n < r->N; n++)
        spread(r->v + n * c->d_sae, r->sae, r->codes.index + n * c->k, r->codes.value + n * c->k, r->codes.count[n]);
    return SONDE_OK;
}
