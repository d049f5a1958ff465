/* run.c - a run's life, and what it is told to keep and to change.             floor 6: run
 *
 * A run is told first and computes later. What it is told lies in two places:
 *
 *   hooks      a list in order of registration; each has a flag for every hook point of the model. A patch is a hook
 *              without a function: its value is copied over the tensor.
 *   captures   one entry for every hook point; most are off.
 *
 * There are two of each: for activations, and for the gradients of a pass that goes back (gradient.c).
 * A pass turns both into one byte for each point (pass.c), and looks at nothing else while it computes.
 */
#include "run/run.h"

/* One entry for each hook point of the model: what is captured there, who listens, whether it was reached. */
static sonde_status make_listeners(sondep_listeners *out, sonde_run *run)
{
    int64_t n_points = run->model->points.n;

    out->run = run;
    SONDE_TRY(SONDE_NEW(out->captures, n_points));
    SONDE_TRY(SONDE_NEW(out->wanted, n_points));
    return SONDE_NEW(out->fired, n_points);
}

sonde_status sonde_run_new(sonde_run **out, const sonde_model *model)
{
    sonde_run *run = NULL;
    sonde_status status;

    *out = NULL;
    SONDE_TRY_DONE(SONDE_NEW(run, 1));
    run->model = model;
    SONDE_TRY_DONE(make_listeners(&run->activations, run));
    SONDE_TRY_DONE(make_listeners(&run->gradients, run));
    SONDE_TRY_DONE(SONDE_NEW(run->replaced, model->points.n));
    *out = run;
    run = NULL;
done:
    sonde_run_free(run);
    return status;
}

/* Blocks of the run: mapped in huge pages, kept from pass to pass, grown when a pass needs more. */
static void buffer_release(sondep_buffer *buffer)
{
    sondep_unmap_block(buffer->block, buffer->bytes);
    *buffer = (sondep_buffer){0};
}

sonde_status sondep_buffer_grow(sondep_buffer *buffer, size_t bytes)
{
    void *block;

    /* The old contents are never needed again, so nothing is copied. */
    if (bytes <= buffer->bytes)
        return SONDE_OK;
    buffer_release(buffer);
    SONDE_TRY(sondep_map_block(&block, bytes));
    *buffer = (sondep_buffer){block, bytes};
    return SONDE_OK;
}

/* Forgets a request and what it kept. */
static void capture_release(sondep_capture *capture)
{
    sondep_unmap_block(capture->block, capture->block_bytes);
    sondep_free(capture->positions);
    *capture = (sondep_capture){0};
}

/* Hooks, patches and captures go. */
static void reset_listeners(sondep_listeners *l)
{
    for (int64_t i = 0; i < l->n_hooks; i++)
        sondep_free(l->hooks[i].points);
    l->n_hooks = 0;
    for (int64_t i = 0; l->captures && i < l->run->model->points.n; i++)
        capture_release(&l->captures[i]);
}

static void release_listeners(sondep_listeners *l)
{
    reset_listeners(l);
    sondep_free(l->hooks);
    sondep_free(l->captures);
    sondep_free(l->wanted);
    sondep_free(l->fired);
}

/* Memory of the arena stays for the next pass. */
void sonde_run_reset(sonde_run *run)
{
    reset_listeners(&run->activations);
    reset_listeners(&run->gradients);
}

void sonde_run_free(sonde_run *run)
{
    if (run == NULL)
        return;
    release_listeners(&run->activations);
    release_listeners(&run->gradients);
    sondep_free(run->tape);
    sondep_free(run->replaced);
    buffer_release(&run->numbers);
    buffer_release(&run->counted);
    buffer_release(&run->event);
    buffer_release(&run->logits_buffer);
    sondep_arena_release(&run->arena);
    sondep_rope_release(&run->rope);
    sondep_free(run);
}

/* The points that a pattern names, as flags that the caller frees. */
static sonde_status points_of(bool **out, const sonde_run *run, const char *pattern)
{
    const sondep_points *points = &run->model->points;
    sonde_status status;

    SONDE_TRY(SONDE_NEW(*out, points->n));
    status = sonde_hook_match(*out, pattern, points->points, points->n);
    if (status != SONDE_OK) {
        sondep_free(*out);
        *out = NULL;
    }
    return status;
}

sonde_status sondep_run_add_capture(sondep_listeners *l, const char *pattern, const sonde_position_list *where)
{
    bool *points;
    sonde_status status = SONDE_OK;

    SONDE_TRY(points_of(&points, l->run, pattern));
    for (int64_t i = 0; i < l->run->model->points.n && status == SONDE_OK; i++) {
        sondep_capture *capture = &l->captures[i];
        int64_t *positions = NULL;

        if (!points[i])
            continue;
        /* The caller's list may be gone before the pass: it is copied for every point. */
        if (where != NULL) {
            SONDE_TRY_DONE(SONDE_NEW(positions, where->n));
            for (int64_t p = 0; p < where->n; p++)
                positions[p] = where->positions[p];
        }
        /* The later request for a point replaces the earlier one. */
        capture_release(capture);
        *capture = (sondep_capture){
            .is_on = true, .has_positions = where != NULL, .positions = positions, .n_positions = where ? where->n : 0};
    }
done:
    sondep_free(points);
    return status;
}

