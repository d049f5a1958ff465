/* heatmap_build.c - from captured activations to the matrices, labels and titles of a picture.   floor 10: cli */
#include "heatmap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Takes a picture in any state of the making; a zero one is fine. */
void heatmap_release(picture *p)
{
    for (int64_t i = 0; p->values != NULL && i < p->n_panels; i++)
        free(p->values[i]);
    free(p->values);
    free(p->panels);
    free(p->titles);
    free(p->labels);
    free(p->texts);
}

/* Room for the panels of a picture; their values come one by one. */
static sonde_status picture_init(picture *p, const char *kind, int64_t n_panels)
{
    p->kind = kind;
    p->n_panels = n_panels;
    CLI_TRY(CLI_NEW(p->panels, n_panels));
    CLI_TRY(CLI_NEW(p->values, n_panels));
    return CLI_NEW(p->titles, n_panels);
}

/* `wanted` holds indices into the model's list of points. */
const sonde_hook_point *heatmap_point(const view *v, int64_t i)
{
    return &v->points[v->wanted[i]];
}

/* How many tokens are drawn. */
static int64_t n_rows(const view *v)
{
    return v->text->n - v->text->first;
}

/* Whether a point has a row of keys for each head and query. */
static bool is_attention(const sonde_hook_point *point)
{
    return strcmp(point->axes, "BHTT") == 0;
}

/* ---- which neurons and heads ------------------------------------------------------------------------------------- */

/* One number of a list; false where there is none. */
static bool take_number(int64_t *out, const char **at)
{
    char *end;
    if (**at < '0' || **at > '9')
        return false;
    *out = strtoll(*at, &end, 10);
    *at = end;
    return true;
}

/* Appends a piece "7" or "3-9" of a list to indices. */
static sonde_status append_range(int64_t **out, int64_t *n, int64_t *capacity, const char **at, int64_t limit,
                                 const char *option)
{
    const char *piece = *at;
    int64_t from = 0, to;
    bool is_good = take_number(&from, at);

    /* A single number is a range of one. */
    to = from;
    if (is_good && **at == '-') {
        ++*at;
        is_good = take_number(&to, at);
    }
    /* Whatever follows must be the next piece or the end; the message shows the list from the bad piece on. */
    if (!is_good || (**at != ',' && **at != '\0') || to < from)
        return cli_misuse("option '%s': '%s' is not a list of numbers and ranges, like 0-63 or 3,17", option, piece);
    /* An index beyond the end is an error, never cut: the picture would lack columns that were asked for. */
    if (to >= limit)
        return cli_misuse("option '%s' is %lld, outside [0, %lld]", option, (long long)to, (long long)limit - 1);
    for (int64_t i = from; i <= to; i++) {
        CLI_TRY(CLI_GROW(*out, *n, *capacity));
        (*out)[(*n)++] = i;
    }
    /* Past the comma; a comma at the very end is let pass. */
    *at += **at == ',';
    return SONDE_OK;
}

/* "0-63" or "3,17,200-210" as indices below `limit`, appended to those that are there. */
static sonde_status parse_indices(int64_t **out, int64_t *n, int64_t *capacity, const char *text, int64_t limit,
                                  const char *option)
{
    const char *at = text;
    do
        CLI_TRY(append_range(out, n, capacity, &at, limit, option));
    while (*at != '\0');
    return SONDE_OK;
}

/* The k neurons with the largest mean |x| over the rows. */
static sonde_status top_neurons(int64_t **out, int64_t *n, const float *rows, int64_t n_tokens, int64_t width, int64_t k)
{
    double *size;

    *n = k < width ? k : width;
    CLI_TRY(CLI_NEW(size, width));
    *out = cli_alloc(*n, sizeof **out);
    /* A sum in double for each neuron; no division, since only their order counts. */
    for (int64_t i = 0; i < n_tokens * width; i++)
        size[i % width] += fabs((double)rows[i]);
    if (*out != NULL)
        *n = sonde_top_k(*out, size, width, *n, true);
    free(size);
    return *out != NULL ? SONDE_OK : SONDE_E_NOMEM;
}

