/* drawings.c - panels of lines, arrows, points and boxes.                      floor 2: plot
 *
 *      title, subtitle
 *      +--------+  +--------+     each with a title of its own; x grows to the right, y upwards, by the
 *      |        |  |        |     same scale unless the panel says otherwise
 *      +--------+  +--------+
 *      colours from low to high, and what they mean
 *
 * For what is no curve and no matrix: weights as arrows, graphs, bars that are coloured by a second number. Panels have one size; they stand beside
 * each other as the width allows, a little more across than down. A shape's colour is its value in the range of all panels, or that of a series,
 * or grey; what lies outside a panel's numbers is cut off at its frame.
 */
#include "plot/canvas.h"
#include "plot/layout.h"
#include "plot/parts.h"

#include <math.h>

enum { ALONE = 480, LARGEST = 220, SMALLEST = 90, BAR = 160 /* points across: of a panel; of the bar of colours */ };

typedef struct picture {
    sonde_plot_opts opts;
    sondep_canvas canvas;
    const sonde_plot_drawing *panels;
    int64_t n, n_across;
    double side, header, title_height, row_height, bar_height;
    sondep_range range;
} picture;

/* What colours stand for: given, or from the smallest to the largest value of a shape. */
static sonde_status find_range(picture *p)
{
    double low = INFINITY, high = -INFINITY;

    for (int64_t k = 0; k < p->n; k++)
        for (int64_t i = 0; i < p->panels[k].n_shapes; i++) {
            double value = p->panels[k].shapes[i].value;
            low = isfinite(value) ? fmin(low, value) : low;
            high = isfinite(value) ? fmax(high, value) : high;
        }
    low = p->opts.low != SONDE_PLOT_AUTO ? p->opts.low : low;
    high = p->opts.high != SONDE_PLOT_AUTO ? p->opts.high : high;
    p->range = (sondep_range){.low = low, .high = high > low ? high : low + 1.0};
    p->range.is_diverging = p->opts.colours == SONDE_PLOT_COLOURS_DIVERGING;
    return isfinite(low) && isfinite(high) && high < low ? SONDE_FAIL(SONDE_E_ARG, "colours from %g to %g", low, high)
                                                         : SONDE_OK;
}

/* Sizes of everything; panels are as large as the width allows. */
static void lay_out(picture *p)
{
    double width = p->opts.max_width - 2 * SONDEP_MARGIN, unused;
    sondep_placing wrapped = {.max_width = width, .is_wrapped = true};

    p->n_across = p->opts.panel_columns > 0 ? p->opts.panel_columns : (int64_t)ceil(sqrt(1.6 * (double)p->n));
    p->n_across = p->n_across < p->n ? p->n_across : p->n;
    p->side =
        fmin(p->n == 1 ? ALONE : LARGEST, (width - (double)(p->n_across - 1) * SONDEP_PANEL_GAP) / (double)p->n_across);
    p->side = fmax(p->side, SMALLEST);
    if (p->opts.title != NULL) {
        sondep_canvas_measure(&unused, &p->title_height, &p->canvas, SONDEP_STYLE_TITLE, p->opts.title, -1, &wrapped);
        p->header = p->title_height;
    }
    if (p->opts.subtitle != NULL) {
        double height;
        sondep_canvas_measure(&unused, &height, &p->canvas, SONDEP_STYLE_SUBTITLE, p->opts.subtitle, -1, &wrapped);
        p->header += height;
    }
    p->header += p->header > 0 ? 10 : 0;
    p->row_height = p->side + 16 + SONDEP_PANEL_GAP;
    p->bar_height = p->opts.value_name != NULL ? 34 : 0;
}

/* A place of a panel's numbers on the page. */
typedef struct frame {
    double x, y, width, height;     /* of the panel */
    double left, top, across, down; /* points for each unit */
} frame;

