/* cmd_compare.c - `sonde compare`: how alike the activations of tokens, or of layers, are.   floor 10: cli
 *
 * By token: each token of the text (or of the first) against each of the same (or of the second), at one or more points.
 * By layer: the same token at one layer and at another, mean over tokens; with two texts, tokens at the same place.
 */
#include "picture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BY_TOKEN, BY_LAYER };
static int64_t by, measure, n_top = 10;
static const char *positions_text;

static const cli_option options[] = {
    {"by", 0, CLI_CHOICE, &by, "token|layer", 0, 0, "compare tokens with each other, or layers"},
    {"measure", 0, CLI_CHOICE, &measure, "cosine|pearson|l2|relative", 0, 0, "what the matrix and the picture show"},
    {"pos", 0, CLI_TEXT, &positions_text, "N,...", 0, 0, "compare these positions only; -1 is the last token"},
    {"top", 0, CLI_INT, &n_top, "N", 0, 1e6, "most similar pairs of tokens to list (10)"},
    {0},
};

/* One text: chosen positions and, for each point, their rows. */
typedef struct side {
    const cli_subject *text;
    int64_t *positions, n;
    float **rows;             /* (n_wanted): (n, width) */
    int64_t *width;           /* (n_wanted) */
    sonde_plot_label *labels; /* (n) */
} side;

/* A matrix of each measure. */
typedef struct result {
    double *values[SONDE_N_SIMILARITIES];
    int64_t n_rows, n_columns;
} result;

typedef struct comparison {
    cli_model m;
    const sonde_hook_point *points;
    int64_t n_points, *wanted, n_wanted; /* wanted: indices into points */
    cli_subject *texts;
    int64_t n_texts;
    side sides[2];   /* of one text: the second is a copy of the first */
    result *results; /* by token: (n_wanted); by layer: one */
    int64_t n_results;
    char (*layers)[64]; /* labels of the points */
    char what[128];     /* what all points are together: "blocks.*.hook_resid_post", for titles */
} comparison;

static const sonde_hook_point *point_at(const comparison *c, int64_t i)
{
    return &c->points[c->wanted[i]];
}

