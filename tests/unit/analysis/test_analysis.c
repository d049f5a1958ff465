/* Statistics and similarities against exact fractions, numpy and scipy (tests/golden/analysis.json), and what must hold for
 * any numbers. */
#include <sonde/analysis.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

static json_t *golden;

static int load_golden(void **unused)
{
    (void)unused;
    golden = json_load_file("tests/golden/analysis.json", 0, NULL);
    return golden ? 0 : -1;
}

static int free_golden(void **unused)
{
    (void)unused;
    json_decref(golden);
    return 0;
}

/* Fails on NaN before it compares; `scale` is what the limit is relative to. */
static void assert_near(const char *what, const char *which, double got, double want, double scale, double limit)
{
    if (!(fabs(got - want) <= limit * scale))
        fail_msg("%s, %s: %.17g, want %.17g", what, which, got, want);
}

static void assert_golden(const json_t *row, const char *which, double got, double scale, double limit)
{
    const json_t *want = json_object_get(row, which);
    const char *what = json_string_value(json_object_get(row, "name"));
    if (!json_is_number(want)) {
        if (!isnan(got))
            fail_msg("%s, %s: %.17g, want NaN", what, which, got);
        return;
    }
    assert_near(what, which, got, json_number_value(want), scale + fabs(json_number_value(want)), limit);
}

static float *floats(const json_t *row, const char *name, int64_t *n)
{
    const json_t *list = json_object_get(row, name);
    float *x = malloc(json_array_size(list) * sizeof *x);
    *n = (int64_t)json_array_size(list);
    for (int64_t i = 0; i < *n; i++)
        x[i] = (float)json_number_value(json_array_get(list, (size_t)i));
    return x;
}

static double mean_of(const sonde_moments *m)
{
    return sonde_moments_get(m, SONDE_STAT_MEAN);
}

static double uniform(uint64_t i)
{
    return sonde_random_uniform(1, 2, i) * 2.0 - 1.0;
}

/* ---- moments ----------------------------------------------------------------------------------------------------- */

/* Relative; what cancels is relative to what cancelled: the mean to the mean size, skewness and kurtosis to 1. */
static void check_series(const json_t *row, const sonde_moments *m)
{
    for (int i = 0; i < SONDE_N_STATISTICS; i++) {
        sonde_statistic which = (sonde_statistic)i;
        double scale = which == SONDE_STAT_MEAN ? json_number_value(json_object_get(row, "mean_abs")) : 0.0;
        if (which == SONDE_STAT_SKEWNESS || which == SONDE_STAT_KURTOSIS)
            scale = 1.0;
        assert_golden(row, sonde_statistic_name(which), sonde_moments_get(m, which), scale, 1e-13); /* largest seen: 5e-15 */
    }
}

static void series_agree_with_exact_fractions(void **unused)
{
    double threshold = json_number_value(json_object_get(golden, "threshold"));
    json_t *row;
    size_t i;
    (void)unused;
    json_array_foreach(json_object_get(golden, "series"), i, row)
    {
        sonde_moments at_once = {0}, one_by_one = {0}, halves[2] = {{0}};
        int64_t n;
        float *x = floats(row, "x", &n);

        assert_int_equal(sonde_moments_add(&at_once, x, n, threshold, false), SONDE_OK);
        check_series(row, &at_once);
        assert_int_equal(sonde_moments_add_rows(&one_by_one, x, n, 1, threshold), SONDE_OK);
        check_series(row, &one_by_one);
        assert_int_equal(sonde_moments_add(&halves[0], x, n / 3, threshold, false), SONDE_OK);
        assert_int_equal(sonde_moments_add(&halves[1], x + n / 3, n - n / 3, threshold, false), SONDE_OK);
        sonde_moments_merge(&halves[0], &halves[1]);
        check_series(row, &halves[0]);
        free(x);
    }
}

enum { N = 400, C = 100 };

/* Columns do not depend on how rows were cut, nor on threads: bit for bit. */
static void cutting_and_threads_change_nothing(void **unused)
{
    static float x[N * C];
    static sonde_moments whole[C], pieces[C];
    (void)unused;
    for (int i = 0; i < N * C; i++)
        x[i] = (float)(uniform((uint64_t)i) * 3.0 + 50.0);
    assert_int_equal(sonde_set_threads(1), SONDE_OK);
    assert_int_equal(sonde_moments_add_rows(whole, x, N, C, 1e-3), SONDE_OK);
    for (int threads = 1; threads <= 3; threads++) {
        assert_int_equal(sonde_set_threads(threads), SONDE_OK);
        memset(pieces, 0, sizeof pieces);
        for (int from = 0, n = 1; from < N; from += n, n = from + 2 * n < N ? 2 * n : N - from)
            assert_int_equal(sonde_moments_add_rows(pieces, x + from * C, n, C, 1e-3), SONDE_OK);
        assert_memory_equal(whole, pieces, sizeof whole);
    }
    assert_int_equal(sonde_set_threads(0), SONDE_OK);
}

