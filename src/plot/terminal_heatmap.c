/* terminal_heatmap.c - matrices as lines of coloured text.                     floor 2: plot
 *
 * A cell is as many columns wide as fit. Where labels would be lost, a row of the matrix takes a line; else two share one:
 * the upper half block ▀ has its own colour and that of its ground. Column labels stand below in up to three lines in
 * turn, so that neighbours do not touch.
 */
#include "plot/terminal.h"

#include <math.h>

typedef struct view {
    const sonde_plot_opts *opts;
    const sonde_plot_matrix *m;
    const sondep_range *range;
    sondep_grid grid;
    int64_t columns;     /* of the terminal that this matrix may take */
    int64_t label_width; /* of row labels, with the space behind */
    int64_t cell_width;
    bool is_halved;     /* two rows a line */
    int64_t row_period; /* rows of the matrix from one label to the next */
} view;

/* Width of the widest label, of all that there are (numbers: the last and the first). */
static sonde_status widest(int64_t *out, const sonde_plot_label *labels, int64_t first, int64_t n)
{
    sondep_string text = {0};
    sonde_status status = SONDE_OK;

    *out = 0;
    for (int64_t i = 0; i < n && status == SONDE_OK; i += labels || n < 2 ? 1 : n - 1) {
        int64_t width = 0;
        text.n = 0;
        status = sondep_label_at(&text, &width, labels, first, i);
        *out = width > *out ? width : *out;
    }
    sondep_string_release(&text);
    return status;
}

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Columns that a cell takes at least: a sign and a digit, a shade, or a patch of colour. */
static int64_t least_width(const sondep_range *range, const sonde_plot_opts *opts)
{
    return opts->depth == SONDE_PLOT_DEPTH_NONE && range->is_diverging ? 2 : 1;
}

/* Decides how the matrix lies in `columns` x `lines` of a terminal. */
static sonde_status view_make(view *v, int64_t lines)
{
    const sonde_plot_matrix *m = v->m;
    bool is_coloured = v->opts->depth != SONDE_PLOT_DEPTH_NONE;
    int64_t label, room, least = least_width(v->range, v->opts), most;

    SONDE_TRY(widest(&label, m->row_labels, m->first_row, m->n_rows));
    /* Labels take a third of the line at most; longer ones are cut. */
    v->label_width = min_i64(label, v->columns / 3) + 1;
    room = max_i64(v->columns - v->label_width, least);
    /* Two rows a line only where nothing is lost by it: too many rows, or only numbers beside them. */
    v->is_halved = is_coloured && (m->n_rows > lines || (m->row_labels == NULL && m->n_rows > 12));
    SONDE_TRY(sondep_grid_make(&v->grid, m, v->is_halved ? 2 * lines : lines, room / least));

    /* Cells become as wide as their labels, within reason: a wide matrix wants narrow ones. */
    SONDE_TRY(widest(&label, m->column_labels, m->first_column, m->n_columns));
    most = v->is_halved ? 2 : m->column_labels ? min_i64(max_i64(label + 1, 3), 12) : 4;
    v->cell_width = max_i64(least, min_i64(room / v->grid.n_columns, most));
    v->row_period = v->grid.row_stride * (v->is_halved ? 2 : 1);
    return SONDE_OK;
}

/* Two rows of cells as half blocks; `lower` may be the row behind the last. */
static sonde_status put_halves(sondep_string *out, sondep_pen *pen, const view *v, int64_t upper, int64_t c)
{
    const sondep_grid *g = &v->grid;
    int64_t above = upper * g->n_columns + c, below = above + g->n_columns;
    bool has_below = upper + 1 < g->n_rows && g->kinds[below] != SONDEP_CELL_EMPTY;
    bool has_above = g->kinds[above] != SONDEP_CELL_EMPTY;
    int32_t top =
        has_above ? sondep_pen_colour(sondep_cell_colour(v->range, (sondep_cell)g->kinds[above], g->values[above])) : -1;
    int32_t bottom =
        has_below ? sondep_pen_colour(sondep_cell_colour(v->range, (sondep_cell)g->kinds[below], g->values[below])) : -1;
    const char *sign = has_above ? "▀" : has_below ? "▄" : " ";

    SONDE_TRY(sondep_pen_set(out, pen, has_above ? top : bottom, has_above ? bottom : -1));
    for (int64_t i = 0; i < v->cell_width; i++)
        SONDE_TRY(sondep_string_append(out, sign, strlen(sign)));
    return SONDE_OK;
}

