/* Codes of an encoder against their definition: sizes around tiles and chunks, k, ties, thresholds, NaN and infinity, threads. */
#include "kernel/codes_support.h"

/* One encoder with its input; what of the selection is NULL is chosen by the bits of `how`. */
typedef struct problem {
    int64_t N, S, D, ld;
    float *x, *w, *b, *scale, *threshold;
    sondep_selection selection;
    sondep_precision precision;
    int64_t capacity;
} problem;

enum { HAS_BIAS = 1, HAS_SCALE = 2, HAS_THRESHOLD = 4, IS_ABSOLUTE = 8, ALL_WAYS = 16 };

/* Whole numbers, of which a sum is exact: many ties. Scales are 1 and 2 then. */
static void make_whole(float *x, int64_t n, float most)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = roundf(most * x[i]);
}

static problem take_problem(int64_t N, int64_t S, int64_t D, int64_t k, int how, bool is_whole)
{
    problem p = {.N = N, .S = S, .D = D, .ld = D + how % 3, .capacity = k + how % 2};

    p.x = numbers(N * p.ld + 1, 1), p.w = numbers(S * D + 1, 2), p.b = numbers(S, 3);
    p.scale = numbers(S, 4), p.threshold = numbers(S, 5);
    for (int64_t s = 0; s < S; s++)
        p.scale[s] = is_whole ? 1.0f + (float)(s % 2) : 1.5f + p.scale[s];
    if (is_whole) {
        make_whole(p.x, N * p.ld, 2.0f), make_whole(p.w, S * D, 2.0f), make_whole(p.b, S, 3.0f);
        make_whole(p.threshold, S, 2.0f);
    }
    p.selection = (sondep_selection){k, how & HAS_SCALE ? p.scale : NULL, how & HAS_THRESHOLD ? p.threshold : NULL,
                                     (how & IS_ABSOLUTE) != 0};
    if (!(how & HAS_BIAS)) {
        free(p.b);
        p.b = NULL;
    }
    return p;
}

static void free_problem(problem *p)
{
    free(p->x), free(p->w), free(p->b), free(p->scale), free(p->threshold);
}

static void encode(const sondep_codes *out, int64_t *found, const problem *p)
{
    void *scratch = take_scratch(sondep_encode_scratch_bytes(p->N, p->S, p->D, p->selection.k));
    sondep_encode(out, found, p->x, p->ld, p->w, p->b, &p->selection, p->N, p->S, p->D, p->precision, scratch);
    free(scratch);
}

/* On one thread: rows are short, and others would only be waited for. */
static void encode_ref(const sondep_codes *out, int64_t *found, const problem *p)
{
    void *scratch = take_scratch(sondep_encode_scratch_bytes_ref(p->N, p->S, p->D, p->selection.k));
    assert_int_equal(sonde_set_threads(1), SONDE_OK);
    sondep_encode_ref(out, found, p->x, p->ld, p->w, p->b, &p->selection, p->N, p->S, p->D, SONDEP_F32, scratch);
    assert_int_equal(sonde_set_threads(0), SONDE_OK);
    free(scratch);
}

/* Nothing is rounded: the same bytes as the definition. */
static void check_exactly(const problem *p)
{
    sondep_codes want = take_codes(p->N, p->capacity);
    int64_t *found = take((size_t)p->N * sizeof *found), *want_found = take((size_t)p->N * sizeof *found);

    encode_ref(&want, want_found, p);
    for (int set = 0; set < N_ALL_SETS; set++) {
        sondep_codes got = take_codes(p->N, p->capacity);
        if (choose_set(set)) {
            encode(&got, found, p);
            assert_same_codes(&got, &want, p->N, "codes of whole numbers");
            assert_same_bytes(found, want_found, (size_t)p->N * sizeof *found, "found");
        }
        free_codes(&got);
    }
    free_codes(&want), free(found), free(want_found);
}

static void ties_go_to_lower_indices(void **unused)
{
    static const int64_t heights[] = {0, 1, 2, 3, 5, 6, 7, 13, 14, 15, 29}, depths[] = {0, 1, 2, 7, 16, 33};
    static const int64_t widths[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 97, 200};
    (void)unused;

    for (size_t s = 0; s < sizeof widths / sizeof *widths; s++)
        for (size_t n = 0; n < sizeof heights / sizeof *heights; n++) {
            int64_t S = widths[s], ks[] = {1, 2, (S + 1) / 2, S};
            for (int i = 0; i < 4; i++) {
                int how = (int)(5 * n + 7 * s + (size_t)i) % ALL_WAYS;
                problem p = take_problem(heights[n], S, depths[(s + n + (size_t)i) % 6], ks[i] < S ? ks[i] : S, how, true);
                p.precision = (n + s) % 3 == 0 ? SONDEP_BF16 : SONDEP_F32; /* which holds small whole numbers */
                check_exactly(&p);
                free_problem(&p);
            }
        }
}

