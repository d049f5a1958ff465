/* sets.c - features that differ, or know of each other: one that is sparser, correlated and anticorrelated ones.    floor 8: toy
 *
 *   nonuniform   5 features in 2 numbers at density 0.05; the first becomes sparser from model to model. The pentagon bends away from it, and at some point
 *                two digons without it cost less. Both are local minima for a while, so that restarts decide, and the paper reads the
 *                crossing off two curves of losses.
 *   correlated   sets whose features are all on together (values of their own), or of which exactly one is on. Together: at right angles, where they do not
 *                disturb each other. Never together: opposite each other, where the ReLU hides the one from the other. Two sets of
 *                ten in ten dimensions: each an orthogonal basis of its own, turned against the other.
 *   pca          three correlated pairs in two dimensions: which pairs have become one direction, the mean of both, as density grows. In the dense limit
 *                that is what principal components keep.
 *
 * Three anticorrelated pairs can be laid on a hexagon in fifteen ways, of which one is the best: that one takes many restarts.
 *
 * Source: Elhage et al. 2022, "Non-uniform superposition", "Correlated and anticorrelated features", "Collapse".
 */
#include "toy/experiment.h"

#include <math.h>
#include <stdio.h>

enum { MOST = 24, TITLE = 48 };

/* ---- one sparser feature ---------------------------------------------------------------------------------------------------- */

/* How the best of the restarts looks where the first feature is `factors[k]` times as dense as the others. */
static sonde_status train_nonuniform(sonde_toy **out, int64_t *best, sondep_toy_run *r, const double *factors,
                                     int64_t n_models, int64_t restarts)
{
    static const sondep_toy_setting setting = {SONDE_TOY_RELU, 5, 2, 4000, 10000, 1024, 3e-3, 0.0, SONDE_SCHEDULE_COSINE};
    sonde_toy_opts o = sondep_toy_opts_of(r, &setting);
    double *probability = NULL, base = sondep_toy_real(r->opts.density, 0.05);
    sonde_status status;

    o.n_instances = n_models * restarts;
    SONDE_TRY_DONE(sondep_toy_probabilities(&probability, &base, 1, o.n_instances, o.n_features));
    /* the first feature of each instance differs */
    for (int64_t i = 0; i < o.n_instances; i++)
        probability[i * o.n_features] = fmin(1.0, base * factors[i / restarts]);
    o.probability = probability;
    SONDE_TRY_DONE(sondep_toy_trained(out, r, &o, NULL));
    status = sondep_toy_best(best, *out, restarts, 1 << 17);
done:
    sondep_free(probability);
    return status;
}

/* The first feature is gone, and the others lie in two opposite pairs. */
static bool is_two_digons(const float *w)
{
    double norms[5];
    int64_t pairs = 0;

    sonde_toy_features(norms, NULL, NULL, w, 5, 2);
    for (int64_t i = 1; i < 5; i++)
        for (int64_t j = i + 1; j < 5; j++)
            pairs += sondep_toy_cosine(w, 2, i, j) < -0.98;
    return norms[0] < 0.5 && pairs == 2;
}

/* How far |W_i|^2 (1 - |b_i|) is from 1: what a feature alone at its largest gives back, once its bias is made up for. */
static double length_error(const float *w, const float *b)
{
    double norms[5], worst = 0.0;

    sonde_toy_features(norms, NULL, NULL, w, 5, 2);
    for (int64_t i = 0; i < 5; i++)
        worst = fmax(worst, fabs(norms[i] * norms[i] * (1.0 - fabs((double)b[i])) - 1.0));
    return worst;
}

