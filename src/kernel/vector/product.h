/* vector/product.h - the tile product in SIMD, packing, and products of a few rows. floor 2: kernel
 *
 * A template over avx512.h, avx2.h or neon.h. A tile keeps all its sums in registers while k runs: for each k it loads
 * TILE_VECTORS vectors of B and each of its rows' elements of A, so that the multiply-adds are the bound and not the loads
 * (14 x 32 with 16 floats a vector, 6 x 16 with 8: 88-95 % of the peak when strips lie in the first two caches).
 */
#ifndef SONDEP_KERNEL_VECTOR_PRODUCT_H
#define SONDEP_KERNEL_VECTOR_PRODUCT_H

#include "kernel/leaf.h"
#include "tensor/half.h"

enum { TILE_COLUMNS = TILE_VECTORS * V_WIDTH };

/* Loops over registers must disappear: what is left of one goes through memory. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* ---- loading elements of any type ------------------------------------------------------------------------------------- */

/* A whole vector, or its first n elements with zeros behind, of any type, rounded to bf16 if asked. `dtype` and `rounds`
 * are constants at every call, so that nothing is decided in a loop. */
static inline __attribute__((always_inline)) vec v_load_as(const void *p, sonde_dtype dtype, bool rounds)
{
    if (dtype == SONDE_BF16)
        return v_load_bf16(p);
    vec x = dtype == SONDE_F32 ? v_load(p) : v_load_f16(p);
    return rounds ? v_round_bf16(x) : x;
}

static inline __attribute__((always_inline)) vec v_load_part_as(const void *p, sonde_dtype dtype, bool rounds, int64_t n)
{
    if (dtype == SONDE_BF16)
        return v_load_bf16_part(p, n);
    vec x = dtype == SONDE_F32 ? v_load_part(p, n) : v_load_f16_part(p, n);
    return rounds ? v_round_bf16(x) : x;
}

/* Bytes of an element of the three types. */
static inline __attribute__((always_inline)) int64_t bytes_of(sonde_dtype dtype)
{
    return dtype == SONDE_F32 ? 4 : 2;
}

/* The slow way in, for operands with gaps in both directions and for ends of rows. */
static inline float element(const sondep_matrix *m, int64_t i, int64_t j, bool rounds)
{
    float x = sondep_matrix_get(m, i, j);
    return rounds ? sondep_bf16_to_f32(sondep_f32_to_bf16(x)) : x;
}

/* Calls `name(..., dtype, rounds)` with constants, so that the inner loops are compiled for each type by itself. */
#define WITH_TYPE(name, dtype, rounds, ...)        \
    do {                                           \
        if ((dtype) == SONDE_BF16)                 \
            name(__VA_ARGS__, SONDE_BF16, false);  \
        else if ((dtype) == SONDE_F32 && (rounds)) \
            name(__VA_ARGS__, SONDE_F32, true);    \
        else if ((dtype) == SONDE_F32)             \
            name(__VA_ARGS__, SONDE_F32, false);   \
        else if (rounds)                           \
            name(__VA_ARGS__, SONDE_F16, true);    \
        else                                       \
            name(__VA_ARGS__, SONDE_F16, false);   \
    } while (0)

/* ---- the tile ----------------------------------------------------------------------------------------------------------- */

/* The products of one k. */
static inline __attribute__((always_inline)) void tile_step(vec sum[TILE_ROWS][TILE_VECTORS], const float *a, const float *b,
                                                            const int rows, const int row_step)
{
    vec x[TILE_VECTORS];

    UNROLL for (int v = 0; v < TILE_VECTORS; v++) x[v] = v_load(b + v * V_WIDTH);
    UNROLL for (int i = 0; i < rows; i++)
    {
        vec w = v_set(a[i * row_step]);
        UNROLL for (int v = 0; v < TILE_VECTORS; v++) sum[i][v] = v_fma(w, x[v], sum[i][v]);
    }
}

/* Element (i, k) of A lies at a[i * row_step + k * k_step]. Four k's a round and nothing but loads and multiply-adds in it:
 * where another thread shares the core, every further instruction costs (a prefetch for each k and counting each: 10-20 %). */