/* Lists fill many times, and features come in several chunks. */
static void long_rows_agree_exactly(void **unused)
{
    static const int64_t ks[] = {1, 3, 32, 100, 1500, 5000};
    (void)unused;

    for (int i = 0; i < 2 * 6; i++) {
        problem p = take_problem(9, 5000, 11, ks[i / 2], 5 * i % ALL_WAYS, true);
        check_exactly(&p);
        free_problem(&p);
    }
}

/* ---- numbers that are rounded ---------------------------------------------------------------------------------------------- */

/* All keys of a row as the definition has them, by an encoder that keeps everything. */
static void keys_of_row(float *values, float *keys, const problem *p, int64_t n)
{
    problem all = *p;
    sondep_codes codes = {take((size_t)p->S * sizeof(int32_t)), values, take(sizeof(int64_t)), p->S};
    float *low = take((size_t)p->S * sizeof *low);

    for (int64_t s = 0; s < p->S; s++)
        low[s] = -INFINITY;
    all.N = 1, all.x += n * p->ld, all.selection.k = p->S, all.selection.threshold = low;
    encode_ref(&codes, NULL, &all);
    assert_int_equal(*codes.count, p->S);
    for (int64_t s = 0; s < p->S; s++)
        keys[s] = sondep_key_ref(&p->selection, values[s], s);
    free(codes.index), free(codes.count), free(low);
}

/* The row's pairs are right within `margin`: values, order, what was kept, what was not. */
static void check_row(const sondep_codes *got, int64_t found, const problem *p, int64_t n, const float *values,
                      const float *keys, float margin)
{
    const int32_t *index = got->index + n * got->capacity;
    const float *value = got->value + n * got->capacity;
    int64_t count = got->count[n], i = 0, least_found = 0, most_found = 0;
    float least = INFINITY;

    assert_int_equal(count, found < p->selection.k ? found : p->selection.k);
    for (int64_t j = 0; j < count; j++) {
        assert_true(index[j] >= 0 && index[j] < p->S && (j == 0 || index[j] > index[j - 1]));
        assert_true(fabsf(value[j] - values[index[j]]) <= margin);
        least = fminf(least, keys[index[j]]);
    }
    for (int64_t s = 0; s < p->S; s++) {
        float above = keys[s] - (p->selection.threshold ? p->selection.threshold[s] : 0.0f);
        bool is_kept = i < count && index[i] == s;
        i += is_kept;
        least_found += above > 2.0f * margin;
        most_found += above > -2.0f * margin;
        assert_true(!is_kept || above > -2.0f * margin);
        assert_true(is_kept || above <= 2.0f * margin || (count == p->selection.k && keys[s] <= least + 4.0f * margin));
    }
    assert_true(least_found <= found && found <= most_found);
}

static float greatest_of(const float *x, int64_t n)
{
    float greatest = 0.0f;
    for (int64_t i = 0; i < n; i++)
        greatest = fmaxf(greatest, fabsf(x[i]));
    return greatest;
}

static void check_nearly(const problem *p)
{
    float *values = take((size_t)(p->N * p->S) * sizeof *values), *keys = take((size_t)(p->N * p->S) * sizeof *keys);
    int64_t *found = take((size_t)p->N * sizeof *found);

    for (int64_t n = 0; n < p->N; n++)
        keys_of_row(values + n * p->S, keys + n * p->S, p, n);
    for (int set = 0; set < N_ALL_SETS; set++) {
        sondep_codes got = take_codes(p->N, p->capacity);
        if (choose_set(set)) {
            encode(&got, found, p);
            for (int64_t n = 0; n < p->N; n++) {
                const float *row = values + n * p->S;
                float margin = (float)limit_of("product", "f32") * greatest_of(row, p->S);
                check_row(&got, found[n], p, n, row, keys + n * p->S, margin);
            }
        }
        free_codes(&got);
    }
    free(values), free(keys), free(found);
}

static void codes_agree(void **unused)
{
    static const struct {
        int64_t N, S, D, k;
    } shapes[] = {{1, 1, 1, 1},     {2, 33, 255, 4},  {3, 64, 256, 9},    {15, 97, 257, 5}, {7, 32, 513, 32},
                  {29, 100, 64, 7}, {8, 500, 768, 8}, {9, 700, 1025, 16}, {5, 40, 2300, 3}, {40, 1200, 48, 30}};
    (void)unused;

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int how = (int)i % 4; how < ALL_WAYS; how += SANITIZED ? 12 : 4) {
            problem p = take_problem(shapes[i].N, shapes[i].S, shapes[i].D, shapes[i].k, how, false);
            check_nearly(&p);
            free_problem(&p);
        }
}

/* ---- what is not finite ------------------------------------------------------------------------------------------------------ */

enum { ROWS = 17, BAD_ROW = 14, FEATURES = 70, BAD_FEATURE = 33, DEPTH = 20 };

/* Encodes with the definition's outcome in mind: everything is compared, exactly. */
static void check_with(problem *p, float *place, float bad)
{
    float before = *place;

    *place = bad;
    check_exactly(p);
    *place = before;
}

