/* plot/parts.h - what every picture is made of, without drawing.               floor 2: plot
 *
 * Options as they are in effect, labels as they are shown, numbers and ticks, matrices put together to fit.
 */
#ifndef SONDEP_PLOT_PARTS_H
#define SONDEP_PLOT_PARTS_H

#include "plot/colour.h"

/* ---- options ---------------------------------------------------------------------------------------------------- */

/* *out = `given` over the defaults; NULL gives the defaults. Errors: SONDE_E_ARG (bounds; a newer, larger struct whose tail
 * is not zero). */
sonde_status sondep_plot_options(sonde_plot_opts *out, const sonde_plot_opts *given);

/* SONDE_E_SHAPE unless there is something to draw in every one of n matrices. */
sonde_status sondep_plot_check(const sonde_plot_matrix *m, int64_t n);

/* ---- labels ----------------------------------------------------------------------------------------------------- */

/* Appends a label as it is shown; *n_columns (may be NULL) grows by the columns of a terminal that it takes. */
sonde_status sondep_label_append(sondep_string *out, int64_t *n_columns, sonde_plot_label label);

/* The same, with spaces at the ends as they are, and nothing for the empty label: for tokens whose ground is coloured. */
sonde_status sondep_token_append(sondep_string *out, sonde_plot_label label);

/* Whether a line feed is in a token: the text goes on in the next line. */
bool sondep_label_ends_line(sonde_plot_label label);

/* Label i of `labels`, or where that is NULL the number first + i. */
sonde_status sondep_label_at(sondep_string *out, int64_t *n_columns, const sonde_plot_label *labels, int64_t first,
                             int64_t i);

/* Bytes of the longest beginning of a shown text that takes at most `columns` columns of a terminal, which *width gets;
 * marks stay with their letter. */
size_t sondep_text_prefix(int64_t *width, const char *text, size_t n, int64_t columns);

/* Columns of a terminal that a shown text takes. */
int64_t sondep_text_columns(const char *text, size_t n);

/* Appends a shown text in exactly `columns` columns: cut with … or filled with spaces, left or right. */
sonde_status sondep_text_fit(sondep_string *out, const char *text, size_t n, int64_t columns, bool is_right_aligned);

/* The next whole number of the series 1, 2, 5, 10, 20, ... that is at least x. */
int64_t sondep_round_stride(double x);

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

enum { SONDEP_MAX_TICKS = 24, SONDEP_TICK_BYTES = 48 };

/* Round values along an axis: multiples of 1, 2, 2.5 or 5 times a power of ten, or powers of ten. */
typedef struct sondep_ticks {
    double at[SONDEP_MAX_TICKS];
    char text[SONDEP_MAX_TICKS][SONDEP_TICK_BYTES]; /* with a real minus sign; without the common power below */
    int n;
    int exponent; /* the texts are to be multiplied by 10^exponent; 0 mostly */
} sondep_ticks;

/* About `wanted` ticks within [low, high], low < high; at least one. */
void sondep_ticks_linear(sondep_ticks *out, double low, double high, int wanted);
void sondep_ticks_log(sondep_ticks *out, double low, double high, int wanted); /* 0 < low < high */

/* A number with `digits` significant digits, a point and as few characters as that needs: 0.00123, 1.2e-7, NaN. With
 * `is_typeset`, a real minus sign. Returns out. */
char *sondep_number(char out[SONDEP_TICK_BYTES], double value, int digits, bool is_typeset);

/* " (×10⁻⁶)" for the name of an axis; "" for 0. Returns out. */
char *sondep_power_text(char out[SONDEP_TICK_BYTES], int exponent);

/* ---- cells ------------------------------------------------------------------------------------------------------ */

/* A matrix with neighbouring rows and columns put together: each cell shows the value of the largest magnitude, NaN if
 * there is one, empty if all are. */
typedef struct sondep_grid {
    int64_t n_rows, n_columns;         /* of cells */
    int64_t row_stride, column_stride; /* rows and columns of the matrix in one cell */
    float *values;                     /* (n_rows, n_columns), owned */
    unsigned char *kinds;              /* (n_rows, n_columns) sondep_cell, owned */
} sondep_grid;

/* As few put together as leaves at most max_rows x max_columns cells. Owns: sondep_grid_release. Errors: SONDE_E_NOMEM. */
sonde_status sondep_grid_make(sondep_grid *out, const sonde_plot_matrix *m, int64_t max_rows, int64_t max_columns);
void sondep_grid_release(sondep_grid *grid);

/* ---- what must be said ------------------------------------------------------------------------------------------ */

/* Appends the sentences that a picture of matrices owes its reader, one a line: what was put together, clipped, is not
 * finite, or is all one value. */
sonde_status sondep_notes(sondep_string *out, const sondep_range *range, const sondep_grid *grids, int64_t n,
                          const sonde_plot_opts *opts);

#endif
