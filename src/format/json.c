/* json.c - JSON files with limits, and fields of them with good errors.        floor 2: format
 *
 * Three parts. Memory: jansson is pointed at base's door, and a parse that runs out of it is abandoned whole. Parsing: one
 * function with jansson's flags, two faces. Fields: a typed getter for each kind, opt_ for fields that may be absent, and
 * get_ on top of it for those that may not; a null is an absent field, as it is for transformers.
 */
#include "format/json.h"

#include "base/file.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>

/* ---- memory ------------------------------------------------------------------------------------------------------ *
 *
 * jansson takes its memory from base. Its parser does not survive a failed allocation everywhere: where its text buffer cannot
 * grow it goes on without the byte, and reads past the end of the string. So that a failed allocation ends a parse at once,
 * the parse is left by longjmp, and what it had allocated until then, which is listed for the purpose, is given back. */

static _Thread_local struct {
    bool is_parsing, out_of_memory;
    jmp_buf escape;
    void **blocks; /* allocated by this parse and not yet freed */
    int64_t n_blocks, capacity;
} parser;

static void *json_alloc(size_t bytes)
{
    void *p = NULL, **larger;
    bool has_room = !parser.is_parsing || parser.n_blocks < parser.capacity;

    /* Room in the list comes first: a block that is not in it would leak. */
    if (!has_room && (larger = sondep_resize(parser.blocks, 2 * parser.capacity + 64, sizeof *larger)) != NULL) {
        parser.blocks = larger;
        parser.capacity = 2 * parser.capacity + 64;
        has_room = true;
    }
    if (has_room && bytes <= PTRDIFF_MAX)
        p = sondep_alloc((int64_t)bytes, 1);
    if (!parser.is_parsing)
        return p;
    if (p == NULL)
        longjmp(parser.escape, 1);
    parser.blocks[parser.n_blocks++] = p;
    return p;
}

/* Most blocks are freed soon after they were allocated, so that the search is short. */
static void json_free(void *p)
{
    for (int64_t i = parser.n_blocks; parser.is_parsing && p != NULL && i-- > 0;)
        if (parser.blocks[i] == p) {
            parser.blocks[i] = parser.blocks[--parser.n_blocks];
            break;
        }
    sondep_free(p);
}

/* Points jansson at the two functions above. */
static void set_alloc_functions(void)
{
    json_set_alloc_funcs(json_alloc, json_free);
}

void sondep_json_setup(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, set_alloc_functions);
}

/* json_loadb, but NULL with parser.out_of_memory set where memory is short. */
static json_t *load(const char *text, size_t n, size_t flags, json_error_t *error)
{
    json_t *volatile root = NULL;

    parser.out_of_memory = setjmp(parser.escape) != 0;
    if (!parser.out_of_memory) {
        parser.is_parsing = true;
        root = json_loadb(text, n, flags, error);
        if (root != NULL)
            parser.n_blocks = 0; /* they are the root's now */
    }
    parser.is_parsing = false;
    for (int64_t i = 0; i < parser.n_blocks; i++)
        sondep_free(parser.blocks[i]);
    sondep_free(parser.blocks);
    parser.blocks = NULL;
    parser.n_blocks = parser.capacity = 0;
    return parser.out_of_memory ? NULL : root;
}

/* ---- parsing ---------------------------------------------------------------------------------------------------- */

/* Says what is wrong and where. jansson counts lines and bytes from 1 and 0; a text of one line in a larger file is placed
 * by the caller's numbers. */
static sonde_status fail_json(const json_error_t *error, const char *path, int64_t first_line, int64_t first_byte)
{
    long long byte = (long long)first_byte + (error->position > 0 ? error->position : 0);
    if (first_line > 0)
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is not valid JSON: line %lld, byte %lld: %s", path,
                          (long long)first_line + (error->line > 0 ? error->line - 1 : 0), byte, error->text);
    return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is not valid JSON: byte %lld: %s", path, byte, error->text);
}

