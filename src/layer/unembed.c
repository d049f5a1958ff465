/* unembed.c - the unembedding with its loss, forward and backward, by blocks.  floor 4: layer
 *
 * The logits of a block of rows are computed, turned into their gradients where they lie, and used up by two products,
 * before the next block takes their place. The products go over a part of the vocabulary at a time: what the first has read
 * from memory is still in the cache for the second, which reads it the other way.
 */
#include "layer/layer.h"

enum { PART = 2048 }; /* of the vocabulary: 1 MB of a block */

sonde_status sondep_unembed_backward(float *dy, float *dw, const float *y, const sondep_linear *unembed, int64_t N,
                                     float *logits, sondep_objective_fn *objective, void *ctx, const sondep_workbench *bench)
{
    int64_t D = unembed->n_in, V = unembed->n_out;

    for (int64_t first = 0; first < N; first += SONDEP_OBJECTIVE_BLOCK) {
        int64_t n = N - first < SONDEP_OBJECTIVE_BLOCK ? N - first : SONDEP_OBJECTIVE_BLOCK;
        const float *in = y + first * D;

        sondep_linear_forward(logits, V, in, D, unembed, n, (sondep_epilogue){0}, bench);
        SONDE_TRY(objective(logits, first, n, V, ctx));
        /* From here on the block holds gradients. */
        for (int64_t v = 0; v < V; v += PART) {
            sondep_linear part = sondep_linear_columns(unembed, v, V - v < PART ? V - v : PART);
            sondep_linear_backward_input(dy + first * D, D, logits + v, V, &part, n, v > 0, bench);
            if (dw)
                sondep_linear_backward_weights(dw + v * unembed->w.col_stride, NULL, logits + v, V, in, D, &part, n, bench);
        }
    }
    return SONDE_OK;
}

size_t sondep_unembed_backward_scratch_bytes(int64_t D, int64_t V, int64_t N)
{
    int64_t rows[] = {N < SONDEP_OBJECTIVE_BLOCK ? N : SONDEP_OBJECTIVE_BLOCK, N % SONDEP_OBJECTIVE_BLOCK};
    int64_t widths[] = {V, V < PART ? V : PART, V % PART};
    size_t most = 0, n;

    for (int i = 0; i < 6; i++) {
        n = sondep_linear_scratch_bytes(D, widths[i % 3], rows[i / 3]);
        most = n > most ? n : most;
    }
    return most;
}

sonde_status sondep_prediction_objective(float *logits, int64_t first_row, int64_t n_rows, int64_t V, void *ctx)
{
    const sondep_prediction *p = ctx;

    /* The weight makes a mean of the sum; a step without targets has none. */
    sondep_cross_entropy(p->loss + first_row, logits, V, p->target + first_row,
                         p->n_counted > 0 ? 1.0f / (float)p->n_counted : 0.0f, true, n_rows, V);
    return SONDE_OK;
}
