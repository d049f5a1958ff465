/* canvas.c - cairo and Pango behind a few calls.                               floor 2: plot
 *
 * Texts are measured before there is a page, with the font settings that the page will have: glyphs unhinted and placed
 * between pixels, so that a text is equally wide in every format. Files go through base/file.h: they appear whole or not.
 */
#include "plot/canvas.h"

#include <cairo-pdf.h>
#include <cairo-svg.h>
#include <math.h>
#include <pango/pangocairo.h>

const sondep_rgb sondep_black = {20, 20, 20}, sondep_dark_grey = {85, 85, 85}, sondep_mid_grey = {140, 140, 140},
                 sondep_light_grey = {222, 222, 222};

/* Size in points and weight of each style; nothing is below 9 points. */
static const struct {
    double size;
    PangoWeight weight;
} styles[SONDEP_N_STYLES] = {
    [SONDEP_STYLE_TITLE] = {13, PANGO_WEIGHT_BOLD},   [SONDEP_STYLE_SUBTITLE] = {9.5, PANGO_WEIGHT_NORMAL},
    [SONDEP_STYLE_PANEL] = {9.5, PANGO_WEIGHT_BOLD},  [SONDEP_STYLE_NAME] = {10, PANGO_WEIGHT_NORMAL},
    [SONDEP_STYLE_LABEL] = {9, PANGO_WEIGHT_NORMAL},  [SONDEP_STYLE_NOTE] = {9, PANGO_WEIGHT_NORMAL},
    [SONDEP_STYLE_TOKEN] = {12, PANGO_WEIGHT_NORMAL},
};

static const char *const font_families = "Noto Sans,Helvetica,DejaVu Sans,sans-serif";

/* The kind of file by the last four characters of its name, in either case. */
static sonde_status format_of_path(sondep_format *out, const char *path)
{
    static const char *const endings[] = {[SONDEP_PNG] = ".png", [SONDEP_SVG] = ".svg", [SONDEP_PDF] = ".pdf"};
    size_t n = strlen(path);

    for (int f = SONDEP_PNG; f <= SONDEP_PDF; f++) {
        const char *end = n >= 4 ? path + n - 4 : "";
        bool is_equal = *end == '.';
        for (int i = 1; i < 4 && is_equal; i++) /* ASCII letters in either case, in any locale */
            is_equal = (end[i] | 0x20) == endings[f][i];
        if (is_equal) {
            *out = (sondep_format)f;
            return SONDE_OK;
        }
    }
    return SONDE_FAIL(SONDE_E_ARG, "cannot tell the kind of picture from '%s': the ending must be .png, .svg or .pdf", path);
}

/* A layout in a style. Sizes are absolute, in points of the page: they depend on no screen. */
static PangoLayout *new_layout(PangoContext *fonts, sondep_style style)
{
    PangoLayout *layout = pango_layout_new(fonts);
    PangoFontDescription *font = pango_font_description_from_string(font_families);

    pango_font_description_set_absolute_size(font, styles[style].size * PANGO_SCALE);
    pango_font_description_set_weight(font, styles[style].weight);
    pango_layout_set_font_description(layout, font);
    pango_font_description_free(font);
    pango_layout_set_wrap(layout, PANGO_WRAP_WORD_CHAR);
    return layout;
}