/* The one way to parse. jansson's numbers are 64 bits: a file may hold larger ones (model_max_length: 1e30), so that a
 * second try reads all integers as reals, unless the caller wants them exact. */
static sonde_status parse(json_t **out, const char *text, size_t n, bool is_exact, const char *path, int64_t first_line,
                          int64_t first_byte)
{
    json_error_t error = {0};
    size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
    json_t *root;

    *out = NULL;
    sondep_json_setup();
    root = load(text, n, flags, &error);
    if (root == NULL && !is_exact && !parser.out_of_memory && json_error_code(&error) == json_error_numeric_overflow)
        root = load(text, n, flags | JSON_DECODE_INT_AS_REAL, &error);
    if (parser.out_of_memory)
        return SONDE_FAIL(SONDE_E_NOMEM, "out of memory: parsing '%s', %zu bytes", path, n);
    if (root == NULL)
        return fail_json(&error, path, first_line, first_byte);
    *out = root;
    return SONDE_OK;
}

/* Tolerant of integers beyond 64 bits. */
sonde_status sondep_json_parse(json_t **out, const char *text, size_t n, const char *path, int64_t first_line,
                               int64_t first_byte)
{
    return parse(out, text, n, false, path, first_line, first_byte);
}

/* For headers, whose integers are sizes and places. */
sonde_status sondep_json_parse_exact(json_t **out, const char *text, size_t n, const char *path, int64_t first_byte)
{
    return parse(out, text, n, true, path, 0, first_byte);
}

/* The file is read by base, not by jansson, so that its failures are base's errors. */
sonde_status sondep_json_load(json_t **out, const char *path)
{
    sondep_file file;
    sonde_status status;

    *out = NULL;
    SONDE_TRY(sondep_file_read(&file, path, SONDEP_JSON_MAX_BYTES));
    status = sondep_json_parse(out, file.data, file.bytes, path, 1, 0);
    sondep_file_release(&file);
    return status;
}

sonde_status sondep_json_quote_bytes(sondep_string *s, const char *text, size_t n)
{
    static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";

    SONDE_TRY(sondep_string_append(s, "\"", 1));
    /* UTF-8 passes as it is; only what JSON forbids inside a string is escaped. */
    for (const char *p = text; p < text + n; p++) {
        const char *known = *p != '\0' ? strchr(plain, *p) : NULL;
        if (known != NULL)
            SONDE_TRY(sondep_string_printf(s, "\\%c", letters[known - plain]));
        else if ((unsigned char)*p < 0x20)
            SONDE_TRY(sondep_string_printf(s, "\\u%04x", (unsigned)*p));
        else
            SONDE_TRY(sondep_string_append(s, p, 1));
    }
    return sondep_string_append(s, "\"", 1);
}

sonde_status sondep_json_quote(sondep_string *s, const char *text)
{
    return sondep_json_quote_bytes(s, text, strlen(text));
}

/* ---- fields ------------------------------------------------------------------------------------------------------ */

