/* lm_state.c - the state of a training as a file, and back.                    floor 6: train
 *
 * Three blocks of floats (weights, m, v) as the trainer holds them, and texts that say what they belong to. Whoever resumes
 * gets the same bytes as if the training had not stopped, or is told what differs.
 */
#include "train/lm.h"

#include "format/json.h"

#include <sonde/format.h>
#include <sonde/kernel.h>

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char schema[] = "sonde.lm-training/2";
static const char *const block_names[] = {"weights", "m", "v"};
enum { N_BLOCKS = 3, MOST_TEXTS = 64, TEXT = 96 };

/* Everything of a model that gives the floats of a block their meaning. */
#define MODEL_FIELDS(TEXT, WHOLE, REAL) \
    TEXT(family)                        \
    TEXT(activation)                    \
    WHOLE(n_layers)                     \
    WHOLE(d_model)                      \
    WHOLE(n_heads)                      \
    WHOLE(n_kv_heads)                   \
    WHOLE(d_head)                       \
    WHOLE(d_mlp)                        \
    WHOLE(n_vocab)                      \
    WHOLE(n_context)                    \
    WHOLE(norm)                         \
    REAL(norm_eps)                      \
    WHOLE(positions)                    \
    REAL(rope.theta)                    \
    TEXT(rope.type)                     \
    REAL(rope.factor)                   \
    REAL(rope.low_freq_factor)          \
    REAL(rope.high_freq_factor)         \
    WHOLE(rope.original_context)        \
    WHOLE(gated_mlp)                    \
    WHOLE(tied)                         \
    WHOLE(scale_attention)              \
    WHOLE(has_qkv_bias)                 \
    WHOLE(has_o_bias)                   \
    WHOLE(has_mlp_bias)                 \
    WHOLE(norm_bias)                    \
    WHOLE(unembed_bias)

/* ---- texts of a file ------------------------------------------------------------------------------------------------------ */

/* Key and value pairs of a file. */
typedef struct texts {
    char values[MOST_TEXTS][TEXT];
    const char *pairs[2 * MOST_TEXTS];
    int64_t n;
} texts;

/* Keys are literals; values are copied. Both counts are ours, so that too many are our bug. */
static void add_text(texts *x, const char *key, const char *value)
{
    SONDE_ASSERT(x->n < MOST_TEXTS && strlen(value) < TEXT);
    snprintf(x->values[x->n], TEXT, "%s", value);
    x->pairs[2 * x->n] = key;
    x->pairs[2 * x->n + 1] = x->values[x->n];
    x->n++;
}

static void add_whole(texts *x, const char *key, int64_t value)
{
    char text[TEXT];
    snprintf(text, sizeof text, "%lld", (long long)value);
    add_text(x, key, text);
}

/* A number that reads back as the same. */
static void add_real(texts *x, const char *key, double value)
{
    char text[SONDEP_NUMBER_BYTES];
    sondep_json_double(text, value);
    add_text(x, key, text);
}

/* By its name: its number may be another's in another version. */
static void add_choice(texts *x, const char *key, const char *names, int64_t value)
{
    char text[TEXT];
    size_t n_bytes;
    const char *name = sondep_lm_choice(&n_bytes, names, value);

    snprintf(text, sizeof text, "%.*s", (int)n_bytes, name);
    add_text(x, key, text);
}

/* As the manifest shows it. */
static void add_hash(texts *x, const char *key, uint64_t value)
{
    char text[TEXT];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)value);
    add_text(x, key, text);
}

/* All that is written beside the blocks. */
static void describe(texts *x, const sonde_lm_trainer *t)
{
    const sonde_config *c = &t->model->config;
    const sonde_lm_opts *o = &t->opts;

    /* What kind of file this is, and who wrote it when. */
    x->n = 0;
    add_text(x, "schema", schema);
    add_text(x, "version", sonde_version());
    add_text(x, "kernels", sonde_kernel_name());
    add_whole(x, "step", t->step);
    /* What is trained, on what, and how. */
#define ADD_TEXT(name) add_text(x, "model." #name, c->name);
#define ADD_WHOLE(name) add_whole(x, "model." #name, (int64_t)c->name);
#define ADD_REAL(name) add_real(x, "model." #name, c->name);
    MODEL_FIELDS(ADD_TEXT, ADD_WHOLE, ADD_REAL)
#undef ADD_TEXT
#undef ADD_WHOLE
#undef ADD_REAL
    add_hash(x, "corpus", sonde_corpus_hash(t->corpus));
#define ADD_WHOLE(name, flag, value, least, most, what) add_whole(x, flag, o->name);
#define ADD_CHOICE(name, flag, value, names, what) add_choice(x, flag, names, o->name);
#define ADD_REAL(name, flag, value, least, most, what) add_real(x, flag, o->name);
    SONDE_LM_OPTION_LIST(ADD_WHOLE, ADD_CHOICE, ADD_REAL)
#undef ADD_WHOLE
#undef ADD_CHOICE
#undef ADD_REAL
    add_whole(x, "separator", o->separator);
}

