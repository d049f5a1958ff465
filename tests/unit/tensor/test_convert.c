/* Element types: every half against numpy and torch, rounding where it decides, clamps, names, shapes. */
#include <sonde/tensor.h>

#include "base/base.h"
#include "tensor/half.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct {
    sonde_dtype dtype;
    uint64_t widened;
    int64_t n_inputs;
    uint64_t inputs, narrowed;
} golden[] = {
#include "../../golden/format/halves.inc"
};

enum { N_HALVES = 65536, MAX_INPUTS = 400000 };

static uint64_t fnv1a(const void *data, size_t n)
{
    const unsigned char *b = data;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * 0x100000001b3u;
    return h;
}

/* All 65,536 values of a type as floats, through the public function; NaNs are made one. */
static void widen_all(float *out, sonde_dtype dtype)
{
    static uint16_t every[N_HALVES];
    for (int i = 0; i < N_HALVES; i++)
        every[i] = (uint16_t)i;
    sonde_convert_to_f32(out, every, dtype, N_HALVES);
    for (int i = 0; i < N_HALVES; i++)
        if (isnan(out[i]))
            out[i] = sondep_bits_float(0x7fc00000);
}

/* The inputs of tests/oracle/format_golden.py: values, middles, and the floats beside the middles, of both signs. */
static int64_t make_inputs(float *x, const float *widened)
{
    static const float extra[] = {INFINITY, -INFINITY, 65519.996f, 65520.0f, 3.4e38f, -3.4e38f, 1e-45f, -1e-45f};
    int64_t n = 0, n_finite = 0, n_positive;

    while (isfinite(widened[n_finite]))
        n_finite++;
    for (int64_t i = 0; i < n_finite; i++)
        x[n++] = widened[i];
    for (int side = 0; side < 3; side++)
        for (int64_t i = 0; i + 1 < n_finite; i++) {
            float middle = (float)(((double)widened[i] + widened[i + 1]) / 2);
            x[n++] = side == 0 ? middle : nextafterf(middle, side == 1 ? INFINITY : -INFINITY);
        }
    n_positive = n;
    for (int64_t i = 0; i < n_positive; i++)
        x[n++] = -x[i];
    for (size_t i = 0; i < sizeof extra / sizeof *extra; i++)
        x[n++] = extra[i];
    return n;
}

static void halves_are_those_of_numpy_and_torch(void **unused)
{
    static float widened[N_HALVES], x[MAX_INPUTS];
    static uint16_t narrowed[MAX_INPUTS];
    (void)unused;
    for (size_t g = 0; g < sizeof golden / sizeof *golden; g++) {
        int64_t n;
        widen_all(widened, golden[g].dtype);
        assert_true(fnv1a(widened, sizeof widened) == golden[g].widened);
        n = make_inputs(x, widened);
        assert_int_equal(n, golden[g].n_inputs);
        assert_true(fnv1a(x, (size_t)n * sizeof *x) == golden[g].inputs);
        sonde_convert_from_f32(narrowed, golden[g].dtype, x, n);
        assert_true(fnv1a(narrowed, (size_t)n * sizeof *narrowed) == golden[g].narrowed);
    }
}

static void halves_survive_a_round_trip(void **unused)
{
    static float widened[N_HALVES];
    static uint16_t back[N_HALVES];
    (void)unused;
    for (int t = 0; t < 2; t++) {
        sonde_dtype dtype = t ? SONDE_BF16 : SONDE_F16;
        widen_all(widened, dtype);
        sonde_convert_from_f32(back, dtype, widened, N_HALVES);
        for (int i = 0; i < N_HALVES; i++)
            if (!isnan(widened[i]))
                assert_int_equal(back[i], i);
    }
}

