/* generate.c - continuing texts with a cache of keys and values.               floor 6: run
 *
 * Sequences lie side by side in the entries of a batch, in order of their numbers; each has a slot of the cache, which it
 * keeps until it ends. One step:
 *
 *   begin    while entries and slots are free, the next sequences come in with the tokens of their prompts
 *   pass     one for all: new sequences have their prompts as rows, the others the token drawn last
 *   draw     one token for each, from the logits behind its last row
 *   close    those that end are told and leave; the others close up
 *
 * So the batch stays full until no sequence is left to begin. Which token is drawn depends on the logits, the seed, the
 * sequence and the number of its tokens alone; logits of a row do not depend on the rows beside it.
 */
#include "run/run.h"

#include <math.h>

enum {
    WIDTH = 256,         /* sequences side by side where the options name no number */
    ROWS_AT_ONCE = 2048, /* of a pass: more prompts wait for the next one */
    POSITIONS = 4096,    /* whose angles are computed before the first token; those of later ones as they come */
};

void sonde_generate_opts_init(sonde_generate_opts *out)
{
    *out = (sonde_generate_opts){.struct_size = sizeof *out, .stop_id = -1, .temperature = 1.0, .top_p = 1.0};
}

/* A count is not negative. */
static sonde_status check_count(int64_t n, const char *name)
{
    if (n < 0)
        return SONDE_FAIL(SONDE_E_ARG, "option '%s' is %lld, below 0", name, (long long)n);
    return SONDE_OK;
}

/* The caller's options over the defaults, each within its bounds. */
static sonde_status read_opts(sonde_generate_opts *out, const sonde_generate_opts *opts)
{
    sonde_generate_opts_init(out);
    SONDE_TRY(sondep_opts_read(out, sizeof *out, opts, "the struct of generation options"));
    SONDE_TRY(check_count(out->max_tokens, "max_tokens"));
    SONDE_TRY(check_count(out->top_k, "top_k"));
    SONDE_TRY(check_count(out->width, "width"));
    SONDE_TRY(check_count(out->n_stop_ids, "n_stop_ids"));
    if (!(out->temperature >= 0.0 && isfinite(out->temperature)))
        return SONDE_FAIL(SONDE_E_ARG, "option 'temperature' is %g, not a number from 0 on", out->temperature);
    if (!(out->top_p > 0.0 && out->top_p <= 1.0))
        return SONDE_FAIL(SONDE_E_ARG, "option 'top_p' is %g, outside (0, 1]", out->top_p);
    return SONDE_OK;
}

/* ---- a generation ----------------------------------------------------------------------------------------------------------- */

/* A sequence that runs. */
typedef struct entry {
    int64_t sequence, n_drawn;
    int32_t *continuation; /* its new tokens, in the room of its slot; NULL where nobody wants them */
} entry;

typedef struct generation {
    sonde_run *run;
    const sonde_generate_opts *opts;
    const sonde_sequences *from;
    sondep_cache cache;
    sondep_buffer scratch;  /* of draws */
    int32_t *continuations; /* (width, most_new) by slot */
    int64_t width, most_new;
    int64_t n_begun; /* sequences that have come in so far */
    int64_t n;       /* entries of the batch */
    /* (width) by entry of the batch: the cache reads slots, a pass reads the rest */
    entry *entries;
    int64_t *slot, *n_seen, *n_new; /* n_seen: tokens in the cache; n_new: tokens of the next pass */
    int32_t *tokens;                /* (width, longest) of the next pass */
    double *uniform;
    int32_t *drawn;
    int64_t *free_slots; /* (width) */
    int64_t n_free;
} generation;

/* Frees what generation_start made, whole or in part. */
static void generation_release(generation *g)
{
    sondep_cache_release(&g->cache);
    sondep_unmap_block(g->scratch.block, g->scratch.bytes);
    sondep_free(g->continuations);
    sondep_free(g->entries);
    sondep_free(g->slot);
    sondep_free(g->n_seen);
    sondep_free(g->n_new);
    sondep_free(g->tokens);
    sondep_free(g->uniform);
    sondep_free(g->drawn);
    sondep_free(g->free_slots);
}

