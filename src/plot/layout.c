/* layout.c - see layout.h.                                                     floor 2: plot */
#include "plot/layout.h"

#include <math.h>

/* A plotted area that looks right on a page and a screen, and the largest useful cell. */
static const double ideal_width = 640, ideal_height = 440, largest_width = 32, largest_height = 26, bar_min = 96,
                    bar_max = 260, least_panel = 40;

/* PNGs have two pixels a point: half points keep the edges of cells on pixels. */
static double half_points(double x)
{
    return fmax(1, floor(x * 2 + 1e-9) / 2);
}

/* Length of one of n cells along an axis: the ideal if labels fit, more up to the limit if that helps them. */
static double cell_length(int64_t n, bool has_labels, double ideal, double largest, double limit)
{
    double count = (double)n, length = fmin(fmin(ideal, limit) / count, largest);

    if (has_labels && length < SONDEP_LABEL_PITCH)
        length = fmin(SONDEP_LABEL_PITCH, limit / count);
    return half_points(fmin(fmax(length, 1), fmax(limit / count, 1)));
}

/* Width and height are found apart, then made equal where the matrix is square. */
sondep_cell_size sondep_cell_size_for(int64_t n_rows, int64_t n_columns, bool has_labels, bool is_square, bool shows_values,
                                      double max_width, double max_height)
{
    sondep_cell_size cell = {
        cell_length(n_columns, has_labels, ideal_width, shows_values ? 40 : largest_width, max_width),
        cell_length(n_rows, has_labels, ideal_height, largest_height, max_height),
    };
    if (shows_values) /* four digits and a sign beside each other, if there is room at all */
        cell.width = fmax(cell.width, half_points(fmin(34, max_width / (double)n_columns)));
    if (is_square && !shows_values)
        cell.width = cell.height = fmin(cell.width, cell.height);
    return cell;
}

/* How good it is to put `across` panels beside each other: the area of a cell, less for empty places; and the room that a
 * panel has then. Below 40 points a panel says nothing, and the picture grows instead. */
static double panel_score(double *width, double *height, int64_t across, int64_t n, int64_t n_rows, int64_t n_columns,
                          bool is_square, const sonde_plot_opts *opts)
{
    int64_t down = (n - 1) / across + 1;
    double cell_width, cell_height, side, area;

    *width = fmax(least_panel, (opts->max_width - (double)(across - 1) * SONDEP_PANEL_GAP) / (double)across);
    *height = fmax(least_panel, (opts->max_height - (double)(down - 1) * 2 * SONDEP_PANEL_GAP) / (double)down);
    if (is_square && opts->panel_columns > 0) /* the width decides; the picture becomes as high as it must */
        *height = fmax(*height, *width);
    cell_width = half_points(fmin(*width / (double)n_columns, largest_width));
    cell_height = half_points(fmin(*height / (double)n_rows, largest_height));
    side = fmin(cell_width, cell_height);
    area = is_square ? side * side : cell_width * cell_height;
    return area * (1 - (double)(across * down - n) / (double)(across * down));
}

/* All numbers of panels beside each other are tried; the first of the best wins, so that results are stable. */
int64_t sondep_panels_across(double *panel_width, double *panel_height, int64_t n, int64_t n_rows, int64_t n_columns,
                             bool is_square, const sonde_plot_opts *opts)
{
    /* More than this would be narrower than a panel may be. */
    int64_t most = (int64_t)fmax(1, opts->max_width / (least_panel + SONDEP_PANEL_GAP)), best = 1;
    double best_score = -1;

    if (opts->panel_columns > 0)
        best = opts->panel_columns < n ? opts->panel_columns : n;
    for (int64_t across = 1; opts->panel_columns == 0 && across <= n && across <= most; across++) {
        double score = panel_score(panel_width, panel_height, across, n, n_rows, n_columns, is_square, opts);
        if (score > best_score * 1.0001) {
            best_score = score;
            best = across;
        }
    }
    panel_score(panel_width, panel_height, best, n, n_rows, n_columns, is_square, opts);
    return best;
}

