/* pass.c - one forward pass of a run: tokens in, plan, pass, logits out.       floor 6: run
 *
 * In this order, so that nothing is computed before all of it is known to fit:
 *
 *   the batch      padded tokens (B,T) become N rows of real ones, each with its position; ids are checked
 *   wanted         hooks and captures become one byte for each point; the last one says where the pass may end
 *   memory         captures, logits and the arena grow to what this pass needs; later passes of the size take none
 *   the pass       model/forward.c, and where gradients are wanted model/backward.c behind it, in the same memory
 *   the results    every hooked point was reached; rows of logits are spread to the shape that was asked for
 */
#include "run/run.h"

/* ---- the batch -------------------------------------------------------------------------------------------------------------- */

/* Lengths within the batch, ends within the model's context. */
static sonde_status check_sizes(const sonde_run *run, const int64_t *lengths, const int64_t *first_positions, int64_t B,
                                int64_t T)
{
    const sonde_config *c = &run->model->config;
    int64_t n;

    if (B < 0 || T < 0)
        return SONDE_FAIL(SONDE_E_ARG, "a batch of %lld x %lld tokens", (long long)B, (long long)T);
    /* A cached sequence counts with what the cache holds already. */
    SONDE_TRY(sondep_mul_i64(&n, B, T, "batch"));
    for (int64_t b = 0; b < B; b++) {
        int64_t length = lengths ? lengths[b] : T, end = length + (first_positions ? first_positions[b] : 0);
        if (length < 0 || length > T)
            return SONDE_FAIL(SONDE_E_ARG, "sequence %lld has length %lld, outside [0, %lld]", (long long)b,
                              (long long)length, (long long)T);
        if (end > c->n_context)
            return SONDE_FAIL(SONDE_E_RANGE, "sequence %lld has %lld tokens, more than the model's context of %lld",
                              (long long)b, (long long)end, (long long)c->n_context);
    }
    return SONDE_OK;
}

/* Fills the batch: rows of real tokens only. `tokens` NULL: ids 0, for plans. */
static sonde_status fill_batch(sonde_run *run, const int32_t *tokens, const int64_t *lengths, const int64_t *first_positions,
                               int64_t B, int64_t T)
{
    int64_t *ids, *position, *offset, *n_keys, *own_lengths, *own_first, *last, *streamed, V = run->model->config.n_vocab;
    sondep_batch *batch = &run->batch;
    size_t bytes;

    SONDE_TRY(check_sizes(run, lengths, first_positions, B, T));
    SONDE_TRY(sondep_mul_size(&bytes, (size_t)(3 * B * T + 5 * B + 1), sizeof(int64_t), "batch"));
    SONDE_TRY(sondep_buffer_grow(&run->numbers, bytes));
    /* All small arrays of a batch lie in one block, one behind the other. */
    ids = run->numbers.block;
    position = ids + B * T;
    offset = position + B * T;
    n_keys = offset + B + 1;
    own_lengths = n_keys + B;
    own_first = own_lengths + B;
    last = own_first + B;
    streamed = last + B;
    run->last = (sondep_rows){.row = last};
    run->streamed = (sondep_rows){.row = run->chosen ? streamed : NULL};

    *batch = (sondep_batch){.B = B, .T = T, .ids = ids, .position = position, .offset = offset, .n_keys = n_keys};
    offset[0] = 0;
    for (int64_t b = 0; b < B; b++) {
        own_lengths[b] = lengths ? lengths[b] : T;
        own_first[b] = first_positions ? first_positions[b] : 0;
        for (int64_t t = 0; t < own_lengths[b]; t++) {
            /* Ids come from outside: each is checked before it indexes the embedding. */
            int32_t id = tokens ? tokens[b * T + t] : 0;
            if (id < 0 || id >= V)
                return SONDE_FAIL(SONDE_E_RANGE, "token %lld of sequence %lld is %d, outside the vocabulary of %lld",
                                  (long long)t, (long long)b, id, (long long)V);
            if (run->chosen && run->chosen[b * T + t])
                streamed[run->streamed.n++] = batch->N;
            ids[batch->N] = id;
            position[batch->N++] = own_first[b] + t;
        }
        offset[b + 1] = batch->N;
        if (own_lengths[b] > 0)
            last[run->last.n++] = batch->N - 1;
        n_keys[b] = own_first[b] + own_lengths[b];
        batch->most_keys = n_keys[b] > batch->most_keys ? n_keys[b] : batch->most_keys;
    }
    run->lengths = own_lengths;
    run->first_positions = own_first;
    return SONDE_OK;
}

