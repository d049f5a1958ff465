/* sonde/model.h - language models from the files that people have.             floor 5: model
 *
 * A model is a directory: config.json, *.safetensors (one file, or shards with an index) and, for texts, tokenizer.json.
 * Its architecture comes from the fields of config.json. Weights are mapped and used where they lie; nothing is folded,
 * centred or rounded. Legend of shapes: B batch, T position, D d_model, H heads, K key/value heads, h head width, M MLP
 * width, V vocabulary, L layers.
 */
#ifndef SONDE_MODEL_H
#define SONDE_MODEL_H

#include <sonde/hook.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sonde_model sonde_model;

typedef enum sonde_norm { SONDE_LAYERNORM, SONDE_RMSNORM } sonde_norm;
typedef enum sonde_positions { SONDE_POSITIONS_LEARNED, SONDE_POSITIONS_ROTARY } sonde_positions;

/* Frequencies of the rotary embedding. `type` "default" uses theta alone. Source: transformers modeling_rope_utils.py. */
typedef struct sonde_rope {
    double theta;
    char type[16]; /* default, linear, llama3 */
    double factor, low_freq_factor, high_freq_factor;
    int64_t original_context;
} sonde_rope;

/* What a model is, in the terms of this library; made from config.json, or by hand for sonde_model_random. */
typedef struct sonde_config {
    char family[32];     /* gpt2, llama */
    char model_type[64]; /* as config.json says */
    char activation[32]; /* as config.json says: gelu_new, silu, ... */
    int64_t n_layers, d_model, n_heads, n_kv_heads, d_head, d_mlp, n_vocab, n_context;
    sonde_norm norm;
    double norm_eps;
    sonde_positions positions;
    sonde_rope rope;
    bool gated_mlp, tied, scale_attention; /* scale_attention: scores are divided by sqrt(h) */
    bool has_qkv_bias, has_o_bias, has_mlp_bias;
    bool norm_bias, unembed_bias;
    int64_t bos_id, eos_id; /* -1: none, or outside the vocabulary */
} sonde_config;

/* How the products are computed. */
typedef enum sonde_products { SONDE_PRODUCTS_F32 = 0, SONDE_PRODUCTS_BF16 = 1 } sonde_products;

typedef struct sonde_model_opts {
    size_t struct_size;
    int64_t products; /* sonde_products: f32 (default), or bf16 factors with f32 sums */
} sonde_model_opts;

/* The defaults. Owns: nothing. Errors: none. */
SONDE_API void sonde_model_opts_init(sonde_model_opts *out);

/* Loads a model directory; `opts` NULL means defaults.
 *
 * Owns: *out is yours: sonde_model_free. The files stay mapped until then.
 * Cost: the header and the pages that a run touches; nothing is copied.
 * Errors: SONDE_E_NOTFOUND (no such directory, file, tensor), SONDE_E_FORMAT (damaged file: name and byte),
 *         SONDE_E_SHAPE (a tensor does not fit the config: name and both shapes), SONDE_E_UNSUPPORTED (a field that would
 *         change the result and is not handled: its name), SONDE_E_RANGE, SONDE_E_NOMEM, SONDE_E_IO. *out is NULL then. */
SONDE_API sonde_status sonde_model_load(sonde_model **out, const char *directory,
                                        const sonde_model_opts *opts) SONDE_MUST_USE;

/* A model with random weights, normal with deviation 0.02, gains 1, biases 0: for benchmarks and tests.
 *
 * Owns: *out is yours: sonde_model_free. Errors: SONDE_E_ARG (sizes that do not fit together), SONDE_E_NOMEM. */
SONDE_API sonde_status sonde_model_random(sonde_model **out, const sonde_config *config, uint64_t seed,
                                          const sonde_model_opts *opts) SONDE_MUST_USE;

/* Config of a well-known shape: "gpt2-small", "one-layer", ... Owns: nothing. Errors: SONDE_E_ARG lists the names. */
SONDE_API sonde_status sonde_config_shape(sonde_config *out, const char *name) SONDE_MUST_USE;

/* Config from a config.json, or from the directory that has one: what sonde_model_load would see.
 * Owns: nothing. Errors: as sonde_model_load's for that file; `out` is untouched then. */
SONDE_API sonde_status sonde_config_load(sonde_config *out, const char *path) SONDE_MUST_USE;

/* Writes a config as the config.json that transformers 4 and 5 read to the same model; its `dtype` says float32.
 * Owns: nothing. Errors: SONDE_E_UNSUPPORTED (what the config's family cannot express: the name of the field), SONDE_E_RANGE and
 * SONDE_E_SHAPE (sizes that do not fit together), SONDE_E_IO, SONDE_E_NOMEM. No file is left then. */
