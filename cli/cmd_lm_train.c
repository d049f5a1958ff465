/* cmd_lm_train.c - `sonde lm train`: a language model from texts.              floor 10: cli
 *
 *   DIR/model/             the model in Hugging Face's layout: for sonde, for transformers
 *   DIR/state.safetensors  weights and moments: what --resume goes on from
 *   DIR/curve.csv .png     loss by step
 *   DIR/samples.txt        what it wrote on the way
 *   DIR/manifest.json      what was done, with what
 *
 * Each file is written beside and renamed. A run that ends early, for whatever reason, goes on from its last checkpoint.
 */
#include "lm.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* what the command line says; the defaults of the training itself come from the library's list */
static sonde_lm_opts opts = {
    .struct_size = sizeof opts,
    .separator = -1,
#define DEFAULT(name, flag, value, least, most, what) .name = (value),
#define DEFAULT_CHOICE(name, flag, value, names, what) .name = (value),
    SONDE_LM_OPTION_LIST(DEFAULT, DEFAULT_CHOICE, DEFAULT)
};
static const char *shape, *init, *tokenizer_path, *output, *held_out_path;
static cli_strings data;
static int64_t eval_every = 250, eval_documents = 300, save_every = 500, sample_every = 1000, save_dtype;
static bool is_resumed, crosses_documents;

static const cli_option options[] = {
    {"data", 0, CLI_LIST, &data, "FILE", 0, 0, "texts to train on (.txt, .jsonl, .jsonl.zst); FILE:3 reads it three times"},
    {"output", 'o', CLI_TEXT, &output, "DIR", 0, 0, "folder of the training"},
    {"shape", 0, CLI_TEXT, &shape, "NAME", 0, 0, "sizes of a known shape in place of a CONFIG: one-layer, small, stories, ..."},
    {"init", 0, CLI_TEXT, &init, "MODEL", 0, 0, "go on from the weights of a model; moments begin at 0"},
    {"tokenizer", 0, CLI_TEXT, &tokenizer_path, "FILE", 0, 0, "tokenizer.json, or a folder that has one; default: that of --init"},
    {"resume", 0, CLI_FLAG, &is_resumed, NULL, 0, 0, "go on from the last checkpoint in DIR"},
    {"held-out", 0, CLI_TEXT, &held_out_path, "FILE", 0, 0, "texts that are measured and not trained on"},
    {"eval-every", 0, CLI_INT, &eval_every, "N", 1, 1e9, "steps between measurements of held-out texts"},
    {"eval-documents", 0, CLI_INT, &eval_documents, "N", 0, 1e9, "of them that are measured; 0: all"},
    {"save-every", 0, CLI_INT, &save_every, "N", 1, 1e9, "steps between checkpoints"},
    {"sample-every", 0, CLI_INT, &sample_every, "N", 0, 1e9, "steps between samples of what it writes; 0: none"},
    {"save-dtype", 0, CLI_CHOICE, &save_dtype, "f32|bf16", 0, 0, "type in which the model's weights are stored"},
    {"across-documents", 0, CLI_FLAG, &crosses_documents, NULL, 0, 0, "attention and positions go on over the end of a document"},
    {"field", 0, CLI_TEXT, &cli.field, "NAME", 0, 0, "field of .jsonl that holds the text"},
    {"limit", 0, CLI_INT, &cli.limit, "N", 0, 1e12, "documents of each file that are read at most; 0: all"},
    {0},
};

#define ROW_WHOLE(name, flag, value, least, most, what) {flag, 0, CLI_INT, &opts.name, "N", least, most, what},
#define ROW_REAL(name, flag, value, least, most, what) {flag, 0, CLI_REAL, &opts.name, "X", least, most, what},
#define ROW_CHOICE(name, flag, value, names, what) {flag, 0, CLI_CHOICE, &opts.name, names, 0, 0, what},
static const cli_option training_options[] = {SONDE_LM_OPTION_LIST(ROW_WHOLE, ROW_CHOICE, ROW_REAL){0}};

/* What a run of the command holds. */
typedef struct training {
    sonde_tokenizer *tokenizer;
    sonde_corpus *corpus, *held_out;
    sonde_lm_trainer *trainer;
    sonde_config config;
    int32_t separator;
    lm_curve curve;
    lm_point last;
    cli_progress progress;
    double started;
    int64_t first_step;
    json_t *files;
} training;

/* ---- what it is made of ----------------------------------------------------------------------------------------------- */

