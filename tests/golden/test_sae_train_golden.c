/* Steps of training against those of other people's trainers in float64 (tests/golden/sae_train, made by tests/oracle/sae_train_golden.py):
 * features, losses, every gradient, how long features have been silent, every parameter behind some steps of Adam, and where they change from
 * step to step, step sizes and the penalty's weight. Both ways that rows can go are tried. */
#include <sonde/format.h>

#include "sae/trainer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "statuses.h"

/* The options of a case, as the script has them. */
typedef struct golden_case {
    const char *name;
    sonde_sae_arch arch;
    double k, l1, l0, aux, bandwidth, target;
    int64_t penalty, ste, by_norm, ties_bias;
    const int64_t *groups;
    int64_t n_groups;
    double clip, last_p, pre_act, kl, rho;
    int64_t anneal_start, skip;
    bool is_transcoder;
    int64_t schedule, warmup, decay_steps, sparsity_warmup; /* schedule 0: constant */
    double last_lr, weight_decay;
} golden_case;

static const int64_t groups[] = {8, 24, 64};
static const golden_case cases[] = {
    {.name = "standard", .arch = SONDE_SAE_ARCH_STANDARD, .l1 = 0.7, .clip = 1, .ties_bias = 1},
    {.name = "gated", .arch = SONDE_SAE_ARCH_GATED, .l1 = 0.7, .clip = 1, .ties_bias = 1},
    {.name = "topk", .arch = SONDE_SAE_ARCH_TOPK, .k = 4, .aux = 1, .by_norm = 1, .clip = 1, .ties_bias = 1},
    {.name = "topk_plain", .arch = SONDE_SAE_ARCH_TOPK, .k = 4, .aux = 1, .clip = 1},
    {.name = "topk_dead", .arch = SONDE_SAE_ARCH_TOPK, .k = 4, .aux = 0.5, .by_norm = 1, .clip = 1, .ties_bias = 1},
    {.name = "batchtopk", .arch = SONDE_SAE_ARCH_BATCHTOPK, .k = 4.5, .aux = 1, .by_norm = 1, .clip = 1, .ties_bias = 1},
    {.name = "batchtopk_dead",
     .arch = SONDE_SAE_ARCH_BATCHTOPK,
     .k = 4.5,
     .aux = 1,
     .by_norm = 1,
     .clip = 1,
     .ties_bias = 1},
    {.name = "abstopk_dead", .arch = SONDE_SAE_ARCH_ABSTOPK, .k = 4, .aux = 1, .by_norm = 1, .clip = 1, .ties_bias = 1},
    {.name = "matryoshka_dead",
     .arch = SONDE_SAE_ARCH_MATRYOSHKA,
     .k = 5,
     .aux = 1,
     .by_norm = 1,
     .clip = 1,
     .ties_bias = 1,
     .groups = groups,
     .n_groups = 3},
    {.name = "jumprelu_step", .arch = SONDE_SAE_ARCH_JUMPRELU, .l0 = 0.3, .bandwidth = 0.4, .clip = 1, .ties_bias = 1},
    {.name = "jumprelu_tanh",
     .arch = SONDE_SAE_ARCH_JUMPRELU,
     .l0 = 0.3,
     .bandwidth = 0.4,
     .penalty = SONDE_SAE_PENALTY_TANH,
     .clip = 1,
     .ties_bias = 1},
    {.name = "jumprelu_quadratic",
     .arch = SONDE_SAE_ARCH_JUMPRELU,
     .l0 = 0.3,
     .bandwidth = 0.4,
     .penalty = SONDE_SAE_PENALTY_QUADRATIC,
     .target = 9,
     .ste = 1,
     .clip = 1,
     .ties_bias = 1},
    {.name = "matching_pursuit", .arch = SONDE_SAE_ARCH_PURSUIT, .k = 6, .clip = 1, .ties_bias = 1},
    {.name = "jumprelu_below",
     .arch = SONDE_SAE_ARCH_JUMPRELU,
     .l0 = 0.3,
     .bandwidth = 0.4,
     .penalty = SONDE_SAE_PENALTY_TANH,
     .pre_act = 0.02,
     .clip = 1,
     .ties_bias = 1},
    {.name = "standard_below", .arch = SONDE_SAE_ARCH_STANDARD, .l1 = 0.7, .pre_act = 0.02, .clip = 1, .ties_bias = 1},
    {.name = "kl", .arch = SONDE_SAE_ARCH_KL, .kl = 0.5, .rho = 0.2, .clip = 1, .ties_bias = 1},
    {.name = "standard_2023", .arch = SONDE_SAE_ARCH_STANDARD_2023, .l1 = 0.3, .ties_bias = 1},
    {.name = "transcoder", .arch = SONDE_SAE_ARCH_STANDARD, .l1 = 0.7, .clip = 1, .is_transcoder = true},
    {.name = "transcoder_decay",
     .arch = SONDE_SAE_ARCH_STANDARD,
     .l1 = 0.7,
     .clip = 1,
     .weight_decay = 0.3,
     .is_transcoder = true},
    {.name = "transcoder_topk_skip",
     .arch = SONDE_SAE_ARCH_TOPK,
     .k = 4,
     .by_norm = 1,
     .clip = 1,
     .is_transcoder = true,
     .skip = 1},
    {.name = "panneal", .arch = SONDE_SAE_ARCH_PANNEAL, .l1 = 0.3, .last_p = 0.8, .anneal_start = 2, .ties_bias = 1},
    {.name = "warmup_wsd",
     .arch = SONDE_SAE_ARCH_STANDARD,
     .l1 = 0.7,
     .clip = 1,
     .ties_bias = 1,
     .schedule = SONDE_SCHEDULE_WSD,
     .warmup = 4,
     .decay_steps = 5,
     .sparsity_warmup = 5},
    {.name = "warmup_cosine",
     .arch = SONDE_SAE_ARCH_GATED,
     .l1 = 0.7,
     .clip = 1,
     .ties_bias = 1,
     .schedule = SONDE_SCHEDULE_COSINE,
     .warmup = 3,
     .last_lr = 0.1,
     .sparsity_warmup = 20},
    {.name = "warmup_linear",
     .arch = SONDE_SAE_ARCH_JUMPRELU,
     .l0 = 0.3,
     .bandwidth = 0.4,
     .penalty = SONDE_SAE_PENALTY_TANH,
     .pre_act = 0.02,
     .clip = 1,
     .ties_bias = 1,
     .schedule = SONDE_SCHEDULE_LINEAR,
     .warmup = 2,
     .sparsity_warmup = 1},
};
enum { N_CASES = sizeof cases / sizeof *cases };

