/* backward_points.c - gradients of hook points: what the walk back does only where somebody reads.  floor 5: model
 *
 * Points on the way (the stream, what is added to it, queries, activations) are fired as they are. Those inside an operation
 * that runs fused (scales, patterns, inputs of single heads) are worked out here, beside the walk, which goes on unchanged.
 */
#include "model/backward_points.h"

#include "model/attention.h"
#include "model/fire.h"

/* ---- who reads ------------------------------------------------------------------------------------------------------------- */

bool sondep_gradient_wanted(const sondep_backward *b, sondep_point_kind kind, int64_t layer)
{
    int64_t point = sondep_point(&b->pass->model->points, kind, layer);
    return point >= 0 && b->hooks && b->hooks->wanted[point] != 0;
}

/* Whether one of some kinds is wanted in any layer. */
static bool any_wanted(const sondep_backward *b, const sondep_point_kind *kinds, int n)
{
    for (int i = 0; i < n; i++)
        for (int64_t layer = 0; layer < b->pass->model->config.n_layers; layer++)
            if (sondep_gradient_wanted(b, kinds[i], layer))
                return true;
    return false;
}

bool sondep_gradient_ends(const sondep_backward *b, sondep_point_kind kind, int64_t layer)
{
    int64_t point = sondep_point(&b->pass->model->points, kind, layer);
    return point >= 0 && b->replaced && b->replaced[point];
}

bool sondep_gradients_finished(const sondep_backward *b, sondep_point_kind kind, int64_t layer)
{
    int64_t last = sondep_point(&b->pass->model->points, kind, layer);

    /* Gradients of weights go down to the embedding. */
    if (b->gradients)
        return false;
    for (int64_t point = 0; point <= last; point++)
        if (b->hooks && b->hooks->wanted[point])
            return false;
    return true;
}

/* A hook that writes to one of some kinds is refused. */
static sonde_status refuse_written(const sondep_backward *b, const sondep_point_kind *kinds, size_t n)
{
    const sondep_points *points = &b->pass->model->points;

    for (size_t i = 0; i < n; i++)
        for (int64_t layer = 0; layer < b->pass->model->config.n_layers; layer++)
            if (sondep_wanted(b->pass, kinds[i], layer) & SONDE_HOOK_WRITE)
                return SONDE_FAIL(SONDE_E_UNSUPPORTED, "gradients through a hook that writes '%s' are not supported",
                                  points->points[sondep_point(points, kinds[i], layer)].name);
    return SONDE_OK;
}

sonde_status sondep_backward_check(const sondep_backward *b)
{
    /* The walk computes from what the tape keeps: what was written here is not among it, ... */
    static const sondep_point_kind lost[] = {SONDEP_POINT_ATTN_IN,
                                             SONDEP_POINT_Q_INPUT,
                                             SONDEP_POINT_K_INPUT,
                                             SONDEP_POINT_V_INPUT,
                                             SONDEP_POINT_LN1_SCALE,
                                             SONDEP_POINT_SCORES,
                                             SONDEP_POINT_PATTERN,
                                             SONDEP_POINT_MLP_IN,
                                             SONDEP_POINT_LN2_SCALE,
                                             SONDEP_POINT_LN_FINAL_SCALE,
                                             SONDEP_POINT_LN_FINAL_NORMALIZED,
                                             SONDEP_POINT_UNEMBED_IN,
                                             SONDEP_POINT_UNEMBED_OUT};
    /* ... and this only gradients of weights would need. */
    static const sondep_point_kind lost_to_weights[] = {SONDEP_POINT_LN1_NORMALIZED, SONDEP_POINT_LN2_NORMALIZED,
                                                        SONDEP_POINT_POST};
    const sonde_config *c = &b->pass->model->config;

    SONDE_TRY(refuse_written(b, lost, sizeof lost / sizeof *lost));
    if (b->gradients)
        SONDE_TRY(refuse_written(b, lost_to_weights, sizeof lost_to_weights / sizeof *lost_to_weights));
    /* Which head's copy of the stream feeds which keys is not defined there, as in TransformerLens. */
    for (int64_t layer = 0; layer < c->n_layers && c->n_heads != c->n_kv_heads; layer++)
        if (sondep_gradient_wanted(b, SONDEP_POINT_ATTN_IN, layer))
            return SONDE_FAIL(SONDE_E_UNSUPPORTED,
                              "'hook_attn_in' has no gradient in a model with %lld heads and %lld key/value heads",
                              (long long)c->n_heads, (long long)c->n_kv_heads);
    return SONDE_OK;
}

/* ---- firing ----------------------------------------------------------------------------------------------------------------- */

