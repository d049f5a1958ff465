/* common_table.c - results on stdout: aligned tables and JSON.                           floor 10: cli
 *
 * A table keeps its rows as texts until it is printed, since the width of a column is known only then. Widths are those of
 * a terminal: a CJK character takes two columns, a combining mark none.
 */
#include "common.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- tables ------------------------------------------------------------------------------------------------------ */

struct cli_table {
    const char *align;
    char **rows;
    int64_t n, capacity;
    bool failed;
};

/* Formats one row; the first failure is remembered, and shown when the table is printed. */
void cli_table_row(cli_table *table, const char *format, ...)
{
    char *row = NULL;
    va_list arguments;
    int n;

    if (table == NULL || table->failed)
        return;
    va_start(arguments, format);
    n = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    table->failed = CLI_GROW(table->rows, table->n, table->capacity) != SONDE_OK || (row = cli_alloc(n + 1, 1)) == NULL;
    if (table->failed)
        return;
    va_start(arguments, format);
    vsnprintf(row, (size_t)n + 1, format, arguments);
    va_end(arguments);
    table->rows[table->n++] = row;
}

/* Without memory there is no table, and rows go nowhere: printing it says so. */
cli_table *cli_table_new(const char *align, const char *headers)
{
    cli_table *table = cli_alloc(1, sizeof *table);

    if (table != NULL) {
        table->align = align;
        if (headers != NULL)
            cli_table_row(table, "%s", headers);
    }
    return table;
}

/* Cuts a row at its tabs; gives back the next cell and its end. */
static char *next_cell(char **at)
{
    char *cell = *at, *tab = strchr(cell, '\t');

    if (tab != NULL)
        *tab = '\0';
    *at = tab != NULL ? tab + 1 : cell + strlen(cell);
    return cell;
}

/* Prints one row and leaves it cut. Spaces are printed only where something follows. */
static void print_row(char *row, const char *align, const int64_t *widths)
{
    int64_t gap = 0; /* spaces that are due before the next cell that is not empty */

    for (int column = 0; align[column] != '\0'; column++) {
        const char *cell = next_cell(&row);
        int64_t padding = widths[column] - cli_width(cell);

        /* an empty cell only widens the gap: no row ends in spaces */
        if (cell[0] == '\0') {
            gap += widths[column] + 2;
            continue;
        }
        printf("%*s%s", (int)(gap + (align[column] == 'r' ? padding : 0)), "", cell);
        gap = 2 + (align[column] == 'l' ? padding : 0);
    }
    putchar('\n');
}

/* Widest cell of each column, from a copy of each row. */
static sonde_status measure_columns(const cli_table *table, int64_t *widths)
{
    for (int64_t i = 0; i < table->n; i++) {
        char *copy = strdup(table->rows[i]), *at = copy;
        if (copy == NULL)
            return cli_fail(SONDE_E_NOMEM, "out of memory");
        for (int column = 0; table->align[column] != '\0'; column++) {
            int64_t width = cli_width(next_cell(&at));
            widths[column] = width > widths[column] ? width : widths[column];
        }
        free(copy);
    }
    return SONDE_OK;
}

/* Widths first, then rows; whatever happens, the table is gone afterwards. */
sonde_status cli_table_print(cli_table *table)
{
    int64_t widths[64] = {0};
    sonde_status status;

    if (table == NULL)
        return SONDE_E_NOMEM;
    status = table->failed ? SONDE_E_NOMEM : measure_columns(table, widths);
    for (int64_t i = 0; i < table->n; i++) {
        if (status == SONDE_OK)
            print_row(table->rows[i], table->align, widths);
        free(table->rows[i]);
    }
    free(table->rows);
    free(table);
    return status;
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

/* The schema comes first, so that a reader knows what it has before it goes on. */
json_t *cli_json(const char *schema)
{
    return json_pack("{s:s}", "schema", schema);
}

/* JSON has no infinities and no NaN. */
json_t *cli_json_real(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

/* 17 digits, which give the same double back. */
sonde_status cli_json_write(json_t *object)
{
    int failed;

    if (object == NULL)
        return cli_fail(SONDE_E_NOMEM, "out of memory while writing JSON");
    /* what fails is the writing, or a text that is not UTF-8: stdout knows which */
    errno = 0;
    failed = json_dumpf(object, stdout, JSON_COMPACT);
    json_decref(object);
    if (failed && !ferror(stdout))
        return cli_fail(SONDE_E_NOMEM, "cannot write JSON: a text in it is not UTF-8, or there is no memory");
    putchar('\n');
    return ferror(stdout) ? cli_stdout_failed(errno) : SONDE_OK;
}
