/* sae/trainer.h - training of autoencoders from the inside.                    floor 7: sae
 *
 * Rows of the encoder and of the decoder are features (kernel.h, "sparse codes"). A step is a pass over rows, which leaves terms of
 * the features' gradients, and then a pass over features, which forms each gradient and uses it at once. Rows go one of two ways:
 *
 *   codes   the encoder keeps pairs (feature, h) of each row, and everything behind it works on pairs
 *   dense   where too many features are on, blocks of rows by all features, whose gradients are summed in matrices
 *
 * Both call the same rule of the architecture for each row: h to f, and the gradient by f to that by h.
 */
#ifndef SONDEP_SAE_TRAINER_H
#define SONDEP_SAE_TRAINER_H

#include "sae/sae.h"

#include "layer/optimizer.h"

enum {
    SONDEP_SAE_VECTORS = 3, /* parameters with one number a feature, at most */
    SONDEP_SAE_TERMS = 18,  /* of gradients: groups of features, and that of dead ones */
    SONDEP_SAE_GROUPS = 16,
    SONDEP_SAE_SEEN = 10, /* steps over which panneal looks at its penalty, */
    SONDEP_SAE_DOWN = 10  /* and steps that its exponent takes */
};

/* All parameters, in the order in which they lie in a block. Which there are, the architecture says. */
typedef enum sondep_sae_parameter {
    SONDEP_SAE_IN,  /* (S,D) */
    SONDEP_SAE_OUT, /* (S,O) */
    SONDEP_SAE_VECTOR,
    SONDEP_SAE_B_DEC = SONDEP_SAE_VECTOR + SONDEP_SAE_VECTORS, /* (O) */
    SONDEP_SAE_SKIP,                                           /* (O,D) */
    SONDEP_N_SAE_PARAMETERS
} sondep_sae_parameter;

/* One row on its way through an architecture. Everything has n numbers; of codes, those of the features that `index` names, which is
 * NULL where they are all features in order. */
typedef struct sondep_sae_row {
    int64_t number; /* of the row in the step */
    const int32_t *index;
    const float *h;
    float *value;                     /* features; may be h where they are the same */
    float *gate;                      /* a second reconstruction's; NULL: there is none */
    float *dvalue, *dgate;            /* by them; dvalue becomes the gradient by h */
    float *extra[SONDEP_SAE_VECTORS]; /* what else is summed over rows, for each feature */
    int64_t n;
} sondep_sae_row;

/* What is summed over all rows, for each feature. */
typedef enum sondep_sae_sum {
    SONDEP_SAE_SUM_DH,    /* gradient by h */
    SONDEP_SAE_SUM_VALUE, /* features */
    SONDEP_SAE_SUM_GATE,
    SONDEP_SAE_SUM_EXTRA,
    SONDEP_N_SAE_SUMS = SONDEP_SAE_SUM_EXTRA + SONDEP_SAE_VECTORS
} sondep_sae_sum;

/* How an architecture is trained. */
typedef struct sondep_sae_rule {
    const char *vectors[SONDEP_SAE_VECTORS + 1];    /* their names in SAELens, ending with NULL */
    sondep_sae_sum gradients[SONDEP_SAE_VECTORS];   /* each one's gradient */
    bool is_topk, is_batch, is_absolute, is_nested; /* chosen by size: of a row, of a batch, by |h|, in groups */
    bool keeps_h;                                   /* features are written elsewhere than over h */
    bool has_gate;                                  /* a second reconstruction */
    bool is_unit;                                   /* decoder rows have length 1, and gradients nothing along them */
    int n_extras;
    bool has_means; /* the penalty is one of features' means over the rows of a step; and both matrices have an L1 penalty */
    bool lifts;     /* pre_act may lift dead features to their thresholds */
    bool has_pull;  /* the penalty grows with the decoder's rows: pull[s] = sum of .. */
    sondep_sae_sum pull;                                                     /* .. this, over |d_s| */
    void (*activate)(const sonde_sae_trainer *t, const sondep_sae_row *row); /* NULL: f = h */
    double (*back)(const sonde_sae_trainer *t, const sondep_sae_row *row);   /* returns the penalty of the row; NULL: none */
} sondep_sae_rule;

