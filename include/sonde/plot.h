/* sonde/plot.h - pictures: heatmaps, panels, lines, bars, histograms, tokens, drawings.  floor 2: plot
 *
 * Numbers and labels to a picture: a file (.png, .svg, .pdf by its ending) or text for a terminal. Nothing here knows
 * what a model is. The easy way to each picture is NULL options:
 *
 *   float values[2 * 3] = {0, 1, -1, 0.5f, 2, -2};
 *   sonde_plot_matrix m = {.values = values, .n_rows = 2, .n_columns = 3};
 *   sonde_plot_heatmap("picture.png", &m, NULL);
 *
 * What is drawn is said in the picture: values that were clipped, columns that were put together because there are too
 * many, values that are not finite. Texts are shown as they are in any script; what cannot be seen in them is shown by
 * an escape (see sonde_plot_escape). Numbers are written with a point whatever the locale.
 *
 * Threads: every function may be called from many threads at once. Nothing is read from the environment but by
 * sonde_plot_terminal_colours (and the fonts that fontconfig finds).
 */
#ifndef SONDE_PLOT_H
#define SONDE_PLOT_H

#include <sonde/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- options ------------------------------------------------------------------------------------------------------- */

/* "Chosen from the data" for the options that are numbers: the lowest finite double, which no axis needs. */
#define SONDE_PLOT_AUTO (-1.7976931348623157e308)

/* Colour maps. Both have equal steps of perceived difference and stay ordered for people who are colour-blind: their
 * lightness alone tells the value (tools/colourmaps.py makes them and says how). */
typedef enum sonde_plot_colours {
    SONDE_PLOT_COLOURS_AUTO = 0,       /* diverging if values of both signs occur, else sequential */
    SONDE_PLOT_COLOURS_SEQUENTIAL = 1, /* dark blue, green, light yellow: the higher the lighter */
    SONDE_PLOT_COLOURS_DIVERGING = 2   /* blue, neutral at the middle, red-orange: the further from the middle the darker */
} sonde_plot_colours;

/* Which values the ends of the colours stand for, where `low` and `high` do not say it. */
typedef enum sonde_plot_range {
    SONDE_PLOT_RANGE_AUTO = 0,      /* symmetric about zero for the diverging map, else full, from zero where that is near */
    SONDE_PLOT_RANGE_FULL = 1,      /* from the smallest finite value to the largest */
    SONDE_PLOT_RANGE_SYMMETRIC = 2, /* from -a to a, a the largest magnitude */
    SONDE_PLOT_RANGE_QUANTILE = 3   /* as AUTO, but of the `quantile` of the values (or magnitudes); the rest is clipped */
} sonde_plot_range;

/* How much colour a terminal shows. */
typedef enum sonde_plot_depth {
    SONDE_PLOT_DEPTH_NONE = 0, /* no escape sequences at all: shades and digits */
    SONDE_PLOT_DEPTH_256 = 1,  /* the nearest of xterm's 256 colours */
    SONDE_PLOT_DEPTH_TRUE = 2  /* 24 bits */
} sonde_plot_depth;

/* The one list of options: kind, name, default, smallest, largest, what it is. TEXT is UTF-8 with a NUL, NULL for none;
 * WHOLE an int64_t, REAL a double (SONDE_PLOT_AUTO passes where it is the default). Lengths are in points, 1/72 inch; a
 * PNG has `scale` pixels for each. New options are appended. */
