/* cli/lm.h - what the parts of `sonde lm train` share.                         floor 10: cli
 *
 *   DIR/config.json, tokenizer.json   what is trained, as it was when the training began
 *   DIR/state.safetensors             weights, moments, options: what --resume goes on from
 *   DIR/model/                        the model in Hugging Face's layout: for sonde, for transformers
 *   DIR/curve.csv .png                loss by step
 *   DIR/samples.txt                   what it wrote on the way
 *   DIR/manifest.json                 what was done, with what
 */
#ifndef CLI_LM_H
#define CLI_LM_H

#include "training.h"

#include <sonde/train.h>

/* ---- the learning curve ------------------------------------------------------------------------------------------ */

/* One line of the learning curve; NAN where nothing was measured. */
typedef struct lm_point {
    int64_t step, n_tokens;
    double loss, lr, gradient_norm, held_out_loss, held_out_bits;
} lm_point;

/* The learning curve of a training: curve.csv and curve.png in its folder. */
typedef struct lm_curve {
    lm_point *points;
    int64_t n, capacity;
} lm_curve;

sonde_status lm_curve_add(lm_curve *curve, const lm_point *point);
/* The file of an earlier run, up to a step; it is no error if there is none. */
sonde_status lm_curve_read(lm_curve *curve, const char *folder, int64_t last_step);
sonde_status lm_curve_write(const lm_curve *curve, const char *folder);
sonde_status lm_curve_draw(const lm_curve *curve, const char *folder, const char *subtitle);
void lm_curve_free(lm_curve *curve);

/* Its last line; one of NANs at step 0 if it has none. */
lm_point lm_curve_last(const lm_curve *curve);

/* ---- samples ----------------------------------------------------------------------------------------------------- */

/* Adds a few short texts that the model writes now, from BOS alone, to samples.txt and to stderr. */
sonde_status lm_sample(const sonde_model *model, const sonde_tokenizer *tokenizer, int32_t bos, const char *folder,
                       int64_t step, int64_t n);

/* Takes what was written behind a step off samples.txt; *out is the last step that it has samples of, 0 if none. */
sonde_status lm_samples_cut(int64_t *out, const char *folder, int64_t last_step);

/* ---- the manifest ------------------------------------------------------------------------------------------------ */

/* What a run of the command holds. */
typedef struct lm_training {
    const char *folder, *init;  /* init: the model whose weights it began with, or NULL */
    const cli_call *call;       /* as typed */
    const cli_option *settings; /* the program's own options that a resumed run takes over */
    json_t *earlier;            /* the manifest that is there, or NULL */
    json_t *files;              /* texts, and what they have */
    sonde_config config;
    sonde_tokenizer *tokenizer;
    sonde_corpus *corpus, *held_out;
    sonde_lm_trainer *trainer;
    int32_t separator;
    lm_curve curve;
    cli_progress progress;
    double started; /* of a steady clock */
    int64_t began;  /* seconds since 1970 */
    int64_t first_step, saved_step, sampled_step;
} lm_training;

/* Reads texts to train on ("FILE:3": three times), and texts to be measured, if any, into the corpora of a model whose tokenizer
 * and config are known. Errors: those of sonde_corpus_add. */
sonde_status lm_read_texts(lm_training *t, const cli_strings *data, const char *held_out_path);

/* Arguments, data, machine and results, for whoever asks later how it was made. */
sonde_status lm_manifest_write(const lm_training *t);

#endif
