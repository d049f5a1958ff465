/* What gradients must be, whatever the numbers: linear in the objective, the slope of the pass itself, nothing behind a patch,
 * the same bytes whoever else is asked; and what has none is refused by its name. */
#include "property/property.h"

enum { A = 5, B = 7 };

/* ---- passes --------------------------------------------------------------------------------------------------------- */

static sonde_objective logit(int64_t token, int64_t minus)
{
    sonde_objective out;
    sonde_objective_init(&out);
    out.kind = SONDE_OBJECTIVE_LOGIT;
    out.token = token;
    out.minus = minus;
    return out;
}

static bool has_gradient(const golden_model *golden, const char *name)
{
    return can_be_written(golden, name); /* the exception is the same */
}

/* A run that keeps activations and gradients of all points; no pass yet. */
static sonde_run *run_asking_all(const golden_model *golden)
{
    sonde_run *run;
    int64_t n;
    const sonde_hook_point *points = sonde_model_hook_points(golden->model, &n);

    assert_ok(sonde_run_new(&run, golden->model));
    for (int64_t i = 0; i < n; i++) {
        assert_ok(sonde_run_capture(run, points[i].name, NULL));
        if (has_gradient(golden, points[i].name))
            assert_ok(sonde_run_want_gradient(run, points[i].name, NULL));
    }
    return run;
}

static double go_back(sonde_run *run, const golden_model *golden, const sonde_objective *objective)
{
    double value;
    assert_ok(sonde_run_backward(run, golden->tokens, golden->lengths, golden->B, golden->T, objective, &value));
    return value;
}

static sonde_run *run_back(const golden_model *golden, const sonde_objective *objective)
{
    sonde_run *run = run_asking_all(golden);
    go_back(run, golden, objective);
    return run;
}

static const float *gradient(sonde_tensor *t, const sonde_run *run, const char *name)
{
    assert_ok(sonde_run_get_gradient(t, run, name));
    return t->data;
}

static double largest(const float *x, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs(x[i]));
    return most;
}

static void assert_same_gradient(const sonde_run *a, const char *of_a, const sonde_run *b, const char *of_b, const char *why)
{
    sonde_tensor x, y;
    const float *p = gradient(&x, a, of_a), *q = gradient(&y, b, of_b);
    assert_int_equal(sonde_tensor_bytes(&x), sonde_tensor_bytes(&y));
    if (memcmp(p, q, sonde_tensor_bytes(&x)) != 0)
        fail_msg("gradients of '%s' and '%s' have other bytes: %s", of_a, of_b, why);
}

/* Where the pass itself rounds otherwise: per-head results are summed in double. */
static void assert_close_gradient(const sonde_run *a, const sonde_run *b, const char *name)
{
    sonde_tensor x, y;
    int64_t at;
    gradient(&x, a, name);
    gradient(&y, b, name);
    if (!(golden_error(&x, &y, &at) <= 5e-6))
        fail_msg("gradients of '%s' differ by %g", name, golden_error(&x, &y, &at));
}

/* ---- the mathematics -------------------------------------------------------------------------------------------------- */

/* Of a - b: that of a minus that of b. */
static void difference_is_difference(const golden_model *golden)
{
    sonde_objective of_a = logit(A, -1), of_b = logit(B, -1), of_both = logit(A, B);
    sonde_run *a = run_back(golden, &of_a), *b = run_back(golden, &of_b), *both = run_back(golden, &of_both);
    int64_t n;
    const sonde_hook_point *points = sonde_model_hook_points(golden->model, &n);

    for (int64_t i = 0; i < n; i++) {
        sonde_tensor t;
        const float *x, *y, *z;
        double scale;
        if (!has_gradient(golden, points[i].name))
            continue;
        x = gradient(&t, a, points[i].name);
        y = gradient(&t, b, points[i].name);
        z = gradient(&t, both, points[i].name);
        scale = largest(x, sonde_tensor_n_elements(&t)) + largest(y, sonde_tensor_n_elements(&t));
        for (int64_t k = 0; k < sonde_tensor_n_elements(&t); k++)
            if (!(fabs((double)x[k] - y[k] - z[k]) <= 5e-6 * scale))
                fail_msg("%s: '%s' element %lld: %g - %g is not %g", golden->directory, points[i].name, (long long)k, x[k],
                         y[k], z[k]);
    }
    sonde_run_free(a);
    sonde_run_free(b);
    sonde_run_free(both);
}

