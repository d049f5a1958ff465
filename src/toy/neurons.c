/* neurons.c - toy models whose hidden numbers are neurons: a privileged basis, and computation in superposition.     floor 8: toy
 *
 *   privileged   h = max(W^T x, 0), y = max(W h + b, 0): the ReLU in the middle sets the neurons' axes apart from other directions. 10 features of
 *                importance 0.75^i in 5 neurons; the best of a hundred trainings for each density (the paper has a thousand).
 *   absolute     y = max(W2 max(W1^T x, 0) + b, 0), target |x|, x in [-1, 1): a computation, not a memory. 3 features in 6 neurons need exactly one
 *                neuron for each sign; 100 features in 40 neurons must share them, where they are sparse enough.
 *   motif        in the same models: a neuron that takes one feature with a large weight and another with a small one of the other sign, and gives them
 *                back the other way round. When the first is on, it spoils the second's output; another neuron pushes that below zero.
 *
 * A feature belongs to a neuron if its weight there is at least a fifth of the neuron's largest: weights that training has left between 0
 * and that are rare, so that another bound would change little.
 *
 * Source: Elhage et al. 2022, "Superposition in a privileged basis", "Computation in superposition", "The asymmetric superposition motif".
 */
#include "toy/experiment.h"

#include <math.h>
#include <stdio.h>

enum { MOST = 12, TITLE = 48 };

/* Models of each density, and the best of their restarts. Owns: *out is the caller's. */
static sonde_status train(sonde_toy **out, int64_t *best, sondep_toy_run *r, const sondep_toy_setting *setting,
                          const double *density, int64_t n_models, int64_t restarts, double falls)
{
    sonde_toy_opts o = sondep_toy_opts_of(r, setting);
    double *p = NULL, *importance = NULL;
    sonde_status status;

    o.n_instances = n_models * restarts;
    SONDE_TRY_DONE(sondep_toy_probabilities(&p, density, n_models, restarts, o.n_features));
    SONDE_TRY_DONE(
        sondep_toy_importances(&importance, o.n_instances, o.n_features, sondep_toy_real(r->opts.importance, falls)));
    o.probability = p;
    o.importance = importance;
    SONDE_TRY_DONE(sondep_toy_trained(out, r, &o, NULL));
    status = sondep_toy_best(best, *out, restarts, 1 << 15);
done:
    sondep_free(p);
    sondep_free(importance);
    return status;
}

/* Features of a neuron: those whose weight is at least a fifth of its largest; 0 for a neuron that does nothing. */
static int64_t features_of(const float *w, int64_t n, int64_t m, int64_t neuron)
{
    double most = 0.0;
    int64_t count = 0;

    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)w[i * m + neuron]));
    for (int64_t i = 0; i < n && most > 0.1; i++)
        count += fabs((double)w[i * m + neuron]) >= 0.2 * most;
    return count;
}

/* A panel for each model: neurons beside each other, features below each other, and the weight of each in each as a colour. */
static sonde_status draw_neurons(sondep_toy_run *r, const char *name, const char *caption, sonde_toy *t, const int64_t *best,
                                 const char *const *titles, int64_t n_models)
{
    int64_t n = sonde_toy_get_opts(t)->n_features, m = sonde_toy_get_opts(t)->n_hidden;
    sonde_plot_matrix panels[MOST];
    sonde_plot_opts o;
    char *path;
    sonde_status status;

    for (int64_t k = 0; k < n_models; k++)
        panels[k] =
            (sonde_plot_matrix){.values = sonde_toy_weights(t, best[k]), .n_rows = n, .n_columns = m, .title = titles[k]};
    sonde_plot_opts_init(&o);
    o.title = r->experiment->title;
    o.x_name = "neurons";
    o.y_name = "features";
    o.colours = SONDE_PLOT_COLOURS_DIVERGING;
    o.low = -1.5;
    o.high = 1.5;
    o.value_name = "weight of a feature into a neuron";
    o.panel_columns = 4;
    SONDE_TRY(sondep_toy_picture_path(&path, r, name, caption));
    status = sonde_plot_panels(path, panels, n_models, &o);
    sondep_free(path);
    return status;
}

