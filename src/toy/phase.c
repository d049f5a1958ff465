/* phase.c - phase diagrams: what was trained, beside the least loss of each arrangement.        floor 8: toy
 *
 * Two features in one dimension, W in {[1,0], [0,1], [a,-c]}; three in two, of which one is left out or two share a dimension. A feature
 * that is left out costs I (p/3 - p^2/4), its variance. A pair that shares a dimension costs
 *
 *   E[ I1 (max(a^2 x1 - a c x2 + b1, 0) - x1)^2 + I2 (max(c^2 x2 - a c x1 + b2, 0) - x2)^2 ]
 *
 * with the best a, c, b1, b2: integrated by Gauss and Legendre's rule over what is on, and minimised by Nelder and Mead's simplex. The rule has 16
 * points a side: the integrand bends where a ReLU cuts off, so that more would gain little, and borders are wanted to a cell.
 *
 * Each cell of the diagram is trained several times side by side with all others, thousands of models at once; the lowest loss over a
 * quarter of a million rows counts. A cell agrees with the theory if its phase is that of the theory there or in a neighbouring cell. Where
 * features are very sparse the gradient hardly sees two of them together, and restarts do not help: those cells are counted apart.
 *
 * Source: Elhage et al. 2022, "Superposition as a phase change"; Nelder and Mead 1965.
 */
#include "toy/experiment.h"

#include <math.h>
#include <stdio.h>

enum { POINTS = 16, MOST_GRID = 100, N_PARAMETERS = 4 };

/* What happens to the last feature. */
enum { LEFT_OUT, SHARES, OWN, N_REGIONS };

/* ---- the loss of a pair ------------------------------------------------------------------------------------------------------ */

/* Nodes and weights on [0,1]: roots of the Legendre polynomial by Newton's method. */
static void gauss_legendre(double *x, double *w)
{
    for (int i = 0; i < POINTS; i++) {
        double z = cos(3.14159265358979323846 * (i + 0.75) / (POINTS + 0.5)), slope = 1.0;
        for (int step = 0; step < 50; step++) {
            double p0 = 1.0, p1 = z;
            for (int k = 2; k <= POINTS; k++) {
                double p2 = ((2 * k - 1) * z * p1 - (k - 1) * p0) / k;
                p0 = p1;
                p1 = p2;
            }
            slope = POINTS * (z * p1 - p0) / (z * z - 1.0);
            z -= p1 / slope;
        }
        x[i] = 0.5 * (1.0 - z);
        w[i] = 1.0 / ((1.0 - z * z) * slope * slope);
    }
}

/* What a pair is judged by. */
typedef struct pair {
    double importance[2], p, x[POINTS], w[POINTS];
} pair;

/* The loss at one point; q: a, c, b1, b2. */
static double loss_at(const pair *t, const double *q, double x1, double x2)
{
    double y1 = fmax(q[0] * q[0] * x1 - q[0] * q[1] * x2 + q[2], 0.0) - x1;
    double y2 = fmax(q[1] * q[1] * x2 - q[0] * q[1] * x1 + q[3], 0.0) - x2;

    return t->importance[0] * y1 * y1 + t->importance[1] * y2 * y2;
}

/* None on, one, or both. */
static double pair_loss(const pair *t, const double *q)
{
    double one = 0.0, both = 0.0;

    for (int i = 0; i < POINTS; i++) {
        one += t->w[i] * (loss_at(t, q, t->x[i], 0.0) + loss_at(t, q, 0.0, t->x[i]));
        for (int j = 0; j < POINTS; j++)
            both += t->w[i] * t->w[j] * loss_at(t, q, t->x[i], t->x[j]);
    }
    return (1.0 - t->p) * (1.0 - t->p) * loss_at(t, q, 0.0, 0.0) + t->p * (1.0 - t->p) * one + t->p * t->p * both;
}

/* A corner of the simplex moved along the line through the middle of the others; its loss. */
static double try_corner(const pair *t, double *out, const double *middle, const double *corner, double factor)
{
    for (int k = 0; k < N_PARAMETERS; k++)
        out[k] = middle[k] + factor * (corner[k] - middle[k]);
    return pair_loss(t, out);
}

