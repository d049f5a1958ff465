/* safetensors: files of the official library, and files that lie. */
#include <sonde/format.h>

#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "folder.h"

/* Element i is i, or whether i is odd: as tests/oracle/format_golden.py makes them. */
static void assert_counts(const sonde_tensor *t)
{
    int64_t n = sonde_tensor_n_elements(t);
    double values[64];
    assert_in_range(n, 0, 64);
    sonde_convert_to_f64(values, t->data, t->dtype, n);
    for (int64_t i = 0; i < n; i++)
        assert_true(values[i] == (double)(t->dtype == SONDE_BOOL ? i % 2 : i));
}

static void every_type_is_read(void **unused)
{
    sonde_safetensors *file;
    sonde_tensor t;
    (void)unused;
    assert_int_equal(sonde_safetensors_open(&file, "tests/golden/format/all_types.safetensors"), SONDE_OK);
    assert_int_equal(sonde_safetensors_n(file), SONDE_N_DTYPES + 2);
    for (int d = 0; d < SONDE_N_DTYPES; d++) {
        assert_int_equal(sonde_safetensors_get(&t, file, sonde_dtype_name((sonde_dtype)d)), SONDE_OK);
        assert_true((int)t.dtype == d && t.rank == 2 && t.shape[0] == 2 && t.shape[1] == 3);
        assert_counts(&t);
    }
    assert_int_equal(sonde_safetensors_get(&t, file, "scalar"), SONDE_OK);
    assert_true(t.rank == 0 && t.dtype == SONDE_F64);
    assert_counts(&t);
    assert_int_equal(sonde_safetensors_get(&t, file, "empty"), SONDE_OK);
    assert_true(t.rank == 2 && t.shape[0] == 0 && t.shape[1] == 4);
    for (int64_t i = 1; i < sonde_safetensors_n(file); i++)
        assert_true(strcmp(sonde_safetensors_name(file, i - 1), sonde_safetensors_name(file, i)) < 0);
    assert_string_equal(sonde_safetensors_metadata(file, "note"), "Gr\xc3\xb6\xc3\x9f"
                                                                  "e\n\"q\"");
    assert_null(sonde_safetensors_metadata(file, "no such"));
    assert_int_equal(sonde_safetensors_get(&t, file, "absent"), SONDE_E_NOTFOUND);
    assert_string_equal(sonde_last_error()->message,
                        "tensor 'absent' is missing in 'tests/golden/format/all_types.safetensors'");
    sonde_safetensors_close(file);
    sonde_safetensors_close(NULL);
}

static void an_unreadable_type_is_an_error_when_asked_for(void **unused)
{
    sonde_safetensors *file;
    sonde_tensor t = {.rank = 7};
    (void)unused;
    assert_int_equal(sonde_safetensors_open(&file, "tests/golden/format/f8.safetensors"), SONDE_OK);
    assert_int_equal(sonde_safetensors_n(file), 1);
    assert_true(sonde_safetensors_has(file, "f8") && sonde_safetensors_has(file, "a"));
    assert_int_equal(sonde_safetensors_get(&t, file, "f8"), SONDE_E_UNSUPPORTED);
    assert_non_null(strstr(sonde_last_error()->message, "tensor 'f8'"));
    assert_non_null(strstr(sonde_last_error()->message, "F8_E4M3"));
    assert_int_equal(t.rank, 7);
    assert_int_equal(sonde_safetensors_get(&t, file, "a"), SONDE_OK);
    assert_counts(&t);
    sonde_safetensors_close(file);
}

