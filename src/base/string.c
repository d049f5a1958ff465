/* string.c - growing strings and UTF-8.                                        floor 0: base
 *
 * A string has a NUL behind its bytes at all times once it holds anything, and may hold NULs too. The UTF-8 decoder accepts
 * what the standard calls well-formed and nothing else; everything that reads text from outside stands on it.
 * Source: Unicode 15, table 3-7.
 */
#include "base/base.h"

#include <stdio.h>

/* Makes room for n more bytes and a NUL. */
static sonde_status string_grow(sondep_string *s, size_t n)
{
    size_t capacity = s->capacity ? s->capacity : 64;
    char *text;

    if (n >= PTRDIFF_MAX / 2 - s->n)
        return SONDE_FAIL(SONDE_E_RANGE, "a string of %zu + %zu bytes is too large", s->n, n);
    /* Doubling: n appends cost n copies in all. */
    while (capacity <= s->n + n)
        capacity *= 2;
    if (capacity == s->capacity)
        return SONDE_OK;
    text = sondep_resize(s->text, (int64_t)capacity, 1);
    if (text == NULL)
        return SONDE_E_NOMEM;
    s->text = text;
    s->capacity = capacity;
    return SONDE_OK;
}

sonde_status sondep_string_append(sondep_string *s, const char *bytes, size_t n)
{
    SONDE_TRY(string_grow(s, n));
    if (n > 0)
        memcpy(s->text + s->n, bytes, n);
    s->n += n;
    s->text[s->n] = '\0';
    return SONDE_OK;
}

/* Twice: to learn the length, then into the room that was made. */
sonde_status sondep_string_printf(sondep_string *s, const char *format, ...)
{
    va_list arguments;
    int n;

    va_start(arguments, format);
    n = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    SONDE_ASSERT(n >= 0);
    SONDE_TRY(string_grow(s, (size_t)n));
    va_start(arguments, format);
    vsnprintf(s->text + s->n, (size_t)n + 1, format, arguments);
    va_end(arguments);
    s->n += (size_t)n;
    return SONDE_OK;
}

void sondep_string_release(sondep_string *s)
{
    sondep_free(s->text);
    *s = (sondep_string){0};
}

int sondep_utf8_decode(uint32_t *out, const char *text, size_t n)
{
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *b = (const unsigned char *)text;
    int length = b[0] < 0x80                   ? 1
                 : b[0] >= 0xc2 && b[0] < 0xe0 ? 2
                 : (b[0] & 0xf0) == 0xe0       ? 3
                 : (b[0] & 0xf8) == 0xf0       ? 4
                                               : 0;
    uint32_t c;

    /* No lead byte, or the text ends inside the character. */
    if (length == 0 || (size_t)length > n)
        return 0;
    c = length == 1 ? b[0] : b[0] & (0xffu >> (length + 1));
    for (int i = 1; i < length; i++) {
        if ((b[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (b[i] & 0x3f);
    }
    /* The rest of what UTF-8 forbids: overlong forms, what lies above the last code point, surrogates. */
    if (c < smallest[length] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    *out = c;
    return length;
}

int sondep_utf8_encode(char out[4], uint32_t c)
{
    int length = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};

    /* Six bits a byte, from the last one back; what is left goes into the lead byte. */
    for (int i = length - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(lead[length] | c);
    return length;
}

sonde_status sondep_utf8_check(const char *text, size_t n, const char *what)
{
    uint32_t c;
    int length;
    for (size_t i = 0; i < n; i += (size_t)length) {
        length = sondep_utf8_decode(&c, text + i, n - i);
        if (length == 0)
            return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is not UTF-8: byte %zu is 0x%02x", what, i, (unsigned char)text[i]);
    }
    return SONDE_OK;
}