/* --neurons as indices; all where it was not given. Owns: *out (free). */
static sonde_status choose_neurons(int64_t **out, int64_t *n, const float *rows, int64_t n_tokens, int64_t width)
{
    int64_t capacity = 0;
    char *end;

    *n = 0;
    /* top:N, a list, or nothing. */
    if (heatmap_asked.neurons != NULL && strncmp(heatmap_asked.neurons, "top:", 4) == 0) {
        int64_t k = strtoll(heatmap_asked.neurons + 4, &end, 10);
        if (end == heatmap_asked.neurons + 4 || *end != '\0' || k < 1)
            return cli_misuse("option '--neurons' is '%s', not top:N with N above 0", heatmap_asked.neurons);
        return top_neurons(out, n, rows, n_tokens, width, k);
    }
    if (heatmap_asked.neurons != NULL)
        return parse_indices(out, n, &capacity, heatmap_asked.neurons, width, "--neurons");
    /* All of them: the identity. */
    CLI_TRY(CLI_NEW(*out, width));
    for (; *n < width; ++*n)
        (*out)[*n] = *n;
    return SONDE_OK;
}

/* ---- tokens x neurons -------------------------------------------------------------------------------------------- */

/* Labels of chosen neurons, where numbers from 0 on would be wrong. */
static sonde_status label_neurons(picture *p, const sonde_hook_point *point, const int64_t *neurons, int64_t n)
{
    /* Points with heads are [B, T, H, h]: a neuron is named head.coordinate, as in `sonde stats`. */
    int64_t width = point->rank == 4 ? point->width[3] : 0;

    CLI_TRY(CLI_NEW(p->labels, n));
    CLI_TRY(CLI_NEW(p->texts, n));
    for (int64_t i = 0; i < n; i++) {
        if (width > 0)
            snprintf(p->texts[i], sizeof p->texts[i], "%lld.%lld", (long long)(neurons[i] / width),
                     (long long)(neurons[i] % width));
        else
            snprintf(p->texts[i], sizeof p->texts[i], "%lld", (long long)neurons[i]);
        p->labels[i] = (sonde_plot_label){p->texts[i], -1};
    }
    return SONDE_OK;
}

/* One point: a row for each token, a column for each chosen neuron. */
static sonde_status build_neurons(picture *p, const view *v)
{
    const sonde_hook_point *point = heatmap_point(v, 0);
    int64_t width, n, *neurons = NULL;
    float *rows = NULL;
    sonde_status status;

    /* All rows come first, since top:N looks at every neuron before it chooses. */
    CLI_TRY_DONE(picture_init(p, "tokens x neurons", 1));
    CLI_TRY_DONE(cli_subject_rows(&rows, &width, v->run, point, v->text));
    CLI_TRY_DONE(choose_neurons(&neurons, &n, rows, n_rows(v), width));
    CLI_TRY_DONE(CLI_NEW(p->values[0], n_rows(v) * n));
    /* The chosen columns of all rows: [tokens, n]. */
    for (int64_t t = 0; t < n_rows(v); t++)
        for (int64_t i = 0; i < n; i++)
            p->values[0][t * n + i] = rows[t * width + neurons[i]];
    CLI_TRY_DONE(label_neurons(p, point, neurons, n));
    p->panels[0] = (sonde_plot_matrix){.values = p->values[0],
                                       .n_rows = n_rows(v),
                                       .n_columns = n,
                                       .row_labels = v->text->labels + v->text->first,
                                       .column_labels = p->labels};
    if (cli_picture.range == NULL) /* a few neurons are often ten times as large as all others */
        p->opts.range = SONDE_PLOT_RANGE_QUANTILE;
    p->opts.x_name = point->rank == 4 ? "neuron (head.coordinate)" : "neuron";
    p->opts.value_name = "activation";
    snprintf(p->title, sizeof p->title, "%s", point->name);
done:
    free(rows);
    free(neurons);
    return status;
}

/* ---- points x tokens of a statistic ------------------------------------------------------------------------------ */

