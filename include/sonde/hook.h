/* sonde/hook.h - hook points, patterns that name them, what a hook may do.     floor 4: hook
 *
 * A hook point is a place in a model's forward pass that has a name (TransformerLens's: `blocks.3.mlp.hook_post`) and a
 * shape. A pattern names some of them. This module knows names only: which points a model has, the model says.
 */
#ifndef SONDE_HOOK_H
#define SONDE_HOOK_H

#include <sonde/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One hook point of a model. Letters of `axes`: B batch, T position, D d_model, H heads, K key/value heads, h head width,
 * M MLP width, V vocabulary, 1 an axis of length one; attention scores and patterns are "BHTT" (query, key). */
typedef struct sonde_hook_point {
    const char *name; /* borrows from the model */
    const char *axes;
    int64_t width[SONDE_MAX_RANK]; /* length of each axis; 0 for those that depend on the input (B and T) */
    int rank;
    int layer;             /* -1 outside the blocks */
    bool fires_by_default; /* false: only where a pattern names it (`hook_result`, `hook_q_input`, ...) */
} sonde_hook_point;

/* Neurons of a point: the numbers that it has for each position, all heads together; of attention scores and patterns, whose rows
 * are keys, the heads. Owns: nothing. Errors: none. */
SONDE_API int64_t sonde_hook_n_neurons(const sonde_hook_point *point);

/* What is given to a hook together with the tensor. */
typedef struct sonde_hook_event {
    const sonde_hook_point *point;
    int64_t n_sequences, n_positions; /* B and T of this pass */
    const int64_t *lengths;           /* (B) real tokens of each sequence; the rest of its row is padding */
    const int64_t *first_positions;   /* (B) position of column 0 in each sequence: > 0 while generating with a cache */
} sonde_hook_event;

typedef enum sonde_hook_mode {
    SONDE_HOOK_READ = 1, /* x must not be changed */
    SONDE_HOOK_WRITE = 2 /* values of x may be changed; its shape and storage may not */
} sonde_hook_mode;

/* Called when the forward pass reaches a point. `x` has the shape that the point states and is valid during the call only;
 * rows of padding hold zeros and what is written there is ignored. A non-zero return stops the run and comes back from it
 * unchanged. Called on the thread that runs the model, in order of registration, never twice at once. */
typedef sonde_status sonde_hook_fn(const sonde_hook_event *event, sonde_tensor *x, void *ctx);

/* Which of `points` a pattern names: out[i] is set to true for each (others are left alone).
 *
 *   name                 blocks.3.hook_resid_post
 *   glob                 * any run of characters, dots too; ? one character; {0,5} one of several texts, which may hold dots
 *   *                    alone: what fires by default
 *   shorthand            TransformerLens's get_act_name: k6, pre5, attn3, scale4ln1, normalized0ln2, scale, embed; and what it
 *                        lacks: resid_pre5, resid_mid5, resid_post5, attn_out5, mlp_out5, attn_scores2, rot_q0, pre_linear1
 *
 * A glob names a point that does not fire by default only if it holds that point's own word (`*.hook_result`), or if it
 * matches nothing else.
 *
 * Owns: nothing. Errors: SONDE_E_HOOK names a pattern that matches nothing (the hint names the nearest point) or is
 * malformed. Source: transformer_lens.utils.get_act_name. */
SONDE_API sonde_status sonde_hook_match(bool *out, const char *pattern, const sonde_hook_point *points,
                                        int64_t n_points) SONDE_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
