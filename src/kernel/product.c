/* product.c - the product, cut into tiles.                                     floor 2: kernel
 *
 *            B (K, N)                    One thread takes a block of C, some strips of columns wide and all (or many)
 *         +--+--+--+----+                rows high. For each span of K it packs its piece of B once, into its own cache,
 *         |  |//|  |    | span of K      and runs every strip of A over it, a tile of C at a time, in depths of K that
 *         |  |//|  |    |                leave the strip's piece in the first cache. Sums gather in a buffer of the
 *         +--+--+--+----+                thread's, and after the last span go through the epilogue to C while they are
 *    +--+ +--+--+--+----+                still in the first cache.
 *    |//| |  |##|  |    | strip of A
 *    +--+ +--+--+--+----+                A is packed once, by all threads, before that. B is never copied as a whole.
 *    A     C
 *
 * The terms of an element are summed in the order of k within a depth, and the depths in their order; both depend on K
 * alone, so that no cut of M or N and no number of threads changes a bit.
 */
#include "kernel/leaf.h"
#include "kernel/meet.h"

#include <omp.h>

enum {
    DEPTH = 384,        /* of K in one run of a tile: a strip of A stays in the first cache */
    SPAN = 1024,        /* of K for which B is packed at a time: COLUMNS columns of it stay in the second cache */
    COLUMNS = 96,       /* of a block of C at most */
    NEAR_A = 96 << 10,  /* elements of A that stay in the second cache: then blocks of one strip do */
    TASK_ROWS = 2048,   /* rows times strips in a task at most: one piece of B is fetched while another is used */
    ROWS = 1024,        /* of A that are packed at a time */
    PACKED_A = 4 << 20, /* elements of A that are packed at a time, if that is fewer rows */
    SIDE_ROWS = 96,     /* of A that are packed side by side if they lie so, ... */
    SIDE_DEPTH = 16,    /* ... of K at a time (even: bf16 comes in pairs) */
    MOST_TILE = 512,    /* elements of a tile on any instruction set */
    FEW = 8,            /* rows up to which B is read where it lies */
    FEW_COLUMNS = 256   /* of a block of C then */
};

/* How one call is cut. */
typedef struct plan {
    const sondep_tiler *tiler;
    int64_t N, K;
    int64_t rows, n_strips_a;  /* of a chunk of A; strips of a chunk */
    int64_t n_depths, depth;   /* of K; K's of one (a multiple of k_step) */
    int64_t span;              /* depths in a span */
    int64_t columns, n_blocks; /* of a block of C; blocks side by side */
    int64_t group, n_bands;    /* blocks of a task; tasks above each other */
    int64_t n_tasks;
    size_t a_bytes, thread_bytes; /* of scratch */
    size_t b_bytes, sums_bytes;   /* the parts of thread_bytes: packed B; sums of a block, or of a strip if K is one span */
} plan;