/* Fonts come first, so that texts can be measured before the size of the page is known. */
sonde_status sondep_canvas_open(sondep_canvas *canvas, const char *path, double scale)
{
    cairo_font_options_t *options;

    *canvas = (sondep_canvas){.path = path, .scale = scale};
    SONDE_TRY(format_of_path(&canvas->format, path));
    options = cairo_font_options_create();
    cairo_font_options_set_hint_style(options, CAIRO_HINT_STYLE_NONE);
    cairo_font_options_set_hint_metrics(options, CAIRO_HINT_METRICS_OFF);
    cairo_font_options_set_antialias(options, CAIRO_ANTIALIAS_GRAY);
    /* The map of this thread: Pango keeps one for each, so nothing is shared. */
    canvas->fonts = pango_font_map_create_context(pango_cairo_font_map_get_default());
    pango_cairo_context_set_font_options(canvas->fonts, options);
    pango_context_set_round_glyph_positions(canvas->fonts, FALSE);
    /* Which of the Han fonts is taken depends on the language; it shall not depend on the environment. */
    pango_context_set_language(canvas->fonts, pango_language_from_string("en"));
    cairo_font_options_destroy(options);
    for (int s = 0; s < SONDEP_N_STYLES; s++) {
        PangoRectangle line;
        canvas->layouts[s] = new_layout(canvas->fonts, (sondep_style)s);
        pango_layout_set_text(canvas->layouts[s], "x", 1);
        pango_layout_get_extents(canvas->layouts[s], NULL, &line);
        canvas->ascent[s] = (double)pango_layout_get_baseline(canvas->layouts[s]) / PANGO_SCALE;
        canvas->line_height[s] = (double)line.height / PANGO_SCALE;
    }
    return SONDE_OK;
}

/* The style's layout, holding a text; *at is the logical box in points. */
static PangoLayout *laid_out(sondep_box *at, sondep_canvas *canvas, sondep_style style, const char *text, int64_t n,
                             const sondep_placing *placing)
{
    PangoLayout *layout = canvas->layouts[style];
    double limit = placing ? placing->max_width : 0;
    bool is_cut = placing != NULL && limit > 0 && !placing->is_wrapped;
    PangoRectangle logical;

    pango_layout_set_width(layout, limit > 0 ? (int)lround(limit * PANGO_SCALE) : -1);
    pango_layout_set_ellipsize(layout, is_cut ? PANGO_ELLIPSIZE_END : PANGO_ELLIPSIZE_NONE);
    pango_layout_set_single_paragraph_mode(layout, is_cut);
    pango_layout_set_text(layout, text, (int)n);
    pango_layout_get_extents(layout, NULL, &logical);
    *at = (sondep_box){(double)logical.x / PANGO_SCALE, (double)logical.y / PANGO_SCALE, (double)logical.width / PANGO_SCALE,
                       (double)logical.height / PANGO_SCALE};
    /* A single line is as high as a Latin one whatever script it has, so that labels in many scripts share a baseline. */
    if (pango_layout_get_line_count(layout) == 1 && canvas->line_height[style] > 0) {
        at->y = (double)pango_layout_get_baseline(layout) / PANGO_SCALE - canvas->ascent[style];
        at->height = canvas->line_height[style];
    }
    return layout;
}

/* What the text would take up on the page; nothing is drawn. */
void sondep_canvas_measure(double *width, double *height, sondep_canvas *canvas, sondep_style style, const char *text,
                           int64_t n, const sondep_placing *placing)
{
    sondep_box at;
    laid_out(&at, canvas, style, text, n, placing);
    *width = at.width;
    *height = at.height;
}

/* cairo gives SVG and PDF in pieces. The first failure is kept with its message, and cairo is told to stop. */
static cairo_status_t write_some(void *closure, const unsigned char *bytes, unsigned n)
{
    sondep_canvas *canvas = closure;
    if (canvas->write_status == SONDE_OK)
        canvas->write_status = sondep_writer_put(&canvas->writer, bytes, n);
    return canvas->write_status == SONDE_OK ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

/* The surface of the format: pixels in memory for PNG, a stream to the file for SVG and PDF. */
static sonde_status make_surface(sondep_canvas *canvas)
{
    double across = ceil(canvas->width * canvas->scale - 1e-6), down = ceil(canvas->height * canvas->scale - 1e-6);

    if (canvas->format == SONDEP_PNG && !(across <= 32767 && down <= 32767))
        return SONDE_FAIL(SONDE_E_RANGE, "the picture '%s' would have %.0f x %.0f pixels: at most 32767 each", canvas->path,
                          across, down);
    SONDE_TRY(sondep_writer_open(&canvas->writer, canvas->path));
    canvas->has_writer = true;
    if (canvas->format == SONDEP_PNG)
        canvas->surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)across, (int)down);
    else if (canvas->format == SONDEP_SVG)
        canvas->surface = cairo_svg_surface_create_for_stream(write_some, canvas, canvas->width, canvas->height);
    else
        canvas->surface = cairo_pdf_surface_create_for_stream(write_some, canvas, canvas->width, canvas->height);
    if (cairo_surface_status(canvas->surface) != CAIRO_STATUS_SUCCESS)
        return SONDE_FAIL(SONDE_E_NOMEM, "out of memory: a picture of %.0f x %.0f points", canvas->width, canvas->height);
    return SONDE_OK;
}

