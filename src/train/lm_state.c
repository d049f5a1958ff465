/* lm_state.c - the state of a training as a file, and back.                    floor 6: train
 *
 * Three blocks of floats (weights, m, v) as the trainer holds them, and texts that say what they belong to. Whoever resumes
 * gets the same bytes as if the training had not stopped, or is told what differs.
 */
#include "train/lm.h"
#include "train/state.h"

#include <sonde/format.h>
#include <sonde/kernel.h>

static const char schema[] = "sonde.lm-training/2";
static const char *const block_names[] = {"weights", "m", "v"};
enum { N_BLOCKS = 3 };

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

/* All that is written beside the blocks. */
static void describe(sondep_state_texts *x, const sonde_lm_trainer *t)
{
    const sonde_config *c = &t->model->config;
    const sonde_lm_opts *o = &t->opts;

    /* What kind of file this is, and who wrote it when. */
    x->n = 0;
    sondep_state_add(x, "schema", schema);
    sondep_state_add(x, "version", sonde_version());
    sondep_state_add(x, "kernels", sonde_kernel_name());
    sondep_state_add_whole(x, "step", t->step);
    /* What is trained, on what, and how. */
#define ADD_TEXT(name) sondep_state_add(x, "model." #name, c->name);
#define ADD_WHOLE(name) sondep_state_add_whole(x, "model." #name, (int64_t)c->name);
#define ADD_REAL(name) sondep_state_add_real(x, "model." #name, c->name);
    MODEL_FIELDS(ADD_TEXT, ADD_WHOLE, ADD_REAL)
#undef ADD_TEXT
#undef ADD_WHOLE
#undef ADD_REAL
    sondep_state_add_hash(x, "corpus", sonde_corpus_hash(t->corpus));
#define ADD_WHOLE(name, flag, value, least, most, what) sondep_state_add_whole(x, flag, o->name);
#define ADD_CHOICE(name, flag, value, names, what) sondep_state_add_choice(x, flag, names, o->name);
#define ADD_REAL(name, flag, value, least, most, what) sondep_state_add_real(x, flag, o->name);
    SONDE_LM_OPTION_LIST(ADD_WHOLE, ADD_CHOICE, ADD_REAL)
#undef ADD_WHOLE
#undef ADD_CHOICE
#undef ADD_REAL
    sondep_state_add_whole(x, "separator", o->separator);
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
    sondep_state_texts x;

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

/* What may be another: who wrote it and how far it was, the length of the training, and how far a step goes. */
static const char *const may_differ[] = {"version",     "kernels", "step",    "steps",        "schedule", "warmup",
                                         "decay-steps", "lr",      "last-lr", "weight-decay", "clip",     NULL};

/* All texts of the file against those that this training would write. */
static sonde_status check_texts(const sonde_lm_trainer *t, const sonde_safetensors *file, const char *path)
{
    sonde_status status;
    sondep_state_texts x;
    const char *key = "";

    SONDE_TRY(sondep_state_check_schema(file, schema, path));
    describe(&x, t);
    status = sondep_state_check(&key, file, &x, may_differ, path);
    if (status == SONDE_E_ARG && strcmp(key, "corpus") == 0)
        sondep_hint(status, "the texts must be those that it was trained on, in their order, with the same tokenizer");
    return status;
}

/* The step that the file was written behind; this training must go at least as far. */
static sonde_status read_step(int64_t *out, const sonde_lm_trainer *t, const sonde_safetensors *file, const char *path)
{
    SONDE_TRY(sondep_state_read_whole(out, file, "step", 0, 1e9, path));
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
    SONDE_TRY_DONE(sondep_state_check_schema(file, schema, path));
#define READ_WHOLE(name, flag, value, least, most, what) \
    SONDE_TRY_DONE(sondep_state_read_whole(&o.name, file, flag, least, most, path));
#define READ_CHOICE(name, flag, value, names, what) \
    SONDE_TRY_DONE(sondep_state_read_choice(&o.name, file, flag, names, path));
#define READ_REAL(name, flag, value, least, most, what) \
    SONDE_TRY_DONE(sondep_state_read_real(&o.name, file, flag, least, most, path));
    SONDE_LM_OPTION_LIST(READ_WHOLE, READ_CHOICE, READ_REAL)
#undef READ_WHOLE
#undef READ_CHOICE
#undef READ_REAL
    SONDE_TRY_DONE(sondep_state_read_whole(&o.separator, file, "separator", -1, INT32_MAX, path));
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
