/* trainer.c - training of autoencoders: a trainer's life.                       floor 7: sae
 *
 * A trainer is three blocks of floats of one layout, weights and what Adam keeps of them, and room for a step:
 *
 *   W_enc (S,D) | W_dec (S,O) | vectors (S) each: b_enc, thresholds, gates | b_dec (O) | W_skip (O,D)
 *
 * Which of them an architecture has, its rule says. Everything else that a step needs to know of the past is in a few numbers:
 * steps since each feature was on, the threshold of BatchTopK, the exponent of p-annealing, which way rows went last. That is
 * what a state holds, and why a training that goes on gives the same bytes.
 */
#include "sae/trainer.h"

#include <math.h>

/* ---- life ------------------------------------------------------------------------------------------------------------------- */

/* 0: the architecture has none of it. */
int64_t sondep_sae_count(const sonde_sae_trainer *t, int parameter)
{
    return t->first[parameter + 1] - t->first[parameter];
}

/* As SAELens calls it in a file. */
const char *sondep_sae_parameter_name(const sonde_sae_trainer *t, int parameter)
{
    switch (parameter) {
    case SONDEP_SAE_IN: return "W_enc";
    case SONDEP_SAE_OUT: return "W_dec";
    case SONDEP_SAE_B_DEC: return "b_dec";
    case SONDEP_SAE_SKIP: return "W_skip";
    default: return t->rule->vectors[parameter - SONDEP_SAE_VECTOR];
    }
}

/* Where parameters lie. Matching pursuit has one matrix for both ways. */
static sonde_status place_parameters(sonde_sae_trainer *t)
{
    int64_t counts[SONDEP_N_SAE_PARAMETERS] = {[SONDEP_SAE_B_DEC] = t->O}, n_vectors = 0;

    SONDE_TRY(sondep_mul_i64(&counts[SONDEP_SAE_IN], t->opts.arch == SONDE_SAE_ARCH_PURSUIT ? 0 : t->S, t->D, "W_enc"));
    SONDE_TRY(sondep_mul_i64(&counts[SONDEP_SAE_OUT], t->S, t->O, "W_dec"));
    SONDE_TRY(sondep_mul_i64(&counts[SONDEP_SAE_SKIP], t->opts.has_skip ? t->O : 0, t->D, "W_skip"));
    while (t->rule->vectors[n_vectors] != NULL)
        counts[SONDEP_SAE_VECTOR + n_vectors++] = t->S;
    for (int i = 0; i < SONDEP_N_SAE_PARAMETERS; i++)
        t->first[i + 1] = t->first[i] + counts[i];
    return sondep_mul_size(&t->block_bytes, (size_t)t->first[SONDEP_N_SAE_PARAMETERS], sizeof(float), "the parameters");
}

/* Weights and moments, and what is known of features. */
static sonde_status make_state(sonde_sae_trainer *t)
{
    float **blocks[] = {&t->w, &t->m, &t->v};
    void *block;

    SONDE_TRY(place_parameters(t));
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        SONDE_TRY(sondep_map_block(&block, t->block_bytes));
        *blocks[i] = block;
    }
    return SONDE_NEW(t->silent, t->S);
}

/* A decoder row in a random direction, and the encoder's row as the same numbers. */
static void init_row(sonde_sae_trainer *t, int64_t s)
{
    float *in = sondep_sae_at(t, t->w, SONDEP_SAE_IN), *out = sondep_sae_at(t, t->w, SONDEP_SAE_OUT) + s * t->O;
    double squares = 0.0, factor;

    for (int64_t d = 0; d < t->O; d++) {
        double u = 2.0 * sonde_random_uniform((uint64_t)t->opts.seed, (uint64_t)s, (uint64_t)d) - 1.0;
        out[d] = (float)u;
        squares += u * u;
    }
    factor = squares > 0.0 ? t->opts.init_norm / sqrt(squares) : 0.0;
    for (int64_t d = 0; d < t->O; d++)
        out[d] = (float)(out[d] * factor);
    /* A transcoder's encoder reads another space: it has a direction of its own. */
    for (int64_t d = 0; d < t->D && in != NULL; d++)
        in[s * t->D + d] =
            !t->is_transcoder
                ? out[d]
                : (float)((2.0 * sonde_random_uniform((uint64_t)t->opts.seed, (uint64_t)(t->S + s), (uint64_t)d) - 1.0) *
                          t->opts.init_norm * sqrt(3.0 / (double)t->D));
}

