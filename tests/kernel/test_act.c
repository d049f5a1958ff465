/* Activation functions: names, error against double in units of the last place, special values, tails, in place. */
#include "kernel/kernel_support.h"

static const char *const act_names[] = {"linear",  "relu",    "gelu",      "gelu_new",    "silu",       "quick_gelu",
                                        "tanh",    "sigmoid", "relu2",     "relu6",       "leaky_relu", "mish",
                                        "laplace", "gelu_10", "hardswish", "sqrtsoftplus"};

static void every_name_parses(void **unused)
{
    static const char *const others[] = {"gelu_fast",        "gelu_python",   "gelu_pytorch_tanh",
                                         "gelu_python_tanh", "gelu_accurate", "swish"};
    sondep_act act;
    (void)unused;

    for (int i = 0; i < SONDEP_N_ACTS; i++) {
        assert_int_equal(sondep_act_parse(&act, act_names[i]), SONDE_OK);
        assert_int_equal(act, i);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(sondep_act_parse(&act, others[i]), SONDE_OK);
    assert_int_equal(sondep_act_parse(&act, "xielu"), SONDE_E_UNSUPPORTED);
    assert_non_null(strstr(sonde_last_error()->message, "'xielu'"));
    assert_int_equal(sondep_act_parse(&act, ""), SONDE_E_UNSUPPORTED);
}

/* The distance of a float from the exact value, in units of its last place; below 2^-100 nothing is asked. */
static double ulps(float got, double want)
{
    int exponent;

    if (isnan(want) || isinf((float)want))
        return isnan(want) ? (isnan(got) ? 0.0 : INFINITY) : got == (float)want ? 0.0 : INFINITY;
    if (!isfinite(got))
        return INFINITY;
    if (fabs(want) < 0x1p-100)
        return fabs(got) < 0x1p-99 ? 0.0 : INFINITY;
    frexp(want, &exponent);
    return fabs(got - want) / ldexp(1.0, exponent - 24);
}

/* laplace is near 0 as a difference of numbers near 1, in transformers too: an error relative to 1 is what it has. */
static double error_of(sondep_act act, float got, double want)
{
    return act == SONDEP_ACT_LAPLACE && isfinite(want) ? fabs(got - want) * 0x1p24 : ulps(got, want);
}

enum { BLOCK = 4096 };

/* Every 9973rd of all floats. */
static double worst_error(sondep_act act, float *where)
{
    float in[BLOCK], out[BLOCK];
    double worst = 0.0;
    uint32_t step = 9973;

    for (uint64_t start = 0; start < UINT32_MAX; start += (uint64_t)BLOCK * step) {
        for (uint32_t i = 0; i < BLOCK; i++)
            in[i] = sondep_bits_float((uint32_t)(start + i * step));
        sondep_activate(out, in, act, BLOCK);
        for (int i = 0; i < BLOCK; i++) {
            double error = error_of(act, out[i], sondep_act_ref(act, in[i]));
            if (!(error <= worst)) {
                worst = error;
                *where = in[i];
            }
        }
    }
    return worst;
}

static void errors_are_within_the_bounds(void **unused)
{
    (void)unused;
    for (int set = 0; set < N_ALL_SETS; set++) {
        for (int act = 0; choose_set(set) && act < SONDEP_N_ACTS; act++) {
            float where = 0.0f;
            double worst = worst_error((sondep_act)act, &where), limit = limit_of("act_ulp", act_names[act]);
            if (getenv("SHOW_ERRORS"))
                print_message("error %s %s %.3g ulp at %.9g\n", sondep_kernel_name(), act_names[act], worst, where);
            if (!(worst <= limit))
                fail_msg("%s with %s: %g ulp at %.9g, allowed %g", act_names[act], sondep_kernel_name(), worst, where,
                         limit);
        }
    }
}

static void special_values_are_right(void **unused)
{
    static const float values[] = {0.0f,   -0.0f,   INFINITY, -INFINITY, 3e38f,  -3e38f,  1e-45f, -1e-45f,
                                   1e-38f, -1e-38f, 88.8f,    -88.8f,    105.0f, -105.0f, 2.999f, -3.0f};
    enum { N = sizeof values / sizeof *values };
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        for (int act = 0; choose_set(set) && act < SONDEP_N_ACTS; act++) {
            float out[N], nan = NAN;
            sondep_activate(out, values, (sondep_act)act, N);
            for (int i = 0; i < N; i++) {
                float want = (float)sondep_act_ref((sondep_act)act, values[i]);
                if (!(out[i] == want || fabsf(out[i] - want) <= 1e-6f * fabsf(want) + 1e-37f ||
                      (act == SONDEP_ACT_LAPLACE && fabsf(out[i] - want) <= 2e-7f)))
                    fail_msg("%s(%g) with %s is %g, not %g", act_names[act], values[i], sondep_kernel_name(), out[i], want);
            }
            sondep_activate(&nan, &nan, (sondep_act)act, 1);
            assert_true(isnan(nan));
        }
    }
}

/* A number's result does not depend on where in the array it stands, nor on its neighbours; in place is the same. */
static void place_does_not_matter(void **unused)
{
    enum { N = 70 };
    float *x = numbers(N + 1, 9), out[N + 1], one;
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        for (int act = 0; choose_set(set) && act < SONDEP_N_ACTS; act++) {
            for (int64_t n = 0; n <= N; n++) {
                memcpy(out, x, sizeof out);
                sondep_activate(out, out, (sondep_act)act, n);
                for (int64_t i = 0; i < n; i++) {
                    sondep_activate(&one, x + i, (sondep_act)act, 1);
                    assert_same_bytes(&one, &out[i], sizeof one, act_names[act]);
                }
                assert_same_bytes(out + n, x + n, sizeof one, "behind the end");
            }
        }
    }
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_parses),
        cmocka_unit_test(errors_are_within_the_bounds),
        cmocka_unit_test(special_values_are_right),
        cmocka_unit_test(place_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
