/* model/backward_points.h - gradients of hook points, for those that listen.   floor 5: model */
#ifndef SONDEP_BACKWARD_POINTS_H
#define SONDEP_BACKWARD_POINTS_H

#include "model/backward.h"

/* Whether anybody reads the gradient of a point; false if the model lacks it. */
bool sondep_gradient_wanted(const sondep_backward *b, sondep_point_kind kind, int64_t layer);

/* Whether nobody reads at this point or before it, weights neither: the walk may end here. `kind` is one that every model has. */
bool sondep_gradients_finished(const sondep_backward *b, sondep_point_kind kind, int64_t layer);

/* Whether a patch replaced the tensor of a point. */
bool sondep_gradient_ends(const sondep_backward *b, sondep_point_kind kind, int64_t layer);

/* Floats of the buffers that only hooks need. */
typedef struct sondep_gradient_sizes {
    int64_t inner, scale, scores;
} sondep_gradient_sizes;
sondep_gradient_sizes sondep_gradient_points_sizes(const sondep_backward *b);

/* Hands rows of a gradient to whoever reads it, checked to be finite first. */
sonde_status sondep_show_gradient(const sondep_backward *b, sondep_point_kind kind, int64_t layer, float *data, int64_t ld,
                                  int64_t width);

/* Makes rows 0 where the point's tensor was replaced: what stood there before did not matter. */
void sondep_stop_gradient(const sondep_backward *b, sondep_point_kind kind, int64_t layer, float *data, int64_t ld,
                          int64_t width);

/* Both: what goes on from a point. */
sonde_status sondep_fire_gradient(const sondep_backward *b, sondep_point_kind kind, int64_t layer, float *data, int64_t ld,
                                  int64_t width);

/* Inside a norm of x, whose gradient by its output is dy (which is 0 behind the call if the normalised rows were replaced):   dnormalized = dy w;   dscale = -sum_d dnormalized_d normalized_d / scale */
sonde_status sondep_fire_norm_gradients(const sondep_backward *b, sondep_point_kind scale_kind,
                                        sondep_point_kind normalized_kind, int64_t layer, const sondep_norm_weights *w,
                                        const float *x);

/* Of patterns and scores, from dz:   dpattern = dz v^T (of all keys);   dscores = pattern (dpattern - sum_j pattern_j dpattern_j) */
sonde_status sondep_fire_score_gradients(const sondep_backward *b, int64_t layer);

/* Of hook_result: each head's output is a summand of what attention adds to the stream, so its gradient dout for each. */
sonde_status sondep_fire_result_gradient(const sondep_backward *b, int64_t layer, const float *dout);

/* Of hook_q_input, hook_k_input, hook_v_input and hook_attn_in: each head's part of the way back through the first norm. */
sonde_status sondep_fire_input_gradients(const sondep_backward *b, int64_t layer);

/* Of the logits, all rows at once, which it leaves in b->logits. pass->y holds the normalised rows. */
sonde_status sondep_fire_logit_gradient(const sondep_backward *b);

#endif
