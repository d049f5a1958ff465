/* pretokenize_syntax.c - an expression of Oniguruma's, read for PCRE2.           floor 3: text
 *
 * A descent through alternatives, quantifiers and atoms that writes PCRE2's syntax as it goes. Where the two differ
 * the text is changed: '^' and '$' stand at lines, (?m) is what others call (?s), {n}? is an option, {n,m}+ repeats,
 * (?i) in the middle holds for the alternatives behind it too. What of Oniguruma is not taken over is refused by name.
 *
 *   alternatives  sequence { '|' sequence }
 *   sequence      { atom [quantifier] }
 *   quantifier    '?' '*' '+' '{n}' '{n,}' '{,m}' '{n,m}', then '?' for lazy or '+' for possessive
 *   atom          a character, '.', an escape, a set '[...]', a group '(...)', '^', '$'
 *
 * Depth is limited, so that a hostile file cannot exhaust the stack.
 */
#include "text/pretokenize_syntax.h"

#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_DEPTH = 200 };

/* Where the parser stands when it gives up is where the reader should look. */
sonde_status sondep_syntax_unsupported(const sondep_syntax *p, const char *what)
{
    return SONDE_FAIL(SONDE_E_UNSUPPORTED, "regular expression '%.200s': %s at byte %zu is not handled", p->text, what,
                      p->at);
}

/* Text of PCRE2's own syntax. */
static sonde_status put_text(sondep_syntax *p, const char *text)
{
    return sondep_string_append(&p->out, text, strlen(text));
}

/* Takes a fixed text if it comes next. */
static bool take(sondep_syntax *p, const char *text)
{
    size_t n = strlen(text);
    if (p->n - p->at < n || memcmp(p->text + p->at, text, n) != 0)
        return false;
    p->at += n;
    return true;
}

/* Takes one character, whatever it is. */
static uint32_t next_char(sondep_syntax *p)
{
    int length;
    uint32_t c = sondep_utf8_next(&length, p->text + p->at);
    p->at += (size_t)length;
    return c;
}

/* An empty set that the parser owns. */
static sonde_status new_set(sondep_syntax *p, int *out)
{
    if (p->n_sets == SONDEP_SYNTAX_SETS)
        return sondep_syntax_unsupported(p, "more than 1024 different sets of characters");
    SONDE_TRY(sondep_set_new(&p->sets[p->n_sets]));
    p->literals[p->n_sets] = UINT32_MAX;
    *out = p->n_sets++;
    return SONDE_OK;
}

/* The place of a set in the output; what is written there is known only when all sets are. */
static sonde_status put_set(sondep_syntax *p, int set)
{
    SONDE_TRY(sondep_grow(&p->uses, &p->uses_capacity, p->n_uses + 1, sizeof *p->uses));
    p->uses[p->n_uses++] = (sondep_use){p->out.n, set};
    p->last_literal = 0;
    return SONDE_OK;
}

/* Letters that (?i) matches with two or three others are beyond a set of single characters. */
static bool folds_to_several(uint32_t before, uint32_t c)
{
    static const char pairs[] = "ssfffiflst";
    uint32_t a = before < 128 ? before | 32 : 0, b = c < 128 ? c | 32 : 0;

    for (int i = 0; i < 10; i += 2)
        if (a == (uint32_t)pairs[i] && b == (uint32_t)pairs[i + 1])
            return true;
    return c == 0xdf || c == 0x130 || c == 0x149 || c == 0x1f0 || c == 0x390 || c == 0x3b0 || c == 0x587 ||
           (c >= 0x1e96 && c <= 0x1e9e) || (c >= 0x1f50 && c <= 0x1ffc) || (c >= 0xfb00 && c <= 0xfb17);
}

/* A letter is a set of one, or of all its cases under (?i). */
static sonde_status put_literal(sondep_syntax *p, uint32_t c)
{
    uint32_t key = c | (p->ignore_case ? 1u << 31 : 0), before = p->last_literal;
    int set = 0;

    if (p->ignore_case && folds_to_several(before, c))
        return sondep_syntax_unsupported(p, "a letter that (?i) folds to several");
    while (set < p->n_sets && p->literals[set] != key)
        set++;
    if (set == p->n_sets) {
        SONDE_TRY(new_set(p, &set));
        p->literals[set] = key;
        sondep_set_add(p->sets[set], c, c);
        if (p->ignore_case)
            sondep_set_fold(p->sets[set]);
    }
    SONDE_TRY(put_set(p, set));
    p->last_literal = c;
    return SONDE_OK;
}

