/* gather.c - what features do on texts: counts, the largest examples, samples by bands, tokens, neurons.     floor 8: feature
 *
 * The first walk knows nothing of a feature beforehand: it adds up, keeps the largest activation of each text in a short list
 * that stays in order, and keeps an eye on the tokens that come most often. The second knows the maximum: it puts activations
 * into bins, draws samples of each band with the same probability for each, takes the activations around every example while
 * the text is there, and counts the candidates among tokens exactly.
 *
 * Texts come in order and one thread adds up, so that sums do not depend on anything else.
 */
#include "feature/feature.h"

#include <math.h>
#include <stdlib.h>

/* ---- the first walk ------------------------------------------------------------------------------------------------------------ */

/* Keeps an eye on a token: it takes the place of the rarest one where all places are taken, and its count. */
static void note_token(sondep_candidates *c, int32_t token)
{
    int least = 0;

    for (int i = 0; i < c->n; i++) {
        if (c->token[i] == token) {
            c->count[i]++;
            return;
        }
        least = c->count[i] < c->count[least] ? i : least;
    }
    if (c->n < SONDEP_CANDIDATES) {
        c->token[c->n] = token;
        c->count[c->n++] = 1;
        return;
    }
    c->token[least] = token;
    c->count[least]++;
}

/* Puts an example among the largest, which lie in order; of equal ones the earlier stays in front. */
static void keep_example(sondep_gathering *g, int64_t s, double value, int64_t text, int32_t position)
{
    sondep_feature *f = &g->features[s];
    sondep_example *e = g->examples + s * g->slots;
    int n = f->n_examples, most = (int)g->opts.n_examples, at;

    if (most == 0 || (n == most && !(value > e[n - 1].value)))
        return;
    for (at = n < most ? n : most - 1; at > 0 && value > e[at - 1].value; at--)
        e[at] = e[at - 1];
    e[at] = (sondep_example){.value = value, .text = text, .position = position};
    f->n_examples = n < most ? n + 1 : most;
}

/* The best position of a feature in the text that has ended. */
static void end_text(sondep_gathering *g, int64_t s)
{
    sondep_feature *f = &g->features[s];

    if (f->best > 0.0)
        keep_example(g, s, f->best, f->last_text - 1, f->best_position);
    f->best = 0.0;
}

/* One position where a feature is on. */
static void add_firing(sondep_gathering *g, const sondep_text *text, int64_t t, int64_t s, double value)
{
    sondep_feature *f = &g->features[s];

    if (f->last_text != text->number + 1) {
        end_text(g, s);
        f->last_text = text->number + 1;
        f->n_texts++;
    }
    f->n_fired++;
    f->sum += value;
    f->squares += value * value;
    f->most = value > f->most ? value : f->most;
    if (value > f->best) {
        f->best = value;
        f->best_position = (int32_t)t;
    }
    note_token(&f->at, text->tokens[t]);
    if (t > 0)
        note_token(&f->before, text->tokens[t - 1]);
    for (int c = 0; c < SONDEP_N_CLASSES; c++)
        f->of_class[c] += g->of_position[t] >> c & 1;
}

/* Sums with the neurons of a position. */
static void add_neurons(sondep_gathering *g, const sondep_text *text, int64_t t)
{
    const float *a = text->neurons + t * text->M;

    for (int64_t j = 0; j < text->M; j++) {
        g->neuron_sums[j] += a[j];
        g->neuron_squares[j] += (double)a[j] * a[j];
    }
#pragma omp parallel for num_threads(sonde_threads()) \
    schedule(static) if ((text->first[t + 1] - text->first[t]) * text->M > 1 << 14)
    for (int64_t i = text->first[t]; i < text->first[t + 1]; i++) {
        double *sums = g->with_neurons + text->feature[i] * text->M, value = fabs((double)text->value[i]);
        for (int64_t j = 0; j < text->M; j++)
            sums[j] += value * a[j];
    }
}

/* Whether a position is measured. */
static bool is_measured(const sondep_text *text, int64_t t)
{
    return text->left_out == NULL || !text->left_out[t];
}

/* A text. */
sonde_status sondep_gather_first(const sondep_text *text, void *ctx)
{
    sondep_gathering *g = ctx;

    sondep_classify_text(g->of_position, g->of_token, text->tokens, text->left_out, text->n, g->tokenizer);
    for (int64_t t = 0; t < text->n; t++) {
        int64_t on = text->first[t + 1] - text->first[t];
        if (!is_measured(text, t))
            continue;
        g->n_positions++;
        g->l0_sum += (double)on;
        g->most_on = on > g->most_on ? on : g->most_on;
        for (int c = 0; c < SONDEP_N_CLASSES; c++)
            g->n_of_class[c] += g->of_position[t] >> c & 1;
        for (int64_t i = text->first[t]; i < text->first[t + 1]; i++)
            add_firing(g, text, t, text->feature[i], fabs((double)text->value[i]));
        if (text->neurons != NULL)
            add_neurons(g, text, t);
    }
    return SONDE_OK;
}

/* ---- between ---------------------------------------------------------------------------------------------------------------------- */

/* Texts first, then places; qsort has no context. */
static const sondep_example *sorted_examples;

