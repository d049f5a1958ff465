/* heatmap_labels.c - row and column labels of a matrix.                        floor 2: plot
 *
 * Labels lie 11 points apart at least: where cells are smaller every nth is shown. Numbers are thinned to round ones.
 * Column labels lie flat if all fit, else they are read upwards. A label longer than 150 points is cut with an ellipsis.
 */
#include "plot/heatmap.h"

#include <math.h>

static const double longest_label = 150;

/* Texts are thinned from the first on, numbers to multiples of the stride: 0, 50, 100. */
bool sondep_side_shows(const sondep_side *side, int64_t i)
{
    int64_t number = side->labels ? i : side->first + i;
    return number % side->stride == 0;
}

/* Largest width of the labels that are shown. */
static sonde_status widest_label(double *out, sondep_heat *heat, const sondep_side *side)
{
    sondep_placing cut = {.max_width = longest_label};
    sondep_string text = {0};
    sonde_status status = SONDE_OK;

    *out = 0;
    /* Only what is shown is measured: thousands of labels may not be. */
    for (int64_t i = 0; i < side->n && status == SONDE_OK; i++) {
        double width, height;
        if (!sondep_side_shows(side, i))
            continue;
        text.n = 0;
        SONDE_TRY_DONE(sondep_label_at(&text, NULL, side->labels, side->first, i));
        sondep_canvas_measure(&width, &height, &heat->canvas, SONDEP_STYLE_LABEL, text.text, (int64_t)text.n, &cut);
        *out = fmax(*out, width);
    }
done:
    sondep_string_release(&text);
    return status;
}

/* Width of the number that takes most room: the last one, or the first below zero. */
static sonde_status widest_number(double *out, sondep_heat *heat, const sondep_side *side)
{
    sondep_side ends = *side;
    double first, last;
    /* A side of one item, at either end. */
    ends.n = 1;
    ends.stride = 1;
    SONDE_TRY(widest_label(&first, heat, &ends));
    ends.first = side->first + side->n - 1;
    SONDE_TRY(widest_label(&last, heat, &ends));
    *out = fmax(first, last);
    return SONDE_OK;
}

/* Rows need height only: as many as lie 11 points apart. */
static sonde_status lay_rows(sondep_heat *heat, sondep_side *side)
{
    double stride = SONDEP_LABEL_PITCH / side->pitch;
    side->stride = side->labels ? (int64_t)fmax(1, ceil(stride - 1e-6)) : sondep_round_stride(stride - 1e-6);
    return widest_label(&side->extent, heat, side);
}

/* Columns need width. Numbers lie flat and are thinned until they fit; texts are thinned only as far as they would
 * touch
 * when read upwards, and lie flat if that happens to be enough. */
static sonde_status lay_columns(sondep_heat *heat, sondep_side *side)
{
    const double line_height = 12.5;
    double widest;

    side->stride = 1;
    side->extent = line_height;
    if (side->labels == NULL) {
        SONDE_TRY(widest_number(&widest, heat, side));
        side->stride = sondep_round_stride((widest + 8) / side->pitch);
        return SONDE_OK;
    }
    side->stride = (int64_t)fmax(1, ceil(SONDEP_LABEL_PITCH / side->pitch - 1e-6));
    SONDE_TRY(widest_label(&widest, heat, side));
    side->is_upwards = widest + 5 > side->pitch * (double)side->stride;
    if (side->is_upwards)
        side->extent = widest;
    return SONDE_OK;
}

/* Pitches are those of the matrix, not of its cells: where several columns share a cell, a label still points to its
 * own. */
sonde_status sondep_heat_sides(sondep_heat *heat, int64_t k)
{
    const sonde_plot_matrix *m = &heat->panels[k];
    const sondep_grid *grid = &heat->grids[k];

    heat->rows = (sondep_side){
        m->row_labels, m->first_row, m->n_rows, heat->needs.cell.height / (double)grid->row_stride, 1, false, 0};
    heat->columns = (sondep_side){
        m->column_labels, m->first_column, m->n_columns, heat->needs.cell.width / (double)grid->column_stride, 1, false, 0};
    SONDE_TRY(lay_rows(heat, &heat->rows));
    return lay_columns(heat, &heat->columns);
}

/* Right-aligned to the cells; a short line leads to the row where not every one is named. */
static sonde_status draw_rows(sondep_heat *heat, sondep_string *text, double x, double y)
{
    const sondep_side *side = &heat->rows;
    sondep_placing placing = {.across = 1, .down = 0.5, .max_width = longest_label};

    for (int64_t i = 0; i < side->n; i++) {
        if (!sondep_side_shows(side, i))
            continue;
        text->n = 0;
        SONDE_TRY(sondep_label_at(text, NULL, side->labels, side->first, i));
        sondep_canvas_text(&heat->canvas, SONDEP_STYLE_LABEL, text->text, (int64_t)text->n, x - SONDEP_LABEL_GAP,
                           y + ((double)i + 0.5) * side->pitch, &placing, sondep_black);
        if (side->stride > 1)
            sondep_canvas_line(&heat->canvas, x - 3, y + ((double)i + 0.5) * side->pitch, x,
                               y + ((double)i + 0.5) * side->pitch, 0.5, sondep_dark_grey);
    }
    return SONDE_OK;
}

/* Below the cells: flat ones centred, upright ones ending at the cells. */
static sonde_status draw_columns(sondep_heat *heat, sondep_string *text, double x, double y)
{
    const sondep_side *side = &heat->columns;
    sondep_placing placing = {.across = side->is_upwards ? 1 : 0.5,
                              .down = side->is_upwards ? 0.5 : 0,
                              .max_width = longest_label,
                              .is_upwards = side->is_upwards};

    for (int64_t i = 0; i < side->n; i++) {
        double at = x + ((double)i + 0.5) * side->pitch;
        if (!sondep_side_shows(side, i))
            continue;
        text->n = 0;
        SONDE_TRY(sondep_label_at(text, NULL, side->labels, side->first, i));
        sondep_canvas_text(&heat->canvas, SONDEP_STYLE_LABEL, text->text, (int64_t)text->n, at,
                           y + SONDEP_LABEL_GAP - (side->is_upwards ? 0 : 1), &placing, sondep_black);
        if (side->stride > 1)
            sondep_canvas_line(&heat->canvas, at, y, at, y + 3, 0.5, sondep_dark_grey);
    }
    return SONDE_OK;
}

/* Where panels share their labels, only those at the left and the lowest of each column have them. */
sonde_status sondep_heat_draw_labels(sondep_heat *heat, int64_t k, double x, double y)
{
    bool is_left = !heat->needs.shares_labels || k % heat->needs.n_across == 0;
    bool is_bottom = !heat->needs.shares_labels || k + heat->needs.n_across >= heat->n_panels;
    sondep_string text = {0};
    sonde_status status = SONDE_OK;

    if (!heat->needs.shares_labels)
        SONDE_TRY_DONE(sondep_heat_sides(heat, k));
    if (is_left)
        SONDE_TRY_DONE(draw_rows(heat, &text, x, y));
    if (is_bottom)
        SONDE_TRY_DONE(draw_columns(heat, &text, x, y + (double)heat->grids[k].n_rows * heat->needs.cell.height));
done:
    sondep_string_release(&text);
    return status;
}
