/* dash.c - a database of features as one page.                                 floor 9: report
 *
 * The page is src/report/page/, with the data in it as blocks of JSON, each deflated and in base64: one with columns of all features, one
 * with the tokens' texts, and then some features or texts each, which the page opens when somebody looks at them.
 *
 *   meta     what the page shows at once: names, sizes, classes        plain JSON
 *   index    columns of all features: what the list sorts and searches
 *   tokens   id -> text
 *   f0 f1 .. 256 features each: histogram, logits, neighbours, examples
 *   d0 d1 .. 20 texts each, with the features of their positions
 *
 * Everything that comes from texts is escaped here so that it ends no script, and goes into the page as text.
 */
#include <sonde/report.h>

#include "base/base.h"
#include "base/file.h"
#include "format/json.h"
#include "report/page.h"
#include "report/tables.h"

#include <math.h>
#include <zlib.h>

enum {
    IN_BLOCK = 256,    /* features of a block */
    IN_DOCUMENTS = 20, /* texts of one */
    EXAMPLE = 75,      /* bytes that an example takes, deflated, */
    BUDGET = 38 << 20, /* and that all of them may take */
    LEAST_EXAMPLES = 8
};

typedef struct dash {
    sondep_tables in;
    sonde_dash_opts opts;
    sondep_writer writer;
    sondep_string json;
    int64_t n_features, n_bands, n_kept;
    int64_t n_top, n_in_band; /* examples of a feature that are shown: of the largest, of each band */
    double *most;             /* (S) largest activations */
    sonde_dash_report report;
} dash;

/* Everything that there is room for. */
void sonde_dash_opts_init(sonde_dash_opts *out)
{
    *out = (sonde_dash_opts){.struct_size = sizeof *out, .n_documents = -1};
}

/* ---- JSON --------------------------------------------------------------------------------------------------------------------------- */

/* Behind what is there. */
static sonde_status put(dash *d, const char *text)
{
    return sondep_string_append(&d->json, text, strlen(text));
}

/* A string; what would end a script, or is a control character, is escaped. */
static sonde_status put_text(dash *d, const char *text)
{
    SONDE_TRY(put(d, "\""));
    for (const char *c = text ? text : ""; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\')
            SONDE_TRY(sondep_string_printf(&d->json, "\\%c", *c));
        else if ((unsigned char)*c < 0x20 || *c == '<' || *c == 0x7f)
            SONDE_TRY(sondep_string_printf(&d->json, "\\u%04x", (unsigned char)*c));
        else
            SONDE_TRY(sondep_string_append(&d->json, c, 1));
    }
    return put(d, "\"");
}

/* Numbers as short as four digits allow: a page shows three. NULL is null. */
static sonde_status put_column(dash *d, sqlite3_stmt *statement, int column)
{
    if (sqlite3_column_type(statement, column) == SQLITE_NULL)
        return put(d, "null");
    if (sqlite3_column_type(statement, column) == SQLITE_INTEGER)
        return sondep_string_printf(&d->json, "%lld", (long long)sqlite3_column_int64(statement, column));
    return sondep_string_printf(&d->json, "%.4g", sqlite3_column_double(statement, column));
}

/* ---- blocks --------------------------------------------------------------------------------------------------------------------------- */

/* Writes the JSON that was put together as a block of its name, and empties it. */
static sonde_status end_block(dash *d, const char *name, int64_t number)
{
    uLongf n = compressBound((uLong)d->json.n);
    unsigned char *deflated;
    char tag[96];
    sonde_status status;

    SONDE_TRY(SONDE_NEW(deflated, (int64_t)n));
    if (compress2(deflated, &n, (const Bytef *)d->json.text, (uLong)d->json.n, 9) != Z_OK) {
        status = SONDE_FAIL(SONDE_E_NOMEM, "out of memory while deflating %zu bytes", d->json.n);
        goto done;
    }
    if (number >= 0)
        snprintf(tag, sizeof tag, "<script id=\"b-%s%lld\" type=\"text/plain\">", name, (long long)number);
    else
        snprintf(tag, sizeof tag, "<script id=\"b-%s\" type=\"text/plain\">", name);
    SONDE_TRY_DONE(sondep_writer_put(&d->writer, tag, strlen(tag)));
    SONDE_TRY_DONE(sondep_writer_put_base64(&d->writer, deflated, (size_t)n));
    status = sondep_writer_put(&d->writer, "</script>\n", 10);
done:
    sondep_free(deflated);
    d->json.n = 0;
    return status;
}

