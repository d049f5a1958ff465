/* format/pickle.h - a pickle as a tree of plain data and tensors, and of nothing else.    floor 2: format
 *
 * A pickle is a program: as Python runs it, it may import and call anything. This machine knows the few names that files of tensors
 * need, calls none of them, and refuses every other one by name.
 */
#ifndef SONDEP_PICKLE_H
#define SONDEP_PICKLE_H

#include <sonde/tensor.h>

#include "base/base.h"

typedef enum sondep_pickle_kind {
    SONDEP_PICKLE_NONE,
    SONDEP_PICKLE_BOOL,
    SONDEP_PICKLE_WHOLE,
    SONDEP_PICKLE_REAL,
    SONDEP_PICKLE_TEXT,
    SONDEP_PICKLE_LIST,    /* a tuple, too */
    SONDEP_PICKLE_DICT,    /* items: key, value, key, value, ... */
    SONDEP_PICKLE_NAME,    /* whole: which of the names that are known */
    SONDEP_PICKLE_STORAGE, /* text: its file; whole: its elements */
    SONDEP_PICKLE_TENSOR   /* items: storage, offset, sizes, strides */
} sondep_pickle_kind;

/* A value. Its items are numbers of other values; several may name the same one. */
typedef struct sondep_pickle_node {
    sondep_pickle_kind kind;
    sonde_dtype dtype; /* of a storage */
    int64_t whole;
    double real;
    const char *text; /* n bytes of the pickle */
    size_t n;
    int32_t *items; /* owned */
    int64_t n_items, capacity;
} sondep_pickle_node;

typedef struct sondep_pickle {
    sondep_pickle_node *nodes; /* owned */
    int64_t n, capacity;
    int32_t root;
} sondep_pickle;

/* Reads the pickle in `bytes`, which it borrows; `path` is for messages. What a failed call leaves behind is for release.
 * Errors: SONDE_E_FORMAT (damaged: the byte), SONDE_E_UNSUPPORTED (it wants to use something else: its name), SONDE_E_NOMEM. */
sonde_status sondep_pickle_read(sondep_pickle *out, const char *bytes, size_t n, const char *path);
void sondep_pickle_release(sondep_pickle *pickle);

/* What PyTorch calls a storage of this type, or NULL. */
const char *sondep_pickle_storage(sonde_dtype dtype);

/* Appends the pickle of an ordered dictionary of n tensors, as torch.save writes one; tensor i has the storage i, of a type
 * that there are storages of. Errors: SONDE_E_NOMEM. */
sonde_status sondep_pickle_write(sondep_string *out, char *const *names, const sonde_tensor *tensors, int64_t n);

#endif
