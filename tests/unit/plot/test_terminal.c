/* Pictures as text: exact texts of small ones; of any, that lines fit and that no byte steers the terminal but colours. */
#include "plot/parts.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void check_text(const char *want, const sonde_plot_matrix *m, const sonde_plot_opts *opts)
{
    char *got;
    size_t n;
    assert_int_equal(sonde_plot_heatmap_text(&got, &n, m, opts), SONDE_OK);
    assert_int_equal(n, strlen(got));
    assert_string_equal(got, want);
    sonde_plot_text_free(got);
}

static void plain_text_has_shades(void **unused)
{
    static const float values[6] = {0, 0.25f, 0.5f, 0.75f, 1, NAN};
    static const sonde_plot_label rows[2] = {{"日本", -1}, {"e\xcc\x81\n", -1}};
    sonde_plot_matrix m = {.values = values, .n_rows = 2, .n_columns = 3, .row_labels = rows};
    sonde_plot_opts opts;
    (void)unused;
    sonde_plot_opts_init(&opts);
    opts.title = "Title";
    opts.value_name = "p";
    check_text("Title\n"
               "日本     ░░░░▒▒▒▒\n"
               "  e\xcc\x81⏎ ▓▓▓▓████   ?\n"
               "     0   1   2\n"
               "0 [ ░▒▓█] 1  p  ? NaN\n",
               &m, &opts);
}

static void plain_text_has_signed_digits(void **unused)
{
    static const float values[6] = {-2, -0.1f, 0, 0.5f, 1.99f, -INFINITY};
    static const sonde_plot_label columns[3] = {{" a", -1}, {"\x1b", -1}, {"語", -1}};
    sonde_plot_matrix m = {.values = values, .n_rows = 2, .n_columns = 3, .column_labels = columns};
    sonde_plot_opts opts;
    (void)unused;
    sonde_plot_opts_init(&opts);
    opts.x_name = "token";
    opts.y_name = "layer";
    check_text("↓ layer  → token\n"
               "0    -9    ·    ·\n"
               "1    +2   +9    ↓\n"
               "  ·a   \\x1b 語\n"
               "digits are tenths of 2, · is less than one  ↓ −∞\n",
               &m, &opts);
}

static void true_colour_names_each_colour_once(void **unused)
{
    static const float values[2] = {0, 1};
    sonde_plot_matrix m = {.values = values, .n_rows = 1, .n_columns = 2};
    sonde_plot_opts opts;
    unsigned char low[3], high[3];
    char want[200], *got;
    (void)unused;
    sonde_plot_opts_init(&opts);
    opts.depth = SONDE_PLOT_DEPTH_TRUE;
    sonde_plot_colour(low, SONDE_PLOT_COLOURS_SEQUENTIAL, 0);
    sonde_plot_colour(high, SONDE_PLOT_COLOURS_SEQUENTIAL, 1);
    snprintf(want, sizeof want, "0 \033[48;2;%d;%d;%dm    \033[48;2;%d;%d;%dm    \033[0m\n", low[0], low[1], low[2], high[0],
             high[1], high[2]);
    assert_int_equal(sonde_plot_heatmap_text(&got, NULL, &m, &opts), SONDE_OK);
    got[strlen(want)] = '\0';
    assert_string_equal(got, want);
    sonde_plot_text_free(got);
}

static void two_rows_share_a_line_as_half_blocks(void **unused)
{
    float values[14];
    sonde_plot_matrix m = {.values = values, .n_rows = 14, .n_columns = 1};
    sonde_plot_opts opts;
    char *got;
    int n_lines = 0;
    (void)unused;
    for (int i = 0; i < 14; i++)
        values[i] = (float)i;
    sonde_plot_opts_init(&opts);
    opts.depth = SONDE_PLOT_DEPTH_256;
    assert_int_equal(sonde_plot_heatmap_text(&got, NULL, &m, &opts), SONDE_OK);
    for (const char *c = strstr(got, "▀▀"); c != NULL; c = strstr(c + 1, "▀▀"))
        n_lines++;
    assert_int_equal(n_lines, 7);
    assert_non_null(strstr(got, "\033[38;5;"));
    sonde_plot_text_free(got);
}

/* Walks over a text: every line takes at most `columns`, and no control byte is there but newlines and whole
 * "\033[digits;digits...m" sequences, of which the last before each newline resets (with colour). */
