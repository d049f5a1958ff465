/* bpe.c - byte-pair encoding: the model's tables.                               floor 3: text */
#include "text/bpe.h"

#include "text/unicode.h"

#include <stdio.h>

/* ---- bytes as characters ------------------------------------------------------------------------------------------- */

/* Bytes that print stand for themselves, the others for 0x100, 0x101, ... in order. */
static bool byte_prints(int byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

uint32_t sondep_byte_char(unsigned char byte)
{
    if (byte_prints(byte))
        return byte;
    return byte <= 0x20 ? 0x100u + byte : byte <= 0xa0 ? 0x121u + (byte - 0x7fu) : 0x143u;
}

int sondep_char_byte(uint32_t c)
{
    if (c < 0x100)
        return byte_prints((int)c) ? (int)c : -1;
    if (c <= 0x120)
        return (int)c - 0x100;
    return c <= 0x142 ? (int)c - 0x121 + 0x7f : c == 0x143 ? 0xad : -1;
}

/* ---- merges ------------------------------------------------------------------------------------------------------- */

void sondep_bpe_release(sondep_bpe *m)
{
    sondep_vocab_release(&m->vocab);
    sondep_free(m->merges);
    sondep_free(m->id_of_rank);
    sondep_free(m->unk_token);
    sondep_free(m->prefix);
    sondep_free(m->suffix);
    sondep_free(m->char_pairs);
    *m = (sondep_bpe){0};
}

sonde_status sondep_bpe_start(sondep_bpe *m, int64_t n_merges_at_most)
{
    for (int b = 0; b < 256; b++) {
        char text[8];
        int n = sondep_utf8_encode(text, sondep_byte_char((unsigned char)b));
        m->byte_ids[b] = sondep_vocab_id(&m->vocab, text, (size_t)n);
        n = snprintf(text, sizeof text, "<0x%02X>", (unsigned)b);
        m->fallback_ids[b] = sondep_vocab_id(&m->vocab, text, (size_t)n);
    }
    m->n_merges = 16;
    while (m->n_merges < 2 * n_merges_at_most)
        m->n_merges *= 2;
    m->may_cut = !m->vocab.has_duplicate_ids && m->prefix_bytes == 0 && m->suffix_bytes == 0;
    SONDE_TRY(SONDE_NEW(m->merges, m->n_merges));
    memset(m->merges, 0xff, (size_t)m->n_merges * sizeof *m->merges);
    SONDE_TRY(SONDE_NEW(m->id_of_rank, n_merges_at_most));
    return SONDE_NEW(m->char_pairs, ((int64_t)1 << SONDEP_CHAR_PAIRS_BITS) / 64);
}

static uint64_t hash_pair(uint64_t pair)
{
    pair *= 0x9e3779b97f4a7c15u;
    return pair ^ pair >> 32;
}

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

sonde_status sondep_bpe_add_merge(sondep_bpe *m, int32_t left, int32_t right, sondep_string *joined)
{
    const sondep_entry *a = &m->vocab.entries[left], *b = &m->vocab.entries[right];
    uint64_t pair = (uint64_t)(uint32_t)a->id << 32 | (uint32_t)b->id, mask = (uint64_t)m->n_merges - 1;
    uint64_t at = hash_pair(pair) & mask;
    size_t cut = b->n < m->prefix_bytes ? b->n : m->prefix_bytes;
    int32_t id;

    joined->n = 0;
    SONDE_TRY(sondep_string_append(joined, m->vocab.blob + a->at, a->n));
    SONDE_TRY(sondep_string_append(joined, m->vocab.blob + b->at + cut, b->n - cut));
    id = sondep_vocab_id(&m->vocab, joined->text, joined->n);
    if (id < 0)
        return SONDE_E_NOTFOUND;
    while (m->merges[at].pair != pair && m->merges[at].pair != UINT64_MAX)
        at = (at + 1) & mask;
    m->merges[at] = (sondep_merge){pair, (uint32_t)m->n_ranks, id}; /* a pair that comes again takes the later rank */
    m->id_of_rank[m->n_ranks++] = id;
    note_neighbours(m, joined->text, joined->n);
    return SONDE_OK;
}

/* ---- where a long word may be cut ------------------------------------------------------------------------------------- */

static int64_t cut_bytes(const sondep_bpe *m, const unsigned char *text, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        unsigned pair = (unsigned)text[i - 1] << 8 | text[i];
        if (!(m->byte_pairs[pair / 64] >> pair % 64 & 1) && m->byte_ids[text[i - 1]] >= 0 && m->byte_ids[text[i]] >= 0)
            return i;
    }
    return n;
}

static bool is_known(const sondep_bpe *m, const char *text, int length)
{
    return sondep_vocab_find(&m->vocab, text, (size_t)length) >= 0;
}

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
        if (!(m->char_pairs[bit / 64] >> bit % 64 & 1) && is_known(m, text + i - previous_length, previous_length) &&
            is_known(m, text + i, length))
            return i;
        previous = c;
        previous_length = length;
    }
    return n;
}
