/* database_fill.c - what is known of features once all texts were walked.       floor 8: feature
 *
 * Tables of features, examples and weights from what was gathered; tokens last, by when it is known which occur.
 */
#include "feature/database.h"

#include "run/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- tokens ---------------------------------------------------------------------------------------------------------------------- */

/* An id that occurs. */
static void use(sondep_database *db, const int32_t *ids, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (ids[i] >= 0 && ids[i] < db->V)
            db->is_used[ids[i]] = 1;
}

/* What a token adds to a text, as UTF-8; bytes that are not become \xHH. */
static sonde_status append_token(sondep_string *out, const sonde_tokenizer *tokenizer, int32_t id)
{
    size_t n = 0;
    const char *bytes = id < sonde_tokenizer_n_vocab(tokenizer) ? sonde_tokenizer_bytes(&n, tokenizer, id) : NULL;
    uint32_t c;

    if (bytes == NULL)
        return sondep_string_printf(out, "#%d", id);
    for (size_t at = 0; at < n;) {
        int length = bytes[at] == '\0' ? 0 : sondep_utf8_decode(&c, bytes + at, n - at);
        if (length == 0)
            SONDE_TRY(sondep_string_printf(out, "\\x%02X", (unsigned char)bytes[at]));
        else
            SONDE_TRY(sondep_string_append(out, bytes + at, (size_t)length));
        at += (size_t)(length > 0 ? length : 1);
    }
    return SONDE_OK;
}

/* Texts of several tokens, with something between them. */
static sonde_status join_tokens(sondep_string *out, const sonde_tokenizer *tokenizer, const int32_t *ids, int64_t n,
                                const char *between)
{
    out->n = 0;
    SONDE_TRY(sondep_string_append(out, "", 0));
    for (int64_t i = 0; i < n; i++) {
        if (i > 0)
            SONDE_TRY(sondep_string_append(out, between, strlen(between)));
        SONDE_TRY(append_token(out, tokenizer, ids[i]));
    }
    out->text[out->n] = '\0';
    return SONDE_OK;
}

/* The table of all ids that occur. */
static sonde_status fill_tokens(const sondep_database *db, const sondep_gathering *g)
{
    sondep_string text = {0};
    sonde_status status = SONDE_OK;

    for (int32_t id = 0; id < db->V && status == SONDE_OK; id++) {
        if (!db->is_used[id])
            continue;
        SONDE_TRY_DONE(join_tokens(&text, g->tokenizer, &id, 1, ""));
        sondep_database_put_int(db, INTO_TOKEN, 1, id);
        sondep_database_put_text(db, INTO_TOKEN, 2, text.text);
        status = sondep_database_insert(db, INTO_TOKEN);
    }
done:
    sondep_string_release(&text);
    return status;
}

/* ---- features ------------------------------------------------------------------------------------------------------------------------ */

/* Places of candidates, the most frequent first; of equal ones the lower token. Returns how many there are. */
static int rank_tokens(int *out, const sondep_candidates *c, int64_t most)
{
    int n = 0;

    for (int i = 0; i < c->n; i++) {
        int at = n;
        if (c->count[i] == 0)
            continue;
        for (; at > 0 && (c->count[i] > c->count[out[at - 1]] ||
                          (c->count[i] == c->count[out[at - 1]] && c->token[i] < c->token[out[at - 1]]));
             at--)
            if (at < most)
                out[at] = out[at - 1];
        if (at < most)
            out[at] = i;
        n += n < most;
    }
    return n;
}

