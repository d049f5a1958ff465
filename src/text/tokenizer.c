/* tokenizer.c - encoding: text through the parts of a tokenizer.                floor 3: text
 *
 * A text is checked, split at added tokens, normalized, cut into words, and each word encoded; the post-processor's
 * tokens are put around that. Short words come from a cache (two lines of memory each); where the pre-tokenizer is one
 * of the known patterns and nothing was rewritten, no list of words is ever made: the scanner and the cache work hand
 * in hand over the text. One tokenizer serves many threads: what changes while it encodes lies in a room that one
 * thread has at a time.
 */
#include "text/tokenizer.h"

/* ---- tokens ----------------------------------------------------------------------------------------------------- */

/* The three arrays. */
void sonde_tokens_release(sonde_tokens *tokens)
{
    sondep_free(tokens->ids);
    sondep_free(tokens->start);
    sondep_free(tokens->end);
    *tokens = (sonde_tokens){0};
}

/* Room for n tokens in each of the three arrays; the capacity changes when all have grown. */
static sonde_status grow_tokens(sonde_tokens *tokens, int64_t n)
{
    int64_t ids = tokens->capacity, starts = tokens->capacity;
    SONDE_TRY(sondep_grow(&tokens->ids, &ids, n, sizeof *tokens->ids));
    SONDE_TRY(sondep_grow(&tokens->start, &starts, n, sizeof *tokens->start));
    return sondep_grow(&tokens->end, &tokens->capacity, n, sizeof *tokens->end);
}

/* One more token; start and end are bytes of the text. */
static inline sonde_status put_token(sonde_tokens *out, int32_t id, int64_t start, int64_t end)
{
    if (out->n == out->capacity)
        SONDE_TRY(grow_tokens(out, out->n + 1));
    out->ids[out->n] = id;
    out->start[out->n] = start;
    out->end[out->n++] = end;
    return SONDE_OK;
}

/* ---- words ------------------------------------------------------------------------------------------------------ */

/* A word of up to 31 bytes as a key: its bytes, zeros, its length. `after`: how many bytes may be read from text on. */
static inline void make_key(uint64_t key[4], const char *text, int64_t n, int64_t after)
{
    if (after >= 32) {
        memcpy(key, text, 32);
        for (int i = 0; i < 4; i++) {
            int64_t bits = 8 * (n - 8 * i);
            key[i] &= bits >= 64 ? UINT64_MAX : bits <= 0 ? 0 : ((uint64_t)1 << bits) - 1;
        }
    } else {
        memset(key, 0, 32);
        memcpy(key, text, (size_t)n);
    }
    key[3] |= (uint64_t)n << 56;
}

