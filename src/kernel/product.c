/* product.c - the product, cut into tiles.                                     floor 2: kernel
 *
 *            B (K, N)                    A task is a block of C. It goes over its rows a block of A at a time, over K in
 *         +--+--+--+----+                depths, and over its strips of B: the strip stays in the first cache while the
 *         |  |//|  |    | depth of K     block of A, which stays in the second, runs over it, a tile of C at a time.
 *         +--+--+--+----+
 *    +--+ +--+--+--+----+                A is packed by all threads before that. So is B if it is small; else each task
 *    |//| |  |##|  |    | strip of A     packs the piece that it is about to use, so that B is never copied as a whole.
 *    +--+ +--+--+--+----+
 *    A     C                             Tiles go to C themselves where nothing happens to the sums, or where they are
 *                                        added to C; else they gather in a buffer of the thread's, and go through the
 *                                        epilogue to C behind the last depth.
 *
 * The terms of an element are summed in the order of k within a depth, and the depths in their order; both depend on K
 * alone, so that no cut of M or N and no number of threads changes a bit.
 */
#include "kernel/meet.h"
#include "kernel/panels.h"

#include <omp.h>

enum {
    SPAN = 4 * DEPTH,    /* of K for which a task packs its piece of B at a time */
    DIRECT = 8 * DEPTH,  /* of K in a product whose tiles go to C themselves; a longer one is several, added up */
    COLUMNS = 96,        /* of a block of C at most, where a task packs B itself */
    LEAST_STRIPS = 3,    /* of such a block, if there are enough */
    NEAR_A = 48 << 10,   /* elements of A that stay in the second cache while strips of B pass */
    SMALL_B = 1 << 20,   /* elements of B that are packed as a whole */
    TASK_ROWS = 2048,    /* rows times strips in a task at most: one piece of B is fetched while another is used */
    TASKS_EACH = 3,      /* tasks for a thread at least, so that one that is held up leaves its share to the others, ... */
    MOST_EACH = 24,      /* ... and at most, ... */
    TASK_WORK = 8 << 20, /* ... each of so many multiply-adds: 0.1 to 0.2 ms */
    SIDE_ROWS = 96,      /* of A that are packed side by side if they lie so, ... */
    SIDE_DEPTH = 8,      /* ... of K at a time (even: bf16 comes in pairs) */
    FEW = 8,             /* rows up to which B is read where it lies */
    FEW_COLUMNS = 256    /* of a block of C then */
};

/* How one call is cut. */
typedef struct plan {
    panels a; /* a chunk of A */
    int64_t N;
    int64_t n_near;            /* strips of a block of A */
    int64_t span;              /* depths in a span: all of them where B is packed as a whole */
    int64_t columns, n_blocks; /* of a block of C; blocks side by side */
    int64_t group, n_bands;    /* blocks of a task; tasks above each other */
    int64_t n_tasks;
    bool is_b_whole;                       /* B is packed as a whole, before the tasks */
    size_t a_bytes, b_bytes, thread_bytes; /* of scratch: packed A, packed B, a thread's own */
    size_t piece_bytes;                    /* the part of thread_bytes that holds packed B; sums follow */
} plan;

/* Tasks of a product whose B is packed as a whole: blocks of A over all of B, in fewer columns if they are few. */
static void cut_whole(plan *p, int64_t n_strips, int64_t tasks)
{
    p->span = p->a.n_depths;
    p->n_bands = ceiling(p->a.n_strips, p->n_near);
    p->n_blocks = between(ceiling(tasks, p->n_bands), 1, n_strips);
    p->columns = ceiling(n_strips, p->n_blocks) * p->a.tiler->columns;
    p->n_blocks = ceiling(p->N, p->columns);
    p->n_bands = between(ceiling(tasks, p->n_blocks), p->n_bands, p->a.n_strips);
    p->group = 1;
}

/* Tasks that pack their own pieces of B: blocks of columns over all of A, which is read anew for each of them; over bands of
 * it, each of which packs B anew, only if there are too few blocks for all threads. */