#define SONDE_PLOT_OPTION_LIST(TEXT, WHOLE, REAL)                                                                  \
    TEXT(title, "line above the picture")                                                                          \
    TEXT(subtitle, "smaller line below the title: model, hook, text")                                              \
    TEXT(x_name, "what the columns, or the horizontal axis, are")                                                  \
    TEXT(y_name, "what the rows, or the vertical axis, are")                                                       \
    TEXT(value_name, "what the colours mean, with the unit; name of the colour bar")                               \
    WHOLE(colours, SONDE_PLOT_COLOURS_AUTO, 0, 2, "colour map, a sonde_plot_colours")                              \
    WHOLE(range, SONDE_PLOT_RANGE_AUTO, 0, 3, "ends of the colours, a sonde_plot_range")                           \
    REAL(low, SONDE_PLOT_AUTO, -1e300, 1e300, "value of the first colour; goes before `range`")                    \
    REAL(high, SONDE_PLOT_AUTO, -1e300, 1e300, "value of the last colour; goes before `range`")                    \
    REAL(quantile, 0.99, 0.5, 1, "share of the values that RANGE_QUANTILE keeps unclipped")                        \
    REAL(x_low, SONDE_PLOT_AUTO, -1e300, 1e300, "left end of the horizontal axis: lines, scatter, histogram")      \
    REAL(x_high, SONDE_PLOT_AUTO, -1e300, 1e300, "right end of the horizontal axis")                               \
    REAL(y_low, SONDE_PLOT_AUTO, -1e300, 1e300, "lower end of the vertical axis: lines, scatter, bars, histogram") \
    REAL(y_high, SONDE_PLOT_AUTO, -1e300, 1e300, "upper end of the vertical axis")                                 \
    WHOLE(x_log, 0, 0, 1, "1: the horizontal axis is logarithmic (lines, scatter)")                                \
    WHOLE(y_log, 0, 0, 1, "1: the vertical axis is logarithmic (lines, scatter, bars, histogram)")                 \
    WHOLE(n_bins, 0, 0, 10000, "bars of a histogram; 0: Freedman and Diaconis's rule")                             \
    REAL(max_width, 900, 200, 20000, "widest plotted area; cells are put together to stay within")                 \
    REAL(max_height, 800, 100, 20000, "highest plotted area")                                                      \
    REAL(scale, 2, 0.5, 8, "pixels of a PNG for each point")                                                       \
    WHOLE(panel_columns, 0, 0, 1000, "panels beside each other; 0: as the width allows")                           \
    WHOLE(panel_own_ranges, 0, 0, 1, "1: each panel has a range of its own and no shared colour bar")              \
    WHOLE(show_values, 0, 0, 1, "1: write the number into each cell (where it fits)")                              \
    WHOLE(depth, SONDE_PLOT_DEPTH_NONE, 0, 2, "terminal: colours it shows, a sonde_plot_depth")                    \
    WHOLE(terminal_columns, 80, 20, 10000, "terminal: no line is wider")                                           \
    WHOLE(terminal_lines, 48, 4, 100000, "terminal: lines for the cells; rows are put together to stay within")

#define SONDE_PLOT_OPTION_TEXT(name, help) const char *name;
#define SONDE_PLOT_OPTION_WHOLE(name, default_value, smallest, largest, help) int64_t name;
#define SONDE_PLOT_OPTION_REAL(name, default_value, smallest, largest, help) double name;

/* How a picture is to look; see the list above. `struct_size` first, as sonde_plot_opts_init sets it: an old caller and
 * a new library go together. */
typedef struct sonde_plot_opts {
    uint64_t struct_size;
    SONDE_PLOT_OPTION_LIST(SONDE_PLOT_OPTION_TEXT, SONDE_PLOT_OPTION_WHOLE, SONDE_PLOT_OPTION_REAL)
} sonde_plot_opts;

#undef SONDE_PLOT_OPTION_TEXT
#undef SONDE_PLOT_OPTION_WHOLE
#undef SONDE_PLOT_OPTION_REAL

/* Sets every option to its default. Wherever options are taken, NULL means these. An option outside its bounds is an
 * error of the function that is given it: SONDE_E_ARG with the name, the number and the bounds.
 * Owns: nothing; texts stay the caller's. Errors: none. */
SONDE_API void sonde_plot_opts_init(sonde_plot_opts *opts);

/* ---- what is plotted -------------------------------------------------------------------------------------------------- */

/* A label: `n_bytes` bytes that need no NUL and need not be UTF-8 (a token may be part of a character), or with
 * n_bytes = -1 all up to a NUL. A NULL text is an empty label. */
