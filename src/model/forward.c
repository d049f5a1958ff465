/* forward.c - the forward pass: embedding, blocks, unembedding.                floor 5: model
 *
 * Reads top to bottom as the model does. Each `fire` is one hook point; where nobody listens it is a byte test. Steps that
 * a hook would look into (activation, normalisation, scores, the sum into the residual stream) are done apart only then;
 * both ways round alike, except for attention scores and per-head results.
 *
 * One block, with the buffers that it works in (N rows of tokens, no padding):
 *
 *   x (N,D) residual stream ----------------------------------------------------------+---- x += ---> x
 *     |  norm                                                                          |
 *     +---> y (N,D) ---> qkv (N, H h + 2 K h) ---> attention ---> z (N, H h) ---> W_O --+
 *
 *   x ----------------------------------------------------------------------+---- x += ---> x
 *     |  norm                                                                |
 *     +---> y (N,D) ---> mlp (N,M) = act(..) [* up (N,M)] ---> W_down --------+
 *
 * What is added to x is written to y first where hook_attn_out or hook_mlp_out is hooked, else straight into x: y is free
 * again by then.
 */
#include "model/forward.h"

#include "model/attention.h"
#include "model/fire.h"

#include <math.h>

/* ---- plan --------------------------------------------------------------------------------------------------------------- */

