/* format/npy.h - numpy arrays in memory, for .npy files and the members of .npz. floor 2: format */
#ifndef SONDEP_NPY_H
#define SONDEP_NPY_H

#include <sonde/format.h>

#include "base/base.h"

/* What the header of an array says. */
typedef struct sondep_npy {
    sonde_tensor tensor; /* without data */
    bool is_big_endian, is_fortran;
    size_t header_bytes; /* where the elements begin */
} sondep_npy;

/* Reads the header at the start of `bytes`; `path` is for messages. */
sonde_status sondep_npy_parse(sondep_npy *out, const char *bytes, size_t n, const char *path);

/* The array in `bytes` (n in all, header included) as a tensor of its own, row-major, in this machine's byte order. */
sonde_status sondep_npy_decode(sonde_tensor *out, const char *bytes, size_t n, const char *path);

#endif
