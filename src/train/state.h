/* train/state.h - what the states of trainings say of themselves: options and other texts beside the tensors.   floor 6: train
 *
 * A state is a safetensors file whose metadata are texts: what kind of file it is, the step, all options, and what it was
 * trained on. Whoever resumes gets the same bytes as if the training had not stopped, or is told which text differs.
 */
#ifndef SONDEP_TRAIN_STATE_H
#define SONDEP_TRAIN_STATE_H

#include "base/base.h"

#include <sonde/format.h>

/* ---- options ------------------------------------------------------------------------------------------------------------ */

/* Name number i of a choice, whose names bars separate; NULL if there is none. */
const char *sondep_choice_name(size_t *n_bytes, const char *names, int64_t i);

/* A number within its bounds (NaN is not); one of the names of a choice. Errors: SONDE_E_ARG (the flag, value and bounds). */
sonde_status sondep_check_option(const char *flag, double value, double least, double most);
sonde_status sondep_check_choice(const char *flag, int64_t value, const char *names);

/* ---- writing ------------------------------------------------------------------------------------------------------------- */

enum { SONDEP_STATE_TEXTS = 80, SONDEP_STATE_TEXT = 96 };

/* Key and value pairs of a file. */
typedef struct sondep_state_texts {
    char values[SONDEP_STATE_TEXTS][SONDEP_STATE_TEXT];
    const char *pairs[2 * SONDEP_STATE_TEXTS];
    int64_t n;
} sondep_state_texts;

/* Keys are literals; values are copied. Both counts are ours, so that too many are our bug. A number reads back as the same; a
 * choice is written by its name, since its number may be another's in another version. */
void sondep_state_add(sondep_state_texts *x, const char *key, const char *value);
void sondep_state_add_whole(sondep_state_texts *x, const char *key, int64_t value);
void sondep_state_add_real(sondep_state_texts *x, const char *key, double value);
void sondep_state_add_choice(sondep_state_texts *x, const char *key, const char *names, int64_t value);
void sondep_state_add_hash(sondep_state_texts *x, const char *key, uint64_t value);

/* ---- reading ------------------------------------------------------------------------------------------------------------- */

/* A text of the file; a number or a whole number within [least, most]; a choice by its name.
 * Owns: texts are borrowed from the file. Errors: SONDE_E_FORMAT. */
sonde_status sondep_state_get(const char **out, const sonde_safetensors *file, const char *key, const char *path);
sonde_status sondep_state_read_real(double *out, const sonde_safetensors *file, const char *key, double least, double most,
                                    const char *path);
sonde_status sondep_state_read_whole(int64_t *out, const sonde_safetensors *file, const char *key, double least, double most,
                                     const char *path);
sonde_status sondep_state_read_choice(int64_t *out, const sonde_safetensors *file, const char *key, const char *names,
                                      const char *path);

/* A file of another kind, or of another version of this one. Errors: SONDE_E_FORMAT. */
sonde_status sondep_state_check_schema(const sonde_safetensors *file, const char *schema, const char *path);

/* The file's texts against those that this training would write, but for the names in `may_differ`, which NULL ends; other
 * kernels are a note in the log. Errors: SONDE_E_ARG (*key is the first text that differs), SONDE_E_FORMAT. */
sonde_status sondep_state_check(const char **key, const sonde_safetensors *file, const sondep_state_texts *own,
                                const char *const *may_differ, const char *path);

#endif