/* How the exponent of panneal goes: in steps from 1 to the last, and the weight with it, so that the penalty stays as large. */
typedef struct sondep_sae_anneal {
    double p, next_p;                                   /* next_p: what it will be; 0: not known yet */
    double weight;                                      /* of the penalty, as a share of l1 */
    int64_t n_done;                                     /* of the steps down */
    int64_t n_seen;                                     /* of the pairs below */
    double now[SONDEP_SAE_SEEN], next[SONDEP_SAE_SEEN]; /* sum f^p of the last steps, with both */
} sondep_sae_anneal;

/* The step size goes down where the loss does not. */
typedef struct sondep_sae_plateau {
    double share;  /* of the schedule's step size */
    double best;   /* mean loss of the best window of steps so far */
    double sum;    /* of this window's losses, */
    int64_t n;     /* and how many there are */
    int64_t n_bad; /* windows since the best */
} sondep_sae_plateau;

/* A list of pairs and what belongs to it. */
typedef struct sondep_sae_pairs {
    sondep_codes codes; /* value: features */
    float *h, *dvalue;  /* (N,capacity) */
    float *gate, *dgate, *extra[SONDEP_SAE_VECTORS];
    sondep_columns columns;
} sondep_sae_pairs;

struct sonde_sae_trainer {
    sonde_sae_train_opts opts;
    const sondep_sae_rule *rule;
    sondep_schedule schedule;
    int64_t D, S, O, N; /* N: rows of a step */
    int64_t groups[SONDEP_SAE_GROUPS], n_groups;
    bool is_transcoder, ties_bias;
    sonde_sae_normalization normalization; /* of each row */

    /* the state */
    int64_t step;
    int64_t first[SONDEP_N_SAE_PARAMETERS + 1]; /* where parameters lie in a block */
    float *w, *m, *v;                           /* blocks */
    size_t block_bytes;
    int64_t *silent;         /* (S) steps since a feature was on */
    double threshold, least; /* of BatchTopK: mean of the smallest key of a batch, from 0 on; that of this one */
    double threshold_weight; /* what that mean has of keys: the rest is the 0 that it began with */
    sondep_sae_anneal anneal;
    sondep_sae_plateau plateau;
    double control;             /* of the penalty: a share of the weight that was asked for, moved towards target_l0, */
    double log_l0;              /* and the mean of log L0 of late */
    bool is_dense;              /* the way of the next step */
    double scale_in, scale_out; /* of rows; out: of a transcoder's y, else as scale_in */
    double *mean, *whiten, *unwhiten; /* (D), (D,D), (D,D), one block: x' = (x - mean) whiten; NULL: not whitened */

