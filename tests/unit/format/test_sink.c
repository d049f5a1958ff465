/* Writing: what a sink writes reads back, pieces come in any order, and a failure leaves nothing. What the official libraries
 * make of it is tests/oracle/format_live.py. */
#include <sonde/format.h>

#include "base/base.h"
#include "format/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "folder.h"

static const char *const names[] = {"blocks.0.hook", "tokens", "q\"\\\n\xc3\xa9"};
static const float x_data[6] = {0.0f, -1.5f, 0.1f, 1e-45f, 3.4028235e38f, -0.0f};
static const int64_t tokens_data[3] = {1, INT64_MAX, INT64_MIN};
static const uint8_t bool_data[2] = {0, 1};

static void declare(sonde_tensor t[3])
{
    const int64_t x[2] = {2, 3}, tokens[2] = {1, 3}, flags[1] = {2};
    assert_int_equal(sonde_tensor_view(&t[0], NULL, SONDE_F32, x, 2), SONDE_OK);
    assert_int_equal(sonde_tensor_view(&t[1], NULL, SONDE_I64, tokens, 2), SONDE_OK);
    assert_int_equal(sonde_tensor_view(&t[2], NULL, SONDE_BOOL, flags, 1), SONDE_OK);
}

static sonde_sink *open_three(const char *path)
{
    static const char *const metadata[] = {"format", "pt", "a \"b\"", "c\nd"};
    sonde_tensor t[3];
    sonde_sink *sink;
    declare(t);
    if (sonde_sink_open(&sink, path, names, t, 3, metadata, 2) != SONDE_OK)
        fail_msg("%s", sonde_last_error()->message);
    return sink;
}

static const char *write_three(const char *name)
{
    const char *path = in_folder(name);
    sonde_sink *sink = open_three(path);
    assert_int_equal(sonde_sink_put(sink, 2, 0, bool_data, 2), SONDE_OK);
    assert_int_equal(sonde_sink_put(sink, 0, 4, x_data + 4, 2), SONDE_OK);
    assert_int_equal(sonde_sink_put(sink, 0, 0, x_data, 4), SONDE_OK);
    assert_int_equal(sonde_sink_put(sink, 0, 6, NULL, 0), SONDE_OK);
    assert_int_equal(sonde_sink_put(sink, 1, 0, tokens_data, 3), SONDE_OK);
    assert_int_equal(access(path, F_OK), -1);
    if (sonde_sink_commit(sink) != SONDE_OK)
        fail_msg("%s", sonde_last_error()->message);
    return path;
}

static void safetensors_reads_back(void **unused)
{
    sonde_safetensors *file;
    sonde_tensor t;
    const char *path = write_three("x.safetensors");
    (void)unused;
    assert_int_equal(sonde_safetensors_open(&file, path), SONDE_OK);
    assert_int_equal(sonde_safetensors_get(&t, file, names[0]), SONDE_OK);
    assert_true(t.rank == 2 && t.shape[0] == 2 && t.shape[1] == 3 && (uintptr_t)t.data % sizeof(float) == 0);
    assert_memory_equal(t.data, x_data, sizeof x_data);
    assert_int_equal(sonde_safetensors_get(&t, file, names[1]), SONDE_OK);
    assert_true((uintptr_t)t.data % 8 == 0);
    assert_memory_equal(t.data, tokens_data, sizeof tokens_data);
    assert_int_equal(sonde_safetensors_get(&t, file, names[2]), SONDE_OK);
    assert_memory_equal(t.data, bool_data, sizeof bool_data);
    assert_string_equal(sonde_safetensors_metadata(file, "a \"b\""), "c\nd");
    sonde_safetensors_close(file);
    assert_int_equal(folder_n_files(), 1);
    folder_clear();
}

