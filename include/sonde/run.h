/* sonde/run.h - passes with hooks: capture, change, gradients, generate.       floor 6: run
 *
 * A run belongs to one model. It is told what to keep and what to change, then takes tokens; its memory is planned from
 * that and kept from pass to pass. Only what somebody reads is computed: a pass ends behind the last hooked layer unless
 * logits are wanted.
 */
#ifndef SONDE_RUN_H
#define SONDE_RUN_H

#include <sonde/model.h>
#include <sonde/text.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sonde_run sonde_run;

/* A run without hooks. Owns: *out is yours: sonde_run_free; borrows the model. One thread at a time.
 * Errors: SONDE_E_NOMEM. */
SONDE_API sonde_status sonde_run_new(sonde_run **out, const sonde_model *model) SONDE_MUST_USE;

/* Frees a run and what it captured; NULL is fine. Owns: takes the run. Errors: none. */
SONDE_API void sonde_run_free(sonde_run *run);

/* ---- what to keep ------------------------------------------------------------------------------------------------ */

/* Positions of a sequence to keep; negative ones count from its end. */
typedef struct sonde_position_list {
    const int64_t *positions;
    int64_t n;
} sonde_position_list;

/* Keeps the tensors of all points that `pattern` names (see sonde_hook_match), at all positions (`where` NULL) or at
 * chosen ones. The position axis (of attention scores and patterns: the query axis) then has where->n entries. A point that
 * is captured twice keeps the later request; a capture sees what the hooks at its point have left.
 *
 * Owns: copies what it is given.
 * Errors: SONDE_E_HOOK (the pattern matches nothing), SONDE_E_NOMEM. */
SONDE_API sonde_status sonde_run_capture(sonde_run *run, const char *pattern,
                                         const sonde_position_list *where) SONDE_MUST_USE;

/* Calls `fn` at all points that `pattern` names; *id (may be NULL) names the hook for sonde_run_unhook.
 * Owns: borrows ctx. Errors: SONDE_E_HOOK, SONDE_E_ARG (unknown mode), SONDE_E_NOMEM. */
SONDE_API sonde_status sonde_run_hook(sonde_run *run, const char *pattern, sonde_hook_mode mode, sonde_hook_fn *fn,
                                      void *ctx, int64_t *id) SONDE_MUST_USE;

/* Replaces the tensors of all points that `pattern` names by `value`, whose shape must be that of the point in the pass.
 * Owns: borrows the elements of `value` until the hook is removed. Errors: as sonde_run_hook; SONDE_E_SHAPE comes from the pass. */
SONDE_API sonde_status sonde_run_patch(sonde_run *run, const char *pattern, const sonde_tensor *value,
                                       int64_t *id) SONDE_MUST_USE;

/* Removes one hook or patch, or all hooks, patches and captures, those of gradients too. Owns: nothing. Errors: sonde_run_unhook gives SONDE_E_ARG for an unknown id. */
SONDE_API sonde_status sonde_run_unhook(sonde_run *run, int64_t id) SONDE_MUST_USE;
SONDE_API void sonde_run_reset(sonde_run *run);

/* Which logits the next passes keep (see sonde_logits). Owns: nothing. Errors: none. */
SONDE_API void sonde_run_want_logits(sonde_run *run, sonde_logits which);

/* Gives logits in blocks of rows instead of keeping [B, T, V] (see sonde_logits_fn): of all real tokens, or of those chosen
 * by sonde_run_choose_logits. NULL ends it. Owns: borrows ctx. Errors: none. */
SONDE_API void sonde_run_stream_logits(sonde_run *run, sonde_logits_fn *fn, void *ctx);

/* Streams logits of chosen tokens only: `chosen` (B,T) of the next passes; only their rows are unembedded. NULL: all.
 * Few rows take another kernel than many: their logits differ from those of a whole pass by rounding.
 * Owns: borrows `chosen` until the call that replaces it. Errors: none. */
