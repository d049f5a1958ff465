/* cmd_sae_train.c - `sonde sae train`: autoencoders on the activations of a model.     floor 10: cli
 *
 * What it leaves stands in sae.h. One pass of the model feeds all autoencoders that are asked for. Each file is written beside and
 * renamed, and in an order in which a run that is killed at any moment goes on from its last state: the curve, the state, then what
 * can be made again from it. What of the curve lies behind the state is cut off when it is resumed.
 */
#include "sae_train.h"

#include "info.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* what the command line says; the defaults of the training itself come from the library's list */
static sonde_sae_train_opts opts = {.struct_size = sizeof opts,
#define DEFAULT(name, flag, value, least, most, what) .name = (value),
#define DEFAULT_CHOICE(name, flag, value, names, what) .name = (value),
                                    SONDE_SAE_TRAIN_OPTION_LIST(DEFAULT, DEFAULT_CHOICE, DEFAULT)};
static const char *output, *init, *hook, *hook_out, *width = "8x", *tokens, *held_out_path, *model_name, *store, *left_out;
static cli_strings data, also;
static int64_t eval_every = 1000, eval_documents = 100, save_every = 500, buffer = 1 << 18, begin_rows = 1 << 16,
               resample_every;
static bool is_resumed, has_skip, with_special, has_events;

static const cli_option options[] = {
    {"output", 'o', CLI_TEXT, &output, "DIR", 0, 0,
     "folder of the autoencoder: a new one, or with --resume that of an earlier run"},
    {"init", 0, CLI_TEXT, &init, "SAE", 0, 0, "go on from the weights of an autoencoder; moments begin at 0"},
    {"resume", 0, CLI_FLAG, &is_resumed, NULL, 0, 0,
     "go on from the last checkpoint in DIR; options that are not given stay"},
    {0},
};

/* What a resumed run takes over from the manifest, where it is not given anew. */
static const cli_option settings[] = {
    {"data", 0, CLI_LIST, &data, "FILE", 0, 0, "texts to train on (.txt, .jsonl, .jsonl.zst); FILE:3 reads it three times"},
    {"store", 0, CLI_TEXT, &store, "DIR", 0, 0,
     "the same as a STORE in place of MODEL: what 'sonde harvest' wrote, in place of texts"},
    {"held-out", 0, CLI_TEXT, &held_out_path, "FILE", 0, 0, "texts that are measured and not trained on"},
    {"field", 0, CLI_TEXT, &cli.field, "NAME", 0, 0, "field of .jsonl that holds the text"},
    {"limit", 0, CLI_INT, &cli.limit, "N", 0, 1e12, "documents of each file that are read at most; 0: all"},
    {"with-special", 0, CLI_FLAG, &with_special, NULL, 0, 0, "the token that begins a text is trained on, too"},
    {"leave-out", 0, CLI_TEXT, &left_out, "IDS", 0, 0,
     "ids that are not trained on: 1,2 (default: the token that begins a text)"},
    {"hook", 0, CLI_TEXT, &hook, "POINT", 0, 0, "hook point that is read: blocks.3.hook_resid_post"},
    {"hook-out", 0, CLI_TEXT, &hook_out, "POINT", 0, 0, "hook point that is to be written: makes a transcoder"},
    {"skip", 0, CLI_FLAG, &has_skip, NULL, 0, 0, "a transcoder with a linear map of its own from input to output"},
    {"width", 0, CLI_TEXT, &width, "N", 0, 0, "features: 2304, or 8x for eight times the width of the hook point"},
    {"tokens", 0, CLI_TEXT, &tokens, "N", 0, 0, "activations to train on (18M); default: all of the texts once"},
    {"also", 0, CLI_LIST, &also, "OPTIONS", 0, 0,
     "one more autoencoder from the same pass: arch=standard,l1=2,name=l1; may be repeated"},
    {"buffer", 0, CLI_INT, &buffer, "N", 1, 1e9, "activations that are held and shuffled"},
    {"begin-rows", 0, CLI_INT, &begin_rows, "N", 1, 1e9, "activations that the input scale is measured on"},
    {"resample-every", 0, CLI_INT, &resample_every, "N", 0, 1e9,
     "standard-2023: steps between resamplings of dead features; 0: none"},
    {"eval-every", 0, CLI_INT, &eval_every, "N", 1, 1e9, "steps between measurements of held-out texts"},
    {"eval-documents", 0, CLI_INT, &eval_documents, "N", 1, 1e9, "of them that are measured"},
    {"save-every", 0, CLI_INT, &save_every, "N", 1, 1e9, "steps between checkpoints"},
    {"tensorboard", 0, CLI_FLAG, &has_events, NULL, 0, 0, "write the curves as TensorBoard's events, too"},
    {"model", 0, CLI_TEXT, &model_name, "MODEL", 0, 0,
     "of --resume: the model, where it lies elsewhere now; of a STORE: the one that --held-out needs"},
    {0},
};

