/* Errors, memory, strings, UTF-8, the arena, random numbers. */
#include "base/base.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- errors ------------------------------------------------------------------------------------------------------- */

static void statuses_are_their_rows(void **unused)
{
    (void)unused;
#define CHECK(name, value, exit_code, text)              \
    assert_int_equal(name, value);                       \
    assert_string_equal(sonde_status_name(name), #name); \
    assert_string_equal(sonde_status_text(name), text);  \
    assert_int_equal(sonde_status_exit_code(name), exit_code);
    SONDE_STATUS_LIST(CHECK)
#undef CHECK
    assert_string_equal(sonde_status_name((sonde_status)1), "SONDE_E_UNKNOWN");
    assert_int_equal(sonde_status_exit_code((sonde_status)-99), 70);
    assert_string_equal(sonde_version(), "0.1.0");
}

static void messages_are_one_clean_line(void **unused)
{
    (void)unused;
    assert_int_equal(SONDE_FAIL(SONDE_E_ARG, "odd: '%s'", "a\nb\x1b[31m\xff\xc3\x28 \xc3\xa9 \xe2\x80\xa8 \xc2\x9b \x7f"),
                     SONDE_E_ARG);
    assert_string_equal(sonde_last_error()->message,
                        "odd: 'a\\x0ab\\x1b[31m\\xff\\xc3( \xc3\xa9 \\xe2\\x80\\xa8 \\xc2\\x9b \\x7f'");
    assert_string_equal(sonde_last_error()->hint, "");
    assert_int_equal(sondep_hint(SONDE_E_ARG, "try %d", 3), SONDE_E_ARG);
    assert_string_equal(sonde_last_error()->hint, "try 3");
    SONDE_FAIL(SONDE_E_IO, "next");
    assert_string_equal(sonde_last_error()->hint, ""); /* a hint belongs to one error */
    sonde_clear_error();
    assert_int_equal(sonde_last_error()->status, SONDE_OK);
    assert_string_equal(sonde_last_error()->message, "");
}

static void long_messages_are_cut_between_characters(void **unused)
{
    char subject[2000] = "";
    uint32_t c;
    size_t n, at = 0;
    (void)unused;
    for (int i = 0; i < 660; i++)
        memcpy(subject + 3 * i, "\xe2\x82\xac", 4);
    SONDE_FAIL(SONDE_E_ARG, "%s", subject);
    n = strlen(sonde_last_error()->message);
    assert_in_range(n, 500, sizeof sonde_last_error()->message - 1);
    while (at < n) {
        int length = sondep_utf8_decode(&c, sonde_last_error()->message + at, n - at);
        assert_true(length == 3 && c == 0x20ac);
        at += (size_t)length;
    }
}

static void *fail_elsewhere(void *unused)
{
    (void)unused;
    SONDE_FAIL(SONDE_E_RANGE, "of another thread");
    return NULL;
}

static void errors_belong_to_their_thread(void **unused)
{
    pthread_t thread;
    (void)unused;
    SONDE_FAIL(SONDE_E_ARG, "of this thread");
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
    pthread_join(thread, NULL);
    assert_string_equal(sonde_last_error()->message, "of this thread");
}

static void keep_line(sonde_log_level level, const char *line, void *ctx)
{
    snprintf(ctx, 64, "%d %s", (int)level, line);
}

static void the_log_goes_where_it_is_sent(void **unused)
{
    char line[64] = "";
    (void)unused;
    sondep_log(SONDE_LOG_WARN, "nobody listens");
    sonde_log_to(keep_line, line);
    sondep_log(SONDE_LOG_NOTE, "a\n%d", 7);
    assert_string_equal(line, "2 a\\x0a7");
    sonde_log_to(NULL, NULL);
    sondep_log(SONDE_LOG_NOTE, "again");
    assert_string_equal(line, "2 a\\x0a7");
}

static void threads_and_interruption(void **unused)
{
    (void)unused;
    assert_int_equal(sonde_set_threads(3), SONDE_OK);
    assert_int_equal(sonde_threads(), 3);
    assert_int_equal(sonde_set_threads(-1), SONDE_E_ARG);
    assert_int_equal(sonde_set_threads(5000), SONDE_E_ARG);
    assert_non_null(strstr(sonde_last_error()->message, "5000"));
    assert_int_equal(sonde_threads(), 3);
    assert_int_equal(sonde_set_threads(0), SONDE_OK);
    assert_true(sonde_threads() >= 1);
    assert_false(sondep_interrupted());
    sonde_interrupt(true);
    assert_true(sondep_interrupted());
    sonde_interrupt(false);
    assert_false(sondep_interrupted());
    assert_true(sondep_peak_bytes() > 1 << 20);
    assert_true(sondep_seconds() <= sondep_seconds());
}

/* ---- memory ------------------------------------------------------------------------------------------------------- */

static void sizes_that_overflow_are_errors(void **unused)
{
    size_t bytes;
    int64_t n;
    (void)unused;
    assert_null(sondep_alloc((int64_t)1 << 61, 8));
    assert_int_equal(sonde_last_error()->status, SONDE_E_NOMEM);
    assert_null(sondep_alloc(-1, 1));
    assert_null(sondep_resize(NULL, INT64_MAX, 16));
    assert_int_equal(sondep_mul_size(&bytes, SIZE_MAX / 2, 3, "a product"), SONDE_E_RANGE);
    assert_non_null(strstr(sonde_last_error()->message, "a product is too large: "));
    assert_int_equal(sondep_mul_size(&bytes, 6, 7, "a product"), SONDE_OK);
    assert_int_equal(bytes, 42);
    assert_int_equal(sondep_mul_i64(&n, INT64_MAX, 2, "a product"), SONDE_E_RANGE);
    assert_int_equal(sondep_mul_i64(&n, -1, 2, "a product"), SONDE_E_RANGE);
    assert_int_equal(sondep_mul_i64(&n, 6, 7, "a product"), SONDE_OK);
    assert_int_equal(n, 42);
}

static void memory_is_zeroed(void **unused)
{
    char *p = sondep_alloc(1000, 1);
    (void)unused;
    for (int i = 0; i < 1000; i++)
        assert_int_equal(p[i], 0);
    memset(p, 1, 1000);
    p = sondep_resize(p, 2000, 1);
    assert_int_equal(p[999], 1);
    sondep_free(p);
    sondep_free(sondep_alloc(0, 8));
    sondep_free(NULL);
}

static void the_arena_gives_back_in_order(void **unused)
{
    sondep_arena arena = {0};
    char *a, *b;
    size_t used;
    (void)unused;
    assert_int_equal(sondep_arena_reserve(&arena, 3 * 64), SONDE_OK);
    a = sondep_arena_take(&arena, 1);
    used = arena.used;
    b = sondep_arena_take(&arena, 65);
    assert_true(b == a + 64 && (uintptr_t)a % 64 == 0 && arena.used == 192 && arena.peak == 192);
    sondep_arena_reset(&arena, used);
    assert_ptr_equal(sondep_arena_take(&arena, 128), b);
    sondep_arena_reset(&arena, 0);
    assert_int_equal(sondep_arena_reserve(&arena, (size_t)4 << 20), SONDE_OK);
    a = sondep_arena_take(&arena, (size_t)4 << 20);
    a[((size_t)4 << 20) - 1] = 1;
    assert_int_equal(sondep_arena_floats(17), 128);
    sondep_arena_release(&arena);
    assert_null(arena.block);
}

/* ---- strings ------------------------------------------------------------------------------------------------------ */

static void strings_grow(void **unused)
{
    sondep_string s = {0};
    (void)unused;
    assert_int_equal(sondep_string_append(&s, NULL, 0), SONDE_OK);
    assert_string_equal(s.text, "");
    for (int i = 0; i < 1000; i++)
        assert_int_equal(sondep_string_printf(&s, "%03d,", i), SONDE_OK);
    assert_int_equal(s.n, 4000);
    assert_int_equal(strlen(s.text), 4000);
    assert_memory_equal(s.text + 4 * 789, "789,", 4);
    assert_int_equal(sondep_string_append(&s, "x", SIZE_MAX / 2), SONDE_E_RANGE);
    sondep_string_release(&s);
    assert_null(s.text);
}

/* Every code point goes there and back; surrogates and what lies above do not exist. */
static void utf8_of_all_code_points(void **unused)
{
    (void)unused;
    for (uint32_t c = 0; c < 0x110100; c++) {
        bool exists = c <= 0x10ffff && !(c >= 0xd800 && c <= 0xdfff);
        char text[4];
        uint32_t back = 1;
        int n = sondep_utf8_encode(text, c);
        if (sondep_utf8_decode(&back, text, (size_t)n) != (exists ? n : 0) || (exists && back != c))
            fail_msg("U+%04X", c);
        for (int cut = 1; cut < n; cut++)
            assert_int_equal(sondep_utf8_decode(&back, text, (size_t)cut), 0);
    }
}

/* A decoder by the table of the standard (Unicode 15, table 3-7), against ours on every sequence of three bytes, and of four
 * with a fixed last. */
static int table_length(const unsigned char *b)
{
    static const struct {
        unsigned char low, high, second_low, second_high;
        int length;
    } rows[] = {{0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
                {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
                {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        if (b[0] < rows[r].low || b[0] > rows[r].high)
            continue;
        if (rows[r].length > 1 && (b[1] < rows[r].second_low || b[1] > rows[r].second_high))
            return 0;
        for (int i = 2; i < rows[r].length; i++)
            if (b[i] < 0x80 || b[i] > 0xbf)
                return 0;
        return rows[r].length;
    }
    return 0;
}

static void utf8_of_all_bytes(void **unused)
{
    (void)unused;
    for (uint32_t i = 0; i < 1u << 24; i++) {
        unsigned char b[4] = {(unsigned char)(i >> 16), (unsigned char)(i >> 8), (unsigned char)i, 0x80};
        uint32_t c;
        if (sondep_utf8_decode(&c, (const char *)b, 4) != table_length(b))
            fail_msg("%02x %02x %02x", b[0], b[1], b[2]);
    }
}

static void utf8_errors_name_the_byte(void **unused)
{
    (void)unused;
    assert_int_equal(sondep_utf8_check("a\0b", 3, "x"), SONDE_OK);
    assert_int_equal(sondep_utf8_check("", 0, "x"), SONDE_OK);
    assert_int_equal(sondep_utf8_check("ab\xed\xa0\x80", 5, "x"), SONDE_E_FORMAT);
    assert_string_equal(sonde_last_error()->message, "'x' is not UTF-8: byte 2 is 0xed");
}

/* ---- random numbers ------------------------------------------------------------------------------------------------- */

/* kat_vectors of Random123 1.14, lines "philox4x32 10". */
static void philox_known_answers(void **unused)
{
    static const struct {
        uint64_t seed, stream, counter;
        uint32_t want[4];
    } known[] = {
        {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint32_t out[4];
        sonde_random_bits(out, known[i].seed, known[i].stream, known[i].counter);
        assert_memory_equal(out, known[i].want, sizeof out);
    }
}

/* Moments of 200,000 numbers; limits are five standard errors. */
static void moments_of_random_numbers(void **unused)
{
    enum { N = 200000 };
    double mean_u = 0, square_u = 0, mean_n = 0, square_n = 0, fourth_n = 0;
    (void)unused;
    for (uint64_t i = 0; i < N; i++) {
        double u = sonde_random_uniform(1, 2, i), z = sonde_random_normal(3, 4, i);
        assert_true(u >= 0 && u < 1 && isfinite(z));
        mean_u += u / N, square_u += u * u / N;
        mean_n += z / N, square_n += z * z / N, fourth_n += z * z * z * z / N;
    }
    assert_true(fabs(mean_u - 0.5) <= 5 * sqrt(1.0 / 12 / N));
    assert_true(fabs(square_u - 1.0 / 3) <= 5 * sqrt(4.0 / 45 / N));
    assert_true(fabs(mean_n) <= 5 * sqrt(1.0 / N));
    assert_true(fabs(square_n - 1) <= 5 * sqrt(2.0 / N));
    assert_true(fabs(fourth_n - 3) <= 5 * sqrt(96.0 / N));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statuses_are_their_rows),
        cmocka_unit_test(messages_are_one_clean_line),
        cmocka_unit_test(long_messages_are_cut_between_characters),
        cmocka_unit_test(errors_belong_to_their_thread),
        cmocka_unit_test(the_log_goes_where_it_is_sent),
        cmocka_unit_test(threads_and_interruption),
        cmocka_unit_test(sizes_that_overflow_are_errors),
        cmocka_unit_test(memory_is_zeroed),
        cmocka_unit_test(the_arena_gives_back_in_order),
        cmocka_unit_test(strings_grow),
        cmocka_unit_test(utf8_of_all_code_points),
        cmocka_unit_test(utf8_of_all_bytes),
        cmocka_unit_test(utf8_errors_name_the_byte),
        cmocka_unit_test(philox_known_answers),
        cmocka_unit_test(moments_of_random_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
