/* lm.c - training of language models: options, a step, evaluation.             floor 6: train
 *
 * A step takes its contexts some at a time: each goes forward with a tape and back, and its gradients are added to those of
 * the others, so that activations of a few thousand tokens are all that is ever held. The loss is a mean over all tokens of
 * the step; each part is weighted as it will count.
 */
#include "train/lm.h"

#include <math.h>

enum { MICRO_TOKENS = 2048 }; /* a few thousand rows: enough for the products, few enough for the caches */

/* ---- options --------------------------------------------------------------------------------------------------------------- */

#define DEFAULT(name, flag, value, least, most, what) .name = (value),
#define DEFAULT_CHOICE(name, flag, value, names, what) .name = (value),
void sonde_lm_opts_init(sonde_lm_opts *out)
{
    *out = (sonde_lm_opts){
        .struct_size = sizeof *out, SONDE_LM_OPTION_LIST(DEFAULT, DEFAULT_CHOICE, DEFAULT).separator = -1};
}
#undef DEFAULT
#undef DEFAULT_CHOICE

/* A number within its bounds; the comparison fails for NaN. */
static sonde_status check_number(const char *flag, double value, double least, double most)
{
    if (value >= least && value <= most)
        return SONDE_OK;
    return SONDE_FAIL(SONDE_E_ARG, "option '%s' is %g, outside [%g, %g]", flag, value, least, most);
}

/* One of the names of a choice, which bars separate. */
static sonde_status check_choice(const char *flag, int64_t value, const char *names)
{
    int64_t n = 1;

    for (const char *c = names; *c != '\0'; c++)
        n += *c == '|';
    if (value >= 0 && value < n)
        return SONDE_OK;
    return SONDE_FAIL(SONDE_E_ARG, "option '%s' is number %lld of %s", flag, (long long)value, names);
}

#define CHECK(name, flag, value, least, most, what) SONDE_TRY(check_number(flag, (double)o->name, least, most));
#define CHECK_CHOICE(name, flag, value, names, what) SONDE_TRY(check_choice(flag, o->name, names));
static sonde_status check_bounds(const sonde_lm_opts *o)
{
    SONDE_LM_OPTION_LIST(CHECK, CHECK_CHOICE, CHECK)
    return SONDE_OK;
}
#undef CHECK
#undef CHECK_CHOICE

/* The caller's options over the defaults, with what is left to us chosen. */
static sonde_status read_opts(sonde_lm_opts *out, const sonde_lm_opts *opts, const sonde_config *config)
{
    sonde_lm_opts_init(out);
    if (opts != NULL) {
        if (opts->struct_size < sizeof opts->struct_size || opts->struct_size > sizeof *out)
            return SONDE_FAIL(SONDE_E_ARG, "training options have struct_size %zu, expected at most %zu", opts->struct_size,
                              sizeof *out);
        memcpy(out, opts, opts->struct_size);
        out->struct_size = sizeof *out;
    }
    SONDE_TRY(check_bounds(out));
    out->context = out->context ? out->context : config->n_context;
    if (out->context > config->n_context)
        return SONDE_FAIL(SONDE_E_ARG, "option 'context' is %lld, the model's context is %lld", (long long)out->context,
                          (long long)config->n_context);
    if (out->micro_batch == 0)
        out->micro_batch = out->context >= MICRO_TOKENS ? 1 : MICRO_TOKENS / out->context;
    out->micro_batch = out->micro_batch > out->batch ? out->batch : out->micro_batch;
    out->decay_steps = out->decay_steps ? out->decay_steps : (out->steps + 4) / 5;
    out->decay_steps = out->decay_steps > out->steps ? out->steps : out->decay_steps;
    return SONDE_OK;
}

/* What the optimiser and the schedule take of the options. */
static void apply_opts(sonde_lm_trainer *t)
{
    const sonde_lm_opts *o = &t->opts;

    t->optimizer = (sondep_optimizer){.kind = o->optimizer == SONDE_OPTIMIZER_MUON ? SONDEP_MUON : SONDEP_ADAMW,
                                      .beta1 = o->beta1,
                                      .beta2 = o->beta2,
                                      .eps = o->eps,
                                      .decay = o->weight_decay,
                                      .momentum = o->momentum,
                                      .clip = o->clip};
    t->schedule = (sondep_schedule){.kind = (sondep_schedule_kind)o->schedule,
                                    .steps = o->steps,
                                    .warmup = o->warmup,
                                    .decay = o->decay_steps,
                                    .rate = o->lr,
                                    .last = o->lr * o->last_lr};
    t->model->precision = o->products == SONDE_PRODUCTS_BF16 ? SONDEP_BF16 : SONDEP_F32;
}