static void cut_pieces(plan *p, int64_t n_strips, int64_t tasks)
{
    int64_t least_tasks = TASKS_EACH * sonde_threads(), least = between(n_strips / least_tasks, 1, LEAST_STRIPS);

    p->span = between(p->a.depth > 0 ? SPAN / p->a.depth : 1, 1, p->a.n_depths);
    p->columns = between(n_strips / tasks, least, COLUMNS / p->a.tiler->columns) * p->a.tiler->columns;
    p->n_blocks = ceiling(p->N, p->columns);
    p->group = between(ceiling(TASK_ROWS * p->a.tiler->columns, p->a.rows * p->columns), 1, 1 + p->n_blocks / tasks);
    p->n_bands = p->n_blocks >= least_tasks ? 1 : between(ceiling(least_tasks, p->n_blocks), 1, p->a.n_strips);
}

/* All sizes of a product, from its shape alone. */
static plan make_plan(const sondep_tiler *tiler, int64_t rows, int64_t N, int64_t K)
{
    plan p = {.a = make_panels(tiler, rows, K), .N = N};
    int64_t n_strips = ceiling(N, tiler->columns), threads = sonde_threads(), padded, sums;
    int64_t tasks =
        between((int64_t)((double)rows * (double)N * (double)K / TASK_WORK), TASKS_EACH * threads, MOST_EACH * threads);

    p.n_near = between(NEAR_A / ((p.a.depth > 0 ? p.a.depth : 1) * tiler->rows), 1, p.a.n_strips);
    padded = p.a.n_depths * p.a.depth;
    p.is_b_whole = n_strips * tiler->columns * padded <= SMALL_B && p.a.n_strips > p.n_near;
    (p.is_b_whole ? cut_whole : cut_pieces)(&p, n_strips, tasks);
    p.n_tasks = ceiling(p.n_blocks, p.group) * p.n_bands;
    p.a_bytes = aligned(rows * padded * tiler->element_bytes);
    p.b_bytes = p.is_b_whole ? aligned(n_strips * tiler->columns * padded * tiler->element_bytes) : 0;
    p.piece_bytes = p.is_b_whole ? 0 : aligned(p.columns * p.span * p.a.depth * tiler->element_bytes);
    sums = p.a.n_depths == 1 ? tiler->rows * tiler->columns
                             : (p.span < p.a.n_depths ? rows : p.n_near * tiler->rows) * p.columns;
    p.thread_bytes = p.piece_bytes + aligned(sums * 4);
    return p;
}

/* Strips of A that are packed side by side if its rows lie side by side: so many rows share lines of the cache. */
static int64_t strips_together(const plan *p)
{
    return SIDE_ROWS / p->a.tiler->rows > 0 ? SIDE_ROWS / p->a.tiler->rows : 1;
}

/* Packs one depth of some strips, a few k's at a time: those lines stay in the first cache until all strips have had their
 * part of them. (Lines of different k's are often a power of two apart, and then all fall into one set, of eight.) */
static void pack_side_by_side(const plan *p, char *packed_a, const sondep_matrix *a, int64_t first_row, int64_t group,
                              int64_t d)
{
    int64_t first = group * strips_together(p), end = first + strips_together(p), depth = depth_of(&p->a, d);

    end = end < p->a.n_strips ? end : p->a.n_strips;
    for (int64_t k = 0; k < depth; k += SIDE_DEPTH) {
        int64_t n = depth - k < SIDE_DEPTH ? depth - k : SIDE_DEPTH;
        for (int64_t s = first; s < end; s++) {
            int64_t row = strip_row(&p->a, s), rows = strip_row(&p->a, s + 1) - row;
            p->a.tiler->pack_a(packed_strip(&p->a, packed_a, s, d) + k * rows * p->a.tiler->element_bytes, a,
                               first_row + row, d * p->a.depth + k, n, (int)rows, p->a.tiler->rounds);
        }
    }
}

/* Parts in which A is packed: strips, or depths of groups of strips. */
static int64_t n_packs(const plan *p, const sondep_matrix *a)
{
    return a->row_stride == 1 && a->col_stride != 1 ? ceiling(p->a.n_strips, strips_together(p)) * p->a.n_depths
                                                    : p->a.n_strips;
}

static void pack_part(const plan *p, char *packed_a, const sondep_matrix *a, int64_t first_row, int64_t part)
{
    if (a->row_stride == 1 && a->col_stride != 1)
        pack_side_by_side(p, packed_a, a, first_row, part / p->a.n_depths, part % p->a.n_depths);
    else
        pack_strip(&p->a, packed_a, a, first_row, part);
}

