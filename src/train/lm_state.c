/* lm_state.c - the state of a training as a file, and back.                    floor 6: train
 *
 * Three blocks of floats (weights, m, v) as the trainer holds them, and texts that say what they belong to. Whoever resumes
 * gets the same bytes as if the training had not stopped, or is told what differs.
 */
#include "train/lm.h"

#include <sonde/format.h>
#include <sonde/kernel.h>

#include <stdio.h>
#include <stdlib.h>

static const char schema[] = "sonde.lm-training/1";
static const char *const block_names[] = {"weights", "m", "v"};
enum { N_BLOCKS = 3, TEXT = 160, N_TEXTS = 5 };

/* What the blocks belong to: sizes and kinds that give each float its meaning. */
static void describe_model(char *out, const sonde_lm_trainer *t)
{
    const sonde_config *c = &t->model->config;
    snprintf(out, TEXT, "%s, %lld layers, d %lld, heads %lld of %lld (%lld for keys), MLP %lld %s, vocabulary %lld, context %lld%s",
             c->family, (long long)c->n_layers, (long long)c->d_model, (long long)c->n_heads, (long long)c->d_head,
             (long long)c->n_kv_heads, (long long)c->d_mlp, c->activation, (long long)c->n_vocab, (long long)c->n_context,
             c->tied ? ", tied" : "");
}

/* Key and value pairs of a file. */
typedef struct texts {
    char text[N_TEXTS][TEXT];
    const char *pairs[2 * (N_TEXTS + 64)];
    char options[64][32];
    int64_t n;
} texts;

static void add_text(texts *x, const char *key, const char *value)
{
    x->pairs[2 * x->n] = key;
    x->pairs[2 * x->n++ + 1] = value;
}

/* An option, so that it reads back as the same number. */
static void add_option(texts *x, int i, const char *flag, double value)
{
    snprintf(x->options[i], sizeof x->options[i], "%.17g", value);
    add_text(x, flag, x->options[i]);
}

/* All that is written beside the blocks. */
static void describe(texts *x, const sonde_lm_trainer *t)
{
    int i = 0;

    x->n = 0;
    describe_model(x->text[0], t);
    snprintf(x->text[1], TEXT, "%016llx", (unsigned long long)sonde_corpus_hash(t->corpus));
    snprintf(x->text[2], TEXT, "%lld", (long long)t->step);
    add_text(x, "schema", schema);
    add_text(x, "version", sonde_version());
    add_text(x, "kernels", sonde_kernel_name());
    add_text(x, "model", x->text[0]);
    add_text(x, "corpus", x->text[1]);
    add_text(x, "step", x->text[2]);
#define ADD(name, flag, value, least, most, what) add_option(x, i++, flag, (double)t->opts.name);
#define ADD_CHOICE(name, flag, value, names, what) add_option(x, i++, flag, (double)t->opts.name);
    SONDE_LM_OPTION_LIST(ADD, ADD_CHOICE, ADD)
#undef ADD
#undef ADD_CHOICE
    add_option(x, i, "separator", (double)t->opts.separator);
}

sonde_status sonde_lm_trainer_save(const sonde_lm_trainer *t, const char *path)
{
    const float *blocks[N_BLOCKS] = {t->model->parameters, t->m, t->v};
    int64_t n = t->model->n_parameters;
    sonde_tensor declared[N_BLOCKS];
    sonde_sink *sink;
    texts x;

    describe(&x, t);
    for (int i = 0; i < N_BLOCKS; i++)
        SONDE_TRY(sonde_tensor_view(&declared[i], NULL, SONDE_F32, &n, 1));
    SONDE_TRY(sonde_sink_open(&sink, path, block_names, declared, N_BLOCKS, x.pairs, x.n));
    for (int i = 0; i < N_BLOCKS; i++) {
        sonde_status status = sonde_sink_put(sink, i, 0, blocks[i], n);
        if (status != SONDE_OK) {
            sonde_sink_abort(sink);
            return status;
        }
    }
    return sonde_sink_commit(sink);
}

