/* model/forward.h - one forward pass over a batch of sequences.                floor 5: model
 *
 * The rows of all sequences lie one behind the other without padding: N rows in all. A pass computes only as far as
 * somebody reads, keeps operations fused unless their interior is hooked, and takes all memory from an arena that was
 * reserved before.
 */
#ifndef SONDEP_FORWARD_H
#define SONDEP_FORWARD_H

#include <sonde/model.h>

#include "hook/hooks.h"
#include "model/model.h"

/* The sequences of a pass. Sequence b has rows offset[b] .. offset[b + 1); row n is token ids[n] at position[n]. */
typedef struct sondep_batch {
    int64_t B, T, N; /* sequences, longest, rows */
    const int64_t *ids, *position;
    const int64_t *offset; /* (B+1) */
    const int64_t *n_keys; /* (B) keys that the last row of each sequence sees: its length, and what the cache holds */
    int64_t most_keys;     /* largest of n_keys */
} sondep_batch;

/* Keys and values of the sequences so far, for each layer (B, capacity, K h). */
typedef struct sondep_cache {
    float *k, *v;
    size_t bytes; /* of each */
    int64_t B, capacity, width, n_layers;
    const int64_t *slot; /* (batch B) which of the B places each sequence of the pass has */
} sondep_cache;

sonde_status sondep_cache_make(sondep_cache *out, const sonde_config *config, int64_t B, int64_t capacity);
void sondep_cache_release(sondep_cache *cache);

/* cos and sin of every position and frequency, (n_positions, h/2) each. */
typedef struct sondep_rope_table {
    float *cos, *sin;
    int64_t n_positions;
} sondep_rope_table;

/* Grows a table to at least n positions; does nothing for learned positions.
 *
 * The angle of position p and frequency i is f(i) p, f(i) = theta^(-2i/h), scaled as the type says; all in float32, as
 * transformers computes it: the rounding of f shifts the angle of position 1000 by up to 1e-4, and models were trained so.
 * Source: transformers modeling_rope_utils.py. */
sonde_status sondep_rope_grow(sondep_rope_table *table, const sonde_config *config, int64_t n);
void sondep_rope_release(sondep_rope_table *table);

/* Some rows of a batch, in order; `row` NULL means all. */
typedef struct sondep_rows {
    const int64_t *row;
    int64_t n;
} sondep_rows;

/* What a layer leaves for the backward pass, as hooks left it; the entry behind the last layer has the final stream. */
typedef struct sondep_tape {
    float *resid_pre, *resid_mid; /* (N,D) */
    float *qkv;                   /* (N, H h + 2 K h), rotated */
    float *z;                     /* (N, H h) */
    float *pre, *up;              /* (N,M); up NULL without a gate */
} sondep_tape;

typedef struct sondep_pass {
    const sonde_model *model;
    const sondep_hooks *hooks;
    const sondep_batch *batch;
    sondep_cache *cache; /* NULL: none */
    const sondep_rope_table *rope;
    sondep_tape *tape; /* (L + 1), laid out by the plan: the pass goes to its end and leaves them; NULL: none */

    /* Kept logits: none, those of `last`, or of all N rows, into logits_out. Streamed ones: those of `streamed`, or all. */
    sonde_logits logits;
    float *logits_out;
    sondep_rows last, streamed;
    sonde_logits_fn *stream; /* NULL: none */
    void *stream_ctx;
    bool is_drawn_from; /* what draws from the logits looks at all of them: they are not checked before */

    /* Scratch, laid out by sondep_pass_plan; NULL where it is not needed. */
    float *x, *y, *z, *qkv, *mlp, *pre, *up; /* with a tape x, z, qkv, pre and up are the present layer's; else pre is mlp */
    float *normalized, *scale, *old_scale, *scores, *result, *split, *split_y, *chosen, *logits_block;
    sondep_attention *attention;
    void *product_scratch, *attention_scratch;
} sondep_pass;

/* Bytes of scratch of a pass; with an arena (of that size) also takes them. Reads model, hooks, batch and logits. */
size_t sondep_pass_plan(sondep_pass *pass, sondep_arena *arena);

/* Runs it. Errors: SONDE_E_NONFINITE (point, sequence, position), SONDE_E_INTERRUPTED, what a hook returned. */
sonde_status sondep_pass_run(sondep_pass *pass);

/* Makes the buffers of a layer the present ones: with a tape each layer has its own. */
void sondep_pass_enter_layer(sondep_pass *pass, int64_t layer);

/* Floating-point operations of a pass, and layers that it computes. */
double sondep_pass_flops(const sondep_pass *pass, int64_t *n_layers);

/* Those of the linear layers of one layer; *mixing those of its attention. */
double sondep_layer_flops(const sondep_pass *pass, double *mixing);

#endif
