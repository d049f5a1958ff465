/* sonde/toy.h - toy models of superposition, many side by side, and what is measured of them.      floor 8: toy
 *
 * Sparse features are squeezed into fewer hidden numbers than there are features, and brought back. From easy to hard: training, what a
 * trained model looks like, the exact loss of linear ones.
 *
 *   sonde_toy_opts o;  sonde_toy *t;
 *   sonde_toy_opts_init(&o);                      5 features in 2 numbers, one instance, ReLU
 *   sonde_toy_new(&t, &o);
 *   sonde_toy_train(t, NULL, 10000);
 *   w = sonde_toy_weights(t, 0);                  (5,2): a column of the paper's W is a row here
 *
 * Source: Elhage et al. 2022, Toy Models of Superposition (transformer-circuits.pub/2022/toy_model), and its notebook.
 */
#ifndef SONDE_TOY_H
#define SONDE_TOY_H

#include <sonde/sae.h>
#include <sonde/train.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- training --------------------------------------------------------------------------------------------------------- */

/* h = W^T x hidden, y what comes back; loss = mean over rows and features of importance (y - target)^2. */
typedef enum sonde_toy_kind {
    SONDE_TOY_LINEAR = 0,      /* y = W h + b */
    SONDE_TOY_RELU = 1,        /* y = max(W h + b, 0) */
    SONDE_TOY_RELU_HIDDEN = 2, /* h = max(W^T x, 0), y = max(W h + b, 0): hidden numbers are neurons */
    SONDE_TOY_ABSOLUTE =
        3 /* h = max(W1^T x, 0), y = max(W2 h + b, 0), target |x|, x between -1 and 1: weights are not tied */
} sonde_toy_kind;

/* How some features that follow each other are on: each by itself; all together; one of them. */
typedef enum sonde_toy_together {
    SONDE_TOY_ALONE = 0,
    SONDE_TOY_ALL_OF = 1, /* correlated: all with the probability of the first, values of their own */
    SONDE_TOY_ONE_OF = 2  /* anticorrelated: with the probability of the first one of them, each as often */
} sonde_toy_together;

typedef struct sonde_toy_set {
    int64_t kind, first, n; /* a sonde_toy_together; features first .. first + n */
} sonde_toy_set;

/* How models are trained. The instances differ in probabilities, importances and random numbers alone. */
typedef struct sonde_toy_opts {
    size_t struct_size;
    int64_t kind, n_features, n_hidden, n_instances;
    const double *probability; /* (instances, features) of being on, above 0 and at most 1; NULL: 1 */
    const double *importance;  /* (instances, features), not below 0; NULL: 1 */
    const sonde_toy_set *sets; /* in order, covering all features; NULL: each by itself */
    int64_t n_sets;
    int64_t batch;    /* rows of a step, a multiple of 128 */
    int64_t steps;    /* of the whole training, which the schedule needs */
    double lr, decay; /* of AdamW; the paper's notebook has torch's default decay, 0.01 */
    int64_t schedule; /* a sonde_schedule; no warm-up */
    uint64_t seed;
} sonde_toy_opts;

/* The defaults: the paper's, for 5 features in 2 numbers: 10,000 steps of 1,024 rows, 1e-3, constant. Owns: nothing. Errors: none. */
SONDE_API void sonde_toy_opts_init(sonde_toy_opts *out);

typedef struct sonde_toy sonde_toy;

/* Models at step 0: W normal with variance 2 / (n + m) (Xavier), b 0.
 *
 * Owns: *out is yours: sonde_toy_free; copies the options. Errors: SONDE_E_ARG (an option, which is named), SONDE_E_RANGE, SONDE_E_NOMEM. *out is NULL then.
 * Source: the paper's notebook. */
SONDE_API sonde_status sonde_toy_new(sonde_toy **out, const sonde_toy_opts *opts) SONDE_MUST_USE;
SONDE_API void sonde_toy_free(sonde_toy *toy);

/* n_steps more steps of every instance: draws, forward, back, AdamW.
 *
 * losses   (instances) mean loss of these steps; or NULL
 *
 * Owns: nothing. Threads: an instance is one thread's; bytes do not depend on their number, nor on the other instances.
 * Cost: 10 n m flops a row. Errors: SONDE_E_STATE (more than all steps), SONDE_E_NONFINITE (which instance), SONDE_E_INTERRUPTED (instances are at different
 * steps then: nothing but freeing is left), SONDE_E_NOMEM.
 * Source: Elhage et al. 2022. Reference: kernel/ref/toy.c, tests/oracle/toy_live.py. */