/* How many steps of b cover a. */
static int64_t ceiling(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Bytes rounded up to a cache line, so that no two threads share one. */
static size_t aligned(int64_t bytes)
{
    return ((size_t)bytes + 63) & ~(size_t)63;
}

/* Rows of A in a chunk: all of them if they fit, else equal parts. */
static int64_t chunk_rows(int64_t M, int64_t K)
{
    int64_t most = PACKED_A / (K > 0 ? K : 1);

    most = most > ROWS ? ROWS : most < 64 ? 64 : most;
    return ceiling(M, ceiling(M, most));
}

/* All sizes of a product, from its shape alone: what the threads do follows from here, so bytes do not depend on them. */
static plan make_plan(const sondep_tiler *tiler, int64_t rows, int64_t N, int64_t K)
{
    plan p = {.tiler = tiler, .N = N, .K = K, .rows = rows};
    int64_t threads = sonde_threads(), strips = ceiling(N, tiler->columns), per_block;

    p.n_strips_a = ceiling(rows, tiler->rows);
    p.n_depths = K > DEPTH ? ceiling(K, DEPTH) : 1;
    p.depth = ceiling(ceiling(K, p.n_depths), tiler->k_step) * tiler->k_step;
    p.span = p.depth > SPAN || p.depth == 0 ? 1 : SPAN / p.depth;
    p.span = p.span > p.n_depths ? p.n_depths : p.span;
    per_block = rows * K <= NEAR_A ? 1 : COLUMNS / tiler->columns;
    per_block = per_block > strips / (4 * threads) ? strips / (4 * threads) : per_block;
    per_block = per_block < 1 ? 1 : per_block;
    p.columns = per_block * tiler->columns;
    p.n_blocks = ceiling(strips, per_block);
    p.group = ceiling(TASK_ROWS, rows * per_block);
    p.group = p.group > p.n_blocks / (4 * threads) ? p.n_blocks / (4 * threads) : p.group;
    p.group = p.group < 1 ? 1 : p.group;
    p.n_bands = ceiling(3 * threads, p.n_blocks); /* only where there are too few blocks for all threads */
    p.n_bands = p.n_blocks >= 2 * threads ? 1 : p.n_bands > p.n_strips_a ? p.n_strips_a : p.n_bands;
    p.n_tasks = ceiling(p.n_blocks, p.group) * p.n_bands;
    p.a_bytes = aligned(rows * p.n_depths * p.depth * tiler->element_bytes);
    p.b_bytes = aligned(p.columns * p.span * p.depth * tiler->element_bytes);
    p.sums_bytes = aligned((p.n_depths > p.span ? rows : tiler->rows) * p.columns * 4);
    p.thread_bytes = p.b_bytes + p.sums_bytes;
    return p;
}

/* First row of strip s: rows are dealt out evenly, so that no strip is much thinner than another. */
static int64_t strip_row(const plan *p, int64_t s)
{
    return s * p->rows / p->n_strips_a;
}

/* Where strip s of packed A begins, at a depth of K. */
static char *packed_strip(const plan *p, char *packed_a, int64_t s, int64_t depth)
{
    int64_t row = strip_row(p, s), rows = strip_row(p, s + 1) - row;
    return packed_a + (row * p->n_depths + depth * rows) * p->depth * p->tiler->element_bytes;
}

/* Depth of block d of K; the last may be shorter. */
static int64_t depth_of(const plan *p, int64_t d)
{
    int64_t rest = p->K - d * p->depth;
    return rest < p->depth ? rest : p->depth;
}

/* Packs one strip of A, all of K, in the order in which tiles read it. */
static void pack_strip(const plan *p, char *packed_a, const sondep_matrix *a, int64_t first_row, int64_t s)
{
    int64_t row = strip_row(p, s), rows = strip_row(p, s + 1) - row;

    for (int64_t d = 0; d < p->n_depths; d++) {
        p->tiler->pack_a(packed_strip(p, packed_a, s, d), a, first_row + row, d * p->depth, depth_of(p, d), (int)rows,
                         p->tiler->rounds);
    }
}

/* Strips of A that are packed side by side if its rows lie side by side: so many rows share lines of the cache. */
static int64_t strips_together(const plan *p)
{
    return SIDE_ROWS / p->tiler->rows > 0 ? SIDE_ROWS / p->tiler->rows : 1;
}

/* Packs one depth of some strips, a few k's at a time: those lines stay in the first cache until all strips have had their
 * part of them. (Lines of different k's are often a power of two apart, and then fall into few sets.) */
static void pack_side_by_side(const plan *p, char *packed_a, const sondep_matrix *a, int64_t first_row, int64_t group,
                              int64_t d)
{
    int64_t first = group * strips_together(p), end = first + strips_together(p), depth = depth_of(p, d);

    end = end < p->n_strips_a ? end : p->n_strips_a;
    for (int64_t k = 0; k < depth; k += SIDE_DEPTH) {
        int64_t n = depth - k < SIDE_DEPTH ? depth - k : SIDE_DEPTH;
        for (int64_t s = first; s < end; s++) {
            int64_t row = strip_row(p, s), rows = strip_row(p, s + 1) - row;
            p->tiler->pack_a(packed_strip(p, packed_a, s, d) + k * rows * p->tiler->element_bytes, a, first_row + row,
                             d * p->depth + k, n, (int)rows, p->tiler->rounds);
        }
    }
}

/* Parts in which A is packed: strips, or depths of groups of strips. */
static int64_t n_packs(const plan *p, const sondep_matrix *a)
{
    return a->row_stride == 1 && a->col_stride != 1 ? ceiling(p->n_strips_a, strips_together(p)) * p->n_depths
                                                    : p->n_strips_a;
}

static void pack_part(const plan *p, char *packed_a, const sondep_matrix *a, int64_t first_row, int64_t part)
{
    if (a->row_stride == 1 && a->col_stride != 1)
        pack_side_by_side(p, packed_a, a, first_row, part / p->n_depths, part % p->n_depths);
    else
        pack_strip(p, packed_a, a, first_row, part);
}

typedef struct job {
    const sondep_leaf *leaf;
    plan p;
    float *c;
    int64_t ldc, first_row;
    const sondep_matrix *b;
    const sondep_epilogue *epilogue;
    char *packed_a, *threads;
    bool is_bare;   /* nothing happens to the sums: tiles may write to C themselves */
    bool is_turned; /* A and B stand for each other's transposes: what comes out is C^T */
} job;

/* Where a thread keeps strip `at / t->columns` of depth d of its piece of B. */
static char *packed_piece(const plan *p, char *own, int64_t d, int64_t at)
{
    return own + (at * p->span + d % p->span * p->tiler->columns) * p->depth * p->tiler->element_bytes;
}

/* What of B is packed at a time: depths first to end of a block's columns. */
typedef struct piece {
    int64_t column, width, first, end;
} piece;

/* Packs a piece of B into the thread's own buffer, converted to what the tile multiplies. */
static void pack_piece(const job *w, char *own, const piece *x)
{
    const plan *p = &w->p;
    const sondep_tiler *t = p->tiler;

    for (int64_t j = 0; j < x->width; j += t->columns)
        for (int64_t d = x->first; d < x->end; d++)
            t->pack_b(packed_piece(p, own, d, j), w->b, d * p->depth, depth_of(p, d), x->column + j,
                      x->width - j < t->columns ? x->width - j : t->columns, t->rounds);
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
    int64_t k = next->first * w->p.depth, end = next->end * w->p.depth, size = w->b->dtype == SONDE_F32 ? 4 : 2;
    int64_t depth = (end < w->p.K ? end : w->p.K) - k;
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
    for (int64_t i = row; !w->is_turned && i < row + rows; i++)
        for (int64_t j = 0; j < columns; j += 16)
            __builtin_prefetch(w->c + (w->first_row + i) * w->ldc + column + j, 1);
}

/* The epilogue of one tile, to C; a tile of C^T is turned back first. */
static void finish_tile(const job *w, const float *sums, int64_t row, int64_t rows, int64_t column, int64_t columns)
{
    int64_t ld = w->p.tiler->columns;
    float turned[MOST_TILE];

    if (!w->is_turned) {
        w->leaf->finish(w->c, w->ldc, sums, ld, rows, columns, w->first_row + row, column, w->epilogue);
        return;
    }
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            turned[j * rows + i] = sums[i * ld + j];
    w->leaf->finish(w->c, w->ldc, turned, rows, columns, rows, column, w->first_row + row, w->epilogue);
}

/* One tile: strip s, depth d, columns j on of a piece; after the last depth, the epilogue. Sums lie tile by tile, unless they
 * are the result. */
static void run_tile(const job *w, char *own, const piece *x, int64_t s, int64_t d, int64_t j)
{
    const plan *p = &w->p;
    const sondep_tiler *t = p->tiler;
    int64_t row = strip_row(p, s), rows = strip_row(p, s + 1) - row, column = x->column + j;
    int64_t columns = x->width - j < t->columns ? x->width - j : t->columns, first = w->first_row + row;
    const char *a = packed_strip(p, w->packed_a, s, d), *b = packed_piece(p, own, d, j);
    float *sums = (float *)(own + p->b_bytes) + (p->n_depths > p->span ? row * p->columns : 0) + j * rows;

    /* Lines of C come while the tile is computed; a bare tile goes there at once. */
    if (d == p->n_depths - 1)
        fetch_tile(w, row, rows, column, columns);
    if (w->is_bare && !w->is_turned && p->n_depths == 1 && columns == t->columns) {
        t->tile(w->c + first * w->ldc + column, w->ldc, a, b, depth_of(p, d), (int)rows, false);
        return;
    }
    t->tile(sums, t->columns, a, b, depth_of(p, d), (int)rows, d > 0);
    if (d == p->n_depths - 1)
        finish_tile(w, sums, row, rows, column, columns);
}

/* One strip of A over a piece of B. */
static void run_strip(const job *w, char *own, const piece *x, int64_t s, fetcher *next)
{
    for (int64_t d = x->first; d < x->end; d++) {
        for (int64_t j = 0; j < x->width; j += w->p.tiler->columns) {
            fetch_runs(next);
            run_tile(w, own, x, s, d, j);
        }
    }
}

/* The piece that comes after x in a task whose blocks end before `end`; false behind the last. */
static bool next_piece(const plan *p, piece *x, int64_t end)
{
    x->first = x->end < p->n_depths ? x->end : 0;
    x->column += x->first == 0 ? p->columns : 0;
    x->width = p->N - x->column < p->columns ? p->N - x->column : p->columns;
    x->end = x->first + p->span < p->n_depths ? x->first + p->span : p->n_depths;
    return x->column < end && x->column < p->N;
}

/* A group of blocks of C, side by side. */
static void run_task(const job *w, int64_t task)
{
    const plan *p = &w->p;
    char *own = w->threads + (size_t)omp_get_thread_num() * p->thread_bytes;
    int64_t band = task % p->n_bands, column = task / p->n_bands * p->group * p->columns,
            end = column + p->group * p->columns;
    int64_t strip = band * p->n_strips_a / p->n_bands, n_strips = (band + 1) * p->n_strips_a / p->n_bands - strip;
    piece x = {column, 0, 0, p->n_depths}, next; /* as if behind the last piece of the block before */
    bool more;

    x.column -= p->columns;
    for (more = next_piece(p, &x, end); more; x = next) {
        fetcher f = {0};
        next = x;
        more = next_piece(p, &next, end);
        if (more)
            f = plan_fetch(w, &next, n_strips * ceiling(x.width, p->tiler->columns) * (x.end - x.first));
        pack_piece(w, own, &x);
        for (int64_t s = strip; s < strip + n_strips; s++)
            run_strip(w, own, &x, s, &f);
    }
}

/* Whether an epilogue leaves sums as they are. */
static bool is_bare(const sondep_epilogue *e)
{
    return e == NULL || (!e->bias && !e->pre && e->act == SONDEP_ACT_LINEAR && !e->gate && !e->residual);
}

/* Rows in chunks whose packed A fits the scratch; within one, tasks are columns, taken as threads come free. */
static void many_rows(const sondep_leaf *leaf, const sondep_tiler *tiler, float *c, int64_t ldc, const sondep_matrix *a,
                      const sondep_matrix *b, int64_t M, int64_t N, int64_t K, const sondep_epilogue *epilogue,
                      bool is_turned, char *scratch)
{
    int64_t chunk = chunk_rows(M, K);
    sondep_meeting meeting = SONDEP_MEETING;

#pragma omp parallel num_threads(sonde_threads()) if (M * N * K > SONDEP_ALONE)
    for (int64_t first = 0; first < M; first += chunk) {
        job w = {.leaf = leaf,
                 .p = make_plan(tiler, M - first < chunk ? M - first : chunk, N, K),
                 .c = c,
                 .ldc = ldc,
                 .first_row = first,
                 .b = b,
                 .epilogue = epilogue,
                 .packed_a = scratch,
                 .is_bare = is_bare(epilogue),
                 .is_turned = is_turned};
        w.threads = scratch + w.p.a_bytes;
#pragma omp for schedule(dynamic, 4) nowait
        for (int64_t part = 0; part < n_packs(&w.p, a); part++)
            pack_part(&w.p, w.packed_a, a, first, part);
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
static void few_columns(const sondep_leaf *leaf, float *sums, const float *rows, const sondep_matrix *b, const plan *p,
                        int64_t M, int64_t j, int64_t n)
{
    bool rounds = p->tiler->rounds;

    for (int64_t d = 0; d < p->n_depths; d++) {
        float *to = d == 0 ? sums : sums + M * n;
        (b->col_stride == 1 ? leaf->few_along_rows : leaf->few_along_columns)(to, rows, p->K, b, M, d * p->depth,
                                                                              depth_of(p, d), j, n, rounds);
        if (d > 0)
            leaf->add(sums, sums, to, M * n);
    }
}

/* Each thread reads columns of B where they lie, once, for all rows. */
static void few_rows(const sondep_leaf *leaf, const sondep_tiler *tiler, float *c, int64_t ldc, const sondep_matrix *a,
                     const sondep_matrix *b, int64_t M, int64_t N, int64_t K, const sondep_epilogue *epilogue, char *scratch)
{
    plan p = make_plan(tiler, M, N, K);
    int64_t width = b->col_stride == 1 ? FEW_COLUMNS : FEW_COLUMNS / 4;
    float *rows = (float *)scratch;
    char *threads = scratch + aligned(M * K * 4);
    sondep_meeting meeting = SONDEP_MEETING;

    for (int64_t m = 0; m < M; m++) /* a strip of one row is the row itself */
        leaf->f32.pack_a(rows + m * K, a, m, 0, K, 1, tiler->rounds);
#pragma omp parallel num_threads(sonde_threads()) if (M * N * K > SONDEP_ALONE)
    {
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t j = 0; j < N; j += width) {
            float *sums = (float *)(threads + (size_t)omp_get_thread_num() * aligned(2 * FEW * FEW_COLUMNS * 4));
            int64_t n = N - j < width ? N - j : width;
            few_columns(leaf, sums, rows, b, &p, M, j, n);
            leaf->finish(c, ldc, sums, n, M, n, 0, j, epilogue);
        }
        sondep_meet(&meeting);
    }
}

/* A sum over many tokens, as for the gradient of weights, has little output: packing A, which goes through memory, is what
 * costs, so that the smaller of the factors is taken for it. C^T = B^T A^T has the same terms in the same order. */
static bool is_better_turned(const sondep_matrix *a, const sondep_matrix *b, int64_t M, int64_t N)
{
    return a->row_stride == 1 && b->col_stride == 1 && b->dtype == SONDE_F32 && M > N;
}

void sondep_tiled_product(const sondep_leaf *leaf, float *c, int64_t ldc, const sondep_matrix *a, const sondep_matrix *b,
                          int64_t M, int64_t N, int64_t K, const sondep_epilogue *epilogue, sondep_precision precision,
                          void *scratch)
{
    const sondep_tiler *tiler = precision == SONDEP_BF16 ? &leaf->bf16 : &leaf->f32;
    sondep_matrix a_turned = {a->data, a->dtype, a->col_stride, a->row_stride};
    sondep_matrix b_turned = {b->data, b->dtype, b->col_stride, b->row_stride};

    if (M <= 0 || N <= 0)
        return;
    if (is_few(tiler, b, M, K))
        few_rows(leaf, tiler, c, ldc, a, b, M, N, K, epilogue, scratch);
    else if (is_better_turned(a, b, M, N))
        many_rows(leaf, tiler, c, ldc, &b_turned, &a_turned, N, M, K, epilogue, true, scratch);
    else
        many_rows(leaf, tiler, c, ldc, a, b, M, N, K, epilogue, false, scratch);
}

/* Packed A of a chunk, and each thread's own buffers. */
static size_t scratch_of(const sondep_tiler *tiler, int64_t M, int64_t N, int64_t K)
{
    plan p = make_plan(tiler, chunk_rows(M, K), N, K);
    return p.a_bytes + (size_t)sonde_threads() * p.thread_bytes;
}

size_t sondep_tiled_product_scratch_bytes(const sondep_leaf *leaf, int64_t M, int64_t N, int64_t K)
{
    size_t few = aligned((M < FEW ? M : FEW) * K * 4) + (size_t)sonde_threads() * aligned(2 * FEW * FEW_COLUMNS * 4);
    size_t most = few, n;

    for (int i = 0; i < 4 && M > 0 && N > 0; i++) { /* each precision, and turned, which the layout decides */
        const sondep_tiler *t = i % 2 ? &leaf->bf16 : &leaf->f32;
        n = i / 2 ? scratch_of(t, N, M, K) : scratch_of(t, M, N, K);
        most = n > most && (i < 2 || M > N) ? n : most;
    }
    return most;
}
