/* gradients.c - the gradients of rows, the loss and AdamW, shared out over threads.    floor 2: kernel
 *
 * Elements, rows and columns are one thread's each. Sums over rows go by blocks of ROWS rows, each summed in floats by one
 * thread into the scratch, and then joined in double in the order of the blocks: the cut depends on the shape alone.
 */
#include "kernel/leaf.h"
#include "kernel/meet.h"

enum {
    PIECE = 1 << 13,  /* numbers that a thread takes at a time */
    ALONE = 1 << 15,  /* numbers that one thread does alone */
    ROWS = 32,        /* of a block whose sums are taken in floats */
    COLUMNS = 64,     /* that are joined, or gathered, at a time */
    MOST_PIECES = 256 /* of a sum over all numbers */
};

/* Blocks of rows. */
static int64_t n_blocks(int64_t N)
{
    return (N + ROWS - 1) / ROWS;
}

/* Pieces of PIECE numbers: rows mean nothing to functions of one number. */
void sondep_rows_activate_backward(const sondep_leaf *leaf, float *dpre, float *dup, float *post, const float *dpost,
                                   const float *pre, const float *up, sondep_act act, int64_t n)
{
    sondep_meeting meeting = SONDEP_MEETING;

#pragma omp parallel num_threads(sonde_threads()) if (n > ALONE)
    {
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t i = 0; i < n; i += PIECE)
            leaf->activate_backward(dpre + i, dup ? dup + i : NULL, post ? post + i : NULL, dpost + i, pre + i,
                                    up ? up + i : NULL, act, n - i < PIECE ? n - i : PIECE);
        sondep_meet(&meeting);
    }
}

/* ---- sums over rows ------------------------------------------------------------------------------------------------------- */

/* Two sums for each block: those of dw lie before those of db. */
size_t sondep_rows_norm_backward_scratch_bytes(int64_t N, int64_t D)
{
    return (size_t)(2 * n_blocks(N) * D) * sizeof(float) + 64;
}

/* out[c] += sum over blocks of sums[block][c], for one slice of columns */
static void join_columns(float *out, const float *sums, int64_t blocks, int64_t D, int64_t column)
{
    int64_t n = D - column < COLUMNS ? D - column : COLUMNS;
    double total[COLUMNS] = {0};

    for (int64_t b = 0; b < blocks; b++)
        for (int64_t c = 0; c < n; c++)
            total[c] += (double)sums[b * D + column + c];
    for (int64_t c = 0; c < n; c++)
        out[column + c] = (float)(out[column + c] + total[c]);
}

/* One block of rows; dw and db are the block's own sums, or NULL. */
static void norm_backward_block(const sondep_leaf *leaf, float *dx, float *dw, float *db, const float *dy, const float *x,
                                const float *w, bool is_rms, double eps, int64_t N, int64_t D, bool adds)
{
    if (dw)
        memset(dw, 0, (size_t)D * sizeof *dw);
    if (db)
        memset(db, 0, (size_t)D * sizeof *db);
    for (int64_t n = 0; n < N; n++)
        leaf->norm_backward_row(dx + n * D, dw, db, dy + n * D, x + n * D, w, is_rms, eps, D, adds);
}

/* Rows by blocks, each block's sums to its place in the scratch; when all are there, columns are joined. */
void sondep_rows_norm_backward(const sondep_leaf *leaf, float *dx, float *dw, float *db, const float *dy, const float *x,
                               const float *w, bool is_rms, double eps, int64_t N, int64_t D, bool adds, void *scratch)
{
    int64_t blocks = n_blocks(N);
    float *of_w = scratch, *of_b = of_w + blocks * D;
    sondep_meeting meeting = SONDEP_MEETING;

#pragma omp parallel num_threads(sonde_threads()) if (N * D > ALONE)
    {
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t b = 0; b < blocks; b++) {
            int64_t n = b * ROWS, rows = N - n < ROWS ? N - n : ROWS;
            norm_backward_block(leaf, dx + n * D, dw ? of_w + b * D : NULL, db ? of_b + b * D : NULL, dy + n * D, x + n * D,
                                w, is_rms, eps, rows, D, adds);
        }
        sondep_meet(&meeting);
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t c = 0; c < D; c += COLUMNS) {
            if (dw)
                join_columns(dw, of_w, blocks, D, c);
            if (db)
                join_columns(db, of_b, blocks, D, c);
        }
        sondep_meet(&meeting);
    }
}

