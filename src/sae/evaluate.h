/* sae/evaluate.h - an evaluation that is going on.                              floor 7: sae */
#ifndef SONDEP_SAE_EVALUATE_H
#define SONDEP_SAE_EVALUATE_H

#include "sae/score.h"

#include "run/run.h"

/* Rows that are encoded at a time. */
enum { SONDEP_SAE_EVAL_BLOCK = 256 };

/* What stands at the output's hook point in a pass. */
typedef enum sondep_sae_change { AS_IT_IS = -1, SPLICED, ZERO, MEAN, N_CHANGES } sondep_sae_change;

/* A row of the present batch. */
typedef struct sondep_sae_row {
    int64_t text, target; /* the token that it should predict; -1: its loss does not count */
    bool is_left_out;
} sondep_sae_row;

/* One of the autoencoders. */
typedef struct sondep_sae_subject {
    const sonde_sae *sae;
    sonde_sae bare; /* with batch_topk: the same without thresholds; its parts are those of sae */
    sonde_sae_coder *coder;
    float *y;                      /* measured rows of the batch, reconstructed */
    double *sums;                  /* (n_texts,N_SUMS) */
    sonde_sae_feature *of_feature; /* (S) or NULL; the caller's */
    int64_t *last_text;            /* (S) the last text in which a feature fired, and one more */
} sondep_sae_subject;

typedef struct sondep_sae_evaluation {
    sondep_sae_subject *subjects;
    int64_t n_subjects;
    const sondep_sae_subject *spliced; /* of the present pass */
    const sonde_sae_texts *texts;
    sonde_sae_eval_opts opts;
    int64_t D, O, S, V; /* S: the most of all */
    sonde_run *run;
    char *in, *out; /* names of the hook points; owned */
    bool is_same;   /* one point: what is read is what is written */

    int64_t longest, n_rows, n_measured, B, T; /* room; rows of the batch; the batch */
    int32_t *tokens;                           /* (longest) padded */
    int64_t *lengths;
    sondep_sae_row *rows;
    float *x, *target; /* measured rows; target is x where is_same */
    float *features;   /* (SONDEP_SAE_EVAL_BLOCK,S), with batch_topk (longest,S) */
    double *row_sums;  /* (SONDEP_SAE_EVAL_BLOCK,N_SUMS) */
    sondep_sae_change change;

    float *clean;                 /* (rows,V) probabilities of the clean pass */
    double *clean_part, *ce, *kl; /* (rows) sum p log p of it; the present pass */
    double *log_sum_exp;          /* (rows) of the present pass */
    double *mean;                 /* (O) */

    sonde_sae_progress_fn *progress;
    void *ctx;
    int64_t n_done, n_to_do;
} sondep_sae_evaluation;

/* Subjects, options, hook points, the run and all room of an evaluation of n autoencoders whose texts are set already.
 * Owns: what was made is freed by sondep_sae_evaluation_close, also where it fails. */
sonde_status sondep_sae_evaluation_open(sondep_sae_evaluation *e, const sonde_model *model, const sonde_sae *const *saes,
                                        sonde_sae_feature *const *features, int64_t n, const sonde_sae_eval_opts *opts);
void sondep_sae_evaluation_close(sondep_sae_evaluation *e);

#endif
