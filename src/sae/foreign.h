/* sae/foreign.h - autoencoders in the layouts of other libraries.              floor 7: sae */
#ifndef SONDEP_FOREIGN_H
#define SONDEP_FOREIGN_H

#include "sae/sae.h"

#include <sonde/format.h>

/* A file of tensors, whatever its format: .safetensors, .npz, .pt. */
typedef struct sondep_bag {
    char *path; /* owned */
    sonde_safetensors *safetensors;
    sonde_npz *npz;
    sonde_torch *torch;
    sonde_tensor
        last; /* what was read last of .npz and .pt, so that what is asked for its shape first is not read twice; owned */
    const char *name; /* of it; NULL: nothing was read */
} sondep_bag;

/* Opens the file by its ending. What a failed opening leaves behind is for close. Errors: SONDE_E_UNSUPPORTED (another ending), those of the format. */
sonde_status sondep_bag_open(sondep_bag *out, const char *path);
void sondep_bag_close(sondep_bag *bag);
bool sondep_bag_has(const sondep_bag *bag, const char *name);

/* A tensor as floats, each of them finite. Owns: out->data is the caller's: sondep_free.
 * Errors: SONDE_E_NOTFOUND, SONDE_E_NONFINITE (its element), those of the format; out->data is NULL then. */
sonde_status sondep_bag_read(sonde_tensor *out, sondep_bag *bag, const char *name);

/* Where a weight lies: under the first of two names that is there; with its axes the other way round. */
typedef struct sondep_place {
    int weight;
    const char *name, *other; /* other: NULL if there is none */
    bool is_turned;
} sondep_place;

/* An autoencoder of `config` with the weights of the places, of which those that it does not have are passed over; a number by itself stands for all.
 * Owns: *out is the caller's. Errors: those of sonde_sae_load. */
sonde_status sondep_foreign_fill(sonde_sae **out, const sonde_sae_config *config, sondep_bag *bag,
                                 const sondep_place *places, int64_t n);

/* Rows and columns of a matrix, under the first of two names that is there. Errors: SONDE_E_NOTFOUND, SONDE_E_SHAPE. */
sonde_status sondep_foreign_sizes(int64_t *rows, int64_t *columns, sondep_bag *bag, const char *name, const char *other);

/* The number behind `before` in a text: of "layer_12" behind "layer_" 12; -1 if there is none. */
int64_t sondep_number_behind(const char *text, const char *before);

/* Of each layout: an autoencoder from `directory`, whose file of weights is `file`. Owns: *out is the caller's. Errors: those of sonde_sae_load. */
typedef sonde_status sondep_foreign_load_fn(sonde_sae **out, const char *directory, const char *file);
sondep_foreign_load_fn sondep_load_gemma_scope, sondep_load_gemma_scope_2, sondep_load_llama_scope,
    sondep_load_dictionary_learning, sondep_load_sparsify, sondep_load_openai;

/* Sizes are positive and fit in memory. Errors: SONDE_E_RANGE (the file's path). */
sonde_status sondep_sae_check_sizes(const sonde_sae_config *c, const char *path);

#endif
