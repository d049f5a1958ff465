/* heatmap.c - one matrix, or many beside each other, as a file.                floor 2: plot
 *
 * The steps: options, the range of colours, how many cells fit, what texts need (measured), the layout, drawing. A single
 * heatmap is a picture of one panel.
 */
#include "plot/heatmap.h"

#include <math.h>

/* Everything may be there or not: the picture can fail at any step. */
static void heat_release(sondep_heat *heat)
{
    sondep_canvas_close(&heat->canvas);
    for (int64_t k = 0; heat->grids != NULL && k < heat->n_panels; k++)
        sondep_grid_release(&heat->grids[k]);
    sondep_free(heat->grids);
    sondep_free(heat->ranges);
    sondep_string_release(&heat->bar_name);
    sondep_string_release(&heat->notes);
}

/* A mark outside the matrix is an error of the caller's data, not something to clip in silence. */
static sonde_status check_marks(const sonde_plot_matrix *m)
{
    for (int64_t i = 0; i < m->n_marks; i++) {
        sonde_plot_mark a = m->marks[i];
        bool is_inside = a.row >= 0 && a.column >= 0 && a.n_rows >= 1 && a.n_columns >= 1 && a.n_rows <= m->n_rows - a.row &&
                         a.n_columns <= m->n_columns - a.column;
        if (!is_inside)
            return SONDE_FAIL(SONDE_E_ARG, "mark %lld, %lld x %lld at row %lld column %lld, lies outside [%lld, %lld]",
                              (long long)i, (long long)a.n_rows, (long long)a.n_columns, (long long)a.row,
                              (long long)a.column, (long long)m->n_rows, (long long)m->n_columns);
    }
    return SONDE_OK;
}

/* One range for all, or one for each. */
static sonde_status find_ranges(sondep_heat *heat)
{
    bool has_own = heat->opts.panel_own_ranges && heat->n_panels > 1;

    SONDE_TRY(SONDE_NEW(heat->ranges, heat->n_panels));
    if (!has_own)
        SONDE_TRY(sondep_range_of(&heat->ranges[0], heat->panels, heat->n_panels, &heat->opts));
    for (int64_t k = 0; k < heat->n_panels; k++) {
        if (has_own)
            SONDE_TRY(sondep_range_of(&heat->ranges[k], &heat->panels[k], 1, &heat->opts));
        else
            heat->ranges[k] = heat->ranges[0];
    }
    return SONDE_OK;
}

/* How many panels stand beside each other, what falls together, how large cells are. */
static sonde_status make_grids(sondep_heat *heat)
{
    sondep_heat_needs *needs = &heat->needs;
    int64_t most_rows = 0, most_columns = 0;
    bool is_square = true, has_labels = false;
    double width = heat->opts.max_width, height = heat->opts.max_height;

    for (int64_t k = 0; k < heat->n_panels; k++) {
        const sonde_plot_matrix *m = &heat->panels[k];
        most_rows = m->n_rows > most_rows ? m->n_rows : most_rows;
        most_columns = m->n_columns > most_columns ? m->n_columns : most_columns;
        is_square = is_square && (m->is_causal || m->n_rows == m->n_columns);
        has_labels = has_labels || m->row_labels || m->column_labels;
    }
    /* How many beside each other depends on the sizes before putting together. */
    needs->n_panels = heat->n_panels;
    needs->n_across = sondep_panels_across(&width, &height, heat->n_panels, most_rows, most_columns, is_square, &heat->opts);
    SONDE_TRY(SONDE_NEW(heat->grids, heat->n_panels));
    /* No more cells than points: a cell is at least one point wide and high. */
    for (int64_t k = 0; k < heat->n_panels; k++) {
        sondep_grid *grid = &heat->grids[k];
        SONDE_TRY(sondep_grid_make(grid, &heat->panels[k], (int64_t)height, (int64_t)width));
        needs->n_rows = grid->n_rows > needs->n_rows ? grid->n_rows : needs->n_rows;
        needs->n_columns = grid->n_columns > needs->n_columns ? grid->n_columns : needs->n_columns;
    }
    needs->cell = sondep_cell_size_for(needs->n_rows, needs->n_columns, has_labels, is_square, heat->opts.show_values != 0,
                                       width, height);
    return SONDE_OK;
}

/* Labels can be written once if every panel has the very same ones. */
static bool shares_labels(const sondep_heat *heat)
{
    const sonde_plot_matrix *a = &heat->panels[0];
    for (int64_t k = 1; k < heat->n_panels; k++) {
        const sonde_plot_matrix *b = &heat->panels[k];
        if (a->n_rows != b->n_rows || a->n_columns != b->n_columns || a->row_labels != b->row_labels ||
            a->column_labels != b->column_labels || a->first_row != b->first_row || a->first_column != b->first_column)
            return false;
    }
    return true;
}

/* Height of a text that is wrapped at max_width (0: not wrapped); none for no text. */
static double height_of(sondep_heat *heat, sondep_style style, const char *text, double max_width)
{
    sondep_placing wrapped = {.max_width = max_width, .is_wrapped = true};
    double width, height;
    if (text == NULL || *text == '\0')
        return 0;
    sondep_canvas_measure(&width, &height, &heat->canvas, style, text, -1, &wrapped);
    return height;
}