/* ---- life ------------------------------------------------------------------------------------------------------------------- */

/* Gradients and moments, as the model's weights lie. */
static sonde_status make_blocks(sonde_lm_trainer *t)
{
    float **blocks[] = {&t->gradients, &t->m, &t->v};
    void *block;

    t->block_bytes = (size_t)t->model->n_parameters * sizeof(float);
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        SONDE_TRY(sondep_map_block(&block, t->block_bytes));
        *blocks[i] = block;
    }
    t->optimizer_bytes = sondep_optimizer_scratch_bytes(&t->optimizer, t->parameters, t->n_parameters);
    return sondep_map_block(&t->optimizer_scratch, t->optimizer_bytes);
}

sonde_status sonde_lm_trainer_new(sonde_lm_trainer **out, const sonde_model *model, const sonde_corpus *corpus,
                                  const sonde_lm_opts *opts)
{
    sonde_lm_trainer *t = NULL;
    sonde_lm_opts options;
    sonde_status status;

    *out = NULL;
    SONDE_TRY(read_opts(&options, opts, &model->config));
    SONDE_TRY_DONE(SONDE_NEW(t, 1));
    t->opts = options;
    t->corpus = corpus;
    SONDE_TRY_DONE(sonde_contexts_init(&t->contexts, corpus, options.context, options.batch, (uint64_t)options.seed));
    SONDE_TRY_DONE(sondep_model_trainable(&t->model, model));
    apply_opts(t);
    SONDE_TRY_DONE(sondep_lm_parameters(&t->parameters, &t->n_parameters, t->model));
    SONDE_TRY_DONE(make_blocks(t));
    SONDE_TRY_DONE(SONDE_NEW(t->tape, t->model->config.n_layers + 1));
    SONDE_TRY_DONE(sondep_lm_batch_make(&t->batch, options.micro_batch * options.context, options.context));
    SONDE_TRY_DONE(sondep_rope_grow(&t->rope, &t->model->config, options.context));
    *out = t;
    t = NULL;
done:
    sonde_lm_trainer_free(t);
    return status;
}

void sonde_lm_trainer_free(sonde_lm_trainer *t)
{
    if (t == NULL)
        return;
    sondep_unmap_block(t->gradients, t->block_bytes);
    sondep_unmap_block(t->m, t->block_bytes);
    sondep_unmap_block(t->v, t->block_bytes);
    sondep_unmap_block(t->optimizer_scratch, t->optimizer_bytes);
    sondep_lm_batch_release(&t->batch);
    sondep_rope_release(&t->rope);
    sondep_arena_release(&t->arena);
    sondep_free(t->tape);
    sondep_free(t->parameters);
    sonde_model_free(t->model);
    sondep_free(t);
}

int64_t sonde_lm_trainer_steps(const sonde_lm_trainer *trainer)
{
    return trainer->step;
}

const sonde_model *sonde_lm_trainer_model(const sonde_lm_trainer *trainer)
{
    return trainer->model;
}

const sonde_lm_opts *sonde_lm_trainer_opts(const sonde_lm_trainer *trainer)
{
    return &trainer->opts;
}

/* ---- a step ------------------------------------------------------------------------------------------------------------------ */

/* Nobody listens to the passes of a training. */
static sonde_status fire_nothing(int64_t point, const sondep_values *values, void *ctx)
{
    (void)point, (void)values, (void)ctx;
    return SONDE_OK;
}

/* Forward and back over the rows of the batch; `weight` is what the mean of the step divides by. */
static sonde_status pass_and_back(sonde_lm_trainer *t, int64_t n_counted)
{
    uint8_t *wanted = NULL;
    sondep_hooks hooks = {.last = -1, .fire = fire_nothing};
    sondep_prediction prediction = {t->batch.target, t->batch.loss, n_counted};
    sondep_pass pass = {
        .model = t->model, .hooks = &hooks, .batch = &t->batch.rows, .rope = &t->rope, .tape = t->tape, .logits = SONDE_LOGITS_NONE};
    sondep_backward backward = {
        .pass = &pass, .gradients = t->gradients, .objective = sondep_prediction_objective, .objective_ctx = &prediction};
    sonde_status status;

    SONDE_TRY(SONDE_NEW(wanted, t->model->points.n));
    hooks.wanted = wanted;
    SONDE_TRY_DONE(sondep_arena_reserve(&t->arena, sondep_pass_plan(&pass, NULL) + sondep_backward_plan(&backward, NULL)));
    sondep_pass_plan(&pass, &t->arena);
    sondep_backward_plan(&backward, &t->arena);
    SONDE_TRY_DONE(sondep_pass_run(&pass));
    SONDE_TRY_DONE(sondep_backward_run(&backward));
done:
    sondep_arena_reset(&t->arena, 0);
    sondep_free(wanted);
    return status;
}