static void shards_are_one_file(void **unused)
{
    static const char *const paths[] = {"tests/golden/format/sharded", "tests/golden/format/sharded/",
                                        "tests/golden/format/sharded/model.safetensors.index.json"};
    (void)unused;
    for (int p = 0; p < 3; p++) {
        sonde_safetensors *file;
        sonde_tensor t;
        assert_int_equal(sonde_safetensors_open(&file, paths[p]), SONDE_OK);
        assert_int_equal(sonde_safetensors_n(file), 3);
        for (int64_t i = 0; i < 3; i++) {
            assert_true(sonde_safetensors_name(file, i)[0] == 'a' + i);
            sonde_safetensors_at(&t, file, i);
            assert_counts(&t);
        }
        assert_string_equal(sonde_safetensors_metadata(file, "format"), "pt");
        sonde_safetensors_close(file);
    }
}

/* ---- files that lie ------------------------------------------------------------------------------------------------ */

/* A file with this header and so many bytes of data. */
static const char *make_tensors(const char *name, const char *header, size_t data_bytes)
{
    sondep_string s = {0};
    const char *path;
    size_t n = strlen(header);
    char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (char)(n >> (8 * i) & 0xff);
    assert_int_equal(sondep_string_append(&s, length, 8), SONDE_OK);
    assert_int_equal(sondep_string_append(&s, header, n), SONDE_OK);
    for (size_t i = 0; i < data_bytes; i++)
        assert_int_equal(sondep_string_append(&s, "\0", 1), SONDE_OK);
    path = make_file(name, s.text, s.n);
    sondep_string_release(&s);
    return path;
}

static void assert_refused(const char *path, sonde_status want, const char *words)
{
    sonde_safetensors *file = (sonde_safetensors *)folder;
    sonde_status status = sonde_safetensors_open(&file, path);
    const char *message = sonde_last_error()->message;
    if (status != want || strstr(message, words) == NULL || strstr(message, folder) == NULL)
        fail_msg("status %d, message: %s; want %d, %s", status, message, want, words);
    assert_null(file);
}

static void hostile_headers_are_refused(void **unused)
{
    static const struct {
        const char *header, *words;
        size_t data_bytes;
        sonde_status status;
    } cases[] = {
        {"", "not valid JSON", 0, SONDE_E_FORMAT},
        {"[]", "not a JSON object", 0, SONDE_E_FORMAT},
        {"{\"a\":", "not valid JSON: byte", 0, SONDE_E_FORMAT},
        {"{\"a\":1}", "tensor 'a': 'dtype'", 0, SONDE_E_FORMAT},
        {"{\"a\":{}}", "tensor 'a': 'dtype'", 0, SONDE_E_FORMAT},
        {"{\"a\":{\"dtype\":\"X7\",\"shape\":[1],\"data_offsets\":[0,4]}}", "tensor 'a': element type 'X7' is not known", 4,
         SONDE_E_UNSUPPORTED},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", "'data_offsets'", 4, SONDE_E_FORMAT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", "'data_offsets'", 4, SONDE_E_FORMAT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4.0]}}", "'data_offsets'", 4, SONDE_E_FORMAT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":3,\"data_offsets\":[0,4]}}", "'shape'", 4, SONDE_E_FORMAT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", "axis 0", 4, SONDE_E_FORMAT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,\"1\"],\"data_offsets\":[0,4]}}", "axis 1", 4, SONDE_E_FORMAT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", "needs 8 bytes, bytes 0 to 4 are 4", 4,
         SONDE_E_FORMAT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1152921504606846976],\"data_offsets\":[0,4]}}",
         "1152921504606846976 elements of 32 bits are too large", 4, SONDE_E_FORMAT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1152921504606846976,1152921504606846976],\"data_offsets\":[0,4]}}",
         "too large", 4, SONDE_E_FORMAT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[18446744073709551617],\"data_offsets\":[0,4]}}", "too big integer", 4,
         SONDE_E_FORMAT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}",
         "bytes 0 to 8 are outside the data, which has 4 bytes", 4, SONDE_E_FORMAT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", "outside the data", 4, SONDE_E_FORMAT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", "outside the data", 4, SONDE_E_FORMAT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_"
         "offsets\":[4,8]}}",
         "duplicate", 8, SONDE_E_FORMAT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_"
         "offsets\":[4,12]}}",
         "tensor 'b': it begins at byte 4 of the data, inside tensor 'a'", 12, SONDE_E_FORMAT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_"
         "offsets\":[8,12]}}",
         "bytes from 4 on belong to no tensor", 12, SONDE_E_FORMAT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "end at byte 4 of the data, which has 5 bytes",
         5, SONDE_E_FORMAT},
        {"{\"__metadata__\":[]}", "'__metadata__'", 0, SONDE_E_FORMAT},
        {"{\"__metadata__\":{\"k\":1}}", "field 'k' of '__metadata__'", 0, SONDE_E_FORMAT},
        {"{\"a\nb\":{}}", "byte", 0, SONDE_E_FORMAT},
        {"{\"a\\nb\\u001b\":{}}", "tensor 'a\\x0ab\\x1b'", 0, SONDE_E_FORMAT},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refused(make_tensors("bad.safetensors", cases[i].header, cases[i].data_bytes), cases[i].status,
                       cases[i].words);
    folder_clear();
}