    /* room for a step */
    sondep_arena arena;
    int threads;   /* that the room of products is for */
    float *scaled; /* (N,D) rows in the scale of the training */
    float *target; /* (N,O) what features are to give: `scaled`, or that of a transcoder without what W_skip gives */
    float *x;      /* (N,D) what is encoded: `scaled`, or that without b_dec */
    float *residual, *gate_residual;      /* (N,O) gradients by the reconstructions */
    float *rest, *rest_residual;          /* (N,O) what is left for dead features, and their residual */
    float *whitening, *centred;           /* (D,D), (N,D) */
    float *all_residual, *outer_residual; /* views: by b_dec, and by the reconstruction from all features */
    double *error, *gate_error;           /* (N) |y - t|^2 of the reconstruction, and of a second one */
    double inner;                         /* losses of groups but the last */
    double *penalty;                      /* (N) with its weight */
    double *plain_penalty, *next_penalty; /* (N) of panneal: sum f^p without it, and with the exponent to come */
    int64_t *found;                       /* (N) */
    int64_t *n_on;                        /* (N) features of a row */
    int64_t capacity; /* pairs of a row that room was asked for; 0: as many as the architecture needs as a rule */
    sondep_sae_pairs pairs, dead_pairs;
    sondep_codes gate_codes;                  /* the pairs, with values of their gates */
    sondep_codes group;                       /* (N,capacity) the pairs of one group of features */
    float *group_dvalue;                      /* (N,capacity) */
    float *group_residual[SONDEP_SAE_GROUPS]; /* (N,O) */
    float *keys;                              /* (N,capacity) of a batch */
    float *pursued;                           /* (block * k, O) gradients of pairs, of matching pursuit */
    float *products, *gram;                   /* (block,S), (S,S) or NULL: of matching pursuit */
    int64_t *order;                           /* (block) rows that go on */
    float *norms;                             /* (S) lengths of decoder rows */
    float *exp_r;                             /* (S) of gated: exp(r_mag) */
    double *column;                           /* (2 O) sums of a column, and of its squares */
    float *ones;                              /* (S) */
    float *pull;                              /* (S) */
    float *no_bar;                            /* (S) -inf */
    float *bar;                               /* (S) what keys must be above */
    double *sums[SONDEP_N_SAE_SUMS];          /* (S) */
    double *means;                            /* (S) of kl: sums over rows, */
    float *slopes;                            /* (S) gradients of the penalty by a feature of a row, */
    double of_features;                       /* and the penalty itself */
    double *below;                            /* (S) with pre_act: sum of how far a dead feature was below its threshold */
    int64_t *fired;                           /* (S) rows in which a feature is on */
    float *gradient; /* of what is no row of a feature: vectors, b_dec, skip, as they lie in a block */
    int32_t *dead;   /* (S) the dead ones */
    int64_t n_dead;
    float *dead_rows, *dead_bias, *dead_norms; /* their encoders, side by side */
    int64_t block;                             /* rows at a time, of the dense way */
    float *dense_h, *dense_value, *dense_gate, *dense_dvalue, *dense_dgate, *dense_extra[SONDEP_SAE_VECTORS];
    float *dense_in, *dense_out; /* (S,D), (S,O) gradients */
    sondep_codes one_each;       /* a pair for each feature: gradients that are matrices, as a term */
    sondep_columns one_each_columns;
    void *scratch;
    size_t scratch_bytes;
};

/* ---- options ------------------------------------------------------------------------------------------------------------ */

/* The caller's options over the defaults, within their bounds, with what is left to us chosen. Errors: SONDE_E_ARG. */
sonde_status sondep_sae_opts_read(sonde_sae_train_opts *out, const sonde_sae_train_opts *opts);

/* The weight of the penalty as it was asked for. */
double sondep_sae_penalty_weight(const sonde_sae_train_opts *opts);

/* How each architecture of sonde_sae_arch is trained. */
extern const sondep_sae_rule sondep_sae_rules[];

/* Rules' functions: features of a row, and the way back of a row. */
typedef void sondep_sae_activate_fn(const sonde_sae_trainer *t, const sondep_sae_row *row);
typedef double sondep_sae_back_fn(const sonde_sae_trainer *t, const sondep_sae_row *row);
sondep_sae_activate_fn sondep_sae_relu_activate, sondep_sae_gated_activate, sondep_sae_jumprelu_activate;
sondep_sae_back_fn sondep_sae_relu_back, sondep_sae_panneal_back, sondep_sae_gated_back, sondep_sae_jumprelu_back,
    sondep_sae_kl_back;

/* kl: the penalty from the sums of features. */
void sondep_sae_weigh_means(sonde_sae_trainer *t);

/* The feature of number i of a row. */
static inline int64_t sondep_sae_feature_of(const sondep_sae_row *row, int64_t i)
{
    return row->index != NULL ? row->index[i] : i;
}

/* ---- parameters ---------------------------------------------------------------------------------------------------------- */

/* A parameter in one of the blocks w, m, v; NULL if there is none. Its numbers; its name in SAELens. */
static inline float *sondep_sae_at(const sonde_sae_trainer *t, float *block, int parameter)
{
    return t->first[parameter + 1] > t->first[parameter] ? block + t->first[parameter] : NULL;
}
int64_t sondep_sae_count(const sonde_sae_trainer *t, int parameter);
const char *sondep_sae_parameter_name(const sonde_sae_trainer *t, int parameter);

/* The weight of the penalty in this step; what a step does to it. */
double sondep_sae_coefficient(const sonde_sae_trainer *t);
void sondep_sae_control(sonde_sae_trainer *t, const sonde_sae_train_report *report);

