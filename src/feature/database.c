/* database.c - what was gathered, as SQLite's tables.                           floor 8: feature
 *
 * One transaction into a file beside, without a journal: it is renamed when it is complete, and removed when it is not. Rows come in the
 * order of their keys, so that the same features give the same bytes.
 */
#include "feature/database.h"

#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char schema[] =
    "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA application_id = 0x736f6e64; PRAGMA user_version = 1; "
    "BEGIN;"
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE token (id INTEGER PRIMARY KEY, text TEXT NOT NULL);"
    "CREATE TABLE feature (id INTEGER PRIMARY KEY, n_fired INTEGER NOT NULL, n_documents INTEGER NOT NULL, density REAL NOT "
    "NULL,"
    " max REAL NOT NULL, mean REAL NOT NULL, encoder_norm REAL, decoder_norm REAL, encoder_bias REAL, encoder_decoder REAL,"
    " label TEXT, summary TEXT NOT NULL);"
    "CREATE TABLE histogram (feature INTEGER PRIMARY KEY, low REAL NOT NULL, high REAL NOT NULL, counts BLOB NOT NULL);"
    "CREATE TABLE logit (feature INTEGER NOT NULL, rank INTEGER NOT NULL, token INTEGER NOT NULL, value REAL NOT NULL,"
    " PRIMARY KEY (feature, rank)) WITHOUT ROWID;"
    "CREATE TABLE neighbour (feature INTEGER NOT NULL, rank INTEGER NOT NULL, other INTEGER NOT NULL, cosine REAL NOT NULL,"
    " PRIMARY KEY (feature, rank)) WITHOUT ROWID;"
    "CREATE TABLE neuron (feature INTEGER NOT NULL, rank INTEGER NOT NULL, hook TEXT NOT NULL, neuron INTEGER NOT NULL,"
    " correlation REAL NOT NULL, PRIMARY KEY (feature, rank)) WITHOUT ROWID;"
    "CREATE TABLE top_token (feature INTEGER NOT NULL, rank INTEGER NOT NULL, token INTEGER NOT NULL, n INTEGER NOT NULL,"
    " sum REAL NOT NULL, PRIMARY KEY (feature, rank)) WITHOUT ROWID;"
    "CREATE TABLE before_token (feature INTEGER NOT NULL, rank INTEGER NOT NULL, token INTEGER NOT NULL, n INTEGER NOT NULL,"
    " PRIMARY KEY (feature, rank)) WITHOUT ROWID;"
    "CREATE TABLE class (name TEXT PRIMARY KEY, what TEXT NOT NULL, n INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE feature_class (feature INTEGER NOT NULL, class TEXT NOT NULL, n INTEGER NOT NULL, llr REAL NOT NULL,"
    " PRIMARY KEY (feature, class)) WITHOUT ROWID;"
    "CREATE TABLE example (feature INTEGER NOT NULL, band INTEGER NOT NULL, rank INTEGER NOT NULL, document INTEGER NOT "
    "NULL,"
    " position INTEGER NOT NULL, value REAL NOT NULL, first INTEGER NOT NULL, tokens BLOB NOT NULL, acts BLOB NOT NULL,"
    " PRIMARY KEY (feature, band, rank)) WITHOUT ROWID;"
    "CREATE TABLE document (id INTEGER PRIMARY KEY, n_tokens INTEGER NOT NULL, tokens BLOB NOT NULL);"
    "CREATE TABLE active (document INTEGER NOT NULL, position INTEGER NOT NULL, features BLOB NOT NULL, acts BLOB NOT NULL,"
    " PRIMARY KEY (document, position)) WITHOUT ROWID;"
    "CREATE VIRTUAL TABLE context USING fts5 (text, feature UNINDEXED, band UNINDEXED, place UNINDEXED, tokenize = "
    "'unicode61');";