/* Heads add to the stream, so each has the gradient of the sum; and the stream that of what is added to it. */
static void summands_have_the_gradient_of_their_sum(const golden_model *golden)
{
    sonde_run *run = run_back(golden, NULL);
    int64_t heads = sonde_model_config(golden->model)->n_heads, D = sonde_model_config(golden->model)->d_model;
    sonde_tensor t;
    const float *each = gradient(&t, run, "blocks.0.attn.hook_result"), *sum = gradient(&t, run, "blocks.0.hook_attn_out");

    for (int64_t row = 0; row < golden->B * golden->T; row++)
        for (int64_t head = 0; head < heads; head++)
            assert_memory_equal(each + (row * heads + head) * D, sum + row * D, (size_t)D * sizeof *sum);
    assert_same_gradient(run, "blocks.0.hook_attn_out", run, "blocks.0.hook_resid_mid", "what is added to a sum");
    assert_same_gradient(run, "blocks.0.hook_mlp_out", run, "blocks.0.hook_resid_post", "what is added to a sum");
    sonde_run_free(run);
}

/* The objective with a point set to what it was plus `step` along `direction`. */
static double value_at(const golden_model *golden, const char *name, const sonde_tensor *x, const double *direction,
                       double step, const sonde_objective *objective)
{
    int64_t n = sonde_tensor_n_elements(x), n_logits;
    float *moved = malloc((size_t)n * sizeof *moved);
    sonde_tensor value, logits;
    sonde_run *run;
    double sum = 0;

    assert_non_null(moved);
    for (int64_t i = 0; i < n; i++)
        moved[i] = (float)(((const float *)x->data)[i] + step * direction[i]);
    assert_ok(sonde_tensor_view(&value, moved, SONDE_F32, x->shape, x->rank));
    assert_ok(sonde_run_new(&run, golden->model));
    assert_ok(sonde_run_patch(run, name, &value, NULL));
    run_golden(run, golden);
    assert_ok(sonde_run_get(&logits, run, "logits"));
    n_logits = logits.shape[2];
    for (int64_t b = 0; b < golden->B; b++) {
        const float *row = (const float *)logits.data + (b * golden->T + golden->lengths[b] - 1) * n_logits;
        sum += (double)row[objective->token] - row[objective->minus];
    }
    sonde_run_free(run);
    free(moved);
    return sum;
}

/* The slope along a direction by central differences of forward passes, which know nothing of gradients. */
static void slope_is_that_of_the_pass(const golden_model *golden)
{
    static const char *const names[] = {"hook_embed",
                                        "blocks.0.hook_resid_pre",
                                        "blocks.0.attn.hook_q",
                                        "blocks.0.attn.hook_k",
                                        "blocks.0.attn.hook_v",
                                        "blocks.0.attn.hook_z",
                                        "blocks.0.hook_mlp_in",
                                        "blocks.0.mlp.hook_pre",
                                        "blocks.0.mlp.hook_post",
                                        "blocks.0.ln1.hook_normalized",
                                        "blocks.0.ln2.hook_scale",
                                        "blocks.0.attn.hook_pattern",
                                        "blocks.0.attn.hook_result",
                                        "blocks.0.hook_q_input",
                                        "ln_final.hook_scale",
                                        "unembed.hook_in"};
    sonde_objective objective = logit(A, B);
    sonde_run *run;

    /* A corner has a slope on each side. */
    if (strcmp(sonde_model_config(golden->model)->activation, "relu") == 0)
        return;
    run = run_back(golden, &objective);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        sonde_tensor x, t;
        const float *g = gradient(&t, run, names[i]);
        int64_t n = sonde_tensor_n_elements(&t);
        double *direction = malloc((size_t)n * sizeof *direction), norm = 0, slope = 0, step, got;

        assert_non_null(direction);
        assert_ok(sonde_run_get(&x, run, names[i]));
        for (int64_t k = 0; k < n; k++)
            norm += (double)g[k] * g[k];
        norm = sqrt(norm);
        /* Along the gradient, and as far across it. */
        for (int64_t k = 0; k < n; k++) {
            direction[k] = g[k] / norm + (sonde_random_uniform(1, i, (uint64_t)k) - 0.5) * sqrt(12.0 / (double)n);
            slope += direction[k] * g[k];
        }
        step = 2e-3 * largest(x.data, n);
        got = (value_at(golden, names[i], &x, direction, step, &objective) -
               value_at(golden, names[i], &x, direction, -step, &objective)) /
              (2 * step);
        if (!(fabs(got - slope) <= 5e-3 * norm))
            fail_msg("%s: along a direction at '%s' the objective rises by %g, its gradient says %g (norm %g)",
                     golden->directory, names[i], got, slope, norm);
        free(direction);
    }
    sonde_run_free(run);
}