/* The tokens that a feature is on at, and those before them; the summary of the first five. */
static sonde_status fill_feature_tokens(sondep_database *db, const sondep_gathering *g, int64_t s, sondep_string *summary)
{
    const sondep_candidates *at = &g->features[s].at, *before = &g->features[s].before;
    int order[SONDEP_CANDIDATES], n = rank_tokens(order, at, g->opts.n_tokens);
    int32_t typical[5];

    /* the summary has the first five, in the same order */
    for (int i = 0; i < n; i++) {
        if (i < 5)
            typical[i] = at->token[order[i]];
        use(db, &at->token[order[i]], 1);
        sondep_database_put_int(db, INTO_TOP, 1, s);
        sondep_database_put_int(db, INTO_TOP, 2, i + 1);
        sondep_database_put_int(db, INTO_TOP, 3, at->token[order[i]]);
        sondep_database_put_int(db, INTO_TOP, 4, at->count[order[i]]);
        sondep_database_put_real(db, INTO_TOP, 5, at->sum[order[i]]);
        SONDE_TRY(sondep_database_insert(db, INTO_TOP));
    }
    SONDE_TRY(join_tokens(summary, g->tokenizer, typical, n < 5 ? n : 5, "\u2009"));
    n = rank_tokens(order, before, g->opts.n_tokens);
    for (int i = 0; i < n; i++) {
        use(db, &before->token[order[i]], 1);
        sondep_database_put_int(db, INTO_BEFORE, 1, s);
        sondep_database_put_int(db, INTO_BEFORE, 2, i + 1);
        sondep_database_put_int(db, INTO_BEFORE, 3, before->token[order[i]]);
        sondep_database_put_int(db, INTO_BEFORE, 4, before->count[order[i]]);
        SONDE_TRY(sondep_database_insert(db, INTO_BEFORE));
    }
    return SONDE_OK;
}

/* The row of a feature, and its histogram. */
static sonde_status fill_feature(const sondep_database *db, const sondep_gathering *g, const sonde_sae_geometry *geometry,
                                 int64_t s, const char *summary)
{
    const sondep_feature *f = &g->features[s];
    double n = (double)f->n_fired;

    sondep_database_put_int(db, INTO_FEATURE, 1, s);
    sondep_database_put_int(db, INTO_FEATURE, 2, f->n_fired);
    sondep_database_put_int(db, INTO_FEATURE, 3, f->n_texts);
    sondep_database_put_real(db, INTO_FEATURE, 4, n / (double)g->n_positions);
    sondep_database_put_real(db, INTO_FEATURE, 5, f->most);
    sondep_database_put_real(db, INTO_FEATURE, 6, n > 0 ? f->sum / n : 0.0);
    sondep_database_put_real(db, INTO_FEATURE, 7, geometry[s].encoder_norm);
    sondep_database_put_real(db, INTO_FEATURE, 8, geometry[s].decoder_norm);
    sondep_database_put_real(db, INTO_FEATURE, 9, geometry[s].encoder_bias);
    sondep_database_put_real(db, INTO_FEATURE, 10, geometry[s].encoder_decoder);
    sondep_database_put_text(db, INTO_FEATURE, 11, summary);
    SONDE_TRY(sondep_database_insert(db, INTO_FEATURE));
    sondep_database_put_int(db, INTO_HISTOGRAM, 1, s);
    sondep_database_put_real(db, INTO_HISTOGRAM, 2, 0.0);
    sondep_database_put_real(db, INTO_HISTOGRAM, 3, f->most);
    sondep_database_put_blob(db, INTO_HISTOGRAM, 4, g->histograms + s * g->opts.n_bins,
                             (size_t)g->opts.n_bins * sizeof *g->histograms);
    return sondep_database_insert(db, INTO_HISTOGRAM);
}

/* Classes in which it is on at all. */
static sonde_status fill_classes(const sondep_database *db, const sondep_gathering *g, int64_t s)
{
    const sondep_feature *f = &g->features[s];

    for (int c = 0; c < SONDEP_N_CLASSES; c++) {
        if (f->of_class[c] == 0)
            continue;
        sondep_database_put_int(db, INTO_FEATURE_CLASS, 1, s);
        sondep_database_put_text(db, INTO_FEATURE_CLASS, 2, sondep_class_name(c));
        sondep_database_put_int(db, INTO_FEATURE_CLASS, 3, f->of_class[c]);
        sondep_database_put_real(
            db, INTO_FEATURE_CLASS, 4,
            log((double)f->of_class[c] / (double)f->n_fired / ((double)g->n_of_class[c] / (double)g->n_positions)));
        SONDE_TRY(sondep_database_insert(db, INTO_FEATURE_CLASS));
    }
    return SONDE_OK;
}

/* Pearson's correlation of feature s and neuron j over all measured positions. */
static double correlation(const sondep_gathering *g, int64_t s, int64_t j)
{
    const sondep_feature *f = &g->features[s];
    double n = (double)g->n_positions;
    double covariance = g->with_neurons[s * g->M + j] - f->sum * g->neuron_sums[j] / n;
    double of_feature = f->squares - f->sum * f->sum / n;
    double of_neuron = g->neuron_squares[j] - g->neuron_sums[j] * g->neuron_sums[j] / n;

    return of_feature > 0.0 && of_neuron > 0.0 ? covariance / sqrt(of_feature * of_neuron) : 0.0;
}

