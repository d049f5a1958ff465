/* A corpus is its documents' tokens in their order, whatever the number of threads; contexts are a permutation of its pieces
 * that is known from the seed and a number alone. */
#include <sonde/text.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "folder.h"
#include "statuses.h"

static sonde_tokenizer *tokenizer;

static int set_up(void **state)
{
    return folder_make(state) || sonde_tokenizer_load(&tokenizer, "tests/golden/tokenizers/byte_level.json") != SONDE_OK;
}

static int tear_down(void **state)
{
    sonde_tokenizer_free(tokenizer);
    return folder_remove(state);
}

/* A file of n documents of all lengths, some of them empty, as one line each. */
static const char *make_documents(const char *name, int n)
{
    const char *path = in_folder(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (int i = 0; i < n; i++) {
        fprintf(f, "{\"text\": \"");
        for (int k = 0; k < i * 7 % 23; k++)
            fprintf(f, "%s %d", k % 3 ? "the cats" : "\\u732b sat", i * 31 % 1000 + k);
        fprintf(f, "\"}\n");
    }
    assert_int_equal(fclose(f), 0);
    return path;
}

/* All ids of a corpus; the caller frees them. */
static int32_t *all_ids(const sonde_corpus *corpus)
{
    int64_t n = sonde_corpus_n_tokens(corpus);
    int32_t *ids = malloc((size_t)n * sizeof *ids);
    assert_non_null(ids);
    sonde_corpus_read(ids, corpus, 0, n);
    return ids;
}

/* ---- the stream ------------------------------------------------------------------------------------------------------ */

/* Each document where it must be: the separator, and what the tokenizer gives for its text. */
static void a_corpus_is_its_documents_in_order(void **state)
{
    const char *path = make_documents("a.jsonl", 200), *text;
    sonde_documents *documents;
    sonde_tokens tokens = {0};
    sonde_corpus *corpus;
    size_t n_bytes;
    int64_t i = 0, at = 0, all_bytes = 0, first, n, bytes;
    int32_t *ids;

    (void)state;
    assert_ok(sonde_corpus_new(&corpus, tokenizer, 7, 0));
    assert_ok(sonde_corpus_add(corpus, path, NULL));
    ids = all_ids(corpus);
    assert_ok(sonde_documents_open(&documents, path, NULL));
    for (;; i++) {
        assert_ok(sonde_documents_next(documents, &text, &n_bytes));
        if (text == NULL)
            break;
        assert_ok(sonde_tokenizer_encode(&tokens, tokenizer, text, n_bytes, SONDE_SPECIALS_NONE));
        sonde_corpus_document(&first, &n, &bytes, corpus, i);
        assert_true(first == at && n == tokens.n + 1 && bytes == (int64_t)n_bytes);
        assert_int_equal(ids[at], 7);
        if (tokens.n > 0)
            assert_memory_equal(ids + at + 1, tokens.ids, (size_t)tokens.n * sizeof *ids);
        at += n;
        all_bytes += bytes;
    }
    assert_int_equal(i, 200);
    assert_int_equal(sonde_corpus_n_documents(corpus), 200);
    assert_int_equal(sonde_corpus_n_tokens(corpus), at);
    assert_int_equal(sonde_corpus_n_bytes(corpus), all_bytes);
    sonde_documents_close(documents);
    sonde_tokens_release(&tokens);
    sonde_corpus_free(corpus);
    free(ids);
    folder_clear();
}

/* More documents than a batch holds. */
static void the_number_of_threads_changes_nothing(void **state)
{
    const char *path = make_documents("a.jsonl", 20000);
    int threads = sonde_threads();
    int32_t *first = NULL;
    uint64_t hash = 0;

    (void)state;
    for (int n = 1; n <= 3; n++) {
        sonde_corpus *corpus;
        int32_t *ids;
        assert_ok(sonde_set_threads(n));
        assert_ok(sonde_corpus_new(&corpus, tokenizer, 0, 0));
        assert_ok(sonde_corpus_add(corpus, path, NULL));
        assert_int_equal(sonde_corpus_n_documents(corpus), 20000);
        ids = all_ids(corpus);
        if (n > 1) {
            assert_memory_equal(ids, first, (size_t)sonde_corpus_n_tokens(corpus) * sizeof *ids);
            assert_true(sonde_corpus_hash(corpus) == hash);
        }
        hash = sonde_corpus_hash(corpus);
        free(first);
        first = ids;
        sonde_corpus_free(corpus);
    }
    assert_ok(sonde_set_threads(threads));
    free(first);
    folder_clear();
}

static void a_file_counts_as_often_as_is_said(void **state)
{
    const char *a = make_documents("a.jsonl", 5), *b = make_file("b.txt", "the dog sat", 11);
    sonde_corpus *once, *corpus;
    sonde_corpus_opts opts;
    int64_t n_a, n_b, first, n, bytes;
    int32_t *ids, *single;

    (void)state;
    assert_ok(sonde_corpus_new(&once, tokenizer, 0, 0));
    assert_ok(sonde_corpus_add(once, b, NULL));
    n_b = sonde_corpus_n_tokens(once);
    assert_ok(sonde_corpus_add(once, a, NULL));
    n_a = sonde_corpus_n_tokens(once) - n_b;
    single = all_ids(once);
    sonde_corpus_opts_init(&opts);
    opts.repeat = 3;
    assert_ok(sonde_corpus_new(&corpus, tokenizer, 0, 70000)); /* ids of 4 bytes: the same stream */
    assert_ok(sonde_corpus_add(corpus, b, &opts));
    opts.repeat = 2;
    assert_ok(sonde_corpus_add(corpus, a, &opts));
    assert_int_equal(sonde_corpus_n_tokens(corpus), 3 * n_b + 2 * n_a);
    assert_int_equal(sonde_corpus_n_documents(corpus), 3 + 2 * 5);
    assert_int_equal(sonde_corpus_n_bytes(corpus), 3 * 11 + 2 * (sonde_corpus_n_bytes(once) - 11));
    assert_true(sonde_corpus_hash(once) != sonde_corpus_hash(corpus));
    ids = all_ids(corpus);
    for (int64_t i = 0; i < 3 * n_b; i++)
        assert_int_equal(ids[i], single[i % n_b]);
    for (int64_t i = 0; i < 2 * n_a; i++)
        assert_int_equal(ids[3 * n_b + i], single[n_b + i % n_a]);
    /* The documents of each round, and the ring. */
    sonde_corpus_document(&first, &n, &bytes, corpus, 2);
    assert_true(first == 2 * n_b && n == n_b && bytes == 11);
    sonde_corpus_document(&first, &n, &bytes, corpus, 3 + 5);
    assert_int_equal(first, 3 * n_b + n_a);
    sonde_corpus_document(&first, &n, &bytes, corpus, 12);
    assert_int_equal(first + n, sonde_corpus_n_tokens(corpus));
    sonde_corpus_read(single, corpus, sonde_corpus_n_tokens(corpus) - 1, n_b);
    assert_int_equal(single[0], ids[sonde_corpus_n_tokens(corpus) - 1]);
    assert_memory_equal(single + 1, ids, (size_t)(n_b - 1) * sizeof *ids);
    sonde_corpus_free(once);
    sonde_corpus_free(corpus);
    free(ids);
    free(single);
    folder_clear();
}

static double last_share;
static void note_progress(double share, int64_t n_tokens, void *ctx)
{
    assert_true(n_tokens > 0);
    last_share = share;
    ++*(int *)ctx;
}

static void fields_limits_and_progress(void **state)
{
    const char *path = make_file("a.jsonl", "{\"story\": \"a\"}\n{\"story\": \"b\"}\n{\"story\": \"c\"}\n", 45);
    sonde_corpus *corpus;
    sonde_corpus_opts opts;
    int n_calls = 0;

    (void)state;
    sonde_corpus_opts_init(&opts);
    opts.field = "story";
    opts.limit = 2;
    opts.progress = note_progress;
    opts.ctx = &n_calls;
    assert_ok(sonde_corpus_new(&corpus, tokenizer, 0, 0));
    assert_ok(sonde_corpus_add(corpus, path, &opts));
    assert_int_equal(sonde_corpus_n_documents(corpus), 2);
    assert_int_equal(sonde_corpus_n_bytes(corpus), 2);
    assert_true(n_calls == 1 && last_share == 1.0);
    sonde_corpus_free(corpus);
    folder_clear();
}

/* ---- what is refused --------------------------------------------------------------------------------------------------- */

static void a_failure_leaves_the_corpus_as_it_was(void **state)
{
    static const char bad_line[] = "{\"text\": \"a\"}\n{\"text\": \"b \xff\"}\n", bad_text[] = "one\ntwo \xff\n";
    sonde_corpus *corpus;
    sonde_corpus_opts opts;
    uint64_t hash;
    int64_t n;

    (void)state;
    assert_ok(sonde_corpus_new(&corpus, tokenizer, 0, 0));
    assert_ok(sonde_corpus_add(corpus, make_documents("a.jsonl", 9), NULL));
    hash = sonde_corpus_hash(corpus);
    n = sonde_corpus_n_tokens(corpus);
    sonde_corpus_opts_init(&opts);
    opts.field = "story";
    assert_refused(sonde_corpus_add(corpus, in_folder("a.jsonl"), &opts), SONDE_E_FORMAT, "line 1 has no field 'story'");
    assert_refused(sonde_corpus_add(corpus, make_file("b.jsonl", bad_line, sizeof bad_line - 1), NULL), SONDE_E_FORMAT,
                   "line 2");
    assert_refused(sonde_corpus_add(corpus, make_file("b.txt", bad_text, sizeof bad_text - 1), NULL), SONDE_E_FORMAT,
                   "b.txt' is not UTF-8: line 2, byte 8 is 0xff");
    assert_refused(sonde_corpus_add(corpus, make_file("c.jsonl", "\n", 1), NULL), SONDE_E_FORMAT, "has no documents");
    assert_refused(sonde_corpus_add(corpus, in_folder("none.txt"), NULL), SONDE_E_NOTFOUND, "none.txt");
    opts.repeat = 0;
    assert_refused(sonde_corpus_add(corpus, in_folder("a.jsonl"), &opts), SONDE_E_ARG, "'repeat'");
    sonde_interrupt(true);
    assert_refused(sonde_corpus_add(corpus, in_folder("a.jsonl"), NULL), SONDE_E_INTERRUPTED, "a.jsonl");
    sonde_interrupt(false);
    assert_true(sonde_corpus_n_tokens(corpus) == n && sonde_corpus_hash(corpus) == hash);
    sonde_corpus_free(corpus);
    folder_clear();
}

static void ids_outside_the_vocabulary_are_named(void **state)
{
    static const char lines[] = "{\"text\": \"!\"}\n{\"text\": \"! the cat\"}\n{\"text\": \"the\"}\n";
    const char *path = make_file("a.jsonl", lines, sizeof lines - 1);
    sonde_corpus *corpus;
    int threads = sonde_threads();

    (void)state;
    assert_refused(sonde_corpus_new(&corpus, tokenizer, 100, 100), SONDE_E_RANGE, "id is 100");
    assert_null(corpus);
    assert_refused(sonde_corpus_new(&corpus, tokenizer, -1, 100), SONDE_E_RANGE, "id is -1");
    /* The same document is named whatever the number of threads. */
    for (int n = 1; n <= 3; n++) {
        assert_ok(sonde_set_threads(n));
        assert_ok(sonde_corpus_new(&corpus, tokenizer, 0, 10));
        assert_refused(sonde_corpus_add(corpus, path, NULL), SONDE_E_RANGE, "document 2 has the token id");
        assert_non_null(strstr(sonde_last_error()->message, "outside the vocabulary of 10"));
        assert_int_equal(sonde_corpus_n_tokens(corpus), 0);
        sonde_corpus_free(corpus);
    }
    assert_ok(sonde_set_threads(threads));
    folder_clear();
}

static void names_with_numbers_are_taken_apart(void **state)
{
    static const struct {
        const char *text;
        size_t n;
        int64_t repeat;
    } cases[] = {{"book.txt", 8, 1}, {"book.txt:2", 8, 2}, {"book.txt:", 9, 1},    {":2", 2, 1},
                 {"a:b.txt", 7, 1},  {"a:3:12", 3, 12},    {"book.txt:2x", 11, 1}, {"-:4", 1, 4}};
    size_t n;
    int64_t repeat;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_ok(sonde_corpus_split(&n, &repeat, cases[i].text));
        assert_int_equal(n, cases[i].n);
        assert_int_equal(repeat, cases[i].repeat);
    }
    assert_refused(sonde_corpus_split(&n, &repeat, "book.txt:0"), SONDE_E_ARG, "book.txt:0");
    assert_refused(sonde_corpus_split(&n, &repeat, "book.txt:99999999999999999999"), SONDE_E_ARG, "book.txt:9999");
    /* A file of that very name. */
    assert_ok(sonde_corpus_split(&n, &repeat, make_file("a:7", "x", 1)));
    assert_true(repeat == 1 && n == strlen(in_folder("a:7")));
    folder_clear();
}

