/* text/unicode.h - Unicode as the `tokenizers` library sees it.                 floor 3: text
 *
 * Generated tables (tools/make_unicode_table.py) of one pinned version of the library, which itself stands on several
 * versions of Unicode: categories and \w as its regular expressions have them, white space, numbers and lower case as
 * Rust has them, normal forms and punctuation as its older parts have them. The system's own Unicode libraries are
 * newer or older and would split some strings differently.
 */
#ifndef SONDEP_UNICODE_H
#define SONDEP_UNICODE_H

#include "base/base.h"

/* General categories, numbered as in the tables; those of one major class lie together. */
typedef enum sondep_category {
    SONDEP_CN,
    SONDEP_LU,
    SONDEP_LL,
    SONDEP_LT,
    SONDEP_LM,
    SONDEP_LO,
    SONDEP_MN,
    SONDEP_MC,
    SONDEP_ME,
    SONDEP_ND,
    SONDEP_NL,
    SONDEP_NO,
    SONDEP_PC,
    SONDEP_PD,
    SONDEP_PS,
    SONDEP_PE,
    SONDEP_PI,
    SONDEP_PF,
    SONDEP_PO,
    SONDEP_SM,
    SONDEP_SC,
    SONDEP_SK,
    SONDEP_SO,
    SONDEP_ZS,
    SONDEP_ZL,
    SONDEP_ZP,
    SONDEP_CC,
    SONDEP_CF,
    SONDEP_CS,
    SONDEP_CO,
    SONDEP_N_CATEGORIES,
} sondep_category;

enum {
    SONDEP_UNICODE_WORD = 1,       /* \w of Oniguruma: patterns of Split and Replace */
    SONDEP_UNICODE_REGEX_WORD = 2, /* \w of Rust's regex: Whitespace, single_word */
    SONDEP_UNICODE_SPACE = 4,      /* \s of both, and char::is_whitespace */
    SONDEP_UNICODE_NUMERIC = 8,    /* char::is_numeric: Digits */
    SONDEP_UNICODE_PUNCTUATION = 16,
    SONDEP_UNICODE_MARK = 32,       /* what StripAccents removes */
    SONDEP_UNICODE_COMPOSED = 64,   /* NFC may change it, or what stands before it: a mark, a second half, a singleton */
    SONDEP_UNICODE_DECOMPOSED = 128 /* NFD or NFKD may change or move it */
};

enum { SONDEP_UNICODE_BLOCKS = 0x1100, SONDEP_UNICODE_POINTS = 0x110000 };

typedef struct sondep_unicode_kind {
    uint8_t category, flags, combining; /* combining: order of its combining class, 0 for a starter */
} sondep_unicode_kind;
typedef struct sondep_unicode_range {
    uint32_t first, last;
} sondep_unicode_range;
typedef struct sondep_unicode_set {
    const char *name;
    int first, n; /* of sondep_unicode_ranges */
} sondep_unicode_set;
typedef struct sondep_unicode_pair {
    uint32_t first, second, composed;
} sondep_unicode_pair;
typedef struct sondep_unicode_map {
    int n;
    const uint32_t *keys;   /* (n) sorted */
    const uint16_t *starts; /* (n + 1) into pool */
    const uint32_t *pool;
} sondep_unicode_map;

extern const uint16_t sondep_unicode_blocks[SONDEP_UNICODE_BLOCKS];
extern const uint8_t sondep_unicode_kinds[];
extern const int sondep_unicode_n_kinds, sondep_unicode_n_sets, sondep_unicode_first_posix, sondep_unicode_n_cased,
    sondep_unicode_n_pairs;
extern const sondep_unicode_kind sondep_unicode_records[256];
extern const sondep_unicode_range sondep_unicode_ranges[];
extern const sondep_unicode_set sondep_unicode_sets[];    /* [[:alpha:]] and its like from first_posix on */
extern const sondep_unicode_range sondep_unicode_cased[]; /* {letter, the next of its ring of cases}, sorted */
extern const sondep_unicode_pair sondep_unicode_pairs[];
extern const sondep_unicode_map sondep_unicode_canonical, sondep_unicode_compatible, sondep_unicode_lower;

static inline const sondep_unicode_kind *sondep_unicode_of(uint32_t c)
{
    return &sondep_unicode_records[sondep_unicode_kinds[(size_t)sondep_unicode_blocks[c >> 8] << 8 | (c & 0xff)]];
}

/* General category L*. */
static inline bool sondep_is_letter(uint32_t c)
{
    int category = sondep_unicode_of(c)->category;
    return category >= SONDEP_LU && category <= SONDEP_LO;
}

/* General category N*. */
static inline bool sondep_is_number(uint32_t c)
{
    int category = sondep_unicode_of(c)->category;
    return category >= SONDEP_ND && category <= SONDEP_NO;
}

/* The character at text[0..), which is known to be valid UTF-8, and its length in *length. */
static inline uint32_t sondep_utf8_next(int *length, const char *text)
{
    const unsigned char *b = (const unsigned char *)text;
    if (b[0] < 0x80) {
        *length = 1;
        return b[0];
    }
    if (b[0] < 0xe0) {
        *length = 2;
        return (b[0] & 0x1fu) << 6 | (b[1] & 0x3fu);
    }
    if (b[0] < 0xf0) {
        *length = 3;
        return (b[0] & 0x0fu) << 12 | (b[1] & 0x3fu) << 6 | (b[2] & 0x3fu);
    }
    *length = 4;
    return (b[0] & 0x07u) << 18 | (b[1] & 0x3fu) << 12 | (b[2] & 0x3fu) << 6 | (b[3] & 0x3fu);
}

/* Where the character that ends before text[at] begins; at > 0. */
static inline int64_t sondep_utf8_before(const char *text, int64_t at)
{
    do
        at--;
    while (((unsigned char)text[at] & 0xc0) == 0x80);
    return at;
}

/* What a map makes of a code point: a list in the table's storage, NULL where it stays as it is. */
const uint32_t *sondep_unicode_map_of(int *n, const sondep_unicode_map *map, uint32_t c);

/* The composition of a pair, 0 if there is none (Hangul included). */
uint32_t sondep_unicode_compose(uint32_t first, uint32_t second);

/* The full canonical (or compatibility) decomposition: 1 to 18 code points in `out`; returns how many. */
enum { SONDEP_UNICODE_LONGEST = 18 };
int sondep_unicode_decompose(uint32_t out[SONDEP_UNICODE_LONGEST], uint32_t c, bool compatible);

#endif
