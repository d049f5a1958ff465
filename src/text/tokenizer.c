/* tokenizer.c - encoding: text through the parts of a tokenizer.                floor 3: text */
#include "text/tokenizer.h"

/* ---- tokens -------------------------------------------------------------------------------------------------------------------- */

void sonde_tokens_release(sonde_tokens *tokens)
{
    sondep_free(tokens->ids);
    sondep_free(tokens->start);
    sondep_free(tokens->end);
    *tokens = (sonde_tokens){0};
}

static sonde_status grow_tokens(sonde_tokens *tokens, int64_t n)
{
    int64_t ids = tokens->capacity, starts = tokens->capacity;
    SONDE_TRY(sondep_room_grow(&tokens->ids, &ids, n, sizeof *tokens->ids));
    SONDE_TRY(sondep_room_grow(&tokens->start, &starts, n, sizeof *tokens->start));
    return sondep_room_grow(&tokens->end, &tokens->capacity, n, sizeof *tokens->end);
}

static inline sonde_status put_token(sonde_tokens *out, int32_t id, int64_t start, int64_t end)
{
    if (out->n == out->capacity)
        SONDE_TRY(grow_tokens(out, out->n + 1));
    out->ids[out->n] = id;
    out->start[out->n] = start;
    out->end[out->n++] = end;
    return SONDE_OK;
}

/* ---- words ---------------------------------------------------------------------------------------------------------------------- */

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

static inline uint64_t hash_key(const uint64_t key[4])
{
    uint64_t a = (key[0] ^ 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu, b = (key[1] ^ key[3]) * 0xc4ceb9fe1a85ec53u;
    a ^= a >> 32;
    b ^= b >> 29;
    a = (a + b + key[2] * 0x85ebca77c2b2ae63u) * 0x9e3779b97f4a7c15u;
    return a >> (64 - SONDEP_CACHE_BITS);
}

/* The tokens of the last word, in text order and without gaps, into the cache; others are not kept. */
static void keep_word(sondep_cached *slot, const uint64_t key[4], const sondep_word_room *words, int64_t n)
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
    *slot = made;
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
    sondep_cached *slot;

    if (!whole && e->t->bpe.ignore_merges) { /* a part of a word obeys other rules than the same bytes as a word */
        SONDE_TRY(sondep_bpe_word(words, &e->t->bpe, p->text + at, n, e->t->is_raw));
        return put_symbols(e->out, words, p, at);
    }
    make_key(key, p->text + at, n, p->n - at);
    slot = &words->cache[hash_key(key)];
    if (slot->key[0] == key[0] && slot->key[1] == key[1] && slot->key[2] == key[2] && slot->key[3] == key[3]) {
        for (int64_t i = 0, start = 0; i < slot->n; start = slot->ends[i++])
            SONDE_TRY(put_symbol(e->out, p, slot->ids[i], at + start, at + slot->ends[i]));
        return SONDE_OK;
    }
    words->n_symbols = 0;
    if (whole)
        SONDE_TRY(sondep_bpe_whole(words, &e->t->bpe, p->text + at, n, e->t->is_raw));
    if (words->n_symbols == 0)
        SONDE_TRY(sondep_bpe_word(words, &e->t->bpe, p->text + at, n, e->t->is_raw));
    keep_word(slot, key, words, n);
    return put_symbols(e->out, words, p, at);
}

/* A word of any length: long ones in parts that merges never cross. */
static sonde_status encode_long(const encoding *e, const sondep_piece *p, int64_t at, int64_t n)
{
    sondep_word_room *words = &e->room->words;
    int64_t end = at + n, part;

    SONDE_TRY(sondep_bpe_whole(words, &e->t->bpe, p->text + at, n, e->t->is_raw));
    if (words->n_symbols > 0)
        return put_symbols(e->out, words, p, at);
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

static inline sonde_status encode_word(const encoding *e, const sondep_piece *p, int64_t at, int64_t n)
{
    return n <= SONDEP_CACHE_WORD ? encode_short(e, p, at, n, true) : encode_long(e, p, at, n);
}

/* ---- pieces ------------------------------------------------------------------------------------------------------------------------- */

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

/* ---- the whole ---------------------------------------------------------------------------------------------------------------------- */

/* The post-processor's tokens: those before the text are put first, those behind it last. A template without the text leaves it
 * out, one that has it twice repeats it. */
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

/* ---- questions ---------------------------------------------------------------------------------------------------------------------- */

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

const char *sondep_token_string(size_t *n, const sonde_tokenizer *tokenizer, int32_t id)
{
    const sondep_added *added = added_of(tokenizer, id);
    const sondep_entry *entry = entry_of(tokenizer, id);

    *n = added ? added->normalized_bytes : entry ? entry->n : 0;
    return added ? added->normalized : entry ? tokenizer->bpe.vocab.blob + entry->at : NULL;
}

int64_t sonde_tokenizer_n_vocab(const sonde_tokenizer *tokenizer)
{
    return tokenizer->n_ids;
}

const char *sonde_tokenizer_token(const sonde_tokenizer *tokenizer, int32_t id)
{
    const sondep_added *added = added_of(tokenizer, id);
    const sondep_entry *entry = entry_of(tokenizer, id);
    return added ? added->content : entry ? tokenizer->bpe.vocab.blob + entry->at : NULL;
}

int32_t sonde_tokenizer_id(const sonde_tokenizer *tokenizer, const char *token)
{
    size_t n = strlen(token);
    for (int64_t i = 0; i < tokenizer->added.n; i++)
        if (tokenizer->added.items[i].content_bytes == n && memcmp(tokenizer->added.items[i].content, token, n) == 0)
            return tokenizer->added.items[i].id;
    return sondep_vocab_id(&tokenizer->bpe.vocab, token, n);
}

const char *sonde_tokenizer_bytes(size_t *n_bytes, const sonde_tokenizer *tokenizer, int32_t id)
{
    *n_bytes = 0;
    if (sonde_tokenizer_token(tokenizer, id) == NULL)
        return NULL;
    *n_bytes = (size_t)(tokenizer->byte_at[id + 1] - tokenizer->byte_at[id]);
    return tokenizer->bytes + tokenizer->byte_at[id];
}

bool sonde_tokenizer_is_special(const sonde_tokenizer *tokenizer, int32_t id)
{
    const sondep_added *added = added_of(tokenizer, id);
    return added != NULL && added->is_special;
}

int32_t sonde_tokenizer_first_added(const sonde_tokenizer *tokenizer)
{
    return tokenizer->full.n > 0 ? tokenizer->full.ids[0] : -1;
}

int32_t sonde_tokenizer_bos(const sonde_tokenizer *tokenizer)
{
    return tokenizer->bos;
}
