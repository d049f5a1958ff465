/* unicode.c - look-ups in the generated tables; Hangul by arithmetic.           floor 3: text
 *
 * Sorted tables are searched by halves; a look-up happens for the few characters that a normal form may change, never
 * for each character of a text. The 11172 Hangul syllables are in no table: they are consonant, vowel and consonant by
 * formula (Unicode, section 3.12).
 */
#include "text/unicode.h"

enum { HANGUL = 0xac00, HANGUL_L = 0x1100, HANGUL_V = 0x1161, HANGUL_T = 0x11a7 };
enum { N_L = 19, N_V = 21, N_T = 28, N_HANGUL = N_L * N_V * N_T };

/* Binary search in a sorted table of a few thousand. */
const uint32_t *sondep_unicode_map_of(int *n, const sondep_unicode_map *map, uint32_t c)
{
    int low = 0, high = map->n;
    while (low < high) {
        int middle = (low + high) / 2;
        if (map->keys[middle] < c)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == map->n || map->keys[low] != c)
        return NULL;
    *n = map->starts[low + 1] - map->starts[low];
    return map->pool + map->starts[low];
}

/* Hangul first: leading consonant + vowel, then syllable + trailing consonant. */
uint32_t sondep_unicode_compose(uint32_t first, uint32_t second)
{
    int low = 0, high = sondep_unicode_n_pairs;

    if (first - HANGUL_L < N_L && second - HANGUL_V < N_V)
        return HANGUL + ((first - HANGUL_L) * N_V + (second - HANGUL_V)) * N_T;
    if (first - HANGUL < N_HANGUL && (first - HANGUL) % N_T == 0 && second - HANGUL_T - 1 < N_T - 1)
        return first + (second - HANGUL_T);
    while (low < high) {
        int middle = (low + high) / 2;
        const sondep_unicode_pair *pair = &sondep_unicode_pairs[middle];
        if (pair->first < first || (pair->first == first && pair->second < second))
            low = middle + 1;
        else
            high = middle;
    }
    if (low == sondep_unicode_n_pairs || sondep_unicode_pairs[low].first != first ||
        sondep_unicode_pairs[low].second != second)
        return 0;
    return sondep_unicode_pairs[low].composed;
}

/* Tables hold full decompositions, so that nothing is to be done twice. */
int sondep_unicode_decompose(uint32_t out[SONDEP_UNICODE_LONGEST], uint32_t c, bool compatible)
{
    const uint32_t *parts;
    int n = 0;

    if (c - HANGUL < N_HANGUL) {
        uint32_t t = (c - HANGUL) % N_T;
        out[0] = HANGUL_L + (c - HANGUL) / (N_V * N_T);
        out[1] = HANGUL_V + (c - HANGUL) / N_T % N_V;
        out[2] = HANGUL_T + t;
        return t ? 3 : 2;
    }
    /* what is in no table stands for itself */
    parts = sondep_unicode_map_of(&n, compatible ? &sondep_unicode_compatible : &sondep_unicode_canonical, c);
    if (parts == NULL) {
        out[0] = c;
        return 1;
    }
    memcpy(out, parts, (size_t)n * sizeof *out);
    return n;
}
