/* sae/score.h - sums over positions, and what metrics are made of them.          floor 7: sae */
#ifndef SONDEP_SAE_SCORE_H
#define SONDEP_SAE_SCORE_H

#include "sae/sae.h"

/* What is summed, for each text by itself, so that texts can be drawn again. */
typedef enum sondep_sae_sum {
    SUM_POSITIONS,
    SUM_L0,
    SUM_L1,
    SUM_ERROR,          /* |x - y|^2 */
    SUM_RELATIVE_ERROR, /* |x - y|^2 / |x|^2 */
    SUM_SQUARES,        /* |x|^2 */
    SUM_VARIANCE,       /* |x - mean|^2 */
    SUM_ERROR_SHARE,    /* |x - y|^2 / |x - mean|^2 */
    SUM_COSINE,
    SUM_RATIO,
    SUM_DOT,
    SUM_OUTPUT, /* |y|^2 */
    SUM_LENGTH, /* |x| */
    SUM_OUTPUT_LENGTH,
    SUM_PREDICTED,
    SUM_CE_CLEAN,
    SUM_CE, /* spliced, zero, mean */
    SUM_KL = SUM_CE + 3,
    N_SUMS = SUM_KL + 3
} sondep_sae_sum;

/* Adds a position: x what is to be reconstructed, y the reconstruction, mean of x over all positions; f (S). */
void sondep_sae_add_position(double sums[N_SUMS], const float *x, const float *y, const double *mean, int64_t O,
                             const float *f, int64_t S);

/* All metrics from the sums (n_texts, N_SUMS), with intervals from `n_resamples` drawings of texts. Errors: SONDE_E_NOMEM. */
sonde_status sondep_sae_estimate(sonde_sae_report *out, const double *sums, int64_t n_texts, int64_t O, bool has_loss,
                                 int64_t n_resamples, uint64_t seed);

#endif