/* ---- hooks that write --------------------------------------------------------------------------------------------------- */

static void assert_no_gradient(const sonde_run *run, const char *name, const char *patched)
{
    sonde_tensor t;
    const float *g = gradient(&t, run, name);
    for (int64_t i = 0; i < sonde_tensor_n_elements(&t); i++)
        if (g[i] != 0.0f)
            fail_msg("'%s' is replaced, and '%s' before it has the gradient %g", patched, name, g[i]);
}

/* A patch with what is there anyway changes no activation: gradients behind it stay, those before it are 0, and the stream around
 * it goes on. `upstream` lies before the patch alone, `around` on both ways; there the gradient is that of `of`. */
static void patches_are_constants(const golden_model *golden)
{
    static const struct {
        const char *patched, *upstream, *around, *of;
    } cases[] = {
        {"blocks.0.hook_attn_out", "blocks.0.attn.hook_z", "blocks.0.hook_resid_pre", "blocks.0.hook_resid_mid"},
        {"blocks.0.attn.hook_result", "blocks.0.attn.hook_z", "blocks.0.hook_resid_pre", "blocks.0.hook_resid_mid"},
        {"blocks.0.attn.hook_z", "blocks.0.attn.hook_pattern", "blocks.0.hook_resid_pre", "blocks.0.hook_resid_mid"},
        {"blocks.0.ln1.hook_normalized", "blocks.0.ln1.hook_scale", "blocks.0.hook_resid_pre", "blocks.0.hook_resid_mid"},
        {"blocks.0.hook_mlp_out", "blocks.0.mlp.hook_post", "blocks.0.hook_resid_mid", "blocks.0.hook_resid_post"},
        {"blocks.0.ln2.hook_normalized", "blocks.0.ln2.hook_scale", "blocks.0.hook_resid_mid", "blocks.0.hook_resid_post"},
        {"blocks.0.hook_resid_mid", "blocks.0.hook_resid_pre", NULL, NULL},
        {"blocks.0.hook_resid_mid", "hook_embed", NULL, NULL},
        {"blocks.0.hook_resid_post", "blocks.0.hook_mlp_out", NULL, NULL},
        {"blocks.0.hook_resid_pre", "hook_embed", NULL, NULL},
    };
    sonde_run *plain = run_back(golden, NULL);

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sonde_run *run = run_asking_all(golden);
        sonde_tensor value;
        assert_ok(sonde_run_get(&value, plain, cases[i].patched));
        assert_ok(sonde_run_patch(run, cases[i].patched, &value, NULL));
        go_back(run, golden, NULL);
        assert_close_gradient(run, plain, cases[i].patched);
        assert_no_gradient(run, cases[i].upstream, cases[i].patched);
        if (cases[i].around)
            assert_same_gradient(run, cases[i].around, run, cases[i].of, "only the stream goes on");
        sonde_run_free(run);
    }
    sonde_run_free(plain);
}

/* A neuron layer that was replaced takes nothing to its own inputs; a gated one neither. */
static void patched_neurons_are_constants(const golden_model *golden)
{
    sonde_run *plain = run_back(golden, NULL), *run = run_asking_all(golden);
    sonde_tensor value;

    assert_ok(sonde_run_get(&value, plain, "blocks.0.mlp.hook_post"));
    assert_ok(sonde_run_patch(run, "blocks.0.mlp.hook_post", &value, NULL));
    go_back(run, golden, NULL);
    assert_same_gradient(run, "blocks.0.mlp.hook_post", plain, "blocks.0.mlp.hook_post", "patched with itself");
    assert_no_gradient(run, "blocks.0.mlp.hook_pre", "blocks.0.mlp.hook_post");
    if (sonde_model_config(golden->model)->gated_mlp)
        assert_no_gradient(run, "blocks.0.mlp.hook_pre_linear", "blocks.0.mlp.hook_post");
    assert_no_gradient(run, "blocks.0.ln2.hook_normalized", "blocks.0.mlp.hook_post");
    sonde_run_free(run);
    sonde_run_free(plain);
}