typedef struct sonde_plot_label {
    const char *text;
    int64_t n_bytes;
} sonde_plot_label;

/* A row or column range that a frame is drawn around; counts of 1 mark one cell. */
typedef struct sonde_plot_mark {
    int64_t row, column, n_rows, n_columns;
} sonde_plot_mark;

/* A matrix to be shown as coloured cells, row 0 at the top. Zero-initialise it; fields that stay 0 mean "none". */
typedef struct sonde_plot_matrix {
    const float *values; /* (n_rows, n_columns) row-major; NaN and infinities are shown, in greys that the legend explains */
    int64_t n_rows, n_columns;
    const sonde_plot_label *row_labels;    /* (n_rows), or NULL: numbers from first_row on */
    const sonde_plot_label *column_labels; /* (n_columns), or NULL: numbers from first_column on */
    int64_t first_row, first_column;
    const unsigned char *mask; /* (n_rows, n_columns) non-zero where there is no cell, or NULL */
    int64_t is_causal;         /* 1: there are no cells right of the diagonal (attention: column > row) */
    const sonde_plot_mark *marks;
    int64_t n_marks;
    const char *title; /* of this panel, in sonde_plot_panels; "L3 H5" */
} sonde_plot_matrix;

/* Points (x[i], y[i]) of one curve, cloud or set of bars. Those that are not finite, or not positive on a logarithmic
 * axis, are left out and the picture says how many. */
typedef struct sonde_plot_series {
    const char *name; /* in the legend; NULL: none */
    const double *x;  /* (n), or NULL: 0, 1, 2, ... */
    const double *y;  /* (n) */
    int64_t n;
} sonde_plot_series;

/* ---- pictures --------------------------------------------------------------------------------------------------------- */

/* Errors of every function that draws a file: SONDE_E_ARG (the ending is none of .png .svg .pdf; an option), SONDE_E_SHAPE
 * (nothing to draw: the counts), SONDE_E_IO (the file cannot be written; nothing half-written stays), SONDE_E_NOMEM. */

/* A matrix as coloured cells with labels and a colour bar.
 *
 * A value v has the colour t = (v - low) / (high - low) of the map, clipped to [0, 1]; on the diverging map, where
 * low < 0 < high, t = 1/2 + v / (2 max(-low, high)), so that zero is neutral. Every row label is shown while rows are 11
 * points high or more, then every nth, which the picture says; column labels likewise, flat or read upwards. Cells are at
 * least 1 point wide and high: beyond max_width or max_height, neighbouring ones are put together and shown by the one of
 * the largest magnitude (NaN if there is one), which the picture says.
 *
 * path   where to; the ending says what
 * m      at least 1 x 1
 *
 * Owns: nothing. Cost: n_rows * n_columns, and 30-150 ms for fonts and file. Errors: as above.
 * Source: colours, see tools/colourmaps.py. Reference: tests/unit/plot reads cells back from the picture. */
SONDE_API sonde_status sonde_plot_heatmap(const char *path, const sonde_plot_matrix *m,
                                          const sonde_plot_opts *opts) SONDE_MUST_USE;

/* Several matrices side by side with small titles, one range of colours and one colour bar for all (or
 * panel_own_ranges): the attention patterns of all heads in one picture.
 *
 * panels   (n_panels) row by row; sizes may differ
 *
 * Owns: nothing. Errors: as above; SONDE_E_SHAPE names the empty panel. */
SONDE_API sonde_status sonde_plot_panels(const char *path, const sonde_plot_matrix *panels, int64_t n_panels,
                                         const sonde_plot_opts *opts) SONDE_MUST_USE;

/* Curves, in the order given, told apart by colour and by the dashes of their lines; a legend if there are names.
 *
 * series   (n_series) gaps in a curve where a point is left out
 *
 * Owns: nothing. Errors: as above. */
SONDE_API sonde_status sonde_plot_lines(const char *path, const sonde_plot_series *series, int64_t n_series,
                                        const sonde_plot_opts *opts) SONDE_MUST_USE;