static const char *const insertions[N_INSERTIONS] = {
    [INTO_META] = "INSERT INTO meta VALUES (?, ?)",
    [INTO_TOKEN] = "INSERT INTO token VALUES (?, ?)",
    [INTO_FEATURE] = "INSERT INTO feature VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?)",
    [INTO_HISTOGRAM] = "INSERT INTO histogram VALUES (?, ?, ?, ?)",
    [INTO_LOGIT] = "INSERT INTO logit VALUES (?, ?, ?, ?)",
    [INTO_NEIGHBOUR] = "INSERT INTO neighbour VALUES (?, ?, ?, ?)",
    [INTO_NEURON] = "INSERT INTO neuron VALUES (?, ?, ?, ?, ?)",
    [INTO_TOP] = "INSERT INTO top_token VALUES (?, ?, ?, ?, ?)",
    [INTO_BEFORE] = "INSERT INTO before_token VALUES (?, ?, ?, ?)",
    [INTO_CLASS] = "INSERT INTO class VALUES (?, ?, ?)",
    [INTO_FEATURE_CLASS] = "INSERT INTO feature_class VALUES (?, ?, ?, ?)",
    [INTO_EXAMPLE] = "INSERT INTO example VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [INTO_DOCUMENT] = "INSERT INTO document VALUES (?, ?, ?)",
    [INTO_ACTIVE] = "INSERT INTO active VALUES (?, ?, ?, ?)",
    [INTO_CONTEXT] = "INSERT INTO context VALUES (?, ?, ?, ?)",
};

/* ---- life ---------------------------------------------------------------------------------------------------------------------- */

/* In SQLite's words: a full disk, a folder that is not there. */
static sonde_status fail(const sondep_database *db)
{
    return SONDE_FAIL(SONDE_E_IO, "'%s' cannot be written: %s", db->path, sqlite3_errmsg(db->sqlite));
}

