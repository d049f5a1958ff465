/* Step sizes and weights of penalties, step by step, against sae-lens's get_lr_scheduler and CoefficientScheduler (tests/golden/schedules.json,
 * made by tests/oracle/schedule_golden.py), as a trainer has them whose options say the same:
 *
 *   sae-lens                                                      sonde
 *   constant, lr_warm_up_steps w, lr_decay_steps n                wsd, warmup w, decay-steps n, last-lr 0
 *   the same with all that follows the warm-up as n               linear, warmup w, last-lr 0
 *   constant, lr_warm_up_steps w, no lr_decay_steps               constant, warmup w (wsd without decay-steps takes a fifth of all)
 *   cosineannealing, lr_warm_up_steps w, lr_end, no decay         cosine, warmup w, last-lr lr_end / lr (left out: 0.1 there, 0 here)
 *   l1_warm_up_steps, l0_warm_up_steps                            sparsity-warmup
 *
 * Step i, from 0, has (i + 1) / w of the step size there and here, and i / w of the penalty: the first step has none. The first step of a decay
 * is a whole one still, and the last step of all has 1 / n: 0 would be that of the step behind it.
 *
 * They differ where a decay begins within the warm-up. sae-lens leaves the warm-up then, and jumps to the line of the decay; here both factors
 * count as long as both last, so that nothing jumps. A decay behind cosineannealing, from lr_end to 0, has no counterpart here. */
#include "sae/trainer.h"

#include <jansson.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "statuses.h"

enum { D = 2, S = 4, N = 3 };

/* As far as double goes: torch forms a rate from the one before. */
static const double LIMIT = 1e-12;

/* A number of an object. */
static double field(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* Number i of an array of one. */
static double number(const json_t *object, const char *name, int64_t i)
{
    const json_t *value = json_array_get(json_object_get(object, name), (size_t)i);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* Options of a small training. */
static sonde_sae_train_opts options(sonde_sae_arch arch, int64_t steps)
{
    sonde_sae_train_opts o;

    sonde_sae_train_opts_init(&o);
    o.arch = arch;
    o.d_in = D;
    o.d_sae = S;
    o.batch = N;
    o.steps = steps;
    o.k = 1;
    return o;
}

/* A step on rows that are the same at each step. */
static void step(sonde_sae_trainer *t, sonde_sae_train_report *r)
{
    static const float x[N * D] = {1, 2, -1, 0.5f, 0.25f, -2};
    assert_ok(sonde_sae_trainer_step(t, r, x, NULL));
}

/* One run beside a schedule of ours. Only steps of the warm-up that a decay has reached may differ, and do. */
static void check_rates(const json_t *run, sonde_schedule schedule)
{
    int64_t steps = (int64_t)field(run, "steps"), warmup = (int64_t)field(run, "warmup"),
            decay = (int64_t)field(run, "decay");
    sonde_sae_train_opts o = options(SONDE_SAE_ARCH_TOPK, steps);
    sonde_sae_train_report r;
    sonde_sae_trainer *t;

    o.schedule = schedule;
    o.warmup = warmup;
    o.decay_steps = schedule == SONDE_SCHEDULE_WSD ? decay : 0;
    o.last_lr = field(run, "last");
    o.lr = field(run, "lr");
    assert_ok(sonde_sae_trainer_new(&t, &o));
    assert_int_equal(json_array_size(json_object_get(run, "rates")), steps);
    for (int64_t i = 0; i < steps; i++) {
        double want = number(run, "rates", i);
        bool is_both = decay > 0 && i >= steps - decay && i + 1 < warmup;
        step(t, &r);
        if (is_both)
            want *= (double)(i + 1) / (double)warmup;
        if (!(fabs(r.lr - want) <= LIMIT * o.lr))
            fail_msg("schedule %d, warm-up %lld, decay %lld: step %lld has %.17g, want %.17g", (int)schedule,
                     (long long)warmup, (long long)decay, (long long)i, r.lr, want);
    }
    sonde_sae_trainer_free(t);
}

/* All schedules that a run of sae-lens is. */
static void test_rates(void **state)
{
    json_t *golden = json_load_file("tests/golden/schedules.json", 0, NULL);
    const json_t *run;
    int n_checked[4] = {0};
    size_t i;

    (void)state;
    assert_non_null(golden);
    json_array_foreach(json_object_get(golden, "rates"), i, run)
    {
        const char *scheduler = json_string_value(json_object_get(run, "scheduler"));
        double decay = field(run, "decay"), rest = field(run, "steps") - field(run, "warmup");
        sonde_schedule schedule = strcmp(scheduler, "cosineannealing") == 0 ? SONDE_SCHEDULE_COSINE
                                  : decay > 0.0                             ? SONDE_SCHEDULE_WSD
                                                                            : SONDE_SCHEDULE_CONSTANT;
        check_rates(run, schedule);
        n_checked[schedule]++;
        if (schedule == SONDE_SCHEDULE_WSD && decay == rest) {
            check_rates(run, SONDE_SCHEDULE_LINEAR);
            n_checked[SONDE_SCHEDULE_LINEAR]++;
        }
    }
    assert_int_equal(n_checked[SONDE_SCHEDULE_CONSTANT], 4);
    assert_int_equal(n_checked[SONDE_SCHEDULE_LINEAR], 3);
    assert_int_equal(n_checked[SONDE_SCHEDULE_COSINE], 4);
    assert_int_equal(n_checked[SONDE_SCHEDULE_WSD], 8);
    json_decref(golden);
}

/* The weight of one run, and what it does: at 0, nothing is added to the loss. */
static void check_weights(const json_t *run, sonde_sae_arch arch)
{
    int64_t steps = (int64_t)json_array_size(json_object_get(run, "weights"));
    sonde_sae_train_opts o = options(arch, steps);
    sonde_sae_train_report r;
    sonde_sae_trainer *t;

    o.l1 = o.l0 = field(run, "final");
    o.sparsity_warmup = (int64_t)field(run, "warmup");
    assert_ok(sonde_sae_trainer_new(&t, &o));
    for (int64_t i = 0; i < steps; i++) {
        double want = number(run, "weights", i), got = sondep_sae_coefficient(t);
        if (!(fabs(got - want) <= LIMIT * want))
            fail_msg("architecture %d, warm-up %lld: step %lld has %.17g, want %.17g", (int)arch,
                     (long long)o.sparsity_warmup, (long long)i, got, want);
        step(t, &r);
        assert_true((r.sparsity > 0.0) == (want > 0.0));
    }
    sonde_sae_trainer_free(t);
}

/* Every architecture that has a coefficient in sae-lens. */
static void test_weights(void **state)
{
    static const sonde_sae_arch archs[] = {SONDE_SAE_ARCH_STANDARD, SONDE_SAE_ARCH_GATED, SONDE_SAE_ARCH_JUMPRELU};
    json_t *golden = json_load_file("tests/golden/schedules.json", 0, NULL);
    const json_t *run;
    size_t i;

    (void)state;
    assert_non_null(golden);
    json_array_foreach(json_object_get(golden, "weights"), i, run) for (int a = 0; a < 3; a++) check_weights(run, archs[a]);
    assert_int_equal(i, 5);
    json_decref(golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rates), cmocka_unit_test(test_weights)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
