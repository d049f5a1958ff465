/* range.c - which values the colours stand for.                                floor 2: plot
 *
 * One pass counts what there is (finite, NaN, infinite, masked) and finds the extremes; where a quantile is asked for, the
 * values are gathered and the one at its rank is selected. Options that are given go before what the data say.
 */
#include "plot/colour.h"

#include <math.h>

/* What is not there goes before what the value is. */
sondep_cell sondep_cell_kind(const sonde_plot_matrix *m, int64_t row, int64_t column)
{
    int64_t i = row * m->n_columns + column;
    float v = m->values[i];

    if ((m->is_causal && column > row) || (m->mask && m->mask[i]))
        return SONDEP_CELL_EMPTY;
    return isfinite(v) ? SONDEP_CELL_FINITE
           : isnan(v)  ? SONDEP_CELL_NAN
           : v < 0     ? SONDEP_CELL_LOW_INFINITE
                       : SONDEP_CELL_HIGH_INFINITE;
}

/* Calls for every finite value of n matrices: extremes into `range`, values into `gathered` (which may be NULL). */
static void scan(sondep_range *range, float *gathered, const sonde_plot_matrix *m, int64_t n)
{
    int64_t at = 0;
    bool is_first = true;

    memset(range->n_cells, 0, sizeof range->n_cells);
    for (int64_t k = 0; k < n; k++) {
        for (int64_t i = 0; i < m[k].n_rows * m[k].n_columns; i++) {
            float v = m[k].values[i];
            sondep_cell kind = sondep_cell_kind(&m[k], i / m[k].n_columns, i % m[k].n_columns);

            range->n_cells[kind]++;
            if (kind != SONDEP_CELL_FINITE)
                continue;
            range->smallest = is_first || v < range->smallest ? v : range->smallest;
            range->largest = is_first || v > range->largest ? v : range->largest;
            is_first = false;
            if (gathered != NULL)
                gathered[at++] = v;
        }
    }
}

/* The element of rank k in x[0..n), 0 the smallest; x is reordered. Hoare's selection: linear on average. */
static float select_rank(float *x, int64_t n, int64_t k)
{
    int64_t from = 0, to = n - 1;
    while (from < to) {
        float pivot = x[from + (to - from) / 2];
        int64_t i = from, j = to;
        while (i <= j) {
            while (x[i] < pivot)
                i++;
            while (x[j] > pivot)
                j--;
            if (i <= j) {
                float kept = x[i];
                x[i++] = x[j];
                x[j--] = kept;
            }
        }
        if (k <= j)
            to = j;
        else if (k >= i)
            from = i;
        else
            break;
    }
    return x[k];
}

/* Ends that leave the share `quantile` of the values inside: of the magnitudes if symmetric, else of both tails. */
static sonde_status quantile_ends(double *low, double *high, const sondep_range *range, bool is_symmetric, double quantile,
                                  const sonde_plot_matrix *m, int64_t n)
{
    sondep_range unused = {0};
    int64_t count = range->n_cells[SONDEP_CELL_FINITE];
    float *values;

    SONDE_TRY(SONDE_NEW(values, count));
    scan(&unused, values, m, n);
    if (is_symmetric) {
        for (int64_t i = 0; i < count; i++)
            values[i] = fabsf(values[i]);
        *high = select_rank(values, count, (int64_t)ceil(quantile * (double)count) - 1);
        *low = -*high;
    } else {
        /* Half of what is left out at either end. */
        int64_t tail = (int64_t)floor((1 - quantile) / 2 * (double)count);
        *low = select_rank(values, count, tail);
        *high = select_rank(values, count, count - 1 - tail);
    }
    sondep_free(values);
    return SONDE_OK;
}

/* Makes low < high where all values are one: zero belongs to the range then. */
static void widen(sondep_range *range)
{
    if (range->low < range->high)
        return;
    if (range->low == 0)
        range->high = 1;
    else if (range->low > 0)
        range->low = 0;
    else
        range->high = 0;
}

