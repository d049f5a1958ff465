/* dynamics.c - what happens while a toy model trains.                          floor 8: toy
 *
 *   energy   sixty features in twenty numbers, at a density where they settle as digons. Every so many steps the dimensionality of each feature is kept. The
 *            sum of their moves between two snapshots is held against the fall of the loss between them: jumps and drops coincide.
 *   stages   two sets of three correlated features in three dimensions. Training goes through a few shapes; it ends in an octahedron, whose
 *            opposite corners are features of different sets (a triangular antiprism, seen along the axis between the sets).
 *
 * The step size is constant: with one that falls, the loss would fall with it, whatever features do.
 *
 * Source: Elhage et al. 2022, "Superposition and learning dynamics".
 */
#include "toy/experiment.h"

#include <math.h>

enum { MOST_SNAPSHOTS = 160 };

/* A history: numbers of each snapshot side by side, and the loss of the steps before it. */
typedef struct history {
    int64_t n, width;
    double *values, *loss, *step; /* (n,width), (n), (n) */
} history;

/* What was made is freed by history_free, also if the rest fails. */
static sonde_status history_make(history *h, int64_t n, int64_t width)
{
    *h = (history){n, width, NULL, NULL, NULL};
    SONDE_TRY(SONDE_NEW(h->values, n * width));
    SONDE_TRY(SONDE_NEW(h->loss, n));
    return SONDE_NEW(h->step, n);
}

/* Fine on a zero struct. */
static void history_free(history *h)
{
    sondep_free(h->values);
    sondep_free(h->loss);
    sondep_free(h->step);
}

/* Every number as a curve over steps, at most 64 of them. */
static sonde_status draw_curves(sondep_toy_run *r, const history *h, const char *name, const char *caption,
                                const char *y_name)
{
    sonde_plot_series series[64];
    int64_t n = h->width < 64 ? h->width : 64;
    double *columns;
    sonde_plot_opts o;
    sonde_status status;

    SONDE_TRY(SONDE_NEW(columns, n * h->n));
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < h->n; k++)
            columns[i * h->n + k] = h->values[k * h->width + i];
        series[i] = (sonde_plot_series){NULL, h->step, columns + i * h->n, h->n};
    }
    sonde_plot_opts_init(&o);
    o.x_name = "steps";
    o.y_name = y_name;
    status = sondep_toy_draw_lines(r, name, caption, series, n, &o);
    sondep_free(columns);
    return status;
}

/* The loss over steps. */
static sonde_status draw_loss(sondep_toy_run *r, const history *h)
{
    sonde_plot_series series = {NULL, h->step, h->loss, h->n};
    sonde_plot_opts o;

    sonde_plot_opts_init(&o);
    o.x_name = "steps";
    o.y_name = "loss";
    o.y_log = 1;
    return sondep_toy_draw_lines(r, "loss", "The loss falls in steps.", &series, 1, &o);
}

/* As many snapshots as there are steps, up to some; at least two. */
static sonde_status count_snapshots(int64_t *n, const sonde_toy_opts *o)
{
    *n = o->steps < MOST_SNAPSHOTS ? o->steps : MOST_SNAPSHOTS;
    return *n >= 2 ? SONDE_OK : SONDE_FAIL(SONDE_E_ARG, "option 'steps' is %lld: two are the least", (long long)o->steps);
}

/* Trains up to where snapshot k of n is taken, all of them evenly spaced, and lets somebody look. losses: a number for each instance. */
static sonde_status train_to(sondep_toy_run *r, sonde_toy *t, double *losses, int64_t k, int64_t n)
{
    int64_t to = sonde_toy_get_opts(t)->steps * (k + 1) / n;

    SONDE_TRY(sonde_toy_train(t, losses, to - sonde_toy_steps(t)));
    return r->opts.watch != NULL ? r->opts.watch(t, losses, r->opts.ctx) : SONDE_OK;
}

/* ---- energy levels ---------------------------------------------------------------------------------------------------------- */

