/* bpe_vocab.c - the vocabulary: strings to ids and back.                        floor 3: text
 *
 * Strings lie one after another in a blob, found by an open-addressed table of entry numbers.
 */
#include "text/bpe.h"

/* FNV-like, eight bytes at a time; the strings are short. */
static uint64_t hash_bytes(const char *text, size_t n)
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
    return h ^ h >> 29;
}

void sondep_vocab_release(sondep_vocab *v)
{
    sondep_free(v->blob);
    sondep_free(v->entries);
    sondep_free(v->slots);
    sondep_free(v->by_id);
    *v = (sondep_vocab){0};
}

/* The slot of a string: its own, or the free one where it would go. */
static int64_t find_slot(const sondep_vocab *v, const char *text, size_t n)
{
    uint64_t mask = (uint64_t)v->n_slots - 1, at = hash_bytes(text, n) & mask;
    for (; v->slots[at] != 0; at = (at + 1) & mask) {
        const sondep_entry *e = &v->entries[v->slots[at] - 1];
        if (e->n == n && memcmp(v->blob + e->at, text, n) == 0)
            break;
    }
    return (int64_t)at;
}

/* Twice as many slots, when half are taken. */
static sonde_status grow_slots(sondep_vocab *v)
{
    int32_t *old = v->slots;
    int64_t n_old = v->n_slots;

    if (v->n_slots > 2 * (v->n + 1))
        return SONDE_OK;
    v->n_slots = v->n_slots ? 2 * v->n_slots : 1024;
    if (SONDE_NEW(v->slots, v->n_slots) != SONDE_OK) {
        v->slots = old;
        v->n_slots = n_old;
        return SONDE_E_NOMEM;
    }
    for (int64_t i = 0; i < v->n; i++)
        v->slots[find_slot(v, v->blob + v->entries[i].at, v->entries[i].n)] = (int32_t)i + 1;
    sondep_free(old);
    return SONDE_OK;
}

static sonde_status grow_storage(sondep_vocab *v, size_t n)
{
    if (v->n == v->capacity) {
        int64_t capacity = v->capacity ? 2 * v->capacity : 1024;
        sondep_entry *entries = sondep_resize(v->entries, capacity, sizeof *entries);
        if (entries == NULL)
            return SONDE_E_NOMEM;
        v->entries = entries;
        v->capacity = capacity;
    }
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

sonde_status sondep_vocab_put(sondep_vocab *v, const char *text, size_t n, int32_t id)
{
    int64_t slot;

    SONDE_TRY(grow_slots(v));
    slot = find_slot(v, text, n);
    if (v->slots[slot] != 0) {
        v->entries[v->slots[slot] - 1].id = id;
        return SONDE_OK;
    }
    SONDE_TRY(grow_storage(v, n));
    if (n > 0)
        memcpy(v->blob + v->blob_bytes, text, n);
    v->blob[v->blob_bytes + n] = '\0';
    v->entries[v->n] = (sondep_entry){(uint32_t)v->blob_bytes, (uint32_t)n, id};
    v->blob_bytes += n + 1;
    v->slots[slot] = (int32_t)++v->n;
    return SONDE_OK;
}

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

int32_t sondep_vocab_find(const sondep_vocab *v, const char *text, size_t n)
{
    return v->slots[find_slot(v, text, n)] - 1;
}

int32_t sondep_vocab_id(const sondep_vocab *v, const char *text, size_t n)
{
    int32_t entry = sondep_vocab_find(v, text, n);
    return entry < 0 ? -1 : v->entries[entry].id;
}
