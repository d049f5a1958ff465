/* ref/act.c - the definition of the activation functions: transformers' formulas, in double. */
#include "kernel/ref.h"

#include <math.h>

static const double sqrt_half = 0.70710678118654752440, sqrt_2_over_pi = 0.79788456080286535588;

/* 1 / (1 + e^-x) */
static double sigmoid(double x)
{
    double e = exp(-fabs(x)); /* never overflows */
    return x >= 0.0 ? 1.0 / (1.0 + e) : e / (1.0 + e);
}

/* x Phi(x); erfc keeps the digits of the left tail that 1 + erf loses. */
static double gelu(double x)
{
    return x == -INFINITY ? 0.0 : 0.5 * x * erfc(-x * sqrt_half);
}

/* 0.5 x (1 + tanh(u)) = x sigmoid(2 u), u = sqrt(2/pi) (x + 0.044715 x^3) */
static double gelu_tanh(double x)
{
    return x == -INFINITY ? 0.0 : x * sigmoid(2.0 * sqrt_2_over_pi * (x + 0.044715 * x * x * x));
}

/* log(1 + e^x), with the large term taken out of the logarithm */
static double softplus(double x)
{
    return x > 0.0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

static double clip(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x; /* a NaN stays */
}

/* The left limit of the functions of the form x f(x) is 0, where the formula itself gives -inf * 0 = NaN. */
double sondep_act_ref(sondep_act act, double x)
{
    switch (act) {
    case SONDEP_ACT_RELU: return x < 0.0 ? 0.0 : x;
    case SONDEP_ACT_GELU: return gelu(x);
    case SONDEP_ACT_GELU_TANH: return gelu_tanh(x);
    case SONDEP_ACT_SILU: return x == -INFINITY ? 0.0 : x * sigmoid(x);
    case SONDEP_ACT_QUICK_GELU: return x == -INFINITY ? 0.0 : x * sigmoid(1.702 * x);
    case SONDEP_ACT_TANH: return tanh(x);
    case SONDEP_ACT_SIGMOID: return sigmoid(x);
    case SONDEP_ACT_RELU2: return x < 0.0 ? 0.0 : x * x;
    case SONDEP_ACT_RELU6: return clip(x, 0.0, 6.0);
    case SONDEP_ACT_LEAKY_RELU: return x < 0.0 ? 0.01 * x : x;
    case SONDEP_ACT_MISH: return x == -INFINITY ? 0.0 : x * tanh(softplus(x));
    case SONDEP_ACT_LAPLACE: return 0.5 * erfc(-(x - 0.707107) / (0.282095 * 1.41421356237309504880));
    case SONDEP_ACT_GELU_10: return clip(gelu(x), -10.0, 10.0);
    case SONDEP_ACT_HARDSWISH: return x <= -3.0 ? 0.0 : x * clip(x + 3.0, 0.0, 6.0) / 6.0;
    case SONDEP_ACT_SQRT_SOFTPLUS: return sqrt(softplus(x));
    default: return x;
    }
}

/* out = act(in), rounded once to float. */
void sondep_activate_ref(float *out, const float *in, sondep_act act, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)sondep_act_ref(act, in[i]);
}
