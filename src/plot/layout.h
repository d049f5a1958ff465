/* plot/layout.h - where everything of a picture of matrices lies.              floor 2: plot
 *
 * Arithmetic only: what texts need has been measured, nothing is drawn. Lengths are in points.
 *
 *      title, subtitle
 *      y  row     +--------+  +--------+   | bar
 *      n  labels  | panel  |  | panel  |   | and its
 *      a          +--------+  +--------+   | ticks
 *      m           column labels           legend of what is not finite
 *      e              x name
 *      notes
 */
#ifndef SONDEP_PLOT_LAYOUT_H
#define SONDEP_PLOT_LAYOUT_H

#include "plot/canvas.h"
#include "plot/parts.h"

/* Distances that tests know too. */
enum {
    SONDEP_MARGIN = 14,      /* around the picture */
    SONDEP_LABEL_GAP = 5,    /* between cells and their labels */
    SONDEP_PANEL_GAP = 14,   /* between panels */
    SONDEP_LABEL_PITCH = 11, /* from one label to the next, at least */
    SONDEP_BAR_GAP = 20,     /* between the plots and the colour bar */
    SONDEP_BAR_WIDTH = 12,
    SONDEP_SWATCH_PITCH = 16
};

/* Width and height of a cell, in half points; the smallest is 1. n_rows and n_columns are what is shown after putting
 * together. Square where the matrix is causal or has as many rows as columns. */
typedef struct sondep_cell_size {
    double width, height;
} sondep_cell_size;
sondep_cell_size sondep_cell_size_for(int64_t n_rows, int64_t n_columns, bool has_labels, bool is_square, bool shows_values,
                                      double max_width, double max_height);

/* How many of n panels stand beside each other so that cells are largest, and what area that leaves each. */
int64_t sondep_panels_across(double *panel_width, double *panel_height, int64_t n, int64_t n_rows, int64_t n_columns,
                             bool is_square, const sonde_plot_opts *opts);

/* What a layout is made from. */
typedef struct sondep_heat_needs {
    int64_t n_panels, n_across;
    int64_t n_rows, n_columns; /* cells of the largest panel */
    sondep_cell_size cell;
    double row_label_width, column_label_height; /* 0: no labels */
    double panel_title_height;
    double header_height, notes_height; /* titles; notes */
    double x_name_height, y_name_width; /* y_name is turned upwards; 0: none */
    double bar_label_width, bar_name_width;
    int n_swatches;
    bool has_bar, shares_labels; /* labels only at the left and the bottom of all panels */
    double min_width;
} sondep_heat_needs;

typedef struct sondep_heat_layout {
    double width, height;
    double panel_width, panel_height; /* of the largest panel's cells */
    double pitch_x, pitch_y;          /* from one panel to the next */
    sondep_box plots;                 /* around all cells */
    sondep_box bar;
    double bar_name_x; /* middle of the bar's name */
    double swatches_y; /* top of the first swatch; x is the bar's */
    double y_name_x;   /* middle of the name of the rows */
    double x_name_y;   /* top of the name of the columns */
    double notes_y;
} sondep_heat_layout;

void sondep_heat_layout_make(sondep_heat_layout *out, const sondep_heat_needs *needs);

/* Where panel i's cells begin. */
void sondep_heat_panel_at(double *x, double *y, const sondep_heat_layout *layout, const sondep_heat_needs *needs, int64_t i);

#endif
