/* walk.c - texts through the model and the encoder, as pairs of features and activations.      floor 8: feature
 *
 * A batch of texts goes through the model at once; its measured rows are encoded some at a time, and of the S numbers of a row only
 * those that are not 0 are kept, until all texts of the batch have been told.
 */
#include "feature/feature.h"

enum { BLOCK = 128 }; /* rows that are encoded at a time */

typedef struct walker {
    sondep_walk *walk;
    sonde_run *run;
    sonde_sae_coder *coder;
    int64_t D, S;
    int64_t B, T, n_rows, first_text, offset; /* the batch: texts, longest, measured rows; where its tokens begin */
    int32_t *tokens;                          /* (B,T) */
    int64_t *lengths;
    int64_t token_capacity, row_capacity;
    float *x, *neurons; /* (rows, D), (rows, M) of all tokens of the batch */
    float *features;    /* (BLOCK,S) */
    int64_t *first;     /* (rows + 1) */
    int32_t *feature;
    float *value;
    int64_t n_pairs, pair_capacity;
} walker;

/* Frees what was made. */
static void walker_close(walker *w)
{
    sonde_run_free(w->run);
    sonde_sae_coder_free(w->coder);
    void *const blocks[] = {w->tokens, w->lengths, w->x, w->neurons, w->features, w->first, w->feature, w->value};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        sondep_free(blocks[i]);
}

/* Rows of all real tokens, one behind another. */
static void gather(const walker *w, float *to, const sonde_tensor *x, int64_t width)
{
    for (int64_t b = 0; b < w->B; b++) {
        memcpy(to, (const float *)x->data + b * w->T * width, (size_t)(w->lengths[b] * width) * sizeof *to);
        to += w->lengths[b] * width;
    }
}

/* What the encoder reads. */
static sonde_status on_input(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    walker *w = ctx;

    (void)event;
    gather(w, w->x, x, w->D);
    return SONDE_OK;
}

/* What correlations are taken with. */
static sonde_status on_neurons(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    walker *w = ctx;

    (void)event;
    gather(w, w->neurons, x, w->walk->n_neurons);
    return SONDE_OK;
}

/* Texts from first_text on while they fit, at least one. */
static void fill_batch(walker *w)
{
    const sonde_sae_texts *all = w->walk->texts;
    int64_t at = w->offset;

    w->B = w->T = w->n_rows = 0;
    for (int64_t text = w->first_text; text < all->n; text++) {
        int64_t length = all->lengths[text], T = length > w->T ? length : w->T;
        if (w->B > 0 && (w->B + 1) * T > w->walk->batch)
            break;
        w->lengths[w->B++] = length;
        w->T = T;
        w->n_rows += length;
    }
    for (int64_t b = 0; b < w->B; b++) {
        memcpy(w->tokens + b * w->T, all->tokens + at, (size_t)w->lengths[b] * sizeof *w->tokens);
        at += w->lengths[b];
    }
}

/* More room for pairs. */
static sonde_status grow_pairs(walker *w)
{
    int64_t n = w->pair_capacity > 0 ? 2 * w->pair_capacity : 1 << 16;
    int32_t *feature = sondep_resize(w->feature, n, sizeof *feature);
    float *value;

    if (feature == NULL)
        return SONDE_E_NOMEM;
    w->feature = feature;
    value = sondep_resize(w->value, n, sizeof *value);
    if (value == NULL)
        return SONDE_E_NOMEM;
    w->value = value;
    w->pair_capacity = n;
    return SONDE_OK;
}

/* What of a row's features is not 0; a row that is left out has none. */
static sonde_status list_row(walker *w, int64_t row, const float *features)
{
    const bool *left_out = w->walk->texts->left_out;
    bool is_measured = left_out == NULL || !left_out[w->offset + row];

    for (int64_t s = 0; s < w->S && is_measured; s++) {
        if (features[s] == 0.0f)
            continue;
        if (w->n_pairs == w->pair_capacity)
            SONDE_TRY(grow_pairs(w));
        w->feature[w->n_pairs] = (int32_t)s;
        w->value[w->n_pairs++] = features[s];
    }
    w->first[row + 1] = w->n_pairs;
    return SONDE_OK;
}

