/* Training against what the `tokenizers` library learns from the same texts (tests/oracle/tokenizer_train_golden.py), and what
 * no golden file shows: threads, stretches, long texts, errors, files. */
#include <sonde/text.h>

#include "base/file.h"
#include "format/json.h"
#include "text/bpe_train.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "folder.h"

#define GOLDEN "tests/golden/tokenizer_train/"

static sonde_bpe_trainer *new_trainer(int64_t n_vocab, int64_t min_frequency)
{
    sonde_bpe_trainer_opts opts;
    sonde_bpe_trainer *t;
    sonde_bpe_trainer_opts_init(&opts);
    opts.n_vocab = n_vocab;
    opts.min_frequency = min_frequency;
    assert_int_equal(sonde_bpe_trainer_new(&t, &opts), SONDE_OK);
    return t;
}

static void succeeds(sonde_status status)
{
    if (status != SONDE_OK)
        fail_msg("%s", sonde_last_error()->message);
}

static void fails(sonde_status got, sonde_status want, const char *message)
{
    assert_int_equal(got, want);
    if (strstr(sonde_last_error()->message, message) == NULL)
        fail_msg("'%s' does not say '%s'", sonde_last_error()->message, message);
}

/* ---- golden ----------------------------------------------------------------------------------------------------- */

/* What a case's settings make of its texts, written as `path`. */
static void train_case(const json_t *c, const char *path)
{
    const json_t *specials = json_object_get(c, "specials"), *texts = json_object_get(c, "texts");
    const char *list[16], *pattern = json_string_value(json_object_get(c, "pattern"));
    sonde_bpe_trainer_opts opts;
    sonde_bpe_trainer *t;

    sonde_bpe_trainer_opts_init(&opts);
    opts.n_vocab = json_integer_value(json_object_get(c, "n_vocab"));
    opts.min_frequency = json_integer_value(json_object_get(c, "min_frequency"));
    opts.pattern = strcmp(pattern, "gpt2") == 0 ? SONDE_BPE_PATTERN_GPT2 : SONDE_BPE_PATTERN_LLAMA3;
    opts.specials = list;
    opts.n_specials = (int64_t)json_array_size(specials);
    for (size_t i = 0; i < json_array_size(specials); i++)
        list[i] = json_string_value(json_array_get(specials, i));
    succeeds(sonde_bpe_trainer_new(&t, &opts));
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const json_t *text = json_array_get(texts, i);
        succeeds(sonde_bpe_trainer_add(t, json_string_value(text), json_string_length(text)));
    }
    succeeds(sonde_bpe_trainer_learn(t));
    assert_int_equal(sonde_bpe_trainer_get_totals(t)->n_vocab, opts.n_vocab);
    assert_int_equal(sonde_bpe_trainer_get_totals(t)->n_texts, json_array_size(texts));
    succeeds(sonde_bpe_trainer_save(t, path));
    sonde_bpe_trainer_free(t);
}

/* Tokens behind the bytes and merges of the file; sonde loads it with these ids. */
static void assert_case(const json_t *c, const char *path)
{
    const char *name = json_string_value(json_object_get(c, "name"));
    const json_t *tokens = json_object_get(c, "tokens"), *merges = json_object_get(c, "merges");
    int64_t first = json_integer_value(json_object_get(c, "bytes_end"));
    json_t *file;
    sonde_tokenizer *t;

    succeeds(sondep_json_load(&file, path));
    if (!json_equal(json_object_get(json_object_get(file, "model"), "merges"), merges))
        fail_msg("%s: other merges", name);
    json_decref(file);
    succeeds(sonde_tokenizer_load(&t, path));
    assert_int_equal(sonde_tokenizer_n_vocab(t), json_integer_value(json_object_get(c, "n_vocab")));
    for (size_t i = 0; i < json_array_size(tokens); i++)
        if (strcmp(sonde_tokenizer_token(t, (int32_t)(first + (int64_t)i)), json_string_value(json_array_get(tokens, i))) !=
            0)
            fail_msg("%s: token %d is another", name, (int)i);
    sonde_tokenizer_free(t);
}

