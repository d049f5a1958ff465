/* sae/sae.h - an autoencoder from the inside.                                  floor 7: sae */
#ifndef SONDEP_SAE_H
#define SONDEP_SAE_H

#include <sonde/sae.h>

#include "kernel/kernel.h"

#include <jansson.h>

/* The one list of weights: value, name, axes (I input, S features, O output). Which of them one has, its config says. */
#define SONDEP_SAE_WEIGHT_LIST(X)         \
    X(SONDEP_W_ENC, "W_enc", "IS")        \
    X(SONDEP_B_ENC, "b_enc", "S")         \
    X(SONDEP_W_DEC, "W_dec", "SO")        \
    X(SONDEP_B_DEC, "b_dec", "O")         \
    X(SONDEP_THRESHOLD, "threshold", "S") \
    X(SONDEP_B_GATE, "b_gate", "S")       \
    X(SONDEP_B_MAG, "b_mag", "S")         \
    X(SONDEP_R_MAG, "r_mag", "S")         \
    X(SONDEP_W_SKIP, "W_skip", "OI")

#define SONDEP_SAE_WEIGHT_ENUM(value, name, axes) value,
typedef enum sondep_sae_weight { SONDEP_SAE_WEIGHT_LIST(SONDEP_SAE_WEIGHT_ENUM) SONDEP_N_SAE_WEIGHTS } sondep_sae_weight;
#undef SONDEP_SAE_WEIGHT_ENUM

struct sonde_sae {
    sonde_sae_config config;
    const char *layout;             /* the library whose layout it was read from; NULL: SAELens */
    json_t *json;                   /* cfg.json as it was read: its metadata is kept when it is saved */
    float *block;                   /* all weights, in the order of the list; owned */
    float *w[SONDEP_N_SAE_WEIGHTS]; /* into the block; NULL: it has none */
    float *encoder;                 /* (S,D) W_enc by features; owned, of TOPK and ABSTOPK only */
    float *norms;                   /* (S) lengths of the decoder's rows; owned, with rescales_by_norm only */
};

/* cfg.json of version 6 and before. Errors: those of sonde_sae_load for that file. */
sonde_status sondep_sae_config_read(sonde_sae_config *out, const json_t *json, const char *path);

/* The same values as JSON, over what `json` (NULL: nothing) has besides. Owns: *out is the caller's: json_decref. Errors: SONDE_E_NOMEM. */
sonde_status sondep_sae_config_write(json_t **out, const sonde_sae_config *config, const json_t *json);

/* A JSON file; a file of tensors, whose format the ending of the path says. Errors: SONDE_E_IO, SONDE_E_NOMEM. */
sonde_status sondep_sae_save_json(const json_t *json, const char *path);
sonde_status sondep_sae_save_tensors(const char *path, const char *const *names, const sonde_tensor *tensors, int64_t n);

/* Name and shape of a weight; whether an autoencoder of this config has it. */
const char *sondep_sae_weight_name(int weight);
void sondep_sae_weight_shape(sonde_tensor *out, const sonde_sae_config *config, int weight);
bool sondep_sae_has_weight(const sonde_sae_config *config, int weight);

/* A new one, all weights 0. Owns: *out is the caller's. Errors: SONDE_E_RANGE, SONDE_E_NOMEM; *out is NULL then. */
sonde_status sondep_sae_new(sonde_sae **out, const sonde_sae_config *config);

/* What follows from the weights, after they were set: the encoder by features, lengths of decoder rows. Errors: SONDE_E_NOMEM. */
sonde_status sondep_sae_finish(sonde_sae *sae);

/* x -> c x before the encoder and y -> y / c behind the decoder, folded into the weights. */
void sondep_sae_fold_scale(sonde_sae *sae, double scale);

/* What a row becomes before b_dec is taken away: (x - shift) factor; and back: y back + shift. A row of zeros has no length to scale to:
 * it stays 0. */
typedef struct sondep_sae_scaling {
    double shift, factor, back;
} sondep_sae_scaling;
sondep_sae_scaling sondep_sae_scaling_of(sonde_sae_normalization kind, bool is_centred, const float *x, int64_t D);

/* ---- activations: features in place of pre-activations ------------------------------------------------------------------ */

/* v (N,S): the pre-activations in, the features out; TOPK, ABSTOPK and PURSUIT take their own products and only write. x (N,D): the
 * rows that are encoded, bias taken away; may be changed. */
typedef struct sondep_sae_rows {
    const sonde_sae *sae;
    float *v, *x;
    int64_t N;
    void *scratch;      /* of products */
    sondep_codes codes; /* room for N rows of k pairs: TOPK, ABSTOPK, PURSUIT */
    int64_t *order;     /* (N) of PURSUIT, and how many pre-activations passed, of TOPK */
    float *rest;        /* (N,D) of PURSUIT without a Gram matrix */
    const float *gram;  /* (S,S) or NULL, of PURSUIT */
} sondep_sae_rows;

/* Errors: SONDE_E_NONFINITE (TOPK, ABSTOPK and PURSUIT, which would not show it): the row. */
typedef sonde_status sondep_sae_activation_fn(const sondep_sae_rows *r);
sondep_sae_activation_fn sondep_sae_relu, sondep_sae_gated, sondep_sae_topk, sondep_sae_jumprelu, sondep_sae_pursuit;

/* ---- matching pursuit, of coders and of the training ------------------------------------------------------------------- */

/* Whether the Gram matrix of S features is kept, and how it is made. scratch: of that product. */
bool sondep_sae_has_gram(int64_t S);
void sondep_sae_make_gram(float *gram, const float *w, int64_t S, int64_t D, void *scratch);

/* Room of N rows: rest (N,D) and order (N) where there is no Gram matrix; scratch of the product of up to N rows with all features. */
typedef struct sondep_sae_pursuit_room {
    float *rest;
    int64_t *order;
    void *scratch;
} sondep_sae_pursuit_room;

/* As sondep_pursue, from rows alone: p->v is room for their products, p->gram may be NULL. Errors: SONDE_E_NONFINITE: the row. */
sonde_status sondep_sae_pursue(const sondep_codes *out, const sondep_pursuit *p, const sondep_sae_pursuit_room *room,
                               int64_t N, int64_t S, int64_t D);
#endif
