/* JSON files: fields by type, errors that name file, line and field, limits. */
#include "format/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "folder.h"

static json_t *load(const char *text)
{
    json_t *root;
    if (sondep_json_load(&root, make_file("c.json", text, strlen(text))) != SONDE_OK)
        fail_msg("%s", sonde_last_error()->message);
    return root;
}

static void assert_message(sonde_status status, sonde_status want, const char *words)
{
    if (status != want || strstr(sonde_last_error()->message, words) == NULL)
        fail_msg("status %d, message: %s; want %d, %s", status, sonde_last_error()->message, want, words);
}

static void fields_have_types(void **unused)
{
    json_t *root = load("{\"i\": 7, \"r\": 3.0, \"h\": 0.5, \"b\": true, \"s\": \"x\", \"z\": null, \"o\": {}, \"a\": [], "
                        "\"n\": \"a\\u0000b\"}");
    int64_t i = -1;
    double r = -1;
    bool b = false;
    const char *s = NULL;
    const json_t *v = NULL;
    (void)unused;
    assert_int_equal(sondep_json_get_int(&i, root, "i", "c.json"), SONDE_OK);
    assert_int_equal(i, 7);
    assert_int_equal(sondep_json_get_int(&i, root, "r", "c.json"), SONDE_OK);
    assert_int_equal(i, 3);
    assert_int_equal(sondep_json_get_double(&r, root, "i", "c.json"), SONDE_OK);
    assert_true(r == 7);
    assert_int_equal(sondep_json_get_bool(&b, root, "b", "c.json"), SONDE_OK);
    assert_true(b);
    assert_int_equal(sondep_json_get_string(&s, root, "s", "c.json"), SONDE_OK);
    assert_string_equal(s, "x");
    assert_int_equal(sondep_json_get_object(&v, root, "o", "c.json"), SONDE_OK);
    assert_int_equal(sondep_json_get_array(&v, root, "a", "c.json"), SONDE_OK);
    assert_message(sondep_json_get_int(&i, root, "h", "c.json"), SONDE_E_FORMAT,
                   "field 'h' of 'c.json' is 0.5, not an integer");
    assert_message(sondep_json_get_int(&i, root, "s", "c.json"), SONDE_E_FORMAT,
                   "field 's' of 'c.json' is a string, not an integer");
    assert_message(sondep_json_get_double(&r, root, "b", "c.json"), SONDE_E_FORMAT, "is true, not a number");
    assert_message(sondep_json_get_bool(&b, root, "i", "c.json"), SONDE_E_FORMAT, "not true or false");
    assert_message(sondep_json_get_string(&s, root, "o", "c.json"), SONDE_E_FORMAT, "an object, not a string");
    assert_message(sondep_json_get_string(&s, root, "n", "c.json"), SONDE_E_FORMAT, "NUL inside, at byte 1");
    assert_message(sondep_json_get_object(&v, root, "a", "c.json"), SONDE_E_FORMAT, "an array, not an object");
    assert_message(sondep_json_get_array(&v, root, "o", "c.json"), SONDE_E_FORMAT, "not an array");
    assert_message(sondep_json_get_int(&i, root, "none", "c.json"), SONDE_E_NOTFOUND, "field 'none' is missing in 'c.json'");
    assert_message(sondep_json_get_string(&s, root, "z", "c.json"), SONDE_E_NOTFOUND, "field 'z' is missing");
    json_decref(root);
    folder_clear();
}

static void optional_fields_leave_the_default(void **unused)
{
    json_t *root = load("{\"z\": null, \"s\": \"x\"}");
    int64_t i = 5;
    double r = 5;
    bool b = true;
    const char *s = "d";
    const json_t *v = NULL;
    (void)unused;
    for (int k = 0; k < 2; k++) {
        const char *key = k ? "z" : "none";
        assert_int_equal(sondep_json_opt_int(&i, root, key, "c.json"), SONDE_OK);
        assert_int_equal(sondep_json_opt_double(&r, root, key, "c.json"), SONDE_OK);
        assert_int_equal(sondep_json_opt_bool(&b, root, key, "c.json"), SONDE_OK);
        assert_int_equal(sondep_json_opt_string(&s, root, key, "c.json"), SONDE_OK);
        assert_int_equal(sondep_json_opt_object(&v, root, key, "c.json"), SONDE_OK);
        assert_int_equal(sondep_json_opt_array(&v, root, key, "c.json"), SONDE_OK);
    }
    assert_true(i == 5 && r == 5 && b && strcmp(s, "d") == 0 && v == NULL);
    assert_message(sondep_json_opt_int(&i, root, "s", "c.json"), SONDE_E_FORMAT, "field 's'");
    json_decref(root);
    folder_clear();
}