/* ---- what the pass looks at ---------------------------------------------------------------------------------------------------- */

int64_t sondep_run_gather(sondep_listeners *l)
{
    int64_t last = -1;

    /* Captures read; hooks bring their own modes. Several listeners at a point are one byte. */
    for (int64_t i = 0; i < l->run->model->points.n; i++) {
        l->wanted[i] = l->captures[i].is_on ? SONDE_HOOK_READ : 0;
        for (int64_t k = 0; k < l->n_hooks; k++)
            if (l->hooks[k].points[i])
                l->wanted[i] |= (uint8_t)l->hooks[k].mode;
        if (l->wanted[i])
            last = i;
        l->fired[i] = false;
    }
    return last;
}

/* The pass over the present batch, its scratch not yet taken. */
static sondep_pass make_pass(sonde_run *run, const sondep_hooks *hooks, sondep_cache *cache)
{
    const sondep_points *points = &run->model->points;
    bool is_logits_hooked = run->activations.wanted[sondep_point(points, SONDEP_POINT_UNEMBED_OUT, 0)] != 0;

    /* A hook on the logits needs all of them, whatever was asked for besides. */
    return (sondep_pass){.model = run->model,
                         .hooks = hooks,
                         .batch = &run->batch,
                         .cache = cache,
                         .rope = &run->rope,
                         .tape = run->back ? run->tape : NULL,
                         .logits = is_logits_hooked ? SONDE_LOGITS_ALL : run->logits,
                         .last = run->last,
                         .streamed = run->streamed,
                         .stream = run->stream,
                         .stream_ctx = run->stream_ctx,
                         .is_drawn_from = cache != NULL};
}

/* Every hooked point must have been reached: a hook that does nothing silently is the worst of bugs. */
static sonde_status check_fired(const sondep_listeners *l)
{
    const sonde_run *run = l->run;

    for (int64_t i = 0; i < run->model->points.n; i++)
        if (l->wanted[i] && !l->fired[i])
            return SONDE_FAIL(SONDE_E_HOOK, "hook point '%s' was never reached: the batch has %lld tokens",
                              run->model->points.points[i].name, (long long)run->batch.N);
    return SONDE_OK;
}

/* ---- logits ------------------------------------------------------------------------------------------------------------------------ */

/* Room for logits: rows of the pass, and of the padded tensor that comes of them. */
static sonde_status prepare_logits(sonde_run *run, sondep_pass *pass)
{
    int64_t V = run->model->config.n_vocab,
            rows = pass->logits == SONDE_LOGITS_ALL ? run->batch.B * run->batch.T : run->batch.B;
    size_t bytes;

    run->kept_logits = (sonde_tensor){0};
    if (pass->logits == SONDE_LOGITS_NONE)
        return SONDE_OK;
    SONDE_TRY(sondep_mul_size(&bytes, (size_t)rows, (size_t)V * sizeof(float), "logits"));
    SONDE_TRY(sondep_buffer_grow(&run->logits_buffer, bytes ? bytes : 1));
    pass->logits_out = run->logits_buffer.block;
    return SONDE_OK;
}