static sonde_status add_half(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    (void)event, (void)ctx;
    for (int64_t i = 0; i < sonde_tensor_n_elements(x); i++)
        ((float *)x->data)[i] += 0.5f;
    return SONDE_OK;
}

/* What was added lets the gradient through: behind and before the hook it is the same, and it is that of the steered pass, which
 * a pass patched with the steered values has too. */
static void additions_let_gradients_through(const golden_model *golden)
{
    sonde_run *steered = run_asking_all(golden), *patched = run_asking_all(golden);
    sonde_tensor value;

    assert_ok(sonde_run_hook(steered, "blocks.0.hook_resid_mid", SONDE_HOOK_WRITE, add_half, NULL, NULL));
    go_back(steered, golden, NULL);
    assert_ok(sonde_run_get(&value, steered, "blocks.0.hook_resid_mid"));
    assert_ok(sonde_run_patch(patched, "blocks.0.hook_resid_mid", &value, NULL));
    go_back(patched, golden, NULL);
    assert_same_gradient(steered, "blocks.0.hook_resid_mid", patched, "blocks.0.hook_resid_mid", "the same steered pass");
    assert_same_gradient(steered, "blocks.0.hook_attn_out", steered, "blocks.0.hook_resid_mid", "the gradient goes through");
    sonde_run_free(steered);
    sonde_run_free(patched);
}

/* ---- who is asked ------------------------------------------------------------------------------------------------------- */

/* A point alone, where the walk ends as soon as it may, has the bytes that it has among all others. */
static void each_point_alone_is_the_same(const golden_model *golden)
{
    sonde_run *all = run_back(golden, NULL);
    int64_t n;
    const sonde_hook_point *points = sonde_model_hook_points(golden->model, &n);

    for (int64_t i = 0; i < n; i++) {
        sonde_run *alone;
        if (!has_gradient(golden, points[i].name))
            continue;
        assert_ok(sonde_run_new(&alone, golden->model));
        assert_ok(sonde_run_capture(alone, "*", NULL)); /* scores are written out in both */
        assert_ok(sonde_run_want_gradient(alone, points[i].name, NULL));
        go_back(alone, golden, NULL);
        assert_same_gradient(alone, points[i].name, all, points[i].name, "it was asked for alone");
        sonde_run_free(alone);
    }
    sonde_run_free(all);
}

/* Of a logit, only the rows that count are unembedded where nobody reads the gradient of the logits: the same, at every position
 * that all sequences have, but for the rounding of a product with few rows. */
static void rows_that_do_not_count_do_not_matter(const golden_model *golden)
{
    int64_t n, shortest = golden->T;
    const sonde_hook_point *points = sonde_model_hook_points(golden->model, &n);
    sonde_objective objective = logit(A, B);

    for (int64_t b = 0; b < golden->B; b++)
        shortest = golden->lengths[b] < shortest ? golden->lengths[b] : shortest;
    for (objective.position = -shortest; objective.position < shortest; objective.position++) {
        sonde_run *all = run_back(golden, &objective), *few = run_asking_all(golden);
        sonde_run_reset(few);
        for (int64_t i = 0; i < n - 1; i++)
            if (has_gradient(golden, points[i].name))
                assert_ok(sonde_run_want_gradient(few, points[i].name, NULL));
        go_back(few, golden, &objective);
        for (int64_t i = 0; i < n - 1; i++)
            if (has_gradient(golden, points[i].name) && strstr(points[i].name, "scores") == NULL)
                assert_close_gradient(few, all, points[i].name);
        sonde_run_free(few);
        sonde_run_free(all);
    }
}

/* The order in which points came, and whether rows of padding were 0. */
typedef struct order {
    int64_t last, n;
    const golden_model *golden;
} order;

