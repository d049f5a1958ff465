/* Tokenizers against what the `tokenizers` library made of the same strings (tests/oracle/tokenizer_golden.py), and
 * what no golden file shows: errors, threads, long words, failing memory. */
#include <sonde/text.h>

#include "base/file.h"
#include "format/json.h"
#include "text/tokenizer.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

#include "folder.h"

#define GOLDEN "tests/golden/tokenizer/"

static sonde_tokenizer *load(const char *path)
{
    sonde_tokenizer *t;
    if (sonde_tokenizer_load(&t, path) != SONDE_OK)
        fail_msg("%s", sonde_last_error()->message);
    return t;
}

static void encode(sonde_tokens *out, const sonde_tokenizer *t, const char *text, size_t n, sonde_specials specials)
{
    if (sonde_tokenizer_encode(out, t, text, n, specials) != SONDE_OK)
        fail_msg("%s", sonde_last_error()->message);
}

/* ---- golden ----------------------------------------------------------------------------------------------------- */

static void assert_ids(const json_t *want, const int32_t *ids, int64_t n, const char *text)
{
    bool same = (int64_t)json_array_size(want) == n;
    for (int64_t i = 0; i < n && same; i++)
        same = json_integer_value(json_array_get(want, (size_t)i)) == ids[i];
    if (!same)
        fail_msg("other ids for '%s'", text);
}

static bool inside_char(const char *text, int64_t at)
{
    return ((unsigned char)text[at] & 0xc0) == 0x80;
}

/* The library's spans are whole characters, and leave out what normalization took in: they lie within ours, widened to
 * whole characters, unless a token owns nothing. */
static void assert_spans(const json_t *golden, const sonde_tokens *tokens, const char *text)
{
    const json_t *starts = json_object_get(golden, "start"), *ends = json_object_get(golden, "end");
    for (int64_t i = 0; i < tokens->n; i++) {
        int64_t start = tokens->start[i], end = tokens->end[i];
        int64_t their_start = json_integer_value(json_array_get(starts, (size_t)i));
        int64_t their_end = json_integer_value(json_array_get(ends, (size_t)i));
        if (start == end)
            continue;
        while (inside_char(text, start))
            start--;
        while (inside_char(text, end))
            end++;
        if (!(start <= their_start && their_end <= end))
            fail_msg("token %d of '%s' is at %d to %d, not %d to %d", (int)i, text, (int)start, (int)end, (int)their_start,
                     (int)their_end);
    }
}

static void assert_decoded(const json_t *want, const sonde_tokenizer *t, const sonde_tokens *tokens, bool skip)
{
    char *text;
    size_t n;
    assert_int_equal(sonde_tokenizer_decode(&text, &n, t, tokens->ids, tokens->n, skip), SONDE_OK);
    assert_int_equal(n, json_string_length(want));
    assert_memory_equal(text, json_string_value(want), n);
    sonde_text_free(text);
}

/* Each byte of the text belongs to one token; those that a post-processor or a normalizer put in own none. */
static void assert_covered(const sonde_tokens *tokens, size_t n)
{
    int64_t at = 0;
    for (int64_t i = 0; i < tokens->n; i++) {
        if (tokens->start[i] == tokens->end[i])
            continue;
        assert_int_equal(tokens->start[i], at);
        at = tokens->end[i];
    }
    assert_int_equal(at, n);
}

static void check_golden(const char *name)
{
    char path[128];
    sonde_tokens tokens = {0};
    sonde_tokenizer *t;
    json_t *golden;
    const json_t *cases;

    snprintf(path, sizeof path, GOLDEN "%s.json", name);
    t = load(path);
    snprintf(path, sizeof path, GOLDEN "%s.cases.json", name);
    assert_int_equal(sondep_json_load(&golden, path), SONDE_OK);
    cases = json_object_get(golden, "cases");
    assert_true(json_array_size(cases) > 40);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i), *text = json_object_get(c, "text");
        size_t n = json_string_length(text);
        encode(&tokens, t, json_string_value(text), n, SONDE_SPECIALS_NONE);
        assert_ids(json_object_get(c, "bare"), tokens.ids, tokens.n, json_string_value(text));
        encode(&tokens, t, json_string_value(text), n, SONDE_SPECIALS_AS_FILE);
        assert_ids(json_object_get(c, "ids"), tokens.ids, tokens.n, json_string_value(text));
        assert_spans(c, &tokens, json_string_value(text));
        assert_decoded(json_object_get(c, "decoded"), t, &tokens, false);
        assert_decoded(json_object_get(c, "skipped"), t, &tokens, true);
        if (strcmp(name, "regex_nfc") != 0) /* where NFC changes a text, its tokens may share a character */
            assert_covered(&tokens, n);
    }
    json_decref(golden);
    sonde_tokens_release(&tokens);
    sonde_tokenizer_free(t);
}

