/* What hooks may not change, and what a patch must change: reading and writing back the same values changes nothing, and a
 * residual stream from another run brings that run's logits with it. */
#include "property/property.h"

typedef struct counter {
    int64_t calls, elements;
    const golden_model *golden;
} counter;

static sonde_status count_event(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    counter *c = ctx;
    c->calls++;
    c->elements += sonde_tensor_n_elements(x);
    if (event->n_sequences != c->golden->B || event->n_positions != c->golden->T || x->rank != event->point->rank)
        fail_msg("%s: event does not fit the pass", event->point->name);
    for (int64_t b = 0; b < event->n_sequences; b++)
        assert_int_equal(event->lengths[b], c->golden->lengths[b]);
    return SONDE_OK;
}

static sonde_status write_back(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    float *data = x->data;
    (void)event;
    (void)ctx;
    for (int64_t i = 0; i < sonde_tensor_n_elements(x); i++) {
        volatile float same = data[i];
        data[i] = same;
    }
    return SONDE_OK;
}

static void reading_changes_nothing(const golden_model *golden)
{
    sonde_run *plain = run_plain(golden), *read;
    int64_t n, n_default = 0;
    const sonde_hook_point *points = sonde_model_hook_points(golden->model, &n);
    counter c = {0, 0, golden};

    for (int64_t i = 0; i < n; i++)
        n_default += points[i].fires_by_default && !is_attention_square(points[i].name);
    assert_ok(sonde_run_new(&read, golden->model));
    for (int64_t i = 0; i < n; i++)
        if (points[i].fires_by_default && !is_attention_square(points[i].name))
            assert_ok(sonde_run_hook(read, points[i].name, SONDE_HOOK_READ, count_event, &c, NULL));
    run_golden(read, golden);
    assert_int_equal(c.calls, n_default);
    assert_true(c.elements > 0);
    assert_same(plain, read, "logits", golden, "every point that is not T x T was read");
    sonde_run_free(read);
    sonde_run_free(plain);
}

/* The interior of attention is un-fused only where it is read: there the order of a sum may change. */
static void reading_patterns_changes_little(const golden_model *golden)
{
    sonde_run *plain = run_plain(golden), *read;
    assert_ok(sonde_run_new(&read, golden->model));
    assert_ok(sonde_run_capture(read, "*", NULL));
    run_golden(read, golden);
    if (!(difference(read, plain, "logits") <= 2e-6))
        fail_msg("%s: logits move by %.3g when patterns are read", golden->directory, difference(read, plain, "logits"));
    sonde_run_free(read);
    sonde_run_free(plain);
}

static void identity_writes_change_nothing(const golden_model *golden)
{
    sonde_run *plain = run_plain(golden);
    int64_t n;
    const sonde_hook_point *points = sonde_model_hook_points(golden->model, &n);

    for (int64_t i = 0; i < n; i++) {
        sonde_run *write;
        bool is_border = strstr(points[i].name, "hook_resid") != NULL || strstr(points[i].name, "_out") != NULL;
        if (!can_be_written(golden, points[i].name))
            continue;
        assert_ok(sonde_run_new(&write, golden->model));
        assert_ok(sonde_run_hook(write, points[i].name, SONDE_HOOK_WRITE, write_back, NULL, NULL));
        run_golden(write, golden);
        if (is_border)
            assert_same(plain, write, "logits", golden, points[i].name);
        if (!(difference(write, plain, "logits") <= 2e-6))
            fail_msg("%s: an identity write at %s moves the logits by %.3g", golden->directory, points[i].name,
                     difference(write, plain, "logits"));
        sonde_run_free(write);
    }
    sonde_run_free(plain);
}

/* All points at once, and each alone: a run patched with its own activations is the same run. */
static void patching_with_itself_changes_nothing(const golden_model *golden)
{
    sonde_run *source, *all;
    int64_t n;
    const sonde_hook_point *points = sonde_model_hook_points(golden->model, &n);

    golden_run_all(&source, golden);
    assert_ok(sonde_run_new(&all, golden->model));
    for (int64_t i = 0; i < n; i++) {
        sonde_tensor value;
        assert_ok(sonde_run_get(&value, source, points[i].name));
        if (can_be_written(golden, points[i].name))
            assert_ok(sonde_run_patch(all, points[i].name, &value, NULL));
        assert_ok(sonde_run_capture(all, points[i].name, NULL));
    }
    run_golden(all, golden);
    for (int64_t i = 0; i < n; i++)
        assert_same(source, all, points[i].name, golden, "patched with itself");
    assert_same(source, all, "logits", golden, "patched with itself");
    sonde_run_free(all);
    sonde_run_free(source);
}

