/* text/tokenizer.h - the parts of a tokenizer and what passes between them.      floor 3: text
 *
 *   text -> added tokens as they stand -> normalizer -> added tokens, normalized -> pre-tokenizer -> model -> post-processor
 *
 * as the `tokenizers` library runs them. Between the parts go pieces: a piece of the text, perhaps rewritten, that
 * knows which bytes of the original each of its bytes comes from.
 */
#ifndef SONDEP_TOKENIZER_H
#define SONDEP_TOKENIZER_H

#include "text/bpe.h"
#include "text/tokenizer_reader.h"
#include "text/unicode.h"

#include <sonde/text.h>

#include <pthread.h>

/* ---- pieces ----------------------------------------------------------------------------------------------------- */

/* Bytes [start, end) of the original text. */
typedef struct sondep_span {
    int64_t start, end;
} sondep_span;

typedef struct sondep_piece {
    const char *text; /* n bytes of UTF-8, borrowed from the original or from the room */
    int64_t n;
    const sondep_span *spans; /* (n) where each byte comes from; NULL: byte i is byte base + i of the original */
    int64_t base;
    int32_t id; /* an added token that was found; -1: text to be encoded */
} sondep_piece;

typedef struct sondep_pieces {
    sondep_piece *items;
    int64_t n, capacity;
} sondep_pieces;

/* Where byte `at` of a piece comes from. */
static inline sondep_span sondep_piece_span(const sondep_piece *p, int64_t at)
{
    return p->spans ? p->spans[at] : (sondep_span){p->base + at, p->base + at + 1};
}

/* What a pattern found: stretches that cover the text, in order, each a match or not. */
typedef struct sondep_match {
    int64_t start, end;
    bool is_match;
} sondep_match;

typedef struct sondep_matches {
    sondep_match *items;
    int64_t n, capacity;
} sondep_matches;

/* What one encoding or decoding needs; kept by the tokenizer between calls, used by one thread at a time. */
typedef struct sondep_room {
    struct sondep_room *next;
    const char *original; /* the text that is being encoded, n_original bytes */
    int64_t n_original;
    sondep_word_room words;
    sondep_pieces pieces, others;
    sondep_matches matches;
    void **blocks; /* what pieces borrow, freed after the call */
    int64_t n_blocks, blocks_capacity;
    char *classes; /* a subject for PCRE2 and where its characters begin */
    int64_t *places;
    int64_t classes_capacity, places_capacity;
} sondep_room;

sonde_status sondep_put_piece(sondep_pieces *pieces,
                              sondep_piece piece); /* empty pieces are left out, as the library does */
sonde_status sondep_put_match(sondep_matches *matches, int64_t start, int64_t end, bool is_match);
sonde_status sondep_room_keep(sondep_room *room, void *block); /* takes the block over; frees it if there is no room */

/* A piece's part [start, end). */
sondep_piece sondep_piece_part(const sondep_piece *p, int64_t start, int64_t end);

/* ---- patterns --------------------------------------------------------------------------------------------------- */

typedef struct sondep_regex sondep_regex;

typedef enum sondep_pattern_kind {
    SONDEP_PATTERN_LITERAL,
    SONDEP_PATTERN_FLAGS, /* each character that has one of the flags (SONDEP_UNICODE_*) */
    SONDEP_PATTERN_WORDS, /* \w+|[^\w\s]+ of Rust's regex */
    SONDEP_PATTERN_GPT2,
    SONDEP_PATTERN_LLAMA3,
    SONDEP_PATTERN_REGEX,
} sondep_pattern_kind;

typedef struct sondep_pattern {
    sondep_pattern_kind kind;
    char *literal; /* owned */
    size_t literal_bytes;
    int flags;
    int64_t max_digits;  /* of SONDEP_PATTERN_LLAMA3: how many digits go together */
    sondep_regex *regex; /* owned */
} sondep_pattern;

void sondep_pattern_release(sondep_pattern *p);

/* A regular expression: one of the known ones, or through PCRE2. Errors: SONDE_E_UNSUPPORTED names what cannot be
 * taken over from Oniguruma; SONDE_E_FORMAT. */
sonde_status sondep_pattern_regex(sondep_pattern *out, const char *expression, size_t n);

/* The expression of a pattern that has a scanner, else NULL. */
const char *sondep_pattern_expression(const sondep_pattern *p);

/* Everything that a pattern finds in n bytes of UTF-8, into room->matches. */
sonde_status sondep_pattern_find(sondep_room *room, const sondep_pattern *p, const char *text, int64_t n);