#define ROW_WHOLE(name, flag, value, least, most, what) {flag, 0, CLI_INT, &opts.name, "N", least, most, what},
#define ROW_REAL(name, flag, value, least, most, what) {flag, 0, CLI_REAL, &opts.name, "X", least, most, what},
#define ROW_CHOICE(name, flag, value, names, what) {flag, 0, CLI_CHOICE, &opts.name, names, 0, 0, what},
static const cli_option training_options[] = {SONDE_SAE_TRAIN_OPTION_LIST(ROW_WHOLE, ROW_CHOICE, ROW_REAL){0}};

/* ---- what it is made of ------------------------------------------------------------------------------------------------- */

/* What is in the folder of one autoencoder. */
static const char *const own_names[] = {"cfg.json", "sae_weights.safetensors", "training", "manifest.json", NULL};
static const training_kind kind = {"training", "training/state.safetensors", "sae_weights.safetensors", own_names};

/* One line a misuse, in the order in which a person meets them. */
static sonde_status check_call(sae_training *t, const cli_call *call)
{
    if (output == NULL)
        return cli_misuse("'sae train' needs a folder: '-o DIR'");
    if (call->n_arguments > 0 && info_is_store(call->arguments[0]))
        store = call->arguments[0];
    else if (call->n_arguments > 0)
        model_name = call->arguments[0];
    if (is_resumed && (init != NULL || cli_is_given(&width)))
        return cli_misuse("'%s' is for a training that begins: one that goes on has its weights",
                          init != NULL ? "--init" : "--width");
    /* what is not given is as it was: read before it is missed */
    if (is_resumed && !training_exists(training_path(output, "manifest.json"))) {
        cli_fail(SONDE_E_NOTFOUND, "there is no training to go on with in '%s': no '%s'", output,
                 training_path(output, "manifest.json"));
        return cli_hint(SONDE_E_NOTFOUND, "without --resume it begins");
    }
    if (is_resumed)
        CLI_TRY(training_manifest_read(&t->earlier, output, settings));
    if (model_name == NULL && (store == NULL || held_out_path != NULL))
        return cli_misuse("'sae train' needs a MODEL");
    if (data.n == 0 && store == NULL)
        return cli_misuse("'sae train' needs texts: '--data FILE', or a STORE in place of MODEL");
    if (data.n > 0 && store != NULL)
        return cli_misuse("'--data' and '--store' are two sources: give one of them");
    if (store != NULL && (with_special || left_out != NULL))
        return cli_misuse(
            "what a store leaves out was said to 'sonde harvest': '--with-special' and '--leave-out' are for texts");
    if (hook == NULL)
        return cli_misuse("'sae train' needs the hook point that it reads: '--hook blocks.3.hook_resid_post'");
    return has_skip && hook_out == NULL ? cli_misuse("'--skip' is for transcoders: '--hook-out POINT'") : SONDE_OK;
}

/* The autoencoders that are asked for: in DIR itself, or each in a folder of its own. */
static sonde_status make_units(sae_training *t)
{
    /* widths are texts until the hook point is known: 8x of what */
    sae_unit base = {.name = "first", .opts = opts, .hook = hook, .hook_out = hook_out, .width = width, .saved_step = -1};

    /* the one of the command line itself comes first; others differ from it in what --also says */
    t->n_units = 1 + also.n;
    CLI_TRY(CLI_NEW(t->units, t->n_units));
    t->units[0] = base;
    for (int64_t i = 0; i < also.n; i++)
        CLI_TRY(sae_unit_read(&t->units[1 + i], &base, also.items[i]));
    for (int64_t i = 0; i < t->n_units; i++) {
        sae_unit *u = &t->units[i];
        snprintf(u->folder, sizeof u->folder, also.n > 0 ? "%s/%s" : "%s", output, u->name);
        for (int64_t k = 0; k < i; k++)
            if (strcmp(t->units[k].name, u->name) == 0)
                return cli_misuse("two autoencoders are called '%s': 'name=...' in '--also' tells them apart", u->name);
        CLI_TRY(training_folder_check(u->folder, &kind, is_resumed));
    }
    return SONDE_OK;
}

