/* build.c - a database of features from texts.                                 floor 8: feature
 *
 *   texts -> model -> hook -> encoder -> pairs of each position -> gather.c   counts, examples, samples
 *                      |                                        -> database.c  documents that are kept whole
 *                      +-> neurons of the same layer            -> gather.c   sums for correlations
 *   weights -> weights.c   logits, similar features
 *   all of it -> database.c
 *
 * Two walks over the same texts: what lies in which band, or bin, is known when the maximum is. Nothing of the first walk is
 * kept but what each feature adds up, so that memory does not grow with the texts.
 */
#include "feature/feature.h"

#include "run/run.h"

#include <stdio.h>

/* Memory that sums with neurons may take. */
static const double MOST_WITH_NEURONS = 1 << 30;

/* As sae_vis and Neuronpedia show features, about. */
void sonde_features_opts_init(sonde_features_opts *out)
{
    *out = (sonde_features_opts){.struct_size = sizeof *out,
                                 .n_examples = 20,
                                 .n_bands = 5,
                                 .n_in_band = 4,
                                 .n_before = 16,
                                 .n_after = 8,
                                 .n_bins = 40,
                                 .n_logits = 10,
                                 .n_neighbours = 8,
                                 .n_neurons = 3,
                                 .n_tokens = 10,
                                 .n_documents = 200,
                                 .n_active = 20,
                                 .batch = 1024};
}

/* Numbers within their bounds. */
static sonde_status check_opts(const sonde_features_opts *o)
{
    const struct {
        const char *name;
        int64_t value, least, most;
    } rows[] = {{"n_examples", o->n_examples, 0, 1000},
                {"n_bands", o->n_bands, 0, 64},
                {"n_in_band", o->n_in_band, 0, 1000},
                {"n_before", o->n_before, 0, 1000},
                {"n_after", o->n_after, 0, 1000},
                {"n_bins", o->n_bins, 1, 1000},
                {"n_logits", o->n_logits, 0, 1000},
                {"n_neighbours", o->n_neighbours, 0, 1000},
                {"n_neurons", o->n_neurons, 0, 1000},
                {"n_tokens", o->n_tokens, 0, SONDEP_CANDIDATES},
                {"n_documents", o->n_documents, 0, 1 << 30},
                {"n_active", o->n_active, 0, 1000},
                {"batch", o->batch, 1, 1 << 20}};

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].value < rows[i].least || rows[i].value > rows[i].most)
            return SONDE_FAIL(SONDE_E_ARG, "option '%s' is %lld, outside [%lld, %lld]", rows[i].name,
                              (long long)rows[i].value, (long long)rows[i].least, (long long)rows[i].most);
    return SONDE_OK;
}

/* The hook point by its exact name; its width must be the autoencoder's. */
static sonde_status find_hook(char **out, const sonde_model *model, const char *name, int64_t width, const char *verb)
{
    const sonde_hook_point *point;

    if (*name == '\0')
        return sondep_hint(SONDE_FAIL(SONDE_E_HOOK, "the autoencoder does not say which hook point it %s", verb),
                           "name it: '--hook blocks.3.hook_resid_post'");
    SONDE_TRY(sondep_find_one_point(&point, model, name));
    if (sonde_hook_n_neurons(point) != width)
        return SONDE_FAIL(SONDE_E_SHAPE, "'%s' has %lld numbers for each position, the autoencoder %s %lld", point->name,
                          (long long)sonde_hook_n_neurons(point), verb, (long long)width);
    return sondep_copy_string(out, point->name);
}

/* The MLP's neurons of the layer that the autoencoder reads, if there is room for sums with them. */
static sonde_status find_neurons(sondep_gathering *g)
{
    const sonde_hook_point *point;
    int64_t n;
    char name[64];

    SONDE_TRY(sondep_find_one_point(&point, g->model, g->hook));
    if (point->layer < 0 || g->opts.n_neurons == 0)
        return SONDE_OK;
    snprintf(name, sizeof name, "blocks.%d.mlp.hook_post", point->layer);
    SONDE_TRY(sondep_find_one_point(&point, g->model, name));
    n = sonde_hook_n_neurons(point);
    if ((double)g->S * (double)n * sizeof(double) > MOST_WITH_NEURONS)
        return SONDE_OK;
    g->M = n;
    SONDE_TRY(SONDE_NEW(g->with_neurons, g->S * n));
    SONDE_TRY(SONDE_NEW(g->neuron_sums, n));
    SONDE_TRY(SONDE_NEW(g->neuron_squares, n));
    return sondep_copy_string(&g->neurons, name);
}