/* Clouds of points, told apart by colour and shape. Owns: nothing. Errors: as above. */
SONDE_API sonde_status sonde_plot_scatter(const char *path, const sonde_plot_series *series, int64_t n_series,
                                          const sonde_plot_opts *opts) SONDE_MUST_USE;

/* Bars from zero (from the lower end, if logarithmic), one group per label, one bar of each series in a group.
 *
 * labels   (n) names of the groups, or NULL: numbers
 * series   (n_series) each with n values y; x is not read
 *
 * Owns: nothing. Errors: as above; SONDE_E_SHAPE if a series does not have n values. */
SONDE_API sonde_status sonde_plot_bars(const char *path, const sonde_plot_label *labels, int64_t n,
                                       const sonde_plot_series *series, int64_t n_series,
                                       const sonde_plot_opts *opts) SONDE_MUST_USE;

/* How often values fall into n_bins equal bins of [x_low, x_high] (default: all of them); the upper end belongs to the
 * last bin. The picture says how many are outside or not finite.
 *
 * values   (n) at least one finite
 *
 * Owns: nothing. Errors: as above. Source: the number of bins: Freedman and Diaconis 1981 (width 2 IQR n^(-1/3)),
 * at most 200. */
SONDE_API sonde_status sonde_plot_histogram(const char *path, const float *values, int64_t n,
                                            const sonde_plot_opts *opts) SONDE_MUST_USE;

/* A text whose tokens lie on the colour of their values, wrapped into lines as wide as max_width; a token that holds a
 * line break ends its line.
 *
 * tokens   (n) the tokens' bytes, in order
 * values   (n) NaN: no value, no colour
 *
 * Owns: nothing. Errors: as above. */
SONDE_API sonde_status sonde_plot_tokens(const char *path, const sonde_plot_label *tokens, const float *values, int64_t n,
                                         const sonde_plot_opts *opts) SONDE_MUST_USE;

/* What a drawing is made of. */
typedef enum sonde_plot_shape_kind {
    SONDE_PLOT_SHAPE_POINT = 0, /* at (x, y), `size` points in radius */
    SONDE_PLOT_SHAPE_LINE = 1,  /* to (x2, y2), `size` points thick */
    SONDE_PLOT_SHAPE_ARROW = 2, /* the same, with a point at its end */
    SONDE_PLOT_SHAPE_BOX = 3    /* between the two corners */
} sonde_plot_shape_kind;

typedef struct sonde_plot_shape {
    int64_t kind; /* a sonde_plot_shape_kind */
    double x, y, x2, y2;
    double size;    /* in points */
    double value;   /* that its colour stands for; NaN: the colour of a series, or grey */
    int64_t series; /* below 0: grey */
} sonde_plot_shape;

/* A panel of shapes, later ones over earlier ones. */
typedef struct sonde_plot_drawing {
    const char *title; /* or NULL */
    const sonde_plot_shape *shapes;
    int64_t n_shapes;
    double x_low, x_high, y_low, y_high; /* what is shown; y grows upwards */
    int64_t is_stretched;                /* 1: both directions fill the panel; 0: they have the same scale */
} sonde_plot_drawing;

/* Panels of shapes in their own numbers: arrows of weights, graphs, coloured bars. Options low, high and colours say what colours mean, and
 * value_name what they are; without it there is no bar of colours.
 *
 * panels   (n_panels) row by row, panel_columns beside each other
 *
 * Owns: nothing. Errors: as above; SONDE_E_ARG (a panel that goes from nowhere to nowhere). */
SONDE_API sonde_status sonde_plot_drawings(const char *path, const sonde_plot_drawing *panels, int64_t n_panels,
                                           const sonde_plot_opts *opts) SONDE_MUST_USE;

/* ---- into a terminal -------------------------------------------------------------------------------------------------- */

