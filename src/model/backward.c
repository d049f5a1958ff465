/* backward.c - the forward pass, read from its end.                            floor 5: model
 *
 * dx is the gradient of the residual stream. Each half of a block hands it on unchanged, and adds what comes back through
 * its own layers. Cheap things (normalised rows, activations) are computed once more rather than kept.
 *
 *   dx --------------------------------------------------------------------+--- dx += ---> dx
 *     |                                                                    |
 *     +--> W_down^T --> dpost --> act' --> dpre, dup --> W^T --> dy --> norm'
 *
 * Gradients of hooked points are fired where they are complete.
 */
#include "model/backward.h"

#include "model/attention.h"
#include "model/backward_points.h"
#include "model/fire.h"

/* ---- plan ------------------------------------------------------------------------------------------------------------------ */

/* The largest scratch that a layer needs on its way back. */
static size_t scratch_bytes(const sondep_backward *b)
{
    const sonde_config *c = &b->pass->model->config;
    int64_t N = b->pass->batch->N, D = c->d_model, n_q = c->n_heads * c->d_head, n_kv = c->n_kv_heads * c->d_head;
    bool all_logits = sondep_gradient_wanted(b, SONDEP_POINT_UNEMBED_OUT, 0);
    size_t sizes[] = {sondep_linear_scratch_bytes(D, n_q + 2 * n_kv, N),
                      sondep_linear_scratch_bytes(D, n_q, N),
                      sondep_linear_scratch_bytes(D, n_kv, N),
                      sondep_linear_scratch_bytes(D, c->d_head, N),
                      sondep_linear_scratch_bytes(n_q, D, N),
                      sondep_linear_scratch_bytes(D, c->d_mlp, N),
                      sondep_linear_scratch_bytes(c->d_mlp, D, N),
                      sondep_linear_scratch_bytes(D, c->n_vocab, all_logits ? N : 0),
                      sondep_unembed_backward_scratch_bytes(D, c->n_vocab, N),
                      sondep_unembed_backward_scratch_bytes(D, c->n_vocab, b->counted.n),
                      sondep_product_scratch_bytes(b->pass->batch->T, b->pass->batch->most_keys, c->d_head),
                      sondep_norm_backward_scratch_bytes(N, D)};
    size_t most = 0;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        most = sizes[i] > most ? sizes[i] : most;
    return most;
}

size_t sondep_backward_plan(sondep_backward *b, sondep_arena *arena)
{
    const sondep_batch *batch = b->pass->batch;
    const sonde_config *c = &b->pass->model->config;
    int64_t N = batch->N, D = c->d_model, n_q = c->n_heads * c->d_head, width = n_q + 2 * c->n_kv_heads * c->d_head;
    bool all_logits = sondep_gradient_wanted(b, SONDEP_POINT_UNEMBED_OUT, 0);
    sondep_gradient_sizes sizes = sondep_gradient_points_sizes(b);
    size_t bytes = 0;

    b->dx = sondep_arena_plan(arena, &bytes, N * D);
    b->dy = sondep_arena_plan(arena, &bytes, N * D);
    b->dqkv = sondep_arena_plan(arena, &bytes, N * width);
    b->dz = sondep_arena_plan(arena, &bytes, N * n_q);
    b->dpost = sondep_arena_plan(arena, &bytes, N * c->d_mlp);
    b->dup = sondep_arena_plan(arena, &bytes, c->gated_mlp ? N * c->d_mlp : 0);
    b->logits = sondep_arena_plan(arena, &bytes,
                                  (all_logits || N < SONDEP_OBJECTIVE_BLOCK ? N : SONDEP_OBJECTIVE_BLOCK) * c->n_vocab);
    b->minus_sin =
        sondep_arena_plan(arena, &bytes, c->positions == SONDE_POSITIONS_ROTARY ? batch->most_keys * c->d_head / 2 : 0);
    /* What only hooks need. */
    b->inner = sondep_arena_plan(arena, &bytes, sizes.inner);
    b->scale = sondep_arena_plan(arena, &bytes, sizes.scale);
    b->scores = sondep_arena_plan(arena, &bytes, sizes.scores);
    b->attention = (void *)sondep_arena_plan(arena, &bytes, (int64_t)(sizeof *b->attention / sizeof(float) + 1) * batch->B);
    b->scratch = sondep_arena_plan(arena, &bytes, (int64_t)(scratch_bytes(b) / sizeof(float) + 1));
    b->attention_scratch = sondep_arena_plan(
        arena, &bytes, (int64_t)(sondep_attend_backward_scratch_bytes(c->d_head, batch->most_keys) / sizeof(float) + 1));
    return bytes;
}

