/* bpe_word.c - byte-pair encoding: one word to its tokens.                      floor 3: text
 *
 * A word starts as one symbol per character; the pair of neighbours whose merge has the lowest rank (the leftmost of
 * equals) is merged until no pair has one. Short words look for the lowest rank in a small array each time. Long ones
 * keep candidates in a heap, whose stale entries are recognised when they come up, in the way the library recognises
 * them; the two ways differ only where two strings share an id, and then the heap is used for all.
 */
#include "text/bpe.h"

#include "text/unicode.h"

enum { SHORT_WORD = 96 };
static const uint32_t no_rank = UINT32_MAX;

/* ---- room ------------------------------------------------------------------------------------------------------- */

/* The cache is the only part that is there from the start: 2 MiB. */
sonde_status sondep_word_room_init(sondep_word_room *room)
{
    return SONDE_NEW(room->cache, (int64_t)1 << SONDEP_CACHE_BITS);
}

/* All that the room holds; the struct is zero then. */
void sondep_word_room_release(sondep_word_room *room)
{
    sondep_free(room->cache);
    sondep_free(room->symbols);
    sondep_free(room->ranks);
    sondep_free(room->next);
    sondep_free(room->before);
    sondep_free(room->heap);
    sondep_string_release(&room->piece);
    *room = (sondep_word_room){0};
}

/* The array whose pointer lies at `array`, with room for n elements. */
static sonde_status grow_array(void *array, int64_t n, size_t size)
{
    void *old, *grown;
    memcpy(&old, array, sizeof old);
    grown = sondep_resize(old, n, size);
    if (grown == NULL)
        return SONDE_E_NOMEM;
    memcpy(array, &grown, sizeof grown);
    return SONDE_OK;
}

/* Ranks grow with the symbols: each has one for the pair that it begins. */
static sonde_status grow_symbols(sondep_word_room *room)
{
    int64_t capacity = room->capacity ? 2 * room->capacity : 256;
    SONDE_TRY(grow_array(&room->symbols, capacity, sizeof *room->symbols));
    SONDE_TRY(grow_array(&room->ranks, capacity, sizeof *room->ranks));
    room->capacity = capacity;
    return SONDE_OK;
}

/* One more symbol of the word, bytes [start, end) of it. */
static sonde_status put_symbol(sondep_word_room *room, int32_t id, int64_t start, int64_t end)
{
    if (room->n_symbols == room->capacity)
        SONDE_TRY(grow_symbols(room));
    room->symbols[room->n_symbols++] = (sondep_symbol){id, (uint32_t)start, (uint32_t)end};
    return SONDE_OK;
}

/* ---- a word's first symbols ------------------------------------------------------------------------------------- */

/* The unknown token that is waiting: further unknown characters may be fused into it. The library lets characters that
 * fall back to bytes overtake it, and so do we. */
typedef struct unknown {
    bool is_waiting;
    int64_t start, end;
} unknown;

/* The waiting unknown token, if there is one, takes its place now. */
static sonde_status put_unknown(sondep_word_room *room, const sondep_bpe *m, unknown *u)
{
    int32_t id;
    if (!u->is_waiting)
        return SONDE_OK;
    u->is_waiting = false;
    id = sondep_vocab_id(&m->vocab, m->unk_token, strlen(m->unk_token));
    if (id < 0)
        return SONDE_FAIL(SONDE_E_FORMAT, "the tokenizer's unk_token '%s' is not in its vocabulary", m->unk_token);
    return put_symbol(room, id, u->start, u->end);
}

/* A character that is not in the vocabulary, as `text` (with prefix and suffix); its own bytes are [start, end). */
static sonde_status put_stranger(sondep_word_room *room, const sondep_bpe *m, unknown *u, const char *text, size_t n,
                                 int64_t start, int64_t end)
{
    bool falls_back = m->byte_fallback;

    for (size_t i = 0; i < n && falls_back; i++)
        falls_back = m->fallback_ids[(unsigned char)text[i]] >= 0;
    if (falls_back) {
        for (size_t i = 0; i < n; i++) {
            int64_t from = start + (int64_t)i < end ? start + (int64_t)i : end;
            SONDE_TRY(put_symbol(room, m->fallback_ids[(unsigned char)text[i]], from, from + (from < end)));
        }
        return SONDE_OK;
    }
    if (m->unk_token == NULL)
        return SONDE_OK; /* the library drops it */
    /* one unknown token for a run of unknown characters, or one for each */
    if (u->is_waiting && m->fuse_unk) {
        u->end = end;
        return SONDE_OK;
    }
    SONDE_TRY(put_unknown(room, m, u));
    *u = (unknown){true, start, end};
    return SONDE_OK;
}

