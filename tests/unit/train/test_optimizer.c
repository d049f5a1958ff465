/* Schedules against numbers worked out by hand, Muon against torch.optim.Muon (tests/golden/muon.safetensors), what is clipped and
 * what decays. AdamW itself is a kernel, held in tests/kernel. */
#include <sonde/format.h>

#include "layer/optimizer.h"

#include "golden/golden_model.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- schedules ----------------------------------------------------------------------------------------------------------- */

static double rate(sondep_schedule_kind kind, int64_t warmup, int64_t decay, int64_t step)
{
    sondep_schedule s = {.kind = kind, .steps = 10, .warmup = warmup, .decay = decay, .rate = 0.8, .last = 0.2};
    return sondep_schedule_rate(&s, step);
}

#define assert_rate(want, ...) assert_true(fabs(rate(__VA_ARGS__) - (want)) <= 1e-15)

static void schedules_are_what_they_say(void **unused)
{
    (void)unused;
    /* The first step is one warmup-th of the largest already; step `warmup` is the first that is whole. */
    assert_rate(0.2, SONDEP_SCHEDULE_CONSTANT, 4, 0, 0);
    assert_rate(0.6, SONDEP_SCHEDULE_CONSTANT, 4, 0, 2);
    assert_rate(0.8, SONDEP_SCHEDULE_CONSTANT, 4, 0, 3);
    assert_rate(0.8, SONDEP_SCHEDULE_CONSTANT, 4, 0, 9);
    assert_rate(0.8, SONDEP_SCHEDULE_CONSTANT, 0, 0, 0);
    /* Linear from step 2 over 8 steps: 0.8 - 0.6 (step - 2) / 8. */
    assert_rate(0.4, SONDEP_SCHEDULE_LINEAR, 2, 0, 0);
    assert_rate(0.8, SONDEP_SCHEDULE_LINEAR, 2, 0, 2);
    assert_rate(0.5, SONDEP_SCHEDULE_LINEAR, 2, 0, 6);
    assert_rate(0.275, SONDEP_SCHEDULE_LINEAR, 2, 0, 9);
    assert_rate(0.2, SONDEP_SCHEDULE_LINEAR, 2, 0, 10);
    assert_rate(0.2, SONDEP_SCHEDULE_LINEAR, 2, 0, 1000);
    /* Half a cosine: half-way down in the middle, a quarter of the way (1 - cos 60) / 2 after a third. */
    assert_rate(0.8, SONDEP_SCHEDULE_COSINE, 4, 0, 4);
    assert_rate(0.65, SONDEP_SCHEDULE_COSINE, 4, 0, 6);
    assert_rate(0.5, SONDEP_SCHEDULE_COSINE, 4, 0, 7);
    assert_rate(0.2, SONDEP_SCHEDULE_COSINE, 4, 0, 10);
    /* Constant up to the last four steps, then 0.15 less each. */
    assert_rate(0.8, SONDEP_SCHEDULE_WSD, 2, 4, 6);
    assert_rate(0.65, SONDEP_SCHEDULE_WSD, 2, 4, 7);
    assert_rate(0.35, SONDEP_SCHEDULE_WSD, 2, 4, 9);
    assert_rate(0.8, SONDEP_SCHEDULE_WSD, 2, 0, 9);
    /* A warm-up that lasts longer than all: only up. */
    assert_rate(0.8 * 10 / 20, SONDEP_SCHEDULE_COSINE, 20, 0, 9);
    assert_rate(0.8 * 10 / 20, SONDEP_SCHEDULE_LINEAR, 20, 0, 9);
}

static void gradients_are_clipped_to_a_norm(void **unused)
{
    static const float g[] = {3, -4, 0};
    (void)unused;
    assert_true(sondep_gradient_norm(g, 3) == 5.0);
    assert_true(sondep_clip_factor(5, 1) == 0.2);
    assert_true(sondep_clip_factor(5, 5) == 1.0);
    assert_true(sondep_clip_factor(5, 7) == 1.0);
    assert_true(sondep_clip_factor(5, 0) == 1.0);
    assert_true(sondep_clip_factor(0, 1) == 1.0);
}

/* ---- Muon ------------------------------------------------------------------------------------------------------------------ */

enum { MOST = 1024 };

typedef struct matrix {
    sondep_parameter p;
    float w[MOST], m[MOST], v[MOST], g[MOST], want[MOST];
} matrix;

/* A tensor of the golden file; its shape goes to the parameter. */
static void get(float *out, matrix *x, const sonde_safetensors *file, const char *format, int64_t step)
{
    char name[64];
    sonde_tensor t;

    snprintf(name, sizeof name, "%s.%s%lld", x->p.name, format, (long long)step);
    assert_ok(sonde_safetensors_get(&t, file, name));
    x->p.n = sonde_tensor_n_elements(&t);
    x->p.rows = t.shape[0];
    x->p.columns = t.shape[1];
    assert_true(x->p.n <= MOST);
    memcpy(out, t.data, (size_t)x->p.n * sizeof *out);
}

