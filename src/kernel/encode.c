/* encode.c - an encoder whose pre-activations are never written.               floor 2: kernel
 *
 *              w^T (D, S)               A task takes a block of rows, which stays in the second cache, over a chunk of features:
 *         +----+----+----+----+         each finished tile is compared with what its rows have kept, and what is larger goes to
 *         |    | // |    |    |         their lists. Chunks come in the order of features, so that lists are in it too, and so
 *         +----+----+----+----+         does a block of rows: a task waits until the one before it in its rows has ended.
 *    +--+ +----+----+----+----+
 *    |//| |    | ## |    |    |         A chunk of w is packed by tasks that come one round before those that use it, into one
 *    +--+ +----+----+----+----+         of RING places: no thread waits for another in between, and w is packed once for all
 *    x     lists of the rows            rows, without room for more than three chunks, which lie in the third cache.
 *
 * Sums have the bits of sondep_product's (panels.h). AVX-512, two cores, 4096 x 768 x 24576, k 32: 86 % of the peak, of which
 * packing takes 1 and the selection 4; 4096 x 288 x 2304: 77 %. AVX2: 88 %.
 */
#include "kernel/meet.h"
#include "kernel/panels.h"

#include <math.h>
#include <omp.h>

enum {
    NEAR = 150 << 10,  /* elements of x in a block of rows: some 600 KB of the second cache */
    CHUNK = 768 << 10, /* elements of w that are packed together, ... */
    MOST_STRIPS = 64,  /* ... in so many strips at most, ... */
    PACK = 96 << 10,   /* ... by tasks of so many elements */
    RING = 3,          /* chunks that are there at a time: one in use, one ready, one for those who are behind */
    BLOCKS_EACH = 3,   /* blocks of rows for a thread at least, if there are so many strips */
    LEAST_SPARE = 32,  /* pairs beyond k on a row's list before it is cut: 2 k of them, within these bounds */
    MOST_SPARE = 1024,
    MOST_WIDTH = 16 /* numbers in a vector: lists are read in whole ones */
};

/* How one chunk of rows is encoded. */
typedef struct plan {
    panels a;
    int64_t S;
    int64_t n_blocks;                         /* of rows */
    int64_t n_strips, chunk_strips, n_chunks; /* of features; of a chunk */
    int64_t pack_strips, n_packs;             /* of a task that packs; such tasks for a chunk */
    int64_t most, room;                       /* pairs on a row's list before it is cut; room for them */
    size_t a_bytes, chunk_bytes, kept_bytes, index_bytes, sums_bytes, thread_bytes; /* of scratch */
} plan;

/* All sizes, from the shape and the number of threads. */
static plan make_plan(const sondep_tiler *tiler, int64_t rows, int64_t S, int64_t D, int64_t k)
{
    plan p = {.a = make_panels(tiler, rows, D), .S = S};
    int64_t padded = p.a.n_depths * p.a.depth, strip = (padded > 0 ? padded : 1) * tiler->columns;
    int64_t near = between(NEAR / ((padded > 0 ? padded : 1) * tiler->rows), 1, p.a.n_strips);

    p.n_blocks = between(ceiling(p.a.n_strips, near), between(BLOCKS_EACH * sonde_threads(), 1, p.a.n_strips), p.a.n_strips);
    p.n_strips = ceiling(S, tiler->columns);
    p.chunk_strips = between(CHUNK / strip, 1, MOST_STRIPS);
    p.n_chunks = p.n_strips > 0 ? ceiling(p.n_strips, p.chunk_strips) : 1;
    p.pack_strips = between(PACK / strip, 1, p.chunk_strips);
    p.n_packs = ceiling(p.chunk_strips, p.pack_strips);
    p.most = k + between(2 * k, LEAST_SPARE, MOST_SPARE);
    p.most = p.most < S ? p.most : S;
    p.room = p.most + tiler->columns + MOST_WIDTH;
    p.a_bytes = aligned(rows * padded * tiler->element_bytes);
    p.chunk_bytes = aligned(p.chunk_strips * tiler->columns * padded * tiler->element_bytes);
    p.kept_bytes = aligned(rows * (int64_t)sizeof(sondep_kept));
    p.index_bytes = aligned(rows * p.room * 4);
    p.sums_bytes = aligned(ceiling(p.a.n_strips, p.n_blocks) * tiler->rows * tiler->columns * 4);
    p.thread_bytes = p.sums_bytes + aligned(p.room * 4);
    return p;
}

/* Bytes of scratch for one chunk of rows. */
static size_t bytes_of(const plan *p)
{
    return p->a_bytes + RING * p->chunk_bytes + p->kept_bytes + 2 * p->index_bytes +
           (size_t)sonde_threads() * p->thread_bytes;
}

