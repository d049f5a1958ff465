/* kl.c - autoencoders whose features have a mean that is wanted.                 floor 7: sae
 *
 *   |y - t|^2 + kl sum over features of KL(rho | r_s) + weight-l1 (|W_enc|_1 + |W_dec|_1),   f = max(h, 0)
 *   r_s = mean over the rows of a step of f;   KL(rho | r) = rho log(rho / r) + (1 - rho) log((1 - rho) / (1 - r))
 *
 * The divergence is that of coins, defined for means between 0 and 1, and features of ReLU know no upper end: near both ends it goes on
 * along its tangent, so that a mean beyond them has a gradient, too.
 *
 * Source: Ng 2011, CS294A Lecture notes: Sparse autoencoder, whose features are sigmoids; with ReLU, what is exported is a standard
 * autoencoder with features that are exactly 0.
 */
#include "sae/trainer.h"

#include <math.h>

static const double LEAST_MEAN = 1e-6, LARGEST_MEAN = 0.999;

/* Means from sums, their penalty and its gradient by each feature of each row. */
void sondep_sae_weigh_means(sonde_sae_trainer *t)
{
    double rho = t->opts.rho, weight = sondep_sae_coefficient(t);

    t->of_features = 0.0;
    for (int64_t s = 0; s < t->S; s++) {
        double mean = t->means[s] / (double)t->N, at = fmax(LEAST_MEAN, fmin(LARGEST_MEAN, mean));
        double slope = (1.0 - rho) / (1.0 - at) - rho / at;
        t->of_features += weight * (rho * log(rho / at) + (1.0 - rho) * log((1.0 - rho) / (1.0 - at)) + slope * (mean - at));
        t->slopes[s] = (float)(weight * slope / (double)t->N);
    }
}

/* The penalty is no sum over rows: it is known already. */
double sondep_sae_kl_back(const sonde_sae_trainer *t, const sondep_sae_row *row)
{
    for (int64_t i = 0; i < row->n; i++)
        row->dvalue[i] = row->value[i] > 0.0f ? row->dvalue[i] + t->slopes[sondep_sae_feature_of(row, i)] : 0.0f;
    return 0.0;
}