/* Exactly one place that the model's sizes come from, and what else a run cannot do without. */
static sonde_status check_call(const cli_call *call)
{
    int n = (shape != NULL) + (init != NULL) + call->n_arguments;

    if (output == NULL)
        return cli_misuse("'lm train' needs a folder: '-o DIR'");
    if (data.n == 0)
        return cli_misuse("'lm train' needs texts: '--data FILE'");
    if (!is_resumed && n != 1)
        return cli_misuse("'lm train' takes one of CONFIG, '--shape NAME', '--init MODEL'");
    if (is_resumed && n != 0)
        return cli_misuse("'--resume' takes the model from '%s'", output);
    if (init == NULL && tokenizer_path == NULL && !is_resumed)
        return cli_misuse("'lm train' needs a tokenizer: '--tokenizer FILE' ('sonde tokenizer train' makes one)");
    return SONDE_OK;
}

/* The tokenizer, and the id that begins a document. */
static sonde_status open_tokenizer(training *t)
{
    const char *path = tokenizer_path ? tokenizer_path : init ? init : lm_path(output, "model");

    CLI_TRY(sonde_tokenizer_load(&t->tokenizer, path));
    t->separator = sonde_tokenizer_bos(t->tokenizer);
    if (t->separator < 0)
        return cli_fail(SONDE_E_UNSUPPORTED, "'%s' has no token that begins a text (<|endoftext|>, <s>)", path);
    return SONDE_OK;
}

/* A model to begin with: of a shape or a config with new weights, or one that is there. */
static sonde_status first_model(sonde_model **out, training *t, const cli_call *call)
{
    const char *from = init ? init : is_resumed ? lm_path(output, "model") : NULL;

    if (from != NULL)
        return sonde_model_load(out, from, NULL);
    CLI_TRY(shape ? sonde_config_shape(&t->config, shape) : sonde_config_load(&t->config, call->arguments[0]));
    /* A shape has the vocabulary of its tokenizer; a config says its own, which may be larger. */
    if (shape != NULL)
        t->config.n_vocab = sonde_tokenizer_n_vocab(t->tokenizer);
    t->config.bos_id = t->config.eos_id = t->separator;
    return sonde_lm_initial(out, &t->config, (uint64_t)opts.seed);
}

/* How far the reading of a file is. */
static void on_read(double share, int64_t n_tokens, void *ctx)
{
    cli_progress_step(ctx, (double)n_tokens, share);
}

/* Adds one file to a corpus, and to the list of the manifest. */
static sonde_status add_file(training *t, sonde_corpus *corpus, const char *text)
{
    sonde_corpus_opts how;
    int64_t before = sonde_corpus_n_tokens(corpus), documents = sonde_corpus_n_documents(corpus);
    size_t path_bytes;
    char *path;
    json_t *row;
    sonde_status status;

    sonde_corpus_opts_init(&how);
    how.field = cli.field;
    how.limit = cli.limit;
    how.progress = on_read;
    how.ctx = &t->progress;
    CLI_TRY(sonde_corpus_split(&path_bytes, &how.repeat, text));
    CLI_TRY(CLI_NEW(path, (int64_t)path_bytes + 1));
    memcpy(path, text, path_bytes);
    cli_progress_begin(&t->progress, "tokens");
    status = sonde_corpus_add(corpus, path, &how);
    cli_progress_end(&t->progress);
    if (status == SONDE_OK) {
        row = json_object();
        json_object_set_new(row, "path", json_string(path));
        json_object_set_new(row, "repeat", json_integer(how.repeat));
        json_object_set_new(row, "documents", json_integer(sonde_corpus_n_documents(corpus) - documents));
        json_object_set_new(row, "tokens", json_integer(sonde_corpus_n_tokens(corpus) - before));
        json_array_append_new(t->files, row);
    }
    free(path);
    return status;
}

/* Texts to train on, and texts to be measured. */
static sonde_status open_corpora(training *t, const sonde_config *config)
{
    CLI_TRY(sonde_corpus_new(&t->corpus, t->tokenizer, t->separator, config->n_vocab));
    for (int64_t i = 0; i < data.n; i++)
        CLI_TRY(add_file(t, t->corpus, data.items[i]));
    if (held_out_path == NULL)
        return SONDE_OK;
    CLI_TRY(sonde_corpus_new(&t->held_out, t->tokenizer, t->separator, config->n_vocab));
    return add_file(t, t->held_out, held_out_path);
}

/* Everything up to the first step. */
static sonde_status begin(training *t, const cli_call *call)
{
    sonde_model *model = NULL;
    sonde_status status;

    t->files = json_array();
    CLI_TRY(open_tokenizer(t));
    CLI_TRY(first_model(&model, t, call));
    t->config = *sonde_model_config(model);
    CLI_TRY_DONE(open_corpora(t, &t->config));
    opts.separator = crosses_documents ? -1 : t->separator;
    CLI_TRY_DONE(sonde_lm_trainer_new(&t->trainer, model, t->corpus, &opts));
    if (is_resumed) {
        CLI_TRY_DONE(sonde_lm_trainer_load(t->trainer, lm_path(output, "state.safetensors")));
        t->first_step = sonde_lm_trainer_steps(t->trainer);
        CLI_TRY_DONE(lm_curve_read(&t->curve, output, t->first_step));
    } else if (mkdir(output, 0777) != 0 && errno != EEXIST) {
        status = cli_fail(SONDE_E_IO, "'%s' cannot be made: %s", output, strerror(errno));
    }
done:
    sonde_model_free(model);
    return status;
}

