/* attention_backward.c - the gradients of causal attention in blocks, so that T x T is never held.   floor 2: kernel
 *
 *              keys j0 .. j0 + 256        A block of queries of one head meets all its keys twice, 256 at a time. First the
 *            +-------------------+        scores are formed again and their exponentials kept (queries by all keys), with
 *   block of |  p   x x x x -    |        each row's maximum and sum. Then, for each 256 keys: dz v^T (a tile product), from
 *   queries  |      x x x - -    |        it ds = p (dz v^T - s) scale in place, dq += ds k row by row of tiles, and
 *            +-------------------+        dk += ds^T q, dv += p^T dz, whose first factors are read across: ds and p are
 *                                         never turned.
 *
 * A task is some heads of one group, or some queries of one head: about PAIRS pairs of a query and a key. Its sums dk and
 * dv gather in the thread's own memory and are added to the output when it is the task's turn, so that the order of sums
 * depends on shapes alone. Tasks are handed out in order; who waits, waits for a task that runs already.
 * Source: Dao et al. 2022, algorithm 4, with scores held for a block of queries. Reference: ref/attention_backward.c.
 */
#include "kernel/leaf.h"
#include "kernel/meet.h"

#include <math.h>
#include <omp.h>

enum {
    QUERIES =
        72, /* of a block at most: so long are the sums of one step to dk and dv; p of 256 keys stays in the second cache */
    KEYS = SONDEP_SCORE_KEYS,
    PAIRS = 1 << 17, /* of a query and a key that make a task worth its packing */
    MOST_CUTS = 8    /* of a head's queries */
};

/* A task's scratch; widths are rounded up to whole tiles. */
typedef struct workspace {
    float *k_turned, *v_turned, *k;    /* all keys, packed: k^T and v^T in strips of keys; k in blocks of KEYS rows */
    float *q_strips, *dz_strips;       /* a block of queries as the left factor of q k^T and dz v^T */
    float *q, *dz;                     /* and as the right factor of ds^T q and p^T dz */
    float *p, *ds;                     /* queries by all keys, KEYS at a time; queries by KEYS */
    float *dk, *dv, *dq;               /* sums of the task; of the block */
    float *most, *most_then, *along;   /* of each query: maximum, the one of when a block of keys was softened, s */
    double *total;                     /* of each query: sum of exponentials */
    int64_t width, queries, d, turned; /* d rounded up; most queries of a block; KEYS rounded up */
} workspace;

/* The smaller of two. */
static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The next multiple of a step. */
static int64_t round_up(int64_t n, int64_t step)
{
    return (n + step - 1) / step * step;
}

/* Lays a workspace out from `at` and returns its bytes; `at` may be NULL to measure only. Every part starts on a line of
 * the cache. */
static size_t lay_out(workspace *w, char *at, const sondep_tiler *t, int64_t d, int64_t n_key)
{
    int64_t width = round_up(d, t->columns), turned = round_up(KEYS, t->columns), blocks = (n_key + KEYS - 1) / KEYS;
    int64_t queries = QUERIES / t->rows * t->rows, scores = queries * SONDEP_SCORE_STRIDE;
    int64_t n[] = {blocks * turned * d,
                   blocks * turned * d,
                   blocks * KEYS * width,
                   queries * d,
                   queries * d,
                   queries * width,
                   queries * width,
                   blocks * scores,
                   scores,
                   n_key * width,
                   n_key * width,
                   queries * width,
                   queries,
                   blocks * queries,
                   queries,
                   2 * queries};
    float *part[16];
    size_t bytes = 0;

    for (int i = 0; i < 16; i++) {
        part[i] = (float *)((uintptr_t)at + bytes);
        bytes += ((size_t)n[i] * sizeof(float) + 63) & ~(size_t)63;
    }
    *w = (workspace){part[0], part[1], part[2],  part[3],  part[4],  part[5],  part[6],  part[7],
                     part[8], part[9], part[10], part[11], part[12], part[13], part[14], (double *)part[15],
                     width,   queries, d,        turned};
    return bytes;
}

