/* chart.c - page, axes, legend of the pictures with two axes.                  floor 2: plot
 *
 * What lines, scatter and bars share: the page grows around a plotting area of fixed size by what the texts need, so that
 * no label is cut. Values become places once, in one function, for linear and logarithmic axes alike.
 */
#include "plot/chart.h"

#include <math.h>

enum { AREA_WIDTH = 460, AREA_HEIGHT = 280, LABEL_PITCH = 11, MARGIN = 14, KEY_WIDTH = 24, LEGEND_PITCH = 16 };
static const double longest_name = 180;

/* Extremes of what an axis can show. A value that it cannot is counted, not drawn. */
void sondep_extent(double *low, double *high, int64_t *n_left_out, const double *values, int64_t n, bool is_log)
{
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(values[i]) || (is_log && values[i] <= 0)) {
            (*n_left_out)++;
            continue;
        }
        *low = fmin(*low, values[i]);
        *high = fmax(*high, values[i]);
    }
}

/* An axis has 3 % of room at either end, but begins at zero where the data do: bars and counts stand on it. */
sonde_status sondep_axis_make(sondep_axis *out, double low, double high, double given_low, double given_high, bool is_log,
                              const char *name)
{
    double room;

    *out = (sondep_axis){.is_log = is_log};
    if (!(low <= high)) { /* nothing to show: any axis will do */
        low = is_log ? 1 : 0;
        high = is_log ? 10 : 1;
    }
    /* Room beyond the data, as a factor where the axis is logarithmic. */
    room = is_log ? pow(high / low, 0.03) : 0.03 * (high - low);
    if (low == high)
        room = is_log ? 2 : fmax(fabs(low) * 0.5, 0.5);
    out->low = given_low != SONDE_PLOT_AUTO ? given_low : is_log ? low / room : low == 0 ? 0 : low - room;
    out->high = given_high != SONDE_PLOT_AUTO ? given_high : is_log ? high * room : high == 0 ? 0 : high + room;
    if (low == high && low == 0)
        out->high = given_high != SONDE_PLOT_AUTO ? given_high : out->low + 1;
    /* Ends that were given may leave nothing between them. */
    if (!(out->low < out->high) || !isfinite(out->high - out->low))
        return SONDE_FAIL(SONDE_E_ARG, "the %s axis would span [%g, %g]", name, out->low, out->high);
    if (is_log && !(out->low > 0))
        return SONDE_FAIL(SONDE_E_ARG, "option '%s_low' is %g, but the axis is logarithmic", name, out->low);
    if (is_log)
        sondep_ticks_log(&out->ticks, out->low, out->high, 6);
    else
        sondep_ticks_linear(&out->ticks, out->low, out->high, 6);
    return SONDE_OK;
}

/* Linear in the value, or in its logarithm. */
double sondep_axis_at(const sondep_axis *axis, double value)
{
    return axis->is_log ? log(value / axis->low) / log(axis->high / axis->low)
                        : (value - axis->low) / (axis->high - axis->low);
}

/* ---- keys of series --------------------------------------------------------------------------------------------- */

/* Colours change with every curve, dashes too: four kinds, so that neighbours differ without colour. */
void sondep_line_style(sondep_canvas *canvas, int64_t i)
{
    static const double dashes[4][4] = {{0}, {6, 2.5, 6, 2.5}, {1.5, 2, 1.5, 2}, {7, 2.5, 1.5, 2.5}};
    sondep_rgb c = sondep_series_colour(i);

    cairo_set_source_rgb(canvas->cr, c.r / 255.0, c.g / 255.0, c.b / 255.0);
    cairo_set_line_width(canvas->cr, 1.5);
    cairo_set_line_join(canvas->cr, CAIRO_LINE_JOIN_ROUND);
    cairo_set_dash(canvas->cr, dashes[i % 4], i % 4 == 0 ? 0 : 4, 0);
}

/* Disc, square, triangle, diamond: of about the same area. */
void sondep_marker(sondep_canvas *canvas, int64_t i, double x, double y)
{
    const double r = 2.4, full_turn = 4 * acos(0);
    sondep_rgb c = sondep_series_colour(i);

    cairo_new_path(canvas->cr);
    if (i % 4 == 0) {
        cairo_arc(canvas->cr, x, y, r, 0, full_turn);
    } else if (i % 4 == 1) {
        cairo_rectangle(canvas->cr, x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r);
    } else {
        double tip = 1.3 * r;
        cairo_move_to(canvas->cr, x, y - tip);
        cairo_line_to(canvas->cr, x + tip, i % 4 == 2 ? y + r : y);
        if (i % 4 == 3)
            cairo_line_to(canvas->cr, x, y + tip);
        cairo_line_to(canvas->cr, x - tip, i % 4 == 2 ? y + r : y);
        cairo_close_path(canvas->cr);
    }
    cairo_set_source_rgb(canvas->cr, c.r / 255.0, c.g / 255.0, c.b / 255.0);
    cairo_fill(canvas->cr);
}