typedef struct job {
    const sondep_leaf *leaf;
    plan p;
    float *c;
    int64_t ldc, first_row;
    const sondep_matrix *b;
    const sondep_epilogue *epilogue;
    char *packed_a, *packed_b, *threads;
    bool is_direct; /* tiles go to C themselves, or are added to it: nothing else happens to them */
    bool adds;      /* ... the first depth too */
} job;

/* Where strip `at / columns of a tile` of packed B lies at depth d of a span. */
static char *packed_piece(const plan *p, char *packed_b, int64_t d, int64_t at)
{
    return packed_b + (at * p->span + d % p->span * p->a.tiler->columns) * p->a.depth * p->a.tiler->element_bytes;
}

/* What of B is packed at a time: depths first to end of a block's columns. */
typedef struct piece {
    int64_t column, width, first, end;
} piece;

/* Packs a piece of B, converted to what the tile multiplies. */
static void pack_piece(const job *w, char *to, const piece *x)
{
    const plan *p = &w->p;
    const sondep_tiler *t = p->a.tiler;

    for (int64_t j = 0; j < x->width; j += t->columns)
        for (int64_t d = x->first; d < x->end; d++)
            t->pack_b(packed_piece(p, to, d, j), w->b, d * p->a.depth, depth_of(&p->a, d), x->column + j,
                      x->width - j < t->columns ? x->width - j : t->columns, t->rounds);
}

/* One strip of a B that is packed as a whole. */
static void pack_strip_of_b(const job *w, int64_t strip)
{
    int64_t columns = w->p.a.tiler->columns, first = strip * columns;
    piece x = {first, w->p.N - first < columns ? w->p.N - first : columns, 0, w->p.a.n_depths};

    pack_piece(w, packed_piece(&w->p, w->packed_b, 0, first), &x);
}

/* The next piece of B is on its way to the second cache while this one is used: some runs of it before each tile. */
typedef struct fetcher {
    const char *run;        /* elements that lie together */
    int64_t bytes, stride;  /* of a run; to the next one */
    int64_t n_runs, n_each; /* left; before each tile */
} fetcher;

/* Shares out the next piece over the tiles of this one, so that it is in the cache when its turn comes. */
static fetcher plan_fetch(const job *w, const piece *next, int64_t n_tiles)
{
    int64_t k = next->first * w->p.a.depth, end = next->end * w->p.a.depth, size = w->b->dtype == SONDE_F32 ? 4 : 2;
    int64_t depth = (end < w->p.a.K ? end : w->p.a.K) - k;
    const char *at = (const char *)w->b->data + (k * w->b->row_stride + next->column * w->b->col_stride) * size;
    fetcher f = {at, next->width * size, w->b->row_stride * size, depth, 0};

    if (w->b->col_stride != 1)
        f = (fetcher){at, depth * size, w->b->col_stride * size, w->b->row_stride == 1 ? next->width : 0, 0};
    f.n_each = ceiling(f.n_runs, n_tiles);
    return f;
}

/* Asks for as much of it as one tile's share. */
static void fetch_runs(fetcher *f)
{
    for (int64_t i = 0; i < f->n_each && f->n_runs > 0; i++, f->n_runs--, f->run += f->stride)
        for (int64_t at = 0; at < f->bytes; at += 64)
            __builtin_prefetch(f->run + at, 0, 2);
}

/* Has the lines of C on their way while the tile is computed. */
static void fetch_tile(const job *w, int64_t row, int64_t rows, int64_t column, int64_t columns)
{
    for (int64_t i = row; i < row + rows; i++)
        for (int64_t j = 0; j < columns; j += 16)
            __builtin_prefetch(w->c + (w->first_row + i) * w->ldc + column + j, 1);
}

/* A tile that goes to C, at each depth: at once if C has room for a whole one, as it lies. */
static void run_direct(const job *w, float *sums, const char *a, const char *b, int64_t depth, int64_t row, int64_t rows,
                       int64_t column, int64_t columns, bool adds)
{
    const sondep_tiler *t = w->p.a.tiler;
    sondep_epilogue onto = {.residual = adds ? w->c : NULL, .ld_residual = w->ldc};

    if (columns == t->columns) {
        t->tile(w->c + (w->first_row + row) * w->ldc + column, w->ldc, a, b, depth, (int)rows, adds);
        return;
    }
    t->tile(sums, t->columns, a, b, depth, (int)rows, false);
    w->leaf->finish(w->c, w->ldc, sums, t->columns, rows, columns, w->first_row + row, column, &onto);
}

