/* similarity.c - cosine, Pearson, L2 distance, relative change; of two rows and of all pairs.   floor 8: analysis
 *
 * Rows are widened to double once, centred for Pearson, and kept with their squared length. Products are summed in eight
 * lanes that are added in a fixed order, so that the compiler may use vectors and the bytes are the same everywhere.
 * Distances are summed from differences, never from |a|^2 + |b|^2 - 2 a.b, which cancels for rows that are alike.
 */
#include <sonde/analysis.h>

#include "base/base.h"

#include <math.h>

#define NAME(value, name, formula) name,
static const char *const names[] = {SONDE_SIMILARITY_LIST(NAME)};
#undef NAME
#define FORMULA(value, name, formula) formula,
static const char *const formulas[] = {SONDE_SIMILARITY_LIST(FORMULA)};
#undef FORMULA

/* ---- names ----------------------------------------------------------------------------------------------------------- */

const char *sonde_similarity_name(sonde_similarity which)
{
    return (unsigned)which < SONDE_N_SIMILARITIES ? names[which] : "?";
}

const char *sonde_similarity_formula(sonde_similarity which)
{
    return (unsigned)which < SONDE_N_SIMILARITIES ? formulas[which] : "?";
}

/* The names one after another, for the hint. */
#define LISTED(value, name, formula) " " name
sonde_status sonde_similarity_parse(sonde_similarity *out, const char *name)
{
    for (int i = 0; i < SONDE_N_SIMILARITIES; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (sonde_similarity)i;
            return SONDE_OK;
        }
    }
    SONDE_FAIL(SONDE_E_ARG, "no such measure: '%s'", name);
    return sondep_hint(SONDE_E_ARG, "one of:" SONDE_SIMILARITY_LIST(LISTED));
}
#undef LISTED

/* ---- sums ------------------------------------------------------------------------------------------------------------ */

/* Element i goes to lane i % 8. */
enum { LANES = 8 };

/* The lanes joined as a tree, always the same one. */
static double sum_lanes(const double lane[LANES])
{
    return ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

/* a . b */
static double dot(const double *a, const double *b, int64_t n)
{
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] += a[i + l] * b[i + l];
    for (int l = 0; i < n; i++, l++)
        lane[l] += a[i] * b[i];
    return sum_lanes(lane);
}

/* |a - b|^2 */
static double squared_distance(const double *a, const double *b, int64_t n)
{
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] += (a[i + l] - b[i + l]) * (a[i + l] - b[i + l]);
    for (int l = 0; i < n; i++, l++)
        lane[l] += (a[i] - b[i]) * (a[i] - b[i]);
    return sum_lanes(lane);
}

/* ---- rows ------------------------------------------------------------------------------------------------------------ */

/* Widens a row, centres it for Pearson. A constant row becomes exactly 0: its mean is exact, being the value itself.
 * Returns the column of the first number that is not finite, or -1. */
static int64_t widen(double *out, const float *x, int64_t D, bool centre)
{
    double mean = 0.0;
    for (int64_t d = 0; d < D; d++) {
        if (!isfinite(x[d]))
            return d;
        out[d] = x[d];
        mean += x[d];
    }
    mean /= (double)D;
    for (int64_t d = 0; centre && d < D; d++)
        out[d] -= mean;
    return -1;
}

/* The measure of two widened rows whose squared lengths are aa and bb. sqrt(aa * aa) is exactly aa, hence exactly 1 for a
 * row with itself. */
static double measure(sonde_similarity which, const double *a, double aa, const double *b, double bb, int64_t D)
{
    if (which == SONDE_L2)
        return sqrt(squared_distance(a, b, D));
    if (which == SONDE_RELATIVE)
        return aa > 0.0 ? sqrt(squared_distance(a, b, D) / aa) : NAN;
    if (!(aa > 0.0 && bb > 0.0))
        return NAN;
    return fmax(-1.0, fmin(1.0, dot(a, b, D) / sqrt(aa * bb)));
}

/* ---- all pairs ------------------------------------------------------------------------------------------------------- */

/* N widened rows and their squared lengths. */
typedef struct operand {
    double *rows, *squares;
} operand;

static void release(operand *o)
{
    sondep_free(o->rows);
    sondep_free(o->squares);
}

/* `which_one` names the operand in errors. */
static sonde_status prepare(operand *out, const float *x, int64_t N, int64_t D, bool centre, const char *which_one)
{
    int64_t n;
    SONDE_TRY(sondep_mul_i64(&n, N, D, "a matrix of rows"));
    SONDE_TRY(SONDE_NEW(out->rows, n));
    SONDE_TRY(SONDE_NEW(out->squares, N));
    for (int64_t i = 0; i < N; i++) {
        double *row = out->rows + i * D;
        int64_t bad = widen(row, x + i * D, D, centre);
        if (bad >= 0)
            return SONDE_FAIL(SONDE_E_NONFINITE, "a number is not finite: %g at row %lld, column %lld of the %s operand",
                              (double)x[i * D + bad], (long long)i, (long long)bad, which_one);
        out->squares[i] = dot(row, row, D);
    }
    return SONDE_OK;
}

sonde_status sonde_similarity_matrix(double *out, sonde_similarity which, const float *a, int64_t N, const float *b,
                                     int64_t M, int64_t D)
{
    operand left = {0}, right = {0};
    sonde_status status;

    SONDE_TRY_DONE(prepare(&left, a, N, D, which == SONDE_PEARSON, "first"));
    SONDE_TRY_DONE(prepare(&right, b, M, D, which == SONDE_PEARSON, "second"));

    /* A thread has whole rows of the answer: no sum is shared. */
#pragma omp parallel for num_threads(sonde_threads()) if (N * M * D >= 1 << 16)
    for (int64_t i = 0; i < N; i++)
        for (int64_t j = 0; j < M; j++)
            out[i * M + j] = measure(which, left.rows + i * D, left.squares[i], right.rows + j * D, right.squares[j], D);
done:
    release(&left);
    release(&right);
    return status;
}

/* A matrix of one by one: there is one way to compute a measure. */
sonde_status sonde_similarity_of(double *out, sonde_similarity which, const float *a, const float *b, int64_t n)
{
    return sonde_similarity_matrix(out, which, a, 1, b, 1, n);
}