/* A line for each row, or for each two: label, space, cells. */
static sonde_status put_rows(sondep_block *block, const view *v)
{
    sondep_string text = {0};
    sonde_status status = SONDE_OK;

    for (int64_t r = 0; r < v->grid.n_rows; r += v->is_halved ? 2 : 1) {
        sondep_pen pen = {(sonde_plot_depth)v->opts->depth, -1, -1};
        sondep_string *line;

        text.n = 0;
        SONDE_TRY_DONE(sondep_block_line(&line, block));
        SONDE_TRY_DONE(sondep_label_at(&text, NULL, v->m->row_labels, v->m->first_row, r * v->grid.row_stride));
        SONDE_TRY_DONE(sondep_text_fit(line, text.text, text.n, v->label_width - 1, true));
        SONDE_TRY_DONE(sondep_string_append(line, " ", 1));
        for (int64_t c = 0; c < v->grid.n_columns; c++) {
            int64_t i = r * v->grid.n_columns + c;
            if (v->is_halved)
                SONDE_TRY_DONE(put_halves(line, &pen, v, r, c));
            else
                SONDE_TRY_DONE(sondep_terminal_cell(line, &pen, v->range, (sondep_cell)v->grid.kinds[i], v->grid.values[i],
                                                    v->cell_width));
        }
        SONDE_TRY_DONE(sondep_pen_set(line, &pen, -1, -1));
        sondep_block_width(block, v->label_width + v->grid.n_columns * v->cell_width);
    }
done:
    sondep_string_release(&text);
    return status;
}

/* One of n_lines lines of column labels: every n_lines-th of those that are `stride` apart, cut to their room. */
static sonde_status put_label_line(sondep_block *block, const view *v, int64_t stride, int64_t n_lines, int64_t which,
                                   sondep_string *text)
{
    const sonde_plot_matrix *m = v->m;
    int64_t at = 0, end = v->label_width + v->grid.n_columns * v->cell_width;
    int64_t offset = m->column_labels ? 0 : (stride - (m->first_column % stride + stride) % stride) % stride;
    sondep_string *line;

    SONDE_TRY(sondep_block_line(&line, block));
    for (int64_t i = offset + which * stride; i < m->n_columns; i += stride * n_lines) {
        int64_t start = v->label_width + i / v->grid.column_stride * v->cell_width;
        int64_t next = v->label_width + (i + stride * n_lines) / v->grid.column_stride * v->cell_width;
        int64_t room = (next < end ? next - 1 : v->columns) - start, width = 0;

        /* The label begins under its column; spaces lead there from the one before. */
        text->n = 0;
        SONDE_TRY(sondep_label_at(text, &width, m->column_labels, m->first_column, i));
        if (m->column_labels == NULL && width > room)
            continue; /* half a number would be another number */
        width = min_i64(width, room);
        SONDE_TRY(sondep_text_fit(line, "", 0, start - at, false));
        SONDE_TRY(sondep_text_fit(line, text->text, text->n, width, false));
        at = start + width;
    }
    sondep_block_width(block, at);
    return SONDE_OK;
}

/* Numbers take one line. Texts take up to three in turn, each label as far to the right as its column; where even
 * that is
 * too narrow, every nth is shown. */
