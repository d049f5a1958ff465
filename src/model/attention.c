/* attention.c - the attention half of a block, step by step.                   floor 5: model
 *
 * Queries, keys and values of a row lie side by side in one buffer: [q: H h | k: K h | v: K h]. Attention reads keys and
 * values from there, or from the cache while generating. Scores and patterns exist only where they are hooked.
 */
#include "model/attention.h"

#include "model/fire.h"

#include <math.h>

/* Where the three parts of a row of qkv begin, and how wide they are. */
typedef struct parts {
    int64_t n_q, n_kv, width;
    float *q, *k, *v;
} parts;

/* The present pass's buffer, cut into its three parts. */
static parts parts_of(const sondep_pass *pass)
{
    const sonde_config *c = &pass->model->config;
    int64_t n_q = c->n_heads * c->d_head, n_kv = c->n_kv_heads * c->d_head;
    return (parts){n_q, n_kv, n_q + 2 * n_kv, pass->qkv, pass->qkv + n_q, pass->qkv + n_q + n_kv};
}

/* ---- inputs of their own for each head --------------------------------------------------------------------------------- */

enum { PART_Q, PART_K, PART_V };
static const sondep_point_kind input_kinds[3] = {SONDEP_POINT_Q_INPUT, SONDEP_POINT_K_INPUT, SONDEP_POINT_V_INPUT};

/* Reading hooks change nothing: only written inputs are computed from. */
static bool is_written(const sondep_pass *pass, sondep_point_kind kind, int64_t layer)
{
    return (sondep_wanted(pass, kind, layer) & SONDE_HOOK_WRITE) != 0;
}

/* Whether a part was computed by sondep_attention_split. */
static bool is_split(const sondep_pass *pass, int part, int64_t layer)
{
    return is_written(pass, SONDEP_POINT_ATTN_IN, layer) || is_written(pass, input_kinds[part], layer);
}

/* split = the residual stream, once for each head: (N, n_heads, D). */
static void repeat_residual(const sondep_pass *pass, int64_t n_heads)
{
    /* One copy for each head, as TransformerLens repeats it. */
    int64_t N = pass->batch->N, D = pass->model->config.d_model;
#pragma omp parallel for schedule(static) num_threads(sonde_threads())
    for (int64_t i = 0; i < N * n_heads; i++)
        memcpy(pass->split + i * D, pass->x + i / n_heads * D, (size_t)D * sizeof(float));
}

/* Queries (keys, values) of every head from its own row of `split`. */
static void project_split(const sondep_pass *pass, int part, int64_t layer)
{
    const sonde_config *c = &pass->model->config;
    const sondep_block *block = &pass->model->blocks[layer];
    const sondep_linear *whole = part == PART_Q ? &block->q : part == PART_K ? &block->k : &block->v;
    int64_t n_heads = part == PART_Q ? c->n_heads : c->n_kv_heads, N = pass->batch->N, D = c->d_model, h = c->d_head;
    parts p = parts_of(pass);
    float *out = part == PART_Q ? p.q : part == PART_K ? p.k : p.v;

    /* Every head normalises its own input, then multiplies by its own columns. */
    sondep_norm(pass->split_y, NULL, NULL, pass->split, block->ln1.w, block->ln1.b, c->norm == SONDE_RMSNORM, c->norm_eps,
                N * n_heads, D);
    for (int64_t head = 0; head < n_heads; head++) {
        sondep_linear own = sondep_linear_columns(whole, head * h, h);
        sondep_matrix a = {pass->split_y + head * D, SONDE_F32, n_heads * D, 1};
        sondep_epilogue epilogue = {.bias = own.b};
        sondep_product(out + head * h, p.width, &a, &own.w, N, h, D, &epilogue, pass->model->precision,
                       pass->product_scratch);
    }
}