SONDE_API void sonde_run_choose_logits(sonde_run *run, const bool *chosen);

/* ---- forward ------------------------------------------------------------------------------------------------------ */

/* One forward pass over B sequences of at most T tokens.
 *
 * tokens   (B,T)  ids; entries behind a sequence's length are not read
 * lengths  (B)    real tokens of each, 0 to T; NULL means T each. Padding is computed nowhere: results of a sequence do not
 *                 depend on its neighbours, and rows of padding are 0 in what is captured (0 in attention patterns, -inf in scores)
 *
 * Owns: nothing; tokens and lengths are read during the call.
 * Errors: SONDE_E_RANGE (id outside the vocabulary, T longer than the context: with the number), SONDE_E_HOOK (a hook never
 * fired), SONDE_E_NONFINITE (names point, sequence and position), SONDE_E_INTERRUPTED, SONDE_E_NOMEM, what a hook returned.
 * Cost: 2 x parameters x tokens flops, attention extra; memory as sonde_run_plan says.
 * Threads: bytes do not depend on their number. */
SONDE_API sonde_status sonde_run_forward(sonde_run *run, const int32_t *tokens, const int64_t *lengths, int64_t B,
                                         int64_t T) SONDE_MUST_USE;

/* What the last pass captured at a point (exact name or shorthand); logits are "logits".
 * Owns: a view, valid until the next pass or the run's end. Errors: SONDE_E_HOOK (not captured), SONDE_E_STATE (no pass yet). */
SONDE_API sonde_status sonde_run_get(sonde_tensor *out, const sonde_run *run, const char *name) SONDE_MUST_USE;

/* Bytes that a pass takes. */
typedef struct sonde_plan {
    int64_t weight_bytes;  /* weights that are read, as stored */
    int64_t kept_bytes;    /* captures and logits */
    int64_t scratch_bytes; /* activations on their way, packed panels */
    double flops;
    int64_t n_layers; /* layers that are computed */
} sonde_plan;

/* The plan of a pass over B x T tokens with the present hooks; where gradients are asked for, of one that goes back. What the last
 * pass captured stays. Owns: nothing. Errors: SONDE_E_RANGE, SONDE_E_NOMEM. */
SONDE_API sonde_status sonde_run_plan(sonde_plan *out, sonde_run *run, int64_t B, int64_t T) SONDE_MUST_USE;

/* ---- gradients ------------------------------------------------------------------------------------------------------ */

/* What is differentiated. */
typedef enum sonde_objective_kind {
    SONDE_OBJECTIVE_LOSS = 0, /* the mean cross-entropy of the next token, over all tokens that have one */
    SONDE_OBJECTIVE_LOGIT =
        1, /* a logit, or the difference of two, at one position of each sequence; summed over sequences */
    SONDE_OBJECTIVE_FUNCTION = 2 /* what a function of the logits says */
} sonde_objective_kind;

/* An objective of one's own. Adds to *value what rows `first_row` .. of the batch contribute, and turns their logits (n_rows, V)
 * in place into its derivatives by them. Rows are those of real tokens, in order of sequences and positions without padding; they
 * come in blocks, each once. A non-zero return stops the pass and comes back from it unchanged. */
typedef sonde_status sonde_objective_fn(double *value, float *logits, int64_t first_row, int64_t n_rows, int64_t n_vocab,
                                        void *ctx);

typedef struct sonde_objective {
    size_t struct_size;
    int64_t kind;           /* of sonde_objective_kind */
    int64_t position;       /* of LOGIT: negative ones count from the end of each sequence */
    int64_t token;          /* of LOGIT: whose logit */
    int64_t minus;          /* of LOGIT: whose logit is subtracted; -1: none */
    double weight;          /* of LOSS and LOGIT: multiplies the value, so that several passes can make one mean */
    sonde_objective_fn *fn; /* of FUNCTION */
    void *ctx;
} sonde_objective;

