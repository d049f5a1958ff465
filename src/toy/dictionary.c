/* dictionary.c - sparse autoencoders on what toy models hide, and on planted directions.         floor 8: toy
 *
 * The bridge from superposition to dictionary learning: features that a toy model has put into superposition are known, so that what an autoencoder
 * finds in its hidden numbers can be held against them.
 *
 *   hidden    40 features in 20 numbers at five densities; BatchTopK with as many features as there are, and with as many of them on. Rows of
 *             W that are kept are matched with rows of the decoder, one to one (Hungarian), and the mean |cosine| is the score.
 *   planted   128 random directions in 64 dimensions, each on in 5 % of the rows with a size near 1. Seven architectures see the same rows; those
 *             with a penalty have its weight moved until as many features are on as there really are, so that they can be compared.
 *
 * That is the honest test of an architecture: on a language model nobody knows the answer.
 *
 * Source: Sharkey, Braun and Millidge 2022, Taking features out of superposition; Bricken et al. 2023; sae_lens 6.54.12, synthetic.
 */
#include "toy/experiment.h"

#include <math.h>
#include <stdio.h>

enum { BATCH = 1024, STEPS = 2000, MOST = 10 };

/* Where rows come from: numbers first .. first + n of them. */
typedef sonde_status rows_fn(float *x, int64_t first, int64_t n, void *ctx);

/* An autoencoder of d numbers, trained on them. Owns: *out is the caller's. */
static sonde_status train_sae(sonde_sae **out, const sonde_sae_train_opts *o, rows_fn *rows, void *ctx)
{
    sonde_sae_trainer *trainer = NULL;
    sonde_sae_train_report report;
    float *x = NULL;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(x, BATCH * o->d_in));
    SONDE_TRY_DONE(sonde_sae_trainer_new(&trainer, o));
    for (int64_t step = 0; step < o->steps; step++) {
        SONDE_TRY_DONE(rows(x, step * BATCH, BATCH, ctx));
        /* the first rows say what scale there is */
        if (step == 0)
            SONDE_TRY_DONE(sonde_sae_trainer_begin(trainer, x, NULL, BATCH));
        SONDE_TRY_DONE(sonde_sae_trainer_step(trainer, &report, x, NULL));
    }
    status = sonde_sae_trainer_export(out, trainer, NULL, NULL, NULL);
done:
    sonde_sae_trainer_free(trainer);
    sondep_free(x);
    return status;
}

/* What all of them have in common. */
static void options(sonde_sae_train_opts *o, sonde_sae_arch arch, int64_t d, int64_t S, double l0)
{
    sonde_sae_train_opts_init(o);
    o->arch = arch;
    o->d_in = d;
    o->d_sae = S;
    o->batch = BATCH;
    o->steps = STEPS;
    o->k = arch == SONDE_SAE_ARCH_TOPK || arch == SONDE_SAE_ARCH_PURSUIT ? fmax(1.0, round(l0)) : fmax(0.1, l0);
    o->lr = 3e-3;
    /* of a penalty: its weight goes where rows have as many features as they really have */
    o->target_l0 = l0;
    o->l1 = 0.3;
    o->l0 = 0.1;
}

/* ---- hidden numbers of toy models ------------------------------------------------------------------------------------------- */

/* A trained model of one density, and features as they were drawn. */
typedef struct hidden {
    const float *w;
    int64_t n, m;
    double density;
    uint64_t seed;
} hidden;

/* h = W^T x. */
static sonde_status hidden_rows(float *x, int64_t first, int64_t n_rows, void *ctx)
{
    const hidden *h = ctx;

    memset(x, 0, (size_t)(n_rows * h->m) * sizeof *x);
#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t i = 0; i < h->n; i++) {
            double u = sonde_random_uniform(h->seed, 99, (uint64_t)((first + r) * h->n + i));
            for (int64_t k = 0; k < h->m && u < h->density; k++)
                x[r * h->m + k] += (float)(u / h->density) * h->w[i * h->m + k];
        }
    return SONDE_OK;
}