static void nan_is_never_lost(void **unused)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    (void)unused;

    for (int how = 0; how < 3 * ALL_WAYS; how++) {
        problem p = take_problem(ROWS, FEATURES, DEPTH, 5, how % ALL_WAYS, true);
        check_with(&p, p.x + BAD_ROW * p.ld + 3, bad[how / ALL_WAYS]);
        check_with(&p, p.w + BAD_FEATURE * DEPTH + DEPTH - 1, bad[how / ALL_WAYS]);
        check_with(&p, p.scale + BAD_FEATURE, bad[how / ALL_WAYS]);
        check_with(&p, p.threshold + BAD_FEATURE, bad[how / ALL_WAYS]);
        check_with(&p, p.threshold + FEATURES - 1, bad[how / ALL_WAYS]);
        if (p.b)
            check_with(&p, p.b, bad[how / ALL_WAYS]);
        free_problem(&p);
    }
}

/* A row that has a NaN says so and has no pairs; the others are as without it. */
static void nan_stays_in_its_row(void **unused)
{
    (void)unused;
    for (int set = 0; set < N_ALL_SETS; set++) {
        problem p = take_problem(ROWS, FEATURES, DEPTH, 5, HAS_BIAS, false);
        sondep_codes clean = take_codes(ROWS, p.capacity), got = take_codes(ROWS, p.capacity);
        int64_t found[ROWS];
        if (choose_set(set)) {
            encode(&clean, NULL, &p);
            p.x[BAD_ROW * p.ld + 3] = NAN;
            encode(&got, found, &p);
            for (int n = 0; n < ROWS; n++) {
                assert_true((found[n] == -1) == (n == BAD_ROW));
                assert_true(n != BAD_ROW || got.count[n] == 0);
                assert_true(n == BAD_ROW || got.count[n] == clean.count[n]);
                assert_true(n == BAD_ROW || memcmp(got.value + n * p.capacity, clean.value + n * p.capacity,
                                                   (size_t)p.capacity * sizeof(float)) == 0);
            }
        }
        free_problem(&p), free_codes(&clean), free_codes(&got);
    }
}

/* ---- the same bits ------------------------------------------------------------------------------------------------------------- */

static void codes_do_not_depend_on_threads(void **unused)
{
    (void)unused;
    for (int set = 0; set < N_ALL_SETS; set++) {
        problem p = take_problem(50, 3300, 24, 20, HAS_BIAS | HAS_SCALE, false);
        sondep_codes one = take_codes(p.N, p.capacity);
        for (int threads = 1; choose_set(set) && threads <= 4; threads++) {
            sondep_codes many = take_codes(p.N, p.capacity);
            assert_int_equal(sonde_set_threads(threads), SONDE_OK);
            encode(threads == 1 ? &one : &many, NULL, &p);
            assert_int_equal(sonde_set_threads(0), SONDE_OK);
            if (threads > 1)
                assert_same_codes(&one, &many, p.N, "codes on several threads");
            free_codes(&many);
        }
        free_problem(&p), free_codes(&one);
    }
}

/* A row alone has the bits that it has among others, and its values are those of the dense product (of our own tiles). */
static void rows_stand_alone(void **unused)
{
    (void)unused;
    for (int set = 0; set < N_ALL_SETS; set++) {
        problem p = take_problem(31, 300, 600, 300, HAS_BIAS | HAS_THRESHOLD, false), alone = p;
        sondep_codes all = take_codes(p.N, p.capacity), row = take_codes(1, p.capacity);
        sondep_epilogue epilogue = {.bias = p.b};
        sondep_matrix x = {p.x, SONDE_F32, p.ld, 1}, w = {p.w, SONDE_F32, 1, p.D};
        float *dense = take((size_t)(p.N * p.S) * sizeof *dense);
        if (choose_set(set)) {
            void *scratch = take_scratch(sondep_product_scratch_bytes(p.N, p.S, p.D));
            sondep_product(dense, p.S, &x, &w, p.N, p.S, p.D, &epilogue, SONDEP_F32, scratch);
            free(scratch);
            encode(&all, NULL, &p);
            alone.N = 1;
            for (int64_t n = 0; n < p.N; n++, alone.x += p.ld) {
                encode(&row, NULL, &alone);
                assert_int_equal(row.count[0], all.count[n]);
                for (int64_t i = 0; i < row.count[0]; i++) {
                    int64_t at = n * p.capacity + i;
                    assert_true(row.index[i] == all.index[at] && row.value[i] == all.value[at]);
                    assert_true(strcmp(all_sets[set], "blas") == 0 || all.value[at] == dense[n * p.S + all.index[at]]);
                }
            }
        }
        free_problem(&p), free_codes(&all), free_codes(&row), free(dense);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ties_go_to_lower_indices),
        cmocka_unit_test(long_rows_agree_exactly),
        cmocka_unit_test(codes_agree),
        cmocka_unit_test(nan_is_never_lost),
        cmocka_unit_test(nan_stays_in_its_row),
        cmocka_unit_test(codes_do_not_depend_on_threads),
        cmocka_unit_test(rows_stand_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