/* The defaults: the loss; position -1, token 0, minus -1, weight 1. Owns: nothing. Errors: none. */
SONDE_API void sonde_objective_init(sonde_objective *out);

/* Keeps the gradients of the objective by the tensors of all points that `pattern` names, in passes that go back: shapes and
 * positions as sonde_run_capture keeps the activations. A masked score has the gradient 0; a masked entry of a pattern has one,
 * since it would count if it were set.
 *
 * Owns: copies what it is given.
 * Errors: SONDE_E_HOOK (the pattern matches nothing), SONDE_E_NOMEM. */
SONDE_API sonde_status sonde_run_want_gradient(sonde_run *run, const char *pattern,
                                               const sonde_position_list *where) SONDE_MUST_USE;

/* Calls `fn` with the gradients of all points that `pattern` names, from the last point to the first; they may be read only.
 * *id (may be NULL) names the hook for sonde_run_unhook. Owns: borrows ctx. Errors: SONDE_E_HOOK, SONDE_E_ARG, SONDE_E_NOMEM. */
SONDE_API sonde_status sonde_run_hook_gradient(sonde_run *run, const char *pattern, sonde_hook_fn *fn, void *ctx,
                                               int64_t *id) SONDE_MUST_USE;

/* One pass forward, as sonde_run_forward, and back from an objective (NULL: the defaults) to the points whose gradients are asked
 * for; it ends below the first of them. *value (may be NULL) becomes the objective.
 *
 *   gradient of a point[b,t,..] = d objective / d point[b,t,..]      0 in rows of padding
 *
 * Hooks that write: the gradient is that of the pass with what they wrote. What a hook wrote counts as constants that were added,
 * so the gradient goes through unchanged; a patch is a constant, so nothing goes back through it, and it has itself the gradient
 * of what stands there.
 *
 * Owns: nothing. Cost: the pass forward, and as much again for the layers on the way back; activations of all layers are held
 * (sonde_run_plan).
 * Errors: as sonde_run_forward; SONDE_E_ARG (an objective outside its bounds), SONDE_E_RANGE (a token or a position that is not
 * there), SONDE_E_UNSUPPORTED (a hook writes scores, patterns, scales, inputs of heads or of the MLP, or what comes behind the last
 * layer; hook_attn_in where key/value heads are grouped), SONDE_E_NONFINITE (names point, sequence and position), what the function
 * of an objective returned.
 * Source: TransformerLens's backward hooks and caches (incl_bwd), whose values these are.
 * Threads: bytes do not depend on their number. */
SONDE_API sonde_status sonde_run_backward(sonde_run *run, const int32_t *tokens, const int64_t *lengths, int64_t B,
                                          int64_t T, const sonde_objective *objective, double *value) SONDE_MUST_USE;

/* What the last pass kept of the gradient of a point (exact name or shorthand; of the logits: unembed.hook_out).
 * Owns: a view, valid until the next pass or the run's end.
 * Errors: SONDE_E_HOOK (not asked for), SONDE_E_STATE (the last pass did not go back). */
SONDE_API sonde_status sonde_run_get_gradient(sonde_tensor *out, const sonde_run *run, const char *name) SONDE_MUST_USE;

/* ---- generation ---------------------------------------------------------------------------------------------------- */

typedef struct sonde_generate_opts {
    size_t struct_size;
    int64_t max_tokens; /* new tokens at most; 0 means up to the context */
    int64_t top_k;      /* 0: all */
    int64_t stop_id;    /* ends a sequence; -1: none */
    uint64_t seed;      /* draw i of sequence b depends on (seed, b, i) alone */
    double temperature; /* 0: greedy (the lower id wins ties) */
    double top_p;       /* smallest set of tokens with at least this probability; 1: all */
    int64_t width;      /* sequences side by side at most; 0: 256 */
    const int32_t *stop_ids;
    int64_t n_stop_ids; /* further ids that end a sequence */
} sonde_generate_opts;