/* A character as it is looked up, with the prefix of all but the first and the suffix of the last. */
static sonde_status dress(sondep_word_room *room, const sondep_bpe *m, const char **text, size_t *n, bool is_first,
                          bool is_last)
{
    room->piece.n = 0;
    if (!is_first)
        SONDE_TRY(sondep_string_append(&room->piece, m->prefix, m->prefix_bytes));
    SONDE_TRY(sondep_string_append(&room->piece, *text, *n));
    if (is_last)
        SONDE_TRY(sondep_string_append(&room->piece, m->suffix, m->suffix_bytes));
    *text = room->piece.text;
    *n = room->piece.n;
    return SONDE_OK;
}

/* A symbol for each character, or what stands in for it. */
static sonde_status split_chars(sondep_word_room *room, const sondep_bpe *m, const char *text, int64_t n)
{
    unknown u = {0};
    int length;

    for (int64_t i = 0; i < n; i += length) {
        const char *piece = text + i;
        size_t piece_bytes;
        int32_t id;
        uint32_t c = sondep_utf8_next(&length, piece);
        bool is_bare = (i == 0 || m->prefix_bytes == 0) && (i + length < n || m->suffix_bytes == 0);
        piece_bytes = (size_t)length;
        if (!is_bare)
            SONDE_TRY(dress(room, m, &piece, &piece_bytes, i == 0, i + length == n));
        id = is_bare && c < SONDEP_CHAR_IDS ? m->char_ids[c] : sondep_vocab_id(&m->vocab, piece, piece_bytes);
        if (id < 0) {
            SONDE_TRY(put_stranger(room, m, &u, piece, piece_bytes, i, i + length));
            continue;
        }
        SONDE_TRY(put_unknown(room, m, &u));
        SONDE_TRY(put_symbol(room, id, i, i + length));
    }
    return put_unknown(room, m, &u);
}

/* The same for raw bytes: each stands for one character of the byte-level alphabet. */
static sonde_status split_bytes(sondep_word_room *room, const sondep_bpe *m, const char *text, int64_t n)
{
    unknown u = {0};

    for (int64_t i = 0; i < n; i++) {
        int32_t id = m->byte_ids[(unsigned char)text[i]];
        char character[4];
        if (id >= 0) {
            SONDE_TRY(put_unknown(room, m, &u));
            SONDE_TRY(put_symbol(room, id, i, i + 1));
            continue;
        }
        SONDE_TRY(put_stranger(room, m, &u, character,
                               (size_t)sondep_utf8_encode(character, sondep_byte_char((unsigned char)text[i])), i, i + 1));
    }
    return put_unknown(room, m, &u);
}

/* ---- merging ---------------------------------------------------------------------------------------------------- */

/* The merge of two ids, NULL if there is none: most pairs have none. */
static inline const sondep_merge *find_merge(const sondep_bpe *m, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right, mask = (uint64_t)m->n_merges - 1;

    for (uint64_t at = sondep_hash_pair(pair) & mask; m->merges[at].pair != UINT64_MAX; at = (at + 1) & mask)
        if (m->merges[at].pair == pair)
            return &m->merges[at];
    return NULL;
}

/* Rank of the merge of two neighbours; no_rank sorts behind all. */
static inline uint32_t rank_of(const sondep_bpe *m, const sondep_symbol *left, const sondep_symbol *right)
{
    const sondep_merge *merge = find_merge(m, left->id, right->id);
    return merge ? merge->rank : no_rank;
}

