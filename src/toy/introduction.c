/* introduction.c - five features in two dimensions; linear models and models with a ReLU.     floor 8: toy
 *
 * The introduction: n = 5 features of importance 0.9^i in m = 2 numbers, ten densities from 1 to 1/20, tied weights, ReLU, AdamW with the decay of the
 * notebook. Every density is trained a few times and the lowest loss is shown, since a single training may end in a local minimum: two
 * digons and a feature that is nearly forgotten, where a pentagon costs less.
 *
 *   density 1     the two most important features at right angles, the rest gone: principal components
 *   density 1/20  all five, as a pentagon that leans towards what matters more
 *   equal importance, density 1/20    a regular pentagon: neighbours 72 degrees apart
 *
 * Basic results and the larger ones: importance falls by 0.7 (20 features in 5) or 0.9 (80 in 20); a linear model and seven ReLU models. The
 * linear one is held against principal components exactly: both losses are expectations in closed form (measure.c), nothing is sampled, and
 * it is trained without weight decay, which would shorten W by a little and show up in the sixth digit.
 *
 * Source: Elhage et al. 2022, the introduction, and "Demonstrating superposition".
 */
#include "toy/experiment.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_MODELS = 64, TITLE = 48 };

/* Increasing. */
static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Between neighbouring arrows of w (n,2), in degrees: how far the furthest is from 360 / n. */
static double worst_angle(const float *w, int64_t n)
{
    double angles[16], worst = 0.0;

    for (int64_t i = 0; i < n; i++)
        angles[i] = atan2((double)w[2 * i + 1], (double)w[2 * i]) * 57.295779513082321;
    /* neighbours on the circle; the last one and the first are neighbours, too */
    qsort(angles, (size_t)n, sizeof *angles, compare);
    for (int64_t i = 0; i < n; i++) {
        double step = i + 1 < n ? angles[i + 1] - angles[i] : angles[0] + 360.0 - angles[n - 1];
        worst = fmax(worst, fabs(step - 360.0 / (double)n));
    }
    return worst;
}

/* Features of equal importance: the best of many restarts is a pentagon. */
static sonde_status check_pentagon(sondep_toy_run *r)
{
    static const sondep_toy_setting setting = {SONDE_TOY_RELU, 5, 2, 5000, 10000, 1024, 3e-3, 0.0, SONDE_SCHEDULE_COSINE};
    int64_t restarts = sondep_toy_size(r, r->opts.restarts, 32, 100), best, component[5];
    sonde_toy_opts o = sondep_toy_opts_of(r, &setting);
    double density = 0.05, *probability = NULL, angle;
    sonde_toy_shape shapes[5] = {SONDE_TOY_NO_SHAPE};
    sonde_toy *t = NULL;
    sonde_status status;

    o.n_features = 5;
    o.n_hidden = 2;
    o.n_instances = restarts;
    SONDE_TRY_DONE(sondep_toy_probabilities(&probability, &density, 1, restarts, 5));
    o.probability = probability;
    SONDE_TRY_DONE(sondep_toy_trained(&t, r, &o, NULL));
    /* one of the restarts that ended in two digons and a rest would not do */
    SONDE_TRY_DONE(sondep_toy_best(&best, t, restarts, 1 << 16));
    angle = worst_angle(sonde_toy_weights(t, best), 5);
    SONDE_TRY_DONE(sondep_toy_check(r, angle <= 2.0, "equal importance, density 0.05: a pentagon",
                                    "neighbours 72 +- 2 degrees apart", "furthest from 72 degrees: %.2f", angle));
    /* the name is found from angles and lengths, not from how many features there are */
    sonde_toy_components(component, shapes, sonde_toy_weights(t, best), 5, 2, 0.1, 0.5, 0.1);
    status = sondep_toy_check(r, shapes[0] == SONDE_TOY_PENTAGON, "its name, from W W^T", "pentagon", "%s",
                              sonde_toy_shape_name(shapes[0]));
done:
    sonde_toy_free(t);
    sondep_free(probability);
    return status;
}