/* One step of Nelder and Mead's method on corners with their losses, the worst of which is number `worst`. */
static void simplex_step(const pair *t, double (*q)[N_PARAMETERS], double *loss, int worst, int best)
{
    double middle[N_PARAMETERS] = {0}, reflected[N_PARAMETERS], further[N_PARAMETERS], found, more;

    for (int i = 0; i <= N_PARAMETERS; i++)
        for (int k = 0; k < N_PARAMETERS && i != worst; k++)
            middle[k] += q[i][k] / N_PARAMETERS;
    /* away from the worst corner: as far again, further if that was good, less far if not */
    found = try_corner(t, reflected, middle, q[worst], -1.0);
    more = found < loss[best] ? try_corner(t, further, middle, q[worst], -2.0)
                              : try_corner(t, further, middle, q[worst], found < loss[worst] ? -0.5 : 0.5);
    if (fmin(found, more) < loss[worst]) {
        memcpy(q[worst], more < found ? further : reflected, sizeof reflected);
        loss[worst] = fmin(found, more);
        return;
    }
    /* nothing along this line: all corners come nearer to the best */
    for (int i = 0; i <= N_PARAMETERS; i++) {
        for (int k = 0; k < N_PARAMETERS && i != best; k++)
            q[i][k] = 0.5 * (q[i][k] + q[best][k]);
        loss[i] = pair_loss(t, q[i]);
    }
}

/* The least loss of a pair with these importances. */
static double least_pair_loss(pair *t, double first, double second, double p)
{
    double q[N_PARAMETERS + 1][N_PARAMETERS], loss[N_PARAMETERS + 1];
    int best = 0;

    /* from the arrangement that is meant: opposite, of length 1, without bias */
    t->importance[0] = first;
    t->importance[1] = second;
    t->p = p;
    for (int i = 0; i <= N_PARAMETERS; i++) {
        for (int k = 0; k < N_PARAMETERS; k++)
            q[i][k] = (k < 2 ? 1.0 : 0.0) + (i == k + 1 ? 0.2 : 0.0);
        loss[i] = pair_loss(t, q[i]);
    }
    for (int step = 0; step < 300; step++) {
        int worst = 0;
        for (int i = 1; i <= N_PARAMETERS; i++) {
            worst = loss[i] > loss[worst] ? i : worst;
            best = loss[i] < loss[best] ? i : best;
        }
        simplex_step(t, q, loss, worst, best);
    }
    for (int i = 1; i <= N_PARAMETERS; i++)
        best = loss[i] < loss[best] ? i : best;
    return loss[best];
}

/* ---- regions ------------------------------------------------------------------------------------------------------------------ */

/* The arrangement with the least loss, for an extra feature of importance r beside one of 1 (or two of 1). */
static int theory(pair *t, int64_t n, double r, double p)
{
    /* a pair of which one is 0 is no pair, and equal to the last digits */
    double variance = p / 3.0 - p * p / 4.0, shared = least_pair_loss(t, 1.0, r, p) * 1.0001;
    double left_out = r * variance, own = n == 2 ? variance : fmin(variance, least_pair_loss(t, 1.0, 1.0, p));

    if (left_out <= shared && left_out <= own)
        return LEFT_OUT;
    return shared < own ? SHARES : OWN;
}

/* What was trained: the last feature is short; lies opposite another; or neither. */
static int trained(const float *w, int64_t n, int64_t m)
{
    double norms[3], most = 0.0;

    sonde_toy_features(norms, NULL, NULL, w, n, m);
    if (norms[n - 1] < 0.5)
        return LEFT_OUT;
    for (int64_t i = 0; i < n - 1; i++) {
        double dot = 0.0;
        for (int64_t k = 0; k < m; k++)
            dot += (double)w[i * m + k] * w[(n - 1) * m + k];
        most = norms[i] >= 0.5 ? fmax(most, -dot / norms[i] / norms[n - 1]) : most;
    }
    return most > 0.5 ? SHARES : OWN;
}

