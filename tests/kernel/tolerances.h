/* tests/kernel/tolerances.h - how far the fast kernels may be from the reference.
 *
 * One table. `length` is the longest sum behind a number; errors are relative to the greatest magnitude of the array that
 * is compared, or in units of the last place of the exact value ("ulp"), or in units of 2^-24, relative to 1 or to the
 * value if that is larger ("slope"). `seen` is the largest error that any kernel set has shown here; a limit is never
 * loosened to let a test pass.
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
    {"product", "f32", 5000, 2.0e-6, 1.8e-06},
    {"product", "bf16", 5000, 2.0e-6, 1.1e-06},
    {"product", "f16", 5000, 2.0e-6, 1.2e-06},
    {"product_bf16", "f32", 1025, 2.0e-6, 2.8e-07},
    {"product_bf16", "bf16", 1025, 2.0e-6, 2.8e-07},
    {"product_bf16", "f16", 1025, 2.0e-6, 2.5e-07},
    {"act_ulp", "linear", 1, 0.00, 0.00},
    {"act_ulp", "relu", 1, 0.00, 0.00},
    {"act_ulp", "gelu", 1, 4.00, 3.92},
    {"act_ulp", "gelu_new", 1, 3.00, 2.76},
    {"act_ulp", "silu", 1, 3.00, 2.64},
    {"act_ulp", "quick_gelu", 1, 3.00, 2.89},
    {"act_ulp", "tanh", 1, 2.00, 1.30},
    {"act_ulp", "sigmoid", 1, 3.00, 2.18},
    {"act_ulp", "relu2", 1, 0.51, 0.50},
    {"act_ulp", "relu6", 1, 0.00, 0.00},
    {"act_ulp", "leaky_relu", 1, 1.00, 0.84},
    {"act_ulp", "mish", 1, 4.00, 3.92},
    {"act_ulp", "laplace", 1, 2.00, 1.75},
    {"act_ulp", "gelu_10", 1, 4.00, 3.92},
    {"act_ulp", "hardswish", 1, 2.00, 1.85},
    {"act_ulp", "sqrtsoftplus", 1, 4.00, 2.19},
    {"scores", "f32", 300, 2.0e-6, 4.4e-07},
    {"softmax", "f32", 1100, 1.0e-6, 1.7e-07},
    {"mix", "f32", 600, 2.0e-6, 5.4e-07},
    {"attend", "f32", 600, 2.0e-6, 1.3e-06},
    {"norm", "f32", 1025, 2.0e-7, 0.0},
    {"norm_scale", "f32", 1025, 1.0e-7, 0.0},
    {"rotate", "f32", 2, 2.0e-7, 8.0e-08},
    {"gather", "f32", 1, 0.0, 0.0},
    {"gather", "bf16", 1, 0.0, 0.0},
    {"gather", "f16", 1, 0.0, 0.0},
    {"add", "f32", 1, 0.0, 0.0},
    {"multiply", "f32", 1, 0.0, 0.0},
    {"log_sum_exp", "f32", 50257, 2.0e-7, 0.0},
    {"slope", "linear", 1, 0.00, 0.00},
    {"slope", "relu", 1, 0.00, 0.00},
    {"slope", "gelu", 1, 3.00, 2.09},
    {"slope", "gelu_new", 1, 4.00, 2.75},
    {"slope", "silu", 1, 4.00, 2.66},
    {"slope", "quick_gelu", 1, 4.00, 2.74},
    {"slope", "tanh", 1, 4.00, 3.51},
    {"slope", "sigmoid", 1, 2.00, 0.88},
    {"slope", "relu2", 1, 0.00, 0.00},
    {"slope", "relu6", 1, 0.00, 0.00},
    {"slope", "leaky_relu", 1, 0.01, 0.004},
    {"slope", "mish", 1, 4.00, 2.80},
    {"slope", "laplace", 1, 4.00, 3.50},
    {"slope", "gelu_10", 1, 3.00, 2.09},
    {"slope", "hardswish", 1, 2.00, 1.33},
    {"slope", "sqrtsoftplus", 1, 2.00, 1.09},
    {"activate_backward", "f32", 1, 1.0e-6, 2.2e-07},
    {"norm_backward", "f32", 1025, 1.0e-6, 2.4e-07},
    {"norm_backward_sums", "f32", 100, 2.0e-6, 9.2e-07},
    {"column_sums", "f32", 100, 1.0e-6, 4.5e-07},
    {"sum_squares", "f32", 3000001, 1.0e-7, 0.0},
    {"attend_backward", "f32", 900, 4.0e-6, 2.2e-06},
    {"cross_entropy", "f32", 50257, 2.0e-6, 1.1e-06},
    {"cross_entropy_loss", "f32", 50257, 2.0e-7, 9.3e-08},
    {"adamw", "f32", 1, 1.0e-6, 1.6e-07},
    {"adamw_torch", "f32", 8, 2.0e-7, 7.2e-08},
    {"adamw_moment", "f32", 1, 1.0e-6, 1.1e-07},
    {"pursue", "f32", 34, 1.0e-5, 1.0e-06},
    {"decode", "f32", 34, 1.0e-6, 1.6e-07},
    {"decode_dvalue", "f32", 768, 2.0e-6, 1.6e-07},
    {"decode_error", "f32", 768, 1.0e-6, 1.3e-07},
    {"code_steps", "f32", 40, 1.0e-6, 2.1e-07},
    {"code_steps_loss", "f32", 480, 1.0e-6, 0.0},
    {"feature_squares", "f32", 60000, 1.0e-6, 2.7e-07},
    {"feature_weights", "f32", 150, 2.0e-6, 3.8e-07},
    {"feature_moments", "f32", 150, 2.0e-6, 1.3e-06},
    {"toy_loss", "f32", 8960, 1.0e-6, 1.9e-07},
    {"toy_gradients", "f32", 256, 2.0e-6, 7.0e-07},
};

static inline double limit_of(const char *op, const char *dtype)
{
    for (size_t i = 0; i < sizeof tolerances / sizeof *tolerances; i++)
        if (strcmp(tolerances[i].op, op) == 0 && strcmp(tolerances[i].dtype, dtype) == 0)
            return tolerances[i].limit;
    return -1.0; /* which nothing meets */
}

#endif