static inline __attribute__((always_inline)) void tile_of(float *tile, int64_t ld, const float *a, const float *b, int64_t K,
                                                          const int rows, bool add, const int row_step, const int k_step)
{
    vec sum[TILE_ROWS][TILE_VECTORS];
    int64_t k = 0;

    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < TILE_VECTORS; v++) sum[i][v] = v_set(0.0f);
    for (int i = 0; i < rows && add; i++)
        for (int c = 0; c < TILE_COLUMNS; c += 16)
            __builtin_prefetch(tile + i * ld + c, 1);
    for (; k + 4 <= K; k += 4, a += 4 * k_step, b += 4 * TILE_COLUMNS)
        UNROLL for (int step = 0; step < 4; step++)
            tile_step(sum, a + step * k_step, b + step * TILE_COLUMNS, rows, row_step);
    for (; k < K; k++, a += k_step, b += TILE_COLUMNS)
        tile_step(sum, a, b, rows, row_step);
    UNROLL for (int i = 0; i < rows; i++)
    {
        UNROLL for (int v = 0; v < TILE_VECTORS; v++)
        {
            float *at = tile + i * ld + v * V_WIDTH;
            v_store(at, add ? v_add(v_load(at), sum[i][v]) : sum[i][v]);
        }
    }
}

#define TILE_CASE(n, row_step, k_step) \
    case n: tile_of(tile, ld, a, b, K, n, add, row_step, k_step); break;

/* The number of rows must be a constant for the sums to stay in registers: one copy of the loop for each. */
static void tile_f32(float *tile, int64_t ld, const void *packed_a, const void *b, int64_t K, int rows, bool add)
{
    const float *a = packed_a;

    switch (rows) {
        TILE_CASE(1, 1, 1)
        TILE_CASE(2, 1, 2)
        TILE_CASE(3, 1, 3)
        TILE_CASE(4, 1, 4)
        TILE_CASE(5, 1, 5)
        TILE_CASE(6, 1, 6)
#if TILE_ROWS > 6
        TILE_CASE(7, 1, 7)
        TILE_CASE(8, 1, 8)
#endif
#if TILE_ROWS > 8
        TILE_CASE(9, 1, 9)
        TILE_CASE(10, 1, 10)
        TILE_CASE(11, 1, 11)
        TILE_CASE(12, 1, 12)
        TILE_CASE(13, 1, 13)
        TILE_CASE(14, 1, 14)
#endif
    }
}

/* The same with A as a block of scores: rows SONDEP_SCORE_STRIDE apart. */
static void tile_of_scores(float *tile, int64_t ld, const float *a, const void *b, int64_t K, int rows, bool add)
{
    switch (rows) {
        TILE_CASE(1, SONDEP_SCORE_STRIDE, 1)
        TILE_CASE(2, SONDEP_SCORE_STRIDE, 1)
        TILE_CASE(3, SONDEP_SCORE_STRIDE, 1)
        TILE_CASE(4, SONDEP_SCORE_STRIDE, 1)
        TILE_CASE(5, SONDEP_SCORE_STRIDE, 1)
        TILE_CASE(6, SONDEP_SCORE_STRIDE, 1)
#if TILE_ROWS > 6
        TILE_CASE(7, SONDEP_SCORE_STRIDE, 1)
        TILE_CASE(8, SONDEP_SCORE_STRIDE, 1)
#endif
#if TILE_ROWS > 8
        TILE_CASE(9, SONDEP_SCORE_STRIDE, 1)
        TILE_CASE(10, SONDEP_SCORE_STRIDE, 1)
        TILE_CASE(11, SONDEP_SCORE_STRIDE, 1)
        TILE_CASE(12, SONDEP_SCORE_STRIDE, 1)
        TILE_CASE(13, SONDEP_SCORE_STRIDE, 1)
        TILE_CASE(14, SONDEP_SCORE_STRIDE, 1)
#endif
    }
}

/* The same with the block of scores turned: element (i, k) is row k, column i of it. */
static void tile_of_turned_scores(float *tile, int64_t ld, const float *a, const void *b, int64_t K, int rows, bool add)
{
    switch (rows) {
        TILE_CASE(1, 1, SONDEP_SCORE_STRIDE)
        TILE_CASE(2, 1, SONDEP_SCORE_STRIDE)
        TILE_CASE(3, 1, SONDEP_SCORE_STRIDE)
        TILE_CASE(4, 1, SONDEP_SCORE_STRIDE)
        TILE_CASE(5, 1, SONDEP_SCORE_STRIDE)
        TILE_CASE(6, 1, SONDEP_SCORE_STRIDE)
#if TILE_ROWS > 6
        TILE_CASE(7, 1, SONDEP_SCORE_STRIDE)
        TILE_CASE(8, 1, SONDEP_SCORE_STRIDE)
#endif
#if TILE_ROWS > 8
        TILE_CASE(9, 1, SONDEP_SCORE_STRIDE)
        TILE_CASE(10, 1, SONDEP_SCORE_STRIDE)
        TILE_CASE(11, 1, SONDEP_SCORE_STRIDE)
        TILE_CASE(12, 1, SONDEP_SCORE_STRIDE)
        TILE_CASE(13, 1, SONDEP_SCORE_STRIDE)
        TILE_CASE(14, 1, SONDEP_SCORE_STRIDE)
#endif
    }
}