/* ---- escapes ---------------------------------------------------------------------------------------------------- */

/* Whether a byte is a hexadecimal digit. */
static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'f');
}

/* Up to `most` digits of a base; -1 if there is none or the number is no code point. */
static int64_t read_number(sondep_syntax *p, int base, int most)
{
    int64_t value = 0;
    int n = 0;

    for (; n < most && p->at < p->n; n++, p->at++) {
        char c = p->text[p->at];
        if (!is_hex(c) || (base == 8 && (c < '0' || c > '7')))
            break;
        value = value * base + (c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    return n == 0 || value >= SONDEP_UNICODE_POINTS || (value >= 0xd800 && value < 0xe000) ? -1 : value;
}

/* The character that an escape stands for, behind its backslash; -1: it stands for none (nothing is taken then). */
static sonde_status read_char_escape(sondep_syntax *p, int64_t *out)
{
    static const char letters[] = "tnrfvae", meanings[] = "\t\n\r\f\v\a\x1b";
    size_t from = p->at;
    char c = p->text[p->at];
    const char *known = c != '\0' ? strchr(letters, c) : NULL;

    *out = -1;
    /* by letter, by number, or any sign that is neither a letter nor a digit: itself */
    if (known != NULL) {
        p->at++;
        *out = (unsigned char)meanings[known - letters];
    } else if (take(p, "x{")) {
        *out = read_number(p, 16, 8);
        if (*out < 0 || !take(p, "}"))
            return sondep_syntax_unsupported(p, "\\x{..}");
    } else if (take(p, "x") || take(p, "u")) {
        int most = p->text[from] == 'u' ? 4 : 2;
        *out = read_number(p, 16, most);
        if (*out < 0 || (most == 4 && p->at - from != 5) || (most == 2 && *out >= 0x80))
            return sondep_syntax_unsupported(p, "\\x or \\u");
    } else if (c == '0') {
        *out = read_number(p, 8, 3);
    } else if (p->at < p->n && !((c | 32) >= 'a' && (c | 32) <= 'z') && !(c >= '0' && c <= '9')) {
        *out = next_char(p);
    }
    return SONDE_OK;
}

/* Oniguruma's \w knows six superscripts and fractions of Latin-1 that it does not know in a class: [\w]. */
static void add_word(sondep_set *set, bool in_class)
{
    sondep_set_add_kind(set, SONDEP_UNICODE_WORD, 1, 0);
    if (!in_class) {
        sondep_set_add(set, 0xb2, 0xb3);
        sondep_set_add(set, 0xb9, 0xb9);
        sondep_set_add(set, 0xbc, 0xbe);
    }
}

/* \p{..}, \P{..}, \p{^..} behind the letter. */
static sonde_status read_property(sondep_syntax *p, sondep_set *set, bool negated, bool in_class)
{
    const char *name, *end;

    if (!take(p, "{"))
        return sondep_syntax_unsupported(p, "\\p without a name in braces");
    negated ^= take(p, "^");
    name = p->text + p->at;
    end = memchr(name, '}', p->n - p->at);
    if (end == NULL || !sondep_set_add_named(set, name, (size_t)(end - name)))
        return sondep_syntax_unsupported(p, "this name of a property");
    if (end - name == 4 && (memcmp(name, "Word", 4) == 0 || memcmp(name, "word", 4) == 0))
        add_word(set, in_class);
    p->at += (size_t)(end - name) + 1;
    if (negated)
        sondep_set_invert(set);
    return SONDE_OK;
}

/* \d \w \s \h \p and their opposites, behind the backslash; *is_there is false if it is another escape. */
static sonde_status read_set_escape(sondep_syntax *p, sondep_set *set, bool in_class, bool *is_there)
{
    char letter = p->text[p->at], lower = (char)(letter | 32);

    *is_there = letter != '\0' && strchr("dwshp", lower) != NULL;
    if (!*is_there)
        return SONDE_OK;
    p->at++;
    if (lower == 'p')
        return read_property(p, set, letter == 'P', in_class);
    switch (lower) {
    case 'd': sondep_set_add_kind(set, 0, SONDEP_ND, SONDEP_ND); break;
    case 'w': add_word(set, in_class); break;
    case 's': sondep_set_add_kind(set, SONDEP_UNICODE_SPACE, 1, 0); break;
    default: (void)sondep_set_add_named(set, "xdigit", 6); break;
    }
    if (letter != lower)
        sondep_set_invert(set);
    return SONDE_OK;
}

/* ---- classes [...] ---------------------------------------------------------------------------------------------- */

static sonde_status parse_class(sondep_syntax *p, sondep_set *out, bool is_outer);

/* [:name:] or [:^name:]; *is_there is false if it is none. */
static sonde_status read_posix(sondep_syntax *p, sondep_set *set, bool *is_there)
{
    const char *name = p->text + p->at + 2, *end = p->n - p->at > 3 ? strstr(name, ":]") : NULL;
    bool negated = end != NULL && *name == '^';

    *is_there = end != NULL && p->text[p->at + 1] == ':' && strcspn(name, "]") == (size_t)(end - name) + 1;
    if (!*is_there)
        return SONDE_OK;
    name += negated;
    if (!sondep_set_add_posix(set, name, (size_t)(end - name)))
        return sondep_syntax_unsupported(p, "this name of a class");
    if (negated)
        sondep_set_invert(set);
    p->at = (size_t)(end - p->text) + 2;
    return SONDE_OK;
}

/* One element that is a set by itself, added to `set`: a nested class, [:name:], an escape like \d. */
static sonde_status class_subset(sondep_syntax *p, sondep_set *set, bool *is_there)
{
    sondep_set *inner = NULL;
    sonde_status status;
    size_t from = p->at;

    SONDE_TRY_DONE(sondep_set_new(&inner));
    if (p->text[p->at] == '[') {
        SONDE_TRY_DONE(read_posix(p, inner, is_there));
        if (!*is_there) {
            p->at++;
            *is_there = true;
            SONDE_TRY_DONE(parse_class(p, inner, false));
        }
    } else {
        p->at++;
        SONDE_TRY_DONE(read_set_escape(p, inner, true, is_there));
        if (!*is_there)
            p->at = from;
    }
    sondep_set_join(set, inner);
done:
    sondep_free(inner);
    return status;
}

/* A character of a class, escaped or not. */
static sonde_status class_char(sondep_syntax *p, uint32_t *out)
{
    int64_t c;

    if (p->text[p->at] != '\\') {
        *out = next_char(p);
        return SONDE_OK;
    }
    p->at++;
    if (p->text[p->at] == 'b') {
        p->at++;
        *out = '\b';
        return SONDE_OK;
    }
    SONDE_TRY(read_char_escape(p, &c));
    if (c < 0)
        return sondep_syntax_unsupported(p, "this escape in a class");
    *out = (uint32_t)c;
    return SONDE_OK;
}

/* A character or a range of them. */
static sonde_status class_range(sondep_syntax *p, sondep_set *set)
{
    uint32_t first, last;

    /* a '-' that ends the class, or begins it, is a character */
    SONDE_TRY(class_char(p, &first));
    last = first;
    if (p->n - p->at > 1 && p->text[p->at] == '-' && p->text[p->at + 1] != ']') {
        if (strncmp(p->text + p->at, "-&&", 3) == 0 || p->text[p->at + 1] == '[')
            return sondep_syntax_unsupported(p, "a range without an end");
        p->at++;
        if (p->text[p->at] == '\\' && p->text[p->at + 1] != '\0' && strchr("dwshpDWSHP", p->text[p->at + 1]) != NULL)
            return sondep_syntax_unsupported(p, "a range to a set");
        SONDE_TRY(class_char(p, &last));
        if (last < first)
            return sondep_syntax_unsupported(p, "a range that goes backwards");
    }
    sondep_set_add(set, first, last);
    return SONDE_OK;
}

/* Behind the '['; takes the ']'. `out` is empty at first. (?i) is for the outermost class, when all inside is done. */
static sonde_status parse_class(sondep_syntax *p, sondep_set *out, bool is_outer)
{
    bool negated = take(p, "^"), is_subset, is_first = true, has_and = false;
    sondep_set *all = NULL; /* what stood before && */
    sonde_status status = SONDE_OK;

    if (++p->depth > MAX_DEPTH)
        return sondep_syntax_unsupported(p, "nesting deeper than 200");
    for (; p->at < p->n && (p->text[p->at] != ']' || is_first); is_first = false) {
        if (p->text[p->at] == ']' && strchr(p->text + p->at + 1, ']') == NULL)
            SONDE_TRY_DONE(sondep_syntax_unsupported(p, "an empty class"));
        /* of a && b && c, `all` is what stands before the last && */
        if (take(p, "&&")) {
            if (all == NULL)
                SONDE_TRY_DONE(sondep_set_new(&all));
            if (has_and)
                sondep_set_intersect(all, out);
            else
                sondep_set_join(all, out);
            has_and = true;
            memset(out, 0, SONDEP_SET_WORDS * sizeof *out);
            continue;
        }
        is_subset = p->text[p->at] == '[' || p->text[p->at] == '\\';
        if (is_subset)
            SONDE_TRY_DONE(class_subset(p, out, &is_subset));
        if (!is_subset)
            SONDE_TRY_DONE(class_range(p, out));
    }
    if (!take(p, "]"))
        SONDE_TRY_DONE(SONDE_FAIL(SONDE_E_FORMAT, "regular expression '%.200s': a class does not end", p->text));
    if (has_and)
        sondep_set_intersect(out, all);
    if (p->ignore_case && is_outer)
        sondep_set_fold(out);
    if (negated)
        sondep_set_invert(out);
done:
    p->depth--;
    sondep_free(all);
    return status;
}

/* ---- what stands outside classes -------------------------------------------------------------------------------- */

static sonde_status parse_alternatives(sondep_syntax *p);

/* PCRE2 knows \b for its own idea of a word only: it is spelt out as a look behind and a look ahead. */
static sonde_status put_word_border(sondep_syntax *p, bool negated)
{
    int set;
    SONDE_TRY(new_set(p, &set));
    add_word(p->sets[set], false);
    SONDE_TRY(put_text(p, negated ? "(?!(?:(?<=" : "(?:(?<="));
    SONDE_TRY(put_set(p, set));
    SONDE_TRY(put_text(p, ")(?!"));
    SONDE_TRY(put_set(p, set));
    SONDE_TRY(put_text(p, ")|(?<!"));
    SONDE_TRY(put_set(p, set));
    SONDE_TRY(put_text(p, ")(?="));
    SONDE_TRY(put_set(p, set));
    return put_text(p, negated ? ")))" : "))");
}

/* `before`, a line feed, `after`. */
static sonde_status put_break(sondep_syntax *p, const char *before, const char *after)
{
    bool ignore_case = p->ignore_case;
    p->ignore_case = false;
    SONDE_TRY(put_text(p, before));
    SONDE_TRY(put_literal(p, '\n'));
    p->ignore_case = ignore_case;
    return put_text(p, after);
}

/* \R: a line break of any kind, \r\n as one. */
static sonde_status put_any_break(sondep_syntax *p)
{
    int set;
    bool ignore_case = p->ignore_case;

    SONDE_TRY(new_set(p, &set));
    sondep_set_add(p->sets[set], '\n', '\r');
    sondep_set_add(p->sets[set], 0x85, 0x85);
    sondep_set_add(p->sets[set], 0x2028, 0x2029);
    p->ignore_case = false;
    SONDE_TRY(put_text(p, "(?>"));
    SONDE_TRY(put_literal(p, '\r'));
    SONDE_TRY(put_literal(p, '\n'));
    SONDE_TRY(put_text(p, "|"));
    SONDE_TRY(put_set(p, set));
    p->ignore_case = ignore_case;
    return put_text(p, ")");
}

/* Behind a backslash outside a class. */
static sonde_status parse_escape(sondep_syntax *p)
{
    int64_t c;
    int set;
    bool is_there;

    if (take(p, "b") || take(p, "B"))
        return put_word_border(p, p->text[p->at - 1] == 'B');
    if (take(p, "R"))
        return put_any_break(p);
    if (take(p, "A"))
        return put_text(p, "\\A");
    if (take(p, "z"))
        return put_text(p, "\\z");
    if (take(p, "Z"))
        return put_break(p, "(?=", "?\\z)");
    /* a set for \d and its like, given back if the escape is a character after all */
    SONDE_TRY(new_set(p, &set));
    SONDE_TRY(read_set_escape(p, p->sets[set], false, &is_there));
    if (is_there)
        return put_set(p, set);
    sondep_free(p->sets[--p->n_sets]);
    SONDE_TRY(read_char_escape(p, &c));
    return c < 0 ? sondep_syntax_unsupported(p, "this escape") : put_literal(p, (uint32_t)c);
}

/* (?imx-imx) or (?imx-imx: ...), behind the question mark. Without the colon it holds to the end of the group around it,
 * alternatives included. */
static sonde_status parse_options(sondep_syntax *p)
{
    bool on = true, ignore_case = p->ignore_case, dot_all = p->dot_all, extended = p->extended;

    for (;; p->at++) {
        char c = p->text[p->at];
        if (c == 'i')
            ignore_case = on;
        else if (c == 'm')
            dot_all = on;
        else if (c == 'x')
            extended = on;
        else if (c == '-' && on)
            on = false;
        else
            break;
    }
    if (p->text[p->at] != ':' && p->text[p->at] != ')')
        return sondep_syntax_unsupported(p, "this kind of group");
    bool is_whole = p->text[p->at++] == ')', old[3] = {p->ignore_case, p->dot_all, p->extended};
    p->ignore_case = ignore_case;
    p->dot_all = dot_all;
    p->extended = extended;
    /* a group of PCRE2's around what the options are for; they are spelt out in the sets, so it needs none itself */
    SONDE_TRY(put_text(p, "(?:"));
    SONDE_TRY(parse_alternatives(p));
    p->ignore_case = old[0];
    p->dot_all = old[1];
    p->extended = old[2];
    if (!is_whole && !take(p, ")"))
        return sondep_syntax_unsupported(p, "a group without an end");
    return put_text(p, ")");
}

/* Behind the '('. */
static sonde_status parse_group(sondep_syntax *p)
{
    static const char *const kinds[] = {"?:", "?=", "?!", "?<=", "?<!", "?>"};
    bool ignore_case = p->ignore_case, dot_all = p->dot_all, extended = p->extended, is_known = p->text[p->at] != '?';

    SONDE_TRY(put_text(p, "("));
    if (is_known)
        SONDE_TRY(put_text(p, "?:")); /* nothing refers to what a group caught */
    for (int i = 0; i < 6 && !is_known; i++) {
        is_known = take(p, kinds[i]);
        if (is_known)
            SONDE_TRY(put_text(p, kinds[i]));
    }
    /* none of the six: a comment or options, and the bracket is taken back */
    if (!is_known) {
        p->out.text[--p->out.n] = '\0';
        if (take(p, "?#")) {
            const char *end = memchr(p->text + p->at, ')', p->n - p->at);
            p->at = end ? (size_t)(end - p->text) + 1 : p->n;
            return put_text(p, "(?:)");
        }
        p->at++;
        return parse_options(p);
    }
    SONDE_TRY(parse_alternatives(p));
    p->ignore_case = ignore_case;
    p->dot_all = dot_all;
    p->extended = extended;
    if (!take(p, ")"))
        return sondep_syntax_unsupported(p, "a group without an end");
    return put_text(p, ")");
}

/* {n}, {n,}, {,m}, {n,m} behind the atom; false (nothing taken) if it is none, and the brace stands for itself. */
static bool read_interval(sondep_syntax *p, char out[32])
{
    char *end;
    const char *from = p->text + p->at + 1;
    long low = strtol(from, &end, 10), high = low;
    bool has_low = end > from && *from >= '0' && *from <= '9';

    if (p->text[p->at] != '{' || (!has_low && *from != ','))
        return false;
    /* {n}: both are n; {n,}: no upper end, -1 */
    if (*end == ',') {
        from = end + 1;
        high = strtol(from, &end, 10);
        high = end > from ? high : -1;
    }
    if (*end != '}' || low > 65535 || high > 65535 || (!has_low && high < 0))
        return false;
    p->at = (size_t)(end - p->text) + 1;
    if (high < 0)
        snprintf(out, 32, "{%ld,}", has_low ? low : 0);
    else
        snprintf(out, 32, "{%ld,%ld}", has_low ? low : 0, high);
    return true;
}

/* The quantifiers behind an atom that was written from out[from) on; each further one repeats what stands before it. */
static sonde_status parse_quantifiers(sondep_syntax *p, size_t from, int64_t first_use)
{
    char interval[32];

    for (;;) {
        bool is_interval = read_interval(p, interval), is_fixed;
        char c = is_interval ? '{' : p->at < p->n ? p->text[p->at] : '\0';
        sondep_string tail = {0};
        sonde_status status = SONDE_OK;

        if (c == '\0' || strchr("*+?{", c) == NULL || (c == '{' && !is_interval))
            return SONDE_OK;
        if (!is_interval) {
            interval[0] = c;
            interval[1] = '\0';
            p->at++;
        }
        /* (?:atom)quantifier: the sets inside move by three bytes. */
        SONDE_TRY_DONE(sondep_string_append(&tail, p->out.text + from, p->out.n - from));
        p->out.n = from;
        SONDE_TRY_DONE(put_text(p, "(?:"));
        SONDE_TRY_DONE(sondep_string_append(&p->out, tail.text, tail.n));
        for (int64_t i = first_use; i < p->n_uses; i++)
            p->uses[i].at += 3;
        SONDE_TRY_DONE(put_text(p, ")"));
        SONDE_TRY_DONE(put_text(p, interval));
        is_fixed = is_interval && strchr(interval, ',') != NULL && atol(interval + 1) == atol(strchr(interval, ',') + 1) &&
                   strstr(interval, ",}") == NULL;
        /* Of a fixed number of times, '?' makes an option (as the next quantifier); '+' behind an interval repeats. */
        if (p->at < p->n && p->text[p->at] == '?' && !is_fixed)
            SONDE_TRY_DONE(put_text(p, (p->at++, "?")));
        else if (p->at < p->n && p->text[p->at] == '+' && !is_interval)
            SONDE_TRY_DONE(put_text(p, (p->at++, "+")));
        p->last_literal = 0;
    done:
        sondep_string_release(&tail);
        SONDE_TRY(status);
    }
}

/* A class outside all others. */
static sonde_status parse_class_atom(sondep_syntax *p)
{
    int set;
    SONDE_TRY(new_set(p, &set));
    SONDE_TRY(parse_class(p, p->sets[set], true));
    return put_set(p, set);
}

/* Everything but a line feed; with (?m), which others call (?s), everything. */
static sonde_status parse_dot(sondep_syntax *p)
{
    int set;
    SONDE_TRY(new_set(p, &set));
    if (!p->dot_all)
        sondep_set_add(p->sets[set], '\n', '\n');
    sondep_set_invert(p->sets[set]);
    return put_set(p, set);
}

/* What a quantifier may follow. */
static sonde_status parse_atom(sondep_syntax *p)
{
    switch (p->text[p->at]) {
    case '(': p->at++; return parse_group(p);
    case '[': p->at++; return parse_class_atom(p);
    case '\\': p->at++; return parse_escape(p);
    case '.': p->at++; return parse_dot(p);
    case '^': p->at++; return put_break(p, "(?:\\A|(?<=", ")(?!\\z))");
    case '$': p->at++; return put_break(p, "(?:\\z|(?=", "))");
    case '*':
    case '+':
    case '?': return sondep_syntax_unsupported(p, "a quantifier behind nothing");
    default: return put_literal(p, next_char(p));
    }
}

/* To the end of the expression or the ')' of the group around it, which is left there. */
static sonde_status parse_alternatives(sondep_syntax *p)
{
    if (++p->depth > MAX_DEPTH)
        return sondep_syntax_unsupported(p, "nesting deeper than 200");
    while (p->at < p->n && p->text[p->at] != ')') {
        size_t from = p->out.n;
        int64_t first_use = p->n_uses;
        if (p->extended && strchr(" \t\n\r\f\v", p->text[p->at]) != NULL) {
            p->at++;
        } else if (p->extended && p->text[p->at] == '#') {
            while (p->at < p->n && p->text[p->at] != '\n')
                p->at++;
        } else if (take(p, "|")) {
            SONDE_TRY(put_text(p, "|"));
            p->last_literal = 0;
        } else {
            SONDE_TRY(parse_atom(p));
            SONDE_TRY(parse_quantifiers(p, from, first_use));
        }
    }
    p->depth--;
    return SONDE_OK;
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

sonde_status sondep_syntax_read(sondep_syntax *p)
{
    if (memchr(p->text, '\0', p->n) != NULL)
        return sondep_syntax_unsupported(p, "a NUL");
    SONDE_TRY(put_text(p, "")); /* so that there is a text, if an empty one */
    SONDE_TRY(parse_alternatives(p));
    if (p->at < p->n)
        return SONDE_FAIL(SONDE_E_FORMAT, "regular expression '%.200s': ')' at byte %zu closes nothing", p->text, p->at);
    return SONDE_OK;
}

void sondep_syntax_release(sondep_syntax *p)
{
    for (int i = 0; i < p->n_sets; i++)
        sondep_free(p->sets[i]);
    p->n_sets = 0;
    sondep_free(p->uses);
    p->uses = NULL;
    sondep_string_release(&p->out);
}
