/* Decoding, codes by features, and steps of features against their definitions; whole steps against dense doubles. */
#include "kernel/codes_support.h"

static const int64_t widths[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 257, 768};
enum { N_WIDTHS = sizeof widths / sizeof *widths };

/* Row n has n % (capacity + 1) pairs; feature 0 is in all rows that have any, the last one in none if there are several. */
static sondep_codes some_codes(int64_t N, int64_t S, int64_t capacity, uint64_t seed)
{
    sondep_codes c = take_codes(N, capacity);

    for (int64_t n = 0; n < N; n++) {
        int64_t want = n % (capacity + 1), i = 0;
        for (int64_t s = 0; s < S - (S > 1) && i < want; s++)
            if (s == 0 || sonde_random_uniform(seed, (uint64_t)n, (uint64_t)s) < 0.5) {
                c.index[n * capacity + i] = (int32_t)s;
                c.value[n * capacity + i++] = number(seed, n * S + s);
            }
        c.count[n] = i;
    }
    return c;
}

/* ---- decoding ------------------------------------------------------------------------------------------------------------------ */

/* What one decoding gives. */
typedef struct decoded {
    float *y, *residual, *dvalue;
    double *error;
} decoded;

static decoded take_decoded(int64_t N, int64_t D, int64_t capacity)
{
    return (decoded){numbers(N * D, 7), numbers(N * D, 8), numbers(N * capacity, 9), take((size_t)N * sizeof(double))};
}

static void free_decoded(decoded *d)
{
    free(d->y), free(d->residual), free(d->dvalue), free(d->error);
}

/* Bits of `how`: no bias, no y, no dvalue, no error. */
static sondep_decode_backward backward_of(const decoded *d, const float *target, int64_t ld, int how)
{
    return (sondep_decode_backward){target, ld, 0.25f, d->residual, how & 4 ? NULL : d->dvalue, how & 8 ? NULL : d->error};
}

static void check_errors(const double *got, const double *want, int64_t N)
{
    float *a = take((size_t)N * sizeof *a), *b = take((size_t)N * sizeof *b);

    for (int64_t n = 0; n < N; n++)
        a[n] = (float)got[n], b[n] = (float)want[n];
    assert_within(a, b, N, "decode_error", "f32");
    free(a), free(b);
}

static void check_decode(int64_t N, int64_t D, int64_t capacity, int how)
{
    int64_t S = 2 * capacity + 1, ld = D + how % 3;
    sondep_codes codes = some_codes(N, S, capacity, 1);
    float *w = numbers(S * D, 2), *b = numbers(D, 3), *target = numbers(N * ld, 4);
    decoded got = take_decoded(N, D, capacity), want = take_decoded(N, D, capacity);
    sondep_decode_backward to = backward_of(&got, target, ld, how), reference = backward_of(&want, target, ld, how);

    sondep_decode_ref(how & 2 ? NULL : want.y, &codes, w, how & 1 ? NULL : b, &reference, N, D);
    sondep_decode(how & 2 ? NULL : got.y, &codes, w, how & 1 ? NULL : b, &to, N, D);
    assert_within(got.y, want.y, N * D, "decode", "f32");
    assert_within(got.residual, want.residual, N * D, "decode", "f32");
    assert_within(got.dvalue, want.dvalue, N * capacity, "decode_dvalue", "f32");
    if (!(how & 8))
        check_errors(got.error, want.error, N);
    /* the same y without the way back */
    sondep_decode(want.y, &codes, w, how & 1 ? NULL : b, NULL, N, D);
    if (!(how & 2))
        assert_same_bytes(got.y, want.y, (size_t)(N * D) * sizeof(float), "decoding alone");
    free_codes(&codes), free(w), free(b), free(target), free_decoded(&got), free_decoded(&want);
}

static void rows_are_decoded(void **unused)
{
    static const int64_t heights[] = {0, 1, 2, 3, 33}, capacities[] = {1, 2, 3, 8, 33};
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++)
        for (int i = 0; choose_set(set) && i < N_WIDTHS * 5; i++)
            check_decode(heights[i % 5], widths[i / 5], capacities[(i + i / 5) % 5], i % 16);
}