/* Other tokens of the same shape. */
static int32_t *other_tokens(const golden_model *golden)
{
    int64_t n = golden->B * golden->T, V = sonde_model_config(golden->model)->n_vocab;
    int32_t *tokens = malloc((size_t)n * sizeof *tokens);
    assert_non_null(tokens);
    for (int64_t i = 0; i < n; i++)
        tokens[i] = (int32_t)((golden->tokens[i] + 7 + i) % V);
    return tokens;
}

static void a_foreign_residual_brings_its_logits(const golden_model *golden)
{
    int64_t n_layers = sonde_model_config(golden->model)->n_layers;
    int32_t *tokens = other_tokens(golden);
    sonde_run *source, *plain = run_plain(golden);

    assert_ok(sonde_run_new(&source, golden->model));
    assert_ok(sonde_run_capture(source, "blocks.*.hook_resid_post", NULL));
    sonde_run_want_logits(source, SONDE_LOGITS_ALL);
    assert_ok(sonde_run_forward(source, tokens, golden->lengths, golden->B, golden->T));
    assert_false(same_bytes(source, plain, "logits"));
    for (int64_t layer = 0; layer < n_layers; layer++) {
        char name[64];
        sonde_tensor value;
        sonde_run *patched;
        int64_t id;
        snprintf(name, sizeof name, "blocks.%d.hook_resid_post", (int)layer);
        assert_ok(sonde_run_get(&value, source, name));
        assert_ok(sonde_run_new(&patched, golden->model));
        assert_ok(sonde_run_patch(patched, name, &value, &id));
        run_golden(patched, golden);
        assert_same(source, patched, "logits", golden, name);
        assert_ok(sonde_run_unhook(patched, id));
        run_golden(patched, golden);
        assert_same(plain, patched, "logits", golden, "the patch was removed");
        sonde_run_free(patched);
    }
    sonde_run_free(source);
    sonde_run_free(plain);
    free(tokens);
}

static sonde_status set_zero(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    (void)event;
    (void)ctx;
    memset(x->data, 0, sonde_tensor_bytes(x));
    return SONDE_OK;
}

/* Every point is really wired into the pass: what is written there reaches the logits. */
static void every_point_matters(const golden_model *golden)
{
    sonde_run *plain = run_plain(golden);
    int64_t n;
    const sonde_hook_point *points = sonde_model_hook_points(golden->model, &n);

    for (int64_t i = 0; i < n; i++) {
        sonde_run *write;
        sonde_tensor x;
        /* What a norm's scale says is used by hook_normalized, and zero scores or a zero scale are no number or no change.
         */
        if (!can_be_written(golden, points[i].name) || strstr(points[i].name, "hook_scale") != NULL ||
            strstr(points[i].name, "hook_attn_scores") != NULL)
            continue;
        assert_ok(sonde_run_new(&write, golden->model));
        assert_ok(sonde_run_hook(write, points[i].name, SONDE_HOOK_WRITE, set_zero, NULL, NULL));
        run_golden(write, golden);
        assert_ok(sonde_run_get(&x, write, "logits"));
        if (same_bytes(plain, write, "logits"))
            fail_msg("%s: zeros written at %s do not change the logits", golden->directory, points[i].name);
        sonde_run_free(write);
    }
    sonde_run_free(plain);
}

#define EACH_MODEL(property)                   \
    static void test_##property(void **unused) \
    {                                          \
        (void)unused;                          \
        for_each_model(property);              \
    }
EACH_MODEL(reading_changes_nothing)
EACH_MODEL(reading_patterns_changes_little)
EACH_MODEL(identity_writes_change_nothing)
EACH_MODEL(patching_with_itself_changes_nothing)
EACH_MODEL(a_foreign_residual_brings_its_logits)
EACH_MODEL(every_point_matters)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading_changes_nothing),
        cmocka_unit_test(test_reading_patterns_changes_little),
        cmocka_unit_test(test_identity_writes_change_nothing),
        cmocka_unit_test(test_patching_with_itself_changes_nothing),
        cmocka_unit_test(test_a_foreign_residual_brings_its_logits),
        cmocka_unit_test(test_every_point_matters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