static void assert_same_file(const char *a, const char *b)
{
    size_t n_a = 0, n_b = 0;
    char *x = read_whole(a, &n_a), *y = read_whole(b, &n_b);
    if (x == NULL || y == NULL || n_a != n_b || memcmp(x, y, n_a) != 0)
        fail_msg("'%s' (%zu bytes) and '%s' (%zu bytes) differ", a, n_a, b, n_b);
    free(x);
    free(y);
}

static void learns_what_the_library_learns(void **unused)
{
    const char *path = in_folder("tokenizer.json");
    json_t *root, *cases;
    (void)unused;

    succeeds(sondep_json_load(&root, GOLDEN "cases.json"));
    cases = json_object_get(root, "cases");
    assert_true(json_array_size(cases) >= 9);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        const char *name = json_string_value(json_object_get(c, "name"));
        train_case(c, path);
        assert_case(c, path);
        /* two are stored whole: special tokens with escapes, and a pattern of its own */
        if (strcmp(name, "specials") == 0)
            assert_same_file(path, GOLDEN "specials.json");
        if (strcmp(name, "llama3") == 0)
            assert_same_file(path, GOLDEN "llama3.json");
    }
    json_decref(root);
}

/* ---- threads and stretches --------------------------------------------------------------------------------------- */

/* Words, white space of all kinds and characters of several bytes; the caller frees it. */
static char *make_text(size_t n)
{
    static const char *const pieces[] = {"the",
                                         " cat",
                                         "\n",
                                         "\n\n",
                                         " ",
                                         "  ",
                                         "\t\n",
                                         "'s",
                                         "42",
                                         " !?",
                                         "\r\n",
                                         "\xc3\xa9t\xc3\xa9",
                                         "\xe2\x80\xa8",
                                         " sat",
                                         "mat",
                                         "\n \n",
                                         "\xf0\x9f\x98\x80",
                                         "x",
                                         "y",
                                         "\n'll"};
    char *text = malloc(n + 8);
    size_t at = 0;
    for (uint64_t i = 0; at < n; i++) {
        uint32_t bits[4];
        const char *piece;
        sonde_random_bits(bits, 1, 2, i);
        piece = pieces[bits[0] % (sizeof pieces / sizeof *pieces)];
        at += (size_t)snprintf(text + at, 8, "%s", piece);
    }
    memset(text + n, 'z', 7); /* a character that was cut is not there */
    while (((unsigned char)text[n - 1] & 0x80) != 0)
        text[--n] = '.';
    return text;
}

/* Each word and its count, by a scan of each whole text. */
static void count_plainly(sondep_words *words, const sondep_texts *texts, const sondep_pattern *pattern)
{
    for (int64_t i = 0, at = 0, n; i < texts->n; i++)
        for (; at < texts->ends[i]; at += n) {
            const char *text = texts->bytes + at;
            n = pattern->kind == SONDEP_PATTERN_GPT2 ? sondep_scan_gpt2(text, texts->ends[i] - at)
                                                     : sondep_scan_llama3(text, texts->ends[i] - at, pattern->max_digits);
            succeeds(sondep_words_add(words, text, n, 1));
        }
}

