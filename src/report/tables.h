/* report/tables.h - a database of features (sonde/feature.h), read.            floor 9: report */
#ifndef SONDEP_TABLES_H
#define SONDEP_TABLES_H

#include "base/base.h"

#include <sqlite3.h>

typedef struct sondep_tables {
    sqlite3 *db;
    const char *path; /* borrowed; for messages */
    char **tokens;    /* (n_tokens) texts of ids; NULL: of those that do not occur */
    int64_t n_tokens;
} sondep_tables;

/* Opens one, and sees that it is one; close is fine on a zero struct. Errors: SONDE_E_NOTFOUND, SONDE_E_FORMAT (none, or a damaged one:
 * SQLite's words), SONDE_E_UNSUPPORTED (of another version). */
sonde_status sondep_tables_open(sondep_tables *out, const char *path);
void sondep_tables_close(sondep_tables *t);

/* A statement; a table that is missing shows here. The next row of it; *has false at the end. Errors: SONDE_E_FORMAT. */
sonde_status sondep_tables_prepare(sqlite3_stmt **out, const sondep_tables *t, const char *sql);
sonde_status sondep_tables_next(bool *has, sqlite3_stmt *statement, const sondep_tables *t);

/* A statement from its beginning, for a feature. */
void sondep_tables_bind(sqlite3_stmt *statement, int64_t s);

/* The number that a statement gives (0: none); a value of the table meta as a number, `otherwise` if it is not there; and as a text, ""
 * if it is not there, which is the caller's: sondep_free. Errors: SONDE_E_FORMAT, SONDE_E_NOMEM. */
sonde_status sondep_tables_number(int64_t *out, const sondep_tables *t, const char *sql);
sonde_status sondep_tables_meta(int64_t *out, const sondep_tables *t, const char *key, int64_t otherwise);
sonde_status sondep_tables_meta_text(char **out, const sondep_tables *t, const char *key);

/* Reads the texts of all ids. Errors: SONDE_E_FORMAT, SONDE_E_NOMEM. Then: the text of an id; of place i of a blob of n ids; "" outside. */
sonde_status sondep_tables_read_tokens(sondep_tables *t);
const char *sondep_tables_token_of(const sondep_tables *t, int64_t id);
const char *sondep_tables_token(const sondep_tables *t, const void *ids, int64_t n, int64_t i);

#endif