/* One tile: strip s, depth d, columns j on of a piece; behind the last depth, the epilogue. Sums lie tile by tile, from those
 * of row `base` on. */
static void run_tile(const job *w, float *sums, int64_t base, const char *b, const piece *x, int64_t s, int64_t d, int64_t j)
{
    const plan *p = &w->p;
    const sondep_tiler *t = p->a.tiler;
    int64_t row = strip_row(&p->a, s), rows = strip_row(&p->a, s + 1) - row, column = x->column + j;
    int64_t columns = x->width - j < t->columns ? x->width - j : t->columns, depth = depth_of(&p->a, d);
    const char *a = packed_strip(&p->a, w->packed_a, s, d);

    if (d == (w->is_direct ? 0 : p->a.n_depths - 1))
        fetch_tile(w, row, rows, column, columns);
    if (w->is_direct) {
        run_direct(w, sums, a, b, depth, row, rows, column, columns, d > 0 || w->adds);
        return;
    }
    if (p->a.n_depths > 1)
        sums += (row - base) * p->columns + j * rows;
    t->tile(sums, t->columns, a, b, depth, (int)rows, d > 0);
    if (d == p->a.n_depths - 1)
        w->leaf->finish(w->c, w->ldc, sums, t->columns, rows, columns, w->first_row + row, column, w->epilogue);
}

/* A block of A, strips first to end, over a piece of B: each strip of B stays in the first cache while all of A's pass. */
static void run_block(const job *w, float *sums, char *packed_b, const piece *x, int64_t first, int64_t end, fetcher *next)
{
    const plan *p = &w->p;
    int64_t base = p->span < p->a.n_depths ? 0 : strip_row(&p->a, first);

    for (int64_t d = x->first; d < x->end; d++) {
        for (int64_t j = 0; j < x->width; j += p->a.tiler->columns) {
            const char *b = packed_piece(p, packed_b, d, j);
            for (int64_t s = first; s < end; s++) {
                fetch_runs(next);
                run_tile(w, sums, base, b, x, s, d, j);
            }
        }
    }
}

/* The piece that comes after x in a task whose blocks end before `end`; false behind the last. */
static bool next_piece(const plan *p, piece *x, int64_t end)
{
    x->first = x->end < p->a.n_depths ? x->end : 0;
    x->column += x->first == 0 ? p->columns : 0;
    x->width = p->N - x->column < p->columns ? p->N - x->column : p->columns;
    x->end = x->first + p->span < p->a.n_depths ? x->first + p->span : p->a.n_depths;
    return x->column < end && x->column < p->N;
}

/* A group of blocks of C, side by side. */
static void run_task(const job *w, int64_t task)
{
    const plan *p = &w->p;
    char *own = w->threads + (size_t)omp_get_thread_num() * p->thread_bytes;
    float *sums = (float *)(own + p->piece_bytes);
    int64_t band = task % p->n_bands, column = task / p->n_bands * p->group * p->columns,
            end = column + p->group * p->columns;
    int64_t strip = band * p->a.n_strips / p->n_bands, end_strip = (band + 1) * p->a.n_strips / p->n_bands;
    piece x = {column, 0, 0, p->a.n_depths}, next; /* as if behind the last piece of the block before */
    bool more;

    x.column -= p->columns;
    for (more = next_piece(p, &x, end); more; x = next) {
        char *b = p->is_b_whole ? packed_piece(p, w->packed_b, 0, x.column) : own;
        fetcher f = {0};
        next = x;
        more = next_piece(p, &next, end);
        if (more && !p->is_b_whole)
            f = plan_fetch(w, &next, (end_strip - strip) * ceiling(x.width, p->a.tiler->columns) * (x.end - x.first));
        if (!p->is_b_whole)
            pack_piece(w, b, &x);
        for (int64_t s = strip; s < end_strip; s += p->n_near)
            run_block(w, sums, b, &x, s, s + p->n_near < end_strip ? s + p->n_near : end_strip, &f);
    }
}

