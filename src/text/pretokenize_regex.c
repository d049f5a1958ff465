/* pretokenize_regex.c - Oniguruma's regular expressions by way of PCRE2.        floor 3: text
 *
 * The library runs Oniguruma with its own version of Unicode; PCRE2 has another one, differently on every system. So PCRE2
 * never sees a code point. The sets that an expression names (letters, classes, \p{..}, \s, letters in any case) are worked out
 * with our tables; characters that no set tells apart form a class; the expression is rewritten over classes, one byte each, and
 * so is the text. What PCRE2 then does, in its plainest and fastest mode, is the same on every system.
 *
 * What of Oniguruma's syntax is not taken over (back references, recursion, \X, \G, \K, ...) is refused by name.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pretokenize_set.h"
#include "text/tokenizer.h"

#include <pcre2.h>
#include <stdio.h>

struct sondep_regex {
    unsigned char class_of[SONDEP_UNICODE_POINTS];
    pcre2_code *code;
    pcre2_general_context *general;
    bool has_jit;
};

/* ---- reading the expression ----------------------------------------------------------------------------------------------- */

enum { MAX_SETS = 1024, MAX_DEPTH = 200 };

/* A place in the output where a set belongs. */
typedef struct use {
    size_t at;
    int set;
} use;

typedef struct parser {
    const char *text; /* NUL behind its n bytes */
    size_t n, at;
    sondep_string out; /* the expression for PCRE2, without its sets */
    use *uses;
    int64_t n_uses, uses_capacity;
    sondep_set *sets[MAX_SETS];
    uint32_t literals[MAX_SETS]; /* the character of a set of one letter, so that it is made once; UINT32_MAX */
    int n_sets, depth;
    bool ignore_case, dot_all, extended;
    uint32_t last_literal; /* the character before, under (?i), for letters that fold into two */
} parser;

static sonde_status unsupported(const parser *p, const char *what)
{
    return SONDE_FAIL(SONDE_E_UNSUPPORTED, "regular expression '%.200s': %s at byte %zu is not handled", p->text, what, p->at);
}

static sonde_status put_text(parser *p, const char *text)
{
    return sondep_string_append(&p->out, text, strlen(text));
}

static bool take(parser *p, const char *text)
{
    size_t n = strlen(text);
    if (p->n - p->at < n || memcmp(p->text + p->at, text, n) != 0)
        return false;
    p->at += n;
    return true;
}

static uint32_t next_char(parser *p)
{
    int length;
    uint32_t c = sondep_utf8_next(&length, p->text + p->at);
    p->at += (size_t)length;
    return c;
}

/* An empty set that the parser owns. */
static sonde_status new_set(parser *p, int *out)
{
    if (p->n_sets == MAX_SETS)
        return unsupported(p, "more than 1024 different sets of characters");
    SONDE_TRY(sondep_set_new(&p->sets[p->n_sets]));
    p->literals[p->n_sets] = UINT32_MAX;
    *out = p->n_sets++;
    return SONDE_OK;
}

static sonde_status put_set(parser *p, int set)
{
    SONDE_TRY(sondep_room_grow(&p->uses, &p->uses_capacity, p->n_uses + 1, sizeof *p->uses));
    p->uses[p->n_uses++] = (use){p->out.n, set};
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

static sonde_status put_literal(parser *p, uint32_t c)
{
    uint32_t key = c | (p->ignore_case ? 1u << 31 : 0), before = p->last_literal;
    int set = 0;

    if (p->ignore_case && folds_to_several(before, c))
        return unsupported(p, "a letter that (?i) folds to several");
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

/* ---- escapes ---------------------------------------------------------------------------------------------------------------- */

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'f');
}