/* The defaults. Owns: nothing. Errors: none. */
SONDE_API void sonde_generate_opts_init(sonde_generate_opts *out);

/* Called for each new token of each sequence; non-zero stops all. */
typedef sonde_status sonde_token_fn(int64_t sequence, int32_t id, void *ctx);

/* Continues B sequences with a cache of keys and values, opts->width of them side by side; hooks of the run fire at every
 * step. As soon as a sequence ends, the next one takes its place in the same pass.
 *
 * prompts  (B,T), lengths (B) as in sonde_run_forward, each at least 1
 * fn       receives the tokens, the stop token included
 *
 * Order of filters: temperature, then top_k, then top_p, as transformers does; what they keep is drawn from in the order of
 * ids. What a sequence becomes depends on its prompt, its number b, the options and the kernels alone: not on width, the other
 * sequences or the threads. (With kernels "blas", sums of few rows may be rounded otherwise than those of many.)
 *
 * The sequences of a hook's event are those of the step, in order of their numbers; a sequence that begins has the tokens of
 * its prompt there, the others one token.
 *
 * Owns: borrows ctx. Errors: as sonde_run_forward; SONDE_E_ARG (an option outside its bounds), what `fn` returned. */
SONDE_API sonde_status sonde_generate(sonde_run *run, const int32_t *prompts, const int64_t *lengths, int64_t B, int64_t T,
                                      const sonde_generate_opts *opts, sonde_token_fn *fn, void *ctx) SONDE_MUST_USE;

/* Gives the prompt of a sequence when there is room for it: *n ids, which are read before the next call; non-zero stops all. */
typedef sonde_status sonde_prompt_fn(const int32_t **ids, int64_t *n, int64_t sequence, void *ctx);

/* Receives the n new tokens of a sequence that has ended, by a stop token (which is the last of them) or for want of room.
 * Sequences end in any order. Owns: ids are valid during the call. Non-zero stops all. */
typedef sonde_status sonde_continuation_fn(int64_t sequence, const int32_t *ids, int64_t n, bool is_stopped, void *ctx);

/* Many sequences, whose prompts are asked for one by one. */
typedef struct sonde_sequences {
    int64_t first, n;            /* their numbers are first .. first + n: those that draws depend on */
    int64_t longest;             /* tokens of the longest prompt */
    sonde_prompt_fn *prompt;     /* in order of sequences */
    sonde_token_fn *token;       /* each new token as it comes; NULL: not wanted */
    sonde_continuation_fn *done; /* each continuation as it ends; NULL: not wanted */
    void *ctx;
} sonde_sequences;

/* The same for any number of sequences: memory is that of opts->width of them.
 *
 * Owns: borrows what `sequences` points at. Errors: as sonde_generate (SONDE_E_ARG too for a prompt without tokens, or with
 * more than `longest`), what a callback returned.
 * Cost: that of the passes; of keys and values 8 x width x (longest + max_tokens, or the context) x n_kv_heads x d_head x
 * n_layers bytes, touched as they fill. */
SONDE_API sonde_status sonde_generate_many(sonde_run *run, const sonde_sequences *sequences,
                                           const sonde_generate_opts *opts) SONDE_MUST_USE;

/* ---- rows of activations, shuffled ------------------------------------------------------------------------------------ */

/* Rows of some hook points in an order of their own for each epoch, without an end: number i of it is the same whenever it is asked
 * for. Each epoch has every row once.
 *
 * Rows come in pieces (a document, a part of a file). Pieces are shuffled; as many as fit are held together, and their rows are
 * shuffled again. What is held is filled anew only when the rows that are asked for lie outside it. */
typedef struct sonde_source sonde_source;

/* Rows of n pieces, one piece behind another: out[h] (sum of their rows, width of hook h). Non-zero comes back from sonde_source_get. */
typedef sonde_status sonde_fill_fn(float *const *out, const int64_t *pieces, int64_t n, void *ctx);

