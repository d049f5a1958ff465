/* What the colour maps promise: equal steps, also for a deuteranope; order by lightness; a neutral middle. The formulas
 * are written out here again (OKLab: Ottosson 2020; deuteranopia: Machado et al. 2009), not taken from the generator. */
#include "plot/colour.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { STEPS = 16 };

typedef struct lab {
    double l, a, b;
} lab;

static double to_linear(int c)
{
    double s = c / 255.0;
    return s <= 0.04045 ? s / 12.92 : pow((s + 0.055) / 1.055, 2.4);
}

static lab to_oklab(double r, double g, double b)
{
    double l = cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
    double m = cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
    double s = cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
    return (lab){0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s,
                 1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s,
                 0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s};
}

static lab seen(sonde_plot_colours map, double t, bool is_deuteranope)
{
    unsigned char c[3];
    double r, g, b;

    sonde_plot_colour(c, map, t);
    r = to_linear(c[0]);
    g = to_linear(c[1]);
    b = to_linear(c[2]);
    if (!is_deuteranope)
        return to_oklab(r, g, b);
    return to_oklab(fmax(0, 0.367322 * r + 0.860646 * g - 0.227968 * b), fmax(0, 0.280085 * r + 0.672501 * g + 0.047413 * b),
                    fmax(0, -0.011820 * r + 0.042940 * g + 0.968881 * b));
}

static double distance(lab p, lab q)
{
    return sqrt((p.l - q.l) * (p.l - q.l) + (p.a - q.a) * (p.a - q.a) + (p.b - q.b) * (p.b - q.b));
}

/* Largest deviation of one of 16 steps from their mean, as a share of it. */
static double unevenness(sonde_plot_colours map, bool is_deuteranope)
{
    double steps[STEPS], mean = 0, worst = 0;
    for (int i = 0; i < STEPS; i++) {
        steps[i] = distance(seen(map, (double)i / STEPS, is_deuteranope), seen(map, (i + 1.0) / STEPS, is_deuteranope));
        mean += steps[i] / STEPS;
    }
    for (int i = 0; i < STEPS; i++)
        worst = fmax(worst, fabs(steps[i] / mean - 1));
    return worst;
}

static void steps_look_equal(void **unused)
{
    (void)unused;
    assert_true(unevenness(SONDE_PLOT_COLOURS_SEQUENTIAL, false) <= 0.07); /* seen: 0.055, rounding to 8 bits */
    assert_true(unevenness(SONDE_PLOT_COLOURS_DIVERGING, false) <= 0.04);  /* seen: 0.021 */
    assert_true(unevenness(SONDE_PLOT_COLOURS_SEQUENTIAL, true) <= 0.20);  /* seen: 0.179 */
    assert_true(unevenness(SONDE_PLOT_COLOURS_DIVERGING, true) <= 0.15);   /* seen: 0.126 */
}

static void lightness_alone_tells_the_value(void **unused)
{
    (void)unused;
    for (int deuteranope = 0; deuteranope < 2; deuteranope++) {
        for (int i = 0; i < 64; i++) {
            lab low = seen(SONDE_PLOT_COLOURS_SEQUENTIAL, i / 64.0, deuteranope);
            lab high = seen(SONDE_PLOT_COLOURS_SEQUENTIAL, (i + 1) / 64.0, deuteranope);
            assert_true(high.l > low.l);
            low = seen(SONDE_PLOT_COLOURS_DIVERGING, i / 64.0, deuteranope);
            high = seen(SONDE_PLOT_COLOURS_DIVERGING, (i + 1) / 64.0, deuteranope);
            assert_true(i < 32 ? high.l > low.l : high.l < low.l);
        }
    }
}

static void the_diverging_map_is_symmetric_about_a_neutral_middle(void **unused)
{
    unsigned char c[3];
    (void)unused;
    sonde_plot_colour(c, SONDE_PLOT_COLOURS_DIVERGING, 0.5);
    assert_int_equal(c[0], c[1]);
    assert_int_equal(c[1], c[2]);
    for (int i = 0; i <= 64; i++) {
        lab blue = seen(SONDE_PLOT_COLOURS_DIVERGING, 0.5 - i / 128.0, false);
        lab red = seen(SONDE_PLOT_COLOURS_DIVERGING, 0.5 + i / 128.0, false);
        assert_true(fabs(blue.l - red.l) <= 0.006); /* seen: 0.003, rounding to 8 bits */
    }
}

static void what_is_outside_or_not_a_number_is_defined(void **unused)
{
    unsigned char end[3], beyond[3], nan[3];
    (void)unused;
    sonde_plot_colour(end, SONDE_PLOT_COLOURS_AUTO, 1);
    sonde_plot_colour(beyond, SONDE_PLOT_COLOURS_SEQUENTIAL, INFINITY);
    assert_memory_equal(end, beyond, 3);
    sonde_plot_colour(end, SONDE_PLOT_COLOURS_DIVERGING, 0);
    sonde_plot_colour(beyond, SONDE_PLOT_COLOURS_DIVERGING, -7);
    assert_memory_equal(end, beyond, 3);
    sonde_plot_colour(nan, SONDE_PLOT_COLOURS_DIVERGING, NAN);
    assert_true(nan[0] == nan[1] && nan[1] == nan[2] && nan[0] < 200 && nan[0] > 100);
}

