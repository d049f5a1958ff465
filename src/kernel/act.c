/* act.c - names of activation functions.                                       floor 2: kernel
 *
 * transformers' ACT2FN, all that is a function of one number; `prelu` and `xielu` have parameters of their own.
 * gelu_fast, gelu_accurate and gelu_new are one formula, written differently (their constants differ by 4e-12).
 */
#include "kernel/kernel.h"

/* In the order of the alphabet. */
static const struct {
    const char *name;
    sondep_act act;
} names[] = {
    {"gelu", SONDEP_ACT_GELU},
    {"gelu_10", SONDEP_ACT_GELU_10},
    {"gelu_accurate", SONDEP_ACT_GELU_TANH},
    {"gelu_fast", SONDEP_ACT_GELU_TANH},
    {"gelu_new", SONDEP_ACT_GELU_TANH},
    {"gelu_python", SONDEP_ACT_GELU},
    {"gelu_python_tanh", SONDEP_ACT_GELU_TANH},
    {"gelu_pytorch_tanh", SONDEP_ACT_GELU_TANH},
    {"hardswish", SONDEP_ACT_HARDSWISH},
    {"laplace", SONDEP_ACT_LAPLACE},
    {"leaky_relu", SONDEP_ACT_LEAKY_RELU},
    {"linear", SONDEP_ACT_LINEAR},
    {"mish", SONDEP_ACT_MISH},
    {"quick_gelu", SONDEP_ACT_QUICK_GELU},
    {"relu", SONDEP_ACT_RELU},
    {"relu2", SONDEP_ACT_RELU2},
    {"relu6", SONDEP_ACT_RELU6},
    {"sigmoid", SONDEP_ACT_SIGMOID},
    {"silu", SONDEP_ACT_SILU},
    {"sqrtsoftplus", SONDEP_ACT_SQRT_SOFTPLUS},
    {"swish", SONDEP_ACT_SILU},
    {"tanh", SONDEP_ACT_TANH},
};

sonde_status sondep_act_parse(sondep_act *out, const char *name)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i].name, name) == 0) {
            *out = names[i].act;
            return SONDE_OK;
        }
    }
    return SONDE_FAIL(SONDE_E_UNSUPPORTED, "activation function is not known: '%s'", name);
}
