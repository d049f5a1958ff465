/* matching.c - which direction is which.                                       floor 8: toy
 *
 * The matching of two sets of directions with the largest sum of |cosines|: Kuhn and Munkres's with potentials and shortest ways, by rows of
 * the smaller side; a cost is 1 - |cosine|. It takes rows^2 columns steps at most.
 *
 * Source: Jonker and Volgenant 1987. Reference: tests/oracle/toy_live.py, scipy's linear_sum_assignment.
 */
#include "toy/toy.h"

#include <math.h>

/* In doubles: squares of floats are normal there. */
void sondep_toy_cosines(double *out, const float *a, int64_t na, const float *b, int64_t nb, int64_t d)
{
#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t i = 0; i < na; i++)
        for (int64_t j = 0; j < nb; j++) {
            double dot = 0.0, aa = 0.0, bb = 0.0;
            for (int64_t k = 0; k < d; k++) {
                dot += (double)a[i * d + k] * b[j * d + k];
                aa += (double)a[i * d + k] * a[i * d + k];
                bb += (double)b[j * d + k] * b[j * d + k];
            }
            /* also of rows that are not finite: a NaN has no place in any order */
            out[i * nb + j] = isnormal(aa) && isnormal(bb) ? fabs(dot) / sqrt(aa * bb) : 0.0;
        }
}

/* Room of the matching, counted from 1: potentials, the row of each column, the way, and what is known of columns. */
typedef struct matching {
    double *u, *v, *least;
    int64_t *row_of, *way;
    bool *is_used;
} matching;

/* Fine on a zero struct. */
static void matching_free(matching *m)
{
    sondep_free(m->u);
    sondep_free(m->v);
    sondep_free(m->least);
    sondep_free(m->row_of);
    sondep_free(m->way);
    sondep_free(m->is_used);
}

/* One more than there are: number 0 is nobody. */
static sonde_status matching_make(matching *m, int64_t rows, int64_t columns)
{
    *m = (matching){0};
    SONDE_TRY(SONDE_NEW(m->u, rows + 1));
    SONDE_TRY(SONDE_NEW(m->v, columns + 1));
    SONDE_TRY(SONDE_NEW(m->least, columns + 1));
    SONDE_TRY(SONDE_NEW(m->row_of, columns + 1));
    SONDE_TRY(SONDE_NEW(m->way, columns + 1));
    return SONDE_NEW(m->is_used, columns + 1);
}

/* The shortest way from row i to a column that is free, by costs 1 - value, value[row * step_r + column * step_c]. */
static void add_row(matching *m, const double *value, int64_t step_r, int64_t step_c, int64_t columns, int64_t i)
{
    int64_t at = 0;

    m->row_of[0] = i;
    for (int64_t j = 0; j <= columns; j++) {
        m->least[j] = INFINITY;
        m->is_used[j] = false;
    }
    do {
        int64_t row = m->row_of[at], next = 0;
        double delta = INFINITY;
        /* the column that is nearest to what is reached so far */
        m->is_used[at] = true;
        for (int64_t j = 1; j <= columns; j++) {
            double cost = 1.0 - value[(row - 1) * step_r + (j - 1) * step_c] - m->u[row] - m->v[j];
            if (m->is_used[j])
                continue;
            if (cost < m->least[j]) {
                m->least[j] = cost;
                m->way[j] = at;
            }
            if (m->least[j] < delta) {
                delta = m->least[j];
                next = j;
            }
        }
        for (int64_t j = 0; j <= columns; j++) {
            if (m->is_used[j]) {
                m->u[m->row_of[j]] += delta;
                m->v[j] -= delta;
            } else {
                m->least[j] -= delta;
            }
        }
        at = next;
    } while (m->row_of[at] != 0);
    /* along the way back every column takes the row before */
    while (at != 0) {
        m->row_of[at] = m->row_of[m->way[at]];
        at = m->way[at];
    }
}

/* The side with fewer rows is matched row by row. */
sonde_status sonde_match_directions(double *mcc, int64_t *match, const float *a, int64_t na, const float *b, int64_t nb,
                                    int64_t d)
{
    int64_t rows = na < nb ? na : nb, columns = na < nb ? nb : na, step_r = na < nb ? nb : 1, step_c = na < nb ? 1 : nb;
    double *value = NULL, sum = 0.0;
    matching m = {0};
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(value, na * nb));
    SONDE_TRY_DONE(matching_make(&m, rows, columns));
    sondep_toy_cosines(value, a, na, b, nb, d);
    for (int64_t i = 1; i <= rows; i++)
        add_row(&m, value, step_r, step_c, columns, i);
    /* columns know their rows; the caller wants the rows of a */
    for (int64_t i = 0; i < na; i++)
        match[i] = -1;
    for (int64_t j = 1; j <= columns; j++) {
        int64_t row = m.row_of[j] - 1;
        if (row < 0)
            continue;
        sum += value[row * step_r + (j - 1) * step_c];
        match[na < nb ? row : j - 1] = na < nb ? j - 1 : row;
    }
    *mcc = rows > 0 ? sum / (double)rows : 0.0;
    status = SONDE_OK;
done:
    matching_free(&m);
    sondep_free(value);
    return status;
}