/* Ten densities from 1 to 1/20; the best of some restarts of each. */
static sonde_status run_introduction(sondep_toy_run *r, double *probability, double *importance, const double *density,
                                     int64_t n_models, int64_t restarts)
{
    static const sondep_toy_setting setting = {SONDE_TOY_RELU,         5, 2, 10000, 10000, 1024, 1e-3, 0.01,
                                               SONDE_SCHEDULE_CONSTANT};
    sonde_toy_opts o = sondep_toy_opts_of(r, &setting);
    const float *w[MOST_MODELS];
    char titles[MOST_MODELS][TITLE];
    const char *names[MOST_MODELS];
    double values[MOST_MODELS * 16], norms[16];
    int64_t best[MOST_MODELS], n = o.n_features;
    sonde_toy *t = NULL;
    sonde_status status;

    o.n_instances = n_models * restarts;
    o.probability = probability;
    o.importance = importance;
    SONDE_TRY_DONE(sondep_toy_trained(&t, r, &o, NULL));
    SONDE_TRY_DONE(sondep_toy_best(best, t, restarts, 1 << 16));
    for (int64_t k = 0; k < n_models; k++) {
        w[k] = sonde_toy_weights(t, best[k]);
        names[k] = titles[k];
        snprintf(titles[k], TITLE, "density %.3g", density[k]);
        for (int64_t i = 0; i < n; i++)
            values[k * n + i] = importance[i];
    }
    SONDE_TRY_DONE(sondep_toy_draw_arrows(r, "arrows",
                                          "The rows W_i of each model, dense features at the left above, sparse ones at "
                                          "the right below. Light arrows are the more important features.",
                                          "Five features in two dimensions", w, names, values, "importance", n_models, n));
    /* the densest model: two features, and nothing of the others */
    sonde_toy_features(norms, NULL, NULL, w[0], n, 2);
    SONDE_TRY_DONE(sondep_toy_check(r, fabs(sondep_toy_cosine(w[0], 2, 0, 1)) < 0.05 && norms[0] > 0.9 && norms[1] > 0.9,
                                    "density 1: the two that matter most at right angles", "|cosine| < 0.05, lengths > 0.9",
                                    "cosine %.3f, lengths %.2f and %.2f", sondep_toy_cosine(w[0], 2, 0, 1), norms[0],
                                    norms[1]));
    SONDE_TRY_DONE(sondep_toy_check(r, norms[2] < 0.1 && norms[3] < 0.1 && norms[4] < 0.1,
                                    "density 1: the others are left out", "lengths < 0.1", "%.3f, %.3f, %.3f", norms[2],
                                    norms[3], norms[4]));
    /* the sparsest: the least important feature is there as well */
    sonde_toy_features(norms, NULL, NULL, w[n_models - 1], n, 2);
    status = sondep_toy_check(r, norms[4] > 0.5, "the sparsest: all five are there", "|W_5| > 0.5", "%.3f", norms[4]);
done:
    sonde_toy_free(t);
    return status;
}

/* Arrows need two dimensions; the rest is open. */
sonde_status sondep_toy_introduction(sondep_toy_run *r)
{
    int64_t n_models = sondep_toy_size(r, r->opts.n_instances, 10, 10),
            restarts = sondep_toy_size(r, r->opts.restarts, 4, 8);
    double density[MOST_MODELS], *probability = NULL, *importance = NULL;
    int64_t n = r->opts.n_features > 0 ? r->opts.n_features : 5;
    sonde_status status;

    if (n < 5 || n > 16 || (r->opts.n_hidden != 0 && r->opts.n_hidden != 2) || n_models > MOST_MODELS)
        return SONDE_FAIL(SONDE_E_ARG, "the introduction has 5 to 16 features in 2 dimensions, and at most %d models",
                          MOST_MODELS);
    sondep_toy_log_space(density, n_models, 1.0, sondep_toy_real(r->opts.density, 1.0 / 20));
    SONDE_TRY_DONE(sondep_toy_probabilities(&probability, density, n_models, restarts, n));
    SONDE_TRY_DONE(sondep_toy_importances(&importance, n_models * restarts, n, sondep_toy_real(r->opts.importance, 0.9)));
    SONDE_TRY_DONE(run_introduction(r, probability, importance, density, n_models, restarts));
    sondep_toy_put(r, "density", density, n_models);
    status = check_pentagon(r);
done:
    sondep_free(probability);
    sondep_free(importance);
    return status;
}

/* ---- linear, and with a ReLU --------------------------------------------------------------------------------------------- */

/* Features longer than a half. */
static int64_t count_kept(const float *w, int64_t n, int64_t m)
{
    int64_t count = 0;

    for (int64_t i = 0; i < n; i++) {
        double square = 0.0;
        for (int64_t k = 0; k < m; k++)
            square += (double)w[i * m + k] * w[i * m + k];
        count += square > 0.25;
    }
    return count;
}

/* The linear model's exact loss beside that of principal components: nothing is sampled in the comparison. */
static sonde_status check_linear(sondep_toy_run *r, sonde_toy *t, const double *importance)
{
    const sonde_toy_opts *o = sonde_toy_get_opts(t);
    double pca, loss = sonde_toy_linear_loss(sonde_toy_weights(t, 0), sonde_toy_bias(t, 0), o->probability, importance,
                                             o->n_features, o->n_hidden);

    SONDE_TRY(sonde_toy_pca_loss(&pca, o->probability, importance, o->n_features, o->n_hidden));
    return sondep_toy_check(r, fabs(loss - pca) <= 1e-5, "linear model: the loss of principal components",
                            "equal within 1e-5, both in closed form", "%.8f, principal components %.8f (weight decay 0)",
                            loss, pca);
}

/* Counts of all models, one after another, as many as there is room for. */
static void list_counts(char *out, size_t size, const double *counts, int64_t n)
{
    size_t at = 0;

    for (int64_t k = 0; k < n && at < size; k++)
        at += (size_t)snprintf(out + at, size - at, "%s%.0f", k > 0 ? ", " : "", counts[k]);
}

