/* Training a tokenizer under failing memory and failing system calls. */
#include <sonde/text.h>

#include "fault/fault.h"

enum { LINES = 300 };

/* Words enough that each table grows. */
static const char *write_corpus(void)
{
    FILE *f = fopen(in_folder("corpus.jsonl"), "w");
    assert_non_null(f);
    for (int i = 0; i < LINES; i++)
        fprintf(f, "{\"text\": \"the cat%d sat on mat%d, and w%dx%dy\\n\"}\n", i, i * 7, i * i, i * 31);
    assert_int_equal(fclose(f), 0);
    return in_folder("corpus.jsonl");
}

static sonde_status add_all(sonde_bpe_trainer *t, const char *path)
{
    sonde_documents *documents;
    const char *text;
    size_t n;
    sonde_status status;

    SONDE_TRY(sonde_documents_open(&documents, path, NULL));
    for (;;) {
        SONDE_TRY_DONE(sonde_documents_next(documents, &text, &n));
        if (text == NULL)
            break;
        SONDE_TRY_DONE(sonde_bpe_trainer_add(t, text, n));
    }
done:
    sonde_documents_close(documents);
    return status;
}

/* From a file of documents to a tokenizer in a folder that was not there; a success takes both away again. */
static sonde_status train(void *path)
{
    sonde_bpe_trainer_opts opts;
    sonde_bpe_trainer *t;
    char made[512], file[600];
    sonde_status status;

    snprintf(made, sizeof made, "%s", in_folder("made"));
    snprintf(file, sizeof file, "%s/tokenizer.json", made);
    sonde_bpe_trainer_opts_init(&opts);
    opts.n_vocab = 300;
    SONDE_TRY(sonde_bpe_trainer_new(&t, &opts));
    SONDE_TRY_DONE(add_all(t, path));
    SONDE_TRY_DONE(sonde_bpe_trainer_learn(t));
    SONDE_TRY_DONE(sonde_bpe_trainer_save(t, made));
    assert_int_equal(sonde_bpe_trainer_get_totals(t)->n_texts, LINES);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(rmdir(made), 0);
done:
    sonde_bpe_trainer_free(t);
    return status;
}

static void tokenizers_are_trained(void **unused)
{
    char path[512];
    (void)unused;
    snprintf(path, sizeof path, "%s", write_corpus());
    fault_everywhere(train, path, "tokenizer train");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(tokenizers_are_trained)};
    return cmocka_run_group_tests(tests, fault_setup, fault_teardown);
}
