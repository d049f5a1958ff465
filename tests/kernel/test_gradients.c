/* Gradients of rows, the loss and AdamW against their definitions: sizes, strides, in place, NaN and infinity, threads. */
#include "kernel/kernel_support.h"

static const int64_t widths[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 255, 257, 768, 1025};
enum { N_WIDTHS = sizeof widths / sizeof *widths };
static const int64_t heights[] = {0, 1, 2, 3, 31, 32, 33, 65, 100};
enum { N_HEIGHTS = sizeof heights / sizeof *heights };

static const char *const act_names[] = {"linear",  "relu",    "gelu",      "gelu_new",    "silu",       "quick_gelu",
                                        "tanh",    "sigmoid", "relu2",     "relu6",       "leaky_relu", "mish",
                                        "laplace", "gelu_10", "hardswish", "sqrtsoftplus"};

static float *copy_of(const float *x, int64_t n)
{
    float *to = take((size_t)n * sizeof *to);
    memcpy(to, x, (size_t)n * sizeof *to);
    return to;
}

/* ---- activation functions ------------------------------------------------------------------------------------------------ */

/* In units of 2^-24, relative to 1 or to the slope if that is larger; where one is not finite, so is the other. */
static double slope_error(float got, double want)
{
    if (isnan(want) || isinf((float)want))
        return isnan(want) ? (isnan(got) ? 0.0 : INFINITY) : got == (float)want ? 0.0 : INFINITY;
    return isfinite(got) ? fabs(got - want) / fmax(fabs(want), 1.0) * 0x1p24 : INFINITY;
}

enum { BLOCK = 4096 };

/* Every 9973rd of all floats; fewer under the sanitizers. */
static double worst_slope(sondep_act act, float *where)
{
    float pre[BLOCK], dpost[BLOCK], dpre[BLOCK];
    double worst = 0.0;
    uint32_t step = SANITIZED ? 99991 : 9973;

    for (int i = 0; i < BLOCK; i++)
        dpost[i] = 1.0f;
    for (uint64_t start = 0; start < UINT32_MAX; start += (uint64_t)BLOCK * step) {
        for (uint32_t i = 0; i < BLOCK; i++)
            pre[i] = sondep_bits_float((uint32_t)(start + i * step));
        sondep_activate_backward(dpre, NULL, NULL, dpost, pre, NULL, act, BLOCK);
        for (int i = 0; i < BLOCK; i++) {
            double error = slope_error(dpre[i], sondep_act_slope_ref(act, pre[i]));
            if (!(error <= worst)) {
                worst = error;
                *where = pre[i];
            }
        }
    }
    return worst;
}

static void slopes_are_within_the_bounds(void **unused)
{
    (void)unused;
    for (int set = 0; set < N_ALL_SETS; set++) {
        for (int act = 0; choose_set(set) && act < SONDEP_N_ACTS; act++) {
            float where = 0.0f;
            double worst = worst_slope((sondep_act)act, &where), limit = limit_of("slope", act_names[act]);
            if (getenv("SHOW_ERRORS"))
                print_message("error %s slope %s %.3g at %.9g\n", sondep_kernel_name(), act_names[act], worst, where);
            if (!(worst <= limit))
                fail_msg("slope of %s with %s: %g at %.9g, allowed %g", act_names[act], sondep_kernel_name(), worst, where,
                         limit);
        }
    }
}