/* tokenizer_config.json says model_max_length: 1000000000000000019884624838656. */
static void integers_beyond_64_bits_become_reals(void **unused)
{
    json_t *root = load("{\"m\": 1000000000000000019884624838656, \"i\": 12}");
    int64_t i;
    double r;
    (void)unused;
    assert_int_equal(sondep_json_get_int(&i, root, "i", "c.json"), SONDE_OK);
    assert_int_equal(i, 12);
    assert_int_equal(sondep_json_get_double(&r, root, "m", "c.json"), SONDE_OK);
    assert_true(r == 1e30);
    assert_message(sondep_json_get_int(&i, root, "m", "c.json"), SONDE_E_FORMAT, "not an integer");
    json_decref(root);
    folder_clear();
}

static void refuse(const char *text, size_t n, const char *words)
{
    json_t *root = (json_t *)folder;
    assert_message(sondep_json_load(&root, make_file("c.json", text, n)), SONDE_E_FORMAT, words);
    assert_null(root);
    assert_non_null(strstr(sonde_last_error()->message, "c.json"));
}

static void damaged_files_name_the_place(void **unused)
{
    enum { DEPTH = 100000 };
    char *deep = malloc(DEPTH);
    json_t *root;
    (void)unused;
    refuse("", 0, "line 1");
    refuse("{\n\"a\": 1,\n\"b\" 2}", 15, "line 3");
    refuse("{\"a\": 1, \"a\": 2}", 16, "duplicate");
    refuse("{\"a\": \"\xff\"}", 9, "byte 7: unable to decode byte 0xff");
    refuse("{\"a\": \"\\ud800\"}", 15, "Unicode");
    refuse("{\"a\": 1} x", 10, "end of file expected");
    refuse("{\"a\": 1e999}", 12, "real number overflow");
    refuse("\xef\xbb\xbf{}", 5, "line 1");
    refuse("3", 1, "line 1");
    memset(deep, '[', DEPTH);
    refuse(deep, DEPTH, "maximum parsing depth");
    free(deep);
    assert_message(sondep_json_load(&root, in_folder("none.json")), SONDE_E_NOTFOUND, "none.json");
    assert_message(sondep_json_load(&root, folder), SONDE_E_FORMAT, "is a directory");
    folder_clear();
}

static void strings_are_quoted(void **unused)
{
    sondep_string s = {0};
    json_t *root;
    (void)unused;
    assert_int_equal(sondep_string_append(&s, "[", 1), SONDE_OK);
    assert_int_equal(sondep_json_quote(&s, "a\"\\/\b\f\n\r\t\x01\x1f\x7f\xc3\xa9"), SONDE_OK);
    assert_int_equal(sondep_string_append(&s, "]", 1), SONDE_OK);
    assert_string_equal(s.text, "[\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\xc3\xa9\"]");
    assert_int_equal(sondep_json_parse(&root, s.text, s.n, "x", 0, 0), SONDE_OK);
    assert_string_equal(json_string_value(json_array_get(root, 0)), "a\"\\/\b\f\n\r\t\x01\x1f\x7f\xc3\xa9");
    json_decref(root);
    sondep_string_release(&s);
}

static void small_files_are_written_field_by_field(void **unused)
{
    sondep_json_writer w = {0};
    size_t n = 0;
    char *whole;
    (void)unused;
    sondep_json_put_begin(&w, NULL, '{');
    sondep_json_put_text(&w, "a \"name\"", "\n");
    sondep_json_put_begin(&w, "list", '[');
    sondep_json_put_int(&w, NULL, INT64_MIN);
    sondep_json_put_number(&w, NULL, 1e-5);
    sondep_json_put_end(&w, ']');
    sondep_json_put_begin(&w, "empty", '{');
    sondep_json_put_end(&w, '}');
    sondep_json_put_bool(&w, "yes", true);
    sondep_json_put_null(&w, "none");
    sondep_json_put_end(&w, '}');
    assert_int_equal(sondep_json_write(&w, in_folder("small.json")), SONDE_OK);
    whole = read_whole(in_folder("small.json"), &n);
    assert_non_null(whole);
    whole[n] = '\0';
    assert_string_equal(whole,
                        "{\n  \"a \\\"name\\\"\": \"\\n\",\n  \"list\": [\n    -9223372036854775808,\n    1e-05\n  ],\n"
                        "  \"empty\": {},\n  \"yes\": true,\n  \"none\": null\n}\n");
    free(whole);
    folder_clear();
    /* A folder that is not there: said when the file is written, and nothing is kept. */
    sondep_json_put_begin(&w, NULL, '[');
    sondep_json_put_end(&w, ']');
    assert_int_equal(sondep_json_write(&w, in_folder("none/small.json")), SONDE_E_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_have_types),
        cmocka_unit_test(optional_fields_leave_the_default),
        cmocka_unit_test(integers_beyond_64_bits_become_reals),
        cmocka_unit_test(damaged_files_name_the_place),
        cmocka_unit_test(strings_are_quoted),
        cmocka_unit_test(small_files_are_written_field_by_field),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