size_t sondep_tiled_attend_backward_scratch_bytes(const sondep_leaf *leaf, int64_t d_head, int64_t n_key)
{
    workspace w;
    return lay_out(&w, NULL, &leaf->f32, d_head, n_key) * (size_t)sonde_threads();
}

/* Keys that query i sees. */
static int64_t n_visible(const sondep_attention *s, int64_t i)
{
    int64_t n = s->n_key - s->n_query + i + 1;
    return n < 0 ? 0 : n;
}

/* ---- what comes next ------------------------------------------------------------------------------------------------------ */

/* The next task's rows lie far apart, a head's piece in each: the processor does not foresee them. Some of them are asked
 * for with each strip of queries, so that they are near when their turn comes. */
typedef struct stream {
    const float *row;
    int64_t ld, n; /* to the next row; rows left */
} stream;

typedef struct fetcher {
    stream of[8];
    int n_streams;
    int64_t d, n_each; /* floats of a row; rows for each strip */
} fetcher;

static void fetch_rows(fetcher *f)
{
    for (int i = 0; i < f->n_streams; i++) {
        stream *s = &f->of[i];
        for (int64_t r = 0; r < f->n_each && s->n > 0; r++, s->n--, s->row += s->ld)
            for (int64_t d = 0; d < f->d; d += 16)
                __builtin_prefetch(s->row + d, 0, 2);
    }
}

/* ---- packing --------------------------------------------------------------------------------------------------------------- */

/* Where the strip of k^T or v^T lies that begins j keys behind `key`, which begins a block of KEYS. */
static int64_t turned_at(const workspace *w, int64_t key, int64_t j)
{
    return (key / KEYS * w->turned + j) * w->d;
}

/* The first n keys and values of a group. */
static void pack_keys(const sondep_tiler *t, const workspace *w, const sondep_attention *s, int64_t group, int64_t n)
{
    sondep_matrix k = {s->k + group * s->d_head, SONDE_F32, s->ld_k, 1}, k_turned = {k.data, SONDE_F32, 1, s->ld_k};
    sondep_matrix v_turned = {s->v + group * s->d_head, SONDE_F32, 1, s->ld_v};

    for (int64_t key = 0; key < n; key += KEYS) {
        int64_t width = least(KEYS, n - key);
        for (int64_t j = 0; j < width; j += t->columns) {
            int64_t columns = least(t->columns, width - j), at = turned_at(w, key, j);
            t->pack_b(w->k_turned + at, &k_turned, 0, w->d, key + j, columns, false);
            t->pack_b(w->v_turned + at, &v_turned, 0, w->d, key + j, columns, false);
        }
        for (int64_t d = 0; d < w->d; d += t->columns)
            t->pack_b(w->k + key * w->width + d * KEYS, &k, key, width, d, least(t->columns, w->d - d), false);
    }
}

/* Queries first .. first + n of a head, and their dz, both ways. */
static void pack_queries(const sondep_tiler *t, const workspace *w, const sondep_attention_backward *b, int64_t head,
                         int64_t first, int64_t n)
{
    const sondep_attention *s = &b->forward;
    sondep_matrix q = {s->q + head * w->d, SONDE_F32, s->ld_q, 1}, dz = {b->dz + head * w->d, SONDE_F32, b->ld_dz, 1};

    for (int64_t i = 0; i < n; i += t->rows) {
        t->pack_a(w->q_strips + i * w->d, &q, first + i, 0, w->d, (int)least(t->rows, n - i), false);
        t->pack_a(w->dz_strips + i * w->d, &dz, first + i, 0, w->d, (int)least(t->rows, n - i), false);
    }
    for (int64_t d = 0; d < w->d; d += t->columns) {
        t->pack_b(w->q + d * w->queries, &q, first, n, d, least(t->columns, w->d - d), false);
        t->pack_b(w->dz + d * w->queries, &dz, first, n, d, least(t->columns, w->d - d), false);
    }
}