/* Length of the next word that a known pattern (GPT2, LLAMA3) takes; n >= 1. These patterns match everything. */
int64_t sondep_scan_gpt2(const char *text, int64_t n);
int64_t sondep_scan_llama3(const char *text, int64_t n, int64_t max_digits);

/* As the library's SysRegex: compiles, and adds what is found to room->matches. */
sonde_status sondep_regex_new(sondep_regex **out, const char *expression, size_t n);
void sondep_regex_free(sondep_regex *regex);
sonde_status sondep_regex_find(sondep_room *room, const sondep_regex *regex, const char *text, int64_t n);

/* ---- parts of the file ------------------------------------------------------------------------------------------ */

typedef enum sondep_part_kind {
    SONDEP_PART_SEQUENCE,
    /* normalizers */
    SONDEP_PART_NFC,
    SONDEP_PART_NFD,
    SONDEP_PART_NFKC,
    SONDEP_PART_NFKD,
    SONDEP_PART_PREPEND,
    SONDEP_PART_REPLACE,
    SONDEP_PART_STRIP,
    SONDEP_PART_LOWERCASE,
    SONDEP_PART_STRIP_ACCENTS,
    SONDEP_PART_NMT,
    /* pre-tokenizers; BYTE_LEVEL is a normalizer and a decoder too, METASPACE a decoder */
    SONDEP_PART_BYTE_LEVEL,
    SONDEP_PART_SPLIT,
    SONDEP_PART_METASPACE,
    SONDEP_PART_FIXED_LENGTH,
    /* decoders; REPLACE is one too */
    SONDEP_PART_BYTE_FALLBACK,
    SONDEP_PART_FUSE,
    SONDEP_PART_STRIP_CHAR,
    SONDEP_PART_BPE_DECODER,
    SONDEP_PART_WORDPIECE,
} sondep_part_kind;

typedef enum sondep_behavior {
    SONDEP_REMOVED,
    SONDEP_ISOLATED,
    SONDEP_MERGED_WITH_PREVIOUS,
    SONDEP_MERGED_WITH_NEXT,
    SONDEP_CONTIGUOUS,
} sondep_behavior;

typedef enum sondep_prepend { SONDEP_PREPEND_ALWAYS, SONDEP_PREPEND_FIRST, SONDEP_PREPEND_NEVER } sondep_prepend;

/* One normalizer, pre-tokenizer or decoder; which fields count follows from the kind. */
typedef struct sondep_part {
    sondep_part_kind kind;
    struct sondep_part *parts; /* owned, of a sequence */
    int64_t n_parts;
    sondep_pattern pattern;
    char *content; /* owned: what is prepended, put in place, stripped, a suffix or prefix */
    size_t content_bytes;
    sondep_behavior behavior;
    bool invert, add_prefix_space, use_regex, split, strip_left, strip_right, cleanup;
    sondep_prepend prepend;
    int64_t start, stop, length;
} sondep_part;

void sondep_part_release(sondep_part *part);

/* From a component's JSON. Errors: SONDE_E_FORMAT (file and field), SONDE_E_UNSUPPORTED (its name). */
sonde_status sondep_part_normalizer(sondep_part *out, const json_t *json, const char *path);
sonde_status sondep_part_pre_tokenizer(sondep_part *out, const json_t *json, const char *path);
sonde_status sondep_part_decoder(sondep_part *out, const json_t *json, const char *path);

/* *piece rewritten; what it then borrows is kept in the room. */
sonde_status sondep_normalize(sondep_room *room, const sondep_part *part, sondep_piece *piece);

/* A normal form of a piece; the same piece if nothing changes. */
sonde_status sondep_normal_form(sondep_room *room, sondep_piece *piece, bool compatible, bool composed);

/* room->pieces split further. is_raw: a ByteLevel at the very end leaves the bytes as they are. */
sonde_status sondep_pre_tokenize(sondep_room *room, const sondep_part *part, bool is_raw);

/* Tokens to text: strings of the tokens, one after another in `list`, rewritten in place. */
typedef struct sondep_list {
    sondep_string text;
    int64_t *ends; /* of each string in text */
    int64_t n, capacity;
} sondep_list;

sonde_status sondep_list_put(sondep_list *list, const char *text, size_t n);
void sondep_list_release(sondep_list *list);
sonde_status sondep_decode_list(sondep_list *list, const sondep_part *part, sondep_room *room);

/* ---- rewriting -------------------------------------------------------------------------------------------------- */

/* A piece that is being written. Zero-initialise it. */
typedef struct sondep_writing {
    char *text;
    sondep_span *spans;
    int64_t n, capacity;
} sondep_writing;

