/* compare_print.c - what `sonde compare` found: as tables, JSON, pictures and tensors.    floor 10: cli */
#include "compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

/* Rows of numbers; null where a measure is not defined. */
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

/* All four matrices, each under its measure's name. */
static void add_measures(json_t *out, const result *r)
{
    for (int k = 0; k < SONDE_N_SIMILARITIES; k++)
        json_object_set_new(out, sonde_similarity_name((sonde_similarity)k),
                            matrix_json(r->values[k], r->n_rows, r->n_columns));
}

/* One text: its tokens, and whether BOS is among them. */
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
    json_t *out = json_pack("{s:s, s:s}", from, compare_point(c, i)->name, to, compare_point(c, j)->name);

    for (int k = 0; k < SONDE_N_SIMILARITIES; k++)
        json_object_set_new(out, sonde_similarity_name((sonde_similarity)k),
                            cli_json_real(r->values[k][i * r->n_columns + j]));
    return out;
}

/* From each layer to the next; with two texts, each layer of one and of the other. */
static json_t *steps_json(const comparison *c)
{
    json_t *steps = json_array();
    /* The step from a layer to itself says nothing; with two texts the same layer is what is compared. */
    int64_t step = c->n_texts == 1;

    for (int64_t i = 0; i + step < c->n_wanted; i++)
        json_array_append_new(steps, pair_json(c, "from", i, "to", i + step));
    return steps;
}

