/* moments.c - moments of series of numbers that can be added to and joined.    floor 8: analysis
 *
 * A series is held as its count, its mean and the sums of powers 2 to 4 of the distance from the mean. Sums of plain powers
 * would cancel: a column with mean 1e6 and deviation 0.1 leaves nothing of its variance in sum(x^2) - n mean^2. Even the
 * rounding of a mean of 1e6 shows in the tenth digit of that deviation, so that the mean is held as its distance from the
 * first value of the series; the difference of two floats is exact in double, or as good as. A block that lies in memory
 * is taken in two passes; values that arrive one by one, and series that are joined, use Pebay's updates.
 */
#include <sonde/analysis.h>

#include "base/base.h"
#include "tensor/half.h"

#include <math.h>

#define NAME(value, name, formula) name,
static const char *const names[] = {SONDE_STATISTIC_LIST(NAME)};
#undef NAME
#define FORMULA(value, name, formula) formula,
static const char *const formulas[] = {SONDE_STATISTIC_LIST(FORMULA)};
#undef FORMULA

/* ---- names ----------------------------------------------------------------------------------------------------------- */

/* Two tables from the one list, so that a name and its formula cannot part. */
const char *sonde_statistic_name(sonde_statistic which)
{
    return (unsigned)which < SONDE_N_STATISTICS ? names[which] : "?";
}

const char *sonde_statistic_formula(sonde_statistic which)
{
    return (unsigned)which < SONDE_N_STATISTICS ? formulas[which] : "?";
}

/* The names one after another, for the hint. */
#define LISTED(value, name, formula) " " name
sonde_status sonde_statistic_parse(sonde_statistic *out, const char *name)
{
    for (int i = 0; i < SONDE_N_STATISTICS; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (sonde_statistic)i;
            return SONDE_OK;
        }
    }
    SONDE_FAIL(SONDE_E_ARG, "no such statistic: '%s'", name);
    return sondep_hint(SONDE_E_ARG, "one of:" SONDE_STATISTIC_LIST(LISTED));
}
#undef LISTED

/* Whether any of n floats is infinite or not a number: all bits of its exponent are set. */
static bool has_nonfinite(const float *x, int64_t n)
{
    uint32_t found = 0;
    for (int64_t i = 0; i < n; i++)
        found |= (sondep_float_bits(x[i]) & 0x7f800000u) == 0x7f800000u;
    return found != 0;
}

/* ---- a block in two passes ------------------------------------------------------------------------------------------ */

/* Sums run in eight lanes, value i in lane i % 8, that are joined in one order: the compiler may use vectors, and the bytes
 * are the same whether it does. */
enum { LANES = 8 };

/* Of the first pass. Distances are from the first value; counts are doubles, so that all lanes are alike. */
typedef struct first_sums {
    double distance[LANES], size[LANES], square[LANES], min[LANES], max[LANES], n_zero[LANES], n_below[LANES];
} first_sums;

/* Of the second: powers 1 to 4 of the distance from the mean. The first is 0 but for rounding. */
typedef struct second_sums {
    double d1[LANES], d2[LANES], d3[LANES], d4[LANES];
} second_sums;

/* One value into lane l. Comparisons are written as choices, which have vector instructions. */
static inline void first_lane(first_sums *s, int l, double value, double origin, double threshold)
{
    double size = fabs(value);
    s->distance[l] += value - origin;
    s->size[l] += size;
    s->square[l] += value * value;
    s->min[l] = value < s->min[l] ? value : s->min[l];
    s->max[l] = value > s->max[l] ? value : s->max[l];
    s->n_zero[l] += size == 0.0 ? 1.0 : 0.0;
    s->n_below[l] += size < threshold ? 1.0 : 0.0;
}

/* One distance into lane l. */
static inline void second_lane(second_sums *s, int l, double distance)
{
    double square = distance * distance;
    s->d1[l] += distance;
    s->d2[l] += square;
    s->d3[l] += square * distance;
    s->d4[l] += square * square;
}

