/* generate.c - continuing texts with a cache of keys and values.               floor 6: run
 *
 * The prompts go through the model once; after that each step is one row for each sequence that still runs. Which token is
 * drawn depends on the logits, the seed, the sequence and the step alone, not on the other sequences of the batch.
 *
 * Filters come in the order of transformers: temperature, then the k likeliest, then the smallest set of probability p. A
 * draw takes one uniform number, (seed, sequence, step), and walks the cumulative probabilities in double.
 */
#include "run/run.h"

#include <math.h>
#include <stdlib.h>

void sonde_generate_opts_init(sonde_generate_opts *out)
{
    *out = (sonde_generate_opts){.struct_size = sizeof *out, .stop_id = -1, .temperature = 1.0, .top_p = 1.0};
}

/* The caller's options over the defaults, each within its bounds. */
static sonde_status read_opts(sonde_generate_opts *out, const sonde_generate_opts *opts)
{
    sonde_generate_opts_init(out);
    if (opts == NULL)
        return SONDE_OK;
    if (opts->struct_size < sizeof opts->struct_size || opts->struct_size > sizeof *out)
        return SONDE_FAIL(SONDE_E_ARG, "generation options have struct_size %zu, expected at most %zu", opts->struct_size,
                          sizeof *out);
    memcpy(out, opts, opts->struct_size);
    if (out->max_tokens < 0)
        return SONDE_FAIL(SONDE_E_ARG, "option 'max_tokens' is %lld, below 0", (long long)out->max_tokens);
    if (out->top_k < 0)
        return SONDE_FAIL(SONDE_E_ARG, "option 'top_k' is %lld, below 0", (long long)out->top_k);
    if (!(out->temperature >= 0.0 && isfinite(out->temperature)))
        return SONDE_FAIL(SONDE_E_ARG, "option 'temperature' is %g, not a number from 0 on", out->temperature);
    if (!(out->top_p > 0.0 && out->top_p <= 1.0))
        return SONDE_FAIL(SONDE_E_ARG, "option 'top_p' is %g, outside (0, 1]", out->top_p);
    return SONDE_OK;
}

/* ---- drawing a token -------------------------------------------------------------------------------------------------------- */

/* A token that may be drawn. */
typedef struct candidate {
    float logit;
    int32_t id;
} candidate;