/* ---- a privileged basis ------------------------------------------------------------------------------------------------------- */

/* Density 1 stands apart: there no ReLU ever cuts. */
sonde_status sondep_toy_privileged(sondep_toy_run *r)
{
    static const sondep_toy_setting setting = {SONDE_TOY_RELU_HIDDEN, 10, 5, 4000, 10000, 1024, 3e-3, 0.0,
                                               SONDE_SCHEDULE_COSINE};
    static const double density[] = {1.0, 0.75, 0.5, 0.3, 0.2, 0.15, 0.12, 0.08, 0.05, 0.03};
    enum { N = sizeof density / sizeof *density };
    int64_t restarts = sondep_toy_size(r, r->opts.restarts, 100, 1000), best[N], n, m;
    double kept[N] = {0}, each[N] = {0}, *norms = NULL;
    char titles[N][TITLE];
    const char *names[N];
    sonde_toy *t = NULL;
    sonde_status status;

    SONDE_TRY_DONE(train(&t, best, r, &setting, density, N, restarts, 0.75));
    n = sonde_toy_get_opts(t)->n_features;
    m = sonde_toy_get_opts(t)->n_hidden;
    SONDE_TRY_DONE(SONDE_NEW(norms, n));
    for (int64_t k = 0; k < N; k++) {
        const float *w = sonde_toy_weights(t, best[k]);
        /* how many features there are at all, and how many each neuron has */
        sonde_toy_features(norms, NULL, NULL, w, n, m);
        for (int64_t i = 0; i < n; i++)
            kept[k] += norms[i] > 0.5;
        for (int64_t j = 0; j < m; j++)
            each[k] += (double)features_of(w, n, m, j) / (double)m;
        names[k] = titles[k];
        snprintf(titles[k], TITLE, "density %g", density[k]);
    }
    SONDE_TRY_DONE(
        draw_neurons(r, "neurons",
                     "Weights of the best model of each density: dense features have a neuron each, sparse ones share "
                     "neurons.",
                     t, best, names, N));
    sondep_toy_put(r, "density", density, N);
    sondep_toy_put(r, "features_kept", kept, N);
    sondep_toy_put(r, "features_of_a_neuron", each, N);
    SONDE_TRY_DONE(
        sondep_toy_check(r, each[0] == 1.0, "density 1: monosemantic", "one feature a neuron", "%.1f a neuron", each[0]));
    sondep_toy_differs(r, "where all features are on all the time every neuron is, too: its ReLU does nothing, and W may be "
                          "turned; the paper's densest "
                          "models are sparser");
    SONDE_TRY_DONE(sondep_toy_check(r, kept[1] == (double)m && each[1] == 1.0 && kept[2] == (double)m && each[2] == 1.0,
                                    "density 0.75 and 0.5: monosemantic", "as many features as neurons, one each",
                                    "%.0f features, %.1f a neuron; %.0f features, %.1f a neuron", kept[1], each[1], kept[2],
                                    each[2]));
    SONDE_TRY_DONE(sondep_toy_check(r, kept[4] >= kept[2] && kept[6] > kept[2] && kept[8] >= kept[6],
                                    "sparser: more features than neurons",
                                    "3 in 2 at .2, 6 in 4 at .12, 8 in 5 at .05: it rises",
                                    "%.0f at 0.3, %.0f at 0.2, %.0f at 0.12, %.0f at 0.05 in %lld neurons", kept[3], kept[4],
                                    kept[6], kept[8], (long long)m));
    status = sondep_toy_check(r, each[N - 1] > 1.5, "density 0.03: polysemantic", "more than 1.5 features a neuron", "%.1f",
                              each[N - 1]);
done:
    sonde_toy_free(t);
    sondep_free(norms);
    return status;
}

/* ---- computation ----------------------------------------------------------------------------------------------------------------- */

/* Densities of the paper, and their models: a hundred features in forty neurons. Owns: *out is the caller's. */
static const double absolute_density[] = {1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001};
enum { N_ABSOLUTE = sizeof absolute_density / sizeof *absolute_density };