/* A hook point among those of the source, added if it is not there yet. */
static int64_t add_hook(sae_training *t, const char *name)
{
    for (int64_t i = 0; i < t->n_hooks; i++)
        if (strcmp(t->hooks[i], name) == 0)
            return i;
    t->hooks[t->n_hooks] = name;
    return t->n_hooks++;
}

/* Rows of a store, or straight from the model. */
static sonde_status make_source(sae_training *t)
{
    sonde_stream_opts how;
    sonde_store_opts of_store;

    if (t->store != NULL) {
        sonde_store_opts_init(&of_store);
        of_store.most_rows = buffer;
        of_store.seed = (uint64_t)opts.seed;
        return sonde_source_store(&t->source, t->store, t->hooks, t->n_hooks, &of_store);
    }
    sonde_stream_opts_init(&how);
    /* one order for all: what an autoencoder sees does not depend on the others */
    how.most_rows = buffer;
    how.seed = (uint64_t)opts.seed;
    how.left_out = t->ids;
    how.n_left_out = t->n_ids;
    return sonde_source_stream(&t->source, t->m.model, t->corpus, t->hooks, t->n_hooks, &how);
}

/* Rows of activations, and room for those of a step. */
static sonde_status open_source(sae_training *t)
{
    CLI_TRY(CLI_NEW(t->hooks, 2 * t->n_units));
    for (int64_t i = 0; i < t->n_units; i++) {
        sae_unit *u = &t->units[i];
        u->in = add_hook(t, u->hook);
        u->out = u->hook_out ? add_hook(t, u->hook_out) : -1;
    }
    CLI_TRY(make_source(t));
    CLI_TRY(CLI_NEW(t->rows, t->n_hooks));
    for (int64_t i = 0; i < t->n_hooks; i++)
        CLI_TRY(CLI_NEW(t->rows[i], opts.batch * sonde_source_width(t->source, i)));
    return SONDE_OK;
}

/* Steps: as many as --tokens says, or --steps, or all rows once. */
static sonde_status count_steps(const sae_training *t)
{
    int64_t n = sonde_source_n_rows(t->source);

    /* two ways to say the same would have to agree */
    if (tokens != NULL && cli_is_given(&opts.steps))
        return cli_misuse("'--tokens' and '--steps' say the same: give one of them");
    if (tokens != NULL)
        CLI_TRY(cli_parse_count(&n, tokens, "tokens"));
    if (tokens != NULL || !(is_resumed || cli_is_given(&opts.steps)))
        opts.steps = n / opts.batch;
    if (opts.steps < 1)
        return cli_fail(SONDE_E_RANGE, "%s are not one step of %s", cli_counted(n, "activation"), cli_count(opts.batch));
    return SONDE_OK;
}

/* The options of a unit whose hook points are known. */
static sonde_status finish_opts(const sae_training *t, sae_unit *u)
{
    u->opts.steps = opts.steps;
    u->opts.d_in = sonde_source_width(t->source, u->in);
    /* 0: what is read is what is written */
    u->opts.d_out = u->out >= 0 ? sonde_source_width(t->source, u->out) : 0;
    u->opts.has_skip = u->out >= 0 && has_skip;
    return sae_read_width(&u->opts.d_sae, u->width, u->opts.d_in);
}

/* What the state says of the rows: the model, the texts, and how they are shuffled. */
static const char *source_text(const sae_training *t, const sae_unit *u)
{
    static char text[90];

    snprintf(text, sizeof text, "%016llx %.30s %.30s", (unsigned long long)sonde_source_hash(t->source), u->hook,
             u->hook_out ? u->hook_out : "");
    return text;
}