static sonde_status note_order(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    order *o = ctx;
    int64_t n, at, inner = sonde_tensor_n_elements(x) / (x->shape[0] * x->shape[1]);
    const sonde_hook_point *points = sonde_model_hook_points(o->golden->model, &n);

    at = event->point - points;
    if (o->n++ > 0 && at >= o->last)
        fail_msg("the gradient of '%s' came after that of '%s'", event->point->name, points[o->last].name);
    o->last = at;
    for (int64_t b = 0; b < event->n_sequences && !is_attention_square(event->point->name); b++)
        for (int64_t i = event->lengths[b] * inner; i < event->n_positions * inner; i++)
            assert_true(((const float *)x->data)[b * event->n_positions * inner + i] == 0.0f);
    return SONDE_OK;
}

static void gradients_come_from_the_end(const golden_model *golden)
{
    int64_t n, n_asked = 0, id = -1;
    const sonde_hook_point *points = sonde_model_hook_points(golden->model, &n);
    order o = {0, 0, golden};
    sonde_run *run;

    assert_ok(sonde_run_new(&run, golden->model));
    for (int64_t i = 0; i < n; i++)
        if (has_gradient(golden, points[i].name)) {
            assert_ok(sonde_run_hook_gradient(run, points[i].name, note_order, &o, &id));
            n_asked++;
        }
    go_back(run, golden, NULL);
    assert_int_equal(o.n, n_asked);
    /* The last of them is taken away; and forward passes do not call them. */
    assert_ok(sonde_run_unhook(run, id));
    o.n = 0;
    run_golden(run, golden);
    assert_int_equal(o.n, 0);
    go_back(run, golden, NULL);
    assert_int_equal(o.n, n_asked - 1);
    sonde_run_free(run);
}

static void chosen_positions_are_rows(const golden_model *golden)
{
    static const int64_t positions[] = {-1, 0};
    const sonde_position_list where = {positions, 2};
    sonde_run *whole = run_back(golden, NULL), *some;
    int64_t D = sonde_model_config(golden->model)->d_model;
    sonde_tensor x, y;
    const float *all, *rows;

    assert_ok(sonde_run_new(&some, golden->model));
    assert_ok(sonde_run_capture(some, "*", NULL));
    assert_ok(sonde_run_want_gradient(some, "blocks.0.hook_resid_mid", &where));
    go_back(some, golden, NULL);
    all = gradient(&x, whole, "blocks.0.hook_resid_mid");
    rows = gradient(&y, some, "blocks.0.hook_resid_mid");
    assert_int_equal(y.shape[1], 2);
    for (int64_t b = 0; b < golden->B; b++) {
        assert_memory_equal(rows + 2 * b * D, all + (b * golden->T + golden->lengths[b] - 1) * D, (size_t)D * sizeof *rows);
        assert_memory_equal(rows + (2 * b + 1) * D, all + b * golden->T * D, (size_t)D * sizeof *rows);
    }
    sonde_run_free(whole);
    sonde_run_free(some);
}

/* ---- objectives ---------------------------------------------------------------------------------------------------------- */

/* Logit A minus logit B of the last row of each sequence, as a function of one's own. */
static sonde_status own_objective(double *value, float *logits, int64_t first_row, int64_t n_rows, int64_t V, void *ctx)
{
    const golden_model *golden = ctx;
    int64_t row = 0;

    for (int64_t b = 0; b < golden->B; b++) {
        int64_t at = row + golden->lengths[b] - 1 - first_row;
        row += golden->lengths[b];
        if (at < 0 || at >= n_rows)
            continue;
        *value += (double)logits[at * V + A] - logits[at * V + B];
    }
    memset(logits, 0, (size_t)(n_rows * V) * sizeof *logits);
    row = 0;
    for (int64_t b = 0; b < golden->B; b++) {
        int64_t at = row + golden->lengths[b] - 1 - first_row;
        row += golden->lengths[b];
        if (at < 0 || at >= n_rows)
            continue;
        logits[at * V + A] = 1.0f;
        logits[at * V + B] = -1.0f;
    }
    return SONDE_OK;
}