/* The directions of features that the model keeps, and how well the autoencoder's decoder matches them one to one. */
static sonde_status match_hidden(double *mcc, double *most, const hidden *h, const sonde_sae *sae)
{
    int64_t n_kept = 0, *match = NULL;
    float *kept = NULL;
    sonde_tensor decoder;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(kept, h->n * h->m));
    SONDE_TRY_DONE(SONDE_NEW(match, h->n));
    SONDE_TRY_DONE(sonde_sae_weight(&decoder, sae, "W_dec"));
    for (int64_t i = 0; i < h->n; i++)
        /* features that the model gave up have no direction to be found */
        if (sondep_sum_squares(h->w + i * h->m, h->m) > 0.25)
            memcpy(kept + n_kept++ * h->m, h->w + i * h->m, (size_t)h->m * sizeof *kept);
    status = sonde_match_directions(mcc, match, kept, n_kept, decoder.data, decoder.shape[0], h->m);
    *most = (double)n_kept;
done:
    sondep_free(kept);
    sondep_free(match);
    return status;
}

/* How well features are found, over how sparse they are. */
static sonde_status draw_recovery(sondep_toy_run *r, const double *density, const double *mcc, int64_t n)
{
    double x[MOST];
    sonde_plot_series series = {NULL, x, mcc, n};
    sonde_plot_opts o;

    for (int64_t k = 0; k < n; k++)
        x[k] = 1.0 / density[k];
    sondep_toy_sparsity_axes(&o, "mean |cosine| of matched directions");
    o.title = "Features of toy models, found in their hidden numbers";
    o.y_high = 1.0;
    return sondep_toy_draw_lines(
        r, "hidden",
        "Forty features in twenty numbers: how well an autoencoder's decoder rows match the features "
        "that the model has put into superposition, over how sparse they are.",
        &series, 1, &o);
}

/* Forty features in twenty numbers, of several densities; an autoencoder as wide as there are features for each. */
static sonde_status run_hidden(sondep_toy_run *r, double *best)
{
    static const sondep_toy_setting setting = {SONDE_TOY_RELU, 40, 20, 5000, 10000, 1024, 3e-3, 0.0, SONDE_SCHEDULE_COSINE};
    static const double density[] = {0.3, 0.1, 0.05, 0.02, 0.01};
    enum { N = sizeof density / sizeof *density };
    sonde_toy_opts o = sondep_toy_opts_of(r, &setting);
    double *p = NULL, mcc[N], kept[N];
    sonde_toy *t = NULL;
    sonde_status status;

    o.n_instances = N;
    SONDE_TRY_DONE(sondep_toy_probabilities(&p, density, N, 1, o.n_features));
    o.probability = p;
    SONDE_TRY_DONE(sondep_toy_trained(&t, r, &o, NULL));
    for (int64_t k = 0; k < N; k++) {
        hidden h = {sonde_toy_weights(t, k), o.n_features, o.n_hidden, density[k], r->opts.seed};
        sonde_sae_train_opts how;
        sonde_sae *sae;
        options(&how, SONDE_SAE_ARCH_BATCHTOPK, o.n_hidden, o.n_features, density[k] * (double)o.n_features);
        SONDE_TRY_DONE(train_sae(&sae, &how, hidden_rows, &h));
        status = match_hidden(&mcc[k], &kept[k], &h, sae);
        sonde_sae_free(sae);
        SONDE_TRY_DONE(status);
        *best = fmax(*best, mcc[k]);
    }
    SONDE_TRY_DONE(draw_recovery(r, density, mcc, N));
    sondep_toy_put(r, "hidden_density", density, N);
    sondep_toy_put(r, "hidden_mcc", mcc, N);
    sondep_toy_put(r, "hidden_features", kept, N);
    status = sondep_toy_check(r, mcc[2] > 0.9 && mcc[2] > mcc[0], "a toy model's features, from its hidden numbers",
                              "mean |cosine| above 0.9 at density 0.05, more than at 0.3",
                              "%.3f at 0.3, %.3f at 0.1, %.3f at 0.05, %.3f at 0.02, %.3f at 0.01", mcc[0], mcc[1], mcc[2],
                              mcc[3], mcc[4]);
done:
    sonde_toy_free(t);
    sondep_free(p);
    return status;
}

/* ---- planted directions -------------------------------------------------------------------------------------------------------- */

/* Rows of a planted dictionary. */
static sonde_status planted_rows(float *x, int64_t first, int64_t n, void *ctx)
{
    return sonde_planted_rows(x, NULL, ctx, first, n);
}

