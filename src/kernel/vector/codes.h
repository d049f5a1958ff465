/* vector/codes.h - what an encoder keeps of its tiles, in SIMD.                floor 2: kernel
 *
 * A template over avx512.h, avx2.h or neon.h. A tile of pre-activations is compared with its features' thresholds and with
 * what each row has kept; few are above both, so that those go to the row's list by a way of their own. A list that is full is cut
 * back to its k largest: the k-th is found by halving the range of floats, as whole numbers in the same order, and counting.
 */
#ifndef SONDEP_KERNEL_VECTOR_CODES_H
#define SONDEP_KERNEL_VECTOR_CODES_H

#include "kernel/vector/gradients.h"

/* ---- rows that a list names ------------------------------------------------------------------------------------------------------- */

enum { LISTED = 4 }; /* rows that are read side by side */

/* Pointers to n rows of a list, and to those behind them, which are asked for meanwhile: where there are none, the same again. */
typedef struct listed_rows {
    const float *row[LISTED], *next[LISTED];
} listed_rows;

static inline __attribute__((always_inline)) listed_rows find_rows(const float *rows, int64_t ld, const int32_t *index,
                                                                   const int n, int64_t left)
{
    listed_rows r;

    UNROLL for (int i = 0; i < n; i++)
    {
        r.row[i] = rows + index[i] * ld;
        r.next[i] = n + i < left ? rows + index[n + i] * ld : r.row[i];
    }
    return r;
}

/* y += sum of factor[i] row i for the first n of `left` rows, in their order. */
static inline __attribute__((always_inline)) void add_some(float *y, const float *rows, int64_t ld, const int32_t *index,
                                                           const float *factor, const int n, int64_t left, int64_t D)
{
    listed_rows r = find_rows(rows, ld, index, n, left);
    vec f[LISTED], sum;
    int64_t d = 0;

    UNROLL for (int i = 0; i < n; i++) f[i] = v_set(factor[i]);
    for (; d + V_WIDTH <= D; d += V_WIDTH) {
        sum = v_load(y + d);
        UNROLL for (int i = 0; i < n; i++)
        {
            __builtin_prefetch(r.next[i] + d);
            sum = v_fma(f[i], v_load(r.row[i] + d), sum);
        }
        v_store(y + d, sum);
    }
    if (d < D) {
        sum = v_load_part(y + d, D - d);
        for (int i = 0; i < n; i++)
            sum = v_fma(f[i], v_load_part(r.row[i] + d, D - d), sum);
        v_store_part(y + d, sum, D - d);
    }
}

/* See leaf.h: each element takes its terms in the order of the list. */
static void add_listed(float *y, const float *rows, int64_t ld, const int32_t *index, const float *factor, int64_t n,
                       int64_t D)
{
    int64_t i = 0;

    for (; i + LISTED <= n; i += LISTED)
        add_some(y, rows, ld, index + i, factor + i, LISTED, n - i, D);
    switch (n - i) {
    case 1: add_some(y, rows, ld, index + i, factor + i, 1, 1, D); break;
    case 2: add_some(y, rows, ld, index + i, factor + i, 2, 2, D); break;
    case 3: add_some(y, rows, ld, index + i, factor + i, 3, 3, D); break;
    default: break;
    }
}

/* Dot products of x with n rows: chains of their own, each lane by lane, then the lanes joined. */
static inline __attribute__((always_inline)) void dot_some(float *out, const float *x, const float *rows, int64_t ld,
                                                           const int32_t *index, const int n, int64_t D)
{
    listed_rows r = find_rows(rows, ld, index, n, n);
    vec sum[LISTED], part;
    int64_t d = 0;

    UNROLL for (int i = 0; i < n; i++) sum[i] = v_set(0.0f);
    for (; d + V_WIDTH <= D; d += V_WIDTH) {
        part = v_load(x + d);
        UNROLL for (int i = 0; i < n; i++) sum[i] = v_fma(part, v_load(r.row[i] + d), sum[i]);
    }
    if (d < D) {
        part = v_load_part(x + d, D - d);
        UNROLL for (int i = 0; i < n; i++) sum[i] = v_fma(part, v_load_part(r.row[i] + d, D - d), sum[i]);
    }
    if (n == LISTED)
        v_sum_four(out, sum);
    else
        *out = v_sum(*sum);
}

static void dot_listed(float *out, const float *x, const float *rows, int64_t ld, const int32_t *index, int64_t n, int64_t D)
{
    int64_t i = 0;

    for (; i + LISTED <= n; i += LISTED)
        dot_some(out + i, x, rows, ld, index + i, LISTED, D);
    for (; i < n; i++)
        dot_some(out + i, x, rows, ld, index + i, 1, D);
}

/* ---- matching pursuit ----------------------------------------------------------------------------------------------------- */

