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

/* One walk: the batch, what it left. */
typedef struct walk {
    sondep_batch batch;
    int64_t *numbers;
    float *gradients; /* as model->parameters lies, or NULL */
    uint8_t *wanted;
    float **points; /* (n_points) padded tensors */
    sonde_tensor *shapes;
    const gradient_case *of;
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
    w->batch = (sondep_batch){.B = g->B, .T = g->T, .N = N, .ids = numbers, .position = position, .offset = offset,
                              .n_keys = n_keys, .most_keys = g->T};
}

/* Keeps the gradient of a point, padded. */
static sonde_status keep_point(int64_t point, const sondep_values *values, void *ctx)
{
    walk *w = ctx;
    const sonde_hook_point *p = &w->of->golden.model->points.points[point];
    sonde_tensor *x = &w->shapes[point];

    *x = (sonde_tensor){.dtype = SONDE_F32, .rank = p->rank};
    for (int i = 0; i < p->rank; i++)
        x->shape[i] = p->axes[i] == 'B' ? w->batch.B : p->axes[i] == 'T' ? w->batch.T : p->width[i];
    assert_null(w->points[point]); /* each point fires once */
    w->points[point] = x->data = zeros(sonde_tensor_n_elements(x), sizeof(float));
    if (values->n_keys > 0) {
        memcpy(x->data, values->data, sonde_tensor_bytes(x));
        return SONDE_OK;
    }
    for (int64_t b = 0; b < w->batch.B; b++)
        for (int64_t row = w->batch.offset[b]; row < w->batch.offset[b + 1]; row++)
            memcpy(w->points[point] + (b * w->batch.T + row - w->batch.offset[b]) * values->width,
                   values->data + row * values->ld, (size_t)values->width * sizeof(float));
    return SONDE_OK;
}

/* The walk with everything that the file holds asked for. With `points` false nobody listens, as while training. */
static void walk_back(walk *w, const gradient_case *c, sondep_objective_fn *objective, void *ctx, bool points)
{
    const sonde_model *model = c->model ? c->model : c->golden.model;
    int64_t n = model->points.n;
    sondep_hooks silent = {.last = -1}, listening = {.last = -1, .fire = keep_point, .ctx = w};
    sondep_rope_table rope = {0};
    sondep_arena arena = {0};
    sondep_pass pass = {.model = model, .hooks = &silent, .batch = &w->batch, .rope = &rope};
    sondep_backward back = {.pass = &pass, .hooks = &listening, .objective = objective, .objective_ctx = ctx};
    bool has_attn_in = model->config.n_heads == model->config.n_kv_heads;

    *w = (walk){.of = c};
    make_batch(w, &c->golden);
    w->wanted = zeros(n, sizeof *w->wanted);
    w->points = zeros(n, sizeof *w->points);
    w->shapes = zeros(n, sizeof *w->shapes);
    silent.wanted = zeros(n, 1);
    listening.wanted = w->wanted;
    for (int64_t i = 0; i < n && points; i++)
        w->wanted[i] = has_attn_in || strstr(model->points.points[i].name, "hook_attn_in") == NULL ? SONDE_HOOK_READ : 0;
    if (c->model)
        back.gradients = w->gradients = zeros(model->n_parameters, sizeof(float));
    pass.tape = zeros(model->config.n_layers + 1, sizeof *pass.tape);
    assert_ok(sondep_rope_grow(&rope, &model->config, w->batch.most_keys));
    assert_ok(sondep_arena_reserve(&arena, sondep_pass_plan(&pass, NULL) + sondep_backward_plan(&back, NULL)));
    sondep_pass_plan(&pass, &arena);
    sondep_backward_plan(&back, &arena);
    assert_ok(sondep_pass_run(&pass));
    assert_ok(sondep_backward_run(&back));
    sondep_arena_release(&arena);
    sondep_rope_release(&rope);
    free(pass.tape);
    free((void *)silent.wanted);
}

static void walk_release(walk *w)
{
    for (int64_t i = 0; i < w->of->golden.model->points.n; i++)
        free(w->points[i]);
    free(w->points);
    free(w->shapes);
    free(w->wanted);
    free(w->gradients);
    free(w->numbers);
}

/* Forward and back for the mean loss. */
static void walk_loss(walk *w, const gradient_case *c, bool points)
{
    sondep_prediction prediction = {c->target, c->loss, c->n_counted};
    double sum = 0;

    walk_back(w, c, sondep_prediction_objective, &prediction, points);
    for (int64_t row = 0; row < w->batch.N; row++)
        sum += c->loss[row];
    w->value = sum / (double)c->n_counted;
}

