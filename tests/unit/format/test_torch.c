/* PyTorch's files: those that torch.save wrote, those that want to run something, and our own. */
#include <sonde/format.h>

#include "format/pickle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../folder.h"

#define GOLDEN "tests/golden/format/"

static sonde_torch *open_file(const char *path)
{
    sonde_torch *file;

    if (sonde_torch_open(&file, path) != SONDE_OK)
        fail_msg("%s", sonde_last_error()->message);
    return file;
}

/* The tensor of a name, as doubles; its elements in *n. */
static const double *read_doubles(sonde_tensor *t, const sonde_torch *file, const char *name)
{
    static double values[64];
    int64_t i = sonde_torch_find(file, name);

    assert_true(i >= 0);
    assert_int_equal(sonde_torch_kind_of(file, i), SONDE_TORCH_TENSOR);
    if (sonde_torch_read(t, file, i) != SONDE_OK)
        fail_msg("%s", sonde_last_error()->message);
    assert_true(sonde_tensor_n_elements(t) <= 64);
    sonde_convert_to_f64(values, t->data, t->dtype, sonde_tensor_n_elements(t));
    return values;
}

static void test_all_types(void **unused)
{
    static const char *const names[] = {"F32", "F64", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"};
    sonde_torch *file = open_file(GOLDEN "all_types.pt");
    const double *x;
    sonde_tensor t;

    (void)unused;
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        x = read_doubles(&t, file, names[k]);
        assert_string_equal(sonde_dtype_name(t.dtype), names[k]);
        assert_int_equal(t.rank, 2);
        for (int i = 0; i < 6; i++)
            assert_true(x[i] == (t.dtype == SONDE_BOOL ? i % 2 : i));
        sonde_npy_free(&t);
    }
    x = read_doubles(&t, file, "turned");
    assert_true(t.shape[0] == 6 && t.shape[1] == 4);
    for (int i = 0; i < 24; i++)
        assert_true(x[i] == i % 4 * 6 + i / 4);
    sonde_npy_free(&t);
    x = read_doubles(&t, file, "part");
    assert_true(t.shape[0] == 2 && t.shape[1] == 3 && x[0] == 7 && x[1] == 9 && x[2] == 11 && x[5] == 17);
    sonde_npy_free(&t);
    x = read_doubles(&t, file, "scalar");
    assert_true(t.rank == 0 && x[0] == 0.0);
    sonde_npy_free(&t);
    read_doubles(&t, file, "empty");
    assert_true(t.rank == 2 && t.shape[0] == 0 && t.shape[1] == 4);
    sonde_npy_free(&t);
    assert_int_equal(sonde_torch_find(file, "nothing"), -1);
    sonde_torch_close(file);
}

static void test_values_within_each_other(void **unused)
{
    sonde_torch *file = open_file(GOLDEN "nested.pt");
    sonde_tensor t;

    (void)unused;
    assert_int_equal(sonde_torch_n(file), 7);
    assert_true(read_doubles(&t, file, "a.b.0")[2] == 2.0);
    sonde_npy_free(&t);
    assert_true(sonde_torch_number(file, sonde_torch_find(file, "a.b.1")) == 3.0);
    assert_true(sonde_torch_number(file, sonde_torch_find(file, "a.b.2")) == -2.5);
    assert_string_equal(sonde_torch_text(file, sonde_torch_find(file, "a.b.3")), "text");
    assert_int_equal(sonde_torch_kind_of(file, sonde_torch_find(file, "a.b.4")), SONDE_TORCH_NONE);
    assert_true(sonde_torch_number(file, sonde_torch_find(file, "a.b.5")) == 1.0);
    assert_true(sonde_torch_number(file, sonde_torch_find(file, "7")) == 1099511627776.0);
    assert_int_equal(sonde_torch_read(&t, file, sonde_torch_find(file, "7")), SONDE_E_SHAPE);
    sonde_torch_close(file);
    file = open_file(GOLDEN "state.pt");
    assert_int_equal(sonde_torch_n(file), 4);
    assert_true(read_doubles(&t, file, "0.weight")[5] == 5.0 && t.shape[1] == 3);
    sonde_npy_free(&t);
    sonde_torch_close(file);
}

/* The error of a file that is refused. */
static void assert_refused(const char *path, sonde_status status, const char *says)
{
    sonde_torch *file;

    assert_int_equal(sonde_torch_open(&file, path), status);
    assert_null(file);
    if (strstr(sonde_last_error()->message, says) == NULL)
        fail_msg("'%s' does not say '%s'", sonde_last_error()->message, says);
}

