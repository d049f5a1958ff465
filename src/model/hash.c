/* hash.c - a number that tells one model from another.                          floor 5: model
 *
 * Over what decides the activations: the config, and each weight's name, type, shape and bytes. Bytes are taken eight at a time, in
 * blocks whose hashes are added up, so that threads share the work and their number does not show.
 */
#include "model/model.h"

enum { BLOCK = 1 << 20 };

/* A step: a multiplication spreads what came before over the higher bits, the shift brings them down again. */
static inline uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 32;
}

/* The hash goes on over n bytes. */
static uint64_t mix_bytes(uint64_t hash, const char *bytes, size_t n)
{
    uint64_t word;

    for (; n >= sizeof word; bytes += sizeof word, n -= sizeof word) {
        memcpy(&word, bytes, sizeof word);
        hash = mix(hash, word);
    }
    /* what is left, with its length, so that zeros at the end count */
    word = 0;
    memcpy(&word, bytes, n);
    return mix(hash, word ^ (uint64_t)n << 56);
}

/* With its NUL, so that neighbours cannot exchange letters. */
static uint64_t mix_text(uint64_t hash, const char *text)
{
    return mix_bytes(hash, text, strlen(text));
}

/* As bits, so that -0 and 0 differ. */
static uint64_t mix_real(uint64_t hash, double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return mix(hash, bits);
}

/* Fields that change what is computed. */
static uint64_t hash_config(const sonde_config *c)
{
    const int64_t whole[] = {c->n_layers,
                             c->d_model,
                             c->n_heads,
                             c->n_kv_heads,
                             c->d_head,
                             c->d_mlp,
                             c->n_vocab,
                             c->n_context,
                             c->norm,
                             c->positions,
                             c->gated_mlp,
                             c->scale_attention,
                             c->tied,
                             c->norm_bias,
                             c->has_qkv_bias,
                             c->has_o_bias,
                             c->has_mlp_bias,
                             c->unembed_bias,
                             c->rope.original_context};
    const double real[] = {c->norm_eps, c->rope.theta, c->rope.factor, c->rope.low_freq_factor, c->rope.high_freq_factor};
    uint64_t hash = mix_text(mix_text(mix_text(0, c->family), c->activation), c->rope.type);

    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        hash = mix(hash, (uint64_t)whole[i]);
    for (size_t i = 0; i < sizeof real / sizeof *real; i++)
        hash = mix_real(hash, real[i]);
    return hash;
}

/* Each block with its number. */
uint64_t sondep_hash_weight(const char *bytes, size_t n)
{
    int64_t n_blocks = (int64_t)((n + BLOCK - 1) / BLOCK);
    uint64_t sum = 0;

#pragma omp parallel for num_threads(sonde_threads()) schedule(static) reduction(+ : sum)
    for (int64_t i = 0; i < n_blocks; i++) {
        size_t first = (size_t)i * BLOCK;
        sum += mix_bytes((uint64_t)i, bytes + first, n - first < BLOCK ? n - first : BLOCK);
    }
    return sum;
}

/* Some numbers of every tensor: all of them would take as long as reading the file. */
uint64_t sonde_model_hash(const sonde_model *model)
{
    uint64_t hash = hash_config(&model->config);

    for (int64_t i = 0; i < model->n_named; i++) {
        const sonde_tensor *t = &model->named[i].tensor;
        hash = mix(mix_text(hash, model->named[i].name), t->dtype);
        for (int axis = 0; axis < t->rank; axis++)
            hash = mix(hash, (uint64_t)t->shape[axis]);
        hash = mix(hash, sondep_hash_weight(t->data, sonde_tensor_bytes(t)));
    }
    return hash;
}
