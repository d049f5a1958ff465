/* Documents: txt, jsonl and zstd, as a stream; what is kept, what is skipped, what is refused and where. */
#include <sonde/text.h>

#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <zstd.h>

#include "folder.h"

/* Packs n bytes as one zstd frame behind what is in `out` already. */
static void pack(sondep_string *out, const char *bytes, size_t n)
{
    size_t room = ZSTD_compressBound(n), packed;
    char *frame = malloc(room);
    packed = ZSTD_compress(frame, room, bytes, n, 3);
    assert_false(ZSTD_isError(packed));
    assert_int_equal(sondep_string_append(out, frame, packed), SONDE_OK);
    free(frame);
}

static sonde_documents *open_file(const char *name, const char *bytes, size_t n, const char *field)
{
    sonde_documents *d;
    if (sonde_documents_open(&d, make_file(name, bytes, n), field) != SONDE_OK)
        fail_msg("%s", sonde_last_error()->message);
    return d;
}

static void assert_next(sonde_documents *d, const char *want, size_t n)
{
    const char *text;
    size_t got;
    if (sonde_documents_next(d, &text, &got) != SONDE_OK)
        fail_msg("%s", sonde_last_error()->message);
    assert_non_null(text);
    assert_int_equal(got, n);
    assert_memory_equal(text, want, n);
}

static void assert_end(sonde_documents *d)
{
    for (int i = 0; i < 2; i++) { /* the end stays the end */
        const char *text = "";
        size_t n = 1;
        assert_int_equal(sonde_documents_next(d, &text, &n), SONDE_OK);
        assert_null(text);
        assert_int_equal(n, 0);
    }
    assert_true(sonde_documents_progress(d) == 1.0);
    sonde_documents_close(d);
}

static void assert_fails(sonde_documents *d, const char *words)
{
    const char *text;
    size_t n;
    sonde_status status = sonde_documents_next(d, &text, &n);
    if (status != SONDE_E_FORMAT || strstr(sonde_last_error()->message, words) == NULL ||
        strstr(sonde_last_error()->message, folder) == NULL)
        fail_msg("status %d, message: %s; want %s", status, sonde_last_error()->message, words);
    assert_null(text);
    sonde_documents_close(d);
}

static void a_txt_file_is_one_document(void **unused)
{
    static const char text[] = "\xef\xbb\xbfline\r\nNUL \0 \xc3\xa9\r\r\n";
    sonde_documents *d = open_file("a.txt", text, sizeof text - 1, NULL);
    (void)unused;
    assert_next(d, text, sizeof text - 1);
    assert_end(d);
    d = open_file("no_ending", "x", 1, NULL);
    assert_next(d, "x", 1);
    assert_end(d);
    d = open_file("empty.txt", "", 0, NULL);
    assert_next(d, "", 0);
    assert_end(d);
    assert_fails(open_file("bad.txt", "ab\xff", 3, NULL), "byte 2 is 0xff");
    folder_clear();
}

static void a_jsonl_file_is_one_document_a_line(void **unused)
{
    static const char lines[] =
        "{\"text\": \"one\"}\r\n\n  \t\r\n {\"id\": 1, \"text\": \"\\u00e9\\ud83d\\ude00\\u0000.\\r\\n\"} \n"
        "{\"text\": \"\"}\n{\"big\": 123456789012345678901234567890, \"text\": \"last\"}";
    sonde_documents *d = open_file("a.jsonl", lines, sizeof lines - 1, NULL);
    (void)unused;
    assert_next(d, "one", 3);
    assert_next(d, "\xc3\xa9\xf0\x9f\x98\x80\0.\r\n", 10);
    assert_next(d, "", 0);
    assert_next(d, "last", 4);
    assert_end(d);
    d = open_file("b.jsonl", "{\"content\": \"x\", \"text\": 3}\n", 28, "content");
    assert_next(d, "x", 1);
    assert_end(d);
    assert_end(open_file("empty.jsonl", "", 0, NULL));
    assert_end(open_file("blank.jsonl", "\n\r\n ", 4, NULL));
    folder_clear();
}

static void bad_lines_are_named(void **unused)
{
    static const struct {
        const char *line, *words;
    } cases[] = {
        {"{\"text\": \"a}", "line 3, byte "},
        {"[]", "line 3 is not a JSON object"},
        {"{}", "line 3 has no field 'text'"},
        {"{\"text\": null}", "line 3: field 'text' is not a string"},
        {"{\"text\": 3}", "line 3: field 'text' is not a string"},
        {"{\"text\": \"\xff\"}", "line 3, byte 31: unable to decode byte 0xff"},
        {"{\"text\": \"\\ud800\"}", "line 3, byte"},
        {"{\"text\": \"a\", \"text\": \"b\"}", "duplicate"},
        {"\xef\xbb\xbf{\"text\": \"a\"}", "line 3"},
        {"{\"text\": \"a\"} {}", "line 3"},
        {"x", "line 3"},
        {"\f", "line 3"},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char lines[128];
        int n = snprintf(lines, sizeof lines, "{\"text\": \"%s\"}\n\n%s\n{\"text\": \"c\"}\n", "1234567", cases[i].line);
        sonde_documents *d = open_file("a.jsonl", lines, (size_t)n, NULL);
        assert_next(d, "1234567", 7);
        assert_fails(d, cases[i].words);
    }
    folder_clear();
}

