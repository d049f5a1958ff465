/* dash_features.c - a dashboard's blocks of features, and of texts.            floor 9: report
 *
 * Some features or texts each, which the page opens when somebody looks at them. Activations are steps of a scale of their own, so that they
 * deflate well.
 */
#include "report/dash.h"

#include <math.h>
#include <stdio.h>

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
static sonde_status put_histogram(sondep_dash *d, sqlite3_stmt *statement, int64_t s)
{
    const int64_t *counts;
    bool has;
    int64_t n;

    sqlite3_reset(statement);
    sqlite3_bind_int64(statement, 1, s);
    SONDE_TRY(sondep_dash_put(d, "\"histogram\":["));
    SONDE_TRY(sondep_tables_next(&has, statement, &d->in));
    counts = has ? sqlite3_column_blob(statement, 0) : NULL;
    n = has && counts ? sqlite3_column_bytes(statement, 0) / (int64_t)sizeof *counts : 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t count;
        memcpy(&count, (const char *)counts + i * (int64_t)sizeof count, sizeof count);
        SONDE_TRY(sondep_string_printf(&d->json, "%s%lld", i > 0 ? "," : "", (long long)count));
    }
    return sondep_dash_put(d, "],");
}

/* Ids of a blob. */
static sonde_status put_ids(sondep_dash *d, const void *blob, int64_t n)
{
    SONDE_TRY(sondep_dash_put(d, "["));
    for (int64_t i = 0; i < n; i++) {
        int32_t id;
        memcpy(&id, (const char *)blob + i * 4, sizeof id);
        SONDE_TRY(sondep_string_printf(&d->json, "%s%d", i > 0 ? "," : "", id));
    }
    return sondep_dash_put(d, "]");
}

/* Activations of a window that are not 0, as places and 255 steps of the largest. */
static sonde_status put_steps(sondep_dash *d, const void *blob, int64_t n, double most)
{
    bool is_first = true;

    SONDE_TRY(sondep_dash_put(d, "["));
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
    return sondep_dash_put(d, "]");
}

/* Examples of a feature that are shown. */
static sonde_status put_examples(sondep_dash *d, sqlite3_stmt *statement, int64_t s)
{
    bool has, is_first = true;

    SONDE_TRY(sondep_dash_put(d, "\"examples\":["));
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
        SONDE_TRY(sondep_dash_put(d, is_first ? "[" : ",["));
        is_first = false;
        for (int i = 0; i < 5; i++) {
            SONDE_TRY(sondep_dash_put_column(d, statement, i));
            SONDE_TRY(sondep_dash_put(d, ","));
        }
        SONDE_TRY(put_ids(d, sqlite3_column_blob(statement, 5), n));
        SONDE_TRY(sondep_dash_put(d, ","));
        n = sqlite3_column_bytes(statement, 6) / 4 < n ? sqlite3_column_bytes(statement, 6) / 4 : n;
        SONDE_TRY(put_steps(d, sqlite3_column_blob(statement, 6), n, d->most[s]));
        SONDE_TRY(sondep_dash_put(d, "]"));
        d->report.n_examples++;
    }
    return sondep_dash_put(d, "]");
}

/* The statements of a feature. */
typedef struct statements {
    sqlite3_stmt *histogram, *examples, *parts[N_PARTS];
} statements;

/* One object. */
static sonde_status put_feature(sondep_dash *d, const statements *x, int64_t s)
{
    SONDE_TRY(sondep_dash_put(d, s % SONDEP_DASH_FEATURES > 0 ? ",{" : "{"));
    SONDE_TRY(put_histogram(d, x->histogram, s));
    for (int i = 0; i < N_PARTS; i++) {
        SONDE_TRY(sondep_string_printf(&d->json, "\"%s\":", parts[i].name));
        SONDE_TRY(sondep_dash_put_rows(d, x->parts[i], s, parts[i].n_columns));
        SONDE_TRY(sondep_dash_put(d, ","));
    }
    SONDE_TRY(put_examples(d, x->examples, s));
    return sondep_dash_put(d, "}");
}

