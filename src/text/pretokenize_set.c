/* pretokenize_set.c - sets of code points, as bits.                             floor 3: text
 *
 * Sets are built when a tokenizer is loaded and are gone before it encodes: they can be large and plain. Properties go by
 * blocks of 256 code points, of which there are a few hundred different ones.
 */
#include "text/pretokenize_set.h"

/* Empty. */
sonde_status sondep_set_new(sondep_set **out)
{
    return SONDE_NEW(*out, SONDEP_SET_WORDS);
}

/* [first, last], whole words at a time where it can. */
void sondep_set_add(sondep_set *set, uint32_t first, uint32_t last)
{
    for (uint32_t c = first; c <= last;) {
        if (c % 64 == 0 && last - c >= 63) {
            set[c / 64] = UINT64_MAX;
            c += 64;
        } else {
            set[c / 64] |= (uint64_t)1 << c % 64;
            c++;
        }
    }
}

/* Every code point that was not there, and none that was. */
void sondep_set_invert(sondep_set *set)
{
    for (int i = 0; i < SONDEP_SET_WORDS; i++)
        set[i] = ~set[i];
}

/* All that is in either. */
void sondep_set_join(sondep_set *set, const sondep_set *other)
{
    for (int i = 0; i < SONDEP_SET_WORDS; i++)
        set[i] |= other[i];
}

/* What is in both. */
void sondep_set_intersect(sondep_set *set, const sondep_set *other)
{
    for (int i = 0; i < SONDEP_SET_WORDS; i++)
        set[i] &= other[i];
}

/* The four words of a block of kinds. */
static void block_bits(uint64_t out[4], int block, const bool wanted[256])
{
    memset(out, 0, 4 * sizeof *out);
    for (int i = 0; i < 256; i++)
        out[i / 64] |= (uint64_t)wanted[sondep_unicode_kinds[(size_t)block << 8 | (size_t)i]] << i % 64;
}

