/* cli/sae_train.h - a run of `sonde sae train`.                                 floor 10: cli */
#ifndef CLI_SAE_TRAIN_H
#define CLI_SAE_TRAIN_H

#include "sae.h"

typedef struct sae_training {
    const char *folder, *model_name;
    const cli_call *call;             /* as typed */
    const sonde_sae_train_opts *opts; /* of the command line: steps and batch are those of all units */
    json_t *earlier, *files;          /* the manifest that is there, or NULL; texts, and what they have */
    cli_model m;
    sonde_corpus *corpus;
    int32_t *ids; /* whose positions are left out; NULL: the token that begins a text */
    int64_t n_ids;
    sonde_sae_texts held_out; /* n 0: none; owned */
    sonde_store *store;       /* NULL: rows come straight from the model */
    sonde_source *source;
    const char **hooks; /* of the source */
    int64_t n_hooks;
    float **rows; /* (n_hooks) of a step */
    sae_unit *units;
    int64_t n_units;
    cli_progress progress;
    double started; /* of a steady clock */
    int64_t began, first_step;
} sae_training;

/* Reads texts to train on, and the first documents of those that are measured. Errors: those of sonde_corpus_add. */
sonde_status sae_read_texts(sae_training *t, const cli_strings *data, const char *held_out_path, int64_t n_held_out);

/* The autoencoder as it is used. Owns: *out is the caller's. Errors: those of sonde_sae_trainer_export. */
sonde_status sae_export(sonde_sae **out, const sae_training *t, const sae_unit *u);

/* What held-out texts say of all units that have taken this step, into their points. Errors: those of sonde_sae_evaluate. */
sonde_status sae_measure_held_out(const sae_training *t, int64_t step);

/* Arguments, data, machine and results, for whoever asks later how it was made. */
sonde_status sae_manifest_write(const sae_training *t, const cli_option *settings);

/* What the reader of the terminal, or a script, wants to know at the end. */
sonde_status sae_print_report(const sae_training *t);

void sae_training_free(sae_training *t);

#endif