/* One product of many rows, as it was asked for. */
typedef struct call {
    const sondep_leaf *leaf;
    const sondep_tiler *tiler;
    float *c;
    int64_t ldc;
    sondep_matrix a, b;
    int64_t M, N, K;
    const sondep_epilogue *epilogue;
    bool is_direct, adds;
    char *scratch;
} call;

/* What threads share of the scratch, for rows from first_row on. */
static job make_job(const call *x, int64_t first_row, int64_t rows)
{
    job w = {.leaf = x->leaf,
             .p = make_plan(x->tiler, rows, x->N, x->K),
             .c = x->c,
             .ldc = x->ldc,
             .first_row = first_row,
             .b = &x->b,
             .epilogue = x->epilogue,
             .packed_a = x->scratch,
             .is_direct = x->is_direct,
             .adds = x->adds};

    w.packed_b = w.packed_a + w.p.a_bytes;
    w.threads = w.packed_b + w.p.b_bytes;
    return w;
}

/* Rows in chunks whose packed A fits the scratch; within one, tasks are taken as threads come free. */
static void many_rows(const call *x)
{
    int64_t chunk = chunk_rows(x->M, x->K);
    sondep_meeting meeting = SONDEP_MEETING;

#pragma omp parallel num_threads(sonde_threads()) if (x->M * x->N * x->K > SONDEP_ALONE)
    for (int64_t first = 0; first < x->M; first += chunk) {
        job w = make_job(x, first, x->M - first < chunk ? x->M - first : chunk);
        int64_t n_packs_a = n_packs(&w.p, &x->a), n_packs_b = w.p.is_b_whole ? ceiling(x->N, w.p.a.tiler->columns) : 0;
#pragma omp for schedule(dynamic, 4) nowait
        for (int64_t part = 0; part < n_packs_a + n_packs_b; part++) {
            if (part < n_packs_b)
                pack_strip_of_b(&w, part);
            else
                pack_part(&w.p, w.packed_a, &x->a, first, part - n_packs_b);
        }
        sondep_meet(&meeting);
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t task = 0; task < w.p.n_tasks; task++)
            run_task(&w, task);
        sondep_meet(&meeting);
    }
}

/* ---- a few rows: the time is that of reading B once -------------------------------------------------------------------- */

/* Few rows: packing B would cost more than multiplying. Tiles of pairs (bf16) sum in an order of their own, which reading B
 * where it lies would not have: a row's bits should not depend on how many rows there are. */
static bool is_few(const sondep_tiler *tiler, const sondep_matrix *b, int64_t M, int64_t K)
{
    return K > 0 && M <= FEW && tiler->element_bytes == 4 && (b->col_stride == 1 || b->row_stride == 1);
}

/* n columns of the product from j on, depth by depth, as tiles sum them. `sums` has room for two blocks of n columns. */
static void few_columns(const call *x, float *sums, const float *rows, const plan *p, int64_t j, int64_t n)
{
    const sondep_leaf *leaf = x->leaf;
    sondep_epilogue onto = {.residual = x->c, .ld_residual = x->ldc};

    for (int64_t d = 0; d < p->a.n_depths; d++) {
        float *to = d == 0 || x->adds ? sums : sums + x->M * n;
        (x->b.col_stride == 1 ? leaf->few_along_rows : leaf->few_along_columns)(
            to, rows, p->a.K, &x->b, x->M, d * p->a.depth, depth_of(&p->a, d), j, n, p->a.tiler->rounds);
        if (x->adds)
            leaf->finish(x->c, x->ldc, sums, n, x->M, n, 0, j, &onto);
        else if (d > 0)
            leaf->add(sums, sums, to, x->M * n);
    }
    if (!x->adds)
        leaf->finish(x->c, x->ldc, sums, n, x->M, n, 0, j, x->epilogue);
}