/* The left symbol takes in the right one. Where the library let bytes overtake, they may lie in the other order. */
static inline void join(sondep_symbol *left, const sondep_symbol *right, int32_t id)
{
    left->id = id;
    left->start = right->start < left->start ? right->start : left->start;
    left->end = right->end > left->end ? right->end : left->end;
}

/* ranks[i] belongs to the pair (i, i + 1). Each round costs a pass over a few words of memory, which for short words
 * is less than any cleverer structure. */
static void merge_short(sondep_word_room *room, const sondep_bpe *m)
{
    sondep_symbol *s = room->symbols;
    uint32_t *ranks = room->ranks;
    int64_t n = room->n_symbols;

    for (int64_t i = 0; i + 1 < n; i++)
        ranks[i] = rank_of(m, &s[i], &s[i + 1]);
    while (n > 1) {
        /* the leftmost of the lowest ranks */
        int64_t best = 0;
        for (int64_t i = 1; i + 1 < n; i++)
            best = ranks[i] < ranks[best] ? i : best;
        if (ranks[best] == no_rank)
            break;
        join(&s[best], &s[best + 1], m->ranks[ranks[best]].id);
        /* the right one of the two is gone; the two pairs beside the merged symbol are new */
        n--;
        memmove(&s[best + 1], &s[best + 2], (size_t)(n - best - 1) * sizeof *s);
        memmove(&ranks[best], &ranks[best + 1], (size_t)(n - best - 1) * sizeof *ranks);
        if (best + 1 < n)
            ranks[best] = rank_of(m, &s[best], &s[best + 1]);
        if (best > 0)
            ranks[best - 1] = rank_of(m, &s[best - 1], &s[best]);
    }
    room->n_symbols = n;
}

/* ---- merging with a heap: entries are rank << 32 | position, so that the smallest is the lowest rank, leftmost */

/* A hole moves up from the end until its parent is smaller. */
static sonde_status heap_push(sondep_word_room *room, uint64_t entry)
{
    int64_t at = room->n_heap;

    if (room->n_heap == room->heap_capacity) {
        int64_t capacity = room->heap_capacity ? 2 * room->heap_capacity : 1024;
        SONDE_TRY(grow_array(&room->heap, capacity, sizeof *room->heap));
        room->heap_capacity = capacity;
    }
    room->n_heap++;
    for (; at > 0 && room->heap[(at - 1) / 4] > entry; at = (at - 1) / 4)
        room->heap[at] = room->heap[(at - 1) / 4];
    room->heap[at] = entry;
    return SONDE_OK;
}

/* Lets an entry sink from `at` to its place; four children a node. */
static void heap_sink(uint64_t *heap, int64_t n, int64_t at, uint64_t entry)
{
    for (;;) {
        int64_t child = 4 * at + 1, last = child + 4 < n ? child + 4 : n, least = child;
        if (child >= n)
            break;
        for (int64_t i = child + 1; i < last; i++)
            least = heap[i] < heap[least] ? i : least;
        if (heap[least] >= entry)
            break;
        heap[at] = heap[least];
        at = least;
    }
    heap[at] = entry;
}

/* The smallest entry; the last one takes its place and sinks. */
static uint64_t heap_pop(sondep_word_room *room)
{
    uint64_t top = room->heap[0];
    room->n_heap--;
    if (room->n_heap > 0)
        heap_sink(room->heap, room->n_heap, 0, room->heap[room->n_heap]);
    return top;
}

/* Links between all symbols, and every pair that has a merge on the heap. */
static sonde_status heap_start(sondep_word_room *room, const sondep_bpe *m)
{
    int64_t n = room->n_symbols;

    SONDE_TRY(grow_array(&room->next, n, sizeof *room->next));
    SONDE_TRY(grow_array(&room->before, n, sizeof *room->before));
    room->n_heap = 0;
    for (int64_t i = 0; i < n; i++) {
        room->next[i] = i + 1 < n ? (int32_t)i + 1 : -1;
        room->before[i] = (int32_t)i - 1;
        if (i + 1 < n) {
            uint32_t rank = rank_of(m, &room->symbols[i], &room->symbols[i + 1]);
            if (rank != no_rank)
                SONDE_TRY(heap_push(room, (uint64_t)rank << 32 | (uint64_t)i));
        }
    }
    return SONDE_OK;
}

