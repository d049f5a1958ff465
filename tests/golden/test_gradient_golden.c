/* Gradients of golden models against torch's autograd in float64, for every set of kernels that this processor has: of each
 * parameter and by each hook point, of the loss and of a difference of logits; and the same bytes for 1, 2 and 3 threads. */
#include "golden/golden_model.h"
#include "model/backward.h"

#define GRADIENT_ROOT "tests/golden/gradients"

/* In units of the tensor's largest value. Largest seen: see the table that the test prints. */
static const double LIMIT = 1e-5;
static const char *const KERNELS[] = {"ref", "avx2", "avx512", "neon", "blas", "auto"};
enum { N_KERNELS = sizeof KERNELS / sizeof *KERNELS };

/* What stands in a file of gradients, and the model that they are of. */
typedef struct gradient_case {
    golden_model golden;
    sonde_model *model; /* that can be trained; NULL: parameters are not asked for */
    sonde_safetensors *file;
    int64_t *target; /* (N) */
    double *loss;    /* (N) */
    int64_t n_counted;
} gradient_case;

/* The walk of a training: the batch, and the gradients of all parameters. */
typedef struct walk {
    sondep_batch batch;
    int64_t *numbers;
    float *gradients; /* as model->parameters lies */
    double value;
} walk;

static void *zeros(int64_t n, size_t size)
{
    void *block = calloc((size_t)(n > 0 ? n : 1), size);
    assert_non_null(block);
    return block;
}

static bool has(const sonde_safetensors *file, const char *of, const char *what, const char *name)
{
    char key[320];
    snprintf(key, sizeof key, "%s/%s/%s", of, what, name);
    return sonde_safetensors_has(file, key);
}

static void get(sonde_tensor *out, const sonde_safetensors *file, const char *of, const char *what, const char *name)
{
    char key[320];
    snprintf(key, sizeof key, "%s/%s%s%s", of, what, name[0] ? "/" : "", name);
    assert_ok(sonde_safetensors_get(out, file, key));
}

static void case_open(gradient_case *out, const char *name)
{
    char path[GOLDEN_PATH];
    int64_t row = 0;

    *out = (gradient_case){0};
    golden_open(&out->golden, name);
    snprintf(path, sizeof path, GRADIENT_ROOT "/%.255s.safetensors", name);
    assert_ok(sonde_safetensors_open(&out->file, path));
    for (int64_t i = 0; i < sonde_safetensors_n(out->file) && out->model == NULL; i++)
        if (strncmp(sonde_safetensors_name(out->file, i), "loss/parameter/", 15) == 0)
            assert_ok(sondep_model_trainable(&out->model, out->golden.model));
    out->target = zeros(out->golden.B * out->golden.T, sizeof *out->target);
    out->loss = zeros(out->golden.B * out->golden.T, sizeof *out->loss);
    /* Each token predicts the next of its sequence. */
    for (int64_t b = 0; b < out->golden.B; b++)
        for (int64_t t = 0; t < out->golden.lengths[b]; t++) {
            bool is_last = t + 1 == out->golden.lengths[b];
            out->target[row++] = is_last ? -1 : out->golden.tokens[b * out->golden.T + t + 1];
            out->n_counted += !is_last;
        }
}

static void case_close(gradient_case *c)
{
    sonde_model_free(c->model);
    sonde_safetensors_close(c->file);
    golden_close(&c->golden);
    free(c->target);
    free(c->loss);
}

/* ---- a walk --------------------------------------------------------------------------------------------------------- */

static void make_batch(walk *w, const golden_model *g)
{
    int64_t *numbers = zeros(2 * g->B * g->T + 2 * g->B + 1, sizeof *numbers), *position = numbers + g->B * g->T,
            *offset = position + g->B * g->T, *n_keys = offset + g->B + 1, N = 0;

    for (int64_t b = 0; b < g->B; b++) {
        for (int64_t t = 0; t < g->lengths[b]; t++) {
            numbers[N] = g->tokens[b * g->T + t];
            position[N++] = t;
        }
        offset[b + 1] = N;
        n_keys[b] = g->lengths[b];
    }
    w->numbers = numbers;
    w->batch = (sondep_batch){.B = g->B,
                              .T = g->T,
                              .N = N,
                              .ids = numbers,
                              .position = position,
                              .offset = offset,
                              .n_keys = n_keys,
                              .most_keys = g->T};
}

static sonde_status fire_nothing(int64_t point, const sondep_values *values, void *ctx)
{
    (void)point, (void)values, (void)ctx;
    return SONDE_OK;
}

