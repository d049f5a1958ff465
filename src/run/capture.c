/* capture.c - what happens when a pass reaches a hooked point.                 floor 6: run
 *
 * A pass holds the rows of real tokens one behind the other; hooks and captures see [B, T, ...] with rows of padding that
 * are 0. Where no sequence is padded both are the same memory, and nothing is copied for a hook.
 *
 *   pass:   a0 a1 a2 b0 c0 c1          rows of sequences of 3, 1 and 2 tokens
 *   hooks:  a0 a1 a2 | b0 0 0 | c0 c1 0    [3, 3, ...]
 *
 * Queries, keys and values are slices of wider rows; they are gathered for a hook, too. Scores and patterns are dense in the
 * pass already: (B, H, T, keys), -inf and 0 where a query or a key is padding.
 */
#include "run/run.h"

/* Runs of at least this many bytes are copied by all threads. */
enum { PARALLEL_BYTES = 1 << 18 };

/* out rows (B, T, width) from packed rows; padding becomes 0. */
static void pad_rows(float *out, const sondep_values *values, const sondep_batch *batch)
{
    int64_t width = values->width;

#pragma omp parallel for schedule(static) \
    num_threads(sonde_threads()) if (batch->N * width * (int64_t)sizeof(float) > PARALLEL_BYTES)
    /* Every row of the padded tensor is written, so that nothing of an earlier pass shines through. */
    for (int64_t i = 0; i < batch->B * batch->T; i++) {
        int64_t b = i / batch->T, t = i % batch->T, row = batch->offset[b] + t;
        if (row < batch->offset[b + 1])
            memcpy(out + i * width, values->data + row * values->ld, (size_t)width * sizeof(float));
        else
            memset(out + i * width, 0, (size_t)width * sizeof(float));
    }
}

/* The reverse: real rows go back, padding is ignored. */
static void unpad_rows(const sondep_values *values, const float *in, const sondep_batch *batch)
{
    for (int64_t b = 0; b < batch->B; b++)
        for (int64_t row = batch->offset[b]; row < batch->offset[b + 1]; row++)
            memcpy(values->data + row * values->ld, in + (b * batch->T + row - batch->offset[b]) * values->width,
                   (size_t)values->width * sizeof(float));
}

/* The tensor of a point in this pass, as hooks see it: shape only. */
static sonde_status point_shape(sonde_tensor *out, const sonde_run *run, int64_t point, void *data)
{
    const sonde_hook_point *p = &run->model->points.points[point];
    int64_t shape[SONDE_MAX_RANK];
    /* The last axis of scores counts keys: with a cache there are more of them than queries. */
    bool is_scores = strcmp(p->axes, "BHTT") == 0;

    for (int i = 0; i < p->rank; i++)
        shape[i] = p->axes[i] == 'B' ? run->batch.B : p->axes[i] != 'T' ? p->width[i] : run->batch.T;
    if (is_scores)
        shape[3] = run->batch.most_keys;
    return sonde_tensor_view(out, data, SONDE_F32, shape, p->rank);
}

/* ---- hooks ---------------------------------------------------------------------------------------------------------------- */

/* Writes a patch over the tensor. */
static sonde_status apply_patch(const sondep_hook *hook, const sonde_hook_point *point, sonde_tensor *x)
{
    char want[160], have[160];
    /* A patch from a run with another batch is refused, never broadcast or cut. */
    bool agrees = hook->value.rank == x->rank;

    for (int i = 0; i < x->rank && agrees; i++)
        agrees = hook->value.shape[i] == x->shape[i];
    if (!agrees)
        return SONDE_FAIL(SONDE_E_SHAPE, "a patch for '%s' is %s, the tensor is %s", point->name,
                          sonde_tensor_format_shape(have, sizeof have, &hook->value),
                          sonde_tensor_format_shape(want, sizeof want, x));
    memcpy(x->data, hook->value.data, sonde_tensor_bytes(x));
    return SONDE_OK;
}

/* Whether any hook, other than a capture, is at this point. */
static bool is_listening(const sondep_listeners *l, int64_t point)
{
    for (int64_t i = 0; i < l->n_hooks; i++)
        if (l->hooks[i].points[point])
            return true;
    return false;
}

/* Shows the tensor to every hook of the point, in order of registration. */
static sonde_status call_hooks(const sondep_listeners *l, int64_t point, const sondep_values *values)
{
    sonde_run *run = l->run;
    const sonde_hook_point *p = &run->model->points.points[point];
    const sondep_batch *batch = &run->batch;
    /* Where nothing is padded and rows lie close, hooks look at the pass's own memory. */
    bool is_direct = values->n_keys > 0 || (values->ld == values->width && batch->N == batch->B * batch->T);
    sonde_hook_event event = {p, batch->B, batch->T, run->lengths, run->first_positions};
    bool is_written = false;
    sonde_tensor x;

    if (!is_listening(l, point))
        return SONDE_OK;
    SONDE_TRY(point_shape(&x, run, point, values->data));
    if (!is_direct) {
        SONDE_TRY(sondep_buffer_grow(&run->event, sonde_tensor_bytes(&x)));
        x.data = run->event.block;
        pad_rows(x.data, values, batch);
    }
    for (int64_t i = 0; i < l->n_hooks; i++) {
        const sondep_hook *hook = &l->hooks[i];
        sonde_tensor view = x; /* a hook that changes the struct changes its own copy */
        if (!hook->points[point])
            continue;
        SONDE_TRY(hook->fn ? hook->fn(&event, &view, hook->ctx) : apply_patch(hook, p, &view));
        is_written = is_written || hook->mode == SONDE_HOOK_WRITE;
    }
    /* What a reading hook did to its copy is dropped. */
    if (is_written && !is_direct)
        unpad_rows(values, x.data, batch);
    return SONDE_OK;
}