/* ---- what it leaves ----------------------------------------------------------------------------------------------------- */

/* Arguments, data, machine and results, for whoever asks later how it was made. */
static sonde_status write_manifest(const training *t)
{
    const sonde_model *model = sonde_lm_trainer_model(t->trainer);
    json_t *out = cli_json("sonde.manifest/1"), *options_out = json_object();
    char hash[24], *text;
    sonde_status status;

    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)sonde_corpus_hash(t->corpus));
#define PUT(name, flag, value, least, most, what) json_object_set_new(options_out, flag, json_real((double)sonde_lm_trainer_opts(t->trainer)->name));
#define PUT_CHOICE(name, flag, value, names, what) PUT(name, flag, value, 0, 0, what)
    SONDE_LM_OPTION_LIST(PUT, PUT_CHOICE, PUT)
#undef PUT
#undef PUT_CHOICE
    json_object_set_new(out, "command", json_string("lm train"));
    json_object_set_new(out, "version", json_string(sonde_version()));
    json_object_set_new(out, "options", options_out);
    json_object_set(out, "data", t->files);
    json_object_set_new(out, "corpus_hash", json_string(hash));
    json_object_set_new(out, "corpus_tokens", json_integer(sonde_corpus_n_tokens(t->corpus)));
    json_object_set_new(out, "init", init ? json_string(init) : json_null());
    json_object_set_new(out, "parameters", json_integer(sonde_model_n_parameters(model)));
    json_object_set_new(out, "step", json_integer(t->last.step));
    json_object_set_new(out, "tokens", json_integer(t->last.n_tokens));
    json_object_set_new(out, "loss", cli_json_real(t->last.loss));
    json_object_set_new(out, "held_out_loss", cli_json_real(t->last.held_out_loss));
    json_object_set_new(out, "held_out_bits_per_byte", cli_json_real(t->last.held_out_bits));
    json_object_set_new(out, "first_step_of_this_run", json_integer(t->first_step));
    json_object_set_new(out, "seconds_of_this_run", cli_json_real(cli_seconds() - t->started));
    json_object_set_new(out, "kernels", json_string(sonde_kernel_name()));
    json_object_set_new(out, "threads", json_integer(sonde_threads()));
    json_object_set_new(out, "peak_memory_bytes", json_integer(cli_peak_bytes()));
    text = json_dumps(out, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    json_decref(out);
    if (text == NULL)
        return cli_fail(SONDE_E_NOMEM, "out of memory");
    status = lm_write_text(output, "manifest.json", text, strlen(text));
    free(text);
    return status;
}

/* The state first: what comes behind it can be made again from it. */
static sonde_status save(const training *t)
{
    const char *tokenizer = tokenizer_path ? tokenizer_path : init ? init : lm_path(output, "model");
    sonde_save_opts how;
    char subtitle[160];

    sonde_save_opts_init(&how);
    how.dtype = save_dtype ? SONDE_BF16 : SONDE_F32;
    how.tokenizer = tokenizer;
    snprintf(subtitle, sizeof subtitle, "%s, %s parameters", output, cli_count(sonde_model_n_parameters(sonde_lm_trainer_model(t->trainer))));
    CLI_TRY(sonde_lm_trainer_save(t->trainer, lm_path(output, "state.safetensors")));
    CLI_TRY(sonde_model_save(sonde_lm_trainer_model(t->trainer), lm_path(output, "model"), &how));
    CLI_TRY(lm_curve_write(&t->curve, output));
    CLI_TRY(lm_curve_draw(&t->curve, output, subtitle));
    return write_manifest(t);
}

/* ---- steps ---------------------------------------------------------------------------------------------------------------- */

/* Loss of the held-out texts, where it is time for it. */
static sonde_status evaluate(training *t, lm_point *point)
{
    sonde_lm_score score;

    point->held_out_loss = point->held_out_bits = NAN;
    if (t->held_out == NULL || (point->step % eval_every != 0 && point->step != opts.steps))
        return SONDE_OK;
    CLI_TRY(sonde_lm_evaluate(&score, sonde_lm_trainer_model(t->trainer), t->held_out, t->tokenizer, eval_documents));
    point->held_out_loss = score.loss;
    point->held_out_bits = score.bits_per_byte;
    cli_note("step %lld: loss %.4f, held-out %.4f nats per token, %.4f bits per byte", (long long)point->step, point->loss,
             score.loss, score.bits_per_byte);
    return SONDE_OK;
}