/* Likelier first; the lower id first among equals. */
static int by_logit(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit < y->logit ? 1 : -1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* The id of the largest logit; the lower id among equals. */
static int32_t likeliest(const float *logits, int64_t V)
{
    int64_t best = 0;
    for (int64_t i = 1; i < V; i++)
        best = logits[i] > logits[best] ? i : best;
    return (int32_t)best;
}

/* Keeps the k likeliest, and whatever ties with the last of them; gives how many. The list is sorted. */
static int64_t keep_top_k(const candidate *sorted, int64_t n, int64_t k)
{
    int64_t kept = k < n ? k : n;
    while (kept > 0 && kept < n && sorted[kept].logit == sorted[kept - 1].logit)
        kept++;
    return kept;
}

/* Keeps the smallest set whose probability is at least p: a token stays while those before it hold less than p. */
static int64_t keep_top_p(const candidate *sorted, int64_t n, double p, double temperature)
{
    double total = 0.0, before = 0.0;
    int64_t kept = 0;

    /* Relative to the largest logit, so that no exponential overflows. */
    for (int64_t i = 0; i < n; i++)
        total += exp((sorted[i].logit - sorted[0].logit) / temperature);
    while (kept < n && (kept == 0 || before < p * total)) {
        before += exp((sorted[kept].logit - sorted[0].logit) / temperature);
        kept++;
    }
    return kept;
}

/* Draws by a uniform number in [0, 1) from n candidates in the order in which they stand. */
static int32_t draw(const candidate *list, int64_t n, double temperature, double uniform)
{
    double most = -INFINITY, total = 0.0, sum = 0.0;
    int64_t i;

    for (i = 0; i < n; i++)
        most = list[i].logit > most ? list[i].logit : most;
    for (i = 0; i < n; i++)
        total += exp((list[i].logit - most) / temperature);
    /* The last candidate takes what rounding leaves. */
    for (i = 0; i < n - 1; i++) {
        sum += exp((list[i].logit - most) / temperature);
        if (uniform * total < sum)
            break;
    }
    return list[i].id;
}

/* One token from one row of logits; `list` is room for V candidates. */
static int32_t next_token(candidate *list, const float *logits, int64_t V, const sonde_generate_opts *opts, double uniform)
{
    int64_t n = V;

    /* Greedy: no filter can remove the likeliest token. */
    if (opts->temperature == 0.0)
        return likeliest(logits, V);
    for (int64_t i = 0; i < V; i++)
        list[i] = (candidate){logits[i], (int32_t)i};
    /* Only filters need an order; drawing from all tokens takes them by id. */
    if (opts->top_k > 0 || opts->top_p < 1.0)
        qsort(list, (size_t)V, sizeof *list, by_logit);
    if (opts->top_k > 0)
        n = keep_top_k(list, n, opts->top_k);
    if (opts->top_p < 1.0)
        n = keep_top_p(list, n, opts->top_p, opts->temperature);
    return draw(list, n, opts->temperature, uniform);
}

/* ---- the loop ----------------------------------------------------------------------------------------------------------------- */

/* The sequences that still run: entry i of the batch is sequence slot[i]. */
typedef struct generation {
    sonde_run *run;
    const sonde_generate_opts *opts;
    sonde_token_fn *fn;
    void *ctx;
    sondep_cache cache;
    candidate *list;  /* (V) */
    int64_t *slot;    /* (B) */
    int64_t *n_seen;  /* (B) tokens in the cache, by batch entry */
    int64_t *n_drawn; /* (B) by batch entry */
    int32_t *next;    /* (B) by batch entry */
    int64_t n;
} generation;

/* Frees what generation_start made, whole or in part. */
static void generation_release(generation *g)
{
    sondep_cache_release(&g->cache);
    sondep_free(g->list);
    sondep_free(g->slot);
    sondep_free(g->n_seen);
    sondep_free(g->n_drawn);
    sondep_free(g->next);
}

/* Draws a token for each running sequence from the logits of the last pass, tells it, and drops those that end. */
static sonde_status draw_tokens(generation *g)
{
    int64_t V = g->run->model->config.n_vocab, context = g->run->model->config.n_context, kept = 0;
    const float *logits = g->run->kept_logits.data;

    for (int64_t i = 0; i < g->n; i++) {
        int64_t sequence = g->slot[i];
        double uniform = sonde_random_uniform(g->opts->seed, (uint64_t)sequence, (uint64_t)g->n_drawn[i]);
        int32_t id = next_token(g->list, logits + i * V, V, g->opts, uniform);
        /* A sequence ends with its stop token, its number of tokens, or the model's context. */
        bool is_last = id == g->opts->stop_id || (g->opts->max_tokens > 0 && g->n_drawn[i] + 1 >= g->opts->max_tokens) ||
                       g->n_seen[i] >= context;

        SONDE_TRY(g->fn(sequence, id, g->ctx));
        if (is_last)
            continue;
        /* Those that go on close up; each keeps its place in the cache. */
        g->slot[kept] = sequence;
        g->n_seen[kept] = g->n_seen[i];
        g->n_drawn[kept] = g->n_drawn[i] + 1;
        g->next[kept] = id;
        kept++;
    }
    g->n = kept;
    return SONDE_OK;
}

/* Makes room for all sequences and runs the prompts through the model. */
static sonde_status generation_start(generation *g, const int32_t *prompts, const int64_t *lengths, int64_t B, int64_t T)
{
    const sonde_config *c = &g->run->model->config;
    int64_t capacity = 0;

    /* Everything that the loop needs; the steps allocate nothing of their own. */
    SONDE_TRY(SONDE_NEW(g->list, c->n_vocab));
    SONDE_TRY(SONDE_NEW(g->slot, B));
    SONDE_TRY(SONDE_NEW(g->n_seen, B));
    SONDE_TRY(SONDE_NEW(g->n_drawn, B));
    SONDE_TRY(SONDE_NEW(g->next, B));
    g->n = B;
    for (int64_t b = 0; b < B; b++) {
        int64_t length = lengths ? lengths[b] : T;
        if (length < 1)
            return SONDE_FAIL(SONDE_E_ARG, "prompt %lld has no tokens", (long long)b);
        if (length > c->n_context)
            return SONDE_FAIL(SONDE_E_RANGE, "prompt %lld has %lld tokens, more than the model's context of %lld",
                              (long long)b, (long long)length, (long long)c->n_context);
        g->slot[b] = b;
        g->n_seen[b] = length;
        capacity = length > capacity ? length : capacity;
    }
    /* The last token drawn is not fed back, so max_tokens - 1 places are enough behind the longest prompt. */
    if (g->opts->max_tokens == 0 || g->opts->max_tokens > c->n_context - capacity)
        capacity = c->n_context;
    else
        capacity += g->opts->max_tokens;
    SONDE_TRY(sondep_cache_make(&g->cache, c, B, capacity));
    g->cache.slot = g->slot;
    return sondep_run_pass(g->run, prompts, lengths, NULL, B, T, &g->cache);
}

sonde_status sonde_generate(sonde_run *run, const int32_t *prompts, const int64_t *lengths, int64_t B, int64_t T,
                            const sonde_generate_opts *opts, sonde_token_fn *fn, void *ctx)
{
    sonde_generate_opts options;
    generation g = {.run = run, .opts = &options, .fn = fn, .ctx = ctx};
    sonde_logits logits_before = run->logits;
    sonde_status status;

    SONDE_TRY(read_opts(&options, opts));
    if (B == 0)
        return SONDE_OK;
    run->logits = SONDE_LOGITS_LAST;
    SONDE_TRY_DONE(generation_start(&g, prompts, lengths, B, T));
    SONDE_TRY_DONE(draw_tokens(&g));
    /* One token for each sequence that still runs. */
    while (g.n > 0) {
        SONDE_TRY_DONE(sondep_run_pass(run, g.next, NULL, g.n_seen, g.n, 1, &g.cache));
        for (int64_t i = 0; i < g.n; i++)
            g.n_seen[i]++;
        SONDE_TRY_DONE(draw_tokens(&g));
    }
done:
    run->logits = logits_before;
    generation_release(&g);
    return status;
}
