/* Labels, numbers, ticks, grids and layouts: everything of a picture that needs no fonts. */
#include "plot/layout.h"

#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void labels_show_what_cannot_be_seen(void **unused)
{
    static const struct {
        const char *text;
        int64_t n_bytes;
        const char *shown;
        int64_t columns;
    } cases[] = {
        {"cat", -1, "cat", 3},
        {" cat ", -1, "·cat·", 5},
        {"two words", -1, "two words", 9},
        {"\n", -1, "⏎", 1},
        {"\r\n", -1, "␍⏎", 2},
        {"\t", -1, "⇥", 1},
        {"\0", 1, "\\x00", 4},
        {"\x1b[31m", -1, "\\x1b[31m", 8},
        {"\x7f", -1, "\\x7f", 4},
        {"\xc2\x9b"
         "2J",
         -1, "\\u{9b}2J", 8}, /* a control sequence introducer of one character */
        {"\xe4\xb8", -1, "\\xe4\\xb8", 8},
        {"a\xff"
         "b",
         -1, "a\\xffb", 6},
        {"日本", -1, "日本", 4},
        {"😀", -1, "😀", 2},
        {"é", -1, "é", 1},
        {"e\xcc\x81", -1, "e\xcc\x81", 1},
        {"\xcc\x81", -1, "◌\xcc\x81", 1},
        {" \xcc\x81", -1, "·◌\xcc\x81", 2},
        {"مرحبا", -1, "مرحبا", 5},
        {"\xe2\x80\xae"
         "x",
         -1, "\\u{202e}x", 9},
        {"\xe2\x80\x8b", -1, "\\u{200b}", 8},
        {"\xe2\x80\x8d", -1, "\\u{200d}", 8},
        {"👩\xe2\x80\x8d👧", -1, "👩\xe2\x80\x8d👧", 4},
        {"\xc2\xa0", -1, "\\u{a0}", 6},
        {"\xe3\x80\x80", -1, "\\u{3000}", 8},
        {"\xee\x80\x80", -1, "\\u{e000}", 8},
        {"\xef\xbb\xbf", -1, "\\u{feff}", 8},
        {"\xe2\x80\xa8", -1, "\\u{2028}", 8},
        {"", -1, "\"\"", 2},
        {NULL, 0, "\"\"", 2},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *shown;
        int64_t columns;
        assert_int_equal(sonde_plot_escape(&shown, &columns, (sonde_plot_label){cases[i].text, cases[i].n_bytes}), SONDE_OK);
        assert_string_equal(shown, cases[i].shown);
        assert_int_equal(columns, cases[i].columns);
        sonde_plot_text_free(shown);
    }
}

static void texts_are_cut_between_characters(void **unused)
{
    static const struct {
        const char *text;
        int64_t columns;
        const char *left, *right;
    } cases[] = {
        {"abc", 5, "abc  ", "  abc"},
        {"abcdef", 4, "abc…", "abc…"},
        {"日本語", 4, "日… ", " 日…"},
        {"日本", 4, "日本", "日本"},
        {"e\xcc\x81xyz", 3, "e\xcc\x81x…", "e\xcc\x81x…"},
        {"ab", 1, "…", "…"},
        {"ab", 0, "", ""},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sondep_string s = {0};
        assert_int_equal(sondep_text_fit(&s, cases[i].text, strlen(cases[i].text), cases[i].columns, false), SONDE_OK);
        assert_string_equal(s.text ? s.text : "", cases[i].left);
        s.n = 0;
        assert_int_equal(sondep_text_fit(&s, cases[i].text, strlen(cases[i].text), cases[i].columns, true), SONDE_OK);
        assert_string_equal(s.text ? s.text : "", cases[i].right);
        sondep_string_release(&s);
    }
}

static void check_numbers(void)
{
    char out[SONDEP_TICK_BYTES];
    assert_string_equal(sondep_number(out, 1.5, 3, false), "1.5");
    assert_string_equal(sondep_number(out, -0.00012345, 3, true), "−0.000123");
    assert_string_equal(sondep_number(out, 1e30, 3, false), "1e+30");
    assert_string_equal(sondep_number(out, -0.0, 3, false), "0");
    assert_string_equal(sondep_number(out, NAN, 3, false), "NaN");
    assert_string_equal(sondep_number(out, -INFINITY, 3, true), "−∞");
}

static void numbers_have_a_point_in_every_locale(void **unused)
{
    (void)unused;
    check_numbers();
    if (setlocale(LC_NUMERIC, "de_DE.UTF-8") == NULL) {
        print_message("skipped: no locale with a decimal comma is installed\n");
        return;
    }
    check_numbers();
    setlocale(LC_NUMERIC, "C");
}

