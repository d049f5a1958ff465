/* experiment.c - the list of experiments, and what they share.                 floor 8: toy
 *
 * An experiment is a function that trains models, draws pictures into a folder, and says what it found beside what the paper has. Three verdicts:
 *
 *   PASS      what was measured is within the bound
 *   FAIL      it is not: something is wrong here, or the run was too short
 *   DIFFERS   it is not, and that is how it is: the note says why. Only findings that were looked into have one (sondep_toy_differs); nothing is
 *             tuned until it agrees.
 *
 * Sizes are quick by default (seconds to half a minute on two cores), the paper's with is_paper, or the caller's. What was set goes into the
 * result as a text, weight decay and all, so that a number can be repeated.
 */
#include "toy/experiment.h"

#include "base/file.h"
#include "format/json.h"
#include "train/state.h"

#include <math.h>
#include <stdio.h>

/* Options that not every experiment has a use for: one that has none refuses them, instead of running as if they were not there. */
enum { MODELS = 1, RESTARTS = 2, DENSITY = 4, GRID = 8, IMPORTANCE = 16, SIZES = 32 };

/* In the order of the paper. */
static const struct {
    sonde_toy_experiment of;
    sondep_toy_run_fn *run;
    unsigned takes;
} experiments[] = {
    {{"introduction", "Five features in two dimensions",
      "A model has two hidden numbers for five features. Where features are dense it keeps the two that matter most, each "
      "in a "
      "dimension of its own, and forgets the rest. Where they are sparse it keeps more of them than there are dimensions: "
      "first as "
      "pairs that point away from each other, then as a pentagon. What it pays is interference, which only matters when two "
      "features are on at once."},
     sondep_toy_introduction,
     SIZES | MODELS | RESTARTS | DENSITY | IMPORTANCE},
    {{"basic", "Linear models, and models with a ReLU",
      "Twenty features of falling importance in five hidden numbers. A linear model does what principal components do: the "
      "five most "
      "important features, one dimension each. The ReLU behind the output is what makes superposition pay, the more so the "
      "sparser "
      "features are."},
     sondep_toy_basic,
     SIZES | MODELS | DENSITY | IMPORTANCE},
    {{"larger", "The same at eighty features in twenty dimensions",
      "Nothing about superposition is special to very small models."},
     sondep_toy_larger,
     SIZES | MODELS | DENSITY | IMPORTANCE},
    {{"phase-2", "Phase diagram: two features, one dimension",
      "A second feature, of some importance and sparsity, competes with the first for the only dimension. It is left out, "
      "takes the "
      "dimension, or shares it; between these three there are sharp borders. Beside what was trained is what the least loss "
      "of "
      "each of the three arrangements says."},
     sondep_toy_phase2,
     GRID | RESTARTS | DENSITY},
    {{"phase-3", "Phase diagram: three features, two dimensions",
      "As before, with one feature and one dimension more: a third feature is left out, shares a dimension, or has one of "
      "its own "
      "while the others share."},
     sondep_toy_phase3,
     GRID | RESTARTS | DENSITY},
    {{"uniform", "Superposition of features that are all alike",
      "Four hundred features of equal importance and sparsity. How many dimensions does each get? D* = m / |W|^2 falls as "
      "they become "
      "sparser, but not evenly: it stays at 1 (each feature its own dimension) and at 1/2 (pairs) for a while."},
     sondep_toy_uniform,
     SIZES | MODELS | DENSITY},
    {{"dimensionality", "Which share of a dimension each feature has",
      "The dimensionality of a feature is |W_i|^2 over what all features have in its direction. Features are drawn to a few "
      "fractions: "
      "those of regular shapes."},
     sondep_toy_dimensionality,
     SIZES | MODELS | DENSITY},
    {{"geometry", "The shapes that features lie in",
      "Features that interfere are joined. What hangs together are regular shapes, each in its own few dimensions."},
     sondep_toy_geometry,
     SIZES | MODELS | DENSITY},
    {{"nonuniform", "One feature that is sparser than the others",
      "A pentagon bends as one of its features becomes rarer, and at some point breaks into two pairs that leave that "
      "feature out."},
     sondep_toy_nonuniform,
     MODELS | RESTARTS | DENSITY},
    {{"correlated", "Features that come together, or never do",
      "Features that are on together are put at right angles, so that they do not disturb each other; features of which "
      "only one is on at "
      "a time lie opposite each other, where it costs nothing."},
     sondep_toy_correlated,
     RESTARTS | DENSITY},
    {{"pca", "Correlated features collapse into their principal components",
      "Three correlated pairs in two dimensions. The denser they are, the more pairs are kept as one direction, the mean of "
      "both: between "
      "superposition and principal components there is a scale."},
     sondep_toy_pca,
     RESTARTS},
    {{"energy", "Learning: jumps between energy levels",
      "While a model trains, features move from one dimensionality to another, several at a time; the loss falls when they "
      "do."},
     sondep_toy_energy,
     SIZES | DENSITY},
    {{"stages", "Learning: simple geometric steps",
      "Two sets of three correlated features in three dimensions: training goes through a few shapes and ends in a regular "
      "one."},
     sondep_toy_stages,
     RESTARTS | DENSITY},
    {{"adversarial", "Superposition makes models vulnerable",
      "A small change of the input, spread over the features that interfere with one output, moves that output. The more "
      "features share a "
      "dimension, the more there is to use."},
     sondep_toy_adversarial,
     SIZES | MODELS | DENSITY},
    {{"privileged", "With a ReLU in the middle: neurons",
      "A ReLU on the hidden numbers makes them neurons: a privileged basis. Where features are dense, each neuron has one "
      "feature; where "
      "they are sparse, neurons have several."},
     sondep_toy_privileged,
     SIZES | RESTARTS | IMPORTANCE},
    {{"absolute", "Computation in superposition",
      "A model that computes |x| needs two neurons for each feature, one for each sign. With fewer neurons than that, it "
      "computes sparse "
      "features in superposition."},
     sondep_toy_absolute,
     SIZES | IMPORTANCE},
    {{"motif", "Asymmetric superposition with inhibition",
      "One neuron serves two features with unequal weights, large in and small out for one, small in and large out for the "
      "other; where the "
      "first would show in the second's output, another neuron pushes it below zero, where the ReLU hides it."},
     sondep_toy_motif,
     SIZES | IMPORTANCE},
    {{"dictionary", "Sparse autoencoders undo superposition",
      "An autoencoder is trained on the hidden numbers of toy models, and on sums of planted directions. What it should "
      "find is known: its "
      "features are held against the planted ones."},
     sondep_toy_dictionary,
     SIZES},
};
enum { N_EXPERIMENTS = sizeof experiments / sizeof *experiments };

