/* Databases of features and their pages: the same bytes for any threads and batches, counts that add up, windows that are the texts',
 * classes of tokens, and what is refused. The numbers themselves are compared by tests/oracle/features_live.py. */
#include "feature/feature.h"

#include <sonde/report.h>

#include <math.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "folder.h"
#include "statuses.h"

enum { N_TEXTS = 12, LENGTH = 30, S = 48 };

static sonde_model *model;
static sonde_tokenizer *tokenizer;
static sonde_sae *sae;
static int32_t tokens[N_TEXTS * LENGTH];
static bool left_out[N_TEXTS * LENGTH];
static int64_t lengths[N_TEXTS];
static const sonde_sae_texts texts = {tokens, left_out, lengths, N_TEXTS};

/* Real sentences through the model that comes with sonde, and an autoencoder with the directions that training begins with. */
static int make(void **state)
{
    static const char line[] =
        " Once upon a time there was a little girl named Lily. She had 3 red balls and a BIG dog!\nThey ran home.";
    sonde_tokens encoding = {0};
    sonde_sae_train_opts o;
    sonde_sae_trainer *trainer;
    sonde_tensor bias;
    int64_t n, first;

    if (folder_make(state) != 0)
        return 1;
    assert_ok(sonde_model_load(&model, "models/stories", NULL));
    assert_ok(sonde_tokenizer_load(&tokenizer, "models/stories"));
    for (int i = 0; i < N_TEXTS; i++) {
        assert_ok(
            sonde_tokenizer_encode(&encoding, tokenizer, line + i * 3, strlen(line) - (size_t)i * 3, SONDE_SPECIALS_NONE));
        n = encoding.n;
        lengths[i] = n < LENGTH - 1 ? n + 1 : LENGTH;
        first = 0;
        for (int k = 0; k < i; k++)
            first += lengths[k];
        tokens[first] = sonde_tokenizer_bos(tokenizer);
        left_out[first] = true;
        memcpy(tokens + first + 1, encoding.ids, (size_t)(lengths[i] - 1) * sizeof *tokens);
        sonde_tokens_release(&encoding);
    }
    sonde_sae_train_opts_init(&o);
    o.arch = SONDE_SAE_ARCH_STANDARD;
    o.d_in = 192;
    o.d_sae = S;
    o.batch = 1;
    assert_ok(sonde_sae_trainer_new(&trainer, &o));
    assert_ok(sonde_sae_trainer_export(&sae, trainer, "stories", "blocks.3.hook_resid_post", NULL));
    sonde_sae_trainer_free(trainer);
    /* one that is never on */
    assert_ok(sonde_sae_weight(&bias, sae, "b_enc"));
    ((float *)bias.data)[7] = -1e6f;
    return 0;
}

static int destroy(void **state)
{
    sonde_model_free(model);
    sonde_tokenizer_free(tokenizer);
    sonde_sae_free(sae);
    return folder_remove(state);
}

static sonde_features_report build(const char *path, int64_t batch)
{
    sonde_features_opts o;
    sonde_features_report r;

    sonde_features_opts_init(&o);
    o.batch = batch;
    o.n_documents = 3;
    o.model_path = "models/stories";
    assert_ok(sonde_features_build(&r, path, model, tokenizer, sae, &texts, &o, NULL, NULL));
    return r;
}

static void assert_same_file(const char *a, const char *b)
{
    FILE *x = fopen(a, "rb"), *y = fopen(b, "rb");
    int c;

    assert_non_null(x);
    assert_non_null(y);
    while ((c = fgetc(x)) != EOF)
        assert_int_equal(c, fgetc(y));
    assert_int_equal(fgetc(y), EOF);
    fclose(x);
    fclose(y);
}

