/* training.h - what all trainings of the program share: their folder, their manifest.     floor 10: cli */
#ifndef CLI_TRAINING_H
#define CLI_TRAINING_H

#include "cli.h"

/* ---- the folder -------------------------------------------------------------------------------------------------- */

/* "FOLDER/NAME", in buffers that rotate (4 of them). training_folder_check has seen that they are long enough. */
const char *training_path(const char *folder, const char *name);

/* Whether there is such a file or folder. */
bool training_exists(const char *path);

/* What is in the folder of a kind of training. */
typedef struct training_kind {
    const char *what;  /* "training" */
    const char *state; /* the file that makes it one: what --resume goes on from */
    const char
        *product; /* a file that comes behind the first state: without one it is somebody else's. NULL: there is none */
    const char *const *names; /* of files and folders that such a training leaves, ending with NULL */
} training_kind;

/* Before anything is read: a new training takes a folder that is not there, is empty, or has what is left of one that was
 * killed before its first state; --resume takes one with a state.
 * Errors: SONDE_E_ARG (a file; a folder of something else; a training, or what another one made, that would be lost), SONDE_E_NOTFOUND (nothing to resume). */
sonde_status training_folder_check(const char *folder, const training_kind *kind, bool is_resumed);

/* Makes the folder, takes it for this process until it ends, and removes what killed ones left half-written.
 * Errors: SONDE_E_IO, SONDE_E_ARG (another process trains there). */
sonde_status training_folder_open(const char *folder);

/* What is written at the end to a file of the folder: beside, then renamed. Errors: SONDE_E_IO. */
sonde_status training_write_text(const char *folder, const char *name, const char *text, size_t n_bytes);

/* A file of the folder that is put together in memory first, so that it is replaced in one go: opened, written to, closed.
 * Errors: SONDE_E_NOMEM; of closing also those of training_write_text. Closing frees it in any case. */
typedef struct training_memory {
    FILE *to;
    char *text;
    size_t n_bytes;
} training_memory;
sonde_status training_memory_open(training_memory *out);
sonde_status training_memory_close(training_memory *m, const char *folder, const char *name);
/* Frees what was not written, for whoever found an error between; one that is closed or all 0 stays as it is. */
void training_memory_discard(training_memory *m);

/* The whole of a file, with a NUL behind it. Owns: *out is the caller's (free). Errors: SONDE_E_NOTFOUND, SONDE_E_IO, SONDE_E_NOMEM. */
sonde_status training_read_text(char **out, size_t *n_bytes, const char *path);

/* A copy of a file under `name` in the folder. */
sonde_status training_copy(const char *folder, const char *name, const char *from);

/* ---- TensorBoard ----------------------------------------------------------------------------------------------------- */

/* The name of a file of events, which TensorBoard looks for; its beginning; the numbers of a step (those that are finite), at most thirty. */
#define TRAINING_EVENTS "events.out.tfevents.0.sonde"
void training_events_begin(FILE *to);
void training_events_add(FILE *to, int64_t step, const char *const *tags, const double *values, int64_t n);

/* ---- texts --------------------------------------------------------------------------------------------------------- */

/* Adds a file ("FILE:3": three times), of --field and at most `limit` documents, to a corpus, with progress; `files` gets a row that says
 * what it gave. Errors: those of sonde_corpus_add. */
sonde_status training_add_file(json_t *files, sonde_corpus *corpus, const char *text, int64_t limit, bool is_held_out);

/* Ids whose positions are no rows, from "1,2" (NULL: none were named) or, with_special, none at all; *ids NULL: the library's default, which is
 * the token that begins a text. Owns: *ids is the caller's (free). Errors: SONDE_E_ARG, SONDE_E_RANGE (outside the vocabulary). */
sonde_status training_left_out(int32_t **ids, int64_t *n, const cli_model *m, const char *text, bool with_special);

/* The token that begins a text: the tokenizer's, else the config's. Errors: SONDE_E_UNSUPPORTED. */
sonde_status training_separator(int32_t *out, cli_model *m);

/* ---- the manifest ------------------------------------------------------------------------------------------------ */

/* A text (null where it is none, or is not UTF-8, which JSON cannot hold); several; name number i of "a|b|c"; a hash; that of a
 * file's bytes (null where it cannot be read); seconds since 1970 as ISO 8601. Owns: the caller's: json_decref. */
json_t *training_text(const char *text);
json_t *training_texts(const char *const *items, int64_t n);
json_t *training_choice(const char *names, int64_t i);
json_t *training_hash(uint64_t hash);
json_t *training_file_hash(const char *path);
json_t *training_time(int64_t seconds);

/* The settings of the program, each under the name of its option. */
json_t *training_settings(const cli_option *settings);

/* A field of an earlier manifest (NULL: there is none), or what stands for it, which is taken. */
json_t *training_earlier(const json_t *manifest, const char *key, json_t *otherwise);

/* Writes manifest.json; takes the object. */
sonde_status training_manifest_write(json_t *manifest, const char *folder);

/* Reads the manifest of a folder, if it has one, and gives each setting that the command line does not have the value that it had.
 * Owns: *out is the caller's: json_decref; texts of settings lie in it. Errors: SONDE_E_FORMAT. */
sonde_status training_manifest_read(json_t **out, const char *folder, const cli_option *settings);

#endif
