/* stats.c - statistics of a hook point over many passes.                       floor 8: analysis
 *
 * Each pass adds its real tokens in order: to a series for each neuron, to one series for all values, and, if asked, as a
 * series of its own with the neurons that were most and least active there. Nothing else of the activations is kept.
 */
#include <sonde/analysis.h>

#include "base/base.h"

#include <math.h>

struct sonde_stats {
    char *name;             /* owned, as are all arrays below */
    sonde_hook_point point; /* name is ours, axes a copy below */
    char axes[SONDE_MAX_RANK + 1];
    sonde_stats_opts opts;
    sonde_moments total, *neurons, *tokens;
    int64_t n_neurons, n_tokens, capacity; /* capacity: tokens that there is room for */
    sonde_activity *most, *least;          /* (n_tokens, top) each */
    int64_t *n_top;                        /* (n_tokens): how many of them are filled in */
    sonde_moments *sequence;               /* (length) of the sequence that is being added */
    int64_t sequence_capacity;
    float *row;     /* values of one token, */
    double *values; /* by what they are ranked, */
    int64_t *order; /* (top) the best of them; taken only if they are kept */
    int64_t row_capacity;
};

/* Whether rows are (head, key) of a query instead of neurons. */
static bool is_attention(const sonde_hook_point *point)
{
    return strcmp(point->axes, "BHTT") == 0;
}

/* ---- hook points ------------------------------------------------------------------------------------------------------ */

int64_t sonde_hook_token(float *out, const sonde_hook_point *point, const sonde_tensor *x, int64_t b, int64_t t,
                         int64_t n_keys)
{
    const float *data = x->data;
    int64_t width = sonde_hook_n_neurons(point);

    if (!is_attention(point)) {
        SONDE_ASSERT(b < x->shape[0] && t < x->shape[1]);
        memcpy(out, data + (b * x->shape[1] + t) * width, (size_t)width * sizeof *out);
        return width;
    }
    /* The keys of each head lie together; queries and heads lie between them. */
    SONDE_ASSERT(b < x->shape[0] && t < x->shape[2] && n_keys <= x->shape[3]);
    for (int64_t head = 0; head < width; head++)
        memcpy(out + head * n_keys, data + ((b * width + head) * x->shape[2] + t) * x->shape[3],
               (size_t)n_keys * sizeof *out);
    return width * n_keys;
}

/* ---- life cycle ------------------------------------------------------------------------------------------------------- */

void sonde_stats_opts_init(sonde_stats_opts *out)
{
    *out = (sonde_stats_opts){.struct_size = sizeof *out, .threshold = 1e-3};
}

/* Options within their bounds, defaults where there are none. */
static sonde_status check_opts(sonde_stats_opts *out, const sonde_stats_opts *opts)
{
    sonde_stats_opts_init(out);
    if (opts == NULL)
        return SONDE_OK;
    if (opts->struct_size != sizeof *opts)
        return SONDE_FAIL(SONDE_E_ARG, "sonde_stats_opts is not initialised: struct_size is %zu, not %zu", opts->struct_size,
                          sizeof *opts);
    if (!(opts->threshold >= 0.0 && isfinite(opts->threshold)))
        return SONDE_FAIL(SONDE_E_ARG, "option 'threshold' is %g, below 0 or not finite", opts->threshold);
    if (opts->rank != SONDE_RANK_ABS && opts->rank != SONDE_RANK_VALUE)
        return SONDE_FAIL(SONDE_E_ARG, "option 'rank' is %lld, outside [0, 1]", (long long)opts->rank);
    if (opts->top < 0)
        return SONDE_FAIL(SONDE_E_ARG, "option 'top' is %lld, below 0", (long long)opts->top);
    *out = *opts;
    return SONDE_OK;
}

sonde_status sonde_stats_new(sonde_stats **out, const sonde_hook_point *point, const sonde_stats_opts *opts)
{
    sonde_stats *stats;
    sonde_status status;

    *out = NULL;
    SONDE_TRY(SONDE_NEW(stats, 1));
    SONDE_TRY_DONE(check_opts(&stats->opts, opts));
    SONDE_TRY_DONE(sondep_copy_string(&stats->name, point->name));
    /* The model that the point borrows from may go before the statistics do. */
    stats->point = *point;
    stats->point.name = stats->name;
    memcpy(stats->axes, point->axes, strnlen(point->axes, SONDE_MAX_RANK));
    stats->point.axes = stats->axes;
    stats->n_neurons = sonde_hook_n_neurons(point);
    SONDE_TRY_DONE(SONDE_NEW(stats->neurons, stats->n_neurons));
    *out = stats;
    stats = NULL;
done:
    sonde_stats_free(stats);
    return status;
}

void sonde_stats_free(sonde_stats *stats)
{
    if (stats == NULL)
        return;
    sondep_free(stats->name);
    sondep_free(stats->neurons);
    sondep_free(stats->tokens);
    sondep_free(stats->most);
    sondep_free(stats->least);
    sondep_free(stats->n_top);
    sondep_free(stats->sequence);
    sondep_free(stats->row);
    sondep_free(stats->values);
    sondep_free(stats->order);
    sondep_free(stats);
}