/* Some rows from the beginning of the order: what the scale of the input is measured on. */
static sonde_status begin_unit(const sae_training *t, sae_unit *u)
{
    int64_t n = sonde_source_n_rows(t->source);
    float **sample;
    sonde_status status = SONDE_OK;

    /* only the points that this one reads and writes */
    n = begin_rows < n ? begin_rows : n;
    CLI_TRY(CLI_NEW(sample, t->n_hooks));
    for (int64_t i = 0; i < t->n_hooks && status == SONDE_OK; i++)
        if (i == u->in || i == u->out)
            status = CLI_NEW(sample[i], n * sonde_source_width(t->source, i));
    if (status == SONDE_OK)
        status = sonde_source_get(t->source, sample, 0, n);
    if (status == SONDE_OK)
        status = sonde_sae_trainer_begin(u->trainer, sample[u->in], u->out >= 0 ? sample[u->out] : NULL, n);
    for (int64_t i = 0; i < t->n_hooks; i++)
        free(sample[i]);
    free(sample);
    return status;
}

/* An autoencoder to go on from has the sizes of the training: said with its path, which the library does not know. */
static sonde_status check_init(const sonde_sae_config *c, const sonde_sae_train_opts *o)
{
    if (c->d_in == o->d_in && c->d_sae == o->d_sae)
        return SONDE_OK;
    return cli_fail(SONDE_E_SHAPE, "'%s' has %lld features over %lld numbers, the training %lld over %lld", init,
                    (long long)c->d_sae, (long long)c->d_in, (long long)o->d_sae, (long long)o->d_in);
}

/* A trainer at its first step. */
static sonde_status start_unit(sae_training *t, sae_unit *u)
{
    sonde_sae *sae;
    sonde_status status;

    CLI_TRY(finish_opts(t, u));
    CLI_TRY(sonde_sae_trainer_new(&u->trainer, &u->opts));
    CLI_TRY(begin_unit(t, u));
    if (init == NULL)
        return SONDE_OK;
    CLI_TRY(sonde_sae_load(&sae, init));
    status = check_init(sonde_sae_get_config(sae), &u->opts);
    if (status == SONDE_OK)
        status = sonde_sae_trainer_start_from(u->trainer, sae);
    sonde_sae_free(sae);
    return status;
}

/* The options of a state. What the command line says anew goes over them. */
static sonde_status read_saved(sae_unit *u)
{
    CLI_TRY(sonde_sae_train_opts_load(&u->opts, u->groups, training_path(u->folder, "training/state.safetensors")));
#define TAKE(name, ...)           \
    if (cli_is_given(&opts.name)) \
        u->opts.name = opts.name;
    SONDE_SAE_TRAIN_OPTION_LIST(TAKE, TAKE, TAKE)
#undef TAKE
    return SONDE_OK;
}

/* Of all units. What they share, and the seed of the order of rows, which is the first one's, are kept in `opts`. */
static sonde_status read_all_saved(sae_training *t)
{
    const sonde_sae_train_opts *first = &t->units[0].opts;

    for (int64_t i = 0; i < t->n_units; i++)
        CLI_TRY(read_saved(&t->units[i]));
    opts.batch = first->batch;
    opts.seed = first->seed;
    opts.steps = first->steps;
    return SONDE_OK;
}

/* A trainer at its last state. */
static sonde_status resume_unit(sae_training *t, sae_unit *u)
{
    char copy[4096];

    u->opts.steps = opts.steps;
    snprintf(copy, sizeof copy, "%s", training_path(u->folder, "training/state.safetensors"));
    CLI_TRY(sonde_sae_trainer_load(&u->trainer, copy, &u->opts, source_text(t, u)));
    u->saved_step = sonde_sae_trainer_steps(u->trainer);
    snprintf(copy, sizeof copy, "%s", training_path(u->folder, "training"));
    return sae_curve_read(&u->curve, copy, u->saved_step);
}

