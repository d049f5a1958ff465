/* cmd_toy.c - `sonde toy`: the experiments of Toy Models of Superposition.     floor 10: cli
 *
 * One experiment, or all of them: models are trained, what they show is held against the paper, pictures and one page are written. The
 * exit status is 1 where a finding failed. With --watch the weights and the loss are seen while they change.
 *
 * What a run leaves in its folder:
 *
 *   NAME-*.png      pictures of each experiment
 *   results.json    findings and numbers, sonde.toy.run/1
 *   report.html     all of it as one page
 *
 * Findings are printed as soon as their experiment has ended, so that a run of all of them can be followed; JSON comes at the end.
 */
#include "toy.h"
#include "training.h"

#include <sonde/report.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the command line says; 0 is the experiment's own. */
static const char *output = "toy";
static sonde_toy_run_opts opts = {.struct_size = sizeof opts, .decay = -1.0, .watch_every = 100};
static bool is_paper, is_watched;
static int64_t seed, format, schedule;

static const cli_option options[] = {
    {"output", 'o', CLI_TEXT, &output, "DIR", 0, 0, "folder of the pictures, results.json and report.html (toy)"},
    {"paper", 0, CLI_FLAG, &is_paper, NULL, 0, 0, "steps, grids and restarts of the paper, which take hours for some"},
    {"watch", 0, CLI_FLAG, &is_watched, NULL, 0, 0, "show weights and loss while they change"},
    {"watch-every", 0, CLI_INT, &opts.watch_every, "N", 1, 1e9, "steps between two looks"},
    {"format", 0, CLI_CHOICE, &format, "png|svg|pdf", 0, 0, "of the pictures"},
    {0},
};

/* What models are, where the experiment's own is not wanted. */
static const cli_option model_options[] = {
    {"features", 0, CLI_INT, &opts.n_features, "N", 0, 1e5, "features of a model; 0: the experiment's own"},
    {"hidden", 0, CLI_INT, &opts.n_hidden, "N", 0, 1e5, "its hidden numbers; 0: the experiment's own"},
    {"instances", 0, CLI_INT, &opts.n_instances, "N", 0, 1e6,
     "models, or densities, that are tried; 0: the experiment's own"},
    {"density", 0, CLI_REAL, &opts.density, "P", 0, 1,
     "probability that a feature is on: the sparsest, or the only one; 0: the experiment's own"},
    {"grid", 0, CLI_INT, &opts.grid, "N", 0, 100, "cells a side of a phase diagram; 0: its own"},
    {"restarts", 0, CLI_INT, &opts.restarts, "N", 0, 1e5,
     "trainings of each model, of which the best counts; 0: the experiment's own"},
    {"steps", 0, CLI_INT, &opts.steps, "N", 0, 1e9, "of the training; 0: the experiment's own"},
    {"batch", 0, CLI_INT, &opts.batch, "N", 0, 1e6, "rows of a step, a multiple of 128; 0: 1024"},
    {"lr", 0, CLI_REAL, &opts.lr, "X", 0, 100, "largest step size; 0: the experiment's own"},
    {"schedule", 0, CLI_CHOICE, &schedule, "own|constant|linear|cosine|wsd", 0, 0, "how the step size runs"},
    {"importance", 0, CLI_REAL, &opts.importance, "X", 0, 1,
     "factor by which importances fall from feature to feature; 0: the experiment's own"},
    {"decay", 0, CLI_REAL, &opts.decay, "X", -1, 100, "weight decay of AdamW; -1: the experiment's own, which is printed"},
    {"seed", 0, CLI_INT, &seed, "N", 0, 1e18, "of weights and rows"},
    {0},
};

/* A call: what is run, and what came of it. */
typedef struct work {
    const char **names;
    int64_t n;
    sonde_toy_result **results;
    double *seconds;
    toy_watch watch;
} work;

/* All, or the one that is named. */
static sonde_status choose(work *w, const char *name)
{
    bool is_all = strcmp(name, "all") == 0;
    int64_t n = 0;

    while (sonde_toy_experiment_at(n) != NULL)
        n++;
    CLI_TRY(CLI_NEW(w->names, n));
    CLI_TRY(CLI_NEW(w->results, n));
    CLI_TRY(CLI_NEW(w->seconds, n));
    /* sizes that fit one experiment do not fit another; what is left of the options goes where there is a use for it */
    if (is_all && (opts.n_features > 0 || opts.n_hidden > 0 || opts.n_instances > 0))
        return cli_misuse("'--features', '--hidden' and '--instances' are for one experiment, not for all of them");
    opts.is_lenient = is_all;
    /* a name that is none is found when it is run, with a list of those that are */
    for (int64_t i = 0; i < n && is_all; i++)
        w->names[w->n++] = sonde_toy_experiment_at(i)->name;
    if (!is_all)
        w->names[w->n++] = name;
    return SONDE_OK;
}

/* Verdicts of one experiment, as it ends. Words stand in a column, so that a FAIL is found by eye; what was wanted stands below what
 * was measured, and the setup behind them, since a finding means little without it. */