/* From here on there is a file, beside its place until end() succeeds. */
sonde_status sondep_canvas_begin(sondep_canvas *canvas, double width, double height)
{
    canvas->width = ceil(width);
    canvas->height = ceil(height);
    SONDE_TRY(make_surface(canvas));
    if (canvas->format == SONDEP_PDF) /* the same input gives the same bytes, whatever the day */
        cairo_pdf_surface_set_metadata(canvas->surface, CAIRO_PDF_METADATA_CREATE_DATE, "2000-01-01T00:00:00Z");
    canvas->cr = cairo_create(canvas->surface);
    if (canvas->format == SONDEP_PNG)
        cairo_scale(canvas->cr, canvas->scale, canvas->scale);
    cairo_set_source_rgb(canvas->cr, 1, 1, 1);
    cairo_paint(canvas->cr);
    return SONDE_OK;
}

/* cairo takes shares of one. */
static void set_colour(cairo_t *cr, sondep_rgb c)
{
    cairo_set_source_rgb(cr, c.r / 255.0, c.g / 255.0, c.b / 255.0);
}

/* The point that `placing` names within the text comes to (x, y): move there, turn, move back by the text's own
 * share. */
void sondep_canvas_text(sondep_canvas *canvas, sondep_style style, const char *text, int64_t n, double x, double y,
                        const sondep_placing *placing, sondep_rgb colour)
{
    sondep_box at;
    PangoLayout *layout = laid_out(&at, canvas, style, text, n, placing);

    cairo_save(canvas->cr);
    cairo_translate(canvas->cr, x, y);
    if (placing && placing->is_upwards)
        cairo_rotate(canvas->cr, -acos(0));
    cairo_translate(canvas->cr, -(placing ? placing->across : 0) * at.width - at.x,
                    -(placing ? placing->down : 0) * at.height - at.y);
    set_colour(canvas->cr, colour);
    pango_cairo_show_layout(canvas->cr, layout);
    cairo_restore(canvas->cr);
}

/* A box without an outline. */
void sondep_canvas_fill(sondep_canvas *canvas, sondep_box box, sondep_rgb colour)
{
    cairo_set_antialias(canvas->cr, CAIRO_ANTIALIAS_NONE); /* edges on pixels: neighbours neither mix nor gape */
    cairo_rectangle(canvas->cr, box.x, box.y, box.width, box.height);
    set_colour(canvas->cr, colour);
    cairo_fill(canvas->cr);
    cairo_set_antialias(canvas->cr, CAIRO_ANTIALIAS_DEFAULT);
}

/* Lines lie on the middle of the box's edges: half of their width is outside. */
void sondep_canvas_frame(sondep_canvas *canvas, sondep_box box, double line_width, sondep_rgb colour)
{
    cairo_rectangle(canvas->cr, box.x, box.y, box.width, box.height);
    cairo_set_line_width(canvas->cr, line_width);
    cairo_set_line_join(canvas->cr, CAIRO_LINE_JOIN_MITER);
    set_colour(canvas->cr, colour);
    cairo_stroke(canvas->cr);
}

/* Straight, with flat ends. */
void sondep_canvas_line(sondep_canvas *canvas, double x0, double y0, double x1, double y1, double line_width,
                        sondep_rgb colour)
{
    cairo_move_to(canvas->cr, x0, y0);
    cairo_line_to(canvas->cr, x1, y1);
    cairo_set_line_width(canvas->cr, line_width);
    set_colour(canvas->cr, colour);
    cairo_stroke(canvas->cr);
}