/* logit 5 minus logit 7 behind the last token of each sequence. */
static sonde_status difference_objective(float *logits, int64_t first_row, int64_t n_rows, int64_t V, void *ctx)
{
    walk *w = ctx;

    for (int64_t i = 0; i < n_rows; i++) {
        float *row = logits + i * V, difference = row[5] - row[7];
        bool is_last = false;
        for (int64_t b = 0; b < w->batch.B; b++)
            is_last = is_last || w->batch.offset[b + 1] == first_row + i + 1;
        memset(row, 0, (size_t)V * sizeof *row);
        if (!is_last)
            continue;
        w->value += difference;
        row[5] = 1.0f;
        row[7] = -1.0f;
    }
    return SONDE_OK;
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

static void compare_parameters(score *s, const char *name, const walk *w)
{
    const sonde_model *model = w->of->model;

    for (int64_t i = 0; i < model->n_named; i++) {
        sonde_tensor got = model->named[i].tensor, want;
        got.data = w->gradients + ((const float *)got.data - model->parameters);
        get(&want, w->of->file, "loss", "parameter", model->named[i].name);
        compare(s, name, "parameter", model->named[i].name, &got, &want);
    }
}

static void compare_points(score *s, const char *name, const char *of, const walk *w)
{
    for (int64_t i = 0; i < w->of->golden.model->points.n; i++) {
        const char *point = w->of->golden.model->points.points[i].name;
        sonde_tensor want;
        if (!has(w->of->file, of, "point", point))
            continue;
        assert_non_null(w->points[i]);
        get(&want, w->of->file, of, "point", point);
        compare(s, name, of, point, &w->shapes[i], &want);
    }
}

static void check_value(const walk *w, const char *of, const char *name)
{
    sonde_tensor want;
    double wanted;

    get(&want, w->of->file, of, "value", "");
    wanted = *(const double *)want.data;
    if (!(fabs(w->value - wanted) <= 1e-5 * fmax(1.0, fabs(wanted))))
        fail_msg("%s: %s is %.9g, expected %.9g", name, of, w->value, wanted);
}

/* All that a file holds, under the kernels chosen; how many tensors are wrong. */
static int compare_case(const char *name)
{
    gradient_case c;
    score parameters = {0}, points = {0};
    walk w;

    case_open(&c, name);
    if (c.model) {
        walk_loss(&w, &c, false);
        check_value(&w, "loss", name);
        compare_parameters(&parameters, name, &w);
        walk_release(&w);
    }
    walk_loss(&w, &c, true);
    check_value(&w, "loss", name);
    if (c.model)
        compare_parameters(&parameters, name, &w);
    compare_points(&points, name, "loss", &w);
    walk_release(&w);
    if (sonde_safetensors_has(c.file, "difference/value")) {
        walk_back(&w, &c, difference_objective, &w, true);
        check_value(&w, "difference", name);
        compare_points(&points, name, "difference", &w);
        walk_release(&w);
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
    for (int k = 0; k < N_KERNELS; k++) {
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

static void assert_same(const walk *one, const walk *more, const char *name, int threads)
{
    const sonde_model *model = one->of->golden.model;

    if (one->gradients && memcmp(one->gradients, more->gradients, (size_t)one->of->model->n_parameters * sizeof(float)) != 0)
        fail_msg("%s: gradients of parameters have other bytes with %d threads (%s)", name, threads, sonde_kernel_name());
    for (int64_t i = 0; i < model->points.n; i++)
        if (one->points[i] && memcmp(one->points[i], more->points[i], sonde_tensor_bytes(&one->shapes[i])) != 0)
            fail_msg("%s: '%s' has other bytes with %d threads (%s)", name, model->points.points[i].name, threads,
                     sonde_kernel_name());
}

static void bytes_do_not_depend_on_threads(void **unused)
{
    static char names[GOLDEN_MAX_MODELS][256];
    int n = list_cases(names);

    (void)unused;
    for (int i = 0; i < n * N_KERNELS; i++) {
        gradient_case c;
        walk one, more;
        if (sonde_kernel_choose(KERNELS[i / n]) != SONDE_OK)
            continue;
        case_open(&c, names[i % n]);
        assert_ok(sonde_set_threads(1));
        walk_loss(&one, &c, true);
        for (int threads = 2; threads <= 3; threads++) {
            assert_ok(sonde_set_threads(threads));
            walk_loss(&more, &c, true);
            assert_same(&one, &more, names[i % n], threads);
            walk_release(&more);
        }
        walk_release(&one);
        case_close(&c);
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