/* What both experiments look at: the same seed gives the same models. */
static sonde_status train_absolute(sonde_toy **out, int64_t *best, sondep_toy_run *r)
{
    static const sondep_toy_setting setting = {SONDE_TOY_ABSOLUTE,   100, 40, 5000, 10000, 1024, 3e-3, 0.0,
                                               SONDE_SCHEDULE_COSINE};
    return train(out, best, r, &setting, absolute_density, N_ABSOLUTE, 1, 0.8);
}

/* Three features in six neurons: two for each, one for each sign. */
static sonde_status check_small(sondep_toy_run *r)
{
    static const sondep_toy_setting setting = {SONDE_TOY_ABSOLUTE,   3, 6, 4000, 10000, 1024, 3e-3, 0.0,
                                               SONDE_SCHEDULE_COSINE};
    int64_t best, single = 0, signs[3][2] = {{0}};
    double density = 0.5;
    sonde_toy_opts sizes = sondep_toy_opts_of(r, &setting);
    sonde_toy *t = NULL;
    const float *w;
    sonde_status status;

    if (sizes.n_features != 3 || sizes.n_hidden != 6)
        return SONDE_OK;
    SONDE_TRY_DONE(train(&t, &best, r, &setting, &density, 1, 32, 1.0));
    w = sonde_toy_weights(t, best);
    /* each neuron, and which sign of which feature it is for */
    for (int64_t j = 0; j < 6; j++) {
        single += features_of(w, 3, 6, j) == 1;
        for (int64_t i = 0; i < 3; i++)
            if (fabs((double)w[i * 6 + j]) > 0.3)
                signs[i][w[i * 6 + j] > 0.0f]++;
    }
    status = sondep_toy_check(
        r, single == 6 && signs[0][0] * signs[0][1] * signs[1][0] * signs[1][1] * signs[2][0] * signs[2][1] == 1,
        "three features in six neurons", "each neuron one feature, each feature one neuron for each sign",
        "%lld of 6 neurons with one feature", (long long)single);
done:
    sonde_toy_free(t);
    return status;
}

/* Shares of the neurons that do something and have one feature; and how many do something. */
static void count_single(double *share, double *working, const float *w, int64_t n, int64_t m)
{
    double single = 0.0;

    *working = 0.0;
    for (int64_t j = 0; j < m; j++) {
        int64_t count = features_of(w, n, m, j);
        *working += count > 0;
        single += count == 1;
    }
    *share = *working > 0.0 ? single / *working : 0.0;
}

/* Neurons that do nothing are not counted. */
sonde_status sondep_toy_absolute(sondep_toy_run *r)
{
    double share[N_ABSOLUTE], working[N_ABSOLUTE];
    char titles[N_ABSOLUTE][TITLE];
    const char *names[N_ABSOLUTE];
    int64_t best[N_ABSOLUTE];
    sonde_toy *t = NULL;
    sonde_status status;

    SONDE_TRY_DONE(train_absolute(&t, best, r));
    for (int64_t k = 0; k < N_ABSOLUTE; k++) {
        count_single(&share[k], &working[k], sonde_toy_weights(t, best[k]), sonde_toy_get_opts(t)->n_features,
                     sonde_toy_get_opts(t)->n_hidden);
        names[k] = titles[k];
        snprintf(titles[k], TITLE, "density %g", absolute_density[k]);
    }
    SONDE_TRY_DONE(draw_neurons(
        r, "neurons",
        "Weights into the neurons of models that compute |x|. Dense features have two neurons each, one for each "
        "sign; sparse ones share them.",
        t, best, names, N_ABSOLUTE));
    sondep_toy_put(r, "density", absolute_density, N_ABSOLUTE);
    sondep_toy_put(r, "monosemantic", share, N_ABSOLUTE);
    SONDE_TRY_DONE(check_small(r));
    SONDE_TRY_DONE(sondep_toy_check(r, share[0] > 0.8, "density 1: monosemantic neurons", "more than 0.8 of those that work",
                                    "%.2f of %.0f", share[0], working[0]));
    status = sondep_toy_check(r, share[N_ABSOLUTE - 1] < 0.3 && share[3] < share[0], "sparse: polysemantic neurons",
                              "fewer and fewer with one feature, below 0.3 at density 0.001",
                              "%.2f, %.2f, %.2f, %.2f, %.2f, %.2f, %.2f", share[0], share[1], share[2], share[3], share[4],
                              share[5], share[6]);
done:
    sonde_toy_free(t);
    return status;
}