/* The model, or a store of its activations: then the model is opened only where held-out texts are measured. */
static sonde_status open_inputs(sae_training *t)
{
    if (store != NULL)
        CLI_TRY(sonde_store_open(&t->store, store));
    if (store == NULL || held_out_path != NULL) {
        CLI_TRY(cli_model_open(&t->m, model_name));
        CLI_TRY(training_left_out(&t->ids, &t->n_ids, &t->m, left_out, with_special));
        CLI_TRY(sae_read_texts(t, &data, held_out_path, eval_documents));
    }
    if (store != NULL && t->m.model != NULL)
        CLI_TRY(sonde_store_check_model(t->store, t->m.model));
    if (model_name == NULL)
        t->model_name = model_name = sonde_store_model(t->store);
    return SONDE_OK;
}

/* An option of the command line is for all units: one of them must have a use for it. */
static sonde_status check_use(const sae_training *t, const char *flag)
{
    for (int64_t i = 0; i < t->n_units; i++)
        if (sonde_sae_train_opts_use(&t->units[i].opts, flag))
            return SONDE_OK;
    return cli_misuse("option '--%s' changes nothing in this training (%s)", flag, sae_arch_name(&t->units[0].opts));
}

/* Nobody shall find out after an hour that an option did nothing. What --also says stands in the states of a resumed run. */
static sonde_status check_uses(const sae_training *t)
{
    bool has_2023 = false;

#define CHECK(name, flag, ...)    \
    if (cli_is_given(&opts.name)) \
        CLI_TRY(check_use(t, flag));
    SONDE_SAE_TRAIN_OPTION_LIST(CHECK, CHECK, CHECK)
#undef CHECK
    for (int64_t i = 0; i < t->n_units; i++)
        has_2023 = has_2023 || t->units[i].opts.arch == SONDE_SAE_ARCH_STANDARD_2023;
    if (resample_every > 0 && !has_2023)
        return cli_misuse("option '--resample-every' is for the architecture standard-2023");
    for (int64_t i = 1; i < t->n_units && !is_resumed; i++)
        CLI_TRY(sae_unit_check_uses(&t->units[i], also.items[i - 1]));
    return SONDE_OK;
}

/* Everything that can be wrong with what was asked for is found here, before a file is written. */
static sonde_status prepare(sae_training *t)
{
    CLI_TRY(make_units(t));
    /* batch and order are those of the state: the source depends on them */
    if (is_resumed)
        CLI_TRY(read_all_saved(t));
    CLI_TRY(check_uses(t));
    CLI_TRY(open_inputs(t));
    CLI_TRY(open_source(t));
    CLI_TRY(count_steps(t));
    for (int64_t i = 0; i < t->n_units; i++)
        CLI_TRY(is_resumed ? resume_unit(t, &t->units[i]) : start_unit(t, &t->units[i]));
    return SONDE_OK;
}

/* ---- what it leaves ------------------------------------------------------------------------------------------------------- */

/* A model's folder is its name. */
sonde_status sae_export(sonde_sae **out, const sae_training *t, const sae_unit *u)
{
    const char *name = strrchr(t->model_name, '/');

    return sonde_sae_trainer_export(out, u->trainer, name && name[1] ? name + 1 : t->model_name,
                                    sonde_source_hook(t->source, u->in),
                                    u->out >= 0 ? sonde_source_hook(t->source, u->out) : NULL);
}

/* What the picture says. */
static void describe(char *out, size_t n_bytes, const sae_unit *u)
{
    snprintf(out, n_bytes, "%s, %s features over %s%s%s", sae_arch_name(&u->opts), cli_count(u->opts.d_sae), u->hook,
             u->hook_out ? " to " : "", u->hook_out ? u->hook_out : "");
}

/* A checkpoint of one autoencoder: the state before what can be made again from it. */
static sonde_status save(const sae_training *t, sae_unit *u)
{
    char inner[4000], state[4096], subtitle[200];
    sonde_sae *sae;
    sonde_status status;

    snprintf(inner, sizeof inner, "%s", training_path(u->folder, "training"));
    snprintf(state, sizeof state, "%s", training_path(inner, "state.safetensors"));
    describe(subtitle, sizeof subtitle, u);
    /* the curve first: it is cut to the state, not the other way round */
    CLI_TRY(sae_curve_write(&u->curve, inner));
    if (has_events)
        CLI_TRY(sae_curve_write_events(&u->curve, inner));
    CLI_TRY(sonde_sae_trainer_save(u->trainer, state, source_text(t, u)));
    u->saved_step = sonde_sae_trainer_steps(u->trainer);
    CLI_TRY(sae_export(&sae, t, u));
    status = sonde_sae_write(sae, u->folder);
    sonde_sae_free(sae);
    CLI_TRY(status);
    return sae_curve_draw(&u->curve, inner, subtitle);
}