/* Gradients of all contexts of the step, and the sum of their losses. */
static sonde_status add_gradients(sonde_lm_trainer *t, double *sum)
{
    const sonde_lm_opts *o = &t->opts;

    *sum = 0.0;
    memset(t->gradients, 0, t->block_bytes);
    for (int64_t first = 0; first < o->batch; first += o->micro_batch) {
        int64_t n = o->batch - first < o->micro_batch ? o->batch - first : o->micro_batch;

        sondep_lm_batch_clear(&t->batch);
        for (int64_t i = 0; i < n; i++) {
            sonde_contexts_get(t->batch.context, &t->contexts, t->step * o->batch + first + i);
            sondep_lm_batch_add(&t->batch, t->batch.context, o->context, o->separator);
        }
        SONDE_TRY(pass_and_back(t, o->batch * o->context));
        for (int64_t row = 0; row < t->batch.rows.N; row++)
            *sum += t->batch.loss[row];
    }
    return SONDE_OK;
}

/* Names the first parameter whose gradient is not finite. */
static sonde_status fail_nonfinite(const sonde_lm_trainer *t, double norm)
{
    for (int64_t i = 0; i < t->n_parameters; i++) {
        const sondep_parameter *p = &t->parameters[i];
        int64_t at = sondep_find_nonfinite(t->gradients + p->first, p->n, false);
        if (at >= 0)
            return SONDE_FAIL(SONDE_E_NONFINITE, "the gradient of '%s' is %g at element %lld", p->name,
                              (double)t->gradients[p->first + at], (long long)at);
    }
    return SONDE_FAIL(SONDE_E_NONFINITE, "the norm of the gradients is %g", norm);
}

/* All of a step but for its change of the weights. */
static sonde_status measure(sonde_lm_trainer *t, sonde_lm_report *out)
{
    double sum;

    SONDE_TRY(add_gradients(t, &sum));
    out->n_tokens = t->opts.batch * t->opts.context;
    out->loss = sum / (double)out->n_tokens;
    if (!isfinite(out->loss))
        return SONDE_FAIL(SONDE_E_NONFINITE, "the loss is %g", out->loss);
    out->gradient_norm = sondep_gradient_norm(t->gradients, t->model->n_parameters);
    return isfinite(out->gradient_norm) ? SONDE_OK : fail_nonfinite(t, out->gradient_norm);
}

sonde_status sonde_lm_trainer_step(sonde_lm_trainer *t, sonde_lm_report *out)
{
    sondep_moments moments = {t->model->parameters, t->m, t->v, t->gradients};
    sonde_status status;

    *out = (sonde_lm_report){.step = t->step + 1};
    if (t->step >= t->opts.steps)
        return SONDE_FAIL(SONDE_E_STATE, "all %lld steps are done", (long long)t->opts.steps);
    status = measure(t, out);
    if (status == SONDE_E_NONFINITE)
        return sondep_hint(status, "at step %lld; the weights are those of step %lld", (long long)t->step + 1,
                           (long long)t->step);
    SONDE_TRY(status);
    out->lr = sondep_schedule_rate(&t->schedule, t->step);
    sondep_optimizer_step(&t->optimizer, &moments, t->parameters, t->n_parameters, t->step + 1, out->lr,
                          sondep_clip_factor(out->gradient_norm, t->optimizer.clip), t->optimizer_scratch);
    t->step++;
    return SONDE_OK;
}

void sonde_lm_trainer_plan(sonde_lm_plan *out, const sonde_lm_trainer *t)
{
    const sonde_config *c = &t->model->config;
    double n = (double)sonde_model_n_parameters(t->model), tokens = (double)(t->opts.batch * t->opts.context);
    double n_q = (double)(c->n_heads * c->d_head);

    /* Embeddings that are only looked up multiply nothing. */
    n -= c->tied ? 0.0 : (double)(c->n_vocab * c->d_model);
    n -= c->positions == SONDE_POSITIONS_LEARNED ? (double)(c->n_context * c->d_model) : 0.0;
    *out = (sonde_lm_plan){
        .flops = tokens * (6.0 * n + 6.0 * (double)c->n_layers * (double)t->opts.context * n_q),
        .state_bytes = (int64_t)(4 * t->block_bytes + t->optimizer_bytes),
        .scratch_bytes = (int64_t)t->arena.bytes,
    };
}
