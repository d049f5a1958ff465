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
    const bool *replaced;      /* points whose tensor a patch replaced: nothing goes back through them. Without gradients of
                                * weights only; NULL: none */
    sondep_objective_fn *objective;
    void *objective_ctx;
    sondep_rows
        counted; /* rows whose logits it looks at, in order: it is asked for those alone; row NULL: all. Not together with
                          * listeners to the gradient of the logits */

    /* Scratch, laid out by sondep_backward_plan. */
    float *dx, *dy;     /* (N,D) of the residual stream; of a normalised row */
    float *dqkv, *dz;   /* as qkv and z lie */
    float *dpost, *dup; /* (N,M) */
    float *logits;      /* a block of rows, or all (N,V) where their gradients are wanted */
    float *inner;       /* (N, H D) for hooks on the inputs and results of heads, (N,D) for those inside a norm */
    float *scale;       /* (N) for hooks on scales */
    float *scores;      /* (B, H, T, keys) for hooks on scores and patterns */
    float *minus_sin;   /* the rotary table backwards */
    sondep_attention_backward *attention; /* (B) */
    void *scratch, *attention_scratch;
} sondep_backward;

/* Bytes of scratch; with an arena (of that size) also takes them. Reads pass (its batch and model), hooks and gradients. */
size_t sondep_backward_plan(sondep_backward *backward, sondep_arena *arena);

/* What can be refused before anything is computed. Errors: SONDE_E_UNSUPPORTED (a hook writes where the tape does not keep what it
 * wrote; a point that has no gradient). */
sonde_status sondep_backward_check(const sondep_backward *backward);

/* Floating-point operations of the walk, and layers that it enters; gradients of weights are not counted. */
double sondep_backward_flops(const sondep_backward *backward, int64_t *n_layers);

/* Walks back, and ends where nobody reads any more. Fires the gradients of hooked points in the reverse order of the forward pass, as values of their points; what
 * a hook of the forward pass wrote to a point that the tape keeps counts as a constant that was added to it.
 *
 * Errors: SONDE_E_NONFINITE (point, sequence, position), SONDE_E_INTERRUPTED, those of sondep_backward_check, what the
 * objective or a hook returned. */
sonde_status sondep_backward_run(sondep_backward *backward);

#endif