static void own_objectives_are_asked_once(const golden_model *golden)
{
    sonde_objective ours = logit(A, B), own, half = ours;
    sonde_run *a = run_asking_all(golden), *b = run_asking_all(golden), *c = run_asking_all(golden);
    double value;

    sonde_objective_init(&own);
    own.kind = SONDE_OBJECTIVE_FUNCTION;
    own.fn = own_objective;
    own.ctx = (void *)(uintptr_t)golden;
    value = go_back(a, golden, &ours);
    assert_true(value == go_back(b, golden, &own));
    assert_same_gradient(a, "blocks.0.hook_resid_pre", b, "blocks.0.hook_resid_pre", "the same objective");
    /* A weight of a half is exact. */
    half.weight = 0.5;
    assert_true(value == 2 * go_back(c, golden, &half));
    sonde_run_free(a);
    sonde_run_free(b);
    sonde_run_free(c);
}

static sonde_status fail_at_once(double *value, float *logits, int64_t first_row, int64_t n_rows, int64_t V, void *ctx)
{
    (void)value, (void)logits, (void)first_row, (void)n_rows, (void)V, (void)ctx;
    return SONDE_E_STATE;
}

static sonde_status nan_at_once(double *value, float *logits, int64_t first_row, int64_t n_rows, int64_t V, void *ctx)
{
    (void)value, (void)first_row, (void)ctx;
    for (int64_t i = 0; i < n_rows * V; i++)
        logits[i] = NAN;
    return SONDE_OK;
}

/* ---- what is refused ------------------------------------------------------------------------------------------------------ */

static void assert_backward_refused(sonde_run *run, const golden_model *golden, const sonde_objective *objective,
                                    sonde_status want, const char *subject)
{
    double value = 42;
    sonde_status got = sonde_run_backward(run, golden->tokens, golden->lengths, golden->B, golden->T, objective, &value);
    if (got != want)
        fail_msg("%s in place of %s (%s)", sonde_status_name(got), sonde_status_name(want), subject);
    if (strstr(sonde_last_error()->message, subject) == NULL)
        fail_msg("'%s' does not name '%s'", sonde_last_error()->message, subject);
    assert_true(value == 42);
}

static void what_has_no_gradient_is_refused(void **unused)
{
    static const char *const lost[] = {
        "blocks.0.attn.hook_attn_scores", "blocks.0.attn.hook_pattern", "blocks.1.ln1.hook_scale", "blocks.1.hook_mlp_in",
        "blocks.0.hook_q_input",          "ln_final.hook_normalized",   "unembed.hook_in",         "unembed.hook_out"};
    golden_model golden;
    sonde_run *run;
    sonde_objective o;
    sonde_tensor t;
    int64_t id;

    (void)unused;
    golden_open(&golden, "llama-gqa");
    assert_ok(sonde_run_new(&run, golden.model));
    assert_int_equal(sonde_run_get_gradient(&t, run, "hook_embed"), SONDE_E_STATE);
    run_golden(run, &golden);
    assert_int_equal(sonde_run_get_gradient(&t, run, "hook_embed"), SONDE_E_STATE);
    for (size_t i = 0; i < sizeof lost / sizeof *lost; i++) {
        assert_ok(sonde_run_hook(run, lost[i], SONDE_HOOK_WRITE, add_half, NULL, &id));
        assert_backward_refused(run, &golden, NULL, SONDE_E_UNSUPPORTED, lost[i]);
        assert_ok(sonde_run_unhook(run, id));
    }
    /* Objectives outside their bounds; -7 is before the first of 6 tokens. */
    o = logit(41, -1);
    assert_backward_refused(run, &golden, &o, SONDE_E_RANGE, "token is 41");
    o = logit(0, 99);
    assert_backward_refused(run, &golden, &o, SONDE_E_RANGE, "token is 99");
    o = logit(0, -1);
    o.position = -7;
    assert_backward_refused(run, &golden, &o, SONDE_E_RANGE, "position -7");
    o.position = 1; /* the third sequence has one token */
    assert_backward_refused(run, &golden, &o, SONDE_E_RANGE, "sequence 2");
    o.kind = 3;
    assert_backward_refused(run, &golden, &o, SONDE_E_ARG, "kind 3");
    o.kind = SONDE_OBJECTIVE_FUNCTION;
    assert_backward_refused(run, &golden, &o, SONDE_E_ARG, "no function");
    o.fn = fail_at_once;
    assert_backward_refused(run, &golden, &o, SONDE_E_STATE, "");
    o.weight = NAN;
    assert_backward_refused(run, &golden, &o, SONDE_E_ARG, "weight");
    o.struct_size = 1000;
    assert_backward_refused(run, &golden, &o, SONDE_E_ARG, "struct_size 1000");
    /* A gradient that is not finite has a name and a place. */
    sonde_objective_init(&o);
    o.kind = SONDE_OBJECTIVE_FUNCTION;
    o.fn = nan_at_once;
    assert_ok(sonde_run_want_gradient(run, "blocks.1.hook_resid_post", NULL));
    assert_backward_refused(run, &golden, &o, SONDE_E_NONFINITE,
                            "'blocks.1.hook_resid_post' is nan at sequence 0, position 0");
    /* Asked for and not kept; grouped heads. */
    go_back(run, &golden, NULL);
    assert_ok(sonde_run_get_gradient(&t, run, "resid_post1"));
    assert_int_equal(sonde_run_get_gradient(&t, run, "resid_post0"), SONDE_E_HOOK);
    assert_int_equal(sonde_run_want_gradient(run, "hook_nothing", NULL), SONDE_E_HOOK);
    assert_ok(sonde_run_want_gradient(run, "blocks.0.hook_attn_in", NULL));
    assert_backward_refused(run, &golden, NULL, SONDE_E_UNSUPPORTED, "hook_attn_in");
    /* After all that, the run still works. */
    sonde_run_reset(run);
    assert_ok(sonde_run_want_gradient(run, "blocks.0.hook_resid_pre", NULL));
    go_back(run, &golden, NULL);
    sonde_run_free(run);
    golden_close(&golden);
}

