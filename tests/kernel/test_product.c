/* The product against its definition: shapes around every block size, layouts, types, epilogues, bytes and threads. */
#include "kernel/kernel_support.h"

static const char *const type_names[] = {"f32", "bf16", "f16"};
static const sonde_dtype types[] = {SONDE_F32, SONDE_BF16, SONDE_F16};

/* A matrix (rows, columns) of a type at an odd address, laid along its rows or its columns, or with gaps both ways. */
typedef enum layout { ROWS, COLUMNS, GAPS } layout;

static sondep_matrix make_matrix(char **block, sonde_dtype dtype, layout how, int64_t rows, int64_t columns, uint64_t seed)
{
    size_t bytes = sonde_dtype_bytes(dtype);
    sondep_matrix m = {.dtype = dtype};
    int64_t n;

    m.row_stride = how == ROWS ? columns + 3 : how == COLUMNS ? 1 : 2 * columns + 1;
    m.col_stride = how == ROWS ? 1 : how == COLUMNS ? rows + 5 : 2;
    n = rows > 0 && columns > 0 ? (rows - 1) * m.row_stride + (columns - 1) * m.col_stride + 1 : 0;
    *block = take((size_t)n * bytes + 2);
    m.data = *block + (dtype == SONDE_F32 ? 2 : 1); /* as in a mapped file */
    for (int64_t i = 0; i < n; i++) {
        float x = number(seed, i);
        sonde_convert_from_f32((char *)m.data + i * (int64_t)bytes, dtype, &x, 1);
    }
    return m;
}

static void product(float *c, int64_t ldc, const sondep_matrix *a, const sondep_matrix *b, int64_t M, int64_t N, int64_t K,
                    const sondep_epilogue *e, sondep_precision precision)
{
    void *scratch = take_scratch(sondep_product_scratch_bytes(M, N, K));
    sondep_product(c, ldc, a, b, M, N, K, e, precision, scratch);
    free(scratch);
}

/* One shape, one type and layout of B, plain, on every set; columns behind the row must stay what they were. */
static void check(int64_t M, int64_t N, int64_t K, int type, layout how, sondep_precision precision)
{
    int64_t ldc = N + 7, n = M * ldc;
    char *block_a, *block_b;
    sondep_matrix a = make_matrix(&block_a, SONDE_F32, (M + N) % 5 == 4 ? GAPS : (M + N) % 2 ? COLUMNS : ROWS, M, K, 1);
    sondep_matrix b = make_matrix(&block_b, types[type], how, K, N, 2);
    float *want = numbers(n, 3);

    sondep_product_ref(want, ldc, &a, &b, M, N, K, NULL, precision, NULL);
    for (int set = 0; set < N_ALL_SETS; set++) {
        float *got = choose_set(set) ? numbers(n, 3) : NULL;
        if (got == NULL)
            continue;
        product(got, ldc, &a, &b, M, N, K, NULL, precision);
        assert_within(got, want, n, precision == SONDEP_BF16 ? "product_bf16" : "product", type_names[type]);
        for (int64_t i = 0; i < M; i++)
            assert_same_bytes(got + i * ldc + N, want + i * ldc + N, 7 * sizeof *got, "columns behind the row");
        free(got);
    }
    free(block_a);
    free(block_b);
    free(want);
}

/* Every third of all combinations, each with one of the types, layouts and precisions. */
static void shapes_agree(void **unused)
{
    static const int64_t Ms[] = {0, 1, 2, 3, 5, 8, 14, 15, 16, 17, 18, 28, 29, 43, 64};
    static const int64_t Ns[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 95, 96, 97, 200};
    static const int64_t Ks[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 33, 64};
    (void)unused;

    /* Under the sanitizers every ninth: the definition takes most of the time. */
    for (size_t m = 0; m < sizeof Ms / sizeof *Ms; m++)
        for (size_t n = 0; n < sizeof Ns / sizeof *Ns; n++)
            for (size_t k = (m + n) % 3 + (SANITIZED ? (m + n / 3) % 3 * 3 : 0); k < sizeof Ks / sizeof *Ks;
                 k += SANITIZED ? 9 : 3)
                check(Ms[m], Ns[n], Ks[k], (int)(m + n / 2 + k) % 3, (layout)((m + 2 * n + k / 3) % 3),
                      (m + n + k / 2) % 4 ? SONDEP_F32 : SONDEP_BF16);
}

/* Sums that run over several depths, spans and products, rows over several blocks and chunks, B as a whole and by pieces. */
static void long_sums_agree(void **unused)
{
    static const int64_t shapes[][3] = {{3, 40, 1025},  {29, 33, 255},  {29, 33, 256},  {29, 33, 257},   {15, 200, 1100},
                                        {70, 97, 2049}, {4, 1100, 300}, {1, 515, 1023}, {1030, 40, 100}, {20, 64, 5000},
                                        {61, 40, 1500}, {700, 50, 600}, {97, 18, 400},  {45, 2, 1000},   {4100, 20, 30}};
    (void)unused;

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int type = 0; type < 3; type++)
            check(shapes[i][0], shapes[i][1], shapes[i][2], type, (layout)((type + i) % 3),
                  i % 4 == 1 ? SONDEP_BF16 : SONDEP_F32);
}