/* ---- room -------------------------------------------------------------------------------------------------------- */

/* `p` resized to n objects; p is left as it was on failure. */
#define GROW(p, n)                                           \
    do {                                                     \
        void *grown_ = sondep_resize((p), (n), sizeof *(p)); \
        if (grown_ == NULL)                                  \
            return SONDE_E_NOMEM;                            \
        (p) = grown_;                                        \
    } while (0)

/* Room for `more` tokens; doubled, so that adding is cheap on average. */
static sonde_status reserve_tokens(sonde_stats *stats, int64_t more)
{
    int64_t need = stats->n_tokens + more, capacity = stats->capacity * 2 > need ? stats->capacity * 2 : need, n_kept;

    if (!stats->opts.keep_tokens || need <= stats->capacity)
        return SONDE_OK;
    SONDE_TRY(sondep_mul_i64(&n_kept, capacity, stats->opts.top, "the list of active neurons"));
    GROW(stats->tokens, capacity);
    GROW(stats->n_top, capacity);
    GROW(stats->most, n_kept);
    GROW(stats->least, n_kept);
    stats->capacity = capacity;
    return SONDE_OK;
}

/* Room for a sequence, and for a row if its neurons are ranked. */
static sonde_status reserve_sequence(sonde_stats *stats, int64_t length, int64_t width)
{
    if (length > stats->sequence_capacity) {
        GROW(stats->sequence, length);
        stats->sequence_capacity = length;
    }
    if (stats->opts.keep_tokens && stats->opts.top > 0 && width > stats->row_capacity) {
        GROW(stats->row, width);
        GROW(stats->values, width);
        GROW(stats->order, stats->opts.top);
        stats->row_capacity = width;
    }
    return SONDE_OK;
}

/* ---- adding ------------------------------------------------------------------------------------------------------ */

/* Keys of the sequence that has most: its tokens so far and those of this pass. */
static int64_t longest_context(const sonde_hook_event *event)
{
    int64_t longest = 0;
    for (int64_t b = 0; b < event->n_sequences; b++)
        if (event->first_positions[b] + event->lengths[b] > longest)
            longest = event->first_positions[b] + event->lengths[b];
    return longest;
}

/* Shape that x must have: [B, T, ...] or [B, H, T, keys]. */
static sonde_status check_shape(const sonde_stats *stats, const sonde_hook_event *event, const sonde_tensor *x)
{
    const sonde_hook_point *point = &stats->point;
    bool fits = x->dtype == SONDE_F32 && x->rank == point->rank && x->rank >= 2 && x->shape[0] == event->n_sequences;
    char shape[96];

    for (int axis = 1; fits && axis < x->rank; axis++) {
        if (point->axes[axis] != 'T')
            fits = x->shape[axis] == point->width[axis];
        else
            fits = axis == 3 ? x->shape[3] >= longest_context(event) : x->shape[axis] == event->n_positions;
    }
    if (!fits)
        return SONDE_FAIL(SONDE_E_SHAPE, "shapes do not agree: '%s' is %s %s for %lld sequences of %lld tokens", point->name,
                          sonde_dtype_name(x->dtype), sonde_tensor_format_shape(shape, sizeof shape, x),
                          (long long)event->n_sequences, (long long)event->n_positions);
    return SONDE_OK;
}

/* One sequence of a tensor. */
typedef struct slice {
    const sonde_tensor *x;
    int64_t b, length, n_keys; /* keys: of attention points */
} slice;

/* Neurons of the row that are most or least active, with their values. */
static int64_t keep_top(sonde_activity *out, sonde_stats *stats, int64_t width, bool most)
{
    int64_t k = stats->opts.top < width ? stats->opts.top : width;
    k = sonde_top_k(stats->order, stats->values, width, k, most);
    for (int64_t i = 0; i < k; i++)
        out[i] = (sonde_activity){stats->order[i], stats->row[stats->order[i]]};
    return k;
}

/* The series of a token, and which of its neurons were most and least active. */
static void keep_token(sonde_stats *stats, const slice *from, int64_t t)
{
    int64_t i = stats->n_tokens, top = stats->opts.top, width;

    stats->tokens[i] = stats->sequence[t];
    stats->n_top[i] = 0;
    if (top == 0)
        return;
    width = sonde_hook_token(stats->row, &stats->point, from->x, from->b, t, from->n_keys);
    for (int64_t w = 0; w < width; w++) {
        double value = stats->row[w] == -INFINITY ? NAN : stats->row[w]; /* masked: neither most nor least */
        stats->values[w] = stats->opts.rank == SONDE_RANK_ABS ? fabs(value) : value;
    }
    stats->n_top[i] = keep_top(stats->most + i * top, stats, width, true);
    keep_top(stats->least + i * top, stats, width, false);
}