/* Rows of a statement as [..] with `n` columns each, in brackets of their own unless there is one; bound to feature s. */
static sonde_status put_rows(dash *d, sqlite3_stmt *statement, int64_t s, int n)
{
    bool has, is_first = true;
    sonde_status status = SONDE_OK;

    SONDE_TRY(put(d, "["));
    sqlite3_reset(statement);
    sqlite3_bind_int64(statement, 1, s);
    for (;;) {
        SONDE_TRY(sondep_tables_next(&has, statement, &d->in));
        if (!has)
            break;
        SONDE_TRY(put(d, is_first ? (n > 1 ? "[" : "") : (n > 1 ? ",[" : ",")));
        is_first = false;
        for (int i = 0; i < n && status == SONDE_OK; i++) {
            SONDE_TRY(i > 0 ? put(d, ",") : SONDE_OK);
            status = put_column(d, statement, i);
        }
        SONDE_TRY(status);
        SONDE_TRY(n > 1 ? put(d, "]") : SONDE_OK);
    }
    return put(d, "]");
}

/* ---- the index ---------------------------------------------------------------------------------------------------------------------- */

/* One column of the table feature. */
static sonde_status put_feature_column(dash *d, const char *name, const char *column, bool is_text)
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
            SONDE_TRY_DONE(put(d, ","));
        is_first = false;
        SONDE_TRY_DONE(is_text ? put_text(d, (const char *)sqlite3_column_text(statement, 0)) : put_column(d, statement, 0));
    }
    status = put(d, "],");
done:
    sqlite3_finalize(statement);
    return status;
}

/* For each feature the ids that a statement gives. */
static sonde_status put_id_lists(dash *d, const char *name, const char *sql)
{
    sqlite3_stmt *statement;
    sonde_status status;

    SONDE_TRY(sondep_tables_prepare(&statement, &d->in, sql));
    SONDE_TRY_DONE(sondep_string_printf(&d->json, "\"%s\":[", name));
    for (int64_t s = 0; s < d->n_features; s++) {
        if (s > 0)
            SONDE_TRY_DONE(put(d, ","));
        SONDE_TRY_DONE(put_rows(d, statement, s, 1));
    }
    status = put(d, "]");
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
static sonde_status put_words(dash *d)
{
    sqlite3_stmt *statement;
    sondep_string words = {0}, word = {0};
    bool has;
    sonde_status status;

    SONDE_TRY(sondep_tables_prepare(
        &statement, &d->in, "SELECT tokens, position - first FROM example WHERE feature = ? AND band = 0 ORDER BY rank"));
    SONDE_TRY_DONE(put(d, ",\"words\":["));
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
        SONDE_TRY_DONE(put(d, s > 0 ? "," : ""));
        SONDE_TRY_DONE(put_text(d, words.text));
    }
    status = put(d, "]");
done:
    sondep_string_release(&words);
    sondep_string_release(&word);
    sqlite3_finalize(statement);
    return status;
}

/* Columns, not rows: names come once, and numbers that are alike lie together. */
static sonde_status write_index(dash *d)
{
    static const char *const numbers[][2] = {{"n_fired", "n_fired"},
                                             {"n_documents", "n_documents"},
                                             {"max", "max"},
                                             {"mean", "mean"},
                                             {"cosine", "encoder_decoder"},
                                             {"decoder_norm", "decoder_norm"},
                                             {"encoder_bias", "encoder_bias"}};

    SONDE_TRY(put(d, "{"));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        SONDE_TRY(put_feature_column(d, numbers[i][0], numbers[i][1], false));
    SONDE_TRY(put_feature_column(d, "label", "coalesce(label, '')", true));
    SONDE_TRY(put_feature_column(d, "summary", "summary", true));
    SONDE_TRY(put_id_lists(d, "tokens", "SELECT token FROM top_token WHERE feature = ? ORDER BY rank LIMIT 5"));
    SONDE_TRY(put(d, ","));
    SONDE_TRY(put_id_lists(d, "logits", "SELECT token FROM logit WHERE feature = ? AND rank > 0 ORDER BY rank LIMIT 3"));
    SONDE_TRY(put_words(d));
    SONDE_TRY(put(d, "}"));
    return end_block(d, "index", -1);
}