/* One step with all that belongs to it. */
static sonde_status step(training *t)
{
    sonde_lm_report r;
    lm_point p;

    CLI_TRY(sonde_lm_trainer_step(t->trainer, &r));
    p = (lm_point){.step = r.step, .n_tokens = r.step * r.n_tokens, .loss = r.loss, .lr = r.lr, .gradient_norm = r.gradient_norm};
    CLI_TRY(evaluate(t, &p));
    CLI_TRY(lm_curve_add(&t->curve, &p));
    t->last = p;
    if (sample_every > 0 && (p.step % sample_every == 0 || p.step == opts.steps))
        CLI_TRY(lm_sample(sonde_lm_trainer_model(t->trainer), t->tokenizer, t->separator, output, p.step, 3));
    cli_progress_step(&t->progress, (double)((p.step - t->first_step) * r.n_tokens),
                      (double)(p.step - t->first_step) / (double)(opts.steps - t->first_step));
    return p.step % save_every == 0 || p.step == opts.steps ? save(t) : SONDE_OK;
}

/* All steps. An interruption is saved, too: it is an orderly end. */
static sonde_status train(training *t)
{
    sonde_status status = SONDE_OK;

    cli_progress_begin(&t->progress, "tokens");
    while (status == SONDE_OK && sonde_lm_trainer_steps(t->trainer) < opts.steps)
        status = step(t);
    cli_progress_end(&t->progress);
    if (status != SONDE_E_INTERRUPTED || t->last.step == 0)
        return status;
    sonde_interrupt(false);
    CLI_TRY(save(t));
    cli_fail(SONDE_E_INTERRUPTED, "interrupted behind step %lld of %lld, which is saved", (long long)t->last.step,
             (long long)opts.steps);
    return cli_hint(SONDE_E_INTERRUPTED, "the same command with --resume in place of the model's sizes goes on");
}

/* What the reader of the terminal, or a script, wants to know at the end. */
static sonde_status report(const training *t)
{
    double seconds = cli_seconds() - t->started;
    int64_t n_tokens = (t->last.step - t->first_step) * opts.batch * sonde_lm_trainer_opts(t->trainer)->context;

    if (cli.json) {
        json_t *out = cli_json("sonde.lm.train/1");
        json_object_set_new(out, "model", json_string(lm_path(output, "model")));
        json_object_set_new(out, "step", json_integer(t->last.step));
        json_object_set_new(out, "loss", cli_json_real(t->last.loss));
        json_object_set_new(out, "held_out_loss", cli_json_real(t->last.held_out_loss));
        json_object_set_new(out, "held_out_bits_per_byte", cli_json_real(t->last.held_out_bits));
        json_object_set_new(out, "seconds", cli_json_real(seconds));
        json_object_set_new(out, "tokens_per_s", cli_json_real((double)n_tokens / seconds));
        return cli_json_write(out);
    }
    printf("%s: %s parameters, step %lld, loss %.4f nats per token\n", lm_path(output, "model"),
           cli_count(sonde_model_n_parameters(sonde_lm_trainer_model(t->trainer))), (long long)t->last.step, t->last.loss);
    if (isfinite(t->last.held_out_loss))
        printf("held-out: %.4f nats per token, %.4f bits per byte\n", t->last.held_out_loss, t->last.held_out_bits);
    printf("%s in %.0f s, %.0f tokens/s, peak memory %s\n", cli_counted(n_tokens, "token"), seconds, (double)n_tokens / seconds,
           cli_bytes((double)cli_peak_bytes()));
    return SONDE_OK;
}

static sonde_status run(const cli_call *call)
{
    training t = {.started = cli_seconds()};
    sonde_status status;

    CLI_TRY(check_call(call));
    CLI_TRY_DONE(begin(&t, call));
    CLI_TRY_DONE(train(&t));
    status = report(&t);
done:
    json_decref(t.files);
    lm_curve_free(&t.curve);
    sonde_lm_trainer_free(t.trainer);
    sonde_corpus_free(t.corpus);
    sonde_corpus_free(t.held_out);
    sonde_tokenizer_free(t.tokenizer);
    return status;
}

const cli_command cli_cmd_lm_train = {
    .name = "lm train",
    .summary = "trains a language model on texts",
    .arguments = "[CONFIG]",
    .min_arguments = 0,
    .max_arguments = 1,
    .examples = {"sonde lm train --shape one-layer --tokenizer tokenizer.json --data stories.jsonl -o run",
                 "sonde lm train --resume --data stories.jsonl -o run"},
    .options = {options, training_options},
    .run = run,
};