/* Room for everything that is gathered. */
static sonde_status make_room(sondep_gathering *g)
{
    const sonde_features_opts *o = &g->opts;
    int64_t longest = 1;

    g->S = g->sae->config.d_sae;
    g->V = sonde_model_config(g->model)->n_vocab;
    g->slots = o->n_examples + o->n_bands * o->n_in_band;
    g->window = o->n_before + 1 + o->n_after;
    for (int64_t i = 0; i < g->texts->n; i++)
        longest = g->texts->lengths[i] > longest ? g->texts->lengths[i] : longest;
    SONDE_TRY(SONDE_NEW(g->of_token, g->V));
    SONDE_TRY(SONDE_NEW(g->of_position, longest));
    SONDE_TRY(SONDE_NEW(g->features, g->S));
    SONDE_TRY(SONDE_NEW(g->examples, g->S * g->slots));
    SONDE_TRY(SONDE_NEW(g->acts, g->S * g->slots * g->window));
    SONDE_TRY(SONDE_NEW(g->histograms, g->S * o->n_bins));
    sondep_classify_tokens(g->of_token, g->tokenizer, g->V);
    return find_neurons(g);
}

/* Frees what was made. */
static void gathering_close(sondep_gathering *g)
{
    void *const blocks[] = {g->hook,        g->hook_out,       g->neurons, g->of_token,   g->of_position,
                            g->features,    g->examples,       g->acts,    g->histograms, g->with_neurons,
                            g->neuron_sums, g->neuron_squares, g->by_text};

    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        sondep_free(blocks[i]);
}

/* A position of a document that is kept whole; the document itself before its first one. */
static sonde_status on_position(const sondep_text *text, int64_t position, void *ctx)
{
    void **both = ctx;
    sondep_database *db = both[0];
    sondep_gathering *g = both[1];
    int64_t *last = both[2];

    if (*last != text->number + 1)
        SONDE_TRY(sondep_database_add_document(db, text));
    *last = text->number + 1;
    return sondep_database_add_active(db, text, position, g->opts.n_active);
}

/* Both walks. */
static sonde_status walk_twice(sondep_gathering *g, sonde_sae_progress_fn *progress, void *ctx)
{
    sondep_walk walk = {.model = g->model,
                        .sae = g->sae,
                        .texts = g->texts,
                        .hook = g->hook,
                        .neurons = g->neurons,
                        .n_neurons = g->M,
                        .batch = g->opts.batch,
                        .fn = sondep_gather_first,
                        .progress = progress,
                        .ctx = g,
                        .progress_ctx = ctx};

    for (int64_t i = 0; i < g->texts->n; i++)
        walk.n_to_do += 2 * g->texts->lengths[i];
    SONDE_TRY(sondep_walk_texts(&walk));
    if (g->n_positions == 0)
        return SONDE_FAIL(SONDE_E_RANGE, "there is no position to measure in %lld texts", (long long)g->texts->n);
    SONDE_TRY(sondep_gather_between(g));
    walk.neurons = NULL;
    walk.fn = sondep_gather_second;
    return sondep_walk_texts(&walk);
}

/* The file is opened before the walks: a folder that cannot be written to is found at once. */
sonde_status sonde_features_build(sonde_features_report *out, const char *path, const sonde_model *model,
                                  const sonde_tokenizer *tokenizer, const sonde_sae *sae, const sonde_sae_texts *texts,
                                  const sonde_features_opts *opts, sonde_sae_progress_fn *progress, void *ctx)
{
    sondep_gathering g = {.model = model, .tokenizer = tokenizer, .sae = sae, .texts = texts};
    const sonde_sae_config *c = &sae->config;
    sondep_database *db = NULL;
    int64_t last_document = 0;
    void *both[3] = {NULL, &g, &last_document};
    sonde_status status;

    *out = (sonde_features_report){0};
    sonde_features_opts_init(&g.opts);
    SONDE_TRY(sondep_opts_read(&g.opts, sizeof g.opts, opts, "the struct of options of features"));
    SONDE_TRY(check_opts(&g.opts));
    SONDE_TRY_DONE(find_hook(&g.hook, model, g.opts.hook ? g.opts.hook : c->hook_name, c->d_in, "reads"));
    if (c->is_transcoder)
        SONDE_TRY_DONE(
            find_hook(&g.hook_out, model, g.opts.hook_out ? g.opts.hook_out : c->hook_name_out, c->d_out, "writes"));
    SONDE_TRY_DONE(make_room(&g));
    SONDE_TRY_DONE(sondep_database_open(&db, path));
    both[0] = db;
    g.on_position = on_position;
    g.ctx = both;
    SONDE_TRY_DONE(walk_twice(&g, progress, ctx));
    SONDE_TRY_DONE(sondep_database_fill(db, out, &g));
    status = sondep_database_commit(db, &out->n_bytes);
done:
    sondep_database_close(db);
    gathering_close(&g);
    return status;
}
