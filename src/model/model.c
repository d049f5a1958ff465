/* model.c - a model's life: from a directory or from random numbers, until it is freed.        floor 5: model
 *
 * Loading reads two headers and no weights: config.json says what the model is, the safetensors header where each tensor
 * lies. Pages of the file come into memory when a pass first touches them. A random model takes the same way through its
 * family, with a source that invents each tensor when it is asked for.
 */
#include "model/config.h"

#include "base/file.h"

#include <string.h>

void sonde_model_opts_init(sonde_model_opts *out)
{
    *out = (sonde_model_opts){.struct_size = sizeof *out, .products = SONDE_PRODUCTS_F32};
}

/* The caller's options over the defaults, each within its bounds. */
static sonde_status read_opts(sonde_model_opts *out, const sonde_model_opts *opts)
{
    sonde_model_opts_init(out);
    SONDE_TRY(sondep_opts_read(out, sizeof *out, opts, "the struct of model options"));
    if (out->products != SONDE_PRODUCTS_F32 && out->products != SONDE_PRODUCTS_BF16)
        return SONDE_FAIL(SONDE_E_ARG, "option 'products' is %lld, outside [0, 1]", (long long)out->products);
    return SONDE_OK;
}

/* What both ways of making a model share: points, activation, room for the blocks, then the family's weights. */
static sonde_status model_fill(sonde_model *model, const sondep_family *family, const sondep_source *source)
{
    SONDE_TRY(sondep_act_parse(&model->act, model->config.activation));
    SONDE_TRY(SONDE_NEW(model->blocks, model->config.n_layers));
    SONDE_TRY(family->take_weights(model, source));
    return sondep_points_make(&model->points, &model->config);
}

/* Tensors of the file that nobody took: notes, since a weight under an unexpected name would be missed silently. Old files
 * hold masks and rotary tables, which are computed here. */
static void note_unused(const sonde_model *model)
{
    static const char *const known[] = {".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq", "lm_head.weight"};
    int64_t n_unused = 0;
    const char *example = NULL;

    /* Only the first name is told, with their number: a wrong config may leave hundreds. */
    for (int64_t i = 0; i < sonde_safetensors_n(model->file); i++) {
        const char *name = sonde_safetensors_name(model->file, i);
        size_t n = strlen(name);
        bool is_known = false;

        for (size_t k = 0; k < sizeof known / sizeof *known && !is_known; k++)
            is_known = n >= strlen(known[k]) && strcmp(name + n - strlen(known[k]), known[k]) == 0;
        for (int64_t k = 0; k < model->n_named && !is_known; k++)
            is_known = strcmp(name, model->named[k].name) == 0;
        if (!is_known) {
            example = example ? example : name;
            n_unused++;
        }
    }
    if (n_unused > 0)
        sondep_log(SONDE_LOG_WARN,
                   "'%s': %lld tensors of the file have no place in this architecture and are not used, such as '%s'",
                   model->directory, (long long)n_unused, example);
}

/* The prefix with which the file names its tensors. */
static sonde_status find_prefix(sondep_source *source, const sondep_family *family)
{
    sondep_string name = {0};

    /* Models saved with a head have the prefix; those saved without one do not. */
    for (const char *const *prefix = family->prefixes; *prefix != NULL; prefix++) {
        sonde_status status = sondep_string_printf(&name, "%s%s", *prefix, family->probe);
        bool is_there = status == SONDE_OK && sonde_safetensors_has(source->file, name.text);
        sondep_string_release(&name);
        SONDE_TRY(status);
        if (is_there) {
            source->prefix = *prefix;
            return SONDE_OK;
        }
    }
    return SONDE_FAIL(SONDE_E_NOTFOUND, "'%s' has no tensor '%s%s': it holds no weights of a model of the %s family",
                      source->path, family->prefixes[0], family->probe, family->name);
}

sonde_status sonde_model_load(sonde_model **out, const char *directory, const sonde_model_opts *opts)
{
    sonde_model *model = NULL;
    sonde_model_opts options;
    const sondep_family *family;
    char *config_path = NULL;
    sondep_source source = {.path = directory};
    sonde_status status;

    *out = NULL;
    SONDE_TRY(read_opts(&options, opts));
    /* A path to the weights themselves is a common slip: it is told apart from a path that leads nowhere. */
    if (!sondep_is_directory(directory))
        return SONDE_FAIL(SONDE_E_NOTFOUND,
                          sondep_is_file(directory) ? "'%s' is a file; a model is a directory with config.json and weights"
                                                    : "there is no model directory '%s'",
                          directory);
    SONDE_TRY_DONE(SONDE_NEW(model, 1));
    model->precision = options.products == SONDE_PRODUCTS_BF16 ? SONDEP_BF16 : SONDEP_F32;
    SONDE_TRY_DONE(sondep_copy_string(&model->directory, directory));
    /* First what the model is, then the weights that must fit it. */
    SONDE_TRY_DONE(sondep_path_join(&config_path, directory, "config.json"));
    SONDE_TRY_DONE(sondep_config_load(&model->config, config_path));
    SONDE_TRY_DONE(sondep_family_by_name(&family, model->config.family));
    SONDE_TRY_DONE(sonde_safetensors_open(&model->file, directory));
    source.file = model->file;
    SONDE_TRY_DONE(find_prefix(&source, family));
    model->prefix = source.prefix;
    SONDE_TRY_DONE(model_fill(model, family, &source));
    note_unused(model);
    /* From here on the model is the caller's; what is left is freed below. */
    *out = model;
    model = NULL;
done:
    sondep_free(config_path);
    sonde_model_free(model);
    return status;
}