/* Panel k: where it lies, and how its numbers become points. */
static frame frame_of(const picture *p, int64_t k)
{
    const sonde_plot_drawing *d = &p->panels[k];
    frame f = {.x = SONDEP_MARGIN + (double)(k % p->n_across) * (p->side + SONDEP_PANEL_GAP),
               .y = SONDEP_MARGIN + p->header + 16 + (double)(k / p->n_across) * p->row_height,
               .width = p->side,
               .height = p->side};

    /* points for each unit, the same both ways unless the panel says otherwise */
    f.across = f.width / (d->x_high - d->x_low);
    f.down = f.height / (d->y_high - d->y_low);
    if (!d->is_stretched)
        f.across = f.down = fmin(f.across, f.down);
    /* what is left over is shared by both sides */
    f.left = f.x + (f.width - f.across * (d->x_high - d->x_low)) / 2 - f.across * d->x_low;
    f.top = f.y + (f.height - f.down * (d->y_high - d->y_low)) / 2 + f.down * d->y_high;
    return f;
}

/* The colour of a shape: by its value, or that of a series. */
static sondep_rgb colour_of(const picture *p, const sonde_plot_shape *s)
{
    if (isnan(s->value))
        return s->series >= 0 ? sondep_series_colour(s->series) : sondep_mid_grey;
    return sondep_range_colour(&p->range, fmin(fmax(s->value, p->range.low), p->range.high));
}

/* One shape in its panel. */
static void draw_shape(picture *p, const frame *f, const sonde_plot_shape *s)
{
    double x = f->left + f->across * s->x, y = f->top - f->down * s->y, x2 = f->left + f->across * s->x2,
           y2 = f->top - f->down * s->y2;
    sondep_rgb colour = colour_of(p, s);
    cairo_t *cr = p->canvas.cr;

    switch (s->kind) {
    case SONDE_PLOT_SHAPE_BOX:
        sondep_canvas_fill(&p->canvas, (sondep_box){fmin(x, x2), fmin(y, y2), fabs(x2 - x), fabs(y2 - y)}, colour);
        return;
    case SONDE_PLOT_SHAPE_LINE:
    case SONDE_PLOT_SHAPE_ARROW:
        cairo_set_line_cap(cr, CAIRO_LINE_CAP_ROUND);
        sondep_canvas_line(&p->canvas, x, y, x2, y2, s->size, colour);
        cairo_set_line_cap(cr, CAIRO_LINE_CAP_BUTT);
        break;
    default: break;
    }
    if (s->kind == SONDE_PLOT_SHAPE_LINE)
        return;
    /* a point, or the end of an arrow */
    cairo_new_path(cr);
    cairo_arc(cr, s->kind == SONDE_PLOT_SHAPE_ARROW ? x2 : x, s->kind == SONDE_PLOT_SHAPE_ARROW ? y2 : y,
              s->kind == SONDE_PLOT_SHAPE_ARROW ? 1.6 * s->size : s->size, 0, 6.283185307179586);
    cairo_set_source_rgb(cr, colour.r / 255.0, colour.g / 255.0, colour.b / 255.0);
    cairo_fill(cr);
}

/* Frame, shapes inside it, title above. */
static void draw_panel(picture *p, int64_t k)
{
    const sonde_plot_drawing *d = &p->panels[k];
    frame f = frame_of(p, k);
    sondep_placing above = {.down = 1, .max_width = p->side};
    sondep_box box = {f.x, f.y, f.width, f.height};

    /* shapes end at the frame */
    cairo_save(p->canvas.cr);
    cairo_rectangle(p->canvas.cr, box.x, box.y, box.width, box.height);
    cairo_clip(p->canvas.cr);
    for (int64_t i = 0; i < d->n_shapes; i++)
        draw_shape(p, &f, &d->shapes[i]);
    cairo_restore(p->canvas.cr);
    sondep_canvas_frame(&p->canvas, box, 0.5, sondep_light_grey);
    if (d->title != NULL)
        sondep_canvas_text(&p->canvas, SONDEP_STYLE_PANEL, d->title, -1, f.x, f.y - 2, &above, sondep_black);
}