/* A NaN or an infinity in a value, or in the target, spoils its row alone, and is seen in the row's error. */
static void nonfinite_values_stay_in_their_row(void **unused)
{
    enum { N = 5, D = 19, CAPACITY = 4, S = 9 };
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        for (int how = 0; choose_set(set) && how < 4; how++) {
            sondep_codes codes = some_codes(N, S, CAPACITY, 1);
            float *w = numbers(S * D, 2), *target = numbers(N * D, 4), bad = how & 1 ? NAN : INFINITY;
            decoded got = take_decoded(N, D, CAPACITY);
            sondep_decode_backward back = backward_of(&got, target, D, 0);
            (how & 2 ? target + 3 * D : codes.value + 3 * CAPACITY)[2] = bad;
            sondep_decode(got.y, &codes, w, NULL, &back, N, D);
            for (int n = 0; n < N; n++)
                assert_true((n == 3) == !isfinite(got.error[n]));
            for (int i = 0; i < N * D; i++)
                assert_true(i / D == 3 || isfinite(got.residual[i]));
            free_codes(&codes), free(w), free(target), free_decoded(&got);
        }
    }
}

/* ---- by features ----------------------------------------------------------------------------------------------------------------- */

static sondep_columns take_columns(int64_t S, int64_t n_pairs)
{
    return (sondep_columns){take((size_t)(S + 1) * sizeof(int64_t)), take((size_t)n_pairs * sizeof(int32_t)),
                            take((size_t)n_pairs * sizeof(int64_t))};
}

static void free_columns(sondep_columns *c)
{
    free(c->first), free(c->row), free(c->at);
}

static sondep_columns columns_of(const sondep_codes *codes, int64_t N, int64_t S)
{
    sondep_columns c = take_columns(S, N * codes->capacity);
    void *scratch = take_scratch(sondep_list_columns_scratch_bytes(S));
    sondep_list_columns(&c, codes, N, S, scratch);
    free(scratch);
    return c;
}

/* There is one right order: the same bytes, on any number of threads. */
static void pairs_are_sorted(void **unused)
{
    static const int64_t heights[] = {0, 1, 2, 3, 63, 64, 65, 500}, features[] = {1, 2, 3, 40, 1000},
                         capacities[] = {1, 2, 9};
    (void)unused;

    for (int i = 0; i < 8 * 5 * 3; i++) {
        int64_t N = heights[i % 8], S = features[i / 8 % 5], capacity = capacities[i / 40];
        sondep_codes codes = some_codes(N, S, capacity, (uint64_t)i);
        sondep_columns want = take_columns(S, N * capacity);
        void *scratch = take_scratch(sondep_list_columns_scratch_bytes_ref(S));
        sondep_list_columns_ref(&want, &codes, N, S, scratch);
        for (int set = 0; set < N_ALL_SETS; set++) {
            for (int threads = 1; choose_set(set) && threads < 5; threads += 2) {
                sondep_columns got;
                assert_int_equal(sonde_set_threads(threads), SONDE_OK);
                got = columns_of(&codes, N, S);
                assert_int_equal(sonde_set_threads(0), SONDE_OK);
                assert_same_bytes(got.first, want.first, (size_t)(S + 1) * sizeof *got.first, "first pairs");
                assert_same_bytes(got.row, want.row, (size_t)want.first[S] * sizeof *got.row, "rows of pairs");
                assert_same_bytes(got.at, want.at, (size_t)want.first[S] * sizeof *got.at, "places of pairs");
                free_columns(&got);
            }
        }
        free(scratch), free_codes(&codes), free_columns(&want);
    }
}

/* ---- steps of features ------------------------------------------------------------------------------------------------------------- */

enum { N_PARTS = 9 };

/* Weights and moments of features, in one block for comparisons: w, m, v of the encoder, of the decoder and of the bias. */
typedef struct weights {
    float *all, *part[N_PARTS];
    int64_t n[N_PARTS];
} weights;

