/* train.c - many toy models, trained side by side.                             floor 8: toy
 *
 * Instances know nothing of each other: each is one thread's for as many steps as are asked for, with its own generators, so that
 * no thread waits for another, and an instance has the same bytes alone as among a thousand. (As one batched problem, each step would end with a
 * barrier; a step of one instance of five features takes two microseconds.)
 *
 *   weights of an instance    W_in (n,m) | W_out (n,m), unless they are tied | b (n)      one block of floats for all instances
 *   AdamW                     beta 0.9 and 0.999, eps 1e-8, decay on everything, as torch.optim.AdamW has it by default (0.01)
 *   streams of Philox         weights, generators of the training, generators of measurements: a number for each instance
 *
 * A measurement draws the same rows for all instances: losses of restarts are compared on equal terms, and twice measured is the same.
 */
#include "toy/toy.h"

#include "train/state.h"

#include <math.h>

/* Streams of random numbers: of weights, of generators in training, and of those in measuring. */
enum { OF_WEIGHTS = 1, OF_TRAINING = 2, OF_MEASURING = 3 };

/* The paper's, for its first figure. */
void sonde_toy_opts_init(sonde_toy_opts *out)
{
    *out = (sonde_toy_opts){.struct_size = sizeof *out,
                            .kind = SONDE_TOY_RELU,
                            .n_features = 5,
                            .n_hidden = 2,
                            .n_instances = 1,
                            .batch = 1024,
                            .steps = 10000,
                            .lr = 1e-3,
                            .decay = 0.01,
                            .schedule = SONDE_SCHEDULE_CONSTANT};
}

/* ---- options ---------------------------------------------------------------------------------------------------------- */

/* Numbers within their bounds. */
static sonde_status check_sizes(const sonde_toy_opts *o)
{
    SONDE_TRY(sondep_check_option("kind", (double)o->kind, SONDE_TOY_LINEAR, SONDE_TOY_ABSOLUTE));
    SONDE_TRY(sondep_check_option("n_features", (double)o->n_features, 1, 1e5));
    SONDE_TRY(sondep_check_option("n_hidden", (double)o->n_hidden, 1, 1e5));
    SONDE_TRY(sondep_check_option("n_instances", (double)o->n_instances, 1, 1e7));
    SONDE_TRY(sondep_check_option("steps", (double)o->steps, 1, 1e9));
    SONDE_TRY(sondep_check_option("batch", (double)o->batch, SONDEP_TOY_ROWS, 1e7));
    SONDE_TRY(sondep_check_option("lr", o->lr, 0, 100));
    SONDE_TRY(sondep_check_option("decay", o->decay, 0, 100));
    SONDE_TRY(sondep_check_option("schedule", (double)o->schedule, SONDE_SCHEDULE_CONSTANT, SONDE_SCHEDULE_WSD));
    if (o->batch % SONDEP_TOY_ROWS != 0)
        return SONDE_FAIL(SONDE_E_ARG, "option 'batch' is %lld, not a multiple of %d", (long long)o->batch, SONDEP_TOY_ROWS);
    return SONDE_OK;
}

/* Sets follow each other and end with the last feature. */
static sonde_status check_sets(const sonde_toy_opts *o)
{
    int64_t next = 0;

    for (int64_t i = 0; o->sets != NULL && i < o->n_sets; i++) {
        const sonde_toy_set *s = &o->sets[i];
        if (s->kind < SONDE_TOY_ALONE || s->kind > SONDE_TOY_ONE_OF || s->first != next || s->n < 1 ||
            s->n > o->n_features - next)
            return SONDE_FAIL(SONDE_E_ARG, "option 'sets': set %lld is of kind %lld and has features %lld to %lld",
                              (long long)i, (long long)s->kind, (long long)s->first, (long long)(s->first + s->n - 1));
        next += s->n;
    }
    if (o->sets != NULL && next != o->n_features)
        return SONDE_FAIL(SONDE_E_ARG, "option 'sets' ends behind feature %lld of %lld", (long long)next,
                          (long long)o->n_features);
    return SONDE_OK;
}

/* Probabilities and importances of all features. */
static sonde_status check_numbers(const sonde_toy_opts *o)
{
    for (int64_t i = 0; i < o->n_instances * o->n_features; i++) {
        if (o->probability != NULL && !(o->probability[i] > 0.0 && o->probability[i] <= 1.0))
            return SONDE_FAIL(SONDE_E_ARG, "option 'probability' is %g at feature %lld of instance %lld, not in (0, 1]",
                              o->probability[i], (long long)(i % o->n_features), (long long)(i / o->n_features));
        if (o->importance != NULL && !(o->importance[i] >= 0.0 && o->importance[i] < 1e30))
            return SONDE_FAIL(SONDE_E_ARG, "option 'importance' is %g at feature %lld of instance %lld", o->importance[i],
                              (long long)(i % o->n_features), (long long)(i / o->n_features));
    }
    return SONDE_OK;
}

