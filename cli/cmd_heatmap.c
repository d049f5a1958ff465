/* cmd_heatmap.c - `sonde heatmap`: activations of a text as coloured cells.              floor 10: cli
 *
 * What is drawn follows from the hook points: one point gives tokens x neurons; attention scores and patterns give a panel
 * for each head, queries x keys; several points, or --stat, give points x tokens of a statistic over each token's neurons.
 */
#include "heatmap.h"

#include <stdlib.h>
#include <string.h>

/* What the command line says; the threshold is that of `sonde stats`. */
heatmap_settings heatmap_asked = {.threshold = 1e-3};

static const cli_option options[] = {
    {"stat", 0, CLI_TEXT, &heatmap_asked.statistic, "NAME", 0, 0,
     "draw points x tokens of a statistic: l2, mean, std, max, kurtosis, ..."},
    {"neurons", 0, CLI_TEXT, &heatmap_asked.neurons, "WHICH", 0, 0,
     "which neurons: 0-63, 3,17,200-210, or top:32 by mean |x|"},
    {"head", 0, CLI_LIST, &heatmap_asked.heads, "N,...", 0, 0, "which heads of attention points (all; may be repeated)"},
    {"threshold", 0, CLI_REAL, &heatmap_asked.threshold, "X", 0, 1e30, "for --stat below: |x| < X (0.001)"},
    {0},
};

/* How many tokens are drawn. */
static int64_t n_rows(const view *v)
{
    return v->text->n - v->text->first;
}

/* ---- output ------------------------------------------------------------------------------------------------------ */

/* Labels as JSON strings. */
static json_t *labels_json(const sonde_plot_label *labels, int64_t n)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < n; i++) {
        sonde_plot_label label = labels[i];
        /* Labels made here are C strings, marked by -1; those of tokens are bytes with a length. */
        if (label.n_bytes < 0)
            label.n_bytes = (int64_t)strlen(label.text);
        json_array_append_new(list, cli_label_json(label));
    }
    return list;
}

/* One matrix with its labels; null where a value is not finite. */
static json_t *panel_json(const sonde_plot_matrix *panel)
{
    json_t *out = json_object(), *rows = json_array();

    /* Row by row, as the labels are listed. */
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

/* What is drawn, as numbers. */
static sonde_status print_json(const picture *p, const view *v)
{
    json_t *out = cli_json("sonde.heatmap/1"), *hooks = json_array(), *panels = json_array();

    /* Lists first; then what is drawn, of what, and the panels. */
    for (int64_t i = 0; i < v->n_wanted; i++)
        json_array_append_new(hooks, json_string(heatmap_point(v, i)->name));
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

/* Draws the picture, to its file or as text; with --json only to a file. */
static sonde_status show(picture *p, const view *v)
{
    /* --title wins over the one that follows from the points. */
    if (p->opts.title == NULL)
        p->opts.title = p->title;
    snprintf(p->subtitle, sizeof p->subtitle, "%s, %lld tokens, %s", cli_base_name(v->m.path), (long long)n_rows(v),
             cli_bos_text(v->text));
    p->opts.subtitle = p->subtitle;
    if (cli_picture.output != NULL || !cli.json)
        CLI_TRY(cli_draw(p->panels, p->n_panels, &p->opts));
    /* --json without -o draws nothing: stdout is for the object alone. */
    if (cli.json)
        return print_json(p, v);
    if (cli_picture.output != NULL)
        printf("%s: %s, %lld x %lld%s\n", cli_picture.output, p->opts.title, (long long)p->panels[0].n_rows,
               (long long)p->panels[0].n_columns, p->n_panels > 1 ? " for each head" : "");
    return SONDE_OK;
}

/* One pass that keeps the wanted points. */
static sonde_status capture(view *v)
{
    CLI_TRY(sonde_run_new(&v->run, v->m.model));
    for (int64_t i = 0; i < v->n_wanted; i++)
        CLI_TRY(sonde_run_capture(v->run, heatmap_point(v, i)->name, NULL));
    return cli_subject_forward(v->run, v->text);
}

/* Options are judged before the model is opened, which may take long. */
static sonde_status run(const cli_call *call)
{
    view v = {0};
    picture p = {0};
    sonde_status status;

    if (cli.hooks.n == 0)
        return cli_misuse("no hook: give '--hook PATTERN', as in --hook resid_post0");
    if (cli_picture.output != NULL && !cli_is_picture(cli_picture.output))
        return cli_misuse("option '--output' is '%s': a picture ends in .png, .svg or .pdf", cli_picture.output);
    /* Into the picture at once: building it changes some of them. */
    CLI_TRY_DONE(cli_picture_opts(&p.opts));
    CLI_TRY_DONE(cli_model_open(&v.m, call->arguments[0]));
    v.points = sonde_model_hook_points(v.m.model, &v.n_points);
    CLI_TRY_DONE(cli_match_hooks(&v.wanted, &v.n_wanted, v.m.model));
    /* One text at most: a picture of several would have no one axis of tokens. */
    CLI_TRY_DONE(cli_subjects_read(&v.text, &v.n_texts, &v.m, call->arguments + 1, call->n_arguments - 1, 1));
    CLI_TRY_DONE(capture(&v));
    CLI_TRY_DONE(heatmap_build(&p, &v));
    status = show(&p, &v);
done:
    heatmap_release(&p);
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
    .examples =
        {"sonde heatmap models/stories \"Once upon a time\" --hook resid_post3 --neurons top:40",
         "sonde heatmap models/stories \"Once upon a time\" --hook 'blocks.*.hook_resid_post' --stat l2 -o norms.png",
         "sonde heatmap models/stories \"Once upon a time\" --hook attn2 --head 0,3 -o attention.svg"},
    .options = {options, cli_picture_options, cli_bos_options, cli_hook_options, cli_text_options, cli_model_options},
    .notes =
        "One hook point is drawn as tokens x neurons; attention scores and patterns as queries x keys, a panel for each\n"
        "head; several points, or --stat, as points x tokens of a statistic over each token's neurons (names and formulas:\n"
        "'sonde stats --json', \"definitions\"). Without -o the picture goes to stdout as text, in colour on a terminal.",
    .run = run,
};
