/* Trainers of autoencoders: what they leave when they stop and go on, what is exported, what rows say before the first step, new
 * directions for dead features, a planted dictionary, and what is refused. Gradients are in tests/golden/test_sae_train_golden.c. */
#include "sae/trainer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "folder.h"
#include "statuses.h"

enum { D = 20, S = 96, N = 64, STEPS = 8 };

static const sonde_sae_arch archs[] = {SONDE_SAE_ARCH_STANDARD_2023, SONDE_SAE_ARCH_STANDARD,  SONDE_SAE_ARCH_GATED,
                                       SONDE_SAE_ARCH_TOPK,          SONDE_SAE_ARCH_BATCHTOPK, SONDE_SAE_ARCH_ABSTOPK,
                                       SONDE_SAE_ARCH_MATRYOSHKA,    SONDE_SAE_ARCH_JUMPRELU,  SONDE_SAE_ARCH_PANNEAL,
                                       SONDE_SAE_ARCH_PURSUIT,       SONDE_SAE_ARCH_KL};
enum { N_ARCHS = sizeof archs / sizeof *archs };

/* Rows with a mean, some directions and noise; the same for the same number. */
static void make_rows(float *x, int64_t n, uint64_t stream)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t d = 0; d < D; d++) {
            int64_t which = (int64_t)(12.0 * sonde_random_uniform(7, stream, (uint64_t)(i * 100)));
            x[i * D + d] = (float)(0.5 + 2.0 * sonde_random_normal(3, 1, (uint64_t)(which * D + d)) +
                                   0.3 * sonde_random_normal(7, stream, (uint64_t)(i * 100 + 1 + d)));
        }
}

static sonde_sae_train_opts options(sonde_sae_arch arch)
{
    sonde_sae_train_opts o;

    sonde_sae_train_opts_init(&o);
    o.arch = arch;
    o.d_in = D;
    o.d_sae = S;
    o.batch = N;
    o.steps = STEPS;
    o.k = 5;
    o.l1 = 0.3;
    o.l0 = 0.05;
    o.lr = 3e-3;
    o.warmup = 2;
    o.dead_window = 2;
    return o;
}

/* A trainer that has seen rows and taken some steps; r of the last. */
static sonde_sae_trainer *trained(const sonde_sae_train_opts *o, int64_t steps, sonde_sae_train_report *r)
{
    sonde_sae_trainer *t;
    float x[N * D];

    assert_ok(sonde_sae_trainer_new(&t, o));
    make_rows(x, N, 100);
    assert_ok(sonde_sae_trainer_begin(t, x, NULL, N));
    for (int64_t i = 0; i < steps; i++) {
        make_rows(x, N, (uint64_t)i);
        assert_ok(sonde_sae_trainer_step(t, r, x, NULL));
    }
    return t;
}

static void assert_same_file(const char *a, const char *b)
{
    FILE *x = fopen(a, "rb"), *y = fopen(b, "rb");
    int c;

    assert_non_null(x);
    assert_non_null(y);
    while ((c = fgetc(x)) != EOF)
        assert_int_equal(c, fgetc(y));
    assert_int_equal(fgetc(y), EOF);
    fclose(x);
    fclose(y);
}

/* ---- stopping and going on ---------------------------------------------------------------------------------------------------- */

static void test_goes_on(void **state)
{
    sonde_sae_train_report r;
    float x[N * D];
    (void)state;

    for (int i = 0; i < N_ARCHS; i++) {
        sonde_sae_train_opts o = options(archs[i]);
        o.l0_control = sondep_sae_rules[archs[i]].back != NULL ? 0.05 : 0.0;
        o.pre_act = 1e-3;
        o.plateau_every = 2;
        o.plateau_patience = 0;
        assert_ok(sonde_set_threads(2));
        sonde_sae_trainer *whole = trained(&o, STEPS, &r), *part = trained(&o, 3, &r), *rest;
        assert_ok(sonde_sae_trainer_save(whole, in_folder("whole.safetensors"), "rows"));
        assert_ok(sonde_sae_trainer_save(part, in_folder("part.safetensors"), "rows"));
        assert_ok(sonde_set_threads(1));
        assert_ok(sonde_sae_trainer_load(&rest, in_folder("part.safetensors"), NULL, "rows"));
        assert_int_equal(sonde_sae_trainer_steps(rest), 3);
        for (int64_t step = 3; step < STEPS; step++) {
            make_rows(x, N, (uint64_t)step);
            assert_ok(sonde_sae_trainer_step(rest, &r, x, NULL));
        }
        assert_ok(sonde_sae_trainer_save(rest, in_folder("rest.safetensors"), "rows"));
        assert_same_file(in_folder("whole.safetensors"), in_folder("rest.safetensors"));
        assert_int_equal(sonde_sae_trainer_step(rest, &r, x, NULL), SONDE_E_STATE);
        sonde_sae_trainer_free(whole);
        sonde_sae_trainer_free(part);
        sonde_sae_trainer_free(rest);
    }
    assert_ok(sonde_set_threads(0));
}

