/* layer/layer.h - the layers of a transformer as forward/backward pairs.         floor 4: layer
 *
 * Linear layers, and the unembedding with its loss, are made of products here; the pairs of the other layers are operations
 * of kernel.h by themselves: sondep_norm and sondep_norm_backward, sondep_activate and sondep_activate_backward,
 * sondep_attend and sondep_attend_backward, sondep_rotate (whose backward turns by the negative angle), sondep_gather_rows
 * and sondep_scatter_add_rows. Gradients of weights lie as the weights do and are added to; N is a number of rows of tokens.
 */
#ifndef SONDEP_LAYER_H
#define SONDEP_LAYER_H

#include "kernel/kernel.h"

/* Gain and bias of a normalisation (D); b NULL for RMSNorm. */
typedef struct sondep_norm_weights {
    const float *w, *b;
} sondep_norm_weights;

/* y = x W + b */
typedef struct sondep_linear {
    sondep_matrix w; /* (n_in, n_out) */
    const float *b;  /* (n_out) or NULL */
    int64_t n_in, n_out;
} sondep_linear;

/* What a layer computes in: the precision of its products, and scratch as large as the layer's *_scratch_bytes says. */
typedef struct sondep_workbench {
    sondep_precision precision;
    void *scratch;
} sondep_workbench;

/* Columns [first, first + n) of a linear layer, sharing its memory. */
sondep_linear sondep_linear_columns(const sondep_linear *whole, int64_t first, int64_t n);

/* out (N,n_out) = in W + b, and what else the epilogue says (its bias is ignored: the layer's own is taken). */
void sondep_linear_forward(float *out, int64_t ld_out, const float *in, int64_t ld_in, const sondep_linear *l, int64_t N,
                           sondep_epilogue epilogue, const sondep_workbench *bench);

/* dx (N,n_in) = dy W^T, or += with `adds`. */
void sondep_linear_backward_input(float *dx, int64_t ld_dx, const float *dy, int64_t ld_dy, const sondep_linear *l,
                                  int64_t N, bool adds, const sondep_workbench *bench);

/* dw += x^T dy and db += sum_rows dy. dw has the layout of l->w; db is NULL where the layer has no bias. */
void sondep_linear_backward_weights(float *dw, float *db, const float *dy, int64_t ld_dy, const float *x, int64_t ld_x,
                                    const sondep_linear *l, int64_t N, const sondep_workbench *bench);

/* Scratch for all three of a layer. */
size_t sondep_linear_scratch_bytes(int64_t n_in, int64_t n_out, int64_t N);

/* ---- unembedding and loss ------------------------------------------------------------------------------------------------ */

/* Rows of logits that are held at a time, where they are only read (51 MB for GPT-2's vocabulary), and where their gradients
 * take their place, are read twice, and should be in the third cache by then. */
enum { SONDEP_LOGITS_BLOCK = 256, SONDEP_OBJECTIVE_BLOCK = 126 };

/* Turns logits (n_rows, V) of rows first_row .. into the gradients of an objective by them, in place. */
typedef sonde_status sondep_objective_fn(float *logits, int64_t first_row, int64_t n_rows, int64_t V, void *ctx);

/* logits = y W, the objective, and backward through W, by blocks of rows, so that (N,V) is never held:
 *   dy (N,D) = dlogits W^T, written whole;   dw += y^T dlogits   (dw NULL: not wanted)
 * logits  (min(N, SONDEP_OBJECTIVE_BLOCK), V)  room for a block. Errors: what the objective returned. */
sonde_status sondep_unembed_backward(float *dy, float *dw, const float *y, const sondep_linear *unembed, int64_t N,
                                     float *logits, sondep_objective_fn *objective, void *ctx,
                                     const sondep_workbench *bench);
size_t sondep_unembed_backward_scratch_bytes(int64_t D, int64_t V, int64_t N);

/* The objective of language models: the mean over `n_counted` targets of the cross-entropy.
 * target (N): the id that row n should predict, -1: the row does not count; loss (N) receives each row's. */
typedef struct sondep_prediction {
    const int64_t *target;
    double *loss;
    int64_t n_counted;
} sondep_prediction;
sonde_status sondep_prediction_objective(float *logits, int64_t first_row, int64_t n_rows, int64_t V, void *ctx);

#endif
