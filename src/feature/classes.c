/* classes.c - classes of tokens that need no judge: scripts, capitals, digits, punctuation, places.      floor 8: feature
 *
 * Most are of a token by itself and are found once for each id; a few are of its place: the beginning of a word, a sentence or
 * a text, and whether the token came before. A class is a bit, so that a position is a mask.
 *
 * Scripts are told by blocks of code points, as Bricken et al. 2023 do for their proxies.
 */
#include "feature/feature.h"

#include "text/unicode.h"

static const char *const names[][2] = {
#define ROW(value, name, what) {name, what},
    SONDEP_CLASS_LIST(ROW)
#undef ROW
};

/* Both are from the one list. */
const char *sondep_class_name(int which)
{
    return names[which][0];
}

const char *sondep_class_what(int which)
{
    return names[which][1];
}

/* Blocks of letters. */
static const struct {
    uint32_t first, last;
    int script;
} blocks[] = {
    {0x0041, 0x024F, SONDEP_CLASS_LATIN},      {0x1E00, 0x1EFF, SONDEP_CLASS_LATIN},
    {0x0370, 0x03FF, SONDEP_CLASS_GREEK},      {0x1F00, 0x1FFF, SONDEP_CLASS_GREEK},
    {0x0400, 0x052F, SONDEP_CLASS_CYRILLIC},   {0x0590, 0x05FF, SONDEP_CLASS_HEBREW},
    {0x0600, 0x06FF, SONDEP_CLASS_ARABIC},     {0x0750, 0x077F, SONDEP_CLASS_ARABIC},
    {0x0900, 0x097F, SONDEP_CLASS_DEVANAGARI}, {0x0E00, 0x0E7F, SONDEP_CLASS_THAI},
    {0x1100, 0x11FF, SONDEP_CLASS_HANGUL},     {0xAC00, 0xD7AF, SONDEP_CLASS_HANGUL},
    {0x3040, 0x30FF, SONDEP_CLASS_KANA},       {0x3400, 0x4DBF, SONDEP_CLASS_HAN},
    {0x4E00, 0x9FFF, SONDEP_CLASS_HAN},        {0xF900, 0xFAFF, SONDEP_CLASS_HAN},
    {0x20000, 0x2FA1F, SONDEP_CLASS_HAN},
};

/* The script of a letter as a mask. */
static uint32_t script_of(uint32_t c)
{
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (c >= blocks[i].first && c <= blocks[i].last)
            return 1u << blocks[i].script;
    return 0;
}

/* What the characters of a token are. */
typedef struct letters {
    int n, n_capital, n_digit, n_punctuation, n_symbol, n_space, n_other, n_all;
    bool begins_with_capital, has_newline;
    uint32_t scripts;
} letters;

/* Adds one character. */
static void add_character(letters *x, uint32_t c)
{
    const sondep_unicode_kind *kind = sondep_unicode_of(c);
    int category = kind->category;
    bool is_capital = category == SONDEP_LU || category == SONDEP_LT;

    x->n_all++;
    x->has_newline = x->has_newline || c == '\n';
    if (sondep_is_letter(c)) {
        x->begins_with_capital = x->n == 0 ? is_capital : x->begins_with_capital;
        x->n++;
        x->n_capital += is_capital;
        x->scripts |= script_of(c);
    } else if (sondep_is_number(c)) {
        x->n_digit++;
    } else if (kind->flags & SONDEP_UNICODE_SPACE) {
        x->n_space++;
    } else if (category >= SONDEP_PC && category <= SONDEP_PO) {
        x->n_punctuation++;
    } else if (category >= SONDEP_SM && category <= SONDEP_SO) {
        x->n_symbol++;
    } else {
        x->n_other++;
    }
}