static void test_other_trainings_are_refused(void **state)
{
    sonde_sae_train_opts o = options(SONDE_SAE_ARCH_TOPK);
    sonde_sae_train_report r;
    sonde_sae_trainer *t = trained(&o, 3, &r), *other = NULL;
    (void)state;

    assert_ok(sonde_sae_trainer_save(t, in_folder("state.safetensors"), "rows"));
    assert_refused(sonde_sae_trainer_load(&other, in_folder("state.safetensors"), NULL, "others"), SONDE_E_ARG, "source");
    assert_null(other);
    o.k = 6;
    assert_refused(sonde_sae_trainer_load(&other, in_folder("state.safetensors"), &o, "rows"), SONDE_E_ARG, "'k'");
    o.k = 5;
    o.steps = 2;
    assert_refused(sonde_sae_trainer_load(&other, in_folder("state.safetensors"), &o, "rows"), SONDE_E_ARG, "step 3");
    o.steps = 50;
    o.lr = 1e-5;
    assert_ok(sonde_sae_trainer_load(&other, in_folder("state.safetensors"), &o, "rows"));
    sonde_sae_trainer_free(other);
    assert_refused(sonde_sae_trainer_load(&other, in_folder("nothing.safetensors"), NULL, NULL), SONDE_E_NOTFOUND,
                   "nothing");
    sonde_sae_trainer_free(t);
}

/* ---- what is exported -------------------------------------------------------------------------------------------------------------- */

/* Explained variance and mean number of features of an autoencoder on rows as they are. */
static double explained(double *l0, const sonde_sae *sae, const float *x)
{
    static float f[N * S], y[N * D];
    double error = 0, variance = 0, mean[D] = {0};
    sonde_sae_coder *coder;

    assert_ok(sonde_sae_coder_new(&coder, sae));
    assert_ok(sonde_sae_encode(coder, f, x, N));
    assert_ok(sonde_sae_decode(coder, y, f, x, N));
    *l0 = 0;
    for (int i = 0; i < N * S; i++)
        *l0 += f[i] != 0.0f ? 1.0 / N : 0.0;
    for (int i = 0; i < N * D; i++)
        mean[i % D] += (double)x[i] / N;
    for (int i = 0; i < N * D; i++) {
        error += ((double)y[i] - x[i]) * ((double)y[i] - x[i]);
        variance += ((double)x[i] - mean[i % D]) * ((double)x[i] - mean[i % D]);
    }
    sonde_sae_coder_free(coder);
    return 1.0 - error / variance;
}

/* What a step reports of its rows before its change is what the autoencoder exported before it does with them. */
static void test_export_is_what_was_trained(void **state)
{
    sonde_sae_train_report r;
    float x[N * D];
    double l0;
    (void)state;

    for (int i = 0; i < N_ARCHS; i++) {
        if (archs[i] == SONDE_SAE_ARCH_BATCHTOPK || archs[i] == SONDE_SAE_ARCH_MATRYOSHKA)
            continue; /* they are used with a threshold */
        for (int scaling = 0; scaling < 5; scaling++) {
            sonde_sae_train_opts o = options(archs[i]);
            sonde_sae *sae;
            double ev;
            o.scaling = scaling;
            sonde_sae_trainer *t = trained(&o, 5, &r);
            if (scaling == SONDE_SAE_SCALE_WHITENING && archs[i] == SONDE_SAE_ARCH_PURSUIT) {
                assert_refused(sonde_sae_trainer_export(&sae, t, NULL, NULL, NULL), SONDE_E_UNSUPPORTED, "whitening");
                sonde_sae_trainer_free(t);
                continue;
            }
            assert_ok(sonde_sae_trainer_export(&sae, t, "model", "blocks.0.hook_resid_post", NULL));
            make_rows(x, N, 50);
            assert_ok(sonde_sae_trainer_step(t, &r, x, NULL));
            ev = explained(&l0, sae, x);
            assert_float_equal(l0, r.l0, 1.5 / N); /* one feature may lie at its threshold */
            /* the variance that is explained is that of the rows as they became */
            if (scaling < SONDE_SAE_SCALE_WHITENING)
                assert_float_equal(ev, r.explained_variance, 1e-3);
            sonde_sae_free(sae);
            sonde_sae_trainer_free(t);
        }
    }
}