sonde_status sondep_attention_split(const sondep_pass *pass, int64_t layer)
{
    const sonde_config *c = &pass->model->config;
    int64_t D = c->d_model;

    if (sondep_wanted(pass, SONDEP_POINT_ATTN_IN, layer)) {
        bool is_changed = is_written(pass, SONDEP_POINT_ATTN_IN, layer);
        if (is_changed && c->n_kv_heads != c->n_heads)
            return SONDE_FAIL(SONDE_E_UNSUPPORTED,
                              "'hook_attn_in' cannot be written in a model with %lld heads and %lld key/value heads",
                              (long long)c->n_heads, (long long)c->n_kv_heads);
        /* Read or written, hooks see one row for each head. */
        repeat_residual(pass, c->n_heads);
        SONDE_TRY(sondep_fire(pass, SONDEP_POINT_ATTN_IN, layer, pass->split, c->n_heads * D, c->n_heads * D));
        for (int part = PART_Q; is_changed && part <= PART_V; part++)
            project_split(pass, part, layer);
    }
    /* The inputs of queries, keys and values by themselves; they win over hook_attn_in, as there. */
    for (int part = PART_Q; part <= PART_V; part++) {
        int64_t n_heads = part == PART_Q ? c->n_heads : c->n_kv_heads;
        if (sondep_wanted(pass, input_kinds[part], layer) == 0)
            continue;
        repeat_residual(pass, n_heads);
        SONDE_TRY(sondep_fire(pass, input_kinds[part], layer, pass->split, n_heads * D, n_heads * D));
        if (is_written(pass, input_kinds[part], layer))
            project_split(pass, part, layer);
    }
    return SONDE_OK;
}

/* ---- queries, keys, values ---------------------------------------------------------------------------------------------- */

/* Columns of the buffer from y: rows of the output are as far apart as rows of the buffer. */
static void project(const sondep_pass *pass, float *out, int64_t ld_out, const sondep_linear *l)
{
    sondep_matrix a = {pass->y, SONDE_F32, l->n_in, 1};
    sondep_epilogue epilogue = {.bias = l->b};
    sondep_product(out, ld_out, &a, &l->w, pass->batch->N, l->n_out, l->n_in, &epilogue, pass->model->precision,
                   pass->product_scratch);
}

/* Rotates queries and keys by their positions, and fires the hooks behind the rotation. */
static sonde_status rotate(const sondep_pass *pass, const parts *p, int64_t layer)
{
    const sonde_config *c = &pass->model->config;
    const sondep_batch *batch = pass->batch;

    if (c->positions != SONDE_POSITIONS_ROTARY)
        return SONDE_OK;
    /* In place: hooks on the unrotated values have been served. */
    sondep_rotate(p->q, p->q, batch->position, pass->rope->cos, pass->rope->sin, batch->N, c->n_heads, c->d_head, p->width,
                  p->width);
    sondep_rotate(p->k, p->k, batch->position, pass->rope->cos, pass->rope->sin, batch->N, c->n_kv_heads, c->d_head,
                  p->width, p->width);
    SONDE_TRY(sondep_fire(pass, SONDEP_POINT_ROT_Q, layer, p->q, p->width, p->n_q));
    return sondep_fire(pass, SONDEP_POINT_ROT_K, layer, p->k, p->width, p->n_kv);
}

/* Where the cache keeps position `position` of sequence b. */
static int64_t cache_row(const sondep_cache *cache, int64_t layer, int64_t b, int64_t position)
{
    int64_t slot = cache->slot ? cache->slot[b] : b;
    return ((layer * cache->B + slot) * cache->capacity + position) * cache->width;
}

/* The new keys and values, at their positions, for this step and the later ones. */
static void remember_keys(const sondep_pass *pass, const parts *p, int64_t layer)
{
    const sondep_batch *batch = pass->batch;
    size_t bytes = (size_t)p->n_kv * sizeof(float);

    /* After rotation, so that what the cache holds is never rotated again. */
    for (int64_t b = 0; pass->cache && b < batch->B; b++)
        for (int64_t n = batch->offset[b]; n < batch->offset[b + 1]; n++) {
            int64_t row = cache_row(pass->cache, layer, b, batch->position[n]);
            memcpy(pass->cache->k + row, p->k + n * p->width, bytes);
            memcpy(pass->cache->v + row, p->v + n * p->width, bytes);
        }
}