/* Where the values of token t (of one head) lie, one after the other. */
static const float *values_at(const sonde_stats *stats, const slice *from, int64_t head, int64_t t)
{
    const sonde_tensor *x = from->x;
    if (is_attention(&stats->point))
        return (const float *)x->data + ((from->b * x->shape[1] + head) * x->shape[2] + t) * x->shape[3];
    return (const float *)x->data + (from->b * x->shape[1] + t) * stats->n_neurons;
}

/* The series of each token of a sequence, those of its heads joined. Tokens are spread over threads. */
static sonde_status measure_tokens(sonde_stats *stats, const slice *from)
{
    bool masked = is_attention(&stats->point);
    int64_t n_parts = masked ? stats->n_neurons : 1, n = masked ? from->n_keys : stats->n_neurons, bad = from->length;

    /* The error itself is of a thread that may be another: only the place is carried out of the loop. */
#pragma omp parallel for num_threads(sonde_threads()) reduction(min : bad) if (from->length * n_parts * n >= 1 << 16)
    for (int64_t t = 0; t < from->length; t++) {
        stats->sequence[t] = (sonde_moments){0};
        for (int64_t part = 0; part < n_parts; part++)
            if (sonde_moments_add(&stats->sequence[t], values_at(stats, from, part, t), n, stats->opts.threshold, masked) !=
                    SONDE_OK &&
                t < bad)
                bad = t;
    }
    if (bad < from->length)
        return SONDE_FAIL(SONDE_E_NONFINITE, "a number is not finite: '%s' at sequence %lld, position %lld", stats->name,
                          (long long)from->b, (long long)bad);
    return SONDE_OK;
}

/* A run of tokens, to the series of their neurons or heads. All values are known to be finite or masked. */
static sonde_status add_to_neurons(sonde_stats *stats, const slice *from, int64_t first, int64_t n)
{
    double threshold = stats->opts.threshold;

    if (!is_attention(&stats->point))
        return sonde_moments_add_rows(stats->neurons, values_at(stats, from, 0, first), n, stats->n_neurons, threshold);
#pragma omp parallel for num_threads(sonde_threads()) if (stats->n_neurons * n * from->n_keys >= 1 << 16)
    for (int64_t head = 0; head < stats->n_neurons; head++)
        for (int64_t t = first; t < first + n; t++) {
            sonde_status status =
                sonde_moments_add(&stats->neurons[head], values_at(stats, from, head, t), from->n_keys, threshold, true);
            SONDE_ASSERT(status == SONDE_OK);
        }
    return SONDE_OK;
}

/* One sequence: its tokens to their neurons, to the total and, if asked, by themselves. `leave_out` (length) or NULL. */
static sonde_status add_sequence(sonde_stats *stats, const slice *from, const bool *leave_out)
{
    SONDE_TRY(reserve_tokens(stats, from->length));
    SONDE_TRY(reserve_sequence(stats, from->length, stats->n_neurons * (is_attention(&stats->point) ? from->n_keys : 1)));
    SONDE_TRY(measure_tokens(stats, from));
    /* Runs of tokens that count; the one that ends a run is left out. */
    for (int64_t t = 0; t < from->length; t++) {
        int64_t first = t;
        for (; t < from->length && !(leave_out != NULL && leave_out[t]); t++) {
            sonde_moments_merge(&stats->total, &stats->sequence[t]);
            if (stats->opts.keep_tokens)
                keep_token(stats, from, t);
            stats->n_tokens++;
        }
        SONDE_TRY(add_to_neurons(stats, from, first, t - first));
    }
    return SONDE_OK;
}

sonde_status sonde_stats_add(sonde_stats *stats, const sonde_hook_event *event, const sonde_tensor *x, const bool *leave_out)
{
    /* One sequence after the other: the order of tokens does not depend on the batch. */
    SONDE_TRY(check_shape(stats, event, x));
    for (int64_t b = 0; b < event->n_sequences; b++) {
        int64_t length = event->lengths[b];
        slice from = {x, b, length, event->first_positions[b] + length};
        SONDE_TRY(add_sequence(stats, &from, leave_out != NULL ? leave_out + b * event->n_positions : NULL));
    }
    return SONDE_OK;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

const sonde_moments *sonde_stats_total(const sonde_stats *stats)
{
    return &stats->total;
}

const sonde_moments *sonde_stats_neurons(const sonde_stats *stats, int64_t *n_neurons)
{
    *n_neurons = stats->n_neurons;
    return stats->neurons;
}

const sonde_moments *sonde_stats_tokens(const sonde_stats *stats, int64_t *n_tokens)
{
    *n_tokens = stats->n_tokens;
    return stats->opts.keep_tokens ? stats->tokens : NULL;
}

const sonde_activity *sonde_stats_token_top(const sonde_stats *stats, int64_t i, bool most, int64_t *n)
{
    *n = stats->opts.keep_tokens && i >= 0 && i < stats->n_tokens ? stats->n_top[i] : 0;
    if (*n == 0)
        return NULL;
    return (most ? stats->most : stats->least) + i * stats->opts.top;
}