/* Largest error over largest number, of what is compared; printed at the end. */
static double worst;

/* Each number within `limit` of the largest; NaN fails first. */
static void assert_near(const char *test, const char *what, const float *got, const sonde_tensor *want, double limit)
{
    int64_t n = sonde_tensor_n_elements(want);
    const double *w = want->data;
    double most = 1e-12;

    for (int64_t i = 0; i < n; i++)
        most = fabs(w[i]) > most ? fabs(w[i]) : most;
    for (int64_t i = 0; i < n; i++) {
        double error = fabs((double)got[i] - w[i]) / most;
        if (!(error <= limit))
            fail_msg("%s: %s, element %lld: %.9g, want %.9g (largest %.3g)", test, what, (long long)i, got[i], w[i], most);
        worst = error > worst ? error : worst;
    }
}

static sonde_tensor get(const sonde_safetensors *file, const char *name)
{
    sonde_tensor tensor;
    assert_ok(sonde_safetensors_get(&tensor, file, name));
    return tensor;
}

/* Numbers of a file as floats, rows of W_enc as features. Owns: the caller's: free. */
static float *as_rows(const sonde_tensor *x, const char *name)
{
    int64_t n = sonde_tensor_n_elements(x), rows = x->shape[0], columns = x->rank > 1 ? x->shape[1] : 1;
    const double *from = x->data;
    float *to = calloc((size_t)n, sizeof *to);

    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            to[strcmp(name, "W_enc") == 0 ? j * rows + i : i * columns + j] = (float)from[i * columns + j];
    return to;
}

/* The other way: in the order of the file. */
static float *as_file(const float *from, const sonde_tensor *like, const char *name)
{
    int64_t n = sonde_tensor_n_elements(like), rows = like->shape[0], columns = like->rank > 1 ? like->shape[1] : 1;
    float *to = calloc((size_t)n, sizeof *to);

    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            to[i * columns + j] = from[strcmp(name, "W_enc") == 0 ? j * rows + i : i * columns + j];
    return to;
}

