/* plot/canvas.h - a page that texts and shapes are drawn on, then a file.      floor 2: plot
 *
 * The order is: open (fonts only), measure, begin (size known), draw, end. Lengths are in points, y grows downwards.
 */
#ifndef SONDEP_PLOT_CANVAS_H
#define SONDEP_PLOT_CANVAS_H

#include "base/file.h"
#include "plot/colour.h"

#include <cairo.h>
#include <pango/pango.h>

typedef enum sondep_format { SONDEP_PNG, SONDEP_SVG, SONDEP_PDF } sondep_format;

/* Texts by their role; canvas.c has their sizes. */
typedef enum sondep_style {
    SONDEP_STYLE_TITLE,
    SONDEP_STYLE_SUBTITLE,
    SONDEP_STYLE_PANEL, /* title of a panel */
    SONDEP_STYLE_NAME,  /* of an axis */
    SONDEP_STYLE_LABEL, /* of a row, a column, a tick */
    SONDEP_STYLE_NOTE,
    SONDEP_STYLE_TOKEN,
    SONDEP_N_STYLES
} sondep_style;

typedef struct sondep_canvas {
    sondep_format format;
    const char *path; /* borrowed */
    double scale;     /* pixels per point, PNG */
    double width, height;
    PangoContext *fonts;
    PangoLayout *layouts[SONDEP_N_STYLES];
    double ascent[SONDEP_N_STYLES], line_height[SONDEP_N_STYLES]; /* of a Latin line */
    cairo_surface_t *surface;
    cairo_t *cr;
    sondep_writer writer;
    bool has_writer;
    sonde_status write_status; /* of the last write that cairo asked for */
} sondep_canvas;

typedef struct sondep_box {
    double x, y, width, height;
} sondep_box;

/* How a text lies: (x, y) is its point (across, down), 0 to 1 each, of its own box: 0.5, 0 is the middle of the top. */
typedef struct sondep_placing {
    double across, down;
    double max_width; /* it is cut with … or wrapped here; 0: never */
    bool is_wrapped;
    bool is_upwards; /* turned by 90 degrees, read from below; across and down stay those of the reading direction */
} sondep_placing;

/* Errors: SONDE_E_ARG if the ending of `path` is none of ours, SONDE_E_NOMEM. `canvas` may be aborted in any case. */
sonde_status sondep_canvas_open(sondep_canvas *canvas, const char *path, double scale);

/* Size of a text: n bytes, or -1 for all. */
void sondep_canvas_measure(double *width, double *height, sondep_canvas *canvas, sondep_style style, const char *text,
                           int64_t n, const sondep_placing *placing);

/* A white page. Errors: SONDE_E_RANGE if a PNG would have more than 32,767 pixels across or down, SONDE_E_IO. */
sonde_status sondep_canvas_begin(sondep_canvas *canvas, double width, double height);

void sondep_canvas_text(sondep_canvas *canvas, sondep_style style, const char *text, int64_t n, double x, double y,
                        const sondep_placing *placing, sondep_rgb colour);
void sondep_canvas_fill(sondep_canvas *canvas, sondep_box box, sondep_rgb colour);
void sondep_canvas_frame(sondep_canvas *canvas, sondep_box box, double line_width, sondep_rgb colour);
void sondep_canvas_line(sondep_canvas *canvas, double x0, double y0, double x1, double y1, double line_width,
                        sondep_rgb colour);

/* A picture of n_rows x n_columns colours (0xRRGGBB) in a box, without smoothing. Errors: SONDE_E_NOMEM. */
sonde_status sondep_canvas_image(sondep_canvas *canvas, sondep_box box, const uint32_t *colours, int64_t n_rows,
                                 int64_t n_columns);

/* Writes the file. Errors: SONDE_E_IO (nothing stays), SONDE_E_NOMEM. */
sonde_status sondep_canvas_end(sondep_canvas *canvas);

/* Gives back everything; removes what was written unless end() succeeded. */
void sondep_canvas_close(sondep_canvas *canvas);

/* The pixels of an RGB24 surface as a PNG (png.c). */
sonde_status sondep_png_write(sondep_writer *w, cairo_surface_t *surface, double pixels_per_inch);

extern const sondep_rgb sondep_black, sondep_dark_grey, sondep_mid_grey, sondep_light_grey;

#endif
