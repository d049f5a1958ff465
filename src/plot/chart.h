/* plot/chart.h - pictures with two axes: curves, clouds, bars, histograms.     floor 2: plot */
#ifndef SONDEP_PLOT_CHART_H
#define SONDEP_PLOT_CHART_H

#include "plot/canvas.h"
#include "plot/parts.h"

/* One axis: the values at its ends and the ticks between. */
typedef struct sondep_axis {
    double low, high;
    bool is_log;
    sondep_ticks ticks; /* none on an axis of named groups */
} sondep_axis;

/* What stands for a series in the legend. */
typedef enum sondep_key { SONDEP_KEY_LINE, SONDEP_KEY_POINT, SONDEP_KEY_BLOCK } sondep_key;

typedef struct sondep_chart {
    sonde_plot_opts opts;
    sondep_canvas canvas;
    sondep_axis x, y;
    const sonde_plot_series *series;
    int64_t n_series;
    sondep_key key;
    const sonde_plot_label *groups; /* names below the axis, for bars; NULL: numbers if n_groups > 0 */
    int64_t n_groups, group_stride;
    bool groups_upwards;
    sondep_string notes, x_name, y_name; /* names with their powers of ten */
    sondep_box area;                     /* between the axes */
    double x_labels, y_labels;           /* height of the labels below, width of those at the left */
    double legend_width, title_height, header_height;
} sondep_chart;

/* Smallest and largest of n values that can be shown; counts the others into *n_left_out. *low > *high if there are none. */
void sondep_extent(double *low, double *high, int64_t *n_left_out, const double *values, int64_t n, bool is_log);

/* An axis over [low, high] with a little room, or over what is given. Errors: SONDE_E_ARG if the given ends are not in
 * order, or not positive where the axis is logarithmic. */
sonde_status sondep_axis_make(sondep_axis *out, double low, double high, double given_low, double given_high, bool is_log,
                              const char *name);

/* Place of a value along an axis, 0 to 1 within it. */
double sondep_axis_at(const sondep_axis *axis, double value);

/* Page, axes, names, legend; then the area is clipped for what is drawn in it. Options and axes must be set. */
sonde_status sondep_chart_begin(sondep_chart *chart, const char *path);
sonde_status sondep_chart_end(sondep_chart *chart);
void sondep_chart_release(sondep_chart *chart);

/* The marker of series i around a point; 4 shapes in turn. */
void sondep_marker(sondep_canvas *canvas, int64_t i, double x, double y);

/* Sets colour, width and dashes of curve i. */
void sondep_line_style(sondep_canvas *canvas, int64_t i);

#endif