static void check_ticks(double low, double high, const char *joined, int exponent)
{
    sondep_ticks t;
    char text[512] = "";
    sondep_ticks_linear(&t, low, high, 5);
    for (int i = 0; i < t.n; i++) {
        strcat(text, i ? " " : "");
        strcat(text, t.text[i]);
        assert_true(t.at[i] >= low - (high - low) * 1e-5 && t.at[i] <= high + (high - low) * 1e-5);
    }
    assert_string_equal(text, joined);
    assert_int_equal(t.exponent, exponent);
}

static void ticks_are_round(void **unused)
{
    (void)unused;
    check_ticks(0, 1, "0.0 0.2 0.4 0.6 0.8 1.0", 0);
    check_ticks(-2.7, 2.7, "−2 0 2", 0);
    check_ticks(0, 10, "0 2 4 6 8 10", 0);
    check_ticks(0, 12, "0.0 2.5 5.0 7.5 10.0", 0);
    check_ticks(0.9, 1.1, "0.90 0.95 1.00 1.05 1.10", 0);
    check_ticks(0, 30000, "0 10000 20000 30000", 0);
    check_ticks(0, 3e6, "0 1 2 3", 6);
    check_ticks(-3e-6, 3e-6, "−2 0 2", -6);
    check_ticks(-2e38, 2e38, "−2 −1 0 1 2", 38);
    check_ticks(0, 2e-40, "0.0 0.5 1.0 1.5 2.0", -40);
}

static void logarithmic_ticks_are_powers_of_ten(void **unused)
{
    sondep_ticks t;
    (void)unused;
    sondep_ticks_log(&t, 1e-7, 10, 5);
    assert_true(t.n >= 3);
    assert_string_equal(t.text[0], "10⁻⁷");
    sondep_ticks_log(&t, 1, 60, 5);
    assert_int_equal(t.n, 6);
    assert_string_equal(t.text[5], "50");
    sondep_ticks_log(&t, 3.1, 3.2, 5); /* nothing round inside */
    assert_int_equal(t.n, 2);
}

static void power_texts_are_raised(void **unused)
{
    char out[SONDEP_TICK_BYTES];
    (void)unused;
    assert_string_equal(sondep_power_text(out, 0), "");
    assert_string_equal(sondep_power_text(out, -12), " (×10⁻¹²)");
}

static void cells_keep_the_largest_magnitude(void **unused)
{
    static const float values[2 * 7] = {1, -3, 2, 0, 0, NAN, 5, -1, 0, 4, -INFINITY, -INFINITY, 2, -INFINITY};
    sonde_plot_matrix m = {.values = values, .n_rows = 2, .n_columns = 7};
    sondep_grid g;
    (void)unused;

    assert_int_equal(sondep_grid_make(&g, &m, 2, 4), SONDE_OK);
    assert_true(g.n_rows == 2 && g.n_columns == 4 && g.column_stride == 2);
    assert_true(g.values[0] == -3 && g.values[1] == 2 && g.values[3] == 5);
    assert_int_equal(g.kinds[2], SONDEP_CELL_NAN); /* never hidden */
    assert_true(g.values[4] == -1 && g.values[5] == 4);
    assert_int_equal(g.kinds[5], SONDEP_CELL_FINITE); /* goes before -inf */
    assert_int_equal(g.kinds[7], SONDEP_CELL_LOW_INFINITE);
    sondep_grid_release(&g);

    m.is_causal = 1;
    assert_int_equal(sondep_grid_make(&g, &m, 100, 100), SONDE_OK);
    assert_int_equal(g.kinds[1], SONDEP_CELL_EMPTY);
    assert_int_equal(g.kinds[7], SONDEP_CELL_FINITE);
    assert_int_equal(g.kinds[8], SONDEP_CELL_FINITE);
    assert_int_equal(g.kinds[9], SONDEP_CELL_EMPTY);
    sondep_grid_release(&g);
}

