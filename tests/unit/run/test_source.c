/* Rows in a shuffled order: each once in an epoch, in another order for each epoch and seed, the same whenever and however they are
 * asked for; and rows straight from a model, which are those that a capture has. */
#include <sonde/run.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "statuses.h"
#include "unit/run/store_support.h"

/* ---- rows that say which they are -------------------------------------------------------------------------------------- */

enum { PIECES = 57, WIDTH = 3 };

/* Piece p has p * 5 % 11 rows, number r of which is p * 100 + r, in each column and, negated, at the second hook. */
typedef struct numbers {
    int64_t n_rows[PIECES], n_fills, n_released;
} numbers;

static sonde_status fill(float *const *out, const int64_t *pieces, int64_t n, void *ctx)
{
    numbers *x = ctx;
    int64_t row = 0;

    x->n_fills++;
    for (int64_t i = 0; i < n; i++)
        for (int64_t r = 0; r < x->n_rows[pieces[i]]; r++, row++) {
            float value = (float)(pieces[i] * 100 + r);
            for (int c = 0; c < WIDTH; c++)
                out[0][row * WIDTH + c] = value;
            out[1][row] = -value;
        }
    return SONDE_OK;
}

static void release(void *ctx)
{
    ((numbers *)ctx)->n_released++;
}

static sonde_source *open_numbers(numbers *x, int64_t most_rows, uint64_t seed)
{
    static const char *const hooks[] = {"first", "second"};
    static const int64_t widths[] = {WIDTH, 1};
    sonde_source_parts parts = {PIECES, x->n_rows, 2, hooks, widths, 1, fill, release, x};
    sonde_source *source;

    *x = (numbers){{0}, 0, 0};
    for (int64_t p = 0; p < PIECES; p++)
        x->n_rows[p] = p * 5 % 11;
    assert_ok(sonde_source_new(&source, &parts, most_rows, seed));
    return source;
}

/* n rows of the order from `first` on, both hooks; they must agree. The caller frees them. */
static float *get(sonde_source *source, int64_t first, int64_t n)
{
    float *a = malloc((size_t)n * WIDTH * sizeof *a), *b = malloc((size_t)n * sizeof *b), *const out[] = {a, b};

    assert_true(a != NULL && b != NULL);
    assert_ok(sonde_source_get(source, out, first, n));
    for (int64_t i = 0; i < n; i++)
        for (int c = 0; c < WIDTH; c++)
            assert_true(a[i * WIDTH + c] == -b[i]);
    free(a);
    return b;
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

/* Sorted, the n values are those of all pieces. */
static void assert_complete(const float *rows, int64_t n, const numbers *x)
{
    float *sorted = malloc((size_t)n * sizeof *sorted);
    int64_t at = n;

    assert_non_null(sorted);
    memcpy(sorted, rows, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, compare_floats);
    for (int64_t p = 0; p < PIECES; p++)
        for (int64_t r = 0; r < x->n_rows[p]; r++)
            assert_true(sorted[--at] == (float)-(p * 100 + r));
    assert_int_equal(at, 0);
    free(sorted);
}

/* For all sizes of what is held, from one piece on to everything. */
static void each_row_comes_once_in_an_epoch(void **unused)
{
    (void)unused;
    for (int64_t most = 10; most <= 320; most += 31) {
        numbers x;
        sonde_source *source = open_numbers(&x, most, 5);
        int64_t n = sonde_source_n_rows(source);
        float *rows = get(source, 0, 3 * n);
        assert_int_equal(n, 280);
        for (int epoch = 0; epoch < 3; epoch++)
            assert_complete(rows + epoch * n, n, &x);
        /* chunk after chunk: nothing is filled twice */
        assert_true(x.n_fills >= 3 * (n / most) && x.n_fills <= 3 * PIECES);
        free(rows);
        sonde_source_free(source);
        assert_int_equal(x.n_released, 1);
    }
}

/* Neighbours in the order are rarely neighbours in a piece, and epochs and seeds have little in common. */
static void orders_are_shuffled_and_differ(void **unused)
{
    numbers x, y;
    sonde_source *source = open_numbers(&x, 100, 1), *other = open_numbers(&y, 100, 2);
    int64_t n = sonde_source_n_rows(source), n_together = 0, n_same_epoch = 0, n_same_seed = 0;
    float *rows = get(source, 0, 2 * n), *others = get(other, 0, n);

    (void)unused;
    for (int64_t i = 0; i < n; i++) {
        n_together += i > 0 && fabsf(rows[i] - rows[i - 1]) < 2;
        n_same_epoch += rows[i] == rows[n + i];
        n_same_seed += rows[i] == others[i];
    }
    /* of 280: by chance 280 * 2 / 100 and 1 */
    assert_true(n_together < 20);
    assert_true(n_same_epoch < 10 && n_same_seed < 10);
    assert_true(sonde_source_hash(source) != sonde_source_hash(other));
    free(rows);
    free(others);
    sonde_source_free(source);
    sonde_source_free(other);
}

/* Batches of any length from any place, across chunks and epochs, backwards too; on any number of threads. */
static void a_place_has_one_row(void **unused)
{
    static const int64_t lengths[] = {1, 2, 7, 64, 281, 600};
    numbers x, y;
    sonde_source *whole = open_numbers(&x, 40, 9);
    int64_t n = sonde_source_n_rows(whole);
    float *rows = get(whole, 0, 4 * n);

    (void)unused;
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++)
        for (int threads = 1; threads <= 3; threads += 2) {
            sonde_source *source = open_numbers(&y, 40, 9);
            assert_ok(sonde_set_threads(threads));
            for (int64_t first = 4 * n - lengths[k]; first >= 0; first -= 97) {
                float *some = get(source, first, lengths[k]);
                assert_memory_equal(some, rows + first, (size_t)lengths[k] * sizeof *rows);
                free(some);
            }
            sonde_source_free(source);
        }
    assert_ok(sonde_set_threads(0));
    free(rows);
    sonde_source_free(whole);
}