/* ---- packing ------------------------------------------------------------------------------------------------------------ */

/* A strip of A holds `rows` rows, k by k. What a whole store writes behind its k's rows is overwritten by the next k; at the
 * strip's end, it must not be written. */

/* Rows that lie along k are turned V_WIDTH x V_WIDTH at a time; where a strip has fewer rows, its last one is loaded again. The
 * rows of the next strip are on their way meanwhile: rows are short, so that the processor's own prefetching comes late.
 * Returns how many k's are done. */
static inline __attribute__((always_inline)) int64_t pack_a_along(float *to, const float *from, int64_t stride, int64_t K,
                                                                  int rows, bool rounds)
{
    int64_t k = 0, n = K * rows, offset[TILE_ROWS + V_WIDTH];

    for (int i = 0; i < TILE_ROWS + V_WIDTH; i++)
        offset[i] = (i < rows ? i : rows - 1) * stride;
    for (; k + V_WIDTH <= K; k += V_WIDTH) {
        for (int first = (rows - 1) / V_WIDTH * V_WIDTH; first >= 0; first -= V_WIDTH) {
            float *at = to + k * rows + first;
            bool is_inside = (k + V_WIDTH - 1) * rows + first + V_WIDTH <= n;
            vec r[V_WIDTH];
            UNROLL for (int i = 0; i < V_WIDTH; i++)
            {
                vec x = v_load(from + offset[first + i] + k);
                r[i] = rounds ? v_round_bf16(x) : x;
            }
            v_transpose(r);
            if (k % 16 == 0) /* a line of the cache */
                UNROLL for (int i = 0; i < V_WIDTH; i++) __builtin_prefetch(from + rows * stride + offset[first + i] + k);
            UNROLL for (int i = 0; i < V_WIDTH; i++)
            {
                if (is_inside || (k + i) * rows + first + V_WIDTH <= n)
                    v_store(at + i * rows, r[i]);
                else
                    v_store_part(at + i * rows, r[i], rows - first);
            }
        }
    }
    return k;
}

/* The rows of one k, in whole vectors if there is room for them in both places. */
static inline __attribute__((always_inline)) void pack_a_column(float *to, const float *from, int rows, bool is_inside,
                                                                bool rounds)
{
    for (int first = 0; first < rows; first += V_WIDTH) {
        bool whole = is_inside || rows - first >= V_WIDTH;
        vec x = whole ? v_load(from + first) : v_load_part(from + first, rows - first);
        x = rounds ? v_round_bf16(x) : x;
        if (whole)
            v_store(to + first, x);
        else
            v_store_part(to + first, x, rows - first);
    }
}

/* Rows that lie side by side: a k's elements together, `stride` to the next k. Whole vectors run over the strip's rows,
 * except where that could be behind the end of A or of the strip. */
static inline __attribute__((always_inline)) void pack_a_across(float *to, const float *from, int64_t stride, int64_t K,
                                                                int rows, bool rounds)
{
    int64_t over = (rows + V_WIDTH - 1) / V_WIDTH * V_WIDTH - rows, least = stride < rows ? stride : rows, k = 0;
    int64_t n_inside = K - (over == 0 ? 0 : least >= over ? 1 : least > 0 ? over : K);

    for (; k < n_inside; k++, to += rows, from += stride)
        pack_a_column(to, from, rows, true, rounds);
    for (; k < K; k++, to += rows, from += stride)
        pack_a_column(to, from, rows, false, rounds);
}

/* By the layout; the last k's of rows along k go element by element, as do operands with gaps both ways. Most strips have
 * TILE_ROWS rows, and a copy of the loops for themselves. */