/* The same with points of scores. */
static sonde_status fire_scores(const sondep_backward *b, sondep_point_kind kind, int64_t layer, float *data)
{
    int64_t point = sondep_point(&b->pass->model->points, kind, layer);
    sondep_values values = {.data = data, .n_keys = b->pass->batch->most_keys};

    return sondep_gradient_wanted(b, kind, layer) ? b->hooks->fire(point, &values, b->hooks->ctx) : SONDE_OK;
}

sonde_status sondep_show_gradient(const sondep_backward *b, sondep_point_kind kind, int64_t layer, float *data, int64_t ld,
                                  int64_t width)
{
    sondep_values values = {.data = data, .ld = ld, .width = width};
    sonde_status status;

    if (!sondep_gradient_wanted(b, kind, layer))
        return SONDE_OK;
    status = sondep_check_finite(b->pass, kind, layer, data, ld, width, b->pass->batch->N, NULL, 0);
    if (status == SONDE_E_NONFINITE)
        return sondep_hint(status, "that is its gradient; its activations are finite");
    return b->hooks->fire(sondep_point(&b->pass->model->points, kind, layer), &values, b->hooks->ctx);
}

void sondep_stop_gradient(const sondep_backward *b, sondep_point_kind kind, int64_t layer, float *data, int64_t ld,
                          int64_t width)
{
    if (!sondep_gradient_ends(b, kind, layer))
        return;
    for (int64_t n = 0; n < b->pass->batch->N; n++)
        memset(data + n * ld, 0, (size_t)width * sizeof *data);
}

sonde_status sondep_fire_gradient(const sondep_backward *b, sondep_point_kind kind, int64_t layer, float *data, int64_t ld,
                                  int64_t width)
{
    SONDE_TRY(sondep_show_gradient(b, kind, layer, data, ld, width));
    sondep_stop_gradient(b, kind, layer, data, ld, width);
    return SONDE_OK;
}

/* ---- inside of norms ---------------------------------------------------------------------------------------------------------- */

sonde_status sondep_fire_norm_gradients(const sondep_backward *b, sondep_point_kind scale_kind,
                                        sondep_point_kind normalized_kind, int64_t layer, const sondep_norm_weights *w,
                                        const float *x)
{
    const sonde_config *c = &b->pass->model->config;
    int64_t N = b->pass->batch->N, D = c->d_model;
    float *normalized = b->inner;

    if (!sondep_gradient_wanted(b, scale_kind, layer) && !sondep_gradient_wanted(b, normalized_kind, layer)) {
        sondep_stop_gradient(b, normalized_kind, layer, b->dy, D, D);
        return SONDE_OK;
    }
    sondep_norm(NULL, normalized, b->scale, x, w->w, NULL, c->norm == SONDE_RMSNORM, c->norm_eps, N, D);
    /* Row by row: the gradient of the normalised row takes the row's place, that of the scale the scale's. */
    for (int64_t n = 0; n < N; n++) {
        double sum = 0.0;
        for (int64_t d = 0; d < D; d++) {
            float *unit = &normalized[n * D + d], g = b->dy[n * D + d] * w->w[d];
            sum += (double)g * *unit;
            *unit = g; /* from here on its gradient */
        }
        b->scale[n] = (float)(-sum / b->scale[n]);
    }
    SONDE_TRY(sondep_show_gradient(b, normalized_kind, layer, normalized, D, D));
    /* Rows that were replaced after they were divided by their scale: neither it nor x mattered. */
    sondep_stop_gradient(b, normalized_kind, layer, b->scale, 1, 1);
    sondep_stop_gradient(b, normalized_kind, layer, b->dy, D, D);
    return sondep_show_gradient(b, scale_kind, layer, b->scale, 1, 1);
}

/* ---- inside of attention ------------------------------------------------------------------------------------------------------ */

/* dpattern of one sequence (H, T, keys), padding 0: a masked entry has a gradient too, since it would count if it were set. */
static void pattern_gradient(const sondep_backward *b, float *out, const sondep_attention *s, const float *dz)
{
    int64_t T = b->pass->batch->T, K = b->pass->batch->most_keys, h = s->d_head;

    /* Head by head: its rows of dz times the values that it reads, transposed by exchanging their strides. */
    memset(out, 0, (size_t)(s->n_heads * T * K) * sizeof *out);
    for (int64_t head = 0; head < s->n_heads; head++) {
        sondep_matrix a = {dz + head * h, SONDE_F32, s->n_heads * h, 1};
        sondep_matrix v = {s->v + head / (s->n_heads / s->n_kv_heads) * h, SONDE_F32, 1, s->ld_v};
        sondep_product(out + head * T * K, K, &a, &v, s->n_query, s->n_key, h, NULL, SONDEP_F32, b->scratch);
    }
}