/* Corners and ends, where the definition takes a side. */
static void slopes_at_special_values_are_right(void **unused)
{
    static const float values[] = {0.0f,   -0.0f, INFINITY, -INFINITY, 3e38f,   -3e38f,   1e-45f, -1e-45f,   3.0f,
                                   -3.0f,  6.0f,  10.0f,    10.00001f, 88.8f,   -88.8f,   105.0f, -105.0f,   20.0f,
                                   -20.0f, 1e4f,  -1e4f,    NAN,       -200.0f, -1500.0f, 20.5f,  0x1p-126f, -0x1p-126f};
    enum { N = sizeof values / sizeof *values };
    float ones[N], dpre[N];
    (void)unused;

    for (int i = 0; i < N; i++)
        ones[i] = 1.0f;
    for (int set = 0; set < N_ALL_SETS; set++) {
        for (int act = 0; choose_set(set) && act < SONDEP_N_ACTS; act++) {
            sondep_activate_backward(dpre, NULL, NULL, ones, values, NULL, (sondep_act)act, N);
            for (int i = 0; i < N; i++) {
                double want = sondep_act_slope_ref((sondep_act)act, values[i]);
                if (!(slope_error(dpre[i], want) <= limit_of("slope", act_names[act])))
                    fail_msg("slope of %s at %g with %s is %g, not %g", act_names[act], values[i], sondep_kernel_name(),
                             dpre[i], want);
            }
        }
    }
}

/* dpre and dup are right; post has the bits of the forward pass; the same bytes in place and wherever an element stands. */
static void check_activation(sondep_act act, int64_t n, bool is_gated)
{
    float *dpost = numbers(n + 1, 1), *pre = numbers(n + 1, 2), *up = numbers(n + 1, 3), *active = numbers(n + 1, 4);
    float *dpre = numbers(n + 1, 5), *dup = numbers(n + 1, 5), *post = numbers(n + 1, 5), *want_dpre = numbers(n + 1, 5);
    float *want_dup = numbers(n + 1, 5);
    size_t bytes = (size_t)(n + 1) * sizeof(float); /* what is behind the end must stay */

    for (int64_t i = 0; i < n; i++)
        pre[i] *= 4.0f;
    sondep_activate_backward_ref(want_dpre, is_gated ? want_dup : NULL, NULL, dpost, pre, is_gated ? up : NULL, act, n);
    sondep_activate_backward(dpre, is_gated ? dup : NULL, post, dpost, pre, is_gated ? up : NULL, act, n);
    assert_within(dpre, want_dpre, n + 1, "activate_backward", "f32");
    assert_within(dup, want_dup, n + 1, "activate_backward", "f32");
    sondep_activate(active, pre, act, n);
    if (is_gated)
        sondep_multiply(active, active, up, n);
    assert_same_bytes(post, active, (size_t)n * sizeof *post, "post");

    sondep_activate_backward(want_dpre, is_gated ? want_dup : NULL, NULL, dpost, pre, is_gated ? up : NULL, act, n);
    assert_same_bytes(dpre, want_dpre, bytes, "dpre without post");
    assert_same_bytes(dup, want_dup, bytes, "dup without post");
    sondep_activate_backward(dpost, is_gated ? up : NULL, pre, dpost, pre, is_gated ? up : NULL, act, n);
    assert_same_bytes(dpre, dpost, (size_t)n * sizeof *dpre, "dpre in place");
    assert_same_bytes(post, pre, (size_t)n * sizeof *dpre, "post in place");
    if (is_gated)
        assert_same_bytes(dup, up, (size_t)n * sizeof *dpre, "dup in place");
    free(dpost), free(pre), free(up), free(active), free(dpre), free(dup), free(post), free(want_dpre), free(want_dup);
}

static void activations_go_backward(void **unused)
{
    static const int64_t sizes[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 33, 8191, 8193};
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++)
        for (int act = 0; choose_set(set) && act < SONDEP_N_ACTS; act++)
            for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++)
                check_activation((sondep_act)act, sizes[i / 2], i % 2);
}

/* ---- norms and sums over rows ----------------------------------------------------------------------------------------------- */