/* Columns first .. end: cells whose region is nowhere among theirs and their neighbours' in the theory. */
static int64_t count_strangers(const float *found, const float *wanted, int64_t grid, int64_t first, int64_t end)
{
    int64_t strangers = 0;

    for (int64_t i = 0; i < grid; i++)
        for (int64_t j = first; j < end; j++) {
            bool is_known = false;
            for (int64_t a = i > 0 ? i - 1 : 0; a <= i + 1 && a < grid; a++)
                for (int64_t b = j > 0 ? j - 1 : 0; b <= j + 1 && b < grid; b++)
                    is_known = is_known || wanted[a * grid + b] == found[i * grid + j];
            strangers += !is_known;
        }
    return strangers;
}

/* Both maps against each other: where two features are on together in more than a few rows of a million, and where they are not. */
static sonde_status check_borders(sondep_toy_run *r, const float *found, const float *wanted, const double *density,
                                  int64_t grid)
{
    static const double sparse = 0.02;
    int64_t n_seen = 0, near, far;

    while (n_seen < grid && density[n_seen] >= sparse)
        n_seen++;
    near = count_strangers(found, wanted, grid, 0, n_seen);
    far = count_strangers(found, wanted, grid, n_seen, grid);
    SONDE_TRY(sondep_toy_check(r, near == 0, "borders where the least losses have them, density from 0.02 up",
                               "every cell's phase within one cell of the theory's", "%lld of %lld cells are further away",
                               (long long)near, (long long)(grid * n_seen)));
    SONDE_TRY(sondep_toy_check(r, far == 0, "the same, below density 0.02",
                               "every cell's phase within one cell of the theory's", "%lld of %lld cells are further away",
                               (long long)far, (long long)(grid * (grid - n_seen))));
    sondep_toy_differs(r, "two features are on together in fewer than one row of 2,500: gradients hardly see what tells the "
                          "arrangements apart, and all restarts of these cells end in a triangle, a local minimum");
    return SONDE_OK;
}

/* Both maps beside each other. */
static sonde_status draw(sondep_toy_run *r, const float *found, const float *wanted, const double *importance,
                         const double *density, int64_t grid)
{
    char texts[2 * MOST_GRID][16], *path;
    sonde_plot_label rows[MOST_GRID], columns[MOST_GRID];
    sonde_plot_matrix panels[2];
    sonde_plot_opts o;
    sonde_status status;

    for (int64_t i = 0; i < grid; i++) {
        snprintf(texts[i], 16, "%.2g", importance[i]);
        snprintf(texts[MOST_GRID + i], 16, "%.2g", density[i]);
        rows[i] = (sonde_plot_label){texts[i], -1};
        columns[i] = (sonde_plot_label){texts[MOST_GRID + i], -1};
    }
    panels[0] = (sonde_plot_matrix){.values = found, .title = "trained (best of each cell)"};
    panels[1] = (sonde_plot_matrix){.values = wanted, .title = "least loss of each arrangement"};
    for (int i = 0; i < 2; i++) {
        panels[i].n_rows = panels[i].n_columns = grid;
        panels[i].row_labels = rows;
        panels[i].column_labels = columns;
    }
    sonde_plot_opts_init(&o);
    o.title = r->experiment->title;
    o.x_name = "density of the features";
    o.y_name = "importance of the last feature";
    o.value_name = "last feature: 0 left out, 1 shares a dimension, 2 has one of its own";
    o.low = 0.0;
    o.high = 2.0;
    SONDE_TRY(sondep_toy_picture_path(&path, r, "diagram",
                                      "What becomes of the last feature, by its importance beside the others and by how "
                                      "dense features are; at the right what the least losses of the arrangements say."));
    status = sonde_plot_panels(path, panels, 2, &o);
    sondep_free(path);
    return status;
}

