/* attention.c - causal attention in blocks, so that T x T is never held.       floor 2: kernel
 *
 *              keys j0 .. j0 + 256        One task is a block of queries of one head. Keys and values are packed 256 at a
 *            +-------------------+        time; each strip of queries (a tile's rows) meets them as: scores (a tile
 *   strip of |   scores  x x x - |        product), exp around the row's running maximum, and the mix of the values (a
 *   queries  |           x x - - |        tile product with what the exps left), added to the strip's sums, which are
 *            +-------------------+        brought to the new maximum before.
 *
 * The order of sums depends on the keys' positions alone. A few queries (decoding) read keys and values where they lie.
 * Source: Milakov and Gimelshein 2018 (the running maximum), Dao et al. 2022 (the blocks). Reference: ref/attention.c.
 */
#include "kernel/leaf.h"
#include "kernel/meet.h"

#include <math.h>
#include <omp.h>

enum {
    QUERIES = 224, /* of a task at most: packing keys costs 1/QUERIES of using them */
    KEYS = SONDEP_SCORE_KEYS,
    FEW_QUERIES = 4, /* up to which keys are read where they lie */
    FEW_ROWS = 32,   /* queries times heads that are then taken together */
    WINDOW = 8       /* keys that all heads use while they are in the first cache */
};

/* A task's scratch; widths are rounded up to whole tiles. */
typedef struct workspace {
    float *q, *k, *v, *scores, *sums, *most;
    double *total;
    int64_t ld_sums;
} workspace;

/* The smaller of two. */
static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Every part starts on a line of the cache. */
static size_t aligned_floats(int64_t n)
{
    return ((size_t)n * sizeof(float) + 63) & ~(size_t)63;
}

/* The next multiple of a step. */
static int64_t round_up(int64_t n, int64_t step)
{
    return (n + step - 1) / step * step;
}

/* Lays a workspace out from `at` and returns its bytes; `at` may be NULL to measure only. */
static size_t lay_out(workspace *w, char *at, const sondep_tiler *t, int64_t d)
{
    int64_t width = round_up(d, t->columns);
    int64_t n[] = {
        QUERIES * d, round_up(KEYS, t->columns) * d, KEYS * width, FEW_ROWS * SONDEP_SCORE_STRIDE, QUERIES * width, QUERIES,
        QUERIES * 2};
    float *part[7];
    size_t bytes = 0;

    for (int i = 0; i < 7; i++) {
        part[i] = (float *)((uintptr_t)at + bytes);
        bytes += aligned_floats(n[i]);
    }
    *w = (workspace){part[0], part[1], part[2], part[3], part[4], part[5], (double *)part[6], width};
    return bytes;
}

size_t sondep_tiled_attention_scratch_bytes(const sondep_leaf *leaf, int64_t d_head)
{
    workspace w;
    return lay_out(&w, NULL, &leaf->f32, d_head) * (size_t)sonde_threads();
}

/* The calling thread's share of the scratch. */
static workspace own_workspace(const sondep_leaf *leaf, void *scratch, int64_t d)
{
    workspace w;
    size_t bytes = lay_out(&w, NULL, &leaf->f32, d);
    lay_out(&w, (char *)scratch + (size_t)omp_get_thread_num() * bytes, &leaf->f32, d);
    return w;
}

/* Keys that query i sees. */
static int64_t n_visible(const sondep_attention *s, int64_t i)
{
    int64_t n = s->n_key - s->n_query + i + 1;
    return n < 0 ? 0 : n;
}

/* Where a head's keys and values start in their rows: heads of a group share them. */
static int64_t kv_offset(const sondep_attention *s, int64_t head)
{
    return head / (s->n_heads / s->n_kv_heads) * s->d_head;
}

/* ---- pieces of a block of queries: first .. first + n of one head --------------------------------------------------------- */

/* A strip of queries, k by k (here k runs over the head's width). */
static void pack_queries(const sondep_tiler *t, const workspace *w, const sondep_attention *s, int64_t head, int64_t first,
                         int64_t n)
{
    sondep_matrix q = {s->q + head * s->d_head, SONDE_F32, s->ld_q, 1};
    for (int64_t i = 0; i < n; i += t->rows)
        t->pack_a(w->q + i * s->d_head, &q, first + i, 0, s->d_head, (int)least(t->rows, n - i), false);
}

