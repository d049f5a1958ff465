/* uniform.c - features that are all alike: how many dimensions each has, and in which shapes they lie.     floor 8: toy
 *
 * n = 400 features of equal importance in m = 30 numbers, one model for each density. Three views of the same models:
 *
 *   uniform          D* = m / |W|_F^2 over 1 / density: how many dimensions a feature has on average. |W_i| is near 1 for a feature that is kept
 *                    and near 0 for one that is not, so that |W|_F^2 counts the kept ones. The curve rests at 1 and at 1/2.
 *   dimensionality   D_i = |W_i|^2 / sum_j (W_i / |W_i| . W_j)^2 of each feature as a point. They sum to m at most, and gather at the fractions of
 *                    regular shapes: 1/2 for digons, 2/5 for pentagons, 3/8 for square antiprisms.
 *   geometry         the graph whose edges are products |W_i . W_j| that are not small; its components are these shapes, each in dimensions of
 *                    its own (a tegum product). They are named from the Gram matrix alone (measure.c); a matrix with the same numbers in
 *                    another order must get no names.
 *
 * At density 1 all features are alike and all directions are equally good, so that W spans the m dimensions without lying along features: the
 * points there are spread, as in the paper.
 *
 * Source: Elhage et al. 2022, "The geometry of superposition".
 */
#include "toy/experiment.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_DENSITIES = 100, N_FRACTIONS = 7 };

static const double fractions[N_FRACTIONS] = {0.0, 3.0 / 8, 2.0 / 5, 1.0 / 2, 2.0 / 3, 3.0 / 4, 1.0};

/* A model for each density. Owns: *out is the caller's. */
static sonde_status train(sonde_toy **out, sondep_toy_run *r, const double *density, int64_t n_densities)
{
    static const sondep_toy_setting setting = {SONDE_TOY_RELU, 400, 30, 3000, 10000, 1024, 3e-3, 0.0, SONDE_SCHEDULE_COSINE};
    sonde_toy_opts o = sondep_toy_opts_of(r, &setting);
    double *probability = NULL;
    sonde_status status;

    o.n_instances = n_densities;
    SONDE_TRY_DONE(sondep_toy_probabilities(&probability, density, n_densities, 1, o.n_features));
    o.probability = probability;
    status = sondep_toy_trained(out, r, &o, NULL);
done:
    sondep_free(probability);
    return status;
}

/* How many densities, evenly spaced in logarithms. */
static sonde_status densities_of(const sondep_toy_run *r, double *density, int64_t *n, int64_t quick, int64_t paper,
                                 double first, double last)
{
    *n = sondep_toy_size(r, r->opts.n_instances, quick, paper);
    if (*n > MOST_DENSITIES)
        return SONDE_FAIL(SONDE_E_ARG, "option 'instances' is %lld: at most %d densities", (long long)*n, MOST_DENSITIES);
    sondep_toy_log_space(density, *n, first, sondep_toy_real(r->opts.density, last));
    return SONDE_OK;
}

/* The curve of D*. */
static sonde_status draw_curve(sondep_toy_run *r, const double *density, const double *each, int64_t n)
{
    double x[MOST_DENSITIES], line[MOST_DENSITIES], one[MOST_DENSITIES];
    sonde_plot_series series[3] = {{"D* = m / |W|^2", x, each, n}, {"1", x, one, n}, {"1/2", x, line, n}};
    sonde_plot_opts o;

    for (int64_t i = 0; i < n; i++) {
        x[i] = 1.0 / density[i];
        line[i] = 0.5;
        one[i] = 1.0;
    }
    sondep_toy_sparsity_axes(&o, "dimensions of each feature, D*");
    return sondep_toy_draw_lines(r, "dimensions",
                                 "Dimensions of each feature over sparsity. The curve rests at 1, where every "
                                 "feature that is kept has a dimension, and at 1/2, where features lie in opposite pairs.",
                                 series, 3, &o);
}