/* The neurons that go with it, or against it, most. */
static sonde_status fill_neurons(const sondep_database *db, const sondep_gathering *g, int64_t s)
{
    int64_t n = g->opts.n_neurons < g->M ? g->opts.n_neurons : g->M, last = -1;
    double bar = INFINITY;

    for (int64_t rank = 1; rank <= n && g->features[s].n_fired > 0; rank++) {
        double best = -1.0;
        int64_t which = -1;
        for (int64_t j = 0; j < g->M; j++) {
            double size = fabs(correlation(g, s, j));
            bool comes_later = size < bar || (size == bar && j > last);
            if (comes_later && size > best) {
                best = size;
                which = j;
            }
        }
        if (which < 0)
            break;
        bar = best;
        last = which;
        sondep_database_put_int(db, INTO_NEURON, 1, s);
        sondep_database_put_int(db, INTO_NEURON, 2, rank);
        sondep_database_put_text(db, INTO_NEURON, 3, g->neurons);
        sondep_database_put_int(db, INTO_NEURON, 4, which);
        sondep_database_put_real(db, INTO_NEURON, 5, correlation(g, s, which));
        SONDE_TRY(sondep_database_insert(db, INTO_NEURON));
    }
    return SONDE_OK;
}

/* ---- examples ------------------------------------------------------------------------------------------------------------------------- */

/* Where the tokens of each text begin. Owns: *out is the caller's. */
static sonde_status find_offsets(int64_t **out, const sonde_sae_texts *texts)
{
    SONDE_TRY(SONDE_NEW(*out, texts->n + 1));
    for (int64_t i = 0; i < texts->n; i++)
        (*out)[i + 1] = (*out)[i] + texts->lengths[i];
    return SONDE_OK;
}

/* One example; those of band 0 are searched for. */
static sonde_status fill_example(sondep_database *db, const sondep_gathering *g, const int64_t *offsets, int64_t place,
                                 int64_t band, int64_t rank, sondep_string *text)
{
    const sondep_example *e = &g->examples[place];
    const int32_t *tokens = g->texts->tokens + offsets[e->text] + e->first;

    /* tokens of windows are shown: their texts must be in the file */
    use(db, tokens, e->width);
    sondep_database_put_int(db, INTO_EXAMPLE, 1, place / g->slots);
    sondep_database_put_int(db, INTO_EXAMPLE, 2, band);
    sondep_database_put_int(db, INTO_EXAMPLE, 3, rank);
    sondep_database_put_int(db, INTO_EXAMPLE, 4, e->text);
    sondep_database_put_int(db, INTO_EXAMPLE, 5, e->position);
    sondep_database_put_real(db, INTO_EXAMPLE, 6, e->value);
    sondep_database_put_int(db, INTO_EXAMPLE, 7, e->first);
    sondep_database_put_blob(db, INTO_EXAMPLE, 8, tokens, (size_t)e->width * sizeof *tokens);
    sondep_database_put_blob(db, INTO_EXAMPLE, 9, g->acts + place * g->window, (size_t)e->width * sizeof *g->acts);
    SONDE_TRY(sondep_database_insert(db, INTO_EXAMPLE));
    if (band > 0)
        return SONDE_OK;
    SONDE_TRY(join_tokens(text, g->tokenizer, tokens, e->width, ""));
    sondep_database_put_text(db, INTO_CONTEXT, 1, text->text);
    sondep_database_put_int(db, INTO_CONTEXT, 2, place / g->slots);
    sondep_database_put_int(db, INTO_CONTEXT, 3, band);
    sondep_database_put_int(db, INTO_CONTEXT, 4, rank);
    return sondep_database_insert(db, INTO_CONTEXT);
}

/* All examples of a feature: the largest, then those of each band that has any. */
static sonde_status fill_examples(sondep_database *db, const sondep_gathering *g, const int64_t *offsets, int64_t s,
                                  sondep_string *text, int64_t *n_examples)
{
    int64_t first = s * g->slots;

    for (int64_t i = 0; i < g->slots; i++) {
        bool is_top = i < g->opts.n_examples;
        int64_t in_bands = i - g->opts.n_examples;
        if (!(g->examples[first + i].value > 0.0))
            continue;
        SONDE_TRY(fill_example(db, g, offsets, first + i, is_top ? 0 : 1 + in_bands / g->opts.n_in_band,
                               1 + (is_top ? i : in_bands % g->opts.n_in_band), text));
        ++*n_examples;
    }
    return SONDE_OK;
}