/* How each architecture did. */
static sonde_status draw_scores(sondep_toy_run *r, const char *const *names, const double *mcc, const double *f1, int64_t n)
{
    sonde_plot_series series[2] = {{"matched cosine (MCC)", NULL, mcc, n}, {"F1", NULL, f1, n}};
    sonde_plot_label labels[MOST];
    sonde_plot_opts o;
    char *path;
    sonde_status status;

    for (int64_t i = 0; i < n; i++)
        labels[i] = (sonde_plot_label){names[i], -1};
    sonde_plot_opts_init(&o);
    o.title = "Planted directions, found by each architecture";
    o.y_low = 0.0;
    o.y_high = 1.0;
    SONDE_TRY(
        sondep_toy_picture_path(&path, r, "architectures",
                                "128 planted directions in 64 dimensions, 5 % of them on: how well decoder rows match them "
                                "one to one, and how well the autoencoder's features say when they are on."));
    status = sonde_plot_bars(path, labels, n, series, 2, &o);
    sondep_free(path);
    return status;
}

/* Every architecture on the same rows, with the L0 that rows really have. */
static sonde_status run_planted(sondep_toy_run *r)
{
    static const sonde_sae_arch archs[] = {SONDE_SAE_ARCH_STANDARD,  SONDE_SAE_ARCH_GATED,      SONDE_SAE_ARCH_TOPK,
                                           SONDE_SAE_ARCH_BATCHTOPK, SONDE_SAE_ARCH_MATRYOSHKA, SONDE_SAE_ARCH_JUMPRELU,
                                           SONDE_SAE_ARCH_PANNEAL};
    static const char *const names[] = {"standard", "gated", "topk", "batchtopk", "matryoshka", "jumprelu", "panneal"};
    enum { N = sizeof archs / sizeof *archs, ROWS = 8192 };
    double mcc[N], f1[N], l0[N], true_l0[N], shrinkage[N], best = 0.0, least = 1.0;
    sonde_planted_opts o;
    sonde_planted *p = NULL;
    sonde_status status;

    sonde_planted_opts_init(&o);
    o.seed = r->opts.seed;
    SONDE_TRY_DONE(sonde_planted_new(&p, &o));
    for (int64_t k = 0; k < N; k++) {
        sonde_sae_train_opts how;
        sonde_planted_score score;
        sonde_sae *sae;
        options(&how, archs[k], o.width, o.n_features, 0.05 * (double)o.n_features);
        how.l0_control =
            archs[k] == SONDE_SAE_ARCH_TOPK || archs[k] == SONDE_SAE_ARCH_BATCHTOPK || archs[k] == SONDE_SAE_ARCH_MATRYOSHKA
                ? 0.0
                : 0.005;
        SONDE_TRY_DONE(train_sae(&sae, &how, planted_rows, p));
        /* rows that nobody was trained on */
        status = sonde_planted_evaluate(&score, p, sae, (int64_t)1 << 30, ROWS);
        sonde_sae_free(sae);
        SONDE_TRY_DONE(status);
        mcc[k] = score.mcc;
        f1[k] = score.f1;
        l0[k] = score.l0;
        true_l0[k] = score.true_l0;
        shrinkage[k] = score.shrinkage;
        best = fmax(best, mcc[k]);
        least = fmin(least, mcc[k]);
    }
    SONDE_TRY_DONE(draw_scores(r, names, mcc, f1, N));
    sondep_toy_put(r, "planted_mcc", mcc, N);
    sondep_toy_put(r, "planted_f1", f1, N);
    sondep_toy_put(r, "planted_l0", l0, N);
    sondep_toy_put(r, "planted_true_l0", true_l0, N);
    sondep_toy_put(r, "planted_shrinkage", shrinkage, N);
    status = sondep_toy_check(
        r, best > 0.95 && least > 0.6, "planted directions, by seven architectures", "the best above 0.95, none below 0.6",
        "standard %.3f, gated %.3f, topk %.3f, batchtopk %.3f, matryoshka %.3f, jumprelu %.3f, panneal %.3f", mcc[0], mcc[1],
        mcc[2], mcc[3], mcc[4], mcc[5], mcc[6]);
done:
    sonde_planted_free(p);
    return status;
}

/* First what a toy model hides, then what is planted. */
sonde_status sondep_toy_dictionary(sondep_toy_run *r)
{
    double best = 0.0;

    SONDE_TRY(run_hidden(r, &best));
    return run_planted(r);
}