/* Where rows come from. */
typedef struct sonde_source_parts {
    int64_t n_pieces;
    const int64_t *n_rows; /* (n_pieces) */
    int64_t n_hooks;
    const char *const *hooks; /* (n_hooks) names of points */
    const int64_t *widths;    /* (n_hooks) */
    uint64_t hash;            /* tells these rows from others */
    sonde_fill_fn *fill;
    void (*release)(void *ctx); /* of ctx, when the source is freed; NULL: nothing */
    void *ctx;
} sonde_source_parts;

/* A source of pieces.
 *
 * most_rows  that are held: 4 bytes for each of their numbers
 *
 * Owns: *out is yours: sonde_source_free, which releases ctx; copies the lists. On failure ctx stays the caller's. One thread at a time.
 * Errors: SONDE_E_RANGE (no rows; a piece with more rows than are held: both numbers), SONDE_E_NOMEM. *out is NULL then. */
SONDE_API sonde_status sonde_source_new(sonde_source **out, const sonde_source_parts *parts, int64_t most_rows,
                                        uint64_t seed) SONDE_MUST_USE;
SONDE_API void sonde_source_free(sonde_source *source);

/* Rows of an epoch; hook points, their names and widths; what tells these rows in this order from others. Owns: names are borrowed. Errors: none. */
SONDE_API int64_t sonde_source_n_rows(const sonde_source *source);
SONDE_API int64_t sonde_source_n_hooks(const sonde_source *source);
SONDE_API const char *sonde_source_hook(const sonde_source *source, int64_t hook);
SONDE_API int64_t sonde_source_width(const sonde_source *source, int64_t hook);
SONDE_API uint64_t sonde_source_hash(const sonde_source *source);

/* Rows first .. first + n of the order: out[h] (n, width of hook h), or NULL where they are not wanted.
 * Owns: nothing. Errors: those of where the rows come from. Threads: bytes do not depend on their number. */
SONDE_API sonde_status sonde_source_get(sonde_source *source, float *const *out, int64_t first, int64_t n) SONDE_MUST_USE;

typedef struct sonde_stream_opts {
    size_t struct_size;
    int64_t most_rows;       /* that are held; 0: 2^18 */
    uint64_t seed;           /* of the order */
    int64_t batch;           /* tokens of a pass; 0: 4,096 */
    int64_t n_documents;     /* of the corpus, from its first on; 0: all */
    const int32_t *left_out; /* ids whose positions are no rows; NULL: the corpus's separator alone */
    int64_t n_left_out;
    int64_t context; /* tokens of a document at most, the separator with them; 0: the model's */
} sonde_stream_opts;

/* The defaults. Owns: nothing. Errors: none. */
SONDE_API void sonde_stream_opts_init(sonde_stream_opts *out);

/* Rows straight from a model on a corpus: each document is a context of its own, begins with the separator, and is cut at the context. Hooks are exact names or patterns that name one point each.
 *
 * Owns: *out is yours: sonde_source_free; borrows model and corpus. Errors: SONDE_E_HOOK (a pattern that names no point, or several), SONDE_E_SHAPE (a
 * point whose rows are keys), SONDE_E_RANGE (no rows; a larger vocabulary than the model's), SONDE_E_NOMEM; sonde_source_get gives those of
 * sonde_run_forward, SONDE_E_NONFINITE (point, document, position). Cost: passes up to the last of the hooks. */
SONDE_API sonde_status sonde_source_stream(sonde_source **out, const sonde_model *model, const sonde_corpus *corpus,
                                           const char *const *hooks, int64_t n_hooks,
                                           const sonde_stream_opts *opts) SONDE_MUST_USE;

/* ---- stores of activations ---------------------------------------------------------------------------------------------- */

/* A store is a folder: store.json says what it has, shard-00000.safetensors and those behind it have it. Each hook is a tensor (rows,
 * width) under its name; `tokens`, `document` and `position` say where each row comes from. Rows are in the order of the texts. A shard
 * ends with a document, is written beside and renamed: it is there as a whole or not at all. */

