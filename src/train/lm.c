/* lm.c - training of language models: a trainer's life, and its steps.         floor 6: train
 *
 * A step takes its contexts some at a time: each goes forward with a tape and back, and its gradients are added to those of
 * the others, so that activations of a few thousand tokens are all that is ever held. The loss is a mean over all tokens of
 * the step; each part is weighted as it will count.
 */
#include "train/lm.h"

#include <math.h>

/* Gradients whose squares would be infinite as floats, with a margin for each: moments would never be finite again. */
static const double LARGEST_NORM = 1e18;

/* The layers' names of the schedules are the options' ones. */
_Static_assert((int)SONDE_SCHEDULE_CONSTANT == (int)SONDEP_SCHEDULE_CONSTANT, "constant");
_Static_assert((int)SONDE_SCHEDULE_LINEAR == (int)SONDEP_SCHEDULE_LINEAR, "linear");
_Static_assert((int)SONDE_SCHEDULE_COSINE == (int)SONDEP_SCHEDULE_COSINE, "cosine");
_Static_assert((int)SONDE_SCHEDULE_WSD == (int)SONDEP_SCHEDULE_WSD, "wsd");

/* What the optimiser and the schedule take of the options. */
static void apply_opts(sonde_lm_trainer *t)
{
    const sonde_lm_opts *o = &t->opts;
    int64_t decay = o->decay_steps ? o->decay_steps : (o->steps + 4) / 5;

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
                                    .decay = decay < o->steps ? decay : o->steps,
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

/* Nobody listens to the passes of a training. */
static sonde_status fire_nothing(int64_t point, const sondep_values *values, void *ctx)
{
    (void)point, (void)values, (void)ctx;
    return SONDE_OK;
}

/* A pass over `rows` and the way back, before they are planned. The mean over the step is what each part counts for. */
static void prepare(sonde_lm_trainer *t, sondep_pass *pass, sondep_backward *backward, const sondep_batch *rows)
{
    t->hooks = (sondep_hooks){.wanted = t->wanted, .last = -1, .fire = fire_nothing};
    t->prediction = (sondep_prediction){t->batch.target, t->batch.loss, t->opts.batch * t->opts.context};
    *pass = (sondep_pass){.model = t->model,
                          .hooks = &t->hooks,
                          .batch = rows,
                          .rope = &t->rope,
                          .tape = t->tape,
                          .logits = SONDE_LOGITS_NONE};
    *backward = (sondep_backward){
        .pass = pass, .gradients = t->gradients, .objective = sondep_prediction_objective, .objective_ctx = &t->prediction};
}

/* Scratch for the largest step: each row a sequence, and each as long as a context. Steps then allocate nothing. */
static sonde_status reserve(sonde_lm_trainer *t)
{
    sondep_batch largest = {
        .B = t->batch.capacity, .T = t->opts.context, .N = t->batch.capacity, .most_keys = t->opts.context};
    sondep_pass pass;
    sondep_backward backward;

    prepare(t, &pass, &backward, &largest);
    return sondep_arena_reserve(&t->arena, sondep_pass_plan(&pass, NULL) + sondep_backward_plan(&backward, NULL));
}

sonde_status sonde_lm_trainer_new(sonde_lm_trainer **out, const sonde_model *model, const sonde_corpus *corpus,
                                  const sonde_lm_opts *opts)
{
    sonde_lm_trainer *t = NULL;
    sonde_lm_opts options;
    sonde_status status;

    *out = NULL;
    /* What is wrong with the input is said before memory is taken. */
    SONDE_TRY(sondep_lm_check_vocab(model, corpus));
    SONDE_TRY(sondep_lm_opts_read(&options, opts, &model->config));
    SONDE_TRY_DONE(SONDE_NEW(t, 1));
    t->opts = options;
    t->corpus = corpus;
    SONDE_TRY_DONE(sonde_contexts_init(&t->contexts, corpus, options.context, options.batch, (uint64_t)options.seed));
    SONDE_TRY_DONE(sondep_model_trainable(&t->model, model));
    apply_opts(t);
    SONDE_TRY_DONE(sondep_lm_parameters(&t->parameters, &t->n_parameters, t->model));
    SONDE_TRY_DONE(make_blocks(t));
    SONDE_TRY_DONE(SONDE_NEW(t->tape, t->model->config.n_layers + 1));
    SONDE_TRY_DONE(SONDE_NEW(t->wanted, t->model->points.n));
    SONDE_TRY_DONE(sondep_lm_batch_make(&t->batch, options.micro_batch * options.context, options.context));
    SONDE_TRY_DONE(sondep_rope_grow(&t->rope, &t->model->config, options.context));
    SONDE_TRY_DONE(reserve(t));
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
    sondep_free(t->wanted);
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

/* Forward and back over the rows of the batch, which are the step's from row `first` on. */
static sonde_status pass_and_back(sonde_lm_trainer *t, int64_t first)
{
    sondep_pass pass;
    sondep_backward backward;
    sonde_status status;

    /* Planned anew each time: how many sequences there are depends on the texts. */
    prepare(t, &pass, &backward, &t->batch.rows);
    /* Within what reserve() has made: no memory is taken here. */
    SONDE_TRY(sondep_arena_reserve(&t->arena, sondep_pass_plan(&pass, NULL) + sondep_backward_plan(&backward, NULL)));
    sondep_pass_plan(&pass, &t->arena);
    sondep_backward_plan(&backward, &t->arena);
    SONDE_TRY_DONE(sondep_pass_run(&pass));
    SONDE_TRY_DONE(sondep_backward_run(&backward));
    /* The stream was looked at behind each layer; what overflows after the last one shows in the loss. */
    for (int64_t row = 0; row < t->batch.rows.N; row++)
        if (!isfinite(t->batch.loss[row]))
            SONDE_TRY_DONE(SONDE_FAIL(SONDE_E_NONFINITE,
                                      "the loss of token %lld of the step is %s: 'ln_final' or 'unembed' overflow",
                                      (long long)(first + row), isnan(t->batch.loss[row]) ? "nan" : "infinite"));
done:
    sondep_arena_reset(&t->arena, 0);
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

        /* Contexts are numbered through all steps: which ones these are follows from the step alone. */
        /* The contexts of a step follow one another in the order of the epoch. */
        sondep_lm_batch_clear(&t->batch);
        for (int64_t i = 0; i < n; i++) {
            sonde_contexts_get(t->batch.context, &t->contexts, t->step * o->batch + first + i);
            sondep_lm_batch_add(&t->batch, t->batch.context, o->context, o->separator);
        }
        SONDE_TRY(pass_and_back(t, first * o->context));
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
    out->gradient_norm = sondep_gradient_norm(t->gradients, t->model->n_parameters);
    if (!isfinite(out->gradient_norm))
        return fail_nonfinite(t, out->gradient_norm);
    if (out->gradient_norm * sondep_clip_factor(out->gradient_norm, t->optimizer.clip) > LARGEST_NORM)
        return SONDE_FAIL(SONDE_E_NONFINITE, "the norm of the gradients is %g: their squares are not finite",
                          out->gradient_norm);
    return SONDE_OK;
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
    /* Until here the weights are as they were: an error leaves them so. */
    /* Nothing fails from here on. */
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