/* Up to `most` digits of a base; -1 if there is none or the number is no code point. */
static int64_t read_number(parser *p, int base, int most)
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
static sonde_status read_char_escape(parser *p, int64_t *out)
{
    static const char letters[] = "tnrfvae", meanings[] = "\t\n\r\f\v\a\x1b";
    size_t from = p->at;
    char c = p->text[p->at];
    const char *known = c != '\0' ? strchr(letters, c) : NULL;

    *out = -1;
    if (known != NULL) {
        p->at++;
        *out = meanings[known - letters];
    } else if (take(p, "x{")) {
        *out = read_number(p, 16, 8);
        if (*out < 0 || !take(p, "}"))
            return unsupported(p, "\\x{..}");
    } else if (take(p, "x") || take(p, "u")) {
        int most = p->text[from] == 'u' ? 4 : 2;
        *out = read_number(p, 16, most);
        if (*out < 0 || (most == 4 && p->at - from != 5) || (most == 2 && *out >= 0x80))
            return unsupported(p, "\\x or \\u");
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
static sonde_status read_property(parser *p, sondep_set *set, bool negated, bool in_class)
{
    const char *name, *end;

    if (!take(p, "{"))
        return unsupported(p, "\\p without a name in braces");
    negated ^= take(p, "^");
    name = p->text + p->at;
    end = memchr(name, '}', p->n - p->at);
    if (end == NULL || !sondep_set_add_named(set, name, (size_t)(end - name)))
        return unsupported(p, "this name of a property");
    if (end - name == 4 && (memcmp(name, "Word", 4) == 0 || memcmp(name, "word", 4) == 0))
        add_word(set, in_class);
    p->at += (size_t)(end - name) + 1;
    if (negated)
        sondep_set_invert(set);
    return SONDE_OK;
}

/* \d \w \s \h \p and their opposites, behind the backslash; *is_there is false if it is another escape. */
static sonde_status read_set_escape(parser *p, sondep_set *set, bool in_class, bool *is_there)
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

/* ---- classes [...] -------------------------------------------------------------------------------------------------------------- */

static sonde_status parse_class(parser *p, sondep_set *out, bool is_outer);

/* [:name:] or [:^name:]; *is_there is false if it is none. */
static sonde_status read_posix(parser *p, sondep_set *set, bool *is_there)
{
    const char *name = p->text + p->at + 2, *end = p->n - p->at > 3 ? strstr(name, ":]") : NULL;
    bool negated = end != NULL && *name == '^';

    *is_there = end != NULL && p->text[p->at + 1] == ':' && strcspn(name, "]") == (size_t)(end - name) + 1;
    if (!*is_there)
        return SONDE_OK;
    name += negated;
    if (!sondep_set_add_posix(set, name, (size_t)(end - name)))
        return unsupported(p, "this name of a class");
    if (negated)
        sondep_set_invert(set);
    p->at = (size_t)(end - p->text) + 2;
    return SONDE_OK;
}

/* One element that is a set by itself, added to `set`: a nested class, [:name:], an escape like \d. */
static sonde_status class_subset(parser *p, sondep_set *set, bool *is_there)
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
static sonde_status class_char(parser *p, uint32_t *out)
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
        return unsupported(p, "this escape in a class");
    *out = (uint32_t)c;
    return SONDE_OK;
}

/* A character or a range of them. */
static sonde_status class_range(parser *p, sondep_set *set)
{
    uint32_t first, last;

    SONDE_TRY(class_char(p, &first));
    last = first;
    if (p->n - p->at > 1 && p->text[p->at] == '-' && p->text[p->at + 1] != ']') {
        if (strncmp(p->text + p->at, "-&&", 3) == 0 || p->text[p->at + 1] == '[')
            return unsupported(p, "a range without an end");
        p->at++;
        if (p->text[p->at] == '\\' && p->text[p->at + 1] != '\0' && strchr("dwshpDWSHP", p->text[p->at + 1]) != NULL)
            return unsupported(p, "a range to a set");
        SONDE_TRY(class_char(p, &last));
        if (last < first)
            return unsupported(p, "a range that goes backwards");
    }
    sondep_set_add(set, first, last);
    return SONDE_OK;
}

/* Behind the '['; takes the ']'. `out` is empty at first. (?i) is for the outermost class, when all inside is done. */
static sonde_status parse_class(parser *p, sondep_set *out, bool is_outer)
{
    bool negated = take(p, "^"), is_subset, is_first = true, has_and = false;
    sondep_set *all = NULL; /* what stood before && */
    sonde_status status = SONDE_OK;

    if (++p->depth > MAX_DEPTH)
        return unsupported(p, "nesting deeper than 200");
    for (; p->at < p->n && (p->text[p->at] != ']' || is_first); is_first = false) {
        if (p->text[p->at] == ']' && strchr(p->text + p->at + 1, ']') == NULL)
            SONDE_TRY_DONE(unsupported(p, "an empty class"));
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

/* ---- what stands outside classes --------------------------------------------------------------------------------------------------- */

static sonde_status parse_alternatives(parser *p);

static sonde_status put_word_border(parser *p, bool negated)
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
static sonde_status put_break(parser *p, const char *before, const char *after)
{
    bool ignore_case = p->ignore_case;
    p->ignore_case = false;
    SONDE_TRY(put_text(p, before));
    SONDE_TRY(put_literal(p, '\n'));
    p->ignore_case = ignore_case;
    return put_text(p, after);
}

/* \R: a line break of any kind, \r\n as one. */
static sonde_status put_any_break(parser *p)
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

static sonde_status parse_escape(parser *p)
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
    SONDE_TRY(new_set(p, &set));
    SONDE_TRY(read_set_escape(p, p->sets[set], false, &is_there));
    if (is_there)
        return put_set(p, set);
    sondep_free(p->sets[--p->n_sets]);
    SONDE_TRY(read_char_escape(p, &c));
    return c < 0 ? unsupported(p, "this escape") : put_literal(p, (uint32_t)c);
}

/* (?imx-imx) or (?imx-imx: ...), behind the question mark. Without the colon it holds to the end of the group around it,
 * alternatives included. */
static sonde_status parse_options(parser *p)
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
        return unsupported(p, "this kind of group");
    bool is_whole = p->text[p->at++] == ')', old[3] = {p->ignore_case, p->dot_all, p->extended};
    p->ignore_case = ignore_case;
    p->dot_all = dot_all;
    p->extended = extended;
    SONDE_TRY(put_text(p, "(?:"));
    SONDE_TRY(parse_alternatives(p));
    p->ignore_case = old[0];
    p->dot_all = old[1];
    p->extended = old[2];
    if (!is_whole && !take(p, ")"))
        return unsupported(p, "a group without an end");
    return put_text(p, ")");
}

/* Behind the '('. */
static sonde_status parse_group(parser *p)
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
        return unsupported(p, "a group without an end");
    return put_text(p, ")");
}