static void byte_level_is_golden(void **unused)
{
    (void)unused;
    check_golden("byte_level");
}

static void regex_and_nfc_are_golden(void **unused)
{
    (void)unused;
    check_golden("regex_nfc");
}

static void byte_fallback_is_golden(void **unused)
{
    (void)unused;
    check_golden("fallback");
}

static void metaspace_is_golden(void **unused)
{
    (void)unused;
    check_golden("metaspace");
}

/* ---- the real ones, where they are there ------------------------------------------------------------------------ */

static uint64_t hash_ids(uint64_t h, const sonde_tokens *tokens)
{
    for (int64_t i = 0; i < tokens->n; i++)
        for (int shift = 0; shift < 32; shift += 8)
            h = (h ^ ((uint32_t)tokens->ids[i] >> shift & 0xff)) * 0x100000001b3u;
    return h;
}

static void check_shared_row(const json_t *row, const char *shared)
{
    char path[1024], hash[17];
    sonde_tokenizer *t;
    sonde_documents *documents;
    sonde_tokens tokens = {0};
    uint64_t h = 0xcbf29ce484222325u;
    int64_t n_tokens = 0;

    snprintf(path, sizeof path, "%s/%s", shared, json_string_value(json_object_get(row, "tokenizer")));
    t = load(path);
    snprintf(path, sizeof path, "%s/%s", shared, json_string_value(json_object_get(row, "file")));
    assert_int_equal(sonde_documents_open(&documents, path, NULL), SONDE_OK);
    for (;;) {
        const char *text;
        size_t n;
        assert_int_equal(sonde_documents_next(documents, &text, &n), SONDE_OK);
        if (text == NULL)
            break;
        encode(&tokens, t, text, n, SONDE_SPECIALS_AS_FILE);
        assert_covered(&tokens, n);
        n_tokens += tokens.n;
        h = hash_ids(h, &tokens);
    }
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)h);
    assert_int_equal(n_tokens, json_integer_value(json_object_get(row, "tokens")));
    assert_string_equal(hash, json_string_value(json_object_get(row, "hash")));
    sonde_documents_close(documents);
    sonde_tokens_release(&tokens);
    sonde_tokenizer_free(t);
}

static void real_texts_are_the_librarys(void **unused)
{
    const char *shared = getenv("SONDE_SHARED") ? getenv("SONDE_SHARED") : "../shared";
    json_t *golden;
    const json_t *rows;
    char path[1024];

    (void)unused;
    snprintf(path, sizeof path, "%s/tokenizers/gpt2/tokenizer.json", shared);
    if (!sondep_is_file(path)) {
        printf("skip: no shared data in '%s' (SONDE_SHARED): real tokenizers are not tested\n", shared);
        skip();
    }
    assert_int_equal(sondep_json_load(&golden, GOLDEN "shared.json"), SONDE_OK);
    rows = json_object_get(golden, "rows");
    assert_int_equal(json_array_size(rows), 15);
    for (size_t i = 0; i < json_array_size(rows); i++)
        check_shared_row(json_array_get(rows, i), shared);
    json_decref(golden);
}

/* ---- questions -------------------------------------------------------------------------------------------------- */

