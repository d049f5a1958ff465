/* train/lm.h - a trainer of language models from the inside.                   floor 6: train */
#ifndef SONDEP_TRAIN_LM_H
#define SONDEP_TRAIN_LM_H

#include <sonde/train.h>

#include "layer/optimizer.h"
#include "model/backward.h"

/* Tokens of a few contexts as the pass takes them: sequences that begin at separators, rows without padding. */
typedef struct sondep_lm_batch {
    int64_t capacity;                                   /* rows */
    int64_t *ids, *position, *target, *offset, *n_keys; /* one block, which `ids` owns */
    double *loss;
    int32_t *context; /* (T+1) */
    sondep_batch rows;
} sondep_lm_batch;

struct sonde_lm_trainer {
    sonde_model *model;
    const sonde_corpus *corpus;
    sonde_contexts contexts;
    sonde_lm_opts opts;
    sondep_optimizer optimizer;
    sondep_schedule schedule;
    sondep_parameter *parameters;
    int64_t n_parameters; /* entries of the table */
    int64_t step;         /* steps done */

    float *gradients, *m, *v; /* blocks as large as the model's */
    size_t block_bytes;
    void *optimizer_scratch;
    size_t optimizer_bytes;

    sondep_lm_batch batch;
    sondep_tape *tape; /* (L + 1) */
    uint8_t *wanted;   /* for each hook point: nobody listens */
    sondep_hooks hooks;
    sondep_prediction prediction;
    sondep_rope_table rope;
    sondep_arena arena;
};

/* The caller's options over the defaults, within their bounds, with what is left to us chosen (but for decay_steps, which
 * follows `steps`). Errors: SONDE_E_ARG. */
sonde_status sondep_lm_opts_read(sonde_lm_opts *out, const sonde_lm_opts *opts, const sonde_config *config);

/* Whether a model has the ids of a corpus. Errors: SONDE_E_RANGE (both vocabularies). */
sonde_status sondep_lm_check_vocab(const sonde_model *model, const sonde_corpus *corpus);

/* Room for n rows. Errors: SONDE_E_NOMEM. */
sonde_status sondep_lm_batch_make(sondep_lm_batch *out, int64_t n_rows, int64_t context);
void sondep_lm_batch_release(sondep_lm_batch *batch);

/* Empties it; adds n ids, each of which predicts the next (n + 1 are read), cut into sequences before each `separator`. */
void sondep_lm_batch_clear(sondep_lm_batch *batch);
void sondep_lm_batch_add(sondep_lm_batch *batch, const int32_t *ids, int64_t n, int64_t separator);

/* The table of a trainable model's parameters. Owns: *out is the caller's: sondep_free. */
sonde_status sondep_lm_parameters(sondep_parameter **out, int64_t *n, const sonde_model *model);

#endif
