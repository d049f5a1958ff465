/* cmd_heatmap.c - `sonde heatmap`: activations of a text as coloured cells.              floor 10: cli
 *
 * What is drawn follows from the hook points: one point gives tokens x neurons; attention scores and patterns give a panel
 * for each head, queries x keys; several points, or --stat, give points x tokens of a statistic over each token's neurons.
 */
#include "picture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *stat_name, *neurons_text;
static cli_strings head_texts;
static double threshold = 1e-3;

static const cli_option options[] = {
    {"stat", 0, CLI_TEXT, &stat_name, "NAME", 0, 0,
     "draw points x tokens of a statistic: l2, mean, std, max, kurtosis, ..."},
    {"neurons", 0, CLI_TEXT, &neurons_text, "WHICH", 0, 0, "which neurons: 0-63, 3,17,200-210, or top:32 by mean |x|"},
    {"head", 0, CLI_LIST, &head_texts, "N,...", 0, 0, "which heads of attention points (all; may be repeated)"},
    {"threshold", 0, CLI_REAL, &threshold, "X", 0, 1e30, "for --stat below: |x| < X (0.001)"},
    {0},
};

/* A picture in the making: one matrix, or one for each head. Values and labels are its own. */
typedef struct picture {
    const char *kind; /* for JSON */
    sonde_plot_matrix *panels;
    int64_t n_panels;
    float **values;           /* (n_panels) */
    char (*titles)[48];       /* (n_panels) */
    sonde_plot_label *labels; /* rows or columns that are not tokens, or NULL */
    char (*texts)[32];        /* what labels point to */
    sonde_plot_opts opts;
    char title[256], subtitle[256];
} picture;

static void picture_release(picture *p)
{
    for (int64_t i = 0; p->values != NULL && i < p->n_panels; i++)
        free(p->values[i]);
    free(p->values);
    free(p->panels);
    free(p->titles);
    free(p->labels);
    free(p->texts);
}

static sonde_status picture_init(picture *p, const char *kind, int64_t n_panels)
{
    p->kind = kind;
    p->n_panels = n_panels;
    CLI_TRY(CLI_NEW(p->panels, n_panels));
    CLI_TRY(CLI_NEW(p->values, n_panels));
    return CLI_NEW(p->titles, n_panels);
}

/* One text, the points that were asked for, and a run. */
typedef struct view {
    cli_model m;
    const sonde_hook_point *points;
    int64_t n_points, *wanted, n_wanted; /* wanted: indices into points */
    cli_subject *text;
    int64_t n_texts;
    sonde_run *run;
} view;

static const sonde_hook_point *point_at(const view *v, int64_t i)
{
    return &v->points[v->wanted[i]];
}

static int64_t n_rows(const view *v)
{
    return v->text->n - v->text->first;
}

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

    to = from;
    if (is_good && **at == '-') {
        ++*at;
        is_good = take_number(&to, at);
    }
    if (!is_good || (**at != ',' && **at != '\0') || to < from)
        return cli_misuse("option '%s': '%s' is not a list of numbers and ranges, like 0-63 or 3,17", option, piece);
    if (to >= limit)
        return cli_misuse("option '%s' is %lld, outside [0, %lld]", option, (long long)to, (long long)limit - 1);
    for (int64_t i = from; i <= to; i++) {
        CLI_TRY(CLI_GROW(*out, *n, *capacity));
        (*out)[(*n)++] = i;
    }
    *at += **at == ',';
    return SONDE_OK;
}

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
    if (neurons_text != NULL && strncmp(neurons_text, "top:", 4) == 0) {
        int64_t k = strtoll(neurons_text + 4, &end, 10);
        if (end == neurons_text + 4 || *end != '\0' || k < 1)
            return cli_misuse("option '--neurons' is '%s', not top:N with N above 0", neurons_text);
        return top_neurons(out, n, rows, n_tokens, width, k);
    }
    if (neurons_text != NULL)
        return parse_indices(out, n, &capacity, neurons_text, width, "--neurons");
    CLI_TRY(CLI_NEW(*out, width));
    for (; *n < width; ++*n)
        (*out)[*n] = *n;
    return SONDE_OK;
}

