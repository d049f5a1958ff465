/* Toy models: training is the same alone, among others and on any number of threads; measures of shapes that are known; exact losses against
 * samples; planted rows, the matching of directions, and scores of an autoencoder that knows the answer; what is refused. */
#include <sonde/toy.h>

#include "sae/sae.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "folder.h"
#include "statuses.h"

/* ---- training ------------------------------------------------------------------------------------------------------------ */

static void options(sonde_toy_opts *o, int64_t kind, int64_t n_instances)
{
    sonde_toy_opts_init(o);
    o->kind = kind;
    o->n_features = 6;
    o->n_hidden = 3;
    o->n_instances = n_instances;
    o->batch = 256;
    o->steps = 50;
}

static void test_instances_know_nothing_of_each_other(void **state)
{
    double p[3 * 6];
    (void)state;

    for (int i = 0; i < 18; i++)
        p[i] = i < 6 ? 1.0 : i < 12 ? 0.3 : 0.05;
    for (int64_t kind = SONDE_TOY_LINEAR; kind <= SONDE_TOY_ABSOLUTE; kind++) {
        sonde_toy_opts many, few;
        sonde_toy *a, *b;
        double losses[3], first[2];
        options(&many, kind, 3);
        options(&few, kind, 2);
        many.probability = few.probability = p;
        assert_ok(sonde_set_threads(2));
        assert_ok(sonde_toy_new(&a, &many));
        assert_ok(sonde_toy_train(a, losses, 50));
        assert_ok(sonde_set_threads(1));
        assert_ok(sonde_toy_new(&b, &few));
        assert_ok(sonde_toy_train(b, NULL, 20));
        assert_ok(sonde_toy_train(b, first, 30));
        assert_int_equal(sonde_toy_steps(b), 50);
        for (int64_t i = 0; i < 2; i++) {
            assert_memory_equal(sonde_toy_weights(a, i), sonde_toy_weights(b, i), 18 * sizeof(float));
            assert_memory_equal(sonde_toy_weights_out(a, i), sonde_toy_weights_out(b, i), 18 * sizeof(float));
            assert_memory_equal(sonde_toy_bias(a, i), sonde_toy_bias(b, i), 6 * sizeof(float));
            assert_true(isfinite(first[i]) && first[i] > 0.0);
        }
        assert_int_equal(sonde_toy_train(b, NULL, 1), SONDE_E_STATE);
        sonde_toy_free(a);
        sonde_toy_free(b);
    }
    assert_ok(sonde_set_threads(0));
}

/* AdamW in double on the gradients of the same rows, of a model that was put there. */
static void test_decay_and_rate(void **state)
{
    sonde_toy_opts o;
    sonde_toy *t;
    float before[18];
    (void)state;

    options(&o, SONDE_TOY_LINEAR, 1);
    o.decay = 0.5;
    o.lr = 0.1;
    assert_ok(sonde_toy_new(&t, &o));
    memcpy(before, sonde_toy_weights(t, 0), sizeof before);
    assert_ok(sonde_toy_train(t, NULL, 1));
    /* the first step of Adam has the size of the rate, whatever the gradient */
    for (int i = 0; i < 18; i++)
        assert_float_equal(fabs(sonde_toy_weights(t, 0)[i] - before[i] * (1.0 - 0.1 * 0.5)), 0.1, 1e-3);
    sonde_toy_free(t);
}

static void test_bad_options(void **state)
{
    static const double wrong[6] = {0.1, 0.2, 0.0, 0.3, 0.1, 0.1};
    static const sonde_toy_set gap[2] = {{SONDE_TOY_ALONE, 0, 2}, {SONDE_TOY_ALL_OF, 3, 3}},
                               short_sets[1] = {{SONDE_TOY_ALONE, 0, 5}};
    sonde_toy_opts o;
    sonde_toy *t = NULL;
    (void)state;

    options(&o, SONDE_TOY_RELU, 1);
    o.batch = 200;
    assert_refused(sonde_toy_new(&t, &o), SONDE_E_ARG, "multiple of 128");
    options(&o, 9, 1);
    assert_refused(sonde_toy_new(&t, &o), SONDE_E_ARG, "'kind'");
    options(&o, SONDE_TOY_RELU, 1);
    o.probability = wrong;
    assert_refused(sonde_toy_new(&t, &o), SONDE_E_ARG, "feature 2 of instance 0");
    options(&o, SONDE_TOY_RELU, 1);
    o.sets = gap;
    o.n_sets = 2;
    assert_refused(sonde_toy_new(&t, &o), SONDE_E_ARG, "set 1");
    o.sets = short_sets;
    o.n_sets = 1;
    assert_refused(sonde_toy_new(&t, &o), SONDE_E_ARG, "feature 5 of 6");
    options(&o, SONDE_TOY_LINEAR, 1);
    o.lr = 50.0;
    o.steps = 400;
    assert_ok(sonde_toy_new(&t, &o));
    for (int i = 0; i < 18; i++)
        sonde_toy_weights(t, 0)[i] = 1e30f;
    assert_refused(sonde_toy_train(t, NULL, 10), SONDE_E_NONFINITE, "instance 0");
    sonde_toy_free(t);
}

