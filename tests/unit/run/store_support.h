/* store_support.h - a small model with texts, and the activations that single passes over them have. Included behind cmocka.h. */
#ifndef STORE_SUPPORT_H
#define STORE_SUPPORT_H

#include <sonde/run.h>

#include <stdlib.h>
#include <string.h>

#include "statuses.h"

enum { STORE_DOCUMENTS = 40, STORE_WIDTH = 32, STORE_CONTEXT = 48, STORE_VOCABULARY = 64, STORE_POISON = 63 };

typedef struct store_model {
    sonde_model *model;
    sonde_corpus *corpus;
} store_model;

/* A model of three layers with random weights; documents of 0 to 59 tokens, some longer than its context. Document 11 alone has the
 * token STORE_POISON, at position 3. */
static inline void store_model_open(store_model *out)
{
    sonde_config config;
    int32_t ids[64];

    assert_ok(sonde_config_shape(&config, "stories"));
    config.n_layers = 3;
    config.d_model = STORE_WIDTH;
    config.n_heads = config.n_kv_heads = 4;
    config.d_head = STORE_WIDTH / 4;
    config.d_mlp = 40;
    config.n_vocab = STORE_VOCABULARY;
    config.n_context = STORE_CONTEXT;
    assert_ok(sonde_model_random(&out->model, &config, 11, NULL));
    assert_ok(sonde_corpus_new(&out->corpus, NULL, 0, STORE_VOCABULARY));
    for (int32_t d = 0; d < STORE_DOCUMENTS; d++) {
        int32_t n = d * 17 % 60;
        for (int32_t i = 0; i < n; i++)
            ids[i] = 1 + (d * 13 + i * i * 7 + i) % 62;
        if (d == 11)
            ids[2] = STORE_POISON;
        assert_ok(sonde_corpus_add_ids(out->corpus, ids, n));
    }
}

static inline void store_model_close(store_model *m)
{
    sonde_corpus_free(m->corpus);
    sonde_model_free(m->model);
}

/* From here on the embedding of STORE_POISON is no number. */
static inline void store_poison(const store_model *m)
{
    sonde_tensor wte;
    uint32_t nan_bits = 0x7fc00000u;

    assert_ok(sonde_model_weight(&wte, m->model, "model.embed_tokens.weight"));
    memcpy((float *)wte.data + STORE_POISON * STORE_WIDTH, &nan_bits, sizeof nan_bits);
}

/* Rows of blocks.1.hook_resid_post and blocks.0.attn.hook_z, in the order of the texts. */
typedef struct store_rows {
    float *resid, *z;
    int32_t *tokens, *positions;
    int64_t *documents, n;
} store_rows;

static inline void store_rows_free(store_rows *r)
{
    free(r->resid);
    free(r->z);
    free(r->tokens);
    free(r->positions);
    free(r->documents);
}

/* Each document in a pass of its own, with captures; the separator, which is its first token, with the others or without. */
static inline void store_capture(store_rows *out, const store_model *m, int keep_separator)
{
    int64_t most = STORE_DOCUMENTS * STORE_CONTEXT, first, n, n_bytes;
    size_t row_bytes = STORE_WIDTH * sizeof(float);
    sonde_run *run;
    sonde_tensor resid, z;

    *out = (store_rows){.resid = malloc((size_t)most * row_bytes),
                        .z = malloc((size_t)most * row_bytes),
                        .tokens = malloc((size_t)most * sizeof(int32_t)),
                        .positions = malloc((size_t)most * sizeof(int32_t)),
                        .documents = malloc((size_t)most * sizeof(int64_t))};
    assert_true(out->resid && out->z && out->tokens && out->positions && out->documents);
    assert_ok(sonde_run_new(&run, m->model));
    assert_ok(sonde_run_capture(run, "blocks.1.hook_resid_post", NULL));
    assert_ok(sonde_run_capture(run, "blocks.0.attn.hook_z", NULL));
    for (int64_t d = 0; d < STORE_DOCUMENTS; d++) {
        int32_t ids[STORE_CONTEXT];
        sonde_corpus_document(&first, &n, &n_bytes, m->corpus, d);
        n = n < STORE_CONTEXT ? n : STORE_CONTEXT;
        sonde_corpus_read(ids, m->corpus, first, n);
        assert_ok(sonde_run_forward(run, ids, NULL, 1, n));
        assert_ok(sonde_run_get(&resid, run, "blocks.1.hook_resid_post"));
        assert_ok(sonde_run_get(&z, run, "blocks.0.attn.hook_z"));
        for (int64_t t = keep_separator ? 0 : 1; t < n; t++, out->n++) {
            memcpy(out->resid + out->n * STORE_WIDTH, (const float *)resid.data + t * STORE_WIDTH, row_bytes);
            memcpy(out->z + out->n * STORE_WIDTH, (const float *)z.data + t * STORE_WIDTH, row_bytes);
            out->tokens[out->n] = ids[t];
            out->positions[out->n] = (int32_t)t;
            out->documents[out->n] = d;
        }
    }
    sonde_run_free(run);
}

/* A row of both hooks side by side, to be sorted by its bytes. */
static inline int store_compare_rows(const void *a, const void *b)
{
    return memcmp(a, b, 2 * STORE_WIDTH * sizeof(float));
}

static inline float *store_sorted(const float *a, const float *b, int64_t n)
{
    float *rows = malloc((size_t)n * 2 * STORE_WIDTH * sizeof *rows);

    assert_non_null(rows);
    for (int64_t i = 0; i < n; i++) {
        memcpy(rows + 2 * i * STORE_WIDTH, a + i * STORE_WIDTH, STORE_WIDTH * sizeof *rows);
        memcpy(rows + (2 * i + 1) * STORE_WIDTH, b + i * STORE_WIDTH, STORE_WIDTH * sizeof *rows);
    }
    qsort(rows, (size_t)n, 2 * STORE_WIDTH * sizeof *rows, store_compare_rows);
    return rows;
}

/* The same rows in some order, bit for bit; those of both hooks stay together. */
static inline void store_assert_same_rows(const store_rows *want, const float *resid, const float *z, int64_t n)
{
    float *a, *b;

    assert_int_equal(n, want->n);
    a = store_sorted(want->resid, want->z, n);
    b = store_sorted(resid, z, n);
    assert_memory_equal(a, b, (size_t)n * 2 * STORE_WIDTH * sizeof *a);
    free(a);
    free(b);
}

#endif
