/* config.c - config.json: which family, which sizes, and what is refused by name.      floor 5: model
 *
 * A field that is absent has the default of transformers' config class. A field that would change the result and that the
 * forward pass does not handle is an error that names it; fields that only matter for training are ignored.
 *
 * Handled the same whichever version wrote the file: `torch_dtype` and `dtype` are ignored (tensors say what they are),
 * rope_theta with rope_scaling and rope_parameters are read into one struct. Special ids may be a number, a list (the first
 * counts) or null. What all families share is checked here, behind the family: sizes, the activation function, epsilon.
 */
#include "model/config.h"

#include "base/file.h"
#include "format/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const sondep_family *const families[] = {&sondep_gpt2, &sondep_llama};
enum { N_FAMILIES = sizeof families / sizeof *families };

sonde_status sondep_family_by_name(const sondep_family **out, const char *name)
{
    for (int i = 0; i < N_FAMILIES; i++)
        if (strcmp(families[i]->name, name) == 0) {
            *out = families[i];
            return SONDE_OK;
        }
    return SONDE_FAIL(SONDE_E_UNSUPPORTED, "model family '%s' is not known", name);
}

sonde_status sondep_config_refuse(const json_t *json, const char *field, const char *allowed, const char *path)
{
    const json_t *value = json_object_get(json, field);
    char *text;
    sonde_status status = SONDE_OK;

    /* Absent and null both mean the default, which every family handles. */
    if (value == NULL || json_is_null(value))
        return SONDE_OK;
    if (json_is_number(value) && strtod(allowed, NULL) == json_number_value(value) && *allowed != 'n' && *allowed != 'f')
        return SONDE_OK; /* 1 and 1.0 are one value */
    text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    if (text == NULL)
        return SONDE_FAIL(SONDE_E_NOMEM, "out of memory while reading '%s'", path);
    if (strcmp(text, allowed) != 0)
        status = SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' has '%s' = %.60s, which sonde does not handle (it handles %s)", path,
                            field, text, allowed);
    sondep_free(text);
    return status;
}

sonde_status sondep_config_special_ids(sonde_config *out, const json_t *json)
{
    static const char *const fields[2] = {"bos_token_id", "eos_token_id"};
    int64_t *const ids[2] = {&out->bos_id, &out->eos_id};

    /* Absent leaves the class's default; null, a text or an empty list means that there is none. */
    for (int i = 0; i < 2; i++) {
        const json_t *value = json_object_get(json, fields[i]);
        if (value == NULL)
            continue;
        if (json_is_array(value))
            value = json_array_get(value, 0);
        *ids[i] = json_is_integer(value) ? (int64_t)json_integer_value(value) : -1;
    }
    return SONDE_OK;
}

sonde_status sondep_config_size(int64_t *out, const json_t *json, const char *const *names, const char *path)
{
    for (; *names != NULL; names++) {
        const json_t *value = json_object_get(json, *names);
        if (value != NULL && !json_is_null(value))
            return sondep_json_get_int(out, json, *names, path);
    }
    return SONDE_OK;
}

/* Which family a config belongs to: by model_type, or, where that is missing, by a field that only the family has. */
static sonde_status find_family(const sondep_family **out, const json_t *json, const char *path)
{
    const char *model_type = NULL;

    SONDE_TRY(sondep_json_opt_string(&model_type, json, "model_type", path));
    /* A stated model_type decides; fields are looked at only where there is none. */
    for (int i = 0; i < N_FAMILIES; i++) {
        if (model_type == NULL && json_object_get(json, families[i]->distinctive_field) != NULL) {
            *out = families[i];
            return SONDE_OK;
        }
        for (const char *const *type = families[i]->model_types; model_type && *type; type++)
            if (strcmp(model_type, *type) == 0) {
                *out = families[i];
                return SONDE_OK;
            }
    }
    if (model_type == NULL)
        return SONDE_FAIL(SONDE_E_UNSUPPORTED,
                          "'%s' has no 'model_type', and its fields are of no family that sonde handles", path);
    SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' has model_type '%s', which sonde does not handle", path, model_type);
    sondep_hint(SONDE_E_UNSUPPORTED, "families: gpt2, llama (also mistral and qwen2 where their fields mean the same)");
    return SONDE_E_UNSUPPORTED;
}

