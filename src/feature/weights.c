/* weights.c - what decoder rows say by themselves: the tokens that they favour, the features that are like them.      floor 8: feature
 *
 *   hook_resid_*, hook_mlp_out, hook_attn_out   d                  blocks.L.mlp.hook_post   d W_out        blocks.L.attn.hook_z   d W_O
 *   then, for LayerNorm, its mean taken away; times the gain of the last normalisation; times W_U; less the mean over the vocabulary
 */
#include "feature/feature.h"

#include "model/model.h"

#include <math.h>

enum { BLOCK = 128 }; /* features at a time */

/* Whether a name ends so. */
static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* The matrix on the way from a point to the residual stream; NULL in *out where it lies there. False: there is no such way. */
static bool find_way(const sondep_linear **out, const sonde_model *model, const sonde_hook_point *point, int64_t width)
{
    *out = NULL;
    if (point->layer >= 0 && ends_with(point->name, "mlp.hook_post"))
        *out = &model->blocks[point->layer].down;
    if (point->layer >= 0 && ends_with(point->name, "attn.hook_z"))
        *out = &model->blocks[point->layer].o;
    if (*out != NULL)
        return (*out)->n_in == width;
    return width == model->config.d_model && (strstr(point->name, "hook_resid_") || ends_with(point->name, "hook_mlp_out") ||
                                              ends_with(point->name, "hook_attn_out"));
}

/* Directions as the unembedding takes them. */
static void normalize(float *x, const sonde_model *model, int64_t n)
{
    int64_t D = model->config.d_model;

    for (int64_t i = 0; i < n; i++) {
        double mean = 0.0;
        for (int64_t d = 0; d < D && model->config.norm == SONDE_LAYERNORM; d++)
            mean += x[i * D + d] / (double)D;
        for (int64_t d = 0; d < D; d++)
            x[i * D + d] = (float)((x[i * D + d] - mean) * (model->ln_final.w ? model->ln_final.w[d] : 1.0f));
    }
}

/* Puts a token among the n first of a list; sign -1: the smallest are first. */
static void keep(int32_t *tokens, float *values, int64_t n, float sign, int32_t token, float value)
{
    int64_t at;

    if (tokens[n - 1] >= 0 && !(sign * value > sign * values[n - 1]))
        return;
    for (at = n - 1; at > 0 && (tokens[at - 1] < 0 || sign * value > sign * values[at - 1]); at--) {
        tokens[at] = tokens[at - 1];
        values[at] = values[at - 1];
    }
    tokens[at] = token;
    values[at] = value;
}

/* Largest and smallest of one row of logits, from which the mean is taken. */
static void choose(int32_t *tokens, float *values, const float *logits, int64_t V, int64_t n)
{
    double mean = 0.0;

    for (int64_t v = 0; v < V; v++)
        mean += logits[v];
    mean /= (double)V;
    for (int64_t i = 0; i < 2 * n; i++)
        tokens[i] = -1;
    for (int64_t v = 0; v < V; v++) {
        float value = (float)(logits[v] - mean);
        keep(tokens, values, n, 1.0f, (int32_t)v, value);
        keep(tokens + n, values + n, n, -1.0f, (int32_t)v, value);
    }
}

/* Room for the products of a block of features. */
typedef struct room {
    float *x, *logits;
    void *scratch;
    size_t bytes;
} room;

/* Of the largest block. */
static sonde_status make_room(room *r, const sonde_model *model, int64_t width)
{
    int64_t D = model->config.d_model, V = model->config.n_vocab;
    size_t a = sondep_product_scratch_bytes(BLOCK, V, D), b = sondep_product_scratch_bytes(BLOCK, D, width);

    r->bytes = a > b ? a : b;
    for (int64_t n = 1; n < BLOCK; n++) { /* fewer rows may be cut so that they take more */
        a = sondep_product_scratch_bytes(n, V, D);
        b = sondep_product_scratch_bytes(n, D, width);
        r->bytes = a > r->bytes ? a : r->bytes;
        r->bytes = b > r->bytes ? b : r->bytes;
    }
    SONDE_TRY(SONDE_NEW(r->x, BLOCK * D));
    SONDE_TRY(SONDE_NEW(r->logits, BLOCK * V));
    return sondep_map_block(&r->scratch, r->bytes);
}

