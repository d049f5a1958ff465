/* Statistics and similarities under failing memory. */
#include <sonde/analysis.h>

#include "fault/fault.h"

enum { B = 2, T = 5, W = 7 };
static float values[B * T * W];

static const sonde_hook_point point = {"blocks.0.hook_resid_post", "BTD", {0, 0, W}, 3, 0, true};

/* Two passes, so that what is kept must grow. */
static sonde_status collect(void *ctx)
{
    const int64_t lengths[B] = {T, 3}, first[B] = {0}, shape[] = {B, T, W};
    sonde_hook_event event = {
        .point = &point, .n_sequences = B, .n_positions = T, .lengths = lengths, .first_positions = first};
    sonde_stats_opts opts;
    sonde_stats *stats;
    sonde_tensor x;
    sonde_status status;
    int64_t n;
    (void)ctx;

    sonde_stats_opts_init(&opts);
    opts.keep_tokens = 1;
    opts.top = 3;
    SONDE_TRY(sonde_tensor_view(&x, values, SONDE_F32, shape, 3));
    SONDE_TRY(sonde_stats_new(&stats, &point, &opts));
    SONDE_TRY_DONE(sonde_stats_add(stats, &event, &x, NULL));
    SONDE_TRY_DONE(sonde_stats_add(stats, &event, &x, NULL));
    sonde_stats_tokens(stats, &n);
    assert_int_equal(n, 2 * (T + 3));
    assert_int_equal(sonde_stats_total(stats)->n, n * W);
    assert_true(sonde_moments_get(sonde_stats_total(stats), SONDE_STAT_MAX) ==
                (T + 3) * W - 1); /* padding behind it is larger */
done:
    sonde_stats_free(stats);
    return status;
}

static void statistics_are_collected(void **unused)
{
    (void)unused;
    for (int i = 0; i < B * T * W; i++)
        values[i] = (float)i;
    fault_everywhere(collect, NULL, "statistics");
}

static sonde_status compare(void *ctx)
{
    double out[T * T];
    (void)ctx;
    SONDE_TRY(sonde_similarity_matrix(out, SONDE_COSINE, values, T, values, T, W));
    assert_true(out[T + 1] == 1.0);
    return SONDE_OK;
}

static void rows_are_compared(void **unused)
{
    (void)unused;
    fault_everywhere(compare, NULL, "similarities");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statistics_are_collected),
        cmocka_unit_test(rows_are_compared),
    };
    return cmocka_run_group_tests(tests, fault_setup, fault_teardown);
}
