/* model/model.h - a loaded model from the inside: weights, hook points, families.      floor 5: model
 *
 * Weights are operands of products that point into the mapped file; only small vectors (biases, gains) are converted to
 * float where they are not float already. A family is a row of `sondep_families`: how it reads its config and which
 * tensors of the file are which operand.
 */
#ifndef SONDEP_MODEL_H
#define SONDEP_MODEL_H

#include <sonde/format.h>
#include <sonde/model.h>

#include <jansson.h>

#include "format/json.h"
#include "layer/layer.h"

/* ---- hook points ---------------------------------------------------------------------------------------------------- */

/* Which models have a point: a mask of these. */
enum { HAS_ALWAYS = 0, HAS_LEARNED = 1, HAS_ROTARY = 2, HAS_GATE = 4 };

/* The one list of hook points, in the order in which a pass reaches them: kind, name within its part, axes, fires by
 * default, condition. Source: TransformerLens (names, shapes, what fires by default). */
#define SONDEP_POINTS_BEFORE(X)                     \
    X(EMBED, "hook_embed", "BTD", true, HAS_ALWAYS) \
    X(POS_EMBED, "hook_pos_embed", "BTD", true, HAS_LEARNED)
#define SONDEP_POINTS_BLOCK(X)                                        \
    X(RESID_PRE, "hook_resid_pre", "BTD", true, HAS_ALWAYS)           \
    X(ATTN_IN, "hook_attn_in", "BTHD", false, HAS_ALWAYS)             \
    X(Q_INPUT, "hook_q_input", "BTHD", false, HAS_ALWAYS)             \
    X(K_INPUT, "hook_k_input", "BTKD", false, HAS_ALWAYS)             \
    X(V_INPUT, "hook_v_input", "BTKD", false, HAS_ALWAYS)             \
    X(LN1_SCALE, "ln1.hook_scale", "BT1", true, HAS_ALWAYS)           \
    X(LN1_NORMALIZED, "ln1.hook_normalized", "BTD", true, HAS_ALWAYS) \
    X(Q, "attn.hook_q", "BTHh", true, HAS_ALWAYS)                     \
    X(K, "attn.hook_k", "BTKh", true, HAS_ALWAYS)                     \
    X(V, "attn.hook_v", "BTKh", true, HAS_ALWAYS)                     \
    X(ROT_Q, "attn.hook_rot_q", "BTHh", true, HAS_ROTARY)             \
    X(ROT_K, "attn.hook_rot_k", "BTKh", true, HAS_ROTARY)             \
    X(SCORES, "attn.hook_attn_scores", "BHTT", true, HAS_ALWAYS)      \
    X(PATTERN, "attn.hook_pattern", "BHTT", true, HAS_ALWAYS)         \
    X(Z, "attn.hook_z", "BTHh", true, HAS_ALWAYS)                     \
    X(RESULT, "attn.hook_result", "BTHD", false, HAS_ALWAYS)          \
    X(ATTN_OUT, "hook_attn_out", "BTD", true, HAS_ALWAYS)             \
    X(RESID_MID, "hook_resid_mid", "BTD", true, HAS_ALWAYS)           \
    X(MLP_IN, "hook_mlp_in", "BTD", false, HAS_ALWAYS)                \
    X(LN2_SCALE, "ln2.hook_scale", "BT1", true, HAS_ALWAYS)           \
    X(LN2_NORMALIZED, "ln2.hook_normalized", "BTD", true, HAS_ALWAYS) \
    X(PRE, "mlp.hook_pre", "BTM", true, HAS_ALWAYS)                   \
    X(PRE_LINEAR, "mlp.hook_pre_linear", "BTM", true, HAS_GATE)       \
    X(POST, "mlp.hook_post", "BTM", true, HAS_ALWAYS)                 \
    X(MLP_OUT, "hook_mlp_out", "BTD", true, HAS_ALWAYS)               \
    X(RESID_POST, "hook_resid_post", "BTD", true, HAS_ALWAYS)
#define SONDEP_POINTS_AFTER(X)                                                  \
    X(LN_FINAL_SCALE, "ln_final.hook_scale", "BT1", true, HAS_ALWAYS)           \
    X(LN_FINAL_NORMALIZED, "ln_final.hook_normalized", "BTD", true, HAS_ALWAYS) \
    X(UNEMBED_IN, "unembed.hook_in", "BTD", true, HAS_ALWAYS)                   \
    X(UNEMBED_OUT, "unembed.hook_out", "BTV", true, HAS_ALWAYS)

#define SONDEP_POINT_ENUM(kind, name, axes, by_default, condition) SONDEP_POINT_##kind,
typedef enum sondep_point_kind {
    SONDEP_POINTS_BEFORE(SONDEP_POINT_ENUM) SONDEP_POINTS_BLOCK(SONDEP_POINT_ENUM) SONDEP_POINTS_AFTER(SONDEP_POINT_ENUM)
        SONDEP_N_POINT_KINDS
} sondep_point_kind;
#undef SONDEP_POINT_ENUM

/* The points of one model. */
typedef struct sondep_points {
    sonde_hook_point *points;
    char **names; /* owned */
    int64_t n;
    int64_t first[SONDEP_N_POINT_KINDS]; /* index in layer 0, or -1 if the model lacks it */
    int64_t per_layer;                   /* from a layer's point to the same one of the next */
} sondep_points;

sonde_status sondep_points_make(sondep_points *out, const sonde_config *config);
void sondep_points_release(sondep_points *points);