/* The longest run of densities whose D* is within 0.02 of a half. */
static int64_t rest_at_half(const double *each, int64_t n, int64_t *first)
{
    int64_t longest = 0, now = 0;

    for (int64_t i = 0; i < n; i++) {
        /* one density in the range may be chance, two that follow each other are a rest */
        now = fabs(each[i] - 0.5) <= 0.02 ? now + 1 : 0;
        if (now > longest) {
            longest = now;
            *first = i - now + 1;
        }
    }
    return longest;
}

/* The rest at 1/2 must last: a curve that falls through it has one density there by chance. */
sonde_status sondep_toy_uniform(sondep_toy_run *r)
{
    double density[MOST_DENSITIES], each[MOST_DENSITIES] = {0};
    int64_t n, longest, first = 0;
    sonde_toy *t = NULL;
    sonde_status status;

    SONDE_TRY_DONE(densities_of(r, density, &n, 16, 60, 1.0, 1.0 / 15));
    SONDE_TRY_DONE(train(&t, r, density, n));
    for (int64_t k = 0; k < n; k++)
        each[k] = sonde_toy_dimensions_each(sonde_toy_weights(t, k), sonde_toy_get_opts(t)->n_features,
                                            sonde_toy_get_opts(t)->n_hidden);
    sondep_toy_put(r, "density", density, n);
    sondep_toy_put(r, "dimensions_each", each, n);
    SONDE_TRY_DONE(draw_curve(r, density, each, n));
    longest = rest_at_half(each, n, &first);
    SONDE_TRY_DONE(sondep_toy_check(r, fabs(each[0] - 1.0) <= 0.02, "density 1: a dimension each", "D* within 0.02 of 1",
                                    "%.4f", each[0]));
    status =
        sondep_toy_check(r, longest >= 2, "it rests at 1/2", "D* within 0.02 of 1/2 at two densities that follow each other",
                         "%lld densities, from %.3g to %.3g", (long long)longest, longest > 0 ? density[first] : 0.0,
                         longest > 0 ? density[first + longest - 1] : 0.0);
done:
    sonde_toy_free(t);
    return status;
}

/* ---- dimensionality ----------------------------------------------------------------------------------------------------------- */

/* All features of all densities as points, over lines at the fractions. */
static sonde_status draw_cloud(sondep_toy_run *r, const double *x, const double *y, int64_t n, double most)
{
    double right = most > 1.0 ? log10(most) : 1.0; /* of density 1 alone there is no range */
    sonde_plot_drawing panel = {0};
    sonde_plot_shape *shapes;
    sonde_plot_opts o;
    char *path;
    sonde_status status;

    SONDE_TRY(SONDE_NEW(shapes, n + N_FRACTIONS));
    for (int k = 0; k < N_FRACTIONS; k++)
        shapes[k] = (sonde_plot_shape){SONDE_PLOT_SHAPE_LINE, 0.0, fractions[k], right, fractions[k], 0.7, NAN, k % 7};
    for (int64_t i = 0; i < n; i++)
        shapes[N_FRACTIONS + i] = (sonde_plot_shape){SONDE_PLOT_SHAPE_POINT, log10(x[i]), y[i], 0, 0, 0.9, NAN, 4};
    panel = (sonde_plot_drawing){NULL, shapes, n + N_FRACTIONS, -0.05 * right, 1.05 * right, -0.05, 1.1, 1};
    sonde_plot_opts_init(&o);
    o.title = r->experiment->title;
    o.subtitle = "dimensionality of features upwards, 1 / density to the right (logarithmic); lines, from below: 0, 3/8 "
                 "(square antiprism), 2/5 (pentagon), 1/2 (digon), 2/3 (triangle), 3/4 (tetrahedron), 1";
    status = sondep_toy_picture_path(
        &path, r, "cloud", "Each point is a feature of one of the models; lines are the fractions of regular shapes.");
    if (status == SONDE_OK) {
        status = sonde_plot_drawings(path, &panel, 1, &o);
        sondep_free(path);
    }
    sondep_free(shapes);
    return status;
}