/* ---- measures ---------------------------------------------------------------------------------------------------------------- */

/* n unit rows on a circle of the first two of m numbers. */
static void polygon(float *w, int64_t n, int64_t m)
{
    memset(w, 0, (size_t)(n * m) * sizeof *w);
    for (int64_t i = 0; i < n; i++) {
        w[i * m] = (float)cos(6.283185307179586 * (double)i / (double)n);
        w[i * m + 1] = (float)sin(6.283185307179586 * (double)i / (double)n);
    }
}

static sonde_toy_shape only_shape(const float *w, int64_t n, int64_t m)
{
    int64_t component[16];
    sonde_toy_shape shapes[16];

    if (sonde_toy_components(component, shapes, w, n, m, 0.05, 0.5, 0.05) != 1)
        return SONDE_TOY_NO_SHAPE;
    return shapes[0];
}

static void test_shapes(void **state)
{
    static const float tetrahedron[12] = {1, 1, 1, 1, -1, -1, -1, 1, -1, -1, -1, 1};
    float w[8 * 4], z = (float)sqrt(1.0 / 3), r = (float)sqrt(2.0 / 3);
    double dimensionality[8], interference[8], norms[8];
    (void)state;

    polygon(w, 2, 2);
    assert_int_equal(only_shape(w, 2, 2), SONDE_TOY_DIGON);
    polygon(w, 3, 2);
    assert_int_equal(only_shape(w, 3, 2), SONDE_TOY_TRIANGLE);
    polygon(w, 5, 4);
    assert_int_equal(only_shape(w, 5, 4), SONDE_TOY_PENTAGON);
    sonde_toy_features(norms, interference, dimensionality, w, 5, 4);
    for (int i = 0; i < 5; i++) {
        assert_float_equal(norms[i], 1.0, 1e-6);
        assert_float_equal(interference[i], 1.5, 1e-6);
        assert_float_equal(dimensionality[i], sonde_toy_shape_fraction(SONDE_TOY_PENTAGON), 1e-6);
    }
    assert_float_equal(sonde_toy_dimensions_each(w, 5, 4), 0.8, 1e-6);
    /* one of them longer, or turned: no pentagon any more */
    w[0] *= 1.2f;
    assert_int_equal(only_shape(w, 5, 4), SONDE_TOY_NO_SHAPE);
    polygon(w, 6, 2);
    assert_int_equal(only_shape(w, 6, 2), SONDE_TOY_NO_SHAPE);
    assert_int_equal(only_shape(tetrahedron, 4, 3), SONDE_TOY_TETRAHEDRON);
    for (int i = 0; i < 8; i++) {
        double angle = 6.283185307179586 * (i % 4 / 4.0 + (i < 4 ? 0.0 : 0.125));
        w[i * 3] = r * (float)cos(angle);
        w[i * 3 + 1] = r * (float)sin(angle);
        w[i * 3 + 2] = i < 4 ? z : -z;
    }
    assert_int_equal(only_shape(w, 8, 3), SONDE_TOY_ANTIPRISM);
    sonde_toy_features(NULL, NULL, dimensionality, w, 8, 3);
    for (int i = 0; i < 8; i++)
        assert_float_equal(dimensionality[i], sonde_toy_shape_fraction(SONDE_TOY_ANTIPRISM), 1e-6);
}

