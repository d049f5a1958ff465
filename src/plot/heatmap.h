/* plot/heatmap.h - a picture of matrices while it is made.                     floor 2: plot */
#ifndef SONDEP_PLOT_HEATMAP_H
#define SONDEP_PLOT_HEATMAP_H

#include "plot/layout.h"

/* Labels along one side of a matrix. */
typedef struct sondep_side {
    const sonde_plot_label *labels; /* NULL: numbers */
    int64_t first, n;               /* number of item 0; items */
    double pitch;                   /* points per item */
    int64_t stride;                 /* every stride-th label is shown */
    bool is_upwards;                /* columns whose labels do not fit lying */
    double extent;                  /* width of row labels, height of column labels */
} sondep_side;

typedef struct sondep_heat {
    sonde_plot_opts opts;
    const sonde_plot_matrix *panels;
    int64_t n_panels;
    sondep_range *ranges; /* (n_panels): all the same unless panel_own_ranges */
    sondep_grid *grids;   /* (n_panels) */
    sondep_canvas canvas;
    sondep_heat_needs needs;
    sondep_heat_layout layout;
    sondep_side rows, columns; /* of panel 0 if labels are shared; recomputed for each panel otherwise */
    sondep_ticks ticks;        /* of the bar */
    sondep_string bar_name, notes;
    double title_height;
} sondep_heat;

/* Whether label i is among those shown. */
bool sondep_side_shows(const sondep_side *side, int64_t i);

/* The sides of panel k: which labels are shown and what they need (heatmap_labels.c). Errors: SONDE_E_NOMEM. */
sonde_status sondep_heat_sides(sondep_heat *heat, int64_t k);

/* Draws the labels of panel k, whose cells begin at (x, y). */
sonde_status sondep_heat_draw_labels(sondep_heat *heat, int64_t k, double x, double y);

/* Draws the cells of panel k (heatmap_cells.c). */
sonde_status sondep_heat_draw_cells(sondep_heat *heat, int64_t k, double x, double y);

/* Draws the colour bar and the legend of what is not finite. */
sonde_status sondep_heat_draw_bar(sondep_heat *heat);

#endif