static void pack_a_f32(void *packed, const sondep_matrix *a, int64_t row, int64_t k0, int64_t K, int rows, bool rounds)
{
    const float *from = (const float *)a->data + row * a->row_stride + k0 * a->col_stride;
    float *to = packed;
    int64_t k = 0;

    if (a->dtype == SONDE_F32 && a->col_stride == 1) {
        k = rounds              ? pack_a_along(to, from, a->row_stride, K, rows, true)
            : rows == TILE_ROWS ? pack_a_along(to, from, a->row_stride, K, TILE_ROWS, false)
                                : pack_a_along(to, from, a->row_stride, K, rows, false);
    } else if (a->dtype == SONDE_F32 && a->row_stride == 1) {
        if (rounds)
            pack_a_across(to, from, a->col_stride, K, rows, true);
        else if (rows == TILE_ROWS)
            pack_a_across(to, from, a->col_stride, K, TILE_ROWS, false);
        else
            pack_a_across(to, from, a->col_stride, K, rows, false);
        k = K;
    }
    for (; k < K; k++)
        for (int i = 0; i < rows; i++)
            to[k * rows + i] = element(a, row + i, k0 + k, rounds);
}

/* Rows of B as they lie. */
static inline __attribute__((always_inline)) void pack_rows(float *to, const char *from, int64_t stride, int64_t K,
                                                            int64_t columns, sonde_dtype dtype, bool rounds)
{
    for (int64_t k = 0; k < K; k++, to += TILE_COLUMNS, from += stride) {
        __builtin_prefetch(from + 16 * stride);
        __builtin_prefetch(from + 16 * stride + TILE_COLUMNS * bytes_of(dtype) - 1);
        for (int v = 0; v < TILE_VECTORS; v++) {
            int64_t n = columns - v * V_WIDTH;
            const char *p = from + v * V_WIDTH * bytes_of(dtype);
            v_store(to + v * V_WIDTH, n >= V_WIDTH ? v_load_as(p, dtype, rounds)
                                      : n > 0      ? v_load_part_as(p, dtype, rounds, n)
                                                   : v_set(0.0f));
        }
    }
}

/* A square of V_WIDTH columns from `from` on, V_WIDTH k's long, turned. */
static inline __attribute__((always_inline)) void pack_square(float *to, const char *from, int64_t stride, sonde_dtype dtype,
                                                              bool rounds)
{
    vec r[V_WIDTH];

    UNROLL for (int i = 0; i < V_WIDTH; i++) r[i] = v_load_as(from + i * stride, dtype, rounds);
    v_transpose(r);
    UNROLL for (int i = 0; i < V_WIDTH; i++) v_store(to + i * TILE_COLUMNS, r[i]);
}

/* A square at the edge of B: some columns, some k's. */
static inline __attribute__((always_inline)) void
pack_part_square(float *to, const char *from, int64_t stride, int64_t depth, int64_t columns, sonde_dtype dtype, bool rounds)
{
    vec r[V_WIDTH];

    for (int i = 0; i < V_WIDTH; i++)
        r[i] = i < columns ? v_load_part_as(from + i * stride, dtype, rounds, depth) : v_set(0.0f);
    v_transpose(r);
    for (int i = 0; i < depth; i++)
        v_store(to + i * TILE_COLUMNS, r[i]);
}

/* Columns of B that lie along k: turned in squares. Those of the next strip are on their way meanwhile. */
static inline __attribute__((always_inline)) void pack_columns(float *to, const char *from, int64_t stride, int64_t K,
                                                               int64_t columns, sonde_dtype dtype, bool rounds)
{
    for (int64_t k = 0; k < K; k += V_WIDTH, from += V_WIDTH * bytes_of(dtype), to += V_WIDTH * TILE_COLUMNS) {
        if (k * bytes_of(dtype) % 64 == 0)
            for (int i = 0; i < TILE_COLUMNS; i++)
                __builtin_prefetch(from + (TILE_COLUMNS + i) * stride);
        for (int v = 0; v < TILE_VECTORS; v++) {
            const char *square = from + v * V_WIDTH * stride;
            if (K - k >= V_WIDTH && columns == TILE_COLUMNS)
                pack_square(to + v * V_WIDTH, square, stride, dtype, rounds);
            else
                pack_part_square(to + v * V_WIDTH, square, stride, K - k < V_WIDTH ? K - k : V_WIDTH, columns - v * V_WIDTH,
                                 dtype, rounds);
        }
    }
}