/* A field's value, NULL where it is missing or null. */
static const json_t *field(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

/* A field is of one type and should be of another. */
static sonde_status fail_type(const json_t *value, const char *wanted, const char *key, const char *path)
{
    static const char *const names[] = {"an object",     "an array", "a string", "an integer",
                                        "a real number", "true",     "false",    "null"};
    return SONDE_FAIL(SONDE_E_FORMAT, "field '%s' of '%s' is %s, not %s", key, path, names[json_typeof(value)], wanted);
}

/* Python writes sizes as 4096.0 now and then: a real without a fraction is an integer, as long as it is exact. */
sonde_status sondep_json_opt_int(int64_t *out, const json_t *object, const char *key, const char *path)
{
    const json_t *value = field(object, key);
    double real = json_real_value(value);

    if (value == NULL)
        return SONDE_OK;
    if (json_is_integer(value))
        *out = json_integer_value(value);
    else if (json_is_real(value) && floor(real) == real && fabs(real) <= 0x1p53)
        *out = (int64_t)real;
    else if (json_is_real(value))
        return SONDE_FAIL(SONDE_E_FORMAT, "field '%s' of '%s' is %.17g, not an integer", key, path, real);
    else
        return fail_type(value, "an integer", key, path);
    return SONDE_OK;
}

/* Integers are numbers too. */
sonde_status sondep_json_opt_double(double *out, const json_t *object, const char *key, const char *path)
{
    const json_t *value = field(object, key);
    if (value == NULL)
        return SONDE_OK;
    if (!json_is_number(value))
        return fail_type(value, "a number", key, path);
    *out = json_number_value(value);
    return SONDE_OK;
}

/* true or false: 0 and 1 are numbers. */
sonde_status sondep_json_opt_bool(bool *out, const json_t *object, const char *key, const char *path)
{
    const json_t *value = field(object, key);
    if (value == NULL)
        return SONDE_OK;
    if (!json_is_boolean(value))
        return fail_type(value, "true or false", key, path);
    *out = json_is_true(value);
    return SONDE_OK;
}

/* Borrowed from jansson, which has checked that it is UTF-8. */
sonde_status sondep_json_opt_string(const char **out, const json_t *object, const char *key, const char *path)
{
    const json_t *value = field(object, key);
    if (value == NULL)
        return SONDE_OK;
    if (!json_is_string(value))
        return fail_type(value, "a string", key, path);
    /* C strings end at the first NUL: what is behind it would be lost in silence. */
    if (strlen(json_string_value(value)) != json_string_length(value))
        return SONDE_FAIL(SONDE_E_FORMAT, "field '%s' of '%s' has a NUL inside, at byte %zu", key, path,
                          strlen(json_string_value(value)));
    *out = json_string_value(value);
    return SONDE_OK;
}

/* A member to look into. */
sonde_status sondep_json_opt_object(const json_t **out, const json_t *object, const char *key, const char *path)
{
    const json_t *value = field(object, key);
    if (value == NULL)
        return SONDE_OK;
    if (!json_is_object(value))
        return fail_type(value, "an object", key, path);
    *out = value;
    return SONDE_OK;
}

/* A list to go through. */
sonde_status sondep_json_opt_array(const json_t **out, const json_t *object, const char *key, const char *path)
{
    const json_t *value = field(object, key);
    if (value == NULL)
        return SONDE_OK;
    if (!json_is_array(value))
        return fail_type(value, "an array", key, path);
    *out = value;
    return SONDE_OK;
}

/* The get_ functions: the field must be there, the rest is as for opt_. */
static sonde_status require(const json_t *object, const char *key, const char *path)
{
    if (field(object, key) == NULL)
        return SONDE_FAIL(SONDE_E_NOTFOUND, "field '%s' is missing in '%s'", key, path);
    return SONDE_OK;
}

/* From here on: required, then as optional. */
sonde_status sondep_json_get_int(int64_t *out, const json_t *object, const char *key, const char *path)
{
    SONDE_TRY(require(object, key, path));
    return sondep_json_opt_int(out, object, key, path);
}

sonde_status sondep_json_get_double(double *out, const json_t *object, const char *key, const char *path)
{
    SONDE_TRY(require(object, key, path));
    return sondep_json_opt_double(out, object, key, path);
}

sonde_status sondep_json_get_bool(bool *out, const json_t *object, const char *key, const char *path)
{
    SONDE_TRY(require(object, key, path));
    return sondep_json_opt_bool(out, object, key, path);
}

sonde_status sondep_json_get_string(const char **out, const json_t *object, const char *key, const char *path)
{
    SONDE_TRY(require(object, key, path));
    return sondep_json_opt_string(out, object, key, path);
}

sonde_status sondep_json_get_object(const json_t **out, const json_t *object, const char *key, const char *path)
{
    SONDE_TRY(require(object, key, path));
    return sondep_json_opt_object(out, object, key, path);
}

sonde_status sondep_json_get_array(const json_t **out, const json_t *object, const char *key, const char *path)
{
    SONDE_TRY(require(object, key, path));
    return sondep_json_opt_array(out, object, key, path);
}