/* The weight of each penalty goes where rows have as many features as were wanted, from above and from below. */
static void test_control(void **state)
{
    static const sonde_sae_arch tried[] = {SONDE_SAE_ARCH_STANDARD_2023, SONDE_SAE_ARCH_STANDARD, SONDE_SAE_ARCH_GATED,
                                           SONDE_SAE_ARCH_JUMPRELU, SONDE_SAE_ARCH_PANNEAL};
    sonde_sae_train_report r;
    (void)state;

    for (int i = 0; i < 5; i++)
        for (int is_weak = 0; is_weak < 2; is_weak++) {
            sonde_sae_train_opts o = options(tried[i]);
            sonde_sae_trainer *t;
            double mean = 0.0;
            o.steps = 1500;
            o.target_l0 = 6.0;
            o.l0_control = 0.01;
            /* JumpReLU's features that a penalty has put to silence stay so: nothing pulls their thresholds down */
            o.l1 = is_weak ? 0.01 : 5.0;
            o.l0 = is_weak ? 0.01 : 0.3;
            t = trained(&o, o.steps - 100, &r);
            for (int64_t step = 0; step < 100; step++) {
                float x[N * D];
                make_rows(x, N, (uint64_t)(o.steps + step));
                assert_ok(sonde_sae_trainer_step(t, &r, x, NULL));
                mean += r.l0 / 100.0;
            }
            if (!(mean > 4.8 && mean < 7.5))
                fail_msg("architecture %d from %g: L0 %.2f, 6 was wanted", (int)tried[i], o.l1, mean);
            sonde_sae_trainer_free(t);
        }
}

/* The step size of a training whose loss goes nowhere goes down, and stays a share of the schedule's. */
static void test_plateau(void **state)
{
    sonde_sae_train_opts o = options(SONDE_SAE_ARCH_STANDARD);
    sonde_sae_train_report r;
    sonde_sae_trainer *t;
    (void)state;

    o.lr = 1e-30;
    o.warmup = 0;
    o.schedule = SONDE_SCHEDULE_CONSTANT;
    o.steps = 100;
    o.plateau_every = 10;
    o.plateau_patience = 2;
    o.plateau_factor = 0.5;
    t = trained(&o, 1, &r);
    for (int64_t step = 1; step < 80; step++) {
        float x[N * D];
        make_rows(x, N, 0);
        assert_ok(sonde_sae_trainer_step(t, &r, x, NULL));
        /* the first window is the best, the two behind it are forgiven, the third is not */
        assert_float_equal(r.lr / o.lr, step < 40 ? 1.0 : step < 70 ? 0.5 : 0.25, 1e-9);
    }
    sonde_sae_trainer_free(t);
}

/* The threshold of BatchTopK, used, keeps about as many features as were trained with. */
static void test_threshold_of_batchtopk(void **state)
{
    sonde_sae_train_opts o = options(SONDE_SAE_ARCH_BATCHTOPK);
    sonde_sae_train_report r;
    sonde_sae *sae;
    float x[N * D];
    double l0;
    (void)state;

    o.threshold_rate = 1.0;
    o.lr = 1e-9; /* nothing changes any more: the threshold is that of rows like these */
    sonde_sae_trainer *t = trained(&o, 5, &r);
    assert_ok(sonde_sae_trainer_export(&sae, t, NULL, NULL, NULL));
    make_rows(x, N, 4);
    explained(&l0, sae, x);
    assert_float_equal(l0, o.k, 0.1);
    assert_string_equal(sonde_sae_get_config(sae)->architecture, "jumprelu");
    sonde_sae_free(sae);
    sonde_sae_trainer_free(t);
}

/* Rows as they come back. */
static void reconstruct(float *y, const sonde_sae *sae, const float *x)
{
    static float features[N * S];
    sonde_sae_coder *coder;

    assert_ok(sonde_sae_coder_new(&coder, sae));
    assert_ok(sonde_sae_encode(coder, features, x, N));
    assert_ok(sonde_sae_decode(coder, y, features, x, N));
    sonde_sae_coder_free(coder);
}

/* Whoever goes on from an autoencoder is that autoencoder, also behind a step that moves nothing: thresholds that follow batches, lengths
 * that are made 1. */