/* Picks the way by the layout: rows, columns, or neither. */
static void pack_b_f32(void *packed, const sondep_matrix *b, int64_t k0, int64_t K, int64_t column, int64_t columns,
                       bool rounds)
{
    float *to = packed;
    int64_t bytes = bytes_of(b->dtype);
    const char *from = (const char *)b->data + (k0 * b->row_stride + column * b->col_stride) * bytes;

    if (b->col_stride == 1) {
        WITH_TYPE(pack_rows, b->dtype, rounds, to, from, b->row_stride * bytes, K, columns);
    } else if (b->row_stride == 1) {
        WITH_TYPE(pack_columns, b->dtype, rounds, to, from, b->col_stride * bytes, K, columns);
    } else {
        for (int64_t k = 0; k < K; k++)
            for (int64_t j = 0; j < TILE_COLUMNS; j++)
                to[k * TILE_COLUMNS + j] = j < columns ? element(b, k0 + k, column + j, rounds) : 0.0f;
    }
}

/* clang-format off */
#define F32_TILER(tiler_name, rounding)                                                                       \
    { .name = (tiler_name), .rows = TILE_ROWS, .columns = TILE_COLUMNS, .element_bytes = 4, .k_step = 1,      \
      .rounds = (rounding), .tile = tile_f32, .pack_a = pack_a_f32, .pack_b = pack_b_f32 }
/* clang-format on */

/* ---- epilogue ------------------------------------------------------------------------------------------------------------ */

/* One vector (n = V_WIDTH) or part of one, at (i, j). */
static inline __attribute__((always_inline)) void finish_vector(float *c, const float *sum, const sondep_epilogue *e,
                                                                sondep_act act, int64_t i, int64_t j, int64_t n)
{
    bool whole = n == V_WIDTH;
    vec x = whole ? v_load(sum) : v_load_part(sum, n);

    if (e->bias)
        x = v_add(x, whole ? v_load(e->bias + j) : v_load_part(e->bias + j, n));
    if (e->pre && whole)
        v_store(e->pre + i * e->ld_pre + j, x);
    else if (e->pre)
        v_store_part(e->pre + i * e->ld_pre + j, x, n);
    x = v_act(x, act);
    if (e->gate) {
        const float *gate = e->gate + i * e->ld_gate + j;
        x = v_mul(x, whole ? v_load(gate) : v_load_part(gate, n));
    }
    if (e->residual) {
        const float *residual = e->residual + i * e->ld_residual + j;
        x = v_add(whole ? v_load(residual) : v_load_part(residual, n), x);
    }
    if (whole)
        v_store(c, x);
    else
        v_store_part(c, x, n);
}

/* Rows and columns of a tile: whole vectors, then the part that is left. */
static inline __attribute__((always_inline)) void finish_rows(float *c, int64_t ldc, const float *tile, int64_t ld,
                                                              int64_t rows, int64_t columns, int64_t i0, int64_t j0,
                                                              const sondep_epilogue *e, sondep_act act)
{
    for (int64_t i = 0; i < rows; i++) {
        float *to = c + (i0 + i) * ldc + j0;
        int64_t j = 0;
        for (; j + V_WIDTH <= columns; j += V_WIDTH)
            finish_vector(to + j, tile + i * ld + j, e, act, i0 + i, j0 + j, V_WIDTH);
        if (j < columns)
            finish_vector(to + j, tile + i * ld + j, e, act, i0 + i, j0 + j, columns - j);
    }
}

/* The formatter would wrap this list anew each time. */
/* clang-format off */
#define ACT_CASES(X) \
    X(SONDEP_ACT_RELU) \
    X(SONDEP_ACT_GELU) \
    X(SONDEP_ACT_GELU_TANH) \
    X(SONDEP_ACT_SILU) \
    X(SONDEP_ACT_QUICK_GELU) \
    X(SONDEP_ACT_TANH) \
    X(SONDEP_ACT_SIGMOID) \
    X(SONDEP_ACT_RELU2) \
    X(SONDEP_ACT_RELU6) \
    X(SONDEP_ACT_LEAKY_RELU) \
    X(SONDEP_ACT_MISH) \
    X(SONDEP_ACT_LAPLACE) \
    X(SONDEP_ACT_GELU_10) \
    X(SONDEP_ACT_HARDSWISH) \
    X(SONDEP_ACT_SQRT_SOFTPLUS)
