/* ref/act_backward.c - the definition of the slopes of the activation functions, in double. */
#include "kernel/ref.h"

#include <math.h>

/* 1 / (1 + e^-x), as in ref/act.c */
static double sigmoid(double x)
{
    double e = exp(-fabs(x));
    return x >= 0.0 ? 1.0 / (1.0 + e) : e / (1.0 + e);
}

/* (x s(c x))' = s + c x s (1 - s), s = sigmoid(c x) */
static double swish_slope(double x, double c)
{
    double s = sigmoid(c * x);
    return s + c * x * s * (1.0 - s);
}

/* (x Phi(x))' = Phi(x) + x phi(x) */
static double gelu_slope(double x)
{
    return 0.5 * erfc(-x * 0.70710678118654752440) + x * 0.39894228040143267794 * exp(-0.5 * x * x);
}

/* (x s(2u))' = s + x s (1 - s) (2u)', u = sqrt(2/pi) (x + 0.044715 x^3) */
static double gelu_tanh_slope(double x)
{
    const double c = 2.0 * 0.79788456080286535588;
    double s = sigmoid(c * (x + 0.044715 * x * x * x));
    return s + x * s * (1.0 - s) * c * (1.0 + 3.0 * 0.044715 * x * x);
}

/* (x tanh(w))' = t + x (1 - t^2) sigmoid(x), w = log(1 + e^x) */
static double mish_slope(double x)
{
    double t = tanh(x > 0.0 ? x + log1p(exp(-x)) : log1p(exp(x)));
    return t + x * (1.0 - t * t) * sigmoid(x);
}

/* Density of a normal with transformers' mean and deviation of the Laplace activation. */
static double laplace_slope(double x)
{
    double z = (x - 0.707107) / 0.282095;
    return 0.39894228040143267794 * exp(-0.5 * z * z) / 0.282095;
}

static double hardswish_slope(double x)
{
    return x < -3.0 ? 0.0 : x <= 3.0 ? x / 3.0 + 0.5 : 1.0;
}

/* sigmoid(x) / (2 sqrt(log(1 + e^x))); far to the left that is e^(x/2) / 2, where both parts would underflow. */
static double sqrt_softplus_slope(double x)
{
    return x < -40.0 ? 0.5 * exp(0.5 * x) : 0.5 * sigmoid(x) / sondep_act_ref(SONDEP_ACT_SQRT_SOFTPLUS, x);
}

/* At a corner, the slope is the one that torch's autograd gives. */
double sondep_act_slope_ref(sondep_act act, double x)
{
    switch (act) {
    case SONDEP_ACT_RELU: return x > 0.0 ? 1.0 : 0.0;
    case SONDEP_ACT_GELU: return gelu_slope(x);
    case SONDEP_ACT_GELU_TANH: return gelu_tanh_slope(x);
    case SONDEP_ACT_SILU: return swish_slope(x, 1.0);
    case SONDEP_ACT_QUICK_GELU: return swish_slope(x, 1.702);
    case SONDEP_ACT_TANH: return 1.0 - tanh(x) * tanh(x);
    case SONDEP_ACT_SIGMOID: return sigmoid(x) * sigmoid(-x);
    case SONDEP_ACT_RELU2: return x > 0.0 ? 2.0 * x : 0.0;
    case SONDEP_ACT_RELU6: return x > 0.0 && x < 6.0 ? 1.0 : 0.0;
    case SONDEP_ACT_LEAKY_RELU: return x > 0.0 ? 1.0 : 0.01;
    case SONDEP_ACT_MISH: return mish_slope(x);
    case SONDEP_ACT_LAPLACE: return laplace_slope(x);
    case SONDEP_ACT_GELU_10: return fabs(sondep_act_ref(SONDEP_ACT_GELU, x)) <= 10.0 ? gelu_slope(x) : 0.0;
    case SONDEP_ACT_HARDSWISH: return hardswish_slope(x);
    case SONDEP_ACT_SQRT_SOFTPLUS: return sqrt_softplus_slope(x);
    default: return 1.0;
    }
}

/* All of an element is read before any of it is written. */
void sondep_activate_backward_ref(float *dpre, float *dup, float *post, const float *dpost, const float *pre,
                                  const float *up, sondep_act act, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double x = pre[i], g = dpost[i], u = up ? up[i] : 1.0;
        float active = (float)sondep_act_ref(act, x);

        dpre[i] = (float)(g * sondep_act_slope_ref(act, x) * u);
        if (dup)
            dup[i] = (float)(g * active);
        if (post)
            post[i] = up ? (float)(active * u) : active;
    }
}
