/* model/attention.h - the attention half of a block, step by step.             floor 5: model */
#ifndef SONDEP_MODEL_ATTENTION_H
#define SONDEP_MODEL_ATTENTION_H

#include "model/forward.h"

/* Fires hook_attn_in and hook_{q,k,v}_input, whose values are the residual stream once for each head, and computes queries,
 * keys and values from what was written there. Must come before sondep_attention_qkv, which leaves alone what is done.
 * Errors: SONDE_E_UNSUPPORTED for writing hook_attn_in where key/value heads are grouped (which head counts is not defined). */
sonde_status sondep_attention_split(const sondep_pass *pass, int64_t layer);

/* qkv = y W + b, the hooks on q, k and v, rotation and the hooks behind it, the cache. */
sonde_status sondep_attention_qkv(const sondep_pass *pass, int64_t layer);

/* The attention problem of sequence b of the pass, with the buffers of the layer that it is in. */
sondep_attention sondep_attention_of(const sondep_pass *pass, int64_t b, int64_t layer);

/* z from queries, keys and values: in one go, or with scores and pattern written out where they are hooked; fires hook_z. */
sonde_status sondep_attention_mixed(const sondep_pass *pass, int64_t layer);

/* Each head's own output, z_h W_O,h, as (N, H, D); fires hook_result. If that is written, y becomes their sum and the bias. */
sonde_status sondep_attention_result(const sondep_pass *pass, int64_t layer);

#endif
