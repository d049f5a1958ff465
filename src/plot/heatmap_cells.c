/* heatmap_cells.c - the cells of a matrix, its marks, the colour bar.          floor 2: plot */
#include "plot/heatmap.h"

#include <math.h>

/* Up to here an SVG or PDF has a rectangle for each run of cells; beyond, one picture inside it. */
enum { MAX_RECTANGLES = 20000 };

/* As cairo's RGB24 has it. */
static uint32_t packed(sondep_rgb c)
{
    return (uint32_t)c.r << 16 | (uint32_t)c.g << 8 | c.b;
}

/* One row as rectangles, equal neighbours in one. Each reaches a little under the next cells, which are drawn later:
 * viewers that smooth edges would show the page between cells that only touch. */
static void draw_row(sondep_heat *heat, const sondep_grid *grid, int64_t row, const uint32_t *colours, double x, double y)
{
    const double under = 0.3;
    const unsigned char *kinds = grid->kinds + row * grid->n_columns;
    const unsigned char *below = row + 1 < grid->n_rows ? kinds + grid->n_columns : NULL;
    sondep_cell_size cell = heat->needs.cell;

    for (int64_t c = 0, end; c < grid->n_columns; c = end) {
        bool reaches_right, reaches_down = below != NULL;
        uint32_t rgb = colours[row * grid->n_columns + c];

        /* As far as the colour is the same. */
        for (end = c; end < grid->n_columns && colours[row * grid->n_columns + end] == rgb && kinds[end] == kinds[c]; end++)
            reaches_down = reaches_down && below[end] != SONDEP_CELL_EMPTY;
        if (kinds[c] == SONDEP_CELL_EMPTY)
            continue;
        reaches_right = end < grid->n_columns && kinds[end] != SONDEP_CELL_EMPTY;
        sondep_canvas_fill(&heat->canvas,
                           (sondep_box){x + (double)c * cell.width, y + (double)row * cell.height,
                                        (double)(end - c) * cell.width + (reaches_right ? under : 0),
                                        cell.height + (reaches_down ? under : 0)},
                           (sondep_rgb){(unsigned char)(rgb >> 16), (unsigned char)(rgb >> 8), (unsigned char)rgb});
    }
}

/* Frames that are seen on dark and on light cells: a black line within a white one. */
static void draw_marks(sondep_heat *heat, int64_t k, double x, double y)
{
    const sonde_plot_matrix *m = &heat->panels[k];
    double w = heat->needs.cell.width / (double)heat->grids[k].column_stride;
    double h = heat->needs.cell.height / (double)heat->grids[k].row_stride;

    for (int64_t i = 0; i < m->n_marks; i++) {
        sonde_plot_mark mark = m->marks[i];
        sondep_box box = {x + (double)mark.column * w, y + (double)mark.row * h, (double)mark.n_columns * w,
                          (double)mark.n_rows * h};
        if (mark.row < 0 || mark.column < 0 || mark.row + mark.n_rows > m->n_rows ||
            mark.column + mark.n_columns > m->n_columns)
            continue; /* was checked; a mark never reaches outside the cells */
        sondep_canvas_frame(&heat->canvas, box, 2.5, (sondep_rgb){255, 255, 255});
        sondep_canvas_frame(&heat->canvas, box, 1.25, sondep_black);
    }
}

/* The number in each cell, white on dark colours, left out where it does not fit. */
static void draw_values(sondep_heat *heat, int64_t k, double x, double y)
{
    const sondep_grid *grid = &heat->grids[k];
    const sondep_placing middle = {.across = 0.5, .down = 0.5};
    sondep_cell_size cell = heat->needs.cell;

    for (int64_t i = 0; i < grid->n_rows * grid->n_columns; i++) {
        char text[SONDEP_TICK_BYTES];
        double width, height;
        sondep_rgb on = sondep_cell_colour(&heat->ranges[k], (sondep_cell)grid->kinds[i], grid->values[i]);

        if (grid->kinds[i] == SONDEP_CELL_EMPTY)
            continue;
        sondep_number(text, grid->values[i], 3, true);
        sondep_canvas_measure(&width, &height, &heat->canvas, SONDEP_STYLE_LABEL, text, -1, NULL);
        if (width + 2 > cell.width || cell.height < SONDEP_LABEL_PITCH)
            continue;
        sondep_canvas_text(&heat->canvas, SONDEP_STYLE_LABEL, text, -1,
                           x + ((double)(i % grid->n_columns) + 0.5) * cell.width,
                           y + ((double)(i / grid->n_columns) + 0.5) * cell.height, &middle,
                           sondep_lightness(on) < 60 ? (sondep_rgb){255, 255, 255} : sondep_black);
    }
}