/* Colours beside each other, with the values of their ends, and what they are. */
static void draw_bar(picture *p, double y)
{
    char text[SONDEP_TICK_BYTES];
    sondep_placing right = {.across = 0, .down = 0.5}, left = {.across = 1, .down = 0.5};
    double x = SONDEP_MARGIN + 40;

    for (int i = 0; i < BAR; i++) {
        double value = p->range.low + (p->range.high - p->range.low) * (i + 0.5) / BAR;
        sondep_canvas_fill(&p->canvas, (sondep_box){x + i, y, 1.2, 10}, sondep_range_colour(&p->range, value));
    }
    sondep_canvas_text(&p->canvas, SONDEP_STYLE_LABEL, sondep_number(text, p->range.low, 3, true), -1, x - 5, y + 5, &left,
                       sondep_black);
    sondep_canvas_text(&p->canvas, SONDEP_STYLE_LABEL, sondep_number(text, p->range.high, 3, true), -1, x + BAR + 5, y + 5,
                       &right, sondep_black);
    sondep_canvas_text(&p->canvas, SONDEP_STYLE_NAME, p->opts.value_name, -1, x + BAR + 45, y + 5, &right, sondep_black);
}

/* Everything is measured before there is a page. */
static sonde_status draw(picture *p, const char *path)
{
    double width, height;
    int64_t n_rows;
    sondep_placing wrapped;

    SONDE_TRY(sondep_canvas_open(&p->canvas, path, p->opts.scale));
    SONDE_TRY(find_range(p));
    lay_out(p);
    /* the page follows from the panels */
    n_rows = (p->n + p->n_across - 1) / p->n_across;
    width = fmax(2 * SONDEP_MARGIN + (double)p->n_across * (p->side + SONDEP_PANEL_GAP) - SONDEP_PANEL_GAP, 420);
    height = 2 * SONDEP_MARGIN + p->header + (double)n_rows * p->row_height + p->bar_height;
    wrapped = (sondep_placing){.max_width = width - 2 * SONDEP_MARGIN, .is_wrapped = true};
    SONDE_TRY(sondep_canvas_begin(&p->canvas, width, height));
    if (p->opts.title != NULL)
        sondep_canvas_text(&p->canvas, SONDEP_STYLE_TITLE, p->opts.title, -1, SONDEP_MARGIN, SONDEP_MARGIN, &wrapped,
                           sondep_black);
    if (p->opts.subtitle != NULL)
        sondep_canvas_text(&p->canvas, SONDEP_STYLE_SUBTITLE, p->opts.subtitle, -1, SONDEP_MARGIN,
                           SONDEP_MARGIN + p->title_height, &wrapped, sondep_dark_grey);
    for (int64_t k = 0; k < p->n; k++)
        draw_panel(p, k);
    if (p->opts.value_name != NULL)
        draw_bar(p, height - SONDEP_MARGIN - 14);
    return sondep_canvas_end(&p->canvas);
}

/* Panels are looked at before anything is opened. */
sonde_status sonde_plot_drawings(const char *path, const sonde_plot_drawing *panels, int64_t n_panels,
                                 const sonde_plot_opts *opts)
{
    picture p = {.panels = panels, .n = n_panels};
    sonde_status status;

    SONDE_TRY(sondep_plot_options(&p.opts, opts));
    if (n_panels < 1)
        return SONDE_FAIL(SONDE_E_SHAPE, "nothing to plot: %lld panels", (long long)n_panels);
    for (int64_t k = 0; k < n_panels; k++)
        if (!(panels[k].x_high > panels[k].x_low) || !(panels[k].y_high > panels[k].y_low))
            return SONDE_FAIL(SONDE_E_ARG, "panel %lld goes from %g to %g across and from %g to %g upwards", (long long)k,
                              panels[k].x_low, panels[k].x_high, panels[k].y_low, panels[k].y_high);
    status = draw(&p, path);
    sondep_canvas_close(&p.canvas);
    return status;
}
