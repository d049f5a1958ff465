/* sonde/text.h - tokenizers and documents.                                     floor 3: text
 *
 * Tokenizers come from tokenizer.json and give the ids that the `tokenizers` library gives, all of them. Documents come
 * from .txt, .jsonl and .jsonl.zst files.
 */
#ifndef SONDE_TEXT_H
#define SONDE_TEXT_H

#include <sonde/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- tokens -------------------------------------------------------------------------------------------------------- */

/* Ids of a text and the bytes [start, end) of it that each token owns. Zero-initialise; encode empties and refills it, so
 * that one serves many texts.
 *
 * The spans follow one another and cover the text, unless a normalizer or pre-tokenizer of the file removes something. A
 * token that holds part of a character has just those bytes of it; one that a post-processor added has (0, 0); what a
 * normalizer put in (a mark for the space before the first word) owns no byte. Of characters that a normalizer changed (a
 * letter and its accent made one) each of their tokens has all. The library's offsets count whole characters, leave out white
 * space where the file says trim_offsets, give what was put in to the character beside it, and of composed characters take
 * the first alone. */
typedef struct sonde_tokens {
    int32_t *ids;
    int64_t *start, *end;
    int64_t n, capacity;
} sonde_tokens;

/* Frees what it holds and leaves it zero. Owns: nothing. Errors: none. */
SONDE_API void sonde_tokens_release(sonde_tokens *tokens);

typedef struct sonde_tokenizer sonde_tokenizer;

/* Loads a tokenizer.json, or that of a directory.
 * Owns: *out is yours: sonde_tokenizer_free. One tokenizer serves many threads.
 * Errors: SONDE_E_NOTFOUND, SONDE_E_FORMAT (file and field), SONDE_E_UNSUPPORTED (a component that is not handled: its name),
 *         SONDE_E_NOMEM. *out is NULL then. */
SONDE_API sonde_status sonde_tokenizer_load(sonde_tokenizer **out, const char *path) SONDE_MUST_USE;
SONDE_API void sonde_tokenizer_free(sonde_tokenizer *tokenizer);

/* What to do about the special tokens that the file's own post-processor adds. */
typedef enum sonde_specials {
    SONDE_SPECIALS_AS_FILE = 0, /* as the post-processor says */
    SONDE_SPECIALS_NONE = 1,    /* none are added */
} sonde_specials;

/* Text to tokens. Special tokens that stand in the text are recognised, as the library does.
 *
 * out    emptied and refilled
 * text   n_bytes of UTF-8; NULs are text
 *
 * Owns: out stays the caller's. Cost: >= 20 MB/s per core for GPT-2's (make bench).
 * Errors: SONDE_E_FORMAT (byte that is not UTF-8), SONDE_E_NOMEM.
 * Reference: equal to `tokenizers` on every string tried (tests/oracle). */
SONDE_API sonde_status sonde_tokenizer_encode(sonde_tokens *out, const sonde_tokenizer *tokenizer, const char *text,
                                              size_t n_bytes, sonde_specials specials) SONDE_MUST_USE;

/* Tokens to text, as the library's decode(ids, skip_special_tokens): bytes that are not UTF-8 become U+FFFD.
 * Owns: *out is yours: sonde_text_free. Errors: SONDE_E_RANGE (id outside the vocabulary), SONDE_E_NOMEM. */
SONDE_API sonde_status sonde_tokenizer_decode(char **out, size_t *out_bytes, const sonde_tokenizer *tokenizer,
                                              const int32_t *ids, int64_t n, bool skip_specials) SONDE_MUST_USE;
SONDE_API void sonde_text_free(char *text);

/* Number of ids: one more than the highest. Owns: nothing. Errors: none. */
SONDE_API int64_t sonde_tokenizer_n_vocab(const sonde_tokenizer *tokenizer);

/* The vocabulary's own string of an id ("Ġcat", "▁cat", "<0x0A>"), NULL if the id has none. Owns: borrows. Errors: none. */
SONDE_API const char *sonde_tokenizer_token(const sonde_tokenizer *tokenizer, int32_t id);

/* The string of a token as it stands in an encoding: the vocabulary's, but for an added token that was found in the text
 * what it was found as (with the white space that it took in, or as the normalizer left it), as the library shows it.
 *
 * n_bytes     out; there may be NULs inside
 * id          with its span [start, end), of an encoding of `text`
 *
 * Owns: borrows, from the tokenizer or from text. Errors: none (NULL if the id has none). */