static void lengths_are_checked_against_the_file(void **unused)
{
    (void)unused;
    assert_refused(make_file("bad.safetensors", "", 0), SONDE_E_FORMAT, "truncated: 0 bytes");
    assert_refused(make_file("bad.safetensors", "\x02\0\0\0\0\0\0", 7), SONDE_E_FORMAT, "truncated: 7 bytes");
    assert_refused(make_file("bad.safetensors", "\x03\0\0\0\0\0\0\0{}", 10), SONDE_E_FORMAT,
                   "truncated: the header ends at byte 11, the file at 10");
    assert_refused(make_file("bad.safetensors", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10), SONDE_E_FORMAT,
                   "18446744073709551615 bytes, more than 100000000");
    assert_refused(make_file("bad.safetensors", "\x01\xe1\xf5\x05\0\0\0\0{}", 10), SONDE_E_FORMAT, "100000001 bytes");
    assert_refused(in_folder("none.safetensors"), SONDE_E_NOTFOUND, "none.safetensors");
    assert_refused(folder, SONDE_E_NOTFOUND, "neither 'model.safetensors' nor");
    folder_clear();
}

static void deep_json_is_one_error(void **unused)
{
    enum { DEPTH = 200000 };
    sondep_string s = {0};
    (void)unused;
    for (int i = 0; i < DEPTH; i++)
        assert_int_equal(sondep_string_append(&s, "{\"a\":", 5), SONDE_OK);
    assert_refused(make_tensors("deep.safetensors", s.text, 0), SONDE_E_FORMAT, "maximum parsing depth");
    sondep_string_release(&s);
    folder_clear();
}

static void every_cut_is_an_error(void **unused)
{
    size_t n = 0;
    char *whole = read_whole("tests/golden/format/all_types.safetensors", &n);
    (void)unused;
    assert_non_null(whole);
    for (size_t cut = 0; cut < n; cut++)
        assert_refused(make_file("cut.safetensors", whole, cut), SONDE_E_FORMAT, "cut.safetensors");
    free(whole);
    folder_clear();
}

static void many_axes_and_spaces_are_legal(void **unused)
{
    sonde_safetensors *file;
    sonde_tensor t;
    (void)unused;
    assert_int_equal(
        sonde_safetensors_open(
            &file,
            make_tensors(
                "ok.safetensors",
                "  {\"a\": {\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[1,5]}, \"__metadata__\":null,"
                " \"b\":{\"data_offsets\":[0,1],\"shape\":[1],\"dtype\":\"U8\",\"extra\":0}, \"\":{\"data_offsets\":[5,5],"
                "\"shape\":[0],\"dtype\":\"F64\"}}   ",
                5)),
        SONDE_OK);
    assert_int_equal(sonde_safetensors_n(file), 2);
    assert_int_equal(sonde_safetensors_get(&t, file, "a"), SONDE_E_UNSUPPORTED);
    assert_non_null(strstr(sonde_last_error()->message, "9 axes, more than 8"));
    assert_int_equal(sonde_safetensors_get(&t, file, ""), SONDE_OK);
    sonde_safetensors_close(file);
    assert_int_equal(sonde_safetensors_open(&file, make_tensors("ok.safetensors", "{}", 0)), SONDE_OK);
    assert_int_equal(sonde_safetensors_n(file), 0);
    assert_false(sonde_safetensors_has(file, "a"));
    sonde_safetensors_close(file);
    folder_clear();
}

