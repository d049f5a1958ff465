/* run/store.h - a store of activations: its folder, how it is written and read.            floor 6: run
 *
 *   store.json                  sonde.store/1: model, texts, hooks, types, what was left out, how many rows in how many shards
 *   shard-00000.safetensors     each hook (n, width) under its name; tokens (n) i32, document (n) i64, position (n) i32
 *
 * All of it is known before the first pass, so store.json is written first, and a shard is there as a whole or not at all.
 */
#ifndef SONDEP_STORE_H
#define SONDEP_STORE_H

#include "run/stream.h"

#include <sonde/format.h>

#define SONDEP_STORE_SCHEMA "sonde.store/1"

/* What stands beside the hooks in a shard, behind them. */
enum { SONDEP_STORE_TOKENS, SONDEP_STORE_DOCUMENT, SONDEP_STORE_POSITION, SONDEP_N_STORE_COLUMNS };
enum { SONDEP_STORE_PLACE_BYTES = 16 }; /* of a row, in these columns */

/* What a shard has; its tensors are declared behind each other: hooks, then columns. */
typedef struct sondep_shard_layout {
    int64_t n_hooks;
    const char *const *hooks; /* (n_hooks) */
    const int64_t *widths;    /* (n_hooks) */
    sonde_dtype dtype;
} sondep_shard_layout;

/* Name and declaration of tensor i of a shard of n rows. */
const char *sondep_shard_tensor(sonde_tensor *out, const sondep_shard_layout *layout, int64_t i, int64_t n_rows);

/* Bytes of a row. */
int64_t sondep_shard_row_bytes(const sondep_shard_layout *layout);

/* Path of shard i. Owns: *out is yours. */
sonde_status sondep_shard_path(char **out, const char *folder, int64_t i);

/* Texts of a shard's metadata: key, value, key, value. */
enum { SONDEP_N_SHARD_TEXTS = 4, SONDEP_SHARD_TEXT = 32 };
typedef struct sondep_shard_texts {
    char values[SONDEP_N_SHARD_TEXTS][SONDEP_SHARD_TEXT];
    const char *pairs[2 * SONDEP_N_SHARD_TEXTS];
} sondep_shard_texts;
void sondep_shard_describe(sondep_shard_texts *out, const char *id, int64_t i, int64_t first_row);

/* Opens shard i of a folder and holds it against what it must be; *n_rows is what it has.
 * Owns: *out is yours: sonde_safetensors_close. Errors: SONDE_E_NOTFOUND (there is none), SONDE_E_FORMAT (it is cut: how many bytes are
 * missing; it is another store's, or another piece of this one), SONDE_E_IO, SONDE_E_NOMEM. */
sonde_status sondep_shard_open(sonde_safetensors **out, int64_t *n_rows, const sondep_shard_layout *layout,
                               const char *folder, const char *id, int64_t i, int64_t first_row);

/* n rows of a hook from `first` on will be read soon. */
void sondep_store_want(const sonde_store *store, int64_t hook, int64_t first, int64_t n);

/* Gives the pages of all shards back, once their rows were copied. */
void sondep_store_forget(const sonde_store *store);

/* First rows (n_shards + 1) of the shards of a store. Owns: borrows. */
const int64_t *sondep_store_shards(const sonde_store *store, int64_t *n_shards);

#endif
