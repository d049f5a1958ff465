/* toy/toy.h - toy models from the inside.                                      floor 8: toy
 *
 * Instances lie one behind another in every block, each as a whole: weights, what AdamW keeps of them, probabilities, generators. What the
 * kernels take (floats, integers of 31 bits) is made once from what the caller gave (doubles), which is kept for whoever asks.
 */
#ifndef SONDEP_TOY_H
#define SONDEP_TOY_H

#include <sonde/toy.h>

#include "kernel/kernel.h"
#include "layer/optimizer.h"

struct sonde_toy {
    sonde_toy_opts opts; /* lists of its own */
    double *probability, *importance_of;
    sonde_toy_set *own_sets;
    int64_t n, m, I;
    int64_t n_weights; /* of an instance: W_in (n,m) | W_out (n,m), unless tied | b (n) */
    bool is_tied;
    int64_t step;
    sondep_schedule schedule;
    float *w, *moments, *squares; /* (I, n_weights) */
    float *importance, *scale;    /* (I, n) */
    int32_t *bar;                 /* (I, n) */
    sondep_toy_set *sets;
    int64_t n_sets;
    uint32_t *state; /* (I, 4 lanes) of the draws */
};

/* |cosine| of each row of a with each of b: out (na,nb); 0 for rows of zeros, and for those that are not finite. */
void sondep_toy_cosines(double *out, const float *a, int64_t na, const float *b, int64_t nb, int64_t d);

#endif