/* Tokens that one slot of the cache must hold, and new ones that a sequence can get. */
static sonde_status measure_slots(int64_t *capacity, int64_t *most_new, const generation *g)
{
    int64_t context = g->run->model->config.n_context, longest = g->from->longest, most = g->opts->max_tokens;

    if (longest > context)
        return SONDE_FAIL(SONDE_E_RANGE, "a prompt has %lld tokens, more than the model's context of %lld",
                          (long long)longest, (long long)context);
    /* The last token drawn is not fed back, so that max_tokens - 1 places are enough behind the longest prompt. */
    *capacity = most == 0 || most > context - longest ? context : longest + most;
    *most_new = most == 0 || most > context ? context : most;
    return SONDE_OK;
}

/* Makes room for all that the loop needs; the steps allocate nothing of their own. */
static sonde_status generation_start(generation *g)
{
    const sonde_config *c = &g->run->model->config;
    int64_t width = g->opts->width ? g->opts->width : WIDTH, capacity, n_tokens;

    SONDE_TRY(measure_slots(&capacity, &g->most_new, g));
    /* no more slots than sequences */
    g->width = width < g->from->n ? width : g->from->n;
    SONDE_TRY(sondep_mul_i64(&n_tokens, g->width, g->from->longest, "prompts"));
    SONDE_TRY(SONDE_NEW(g->entries, g->width));
    SONDE_TRY(SONDE_NEW(g->slot, g->width));
    SONDE_TRY(SONDE_NEW(g->n_seen, g->width));
    SONDE_TRY(SONDE_NEW(g->n_new, g->width));
    SONDE_TRY(SONDE_NEW(g->tokens, n_tokens));
    SONDE_TRY(SONDE_NEW(g->uniform, g->width));
    SONDE_TRY(SONDE_NEW(g->drawn, g->width));
    SONDE_TRY(SONDE_NEW(g->free_slots, g->width));
    if (g->from->done) {
        SONDE_TRY(sondep_mul_i64(&n_tokens, g->width, g->most_new, "continuations"));
        SONDE_TRY(SONDE_NEW(g->continuations, n_tokens));
    }
    while (g->n_free < g->width) { /* slot 0 is taken first */
        g->free_slots[g->n_free] = g->width - 1 - g->n_free;
        g->n_free++;
    }
    SONDE_TRY(sondep_rope_grow(&g->run->rope, c, capacity < POSITIONS ? capacity : POSITIONS));
    SONDE_TRY(sondep_buffer_grow(&g->scratch, sondep_draw_scratch_bytes(c->n_vocab)));
    SONDE_TRY(sondep_cache_make(&g->cache, c, g->width, capacity));
    g->cache.slot = g->slot;
    return SONDE_OK;
}

/* ---- a step ------------------------------------------------------------------------------------------------------------------ */

/* The next sequence takes an entry and a slot. */
static sonde_status begin_sequence(generation *g)
{
    int64_t i = g->n, longest = g->from->longest, sequence = g->from->first + g->n_begun, n = 0, slot;
    const int32_t *ids = NULL;

    SONDE_TRY(g->from->prompt(&ids, &n, sequence, g->from->ctx));
    if (n < 1)
        return SONDE_FAIL(SONDE_E_ARG, "prompt %lld has no tokens", (long long)sequence);
    if (n > longest)
        return SONDE_FAIL(SONDE_E_ARG, "prompt %lld has %lld tokens, said was at most %lld", (long long)sequence,
                          (long long)n, (long long)longest);
    memcpy(g->tokens + i * longest, ids, (size_t)n * sizeof *ids);
    /* the slot that came free last: its keys are the likeliest to be in a cache */
    slot = g->free_slots[--g->n_free];
    g->entries[i] = (entry){sequence, 0, g->continuations ? g->continuations + slot * g->most_new : NULL};
    g->slot[i] = slot;
    g->n_seen[i] = 0;
    g->n_new[i] = n;
    g->n++;
    g->n_begun++;
    return SONDE_OK;
}

