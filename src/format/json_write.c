/* json_write.c - small JSON files, field by field.                             floor 2: format
 *
 * For files that people open (config.json and the like): one field a line, indented by two spaces. The first failure stays
 * in the writer, so that a list of fields reads as a list; what comes behind it does nothing.
 */
#include "format/json.h"

#include "base/file.h"

/* Appends, unless something failed before. */
#define PUT(w, call)                 \
    do {                             \
        if ((w)->status == SONDE_OK) \
            (w)->status = (call);    \
    } while (0)

/* A comma behind what stands there, a new line, and the name; `name` NULL: an element of an array or the top. */
static void begin_value(sondep_json_writer *w, const char *name)
{
    if (w->n_inside[w->depth]++ > 0)
        PUT(w, sondep_string_append(&w->text, ",", 1));
    if (w->depth > 0)
        PUT(w, sondep_string_printf(&w->text, "\n%*s", 2 * w->depth, ""));
    if (name != NULL) {
        PUT(w, sondep_json_quote(&w->text, name));
        PUT(w, sondep_string_append(&w->text, ": ", 2));
    }
}

void sondep_json_put_begin(sondep_json_writer *w, const char *name, char bracket)
{
    begin_value(w, name);
    PUT(w, sondep_string_append(&w->text, &bracket, 1));
    w->depth++;
    SONDE_ASSERT(w->depth < SONDEP_JSON_DEPTH);
    w->n_inside[w->depth] = 0;
}

/* The bracket goes under the line that opened it; an empty object stays on that line. */
void sondep_json_put_end(sondep_json_writer *w, char bracket)
{
    bool is_empty = w->n_inside[w->depth--] == 0;
    if (!is_empty)
        PUT(w, sondep_string_printf(&w->text, "\n%*s", 2 * w->depth, ""));
    PUT(w, sondep_string_append(&w->text, &bracket, 1));
    if (w->depth == 0)
        PUT(w, sondep_string_append(&w->text, "\n", 1));
}

void sondep_json_put_null(sondep_json_writer *w, const char *name)
{
    begin_value(w, name);
    PUT(w, sondep_string_append(&w->text, "null", 4));
}

void sondep_json_put_text(sondep_json_writer *w, const char *name, const char *value)
{
    begin_value(w, name);
    PUT(w, sondep_json_quote(&w->text, value));
}

void sondep_json_put_int(sondep_json_writer *w, const char *name, int64_t value)
{
    begin_value(w, name);
    PUT(w, sondep_string_printf(&w->text, "%lld", (long long)value));
}

void sondep_json_put_number(sondep_json_writer *w, const char *name, double value)
{
    char text[SONDEP_NUMBER_BYTES];
    int n = sondep_json_double(text, value);
    begin_value(w, name);
    PUT(w, sondep_string_append(&w->text, text, (size_t)n));
}

void sondep_json_put_bool(sondep_json_writer *w, const char *name, bool value)
{
    begin_value(w, name);
    PUT(w, sondep_string_printf(&w->text, "%s", value ? "true" : "false"));
}

/* What failed before is what is said: nothing is opened then. */
sonde_status sondep_json_write(sondep_json_writer *w, const char *path)
{
    sondep_writer file = {.fd = -1};

    SONDE_ASSERT(w->status != SONDE_OK || w->depth == 0);
    PUT(w, sondep_writer_open(&file, path));
    PUT(w, sondep_writer_put(&file, w->text.text, w->text.n));
    PUT(w, sondep_writer_commit(&file));
    sondep_writer_abort(&file);
    sondep_string_release(&w->text);
    return w->status;
}