/* One shape, with a choice of what is wanted: bit 0 RMSNorm, 1 adds, 2 no dw, 3 no db. */
static void check_norm(int64_t N, int64_t D, int how)
{
    int64_t n = N * D;
    bool is_rms = how & 1, adds = how & 2, has_w = !(how & 4), has_b = !(how & 8);
    float *x = numbers(n, 1), *w = numbers(D, 2), *dy = numbers(n, 3), *dx = numbers(n, 4), *want_dx = numbers(n, 4);
    float *dw = numbers(D, 5), *want_dw = numbers(D, 5), *db = numbers(D, 6), *want_db = numbers(D, 6);
    void *scratch = take_scratch(sondep_norm_backward_scratch_bytes(N, D));

    for (int64_t d = 0; d < D && N > 0; d++)
        x[d] += 30.0f; /* a mean that is far from 0 in one row */
    sondep_norm_backward_ref(want_dx, has_w ? want_dw : NULL, has_b ? want_db : NULL, dy, x, w, is_rms, 1e-5, N, D, adds,
                             NULL);
    sondep_norm_backward(dx, has_w ? dw : NULL, has_b ? db : NULL, dy, x, w, is_rms, 1e-5, N, D, adds, scratch);
    assert_within(dx, want_dx, n, "norm_backward", "f32");
    assert_within(dw, want_dw, D, "norm_backward_sums", "f32");
    assert_within(db, want_db, D, "norm_backward_sums", "f32");
    if (!adds) {
        sondep_norm_backward(dy, NULL, NULL, dy, x, w, is_rms, 1e-5, N, D, false, scratch);
        assert_same_bytes(dx, dy, (size_t)n * sizeof *dx, "norm backward in place");
    }
    free(x), free(w), free(dy), free(dx), free(want_dx), free(dw), free(want_dw), free(db), free(want_db), free(scratch);
}

static void norms_go_backward(void **unused)
{
    (void)unused;
    for (int set = 0; set < N_ALL_SETS; set++)
        for (int i = 0; choose_set(set) && i < N_WIDTHS; i++)
            for (int k = 0; k < N_HEIGHTS; k++)
                for (int how = (i + k) % 4; how < 16; how += 4)
                    check_norm(heights[k], widths[i], how ^ k % 4);
}

/* A NaN or an infinity in a row of dy or x spoils that row of dx, and no other. */
static void nonfinite_rows_stay_alone(void **unused)
{
    enum { N = 5, D = 19 };
    float *w = numbers(D, 2);
    void *scratch;
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        for (int how = 0; choose_set(set) && how < 8; how++) {
            float *x = numbers(N * D, 1), *dy = numbers(N * D, 3), *dx = numbers(N * D, 4);
            scratch = take_scratch(sondep_norm_backward_scratch_bytes(N, D));
            (how & 1 ? x : dy)[3 * D + 7] = how & 2 ? NAN : INFINITY;
            sondep_norm_backward(dx, NULL, NULL, dy, x, w, how & 4, 1e-5, N, D, false, scratch);
            for (int i = 0; i < N * D; i++)
                assert_true(i / D == 3 || isfinite(dx[i]));
            assert_true(how == 1 || how == 5 || !isfinite(dx[3 * D + 7])); /* x / infinity is 0 */
            free(x), free(dy), free(dx), free(scratch);
        }
    }
    free(w);
}

static void columns_are_summed(void **unused)
{
    (void)unused;
    for (int set = 0; set < N_ALL_SETS; set++) {
        for (int i = 0; choose_set(set) && i < N_WIDTHS * N_HEIGHTS; i++) {
            int64_t N = heights[i % N_HEIGHTS], D = widths[i / N_HEIGHTS], ld = D + i % 3;
            float *x = numbers(N * ld, 1), *got = numbers(D + 1, 2), *want = numbers(D + 1, 2);
            void *scratch = take_scratch(sondep_norm_backward_scratch_bytes(N, D));
            sondep_add_column_sums_ref(want, x, ld, N, D, NULL);
            sondep_add_column_sums(got, x, ld, N, D, scratch);
            assert_within(got, want, D + 1, "column_sums", "f32");
            free(x), free(got), free(want), free(scratch);
        }
    }
}