/* ---- life --------------------------------------------------------------------------------------------------------------- */

/* Copies of the lists, and the same as kernels take them. */
static sonde_status copy_lists(sonde_toy *t, const sonde_toy_opts *o)
{
    int64_t n = t->I * t->n;

    SONDE_TRY(SONDE_NEW(t->probability, n));
    SONDE_TRY(SONDE_NEW(t->importance_of, n));
    SONDE_TRY(SONDE_NEW(t->importance, n));
    SONDE_TRY(SONDE_NEW(t->scale, n));
    SONDE_TRY(SONDE_NEW(t->bar, n));
    /* 31 bits of a draw are held against the bar: 1 is as near as an integer comes */
    for (int64_t i = 0; i < n; i++) {
        t->probability[i] = o->probability ? o->probability[i] : 1.0;
        t->importance_of[i] = o->importance ? o->importance[i] : 1.0;
        t->importance[i] = (float)t->importance_of[i];
        t->bar[i] = t->probability[i] < 1.0 ? (int32_t)fmax(1.0, round(t->probability[i] * 0x1p31)) : INT32_MAX;
        t->scale[i] = (float)(1.0 / (double)t->bar[i]);
    }
    t->n_sets = o->sets ? o->n_sets : 1;
    SONDE_TRY(SONDE_NEW(t->sets, t->n_sets));
    SONDE_TRY(SONDE_NEW(t->own_sets, t->n_sets));
    for (int64_t i = 0; i < t->n_sets; i++) {
        t->own_sets[i] = o->sets ? o->sets[i] : (sonde_toy_set){SONDE_TOY_ALONE, 0, t->n};
        t->sets[i] = (sondep_toy_set){(sondep_toy_together)t->own_sets[i].kind, t->own_sets[i].first, t->own_sets[i].n};
    }
    t->opts.probability = t->probability;
    t->opts.importance = t->importance_of;
    t->opts.sets = t->own_sets;
    t->opts.n_sets = t->n_sets;
    return SONDE_OK;
}

/* Generators of one instance in one of the streams: Philox gives their first words. */
static void seed_state(uint32_t *state, uint64_t seed, int64_t instance, uint64_t stream)
{
    for (int64_t i = 0; i < 4 * SONDEP_TOY_LANES; i += 4)
        sonde_random_bits(state + i, seed, (uint64_t)instance << 8 | stream, (uint64_t)i);
}

/* Weights and generators before the first step. */
static sonde_status make_state(sonde_toy *t)
{
    double deviation = sqrt(2.0 / (double)(t->n + t->m));
    int64_t n, matrix = t->n * t->m, n_random = t->is_tied ? matrix : 2 * matrix;

    t->n_weights = n_random + t->n;
    SONDE_TRY(sondep_mul_i64(&n, t->I, t->n_weights, "weights of toy models"));
    SONDE_TRY(SONDE_NEW(t->w, n));
    SONDE_TRY(SONDE_NEW(t->moments, n));
    SONDE_TRY(SONDE_NEW(t->squares, n));
    SONDE_TRY(SONDE_NEW(t->state, t->I * 4 * SONDEP_TOY_LANES));
#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t i = 0; i < t->I; i++) {
        for (int64_t k = 0; k < n_random; k++)
            t->w[i * t->n_weights + k] =
                (float)(deviation * sonde_random_normal(t->opts.seed, (uint64_t)i << 8 | OF_WEIGHTS, (uint64_t)k));
        seed_state(t->state + i * 4 * SONDEP_TOY_LANES, t->opts.seed, i, OF_TRAINING);
    }
    return SONDE_OK;
}

/* Everything is checked before memory is taken. */
sonde_status sonde_toy_new(sonde_toy **out, const sonde_toy_opts *opts)
{
    sonde_toy_opts o;
    sonde_toy *t = NULL;
    sonde_status status;

    *out = NULL;
    sonde_toy_opts_init(&o);
    SONDE_TRY(sondep_opts_read(&o, sizeof o, opts, "the struct of toy models' options"));
    SONDE_TRY(check_sizes(&o));
    SONDE_TRY(check_sets(&o));
    SONDE_TRY(check_numbers(&o));
    SONDE_TRY_DONE(SONDE_NEW(t, 1));
    t->opts = o;
    t->n = o.n_features;
    t->m = o.n_hidden;
    t->I = o.n_instances;
    t->is_tied = o.kind != SONDE_TOY_ABSOLUTE;
    t->schedule = (sondep_schedule){
        .kind = (sondep_schedule_kind)o.schedule, .steps = o.steps, .decay = (o.steps + 4) / 5, .rate = o.lr};
    SONDE_TRY_DONE(copy_lists(t, &o));
    SONDE_TRY_DONE(make_state(t));
    *out = t;
    t = NULL;
done:
    sonde_toy_free(t);
    return status;
}