sonde_status sondep_attention_qkv(const sondep_pass *pass, int64_t layer)
{
    const sondep_block *block = &pass->model->blocks[layer];
    parts p = parts_of(pass);
    bool is_any_split = is_split(pass, PART_Q, layer) || is_split(pass, PART_K, layer) || is_split(pass, PART_V, layer);

    /* One product where the three matrices lie side by side, three where they do not. */
    if (block->qkv.n_out > 0 && !is_any_split) {
        project(pass, pass->qkv, p.width, &block->qkv);
    } else {
        if (!is_split(pass, PART_Q, layer))
            project(pass, p.q, p.width, &block->q);
        if (!is_split(pass, PART_K, layer))
            project(pass, p.k, p.width, &block->k);
        if (!is_split(pass, PART_V, layer))
            project(pass, p.v, p.width, &block->v);
    }
    SONDE_TRY(sondep_fire(pass, SONDEP_POINT_Q, layer, p.q, p.width, p.n_q));
    SONDE_TRY(sondep_fire(pass, SONDEP_POINT_K, layer, p.k, p.width, p.n_kv));
    SONDE_TRY(sondep_fire(pass, SONDEP_POINT_V, layer, p.v, p.width, p.n_kv));
    SONDE_TRY(rotate(pass, &p, layer));
    remember_keys(pass, &p, layer);
    return SONDE_OK;
}

/* ---- mixing ----------------------------------------------------------------------------------------------------------------- */

sondep_attention sondep_attention_of(const sondep_pass *pass, int64_t b, int64_t layer)
{
    const sonde_config *c = &pass->model->config;
    const sondep_batch *batch = pass->batch;
    parts own = parts_of(pass), *p = &own;
    int64_t first = batch->offset[b], row = pass->cache ? cache_row(pass->cache, layer, b, 0) : 0;

    /* Keys and values of a cached sequence lie in the cache, the new ones among them. */
    return (sondep_attention){
        .q = p->q + first * p->width,
        .k = pass->cache ? pass->cache->k + row : p->k + first * p->width,
        .v = pass->cache ? pass->cache->v + row : p->v + first * p->width,
        .z = pass->z + first * p->n_q,
        .ld_q = p->width,
        .ld_k = pass->cache ? pass->cache->width : p->width,
        .ld_v = pass->cache ? pass->cache->width : p->width,
        .ld_z = p->n_q,
        .n_query = batch->offset[b + 1] - first,
        .n_key = batch->n_keys[b],
        .n_heads = c->n_heads,
        .n_kv_heads = c->n_kv_heads,
        .d_head = c->d_head,
        .scale = c->scale_attention ? (float)(1.0 / sqrt((double)c->d_head)) : 1.0f,
    };
}

/* Scores of one sequence lie packed (H, n_query, n_key) at the front of its place of (H, T, n_keys): spread them out there,
 * last row first, and mask what is padding. */
static void spread(float *scores, int64_t H, int64_t n_query, int64_t n_key, int64_t T, int64_t n_keys)
{
    for (int64_t row = H * T - 1; row >= 0; row--) {
        int64_t head = row / T, query = row % T;
        float *out = scores + row * n_keys;
        int64_t n = query < n_query ? n_key : 0;

        memmove(out, scores + (head * n_query + query) * n_key, (size_t)n * sizeof(float));
        for (int64_t key = n; key < n_keys; key++)
            out[key] = -INFINITY;
    }
}

/* The reverse of `spread`. */
static void pack(float *scores, int64_t H, int64_t n_query, int64_t n_key, int64_t T, int64_t n_keys)
{
    for (int64_t row = 0; row < H * n_query; row++)
        memmove(scores + row * n_key, scores + (row / n_query * T + row % n_query) * n_keys, (size_t)n_key * sizeof(float));
}