static void masked_values_are_left_out(void **unused)
{
    const float x[] = {1.0f, -INFINITY, 3.0f, -INFINITY};
    sonde_moments m = {0};
    (void)unused;
    assert_int_equal(sonde_moments_add(&m, x, 4, 1e-3, true), SONDE_OK);
    assert_int_equal(m.n, 2);
    assert_int_equal(m.n_masked, 2);
    assert_true(sonde_moments_get(&m, SONDE_STAT_MEAN) == 2.0 && sonde_moments_get(&m, SONDE_STAT_MIN) == 1.0);
}

static void nothing_is_not_a_number(void **unused)
{
    sonde_moments empty = {0}, other = {0};
    const float masked[] = {-INFINITY};
    (void)unused;
    assert_int_equal(sonde_moments_add(&empty, masked, 1, 1e-3, true), SONDE_OK);
    sonde_moments_merge(&empty, &other);
    for (int i = 0; i < SONDE_N_STATISTICS; i++)
        assert_true(isnan(sonde_moments_get(&empty, (sonde_statistic)i)));
    assert_int_equal(empty.n_masked, 1);
}

static void non_finite_numbers_are_errors(void **unused)
{
    const float bad[] = {NAN, INFINITY, -INFINITY};
    (void)unused;
    for (int i = 0; i < 3; i++) {
        float x[] = {1.0f, 2.0f, bad[i], 4.0f};
        sonde_moments m = {0}, columns[2] = {{0}}, zero[2] = {{0}};
        assert_int_equal(sonde_moments_add(&m, x, 4, 1e-3, false), SONDE_E_NONFINITE);
        assert_memory_equal(&m, zero, sizeof m);
        assert_non_null(strstr(sonde_last_error()->message, "index 2"));
        assert_int_equal(sonde_moments_add_rows(columns, x, 2, 2, 1e-3), SONDE_E_NONFINITE);
        assert_non_null(strstr(sonde_last_error()->message, "row 1, column 0"));
        assert_memory_equal(columns, zero, sizeof columns);
        columns[1].n = 1;
        assert_int_equal(sonde_moments_add_rows(columns, x, 1, 2, 1e-3), SONDE_E_STATE);
    }
}

static void names_are_parsed(void **unused)
{
    sonde_statistic which = SONDE_STAT_MEAN;
    sonde_similarity measure = SONDE_COSINE;
    (void)unused;
    assert_int_equal(sonde_statistic_parse(&which, "kurtosis"), SONDE_OK);
    assert_int_equal(which, SONDE_STAT_KURTOSIS);
    assert_int_equal(sonde_statistic_parse(&which, "mode"), SONDE_E_ARG);
    assert_int_equal(which, SONDE_STAT_KURTOSIS);
    assert_non_null(strstr(sonde_last_error()->hint, "sparsity"));
    assert_int_equal(sonde_similarity_parse(&measure, "pearson"), SONDE_OK);
    assert_int_equal(measure, SONDE_PEARSON);
    assert_int_equal(sonde_similarity_parse(&measure, ""), SONDE_E_ARG);
    assert_string_equal(sonde_statistic_name(SONDE_N_STATISTICS), "?");
    assert_string_equal(sonde_similarity_formula((sonde_similarity)-1), "?");
}

/* ---- top-k ------------------------------------------------------------------------------------------------------- */

static void ties_go_to_the_lower_index(void **unused)
{
    const double values[] = {1.0, 3.0, NAN, 3.0, 0.0, 1.0, -2.0, 3.0};
    int64_t out[8];
    (void)unused;
    assert_int_equal(sonde_top_k(out, values, 8, 4, true), 4);
    assert_true(out[0] == 1 && out[1] == 3 && out[2] == 7 && out[3] == 0);
    assert_int_equal(sonde_top_k(out, values, 8, 3, false), 3);
    assert_true(out[0] == 6 && out[1] == 4 && out[2] == 0);
    assert_int_equal(sonde_top_k(out, values, 8, 8, true), 7);
    assert_true(out[6] == 6);
    assert_int_equal(sonde_top_k(out, values, 8, 0, true), 0);
}