/* Keys are the columns of the other factor. */
static void pack_keys(const sondep_tiler *t, const workspace *w, const sondep_attention *s, int64_t head, int64_t key,
                      int64_t n)
{
    sondep_matrix k = {s->k + kv_offset(s, head), SONDE_F32, 1, s->ld_k}; /* as (d_head, n_key) */
    for (int64_t j = 0; j < n; j += t->columns)
        t->pack_b(w->k + j * s->d_head, &k, 0, s->d_head, key + j, least(t->columns, n - j), false);
}

/* Values are the rows of the second product's other factor. */
static void pack_values(const sondep_tiler *t, const workspace *w, const sondep_attention *s, int64_t head, int64_t key,
                        int64_t n)
{
    sondep_matrix v = {s->v + kv_offset(s, head), SONDE_F32, s->ld_v, 1};
    for (int64_t d = 0; d < s->d_head; d += t->columns)
        t->pack_b(w->v + d * KEYS, &v, key, n, d, least(t->columns, s->d_head - d), false);
}

/* scores = q k^T of the strip that starts at i, against n packed keys */
static void score_strip(const sondep_tiler *t, const workspace *w, int64_t d_head, int64_t i, int rows, int64_t n)
{
    for (int64_t j = 0; j < n; j += t->columns)
        t->tile(w->scores + j, SONDEP_SCORE_STRIDE, w->q + i * d_head, w->k + j * d_head, d_head, rows, false);
}

/* sums += scores v of the strip that starts at i, n packed values */
static void mix_strip(const sondep_leaf *leaf, const workspace *w, int64_t d_head, int64_t i, int rows, int64_t n)
{
    for (int64_t d = 0; d < d_head; d += leaf->f32.columns)
        leaf->tile_of_scores(w->sums + i * w->ld_sums + d, w->ld_sums, w->scores, w->v + d * KEYS, n, rows, true);
}

/* exp of n scores of a query from `key` on, those that it sees; the others become 0. Its sums are row i. */
static void soften_row(const sondep_leaf *leaf, const workspace *w, const sondep_attention *s, int64_t query, float *x,
                       int64_t i, int64_t key, int64_t n)
{
    float *sums = w->sums + i * w->ld_sums, change;
    int64_t visible = least(n, n_visible(s, query) - key);

    visible = visible < 0 ? 0 : visible;
    memset(x + visible, 0, (size_t)(n - visible) * sizeof *x);
    if (visible == 0)
        return;
    change = leaf->soften(x, visible, s->scale, &w->most[i], &w->total[i]);
    if (change != 1.0f)
        leaf->scale(sums, sums, change, w->ld_sums);
}

/* The rows of the strip that starts at i, in a block of queries from `first` on. */
static void soften_strip(const sondep_leaf *leaf, const workspace *w, const sondep_attention *s, int64_t first, int64_t i,
                         int rows, int64_t key, int64_t n)
{
    for (int r = 0; r < rows; r++)
        soften_row(leaf, w, s, first + i + r, w->scores + r * SONDEP_SCORE_STRIDE, i + r, key, n);
}

/* z = sums / total; a query that saw nothing gets 0 */
static void write_rows(const sondep_leaf *leaf, const workspace *w, const sondep_attention *s, int64_t head, int64_t first,
                       int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float factor = w->total[i] == 0.0 ? 0.0f : (float)(1.0 / w->total[i]);
        leaf->scale(s->z + (first + i) * s->ld_z + head * s->d_head, w->sums + i * w->ld_sums, factor, s->d_head);
    }
}

/* As if nothing had been seen. */
static void clear(const workspace *w, int64_t n)
{
    memset(w->sums, 0, (size_t)(n * w->ld_sums) * sizeof *w->sums);
    for (int64_t i = 0; i < n; i++) {
        w->most[i] = -INFINITY;
        w->total[i] = 0.0;
    }
}

/* A block of queries of one head, from its first key to the last one that its last query sees. */
static void attend_block(const sondep_leaf *leaf, const workspace *w, const sondep_attention *s, int64_t head, int64_t first,
                         int64_t n)
{
    const sondep_tiler *t = &leaf->f32;
    int64_t end = n_visible(s, first + n - 1);

    pack_queries(t, w, s, head, first, n);
    clear(w, n);
    for (int64_t key = 0; key < end; key += KEYS) {
        int64_t width = least(KEYS, end - key);
        pack_keys(t, w, s, head, key, width);
        pack_values(t, w, s, head, key, width);
        for (int64_t i = 0; i < n; i += t->rows) {
            int rows = (int)least(t->rows, n - i);
            int64_t visible = least(width, n_visible(s, first + i + rows - 1) - key);
            if (visible <= 0)
                continue;
            score_strip(t, w, s->d_head, i, rows, visible);
            soften_strip(leaf, w, s, first, i, rows, key, visible);
            mix_strip(leaf, w, s->d_head, i, rows, visible);
        }
    }
    write_rows(leaf, w, s, head, first, n);
}

