/* sonde/text.h - tokenizers, documents, and corpora to train on.               floor 3: text
 *
 * Tokenizers come from tokenizer.json and give the ids that the `tokenizers` library gives, all of them; or they are trained
 * on texts, and are what that library learns from them. Documents come from .txt, .jsonl and .jsonl.zst files. A corpus
 * is their tokens in memory, cut into shuffled contexts.
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
 * SONDE_E_IO, SONDE_E_INTERRUPTED (while it waited). */
SONDE_API sonde_status sonde_documents_next(sonde_documents *documents, const char **text, size_t *n_bytes) SONDE_MUST_USE;

/* Share of the file that has been read, 0 to 1, for progress; -1 if not known. Owns: nothing. Errors: none. */
SONDE_API double sonde_documents_progress(const sonde_documents *documents);

/* ---- a corpus to train on --------------------------------------------------------------------------------------------- */

/* Documents of several files as one stream of token ids in memory (2 bytes each up to a vocabulary of 65536, else 4): each
 * document is the separator's id and its tokens, in the order of files and documents. A file may count several times. */
typedef struct sonde_corpus sonde_corpus;

/* An empty corpus.
 *
 * tokenizer   of the texts; NULL where only ids will be added, n_vocab says the vocabulary then
 * separator   id that stands before each document
 * n_vocab     size of the model's vocabulary, which no id may reach; 0: the tokenizer's
 *
 * Owns: *out is yours: sonde_corpus_free. Borrows the tokenizer. Errors: SONDE_E_RANGE (separator outside the vocabulary),
 * SONDE_E_NOMEM. *out is NULL then. */
SONDE_API sonde_status sonde_corpus_new(sonde_corpus **out, const sonde_tokenizer *tokenizer, int32_t separator,
                                        int64_t n_vocab) SONDE_MUST_USE;
SONDE_API void sonde_corpus_free(sonde_corpus *corpus);

/* How a file is added. `progress` is called from the thread that adds, with the share of the file that has been read (-1 where
 * its size is not known); NULL: nobody asks. */
typedef struct sonde_corpus_opts {
    size_t struct_size;
    const char *field; /* of .jsonl; NULL: "text" */
    int64_t repeat;    /* how often the file stands in the stream, 1 (default) and more; it is in memory once */
    int64_t limit;     /* documents that are read at most; 0 (default): all */
    void (*progress)(double share, int64_t n_tokens, void *ctx);
    void *ctx;
} sonde_corpus_opts;

/* The defaults. Owns: nothing. Errors: none. */
SONDE_API void sonde_corpus_opts_init(sonde_corpus_opts *out);

/* Reads a file of documents (as sonde_documents_open), and puts its tokens behind those that are there; `opts` NULL means
 * defaults. The tokens do not depend on the number of threads. Special tokens that stand in a text are recognised; none are
 * added but the separator.
 *
 * Threads: encodes on sonde_threads() threads. Cost: 2 or 4 bytes a token, 16 a document.
 * Owns: nothing. Errors: those of sonde_documents_next (not UTF-8, no such field: file and line); SONDE_E_FORMAT (a file without
 * a document), SONDE_E_RANGE (a token id beyond the vocabulary: file, document and token), SONDE_E_ARG (options),
 * SONDE_E_INTERRUPTED, SONDE_E_NOMEM. The corpus is as it was then. */
SONDE_API sonde_status sonde_corpus_add(sonde_corpus *corpus, const char *path,
                                        const sonde_corpus_opts *opts) SONDE_MUST_USE;

/* Puts one document whose tokens are known already behind those that are there; it counts no bytes.
 *
 * ids   (n) inside the vocabulary; the separator is put before them
 *
 * Owns: copies the ids. Errors: SONDE_E_RANGE (an id outside the vocabulary: its place), SONDE_E_NOMEM. The corpus is as it was then. */
SONDE_API sonde_status sonde_corpus_add_ids(sonde_corpus *corpus, const int32_t *ids, int64_t n) SONDE_MUST_USE;

/* Takes "book.txt:2" apart: the file's name, which has *path_bytes bytes of `text`, and how often it is to be read (1 where
 * nothing is said). A file that bears the whole text as its name is that file, once.
 * Owns: nothing. Errors: SONDE_E_ARG (a number that is 0 or too large). */
SONDE_API sonde_status sonde_corpus_split(size_t *path_bytes, int64_t *repeat, const char *text) SONDE_MUST_USE;

/* What the stream has, a file that counts twice counted twice: tokens (with separators), documents, and bytes of their texts
 * (bits per byte = nats per token * n_tokens / n_bytes / ln 2). Owns: nothing. Errors: none. */