/* ---- a block of queries: first .. first + n of one head ----------------------------------------------------------------------- */

/* What the pieces below work on. */
typedef struct block {
    const sondep_leaf *leaf;
    const workspace *w;
    const sondep_attention *s;
    int64_t first, n;
    fetcher *next;
} block;

/* Row i of p, keys `key` and on. */
static float *p_row(const workspace *w, int64_t key, int64_t i)
{
    return w->p + (key / KEYS * w->queries + i) * SONDEP_SCORE_STRIDE;
}

/* Of the keys `key` .. key + KEYS, how many query i of the block sees. */
static int64_t visible_of(const block *b, int64_t key, int64_t i)
{
    int64_t n = n_visible(b->s, b->first + i) - key;
    return n < 0 ? 0 : least(n, KEYS);
}

/* Zeros behind what a row sees: as far as tiles reach that have a key which it sees, or that the last row of its strip sees. */
static void clear_unseen(float *x, int64_t visible)
{
    memset(x + visible, 0, (SONDEP_SCORE_STRIDE - KEYS) * sizeof *x);
}

/* p = exp(q k^T scale - most) of the strip at i, for the keys from `key` on that its last row sees. */
static void score_strip(const block *b, int64_t key, int64_t i, int rows)
{
    const sondep_tiler *t = &b->leaf->f32;
    const workspace *w = b->w;
    int64_t strip_visible = visible_of(b, key, i + rows - 1);

    fetch_rows(b->next);
    for (int64_t j = 0; j < strip_visible; j += t->columns)
        t->tile(p_row(w, key, i) + j, SONDEP_SCORE_STRIDE, w->q_strips + i * w->d, w->k_turned + turned_at(w, key, j), w->d,
                rows, false);
    for (int64_t r = i; r < i + rows && strip_visible > 0; r++) {
        int64_t visible = visible_of(b, key, r);
        float *x = p_row(w, key, r);
        if (visible > 0)
            b->leaf->soften(x, visible, b->s->scale, &w->most[r], &w->total[r]);
        clear_unseen(x, visible);
        w->most_then[key / KEYS * w->queries + r] = w->most[r];
    }
}

/* What brings the exponentials of a row, taken around the maximum of that time, to probabilities. */
static float factor_of(const workspace *w, int64_t key, int64_t i)
{
    float then = w->most_then[key / KEYS * w->queries + i];
    double change = then == w->most[i] ? 1.0 : exp((double)then - w->most[i]);
    return w->total[i] == 0.0 ? 0.0f : (float)(change / w->total[i]);
}

/* p becomes the pattern, ds = p (dz v^T - s) scale; dq += ds k. */
static void gradient_strip(const block *b, int64_t key, int64_t i, int rows)
{
    const sondep_tiler *t = &b->leaf->f32;
    const workspace *w = b->w;
    int64_t strip_visible = visible_of(b, key, i + rows - 1);
    float *ds = w->ds + i * SONDEP_SCORE_STRIDE;

    for (int64_t j = 0; j < strip_visible; j += t->columns)
        t->tile(ds + j, SONDEP_SCORE_STRIDE, w->dz_strips + i * w->d, w->v_turned + turned_at(w, key, j), w->d, rows, false);
    for (int64_t r = 0; r < rows && strip_visible > 0; r++) {
        int64_t visible = visible_of(b, key, i + r);
        b->leaf->unsoften(p_row(w, key, i + r), ds + r * SONDEP_SCORE_STRIDE, factor_of(w, key, i + r), w->along[i + r],
                          b->s->scale, visible);
        clear_unseen(ds + r * SONDEP_SCORE_STRIDE, visible);
    }
    for (int64_t d = 0; d < w->d && strip_visible > 0; d += t->columns)
        b->leaf->tile_of_scores(w->dq + i * w->width + d, w->width, ds, w->k + key * w->width + d * KEYS, strip_visible,
                                rows, key > 0);
}