/* ---- captures --------------------------------------------------------------------------------------------------------------- */

/* Shape of what a capture keeps: that of the point, with its positions on the (query) position axis. */
static sonde_status capture_shape(sonde_tensor *out, const sondep_listeners *l, int64_t point)
{
    const sondep_capture *capture = &l->captures[point];
    const char *axes = l->run->model->points.points[point].axes;

    SONDE_TRY(point_shape(out, l->run, point, NULL));
    if (capture->has_positions)
        out->shape[strchr(axes, 'T') - axes] = capture->n_positions;
    return sonde_tensor_view(out, NULL, SONDE_F32, out->shape, out->rank);
}

/* Every chosen position must exist in every sequence. */
static sonde_status check_positions(const sonde_run *run, const sondep_capture *capture)
{
    for (int64_t b = 0; b < run->batch.B; b++)
        for (int64_t i = 0; i < capture->n_positions; i++) {
            int64_t p = capture->positions[i], length = run->lengths[b];
            if (p < -length || p >= length)
                return SONDE_FAIL(SONDE_E_RANGE, "position %lld does not exist in sequence %lld, which has %lld tokens",
                                  (long long)p, (long long)b, (long long)length);
        }
    return SONDE_OK;
}

sonde_status sondep_run_prepare_captures(sondep_listeners *l, int64_t *kept_bytes)
{
    for (int64_t i = 0; i < l->run->model->points.n; i++) {
        sondep_capture *capture = &l->captures[i];
        sondep_buffer buffer = {capture->block, capture->block_bytes};
        sonde_tensor kept;
        sonde_status status;

        if (!capture->is_on)
            continue;
        /* A plan only counts; a pass makes room. */
        SONDE_TRY(capture_shape(&kept, l, i));
        if (kept_bytes != NULL) {
            *kept_bytes += (int64_t)sonde_tensor_bytes(&kept);
            continue;
        }
        SONDE_TRY(check_positions(l->run, capture));
        status = sondep_buffer_grow(&buffer, sonde_tensor_bytes(&kept));
        capture->block = buffer.block;
        capture->block_bytes = buffer.bytes;
        /* Until the point is reached, what lies there is of an earlier pass. */
        capture->is_filled = false;
        SONDE_TRY(status);
        capture->kept = kept;
        capture->kept.data = capture->block;
    }
    return SONDE_OK;
}

/* Row i of the positions axis of sequence b: which token of the sequence. */
static int64_t token_at(const sonde_run *run, const sondep_capture *capture, int64_t b, int64_t i)
{
    int64_t p = capture->has_positions ? capture->positions[i] : i;
    return p < 0 ? p + run->lengths[b] : p;
}

/* Copies rows of tokens to where the capture keeps them. */
static void keep_rows(const sonde_run *run, sondep_capture *capture, const sondep_values *values)
{
    int64_t n = capture->n_positions, width = values->width;
    float *out = capture->kept.data;

    if (!capture->has_positions) {
        pad_rows(out, values, &run->batch);
        return;
    }
    /* Chosen rows are gathered one by one. */
    for (int64_t b = 0; b < run->batch.B; b++)
        for (int64_t i = 0; i < n; i++)
            memcpy(out + (b * n + i) * width,
                   values->data + (run->batch.offset[b] + token_at(run, capture, b, i)) * values->ld,
                   (size_t)width * sizeof(float));
}

/* Scores and patterns (B, H, T, n_keys): whole, or the rows of chosen queries. */
static void keep_scores(const sonde_run *run, sondep_capture *capture, const sondep_values *values)
{
    int64_t H = run->model->config.n_heads, T = run->batch.T, K = values->n_keys,
            n = capture->has_positions ? capture->n_positions : T;
    float *out = capture->kept.data;

#pragma omp parallel for schedule(static) num_threads(sonde_threads()) if (run->batch.B * H * n * K > PARALLEL_BYTES)
    for (int64_t i = 0; i < run->batch.B * H * n; i++) {
        int64_t plane = i / n, query = capture->has_positions ? token_at(run, capture, plane / H, i % n) : i % n;
        memcpy(out + i * K, values->data + (plane * T + query) * K, (size_t)K * sizeof(float));
    }
}

sonde_status sondep_run_fire(int64_t point, const sondep_values *values, void *ctx)
{
    sondep_listeners *l = ctx;
    sondep_capture *capture = &l->captures[point];

    /* First who may change the values, then who keeps them. */
    l->fired[point] = true;
    SONDE_TRY(call_hooks(l, point, values));
    if (!capture->is_on)
        return SONDE_OK;
    if (values->n_keys > 0)
        keep_scores(l->run, capture, values);
    else
        keep_rows(l->run, capture, values);
    capture->is_filled = true;
    return SONDE_OK;
}