/* All of them, and the manifest. */
static sonde_status save_all(sae_training *t)
{
    for (int64_t i = 0; i < t->n_units; i++)
        CLI_TRY(save(t, &t->units[i]));
    return sae_manifest_write(t, settings);
}

/* Folders, and with them all that --resume needs before there is a step to lose. */
static sonde_status open_folders(sae_training *t)
{
    CLI_TRY(training_folder_open(output));
    for (int64_t i = 0; i < t->n_units; i++) {
        if (t->n_units > 1)
            CLI_TRY(training_folder_open(t->units[i].folder));
        CLI_TRY(training_folder_open(training_path(t->units[i].folder, "training")));
    }
    return SONDE_OK;
}

/* ---- steps ------------------------------------------------------------------------------------------------------------------ */

/* Whether something is to be done behind a step: every so many, and at the end. */
static bool is_due(int64_t step, int64_t every)
{
    return step % every == 0 || step == opts.steps;
}

/* Dead features of the recipe of 2023 take new directions, from rows that come later in the order. */
static sonde_status resample(sae_training *t, sae_unit *u, int64_t step)
{
    int64_t n;

    if (u->opts.arch != SONDE_SAE_ARCH_STANDARD_2023 || resample_every == 0 || step % resample_every != 0)
        return SONDE_OK;
    CLI_TRY(sonde_source_get(t->source, t->rows, step * opts.batch, opts.batch));
    CLI_TRY(sonde_sae_trainer_resample(u->trainer, &n, t->rows[u->in], opts.batch));
    cli_note("step %lld: %s took a new direction", (long long)step, cli_counted(n, "dead feature"));
    return SONDE_OK;
}

/* One step of one autoencoder, and its line of the curve. */
static sonde_status step_unit(sae_training *t, sae_unit *u)
{
    sonde_sae_train_report r;

    CLI_TRY(sonde_sae_trainer_step(u->trainer, &r, t->rows[u->in], u->out >= 0 ? t->rows[u->out] : NULL));
    u->point = (sae_point){.step = r.step,
                           .n_rows = r.step * opts.batch,
                           .loss = r.loss,
                           .mse = r.mse,
                           .sparsity = r.sparsity,
                           .aux = r.aux,
                           .l0 = r.l0,
                           .explained_variance = r.explained_variance,
                           .n_dead = (double)r.n_dead,
                           .gradient_norm = r.gradient_norm,
                           .lr = r.lr,
                           .held_out_l0 = NAN,
                           .held_out_variance = NAN,
                           .held_out_recovered = NAN};
    if (u == t->units)
        snprintf(t->progress.note, sizeof t->progress.note, "step %lld  L0 %.1f  EV %.4f  dead %lld  loss %.4g",
                 (long long)r.step, r.l0, r.explained_variance, (long long)r.n_dead, r.loss);
    return SONDE_OK;
}

/* The step that comes next: of those that are furthest behind, where a kill came between two states. */
static int64_t next_step(const sae_training *t)
{
    int64_t least = opts.steps;

    for (int64_t i = 0; i < t->n_units; i++) {
        int64_t steps = sonde_sae_trainer_steps(t->units[i].trainer);
        least = steps < least ? steps : least;
    }
    return least;
}

/* One step of all. */
static sonde_status step(sae_training *t, int64_t at)
{
    double done = (double)(at + 1 - t->first_step);

    CLI_TRY(cli_check_interrupt());
    /* the same rows for all: one pass of the model feeds them */
    CLI_TRY(sonde_source_get(t->source, t->rows, at * opts.batch, opts.batch));
    for (int64_t i = 0; i < t->n_units; i++)
        if (sonde_sae_trainer_steps(t->units[i].trainer) == at)
            CLI_TRY(step_unit(t, &t->units[i]));
    /* what is measured behind this step belongs to its line of the curve */
    if (t->held_out.n > 0 && is_due(at + 1, eval_every))
        CLI_TRY(sae_measure_held_out(t, at + 1));
    for (int64_t i = 0; i < t->n_units; i++)
        if (t->units[i].point.step == at + 1)
            CLI_TRY(sae_curve_add(&t->units[i].curve, &t->units[i].point));
    for (int64_t i = 0; i < t->n_units; i++)
        CLI_TRY(resample(t, &t->units[i], at + 1));
    cli_progress_step(&t->progress, done * (double)opts.batch, done / (double)(opts.steps - t->first_step));
    return is_due(at + 1, save_every) ? save_all(t) : SONDE_OK;
}