/* Pairs of all rows of the batch. */
static sonde_status encode_batch(walker *w)
{
    w->n_pairs = 0;
    w->first[0] = 0;
    for (int64_t row = 0; row < w->n_rows; row += BLOCK) {
        int64_t n = w->n_rows - row < BLOCK ? w->n_rows - row : BLOCK;
        SONDE_TRY(sonde_sae_encode(w->coder, w->features, w->x + row * w->D, n));
        for (int64_t i = 0; i < n; i++)
            SONDE_TRY(list_row(w, row + i, w->features + i * w->S));
    }
    return SONDE_OK;
}

/* Tells each text of the batch. */
static sonde_status tell_texts(walker *w)
{
    const sondep_walk *walk = w->walk;
    int64_t row = 0;

    for (int64_t b = 0; b < w->B; b++) {
        sondep_text text = {.number = w->first_text + b,
                            .n = w->lengths[b],
                            .tokens = walk->texts->tokens + w->offset + row,
                            .left_out = walk->texts->left_out ? walk->texts->left_out + w->offset + row : NULL,
                            .first = w->first + row,
                            .feature = w->feature,
                            .value = w->value,
                            .neurons = walk->neurons ? w->neurons + row * walk->n_neurons : NULL,
                            .M = walk->n_neurons};
        SONDE_TRY(walk->fn(&text, walk->ctx));
        row += w->lengths[b];
    }
    return SONDE_OK;
}

/* Room for the largest batch that there may be. */
static sonde_status make_room(walker *w)
{
    const sondep_walk *walk = w->walk;
    int64_t rows = walk->batch;

    for (int64_t i = 0; i < walk->texts->n; i++)
        rows = walk->texts->lengths[i] > rows ? walk->texts->lengths[i] : rows;
    SONDE_TRY(SONDE_NEW(w->tokens, rows));
    SONDE_TRY(SONDE_NEW(w->lengths, rows + 1));
    SONDE_TRY(SONDE_NEW(w->x, rows * w->D));
    SONDE_TRY(SONDE_NEW(w->neurons, walk->neurons ? rows * walk->n_neurons : 0));
    SONDE_TRY(SONDE_NEW(w->features, BLOCK * w->S));
    return SONDE_NEW(w->first, rows + 1);
}

/* Texts come in their order, whatever fits into a batch. */
sonde_status sondep_walk_texts(sondep_walk *walk)
{
    walker w = {.walk = walk, .D = walk->sae->config.d_in, .S = walk->sae->config.d_sae};
    sonde_status status;

    SONDE_TRY_DONE(make_room(&w));
    SONDE_TRY_DONE(sonde_sae_coder_new(&w.coder, walk->sae));
    SONDE_TRY_DONE(sonde_run_new(&w.run, walk->model));
    SONDE_TRY_DONE(sonde_run_hook(w.run, walk->hook, SONDE_HOOK_READ, on_input, &w, NULL));
    if (walk->neurons != NULL)
        SONDE_TRY_DONE(sonde_run_hook(w.run, walk->neurons, SONDE_HOOK_READ, on_neurons, &w, NULL));
    /* one batch after another: pairs of a batch are forgotten when its texts have been told */
    while (w.first_text < walk->texts->n) {
        fill_batch(&w);
        if (w.n_rows > 0)
            SONDE_TRY_DONE(sonde_run_forward(w.run, w.tokens, w.lengths, w.B, w.T));
        SONDE_TRY_DONE(encode_batch(&w));
        SONDE_TRY_DONE(tell_texts(&w));
        w.first_text += w.B;
        w.offset += w.n_rows;
        walk->n_done += w.n_rows;
        if (walk->progress != NULL)
            SONDE_TRY_DONE(walk->progress(walk->n_done, walk->n_to_do, walk->progress_ctx));
    }
done:
    walker_close(&w);
    return status;
}