/* The same row several times, in the order of n: exact. */
static void rows_are_scattered(void **unused)
{
    enum { V = 11, N = 40 };
    int64_t ids[N];
    (void)unused;

    for (int n = 0; n < N; n++)
        ids[n] = n * n % V;
    for (int set = 0; set < N_ALL_SETS; set++) {
        for (int i = 0; choose_set(set) && i < N_WIDTHS; i++) {
            int64_t D = widths[i];
            float *x = numbers(N * D, 1), *got = numbers(V * D, 2), *want = numbers(V * D, 2);
            sondep_scatter_add_rows_ref(want, x, ids, N, D);
            sondep_scatter_add_rows(got, x, ids, N, D);
            assert_same_bytes(got, want, (size_t)(V * D) * sizeof *got, "scattered rows");
            free(x), free(got), free(want);
        }
    }
}

static void squares_are_summed(void **unused)
{
    static const int64_t sizes[] = {0, 1, 2, 3, 15, 16, 17, 8191, 8192, 8193, 70001, 3000001};
    (void)unused;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int64_t n = sizes[i];
        float *x = numbers(n, 1), got, want = (float)sondep_sum_squares_ref(x, n);
        for (int set = 0; set < N_ALL_SETS; set++) {
            if (!choose_set(set))
                continue;
            got = (float)sondep_sum_squares(x, n);
            assert_within(&got, &want, 1, "sum_squares", "f32");
            if (n > 0) {
                float before = x[n / 2];
                x[n / 2] = NAN;
                assert_true(isnan(sondep_sum_squares(x, n)));
                x[n / 2] = -INFINITY;
                assert_true(sondep_sum_squares(x, n) == INFINITY);
                x[n / 2] = before;
            }
        }
        free(x);
    }
}

/* ---- the loss --------------------------------------------------------------------------------------------------------------- */

/* Rows of logits of different spreads, one with a hidden token (-inf); some targets do not count. */
static float *logits(int64_t *target, int64_t N, int64_t V, int64_t ld)
{
    float *x = numbers(N * ld, 1);
    for (int64_t n = 0; n < N; n++) {
        target[n] = n % 5 == 4 ? -1 : n * 7919 % V;
        for (int64_t v = 0; v < V; v++)
            x[n * ld + v] = x[n * ld + v] * (n % 2 ? 1.0f : 15.0f) + (n % 3 == 1 ? 300.0f : 0.0f);
        if (V > 2)
            x[n * ld + (target[n] + 2) % V] = -INFINITY;
    }
    return x;
}

static void check_cross_entropy(int64_t N, int64_t V, bool is_gradient)
{
    int64_t ld = V + 3, target[100];
    float *got = logits(target, N, V, ld), *want = copy_of(got, N * ld), got_loss[101], want_loss[101];
    double loss[100];

    sondep_cross_entropy_ref(loss, want, ld, target, 0.25f, is_gradient, N, V);
    for (int64_t n = 0; n < N; n++)
        want_loss[n] = (float)loss[n];
    sondep_cross_entropy(loss, got, ld, target, 0.25f, is_gradient, N, V);
    for (int64_t n = 0; n < N; n++)
        got_loss[n] = (float)loss[n];
    got_loss[N] = want_loss[N] = 1.0f; /* a loss near 0 is a difference: what counts is its error beside 1 */
    assert_within(got_loss, want_loss, N + 1, "cross_entropy_loss", "f32");
    if (is_gradient)
        for (int64_t n = 0; n < N; n++)
            assert_within(got + n * ld, want + n * ld, V, "cross_entropy", "f32");
    else
        assert_same_bytes(got, want, (size_t)(N * ld) * sizeof *got, "logits");
    for (int64_t n = 0; n < N; n++)
        assert_same_bytes(got + n * ld + V, want + n * ld + V, 3 * sizeof *got, "columns behind the row");
    free(got), free(want);
}

static void losses_agree(void **unused)
{
    (void)unused;
    for (int set = 0; set < N_ALL_SETS; set++) {
        for (int i = 0; choose_set(set) && i < 2 * N_WIDTHS * N_HEIGHTS; i++)
            check_cross_entropy(heights[i / 2 % N_HEIGHTS], widths[i / 2 / N_HEIGHTS], i % 2);
        for (int i = 0; choose_set(set) && i < 2; i++)
            check_cross_entropy(3, 50257, i);
    }
}