/* Whoever lists them begins at 0. */
const sonde_toy_experiment *sonde_toy_experiment_at(int64_t i)
{
    return i >= 0 && i < N_EXPERIMENTS ? &experiments[i].of : NULL;
}

/* Everything is the experiment's own. */
void sonde_toy_run_opts_init(sonde_toy_run_opts *out)
{
    *out = (sonde_toy_run_opts){.struct_size = sizeof *out, .decay = -1.0, .watch_every = 100, .schedule = -1};
}

/* ---- a run -------------------------------------------------------------------------------------------------------------- */

/* The one of this name, or what there is. */
static sonde_status find(int64_t *out, const char *name)
{
    sondep_string list = {0};

    for (*out = 0; *out < N_EXPERIMENTS; (*out)++)
        if (strcmp(experiments[*out].of.name, name) == 0)
            return SONDE_OK;
    for (int64_t i = 0; i < N_EXPERIMENTS; i++)
        SONDE_TRY(sondep_string_printf(&list, "%s%s", i > 0 ? ", " : "", experiments[i].of.name));
    SONDE_FAIL(SONDE_E_NOTFOUND, "there is no experiment '%s': %s", name, list.text);
    sondep_string_release(&list);
    return SONDE_E_NOTFOUND;
}

/* Options that would change nothing are refused, or in a run of all experiments left out; and those out of range that are read nowhere else. */
static sonde_status check_options(sonde_toy_run_opts *o, const char *name, unsigned takes)
{
    const struct {
        const char *name;
        int64_t *whole;
        double *real;
        unsigned bit;
    } some[] = {{"instances", &o->n_instances, NULL, MODELS},
                {"restarts", &o->restarts, NULL, RESTARTS},
                {"grid", &o->grid, NULL, GRID},
                {"features", &o->n_features, NULL, SIZES},
                {"hidden", &o->n_hidden, NULL, SIZES},
                {"density", NULL, &o->density, DENSITY},
                {"importance", NULL, &o->importance, IMPORTANCE}};

    SONDE_TRY(sondep_check_option("schedule", (double)o->schedule, -1, SONDE_SCHEDULE_WSD));
    SONDE_TRY(sondep_check_option("importance", o->importance, 0, 1));
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        bool is_set = some[i].whole != NULL ? *some[i].whole > 0 : *some[i].real > 0.0;
        if (!is_set || (takes & some[i].bit))
            continue;
        if (!o->is_lenient)
            return SONDE_FAIL(SONDE_E_ARG, "the experiment '%s' has no use for the option '%s'", name, some[i].name);
        /* 0 is the experiment's own */
        if (some[i].whole != NULL)
            *some[i].whole = 0;
        else
            *some[i].real = 0.0;
    }
    return SONDE_OK;
}