/* How activations are gathered. */
typedef struct sonde_harvest_opts {
    size_t struct_size;
    int64_t dtype;           /* SONDE_F32 (default), or SONDE_BF16, rounded to nearest */
    int64_t shard_bytes;     /* of a shard at most, one document at least; 0: 2^28 */
    int64_t n_rows;          /* documents are taken until they have so many rows; 0: all */
    int64_t batch;           /* tokens of a pass; 0: 4,096 */
    int64_t context;         /* tokens of a document at most; 0: the model's context */
    const int32_t *left_out; /* ids whose positions are no rows; NULL: the corpus's separator alone */
    int64_t n_left_out;
    const char *model; /* what the store says its model is called; NULL: the directory */
} sonde_harvest_opts;

/* The defaults. Owns: nothing. Errors: none. */
SONDE_API void sonde_harvest_opts_init(sonde_harvest_opts *out);

/* What a harvest takes; all of it but the time is exact before the first pass. */
typedef struct sonde_harvest_plan {
    int64_t n_documents, n_tokens; /* that go through the model, the separators with them */
    int64_t n_rows, n_left_out;    /* rows of the store; tokens whose positions are none */
    int64_t n_behind;              /* tokens of these documents behind the context, which nobody reads */
    int64_t n_shards, n_there;     /* shards; those that are there already */
    int64_t file_bytes;            /* of all files of the finished store */
    int64_t missing_bytes;         /* of those that are not there yet, ... */
    int64_t missing_rows;          /* ... and their rows */
    int64_t buffer_bytes;          /* memory for rows on their way to the disk */
    sonde_plan pass;               /* of the largest pass */
} sonde_harvest_plan;

typedef struct sonde_harvest sonde_harvest;

/* A harvest of hook points (exact names, or patterns that name one point each) on the documents of a corpus, each of which is a context of
 * its own. Nothing is written. A folder that has a part of this very store is gone on with: its whole shards stay.
 *
 * Owns: *out is yours: sonde_harvest_free; borrows model and corpus. Cost: the weights are read once, for their hash.
 * Errors: those of sonde_source_stream; SONDE_E_ARG (options; a folder with another store: what differs; a hook point twice). *out is NULL
 * then. */
SONDE_API sonde_status sonde_harvest_new(sonde_harvest **out, const sonde_model *model, const sonde_corpus *corpus,
                                         const char *const *hooks, int64_t n_hooks, const char *folder,
                                         const sonde_harvest_opts *opts) SONDE_MUST_USE;
SONDE_API void sonde_harvest_free(sonde_harvest *harvest);

/* What it takes. Owns: nothing. Errors: as sonde_run_plan. */
SONDE_API sonde_status sonde_harvest_get_plan(sonde_harvest_plan *out, sonde_harvest *harvest) SONDE_MUST_USE;

/* Tokens that go through the model in a second, measured on the first documents in about as many seconds as are given. Nothing is
 * written. Owns: nothing. Errors: as sonde_run_forward. */
SONDE_API sonde_status sonde_harvest_measure(double *tokens_per_second, sonde_harvest *harvest,
                                             double seconds) SONDE_MUST_USE;

/* Called with the rows that are written so far, of those that were missing; non-zero stops the harvest. */
typedef sonde_status sonde_harvest_fn(int64_t n_rows, void *ctx);

/* Writes the shards that are not there. `fn` may be NULL. Killed at any moment, it leaves whole shards, and a harvest that goes on with
 * them ends with the same bytes (with the same kernels; others round otherwise, which a warning says).
 *
 * Owns: borrows ctx. Threads: bytes do not depend on their number. Cost: passes up to the last of the hooks.
 * Errors: SONDE_E_NONFINITE (document, point, position), SONDE_E_IO (a full disk), SONDE_E_INTERRUPTED, those of sonde_run_forward, what
 * `fn` returned. Whole shards stay; nothing of the one that was on its way is left. */