/* ---- reading -------------------------------------------------------------------------------------------------------------- */

/* A text of the file. */
static sonde_status get_text(const char **out, const sonde_safetensors *file, const char *key, const char *path)
{
    *out = sonde_safetensors_metadata(file, key);
    return *out ? SONDE_OK : SONDE_FAIL(SONDE_E_FORMAT, "'%s' is no state of a training: it has no '%s'", path, key);
}

/* Fails if the file's text is another one than this training's. */
static sonde_status check_text(const sonde_safetensors *file, const char *key, const char *own, const char *path)
{
    const char *text;

    SONDE_TRY(get_text(&text, file, key, path));
    if (strcmp(text, own) != 0)
        return SONDE_FAIL(SONDE_E_ARG, "'%s' is of another training: its '%s' is %s, here it is %s", path, key, text, own);
    return SONDE_OK;
}

/* Whether training may go on with another value of an option: its length, and how the rate runs. */
static bool may_differ(const char *name)
{
    static const char *const free_ones[] = {"steps", "schedule", "warmup", "decay-steps", "lr", "last-lr"};

    for (size_t i = 0; i < sizeof free_ones / sizeof *free_ones; i++)
        if (strcmp(name, free_ones[i]) == 0)
            return true;
    return false;
}

/* All texts of the file against those that this training would write. */
static sonde_status check_texts(const sonde_lm_trainer *t, const sonde_safetensors *file, const char *path)
{
    const char *kernels;
    texts x;

    describe(&x, t);
    SONDE_TRY(check_text(file, "schema", schema, path));
    SONDE_TRY(get_text(&kernels, file, "kernels", path));
    if (strcmp(kernels, sonde_kernel_name()) != 0)
        sondep_log(SONDE_LOG_WARN, "'%s' was computed with the kernels '%s', here they are '%s': bytes will differ by rounding",
                   path, kernels, sonde_kernel_name());
    for (int64_t i = 0; i < x.n; i++) {
        const char *key = x.pairs[2 * i];
        if (strcmp(key, "version") == 0 || strcmp(key, "kernels") == 0 || strcmp(key, "step") == 0 || may_differ(key))
            continue;
        SONDE_TRY(check_text(file, key, x.pairs[2 * i + 1], path));
    }
    return SONDE_OK;
}

/* The step that the file was written behind. */
static sonde_status read_step(int64_t *out, const sonde_safetensors *file, const char *path)
{
    const char *text;
    char *end;

    SONDE_TRY(get_text(&text, file, "step", path));
    *out = strtoll(text, &end, 10);
    return *end == '\0' && *out >= 0 ? SONDE_OK : SONDE_FAIL(SONDE_E_FORMAT, "'%s': 'step' is '%s'", path, text);
}

sonde_status sonde_lm_trainer_load(sonde_lm_trainer *t, const char *path)
{
    float *blocks[N_BLOCKS] = {t->model->parameters, t->m, t->v};
    sonde_safetensors *file;
    sonde_tensor tensors[N_BLOCKS];
    int64_t step;
    sonde_status status;

    SONDE_TRY(sonde_safetensors_open(&file, path));
    SONDE_TRY_DONE(check_texts(t, file, path));
    SONDE_TRY_DONE(read_step(&step, file, path));
    for (int i = 0; i < N_BLOCKS; i++) {
        SONDE_TRY_DONE(sonde_safetensors_get(&tensors[i], file, block_names[i]));
        if (tensors[i].dtype != SONDE_F32 || sonde_tensor_n_elements(&tensors[i]) != t->model->n_parameters)
            SONDE_TRY_DONE(SONDE_FAIL(SONDE_E_FORMAT, "'%s': '%s' has not the %lld floats of the model", path, block_names[i],
                                      (long long)t->model->n_parameters));
    }
    /* Nothing was changed until here. */
    for (int i = 0; i < N_BLOCKS; i++)
        memcpy(blocks[i], tensors[i].data, (size_t)t->model->n_parameters * sizeof(float));
    t->step = step;
done:
    sonde_safetensors_close(file);
    return status;
}