/* dk += ds^T q and dv += p^T dz for n keys from `key` on: each strip of keys takes the queries that see its first one. */
static void sum_keys(const block *b, int64_t key, int64_t n)
{
    const sondep_tiler *t = &b->leaf->f32;
    const workspace *w = b->w;

    for (int64_t j = 0; j < n; j += t->rows) {
        int64_t i = key + j - (b->s->n_key - b->s->n_query) - b->first, at = (key + j) * w->width;
        int rows = (int)least(t->rows, n - j);
        i = i < 0 ? 0 : i;
        for (int64_t d = 0; d < w->d && i < b->n; d += t->columns) {
            b->leaf->tile_of_turned_scores(w->dk + at + d, w->width, w->ds + i * SONDEP_SCORE_STRIDE + j,
                                           w->q + d * w->queries + i * t->columns, b->n - i, rows, true);
            b->leaf->tile_of_turned_scores(w->dv + at + d, w->width, p_row(w, key, i) + j,
                                           w->dz + d * w->queries + i * t->columns, b->n - i, rows, true);
        }
    }
}

/* Each query's s = dz . z, and as if no key had been seen. */
static void begin_rows(const block *b, const sondep_attention_backward *all, int64_t head)
{
    const workspace *w = b->w;

    memset(w->dq, 0, (size_t)(b->n * w->width) * sizeof *w->dq);
    for (int64_t i = 0; i < b->n; i++) {
        int64_t row = b->first + i;
        w->most[i] = -INFINITY;
        w->total[i] = 0.0;
        w->along[i] = b->leaf->dot(all->dz + row * all->ld_dz + head * w->d, b->s->z + row * b->s->ld_z + head * w->d, w->d);
    }
}

/* Queries first .. first + n of a head, from their rows to dq and what they add to dk and dv. */
static void backward_block(const sondep_leaf *leaf, const workspace *w, const sondep_attention_backward *all, int64_t head,
                           int64_t first, int64_t n, fetcher *next)
{
    block b = {leaf, w, &all->forward, first, n, next};
    int64_t end = n_visible(b.s, first + n - 1), rows = leaf->f32.rows;

    pack_queries(&leaf->f32, w, all, head, first, n);
    begin_rows(&b, all, head);
    for (int64_t key = 0; key < end; key += KEYS)
        for (int64_t i = 0; i < n; i += rows)
            score_strip(&b, key, i, (int)least(rows, n - i));
    for (int64_t key = 0; key < end; key += KEYS) {
        for (int64_t i = 0; i < n; i += rows)
            gradient_strip(&b, key, i, (int)least(rows, n - i));
        sum_keys(&b, key, least(KEYS, end - key));
    }
    for (int64_t i = 0; i < n; i++)
        memcpy(all->dq + (first + i) * all->ld_dq + head * w->d, w->dq + i * w->width, (size_t)w->d * sizeof *w->dq);
}

/* ---- tasks -------------------------------------------------------------------------------------------------------------------- */

/* How the work of one group of a sequence is cut: tasks of `heads` heads each, or `cuts` tasks for each head. */
typedef struct cut {
    int64_t n_heads, heads, cuts, n_tasks;
} cut;

/* Pairs of one of the first n queries and a key that it sees. */
static int64_t pairs_before(const sondep_attention *s, int64_t n)
{
    int64_t blind = least(n, s->n_query > s->n_key ? s->n_query - s->n_key : 0);
    return (n - blind) * (n_visible(s, blind) + n_visible(s, n - 1)) / 2;
}

static cut cut_group(const sondep_attention *s)
{
    int64_t pairs = pairs_before(s, s->n_query);
    cut c = {.n_heads = s->n_heads / s->n_kv_heads, .heads = 1};

    c.cuts = least(pairs / PAIRS, MOST_CUTS);
    if (c.cuts < 1) {
        c.cuts = 1;
        c.heads = least(c.n_heads, pairs > 0 ? PAIRS / pairs : c.n_heads);
    }
    c.n_tasks = (c.n_heads + c.heads - 1) / c.heads * c.cuts;
    return c;
}

