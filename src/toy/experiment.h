/* toy/experiment.h - what experiments share: training, findings, pictures, numbers.      floor 8: toy
 *
 * A new experiment is a function in one of the files beside this, a line in the list of experiment.c (name, title, what is done and why), and a
 * line in the list below:
 *
 *   setting    sizes, steps and step size, quick and the paper's; sondep_toy_opts_of puts the caller's options over them
 *   train      sondep_toy_trained: all models at once, while somebody looks; sondep_toy_best chooses among restarts
 *   judge      sondep_toy_check for each finding, with what was measured and what is wanted, in words and numbers
 *   show       sondep_toy_picture_path for a file of its own, then one of plot's functions; or one of the pictures below
 *   keep       sondep_toy_put for numbers that somebody may want to draw again
 *
 * Bounds are those of the paper where it gives any. What really differs has a reason (sondep_toy_differs), and stays visible.
 */
#ifndef SONDEP_TOY_EXPERIMENT_H
#define SONDEP_TOY_EXPERIMENT_H

#include "toy/toy.h"

#include <sonde/plot.h>

#include <jansson.h>

/* One run of an experiment: its options, with nothing left to choose behind `sondep_toy_size`, and what has come of it so far. */
typedef struct sonde_toy_result {
    const sonde_toy_experiment *experiment;
    sonde_toy_run_opts opts;
    const char *folder; /* borrowed */
    sonde_toy_finding *findings;
    int64_t n_findings, room_findings;
    sonde_toy_picture *pictures;
    int64_t n_pictures, room_pictures;
    json_t *json;
    char *text;          /* of the JSON */
    sondep_string setup; /* of every training */
} sondep_toy_run;

typedef sonde_status sondep_toy_run_fn(sondep_toy_run *r);

/* The experiments, in the order of the paper. */
sondep_toy_run_fn sondep_toy_introduction, sondep_toy_basic, sondep_toy_larger, sondep_toy_phase2, sondep_toy_phase3,
    sondep_toy_uniform, sondep_toy_dimensionality, sondep_toy_geometry, sondep_toy_nonuniform, sondep_toy_correlated,
    sondep_toy_pca, sondep_toy_energy, sondep_toy_stages, sondep_toy_adversarial, sondep_toy_privileged, sondep_toy_absolute,
    sondep_toy_motif, sondep_toy_dictionary;

/* `given`, or where that is 0 what a quick run has, or with is_paper the paper's. */
int64_t sondep_toy_size(const sondep_toy_run *r, int64_t given, int64_t quick, int64_t paper);

/* `given`, or where that is 0 the experiment's own. */
double sondep_toy_real(double given, double own);

/* Options of models from those of the run: kind, sizes, steps, step size and decay as quick and paper have them. */
typedef struct sondep_toy_setting {
    int64_t kind, n, m, steps, paper_steps, batch;
    double lr, decay;
    int64_t schedule;
} sondep_toy_setting;
sonde_toy_opts sondep_toy_opts_of(const sondep_toy_run *r, const sondep_toy_setting *setting);

/* What a training is set to, into the text of the result: for those that do not train through the function below. Errors: SONDE_E_NOMEM. */
sonde_status sondep_toy_note_setup(sondep_toy_run *r, const sonde_toy_opts *opts);

/* Models of these options, trained to the end while somebody looks. losses (instances) of the last steps, or NULL.
 * Owns: *out is the caller's. Errors: those of sonde_toy_new and sonde_toy_train, and of the watcher. */
sonde_status sondep_toy_trained(sonde_toy **out, sondep_toy_run *r, const sonde_toy_opts *opts, double *losses);

/* Of groups of `restarts` instances that follow each other: the one with the lowest loss of each, over so many rows. Errors: SONDE_E_NOMEM. */
sonde_status sondep_toy_best(int64_t *best, const sonde_toy *toy, int64_t restarts, int64_t n_rows);

/* A finding: PASS if it holds, else FAIL. What was measured and wanted are texts as of printf. Errors: SONDE_E_NOMEM. */
sonde_status sondep_toy_check(sondep_toy_run *r, bool holds, const char *name, const char *wanted, const char *measured, ...)
    SONDE_PRINTF(5, 6);

/* The last finding, if it failed, is one in which we differ from the paper, and why: what was looked into is a run of the experiment's own sizes, so that
 * it stays a failure where steps, restarts or anything else but the seed was chosen. */
void sondep_toy_differs(sondep_toy_run *r, const char *why);

/* Path of a new picture of the run, whose file is NAME and the ending that was asked for. Errors: SONDE_E_NOMEM. */
sonde_status sondep_toy_picture_path(char **path, sondep_toy_run *r, const char *name, const char *caption);

/* Probabilities (n_models * restarts, n): model k has the density k in all of its restarts. Importances (n_models, n): they fall by a factor from
 * feature to feature. Owns: *out is the caller's: sondep_free. Errors: SONDE_E_NOMEM. */
sonde_status sondep_toy_probabilities(double **out, const double *density, int64_t n_models, int64_t restarts, int64_t n);
sonde_status sondep_toy_importances(double **out, int64_t n_models, int64_t n, double falls);

/* Cosine of rows i and j of w (n,m), 0 where one of them is 0; Pearson's correlation of two lists, 0 where one does not vary. */
double sondep_toy_cosine(const float *w, int64_t m, int64_t i, int64_t j);
double sondep_toy_correlation(const double *x, const double *y, int64_t n);

/* n numbers evenly spaced from a to b in logarithms. */
void sondep_toy_log_space(double *out, int64_t n, double a, double b);

/* Numbers of the result's JSON. */
void sondep_toy_put(sondep_toy_run *r, const char *key, const double *values, int64_t n);

/* ---- pictures that several have ------------------------------------------------------------------------------------------------ */

/* Curves; the title of opts is the experiment's where it has none. */
sonde_status sondep_toy_draw_lines(sondep_toy_run *r, const char *name, const char *caption, const sonde_plot_series *series,
                                   int64_t n, const sonde_plot_opts *opts);

/* The axes of curves over sparsity: 1 / density to the right, on a scale on which a factor is a length; upwards from 0. */
void sondep_toy_sparsity_axes(sonde_plot_opts *out, const char *y_name);

/* Rows of W in two dimensions as arrows, coloured by importance or interference; a panel for each model. values (n_models, n). */
sonde_status sondep_toy_draw_arrows(sondep_toy_run *r, const char *name, const char *caption, const char *title,
                                    const float *const *w, const char *const *titles, const double *values,
                                    const char *value_name, int64_t n_models, int64_t n);

/* W W^T as heatmaps with the bias as the last column. w, b: of each model. */
sonde_status sondep_toy_draw_grams(sondep_toy_run *r, const char *name, const char *caption, const char *title,
                                   const float *const *w, const float *const *b, const char *const *titles, int64_t n_models,
                                   int64_t n, int64_t m);

/* Bars |W_i| below each other, coloured by interference. */
sonde_status sondep_toy_draw_stacks(sondep_toy_run *r, const char *name, const char *caption, const char *title,
                                    const float *const *w, const char *const *titles, int64_t n_models, int64_t n,
                                    int64_t m);

#endif