/* ---- writing ---------------------------------------------------------------------------------------------------------------- */

/* A state that is not finite would take the place of one that can go on. */
static sonde_status check_finite(const sonde_lm_trainer *t)
{
    const float *blocks[N_BLOCKS] = {t->model->parameters, t->m, t->v};

    for (int64_t i = 0; i < N_BLOCKS * t->n_parameters; i++) {
        const sondep_parameter *p = &t->parameters[i / N_BLOCKS];
        const float *x = blocks[i % N_BLOCKS] + p->first;
        int64_t at = sondep_find_nonfinite(x, p->n, false);
        if (at >= 0)
            return SONDE_FAIL(SONDE_E_NONFINITE,
                              "'%s' of '%s' is %g at element %lld behind step %lld: the state is not saved",
                              block_names[i % N_BLOCKS], p->name, (double)x[at], (long long)at, (long long)t->step);
    }
    return SONDE_OK;
}

sonde_status sonde_lm_trainer_save(const sonde_lm_trainer *t, const char *path)
{
    const float *blocks[N_BLOCKS] = {t->model->parameters, t->m, t->v};
    int64_t n = t->model->n_parameters;
    sonde_tensor declared[N_BLOCKS];
    sonde_sink *sink;
    texts x;

    /* The sink writes beside and renames: what is there stays until all of the new file is on the disk. */
    SONDE_TRY(check_finite(t));
    describe(&x, t);
    /* Declared first and filled in one go: the blocks are in memory once. */
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

/* A file of another kind, or of another version of this one. */
static sonde_status check_schema(const sonde_safetensors *file, const char *path)
{
    const char *text;

    SONDE_TRY(get_text(&text, file, "schema", path));
    if (strcmp(text, schema) != 0)
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is no state of a training that is read here: its schema is '%s', not '%s'",
                          path, text, schema);
    return SONDE_OK;
}

/* What may be another: who wrote it and how far it was, the length of the training, and how far a step goes. */
static bool may_differ(const char *key)
{
    static const char *const free_ones[] = {"version",     "kernels", "step",    "steps",        "schedule", "warmup",
                                            "decay-steps", "lr",      "last-lr", "weight-decay", "clip"};

    for (size_t i = 0; i < sizeof free_ones / sizeof *free_ones; i++)
        if (strcmp(key, free_ones[i]) == 0)
            return true;
    return false;
}

/* All texts of the file against those that this training would write. */
static sonde_status check_texts(const sonde_lm_trainer *t, const sonde_safetensors *file, const char *path)
{
    const char *kernels;
    sonde_status status;
    texts x;

    SONDE_TRY(check_schema(file, path));
    describe(&x, t);
    /* In the order of the file: the first text that differs is the one that is named. */
    for (int64_t i = 0; i < x.n; i++) {
        if (may_differ(x.pairs[2 * i]))
            continue;
        status = check_text(file, x.pairs[2 * i], x.pairs[2 * i + 1], path);
        if (status == SONDE_E_ARG && strcmp(x.pairs[2 * i], "corpus") == 0)
            sondep_hint(status, "the texts must be those that it was trained on, in their order, with the same tokenizer");
        SONDE_TRY(status);
    }
    /* Kernels that add up in another order give other roundings, which are as good. */
    SONDE_TRY(get_text(&kernels, file, "kernels", path));
    if (strcmp(kernels, sonde_kernel_name()) != 0)
        sondep_log(SONDE_LOG_WARN,
                   "'%s' was computed with the kernels '%s', here they are '%s': bytes will differ by rounding", path,
                   kernels, sonde_kernel_name());
    return SONDE_OK;
}