static void test_going_on_changes_nothing(void **state)
{
    static const struct {
        sonde_sae_arch from, to;
    } pairs[] = {{SONDE_SAE_ARCH_STANDARD, SONDE_SAE_ARCH_STANDARD},
                 {SONDE_SAE_ARCH_STANDARD, SONDE_SAE_ARCH_STANDARD_2023},
                 {SONDE_SAE_ARCH_STANDARD, SONDE_SAE_ARCH_PANNEAL},
                 {SONDE_SAE_ARCH_STANDARD_2023, SONDE_SAE_ARCH_STANDARD_2023},
                 {SONDE_SAE_ARCH_BATCHTOPK, SONDE_SAE_ARCH_BATCHTOPK},
                 {SONDE_SAE_ARCH_MATRYOSHKA, SONDE_SAE_ARCH_MATRYOSHKA},
                 {SONDE_SAE_ARCH_BATCHTOPK, SONDE_SAE_ARCH_JUMPRELU},
                 {SONDE_SAE_ARCH_GATED, SONDE_SAE_ARCH_GATED},
                 {SONDE_SAE_ARCH_TOPK, SONDE_SAE_ARCH_TOPK}};
    static float x[N * D], y[2][N * D];
    sonde_sae_train_report r;
    (void)state;

    make_rows(x, N, 5);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        for (int rescales = 0; rescales < 2; rescales++) {
            sonde_sae_train_opts o = options(pairs[i].from), then = options(pairs[i].to);
            sonde_sae_trainer *t, *again;
            sonde_sae *first, *second;
            o.rescales = then.rescales = rescales;
            then.lr = 1e-20;
            then.threshold_rate = 1e-9;
            t = trained(&o, STEPS, &r), again = trained(&then, 0, &r);
            assert_ok(sonde_sae_trainer_export(&first, t, NULL, NULL, NULL));
            assert_ok(sonde_sae_trainer_start_from(again, first));
            assert_ok(sonde_sae_trainer_step(again, &r, x, NULL));
            assert_ok(sonde_sae_trainer_export(&second, again, NULL, NULL, NULL));
            reconstruct(y[0], first, x), reconstruct(y[1], second, x);
            for (int k = 0; k < N * D; k++)
                assert_float_equal(y[0][k], y[1][k], 2e-3);
            sonde_sae_free(first), sonde_sae_free(second);
            sonde_sae_trainer_free(t), sonde_sae_trainer_free(again);
        }
}

static void test_starts_from_what_was_exported(void **state)
{
    sonde_sae_train_report r;
    (void)state;

    for (int i = 0; i < N_ARCHS; i++) {
        sonde_sae_train_opts o = options(archs[i]);
        sonde_sae_trainer *t = trained(&o, 4, &r), *again = trained(&o, 0, &r);
        sonde_sae *first, *second;
        sonde_tensor a, b;
        assert_ok(sonde_sae_trainer_export(&first, t, NULL, NULL, NULL));
        assert_ok(sonde_sae_trainer_start_from(again, first));
        assert_ok(sonde_sae_trainer_export(&second, again, NULL, NULL, NULL));
        assert_ok(sonde_sae_weight(&a, first, "W_dec"));
        assert_ok(sonde_sae_weight(&b, second, "W_dec"));
        for (int k = 0; k < S * D; k++)
            assert_float_equal(((float *)a.data)[k], ((float *)b.data)[k], 1e-5);
        assert_int_equal(sonde_sae_trainer_start_from(t, first), SONDE_E_STATE);
        o.arch = archs[(i + 3) % N_ARCHS] == SONDE_SAE_ARCH_GATED ? SONDE_SAE_ARCH_TOPK : SONDE_SAE_ARCH_GATED;
        if (archs[i] != SONDE_SAE_ARCH_GATED && o.arch == SONDE_SAE_ARCH_GATED) {
            sonde_sae_trainer *other = trained(&o, 0, &r);
            assert_refused(sonde_sae_trainer_start_from(other, first), SONDE_E_ARG, "another kind");
            sonde_sae_trainer_free(other);
        }
        sonde_sae_free(first);
        sonde_sae_free(second);
        sonde_sae_trainer_free(t);
        sonde_sae_trainer_free(again);
    }
}

/* ---- what rows say ------------------------------------------------------------------------------------------------------------------ */