/* One model, a snapshot of all dimensionalities every so many steps. */
static sonde_status train_energy(history *h, sondep_toy_run *r)
{
    static const sondep_toy_setting setting = {SONDE_TOY_RELU,         60, 20, 8000, 20000, 1024, 1e-3, 0.0,
                                               SONDE_SCHEDULE_CONSTANT};
    sonde_toy_opts o = sondep_toy_opts_of(r, &setting);
    double density = sondep_toy_real(r->opts.density, 0.34), *p = NULL;
    int64_t n;
    sonde_toy *t = NULL;
    sonde_status status;

    SONDE_TRY(count_snapshots(&n, &o));
    SONDE_TRY_DONE(sondep_toy_probabilities(&p, &density, 1, 1, o.n_features));
    o.probability = p;
    SONDE_TRY_DONE(sondep_toy_note_setup(r, &o));
    SONDE_TRY_DONE(history_make(h, n, o.n_features));
    SONDE_TRY_DONE(sonde_toy_new(&t, &o));
    for (int64_t k = 0; k < n; k++) {
        SONDE_TRY_DONE(train_to(r, t, &h->loss[k], k, n));
        h->step[k] = (double)sonde_toy_steps(t);
        sonde_toy_features(NULL, NULL, h->values + k * o.n_features, sonde_toy_weights(t, 0), o.n_features, o.n_hidden);
    }
    status = SONDE_OK;
done:
    sonde_toy_free(t);
    sondep_free(p);
    return status;
}

/* Jumps and falls are compared interval by interval: a jump that came before its fall would not count. */
sonde_status sondep_toy_energy(sondep_toy_run *r)
{
    double moved[MOST_SNAPSHOTS], fell[MOST_SNAPSHOTS], together;
    history h = {0};
    int64_t at_half = 0, kept = 0;
    sonde_status status;

    SONDE_TRY_DONE(train_energy(&h, r));
    /* how far all features moved between two snapshots, and how far the loss fell */
    for (int64_t k = 1; k < h.n; k++) {
        moved[k] = 0.0;
        for (int64_t i = 0; i < h.width; i++)
            moved[k] += fabs(h.values[k * h.width + i] - h.values[(k - 1) * h.width + i]);
        fell[k] = h.loss[k - 1] - h.loss[k];
    }
    /* where they are at the end */
    for (int64_t i = 0; i < h.width; i++) {
        double d = h.values[(h.n - 1) * h.width + i];
        kept += d > 0.05;
        at_half += fabs(d - 0.5) <= 0.05;
    }
    SONDE_TRY_DONE(draw_curves(r, &h, "dimensionality",
                               "Dimensionality of each feature (of at most 64) while the model trains: they rest at levels, "
                               "and jump from one to another.",
                               "dimensionality"));
    SONDE_TRY_DONE(draw_loss(r, &h));
    sondep_toy_put(r, "step", h.step, h.n);
    sondep_toy_put(r, "loss", h.loss, h.n);
    together = sondep_toy_correlation(moved + 1, fell + 1, h.n - 1);
    SONDE_TRY_DONE(sondep_toy_check(r, at_half * 2 > kept, "features settle as digons",
                                    "most that are kept within 0.05 of 1/2", "%lld of %lld", (long long)at_half,
                                    (long long)kept));
    status = sondep_toy_check(r, together > 0.5, "the loss falls when features jump",
                              "falls of the loss and moves of dimensionalities correlate above 0.5", "%.3f", together);
done:
    history_free(&h);
    return status;
}

/* ---- geometric steps --------------------------------------------------------------------------------------------------------- */

/* The 15 cosines, those within the sets first. */
static void cosines_of(double *out, const float *w)
{
    int64_t at = 0;

    for (int across = 0; across < 2; across++)
        for (int64_t i = 0; i < 6; i++)
            for (int64_t j = i + 1; j < 6; j++)
                if ((i / 3 != j / 3) == across)
                    out[at++] = sondep_toy_cosine(w, 3, i, j);
}

