/* pretokenize_scan.c - the known regular expressions as scanners.               floor 3: text
 *
 * GPT-2 (and GPT-NeoX):
 *   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * Llama-3:
 *   (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 *
 * (Qwen-2's is Llama-3's with single digits.) Every character matches some alternative, so that the words follow one
 * another without gaps. The alternatives are tried in the pattern's order; what a regular expression finds by going
 * back is worked out beforehand: of a run of white space, \s+(?!\S) leaves the last character to the word behind it.
 */
#include "text/tokenizer.h"

enum { LETTER = 1, NUMBER = 2, SPACE = 4, OTHER = 8 };

#define O OTHER
#define S SPACE
#define N NUMBER
#define L LETTER
static const uint8_t ascii[128] = {
    O, O, O, O, O, O, O, O, O, S, S, S, S, S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O,
    S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, N, N, N, N, N, N, N, N, N, N, O, O, O, O, O, O,
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O,
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O,
};
#undef O
#undef S
#undef N
#undef L

static const uint8_t of_category[SONDEP_N_CATEGORIES] = {
    [SONDEP_CN] = OTHER,  [SONDEP_LU] = LETTER, [SONDEP_LL] = LETTER, [SONDEP_LT] = LETTER, [SONDEP_LM] = LETTER,
    [SONDEP_LO] = LETTER, [SONDEP_ND] = NUMBER, [SONDEP_NL] = NUMBER, [SONDEP_NO] = NUMBER,
};

/* Class of the character at text[0..) and its length. */
static inline int class_at(const char *text, int *length)
{
    const sondep_unicode_kind *kind;

    if ((unsigned char)text[0] < 0x80) {
        *length = 1;
        return ascii[(unsigned char)text[0]];
    }
    kind = sondep_unicode_of(sondep_utf8_next(length, text));
    if (kind->flags & SONDEP_UNICODE_SPACE)
        return SPACE;
    return of_category[kind->category] ? of_category[kind->category] : OTHER;
}

/* End of the run of characters of a class that begins at `at`. */
static inline int64_t run_end(const char *text, int64_t n, int64_t at, int class)
{
    int length;
    while (at < n && class_at(text + at, &length) == class)
        at += length;
    return at;
}

/* \s+(?!\S)|\s+ on the run [0, end) of white space. */
static int64_t space_word(const char *text, int64_t n, int64_t end)
{
    int64_t last = sondep_utf8_before(text, end);
    return end == n || last == 0 ? end : last;
}

/* Length of 's, 't, 're, 've, 'm, 'll or 'd at text[0..), 0 if there is none. */
static int64_t contraction(const char *text, int64_t n, bool any_case)
{
    char a = n > 1 ? text[1] : '\0', b = n > 2 ? text[2] : '\0';

    if (any_case) {
        if (n > 2 && (unsigned char)a == 0xc5 && (unsigned char)b == 0xbf) /* the long s is an s in another case */
            return 3;
        a = a >= 'A' && a <= 'Z' ? (char)(a + 32) : a;
        b = b >= 'A' && b <= 'Z' ? (char)(b + 32) : b;
    }
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* The alternatives of the pattern in its order; the first character decides most of them. */
int64_t sondep_scan_gpt2(const char *text, int64_t n)
{
    int length, next_length, class = class_at(text, &length);

    if (text[0] == '\'') {
        int64_t found = contraction(text, n, false);
        if (found > 0)
            return found;
    }
    /* a run of letters, of numbers or of others, with the one space before it if there is one */
    if (class != SPACE)
        return run_end(text, n, length, class);
    if (text[0] == ' ' && n > 1) {
        int next = class_at(text + 1, &next_length);
        if (next != SPACE)
            return run_end(text, n, 1 + next_length, next);
    }
    return space_word(text, n, run_end(text, n, length, SPACE));
}

/* End of the run of line breaks that begins at `at`. */
static int64_t breaks_end(const char *text, int64_t n, int64_t at)
{
    while (at < n && (text[at] == '\r' || text[at] == '\n'))
        at++;
    return at;
}

/* \p{N}{1,3}: as many numbers as go together, from `at` on. */
static int64_t digits_end(const char *text, int64_t n, int64_t at, int64_t max_digits)
{
    int length;
    for (int64_t i = 0; i < max_digits && at < n && class_at(text + at, &length) == NUMBER; i++)
        at += length;
    return at;
}

/* A word that begins with white space and has no letters in it. */
static int64_t llama3_space(const char *text, int64_t n, int length)
{
    int64_t end = run_end(text, n, length, SPACE), last_break = end;
    int next_length;

    /* a space before a run of others belongs to it; otherwise the word ends behind the last line break of the run, if
     * any */
    if (text[0] == ' ' && n > 1 && class_at(text + 1, &next_length) == OTHER)
        return breaks_end(text, n, run_end(text, n, 1 + next_length, OTHER));
    while (last_break > 0 && text[last_break - 1] != '\r' && text[last_break - 1] != '\n')
        last_break--;
    return last_break > 0 ? last_break : space_word(text, n, end);
}

/* One character that is neither a letter, a number nor a line break may lead a run of letters. */
int64_t sondep_scan_llama3(const char *text, int64_t n, int64_t max_digits)
{
    int length, next_length, class = class_at(text, &length);

    if (text[0] == '\'') {
        int64_t found = contraction(text, n, true);
        if (found > 0)
            return found;
    }
    if (class == LETTER)
        return run_end(text, n, length, LETTER);
    if (class == NUMBER)
        return digits_end(text, n, 0, max_digits);
    if (text[0] != '\r' && text[0] != '\n' && length < n && class_at(text + length, &next_length) == LETTER)
        return run_end(text, n, length + next_length, LETTER);
    /* what is left: white space, or a run of others with the line breaks behind it */
    if (class == SPACE)
        return llama3_space(text, n, length);
    return breaks_end(text, n, run_end(text, n, length, OTHER));
}