static void test_scale_and_whitening(void **state)
{
    enum { MANY = 40 * N };
    static float x[MANY * D], y[MANY * D];
    sonde_sae_train_opts o = options(SONDE_SAE_ARCH_TOPK);
    double norm = 0, covariance;
    sonde_sae_trainer *t;
    (void)state;

    make_rows(x, MANY, 9);
    assert_ok(sonde_sae_trainer_new(&t, &o));
    assert_ok(sonde_sae_trainer_begin(t, x, NULL, MANY));
    for (int i = 0; i < MANY; i += N)
        sondep_sae_scale_x(t, y + i * D, x + i * D, N);
    for (int i = 0; i < MANY; i++)
        norm += sqrt(sondep_sum_squares(y + i * D, D)) / MANY;
    assert_float_equal(norm, sqrt(D), 1e-4);
    sonde_sae_trainer_free(t);
    o.scaling = SONDE_SAE_SCALE_WHITENING;
    assert_ok(sonde_sae_trainer_new(&t, &o));
    assert_ok(sonde_sae_trainer_begin(t, x, NULL, MANY));
    for (int i = 0; i < MANY; i += N)
        sondep_sae_scale_x(t, y + i * D, x + i * D, N);
    for (int a = 0; a < D; a++)
        for (int b = 0; b <= a; b++) {
            covariance = 0;
            for (int i = 0; i < MANY; i++)
                covariance += (double)y[i * D + a] * y[i * D + b] / (MANY - 1);
            /* the smallest eigenvalues are about 0.09, to which 1e-3 is added */
            assert_true(fabs(covariance - (double)(a == b)) <= 0.02);
        }
    sonde_sae_trainer_free(t);
}

/* Of rows around a point, one of them far away, the median stays at the point; the mean does not. */
static void test_geometric_median(void **state)
{
    float x[N * D] = {0};
    sonde_sae_train_opts o = options(SONDE_SAE_ARCH_STANDARD_2023);
    sonde_sae_trainer *t;
    (void)state;

    o.scaling = SONDE_SAE_SCALE_NONE;
    for (int i = 0; i < N; i++)
        for (int d = 0; d < D; d++)
            x[i * D + d] = 3.0f + (i % 2 ? 1.0f : -1.0f) * (d == i / 2 % D ? 0.1f : 0.0f);
    for (int d = 0; d < D; d++)
        x[(N - 1) * D + d] = 1000.0f;
    assert_ok(sonde_sae_trainer_new(&t, &o));
    assert_ok(sonde_sae_trainer_begin(t, x, NULL, N));
    for (int d = 0; d < D; d++)
        assert_float_equal(sondep_sae_at(t, t->w, SONDEP_SAE_B_DEC)[d], 3.0, 0.02);
    sonde_sae_trainer_free(t);
}

static void test_resampling(void **state)
{
    sonde_sae_train_opts o = options(SONDE_SAE_ARCH_STANDARD_2023);
    sonde_sae_train_report r;
    float x[N * D];
    int64_t n;
    sonde_sae_trainer *t = trained(&o, 4, &r);
    (void)state;

    for (int s = 0; s < S; s++)
        t->silent[s] = s % 8 == 3 ? 1000 : 0;
    make_rows(x, N, 60);
    assert_ok(sonde_sae_trainer_resample(t, &n, x, N));
    assert_int_equal(n, S / 8);
    for (int s = 3; s < S; s += 8) {
        const float *in = sondep_sae_at(t, t->w, SONDEP_SAE_IN) + s * D,
                    *out = sondep_sae_at(t, t->w, SONDEP_SAE_OUT) + s * D;
        double along = 0, norm = sqrt(sondep_sum_squares(in, D));
        for (int d = 0; d < D; d++)
            along += (double)in[d] * out[d] / norm;
        assert_float_equal(sqrt(sondep_sum_squares(out, D)), 1.0, 1e-5);
        assert_float_equal(along, 1.0, 1e-5);
        assert_float_equal(sondep_sae_at(t, t->m, SONDEP_SAE_OUT)[s * D], 0.0, 0.0);
        assert_int_equal(t->silent[s], 0);
    }
    sonde_sae_trainer_free(t);
    o.arch = SONDE_SAE_ARCH_TOPK;
    t = trained(&o, 1, &r);
    assert_refused(sonde_sae_trainer_resample(t, &n, x, N), SONDE_E_ARG, "standard-2023");
    sonde_sae_trainer_free(t);
}

/* ---- BatchTopK's lists --------------------------------------------------------------------------------------------------------------- */