/* Blocks of features against the whole vocabulary. */
sonde_status sondep_feature_logits(int32_t *tokens, float *values, bool *has, const sonde_model *model, const sonde_sae *sae,
                                   const sonde_hook_point *point, int64_t n)
{
    const sonde_sae_config *c = &sae->config;
    const sondep_linear *way;
    int64_t D = model->config.d_model, V = model->config.n_vocab;
    room r = {0};
    sonde_status status;

    *has = n > 0 && n <= V && find_way(&way, model, point, c->d_out);
    if (!*has)
        return SONDE_OK;
    SONDE_TRY_DONE(make_room(&r, model, c->d_out));
    for (int64_t first = 0; first < c->d_sae; first += BLOCK) {
        int64_t rows = c->d_sae - first < BLOCK ? c->d_sae - first : BLOCK;
        const float *w = sae->w[SONDEP_W_DEC] + first * c->d_out;
        sondep_matrix some = {w, SONDE_F32, c->d_out, 1}, x = {r.x, SONDE_F32, D, 1};
        if (sondep_interrupted()) {
            status = SONDE_FAIL(SONDE_E_INTERRUPTED, "interrupted");
            goto done;
        }
        /* into the residual stream, where it does not lie there already */
        if (way != NULL)
            sondep_product(r.x, D, &some, &way->w, rows, D, c->d_out, NULL, SONDEP_F32, r.scratch);
        else
            memcpy(r.x, w, (size_t)(rows * D) * sizeof *w);
        normalize(r.x, model, rows);
        sondep_product(r.logits, V, &x, &model->unembed.w, rows, V, D, NULL, SONDEP_F32, r.scratch);
#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
        for (int64_t i = 0; i < rows; i++)
            choose(tokens + (first + i) * 2 * n, values + (first + i) * 2 * n, r.logits + i * V, V, n);
    }
    status = SONDE_OK;
done:
    sondep_free(r.x);
    sondep_free(r.logits);
    if (r.scratch != NULL)
        sondep_unmap_block(r.scratch, r.bytes);
    return status;
}

/* The pairs of a feature but itself, the largest first. */
static void order(int32_t *others, float *cosines, const int32_t *index, const float *value, int64_t n_pairs, int64_t s,
                  int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        others[i] = -1;
    for (int64_t i = 0; i < n_pairs; i++)
        if (index[i] != s)
            keep(others, cosines, n, 1.0f, index[i], value[i]);
}

/* One more than is wanted, since each row is nearest to itself. */
sonde_status sondep_feature_neighbours(int32_t *others, float *cosines, const sonde_sae *sae, int64_t n)
{
    const sonde_sae_config *c = &sae->config;
    int64_t S = c->d_sae, O = c->d_out, k = n + 1 < S ? n + 1 : S;
    float *unit = NULL, *bar = NULL;
    void *scratch = NULL;
    size_t bytes = sondep_encode_scratch_bytes(S, S, O, k);
    sondep_codes codes = {.capacity = k};
    sondep_selection selection = {.k = k};
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(unit, S * O));
    SONDE_TRY_DONE(SONDE_NEW(bar, S));
    SONDE_TRY_DONE(SONDE_NEW(codes.index, S * k));
    SONDE_TRY_DONE(SONDE_NEW(codes.value, S * k));
    SONDE_TRY_DONE(SONDE_NEW(codes.count, S));
    SONDE_TRY_DONE(sondep_map_block(&scratch, bytes));
    for (int64_t s = 0; s < S; s++) {
        const float *row = sae->w[SONDEP_W_DEC] + s * O;
        double length = sqrt(sondep_sum_squares(row, O));
        bar[s] = -INFINITY;
        for (int64_t d = 0; d < O; d++)
            unit[s * O + d] = length > 0.0 ? (float)(row[d] / length) : 0.0f;
    }
    /* no cosine is too small; the encoder that selects while it multiplies finds the nearest */
    selection.threshold = bar;
    sondep_encode(&codes, NULL, unit, O, unit, NULL, &selection, S, S, O, SONDEP_F32, scratch);
    for (int64_t s = 0; s < S && n > 0; s++)
        order(others + s * n, cosines + s * n, codes.index + s * k, codes.value + s * k, codes.count[s], s, n);
    status = SONDE_OK;
done:
    sondep_free(unit);
    sondep_free(bar);
    sondep_free(codes.index);
    sondep_free(codes.value);
    sondep_free(codes.count);
    if (scratch != NULL)
        sondep_unmap_block(scratch, bytes);
    return status;
}