/* How many features lie at each of the fractions. */
static void count_near(int64_t *near, const double *dimensionality, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < N_FRACTIONS; k++)
            near[k] += fabs(dimensionality[i] - fractions[k]) <= 0.01;
}

/* 0 counts as a fraction, too: features that are not learnt. */
sonde_status sondep_toy_dimensionality(sondep_toy_run *r)
{
    double density[MOST_DENSITIES], *x = NULL, *y = NULL, share = 0.0;
    int64_t n, near[N_FRACTIONS] = {0}, features;
    sonde_toy *t = NULL;
    sonde_status status;

    SONDE_TRY_DONE(densities_of(r, density, &n, 16, 60, 1.0, 1.0 / 15));
    SONDE_TRY_DONE(train(&t, r, density, n));
    features = sonde_toy_get_opts(t)->n_features;
    SONDE_TRY_DONE(SONDE_NEW(x, n * features));
    SONDE_TRY_DONE(SONDE_NEW(y, n * features));
    for (int64_t k = 0; k < n; k++) {
        sonde_toy_features(NULL, NULL, y + k * features, sonde_toy_weights(t, k), features, sonde_toy_get_opts(t)->n_hidden);
        for (int64_t i = 0; i < features; i++)
            x[k * features + i] = 1.0 / density[k];
    }
    count_near(near, y, n * features);
    for (int k = 0; k < N_FRACTIONS; k++)
        share += (double)near[k] / (double)(n * features);
    SONDE_TRY_DONE(draw_cloud(r, x, y, n * features, 1.0 / density[n - 1]));
    sondep_toy_put(r, "density", density, n);
    SONDE_TRY_DONE(sondep_toy_check(r, share > 0.14, "features at the fractions of regular shapes",
                                    "more than by chance (14 %) within 0.01 of 0, 3/8, 2/5, 1/2, 2/3, 3/4, 1",
                                    "%.1f %% of %lld", 100.0 * share, (long long)(n * features)));
    status = sondep_toy_check(r, near[3] > near[1] && near[3] > near[4], "clusters", "the largest at 1/2",
                              "0: %lld, 3/8: %lld, 2/5: %lld, 1/2: %lld, 2/3: %lld, 3/4: %lld, 1: %lld", (long long)near[0],
                              (long long)near[1], (long long)near[2], (long long)near[3], (long long)near[4],
                              (long long)near[5], (long long)near[6]);
done:
    sonde_toy_free(t);
    sondep_free(x);
    sondep_free(y);
    return status;
}

/* ---- shapes -------------------------------------------------------------------------------------------------------------------- */

/* Where features of a graph stand: components on a spiral from the middle outwards, each with room for its features, which stand on a
 * circle in their order. */
static sonde_status place(double *x, double *y, const float *w, int64_t n, int64_t m, double join)
{
    int64_t *component = NULL, *size = NULL, *seen = NULL, n_parts;
    sonde_toy_shape *shapes = NULL;
    double area = 0.0, all = 0.0;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(component, n));
    SONDE_TRY_DONE(SONDE_NEW(shapes, n));
    SONDE_TRY_DONE(SONDE_NEW(size, n));
    SONDE_TRY_DONE(SONDE_NEW(seen, n));
    n_parts = sonde_toy_components(component, shapes, w, n, m, join, 0.5, 0.1);
    for (int64_t i = 0; i < n; i++)
        if (component[i] >= 0)
            size[component[i]]++;
    /* room goes by the number of features */
    for (int64_t c = 0; c < n_parts; c++)
        all += 1.0 + (double)size[c];
    for (int64_t c = 0; c < n_parts; c++) {
        double angle = 2.399963 * (double)c, middle = area + 0.5 * (1.0 + (double)size[c]),
               radius = 0.6 * sqrt((double)size[c] / all);
        double out = n_parts > 1 ? 1.1 * sqrt(middle / all) : 0.0;
        area += 1.0 + (double)size[c];
        for (int64_t i = 0; i < n; i++) {
            double turn = 6.283185307179586 * (double)seen[c] / (double)size[c];
            if (component[i] != c)
                continue;
            x[i] = out * cos(angle) + radius * cos(turn);
            y[i] = out * sin(angle) + radius * sin(turn);
            seen[c]++;
        }
    }