/* All weights before the first step; what is not said here begins at 0. */
static void init_weights(sonde_sae_trainer *t)
{
    float *threshold = sondep_sae_at(t, t->w, SONDEP_SAE_VECTOR + 1);

#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t s = 0; s < t->S; s++)
        init_row(t, s);
    for (int64_t s = 0; s < t->S && t->opts.arch == SONDE_SAE_ARCH_JUMPRELU; s++)
        threshold[s] = (float)t->opts.init_threshold;
}

/* Groups of features that are reconstructions by themselves: halves of halves, unless they are said. */
static void make_groups(sonde_sae_trainer *t)
{
    const sonde_sae_train_opts *o = &t->opts;

    t->n_groups = 0;
    for (int64_t i = 0; o->groups != NULL && i < o->n_groups; i++)
        t->groups[t->n_groups++] = o->groups[i];
    for (int shift = 4; o->groups == NULL && t->rule->is_nested && shift > 0; shift--)
        if (t->S >> shift > (t->n_groups > 0 ? t->groups[t->n_groups - 1] : 0))
            t->groups[t->n_groups++] = t->S >> shift;
    if (o->groups == NULL)
        t->groups[t->n_groups++] = t->S;
    t->opts.groups = t->rule->is_nested ? t->groups : NULL;
    t->opts.n_groups = t->rule->is_nested ? t->n_groups : 0;
}

/* What follows from the options. */
static void apply_opts(sonde_sae_trainer *t)
{
    const sonde_sae_train_opts *o = &t->opts;
    int64_t decay = o->decay_steps ? o->decay_steps : (o->steps + 4) / 5;

    t->rule = &sondep_sae_rules[o->arch];
    t->is_transcoder = o->d_out > 0;
    t->ties_bias = o->ties_bias != 0;
    t->normalization = o->scaling == SONDE_SAE_SCALE_CONSTANT_NORM ? SONDE_SAE_CONSTANT_NORM
                       : o->scaling == SONDE_SAE_SCALE_LAYER_NORM  ? SONDE_SAE_LAYER_NORM
                                                                   : SONDE_SAE_AS_IT_IS;
    t->D = o->d_in;
    t->S = o->d_sae;
    t->O = t->is_transcoder ? o->d_out : o->d_in;
    t->N = o->batch;
    t->scale_in = t->scale_out = t->anneal.p = t->anneal.weight = t->control = t->plateau.share = 1.0;
    t->plateau.best = 1e300;
    t->is_dense = !t->rule->is_topk;
    t->schedule = (sondep_schedule){.kind = (sondep_schedule_kind)o->schedule,
                                    .steps = o->steps,
                                    .warmup = o->warmup,
                                    .decay = decay < o->steps ? decay : o->steps,
                                    .rate = o->lr,
                                    .last = o->lr * o->last_lr};
    make_groups(t);
}

/* Options are read before memory is taken. */
sonde_status sonde_sae_trainer_new(sonde_sae_trainer **out, const sonde_sae_train_opts *opts)
{
    sonde_sae_trainer *t = NULL;
    sonde_sae_train_opts options;
    sonde_status status;

    *out = NULL;
    SONDE_TRY(sondep_sae_opts_read(&options, opts));
    SONDE_TRY_DONE(SONDE_NEW(t, 1));
    t->opts = options;
    apply_opts(t);
    SONDE_TRY_DONE(make_state(t));
    SONDE_TRY_DONE(sondep_sae_make_room(t));
    init_weights(t);
    *out = t;
    t = NULL;
done:
    sonde_sae_trainer_free(t);
    return status;
}