static void test_refused(void **unused)
{
    sonde_torch *file = open_file(GOLDEN "repeated.pt");
    sonde_tensor t;

    (void)unused;
    assert_int_equal(sonde_torch_read(&t, file, 0), SONDE_E_FORMAT);
    sonde_torch_close(file);
    assert_refused(GOLDEN "wants.pt", SONDE_E_UNSUPPORTED, "'posix.system'");
    assert_refused(GOLDEN "old.pt", SONDE_E_UNSUPPORTED, "PyTorch before 1.6");
    assert_refused(GOLDEN "stored.npz", SONDE_E_FORMAT, "data.pkl");
    assert_refused(GOLDEN "c_f4_v1.npy", SONDE_E_FORMAT, "c_f4_v1.npy");
    assert_refused("no-such.pt", SONDE_E_NOTFOUND, "no-such.pt");
}

/* A pickle by itself: refused with this status, and these words. */
static void assert_pickle(const char *bytes, size_t n, sonde_status status, const char *says)
{
    sondep_pickle pickle;

    assert_int_equal(sondep_pickle_read(&pickle, bytes, n, "x.pt"), status);
    sondep_pickle_release(&pickle);
    if (strstr(sonde_last_error()->message, says) == NULL)
        fail_msg("'%s' does not say '%s'", sonde_last_error()->message, says);
}

/* One operation after another that does not hold. */
static void test_damaged_pickles(void **unused)
{
#define DAMAGED(bytes, says) assert_pickle(bytes, sizeof(bytes) - 1, SONDE_E_FORMAT, says)
#define WANTS(bytes, says) assert_pickle(bytes, sizeof(bytes) - 1, SONDE_E_UNSUPPORTED, says)
    (void)unused;
    DAMAGED("", "its end at byte 0");
    DAMAGED(".", "a missing value");
    DAMAGED("\x80\x02(", "its end");
    DAMAGED("X\xff\xff\xff\x7f", "the length of a text");
    DAMAGED("t.", "a missing mark");
    DAMAGED("(K\x01"
            "d.",
            "a key without a value");
    DAMAGED("h\x05.", "not noted");
    DAMAGED("Nr\xff\xff\xff\x7f.", "memo");
    DAMAGED("K\x01)R.", "a call of what is no name");
    DAMAGED("ccollections\nOrderedDict\nK\x01\x85R.", "a dictionary with arguments");
    DAMAGED("ctorch._utils\n_rebuild_tensor_v2\n)R.", "a tensor that is none");
    DAMAGED("ctorch\nFloatStorage\n)R.", "cannot be called");
    DAMAGED("K\x01Q.", "a storage that is none");
    DAMAGED("NNb.", "neither a tensor nor plain data");
    DAMAGED("\x8a\x09"
            "123456789.",
            "more than 64 bits");
    DAMAGED("K\x01(e.", "items of what has none");
    DAMAGED("](a.", "a mark among items");
    DAMAGED("\x81.", "an operation that");
    WANTS("cbuiltins\neval\n.", "'builtins.eval'");
    WANTS("\x8c\x02os\x8c\x06system\x93.", "'os.system'");
    WANTS("ctorch\nload\n.", "'torch.load'");
    WANTS("ccollections\nOrderedDict\x0d\n.", "OrderedDict");
    WANTS("c__builtin__\ngetattr\n.", "getattr");
}

static void test_written(void **unused)
{
    static const float a[] = {1, 2, 3, 4, 5, 6};
    static const int32_t b = -7;
    static const char *const names[] = {"layer.weight", "k"};
    sonde_tensor tensors[] = {{.dtype = SONDE_F32, .rank = 2, .shape = {2, 3}}, {.dtype = SONDE_I32}}, t;
    sonde_torch *file;
    sonde_sink *sink;

    (void)unused;
    assert_int_equal(sonde_sink_open(&sink, in_folder("x.pt"), names, tensors, 2, NULL, 0), SONDE_OK);
    assert_int_equal(sonde_sink_put(sink, 1, 0, &b, 1), SONDE_OK);
    assert_int_equal(sonde_sink_put(sink, 0, 0, a, 6), SONDE_OK);
    assert_int_equal(sonde_sink_commit(sink), SONDE_OK);
    file = open_file(in_folder("x.pt"));
    assert_int_equal(sonde_torch_n(file), 2);
    assert_string_equal(sonde_torch_name(file, 0), "layer.weight");
    assert_true(read_doubles(&t, file, "layer.weight")[5] == 6.0 && t.shape[0] == 2 && t.shape[1] == 3);
    sonde_npy_free(&t);
    assert_true(read_doubles(&t, file, "k")[0] == -7.0 && t.rank == 0);
    sonde_npy_free(&t);
    sonde_torch_close(file);
    tensors[1].dtype = SONDE_U32;
    assert_int_equal(sonde_sink_open(&sink, in_folder("y.pt"), names, tensors, 2, NULL, 0), SONDE_E_UNSUPPORTED);
    assert_int_equal(folder_n_files(), 1);
    folder_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_types), cmocka_unit_test(test_values_within_each_other),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_damaged_pickles),
        cmocka_unit_test(test_written),
    };

    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