/* NaNs whose payload lies only in the bits that are cut off must not become infinity. */
static void a_nan_stays_one(void **unused)
{
    static const uint32_t nans[] = {0x7f800001, 0xff800001, 0x7fc00000, 0x7fffffff, 0xffffffff, 0x7f80ffff, 0x7f801fff};
    (void)unused;
    for (size_t i = 0; i < sizeof nans / sizeof *nans; i++) {
        float x = sondep_bits_float(nans[i]);
        assert_true(isnan(sondep_f16_to_f32(sondep_f32_to_f16(x))));
        assert_true(isnan(sondep_bf16_to_f32(sondep_f32_to_bf16(x))));
        assert_int_equal(sondep_f32_to_bf16(x) >> 15, nans[i] >> 31);
    }
}

static void check_integer(sonde_dtype dtype, float x, int64_t want)
{
    char element[9] = {0};
    int64_t got = 0;
    sonde_convert_from_f32(element + 1, dtype, &x, 1); /* not aligned */
    memcpy(&got, element + 1, sonde_dtype_bytes(dtype));
    if (got != want)
        fail_msg("%s of %g: %lld, want %lld", sonde_dtype_name(dtype), (double)x, (long long)got, (long long)want);
}

static void integers_are_rounded_and_clamped(void **unused)
{
    (void)unused;
    check_integer(SONDE_U8, 255.5f, 255);
    check_integer(SONDE_U8, -3.0f, 0);
    check_integer(SONDE_U8, NAN, 0);
    check_integer(SONDE_U8, 0.5f, 0); /* ties to even */
    check_integer(SONDE_U8, 1.5f, 2);
    check_integer(SONDE_I8, 1e9f, 127);
    check_integer(SONDE_I8, -1e9f, 0x80);
    check_integer(SONDE_I16, 4e4f, INT16_MAX);
    check_integer(SONDE_U16, INFINITY, UINT16_MAX);
    check_integer(SONDE_I32, 3e9f, INT32_MAX);
    check_integer(SONDE_I32, -INFINITY, (int64_t)0x80000000);
    check_integer(SONDE_U32, 5e9f, UINT32_MAX);
    check_integer(SONDE_I64, 1e30f, INT64_MAX);
    check_integer(SONDE_I64, 0x1p63f, INT64_MAX);
    check_integer(SONDE_I64, -1e30f, INT64_MIN);
    check_integer(SONDE_I64, -0x1p40f, -((int64_t)1 << 40));
    check_integer(SONDE_U64, 1e30f, -1);
    check_integer(SONDE_U64, 0x1p63f, INT64_MIN);
    check_integer(SONDE_BOOL, NAN, 1);
    check_integer(SONDE_BOOL, -0.0f, 0);
}

static void wide_integers_round_once(void **unused)
{
    /* 2^54 + 2^30 + 1 lies just above the middle of two floats; rounded to double first it would lie on it and go down. */
    int64_t x[2] = {((int64_t)1 << 54) + ((int64_t)1 << 30) + 1, -(((int64_t)1 << 54) + ((int64_t)1 << 30) + 1)};
    float y[2];
    double z[2];
    (void)unused;
    sonde_convert_to_f32(y, x, SONDE_I64, 2);
    assert_true(y[0] == 0x1p54f + 0x1p31f && y[1] == -y[0]);
    sonde_convert_to_f32(y, x, SONDE_U64, 1);
    assert_true(y[0] == 0x1p54f + 0x1p31f);
    sonde_convert_to_f64(z, x, SONDE_I64, 1);
    assert_true(z[0] == 0x1p54 + 0x1p30);
}

static void every_type_widens(void **unused)
{
    (void)unused;
    for (int d = 0; d < SONDE_N_DTYPES; d++) {
        const float x[4] = {0.0f, 1.0f, 1.0f, 0.0f};
        char raw[8 * 4 + 1];
        float y[4];
        double z[4];
        sonde_convert_from_f32(raw + 1, (sonde_dtype)d, x, 4);
        sonde_convert_to_f32(y, raw + 1, (sonde_dtype)d, 4);
        sonde_convert_to_f64(z, raw + 1, (sonde_dtype)d, 4);
        for (int i = 0; i < 4; i++)
            assert_true(y[i] == x[i] && z[i] == (double)x[i]);
        sonde_convert_to_f32(NULL, NULL, (sonde_dtype)d, 0);
    }
}