/* Largest difference from what torch has, in units of its largest weight. */
static double error_of(const matrix *x)
{
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < x->p.n; i++) {
        double error = fabs((double)x->w[i] - x->want[i]);
        largest = fmax(largest, fabs((double)x->want[i]));
        worst = error <= worst ? worst : error; /* a NaN stays */
    }
    return worst / largest;
}

/* All steps of one matrix; `factor` divides the gradients, which a clip takes back. */
static double run_muon(const sonde_safetensors *file, const char *name, int64_t parts, double factor)
{
    sondep_optimizer o = {.kind = SONDEP_MUON, .decay = 0.1, .momentum = 0.95};
    matrix *x = calloc(1, sizeof *x);
    double worst = 0;

    x->p = (sondep_parameter){.name = name, .parts = parts, .decays = true, .is_hidden = true};
    get(x->w, x, file, "w", 0);
    for (int64_t step = 1; step <= 3; step++) {
        sondep_moments moments = {x->w, x->m, x->v, x->g};
        size_t bytes = sondep_optimizer_scratch_bytes(&o, &x->p, 1);
        void *scratch = aligned_alloc(64, (bytes + 63) / 64 * 64);
        double error;

        get(x->g, x, file, "g", step);
        get(x->want, x, file, "w", step);
        for (int64_t i = 0; i < x->p.n; i++)
            x->g[i] = (float)(x->g[i] / factor);
        sondep_optimizer_step(&o, &moments, &x->p, 1, step, 0.02, factor, scratch);
        free(scratch);
        error = error_of(x);
        worst = error <= worst ? worst : error;
        for (int64_t i = 0; i < x->p.n; i++)
            assert_true(x->v[i] == 0.0f);
    }
    free(x);
    return worst;
}

static void muon_is_that_of_torch(void **unused)
{
    static const char *const names[] = {"wide", "tall", "square", "row", "column", "large", "small", "zero", "parts"};
    sonde_safetensors *file;
    double worst = 0;

    (void)unused;
    assert_ok(sonde_safetensors_open(&file, "tests/golden/muon.safetensors"));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int64_t parts = strcmp(names[i], "parts") == 0 ? 3 : 1;
        double error = run_muon(file, names[i], parts, 1.0);
        if (!(error <= 1e-5))
            fail_msg("%s: error %g", names[i], error);
        worst = fmax(worst, error);
        /* What is scaled to be clipped comes to the same. */
        assert_true(run_muon(file, names[i], parts, 0.25) <= 1e-5);
    }
    /* Three matrices side by side are not one. */
    assert_false(run_muon(file, "parts", 1, 1.0) <= 1e-3);
    sonde_safetensors_close(file);
    printf("note: Muon differs from torch.optim.Muon in float64 by %.1e of the largest weight\n", worst);
}

/* ---- a step of everything --------------------------------------------------------------------------------------------------- */

/* With gradients of 0, weights change by decay alone: matrices and embeddings do, gains and biases do not. */
static void only_matrices_decay(void **unused)
{
    const sondep_parameter table[] = {
        {.name = "matrix", .first = 0, .n = 6, .rows = 2, .columns = 3, .parts = 1, .decays = true, .is_hidden = true},
        {.name = "embedding", .first = 6, .n = 6, .rows = 3, .columns = 2, .parts = 1, .decays = true},
        {.name = "gain", .first = 12, .n = 4, .rows = 1, .columns = 4, .parts = 1},
    };
    (void)unused;
    for (int kind = 0; kind < 2; kind++) {
        sondep_optimizer o = {.kind = kind ? SONDEP_MUON : SONDEP_ADAMW,
                              .beta1 = 0.9,
                              .beta2 = 0.95,
                              .eps = 1e-8,
                              .decay = 0.5,
                              .momentum = 0.9};
        float w[16], m[16] = {0}, v[16] = {0}, g[16] = {0};
        sondep_moments moments = {w, m, v, g};
        void *scratch = aligned_alloc(64, (sondep_optimizer_scratch_bytes(&o, table, 3) + 63) / 64 * 64);

        for (int i = 0; i < 16; i++)
            w[i] = 1.0f;
        sondep_optimizer_step(&o, &moments, table, 3, 1, 0.5, 1.0, scratch);
        for (int i = 0; i < 16; i++)
            assert_true(w[i] == (i < 12 ? 0.75f : 1.0f));
        free(scratch);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schedules_are_what_they_say),
        cmocka_unit_test(gradients_are_clipped_to_a_norm),
        cmocka_unit_test(muon_is_that_of_torch),
        cmocka_unit_test(only_matrices_decay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