/* Forward and back for the mean loss, with the gradients of all parameters and nobody who listens, as a training does it. */
static void walk_loss(walk *w, const gradient_case *c)
{
    const sonde_model *model = c->model;
    sondep_prediction prediction = {c->target, c->loss, c->n_counted};
    sondep_hooks silent = {.wanted = zeros(model->points.n, 1), .last = -1, .fire = fire_nothing};
    sondep_rope_table rope = {0};
    sondep_arena arena = {0};
    sondep_pass pass = {.model = model, .hooks = &silent, .batch = &w->batch, .rope = &rope};
    sondep_backward back = {.pass = &pass, .objective = sondep_prediction_objective, .objective_ctx = &prediction};

    *w = (walk){0};
    make_batch(w, &c->golden);
    back.gradients = w->gradients = zeros(model->n_parameters, sizeof(float));
    pass.tape = zeros(model->config.n_layers + 1, sizeof *pass.tape);
    assert_ok(sondep_rope_grow(&rope, &model->config, w->batch.most_keys));
    assert_ok(sondep_arena_reserve(&arena, sondep_pass_plan(&pass, NULL) + sondep_backward_plan(&back, NULL)));
    sondep_pass_plan(&pass, &arena);
    sondep_backward_plan(&back, &arena);
    assert_ok(sondep_pass_run(&pass));
    assert_ok(sondep_backward_run(&back));
    for (int64_t row = 0; row < w->batch.N; row++)
        w->value += c->loss[row] / (double)c->n_counted;
    sondep_arena_release(&arena);
    sondep_rope_release(&rope);
    free(pass.tape);
    free((void *)silent.wanted);
}

static void walk_release(walk *w)
{
    free(w->gradients);
    free(w->numbers);
}

/* ---- a run ----------------------------------------------------------------------------------------------------------- */

/* Points whose gradients a model can give: all but hook_attn_in where key/value heads are grouped. */
static bool has_gradient(const golden_model *g, const sonde_hook_point *p)
{
    const sonde_config *config = sonde_model_config(g->model);
    return config->n_heads == config->n_kv_heads || strstr(p->name, "hook_attn_in") == NULL;
}

/* The pass forward and back with the gradients of all points, on the weights as they are stored. */
static double run_back(sonde_run **out, const gradient_case *c, const sonde_objective *objective)
{
    int64_t n;
    const sonde_hook_point *points = sonde_model_hook_points(c->golden.model, &n);
    double value;

    assert_ok(sonde_run_new(out, c->golden.model));
    for (int64_t i = 0; i < n; i++)
        if (has_gradient(&c->golden, &points[i]))
            assert_ok(sonde_run_want_gradient(*out, points[i].name, NULL));
    assert_ok(sonde_run_backward(*out, c->golden.tokens, c->golden.lengths, c->golden.B, c->golden.T, objective, &value));
    return value;
}

/* ---- comparison ------------------------------------------------------------------------------------------------------- */

typedef struct score {
    double worst;
    char where[320];
    int n, wrong;
} score;

static void compare(score *s, const char *model, const char *what, const char *name, const sonde_tensor *got,
                    const sonde_tensor *want)
{
    int64_t at;
    double error = golden_error(got, want, &at);

    s->n++;
    if (!(error <= s->worst)) {
        s->worst = error;
        snprintf(s->where, sizeof s->where, "%s", name);
    }
    if (error <= LIMIT)
        return;
    s->wrong++;
    print_error("  %s %s %s %s: error %.3g at element %lld: %.7g for %.7g\n", model, sonde_kernel_name(), what, name, error,
                (long long)at, at < 0 ? 0.0 : (double)((const float *)got->data)[at],
                at < 0 ? 0.0 : (double)((const float *)want->data)[at]);
}

static void compare_parameters(score *s, const char *name, const gradient_case *c, const walk *w)
{
    const sonde_model *model = c->model;

    for (int64_t i = 0; i < model->n_named; i++) {
        sonde_tensor got = model->named[i].tensor, want;
        got.data = w->gradients + ((const float *)got.data - model->parameters);
        get(&want, c->file, "loss", "parameter", model->named[i].name);
        compare(s, name, "parameter", model->named[i].name, &got, &want);
    }
}

static void compare_points(score *s, const char *name, const char *of, const gradient_case *c, const sonde_run *run)
{
    int64_t n;
    const sonde_hook_point *points = sonde_model_hook_points(c->golden.model, &n);

    for (int64_t i = 0; i < n; i++) {
        sonde_tensor got, want;
        if (!has(c->file, of, "point", points[i].name))
            continue;
        assert_ok(sonde_run_get_gradient(&got, run, points[i].name));
        get(&want, c->file, of, "point", points[i].name);
        compare(s, name, of, points[i].name, &got, &want);
    }
}

static void check_value(double value, const gradient_case *c, const char *of)
{
    sonde_tensor want;
    double wanted;

    get(&want, c->file, of, "value", "");
    wanted = *(const double *)want.data;
    if (!(fabs(value - wanted) <= 2e-6 * fmax(1.0, fabs(wanted))))
        fail_msg("%s: %s is %.9g, expected %.9g", c->golden.directory, of, value, wanted);
}