static void assert_harmless(const char *text, int64_t columns, int64_t depth)
{
    for (const char *line = text; *line != '\0';) {
        const char *end = strchr(line, '\n');
        sondep_string shown = {0};
        bool is_coloured = false;

        assert_non_null(end);
        for (const char *c = line; c < end;) {
            if (*c == '\033') {
                size_t n = 2 + strspn(c + 2, "0123456789;");
                assert_true(depth != SONDE_PLOT_DEPTH_NONE && c[1] == '[' && c[n] == 'm');
                is_coloured = !(n == 3 && c[2] == '0');
                c += n + 1;
                continue;
            }
            assert_true((unsigned char)*c >= 0x20 && *c != 0x7f);
            assert_int_equal(sondep_string_append(&shown, c++, 1), SONDE_OK);
        }
        assert_false(is_coloured);
        if (shown.n > 0) {
            assert_int_equal(sondep_utf8_check(shown.text, shown.n, "line"), SONDE_OK);
            for (size_t i = 0; i + 1 < shown.n; i++) /* C1 controls, as UTF-8 */
                assert_false((unsigned char)shown.text[i] == 0xc2 && (unsigned char)shown.text[i + 1] < 0xa0);
            if (sondep_text_columns(shown.text, shown.n) > columns)
                fail_msg("%lld columns, at most %lld: %s", (long long)sondep_text_columns(shown.text, shown.n),
                         (long long)columns, shown.text);
        }
        sondep_string_release(&shown);
        line = end + 1;
    }
}

/* Labels of random bytes, all sizes, widths and depths. */
static void no_label_steers_the_terminal_and_lines_fit(void **unused)
{
    enum { N = 40 };
    static char bytes[N][12];
    static float values[N * N * 4];
    sonde_plot_label some[N];
    (void)unused;

    for (int round = 0; round < 300; round++) {
        sonde_plot_opts opts;
        sonde_plot_matrix m = {.values = values};
        uint64_t at = 0;
        char *got;

        for (int i = 0; i < N; i++) {
            for (int j = 0; j < 12; j++)
                bytes[i][j] = (char)(int)(sonde_random_uniform(9, (uint64_t)round, at++) * (round % 2 ? 256 : 40));
            some[i] = (sonde_plot_label){bytes[i], (int64_t)(12 * sonde_random_uniform(9, (uint64_t)round, at++))};
        }
        for (int i = 0; i < N * N * 4; i++)
            values[i] = (float)sonde_random_normal(10, (uint64_t)round, (uint64_t)i) + (round % 5 == 0 ? 9 : 0);
        values[round] = round % 3 ? NAN : -INFINITY;
        sonde_plot_opts_init(&opts);
        opts.depth = round % 3;
        opts.terminal_columns = 20 + round % 90;
        opts.terminal_lines = 4 + round % 20;
        opts.title = "A title that is rather long, \x1b[31m, and must be wrapped";
        opts.x_name = opts.y_name = opts.value_name = "na\tme";
        m.n_rows = 1 + round % N;
        m.n_columns = 1 + (round * 7) % (4 * N);
        m.row_labels = round % 4 < 2 ? some : NULL;
        m.column_labels = m.n_columns <= N && round % 4 != 1 ? some : NULL;
        m.is_causal = round % 7 == 0;
        m.first_column = round % 11 * 100;
        assert_int_equal(sonde_plot_heatmap_text(&got, NULL, &m, &opts), SONDE_OK);
        assert_harmless(got, opts.terminal_columns, opts.depth);
        sonde_plot_text_free(got);
        assert_int_equal(sonde_plot_panels_text(&got, NULL, (sonde_plot_matrix[3]){m, m, m}, 3, &opts), SONDE_OK);
        assert_harmless(got, opts.terminal_columns, opts.depth);
        sonde_plot_text_free(got);
        assert_int_equal(sonde_plot_tokens_text(&got, NULL, some, round % 2 ? values : NULL, N, &opts), SONDE_OK);
        assert_harmless(got, opts.terminal_columns, opts.depth);
        sonde_plot_text_free(got);
        assert_int_equal(sonde_plot_bars_text(&got, NULL, some, (double[4]){1, -0.5, NAN, 3e-7}, 4, &opts), SONDE_OK);
        assert_harmless(got, opts.terminal_columns, opts.depth);
        sonde_plot_text_free(got);
    }
}

static void tokens_are_told_apart_without_colour(void **unused)
{
    static const sonde_plot_label tokens[4] = {{"Once", -1}, {" upon", -1}, {"\n", -1}, {" a", -1}};
    char *got;
    (void)unused;
    assert_int_equal(sonde_plot_tokens_text(&got, NULL, tokens, NULL, 4, NULL), SONDE_OK);
    assert_string_equal(got, "Once| upon|⏎|\n a\n");
    sonde_plot_text_free(got);
}