sonde_status sonde_run_capture(sonde_run *run, const char *pattern, const sonde_position_list *where)
{
    return sondep_run_add_capture(&run->activations, pattern, where);
}

sonde_status sondep_run_add_hook(sondep_listeners *l, const char *pattern, sondep_hook hook, int64_t *id)
{
    SONDE_TRY(sondep_grow(&l->hooks, &l->hooks_capacity, l->n_hooks + 1, sizeof *l->hooks));
    /* Nothing was changed until here, so a pattern that matches nothing leaves the run as it was. */
    SONDE_TRY(points_of(&hook.points, l->run, pattern));
    hook.id = l->run->next_id++;
    l->hooks[l->n_hooks++] = hook;
    if (id != NULL)
        *id = hook.id;
    return SONDE_OK;
}

/* A mode that is neither is refused: a hook that believes it may write would be ignored silently. */
sonde_status sonde_run_hook(sonde_run *run, const char *pattern, sonde_hook_mode mode, sonde_hook_fn *fn, void *ctx,
                            int64_t *id)
{
    if (mode != SONDE_HOOK_READ && mode != SONDE_HOOK_WRITE)
        return SONDE_FAIL(SONDE_E_ARG, "hook mode is %d, neither read nor write", (int)mode);
    if (fn == NULL)
        return SONDE_FAIL(SONDE_E_ARG, "a hook at '%s' has no function", pattern);
    return sondep_run_add_hook(&run->activations, pattern, (sondep_hook){.mode = mode, .fn = fn, .ctx = ctx}, id);
}

sonde_status sonde_run_patch(sonde_run *run, const char *pattern, const sonde_tensor *value, int64_t *id)
{
    if (value->dtype != SONDE_F32)
        return SONDE_FAIL(SONDE_E_ARG, "a patch at '%s' is %s, not F32", pattern, sonde_dtype_name(value->dtype));
    return sondep_run_add_hook(&run->activations, pattern, (sondep_hook){.mode = SONDE_HOOK_WRITE, .value = *value}, id);
}

/* Whether the hook was there. */
static bool remove_hook(sondep_listeners *l, int64_t id)
{
    for (int64_t i = 0; i < l->n_hooks; i++)
        if (l->hooks[i].id == id) {
            sondep_free(l->hooks[i].points);
            /* The order of the others is the order in which they are called: it stays. */
            memmove(&l->hooks[i], &l->hooks[i + 1], (size_t)(l->n_hooks - i - 1) * sizeof *l->hooks);
            l->n_hooks--;
            return true;
        }
    return false;
}

sonde_status sonde_run_unhook(sonde_run *run, int64_t id)
{
    if (remove_hook(&run->activations, id) || remove_hook(&run->gradients, id))
        return SONDE_OK;
    return SONDE_FAIL(SONDE_E_ARG, "there is no hook %lld", (long long)id);
}

void sonde_run_want_logits(sonde_run *run, sonde_logits which)
{
    run->logits = which;
}

void sonde_run_stream_logits(sonde_run *run, sonde_logits_fn *fn, void *ctx)
{
    run->stream = fn;
    run->stream_ctx = ctx;
}

void sonde_run_choose_logits(sonde_run *run, const bool *chosen)
{
    run->chosen = chosen;
}

sonde_status sondep_run_captured(sonde_tensor *out, const sondep_listeners *l, const char *name)
{
    bool *named;
    const sondep_capture *found = NULL;

    /* A name or shorthand; where a pattern names several points, the first of them. */
    SONDE_TRY(points_of(&named, l->run, name));
    for (int64_t i = 0; i < l->run->model->points.n && !found; i++)
        if (named[i])
            found = &l->captures[i];
    sondep_free(named);
    if (!found || !found->is_filled)
        return SONDE_FAIL(SONDE_E_HOOK, "'%s' was not captured by the last pass", name);
    *out = found->kept;
    return SONDE_OK;
}

sonde_status sonde_run_get(sonde_tensor *out, const sonde_run *run, const char *name)
{
    if (!run->has_run)
        return SONDE_FAIL(SONDE_E_STATE, "'%s' was asked for before any forward pass", name);
    /* Logits are no hook point: they have a request and a name of their own. */
    if (strcmp(name, "logits") == 0) {
        if (run->kept_logits.data == NULL)
            return SONDE_FAIL(SONDE_E_HOOK, "the last pass kept no logits");
        *out = run->kept_logits;
        return SONDE_OK;
    }
    return sondep_run_captured(out, &run->activations, name);
}