/* Margins are as wide as the widest label of any panel that shows labels. */
static sonde_status measure_labels(sondep_heat *heat)
{
    sondep_heat_needs *needs = &heat->needs;

    needs->shares_labels = shares_labels(heat);
    for (int64_t k = 0; k < (needs->shares_labels ? 1 : heat->n_panels); k++) {
        SONDE_TRY(sondep_heat_sides(heat, k));
        needs->row_label_width = fmax(needs->row_label_width, heat->rows.extent);
        needs->column_label_height = fmax(needs->column_label_height, heat->columns.extent);
    }
    for (int64_t k = 0; k < heat->n_panels; k++)
        if (heat->panels[k].title != NULL)
            needs->panel_title_height = 16;
    needs->x_name_height = height_of(heat, SONDEP_STYLE_NAME, heat->opts.x_name, 0);
    needs->y_name_width = height_of(heat, SONDEP_STYLE_NAME, heat->opts.y_name, 0);
    return SONDE_OK;
}

/* Ticks and name of the bar, and how many kinds of cells the legend explains. */
static sonde_status measure_bar(sondep_heat *heat)
{
    const sondep_range *range = &heat->ranges[0];
    sondep_heat_needs *needs = &heat->needs;
    char power[SONDEP_TICK_BYTES];
    double width, height;

    for (int kind = SONDEP_CELL_NAN; kind <= SONDEP_CELL_HIGH_INFINITE; kind++)
        needs->n_swatches += range->n_cells[kind] > 0;
    if (needs->n_swatches > 0)
        needs->bar_label_width = 24;
    needs->has_bar = !heat->opts.panel_own_ranges || heat->n_panels == 1;
    if (!needs->has_bar)
        return SONDE_OK;
    /* The numbers beside the bar decide how far its name stands off. */
    sondep_ticks_linear(&heat->ticks, range->low, range->high, 5);
    for (int i = 0; i < heat->ticks.n; i++) {
        sondep_canvas_measure(&width, &height, &heat->canvas, SONDEP_STYLE_LABEL, heat->ticks.text[i], -1, NULL);
        needs->bar_label_width = fmax(needs->bar_label_width, width);
    }
    sondep_power_text(power, heat->ticks.exponent);
    SONDE_TRY(sondep_string_printf(&heat->bar_name, "%s%s", heat->opts.value_name ? heat->opts.value_name : "",
                                   heat->opts.value_name ? power : power + (*power == ' ')));
    return SONDE_OK;
}

/* Titles and notes are wrapped to the width of what they belong to, which may grow a little for a long title. */
static sonde_status measure_texts(sondep_heat *heat)
{
    sondep_heat_needs *needs = &heat->needs;
    double title = 0, subtitle = 0, unused, width;

    if (heat->opts.title)
        sondep_canvas_measure(&title, &unused, &heat->canvas, SONDEP_STYLE_TITLE, heat->opts.title, -1, NULL);
    if (heat->opts.subtitle)
        sondep_canvas_measure(&subtitle, &unused, &heat->canvas, SONDEP_STYLE_SUBTITLE, heat->opts.subtitle, -1, NULL);
    /* A page is at least as wide as a short title; a long one is wrapped. */
    needs->min_width = fmin(fmax(fmax(title, subtitle), 220), 420);
    sondep_heat_layout_make(&heat->layout, needs);
    needs->bar_name_width = height_of(heat, SONDEP_STYLE_NAME, heat->bar_name.text, heat->layout.bar.height);
    sondep_heat_layout_make(&heat->layout, needs);

    /* Now the width is known, and with it the heights of what is wrapped. */
    width = heat->layout.width - 2 * SONDEP_MARGIN;
    heat->title_height = height_of(heat, SONDEP_STYLE_TITLE, heat->opts.title, width);
    needs->header_height = heat->title_height + height_of(heat, SONDEP_STYLE_SUBTITLE, heat->opts.subtitle, width);
    needs->header_height += needs->header_height > 0 ? 8 : 0;
    needs->notes_height = height_of(heat, SONDEP_STYLE_NOTE, heat->notes.text, width);
    sondep_heat_layout_make(&heat->layout, needs);
    return SONDE_OK;
}

/* "Every 3rd row is named." */
static sonde_status note_thinning(sondep_string *notes, const char *what, int64_t stride)
{
    const char *ordinal = stride == 2 ? "nd" : stride == 3 ? "rd" : "th";
    if (stride == 1)
        return SONDE_OK;
    if (stride % 100 / 10 != 1 && stride > 20)
        ordinal = stride % 10 == 1 ? "st" : stride % 10 == 2 ? "nd" : stride % 10 == 3 ? "rd" : "th";
    return sondep_string_printf(notes, "Every %lld%s %s is named.\n", (long long)stride, ordinal, what);
}

