/* lines.c - curves and clouds of points.                                       floor 2: plot */
#include "plot/chart.h"

#include <math.h>

/* Point j of a series on the page; false if it cannot be shown. */
static bool point_at(double *x, double *y, const sondep_chart *chart, const sonde_plot_series *s, int64_t j)
{
    double vx = s->x ? s->x[j] : (double)j, vy = s->y[j];

    if (!isfinite(vx) || !isfinite(vy) || (chart->x.is_log && vx <= 0) || (chart->y.is_log && vy <= 0))
        return false;
    *x = chart->area.x + chart->area.width * sondep_axis_at(&chart->x, vx);
    *y = chart->area.y + chart->area.height * (1 - sondep_axis_at(&chart->y, vy));
    return fabs(*x) < 1e6 && fabs(*y) < 1e6; /* far outside the picture: cairo's coordinates end there */
}

/* A point that cannot be shown ends a run; the next one begins another, so that gaps are seen. */
static void draw_curve(sondep_chart *chart, int64_t i)
{
    const sonde_plot_series *s = &chart->series[i];
    cairo_t *cr = chart->canvas.cr;
    double last_x = 0, last_y = 0;
    int64_t n_in_run = 0;

    cairo_new_path(cr);
    for (int64_t j = 0; j < s->n; j++) {
        double x, y;
        if (!point_at(&x, &y, chart, s, j)) {
            n_in_run = 0;
            continue;
        }
        if (n_in_run > 0 && j + 1 < s->n && fabs(x - last_x) < 0.05 && fabs(y - last_y) < 0.05)
            continue; /* a million steps of a curve need no more points than can be seen */
        if (n_in_run == 0) {
            cairo_move_to(cr, x, y);
            cairo_line_to(cr, x, y); /* a point alone is seen as a dot, by its round ends */
        } else {
            cairo_line_to(cr, x, y);
        }
        last_x = x;
        last_y = y;
        n_in_run++;
    }
    /* One stroke for all runs. */
    sondep_line_style(&chart->canvas, i);
    cairo_set_line_cap(cr, CAIRO_LINE_CAP_ROUND);
    cairo_stroke(cr);
    cairo_set_dash(cr, NULL, 0, 0);
    cairo_set_line_cap(cr, CAIRO_LINE_CAP_BUTT);
}

/* Later series lie over earlier ones. */
static void draw_cloud(sondep_chart *chart, int64_t i)
{
    const sonde_plot_series *s = &chart->series[i];
    for (int64_t j = 0; j < s->n; j++) {
        double x, y;
        if (point_at(&x, &y, chart, s, j))
            sondep_marker(&chart->canvas, i, x, y);
    }
}

/* Both axes over all series; what is left out is said. */
static sonde_status make_axes(sondep_chart *chart)
{
    const sonde_plot_opts *o = &chart->opts;
    double x_low = INFINITY, x_high = -INFINITY, y_low = INFINITY, y_high = -INFINITY;
    int64_t n_bad = 0, ignored = 0;

    /* Extremes of both axes. Series without x count from 0, or from 1 where zero cannot be shown. */
    for (int64_t i = 0; i < chart->n_series; i++) {
        const sonde_plot_series *s = &chart->series[i];
        double ends[2] = {o->x_log ? 1 : 0, (double)(s->n - 1)};
        if (s->x != NULL)
            sondep_extent(&x_low, &x_high, &ignored, s->x, s->n, o->x_log != 0);
        else if (s->n > 0)
            sondep_extent(&x_low, &x_high, &ignored, ends, 2, o->x_log != 0);
        sondep_extent(&y_low, &y_high, &ignored, s->y, s->n, o->y_log != 0);
        for (int64_t j = 0; j < s->n; j++) {
            double x = s->x ? s->x[j] : (double)j;
            n_bad += !isfinite(x) || !isfinite(s->y[j]) || (o->x_log && x <= 0) || (o->y_log && s->y[j] <= 0);
        }
    }
    /* A point is left out if either of its numbers cannot be shown. */
    if (n_bad > 0)
        SONDE_TRY(sondep_string_printf(&chart->notes, "%lld point%s not finite%s and left out.", (long long)n_bad,
                                       n_bad == 1 ? " is" : "s are", o->x_log || o->y_log ? " or not positive" : ""));
    SONDE_TRY(sondep_axis_make(&chart->x, x_low, x_high, o->x_low, o->x_high, o->x_log != 0, "x"));
    return sondep_axis_make(&chart->y, y_low, y_high, o->y_low, o->y_high, o->y_log != 0, "y");
}

/* Curves and clouds differ only in what is drawn for a series. */
static sonde_status plot_series(const char *path, const sonde_plot_series *series, int64_t n_series,
                                const sonde_plot_opts *opts, sondep_key key)
{
    sondep_chart chart = {.series = series, .n_series = n_series, .key = key};
    int64_t n_points = 0;
    sonde_status status;

    SONDE_TRY(sondep_plot_options(&chart.opts, opts));
    for (int64_t i = 0; i < n_series; i++)
        n_points += series[i].n;
    if (n_points < 1)
        return SONDE_FAIL(SONDE_E_SHAPE, "nothing to plot: %lld points in %lld series", (long long)n_points,
                          (long long)n_series);
    SONDE_TRY_DONE(make_axes(&chart));
    SONDE_TRY_DONE(sondep_chart_begin(&chart, path));
    for (int64_t i = 0; i < n_series; i++) {
        if (key == SONDEP_KEY_LINE)
            draw_curve(&chart, i);
        else
            draw_cloud(&chart, i);
    }
    status = sondep_chart_end(&chart);
done:
    sondep_chart_release(&chart);
    return status;
}

sonde_status sonde_plot_lines(const char *path, const sonde_plot_series *series, int64_t n_series,
                              const sonde_plot_opts *opts)
{
    return plot_series(path, series, n_series, opts, SONDEP_KEY_LINE);
}

sonde_status sonde_plot_scatter(const char *path, const sonde_plot_series *series, int64_t n_series,
                                const sonde_plot_opts *opts)
{
    return plot_series(path, series, n_series, opts, SONDEP_KEY_POINT);
}