/* Moves row `from` (-1: none, zeros) to row `to` of the logits. */
static void place_row(float *logits, int64_t to, int64_t from, int64_t V)
{
    if (from < 0)
        memset(logits + to * V, 0, (size_t)V * sizeof(float));
    else if (from != to)
        memcpy(logits + to * V, logits + from * V, (size_t)V * sizeof(float));
}

/* Rows of real tokens become [B, T, V] or [B, 1, V], in place: growing from the end, shrinking from the front. */
static sonde_status place_logits(sonde_run *run, const sondep_pass *pass)
{
    const sondep_batch *batch = &run->batch;
    float *logits = pass->logits_out;
    int64_t V = run->model->config.n_vocab, n = run->last.n,
            shape[3] = {batch->B, run->logits == SONDE_LOGITS_ALL ? batch->T : 1, V};

    if (run->logits == SONDE_LOGITS_NONE)
        return SONDE_OK;
    /* Rows move to higher places, so the last goes first and none is overwritten before it moved. */
    if (run->logits == SONDE_LOGITS_ALL) {
        for (int64_t b = batch->B - 1; b >= 0; b--)
            for (int64_t t = batch->T - 1; t >= 0; t--)
                place_row(logits, b * batch->T + t, t < run->lengths[b] ? batch->offset[b] + t : -1, V);
    } else if (pass->logits == SONDE_LOGITS_ALL) {
        for (int64_t b = 0; b < batch->B; b++)
            place_row(logits, b, run->lengths[b] > 0 ? batch->offset[b + 1] - 1 : -1, V);
    } else {
        for (int64_t b = batch->B - 1; b >= 0; b--)
            place_row(logits, b, run->lengths[b] > 0 ? --n : -1, V);
    }
    return sonde_tensor_view(&run->kept_logits, logits, SONDE_F32, shape, 3);
}

/* ---- the pass ------------------------------------------------------------------------------------------------------------------------ */

/* Scratch of a pass and of the way back, as sondep_pass_plan. */
static size_t plan_scratch(sondep_pass *pass, sondep_backward *back, sondep_arena *arena)
{
    size_t bytes = sondep_pass_plan(pass, arena);
    return back ? bytes + sondep_backward_plan(back, arena) : bytes;
}

/* What the way back needs before the pass begins. */
static sonde_status prepare_back(sonde_run *run, sondep_pass *pass)
{
    run->has_gone_back = false;
    if (run->back == NULL)
        return SONDE_OK;
    run->back->pass = pass;
    SONDE_TRY(sondep_backward_check(run->back));
    return sondep_run_prepare_captures(&run->gradients, NULL);
}

/* Forward, and back; the scratch is given back whatever happened. */
static sonde_status run_scratched(sonde_run *run, sondep_pass *pass)
{
    sonde_status status;

    SONDE_TRY(sondep_arena_reserve(&run->arena, plan_scratch(pass, run->back, NULL)));
    plan_scratch(pass, run->back, &run->arena);
    status = sondep_pass_run(pass);
    if (status == SONDE_OK && run->back)
        status = sondep_backward_run(run->back);
    sondep_arena_reset(&run->arena, 0);
    return status;
}

sonde_status sondep_run_pass(sonde_run *run, const int32_t *tokens, const int64_t *lengths, const int64_t *first_positions,
                             int64_t B, int64_t T, sondep_cache *cache)
{
    sondep_hooks hooks = {.wanted = run->activations.wanted, .fire = sondep_run_fire, .ctx = &run->activations};
    sondep_pass pass;

    run->has_run = false;
    /* What is wrong with the input is found before anything is computed or any memory taken. */
    SONDE_TRY(fill_batch(run, tokens, lengths, first_positions, B, T));
    hooks.last = sondep_run_gather(&run->activations);
    pass = make_pass(run, &hooks, cache);
    SONDE_TRY(prepare_back(run, &pass));
    /* Everything that a pass needs is there before it begins: it cannot run out of memory half-way. */
    SONDE_TRY(sondep_rope_grow(&run->rope, &run->model->config, run->batch.most_keys));
    SONDE_TRY(sondep_run_prepare_captures(&run->activations, NULL));
    SONDE_TRY(prepare_logits(run, &pass));
    SONDE_TRY(run_scratched(run, &pass));
    /* Only a pass that came to its end shows which hooks were never reached. */
    SONDE_TRY(check_fired(&run->activations));
    if (run->back)
        SONDE_TRY(check_fired(&run->gradients));
    SONDE_TRY(place_logits(run, &pass));
    run->has_run = true;
    run->has_gone_back = run->back != NULL;
    return SONDE_OK;
}