/* First of the two places of a key; the other is its neighbour. */
static inline uint64_t hash_key(const uint64_t key[4])
{
    uint64_t a = (key[0] ^ 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu, b = (key[1] ^ key[3]) * 0xc4ceb9fe1a85ec53u;
    a ^= a >> 32;
    b ^= b >> 29;
    a = (a + b + key[2] * 0x85ebca77c2b2ae63u) * 0x9e3779b97f4a7c15u;
    return a >> (64 - SONDEP_CACHE_BITS);
}

/* Words and lengths are both in the key: nothing else is to be compared. */
static inline bool same_key(const uint64_t a[4], const uint64_t b[4])
{
    return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

/* The tokens of the last word, in text order and without gaps, into the cache; others are not kept. Two places belong
 * together: the newcomer takes the first, and what was there the second. */
static void keep_word(sondep_word_room *words, uint64_t place, const uint64_t key[4], int64_t n)
{
    const sondep_symbol *s = words->symbols;
    sondep_cached made = {{key[0], key[1], key[2], key[3]}, {0}, {0}, 0, 0};

    if (words->n_symbols == 0 || words->n_symbols > SONDEP_CACHE_TOKENS || s[words->n_symbols - 1].end != n)
        return;
    for (int64_t i = 0; i < words->n_symbols; i++) {
        if (s[i].start != (i > 0 ? s[i - 1].end : 0))
            return;
        made.ids[i] = s[i].id;
        made.ends[i] = (uint8_t)s[i].end;
    }
    made.n = (uint8_t)words->n_symbols;
    words->cache[place ^ 1] = words->cache[place];
    words->cache[place] = made;
}

/* Where a token's bytes [start, end) of a piece come from. */
static inline sonde_status put_symbol(sonde_tokens *out, const sondep_piece *p, int32_t id, int64_t start, int64_t end)
{
    sondep_span span;
    if (p->spans == NULL)
        return put_token(out, id, p->base + start, p->base + end);
    span = sondep_piece_cover(p, start, end);
    return put_token(out, id, span.start, span.end);
}

/* The tokens of the word that begins at byte `at` of a piece. */
static sonde_status put_symbols(sonde_tokens *out, const sondep_word_room *words, const sondep_piece *p, int64_t at)
{
    for (int64_t i = 0; i < words->n_symbols; i++)
        SONDE_TRY(put_symbol(out, p, words->symbols[i].id, at + words->symbols[i].start, at + words->symbols[i].end));
    return SONDE_OK;
}

/* One encoding: what its functions share. */
typedef struct encoding {
    sonde_tokens *out;
    const sonde_tokenizer *t;
    sondep_room *room;
} encoding;

/* A short word, bytes [at, at + n) of a piece, by way of the cache. `whole`: the model's ignore_merges holds for it. */
static inline sonde_status encode_short(const encoding *e, const sondep_piece *p, int64_t at, int64_t n, bool whole)
{
    sondep_word_room *words = &e->room->words;
    uint64_t key[4];
    const sondep_cached *slot;
    uint64_t place;

    if (!whole && e->t->bpe.ignore_merges) { /* a part of a word obeys other rules than the same bytes as a word */
        SONDE_TRY(sondep_bpe_word(words, &e->t->bpe, p->text + at, n, e->t->is_raw));
        return put_symbols(e->out, words, p, at);
    }
    make_key(key, p->text + at, n, p->n - at);
    place = hash_key(key);
    slot = &words->cache[place];
    if (!same_key(slot->key, key))
        slot = &words->cache[place ^ 1];
    if (same_key(slot->key, key)) {
        for (int64_t i = 0, start = 0; i < slot->n; start = slot->ends[i++])
            SONDE_TRY(put_symbol(e->out, p, slot->ids[i], at + start, at + slot->ends[i]));
        return SONDE_OK;
    }
    /* not there: encode it, and remember */
    words->n_symbols = 0;
    if (whole)
        SONDE_TRY(sondep_bpe_whole(words, &e->t->bpe, p->text + at, n, e->t->is_raw));
    if (words->n_symbols == 0)
        SONDE_TRY(sondep_bpe_word(words, &e->t->bpe, p->text + at, n, e->t->is_raw));
    keep_word(words, place, key, n);
    return put_symbols(e->out, words, p, at);
}

/* A word of any length: long ones in parts that merges never cross. */
static sonde_status encode_long(const encoding *e, const sondep_piece *p, int64_t at, int64_t n)
{
    sondep_word_room *words = &e->room->words;
    int64_t end = at + n, part;

    /* ignore_merges looks at the whole word, not at its parts */
    SONDE_TRY(sondep_bpe_whole(words, &e->t->bpe, p->text + at, n, e->t->is_raw));
    if (words->n_symbols > 0)
        return put_symbols(e->out, words, p, at);
    /* parts that are short go through the cache, like words */
    for (; at < end; at += part) {
        part = sondep_bpe_cut(&e->t->bpe, p->text + at, end - at, e->t->is_raw);
        if (part <= SONDEP_CACHE_WORD) {
            SONDE_TRY(encode_short(e, p, at, part, false));
            continue;
        }
        SONDE_TRY(sondep_bpe_word(words, &e->t->bpe, p->text + at, part, e->t->is_raw));
        SONDE_TRY(put_symbols(e->out, words, p, at));
    }
    return SONDE_OK;
}

/* One word of the pre-tokenizer. */
static inline sonde_status encode_word(const encoding *e, const sondep_piece *p, int64_t at, int64_t n)
{
    return n <= SONDEP_CACHE_WORD ? encode_short(e, p, at, n, true) : encode_long(e, p, at, n);
}

/* ---- pieces ----------------------------------------------------------------------------------------------------- */

/* A piece that one known pattern cuts into words. */
static sonde_status encode_scanned(const encoding *e, const sondep_piece *p)
{
    const sondep_pattern *scanner = e->t->scanner;

    for (int64_t at = 0, n; at < p->n; at += n) {
        n = scanner->kind == SONDEP_PATTERN_GPT2 ? sondep_scan_gpt2(p->text + at, p->n - at)
                                                 : sondep_scan_llama3(p->text + at, p->n - at, scanner->max_digits);
        SONDE_TRY(encode_word(e, p, at, n));
    }
    return SONDE_OK;
}

/* Words in the order of the text; pieces with an id are added tokens. */
static sonde_status encode_pieces(const encoding *e)
{
    const sonde_tokenizer *t = e->t;

    if (t->has_pre_tokenizer && t->scanner == NULL)
        SONDE_TRY(sondep_pre_tokenize(e->room, &t->pre_tokenizer, t->is_raw));
    for (int64_t i = 0; i < e->room->pieces.n; i++) {
        const sondep_piece *p = &e->room->pieces.items[i];
        if (p->id >= 0)
            SONDE_TRY(put_symbol(e->out, p, p->id, 0, p->n));
        else if (t->scanner != NULL)
            SONDE_TRY(encode_scanned(e, p));
        else
            SONDE_TRY(encode_word(e, p, 0, p->n));
    }
    return SONDE_OK;
}

/* The text as pieces: added tokens found, everything else normalized. */
static sonde_status make_pieces(const encoding *e, const char *text, size_t n)
{
    sondep_pieces *pieces = &e->room->pieces;

    pieces->n = 0;
    e->room->original = text;
    e->room->n_original = (int64_t)n;
    SONDE_TRY(sondep_put_piece(pieces, (sondep_piece){text, (int64_t)n, NULL, 0, -1}));
    SONDE_TRY(sondep_added_split(e->room, &e->t->added, &e->t->added.raw));
    for (int64_t i = 0; i < pieces->n && e->t->has_normalizer; i++)
        if (pieces->items[i].id < 0)
            SONDE_TRY(sondep_normalize(e->room, &e->t->normalizer, &pieces->items[i]));
    SONDE_TRY(sondep_added_split(e->room, &e->t->added, &e->t->added.normalized));
    return SONDE_OK;
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

/* The post-processor's tokens: those before the text are put first, those behind it last. A template without the text
 * leaves it out, one that has it twice repeats it. */
static sonde_status encode_template(const encoding *e, const char *text, size_t n, const sondep_template *template)
{
    int64_t first = -1, past = -1;

    for (int64_t i = 0; i < template->n; i++) {
        int32_t id = template->ids[i];
        if (id >= 0) {
            SONDE_TRY(put_token(e->out, id, 0, 0));
        } else if (first < 0) {
            first = e->out->n;
            SONDE_TRY(make_pieces(e, text, n));
            SONDE_TRY(encode_pieces(e));
            past = e->out->n;
        } else {
            for (int64_t k = first; k < past; k++)
                SONDE_TRY(put_token(e->out, e->out->ids[k], e->out->start[k], e->out->end[k]));
        }
    }
    return SONDE_OK;
}

/* Eight bytes of ASCII at a time, as most text is; any other character by itself. */
sonde_status sondep_text_check(const char *text, size_t n, const char *what)
{
    uint64_t word;
    uint32_t c;
    int length;

    for (size_t i = 0; i < n; i += (size_t)length) {
        while (n - i >= 8 && (memcpy(&word, text + i, 8), (word & 0x8080808080808080u) == 0))
            i += 8;
        if (i == n)
            break;
        length = sondep_utf8_decode(&c, text + i, n - i);
        if (length == 0)
            return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is not UTF-8: byte %zu is 0x%02x", what, i, (unsigned char)text[i]);
    }
    return SONDE_OK;
}

/* On failure the tokens are empty, whatever was put already. */
sonde_status sonde_tokenizer_encode(sonde_tokens *out, const sonde_tokenizer *tokenizer, const char *text, size_t n_bytes,
                                    sonde_specials specials)
{
    encoding e = {out, tokenizer, NULL};
    sonde_status status;

    out->n = 0;
    SONDE_TRY(sondep_text_check(text, n_bytes, "text"));
    SONDE_TRY(sondep_room_take(&e.room, tokenizer));
    status = encode_template(&e, text, n_bytes, specials == SONDE_SPECIALS_AS_FILE ? &tokenizer->full : &tokenizer->bare);
    sondep_room_give(tokenizer, e.room);
    if (status != SONDE_OK)
        out->n = 0;
    return status;
}

/* ---- questions -------------------------------------------------------------------------------------------------- */

/* The added token of an id, NULL if it is none. */
static const sondep_added *added_of(const sonde_tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->added.n_ids && t->added.by_id[id] >= 0 ? &t->added.items[t->added.by_id[id]] : NULL;
}

/* The vocabulary's entry of an id, NULL if there is none. */
static const sondep_entry *entry_of(const sonde_tokenizer *t, int32_t id)
{
    const sondep_vocab *v = &t->bpe.vocab;
    return id >= 0 && id < v->n_ids && v->by_id[id] >= 0 ? &v->entries[v->by_id[id]] : NULL;
}

/* An added token is decoded from its normalized form, as in the library. */
const char *sondep_token_string(size_t *n, const sonde_tokenizer *tokenizer, int32_t id)
{
    const sondep_added *added = added_of(tokenizer, id);
    const sondep_entry *entry = entry_of(tokenizer, id);

    *n = added ? added->normalized_bytes : entry ? entry->n : 0;
    return added ? added->normalized : entry ? tokenizer->bpe.vocab.blob + entry->at : NULL;
}

/* Ids of the vocabulary, of added tokens and of the post-processor all count. */
int64_t sonde_tokenizer_n_vocab(const sonde_tokenizer *tokenizer)
{
    return tokenizer->n_ids;
}

/* An added token's own text goes before the vocabulary's. */
const char *sonde_tokenizer_token(const sonde_tokenizer *tokenizer, int32_t id)
{
    const sondep_added *added = added_of(tokenizer, id);
    const sondep_entry *entry = entry_of(tokenizer, id);
    return added ? added->content : entry ? tokenizer->bpe.vocab.blob + entry->at : NULL;
}

/* Whether bytes [start, end) of a text are an added token, normalized or with white space around it at most. The model
 * may give the id of an added token too, for other bytes: an unknown token, or one that is made by merges. */
static bool is_found(const sondep_added *added, const char *text, int64_t start, int64_t end)
{
    int64_t n = (int64_t)added->content_bytes;
    sondep_part left = {.kind = SONDEP_PART_STRIP, .strip_left = true};
    sondep_piece behind;
    int length;

    if (end - start == (int64_t)added->normalized_bytes &&
        memcmp(text + start, added->normalized, added->normalized_bytes) == 0)
        return true;
    for (int64_t at = start; at + n <= end; at += length) {
        behind = (sondep_piece){text + at + n, end - at - n, NULL, 0, -1};
        if (memcmp(text + at, added->content, added->content_bytes) == 0 &&
            sondep_normalize(NULL, &left, &behind) == SONDE_OK && behind.n == 0)
            return true;
        if (!(sondep_unicode_of(sondep_utf8_next(&length, text + at))->flags & SONDEP_UNICODE_SPACE))
            break;
    }
    return false;
}

/* A token that is searched for as it stands was found as the text has it; any other as the normalizer left it. */
const char *sonde_tokenizer_shown(size_t *n_bytes, const sonde_tokenizer *tokenizer, int32_t id, const char *text,
                                  int64_t start, int64_t end)
{
    const sondep_added *added = added_of(tokenizer, id);
    const sondep_entry *entry = entry_of(tokenizer, id);

    if (added != NULL && start < end && (entry == NULL || is_found(added, text, start, end))) {
        *n_bytes = added->is_normalized ? added->normalized_bytes : (size_t)(end - start);
        return added->is_normalized ? added->normalized : text + start;
    }
    *n_bytes = added ? added->content_bytes : entry ? entry->n : 0;
    return added ? added->content : entry ? tokenizer->bpe.vocab.blob + entry->at : NULL;
}

/* Added tokens first: a few, so that they are looked through. */
int32_t sonde_tokenizer_id(const sonde_tokenizer *tokenizer, const char *token)
{
    size_t n = strlen(token);
    for (int64_t i = 0; i < tokenizer->added.n; i++)
        if (tokenizer->added.items[i].content_bytes == n && memcmp(tokenizer->added.items[i].content, token, n) == 0)
            return tokenizer->added.items[i].id;
    return sondep_vocab_id(&tokenizer->bpe.vocab, token, n);
}

/* Worked out when the file was loaded. */
const char *sonde_tokenizer_bytes(size_t *n_bytes, const sonde_tokenizer *tokenizer, int32_t id)
{
    *n_bytes = 0;
    if (sonde_tokenizer_token(tokenizer, id) == NULL)
        return NULL;
    *n_bytes = (size_t)(tokenizer->byte_at[id + 1] - tokenizer->byte_at[id]);
    return tokenizer->bytes + tokenizer->byte_at[id];
}

/* Only added tokens can be special. */
bool sonde_tokenizer_is_special(const sonde_tokenizer *tokenizer, int32_t id)
{
    const sondep_added *added = added_of(tokenizer, id);
    return added != NULL && added->is_special;
}

/* The template begins with a special token, or with the text. */
int32_t sonde_tokenizer_first_added(const sonde_tokenizer *tokenizer)
{
    return tokenizer->full.n > 0 ? tokenizer->full.ids[0] : -1;
}

/* Worked out when the file was loaded. */
int32_t sonde_tokenizer_bos(const sonde_tokenizer *tokenizer)
{
    return tokenizer->bos;
}
