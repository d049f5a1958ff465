/* evaluate_begin.c - what an evaluation needs before its first pass.            floor 7: sae
 *
 * All autoencoders of an evaluation read one hook point and write one, so that the passes that do not depend on them (the clean one, and both
 * ablations) are made once for all of them.
 */
#include "sae/evaluate.h"

/* Our own protocol. */
void sonde_sae_eval_opts_init(sonde_sae_eval_opts *out)
{
    *out = (sonde_sae_eval_opts){.struct_size = sizeof *out, .has_loss = 1, .n_resamples = 1000, .batch = 1024};
}

/* Bounds. */
static sonde_status read_opts(sonde_sae_eval_opts *out, const sonde_sae_eval_opts *opts)
{
    sonde_sae_eval_opts_init(out);
    SONDE_TRY(sondep_opts_read(out, sizeof *out, opts, "the struct of evaluation options"));
    if (out->protocol < 0 || out->protocol > SONDE_SAE_PROTOCOL_SAELENS || out->batch < 1 || out->n_resamples < 0)
        return SONDE_FAIL(SONDE_E_ARG,
                          "options of an evaluation outside their bounds: protocol %lld, batch %lld, resamples %lld",
                          (long long)out->protocol, (long long)out->batch, (long long)out->n_resamples);
    if (!(out->batch_topk >= 0.0))
        return SONDE_FAIL(SONDE_E_ARG, "option 'batch-topk' is %g, below 0", out->batch_topk);
    return SONDE_OK;
}

/* ---- what is measured where ---------------------------------------------------------------------------------------------- */

/* The one point of a name; its numbers for a position must be as many as the autoencoder has. */
static sonde_status find_point(char **out, const sonde_model *model, const char *name, int64_t width, const char *verb)
{
    const sonde_hook_point *point;
    int64_t has;

    SONDE_TRY(sondep_find_one_point(&point, model, name));
    has = sonde_hook_n_neurons(point);
    if (has != width)
        return SONDE_FAIL(SONDE_E_SHAPE, "'%s' has %lld numbers for each position, the autoencoder %s %lld", point->name,
                          (long long)has, verb, (long long)width);
    return sondep_copy_string(out, point->name);
}

/* Both points of one autoencoder, from the options or from cfg.json. Owns: *read and *written are the caller's. */
static sonde_status find_points(char **read, char **written, const sondep_sae_evaluation *e, const sonde_sae *sae,
                                const sonde_model *model)
{
    const sonde_sae_config *c = &sae->config;
    const char *in = e->opts.hook ? e->opts.hook : c->hook_name,
               *out = e->opts.hook_out ? e->opts.hook_out : c->hook_name_out;

    if (e->opts.hook_out != NULL && !c->is_transcoder)
        return SONDE_FAIL(SONDE_E_ARG, "'hook-out' is for transcoders: this autoencoder (%s) writes what it reads",
                          c->architecture);
    if (*in == '\0')
        return sondep_hint(SONDE_FAIL(SONDE_E_HOOK, "the autoencoder does not say which hook point it reads"),
                           "name it: '--hook blocks.3.hook_resid_post'");
    if (c->is_transcoder && *out == '\0')
        return sondep_hint(SONDE_FAIL(SONDE_E_HOOK, "the transcoder does not say which hook point it writes"),
                           "name it: '--hook-out blocks.3.hook_mlp_out'");
    SONDE_TRY(find_point(read, model, in, c->d_in, "reads"));
    return find_point(written, model, c->is_transcoder ? out : in, c->d_out, "writes");
}

/* Autoencoder i reads and writes where the first one does, whose points are kept. */
static sonde_status add_points(sondep_sae_evaluation *e, int64_t i, const sonde_model *model)
{
    char *in = NULL, *out = NULL;
    sonde_status status;

    SONDE_TRY_DONE(find_points(&in, &out, e, e->subjects[i].sae, model));
    if (i == 0) {
        e->is_same = strcmp(in, out) == 0;
        e->in = in;
        e->out = out;
        return SONDE_OK;
    }
    if (strcmp(in, e->in) != 0 || strcmp(out, e->out) != 0)
        status = SONDE_FAIL(SONDE_E_HOOK, "autoencoder %lld reads '%s' and writes '%s', the first one '%s' and '%s'",
                            (long long)i + 1, in, out, e->in, e->out);
done:
    sondep_free(in);
    sondep_free(out);
    return status;
}

/* What features are before a batch chooses among them. */
static sonde_status bare_thresholds(sondep_sae_subject *s, double k)
{
    if (s->sae->config.activation != SONDE_SAE_JUMPRELU || k > (double)s->sae->config.d_sae)
        return SONDE_FAIL(
            SONDE_E_ARG,
            "option 'batch-topk' is %g: it is for autoencoders with thresholds, as BatchTopK and Matryoshka are saved, "
            "up to their number of features; this one is %s with %lld",
            k, s->sae->config.architecture, (long long)s->sae->config.d_sae);
    s->bare = *s->sae;
    s->bare.config.activation = SONDE_SAE_RELU;
    return SONDE_OK;
}