/* Against taking the best again and again. */
static void top_k_agrees_with_selection(void **unused)
{
    (void)unused;
    for (int n = 0; n < 40; n++) {
        for (int k = 0; k <= n; k++) {
            double values[40];
            int64_t out[40];
            bool taken[40] = {false};
            for (int i = 0; i < n; i++)
                values[i] = floor(uniform((uint64_t)(n * 1000 + k * 40 + i)) * 6.0);
            assert_int_equal(sonde_top_k(out, values, n, k, true), k);
            for (int place = 0; place < k; place++) {
                int best = -1;
                for (int i = 0; i < n; i++)
                    if (!taken[i] && (best < 0 || values[i] > values[best]))
                        best = i;
                taken[best] = true;
                assert_int_equal(out[place], best);
            }
        }
    }
}

/* ---- hook points
 * ---------------------------------------------------------------------------------------------------------- */

static const sonde_hook_point z_point = {"blocks.0.attn.hook_z", "BTHh", {0, 0, 2, 3}, 4, 0, true};
static const sonde_hook_point scores_point = {"blocks.0.attn.hook_attn_scores", "BHTT", {0, 2, 0, 0}, 4, 0, true};

static void neurons_and_tokens_of_a_hook(void **unused)
{
    enum { B = 2, T = 3, W = 6 };
    float data[B * T * W];
    const int64_t lengths[B] = {3, 1}, first[B] = {0}, shape[] = {B, T, 2, 3};
    const bool leave_out[B * T] = {true};
    sonde_hook_event event = {
        .point = &z_point, .n_sequences = B, .n_positions = T, .lengths = lengths, .first_positions = first};
    sonde_stats_opts opts;
    sonde_stats *stats;
    sonde_tensor x;
    int64_t n;
    const sonde_moments *m;
    const sonde_activity *top;
    (void)unused;

    for (int i = 0; i < B * T * W; i++)
        data[i] = (float)(i % 7 == 3 ? -i : i);
    assert_int_equal(sonde_tensor_view(&x, data, SONDE_F32, shape, 4), SONDE_OK);
    sonde_stats_opts_init(&opts);
    opts.keep_tokens = 1;
    opts.top = 2;
    assert_int_equal(sonde_stats_new(&stats, &z_point, &opts), SONDE_OK);
    assert_int_equal(sonde_stats_add(stats, &event, &x, leave_out), SONDE_OK);

    m = sonde_stats_tokens(stats, &n);
    assert_int_equal(n, 3); /* positions 1 and 2 of the first sequence, 0 of the second */
    assert_true(m[0].min == -10.0 && m[0].max == 11.0 && m[2].min == 18.0);
    m = sonde_stats_neurons(stats, &n);
    assert_int_equal(n, 6);
    assert_true(m[1].n == 3 && mean_of(&m[1]) == (7.0 + 13.0 + 19.0) / 3.0);
    assert_int_equal(sonde_stats_total(stats)->n, 18);
    top = sonde_stats_token_top(stats, 0, true, &n); /* 6 7 8 9 -10 11 by size */
    assert_true(n == 2 && top[0].neuron == 5 && top[1].neuron == 4 && top[1].value == -10.0);
    top = sonde_stats_token_top(stats, 0, false, &n);
    assert_true(n == 2 && top[0].neuron == 0 && top[1].neuron == 1);
    assert_null(sonde_stats_token_top(stats, 3, true, &n));
    sonde_stats_free(stats);
}

static void attention_has_heads_and_masks(void **unused)
{
    const float data[] = {1, -INFINITY, 2, 3, /* head 1 */ 5, -INFINITY, 6, 7};
    const int64_t lengths[] = {2}, first[] = {0}, shape[] = {1, 2, 2, 2}, wrong[] = {1, 3, 2, 2};
    sonde_hook_event event = {
        .point = &scores_point, .n_sequences = 1, .n_positions = 2, .lengths = lengths, .first_positions = first};
    sonde_stats *stats;
    sonde_tensor x;
    int64_t n;
    const sonde_moments *m;
    (void)unused;

    assert_int_equal(sonde_tensor_view(&x, (void *)(uintptr_t)data, SONDE_F32, shape, 4), SONDE_OK);
    assert_int_equal(sonde_stats_new(&stats, &scores_point, NULL), SONDE_OK);
    assert_int_equal(sonde_stats_add(stats, &event, &x, NULL), SONDE_OK);
    m = sonde_stats_neurons(stats, &n);
    assert_int_equal(n, 2);
    assert_true(m[0].n == 3 && mean_of(&m[0]) == 2.0 && m[0].n_masked == 1 && mean_of(&m[1]) == 6.0);
    assert_null(sonde_stats_tokens(stats, &n));
    assert_int_equal(n, 2);
    assert_int_equal(sonde_tensor_view(&x, (void *)(uintptr_t)data, SONDE_F32, wrong, 4), SONDE_OK);
    assert_int_equal(sonde_stats_add(stats, &event, &x, NULL), SONDE_E_SHAPE);
    sonde_stats_free(stats);
}