SONDE_API const char *sonde_tokenizer_shown(size_t *n_bytes, const sonde_tokenizer *tokenizer, int32_t id, const char *text,
                                            int64_t start, int64_t end);

/* Id of a vocabulary string; -1 if there is none. Owns: nothing. Errors: none. */
SONDE_API int32_t sonde_tokenizer_id(const sonde_tokenizer *tokenizer, const char *token);

/* The raw bytes that a token stands for (" cat"; part of a character for some tokens); a special token's own text.
 * Owns: borrows; *n_bytes long, not NUL-terminated. Errors: none (NULL if the id has none). */
SONDE_API const char *sonde_tokenizer_bytes(size_t *n_bytes, const sonde_tokenizer *tokenizer, int32_t id);

/* Whether an id is a special token; the id that the post-processor puts first, -1 if none; the id that files name as the
 * beginning of a text (bos: <s>, <|begin_of_text|>, <|endoftext|>), -1 if none. Owns: nothing. Errors: none. */
SONDE_API bool sonde_tokenizer_is_special(const sonde_tokenizer *tokenizer, int32_t id);
SONDE_API int32_t sonde_tokenizer_first_added(const sonde_tokenizer *tokenizer);
SONDE_API int32_t sonde_tokenizer_bos(const sonde_tokenizer *tokenizer);

/* ---- documents ------------------------------------------------------------------------------------------------------ */

typedef struct sonde_documents sonde_documents;

/* Opens a stream of documents: .txt (and any other ending: the whole file is one document), .jsonl (one object a line),
 * .jsonl.zst and .txt.zst, "-" for standard input (txt). `field` names the text in each object; NULL means "text".
 *
 * A text is kept as it is: a byte order mark, carriage returns and NULs (\u0000 too) are text. Lines of .jsonl that are blank are
 * skipped, the last one needs no newline; a line with a byte order mark, with a key twice or with half of a surrogate pair is
 * refused.
 *
 * Owns: *out is yours: sonde_documents_close. Memory: one document and a read buffer for jsonl.
 * Errors: SONDE_E_NOTFOUND, SONDE_E_IO, SONDE_E_NOMEM. */
SONDE_API sonde_status sonde_documents_open(sonde_documents **out, const char *path, const char *field) SONDE_MUST_USE;
SONDE_API void sonde_documents_close(sonde_documents *documents);

/* The next document: *text points to n_bytes of UTF-8, or is NULL at the end.
 * Owns: borrows; valid until the next call. Errors: SONDE_E_FORMAT (file and line; not JSON, no such field, not UTF-8),
 * SONDE_E_IO. */
SONDE_API sonde_status sonde_documents_next(sonde_documents *documents, const char **text, size_t *n_bytes) SONDE_MUST_USE;

/* Share of the file that has been read, 0 to 1, for progress; -1 if not known. Owns: nothing. Errors: none. */
SONDE_API double sonde_documents_progress(const sonde_documents *documents);

typedef struct sonde_documents_writer sonde_documents_writer;

/* Begins a .jsonl file that sonde_documents_open reads: one object a line, {"text": ...}, packed where the name ends in .zst.
 * It appears under its name when it is committed. `field` names the text; NULL means "text".
 *
 * Owns: *out is yours: exactly one of commit and abort. Memory: a line and some buffers.
 * Errors: SONDE_E_ARG (a name without .jsonl or .jsonl.zst at its end), SONDE_E_IO, SONDE_E_NOMEM. *out is NULL then. */
SONDE_API sonde_status sonde_documents_create(sonde_documents_writer **out, const char *path,
                                              const char *field) SONDE_MUST_USE;

/* Appends a document: n_bytes of UTF-8; NULs are text. Errors: SONDE_E_FORMAT (not UTF-8), SONDE_E_IO, SONDE_E_NOMEM. */
SONDE_API sonde_status sonde_documents_write(sonde_documents_writer *writer, const char *text,
                                             size_t n_bytes) SONDE_MUST_USE;

/* Ends the file under its name, or removes what was written (NULL is fine). Owns: takes the writer, whether or not it
 * succeeds. Errors: SONDE_E_IO. */
SONDE_API sonde_status sonde_documents_commit(sonde_documents_writer *writer) SONDE_MUST_USE;
SONDE_API void sonde_documents_abort(sonde_documents_writer *writer);

#ifdef __cplusplus
}
#endif
#endif