/* All steps. */
static sonde_status train(sae_training *t)
{
    sonde_status status = SONDE_OK;

    t->first_step = next_step(t);
    cli_progress_begin(&t->progress, "activations");
    for (int64_t at; status == SONDE_OK && (at = next_step(t)) < opts.steps;)
        status = step(t, at);
    cli_progress_end(&t->progress);
    return status;
}

/* How a training ends that did not come to its end: an interruption is saved, since it is an orderly end; of all else the last
 * checkpoint stays. */
static sonde_status stop(sae_training *t, sonde_status status)
{
    int64_t steps = next_step(t);

    /* nothing was saved yet: there is nothing to go on from */
    if (t->units[0].saved_step < 0)
        return status;
    if (status != SONDE_E_INTERRUPTED) {
        cli_note("the checkpoint of step %lld stays: 'sonde sae train --resume -o %s%s' goes on from it",
                 (long long)t->units[0].saved_step, output, status == SONDE_E_NONFINITE ? " --lr SMALLER" : "");
        return status;
    }
    /* saving is long work, too: it must not see the interruption that it answers */
    sonde_interrupt(false);
    CLI_TRY(save_all(t));
    cli_fail(SONDE_E_INTERRUPTED, "interrupted behind step %lld of %lld, which is saved", (long long)steps,
             (long long)opts.steps);
    return cli_hint(SONDE_E_INTERRUPTED, "'sonde sae train --resume -o %s' goes on", output);
}

/* Nothing is written before everything was read. */
static sonde_status work(sae_training *t)
{
    sonde_status status;

    CLI_TRY(prepare(t));
    CLI_TRY(open_folders(t));
    /* before the first state: one without a manifest could not be gone on with */
    status = sae_manifest_write(t, settings);
    if (status == SONDE_OK)
        status = save_all(t);
    if (status == SONDE_OK)
        status = train(t);
    return status == SONDE_OK ? sae_print_report(t) : stop(t, status);
}

/* Everything of a call is freed here, however it ended. */
static sonde_status run(const cli_call *call)
{
    sae_training t = {.call = call, .opts = &opts, .started = cli_seconds(), .began = (int64_t)time(NULL)};
    sonde_status status = check_call(&t, call);

    t.folder = output;
    t.model_name = model_name;
    t.files = json_array();
    if (status == SONDE_OK)
        status = work(&t);
    sae_training_free(&t);
    return status;
}

const cli_command cli_cmd_sae_train = {
    .name = "sae train",
    .summary = "trains sparse autoencoders on the activations of a model",
    .arguments = "[MODEL|STORE]",
    .min_arguments = 0,
    .max_arguments = 1,
    .examples =
        {"sonde sae train models/stories --data stories.jsonl --hook blocks.3.hook_resid_post --k 8 --width 2x --batch 64 "
         "--steps 20 -o trained",
         "sonde sae train --resume -o trained --steps 30",
         "sonde harvest models/stories -f stories.jsonl --hook resid_post3 -o rows && sonde sae train rows "
         "--hook blocks.3.hook_resid_post --width 64 --batch 64 --steps 5 -o stored",
         "sonde sae train models/stories --data stories.jsonl --hook blocks.3.hook_resid_post --width 64 --batch 64 "
         "--steps 10 --arch standard --l1 1 --also l1=3,name=sparser -o both"},
    .options = {options, settings, training_options},
    .notes = "Each document is a context of its own: the token that begins a text, then its tokens up to the model's "
             "context; the "
             "activations\n"
             "of the first one are left out. A STORE has its rows already. DIR is SAELens's folder, the scale of the input "
             "folded in; all that --resume "
             "needs lies in\n"
             "DIR/training. Ctrl-C saves.",
    .run = run,
};
