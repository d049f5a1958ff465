/* npy and npz: files that numpy wrote, and files that are damaged. */
#include <sonde/format.h>

#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "folder.h"

static void assert_counts(const sonde_tensor *t)
{
    int64_t n = sonde_tensor_n_elements(t);
    double values[64];
    assert_in_range(n, 0, 64);
    sonde_convert_to_f64(values, t->data, t->dtype, n);
    for (int64_t i = 0; i < n; i++)
        assert_true(values[i] == (double)(t->dtype == SONDE_BOOL ? i % 2 : i));
}

static void files_of_numpy_are_read(void **unused)
{
    static const struct {
        const char *name;
        sonde_dtype dtype;
    } cases[] = {
        {"c_f4_v1", SONDE_F32}, {"fortran_f8_v2", SONDE_F64}, {"big_i4_v3", SONDE_I32}, {"fortran_big_u2_v1", SONDE_U16},
        {"f2_v1", SONDE_F16},   {"bool_v1", SONDE_BOOL},      {"i1_v1", SONDE_I8}};
    sonde_tensor t;
    char path[128];
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(path, sizeof path, "tests/golden/format/%s.npy", cases[i].name);
        if (sonde_npy_read(&t, path) != SONDE_OK)
            fail_msg("%s", sonde_last_error()->message);
        assert_true(t.dtype == cases[i].dtype && t.rank == 3 && t.shape[0] == 2 && t.shape[1] == 3 && t.shape[2] == 4);
        assert_counts(&t);
        sonde_npy_free(&t);
        assert_null(t.data);
    }
    assert_int_equal(sonde_npy_read(&t, "tests/golden/format/scalar.npy"), SONDE_OK);
    assert_true(t.rank == 0 && t.dtype == SONDE_F32);
    sonde_npy_free(&t);
    assert_int_equal(sonde_npy_read(&t, "tests/golden/format/empty.npy"), SONDE_OK);
    assert_true(t.rank == 2 && t.shape[0] == 3 && t.shape[1] == 0);
    sonde_npy_free(&t);
}

static void assert_refused(const char *path, sonde_status want, const char *words)
{
    sonde_tensor t;
    sonde_status status = sonde_npy_read(&t, path);
    if (status != want || strstr(sonde_last_error()->message, words) == NULL)
        fail_msg("status %d, message: %s; want %d, %s", status, sonde_last_error()->message, want, words);
}

static void types_without_a_tensor_are_named(void **unused)
{
    (void)unused;
    assert_refused("tests/golden/format/complex_v1.npy", SONDE_E_UNSUPPORTED, "'<c8'");
    assert_refused("tests/golden/format/text_v1.npy", SONDE_E_UNSUPPORTED, "'<U3'");
    assert_refused("tests/golden/format/fields.npy", SONDE_E_UNSUPPORTED, "with fields");
    assert_refused(in_folder("none.npy"), SONDE_E_NOTFOUND, "none.npy");
}

static void every_cut_is_an_error(void **unused)
{
    size_t n = 0;
    char *whole = read_whole("tests/golden/format/c_f4_v1.npy", &n);
    (void)unused;
    assert_non_null(whole);
    for (size_t cut = 0; cut < n; cut++)
        assert_refused(make_file("cut.npy", whole, cut), SONDE_E_FORMAT, "cut.npy");
    free(whole);
    folder_clear();
}

/* A version 1 file with this dictionary and 8 bytes of data. */
static const char *make_npy(const char *dictionary)
{
    char bytes[512] = "\x93NUMPY\x01\x00";
    size_t n = strlen(dictionary);
    bytes[8] = (char)n;
    memcpy(bytes + 10, dictionary, n);
    return make_file("bad.npy", bytes, 10 + n + 8);
}

