/* cmd_lm_train.c - `sonde lm train`: a language model from texts.              floor 10: cli
 *
 * What it leaves stands in lm.h. Each file is written beside and renamed, and in an order in which a run that is killed at
 * any moment goes on from its last state: first what is trained (tokenizer, config), then the curve, then the state, then
 * what can be made again from it. What of the curve and the samples lies behind the state is cut off when it is resumed.
 */
#include "lm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* what the command line says; the defaults of the training itself come from the library's list */
static sonde_lm_opts opts = {.struct_size = sizeof opts,
                             .separator = -1,
#define DEFAULT(name, flag, value, least, most, what) .name = (value),
#define DEFAULT_CHOICE(name, flag, value, names, what) .name = (value),
                             SONDE_LM_OPTION_LIST(DEFAULT, DEFAULT_CHOICE, DEFAULT)};
static const char *shape, *init, *tokenizer_path, *output, *held_out_path;
static cli_strings data;
static int64_t eval_every = 250, eval_documents = 300, save_every = 500, sample_every = 1000, save_dtype;
static bool is_resumed, crosses_documents;

static const cli_option options[] = {
    {"output", 'o', CLI_TEXT, &output, "DIR", 0, 0,
     "folder of the training: a new one, or with --resume that of an earlier run"},
    {"shape", 0, CLI_TEXT, &shape, "NAME", 0, 0,
     "sizes of a known shape in place of a CONFIG: one-layer, small, stories, ..."},
    {"init", 0, CLI_TEXT, &init, "MODEL", 0, 0, "go on from the weights of a model; moments begin at 0"},
    {"tokenizer", 0, CLI_TEXT, &tokenizer_path, "FILE", 0, 0,
     "tokenizer.json, or a folder that has one; default: that of --init"},
    {"resume", 0, CLI_FLAG, &is_resumed, NULL, 0, 0,
     "go on from the last checkpoint in DIR; options that are not given stay"},
    {"across-documents", 0, CLI_FLAG, &crosses_documents, NULL, 0, 0,
     "attention and positions go on over the end of a document"},
    {0},
};

/* What a resumed run takes over from the manifest, where it is not given anew. */
static const cli_option settings[] = {
    {"data", 0, CLI_LIST, &data, "FILE", 0, 0, "texts to train on (.txt, .jsonl, .jsonl.zst); FILE:3 reads it three times"},
    {"held-out", 0, CLI_TEXT, &held_out_path, "FILE", 0, 0, "texts that are measured and not trained on"},
    {"field", 0, CLI_TEXT, &cli.field, "NAME", 0, 0, "field of .jsonl that holds the text"},
    {"limit", 0, CLI_INT, &cli.limit, "N", 0, 1e12, "documents of each file that are read at most; 0: all"},
    {"eval-every", 0, CLI_INT, &eval_every, "N", 1, 1e9, "steps between measurements of held-out texts"},
    {"eval-documents", 0, CLI_INT, &eval_documents, "N", 0, 1e9, "of them that are measured; 0: all"},
    {"save-every", 0, CLI_INT, &save_every, "N", 1, 1e9, "steps between checkpoints"},
    {"sample-every", 0, CLI_INT, &sample_every, "N", 0, 1e9, "steps between samples of what it writes; 0: none"},
    {"save-dtype", 0, CLI_CHOICE, &save_dtype, "f32|bf16", 0, 0, "type in which the model's weights are stored"},
    {0},
};

#define ROW_WHOLE(name, flag, value, least, most, what) {flag, 0, CLI_INT, &opts.name, "N", least, most, what},
#define ROW_REAL(name, flag, value, least, most, what) {flag, 0, CLI_REAL, &opts.name, "X", least, most, what},
#define ROW_CHOICE(name, flag, value, names, what) {flag, 0, CLI_CHOICE, &opts.name, names, 0, 0, what},
static const cli_option training_options[] = {SONDE_LM_OPTION_LIST(ROW_WHOLE, ROW_CHOICE, ROW_REAL){0}};

/* What is in the folder. */
static const char *const own_names[] = {
    "config.json", "tokenizer.json", "tokenizer_config.json", "model", "curve.csv", "curve.png",
    "samples.txt", "manifest.json",  "state.safetensors",     NULL};
static const training_kind kind = {"training", "state.safetensors", NULL, own_names};

