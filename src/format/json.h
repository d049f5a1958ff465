/* format/json.h - JSON files with limits, fields of them with good errors, and small files written.  floor 2: format
 *
 * jansson does the parsing; its memory comes through base's door. What is read may be hostile: sizes and depth are limited,
 * duplicate keys are refused, and every error names the file and the field or the line.
 */
#ifndef SONDEP_JSON_H
#define SONDEP_JSON_H

#include "base/base.h"

#include <jansson.h>

/* Limits. jansson itself stops at 2048 levels, far from the end of any stack. */
enum { SONDEP_JSON_MAX_BYTES = 512 << 20 };

/* Parses a file, whose top must be an object (or an array). Integers beyond 64 bits become reals.
 *
 * Owns: *out is yours: json_decref. Errors: SONDE_E_NOTFOUND, SONDE_E_IO, SONDE_E_RANGE (too large), SONDE_E_FORMAT (file,
 * line and byte; duplicate key; too deep), SONDE_E_NOMEM. *out is NULL then. */
sonde_status sondep_json_load(json_t **out, const char *path);

/* The same for n bytes in memory; `path` is for messages, `first_line` is the number of the text's first line in that file
 * (0: a place is given as a byte alone, counted from `first_byte`). Strings may hold NULs. */
sonde_status sondep_json_parse(json_t **out, const char *text, size_t n, const char *path, int64_t first_line,
                               int64_t first_byte);

/* The same without lines, and an integer beyond 64 bits is an error. */
sonde_status sondep_json_parse_exact(json_t **out, const char *text, size_t n, const char *path, int64_t first_byte);

/* Must be called before jansson is used in any other way (json_object() and the like): points it at base's memory. */
void sondep_json_setup(void);

/* A text as a JSON string with its quotes, appended to `s`; control characters are escaped. The text is UTF-8. */
sonde_status sondep_json_quote(sondep_string *s, const char *text);
sonde_status sondep_json_quote_bytes(sondep_string *s, const char *text, size_t n); /* NULs are text */

/* The shortest decimal text that reads back as the same number, always with a point or an exponent; "null" where it is not
 * finite. Returns its length; a NUL stands behind it. (A power of two may get one digit more than the shortest.) */
enum { SONDEP_NUMBER_BYTES = 32 };
int sondep_json_float(char out[SONDEP_NUMBER_BYTES], float x);
int sondep_json_double(char out[SONDEP_NUMBER_BYTES], double x);

/* ---- writing small files ----------------------------------------------------------------------------------------------- */

/* A JSON text that grows field by field, for files that people open. Zero-initialise it. The first failure stays: the
 * functions return nothing, and write() says what went wrong. */
enum { SONDEP_JSON_DEPTH = 8 };
typedef struct sondep_json_writer {
    sondep_string text;
    sonde_status status;
    int depth; /* objects and arrays that are open */
    int n_inside[SONDEP_JSON_DEPTH];
} sondep_json_writer;

/* `name` is NULL for the top and for elements of an array; texts are UTF-8; `bracket` is { or [, and } or ]. */
void sondep_json_put_begin(sondep_json_writer *w, const char *name, char bracket);
void sondep_json_put_end(sondep_json_writer *w, char bracket);
void sondep_json_put_null(sondep_json_writer *w, const char *name);
void sondep_json_put_text(sondep_json_writer *w, const char *name, const char *value);
void sondep_json_put_int(sondep_json_writer *w, const char *name, int64_t value);
void sondep_json_put_number(sondep_json_writer *w, const char *name, double value);
void sondep_json_put_bool(sondep_json_writer *w, const char *name, bool value);

/* Writes the text as a file, and releases it whether or not that succeeds. Errors: the first failure; SONDE_E_IO. */
sonde_status sondep_json_write(sondep_json_writer *w, const char *path);

/* ---- fields: SONDE_E_NOTFOUND if missing or null, SONDE_E_FORMAT if of another type; `path` is for messages -------- */

/* An integer; 3.0 counts as 3. */
sonde_status sondep_json_get_int(int64_t *out, const json_t *object, const char *key, const char *path);
sonde_status sondep_json_get_double(double *out, const json_t *object, const char *key, const char *path);
sonde_status sondep_json_get_bool(bool *out, const json_t *object, const char *key, const char *path);
/* These borrow from `object`. A string with a NUL inside is refused. */
sonde_status sondep_json_get_string(const char **out, const json_t *object, const char *key, const char *path);
sonde_status sondep_json_get_object(const json_t **out, const json_t *object, const char *key, const char *path);
sonde_status sondep_json_get_array(const json_t **out, const json_t *object, const char *key, const char *path);

/* The same, but a field that is missing or null leaves *out untouched. */
sonde_status sondep_json_opt_int(int64_t *out, const json_t *object, const char *key, const char *path);
sonde_status sondep_json_opt_double(double *out, const json_t *object, const char *key, const char *path);
sonde_status sondep_json_opt_bool(bool *out, const json_t *object, const char *key, const char *path);
sonde_status sondep_json_opt_string(const char **out, const json_t *object, const char *key, const char *path);
sonde_status sondep_json_opt_object(const json_t **out, const json_t *object, const char *key, const char *path);
sonde_status sondep_json_opt_array(const json_t **out, const json_t *object, const char *key, const char *path);

#endif