/* By ids, those that occur. */
static sonde_status write_tokens(dash *d)
{
    sqlite3_stmt *statement;
    bool has, is_first = true;
    sonde_status status;

    SONDE_TRY(sondep_tables_prepare(&statement, &d->in, "SELECT id, text FROM token ORDER BY id"));
    SONDE_TRY_DONE(put(d, "{"));
    for (;;) {
        SONDE_TRY_DONE(sondep_tables_next(&has, statement, &d->in));
        if (!has)
            break;
        SONDE_TRY_DONE(sondep_string_printf(&d->json, "%s\"%lld\":", is_first ? "" : ",",
                                            (long long)sqlite3_column_int64(statement, 0)));
        is_first = false;
        SONDE_TRY_DONE(put_text(d, (const char *)sqlite3_column_text(statement, 1)));
    }
    SONDE_TRY_DONE(put(d, "}"));
    status = end_block(d, "tokens", -1);
done:
    sqlite3_finalize(statement);
    return status;
}

/* ---- features --------------------------------------------------------------------------------------------------------------------------- */

/* What belongs to a feature: its name in the page, the rows, how many columns. */
static const struct {
    const char *name, *sql;
    int n_columns;
} parts[] = {
    {"likelier", "SELECT token, value FROM logit WHERE feature = ? AND rank > 0 ORDER BY rank", 2},
    {"unlikelier", "SELECT token, value FROM logit WHERE feature = ? AND rank < 0 ORDER BY rank DESC", 2},
    {"neighbours", "SELECT other, cosine FROM neighbour WHERE feature = ? ORDER BY rank", 2},
    {"neurons", "SELECT neuron, correlation FROM neuron WHERE feature = ? ORDER BY rank", 2},
    {"top", "SELECT token, n, sum FROM top_token WHERE feature = ? ORDER BY rank", 3},
    {"before", "SELECT token, n FROM before_token WHERE feature = ? ORDER BY rank", 2},
    {"classes",
     "SELECT (SELECT count(*) FROM class AS c WHERE c.name < feature_class.class), n, llr FROM feature_class WHERE feature "
     "= ? "
     "ORDER BY class",
     3},
};
enum { N_PARTS = sizeof parts / sizeof *parts };

/* Counts of a histogram. */
static sonde_status put_histogram(dash *d, sqlite3_stmt *statement, int64_t s)
{
    const int64_t *counts;
    bool has;
    int64_t n;

    sqlite3_reset(statement);
    sqlite3_bind_int64(statement, 1, s);
    SONDE_TRY(put(d, "\"histogram\":["));
    SONDE_TRY(sondep_tables_next(&has, statement, &d->in));
    counts = has ? sqlite3_column_blob(statement, 0) : NULL;
    n = has && counts ? sqlite3_column_bytes(statement, 0) / (int64_t)sizeof *counts : 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t count;
        memcpy(&count, (const char *)counts + i * (int64_t)sizeof count, sizeof count);
        SONDE_TRY(sondep_string_printf(&d->json, "%s%lld", i > 0 ? "," : "", (long long)count));
    }
    return put(d, "],");
}

/* Ids of a blob. */
static sonde_status put_ids(dash *d, const void *blob, int64_t n)
{
    SONDE_TRY(put(d, "["));
    for (int64_t i = 0; i < n; i++) {
        int32_t id;
        memcpy(&id, (const char *)blob + i * 4, sizeof id);
        SONDE_TRY(sondep_string_printf(&d->json, "%s%d", i > 0 ? "," : "", id));
    }
    return put(d, "]");
}

/* Activations of a window that are not 0, as places and 255 steps of the largest. */
static sonde_status put_steps(dash *d, const void *blob, int64_t n, double most)
{
    bool is_first = true;

    SONDE_TRY(put(d, "["));
    for (int64_t i = 0; i < n; i++) {
        float x;
        long step;
        memcpy(&x, (const char *)blob + i * 4, sizeof x);
        step = most > 0.0 ? lrint(255.0 * (double)x / most) : 0;
        if (x == 0.0f)
            continue;
        SONDE_TRY(sondep_string_printf(&d->json, "%s%lld,%ld", is_first ? "" : ",", (long long)i,
                                       step == 0 ? (x > 0 ? 1 : -1) : step));
        is_first = false;
    }
    return put(d, "]");
}