/* One linear model, and ReLU models of seven densities. */
static sonde_status run_basic(sondep_toy_run *r, const sondep_toy_setting *setting, double falls)
{
    sonde_toy_opts o = sondep_toy_opts_of(r, setting), linear = o;
    double *probability = NULL, *importance = NULL, density[MOST_MODELS], kept[MOST_MODELS];
    const float *w[MOST_MODELS + 1], *b[MOST_MODELS + 1];
    char titles[MOST_MODELS + 1][TITLE], list[160] = "";
    const char *names[MOST_MODELS + 1];
    int64_t n = sondep_toy_size(r, r->opts.n_instances, 7, 7);
    bool rises = true;
    sonde_toy *t = NULL, *plain = NULL;
    sonde_status status;

    if (n < 2 || n > MOST_MODELS)
        return SONDE_FAIL(SONDE_E_ARG, "option 'instances' is %lld, not from 2 to %d densities", (long long)n, MOST_MODELS);
    sondep_toy_log_space(density, n, 1.0, sondep_toy_real(r->opts.density, 0.001));
    SONDE_TRY_DONE(sondep_toy_probabilities(&probability, density, n, 1, o.n_features));
    SONDE_TRY_DONE(sondep_toy_importances(&importance, n, o.n_features, sondep_toy_real(r->opts.importance, falls)));
    o.n_instances = n;
    o.probability = linear.probability = probability;
    o.importance = linear.importance = importance;
    /* without decay, and with a step size that goes to 0: what is left is the difference to principal components */
    linear.kind = SONDE_TOY_LINEAR;
    linear.decay = 0.0;
    linear.lr = 3e-3;
    linear.schedule = SONDE_SCHEDULE_COSINE;
    /* its first instance alone is looked at: the others have the other densities */
    SONDE_TRY_DONE(sondep_toy_trained(&plain, r, &linear, NULL));
    SONDE_TRY_DONE(sondep_toy_trained(&t, r, &o, NULL));
    for (int64_t k = 0; k <= n; k++) {
        sonde_toy *of = k == 0 ? plain : t;
        w[k] = sonde_toy_weights(of, k > 0 ? k - 1 : 0);
        b[k] = sonde_toy_bias(of, k > 0 ? k - 1 : 0);
        names[k] = titles[k];
        if (k == 0)
            snprintf(titles[k], TITLE, "linear");
        else
            snprintf(titles[k], TITLE, "ReLU, density %.3g", density[k - 1]);
        if (k > 0)
            kept[k - 1] = (double)count_kept(w[k], o.n_features, o.n_hidden);
        rises = rises && (k < 2 || kept[k - 1] >= kept[k - 2] - 1);
    }
    SONDE_TRY_DONE(
        sondep_toy_draw_grams(r, "grams",
                              "W W^T of the linear model and of models with a ReLU, features in order of "
                              "importance; the bias stands at the right. What is off the diagonal is interference.",
                              r->experiment->title, w, b, names, n + 1, o.n_features, o.n_hidden));
    SONDE_TRY_DONE(sondep_toy_draw_stacks(r, "stacks",
                                          "Lengths |W_i|, the most important feature at the top; light bars share their "
                                          "direction with others.",
                                          r->experiment->title, w, names, n + 1, o.n_features, o.n_hidden));
    sondep_toy_put(r, "density", density, n);
    sondep_toy_put(r, "kept", kept, n);
    SONDE_TRY_DONE(check_linear(r, plain, importance));
    SONDE_TRY_DONE(sondep_toy_check(r, kept[0] == (double)o.n_hidden, "density 1: as many features as dimensions",
                                    "exactly as many are longer than 1/2", "%.0f of %lld", kept[0],
                                    (long long)o.n_features));
    list_counts(list, sizeof list, kept, n);
    SONDE_TRY_DONE(
        sondep_toy_check(r, rises, "sparser: more and more features", "never fewer (by more than one)", "%s", list));
    status =
        sondep_toy_check(r, kept[n - 1] >= 1.5 * (double)o.n_hidden, "the sparsest: superposition",
                         "half as many features again as dimensions", "%.0f features in %lld dimensions at density %.3g",
                         kept[n - 1], (long long)o.n_hidden, density[n - 1]);
done:
    sonde_toy_free(plain);
    sonde_toy_free(t);
    sondep_free(probability);
    sondep_free(importance);
    return status;
}

/* As in the paper: 20 features in 5 numbers. */
sonde_status sondep_toy_basic(sondep_toy_run *r)
{
    static const sondep_toy_setting setting = {SONDE_TOY_RELU,         20, 5, 8000, 10000, 1024, 1e-3, 0.01,
                                               SONDE_SCHEDULE_CONSTANT};
    return run_basic(r, &setting, 0.7);
}

/* As in the paper: 80 features in 20 numbers. */
sonde_status sondep_toy_larger(sondep_toy_run *r)
{
    static const sondep_toy_setting setting = {SONDE_TOY_RELU,         80, 20, 8000, 10000, 1024, 1e-3, 0.01,
                                               SONDE_SCHEDULE_CONSTANT};
    return run_basic(r, &setting, 0.9);
}
