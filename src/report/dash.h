/* report/dash.h - what writers of a dashboard's blocks share.                   floor 9: report */
#ifndef SONDEP_REPORT_DASH_H
#define SONDEP_REPORT_DASH_H

#include <sonde/report.h>

#include "base/base.h"
#include "base/file.h"
#include "report/tables.h"

/* Features, and texts, of a block. */
enum { SONDEP_DASH_FEATURES = 256, SONDEP_DASH_DOCUMENTS = 20 };

/* A page that is being written. */
typedef struct sondep_dash {
    sondep_tables in;
    sonde_dash_opts opts;
    sondep_writer writer;
    sondep_string json;
    int64_t n_features, n_bands, n_kept;
    int64_t n_top, n_in_band; /* examples of a feature that are shown: of the largest, of each band */
    double *most;             /* (S) largest activations */
    sonde_dash_report report;
} sondep_dash;

/* Behind the JSON that is being put together: text as it is; a string, escaped so that it ends no script; a column, numbers as short as four digits
 * allow; rows of a statement as lists of n columns each (n 1: one list), bound to feature s. Errors: SONDE_E_NOMEM, SONDE_E_IO. */
sonde_status sondep_dash_put(sondep_dash *d, const char *text);
sonde_status sondep_dash_put_text(sondep_dash *d, const char *text);
sonde_status sondep_dash_put_column(sondep_dash *d, sqlite3_stmt *statement, int column);
sonde_status sondep_dash_put_rows(sondep_dash *d, sqlite3_stmt *statement, int64_t s, int n);

/* Writes the JSON that was put together as a block of its name, and a number where that is not below 0, and empties it. */
sonde_status sondep_dash_end_block(sondep_dash *d, const char *name, int64_t number);

/* The blocks of the page, as dash.c lists them. */
sonde_status sondep_dash_write_index(sondep_dash *d);
sonde_status sondep_dash_write_tokens(sondep_dash *d);
sonde_status sondep_dash_write_features(sondep_dash *d);
sonde_status sondep_dash_write_documents(sondep_dash *d);

#endif
