/* run/run.h - a run from the inside: hooks, captures, buffers.                 floor 6: run */
#ifndef SONDEP_RUN_H
#define SONDEP_RUN_H

#include <sonde/run.h>

#include "model/backward.h"

/* A hook or a patch, and the points it listens at. On the way back there are reading hooks only. */
typedef struct sondep_hook {
    int64_t id;
    bool *points; /* (n_points) owned */
    sonde_hook_mode mode;
    sonde_hook_fn *fn; /* NULL: a patch */
    void *ctx;
    sonde_tensor value; /* of a patch; borrows its elements */
} sondep_hook;

/* What is kept at one point. */
typedef struct sondep_capture {
    bool is_on, is_filled;
    bool has_positions;
    int64_t *positions; /* owned */
    int64_t n_positions;
    void *block; /* owned; grows */
    size_t block_bytes;
    sonde_tensor kept; /* view of block after a pass */
} sondep_capture;

/* A block that only grows. */
typedef struct sondep_buffer {
    void *block;
    size_t bytes;
} sondep_buffer;
sonde_status sondep_buffer_grow(sondep_buffer *buffer, size_t bytes);

/* Who listens at the points: to activations, or to gradients. */
typedef struct sondep_listeners {
    sonde_run *run;
    sondep_hook *hooks;
    int64_t n_hooks, hooks_capacity;
    sondep_capture *captures; /* (n_points) */

    uint8_t *wanted; /* (n_points) what the pass looks at */
    bool *fired;     /* (n_points) in the last pass */
} sondep_listeners;

struct sonde_run {
    const sonde_model *model;
    sondep_listeners activations, gradients;
    int64_t next_id;
    sonde_logits logits;
    sonde_logits_fn *stream;
    void *stream_ctx;
    const bool *chosen; /* (B,T) rows that are streamed, NULL: all */

    /* The present pass. */
    sondep_batch batch;
    const int64_t *lengths, *first_positions; /* (B) */
    sondep_rows last, streamed;               /* rows of logits */
    sondep_buffer numbers;                    /* the batch's arrays */
    sondep_buffer event, logits_buffer;
    sonde_tensor kept_logits;
    bool has_run, has_gone_back;

    /* The way back: NULL in a pass that is forward only. */
    sondep_backward *back;
    sondep_tape *tape;     /* (L+1) made by the first of them */
    bool *replaced;        /* (n_points) by patches, in the present pass */
    sondep_buffer counted; /* (B) rows of the objective */

    sondep_arena arena;
    sondep_rope_table rope;
};

/* The listener of a pass (ctx: sondep_listeners): calls the hooks of a point, then keeps what is captured there. */
sonde_status sondep_run_fire(int64_t point, const sondep_values *values, void *ctx);

/* Shapes and memory of the captures of a pass over the present batch; `kept_bytes` NULL: also allocates. */
sonde_status sondep_run_prepare_captures(sondep_listeners *listeners, int64_t *kept_bytes);

/* Gathers hooks and captures into one byte for each point; gives the last point that is wanted, -1: none. */
int64_t sondep_run_gather(sondep_listeners *listeners);

/* Room for the tape of a pass that goes back. Errors: SONDE_E_NOMEM. */
sonde_status sondep_run_make_tape(sonde_run *run);

/* Captures and hooks, as the public functions of activations. */
sonde_status sondep_run_add_capture(sondep_listeners *listeners, const char *pattern, const sonde_position_list *where);
sonde_status sondep_run_add_hook(sondep_listeners *listeners, const char *pattern, sondep_hook hook, int64_t *id);

/* What the last pass captured. */
sonde_status sondep_run_captured(sonde_tensor *out, const sondep_listeners *listeners, const char *name);

/* One pass over B x T tokens whose sequences begin at `first_positions` (NULL: 0), with a cache or without; and run->back behind
 * it, if there is one. */
sonde_status sondep_run_pass(sonde_run *run, const int32_t *tokens, const int64_t *lengths, const int64_t *first_positions,
                             int64_t B, int64_t T, sondep_cache *cache);

/* The one point that a name or pattern means, with a vector for each position.
 * Errors: SONDE_E_HOOK (none, or several: how many), SONDE_E_SHAPE (a point whose rows are keys), SONDE_E_NOMEM. */
sonde_status sondep_find_one_point(const sonde_hook_point **out, const sonde_model *model, const char *name);

#endif