/* ---- the motif --------------------------------------------------------------------------------------------------------------------- */

/* One place where it was found. */
typedef struct motif {
    int64_t neuron, large, small, inhibitor;
    double in[2], out[2], inhibition;
} motif;

/* Whether neuron j takes feature a with a large weight and b with a small one of the other sign, and gives them back the other way round; and another
 * neuron that is on for a, with the same sign, pushes b down. */
static bool is_motif(motif *found, const float *in, const float *out, int64_t m, int64_t j, int64_t a, int64_t b)
{
    double ia = in[a * m + j], ib = in[b * m + j], oa = out[a * m + j], ob = out[b * m + j];

    /* unequal weights in, of different signs; the other way round out */
    if (!(ia * ib < 0.0 && fabs(ia) > 2.0 * fabs(ib) && ob > 2.0 * oa && oa > 0.1 && fabs(ib) > 0.1))
        return false;
    /* a neuron that is on with a, and pushes b down */
    for (int64_t k = 0; k < m; k++) {
        if (k == j || !(in[a * m + k] * ia > 0.1) || !(out[b * m + k] < -0.1))
            continue;
        /* the strongest is shown */
        if (fabs(ia) > fabs(found->in[0]))
            *found = (motif){j, a, b, k, {ia, ib}, {oa, ob}, out[b * m + k]};
        return true;
    }
    return false;
}

/* All of them in one model; the strongest so far. */
static int64_t count_motifs(motif *found, const float *in, const float *out, int64_t n, int64_t m)
{
    int64_t count = 0;

    for (int64_t j = 0; j < m; j++)
        for (int64_t a = 0; a < n; a++)
            for (int64_t b = 0; b < n; b++)
                count += a != b && is_motif(found, in, out, m, j, a, b);
    return count;
}

/* Counted in all models; the strongest is printed. */
sonde_status sondep_toy_motif(sondep_toy_run *r)
{
    double counts[N_ABSOLUTE], all = 0.0;
    char titles[N_ABSOLUTE][TITLE];
    const char *names[N_ABSOLUTE];
    int64_t best[N_ABSOLUTE];
    motif found = {0};
    sonde_toy *t = NULL;
    sonde_status status;

    SONDE_TRY_DONE(train_absolute(&t, best, r));
    for (int64_t k = 0; k < N_ABSOLUTE; k++) {
        counts[k] = (double)count_motifs(&found, sonde_toy_weights(t, best[k]), sonde_toy_weights_out(t, best[k]),
                                         sonde_toy_get_opts(t)->n_features, sonde_toy_get_opts(t)->n_hidden);
        all += counts[k];
        names[k] = titles[k];
        snprintf(titles[k], TITLE, "density %g", absolute_density[k]);
    }
    SONDE_TRY_DONE(draw_neurons(
        r, "neurons",
        "Weights into the neurons: a neuron of the motif has one large weight and a smaller one of the other sign.", t, best,
        names, N_ABSOLUTE));
    sondep_toy_put(r, "density", absolute_density, N_ABSOLUTE);
    sondep_toy_put(r, "motifs", counts, N_ABSOLUTE);
    SONDE_TRY_DONE(
        sondep_toy_check(r, counts[0] == 0.0, "density 1: none", "no neuron serves two features", "%.0f", counts[0]));
    status = sondep_toy_check(
        r, all > 0.0, "asymmetric superposition with inhibition",
        "a neuron [2, -1/2] in, [1/2, 2] out, and another that inhibits",
        "%.0f places; the strongest: neuron %lld, features %lld and %lld, in [%.2f, %.2f], out [%.2f, %.2f], "
        "inhibited by neuron %lld with %.2f",
        all, (long long)found.neuron, (long long)found.large, (long long)found.small, found.in[0], found.in[1], found.out[0],
        found.out[1], (long long)found.inhibitor, found.inhibition);
done:
    sonde_toy_free(t);
    return status;
}