/* {n}, {n,}, {,m}, {n,m} behind the atom; false (nothing taken) if it is none, and the brace stands for itself. */
static bool read_interval(parser *p, char out[32])
{
    char *end;
    const char *from = p->text + p->at + 1;
    long low = strtol(from, &end, 10), high = low;
    bool has_low = end > from && *from >= '0' && *from <= '9';

    if (p->text[p->at] != '{' || (!has_low && *from != ','))
        return false;
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
static sonde_status parse_quantifiers(parser *p, size_t from, int64_t first_use)
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

static sonde_status parse_class_atom(parser *p)
{
    int set;
    SONDE_TRY(new_set(p, &set));
    SONDE_TRY(parse_class(p, p->sets[set], true));
    return put_set(p, set);
}

static sonde_status parse_dot(parser *p)
{
    int set;
    SONDE_TRY(new_set(p, &set));
    if (!p->dot_all)
        sondep_set_add(p->sets[set], '\n', '\n');
    sondep_set_invert(p->sets[set]);
    return put_set(p, set);
}

static sonde_status parse_atom(parser *p)
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
    case '?': return unsupported(p, "a quantifier behind nothing");
    default: return put_literal(p, next_char(p));
    }
}

static sonde_status parse_alternatives(parser *p)
{
    if (++p->depth > MAX_DEPTH)
        return unsupported(p, "nesting deeper than 200");
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

/* ---- classes of characters that no set tells apart ----------------------------------------------------------------------------------- */

/* Divides each class by a set. */
static sonde_status refine(sondep_regex *r, const parser *p, const sondep_set *set, int *n_classes)
{
    int divided[2][256];

    memset(divided, 0xff, sizeof divided);
    *n_classes = 0;
    for (uint32_t c = 0; c < SONDEP_UNICODE_POINTS; c++) {
        int *class = &divided[sondep_set_has(set, c)][r->class_of[c]];
        if (*class < 0) {
            if (*n_classes == 256)
                return unsupported(p, "more than 256 classes of characters");
            *class = (*n_classes)++;
        }
        r->class_of[c] = (unsigned char)*class;
    }
    return SONDE_OK;
}

/* A set as a class of PCRE2. */
static sonde_status write_set(sondep_string *out, const sondep_regex *r, const sondep_set *set)
{
    bool is_in[256] = {false}, is_empty = true;

    for (uint32_t c = 0; c < SONDEP_UNICODE_POINTS; c++)
        is_in[r->class_of[c]] |= sondep_set_has(set, c);
    for (int i = 0; i < 256; i++)
        is_empty &= !is_in[i];
    if (is_empty)
        return sondep_string_append(out, "(?!)", 4);
    SONDE_TRY(sondep_string_append(out, "[", 1));
    for (int i = 0; i < 256; i++)
        if (is_in[i])
            SONDE_TRY(sondep_string_printf(out, "\\x%02x", (unsigned)i));
    return sondep_string_append(out, "]", 1);
}

/* The expression with its sets put in. */
static sonde_status write_expression(sondep_string *out, const parser *p, const sondep_regex *r)
{
    size_t done = 0;
    sondep_string written[MAX_SETS];
    sonde_status status = SONDE_OK;

    memset(written, 0, sizeof written);
    for (int i = 0; i < p->n_sets; i++)
        SONDE_TRY_DONE(write_set(&written[i], r, p->sets[i]));
    for (int64_t i = 0; i < p->n_uses; i++) {
        SONDE_TRY_DONE(sondep_string_append(out, p->out.text + done, p->uses[i].at - done));
        SONDE_TRY_DONE(sondep_string_append(out, written[p->uses[i].set].text, written[p->uses[i].set].n));
        done = p->uses[i].at;
    }
    SONDE_TRY_DONE(sondep_string_append(out, p->out.text + done, p->out.n - done));
done:
    for (int i = 0; i < p->n_sets; i++)
        sondep_string_release(&written[i]);
    return status;
}

/* ---- PCRE2 ---------------------------------------------------------------------------------------------------------------------------- */

static void *pcre_alloc(PCRE2_SIZE bytes, void *ctx)
{
    (void)ctx;
    return bytes <= PTRDIFF_MAX ? sondep_alloc((int64_t)bytes, 1) : NULL;
}

static void pcre_free(void *p, void *ctx)
{
    (void)ctx;
    sondep_free(p);
}

static sonde_status fail_pcre(const char *expression, int code)
{
    unsigned char words[128] = "";
    if (code == PCRE2_ERROR_NOMEMORY || code == 121)
        return SONDE_FAIL(SONDE_E_NOMEM, "out of memory: regular expression '%.200s'", expression);
    pcre2_get_error_message(code, words, sizeof words);
    return SONDE_FAIL(SONDE_E_UNSUPPORTED, "regular expression '%.200s' is not handled: %s", expression, (const char *)words);
}

static sonde_status compile(sondep_regex *r, const parser *p)
{
    sondep_string expression = {0};
    pcre2_compile_context *context = NULL;
    sonde_status status;
    int code;
    PCRE2_SIZE at;

    SONDE_TRY_DONE(write_expression(&expression, p, r));
    r->general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    context = r->general ? pcre2_compile_context_create(r->general) : NULL;
    if (context == NULL)
        SONDE_TRY_DONE(fail_pcre(p->text, PCRE2_ERROR_NOMEMORY));
    r->code = pcre2_compile((PCRE2_SPTR)expression.text, expression.n, PCRE2_NEVER_UTF | PCRE2_NEVER_UCP, &code, &at, context);
    if (r->code == NULL)
        SONDE_TRY_DONE(fail_pcre(p->text, code));
    r->has_jit = pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE) == 0;
done:
    pcre2_compile_context_free(context);
    sondep_string_release(&expression);
    return status;
}