SONDE_API sonde_status sonde_toy_train(sonde_toy *toy, double *losses, int64_t n_steps) SONDE_MUST_USE;

/* Mean loss of every instance over n_rows new rows (rounded up to 128), the same for all. Owns: nothing. Errors: SONDE_E_NOMEM. */
SONDE_API sonde_status sonde_toy_losses(double *out, const sonde_toy *toy, int64_t n_rows) SONDE_MUST_USE;

/* Steps done; the options it works with; weights of an instance: (n,m) the way in and the way out, which are the same array where they are
 * tied, and (n) the bias. Writable: a caller may put weights there. Owns: borrowed, valid while the models live. Errors: none. */
SONDE_API int64_t sonde_toy_steps(const sonde_toy *toy);
SONDE_API const sonde_toy_opts *sonde_toy_get_opts(const sonde_toy *toy);
SONDE_API float *sonde_toy_weights(sonde_toy *toy, int64_t instance);
SONDE_API float *sonde_toy_weights_out(sonde_toy *toy, int64_t instance);
SONDE_API float *sonde_toy_bias(sonde_toy *toy, int64_t instance);

/* ---- what a model looks like ------------------------------------------------------------------------------------------- */

/* What each feature has of the hidden numbers. w (n,m): rows W_i; all out (n).
 *
 * norms            |W_i|
 * interference     sum over j other than i of (W_i / |W_i| . W_j)^2
 * dimensionality   |W_i|^2 / sum over all j of (W_i / |W_i| . W_j)^2; 0 where |W_i| is 0
 *
 * Owns: nothing; each may be NULL. Errors: none. Source: Elhage et al. 2022, "Feature dimensionality". */
SONDE_API void sonde_toy_features(double *norms, double *interference, double *dimensionality, const float *w, int64_t n,
                                  int64_t m);

/* Hidden numbers for each feature that is there: m / |W|_F^2 (infinite for W = 0). Owns: nothing. Errors: none. Source: as above, D*. */
SONDE_API double sonde_toy_dimensions_each(const float *w, int64_t n, int64_t m);

/* Shapes that features lie in, as components of the graph in which W_i and W_j are joined where |W_i . W_j| is not small. */
typedef enum sonde_toy_shape {
    SONDE_TOY_NO_SHAPE = 0,
    SONDE_TOY_ALONE_SHAPE = 1, /* one feature, a dimension of its own */
    SONDE_TOY_DIGON = 2,       /* an antipodal pair: 1/2 */
    SONDE_TOY_TRIANGLE = 3,    /* 2/3 */
    SONDE_TOY_TETRAHEDRON = 4, /* 3/4 */
    SONDE_TOY_PENTAGON = 5,    /* 2/5 */
    SONDE_TOY_ANTIPRISM = 6,   /* square antiprism: eight in three, 3/8 */
    SONDE_TOY_N_SHAPES = 7
} sonde_toy_shape;

/* Its name ("pentagon") and the dimensionality of its features. Owns: borrowed for ever. Errors: none. */
SONDE_API const char *sonde_toy_shape_name(sonde_toy_shape shape);
SONDE_API double sonde_toy_shape_fraction(sonde_toy_shape shape);

/* Components of a model's features, and their shapes, from W W^T alone: cosines must be those of the shape within `tolerance`, and lengths equal within it;
 * features shorter than `shortest` belong to none.
 *
 * component   (n) number of each feature's component, in order of their first features; -1: none
 * shapes      (n) of each component
 * returns     how many components there are
 *
 * Owns: nothing. Errors: none. */
SONDE_API int64_t sonde_toy_components(int64_t *component, sonde_toy_shape *shapes, const float *w, int64_t n, int64_t m,
                                       double join, double shortest, double tolerance);

/* ---- exact losses ---------------------------------------------------------------------------------------------------------- */

/* The expected loss of a linear model, over independent features that are uniform between 0 and 1 with probability p_i and else 0, without sampling:
 *
 *   1/n sum_i I_i ( var_i + mean_i^2 ),   y_i - x_i = sum_j (W W^T - 1)_ij x_j + b_i
 *
 * Owns: nothing. Errors: none. Source: E[x] = p/2, E[x^2] = p/3. */