static void comparison_close(comparison *c)
{
    for (int s = 0; s < 2 && (s == 0 || c->n_texts > 1); s++) {
        for (int64_t i = 0; c->sides[s].rows != NULL && i < c->n_wanted; i++)
            free(c->sides[s].rows[i]);
        free(c->sides[s].rows);
        free(c->sides[s].width);
        free(c->sides[s].positions);
        free(c->sides[s].labels);
    }
    for (int64_t i = 0; c->results != NULL && i < c->n_results; i++)
        for (int k = 0; k < SONDE_N_SIMILARITIES; k++)
            free(c->results[i].values[k]);
    free(c->results);
    free(c->layers);
    free(c->wanted);
    cli_subjects_free(c->texts, c->n_texts);
    cli_model_close(&c->m);
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

/* --pos in the text, or all positions that count. */
static sonde_status choose_positions(side *s)
{
    const cli_subject *text = s->text;

    if (positions_text == NULL) {
        CLI_TRY(CLI_NEW(s->positions, text->n));
        for (int64_t t = text->first; t < text->n; t++)
            s->positions[s->n++] = t;
        return SONDE_OK;
    }
    CLI_TRY(cli_parse_integers(&s->positions, &s->n, positions_text, "--pos"));
    for (int64_t i = 0; i < s->n; i++) {
        int64_t given = s->positions[i];
        if (given < 0)
            s->positions[i] += text->n;
        if (s->positions[i] < 0 || s->positions[i] >= text->n)
            return cli_fail(SONDE_E_RANGE, "position %lld is outside the text of %lld tokens", (long long)given,
                            (long long)text->n);
    }
    return SONDE_OK;
}

/* Rows of the chosen positions at every point. */
static sonde_status take_rows(side *s, const comparison *c, const sonde_run *run)
{
    CLI_TRY(CLI_NEW(s->rows, c->n_wanted));
    CLI_TRY(CLI_NEW(s->width, c->n_wanted));
    CLI_TRY(CLI_NEW(s->labels, s->n));
    for (int64_t i = 0; i < s->n; i++)
        s->labels[i] = s->text->labels[s->positions[i]];
    for (int64_t i = 0; i < c->n_wanted; i++) {
        sonde_tensor x;
        CLI_TRY(sonde_run_get(&x, run, point_at(c, i)->name));
        s->width[i] = sonde_tensor_n_elements(&x) / s->text->n;
        CLI_TRY(CLI_NEW(s->rows[i], s->n * s->width[i]));
        for (int64_t k = 0; k < s->n; k++)
            sonde_hook_token(s->rows[i] + k * s->width[i], point_at(c, i), &x, 0, s->positions[k], s->text->n);
    }
    return SONDE_OK;
}

static sonde_status run_texts(comparison *c)
{
    sonde_run *run;
    sonde_status status;

    CLI_TRY(sonde_run_new(&run, c->m.model));
    for (int64_t i = 0; i < c->n_wanted; i++)
        CLI_TRY_DONE(sonde_run_capture(run, point_at(c, i)->name, NULL));
    for (int64_t s = 0; s < c->n_texts; s++) {
        c->sides[s].text = &c->texts[s];
        CLI_TRY_DONE(choose_positions(&c->sides[s]));
        CLI_TRY_DONE(cli_subject_forward(run, &c->texts[s]));
        CLI_TRY_DONE(take_rows(&c->sides[s], c, run));
    }
    if (c->n_texts == 1)
        c->sides[1] = c->sides[0];
done:
    sonde_run_free(run);
    return status;
}

/* ---- comparing --------------------------------------------------------------------------------------------------- */

static sonde_status result_init(result *r, int64_t rows, int64_t columns)
{
    r->n_rows = rows;
    r->n_columns = columns;
    for (int k = 0; k < SONDE_N_SIMILARITIES; k++)
        CLI_TRY(CLI_NEW(r->values[k], rows * columns));
    return SONDE_OK;
}

static sonde_status compare_tokens(comparison *c)
{
    const side *a = &c->sides[0], *b = &c->sides[1];

    c->n_results = c->n_wanted;
    CLI_TRY(CLI_NEW(c->results, c->n_results));
    for (int64_t i = 0; i < c->n_wanted; i++) {
        if (a->width[i] != b->width[i])
            return cli_fail(SONDE_E_SHAPE, "shapes do not agree: '%s' has rows of %lld and %lld numbers in the two texts",
                            point_at(c, i)->name, (long long)a->width[i], (long long)b->width[i]);
        CLI_TRY(result_init(&c->results[i], a->n, b->n));
        for (int k = 0; k < SONDE_N_SIMILARITIES; k++)
            CLI_TRY(sonde_similarity_matrix(c->results[i].values[k], (sonde_similarity)k, a->rows[i], a->n, b->rows[i], b->n,
                                            a->width[i]));
    }
    return SONDE_OK;
}

/* Mean over tokens of a measure between the row of a token at point i of one side and at point j of the other. Tokens for
 * which it is not defined are left out; NaN if it is for none. */
static sonde_status mean_measure(double *out, const comparison *c, sonde_similarity which, int64_t i, int64_t j)
{
    const side *a = &c->sides[0], *b = &c->sides[1];
    int64_t n = 0, D = a->width[i];
    double sum = 0.0, value;

    for (int64_t t = 0; t < a->n; t++) {
        CLI_TRY(sonde_similarity_of(&value, which, a->rows[i] + t * D, b->rows[j] + t * D, D));
        if (!isnan(value)) {
            sum += value;
            n++;
        }
    }
    *out = n > 0 ? sum / (double)n : NAN;
    return SONDE_OK;
}

/* By layer, tokens are compared place by place: two texts of different length are compared at their last tokens. */
static void pair_tokens(comparison *c)
{
    if (c->sides[0].n == c->sides[1].n)
        return;
    cli_note("the texts have %lld and %lld tokens: comparing their last ones (--pos chooses others)",
             (long long)c->sides[0].n, (long long)c->sides[1].n);
    for (int s = 0; s < 2; s++) {
        side *x = &c->sides[s];
        for (int64_t i = 0; i < c->n_wanted; i++)
            memmove(x->rows[i], x->rows[i] + (x->n - 1) * x->width[i], (size_t)x->width[i] * sizeof(float));
        x->positions[0] = x->positions[x->n - 1];
        x->labels[0] = x->labels[x->n - 1];
        x->n = 1;
    }
}

static sonde_status compare_layers(comparison *c)
{
    result *r;

    for (int64_t i = 0; i < c->n_wanted; i++)
        if (c->sides[0].width[i] != c->sides[0].width[0] || c->sides[1].width[i] != c->sides[0].width[0])
            return cli_fail(
                SONDE_E_SHAPE, "shapes do not agree: '%s' has %lld numbers for each token, '%s' has %lld",
                point_at(c, 0)->name, (long long)c->sides[0].width[0], point_at(c, i)->name,
                (long long)(c->sides[0].width[i] != c->sides[0].width[0] ? c->sides[0].width[i] : c->sides[1].width[i]));
    pair_tokens(c);
    c->n_results = 1;
    CLI_TRY(CLI_NEW(c->results, 1));
    r = &c->results[0];
    CLI_TRY(result_init(r, c->n_wanted, c->n_wanted));
    for (int k = 0; k < SONDE_N_SIMILARITIES; k++)
        for (int64_t i = 0; i < c->n_wanted; i++)
            for (int64_t j = 0; j < c->n_wanted; j++)
                CLI_TRY(mean_measure(&r->values[k][i * c->n_wanted + j], c, (sonde_similarity)k, i, j));
    return SONDE_OK;
}

/* "L3" where all points are the same one of different layers, else the name. */
static sonde_status label_points(comparison *c)
{
    bool are_layers = true;

    CLI_TRY(CLI_NEW(c->layers, c->n_wanted));
    for (int64_t i = 0; i < c->n_wanted; i++)
        are_layers &=
            point_at(c, i)->layer >= 0 && strcmp(cli_hook_suffix(point_at(c, i)), cli_hook_suffix(point_at(c, 0))) == 0;
    for (int64_t i = 0; i < c->n_wanted; i++) {
        if (are_layers)
            snprintf(c->layers[i], sizeof c->layers[i], "L%d", point_at(c, i)->layer);
        else
            snprintf(c->layers[i], sizeof c->layers[i], "%s", point_at(c, i)->name);
    }
    if (c->n_wanted == 1)
        snprintf(c->what, sizeof c->what, "%s", point_at(c, 0)->name);
    else if (are_layers)
        snprintf(c->what, sizeof c->what, "blocks.*.%s", cli_hook_suffix(point_at(c, 0)));
    else
        snprintf(c->what, sizeof c->what, "%lld hook points", (long long)c->n_wanted);
    return SONDE_OK;
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static json_t *matrix_json(const double *values, int64_t n_rows, int64_t n_columns)
{
    json_t *rows = json_array();

    for (int64_t r = 0; r < n_rows; r++) {
        json_t *row = json_array();
        for (int64_t i = 0; i < n_columns; i++)
            json_array_append_new(row, cli_json_real(values[r * n_columns + i]));
        json_array_append_new(rows, row);
    }
    return rows;
}

static void add_measures(json_t *out, const result *r)
{
    for (int k = 0; k < SONDE_N_SIMILARITIES; k++)
        json_object_set_new(out, sonde_similarity_name((sonde_similarity)k),
                            matrix_json(r->values[k], r->n_rows, r->n_columns));
}

static json_t *side_json(const side *s)
{
    json_t *tokens = json_array();

    for (int64_t i = 0; i < s->n; i++)
        json_array_append_new(tokens, json_pack("{s:I, s:i, s:o}", "position", (json_int_t)s->positions[i], "id",
                                                (int)s->text->ids[s->positions[i]], "token", cli_label_json(s->labels[i])));
    return json_pack("{s:s, s:o}", "bos", cli_bos_text(s->text), "tokens", tokens);
}

/* Cell (i, j) of every measure. */
static json_t *pair_json(const comparison *c, const char *from, int64_t i, const char *to, int64_t j)
{
    const result *r = &c->results[0];
    json_t *out = json_pack("{s:s, s:s}", from, point_at(c, i)->name, to, point_at(c, j)->name);

    for (int k = 0; k < SONDE_N_SIMILARITIES; k++)
        json_object_set_new(out, sonde_similarity_name((sonde_similarity)k),
                            cli_json_real(r->values[k][i * r->n_columns + j]));
    return out;
}

/* From each layer to the next; with two texts, each layer of one and of the other. */
static json_t *steps_json(const comparison *c)
{
    json_t *steps = json_array();
    int64_t step = c->n_texts == 1;

    for (int64_t i = 0; i + step < c->n_wanted; i++)
        json_array_append_new(steps, pair_json(c, "from", i, "to", i + step));
    return steps;
}

static sonde_status print_json(const comparison *c)
{
    json_t *out = cli_json("sonde.compare/1"), *texts = json_array(), *hooks = json_array(), *matrices = json_array();

    for (int64_t s = 0; s < c->n_texts; s++)
        json_array_append_new(texts, side_json(&c->sides[s]));
    for (int64_t i = 0; i < c->n_wanted; i++)
        json_array_append_new(hooks, json_string(point_at(c, i)->name));
    for (int64_t i = 0; i < c->n_results; i++) {
        json_t *matrix = json_object();
        if (by == BY_TOKEN)
            json_object_set_new(matrix, "hook", json_string(point_at(c, i)->name));
        add_measures(matrix, &c->results[i]);
        json_array_append_new(matrices, matrix);
    }
    json_object_set_new(out, "model", json_string(c->m.path));
    json_object_set_new(out, "by", json_string(by == BY_TOKEN ? "token" : "layer"));
    json_object_set_new(out, "texts", texts);
    json_object_set_new(out, "hooks", hooks);
    if (by == BY_LAYER)
        json_object_set_new(out, "steps", steps_json(c));
    json_object_set_new(out, "matrices", matrices);
    json_object_set_new(out, "file", cli_picture.output != NULL ? json_string(cli_picture.output) : json_null());
    return cli_json_write(out);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

/* The matrices as tensors of doubles: one for each measure and point ("blocks.0.hook_resid_post.cosine"; by layer "cosine");
 * a .npy has room for one: that of --measure. */
static sonde_status write_tensors(const comparison *c, const char *path)
{
    bool is_npy = strlen(path) > 4 && strcmp(path + strlen(path) - 4, ".npy") == 0;
    int64_t n = 0, capacity = c->n_results * SONDE_N_SIMILARITIES;
    sonde_tensor *tensors = NULL;
    const char **names = NULL;
    char(*texts)[160] = NULL;
    sonde_sink *sink = NULL;
    sonde_status status;

    if (is_npy && c->n_results > 1)
        return cli_misuse("a .npy holds one matrix and there are %lld: name one hook point", (long long)c->n_results);
    CLI_TRY_DONE(CLI_NEW(tensors, capacity));
    CLI_TRY_DONE(CLI_NEW(names, capacity));
    CLI_TRY_DONE(CLI_NEW(texts, capacity));
    for (int64_t i = 0; i < c->n_results; i++) {
        for (int k = is_npy ? (int)measure : 0; k < (is_npy ? (int)measure + 1 : SONDE_N_SIMILARITIES); k++, n++) {
            int64_t shape[] = {c->results[i].n_rows, c->results[i].n_columns};
            snprintf(texts[n], sizeof texts[n], "%s%s%s", by == BY_TOKEN ? point_at(c, i)->name : "",
                     by == BY_TOKEN ? "." : "", sonde_similarity_name((sonde_similarity)k));
            names[n] = texts[n];
            CLI_TRY_DONE(sonde_tensor_view(&tensors[n], c->results[i].values[k], SONDE_F64, shape, 2));
        }
    }
    CLI_TRY_DONE(sonde_sink_open(&sink, path, names, tensors, n, NULL, 0));
    for (int64_t i = 0; i < n; i++)
        CLI_TRY_DONE(sonde_sink_put(sink, i, 0, tensors[i].data, sonde_tensor_n_elements(&tensors[i])));
    status = sonde_sink_commit(sink);
    sink = NULL;
done:
    if (sink != NULL)
        sonde_sink_abort(sink);
    free(tensors);
    free(names);
    free(texts);
    return status;
}

/* The chosen measure of every result as a picture or as text. */
static sonde_status draw(const comparison *c)
{
    sonde_plot_matrix *panels = NULL;
    sonde_plot_label *layers = NULL;
    float **values = NULL;
    sonde_plot_opts opts;
    char title[160], subtitle[256];
    sonde_status status;

    CLI_TRY_DONE(cli_picture_opts(&opts));
    CLI_TRY_DONE(CLI_NEW(panels, c->n_results));
    CLI_TRY_DONE(CLI_NEW(values, c->n_results));
    CLI_TRY_DONE(CLI_NEW(layers, c->n_wanted));
    for (int64_t i = 0; i < c->n_wanted; i++)
        layers[i] = (sonde_plot_label){c->layers[i], -1};
    for (int64_t i = 0; i < c->n_results; i++) {
        const result *r = &c->results[i];
        CLI_TRY_DONE(CLI_NEW(values[i], r->n_rows * r->n_columns));
        for (int64_t k = 0; k < r->n_rows * r->n_columns; k++)
            values[i][k] = (float)r->values[measure][k];
        panels[i] = (sonde_plot_matrix){.values = values[i],
                                        .n_rows = r->n_rows,
                                        .n_columns = r->n_columns,
                                        .row_labels = by == BY_LAYER ? layers : c->sides[0].labels,
                                        .column_labels = by == BY_LAYER ? layers : c->sides[1].labels,
                                        .title = c->n_results > 1 ? c->layers[i] : NULL};
    }
    snprintf(title, sizeof title, "%s %s %s", sonde_similarity_name((sonde_similarity)measure),
             by == BY_LAYER ? "between" : "at", c->what);
    snprintf(subtitle, sizeof subtitle, "%s, %s%s", cli_base_name(c->m.path), cli_bos_text(c->sides[0].text),
             by == BY_LAYER && c->sides[0].n > 1 ? ", mean over tokens" : "");
    opts.title = opts.title != NULL ? opts.title : title;
    opts.subtitle = subtitle;
    opts.x_name = c->n_texts > 1 ? "second text" : NULL;
    opts.y_name = c->n_texts > 1 ? "first text" : NULL;
    opts.value_name = sonde_similarity_name((sonde_similarity)measure);
    status = cli_draw(panels, c->n_results, &opts);
done:
    for (int64_t i = 0; values != NULL && i < c->n_results; i++)
        free(values[i]);
    free(values);
    free(panels);
    free(layers);
    return status;
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static const char *number(double x)
{
    static char buffers[16][32];
    static int next;
    char *out = buffers[next++ & 15];

    snprintf(out, 32, x == x ? "%.4f" : "-", x);
    return out;
}

/* The same with two digits behind the point, for matrices. */
static const char *short_number(double x)
{
    static char out[32];
    snprintf(out, sizeof out, x == x ? "%.2f" : "-", x);
    return out;
}

/* Matrices of more columns are drawn as shades instead of numbers. */
enum { MOST_COLUMNS = 24 };

static sonde_status print_steps(const comparison *c)
{
    const result *r = &c->results[0];
    int64_t step = c->n_texts == 1;
    cli_table *table = cli_table_new("llrrrr", "from\tto\tcosine\tpearson\tl2\trelative");

    if (step)
        printf("from layer to layer, mean over %lld tokens\n", (long long)c->sides[0].n);
    else
        printf("the first text (from) and the second (to) at the same layer, %lld token%s\n", (long long)c->sides[0].n,
               c->sides[0].n > 1 ? "s, mean" : "");
    for (int64_t i = 0; i + step < c->n_wanted; i++) {
        int64_t at = i * r->n_columns + i + step;
        cli_table_row(table, "%s\t%s\t%s\t%s\t%s\t%s", c->layers[i], c->layers[i + step],
                      number(r->values[SONDE_COSINE][at]), number(r->values[SONDE_PEARSON][at]),
                      number(r->values[SONDE_L2][at]), number(r->values[SONDE_RELATIVE][at]));
    }
    return cli_table_print(table);
}

/* Whether cell (i, j) is a pair worth listing: of one text each pair once, and no token with itself. */
static bool is_pair(const comparison *c, int64_t i, int64_t j)
{
    return c->n_texts > 1 || (i < j && c->sides[0].positions[i] != c->sides[0].positions[j]);
}

/* Labels of the rows (or columns) of results: layers, or tokens between bars. Owns: *out (free). */
static sonde_status result_label(char **out, const comparison *c, int side_of, int64_t i)
{
    const sonde_plot_label *label = &c->sides[side_of].labels[i];
    char *escaped;
    sonde_status status;

    if (by == BY_LAYER)
        return cli_escape(out, c->layers[i], strlen(c->layers[i]));
    CLI_TRY(cli_escape(&escaped, label->text, (size_t)label->n_bytes));
    status = CLI_NEW(*out, (int64_t)strlen(escaped) + 3);
    if (status == SONDE_OK)
        sprintf(*out, "|%s|", escaped);
    free(escaped);
    return status;
}

/* The chosen measure as numbers: a row a line, columns numbered as the rows are. */
static sonde_status print_matrix(const comparison *c, const result *r)
{
    enum { LONGEST = 64 };
    char align[MOST_COLUMNS + 3] = "rl", line[(MOST_COLUMNS + 1) * LONGEST];
    size_t used = (size_t)snprintf(line, sizeof line, "\t");
    cli_table *table;

    for (int64_t j = 0; j < r->n_columns; j++) {
        align[j + 2] = 'r';
        if (by == BY_LAYER)
            used += (size_t)snprintf(line + used, LONGEST, "\t%.50s", c->layers[j]);
        else
            used += (size_t)snprintf(line + used, LONGEST, "\t%lld", (long long)c->sides[1].positions[j]);
    }
    table = cli_table_new(align, line);
    for (int64_t i = 0; i < r->n_rows; i++) {
        char *label;
        CLI_TRY(result_label(&label, c, 0, i));
        used = 0;
        for (int64_t j = 0; j < r->n_columns; j++)
            used += (size_t)snprintf(line + used, LONGEST, "\t%s", short_number(r->values[measure][i * r->n_columns + j]));
        if (by == BY_LAYER)
            cli_table_row(table, "\t%s%s", label, line);
        else
            cli_table_row(table, "%lld\t%s%s", (long long)c->sides[0].positions[i], label, line);
        free(label);
    }
    return cli_table_print(table);
}

/* What each column is, where columns are tokens of a second text. */
static sonde_status print_columns(const comparison *c, const result *r)
{
    if (c->n_texts == 1 || by == BY_LAYER)
        return SONDE_OK;
    printf("columns:");
    for (int64_t j = 0; j < r->n_columns; j++) {
        char *label;
        CLI_TRY(result_label(&label, c, 1, j));
        printf(" %lld %s", (long long)c->sides[1].positions[j], label);
        free(label);
    }
    putchar('\n');
    return SONDE_OK;
}

/* Every matrix as numbers, or all as shades where there are too many columns for that. */
static sonde_status print_matrices(const comparison *c)
{
    if (c->results[0].n_columns > MOST_COLUMNS)
        return draw(c);
    for (int64_t i = 0; i < c->n_results; i++) {
        printf("%s%s %s %s\n", i > 0 ? "\n" : "", sonde_similarity_name((sonde_similarity)measure),
               by == BY_LAYER ? "between" : "at", by == BY_LAYER ? c->what : point_at(c, i)->name);
        CLI_TRY(print_matrix(c, &c->results[i]));
        CLI_TRY(print_columns(c, &c->results[i]));
    }
    return SONDE_OK;
}

/* The most similar pairs of tokens by the chosen measure. */
static sonde_status print_pairs(const comparison *c, const result *r)
{
    int64_t n_cells = r->n_rows * r->n_columns, k = n_top < n_cells ? n_top : n_cells, *order = NULL;
    bool largest = measure == SONDE_COSINE || measure == SONDE_PEARSON;
    double *values = NULL;
    cli_table *table;
    sonde_status status;

    CLI_TRY_DONE(CLI_NEW(values, n_cells));
    CLI_TRY_DONE(CLI_NEW(order, k));
    for (int64_t i = 0; i < n_cells; i++)
        values[i] = is_pair(c, i / r->n_columns, i % r->n_columns) ? r->values[measure][i] : NAN;
    k = sonde_top_k(order, values, n_cells, k, largest);
    table = cli_table_new("rlrlrrrr", "at\ttoken\tat\ttoken\tcosine\tpearson\tl2\trelative");
    for (int64_t p = 0; p < k; p++) {
        int64_t at = order[p], i = at / r->n_columns, j = at % r->n_columns;
        char *one = NULL, *two = NULL;
        if (cli_escape(&one, c->sides[0].labels[i].text, (size_t)c->sides[0].labels[i].n_bytes) == SONDE_OK &&
            cli_escape(&two, c->sides[1].labels[j].text, (size_t)c->sides[1].labels[j].n_bytes) == SONDE_OK)
            cli_table_row(table, "%lld\t|%s|\t%lld\t|%s|\t%s\t%s\t%s\t%s", (long long)c->sides[0].positions[i], one,
                          (long long)c->sides[1].positions[j], two, number(r->values[SONDE_COSINE][at]),
                          number(r->values[SONDE_PEARSON][at]), number(r->values[SONDE_L2][at]),
                          number(r->values[SONDE_RELATIVE][at]));
        free(one);
        free(two);
    }
    printf("\nmost similar pairs by %s\n", sonde_similarity_name((sonde_similarity)measure));
    status = cli_table_print(table);
done:
    free(values);
    free(order);
    return status;
}

static sonde_status print_tables(const comparison *c)
{
    printf("%s: %lld token%s, %s", c->m.path, (long long)c->sides[0].n, c->sides[0].n > 1 ? "s" : "",
           cli_bos_text(c->sides[0].text));
    if (c->n_texts > 1)
        printf("; %lld token%s, %s", (long long)c->sides[1].n, c->sides[1].n > 1 ? "s" : "", cli_bos_text(c->sides[1].text));
    printf("\n\n");
    if (by == BY_LAYER)
        CLI_TRY(print_steps(c));
    if (by == BY_LAYER)
        putchar('\n');
    CLI_TRY(print_matrices(c));
    for (int64_t i = 0; by == BY_TOKEN && n_top > 0 && i < c->n_results; i++) {
        if (c->n_results > 1)
            printf("\n%s", point_at(c, i)->name);
        CLI_TRY(print_pairs(c, &c->results[i]));
    }
    return SONDE_OK;
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

/* Without --hook: the residual stream behind the middle layer (by token) or behind every layer. */
static sonde_status choose_points(comparison *c)
{
    static char middle[64];
    static const char *items[1];

    if (cli.hooks.n == 0) {
        snprintf(middle, sizeof middle, "blocks.%lld.hook_resid_post", (long long)((c->m.config->n_layers - 1) / 2));
        items[0] = by == BY_LAYER ? "blocks.*.hook_resid_post" : middle;
        cli.hooks = (cli_strings){items, 1, 0};
    }
    c->points = sonde_model_hook_points(c->m.model, &c->n_points);
    return cli_match_hooks(&c->wanted, &c->n_wanted, c->m.model);
}

static sonde_status show(const comparison *c)
{
    const char *path = cli_picture.output;
    bool is_one;

    if (path != NULL)
        CLI_TRY(cli_is_picture(path) ? draw(c) : write_tensors(c, path));
    if (cli.json)
        return print_json(c);
    if (path == NULL)
        return print_tables(c);
    is_one = cli_is_picture(path) || (strlen(path) > 4 && strcmp(path + strlen(path) - 4, ".npy") == 0);
    printf("%s: %s of %lld x %lld", path,
           is_one ? sonde_similarity_name((sonde_similarity)measure) : "cosine, pearson, l2, relative",
           (long long)c->results[0].n_rows, (long long)c->results[0].n_columns);
    if (c->n_results > 1)
        printf(" at %lld hook points", (long long)c->n_results);
    putchar('\n');
    return SONDE_OK;
}

static sonde_status run(const cli_call *call)
{
    comparison c = {0};
    sonde_status status;

    CLI_TRY_DONE(cli_model_open(&c.m, call->arguments[0]));
    CLI_TRY_DONE(choose_points(&c));
    CLI_TRY_DONE(cli_subjects_read(&c.texts, &c.n_texts, &c.m, call->arguments + 1, call->n_arguments - 1, 2));
    CLI_TRY_DONE(run_texts(&c));
    CLI_TRY_DONE(label_points(&c));
    CLI_TRY_DONE(by == BY_LAYER ? compare_layers(&c) : compare_tokens(&c));
    status = show(&c);
done:
    comparison_close(&c);
    return status;
}

const cli_command cli_cmd_compare = {
    .name = "compare",
    .summary = "how alike activations are: token by token, layer by layer, of one text or two",
    .arguments = "MODEL [TEXT [TEXT2]]",
    .min_arguments = 1,
    .max_arguments = 3,
    .examples = {"sonde compare stories15M \"The cat sat. The dog sat.\" --by token --exclude-bos",
                 "sonde compare stories15M \"Once upon a time\" --by layer -o layers.png",
                 "sonde compare stories15M \"The big dog\" \"The small dog\" --by layer --pos -1"},
    .options = {options, cli_picture_options, cli_bos_options, cli_hook_options, cli_text_options, cli_model_options},
    .notes =
        "cosine is a.b / (|a| |b|), pearson the cosine of a and b without their means, l2 is |b - a|, relative |b - a| / "
        "|a|;\n"
        "all summed in double, - (null) where not defined. Without --hook: the residual stream behind the middle layer\n"
        "(by token) or behind every layer (by layer). By layer, each token is compared with itself at another layer, or,\n"
        "with two texts, with the token at the same place of the other; the mean over tokens is shown. -o also writes\n"
        ".npy (the --measure), .npz, .safetensors or .json (all measures).",
    .run = run,
};