static sonde_status put_column_labels(sondep_block *block, const view *v)
{
    double pitch =
        (double)v->cell_width / (double)v->grid.column_stride; /* columns of the terminal for each of the matrix */
    sondep_string text = {0};
    int64_t label, period, n_lines = 1, stride;
    sonde_status status;

    SONDE_TRY(widest(&label, v->m->column_labels, v->m->first_column, v->m->n_columns));
    /* Columns of the matrix that a label needs, cut at 11 characters. */
    period = (int64_t)ceil((double)min_i64(label + 1, 12) / pitch);
    if (v->m->column_labels == NULL) {
        stride = sondep_round_stride((double)(label + 1) / pitch);
    } else {
        n_lines = max_i64(1, min_i64(min_i64(period, 3), v->m->n_columns));
        stride = (period - 1) / n_lines + 1;
    }
    status = SONDE_OK;
    for (int64_t i = 0; i < n_lines && status == SONDE_OK; i++)
        status = put_label_line(block, v, stride, n_lines, i, &text);
    sondep_string_release(&text);
    return status;
}

/* A matrix with its labels as a block. */
static sonde_status view_draw(sondep_block *block, const view *v)
{
    sondep_string *line;

    if (v->m->title != NULL) {
        sondep_string shown = {0};
        int64_t width = 0;
        sonde_status status = sondep_label_append(&shown, &width, (sonde_plot_label){v->m->title, -1});
        if (status == SONDE_OK)
            status = sondep_block_line(&line, block);
        if (status == SONDE_OK)
            status = sondep_text_fit(line, shown.text, shown.n, min_i64(width, v->columns), false);
        if (status == SONDE_OK)
            sondep_block_width(block, min_i64(width, v->columns));
        sondep_string_release(&shown);
        SONDE_TRY(status);
    }
    SONDE_TRY(put_rows(block, v));
    return put_column_labels(block, v);
}

/* "↓ token  → neuron" */
static sonde_status put_names(sondep_string *out, const sonde_plot_opts *opts)
{
    sondep_string names = {0};
    sonde_status status = SONDE_OK;

    if (opts->y_name) {
        SONDE_TRY_DONE(sondep_string_printf(&names, "↓ "));
        SONDE_TRY_DONE(sondep_label_append(&names, NULL, (sonde_plot_label){opts->y_name, -1}));
    }
    if (opts->x_name) {
        SONDE_TRY_DONE(sondep_string_printf(&names, "%s→ ", opts->y_name ? "  " : ""));
        SONDE_TRY_DONE(sondep_label_append(&names, NULL, (sonde_plot_label){opts->x_name, -1}));
    }
    if (names.n > 0)
        SONDE_TRY_DONE(sondep_paragraph(out, names.text, opts->terminal_columns));
done:
    sondep_string_release(&names);
    return status;
}

/* What the grids and the range owe the reader, a sentence a paragraph. */
static sonde_status put_notes(sondep_string *out, const view *views, int64_t n, const sonde_plot_opts *opts)
{
    sondep_string notes = {0};
    sonde_status status = SONDE_OK;

    for (int64_t k = 0; k < n; k++) {
        bool is_new = k == 0 || views[k].grid.row_stride != views[0].grid.row_stride ||
                      views[k].grid.column_stride != views[0].grid.column_stride;
        if (is_new && (k == 0 || notes.n == 0))
            SONDE_TRY_DONE(sondep_notes(&notes, views[k].range, &views[k].grid, 1, opts));
    }
    /* Each sentence begins a line of its own. */
    for (char *line = notes.text, *end; line != NULL && *line != '\0'; line = end + 1) {
        end = strchr(line, '\n');
        *end = '\0';
        SONDE_TRY_DONE(sondep_paragraph(out, line, opts->terminal_columns));
    }
done:
    sondep_string_release(&notes);
    return status;
}

/* How many panels stand beside each other: each wants its labels, its cells at their least, and 24 columns at least. */
static sonde_status panels_across(int64_t *out, const sonde_plot_matrix *panels, int64_t n, const sondep_range *range,
                                  const sonde_plot_opts *opts)
{
    int64_t want = 24, label;

    for (int64_t k = 0; k < n; k++) {
        SONDE_TRY(widest(&label, panels[k].row_labels, panels[k].first_row, panels[k].n_rows));
        want = max_i64(want, min_i64(label, 12) + 1 + panels[k].n_columns * least_width(range, opts));
    }
    *out = max_i64(1, (opts->terminal_columns + 2) / (min_i64(want, opts->terminal_columns) + 2));
    if (opts->panel_columns > 0)
        *out = min_i64(*out, opts->panel_columns);
    *out = min_i64(*out, n);
    return SONDE_OK;
}