/* All statements are prepared once. */
sonde_status sondep_database_open(sondep_database **out, const char *path)
{
    sondep_database *db;
    sondep_string part = {0};
    sonde_status status;

    *out = NULL;
    SONDE_TRY(SONDE_NEW(db, 1));
    SONDE_TRY_DONE(sondep_path_resolve(&db->path, path));
    if (sondep_is_directory(db->path)) {
        status = SONDE_FAIL(SONDE_E_ARG, "'%s' is a directory, a database is a file", path);
        goto done;
    }
    SONDE_TRY_DONE(sondep_string_printf(&part, "%s.%ld.part", db->path, (long)getpid()));
    db->part = part.text;
    part.text = NULL;
    /* what a killed process left under this name */
    unlink(db->part);
    if (sqlite3_open_v2(db->part, &db->sqlite, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK ||
        sqlite3_exec(db->sqlite, schema, NULL, NULL, NULL) != SQLITE_OK) {
        status = fail(db);
        goto done;
    }
    for (int i = 0; i < N_INSERTIONS; i++)
        if (sqlite3_prepare_v2(db->sqlite, insertions[i], -1, &db->statements[i], NULL) != SQLITE_OK) {
            status = fail(db);
            goto done;
        }
    *out = db;
    db = NULL;
    status = SONDE_OK;
done:
    sondep_string_release(&part);
    sondep_database_close(db);
    return status;
}

/* Gives SQLite's memory back. */
static bool close_sqlite(sondep_database *db)
{
    bool is_closed;

    for (int i = 0; i < N_INSERTIONS; i++)
        sqlite3_finalize(db->statements[i]);
    memset(db->statements, 0, sizeof db->statements);
    is_closed = sqlite3_close(db->sqlite) == SQLITE_OK;
    db->sqlite = NULL;
    return is_closed;
}

/* The index of the full-text search is merged into one piece first. */
sonde_status sondep_database_commit(sondep_database *db, int64_t *n_bytes)
{
    sqlite3_stmt *count;

    if (sqlite3_exec(db->sqlite, "INSERT INTO context (context) VALUES ('optimize'); COMMIT;", NULL, NULL, NULL) !=
        SQLITE_OK)
        return fail(db);
    *n_bytes = 0;
    if (sqlite3_prepare_v2(db->sqlite, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", -1, &count,
                           NULL) == SQLITE_OK &&
        sqlite3_step(count) == SQLITE_ROW)
        *n_bytes = sqlite3_column_int64(count, 0);
    sqlite3_finalize(count);
    if (!close_sqlite(db) || sondep_syscalls.rename(db->part, db->path) != 0)
        return SONDE_FAIL(SONDE_E_IO, "'%s' cannot be put in its place", db->path);
    sondep_free(db->part);
    db->part = NULL;
    return SONDE_OK;
}

/* Behind a commit there is nothing left to remove. */
void sondep_database_close(sondep_database *db)
{
    if (db == NULL)
        return;
    close_sqlite(db);
    if (db->part != NULL)
        unlink(db->part);
    sondep_free(db->path);
    sondep_free(db->part);
    sondep_free(db->is_used);
    sondep_free(db);
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------------ */

/* Columns are numbered from 1. */
void sondep_database_put_int(const sondep_database *db, sondep_insertion which, int column, int64_t value)
{
    sqlite3_bind_int64(db->statements[which], column, value);
}

/* NaN is NULL. */
void sondep_database_put_real(const sondep_database *db, sondep_insertion which, int column, double value)
{
    if (isnan(value))
        sqlite3_bind_null(db->statements[which], column);
    else
        sqlite3_bind_double(db->statements[which], column, value);
}

/* NULL is an empty text. */
void sondep_database_put_text(const sondep_database *db, sondep_insertion which, int column, const char *text)
{
    sqlite3_bind_text(db->statements[which], column, text ? text : "", -1, SQLITE_TRANSIENT);
}

/* Numbers as they lie in memory: little-endian on every machine that is supported. */
void sondep_database_put_blob(const sondep_database *db, sondep_insertion which, int column, const void *bytes, size_t n)
{
    sqlite3_bind_blob64(db->statements[which], column, n > 0 ? bytes : "", n, SQLITE_TRANSIENT);
}

/* The row that was put together. */
sonde_status sondep_database_insert(const sondep_database *db, sondep_insertion which)
{
    int code = sqlite3_step(db->statements[which]);

    if (code != SQLITE_DONE || sqlite3_reset(db->statements[which]) != SQLITE_OK)
        return fail(db);
    return SONDE_OK;
}

/* ---- documents ---------------------------------------------------------------------------------------------------------------------- */

/* As it is walked. */
sonde_status sondep_database_add_document(sondep_database *db, const sondep_text *text)
{
    sondep_database_put_int(db, INTO_DOCUMENT, 1, text->number);
    sondep_database_put_int(db, INTO_DOCUMENT, 2, text->n);
    sondep_database_put_blob(db, INTO_DOCUMENT, 3, text->tokens, (size_t)text->n * sizeof *text->tokens);
    return sondep_database_insert(db, INTO_DOCUMENT);
}

/* A pair of a position. */
typedef struct active {
    int32_t feature;
    float value;
} active;

/* The largest first; of equal ones the lower feature. */
static int compare_active(const void *a, const void *b)
{
    const active *x = a, *y = b;
    float p = fabsf(x->value), q = fabsf(y->value);

    return p != q ? (p > q ? -1 : 1) : (x->feature > y->feature) - (x->feature < y->feature);
}

/* The largest ones of a position. */
sonde_status sondep_database_add_active(sondep_database *db, const sondep_text *text, int64_t position, int64_t most)
{
    int64_t first = text->first[position], n = text->first[position + 1] - first;
    int64_t kept = n < most ? n : most;
    active *all;
    int32_t *features;
    float *acts;
    sonde_status status;

    SONDE_TRY(SONDE_NEW(all, n + kept + 1)); /* the lists of both columns lie behind the pairs */
    for (int64_t i = 0; i < n; i++)
        all[i] = (active){text->feature[first + i], text->value[first + i]};
    qsort(all, (size_t)n, sizeof *all, compare_active);
    features = (int32_t *)(all + n);
    acts = (float *)(features + kept);
    for (int64_t i = 0; i < kept; i++) {
        features[i] = all[i].feature;
        acts[i] = all[i].value;
    }
    sondep_database_put_int(db, INTO_ACTIVE, 1, text->number);
    sondep_database_put_int(db, INTO_ACTIVE, 2, position);
    sondep_database_put_blob(db, INTO_ACTIVE, 3, features, (size_t)kept * sizeof *features);
    sondep_database_put_blob(db, INTO_ACTIVE, 4, acts, (size_t)kept * sizeof *acts);
    status = sondep_database_insert(db, INTO_ACTIVE);
    sondep_free(all);
    return status;
}