/* Lines of every length around the sizes of the buffers, plain and packed in several frames. */
static void long_lines_pass_the_buffers(void **unused)
{
    static const size_t lengths[] = {0, 1, 65535, 65536, 65537, 131071, 131072, 131073, 200000, 3, 1 << 20, 7};
    enum { N = sizeof lengths / sizeof *lengths };
    sondep_string plain = {0}, packed = {0};
    char *filler = malloc(1 << 20);
    (void)unused;
    for (size_t i = 0; i < 1 << 20; i++)
        filler[i] = (char)('a' + i * i % 25);
    for (int i = 0; i < N; i++) {
        size_t begin = plain.n;
        assert_int_equal(sondep_string_printf(&plain, "{\"text\":\""), SONDE_OK);
        assert_int_equal(sondep_string_append(&plain, filler, lengths[i]), SONDE_OK);
        assert_int_equal(sondep_string_printf(&plain, "\"}%s", i + 1 < N ? "\n" : ""), SONDE_OK);
        pack(&packed, plain.text + begin, plain.n - begin);
    }
    for (int p = 0; p < 2; p++) {
        sonde_documents *d =
            p ? open_file("a.jsonl.zst", packed.text, packed.n, NULL) : open_file("a.jsonl", plain.text, plain.n, NULL);
        double before = 0;
        for (int i = 0; i < N; i++) {
            assert_next(d, filler, lengths[i]);
            assert_true(sonde_documents_progress(d) >= before && sonde_documents_progress(d) <= 1);
            before = sonde_documents_progress(d);
        }
        assert_end(d);
    }
    free(filler);
    sondep_string_release(&plain);
    sondep_string_release(&packed);
    folder_clear();
}

static void packed_text_is_one_document(void **unused)
{
    sondep_string packed = {0};
    sonde_documents *d;
    (void)unused;
    pack(&packed, "one ", 4);
    pack(&packed, "", 0);
    pack(&packed, "two", 3);
    d = open_file("a.txt.zst", packed.text, packed.n, NULL);
    assert_next(d, "one two", 7);
    assert_end(d);
    sondep_string_release(&packed);
    folder_clear();
}

static void damaged_packs_are_named(void **unused)
{
    static char text[100000];
    sondep_string packed = {0};
    (void)unused;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + i * i % 23 * (i % 7) % 26);
    pack(&packed, text, sizeof text);
    for (size_t cut = 1; cut < packed.n; cut += cut < 20 || cut + 20 > packed.n ? 1 : 37)
        assert_fails(open_file("cut.txt.zst", packed.text, cut, NULL), "truncated: it ends at byte");
    packed.text[packed.n / 2] ^= 0x55;
    {
        const char *out;
        size_t n;
        sonde_documents *d = open_file("bad.txt.zst", packed.text, packed.n, NULL);
        sonde_status status = sonde_documents_next(d, &out, &n);
        assert_true(status == SONDE_E_FORMAT || (n == sizeof text && memcmp(out, text, n) != 0));
        sonde_documents_close(d);
    }
    assert_fails(open_file("not.txt.zst", "plain text", 10, NULL), "is damaged");
    packed.text[packed.n / 2] ^= 0x55;
    assert_int_equal(sondep_string_append(&packed, "tail", 4), SONDE_OK);
    assert_fails(open_file("tail.txt.zst", packed.text, packed.n, NULL), "tail.txt.zst' is damaged");
    sondep_string_release(&packed);
    folder_clear();
}

static void missing_files_are_errors(void **unused)
{
    sonde_documents *d = (sonde_documents *)folder;
    (void)unused;
    assert_int_equal(sonde_documents_open(&d, in_folder("none.jsonl"), NULL), SONDE_E_NOTFOUND);
    assert_null(d);
    assert_int_equal(sonde_documents_open(&d, folder, NULL), SONDE_E_FORMAT);
    assert_non_null(strstr(sonde_last_error()->message, "is a directory"));
    sonde_documents_close(NULL);
}

static void standard_input_is_read(void **unused)
{
    sonde_documents *d;
    int saved = dup(0), ends[2];
    (void)unused;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "from a pipe\n", 12), 12);
    close(ends[1]);
    assert_int_equal(dup2(ends[0], 0), 0);
    assert_int_equal(sonde_documents_open(&d, "-", NULL), SONDE_OK);
    assert_true(sonde_documents_progress(d) == -1);
    assert_next(d, "from a pipe\n", 12);
    sonde_documents_close(d);
    assert_int_equal(dup2(saved, 0), 0); /* descriptor 0 was not closed by it, and is ours again */
    close(saved);
    close(ends[0]);
}

