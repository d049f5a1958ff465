/* lm_support.h - tiny models and corpora of ids that tests of training share. */
#ifndef LM_SUPPORT_H
#define LM_SUPPORT_H

#include <sonde/train.h>

#include "golden/golden_model.h"

enum { LM_VOCAB = 31, LM_CONTEXT = 16 };

/* Two layers of width 16: "small" is a GPT-2 with biases and a tied unembedding, "stories" a llama. */
static inline sonde_config lm_config(const char *shape)
{
    sonde_config c;
    assert_ok(sonde_config_shape(&c, shape));
    c.n_layers = 2;
    c.d_model = 16;
    c.n_heads = c.n_kv_heads = 2;
    c.d_head = 8;
    c.d_mlp = 24;
    c.n_vocab = LM_VOCAB;
    c.n_context = LM_CONTEXT;
    c.bos_id = c.eos_id = 0;
    return c;
}

static inline sonde_model *lm_model(const char *shape)
{
    sonde_config c = lm_config(shape);
    sonde_model *model;
    assert_ok(sonde_lm_initial(&model, &c, 1));
    return model;
}

/* n documents of 3 to 9 ids in [1, n_vocab), always the same for a seed. */
static inline sonde_corpus *lm_corpus(int64_t n, int64_t n_vocab, uint64_t seed)
{
    sonde_corpus *corpus;
    assert_ok(sonde_corpus_new(&corpus, NULL, 0, n_vocab));
    for (int64_t i = 0; i < n; i++) {
        int32_t ids[9];
        uint32_t bits[4];
        for (uint64_t k = 0; k < 9; k++) {
            sonde_random_bits(bits, seed, (uint64_t)i, k);
            ids[k] = 1 + (int32_t)(bits[0] % (uint64_t)(n_vocab - 1));
        }
        assert_ok(sonde_corpus_add_ids(corpus, ids, 3 + i % 7));
    }
    return corpus;
}

/* Short trainings: 4 contexts of 16, separated. */
static inline sonde_lm_opts lm_opts(int64_t optimizer, int64_t steps)
{
    sonde_lm_opts o;
    sonde_lm_opts_init(&o);
    o.steps = steps;
    o.batch = 4;
    o.micro_batch = 3;
    o.warmup = 2;
    o.optimizer = optimizer;
    o.lr = 0.01;
    o.separator = 0;
    return o;
}

#endif