/* Examples of a feature that are shown. */
static sonde_status put_examples(dash *d, sqlite3_stmt *statement, int64_t s)
{
    bool has, is_first = true;

    SONDE_TRY(put(d, "\"examples\":["));
    sqlite3_reset(statement);
    sqlite3_bind_int64(statement, 1, s);
    sqlite3_bind_int64(statement, 2, d->n_top);
    sqlite3_bind_int64(statement, 3, d->n_in_band);
    for (;;) {
        int64_t n;
        SONDE_TRY(sondep_tables_next(&has, statement, &d->in));
        if (!has)
            break;
        n = sqlite3_column_bytes(statement, 5) / 4;
        SONDE_TRY(put(d, is_first ? "[" : ",["));
        is_first = false;
        for (int i = 0; i < 5; i++) {
            SONDE_TRY(put_column(d, statement, i));
            SONDE_TRY(put(d, ","));
        }
        SONDE_TRY(put_ids(d, sqlite3_column_blob(statement, 5), n));
        SONDE_TRY(put(d, ","));
        n = sqlite3_column_bytes(statement, 6) / 4 < n ? sqlite3_column_bytes(statement, 6) / 4 : n;
        SONDE_TRY(put_steps(d, sqlite3_column_blob(statement, 6), n, d->most[s]));
        SONDE_TRY(put(d, "]"));
        d->report.n_examples++;
    }
    return put(d, "]");
}

/* The statements of a feature. */
typedef struct statements {
    sqlite3_stmt *histogram, *examples, *parts[N_PARTS];
} statements;

/* One object. */
static sonde_status put_feature(dash *d, const statements *x, int64_t s)
{
    SONDE_TRY(put(d, s % IN_BLOCK > 0 ? ",{" : "{"));
    SONDE_TRY(put_histogram(d, x->histogram, s));
    for (int i = 0; i < N_PARTS; i++) {
        SONDE_TRY(sondep_string_printf(&d->json, "\"%s\":", parts[i].name));
        SONDE_TRY(put_rows(d, x->parts[i], s, parts[i].n_columns));
        SONDE_TRY(put(d, ","));
    }
    SONDE_TRY(put_examples(d, x->examples, s));
    return put(d, "}");
}

/* Blocks of as many features each; the last has what is left. */
static sonde_status write_features(dash *d)
{
    statements x = {0};
    sonde_status status;

    SONDE_TRY_DONE(sondep_tables_prepare(&x.histogram, &d->in, "SELECT counts FROM histogram WHERE feature = ?"));
    SONDE_TRY_DONE(sondep_tables_prepare(
        &x.examples, &d->in,
        "SELECT band, document, position, value, first, tokens, acts FROM example WHERE feature = ? AND "
        "rank <= (CASE band WHEN 0 THEN ? ELSE ? END) ORDER BY band, rank"));
    for (int i = 0; i < N_PARTS; i++)
        SONDE_TRY_DONE(sondep_tables_prepare(&x.parts[i], &d->in, parts[i].sql));
    for (int64_t s = 0; s < d->n_features; s++) {
        if (s % IN_BLOCK == 0)
            SONDE_TRY_DONE(sondep_interrupted() ? SONDE_FAIL(SONDE_E_INTERRUPTED, "interrupted") : put(d, "["));
        SONDE_TRY_DONE(put_feature(d, &x, s));
        if (s % IN_BLOCK == IN_BLOCK - 1 || s == d->n_features - 1) {
            SONDE_TRY_DONE(put(d, "]"));
            SONDE_TRY_DONE(end_block(d, "f", s / IN_BLOCK));
        }
    }
done:
    sqlite3_finalize(x.histogram);
    sqlite3_finalize(x.examples);
    for (int i = 0; i < N_PARTS; i++)
        sqlite3_finalize(x.parts[i]);
    return status;
}

/* ---- texts ------------------------------------------------------------------------------------------------------------------------------ */