/* A piece of what stands for series i in the picture, left of its name. */
static void draw_key(sondep_chart *chart, int64_t i, double x, double y)
{
    if (chart->key == SONDEP_KEY_LINE) {
        sondep_line_style(&chart->canvas, i);
        cairo_move_to(chart->canvas.cr, x, y);
        cairo_line_to(chart->canvas.cr, x + KEY_WIDTH - 4, y);
        cairo_stroke(chart->canvas.cr);
        cairo_set_dash(chart->canvas.cr, NULL, 0, 0);
    } else if (chart->key == SONDEP_KEY_POINT) {
        sondep_marker(&chart->canvas, i, x + KEY_WIDTH / 2, y);
    } else {
        sondep_canvas_fill(&chart->canvas, (sondep_box){x + 4, y - 5, 12, 10}, sondep_series_colour(i));
    }
}

/* Names stand right of the area, where no point can be below them; series without a name have no line there. */
static void draw_legend(sondep_chart *chart)
{
    const sondep_placing beside = {.down = 0.5, .max_width = longest_name};
    double x = chart->area.x + chart->area.width + 16, y = chart->area.y + 8;

    for (int64_t i = 0; i < chart->n_series && chart->legend_width > 0; i++) {
        if (chart->series[i].name == NULL)
            continue;
        draw_key(chart, i, x, y);
        sondep_canvas_text(&chart->canvas, SONDEP_STYLE_LABEL, chart->series[i].name, -1, x + KEY_WIDTH, y, &beside,
                           sondep_black);
        y += LEGEND_PITCH;
    }
}

/* ---- layout ----------------------------------------------------------------------------------------------------- */

/* Width of a text in one line, cut at max_width (0: not cut). */
static double text_width(sondep_chart *chart, sondep_style style, const char *text, double max_width)
{
    sondep_placing cut = {.max_width = max_width};
    double width, height;
    sondep_canvas_measure(&width, &height, &chart->canvas, style, text, -1, &cut);
    return width;
}

/* Height of a text that is wrapped at max_width (0: not wrapped); none for no text. */
static double text_height(sondep_chart *chart, sondep_style style, const char *text, double max_width)
{
    sondep_placing wrapped = {.max_width = max_width, .is_wrapped = true};
    double width, height;
    if (text == NULL || *text == '\0')
        return 0;
    sondep_canvas_measure(&width, &height, &chart->canvas, style, text, -1, &wrapped);
    return height;
}

/* Names below the axis: flat if all fit, else upwards, every nth where they would touch. */
static sonde_status measure_groups(sondep_chart *chart)
{
    double pitch = chart->area.width / (double)chart->n_groups, widest = 0;
    sondep_string text = {0};
    sonde_status status = SONDE_OK;

    chart->group_stride = (int64_t)fmax(1, ceil(LABEL_PITCH / pitch));
    for (int64_t i = 0; i < chart->n_groups && status == SONDE_OK; i += chart->group_stride) {
        text.n = 0;
        status = sondep_label_at(&text, NULL, chart->groups, 0, i);
        if (status == SONDE_OK)
            widest = fmax(widest, text_width(chart, SONDEP_STYLE_LABEL, text.text, longest_name));
    }
    chart->groups_upwards = widest + 5 > pitch * (double)chart->group_stride;
    if (chart->groups_upwards && chart->groups == NULL) { /* numbers stay flat and become fewer */
        chart->group_stride = sondep_round_stride((widest + 8) / pitch);
        chart->groups_upwards = false;
    }
    chart->x_labels = chart->groups_upwards ? widest : 13;
    sondep_string_release(&text);
    return status;
}

/* The name with the power of ten that was taken out of the ticks: "loss (×10⁻³)". */
static sonde_status name_axis(sondep_string *out, const char *name, const sondep_axis *axis)
{
    char power[SONDEP_TICK_BYTES];
    sondep_power_text(power, axis->ticks.n > 0 ? axis->ticks.exponent : 0);
    if (name == NULL && *power == '\0')
        return SONDE_OK;
    return sondep_string_printf(out, "%s%s", name ? name : "", name ? power : power + 1);
}

/* Everything that texts need, then the area, then the page: from the left, axis name, tick labels, area, legend; from
 * the
 * top, titles, area, tick labels, axis name, notes. */