/* ---- a few queries ---------------------------------------------------------------------------------------------------------- */

/* What is taken together: the queries of heads `head` on, in n_groups groups of n_shared heads that have the same keys;
 * those of the first group lie `offset` into their rows, and of the next ones d_head further each. */
typedef struct few {
    const sondep_attention *s;
    int64_t head, n_groups, n_shared, offset;
} few;

/* n keys (or values) from `at` on are wanted soon. */
static void fetch_rows(const float *at, int64_t ld, int64_t n, int64_t d)
{
    for (int64_t j = 0; j < n; j++, at += ld)
        for (int64_t i = 0; i < d; i += 16)
            __builtin_prefetch(at + i);
}

/* Scores of n keys from `key` on: row (head, query) of the scores has them side by side. A window of keys serves all heads
 * before the next one comes, so that memory is read in order; the next one is on its way meanwhile. */
static void score_keys(const sondep_leaf *leaf, const workspace *w, const few *f, int64_t key, int64_t n)
{
    const sondep_attention *s = f->s;
    int64_t rows = f->n_shared * s->n_query, d = s->d_head;

    for (int64_t j = 0; j < n; j += WINDOW) {
        const float *keys = s->k + (key + j) * s->ld_k + f->offset;
        /* behind the last keys come the first values */
        bool is_last = j + WINDOW >= n;
        const float *next = is_last ? s->v + key * s->ld_v + f->offset : keys + WINDOW * s->ld_k;
        int64_t n_next = least(WINDOW, is_last ? n : n - j - WINDOW);

        for (int64_t i = 0; i < f->n_groups; i++) {
            fetch_rows(next + i * d, is_last ? s->ld_v : s->ld_k, n_next, d);
            leaf->score_few(w->scores + i * rows * SONDEP_SCORE_STRIDE + j, SONDEP_SCORE_STRIDE, w->q + i * rows * d, rows,
                            keys + i * d, s->ld_k, d, least(WINDOW, n - j));
        }
    }
}

/* Sums of n values from `key` on, weighted by what the scores became. */
static void mix_values(const sondep_leaf *leaf, const workspace *w, const few *f, int64_t key, int64_t n)
{
    const sondep_attention *s = f->s;
    int64_t rows = f->n_shared * s->n_query, d = s->d_head;

    for (int64_t j = 0; j < n; j += WINDOW) {
        const float *values = s->v + (key + j) * s->ld_v + f->offset, *next = values + WINDOW * s->ld_v;
        int64_t n_next = least(WINDOW, n - j - WINDOW);

        for (int64_t i = 0; i < f->n_groups; i++) {
            fetch_rows(next + i * d, s->ld_v, n_next, d);
            leaf->mix_few(w->sums + i * rows * w->ld_sums, w->ld_sums, w->scores + i * rows * SONDEP_SCORE_STRIDE + j,
                          SONDEP_SCORE_STRIDE, rows, values + i * d, s->ld_v, least(WINDOW, n - j), d);
        }
    }
}

/* The queries, head by head: row (head, query). */
static void copy_queries(const workspace *w, const few *f)
{
    const sondep_attention *s = f->s;
    float *to = w->q;

    for (int64_t h = 0; h < f->n_groups * f->n_shared; h++)
        for (int64_t i = 0; i < s->n_query; i++, to += s->d_head)
            memcpy(to, s->q + i * s->ld_q + (f->head + h) * s->d_head, (size_t)s->d_head * sizeof *to);
}