/* NaN and infinity in a row, and nothing but -inf: the row's loss and gradient are NaN, those of others are not. */
static void nonfinite_logits_stay_in_their_row(void **unused)
{
    enum { N = 3, V = 21 };
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        for (int how = 0; choose_set(set) && how < 3; how++) {
            float *x = numbers(N * V, 1);
            int64_t target[N] = {3, 5, 20};
            double loss[N];
            for (int v = how == 2 ? 0 : 9; v < (how == 2 ? V : 10); v++)
                x[V + v] = how == 0 ? NAN : how == 1 ? INFINITY : -INFINITY;
            sondep_cross_entropy(loss, x, V, target, 1.0f, true, N, V);
            for (int n = 0; n < N; n++) {
                assert_true(n == 1 ? isnan(loss[n]) : isfinite(loss[n]));
                for (int v = 0; v < V; v++)
                    assert_true(n == 1 ? isnan(x[n * V + v]) : isfinite(x[n * V + v]));
            }
            free(x);
        }
    }
}

/* ---- the optimizer ------------------------------------------------------------------------------------------------------------ */

/* One step from a state as it is after some steps. */
static void check_adamw(int64_t n, const sondep_adamw *a, float spread)
{
    float *w = numbers(n + 1, 1), *m = numbers(n + 1, 2), *v = numbers(n + 1, 3), *g = numbers(n + 1, 4);
    float *want_w, *want_m, *want_v;

    for (int64_t i = 0; i < n; i++) {
        g[i] *= spread * (i % 7 == 0 ? 0.0f : 1.0f);
        m[i] *= 0.3f * spread;
        v[i] = v[i] * v[i] * spread * spread;
    }
    want_w = copy_of(w, n + 1), want_m = copy_of(m, n + 1), want_v = copy_of(v, n + 1);
    sondep_adamw_step_ref(want_w, want_m, want_v, g, a, n);
    sondep_adamw_step(w, m, v, g, a, n);
    assert_within(w, want_w, n + 1, "adamw", "f32");
    assert_within(m, want_m, n, "adamw_moment", "f32");
    assert_within(v, want_v, n, "adamw_moment", "f32");
    free(w), free(m), free(v), free(g), free(want_w), free(want_m), free(want_v);
}

static void steps_agree(void **unused)
{
    static const int64_t sizes[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 1000, 8191, 8193};
    static const sondep_adamw settings[] = {{1e-3, 0.9, 0.999, 1e-8, 0.1, 1.0, 0.1, 0.001},
                                            {6e-4, 0.9, 0.95, 1e-8, 0.0, 0.37, 0.41, 0.226},
                                            {0.1, 0.0, 0.99, 1e-6, 0.5, 1.0, 1.0, 1.0}};
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++)
        for (size_t i = 0; choose_set(set) && i < 3 * sizeof sizes / sizeof *sizes; i++)
            check_adamw(sizes[i / 3], &settings[i % 3], i % 2 ? 1.0f : 1e-4f);
}

/* A decay smaller than a float's last place below 1 still shrinks the weights: a thousand steps, no gradient. */
static void small_decays_are_not_lost(void **unused)
{
    sondep_adamw a = {1e-6, 0.9, 0.999, 1e-8, 0.01, 1.0, 1.0, 1.0};
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        float w[9], m[9] = {0}, v[9] = {0}, g[9] = {0};
        if (!choose_set(set))
            continue;
        for (int i = 0; i < 9; i++)
            w[i] = 1.0f;
        a.decay = 0.1; /* 1e-7 a step, 1 - 2^-24 is 6e-8 below 1 */
        for (int step = 0; step < 1000; step++)
            sondep_adamw_step(w, m, v, g, &a, 9);
        assert_true(w[0] < 1.0f && w[8] == w[0] && m[8] == 0.0f);
    }
}

