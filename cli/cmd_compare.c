/* cmd_compare.c - `sonde compare`: how alike the activations of tokens, or of layers, are.   floor 10: cli
 *
 * By token: each token of the text (or of the first) against each of the same (or of the second), at one or more points.
 * By layer: the same token at one layer and at another, mean over tokens; with two texts, tokens at the same place.
 */
#include "compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What the command line says; zero means by token, cosine, all positions. */
compare_settings compare_asked = {.n_top = 10};

static const cli_option options[] = {
    {"by", 0, CLI_CHOICE, &compare_asked.by, "token|layer", 0, 0, "compare tokens with each other, or layers"},
    {"measure", 0, CLI_CHOICE, &compare_asked.measure, "cosine|pearson|l2|relative", 0, 0,
     "what the matrix and the picture show"},
    {"pos", 0, CLI_TEXT, &compare_asked.positions, "N,...", 0, 0, "compare these positions only; -1 is the last token"},
    {"top", 0, CLI_INT, &compare_asked.n_top, "N", 0, 1e6, "most similar pairs of tokens to list (10)"},
    {0},
};

/* Results, labels and rows are all in the order of `wanted`. */
const sonde_hook_point *compare_point(const comparison *c, int64_t i)
{
    return &c->points[c->wanted[i]];
}

/* Frees all that a comparison holds; of one text the second side is the first. */
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

    /* Without --pos: all but a BOS that is left out. With it, BOS may be named and then counts. */
    if (compare_asked.positions == NULL) {
        CLI_TRY(CLI_NEW(s->positions, text->n));
        for (int64_t t = text->first; t < text->n; t++)
            s->positions[s->n++] = t;
        return SONDE_OK;
    }
    CLI_TRY(cli_parse_integers(&s->positions, &s->n, compare_asked.positions, "--pos"));
    for (int64_t i = 0; i < s->n; i++) {
        /* Negative ones count from the end of this text: with two texts, -1 is the last token of each. */
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
    /* Labels are borrowed from the text, which lives as long as the comparison. */
    for (int64_t i = 0; i < s->n; i++)
        s->labels[i] = s->text->labels[s->positions[i]];
    for (int64_t i = 0; i < c->n_wanted; i++) {
        sonde_tensor x;
        CLI_TRY(sonde_run_get(&x, run, compare_point(c, i)->name));
        /* All numbers of one token: neurons, or heads x keys for attention points. */
        s->width[i] = sonde_tensor_n_elements(&x) / s->text->n;
        CLI_TRY(CLI_NEW(s->rows[i], s->n * s->width[i]));
        for (int64_t k = 0; k < s->n; k++)
            sonde_hook_token(s->rows[i] + k * s->width[i], compare_point(c, i), &x, 0, s->positions[k], s->text->n);
    }
    return SONDE_OK;
}

/* Each text through the model, and its rows taken before the next one. */
static sonde_status run_texts(comparison *c)
{
    sonde_run *run;
    sonde_status status = SONDE_OK;

    CLI_TRY(sonde_run_new(&run, c->m.model));
    /* One run serves both texts: hooks are set once, captures are overwritten by the second pass. */
    for (int64_t i = 0; i < c->n_wanted; i++)
        CLI_TRY_DONE(sonde_run_capture(run, compare_point(c, i)->name, NULL));
    for (int64_t s = 0; s < c->n_texts; s++) {
        c->sides[s].text = &c->texts[s];
        CLI_TRY_DONE(choose_positions(&c->sides[s]));
        CLI_TRY_DONE(cli_subject_forward(run, &c->texts[s]));
        CLI_TRY_DONE(take_rows(&c->sides[s], c, run));
    }
    /* A copy of the pointers, not of the rows; comparison_close frees them once. */
    if (c->n_texts == 1)
        c->sides[1] = c->sides[0];
done:
    sonde_run_free(run);
    return status;
}

/* ---- comparing --------------------------------------------------------------------------------------------------- */

/* Room for a matrix of each measure. */
static sonde_status result_init(result *r, int64_t rows, int64_t columns)
{
    r->n_rows = rows;
    r->n_columns = columns;
    for (int k = 0; k < SONDE_N_SIMILARITIES; k++)
        CLI_TRY(CLI_NEW(r->values[k], rows * columns));
    return SONDE_OK;
}