/* All queries of some heads, KEYS keys at a time. */
static void attend_few(const sondep_leaf *leaf, const workspace *w, const few *f)
{
    const sondep_attention *s = f->s;
    int64_t n_heads = f->n_groups * f->n_shared, rows = n_heads * s->n_query;

    copy_queries(w, f);
    clear(w, rows);
    for (int64_t key = 0; key < s->n_key; key += KEYS) {
        int64_t n = least(KEYS, s->n_key - key);
        /* scores, what the exps make of them, and the mix of the values by that */
        score_keys(leaf, w, f, key, n);
        for (int64_t r = 0; r < rows; r++)
            soften_row(leaf, w, s, s->n_query == 1 ? 0 : r % s->n_query, w->scores + r * SONDEP_SCORE_STRIDE, r, key, n);
        mix_values(leaf, w, f, key, n);
    }
    for (int64_t h = 0; h < n_heads; h++) {
        workspace of_head = *w;
        of_head.sums += h * s->n_query * w->ld_sums;
        of_head.total += h * s->n_query;
        write_rows(leaf, &of_head, s, f->head + h, 0, s->n_query);
    }
}

/* ---- tasks -------------------------------------------------------------------------------------------------------------------- */

/* Heads that are taken together when there are few queries; 0: there are not. Some of a group, or, where sequences enough
 * are there for all threads, several groups. No sum depends on it. */
static int64_t heads_together(const sondep_attention *s, bool is_many)
{
    int64_t group = s->n_heads / s->n_kv_heads, most = FEW_ROWS / FEW_QUERIES, groups;

    if (s->n_query > FEW_QUERIES)
        return 0;
    /* few sequences: as many tasks as can be */
    if (!is_many || group > most)
        return least(group, most);
    groups = least(FEW_ROWS / (s->n_query * group), s->n_kv_heads);
    return groups * group;
}

/* Blocks of queries that a sequence is cut into. */
static int64_t n_blocks(const sondep_attention *s)
{
    return (s->n_query + QUERIES - 1) / QUERIES;
}

/* Tasks of a sequence: heads times blocks, or pieces of heads. */
static int64_t n_tasks(const sondep_attention *s, bool is_many)
{
    int64_t together = heads_together(s, is_many), group = s->n_heads / s->n_kv_heads;

    if (s->n_query <= 0)
        return 0;
    if (together == 0)
        return s->n_heads * n_blocks(s);
    return together >= group ? (s->n_heads + together - 1) / together : s->n_kv_heads * ((group + together - 1) / together);
}

/* A piece of heads: whole groups, or a part of one. */
static few few_of(const sondep_attention *s, int64_t together, int64_t task)
{
    int64_t group = s->n_heads / s->n_kv_heads, parts = (group + together - 1) / together, start = task % parts * together;

    /* whole groups: the keys of several heads lie side by side */
    if (together >= group) {
        int64_t first = task * (together / group);
        return (few){s, first * group, least(together / group, s->n_kv_heads - first), group, first * s->d_head};
    }
    return (few){s, task / parts * group + start, 1, least(together, group - start), task / parts * s->d_head};
}

/* The late blocks, which see most, come first, so that the threads end together. */
static void run_task(const sondep_leaf *leaf, const workspace *w, const sondep_attention *s, int64_t task, bool is_many)
{
    int64_t together = heads_together(s, is_many);

    if (together) {
        few f = few_of(s, together, task);
        attend_few(leaf, w, &f);
    } else {
        int64_t blocks = n_blocks(s), b = blocks - 1 - task / s->n_heads;
        int64_t first = b * s->n_query / blocks, end = (b + 1) * s->n_query / blocks;
        attend_block(leaf, w, s, task % s->n_heads, first, end - first);
    }
}

/* Finds the sequence of a task. Tasks come in their order, so that the search goes on where the last one ended. */
typedef struct cursor {
    int64_t sequence, first_task;
} cursor;

/* Back to the start if a task comes out of order: no compiler promises that it does not. */
static void move(cursor *c, const sondep_attention *sequences, int64_t task, bool is_many)
{
    if (task < c->first_task)
        *c = (cursor){0, 0};
    for (int64_t n; task - c->first_task >= (n = n_tasks(&sequences[c->sequence], is_many)); c->sequence++)
        c->first_task += n;
}

void sondep_tiled_attend(const sondep_leaf *leaf, const sondep_attention *sequences, int64_t n, void *scratch)
{
    sondep_meeting meeting = SONDEP_MEETING;
    int64_t total = 0, d = 0, work = 0;
    bool is_many = n >= 4 * sonde_threads();

    for (int64_t i = 0; i < n; i++) {
        const sondep_attention *s = &sequences[i];
        total += n_tasks(s, is_many);
        work += s->n_query * s->n_key * s->n_heads * s->d_head;
        d = s->d_head > d ? s->d_head : d;
    }
#pragma omp parallel num_threads(sonde_threads()) if (work > SONDEP_ALONE)
    {
        cursor at = {0, 0};
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t task = 0; task < total; task++) {
            workspace w = own_workspace(leaf, scratch, d);
            move(&at, sequences, task, is_many);
            w.ld_sums = round_up(sequences[at.sequence].d_head, leaf->f32.columns);
            run_task(leaf, &w, &sequences[at.sequence], task - at.first_task, is_many);
        }
        sondep_meet(&meeting);
    }
}