/* Two shapes in dimensions of their own are two components, and short features none. */
static void test_components(void **state)
{
    float w[7 * 4] = {0};
    int64_t component[7];
    sonde_toy_shape shapes[7];
    static const int64_t want[7] = {0, 0, 1, 1, 1, -1, -1};
    (void)state;

    polygon(w, 2, 4);
    for (int i = 0; i < 3; i++) {
        w[(2 + i) * 4 + 2] = (float)cos(2.0943951 * i);
        w[(2 + i) * 4 + 3] = (float)sin(2.0943951 * i);
    }
    w[5 * 4] = 0.01f;
    assert_int_equal(sonde_toy_components(component, shapes, w, 7, 4, 0.05, 0.5, 0.05), 2);
    assert_memory_equal(component, want, sizeof want);
    assert_int_equal(shapes[0], SONDE_TOY_DIGON);
    assert_int_equal(shapes[1], SONDE_TOY_TRIANGLE);
}

/* The closed form beside sampled losses, and never below that of principal components. */
static void test_exact_losses(void **state)
{
    double p[6] = {1.0, 0.5, 0.3, 0.2, 0.1, 0.7}, importance[6] = {1.0, 2.0, 0.5, 1.0, 3.0, 0.2}, sampled, exact, least;
    sonde_toy_opts o;
    sonde_toy *t;
    (void)state;

    options(&o, SONDE_TOY_LINEAR, 1);
    o.probability = p;
    o.importance = importance;
    assert_ok(sonde_toy_new(&t, &o));
    for (int i = 0; i < 6; i++)
        sonde_toy_bias(t, 0)[i] = 0.1f * (float)i - 0.2f;
    assert_ok(sonde_toy_losses(&sampled, t, 1 << 20));
    exact = sonde_toy_linear_loss(sonde_toy_weights(t, 0), sonde_toy_bias(t, 0), p, importance, 6, 3);
    assert_float_equal(sampled / exact, 1.0, 5e-3);
    assert_ok(sonde_toy_pca_loss(&least, p, importance, 6, 3));
    assert_true(least < exact);
    /* the model that principal components are has that loss */
    memset(sonde_toy_weights(t, 0), 0, 18 * sizeof(float));
    for (int i = 0; i < 6; i++)
        sonde_toy_bias(t, 0)[i] = (float)(p[i] / 2.0);
    static const int kept[3] = {1, 4, 0}; /* I (p/3 - p^2/4): 0.083, 0.208, 0.039, 0.057, 0.093, 0.022 */
    for (int k = 0; k < 3; k++) {
        sonde_toy_weights(t, 0)[kept[k] * 3 + k] = 1.0f;
        sonde_toy_bias(t, 0)[kept[k]] = 0.0f;
    }
    assert_float_equal(sonde_toy_linear_loss(sonde_toy_weights(t, 0), sonde_toy_bias(t, 0), p, importance, 6, 3), least,
                       1e-7);
    sonde_toy_free(t);
}

/* ---- planted dictionaries ----------------------------------------------------------------------------------------------------- */

enum { N = 24, WIDTH = 32, ROWS = 2000 };

static void test_planted_rows(void **state)
{
    static float x[ROWS * WIDTH], f[ROWS * N], part[10 * WIDTH];
    static const sonde_toy_set sets[] = {{SONDE_TOY_ALONE, 0, 12}, {SONDE_TOY_ALL_OF, 12, 4}, {SONDE_TOY_ONE_OF, 16, 8}};
    int64_t parent[N], on[N] = {0};
    sonde_planted_opts o;
    sonde_planted *p;
    (void)state;

    for (int i = 0; i < N; i++)
        parent[i] = i == 5 ? 2 : -1;
    sonde_planted_opts_init(&o);
    o.n_features = N;
    o.width = WIDTH;
    o.sets = sets;
    o.n_sets = 3;
    o.parent = parent;
    assert_ok(sonde_planted_new(&p, &o));
    assert_ok(sonde_planted_rows(x, f, p, 0, ROWS));
    assert_ok(sonde_planted_rows(part, NULL, p, 700, 10));
    assert_memory_equal(part, x + 700 * WIDTH, sizeof part);
    for (int r = 0; r < ROWS; r++) {
        int of_last = 0;
        for (int i = 0; i < N; i++)
            on[i] += f[r * N + i] > 0.0f;
        for (int i = 13; i < 16; i++)
            assert_int_equal(f[r * N + i] > 0.0f, f[r * N + 12] > 0.0f);
        for (int i = 16; i < N; i++)
            of_last += f[r * N + i] > 0.0f;
        assert_true(of_last <= 1 && (f[r * N + 5] == 0.0f || f[r * N + 2] > 0.0f));
        for (int d = 0; d < WIDTH; d += 7) {
            double sum = 0.0;
            for (int i = 0; i < N; i++)
                sum += (double)f[r * N + i] * sonde_planted_directions(p)[i * WIDTH + d];
            assert_float_equal(x[r * WIDTH + d], sum, 1e-5);
        }
    }
    assert_true(on[0] > 60 && on[0] < 145 && on[12] > 60 && on[12] < 145 && on[5] < 20);
    sonde_planted_free(p);
    parent[3] = 3;
    assert_refused(sonde_planted_new(&p, &o), SONDE_E_ARG, "'parent'");
}

