/* blas.c - the one door to BLAS: products by OpenBLAS or Accelerate.           floor 2: kernel
 *
 * BLAS is called for one tile at a time, single-threaded, from our own loop over a grid that depends on the shapes alone:
 * results do not depend on the number of threads, and there is one threading runtime. Operands are used where they lie if
 * BLAS can read them so, else a tile of them is copied as floats. For processors that have no tile kernel of ours.
 */
#include "kernel/leaf.h"
#include "kernel/meet.h"
#include "tensor/half.h"

#include <omp.h>
#include <pthread.h>

#if defined(__APPLE__)
#include <Accelerate/Accelerate.h>
#else
#include <cblas.h>
#endif

#if !defined(__APPLE__)
/* LAPACK's, which OpenBLAS has in it; its header is of another package. Sizes are ints there. */
void dsyev_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda, double *w, double *work,
            const int *lwork, int *info, size_t jobz_bytes, size_t uplo_bytes);
#endif

enum { TILE = 256, DEPTH = 2048 }; /* rows and columns of C in one call; of K, where operands are copied */

/* One thread for each call. OpenBLAS sets OpenMP's default along with its own; that is put back. */
static void use_one_thread(void)
{
#if !defined(__APPLE__)
    int threads = omp_get_max_threads();
    openblas_set_num_threads(1);
    omp_set_num_threads(threads);
#endif
}

const char *sondep_blas_core(void)
{
#if defined(__APPLE__)
    return "";
#else
    return openblas_get_corename();
#endif
}

/* A tile's operand as BLAS takes it. */
typedef struct operand {
    const float *data;
    int64_t ld;
    bool is_turned; /* columns lie together */
} operand;

/* To the nearest bf16. */
static float rounded(float x)
{
    return sondep_bf16_to_f32(sondep_f32_to_bf16(x));
}

/* Rows i .. i + rows, columns j .. j + columns of m: where they lie, or copied to `room`. */
static operand take(const sondep_matrix *m, int64_t i, int64_t j, int64_t rows, int64_t columns, bool rounds, float *room)
{
    const float *at = (const float *)m->data + i * m->row_stride + j * m->col_stride;
    bool fits = m->dtype == SONDE_F32 && !rounds && (uintptr_t)m->data % sizeof(float) == 0;

    if (fits && m->col_stride == 1 && m->row_stride >= columns)
        return (operand){at, m->row_stride, false};
    if (fits && m->row_stride == 1 && m->col_stride >= rows)
        return (operand){at, m->col_stride, true};
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < columns; c++) {
            float x = sondep_matrix_get(m, i + r, j + c);
            room[r * columns + c] = rounds ? rounded(x) : x;
        }
    }
    return (operand){room, columns, false};
}

/* sums (+)= a b, one call */
static void multiply_tile(float *sums, const operand *a, const operand *b, int64_t rows, int64_t columns, int64_t K,
                          bool add)
{
    cblas_sgemm(CblasRowMajor, a->is_turned ? CblasTrans : CblasNoTrans, b->is_turned ? CblasTrans : CblasNoTrans, (int)rows,
                (int)columns, (int)K, 1.0f, a->data, (int)a->ld, b->data, (int)b->ld, add ? 1.0f : 0.0f, sums, (int)columns);
}

/* The vectors' epilogue where there are vectors, so that its bits are those of the separate passes. */
static void finish(const sondep_leaf *leaf, float *c, int64_t ldc, const float *sums, int64_t rows, int64_t columns,
                   int64_t i, int64_t j, const sondep_epilogue *e)
{
    if (leaf) {
        leaf->finish(c, ldc, sums, columns, rows, columns, i, j, e);
        return;
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < columns; k++)
            c[(i + r) * ldc + j + k] = sondep_finish_ref(e, sums[r * columns + k], i + r, j + k);
}

/* The smaller of two. */
static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Floats of a thread's scratch: sums, and a piece of A and of B. */
static const size_t thread_floats = TILE * TILE + 2 * (size_t)TILE * DEPTH;

/* Everything that a call of sondep_blas_product is about. */
typedef struct job {
    const sondep_leaf *leaf;
    float *c;
    int64_t ldc, M, N, K;
    const sondep_matrix *a, *b;
    const sondep_epilogue *epilogue;
    bool rounds;
    float *scratch;
} job;

/* One tile of C: BLAS sums over DEPTH at a time, in the order of k. */
static void run_tile(const job *w, int64_t i, int64_t j)
{
    float *sums = w->scratch + (size_t)omp_get_thread_num() * thread_floats;
    float *room_a = sums + TILE * TILE, *room_b = room_a + TILE * DEPTH;
    int64_t rows = least(w->M - i, TILE), columns = least(w->N - j, TILE);

    memset(sums, 0, (size_t)(rows * columns) * sizeof *sums);
    for (int64_t k = 0; k < w->K; k += DEPTH) {
        int64_t depth = least(w->K - k, DEPTH);
        operand left = take(w->a, i, k, rows, depth, w->rounds, room_a);
        operand right = take(w->b, k, j, depth, columns, w->rounds, room_b);
        multiply_tile(sums, &left, &right, rows, columns, depth, true);
    }
    finish(w->leaf, w->c, w->ldc, sums, rows, columns, i, j, w->epilogue);
}

void sondep_blas_product(const sondep_leaf *leaf, float *c, int64_t ldc, const sondep_matrix *a, const sondep_matrix *b,
                         int64_t M, int64_t N, int64_t K, const sondep_epilogue *epilogue, sondep_precision precision,
                         void *scratch)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    sondep_meeting meeting = SONDEP_MEETING;
    job w = {leaf, c, ldc, M, N, K, a, b, epilogue, precision == SONDEP_BF16, scratch};

    pthread_once(&once, use_one_thread);
#pragma omp parallel num_threads(sonde_threads())
    {
#pragma omp for schedule(dynamic, 1) collapse(2) nowait
        for (int64_t j = 0; j < N; j += TILE)
            for (int64_t i = 0; i < M; i += TILE)
                run_tile(&w, i, j);
        sondep_meet(&meeting);
    }
}

size_t sondep_blas_scratch_bytes(int64_t M, int64_t N, int64_t K)
{
    (void)M, (void)N, (void)K;
    return (size_t)sonde_threads() * thread_floats * sizeof(float);
}

sonde_status sondep_eigen_symmetric(double *values, double *a, int64_t n)
{
    int size = (int)n, info = 0, work_size = -1;
    double wanted, *work = NULL;

    if (n < 1 || n > INT32_MAX / 64)
        return SONDE_FAIL(SONDE_E_RANGE, "a symmetric matrix of %lld rows has no eigenvectors here", (long long)n);
    use_one_thread();
    /* the first call asks how much room there should be; the lower triangle of rows is the upper one of columns */
#if defined(__APPLE__)
    dsyev_("V", "U", &size, a, &size, values, &wanted, &work_size, &info);
#else
    dsyev_("V", "U", &size, a, &size, values, &wanted, &work_size, &info, 1, 1);
#endif
    work_size = (int)wanted;
    SONDE_TRY(SONDE_NEW(work, work_size));
#if defined(__APPLE__)
    dsyev_("V", "U", &size, a, &size, values, work, &work_size, &info);
#else
    dsyev_("V", "U", &size, a, &size, values, work, &work_size, &info, 1, 1);
#endif
    sondep_free(work);
    return info == 0 ? SONDE_OK : SONDE_FAIL(SONDE_E_NONFINITE, "the eigenvectors of a matrix were not found (%d)", info);
}