/* A number of the file within [least, most]. The files have points; strtod wants what the locale has. */
static sonde_status read_number(double *out, const sonde_safetensors *file, const char *key, double least, double most,
                                const char *path)
{
    char copy[TEXT], *end;
    const char *text;

    SONDE_TRY(get_text(&text, file, key, path));
    snprintf(copy, sizeof copy, "%s", text);
    if (strchr(copy, '.') != NULL)
        *strchr(copy, '.') = localeconv()->decimal_point[0];
    *out = strtod(copy, &end);
    /* The trailing parts must be gone: "12x" is no number. */
    if (end == copy || *end != '\0' || !(*out >= least && *out <= most))
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s': '%s' is '%s', not a number in [%.16g, %.16g]", path, key, text, least,
                          most);
    return SONDE_OK;
}

/* A whole one. */
static sonde_status read_whole(int64_t *out, const sonde_safetensors *file, const char *key, double least, double most,
                               const char *path)
{
    double x;

    SONDE_TRY(read_number(&x, file, key, least, most, path));
    if (x != floor(x))
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s': '%s' is %g, not a whole number", path, key, x);
    *out = (int64_t)x;
    return SONDE_OK;
}

/* One of the names of a choice, as its number. */
static sonde_status read_choice(int64_t *out, const sonde_safetensors *file, const char *key, const char *names,
                                const char *path)
{
    const char *text, *name;
    size_t n_bytes;

    SONDE_TRY(get_text(&text, file, key, path));
    for (int64_t i = 0; (name = sondep_lm_choice(&n_bytes, names, i)) != NULL; i++)
        if (strlen(text) == n_bytes && memcmp(text, name, n_bytes) == 0) {
            *out = i;
            return SONDE_OK;
        }
    return SONDE_FAIL(SONDE_E_FORMAT, "'%s': '%s' is '%s', not one of %s", path, key, text, names);
}

/* The step that the file was written behind; this training must go at least as far. */
static sonde_status read_step(int64_t *out, const sonde_lm_trainer *t, const sonde_safetensors *file, const char *path)
{
    SONDE_TRY(read_whole(out, file, "step", 0, 1e9, path));
    if (*out > t->opts.steps)
        return SONDE_FAIL(SONDE_E_ARG, "'%s' is at step %lld already, 'steps' is %lld", path, (long long)*out,
                          (long long)t->opts.steps);
    return SONDE_OK;
}

sonde_status sonde_lm_opts_load(sonde_lm_opts *out, const char *path)
{
    sonde_safetensors *file;
    sonde_lm_opts o;
    sonde_status status;

    /* Into a copy, so that a file which ends in the middle changes nothing. */
    sonde_lm_opts_init(&o);
    SONDE_TRY(sonde_safetensors_open(&file, path));
    SONDE_TRY_DONE(check_schema(file, path));
#define READ_WHOLE(name, flag, value, least, most, what) SONDE_TRY_DONE(read_whole(&o.name, file, flag, least, most, path));
#define READ_CHOICE(name, flag, value, names, what) SONDE_TRY_DONE(read_choice(&o.name, file, flag, names, path));
#define READ_REAL(name, flag, value, least, most, what) SONDE_TRY_DONE(read_number(&o.name, file, flag, least, most, path));
    SONDE_LM_OPTION_LIST(READ_WHOLE, READ_CHOICE, READ_REAL)
#undef READ_WHOLE
#undef READ_CHOICE
#undef READ_REAL
    SONDE_TRY_DONE(read_whole(&o.separator, file, "separator", -1, INT32_MAX, path));
    *out = o;
done:
    sonde_safetensors_close(file);
    return status;
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
    SONDE_TRY_DONE(read_step(&step, t, file, path));
    for (int i = 0; i < N_BLOCKS; i++) {
        SONDE_TRY_DONE(sonde_safetensors_get(&tensors[i], file, block_names[i]));
        if (tensors[i].dtype != SONDE_F32 || sonde_tensor_n_elements(&tensors[i]) != t->model->n_parameters)
            SONDE_TRY_DONE(SONDE_FAIL(SONDE_E_FORMAT, "'%s': '%s' has not the %lld floats of the model", path,
                                      block_names[i], (long long)t->model->n_parameters));
    }
    /* Nothing was changed until here. */
    for (int i = 0; i < N_BLOCKS; i++)
        memcpy(blocks[i], tensors[i].data, (size_t)t->model->n_parameters * sizeof(float));
    t->step = step;
done:
    sonde_safetensors_close(file);
    return status;
}