SONDE_API sonde_status sonde_harvest_run(sonde_harvest *harvest, sonde_harvest_fn *fn, void *ctx) SONDE_MUST_USE;

/* A store that is complete. */
typedef struct sonde_store sonde_store;

/* Opens one: every shard's header is read and held against store.json and the shards before it; the rows are mapped.
 * Owns: *out is yours: sonde_store_close.
 * Errors: SONDE_E_NOTFOUND (no store; a shard that is missing: which, of how many), SONDE_E_FORMAT (a shard that is cut: how many bytes are
 * missing; one of another store), SONDE_E_IO, SONDE_E_NOMEM. *out is NULL then. */
SONDE_API sonde_status sonde_store_open(sonde_store **out, const char *folder) SONDE_MUST_USE;
SONDE_API void sonde_store_close(sonde_store *store);

/* What it has. Names are exact. Owns: borrows. Errors: none; i is in [0, n_hooks). */
SONDE_API int64_t sonde_store_n_rows(const sonde_store *store);
SONDE_API int64_t sonde_store_n_documents(const sonde_store *store);
SONDE_API int64_t sonde_store_n_shards(const sonde_store *store);
SONDE_API int64_t sonde_store_n_hooks(const sonde_store *store);
SONDE_API const char *sonde_store_hook(const sonde_store *store, int64_t i);
SONDE_API int64_t sonde_store_width(const sonde_store *store, int64_t i);
SONDE_API sonde_dtype sonde_store_dtype(const sonde_store *store);

/* What it says of where it comes from: the model's name, and a hash that tells its rows from others. Owns: borrows. Errors: none. */
SONDE_API const char *sonde_store_model(const sonde_store *store);
SONDE_API uint64_t sonde_store_hash(const sonde_store *store);

/* The hook of a name. Owns: nothing. Errors: SONDE_E_HOOK says which hooks there are. */
SONDE_API sonde_status sonde_store_find_hook(int64_t *out, const sonde_store *store, const char *name) SONDE_MUST_USE;

/* SONDE_OK if the store's rows are those of this model. Owns: nothing. Cost: that of sonde_model_hash.
 * Errors: SONDE_E_ARG names both models. */
SONDE_API sonde_status sonde_store_check_model(const sonde_store *store, const sonde_model *model) SONDE_MUST_USE;

/* Rows first .. first + n of a hook as floats, in the order of the texts: out (n, width); and where they come from: the token, the
 * number of its document in the corpus, its position there (each (n), or NULL).
 * Owns: nothing. Errors: SONDE_E_NONFINITE (shard, hook, row: damaged); the places have none. first + n is at most n_rows. */
SONDE_API sonde_status sonde_store_read(float *out, const sonde_store *store, int64_t hook, int64_t first,
                                        int64_t n) SONDE_MUST_USE;
SONDE_API void sonde_store_places(int32_t *tokens, int64_t *documents, int32_t *positions, const sonde_store *store,
                                  int64_t first, int64_t n);

typedef struct sonde_store_opts {
    size_t struct_size;
    int64_t most_rows; /* that are held; 0: 2^18 */
    uint64_t seed;     /* of the order */
    int64_t piece;     /* rows that stay together when pieces are shuffled, at most; 0: 256 */
} sonde_store_opts;

/* The defaults. Owns: nothing. Errors: none. */
SONDE_API void sonde_store_opts_init(sonde_store_opts *out);

/* Shuffled rows of a store; hooks as sonde_store_find_hook takes them. A piece is some rows that follow each other in a shard.
 * Owns: *out is yours: sonde_source_free; borrows the store. Errors: SONDE_E_HOOK, SONDE_E_ARG (options), SONDE_E_NOMEM; sonde_source_get
 * gives those of sonde_store_read. */
SONDE_API sonde_status sonde_source_store(sonde_source **out, const sonde_store *store, const char *const *hooks,
                                          int64_t n_hooks, const sonde_store_opts *opts) SONDE_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