/* Parts that are not there yet are fine. */
void sonde_toy_free(sonde_toy *t)
{
    if (t == NULL)
        return;
    sondep_free(t->probability);
    sondep_free(t->importance_of);
    sondep_free(t->own_sets);
    sondep_free(t->w);
    sondep_free(t->moments);
    sondep_free(t->squares);
    sondep_free(t->importance);
    sondep_free(t->scale);
    sondep_free(t->bar);
    sondep_free(t->sets);
    sondep_free(t->state);
    sondep_free(t);
}

/* The same for all instances, unless a training was interrupted. */
int64_t sonde_toy_steps(const sonde_toy *toy)
{
    return toy->step;
}

/* Lists in it are copies. */
const sonde_toy_opts *sonde_toy_get_opts(const sonde_toy *toy)
{
    return &toy->opts;
}

/* The way in stands first. */
float *sonde_toy_weights(sonde_toy *toy, int64_t instance)
{
    return toy->w + instance * toy->n_weights;
}

/* Behind the way in, unless it is the same. */
float *sonde_toy_weights_out(sonde_toy *toy, int64_t instance)
{
    return sonde_toy_weights(toy, instance) + (toy->is_tied ? 0 : toy->n * toy->m);
}

/* The bias stands last. */
float *sonde_toy_bias(sonde_toy *toy, int64_t instance)
{
    return sonde_toy_weights(toy, instance) + toy->n_weights - toy->n;
}

/* ---- steps ---------------------------------------------------------------------------------------------------------------- */

/* Room of one thread. */
typedef struct room {
    float *x, *scratch, *gradient;
} room;

/* Rows, what the kernel needs beside them, and gradients. Owns: *out is freed with room_free. */
static sonde_status room_make(room *out, const sonde_toy *t)
{
    *out = (room){0};
    SONDE_TRY(SONDE_NEW(out->x, t->n * SONDEP_TOY_ROWS));
    SONDE_TRY(SONDE_NEW(out->scratch, (2 * t->m + t->n) * SONDEP_TOY_ROWS));
    return SONDE_NEW(out->gradient, t->n_weights);
}

/* Fine where some of it is missing. */
static void room_free(room *r)
{
    sondep_free(r->x);
    sondep_free(r->scratch);
    sondep_free(r->gradient);
}

/* An instance as the kernel takes it; `gradient` NULL: the loss alone. */
static sondep_toy model_of(const sonde_toy *t, int64_t i, float *gradient)
{
    const float *w = t->w + i * t->n_weights;
    int64_t out = t->is_tied ? 0 : t->n * t->m, b = t->n_weights - t->n;

    return (sondep_toy){.n = t->n,
                        .m = t->m,
                        .w_in = w,
                        .w_out = w + out,
                        .b = w + b,
                        .importance = t->importance + i * t->n,
                        .has_hidden_relu = t->opts.kind >= SONDE_TOY_RELU_HIDDEN,
                        .has_relu = t->opts.kind != SONDE_TOY_LINEAR,
                        .is_absolute = t->opts.kind == SONDE_TOY_ABSOLUTE,
                        .factor = (float)(2.0 / ((double)t->opts.batch * (double)t->n)),
                        .g_in = gradient,
                        .g_out = gradient ? gradient + out : NULL,
                        .g_b = gradient ? gradient + b : NULL};
}

/* How features of an instance are drawn. */
static sondep_toy_sets sets_of(const sonde_toy *t, int64_t i)
{
    return (sondep_toy_sets){.sets = t->sets,
                             .n = t->n_sets,
                             .bar = t->bar + i * t->n,
                             .scale = t->scale + i * t->n,
                             .is_signed = t->opts.kind == SONDE_TOY_ABSOLUTE};
}

/* One step of AdamW of an instance; step counts from 0. */
static void update(sonde_toy *t, int64_t i, const float *gradient, int64_t step)
{
    double beta1 = 0.9, beta2 = 0.999;
    int64_t at = i * t->n_weights;
    sondep_adamw a = {.rate = sondep_schedule_rate(&t->schedule, step),
                      .beta1 = beta1,
                      .beta2 = beta2,
                      .eps = 1e-8,
                      .decay = t->opts.decay,
                      .clip = 1.0,
                      .correction1 = 1.0 - pow(beta1, (double)(step + 1)),
                      .correction2 = 1.0 - pow(beta2, (double)(step + 1))};

    sondep_adamw_step(t->w + at, t->moments + at, t->squares + at, gradient, &a, t->n_weights);
}

