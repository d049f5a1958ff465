/* tokenizer_reader.c - a strict reader of JSON for long tables.                 floor 3: text
 *
 * One function for each kind of token of the grammar. The text is known to be UTF-8 before it comes here, so that
 * strings are looked through for quotes, backslashes and control characters only.
 */
#include "text/tokenizer_reader.h"

#include "format/json.h"

enum { MAX_DEPTH = 128 };

/* The scratch. */
void sondep_reader_release(sondep_reader *r)
{
    sondep_string_release(&r->scratch);
}

/* Where the reader stands is where the problem is. */
sonde_status sondep_reader_fail(const sondep_reader *r, const char *problem)
{
    return SONDE_FAIL(SONDE_E_FORMAT, "'%s': byte %zu: %s", r->path, r->at, problem);
}

/* White space between values goes on the way. */
char sondep_reader_peek(sondep_reader *r)
{
    while (r->at < r->n &&
           (r->text[r->at] == ' ' || r->text[r->at] == '\n' || r->text[r->at] == '\t' || r->text[r->at] == '\r'))
        r->at++;
    return r->at < r->n ? r->text[r->at] : '\0';
}

/* The end of the text is never what is expected. */
sonde_status sondep_reader_expect(sondep_reader *r, char c)
{
    char problem[] = "'?' is missing";
    if (sondep_reader_peek(r) == c && r->at < r->n) {
        r->at++;
        return SONDE_OK;
    }
    problem[1] = c;
    return sondep_reader_fail(r, problem);
}

/* ---- strings ---------------------------------------------------------------------------------------------------- */

/* Four hexadecimal digits. */
static sonde_status read_unit(sondep_reader *r, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 4; i++, r->at++) {
        char c = r->at < r->n ? r->text[r->at] : '\0';
        if (c >= '0' && c <= '9')
            *out = *out << 4 | (uint32_t)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            *out = *out << 4 | (uint32_t)((c | 32) - 'a' + 10);
        else
            return sondep_reader_fail(r, "\\u needs four hexadecimal digits");
    }
    return SONDE_OK;
}

/* What follows \u: one code point, from one unit or a surrogate pair. */
static sonde_status read_code_point(sondep_reader *r)
{
    uint32_t c, low;
    char bytes[4];

    SONDE_TRY(read_unit(r, &c));
    /* a high surrogate wants a low one; alone it is no character */
    if (c >= 0xd800 && c < 0xdc00 && r->n - r->at >= 2 && r->text[r->at] == '\\' && r->text[r->at + 1] == 'u') {
        r->at += 2;
        SONDE_TRY(read_unit(r, &low));
        if (low < 0xdc00 || low > 0xdfff)
            return sondep_reader_fail(r, "half a surrogate pair");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    } else if (c >= 0xd800 && c <= 0xdfff) {
        return sondep_reader_fail(r, "half a surrogate pair");
    }
    return sondep_string_append(&r->scratch, bytes, (size_t)sondep_utf8_encode(bytes, c));
}

/* An escape, behind its backslash. */
static sonde_status read_escape(sondep_reader *r)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    char c = r->at < r->n ? r->text[r->at] : '\0';
    const char *known = c != '\0' ? strchr(letters, c) : NULL;

    if (known == NULL && c != 'u')
        return sondep_reader_fail(r, "an unknown escape in a string");
    r->at++;
    return c == 'u' ? read_code_point(r) : sondep_string_append(&r->scratch, &meanings[known - letters], 1);
}

/* The rest of a string in which an escape was found; what stands before it is [from, at). */
static sonde_status read_escaped(sondep_reader *r, size_t from, const char **out, size_t *n)
{
    r->scratch.n = 0;
    for (;;) {
        unsigned char c;
        SONDE_TRY(sondep_string_append(&r->scratch, r->text + from, r->at - from));
        c = r->at < r->n ? (unsigned char)r->text[r->at] : 0;
        if (c == '"')
            break;
        if (c != '\\')
            return sondep_reader_fail(r, "a string does not end, or has a control character");
        r->at++;
        SONDE_TRY(read_escape(r));
        for (from = r->at; r->at < r->n && (unsigned char)r->text[r->at] >= 0x20; r->at++)
            if (r->text[r->at] == '"' || r->text[r->at] == '\\')
                break;
    }
    r->at++;
    *out = r->scratch.text;
    *n = r->scratch.n;
    return SONDE_OK;
}

/* Most strings have no escape: they are borrowed from the file. */
sonde_status sondep_reader_string(sondep_reader *r, const char **out, size_t *n)
{
    size_t from;

    SONDE_TRY(sondep_reader_expect(r, '"'));
    from = r->at;
    while (r->at < r->n && r->text[r->at] != '"' && r->text[r->at] != '\\' && (unsigned char)r->text[r->at] >= 0x20)
        r->at++;
    if (r->at < r->n && r->text[r->at] == '"') {
        *out = r->text + from;
        *n = r->at++ - from;
        return SONDE_OK;
    }
    return read_escaped(r, from, out, n);
}

/* ---- numbers and other values ----------------------------------------------------------------------------------- */

