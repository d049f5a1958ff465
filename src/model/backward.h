/* model/backward.h - from an objective back to the weights and to every hook point.     floor 5: model
 *
 * A pass that ran with a tape can be walked backwards: the objective turns its logits into their gradients, and each layer
 * turns the gradient of what it gave into that of what it took, of its weights, and of its hook points.
 */
#ifndef SONDEP_BACKWARD_H
#define SONDEP_BACKWARD_H

#include "model/forward.h"

typedef struct sondep_backward {
    sondep_pass *pass;         /* with a tape; has run, and its scratch still stands */
    float *gradients;          /* added to: that of weight w at w - model->parameters; NULL: no gradients of weights */
    const sondep_hooks *hooks; /* who reads the gradients of which points */
    sondep_objective_fn *objective;
    void *objective_ctx;

    /* Scratch, laid out by sondep_backward_plan. */
    float *dx, *dy;          /* (N,D) of the residual stream; of a normalised row */
    float *dqkv, *dz;        /* as qkv and z lie */
    float *dpost, *dup;      /* (N,M) */
    float *logits;           /* a block of rows, or all (N,V) where their gradients are wanted */
    float *inner;            /* (N, H D) for hooks on the inputs and results of heads, (N,D) for those inside a norm */
    float *scale;            /* (N) for hooks on scales */
    float *scores;           /* (B, H, T, keys) for hooks on scores and patterns */
    float *minus_sin;        /* the rotary table backwards */
    sondep_attention_backward *attention; /* (B) */
    void *scratch, *attention_scratch;
} sondep_backward;

/* Bytes of scratch; with an arena (of that size) also takes them. Reads pass (its batch and model), hooks and gradients. */
size_t sondep_backward_plan(sondep_backward *backward, sondep_arena *arena);

/* Walks back. Fires the gradients of hooked points in the reverse order of the forward pass, as values of their points; what
 * a hook of the forward pass wrote to a point that the tape keeps counts as a constant that was added to it.
 *
 * Errors: SONDE_E_NONFINITE (point, sequence, position), SONDE_E_INTERRUPTED, SONDE_E_UNSUPPORTED (a point that hooks wrote
 * to and that the tape does not keep), what the objective or a hook returned. */
sonde_status sondep_backward_run(sondep_backward *backward);

#endif