/* dscores in the place of dpattern, from the packed pattern (H, n_query, n_key). */
static void score_gradient(const sondep_backward *b, float *dpattern, const float *pattern, const sondep_attention *s)
{
    int64_t T = b->pass->batch->T, K = b->pass->batch->most_keys;

    /* What moves all scores of a query alike moves no pattern: it is taken out. */
    for (int64_t row = 0; row < s->n_heads * s->n_query; row++) {
        const float *p = pattern + row * s->n_key;
        float *g = dpattern + (row / s->n_query * T + row % s->n_query) * K;
        double along = 0.0;
        for (int64_t j = 0; j < s->n_key; j++)
            along += (double)p[j] * g[j];
        for (int64_t j = 0; j < s->n_key; j++)
            g[j] = (float)(p[j] * (g[j] - along));
    }
}

sonde_status sondep_fire_score_gradients(const sondep_backward *b, int64_t layer)
{
    const sondep_batch *batch = b->pass->batch;
    int64_t H = b->pass->model->config.n_heads, n_q = H * b->pass->model->config.d_head,
            place = H * batch->T * batch->most_keys;
    float *pattern = b->scores + batch->B * place;

    if (!sondep_gradient_wanted(b, SONDEP_POINT_SCORES, layer) && !sondep_gradient_wanted(b, SONDEP_POINT_PATTERN, layer))
        return SONDE_OK;
    /* The gradient of the pattern first: its hook sees it before it becomes that of the scores, in place. */
    for (int64_t i = 0; i < batch->B; i++) {
        sondep_attention s = sondep_attention_of(b->pass, i, layer);
        pattern_gradient(b, b->scores + i * place, &s, b->dz + batch->offset[i] * n_q);
    }
    SONDE_TRY(fire_scores(b, SONDEP_POINT_PATTERN, layer, b->scores));
    /* The pattern is made once more: a fused pass has never written it out. */
    for (int64_t i = 0; i < batch->B; i++) {
        sondep_attention s = sondep_attention_of(b->pass, i, layer);
        sondep_attention_scores(pattern, &s, b->pass->attention_scratch);
        sondep_softmax_rows(pattern, H * s.n_query, s.n_key);
        score_gradient(b, b->scores + i * place, pattern, &s);
    }
    return fire_scores(b, SONDEP_POINT_SCORES, layer, b->scores);
}

sonde_status sondep_fire_result_gradient(const sondep_backward *b, int64_t layer, const float *dout)
{
    int64_t N = b->pass->batch->N, H = b->pass->model->config.n_heads, D = b->pass->model->config.d_model;

    if (!sondep_gradient_wanted(b, SONDEP_POINT_RESULT, layer))
        return SONDE_OK;
    /* One copy for each head: they all add to the same stream. */
    for (int64_t i = 0; i < N * H; i++)
        memcpy(b->inner + i * D, dout + i / H * D, (size_t)D * sizeof(float));
    return sondep_show_gradient(b, SONDEP_POINT_RESULT, layer, b->inner, H * D, H * D);
}

/* out (N, n_heads, D), or += : the gradient of each head's own input, from its columns of dqkv. */
static void head_inputs(const sondep_backward *b, float *out, const sondep_linear *whole, int64_t column, int64_t n_heads,
                        int64_t layer, bool adds)
{
    const sondep_norm_weights *ln1 = &b->pass->model->blocks[layer].ln1;
    const float *x = b->pass->tape[layer].resid_pre;
    const sonde_config *c = &b->pass->model->config;
    int64_t N = b->pass->batch->N, D = c->d_model, h = c->d_head, width = (c->n_heads + 2 * c->n_kv_heads) * h;
    sondep_workbench bench = {b->pass->model->precision, b->scratch};
    float *normed = b->inner + N * c->n_heads * D;

    /* A norm is not linear in its input, but its gradient is linear in dy: each head's part goes back by itself. */
    for (int64_t head = 0; head < n_heads; head++) {
        /* Its columns of the matrix, then the norm that it shares with the other heads. */
        sondep_linear own = sondep_linear_columns(whole, head * h, h);
        sondep_linear_backward_input(normed, D, b->dqkv + column + head * h, width, &own, N, false, &bench);
        sondep_stop_gradient(b, SONDEP_POINT_LN1_NORMALIZED, layer, normed, D, D);
        sondep_norm_backward(normed, NULL, NULL, normed, x, ln1->w, c->norm == SONDE_RMSNORM, c->norm_eps, N, D, false,
                             b->scratch);
        for (int64_t n = 0; n < N; n++)
            for (int64_t d = 0; d < D; d++) {
                float *to = &out[(n * n_heads + head) * D + d];
                *to = adds ? *to + normed[n * D + d] : normed[n * D + d];
            }
    }
}