sonde_status sondep_write_bytes(sondep_writing *w, const char *bytes, int64_t n, sondep_span span);   /* all from one span */
sonde_status sondep_write_part(sondep_writing *w, const sondep_piece *p, int64_t start, int64_t end); /* unchanged */
sonde_status sondep_write_done(sondep_writing *w, sondep_room *room, sondep_piece *piece);            /* replaces *piece */
void sondep_write_abort(sondep_writing *w);

/* The span of a piece's bytes [start, end); of none: the place itself. */
sondep_span sondep_piece_cover(const sondep_piece *p, int64_t start, int64_t end);

/* ---- added tokens ----------------------------------------------------------------------------------------------- */

typedef struct sondep_added {
    char *content,
        *normalized; /* owned; normalized is what is searched for and decoded, the content where nothing changes it */
    size_t content_bytes, normalized_bytes;
    int32_t id;
    bool single_word, lstrip, rstrip, is_normalized, is_special;
} sondep_added;

/* A tree of the bytes of patterns. Children of a node lie in a list; the first byte has a table. */
typedef struct sondep_trie {
    struct sondep_trie_node {
        int32_t child, sibling, token; /* node numbers, -1; index of the added token that ends here, -1 */
        unsigned char byte;
    } * nodes;
    int64_t n, capacity;
    int32_t roots[256]; /* node of a first byte, -1 */
} sondep_trie;

void sondep_trie_init(sondep_trie *trie);
void sondep_trie_release(sondep_trie *trie);
sonde_status sondep_trie_put(sondep_trie *trie, const char *text, size_t n, int32_t token);

typedef struct sondep_added_tokens {
    sondep_added *items;
    int64_t n, capacity;
    sondep_trie raw, normalized;
    int32_t *by_id; /* (n_ids) index of the added token of an id, -1 */
    int64_t n_ids;
} sondep_added_tokens;

void sondep_added_release(sondep_added_tokens *added);

/* The tokens of the list `json` into tokenizer->added; then what is searched for, and the table by id. */
sonde_status sondep_added_read(sonde_tokenizer *tokenizer, sondep_room *room, const json_t *json, const char *path);
sonde_status sondep_added_index(sonde_tokenizer *tokenizer, const char *path);

/* Splits room->pieces at added tokens; those whose text is found become pieces with an id. */
sonde_status sondep_added_split(sondep_room *room, const sondep_added_tokens *added, const sondep_trie *trie);

/* ---- the tokenizer ---------------------------------------------------------------------------------------------- */

/* Ids, and -1 where the text's own tokens go. */
typedef struct sondep_template {
    int32_t *ids; /* owned */
    int64_t n;
} sondep_template;

struct sonde_tokenizer {
    sondep_bpe bpe;
    sondep_added_tokens added;
    bool has_normalizer, has_pre_tokenizer, has_decoder;
    sondep_part normalizer, pre_tokenizer, decoder;
    bool is_raw;                   /* the last pre-tokenizer is ByteLevel, and the model does its work on raw bytes */
    const sondep_pattern *scanner; /* the whole pre-tokenizer is this known pattern on raw bytes; NULL: it is not */
    sondep_template full, bare;    /* what the post-processor makes, with special tokens and without */
    int64_t n_ids;
    char *bytes; /* what each id stands for: bytes[byte_at[id] .. byte_at[id + 1]) */
    int64_t *byte_at;
    int32_t bos;
    pthread_mutex_t lock; /* of rooms */
    bool has_lock;
    sondep_room *rooms; /* idle ones */
};

/* A tokenizer from the text of its file; `path` is for messages. Owns: *out is yours. Errors: as sonde_tokenizer_load. */
sonde_status sondep_tokenizer_parse(sonde_tokenizer **out, const char *text, size_t n, const char *path);

/* A room for one call, and its return. */
sonde_status sondep_room_take(sondep_room **out, const sonde_tokenizer *tokenizer);
void sondep_room_give(const sonde_tokenizer *tokenizer, sondep_room *room);
void sondep_room_free(sondep_room *room);

/* SONDE_OK, or SONDE_E_FORMAT naming `what` and the first byte that is not UTF-8; fast on ASCII. */
sonde_status sondep_text_check(const char *text, size_t n, const char *what);

/* The string that decoding starts from; NULL if the id has none. */
const char *sondep_token_string(size_t *n, const sonde_tokenizer *tokenizer, int32_t id);

/* Fills what depends on all parts: template, scanner, bytes of the tokens. */
sonde_status sondep_tokenizer_finish(sonde_tokenizer *t);

/* The template of the post-processor from its JSON. */
sonde_status sondep_tokenizer_template(sonde_tokenizer *t, const json_t *json, const char *path);

#endif