/* ---- weights ---------------------------------------------------------------------------------------------------------------------------- */

/* Largest logits as ranks 1, 2, ..; smallest as -1, -2, .. */
static sonde_status fill_logits(sondep_database *db, const sondep_gathering *g)
{
    const sonde_hook_point *point;
    int64_t n = g->opts.n_logits;
    int32_t *tokens = NULL;
    float *values = NULL;
    bool has = false;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(tokens, g->S * 2 * n));
    SONDE_TRY_DONE(SONDE_NEW(values, g->S * 2 * n));
    SONDE_TRY_DONE(sondep_find_one_point(&point, g->model, g->hook_out ? g->hook_out : g->hook));
    SONDE_TRY_DONE(sondep_feature_logits(tokens, values, &has, g->model, g->sae, point, n));
    for (int64_t s = 0; s < g->S && has; s++)
        for (int64_t i = 0; i < 2 * n; i++) {
            int64_t at = s * 2 * n + (i < n ? 2 * n - 1 - i : i - n); /* -n .. -1, then 1 .. n: the order of keys */
            if (tokens[at] < 0)
                continue;
            use(db, &tokens[at], 1);
            sondep_database_put_int(db, INTO_LOGIT, 1, s);
            sondep_database_put_int(db, INTO_LOGIT, 2, i < n ? i - n : i - n + 1);
            sondep_database_put_int(db, INTO_LOGIT, 3, tokens[at]);
            sondep_database_put_real(db, INTO_LOGIT, 4, values[at]);
            SONDE_TRY_DONE(sondep_database_insert(db, INTO_LOGIT));
        }
done:
    sondep_free(tokens);
    sondep_free(values);
    return status;
}

/* In the order of keys. */
static sonde_status fill_neighbours(const sondep_database *db, const sondep_gathering *g)
{
    int64_t n = g->opts.n_neighbours;
    int32_t *others = NULL;
    float *cosines = NULL;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(others, g->S * n));
    SONDE_TRY_DONE(SONDE_NEW(cosines, g->S * n));
    SONDE_TRY_DONE(sondep_feature_neighbours(others, cosines, g->sae, n));
    for (int64_t i = 0; i < g->S * n; i++) {
        if (others[i] < 0)
            continue;
        sondep_database_put_int(db, INTO_NEIGHBOUR, 1, i / n);
        sondep_database_put_int(db, INTO_NEIGHBOUR, 2, i % n + 1);
        sondep_database_put_int(db, INTO_NEIGHBOUR, 3, others[i]);
        sondep_database_put_real(db, INTO_NEIGHBOUR, 4, cosines[i]);
        SONDE_TRY_DONE(sondep_database_insert(db, INTO_NEIGHBOUR));
    }
    status = SONDE_OK;
done:
    sondep_free(others);
    sondep_free(cosines);
    return status;
}

/* ---- what it is about -------------------------------------------------------------------------------------------------------------------- */

/* One line of the table meta. */
static sonde_status put_meta(const sondep_database *db, const char *key, const char *value)
{
    sondep_database_put_text(db, INTO_META, 1, key);
    sondep_database_put_text(db, INTO_META, 2, value);
    return sondep_database_insert(db, INTO_META);
}

/* So that it reads back as the same double. */
static sonde_status put_number(const sondep_database *db, const char *key, double value)
{
    char text[64];
    snprintf(text, sizeof text, "%.17g", value);
    return put_meta(db, key, text);
}

/* How many features were on, as 64 equal bins. */
static sonde_status put_l0_bins(const sondep_database *db, const sondep_gathering *g)
{
    sondep_string text = {0};
    sonde_status status = SONDE_OK;

    for (int i = 0; i < 64 && status == SONDE_OK; i++)
        status = sondep_string_printf(&text, "%s%lld", i > 0 ? ", " : "[", (long long)g->l0_bins[i]);
    if (status == SONDE_OK)
        status = sondep_string_printf(&text, "]");
    if (status == SONDE_OK)
        status = put_meta(db, "l0_histogram", text.text);
    sondep_string_release(&text);
    return status;
}