static weights take_weights(int64_t S, int64_t D, int64_t D_out)
{
    weights w;
    int64_t total = 0;

    for (int i = 0; i < N_PARTS; i++)
        total += w.n[i] = i < 3 ? S * D : i < 6 ? S * D_out : S;
    w.all = numbers(total, 11);
    total = 0;
    for (int i = 0; i < N_PARTS; i++) {
        w.part[i] = w.all + total;
        total += w.n[i];
        for (int64_t j = 0; j < w.n[i]; j++) /* gradients are small beside the moments of squares, which are none below 0 */
            w.part[i][j] = i % 3 == 2 ? fabsf(w.part[i][j]) + 0.1f : w.part[i][j];
    }
    return w;
}

/* Bits of `how`: no bias, pull, is_tangent, norm, shrink. */
static sondep_features features_of(weights *w, int how, const float *pull, const float *norm)
{
    float **p = w->part;
    sondep_features f = {p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], NULL, 0.0f, (how & 4) != 0, NULL};

    if (how & 1)
        f.b = f.m_b = f.v_b = NULL;
    f.pull = how & 2 ? pull : NULL;
    f.norm = how & 8 ? norm : NULL;
    f.shrink = how & 16 ? 0.03f : 0.0f;
    return f;
}

static const sondep_adamw recipe = {3e-2, 0.9, 0.99, 1e-6, 0.1, 0.7, 0.19, 0.0199};

/* Two terms over the same rows, the second with codes of its own. */
typedef struct batch {
    sondep_codes codes[2];
    sondep_columns columns[2];
    float *dpre[2], *x, *residual[2];
    sondep_feature_term terms[2];
} batch;

static void make_batch(batch *b, int64_t N, int64_t S, int64_t D_out, int64_t ld)
{
    b->x = numbers(N * ld, 20);
    for (int i = 0; i < 2; i++) {
        b->codes[i] = some_codes(N, S, 5 + 2 * i, 21 + (uint64_t)i);
        b->columns[i] = columns_of(&b->codes[i], N, S);
        b->dpre[i] = numbers(N * b->codes[i].capacity, 23 + (uint64_t)i);
        b->residual[i] = numbers(N * D_out, 25 + (uint64_t)i);
        b->terms[i] = (sondep_feature_term){&b->codes[i], &b->columns[i], b->dpre[i], b->x, ld, b->residual[i]};
    }
}

static void free_batch(batch *b)
{
    for (int i = 0; i < 2; i++)
        free_codes(&b->codes[i]), free_columns(&b->columns[i]), free(b->dpre[i]), free(b->residual[i]);
    free(b->x);
}

static void step(const sondep_features *f, const batch *b, int64_t n_terms, int64_t S, int64_t D, int64_t D_out)
{
    void *scratch = take_scratch(sondep_feature_scratch_bytes(D, D_out));
    sondep_feature_step(f, b->terms, n_terms, &recipe, S, D, D_out, scratch);
    free(scratch);
}

static float squares(const sondep_features *f, const batch *b, int64_t n_terms, int64_t S, int64_t D, int64_t D_out)
{
    void *scratch = take_scratch(sondep_feature_scratch_bytes(D, D_out));
    double sum = sondep_feature_squares(f, b->terms, n_terms, S, D, D_out, scratch);
    free(scratch);
    return (float)sum;
}

static void check_step(int64_t N, int64_t S, int64_t D, int64_t D_out, int64_t n_terms, int how)
{
    float *pull = numbers(S, 30), *norm = numbers(S, 31), sum[2], want_sum[2];
    weights got = take_weights(S, D, D_out), want = take_weights(S, D, D_out);
    sondep_features f, reference;
    void *scratch = take_scratch(sondep_feature_scratch_bytes_ref(D, D_out));
    batch b;

    make_batch(&b, N, S, D_out, D + how % 3);
    b.terms[1].residual = how & 32 ? NULL : b.terms[1].residual;
    for (int64_t s = 0; s < S; s++)
        norm[s] = 1.5f + norm[s];
    memset(got.part[3] + S / 2 * D_out, 0, (size_t)D_out * sizeof(float)); /* a row of norm 0 */
    memset(want.part[3] + S / 2 * D_out, 0, (size_t)D_out * sizeof(float));
    f = features_of(&got, how, pull, norm), reference = features_of(&want, how, pull, norm);
    sum[1] = want_sum[1] = 1.0f; /* what is all along the row leaves rounding: what counts is its error beside 1 */
    want_sum[0] = (float)sondep_feature_squares_ref(&reference, b.terms, n_terms, S, D, D_out, scratch);
    sum[0] = squares(&f, &b, n_terms, S, D, D_out);
    assert_within(sum, want_sum, 2, "feature_squares", "f32");
    sondep_feature_step_ref(&reference, b.terms, n_terms, &recipe, S, D, D_out, scratch);
    step(&f, &b, n_terms, S, D, D_out);
    for (int i = 0; i < N_PARTS; i++)
        assert_within(got.part[i], want.part[i], got.n[i], i % 3 == 0 ? "feature_weights" : "feature_moments", "f32");
    free_batch(&b), free(pull), free(norm), free(got.all), free(want.all), free(scratch);
}

