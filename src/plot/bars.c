/* bars.c - bars in groups, and histograms.                                     floor 2: plot */
#include "plot/chart.h"

#include <math.h>
#include <stdlib.h>

/* A bar from the axis' zero (or its lower end) to a value; left and right as shares of the area's width. */
static void draw_bar(sondep_chart *chart, double left, double right, double value, int64_t colour)
{
    sondep_box a = chart->area;
    double from = chart->y.is_log ? 0 : fmin(fmax(sondep_axis_at(&chart->y, 0), 0), 1);
    double to = fmin(fmax(sondep_axis_at(&chart->y, value), 0), 1);

    sondep_canvas_fill(&chart->canvas,
                       (sondep_box){a.x + a.width * left, a.y + a.height * (1 - fmax(from, to)), a.width * (right - left),
                                    a.height * fabs(to - from)},
                       sondep_series_colour(colour));
}

/* Every group has a slot of equal width, of which 80 % are bars, one of each series in order.
 * What cannot be shown leaves its place empty, so that the others stay under their names. */
static void draw_groups(sondep_chart *chart)
{
    const double share = 0.8; /* of a group's width that its bars fill */

    for (int64_t g = 0; g < chart->n_groups; g++) {
        for (int64_t i = 0; i < chart->n_series; i++) {
            double width = share / (double)chart->n_series, value = chart->series[i].y[g];
            double left = ((double)g + (1 - share) / 2 + (double)i * width) / (double)chart->n_groups;
            if (isfinite(value) && (!chart->y.is_log || value > 0))
                draw_bar(chart, left, left + width / (double)chart->n_groups, value, i);
        }
    }
}

/* There must be a bar, and every series must have one for each group. */
static sonde_status check_series(const sonde_plot_series *series, int64_t n_series, int64_t n)
{
    if (n < 1 || n_series < 1)
        return SONDE_FAIL(SONDE_E_SHAPE, "nothing to plot: %lld groups of %lld bars", (long long)n, (long long)n_series);
    for (int64_t i = 0; i < n_series; i++)
        if (series[i].n != n)
            return SONDE_FAIL(SONDE_E_SHAPE, "shapes do not agree: series %lld has %lld values for %lld groups",
                              (long long)i, (long long)series[i].n, (long long)n);
    return SONDE_OK;
}

/* The vertical axis is found from all series together; the horizontal one only has names. */
sonde_status sonde_plot_bars(const char *path, const sonde_plot_label *labels, int64_t n, const sonde_plot_series *series,
                             int64_t n_series, const sonde_plot_opts *opts)
{
    sondep_chart chart = {.series = series, .n_series = n_series, .key = SONDEP_KEY_BLOCK, .groups = labels, .n_groups = n};
    double low = INFINITY, high = -INFINITY;
    int64_t n_bad = 0;
    sonde_status status;

    SONDE_TRY(sondep_plot_options(&chart.opts, opts));
    SONDE_TRY(check_series(series, n_series, n));
    for (int64_t i = 0; i < n_series; i++)
        sondep_extent(&low, &high, &n_bad, series[i].y, n, chart.opts.y_log != 0);
    /* Also where all values are far from zero: the length of a bar is its value. */
    if (chart.opts.y_log == 0) { /* bars start at zero */
        low = fmin(low, 0);
        high = fmax(high, 0);
    }
    if (n_bad > 0)
        SONDE_TRY_DONE(sondep_string_printf(&chart.notes, "%lld value%s not finite%s and left out.", (long long)n_bad,
                                            n_bad == 1 ? " is" : "s are", chart.opts.y_log ? " or not positive" : ""));
    SONDE_TRY_DONE(sondep_axis_make(&chart.y, low, high, chart.opts.y_low, chart.opts.y_high, chart.opts.y_log != 0, "y"));
    SONDE_TRY_DONE(sondep_chart_begin(&chart, path));
    draw_groups(&chart);
    status = sondep_chart_end(&chart);
done:
    sondep_chart_release(&chart);
    return status;
}

/* ---- histogram -------------------------------------------------------------------------------------------------- */

/* Ascending; the values are finite. */
static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

typedef struct bins {
    double low, high;
    int64_t n;
    double *counts; /* (n), owned */
    int64_t n_outside, n_bad;
} bins;

/* Freedman and Diaconis: a bin is twice the interquartile range wide, divided by the cube root of the count. */
static int64_t number_of_bins(const float *sorted, int64_t n, double low, double high)
{
    double quartiles = (double)sorted[(3 * n) / 4] - (double)sorted[n / 4];
    double width = 2 * quartiles / cbrt((double)n);
    double wanted = width > 0 ? ceil((high - low) / width) : 20;
    return wanted > 200 ? 200 : wanted < 5 ? 5 : (int64_t)wanted;
}

