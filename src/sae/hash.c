/* hash.c - a number that tells one autoencoder from another.                   floor 7: sae */
#include "sae/sae.h"

#include "model/model.h"

/* What features are made of: how they are chosen, and the bytes of every weight. */
uint64_t sonde_sae_hash(const sonde_sae *sae)
{
    const sonde_sae_config *c = &sae->config;
    uint64_t hash = (uint64_t)c->activation << 32 | (uint64_t)c->k;

    for (int i = 0; i < SONDEP_N_SAE_WEIGHTS; i++) {
        sonde_tensor t;
        if (sae->w[i] == NULL)
            continue;
        sondep_sae_weight_shape(&t, c, i);
        /* a weight in another's place is another autoencoder */
        hash =
            (hash ^ sondep_hash_weight((const char *)sae->w[i], sonde_tensor_bytes(&t)) ^ (uint64_t)i) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 32;
    }
    return hash;
}