/* All that a file holds, under the kernels chosen; how many tensors are wrong. */
static int compare_case(const char *name)
{
    sonde_objective difference;
    gradient_case c;
    score parameters = {0}, points = {0};
    sonde_run *run;

    case_open(&c, name);
    if (c.model) {
        walk w;
        walk_loss(&w, &c);
        check_value(w.value, &c, "loss");
        compare_parameters(&parameters, name, &c, &w);
        walk_release(&w);
    }
    check_value(run_back(&run, &c, NULL), &c, "loss");
    compare_points(&points, name, "loss", &c, run);
    sonde_run_free(run);
    if (sonde_safetensors_has(c.file, "difference/value")) {
        sonde_objective_init(&difference);
        difference.kind = SONDE_OBJECTIVE_LOGIT;
        difference.token = atoi(sonde_safetensors_metadata(c.file, "a"));
        difference.minus = atoi(sonde_safetensors_metadata(c.file, "b"));
        difference.position = atoi(sonde_safetensors_metadata(c.file, "position"));
        check_value(run_back(&run, &c, &difference), &c, "difference");
        compare_points(&points, name, "difference", &c, run);
        sonde_run_free(run);
    }
    print_message("%-22s %-7s %3d parameters, largest error %.2e at %s; %3d points, %.2e at %s\n", name, sonde_kernel_name(),
                  parameters.n, parameters.worst, parameters.where, points.n, points.worst, points.where);
    case_close(&c);
    return parameters.wrong + points.wrong;
}

/* Names of the models that have a file of gradients. */
static int list_cases(char names[][256])
{
    static char all[GOLDEN_MAX_MODELS][256];
    int n_models = golden_list(all), n = 0;

    for (int i = 0; i < n_models; i++) {
        char path[GOLDEN_PATH];
        FILE *file;
        snprintf(path, sizeof path, GRADIENT_ROOT "/%.255s.safetensors", all[i]);
        file = fopen(path, "rb");
        if (file == NULL)
            continue;
        fclose(file);
        memcpy(names[n++], all[i], sizeof all[i]);
    }
    return n;
}

static void every_gradient_agrees_with_autograd(void **unused)
{
    static char names[GOLDEN_MAX_MODELS][256];
    int n = list_cases(names), wrong = 0;

    (void)unused;
    assert_true(n >= 18);
    for (int k = 0; k < N_KERNELS && wrong == 0; k++) {
        if (sonde_kernel_choose(KERNELS[k]) != SONDE_OK) {
            print_message("kernels '%s': not on this processor, left out\n", KERNELS[k]);
            continue;
        }
        for (int i = 0; i < n; i++)
            wrong += compare_case(names[i]);
    }
    assert_int_equal(wrong, 0);
}

/* ---- threads ------------------------------------------------------------------------------------------------------------ */

static void assert_same(const gradient_case *c, const sonde_run *one, const sonde_run *more, int threads)
{
    int64_t n;
    const sonde_hook_point *points = sonde_model_hook_points(c->golden.model, &n);

    for (int64_t i = 0; i < n; i++) {
        sonde_tensor x, y;
        if (!has_gradient(&c->golden, &points[i]))
            continue;
        assert_ok(sonde_run_get_gradient(&x, one, points[i].name));
        assert_ok(sonde_run_get_gradient(&y, more, points[i].name));
        if (memcmp(x.data, y.data, sonde_tensor_bytes(&x)) != 0)
            fail_msg("%s: '%s' has other bytes with %d threads (%s)", c->golden.directory, points[i].name, threads,
                     sonde_kernel_name());
    }
}

static void compare_threads(const char *name)
{
    gradient_case c;
    sonde_run *one, *more;
    walk first, other;

    case_open(&c, name);
    assert_ok(sonde_set_threads(1));
    run_back(&one, &c, NULL);
    if (c.model)
        walk_loss(&first, &c);
    for (int threads = 2; threads <= 3; threads++) {
        assert_ok(sonde_set_threads(threads));
        run_back(&more, &c, NULL);
        assert_same(&c, one, more, threads);
        sonde_run_free(more);
        if (c.model == NULL)
            continue;
        walk_loss(&other, &c);
        if (memcmp(first.gradients, other.gradients, (size_t)c.model->n_parameters * sizeof(float)) != 0)
            fail_msg("%s: gradients of parameters have other bytes with %d threads (%s)", name, threads,
                     sonde_kernel_name());
        walk_release(&other);
    }
    if (c.model)
        walk_release(&first);
    sonde_run_free(one);
    case_close(&c);
}

/* One model of each shape of path. */
static void bytes_do_not_depend_on_threads(void **unused)
{
    static const char *const names[] = {"gpt2-plain", "gpt2-bf16", "llama-gqa", "llama-biases", "llama-long"};

    (void)unused;
    for (int k = 0; k < N_KERNELS; k++) {
        if (sonde_kernel_choose(KERNELS[k]) != SONDE_OK)
            continue;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            compare_threads(names[i]);
    }
    assert_ok(sonde_set_threads(0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_gradient_agrees_with_autograd),
        cmocka_unit_test(bytes_do_not_depend_on_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
