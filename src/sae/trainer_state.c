/* trainer_state.c - the state of an autoencoder's training as a file, and back.    floor 7: sae
 *
 * Three blocks of floats (weights, m, v) as the trainer holds them, what is known of features, the whitening, and texts that say
 * what they belong to: all options by their flags, the step, what rows are trained on, and the kernels. Whoever goes on is told
 * which text differs, or gets the same bytes as without the stop. Numbers of the state are written so that they read back as
 * the same doubles.
 */
#include "sae/trainer.h"

#include "train/state.h"

#include <math.h>
#include <stdio.h>

static const char schema[] = "sonde.sae-training/1";

/* What may be another: who wrote it and how far it was, the length of the training, and how far a step goes. */
static const char *const may_differ[] = {"version",     "kernels", "step", "steps", "schedule", "warmup",
                                         "decay-steps", "last-lr", "lr",   "clip",  NULL};

/* Numbers of the state that are no block: name in the file, field. */
#define STATE_REALS(X)                      \
    X("threshold", threshold)               \
    X("threshold_weight", threshold_weight) \
    X("scale_in", scale_in)                 \
    X("scale_out", scale_out)               \
    X("control", control)                   \
    X("log_l0", log_l0)                     \
    X("plateau.share", plateau.share)       \
    X("plateau.best", plateau.best)         \
    X("plateau.sum", plateau.sum)           \
    X("anneal.p", anneal.p)                 \
    X("anneal.next_p", anneal.next_p)       \
    X("anneal.weight", anneal.weight)

/* The blocks of a file. */
enum { WEIGHTS, M, V, SILENT, NOW, NEXT, MEAN, WHITEN, UNWHITEN, N_BLOCKS };
static const char *const block_names[N_BLOCKS] = {"weights",     "m",    "v",      "silent",  "anneal.now",
                                                  "anneal.next", "mean", "whiten", "unwhiten"};

/* Where they lie, and how long they are. Returns how many there are. */
static int list_blocks(void **data, sonde_dtype *dtypes, int64_t *counts, const sonde_sae_trainer *t)
{
    int64_t n = t->first[SONDEP_N_SAE_PARAMETERS];
    void *all[N_BLOCKS] = {t->w,    t->m,      t->v,       t->silent, (void *)t->anneal.now, (void *)t->anneal.next,
                           t->mean, t->whiten, t->unwhiten};
    const int64_t numbers[N_BLOCKS] = {n, n, n, t->S, SONDEP_SAE_SEEN, SONDEP_SAE_SEEN, t->D, t->D * t->D, t->D * t->D};

    for (int i = 0; i < N_BLOCKS; i++) {
        data[i] = all[i];
        dtypes[i] = i < SILENT ? SONDE_F32 : i == SILENT ? SONDE_I64 : SONDE_F64;
        counts[i] = numbers[i];
    }
    return t->mean != NULL ? N_BLOCKS : MEAN;
}

/* All that is written beside the blocks. */
static void describe(sondep_state_texts *x, const sonde_sae_trainer *t, const char *source)
{
    const sonde_sae_train_opts *o = &t->opts;
    char groups[SONDEP_STATE_TEXT] = "";

    x->n = 0;
    sondep_state_add(x, "schema", schema);
    sondep_state_add(x, "version", sonde_version());
    sondep_state_add(x, "kernels", sondep_kernel_name());
    sondep_state_add_whole(x, "step", t->step);
    if (source != NULL)
        sondep_state_add(x, "source", source);
#define ADD_WHOLE(name, flag, value, least, most, what) sondep_state_add_whole(x, flag, o->name);
#define ADD_CHOICE(name, flag, value, names, what) sondep_state_add_choice(x, flag, names, o->name);
#define ADD_REAL(name, flag, value, least, most, what) sondep_state_add_real(x, flag, o->name);
    SONDE_SAE_TRAIN_OPTION_LIST(ADD_WHOLE, ADD_CHOICE, ADD_REAL)
#undef ADD_WHOLE
#undef ADD_CHOICE
#undef ADD_REAL
    sondep_state_add_whole(x, "d_in", o->d_in);
    sondep_state_add_whole(x, "d_sae", o->d_sae);
    sondep_state_add_whole(x, "d_out", o->d_out);
    sondep_state_add_whole(x, "skip", o->has_skip);
    for (int64_t i = 0, at = 0; i < o->n_groups && at < (int64_t)sizeof groups; i++)
        at += snprintf(groups + at, sizeof groups - (size_t)at, "%s%lld", i > 0 ? "," : "", (long long)t->groups[i]);
    sondep_state_add(x, "groups", groups);
}