SONDE_API sonde_status sonde_config_save(const sonde_config *config, const char *path) SONDE_MUST_USE;

enum { SONDE_AS_STORED = -1 };

/* How a model is saved. */
typedef struct sonde_save_opts {
    size_t struct_size;
    int64_t dtype;               /* SONDE_F32, SONDE_F16, SONDE_BF16; SONDE_AS_STORED (default): each tensor as it is */
    const char *tokenizer;       /* a tokenizer.json that is copied, or a directory that has one; NULL: none */
    const char *const *metadata; /* n_metadata pairs key, value for the file's __metadata__, such as where it came from */
    int64_t n_metadata;
} sonde_save_opts;

/* The defaults. Owns: nothing. Errors: none. */
SONDE_API void sonde_save_opts_init(sonde_save_opts *out);

/* Writes a model as a directory in the layout of Hugging Face, which transformers 4 and 5 load: config.json, model.safetensors
 * (names and layout of the family's class, a tied matrix once) and, where one is given, tokenizer.json with a
 * tokenizer_config.json. `opts` NULL means defaults.
 *
 * Everything is written into `<directory>.<pid>.part` and flushed; then it takes the place of `directory` as a whole: a model that
 * was there is replaced, whatever files of a model it had. A directory that is something else is refused. The model may be the one
 * that was loaded from there.
 *
 * Owns: nothing. Cost: one copy of the weights on the disk, 512 KiB of memory.
 * Errors: SONDE_E_ARG (the directory is a file, or no model's: what was found; options), SONDE_E_UNSUPPORTED (what the family cannot
 *         express: the field), SONDE_E_NONFINITE and SONDE_E_RANGE (a weight that is not finite, or would not be as `dtype`: its
 *         name and element), SONDE_E_IO (a full disk), SONDE_E_NOMEM, and those of sonde_tokenizer_load. What was there is as it was
 *         then, and nothing is left beside it. */
SONDE_API sonde_status sonde_model_save(const sonde_model *model, const char *directory,
                                        const sonde_save_opts *opts) SONDE_MUST_USE;

/* Frees a model; NULL is fine. Runs over it must be freed before. Owns: takes the model. Errors: none. */
SONDE_API void sonde_model_free(sonde_model *model);

/* Which logits a pass keeps. */
typedef enum sonde_logits {
    SONDE_LOGITS_NONE = 0, /* a pass ends behind the last hooked layer */
    SONDE_LOGITS_LAST = 1, /* of the last token of each sequence: [B, 1, V] */
    SONDE_LOGITS_ALL = 2   /* [B, T, V] */
} sonde_logits;

/* Receives logits in blocks of rows: `logits` (n_rows, V) are those of the wanted tokens, in order of sequences and positions
 * without padding, row `first_row` of them on. They are valid during the call; a non-zero return stops the pass. */
typedef sonde_status sonde_logits_fn(const float *logits, int64_t first_row, int64_t n_rows, int64_t n_vocab, void *ctx);

/* What the model is. Owns: borrows from the model. Errors: none. */
SONDE_API const sonde_config *sonde_model_config(const sonde_model *model);

/* Directory that it was loaded from, "" for a random one. Owns: borrows. Errors: none. */
SONDE_API const char *sonde_model_directory(const sonde_model *model);

/* Number of parameters (a tied matrix counts once), bytes of weights as stored, and the stored type of most of them.
 * Owns: nothing. Errors: none. */
SONDE_API int64_t sonde_model_n_parameters(const sonde_model *model);
SONDE_API size_t sonde_model_weight_bytes(const sonde_model *model);
SONDE_API sonde_dtype sonde_model_weight_dtype(const sonde_model *model);

/* A number that tells one model from another: a hash of its config and of all its weights. The same on every machine, for any number
 * of threads. Owns: nothing. Cost: all weights are read once. Errors: none. */
SONDE_API uint64_t sonde_model_hash(const sonde_model *model);

/* All hook points, in the order in which a forward pass reaches them. Owns: borrows from the model. Errors: none. */
SONDE_API const sonde_hook_point *sonde_model_hook_points(const sonde_model *model, int64_t *n_points);

/* Weights by the names of the model's own files ("transformer.wte.weight"), for looking at them.
 * Owns: a view; valid while the model lives. Errors: SONDE_E_NOTFOUND. */
SONDE_API sonde_status sonde_model_weight(sonde_tensor *out, const sonde_model *model, const char *name) SONDE_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