/* Index of a point; `layer` is 0 for those outside the blocks. -1 if the model lacks it. */
static inline int64_t sondep_point(const sondep_points *points, sondep_point_kind kind, int64_t layer)
{
    int64_t first = points->first[kind];
    bool in_block = kind >= SONDEP_POINT_RESID_PRE && kind <= SONDEP_POINT_RESID_POST;
    return first < 0 ? -1 : first + (in_block ? layer * points->per_layer : 0);
}

/* ---- weights ---------------------------------------------------------------------------------------------------------- */

typedef struct sondep_block {
    sondep_norm_weights ln1, ln2;
    sondep_linear q, k, v, o;
    sondep_linear qkv;            /* the three as one product where they lie side by side in the file; else n_out is 0 */
    sondep_linear gate, up, down; /* no gate: up is the MLP's first matrix */
} sondep_block;

/* Where tensors come from while a model is made: a file, another model, or a generator of random numbers. */
typedef struct sondep_source {
    const sonde_safetensors *file;  /* NULL: none */
    const struct sonde_model *from; /* whose weights are copied, as floats, into one block; NULL: none */
    const char *path;
    const char *prefix; /* put before every name: "transformer." or "" */
    uint64_t seed;
} sondep_source;

typedef struct sondep_named_weight {
    char *name;
    sonde_tensor tensor;
} sondep_named_weight;

typedef struct sondep_mapped {
    void *block;
    size_t bytes;
} sondep_mapped;

struct sonde_model {
    sonde_config config;
    char *directory;
    const char *prefix; /* of the names of its tensors */
    sonde_safetensors *file;
    sondep_points points;
    sondep_act act;
    sondep_precision precision;

    sondep_matrix wte, wpe; /* (V,D), (context,D) */
    sondep_block *blocks;
    sondep_norm_weights ln_final;
    sondep_linear unembed;

    sondep_named_weight *named; /* every tensor that was taken, by its name in the file */
    int64_t n_named, named_capacity;
    void **owned; /* converted vectors */
    int64_t n_owned, owned_capacity;
    float *parameters; /* all weights one behind the other, if it can be trained; else NULL. One of `mapped` */
    int64_t n_parameters;
    sondep_mapped *mapped; /* random matrices, and matrices that lie unaligned in their file */
    int64_t n_mapped, mapped_capacity;
};

/* How a matrix lies in the file: Conv1D stores (in, out), nn.Linear (out, in). */
typedef enum sondep_layout { SONDEP_IN_OUT, SONDEP_OUT_IN } sondep_layout;

/* Takes a matrix or a vector of the stated size from a source; the name is completed by the source's prefix.
 * Errors: SONDE_E_NOTFOUND, SONDE_E_SHAPE (name, both shapes), SONDE_E_UNSUPPORTED (not a float type). */
sonde_status sondep_take_matrix(sonde_model *model, const sondep_source *source, sondep_matrix *out, sondep_layout layout,
                                int64_t n_in, int64_t n_out, const char *name);
sonde_status sondep_take_vector(sonde_model *model, const sondep_source *source, const float **out, int64_t n,
                                const char *name, float random_value);

/* A linear layer `<name>.weight`, and `<name>.bias` if it has one. */
sonde_status sondep_take_linear(sonde_model *model, const sondep_source *source, sondep_linear *out, sondep_layout layout,
                                int64_t n_in, int64_t n_out, bool has_bias, const char *name);

/* A normalisation `<name>.weight`, `<name>.bias`. */
sonde_status sondep_take_norm(sonde_model *model, const sondep_source *source, sondep_norm_weights *out, bool has_bias,
                              const char *name);

/* The embedding matrix and the unembedding, tied or not. Where a config says that they are tied and the file has both with
 * different values, they are not, as transformers decides; where the file has only one, it serves for both. */
sonde_status sondep_take_embeddings(sonde_model *model, const sondep_source *source, const char *name);

/* Room in `parameters` for all weights of another model. */
sonde_status sondep_weights_reserve(sonde_model *model, const sonde_model *from);

void sondep_weights_release(sonde_model *model);

/* A model that can be trained: the weights of `from` as floats in one block of n_parameters, each tensor on a line of the
 * cache, gaps 0. A gradient or a moment of the same size has the one of weight w at w - model->parameters.
 * Owns: *out is the caller's: sonde_model_free; it does not need `from` any more. Errors: SONDE_E_NOMEM. */
sonde_status sondep_model_trainable(sonde_model **out, const sonde_model *from);

/* ---- families --------------------------------------------------------------------------------------------------------- */

typedef struct sondep_family {
    const char *name;
    const char *const *model_types; /* values of config.json's model_type, NULL at the end */
    const char *distinctive_field;  /* decides where config.json has no model_type */
    const char *const *prefixes;    /* what may stand before the names of the file, NULL at the end */
    const char *probe;              /* a tensor that every model of the family has, without its prefix */
    const char *embedding;          /* the matrix that a tied unembedding shares, without its prefix */
    sonde_status (*read_config)(sonde_config *out, const json_t *json, const char *path);
    sonde_status (*take_weights)(sonde_model *model, const sondep_source *source);
    sonde_status (*check_config)(const sonde_config *config, const char *path); /* the family can express it */
    void (*write_config)(sondep_json_writer *out, const sonde_config *config);  /* fields of config.json that are its own */
} sondep_family;

extern const sondep_family sondep_gpt2, sondep_llama;

/* The family of a name. Errors: SONDE_E_UNSUPPORTED. */
sonde_status sondep_family_by_name(const sondep_family **out, const char *name);

/* Of the bytes of a weight, for any number of threads. */
uint64_t sondep_hash_weight(const char *bytes, size_t n);

#endif