/* The epilogue inside the product gives the bits of the same steps one after the other; residual in place. */
static void epilogue_is_the_separate_passes(void **unused)
{
    static const int64_t Ms[] = {1, 5, 40};
    enum { N = 75, K = 50 };
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        for (int pass = 0; choose_set(set) && pass < 3 * SONDEP_N_ACTS; pass++) {
            int64_t M = Ms[pass % 3], n = M * N;
            sondep_act act = (sondep_act)(pass / 3);
            char *block_a, *block_b;
            sondep_matrix a = make_matrix(&block_a, SONDE_F32, ROWS, M, K, 1);
            sondep_matrix b = make_matrix(&block_b, SONDE_F32, pass % 2 ? COLUMNS : ROWS, K, N, 2);
            float *bias = numbers(N, 3), *gate = numbers(n, 4), *pre = numbers(n, 5), *got = numbers(n, 6);
            float *want = numbers(n, 7), *want_pre = numbers(n, 8), *residual = numbers(n, 6);
            sondep_epilogue e = {bias, pre, N, act, gate, N, got, N}; /* the residual is the output itself */

            product(want_pre, N, &a, &b, M, N, K, NULL, SONDEP_F32);
            for (int64_t i = 0; i < M; i++)
                sondep_add(want_pre + i * N, want_pre + i * N, bias, N);
            sondep_activate(want, want_pre, act, n);
            sondep_multiply(want, want, gate, n);
            sondep_add(want, residual, want, n);

            product(got, N, &a, &b, M, N, K, &e, SONDEP_F32);
            assert_same_bytes(pre, want_pre, (size_t)n * sizeof *pre, "epilogue: pre");
            assert_same_bytes(got, want, (size_t)n * sizeof *got, "epilogue");
            free(block_a), free(block_b), free(bias), free(gate), free(pre), free(got), free(want), free(want_pre);
            free(residual);
        }
    }
}

/* A row is the same row whatever comes with it: in every layout, type and precision, over one depth and several, alone and
 * added to what is there. */
static void few_rows_have_the_bytes_of_many(void **unused)
{
    static const int64_t Ks[] = {1, 7, 16, 300, 1100, 2300};
    enum { M = 40, N = 77 };
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        if (strcmp(all_sets[set], "blas") == 0 || strcmp(all_sets[set], "ref") == 0 || !choose_set(set))
            continue; /* BLAS sums as it likes; the definition knows one row at a time */
        for (int i = 0; i < 6 * 3 * 3 * 2; i++) {
            int64_t K = Ks[i % 6];
            char *block_a, *block_b;
            sondep_matrix a = make_matrix(&block_a, SONDE_F32, ROWS, M, K, 1);
            sondep_matrix b = make_matrix(&block_b, types[i / 6 % 3], (layout)(i / 18 % 3), K, N, 2);
            sondep_precision precision = i / 54 ? SONDEP_BF16 : SONDEP_F32;
            float *all = numbers(M * N, 3), *some = numbers(M * N, 3);
            sondep_epilogue onto_all = {.residual = all, .ld_residual = N}, onto_some = {.residual = some, .ld_residual = N};
            bool adds = i % 4 == 3;
            product(all, N, &a, &b, M, N, K, adds ? &onto_all : NULL, precision);
            for (int64_t m = 1; m < 20; m += SANITIZED ? 5 : 1) {
                for (int64_t at = 0; at < M * N; at++)
                    some[at] = number(3, at);
                product(some, N, &a, &b, m, N, K, adds ? &onto_some : NULL, precision);
                assert_same_bytes(some, all, (size_t)(m * N) * sizeof *some, "the first rows");
            }
            free(block_a), free(block_b), free(all), free(some);
        }
    }
}

/* How a gradient of weights is formed: A by columns, B by rows, added to what is there. How A lies changes no bit. */
static void layouts_of_a_give_the_same_bytes(void **unused)
{
    static const int64_t shapes[][3] = {{18, 17, 1},     {40, 30, 777},  {130, 33, 1100},
                                        {33, 130, 1100}, {200, 17, 385}, {64, 5, 60}};
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        for (size_t i = 0; choose_set(set) && i < 2 * sizeof shapes / sizeof *shapes; i++) {
            int64_t M = shapes[i / 2][0], N = shapes[i / 2][1], K = shapes[i / 2][2];
            sondep_precision precision = i % 2 ? SONDEP_BF16 : SONDEP_F32;
            float *by_rows = numbers(M * K, 1), *by_columns = numbers(M * K, 2), *w = numbers(K * N, 3);
            float *one = numbers(M * N, 4), *other = numbers(M * N, 4);
            sondep_matrix a = {by_rows, SONDE_F32, K, 1}, across = {by_columns, SONDE_F32, 1, M}, b = {w, SONDE_F32, N, 1};
            sondep_epilogue to_one = {.residual = one, .ld_residual = N}, to_other = {.residual = other, .ld_residual = N};

            for (int64_t k = 0; k < M * K; k++)
                by_columns[k % K * M + k / K] = by_rows[k];
            product(one, N, &a, &b, M, N, K, &to_one, precision);
            product(other, N, &across, &b, M, N, K, &to_other, precision);
            if (strcmp(sondep_kernel_name(), "blas") != 0)
                assert_same_bytes(one, other, (size_t)(M * N) * sizeof *one, "A by columns");
            assert_within(other, one, M * N, "product", "f32");
            free(by_rows), free(by_columns), free(w), free(one), free(other);
        }
    }
}