/* xterm's colours 16 to 255. */
static void colour_of_256(int out[3], int index)
{
    static const int levels[6] = {0, 95, 135, 175, 215, 255};
    if (index >= 232) {
        out[0] = out[1] = out[2] = 8 + 10 * (index - 232);
        return;
    }
    out[0] = levels[(index - 16) / 36];
    out[1] = levels[(index - 16) / 6 % 6];
    out[2] = levels[(index - 16) % 6];
}

static int distance_256(int index, sondep_rgb c)
{
    int rgb[3];
    colour_of_256(rgb, index);
    return (rgb[0] - c.r) * (rgb[0] - c.r) + (rgb[1] - c.g) * (rgb[1] - c.g) + (rgb[2] - c.b) * (rgb[2] - c.b);
}

static void the_nearest_of_256_is_found(void **unused)
{
    (void)unused;
    for (int i = 0; i < 4096; i++) {
        sondep_rgb c = {(unsigned char)(i % 16 * 17), (unsigned char)(i / 16 % 16 * 17), (unsigned char)(i / 256 * 17)};
        int best = 16;
        for (int k = 16; k < 256; k++)
            best = distance_256(k, c) < distance_256(best, c) ? k : best;
        assert_int_equal(distance_256(sondep_colour_256(c), c), distance_256(best, c));
    }
}

static sondep_range range_of(const float *values, int64_t n, const sonde_plot_opts *opts)
{
    sonde_plot_matrix m = {.values = values, .n_rows = 1, .n_columns = n};
    sondep_range range;
    assert_int_equal(sondep_range_of(&range, &m, 1, opts), SONDE_OK);
    return range;
}

static void ranges_follow_the_data_and_the_options(void **unused)
{
    static const float mixed[5] = {-1, 0, 2, NAN, -INFINITY}, positive[3] = {2, 4, 3}, zeros[2] = {0, 0},
                       small[3] = {0.01f, 1, 2};
    sonde_plot_opts opts;
    sondep_range r;
    (void)unused;

    sonde_plot_opts_init(&opts);
    r = range_of(mixed, 5, &opts);
    assert_true(r.is_diverging && r.low == -2 && r.high == 2);
    assert_true(r.n_cells[SONDEP_CELL_NAN] == 1 && r.n_cells[SONDEP_CELL_LOW_INFINITE] == 1 && r.n_clipped == 0);
    r = range_of(positive, 3, &opts);
    assert_true(!r.is_diverging && r.low == 2 && r.high == 4);
    r = range_of(small, 3, &opts);
    assert_true(r.low == 0 && r.high == 2); /* near zero means zero */
    r = range_of(zeros, 2, &opts);
    assert_true(r.low == 0 && r.high == 1);
    r = range_of(mixed + 3, 2, &opts); /* nothing finite */
    assert_true(r.low < r.high && r.n_cells[SONDEP_CELL_FINITE] == 0);

    opts.high = 1.5;
    r = range_of(mixed, 5, &opts);
    assert_true(r.low == -1.5 && r.high == 1.5 && r.n_clipped == 1);
    opts.low = 3;
    assert_int_equal(sondep_range_of(&r, &(sonde_plot_matrix){.values = mixed, .n_rows = 1, .n_columns = 5}, 1, &opts),
                     SONDE_E_ARG);
}

static void a_quantile_leaves_its_share_inside(void **unused)
{
    float values[1000];
    sonde_plot_opts opts;
    sondep_range r;
    (void)unused;

    sonde_plot_opts_init(&opts);
    opts.range = SONDE_PLOT_RANGE_QUANTILE;
    for (int i = 0; i < 1000; i++)
        values[(i * 389) % 1000] = (float)(i + 1) * (i % 2 ? 1 : -1); /* magnitudes 1 to 1000, shuffled */
    r = range_of(values, 1000, &opts);
    assert_true(r.high == 990 && r.low == -990 && r.n_clipped == 10);
    for (int i = 0; i < 1000; i++)
        values[i] = i == 77 ? 5 : 0; /* the quantile is zero: all of the range is taken */
    r = range_of(values, 1000, &opts);
    assert_true(r.low == 0 && r.high == 5 && r.n_clipped == 0);
}

static void huge_values_do_not_overflow(void **unused)
{
    static const float huge[2] = {-3e38f, 3e38f};
    sonde_plot_opts opts;
    sondep_range r;
    sondep_rgb c;
    (void)unused;
    sonde_plot_opts_init(&opts);
    r = range_of(huge, 2, &opts);
    c = sondep_range_colour(&r, 0);
    assert_true(c.r == c.g && c.g == c.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_look_equal),
        cmocka_unit_test(lightness_alone_tells_the_value),
        cmocka_unit_test(the_diverging_map_is_symmetric_about_a_neutral_middle),
        cmocka_unit_test(what_is_outside_or_not_a_number_is_defined),
        cmocka_unit_test(the_nearest_of_256_is_found),
        cmocka_unit_test(ranges_follow_the_data_and_the_options),
        cmocka_unit_test(a_quantile_leaves_its_share_inside),
        cmocka_unit_test(huge_values_do_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