/* n_steps of one instance; the mean of their losses. */
static double train_instance(sonde_toy *t, room *r, int64_t i, int64_t n_steps)
{
    sondep_toy model = model_of(t, i, r->gradient);
    sondep_toy_sets sets = sets_of(t, i);
    double sum = 0.0;

    for (int64_t step = t->step; step < t->step + n_steps; step++) {
        /* a batch is some calls of the kernel, whose gradients add up */
        memset(r->gradient, 0, (size_t)t->n_weights * sizeof *r->gradient);
        for (int64_t row = 0; row < t->opts.batch; row += SONDEP_TOY_ROWS) {
            sondep_toy_draw(r->x, &sets, t->state + i * 4 * SONDEP_TOY_LANES);
            sum += sondep_toy_rows(&model, r->x, r->scratch);
        }
        update(t, i, r->gradient, step);
    }
    return sum / ((double)n_steps * (double)t->opts.batch * (double)t->n);
}

/* What the threads found: the first instance that is not finite, or that there was no memory. */
static sonde_status end_training(sonde_toy *t, int64_t failed, bool lacks_memory, int64_t n_steps)
{
    if (lacks_memory)
        return SONDE_FAIL(SONDE_E_NOMEM, "out of memory: room for steps of toy models");
    if (sondep_interrupted())
        return SONDE_FAIL(SONDE_E_INTERRUPTED, "interrupted");
    if (failed < t->I)
        return SONDE_FAIL(SONDE_E_NONFINITE, "the loss of instance %lld is not finite before step %lld", (long long)failed,
                          (long long)(t->step + n_steps));
    t->step += n_steps;
    return SONDE_OK;
}

/* A thread takes the next instance as it comes free; an instance's steps stay together, and its weights in the first cache. */
sonde_status sonde_toy_train(sonde_toy *t, double *losses, int64_t n_steps)
{
    int64_t failed = t->I;
    bool lacks_memory = false;

    if (n_steps < 0 || n_steps > t->opts.steps - t->step)
        return SONDE_FAIL(SONDE_E_STATE, "%lld steps more than the %lld of %lld that are done", (long long)n_steps,
                          (long long)t->step, (long long)t->opts.steps);
    if (n_steps == 0)
        return SONDE_OK;
#pragma omp parallel num_threads(sonde_threads()) reduction(min : failed) reduction(|| : lacks_memory)
    {
        room r;
        lacks_memory = room_make(&r, t) != SONDE_OK;
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < t->I; i++) {
            double loss;
            if (lacks_memory || sondep_interrupted())
                continue;
            /* all of its steps in one go: its weights stay in the first cache */
            loss = train_instance(t, &r, i, n_steps);
            if (losses != NULL)
                losses[i] = loss;
            if (!isfinite(loss) && i < failed)
                failed = i;
        }
        room_free(&r);
    }
    return end_training(t, failed, lacks_memory, n_steps);
}

/* Rows come from generators of their own, which are those of instance 0 for all. */
sonde_status sonde_toy_losses(double *out, const sonde_toy *t, int64_t n_rows)
{
    int64_t n = (n_rows + SONDEP_TOY_ROWS - 1) / SONDEP_TOY_ROWS;
    bool lacks_memory = false;

#pragma omp parallel num_threads(sonde_threads()) reduction(|| : lacks_memory)
    {
        room r;
        lacks_memory = room_make(&r, t) != SONDE_OK;
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < t->I; i++) {
            uint32_t state[4 * SONDEP_TOY_LANES];
            sondep_toy model = model_of(t, i, NULL);
            sondep_toy_sets sets = sets_of(t, i);
            double sum = 0.0;
            /* the same draws for all instances, so that their losses can be compared */
            seed_state(state, t->opts.seed, 0, OF_MEASURING);
            for (int64_t row = 0; row < n && !lacks_memory; row++) {
                sondep_toy_draw(r.x, &sets, state);
                sum += sondep_toy_rows(&model, r.x, r.scratch);
            }
            out[i] = sum / ((double)n * SONDEP_TOY_ROWS * (double)t->n);
        }
        room_free(&r);
    }
    return lacks_memory ? SONDE_FAIL(SONDE_E_NOMEM, "out of memory: room for rows of toy models") : SONDE_OK;
}
