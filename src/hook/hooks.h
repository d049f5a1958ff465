/* hook/hooks.h - what a forward pass knows about its listeners.                floor 4: hook
 *
 * Models fire events and do not know who listens. A pass has one byte for each hook point: where it is 0, nothing happens
 * and operations stay fused; else the values are handed to `fire`.
 */
#ifndef SONDEP_HOOKS_H
#define SONDEP_HOOKS_H

#include <sonde/hook.h>

#include "base/base.h"

/* Values at a point as the pass holds them: rows of real tokens one after the other (padding is computed nowhere), or, for
 * scores and patterns, one dense array (B, H, T, n_keys). */
typedef struct sondep_values {
    float *data;
    int64_t ld;     /* floats from one token's row to the next */
    int64_t width;  /* floats of a row */
    int64_t n_keys; /* > 0: dense scores, then ld and width are not used */
} sondep_values;

typedef struct sondep_hooks {
    const uint8_t *wanted; /* for each point: bits of sonde_hook_mode, 0 where nobody listens */
    int64_t last;          /* last point that is wanted, -1 if none */
    sonde_status (*fire)(int64_t point, const sondep_values *values, void *ctx);
    void *ctx;
} sondep_hooks;

#endif
