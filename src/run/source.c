/* source.c - rows in a shuffled order, some of them held at a time.             floor 6: run
 *
 *   epoch   all pieces, permuted                             piece 7 | piece 2 | piece 9 | piece 0 | ...
 *   chunk   as many of them as fit, their rows permuted      [ 7  2  9 ] [ 0 ...
 *
 * Both orders are computed from the seed, the epoch and the chunk alone, so that row i is found without those before it.
 */
#include "run/run.h"

struct sonde_source {
    sonde_source_parts parts; /* lists of its own */
    char **hooks;
    int64_t *n_rows, *widths;
    int64_t most_rows, rows; /* that are held; of an epoch */
    uint64_t seed;

    int64_t epoch;  /* whose chunks are known; -1: none */
    int64_t *order; /* (n_pieces) pieces of the epoch */
    int64_t n_chunks;
    int64_t *first_piece, *first_row; /* (n_pieces + 1) of each chunk */
    int64_t chunk;                    /* that is held; -1: none */
    float **held;                     /* (n_hooks) */
};

/* Streams of random numbers that nothing else takes. */
static const uint64_t PIECES = 0x706965636573u, ROWS = 0x726f7773u; /* "pieces", "rows" */

/* ---- life ------------------------------------------------------------------------------------------------------------------ */

/* Copies of the lists. */
static sonde_status copy_parts(sonde_source *s, const sonde_source_parts *parts)
{
    s->parts = *parts;
    s->parts.release = NULL;
    SONDE_TRY(SONDE_NEW(s->n_rows, parts->n_pieces));
    SONDE_TRY(SONDE_NEW(s->widths, parts->n_hooks));
    SONDE_TRY(SONDE_NEW(s->hooks, parts->n_hooks));
    memcpy(s->n_rows, parts->n_rows, (size_t)parts->n_pieces * sizeof *s->n_rows);
    memcpy(s->widths, parts->widths, (size_t)parts->n_hooks * sizeof *s->widths);
    for (int64_t h = 0; h < parts->n_hooks; h++)
        SONDE_TRY(sondep_copy_string(&s->hooks[h], parts->hooks[h]));
    return SONDE_OK;
}

/* All rows, each piece of which must fit. */
static sonde_status count_rows(sonde_source *s)
{
    for (int64_t i = 0; i < s->parts.n_pieces; i++) {
        if (s->n_rows[i] > s->most_rows)
            return SONDE_FAIL(SONDE_E_RANGE, "piece %lld has %lld rows, %lld are held", (long long)i,
                              (long long)s->n_rows[i], (long long)s->most_rows);
        s->rows += s->n_rows[i];
    }
    /* Fewer than there is room for need no more. */
    s->most_rows = s->rows < s->most_rows ? s->rows : s->most_rows;
    return s->rows > 0 ? SONDE_OK : SONDE_FAIL(SONDE_E_RANGE, "there are no rows of activations");
}

/* Orders, and the rows that are held. */
static sonde_status make_room(sonde_source *s)
{
    int64_t n;

    SONDE_TRY(SONDE_NEW(s->order, s->parts.n_pieces));
    SONDE_TRY(SONDE_NEW(s->first_piece, s->parts.n_pieces + 1));
    SONDE_TRY(SONDE_NEW(s->first_row, s->parts.n_pieces + 1));
    SONDE_TRY(SONDE_NEW(s->held, s->parts.n_hooks));
    for (int64_t h = 0; h < s->parts.n_hooks; h++) {
        SONDE_TRY(sondep_mul_i64(&n, s->most_rows, s->widths[h], "rows that are held"));
        SONDE_TRY(SONDE_NEW(s->held[h], n));
    }
    return SONDE_OK;
}

/* ctx is taken over at the very end, so that a failure leaves it to the caller. */
sonde_status sonde_source_new(sonde_source **out, const sonde_source_parts *parts, int64_t most_rows, uint64_t seed)
{
    sonde_source *s = NULL;
    sonde_status status;

    *out = NULL;
    SONDE_TRY_DONE(SONDE_NEW(s, 1));
    s->most_rows = most_rows;
    s->seed = seed;
    s->epoch = s->chunk = -1;
    SONDE_TRY_DONE(copy_parts(s, parts));
    SONDE_TRY_DONE(count_rows(s));
    SONDE_TRY_DONE(make_room(s));
    s->parts.release = parts->release;
    *out = s;
    s = NULL;
done:
    sonde_source_free(s);
    return status;
}