/* Numbers as text, when all are there. */
static sonde_status finish(sondep_toy_run *r)
{
    json_t *list = json_array();

    for (int64_t i = 0; i < r->n_findings; i++) {
        static const char *const verdicts[] = {"pass", "fail", "differs"};
        const sonde_toy_finding *f = &r->findings[i];
        json_t *one = json_object();
        json_object_set_new(one, "name", json_string(f->name));
        json_object_set_new(one, "verdict", json_string(verdicts[f->verdict]));
        json_object_set_new(one, "measured", json_string(f->measured));
        json_object_set_new(one, "wanted", json_string(f->wanted));
        json_array_append_new(list, one);
    }
    json_object_set_new(r->json, "findings", list);
    json_object_set_new(r->json, "setup", json_string(r->setup.text));
    r->text = json_dumps(r->json, JSON_COMPACT | JSON_REAL_PRECISION(9));
    return r->text != NULL ? SONDE_OK : SONDE_FAIL(SONDE_E_NOMEM, "out of memory: numbers of an experiment");
}

/* A run that fails leaves the pictures that were drawn by then, and no result. */
sonde_status sonde_toy_run(sonde_toy_result **out, const char *name, const char *folder, const sonde_toy_run_opts *opts)
{
    sondep_toy_run *r = NULL;
    int64_t which;
    sonde_status status;

    *out = NULL;
    SONDE_TRY(find(&which, name));
    sondep_json_setup();
    SONDE_TRY_DONE(SONDE_NEW(r, 1));
    sonde_toy_run_opts_init(&r->opts);
    SONDE_TRY_DONE(sondep_opts_read(&r->opts, sizeof r->opts, opts, "the struct of an experiment's options"));
    SONDE_TRY_DONE(check_options(&r->opts, name, experiments[which].takes));
    /* everything behind this point is freed with the result */
    r->experiment = &experiments[which].of;
    r->folder = folder;
    r->json = json_pack("{s:s, s:s}", "schema", "sonde.toy/1", "experiment", name);
    SONDE_TRY_DONE(experiments[which].run(r));
    SONDE_TRY_DONE(finish(r));
    *out = r;
    r = NULL;
done:
    sonde_toy_result_free(r);
    return status;
}

/* Parts that are not there are fine. */
void sonde_toy_result_free(sonde_toy_result *r)
{
    if (r == NULL)
        return;
    sondep_free(r->findings);
    sondep_free(r->pictures);
    json_decref(r->json);
    sondep_free(r->text);
    sondep_string_release(&r->setup);
    sondep_free(r);
}

/* As it stands in the list. */
const sonde_toy_experiment *sonde_toy_result_experiment(const sonde_toy_result *result)
{
    return result->experiment;
}

/* In the order in which they were made. */
const sonde_toy_finding *sonde_toy_result_findings(const sonde_toy_result *result, int64_t *n)
{
    *n = result->n_findings;
    return result->findings;
}

/* In the order in which they were drawn. */
const sonde_toy_picture *sonde_toy_result_pictures(const sonde_toy_result *result, int64_t *n)
{
    *n = result->n_pictures;
    return result->pictures;
}

/* Made once, at the end of the run. */
const char *sonde_toy_result_json(const sonde_toy_result *result)
{
    return result->text;
}

/* One part for each training of the run. */
const char *sonde_toy_result_setup(const sonde_toy_result *result)
{
    return result->setup.text;
}

/* ---- training --------------------------------------------------------------------------------------------------------------- */

/* The caller's wish goes over everything, also over the paper. */
int64_t sondep_toy_size(const sondep_toy_run *r, int64_t given, int64_t quick, int64_t paper)
{
    return given > 0 ? given : r->opts.is_paper ? paper : quick;
}

/* As for sizes; no experiment has another one for the paper. */
double sondep_toy_real(double given, double own)
{
    return given > 0.0 ? given : own;
}