/* From all alike to a tenth as dense. */
sonde_status sondep_toy_nonuniform(sondep_toy_run *r)
{
    double factors[MOST], breaks_at = 0.0, values[MOST * 5], worst;
    int64_t n_models = sondep_toy_size(r, r->opts.n_instances, 12, 20),
            restarts = sondep_toy_size(r, r->opts.restarts, 16, 64);
    int64_t best[MOST], component[5];
    sonde_toy_shape shapes[5] = {SONDE_TOY_NO_SHAPE};
    char titles[MOST][TITLE];
    const char *names[MOST];
    const float *w[MOST];
    sonde_toy *t = NULL;
    sonde_status status;

    if (n_models > MOST)
        return SONDE_FAIL(SONDE_E_ARG, "option 'instances' is %lld: at most %d models", (long long)n_models, MOST);
    sondep_toy_log_space(factors, n_models, 1.0, 0.1);
    SONDE_TRY_DONE(train_nonuniform(&t, best, r, factors, n_models, restarts));
    for (int64_t k = 0; k < n_models; k++) {
        w[k] = sonde_toy_weights(t, best[k]);
        names[k] = titles[k];
        snprintf(titles[k], TITLE, "%.2f times as dense", factors[k]);
        for (int64_t i = 0; i < 5; i++)
            values[k * 5 + i] = i == 0;
        /* the first model without it is where the pentagon breaks */
        if (breaks_at == 0.0 && is_two_digons(w[k]))
            breaks_at = 1.0 / factors[k];
    }
    SONDE_TRY_DONE(
        sondep_toy_draw_arrows(r, "arrows",
                               "The light arrow is the feature that becomes rarer from panel to panel: the pentagon bends, "
                               "then breaks into two opposite pairs.",
                               r->experiment->title, w, names, values, "1: the feature that differs", n_models, 5));
    sonde_toy_components(component, shapes, w[0], 5, 2, 0.1, 0.5, 0.1);
    SONDE_TRY_DONE(sondep_toy_check(r, shapes[0] == SONDE_TOY_PENTAGON, "all alike", "a pentagon", "%s",
                                    sonde_toy_shape_name(shapes[0])));
    SONDE_TRY_DONE(sondep_toy_check(r, breaks_at >= 1.8 && breaks_at <= 3.5, "the pentagon breaks into two digons",
                                    "where the feature is about 2.5 times as sparse (1.8 to 3.5)", "%.2f times as sparse",
                                    breaks_at));
    /* a pentagon that does not break at all would be a failure */
    if (breaks_at > 3.5)
        sondep_toy_differs(r, "up to there the pentagon has the lower loss of all restarts, over 131,072 rows, with weight "
                              "decay and without; the paper reads the place off a curve of losses that cross under a small "
                              "angle");
    worst = length_error(w[0], sonde_toy_bias(t, best[0]));
    status = sondep_toy_check(r, worst <= 0.05, "lengths follow biases", "|W_i|^2 (1 - |b_i|) within 0.05 of 1",
                              "off by %.3f at most", worst);
done:
    sonde_toy_free(t);
    return status;
}

/* ---- correlated and anticorrelated -------------------------------------------------------------------------------------------- */

/* Sets of `each` features of one kind. */
static void make_sets(sonde_toy_set *sets, int64_t n_sets, int64_t each, int64_t kind)
{
    for (int64_t i = 0; i < n_sets; i++)
        sets[i] = (sonde_toy_set){kind, i * each, each};
}

/* Models of such sets, and the best of them. Owns: *out is the caller's. */
static sonde_status train_sets(sonde_toy **out, int64_t *best, sondep_toy_run *r, int64_t n_sets, int64_t each, int64_t m,
                               int64_t kind, double p)
{
    const sondep_toy_setting setting = {SONDE_TOY_RELU,       n_sets * each, m, 5000, 10000, 1024, 3e-3, 0.0,
                                        SONDE_SCHEDULE_COSINE};
    sonde_toy_opts o = sondep_toy_opts_of(r, &setting);
    /* three pairs can be laid on a hexagon in fifteen ways, of which one is the best, by a part in a thousand: many restarts, and rows to tell */
    int64_t restarts = sondep_toy_size(r, r->opts.restarts, kind == SONDE_TOY_ONE_OF ? 256 : 16, 256);
    double *probability = NULL;
    sonde_toy_set sets[MOST];
    sonde_status status;

    o.n_features = n_sets * each;
    o.n_hidden = m;
    o.n_instances = restarts;
    make_sets(sets, n_sets, each, kind);
    o.sets = sets;
    o.n_sets = n_sets;
    SONDE_TRY_DONE(sondep_toy_probabilities(&probability, &p, 1, restarts, o.n_features));
    o.probability = probability;
    SONDE_TRY_DONE(sondep_toy_trained(out, r, &o, NULL));
    status = sondep_toy_best(best, *out, restarts, kind == SONDE_TOY_ONE_OF ? 1 << 22 : 1 << 19);
done:
    sondep_free(probability);
    return status;
}

/* Mean cosine within sets. */
static double within(const float *w, int64_t m, int64_t n_sets, int64_t each, bool is_absolute)
{
    double sum = 0.0;
    int64_t n = 0;

    for (int64_t s = 0; s < n_sets; s++)
        for (int64_t i = s * each; i < (s + 1) * each; i++)
            for (int64_t j = i + 1; j < (s + 1) * each; j++, n++)
                sum += is_absolute ? fabs(sondep_toy_cosine(w, m, i, j)) : sondep_toy_cosine(w, m, i, j);
    return sum / (double)n;
}

/* Largest |cosine| between features of different sets. */
static double across(const float *w, int64_t m, int64_t n, int64_t each)
{
    double most = 0.0;

    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            if (i / each != j / each)
                most = fmax(most, fabs(sondep_toy_cosine(w, m, i, j)));
    return most;
}

