/* lm_evaluate.c - cross-entropy of documents.                                  floor 6: train */
#include "train/lm.h"

#include <math.h>

enum { EVALUATE_TOKENS = 2048 }; /* rows at a time, or one document */

/* What an evaluation holds. */
typedef struct evaluation {
    const sonde_model *model;
    const sonde_tokenizer *tokenizer;
    sondep_lm_batch batch;
    sondep_rope_table rope;
    sondep_arena arena;
    sonde_lm_score score;
    double nats;
} evaluation;

/* Losses of a block of rows; the logits stay as they are. */
static sonde_status measure_rows(const float *logits, int64_t first_row, int64_t n_rows, int64_t n_vocab, void *ctx)
{
    evaluation *e = ctx;
    /* The kernel writes to logits for gradients alone, and none are asked for. */
    sondep_cross_entropy(e->batch.loss + first_row, (float *)logits, n_vocab, e->batch.target + first_row, 1.0f, false,
                         n_rows, n_vocab);
    return SONDE_OK;
}

/* A pass over the documents that are gathered, and their sums. */
static sonde_status measure(evaluation *e)
{
    uint8_t *wanted = NULL;
    sondep_hooks hooks = {.last = -1};
    sondep_pass pass = {.model = e->model,
                        .hooks = &hooks,
                        .batch = &e->batch.rows,
                        .rope = &e->rope,
                        .stream = measure_rows,
                        .stream_ctx = e};
    sonde_status status;

    /* Nobody listens, and logits are looked at a block at a time. */
    SONDE_TRY(SONDE_NEW(wanted, e->model->points.n));
    hooks.wanted = wanted;
    SONDE_TRY_DONE(sondep_arena_reserve(&e->arena, sondep_pass_plan(&pass, NULL)));
    sondep_pass_plan(&pass, &e->arena);
    SONDE_TRY_DONE(sondep_pass_run(&pass));
    /* Sums of what is predicted, in the order of the documents. */
    for (int64_t row = 0; row < e->batch.rows.N; row++) {
        size_t n_bytes = 0;
        /* The end of a document predicts nothing. */
        if (e->batch.target[row] < 0)
            continue;
        e->nats += e->batch.loss[row];
        e->score.n_tokens++;
        if (sonde_tokenizer_bytes(&n_bytes, e->tokenizer, (int32_t)e->batch.target[row]))
            e->score.n_bytes += (int64_t)n_bytes;
    }
    sondep_lm_batch_clear(&e->batch);
done:
    sondep_arena_reset(&e->arena, 0);
    sondep_free(wanted);
    return status;
}

/* Adds a document that begins at `first` of the corpus; what was gathered is measured first where there is no room left. */
static sonde_status add_document(evaluation *e, const sonde_corpus *corpus, int64_t first, int64_t n)
{
    int64_t rows = n < e->model->config.n_context ? n : e->model->config.n_context;

    /* A document that is longer than the context is cut there, as a run would have to cut it. */
    if (e->batch.rows.N + rows > e->batch.capacity)
        SONDE_TRY(measure(e));
    sonde_corpus_read(e->batch.context, corpus, first, rows);
    e->batch.context[rows] = -1; /* what comes behind a document is not predicted */
    sondep_lm_batch_add(&e->batch, e->batch.context, rows, -1);
    e->score.n_documents++;
    return SONDE_OK;
}

sonde_status sonde_lm_evaluate(sonde_lm_score *out, const sonde_model *model, const sonde_corpus *corpus,
                               const sonde_tokenizer *tokenizer, int64_t limit)
{
    int64_t context = model->config.n_context, n = sonde_corpus_n_documents(corpus), first, n_tokens, n_bytes;
    evaluation e = {.model = model, .tokenizer = tokenizer};
    sonde_status status;

    /* Many short documents go together; one that is longer than that goes alone. */
    SONDE_TRY_DONE(sondep_lm_check_vocab(model, corpus));
    SONDE_TRY_DONE(sondep_lm_batch_make(&e.batch, context > EVALUATE_TOKENS ? context : EVALUATE_TOKENS, context));
    SONDE_TRY_DONE(sondep_rope_grow(&e.rope, &model->config, context));
    for (int64_t i = 0; i < n && (limit == 0 || i < limit); i++) {
        sonde_corpus_document(&first, &n_tokens, &n_bytes, corpus, i);
        SONDE_TRY_DONE(add_document(&e, corpus, first, n_tokens));
    }
    if (e.batch.rows.N > 0)
        SONDE_TRY_DONE(measure(&e));
    if (e.score.n_tokens == 0)
        SONDE_TRY_DONE(SONDE_FAIL(SONDE_E_RANGE, "the held-out documents have no token to predict"));
    /* The mean is over tokens, not over documents: long ones count for more. */
    e.score.loss = e.nats / (double)e.score.n_tokens;
    e.score.bits_per_byte = e.nats / (double)e.score.n_bytes / log(2.0);
    *out = e.score;
done:
    sondep_lm_batch_release(&e.batch);
    sondep_rope_release(&e.rope);
    sondep_arena_release(&e.arena);
    return status;
}
