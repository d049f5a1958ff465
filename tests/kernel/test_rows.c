/* Norms, rotary, gather, element-wise operations, log-sum-exp and the search for numbers that are not finite. */
#include "kernel/kernel_support.h"

static const int64_t widths[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 768, 1025};
enum { N_WIDTHS = sizeof widths / sizeof *widths };

static void norms_agree(void **unused)
{
    (void)unused;
    for (int set = 0; set < N_ALL_SETS; set++) {
        for (int pass = 0; choose_set(set) && pass < 4 * N_WIDTHS; pass++) {
            int64_t D = widths[pass / 4], N = pass % 3 ? 5 : 90, n = N * D;
            float *x = numbers(n, 1), *w = numbers(D, 2), *b = numbers(D, 3), *y = numbers(n, 4), *unit = numbers(n, 5);
            float *scale = numbers(N, 6), *want_y = numbers(n, 7), *want_unit = numbers(n, 8), *want_scale = numbers(N, 9);
            const float *bias = pass & 2 ? b : NULL;

            x[0] = 100.0f; /* a mean that is far from 0 in one row */
            sondep_norm_ref(want_y, want_unit, want_scale, x, w, bias, pass & 1, 1e-5, N, D);
            sondep_norm(y, unit, scale, x, w, bias, pass & 1, 1e-5, N, D);
            assert_within(y, want_y, n, "norm", "f32");
            assert_within(unit, want_unit, n, "norm", "f32");
            assert_within(scale, want_scale, N, "norm_scale", "f32");

            /* the same bits whatever is wanted, in place, and in two steps */
            sondep_norm(want_y, NULL, NULL, x, w, bias, pass & 1, 1e-5, N, D);
            assert_same_bytes(y, want_y, (size_t)n * sizeof *y, "norm without the rest");
            sondep_norm_gain(want_y, unit, w, bias, N, D);
            assert_same_bytes(y, want_y, (size_t)n * sizeof *y, "norm in two steps");
            sondep_norm(x, NULL, NULL, x, w, bias, pass & 1, 1e-5, N, D);
            assert_same_bytes(y, x, (size_t)n * sizeof *y, "norm in place");
            free(x), free(w), free(b), free(y), free(unit), free(scale), free(want_y), free(want_unit), free(want_scale);
        }
    }
}

static void rotation_agrees(void **unused)
{
    enum { POSITIONS = 30, N = 25, HEADS = 3 };
    int64_t position[N];
    (void)unused;

    for (int64_t n = 0; n < N; n++)
        position[n] = n * 7 % POSITIONS;
    for (int set = 0; set < N_ALL_SETS; set++) {
        for (int i = 1; choose_set(set) && i < N_WIDTHS; i++) {
            int64_t d = widths[i] / 2 * 2, ld_x = HEADS * d + 1, ld_out = HEADS * d + 4;
            float *x = numbers(N * ld_x, 1), *cosine = numbers(POSITIONS * d, 2), *sine = numbers(POSITIONS * d, 3);
            float *got = numbers(N * ld_out, 4), *want = numbers(N * ld_out, 4);

            sondep_rotate_ref(want, x, position, cosine, sine, N, HEADS, d, ld_out, ld_x);
            sondep_rotate(got, x, position, cosine, sine, N, HEADS, d, ld_out, ld_x);
            assert_within(got, want, N * ld_out, "rotate", "f32");
            sondep_rotate(x, x, position, cosine, sine, N, HEADS, d, ld_x, ld_x);
            for (int64_t n = 0; n < N; n++)
                assert_same_bytes(x + n * ld_x, got + n * ld_out, (size_t)(HEADS * d) * sizeof *x, "rotation in place");
            free(x), free(cosine), free(sine), free(got), free(want);
        }
    }
}