/* Row by row from the top left. */
void sondep_heat_panel_at(double *x, double *y, const sondep_heat_layout *layout, const sondep_heat_needs *needs, int64_t i)
{
    *x = layout->plots.x + (double)(i % needs->n_across) * layout->pitch_x;
    *y = layout->plots.y + (double)(i / needs->n_across) * layout->pitch_y;
}

/* The bar stands beside the plots; what is not finite is explained below it. */
static void place_bar(sondep_heat_layout *out, const sondep_heat_needs *needs)
{
    double swatches = needs->n_swatches * SONDEP_SWATCH_PITCH + (needs->n_swatches > 0 ? SONDEP_LABEL_GAP : 0);
    double bar_height = fmin(fmax(out->plots.height - swatches, bar_min), bar_max);

    out->bar = (sondep_box){ceil(out->plots.x + out->plots.width + SONDEP_BAR_GAP), out->plots.y, SONDEP_BAR_WIDTH,
                            needs->has_bar ? floor(bar_height) : 0};
    out->swatches_y = out->bar.y + out->bar.height + (needs->has_bar && needs->n_swatches > 0 ? 2 * SONDEP_LABEL_GAP : 0);
    out->bar_name_x = out->bar.x + SONDEP_BAR_WIDTH + 8 + needs->bar_label_width + 6 + needs->bar_name_width / 2;
}

/* From left to right, then from top to bottom. Places are rounded up to points, so that cells begin on a pixel. */
void sondep_heat_layout_make(sondep_heat_layout *out, const sondep_heat_needs *needs)
{
    double rows = needs->row_label_width > 0 ? needs->row_label_width + SONDEP_LABEL_GAP : 0;
    double columns = needs->column_label_height > 0 ? needs->column_label_height + SONDEP_LABEL_GAP : 0;
    double y_name = needs->y_name_width > 0 ? needs->y_name_width + SONDEP_LABEL_GAP : 0;
    int64_t n_down = (needs->n_panels - 1) / needs->n_across + 1;
    double right, bottom;

    *out = (sondep_heat_layout){0};
    out->panel_width = (double)needs->n_columns * needs->cell.width;
    out->panel_height = (double)needs->n_rows * needs->cell.height;
    out->pitch_x = ceil(out->panel_width + SONDEP_PANEL_GAP + (needs->shares_labels ? 0 : rows));
    out->pitch_y =
        ceil(out->panel_height + SONDEP_PANEL_GAP + needs->panel_title_height + (needs->shares_labels ? 0 : columns));
    out->plots = (sondep_box){
        ceil(SONDEP_MARGIN + y_name + rows),
        ceil(SONDEP_MARGIN + needs->header_height + needs->panel_title_height),
        out->pitch_x * (double)(needs->n_across - 1) + out->panel_width,
        out->pitch_y * (double)(n_down - 1) + out->panel_height,
    };
    place_bar(out, needs);

    /* The rightmost of what there is decides the width, the lowest the height. */
    right = needs->has_bar          ? out->bar_name_x + needs->bar_name_width / 2
            : needs->n_swatches > 0 ? out->bar.x + SONDEP_BAR_WIDTH + 8 + needs->bar_label_width
                                    : out->plots.x + out->plots.width;
    out->x_name_y = out->plots.y + out->plots.height + columns + 2;
    bottom = out->x_name_y + needs->x_name_height;
    bottom = fmax(bottom, out->swatches_y + needs->n_swatches * SONDEP_SWATCH_PITCH);
    out->y_name_x = SONDEP_MARGIN + needs->y_name_width / 2;
    out->notes_y = bottom + (needs->notes_height > 0 ? 10 : 0);
    out->width = fmax(ceil(right), needs->min_width + SONDEP_MARGIN) + SONDEP_MARGIN;
    out->height = ceil(out->notes_y + needs->notes_height + SONDEP_MARGIN);
}