static sonde_status measure(sondep_chart *chart, double *width, double *height)
{
    double left, bottom, inner;

    /* Many groups make the area wider, up to what is allowed. */
    chart->area.width = fmin(fmax(AREA_WIDTH, (double)chart->n_groups * 3 * LABEL_PITCH), fmax(chart->opts.max_width, 200));
    if (chart->n_groups * 3 * LABEL_PITCH > AREA_WIDTH)
        chart->area.width = fmin(fmax(AREA_WIDTH, (double)chart->n_groups * (LABEL_PITCH + 2)), chart->opts.max_width);
    chart->area.width = fmin(chart->area.width, chart->opts.max_width);
    chart->area.height = fmin(AREA_HEIGHT, chart->opts.max_height);
    /* A line of labels below, more where names of groups stand upright. */
    chart->x_labels = 13;
    if (chart->n_groups > 0)
        SONDE_TRY(measure_groups(chart));
    for (int i = 0; i < chart->y.ticks.n; i++)
        chart->y_labels = fmax(chart->y_labels, text_width(chart, SONDEP_STYLE_LABEL, chart->y.ticks.text[i], 0));
    for (int64_t i = 0; i < chart->n_series; i++)
        if (chart->series[i].name != NULL)
            chart->legend_width =
                fmax(chart->legend_width,
                     text_width(chart, SONDEP_STYLE_LABEL, chart->series[i].name, longest_name) + KEY_WIDTH + 16);

    /* Margins follow from what stands in them. */
    SONDE_TRY(name_axis(&chart->x_name, chart->opts.x_name, &chart->x));
    SONDE_TRY(name_axis(&chart->y_name, chart->opts.y_name, &chart->y));
    left = MARGIN + (chart->y_name.n > 0 ? 18 : 0) + chart->y_labels + 7;
    chart->area.x = ceil(left);
    /* From here the page's width is fixed, and texts are wrapped to it. */
    inner = chart->area.x + chart->area.width + fmax(chart->legend_width, 8) - MARGIN;
    chart->title_height = text_height(chart, SONDEP_STYLE_TITLE, chart->opts.title, inner);
    chart->header_height = chart->title_height + text_height(chart, SONDEP_STYLE_SUBTITLE, chart->opts.subtitle, inner);
    chart->area.y = ceil(MARGIN + chart->header_height + (chart->header_height > 0 ? 10 : 4));
    bottom = chart->area.y + chart->area.height + 5 + chart->x_labels + (chart->x_name.n > 0 ? 18 : 0);
    /* A long legend makes the page longer. */
    for (int64_t i = 0, n = 0; i < chart->n_series; i++) {
        n += chart->series[i].name != NULL;
        bottom = fmax(bottom, chart->area.y + (double)n * LEGEND_PITCH);
    }
    /* Notes last. */
    if (chart->notes.n > 0)
        bottom += 8 + text_height(chart, SONDEP_STYLE_NOTE, chart->notes.text, inner);
    *width = inner + 2 * MARGIN;
    *height = bottom + MARGIN;
    return SONDE_OK;
}

/* ---- drawing ---------------------------------------------------------------------------------------------------- */

/* Faint lines across the area, marks outside it, labels beside the marks. */
static void draw_ticks(sondep_chart *chart)
{
    sondep_box a = chart->area;
    sondep_placing left = {.across = 1, .down = 0.5}, below = {.across = 0.5};

    for (int i = 0; i < chart->y.ticks.n; i++) {
        double y = a.y + a.height * (1 - sondep_axis_at(&chart->y, chart->y.ticks.at[i]));
        sondep_canvas_line(&chart->canvas, a.x, y, a.x + a.width, y, 0.5, sondep_light_grey);
        sondep_canvas_line(&chart->canvas, a.x - 4, y, a.x, y, 0.75, sondep_dark_grey);
        sondep_canvas_text(&chart->canvas, SONDEP_STYLE_LABEL, chart->y.ticks.text[i], -1, a.x - 7, y, &left, sondep_black);
    }
    /* Where there are groups, their names stand in place of ticks. */
    for (int i = 0; i < chart->x.ticks.n && chart->n_groups == 0; i++) {
        double x = a.x + a.width * sondep_axis_at(&chart->x, chart->x.ticks.at[i]);
        sondep_canvas_line(&chart->canvas, x, a.y, x, a.y + a.height, 0.5, sondep_light_grey);
        sondep_canvas_line(&chart->canvas, x, a.y + a.height, x, a.y + a.height + 4, 0.75, sondep_dark_grey);
        sondep_canvas_text(&chart->canvas, SONDEP_STYLE_LABEL, chart->x.ticks.text[i], -1, x, a.y + a.height + 5, &below,
                           sondep_black);
    }
}