/* Eleven digits are enough to see that a number is too large. */
sonde_status sondep_reader_id(sondep_reader *r, int64_t *out)
{
    size_t from;

    (void)sondep_reader_peek(r);
    from = r->at;
    *out = 0;
    for (; r->at < r->n && r->text[r->at] >= '0' && r->text[r->at] <= '9' && r->at - from < 11; r->at++)
        *out = *out * 10 + (r->text[r->at] - '0');
    if (r->at == from || (r->text[from] == '0' && r->at - from > 1) || *out > UINT32_MAX ||
        (r->at < r->n && strchr(".eE", r->text[r->at]) != NULL && r->text[r->at] != '\0')) {
        r->at = from;
        return sondep_reader_fail(r, "not an integer from 0 to 4294967295");
    }
    return SONDE_OK;
}

/* How many there were. */
static size_t skip_digits(sondep_reader *r)
{
    size_t from = r->at;
    while (r->at < r->n && r->text[r->at] >= '0' && r->text[r->at] <= '9')
        r->at++;
    return r->at - from;
}

/* Takes one of a few characters, if it comes next. */
static bool take(sondep_reader *r, const char *any_of)
{
    bool is_there = r->at < r->n && r->text[r->at] != '\0' && strchr(any_of, r->text[r->at]) != NULL;
    r->at += is_there;
    return is_there;
}

/* -? int frac? exp?, as RFC 8259 has it. */
static sonde_status skip_number(sondep_reader *r)
{
    bool is_right;

    (void)take(r, "-");
    is_right = take(r, "0") || skip_digits(r) > 0;
    if (is_right && take(r, "."))
        is_right = skip_digits(r) > 0;
    if (is_right && take(r, "eE")) {
        (void)take(r, "+-");
        is_right = skip_digits(r) > 0;
    }
    return is_right ? SONDE_OK : sondep_reader_fail(r, "not a JSON value");
}

/* A word that is none of the three must be a number. */
static sonde_status skip_word(sondep_reader *r)
{
    static const char *const words[] = {"true", "false", "null"};
    for (int i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if (r->n - r->at >= n && memcmp(r->text + r->at, words[i], n) == 0) {
            r->at += n;
            return SONDE_OK;
        }
    }
    return skip_number(r);
}

/* The depth is counted, so that no file reaches the end of the stack. */
static sonde_status skip_value(sondep_reader *r, int depth)
{
    char open = sondep_reader_peek(r);
    bool first = true, more;
    const char *text;
    size_t n;

    if (depth > MAX_DEPTH)
        return sondep_reader_fail(r, "lists and objects are nested too deep (limit 128)");
    /* strings and words are the leaves */
    if (open == '"')
        return sondep_reader_string(r, &text, &n);
    if (open != '{' && open != '[')
        return skip_word(r);
    r->at++;
    /* elements, each with its key in an object */
    for (;;) {
        if (open == '{')
            SONDE_TRY(sondep_reader_key(r, &first, &more, &text, &n));
        else
            SONDE_TRY(sondep_reader_element(r, ']', &first, &more));
        if (!more)
            return SONDE_OK;
        SONDE_TRY(skip_value(r, depth + 1));
    }
}

/* From depth 0. */
sonde_status sondep_reader_skip(sondep_reader *r)
{
    return skip_value(r, 0);
}

/* A closing bracket ends the list wherever it stands, but not behind a comma. */
sonde_status sondep_reader_element(sondep_reader *r, char close, bool *first, bool *more)
{
    char c = sondep_reader_peek(r);

    *more = c != close;
    if (c == close || !*first)
        SONDE_TRY(sondep_reader_expect(r, c == close ? close : ','));
    else if (r->at >= r->n)
        return sondep_reader_fail(r, "the file ends inside a value");
    *first = false;
    return SONDE_OK;
}

/* As an element, with its key and colon. */
sonde_status sondep_reader_key(sondep_reader *r, bool *first, bool *more, const char **key, size_t *n)
{
    SONDE_TRY(sondep_reader_element(r, '}', first, more));
    if (!*more)
        return SONDE_OK;
    SONDE_TRY(sondep_reader_string(r, key, n));
    return sondep_reader_expect(r, ':');
}

/* The copy is small: only settings are read this way. */
sonde_status sondep_reader_json(const sondep_reader *r, json_t **out, sondep_extent extent)
{
    sondep_string list = {0};
    json_t *root = NULL;
    sonde_status status;

    /* jansson's texts are lists or objects: one value becomes a list of one. */
    *out = NULL;
    SONDE_TRY_DONE(sondep_string_append(&list, "[", 1));
    SONDE_TRY_DONE(sondep_string_append(&list, r->text + extent.from, extent.to - extent.from));
    SONDE_TRY_DONE(sondep_string_append(&list, "]", 1));
    SONDE_TRY_DONE(sondep_json_parse(&root, list.text, list.n, r->path, 0, (int64_t)extent.from - 1));
    *out = json_incref(json_array_get(root, 0));
done:
    json_decref(root);
    sondep_string_release(&list);
    return status;
}
