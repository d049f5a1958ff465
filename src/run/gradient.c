/* gradient.c - passes that go back: what is differentiated, and who reads the gradients.   floor 6: run
 *
 * The walk back itself is model/backward.c. Here an objective becomes a function of blocks of logits that it asks; which rows
 * of a block count, and for which token, is read from the batch:
 *
 *   loss    row n predicts the token of row n + 1, if that is of the same sequence
 *   logit   one row of each sequence: the others are not even unembedded, unless somebody reads the gradient of the logits
 */
#include "run/run.h"

#include <math.h>

/* An objective while a pass goes back. */
typedef struct goal {
    const sonde_run *run;
    sonde_objective what;
    double value;
    bool is_compact; /* logits come of the row that counts of each sequence, one behind the other, and of no other */
    double loss[SONDEP_LOGITS_BLOCK];
    int64_t target[SONDEP_LOGITS_BLOCK];
} goal;

void sonde_objective_init(sonde_objective *out)
{
    *out = (sonde_objective){
        .struct_size = sizeof *out, .kind = SONDE_OBJECTIVE_LOSS, .position = -1, .minus = -1, .weight = 1.0};
}

/* ---- objectives ------------------------------------------------------------------------------------------------------------ */

/* The mean is over all rows that predict: all but the last of each sequence. */
static sonde_status loss_of(float *logits, int64_t first_row, int64_t n_rows, int64_t V, void *ctx)
{
    goal *g = ctx;
    const sondep_batch *batch = &g->run->batch;
    int64_t n_counted = batch->N - g->run->last.n, b = 0;
    double weight = n_counted > 0 ? g->what.weight / (double)n_counted : 0.0;

    /* Padding lies in no row: the next row is the next token, or another sequence. */
    for (int64_t i = 0; i < n_rows; i++) {
        int64_t row = first_row + i;
        while (batch->offset[b + 1] <= row)
            b++;
        g->target[i] = row + 1 < batch->offset[b + 1] ? batch->ids[row + 1] : -1;
    }
    sondep_cross_entropy(g->loss, logits, V, g->target, (float)weight, true, n_rows, V);
    for (int64_t i = 0; i < n_rows; i++)
        g->value += g->loss[i] * weight;
    return SONDE_OK;
}

/* Where the row of sequence b that is asked for lies in a block of rows; -1: not in it. */
static int64_t place_of(const goal *g, int64_t b, int64_t first_row, int64_t n_rows)
{
    int64_t position = g->what.position + (g->what.position < 0 ? g->run->lengths[b] : 0);
    int64_t at = (g->is_compact ? b : g->run->batch.offset[b] + position) - first_row;
    return at >= 0 && at < n_rows ? at : -1;
}

/* Derivatives by logits are 1 for the token and -1 for the one that is subtracted, at one row of each sequence. */
static sonde_status logit_of(float *logits, int64_t first_row, int64_t n_rows, int64_t V, void *ctx)
{
    goal *g = ctx;
    int64_t token = g->what.token, minus = g->what.minus, B = g->run->batch.B, at;
    double weight = g->what.weight;

    /* All values are read before any is overwritten. */
    for (int64_t b = 0; b < B; b++)
        if ((at = place_of(g, b, first_row, n_rows)) >= 0)
            g->value += weight * ((double)logits[at * V + token] - (minus >= 0 ? (double)logits[at * V + minus] : 0.0));
    memset(logits, 0, (size_t)(n_rows * V) * sizeof *logits);
    for (int64_t b = 0; b < B; b++) {
        if ((at = place_of(g, b, first_row, n_rows)) < 0)
            continue;
        logits[at * V + token] += (float)weight; /* a token minus itself is 0 */
        if (minus >= 0)
            logits[at * V + minus] -= (float)weight;
    }
    return SONDE_OK;
}

/* The caller's own. */
static sonde_status function_of(float *logits, int64_t first_row, int64_t n_rows, int64_t V, void *ctx)
{
    goal *g = ctx;
    return g->what.fn(&g->value, logits, first_row, n_rows, V, g->what.ctx);
}

/* By kind. */
static sondep_objective_fn *const functions[] = {
    [SONDE_OBJECTIVE_LOSS] = loss_of, [SONDE_OBJECTIVE_LOGIT] = logit_of, [SONDE_OBJECTIVE_FUNCTION] = function_of};
enum { N_KINDS = sizeof functions / sizeof *functions };

/* Tokens within the vocabulary, the position within each sequence. */
static sonde_status check_logit(const sonde_objective *what, const sonde_run *run, const int64_t *lengths, int64_t B,
                                int64_t T)
{
    int64_t V = run->model->config.n_vocab, tokens[] = {what->token, what->minus < 0 ? 0 : what->minus};

    for (int i = 0; i < 2; i++)
        if (tokens[i] < 0 || tokens[i] >= V)
            return SONDE_FAIL(SONDE_E_RANGE, "the objective's token is %lld, outside the vocabulary of %lld",
                              (long long)tokens[i], (long long)V);
    /* A sequence without tokens has no position at all. */
    for (int64_t b = 0; b < B; b++) {
        int64_t length = lengths ? lengths[b] : T;
        if (what->position < -length || what->position >= length)
            return SONDE_FAIL(SONDE_E_RANGE, "position %lld does not exist in sequence %lld, which has %lld tokens",
                              (long long)what->position, (long long)b, (long long)length);
    }
    return SONDE_OK;
}