/* The same for a plain sum: a block's first row starts it, the others are added. */
void sondep_rows_add_column_sums(const sondep_leaf *leaf, float *out, const float *x, int64_t ld, int64_t N, int64_t D,
                                 void *scratch)
{
    int64_t blocks = n_blocks(N);
    sondep_meeting meeting = SONDEP_MEETING;

#pragma omp parallel num_threads(sonde_threads()) if (N * D > ALONE)
    {
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t b = 0; b < blocks; b++) {
            float *sums = (float *)scratch + b * D;
            memcpy(sums, x + b * ROWS * ld, (size_t)D * sizeof *sums);
            for (int64_t n = b * ROWS + 1; n < N && n < (b + 1) * ROWS; n++)
                leaf->add(sums, sums, x + n * ld, D);
        }
        sondep_meet(&meeting);
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t c = 0; c < D; c += COLUMNS)
            join_columns(out, scratch, blocks, D, c);
        sondep_meet(&meeting);
    }
}

/* ---- the loss, the embedding, the optimizer ---------------------------------------------------------------------------------- */

/* A row is one thread's. */
void sondep_rows_cross_entropy(const sondep_leaf *leaf, double *loss, float *x, int64_t ld, const int64_t *target,
                               float weight, bool is_gradient, int64_t N, int64_t V)
{
    sondep_meeting meeting = SONDEP_MEETING;

#pragma omp parallel num_threads(sonde_threads()) if (N * V > ALONE)
    {
#pragma omp for schedule(dynamic, 2) nowait
        for (int64_t n = 0; n < N; n++)
            loss[n] = leaf->cross_entropy(x + n * ld, target[n], weight, is_gradient, V);
        sondep_meet(&meeting);
    }
}

/* Slices of columns, as wide as the threads leave them: every element is summed by one thread in the order of n. */
void sondep_rows_scatter_add(const sondep_leaf *leaf, float *table, const float *x, const int64_t *ids, int64_t N, int64_t D)
{
    int64_t width = (D + sonde_threads() - 1) / sonde_threads();
    sondep_meeting meeting = SONDEP_MEETING;

    width = (width + COLUMNS - 1) / COLUMNS * COLUMNS;
#pragma omp parallel num_threads(sonde_threads()) if (N * D > ALONE)
    {
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t c = 0; c < D; c += width)
            for (int64_t n = 0; n < N; n++) {
                float *to = table + ids[n] * D + c;
                leaf->add(to, to, x + n * D + c, D - c < width ? D - c : width);
            }
        sondep_meet(&meeting);
    }
}

/* Pieces are as many as a fixed number of sums has room for: their length depends on n alone. */
double sondep_rows_sum_squares(const sondep_leaf *leaf, const float *x, int64_t n)
{
    int64_t piece = (n + MOST_PIECES - 1) / MOST_PIECES, n_pieces;
    double of_piece[MOST_PIECES], sum = 0.0;
    sondep_meeting meeting = SONDEP_MEETING;

    piece = piece < PIECE ? PIECE : piece;
    n_pieces = (n + piece - 1) / piece;
#pragma omp parallel num_threads(sonde_threads()) if (n > ALONE)
    {
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t i = 0; i < n_pieces; i++)
            of_piece[i] = leaf->sum_squares(x + i * piece, n - i * piece < piece ? n - i * piece : piece);
        sondep_meet(&meeting);
    }
    for (int64_t i = 0; i < n_pieces; i++)
        sum += of_piece[i];
    return sum;
}

/* Pieces of PIECE parameters; no bound but memory: 28 bytes for each. */
void sondep_rows_adamw(const sondep_leaf *leaf, float *w, float *m, float *v, const float *g, const sondep_adamw *a,
                       int64_t n)
{
    sondep_meeting meeting = SONDEP_MEETING;

#pragma omp parallel num_threads(sonde_threads()) if (n > ALONE)
    {
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t i = 0; i < n; i += PIECE)
            leaf->adamw(w + i, m + i, v + i, g + i, a, n - i < PIECE ? n - i : PIECE);
        sondep_meet(&meeting);
    }
}