/* Features and activations, in thousandths, of the positions of a text: [..] of [..] each. */
static sonde_status put_active(dash *d, sqlite3_stmt *statement, int64_t document, int64_t n, bool is_acts)
{
    int64_t position = 0;
    bool has;

    sqlite3_reset(statement);
    sqlite3_bind_int64(statement, 1, document);
    SONDE_TRY(put(d, "["));
    for (;;) {
        int64_t at, n_pairs;
        SONDE_TRY(sondep_tables_next(&has, statement, &d->in));
        at = has ? sqlite3_column_int64(statement, 0) : n;
        /* rows are only of positions that are measured */
        for (; position < at; position++) /* positions that are left out have nothing */
            SONDE_TRY(put(d, position > 0 ? ",[]" : "[]"));
        if (!has)
            break;
        n_pairs = sqlite3_column_bytes(statement, is_acts ? 2 : 1) / 4;
        SONDE_TRY(put(d, position > 0 ? "," : ""));
        if (!is_acts)
            SONDE_TRY(put_ids(d, sqlite3_column_blob(statement, 1), n_pairs));
        for (int64_t i = 0; is_acts && i < n_pairs; i++) {
            float x;
            memcpy(&x, (const char *)sqlite3_column_blob(statement, 2) + i * 4, sizeof x);
            SONDE_TRY(sondep_string_printf(&d->json, "%s%lld", i > 0 ? "," : "[", (long long)llrint(1000.0 * (double)x)));
        }
        if (is_acts)
            SONDE_TRY(put(d, n_pairs > 0 ? "]" : "[]"));
        position++;
    }
    return put(d, "]");
}

/* The same for texts. */
static sonde_status write_documents(dash *d)
{
    sqlite3_stmt *documents = NULL, *active = NULL;
    int64_t number = 0;
    bool has;
    sonde_status status;

    SONDE_TRY_DONE(
        sondep_tables_prepare(&documents, &d->in, "SELECT id, n_tokens, tokens FROM document ORDER BY id LIMIT ?"));
    SONDE_TRY_DONE(sondep_tables_prepare(
        &active, &d->in, "SELECT position, features, acts FROM active WHERE document = ? ORDER BY position"));
    sqlite3_bind_int64(documents, 1, d->n_kept);
    for (; number < d->n_kept; number++) {
        int64_t id, n;
        SONDE_TRY_DONE(sondep_tables_next(&has, documents, &d->in));
        if (!has)
            break;
        id = sqlite3_column_int64(documents, 0);
        n = sqlite3_column_bytes(documents, 2) / 4;
        SONDE_TRY_DONE(put(d, number % IN_DOCUMENTS > 0 ? ",{\"ids\":" : "[{\"ids\":"));
        SONDE_TRY_DONE(put_ids(d, sqlite3_column_blob(documents, 2), n));
        SONDE_TRY_DONE(put(d, ",\"features\":"));
        SONDE_TRY_DONE(put_active(d, active, id, n, false));
        SONDE_TRY_DONE(put(d, ",\"acts\":"));
        SONDE_TRY_DONE(put_active(d, active, id, n, true));
        SONDE_TRY_DONE(put(d, "}"));
        if (number % IN_DOCUMENTS == IN_DOCUMENTS - 1 || number == d->n_kept - 1) {
            SONDE_TRY_DONE(put(d, "]"));
            SONDE_TRY_DONE(end_block(d, "d", number / IN_DOCUMENTS));
        }
    }
    d->report.n_documents = number;
    status = SONDE_OK;
done:
    sqlite3_finalize(documents);
    sqlite3_finalize(active);
    return status;
}

/* ---- the page -------------------------------------------------------------------------------------------------------------------------- */

/* Pairs of texts as an object, or as an array of pairs. */
static sonde_status put_text_pairs(dash *d, const char *sql, bool is_object)
{
    sqlite3_stmt *statement;
    bool has, is_first = true;
    sonde_status status;

    SONDE_TRY(sondep_tables_prepare(&statement, &d->in, sql));
    SONDE_TRY_DONE(put(d, is_object ? "{" : "["));
    for (;;) {
        SONDE_TRY_DONE(sondep_tables_next(&has, statement, &d->in));
        if (!has)
            break;
        SONDE_TRY_DONE(put(d, is_first ? "" : ","));
        SONDE_TRY_DONE(put(d, is_object ? "" : "["));
        is_first = false;
        SONDE_TRY_DONE(put_text(d, (const char *)sqlite3_column_text(statement, 0)));
        SONDE_TRY_DONE(put(d, is_object ? ":" : ","));
        SONDE_TRY_DONE(put_text(d, (const char *)sqlite3_column_text(statement, 1)));
        SONDE_TRY_DONE(put(d, is_object ? "" : "]"));
    }
    status = put(d, is_object ? "}" : "]");
done:
    sqlite3_finalize(statement);
    return status;
}