/* ---- room --------------------------------------------------------------------------------------------------------------- */

/* Room for the largest batch. */
static sonde_status make_room(sondep_sae_evaluation *e)
{
    int64_t N;

    for (int64_t i = 0; i < e->texts->n; i++)
        e->longest = e->texts->lengths[i] > e->longest ? e->texts->lengths[i] : e->longest;
    N = e->longest > e->opts.batch ? e->longest : e->opts.batch;
    SONDE_TRY(SONDE_NEW(e->tokens, N));
    SONDE_TRY(SONDE_NEW(e->lengths, e->texts->n + 1));
    SONDE_TRY(SONDE_NEW(e->rows, N));
    SONDE_TRY(SONDE_NEW(e->x, N * e->D));
    e->target = e->x;
    if (!e->is_same)
        SONDE_TRY(SONDE_NEW(e->target, N * e->O));
    SONDE_TRY(SONDE_NEW(e->features, (e->opts.batch_topk > 0.0 ? N : SONDEP_SAE_EVAL_BLOCK) * e->S));
    SONDE_TRY(SONDE_NEW(e->row_sums, SONDEP_SAE_EVAL_BLOCK * N_SUMS));
    SONDE_TRY(SONDE_NEW(e->mean, e->O));
    for (int64_t i = 0; i < e->n_subjects; i++) {
        sondep_sae_subject *s = &e->subjects[i];
        SONDE_TRY(SONDE_NEW(s->y, N * e->O));
        SONDE_TRY(SONDE_NEW(s->sums, e->texts->n * N_SUMS));
        SONDE_TRY(SONDE_NEW(s->last_text, s->sae->config.d_sae));
        SONDE_TRY(sonde_sae_coder_new(&s->coder, e->opts.batch_topk > 0.0 ? &s->bare : s->sae));
    }
    /* logits, and what comes of them */
    if (!e->opts.has_loss)
        return SONDE_OK;
    SONDE_TRY(SONDE_NEW(e->clean, N * e->V));
    SONDE_TRY(SONDE_NEW(e->clean_part, N));
    SONDE_TRY(SONDE_NEW(e->ce, N));
    SONDE_TRY(SONDE_NEW(e->kl, N));
    return SONDE_NEW(e->log_sum_exp, N);
}

/* Widths are those of the first one: points that are the same have the same. */
sonde_status sondep_sae_evaluation_open(sondep_sae_evaluation *e, const sonde_model *model, const sonde_sae *const *saes,
                                        sonde_sae_feature *const *features, int64_t n, const sonde_sae_eval_opts *opts)
{
    SONDE_TRY(read_opts(&e->opts, opts));
    if (n < 1)
        return SONDE_FAIL(SONDE_E_ARG, "%lld autoencoders to evaluate", (long long)n);
    SONDE_TRY(SONDE_NEW(e->subjects, n));
    e->n_subjects = n;
    e->D = saes[0]->config.d_in;
    e->O = saes[0]->config.d_out;
    e->V = sonde_model_config(model)->n_vocab;
    for (int64_t i = 0; i < n; i++) {
        e->subjects[i].sae = saes[i];
        e->subjects[i].of_feature = features != NULL ? features[i] : NULL;
        e->S = saes[i]->config.d_sae > e->S ? saes[i]->config.d_sae : e->S;
        /* counts begin at 0 */
        if (e->subjects[i].of_feature != NULL)
            memset(e->subjects[i].of_feature, 0, (size_t)saes[i]->config.d_sae * sizeof **features);
        SONDE_TRY(add_points(e, i, model));
        if (e->opts.batch_topk > 0.0)
            SONDE_TRY(bare_thresholds(&e->subjects[i], e->opts.batch_topk));
    }
    SONDE_TRY(sonde_run_new(&e->run, model));
    return make_room(e);
}

/* Parts that are not there are fine. */
void sondep_sae_evaluation_close(sondep_sae_evaluation *e)
{
    for (int64_t i = 0; i < e->n_subjects; i++) {
        sonde_sae_coder_free(e->subjects[i].coder);
        sondep_free(e->subjects[i].y);
        sondep_free(e->subjects[i].sums);
        sondep_free(e->subjects[i].last_text);
    }
    sonde_run_free(e->run);
    if (e->target != e->x)
        sondep_free(e->target);
    /* the rest is plain memory */
    void *const blocks[] = {e->subjects, e->in,    e->out,        e->tokens, e->lengths, e->rows,        e->x,   e->features,
                            e->row_sums, e->clean, e->clean_part, e->ce,     e->kl,      e->log_sum_exp, e->mean};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        sondep_free(blocks[i]);
}