/* ---- contexts ------------------------------------------------------------------------------------------------------------ */

/* A corpus of one document of n tokens, each of which tells its place. */
static sonde_corpus *corpus_of(int64_t n)
{
    char *text = malloc((size_t)n);
    sonde_corpus *corpus;
    assert_non_null(text);
    for (int64_t i = 0; i < n; i++)
        text[i] = "abcdefghijklmnopqrstuvwxyz"[i * i % 26];
    assert_ok(sonde_corpus_new(&corpus, tokenizer, 0, 0));
    assert_ok(sonde_corpus_add(corpus, make_file("c.txt", text, (size_t)n), NULL));
    free(text);
    return corpus;
}

/* In each epoch every piece comes once: its places are offset + k T on the ring. */
static void an_epoch_is_a_permutation_of_its_pieces(void **state)
{
    sonde_corpus *corpus = corpus_of(700);
    int64_t n_tokens = sonde_corpus_n_tokens(corpus);

    (void)state;
    for (int64_t length = 1; length < n_tokens; length += 1 + length / 3) {
        sonde_contexts contexts;
        char *seen = malloc((size_t)n_tokens);
        assert_non_null(seen);
        assert_ok(sonde_contexts_init(&contexts, corpus, length, 1, 5));
        assert_int_equal(contexts.n, n_tokens / length);
        for (int64_t epoch = 0; epoch < 3; epoch++) {
            memset(seen, 0, (size_t)n_tokens);
            for (int64_t i = 0; i < contexts.n; i++) {
                int64_t first = sonde_contexts_first(&contexts, epoch * contexts.n + i);
                for (int64_t t = 0; t < length; t++)
                    assert_int_equal(seen[(first + t) % n_tokens]++, 0);
            }
        }
        free(seen);
    }
    sonde_corpus_free(corpus);
    folder_clear();
}