/* The statistic of each token at a point, into one row. */
static sonde_status fill_statistic(float *out, const view *v, const sonde_hook_point *point, sonde_statistic which)
{
    int64_t width;
    float *rows;
    sonde_status status = SONDE_OK;

    CLI_TRY(cli_subject_rows(&rows, &width, v->run, point, v->text));
    for (int64_t t = 0; t < n_rows(v); t++) {
        /* A series of its own for each token: statistics run over the token's neurons. */
        sonde_moments m = {0};
        CLI_TRY_DONE(sonde_moments_add(&m, rows + t * width, width, heatmap_asked.threshold, is_attention(point)));
        out[t] = (float)sonde_moments_get(&m, which);
    }
done:
    free(rows);
    return status;
}

/* "L3" where all points are the same one of different layers, else their names. Returns whether they are. */
static bool label_points(picture *p, const view *v)
{
    bool are_layers = true;

    /* Same name behind "blocks.N." and a layer at all: then the number is enough to tell them apart. */
    for (int64_t i = 0; i < v->n_wanted; i++)
        are_layers &= heatmap_point(v, i)->layer >= 0 &&
                      strcmp(cli_hook_suffix(heatmap_point(v, i)), cli_hook_suffix(heatmap_point(v, 0))) == 0;
    for (int64_t i = 0; i < v->n_wanted; i++) {
        snprintf(p->texts[i], sizeof p->texts[i], "L%d", heatmap_point(v, i)->layer);
        p->labels[i] = (sonde_plot_label){are_layers ? p->texts[i] : heatmap_point(v, i)->name, -1};
    }
    return are_layers;
}

/* Several points: a row for each of them, a column for each token. */
static sonde_status build_statistic(picture *p, const view *v, sonde_statistic which)
{
    bool are_layers;

    CLI_TRY(picture_init(p, "points x tokens", 1));
    CLI_TRY(CLI_NEW(p->values[0], v->n_wanted * n_rows(v)));
    CLI_TRY(CLI_NEW(p->labels, v->n_wanted));
    CLI_TRY(CLI_NEW(p->texts, v->n_wanted));
    /* Row i is point i: [points, tokens]. */
    for (int64_t i = 0; i < v->n_wanted; i++)
        CLI_TRY(fill_statistic(p->values[0] + i * n_rows(v), v, heatmap_point(v, i), which));
    are_layers = label_points(p, v);
    p->panels[0] = (sonde_plot_matrix){.values = p->values[0],
                                       .n_rows = v->n_wanted,
                                       .n_columns = n_rows(v),
                                       .row_labels = p->labels,
                                       .column_labels = v->text->labels + v->text->first};
    p->opts.y_name = are_layers ? "layer" : NULL;
    p->opts.value_name = sonde_statistic_name(which);
    /* "l2 of blocks.*.hook_resid_post"; where the points differ in kind, no one name fits them. */
    snprintf(p->title, sizeof p->title, "%s of %s%s", sonde_statistic_name(which),
             are_layers && v->n_wanted > 1 ? "blocks.*." : "",
             v->n_wanted == 1 ? heatmap_point(v, 0)->name
             : are_layers     ? cli_hook_suffix(heatmap_point(v, 0))
                              : "activations");
    return SONDE_OK;
}

/* ---- attention, a panel a head ----------------------------------------------------------------------------------- */

/* --head as indices; all where it was not given. Owns: *out (free). */
static sonde_status choose_heads(int64_t **out, int64_t *n, int64_t n_heads)
{
    int64_t capacity = 0;

    *n = 0;
    /* Lists of several --head are joined in the order given; a head named twice is drawn twice. */
    for (int64_t i = 0; i < heatmap_asked.heads.n; i++)
        CLI_TRY(parse_indices(out, n, &capacity, heatmap_asked.heads.items[i], n_heads, "--head"));
    if (*n > 0)
        return SONDE_OK;
    CLI_TRY(CLI_NEW(*out, n_heads));
    for (; *n < n_heads; ++*n)
        (*out)[*n] = *n;
    return SONDE_OK;
}

