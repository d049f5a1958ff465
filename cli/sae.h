/* cli/sae.h - what the parts of `sonde sae train` share.                        floor 10: cli
 *
 *   DIR/cfg.json, sae_weights.safetensors   the autoencoder as it is used: for sonde, for SAELens
 *   DIR/training/state.safetensors          weights, moments, options: what --resume goes on from
 *   DIR/training/curve.csv .png             losses by step
 *   DIR/manifest.json                       what was done, with what
 *
 * With --also, each autoencoder has such a folder in DIR, under its name.
 */
#ifndef CLI_SAE_H
#define CLI_SAE_H

#include "training.h"

#include <sonde/sae.h>

/* ---- the learning curve ------------------------------------------------------------------------------------------ */

/* The one list of what a line of the curve has besides its step: field, column. NAN where nothing was measured. */
#define SAE_CURVE_FIELDS(X)                             \
    X(loss, "loss")                                     \
    X(mse, "mse")                                       \
    X(sparsity, "sparsity")                             \
    X(aux, "aux")                                       \
    X(l0, "l0")                                         \
    X(explained_variance, "explained_variance")         \
    X(n_dead, "dead")                                   \
    X(gradient_norm, "gradient_norm")                   \
    X(lr, "lr")                                         \
    X(held_out_l0, "held_out_l0")                       \
    X(held_out_variance, "held_out_explained_variance") \
    X(held_out_recovered, "held_out_ce_recovered")

typedef struct sae_point {
    int64_t step, n_rows;
#define FIELD(name, column) double name;
    SAE_CURVE_FIELDS(FIELD)
#undef FIELD
} sae_point;

typedef struct sae_curve {
    sae_point *points;
    int64_t n, capacity;
} sae_curve;

sonde_status sae_curve_add(sae_curve *curve, const sae_point *point);
/* The file of an earlier run, up to a step; it is no error if there is none. */
sonde_status sae_curve_read(sae_curve *curve, const char *folder, int64_t last_step);
sonde_status sae_curve_write(const sae_curve *curve, const char *folder);
/* The same as events of TensorBoard, under the names of the columns. */
sonde_status sae_curve_write_events(const sae_curve *curve, const char *folder);
sonde_status sae_curve_draw(const sae_curve *curve, const char *folder, const char *subtitle);
/* Its last line, and the last that has a held-out measurement; NULL if there is none. */
const sae_point *sae_curve_last(const sae_curve *curve, bool is_held_out);

/* ---- one autoencoder of a training -------------------------------------------------------------------------------- */

typedef struct sae_unit {
    char name[96], folder[3900]; /* folder: where it lies */
    sonde_sae_train_opts opts;
    int64_t groups[16];          /* of a state, which opts may point to */
    const char *hook, *hook_out; /* hook_out NULL: no transcoder */
    char *copy;                  /* owned: texts of --also lie in it */
    const char *width;           /* "8x", "2304" */
    int64_t in, out;             /* of the source's hooks; out -1 */
    sonde_sae_trainer *trainer;
    sae_curve curve;
    sae_point point;    /* of the last step */
    int64_t saved_step; /* -1: nothing was saved yet */
} sae_unit;

/* Makes a unit of what --also says ("arch=standard,l1=2"), over what `base` has. Owns: texts lie in out->copy, which is the caller's (free), on failure too.
 * Errors: SONDE_E_ARG (a name that is no option, a value that it cannot have). */
sonde_status sae_unit_read(sae_unit *out, const sae_unit *base, const char *also);

/* Of a unit that was read from `also`: whether each option in it is of use. Errors: SONDE_E_ARG (one that changes nothing). */
sonde_status sae_unit_check_uses(const sae_unit *u, const char *also);

/* "topk", ... in a buffer that the next call changes. */
const char *sae_arch_name(const sonde_sae_train_opts *opts);

/* Features from "2304" or "8x" (that many times d_in). Errors: SONDE_E_ARG. */
sonde_status sae_read_width(int64_t *out, const char *text, int64_t d_in);

#endif