sonde_status sonde_run_forward(sonde_run *run, const int32_t *tokens, const int64_t *lengths, int64_t B, int64_t T)
{
    return sondep_run_pass(run, tokens, lengths, NULL, B, T, NULL);
}

/* Bytes of a linear layer as stored. */
static int64_t linear_bytes(const sondep_linear *l)
{
    return l->n_in * l->n_out * (int64_t)sonde_dtype_bytes(l->w.dtype);
}

/* Bytes of all matrices of a block; vectors are too small to count. */
static int64_t block_bytes(const sondep_block *b)
{
    return linear_bytes(&b->q) + linear_bytes(&b->k) + linear_bytes(&b->v) + linear_bytes(&b->o) + linear_bytes(&b->gate) +
           linear_bytes(&b->up) + linear_bytes(&b->down);
}

/* Where gradients are asked for, the way back: its memory, and its flops beside those of a pass with a tape. */
static sonde_status plan_back(sonde_plan *plan, sonde_run *run, sondep_pass *pass)
{
    sondep_hooks hooks = {.wanted = run->gradients.wanted, .last = sondep_run_gather(&run->gradients)};
    sondep_backward back = {.pass = pass, .hooks = &hooks};
    int64_t n_layers;

    if (hooks.last < 0) {
        plan->scratch_bytes = (int64_t)sondep_pass_plan(pass, NULL);
        plan->flops = sondep_pass_flops(pass, &plan->n_layers);
        return SONDE_OK;
    }
    SONDE_TRY(sondep_run_make_tape(run));
    pass->tape = run->tape;
    plan->scratch_bytes = (int64_t)plan_scratch(pass, &back, NULL);
    plan->flops = sondep_pass_flops(pass, &plan->n_layers) + sondep_backward_flops(&back, &n_layers);
    return sondep_run_prepare_captures(&run->gradients, &plan->kept_bytes);
}

sonde_status sonde_run_plan(sonde_plan *out, sonde_run *run, int64_t B, int64_t T)
{
    const sonde_model *model = run->model;
    sondep_hooks hooks = {.wanted = run->activations.wanted};
    sondep_pass pass;
    sonde_plan plan = {0};
    int64_t D = model->config.d_model;

    SONDE_TRY(fill_batch(run, NULL, NULL, NULL, B, T));
    hooks.last = sondep_run_gather(&run->activations);
    pass = make_pass(run, &hooks, NULL);
    SONDE_TRY(sondep_run_prepare_captures(&run->activations, &plan.kept_bytes));
    SONDE_TRY(plan_back(&plan, run, &pass));
    for (int64_t layer = 0; layer < plan.n_layers; layer++)
        plan.weight_bytes += block_bytes(&model->blocks[layer]);
    plan.weight_bytes += B * T * D * (int64_t)sonde_dtype_bytes(model->wte.dtype);
    if (pass.logits != SONDE_LOGITS_NONE || pass.stream != NULL || pass.tape != NULL)
        plan.weight_bytes += linear_bytes(&model->unembed);
    if (pass.logits != SONDE_LOGITS_NONE)
        plan.kept_bytes += (pass.logits == SONDE_LOGITS_ALL ? B * T : B) * model->config.n_vocab * (int64_t)sizeof(float);
    *out = plan;
    return SONDE_OK;
}