/* y -= factor x over a whole number of groups of four vectors; the greatest of y. */
static inline __attribute__((always_inline)) vec subtract_groups(float *y, const float *x, vec factor, int64_t n)
{
    vec most[4];

    UNROLL for (int k = 0; k < 4; k++) most[k] = v_set(-INFINITY);
    for (int64_t i = 0; i < n; i += 4 * V_WIDTH) {
        UNROLL for (int k = 0; k < 4; k++)
        {
            vec left = v_fnma(factor, v_load(x + i + k * V_WIDTH), v_load(y + i + k * V_WIDTH));
            v_store(y + i + k * V_WIDTH, left);
            most[k] = v_max(left, most[k]);
        }
    }
    return v_max(v_max(most[0], most[1]), v_max(most[2], most[3]));
}

/* See leaf.h. Only the block that has the largest number is read again, to find where. */
static int64_t subtract_and_find(float *y, const float *x, float factor, int64_t n)
{
    enum { OF_BLOCK = 16 * V_WIDTH };
    float most = -INFINITY, of_block;
    int64_t block = 0, i;

    for (i = 0; i < n; i += OF_BLOCK) {
        int64_t count = n - i < OF_BLOCK ? n - i : OF_BLOCK, whole = count / (4 * V_WIDTH) * (4 * V_WIDTH);
        vec greatest_yet = subtract_groups(y + i, x + i, v_set(factor), whole);
        of_block = v_greatest(greatest_yet);
        for (int64_t k = i + whole; k < i + count; k++) {
            y[k] -= factor * x[k];
            of_block = y[k] > of_block ? y[k] : of_block;
        }
        block = of_block > most ? i : block;
        most = of_block > most ? of_block : most;
    }
    for (i = block; i < n && y[i] != most; i++)
        ;
    return i < n ? i : 0;
}

/* ---- cutting a list ---------------------------------------------------------------------------------------------------------- */

/* How many keys are above a bar. */
static int64_t count_above(const float *keys, int64_t n, float bar)
{
    vec b = v_set(bar);
    int64_t count = 0, i = 0;

    for (; i + V_WIDTH <= n; i += V_WIDTH)
        count += __builtin_popcount(v_bits(v_less(b, v_load(keys + i))));
    if (i < n)
        count += __builtin_popcount(v_bits(v_less(b, v_load_part(keys + i, n - i))) & ((1u << (n - i)) - 1));
    return count;
}

/* A float as a whole number, in the same order (0 and -0 are equal), and back. */
static inline int64_t rank_of(float x)
{
    uint32_t bits = sondep_float_bits(x);
    return bits >> 31 ? -(int64_t)(bits & 0x7fffffffu) : (int64_t)bits;
}

static inline float of_rank(int64_t rank)
{
    return sondep_bits_float(rank < 0 ? 0x80000000u | (uint32_t)-rank : (uint32_t)rank);
}

/* The bar that k of n > k keys are above; or the k-th largest key itself, then *ties of those that equal it belong to the k
 * largest. No key is below `least`. */
static float find_bar(int64_t *ties, const float *keys, int64_t n, int64_t k, float least)
{
    int64_t low = rank_of(least) - 1, high = rank_of(greatest(keys, n)); /* k or more are above low, fewer above high */

    *ties = 0;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2, above = count_above(keys, n, of_rank(middle));
        if (above == k)
            return of_rank(middle);
        if (above > k)
            low = middle;
        else
            high = middle;
    }
    *ties = k - count_above(keys, n, of_rank(high));
    return of_rank(high);
}

/* Keys of a list: its values, where they are compared as they are. */
static const float *keys_of(float *keys, const sondep_kept *row, const sondep_selection *selection)
{
    if (!selection->scale && !selection->is_absolute)
        return row->value;
    for (int64_t i = 0; i < row->n; i++)
        keys[i] = selection->is_absolute ? fabsf(row->value[i]) : row->value[i];
    for (int64_t i = 0; i < row->n && selection->scale; i++)
        keys[i] *= selection->scale[row->index[i]];
    return keys;
}

/* The lowest n bits that are set. */
static unsigned lowest_bits(unsigned bits, int64_t n)
{
    unsigned all = bits;

    for (; n > 0 && bits; n--)
        bits &= bits - 1;
    return all & ~bits;
}

/* See leaf.h. What stays moves to the front in its order, a vector at a time: lists have room for a whole one behind them. */
static void cut_kept(sondep_kept *row, float *keys_room, const sondep_selection *selection)
{
    const float *keys = keys_of(keys_room, row, selection);
    int64_t ties, n = 0;
    float bar = find_bar(&ties, keys, row->n, selection->k, row->least);

    for (int64_t i = 0; i < row->n; i += V_WIDTH) {
        vec key = v_load(keys + i), index = v_load(row->index + i), value = v_load(row->value + i);
        unsigned lanes = row->n - i < V_WIDTH ? (1u << (row->n - i)) - 1 : (1u << V_WIDTH) - 1;
        unsigned stays = v_bits(v_less(v_set(bar), key)) & lanes, equal;
        if (ties > 0) {
            equal = lowest_bits(~v_bits(v_less(key, v_set(bar))) & lanes & ~stays, ties);
            ties -= __builtin_popcount(equal);
            stays |= equal;
        }
        v_store_lanes(row->index + n, index, stays);
        v_store_lanes(row->value + n, value, stays);
        n += __builtin_popcount(stays);
    }
    row->n = n;
    row->least = bar;
}