/* Classes of the bytes of a token. */
static uint32_t classify(const char *bytes, size_t n)
{
    letters x = {0};
    uint32_t mask = 0, c;

    for (size_t at = 0; at < n;) {
        int length = sondep_utf8_decode(&c, bytes + at, n - at);
        if (length == 0)
            return 1u << SONDEP_CLASS_BYTES;
        add_character(&x, c);
        at += (size_t)length;
    }
    mask |= x.scripts;
    mask |= x.n_digit > 0 ? 1u << SONDEP_CLASS_DIGIT : 0;
    mask |= x.begins_with_capital && x.n_capital < x.n ? 1u << SONDEP_CLASS_CAPITALISED : 0;
    mask |= x.n > 0 && x.n_capital == x.n ? 1u << SONDEP_CLASS_CAPITALS : 0;
    mask |= x.n_punctuation > 0 && x.n == 0 && x.n_digit == 0 ? 1u << SONDEP_CLASS_PUNCTUATION : 0;
    mask |= x.n_symbol > 0 && x.n == 0 && x.n_digit == 0 ? 1u << SONDEP_CLASS_SYMBOL : 0;
    mask |= x.n_all > 0 && x.n_space == x.n_all ? 1u << SONDEP_CLASS_SPACE : 0;
    mask |= x.has_newline ? 1u << SONDEP_CLASS_NEWLINE : 0;
    return mask;
}

/* A special token is in no other class. */
void sondep_classify_tokens(uint32_t *out, const sonde_tokenizer *tokenizer, int64_t n_vocab)
{
    int64_t n_own = sonde_tokenizer_n_vocab(tokenizer);

    for (int64_t id = 0; id < n_vocab; id++) {
        size_t n = 0;
        const char *bytes = id < n_own ? sonde_tokenizer_bytes(&n, tokenizer, (int32_t)id) : NULL;
        out[id] = bytes ? classify(bytes, n) : 0;
        if (id < n_own && sonde_tokenizer_is_special(tokenizer, (int32_t)id))
            out[id] = 1u << SONDEP_CLASS_SPECIAL;
    }
}

/* Whether a token's bytes begin with a space; the last byte of one that has any, else a space. */
static bool begins_with_space(const sonde_tokenizer *tokenizer, int32_t id)
{
    size_t n;
    const char *bytes = sonde_tokenizer_bytes(&n, tokenizer, id);
    return bytes != NULL && n > 0 && (bytes[0] == ' ' || bytes[0] == '\n' || bytes[0] == '\t');
}

static char last_byte(const sonde_tokenizer *tokenizer, int32_t id)
{
    size_t n;
    const char *bytes = sonde_tokenizer_bytes(&n, tokenizer, id);
    return bytes != NULL && n > 0 ? bytes[n - 1] : ' ';
}

/* What a token is by itself, and what it is where it stands. */
void sondep_classify_text(uint32_t *out, const uint32_t *of_token, const int32_t *tokens, const bool *left_out, int64_t n,
                          const sonde_tokenizer *tokenizer)
{
    bool is_first = true;

    for (int64_t t = 0; t < n; t++) {
        char before =
            t > 0 && !(of_token[tokens[t - 1]] >> SONDEP_CLASS_SPECIAL & 1) ? last_byte(tokenizer, tokens[t - 1]) : '\n';
        bool is_repeated = false;
        out[t] = of_token[tokens[t]];
        if (before == ' ' || before == '\n' || before == '\t' || begins_with_space(tokenizer, tokens[t]))
            out[t] |= 1u << SONDEP_CLASS_WORD_START;
        if (before == '.' || before == '!' || before == '?' || before == '\n')
            out[t] |= 1u << SONDEP_CLASS_SENTENCE_START;
        for (int64_t k = 0; k < t && !is_repeated; k++)
            is_repeated = tokens[k] == tokens[t];
        out[t] |= is_repeated ? 1u << SONDEP_CLASS_REPEATED : 0;
        if (left_out != NULL && left_out[t])
            continue;
        out[t] |= is_first ? 1u << SONDEP_CLASS_FIRST : 0;
        is_first = false;
    }
}