SONDE_API int64_t sonde_corpus_n_tokens(const sonde_corpus *corpus);
SONDE_API int64_t sonde_corpus_n_documents(const sonde_corpus *corpus);
SONDE_API int64_t sonde_corpus_n_bytes(const sonde_corpus *corpus);

/* The size of the vocabulary: all ids are below it. Owns: nothing. Errors: none. */
SONDE_API int64_t sonde_corpus_n_vocab(const sonde_corpus *corpus);

/* A number that tells one stream from another, for the manifest of a run and for resuming it: a hash of the ids of each file and
 * of how often it counts. The same on every machine, for any number of threads.
 * Owns: nothing. Errors: none. */
SONDE_API uint64_t sonde_corpus_hash(const sonde_corpus *corpus);

/* Ids [first, first + n) of the stream. The stream is a ring: behind its last id comes its first.
 *
 * out      (n)
 * first    in [0, n_tokens)
 *
 * Owns: nothing. Errors: none (an empty corpus, or a place outside it, is the caller's bug). */
SONDE_API void sonde_corpus_read(int32_t *out, const sonde_corpus *corpus, int64_t first, int64_t n);

/* Where document i of the stream lies: its first id, which is the separator, how many ids it has with that, and the bytes of
 * its text. Owns: nothing. Errors: none; i is in [0, n_documents). */
SONDE_API void sonde_corpus_document(int64_t *first, int64_t *n_tokens, int64_t *n_bytes, const sonde_corpus *corpus,
                                     int64_t i);

/* ---- contexts ----------------------------------------------------------------------------------------------------------- */

/* The stream of a corpus cut into contexts of T tokens, in an order of its own for each epoch. Plain data, made by init; to be
 * copied freely.
 *
 *   epoch e           cuts at offset(seed, e) + k T, k = 0 .. n - 1, n = n_tokens / T, on the ring
 *   number i          of all epochs: epoch i / n, and there piece k = permutation(seed, e, i mod n)
 *
 * Which context number i is depends on (corpus, T, seed, i) alone: training that takes numbers step * B .. step * B + B - 1 is
 * resumed by knowing its step, and any thread may ask for any number. */
typedef struct sonde_contexts {
    const sonde_corpus *corpus; /* borrowed */
    int64_t length;             /* T */
    int64_t n;                  /* contexts in an epoch */
    uint64_t seed;
} sonde_contexts;

/* Cuts a corpus into contexts of `length` tokens; `at_least` is the number that the caller needs (a batch).
 * Owns: borrows the corpus, which must not be added to while the contexts are used.
 * Errors: SONDE_E_ARG (length below 1), SONDE_E_RANGE (fewer contexts than at_least: both numbers; an empty corpus). */
SONDE_API sonde_status sonde_contexts_init(sonde_contexts *out, const sonde_corpus *corpus, int64_t length, int64_t at_least,
                                           uint64_t seed) SONDE_MUST_USE;

/* Context number `index` of all epochs, counted from 0: its T ids, and the one behind them, which the last is to predict.
 *
 * out      (T + 1)
 *
 * Owns: nothing. Threads: any number at once. Cost: T + 1 copies. Errors: none.
 * Source: the order is a Feistel network of Philox rounds, walked until it lands inside (Black and Rogaway 2002, "Ciphers with
 * arbitrary finite domains"). */
SONDE_API void sonde_contexts_get(int32_t *out, const sonde_contexts *contexts, int64_t index);

/* Where that context begins in the stream. Owns: nothing. Errors: none. */
SONDE_API int64_t sonde_contexts_first(const sonde_contexts *contexts, int64_t index);

/* ---- training a tokenizer ------------------------------------------------------------------------------------------- */

/* Byte-level BPE as GPT-2 has it. A text is cut into words by a pattern, and each word is bytes at first. Then, until the
 * vocabulary is full, the two neighbouring tokens a b that are met most often,
 *
 *     argmax over (a, b) of  sum over words w of  n(w) |{i: w_i = a, w_i+1 = b}|,
 *
 * become one new token wherever they stand together. Texts are known by their words alone: their order does not matter, and
 * a special token that stands in one is text like any other. */
typedef struct sonde_bpe_trainer sonde_bpe_trainer;

/* How texts are cut into words. */
typedef enum sonde_bpe_pattern {
    SONDE_BPE_PATTERN_GPT2 = 0,
    SONDE_BPE_PATTERN_LLAMA3 = 1, /* Llama-3's: three digits at most go together, contractions in any case */
} sonde_bpe_pattern;

