/* format/sink.h - what the writers of all formats share.                   floor 2: format
 *
 * Two kinds of writers: the flat ones (.safetensors, .npy) know where every element lies and write in place; the others
 * (.npz, .pt, .json) keep the elements in a spill file without a name, and write the real file in one go at the end.
 */
#ifndef SONDEP_SINK_H
#define SONDEP_SINK_H

#include <sonde/format.h>

#include "base/base.h"
#include "base/file.h"

typedef struct sondep_sink_format {
    const char *ending;
    const char *not_bf16;                     /* "" or what to use for BF16, which the format lacks */
    sonde_status (*open)(sonde_sink *sink);   /* lays the file out: sets `offsets` and, where it spills, `spill` */
    sonde_status (*finish)(sonde_sink *sink); /* writes what is left; NULL: nothing is */
} sondep_sink_format;

struct sonde_sink {
    const sondep_sink_format *format;
    char *path;
    int64_t n;
    char **names;
    sonde_tensor *declared; /* without data */
    char **metadata;        /* key, value, key, value, ... */
    int64_t n_metadata;     /* pairs */
    sondep_writer writer;
    int64_t *offsets;    /* where the elements of each tensor begin, in the file or in the spill file */
    int spill;           /* descriptor, or -1 where elements are written in place */
    sonde_status failed; /* of an earlier put: the file is not what it should be */
};

extern const sondep_sink_format sondep_sink_safetensors, sondep_sink_npy, sondep_sink_npz, sondep_sink_torch,
    sondep_sink_json;

/* Opens the spill file with room for all tensors, in order of declaration, and sets `offsets`. */
sonde_status sondep_spill_open(sonde_sink *sink);
sonde_status sondep_spill_write(sonde_sink *sink, int64_t offset, const void *bytes, size_t n);
/* Reads up to n bytes from where the last read ended, after sondep_spill_seek; *got is 0 at the end of the file only. */
sonde_status sondep_spill_seek(sonde_sink *sink, int64_t offset);
sonde_status sondep_spill_read(size_t *got, sonde_sink *sink, void *out, size_t n);

/* The header of an .npy file, whose length is a multiple of 64. */
sonde_status sondep_npy_header(sondep_string *out, const sonde_tensor *t);

/* Bytes that a .safetensors file of these tensors will have, for plans. Arguments as those of sonde_sink_open. Errors: SONDE_E_RANGE, SONDE_E_NOMEM. */
sonde_status sondep_safetensors_bytes(int64_t *out, const char *const *names, const sonde_tensor *declared, int64_t n,
                                      const char *const *metadata, int64_t n_metadata);

/* SONDE_E_IO unless the target is a file that can be written at any place. */
sonde_status sondep_sink_needs_file(const sonde_sink *sink);

#endif