/* ---- pieces ----------------------------------------------------------------------------------------------------------------- */

/* Where the gradient of a weight is added up; NULL where none are wanted, or there is no such weight. */
static float *gradient_of(const sondep_backward *b, const void *weight)
{
    return b->gradients && weight ? b->gradients + ((const float *)weight - b->pass->model->parameters) : NULL;
}

/* What layers compute in. */
static sondep_workbench bench_of(const sondep_backward *b)
{
    return (sondep_workbench){b->pass->model->precision, b->scratch};
}

/* Back through y = x W + b: its weights if they are wanted, and dx, or dx +=. */
static void linear(const sondep_backward *b, float *dx, bool adds, const float *dy, int64_t ld_dy, const float *x,
                   int64_t ld_x, const sondep_linear *l)
{
    sondep_workbench bench = bench_of(b);
    int64_t N = b->pass->batch->N;
    float *dw = gradient_of(b, l->w.data);

    /* Gradients of weights are added up over the parts of a step: none is written. */
    if (dw)
        sondep_linear_backward_weights(dw, gradient_of(b, l->b), dy, ld_dy, x, ld_x, l, N, &bench);
    sondep_linear_backward_input(dx, l->n_in, dy, ld_dy, l, N, adds, &bench);
}

/* y = norm(x) once more: what the layer behind it saw. */
static const float *renormalize(const sondep_backward *b, const sondep_norm_weights *w, const float *x)
{
    const sonde_config *c = &b->pass->model->config;
    sondep_norm(b->pass->y, NULL, NULL, x, w->w, w->b, c->norm == SONDE_RMSNORM, c->norm_eps, b->pass->batch->N, c->d_model);
    return b->pass->y;
}

/* Back through a norm, from dy to dx: written, or added to what is there. */
static void norm(const sondep_backward *b, float *dx, bool adds, const sondep_norm_weights *w, const float *x)
{
    const sonde_config *c = &b->pass->model->config;
    sondep_norm_backward(dx, gradient_of(b, w->w), gradient_of(b, w->b), b->dy, x, w->w, c->norm == SONDE_RMSNORM,
                         c->norm_eps, b->pass->batch->N, c->d_model, adds, b->scratch);
}

/* ---- blocks ----------------------------------------------------------------------------------------------------------------- */

/* The gradient of what a half of a block adds to the stream: dx itself, or, where that was replaced, a copy of dx, which then
 * becomes 0: the stream itself goes on. dy is free there. */
static sonde_status added(const sondep_backward *b, const float **out, sondep_point_kind kind, int64_t layer)
{
    int64_t N = b->pass->batch->N, D = b->pass->model->config.d_model;
    float *dout = b->dx;

    if (sondep_gradient_ends(b, kind, layer))
        dout = memcpy(b->dy, b->dx, (size_t)(N * D) * sizeof *dout);
    *out = dout;
    return sondep_fire_gradient(b, kind, layer, dout, D, D);
}