/* Texts, numbers, classes. */
static sonde_status fill_meta(const sondep_database *db, const sondep_gathering *g)
{
    const sonde_sae_config *c = &g->sae->config;
    char hash[20];
    const struct {
        const char *key, *value;
    } texts[] = {{"schema", "sonde.features/1"},
                 {"version", sonde_version()},
                 {"command", g->opts.command},
                 {"model", g->opts.model_path},
                 {"model_name", c->model_name},
                 {"sae", g->opts.sae_path},
                 {"architecture", c->architecture},
                 {"hook", g->hook},
                 {"hook_out", g->hook_out ? g->hook_out : ""},
                 {"corpus", g->opts.corpus},
                 {"created", g->opts.created},
                 {"sae_hash", hash},
                 {"left_out", g->texts->left_out ? "special tokens" : ""}};
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"n_vocab", (double)g->V},
                   {"d_in", (double)c->d_in},
                   {"n_features", (double)g->S},
                   {"n_tokens", (double)g->n_positions},
                   {"n_documents", (double)g->texts->n},
                   {"context_before", (double)g->opts.n_before},
                   {"context_after", (double)g->opts.n_after},
                   {"n_bands", (double)g->opts.n_bands},
                   {"seed", (double)g->opts.seed},
                   {"l0", g->l0_sum / (double)g->n_positions},
                   {"l0_max", (double)g->most_on}};

    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)sonde_sae_hash(g->sae));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        SONDE_TRY(put_meta(db, texts[i].key, texts[i].value));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        SONDE_TRY(put_number(db, numbers[i].key, numbers[i].value));
    for (int k = 0; k < SONDEP_N_CLASSES; k++) {
        sondep_database_put_text(db, INTO_CLASS, 1, sondep_class_name(k));
        sondep_database_put_text(db, INTO_CLASS, 2, sondep_class_what(k));
        sondep_database_put_int(db, INTO_CLASS, 3, g->n_of_class[k]);
        SONDE_TRY(sondep_database_insert(db, INTO_CLASS));
    }
    return put_l0_bins(db, g);
}

/* All rows that belong to one feature. */
static sonde_status fill_one(sondep_database *db, sonde_features_report *report, const sondep_gathering *g,
                             const sonde_sae_geometry *geometry, const int64_t *offsets, int64_t s, sondep_string *text)
{
    report->n_dead += g->features[s].n_fired == 0;
    SONDE_TRY(fill_feature_tokens(db, g, s, text));
    SONDE_TRY(fill_feature(db, g, geometry, s, text->text));
    SONDE_TRY(fill_classes(db, g, s));
    if (g->M > 0)
        SONDE_TRY(fill_neurons(db, g, s));
    return fill_examples(db, g, offsets, s, text, &report->n_examples);
}

/* Tokens last: by then it is known which occur. */
sonde_status sondep_database_fill(sondep_database *db, sonde_features_report *report, const sondep_gathering *g)
{
    sonde_sae_geometry *geometry = NULL;
    int64_t *offsets = NULL;
    sondep_string text = {0};
    sonde_status status;

    db->V = g->V;
    SONDE_TRY_DONE(SONDE_NEW(db->is_used, g->V));
    SONDE_TRY_DONE(SONDE_NEW(geometry, g->S));
    SONDE_TRY_DONE(find_offsets(&offsets, g->texts));
    SONDE_TRY_DONE(sonde_sae_measure_geometry(geometry, g->sae));
    for (int64_t s = 0; s < g->S; s++)
        SONDE_TRY_DONE(fill_one(db, report, g, geometry, offsets, s, &text));
    SONDE_TRY_DONE(fill_logits(db, g));
    SONDE_TRY_DONE(fill_neighbours(db, g));
    for (int64_t i = 0; i < g->texts->n && i < g->opts.n_documents; i++)
        use(db, g->texts->tokens + offsets[i], g->texts->lengths[i]);
    SONDE_TRY_DONE(fill_tokens(db, g));
    SONDE_TRY_DONE(fill_meta(db, g));
    report->n_positions = g->n_positions;
    report->n_documents = g->texts->n;
    report->n_features = g->S;
    report->l0 = g->l0_sum / (double)g->n_positions;
done:
    sondep_string_release(&text);
    sondep_free(geometry);
    sondep_free(offsets);
    return status;
}