/* ---- what it is made of ----------------------------------------------------------------------------------------------- */

/* Exactly one place that the model's sizes come from. */
static sonde_status check_call(const cli_call *call)
{
    int n = (shape != NULL) + (init != NULL) + call->n_arguments;

    /* one line a misuse, in the order in which a person meets them */
    if (output == NULL)
        return cli_misuse("'lm train' needs a folder: '-o DIR'");
    if (!is_resumed && n != 1)
        return cli_misuse("'lm train' takes one of CONFIG, '--shape NAME', '--init MODEL'");
    if (is_resumed && n != 0)
        return cli_misuse("'--resume' takes the model from '%s'", output);
    if (init == NULL && tokenizer_path == NULL && !is_resumed)
        return cli_misuse("'lm train' needs a tokenizer: '--tokenizer FILE' ('sonde tokenizer train' makes one)");
    return training_folder_check(output, &kind, is_resumed);
}

/* What the command line does not say is as it was. */
static sonde_status take_over(lm_training *t)
{
    sonde_lm_opts saved;

    CLI_TRY(sonde_lm_opts_load(&saved, training_path(output, "state.safetensors")));
#define KEEP(name, ...)            \
    if (!cli_is_given(&opts.name)) \
        opts.name = saved.name;
    SONDE_LM_OPTION_LIST(KEEP, KEEP, KEEP)
#undef KEEP
    if (!cli_is_given(&crosses_documents))
        crosses_documents = saved.separator < 0;
    return training_manifest_read(&t->earlier, output, t->settings);
}

/* A file that the folder keeps from the beginning. Its copy in the model serves where somebody took it away. */
static const char *kept(const char *name)
{
    const char *path = training_path(output, name);
    return training_exists(path) ? path : training_path(training_path(output, "model"), name);
}

/* The tokenizer.json that the command line means. */
static const char *tokenizer_file(void)
{
    const char *path = tokenizer_path ? tokenizer_path : init, *inside;

    if (path == NULL)
        return kept("tokenizer.json");
    inside = training_path(path, "tokenizer.json");
    return training_exists(inside) ? inside : path;
}

/* Weights know the ids of their own tokenizer alone: with another one they are worth nothing, and nothing else would tell. */
static void note_other_tokenizer(const sonde_tokenizer *chosen)
{
    sonde_tokenizer *own;
    int64_t n;
    bool is_same;

    if (init == NULL || tokenizer_path == NULL || sonde_tokenizer_load(&own, init) != SONDE_OK)
        return;
    n = sonde_tokenizer_n_vocab(own);
    is_same = n == sonde_tokenizer_n_vocab(chosen);
    for (int64_t id = 0; id < n && is_same; id++) {
        const char *a = sonde_tokenizer_token(own, (int32_t)id), *b = sonde_tokenizer_token(chosen, (int32_t)id);
        is_same = a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
    }
    sonde_tokenizer_free(own);
    if (!is_same)
        cli_note("'%s' is not the tokenizer of '%s': its ids mean other tokens there", tokenizer_path, init);
}

/* The tokenizer, and the id that begins a document. */
static sonde_status open_tokenizer(lm_training *t)
{
    const char *path = tokenizer_file();

    CLI_TRY(sonde_tokenizer_load(&t->tokenizer, path));
    note_other_tokenizer(t->tokenizer);
    t->separator = sonde_tokenizer_bos(t->tokenizer);
    if (t->separator < 0)
        return cli_fail(SONDE_E_UNSUPPORTED, "'%s' has no token that begins a text (<|endoftext|>, <s>)", path);
    return SONDE_OK;
}

/* Sizes of a model with new weights; of one that is resumed, whose weights come from the state. */
static sonde_status read_config(lm_training *t, const cli_call *call)
{
    if (is_resumed)
        return sonde_config_load(&t->config, kept("config.json"));
    CLI_TRY(shape ? sonde_config_shape(&t->config, shape) : sonde_config_load(&t->config, call->arguments[0]));
    /* A shape has the vocabulary of its tokenizer; a config says its own, which may be larger. */
    if (shape != NULL)
        t->config.n_vocab = sonde_tokenizer_n_vocab(t->tokenizer);
    t->config.bos_id = t->config.eos_id = t->separator;
    return SONDE_OK;
}

