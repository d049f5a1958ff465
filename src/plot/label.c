/* label.c - labels as they are shown, in any script.                           floor 2: plot
 *
 * A token can be anything: part of a character, a line break, an escape sequence that would steer the terminal, a mark
 * that would sit on its neighbour. What has a shape of its own is shown as it is; everything else as a sign or an escape.
 */
#include "plot/parts.h"

#include <stdio.h>
#include <utf8proc.h>

/* Format characters that are seen: signs that go before Arabic, Syriac and Kaithi numbers. */
static bool is_visible_format(uint32_t c)
{
    return (c >= 0x600 && c <= 0x605) || c == 0x6dd || c == 0x70f || c == 0x8e2 || c == 0x110bd || c == 0x110cd;
}

/* Letters by category that have no ink: fillers of Hangul, and the empty Braille pattern. */
static bool is_blank_letter(uint32_t c)
{
    return c == 0x115f || c == 0x1160 || c == 0x3164 || c == 0xffa0 || c == 0x2800;
}

/* Whether a character must be shown by an escape. Joiners stay within a word or an emoji: they choose its shape. */
static bool needs_escape(uint32_t c, utf8proc_category_t category, bool is_inside)
{
    switch (category) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return true;
    case UTF8PROC_CATEGORY_ZS: return c != ' ';
    case UTF8PROC_CATEGORY_CF: return !is_visible_format(c) && !(is_inside && (c == 0x200c || c == 0x200d));
    default: return is_blank_letter(c);
    }
}

/* White space has signs that people know; at the ends of a label also the space, which is part of most tokens. */
static const char *visible_sign(uint32_t c, bool is_at_end)
{
    return c == '\n' ? "⏎" : c == '\r' ? "␍" : c == '\t' ? "⇥" : c == ' ' && is_at_end ? "·" : NULL;
}

/* Marks need a letter to sit on. */
static bool is_mark(utf8proc_category_t category)
{
    return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_ME || category == UTF8PROC_CATEGORY_MC;
}

/* Appends one character, `length` bytes of UTF-8 at `bytes`. `can_carry`: there is a character before it for a mark. */
static sonde_status append_character(sondep_string *out, const char *bytes, int length, uint32_t c, bool is_at_end,
                                     bool can_carry, bool is_inside)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    const char *sign = visible_sign(c, is_at_end);

    if (sign != NULL)
        return sondep_string_append(out, sign, strlen(sign));
    if (needs_escape(c, category, is_inside && can_carry))
        return c < 0x80 ? sondep_string_printf(out, "\\x%02x", (unsigned)c)
                        : sondep_string_printf(out, "\\u{%x}", (unsigned)c);
    if (is_mark(category) && !can_carry)
        SONDE_TRY(sondep_string_append(out, "◌", strlen("◌")));
    return sondep_string_append(out, bytes, (size_t)length);
}

/* Appends every character of text[0..n); spaces before first_ink and from last_ink on are shown as signs. */
static sonde_status append_shown(sondep_string *out, const char *text, size_t n, size_t first_ink, size_t last_ink)
{
    bool can_carry = false;

    for (size_t i = 0; i < n;) {
        uint32_t c;
        int length = sondep_utf8_decode(&c, text + i, n - i);

        /* A byte that begins no character: part of one that the tokenizer has split. */
        if (length == 0) {
            SONDE_TRY(sondep_string_printf(out, "\\x%02x", (unsigned char)text[i++]));
            can_carry = false;
            continue;
        }
        SONDE_TRY(
            append_character(out, text + i, length, c, i < first_ink || i >= last_ink, can_carry, i + (size_t)length < n));
        can_carry = c > ' ' && !needs_escape(c, utf8proc_category((utf8proc_int32_t)c), true);
        i += (size_t)length;
    }
    return SONDE_OK;
}

/* Bytes of a label, however its length is given. */
static size_t label_bytes(sonde_plot_label label)
{
    return label.text == NULL ? 0 : label.n_bytes < 0 ? strlen(label.text) : (size_t)label.n_bytes;
}

bool sondep_label_ends_line(sonde_plot_label label)
{
    size_t n = label_bytes(label);
    return n > 0 && memchr(label.text, '\n', n) != NULL;
}

