/* cli/lm.h - what the parts of `sonde lm train` share.                         floor 10: cli */
#ifndef CLI_LM_H
#define CLI_LM_H

#include "cli.h"

#include <sonde/train.h>

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

/* "FOLDER/NAME", in buffers that rotate (4 of them). */
const char *lm_path(const char *folder, const char *name);

/* What is written at the end to a file of the folder: beside, then renamed. Errors: SONDE_E_IO. */
sonde_status lm_write_text(const char *folder, const char *name, const char *text, size_t n_bytes);

/* A few short texts that the model writes now, from BOS alone, to stderr and to samples.txt. */
sonde_status lm_sample(const sonde_model *model, const sonde_tokenizer *tokenizer, int32_t bos, const char *folder, int64_t step,
                       int64_t n);

#endif