/* Blocks that are not there yet are fine. */
void sonde_sae_trainer_free(sonde_sae_trainer *t)
{
    if (t == NULL)
        return;
    sondep_unmap_block(t->w, t->block_bytes);
    sondep_unmap_block(t->m, t->block_bytes);
    sondep_unmap_block(t->v, t->block_bytes);
    if (t->scratch != NULL)
        sondep_unmap_block(t->scratch, t->scratch_bytes);
    sondep_arena_release(&t->arena);
    sondep_free(t->mean);
    sondep_free(t->silent);
    sondep_free(t);
}

int64_t sonde_sae_trainer_steps(const sonde_sae_trainer *trainer)
{
    return trainer->step;
}

const sonde_sae_train_opts *sonde_sae_trainer_opts(const sonde_sae_trainer *trainer)
{
    return &trainer->opts;
}

int64_t sonde_sae_trainer_bytes(const sonde_sae_trainer *t)
{
    return (int64_t)(3 * t->block_bytes + t->arena.bytes + t->scratch_bytes) + t->S * (int64_t)sizeof *t->silent;
}

const int64_t *sonde_sae_trainer_silent(const sonde_sae_trainer *trainer)
{
    return trainer->silent;
}

/* The step that comes: the first of a warm-up has no penalty at all, as in SAELens. */
double sondep_sae_coefficient(const sonde_sae_trainer *t)
{
    const sonde_sae_train_opts *o = &t->opts;
    double weight = sondep_sae_penalty_weight(o) * t->anneal.weight * t->control;

    return t->step < o->sparsity_warmup ? weight * (double)t->step / (double)o->sparsity_warmup : weight;
}

/* A window is what torch calls an epoch: some steps whose mean loss is one number, since that of a single step is mostly chance. The share
 * is multiplied with whatever the schedule says, so that both may be used.
 *
 * Torch's ReduceLROnPlateau with its own threshold: what is not better than the best by a part of 1e-4 is bad, and more bad windows in
 * a row than the patience make the step size smaller. */
void sondep_sae_step_plateau(sonde_sae_trainer *t, double loss)
{
    sondep_sae_plateau *p = &t->plateau;
    double mean;

    if (t->opts.plateau_every == 0)
        return;
    p->sum += loss;
    if (++p->n < t->opts.plateau_every)
        return;
    mean = p->sum / (double)p->n;
    p->sum = 0.0;
    p->n = 0;
    if (mean < p->best * (1.0 - 1e-4)) {
        p->best = mean;
        p->n_bad = 0;
    } else if (++p->n_bad > t->opts.plateau_patience) {
        p->share *= t->opts.plateau_factor;
        p->n_bad = 0;
    }
}

/* Integral control of the logarithm: w' = w exp(rate (log(l0 / target) + log(l0 / mean of l0 of late))). The second term is about what
 * the next hundred steps would change by themselves: L0 falls by a factor of thirty before the first features mean anything, and the
 * weight must not answer that. A step that is off by more than a factor of e counts as off by that; and a penalty that outweighs the
 * error is not made larger still: Adam's steps are as large as they get, and what they do comes later (thresholds of JumpReLU). */
void sondep_sae_control(sonde_sae_trainer *t, const sonde_sae_train_report *report)
{
    static const double of_late = 0.01, outweighs = 10.0;
    double now = log(fmax(report->l0, 1e-3)), off;

    if (t->opts.l0_control == 0.0)
        return;
    t->log_l0 += (t->step == 0 ? 1.0 : of_late) * (now - t->log_l0);
    off = fmax(-1.0, fmin(1.0, 2.0 * now - t->log_l0 - log(t->opts.target_l0)));
    if (t->step >= t->opts.sparsity_warmup && !(off > 0.0 && report->sparsity > outweighs * report->mse))
        t->control *= exp(t->opts.l0_control * off);
}
