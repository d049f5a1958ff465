/* tables.c - a database of features, read.                                     floor 9: report
 *
 * What the page and the export share: the file is opened read-only and must have the application's number and version of the tables;
 * every error says which file, in SQLite's words. Texts of tokens are read once, since every example asks for dozens of them.
 */
#include "report/tables.h"

#include "base/file.h"

/* In SQLite's words. */
static sonde_status fail(const sondep_tables *t)
{
    return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is no database of features, or a damaged one: %s", t->path,
                      sqlite3_errmsg(t->db));
}

/* One row, or an error. */
sonde_status sondep_tables_prepare(sqlite3_stmt **out, const sondep_tables *t, const char *sql)
{
    return sqlite3_prepare_v2(t->db, sql, -1, out, NULL) == SQLITE_OK ? SONDE_OK : fail(t);
}

/* Anything but a row or the end is an error of the file. */
sonde_status sondep_tables_next(bool *has, sqlite3_stmt *statement, const sondep_tables *t)
{
    int code = sqlite3_step(statement);

    *has = code == SQLITE_ROW;
    return code == SQLITE_ROW || code == SQLITE_DONE ? SONDE_OK : fail(t);
}

/* What was read of it before is forgotten. */
void sondep_tables_bind(sqlite3_stmt *statement, int64_t s)
{
    sqlite3_reset(statement);
    sqlite3_bind_int64(statement, 1, s);
}

/* The first column of the first row. */
sonde_status sondep_tables_number(int64_t *out, const sondep_tables *t, const char *sql)
{
    sqlite3_stmt *statement;
    bool has;
    sonde_status status;

    SONDE_TRY(sondep_tables_prepare(&statement, t, sql));
    status = sondep_tables_next(&has, statement, t);
    *out = status == SONDE_OK && has ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_finalize(statement);
    return status;
}

/* The row of a key. */
static sonde_status look_up(sqlite3_stmt **out, bool *has, const sondep_tables *t, const char *key)
{
    SONDE_TRY(sondep_tables_prepare(out, t, "SELECT value FROM meta WHERE key = ?"));
    sqlite3_bind_text(*out, 1, key, -1, SQLITE_STATIC);
    return sondep_tables_next(has, *out, t);
}

/* SQLite's own conversion: a text that is no number is 0. */
sonde_status sondep_tables_meta(int64_t *out, const sondep_tables *t, const char *key, int64_t otherwise)
{
    sqlite3_stmt *statement = NULL;
    bool has;
    sonde_status status = look_up(&statement, &has, t, key);

    *out = status == SONDE_OK && has ? sqlite3_column_int64(statement, 0) : otherwise;
    sqlite3_finalize(statement);
    return status;
}

/* A copy, since the row goes with its statement. */
sonde_status sondep_tables_meta_text(char **out, const sondep_tables *t, const char *key)
{
    sqlite3_stmt *statement = NULL;
    bool has;
    sonde_status status = look_up(&statement, &has, t, key);

    *out = NULL;
    if (status == SONDE_OK)
        status = sondep_copy_string(out, has ? (const char *)sqlite3_column_text(statement, 0) : "");
    sqlite3_finalize(statement);
    return status;
}

/* SQLite files of others open just as well: the number of the application tells them apart. */
static sonde_status check_kind(const sondep_tables *t)
{
    int64_t id, version;

    SONDE_TRY(sondep_tables_number(&id, t, "SELECT application_id FROM pragma_application_id"));
    if (id != 0x736f6e64)
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is no database of features", t->path);
    SONDE_TRY(sondep_tables_number(&version, t, "SELECT user_version FROM pragma_user_version"));
    if (version != 1)
        return SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' has version %lld of the tables, version 1 is read here", t->path,
                          (long long)version);
    return SONDE_OK;
}

/* What was opened is closed by the caller, also where it turns out to be something else. */
sonde_status sondep_tables_open(sondep_tables *out, const char *path)
{
    *out = (sondep_tables){.path = path};
    /* SQLite would make an empty one */
    if (!sondep_is_file(path))
        return SONDE_FAIL(SONDE_E_NOTFOUND, "there is no '%s'", path);
    if (sqlite3_open_v2(path, &out->db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
        return fail(out);
    return check_kind(out);
}

/* Texts first; SQLite takes NULL. */
void sondep_tables_close(sondep_tables *t)
{
    for (int64_t i = 0; i < t->n_tokens && t->tokens != NULL; i++)
        sondep_free(t->tokens[i]);
    sondep_free(t->tokens);
    sqlite3_close(t->db);
}

/* ---- tokens --------------------------------------------------------------------------------------------------------- */

/* An id that is there twice keeps its first text. */
sonde_status sondep_tables_read_tokens(sondep_tables *t)
{
    sqlite3_stmt *statement;
    bool has;
    sonde_status status;

    SONDE_TRY(sondep_tables_prepare(&statement, t, "SELECT id, text, (SELECT max(id) + 1 FROM token) FROM token"));
    for (;;) {
        int64_t id;
        SONDE_TRY_DONE(sondep_tables_next(&has, statement, t));
        if (!has)
            break;
        /* the largest id comes with every row: the first one makes room */
        if (t->tokens == NULL) {
            t->n_tokens = sqlite3_column_int64(statement, 2);
            SONDE_TRY_DONE(SONDE_NEW(t->tokens, t->n_tokens));
        }
        id = sqlite3_column_int64(statement, 0);
        if (id >= 0 && id < t->n_tokens && t->tokens[id] == NULL)
            SONDE_TRY_DONE(sondep_copy_string(&t->tokens[id], (const char *)sqlite3_column_text(statement, 1)));
    }
done:
    sqlite3_finalize(statement);
    return status;
}

/* Ids come from blobs, which may say anything. */
const char *sondep_tables_token_of(const sondep_tables *t, int64_t id)
{
    return id >= 0 && id < t->n_tokens && t->tokens[id] != NULL ? t->tokens[id] : "";
}

/* Blobs need not be aligned. */
const char *sondep_tables_token(const sondep_tables *t, const void *ids, int64_t n, int64_t i)
{
    int32_t id = -1;

    if (i >= 0 && i < n)
        memcpy(&id, (const char *)ids + i * 4, sizeof id);
    return sondep_tables_token_of(t, id);
}