static void hostile_headers_are_refused(void **unused)
{
    static const struct {
        const char *dictionary, *words;
        sonde_status status;
    } cases[] = {
        {"", "byte 10 of its header: '{' expected", SONDE_E_FORMAT},
        {"{", "a string expected", SONDE_E_FORMAT},
        {"{}", "lacks 'descr'", SONDE_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False}", "lacks 'shape'", SONDE_E_FORMAT},
        {"{'descr': '<f4', 'shape': (2,)}", "lacks 'fortran_order'", SONDE_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}", "the key 'x'", SONDE_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2,)}", "True or False expected", SONDE_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}", "a whole number expected", SONDE_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", "a smaller number", SONDE_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4611686018427387904)}", "too large",
         SONDE_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1152921504606846976,)}", "truncated", SONDE_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}", "needs 12 bytes", SONDE_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}", "more than 8 axes", SONDE_E_UNSUPPORTED},
        {"{'descr': '', 'fortran_order': False, 'shape': (1,)}", "type ''", SONDE_E_UNSUPPORTED},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", "type '|O'", SONDE_E_UNSUPPORTED},
        {"{'descr': '<f4", "the end of a string expected", SONDE_E_FORMAT},
        {"{'descr' '<f4'", "':' expected", SONDE_E_FORMAT},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refused(make_npy(cases[i].dictionary), cases[i].status, cases[i].words);
    assert_refused(make_file("bad.npy", "\x93NUMPX\x01\x00\x00\x00", 10), SONDE_E_FORMAT, "does not begin with");
    assert_refused(make_file("bad.npy", "\x93NUMPY\x09\x00\x00\x00", 10), SONDE_E_UNSUPPORTED, "version 9");
    assert_refused(make_file("bad.npy", "\x93NUMPY\x02\x00\xff\xff\xff\xff", 12), SONDE_E_FORMAT, "truncated");
    folder_clear();
}

static void any_spacing_and_order_is_read(void **unused)
{
    sonde_tensor t;
    (void)unused;
    assert_int_equal(sonde_npy_read(&t, make_npy("{ \"shape\" :(1L,2L) ,'fortran_order':True,'descr':'=f4'}  \n")),
                     SONDE_OK);
    assert_true(t.rank == 2 && t.shape[0] == 1 && t.shape[1] == 2);
    sonde_npy_free(&t);
    folder_clear();
}

static void archives_of_numpy_are_read(void **unused)
{
    static const char *const paths[] = {"tests/golden/format/stored.npz", "tests/golden/format/deflated.npz"};
    (void)unused;
    for (int p = 0; p < 2; p++) {
        sonde_npz *file;
        sonde_tensor t;
        assert_int_equal(sonde_npz_open(&file, paths[p]), SONDE_OK);
        assert_int_equal(sonde_npz_n(file), 2);
        assert_string_equal(sonde_npz_name(file, 0), "a");
        assert_int_equal(sonde_npz_read(&t, file, "a"), SONDE_OK);
        assert_true(t.dtype == SONDE_F32 && t.rank == 2);
        assert_counts(&t);
        sonde_npy_free(&t);
        assert_int_equal(sonde_npz_read(&t, file, "b"), SONDE_OK);
        assert_true(t.dtype == SONDE_I64);
        assert_counts(&t);
        sonde_npy_free(&t);
        assert_int_equal(sonde_npz_read(&t, file, "c"), SONDE_E_NOTFOUND);
        sonde_npz_close(file);
    }
    sonde_npz_close(NULL);
}

/* Every byte of an archive is changed in turn: each is read as it was, or refused; nothing else may happen. */
static void damaged_archives_are_survived(void **unused)
{
    size_t n = 0;
    char *whole = read_whole("tests/golden/format/deflated.npz", &n);
    int refused = 0;
    (void)unused;
    assert_non_null(whole);
    for (size_t i = 0; i < 2 * n; i++) {
        sonde_npz *file;
        const char *path;
        whole[i % n] ^= i < n ? 1 : 0x55;
        path = make_file("x.npz", whole, n);
        whole[i % n] ^= i < n ? 1 : 0x55;
        if (sonde_npz_open(&file, path) != SONDE_OK) {
            assert_null(file);
            refused++;
            continue;
        }
        for (int64_t k = 0; k < sonde_npz_n(file); k++) {
            sonde_tensor t;
            if (sonde_npz_read(&t, file, sonde_npz_name(file, k)) == SONDE_OK)
                sonde_npy_free(&t);
            else
                refused++;
        }
        sonde_npz_close(file);
    }
    assert_true(refused > (int)n / 4);
    free(whole);
    {
        sonde_npz *file;
        assert_int_equal(sonde_npz_open(&file, make_file("x.npz", "no zip", 6)), SONDE_E_FORMAT);
        assert_non_null(strstr(sonde_last_error()->message, "x.npz"));
        assert_int_equal(sonde_npz_open(&file, in_folder("none.npz")), SONDE_E_NOTFOUND);
    }
    folder_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_of_numpy_are_read),       cmocka_unit_test(types_without_a_tensor_are_named),
        cmocka_unit_test(every_cut_is_an_error),         cmocka_unit_test(hostile_headers_are_refused),
        cmocka_unit_test(any_spacing_and_order_is_read), cmocka_unit_test(archives_of_numpy_are_read),
        cmocka_unit_test(damaged_archives_are_survived),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