static void features_step(void **unused)
{
    static const int64_t heights[] = {0, 1, 2, 150}, features[] = {1, 2, 3, 17, 60};
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++)
        for (int i = 0; choose_set(set) && i < 4 * 5 * N_WIDTHS; i += SANITIZED ? 3 : 1)
            check_step(heights[i % 4], features[i / 4 % 5], widths[i / 20], widths[(i + i / 20) % N_WIDTHS], i % 3, i % 64);
}

static void steps_do_not_depend_on_threads(void **unused)
{
    enum { N = 300, S = 900, D = 40, D_OUT = 33 };
    float *pull = numbers(S, 30), *norm = numbers(S, 31);
    batch b;
    (void)unused;

    make_batch(&b, N, S, D_OUT, D);
    for (int set = 0; set < N_ALL_SETS; set++) {
        weights one = take_weights(S, D, D_OUT);
        float sum = 0.0f;
        for (int threads = 1; choose_set(set) && threads <= 4; threads++) {
            weights many = take_weights(S, D, D_OUT);
            sondep_features f = features_of(threads == 1 ? &one : &many, 14, pull, norm);
            float sum_now;
            assert_int_equal(sonde_set_threads(threads), SONDE_OK);
            sum_now = squares(&f, &b, 2, S, D, D_OUT);
            step(&f, &b, 2, S, D, D_OUT);
            assert_int_equal(sonde_set_threads(0), SONDE_OK);
            sum = threads == 1 ? sum_now : sum;
            assert_true(sum == sum_now);
            for (int i = 0; i < N_PARTS && threads > 1; i++)
                assert_same_bytes(one.part[i], many.part[i], (size_t)one.n[i] * sizeof(float), "features on threads");
            free(many.all);
        }
        free(one.all);
    }
    free_batch(&b), free(pull), free(norm);
}

/* ---- matching pursuit -------------------------------------------------------------------------------------------------------------- */

/* Rows, unit features, and what a pursuit needs of them. */
typedef struct chase {
    float *x, *w, *gram, *v, *rest;
    sondep_codes codes;
} chase;

static void make_chase(chase *c, int64_t N, int64_t S, int64_t D, int64_t k)
{
    *c = (chase){numbers(N * D, 40),
                 numbers(S * D, 41),
                 take((size_t)(S * S) * sizeof(float)),
                 take((size_t)(N * S) * sizeof(float)),
                 take((size_t)(N * D) * sizeof(float)),
                 take_codes(N, k)};
    for (int64_t s = 0; s < S; s++) {
        double squares = 1e-30;
        for (int64_t d = 0; d < D; d++)
            squares += (double)c->w[s * D + d] * c->w[s * D + d];
        for (int64_t d = 0; d < D; d++)
            c->w[s * D + d] /= (float)sqrt(squares);
    }
}

/* Sums in doubles. */
static void products(float *out, const float *a, int64_t n, const float *b, int64_t m, int64_t D)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++) {
            double sum = 0.0;
            for (int64_t d = 0; d < D; d++)
                sum += (double)a[i * D + d] * b[j * D + d];
            out[i * m + j] = (float)sum;
        }
}

static void free_chase(chase *c)
{
    free(c->x), free(c->w), free(c->gram), free(c->v), free(c->rest);
    free_codes(&c->codes);
}