/* A model to begin with: of a shape or a config with new weights, or one that is there. */
static sonde_status first_model(sonde_model **out, lm_training *t, const cli_call *call)
{
    *out = NULL;
    if (init != NULL) {
        CLI_TRY(sonde_model_load(out, init, NULL));
        t->config = *sonde_model_config(*out);
    } else {
        CLI_TRY(read_config(t, call));
    }
    if (sonde_tokenizer_n_vocab(t->tokenizer) > t->config.n_vocab)
        return cli_fail(SONDE_E_RANGE, "the tokenizer has %lld ids, the model's vocabulary is %lld",
                        (long long)sonde_tokenizer_n_vocab(t->tokenizer), (long long)t->config.n_vocab);
    return init ? SONDE_OK : sonde_lm_initial(out, &t->config, (uint64_t)opts.seed);
}

/* Everything that can be wrong with what was asked for is found here, before a file is written. */
static sonde_status prepare(lm_training *t, const cli_call *call)
{
    sonde_model *model = NULL;
    sonde_status status;

    CLI_TRY(is_resumed ? take_over(t) : SONDE_OK);
    if (data.n == 0)
        return cli_misuse("'lm train' needs texts: '--data FILE'");
    CLI_TRY(open_tokenizer(t));
    CLI_TRY_DONE(first_model(&model, t, call));
    /* a corpus before the trainer: its size decides whether there is a step at all */
    CLI_TRY_DONE(lm_read_texts(t, &data, held_out_path));
    opts.separator = crosses_documents ? -1 : t->separator;
    status = sonde_lm_trainer_new(&t->trainer, model, t->corpus, &opts);
done:
    sonde_model_free(model);
    return status;
}

/* ---- what it leaves ----------------------------------------------------------------------------------------------------- */

/* What the next run needs. The curve first: it is cut to the state, not the other way round. */
static sonde_status save_state(lm_training *t)
{
    CLI_TRY(lm_curve_write(&t->curve, output));
    CLI_TRY(sonde_lm_trainer_save(t->trainer, training_path(output, "state.safetensors")));
    t->saved_step = sonde_lm_trainer_steps(t->trainer);
    return SONDE_OK;
}

/* The model for everybody else; it can be made again from the state. */
static sonde_status save_model(const lm_training *t)
{
    sonde_save_opts how;

    sonde_save_opts_init(&how);
    how.dtype = save_dtype ? SONDE_BF16 : SONDE_F32;
    how.tokenizer = training_path(output, "tokenizer.json");
    return sonde_model_save(sonde_lm_trainer_model(t->trainer), training_path(output, "model"), &how);
}

/* What the picture says of the model. */
static void describe_model(char *out, size_t n_bytes, const sonde_model *model)
{
    const sonde_config *c = sonde_model_config(model);
    snprintf(out, n_bytes, "%s, %s of width %lld, vocabulary %s: %s parameters", c->family,
             cli_counted(c->n_layers, "layer"), (long long)c->d_model, cli_count(c->n_vocab),
             cli_count(sonde_model_n_parameters(model)));
}

/* A checkpoint: all files, the state before what can be made again from it. */
static sonde_status save(lm_training *t)
{
    char subtitle[160];

    describe_model(subtitle, sizeof subtitle, sonde_lm_trainer_model(t->trainer));
    CLI_TRY(save_state(t));
    CLI_TRY(save_model(t));
    CLI_TRY(lm_curve_draw(&t->curve, output, subtitle));
    return lm_manifest_write(t);
}

/* ---- steps ---------------------------------------------------------------------------------------------------------------- */

/* Whether something is to be done behind a step: every so many, and at the end. */
static bool is_due(int64_t step, int64_t every)
{
    return step % every == 0 || step == opts.steps;
}

/* Loss of the held-out texts. */
static sonde_status evaluate(lm_training *t, lm_point *point)
{
    sonde_lm_score score;

    CLI_TRY(sonde_lm_evaluate(&score, sonde_lm_trainer_model(t->trainer), t->held_out, t->tokenizer, eval_documents));
    point->held_out_loss = score.loss;
    point->held_out_bits = score.bits_per_byte;
    cli_note("step %lld: loss %.4f, held-out %.4f nats per token, %.4f bits per byte", (long long)point->step, point->loss,
             score.loss, score.bits_per_byte);
    return SONDE_OK;
}