static void rows_are_gathered(void **unused)
{
    static const sonde_dtype types[] = {SONDE_F32, SONDE_BF16, SONDE_F16};
    static const char *const names[] = {"f32", "bf16", "f16"};
    enum { V = 11, N = 9 };
    static const int64_t ids[N] = {0, 10, 3, 3, 7, 1, 0, 9, 5};
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        for (int pass = 0; choose_set(set) && pass < 12 * N_WIDTHS; pass++) {
            int64_t D = widths[pass / 12], type = pass % 3;
            bool adds = pass / 3 % 2, turned = pass / 6 % 2;
            float *x = numbers(V * D, 1), *got = numbers(N * D, 2), *want = numbers(N * D, 2);
            char *block = take((size_t)(V * D) * 4 + 1);
            sondep_matrix table = {block + 1, types[type], turned ? 1 : D, turned ? V : 1};

            sonde_convert_from_f32(block + 1, types[type], x, V * D);
            sondep_gather_rows_ref(want, &table, ids, adds, N, D);
            sondep_gather_rows(got, &table, ids, adds, N, D);
            assert_within(got, want, N * D, "gather", names[type]);
            free(x), free(got), free(want), free(block);
        }
    }
}

static void sums_and_products_are_exact(void **unused)
{
    static const int64_t sizes[] = {0, 1, 15, 16, 17, 8191, 8193, 40000};
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        for (size_t i = 0; choose_set(set) && i < sizeof sizes / sizeof *sizes; i++) {
            int64_t n = sizes[i];
            float *a = numbers(n + 1, 1), *b = numbers(n + 1, 2), *got = numbers(n, 3), *want = numbers(n, 4);
            sondep_add_ref(want, a + 1, b, n);
            sondep_add(got, a + 1, b, n);
            assert_within(got, want, n, "add", "f32");
            sondep_multiply_ref(want, a, b + 1, n);
            sondep_multiply(got, a, b + 1, n);
            assert_within(got, want, n, "multiply", "f32");
            sondep_multiply(a, a, b + 1, n);
            assert_same_bytes(a, got, (size_t)n * sizeof *a, "multiply in place");
            free(a), free(b), free(got), free(want);
        }
    }
}

static void log_sum_exp_agrees(void **unused)
{
    float none[] = {-INFINITY, -INFINITY}, some[] = {-INFINITY, 5.0f}, with_nan[] = {1.0f, NAN, 2.0f};
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        for (int i = 0; choose_set(set) && i <= N_WIDTHS; i++) {
            int64_t n = i < N_WIDTHS ? widths[i] : 50257;
            float *x = numbers(n, 1), got, want;
            for (int64_t k = 0; k < n; k++)
                x[k] = 20.0f * x[k] + 500.0f * (float)(i % 2);
            got = (float)sondep_log_sum_exp(x, n);
            want = (float)sondep_log_sum_exp_ref(x, n);
            assert_within(&got, &want, 1, "log_sum_exp", "f32");
            free(x);
        }
        assert_true(sondep_log_sum_exp(none, 2) == -INFINITY);
        assert_true(sondep_log_sum_exp(some, 2) == 5.0);
        assert_true(isnan(sondep_log_sum_exp(with_nan, 3)));
    }
}

static void nonfinite_is_found(void **unused)
{
    enum { N = 50000 };
    static const int64_t places[] = {0, 1, 15, 16, 17, 8191, 8192, 40000, N - 1};
    float *x = numbers(N, 1);
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        if (!choose_set(set))
            continue;
        assert_int_equal(sondep_find_nonfinite(x, N, false), -1);
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            float before = x[places[i]];
            x[places[i]] = i % 2 ? NAN : INFINITY;
            assert_int_equal(sondep_find_nonfinite(x, N, true), places[i]);
            x[places[i]] = -INFINITY;
            assert_int_equal(sondep_find_nonfinite(x, N, false), places[i]);
            assert_int_equal(sondep_find_nonfinite(x, N, true), -1);
            assert_int_equal(sondep_find_nonfinite(x, places[i], false), -1);
            x[places[i]] = before;
        }
    }
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_agree),        cmocka_unit_test(rotation_agrees),
        cmocka_unit_test(rows_are_gathered),  cmocka_unit_test(sums_and_products_are_exact),
        cmocka_unit_test(log_sum_exp_agrees), cmocka_unit_test(nonfinite_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