static void a_context_is_known_by_its_number_alone(void **state)
{
    sonde_corpus *corpus = corpus_of(3000);
    sonde_contexts contexts, again, other;
    int32_t a[17], b[17];
    int n_same = 0, n_same_seed = 0;

    (void)state;
    assert_ok(sonde_contexts_init(&contexts, corpus, 16, 4, 11));
    assert_ok(sonde_contexts_init(&again, corpus, 16, 4, 11));
    assert_ok(sonde_contexts_init(&other, corpus, 16, 4, 12));
    for (int64_t i = 5 * contexts.n; i-- > 0;) {
        int64_t first = sonde_contexts_first(&contexts, i);
        assert_int_equal(first, sonde_contexts_first(&again, i));
        sonde_contexts_get(a, &contexts, i);
        sonde_corpus_read(b, corpus, first, 17); /* and the id behind it */
        assert_memory_equal(a, b, sizeof a);
        n_same += first == sonde_contexts_first(&contexts, i + contexts.n);
        n_same_seed += first == sonde_contexts_first(&other, i);
    }
    assert_true(n_same < 30 && n_same_seed < 30);
    sonde_corpus_free(corpus);
    folder_clear();
}

/* Over many epochs each number of an epoch meets all pieces alike: chi-squared of where number i begins, in 10 bins. */
static void the_order_is_even(void **state)
{
    sonde_corpus *corpus = corpus_of(2000);
    sonde_contexts contexts;
    int64_t n_tokens = sonde_corpus_n_tokens(corpus);
    double worst = 0, mean_step = 0;
    enum { EPOCHS = 2000, BINS = 10 };

    (void)state;
    assert_ok(sonde_contexts_init(&contexts, corpus, n_tokens / 37, 1, 3));
    for (int64_t i = 0; i < contexts.n; i++) {
        int count[BINS] = {0};
        double chi = 0;
        for (int64_t e = 0; e < EPOCHS; e++) {
            int64_t first = sonde_contexts_first(&contexts, e * contexts.n + i);
            int64_t next = sonde_contexts_first(&contexts, e * contexts.n + (i + 1) % contexts.n);
            count[first * BINS / n_tokens]++;
            mean_step += (double)((next - first + n_tokens) % n_tokens) / (double)n_tokens;
        }
        for (int k = 0; k < BINS; k++)
            chi += (count[k] - EPOCHS / BINS) * (double)(count[k] - EPOCHS / BINS) / (EPOCHS / BINS);
        worst = chi > worst ? chi : worst;
    }
    mean_step /= (double)(EPOCHS * contexts.n);
    /* 9 degrees of freedom: above 35 with probability 6e-5, 37 times. Neighbours follow one another no more than chance. */
    if (!(worst < 35.0) || !(mean_step > 0.49 && mean_step < 0.51))
        fail_msg("chi-squared %g, mean step %g", worst, mean_step);
    sonde_corpus_free(corpus);
    folder_clear();
}