/* One chunk of rows, from first_row on. */
typedef struct job {
    const sondep_leaf *leaf;
    plan p;
    const sondep_codes *out;
    int64_t *found;
    sondep_matrix x, w; /* w as (D, S) */
    const float *b;
    const sondep_selection *selection;
    int64_t first_row;
    char *packed_a, *ring, *threads;
    sondep_kept *kept;
    int32_t *index; /* (rows, room) */
    float *value;
    sondep_turns turns;
} job;

/* Shares out the scratch. */
static void lay_out(job *w, char *at)
{
    const plan *p = &w->p;

    w->packed_a = at;
    w->ring = w->packed_a + p->a_bytes;
    w->kept = (sondep_kept *)(w->ring + RING * p->chunk_bytes);
    w->index = (int32_t *)((char *)w->kept + p->kept_bytes);
    w->value = (float *)((char *)w->index + p->index_bytes);
    w->threads = (char *)w->value + p->index_bytes;
}

/* Where strip j of a chunk lies at depth d: depths of a strip lie behind each other. */
static char *packed_feature_strip(const job *w, int64_t chunk, int64_t j, int64_t d)
{
    const panels *a = &w->p.a;
    int64_t at = (j * a->n_depths + d) * a->tiler->columns * a->depth;
    return w->ring + (size_t)(chunk % RING) * w->p.chunk_bytes + at * a->tiler->element_bytes;
}

/* Features of strip j of a chunk. */
static int64_t strip_columns(const plan *p, int64_t chunk, int64_t j)
{
    int64_t left = p->S - (chunk * p->chunk_strips + j) * p->a.tiler->columns;
    return left < p->a.tiler->columns ? left : p->a.tiler->columns;
}

/* Strips of a chunk; the last may have fewer. */
static int64_t strips_of(const plan *p, int64_t chunk)
{
    return between(p->n_strips - chunk * p->chunk_strips, 0, p->chunk_strips);
}

/* One task's share of a chunk of w. */
static void pack_features(const job *w, int64_t chunk, int64_t part)
{
    const plan *p = &w->p;
    const sondep_tiler *t = p->a.tiler;
    int64_t first = part * p->pack_strips, end = first + p->pack_strips;

    end = end < strips_of(p, chunk) ? end : strips_of(p, chunk);
    for (int64_t j = first; j < end; j++)
        for (int64_t d = 0; d < p->a.n_depths; d++)
            t->pack_b(packed_feature_strip(w, chunk, j, d), &w->w, d * p->a.depth, depth_of(&p->a, d),
                      (chunk * p->chunk_strips + j) * t->columns, strip_columns(p, chunk, j), t->rounds);
}

/* A block of rows over one depth of a strip of features, which stays in the first cache. (Packed strips lie behind each other:
 * the processor fetches the next one by itself.) Behind the last depth, rows keep what they may of each tile. */
static void run_strip(const job *w, float *sums, float *keys, int64_t first, int64_t end, int64_t chunk, int64_t j,
                      int64_t d)
{
    const plan *p = &w->p;
    const panels *a = &p->a;
    const char *b = packed_feature_strip(w, chunk, j, d);
    int64_t feature = (chunk * p->chunk_strips + j) * a->tiler->columns, columns = strip_columns(p, chunk, j);
    int64_t depth = depth_of(a, d), step = a->n_depths > 1 ? a->tiler->rows * a->tiler->columns : 0;

    for (int64_t s = first; s < end; s++, sums += step) {
        int64_t row = strip_row(a, s), rows = strip_row(a, s + 1) - row;
        a->tiler->tile(sums, a->tiler->columns, packed_strip(a, w->packed_a, s, d), b, depth, (int)rows, d > 0);
        if (d == a->n_depths - 1)
            w->leaf->select_tile(w->kept + row, keys, sums, rows, columns, feature, w->b, w->selection, p->most,
                                 w->found != NULL);
    }
}

/* Strips first to end of x over a chunk of features. */
static void run_block(const job *w, int64_t chunk, int64_t first, int64_t end)
{
    const plan *p = &w->p;
    char *own = w->threads + (size_t)omp_get_thread_num() * p->thread_bytes;
    float *sums = (float *)own, *keys = (float *)(own + p->sums_bytes);
    int64_t n_strips = strips_of(p, chunk);

    for (int64_t j = 0; j < n_strips; j++)
        for (int64_t d = 0; d < p->a.n_depths; d++)
            run_strip(w, sums, keys, first, end, chunk, j, d);
}

/* Rows first to end have kept nothing. */
static void begin_rows(const job *w, int64_t first, int64_t end)
{
    for (int64_t i = first; i < end; i++)
        w->kept[i] = (sondep_kept){w->index + i * w->p.room, w->value + i * w->p.room, 0, 0, -INFINITY, false};
}

