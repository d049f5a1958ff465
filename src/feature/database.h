/* feature/database.h - rows of a database of features.                         floor 8: feature */
#ifndef SONDEP_FEATURE_DATABASE_H
#define SONDEP_FEATURE_DATABASE_H

#include "feature/feature.h"

#include <sqlite3.h>

/* The statements that put rows in. */
typedef enum sondep_insertion {
    INTO_META,
    INTO_TOKEN,
    INTO_FEATURE,
    INTO_HISTOGRAM,
    INTO_LOGIT,
    INTO_NEIGHBOUR,
    INTO_NEURON,
    INTO_TOP,
    INTO_BEFORE,
    INTO_CLASS,
    INTO_FEATURE_CLASS,
    INTO_EXAMPLE,
    INTO_DOCUMENT,
    INTO_ACTIVE,
    INTO_CONTEXT,
    N_INSERTIONS
} sondep_insertion;

struct sondep_database {
    sqlite3 *sqlite;
    sqlite3_stmt *statements[N_INSERTIONS];
    char *path, *part;
    uint8_t *is_used; /* (V) ids that occur in the file */
    int64_t V;
};

/* Columns of the row that comes next, numbered from 1. NaN is NULL, NULL an empty text; blobs are numbers as they lie in memory. */
void sondep_database_put_int(const sondep_database *db, sondep_insertion which, int column, int64_t value);
void sondep_database_put_real(const sondep_database *db, sondep_insertion which, int column, double value);
void sondep_database_put_text(const sondep_database *db, sondep_insertion which, int column, const char *text);
void sondep_database_put_blob(const sondep_database *db, sondep_insertion which, int column, const void *bytes, size_t n);

/* The row that was put together. Errors: SONDE_E_IO, in SQLite's words. */
sonde_status sondep_database_insert(const sondep_database *db, sondep_insertion which);

#endif
