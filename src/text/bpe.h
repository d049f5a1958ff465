/* text/bpe.h - byte-pair encoding of one word at a time.                         floor 3: text
 *
 * The model of a tokenizer.json: a vocabulary (string <-> id), ranked merges (pair of ids -> id), and what to do about
 * characters that are not in the vocabulary. A word is what the pre-tokenizer left together: a few letters for GPT-2,
 * the whole text for Llama-2.
 *
 * Byte-level words stay raw bytes here. The library first turns each byte into a printable character and looks that
 * up; we keep a table byte -> id of that character, so that the text is never rewritten.
 */
#ifndef SONDEP_BPE_H
#define SONDEP_BPE_H

#include "base/base.h"

/* ---- vocabulary ------------------------------------------------------------------------------------------------- */

uint32_t sondep_hash_bytes(const char *text, size_t n);

typedef struct sondep_entry {
    uint32_t at, n; /* its string is blob[at .. at + n), with a NUL behind it */
    uint32_t hash;
    int32_t id;
} sondep_entry;

typedef struct sondep_vocab {
    char *blob;
    size_t blob_bytes, blob_capacity;
    sondep_entry *entries;
    int64_t n, capacity;
    struct sondep_slot {
        uint32_t hash;
        int32_t entry; /* its number + 1; 0: free */
    } * slots;         /* open addressing; n_slots is a power of two */
    int64_t n_slots;
    int32_t *by_id; /* (n_ids) entry of an id, -1 if there is none */
    int64_t n_ids;  /* one more than the highest */
    bool has_duplicate_ids;
} sondep_vocab;

void sondep_vocab_release(sondep_vocab *v);

/* Adds a string, or changes its id; what is found by id is settled by sondep_vocab_finish. */
sonde_status sondep_vocab_put(sondep_vocab *v, const char *text, size_t n, int32_t id);
sonde_status sondep_vocab_finish(sondep_vocab *v);

/* Entry of a string, -1 if there is none. */
int32_t sondep_vocab_find(const sondep_vocab *v, const char *text, size_t n);

/* The same for a string that is probably entry `guess`, which is looked at first. */
int32_t sondep_vocab_find_near(const sondep_vocab *v, int32_t guess, const char *text, size_t n);

/* Id of a string, -1 if there is none. */
int32_t sondep_vocab_id(const sondep_vocab *v, const char *text, size_t n);

/* ---- the model -------------------------------------------------------------------------------------------------- */

enum { SONDEP_MAX_ID = (1 << 24) - 1, SONDEP_CHAR_IDS = 1 << 16 };

typedef struct sondep_merge {
    uint64_t pair; /* left << 32 | right; all ones: free */
    uint32_t rank;
    int32_t id;
} sondep_merge;

typedef struct sondep_bpe {
    sondep_vocab vocab;
    sondep_merge *merges; /* open addressing; n_merges is a power of two */
    int64_t n_merges;
    struct sondep_rank {
        uint64_t pair;
        int32_t id;
    } * ranks; /* merges by rank */
    int64_t n_ranks, ranks_capacity;
    int32_t next_joined;               /* the entry that the next merge probably makes: files list them in order */
    int32_t byte_ids[256];             /* of the character that stands for a byte, -1 */
    int32_t fallback_ids[256];         /* of "<0x00>" ... "<0xFF>", -1 */
    int32_t *char_ids;                 /* (SONDEP_CHAR_IDS) of the characters that are in the vocabulary by themselves, -1 */
    char *unk_token, *prefix, *suffix; /* owned; "" where the file has none, NULL for unk_token */
    size_t prefix_bytes, suffix_bytes;
    bool fuse_unk, byte_fallback, ignore_merges;
    bool may_cut;                    /* merges never cross a pair of neighbours that is not in the sets below */
    uint64_t byte_pairs[65536 / 64]; /* neighbours inside merged tokens, as raw bytes */
    uint64_t *char_pairs;            /* the same for characters, hashed: a superset */
} sondep_bpe;

static inline uint64_t sondep_hash_pair(uint64_t pair)
{
    pair *= 0x9e3779b97f4a7c15u;
    return pair ^ pair >> 32;
}

enum { SONDEP_CHAR_PAIRS_BITS = 18 };

void sondep_bpe_release(sondep_bpe *m);

/* Fills what follows from the vocabulary: tables of bytes. Call it before the merges are added. */
sonde_status sondep_bpe_start(sondep_bpe *m);

/* Adds the merge of the next rank; the entries are of the vocabulary. SONDE_E_NOTFOUND (nothing recorded) if the merged
 * string, left in *joined, is not in the vocabulary. */
sonde_status sondep_bpe_add_merge(sondep_bpe *m, int32_t left, int32_t right, sondep_string *joined);

/* Makes the table of merges when all are there. */
sonde_status sondep_bpe_finish(sondep_bpe *m);

/* The printable character that stands for a byte (GPT-2's table), and the reverse: -1 if it stands for none. */
uint32_t sondep_byte_char(unsigned char byte);
int sondep_char_byte(uint32_t c);

/* ---- encoding a word -------------------------------------------------------------------------------------------- */

/* A token of a word and the bytes [start, end) of the word that it owns. */
typedef struct sondep_symbol {
    int32_t id;
    uint32_t start, end;
} sondep_symbol;

/* Short words and their tokens, a cache line each; a word's two places follow from its hash, and a newcomer evicts. */
typedef struct sondep_cached {
    uint64_t key[4]; /* up to 31 bytes of the word, its length in the last */
    int32_t ids[6];
    uint8_t ends[6], n, unused;
} sondep_cached;

enum { SONDEP_CACHE_BITS = 15, SONDEP_CACHE_WORD = 31, SONDEP_CACHE_TOKENS = 6 };

/* Room that encoding needs; one thread uses it at a time. The tokens of the last word lie in symbols[0 .. n_symbols). */
typedef struct sondep_word_room {
    sondep_cached *cache; /* (1 << SONDEP_CACHE_BITS) */
    sondep_symbol *symbols;
    uint32_t *ranks;        /* of the merge with the next symbol */
    int32_t *next, *before; /* links between symbols while a heap is used */
    uint64_t *heap;
    int64_t n_symbols, capacity, n_heap, heap_capacity;
    sondep_string piece; /* a character with its prefix and suffix; a word in byte-level characters */
} sondep_word_room;

sonde_status sondep_word_room_init(sondep_word_room *room);
void sondep_word_room_release(sondep_word_room *room);

/* The whole word as one token into room->symbols, where the model says ignore_merges and the vocabulary has it; else
 * none. */
sonde_status sondep_bpe_whole(sondep_word_room *room, const sondep_bpe *m, const char *text, int64_t n, bool is_raw);

/* Tokens of one word, n >= 1 bytes of UTF-8 (or of raw bytes of UTF-8, is_raw), into room->symbols, in the library's
 * order. Words beyond 2^31 - 1 bytes are SONDE_E_RANGE. Does not look at the cache. */
sonde_status sondep_bpe_word(sondep_word_room *room, const sondep_bpe *m, const char *text, int64_t n, bool is_raw);

/* Length of the first part of text[0..n) that can be encoded by itself: merges never cross its end. */
int64_t sondep_bpe_cut(const sondep_bpe *m, const char *text, int64_t n, bool is_raw);

#endif
