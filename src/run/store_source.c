/* store_source.c - shuffled rows of a store.                                    floor 6: run
 *
 * A piece is some rows that follow each other in a shard: read from the disk together, and far from each other once the rows of a
 * chunk are shuffled. Pieces are counted shard by shard, so that none reaches over the end of a file.
 */
#include "run/store.h"

enum { MOST_ROWS = 1 << 18, PIECE = 256 };

typedef struct reading {
    const sonde_store *store;
    int64_t n_hooks, *hooks;           /* of the store */
    int64_t *piece_first, *piece_rows; /* (n_pieces) */
    int64_t n_pieces;
} reading;

/* As a stream holds rows. */
void sonde_store_opts_init(sonde_store_opts *out)
{
    *out = (sonde_store_opts){.struct_size = sizeof *out, .most_rows = MOST_ROWS, .piece = PIECE};
}

/* Frees what was made. */
static void reading_free(void *ctx)
{
    reading *r = ctx;

    sondep_free(r->hooks);
    sondep_free(r->piece_first);
    sondep_free(r->piece_rows);
    sondep_free(r);
}

/* Rows of n pieces: of each hook, pieces side by side on all threads. */
static sonde_status fill(float *const *out, const int64_t *pieces, int64_t n, void *ctx)
{
    const reading *r = ctx;
    int64_t *to = NULL, row = 0, failed = -1;
    sonde_status status;

    SONDE_TRY(SONDE_NEW(to, n));
    /* where each piece goes; all are asked for before the first is waited for */
    for (int64_t i = 0; i < n; i++) {
        to[i] = row;
        row += r->piece_rows[pieces[i]];
        for (int64_t h = 0; h < r->n_hooks; h++)
            sondep_store_want(r->store, r->hooks[h], r->piece_first[pieces[i]], r->piece_rows[pieces[i]]);
    }
#pragma omp parallel for num_threads(sonde_threads()) schedule(static) collapse(2) reduction(max : failed)
    for (int64_t h = 0; h < r->n_hooks; h++)
        for (int64_t i = 0; i < n; i++) {
            float *rows = out[h] + to[i] * sonde_store_width(r->store, r->hooks[h]);
            if (sonde_store_read(rows, r->store, r->hooks[h], r->piece_first[pieces[i]], r->piece_rows[pieces[i]]) !=
                SONDE_OK)
                failed = h * n + i;
        }
    /* again on this thread, whose error it becomes */
    status = failed < 0
                 ? SONDE_OK
                 : sonde_store_read(out[failed / n] + to[failed % n] * sonde_store_width(r->store, r->hooks[failed / n]),
                                    r->store, r->hooks[failed / n], r->piece_first[pieces[failed % n]],
                                    r->piece_rows[pieces[failed % n]]);
    sondep_free(to);
    sondep_store_forget(r->store);
    return status;
}

/* Pieces of all shards; with `r->piece_first` NULL they are only counted. */
static void cut_pieces(reading *r, const int64_t *first_row, int64_t n_shards, int64_t most)
{
    r->n_pieces = 0;
    for (int64_t s = 0; s < n_shards; s++)
        for (int64_t row = first_row[s]; row < first_row[s + 1]; row += most, r->n_pieces++) {
            int64_t left = first_row[s + 1] - row;
            if (r->piece_first == NULL)
                continue;
            r->piece_first[r->n_pieces] = row;
            r->piece_rows[r->n_pieces] = left < most ? left : most;
        }
}

/* Over the defaults. */
static sonde_status read_opts(sonde_store_opts *out, const sonde_store_opts *opts)
{
    sonde_store_opts_init(out);
    SONDE_TRY(sondep_opts_read(out, sizeof *out, opts, "the struct of a store's options"));
    if (out->most_rows < 0 || out->piece < 0)
        return SONDE_FAIL(SONDE_E_ARG, "options of a store below 0: most_rows %lld, piece %lld", (long long)out->most_rows,
                          (long long)out->piece);
    out->most_rows = out->most_rows > 0 ? out->most_rows : MOST_ROWS;
    out->piece = out->piece > 0 ? out->piece : PIECE;
    out->piece = out->piece < out->most_rows ? out->piece : out->most_rows;
    return SONDE_OK;
}

/* Hooks and pieces of a reading that is zero. */
static sonde_status reading_make(reading *r, const char **names, int64_t *widths, const char *const *hooks, int64_t most)
{
    int64_t n_shards;
    const int64_t *first_row = sondep_store_shards(r->store, &n_shards);

    /* hooks in the order in which they are asked for */
    SONDE_TRY(SONDE_NEW(r->hooks, r->n_hooks));
    for (int64_t i = 0; i < r->n_hooks; i++) {
        SONDE_TRY(sonde_store_find_hook(&r->hooks[i], r->store, hooks[i]));
        names[i] = sonde_store_hook(r->store, r->hooks[i]);
        widths[i] = sonde_store_width(r->store, r->hooks[i]);
    }
    /* counted, then listed */
    cut_pieces(r, first_row, n_shards, most);
    SONDE_TRY(SONDE_NEW(r->piece_rows, r->n_pieces));
    SONDE_TRY(SONDE_NEW(r->piece_first, r->n_pieces));
    cut_pieces(r, first_row, n_shards, most);
    return SONDE_OK;
}

sonde_status sonde_source_store(sonde_source **out, const sonde_store *store, const char *const *hooks, int64_t n_hooks,
                                const sonde_store_opts *opts)
{
    sonde_store_opts o;
    sonde_source_parts parts;
    const char **names = NULL;
    int64_t *widths = NULL;
    reading *r = NULL;
    sonde_status status;

    *out = NULL;
    SONDE_TRY(read_opts(&o, opts));
    SONDE_TRY_DONE(SONDE_NEW(names, n_hooks));
    SONDE_TRY_DONE(SONDE_NEW(widths, n_hooks));
    SONDE_TRY_DONE(SONDE_NEW(r, 1));
    r->store = store;
    r->n_hooks = n_hooks;
    SONDE_TRY_DONE(reading_make(r, names, widths, hooks, o.piece));
    /* all but the order of rows is said; that is made by the source */
    parts = (sonde_source_parts){.n_pieces = r->n_pieces,
                                 .n_rows = r->piece_rows,
                                 .n_hooks = n_hooks,
                                 .hooks = names,
                                 .widths = widths,
                                 .hash = sonde_store_hash(store),
                                 .fill = fill,
                                 .release = reading_free,
                                 .ctx = r};
    SONDE_TRY_DONE(sonde_source_new(out, &parts, o.most_rows, o.seed));
    /* it is the source's now */
    r = NULL;
done:
    if (r != NULL)
        reading_free(r);
    sondep_free((void *)names);
    sondep_free(widths);
    return status;
}