/* Only what is wanted is copied. */
static void hooks_may_be_left_out(void **unused)
{
    numbers x;
    sonde_source *source = open_numbers(&x, 100, 1);
    float rows[5], *all = get(source, 3, 5), *const out[] = {NULL, rows};

    (void)unused;
    assert_ok(sonde_source_get(source, out, 3, 5));
    assert_memory_equal(rows, all, sizeof rows);
    assert_int_equal(sonde_source_n_hooks(source), 2);
    assert_string_equal(sonde_source_hook(source, 1), "second");
    assert_int_equal(sonde_source_width(source, 0), WIDTH);
    free(all);
    sonde_source_free(source);
}

static sonde_status fill_nothing(float *const *out, const int64_t *pieces, int64_t n, void *ctx)
{
    (void)out, (void)pieces, (void)n, (void)ctx;
    return SONDE_E_INTERRUPTED;
}

static void wrong_parts_are_refused(void **unused)
{
    static const char *const hooks[] = {"a"};
    static const int64_t widths[] = {2}, rows[] = {3, 7}, none[] = {0, 0};
    sonde_source_parts parts = {2, rows, 1, hooks, widths, 1, fill_nothing, NULL, NULL};
    sonde_source *source;
    float x[2], *const out[] = {x};

    (void)unused;
    assert_refused(sonde_source_new(&source, &parts, 6, 1), SONDE_E_RANGE, "piece 1 has 7 rows, 6 are held");
    assert_null(source);
    /* what the callback says comes back, and nothing is taken for held */
    assert_ok(sonde_source_new(&source, &parts, 7, 1));
    assert_int_equal(sonde_source_get(source, out, 0, 1), SONDE_E_INTERRUPTED);
    assert_int_equal(sonde_source_get(source, out, 0, 1), SONDE_E_INTERRUPTED);
    sonde_source_free(source);
    parts.n_rows = none;
    assert_refused(sonde_source_new(&source, &parts, 6, 1), SONDE_E_RANGE, "there are no rows");
}

/* ---- rows of a model ----------------------------------------------------------------------------------------------------- */

