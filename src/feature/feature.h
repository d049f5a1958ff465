/* feature/feature.h - what is known of features while texts are walked.         floor 8: feature */
#ifndef SONDEP_FEATURE_H
#define SONDEP_FEATURE_H

#include <sonde/feature.h>

#include "sae/sae.h"

enum { SONDEP_CANDIDATES = 64 }; /* tokens of a feature that the first walk keeps an eye on */

/* The one list of token classes: name, what it is. Bit i of a mask is class i. */
#define SONDEP_CLASS_LIST(X)                                                                   \
    X(LATIN, "script:Latin", "a Latin letter")                                                 \
    X(GREEK, "script:Greek", "a Greek letter")                                                 \
    X(CYRILLIC, "script:Cyrillic", "a Cyrillic letter")                                        \
    X(HEBREW, "script:Hebrew", "a Hebrew letter")                                              \
    X(ARABIC, "script:Arabic", "an Arabic letter")                                             \
    X(DEVANAGARI, "script:Devanagari", "a Devanagari letter")                                  \
    X(THAI, "script:Thai", "a Thai letter")                                                    \
    X(HANGUL, "script:Hangul", "a Hangul letter")                                              \
    X(KANA, "script:Kana", "Hiragana or Katakana")                                             \
    X(HAN, "script:Han", "a Han character")                                                    \
    X(DIGIT, "digit", "a digit")                                                               \
    X(CAPITALISED, "capitalised", "its first letter is a capital, another is not")             \
    X(CAPITALS, "capitals", "letters, all of them capitals")                                   \
    X(PUNCTUATION, "punctuation", "punctuation, and no letter or digit")                       \
    X(SYMBOL, "symbol", "a symbol (+, $, an emoji), and no letter or digit")                   \
    X(SPACE, "white space", "white space alone")                                               \
    X(NEWLINE, "newline", "has a line break")                                                  \
    X(BYTES, "part of a character", "bytes that are no whole characters")                      \
    X(SPECIAL, "special", "a special token")                                                   \
    X(WORD_START, "begins a word", "begins with a space, or the text before it ends with one") \
    X(SENTENCE_START, "begins a sentence", "the token before ends with . ! ? or a line break") \
    X(FIRST, "begins a text", "the first measured position of a text")                         \
    X(REPEATED, "repeated", "the same token stands at an earlier position of the text")

#define SONDEP_CLASS_ENUM(value, name, what) SONDEP_CLASS_##value,
enum { SONDEP_CLASS_LIST(SONDEP_CLASS_ENUM) SONDEP_N_CLASSES };
#undef SONDEP_CLASS_ENUM

/* Classes of each id by itself, as masks (V). */
void sondep_classify_tokens(uint32_t *out, const sonde_tokenizer *tokenizer, int64_t n_vocab);
const char *sondep_class_name(int which);
const char *sondep_class_what(int which);

/* Masks of all n positions of a text. */
void sondep_classify_text(uint32_t *out, const uint32_t *of_token, const int32_t *tokens, const bool *left_out, int64_t n,
                          const sonde_tokenizer *tokenizer);

/* ---- walking ------------------------------------------------------------------------------------------------------------ */

/* One text on its way: its tokens, and the features of each of its positions, in order of features. */
typedef struct sondep_text {
    int64_t number, n;      /* among all texts; tokens */
    const int32_t *tokens;  /* (n) */
    const bool *left_out;   /* (n) or NULL */
    const int64_t *first;   /* (n + 1) of the pairs of each position */
    const int32_t *feature; /* pairs */
    const float *value;
    const float *neurons; /* (n,M) or NULL */
    int64_t M;
} sondep_text;

typedef sonde_status sondep_text_fn(const sondep_text *text, void *ctx);

/* Runs the model and the encoder over all texts, in order, and calls fn for each. hook: an exact name; neurons: that of a point, or NULL. */
typedef struct sondep_walk {
    const sonde_model *model;
    const sonde_sae *sae;
    const sonde_sae_texts *texts;
    const char *hook, *neurons;
    int64_t n_neurons, batch;
    sondep_text_fn *fn;
    sonde_sae_progress_fn *progress;
    void *ctx, *progress_ctx;
    int64_t n_done, n_to_do; /* tokens, over all walks */
} sondep_walk;
sonde_status sondep_walk_texts(sondep_walk *walk);