/* What goes on from the last step. */
static void describe_state(sondep_state_texts *x, const sonde_sae_trainer *t)
{
#define ADD(key, field) sondep_state_add_real(x, key, t->field);
    STATE_REALS(ADD)
#undef ADD
    sondep_state_add_whole(x, "anneal.n_done", t->anneal.n_done);
    sondep_state_add_whole(x, "anneal.n_seen", t->anneal.n_seen);
    sondep_state_add_whole(x, "plateau.n", t->plateau.n);
    sondep_state_add_whole(x, "plateau.n_bad", t->plateau.n_bad);
    sondep_state_add_whole(x, "is_dense", t->is_dense);
}

/* A state that is not finite would take the place of one that can go on. */
static sonde_status check_finite(const sonde_sae_trainer *t)
{
    float *const blocks[] = {t->w, t->m, t->v};

    for (int i = 0; i < 3; i++)
        for (int p = 0; p < SONDEP_N_SAE_PARAMETERS; p++) {
            int64_t n = sondep_sae_count(t, p), at = n > 0 ? sondep_find_nonfinite(blocks[i] + t->first[p], n, false) : -1;
            if (at >= 0)
                return SONDE_FAIL(SONDE_E_NONFINITE,
                                  "'%s' of '%s' is %g at element %lld behind step %lld: the state is not saved",
                                  block_names[i], sondep_sae_parameter_name(t, p), (double)blocks[i][t->first[p] + at],
                                  (long long)at, (long long)t->step);
        }
    return SONDE_OK;
}

/* Declared first and filled in one go: the blocks are in memory once. */
sonde_status sonde_sae_trainer_save(const sonde_sae_trainer *t, const char *path, const char *source)
{
    void *data[N_BLOCKS];
    sonde_dtype dtypes[N_BLOCKS];
    int64_t counts[N_BLOCKS];
    int n = list_blocks(data, dtypes, counts, t);
    sonde_tensor declared[N_BLOCKS];
    sonde_sink *sink;
    sondep_state_texts x;

    SONDE_TRY(check_finite(t));
    describe(&x, t, source);
    describe_state(&x, t);
    for (int i = 0; i < n; i++)
        SONDE_TRY(sonde_tensor_view(&declared[i], NULL, dtypes[i], &counts[i], 1));
    SONDE_TRY(sonde_sink_open(&sink, path, block_names, declared, n, x.pairs, x.n));
    for (int i = 0; i < n; i++) {
        sonde_status status = sonde_sink_put(sink, i, 0, data[i], counts[i]);
        if (status != SONDE_OK) {
            sonde_sink_abort(sink);
            return status;
        }
    }
    return sonde_sink_commit(sink);
}

/* ---- reading -------------------------------------------------------------------------------------------------------------- */

/* Groups as they were written. */
static sonde_status read_groups(int64_t *out, int64_t *n, const sonde_safetensors *file, const char *path)
{
    const char *text;
    int used;
    long long value;

    *n = 0;
    SONDE_TRY(sondep_state_get(&text, file, "groups", path));
    while (*text != '\0') {
        if (*n == SONDEP_SAE_GROUPS || sscanf(text, "%lld%n", &value, &used) != 1)
            return SONDE_FAIL(SONDE_E_FORMAT, "'%s': 'groups' is no list of numbers", path);
        out[(*n)++] = value;
        text += used + (text[used] == ',');
    }
    return SONDE_OK;
}

/* The options of a file. */
static sonde_status read_opts(sonde_sae_train_opts *out, int64_t *groups, const sonde_safetensors *file, const char *path)
{
    static const double most = 1 << 30;

    sonde_sae_train_opts_init(out);
#define READ_WHOLE(name, flag, value, least, most, what) \
    SONDE_TRY(sondep_state_read_whole(&out->name, file, flag, least, most, path));
#define READ_CHOICE(name, flag, value, names, what) SONDE_TRY(sondep_state_read_choice(&out->name, file, flag, names, path));
#define READ_REAL(name, flag, value, least, most, what) \
    SONDE_TRY(sondep_state_read_real(&out->name, file, flag, least, most, path));
    SONDE_SAE_TRAIN_OPTION_LIST(READ_WHOLE, READ_CHOICE, READ_REAL)
#undef READ_WHOLE
#undef READ_CHOICE
#undef READ_REAL
    SONDE_TRY(sondep_state_read_whole(&out->d_in, file, "d_in", 1, most, path));
    SONDE_TRY(sondep_state_read_whole(&out->d_sae, file, "d_sae", 1, most, path));
    SONDE_TRY(sondep_state_read_whole(&out->d_out, file, "d_out", 0, most, path));
    SONDE_TRY(sondep_state_read_whole(&out->has_skip, file, "skip", 0, 1, path));
    SONDE_TRY(read_groups(groups, &out->n_groups, file, path));
    out->groups = out->n_groups > 0 ? groups : NULL;
    return SONDE_OK;
}