done:
    sondep_free(component);
    sondep_free(shapes);
    sondep_free(size);
    sondep_free(seen);
    return status;
}

/* Edges, grey by strength, and features, coloured by their dimensionality. Owns: *out is the caller's. */
static sonde_status graph_of(sonde_plot_shape **out, int64_t *n_shapes, const float *w, int64_t n, int64_t m, double join)
{
    double *x = NULL, *y = NULL, *dimensionality = NULL;
    int64_t at = 0;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(x, n));
    SONDE_TRY_DONE(SONDE_NEW(y, n));
    SONDE_TRY_DONE(SONDE_NEW(dimensionality, n));
    SONDE_TRY_DONE(SONDE_NEW(*out, n * (n + 1) / 2));
    sonde_toy_features(NULL, NULL, dimensionality, w, n, m);
    SONDE_TRY_DONE(place(x, y, w, n, m, join));
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i + 1; j < n; j++) {
            double dot = 0.0;
            for (int64_t k = 0; k < m; k++)
                dot += (double)w[i * m + k] * w[j * m + k];
            if (fabs(dot) >= join && (x[i] != 0.0 || y[i] != 0.0) && (x[j] != 0.0 || y[j] != 0.0))
                (*out)[at++] = (sonde_plot_shape){SONDE_PLOT_SHAPE_LINE, x[i], y[i], x[j], y[j], 0.3 + fabs(dot), NAN, -1};
        }
    for (int64_t i = 0; i < n; i++)
        if (x[i] != 0.0 || y[i] != 0.0)
            (*out)[at++] = (sonde_plot_shape){SONDE_PLOT_SHAPE_POINT, x[i], y[i], 0, 0, 2.2, dimensionality[i], 0};
    *n_shapes = at;
done:
    sondep_free(x);
    sondep_free(y);
    sondep_free(dimensionality);
    return status;
}

/* A panel for each density. */
static sonde_status draw_graphs(sondep_toy_run *r, sonde_toy *t, const double *density, int64_t n_models, double join)
{
    const sonde_toy_opts *s = sonde_toy_get_opts(t);
    sonde_plot_drawing panels[MOST_DENSITIES] = {{0}};
    sonde_plot_shape *shapes[MOST_DENSITIES] = {NULL};
    char titles[MOST_DENSITIES][32], *path;
    sonde_plot_opts o;
    sonde_status status = SONDE_OK;

    for (int64_t k = 0; k < n_models && status == SONDE_OK; k++) {
        int64_t n_shapes = 0;
        status = graph_of(&shapes[k], &n_shapes, sonde_toy_weights(t, k), s->n_features, s->n_hidden, join);
        snprintf(titles[k], sizeof titles[k], "density %.3g", density[k]);
        panels[k] = (sonde_plot_drawing){titles[k], shapes[k], n_shapes, -1.3, 1.3, -1.3, 1.3, 0};
    }
    sonde_plot_opts_init(&o);
    o.title = r->experiment->title;
    o.value_name = "dimensionality of a feature";
    o.low = 0.0;
    o.high = 1.0;
    o.panel_columns = 3;
    if (status == SONDE_OK)
        status = sondep_toy_picture_path(
            &path, r, "graphs",
            "Features that are kept as points; lines join those whose |W_i . W_j| is not small. What hangs together "
            "are regular shapes: pairs, triangles, pentagons.");
    if (status == SONDE_OK) {
        status = sonde_plot_drawings(path, panels, n_models, &o);
        sondep_free(path);
    }
    for (int64_t k = 0; k < n_models; k++)
        sondep_free(shapes[k]);
    return status;
}