/* A small surface with one pixel for each cell is stretched over the box; NEAREST keeps its edges sharp. */
sonde_status sondep_canvas_image(sondep_canvas *canvas, sondep_box box, const uint32_t *colours, int64_t n_rows,
                                 int64_t n_columns)
{
    /* Viewers that smooth pictures whatever the file says blur an edge of a quarter cell, not of a whole one. */
    int zoom = canvas->format == SONDEP_PNG || n_rows * n_columns > 200000 ? 1 : 4;
    cairo_surface_t *picture = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)n_columns * zoom, (int)n_rows * zoom);
    unsigned char *pixels = cairo_image_surface_get_data(picture);
    int stride = cairo_image_surface_get_stride(picture);

    if (pixels == NULL) {
        cairo_surface_destroy(picture);
        return SONDE_FAIL(SONDE_E_NOMEM, "out of memory: a picture of %lld x %lld cells", (long long)n_rows,
                          (long long)n_columns);
    }
    cairo_surface_flush(picture);
    for (int64_t r = 0; r < n_rows * zoom; r++)
        for (int64_t c = 0; c < n_columns * zoom; c++)
            memcpy(pixels + r * stride + 4 * c, &colours[r / zoom * n_columns + c / zoom], 4);
    cairo_surface_mark_dirty(picture);

    /* From pixels of the small picture to points of the page. */
    cairo_save(canvas->cr);
    cairo_translate(canvas->cr, box.x, box.y);
    cairo_scale(canvas->cr, box.width / (double)(n_columns * zoom), box.height / (double)(n_rows * zoom));
    cairo_set_source_surface(canvas->cr, picture, 0, 0);
    cairo_pattern_set_filter(cairo_get_source(canvas->cr), CAIRO_FILTER_NEAREST);
    cairo_rectangle(canvas->cr, 0, 0, (double)(n_columns * zoom), (double)(n_rows * zoom));
    cairo_fill(canvas->cr);
    cairo_restore(canvas->cr);
    cairo_surface_destroy(picture);
    return SONDE_OK;
}

/* Our own write errors go before cairo's word for them: they name the file and the reason. */
sonde_status sondep_canvas_end(sondep_canvas *canvas)
{
    cairo_status_t drawn = cairo_status(canvas->cr);
    sonde_status status = SONDE_OK;

    if (drawn == CAIRO_STATUS_SUCCESS && canvas->format == SONDEP_PNG) {
        cairo_surface_flush(canvas->surface);
        status = sondep_png_write(&canvas->writer, canvas->surface, 72 * canvas->scale);
    } else if (drawn == CAIRO_STATUS_SUCCESS) {
        cairo_surface_finish(canvas->surface); /* the last bytes are written here */
        drawn = cairo_surface_status(canvas->surface);
    }
    SONDE_TRY(canvas->write_status);
    SONDE_TRY(status);
    if (drawn != CAIRO_STATUS_SUCCESS)
        return SONDE_FAIL(drawn == CAIRO_STATUS_NO_MEMORY ? SONDE_E_NOMEM : SONDE_E_IO, "cannot draw '%s': %s", canvas->path,
                          cairo_status_to_string(drawn));
    canvas->has_writer = false; /* commit releases it in either case */
    return sondep_writer_commit(&canvas->writer);
}

/* Order matters: cairo writes its last bytes when a surface is finished, so the writer is given up after that. */
void sondep_canvas_close(sondep_canvas *canvas)
{
    if (canvas->cr != NULL)
        cairo_destroy(canvas->cr);
    if (canvas->surface != NULL) {
        if (canvas->has_writer && canvas->write_status == SONDE_OK)
            canvas->write_status = SONDE_E_IO; /* given up: cairo's last bytes are not wanted */
        cairo_surface_finish(canvas->surface);
        cairo_surface_destroy(canvas->surface);
    }
    if (canvas->has_writer)
        sondep_writer_abort(&canvas->writer);
    for (int s = 0; s < SONDEP_N_STYLES; s++)
        if (canvas->layouts[s] != NULL)
            g_object_unref(canvas->layouts[s]);
    if (canvas->fonts != NULL)
        g_object_unref(canvas->fonts);
    *canvas = (sondep_canvas){0};
}