/* qsort has no context: what is sorted lies beside. */
static int by_text(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b, p = sorted_examples[x].text, q = sorted_examples[y].text;

    return p != q ? (p < q ? -1 : 1) : x < y ? -1 : x > y;
}

/* Candidates keep their tokens and lose their counts, which were too large. */
sonde_status sondep_gather_between(sondep_gathering *g)
{
    SONDE_TRY(SONDE_NEW(g->by_text, g->S * g->opts.n_examples));
    for (int64_t s = 0; s < g->S; s++) {
        end_text(g, s);
        for (int i = 0; i < g->features[s].n_examples; i++)
            g->by_text[g->n_by_text++] = s * g->slots + i;
        memset(g->features[s].at.count, 0, sizeof g->features[s].at.count);
        memset(g->features[s].before.count, 0, sizeof g->features[s].before.count);
    }
    sorted_examples = g->examples;
    qsort(g->by_text, (size_t)g->n_by_text, sizeof *g->by_text, by_text);
    return SONDE_OK;
}

/* ---- the second walk --------------------------------------------------------------------------------------------------------------- */

/* The activation of feature s at a position: pairs are in order of features. */
static float activation_at(const sondep_text *text, int64_t t, int64_t s)
{
    int64_t low = text->first[t], high = text->first[t + 1];

    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (text->feature[middle] < s)
            low = middle + 1;
        else
            high = middle;
    }
    return low < text->first[t + 1] && text->feature[low] == s ? text->value[low] : 0.0f;
}

/* The window of an example, and the activations in it. */
static void fill_window(sondep_gathering *g, int64_t place, const sondep_text *text)
{
    sondep_example *e = &g->examples[place];
    int64_t first = e->position - g->opts.n_before, end = e->position + g->opts.n_after + 1;

    first = first > 0 ? first : 0;
    end = end < text->n ? end : text->n;
    e->first = (int32_t)first;
    e->width = (int32_t)(end - first);
    for (int64_t t = first; t < end; t++)
        g->acts[place * g->window + t - first] = activation_at(text, t, place / g->slots);
}

/* Band of an activation: 0 is the highest of equal parts of (0, most]. */
static int64_t band_of(const sondep_gathering *g, double value, double most)
{
    int64_t band = (int64_t)((1.0 - value / most) * (double)g->opts.n_bands);

    return band < g->opts.n_bands ? band : g->opts.n_bands - 1;
}

/* Every firing of a band is kept with the same probability (Vitter 1985, algorithm R). */
static void sample(sondep_gathering *g, const sondep_text *text, int64_t t, int64_t s, double value)
{
    sondep_feature *f = &g->features[s];
    int64_t band = band_of(g, value, f->most), seen = f->in_band[band]++, at = seen;

    if (seen >= g->opts.n_in_band)
        at = (int64_t)(sonde_random_uniform(g->opts.seed, (uint64_t)(s * 64 + band), (uint64_t)seen) * (double)(seen + 1));
    if (at >= g->opts.n_in_band)
        return;
    at += s * g->slots + g->opts.n_examples + band * g->opts.n_in_band;
    g->examples[at] = (sondep_example){.value = value, .text = text->number, .position = (int32_t)t};
    fill_window(g, at, text);
}

/* Counts a token, if it is one of the candidates. */
static void count_token(sondep_candidates *c, int32_t token, double value)
{
    for (int i = 0; i < c->n; i++)
        if (c->token[i] == token) {
            c->count[i]++;
            c->sum[i] += value;
            return;
        }
}

/* One position where a feature is on, once more. */
static void add_again(sondep_gathering *g, const sondep_text *text, int64_t t, int64_t s, double value)
{
    sondep_feature *f = &g->features[s];
    int64_t bin = (int64_t)(value / f->most * (double)g->opts.n_bins);

    g->histograms[s * g->opts.n_bins + (bin < g->opts.n_bins ? bin : g->opts.n_bins - 1)]++;
    if (g->opts.n_bands > 0 && g->opts.n_in_band > 0)
        sample(g, text, t, s, value);
    count_token(&f->at, text->tokens[t], value);
    if (t > 0)
        count_token(&f->before, text->tokens[t - 1], value);
}

/* The same text again: its examples are those that come next in the list. */
sonde_status sondep_gather_second(const sondep_text *text, void *ctx)
{
    sondep_gathering *g = ctx;

    for (; g->next_by_text < g->n_by_text && g->examples[g->by_text[g->next_by_text]].text == text->number;
         g->next_by_text++)
        fill_window(g, g->by_text[g->next_by_text], text);
    for (int64_t t = 0; t < text->n; t++) {
        int64_t on = text->first[t + 1] - text->first[t];
        if (!is_measured(text, t))
            continue;
        g->l0_bins[g->most_on > 0 ? on * 63 / g->most_on : 0]++;
        for (int64_t i = text->first[t]; i < text->first[t + 1]; i++)
            add_again(g, text, t, text->feature[i], fabs((double)text->value[i]));
        if (text->number < g->opts.n_documents)
            SONDE_TRY(g->on_position(text, t, g->ctx));
    }
    return SONDE_OK;
}
