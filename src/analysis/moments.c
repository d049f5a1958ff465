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

#include <math.h>

#define NAME(value, name, formula) name,
static const char *const names[] = {SONDE_STATISTIC_LIST(NAME)};
#undef NAME
#define FORMULA(value, name, formula) formula,
static const char *const formulas[] = {SONDE_STATISTIC_LIST(FORMULA)};
#undef FORMULA

const char *sonde_statistic_name(sonde_statistic which)
{
    return (unsigned)which < SONDE_N_STATISTICS ? names[which] : "?";
}

const char *sonde_statistic_formula(sonde_statistic which)
{
    return (unsigned)which < SONDE_N_STATISTICS ? formulas[which] : "?";
}

#define LISTED(value, name, formula) name " "
sonde_status sonde_statistic_parse(sonde_statistic *out, const char *name)
{
    for (int i = 0; i < SONDE_N_STATISTICS; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (sonde_statistic)i;
            return SONDE_OK;
        }
    }
    SONDE_FAIL(SONDE_E_ARG, "no such statistic: '%s'", name);
    return sondep_hint(SONDE_E_ARG, "one of: " SONDE_STATISTIC_LIST(LISTED));
}
#undef LISTED

/* Counts, extremes and plain sums: what needs no mean. */
static void count_value(sonde_moments *m, double x, double threshold)
{
    double size = fabs(x);
    m->min = m->n == 0 || x < m->min ? x : m->min;
    m->max = m->n == 0 || x > m->max ? x : m->max;
    m->n++;
    m->n_zero += size == 0.0;
    m->n_below += size < threshold;
    m->sum_abs += size;
    m->sum_squares += x * x;
}

/* First pass over a block: everything but the powers; `sum` of the distances from the first value that counts. */
static sonde_status first_pass(sonde_moments *m, double *sum, const float *x, int64_t n, int64_t stride, double threshold,
                               bool skip_masked)
{
    for (int64_t i = 0; i < n; i++) {
        double value = x[i * stride];
        if (skip_masked && value == -INFINITY) {
            m->n_masked++;
            continue;
        }
        if (!isfinite(value))
            return SONDE_FAIL(SONDE_E_NONFINITE, "a number is not finite: %g at index %lld", value, (long long)i);
        if (m->n == 0)
            m->origin = value;
        count_value(m, value, threshold);
        *sum += value - m->origin;
    }
    return SONDE_OK;
}

sonde_status sonde_moments_add(sonde_moments *m, const float *x, int64_t n, int64_t stride, double threshold,
                               bool skip_masked)
{
    sonde_moments block = {0};
    double sum = 0.0, d1 = 0.0;

    SONDE_TRY(first_pass(&block, &sum, x, n, stride, threshold, skip_masked));
    if (block.n > 0) {
        block.offset = sum / (double)block.n;
        for (int64_t i = 0; i < n; i++) {
            double d = x[i * stride] - block.origin - block.offset, d2 = d * d;
            if (skip_masked && x[i * stride] == -INFINITY)
                continue;
            d1 += d;
            block.m2 += d2;
            block.m3 += d2 * d;
            block.m4 += d2 * d2;
        }
        block.m2 -= d1 * d1 / (double)block.n; /* what the rounding of the mean left */
    }
    sonde_moments_merge(m, &block);
    return SONDE_OK;
}

/* One more value: eq. 3.1 of Pebay with nB = 1. The higher moments need the lower ones as they were. */
static void add_value(sonde_moments *m, double x, double threshold)
{
    double before = (double)m->n, n = before + 1.0;
    double d, d_n, t;

    if (m->n == 0)
        m->origin = x;
    d = x - m->origin - m->offset;
    d_n = d / n;
    t = d * d_n * before;
    m->m4 += t * d_n * d_n * (n * n - 3.0 * n + 3.0) + 6.0 * d_n * d_n * m->m2 - 4.0 * d_n * m->m3;
    m->m3 += t * d_n * (n - 2.0) - 3.0 * d_n * m->m2;
    m->m2 += t;
    m->offset += d_n;
    count_value(m, x, threshold);
}

/* Columns [from, to) of all rows. Returns the flat index of the first number that is not finite, or -1. */
static int64_t add_to_columns(sonde_moments *columns, const float *x, int64_t N, int64_t C, int64_t per, int64_t from,
                              int64_t to, double threshold, bool skip_masked)
{
    for (int64_t row = 0; row < N; row++) {
        for (int64_t i = from * per; i < to * per; i++) {
            double value = x[row * C * per + i];
            sonde_moments *m = &columns[i / per];
            if (isfinite(value))
                add_value(m, value, threshold);
            else if (skip_masked && value == -INFINITY)
                m->n_masked++;
            else
                return row * C * per + i;
        }
    }
    return -1;
}

/* Columns that a thread takes at a time: their series and a few cache lines of each row. */
enum { COLUMN_BLOCK = 32, PARALLEL_FROM = 1 << 14 };

sonde_status sonde_moments_add_rows(sonde_moments *columns, const float *x, int64_t N, int64_t C, int64_t per,
                                    double threshold, bool skip_masked)
{
    int64_t bad = INT64_MAX, n_blocks = (C + COLUMN_BLOCK - 1) / COLUMN_BLOCK;

#pragma omp parallel for num_threads(sonde_threads()) reduction(min : bad) if (N * C * per >= PARALLEL_FROM)
    for (int64_t block = 0; block < n_blocks; block++) {
        int64_t from = block * COLUMN_BLOCK, to = from + COLUMN_BLOCK < C ? from + COLUMN_BLOCK : C;
        int64_t at = add_to_columns(columns, x, N, C, per, from, to, threshold, skip_masked);
        if (at >= 0 && at < bad)
            bad = at;
    }
    if (bad != INT64_MAX)
        return SONDE_FAIL(SONDE_E_NONFINITE, "a number is not finite: %g at row %lld, column %lld", (double)x[bad],
                          (long long)(bad / (C * per)), (long long)(bad % (C * per)));
    return SONDE_OK;
}

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