/* Into a copy, so that a file which ends in the middle changes nothing. */
sonde_status sonde_sae_train_opts_load(sonde_sae_train_opts *out, int64_t *groups, const char *path)
{
    sonde_sae_train_opts o;
    sonde_safetensors *file;
    sonde_status status;

    SONDE_TRY(sonde_safetensors_open(&file, path));
    SONDE_TRY_DONE(sondep_state_check_schema(file, schema, path));
    SONDE_TRY_DONE(read_opts(&o, groups, file, path));
    *out = o;
done:
    sonde_safetensors_close(file);
    return status;
}

/* The numbers beside the blocks. */
static sonde_status read_numbers(sonde_sae_trainer *t, const sonde_safetensors *file, const char *path)
{
    int64_t is_dense;

    SONDE_TRY(sondep_state_read_whole(&t->step, file, "step", 0, 1e9, path));
    if (t->step > t->opts.steps)
        return SONDE_FAIL(SONDE_E_ARG, "'%s' is at step %lld already, 'steps' is %lld", path, (long long)t->step,
                          (long long)t->opts.steps);
#define READ(key, field) SONDE_TRY(sondep_state_read_real(&t->field, file, key, -1e300, 1e300, path));
    STATE_REALS(READ)
#undef READ
    SONDE_TRY(sondep_state_read_whole(&t->anneal.n_done, file, "anneal.n_done", 0, SONDEP_SAE_DOWN, path));
    SONDE_TRY(sondep_state_read_whole(&t->anneal.n_seen, file, "anneal.n_seen", 0, 1e9, path));
    SONDE_TRY(sondep_state_read_whole(&t->plateau.n, file, "plateau.n", 0, 1e9, path));
    SONDE_TRY(sondep_state_read_whole(&t->plateau.n_bad, file, "plateau.n_bad", 0, 1e9, path));
    SONDE_TRY(sondep_state_read_whole(&is_dense, file, "is_dense", 0, 1, path));
    t->is_dense = is_dense != 0;
    return SONDE_OK;
}

/* A whitening's room, where the file has one. */
static sonde_status make_whitening(sonde_sae_trainer *t, const sonde_safetensors *file)
{
    sonde_tensor tensor;

    if (t->opts.scaling != SONDE_SAE_SCALE_WHITENING || sonde_safetensors_get(&tensor, file, "mean") != SONDE_OK)
        return SONDE_OK;
    SONDE_TRY(SONDE_NEW(t->mean, t->D + 2 * t->D * t->D));
    t->whiten = t->mean + t->D;
    t->unwhiten = t->whiten + t->D * t->D;
    return SONDE_OK;
}

/* Everything of a file into a new trainer. */
static sonde_status read_state(sonde_sae_trainer *t, const sonde_safetensors *file, const char *path)
{
    void *data[N_BLOCKS];
    sonde_dtype dtypes[N_BLOCKS];
    int64_t counts[N_BLOCKS];
    sonde_tensor tensor;
    int n;

    SONDE_TRY(make_whitening(t, file));
    SONDE_TRY(read_numbers(t, file, path));
    n = list_blocks(data, dtypes, counts, t);
    for (int i = 0; i < n; i++) {
        SONDE_TRY(sonde_safetensors_get(&tensor, file, block_names[i]));
        if (tensor.dtype != dtypes[i] || sonde_tensor_n_elements(&tensor) != counts[i])
            return SONDE_FAIL(SONDE_E_FORMAT, "'%s': '%s' has not the %lld numbers of this training", path, block_names[i],
                              (long long)counts[i]);
        memcpy(data[i], tensor.data, sonde_tensor_bytes(&tensor));
    }
    if (t->mean != NULL)
        sondep_sae_use_whitening(t);
    return SONDE_OK;
}

/* A new trainer, which takes its state only if nothing differs. */
sonde_status sonde_sae_trainer_load(sonde_sae_trainer **out, const char *path, const sonde_sae_train_opts *opts,
                                    const char *source)
{
    sonde_safetensors *file;
    sonde_sae_trainer *t = NULL;
    sonde_sae_train_opts saved;
    int64_t groups[SONDEP_SAE_GROUPS];
    sondep_state_texts x;
    const char *key;
    sonde_status status;

    *out = NULL;
    SONDE_TRY(sonde_safetensors_open(&file, path));
    SONDE_TRY_DONE(sondep_state_check_schema(file, schema, path));
    SONDE_TRY_DONE(read_opts(&saved, groups, file, path));
    SONDE_TRY_DONE(sonde_sae_trainer_new(&t, opts != NULL ? opts : &saved));
    describe(&x, t, source);
    SONDE_TRY_DONE(sondep_state_check(&key, file, &x, may_differ, path));
    SONDE_TRY_DONE(read_state(t, file, path));
    *out = t;
    t = NULL;
done:
    sonde_sae_trainer_free(t);
    sonde_safetensors_close(file);
    return status;
}