/* Parts that are not there yet are fine. */
void sonde_source_free(sonde_source *s)
{
    if (s == NULL)
        return;
    for (int64_t h = 0; h < s->parts.n_hooks; h++) {
        if (s->hooks != NULL)
            sondep_free(s->hooks[h]);
        if (s->held != NULL)
            sondep_free(s->held[h]);
    }
    if (s->parts.release != NULL)
        s->parts.release(s->parts.ctx);
    sondep_free(s->hooks);
    sondep_free(s->held);
    sondep_free(s->n_rows);
    sondep_free(s->widths);
    sondep_free(s->order);
    sondep_free(s->first_piece);
    sondep_free(s->first_row);
    sondep_free(s);
}

int64_t sonde_source_n_rows(const sonde_source *source)
{
    return source->rows;
}

int64_t sonde_source_n_hooks(const sonde_source *source)
{
    return source->parts.n_hooks;
}

const char *sonde_source_hook(const sonde_source *source, int64_t hook)
{
    return source->hooks[hook];
}

int64_t sonde_source_width(const sonde_source *source, int64_t hook)
{
    return source->widths[hook];
}

/* FNV-1a over numbers. */
uint64_t sonde_source_hash(const sonde_source *s)
{
    uint64_t hash = s->parts.hash ^ s->seed;

    /* what decides the order besides: how many rows are held, and those of each piece */
    hash = (hash ^ (uint64_t)s->most_rows) * 0x100000001b3u;
    for (int64_t i = 0; i < s->parts.n_pieces; i++)
        hash = (hash ^ (uint64_t)s->n_rows[i]) * 0x100000001b3u;
    return hash;
}

/* ---- orders --------------------------------------------------------------------------------------------------------------- */

/* The pieces of an epoch, and where its chunks begin. */
static void begin_epoch(sonde_source *s, int64_t epoch)
{
    int64_t held = 0, row = 0;

    s->epoch = epoch;
    s->chunk = -1;
    s->n_chunks = 0;
    for (int64_t i = 0; i < s->parts.n_pieces; i++) {
        int64_t piece = s->order[i] = sondep_permute(i, s->parts.n_pieces, s->seed, PIECES ^ (uint64_t)epoch),
                n = s->n_rows[piece];
        if (i == 0 || held + n > s->most_rows) {
            s->first_piece[s->n_chunks] = i;
            s->first_row[s->n_chunks++] = row;
            held = 0;
        }
        held += n;
        row += n;
    }
    s->first_piece[s->n_chunks] = s->parts.n_pieces;
    s->first_row[s->n_chunks] = row;
}

/* The chunk of a row of the epoch. */
static int64_t chunk_of(const sonde_source *s, int64_t row)
{
    int64_t low = 0, high = s->n_chunks - 1;

    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2;
        if (s->first_row[middle] <= row)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* Holds a chunk. */
static sonde_status hold(sonde_source *s, int64_t chunk)
{
    int64_t first = s->first_piece[chunk];

    /* most steps stay in the chunk that is there */
    if (s->chunk == chunk)
        return SONDE_OK;
    s->chunk = -1;
    SONDE_TRY(s->parts.fill(s->held, s->order + first, s->first_piece[chunk + 1] - first, s->parts.ctx));
    s->chunk = chunk;
    return SONDE_OK;
}

/* Rows `from` .. `from` + n of the order within the chunk that is held, to row `to` on of what is asked for. */
static void copy_rows(const sonde_source *s, float *const *out, int64_t to, int64_t from, int64_t n)
{
    int64_t rows = s->first_row[s->chunk + 1] - s->first_row[s->chunk];
    uint64_t stream = ROWS ^ (uint64_t)s->epoch << 32 ^ (uint64_t)s->chunk << 1;

#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        int64_t row = sondep_permute(from + i, rows, s->seed, stream);
        for (int64_t h = 0; h < s->parts.n_hooks; h++)
            if (out[h] != NULL)
                memcpy(out[h] + (to + i) * s->widths[h], s->held[h] + row * s->widths[h],
                       (size_t)s->widths[h] * sizeof(float));
    }
}

/* Piece by piece where the rows go over the end of a chunk, or of an epoch. */
sonde_status sonde_source_get(sonde_source *s, float *const *out, int64_t first, int64_t n)
{
    for (int64_t to = 0; to < n;) {
        int64_t epoch = (first + to) / s->rows, row = (first + to) % s->rows, chunk, left;
        if (epoch != s->epoch)
            begin_epoch(s, epoch);
        chunk = chunk_of(s, row);
        SONDE_TRY(hold(s, chunk));
        left = s->first_row[chunk + 1] - row;
        left = left < n - to ? left : n - to;
        copy_rows(s, out, to, row - s->first_row[chunk], left);
        to += left;
    }
    return SONDE_OK;
}