static void json_reads_back(void **unused)
{
    static const double want[6] = {0.0, -1.5, 0.1, 1e-45, 3.4028235e38, -0.0};
    const char *path = write_three("x.json"), *text;
    const json_t *tensors, *x, *data;
    json_t *root;
    (void)unused;
    assert_int_equal(sondep_json_load(&root, path), SONDE_OK);
    assert_int_equal(sondep_json_get_string(&text, root, "schema", path), SONDE_OK);
    assert_string_equal(text, "sonde.tensors/1");
    assert_int_equal(sondep_json_get_object(&tensors, root, "tensors", path), SONDE_OK);
    assert_int_equal(sondep_json_get_object(&x, tensors, names[0], path), SONDE_OK);
    assert_int_equal(sondep_json_get_array(&data, x, "data", path), SONDE_OK);
    assert_int_equal(json_array_size(data), 6);
    for (size_t i = 0; i < 6; i++) {
        double got = json_real_value(json_array_get(data, i));
        assert_true(json_is_real(json_array_get(data, i)));
        assert_true((float)got == x_data[i] && signbit(got) == signbit(want[i]) && got == want[i]);
    }
    data = json_object_get(json_object_get(tensors, names[1]), "data");
    for (size_t i = 0; i < 3; i++)
        assert_true(json_integer_value(json_array_get(data, i)) == tokens_data[i]);
    data = json_object_get(json_object_get(tensors, names[2]), "data");
    assert_true(json_is_false(json_array_get(data, 0)) && json_is_true(json_array_get(data, 1)));
    assert_string_equal(json_string_value(json_object_get(json_object_get(root, "metadata"), "a \"b\"")), "c\nd");
    json_decref(root);
    assert_int_equal(folder_n_files(), 1);
    folder_clear();
}

static void npy_reads_back(void **unused)
{
    static const int64_t shape[3] = {1, 2, 3};
    static const char *const name[] = {"anything"};
    sonde_tensor t, back;
    sonde_sink *sink;
    const char *path = in_folder("x.npy");
    (void)unused;
    for (int rank = 0; rank <= 3; rank++) {
        int64_t n;
        assert_int_equal(sonde_tensor_view(&t, NULL, SONDE_F32, shape, rank), SONDE_OK);
        n = sonde_tensor_n_elements(&t);
        assert_int_equal(sonde_sink_open(&sink, path, name, &t, 1, NULL, 0), SONDE_OK);
        assert_int_equal(sonde_sink_put(sink, 0, 0, x_data, n), SONDE_OK);
        assert_int_equal(sonde_sink_commit(sink), SONDE_OK);
        assert_int_equal(sonde_npy_read(&back, path), SONDE_OK);
        assert_true(back.rank == rank && back.dtype == SONDE_F32 && sonde_tensor_n_elements(&back) == n);
        assert_memory_equal(back.data, x_data, (size_t)n * sizeof *x_data);
        sonde_npy_free(&back);
    }
    folder_clear();
}

static void npz_reads_back(void **unused)
{
    sonde_npz *file;
    sonde_tensor t;
    static const char *const plain[] = {"blocks.0.hook", "tokens", "\xc3\xa9"};
    sonde_tensor declared[3];
    sonde_sink *sink;
    const char *path = in_folder("x.npz");
    (void)unused;
    declare(declared);
    assert_int_equal(sonde_sink_open(&sink, path, plain, declared, 3, NULL, 0), SONDE_OK);
    assert_int_equal(sonde_sink_put(sink, 1, 0, tokens_data, 3), SONDE_OK);
    assert_int_equal(sonde_sink_put(sink, 0, 0, x_data, 6), SONDE_OK);
    assert_int_equal(sonde_sink_commit(sink), SONDE_OK);
    assert_int_equal(sonde_npz_open(&file, path), SONDE_OK);
    assert_int_equal(sonde_npz_n(file), 3);
    assert_string_equal(sonde_npz_name(file, 0), "blocks.0.hook");
    assert_string_equal(sonde_npz_name(file, 2), "\xc3\xa9");
    assert_int_equal(sonde_npz_read(&t, file, "blocks.0.hook"), SONDE_OK);
    assert_memory_equal(t.data, x_data, sizeof x_data);
    sonde_npy_free(&t);
    assert_int_equal(sonde_npz_read(&t, file, "tokens"), SONDE_OK);
    assert_memory_equal(t.data, tokens_data, sizeof tokens_data);
    sonde_npy_free(&t);
    assert_int_equal(sonde_npz_read(&t, file, "none"), SONDE_E_NOTFOUND);
    sonde_npz_close(file);
    folder_clear();
}

