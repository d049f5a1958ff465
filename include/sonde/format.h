/* sonde/format.h - files of tensors: safetensors, npy, npz, json.              floor 2: format
 *
 * Reading trusts nothing: every offset, shape and name of a file is checked before it is used, and an error names the file,
 * the tensor and the byte. Writing is crash-safe: a file appears under its name when it is complete.
 */
#ifndef SONDE_FORMAT_H
#define SONDE_FORMAT_H

#include <sonde/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- reading safetensors ------------------------------------------------------------------------------------------ */

typedef struct sonde_safetensors sonde_safetensors;

/* Opens a .safetensors file, a .safetensors.index.json, or a directory that has model.safetensors or
 * model.safetensors.index.json; files are mapped, nothing is copied.
 *
 * Owns: *out is yours: sonde_safetensors_close.
 * Errors: SONDE_E_NOTFOUND (file, shard, tensor that the index names), SONDE_E_IO, SONDE_E_FORMAT (file, tensor, byte:
 *         truncated, overlapping or out-of-range offsets, holes, sizes that do not fit shapes, duplicate names, header that
 *         is not JSON, shard outside the index's folder), SONDE_E_UNSUPPORTED (an element type that the
 *         format does not have), SONDE_E_NOMEM. *out is NULL then.
 * Source: the checks are those of the official library (safetensors 0.7, Metadata::validate). */
SONDE_API sonde_status sonde_safetensors_open(sonde_safetensors **out, const char *path) SONDE_MUST_USE;
SONDE_API void sonde_safetensors_close(sonde_safetensors *file);

/* Number of tensors, and the i-th in order of names (byte order). Owns: borrows; views, valid while the file is open.
 * A tensor of a legal element type that this library does not read (F8_E4M3, ...) or with more than 8 axes is not among
 * them: a note says so when the file is opened, and asking for it by name is the error.
 * Errors: none; i is in [0, n). */
SONDE_API int64_t sonde_safetensors_n(const sonde_safetensors *file);
SONDE_API const char *sonde_safetensors_name(const sonde_safetensors *file, int64_t i);
SONDE_API void sonde_safetensors_at(sonde_tensor *out, const sonde_safetensors *file, int64_t i);

/* A tensor by name, and whether the file has one of that name (readable or not). Owns: a view. Cost: log n comparisons.
 * Errors: SONDE_E_NOTFOUND names it and the file; SONDE_E_UNSUPPORTED its element type. `out` is untouched then. */
SONDE_API sonde_status sonde_safetensors_get(sonde_tensor *out, const sonde_safetensors *file,
                                             const char *name) SONDE_MUST_USE;
SONDE_API bool sonde_safetensors_has(const sonde_safetensors *file, const char *name);

/* A text of __metadata__, or NULL. Owns: borrows. Errors: none. */
SONDE_API const char *sonde_safetensors_metadata(const sonde_safetensors *file, const char *key);

/* ---- reading npy and npz -------------------------------------------------------------------------------------------- */

/* Reads a .npy file (format versions 1 to 3, C or Fortran order, little or big endian) as a tensor of its own.
 * Owns: *out has memory that sonde_npy_free gives back. Errors: SONDE_E_FORMAT (file and byte), SONDE_E_UNSUPPORTED
 * (object, string, complex types), SONDE_E_NOTFOUND, SONDE_E_IO, SONDE_E_NOMEM. */
SONDE_API sonde_status sonde_npy_read(sonde_tensor *out, const char *path) SONDE_MUST_USE;
SONDE_API void sonde_npy_free(sonde_tensor *t);

/* An .npz file: a zip of .npy files, stored or deflated. */
typedef struct sonde_npz sonde_npz;

/* Opens one; nothing but its directory is read.
 * Owns: *out is yours: sonde_npz_close. One thread at a time. Errors: SONDE_E_NOTFOUND, SONDE_E_IO, SONDE_E_FORMAT (not a zip),
 * SONDE_E_NOMEM. *out is NULL then. */
SONDE_API sonde_status sonde_npz_open(sonde_npz **out, const char *path) SONDE_MUST_USE;
SONDE_API void sonde_npz_close(sonde_npz *file);

/* Number of arrays, and the name of the i-th in order of the file. Owns: borrows. Errors: none; i is in [0, n). */
SONDE_API int64_t sonde_npz_n(const sonde_npz *file);
SONDE_API const char *sonde_npz_name(const sonde_npz *file, int64_t i);

/* Reads one array. Owns: *out has memory that sonde_npy_free gives back.
 * Errors: SONDE_E_NOTFOUND (no such array), SONDE_E_FORMAT (damaged: array and byte), SONDE_E_UNSUPPORTED, SONDE_E_NOMEM. */
SONDE_API sonde_status sonde_npz_read(sonde_tensor *out, const sonde_npz *file, const char *name) SONDE_MUST_USE;

/* ---- reading PyTorch's files ------------------------------------------------------------------------------------------ */