static bool overlap(sondep_box a, sondep_box b)
{
    return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

/* Whatever the numbers, nothing lies on anything else and all lies on the page. */
static void layouts_do_not_overlap(void **unused)
{
    static const int64_t sizes[] = {1, 2, 6, 17, 64, 200, 800};
    (void)unused;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
            for (int64_t n = 1; n <= 24; n += 23) {
                sondep_heat_needs needs = {.n_panels = n,
                                           .n_across = n == 1 ? 1 : 6,
                                           .n_rows = sizes[i],
                                           .n_columns = sizes[j],
                                           .row_label_width = 40,
                                           .column_label_height = 30,
                                           .header_height = 30,
                                           .x_name_height = 14,
                                           .y_name_width = 14,
                                           .bar_label_width = 20,
                                           .bar_name_width = 14,
                                           .n_swatches = 3,
                                           .has_bar = true,
                                           .shares_labels = n % 2 == 0,
                                           .notes_height = 12,
                                           .panel_title_height = n > 1 ? 16 : 0};
                sondep_heat_layout at;
                sondep_box page, last;

                needs.cell = sondep_cell_size_for(sizes[i], sizes[j], true, false, false, 900, 800);
                assert_true(needs.cell.width * (double)sizes[j] <= 900 && needs.cell.height * (double)sizes[i] <= 800);
                assert_true(needs.cell.width >= 1 && needs.cell.width * 2 == floor(needs.cell.width * 2));
                sondep_heat_layout_make(&at, &needs);
                page = (sondep_box){0, 0, at.width, at.height};
                sondep_heat_panel_at(&last.x, &last.y, &at, &needs, n - 1);
                assert_true(last.x + at.panel_width <= at.plots.x + at.plots.width + 1e-6);
                assert_true(last.y + at.panel_height <= at.plots.y + at.plots.height + 1e-6);
                assert_false(overlap(at.plots, at.bar));
                assert_true(at.plots.x >= SONDEP_MARGIN + needs.y_name_width + needs.row_label_width);
                assert_true(at.x_name_y >= at.plots.y + at.plots.height + needs.column_label_height);
                assert_true(at.swatches_y >= at.bar.y + at.bar.height);
                assert_true(at.notes_y >= at.x_name_y + needs.x_name_height &&
                            at.notes_y + needs.notes_height < page.height);
                assert_true(at.bar_name_x + needs.bar_name_width / 2 < page.width);
                assert_true(at.plots.x == floor(at.plots.x) && at.plots.y == floor(at.plots.y));
            }
        }
    }
}

static void panels_are_arranged_without_gaps_where_that_is_possible(void **unused)
{
    sonde_plot_opts opts;
    double w, h;
    (void)unused;
    sonde_plot_opts_init(&opts);
    assert_int_equal(sondep_panels_across(&w, &h, 1, 17, 17, true, &opts), 1);
    assert_int_equal(24 % sondep_panels_across(&w, &h, 24, 17, 17, true, &opts), 0);
    assert_int_equal(6 % sondep_panels_across(&w, &h, 6, 17, 17, true, &opts), 0);
    opts.panel_columns = 32;
    assert_int_equal(sondep_panels_across(&w, &h, 64, 17, 17, true, &opts), 32);
    assert_true(w >= 40 && h >= 40);
    assert_int_equal(sondep_panels_across(&w, &h, 5, 17, 17, true, &opts), 5);
}

static void options_are_checked_by_name(void **unused)
{
    sonde_plot_opts opts, effective;
    struct {
        sonde_plot_opts known;
        uint64_t later;
    } newer = {{0}, 0};
    (void)unused;

    sonde_plot_opts_init(&opts);
    assert_int_equal(sondep_plot_options(&effective, NULL), SONDE_OK);
    assert_true(effective.scale == 2 && effective.terminal_columns == 80 && effective.low == SONDE_PLOT_AUTO);
    opts.scale = 99;
    assert_int_equal(sondep_plot_options(&effective, &opts), SONDE_E_ARG);
    assert_string_equal(sonde_last_error()->message, "option 'scale' is 99, outside [0.5, 8]");
    opts.scale = NAN;
    assert_int_equal(sondep_plot_options(&effective, &opts), SONDE_E_ARG);

    sonde_plot_opts_init(&newer.known);
    newer.known.struct_size = sizeof newer;
    assert_int_equal(sondep_plot_options(&effective, &newer.known), SONDE_OK);
    newer.later = 1;
    assert_int_equal(sondep_plot_options(&effective, &newer.known), SONDE_E_ARG);
    sonde_plot_opts_init(&opts);
    opts.terminal_columns = 1; /* beyond what an older caller's struct holds */
    opts.struct_size = offsetof(sonde_plot_opts, terminal_columns);
    assert_int_equal(sondep_plot_options(&effective, &opts), SONDE_OK);
    assert_int_equal(effective.terminal_columns, 80);
    opts.struct_size = 0;
    assert_int_equal(sondep_plot_options(&effective, &opts), SONDE_E_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_show_what_cannot_be_seen),
        cmocka_unit_test(texts_are_cut_between_characters),
        cmocka_unit_test(numbers_have_a_point_in_every_locale),
        cmocka_unit_test(ticks_are_round),
        cmocka_unit_test(logarithmic_ticks_are_powers_of_ten),
        cmocka_unit_test(power_texts_are_raised),
        cmocka_unit_test(cells_keep_the_largest_magnitude),
        cmocka_unit_test(layouts_do_not_overlap),
        cmocka_unit_test(panels_are_arranged_without_gaps_where_that_is_possible),
        cmocka_unit_test(options_are_checked_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