/* Everything: texts, hook points, matrices of all measures; by layer the steps too. */
static sonde_status print_json(const comparison *c)
{
    /* The lists first, then the object in the order in which a person reads it. */
    json_t *out = cli_json("sonde.compare/1"), *texts = json_array(), *hooks = json_array(), *matrices = json_array();

    for (int64_t s = 0; s < c->n_texts; s++)
        json_array_append_new(texts, side_json(&c->sides[s]));
    for (int64_t i = 0; i < c->n_wanted; i++)
        json_array_append_new(hooks, json_string(compare_point(c, i)->name));
    /* By token a matrix belongs to one point and names it; by layer there is one matrix of all points. */
    for (int64_t i = 0; i < c->n_results; i++) {
        json_t *matrix = json_object();
        if (compare_asked.by == BY_TOKEN)
            json_object_set_new(matrix, "hook", json_string(compare_point(c, i)->name));
        add_measures(matrix, &c->results[i]);
        json_array_append_new(matrices, matrix);
    }
    json_object_set_new(out, "model", json_string(c->m.path));
    json_object_set_new(out, "by", json_string(compare_asked.by == BY_TOKEN ? "token" : "layer"));
    json_object_set_new(out, "texts", texts);
    json_object_set_new(out, "hooks", hooks);
    if (compare_asked.by == BY_LAYER)
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

    /* Cutting to the first matrix in silence would look like the whole result. */
    if (is_npy && c->n_results > 1)
        return cli_misuse("a .npy holds one matrix and there are %lld: name one hook point", (long long)c->n_results);
    CLI_TRY_DONE(CLI_NEW(tensors, capacity));
    CLI_TRY_DONE(CLI_NEW(names, capacity));
    CLI_TRY_DONE(CLI_NEW(texts, capacity));
    /* Names and views only: the numbers stay where they are. */
    for (int64_t i = 0; i < c->n_results; i++) {
        for (int k = is_npy ? (int)compare_asked.measure : 0;
             k < (is_npy ? (int)compare_asked.measure + 1 : SONDE_N_SIMILARITIES); k++, n++) {
            int64_t shape[] = {c->results[i].n_rows, c->results[i].n_columns};
            snprintf(texts[n], sizeof texts[n], "%s%s%s", compare_asked.by == BY_TOKEN ? compare_point(c, i)->name : "",
                     compare_asked.by == BY_TOKEN ? "." : "", sonde_similarity_name((sonde_similarity)k));
            names[n] = texts[n];
            CLI_TRY_DONE(sonde_tensor_view(&tensors[n], c->results[i].values[k], SONDE_F64, shape, 2));
        }
    }
    CLI_TRY_DONE(sonde_sink_open(&sink, path, names, tensors, n, NULL, 0));
    /* Matrices are small: each goes in one piece. */
    for (int64_t i = 0; i < n; i++)
        CLI_TRY_DONE(sonde_sink_put(sink, i, 0, tensors[i].data, sonde_tensor_n_elements(&tensors[i])));
    status = sonde_sink_commit(sink);
    /* Commit frees the sink, whether it succeeds or not. */
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
    /* Labels of layers are C strings: -1 says that they end at the NUL. */
    for (int64_t i = 0; i < c->n_wanted; i++)
        layers[i] = (sonde_plot_label){c->layers[i], -1};
    for (int64_t i = 0; i < c->n_results; i++) {
        const result *r = &c->results[i];
        CLI_TRY_DONE(CLI_NEW(values[i], r->n_rows * r->n_columns));
        /* Pictures are of floats; the doubles go to JSON and to tensors. */
        for (int64_t k = 0; k < r->n_rows * r->n_columns; k++)
            values[i][k] = (float)r->values[compare_asked.measure][k];
        /* By layer both axes are layers; by token, rows are the first text, columns the second (or the same). */
        panels[i] = (sonde_plot_matrix){.values = values[i],
                                        .n_rows = r->n_rows,
                                        .n_columns = r->n_columns,
                                        .row_labels = compare_asked.by == BY_LAYER ? layers : c->sides[0].labels,
                                        .column_labels = compare_asked.by == BY_LAYER ? layers : c->sides[1].labels,
                                        .title = c->n_results > 1 ? c->layers[i] : NULL};
    }
    /* Title: what was measured and where. Line below it: of which model, with or without BOS. */
    snprintf(title, sizeof title, "%s %s %s", sonde_similarity_name((sonde_similarity)compare_asked.measure),
             compare_asked.by == BY_LAYER ? "between" : "at", c->what);
    snprintf(subtitle, sizeof subtitle, "%s, %s%s", cli_base_name(c->m.path), cli_bos_text(c->sides[0].text),
             compare_asked.by == BY_LAYER && c->sides[0].n > 1 ? ", mean over tokens" : "");
    /* --title wins. */
    opts.title = opts.title != NULL ? opts.title : title;
    opts.subtitle = subtitle;
    opts.x_name = c->n_texts > 1 ? "second text" : NULL;
    opts.y_name = c->n_texts > 1 ? "first text" : NULL;
    opts.value_name = sonde_similarity_name((sonde_similarity)compare_asked.measure);
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

/* Four digits behind the point, "-" where a measure is not defined. Buffers rotate. */
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

/* From each layer to the next, or from one text to the other at the same layer: all measures. */
static sonde_status print_steps(const comparison *c)
{
    const result *r = &c->results[0];
    int64_t step = c->n_texts == 1;
    cli_table *table = cli_table_new("llrrrr", "from\tto\tcosine\tpearson\tl2\trelative");

    /* A line that says what one row means, since the two cases share their headers. */
    if (step)
        printf("from layer to layer, mean over %lld tokens\n", (long long)c->sides[0].n);
    else
        printf("the first text (from) and the second (to) at the same layer, %lld token%s\n", (long long)c->sides[0].n,
               c->sides[0].n > 1 ? "s, mean" : "");
    for (int64_t i = 0; i + step < c->n_wanted; i++) {
        /* Cell (i, i + 1) of each matrix, or (i, i) with two texts. */
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

    if (compare_asked.by == BY_LAYER)
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

    /* Headers are joined in `line`, which the rows use again; both fit, as cells are cut at LONGEST. */
    for (int64_t j = 0; j < r->n_columns; j++) {
        align[j + 2] = 'r';
        if (compare_asked.by == BY_LAYER)
            used += (size_t)snprintf(line + used, LONGEST, "\t%.50s", c->layers[j]);
        else
            used += (size_t)snprintf(line + used, LONGEST, "\t%lld", (long long)c->sides[1].positions[j]);
    }
    table = cli_table_new(align, line);
    /* By token a row begins with position and token, by layer with an empty cell and the layer. */
    for (int64_t i = 0; i < r->n_rows; i++) {
        char *label;
        CLI_TRY(result_label(&label, c, 0, i));
        used = 0;
        for (int64_t j = 0; j < r->n_columns; j++)
            used += (size_t)snprintf(line + used, LONGEST, "\t%s",
                                     short_number(r->values[compare_asked.measure][i * r->n_columns + j]));
        if (compare_asked.by == BY_LAYER)
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
    /* Rows say position and token; columns only the position, so that they stay narrow: here is the rest. */
    if (c->n_texts == 1 || compare_asked.by == BY_LAYER)
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
    /* All matrices have the same number of columns, so that the first decides for all. */
    if (c->results[0].n_columns > MOST_COLUMNS)
        return draw(c);
    for (int64_t i = 0; i < c->n_results; i++) {
        printf("%s%s %s %s\n", i > 0 ? "\n" : "", sonde_similarity_name((sonde_similarity)compare_asked.measure),
               compare_asked.by == BY_LAYER ? "between" : "at",
               compare_asked.by == BY_LAYER ? c->what : compare_point(c, i)->name);
        CLI_TRY(print_matrix(c, &c->results[i]));
        CLI_TRY(print_columns(c, &c->results[i]));
    }
    return SONDE_OK;
}

/* The most similar pairs of tokens by the chosen measure. */
static sonde_status print_pairs(const comparison *c, const result *r)
{
    int64_t n_cells = r->n_rows * r->n_columns, k = compare_asked.n_top < n_cells ? compare_asked.n_top : n_cells,
            *order = NULL;
    /* Cosine and correlation grow with likeness, distances shrink. */
    bool largest = compare_asked.measure == SONDE_COSINE || compare_asked.measure == SONDE_PEARSON;
    double *values = NULL;
    cli_table *table;
    sonde_status status;

    CLI_TRY_DONE(CLI_NEW(values, n_cells));
    CLI_TRY_DONE(CLI_NEW(order, k));
    /* NaN is never chosen: pairs that are not worth listing drop out, and so do undefined ones. */
    for (int64_t i = 0; i < n_cells; i++)
        values[i] = is_pair(c, i / r->n_columns, i % r->n_columns) ? r->values[compare_asked.measure][i] : NAN;
    k = sonde_top_k(order, values, n_cells, k, largest);
    table = cli_table_new("rlrlrrrr", "at\ttoken\tat\ttoken\tcosine\tpearson\tl2\trelative");
    for (int64_t p = 0; p < k; p++) {
        int64_t at = order[p], i = at / r->n_columns, j = at % r->n_columns;
        /* Labels are raw bytes: what would disturb a terminal is escaped. */
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
    printf("\nmost similar pairs by %s\n", sonde_similarity_name((sonde_similarity)compare_asked.measure));
    status = cli_table_print(table);
done:
    free(values);
    free(order);
    return status;
}

/* What a person reads: steps, matrices, the most similar pairs. */
static sonde_status print_tables(const comparison *c)
{
    /* Head: how many tokens of what, since every mean below is over them. */
    printf("%s: %lld token%s, %s", c->m.path, (long long)c->sides[0].n, c->sides[0].n > 1 ? "s" : "",
           cli_bos_text(c->sides[0].text));
    if (c->n_texts > 1)
        printf("; %lld token%s, %s", (long long)c->sides[1].n, c->sides[1].n > 1 ? "s" : "", cli_bos_text(c->sides[1].text));
    printf("\n\n");
    if (compare_asked.by == BY_LAYER)
        CLI_TRY(print_steps(c));
    if (compare_asked.by == BY_LAYER)
        putchar('\n');
    CLI_TRY(print_matrices(c));
    /* Pairs only by token: by layer the steps say it. */
    for (int64_t i = 0; compare_asked.by == BY_TOKEN && compare_asked.n_top > 0 && i < c->n_results; i++) {
        if (c->n_results > 1)
            printf("\n%s", compare_point(c, i)->name);
        CLI_TRY(print_pairs(c, &c->results[i]));
    }
    return SONDE_OK;
}

/* The file first: with --json, stdout then says what was written, and a failure prints nothing. */
sonde_status compare_show(const comparison *c)
{
    const char *path = cli_picture.output;
    bool is_one;

    if (path != NULL)
        CLI_TRY(cli_is_picture(path) ? draw(c) : write_tensors(c, path));
    if (cli.json)
        return print_json(c);
    if (path == NULL)
        return print_tables(c);
    /* A picture and a .npy hold the chosen measure, the other kinds all of them. */
    is_one = cli_is_picture(path) || (strlen(path) > 4 && strcmp(path + strlen(path) - 4, ".npy") == 0);
    printf("%s: %s of %lld x %lld", path,
           is_one ? sonde_similarity_name((sonde_similarity)compare_asked.measure) : "cosine, pearson, l2, relative",
           (long long)c->results[0].n_rows, (long long)c->results[0].n_columns);
    if (c->n_results > 1)
        printf(" at %lld hook points", (long long)c->n_results);
    putchar('\n');
    return SONDE_OK;
}