/* One text of the database under its name. */
static sonde_status put_meta_text(dash *d, const char *name, const char *sql)
{
    sqlite3_stmt *statement;
    bool has;
    sonde_status status;

    SONDE_TRY(sondep_tables_prepare(&statement, &d->in, sql));
    SONDE_TRY_DONE(sondep_string_printf(&d->json, ",\"%s\":", name));
    SONDE_TRY_DONE(sondep_tables_next(&has, statement, &d->in));
    status = put_text(d, has ? (const char *)sqlite3_column_text(statement, 0) : "");
done:
    sqlite3_finalize(statement);
    return status;
}

/* Numbers of the database under their name. */
static sonde_status put_numbers(dash *d, const char *name, const char *sql)
{
    sqlite3_stmt *statement;
    sonde_status status;

    SONDE_TRY(sondep_tables_prepare(&statement, &d->in, sql));
    SONDE_TRY_DONE(sondep_string_printf(&d->json, ",\"%s\":", name));
    status = put_rows(d, statement, 0, 1);
done:
    sqlite3_finalize(statement);
    return status;
}

/* What the page knows before it opens a block. */
static sonde_status put_meta(dash *d)
{
    static const char *const numbers[] = {"n_features", "n_tokens", "n_documents", "l0_max", "n_bands"};
    static const char *const texts[] = {"model", "model_name", "architecture", "hook"};
    char sql[160];
    int64_t value;

    SONDE_TRY(sondep_string_printf(&d->json,
                                   "{\"in_block\":%d,\"in_documents\":%d,\"n_kept\":%lld,\"left_out_examples\":%lld",
                                   IN_BLOCK, IN_DOCUMENTS, (long long)d->n_kept, (long long)d->report.n_left_out));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        SONDE_TRY(sondep_tables_meta(&value, &d->in, numbers[i], 0));
        SONDE_TRY(sondep_string_printf(&d->json, ",\"%s\":%lld", numbers[i], (long long)value));
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        snprintf(sql, sizeof sql, "SELECT value FROM meta WHERE key = '%s'", texts[i]);
        SONDE_TRY(put_meta_text(d, texts[i], sql));
    }
    SONDE_TRY(put_meta_text(d, "neurons", "SELECT hook FROM neuron LIMIT 1"));
    if (d->opts.title != NULL) {
        SONDE_TRY(put(d, ",\"title\":"));
        SONDE_TRY(put_text(d, d->opts.title));
    } else {
        SONDE_TRY(put_meta_text(d, "title", "SELECT 'Features of ' || value FROM meta WHERE key = 'hook'"));
    }
    SONDE_TRY(put_numbers(d, "l0", "SELECT CAST(value AS REAL) FROM meta WHERE key = 'l0'"));
    SONDE_TRY(
        put_numbers(d, "l0_histogram",
                    "SELECT CAST(value AS INTEGER) FROM json_each((SELECT value FROM meta WHERE key = 'l0_histogram'))"));
    SONDE_TRY(put(d, ",\"classes\":"));
    SONDE_TRY(put_text_pairs(d, "SELECT name, what FROM class ORDER BY name", false));
    SONDE_TRY(put(d, ",\"about\":"));
    SONDE_TRY(put_text_pairs(d, "SELECT key, value FROM meta WHERE key NOT IN ('l0_histogram', 'eval') ORDER BY key", true));
    return put(d, "}");
}

/* Writes the template up to a mark, and moves behind it. */
static sonde_status write_until(dash *d, const char **at, const char *mark)
{
    const char *end = strstr(*at, mark);

    SONDE_ASSERT(end != NULL);
    SONDE_TRY(sondep_writer_put(&d->writer, *at, (size_t)(end - *at)));
    *at = end + strlen(mark);
    return SONDE_OK;
}

/* The template with everything in its places. */
static sonde_status write_page(dash *d)
{
    const char *at = (const char *)sondep_page_html;

    SONDE_TRY(write_until(d, &at, "@CSS@"));
    SONDE_TRY(sondep_writer_put(&d->writer, sondep_page_css, strlen((const char *)sondep_page_css)));
    SONDE_TRY(write_until(d, &at, "@META@"));
    SONDE_TRY(put_meta(d));
    SONDE_TRY(sondep_writer_put(&d->writer, d->json.text, d->json.n));
    d->json.n = 0;
    SONDE_TRY(write_until(d, &at, "@DATA@"));
    SONDE_TRY(write_index(d));
    SONDE_TRY(write_tokens(d));
    SONDE_TRY(write_features(d));
    SONDE_TRY(write_documents(d));
    SONDE_TRY(write_until(d, &at, "@JS@"));
    SONDE_TRY(sondep_writer_put(&d->writer, sondep_page_js, strlen((const char *)sondep_page_js)));
    return sondep_writer_put(&d->writer, at, strlen(at));
}