typedef struct sonde_bpe_trainer_opts {
    size_t struct_size;
    int64_t n_vocab;           /* ids in all: special tokens, 256 bytes, merges; to be set, at most 2^24 */
    int64_t min_frequency;     /* a pair that is met less often is not merged; default 2 */
    sonde_bpe_pattern pattern; /* default SONDE_BPE_PATTERN_GPT2 */
    const char *const
        *specials; /* (n_specials) ids 0, 1, ...; one that comes twice counts once; default <|endoftext|> alone */
    int64_t n_specials;
    bool prepends_bos; /* the file puts the first special token before every text that is encoded; default false */
} sonde_bpe_trainer_opts;

/* The defaults. Owns: nothing. Errors: none. */
SONDE_API void sonde_bpe_trainer_opts_init(sonde_bpe_trainer_opts *out);

/* A trainer that has seen no text. Owns: *out is yours: sonde_bpe_trainer_free. Copies the options.
 * Errors: SONDE_E_ARG (an option outside its bounds, an empty special token), SONDE_E_RANGE (n_vocab has no room for the bytes
 *         and the special tokens: both numbers), SONDE_E_NOMEM. *out is NULL then. */
SONDE_API sonde_status sonde_bpe_trainer_new(sonde_bpe_trainer **out, const sonde_bpe_trainer_opts *opts) SONDE_MUST_USE;
SONDE_API void sonde_bpe_trainer_free(sonde_bpe_trainer *trainer);

/* Counts the words of one text, with all threads; texts wait until some megabytes are together.
 *
 * text   n_bytes of UTF-8
 *
 * Owns: borrows text during the call. Threads: one at a time may call; the result does not depend on their number.
 * Cost: 60 MB/s a core or more; memory for the different words and, at most, 16 MB of text.
 * Errors: SONDE_E_FORMAT (byte that is not UTF-8), SONDE_E_RANGE (2^31 different words), SONDE_E_INTERRUPTED, SONDE_E_NOMEM,
 *         SONDE_E_STATE (after sonde_bpe_trainer_learn). */
SONDE_API sonde_status sonde_bpe_trainer_add(sonde_bpe_trainer *trainer, const char *text, size_t n_bytes) SONDE_MUST_USE;

/* Learns the merges from all texts. Once.
 *
 * Ties: of pairs that are met equally often the one with the smaller left id, then the smaller right id.
 * Owns: nothing.
 * Errors: SONDE_E_NOTFOUND (no text, or only empty ones), SONDE_E_RANGE (the texts support fewer tokens than n_vocab: the message
 *         says how many), SONDE_E_INTERRUPTED, SONDE_E_NOMEM, SONDE_E_STATE (called before).
 * Source: Sennrich, Haddow, Birch 2016; the byte level of Radford et al. 2019.
 * Reference: ids, tokens and merges are those of `tokenizers`' BpeTrainer with ByteLevel and its alphabet (tests/oracle). */
SONDE_API sonde_status sonde_bpe_trainer_learn(sonde_bpe_trainer *trainer) SONDE_MUST_USE;

/* Writes what was learnt as a tokenizer.json, byte for byte as `tokenizers` saves it. `path` is a file if it is one or ends in
 * .json, else a folder, which is made if it is not there. The file appears when it is complete.
 * Owns: nothing. Errors: SONDE_E_IO, SONDE_E_NOMEM, SONDE_E_STATE (nothing was learnt). */
SONDE_API sonde_status sonde_bpe_trainer_save(const sonde_bpe_trainer *trainer, const char *path) SONDE_MUST_USE;

/* Sizes of what a trainer has seen and learnt. */
typedef struct sonde_bpe_trainer_totals {
    int64_t n_texts, n_bytes;
    int64_t n_words, n_different; /* known once learnt, as the rest */
    int64_t n_vocab, n_merges;
} sonde_bpe_trainer_totals;

/* What a trainer has seen and learnt so far. Owns: borrows, valid while the trainer lives. Errors: none. */
SONDE_API const sonde_bpe_trainer_totals *sonde_bpe_trainer_get_totals(const sonde_bpe_trainer *trainer);

typedef struct sonde_documents_writer sonde_documents_writer;

/* Begins a .jsonl file that sonde_documents_open reads: one object a line, {"text": ...}, packed where the name ends in .zst.
 * It appears under its name when it is committed. `field` names the text; NULL means "text".
 *
 * Owns: *out is yours: exactly one of commit and abort. Memory: a line and some buffers.
 * Errors: SONDE_E_ARG (a name without .jsonl or .jsonl.zst at its end), SONDE_E_IO, SONDE_E_NOMEM. *out is NULL then. */
SONDE_API sonde_status sonde_documents_create(sonde_documents_writer **out, const char *path,
                                              const char *field) SONDE_MUST_USE;

/* Appends a document: n_bytes of UTF-8; NULs are text. Owns: nothing. Errors: SONDE_E_FORMAT (not UTF-8), SONDE_E_IO, SONDE_E_NOMEM. */
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