static void what_is_not_written_is_zero(void **unused)
{
    static const char *const endings[] = {"x.safetensors", "x.npy", "x.npz", "x.json"};
    static const int64_t shape[1] = {100000};
    static const char *const name[] = {"x"};
    const float one = 1.0f;
    (void)unused;
    for (int e = 0; e < 4; e++) {
        const char *path = in_folder(endings[e]);
        sonde_tensor t;
        sonde_sink *sink;
        size_t n = 0, ones = 0;
        char *bytes;
        assert_int_equal(sonde_tensor_view(&t, NULL, SONDE_F32, shape, 1), SONDE_OK);
        assert_int_equal(sonde_sink_open(&sink, path, name, &t, 1, NULL, 0), SONDE_OK);
        assert_int_equal(sonde_sink_put(sink, 0, 99999, &one, 1), SONDE_OK);
        assert_int_equal(sonde_sink_commit(sink), SONDE_OK);
        bytes = read_whole(path, &n);
        for (size_t i = 0; e == 3 && i + 3 <= n; i++)
            ones += memcmp(bytes + i, "1.0", 3) == 0;
        for (size_t i = 0; e < 3 && i + 4 <= n; i++)
            ones += memcmp(bytes + i, &one, 4) == 0;
        assert_int_equal(ones, 1);
        assert_true(n >= 400000);
        free(bytes);
    }
    folder_clear();
}

static void not_finite_is_null(void **unused)
{
    static const float values[4] = {INFINITY, -INFINITY, NAN, 1.0f};
    static const int64_t shape[1] = {4};
    static const char *const name[] = {"x"};
    sonde_tensor t;
    sonde_sink *sink;
    size_t n = 0;
    char *text;
    (void)unused;
    assert_int_equal(sonde_tensor_view(&t, NULL, SONDE_F32, shape, 1), SONDE_OK);
    assert_int_equal(sonde_sink_open(&sink, in_folder("x.json"), name, &t, 1, NULL, 0), SONDE_OK);
    assert_int_equal(sonde_sink_put(sink, 0, 0, values, 4), SONDE_OK);
    assert_int_equal(sonde_sink_commit(sink), SONDE_OK);
    text = read_whole(in_folder("x.json"), &n);
    text[n] = '\0';
    assert_string_equal(text, "{\"schema\": \"sonde.tensors/1\",\n\"tensors\": {\"x\": {\"shape\": [4], \"dtype\": \"F32\", "
                              "\"data\": [null,null,null,1.0]}}}\n");
    free(text);
    folder_clear();
}

/* ---- numbers ----------------------------------------------------------------------------------------------------------- */

static void numbers_are_short_and_exact(void **unused)
{
    static const struct {
        double x;
        const char *as_float, *as_double;
    } cases[] = {
        {0.1f, "0.1", "0.10000000149011612"},
        {1.0, "1.0", "1.0"},
        {-0.0, "-0.0", "-0.0"},
        {1e10, "1e+10", "1e+10"},
        {123456789, "1.2345679e+08", "123456789.0"},
        {1.0 / 3, "0.33333334", "0.3333333333333333"},
        {NAN, "null", "null"},
        {INFINITY, "null", "null"},
        {5e-324, "0.0", "5e-324"},
        {1e22, "1e+22", "1e+22"},
        {65504, "65504.0", "65504.0"},
        {1e-5, "1e-05", "1e-05"},
    };
    char text[SONDEP_NUMBER_BYTES];
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(sondep_json_float(text, (float)cases[i].x), strlen(cases[i].as_float));
        assert_string_equal(text, cases[i].as_float);
        assert_int_equal(sondep_json_double(text, cases[i].x), strlen(cases[i].as_double));
        assert_string_equal(text, cases[i].as_double);
    }
    for (uint64_t i = 0; i < 200000; i++) {
        uint32_t bits[4];
        float x;
        double y;
        sonde_random_bits(bits, 5, 0, i);
        memcpy(&x, bits, sizeof x);
        memcpy(&y, bits + 2, sizeof y);
        if (isfinite(x)) {
            int n = sondep_json_float(text, x);
            assert_int_equal(n, strlen(text));
            assert_true(strtof(text, NULL) == x);
        }
        if (isfinite(y)) {
            int n = sondep_json_double(text, y);
            assert_int_equal(n, strlen(text));
            assert_true(strtod(text, NULL) == y);
        }
    }
}

/* ---- refusals ----------------------------------------------------------------------------------------------------------- */

static void assert_not_opened(const char *path, const char *const *what, const sonde_tensor *t, int64_t n, sonde_status want,
                              const char *words)
{
    sonde_sink *sink = (sonde_sink *)folder;
    sonde_status status = sonde_sink_open(&sink, path, what, t, n, NULL, 0);
    if (status != want || strstr(sonde_last_error()->message, words) == NULL)
        fail_msg("status %d, message: %s; want %d, %s", status, sonde_last_error()->message, want, words);
    assert_null(sink);
    assert_int_equal(folder_n_files(), 0);
}