/* A special id outside the vocabulary is ignored, with a note. */
static void check_special_id(int64_t *id, const char *field, const sonde_config *config, const char *path)
{
    if (*id >= config->n_vocab || *id < -1) {
        sondep_log(SONDE_LOG_NOTE, "'%s' has '%s' = %lld, outside the vocabulary of %lld: ignored", path, field,
                   (long long)*id, (long long)config->n_vocab);
        *id = -1;
    }
}

sonde_status sondep_config_check(const sonde_config *c, const char *path)
{
    /* Limits far beyond any model, so that products of two of them fit into 64 bits. */
    const struct {
        const char *name;
        int64_t value, most;
    } sizes[] = {
        {"number of layers", c->n_layers, 1 << 16},
        {"width of the residual stream", c->d_model, 1 << 24},
        {"number of attention heads", c->n_heads, 1 << 20},
        {"number of key/value heads", c->n_kv_heads, 1 << 20},
        {"width of a head", c->d_head, 1 << 20},
        {"width of the MLP", c->d_mlp, 1 << 28},
        {"size of the vocabulary", c->n_vocab, INT32_MAX},
        {"length of the context", c->n_context, INT32_MAX},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value < 1 || sizes[i].value > sizes[i].most)
            return SONDE_FAIL(SONDE_E_RANGE, "'%s': the %s is %lld, outside [1, %lld]", path, sizes[i].name,
                              (long long)sizes[i].value, (long long)sizes[i].most);
    /* Each key/value head serves a whole group of heads. */
    if (c->n_heads % c->n_kv_heads != 0)
        return SONDE_FAIL(SONDE_E_SHAPE, "'%s': %lld attention heads are not a multiple of %lld key/value heads", path,
                          (long long)c->n_heads, (long long)c->n_kv_heads);
    if (c->positions == SONDE_POSITIONS_ROTARY && c->d_head % 2 != 0)
        return SONDE_FAIL(SONDE_E_SHAPE, "'%s': the width of a head is %lld, and rotary positions need an even one", path,
                          (long long)c->d_head);
    if (!(c->norm_eps >= 0.0 && c->norm_eps < 1.0))
        return SONDE_FAIL(SONDE_E_RANGE, "'%s': the epsilon of the normalisation is %g, outside [0, 1)", path, c->norm_eps);
    if (c->positions == SONDE_POSITIONS_ROTARY && !(c->rope.theta > 0.0 && isfinite(c->rope.theta)))
        return SONDE_FAIL(SONDE_E_RANGE, "'%s': rope_theta is %g, not a positive number", path, c->rope.theta);
    return SONDE_OK;
}

sonde_status sondep_config_from_json(sonde_config *out, const json_t *json, const char *path)
{
    const sondep_family *family;
    const char *model_type = NULL;
    sonde_config config = {.bos_id = -1, .eos_id = -1};
    sondep_act act;

    if (!json_is_object(json))
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is not a JSON object", path);
    SONDE_TRY(find_family(&family, json, path));
    /* Packed weights would be read as what they are not. */
    SONDE_TRY(sondep_config_refuse(json, "quantization_config", "null", path));
    SONDE_TRY(sondep_json_opt_string(&model_type, json, "model_type", path));
    snprintf(config.family, sizeof config.family, "%s", family->name);
    snprintf(config.model_type, sizeof config.model_type, "%s", model_type ? model_type : family->name);
    /* The family fills in sizes and switches; what all families share is checked behind it. */
    SONDE_TRY(family->read_config(&config, json, path));
    SONDE_TRY(sondep_config_check(&config, path));
    if (sondep_act_parse(&act, config.activation) != SONDE_OK)
        return SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' has the activation function '%s', which sonde does not handle", path,
                          config.activation);
    check_special_id(&config.bos_id, "bos_token_id", &config, path);
    check_special_id(&config.eos_id, "eos_token_id", &config, path);
    *out = config;
    return SONDE_OK;
}