static void tokens_have_strings_and_bytes(void **unused)
{
    sonde_tokenizer *bytes = load(GOLDEN "byte_level.json"), *fallback = load(GOLDEN "fallback.json");
    sonde_tokenizer *added = load(GOLDEN "regex_nfc.json");
    size_t n;
    int32_t id;

    (void)unused;
    id = sonde_tokenizer_id(bytes, "\xc4\xa0");
    assert_string_equal(sonde_tokenizer_token(bytes, id), "\xc4\xa0");
    assert_memory_equal(sonde_tokenizer_bytes(&n, bytes, id), " ", 1);
    assert_int_equal(n, 1);
    assert_int_equal(sonde_tokenizer_bos(bytes), sonde_tokenizer_id(bytes, "<|endoftext|>"));
    assert_int_equal(sonde_tokenizer_first_added(bytes), -1);
    assert_true(sonde_tokenizer_is_special(bytes, sonde_tokenizer_bos(bytes)));

    id = sonde_tokenizer_id(fallback, "<0x0A>");
    assert_memory_equal(sonde_tokenizer_bytes(&n, fallback, id), "\n", 1);
    id = sonde_tokenizer_id(fallback, "\xe2\x96\x81");
    assert_memory_equal(sonde_tokenizer_bytes(&n, fallback, id), " ", 1);
    assert_int_equal(sonde_tokenizer_first_added(fallback), 1);
    assert_int_equal(sonde_tokenizer_bos(fallback), 1);
    assert_string_equal(sonde_tokenizer_token(fallback, 1), "<s>");
    assert_null(sonde_tokenizer_token(fallback, (int32_t)sonde_tokenizer_n_vocab(fallback)));
    assert_null(sonde_tokenizer_token(fallback, -1));
    assert_null(sonde_tokenizer_bytes(&n, fallback, -5));
    assert_int_equal(sonde_tokenizer_id(fallback, "no such token"), -1);

    id = sonde_tokenizer_id(added, "[MASK]");
    assert_true(id >= 0 && !sonde_tokenizer_is_special(added, id));
    assert_int_equal(sonde_tokenizer_n_vocab(added), id + 1);
    sonde_tokenizer_free(bytes);
    sonde_tokenizer_free(fallback);
    sonde_tokenizer_free(added);
}

/* ---- errors ----------------------------------------------------------------------------------------------------- */

static void broken_text_is_refused(void **unused)
{
    static const struct {
        const char *text;
        size_t n;
        const char *byte;
    } cases[] = {{"abc\xff", 4, "byte 3 is 0xff"},
                 {"\xc3", 1, "byte 0 is 0xc3"},
                 {"abcdefgh\xed\xa0\x80", 11, "byte 8 is 0xed"},
                 {"ok \xc0\x80", 5, "byte 3 is 0xc0"},
                 {"\xf4\x90\x80\x80", 4, "byte 0"},
                 {"e\xcc", 2, "byte 1 is 0xcc"}};
    sonde_tokenizer *t = load(GOLDEN "byte_level.json");
    sonde_tokens tokens = {0};
    char *text;
    size_t n;

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(sonde_tokenizer_encode(&tokens, t, cases[i].text, cases[i].n, SONDE_SPECIALS_AS_FILE),
                         SONDE_E_FORMAT);
        assert_non_null(strstr(sonde_last_error()->message, cases[i].byte));
        assert_int_equal(tokens.n, 0);
    }
    assert_int_equal(sonde_tokenizer_decode(&text, &n, t, (int32_t[]){0, 100000}, 2, false), SONDE_E_RANGE);
    assert_null(text);
    assert_int_equal(sonde_tokenizer_decode(&text, &n, t, (int32_t[]){-1}, 1, false), SONDE_E_RANGE);
    sonde_tokens_release(&tokens);
    sonde_tokenizer_free(t);
}

static void refuse(const char *json, sonde_status status, const char *word)
{
    sonde_tokenizer *t = (sonde_tokenizer *)&t;
    sonde_status got = sonde_tokenizer_load(&t, make_file("tokenizer.json", json, strlen(json)));
    if (got != status || strstr(sonde_last_error()->message, word) == NULL)
        fail_msg("%s: status %d, '%s'", json, (int)got, sonde_last_error()->message);
    assert_null(t);
}

#define MODEL(vocab, merges) "{\"model\":{\"type\":\"BPE\",\"vocab\":" vocab ",\"merges\":" merges "}}"
#define WITH(field) "{" field ",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}}"