/* Restarts side by side, a snapshot of each every so many steps; the best one's history. */
static sonde_status train_stages(history *h, sondep_toy_run *r, float *w)
{
    static const sondep_toy_setting setting = {SONDE_TOY_RELU, 6, 3, 8000, 20000, 1024, 1e-3, 0.0, SONDE_SCHEDULE_CONSTANT};
    static const sonde_toy_set sets[] = {{SONDE_TOY_ALL_OF, 0, 3}, {SONDE_TOY_ALL_OF, 3, 3}};
    sonde_toy_opts o = sondep_toy_opts_of(r, &setting);
    int64_t restarts = sondep_toy_size(r, r->opts.restarts, 24, 64), best, n;
    double density = sondep_toy_real(r->opts.density, 0.1), *p = NULL, *losses = NULL, *all = NULL;
    sonde_toy *t = NULL;
    sonde_status status;

    o.n_instances = restarts;
    o.sets = sets;
    o.n_sets = 2;
    SONDE_TRY(count_snapshots(&n, &o));
    SONDE_TRY_DONE(sondep_toy_probabilities(&p, &density, 1, restarts, 6));
    SONDE_TRY_DONE(SONDE_NEW(losses, n * restarts));
    SONDE_TRY_DONE(SONDE_NEW(all, n * restarts * 15));
    o.probability = p;
    SONDE_TRY_DONE(sondep_toy_note_setup(r, &o));
    SONDE_TRY_DONE(sonde_toy_new(&t, &o));
    for (int64_t k = 0; k < n; k++) {
        SONDE_TRY_DONE(train_to(r, t, losses + k * restarts, k, n));
        /* which restart is the best is not known before the end */
        for (int64_t i = 0; i < restarts; i++)
            cosines_of(all + (k * restarts + i) * 15, sonde_toy_weights(t, i));
    }
    SONDE_TRY_DONE(sondep_toy_best(&best, t, restarts, 1 << 17));
    SONDE_TRY_DONE(history_make(h, n, 15));
    /* only the history of the best one is kept */
    for (int64_t k = 0; k < n; k++) {
        memcpy(h->values + k * 15, all + (k * restarts + best) * 15, 15 * sizeof *all);
        h->loss[k] = losses[k * restarts + best];
        h->step[k] = (double)(o.steps * (k + 1) / n);
    }
    memcpy(w, sonde_toy_weights(t, best), 18 * sizeof *w);
done:
    sonde_toy_free(t);
    sondep_free(p);
    sondep_free(losses);
    sondep_free(all);
    return status;
}

/* The shape is judged by angles alone: within the sets, and to the nearest opposite. */
sonde_status sondep_toy_stages(sondep_toy_run *r)
{
    double spread = 0.0, opposite = -1.0, mean = 0.0;
    history h = {0};
    float w[18];
    sonde_status status;

    SONDE_TRY_DONE(train_stages(&h, r, w));
    /* within sets all cosines alike; each feature opposite one of the other set */
    for (int64_t k = 0; k < 6; k++)
        mean += h.values[(h.n - 1) * 15 + k] / 6.0;
    for (int64_t k = 0; k < 6; k++)
        spread = fmax(spread, fabs(h.values[(h.n - 1) * 15 + k] - mean));
    for (int64_t i = 0; i < 6; i++) {
        double least = 1.0;
        for (int64_t j = 0; j < 6; j++)
            least = i / 3 != j / 3 ? fmin(least, sondep_toy_cosine(w, 3, i, j)) : least;
        opposite = fmax(opposite, least);
    }
    SONDE_TRY_DONE(draw_curves(r, &h, "cosines",
                               "Cosines of all pairs of features while the model trains: they come together in a few steps.",
                               "cosine"));
    SONDE_TRY_DONE(draw_loss(r, &h));
    sondep_toy_put(r, "step", h.step, h.n);
    sondep_toy_put(r, "loss", h.loss, h.n);
    status = sondep_toy_check(
        r, spread < 0.1 && opposite < -0.8, "it ends in a regular shape",
        "a triangular antiprism (octahedron): equal angles within each set, each feature opposite one of the other",
        "within sets %.2f +- %.2f, opposites %.2f or less", mean, spread, opposite);
done:
    history_free(&h);
    return status;
}
