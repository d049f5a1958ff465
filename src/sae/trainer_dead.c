/* trainer_dead.c - AuxK: dead features explain what the living ones left.         floor 7: sae
 *
 *   e^ = sum over the k_aux largest h |d_s| of dead features of h d_s;   aux min(n_dead / k_aux, 1) |e^ - (t - y)|^2
 *
 * t - y counts as a constant; h is taken as it is, below 0 too. The encoders of dead features are put side by side, so that the
 * product is over them alone.
 *
 * Source: Gao et al. 2024, arXiv 2406.04093, appendix A.2; as sae_lens 6.54.12 computes it, without the normalisation by the variance.
 */
#include "sae/trainer.h"

/* Rows of the encoder, biases and lengths of the dead. */
static void gather(const sonde_sae_trainer *t)
{
    const float *w = sondep_sae_at(t, t->w, SONDEP_SAE_IN), *b = sondep_sae_at(t, t->w, SONDEP_SAE_VECTOR);

#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t i = 0; i < t->n_dead; i++) {
        memcpy(t->dead_rows + i * t->D, w + t->dead[i] * t->D, (size_t)t->D * sizeof *w);
        t->dead_bias[i] = b[t->dead[i]];
        t->dead_norms[i] = t->norms[t->dead[i]];
    }
}

/* Pairs of the dead, with the numbers that they have among all features. */
static sonde_status encode(const sonde_sae_trainer *t, int64_t k)
{
    const sondep_codes *codes = &t->dead_pairs.codes;
    sondep_selection selection = {.k = k,
                                  .scale = t->opts.rescales ? t->dead_norms : NULL,
                                  .threshold = t->no_bar,
                                  .is_absolute = t->rule->is_absolute};

    sondep_encode(codes, t->found, t->x, t->D, t->dead_rows, t->dead_bias, &selection, t->N, t->n_dead, t->D, SONDEP_F32,
                  t->scratch);
    for (int64_t n = 0; n < t->N; n++) {
        if (t->found[n] < 0)
            return SONDE_FAIL(SONDE_E_NONFINITE, "a pre-activation is not a number: row %lld", (long long)n);
        for (int64_t i = 0; i < codes->count[n]; i++)
            codes->index[n * codes->capacity + i] = t->dead[codes->index[n * codes->capacity + i]];
    }
    return SONDE_OK;
}

/* Nothing is done where nothing is dead. */
sonde_status sondep_sae_pass_dead(sonde_sae_trainer *t, sondep_sae_terms *terms, double *loss)
{
    int64_t k = t->opts.aux_k < t->n_dead ? t->opts.aux_k : t->n_dead;
    double weight =
        t->opts.aux * ((double)t->n_dead < (double)t->opts.aux_k ? (double)t->n_dead / (double)t->opts.aux_k : 1.0);
    float factor = 2.0f / (float)t->N;
    sondep_decode_backward back = {t->rest,      t->O, factor * (float)weight, t->rest_residual, t->dead_pairs.dvalue,
                                   t->gate_error};

    *loss = 0.0;
    if (k == 0 || weight == 0.0)
        return SONDE_OK;
    /* what is left of the target: the residual without the factor of the loss */
    gather(t);
    SONDE_TRY(encode(t, k));
#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t i = 0; i < t->N * t->O; i++)
        t->rest[i] = t->outer_residual[i] * (-1.0f / factor);
    sondep_decode(NULL, &t->dead_pairs.codes, sondep_sae_at(t, t->w, SONDEP_SAE_OUT), NULL, &back, t->N, t->O);
    for (int64_t n = 0; n < t->N; n++)
        *loss += weight * t->gate_error[n] / (double)t->N;
    sondep_list_columns(&t->dead_pairs.columns, &t->dead_pairs.codes, t->N, t->S, t->scratch);
    sondep_sae_sum_pairs(t, &t->dead_pairs, true);
    for (int64_t g = 0; g < terms->n_groups; g++)
        terms->all[g][terms->n[g]++] = (sondep_feature_term){
            &t->dead_pairs.codes, &t->dead_pairs.columns, t->dead_pairs.dvalue, t->x, t->D, t->rest_residual};
    return SONDE_OK;
}