/* clang-format on */

/* The activation function is a constant inside each case. */
static void finish(float *c, int64_t ldc, const float *tile, int64_t ld, int64_t rows, int64_t columns, int64_t i, int64_t j,
                   const sondep_epilogue *e)
{
    static const sondep_epilogue nothing;

    e = e ? e : &nothing;
    switch (e->act) {
#define X(act) \
    case act: finish_rows(c, ldc, tile, ld, rows, columns, i, j, e, act); break;
        ACT_CASES(X)
#undef X
    default: finish_rows(c, ldc, tile, ld, rows, columns, i, j, e, SONDEP_ACT_LINEAR); break;
    }
}

/* ---- a few rows ------------------------------------------------------------------------------------------------------------ */

enum { FEW_DEPTH = 8 }; /* rows of B that are walked together */

/* sums += A B for `depth` rows of B, n columns; every sum takes its products in the order of k, as a tile's does. */
static inline __attribute__((always_inline)) void add_rows(float *sums, int64_t ld, const float *a, int64_t lda,
                                                           const char *from, int64_t stride, int64_t M, int64_t n,
                                                           const int depth, sonde_dtype dtype, bool rounds)
{
    int64_t j = 0;

    for (; j + V_WIDTH <= n; j += V_WIDTH) {
        vec x[FEW_DEPTH];
        UNROLL for (int k = 0; k < depth; k++)
        {
            x[k] = v_load_as(from + k * stride + j * bytes_of(dtype), dtype, rounds);
            __builtin_prefetch(from + (k + depth) * stride + j * bytes_of(dtype));
        }
        for (int64_t m = 0; m < M; m++) {
            vec sum = v_load(sums + m * ld + j);
            UNROLL for (int k = 0; k < depth; k++) sum = v_fma(v_set(a[m * lda + k]), x[k], sum);
            v_store(sums + m * ld + j, sum);
        }
    }
    for (int64_t m = 0; m < M && j < n; m++) {
        vec sum = v_load_part(sums + m * ld + j, n - j);
        for (int k = 0; k < depth; k++)
            sum = v_fma(v_set(a[m * lda + k]), v_load_part_as(from + k * stride + j * bytes_of(dtype), dtype, rounds, n - j),
                        sum);
        v_store_part(sums + m * ld + j, sum, n - j);
    }
}

/* sums += A B, B's rows together. */
static inline __attribute__((always_inline)) void few_rows_of(float *sums, int64_t ld, const float *a, int64_t lda,
                                                              const char *from, int64_t stride, int64_t M, int64_t K,
                                                              int64_t n, sonde_dtype dtype, bool rounds)
{
    int64_t k = 0;

    for (; k + FEW_DEPTH <= K; k += FEW_DEPTH)
        add_rows(sums, ld, a + k, lda, from + k * stride, stride, M, n, FEW_DEPTH, dtype, rounds);
    for (; k < K; k++)
        add_rows(sums, ld, a + k, lda, from + k * stride, stride, M, n, 1, dtype, rounds);
}

/* B (K, N) with its rows together, as a Conv1D stores it. */
static void few_along_rows(float *sums, const float *a, int64_t lda, const sondep_matrix *b, int64_t M, int64_t k, int64_t K,
                           int64_t j, int64_t n, bool rounds)
{
    int64_t bytes = bytes_of(b->dtype);
    const char *from = (const char *)b->data + (k * b->row_stride + j) * bytes;

    memset(sums, 0, (size_t)(M * n) * sizeof *sums);
    WITH_TYPE(few_rows_of, b->dtype, rounds, sums, n, a + k, lda, from, b->row_stride * bytes, M, K, n);
}

enum { FEW_SQUARES = 4 }; /* squares side by side whose chains of multiply-adds run at the same time */

/* sums += A B for a square of B, or what is left of one: turned in registers, so that sums run over k lane by lane. With
 * `fetches`, the same place of the next columns is on its way meanwhile. */
