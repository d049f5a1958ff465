/* grid.c - a matrix as at most so many cells, and what that owes the reader.   floor 2: plot
 *
 * Put together, neighbouring values are shown by the one of the largest magnitude: a mean would hide the one neuron that
 * fires. A NaN is never hidden; -inf, which masks attention, is shown only where nothing else is.
 */
#include "plot/parts.h"

#include <math.h>

/* Which of two cells is shown where they fall together: higher goes first, and of two finite ones the larger magnitude. */
static int precedence(sondep_cell kind)
{
    static const int order[SONDEP_N_CELLS] = {
        [SONDEP_CELL_NAN] = 4,          [SONDEP_CELL_HIGH_INFINITE] = 3, [SONDEP_CELL_FINITE] = 2,
        [SONDEP_CELL_LOW_INFINITE] = 1, [SONDEP_CELL_EMPTY] = 0,
    };
    return order[kind];
}

/* One value more falls into a cell. */
static void put_into_cell(sondep_grid *grid, int64_t cell, sondep_cell kind, float value)
{
    int have = precedence((sondep_cell)grid->kinds[cell]), new = precedence(kind);
    if (new > have || (new == have &&fabsf(value) > fabsf(grid->values[cell]))) {
        grid->kinds[cell] = (unsigned char)kind;
        grid->values[cell] = value;
    }
}

/* Strides are whole numbers, so that every cell but the last of a row stands for equally many columns. */
sonde_status sondep_grid_make(sondep_grid *out, const sonde_plot_matrix *m, int64_t max_rows, int64_t max_columns)
{
    sondep_grid grid = {.row_stride = (m->n_rows - 1) / max_rows + 1, .column_stride = (m->n_columns - 1) / max_columns + 1};
    sonde_status status;
    int64_t n;

    *out = (sondep_grid){0};
    grid.n_rows = (m->n_rows - 1) / grid.row_stride + 1;
    grid.n_columns = (m->n_columns - 1) / grid.column_stride + 1;
    n = grid.n_rows * grid.n_columns;
    SONDE_TRY_DONE(SONDE_NEW(grid.values, n));
    SONDE_TRY_DONE(SONDE_NEW(grid.kinds, n));
    memset(grid.kinds, SONDEP_CELL_EMPTY, (size_t)n);

    /* One pass over the matrix; `left` counts the columns that still go into the cell. */
    for (int64_t r = 0; r < m->n_rows; r++) {
        int64_t row = r / grid.row_stride * grid.n_columns, cell = row, left = grid.column_stride;
        for (int64_t c = 0; c < m->n_columns; c++) {
            put_into_cell(&grid, cell, sondep_cell_kind(m, r, c), m->values[r * m->n_columns + c]);
            if (--left == 0) {
                left = grid.column_stride;
                cell++;
            }
        }
    }
done:
    if (status != SONDE_OK)
        sondep_grid_release(&grid);
    *out = grid;
    return status;
}

/* Fine on a zero struct. */
void sondep_grid_release(sondep_grid *grid)
{
    sondep_free(grid->values);
    sondep_free(grid->kinds);
    *grid = (sondep_grid){0};
}

/* "each cell shows the largest magnitude of 2 rows × 4 columns" for the largest strides among the grids. */
static sonde_status note_strides(sondep_string *out, const sondep_grid *grids, int64_t n)
{
    long long rows = 1, columns = 1;
    /* Panels of different sizes: the largest strides are said. */
    for (int64_t k = 0; k < n; k++) {
        rows = grids[k].row_stride > rows ? grids[k].row_stride : rows;
        columns = grids[k].column_stride > columns ? grids[k].column_stride : columns;
    }
    if (rows > 1 && columns > 1)
        return sondep_string_printf(out, "Each cell shows the largest magnitude among %lld rows × %lld columns.\n", rows,
                                    columns);
    if (rows > 1 || columns > 1)
        return sondep_string_printf(out, "Each cell shows the largest magnitude among %lld neighbouring %s.\n",
                                    rows > 1 ? rows : columns, rows > 1 ? "rows" : "columns");
    return SONDE_OK;
}

/* "48 of 4896 values lie beyond the colours, which span 99 % of them; all span −16.7 to 13.4." */
static sonde_status note_clipping(sondep_string *out, const sondep_range *range, const sonde_plot_opts *opts)
{
    char smallest[SONDEP_TICK_BYTES], largest[SONDEP_TICK_BYTES];
    bool is_given = opts->low != SONDE_PLOT_AUTO || opts->high != SONDE_PLOT_AUTO;

    if (range->n_clipped == 0)
        return SONDE_OK;
    sondep_number(smallest, range->smallest, 3, true);
    sondep_number(largest, range->largest, 3, true);
    SONDE_TRY(sondep_string_printf(out, "%lld of %lld values lie beyond the colours", (long long)range->n_clipped,
                                   (long long)range->n_cells[SONDEP_CELL_FINITE]));
    if (opts->range == SONDE_PLOT_RANGE_QUANTILE && !is_given) {
        char share[SONDEP_TICK_BYTES];
        SONDE_TRY(
            sondep_string_printf(out, ", which span %s %% of them", sondep_number(share, 100 * opts->quantile, 4, false)));
    }
    return sondep_string_printf(out, "; all span %s to %s.\n", smallest, largest);
}

/* Put together, clipped, nothing finite, all equal: each a sentence, each only where it is so. */
sonde_status sondep_notes(sondep_string *out, const sondep_range *range, const sondep_grid *grids, int64_t n,
                          const sonde_plot_opts *opts)
{
    SONDE_TRY(note_strides(out, grids, n));
    SONDE_TRY(note_clipping(out, range, opts));
    if (range->n_cells[SONDEP_CELL_FINITE] == 0)
        return sondep_string_printf(out, "No value is finite.\n");
    if (range->smallest == range->largest && range->n_cells[SONDEP_CELL_FINITE] > 1) {
        char value[SONDEP_TICK_BYTES];
        return sondep_string_printf(out, "All values are %s.\n", sondep_number(value, range->smallest, 4, true));
    }
    return SONDE_OK;
}