sonde_status sonde_model_random(sonde_model **out, const sonde_config *config, uint64_t seed, const sonde_model_opts *opts)
{
    sonde_model *model = NULL;
    sonde_model_opts options;
    const sondep_family *family;
    sondep_source source = {.path = "random model", .prefix = "", .seed = seed};
    sonde_status status;

    *out = NULL;
    SONDE_TRY(read_opts(&options, opts));
    SONDE_TRY(sondep_config_check_family(&family, config, "random model"));
    SONDE_TRY_DONE(SONDE_NEW(model, 1));
    model->precision = options.products == SONDE_PRODUCTS_BF16 ? SONDEP_BF16 : SONDEP_F32;
    model->config = *config;
    SONDE_TRY_DONE(sondep_copy_string(&model->directory, ""));
    model->prefix = source.prefix = family->prefixes[0];
    SONDE_TRY_DONE(model_fill(model, family, &source));
    *out = model;
    model = NULL;
done:
    sonde_model_free(model);
    return status;
}

/* Queries, keys and values as one layer, where their matrices came to lie one behind the other and have no biases: their
 * input is packed once then. */
static void join_qkv(sondep_block *block)
{
    const float *q = block->q.w.data, *k = block->k.w.data, *v = block->v.w.data;
    int64_t n = block->q.n_in;
    bool is_stacked = block->q.w.row_stride == 1 && k == q + block->q.n_out * n && v == k + block->k.n_out * n;

    if (block->qkv.n_out > 0 || block->q.b != NULL || !is_stacked)
        return;
    block->qkv = block->q;
    block->qkv.n_out = block->q.n_out + block->k.n_out + block->v.n_out;
}

sonde_status sondep_model_trainable(sonde_model **out, const sonde_model *from)
{
    sonde_model *model = NULL;
    const sondep_family *family;
    sondep_source source = {.path = from->directory, .prefix = from->prefix, .from = from};
    sonde_status status;

    *out = NULL;
    SONDE_TRY(sondep_family_by_name(&family, from->config.family));
    SONDE_TRY_DONE(SONDE_NEW(model, 1));
    model->precision = from->precision;
    model->config = from->config;
    model->prefix = from->prefix;
    SONDE_TRY_DONE(sondep_copy_string(&model->directory, from->directory));
    SONDE_TRY_DONE(sondep_weights_reserve(model, from));
    SONDE_TRY_DONE(model_fill(model, family, &source));
    for (int64_t layer = 0; layer < model->config.n_layers; layer++)
        join_qkv(&model->blocks[layer]);
    *out = model;
    model = NULL;
done:
    sonde_model_free(model);
    return status;
}

/* Views of weights and hook points go with it. */
void sonde_model_free(sonde_model *model)
{
    if (model == NULL)
        return;
    sondep_points_release(&model->points);
    sondep_weights_release(model);
    sonde_safetensors_close(model->file);
    sondep_free(model->blocks);
    sondep_free(model->directory);
    sondep_free(model);
}

const sonde_config *sonde_model_config(const sonde_model *model)
{
    return &model->config;
}

const char *sonde_model_directory(const sonde_model *model)
{
    return model->directory;
}

/* Counted over the tensors that were taken: a tied matrix was taken once. */
int64_t sonde_model_n_parameters(const sonde_model *model)
{
    int64_t n = 0;
    for (int64_t i = 0; i < model->n_named; i++)
        n += sonde_tensor_n_elements(&model->named[i].tensor);
    return n;
}

size_t sonde_model_weight_bytes(const sonde_model *model)
{
    size_t n = 0;
    for (int64_t i = 0; i < model->n_named; i++)
        n += sonde_tensor_bytes(&model->named[i].tensor);
    return n;
}

sonde_dtype sonde_model_weight_dtype(const sonde_model *model)
{
    int64_t n[SONDE_N_DTYPES] = {0};
    int most = 0;
    /* By elements, not by tensors: norms are often F32 in a BF16 model. */
    for (int64_t i = 0; i < model->n_named; i++)
        n[model->named[i].tensor.dtype] += sonde_tensor_n_elements(&model->named[i].tensor);
    for (int dtype = 0; dtype < SONDE_N_DTYPES; dtype++)
        most = n[dtype] > n[most] ? dtype : most;
    return (sonde_dtype)most;
}

const sonde_hook_point *sonde_model_hook_points(const sonde_model *model, int64_t *n_points)
{
    *n_points = model->points.n;
    return model->points.points;
}

/* Names are those of the file, with its prefix. */
sonde_status sonde_model_weight(sonde_tensor *out, const sonde_model *model, const char *name)
{
    for (int64_t i = 0; i < model->n_named; i++)
        if (strcmp(model->named[i].name, name) == 0) {
            *out = model->named[i].tensor;
            return SONDE_OK;
        }
    return SONDE_FAIL(SONDE_E_NOTFOUND, "model '%s' has no weight '%s'", model->directory, name);
}