/* The run's options go over the setting's. What was set is noted once, for whoever reads the result. */
sonde_toy_opts sondep_toy_opts_of(const sondep_toy_run *r, const sondep_toy_setting *s)
{
    sonde_toy_opts o;

    sonde_toy_opts_init(&o);
    o.kind = s->kind;
    o.n_features = r->opts.n_features > 0 ? r->opts.n_features : s->n;
    o.n_hidden = r->opts.n_hidden > 0 ? r->opts.n_hidden : s->m;
    o.steps = sondep_toy_size(r, r->opts.steps, s->steps, s->paper_steps);
    o.batch = r->opts.batch > 0 ? r->opts.batch : s->batch;
    o.lr = sondep_toy_real(r->opts.lr, s->lr);
    o.decay = r->opts.decay >= 0.0 ? r->opts.decay : s->decay;
    o.schedule = r->opts.schedule >= 0 ? r->opts.schedule : s->schedule;
    o.seed = r->opts.seed;
    return o;
}

/* Into the text of what was set, behind what is there. Densities are those of features alone, whatever sets do with them. */
sonde_status sondep_toy_note_setup(sondep_toy_run *r, const sonde_toy_opts *o)
{
    static const char *const schedules[] = {"constant", "falling linearly", "falling along a cosine", "falling at the end"};
    double most = 0.0, least = 1.0;

    for (int64_t i = 0; o->probability != NULL && i < o->n_instances * o->n_features; i++) {
        most = fmax(most, o->probability[i]);
        least = fmin(least, o->probability[i]);
    }
    SONDE_TRY(sondep_string_printf(&r->setup, "%s%lld model%s of %lld features in %lld numbers, density %.3g",
                                   r->setup.n > 0 ? "; " : "", (long long)o->n_instances, o->n_instances == 1 ? "" : "s",
                                   (long long)o->n_features, (long long)o->n_hidden, fmax(most, least)));
    /* a range where they differ */
    if (least < most)
        SONDE_TRY(sondep_string_printf(&r->setup, " to %.3g", least));
    return sondep_string_printf(&r->setup, ", %lld steps of %lld rows, step size %g %s, weight decay %g",
                                (long long)o->steps, (long long)o->batch, o->lr, schedules[o->schedule], o->decay);
}

/* Some steps at a time, so that somebody can look, and an interruption is seen. */
sonde_status sondep_toy_trained(sonde_toy **out, sondep_toy_run *r, const sonde_toy_opts *opts, double *losses)
{
    sonde_toy *t = NULL;
    double *room = NULL;
    int64_t every = r->opts.watch_every > 0 ? r->opts.watch_every : 100;
    sonde_status status;

    *out = NULL;
    SONDE_TRY_DONE(sondep_toy_note_setup(r, opts));
    SONDE_TRY_DONE(SONDE_NEW(room, opts->n_instances));
    SONDE_TRY_DONE(sonde_toy_new(&t, opts));
    while (sonde_toy_steps(t) < opts->steps) {
        int64_t left = opts->steps - sonde_toy_steps(t);
        /* whoever looks may end it */
        SONDE_TRY_DONE(sonde_toy_train(t, room, left < every ? left : every));
        if (r->opts.watch != NULL)
            SONDE_TRY_DONE(r->opts.watch(t, room, r->opts.ctx));
    }
    if (losses != NULL)
        memcpy(losses, room, (size_t)opts->n_instances * sizeof *losses);
    *out = t;
    t = NULL;
    status = SONDE_OK;
done:
    sondep_free(room);
    sonde_toy_free(t);
    return status;
}

/* All see the same rows: losses of instances that train on the same probabilities can be compared. */
sonde_status sondep_toy_best(int64_t *best, const sonde_toy *toy, int64_t restarts, int64_t n_rows)
{
    int64_t n = sonde_toy_get_opts(toy)->n_instances;
    double *losses;
    sonde_status status;

    SONDE_TRY(SONDE_NEW(losses, n));
    SONDE_TRY_DONE(sonde_toy_losses(losses, toy, n_rows));
    for (int64_t group = 0; group < n / restarts; group++) {
        /* of equal ones the first */
        best[group] = group * restarts;
        for (int64_t i = group * restarts; i < (group + 1) * restarts; i++)
            best[group] = losses[i] < losses[best[group]] ? i : best[group];
    }
done:
    sondep_free(losses);
    return status;
}

/* Both ends are among them. */
void sondep_toy_log_space(double *out, int64_t n, double a, double b)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = a * pow(b / a, n > 1 ? (double)i / (double)(n - 1) : 0.0);
}

/* Restarts of a model stand beside each other. */
sonde_status sondep_toy_probabilities(double **out, const double *density, int64_t n_models, int64_t restarts, int64_t n)
{
    SONDE_TRY(SONDE_NEW(*out, n_models * restarts * n));
    for (int64_t i = 0; i < n_models * restarts * n; i++)
        (*out)[i] = density[i / n / restarts];
    return SONDE_OK;
}