/* ---- indices --------------------------------------------------------------------------------------------------------- */

static void assert_index_refused(const char *index, sonde_status want, const char *words)
{
    make_tensors("s1.safetensors", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
    assert_refused(make_file("model.safetensors.index.json", index, strlen(index)), want, words);
}

static void hostile_indices_are_refused(void **unused)
{
    (void)unused;
    assert_index_refused("{", SONDE_E_FORMAT, "not valid JSON: line 1");
    assert_index_refused("{}", SONDE_E_FORMAT, "'weight_map' is missing");
    assert_index_refused("{\"weight_map\":{\"a\":1}}", SONDE_E_FORMAT, "tensor 'a' is not a name");
    assert_index_refused("{\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"s1.safetensors\"}}", SONDE_E_NOTFOUND,
                         "tensor 'b' is missing in 's1.safetensors'");
    assert_index_refused("{\"weight_map\":{\"a\":\"s2.safetensors\"}}", SONDE_E_NOTFOUND, "s2.safetensors");
    assert_index_refused("{\"weight_map\":{\"a\":\"../s1.safetensors\"}}", SONDE_E_FORMAT, "not inside its folder");
    assert_index_refused("{\"weight_map\":{\"a\":\"x/../../s1.safetensors\"}}", SONDE_E_FORMAT, "not inside its folder");
    assert_index_refused("{\"weight_map\":{\"a\":\"x/..\"}}", SONDE_E_FORMAT, "not inside its folder");
    assert_index_refused("{\"weight_map\":{\"a\":\"/etc/passwd\"}}", SONDE_E_FORMAT, "not inside its folder");
    assert_index_refused("{\"weight_map\":{\"a\":\"\"}}", SONDE_E_FORMAT, "not inside its folder");
    assert_index_refused("{\"weight_map\":{\"a\":\"s1.safetensors\",\"a\":\"s1.safetensors\"}}", SONDE_E_FORMAT,
                         "duplicate");
    folder_clear();
}

static void an_index_picks_its_tensors(void **unused)
{
    static const char index[] = "{\"weight_map\":{\"b\":\"..s2.safetensors\",\"a\":\"s1.safetensors\"}}";
    sonde_safetensors *file;
    sonde_tensor t;
    (void)unused;
    make_tensors("s1.safetensors", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
    make_tensors("..s2.safetensors",
                 "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
                 "\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[2,5]}}",
                 5);
    make_file("model.safetensors.index.json", index, sizeof index - 1);
    assert_int_equal(sonde_safetensors_open(&file, folder), SONDE_OK);
    assert_int_equal(sonde_safetensors_n(file), 2);
    assert_int_equal(sonde_safetensors_get(&t, file, "a"), SONDE_OK);
    assert_int_equal(t.shape[0], 1);
    sonde_safetensors_close(file);
    assert_int_equal(unlink(in_folder("..s2.safetensors")), 0);
    folder_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_read),
        cmocka_unit_test(an_unreadable_type_is_an_error_when_asked_for),
        cmocka_unit_test(shards_are_one_file),
        cmocka_unit_test(hostile_headers_are_refused),
        cmocka_unit_test(lengths_are_checked_against_the_file),
        cmocka_unit_test(deep_json_is_one_error),
        cmocka_unit_test(every_cut_is_an_error),
        cmocka_unit_test(many_axes_and_spaces_are_legal),
        cmocka_unit_test(hostile_indices_are_refused),
        cmocka_unit_test(an_index_picks_its_tensors),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