/* Where cut `at` of a head's queries begins: the first query before which lie so many of all pairs. */
static int64_t first_query(const sondep_attention *s, int64_t at, int64_t cuts)
{
    int64_t low = 0, high = s->n_query, pairs = pairs_before(s, s->n_query);

    while (at < cuts && low < high) {
        int64_t middle = (low + high) / 2;
        if (pairs_before(s, middle) * cuts >= at * pairs)
            high = middle;
        else
            low = middle + 1;
    }
    return high;
}

/* Queries first .. end of a head, in blocks of equal size. */
static void backward_queries(const sondep_leaf *leaf, const workspace *w, const sondep_attention_backward *b, int64_t head,
                             int64_t first, int64_t end, fetcher *next)
{
    int64_t blocks = (end - first + w->queries - 1) / w->queries, step;

    if (end <= first)
        return;
    step = round_up((end - first + blocks - 1) / blocks, leaf->f32.rows);
    for (int64_t i = first; i < end; i += step)
        backward_block(leaf, w, b, head, i, least(step, end - i), next);
}

/* The group's first task writes dk and dv, with zeros where it saw no key; the others add. */
static void hand_over(const sondep_leaf *leaf, const workspace *w, const sondep_attention_backward *b, int64_t group,
                      int64_t n_seen, bool is_first)
{
    const float *const from[] = {w->dk, w->dv};
    float *const to[] = {b->dk + group * w->d, b->dv + group * w->d};
    const int64_t ld[] = {b->ld_dk, b->ld_dv};

    for (int i = 0; i < 2; i++) {
        for (int64_t j = 0; j < n_seen; j++) {
            float *row = to[i] + j * ld[i];
            if (is_first)
                memcpy(row, from[i] + j * w->width, (size_t)w->d * sizeof *row);
            else
                leaf->add(row, row, from[i] + j * w->width, w->d);
        }
        for (int64_t j = n_seen; j < b->forward.n_key && is_first; j++)
            memset(to[i] + j * ld[i], 0, (size_t)w->d * sizeof *to[i]);
    }
}

/* One task: queries first .. end of heads head .. end_head of a group, which see n_seen keys. */
typedef struct task {
    const sondep_attention_backward *b;
    int64_t group, head, end_head, first, end, n_seen;
    bool is_first; /* of its group */
} task;

static void run_task(const sondep_leaf *leaf, const workspace *w, const task *t, int64_t number, sondep_turns *turns,
                     fetcher *next)
{
    pack_keys(&leaf->f32, w, &t->b->forward, t->group, t->n_seen);
    memset(w->dk, 0, (size_t)(t->n_seen * w->width) * sizeof *w->dk);
    memset(w->dv, 0, (size_t)(t->n_seen * w->width) * sizeof *w->dv);
    for (int64_t head = t->head; head < t->end_head; head++)
        backward_queries(leaf, w, t->b, head, t->first, t->end, next);
    if (!t->is_first)
        sondep_await_turn(turns, number - 1);
    hand_over(leaf, w, t->b, t->group, t->n_seen, t->is_first);
    sondep_end_turn(turns, number);
}

/* Tasks of a sequence: all parts of its groups, one group after the other. */
static int64_t n_tasks(const sondep_attention *s)
{
    return s->n_kv_heads * cut_group(s).n_tasks;
}

/* Where the search for a task stands: a sequence whose first task has number `before`. Who searches asks for rising
 * numbers. */
typedef struct cursor {
    int64_t sequence, before;
} cursor;