/* What is due behind the last step and has not been done: an interruption leaves it to the next run. */
static sonde_status look_back(lm_training *t)
{
    lm_point *p = t->curve.n > 0 ? &t->curve.points[t->curve.n - 1] : NULL;

    if (p == NULL || p->step != sonde_lm_trainer_steps(t->trainer))
        return SONDE_OK;
    if (t->held_out != NULL && !isfinite(p->held_out_loss) && is_due(p->step, eval_every))
        CLI_TRY(evaluate(t, p));
    /* samples of a step that was done, but whose samples were not: none are lost and none come twice */
    if (sample_every > 0 && t->sampled_step < p->step && is_due(p->step, sample_every)) {
        CLI_TRY(lm_sample(sonde_lm_trainer_model(t->trainer), t->tokenizer, t->separator, output, p->step, 3));
        t->sampled_step = p->step;
    }
    return SONDE_OK;
}

/* One step with all that belongs to it. */
static sonde_status step(lm_training *t)
{
    sonde_lm_report r;
    lm_point p = {.held_out_loss = NAN, .held_out_bits = NAN};

    CLI_TRY(sonde_lm_trainer_step(t->trainer, &r));
    p.step = r.step;
    p.n_tokens = r.step * r.n_tokens;
    p.loss = r.loss;
    p.lr = r.lr;
    p.gradient_norm = r.gradient_norm;
    /* the point first: what is measured behind this step belongs to it */
    CLI_TRY(lm_curve_add(&t->curve, &p));
    CLI_TRY(look_back(t));
    snprintf(t->progress.note, sizeof t->progress.note, "step %lld  loss %.4f  lr %.3g", (long long)r.step, r.loss, r.lr);
    cli_progress_step(&t->progress, (double)((p.step - t->first_step) * r.n_tokens),
                      (double)(p.step - t->first_step) / (double)(opts.steps - t->first_step));
    return is_due(p.step, save_every) ? save(t) : SONDE_OK;
}

/* A new training: with all that --resume needs before there is a step to lose. */
static sonde_status start(lm_training *t)
{
    int64_t none;

    CLI_TRY(training_copy(output, "tokenizer.json", tokenizer_file()));
    CLI_TRY(save_model(t));
    CLI_TRY(training_copy(output, "config.json", training_path(output, "model/config.json")));
    CLI_TRY(lm_samples_cut(&none, output, 0));
    CLI_TRY(save_state(t));
    return lm_manifest_write(t);
}

/* One that goes on. The model may be older than the state, or gone: it is written anew. */
static sonde_status resume(lm_training *t)
{
    CLI_TRY(sonde_lm_trainer_load(t->trainer, training_path(output, "state.safetensors")));
    t->first_step = t->saved_step = sonde_lm_trainer_steps(t->trainer);
    CLI_TRY(lm_curve_read(&t->curve, output, t->first_step));
    CLI_TRY(lm_samples_cut(&t->sampled_step, output, t->first_step));
    CLI_TRY(training_copy(output, "tokenizer.json", tokenizer_file()));
    CLI_TRY(training_copy(output, "config.json", kept("config.json")));
    CLI_TRY(look_back(t));
    return save(t);
}

/* All steps. */
static sonde_status train(lm_training *t)
{
    sonde_status status = SONDE_OK;

    cli_progress_begin(&t->progress, "tokens");
    while (status == SONDE_OK && sonde_lm_trainer_steps(t->trainer) < opts.steps)
        status = step(t);
    cli_progress_end(&t->progress);
    return status;
}

/* How a training ends that did not come to its end: an interruption is saved, since it is an orderly end; of all else the last
 * checkpoint stays. */
static sonde_status stop(lm_training *t, sonde_status status)
{
    int64_t steps = sonde_lm_trainer_steps(t->trainer);

    /* nothing was saved yet: there is nothing to go on from */
    if (t->saved_step < 0)
        return status;
    if (status != SONDE_E_INTERRUPTED) {
        cli_note("the checkpoint of step %lld stays: 'sonde lm train --resume -o %s%s' goes on from it",
                 (long long)t->saved_step, output, status == SONDE_E_NONFINITE ? " --lr SMALLER" : "");
        return status;
    }
    /* saving is long work, too: it must not see the interruption that it answers */
    sonde_interrupt(false);
    CLI_TRY(steps > t->saved_step ? save(t) : SONDE_OK);
    cli_fail(SONDE_E_INTERRUPTED, "interrupted behind step %lld of %lld, which is saved", (long long)steps,
             (long long)opts.steps);
    return cli_hint(SONDE_E_INTERRUPTED, "'sonde lm train --resume -o %s' goes on", output);
}