/* How many components of each shape there are, over all models. */
static sonde_status count_shapes(int64_t *counts, sonde_toy *t, int64_t n_models, double join)
{
    const sonde_toy_opts *s = sonde_toy_get_opts(t);
    int64_t *component = NULL;
    sonde_toy_shape *shapes = NULL;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(component, s->n_features));
    SONDE_TRY_DONE(SONDE_NEW(shapes, s->n_features));
    for (int64_t k = 0; k < n_models; k++) {
        int64_t n =
            sonde_toy_components(component, shapes, sonde_toy_weights(t, k), s->n_features, s->n_hidden, join, 0.5, 0.1);
        for (int64_t c = 0; c < n; c++)
            counts[shapes[c]]++;
    }
    status = SONDE_OK;
done:
    sondep_free(component);
    sondep_free(shapes);
    return status;
}

/* Numbers of a model's matrix in another order: no shape may come of it. */
static void shuffle(float *out, const float *w, int64_t n)
{
    memcpy(out, w, (size_t)n * sizeof *out);
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)(sonde_random_uniform(11, 12, (uint64_t)i) * (double)(i + 1));
        float x = out[i];
        out[i] = out[j];
        out[j] = x;
    }
}

/* Names that a shuffled matrix gets: features of their own and pairs of chance do not count. */
static sonde_status count_shuffled(int64_t *named, sonde_toy *t, double join)
{
    const sonde_toy_opts *s = sonde_toy_get_opts(t);
    int64_t n = s->n_features * s->n_hidden, *component = NULL, n_parts;
    sonde_toy_shape *shapes = NULL;
    float *w = NULL;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(w, n));
    SONDE_TRY_DONE(SONDE_NEW(component, s->n_features));
    SONDE_TRY_DONE(SONDE_NEW(shapes, s->n_features));
    /* the first model has the clearest shapes */
    shuffle(w, sonde_toy_weights(t, 0), n);
    n_parts = sonde_toy_components(component, shapes, w, s->n_features, s->n_hidden, join, 0.5, 0.1);
    *named = 0;
    for (int64_t c = 0; c < n_parts; c++)
        *named += shapes[c] > SONDE_TOY_ALONE_SHAPE;
    status = SONDE_OK;
done:
    sondep_free(w);
    sondep_free(component);
    sondep_free(shapes);
    return status;
}

/* From where all are digons to where shapes have grown together. */
sonde_status sondep_toy_geometry(sondep_toy_run *r)
{
    static const double join = 0.15;
    double density[MOST_DENSITIES];
    int64_t n, counts[SONDE_TOY_N_SHAPES] = {0}, shuffled = 0;
    sonde_toy *t = NULL;
    sonde_status status;

    SONDE_TRY_DONE(densities_of(r, density, &n, 6, 9, 0.45, 0.18));
    SONDE_TRY_DONE(train(&t, r, density, n));
    SONDE_TRY_DONE(count_shapes(counts, t, n, join));
    SONDE_TRY_DONE(count_shuffled(&shuffled, t, join));
    SONDE_TRY_DONE(draw_graphs(r, t, density, n, join));
    sondep_toy_put(r, "density", density, n);
    SONDE_TRY_DONE(sondep_toy_check(r, counts[SONDE_TOY_DIGON] > 0, "shapes among the components", "digons among them",
                                    "%lld digons, %lld triangles, %lld tetrahedra, %lld pentagons, %lld square antiprisms, "
                                    "%lld alone, %lld without a name",
                                    (long long)counts[SONDE_TOY_DIGON], (long long)counts[SONDE_TOY_TRIANGLE],
                                    (long long)counts[SONDE_TOY_TETRAHEDRON], (long long)counts[SONDE_TOY_PENTAGON],
                                    (long long)counts[SONDE_TOY_ANTIPRISM], (long long)counts[SONDE_TOY_ALONE_SHAPE],
                                    (long long)counts[SONDE_TOY_NO_SHAPE]));
    status = sondep_toy_check(r, shuffled == 0, "the first model's W, its numbers shuffled", "no component gets a name",
                              "%lld named", (long long)shuffled);
done:
    sonde_toy_free(t);
    return status;
}