/* That cutting texts into stretches cuts no word otherwise. */
static void stretches_cut_no_word(void **unused)
{
    enum { N = 3000000 };
    const sondep_pattern patterns[] = {{.kind = SONDEP_PATTERN_GPT2}, {.kind = SONDEP_PATTERN_LLAMA3, .max_digits = 3}};
    const int64_t ends[] = {5, 5, 700000, 700001, N}, one[] = {N};
    char *text = make_text(N);
    const sondep_texts sets[] = {{text, ends, 5}, {text, one, 1}, {text, ends, 0}};
    (void)unused;

    /* texts begin at characters */
    memcpy(text + 5 - 4, "abcdefgh", 8);
    memcpy(text + 700000 - 8, "abcdefghijklmnop", 16);
    for (int p = 0; p < 2; p++)
        for (int s = 0; s < 3; s++) {
            sondep_words plain = {0}, tables[3] = {{0}};
            int64_t n = 0;
            succeeds(sonde_set_threads(3));
            succeeds(sondep_words_count(tables, 3, &sets[s], &patterns[p]));
            count_plainly(&plain, &sets[s], &patterns[p]);
            /* what was counted is taken off again: nothing may be left */
            for (int t = 0; t < 3; t++)
                for (int64_t i = 0; i < tables[t].n; i++, n++)
                    succeeds(sondep_words_add(&plain, tables[t].blob + tables[t].items[i].at, tables[t].items[i].n,
                                              -tables[t].items[i].count));
            for (int64_t i = 0; i < plain.n; i++)
                assert_int_equal(plain.items[i].count, 0);
            assert_true(s == 2 ? n == 0 : n > 100);
            for (int t = 0; t < 3; t++)
                sondep_words_release(&tables[t]);
            sondep_words_release(&plain);
        }
    free(text);
    succeeds(sonde_set_threads(0));
}

static void threads_change_nothing(void **unused)
{
    enum { N = 2000000 };
    char *text = make_text(N);
    const char *paths[3];
    (void)unused;

    for (int threads = 1; threads <= 3; threads++) {
        sonde_bpe_trainer *t;
        char name[32];
        succeeds(sonde_set_threads(threads));
        t = new_trainer(400, 2);
        for (size_t at = 0, n = 0; at < N - 200000; at += n) {
            n = 1 + at % 150000;
            while (((unsigned char)text[at + n] & 0xc0) == 0x80)
                n++;
            succeeds(sonde_bpe_trainer_add(t, text + at, n));
        }
        succeeds(sonde_bpe_trainer_learn(t));
        snprintf(name, sizeof name, "%d.json", threads);
        paths[threads - 1] = in_folder(name);
        succeeds(sonde_bpe_trainer_save(t, paths[threads - 1]));
        sonde_bpe_trainer_free(t);
    }
    assert_same_file(paths[0], paths[1]);
    assert_same_file(paths[0], paths[2]);
    free(text);
    succeeds(sonde_set_threads(0));
}

/* A text beyond what waits, given at once, is the same as its parts: counts alone matter. */
static void a_long_text_is_its_lines(void **unused)
{
    static const char line[] = "one two, three three: the thing in the ring rang\n";
    enum { N_LINES = 400000, BYTES = sizeof line - 1 };
    char *text = malloc((size_t)N_LINES * BYTES);
    sonde_bpe_trainer *whole = new_trainer(270, 2), *lines = new_trainer(270, 2);
    (void)unused;

    for (size_t i = 0; i < N_LINES; i++)
        memcpy(text + i * BYTES, line, BYTES);
    succeeds(sonde_bpe_trainer_add(whole, text, (size_t)N_LINES * BYTES));
    for (int i = 0; i < N_LINES; i++)
        succeeds(sonde_bpe_trainer_add(lines, line, BYTES));
    succeeds(sonde_bpe_trainer_learn(whole));
    succeeds(sonde_bpe_trainer_learn(lines));
    assert_int_equal(sonde_bpe_trainer_get_totals(whole)->n_words, sonde_bpe_trainer_get_totals(lines)->n_words);
    assert_int_equal(sonde_bpe_trainer_get_totals(whole)->n_bytes, (int64_t)N_LINES * BYTES);
    assert_int_equal(sonde_bpe_trainer_get_totals(lines)->n_texts, N_LINES);
    succeeds(sonde_bpe_trainer_save(whole, in_folder("whole.json")));
    succeeds(sonde_bpe_trainer_save(lines, in_folder("lines.json")));
    assert_same_file(in_folder("whole.json"), in_folder("lines.json"));
    sonde_bpe_trainer_free(whole);
    sonde_bpe_trainer_free(lines);
    free(text);
}

/* ---- errors ------------------------------------------------------------------------------------------------------ */