static void hostile_files_are_refused(void **unused)
{
    sonde_tokenizer *t;

    (void)unused;
    assert_int_equal(sonde_tokenizer_load(&t, in_folder("missing.json")), SONDE_E_NOTFOUND);
    assert_int_equal(sonde_tokenizer_load(&t, folder), SONDE_E_NOTFOUND);
    refuse("", SONDE_E_FORMAT, "byte 0");
    refuse("[]", SONDE_E_FORMAT, "'{' is missing");
    refuse("{}", SONDE_E_FORMAT, "'model'");
    refuse("{\"model\":{\"vocab\":{\"a\":0}", SONDE_E_FORMAT, "byte 25");
    refuse("{\"a\":\xff}", SONDE_E_FORMAT, "byte 5 is 0xff");
    refuse(MODEL("{\"a\":0}", "[]") "x", SONDE_E_FORMAT, "follows");
    refuse("{\"x\":[1,2,], \"model\":{}}", SONDE_E_FORMAT, "byte 10");
    refuse("{\"x\":01}", SONDE_E_FORMAT, "byte 6");
    refuse("{\"x\":\"\\ud800\"}", SONDE_E_FORMAT, "surrogate");
    refuse("{\"x\":\"a\nb\"}", SONDE_E_FORMAT, "control character");
    refuse("{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", SONDE_E_UNSUPPORTED, "'Unigram'");
    refuse("{\"model\":{\"type\":\"WordPiece\",\"vocab\":{}}}", SONDE_E_UNSUPPORTED, "'WordPiece'");
    refuse(MODEL("{\"a\":-1}", "[]"), SONDE_E_FORMAT, "not an integer");
    refuse(MODEL("{\"a\":1.5}", "[]"), SONDE_E_FORMAT, "not an integer");
    refuse(MODEL("{\"a\":4294967296}", "[]"), SONDE_E_FORMAT, "not an integer");
    refuse(MODEL("{\"a\":4000000000}", "[]"), SONDE_E_FORMAT, "'a' has id 4000000000");
    refuse(MODEL("{\"a\":\"0\"}", "[]"), SONDE_E_FORMAT, "not an integer");
    refuse(MODEL("[]", "[]"), SONDE_E_FORMAT, "'model.vocab'");
    refuse(MODEL("{\"a\":0}", "[\"a b\"]"), SONDE_E_FORMAT, "'b' is not in the vocabulary");
    refuse(MODEL("{\"a\":0}", "[\"a a\"]"), SONDE_E_FORMAT, "'aa' is not in the vocabulary");
    refuse(MODEL("{\"a\":0}", "[\"aa\"]"), SONDE_E_FORMAT, "not a pair");
    refuse(MODEL("{\"a\":0}", "[[\"a\"]]"), SONDE_E_FORMAT, "',' is missing");
    refuse(MODEL("{\"a\":0}", "[1]"), SONDE_E_FORMAT, "byte");
    refuse(MODEL("{\"a\":0}", "{}"), SONDE_E_FORMAT, "'model.merges'");
    refuse(WITH("\"normalizer\":{\"type\":\"Precompiled\"}"), SONDE_E_UNSUPPORTED, "'Precompiled'");
    refuse(WITH("\"normalizer\":7"), SONDE_E_FORMAT, "'normalizer'");
    refuse(WITH("\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}"), SONDE_E_UNSUPPORTED, "'UnicodeScripts'");
    refuse(WITH("\"pre_tokenizer\":{}"), SONDE_E_NOTFOUND, "'type'");
    refuse(WITH("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a)\\\\1\"}}"), SONDE_E_UNSUPPORTED,
           "this escape at byte 4");
    refuse(WITH("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a\"}}"), SONDE_E_FORMAT,
           "a class does not end");
    refuse(WITH("\"decoder\":{\"type\":\"CTC\"}"), SONDE_E_UNSUPPORTED, "'CTC'");
    refuse(WITH("\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"a\",-3]}"), SONDE_E_FORMAT, "'post_processor'");
    refuse(WITH("\"added_tokens\":[{\"content\":\"x\",\"id\":99999999999}]"), SONDE_E_FORMAT, "'x' has id 99999999999");
    refuse(WITH("\"added_tokens\":[{\"id\":1}]"), SONDE_E_FORMAT, "'added_tokens'");
    refuse("{\"model\":{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{},\"merges\":[]}}", SONDE_E_UNSUPPORTED, "'dropout'");
}

static void deep_files_are_refused(void **unused)
{
    sondep_string json = {0};
    (void)unused;
    assert_int_equal(sondep_string_append(&json, "{\"x\":", 5), SONDE_OK);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(sondep_string_append(&json, "[", 1), SONDE_OK);
    refuse(json.text, SONDE_E_FORMAT, "nested too deep");
    sondep_string_release(&json);
}

/* ---- long words ------------------------------------------------------------------------------------------------- */

static double encode_seconds(const sonde_tokenizer *t, char c, size_t n)
{
    sonde_tokens tokens = {0};
    char *text = malloc(n);
    struct timespec from, to;

    assert_non_null(text);
    memset(text, c, n);
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from), 0);
    encode(&tokens, t, text, n, SONDE_SPECIALS_NONE);
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to), 0);
    assert_covered(&tokens, n);
    sonde_tokens_release(&tokens);
    free(text);
    return (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
}