/* Colours first, in one array; then as one picture or as rectangles; then what lies over them. */
sonde_status sondep_heat_draw_cells(sondep_heat *heat, int64_t k, double x, double y)
{
    const sondep_grid *grid = &heat->grids[k];
    int64_t n = grid->n_rows * grid->n_columns;
    sondep_box box = {x, y, (double)grid->n_columns * heat->needs.cell.width,
                      (double)grid->n_rows * heat->needs.cell.height};
    uint32_t *colours;
    sonde_status status = SONDE_OK;

    SONDE_TRY(SONDE_NEW(colours, n));
    /* One colour for each cell, whatever becomes of it. */
    for (int64_t i = 0; i < n; i++)
        colours[i] = packed(sondep_cell_colour(&heat->ranges[k], (sondep_cell)grid->kinds[i], grid->values[i]));
    if (heat->canvas.format == SONDEP_PNG || n > MAX_RECTANGLES)
        status = sondep_canvas_image(&heat->canvas, box, colours, grid->n_rows, grid->n_columns);
    else
        for (int64_t r = 0; r < grid->n_rows; r++)
            draw_row(heat, grid, r, colours, x, y);
    sondep_free(colours);
    SONDE_TRY(status);
    if (heat->opts.show_values)
        draw_values(heat, k, x, y);
    sondep_canvas_frame(&heat->canvas, (sondep_box){box.x - 0.25, box.y - 0.25, box.width + 0.5, box.height + 0.5}, 0.5,
                        sondep_mid_grey);
    draw_marks(heat, k, x, y);
    return SONDE_OK;
}

/* The strip of colours, the highest value at the top. */
static sonde_status draw_strip(sondep_heat *heat, const sondep_range *range)
{
    enum { STEPS = 256 };
    uint32_t colours[STEPS];
    sondep_box bar = heat->layout.bar;

    for (int i = 0; i < STEPS; i++) {
        double t = (i + 0.5) / STEPS;
        colours[i] = packed(sondep_range_colour(range, range->high * (1 - t) + range->low * t));
    }
    SONDE_TRY(sondep_canvas_image(&heat->canvas, bar, colours, STEPS, 1));
    sondep_canvas_frame(&heat->canvas, (sondep_box){bar.x - 0.25, bar.y - 0.25, bar.width + 0.5, bar.height + 0.5}, 0.5,
                        sondep_mid_grey);
    return SONDE_OK;
}

/* A patch and a name for each kind of value that occurs and is not finite. */
static void draw_legend(sondep_heat *heat, const sondep_range *range)
{
    const sondep_placing beside = {.down = 0.5};
    double y = heat->layout.swatches_y, x = heat->layout.bar.x;

    for (int kind = SONDEP_CELL_NAN; kind <= SONDEP_CELL_HIGH_INFINITE; kind++) {
        if (range->n_cells[kind] == 0)
            continue;
        sondep_canvas_fill(&heat->canvas, (sondep_box){x, y, SONDEP_BAR_WIDTH, 10},
                           sondep_cell_colour(range, (sondep_cell)kind, 0));
        sondep_canvas_frame(&heat->canvas, (sondep_box){x - 0.25, y - 0.25, SONDEP_BAR_WIDTH + 0.5, 10.5}, 0.5,
                            sondep_mid_grey);
        sondep_canvas_text(&heat->canvas, SONDEP_STYLE_LABEL, sondep_cell_name((sondep_cell)kind), -1,
                           x + SONDEP_BAR_WIDTH + 8, y + 5, &beside, sondep_black);
        y += SONDEP_SWATCH_PITCH;
    }
}

/* The bar with its ticks, its name read upwards, and the legend below. */
sonde_status sondep_heat_draw_bar(sondep_heat *heat)
{
    const sondep_range *range = &heat->ranges[0];
    sondep_box bar = heat->layout.bar;
    sondep_placing beside = {.down = 0.5};
    sondep_placing name = {.across = 0.5, .down = 0.5, .max_width = bar.height, .is_wrapped = true, .is_upwards = true};

    draw_legend(heat, range);
    if (!heat->needs.has_bar)
        return SONDE_OK;
    SONDE_TRY(draw_strip(heat, range));
    /* Ticks: halves, since the difference of two finite doubles can be infinite. */
    for (int i = 0; i < heat->ticks.n; i++) {
        double t = (heat->ticks.at[i] / 2 - range->low / 2) / (range->high / 2 - range->low / 2);
        double y = bar.y + bar.height * (1 - t);
        sondep_canvas_line(&heat->canvas, bar.x + bar.width, y, bar.x + bar.width + 4, y, 0.75, sondep_dark_grey);
        sondep_canvas_text(&heat->canvas, SONDEP_STYLE_LABEL, heat->ticks.text[i], -1, bar.x + bar.width + 8, y, &beside,
                           sondep_black);
    }
    /* The name, wrapped where it is longer than the bar. */
    if (heat->bar_name.n > 0)
        sondep_canvas_text(&heat->canvas, SONDEP_STYLE_NAME, heat->bar_name.text, -1, heat->layout.bar_name_x,
                           bar.y + bar.height / 2, &name, sondep_black);
    return SONDE_OK;
}
