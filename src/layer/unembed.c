/* unembed.c - the unembedding with its loss, forward and backward, by blocks.  floor 4: layer
 *
 * The logits of a block of rows are computed, turned into their gradients where they lie, and used up by two products,
 * before the next block takes their place.
 */
#include "layer/layer.h"

sonde_status sondep_unembed_backward(float *dy, float *dw, const float *y, const sondep_linear *unembed, int64_t N,
                                     float *logits, sondep_objective_fn *objective, void *ctx, const sondep_workbench *bench)
{
    int64_t D = unembed->n_in, V = unembed->n_out;

    for (int64_t first = 0; first < N; first += SONDEP_LOGITS_BLOCK) {
        int64_t n = N - first < SONDEP_LOGITS_BLOCK ? N - first : SONDEP_LOGITS_BLOCK;

        sondep_linear_forward(logits, V, y + first * D, D, unembed, n, (sondep_epilogue){0}, bench);
        SONDE_TRY(objective(logits, first, n, V, ctx));
        /* From here on the block holds gradients. */
        sondep_linear_backward_input(dy + first * D, D, logits, V, unembed, n, false, bench);
        if (dw)
            sondep_linear_backward_weights(dw, NULL, logits, V, y + first * D, D, unembed, n, bench);
    }
    return SONDE_OK;
}

sonde_status sondep_prediction_objective(float *logits, int64_t first_row, int64_t n_rows, int64_t V, void *ctx)
{
    const sondep_prediction *p = ctx;

    /* The weight makes a mean of the sum; a step without targets has none. */
    sondep_cross_entropy(p->loss + first_row, logits, V, p->target + first_row,
                         p->n_counted > 0 ? 1.0f / (float)p->n_counted : 0.0f, true, n_rows, V);
    return SONDE_OK;
}