/* Against all orders of a few rows. */
static double best_order(const double *value, int n, int row, unsigned used)
{
    double best = 0.0;

    if (row == n)
        return 0.0;
    for (int j = 0; j < n; j++)
        if (!(used >> j & 1u)) {
            double sum = value[row * n + j] + best_order(value, n, row + 1, used | 1u << j);
            best = sum > best ? sum : best;
        }
    return best;
}

static void test_matching(void **state)
{
    enum { FEW = 6, D = 3 };
    (void)state;

    for (uint64_t seed = 0; seed < 40; seed++) {
        float a[FEW * D], b[FEW * D];
        double value[FEW * FEW], mcc, sum = 0.0;
        int64_t match[FEW], back[FEW - 2], seen[FEW] = {0};
        for (int i = 0; i < FEW * D; i++) {
            a[i] = (float)sonde_random_normal(seed, 0, (uint64_t)i);
            b[i] = (float)sonde_random_normal(seed, 1, (uint64_t)i);
        }
        for (int i = 0; i < FEW; i++)
            for (int j = 0; j < FEW; j++) {
                double dot = 0, aa = 0, bb = 0;
                for (int k = 0; k < D; k++)
                    dot += (double)a[i * D + k] * b[j * D + k], aa += (double)a[i * D + k] * a[i * D + k],
                        bb += (double)b[j * D + k] * b[j * D + k];
                value[i * FEW + j] = fabs(dot) / sqrt(aa * bb);
            }
        assert_ok(sonde_match_directions(&mcc, match, a, FEW, b, FEW, D));
        for (int i = 0; i < FEW; i++) {
            assert_true(match[i] >= 0 && seen[match[i]]++ == 0);
            sum += value[i * FEW + match[i]];
        }
        assert_float_equal(mcc, sum / FEW, 1e-9);
        assert_float_equal(sum, best_order(value, FEW, 0, 0), 1e-9);
        /* fewer on one side: all of them are matched, and the sum does not depend on which side is which */
        assert_ok(sonde_match_directions(&sum, back, b, FEW - 2, a, FEW, D));
        assert_ok(sonde_match_directions(&mcc, match, a, FEW, b, FEW - 2, D));
        assert_float_equal(sum, mcc, 1e-9);
        for (int i = 0; i < FEW - 2; i++)
            assert_int_equal(match[back[i]], i);
        /* a direction that is none takes what the others leave */
        a[D] = seed % 2 ? NAN : INFINITY;
        assert_ok(sonde_match_directions(&mcc, match, a, FEW, b, FEW, D));
        assert_true(isfinite(mcc) && match[1] >= 0);
    }
}