/* Spaces at the ends are found first; those inside words stay spaces. */
sonde_status sondep_label_append(sondep_string *out, int64_t *n_columns, sonde_plot_label label)
{
    size_t n = label_bytes(label), first_ink = 0, last_ink = n, start = out->n;

    while (first_ink < n && label.text[first_ink] == ' ')
        first_ink++;
    while (last_ink > first_ink && label.text[last_ink - 1] == ' ')
        last_ink--;
    if (n == 0)
        SONDE_TRY(sondep_string_append(out, "\"\"", 2));
    SONDE_TRY(append_shown(out, label.text, n, first_ink, last_ink));
    if (n_columns != NULL)
        *n_columns += sondep_text_columns(out->text + start, out->n - start);
    return SONDE_OK;
}

/* No sign for spaces: the ground shows where the token begins and ends. */
sonde_status sondep_token_append(sondep_string *out, sonde_plot_label label)
{
    size_t n = label_bytes(label);
    SONDE_TRY(sondep_string_append(out, "", 0));
    return append_shown(out, label.text, n, 0, n);
}

/* Matrices without labels count their rows and columns. */
sonde_status sondep_label_at(sondep_string *out, int64_t *n_columns, const sonde_plot_label *labels, int64_t first,
                             int64_t i)
{
    size_t start = out->n;
    if (labels != NULL)
        return sondep_label_append(out, n_columns, labels[i]);
    SONDE_TRY(sondep_string_printf(out, "%lld", (long long)(first + i)));
    if (n_columns != NULL)
        *n_columns += (int64_t)(out->n - start);
    return SONDE_OK;
}

/* The door for other modules. */
sonde_status sonde_plot_escape(char **out, int64_t *n_columns, sonde_plot_label label)
{
    sondep_string shown = {0};
    int64_t width = 0;
    sonde_status status = sondep_label_append(&shown, &width, label);

    *out = NULL;
    if (status != SONDE_OK) {
        sondep_string_release(&shown);
        return status;
    }
    if (n_columns != NULL)
        *n_columns = width;
    *out = shown.text;
    return SONDE_OK;
}

void sonde_plot_text_free(char *text)
{
    sondep_free(text);
}

/* Goes on over marks, which take no column, so that a letter keeps them. A stray byte counts as one. */
size_t sondep_text_prefix(int64_t *width, const char *text, size_t n, int64_t columns)
{
    size_t i = 0;
    *width = 0;
    while (i < n) {
        uint32_t c = 0;
        int length = sondep_utf8_decode(&c, text + i, n - i);
        int w = length > 0 ? utf8proc_charwidth((utf8proc_int32_t)c) : 1;

        if (*width + w > columns)
            break;
        *width += w;
        i += (size_t)(length > 0 ? length : 1);
    }
    return i;
}

/* All of the text fits into endless columns. */
int64_t sondep_text_columns(const char *text, size_t n)
{
    int64_t width;
    sondep_text_prefix(&width, text, n, INT64_MAX / 2);
    return width;
}

static sonde_status append_spaces(sondep_string *out, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        SONDE_TRY(sondep_string_append(out, " ", 1));
    return SONDE_OK;
}

/* A text that is too long loses one column more than it must, for the ellipsis; a wide character may leave one empty. */
sonde_status sondep_text_fit(sondep_string *out, const char *text, size_t n, int64_t columns, bool is_right_aligned)
{
    int64_t width;
    size_t kept = sondep_text_prefix(&width, text, n, columns);
    bool is_cut = kept < n;

    if (is_cut) {
        kept = sondep_text_prefix(&width, text, n, columns > 0 ? columns - 1 : 0);
        width += columns > 0;
    }
    if (is_right_aligned)
        SONDE_TRY(append_spaces(out, columns - width));
    SONDE_TRY(sondep_string_append(out, text, kept));
    if (is_cut && columns > 0)
        SONDE_TRY(sondep_string_append(out, "…", strlen("…")));
    return is_right_aligned ? SONDE_OK : append_spaces(out, columns - width);
}

/* 1, 2, 5, 10, 20, 50, ... */
int64_t sondep_round_stride(double x)
{
    static const int64_t steps[3] = {1, 2, 5};
    int64_t power = 1;
    for (int i = 0;; i++) {
        int64_t stride = steps[i % 3] * power;
        if ((double)stride >= x || power > INT64_MAX / 100)
            return stride;
        if (i % 3 == 2)
            power *= 10;
    }
}
