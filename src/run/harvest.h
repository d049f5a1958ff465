/* run/harvest.h - a harvest from the inside: what is to be written, and how far it is.      floor 6: run */
#ifndef SONDEP_HARVEST_H
#define SONDEP_HARVEST_H

#include "run/store.h"

enum { SONDEP_STORE_ID = 17 };

struct sonde_harvest {
    sondep_stream *stream;
    char *folder, *json_path, *model_name;
    sonde_dtype dtype;
    int64_t most_shard_bytes;
    uint64_t model_hash;
    sondep_shard_layout layout;
    char id[SONDEP_STORE_ID]; /* tells this store from others */
    sondep_string json;       /* what store.json has, or is to have */
    bool has_json;            /* it is there */

    int64_t n_documents, n_rows, n_tokens, n_behind;
    int64_t n_shards, *first_document, *first_row; /* (n_shards + 1) */
    int64_t *shard_bytes;                          /* (n_shards) */
    bool *is_there;                                /* (n_shards) */

    /* rows on their way to the disk: made by the first pass */
    int64_t group_rows;  /* of some documents that go through the model together */
    float **rows;        /* (n_hooks) each (group_rows, width) */
    int32_t *tokens;     /* (group_rows) */
    int64_t *document;   /* (group_rows) */
    int32_t *position;   /* (group_rows) */
    int64_t *documents;  /* (group_rows + 1) numbers of a group's documents */
    int32_t *ids;        /* (context) of one document */
    uint16_t *converted; /* (SONDEP_CONVERTED) */
};

enum { SONDEP_CONVERTED = 1 << 16 };

/* Room for a group, once. Errors: SONDE_E_NOMEM. */
sonde_status sondep_harvest_make_room(sonde_harvest *h);

/* Documents from `first` on, up to `end`, that go through the model together. */
int64_t sondep_harvest_group(const sonde_harvest *h, int64_t first, int64_t end, int64_t most_rows);

/* Text of store.json, and the id that it has. Errors: SONDE_E_NOMEM. */
sonde_status sondep_store_describe(sonde_harvest *h);

/* Whether there is a store.json in the folder; one of another store is the error. */
sonde_status sondep_store_look(sonde_harvest *h);

#endif