/* Each name below the middle of its group. */
static sonde_status draw_groups(sondep_chart *chart)
{
    sondep_placing placing = {.across = chart->groups_upwards ? 1 : 0.5,
                              .down = chart->groups_upwards ? 0.5 : 0,
                              .max_width = longest_name,
                              .is_upwards = chart->groups_upwards};
    double pitch = chart->area.width / (double)(chart->n_groups > 0 ? chart->n_groups : 1);
    sondep_string text = {0};
    sonde_status status = SONDE_OK;

    for (int64_t i = 0; i < chart->n_groups && status == SONDE_OK; i += chart->group_stride) {
        text.n = 0;
        status = sondep_label_at(&text, NULL, chart->groups, 0, i);
        if (status == SONDE_OK)
            sondep_canvas_text(&chart->canvas, SONDEP_STYLE_LABEL, text.text, (int64_t)text.n,
                               chart->area.x + ((double)i + 0.5) * pitch, chart->area.y + chart->area.height + 5, &placing,
                               sondep_black);
    }
    sondep_string_release(&text);
    return status;
}

/* Titles at the top left, names along their axes, notes at the bottom left. */
static void draw_texts(sondep_chart *chart)
{
    sondep_box a = chart->area;
    double inner = chart->canvas.width - 2 * MARGIN, below_labels = a.y + a.height + 5 + chart->x_labels;
    sondep_placing wrapped = {.max_width = inner, .is_wrapped = true}, middle = {.across = 0.5};
    sondep_placing upwards = {.across = 0.5, .down = 0.5, .max_width = a.height, .is_upwards = true};
    sondep_placing notes = {.down = 1, .max_width = inner, .is_wrapped = true};

    if (chart->opts.title)
        sondep_canvas_text(&chart->canvas, SONDEP_STYLE_TITLE, chart->opts.title, -1, MARGIN, MARGIN, &wrapped,
                           sondep_black);
    if (chart->opts.subtitle)
        sondep_canvas_text(&chart->canvas, SONDEP_STYLE_SUBTITLE, chart->opts.subtitle, -1, MARGIN,
                           MARGIN + chart->title_height, &wrapped, sondep_dark_grey);
    if (chart->x_name.n > 0)
        sondep_canvas_text(&chart->canvas, SONDEP_STYLE_NAME, chart->x_name.text, -1, a.x + a.width / 2, below_labels + 2,
                           &middle, sondep_black);
    if (chart->y_name.n > 0)
        sondep_canvas_text(&chart->canvas, SONDEP_STYLE_NAME, chart->y_name.text, -1, MARGIN + 7, a.y + a.height / 2,
                           &upwards, sondep_black);
    if (chart->notes.n > 0)
        sondep_canvas_text(&chart->canvas, SONDEP_STYLE_NOTE, chart->notes.text, -1, MARGIN, chart->canvas.height - MARGIN,
                           &notes, sondep_dark_grey);
}

/* What lies under the data is drawn; from here on nothing can leave the area. */
sonde_status sondep_chart_begin(sondep_chart *chart, const char *path)
{
    double width, height;
    sondep_box a;

    SONDE_TRY(sondep_canvas_open(&chart->canvas, path, chart->opts.scale));
    SONDE_TRY(measure(chart, &width, &height));
    SONDE_TRY(sondep_canvas_begin(&chart->canvas, width, height));
    draw_texts(chart);
    draw_ticks(chart);
    SONDE_TRY(draw_groups(chart));
    draw_legend(chart);
    /* A hair more than the area, so that lines on its edge keep their width. */
    a = chart->area;
    cairo_save(chart->canvas.cr);
    cairo_rectangle(chart->canvas.cr, a.x - 0.5, a.y - 0.5, a.width + 1, a.height + 1);
    cairo_clip(chart->canvas.cr);
    return SONDE_OK;
}

/* The two axes go over the data, so that bars stand on a clean line. */
sonde_status sondep_chart_end(sondep_chart *chart)
{
    sondep_box a = chart->area;
    cairo_restore(chart->canvas.cr);
    sondep_canvas_line(&chart->canvas, a.x, a.y, a.x, a.y + a.height, 0.75, sondep_dark_grey);
    sondep_canvas_line(&chart->canvas, a.x, a.y + a.height, a.x + a.width, a.y + a.height, 0.75, sondep_dark_grey);
    return sondep_canvas_end(&chart->canvas);
}

/* Also after a failure anywhere. */
void sondep_chart_release(sondep_chart *chart)
{
    sondep_canvas_close(&chart->canvas);
    sondep_string_release(&chart->notes);
    sondep_string_release(&chart->x_name);
    sondep_string_release(&chart->y_name);
}