/* ---- tokens x neurons -------------------------------------------------------------------------------------------- */

/* Labels of chosen neurons, where numbers from 0 on would be wrong. */
static sonde_status label_neurons(picture *p, const sonde_hook_point *point, const int64_t *neurons, int64_t n)
{
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

static sonde_status build_neurons(picture *p, const view *v)
{
    const sonde_hook_point *point = point_at(v, 0);
    int64_t width, n, *neurons = NULL;
    float *rows = NULL;
    sonde_status status;

    CLI_TRY_DONE(picture_init(p, "tokens x neurons", 1));
    CLI_TRY_DONE(cli_subject_rows(&rows, &width, v->run, point, v->text));
    CLI_TRY_DONE(choose_neurons(&neurons, &n, rows, n_rows(v), width));
    CLI_TRY_DONE(CLI_NEW(p->values[0], n_rows(v) * n));
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
        sonde_moments m = {0};
        CLI_TRY_DONE(sonde_moments_add(&m, rows + t * width, width, threshold, is_attention(point)));
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

    for (int64_t i = 0; i < v->n_wanted; i++)
        are_layers &=
            point_at(v, i)->layer >= 0 && strcmp(cli_hook_suffix(point_at(v, i)), cli_hook_suffix(point_at(v, 0))) == 0;
    for (int64_t i = 0; i < v->n_wanted; i++) {
        snprintf(p->texts[i], sizeof p->texts[i], "L%d", point_at(v, i)->layer);
        p->labels[i] = (sonde_plot_label){are_layers ? p->texts[i] : point_at(v, i)->name, -1};
    }
    return are_layers;
}

static sonde_status build_statistic(picture *p, const view *v, sonde_statistic which)
{
    bool are_layers;

    CLI_TRY(picture_init(p, "points x tokens", 1));
    CLI_TRY(CLI_NEW(p->values[0], v->n_wanted * n_rows(v)));
    CLI_TRY(CLI_NEW(p->labels, v->n_wanted));
    CLI_TRY(CLI_NEW(p->texts, v->n_wanted));
    for (int64_t i = 0; i < v->n_wanted; i++)
        CLI_TRY(fill_statistic(p->values[0] + i * n_rows(v), v, point_at(v, i), which));
    are_layers = label_points(p, v);
    p->panels[0] = (sonde_plot_matrix){.values = p->values[0],
                                       .n_rows = v->n_wanted,
                                       .n_columns = n_rows(v),
                                       .row_labels = p->labels,
                                       .column_labels = v->text->labels + v->text->first};
    p->opts.y_name = are_layers ? "layer" : NULL;
    p->opts.value_name = sonde_statistic_name(which);
    snprintf(p->title, sizeof p->title, "%s of %s%s", sonde_statistic_name(which),
             are_layers && v->n_wanted > 1 ? "blocks.*." : "",
             v->n_wanted == 1 ? point_at(v, 0)->name
             : are_layers     ? cli_hook_suffix(point_at(v, 0))
                              : "activations");
    return SONDE_OK;
}

/* ---- attention, a panel a head ----------------------------------------------------------------------------------- */

/* --head as indices; all where it was not given. Owns: *out (free). */
static sonde_status choose_heads(int64_t **out, int64_t *n, int64_t n_heads)
{
    int64_t capacity = 0;

    *n = 0;
    for (int64_t i = 0; i < head_texts.n; i++)
        CLI_TRY(parse_indices(out, n, &capacity, head_texts.items[i], n_heads, "--head"));
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
    from = (const float *)x.data + head * T * T;
    CLI_TRY(CLI_NEW(p->values[i], n * n));
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

static sonde_status build_attention(picture *p, const view *v)
{
    const sonde_hook_point *point = point_at(v, 0);
    bool is_pattern = strstr(point->name, "hook_pattern") != NULL;
    int64_t *heads = NULL, n_heads;
    sonde_status status;

    CLI_TRY_DONE(choose_heads(&heads, &n_heads, point->width[1]));
    CLI_TRY_DONE(picture_init(p, "attention", v->n_wanted * n_heads));
    for (int64_t i = 0; i < p->n_panels; i++)
        CLI_TRY_DONE(build_head(p, i, v, point_at(v, i / n_heads), heads[i % n_heads]));
    if (v->n_wanted == 1 && p->n_panels > 1)
        p->opts.panel_columns = 0;
    p->opts.x_name = "key: attended to";
    p->opts.y_name = "query";
    p->opts.value_name = is_pattern ? "attention" : "score";
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

static sonde_status refuse(const char *option, const char *why)
{
    return cli_misuse("option '%s' does not go with this picture: %s", option, why);
}

static sonde_status build(picture *p, const view *v)
{
    int64_t n_attention = 0;
    sonde_statistic which = SONDE_STAT_L2;

    for (int64_t i = 0; i < v->n_wanted; i++)
        n_attention += is_attention(point_at(v, i));
    if (stat_name != NULL)
        CLI_TRY(sonde_statistic_parse(&which, stat_name));
    if (head_texts.n > 0 && (stat_name != NULL || n_attention < v->n_wanted))
        return refuse("--head", "it is for attention scores and patterns");
    if (neurons_text != NULL && (stat_name != NULL || v->n_wanted > 1 || n_attention > 0))
        return refuse("--neurons", "it is for one hook point without --stat");
    if (stat_name == NULL && n_attention == v->n_wanted)
        return build_attention(p, v);
    if (stat_name == NULL && v->n_wanted == 1)
        return build_neurons(p, v);
    if (stat_name == NULL)
        cli_note("%lld hook points: drawing the l2 norm of each token (--stat chooses another statistic)",
                 (long long)v->n_wanted);
    return build_statistic(p, v, which);
}

/* ---- output ------------------------------------------------------------------------------------------------------ */

static json_t *labels_json(const sonde_plot_label *labels, int64_t n)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < n; i++) {
        sonde_plot_label label = labels[i];
        if (label.n_bytes < 0)
            label.n_bytes = (int64_t)strlen(label.text);
        json_array_append_new(list, cli_label_json(label));
    }
    return list;
}

static json_t *panel_json(const sonde_plot_matrix *panel)
{
    json_t *out = json_object(), *rows = json_array();

    for (int64_t r = 0; r < panel->n_rows; r++) {
        json_t *row = json_array();
        for (int64_t c = 0; c < panel->n_columns; c++)
            json_array_append_new(row, cli_json_real(panel->values[r * panel->n_columns + c]));
        json_array_append_new(rows, row);
    }
    if (panel->title != NULL)
        json_object_set_new(out, "title", json_string(panel->title));
    json_object_set_new(out, "rows", labels_json(panel->row_labels, panel->n_rows));
    json_object_set_new(out, "columns", labels_json(panel->column_labels, panel->n_columns));
    json_object_set_new(out, "values", rows);
    return out;
}

static sonde_status print_json(const picture *p, const view *v)
{
    json_t *out = cli_json("sonde.heatmap/1"), *hooks = json_array(), *panels = json_array();

    for (int64_t i = 0; i < v->n_wanted; i++)
        json_array_append_new(hooks, json_string(point_at(v, i)->name));
    for (int64_t i = 0; i < p->n_panels; i++)
        json_array_append_new(panels, panel_json(&p->panels[i]));
    json_object_set_new(out, "model", json_string(v->m.path));
    json_object_set_new(out, "kind", json_string(p->kind));
    json_object_set_new(out, "value", json_string(p->opts.value_name));
    json_object_set_new(out, "hooks", hooks);
    json_object_set_new(out, "bos", json_string(cli_bos_text(v->text)));
    json_object_set_new(out, "tokens", cli_subject_json(v->text));
    json_object_set_new(out, "panels", panels);
    json_object_set_new(out, "file", cli_picture.output != NULL ? json_string(cli_picture.output) : json_null());
    return cli_json_write(out);
}

static sonde_status show(picture *p, const view *v)
{
    if (p->opts.title == NULL)
        p->opts.title = p->title;
    snprintf(p->subtitle, sizeof p->subtitle, "%s, %lld tokens, %s", cli_base_name(v->m.path), (long long)n_rows(v),
             cli_bos_text(v->text));
    p->opts.subtitle = p->subtitle;
    if (cli_picture.output != NULL || !cli.json)
        CLI_TRY(cli_draw(p->panels, p->n_panels, &p->opts));
    if (cli.json)
        return print_json(p, v);
    if (cli_picture.output != NULL)
        printf("%s: %s, %lld x %lld%s\n", cli_picture.output, p->opts.title, (long long)p->panels[0].n_rows,
               (long long)p->panels[0].n_columns, p->n_panels > 1 ? " for each head" : "");
    return SONDE_OK;
}

static sonde_status capture(view *v)
{
    CLI_TRY(sonde_run_new(&v->run, v->m.model));
    for (int64_t i = 0; i < v->n_wanted; i++)
        CLI_TRY(sonde_run_capture(v->run, point_at(v, i)->name, NULL));
    return cli_subject_forward(v->run, v->text);
}

static sonde_status run(const cli_call *call)
{
    view v = {0};
    picture p = {0};
    sonde_status status;

    if (cli.hooks.n == 0)
        return cli_misuse("no hook: give '--hook PATTERN', as in --hook resid_post0");
    if (cli_picture.output != NULL && !cli_is_picture(cli_picture.output))
        return cli_misuse("option '--output' is '%s': a picture ends in .png, .svg or .pdf", cli_picture.output);
    CLI_TRY_DONE(cli_picture_opts(&p.opts));
    CLI_TRY_DONE(cli_model_open(&v.m, call->arguments[0]));
    v.points = sonde_model_hook_points(v.m.model, &v.n_points);
    CLI_TRY_DONE(cli_match_hooks(&v.wanted, &v.n_wanted, v.m.model));
    CLI_TRY_DONE(cli_subjects_read(&v.text, &v.n_texts, &v.m, call->arguments + 1, call->n_arguments - 1, 1));
    CLI_TRY_DONE(capture(&v));
    CLI_TRY_DONE(build(&p, &v));
    status = show(&p, &v);
done:
    picture_release(&p);
    sonde_run_free(v.run);
    cli_subjects_free(v.text, v.n_texts);
    free(v.wanted);
    cli_model_close(&v.m);
    return status;
}

const cli_command cli_cmd_heatmap = {
    .name = "heatmap",
    .summary = "activations of a text as a picture: tokens x neurons, layers x tokens, attention of each head",
    .arguments = "MODEL [TEXT]",
    .min_arguments = 1,
    .max_arguments = 2,
    .examples = {"sonde heatmap stories15M \"Once upon a time\" --hook resid_post3 --neurons top:40",
                 "sonde heatmap stories15M \"Once upon a time\" --hook 'blocks.*.hook_resid_post' --stat l2 -o norms.png",
                 "sonde heatmap stories15M \"Once upon a time\" --hook attn2 --head 0,3 -o attention.svg"},
    .options = {options, cli_picture_options, cli_bos_options, cli_hook_options, cli_text_options, cli_model_options},
    .notes =
        "One hook point is drawn as tokens x neurons; attention scores and patterns as queries x keys, a panel for each\n"
        "head; several points, or --stat, as points x tokens of a statistic over each token's neurons (names and formulas:\n"
        "'sonde stats --json', \"definitions\"). Without -o the picture goes to stdout as text, in colour on a terminal.",
    .run = run,
};