void sondep_regex_free(sondep_regex *regex)
{
    if (regex == NULL)
        return;
    pcre2_code_free(regex->code);
    pcre2_general_context_free(regex->general);
    sondep_free(regex);
}

static void parser_free(parser *p)
{
    if (p == NULL)
        return;
    for (int i = 0; i < p->n_sets; i++)
        sondep_free(p->sets[i]);
    sondep_free(p->uses);
    sondep_string_release(&p->out);
    sondep_free(p);
}

sonde_status sondep_regex_new(sondep_regex **out, const char *expression, size_t n)
{
    parser *p = NULL;
    sondep_regex *r = NULL;
    sonde_status status;
    int n_classes;

    *out = NULL;
    SONDE_TRY_DONE(SONDE_NEW(p, 1));
    SONDE_TRY_DONE(SONDE_NEW(r, 1));
    p->text = expression;
    p->n = n;
    if (memchr(expression, '\0', n) != NULL)
        SONDE_TRY_DONE(unsupported(p, "a NUL"));
    SONDE_TRY_DONE(put_text(p, ""));
    SONDE_TRY_DONE(parse_alternatives(p));
    if (p->at < n)
        SONDE_TRY_DONE(SONDE_FAIL(SONDE_E_FORMAT, "regular expression '%.200s': ')' at byte %zu closes nothing", p->text, p->at));
    for (int i = 0; i < p->n_sets; i++)
        SONDE_TRY_DONE(refine(r, p, p->sets[i], &n_classes));
    SONDE_TRY_DONE(compile(r, p));
    *out = r;
    r = NULL;
done:
    sondep_regex_free(r);
    parser_free(p);
    return status;
}