static void the_shared_stories_are_read(void **unused)
{
    const char *shared = getenv("SONDE_SHARED");
    char path[512];
    sonde_documents *d;
    const char *text = "";
    size_t n, bytes = 0;
    int64_t documents = 0;
    (void)unused;
    snprintf(path, sizeof path, "%s/text/stories-heldout.jsonl.zst", shared ? shared : "../shared");
    if (access(path, R_OK) != 0) {
        printf("skip: %s is not there\n", path);
        skip();
    }
    assert_int_equal(sonde_documents_open(&d, path, NULL), SONDE_OK);
    while (text != NULL) {
        if (sonde_documents_next(d, &text, &n) != SONDE_OK)
            fail_msg("%s", sonde_last_error()->message);
        documents += text != NULL;
        bytes += n;
    }
    assert_int_equal(documents, 21253);
    assert_true(bytes > 1 << 20);
    sonde_documents_close(d);
}

/* What is written is read again: packed or not, NULs and all, more than the buffers hold. */
static void what_is_written_is_read_again(void **unused)
{
    static const char *const names[] = {"w.jsonl", "w.jsonl.zst"};
    static const char odd[] = "\"\\ \b\f\n\r\t\x01\0 \x7f \xc3\xa9 \xf0\x9f\x98\x80";
    enum { MANY = 3000 };
    char *text = malloc(200000);
    (void)unused;
    memset(text, 'x', 200000);
    for (int i = 0; i < 2; i++) {
        sonde_documents_writer *w;
        sonde_documents *d;
        assert_int_equal(sonde_documents_create(&w, in_folder(names[i]), i ? "story" : NULL), SONDE_OK);
        assert_int_equal(sonde_documents_write(w, "", 0), SONDE_OK);
        assert_int_equal(sonde_documents_write(w, odd, sizeof odd - 1), SONDE_OK);
        assert_int_equal(sonde_documents_write(w, text, 200000), SONDE_OK);
        assert_int_equal(sonde_documents_write(w, "\xff", 1), SONDE_E_FORMAT); /* and nothing of it is written */
        for (int k = 0; k < MANY; k++)
            assert_int_equal(sonde_documents_write(w, text, (size_t)k % 100), SONDE_OK);
        assert_int_equal(access(in_folder(names[i]), F_OK), -1); /* not there before it is whole */
        assert_int_equal(sonde_documents_commit(w), SONDE_OK);
        assert_int_equal(sonde_documents_open(&d, in_folder(names[i]), i ? "story" : NULL), SONDE_OK);
        assert_next(d, "", 0);
        assert_next(d, odd, sizeof odd - 1);
        assert_next(d, text, 200000);
        for (int k = 0; k < MANY; k++)
            assert_next(d, text, (size_t)k % 100);
        assert_end(d);
    }
    free(text);
    folder_clear();
}

/* An empty file is a file; one that was given up is none; other names are refused. */
static void writers_end_in_order(void **unused)
{
    sonde_documents_writer *w;
    sonde_documents *d;
    (void)unused;
    assert_int_equal(sonde_documents_create(&w, in_folder("a.jsonl.zst"), NULL), SONDE_OK);
    assert_int_equal(sonde_documents_commit(w), SONDE_OK);
    assert_int_equal(sonde_documents_open(&d, in_folder("a.jsonl.zst"), NULL), SONDE_OK);
    assert_end(d);
    assert_int_equal(sonde_documents_create(&w, in_folder("b.jsonl"), NULL), SONDE_OK);
    assert_int_equal(sonde_documents_write(w, "x", 1), SONDE_OK);
    sonde_documents_abort(w);
    sonde_documents_abort(NULL);
    assert_int_equal(folder_n_files(), 1);
    assert_int_equal(sonde_documents_create(&w, in_folder("c.txt"), NULL), SONDE_E_ARG);
    assert_null(w);
    assert_int_equal(sonde_documents_create(&w, in_folder("nowhere/c.jsonl"), NULL), SONDE_E_IO);
    assert_null(w);
    folder_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_txt_file_is_one_document),  cmocka_unit_test(a_jsonl_file_is_one_document_a_line),
        cmocka_unit_test(bad_lines_are_named),         cmocka_unit_test(long_lines_pass_the_buffers),
        cmocka_unit_test(packed_text_is_one_document), cmocka_unit_test(damaged_packs_are_named),
        cmocka_unit_test(missing_files_are_errors),    cmocka_unit_test(standard_input_is_read),
        cmocka_unit_test(the_shared_stories_are_read), cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(writers_end_in_order),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
