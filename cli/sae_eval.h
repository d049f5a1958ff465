/* cli/sae_eval.h - what is said of an evaluated autoencoder besides its metrics.   floor 10: cli */
#ifndef CLI_SAE_EVAL_H
#define CLI_SAE_EVAL_H

#include "cli.h"

#include <sonde/sae.h>

/* How dense features are: how many never fired, and which share fires at more than 1 % and 10 % of positions. */
typedef struct sae_density {
    int64_t n_dead, n_over_1, n_over_10;
    double total, total_over_1, total_over_10;
    int64_t bins[28]; /* of log10, from -7 in steps of a quarter */
} sae_density;

/* From how often each of S features fired. */
sae_density sae_measure_density(const sonde_sae_feature *features, int64_t S, int64_t n_positions);

/* All that an evaluation has. Borrowed. */
typedef struct sae_results {
    const char *model, *dataset;
    int64_t context;
    bool leaves_out_special;
    const sonde_sae *sae;
    const sonde_sae_report *report;
    const sonde_sae_feature *features;
} sae_results;

/* Prints JSON that SAEBench's CoreEvalOutput reads. */
sonde_status sae_print_saebench(const sae_results *r);

#endif