/* Blocks of as many features each; the last has what is left. */
sonde_status sondep_dash_write_features(sondep_dash *d)
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
        if (s % SONDEP_DASH_FEATURES == 0)
            SONDE_TRY_DONE(sondep_interrupted() ? SONDE_FAIL(SONDE_E_INTERRUPTED, "interrupted") : sondep_dash_put(d, "["));
        SONDE_TRY_DONE(put_feature(d, &x, s));
        if (s % SONDEP_DASH_FEATURES == SONDEP_DASH_FEATURES - 1 || s == d->n_features - 1) {
            SONDE_TRY_DONE(sondep_dash_put(d, "]"));
            SONDE_TRY_DONE(sondep_dash_end_block(d, "f", s / SONDEP_DASH_FEATURES));
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
static sonde_status put_active(sondep_dash *d, sqlite3_stmt *statement, int64_t document, int64_t n, bool is_acts)
{
    int64_t position = 0;
    bool has;

    sqlite3_reset(statement);
    sqlite3_bind_int64(statement, 1, document);
    SONDE_TRY(sondep_dash_put(d, "["));
    for (;;) {
        int64_t at, n_pairs;
        SONDE_TRY(sondep_tables_next(&has, statement, &d->in));
        at = has ? sqlite3_column_int64(statement, 0) : n;
        /* rows are only of positions that are measured */
        for (; position < at; position++) /* positions that are left out have nothing */
            SONDE_TRY(sondep_dash_put(d, position > 0 ? ",[]" : "[]"));
        if (!has)
            break;
        n_pairs = sqlite3_column_bytes(statement, is_acts ? 2 : 1) / 4;
        SONDE_TRY(sondep_dash_put(d, position > 0 ? "," : ""));
        if (!is_acts)
            SONDE_TRY(put_ids(d, sqlite3_column_blob(statement, 1), n_pairs));
        for (int64_t i = 0; is_acts && i < n_pairs; i++) {
            float x;
            memcpy(&x, (const char *)sqlite3_column_blob(statement, 2) + i * 4, sizeof x);
            SONDE_TRY(sondep_string_printf(&d->json, "%s%lld", i > 0 ? "," : "[", (long long)llrint(1000.0 * (double)x)));
        }
        if (is_acts)
            SONDE_TRY(sondep_dash_put(d, n_pairs > 0 ? "]" : "[]"));
        position++;
    }
    return sondep_dash_put(d, "]");
}

/* The same for texts. */
sonde_status sondep_dash_write_documents(sondep_dash *d)
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
        SONDE_TRY_DONE(sondep_dash_put(d, number % SONDEP_DASH_DOCUMENTS > 0 ? ",{\"ids\":" : "[{\"ids\":"));
        SONDE_TRY_DONE(put_ids(d, sqlite3_column_blob(documents, 2), n));
        SONDE_TRY_DONE(sondep_dash_put(d, ",\"features\":"));
        SONDE_TRY_DONE(put_active(d, active, id, n, false));
        SONDE_TRY_DONE(sondep_dash_put(d, ",\"acts\":"));
        SONDE_TRY_DONE(put_active(d, active, id, n, true));
        SONDE_TRY_DONE(sondep_dash_put(d, "}"));
        if (number % SONDEP_DASH_DOCUMENTS == SONDEP_DASH_DOCUMENTS - 1 || number == d->n_kept - 1) {
            SONDE_TRY_DONE(sondep_dash_put(d, "]"));
            SONDE_TRY_DONE(sondep_dash_end_block(d, "d", number / SONDEP_DASH_DOCUMENTS));
        }
    }
    d->report.n_documents = number;
    status = SONDE_OK;
done:
    sqlite3_finalize(documents);
    sqlite3_finalize(active);
    return status;
}