/* ---- in steps ------------------------------------------------------------------------------------------------------------------- */

/* Scaled, and -inf where a query does not see: what a hook gets to see. */
static void write_scores(float *out, const workspace *w, const sondep_attention *s, int64_t query, int rows, int64_t key,
                         int64_t n)
{
    for (int r = 0; r < rows; r++) {
        const float *x = w->scores + r * SONDEP_SCORE_STRIDE;
        float *to = out + (query + r) * s->n_key + key;
        int64_t visible = n_visible(s, query + r) - key;
        for (int64_t j = 0; j < n; j++)
            to[j] = j < visible ? x[j] * s->scale : -INFINITY;
    }
}

/* All keys against a block of queries. */
static void score_block(const sondep_leaf *leaf, const workspace *w, const sondep_attention *s, float *scores, int64_t head,
                        int64_t first, int64_t n)
{
    const sondep_tiler *t = &leaf->f32;

    pack_queries(t, w, s, head, first, n);
    for (int64_t key = 0; key < s->n_key; key += KEYS) {
        int64_t width = least(KEYS, s->n_key - key);
        pack_keys(t, w, s, head, key, width);
        for (int64_t i = 0; i < n; i += t->rows) {
            int rows = (int)least(t->rows, n - i);
            score_strip(t, w, s->d_head, i, rows, width);
            write_scores(scores + head * s->n_query * s->n_key, w, s, first + i, rows, key, width);
        }
    }
}

/* All values, weighted by a block of the pattern. */
static void mix_block(const sondep_leaf *leaf, const workspace *w, const sondep_attention *s, const float *pattern,
                      int64_t head, int64_t first, int64_t n)
{
    const sondep_tiler *t = &leaf->f32;
    const float *p = pattern + (head * s->n_query + first) * s->n_key;

    clear(w, n);
    for (int64_t key = 0; key < s->n_key; key += KEYS) {
        int64_t width = least(KEYS, s->n_key - key);
        pack_values(t, w, s, head, key, width);
        for (int64_t i = 0; i < n; i += t->rows) {
            int rows = (int)least(t->rows, n - i);
            for (int r = 0; r < rows; r++)
                memcpy(w->scores + r * SONDEP_SCORE_STRIDE, p + (i + r) * s->n_key + key, (size_t)width * sizeof *p);
            mix_strip(leaf, w, s->d_head, i, rows, width);
        }
    }
    for (int64_t i = 0; i < n; i++)
        memcpy(s->z + (first + i) * s->ld_z + head * s->d_head, w->sums + i * w->ld_sums, (size_t)s->d_head * sizeof *s->z);
}

/* Every block of every head through one of the two: scores if there is room for them, else the mix of a pattern. */
static void in_steps(const sondep_leaf *leaf, const sondep_attention *s, float *scores, const float *pattern, void *scratch)
{
    sondep_meeting meeting = SONDEP_MEETING;
    int64_t blocks = n_blocks(s);

#pragma omp parallel num_threads(sonde_threads()) if (s->n_query * s->n_key * s->n_heads * s->d_head > SONDEP_ALONE)
    {
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t task = 0; task < s->n_heads * blocks; task++) {
            workspace w = own_workspace(leaf, scratch, s->d_head);
            int64_t head = task % s->n_heads, b = task / s->n_heads;
            int64_t first = b * s->n_query / blocks, n = (b + 1) * s->n_query / blocks - first;
            if (scores)
                score_block(leaf, &w, s, scores, head, first, n);
            else
                mix_block(leaf, &w, s, pattern, head, first, n);
        }
        sondep_meet(&meeting);
    }
}

void sondep_tiled_scores(const sondep_leaf *leaf, float *scores, const sondep_attention *s, void *scratch)
{
    in_steps(leaf, s, scores, NULL, scratch);
}

void sondep_tiled_mix(const sondep_leaf *leaf, const float *pattern, const sondep_attention *s, void *scratch)
{
    in_steps(leaf, s, NULL, pattern, scratch);
}