/* Attention with its interior written out: scores, their hook, softmax, the pattern's hook, mixing. */
static sonde_status mix_in_steps(const sondep_pass *pass, int64_t layer)
{
    const sondep_batch *batch = pass->batch;
    int64_t H = pass->model->config.n_heads, place = H * batch->T * batch->most_keys;

    /* Each sequence is computed by itself and spread to the common shape that hooks see. */
    for (int64_t b = 0; b < batch->B; b++) {
        sondep_attention a = sondep_attention_of(pass, b, layer);
        sondep_attention_scores(pass->scores + b * place, &a, pass->attention_scratch);
        spread(pass->scores + b * place, H, a.n_query, a.n_key, batch->T, batch->most_keys);
    }
    SONDE_TRY(sondep_fire_scores(pass, SONDEP_POINT_SCORES, layer, pass->scores));
    if (sondep_finished(pass, SONDEP_POINT_PATTERN, layer))
        return SONDE_OK;
    /* Scores become the pattern in place; rows of padding, all -inf, become 0. */
    sondep_softmax_rows(pass->scores, batch->B * H * batch->T, batch->most_keys);
    SONDE_TRY(sondep_fire_scores(pass, SONDEP_POINT_PATTERN, layer, pass->scores));
    for (int64_t b = 0; b < batch->B; b++) {
        sondep_attention a = sondep_attention_of(pass, b, layer);
        pack(pass->scores + b * place, H, a.n_query, a.n_key, batch->T, batch->most_keys);
        sondep_attention_mix(pass->scores + b * place, &a, pass->attention_scratch);
    }
    return SONDE_OK;
}

sonde_status sondep_attention_mixed(const sondep_pass *pass, int64_t layer)
{
    parts p = parts_of(pass);

    if (sondep_wanted(pass, SONDEP_POINT_SCORES, layer) || sondep_wanted(pass, SONDEP_POINT_PATTERN, layer)) {
        SONDE_TRY(mix_in_steps(pass, layer));
    } else {
        for (int64_t b = 0; b < pass->batch->B; b++)
            pass->attention[b] = sondep_attention_of(pass, b, layer);
        sondep_attend(pass->attention, pass->batch->B, pass->attention_scratch);
    }
    return sondep_finished(pass, SONDEP_POINT_Z, layer) ? SONDE_OK
                                                        : sondep_fire(pass, SONDEP_POINT_Z, layer, pass->z, p.n_q, p.n_q);
}

sonde_status sondep_attention_result(const sondep_pass *pass, int64_t layer)
{
    const sonde_config *c = &pass->model->config;
    const sondep_linear *o = &pass->model->blocks[layer].o;
    int64_t N = pass->batch->N, H = c->n_heads, h = c->d_head, D = c->d_model;

    /* Head by head: its slice of z times its rows of W_O. */
    for (int64_t head = 0; head < H; head++) {
        sondep_matrix a = {pass->z + head * h, SONDE_F32, H * h, 1}, w = o->w;
        w.data = (const char *)w.data + (size_t)(head * h * w.row_stride) * sonde_dtype_bytes(w.dtype);
        sondep_product(pass->result + head * D, H * D, &a, &w, N, D, h, NULL, pass->model->precision, pass->product_scratch);
    }
    SONDE_TRY(sondep_fire(pass, SONDEP_POINT_RESULT, layer, pass->result, H * D, H * D));
    if ((sondep_wanted(pass, SONDEP_POINT_RESULT, layer) & SONDE_HOOK_WRITE) == 0)
        return SONDE_OK;
#pragma omp parallel for schedule(static) num_threads(sonde_threads())
    /* What was written is summed in double, in the order of the heads, and the bias comes once. */
    for (int64_t n = 0; n < N; n++)
        for (int64_t d = 0; d < D; d++) {
            double sum = o->b ? (double)o->b[d] : 0.0;
            for (int64_t head = 0; head < H; head++)
                sum += (double)pass->result[(n * H + head) * D + d];
            pass->y[n * D + d] = (float)sum;
        }
    return SONDE_OK;
}
