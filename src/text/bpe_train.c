/* bpe_train.c - learning merges from counted words.                              floor 3: text
 *
 * Each step takes the commonest pair of neighbours (of equals the smaller pair of ids), makes a token of it and replaces it
 * in the words in which it was seen. Counts of pairs change at once; the queue is put right when an entry comes to its
 * top with a count that no longer holds.
 *
 * A pair is queued once, with all its words. Whatever becomes a token at last, the borders at its two ends were never
 * crossed before, so that what happened between them is what happens to these bytes by themselves: equal bytes become a
 * token by the same merges, in the same step. So all places where two tokens are neighbours appear in one step too, the one
 * that makes the younger of them, and no merge comes twice.
 *
 * Source: Sennrich, Haddow, Birch 2016, "Neural machine translation of rare words with subword units"; the trainer of
 * `tokenizers`. Counts are 64 bits wide where the library's are 32.
 */
#include "text/bpe_train.h"

/* A pair of neighbours. */
typedef struct pair_count {
    uint64_t pair; /* left << 32 | right */
    int64_t count;
    uint32_t places; /* words in which it appeared and that are not queued yet: a list of places, 0 if none */
} pair_count;

/* A list of words. */
typedef struct place {
    uint32_t word, next; /* next: 0 ends the list */
} place;

/* A pair that waits to be merged in the words of its list. */
typedef struct queued {
    int64_t count; /* when it was queued */
    uint64_t pair;
    uint32_t index, places;
} queued;

/* The tokens of one word: symbols[at .. at + n). */
typedef struct split_word {
    int64_t at, n, count;
} split_word;

typedef struct learner {
    sondep_learned *out;
    split_word *words;
    int32_t *symbols;
    pair_count *pairs;
    int64_t n_pairs, pairs_capacity;
    uint32_t *slots; /* number of a pair + 1; 0: free. Open addressing; n_slots is a power of two */
    int64_t n_slots;
    place *places; /* places[0] is none */
    int64_t n_places, places_capacity;
    uint32_t free_place; /* places that were given back */
    queued *heap;
    int64_t n_heap, heap_capacity;
    uint32_t *touched; /* pairs that have places to be queued */
    int64_t n_touched, touched_capacity;
    sondep_string token;
} learner;

/* The words and what is learnt are the caller's. */
static void release(learner *l)
{
    sondep_free(l->words);
    sondep_free(l->symbols);
    sondep_free(l->pairs);
    sondep_free(l->slots);
    sondep_free(l->places);
    sondep_free(l->heap);
    sondep_free(l->touched);
    sondep_string_release(&l->token);
}

void sondep_learned_release(sondep_learned *learned)
{
    sondep_vocab_release(&learned->vocab);
    sondep_free(learned->merges);
    *learned = (sondep_learned){0};
}

/* ---- the queue ---------------------------------------------------------------------------------------------------- */

/* Whether a is taken before b. */
static inline bool goes_first(const queued *a, const queued *b)
{
    return a->count != b->count ? a->count > b->count : a->pair < b->pair;
}

/* Puts an entry where it belongs, from the free place `at` downwards. */
static void sift_down(learner *l, queued entry)
{
    int64_t at = 0, child;

    while ((child = 2 * at + 1) < l->n_heap) {
        if (child + 1 < l->n_heap && goes_first(&l->heap[child + 1], &l->heap[child]))
            child++;
        if (!goes_first(&l->heap[child], &entry))
            break;
        l->heap[at] = l->heap[child];
        at = child;
    }
    l->heap[at] = entry;
}

/* A heap: the parent of entry i is (i - 1) / 2. */
static sonde_status push(learner *l, queued entry)
{
    int64_t at = l->n_heap;

    SONDE_TRY(sondep_grow(&l->heap, &l->heap_capacity, l->n_heap + 1, sizeof *l->heap));
    l->n_heap++;
    for (; at > 0 && goes_first(&entry, &l->heap[(at - 1) / 2]); at = (at - 1) / 2)
        l->heap[at] = l->heap[(at - 1) / 2];
    l->heap[at] = entry;
    return SONDE_OK;
}

/* Takes the first entry whose count holds; those that are met before it are queued with theirs. False if there is none. */
static bool pop(queued *out, learner *l)
{
    while (l->n_heap > 0) {
        *out = l->heap[0];
        if (out->count == l->pairs[out->index].count) {
            queued last = l->heap[--l->n_heap];
            if (l->n_heap > 0)
                sift_down(l, last);
            return true;
        }
        out->count = l->pairs[out->index].count;
        sift_down(l, *out);
    }
    return false;
}

/* ---- pairs -------------------------------------------------------------------------------------------------------- */

