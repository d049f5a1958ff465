/* rows.c - the operations on rows, shared out over threads.                    floor 2: kernel
 *
 * Each row, and each piece of PIECE numbers, is one thread's; nothing is summed across them. Small ones stay on the
 * calling thread: waking the others costs more than 30,000 numbers do.
 */
#include "kernel/leaf.h"
#include "kernel/meet.h"

enum { PIECE = 1 << 13, ALONE = 1 << 15 };

/* Softmax of each row, in place. */
void sondep_rows_softmax(const sondep_leaf *leaf, float *x, int64_t n_rows, int64_t n_columns)
{
    sondep_meeting meeting = SONDEP_MEETING;

#pragma omp parallel num_threads(sonde_threads()) if (n_rows * n_columns > ALONE)
    {
#pragma omp for schedule(dynamic, 8) nowait
        for (int64_t i = 0; i < n_rows; i++)
            leaf->softmax(x + i * n_columns, n_columns);
        sondep_meet(&meeting);
    }
}

/* LayerNorm or RMSNorm of each row; what is NULL is not written. */
void sondep_rows_norm(const sondep_leaf *leaf, float *y, float *normalized, float *scale, const float *x, const float *w,
                      const float *b, bool is_rms, double eps, int64_t N, int64_t D)
{
    sondep_meeting meeting = SONDEP_MEETING;

#pragma omp parallel num_threads(sonde_threads()) if (N * D > ALONE)
    {
#pragma omp for schedule(dynamic, 8) nowait
        for (int64_t n = 0; n < N; n++)
            leaf->norm_row(y ? y + n * D : NULL, normalized ? normalized + n * D : NULL, scale ? scale + n : NULL, x + n * D,
                           w, b, is_rms, eps, D);
        sondep_meet(&meeting);
    }
}

/* The second half of a norm. */
void sondep_rows_gain(const sondep_leaf *leaf, float *y, const float *normalized, const float *w, const float *b, int64_t N,
                      int64_t D)
{
    sondep_meeting meeting = SONDEP_MEETING;

#pragma omp parallel num_threads(sonde_threads()) if (N * D > ALONE)
    {
#pragma omp for schedule(dynamic, 8) nowait
        for (int64_t n = 0; n < N; n++)
            leaf->gain_row(y + n * D, normalized + n * D, w, b, D);
        sondep_meet(&meeting);
    }
}

/* Pieces of PIECE numbers: rows mean nothing to functions of one number. */
void sondep_rows_activate(const sondep_leaf *leaf, float *out, const float *in, sondep_act act, int64_t n)
{
    sondep_meeting meeting = SONDEP_MEETING;

#pragma omp parallel num_threads(sonde_threads()) if (n > ALONE)
    {
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t i = 0; i < n; i += PIECE)
            leaf->activate(out + i, in + i, act, n - i < PIECE ? n - i : PIECE);
        sondep_meet(&meeting);
    }
}

/* out = a + b, which may be out. */
void sondep_rows_add(const sondep_leaf *leaf, float *out, const float *a, const float *b, int64_t n)
{
    sondep_meeting meeting = SONDEP_MEETING;

#pragma omp parallel num_threads(sonde_threads()) if (n > ALONE)
    {
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t i = 0; i < n; i += PIECE)
            leaf->add(out + i, a + i, b + i, n - i < PIECE ? n - i : PIECE);
        sondep_meet(&meeting);
    }
}

/* out = a b, which may be out. */
void sondep_rows_multiply(const sondep_leaf *leaf, float *out, const float *a, const float *b, int64_t n)
{
    sondep_meeting meeting = SONDEP_MEETING;

#pragma omp parallel num_threads(sonde_threads()) if (n > ALONE)
    {
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t i = 0; i < n; i += PIECE)
            leaf->multiply(out + i, a + i, b + i, n - i < PIECE ? n - i : PIECE);
        sondep_meet(&meeting);
    }
}

/* All heads of a position are one thread's: they share its angles. */
void sondep_rows_rotate(const sondep_leaf *leaf, float *out, const float *x, const int64_t *position, const float *cos,
                        const float *sin, int64_t N, int64_t n_heads, int64_t d, int64_t ld_out, int64_t ld_x)
{
    int64_t half = d / 2;
    sondep_meeting meeting = SONDEP_MEETING;

#pragma omp parallel num_threads(sonde_threads()) if (N * n_heads * d > ALONE)
    {
#pragma omp for schedule(dynamic, 8) nowait
        for (int64_t n = 0; n < N; n++)
            for (int64_t head = 0; head < n_heads; head++)
                leaf->rotate_head(out + n * ld_out + head * d, x + n * ld_x + head * d, cos + position[n] * half,
                                  sin + position[n] * half, half);
        sondep_meet(&meeting);
    }
}

/* One row of a table of any type; one that is stored by columns is read element by element. */
static void gather_row(const sondep_leaf *leaf, float *out, const sondep_matrix *table, int64_t id, bool add, int64_t D)
{
    const char *row = (const char *)table->data + id * table->row_stride * (table->dtype == SONDE_F32 ? 4 : 2);

    if (table->col_stride == 1) {
        leaf->convert_row(out, row, table->dtype, add, D);
        return;
    }
    for (int64_t d = 0; d < D; d++) {
        float x = sondep_matrix_get(table, id, d);
        out[d] = add ? out[d] + x : x;
    }
}

/* Rows of a table as floats, or added to what is there. */
void sondep_rows_gather(const sondep_leaf *leaf, float *out, const sondep_matrix *table, const int64_t *ids, bool add,
                        int64_t N, int64_t D)
{
    sondep_meeting meeting = SONDEP_MEETING;

#pragma omp parallel num_threads(sonde_threads()) if (N * D > ALONE)
    {
#pragma omp for schedule(dynamic, 8) nowait
        for (int64_t n = 0; n < N; n++)
            gather_row(leaf, out + n * D, table, ids[n], add, D);
        sondep_meet(&meeting);
    }
}

/* The first place is the least of the pieces' places: no matter who finds which. */
int64_t sondep_rows_find_nonfinite(const sondep_leaf *leaf, const float *x, int64_t n, bool allow_minus_infinity)
{
    int64_t first = INT64_MAX;
    sondep_meeting meeting = SONDEP_MEETING;

#pragma omp parallel num_threads(sonde_threads()) if (n > ALONE) reduction(min : first)
    {
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t i = 0; i < n; i += PIECE) {
            int64_t at = leaf->find_nonfinite(x + i, n - i < PIECE ? n - i : PIECE, allow_minus_infinity);
            if (at >= 0 && i + at < first)
                first = i + at;
        }
        sondep_meet(&meeting);
    }
    return first == INT64_MAX ? -1 : first;
}