/* From the beginning; pursue is the kernel or its definition. */
static void run_chase(chase *c, int64_t N, int64_t S, int64_t D, double least, bool repeats, bool is_ref)
{
    sondep_pursuit p = {c->w, c->gram, c->rest, c->v, least, repeats};

    memcpy(c->rest, c->x, (size_t)(N * D) * sizeof(float));
    products(c->gram, c->w, S, c->w, S, D);
    products(c->v, c->x, N, c->w, S, D);
    (is_ref ? sondep_pursue_ref : sondep_pursue)(&c->codes, &p, N, S, D);
}

/* A pair is the one that the definition has, or both features are as good to the last bits; then the rest of the row may differ. What
 * always holds: pairs and rest give the row. */
static void check_chase(int64_t N, int64_t S, int64_t D, int64_t k, double least, bool repeats)
{
    int64_t same = 0;
    chase got, want;

    make_chase(&got, N, S, D, k), make_chase(&want, N, S, D, k);
    run_chase(&got, N, S, D, least, repeats, false), run_chase(&want, N, S, D, least, repeats, true);
    for (int64_t n = 0; n < N; n++) {
        int64_t count = got.codes.count[n];
        assert_in_range(count, 0, k);
        for (int64_t i = 0; i < count; i++)
            for (int64_t d = 0; d < D; d++)
                got.rest[n * D + d] += got.codes.value[n * k + i] * got.w[got.codes.index[n * k + i] * D + d];
        /* of the first pairs, which no rounding has moved yet, all are the same */
        for (int64_t i = 0; i < count && i < 3; i++)
            same += i < want.codes.count[n] && got.codes.index[n * k + i] == want.codes.index[n * k + i] &&
                    fabsf(got.codes.value[n * k + i] - want.codes.value[n * k + i]) < 1e-5f;
        same -= count < 3 ? count : 3;
    }
    assert_int_equal(same, 0);
    assert_within(got.rest, want.x, N * D, "pursue", "f32");
    free_chase(&got), free_chase(&want);
}

static void rows_are_pursued(void **unused)
{
    (void)unused;
    for (int set = 0; set < N_ALL_SETS; set++)
        for (int i = 0; choose_set(set) && i < N_WIDTHS; i += SANITIZED ? 3 : 1) {
            check_chase(5, widths[i] + 1, 24, 7, 0.0, false);
            check_chase(3, widths[N_WIDTHS - 1 - i], widths[i] < 100 ? widths[i] : 100, 4, 0.5, false);
            check_chase(40, 33, 17, 60, 0.01, true);
        }
}

/* A feature that comes again ends its row: features in the plane, most of which share a direction. */
static void a_feature_that_comes_again_is_the_last(void **unused)
{
    static const float w[] = {1, 0, 0.6f, 0.8f}, x[] = {1, 1};
    float gram[4], v[2], rest[2];
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++)
        for (int repeats = 0; choose_set(set) && repeats < 2; repeats++) {
            sondep_codes c = take_codes(1, 8);
            sondep_pursuit p = {w, gram, rest, v, 0.0, repeats};
            memcpy(rest, x, sizeof x);
            products(gram, w, 2, w, 2, 2), products(v, x, 1, w, 2, 2);
            sondep_pursue(&c, &p, 1, 2, 2);
            /* 1.4 of the second leaves (0.16, -0.12); 0.16 of the first (0, -0.12), of which neither has any */
            assert_int_equal(c.count[0], 2);
            assert_int_equal(c.index[0], 1), assert_int_equal(c.index[1], 0);
            assert_true(fabsf(c.value[0] - 1.4f) < 1e-6f && fabsf(c.value[1] - 0.16f) < 1e-6f);
            assert_true(fabsf(rest[0]) < 1e-6f && fabsf(rest[1] + 0.12f) < 1e-6f);
            free_codes(&c);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_decoded),
        cmocka_unit_test(nonfinite_values_stay_in_their_row),
        cmocka_unit_test(pairs_are_sorted),
        cmocka_unit_test(features_step),
        cmocka_unit_test(steps_do_not_depend_on_threads),
        cmocka_unit_test(rows_are_pursued),
        cmocka_unit_test(a_feature_that_comes_again_is_the_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
