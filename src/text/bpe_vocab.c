/* bpe_vocab.c - the vocabulary: strings to ids and back.                        floor 3: text
 *
 * Strings lie one after another in a blob, found by an open-addressed table of entry numbers.
 *
 * A slot holds the hash beside the number, so that a look-up touches the entry and its string only when it will be
 * found. What is found by id goes through a table as long as the highest id; ids are limited (SONDEP_MAX_ID) before
 * they come here, so that a hostile file cannot ask for much.
 */
#include "text/bpe.h"

/* FNV-like, eight bytes at a time; the strings are short. */
uint32_t sondep_hash_bytes(const char *text, size_t n)
{
    uint64_t h = 0x9e3779b97f4a7c15u ^ n, word;
    for (; n >= 8; n -= 8, text += 8) {
        memcpy(&word, text, 8);
        h = (h ^ word) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    for (word = 0; n > 0; n--)
        word = word << 8 | (unsigned char)text[n - 1];
    h = (h ^ word) * 0xc4ceb9fe1a85ec53u;
    return (uint32_t)(h ^ h >> 29);
}

/* All that the vocabulary holds; the struct is zero then. */
void sondep_vocab_release(sondep_vocab *v)
{
    sondep_free(v->blob);
    sondep_free(v->entries);
    sondep_free(v->slots);
    sondep_free(v->by_id);
    *v = (sondep_vocab){0};
}

/* The slot of a string: its own, or the free one where it would go. */
static struct sondep_slot *find_slot(const sondep_vocab *v, const char *text, size_t n, uint32_t hash)
{
    uint32_t mask = (uint32_t)v->n_slots - 1, at = hash & mask;
    for (; v->slots[at].entry != 0; at = (at + 1) & mask) {
        const sondep_entry *e = &v->entries[v->slots[at].entry - 1];
        if (v->slots[at].hash == hash && e->n == n && memcmp(v->blob + e->at, text, n) == 0)
            break;
    }
    return &v->slots[at];
}

/* Twice as many slots, when half are taken. */
static sonde_status grow_slots(sondep_vocab *v)
{
    struct sondep_slot *slots;
    int64_t n_slots = v->n_slots ? 2 * v->n_slots : 1024;

    if (v->n_slots > 2 * (v->n + 1))
        return SONDE_OK;
    SONDE_TRY(SONDE_NEW(slots, n_slots));
    /* hashes are kept with the entries: no string is read again */
    for (int64_t i = 0; i < v->n; i++) {
        uint32_t at = v->entries[i].hash & ((uint32_t)n_slots - 1);
        while (slots[at].entry != 0)
            at = (at + 1) & ((uint32_t)n_slots - 1);
        slots[at] = (struct sondep_slot){v->entries[i].hash, (int32_t)i + 1};
    }
    sondep_free(v->slots);
    v->slots = slots;
    v->n_slots = n_slots;
    return SONDE_OK;
}

/* Room for one more entry, and n more bytes and a NUL in the blob. Places in the blob are 32 bits wide. */
static sonde_status grow_storage(sondep_vocab *v, size_t n)
{
    SONDE_TRY(sondep_grow(&v->entries, &v->capacity, v->n + 1, sizeof *v->entries));
    if (v->blob_capacity - v->blob_bytes < n + 1) {
        size_t capacity = 2 * v->blob_capacity + n + 4096;
        char *blob = capacity < UINT32_MAX ? sondep_resize(v->blob, (int64_t)capacity, 1) : NULL;
        if (capacity >= UINT32_MAX)
            return SONDE_FAIL(SONDE_E_RANGE, "a vocabulary of %zu bytes is too large", capacity);
        if (blob == NULL)
            return SONDE_E_NOMEM;
        v->blob = blob;
        v->blob_capacity = capacity;
    }
    return SONDE_OK;
}

/* A string that comes twice keeps its entry and takes the later id, as the last of two equal keys of an object does. */
sonde_status sondep_vocab_put(sondep_vocab *v, const char *text, size_t n, int32_t id)
{
    uint32_t hash = sondep_hash_bytes(text, n);
    struct sondep_slot *slot;

    SONDE_TRY(grow_slots(v));
    slot = find_slot(v, text, n, hash);
    if (slot->entry != 0) {
        v->entries[slot->entry - 1].id = id;
        return SONDE_OK;
    }
    SONDE_TRY(grow_storage(v, n));
    if (n > 0)
        memcpy(v->blob + v->blob_bytes, text, n);
    v->blob[v->blob_bytes + n] = '\0';
    v->entries[v->n] = (sondep_entry){(uint32_t)v->blob_bytes, (uint32_t)n, hash, id};
    v->blob_bytes += n + 1;
    *slot = (struct sondep_slot){hash, (int32_t)++v->n};
    return SONDE_OK;
}

/* Of two strings with one id the later is found by it; which one the library finds is a matter of chance. */
sonde_status sondep_vocab_finish(sondep_vocab *v)
{
    int64_t n_ids = 0;

    SONDE_TRY(grow_slots(v)); /* so that an empty vocabulary can be asked too */
    for (int64_t i = 0; i < v->n; i++)
        n_ids = v->entries[i].id >= n_ids ? v->entries[i].id + (int64_t)1 : n_ids;
    sondep_free(v->by_id);
    v->by_id = NULL;
    SONDE_TRY(SONDE_NEW(v->by_id, n_ids));
    v->n_ids = n_ids;
    memset(v->by_id, 0xff, (size_t)n_ids * sizeof *v->by_id);
    for (int64_t i = 0; i < v->n; i++) {
        v->has_duplicate_ids |= v->by_id[v->entries[i].id] >= 0;
        v->by_id[v->entries[i].id] = (int32_t)i;
    }
    return SONDE_OK;
}

/* One look at the slots; the hash that lies beside the entry keeps misses away from the strings. */
int32_t sondep_vocab_find(const sondep_vocab *v, const char *text, size_t n)
{
    return find_slot(v, text, n, sondep_hash_bytes(text, n))->entry - 1;
}

/* The guess costs one comparison in memory that was just touched. */
int32_t sondep_vocab_find_near(const sondep_vocab *v, int32_t guess, const char *text, size_t n)
{
    if (guess >= 0 && guess < v->n && v->entries[guess].n == n && memcmp(v->blob + v->entries[guess].at, text, n) == 0)
        return guess;
    return sondep_vocab_find(v, text, n);
}

/* The same as an id. */
int32_t sondep_vocab_id(const sondep_vocab *v, const char *text, size_t n)
{
    int32_t entry = sondep_vocab_find(v, text, n);
    return entry < 0 ? -1 : v->entries[entry].id;
}