/* One row takes nearly all places of a batch: more than its list has room for at first. */
static void test_lists_grow(void **state)
{
    sonde_sae_train_opts o = options(SONDE_SAE_ARCH_BATCHTOPK);
    sonde_sae_train_report r;
    float x[N * D];
    sonde_sae_trainer *t;
    (void)state;

    o.d_sae = 400;
    o.k = 2;
    o.scaling = SONDE_SAE_SCALE_NONE;
    assert_ok(sonde_sae_trainer_new(&t, &o));
    make_rows(x, N, 1);
    for (int d = 0; d < D; d++)
        x[5 * D + d] *= 1e4f;
    assert_int_equal(t->pairs.codes.capacity, 64);
    assert_ok(sonde_sae_trainer_step(t, &r, x, NULL));
    assert_true(t->pairs.codes.capacity > 64);
    assert_float_equal(r.l0, o.k, 1e-9);
    assert_true(t->n_on[5] > 64);
    sonde_sae_trainer_free(t);
}

/* ---- a planted dictionary ------------------------------------------------------------------------------------------------------------ */

/* Rows are sums of two of 24 directions in 20 dimensions: each direction is found again, by most architectures' features. */
static void test_planted_dictionary(void **state)
{
    enum { PLANTED = 24, MANY = 256 };
    static const sonde_sae_arch tried[] = {SONDE_SAE_ARCH_TOPK, SONDE_SAE_ARCH_BATCHTOPK, SONDE_SAE_ARCH_STANDARD,
                                           SONDE_SAE_ARCH_JUMPRELU};
    static const double bars[] = {0.95, 0.95, 0.95, 0.85}; /* JumpReLU's features split some directions */
    static float x[MANY * D], planted[PLANTED * D];
    sonde_sae_train_report r;
    (void)state;

    for (int i = 0; i < PLANTED * D; i++)
        planted[i] = (float)sonde_random_normal(11, 0, (uint64_t)i);
    for (int a = 0; a < 4; a++) {
        sonde_sae_train_opts o = options(tried[a]);
        double found = 0;
        sonde_sae_trainer *t;
        o.d_sae = 48;
        o.batch = MANY;
        o.steps = 1200;
        o.k = 2;
        o.l1 = 1.0;
        o.l0 = 0.3;
        o.lr = 5e-3;
        o.dead_window = 50;
        assert_ok(sonde_sae_trainer_new(&t, &o));
        for (int64_t step = 0; step < o.steps; step++) {
            memset(x, 0, sizeof x);
            for (int i = 0; i < 2 * MANY; i++) {
                uint64_t at = (uint64_t)(step * 2 * MANY + i);
                int which = (int)(PLANTED * sonde_random_uniform(12, 0, at));
                float size = (float)(0.5 + sonde_random_uniform(12, 1, at));
                for (int d = 0; d < D; d++)
                    x[i / 2 * D + d] += size * planted[which * D + d];
            }
            if (step == 0)
                assert_ok(sonde_sae_trainer_begin(t, x, NULL, MANY));
            assert_ok(sonde_sae_trainer_step(t, &r, x, NULL));
        }
        for (int p = 0; p < PLANTED; p++) {
            double best = 0;
            for (int s = 0; s < o.d_sae; s++) {
                const float *w = sondep_sae_at(t, t->w, SONDEP_SAE_OUT) + s * D;
                double dot = 0;
                for (int d = 0; d < D; d++)
                    dot += (double)w[d] * planted[p * D + d];
                dot /= sqrt(sondep_sum_squares(w, D) * sondep_sum_squares(planted + p * D, D)) + 1e-30;
                best = dot > best ? dot : best;
            }
            found += best / PLANTED;
        }
        if (!(found > bars[a]))
            fail_msg("architecture %d: mean largest cosine %.3f, L0 %.1f, explained %.3f", (int)tried[a], found, r.l0,
                     r.explained_variance);
        sonde_sae_trainer_free(t);
    }
}

/* ---- what is refused ------------------------------------------------------------------------------------------------------------------ */

