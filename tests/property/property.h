/* property.h - what the tests of invariants share: passes over the golden models and comparison of bytes. */
#ifndef PROPERTY_H
#define PROPERTY_H

#include "golden/golden_model.h"

/* Models that between them have every shape of path: both families, shared heads, biases, half-width weights. */
static const char *const PROPERTY_MODELS[] = {"gpt2-plain",   "gpt2-relu-inner",   "gpt2-bf16",    "llama-gqa",
                                              "llama-biases", "llama-llama3-rope", "llama-sharded"};
enum { N_PROPERTY_MODELS = sizeof PROPERTY_MODELS / sizeof *PROPERTY_MODELS };

typedef void property_fn(const golden_model *golden);

static inline void for_each_model(property_fn *fn)
{
    for (int i = 0; i < N_PROPERTY_MODELS; i++) {
        golden_model golden;
        golden_open(&golden, PROPERTY_MODELS[i]);
        fn(&golden);
        golden_close(&golden);
    }
}

/* Runs the golden tokens, with all logits. */
static inline void run_golden(sonde_run *run, const golden_model *golden)
{
    sonde_run_want_logits(run, SONDE_LOGITS_ALL);
    assert_ok(sonde_run_forward(run, golden->tokens, golden->lengths, golden->B, golden->T));
}

/* A run with nothing hooked, its pass done. */
static inline sonde_run *run_plain(const golden_model *golden)
{
    sonde_run *run;
    assert_ok(sonde_run_new(&run, golden->model));
    run_golden(run, golden);
    return run;
}

static inline bool same_bytes(const sonde_run *a, const sonde_run *b, const char *name)
{
    sonde_tensor x, y;
    assert_ok(sonde_run_get(&x, a, name));
    assert_ok(sonde_run_get(&y, b, name));
    return x.rank == y.rank && memcmp(x.shape, y.shape, sizeof x.shape) == 0 &&
           memcmp(x.data, y.data, sonde_tensor_bytes(&x)) == 0;
}

static inline void assert_same(const sonde_run *a, const sonde_run *b, const char *name, const golden_model *golden,
                               const char *why)
{
    if (!same_bytes(a, b, name))
        fail_msg("%s: '%s' has other bytes: %s", golden->directory, name, why);
}

/* Largest difference of two passes at a point, in units of its largest value. */
static inline double difference(const sonde_run *a, const sonde_run *b, const char *name)
{
    sonde_tensor x, y;
    int64_t at;
    assert_ok(sonde_run_get(&x, a, name));
    assert_ok(sonde_run_get(&y, b, name));
    return golden_error(&x, &y, &at);
}

static inline bool is_attention_square(const char *name)
{
    return strstr(name, "hook_attn_scores") != NULL || strstr(name, "hook_pattern") != NULL;
}

/* Heads of hook_attn_in feed queries and keys at once: with fewer keys than queries that is not defined (TransformerLens
 * refuses it too). */
static inline bool can_be_written(const golden_model *golden, const char *name)
{
    const sonde_config *config = sonde_model_config(golden->model);
    return config->n_heads == config->n_kv_heads || strstr(name, "hook_attn_in") == NULL;
}

#endif