static void bars_are_as_long_as_their_values(void **unused)
{
    sonde_plot_opts opts;
    char *got;
    (void)unused;
    sonde_plot_opts_init(&opts);
    opts.terminal_columns = 20;
    assert_int_equal(sonde_plot_bars_text(&got, NULL, NULL, (double[3]){16, 8, 1}, 3, &opts), SONDE_OK);
    assert_string_equal(got, "0 ███████████████ 16\n1 ███████▌ 8\n2 █ 1\n");
    sonde_plot_text_free(got);
}

static void nothing_to_plot_is_an_error(void **unused)
{
    char *got = (char *)1;
    sonde_plot_matrix m = {.n_rows = 3};
    (void)unused;
    assert_int_equal(sonde_plot_heatmap_text(&got, NULL, &m, NULL), SONDE_E_SHAPE);
    assert_null(got);
    assert_int_equal(sonde_plot_tokens_text(&got, NULL, NULL, NULL, 0, NULL), SONDE_E_SHAPE);
    assert_int_equal(sonde_plot_bars_text(&got, NULL, NULL, NULL, 0, NULL), SONDE_E_SHAPE);
}

static int64_t n_until_failure, n_live;

static void *counting_alloc(size_t bytes, void *ctx)
{
    (void)ctx;
    if (n_until_failure-- == 0)
        return NULL;
    n_live++;
    return malloc(bytes);
}

static void *counting_resize(void *p, size_t bytes, void *ctx)
{
    (void)ctx;
    if (n_until_failure-- == 0)
        return NULL;
    n_live += p == NULL;
    return realloc(p, bytes);
}

static void counting_release(void *p, void *ctx)
{
    (void)ctx;
    n_live--;
    free(p);
}

static sonde_status draw(char **out, int which)
{
    static const sonde_plot_label labels[3] = {{"Once", -1}, {" upon", -1}, {"日", -1}};
    static const float values[9] = {1, -2, 3, NAN, 5, 6, -7, 8, 9};
    sonde_plot_matrix m = {
        .values = values, .n_rows = 3, .n_columns = 3, .row_labels = labels, .column_labels = labels, .title = "t"};
    sonde_plot_opts opts;
    sonde_plot_opts_init(&opts);
    opts.title = "title";
    opts.value_name = "value";
    opts.y_name = "y";
    opts.depth = which % 3;
    if (which / 3 == 0)
        return sonde_plot_panels_text(out, NULL, (sonde_plot_matrix[2]){m, m}, 2, &opts);
    if (which / 3 == 1)
        return sonde_plot_tokens_text(out, NULL, labels, values, 3, &opts);
    return sonde_plot_bars_text(out, NULL, labels, (double[3]){1, 2, 3}, 3, &opts);
}

static void every_allocation_may_fail(void **unused)
{
    static const sonde_allocator counting = {counting_alloc, counting_resize, counting_release, NULL};
    int64_t n_faults = 0;
    (void)unused;
    assert_int_equal(sonde_set_allocator(&counting), SONDE_OK);
    for (int which = 0; which < 9; which++) {
        for (int64_t nth = 0;; nth++, n_faults++) {
            char *got;
            sonde_status status;
            n_until_failure = nth;
            status = draw(&got, which);
            if (status == SONDE_OK) {
                sonde_plot_text_free(got);
                assert_int_equal(n_live, 0);
                break;
            }
            assert_int_equal(status, SONDE_E_NOMEM);
            assert_null(got);
            assert_int_equal(n_live, 0);
        }
    }
    assert_int_equal(sonde_set_allocator(NULL), SONDE_OK);
    print_message("%lld allocations failed\n", (long long)n_faults);
    assert_true(n_faults > 50);
}

static void colours_follow_the_environment(void **unused)
{
    (void)unused;
    assert_int_equal(sonde_plot_terminal_colours(-1), SONDE_PLOT_DEPTH_NONE); /* no terminal */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_text_has_shades),
        cmocka_unit_test(plain_text_has_signed_digits),
        cmocka_unit_test(true_colour_names_each_colour_once),
        cmocka_unit_test(two_rows_share_a_line_as_half_blocks),
        cmocka_unit_test(no_label_steers_the_terminal_and_lines_fit),
        cmocka_unit_test(tokens_are_told_apart_without_colour),
        cmocka_unit_test(bars_are_as_long_as_their_values),
        cmocka_unit_test(nothing_to_plot_is_an_error),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(colours_follow_the_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