static void options_have_bounds(void **unused)
{
    static const char *const empty[] = {"<s>", ""}, *const bytes[] = {"\xff"};
    sonde_bpe_trainer_opts opts, given;
    sonde_bpe_trainer *t;
    (void)unused;

    sonde_bpe_trainer_opts_init(&opts);
    fails(sonde_bpe_trainer_new(&t, &opts), SONDE_E_RANGE, "256 bytes and the special tokens take 257");
    assert_null(t);
    opts.n_vocab = 256;
    fails(sonde_bpe_trainer_new(&t, &opts), SONDE_E_RANGE, "a vocabulary of 256 is too small");
    opts.n_vocab = 300;
#define REFUSED(field, value, status, message)                     \
    do {                                                           \
        given = opts;                                              \
        given.field = (value);                                     \
        fails(sonde_bpe_trainer_new(&t, &given), status, message); \
        assert_null(t);                                            \
    } while (0)
    REFUSED(n_vocab, -1, SONDE_E_ARG, "'n_vocab' is -1");
    REFUSED(n_vocab, (1 << 24) + 1, SONDE_E_ARG, "'n_vocab' is 16777217");
    REFUSED(min_frequency, -1, SONDE_E_ARG, "'min_frequency' is -1");
    REFUSED(pattern, (sonde_bpe_pattern)2, SONDE_E_ARG, "'pattern' is 2");
    REFUSED(n_specials, -1, SONDE_E_ARG, "'specials'");
    REFUSED(specials, NULL, SONDE_E_ARG, "'specials'");
    REFUSED(struct_size, sizeof opts + 8, SONDE_E_ARG, "struct_size");
    REFUSED(struct_size, 0, SONDE_E_ARG, "struct_size");
    fails(sonde_bpe_trainer_new(&t, NULL), SONDE_E_ARG, "n_vocab");
    opts.specials = bytes;
    fails(sonde_bpe_trainer_new(&t, &opts), SONDE_E_FORMAT, "not UTF-8");
    opts.specials = empty;
    opts.n_specials = 2;
    fails(sonde_bpe_trainer_new(&t, &opts), SONDE_E_ARG, "special token 1 is empty");
    sonde_bpe_trainer_free(NULL);
}

static void texts_have_limits(void **unused)
{
    sonde_bpe_trainer *t = new_trainer(300, 2);
    (void)unused;

    /* "the the": t h e with a space or without, Ġ, and the merges th, the, Ġthe */
    fails(sonde_bpe_trainer_add(t, "the \xff", 5), SONDE_E_FORMAT, "byte 4 is 0xff");
    succeeds(sonde_bpe_trainer_add(t, "the the the the", 15));
    fails(sonde_bpe_trainer_learn(t), SONDE_E_RANGE, "supports a vocabulary of 260 tokens, 300 are asked for");
    assert_non_null(strstr(sonde_last_error()->hint, "260"));
    fails(sonde_bpe_trainer_save(t, in_folder("x.json")), SONDE_E_STATE, "nothing to save");
    fails(sonde_bpe_trainer_learn(t), SONDE_E_STATE, "once");
    fails(sonde_bpe_trainer_add(t, "x", 1), SONDE_E_STATE, "no more texts");
    sonde_bpe_trainer_free(t);
    /* nothing, and nothing in it */
    t = new_trainer(257, 2);
    succeeds(sonde_bpe_trainer_add(t, "", 0));
    fails(sonde_bpe_trainer_learn(t), SONDE_E_NOTFOUND, "0 bytes in all");
    sonde_bpe_trainer_free(t);
    /* bytes alone need no merges */
    t = new_trainer(257, 2);
    succeeds(sonde_bpe_trainer_add(t, "a", 1));
    succeeds(sonde_bpe_trainer_learn(t));
    assert_int_equal(sonde_bpe_trainer_get_totals(t)->n_merges, 0);
    succeeds(sonde_bpe_trainer_save(t, in_folder("bytes.json")));
    sonde_bpe_trainer_free(t);
    assert_true(access(in_folder("x.json"), F_OK) != 0);
}