/* Back through the second half of a block. */
static sonde_status mlp(const sondep_backward *b, int64_t layer)
{
    const sonde_model *model = b->pass->model;
    const sondep_block *block = &model->blocks[layer];
    const sondep_tape *tape = &b->pass->tape[layer];
    int64_t N = b->pass->batch->N, D = model->config.d_model, M = model->config.d_mlp;
    const sondep_linear *first = model->config.gated_mlp ? &block->gate : &block->up;
    sondep_workbench bench = bench_of(b);
    float *post = b->pass->mlp, *dw = gradient_of(b, block->down.w.data);
    const float *dout;

    SONDE_TRY(sondep_fire_gradient(b, SONDEP_POINT_RESID_POST, layer, b->dx, D, D));
    SONDE_TRY(added(b, &dout, SONDEP_POINT_MLP_OUT, layer));
    if (sondep_gradients_finished(b, SONDEP_POINT_POST, layer))
        return SONDE_OK;
    sondep_linear_backward_input(b->dpost, M, dout, D, &block->down, N, false, &bench);
    SONDE_TRY(sondep_fire_gradient(b, SONDEP_POINT_POST, layer, b->dpost, M, M));
    /* post comes once more on the way: the gradient of W_down needs it. */
    sondep_activate_backward(b->dpost, b->dup, post, b->dpost, tape->pre, tape->up, model->act, N * M);
    if (dw)
        sondep_linear_backward_weights(dw, gradient_of(b, block->down.b), dout, D, post, M, &block->down, N, &bench);
    SONDE_TRY(sondep_fire_gradient(b, SONDEP_POINT_PRE_LINEAR, layer, b->dup, M, M));
    SONDE_TRY(sondep_fire_gradient(b, SONDEP_POINT_PRE, layer, b->dpost, M, M));
    /* Through the MLP's first matrices to what they both read. */
    renormalize(b, &block->ln2, tape->resid_mid);
    linear(b, b->dy, false, b->dpost, M, b->pass->y, D, first);
    if (model->config.gated_mlp)
        linear(b, b->dy, true, b->dup, M, b->pass->y, D, &block->up);
    SONDE_TRY(sondep_fire_norm_gradients(b, SONDEP_POINT_LN2_SCALE, SONDEP_POINT_LN2_NORMALIZED, layer, &block->ln2,
                                         tape->resid_mid));
    /* hook_mlp_in is the MLP's own copy of the stream: what comes back through the norm alone. */
    if (sondep_gradient_wanted(b, SONDEP_POINT_MLP_IN, layer)) {
        norm(b, b->dy, false, &block->ln2, tape->resid_mid);
        SONDE_TRY(sondep_fire_gradient(b, SONDEP_POINT_MLP_IN, layer, b->dy, D, D));
        sondep_add(b->dx, b->dx, b->dy, N * D);
    } else {
        norm(b, b->dx, true, &block->ln2, tape->resid_mid);
    }
    return SONDE_OK;
}

/* dqkv from dz: through the mix of values, the rotation, and the hooks on both sides of it. */
static sonde_status mixing(const sondep_backward *b, int64_t layer)
{
    const sonde_config *c = &b->pass->model->config;
    const sondep_batch *batch = b->pass->batch;
    int64_t n_q = c->n_heads * c->d_head, n_kv = c->n_kv_heads * c->d_head, width = n_q + 2 * n_kv;
    float *dq = b->dqkv, *dk = dq + n_q, *dv = dk + n_kv;

    SONDE_TRY(sondep_fire_score_gradients(b, layer));
    /* Keys and values are those of the layer's tape, rotated and as hooks left them. */
    for (int64_t i = 0; i < batch->B; i++) {
        int64_t row = batch->offset[i];
        b->attention[i] = (sondep_attention_backward){.forward = sondep_attention_of(b->pass, i, layer),
                                                      .dz = b->dz + row * n_q,
                                                      .dq = dq + row * width,
                                                      .dk = dk + row * width,
                                                      .dv = dv + row * width,
                                                      .ld_dz = n_q,
                                                      .ld_dq = width,
                                                      .ld_dk = width,
                                                      .ld_dv = width};
    }
    sondep_attend_backward(b->attention, batch->B, b->attention_scratch);
    /* A rotation goes back by the negative angle. */
    if (c->positions == SONDE_POSITIONS_ROTARY) {
        SONDE_TRY(sondep_fire_gradient(b, SONDEP_POINT_ROT_K, layer, dk, width, n_kv));
        SONDE_TRY(sondep_fire_gradient(b, SONDEP_POINT_ROT_Q, layer, dq, width, n_q));
        sondep_rotate(dq, dq, batch->position, b->pass->rope->cos, b->minus_sin, batch->N, c->n_heads, c->d_head, width,
                      width);
        sondep_rotate(dk, dk, batch->position, b->pass->rope->cos, b->minus_sin, batch->N, c->n_kv_heads, c->d_head, width,
                      width);
    }
    SONDE_TRY(sondep_fire_gradient(b, SONDEP_POINT_V, layer, dv, width, n_kv));
    SONDE_TRY(sondep_fire_gradient(b, SONDEP_POINT_K, layer, dk, width, n_kv));
    return sondep_fire_gradient(b, SONDEP_POINT_Q, layer, dq, width, n_q);
}