static void test_bad_options(void **state)
{
    sonde_sae_train_opts o = options(SONDE_SAE_ARCH_TOPK);
    static const int64_t wrong[] = {10, 5, S};
    sonde_sae_trainer *t;
    (void)state;

    o.k = 2.5;
    assert_refused(sonde_sae_trainer_new(&t, &o), SONDE_E_ARG, "2.5");
    o.k = S + 1;
    assert_refused(sonde_sae_trainer_new(&t, &o), SONDE_E_ARG, "there are 96 features");
    o = options(SONDE_SAE_ARCH_TOPK);
    o.lr = NAN;
    assert_refused(sonde_sae_trainer_new(&t, &o), SONDE_E_ARG, "'lr'");
    o = options(SONDE_SAE_ARCH_TOPK);
    o.d_in = 0;
    assert_refused(sonde_sae_trainer_new(&t, &o), SONDE_E_ARG, "'d_in'");
    o = options(SONDE_SAE_ARCH_GATED);
    o.d_out = 3;
    assert_refused(sonde_sae_trainer_new(&t, &o), SONDE_E_ARG, "transcoder");
    o = options(SONDE_SAE_ARCH_MATRYOSHKA);
    o.groups = wrong;
    o.n_groups = 3;
    assert_refused(sonde_sae_trainer_new(&t, &o), SONDE_E_ARG, "5 does not follow 10");
    o = options(SONDE_SAE_ARCH_TOPK);
    o.has_skip = 1;
    assert_refused(sonde_sae_trainer_new(&t, &o), SONDE_E_ARG, "'skip'");
    o = options(SONDE_SAE_ARCH_TOPK);
    o.l0_control = 0.01;
    assert_refused(sonde_sae_trainer_new(&t, &o), SONDE_E_ARG, "'l0-control'");
    o = options(SONDE_SAE_ARCH_JUMPRELU);
    o.l0_control = 0.01;
    o.l0 = 0.0;
    assert_refused(sonde_sae_trainer_new(&t, &o), SONDE_E_ARG, "'l0-control'");
    assert_null(t);
}

/* ---- which options are of use ----------------------------------------------------------------------------------------------------- */

enum { N_FLAGS = 64 };

/* Every option that can be on is on, so that what depends on another shows. */
static sonde_sae_train_opts lively(sonde_sae_arch arch, bool is_lively)
{
    sonde_sae_train_opts o = options(arch);

    o.penalty = is_lively ? SONDE_SAE_PENALTY_TANH : SONDE_SAE_PENALTY_QUADRATIC;
    if (!is_lively)
        return o;
    o.l0_control = sondep_sae_rules[arch].back != NULL ? 0.05 : 0.0;
    o.pre_act = 1e-3;
    o.plateau_every = 2;
    o.plateau_patience = 0;
    o.sparsity_warmup = 3;
    o.anneal_start = 3;
    o.init_threshold = 0.1;
    o.residual_threshold = 2.0;
    return o;
}

/* Another value that the option can have. */
static double other_value(double x, double least, double most, bool is_whole)
{
    double step = is_whole ? 1.0 : x > 0.0 ? x * 0.5 : fmin(0.01, most);
    return x + step <= most && (is_whole || x == 0.0) ? x + step : fmax(x - step, least);
}

/* Whether a training with these options leaves other weights, or another threshold, than this one did. */
static bool differs(const sonde_sae_trainer *a, const sonde_sae_train_opts *o)
{
    sonde_sae_train_report r;
    sonde_sae_trainer *b = trained(o, STEPS, &r);
    size_t bytes = (size_t)a->first[SONDEP_N_SAE_PARAMETERS] * sizeof *a->w;
    bool is_same = a->threshold == b->threshold && memcmp(a->w, b->w, bytes) == 0;

    sonde_sae_trainer_free(b);
    return !is_same;
}

/* One option with another value: what is said to be of no use must change no bit. Gives whether it did. */
static bool try_option(const sonde_sae_trainer *t, const sonde_sae_train_opts *o, const char *flag)
{
    bool is_used = sonde_sae_train_opts_use(sonde_sae_trainer_opts(t), flag), is_other;

    /* how many there are of steps and rows is the caller's; l0-control is refused where it is of no use */
    if (strcmp(flag, "arch") == 0 || strcmp(flag, "batch") == 0 || strcmp(flag, "steps") == 0)
        return true;
    if (strcmp(flag, "l0-control") == 0 && !is_used)
        return false;
    is_other = differs(t, o);
    if (is_other && !is_used)
        fail_msg("'%s' is said to be of no use to architecture %d", flag, (int)o->arch);
    return is_other;
}