/* A trainer of a case, with the parameters of its file. */
static sonde_sae_trainer *make(const golden_case *c, const sonde_safetensors *file, int64_t steps)
{
    sonde_sae_train_opts o;
    sonde_sae_trainer *t;
    sonde_tensor x = get(file, "x"), silent = get(file, "silent");

    sonde_sae_train_opts_init(&o);
    o.arch = c->arch;
    o.d_in = x.shape[2];
    o.d_sae = silent.shape[0];
    o.batch = x.shape[1];
    o.steps = steps;
    o.schedule = c->schedule;
    o.warmup = c->warmup;
    o.decay_steps = c->decay_steps;
    o.last_lr = c->last_lr;
    o.sparsity_warmup = c->sparsity_warmup;
    o.lr = 1e-3;
    o.scaling = SONDE_SAE_SCALE_NONE;
    o.dead_window = 5;
    o.k = c->k > 0 ? c->k : o.k;
    o.l1 = c->l1;
    o.l0 = c->l0;
    o.aux = c->aux;
    o.bandwidth = c->bandwidth > 0 ? c->bandwidth : o.bandwidth;
    o.target_l0 = c->target > 0 ? c->target : o.target_l0;
    o.penalty = c->penalty;
    o.ste_to_input = c->ste;
    o.rescales = c->by_norm;
    o.ties_bias = c->ties_bias;
    o.groups = c->groups;
    o.n_groups = c->n_groups;
    o.clip = c->clip;
    o.weight_decay = c->weight_decay;
    o.last_p = c->last_p > 0 ? c->last_p : o.last_p;
    o.anneal_start = c->anneal_start;
    o.residual_threshold = 1.5;
    o.pre_act = c->pre_act;
    if (c->kl > 0) {
        o.kl = c->kl;
        o.rho = c->rho;
        o.weight_l1 = 1e-3;
        o.plateau_every = 1;
        o.plateau_patience = 1;
        o.plateau_factor = 0.3;
    }
    o.has_skip = c->skip;
    if (c->is_transcoder)
        o.d_out = get(file, "y").shape[2];
    assert_ok(sonde_sae_trainer_new(&t, &o));
    memcpy(t->silent, silent.data, (size_t)t->S * sizeof *t->silent);
    for (int p = 0; p < SONDEP_N_SAE_PARAMETERS; p++) {
        if (sondep_sae_at(t, t->w, p) == NULL)
            continue;
        const char *name = sondep_sae_parameter_name(t, p);
        sonde_tensor want = get(file, name);
        float *values = as_rows(&want, name);
        memcpy(sondep_sae_at(t, t->w, p), values, (size_t)sondep_sae_count(t, p) * sizeof *values);
        free(values);
    }
    return t;
}

/* Every parameter of a block against the file's PREFIX.NAME, times a factor. */
static void compare_block(const golden_case *c, sonde_sae_trainer *t, const sonde_safetensors *file, float *block,
                          const char *prefix, double factor, double limit)
{
    for (int p = 0; p < SONDEP_N_SAE_PARAMETERS; p++) {
        char name[64];
        if (sondep_sae_at(t, t->w, p) == NULL)
            continue;
        snprintf(name, sizeof name, "%s.%s", prefix, sondep_sae_parameter_name(t, p));
        sonde_tensor want = get(file, name);
        float *got = as_file(sondep_sae_at(t, block, p), &want, sondep_sae_parameter_name(t, p));
        for (int64_t i = 0; i < sondep_sae_count(t, p); i++)
            got[i] = (float)(got[i] * factor);
        assert_near(c->name, name, got, &want, limit);
        free(got);
    }
}

/* Features of the rows of the last step as (N,S), as they were before it changed the weights; `by_norm`: times the lengths of decoder rows.
 * Owns: the caller's: free. */
static float *features_of(const sonde_sae_trainer *t, bool was_dense, bool by_norm)
{
    const sondep_codes *codes = &t->pairs.codes;
    float *f = calloc((size_t)(t->N * t->S), sizeof *f);

    if (was_dense) {
        assert_int_equal(t->block, t->N);
        memcpy(f, t->dense_value, (size_t)(t->N * t->S) * sizeof *f);
        return f;
    }
    for (int64_t n = 0; n < t->N; n++)
        for (int64_t i = n * codes->capacity; i < n * codes->capacity + codes->count[n]; i++) {
            int64_t s = codes->index[i];
            f[n * t->S + s] += codes->value[i] * (by_norm ? t->norms[s] : 1.0f);
        }
    return f;
}

/* Features of the first step: as large (the largest error so far is 2.3e-7), and the same ones are on; but for one at most, whose pre-activation
 * may be below 0 for us and not for them (kl has one of -2.9e-6). SAELens's topk and its relatives have features times the lengths of decoder
 * rows where they choose by that; our transcoders by autograd have not. */
