/* robust.c - how far a small change of the input moves a toy model.            floor 8: toy
 *
 * Output i is moved furthest, for a change of length e, along what others give to it: the row i of W W^T without its own place. Of all i and both
 * signs the attack takes the one with the largest loss, row by row; the target stays what it was.
 *
 *   vulnerability = (L' - L) / (L0' - L0),   L' under attack, e = 0.1 mean |x|; 0: m features, each with a dimension of its own
 *
 * A model without superposition can only be attacked along the feature itself, which moves its output by e. One in which k features share
 * a dimension adds what all of them contribute. So the vulnerability goes with the features per dimension, |W|^2 / m = 1 / D*.
 *
 * The attack is analytic: nothing is searched for, and the same rows are used for both models. What is beyond the largest vulnerability, at very
 * small densities, has a reason: rows are so short that so is the change.
 *
 * Source: Elhage et al. 2022, "Relationship to adversarial robustness".
 */
#include "toy/experiment.h"

#include <math.h>

enum { N_ROWS = 8 * SONDEP_TOY_ROWS, MOST_DENSITIES = 40 };

/* A model as its attacker sees it. */
typedef struct target {
    int64_t n;
    double *gram, *moved; /* (n,n) W W^T; what an attack on output i adds to all pre-activations, for a length of 1 */
    const float *b;
} target;

/* Fine on a zero struct. */
static void target_free(target *t)
{
    sondep_free(t->gram);
    sondep_free(t->moved);
}

/* Both matrices. w (n,m). */
static sonde_status target_make(target *t, const float *w, const float *b, int64_t n, int64_t m)
{
    double *direction = NULL;
    sonde_status status;

    *t = (target){.n = n, .b = b};
    SONDE_TRY_DONE(SONDE_NEW(t->gram, n * n));
    SONDE_TRY_DONE(SONDE_NEW(t->moved, n * n));
    SONDE_TRY_DONE(SONDE_NEW(direction, n));
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            for (int64_t k = 0; k < m; k++)
                t->gram[i * n + j] += (double)w[i * m + k] * w[j * m + k];
    for (int64_t i = 0; i < n; i++) {
        double square = 0.0;
        bool is_alone = true;
        /* a feature that nothing interferes with can only be moved by itself */
        for (int64_t j = 0; j < n; j++)
            is_alone = is_alone && (j == i || fabs(t->gram[i * n + j]) < 1e-3);
        for (int64_t j = 0; j < n; j++) {
            direction[j] = j == i && !is_alone ? 0.0 : t->gram[i * n + j];
            square += direction[j] * direction[j];
        }
        for (int64_t k = 0; k < n && square > 0.0; k++)
            for (int64_t j = 0; j < n; j++)
                t->moved[i * n + k] += t->gram[k * n + j] * direction[j] / sqrt(square);
    }
    status = SONDE_OK;
done:
    sondep_free(direction);
    return status;
}

/* Loss of one row whose pre-activations are pre + e moved. */
static double loss_of(const double *pre, const double *moved, double e, const float *x, int64_t n)
{
    double sum = 0.0;

    for (int64_t i = 0; i < n; i++) {
        double y = fmax(pre[i] + (moved ? e * moved[i] : 0.0), 0.0) - x[i * SONDEP_TOY_ROWS];
        sum += y * y;
    }
    return sum / (double)n;
}

/* Losses without and under attack, summed over some rows x (n, SONDEP_TOY_ROWS). */
static void attack(double *plain, double *attacked, const target *t, const float *x, double e, double *pre)
{
    for (int64_t row = 0; row < SONDEP_TOY_ROWS; row++) {
        double most = 0.0;
        for (int64_t i = 0; i < t->n; i++) {
            pre[i] = t->b[i];
            for (int64_t j = 0; j < t->n; j++)
                pre[i] += t->gram[i * t->n + j] * x[j * SONDEP_TOY_ROWS + row];
        }
        *plain += loss_of(pre, NULL, 0.0, x + row, t->n);
        /* every output in both directions: the attack is the worst of them */
        for (int64_t i = 0; i < t->n; i++)
            for (int sign = -1; sign <= 1; sign += 2)
                most = fmax(most, loss_of(pre, t->moved + i * t->n, sign * e, x + row, t->n));
        *attacked += most;
    }
}

/* Rows of independent features that are on with probability p, and the mean of their lengths. */
static double draw_rows(float *x, int64_t n, double p, int32_t *bar, float *scale)
{
    sondep_toy_set set = {SONDEP_TOY_ALONE, 0, n};
    sondep_toy_sets sets = {&set, 1, bar, scale, false};
    uint32_t state[4 * SONDEP_TOY_LANES];
    double sum = 0.0;

    for (int64_t i = 0; i < n; i++) {
        bar[i] = p < 1.0 ? (int32_t)(p * 0x1p31) : INT32_MAX;
        scale[i] = (float)(1.0 / (double)bar[i]);
    }
    /* the same generators for every density: what differs is the density alone */
    for (int i = 0; i < 4 * SONDEP_TOY_LANES; i += 4)
        sonde_random_bits(state + i, 5, 0, (uint64_t)i);
    for (int64_t block = 0; block < N_ROWS / SONDEP_TOY_ROWS; block++)
        sondep_toy_draw(x + block * n * SONDEP_TOY_ROWS, &sets, state);
    for (int64_t row = 0; row < N_ROWS; row++) {
        double square = 0.0;
        for (int64_t i = 0; i < n; i++) {
            double v = x[(row / SONDEP_TOY_ROWS * n + i) * SONDEP_TOY_ROWS + row % SONDEP_TOY_ROWS];
            square += v * v;
        }
        sum += sqrt(square) / N_ROWS;
    }
    return sum;
}