/* The first number that a statement gives. */
static double ask(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement;
    double value;

    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    value = sqlite3_column_double(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

static void test_same_bytes(void **state)
{
    sonde_dash_report r;
    (void)state;

    assert_ok(sonde_set_threads(2));
    build(in_folder("a.db"), 1024);
    assert_ok(sonde_dash_write(&r, in_folder("a.html"), in_folder("a.db"), NULL));
    assert_int_equal(r.n_features, S);
    assert_ok(sonde_set_threads(1));
    build(in_folder("b.db"), 1);
    assert_ok(sonde_dash_write(&r, in_folder("b.html"), in_folder("b.db"), NULL));
    assert_ok(sonde_set_threads(0));
    assert_same_file(in_folder("a.db"), in_folder("b.db"));
    assert_same_file(in_folder("a.html"), in_folder("b.html"));
}

static void test_counts_add_up(void **state)
{
    sonde_features_report r = build(in_folder("c.db"), 256);
    sqlite3 *db;
    (void)state;

    assert_int_equal(sqlite3_open_v2(in_folder("c.db"), &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(ask(db, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
    assert_int_equal(ask(db, "SELECT count(*) FROM feature"), S);
    assert_int_equal(r.n_dead, ask(db, "SELECT count(*) FROM feature WHERE n_fired = 0"));
    assert_int_equal(ask(db, "SELECT n_fired FROM feature WHERE id = 7"), 0);
    assert_int_equal(ask(db, "SELECT count(*) FROM example WHERE feature = 7"), 0);
    assert_float_equal(ask(db, "SELECT sum(n_fired) FROM feature") / (double)r.n_positions, r.l0, 1e-9);
    /* the largest example is the maximum; examples fall; none is in a text twice */
    assert_int_equal(
        ask(db, "SELECT count(*) FROM example JOIN feature ON id = feature WHERE band = 0 AND rank = 1 AND value <> max"),
        0);
    assert_int_equal(
        ask(db, "SELECT count(*) FROM example a JOIN example b ON a.feature = b.feature AND a.band = 0 AND b.band = 0 AND "
                "b.rank = a.rank + 1 WHERE b.value > a.value OR a.document = b.document"),
        0);
    assert_int_equal(ask(db,
                         "SELECT count(*) FROM example JOIN feature ON id = feature WHERE band > 0 AND (value > max * (1 - "
                         "(band - 1) / 5.0) * (1 + 1e-9) OR value < max * (1 - band / 5.0) * (1 - 1e-9))"),
                     0);
    /* what is kept whole has all of its measured positions */
    assert_int_equal(ask(db, "SELECT count(*) FROM document"), 3);
    assert_int_equal(ask(db, "SELECT count(*) FROM active"), lengths[0] + lengths[1] + lengths[2] - 3);
    assert_true(ask(db, "SELECT count(*) FROM context WHERE context MATCH 'girl'") > 0);
    assert_int_equal(ask(db, "SELECT count(*) FROM logit"), 20 * S);
    assert_int_equal(ask(db, "SELECT count(*) FROM neighbour WHERE other = feature"), 0);
    assert_int_equal(ask(db, "SELECT count(*) FROM neuron WHERE abs(correlation) > 1 + 1e-9"), 0);
    sqlite3_close(db);
}

/* Counts of histograms are firings; windows are the texts' tokens, with the example's own activation in its place. */
static void test_histograms_and_windows(void **state)
{
    sqlite3 *db;
    sqlite3_stmt *statement;
    (void)state;

    build(in_folder("d.db"), 256);
    assert_int_equal(sqlite3_open_v2(in_folder("d.db"), &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(
        sqlite3_prepare_v2(db, "SELECT counts, n_fired FROM histogram JOIN feature ON id = feature", -1, &statement, NULL),
        SQLITE_OK);
    while (sqlite3_step(statement) == SQLITE_ROW) {
        const int64_t *counts = sqlite3_column_blob(statement, 0);
        int64_t sum = 0;
        for (int i = 0; i < 40; i++)
            sum += counts[i];
        assert_int_equal(sum, sqlite3_column_int64(statement, 1));
    }
    sqlite3_finalize(statement);
    assert_int_equal(
        sqlite3_prepare_v2(db, "SELECT document, position, value, first, tokens, acts FROM example", -1, &statement, NULL),
        SQLITE_OK);
    while (sqlite3_step(statement) == SQLITE_ROW) {
        int64_t text = sqlite3_column_int64(statement, 0), first = sqlite3_column_int64(statement, 3), offset = 0;
        const float *acts = sqlite3_column_blob(statement, 5);
        for (int64_t i = 0; i < text; i++)
            offset += lengths[i];
        assert_memory_equal(sqlite3_column_blob(statement, 4), tokens + offset + first,
                            (size_t)sqlite3_column_bytes(statement, 4));
        assert_float_equal(acts[sqlite3_column_int64(statement, 1) - first], sqlite3_column_double(statement, 2), 0.0);
    }
    sqlite3_finalize(statement);
    sqlite3_close(db);
}

static bool has_class(const uint32_t *masks, const char *token, int which)
{
    int32_t id = sonde_tokenizer_id(tokenizer, token);

    if (id < 0)
        fail_msg("no token '%s'", token);
    return masks[id] >> which & 1;
}

static void test_classes(void **state)
{
    int64_t V = sonde_tokenizer_n_vocab(tokenizer);
    uint32_t *masks = calloc((size_t)V, sizeof *masks);
    (void)state;

    sondep_classify_tokens(masks, tokenizer, V);
    assert_true(has_class(masks, "\u0120girl", SONDEP_CLASS_LATIN));
    assert_false(has_class(masks, "\u0120girl", SONDEP_CLASS_CAPITALISED));
    assert_true(has_class(masks, "\u0120She", SONDEP_CLASS_CAPITALISED));
    assert_true(has_class(masks, "A", SONDEP_CLASS_CAPITALS));
    assert_true(has_class(masks, "3", SONDEP_CLASS_DIGIT));
    assert_true(has_class(masks, ".", SONDEP_CLASS_PUNCTUATION));
    assert_true(has_class(masks, "+", SONDEP_CLASS_SYMBOL));
    assert_true(has_class(masks, "\u010a", SONDEP_CLASS_NEWLINE));
    assert_true(has_class(masks, "\u010a", SONDEP_CLASS_SPACE));
    assert_true(has_class(masks, "\u00e2", SONDEP_CLASS_BYTES));
    assert_int_equal(masks[sonde_tokenizer_bos(tokenizer)], 1u << SONDEP_CLASS_SPECIAL);
    free(masks);
}

static void test_refused(void **state)
{
    sonde_features_opts o;
    sonde_features_report r;
    sonde_dash_report page;
    sonde_sae_texts none = {tokens, left_out, lengths, 0};
    FILE *file;
    (void)state;

    sonde_features_opts_init(&o);
    o.n_bins = 0;
    assert_refused(sonde_features_build(&r, in_folder("x.db"), model, tokenizer, sae, &texts, &o, NULL, NULL), SONDE_E_ARG,
                   "n_bins");
    sonde_features_opts_init(&o);
    o.hook = "blocks.3.mlp.hook_post";
    assert_refused(sonde_features_build(&r, in_folder("x.db"), model, tokenizer, sae, &texts, &o, NULL, NULL), SONDE_E_SHAPE,
                   "192");
    o.hook = NULL;
    assert_refused(sonde_features_build(&r, in_folder("x.db"), model, tokenizer, sae, &none, &o, NULL, NULL), SONDE_E_RANGE,
                   "no position");
    assert_refused(sonde_features_build(&r, in_folder("nowhere/x.db"), model, tokenizer, sae, &texts, &o, NULL, NULL),
                   SONDE_E_IO, "nowhere");
    assert_refused(sonde_dash_write(&page, in_folder("x.html"), in_folder("x.db"), NULL), SONDE_E_NOTFOUND, "x.db");
    file = fopen(in_folder("text.db"), "wb");
    fputs("nothing of the kind, and long enough to be looked at as a database: no, it is a text about it", file);
    fclose(file);
    assert_refused(sonde_dash_write(&page, in_folder("x.html"), in_folder("text.db"), NULL), SONDE_E_FORMAT, "text.db");
    assert_int_equal(access(in_folder("x.db"), F_OK), -1);
    assert_int_equal(access(in_folder("x.html"), F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_counts_add_up),
                                       cmocka_unit_test(test_histograms_and_windows), cmocka_unit_test(test_classes),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, make, destroy);
}