SONDE_API double sonde_toy_linear_loss(const float *w, const float *b, const double *probability, const double *importance,
                                       int64_t n, int64_t m);

/* The least that a linear model can have: the m features with the largest I_i (p_i/3 - p_i^2/4) have a dimension each, the others their mean.
 * Owns: nothing. Errors: SONDE_E_NOMEM. Source: PCA of independent features. */
SONDE_API sonde_status sonde_toy_pca_loss(double *out, const double *probability, const double *importance, int64_t n,
                                          int64_t m) SONDE_MUST_USE;

/* ---- planted dictionaries ------------------------------------------------------------------------------------------------------- */

/* Rows whose features are known: sums of directions that are planted, to see whether an autoencoder finds them. */
typedef struct sonde_planted_opts {
    size_t struct_size;
    int64_t n_features, width;
    const double *probability; /* (n) of being on, above 0 and at most 1; NULL: 0.05 */
    const double *mean;        /* (n) of a feature's size where it is on; NULL: 1 */
    const double *deviation;   /* (n) of the same, which is normal, below 0 counts as 0; NULL: 0.15 */
    const sonde_toy_set *sets; /* correlations, as of toy models; NULL: each by itself */
    int64_t n_sets;
    const int64_t
        *parent;  /* (n) a feature without which this one is never on, which comes before it; -1: none; NULL: no parents */
    double noise; /* deviation of what is added to each number of a row */
    uint64_t seed;
} sonde_planted_opts;

/* The defaults: 128 features in 64 numbers. Owns: nothing. Errors: none. */
SONDE_API void sonde_planted_opts_init(sonde_planted_opts *out);

typedef struct sonde_planted sonde_planted;

/* Random directions of length 1. Owns: *out is yours: sonde_planted_free; copies the options. Errors: SONDE_E_ARG, SONDE_E_NOMEM. *out is NULL then. */
SONDE_API sonde_status sonde_planted_new(sonde_planted **out, const sonde_planted_opts *opts) SONDE_MUST_USE;
SONDE_API void sonde_planted_free(sonde_planted *planted);

/* The directions (n, width). Owns: borrowed. Errors: none. */
SONDE_API const float *sonde_planted_directions(const sonde_planted *planted);

/* Rows first .. first + n_rows: x = sum_i features_i direction_i + noise. A row depends on the seed and its number alone.
 *
 * x          (n_rows, width)
 * features   (n_rows, n) what they are made of; or NULL
 *
 * Owns: nothing. Threads: bytes do not depend on their number. Errors: SONDE_E_NOMEM. */
SONDE_API sonde_status sonde_planted_rows(float *x, float *features, const sonde_planted *planted, int64_t first,
                                          int64_t n_rows) SONDE_MUST_USE;

/* How well an autoencoder found them. */
typedef struct sonde_planted_score {
    double mcc;             /* mean |cosine| of decoder rows and directions under the best matching of one to one */
    double mean_max_cosine; /* of each direction with the nearest decoder row */
    double uniqueness;      /* directions that are nearest to some decoder row, over the number of decoder rows */
    /* of each autoencoder's feature as a sign that the planted one nearest to it is on; means over features */
    double precision, recall, f1, accuracy;
    double shrinkage;   /* mean |y| / |x| of rows */
    double true_l0, l0; /* planted features of a row, and the autoencoder's */
    double explained_variance;
    int64_t n_dead; /* features that are never on */
} sonde_planted_score;

/* All of the scores, over rows first .. first + n_rows.
 *
 * Owns: nothing. Errors: SONDE_E_SHAPE (an autoencoder of another width), SONDE_E_NOMEM, those of sonde_sae_encode.
 * Source: sae_lens 6.54.12, synthetic/evals.py. Reference: tests/oracle/toy_live.py. */
SONDE_API sonde_status sonde_planted_evaluate(sonde_planted_score *out, const sonde_planted *planted, const sonde_sae *sae,
                                              int64_t first, int64_t n_rows) SONDE_MUST_USE;

/* Rows of a (na,d) and b (nb,d), each with one of the other at most, so that the sum of |cosines| is largest.
 *
 * match   (na) row of b; -1: none is left
 * mcc     mean |cosine| of the pairs
 *
 * Owns: nothing. Cost: min(na,nb)^2 max(na,nb). Errors: SONDE_E_NOMEM. Source: Kuhn 1955; Jonker and Volgenant 1987. */
