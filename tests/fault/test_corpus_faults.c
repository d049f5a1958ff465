/* Corpora under failing memory and failing reads: a file is in the stream as a whole or not at all. */
#include <sonde/text.h>

#include "fault/fault.h"

/* Two files, one of them twice, and a context of the whole. The tokenizer is the case's own: it keeps a room for each thread
 * that it has met, and how many those are is a matter of chance. */
static sonde_status build(void *path)
{
    sonde_tokenizer *tokenizer = NULL;
    sonde_corpus *corpus = NULL;
    sonde_corpus_opts opts;
    sonde_contexts contexts;
    int32_t ids[9];
    int64_t before = 0;
    sonde_status status;

    SONDE_TRY_DONE(sonde_tokenizer_load(&tokenizer, "tests/golden/tokenizers/byte_level.json"));
    SONDE_TRY_DONE(sonde_corpus_new(&corpus, tokenizer, 0, 0));
    sonde_corpus_opts_init(&opts);
    opts.repeat = 2;
    SONDE_TRY_DONE(sonde_corpus_add(corpus, "tests/fault/test_corpus_faults.c", NULL));
    before = sonde_corpus_n_tokens(corpus);
    SONDE_TRY_DONE(sonde_corpus_add(corpus, path, &opts));
    SONDE_TRY_DONE(sonde_contexts_init(&contexts, corpus, 8, 4, 1));
    sonde_contexts_get(ids, &contexts, 12345);
    assert_int_equal(sonde_corpus_n_documents(corpus), 1 + 2 * 300);
done:
    if (status != SONDE_OK && corpus != NULL)
        assert_int_equal(sonde_corpus_n_tokens(corpus), before);
    sonde_corpus_free(corpus);
    sonde_tokenizer_free(tokenizer);
    return status;
}

static void corpora_are_built(void **unused)
{
    int threads = sonde_threads();
    char text[300 * 40], path[512];
    int n = 0;

    (void)unused;
    fault.mode = FAULT_NONE;
    for (int i = 0; i < 300; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "{\"text\": \"the cat %d sat\"}\n", i);
    snprintf(path, sizeof path, "%s", make_file("a.jsonl", text, (size_t)n));
    for (int i = 1; i <= 2; i++) {
        assert_int_equal(sonde_set_threads(i), SONDE_OK);
        fault_everywhere(build, path, "corpus");
    }
    assert_int_equal(sonde_set_threads(threads), SONDE_OK);
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(corpora_are_built)};
    return cmocka_run_group_tests(tests, fault_setup, fault_teardown);
}