/* The first feature matters most. */
sonde_status sondep_toy_importances(double **out, int64_t n_models, int64_t n, double falls)
{
    SONDE_TRY(SONDE_NEW(*out, n_models * n));
    for (int64_t i = 0; i < n_models * n; i++)
        (*out)[i] = pow(falls, (double)(i % n));
    return SONDE_OK;
}

/* Sums in double. */
double sondep_toy_cosine(const float *w, int64_t m, int64_t i, int64_t j)
{
    double dot = 0.0, a = 0.0, b = 0.0;

    for (int64_t k = 0; k < m; k++) {
        dot += (double)w[i * m + k] * w[j * m + k];
        a += (double)w[i * m + k] * w[i * m + k];
        b += (double)w[j * m + k] * w[j * m + k];
    }
    return a > 0.0 && b > 0.0 ? dot / sqrt(a * b) : 0.0;
}

/* Means first: lists are short. */
double sondep_toy_correlation(const double *x, const double *y, int64_t n)
{
    double mx = 0.0, my = 0.0, xx = 0.0, yy = 0.0, xy = 0.0;

    for (int64_t i = 0; i < n; i++) {
        mx += x[i] / (double)n;
        my += y[i] / (double)n;
    }
    for (int64_t i = 0; i < n; i++) {
        xx += (x[i] - mx) * (x[i] - mx);
        yy += (y[i] - my) * (y[i] - my);
        xy += (x[i] - mx) * (y[i] - my);
    }
    return xx > 0.0 && yy > 0.0 ? xy / sqrt(xx * yy) : 0.0;
}

/* ---- what came of it ----------------------------------------------------------------------------------------------------------- */

/* NaN holds nothing. */
sonde_status sondep_toy_check(sondep_toy_run *r, bool holds, const char *name, const char *wanted, const char *measured, ...)
{
    va_list arguments;
    sonde_toy_finding *f;

    SONDE_TRY(sondep_grow(&r->findings, &r->room_findings, r->n_findings + 1, sizeof *r->findings));
    /* texts are kept as they are printed */
    f = &r->findings[r->n_findings++];
    *f = (sonde_toy_finding){.verdict = holds ? SONDE_TOY_PASS : SONDE_TOY_FAIL};
    snprintf(f->name, sizeof f->name, "%s", name);
    snprintf(f->wanted, sizeof f->wanted, "%s", wanted);
    va_start(arguments, measured);
    vsnprintf(f->measured, sizeof f->measured, measured, arguments);
    va_end(arguments);
    return SONDE_OK;
}

/* Whether the models are those of the experiment: what a run of others shows may be its shortness. */
static bool is_own_size(const sonde_toy_run_opts *o)
{
    return o->n_features == 0 && o->n_hidden == 0 && o->n_instances == 0 && o->steps == 0 && o->batch == 0 &&
           o->restarts == 0 && o->grid == 0 && !(o->lr > 0.0) && !(o->density > 0.0) && !(o->importance > 0.0) &&
           o->decay < 0.0 && o->schedule < 0;
}

/* What holds needs no reason. */
void sondep_toy_differs(sondep_toy_run *r, const char *why)
{
    sonde_toy_finding *f = &r->findings[r->n_findings - 1];

    if (f->verdict != SONDE_TOY_FAIL || !is_own_size(&r->opts))
        return;
    f->verdict = SONDE_TOY_DIFFERS;
    snprintf(f->note, sizeof f->note, "%s", why);
}

/* The name of the experiment comes first, so that all of them share a folder. */
sonde_status sondep_toy_picture_path(char **path, sondep_toy_run *r, const char *name, const char *caption)
{
    sonde_toy_picture *p;

    SONDE_TRY(sondep_grow(&r->pictures, &r->room_pictures, r->n_pictures + 1, sizeof *r->pictures));
    p = &r->pictures[r->n_pictures++];
    snprintf(p->file, sizeof p->file, "%s-%s%s", r->experiment->name, name, r->opts.ending ? r->opts.ending : ".png");
    snprintf(p->caption, sizeof p->caption, "%s", caption);
    return sondep_path_join(path, r->folder, p->file);
}

/* JSON has no NaN: null stands for it. */
void sondep_toy_put(sondep_toy_run *r, const char *key, const double *values, int64_t n)
{
    json_t *list = json_array();

    for (int64_t i = 0; i < n; i++)
        json_array_append_new(list, isfinite(values[i]) ? json_real(values[i]) : json_null());
    json_object_set_new(r->json, key, list);
}