/* Blocks of 256 repeat a lot in a row (CJK, private use): the bits of one are kept for the next. */
void sondep_set_add_kind(sondep_set *set, int flags, int first_category, int last_category)
{
    bool wanted[256] = {false};
    int previous = -1;
    uint64_t bits[4] = {0};

    /* which kinds are wanted, then a block at a time */
    for (int k = 0; k < sondep_unicode_n_kinds; k++) {
        const sondep_unicode_kind *kind = &sondep_unicode_records[k];
        wanted[k] = (kind->flags & flags) || (kind->category >= first_category && kind->category <= last_category);
    }
    for (int b = 0; b < SONDEP_UNICODE_BLOCKS; b++) {
        if (sondep_unicode_blocks[b] != previous)
            block_bits(bits, previous = sondep_unicode_blocks[b], wanted);
        for (int i = 0; i < 4; i++)
            set[4 * b + i] |= bits[i];
    }
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

/* Whether two names are the same to a regular expression. */
static bool same_name(const char *known, const char *name, size_t n)
{
    size_t i = 0;
    for (;; known++, i++) {
        while (*known == '_' || *known == ' ' || *known == '-')
            known++;
        while (i < n && (name[i] == '_' || name[i] == ' ' || name[i] == '-'))
            i++;
        if (*known == '\0' || i == n)
            return *known == '\0' && i == n;
        if ((*known | 32) != (name[i] | 32))
            return false;
    }
}

/* Adds the first set from number `first` on that has the name. */
static bool add_ranges(sondep_set *set, const char *name, size_t n, int first)
{
    for (int i = first; i < sondep_unicode_n_sets; i++) {
        const sondep_unicode_set *known = &sondep_unicode_sets[i];
        if (!same_name(known->name, name, n))
            continue;
        for (int k = 0; k < known->n; k++)
            sondep_set_add(set, sondep_unicode_ranges[known->first + k].first, sondep_unicode_ranges[known->first + k].last);
        return true;
    }
    return false;
}

/* Named sets of brackets differ from the properties of the same name: [[:punct:]] has symbols in it. */
bool sondep_set_add_posix(sondep_set *set, const char *name, size_t n)
{
    return add_ranges(set, name, n, sondep_unicode_first_posix);
}

/* Categories under both of their names, then the sets that are listed as ranges. */
bool sondep_set_add_named(sondep_set *set, const char *name, size_t n)
{
    static const struct {
        const char *brief, *full;
        int first, last;
    } categories[] = {
        {"L", "Letter", SONDEP_LU, SONDEP_LO},
        {"M", "Mark", SONDEP_MN, SONDEP_ME},
        {"N", "Number", SONDEP_ND, SONDEP_NO},
        {"P", "Punctuation", SONDEP_PC, SONDEP_PO},
        {"S", "Symbol", SONDEP_SM, SONDEP_SO},
        {"Z", "Separator", SONDEP_ZS, SONDEP_ZP},
        {"Lu", "Uppercase_Letter", SONDEP_LU, SONDEP_LU},
        {"Ll", "Lowercase_Letter", SONDEP_LL, SONDEP_LL},
        {"Lt", "Titlecase_Letter", SONDEP_LT, SONDEP_LT},
        {"Lm", "Modifier_Letter", SONDEP_LM, SONDEP_LM},
        {"Lo", "Other_Letter", SONDEP_LO, SONDEP_LO},
        {"Mn", "Nonspacing_Mark", SONDEP_MN, SONDEP_MN},
        {"Mc", "Spacing_Mark", SONDEP_MC, SONDEP_MC},
        {"Me", "Enclosing_Mark", SONDEP_ME, SONDEP_ME},
        {"Nd", "Decimal_Number", SONDEP_ND, SONDEP_ND},
        {"Nl", "Letter_Number", SONDEP_NL, SONDEP_NL},
        {"No", "Other_Number", SONDEP_NO, SONDEP_NO},
        {"Pc", "Connector_Punctuation", SONDEP_PC, SONDEP_PC},
        {"Pd", "Dash_Punctuation", SONDEP_PD, SONDEP_PD},
        {"Ps", "Open_Punctuation", SONDEP_PS, SONDEP_PS},
        {"Pe", "Close_Punctuation", SONDEP_PE, SONDEP_PE},
        {"Pi", "Initial_Punctuation", SONDEP_PI, SONDEP_PI},
        {"Pf", "Final_Punctuation", SONDEP_PF, SONDEP_PF},
        {"Po", "Other_Punctuation", SONDEP_PO, SONDEP_PO},
        {"Sm", "Math_Symbol", SONDEP_SM, SONDEP_SM},
        {"Sc", "Currency_Symbol", SONDEP_SC, SONDEP_SC},
        {"Sk", "Modifier_Symbol", SONDEP_SK, SONDEP_SK},
        {"So", "Other_Symbol", SONDEP_SO, SONDEP_SO},
        {"Zs", "Space_Separator", SONDEP_ZS, SONDEP_ZS},
        {"Zl", "Line_Separator", SONDEP_ZL, SONDEP_ZL},
        {"Zp", "Paragraph_Separator", SONDEP_ZP, SONDEP_ZP},
        {"Cc", "Control", SONDEP_CC, SONDEP_CC},
        {"Cf", "Format", SONDEP_CF, SONDEP_CF},
        {"Co", "Private_Use", SONDEP_CO, SONDEP_CO},
        {"Any", "Any", SONDEP_CN, SONDEP_CO},
    };

    for (size_t i = 0; i < sizeof categories / sizeof *categories; i++) {
        if (same_name(categories[i].brief, name, n) || same_name(categories[i].full, name, n)) {
            sondep_set_add_kind(set, 0, categories[i].first, categories[i].last);
            return true;
        }
    }
    if (same_name("White_Space", name, n)) {
        sondep_set_add_kind(set, SONDEP_UNICODE_SPACE, 1, 0);
        return true;
    }
    return add_ranges(set, name, n, 0);
}

/* The members of a ring are each other's cases; (?i) takes any for any. */
void sondep_set_fold(sondep_set *set)
{
    /* Rings are short: going once around from each member finds all of them. */
    for (int round = 0; round < 4; round++)
        for (int i = 0; i < sondep_unicode_n_cased; i++)
            if (sondep_set_has(set, sondep_unicode_cased[i].first))
                sondep_set_add(set, sondep_unicode_cased[i].last, sondep_unicode_cased[i].last);
}