/* ---- what is shown ----------------------------------------------------------------------------------------------------------------------- */

/* As many examples as there is room for: three of five are of the largest, the others are spread over the bands. */
static sonde_status choose_examples(dash *d)
{
    int64_t top, in_band, all, most;

    SONDE_TRY(sondep_tables_number(&top, &d->in, "SELECT max(rank) FROM example WHERE band = 0"));
    SONDE_TRY(sondep_tables_number(&in_band, &d->in, "SELECT max(rank) FROM example WHERE band > 0"));
    all = top + in_band * d->n_bands;
    most = d->opts.n_examples > 0 ? d->opts.n_examples : BUDGET / EXAMPLE / (d->n_features > 0 ? d->n_features : 1);
    most = most > LEAST_EXAMPLES || d->opts.n_examples > 0 ? most : LEAST_EXAMPLES;
    d->n_top = top;
    d->n_in_band = in_band;
    /* one example less at a time, of whichever side has more than its share */
    while (d->n_top + d->n_in_band * d->n_bands > most && (d->n_top > 1 || d->n_in_band > 0)) {
        if (d->n_in_band > 0 && 3 * d->n_in_band * d->n_bands > 2 * d->n_top)
            d->n_in_band--;
        else
            d->n_top--;
    }
    d->report.n_left_out = all - d->n_top - d->n_in_band * d->n_bands;
    return SONDE_OK;
}

/* Sizes, largest activations, and how much is shown. */
static sonde_status read_sizes(dash *d)
{
    sqlite3_stmt *statement;
    bool has;
    sonde_status status;

    SONDE_TRY(sondep_tables_number(&d->n_features, &d->in, "SELECT count(*) FROM feature"));
    SONDE_TRY(sondep_tables_number(&d->n_kept, &d->in, "SELECT count(*) FROM document"));
    SONDE_TRY(sondep_tables_meta(&d->n_bands, &d->in, "n_bands", 0));
    if (d->opts.n_documents >= 0 && d->opts.n_documents < d->n_kept)
        d->n_kept = d->opts.n_documents;
    SONDE_TRY(choose_examples(d));
    SONDE_TRY(sondep_tables_read_tokens(&d->in));
    SONDE_TRY(SONDE_NEW(d->most, d->n_features));
    SONDE_TRY(sondep_tables_prepare(&statement, &d->in, "SELECT max FROM feature ORDER BY id"));
    for (int64_t s = 0; s < d->n_features; s++) {
        SONDE_TRY_DONE(sondep_tables_next(&has, statement, &d->in));
        d->most[s] = has ? sqlite3_column_double(statement, 0) : 0.0;
    }
    d->report.n_features = d->n_features;
    status = SONDE_OK;
done:
    sqlite3_finalize(statement);
    return status;
}

/* Sizes first: what is shown depends on them. */
sonde_status sonde_dash_write(sonde_dash_report *out, const char *path, const char *database, const sonde_dash_opts *opts)
{
    dash d = {.writer = {.fd = -1}};
    sonde_status status;

    *out = (sonde_dash_report){0};
    sonde_dash_opts_init(&d.opts);
    SONDE_TRY(sondep_opts_read(&d.opts, sizeof d.opts, opts, "the struct of a page's options"));
    SONDE_TRY_DONE(sondep_tables_open(&d.in, database));
    SONDE_TRY_DONE(read_sizes(&d));
    SONDE_TRY_DONE(sondep_writer_open(&d.writer, path));
    SONDE_TRY_DONE(write_page(&d));
    d.report.n_bytes = d.writer.n_bytes;
    SONDE_TRY_DONE(sondep_writer_commit(&d.writer));
    *out = d.report;
done:
    sondep_writer_abort(&d.writer);
    sondep_string_release(&d.json);
    sondep_free(d.most);
    sondep_tables_close(&d.in);
    return status;
}