/* What the attack adds to the mean loss of a model. */
static sonde_status added_loss(double *out, const float *w, const float *b, int64_t n, int64_t m, const float *x, double e)
{
    target t = {0};
    double plain = 0.0, attacked = 0.0, *pre = NULL;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(pre, n));
    SONDE_TRY_DONE(target_make(&t, w, b, n, m));
    for (int64_t block = 0; block < N_ROWS / SONDEP_TOY_ROWS; block++)
        attack(&plain, &attacked, &t, x + block * n * SONDEP_TOY_ROWS, e, pre);
    *out = (attacked - plain) / N_ROWS;
done:
    sondep_free(pre);
    target_free(&t);
    return status;
}

/* The model that has no superposition: the first m features as they are, of the others their mean. */
static void make_plain(float *w, float *b, int64_t n, int64_t m, double p)
{
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < m; k++)
            w[i * m + k] = i == k ? 1.0f : 0.0f;
        b[i] = i < m ? 0.0f : (float)(p / 2.0);
    }
}

/* Vulnerabilities and features per dimension, over densities. */
static sonde_status measure(double *vulnerability, double *each, sonde_toy *t, const double *density, int64_t n_densities)
{
    const sonde_toy_opts *o = sonde_toy_get_opts(t);
    int64_t n = o->n_features, m = o->n_hidden;
    float *x = NULL, *w = NULL, *b = NULL, *scale = NULL;
    int32_t *bar = NULL;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(x, N_ROWS * n));
    SONDE_TRY_DONE(SONDE_NEW(w, n * m));
    SONDE_TRY_DONE(SONDE_NEW(b, n));
    SONDE_TRY_DONE(SONDE_NEW(scale, n));
    SONDE_TRY_DONE(SONDE_NEW(bar, n));
    for (int64_t k = 0; k < n_densities; k++) {
        double e = 0.1 * draw_rows(x, n, density[k], bar, scale), own, plain;
        make_plain(w, b, n, m, density[k]);
        /* the model as it was trained, and one without superposition, on the same rows */
        SONDE_TRY_DONE(added_loss(&own, sonde_toy_weights(t, k), sonde_toy_bias(t, k), n, m, x, e));
        SONDE_TRY_DONE(added_loss(&plain, w, b, n, m, x, e));
        vulnerability[k] = own / plain;
        each[k] = 1.0 / sonde_toy_dimensions_each(sonde_toy_weights(t, k), n, m);
    }
    status = SONDE_OK;
done:
    sondep_free(x);
    sondep_free(w);
    sondep_free(b);
    sondep_free(scale);
    sondep_free(bar);
    return status;
}

/* Both curves over sparsity. */
static sonde_status draw(sondep_toy_run *r, const double *density, const double *vulnerability, const double *each,
                         int64_t n)
{
    double x[MOST_DENSITIES];
    sonde_plot_series series[2] = {{"vulnerability", x, vulnerability, n},
                                   {"features per dimension, |W|^2 / m", x, each, n}};
    sonde_plot_opts o;

    for (int64_t i = 0; i < n; i++)
        x[i] = 1.0 / density[i];
    sondep_toy_sparsity_axes(&o, NULL);
    return sondep_toy_draw_lines(r, "vulnerability",
                                 "What an attack costs beside a model without superposition, and how many features share "
                                 "a dimension.",
                                 series, 2, &o);
}

/* Both curves, and how much they go together. */
sonde_status sondep_toy_adversarial(sondep_toy_run *r)
{
    static const sondep_toy_setting setting = {SONDE_TOY_RELU, 100, 20, 5000, 10000, 1024, 3e-3, 0.0, SONDE_SCHEDULE_COSINE};
    double density[MOST_DENSITIES], vulnerability[MOST_DENSITIES], each[MOST_DENSITIES], most = 0.0, *p = NULL, together;
    int64_t n = sondep_toy_size(r, r->opts.n_instances, 12, 30);
    sonde_toy_opts o = sondep_toy_opts_of(r, &setting);
    sonde_toy *t = NULL;
    sonde_status status;

    if (n > MOST_DENSITIES)
        return SONDE_FAIL(SONDE_E_ARG, "option 'instances' is %lld: at most %d densities", (long long)n, MOST_DENSITIES);
    sondep_toy_log_space(density, n, 1.0, sondep_toy_real(r->opts.density, 0.01));
    o.n_instances = n;
    SONDE_TRY_DONE(sondep_toy_probabilities(&p, density, n, 1, o.n_features));
    o.probability = p;
    SONDE_TRY_DONE(sondep_toy_trained(&t, r, &o, NULL));
    SONDE_TRY_DONE(measure(vulnerability, each, t, density, n));
    for (int64_t k = 0; k < n; k++)
        most = fmax(most, vulnerability[k]);
    SONDE_TRY_DONE(draw(r, density, vulnerability, each, n));
    sondep_toy_put(r, "density", density, n);
    sondep_toy_put(r, "vulnerability", vulnerability, n);
    sondep_toy_put(r, "features_per_dimension", each, n);
    together = sondep_toy_correlation(vulnerability, each, n);
    SONDE_TRY_DONE(sondep_toy_check(r, most > 3.0, "superposition makes models vulnerable",
                                    "more than 3 times a model's without superposition", "%.2f times", most));
    status = sondep_toy_check(r, together > 0.8, "as much as features share dimensions",
                              "correlates with |W|^2 / m above 0.8", "%.3f", together);
done:
    sonde_toy_free(t);
    sondep_free(p);
    return status;
}