static void check_name(const char *name, sonde_dtype want)
{
    sonde_dtype got = SONDE_BOOL;
    assert_int_equal(sonde_dtype_parse(&got, name), SONDE_OK);
    assert_int_equal(got, want);
}

static void names_of_types(void **unused)
{
    sonde_dtype untouched = SONDE_I8;
    (void)unused;
    for (int d = 0; d < SONDE_N_DTYPES; d++)
        check_name(sonde_dtype_name((sonde_dtype)d), (sonde_dtype)d);
    check_name("bfloat16", SONDE_BF16);
    check_name("torch.float32", SONDE_F32);
    check_name("torch.bool", SONDE_BOOL);
    check_name("uint16", SONDE_U16);
    assert_int_equal(sonde_dtype_parse(&untouched, "float8_e4m3fn"), SONDE_E_UNSUPPORTED);
    assert_non_null(strstr(sonde_last_error()->message, "float8_e4m3fn"));
    assert_int_equal(untouched, SONDE_I8);
    assert_int_equal(sonde_dtype_bytes((sonde_dtype)99), 0);
    assert_string_equal(sonde_dtype_name((sonde_dtype)-1), "?");
}

static void shapes_are_checked(void **unused)
{
    const int64_t fine[8] = {1, 2, 3, 1, 1, 1, 1, 1}, negative[1] = {-1}, huge[3] = {(int64_t)1 << 40, (int64_t)1 << 20, 8};
    const int64_t empty_but_huge[3] = {0, (int64_t)1 << 40, (int64_t)1 << 40};
    sonde_tensor t = {.rank = 5};
    char text[64], tiny[4];
    (void)unused;
    assert_int_equal(sonde_tensor_view(&t, NULL, SONDE_F32, fine, 8), SONDE_OK);
    assert_int_equal(sonde_tensor_n_elements(&t), 6);
    assert_int_equal(sonde_tensor_bytes(&t), 24);
    assert_string_equal(sonde_tensor_format_shape(text, sizeof text, &t), "[1, 2, 3, 1, 1, 1, 1, 1]");
    assert_string_equal(sonde_tensor_format_shape(tiny, sizeof tiny, &t), "[1,");
    assert_int_equal(sonde_tensor_view(&t, NULL, SONDE_F32, NULL, 0), SONDE_OK);
    assert_int_equal(sonde_tensor_n_elements(&t), 1);
    assert_string_equal(sonde_tensor_format_shape(text, sizeof text, &t), "[]");
    assert_int_equal(sonde_tensor_view(&t, NULL, SONDE_F32, fine, 9), SONDE_E_SHAPE);
    assert_int_equal(sonde_tensor_view(&t, NULL, SONDE_F32, negative, 1), SONDE_E_SHAPE);
    assert_int_equal(sonde_tensor_view(&t, NULL, SONDE_F32, huge, 3), SONDE_E_SHAPE);
    assert_int_equal(sonde_tensor_view(&t, NULL, SONDE_F64, huge, 2), SONDE_E_SHAPE);
    assert_int_equal(sonde_tensor_view(&t, NULL, SONDE_U8, huge, 2), SONDE_OK);
    assert_int_equal(sonde_tensor_view(&t, NULL, SONDE_F32, empty_but_huge, 3), SONDE_E_SHAPE);
    assert_int_equal(sonde_tensor_view(&t, NULL, (sonde_dtype)13, fine, 1), SONDE_E_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(halves_are_those_of_numpy_and_torch),
        cmocka_unit_test(halves_survive_a_round_trip),
        cmocka_unit_test(a_nan_stays_one),
        cmocka_unit_test(integers_are_rounded_and_clamped),
        cmocka_unit_test(wide_integers_round_once),
        cmocka_unit_test(every_type_widens),
        cmocka_unit_test(names_of_types),
        cmocka_unit_test(shapes_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