/* Panel i: a head's queries x keys. */
static sonde_status build_head(picture *p, int64_t i, const view *v, const sonde_hook_point *point, int64_t head)
{
    int64_t T = v->text->n, first = v->text->first, n = n_rows(v);
    const float *from;
    sonde_tensor x;

    CLI_TRY(sonde_run_get(&x, v->run, point->name));
    /* [1, H, T, T]: the block of one head. Without BOS its first row and its first column go. */
    from = (const float *)x.data + head * T * T;
    CLI_TRY(CLI_NEW(p->values[i], n * n));
    /* Rows are not scaled to sum to 1 again: what went to BOS stays missing, as the model had it. */
    for (int64_t t = 0; t < n; t++)
        memcpy(p->values[i] + t * n, from + (t + first) * T + first, (size_t)n * sizeof *from);
    snprintf(p->titles[i], sizeof p->titles[i], "L%d H%lld", point->layer, (long long)head);
    p->panels[i] = (sonde_plot_matrix){.values = p->values[i],
                                       .n_rows = n,
                                       .n_columns = n,
                                       .row_labels = v->text->labels + first,
                                       .column_labels = v->text->labels + first,
                                       .is_causal = 1,
                                       .title = p->n_panels > 1 ? p->titles[i] : NULL};
    return SONDE_OK;
}

/* Attention scores or patterns: queries x keys, a panel for each chosen head of each point. */
static sonde_status build_attention(picture *p, const view *v)
{
    const sonde_hook_point *point = heatmap_point(v, 0);
    bool is_pattern = strstr(point->name, "hook_pattern") != NULL;
    int64_t *heads = NULL, n_heads;
    sonde_status status;

    /* All points have the same number of heads: that of the first decides. */
    CLI_TRY_DONE(choose_heads(&heads, &n_heads, point->width[1]));
    CLI_TRY_DONE(picture_init(p, "attention", v->n_wanted * n_heads));
    /* Point by point, and in each head by head. */
    for (int64_t i = 0; i < p->n_panels; i++)
        CLI_TRY_DONE(build_head(p, i, v, heatmap_point(v, i / n_heads), heads[i % n_heads]));
    /* Panels of one point lie as the width allows. */
    if (v->n_wanted == 1 && p->n_panels > 1)
        p->opts.panel_columns = 0;
    p->opts.x_name = "key: attended to";
    p->opts.y_name = "query";
    p->opts.value_name = is_pattern ? "attention" : "score";
    /* One panel has its head in the title; several have it above each. */
    if (p->n_panels == 1)
        snprintf(p->title, sizeof p->title, "%s, head %lld", point->name, (long long)heads[0]);
    else
        snprintf(p->title, sizeof p->title, "%s%s", v->n_wanted > 1 ? "blocks.*." : "",
                 v->n_wanted > 1 ? cli_hook_suffix(point) : point->name);
done:
    free(heads);
    return status;
}

/* ---- which picture ----------------------------------------------------------------------------------------------- */

/* An option that belongs to another kind of picture. */
static sonde_status refuse(const char *option, const char *why)
{
    return cli_misuse("option '%s' does not go with this picture: %s", option, why);
}

/* What is shown decides what is kept: the model runs once, whatever the picture. */
sonde_status heatmap_build(picture *p, const view *v)
{
    int64_t n_attention = 0;
    sonde_statistic which = SONDE_STAT_L2;

    /* Queries x keys are drawn only where every point has them and no statistic is asked for. */
    for (int64_t i = 0; i < v->n_wanted; i++)
        n_attention += is_attention(heatmap_point(v, i));
    if (heatmap_asked.statistic != NULL)
        CLI_TRY(sonde_statistic_parse(&which, heatmap_asked.statistic));
    /* An option that would have no effect is refused rather than ignored. */
    if (heatmap_asked.heads.n > 0 && (heatmap_asked.statistic != NULL || n_attention < v->n_wanted))
        return refuse("--head", "it is for attention scores and patterns");
    if (heatmap_asked.neurons != NULL && (heatmap_asked.statistic != NULL || v->n_wanted > 1 || n_attention > 0))
        return refuse("--neurons", "it is for one hook point without --stat");
    /* From the most particular picture to the most general one. */
    if (heatmap_asked.statistic == NULL && n_attention == v->n_wanted)
        return build_attention(p, v);
    if (heatmap_asked.statistic == NULL && v->n_wanted == 1)
        return build_neurons(p, v);
    /* Points of different width share no columns; a statistic of each token is what they have in common. */
    if (heatmap_asked.statistic == NULL)
        cli_note("%lld hook points: drawing the l2 norm of each token (--stat chooses another statistic)",
                 (long long)v->n_wanted);
    return build_statistic(p, v, which);
}
