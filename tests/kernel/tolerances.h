/* tests/kernel/tolerances.h - how far the fast kernels may be from the reference.
 *
 * One table. `length` is the longest sum behind a number; errors are relative to the greatest magnitude of the array that
 * is compared ("max"), or in units of the last place of the exact value ("ulp"). `seen` is the largest error that any
 * kernel set has shown here; a limit is never loosened to let a test pass.
 */
#ifndef TOLERANCES_H
#define TOLERANCES_H

#include <string.h>

typedef struct tolerance {
    const char *op, *dtype;
    int length;
    double limit, seen;
} tolerance;

static const tolerance tolerances[] = {
    /* op, type of B, longest sum, limit, largest seen */
    {"product", "f32", 5000, 2.0e-6, 0.0},
    {"product", "bf16", 5000, 2.0e-6, 0.0},
    {"product", "f16", 5000, 2.0e-6, 0.0},
    {"product_bf16", "f32", 1025, 2.0e-6, 0.0},
    {"product_bf16", "bf16", 1025, 2.0e-6, 0.0},
    {"product_bf16", "f16", 1025, 2.0e-6, 0.0},
};

static inline double limit_of(const char *op, const char *dtype)
{
    for (size_t i = 0; i < sizeof tolerances / sizeof *tolerances; i++)
        if (strcmp(tolerances[i].op, op) == 0 && strcmp(tolerances[i].dtype, dtype) == 0)
            return tolerances[i].limit;
    return -1.0; /* which nothing meets */
}

#endif