/* The pair that begins at symbol `left` (-1: there is none), if it has a merge. */
static sonde_status push_pair(sondep_word_room *room, const sondep_bpe *m, int32_t left)
{
    uint32_t rank;
    if (left < 0 || room->next[left] < 0)
        return SONDE_OK;
    rank = rank_of(m, &room->symbols[left], &room->symbols[room->next[left]]);
    return rank == no_rank ? SONDE_OK : heap_push(room, (uint64_t)rank << 32 | (uint64_t)left);
}

/* O(n log n). An entry is stale when its pair has gone; it is recognised by the token that it would make, as the
 * library does it. */
static sonde_status merge_long(sondep_word_room *room, const sondep_bpe *m)
{
    sondep_symbol *s = room->symbols;
    enum { GONE = -2 };
    int64_t kept = 0;

    SONDE_TRY(heap_start(room, m));
    while (room->n_heap > 0) {
        uint64_t entry = heap_pop(room);
        int32_t at = (int32_t)(entry & UINT32_MAX), right = room->next[at];
        int32_t id = m->ranks[entry >> 32].id;
        const sondep_merge *merge = right >= 0 ? find_merge(m, s[at].id, s[right].id) : NULL;

        if (merge == NULL || merge->id != id)
            continue; /* stale: one of the two has been merged since */
        join(&s[at], &s[right], id);
        room->next[at] = room->next[right];
        room->next[right] = GONE;
        /* the links close over the hole, then the two pairs beside the merged symbol are new */
        if (room->next[at] >= 0)
            room->before[room->next[at]] = at;
        SONDE_TRY(push_pair(room, m, room->before[at]));
        SONDE_TRY(push_pair(room, m, at));
    }
    /* what is left closes up */
    for (int64_t i = 0; i < room->n_symbols; i++)
        if (room->next[i] != GONE)
            s[kept++] = s[i];
    room->n_symbols = kept;
    return SONDE_OK;
}

/* ---- the word --------------------------------------------------------------------------------------------------- */

/* ignore_merges: the whole word, if it is in the vocabulary, is one token. */
static sonde_status find_whole(sondep_word_room *room, const sondep_bpe *m, const char *text, int64_t n, bool is_raw,
                               int32_t *id)
{
    room->piece.n = 0;
    for (int64_t i = 0; is_raw && i < n; i++) {
        char character[4];
        int length = sondep_utf8_encode(character, sondep_byte_char((unsigned char)text[i]));
        SONDE_TRY(sondep_string_append(&room->piece, character, (size_t)length));
    }
    *id = is_raw ? sondep_vocab_id(&m->vocab, room->piece.text, room->piece.n) : sondep_vocab_id(&m->vocab, text, (size_t)n);
    return SONDE_OK;
}

/* Start symbols, then merges: the short way or the long one. */
sonde_status sondep_bpe_word(sondep_word_room *room, const sondep_bpe *m, const char *text, int64_t n, bool is_raw)
{
    room->n_symbols = 0;
    if (n > INT32_MAX)
        return SONDE_FAIL(SONDE_E_RANGE, "a word of %lld bytes is too long (limit %d)", (long long)n, INT32_MAX);
    if (is_raw)
        SONDE_TRY(split_bytes(room, m, text, n));
    else
        SONDE_TRY(split_chars(room, m, text, n));
    if (room->n_symbols <= SHORT_WORD && !m->vocab.has_duplicate_ids) {
        merge_short(room, m);
        return SONDE_OK;
    }
    return merge_long(room, m);
}

/* No symbols means: not there, encode it. */
sonde_status sondep_bpe_whole(sondep_word_room *room, const sondep_bpe *m, const char *text, int64_t n, bool is_raw)
{
    int32_t id;
    room->n_symbols = 0;
    if (!m->ignore_merges || n > INT32_MAX)
        return SONDE_OK;
    SONDE_TRY(find_whole(room, m, text, n, is_raw, &id));
    return id < 0 ? SONDE_OK : put_symbol(room, id, 0, n);
}