/* What the reader must know besides the colours, a line each. */
static sonde_status make_notes(sondep_heat *heat)
{
    SONDE_TRY(sondep_notes(&heat->notes, &heat->ranges[0], heat->grids, heat->n_panels, &heat->opts));
    /* Numbers that are thinned explain themselves; texts do not. */
    if (heat->panels[0].row_labels)
        SONDE_TRY(note_thinning(&heat->notes, "row", heat->rows.stride));
    if (heat->panels[0].column_labels)
        SONDE_TRY(note_thinning(&heat->notes, "column", heat->columns.stride));
    if (!heat->needs.has_bar)
        SONDE_TRY(sondep_string_printf(&heat->notes, "Each panel has a range of colours of its own.\n"));
    if (heat->notes.n > 0)
        heat->notes.text[--heat->notes.n] = '\0'; /* the last line needs no break */
    return SONDE_OK;
}

/* Titles at the top left, names in the middle of their sides, notes at the bottom left. */
static void draw_texts(sondep_heat *heat)
{
    const sondep_heat_layout *at = &heat->layout;
    sondep_placing wrapped = {.max_width = at->width - 2 * SONDEP_MARGIN, .is_wrapped = true};
    sondep_placing below = {.across = 0.5};
    sondep_placing beside = {.across = 0.5, .down = 0.5, .is_upwards = true};
    sondep_canvas *canvas = &heat->canvas;

    if (heat->opts.title)
        sondep_canvas_text(canvas, SONDEP_STYLE_TITLE, heat->opts.title, -1, SONDEP_MARGIN, SONDEP_MARGIN, &wrapped,
                           sondep_black);
    if (heat->opts.subtitle)
        sondep_canvas_text(canvas, SONDEP_STYLE_SUBTITLE, heat->opts.subtitle, -1, SONDEP_MARGIN,
                           SONDEP_MARGIN + heat->title_height, &wrapped, sondep_dark_grey);
    if (heat->opts.x_name)
        sondep_canvas_text(canvas, SONDEP_STYLE_NAME, heat->opts.x_name, -1, at->plots.x + at->plots.width / 2, at->x_name_y,
                           &below, sondep_black);
    if (heat->opts.y_name)
        sondep_canvas_text(canvas, SONDEP_STYLE_NAME, heat->opts.y_name, -1, at->y_name_x,
                           at->plots.y + at->plots.height / 2, &beside, sondep_black);
    if (heat->notes.n > 0)
        sondep_canvas_text(canvas, SONDEP_STYLE_NOTE, heat->notes.text, -1, SONDEP_MARGIN, at->notes_y, &wrapped,
                           sondep_dark_grey);
}

/* Cells, then labels, then the title above. */
static sonde_status draw_panels(sondep_heat *heat)
{
    for (int64_t k = 0; k < heat->n_panels; k++) {
        sondep_placing above = {.down = 1, .max_width = heat->layout.panel_width};
        double x, y;

        sondep_heat_panel_at(&x, &y, &heat->layout, &heat->needs, k);
        SONDE_TRY(sondep_heat_draw_cells(heat, k, x, y));
        SONDE_TRY(sondep_heat_draw_labels(heat, k, x, y));
        if (heat->panels[k].title)
            sondep_canvas_text(&heat->canvas, SONDEP_STYLE_PANEL, heat->panels[k].title, -1, x, y - 2, &above, sondep_black);
    }
    return SONDE_OK;
}

/* The whole way; every step can fail, and the caller gives everything back. */
static sonde_status draw_heat(sondep_heat *heat, const char *path)
{
    SONDE_TRY(sondep_canvas_open(&heat->canvas, path, heat->opts.scale));
    SONDE_TRY(find_ranges(heat));
    SONDE_TRY(make_grids(heat));
    SONDE_TRY(measure_labels(heat));
    SONDE_TRY(measure_bar(heat));
    SONDE_TRY(make_notes(heat));
    SONDE_TRY(measure_texts(heat));
    /* All is measured; now there is a page. */
    SONDE_TRY(sondep_canvas_begin(&heat->canvas, heat->layout.width, heat->layout.height));
    draw_texts(heat);
    SONDE_TRY(draw_panels(heat));
    SONDE_TRY(sondep_heat_draw_bar(heat));
    return sondep_canvas_end(&heat->canvas);
}

/* Bad options and empty matrices are found before anything is opened. */
sonde_status sonde_plot_panels(const char *path, const sonde_plot_matrix *panels, int64_t n_panels,
                               const sonde_plot_opts *opts)
{
    sondep_heat heat = {.panels = panels, .n_panels = n_panels};
    sonde_status status;

    SONDE_TRY(sondep_plot_options(&heat.opts, opts));
    SONDE_TRY(sondep_plot_check(panels, n_panels));
    for (int64_t k = 0; k < n_panels; k++)
        SONDE_TRY(check_marks(&panels[k]));
    status = draw_heat(&heat, path);
    heat_release(&heat);
    return status;
}

/* One panel without a title of its own. */
sonde_status sonde_plot_heatmap(const char *path, const sonde_plot_matrix *m, const sonde_plot_opts *opts)
{
    return sonde_plot_panels(path, m, 1, opts);
}