static void compare_features(const golden_case *c, const sonde_sae_trainer *t, const sonde_sae_train_report *r,
                             const sonde_safetensors *file, bool was_dense)
{
    sonde_tensor want = get(file, "features");
    float *got;
    int64_t n_on = 0, n_others = 0;

    /* what lifts dead features has taken their room by now; the same case with codes is compared */
    if (was_dense && t->below != NULL && !t->rule->keeps_h)
        return;
    got = features_of(t, was_dense, t->rule->is_topk && t->opts.rescales && !t->is_transcoder);
    assert_int_equal(sonde_tensor_n_elements(&want), t->N * t->S);
    assert_near(c->name, "features", got, &want, 1e-6);
    for (int64_t i = 0; i < t->N * t->S; i++) {
        bool is_on = ((const double *)want.data)[i] != 0.0;
        n_on += is_on;
        n_others += is_on != (got[i] != 0.0f);
    }
    if (n_others > 1 || !(fabs(r->l0 * (double)t->N - (double)n_on) <= (double)n_others + 1e-6))
        fail_msg("%s: %lld features are to be on, %lld are wrong; L0 is %.9g, want %.9g", c->name, (long long)n_on,
                 (long long)n_others, r->l0, (double)n_on / (double)t->N);
    free(got);
}

/* The step size that the step was taken with, and the weight of the penalty that it had, where the file has them: SAELens forms them in double,
 * from step to step. */
static void compare_schedules(const golden_case *c, const sonde_safetensors *file, int64_t step, double lr, double weight)
{
    double got[] = {lr, weight};
    const char *const names[] = {"lr", "coefficient"};

    for (int i = 0; i < 2 && sonde_safetensors_has(file, "lr"); i++) {
        double want = ((const double *)get(file, names[i]).data)[step];
        if (!(fabs(got[i] - want) <= 1e-12 * fabs(want)))
            fail_msg("%s: %s of step %lld is %.17g, want %.17g", c->name, names[i], (long long)step, got[i], want);
    }
}

/* A whole case, the dense way where there is one and it is asked for. Behind a first step m = (1 - beta1) gradient clip. */
static void check_case(const golden_case *c, bool is_dense)
{
    char path[200];
    sonde_safetensors *file;
    sonde_sae_train_report r = {0};

    snprintf(path, sizeof path, "tests/golden/sae_train/%s.safetensors", c->name);
    assert_ok(sonde_safetensors_open(&file, path));
    sonde_tensor x = get(file, "x"), losses = get(file, "losses");
    int64_t steps = x.shape[0];
    sonde_sae_trainer *t = make(c, file, steps);
    const float *y = c->is_transcoder ? get(file, "y").data : NULL;
    for (int64_t step = 0; step < steps; step++) {
        bool goes_dense = is_dense && !t->rule->is_topk && c->arch != SONDE_SAE_ARCH_PURSUIT;
        double weight = sondep_sae_coefficient(t), want = ((const double *)losses.data)[step];
        t->is_dense = goes_dense;
        assert_ok(
            sonde_sae_trainer_step(t, &r, (const float *)x.data + step * t->N * t->D, y ? y + step * t->N * t->O : NULL));
        compare_schedules(c, file, step, r.lr, weight);
        if (!(fabs(r.loss - want) <= 2e-6 * want))
            fail_msg("%s: loss of step %lld is %.9g, want %.9g", c->name, (long long)step, r.loss, want);
        if (step > 0)
            continue;
        compare_features(c, t, &r, file, goes_dense);
        compare_block(c, t, file, t->m, "grad",
                      1.0 / (1.0 - t->opts.beta1) / sondep_clip_factor(r.gradient_norm, t->opts.clip), 2e-5);
    }
    compare_block(c, t, file, t->w, "after", 1.0, 2e-5);
    if (sonde_safetensors_has(file, "silent_after")) {
        sonde_tensor silent = get(file, "silent_after");
        assert_memory_equal(silent.data, t->silent, (size_t)t->S * sizeof *t->silent);
    }
    if (t->rule->is_batch)
        assert_float_equal(t->threshold, *(const double *)get(file, "topk_threshold").data, 1e-6);
    sonde_sae_trainer_free(t);
    sonde_safetensors_close(file);
}

static void test_codes(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++)
        check_case(&cases[i], false);
}

static void test_dense(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++)
        check_case(&cases[i], true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_codes), cmocka_unit_test(test_dense)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    printf("note: largest error %.2g of the largest number\n", worst);
    return failed;
}