static task find_task(cursor *at, const sondep_attention_backward *sequences, int64_t number)
{
    task t = {.b = &sequences[at->sequence]};
    const sondep_attention *s;
    int64_t part, n;
    cut c;

    while (n = n_tasks(&t.b->forward), number - at->before >= n) {
        at->before += n;
        t.b = &sequences[++at->sequence];
    }
    s = &t.b->forward;
    c = cut_group(s);
    t.group = (number - at->before) / c.n_tasks;
    part = (number - at->before) % c.n_tasks;
    t.is_first = part == 0;
    t.head = t.group * c.n_heads + part / c.cuts * c.heads;
    t.end_head = least(t.head + c.heads, (t.group + 1) * c.n_heads);
    t.first = first_query(s, part % c.cuts, c.cuts);
    t.end = first_query(s, part % c.cuts + 1, c.cuts);
    t.n_seen = t.end > t.first ? n_visible(s, t.end - 1) : 0;
    return t;
}

/* All rows of a task's first head, and its keys, while `n_strips` strips of queries are worked on. */
static fetcher plan_fetch(const task *t, int64_t n_strips)
{
    const sondep_attention *s = &t->b->forward;
    int64_t q = t->head * s->d_head, k = t->group * s->d_head, n = t->end - t->first, most = n > t->n_seen ? n : t->n_seen;

    return (fetcher){{{s->k + k, s->ld_k, t->n_seen},
                      {s->v + k, s->ld_v, t->n_seen},
                      {t->b->dk + k, t->b->ld_dk, t->n_seen},
                      {t->b->dv + k, t->b->ld_dv, t->n_seen},
                      {s->q + t->first * s->ld_q + q, s->ld_q, n},
                      {s->z + t->first * s->ld_z + q, s->ld_z, n},
                      {t->b->dz + t->first * t->b->ld_dz + q, t->b->ld_dz, n},
                      {t->b->dq + t->first * t->b->ld_dq + q, t->b->ld_dq, n}},
                     8,
                     s->d_head,
                     n_strips > 0 ? (most + n_strips - 1) / n_strips : 0};
}

/* What a thread has of the call: its scratch; where it finds its tasks, and those that come a round of threads later. */
typedef struct worker {
    char *scratch;
    cursor here, ahead;
} worker;

static void take_task(const sondep_leaf *leaf, worker *me, const sondep_attention_backward *sequences, int64_t number,
                      int64_t total, sondep_turns *turns)
{
    task t = find_task(&me->here, sequences, number), soon;
    int64_t n_strips = (t.end - t.first + leaf->f32.rows - 1) / leaf->f32.rows * (t.end_head - t.head);
    fetcher next = {.n_streams = 0};
    workspace w;

    if (number + omp_get_num_threads() < total) {
        soon = find_task(&me->ahead, sequences, number + omp_get_num_threads());
        next = plan_fetch(&soon, n_strips);
    }
    lay_out(&w, me->scratch, &leaf->f32, t.b->forward.d_head, t.b->forward.n_key);
    run_task(leaf, &w, &t, number, turns, &next);
}

void sondep_tiled_attend_backward(const sondep_leaf *leaf, const sondep_attention_backward *sequences, int64_t n,
                                  void *scratch)
{
    int64_t total = 0, d = 0, n_key = 0, pairs = 0;
    sondep_meeting meeting = SONDEP_MEETING;
    sondep_turns turns;
    size_t bytes;
    workspace w;

    for (int64_t i = 0; i < n; i++) {
        const sondep_attention *s = &sequences[i].forward;
        total += n_tasks(s);
        pairs += pairs_before(s, s->n_query) * s->n_heads * s->d_head;
        d = s->d_head > d ? s->d_head : d;
        n_key = s->n_key > n_key ? s->n_key : n_key;
    }
    bytes = lay_out(&w, NULL, &leaf->f32, d, n_key);
    sondep_begin_turns(&turns);
#pragma omp parallel num_threads(sonde_threads()) if (pairs > SONDEP_ALONE / 4)
    {
        worker me = {.scratch = (char *)scratch + (size_t)omp_get_thread_num() * bytes};
        for (int64_t number = sondep_take_turn(&turns); number < total; number = sondep_take_turn(&turns))
            take_task(leaf, &me, sequences, number, total, &turns);
        sondep_meet(&meeting);
    }
}
