/* dash_json.c - JSON of a dashboard, and its deflated blocks.                  floor 9: report
 *
 * Everything that comes from texts is escaped here so that it ends no script.
 */
#include "report/dash.h"

#include <stdio.h>
#include <zlib.h>

/* ---- JSON --------------------------------------------------------------------------------------------------------------------------- */

/* Behind what is there. */
sonde_status sondep_dash_put(sondep_dash *d, const char *text)
{
    return sondep_string_append(&d->json, text, strlen(text));
}

/* A string; what would end a script, or is a control character, is escaped. */
sonde_status sondep_dash_put_text(sondep_dash *d, const char *text)
{
    SONDE_TRY(sondep_dash_put(d, "\""));
    for (const char *c = text ? text : ""; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\')
            SONDE_TRY(sondep_string_printf(&d->json, "\\%c", *c));
        else if ((unsigned char)*c < 0x20 || *c == '<' || *c == 0x7f)
            SONDE_TRY(sondep_string_printf(&d->json, "\\u%04x", (unsigned char)*c));
        else
            SONDE_TRY(sondep_string_append(&d->json, c, 1));
    }
    return sondep_dash_put(d, "\"");
}

/* Numbers as short as four digits allow: a page shows three. NULL is null. */
sonde_status sondep_dash_put_column(sondep_dash *d, sqlite3_stmt *statement, int column)
{
    if (sqlite3_column_type(statement, column) == SQLITE_NULL)
        return sondep_dash_put(d, "null");
    if (sqlite3_column_type(statement, column) == SQLITE_INTEGER)
        return sondep_string_printf(&d->json, "%lld", (long long)sqlite3_column_int64(statement, column));
    return sondep_string_printf(&d->json, "%.4g", sqlite3_column_double(statement, column));
}

/* ---- blocks --------------------------------------------------------------------------------------------------------------------------- */

/* Writes the JSON that was put together as a block of its name, and empties it. */
sonde_status sondep_dash_end_block(sondep_dash *d, const char *name, int64_t number)
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
sonde_status sondep_dash_put_rows(sondep_dash *d, sqlite3_stmt *statement, int64_t s, int n)
{
    bool has, is_first = true;
    sonde_status status = SONDE_OK;

    SONDE_TRY(sondep_dash_put(d, "["));
    sqlite3_reset(statement);
    sqlite3_bind_int64(statement, 1, s);
    for (;;) {
        SONDE_TRY(sondep_tables_next(&has, statement, &d->in));
        if (!has)
            break;
        SONDE_TRY(sondep_dash_put(d, is_first ? (n > 1 ? "[" : "") : (n > 1 ? ",[" : ",")));
        is_first = false;
        for (int i = 0; i < n && status == SONDE_OK; i++) {
            SONDE_TRY(i > 0 ? sondep_dash_put(d, ",") : SONDE_OK);
            status = sondep_dash_put_column(d, statement, i);
        }
        SONDE_TRY(status);
        SONDE_TRY(n > 1 ? sondep_dash_put(d, "]") : SONDE_OK);
    }
    return sondep_dash_put(d, "]");
}