/* Each thread reads columns of B where they lie, once, for all rows. */
static void few_rows(const call *x)
{
    plan p = make_plan(x->tiler, x->M, x->N, x->K);
    int64_t width = x->b.col_stride == 1 ? FEW_COLUMNS : FEW_COLUMNS / 4;
    float *rows = (float *)x->scratch;
    char *threads = x->scratch + aligned(x->M * x->K * 4);
    sondep_meeting meeting = SONDEP_MEETING;

    for (int64_t m = 0; m < x->M; m++) /* a strip of one row is the row itself */
        x->leaf->f32.pack_a(rows + m * x->K, &x->a, m, 0, x->K, 1, x->tiler->rounds);
#pragma omp parallel num_threads(sonde_threads()) if (x->M * x->N * x->K > SONDEP_ALONE)
    {
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t j = 0; j < x->N; j += width) {
            float *sums = (float *)(threads + (size_t)omp_get_thread_num() * aligned(2 * FEW * FEW_COLUMNS * 4));
            few_columns(x, sums, rows, &p, j, x->N - j < width ? x->N - j : width);
        }
        sondep_meet(&meeting);
    }
}

/* ---- which way ---------------------------------------------------------------------------------------------------------- */

/* Whether nothing happens to the sums. */
static bool is_bare(const sondep_epilogue *e)
{
    return e == NULL || (!e->bias && !e->pre && e->act == SONDEP_ACT_LINEAR && !e->gate && !e->residual);
}

/* Whether they are added to what C holds, and nothing else. */
static bool is_added(const sondep_epilogue *e, const float *c, int64_t ldc)
{
    return e && !e->bias && !e->pre && e->act == SONDEP_ACT_LINEAR && !e->gate && e->residual == c && e->ld_residual == ldc;
}

static void run(const call *x)
{
    if (is_few(x->tiler, &x->b, x->M, x->K))
        few_rows(x);
    else
        many_rows(x);
}

/* K's from k on, as far as one product of tiles goes that write to C themselves. */
static call part_of(const call *x, int64_t k)
{
    call part = *x;

    part.a.data = (const char *)x->a.data + k * x->a.col_stride * (int64_t)sonde_dtype_bytes(x->a.dtype);
    part.b.data = (const char *)x->b.data + k * x->b.row_stride * (int64_t)sonde_dtype_bytes(x->b.dtype);
    part.K = x->K - k < DIRECT ? x->K - k : DIRECT;
    part.adds = x->adds || k > 0;
    return part;
}

void sondep_tiled_product(const sondep_leaf *leaf, float *c, int64_t ldc, const sondep_matrix *a, const sondep_matrix *b,
                          int64_t M, int64_t N, int64_t K, const sondep_epilogue *epilogue, sondep_precision precision,
                          void *scratch)
{
    call x = {
        leaf, precision == SONDEP_BF16 ? &leaf->bf16 : &leaf->f32, c, ldc, *a, *b, M, N, K, epilogue, .scratch = scratch};

    if (M <= 0 || N <= 0)
        return;
    x.adds = is_added(epilogue, c, ldc);
    x.is_direct = x.adds || is_bare(epilogue);
    if (!x.is_direct || K == 0) {
        run(&x);
        return;
    }
    for (int64_t k = 0; k < K; k += DIRECT) {
        call part = part_of(&x, k);
        run(&part);
    }
}

/* Packed factors of a chunk, and each thread's own buffers. */
static size_t scratch_of(const sondep_tiler *tiler, int64_t M, int64_t N, int64_t K)
{
    int64_t chunk = chunk_rows(M, K), last = M % chunk;
    size_t most = 0;

    for (int i = 0; i < 2; i++) {
        plan p = make_plan(tiler, i && last > 0 ? last : chunk, N, K);
        size_t n = p.a_bytes + p.b_bytes + (size_t)sonde_threads() * p.thread_bytes;
        most = n > most ? n : most;
    }
    return most;
}

size_t sondep_tiled_product_scratch_bytes(const sondep_leaf *leaf, int64_t M, int64_t N, int64_t K)
{
    /* All of K at once, or in parts, of which the last may be smaller. */
    int64_t depths[] = {K, K < DIRECT ? K : DIRECT, K % DIRECT};
    size_t most = aligned((M < FEW ? M : FEW) * K * 4) + (size_t)sonde_threads() * aligned(2 * FEW * FEW_COLUMNS * 4), n;

    for (int i = 0; i < 6 && M > 0 && N > 0; i++) { /* in each precision */
        n = scratch_of(i % 2 ? &leaf->bf16 : &leaf->f32, M, N, depths[i / 2]);
        most = n > most ? n : most;
    }
    return most;
}
