/* lm_batch.c - ids of contexts as rows of a pass.                              floor 6: train
 *
 * A pass takes sequences of any length side by side, without padding. So a document is a sequence of its own, whose positions
 * begin at 0 and whose attention ends where it begins: no mask is needed for documents not to see each other.
 */
#include "train/lm.h"

sonde_status sondep_lm_batch_make(sondep_lm_batch *out, int64_t n_rows, int64_t context)
{
    int64_t each = n_rows + 1;

    /* One block for the arrays of 8 bytes: five of ids, positions and places, one of losses. */
    *out = (sondep_lm_batch){.capacity = n_rows};
    SONDE_TRY(SONDE_NEW(out->context, context + 1));
    SONDE_TRY(SONDE_NEW(out->ids, 5 * each));
    SONDE_TRY(SONDE_NEW(out->loss, each));
    out->position = out->ids + each;
    out->target = out->position + each;
    out->offset = out->target + each;
    out->n_keys = out->offset + each;
    sondep_lm_batch_clear(out);
    return SONDE_OK;
}

void sondep_lm_batch_release(sondep_lm_batch *batch)
{
    sondep_free(batch->ids);
    sondep_free(batch->loss);
    sondep_free(batch->context);
    *batch = (sondep_lm_batch){0};
}

void sondep_lm_batch_clear(sondep_lm_batch *batch)
{
    /* Nothing of the last contexts is left: rows, sequences and lengths begin at 0. */
    batch->rows =
        (sondep_batch){.ids = batch->ids, .position = batch->position, .offset = batch->offset, .n_keys = batch->n_keys};
    batch->offset[0] = 0;
}

/* Ends the sequence that began at row `first`. */
static void end_sequence(sondep_lm_batch *batch, int64_t first)
{
    sondep_batch *rows = &batch->rows;
    int64_t length = rows->N - first;

    /* Without a cache a sequence sees as many keys as it has rows. */
    batch->n_keys[rows->B++] = length;
    batch->offset[rows->B] = rows->N;
    rows->T = length > rows->T ? length : rows->T;
    rows->most_keys = rows->T;
}

void sondep_lm_batch_add(sondep_lm_batch *batch, const int32_t *ids, int64_t n, int64_t separator)
{
    sondep_batch *rows = &batch->rows;
    int64_t first = rows->N;

    SONDE_ASSERT(rows->N + n <= batch->capacity);
    for (int64_t i = 0; i < n; i++) {
        /* A separator begins a sequence, unless it begins the context, too. */
        /* A separator begins a sequence; it is predicted by the last id of the one before it. */
        if (ids[i] == separator && rows->N > first) {
            end_sequence(batch, first);
            first = rows->N;
        }
        batch->ids[rows->N] = ids[i];
        batch->position[rows->N] = rows->N - first;
        batch->target[rows->N++] = ids[i + 1];
    }
    if (rows->N > first)
        end_sequence(batch, first);
}