static void bytes_do_not_depend_on_threads(void **unused)
{
    static const int64_t shapes[][3] = {{1, 700, 300}, {7, 130, 800}, {40, 333, 900}, {1100, 50, 33}, {17, 16, 2000}};
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        for (size_t i = 0; choose_set(set) && i < 2 * sizeof shapes / sizeof *shapes; i++) {
            int64_t M = shapes[i / 2][0], N = shapes[i / 2][1], K = shapes[i / 2][2];
            char *block_a, *block_b;
            sondep_matrix a = make_matrix(&block_a, SONDE_F32, i % 4 ? ROWS : COLUMNS, M, K, 1);
            sondep_matrix b = make_matrix(&block_b, SONDE_F32, i % 2 ? COLUMNS : ROWS, K, N, 2);
            float *one = numbers(M * N, 3), *many = numbers(M * N, 4);

            assert_int_equal(sonde_set_threads(1), SONDE_OK);
            product(one, N, &a, &b, M, N, K, NULL, SONDEP_F32);
            for (int threads = 2; threads <= 5; threads++) {
                assert_int_equal(sonde_set_threads(threads), SONDE_OK);
                product(many, N, &a, &b, M, N, K, NULL, SONDEP_F32);
                assert_same_bytes(one, many, (size_t)(M * N) * sizeof *one, "product on more threads");
            }
            free(block_a), free(block_b), free(one), free(many);
        }
    }
    assert_int_equal(sonde_set_threads(0), SONDE_OK);
}

/* Within a path: the first rows of a larger product are the rows of a smaller one (BLAS does not promise that). */
static void bytes_do_not_depend_on_other_rows(void **unused)
{
    static const int64_t Ms[] = {17, 28, 30, 101, 2, 5, 14};
    enum { N = 100, K = 900, MOST = 1100 };
    char *block_a, *block_b;
    sondep_matrix a = make_matrix(&block_a, SONDE_F32, ROWS, MOST, K, 1);
    float *all = take(sizeof(float) * MOST * N), *some = take(sizeof(float) * MOST * N);
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        for (int how = 0; choose_set(set) && strcmp(sondep_kernel_name(), "blas") != 0 && how < 2; how++) {
            sondep_matrix b = make_matrix(&block_b, SONDE_F32, how ? COLUMNS : ROWS, K, N, 2);
            for (size_t i = 0; i < sizeof Ms / sizeof *Ms; i++) {
                product(all, N, &a, &b, MOST, N, K, NULL, SONDEP_F32);
                product(some, N, &a, &b, Ms[i], N, K, NULL, SONDEP_F32);
                assert_same_bytes(all, some, (size_t)(Ms[i] * N) * sizeof *all, "product of fewer rows");
            }
            free(block_b);
        }
    }
    free(block_a), free(all), free(some);
}

/* A NaN or infinity in a row of A or a column of B reaches that row or column, and nothing else. */
static void nonfinite_stays_in_its_row(void **unused)
{
    static const int64_t Ms[] = {2, 40};
    enum { N = 37, K = 41 };
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        for (int pass = 0; choose_set(set) && pass < 4; pass++) {
            int64_t M = Ms[pass % 2];
            float *x = numbers(M * K, 1), *w = numbers(K * N, 2), *c = numbers(M * N, 3);
            sondep_matrix a = {x, SONDE_F32, K, 1};
            sondep_matrix b = {w, SONDE_F32, pass / 2 ? 1 : N, pass / 2 ? K : 1};
            x[K + 3] = NAN;
            w[5 * b.row_stride + 7 * b.col_stride] = INFINITY;
            product(c, N, &a, &b, M, N, K, NULL, SONDEP_F32);
            for (int64_t i = 0; i < M * N; i++) {
                assert_true(i / N != 1 || isnan(c[i]));
                assert_true(i / N == 1 || i % N != 7 || isinf(c[i]));
                assert_true(i / N == 1 || i % N == 7 || isfinite(c[i]));
            }
            free(x), free(w), free(c);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_agree),
        cmocka_unit_test(long_sums_agree),
        cmocka_unit_test(epilogue_is_the_separate_passes),
        cmocka_unit_test(few_rows_have_the_bytes_of_many),
        cmocka_unit_test(layouts_of_a_give_the_same_bytes),
        cmocka_unit_test(bytes_do_not_depend_on_threads),
        cmocka_unit_test(bytes_do_not_depend_on_other_rows),
        cmocka_unit_test(nonfinite_stays_in_its_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
