/* Which logits a pass gives: all, the last, streamed in blocks, or those of chosen tokens; padded batches too. */
#include <sonde/run.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { B = 3, T = 6, V = 8192 };
static const int64_t lengths[B] = {6, 0, 3};
static const int32_t tokens[B * T] = {5, 17, 300, 8, 8191, 0, 1, 1, 1, 1, 1, 1, 42, 43, 44, 1, 1, 1};

static sonde_model *model;
static float all[B * T * V];

static int set_up(void **state)
{
    sonde_config config;
    sonde_run *run;
    sonde_tensor logits;
    (void)state;
    if (sonde_config_shape(&config, "small") != SONDE_OK || sonde_model_random(&model, &config, 7, NULL) != SONDE_OK ||
        sonde_run_new(&run, model) != SONDE_OK)
        return -1;
    sonde_run_want_logits(run, SONDE_LOGITS_ALL);
    if (sonde_run_forward(run, tokens, lengths, B, T) != SONDE_OK || sonde_run_get(&logits, run, "logits") != SONDE_OK)
        return -1;
    memcpy(all, logits.data, sizeof all);
    sonde_run_free(run);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sonde_model_free(model);
    return 0;
}

/* Rows that came, one after the other. */
static float seen[B * T * V];
static int64_t n_seen;

static sonde_status take(const float *logits, int64_t first_row, int64_t n_rows, int64_t n_vocab, void *ctx)
{
    (void)ctx;
    assert_int_equal(n_vocab, V);
    assert_int_equal(first_row, n_seen);
    memcpy(seen + n_seen * V, logits, (size_t)(n_rows * V) * sizeof(float));
    n_seen += n_rows;
    return SONDE_OK;
}

/* Row `row` of what was seen is that of token t of sequence b; another number of rows may take another kernel. */
static void assert_row(const float *got, int64_t b, int64_t t)
{
    const float *want = all + (b * T + t) * V;
    float largest = 0.0f;
    for (int64_t v = 0; v < V; v++)
        largest = fabsf(want[v]) > largest ? fabsf(want[v]) : largest;
    assert_true(largest > 0.0f);
    for (int64_t v = 0; v < V; v++)
        if (!(fabsf(got[v] - want[v]) <= 2e-6f * largest)) /* largest seen: 5e-7 */
            fail_msg("logit %d of (%d, %d) is %g, not %g", (int)v, (int)b, (int)t, (double)got[v], (double)want[v]);
}

static void padding_is_zero(void **state)
{
    (void)state;
    for (int64_t t = 0; t < T; t++)
        for (int64_t v = 0; v < V; v++)
            assert_true(all[(T + t) * V + v] == 0.0f && (t < 3 || all[(2 * T + t) * V + v] == 0.0f));
}

static void the_last_of_each_sequence(void **state)
{
    sonde_run *run;
    sonde_tensor logits;
    (void)state;
    assert_int_equal(sonde_run_new(&run, model), SONDE_OK);
    sonde_run_want_logits(run, SONDE_LOGITS_LAST);
    assert_int_equal(sonde_run_forward(run, tokens, lengths, B, T), SONDE_OK);
    assert_int_equal(sonde_run_get(&logits, run, "logits"), SONDE_OK);
    assert_int_equal(logits.shape[1], 1);
    assert_row(logits.data, 0, 5);
    assert_row((const float *)logits.data + 2 * V, 2, 2);
    for (int64_t v = 0; v < V; v++)
        assert_true(((const float *)logits.data)[V + v] == 0.0f);
    sonde_run_free(run);
}

/* The same while hooks look behind the blocks, so that all rows are normalised. */
static void chosen_rows_are_streamed_alone(void **state)
{
    const bool chosen[B * T] = {[1] = true, [5] = true, [2 * T] = true, [2 * T + 5] = true /* padding: ignored */};
    static const char *const hooks[3] = {NULL, "ln_final.hook_normalized", "unembed.hook_out"};
    (void)state;
    for (int i = 0; i < 3; i++) {
        sonde_run *run;
        assert_int_equal(sonde_run_new(&run, model), SONDE_OK);
        if (hooks[i])
            assert_int_equal(sonde_run_capture(run, hooks[i], NULL), SONDE_OK);
        sonde_run_stream_logits(run, take, NULL);
        sonde_run_choose_logits(run, chosen);
        n_seen = 0;
        assert_int_equal(sonde_run_forward(run, tokens, lengths, B, T), SONDE_OK);
        assert_int_equal(n_seen, 3);
        assert_row(seen, 0, 1);
        assert_row(seen + V, 0, 5);
        assert_row(seen + 2 * V, 2, 0);
        sonde_run_choose_logits(run, NULL);
        n_seen = 0;
        assert_int_equal(sonde_run_forward(run, tokens, lengths, B, T), SONDE_OK);
        assert_int_equal(n_seen, 9);
        assert_row(seen + 8 * V, 2, 2);
        sonde_run_free(run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(padding_is_zero),
        cmocka_unit_test(the_last_of_each_sequence),
        cmocka_unit_test(chosen_rows_are_streamed_alone),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