static inline __attribute__((always_inline)) void add_square(float *sums, int64_t ld, const float *a, int64_t lda,
                                                             const char *from, int64_t stride, int64_t M, int64_t depth,
                                                             int64_t columns, bool fetches, sonde_dtype dtype, bool rounds)
{
    bool is_whole = depth == V_WIDTH && columns == V_WIDTH;
    vec r[V_WIDTH];

    for (int i = 0; i < V_WIDTH; i++) {
        const char *p = from + i * stride;
        if (fetches)
            __builtin_prefetch(p + FEW_SQUARES * V_WIDTH * stride, 0, 2);
        r[i] = i >= columns       ? v_set(0.0f)
               : depth == V_WIDTH ? v_load_as(p, dtype, rounds)
                                  : v_load_part_as(p, dtype, rounds, depth);
    }
    v_transpose(r);
    for (int64_t m = 0; m < M; m++, a += lda, sums += ld) {
        vec sum = is_whole ? v_load(sums) : v_load_part(sums, columns);
        if (is_whole) {
            UNROLL for (int k = 0; k < V_WIDTH; k++) sum = v_fma(v_set(a[k]), r[k], sum);
            v_store(sums, sum);
        } else {
            for (int k = 0; k < depth; k++)
                sum = v_fma(v_set(a[k]), r[k], sum);
            v_store_part(sums, sum, columns);
        }
    }
}

/* sums += A B, B's columns together. */
static inline __attribute__((always_inline)) void few_columns_of(float *sums, const float *a, int64_t lda, const char *from,
                                                                 int64_t stride, int64_t M, int64_t K, int64_t n,
                                                                 sonde_dtype dtype, bool rounds)
{
    enum { STEP = FEW_SQUARES * V_WIDTH };
    int64_t bytes = bytes_of(dtype), line = 64 / bytes;

    for (int64_t first = 0; first < n; first += STEP) {
        /* whole squares first, where all of them are; then what is left of k, and narrow ends */
        int64_t end = n - first < STEP ? n : first + STEP, k = 0;
        for (; k + V_WIDTH <= K && end == first + STEP; k += V_WIDTH)
            for (int64_t j = first; j < end; j += V_WIDTH)
                add_square(sums + j, n, a + k, lda, from + j * stride + k * bytes, stride, M, V_WIDTH, V_WIDTH,
                           k % line == 0, dtype, rounds);
        for (; k < K; k += V_WIDTH)
            for (int64_t j = first; j < end; j += V_WIDTH)
                add_square(sums + j, n, a + k, lda, from + j * stride + k * bytes, stride, M,
                           K - k < V_WIDTH ? K - k : V_WIDTH, end - j < V_WIDTH ? end - j : V_WIDTH, false, dtype, rounds);
    }
}

/* B (K, N) with its columns together, as an nn.Linear stores it. */
static void few_along_columns(float *sums, const float *a, int64_t lda, const sondep_matrix *b, int64_t M, int64_t k,
                              int64_t K, int64_t j, int64_t n, bool rounds)
{
    int64_t bytes = bytes_of(b->dtype);
    const char *from = (const char *)b->data + (k + j * b->col_stride) * bytes;

    memset(sums, 0, (size_t)(M * n) * sizeof *sums);
    WITH_TYPE(few_columns_of, b->dtype, rounds, sums, a + k, lda, from, b->col_stride * bytes, M, K, n);
}

/* ---- a few queries ----------------------------------------------------------------------------------------------------------- */

/* Dot products of `rows` queries with four keys, or with one: lane by lane, then the lanes joined. */
static inline __attribute__((always_inline)) void dots(float *scores, int64_t ld, const float *q, const float *keys,
                                                       int64_t ldk, int64_t d, const int rows, const int columns)
{
    vec sum[4][4];
    int64_t k = 0;

    UNROLL for (int m = 0; m < rows; m++) UNROLL for (int c = 0; c < columns; c++) sum[m][c] = v_set(0.0f);
    for (; k + V_WIDTH <= d; k += V_WIDTH) {
        vec x[4];
        UNROLL for (int c = 0; c < columns; c++) x[c] = v_load(keys + c * ldk + k);
        UNROLL for (int m = 0; m < rows; m++)
        {
            vec w = v_load(q + m * d + k);
            UNROLL for (int c = 0; c < columns; c++) sum[m][c] = v_fma(w, x[c], sum[m][c]);
        }
    }
    for (int m = 0; m < rows && k < d; m++)
        for (int c = 0; c < columns; c++)
            sum[m][c] = v_fma(v_load_part(q + m * d + k, d - k), v_load_part(keys + c * ldk + k, d - k), sum[m][c]);
    for (int m = 0; m < rows; m++) {
        if (columns == 4)
            v_sum_four(scores + m * ld, sum[m]);
        else
            scores[m * ld] = v_sum(sum[m][0]);
    }
}