/* A second pass, since the ends are known only now. The test of the value goes first: it is rarely true. */
static int64_t count_clipped(const sondep_range *range, const sonde_plot_matrix *m, int64_t n)
{
    int64_t count = 0;
    for (int64_t k = 0; k < n; k++) {
        for (int64_t i = 0; i < m[k].n_rows * m[k].n_columns; i++) {
            float v = m[k].values[i];
            if (((double)v < range->low || (double)v > range->high) &&
                sondep_cell_kind(&m[k], i / m[k].n_columns, i % m[k].n_columns) == SONDEP_CELL_FINITE)
                count++;
        }
    }
    return count;
}

/* The given ends go before those of the data; one end of a symmetric range gives the other. */
static sonde_status apply_given(sondep_range *range, bool is_symmetric, const sonde_plot_opts *opts)
{
    bool has_low = opts->low != SONDE_PLOT_AUTO, has_high = opts->high != SONDE_PLOT_AUTO;

    if (has_low && has_high && !(opts->low < opts->high))
        return SONDE_FAIL(SONDE_E_ARG, "option 'low' is %g, not below 'high', which is %g", opts->low, opts->high);
    if (has_low)
        range->low = opts->low;
    if (has_high)
        range->high = opts->high;
    if (is_symmetric && has_high && !has_low && opts->high > 0)
        range->low = -opts->high;
    if (is_symmetric && has_low && !has_high && opts->low < 0)
        range->high = -opts->low;
    if (!(range->low < range->high) && (has_low || has_high)) { /* one end was given, beyond all of the data */
        double reach = fmax(1, fabs(has_low ? range->low : range->high));
        range->high = has_low ? range->low + reach : range->high;
        range->low = has_low ? range->low : range->high - reach;
    }
    return SONDE_OK;
}

/* Scan, choose the map, choose the ends, apply what is given. */
sonde_status sondep_range_of(sondep_range *out, const sonde_plot_matrix *m, int64_t n, const sonde_plot_opts *opts)
{
    sondep_range range = {0};
    bool has_both_signs, is_symmetric;
    double a;

    scan(&range, NULL, m, n);
    /* The map: as asked for, or by the signs of the values. */
    has_both_signs = range.smallest < 0 && range.largest > 0;
    range.is_diverging =
        opts->colours == SONDE_PLOT_COLOURS_DIVERGING ||
        (opts->colours == SONDE_PLOT_COLOURS_AUTO && (has_both_signs || opts->range == SONDE_PLOT_RANGE_SYMMETRIC));
    is_symmetric = opts->range == SONDE_PLOT_RANGE_SYMMETRIC || (opts->range != SONDE_PLOT_RANGE_FULL && range.is_diverging);

    /* The ends: a quantile's, else those of the data. */
    a = fmax(fabs(range.smallest), fabs(range.largest));
    if (opts->range == SONDE_PLOT_RANGE_QUANTILE && range.n_cells[SONDEP_CELL_FINITE] > 0)
        SONDE_TRY(quantile_ends(&range.low, &range.high, &range, is_symmetric, opts->quantile, m, n));
    if (!(range.low < range.high)) { /* no quantile, or one that leaves nothing: most values are zero */
        range.low = is_symmetric ? -a : range.smallest;
        range.high = is_symmetric ? a : range.largest;
    }
    if (opts->range == SONDE_PLOT_RANGE_AUTO && range.low > 0 && range.low < range.high / 10)
        range.low = 0; /* near zero means zero: attention, norms, probabilities */
    SONDE_TRY(apply_given(&range, is_symmetric, opts));
    if (is_symmetric && range.low == 0 && range.high == 0)
        range.low = -1;
    widen(&range);
    range.n_clipped = count_clipped(&range, m, n);
    *out = range;
    return SONDE_OK;
}