/* Fills the batch, as far as the rows of a pass go. */
static sonde_status begin_sequences(generation *g)
{
    int64_t rows = g->n;

    while (g->n < g->width && g->n_begun < g->from->n && (rows < ROWS_AT_ONCE || g->n == 0)) {
        SONDE_TRY(begin_sequence(g));
        rows += g->n_new[g->n - 1];
    }
    return SONDE_OK;
}

/* One pass over the tokens of all entries. */
static sonde_status run_step(generation *g)
{
    int64_t T = 1, longest = g->from->longest;

    for (int64_t i = 0; i < g->n; i++)
        T = g->n_new[i] > T ? g->n_new[i] : T;
    /* Rows close up to the longest of this pass: a row moves to the front, so that none is overwritten before it moved. */
    for (int64_t i = 0; i < g->n && T < longest; i++)
        memmove(g->tokens + i * T, g->tokens + i * longest, (size_t)g->n_new[i] * sizeof *g->tokens);
    SONDE_TRY(sondep_run_pass(g->run, g->tokens, g->n_new, g->n_seen, g->n, T, &g->cache));
    for (int64_t i = 0; i < g->n; i++)
        g->n_seen[i] += g->n_new[i];
    return SONDE_OK;
}

/* Names the logit of an entry that is not finite. */
static sonde_status fail_nonfinite(const generation *g, int64_t i, const float *logits)
{
    const sondep_points *points = &g->run->model->points;
    int64_t column = sondep_find_nonfinite(logits, g->run->model->config.n_vocab, false);

    return SONDE_FAIL(SONDE_E_NONFINITE, "'%s' is %g at sequence %lld, position %lld, column %lld",
                      points->points[sondep_point(points, SONDEP_POINT_UNEMBED_OUT, 0)].name, (double)logits[column],
                      (long long)g->entries[i].sequence, (long long)(g->n_seen[i] - 1), (long long)column);
}

/* A token for each entry, from the logits of the pass. */
static sonde_status draw_tokens(generation *g)
{
    sondep_draw_rule rule = {g->opts->temperature, g->opts->top_k, g->opts->top_p};
    int64_t V = g->run->model->config.n_vocab;
    const float *logits = g->run->kept_logits.data;

    for (int64_t i = 0; i < g->n; i++)
        g->uniform[i] =
            sonde_random_uniform(g->opts->seed, (uint64_t)g->entries[i].sequence, (uint64_t)g->entries[i].n_drawn);
    /* the numbers of a sequence are its own: no other sequence shifts them */
    sondep_draw(g->drawn, logits, g->n, V, &rule, g->uniform, g->scratch.block);
    for (int64_t i = 0; i < g->n; i++)
        if (g->drawn[i] < 0)
            return fail_nonfinite(g, i, logits + i * V);
    return SONDE_OK;
}

/* Whether a token ends its sequence. */
static bool is_stop(const sonde_generate_opts *opts, int32_t id)
{
    for (int64_t i = 0; i < opts->n_stop_ids; i++)
        if (id == opts->stop_ids[i])
            return true;
    return id == opts->stop_id;
}

/* Tells what was drawn for an entry; *is_last says whether its sequence has ended, with it or for want of room. */
static sonde_status take_token(bool *is_last, generation *g, int64_t i)
{
    const sonde_sequences *from = g->from;
    entry *e = &g->entries[i];
    int32_t id = g->drawn[i];
    bool is_stopped = is_stop(g->opts, id);

    /* the token first, then the whole continuation */
    if (from->token)
        SONDE_TRY(from->token(e->sequence, id, from->ctx));
    if (e->continuation)
        e->continuation[e->n_drawn] = id;
    e->n_drawn++;
    *is_last = is_stopped || e->n_drawn == g->opts->max_tokens || g->n_seen[i] >= g->run->model->config.n_context;
    return *is_last && from->done ? from->done(e->sequence, e->continuation, e->n_drawn, is_stopped, from->ctx) : SONDE_OK;
}