/* Rows of a stream are those of single passes over each document, bit for bit, whatever is held and on any number of threads. */
static void a_stream_has_what_captures_have(void **unused)
{
    static const char *const hooks[] = {"resid_post1", "blocks.0.attn.hook_z"};
    static const int64_t held[] = {60, 100000};
    store_model m;
    store_rows want;

    (void)unused;
    store_model_open(&m);
    store_capture(&want, &m, 0);
    for (int k = 0; k < 4; k++) {
        sonde_stream_opts how;
        sonde_source *source;
        int64_t n;
        float *a, *b;
        sonde_stream_opts_init(&how);
        how.most_rows = held[k % 2];
        how.batch = k < 2 ? 64 : 4096;
        how.seed = 3;
        assert_ok(sonde_set_threads(1 + k % 2));
        assert_ok(sonde_source_stream(&source, m.model, m.corpus, hooks, 2, &how));
        n = sonde_source_n_rows(source);
        assert_int_equal(n, want.n);
        assert_string_equal(sonde_source_hook(source, 0), "blocks.1.hook_resid_post");
        a = malloc((size_t)(n * STORE_WIDTH) * sizeof *a);
        b = malloc((size_t)(n * STORE_WIDTH) * sizeof *b);
        assert_true(a != NULL && b != NULL);
        assert_ok(sonde_source_get(source, (float *const[]){a, b}, n, n));
        store_assert_same_rows(&want, a, b, n);
        free(a);
        free(b);
        sonde_source_free(source);
    }
    assert_ok(sonde_set_threads(0));
    store_rows_free(&want);
    store_model_close(&m);
}

/* What is no row, and where a document is cut. */
static void positions_are_left_out(void **unused)
{
    static const char *const hooks[] = {"resid_post1"};
    static const int32_t some[] = {0, 14};
    store_model m;
    sonde_stream_opts how;
    sonde_source *source;
    int64_t n_some = 0, n_read = 0, first, n, n_bytes;

    (void)unused;
    store_model_open(&m);
    for (int64_t d = 0; d < sonde_corpus_n_documents(m.corpus); d++) {
        int32_t ids[STORE_CONTEXT];
        sonde_corpus_document(&first, &n, &n_bytes, m.corpus, d);
        n = n < STORE_CONTEXT ? n : STORE_CONTEXT;
        sonde_corpus_read(ids, m.corpus, first, n);
        n_read += n < 8 ? n : 8;
        for (int64_t i = 0; i < n && i < 8; i++)
            n_some += ids[i] == 14;
    }
    assert_true(n_some > 3);
    sonde_stream_opts_init(&how);
    how.context = 8;
    how.left_out = some;
    how.n_left_out = 2;
    assert_ok(sonde_source_stream(&source, m.model, m.corpus, hooks, 1, &how));
    assert_int_equal(sonde_source_n_rows(source), n_read - n_some - sonde_corpus_n_documents(m.corpus));
    sonde_source_free(source);
    /* none is left out: the list is there, and empty */
    how.n_left_out = 0;
    assert_ok(sonde_source_stream(&source, m.model, m.corpus, hooks, 1, &how));
    assert_int_equal(sonde_source_n_rows(source), n_read);
    sonde_source_free(source);
    store_model_close(&m);
}

/* One token whose embedding is no number: which document has it, and where. */
static void what_is_not_finite_is_named(void **unused)
{
    static const char *const hooks[] = {"resid_post1"};
    float *row = malloc(100000 * sizeof *row), *const out[] = {row};
    store_model m;
    sonde_source *source;

    (void)unused;
    assert_non_null(row);
    store_model_open(&m);
    assert_ok(sonde_source_stream(&source, m.model, m.corpus, hooks, 1, NULL));
    store_poison(&m);
    assert_refused(sonde_source_get(source, out, 0, 1), SONDE_E_NONFINITE,
                   "document 11: 'hook_embed' is nan at position 3, column 0");
    sonde_source_free(source);
    store_model_close(&m);
    free(row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row_comes_once_in_an_epoch),
        cmocka_unit_test(orders_are_shuffled_and_differ),
        cmocka_unit_test(a_place_has_one_row),
        cmocka_unit_test(hooks_may_be_left_out),
        cmocka_unit_test(wrong_parts_are_refused),
        cmocka_unit_test(a_stream_has_what_captures_have),
        cmocka_unit_test(positions_are_left_out),
        cmocka_unit_test(what_is_not_finite_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