/* What a step with this loss does to the step size of those that follow. */
void sondep_sae_step_plateau(sonde_sae_trainer *t, double loss);

/* ---- room ------------------------------------------------------------------------------------------------------------------ */

/* Makes room for steps, or the part of it that follows the number of threads. Errors: SONDE_E_RANGE, SONDE_E_NOMEM. */
sonde_status sondep_sae_make_room(sonde_sae_trainer *t);
sonde_status sondep_sae_make_scratch(sonde_sae_trainer *t);

/* ---- rows ------------------------------------------------------------------------------------------------------------------ */

/* Rows in the scale of the training, at most N of them: to (n,D). */
void sondep_sae_scale_x(const sonde_sae_trainer *t, float *to, const float *x, int64_t n);

/* What is encoded of n <= N rows, and what they are to become. y NULL: not of a transcoder. */
void sondep_sae_prepare_rows(const sonde_sae_trainer *t, const float *x, const float *y, int64_t n);

/* Errors: SONDE_E_NONFINITE (row and column). */
sonde_status sondep_sae_check_rows(const float *x, int64_t N, int64_t width);

/* The matrix of the whitening as floats, behind a change of it. */
void sondep_sae_use_whitening(sonde_sae_trainer *t);

/* Features and errors of n <= N prepared rows, the dense way. */
void sondep_sae_forward_dense(sonde_sae_trainer *t, int64_t n);

/* ---- the way of a step ------------------------------------------------------------------------------------------------------ */

/* Terms of the gradients of all features from group to group; a term is of features first .. end. */
typedef struct sondep_sae_terms {
    sondep_feature_term all[SONDEP_SAE_GROUPS][SONDEP_SAE_TERMS];
    int64_t n[SONDEP_SAE_GROUPS];
    int64_t n_groups; /* ranges of features with terms of their own: those of the trainer's groups, or 1 */
} sondep_sae_terms;

/* Forward and back over all rows. What remains: errors, penalties and n_on of rows, residuals, sums and fired of features, the
 * gradient of b_dec by the reconstruction, terms. *is_done false (of codes): there was no room for the features that are on.
 * Errors: SONDE_E_NONFINITE. */
sonde_status sondep_sae_pass_codes(sonde_sae_trainer *t, sondep_sae_terms *terms, bool *is_done);
void sondep_sae_pass_dense(sonde_sae_trainer *t, sondep_sae_terms *terms);

/* The loss that brings dead features back, as one more term; *loss is what it adds. Errors: SONDE_E_NONFINITE. */
sonde_status sondep_sae_pass_dead(sonde_sae_trainer *t, sondep_sae_terms *terms, double *loss);

/* The same for JumpReLU: pre_act times the mean over rows of sum max(threshold - h, 0) |d_s| over dead features. */
void sondep_sae_pass_below(sonde_sae_trainer *t, sondep_sae_terms *terms, double *loss);

/* Of the pairs of all rows the k N with the largest keys stay. Returns false where a row's list was full and may lack pairs that
 * belong to them: nothing is changed then. t->least becomes the smallest key that stays (0: none did). */
bool sondep_sae_choose_batch(sonde_sae_trainer *t);

/* Reconstructions from growing groups of features, and the gradients of their pairs. */
void sondep_sae_decode_groups(sonde_sae_trainer *t, sondep_sae_terms *terms);

/* Sums of sorted pairs over rows, for each feature: those that the rule needs. Of dead features' pairs: the gradients by h alone,
 * added to what is there. */
void sondep_sae_sum_pairs(sonde_sae_trainer *t, const sondep_sae_pairs *pairs, bool is_dead);

/* What panneal does behind a step. */
void sondep_sae_step_anneal(sonde_sae_trainer *t);

/* The same for matching pursuit, whose gradients go back through the choice of features, one after another; rest_residual becomes the
 * gradient by what was encoded. Errors: SONDE_E_NONFINITE. */
sonde_status sondep_sae_pass_pursuit(sonde_sae_trainer *t, sondep_sae_terms *terms);

#endif