/* ---- what is gathered ------------------------------------------------------------------------------------------------------ */

/* A position where a feature is on. */
typedef struct sondep_example {
    double value; /* activation; 0: there is none here */
    int64_t text;
    int32_t position;
    int32_t width, first; /* of its window: tokens, position of the first one */
} sondep_example;

/* Tokens that a feature is on at, with counts that are too large by at most those of what was forgotten (Metwally et al. 2005). */
typedef struct sondep_candidates {
    int32_t token[SONDEP_CANDIDATES];
    int64_t count[SONDEP_CANDIDATES];
    double sum[SONDEP_CANDIDATES];
    int n;
} sondep_candidates;

typedef struct sondep_feature {
    int64_t n_fired, n_texts, last_text;
    double sum, squares, most; /* of |f| */
    double best;               /* of the present text, and where */
    int32_t best_position;
    int n_examples;
    int64_t in_band[64]; /* firings of each */
    int64_t of_class[SONDEP_N_CLASSES];
    sondep_candidates at, before;
} sondep_feature;

typedef struct sondep_gathering {
    const sonde_model *model;
    const sonde_tokenizer *tokenizer;
    const sonde_sae *sae;
    const sonde_sae_texts *texts;
    sonde_features_opts opts;
    char *hook, *hook_out, *neurons;      /* exact names; owned; neurons NULL: there are none */
    int64_t S, M, V, window, slots;       /* slots: examples of a feature */
    uint32_t *of_token, *of_position;     /* classes of ids; of the positions of a text */
    sondep_feature *features;             /* (S) */
    sondep_example *examples;             /* (S,slots): the largest, then those of bands */
    float *acts;                          /* (S,slots,window) */
    int64_t *histograms;                  /* (S,n_bins) */
    double *with_neurons;                 /* (S,M) sum f a */
    double *neuron_sums, *neuron_squares; /* (M) */
    int64_t n_positions, n_of_class[SONDEP_N_CLASSES];
    double l0_sum;
    int64_t most_on, l0_bins[64];
    int64_t *by_text, n_by_text, next_by_text; /* places of the largest examples, by texts */
    sonde_status (*on_position)(const sondep_text *text, int64_t position, void *ctx); /* of texts that are kept whole */
    void *ctx;
} sondep_gathering;

/* What the walks do with a text. ctx: a sondep_gathering. */
sondep_text_fn sondep_gather_first, sondep_gather_second;

/* Between the walks: orders the largest examples and lists them by texts. Errors: SONDE_E_NOMEM. */
sonde_status sondep_gather_between(sondep_gathering *g);

/* ---- weights ---------------------------------------------------------------------------------------------------------------- */

/* Largest and smallest logits of each feature: tokens and values (S,2 n), the largest first, then the smallest; token -1: there are
 * none. *has false: the point has no way to the logits. Errors: SONDE_E_NOMEM, SONDE_E_INTERRUPTED. */
sonde_status sondep_feature_logits(int32_t *tokens, float *values, bool *has, const sonde_model *model, const sonde_sae *sae,
                                   const sonde_hook_point *point, int64_t n);

/* The n features with the most similar decoder rows, and cosines (S,n); -1: there are no more. Errors: SONDE_E_NOMEM. */
sonde_status sondep_feature_neighbours(int32_t *others, float *cosines, const sonde_sae *sae, int64_t n);

/* ---- the database ------------------------------------------------------------------------------------------------------------- */

typedef struct sondep_database sondep_database;

/* Opens a new one beside `path`; commit puts it there; close removes what was not committed. Errors: SONDE_E_IO. */
sonde_status sondep_database_open(sondep_database **out, const char *path);
sonde_status sondep_database_commit(sondep_database *db, int64_t *n_bytes);
void sondep_database_close(sondep_database *db);

/* A document that is kept whole, and the features of one of its positions. */
sonde_status sondep_database_add_document(sondep_database *db, const sondep_text *text);
sonde_status sondep_database_add_active(sondep_database *db, const sondep_text *text, int64_t position, int64_t most);

/* Everything else. */
sonde_status sondep_database_fill(sondep_database *db, sonde_features_report *report, const sondep_gathering *g);

#endif