/* Interrupted while it counts or learns: a status, and nothing more can be done with it. */
static void interruption_is_heard(void **unused)
{
    sonde_bpe_trainer *t = new_trainer(258, 2);
    (void)unused;

    succeeds(sonde_bpe_trainer_add(t, "the the", 7));
    sonde_interrupt(true);
    fails(sonde_bpe_trainer_learn(t), SONDE_E_INTERRUPTED, "interrupted");
    sonde_interrupt(false);
    fails(sonde_bpe_trainer_learn(t), SONDE_E_STATE, "once");
    sonde_bpe_trainer_free(t);
}

/* A folder is made, one that is there is used, and one that was made for nothing goes again. */
static void files_go_where_they_are_told(void **unused)
{
    sonde_bpe_trainer *t = new_trainer(258, 2);
    char path[512];
    (void)unused;

    succeeds(sonde_bpe_trainer_add(t, "the the", 7));
    succeeds(sonde_bpe_trainer_learn(t));
    snprintf(path, sizeof path, "%s", in_folder("made"));
    succeeds(sonde_bpe_trainer_save(t, path));
    assert_true(sondep_is_directory(path));
    succeeds(sonde_bpe_trainer_save(t, path));
    succeeds(sonde_bpe_trainer_save(t, in_folder("file.json")));
    snprintf(path, sizeof path, "%s/made/tokenizer.json", folder);
    assert_same_file(path, in_folder("file.json"));
    /* a file that is there is replaced, whatever it is called */
    succeeds(sonde_bpe_trainer_save(t, make_file("old", "x", 1)));
    assert_same_file(path, in_folder("old"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(in_folder("made")), 0);
    fails(sonde_bpe_trainer_save(t, in_folder("no/where")), SONDE_E_IO, "cannot make the folder");
    fails(sonde_bpe_trainer_save(t, in_folder("no/where.json")), SONDE_E_IO, "cannot write");
    if (access("/dev/full", F_OK) == 0)
        fails(sonde_bpe_trainer_save(t, "/dev/full"), SONDE_E_IO, "No space left");
    sonde_bpe_trainer_free(t);
}

/* The first special token stands before every text that is encoded, and nowhere if none is to be added. */
static void a_special_token_goes_first(void **unused)
{
    const char *specials[] = {"<s>", "</s>"};
    sonde_bpe_trainer_opts opts;
    sonde_bpe_trainer *t;
    sonde_tokenizer *tokenizer;
    sonde_tokens tokens = {0};
    (void)unused;

    sonde_bpe_trainer_opts_init(&opts);
    opts.n_vocab = 259;
    opts.prepends_bos = true;
    opts.n_specials = 0;
    fails(sonde_bpe_trainer_new(&t, &opts), SONDE_E_ARG, "no special token");
    opts.specials = specials;
    opts.n_specials = 2;
    succeeds(sonde_bpe_trainer_new(&t, &opts));
    succeeds(sonde_bpe_trainer_add(t, "the the", 7));
    succeeds(sonde_bpe_trainer_learn(t));
    succeeds(sonde_bpe_trainer_save(t, in_folder("first.json")));
    succeeds(sonde_tokenizer_load(&tokenizer, in_folder("first.json")));
    assert_int_equal(sonde_tokenizer_first_added(tokenizer), 0);
    succeeds(sonde_tokenizer_encode(&tokens, tokenizer, "the", 3, SONDE_SPECIALS_NONE));
    assert_int_equal(tokens.n, 2);
    assert_int_not_equal(tokens.ids[0], 0);
    succeeds(sonde_tokenizer_encode(&tokens, tokenizer, "the", 3, SONDE_SPECIALS_AS_FILE));
    assert_int_equal(tokens.n, 3);
    assert_int_equal(tokens.ids[0], 0);
    sonde_tokens_release(&tokens);
    sonde_tokenizer_free(tokenizer);
    sonde_bpe_trainer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learns_what_the_library_learns),
        cmocka_unit_test(stretches_cut_no_word),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(a_long_text_is_its_lines),
        cmocka_unit_test(options_have_bounds),
        cmocka_unit_test(texts_have_limits),
        cmocka_unit_test(interruption_is_heard),
        cmocka_unit_test(files_go_where_they_are_told),
        cmocka_unit_test(a_special_token_goes_first),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