/* Takes all tokens; those sequences that go on close up, each keeping its slot, and have one token for the next pass. */
static sonde_status take_tokens(generation *g)
{
    int64_t kept = 0;
    bool is_last;

    for (int64_t i = 0; i < g->n; i++) {
        SONDE_TRY(take_token(&is_last, g, i));
        if (is_last) {
            g->free_slots[g->n_free++] = g->slot[i];
            continue;
        }
        g->entries[kept] = g->entries[i];
        g->slot[kept] = g->slot[i];
        g->n_seen[kept] = g->n_seen[i];
        g->n_new[kept] = 1;
        g->tokens[kept * g->from->longest] = g->drawn[i];
        kept++;
    }
    g->n = kept;
    return SONDE_OK;
}

/* Steps until no sequence runs and none is left to begin. */
static sonde_status run_steps(generation *g)
{
    SONDE_TRY(begin_sequences(g));
    while (g->n > 0) {
        SONDE_TRY(run_step(g));
        SONDE_TRY(draw_tokens(g));
        SONDE_TRY(take_tokens(g));
        SONDE_TRY(begin_sequences(g));
    }
    return SONDE_OK;
}

sonde_status sonde_generate_many(sonde_run *run, const sonde_sequences *sequences, const sonde_generate_opts *opts)
{
    sonde_generate_opts options;
    generation g = {.run = run, .opts = &options, .from = sequences};
    sonde_logits logits_before = run->logits;
    sonde_status status;

    SONDE_TRY(read_opts(&options, opts));
    if (sequences->n < 0 || sequences->longest < 0 || sequences->first < 0)
        return SONDE_FAIL(SONDE_E_ARG, "%lld sequences from %lld on, with prompts of at most %lld tokens",
                          (long long)sequences->n, (long long)sequences->first, (long long)sequences->longest);
    if (sequences->n == 0)
        return SONDE_OK;
    /* what the caller wants of other passes is put back at the end */
    run->logits = SONDE_LOGITS_LAST;
    SONDE_TRY_DONE(generation_start(&g));
    status = run_steps(&g);
done:
    run->logits = logits_before;
    generation_release(&g);
    return status;
}

/* ---- prompts that lie side by side ------------------------------------------------------------------------------------------- */

typedef struct table {
    const int32_t *prompts;
    const int64_t *lengths; /* NULL: T each */
    int64_t T;
    sonde_token_fn *fn;
    void *ctx;
} table;

/* Rows of the table are its sequences. */
static sonde_status prompt_of_table(const int32_t **ids, int64_t *n, int64_t sequence, void *ctx)
{
    const table *t = ctx;
    *ids = t->prompts + sequence * t->T;
    *n = t->lengths ? t->lengths[sequence] : t->T;
    return SONDE_OK;
}

/* The caller's own function has the caller's own context. */
static sonde_status token_of_table(int64_t sequence, int32_t id, void *ctx)
{
    const table *t = ctx;
    return t->fn(sequence, id, t->ctx);
}

/* What is wrong with a prompt is found before any is continued. */
sonde_status sonde_generate(sonde_run *run, const int32_t *prompts, const int64_t *lengths, int64_t B, int64_t T,
                            const sonde_generate_opts *opts, sonde_token_fn *fn, void *ctx)
{
    table t = {prompts, lengths, T, fn, ctx};
    sonde_sequences sequences = {.n = B, .prompt = prompt_of_table, .token = token_of_table, .ctx = &t};
    int64_t context = run->model->config.n_context;

    for (int64_t b = 0; b < B; b++) {
        int64_t length = lengths ? lengths[b] : T;
        if (length < 1)
            return SONDE_FAIL(SONDE_E_ARG, "prompt %lld has no tokens", (long long)b);
        if (length > T)
            return SONDE_FAIL(SONDE_E_ARG, "prompt %lld has length %lld, outside [1, %lld]", (long long)b, (long long)length,
                              (long long)T);
        if (length > context)
            return SONDE_FAIL(SONDE_E_RANGE, "prompt %lld has %lld tokens, more than the model's context of %lld",
                              (long long)b, (long long)length, (long long)context);
        sequences.longest = length > sequences.longest ? length : sequences.longest;
    }
    return sonde_generate_many(run, &sequences, opts);
}