/* A million bytes without a space: a method that is quadratic would take minutes. */
static void long_words_are_not_quadratic(void **unused)
{
    static const char *const names[] = {GOLDEN "byte_level.json", GOLDEN "fallback.json", GOLDEN "regex_nfc.json"};
    (void)unused;
    for (int i = 0; i < 3; i++) {
        sonde_tokenizer *t = load(names[i]);
        for (const char *c = "ae \n'~"; *c != '\0'; c++) {
            double seconds = encode_seconds(t, *c, 1000000);
            if (!(seconds < 10))
                fail_msg("%s: a million of '%c' take %.1f s", names[i], *c, seconds);
        }
        sonde_tokenizer_free(t);
    }
}

/* ---- threads ---------------------------------------------------------------------------------------------------- */

static void *encode_often(void *tokenizer)
{
    static const char text[] = "The probe reads what it touches: pressure, heat, and the colour of the light. ";
    sonde_tokens tokens = {0};
    int64_t n = -1;

    for (int i = 0; i < 300; i++) {
        if (sonde_tokenizer_encode(&tokens, tokenizer, text, sizeof text - 1, SONDE_SPECIALS_AS_FILE) != SONDE_OK ||
            (n >= 0 && tokens.n != n))
            return tokenizer;
        n = tokens.n;
    }
    sonde_tokens_release(&tokens);
    return NULL;
}

static void one_tokenizer_serves_threads(void **unused)
{
    sonde_tokenizer *t = load(GOLDEN "fallback.json");
    pthread_t threads[4];
    void *failed;

    (void)unused;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, encode_often, t), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    sonde_tokenizer_free(t);
}

/* ---- memory that fails ------------------------------------------------------------------------------------------ */

static long n_left, n_live;

static void *failing_alloc(size_t bytes, void *ctx)
{
    void *p = n_left-- > 0 ? malloc(bytes) : NULL;
    (void)ctx;
    n_live += p != NULL;
    return p;
}

static void *failing_resize(void *old, size_t bytes, void *ctx)
{
    void *p = n_left-- > 0 ? realloc(old, bytes) : NULL;
    (void)ctx;
    n_live += p != NULL && old == NULL;
    return p;
}

static void failing_release(void *p, void *ctx)
{
    (void)ctx;
    n_live--;
    free(p);
}

/* Load, encode, decode; SONDE_E_NOMEM wherever memory runs out. */
static sonde_status do_everything(const char *path)
{
    static const char text[] =
        "Cafe\xcc\x81 [MASK] it's 1234 probes\n\xf0\x9f\x98\x80 a very long word without any space in it";
    sonde_tokenizer *t = NULL;
    sonde_tokens tokens = {0};
    char *back = NULL;
    size_t n;
    sonde_status status;

    SONDE_TRY_DONE(sonde_tokenizer_load(&t, path));
    SONDE_TRY_DONE(sonde_tokenizer_encode(&tokens, t, text, sizeof text - 1, SONDE_SPECIALS_AS_FILE));
    SONDE_TRY_DONE(sonde_tokenizer_decode(&back, &n, t, tokens.ids, tokens.n, false));
done:
    sonde_text_free(back);
    sonde_tokens_release(&tokens);
    sonde_tokenizer_free(t);
    return status;
}

static void memory_may_run_out_anywhere(void **unused)
{
    static const sonde_allocator failing = {failing_alloc, failing_resize, failing_release, NULL};
    static const char *const names[] = {GOLDEN "regex_nfc.json", GOLDEN "metaspace.json", GOLDEN "fallback.json"};

    (void)unused;
    for (int i = 0; i < 3; i++) {
        sonde_status status = SONDE_E_NOMEM;
        for (long n = 0; status != SONDE_OK; n++) {
            assert_int_equal(sonde_set_allocator(&failing), SONDE_OK);
            n_left = n;
            n_live = 0;
            status = do_everything(names[i]);
            assert_int_equal(sonde_set_allocator(NULL), SONDE_OK);
            if (status != SONDE_OK && status != SONDE_E_NOMEM)
                fail_msg("allocation %ld of %s: %s", n, names[i], sonde_last_error()->message);
            assert_int_equal(n_live, 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(byte_level_is_golden),         cmocka_unit_test(regex_and_nfc_are_golden),
        cmocka_unit_test(byte_fallback_is_golden),      cmocka_unit_test(metaspace_is_golden),
        cmocka_unit_test(real_texts_are_the_librarys),  cmocka_unit_test(tokens_have_strings_and_bytes),
        cmocka_unit_test(broken_text_is_refused),       cmocka_unit_test(hostile_files_are_refused),
        cmocka_unit_test(deep_files_are_refused),       cmocka_unit_test(long_words_are_not_quadratic),
        cmocka_unit_test(one_tokenizer_serves_threads), cmocka_unit_test(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