/* The lanes joined as a tree, always the same one. */
static double sum_lanes(const double lane[LANES])
{
    return ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

/* What needs no mean, and the mean itself. */
static void first_pass(sonde_moments *m, const float *x, int64_t n, double threshold)
{
    first_sums s;
    int64_t i = 0;

    memset(&s, 0, sizeof s);
    /* Every lane starts from the first value, also one that no value falls into. */
    m->origin = x[0];
    for (int l = 0; l < LANES; l++)
        s.min[l] = s.max[l] = x[0];
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            first_lane(&s, l, x[i + l], m->origin, threshold);
    for (int l = 0; i < n; i++, l++)
        first_lane(&s, l, x[i], m->origin, threshold);
    /* The mean is held as its distance from the first value. */
    m->n = n;
    m->offset = sum_lanes(s.distance) / (double)n;
    m->sum_abs = sum_lanes(s.size);
    m->sum_squares = sum_lanes(s.square);
    m->n_zero = (int64_t)sum_lanes(s.n_zero);
    m->n_below = (int64_t)sum_lanes(s.n_below);
    m->min = m->max = x[0];
    for (int l = 0; l < LANES; l++) {
        m->min = s.min[l] < m->min ? s.min[l] : m->min;
        m->max = s.max[l] > m->max ? s.max[l] : m->max;
    }
}

/* Powers of the distance from the mean. */
static void second_pass(sonde_moments *m, const float *x, int64_t n)
{
    second_sums s;
    double d1;
    int64_t i = 0;

    memset(&s, 0, sizeof s);
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            second_lane(&s, l, x[i + l] - m->origin - m->offset);
    for (int l = 0; i < n; i++, l++)
        second_lane(&s, l, x[i] - m->origin - m->offset);
    d1 = sum_lanes(s.d1);
    m->m2 = sum_lanes(s.d2) - d1 * d1 / (double)n; /* what the rounding of the mean left */
    m->m3 = sum_lanes(s.d3);
    m->m4 = sum_lanes(s.d4);
}

/* Adds n > 0 finite values. */
static void add_block(sonde_moments *m, const float *x, int64_t n, double threshold)
{
    sonde_moments block = {0};
    first_pass(&block, x, n, threshold);
    second_pass(&block, x, n);
    sonde_moments_merge(m, &block);
}

sonde_status sonde_moments_add(sonde_moments *m, const float *x, int64_t n, double threshold, bool skip_masked)
{
    bool is_whole = !has_nonfinite(x, n);

    for (int64_t i = 0; i < n && !is_whole; i++)
        if (!isfinite(x[i]) && !(skip_masked && x[i] == -INFINITY))
            return SONDE_FAIL(SONDE_E_NONFINITE, "a number is not finite: %g at index %lld", (double)x[i], (long long)i);
    for (int64_t from = 0; from < n;) { /* runs between masked values; all at once where there are none */
        int64_t to = is_whole ? n : from;
        while (to < n && x[to] != -INFINITY)
            to++;
        if (to > from)
            add_block(m, x + from, to - from, threshold);
        m->n_masked += to < n;
        from = to + 1;
    }
    return SONDE_OK;
}

/* ---- columns, a row at a time ---------------------------------------------------------------------------------------- */

/* Columns that a thread takes at a time, laid out so that the same step of all of them is one loop. */
enum { COLUMNS = 32, PARALLEL_FROM = 1 << 16 };

/* As sonde_moments, turned round: an array over columns for each sum. Counts are exact in double up to 2^53. */
typedef struct column_block {
    double origin[COLUMNS], offset[COLUMNS], m2[COLUMNS], m3[COLUMNS], m4[COLUMNS];
    double min[COLUMNS], max[COLUMNS], sum_abs[COLUMNS], sum_squares[COLUMNS], n_zero[COLUMNS], n_below[COLUMNS];
} column_block;

/* From the series of each column to arrays over columns, and back. */
static void load_columns(column_block *b, const sonde_moments *m, int64_t width)
{
    for (int64_t c = 0; c < width; c++, m++) {
        b->origin[c] = m->origin;
        b->offset[c] = m->offset;
        b->m2[c] = m->m2;
        b->m3[c] = m->m3;
        b->m4[c] = m->m4;
        b->min[c] = m->min;
        b->max[c] = m->max;
        b->sum_abs[c] = m->sum_abs;
        b->sum_squares[c] = m->sum_squares;
        b->n_zero[c] = (double)m->n_zero;
        b->n_below[c] = (double)m->n_below;
    }
}

/* A block of columns back into the moments. */
static void store_columns(sonde_moments *m, const column_block *b, int64_t width, int64_t n)
{
    for (int64_t c = 0; c < width; c++, m++)
        *m = (sonde_moments){.n = n,
                             .n_masked = m->n_masked,
                             .n_zero = (int64_t)b->n_zero[c],
                             .n_below = (int64_t)b->n_below[c],
                             .origin = b->origin[c],
                             .offset = b->offset[c],
                             .m2 = b->m2[c],
                             .m3 = b->m3[c],
                             .m4 = b->m4[c],
                             .min = b->min[c],
                             .max = b->max[c],
                             .sum_abs = b->sum_abs[c],
                             .sum_squares = b->sum_squares[c]};
}

/* The first row of columns that are empty. */
static void start_columns(column_block *b, const float *x, int64_t width)
{
    for (int64_t c = 0; c < width; c++)
        b->origin[c] = b->min[c] = b->max[c] = x[c];
}

/* One more value for each column, `before` having been there: eq. 3.1 of Pebay with nB = 1. The higher moments need the
 * lower ones as they were. */
static void add_row(column_block *b, const float *x, int64_t width, double before, double threshold)
{
    double n = before + 1.0, inverse = 1.0 / n, spread = n * n - 3.0 * n + 3.0;

    for (int64_t c = 0; c < width; c++) {
        double value = x[c], size = fabs(value), d = value - b->origin[c] - b->offset[c];
        /* t is what m2 grows by: (x - old mean) (x - new mean). */
        double d_n = d * inverse, square = d_n * d_n, t = d * d_n * before;

        b->m4[c] += t * square * spread + 6.0 * square * b->m2[c] - 4.0 * d_n * b->m3[c];
        b->m3[c] += t * d_n * (n - 2.0) - 3.0 * d_n * b->m2[c];
        b->m2[c] += t;
        b->offset[c] += d_n;
        b->min[c] = value < b->min[c] ? value : b->min[c];
        b->max[c] = value > b->max[c] ? value : b->max[c];
        b->sum_abs[c] += size;
        b->sum_squares[c] += value * value;
        b->n_zero[c] += size == 0.0 ? 1.0 : 0.0;
        b->n_below[c] += size < threshold ? 1.0 : 0.0;
    }
}

/* All rows of a few columns. */
static void add_to_columns(sonde_moments *columns, const float *x, int64_t N, int64_t C, int64_t width, double threshold)
{
    column_block block;
    int64_t n = columns[0].n;

    load_columns(&block, columns, width);
    if (n == 0)
        start_columns(&block, x, width);
    for (int64_t row = 0; row < N; row++)
        add_row(&block, x + row * C, width, (double)(n + row), threshold);
    store_columns(columns, &block, width, n + N);
}

sonde_status sonde_moments_add_rows(sonde_moments *columns, const float *x, int64_t N, int64_t C, double threshold)
{
    int64_t n_blocks = (C + COLUMNS - 1) / COLUMNS;

    /* Everything is checked before anything is added: columns are whole on failure. */
    if (N == 0 || C == 0)
        return SONDE_OK;
    for (int64_t c = 1; c < C; c++)
        if (columns[c].n != columns[0].n)
            return SONDE_FAIL(SONDE_E_STATE, "columns have different numbers of rows: %lld and %lld",
                              (long long)columns[0].n, (long long)columns[c].n);
    for (int64_t i = has_nonfinite(x, N * C) ? 0 : N * C; i < N * C; i++)
        if (!isfinite(x[i]))
            return SONDE_FAIL(SONDE_E_NONFINITE, "a number is not finite: %g at row %lld, column %lld", (double)x[i],
                              (long long)(i / C), (long long)(i % C));
#pragma omp parallel for num_threads(sonde_threads()) if (N * C >= PARALLEL_FROM)
    for (int64_t block = 0; block < n_blocks; block++) {
        int64_t from = block * COLUMNS, width = C - from < COLUMNS ? C - from : COLUMNS;
        add_to_columns(columns + from, x + from, N, C, width, threshold);
    }
    return SONDE_OK;
}

/* ---- joining and reading ------------------------------------------------------------------------------------------------ */

void sonde_moments_merge(sonde_moments *a, const sonde_moments *b)
{
    double na = (double)a->n, nb = (double)b->n, n = na + nb, d, d2;
    sonde_moments joined = *a;

    joined.n_masked += b->n_masked;
    if (a->n == 0 || b->n == 0) { /* one is empty: the other, bit for bit */
        int64_t n_masked = joined.n_masked;
        *a = b->n == 0 ? *a : *b;
        a->n_masked = n_masked;
        return;
    }
    /* Distance of the means, from a's to b's; then each moment is moved to the common mean, highest last. */
    d = b->origin - a->origin + (b->offset - a->offset);
    d2 = d * d;
    joined.n += b->n;
    joined.offset += d * nb / n;
    joined.m2 += b->m2 + d2 * na * nb / n;
    joined.m3 += b->m3 + d * d2 * na * nb * (na - nb) / (n * n) + 3.0 * d * (na * b->m2 - nb * a->m2) / n;
    joined.m4 += b->m4 + d2 * d2 * na * nb * (na * na - na * nb + nb * nb) / (n * n * n) +
                 6.0 * d2 * (na * na * b->m2 + nb * nb * a->m2) / (n * n) + 4.0 * d * (na * b->m3 - nb * a->m3) / n;
    joined.n_zero += b->n_zero;
    joined.n_below += b->n_below;
    joined.sum_abs += b->sum_abs;
    joined.sum_squares += b->sum_squares;
    joined.min = b->min < a->min ? b->min : a->min;
    joined.max = b->max > a->max ? b->max : a->max;
    *a = joined;
}

double sonde_moments_get(const sonde_moments *m, sonde_statistic which)
{
    double n = (double)m->n, variance;

    if (m->n == 0)
        return NAN;
    /* m2 can be below 0 by rounding only. */
    variance = m->m2 > 0.0 ? m->m2 / n : 0.0;
    switch (which) {
    case SONDE_STAT_MEAN: return m->origin + m->offset;
    case SONDE_STAT_STD: return sqrt(variance);
    case SONDE_STAT_MIN: return m->min;
    case SONDE_STAT_MAX: return m->max;
    case SONDE_STAT_L2: return sqrt(m->sum_squares);
    case SONDE_STAT_RMS: return sqrt(m->sum_squares / n);
    case SONDE_STAT_MEAN_ABS: return m->sum_abs / n;
    case SONDE_STAT_SPARSITY: return (double)m->n_zero / n;
    case SONDE_STAT_BELOW: return (double)m->n_below / n;
    case SONDE_STAT_SKEWNESS: return variance > 0.0 ? m->m3 / n / (variance * sqrt(variance)) : NAN;
    case SONDE_STAT_KURTOSIS: return variance > 0.0 ? m->m4 / n / (variance * variance) - 3.0 : NAN;
    case SONDE_N_STATISTICS: break;
    }
    return NAN;
}