/* Their lists become codes. */
static void end_rows(const job *w, int64_t first, int64_t end)
{
    char *own = w->threads + (size_t)omp_get_thread_num() * w->p.thread_bytes;

    for (int64_t i = first; i < end; i++) {
        sondep_kept *row = &w->kept[i];
        int64_t n = w->first_row + i, at = n * w->out->capacity;
        if (row->n > w->selection->k)
            w->leaf->cut_kept(row, (float *)(own + w->p.sums_bytes), w->selection);
        memcpy(w->out->index + at, row->index, (size_t)row->n * sizeof *row->index);
        memcpy(w->out->value + at, row->value, (size_t)row->n * sizeof *row->value);
        w->out->count[n] = row->n;
        if (w->found)
            w->found[n] = row->has_nan ? -1 : row->found;
    }
}

/* ---- tasks ------------------------------------------------------------------------------------------------------------------------- */

/* Round r packs chunk r, and has all blocks use chunk r - 1. Returns when tasks `first` to `end` of a round have ended. */
static void await_tasks(job *w, int64_t round, int64_t first, int64_t end)
{
    for (int64_t i = first; i < end && round >= 0; i++)
        sondep_await_turn(&w->turns, round * (w->p.n_packs + w->p.n_blocks) + i);
}

/* The place of a chunk is free when all blocks have used the one that was there before. */
static void pack_task(job *w, int64_t chunk, int64_t part)
{
    if (chunk >= w->p.n_chunks)
        return;
    await_tasks(w, chunk - RING + 1, w->p.n_packs, w->p.n_packs + w->p.n_blocks);
    pack_features(w, chunk, part);
}

/* A block goes over a chunk when it is packed, and the block has done the one before. */
static void block_task(job *w, int64_t chunk, int64_t block)
{
    const plan *p = &w->p;
    int64_t first = block * p->a.n_strips / p->n_blocks, end = (block + 1) * p->a.n_strips / p->n_blocks;

    if (chunk < 0)
        return;
    await_tasks(w, chunk, 0, p->n_packs);
    await_tasks(w, chunk, p->n_packs + block, p->n_packs + block + 1);
    if (chunk == 0)
        begin_rows(w, strip_row(&p->a, first), strip_row(&p->a, end));
    run_block(w, chunk, first, end);
    if (chunk == p->n_chunks - 1)
        end_rows(w, strip_row(&p->a, first), strip_row(&p->a, end));
}

/* Tasks are taken in order; each waits for earlier ones alone. */
static void run_tasks(job *w)
{
    int64_t each = w->p.n_packs + w->p.n_blocks, n_tasks = (w->p.n_chunks + 1) * each, task;

    while ((task = sondep_take_turn(&w->turns)) < n_tasks) {
        if (task % each < w->p.n_packs)
            pack_task(w, task / each, task % each);
        else
            block_task(w, task / each - 1, task % each - w->p.n_packs);
        sondep_end_turn(&w->turns, task);
    }
}

/* x is packed by all threads, then come the rounds. */
static void run(job *w)
{
    sondep_meeting meeting = SONDEP_MEETING;

    sondep_begin_turns(&w->turns);
#pragma omp parallel num_threads(sonde_threads()) if (w->p.a.rows * w->p.S * w->p.a.K > SONDEP_ALONE)
    {
#pragma omp for schedule(dynamic, 4) nowait
        for (int64_t s = 0; s < w->p.a.n_strips; s++)
            pack_strip(&w->p.a, w->packed_a, &w->x, w->first_row, s);
        sondep_meet(&meeting);
        run_tasks(w);
        sondep_meet(&meeting);
    }
}

void sondep_tiled_encode(const sondep_leaf *leaf, const sondep_codes *out, int64_t *found, const float *x, int64_t ld_x,
                         const float *w, const float *b, const sondep_selection *selection, int64_t N, int64_t S, int64_t D,
                         sondep_precision precision, void *scratch)
{
    int64_t chunk = N > 0 ? chunk_rows(N, D) : 1;
    const sondep_tiler *tiler = precision == SONDEP_BF16 ? &leaf->bf16 : &leaf->f32;
    job j = {.leaf = leaf,
             .out = out,
             .found = found,
             .x = {x, SONDE_F32, ld_x, 1},
             .w = {w, SONDE_F32, 1, D},
             .b = b,
             .selection = selection};

    for (j.first_row = 0; j.first_row < N; j.first_row += chunk) {
        j.p = make_plan(tiler, N - j.first_row < chunk ? N - j.first_row : chunk, S, D, selection->k);
        lay_out(&j, scratch);
        run(&j);
    }
}

/* Of the largest chunk of rows, or the last, in either precision. */
size_t sondep_tiled_encode_scratch_bytes(const sondep_leaf *leaf, int64_t N, int64_t S, int64_t D, int64_t k)
{
    int64_t chunk = N > 0 ? chunk_rows(N, D) : 1;
    size_t most = 64;

    for (int i = 0; i < 4; i++) {
        int64_t rows = i % 2 && N % chunk > 0 ? N % chunk : chunk;
        plan p = make_plan(i < 2 ? &leaf->f32 : &leaf->bf16, rows, S, D, k);
        most = bytes_of(&p) > most ? bytes_of(&p) : most;
    }
    return most;
}
