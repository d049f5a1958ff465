/* plot/colour.h - values to colours.                                           floor 2: plot */
#ifndef SONDEP_PLOT_COLOUR_H
#define SONDEP_PLOT_COLOUR_H

#include "base/base.h"

#include <sonde/plot.h>

enum { SONDEP_N_COLOURS = 257 }; /* odd: the diverging map has a middle, entry 128 */

/* What a cell is. */
typedef enum sondep_cell {
    SONDEP_CELL_FINITE = 0,
    SONDEP_CELL_NAN = 1,
    SONDEP_CELL_LOW_INFINITE = 2,  /* -inf: a masked attention score */
    SONDEP_CELL_HIGH_INFINITE = 3, /* +inf */
    SONDEP_CELL_EMPTY = 4,         /* masked by the caller: nothing is drawn */
    SONDEP_N_CELLS = 5
} sondep_cell;

typedef struct sondep_rgb {
    unsigned char r, g, b;
} sondep_rgb;

/* Values that a picture shows and which colours stand for them. */
typedef struct sondep_range {
    double low, high; /* values at the ends of the colour bar, low < high */
    bool is_diverging;
    double smallest, largest;        /* of the finite values; 0 if there are none */
    int64_t n_cells[SONDEP_N_CELLS]; /* how many values of each kind */
    int64_t n_clipped;               /* finite values outside [low, high] */
} sondep_range;

/* The range of n matrices together, as the options ask. Errors: SONDE_E_ARG if low >= high are given, SONDE_E_NOMEM. */
sonde_status sondep_range_of(sondep_range *out, const sonde_plot_matrix *m, int64_t n, const sonde_plot_opts *opts);

/* What value i of a matrix is; `row` and `column` say where it lies. */
sondep_cell sondep_cell_kind(const sonde_plot_matrix *m, int64_t row, int64_t column);

/* Colour of a finite value, of a cell, of curve i (8 that differ, then again), and the nearest of xterm's 256. */
sondep_rgb sondep_range_colour(const sondep_range *range, double value);
sondep_rgb sondep_cell_colour(const sondep_range *range, sondep_cell kind, double value);
sondep_rgb sondep_series_colour(int64_t i);
int sondep_colour_256(sondep_rgb colour);

/* Lightness of a colour (CIE L*, 0 to 100): text on it is white below 60. */
double sondep_lightness(sondep_rgb colour);

/* What the legend says about a kind of cell ("NaN", "−∞", "+∞"). */
const char *sondep_cell_name(sondep_cell kind);

extern const unsigned char sondep_sequential_table[SONDEP_N_COLOURS][3], sondep_diverging_table[SONDEP_N_COLOURS][3];

#endif