/* The row of each sequence whose logits count: the objective is asked for those alone. Lengths are checked when the batch is made. */
static sonde_status choose_rows(sondep_backward *back, goal *g, sonde_run *run, const int64_t *lengths, int64_t B, int64_t T)
{
    int64_t *row, first = 0, logits = sondep_point(&run->model->points, SONDEP_POINT_UNEMBED_OUT, 0);

    SONDE_TRY(check_logit(&g->what, run, lengths, B, T));
    if (run->gradients.wanted[logits])
        return SONDE_OK;
    SONDE_TRY(sondep_buffer_grow(&run->counted, (size_t)(B > 0 ? B : 1) * sizeof *row));
    row = run->counted.block;
    for (int64_t b = 0; b < B; b++) {
        int64_t length = lengths ? lengths[b] : T;
        row[b] = first + g->what.position + (g->what.position < 0 ? length : 0);
        first += length;
    }
    back->counted = (sondep_rows){row, B};
    g->is_compact = true;
    return SONDE_OK;
}

/* The caller's objective over the defaults. */
static sonde_status read_objective(sonde_objective *out, const sonde_objective *objective)
{
    sonde_objective_init(out);
    SONDE_TRY(sondep_opts_read(out, sizeof *out, objective, "the objective"));
    if (out->kind < 0 || out->kind >= N_KINDS)
        return SONDE_FAIL(SONDE_E_ARG, "the objective is of kind %lld, outside [0, %d]", (long long)out->kind, N_KINDS - 1);
    if (!isfinite(out->weight))
        return SONDE_FAIL(SONDE_E_ARG, "the objective's weight is %g", out->weight);
    if (out->kind == SONDE_OBJECTIVE_FUNCTION && out->fn == NULL)
        return SONDE_FAIL(SONDE_E_ARG, "the objective has no function");
    return SONDE_OK;
}

/* ---- who reads --------------------------------------------------------------------------------------------------------------- */

sonde_status sonde_run_want_gradient(sonde_run *run, const char *pattern, const sonde_position_list *where)
{
    return sondep_run_add_capture(&run->gradients, pattern, where);
}

sonde_status sonde_run_hook_gradient(sonde_run *run, const char *pattern, sonde_hook_fn *fn, void *ctx, int64_t *id)
{
    /* Reading only: what a gradient should be instead is a matter of the objective. */
    if (fn == NULL)
        return SONDE_FAIL(SONDE_E_ARG, "a hook of the gradient at '%s' has no function", pattern);
    return sondep_run_add_hook(&run->gradients, pattern, (sondep_hook){.mode = SONDE_HOOK_READ, .fn = fn, .ctx = ctx}, id);
}

sonde_status sonde_run_get_gradient(sonde_tensor *out, const sonde_run *run, const char *name)
{
    if (!run->has_gone_back)
        return SONDE_FAIL(SONDE_E_STATE, "the gradient of '%s' was asked for, and the last pass did not go back", name);
    return sondep_run_captured(out, &run->gradients, name);
}

/* ---- the pass ------------------------------------------------------------------------------------------------------------------ */

sonde_status sondep_run_make_tape(sonde_run *run)
{
    return run->tape ? SONDE_OK : SONDE_NEW(run->tape, run->model->config.n_layers + 1);
}

/* Points where a patch stands, which is a constant. */
static void mark_replaced(sonde_run *run)
{
    const sondep_listeners *l = &run->activations;

    for (int64_t point = 0; point < run->model->points.n; point++) {
        run->replaced[point] = false;
        for (int64_t i = 0; i < l->n_hooks; i++)
            run->replaced[point] = run->replaced[point] || (l->hooks[i].fn == NULL && l->hooks[i].points[point]);
    }
}

sonde_status sonde_run_backward(sonde_run *run, const int32_t *tokens, const int64_t *lengths, int64_t B, int64_t T,
                                const sonde_objective *objective, double *value)
{
    goal g = {.run = run};
    sondep_hooks hooks = {.wanted = run->gradients.wanted, .fire = sondep_run_fire, .ctx = &run->gradients};
    sondep_backward back = {.hooks = &hooks, .replaced = run->replaced, .objective_ctx = &g};
    sonde_status status;

    SONDE_TRY(read_objective(&g.what, objective));
    SONDE_TRY(sondep_run_make_tape(run));
    back.objective = functions[g.what.kind];
    hooks.last = sondep_run_gather(&run->gradients);
    if (g.what.kind == SONDE_OBJECTIVE_LOGIT)
        SONDE_TRY(choose_rows(&back, &g, run, lengths, B, T));
    mark_replaced(run);
    /* For this pass alone: the next one may be forward only. */
    run->back = &back;
    status = sondep_run_pass(run, tokens, lengths, NULL, B, T, NULL);
    run->back = NULL;
    if (status == SONDE_OK && value)
        *value = g.value;
    return status;
}