/* A file of torch.save (the zip of PyTorch 1.6 and later). Nothing in it is run: a file that wants to use anything but tensors and plain
 * data is refused, and the error names what it wants. */
typedef struct sonde_torch sonde_torch;

/* What a value of such a file is. */
typedef enum sonde_torch_kind {
    SONDE_TORCH_NONE = 0,
    SONDE_TORCH_BOOL = 1,
    SONDE_TORCH_WHOLE = 2, /* a whole number */
    SONDE_TORCH_REAL = 3,
    SONDE_TORCH_TEXT = 4,
    SONDE_TORCH_TENSOR = 5
} sonde_torch_kind;

/* Opens one and reads what is in it, but for the elements of tensors. Dictionaries and lists within each other become one list of values,
 * with dots in their names: {"a": {"b": t}, "c": [u]} has "a.b" and "c.0"; a value by itself has the name "".
 *
 * Owns: *out is yours: sonde_torch_close. One thread at a time.
 * Errors: SONDE_E_NOTFOUND, SONDE_E_IO, SONDE_E_FORMAT (no such zip; damaged: the byte), SONDE_E_UNSUPPORTED (what it wants to use, by name; big-endian;
 * the format before PyTorch 1.6), SONDE_E_NOMEM. *out is NULL then.
 * Source: torch/serialization.py of PyTorch 2.13. Reference: tests/oracle/format_live.py. */
SONDE_API sonde_status sonde_torch_open(sonde_torch **out, const char *path) SONDE_MUST_USE;
SONDE_API void sonde_torch_close(sonde_torch *file);

/* Number of values; name and kind of the i-th, in order of the file; its place by name, or -1. Owns: borrows. Errors: none; i is in [0, n). */
SONDE_API int64_t sonde_torch_n(const sonde_torch *file);
SONDE_API const char *sonde_torch_name(const sonde_torch *file, int64_t i);
SONDE_API sonde_torch_kind sonde_torch_kind_of(const sonde_torch *file, int64_t i);
SONDE_API int64_t sonde_torch_find(const sonde_torch *file, const char *name);

/* Reads the i-th value, a tensor, row-major however it lies in the file. Owns: *out has memory that sonde_npy_free gives back.
 * Errors: SONDE_E_SHAPE (it is no tensor), SONDE_E_FORMAT (it does not fit its storage), SONDE_E_UNSUPPORTED (more than 8 axes), SONDE_E_NOMEM. */
SONDE_API sonde_status sonde_torch_read(sonde_tensor *out, const sonde_torch *file, int64_t i) SONDE_MUST_USE;

/* The i-th value as a number: of BOOL 0 or 1; of any other kind than BOOL, WHOLE and REAL, 0. As a text, n bytes with a NUL behind them: of any
 * other kind than TEXT, "". Owns: borrows. Errors: none; i is in [0, n). */
SONDE_API double sonde_torch_number(const sonde_torch *file, int64_t i);
SONDE_API const char *sonde_torch_text(const sonde_torch *file, int64_t i);

/* ---- writing ---------------------------------------------------------------------------------------------------------- */

/* A file of tensors whose names, types and shapes are known before their values: values come in any order and in pieces, so
 * that no tensor need be in memory. The ending of the path chooses the format:
 *
 *   .safetensors   written in place          .npy    one tensor only
 *   .npz           zip, stored               .pt     a dictionary of tensors, as torch.save writes it
 *   .json          {"schema": "sonde.tensors/1", "tensors": {name: {"shape", "dtype", "data"}}}, flat row-major data; -inf, inf and
 *                  nan are null
 */
typedef struct sonde_sink sonde_sink;

/* Declares the tensors and opens the file. `metadata`: n_metadata pairs key, value (safetensors' __metadata__, json's
 * "metadata"; other formats leave them out); `-` is not special.
 *
 * Owns: copies names and shapes; *out is yours: exactly one of sonde_sink_commit and sonde_sink_abort.
 * Errors: SONDE_E_ARG (unknown ending; several tensors in .npy; duplicate name), SONDE_E_UNSUPPORTED (a type the format
 * lacks), SONDE_E_IO, SONDE_E_NOMEM. */
SONDE_API sonde_status sonde_sink_open(sonde_sink **out, const char *path, const char *const *names,
                                       const sonde_tensor *declared, int64_t n, const char *const *metadata,
                                       int64_t n_metadata) SONDE_MUST_USE;

/* Writes n elements of tensor i from element `first` on; `data` has the declared type. Elements never written are 0.
 * Owns: nothing. Errors: SONDE_E_IO. */
SONDE_API sonde_status sonde_sink_put(sonde_sink *sink, int64_t i, int64_t first, const void *data,
                                      int64_t n) SONDE_MUST_USE;

/* Completes the file under its name, or removes what was written. Both free the sink. Owns: takes the sink. Errors: commit: SONDE_E_IO. */
SONDE_API sonde_status sonde_sink_commit(sonde_sink *sink) SONDE_MUST_USE;
SONDE_API void sonde_sink_abort(sonde_sink *sink);

#ifdef __cplusplus
}
#endif
#endif