/* An autoencoder that has the planted directions, which are orthogonal, finds everything. */
static void test_scores(void **state)
{
    sonde_sae_config config = {.activation = SONDE_SAE_RELU, .d_in = WIDTH, .d_sae = N, .d_out = WIDTH};
    double p[N];
    sonde_planted_score score;
    sonde_planted_opts o;
    sonde_planted *planted;
    sonde_sae *sae;
    (void)state;

    sonde_planted_opts_init(&o);
    o.n_features = N;
    o.width = WIDTH;
    o.probability = p;
    for (int i = 0; i < N; i++)
        p[i] = 0.1;
    assert_ok(sonde_planted_new(&planted, &o));
    snprintf(config.architecture, sizeof config.architecture, "standard");
    assert_ok(sondep_sae_new(&sae, &config));
    for (int i = 0; i < N; i++)
        for (int d = 0; d < WIDTH; d++) {
            /* orthogonal ones in place of those that are only nearly so */
            float unit = d == i ? 1.0f : 0.0f;
            ((float *)sonde_planted_directions(planted))[i * WIDTH + d] = unit;
            sae->w[SONDEP_W_DEC][i * WIDTH + d] = i == 0 ? -unit : unit;
            sae->w[SONDEP_W_ENC][d * N + i] = i == 1 ? -unit : unit;
        }
    assert_ok(sonde_planted_evaluate(&score, planted, sae, 0, 1000));
    assert_float_equal(score.mcc, 1.0, 1e-6);
    assert_float_equal(score.mean_max_cosine, 1.0, 1e-6);
    assert_float_equal(score.uniqueness, 1.0, 1e-6);
    /* feature 1 never fires, all others exactly when they should */
    assert_int_equal(score.n_dead, 1);
    assert_float_equal(score.precision, (N - 1.0) / N, 1e-6);
    assert_float_equal(score.recall, (N - 1.0) / N, 1e-6);
    assert_float_equal(score.f1, (N - 1.0) / N, 1e-6);
    assert_true(score.accuracy > 0.99 && score.true_l0 > score.l0 && score.true_l0 > 2.0 && score.true_l0 < 2.8);
    assert_true(score.shrinkage < 1.0 && score.shrinkage > 0.9);
    sonde_sae_free(sae);
    sonde_planted_free(planted);
}

/* ---- experiments ----------------------------------------------------------------------------------------------------------------- */

/* Somebody who looks on, and ends it. */
static sonde_status stop_at_once(sonde_toy *toy, const double *losses, void *ctx)
{
    (void)toy, (void)losses;
    ++*(int *)ctx;
    return SONDE_E_INTERRUPTED;
}

static void test_runs(void **state)
{
    sonde_toy_run_opts o;
    sonde_toy_result *result = NULL;
    int64_t n;
    int looked = 0;
    (void)state;

    sonde_toy_run_opts_init(&o);
    assert_refused(sonde_toy_run(&result, "nothing", ".", &o), SONDE_E_NOTFOUND, "introduction");
    o.watch = stop_at_once;
    o.ctx = &looked;
    assert_int_equal(sonde_toy_run(&result, "introduction", ".", &o), SONDE_E_INTERRUPTED);
    assert_null(result);
    assert_int_equal(looked, 1);
    sonde_toy_run_opts_init(&o);
    o.n_hidden = 7;
    assert_refused(sonde_toy_run(&result, "introduction", ".", &o), SONDE_E_ARG, "2 dimensions");
    o.n_hidden = 0;
    /* what would change nothing, and what there is no room for */
    o.restarts = 3;
    assert_refused(sonde_toy_run(&result, "energy", ".", &o), SONDE_E_ARG, "no use for the option 'restarts'");
    o.restarts = 0;
    o.n_instances = 101;
    assert_refused(sonde_toy_run(&result, "geometry", ".", &o), SONDE_E_ARG, "at most 100");
    o.n_instances = 0;
    o.schedule = 4;
    assert_refused(sonde_toy_run(&result, "energy", ".", &o), SONDE_E_ARG, "schedule");
    o.schedule = SONDE_SCHEDULE_LINEAR;
    o.ending = ".svg";
    o.steps = 300;
    o.restarts = 2;
    assert_int_equal(sonde_toy_run(&result, "stages", in_folder("nowhere"), &o), SONDE_E_IO);
    assert_null(result);
    assert_ok(sonde_toy_run(&result, "stages", folder, &o));
    assert_int_equal(folder_n_files(), 2);
    assert_int_equal(sonde_toy_result_pictures(result, &n)->file[0], 's');
    assert_int_equal(n, 2);
    assert_non_null(strstr(sonde_toy_result_json(result), "\"findings\""));
    assert_non_null(strstr(sonde_toy_result_setup(result), "2 models"));
    assert_non_null(strstr(sonde_toy_result_setup(result), "300 steps"));
    assert_non_null(strstr(sonde_toy_result_setup(result), "falling linearly, weight decay 0"));
    sonde_toy_result_free(result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_instances_know_nothing_of_each_other),
        cmocka_unit_test(test_decay_and_rate),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_components),
        cmocka_unit_test(test_exact_losses),
        cmocka_unit_test(test_planted_rows),
        cmocka_unit_test(test_matching),
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_runs),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