sonde_status sondep_fire_input_gradients(const sondep_backward *b, int64_t layer)
{
    static const sondep_point_kind kinds[3] = {SONDEP_POINT_Q_INPUT, SONDEP_POINT_K_INPUT, SONDEP_POINT_V_INPUT};
    const sonde_config *c = &b->pass->model->config;
    const sondep_block *block = &b->pass->model->blocks[layer];
    const sondep_linear *parts[3] = {&block->q, &block->k, &block->v};
    int64_t n_heads[3] = {c->n_heads, c->n_kv_heads, c->n_kv_heads};
    int64_t columns[3] = {0, c->n_heads * c->d_head, (c->n_heads + c->n_kv_heads) * c->d_head};

    /* From the last point to the first. */
    for (int i = 2; i >= 0; i--) {
        if (!sondep_gradient_wanted(b, kinds[i], layer))
            continue;
        head_inputs(b, b->inner, parts[i], columns[i], n_heads[i], layer, false);
        SONDE_TRY(sondep_show_gradient(b, kinds[i], layer, b->inner, n_heads[i] * c->d_model, n_heads[i] * c->d_model));
    }
    if (!sondep_gradient_wanted(b, SONDEP_POINT_ATTN_IN, layer))
        return SONDE_OK;
    /* There as many heads read keys and values as queries: each head's input feeds all three. */
    for (int i = 0; i < 3; i++)
        head_inputs(b, b->inner, parts[i], columns[i], n_heads[i], layer, i > 0);
    return sondep_show_gradient(b, SONDEP_POINT_ATTN_IN, layer, b->inner, c->n_heads * c->d_model, c->n_heads * c->d_model);
}

/* ---- logits ------------------------------------------------------------------------------------------------------------------- */

sonde_status sondep_fire_logit_gradient(const sondep_backward *b)
{
    const sondep_linear *unembed = &b->pass->model->unembed;
    int64_t N = b->pass->batch->N, D = unembed->n_in, V = unembed->n_out;
    sondep_workbench bench = {b->pass->model->precision, b->scratch};

    /* Block by block, as the objective sees them elsewhere. */
    for (int64_t first = 0; first < N; first += SONDEP_OBJECTIVE_BLOCK) {
        int64_t n = N - first < SONDEP_OBJECTIVE_BLOCK ? N - first : SONDEP_OBJECTIVE_BLOCK;
        sondep_linear_forward(b->logits + first * V, V, b->pass->y + first * D, D, unembed, n, (sondep_epilogue){0}, &bench);
        SONDE_TRY(b->objective(b->logits + first * V, first, n, V, b->objective_ctx));
    }
    return sondep_show_gradient(b, SONDEP_POINT_UNEMBED_OUT, 0, b->logits, V, V);
}

sondep_gradient_sizes sondep_gradient_points_sizes(const sondep_backward *b)
{
    static const sondep_point_kind norms[] = {SONDEP_POINT_LN1_SCALE,      SONDEP_POINT_LN1_NORMALIZED,
                                              SONDEP_POINT_LN2_SCALE,      SONDEP_POINT_LN2_NORMALIZED,
                                              SONDEP_POINT_LN_FINAL_SCALE, SONDEP_POINT_LN_FINAL_NORMALIZED};
    static const sondep_point_kind heads[] = {SONDEP_POINT_ATTN_IN, SONDEP_POINT_Q_INPUT, SONDEP_POINT_K_INPUT,
                                              SONDEP_POINT_V_INPUT, SONDEP_POINT_RESULT};
    static const sondep_point_kind scores[] = {SONDEP_POINT_SCORES, SONDEP_POINT_PATTERN};
    const sondep_batch *batch = b->pass->batch;
    const sonde_config *c = &b->pass->model->config;
    bool has_norms = any_wanted(b, norms, 6), has_heads = any_wanted(b, heads, 5), has_scores = any_wanted(b, scores, 2);

    /* Inputs of heads need one (N,D) beside them; scores the pattern of one sequence. */
    /* Whatever is hooked, in one layer or in all, the buffers are the same. */
    return (sondep_gradient_sizes){.inner = has_heads   ? batch->N * (c->n_heads + 1) * c->d_model
                                            : has_norms ? batch->N * c->d_model
                                                        : 0,
                                   .scale = has_norms ? batch->N : 0,
                                   .scores = has_scores ? (batch->B + 1) * c->n_heads * batch->T * batch->most_keys : 0};
}