/* The largest scratch that any product of a pass needs. */
static size_t product_bytes(const sondep_pass *pass)
{
    const sonde_config *c = &pass->model->config;
    /* Queries, keys and values; each by itself; the output; one head's output and input; the MLP; logits. */
    int64_t N = pass->batch->N, D = c->d_model, n_q = c->n_heads * c->d_head, n_kv = c->n_kv_heads * c->d_head;
    int64_t kept = pass->logits == SONDE_LOGITS_ALL ? N : pass->logits == SONDE_LOGITS_LAST ? pass->last.n : 0;
    int64_t streamed = !pass->stream ? 0 : pass->streamed.row ? pass->streamed.n : N;
    const struct {
        int64_t M, N, K;
    } products[] = {
        {N, n_q + 2 * n_kv, D},
        {N, n_q, D},
        {N, n_kv, D},
        {N, D, n_q},
        {N, D, c->d_head},
        {N, c->d_head, D},
        {N, c->d_mlp, D},
        {N, D, c->d_mlp},
        {kept, c->n_vocab, D},
        {streamed < SONDEP_LOGITS_BLOCK ? streamed : SONDEP_LOGITS_BLOCK, c->n_vocab, D},
        {streamed % SONDEP_LOGITS_BLOCK, c->n_vocab, D},
    };
    size_t most = 0;

    for (size_t i = 0; i < sizeof products / sizeof *products; i++) {
        size_t bytes = sondep_product_scratch_bytes(products[i].M, products[i].N, products[i].K);
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* Whether a kind of point is hooked in any layer, with any of the modes. */
static bool any_wanted(const sondep_pass *pass, sondep_point_kind kind, int modes)
{
    for (int64_t layer = 0; layer < pass->model->config.n_layers; layer++)
        if (sondep_wanted(pass, kind, layer) & modes)
            return true;
    return false;
}

/* Whether the interior of any normalisation is hooked: then there must be room for it. */
static bool any_norm_wanted(const sondep_pass *pass)
{
    static const sondep_point_kind kinds[] = {SONDEP_POINT_LN1_SCALE,      SONDEP_POINT_LN1_NORMALIZED,
                                              SONDEP_POINT_LN2_SCALE,      SONDEP_POINT_LN2_NORMALIZED,
                                              SONDEP_POINT_LN_FINAL_SCALE, SONDEP_POINT_LN_FINAL_NORMALIZED};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (any_wanted(pass, kinds[i], ~0))
            return true;
    return false;
}

/* The buffers of a pass without a tape, or of each layer with one. */
static size_t plan_layers(sondep_pass *pass, sondep_arena *arena)
{
    const sonde_config *c = &pass->model->config;
    int64_t N = pass->batch->N, n_q = c->n_heads * c->d_head, width = n_q + 2 * c->n_kv_heads * c->d_head;
    int64_t n_up = c->gated_mlp ? N * c->d_mlp : 0;
    size_t bytes = 0;

    for (int64_t layer = 0; pass->tape && layer <= c->n_layers; layer++) {
        bool is_layer = layer < c->n_layers;
        pass->tape[layer] = (sondep_tape){.resid_pre = sondep_arena_plan(arena, &bytes, N * c->d_model),
                                          .resid_mid = sondep_arena_plan(arena, &bytes, is_layer ? N * c->d_model : 0),
                                          .qkv = sondep_arena_plan(arena, &bytes, is_layer ? N * width : 0),
                                          .z = sondep_arena_plan(arena, &bytes, is_layer ? N * n_q : 0),
                                          .pre = sondep_arena_plan(arena, &bytes, is_layer ? N * c->d_mlp : 0),
                                          .up = sondep_arena_plan(arena, &bytes, is_layer ? n_up : 0)};
    }
    pass->mlp = sondep_arena_plan(arena, &bytes, N * c->d_mlp);
    if (pass->tape) {
        pass->x = pass->tape[0].resid_pre;
        return bytes;
    }
    pass->x = sondep_arena_plan(arena, &bytes, N * c->d_model);
    pass->z = sondep_arena_plan(arena, &bytes, N * n_q);
    pass->qkv = sondep_arena_plan(arena, &bytes, N * width);
    pass->pre = pass->mlp;
    pass->up = sondep_arena_plan(arena, &bytes, n_up);
    return bytes;
}

size_t sondep_pass_plan(sondep_pass *pass, sondep_arena *arena)
{
    const sonde_config *c = &pass->model->config;
    const sondep_batch *batch = pass->batch;
    const int any = SONDE_HOOK_READ | SONDE_HOOK_WRITE;
    int64_t N = batch->N;
    bool has_norm = any_norm_wanted(pass);
    bool has_scores = any_wanted(pass, SONDEP_POINT_SCORES, any) || any_wanted(pass, SONDEP_POINT_PATTERN, any);
    bool has_split = any_wanted(pass, SONDEP_POINT_ATTN_IN, any) || any_wanted(pass, SONDEP_POINT_Q_INPUT, any) ||
                     any_wanted(pass, SONDEP_POINT_K_INPUT, any) || any_wanted(pass, SONDEP_POINT_V_INPUT, any);
    size_t bytes = plan_layers(pass, arena), product = product_bytes(pass);
    size_t attention = sondep_attention_scratch_bytes(c->d_head);

    /* What every pass needs beside that: one row-wise buffer. */
    pass->y = sondep_arena_plan(arena, &bytes, N * c->d_model);
    /* What only hooks need. */
    pass->normalized = sondep_arena_plan(arena, &bytes, has_norm ? N * c->d_model : 0);
    pass->scale = sondep_arena_plan(arena, &bytes, has_norm ? N : 0);
    pass->old_scale = sondep_arena_plan(arena, &bytes, has_norm ? N : 0);
    pass->scores = sondep_arena_plan(arena, &bytes, has_scores ? batch->B * c->n_heads * batch->T * batch->most_keys : 0);
    pass->result =
        sondep_arena_plan(arena, &bytes, any_wanted(pass, SONDEP_POINT_RESULT, any) ? N * c->n_heads * c->d_model : 0);
    pass->split = sondep_arena_plan(arena, &bytes, has_split ? N * c->n_heads * c->d_model : 0);
    pass->split_y = sondep_arena_plan(arena, &bytes, has_split ? N * c->n_heads * c->d_model : 0);
    pass->chosen =
        sondep_arena_plan(arena, &bytes, (pass->last.n > pass->streamed.n ? pass->last.n : pass->streamed.n) * c->d_model);
    pass->logits_block = sondep_arena_plan(
        arena, &bytes, pass->stream ? (N < SONDEP_LOGITS_BLOCK ? N : SONDEP_LOGITS_BLOCK) * c->n_vocab : 0);
    /* One attention problem for each sequence, and what the kernels work in. */
    pass->attention =
        (void *)sondep_arena_plan(arena, &bytes, (int64_t)(sizeof *pass->attention / sizeof(float) + 1) * batch->B);
    pass->product_scratch = sondep_arena_plan(arena, &bytes, (int64_t)(product / sizeof(float) + 1));
    pass->attention_scratch = sondep_arena_plan(arena, &bytes, (int64_t)(attention / sizeof(float) + 1));
    return bytes;
}

/* ---- pieces --------------------------------------------------------------------------------------------------------------- */

/* out = in W + b, with what else the epilogue says. */
static void linear(const sondep_pass *pass, float *out, int64_t ld_out, const float *in, int64_t ld_in,
                   const sondep_linear *l, int64_t n_rows, sondep_epilogue epilogue)
{
    sondep_workbench bench = {pass->model->precision, pass->product_scratch};
    sondep_linear_forward(out, ld_out, in, ld_in, l, n_rows, epilogue, &bench);
}

/* Rows whose scale a hook changed are scaled again; the others keep their bits. */
static void apply_changed_scale(const sondep_pass *pass)
{
    int64_t D = pass->model->config.d_model;
    for (int64_t n = 0; n < pass->batch->N; n++)
        if (pass->scale[n] != pass->old_scale[n])
            for (int64_t d = 0; d < D; d++)
                pass->normalized[n * D + d] *= pass->old_scale[n] / pass->scale[n];
}

/* y = norm(x), in two steps where the interior is hooked. */
static sonde_status norm(const sondep_pass *pass, const sondep_norm_weights *weights, sondep_point_kind scale_kind,
                         sondep_point_kind normalized_kind, int64_t layer, const float *x)
{
    const sonde_config *c = &pass->model->config;
    bool is_rms = c->norm == SONDE_RMSNORM;
    int64_t N = pass->batch->N, D = c->d_model;
    int scale_modes = sondep_wanted(pass, scale_kind, layer);

    /* Nobody looks inside: one go over the rows. */
    if (scale_modes == 0 && sondep_wanted(pass, normalized_kind, layer) == 0) {
        sondep_norm(pass->y, NULL, NULL, x, weights->w, weights->b, is_rms, c->norm_eps, N, D);
        return SONDE_OK;
    }
    sondep_norm(NULL, pass->normalized, pass->scale, x, weights->w, weights->b, is_rms, c->norm_eps, N, D);
    /* A written scale changes the rows that were divided by the old one. */
    memcpy(pass->old_scale, pass->scale, (size_t)N * sizeof(float));
    SONDE_TRY(sondep_fire(pass, scale_kind, layer, pass->scale, 1, 1));
    if (scale_modes & SONDE_HOOK_WRITE)
        apply_changed_scale(pass);
    SONDE_TRY(sondep_fire(pass, normalized_kind, layer, pass->normalized, D, D));
    sondep_norm_gain(pass->y, pass->normalized, weights->w, weights->b, N, D);
    return SONDE_OK;
}

/* x += out of a linear layer: in one go, or with a hook on what is added. The stream goes on in `to`: x itself, or with a
 * tape the next place where it is kept. */
static sonde_status add_to_residual(sondep_pass *pass, const sondep_linear *l, const float *in, sondep_point_kind kind,
                                    int64_t layer, float *to)
{
    int64_t N = pass->batch->N, D = pass->model->config.d_model;
    const float *x = pass->x;

    pass->x = to;
    if (sondep_wanted(pass, kind, layer) == 0) {
        linear(pass, to, D, in, l->n_in, l, N, (sondep_epilogue){.residual = x, .ld_residual = D});
        return SONDE_OK;
    }
    /* The same sums in the same order, so hooking here changes no bit of the stream. */
    linear(pass, pass->y, D, in, l->n_in, l, N, (sondep_epilogue){0});
    SONDE_TRY(sondep_fire(pass, kind, layer, pass->y, D, D));
    sondep_add(to, x, pass->y, N * D);
    return SONDE_OK;
}

/* ---- blocks --------------------------------------------------------------------------------------------------------------- */

/* Where a fused activation leaves what it was computed from: nowhere without a tape. */
static float *kept_pre(const sondep_pass *pass)
{
    return pass->tape ? pass->pre : NULL;
}

/* The plain MLP: post = act(y W + b). */
static sonde_status mlp_plain(const sondep_pass *pass, const sondep_block *block, int64_t layer)
{
    int64_t N = pass->batch->N, D = pass->model->config.d_model, M = pass->model->config.d_mlp;

    if (sondep_wanted(pass, SONDEP_POINT_PRE, layer) == 0) {
        linear(pass, pass->mlp, M, pass->y, D, &block->up, N,
               (sondep_epilogue){.act = pass->model->act, .pre = kept_pre(pass), .ld_pre = M});
        return SONDE_OK;
    }
    linear(pass, pass->pre, M, pass->y, D, &block->up, N, (sondep_epilogue){0});
    SONDE_TRY(sondep_fire(pass, SONDEP_POINT_PRE, layer, pass->pre, M, M));
    sondep_activate(pass->mlp, pass->pre, pass->model->act, N * M);
    return SONDE_OK;
}

/* The gated MLP: post = act(y W_gate + b_gate) * (y W_up + b_up). */
static sonde_status mlp_gated(const sondep_pass *pass, const sondep_block *block, int64_t layer)
{
    int64_t N = pass->batch->N, D = pass->model->config.d_model, M = pass->model->config.d_mlp;
    bool is_fused = sondep_wanted(pass, SONDEP_POINT_PRE, layer) == 0;

    /* TransformerLens fires hook_pre first: the gate is computed before the other half where it is hooked. */
    if (!is_fused) {
        linear(pass, pass->pre, M, pass->y, D, &block->gate, N, (sondep_epilogue){0});
        SONDE_TRY(sondep_fire(pass, SONDEP_POINT_PRE, layer, pass->pre, M, M));
    }
    linear(pass, pass->up, M, pass->y, D, &block->up, N, (sondep_epilogue){0});
    SONDE_TRY(sondep_fire(pass, SONDEP_POINT_PRE_LINEAR, layer, pass->up, M, M));
    /* Else the gate comes last, and its epilogue multiplies the two halves. */
    if (is_fused) {
        linear(
            pass, pass->mlp, M, pass->y, D, &block->gate, N,
            (sondep_epilogue){.act = pass->model->act, .pre = kept_pre(pass), .ld_pre = M, .gate = pass->up, .ld_gate = M});
        return SONDE_OK;
    }
    sondep_activate(pass->mlp, pass->pre, pass->model->act, N * M);
    sondep_multiply(pass->mlp, pass->mlp, pass->up, N * M);
    return SONDE_OK;
}

/* The second half of a block, up to what it adds to the stream. */
static sonde_status mlp(sondep_pass *pass, int64_t layer)
{
    const sondep_block *block = &pass->model->blocks[layer];
    int64_t N = pass->batch->N, D = pass->model->config.d_model, M = pass->model->config.d_mlp;
    const float *in = pass->x;

    /* What is written to hook_mlp_in reaches the MLP alone: the stream itself goes on unchanged. */
    if (sondep_wanted(pass, SONDEP_POINT_MLP_IN, layer)) {
        memcpy(pass->y, pass->x, (size_t)(N * D) * sizeof(float));
        SONDE_TRY(sondep_fire(pass, SONDEP_POINT_MLP_IN, layer, pass->y, D, D));
        in = pass->y;
    }
    SONDE_TRY(norm(pass, &block->ln2, SONDEP_POINT_LN2_SCALE, SONDEP_POINT_LN2_NORMALIZED, layer, in));
    SONDE_TRY(pass->model->config.gated_mlp ? mlp_gated(pass, block, layer) : mlp_plain(pass, block, layer));
    SONDE_TRY(sondep_fire(pass, SONDEP_POINT_POST, layer, pass->mlp, M, M));
    return add_to_residual(pass, &block->down, pass->mlp, SONDEP_POINT_MLP_OUT, layer,
                           pass->tape ? pass->tape[layer + 1].resid_pre : pass->x);
}

/* The first half of a block. It ends early where nobody listens behind. */
static sonde_status attention(sondep_pass *pass, int64_t layer)
{
    const sondep_block *block = &pass->model->blocks[layer];
    int64_t D = pass->model->config.d_model;
    float *mid = pass->tape ? pass->tape[layer].resid_mid : pass->x;

    SONDE_TRY(sondep_fire(pass, SONDEP_POINT_RESID_PRE, layer, pass->x, D, D));
    if (sondep_finished(pass, SONDEP_POINT_ATTN_IN, layer))
        return SONDE_OK;
    SONDE_TRY(sondep_attention_split(pass, layer));
    SONDE_TRY(norm(pass, &block->ln1, SONDEP_POINT_LN1_SCALE, SONDEP_POINT_LN1_NORMALIZED, layer, pass->x));
    SONDE_TRY(sondep_attention_qkv(pass, layer));
    if (sondep_finished(pass, SONDEP_POINT_SCORES, layer))
        return SONDE_OK;
    SONDE_TRY(sondep_attention_mixed(pass, layer));
    if (sondep_finished(pass, SONDEP_POINT_RESULT, layer))
        return SONDE_OK;
    if (sondep_wanted(pass, SONDEP_POINT_RESULT, layer)) {
        SONDE_TRY(sondep_attention_result(pass, layer));
        /* Written results replace the product with W_O: their sum lies in y already. */
        if (sondep_wanted(pass, SONDEP_POINT_RESULT, layer) & SONDE_HOOK_WRITE) {
            SONDE_TRY(sondep_fire(pass, SONDEP_POINT_ATTN_OUT, layer, pass->y, D, D));
            sondep_add(mid, pass->x, pass->y, pass->batch->N * D);
            pass->x = mid;
            return sondep_fire(pass, SONDEP_POINT_RESID_MID, layer, pass->x, D, D);
        }
    }
    SONDE_TRY(add_to_residual(pass, &block->o, pass->z, SONDEP_POINT_ATTN_OUT, layer, mid));
    return sondep_fire(pass, SONDEP_POINT_RESID_MID, layer, pass->x, D, D);
}

/* ---- beginning and end ------------------------------------------------------------------------------------------------------ */

/* x = rows of the embedding, and of the positions where those are learned. */
static sonde_status embed(const sondep_pass *pass)
{
    const sonde_model *model = pass->model;
    const sondep_batch *batch = pass->batch;
    int64_t N = batch->N, D = model->config.d_model;

    sondep_gather_rows(pass->x, &model->wte, batch->ids, false, N, D);
    SONDE_TRY(sondep_fire(pass, SONDEP_POINT_EMBED, 0, pass->x, D, D));
    if (model->config.positions != SONDE_POSITIONS_LEARNED)
        return SONDE_OK;
    /* Unhooked, the rows of positions are added as they are read. */
    if (sondep_wanted(pass, SONDEP_POINT_POS_EMBED, 0) == 0) {
        sondep_gather_rows(pass->x, &model->wpe, batch->position, true, N, D);
        return SONDE_OK;
    }
    sondep_gather_rows(pass->y, &model->wpe, batch->position, false, N, D);
    SONDE_TRY(sondep_fire(pass, SONDEP_POINT_POS_EMBED, 0, pass->y, D, D));
    sondep_add(pass->x, pass->x, pass->y, N * D);
    return SONDE_OK;
}

/* Logits of n lines of y: whole into `out`, or, where that is NULL, in blocks to the listener. `rows` says which rows of the
 * batch they are. */
static sonde_status logits_of(const sondep_pass *pass, float *out, const float *y, int64_t n_lines, const int64_t *rows)
{
    int64_t D = pass->model->config.d_model, V = pass->model->config.n_vocab, block = out ? n_lines : SONDEP_LOGITS_BLOCK;

    for (int64_t first = 0; first < n_lines; first += block) {
        int64_t n = n_lines - first < block ? n_lines - first : block;
        float *logits = out ? out : pass->logits_block;

        linear(pass, logits, V, y + first * D, D, &pass->model->unembed, n, (sondep_epilogue){0});
        if (out == NULL || !pass->is_drawn_from)
            SONDE_TRY(sondep_check_finite(pass, SONDEP_POINT_UNEMBED_OUT, 0, logits, V, V, n, rows, first));
        if (out == NULL)
            SONDE_TRY(pass->stream(logits, first, n, V, pass->stream_ctx));
    }
    return SONDE_OK;
}

/* The same for chosen rows of `from`: the normalised rows, or, where none were made, the residual stream, of which the
 * chosen rows alone are then normalised. */
static sonde_status logits_of_rows(const sondep_pass *pass, float *out, const float *from, const sondep_rows *rows)
{
    const sonde_model *model = pass->model;
    int64_t D = model->config.d_model;

    for (int64_t i = 0; i < rows->n; i++)
        memcpy(pass->chosen + i * D, from + rows->row[i] * D, (size_t)D * sizeof(float));
    if (from == pass->x)
        sondep_norm(pass->chosen, NULL, NULL, pass->chosen, model->ln_final.w, model->ln_final.b,
                    model->config.norm == SONDE_RMSNORM, model->config.norm_eps, rows->n, D);
    return logits_of(pass, out, pass->chosen, rows->n, rows->row);
}

/* The final normalisation and the logits, of as few rows as are wanted. */
static sonde_status unembed(const sondep_pass *pass)
{
    int64_t N = pass->batch->N, D = pass->model->config.d_model, V = pass->model->config.n_vocab;
    bool is_streamed_whole = pass->stream && !pass->streamed.row;
    bool needs_all = pass->logits == SONDE_LOGITS_ALL || is_streamed_whole ||
                     !sondep_finished_hooks(pass, SONDEP_POINT_LN_FINAL_SCALE, 0);
    const float *from = needs_all ? pass->y : pass->x;

    if (needs_all) {
        SONDE_TRY(
            norm(pass, &pass->model->ln_final, SONDEP_POINT_LN_FINAL_SCALE, SONDEP_POINT_LN_FINAL_NORMALIZED, 0, pass->x));
        SONDE_TRY(sondep_fire(pass, SONDEP_POINT_UNEMBED_IN, 0, pass->y, D, D));
    }
    if (pass->logits == SONDE_LOGITS_ALL) {
        SONDE_TRY(logits_of(pass, pass->logits_out, pass->y, N, NULL));
        SONDE_TRY(sondep_fire(pass, SONDEP_POINT_UNEMBED_OUT, 0, pass->logits_out, V, V));
    } else if (pass->logits == SONDE_LOGITS_LAST) {
        SONDE_TRY(logits_of_rows(pass, pass->logits_out, from, &pass->last));
    }
    if (pass->stream == NULL)
        return SONDE_OK;
    return is_streamed_whole ? logits_of(pass, NULL, pass->y, N, NULL) : logits_of_rows(pass, NULL, from, &pass->streamed);
}

void sondep_pass_enter_layer(sondep_pass *pass, int64_t layer)
{
    const sondep_tape *own = pass->tape ? &pass->tape[layer] : NULL;

    /* Without a tape all layers share the buffers that the plan has laid out. */
    if (own == NULL)
        return;
    pass->x = own->resid_pre;
    pass->qkv = own->qkv;
    pass->z = own->z;
    pass->pre = own->pre;
    pass->up = own->up;
}

sonde_status sondep_pass_run(sondep_pass *pass)
{
    int64_t D = pass->model->config.d_model;

    if (pass->batch->N == 0)
        return SONDE_OK;
    SONDE_TRY(embed(pass));
    SONDE_TRY(sondep_check_finite(pass, SONDEP_POINT_EMBED, 0, pass->x, D, D, pass->batch->N, NULL, 0));
    for (int64_t layer = 0; layer < pass->model->config.n_layers; layer++) {
        /* A layer is the step that an interruption waits for. */
        if (sondep_interrupted())
            return SONDE_FAIL(SONDE_E_INTERRUPTED, "interrupted before layer %lld", (long long)layer);
        if (sondep_finished(pass, SONDEP_POINT_RESID_PRE, layer))
            return SONDE_OK;
        sondep_pass_enter_layer(pass, layer);
        SONDE_TRY(attention(pass, layer));
        if (sondep_finished(pass, SONDEP_POINT_MLP_IN, layer))
            return SONDE_OK;
        SONDE_TRY(mlp(pass, layer));
        SONDE_TRY(sondep_fire(pass, SONDEP_POINT_RESID_POST, layer, pass->x, D, D));
        SONDE_TRY(sondep_check_finite(pass, SONDEP_POINT_RESID_POST, layer, pass->x, D, D, pass->batch->N, NULL, 0));
    }
    return sondep_finished(pass, SONDEP_POINT_LN_FINAL_SCALE, 0) ? SONDE_OK : unembed(pass);
}

double sondep_layer_flops(const sondep_pass *pass, double *mixing)
{
    const sonde_config *c = &pass->model->config;
    const sondep_batch *batch = pass->batch;
    double N = (double)batch->N, D = (double)c->d_model, n_q = (double)(c->n_heads * c->d_head), pairs = 0.0;
    double n_kv = (double)(c->n_kv_heads * c->d_head);

    /* Causal: query i of n sees n_keys - n + i + 1 keys; two products of width h for each head. */
    for (int64_t b = 0; b < batch->B; b++) {
        double n = (double)(batch->offset[b + 1] - batch->offset[b]);
        pairs += n * ((double)batch->n_keys[b] - n) + n * (n + 1.0) / 2.0;
    }
    *mixing = 4.0 * pairs * n_q;
    return 2.0 * N * (D * (n_q + 2.0 * n_kv) + n_q * D + (c->gated_mlp ? 3.0 : 2.0) * D * (double)c->d_mlp);
}

double sondep_pass_flops(const sondep_pass *pass, int64_t *n_layers)
{
    const sonde_config *c = &pass->model->config;
    double N = (double)pass->batch->N, rows = pass->logits == SONDE_LOGITS_LAST ? (double)pass->last.n : 0.0, mixing;
    double linear_layers = sondep_layer_flops(pass, &mixing);

    *n_layers = 0;
    /* The layers that the pass would enter. */
    while (*n_layers < c->n_layers && !sondep_finished(pass, SONDEP_POINT_RESID_PRE, *n_layers))
        ++*n_layers;
    rows += pass->logits == SONDE_LOGITS_ALL ? N : 0.0;
    rows += !pass->stream ? 0.0 : pass->streamed.row ? (double)pass->streamed.n : N;
    return (double)*n_layers * (linear_layers + mixing) + 2.0 * rows * (double)c->d_model * (double)c->n_vocab;
}
