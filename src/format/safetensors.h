/* format/safetensors.h - what the two files of the safetensors reader share.    floor 2: format */
#ifndef SONDEP_SAFETENSORS_H
#define SONDEP_SAFETENSORS_H

#include <sonde/format.h>

#include "base/file.h"

/* One tensor of a header, checked against its file. */
typedef struct sondep_entry {
    char *name;          /* owned */
    char *unsupported;   /* owned; why it cannot be read ("element type 'F8_E4M3'"), or NULL */
    int64_t shard;       /* which mapped file it lies in */
    int64_t begin, end;  /* bytes, from the end of the header on */
    sonde_tensor tensor; /* a view of the file; not set where `unsupported` is */
} sondep_entry;

/* Texts of __metadata__ as key, value, key, value, ... */
typedef struct sondep_shard {
    sondep_file file;
    char **metadata;
    int64_t n_metadata; /* pairs */
    int64_t first_entry, n_entries;
} sondep_shard;

struct sonde_safetensors {
    char *path; /* as it was opened, for messages */
    sondep_shard *shards;
    int64_t n_shards;
    sondep_entry *entries; /* in order of names once the file is open */
    int64_t n_entries;
    int64_t *readable; /* which entries can be read, in order of names */
    int64_t n_readable;
};

/* Maps shard number `shard` and appends its tensors to file->entries. What was made stays in `file` on failure, for close.
 */
sonde_status sondep_safetensors_read_shard(sonde_safetensors *file, int64_t shard, const char *path);

/* Gives the pages of all its files back: they are read again when they are touched. */
void sondep_safetensors_forget(const sonde_safetensors *file);

#endif