static void a_corpus_that_is_too_small_is_refused(void **state)
{
    sonde_corpus *corpus;
    sonde_contexts contexts;

    (void)state;
    assert_ok(sonde_corpus_new(&corpus, tokenizer, 0, 0));
    assert_refused(sonde_contexts_init(&contexts, corpus, 8, 1, 0), SONDE_E_RANGE, "the corpus is empty");
    sonde_corpus_free(corpus);
    corpus = corpus_of(100);
    assert_refused(sonde_contexts_init(&contexts, corpus, 0, 1, 0), SONDE_E_ARG, "length of a context is 0");
    assert_refused(sonde_contexts_init(&contexts, corpus, 1000, 0, 0), SONDE_E_RANGE, "0 contexts of 1000; 1 are needed");
    assert_refused(sonde_contexts_init(&contexts, corpus, 10, 64, 0), SONDE_E_RANGE, "contexts of 10; 64 are needed");
    /* Exactly one: what is behind it is its own beginning. */
    assert_ok(sonde_contexts_init(&contexts, corpus, sonde_corpus_n_tokens(corpus), 1, 0));
    assert_int_equal(contexts.n, 1);
    sonde_corpus_free(corpus);
    folder_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_corpus_is_its_documents_in_order),     cmocka_unit_test(the_number_of_threads_changes_nothing),
        cmocka_unit_test(a_file_counts_as_often_as_is_said),      cmocka_unit_test(fields_limits_and_progress),
        cmocka_unit_test(a_failure_leaves_the_corpus_as_it_was),  cmocka_unit_test(ids_outside_the_vocabulary_are_named),
        cmocka_unit_test(names_with_numbers_are_taken_apart),     cmocka_unit_test(an_epoch_is_a_permutation_of_its_pieces),
        cmocka_unit_test(a_context_is_known_by_its_number_alone), cmocka_unit_test(the_order_is_even),
        cmocka_unit_test(a_corpus_that_is_too_small_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