/* From the file alone: no folder is looked for. */
sonde_status sondep_config_load(sonde_config *out, const char *path)
{
    json_t *json;
    sonde_status status;

    SONDE_TRY(sondep_json_load(&json, path));
    status = sondep_config_from_json(out, json, path);
    json_decref(json);
    return status;
}

sonde_status sonde_config_load(sonde_config *out, const char *path)
{
    char *inside;
    sonde_status status;

    if (!sondep_is_directory(path))
        return sondep_config_load(out, path);
    SONDE_TRY(sondep_path_join(&inside, path, "config.json"));
    status = sondep_config_load(out, inside);
    sondep_free(inside);
    return status;
}

/* Well-known shapes, as the configs of models that have them. */
static const struct {
    const char *name;
    sonde_config config;
} shapes[] = {
#define GPT2(shape, layers, width, heads, mlp, vocabulary, context, function)                                        \
    {                                                                                                                \
        shape,                                                                                                       \
        {                                                                                                            \
            .family = "gpt2", .model_type = "gpt2", .activation = function, .n_layers = layers, .d_model = width,    \
            .n_heads = heads, .n_kv_heads = heads, .d_head = (width) / (heads), .d_mlp = mlp, .n_vocab = vocabulary, \
            .n_context = context, .norm = SONDE_LAYERNORM, .norm_eps = 1e-5, .positions = SONDE_POSITIONS_LEARNED,   \
            .tied = true, .scale_attention = true, .has_qkv_bias = true, .has_o_bias = true, .has_mlp_bias = true,   \
            .norm_bias = true, .bos_id = -1, .eos_id = -1                                                            \
        }                                                                                                            \
    }
    GPT2("gpt2-small", 12, 768, 12, 3072, 50257, 1024, "gelu_new"),
    GPT2("gpt2-medium", 24, 1024, 16, 4096, 50257, 1024, "gelu_new"),
    GPT2("one-layer", 1, 128, 4, 512, 50304, 128, "relu"),
    GPT2("small", 4, 256, 8, 1024, 8192, 256, "gelu_new"),
#undef GPT2
#define LLAMA(shape, layers, width, heads, mlp, vocabulary, context)                                                 \
    {                                                                                                                \
        shape,                                                                                                       \
        {                                                                                                            \
            .family = "llama", .model_type = "llama", .activation = "silu", .n_layers = layers, .d_model = width,    \
            .n_heads = heads, .n_kv_heads = heads, .d_head = (width) / (heads), .d_mlp = mlp, .n_vocab = vocabulary, \
            .n_context = context, .norm = SONDE_RMSNORM, .norm_eps = 1e-5, .positions = SONDE_POSITIONS_ROTARY,      \
            .rope = {.theta = 1e4, .type = "default", .factor = 1.0}, .gated_mlp = true, .tied = true,               \
            .scale_attention = true, .bos_id = -1, .eos_id = -1                                                      \
        }                                                                                                            \
    }
    LLAMA("stories15m", 6, 288, 6, 768, 32000, 256),
    LLAMA("stories", 7, 192, 6, 512, 4096, 512),
#undef LLAMA
};

sonde_status sonde_config_shape(sonde_config *out, const char *name)
{
    sondep_string names = {0};

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (strcmp(shapes[i].name, name) == 0) {
            *out = shapes[i].config;
            return SONDE_OK;
        }
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        SONDE_TRY(sondep_string_printf(&names, "%s%s", i ? ", " : "", shapes[i].name));
    SONDE_FAIL(SONDE_E_ARG, "shape '%s' is not known", name);
    sondep_hint(SONDE_E_ARG, "shapes: %s", names.text);
    sondep_string_release(&names);
    return SONDE_E_ARG;
}