/* dy from dqkv, through one matrix or three. */
static void queries_keys_values(const sondep_backward *b, const sondep_block *block)
{
    const sonde_config *c = &b->pass->model->config;
    int64_t n_q = c->n_heads * c->d_head, n_kv = c->n_kv_heads * c->d_head, width = n_q + 2 * n_kv, D = c->d_model;

    /* The three parts lie side by side in dqkv; what they give back to their input is summed in dy. */
    /* Side by side in the file, they are one matrix. */
    if (block->qkv.n_out > 0) {
        linear(b, b->dy, false, b->dqkv, width, b->pass->y, D, &block->qkv);
        return;
    }
    linear(b, b->dy, false, b->dqkv, width, b->pass->y, D, &block->q);
    linear(b, b->dy, true, b->dqkv + n_q, width, b->pass->y, D, &block->k);
    linear(b, b->dy, true, b->dqkv + n_q + n_kv, width, b->pass->y, D, &block->v);
}

/* Back through the first half of a block. */
static sonde_status attention(const sondep_backward *b, int64_t layer)
{
    const sondep_block *block = &b->pass->model->blocks[layer];
    const sondep_tape *tape = &b->pass->tape[layer];
    int64_t D = b->pass->model->config.d_model, n_q = block->o.n_in;
    const float *dout;

    SONDE_TRY(sondep_fire_gradient(b, SONDEP_POINT_RESID_MID, layer, b->dx, D, D));
    SONDE_TRY(added(b, &dout, SONDEP_POINT_ATTN_OUT, layer));
    SONDE_TRY(sondep_fire_result_gradient(b, layer, dout));
    if (sondep_gradients_finished(b, SONDEP_POINT_Z, layer))
        return SONDE_OK;
    linear(b, b->dz, false, dout, D, tape->z, n_q, &block->o);
    sondep_stop_gradient(b, SONDEP_POINT_RESULT, layer, b->dz, n_q, n_q);
    SONDE_TRY(sondep_fire_gradient(b, SONDEP_POINT_Z, layer, b->dz, n_q, n_q));
    SONDE_TRY(mixing(b, layer));
    renormalize(b, &block->ln1, tape->resid_pre);
    queries_keys_values(b, block);
    SONDE_TRY(sondep_fire_norm_gradients(b, SONDEP_POINT_LN1_SCALE, SONDEP_POINT_LN1_NORMALIZED, layer, &block->ln1,
                                         tape->resid_pre));
    SONDE_TRY(sondep_fire_input_gradients(b, layer));
    norm(b, b->dx, true, &block->ln1, tape->resid_pre);
    return sondep_fire_gradient(b, SONDEP_POINT_RESID_PRE, layer, b->dx, D, D);
}

/* ---- end and beginning -------------------------------------------------------------------------------------------------------- */

/* Moves the rows of y that the objective looks at to its front; gives how many those are. */
static int64_t gather_counted(const sondep_backward *b)
{
    int64_t D = b->pass->model->config.d_model;

    if (b->counted.row == NULL)
        return b->pass->batch->N;
    /* In order, each to a lower place: none is overwritten before it has moved. */
    for (int64_t i = 0; i < b->counted.n; i++)
        memmove(b->pass->y + i * D, b->pass->y + b->counted.row[i] * D, (size_t)D * sizeof(float));
    return b->counted.n;
}

/* The reverse with dy: rows at its front go to their places, from the last on; the others do not matter and are 0. */
static void spread_counted(const sondep_backward *b)
{
    int64_t D = b->pass->model->config.d_model, end = b->pass->batch->N;

    if (b->counted.row == NULL)
        return;
    for (int64_t i = b->counted.n - 1; i >= 0; i--) {
        int64_t row = b->counted.row[i];
        memset(b->dy + (row + 1) * D, 0, (size_t)((end - row - 1) * D) * sizeof(float));
        memmove(b->dy + row * D, b->dy + i * D, (size_t)D * sizeof(float));
        end = row;
    }
    memset(b->dy, 0, (size_t)(end * D) * sizeof(float));
}

