/* dash_index.c - what a dashboard's list sorts and searches.                   floor 9: report
 *
 * Columns of all features, the words that each of them is on at, and the texts of tokens.
 */
#include "report/dash.h"

#include <stdio.h>

/* ---- the index ---------------------------------------------------------------------------------------------------------------------- */

/* One column of the table feature. */
static sonde_status put_feature_column(sondep_dash *d, const char *name, const char *column, bool is_text)
{
    char sql[128];
    sqlite3_stmt *statement;
    bool has, is_first = true;
    sonde_status status;

    snprintf(sql, sizeof sql, "SELECT %s FROM feature ORDER BY id", column);
    SONDE_TRY(sondep_tables_prepare(&statement, &d->in, sql));
    SONDE_TRY_DONE(sondep_string_printf(&d->json, "\"%s\":[", name));
    for (;;) {
        SONDE_TRY_DONE(sondep_tables_next(&has, statement, &d->in));
        if (!has)
            break;
        if (!is_first)
            SONDE_TRY_DONE(sondep_dash_put(d, ","));
        is_first = false;
        SONDE_TRY_DONE(is_text ? sondep_dash_put_text(d, (const char *)sqlite3_column_text(statement, 0))
                               : sondep_dash_put_column(d, statement, 0));
    }
    status = sondep_dash_put(d, "],");
done:
    sqlite3_finalize(statement);
    return status;
}

/* For each feature the ids that a statement gives. */
static sonde_status put_id_lists(sondep_dash *d, const char *name, const char *sql)
{
    sqlite3_stmt *statement;
    sonde_status status;

    SONDE_TRY(sondep_tables_prepare(&statement, &d->in, sql));
    SONDE_TRY_DONE(sondep_string_printf(&d->json, "\"%s\":[", name));
    for (int64_t s = 0; s < d->n_features; s++) {
        if (s > 0)
            SONDE_TRY_DONE(sondep_dash_put(d, ","));
        SONDE_TRY_DONE(sondep_dash_put_rows(d, statement, s, 1));
    }
    status = sondep_dash_put(d, "]");
done:
    sqlite3_finalize(statement);
    return status;
}

/* ---- words ---------------------------------------------------------------------------------------------------------------------------- */

/* Whether a token goes on with the word before it: it begins with a letter, or with a byte of one. */
static bool goes_on(const char *text)
{
    unsigned char c = (unsigned char)*text;
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

/* The word around place `at` of a window, in lower case, between spaces; what is no letter stays where it is. */
static sonde_status append_word(sondep_string *out, const sondep_tables *in, const void *ids, int64_t n, int64_t at)
{
    int64_t first = at, end = at + 1;

    while (first > 0 && goes_on(sondep_tables_token(in, ids, n, first)) &&
           goes_on(sondep_tables_token(in, ids, n, first - 1) + (*sondep_tables_token(in, ids, n, first - 1) == ' ')))
        first--;
    while (end < n && goes_on(sondep_tables_token(in, ids, n, end)))
        end++;
    for (int64_t i = first; i < end; i++)
        for (const char *c = sondep_tables_token(in, ids, n, i); *c != '\0'; c++) {
            char lower = *c >= 'A' && *c <= 'Z' ? (char)(*c + 32) : *c;
            if (lower != ' ' && lower != '\n')
                SONDE_TRY(sondep_string_append(out, &lower, 1));
        }
    return sondep_string_append(out, " ", 1);
}

/* For each feature the words that its largest examples are for, each once: what people search for are words, not tokens. */
static sonde_status put_words(sondep_dash *d)
{
    sqlite3_stmt *statement;
    sondep_string words = {0}, word = {0};
    bool has;
    sonde_status status;

    SONDE_TRY(sondep_tables_prepare(
        &statement, &d->in, "SELECT tokens, position - first FROM example WHERE feature = ? AND band = 0 ORDER BY rank"));
    SONDE_TRY_DONE(sondep_dash_put(d, ",\"words\":["));
    for (int64_t s = 0; s < d->n_features; s++) {
        words.n = 0;
        SONDE_TRY_DONE(sondep_string_append(&words, " ", 1));
        sqlite3_reset(statement);
        sqlite3_bind_int64(statement, 1, s);
        for (;;) {
            SONDE_TRY_DONE(sondep_tables_next(&has, statement, &d->in));
            if (!has)
                break;
            word.n = 0;
            SONDE_TRY_DONE(sondep_string_append(&word, " ", 1));
            SONDE_TRY_DONE(append_word(&word, &d->in, sqlite3_column_blob(statement, 0),
                                       sqlite3_column_bytes(statement, 0) / 4, sqlite3_column_int64(statement, 1)));
            if (strstr(words.text, word.text) == NULL)
                SONDE_TRY_DONE(sondep_string_append(&words, word.text + 1, word.n - 1));
        }
        SONDE_TRY_DONE(sondep_dash_put(d, s > 0 ? "," : ""));
        SONDE_TRY_DONE(sondep_dash_put_text(d, words.text));
    }
    status = sondep_dash_put(d, "]");
done:
    sondep_string_release(&words);
    sondep_string_release(&word);
    sqlite3_finalize(statement);
    return status;
}

/* Columns, not rows: names come once, and numbers that are alike lie together. */
sonde_status sondep_dash_write_index(sondep_dash *d)
{
    static const char *const numbers[][2] = {{"n_fired", "n_fired"},
                                             {"n_documents", "n_documents"},
                                             {"max", "max"},
                                             {"mean", "mean"},
                                             {"cosine", "encoder_decoder"},
                                             {"decoder_norm", "decoder_norm"},
                                             {"encoder_bias", "encoder_bias"}};

    SONDE_TRY(sondep_dash_put(d, "{"));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        SONDE_TRY(put_feature_column(d, numbers[i][0], numbers[i][1], false));
    SONDE_TRY(put_feature_column(d, "label", "coalesce(label, '')", true));
    SONDE_TRY(put_feature_column(d, "summary", "summary", true));
    SONDE_TRY(put_id_lists(d, "tokens", "SELECT token FROM top_token WHERE feature = ? ORDER BY rank LIMIT 5"));
    SONDE_TRY(sondep_dash_put(d, ","));
    SONDE_TRY(put_id_lists(d, "logits", "SELECT token FROM logit WHERE feature = ? AND rank > 0 ORDER BY rank LIMIT 3"));
    SONDE_TRY(put_words(d));
    SONDE_TRY(sondep_dash_put(d, "}"));
    return sondep_dash_end_block(d, "index", -1);
}

/* By ids, those that occur. */
sonde_status sondep_dash_write_tokens(sondep_dash *d)
{
    sqlite3_stmt *statement;
    bool has, is_first = true;
    sonde_status status;

    SONDE_TRY(sondep_tables_prepare(&statement, &d->in, "SELECT id, text FROM token ORDER BY id"));
    SONDE_TRY_DONE(sondep_dash_put(d, "{"));
    for (;;) {
        SONDE_TRY_DONE(sondep_tables_next(&has, statement, &d->in));
        if (!has)
            break;
        SONDE_TRY_DONE(sondep_string_printf(&d->json, "%s\"%lld\":", is_first ? "" : ",",
                                            (long long)sqlite3_column_int64(statement, 0)));
        is_first = false;
        SONDE_TRY_DONE(sondep_dash_put_text(d, (const char *)sqlite3_column_text(statement, 1)));
    }
    SONDE_TRY_DONE(sondep_dash_put(d, "}"));
    status = sondep_dash_end_block(d, "tokens", -1);
done:
    sqlite3_finalize(statement);
    return status;
}