/* ---- tiles ------------------------------------------------------------------------------------------------------------------------ */

/* What the rows of a tile share: vectors of their features, and how keys are made. */
typedef struct select_terms {
    vec bias[TILE_VECTORS], scale[TILE_VECTORS], threshold[TILE_VECTORS];
    const float *b;
    const sondep_selection *selection;
    int32_t index[TILE_COLUMNS];
    uint32_t features; /* columns that are features, as bits */
    int64_t most;
    float *keys;
} select_terms;

/* Keys of one vector of a tile's row, and the bar that they must be above. */
static inline __attribute__((always_inline)) vec key_of(vec *bar, const sondep_kept *row, vec value, const select_terms *t,
                                                        int v, bool is_absolute)
{
    *bar = v_max(v_set(row->least), t->threshold[v]);
    return v_mul(is_absolute ? v_abs(value) : value, t->scale[v]);
}

/* Puts what of a row is above its bar on the row's list. Comparisons with NaN count as above, so that none goes by unseen. */
static __attribute__((noinline)) void keep(sondep_kept *row, const float *sums, const select_terms *t)
{
    for (int v = 0; v < TILE_VECTORS && !row->has_nan; v++) {
        vec value = v_load(sums + v * V_WIDTH), key, bar;
        unsigned above;
        value = t->b ? v_add(value, t->bias[v]) : value; /* -0 stays what it is */
        key = key_of(&bar, row, value, t, v, t->selection->is_absolute);
        above = v_bits(v_exceeds(key, bar)) & t->features >> v * V_WIDTH;
        row->has_nan = (above & ~v_bits(v_less(bar, key))) != 0;
        v_store_lanes(row->index + row->n, v_load(t->index + v * V_WIDTH), above);
        v_store_lanes(row->value + row->n, value, above);
        row->n += __builtin_popcount(above);
    }
    if (row->has_nan)
        row->n = 0;
    else if (row->n > t->most)
        cut_kept(row, t->keys, t->selection);
}

/* One row of a tile; `counts` its keys above their thresholds, or not. */
static inline __attribute__((always_inline)) void select_row(sondep_kept *row, const float *sums, const select_terms *t,
                                                             bool is_absolute, bool counts)
{
    uint32_t above = 0, passed = 0;

    UNROLL for (int v = 0; v < TILE_VECTORS; v++)
    {
        vec bar, key = key_of(&bar, row, v_add(v_load(sums + v * V_WIDTH), t->bias[v]), t, v, is_absolute);
        above |= (uint32_t)v_bits(v_exceeds(key, bar)) << v * V_WIDTH;
        if (counts)
            passed |= (uint32_t)v_bits(v_less(t->threshold[v], key)) << v * V_WIDTH;
    }
    if (counts)
        row->found += __builtin_popcount(passed & t->features);
    if (__builtin_expect((above & t->features) != 0, 0))
        keep(row, sums, t);
}

/* The vectors of a tile's features, of which there are `columns`; what is behind them is compared for nothing. */
static select_terms make_terms(int64_t columns, int64_t s, const float *b, const sondep_selection *selection)
{
    select_terms t = {.b = b, .selection = selection, .features = columns < 32 ? (1u << columns) - 1 : ~0u};

    for (int i = 0; i < TILE_COLUMNS; i++)
        t.index[i] = (int32_t)(s + i);
    for (int v = 0; v < TILE_VECTORS; v++) {
        int64_t at = s + v * V_WIDTH, left = columns - v * V_WIDTH, n = left < V_WIDTH ? left > 0 ? left : 0 : V_WIDTH;
        t.bias[v] = b ? v_load_n(b + at, n) : v_set(0.0f);
        t.scale[v] = selection->scale ? v_load_n(selection->scale + at, n) : v_set(1.0f);
        t.threshold[v] = selection->threshold ? v_load_n(selection->threshold + at, n) : v_set(0.0f);
    }
    return t;
}

/* See leaf.h. */
static void select_tile(sondep_kept *kept, float *keys, const float *tile, int64_t rows, int64_t columns, int64_t s,
                        const float *b, const sondep_selection *selection, int64_t most, bool counts)
{
    select_terms t = make_terms(columns, s, b, selection);

    t.most = most;
    t.keys = keys;
    for (int64_t i = 0; i < rows; i++, tile += TILE_COLUMNS) {
        if (counts)
            select_row(&kept[i], tile, &t, selection->is_absolute, true);
        else
            select_row(&kept[i], tile, &t, selection->is_absolute, false);
    }
}

#endif
