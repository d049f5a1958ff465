/* text/bpe_train.h - learning merges from texts.                                 floor 3: text
 *
 *   texts -> words with how often each occurs -> pairs of neighbours, counted -> the commonest pair merged, again and again
 *
 * as the BpeTrainer of the `tokenizers` library learns them, merge for merge. Words are raw bytes here; what they are in
 * the vocabulary, a printable character for each byte, is written when a token is made.
 */
#ifndef SONDEP_BPE_TRAIN_H
#define SONDEP_BPE_TRAIN_H

#include "text/bpe.h"
#include "text/tokenizer.h"

/* ---- words -------------------------------------------------------------------------------------------------------- */

typedef struct sondep_word {
    int64_t at, n; /* its bytes are blob[at .. at + n) */
    int64_t count;
    uint32_t hash;
} sondep_word;

/* Different words and how often each was met. Zero-initialise. */
typedef struct sondep_words {
    char *blob;
    int64_t blob_bytes, blob_capacity;
    sondep_word *items;
    int64_t n, capacity;
    struct sondep_slot *slots; /* open addressing; n_slots is a power of two */
    int64_t n_slots;
} sondep_words;

void sondep_words_release(sondep_words *words);

/* `count` more of a word. Errors: SONDE_E_NOMEM, SONDE_E_RANGE (2^31 different words). */
sonde_status sondep_words_add(sondep_words *words, const char *text, int64_t n, int64_t count);

/* Texts that lie one behind the other: text i ends where text i + 1 begins. */
typedef struct sondep_texts {
    const char *bytes;   /* UTF-8 */
    const int64_t *ends; /* (n) */
    int64_t n;
} sondep_texts;

/* The words of texts as a known pattern cuts them, counted by all threads, each into a table of its own (n_tables of
 * them, at least as many as there are threads). Which table a word goes to is a matter of chance, the sum is not. */
sonde_status sondep_words_count(sondep_words *tables, int64_t n_tables, const sondep_texts *texts,
                                const sondep_pattern *pattern);

/* ---- merges ------------------------------------------------------------------------------------------------------- */

typedef struct sondep_learned_merge {
    int32_t left, right;
} sondep_learned_merge;

/* What is learnt: tokens in the order of their ids, as they stand in a file, and merges by rank. Zero-initialise. */
typedef struct sondep_learned {
    sondep_vocab vocab;
    sondep_learned_merge *merges;
    int64_t n_merges, capacity;
} sondep_learned;

void sondep_learned_release(sondep_learned *learned);

/* Adds merges to a vocabulary that holds the 256 bytes until it has n_vocab tokens or no pair is met min_frequency times.
 * Errors: SONDE_E_NOMEM, SONDE_E_RANGE (more than 2^32 places of pairs), SONDE_E_INTERRUPTED. */
sonde_status sondep_learn(sondep_learned *learned, const sondep_words *words, int64_t n_vocab, int64_t min_frequency);

#endif