/* Panels from..to of the views beside each other. */
static sonde_status draw_beside(sondep_string *out, view *views, int64_t from, int64_t to, int64_t lines)
{
    sondep_block *blocks;
    sonde_status status = SONDE_OK;

    SONDE_TRY(SONDE_NEW(blocks, to - from));
    for (int64_t k = from; k < to; k++) {
        SONDE_TRY_DONE(view_make(&views[k], lines));
        SONDE_TRY_DONE(view_draw(&blocks[k - from], &views[k]));
    }
    SONDE_TRY_DONE(sondep_block_join(out, blocks, to - from, 2));
done:
    for (int64_t k = 0; k < to - from; k++)
        sondep_block_release(&blocks[k]);
    sondep_free(blocks);
    return status;
}

/* Range, arrangement, then from top to bottom: titles, names, panels, bar, notes. */
static sonde_status draw_all(sondep_string *out, view *views, sondep_range *ranges, const sonde_plot_matrix *panels,
                             int64_t n, const sonde_plot_opts *opts)
{
    bool has_own = opts->panel_own_ranges && n > 1;
    int64_t across, lines;

    /* One range for all, or below one for each. */
    if (!has_own)
        SONDE_TRY(sondep_range_of(&ranges[0], panels, n, opts));
    SONDE_TRY(panels_across(&across, panels, n, &ranges[0], opts));
    /* Panels share the lines, but have ten each. */
    lines = n == 1 ? opts->terminal_lines : max_i64(10, opts->terminal_lines / ((n - 1) / across + 1));
    for (int64_t k = 0; k < n; k++) {
        if (has_own)
            SONDE_TRY(sondep_range_of(&ranges[k], &panels[k], 1, opts));
        views[k] = (view){.opts = opts,
                          .m = &panels[k],
                          .range = &ranges[has_own ? k : 0],
                          .columns = (opts->terminal_columns - 2 * (across - 1)) / across};
    }
    SONDE_TRY(sondep_terminal_head(out, opts));
    SONDE_TRY(put_names(out, opts));
    for (int64_t k = 0; k < n; k += across)
        SONDE_TRY(draw_beside(out, views, k, min_i64(k + across, n), lines));
    if (has_own)
        SONDE_TRY(sondep_paragraph(out, "Each panel has a range of colours of its own.", opts->terminal_columns));
    else
        SONDE_TRY(sondep_terminal_bar(out, &ranges[0], opts));
    return put_notes(out, views, n, opts);
}

/* Views and ranges are in arrays, so that one place gives them back. */
sonde_status sonde_plot_panels_text(char **out, size_t *n_bytes, const sonde_plot_matrix *panels, int64_t n_panels,
                                    const sonde_plot_opts *opts)
{
    sonde_plot_opts effective;
    sondep_string text = {0};
    view *views = NULL;
    sondep_range *ranges = NULL;
    sonde_status status;

    *out = NULL;
    SONDE_TRY(sondep_plot_options(&effective, opts));
    SONDE_TRY(sondep_plot_check(panels, n_panels));
    SONDE_TRY_DONE(SONDE_NEW(views, n_panels));
    SONDE_TRY_DONE(SONDE_NEW(ranges, n_panels));
    status = draw_all(&text, views, ranges, panels, n_panels, &effective);
done:
    for (int64_t k = 0; views != NULL && k < n_panels; k++)
        sondep_grid_release(&views[k].grid);
    sondep_free(views);
    sondep_free(ranges);
    return sondep_terminal_hand_over(out, n_bytes, &text, status);
}

/* One panel without a title of its own. */
sonde_status sonde_plot_heatmap_text(char **out, size_t *n_bytes, const sonde_plot_matrix *m, const sonde_plot_opts *opts)
{
    return sonde_plot_panels_text(out, n_bytes, m, 1, opts);
}
