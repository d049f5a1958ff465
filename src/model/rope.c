/* rope.c - the table of the rotary embedding, and the cache of keys and values.        floor 5: model
 *
 *   default  f_i = theta^(-2i/h)                      linear  f_i / factor
 *   llama3   waves longer than context / low_freq_factor: f_i / factor; shorter than context / high_freq_factor: f_i;
 *            between: a blend of the two, linear in context / wave length
 *
 * Every step is rounded to float where torch rounds it. The definition is what the models were trained with, not the
 * formula: an angle of 1000 radians moves by 6e-5 when its frequency moves by one last place.
 */
#include "model/forward.h"

#include <math.h>

static const float TWO_PI = 6.283185307179586f;

/* One frequency, in float32 step by step as torch computes it. */
static float frequency(const sonde_rope *rope, int64_t i, int64_t d_head)
{
    /* theta^(2i/h) is rounded to float before it is inverted, as torch does. */
    float exponent = (float)(2 * i) / (float)d_head;
    float f = 1.0f / (float)pow(rope->theta, (double)exponent);

    if (strcmp(rope->type, "linear") == 0)
        return f / (float)rope->factor;
    if (strcmp(rope->type, "llama3") == 0) {
        /* Long waves are stretched by `factor`, short ones left alone, those between blended. */
        float old_context = (float)rope->original_context, wave = TWO_PI / f;
        float longest = (float)((double)rope->original_context / rope->low_freq_factor);
        float shortest = (float)((double)rope->original_context / rope->high_freq_factor);
        float factor = (float)rope->factor, low = (float)rope->low_freq_factor;
        float blend = (old_context / wave - low) / (float)(rope->high_freq_factor - rope->low_freq_factor);

        if (wave > longest)
            return f / factor;
        return wave < shortest ? f : (1.0f - blend) * f / factor + blend * f;
    }
    return f;
}

sonde_status sondep_rope_grow(sondep_rope_table *table, const sonde_config *config, int64_t n)
{
    int64_t half = config->d_head / 2, n_entries;
    float *cosine, *sine = NULL;

    /* Tables only grow: a later pass with fewer positions uses the front of the same table. */
    if (config->positions != SONDE_POSITIONS_ROTARY || n <= table->n_positions)
        return SONDE_OK;
    /* A text that grows token by token would make a table for each: twice as much at least, up to the context. */
    if (table->n_positions > 0 && n < 2 * table->n_positions)
        n = 2 * table->n_positions < config->n_context ? 2 * table->n_positions
            : n > config->n_context                    ? n
                                                       : config->n_context;
    SONDE_TRY(sondep_mul_i64(&n_entries, n, half, "rotary table"));
    SONDE_TRY(SONDE_NEW(cosine, n_entries));
    if (SONDE_NEW(sine, n_entries) != SONDE_OK) {
        sondep_free(cosine);
        return SONDE_E_NOMEM;
    }
    for (int64_t i = 0; i < half; i++) {
        float f = frequency(&config->rope, i, config->d_head);
        for (int64_t p = 0; p < n; p++) {
            /* The angle is a float; its cosine and sine are exact to the last bit of a float. */
            float angle = (float)p * f;
            cosine[p * half + i] = (float)cos((double)angle);
            sine[p * half + i] = (float)sin((double)angle);
        }
    }
    sondep_rope_release(table);
    *table = (sondep_rope_table){cosine, sine, n};
    return SONDE_OK;
}

void sondep_rope_release(sondep_rope_table *table)
{
    sondep_free(table->cos);
    sondep_free(table->sin);
    *table = (sondep_rope_table){0};
}

sonde_status sondep_cache_make(sondep_cache *out, const sonde_config *config, int64_t B, int64_t capacity)
{
    sondep_cache cache = {
        .B = B, .capacity = capacity, .width = config->n_kv_heads * config->d_head, .n_layers = config->n_layers};
    void *k, *v;

    *out = (sondep_cache){0};
    /* Two blocks of layers x sequences x positions x width, zero pages until they are written. */
    SONDE_TRY(sondep_mul_size(&cache.bytes, (size_t)(B * capacity), (size_t)cache.width * sizeof(float), "cache of keys"));
    SONDE_TRY(sondep_mul_size(&cache.bytes, cache.bytes, (size_t)cache.n_layers, "cache of keys"));
    SONDE_TRY(sondep_map_block(&k, cache.bytes));
    if (sondep_map_block(&v, cache.bytes) != SONDE_OK) {
        sondep_unmap_block(k, cache.bytes);
        return SONDE_E_NOMEM;
    }
    cache.k = k;
    cache.v = v;
    *out = cache;
    return SONDE_OK;
}

void sondep_cache_release(sondep_cache *cache)
{
    sondep_unmap_block(cache->k, cache->bytes);
    sondep_unmap_block(cache->v, cache->bytes);
    *cache = (sondep_cache){0};
}