/* ---- matching --------------------------------------------------------------------------------------------------------------------------- */

/* The text as classes, and where its characters begin. */
static sonde_status classify(sondep_room *room, const sondep_regex *r, const char *text, int64_t n, int64_t *n_chars)
{
    int length;

    SONDE_TRY(sondep_room_grow(&room->classes, &room->classes_capacity, n + 1, 1));
    SONDE_TRY(sondep_room_grow(&room->places, &room->places_capacity, n + 1, sizeof *room->places));
    *n_chars = 0;
    for (int64_t at = 0; at < n; at += length) {
        room->classes[*n_chars] = (char)r->class_of[sondep_utf8_next(&length, text + at)];
        room->places[(*n_chars)++] = at;
    }
    room->places[*n_chars] = n;
    return SONDE_OK;
}

/* As Oniguruma's iterator: an empty match right behind the last one does not count. */
static sonde_status find_all(sondep_room *room, const sondep_regex *r, pcre2_match_data *data, pcre2_match_context *context,
                             int64_t n_chars)
{
    int64_t from = 0, last_end = -1, done = 0;
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(data);

    while (from <= n_chars) {
        int64_t start, end;
        int code = pcre2_match(r->code, (PCRE2_SPTR)room->classes, (PCRE2_SIZE)n_chars, (PCRE2_SIZE)from, 0, data, context);
        if (code == PCRE2_ERROR_JIT_STACKLIMIT)
            code = pcre2_match(r->code, (PCRE2_SPTR)room->classes, (PCRE2_SIZE)n_chars, (PCRE2_SIZE)from, PCRE2_NO_JIT, data,
                               context);
        if (code == PCRE2_ERROR_NOMATCH)
            break;
        if (code == PCRE2_ERROR_NOMEMORY)
            return SONDE_FAIL(SONDE_E_NOMEM, "out of memory: a regular expression of the tokenizer");
        if (code < 0)
            return SONDE_FAIL(SONDE_E_RANGE, "a regular expression of the tokenizer gave up at byte %lld (PCRE2 error %d)",
                              (long long)room->places[from], code);
        start = (int64_t)found[0];
        end = (int64_t)found[1];
        if (end == start && last_end == end) {
            from++;
            continue;
        }
        from = last_end = end;
        if (done != start)
            SONDE_TRY(sondep_put_match(&room->matches, room->places[done], room->places[start], false));
        SONDE_TRY(sondep_put_match(&room->matches, room->places[start], room->places[end], true));
        done = end;
    }
    return done != n_chars ? sondep_put_match(&room->matches, room->places[done], room->places[n_chars], false) : SONDE_OK;
}

sonde_status sondep_regex_find(sondep_room *room, const sondep_regex *regex, const char *text, int64_t n)
{
    enum { STACK_FIRST = 32 << 10, STACK_MOST = 16 << 20 };
    pcre2_match_data *data = NULL;
    pcre2_match_context *context = NULL;
    pcre2_jit_stack *stack = NULL;
    sonde_status status;
    int64_t n_chars;

    SONDE_TRY_DONE(classify(room, regex, text, n, &n_chars));
    data = pcre2_match_data_create(1, regex->general);
    context = data ? pcre2_match_context_create(regex->general) : NULL;
    stack = context && regex->has_jit ? pcre2_jit_stack_create(STACK_FIRST, STACK_MOST, regex->general) : NULL;
    if (context == NULL || (regex->has_jit && stack == NULL))
        SONDE_TRY_DONE(SONDE_FAIL(SONDE_E_NOMEM, "out of memory: a regular expression of the tokenizer"));
    if (stack != NULL)
        pcre2_jit_stack_assign(context, NULL, stack);
    SONDE_TRY_DONE(find_all(room, regex, data, context, n_chars));
done:
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
    return status;
}