/* And what is of use does change something, for some architecture. */
static void test_use_of_options(void **state)
{
    bool has_changed[N_FLAGS] = {false};
    sonde_sae_train_report r;
    int flag = 0;
    (void)state;

    /* a thousand short trainings, which others would only be waited for in */
    assert_ok(sonde_set_threads(1));
    for (int i = 0; i < 2 * N_ARCHS; i++) {
        sonde_sae_train_opts base = lively(archs[i / 2], i % 2), o;
        sonde_sae_trainer *t = trained(&base, STEPS, &r);
        flag = 0;
#define TRY(name, own, least, most, is_whole)                                           \
    o = base;                                                                           \
    o.name = other_value((double)base.name, (double)(least), (double)(most), is_whole); \
    has_changed[flag] |= try_option(t, &o, own);                                        \
    flag++;
#define WHOLE(name, own, value, least, most, what) TRY(name, own, least, most, true)
#define CHOICE(name, own, value, names, what) TRY(name, own, 0, 1, true)
#define REAL(name, own, value, least, most, what) TRY(name, own, least, most, strcmp(own, "k") == 0)
        SONDE_SAE_TRAIN_OPTION_LIST(WHOLE, CHOICE, REAL)
        sonde_sae_trainer_free(t);
    }
    assert_ok(sonde_set_threads(0));
    for (int k = 0; k < flag; k++)
        if (!has_changed[k])
            fail_msg("option %d of the list never changed anything", k);
    assert_false(sonde_sae_train_opts_use(&(sonde_sae_train_opts){.arch = 99}, "lr"));
    assert_false(sonde_sae_train_opts_use(&(sonde_sae_train_opts){.arch = 0}, "no-such-option"));
}

/* Rows that are not finite leave everything as it was. */
static void test_bad_rows(void **state)
{
    sonde_sae_train_report r;
    float x[N * D];
    (void)state;

    for (int i = 0; i < N_ARCHS; i++) {
        sonde_sae_train_opts o = options(archs[i]);
        sonde_sae_trainer *t = trained(&o, 2, &r);
        assert_ok(sonde_sae_trainer_save(t, in_folder("before.safetensors"), NULL));
        make_rows(x, N, 77);
        x[3 * D + 4] = NAN;
        assert_refused(sonde_sae_trainer_step(t, &r, x, NULL), SONDE_E_NONFINITE, "row 3, column 4");
        x[3 * D + 4] = 3e38f;
        x[3 * D + 5] = -3e38f;
        assert_int_equal(sonde_sae_trainer_step(t, &r, x, NULL), SONDE_E_NONFINITE);
        assert_ok(sonde_sae_trainer_save(t, in_folder("after.safetensors"), NULL));
        assert_same_file(in_folder("before.safetensors"), in_folder("after.safetensors"));
        sonde_sae_trainer_free(t);
    }
}

/* Products that are kept up to date by the Gram matrix, and those that are formed anew, choose the same features. */
static void test_two_ways_of_pursuit(void **state)
{
    enum { K = 9, SCRATCH = 1 << 24 };
    static float x[N * D], w[S * D], gram[S * S], v[N * S], rest[2][N * D], room[N * D], value[2][N * K];
    static int32_t index[2][N * K];
    static int64_t count[2][N], order[N];
    void *scratch;
    (void)state;

    make_rows(x, N, 5);
    for (int64_t i = 0; i < S * D; i++)
        w[i] = (float)(sonde_random_normal(9, 9, (uint64_t)i) / sqrt(D));
    assert_ok(sondep_map_block(&scratch, SCRATCH));
    sondep_sae_make_gram(gram, w, S, D, scratch);
    for (int way = 0; way < 2; way++) {
        sondep_codes codes = {index[way], value[way], count[way], K};
        sondep_pursuit p = {w, way == 0 ? gram : NULL, rest[way], v, 0.8, false};
        sondep_sae_pursuit_room r = {room, order, scratch};
        memcpy(rest[way], x, sizeof x);
        assert_ok(sondep_sae_pursue(&codes, &p, &r, N, S, D));
    }
    for (int64_t n = 0; n < N; n++) {
        assert_in_range(count[0][n], 1, K);
        assert_int_equal(count[0][n], count[1][n]);
        for (int64_t i = n * K; i < n * K + count[0][n]; i++) {
            assert_int_equal(index[0][i], index[1][i]);
            assert_true(fabsf(value[0][i] - value[1][i]) < 1e-4f);
        }
    }
    sondep_unmap_block(scratch, SCRATCH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goes_on),
        cmocka_unit_test(test_other_trainings_are_refused),
        cmocka_unit_test(test_export_is_what_was_trained),
        cmocka_unit_test(test_control),
        cmocka_unit_test(test_plateau),
        cmocka_unit_test(test_threshold_of_batchtopk),
        cmocka_unit_test(test_starts_from_what_was_exported),
        cmocka_unit_test(test_going_on_changes_nothing),
        cmocka_unit_test(test_scale_and_whitening),
        cmocka_unit_test(test_geometric_median),
        cmocka_unit_test(test_resampling),
        cmocka_unit_test(test_lists_grow),
        cmocka_unit_test(test_planted_dictionary),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_use_of_options),
        cmocka_unit_test(test_bad_rows),
        cmocka_unit_test(test_two_ways_of_pursuit),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
