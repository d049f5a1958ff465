/* x86/avx512bf16.c - the tile product of bf16 pairs: AVX512-BF16, 14 x 32.     floor 2: kernel
 *
 * Packed panels hold two k's side by side in 32 bits, the lower k in the lower half; one instruction takes two products
 * into a float sum: twice the rate of floats. Factors are rounded to nearest even by the packing for floats.
 */
#if defined(__x86_64__)
#include "kernel/vector/avx512.h"

#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,avx2,fma,f16c"))), \
                             apply_to = function)
#else
#pragma GCC target("avx512bf16")
#endif

#include "kernel/leaf.h"
#include "kernel/x86/avx512bf16.h"
#include "tensor/half.h"

enum { COLUMNS = TILE_VECTORS * V_WIDTH, BLOCK = 32 };

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* `width` floats of two rows of a panel, already rounded, as pairs. */
static void join_rows(uint32_t *to, const float *lower, const float *upper, int width)
{
    for (int i = 0; i < width; i++)
        to[i] = sondep_float_bits(lower[i]) >> 16 | (upper ? sondep_float_bits(upper[i]) : 0);
}

/* A panel of floats, k by k, as one of pairs; an odd last k is paired with zeros. */
static void join(uint32_t *to, const float *panel, int64_t K, int width)
{
    for (int64_t k = 0; k < K; k += 2)
        join_rows(to + k / 2 * width, panel + k * width, k + 1 < K ? panel + (k + 1) * width : NULL, width);
}

/* BLOCK k's at a time through a small panel of floats, which stays in the first cache. */
void sondep_pack_a_bf16(void *packed, const sondep_matrix *a, int64_t row, int64_t k0, int64_t K, int rows, bool rounds)
{
    float panel[BLOCK * TILE_ROWS];
    (void)rounds;

    for (int64_t k = 0; k < K; k += BLOCK) {
        int64_t n = K - k < BLOCK ? K - k : BLOCK;
        sondep_leaf_avx512.f32.pack_a(panel, a, row, k0 + k, n, rows, true);
        join((uint32_t *)packed + k / 2 * rows, panel, n, rows);
    }
}

void sondep_pack_b_bf16(void *packed, const sondep_matrix *b, int64_t k0, int64_t K, int64_t column, int64_t columns,
                        bool rounds)
{
    float panel[BLOCK * COLUMNS];
    (void)rounds;

    for (int64_t k = 0; k < K; k += BLOCK) {
        int64_t n = K - k < BLOCK ? K - k : BLOCK;
        sondep_leaf_avx512.f32.pack_b(panel, b, k0 + k, n, column, columns, true);
        join((uint32_t *)packed + k / 2 * COLUMNS, panel, n, COLUMNS);
    }
}

/* As the tile of floats in vector/product.h, two k's at a step. */
static inline __attribute__((always_inline)) void tile_of(float *tile, int64_t ld, const uint32_t *a, const uint32_t *b,
                                                          int64_t n_pairs, const int rows, bool add)
{
    vec sum[TILE_ROWS][TILE_VECTORS];

    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < TILE_VECTORS; v++) sum[i][v] = v_set(0.0f);
    for (int64_t k = 0; k < n_pairs; k++) {
        __m512bh x[TILE_VECTORS];
        UNROLL for (int v = 0; v < TILE_VECTORS; v++) x[v] = (__m512bh)_mm512_loadu_si512(b + v * V_WIDTH);
        __builtin_prefetch(b + 8 * COLUMNS);
        __builtin_prefetch(b + 8 * COLUMNS + 16);
        UNROLL for (int i = 0; i < rows; i++)
        {
            __m512bh w = (__m512bh)_mm512_set1_epi32((int)a[i]);
            UNROLL for (int v = 0; v < TILE_VECTORS; v++) sum[i][v] = _mm512_dpbf16_ps(sum[i][v], w, x[v]);
        }
        a += rows;
        b += COLUMNS;
    }
    UNROLL for (int i = 0; i < rows; i++)
    {
        UNROLL for (int v = 0; v < TILE_VECTORS; v++)
        {
            float *at = tile + i * ld + v * V_WIDTH;
            v_store(at, add ? v_add(v_load(at), sum[i][v]) : sum[i][v]);
        }
    }
}

#define TILE_CASE(n) \
    case n: tile_of(tile, ld, a, b, (K + 1) / 2, n, add); break;

void sondep_tile_bf16(float *tile, int64_t ld, const void *packed_a, const void *packed_b, int64_t K, int rows, bool add)
{
    const uint32_t *a = packed_a, *b = packed_b;

    switch (rows) {
        TILE_CASE(1)
        TILE_CASE(2)
        TILE_CASE(3)
        TILE_CASE(4)
        TILE_CASE(5)
        TILE_CASE(6)
        TILE_CASE(7)
        TILE_CASE(8)
        TILE_CASE(9)
        TILE_CASE(10)
        TILE_CASE(11)
        TILE_CASE(12)
        TILE_CASE(13)
        TILE_CASE(14)
    }
}

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int sondep_no_avx512bf16; /* a file needs a declaration */
#endif