/* Twice as many slots, when half are taken. */
static sonde_status grow_slots(learner *l)
{
    int64_t n_slots = l->n_slots ? 2 * l->n_slots : 4096;
    uint32_t *slots;

    if (l->n_slots > 2 * l->n_pairs)
        return SONDE_OK;
    SONDE_TRY(SONDE_NEW(slots, n_slots));
    for (int64_t i = 0; i < l->n_pairs; i++) {
        uint64_t at = sondep_hash_pair(l->pairs[i].pair) & (uint64_t)(n_slots - 1);
        while (slots[at] != 0)
            at = (at + 1) & (uint64_t)(n_slots - 1);
        slots[at] = (uint32_t)i + 1;
    }
    sondep_free(l->slots);
    l->slots = slots;
    l->n_slots = n_slots;
    return SONDE_OK;
}

/* Number of a pair, which is added if it was never met. */
static sonde_status find_pair(uint32_t *out, learner *l, uint64_t pair)
{
    uint64_t at;

    SONDE_TRY(grow_slots(l));
    for (at = sondep_hash_pair(pair); l->slots[at &= (uint64_t)(l->n_slots - 1)] != 0; at++) {
        *out = l->slots[at] - 1;
        if (l->pairs[*out].pair == pair)
            return SONDE_OK;
    }
    if (l->n_pairs == UINT32_MAX - 1)
        return SONDE_FAIL(SONDE_E_RANGE, "the texts have more than %u different pairs", UINT32_MAX - 1);
    SONDE_TRY(sondep_grow(&l->pairs, &l->pairs_capacity, l->n_pairs + 1, sizeof *l->pairs));
    l->pairs[l->n_pairs] = (pair_count){pair, 0, 0};
    *out = (uint32_t)l->n_pairs++;
    l->slots[at] = *out + 1;
    return SONDE_OK;
}

/* A place of a list, one that was given back if there is one. */
static sonde_status take_place(uint32_t *out, learner *l)
{
    *out = l->free_place;
    if (*out != 0) {
        l->free_place = l->places[*out].next;
        return SONDE_OK;
    }
    if (l->n_places > UINT32_MAX)
        return SONDE_FAIL(SONDE_E_RANGE, "the words have more than %u places of pairs", UINT32_MAX);
    SONDE_TRY(sondep_grow(&l->places, &l->places_capacity, l->n_places + 1, sizeof *l->places));
    *out = (uint32_t)l->n_places++;
    return SONDE_OK;
}

/* Gives a place back and returns the next of its list. */
static uint32_t give_place(learner *l, uint32_t at)
{
    uint32_t next = l->places[at].next;
    l->places[at].next = l->free_place;
    l->free_place = at;
    return next;
}

/* A pair that appears in a word, as often as the word does. A word that is in the list already is its first. */
static sonde_status add_pair(learner *l, int32_t left, int32_t right, int64_t word)
{
    uint32_t index, at;
    pair_count *p;

    SONDE_TRY(find_pair(&index, l, (uint64_t)left << 32 | (uint32_t)right));
    p = &l->pairs[index];
    p->count += l->words[word].count;
    if (p->places != 0 && l->places[p->places].word == word)
        return SONDE_OK;
    if (p->places == 0) {
        SONDE_TRY(sondep_grow(&l->touched, &l->touched_capacity, l->n_touched + 1, sizeof *l->touched));
        l->touched[l->n_touched++] = index;
    }
    SONDE_TRY(take_place(&at, l));
    l->places[at] = (place){(uint32_t)word, p->places};
    p->places = at;
    return SONDE_OK;
}

/* A pair that goes from a word. */
static sonde_status remove_pair(learner *l, int32_t left, int32_t right, int64_t word)
{
    uint32_t index;
    SONDE_TRY(find_pair(&index, l, (uint64_t)left << 32 | (uint32_t)right));
    l->pairs[index].count -= l->words[word].count;
    return SONDE_OK;
}

/* Queues the pairs that appeared in this step, with the words in which they did. */
static sonde_status queue_touched(learner *l)
{
    for (int64_t i = 0; i < l->n_touched; i++) {
        pair_count *p = &l->pairs[l->touched[i]];
        if (p->count > 0)
            SONDE_TRY(push(l, (queued){p->count, p->pair, l->touched[i], p->places}));
        else
            for (uint32_t at = p->places; at != 0;)
                at = give_place(l, at);
        p->places = 0;
    }
    l->n_touched = 0;
    return SONDE_OK;
}

/* ---- merging ------------------------------------------------------------------------------------------------------ */

