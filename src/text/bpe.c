/* bpe.c - byte-pair encoding: the model's tables.                               floor 3: text
 *
 * Merges are found by a pair of ids in an open-addressed table. Beside it lie two sets of neighbours: which bytes, and
 * which characters, ever stand side by side inside a merged token. A long word may be cut wherever its two neighbours
 * are in no set, since no merge can cross that place; for Llama-2, whose whole text is one word, that is before every
 * space.
 */
#include "text/bpe.h"

#include "text/unicode.h"

#include <stdio.h>

/* ---- bytes as characters ---------------------------------------------------------------------------------------- */

/* Bytes that print stand for themselves, the others for 0x100, 0x101, ... in order. */
static bool byte_prints(int byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

/* The three stretches of bytes that do not print (0 to 0x20, 0x7f to 0xa0, 0xad) follow one another from 0x100 on. */
uint32_t sondep_byte_char(unsigned char byte)
{
    if (byte_prints(byte))
        return byte;
    return byte <= 0x20 ? 0x100u + byte : byte <= 0xa0 ? 0x121u + (byte - 0x7fu) : 0x143u;
}

/* The reverse, stretch by stretch. */
int sondep_char_byte(uint32_t c)
{
    if (c < 0x100)
        return byte_prints((int)c) ? (int)c : -1;
    if (c <= 0x120)
        return (int)c - 0x100;
    return c <= 0x142 ? (int)c - 0x121 + 0x7f : c == 0x143 ? 0xad : -1;
}

/* ---- merges ----------------------------------------------------------------------------------------------------- */

/* All that the tables hold; the struct is zero then. */
void sondep_bpe_release(sondep_bpe *m)
{
    sondep_vocab_release(&m->vocab);
    sondep_free(m->merges);
    sondep_free(m->ranks);
    sondep_free(m->unk_token);
    sondep_free(m->prefix);
    sondep_free(m->suffix);
    sondep_free(m->char_pairs);
    sondep_free(m->char_ids);
    *m = (sondep_bpe){0};
}

/* Tables of single bytes and characters, so that the hot loops look nothing up by string. */
sonde_status sondep_bpe_start(sondep_bpe *m)
{
    for (int b = 0; b < 256; b++) {
        char text[8];
        int n = sondep_utf8_encode(text, sondep_byte_char((unsigned char)b));
        m->byte_ids[b] = sondep_vocab_id(&m->vocab, text, (size_t)n);
        n = snprintf(text, sizeof text, "<0x%02X>", (unsigned)b);
        m->fallback_ids[b] = sondep_vocab_id(&m->vocab, text, (size_t)n);
    }
    SONDE_TRY(SONDE_NEW(m->char_ids, SONDEP_CHAR_IDS));
    memset(m->char_ids, 0xff, SONDEP_CHAR_IDS * sizeof *m->char_ids);
    for (int64_t i = 0; i < m->vocab.n; i++) {
        const sondep_entry *e = &m->vocab.entries[i];
        uint32_t c;
        if (e->n > 0 && e->n <= 4 && sondep_utf8_decode(&c, m->vocab.blob + e->at, e->n) == (int)e->n && c < SONDEP_CHAR_IDS)
            m->char_ids[c] = e->id;
    }
    m->may_cut = !m->vocab.has_duplicate_ids && m->prefix_bytes == 0 && m->suffix_bytes == 0;
    return SONDE_NEW(m->char_pairs, ((int64_t)1 << SONDEP_CHAR_PAIRS_BITS) / 64);
}

/* Bit of a pair of characters in the hashed set: a false hit costs a cut, never a result. */
static uint32_t hash_chars(uint32_t first, uint32_t second)
{
    return ((first * 0x9e3779b1u) ^ (second * 0x85ebca6bu + (second >> 3))) >> (32 - SONDEP_CHAR_PAIRS_BITS);
}

/* Notes the neighbours inside a merged token. */
static void note_neighbours(sondep_bpe *m, const char *text, size_t n)
{
    int64_t previous = -1;
    int length;

    for (size_t i = 0; i < n; i += (size_t)length) {
        uint32_t c = sondep_utf8_next(&length, text + i);
        if (previous >= 0) {
            int first = sondep_char_byte((uint32_t)previous), second = sondep_char_byte(c);
            uint32_t bit = hash_chars((uint32_t)previous, c);
            m->char_pairs[bit / 64] |= (uint64_t)1 << bit % 64;
            if (first >= 0 && second >= 0)
                m->byte_pairs[(first << 8 | second) / 64] |= (uint64_t)1 << second % 64;
        }
        previous = c;
    }
}

/* The merged string is left + right without its prefix; files list merges in the order of the tokens that they make,
 * so that the next entry is a good guess. */
sonde_status sondep_bpe_add_merge(sondep_bpe *m, int32_t left, int32_t right, sondep_string *joined)
{
    const sondep_entry *a = &m->vocab.entries[left], *b = &m->vocab.entries[right];
    size_t cut = b->n < m->prefix_bytes ? b->n : m->prefix_bytes;
    int32_t entry;

    joined->n = 0;
    SONDE_TRY(sondep_string_append(joined, m->vocab.blob + a->at, a->n));
    SONDE_TRY(sondep_string_append(joined, m->vocab.blob + b->at + cut, b->n - cut));
    entry = sondep_vocab_find_near(&m->vocab, m->next_joined, joined->text, joined->n);
    if (entry < 0)
        return SONDE_E_NOTFOUND;
    m->next_joined = entry + 1;
    SONDE_TRY(sondep_grow(&m->ranks, &m->ranks_capacity, m->n_ranks + 1, sizeof *m->ranks));
    m->ranks[m->n_ranks].pair = (uint64_t)(uint32_t)a->id << 32 | (uint32_t)b->id;
    m->ranks[m->n_ranks++].id = m->vocab.entries[entry].id;
    note_neighbours(m, joined->text, joined->n);
    return SONDE_OK;
}

/* At most three quarters full: look-ups that fail, and most do, end at the first free slot. */
sonde_status sondep_bpe_finish(sondep_bpe *m)
{
    uint64_t mask;

    m->n_merges = 16;
    while (m->n_merges * 3 < m->n_ranks * 4)
        m->n_merges *= 2;
    mask = (uint64_t)m->n_merges - 1;
    SONDE_TRY(SONDE_NEW(m->merges, m->n_merges));
    memset(m->merges, 0xff, (size_t)m->n_merges * sizeof *m->merges);
    for (int64_t rank = 0; rank < m->n_ranks; rank++) {
        uint64_t pair = m->ranks[rank].pair, at = sondep_hash_pair(pair) & mask;
        while (m->merges[at].pair != pair && m->merges[at].pair != UINT64_MAX)
            at = (at + 1) & mask;
        m->merges[at] =
            (sondep_merge){pair, (uint32_t)rank, m->ranks[rank].id}; /* a pair that comes again: the later rank */
    }
    return SONDE_OK;
}

/* ---- where a long word may be cut ------------------------------------------------------------------------------- */

/* The exact set of 65536 pairs. Bytes outside the vocabulary may be fused or dropped: no cut beside those. */
static int64_t cut_bytes(const sondep_bpe *m, const unsigned char *text, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        unsigned pair = (unsigned)text[i - 1] << 8 | text[i];
        if (!(m->byte_pairs[pair / 64] >> pair % 64 & 1) && m->byte_ids[text[i - 1]] >= 0 && m->byte_ids[text[i]] >= 0)
            return i;
    }
    return n;
}

