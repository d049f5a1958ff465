/* kernel/panels.h - how a product is cut: its left operand into packed strips, K into depths.   floor 2: kernel
 *
 * Shared by the loops over tiles (product.c, encode.c). The terms of an element are summed in the order of k within a depth,
 * and the depths in their order; both depend on K alone, so that every loop that is cut like this gives an element the same
 * bits.
 */
#ifndef SONDEP_KERNEL_PANELS_H
#define SONDEP_KERNEL_PANELS_H

#include "kernel/leaf.h"

enum {
    DEPTH = 256,       /* of K in one run of a tile: a strip of B stays in the first cache */
    ROWS = 4096,       /* of A that are packed at a time */
    PACKED_A = 4 << 20 /* elements of A that are packed at a time, if that is fewer rows */
};

/* A chunk of A as it is packed, and the depths of K. */
typedef struct panels {
    const sondep_tiler *tiler;
    int64_t K;
    int64_t rows, n_strips;
    int64_t strip_rows, n_higher; /* of a strip; strips, the first ones, that have one more */
    int64_t n_depths, depth;      /* of K; K's of one (a multiple of k_step) */
} panels;

/* How many steps of b cover a. */
static inline int64_t ceiling(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* x, or the bound that it is beyond; least <= most. */
static inline int64_t between(int64_t x, int64_t least, int64_t most)
{
    return x > most ? most : x < least ? least : x;
}

/* Bytes rounded up to a cache line, so that no two threads share one. */
static inline size_t aligned(int64_t bytes)
{
    return ((size_t)bytes + 63) & ~(size_t)63;
}

/* Rows of A in a chunk: all of them if they fit, else equal parts. */
static inline int64_t chunk_rows(int64_t M, int64_t K)
{
    int64_t most = between(PACKED_A / (K > 0 ? K : 1), 64, ROWS);
    return ceiling(M, ceiling(M, most));
}

/* From the shape alone. */
static inline panels make_panels(const sondep_tiler *tiler, int64_t rows, int64_t K)
{
    panels p = {.tiler = tiler, .K = K, .rows = rows};

    p.n_strips = ceiling(rows, tiler->rows);
    p.strip_rows = p.n_strips > 0 ? rows / p.n_strips : 0;
    p.n_higher = p.n_strips > 0 ? rows % p.n_strips : 0;
    p.n_depths = K > DEPTH ? ceiling(K, DEPTH) : 1;
    p.depth = ceiling(ceiling(K, p.n_depths), tiler->k_step) * tiler->k_step;
    return p;
}

/* First row of strip s: rows are dealt out evenly, so that no strip is much thinner than another. (No division: this is asked
 * for with each tile.) */
static inline int64_t strip_row(const panels *p, int64_t s)
{
    return s * p->strip_rows + (s < p->n_higher ? s : p->n_higher);
}

/* Where strip s of packed A begins, at a depth of K: behind it lies the next strip at that depth. */
static inline char *packed_strip(const panels *p, char *packed_a, int64_t s, int64_t depth)
{
    return packed_a + (depth * p->rows + strip_row(p, s)) * p->depth * p->tiler->element_bytes;
}

/* Depth of block d of K; the last may be shorter. */
static inline int64_t depth_of(const panels *p, int64_t d)
{
    int64_t rest = p->K - d * p->depth;
    return rest < p->depth ? rest : p->depth;
}

/* Packs one strip of A, all of K, in the order in which tiles read it. */
static inline void pack_strip(const panels *p, char *packed_a, const sondep_matrix *a, int64_t first_row, int64_t s)
{
    int64_t row = strip_row(p, s), rows = strip_row(p, s + 1) - row;

    for (int64_t d = 0; d < p->n_depths; d++) {
        p->tiler->pack_a(packed_strip(p, packed_a, s, d), a, first_row + row, d * p->depth, depth_of(p, d), (int)rows,
                         p->tiler->rounds);
    }
}

#endif