/* The same pictures as lines of text, each ending in a newline and in no colour: at most terminal_columns wide, counted
 * in columns as terminals do (wide characters 2, combining marks 0). Rows and columns that do not fit are put together
 * as above. With DEPTH_NONE a cell is a shade ( ░▒▓█) or, where values of both signs occur, a signed digit: -9 to 9 in
 * tenths of the range, the legend says so. No byte of a label reaches the terminal that could steer it.
 *
 * out         a text with a NUL behind its *n_bytes bytes (n_bytes may be NULL)
 *
 * Owns: *out is yours: sonde_plot_text_free. *out is NULL on failure.
 * Cost: under 20 ms for 32 x 2000; no fonts are loaded.
 * Errors: SONDE_E_ARG (an option), SONDE_E_SHAPE (nothing to draw), SONDE_E_NOMEM. */
SONDE_API sonde_status sonde_plot_heatmap_text(char **out, size_t *n_bytes, const sonde_plot_matrix *m,
                                               const sonde_plot_opts *opts) SONDE_MUST_USE;

/* As above: panels one below another, and beside each other where they fit; curves and bars drawn with blocks.
 * Owns, Errors: as above. */
SONDE_API sonde_status sonde_plot_panels_text(char **out, size_t *n_bytes, const sonde_plot_matrix *panels, int64_t n_panels,
                                              const sonde_plot_opts *opts) SONDE_MUST_USE;

/* One horizontal bar per label with its number behind it. Owns, Errors: as above.
 * values   (n) NaN is written as such, without a bar */
SONDE_API sonde_status sonde_plot_bars_text(char **out, size_t *n_bytes, const sonde_plot_label *labels,
                                            const double *values, int64_t n, const sonde_plot_opts *opts) SONDE_MUST_USE;

/* Tokens on the colours of their values; `values` NULL: on two colours in turn, so that their borders are seen (with
 * DEPTH_NONE: a | between them). Owns, Errors: as above. */
SONDE_API sonde_status sonde_plot_tokens_text(char **out, size_t *n_bytes, const sonde_plot_label *tokens,
                                              const float *values, int64_t n, const sonde_plot_opts *opts) SONDE_MUST_USE;

/* Frees a text that a function of this header gave; NULL is fine. Owns: takes the text. Errors: none. */
SONDE_API void sonde_plot_text_free(char *text);

/* Colours that the terminal behind a file descriptor shows: none if it is no terminal, NO_COLOR is set to anything, or
 * TERM is unset or "dumb"; 24 bits if COLORTERM is "truecolor" or "24bit"; else 256. Owns: nothing. Errors: none. */
SONDE_API sonde_plot_depth sonde_plot_terminal_colours(int fd);

/* ---- parts ------------------------------------------------------------------------------------------------------------ */

/* A label as it is shown: line feed ⏎, carriage return ␍, tab ⇥, spaces at either end ·, a mark without a letter on ◌,
 * other control, format, unassigned and private characters \u{200b} (below 0x80: \x00), bytes that are not UTF-8 \xff,
 * the empty label "".
 * The rest is unchanged.
 *
 * n_columns   columns of a terminal that it takes; may be NULL
 *
 * Owns: *out is yours: sonde_plot_text_free. Errors: SONDE_E_NOMEM; *out is NULL then.
 * Source: Unicode's general categories and East Asian widths, as utf8proc has them. */
SONDE_API sonde_status sonde_plot_escape(char **out, int64_t *n_columns, sonde_plot_label label) SONDE_MUST_USE;

/* Red, green and blue (sRGB, 8 bits) at t of a map: t < 0 counts as 0, t > 1 as 1, NaN as the grey of NaN.
 * AUTO is the sequential map. Owns: nothing. Errors: none. */
SONDE_API void sonde_plot_colour(unsigned char out[3], sonde_plot_colours map, double t);

/* Number of font families that pictures can draw with, and how many of them are Noto's, which cover most scripts. With none
 * of those, labels in other scripts than Latin may show as boxes.
 * Owns: nothing. Cost: 10-50 ms. Errors: none. */
SONDE_API void sonde_plot_fonts(int64_t *n_families, int64_t *n_noto);

#ifdef __cplusplus
}
#endif
#endif