/* Every cell with its restarts, trained together. */
static sonde_status train_cells(float *found, sondep_toy_run *r, sonde_toy_opts *o, const double *importance,
                                const double *density, int64_t grid, int64_t restarts)
{
    int64_t n = o->n_features, *best = NULL;
    double *p = NULL, *I = NULL;
    sonde_toy *t = NULL;
    sonde_status status;

    /* cell by cell, its restarts beside each other */
    o->n_instances = grid * grid * restarts;
    SONDE_TRY_DONE(SONDE_NEW(p, o->n_instances * n));
    SONDE_TRY_DONE(SONDE_NEW(I, o->n_instances * n));
    SONDE_TRY_DONE(SONDE_NEW(best, grid * grid));
    for (int64_t i = 0; i < o->n_instances * n; i++) {
        int64_t cell = i / n / restarts;
        p[i] = density[cell % grid];
        /* the extra feature is the last one; the others have importance 1 */
        I[i] = i % n == n - 1 ? importance[cell / grid] : 1.0;
    }
    o->probability = p;
    o->importance = I;
    SONDE_TRY_DONE(sondep_toy_trained(&t, r, o, NULL));
    SONDE_TRY_DONE(sondep_toy_best(best, t, restarts, 1 << 18));
    for (int64_t cell = 0; cell < grid * grid; cell++)
        found[cell] = (float)trained(sonde_toy_weights(t, best[cell]), n, o->n_hidden);
done:
    sonde_toy_free(t);
    sondep_free(p);
    sondep_free(I);
    sondep_free(best);
    return status;
}

/* Importances from 10 down to 0.1, densities from 1 down to 0.01. */
static sonde_status run(sondep_toy_run *r, int64_t n, int64_t m)
{
    const sondep_toy_setting setting = {SONDE_TOY_RELU, n,    m,   n == 2 ? 5000 : 10000, 10000,
                                        1024,           1e-2, 0.0, SONDE_SCHEDULE_COSINE};
    int64_t grid = sondep_toy_size(r, r->opts.grid, 16, 40), restarts = sondep_toy_size(r, r->opts.restarts, 10, 10);
    double importance[MOST_GRID], density[MOST_GRID];
    sonde_toy_opts o = sondep_toy_opts_of(r, &setting);
    float *found = NULL, *wanted = NULL;
    bool seen[N_REGIONS] = {false};
    pair t;
    sonde_status status;

    if (grid > MOST_GRID)
        return SONDE_FAIL(SONDE_E_ARG, "option 'grid' is %lld: at most %d cells a side", (long long)grid, MOST_GRID);
    sondep_toy_log_space(importance, grid, 10.0, 0.1);
    sondep_toy_log_space(density, grid, 1.0, sondep_toy_real(r->opts.density, 0.01));
    SONDE_TRY_DONE(SONDE_NEW(found, grid * grid));
    SONDE_TRY_DONE(SONDE_NEW(wanted, grid * grid));
    SONDE_TRY_DONE(train_cells(found, r, &o, importance, density, grid, restarts));
    /* what the least losses say, cell by cell */
    gauss_legendre(t.x, t.w);
    for (int64_t cell = 0; cell < grid * grid; cell++) {
        int region = theory(&t, n, importance[cell / grid], density[cell % grid]);
        wanted[cell] = (float)region;
        seen[(int)found[cell]] = true;
    }
    SONDE_TRY_DONE(draw(r, found, wanted, importance, density, grid));
    SONDE_TRY_DONE(sondep_toy_check(r, seen[LEFT_OUT] && seen[SHARES] && seen[OWN], "three phases", "all three occur",
                                    "%s%s%s", seen[LEFT_OUT] ? "left out " : "", seen[SHARES] ? "shares " : "",
                                    seen[OWN] ? "own" : ""));
    status = check_borders(r, found, wanted, density, grid);
done:
    sondep_free(found);
    sondep_free(wanted);
    return status;
}

/* The second feature beside one of importance 1. */
sonde_status sondep_toy_phase2(sondep_toy_run *r)
{
    return run(r, 2, 1);
}

/* The third feature beside two of importance 1. */
sonde_status sondep_toy_phase3(sondep_toy_run *r)
{
    return run(r, 3, 2);
}