/* Four kinds of sets, each trained by itself. */
sonde_status sondep_toy_correlated(sondep_toy_run *r)
{
    static const char *const names[] = {"two correlated pairs", "two anticorrelated pairs", "three anticorrelated pairs"};
    double p = sondep_toy_real(r->opts.density, 0.1), values[18], local;
    sonde_toy *t[4] = {NULL};
    const float *w[4];
    int64_t best;
    sonde_status status;

    /* two correlated pairs, two and three anticorrelated ones, and two sets of ten */
    for (int64_t k = 0; k < 4; k++) {
        int64_t n_sets = k == 2 ? 3 : 2, each = k == 3 ? 10 : 2, m = k == 3 ? 10 : 2;
        SONDE_TRY_DONE(
            train_sets(&t[k], &best, r, n_sets, each, m, k == 0 || k == 3 ? SONDE_TOY_ALL_OF : SONDE_TOY_ONE_OF, p));
        w[k] = sonde_toy_weights(t[k], best);
    }
    for (int64_t i = 0; i < 18; i++)
        values[i] = (double)(i % 6 / 2);
    /* models of four and of six features go into pictures of their own */
    SONDE_TRY_DONE(sondep_toy_draw_arrows(
        r, "pairs",
        "Pairs have a colour each. Features that come together stand at right angles; of those that never "
        "do, each lies opposite its partner.",
        r->experiment->title, w, names, values, "pair", 2, 4));
    SONDE_TRY_DONE(sondep_toy_draw_arrows(r, "three", "Three anticorrelated pairs share two dimensions.",
                                          r->experiment->title, w + 2, names + 2, values, "pair", 1, 6));
    SONDE_TRY_DONE(sondep_toy_check(r, within(w[0], 2, 2, 2, true) < 0.1, "correlated pairs", "orthogonal: |cosine| < 0.1",
                                    "%.3f", within(w[0], 2, 2, 2, true)));
    SONDE_TRY_DONE(sondep_toy_check(r, within(w[1], 2, 2, 2, false) < -0.95, "anticorrelated pairs",
                                    "antipodal: cosine < -0.95", "%.3f", within(w[1], 2, 2, 2, false)));
    SONDE_TRY_DONE(sondep_toy_check(r, within(w[2], 2, 3, 2, false) < -0.95, "three anticorrelated pairs",
                                    "antipodal: cosine < -0.95", "%.3f", within(w[2], 2, 3, 2, false)));
    /* each set by itself is an orthogonal basis; the two are turned against each other */
    local = within(w[3], 10, 2, 10, true);
    status = sondep_toy_check(r, local < 0.1 && across(w[3], 10, 20, 10) > 0.5, "two sets of ten in ten dimensions",
                              "each an orthogonal basis of its own: |cosine| < 0.1 within, > 0.5 somewhere across",
                              "%.3f within, %.2f across", local, across(w[3], 10, 20, 10));
done:
    for (int k = 0; k < 4; k++)
        sonde_toy_free(t[k]);
    return status;
}

/* ---- collapse to principal components ------------------------------------------------------------------------------------------- */

/* Pairs of six features that are one direction. */
static int64_t collapsed(const float *w)
{
    int64_t n = 0;

    for (int64_t i = 0; i < 6; i += 2)
        n += sondep_toy_cosine(w, 2, i, i + 1) > 0.9;
    return n;
}

/* Densities at the borders that the paper gives. Each is a training of its own, since sets differ from instance to instance in nothing. */
sonde_status sondep_toy_pca(sondep_toy_run *r)
{
    static const double densities[] = {0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8};
    enum { N = sizeof densities / sizeof *densities };
    double values[N * 6], merged[N];
    char titles[N][TITLE];
    const char *names[N];
    const float *w[N];
    sonde_toy *t[N] = {NULL};
    bool rises = true;
    int64_t best;
    sonde_status status;

    for (int64_t k = 0; k < N; k++) {
        SONDE_TRY_DONE(train_sets(&t[k], &best, r, 3, 2, 2, SONDE_TOY_ALL_OF, densities[k]));
        w[k] = sonde_toy_weights(t[k], best);
        merged[k] = (double)collapsed(w[k]);
        names[k] = titles[k];
        snprintf(titles[k], TITLE, "density %g", densities[k]);
        /* by one pair a model may fall behind: at a border either has about the same loss */
        rises = rises && (k == 0 || merged[k] >= merged[k - 1] - 1.0);
        for (int64_t i = 0; i < 6; i++)
            values[k * 6 + i] = (double)(i / 2);
    }
    SONDE_TRY_DONE(sondep_toy_draw_arrows(
        r, "arrows",
        "Three correlated pairs in two dimensions, a colour each: the denser, the more of them are kept as "
        "one direction.",
        r->experiment->title, w, names, values, "pair", N, 6));
    sondep_toy_put(r, "density", densities, N);
    sondep_toy_put(r, "collapsed", merged, N);
    SONDE_TRY_DONE(
        sondep_toy_check(r, merged[0] == 0.0, "density 0.02: no pair is one direction", "0 of 3", "%.0f", merged[0]));
    status = sondep_toy_check(r, rises && merged[5] >= 2.0, "denser: pairs become one direction",
                              "none to .05, one to .15, two to .2, all from .25",
                              "%.0f, %.0f, %.0f, %.0f, %.0f, %.0f, %.0f, %.0f", merged[0], merged[1], merged[2], merged[3],
                              merged[4], merged[5], merged[6], merged[7]);
done:
    for (int k = 0; k < N; k++)
        sonde_toy_free(t[k]);
    return status;
}
