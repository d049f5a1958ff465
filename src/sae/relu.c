/* relu.c - standard autoencoders: f = max(v, 0); and p-annealing, which trains the same ones.    floor 7: sae
 *
 *   standard   l1 sum f |d_s| (2023: decoder rows have length 1);   dv = (df + l1 |d_s|) where f > 0
 *   panneal    l1 sum f^p;                                          dv = (df + l1 p f^(p-1)) where f > 0
 *
 * Over the second part of the training p goes down in ten steps; at each the weight changes, so that the penalty stays what it was
 * on average over the last ten steps of training.
 *
 * Sources: Bricken et al. 2023; Conerly et al. 2024; Karvonen et al. 2024, arXiv 2408.00113, section 4, as dictionary_learning's
 * PAnnealTrainer computes it with sparsity_function "Lp^p".
 */
#include "sae/trainer.h"

#include <math.h>

/* In place: pre-activations are not needed any more. */
sonde_status sondep_sae_relu(const sondep_sae_rows *r)
{
    sondep_activate(r->v, r->v, SONDEP_ACT_RELU, r->N * r->sae->config.d_sae);
    return SONDE_OK;
}

/* May be in place. */
void sondep_sae_relu_activate(const sonde_sae_trainer *t, const sondep_sae_row *row)
{
    (void)t;
    for (int64_t i = 0; i < row->n; i++)
        row->value[i] = row->h[i] > 0.0f ? row->h[i] : 0.0f;
}

/* The sum of f norm; dvalue becomes the gradient by h. Inlined twice, so that all features in order are taken several at a time. */
static inline double relu_back(const sondep_sae_row *row, const int32_t *index, const float *restrict norms, float share)
{
    const float *restrict value = row->value;
    float *restrict dvalue = row->dvalue;
    double sums[4] = {0.0};

    for (int64_t i = 0; i < row->n; i++) {
        float by_value = dvalue[i] + share * norms[index != NULL ? index[i] : i];
        dvalue[i] = value[i] > 0.0f ? by_value : 0.0f;
    }
    /* four sums: one would wait for itself at each addition */
    for (int64_t i = 0; i < row->n; i++)
        sums[i % 4] += (double)(value[i] * norms[index != NULL ? index[i] : i]);
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/* Where decoder rows have length 1, the penalty is of features alone. */
double sondep_sae_relu_back(const sonde_sae_trainer *t, const sondep_sae_row *row)
{
    const float *norms = t->rule->is_unit ? t->ones : t->norms;
    double weight = sondep_sae_coefficient(t);
    float share = (float)(weight / (double)t->N);

    return weight * (row->index != NULL ? relu_back(row, row->index, norms, share) : relu_back(row, NULL, norms, share));
}

/* ---- p-annealing ---------------------------------------------------------------------------------------------------------- */

/* Both powers, since the weight that comes with the next exponent needs them. */
double sondep_sae_panneal_back(const sonde_sae_trainer *t, const sondep_sae_row *row)
{
    double weight = sondep_sae_coefficient(t), p = t->anneal.p, sum = 0.0, next = 0.0;

    for (int64_t i = 0; i < row->n; i++) {
        double f = row->value[i], power;
        if (!(f > 0.0)) {
            row->dvalue[i] = 0.0f;
            continue;
        }
        power = pow(f, p);
        sum += power;
        next += t->anneal.next_p > 0.0 ? pow(f, t->anneal.next_p) : 0.0;
        row->dvalue[i] += (float)(weight / (double)t->N * p * power / f);
    }
    t->next_penalty[row->number] = next;
    t->plain_penalty[row->number] = sum;
    return weight * sum;
}

/* Number i of the exponents. */
static double exponent(const sonde_sae_trainer *t, int64_t i)
{
    return 1.0 + (t->opts.last_p - 1.0) * (double)i / (double)(SONDEP_SAE_DOWN - 1);
}

/* The step behind which number i of them begins: they divide what follows the beginning of the annealing. */
static int64_t step_down(const sonde_sae_trainer *t, int64_t i)
{
    int64_t first = t->opts.anneal_start > 0 ? t->opts.anneal_start : (t->opts.steps + 4) / 5, left = t->opts.steps - first;

    return first + (int64_t)((double)left * (double)i / (double)(SONDEP_SAE_DOWN - 1));
}

/* The weight under which the next exponent's penalty is as large as this one's. */
static double rescaled(const sondep_sae_anneal *a)
{
    int64_t n = a->n_seen < SONDEP_SAE_SEEN ? a->n_seen : SONDEP_SAE_SEEN;
    double now = 0.0, next = 0.0;

    for (int64_t i = 0; i < n; i++) {
        now += a->now[i];
        next += a->next[i];
    }
    return next > 0.0 ? a->weight * now / next : a->weight;
}

/* What the step saw belongs to the exponent that it had; a new one begins with the next step. */
void sondep_sae_step_anneal(sonde_sae_trainer *t)
{
    sondep_sae_anneal *a = &t->anneal;
    double now = 0.0, next = 0.0;

    for (int64_t n = 0; n < t->N; n++) {
        now += t->plain_penalty[n] / (double)t->N;
        next += t->next_penalty[n] / (double)t->N;
    }
    if (a->next_p > 0.0) {
        a->now[a->n_seen % SONDEP_SAE_SEEN] = now;
        a->next[a->n_seen++ % SONDEP_SAE_SEEN] = next;
    }
    /* one at a time, since only the next one's penalty was seen: where there are fewer steps than exponents, they come late */
    if (a->n_done >= SONDEP_SAE_DOWN || t->step < step_down(t, a->n_done))
        return;
    if (a->next_p > 0.0)
        a->weight = rescaled(a);
    a->p = exponent(t, a->n_done++);
    a->next_p = exponent(t, a->n_done < SONDEP_SAE_DOWN ? a->n_done : SONDEP_SAE_DOWN - 1);
}