static void wrong_options_are_errors(void **unused)
{
    sonde_stats_opts opts;
    sonde_stats *stats;
    (void)unused;
    sonde_stats_opts_init(&opts);
    opts.threshold = NAN;
    assert_int_equal(sonde_stats_new(&stats, &z_point, &opts), SONDE_E_ARG);
    assert_null(stats);
    sonde_stats_opts_init(&opts);
    opts.rank = 2;
    assert_int_equal(sonde_stats_new(&stats, &z_point, &opts), SONDE_E_ARG);
    sonde_stats_opts_init(&opts);
    opts.top = -1;
    assert_int_equal(sonde_stats_new(&stats, &z_point, &opts), SONDE_E_ARG);
}

/* ---- similarity
 * ------------------------------------------------------------------------------------------------------------ */

/* Largest error seen, relative to 1 at least where it is a cosine: 2e-16. */
static void pairs_agree_with_scipy(void **unused)
{
    json_t *row;
    size_t i;
    (void)unused;
    json_array_foreach(json_object_get(golden, "pairs"), i, row)
    {
        int64_t n;
        float *a = floats(row, "a", &n), *b = floats(row, "b", &n);
        for (int which = 0; which < SONDE_N_SIMILARITIES; which++) {
            double got, scale = which == SONDE_L2 || which == SONDE_RELATIVE ? 0.0 : 1.0;
            assert_int_equal(sonde_similarity_of(&got, (sonde_similarity)which, a, b, n), SONDE_OK);
            assert_golden(row, sonde_similarity_name((sonde_similarity)which), got, scale, 1e-12);
        }
        free(a);
        free(b);
    }
}

static void matrices_are_exact_and_do_not_depend_on_threads(void **unused)
{
    enum { ROWS = 41, D = 83 };
    static float x[ROWS * D];
    static double one[ROWS * ROWS], many[ROWS * ROWS];
    (void)unused;
    for (int i = 0; i < ROWS * D; i++)
        x[i] = (float)uniform((uint64_t)i);
    for (int which = 0; which < SONDE_N_SIMILARITIES; which++) {
        double self = which == SONDE_COSINE || which == SONDE_PEARSON ? 1.0 : 0.0, pair;
        assert_int_equal(sonde_set_threads(1), SONDE_OK);
        assert_int_equal(sonde_similarity_matrix(one, (sonde_similarity)which, x, ROWS, x, ROWS, D), SONDE_OK);
        assert_int_equal(sonde_set_threads(3), SONDE_OK);
        assert_int_equal(sonde_similarity_matrix(many, (sonde_similarity)which, x, ROWS, x, ROWS, D), SONDE_OK);
        assert_memory_equal(one, many, sizeof one);
        for (int i = 0; i < ROWS; i++)
            assert_true(one[i * ROWS + i] == self);
        assert_true(which == SONDE_RELATIVE || one[3 * ROWS + 5] == one[5 * ROWS + 3]);
        assert_int_equal(sonde_similarity_of(&pair, (sonde_similarity)which, x + 3 * D, x + 5 * D, D), SONDE_OK);
        assert_true(pair == one[3 * ROWS + 5]);
    }
    assert_int_equal(sonde_set_threads(0), SONDE_OK);
}

static void similarity_of_nonfinite_rows_is_an_error(void **unused)
{
    const float a[] = {1.0f, 2.0f, 3.0f, NAN}, b[] = {1.0f, 2.0f, 3.0f, 4.0f};
    double out[4] = {7.0, 7.0, 7.0, 7.0};
    (void)unused;
    assert_int_equal(sonde_similarity_matrix(out, SONDE_COSINE, b, 2, a, 2, 2), SONDE_E_NONFINITE);
    assert_non_null(strstr(sonde_last_error()->message, "row 1, column 1 of the second"));
    assert_true(out[0] == 7.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(series_agree_with_exact_fractions),
        cmocka_unit_test(cutting_and_threads_change_nothing),
        cmocka_unit_test(masked_values_are_left_out),
        cmocka_unit_test(nothing_is_not_a_number),
        cmocka_unit_test(non_finite_numbers_are_errors),
        cmocka_unit_test(names_are_parsed),
        cmocka_unit_test(ties_go_to_the_lower_index),
        cmocka_unit_test(top_k_agrees_with_selection),
        cmocka_unit_test(neurons_and_tokens_of_a_hook),
        cmocka_unit_test(attention_has_heads_and_masks),
        cmocka_unit_test(wrong_options_are_errors),
        cmocka_unit_test(pairs_agree_with_scipy),
        cmocka_unit_test(matrices_are_exact_and_do_not_depend_on_threads),
        cmocka_unit_test(similarity_of_nonfinite_rows_is_an_error),
    };
    return cmocka_run_group_tests(tests, load_golden, free_golden);
}
