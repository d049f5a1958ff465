/* Nothing is silent: a hook that matches nothing, never fires, or does not fit is an error with the name in it. */
#include "property/property.h"

static sonde_status do_nothing(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    (void)event;
    (void)x;
    (void)ctx;
    return SONDE_OK;
}

static sonde_status stop_here(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    (void)event;
    (void)x;
    ++*(int *)ctx;
    return SONDE_E_INTERRUPTED;
}

static sonde_status write_nan(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    (void)event;
    (void)ctx;
    ((float *)x->data)[0] = NAN;
    return SONDE_OK;
}

/* The status, and that the message is set and names the subject. */
static void assert_fails(sonde_status got, sonde_status want, const char *subject)
{
    if (got != want)
        fail_msg("%s in place of %s (%s): %s", sonde_status_name(got), sonde_status_name(want), subject,
                 sonde_last_error()->message);
    assert_int_equal(sonde_last_error()->status, want);
    if (strstr(sonde_last_error()->message, subject) == NULL)
        fail_msg("'%s' does not name '%s'", sonde_last_error()->message, subject);
}

static void patterns_that_match_nothing(void **unused)
{
    static const char *const patterns[] = {"blocks.9.hook_resid_post",
                                           "hook_resid_psot",
                                           "",
                                           "blocks.*.hook_nothing",
                                           "blocks.{7,8}.hook_resid_pre",
                                           "resid_post17",
                                           "blocks.0.attn.hook_rot_q"};
    golden_model golden;
    sonde_run *run;
    (void)unused;
    golden_open(&golden, "gpt2-plain");
    assert_ok(sonde_run_new(&run, golden.model));
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        const char *named =
            strchr(patterns[i], '{') ? "blocks.7.hook_resid_pre" : patterns[i]; /* braces: the text that failed */
        assert_fails(sonde_run_capture(run, patterns[i], NULL), SONDE_E_HOOK, named);
        assert_fails(sonde_run_hook(run, patterns[i], SONDE_HOOK_READ, do_nothing, NULL, NULL), SONDE_E_HOOK, named);
    }
    sonde_run_free(run);
    golden_close(&golden);
}

static void positions_outside_the_text(void **unused)
{
    static const int64_t outside[] = {6, 99, -7};
    golden_model golden;
    (void)unused;
    golden_open(&golden, "llama-gqa");
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        const sonde_position_list where = {&outside[i], 1};
        char number[16];
        sonde_run *run;
        assert_ok(sonde_run_new(&run, golden.model));
        assert_ok(sonde_run_capture(run, "blocks.0.hook_resid_post", &where));
        snprintf(number, sizeof number, "%d", (int)outside[i]);
        assert_fails(sonde_run_forward(run, golden.tokens, NULL, 1, 6), SONDE_E_RANGE, number);
        sonde_run_free(run);
    }
    golden_close(&golden);
}

static void tokens_and_lengths_outside(void **unused)
{
    golden_model golden;
    sonde_run *run;
    int32_t tokens[64] = {1, 2, 41, -1};
    int64_t too_long[] = {5};
    (void)unused;
    golden_open(&golden, "gpt2-plain"); /* vocabulary 41, context 16 */
    assert_ok(sonde_run_new(&run, golden.model));
    sonde_run_want_logits(run, SONDE_LOGITS_ALL);
    assert_fails(sonde_run_forward(run, tokens, NULL, 1, 3), SONDE_E_RANGE, "41");
    assert_fails(sonde_run_forward(run, tokens + 3, NULL, 1, 1), SONDE_E_RANGE, "-1");
    memset(tokens, 0, sizeof tokens);
    assert_fails(sonde_run_forward(run, tokens, NULL, 1, 17), SONDE_E_RANGE, "17");
    assert_true(sonde_run_forward(run, tokens, too_long, 1, 4) != SONDE_OK);
    assert_ok(sonde_run_forward(run, tokens, NULL, 1, 16));
    sonde_run_free(run);
    golden_close(&golden);
}

static void asking_for_what_is_not_there(void **unused)
{
    golden_model golden;
    sonde_run *run;
    sonde_tensor x;
    int32_t token[] = {0};
    (void)unused;
    golden_open(&golden, "gpt2-plain");
    assert_ok(sonde_run_new(&run, golden.model));
    assert_ok(sonde_run_capture(run, "blocks.0.hook_resid_pre", NULL));
    assert_int_equal(sonde_run_get(&x, run, "blocks.0.hook_resid_pre"), SONDE_E_STATE);
    assert_ok(sonde_run_forward(run, token, NULL, 1, 1));
    assert_fails(sonde_run_get(&x, run, "blocks.1.hook_resid_pre"), SONDE_E_HOOK, "blocks.1.hook_resid_pre");
    assert_fails(sonde_run_get(&x, run, "logits"), SONDE_E_HOOK, "logits");
    assert_ok(sonde_run_get(&x, run, "resid_pre0"));
    assert_int_equal(sonde_run_unhook(run, 12345), SONDE_E_ARG);
    sonde_run_free(run);
    golden_close(&golden);
}

/* A patch of another shape is refused by the pass; a hook's own status comes back unchanged and stops the pass. */
static void hooks_that_do_not_fit(void **unused)
{
    golden_model golden;
    sonde_run *run;
    float values[24] = {0};
    int64_t shape[] = {1, 2, 12}, id;
    sonde_tensor value;
    int32_t tokens[] = {1, 2, 3};
    int calls = 0;
    (void)unused;
    golden_open(&golden, "gpt2-plain");
    assert_ok(sonde_run_new(&run, golden.model));
    assert_ok(sonde_tensor_view(&value, values, SONDE_F32, shape, 3));
    assert_ok(sonde_run_patch(run, "blocks.0.hook_resid_post", &value, &id));
    sonde_run_want_logits(run, SONDE_LOGITS_ALL);
    assert_fails(sonde_run_forward(run, tokens, NULL, 1, 3), SONDE_E_SHAPE, "blocks.0.hook_resid_post");
    assert_ok(sonde_run_unhook(run, id));
    assert_ok(sonde_run_hook(run, "blocks.*.hook_mlp_out", SONDE_HOOK_READ, stop_here, &calls, NULL));
    assert_int_equal(sonde_run_forward(run, tokens, NULL, 1, 3), SONDE_E_INTERRUPTED);
    assert_int_equal(calls, 1);
    sonde_run_reset(run);
    sonde_run_want_logits(run, SONDE_LOGITS_ALL);
    assert_ok(sonde_run_forward(run, tokens, NULL, 1, 3));
    sonde_run_free(run);
    golden_close(&golden);
}

/* A NaN is an error that names the place, not a result. */
static void a_nan_is_reported(void **unused)
{
    golden_model golden;
    sonde_run *run;
    int32_t tokens[] = {1, 2, 3};
    (void)unused;
    golden_open(&golden, "llama-plain");
    assert_ok(sonde_run_new(&run, golden.model));
    assert_ok(sonde_run_hook(run, "blocks.0.hook_mlp_out", SONDE_HOOK_WRITE, write_nan, NULL, NULL));
    sonde_run_want_logits(run, SONDE_LOGITS_ALL);
    assert_fails(sonde_run_forward(run, tokens, NULL, 1, 3), SONDE_E_NONFINITE, "blocks.0.");
    sonde_run_free(run);
    golden_close(&golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_that_match_nothing), cmocka_unit_test(positions_outside_the_text),
        cmocka_unit_test(tokens_and_lengths_outside),  cmocka_unit_test(asking_for_what_is_not_there),
        cmocka_unit_test(hooks_that_do_not_fit),       cmocka_unit_test(a_nan_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