/* Every token of one side with every token of the other, at each point by itself. */
static sonde_status compare_tokens(comparison *c)
{
    const side *a = &c->sides[0], *b = &c->sides[1];

    c->n_results = c->n_wanted;
    CLI_TRY(CLI_NEW(c->results, c->n_results));
    for (int64_t i = 0; i < c->n_wanted; i++) {
        /* Rows of attention points are as wide as their text is long: two texts may not agree. */
        if (a->width[i] != b->width[i])
            return cli_fail(SONDE_E_SHAPE, "shapes do not agree: '%s' has rows of %lld and %lld numbers in the two texts",
                            compare_point(c, i)->name, (long long)a->width[i], (long long)b->width[i]);
        CLI_TRY(result_init(&c->results[i], a->n, b->n));
        /* All measures at once: they cost little beside the pass, and files and JSON hold every one. */
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
        /* Not defined: a row of zeros for cosine, a constant one for pearson. */
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
        /* The last row moves to the front, where a side of one token has it. */
        for (int64_t i = 0; i < c->n_wanted; i++)
            memmove(x->rows[i], x->rows[i] + (x->n - 1) * x->width[i], (size_t)x->width[i] * sizeof(float));
        x->positions[0] = x->positions[x->n - 1];
        x->labels[0] = x->labels[x->n - 1];
        x->n = 1;
    }
}

/* Every point with every other, token by token, the mean over tokens. */
static sonde_status compare_layers(comparison *c)
{
    result *r;

    /* One width for all points: a distance between rows of different length has no meaning. */
    for (int64_t i = 0; i < c->n_wanted; i++)
        if (c->sides[0].width[i] != c->sides[0].width[0] || c->sides[1].width[i] != c->sides[0].width[0])
            return cli_fail(
                SONDE_E_SHAPE, "shapes do not agree: '%s' has %lld numbers for each token, '%s' has %lld",
                compare_point(c, 0)->name, (long long)c->sides[0].width[0], compare_point(c, i)->name,
                (long long)(c->sides[0].width[i] != c->sides[0].width[0] ? c->sides[0].width[i] : c->sides[1].width[i]));
    pair_tokens(c);
    c->n_results = 1;
    CLI_TRY(CLI_NEW(c->results, 1));
    r = &c->results[0];
    CLI_TRY(result_init(r, c->n_wanted, c->n_wanted));
    /* Matrices are not symmetric in general: relative is over |a|, and with two texts i and j are of different ones. */
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
        are_layers &= compare_point(c, i)->layer >= 0 &&
                      strcmp(cli_hook_suffix(compare_point(c, i)), cli_hook_suffix(compare_point(c, 0))) == 0;
    /* Labels, then `what`: one name for all points together, for titles. */
    for (int64_t i = 0; i < c->n_wanted; i++) {
        if (are_layers)
            snprintf(c->layers[i], sizeof c->layers[i], "L%d", compare_point(c, i)->layer);
        else
            snprintf(c->layers[i], sizeof c->layers[i], "%s", compare_point(c, i)->name);
    }
    if (c->n_wanted == 1)
        snprintf(c->what, sizeof c->what, "%s", compare_point(c, 0)->name);
    else if (are_layers)
        snprintf(c->what, sizeof c->what, "blocks.*.%s", cli_hook_suffix(compare_point(c, 0)));
    else
        snprintf(c->what, sizeof c->what, "%lld hook points", (long long)c->n_wanted);
    return SONDE_OK;
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

/* Without --hook: the residual stream behind the middle layer (by token) or behind every layer. */
static sonde_status choose_points(comparison *c)
{
    static char middle[64];
    static const char *items[1];

    /* The pattern takes the way that --hook would take; both strings outlive the call. */
    if (cli.hooks.n == 0) {
        snprintf(middle, sizeof middle, "blocks.%lld.hook_resid_post", (long long)((c->m.config->n_layers - 1) / 2));
        items[0] = compare_asked.by == BY_LAYER ? "blocks.*.hook_resid_post" : middle;
        cli.hooks = (cli_strings){items, 1, 0};
    }
    c->points = sonde_model_hook_points(c->m.model, &c->n_points);
    return cli_match_hooks(&c->wanted, &c->n_wanted, c->m.model);
}

/* The same steps for both kinds; only the comparison itself differs. */
static sonde_status run(const cli_call *call)
{
    comparison c = {0};
    sonde_status status;

    CLI_TRY_DONE(cli_model_open(&c.m, call->arguments[0]));
    CLI_TRY_DONE(choose_points(&c));
    CLI_TRY_DONE(cli_subjects_read(&c.texts, &c.n_texts, &c.m, call->arguments + 1, call->n_arguments - 1, 2));
    CLI_TRY_DONE(run_texts(&c));
    CLI_TRY_DONE(label_points(&c));
    CLI_TRY_DONE(compare_asked.by == BY_LAYER ? compare_layers(&c) : compare_tokens(&c));
    status = compare_show(&c);
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
    .examples = {"sonde compare models/stories \"The cat sat. The dog sat.\" --by token --exclude-bos",
                 "sonde compare models/stories \"Once upon a time\" --by layer -o layers.png",
                 "sonde compare models/stories \"The big dog\" \"The small dog\" --by layer --pos -1"},
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