/* Counts the finite values into bins. They are sorted first, for the quartiles that the number of bins needs; NaN and
 * infinities are counted apart, as are values outside the ends that were asked for. */
static sonde_status make_bins(bins *out, const float *values, int64_t n, const sonde_plot_opts *opts)
{
    float *finite;
    int64_t n_finite = 0;
    sonde_status status;

    SONDE_TRY(SONDE_NEW(finite, n));
    for (int64_t i = 0; i < n; i++)
        if (isfinite(values[i]))
            finite[n_finite++] = values[i];
    /* Ends: what was asked for, else what there is; one value alone gets a bin around it. */
    out->n_bad = n - n_finite;
    SONDE_TRY_DONE(n_finite > 0 ? SONDE_OK
                                : SONDE_FAIL(SONDE_E_SHAPE, "nothing to plot: none of %lld values is finite", (long long)n));
    qsort(finite, (size_t)n_finite, sizeof *finite, compare_floats);
    out->low = opts->x_low != SONDE_PLOT_AUTO ? opts->x_low : finite[0];
    out->high = opts->x_high != SONDE_PLOT_AUTO ? opts->x_high : finite[n_finite - 1];
    if (out->low == out->high) {
        out->low -= fmax(0.5, fabs(out->low) / 100);
        out->high += fmax(0.5, fabs(out->high) / 100);
    }
    SONDE_TRY_DONE(out->low < out->high ? SONDE_OK
                                        : SONDE_FAIL(SONDE_E_ARG, "the histogram would span [%g, %g]", out->low, out->high));
    /* A value at the upper end belongs to the last bin, every other to the bin that it begins or lies in. */
    out->n = opts->n_bins > 0 ? opts->n_bins : number_of_bins(finite, n_finite, out->low, out->high);
    SONDE_TRY_DONE(SONDE_NEW(out->counts, out->n));
    for (int64_t i = 0; i < n_finite; i++) {
        double t = ((double)finite[i] - out->low) / (out->high - out->low);
        if (t < 0 || t > 1)
            out->n_outside++;
        else
            out->counts[t < 1 ? (int64_t)(t * (double)out->n) : out->n - 1]++;
    }
done:
    sondep_free(finite);
    return status;
}

/* What a reader would miss: values that no bar counts. */
static sonde_status note_bins(sondep_string *out, const bins *b)
{
    if (b->n_bad > 0)
        SONDE_TRY(sondep_string_printf(out, "%lld value%s not finite.%s", (long long)b->n_bad,
                                       b->n_bad == 1 ? " is" : "s are", b->n_outside > 0 ? "\n" : ""));
    if (b->n_outside > 0)
        SONDE_TRY(sondep_string_printf(out, "%lld value%s outside the picture.", (long long)b->n_outside,
                                       b->n_outside == 1 ? " lies" : "s lie"));
    return SONDE_OK;
}

/* Bars touch: there is an axis of values below, not groups. On a logarithmic axis a count of one must be seen, so the
 * axis
 * begins below it. */
sonde_status sonde_plot_histogram(const char *path, const float *values, int64_t n, const sonde_plot_opts *opts)
{
    sondep_chart chart = {.key = SONDEP_KEY_BLOCK};
    bins b = {0};
    double low = INFINITY, high = -INFINITY;
    int64_t n_empty = 0;
    sonde_status status;

    SONDE_TRY(sondep_plot_options(&chart.opts, opts));
    if (n < 1)
        return SONDE_FAIL(SONDE_E_SHAPE, "nothing to plot: %lld values", (long long)n);
    SONDE_TRY_DONE(make_bins(&b, values, n, &chart.opts));
    SONDE_TRY_DONE(note_bins(&chart.notes, &b));
    sondep_extent(&low, &high, &n_empty, b.counts, b.n, chart.opts.y_log != 0);
    low = chart.opts.y_log ? 0.8 : 0;
    high = fmax(high, 1);
    if (chart.opts.y_name == NULL)
        chart.opts.y_name = "number of values";
    SONDE_TRY_DONE(sondep_axis_make(&chart.x, b.low, b.high, b.low, b.high, false, "x"));
    SONDE_TRY_DONE(sondep_axis_make(&chart.y, low, high, chart.opts.y_low, chart.opts.y_high, chart.opts.y_log != 0, "y"));
    SONDE_TRY_DONE(sondep_chart_begin(&chart, path));
    /* Bins are shares of the area: the axis spans exactly them. */
    for (int64_t i = 0; i < b.n; i++)
        if (b.counts[i] > 0)
            draw_bar(&chart, (double)i / (double)b.n, (double)(i + 1) / (double)b.n, b.counts[i], 0);
    status = sondep_chart_end(&chart);
done:
    sondep_free(b.counts);
    sondep_chart_release(&chart);
    return status;
}