/* Queries that share what is loaded of the keys: 4 x 4 or 2 x 4 sums in registers. */
enum { DOT_ROWS = TILE_ROWS > 8 ? 4 : 2 };

/* Four keys at a time against all queries; every sum is formed alike, whoever its neighbours are. */
static void score_few(float *scores, int64_t ld, const float *q, int64_t M, const float *keys, int64_t ldk, int64_t d,
                      int64_t n)
{
    int64_t m = 0, j;

    /* queries in groups, those that are left, then the last keys */
    for (; m + DOT_ROWS <= M; m += DOT_ROWS)
        for (j = 0; j + 4 <= n; j += 4)
            dots(scores + m * ld + j, ld, q + m * d, keys + j * ldk, ldk, d, DOT_ROWS, 4);
    for (; m < M; m++)
        for (j = 0; j + 4 <= n; j += 4)
            dots(scores + m * ld + j, ld, q + m * d, keys + j * ldk, ldk, d, 1, 4);
    for (m = 0; m < M; m++)
        for (j = n / 4 * 4; j < n; j++)
            dots(scores + m * ld + j, ld, q + m * d, keys + j * ldk, ldk, d, 1, 1);
}

/* One row of sums, `vectors` vectors of it, in registers while the values go by. */
static inline __attribute__((always_inline)) void mix_vectors(float *sums, const float *p, const float *v, int64_t ldv,
                                                              int64_t n, const int vectors)
{
    vec sum[8];

    UNROLL for (int i = 0; i < vectors; i++) sum[i] = v_load(sums + i * V_WIDTH);
    for (int64_t k = 0; k < n; k++, v += ldv) {
        vec w = v_set(p[k]);
        UNROLL for (int i = 0; i < vectors; i++) sum[i] = v_fma(w, v_load(v + i * V_WIDTH), sum[i]);
    }
    UNROLL for (int i = 0; i < vectors; i++) v_store(sums + i * V_WIDTH, sum[i]);
}

/* The number of vectors must be a constant for the sums to stay in registers. */
static void mix_columns(float *sums, const float *p, const float *v, int64_t ldv, int64_t n, int vectors)
{
    switch (vectors) {
    case 1: mix_vectors(sums, p, v, ldv, n, 1); break;
    case 2: mix_vectors(sums, p, v, ldv, n, 2); break;
    case 3: mix_vectors(sums, p, v, ldv, n, 3); break;
    case 4: mix_vectors(sums, p, v, ldv, n, 4); break;
    case 5: mix_vectors(sums, p, v, ldv, n, 5); break;
    case 6: mix_vectors(sums, p, v, ldv, n, 6); break;
    case 7: mix_vectors(sums, p, v, ldv, n, 7); break;
    default: mix_vectors(sums, p, v, ldv, n, 8); break;
    }
}

/* sums += P V, each in the order of the values. */
static void mix_few(float *sums, int64_t ld, const float *p, int64_t ldp, int64_t M, const float *v, int64_t ldv, int64_t n,
                    int64_t d)
{
    for (int64_t m = 0; m < M; m++, sums += ld, p += ldp) {
        int64_t j = 0;
        for (; j + V_WIDTH <= d; j += 8 * V_WIDTH)
            mix_columns(sums + j, p, v + j, ldv, n, (int)((d - j) / V_WIDTH < 8 ? (d - j) / V_WIDTH : 8));
        j = d / V_WIDTH * V_WIDTH;
        for (int64_t k = 0; k < n && j < d; k++)
            v_store_part(sums + j, v_fma(v_set(p[k]), v_load_part(v + k * ldv + j, d - j), v_load_part(sums + j, d - j)),
                         d - j);
    }
}

/* ---- the peak --------------------------------------------------------------------------------------------------------------- */

/* Twelve independent chains: enough for two units of latency four or five. */
static double fma_flops(int64_t n)
{
    volatile float sink;
    vec x[12], w = v_set(0.999f), c = v_set(1e-3f), sum = v_set(0.0f);

    for (int k = 0; k < 12; k++)
        x[k] = v_set((float)k);
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < 12; k++)
            x[k] = v_fma(x[k], w, c);
    for (int k = 0; k < 12; k++)
        sum = v_add(sum, x[k]);
    sink = v_sum(sum);
    (void)sink;
    return (double)n * 12 * V_WIDTH * 2;
}

#endif