static void wrong_requests_are_refused(void **unused)
{
    static const char *const twice[] = {"a", "a"}, *const two[] = {"a", "b"}, *const bad[] = {"\xff"},
                             *const reserved[] = {"__metadata__"};
    static const int64_t shape[1] = {2};
    sonde_tensor t[2];
    (void)unused;
    assert_int_equal(sonde_tensor_view(&t[0], NULL, SONDE_F32, shape, 1), SONDE_OK);
    assert_int_equal(sonde_tensor_view(&t[1], NULL, SONDE_BF16, shape, 1), SONDE_OK);
    assert_not_opened(in_folder("x.txt"), two, t, 1, SONDE_E_ARG, "none of .safetensors");
    assert_not_opened(".npy", two, t, 1, SONDE_E_ARG, "none of");
    assert_not_opened(in_folder("x.npy"), two, t, 0, SONDE_E_ARG, ".npy holds one");
    assert_not_opened(in_folder("x.npz"), two, t, 0, SONDE_E_ARG, "needs a tensor");
    t[1].dtype = SONDE_F32;
    assert_not_opened(in_folder("x.npy"), two, t, 2, SONDE_E_ARG, "cannot write 2 tensors");
    assert_not_opened(in_folder("x.json"), twice, t, 2, SONDE_E_ARG, "two tensors are named 'a'");
    assert_not_opened(in_folder("x.json"), bad, t, 1, SONDE_E_FORMAT, "not UTF-8");
    assert_not_opened(in_folder("x.safetensors"), reserved, t, 1, SONDE_E_ARG, "__metadata__");
    t[1].dtype = SONDE_BF16;
    assert_not_opened(in_folder("x.npz"), two, t, 2, SONDE_E_UNSUPPORTED, "tensor 'b'");
    assert_string_equal(sonde_last_error()->hint, "use .safetensors");
    assert_not_opened(in_folder("none/x.npz"), two, t, 1, SONDE_E_IO, "none/x.npz");
    t[0].shape[0] = INT64_MAX / 2;
    t[0].dtype = SONDE_F64;
    assert_not_opened(in_folder("x.safetensors"), two, t, 1, SONDE_E_SHAPE, "too large");
}

static void an_abort_leaves_nothing(void **unused)
{
    static const char *const endings[] = {"x.safetensors", "x.npz", "x.json"};
    (void)unused;
    for (int e = 0; e < 3; e++) {
        sonde_sink *sink = open_three(in_folder(endings[e]));
        assert_int_equal(sonde_sink_put(sink, 0, 0, x_data, 6), SONDE_OK);
        sonde_sink_abort(sink);
        assert_int_equal(folder_n_files(), 0);
    }
    sonde_sink_abort(NULL);
}

/* A link to /dev/full stands for a full disk. */
static void a_full_disk_is_an_error(void **unused)
{
    static const char *const endings[] = {"x.safetensors", "x.npy", "x.npz", "x.json"};
    static const char *const name[] = {"x"};
    static const int64_t shape[1] = {6};
    (void)unused;
    for (int e = 0; e < 4; e++) {
        const char *path = in_folder(endings[e]);
        sonde_status status;
        sonde_tensor t;
        sonde_sink *sink;
        assert_int_equal(symlink("/dev/full", path), 0);
        assert_int_equal(sonde_tensor_view(&t, NULL, SONDE_F32, shape, 1), SONDE_OK);
        status = sonde_sink_open(&sink, path, name, &t, 1, NULL, 0);
        if (status == SONDE_OK) {
            assert_int_equal(sonde_sink_put(sink, 0, 0, x_data, 6), SONDE_OK);
            status = sonde_sink_commit(sink);
        }
        assert_int_equal(status, SONDE_E_IO);
        assert_true(strstr(sonde_last_error()->message, path) || strstr(sonde_last_error()->message, "/dev/full"));
        folder_clear();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(safetensors_reads_back),
        cmocka_unit_test(json_reads_back),
        cmocka_unit_test(npy_reads_back),
        cmocka_unit_test(npz_reads_back),
        cmocka_unit_test(what_is_not_written_is_zero),
        cmocka_unit_test(not_finite_is_null),
        cmocka_unit_test(numbers_are_short_and_exact),
        cmocka_unit_test(wrong_requests_are_refused),
        cmocka_unit_test(an_abort_leaves_nothing),
        cmocka_unit_test(a_full_disk_is_an_error),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