/* A NaN in a gradient spoils its own parameter alone. */
static void nonfinite_gradients_stay_alone(void **unused)
{
    static const sondep_adamw a = {1e-3, 0.9, 0.999, 1e-8, 0.1, 1.0, 0.1, 0.001};
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        float w[20], m[20] = {0}, v[20] = {0}, g[20];
        if (!choose_set(set))
            continue;
        for (int i = 0; i < 20; i++)
            w[i] = g[i] = number(1, i);
        g[5] = NAN, g[18] = NAN;
        sondep_adamw_step(w, m, v, g, &a, 20);
        for (int i = 0; i < 20; i++)
            assert_true(i == 5 || i == 18 ? isnan(w[i]) && isnan(m[i]) && isnan(v[i]) : isfinite(w[i]));
    }
}

/* ---- threads ------------------------------------------------------------------------------------------------------------------ */

enum { ROWS = 130, WIDTH = 700, ALL = ROWS * WIDTH };

/* Everything that runs on threads, into one array of results. */
static void run_all(float *out)
{
    float *x = numbers(ALL, 1), *y = numbers(ALL, 2), *w = numbers(WIDTH, 3), *at = out;
    void *scratch = take_scratch(sondep_norm_backward_scratch_bytes(ROWS, WIDTH));
    sondep_adamw a = {1e-3, 0.9, 0.999, 1e-8, 0.1, 1.0, 0.1, 0.001};
    double loss[ROWS], squares = sondep_sum_squares(x, ALL);
    int64_t target[ROWS];

    for (int n = 0; n < ROWS; n++)
        target[n] = n * 31 % 13;
    memset(out, 0, (size_t)(6 * ALL) * sizeof *out);
    sondep_norm_backward(at, out + 5 * ALL, out + 5 * ALL + WIDTH, y, x, w, false, 1e-5, ROWS, WIDTH, false, scratch);
    sondep_add_column_sums(out + 5 * ALL + 2 * WIDTH, y, WIDTH, ROWS, WIDTH, scratch);
    sondep_activate_backward(at += ALL, NULL, NULL, y, x, NULL, SONDEP_ACT_GELU, ALL);
    sondep_scatter_add_rows(at += ALL, x, target, ROWS, WIDTH);
    memcpy(at += ALL, x, (size_t)ALL * sizeof *x);
    sondep_cross_entropy(loss, at, WIDTH, target, 1.0f, true, ROWS, WIDTH);
    for (int i = 0; i < ALL; i++)
        y[i] *= y[i];
    sondep_adamw_step(at += ALL, x, y, x, &a, ALL);
    memcpy(out + 5 * ALL + 3 * WIDTH, loss, sizeof loss);
    memcpy(out + 5 * ALL + 4 * WIDTH, &squares, sizeof squares);
    free(x), free(y), free(w), free(scratch);
}

static void bytes_do_not_depend_on_threads(void **unused)
{
    float *one = take(sizeof(float) * 6 * ALL), *many = take(sizeof(float) * 6 * ALL);
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        for (int threads = 1; choose_set(set) && threads <= 4; threads++) {
            assert_int_equal(sonde_set_threads(threads), SONDE_OK);
            run_all(threads == 1 ? one : many);
            if (threads > 1)
                assert_same_bytes(one, many, sizeof(float) * 6 * ALL, "gradients on more threads");
        }
    }
    assert_int_equal(sonde_set_threads(0), SONDE_OK);
    free(one), free(many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slopes_are_within_the_bounds),
        cmocka_unit_test(slopes_at_special_values_are_right),
        cmocka_unit_test(activations_go_backward),
        cmocka_unit_test(norms_go_backward),
        cmocka_unit_test(nonfinite_rows_stay_alone),
        cmocka_unit_test(columns_are_summed),
        cmocka_unit_test(rows_are_scattered),
        cmocka_unit_test(squares_are_summed),
        cmocka_unit_test(losses_agree),
        cmocka_unit_test(nonfinite_logits_stay_in_their_row),
        cmocka_unit_test(steps_agree),
        cmocka_unit_test(small_decays_are_not_lost),
        cmocka_unit_test(nonfinite_gradients_stay_alone),
        cmocka_unit_test(bytes_do_not_depend_on_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