static void print_result(const work *w, int64_t i)
{
    static const char *const verdicts[] = {"PASS   ", "FAIL   ", "DIFFERS"};
    int64_t n;
    const sonde_toy_finding *f = sonde_toy_result_findings(w->results[i], &n);

    printf("%s: %s (%.1f s)\n", w->names[i], sonde_toy_result_experiment(w->results[i])->title, w->seconds[i]);
    for (int64_t k = 0; k < n; k++) {
        printf("  %s %s: %s\n          wanted: %s\n", verdicts[f[k].verdict], f[k].name, f[k].measured, f[k].wanted);
        if (f[k].note[0] != '\0')
            printf("          why: %s\n", f[k].note);
    }
    printf("  %s\n", sonde_toy_result_setup(w->results[i]));
    fflush(stdout);
}

/* One after another; what is known is printed as soon as it is. */
static sonde_status run_all(work *w)
{
    for (int64_t i = 0; i < w->n; i++) {
        double start = cli_seconds();
        w->watch.name = w->names[i];
        CLI_TRY(sonde_toy_run(&w->results[i], w->names[i], output, &opts));
        toy_watch_end(&w->watch);
        w->seconds[i] = cli_seconds() - start;
        if (!cli.json)
            print_result(w, i);
    }
    return SONDE_OK;
}

/* Everything as JSON, which is also what the folder has; NULL where there is no memory for it. Owns: the caller's. */
static json_t *to_json(const work *w)
{
    json_t *out = cli_json("sonde.toy.run/1"), *list = json_array();

    for (int64_t i = 0; i < w->n; i++) {
        json_t *one = json_loads(sonde_toy_result_json(w->results[i]), 0, NULL);
        json_object_set_new(one, "seconds", cli_json_real(w->seconds[i]));
        json_array_append_new(list, one);
    }
    json_object_set_new(out, "folder", json_string(output));
    json_object_set_new(out, "experiments", list);
    if ((int64_t)json_array_size(list) == w->n)
        return out;
    json_decref(out);
    return NULL;
}

/* Findings that failed. */
static int64_t count_failures(const work *w)
{
    int64_t failed = 0, n;

    for (int64_t i = 0; i < w->n; i++) {
        const sonde_toy_finding *f = sonde_toy_result_findings(w->results[i], &n);
        for (int64_t k = 0; k < n; k++)
            failed += f[k].verdict == SONDE_TOY_FAIL;
    }
    return failed;
}

/* The page, the numbers, and the answer. */
static sonde_status finish(const work *w)
{
    char path[4096], *text;
    json_t *json = to_json(w);
    double seconds = 0.0;
    sonde_status status;

    text = json != NULL ? json_dumps(json, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
    status = text != NULL ? training_write_text(output, "results.json", text, strlen(text))
                          : cli_fail(SONDE_E_NOMEM, "out of memory: results");
    free(text);
    snprintf(path, sizeof path, "%s/report.html", output);
    if (status == SONDE_OK)
        status = sonde_toy_report_write(path, output, (const sonde_toy_result *const *)w->results, w->n);
    for (int64_t i = 0; i < w->n; i++)
        seconds += w->seconds[i];
    if (status == SONDE_OK && cli.json)
        return cli_json_write(json);
    json_decref(json);
    CLI_TRY(status);
    printf("%s: %s in %.0f s\n", path, cli_counted(w->n, "experiment"), seconds);
    return SONDE_OK;
}

/* Options that stand for others. */
static void read_options(work *w)
{
    static const char *const endings[] = {".png", ".svg", ".pdf"};

    opts.ending = endings[format];
    /* the first choice is the experiment's own */
    opts.schedule = schedule - 1;
    opts.is_paper = is_paper;
    opts.seed = (uint64_t)seed;
    w->watch.is_seen = is_watched;
    opts.watch = toy_watch_step;
    opts.ctx = &w->watch;
}

/* Everything of a call is freed here, however it ended. */
static sonde_status run(const cli_call *call)
{
    work w = {0};
    sonde_status status;
    int64_t failed;
    bool was_there;

    read_options(&w);
    CLI_TRY_DONE(choose(&w, call->arguments[0]));
    was_there = access(output, F_OK) == 0;
    CLI_TRY_DONE(toy_make_folder(output));
    status = run_all(&w);
    /* nothing came of it: a folder that is empty goes again */
    if (status != SONDE_OK && !was_there)
        (void)rmdir(output);
    CLI_TRY_DONE(status);
    CLI_TRY_DONE(finish(&w));
    failed = count_failures(&w);
    if (failed > 0)
        status = cli_answer_no("%s failed", cli_counted(failed, "finding"));
done:
    toy_watch_end(&w.watch);
    for (int64_t i = 0; i < w.n && w.results != NULL; i++)
        sonde_toy_result_free(w.results[i]);
    free((void *)w.names);
    free(w.results);
    free(w.seconds);
    return status;
}

const cli_command cli_cmd_toy = {
    .name = "toy",
    .summary = "the experiments of Toy Models of Superposition, checked against the paper",
    .arguments = "NAME|all",
    .min_arguments = 1,
    .max_arguments = 1,
    .examples = {"sonde toy introduction -o toy", "sonde toy basic --steps 3000 --json",
                 "sonde toy pca --format svg -o pairs", "sonde toy nonuniform --watch"},
    .options = {options, model_options},
    .notes = "NAME is introduction, basic, larger, phase-2, phase-3, uniform, dimensionality, geometry, nonuniform, "
             "correlated, pca, energy,\n"
             "stages, adversarial, privileged, absolute, motif or dictionary. Each finding is printed as PASS, FAIL or "
             "DIFFERS (it really\n"
             "is otherwise than the paper has it), with what was measured and what was wanted; a FAIL is exit status 1.",
    .run = run,
};