/* Whether a character is a token by itself; text[0..length) is its UTF-8. */
static bool is_known(const sondep_bpe *m, uint32_t c, const char *text, int length)
{
    return c < SONDEP_CHAR_IDS ? m->char_ids[c] >= 0 : sondep_vocab_find(&m->vocab, text, (size_t)length) >= 0;
}

/* A merge that crosses a place makes a token in which the two characters beside it are neighbours; where no merged
 * token has such neighbours, none can. */
int64_t sondep_bpe_cut(const sondep_bpe *m, const char *text, int64_t n, bool is_raw)
{
    uint32_t previous, c;
    int length, previous_length;

    if (!m->may_cut)
        return n;
    if (is_raw)
        return cut_bytes(m, (const unsigned char *)text, n);
    previous = sondep_utf8_next(&previous_length, text);
    for (int64_t i = previous_length; i < n; i += length) {
        uint32_t bit;
        c = sondep_utf8_next(&length, text + i);
        bit = hash_chars(previous, c);
        /* Characters outside the vocabulary may be fused with others like them: no cut beside those. */
        if (!(m->char_pairs[bit / 64] >> bit % 64 & 1) &&
            is_known(m, previous, text + i - previous_length, previous_length) && is_known(m, c, text + i, length))
            return i;
        previous = c;
        previous_length = length;
    }
    return n;
}