/* Replaces a pair by a token in one word, from the left; its neighbours' pairs change with it. */
static sonde_status merge_word(learner *l, int64_t word, int32_t left, int32_t right, int32_t id)
{
    split_word *w = &l->words[word];
    int32_t *s = l->symbols + w->at;
    int64_t kept = 0, i = 0;

    for (; i < w->n; i++, kept++) {
        if (s[i] != left || i + 1 == w->n || s[i + 1] != right) {
            s[kept] = s[i];
            continue;
        }
        if (kept > 0) {
            SONDE_TRY(remove_pair(l, s[kept - 1], left, word));
            SONDE_TRY(add_pair(l, s[kept - 1], id, word));
        }
        s[kept] = id;
        if (++i + 1 < w->n) {
            SONDE_TRY(remove_pair(l, right, s[i + 1], word));
            SONDE_TRY(add_pair(l, id, s[i + 1], word));
        }
    }
    w->n = kept;
    return SONDE_OK;
}

/* The id of the token that a pair makes, which is added unless its string is there already. */
static sonde_status make_token(int32_t *out, learner *l, int32_t left, int32_t right)
{
    sondep_vocab *v = &l->out->vocab;
    const sondep_entry *a = &v->entries[left], *b = &v->entries[right];

    l->token.n = 0;
    SONDE_TRY(sondep_string_append(&l->token, v->blob + a->at, a->n));
    SONDE_TRY(sondep_string_append(&l->token, v->blob + b->at, b->n));
    *out = sondep_vocab_id(v, l->token.text, l->token.n);
    if (*out >= 0)
        return SONDE_OK;
    *out = (int32_t)v->n;
    return sondep_vocab_put(v, l->token.text, l->token.n, *out);
}

/* One entry of the queue: a token, a merge, and the words. */
static sonde_status merge(learner *l, const queued *top)
{
    int32_t left = (int32_t)(top->pair >> 32), right = (int32_t)(uint32_t)top->pair, id;
    sondep_learned *out = l->out;

    SONDE_TRY(make_token(&id, l, left, right));
    SONDE_TRY(sondep_grow(&out->merges, &out->capacity, out->n_merges + 1, sizeof *out->merges));
    out->merges[out->n_merges++] = (sondep_learned_merge){left, right};
    for (uint32_t at = top->places; at != 0; at = give_place(l, at))
        SONDE_TRY(merge_word(l, l->places[at].word, left, right, id));
    return queue_touched(l);
}

/* ---- the whole ---------------------------------------------------------------------------------------------------- */

/* Words as the ids of their bytes, whose characters the vocabulary has. */
static sonde_status split_words(learner *l, const sondep_words *words)
{
    int32_t of_byte[256];
    char character[4];

    for (int b = 0; b < 256; b++) {
        int n = sondep_utf8_encode(character, sondep_byte_char((unsigned char)b));
        of_byte[b] = sondep_vocab_id(&l->out->vocab, character, (size_t)n);
        SONDE_ASSERT(of_byte[b] >= 0);
    }
    SONDE_TRY(SONDE_NEW(l->words, words->n));
    SONDE_TRY(SONDE_NEW(l->symbols, words->blob_bytes));
    for (int64_t i = 0; i < words->blob_bytes; i++)
        l->symbols[i] = of_byte[(unsigned char)words->blob[i]];
    for (int64_t i = 0; i < words->n; i++)
        l->words[i] = (split_word){words->items[i].at, words->items[i].n, words->items[i].count};
    return SONDE_OK;
}

/* All pairs of all words, queued. */
static sonde_status count_pairs(learner *l, int64_t n_words)
{
    /* place 0 stands for none */
    SONDE_TRY(sondep_grow(&l->places, &l->places_capacity, 1, sizeof *l->places));
    l->n_places = 1;
    for (int64_t i = 0; i < n_words; i++) {
        const int32_t *s = l->symbols + l->words[i].at;
        for (int64_t k = 0; k + 1 < l->words[i].n; k++)
            SONDE_TRY(add_pair(l, s[k], s[k + 1], i));
    }
    return queue_touched(l);
}

sonde_status sondep_learn(sondep_learned *learned, const sondep_words *words, int64_t n_vocab, int64_t min_frequency)
{
    learner l = {.out = learned};
    queued top;
    sonde_status status;

    SONDE_TRY_DONE(split_words(&l, words));
    SONDE_TRY_DONE(count_pairs(&l, words->n));
    while (learned->vocab.n < n_vocab && pop(&top, &l)) {
        if (top.count < 1 || top.count < min_frequency)
            break;
        if (sondep_interrupted()) {
            status = SONDE_FAIL(SONDE_E_INTERRUPTED, "interrupted after %lld merges", (long long)learned->n_merges);
            goto done;
        }
        SONDE_TRY_DONE(merge(&l, &top));
    }
done:
    release(&l);
    return status;
}