SONDE_API sonde_status sonde_match_directions(double *mcc, int64_t *match, const float *a, int64_t na, const float *b,
                                              int64_t nb, int64_t d) SONDE_MUST_USE;

/* ---- experiments ------------------------------------------------------------------------------------------------------------- */

/* What was found beside what was wanted. */
typedef enum sonde_toy_verdict {
    SONDE_TOY_PASS = 0,
    SONDE_TOY_FAIL = 1,
    SONDE_TOY_DIFFERS = 2 /* it really is otherwise than the paper has it: the note says why */
} sonde_toy_verdict;

typedef struct sonde_toy_finding {
    int64_t verdict; /* a sonde_toy_verdict */
    char name[96], measured[200], wanted[200], note[400];
} sonde_toy_finding;

/* A file in the folder of the run, and what is to be seen in it. */
typedef struct sonde_toy_picture {
    char file[64], caption[400];
} sonde_toy_picture;

/* An experiment of the paper: its name on the command line, a title, what is done and why. */
typedef struct sonde_toy_experiment {
    const char *name, *title, *about;
} sonde_toy_experiment;

/* Experiment i, from 0 on; NULL behind the last. Owns: borrowed for ever. Errors: none. */
SONDE_API const sonde_toy_experiment *sonde_toy_experiment_at(int64_t i);

/* What is looked at while models train: behind some steps, with the mean losses of these. Anything but SONDE_OK ends the run, and is handed on. */
typedef sonde_status sonde_toy_watch_fn(sonde_toy *toy, const double *losses, void *ctx);

/* How an experiment is run. 0 is the experiment's own: sizes, steps, grids and restarts that take minutes on a laptop, or with is_paper those of the
 * paper. */
typedef struct sonde_toy_run_opts {
    size_t struct_size;
    int64_t n_features, n_hidden, n_instances, steps, batch, restarts, grid;
    double lr, density;
    double decay; /* of AdamW; below 0: the experiment's own */
    uint64_t seed;
    int64_t is_paper;
    const char *ending;        /* of pictures: ".png" (NULL), ".svg", ".pdf" */
    int64_t watch_every;       /* steps */
    sonde_toy_watch_fn *watch; /* NULL: nobody looks */
    void *ctx;
    double importance;  /* factor by which importances fall from feature to feature */
    int64_t schedule;   /* a sonde_schedule; below 0: the experiment's own */
    int64_t is_lenient; /* what an experiment has no use for is left out instead of refused: for runs of several */
} sonde_toy_run_opts;

/* The defaults. Owns: nothing. Errors: none. */
SONDE_API void sonde_toy_run_opts_init(sonde_toy_run_opts *out);

/* What came of a run: findings, pictures, and its numbers as JSON ("schema": "sonde.toy/1"). */
typedef struct sonde_toy_result sonde_toy_result;

/* Runs an experiment; pictures go to `folder`, which must be there.
 *
 * Owns: *out is yours: sonde_toy_result_free. Threads: results do not depend on their number.
 * Errors: SONDE_E_NOTFOUND (no experiment of this name: there are ..), SONDE_E_ARG, those of sonde_toy_train and of pictures. *out is NULL then.
 * Source: Elhage et al. 2022. */
SONDE_API sonde_status sonde_toy_run(sonde_toy_result **out, const char *name, const char *folder,
                                     const sonde_toy_run_opts *opts) SONDE_MUST_USE;
SONDE_API void sonde_toy_result_free(sonde_toy_result *result);

/* Its experiment; its findings and pictures, how many; its numbers as a JSON text; what was set ("5 features in 2 numbers, ..").
 * Owns: borrowed, valid while the result lives. Errors: none. */
SONDE_API const sonde_toy_experiment *sonde_toy_result_experiment(const sonde_toy_result *result);
SONDE_API const sonde_toy_finding *sonde_toy_result_findings(const sonde_toy_result *result, int64_t *n);
SONDE_API const sonde_toy_picture *sonde_toy_result_pictures(const sonde_toy_result *result, int64_t *n);
SONDE_API const char *sonde_toy_result_json(const sonde_toy_result *result);
SONDE_API const char *sonde_toy_result_setup(const sonde_toy_result *result);

#ifdef __cplusplus
}
#endif
#endif