/* The objective, and back through unembedding and final norm: dx of the last layer's stream. */
static sonde_status unembed(const sondep_backward *b)
{
    const sonde_model *model = b->pass->model;
    const float *x = b->pass->tape[model->config.n_layers].resid_pre;
    int64_t D = model->config.d_model, V = model->config.n_vocab;
    float *dw = gradient_of(b, model->unembed.w.data);
    sondep_workbench bench = bench_of(b);

    renormalize(b, &model->ln_final, x);
    if (sondep_gradient_wanted(b, SONDEP_POINT_UNEMBED_OUT, 0)) {
        SONDE_TRY(sondep_fire_logit_gradient(b));
        linear(b, b->dy, false, b->logits, V, b->pass->y, D, &model->unembed);
    } else {
        SONDE_TRY(sondep_unembed_backward(b->dy, dw, b->pass->y, &model->unembed, gather_counted(b), b->logits, b->objective,
                                          b->objective_ctx, &bench));
        spread_counted(b);
    }
    SONDE_TRY(sondep_fire_gradient(b, SONDEP_POINT_UNEMBED_IN, 0, b->dy, D, D));
    SONDE_TRY(sondep_fire_norm_gradients(b, SONDEP_POINT_LN_FINAL_SCALE, SONDEP_POINT_LN_FINAL_NORMALIZED, 0,
                                         &model->ln_final, x));
    norm(b, b->dx, false, &model->ln_final, x);
    return SONDE_OK;
}

/* The rows of the embeddings that the batch took. */
static sonde_status embed(const sondep_backward *b)
{
    const sonde_model *model = b->pass->model;
    const sondep_batch *batch = b->pass->batch;
    int64_t D = model->config.d_model;
    bool is_learned = model->config.positions == SONDE_POSITIONS_LEARNED;

    /* Both were added to the stream: the gradient of each is that of the sum. */
    if (is_learned)
        SONDE_TRY(sondep_show_gradient(b, SONDEP_POINT_POS_EMBED, 0, b->dx, D, D));
    SONDE_TRY(sondep_show_gradient(b, SONDEP_POINT_EMBED, 0, b->dx, D, D));
    if (b->gradients == NULL)
        return SONDE_OK;
    /* A tied matrix has the unembedding's part already. */
    sondep_scatter_add_rows(gradient_of(b, model->wte.data), b->dx, batch->ids, batch->N, D);
    if (is_learned)
        sondep_scatter_add_rows(gradient_of(b, model->wpe.data), b->dx, batch->position, batch->N, D);
    return SONDE_OK;
}

sonde_status sondep_backward_run(sondep_backward *b)
{
    const sonde_config *c = &b->pass->model->config;
    int64_t n_angles = c->positions == SONDE_POSITIONS_ROTARY ? b->pass->batch->most_keys * c->d_head / 2 : 0;

    if (b->pass->batch->N == 0)
        return SONDE_OK;
    SONDE_TRY(sondep_backward_check(b));
    /* A rotation by the negative angle: the same cosines, sines with the other sign. */
    for (int64_t i = 0; i < n_angles; i++)
        b->minus_sin[i] = -b->pass->rope->sin[i];
    SONDE_TRY(unembed(b));
    /* From the last layer to the first; what each hands on is the gradient of the stream before it. */
    for (int64_t layer = c->n_layers - 1; layer >= 0; layer--) {
        if (sondep_interrupted())
            return SONDE_FAIL(SONDE_E_INTERRUPTED, "interrupted before the gradients of layer %lld", (long long)layer);
        /* Without gradients of weights, the way ends where nobody reads any more. */
        if (sondep_gradients_finished(b, SONDEP_POINT_RESID_POST, layer))
            return SONDE_OK;
        sondep_pass_enter_layer(b->pass, layer);
        SONDE_TRY(mlp(b, layer));
        if (sondep_gradients_finished(b, SONDEP_POINT_RESID_MID, layer))
            return SONDE_OK;
        SONDE_TRY(attention(b, layer));
    }
    return embed(b);
}

double sondep_backward_flops(const sondep_backward *b, int64_t *n_layers)
{
    const sonde_config *c = &b->pass->model->config;
    double mixing, linear = sondep_layer_flops(b->pass, &mixing);
    int64_t rows;

    *n_layers = 0;
    while (*n_layers < c->n_layers && !sondep_gradients_finished(b, SONDEP_POINT_RESID_POST, c->n_layers - 1 - *n_layers))
        ++*n_layers;
    /* Logits once more, for the objective, and back. */
    rows = b->counted.row ? b->counted.n : b->pass->batch->N;
    /* Linear layers as forward; attention makes its pattern once more, and has four products for the two of the way there. */
    return (double)*n_layers * (linear + 2.5 * mixing) + 4.0 * (double)rows * (double)c->d_model * (double)c->n_vocab;
}