/* What the reader of the terminal, or a script, wants to know at the end. */
static sonde_status report(const lm_training *t)
{
    double seconds = cli_seconds() - t->started;
    int64_t steps = sonde_lm_trainer_steps(t->trainer);
    int64_t n_tokens = (steps - t->first_step) * opts.batch * sonde_lm_trainer_opts(t->trainer)->context;
    lm_point last = lm_curve_last(&t->curve);

    /* rates are those of this run: a resumed one did not take the time of the first */
    if (cli.json) {
        json_t *out = cli_json("sonde.lm.train/1");
        json_object_set_new(out, "model", json_string(training_path(output, "model")));
        json_object_set_new(out, "step", json_integer(steps));
        json_object_set_new(out, "loss", cli_json_real(last.loss));
        json_object_set_new(out, "held_out_loss", cli_json_real(last.held_out_loss));
        json_object_set_new(out, "held_out_bits_per_byte", cli_json_real(last.held_out_bits));
        json_object_set_new(out, "seconds", cli_json_real(seconds));
        json_object_set_new(out, "tokens_per_s", cli_json_real((double)n_tokens / seconds));
        return cli_json_write(out);
    }
    printf("%s: %s parameters, step %lld, loss %.4f nats per token\n", training_path(output, "model"),
           cli_count(sonde_model_n_parameters(sonde_lm_trainer_model(t->trainer))), (long long)steps, last.loss);
    if (isfinite(last.held_out_loss))
        printf("held-out: %.4f nats per token, %.4f bits per byte\n", last.held_out_loss, last.held_out_bits);
    printf("%s in %.0f s, %.0f tokens/s, peak memory %s\n", cli_counted(n_tokens, "token"), seconds,
           (double)n_tokens / seconds, cli_bytes((double)cli_peak_bytes()));
    return SONDE_OK;
}

/* A folder that is there is taken at once; a new one is made when everything was read: until then nothing is left. */
static sonde_status work(lm_training *t, const cli_call *call)
{
    bool is_there = training_exists(output);
    sonde_status status;

    CLI_TRY(is_there ? training_folder_open(output) : SONDE_OK);
    CLI_TRY(prepare(t, call));
    CLI_TRY(is_there ? SONDE_OK : training_folder_open(output));
    status = is_resumed ? resume(t) : start(t);
    if (status == SONDE_OK)
        status = train(t);
    return status == SONDE_OK ? report(t) : stop(t, status);
}

/* Everything of a call is freed here, however it ended. */
static sonde_status run(const cli_call *call)
{
    lm_training t = {
        .call = call, .settings = settings, .started = cli_seconds(), .began = (int64_t)time(NULL), .saved_step = -1};
    sonde_status status;

    CLI_TRY(check_call(call));
    t.folder = output;
    t.init = init;
    t.files = json_array();
    status = work(&t, call);
    lm_curve_free(&t.curve);
    sonde_lm_trainer_free(t.trainer);
    sonde_corpus_free(t.corpus);
    sonde_corpus_free(t.held_out);
    sonde_tokenizer_free(t.tokenizer);
    json_decref(t.files);
    json_decref(t.earlier);
    return status;
}

const cli_command cli_cmd_lm_train = {
    .name = "lm train",
    .summary = "trains a language model on texts",
    .arguments = "[CONFIG]",
    .min_arguments = 0,
    .max_arguments = 1,
    .examples = {"sonde lm train --shape one-layer --tokenizer models/stories --data stories.jsonl --context 32 --batch 8 "
                 "--steps 20 -o run",
                 "sonde lm train --resume -o run --steps 30",
                 "sonde lm train --init models/stories --data stories.jsonl --context 32 --batch 8 --steps 3 -o tuned"},
    .options = {options, settings, training_options},
    .notes = "Without --resume, DIR is a new folder, or an empty one. With it, what is trained lies in DIR: steps, the "
             "schedule, its step\n"
             "size, weight decay and clipping may be given anew, and texts may lie elsewhere; all else stays as it was. "
             "Ctrl-C saves.",
    .run = run,
};