/* The way back is in the plan: a tape, and more work. */
static void plans_count_the_way_back(const golden_model *golden)
{
    sonde_plan forward, back;
    sonde_run *run;

    assert_ok(sonde_run_new(&run, golden->model));
    sonde_run_want_logits(run, SONDE_LOGITS_ALL);
    assert_ok(sonde_run_plan(&forward, run, 2, 8));
    assert_ok(sonde_run_want_gradient(run, "hook_embed", NULL));
    assert_ok(sonde_run_plan(&back, run, 2, 8));
    assert_true(back.scratch_bytes > forward.scratch_bytes && back.flops > 1.9 * forward.flops);
    assert_int_equal(back.kept_bytes - forward.kept_bytes, 2 * 8 * sonde_model_config(golden->model)->d_model * 4);
    sonde_run_free(run);
}

#define EACH_MODEL(property)                   \
    static void test_##property(void **unused) \
    {                                          \
        (void)unused;                          \
        for_each_model(property);              \
    }
EACH_MODEL(difference_is_difference)
EACH_MODEL(summands_have_the_gradient_of_their_sum)
EACH_MODEL(slope_is_that_of_the_pass)
EACH_MODEL(patches_are_constants)
EACH_MODEL(patched_neurons_are_constants)
EACH_MODEL(additions_let_gradients_through)
EACH_MODEL(each_point_alone_is_the_same)
EACH_MODEL(rows_that_do_not_count_do_not_matter)
EACH_MODEL(gradients_come_from_the_end)
EACH_MODEL(chosen_positions_are_rows)
EACH_MODEL(own_objectives_are_asked_once)
EACH_MODEL(plans_count_the_way_back)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_difference_is_difference),      cmocka_unit_test(test_summands_have_the_gradient_of_their_sum),
        cmocka_unit_test(test_slope_is_that_of_the_pass),     cmocka_unit_test(test_patches_are_constants),
        cmocka_unit_test(test_patched_neurons_are_constants), cmocka_unit_test(test_additions_let_gradients_through),
        cmocka_unit_test(test_each_point_alone_is_the_same),  cmocka_unit_test(test_rows_that_do_not_count_do_not_matter),
        cmocka_unit_test(test_gradients_come_from_the_end),   cmocka_unit_test(test_chosen_positions_are_rows),
        cmocka_unit_test(test_own_objectives_are_asked_once), cmocka_unit_test(test_plans_count_the_way_back),
        cmocka_unit_test(what_has_no_gradient_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
