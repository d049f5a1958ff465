/* config_write.c - a config as the config.json that transformers 4 and 5 read. floor 5: model
 *
 * The family writes its own fields; what all have alike is written here. What the two versions name differently is written
 * under both names: `dtype` and `torch_dtype` here, rope_theta and rope_parameters by the families. A config that the
 * family has no words for is refused by the name of its field, before a byte is written.
 */
#include "model/config.h"

/* What torch calls a type of safetensors; weights have no others. */
static const char *torch_name(sonde_dtype dtype)
{
    return dtype == SONDE_F16 ? "float16" : dtype == SONDE_BF16 ? "bfloat16" : "float32";
}

void sondep_config_put_id(sondep_json_writer *out, const char *name, int64_t id)
{
    if (id < 0)
        sondep_json_put_null(out, name);
    else
        sondep_json_put_int(out, name, id);
}

sonde_status sondep_config_fits(const sondep_fit *fits, int n, const sonde_config *config, const char *path)
{
    /* In the order of the family's list: one at a time, as everything here is refused. */
    for (int i = 0; i < n; i++)
        if (!fits[i].is_so)
            return SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s': the %s family has no model with this '%s': it must be %s", path,
                              config->family, fits[i].field, fits[i].must_be);
    return SONDE_OK;
}

/* Whether a model_type is one of the family's. */
static bool has_model_type(const sondep_family *family, const char *model_type)
{
    const char *const *type = family->model_types;
    while (*type != NULL && strcmp(*type, model_type) != 0)
        type++;
    return *type != NULL;
}

sonde_status sondep_config_check_family(const sondep_family **out, const sonde_config *config, const char *path)
{
    sondep_act act;

    /* First what all families ask, then whether there are words for it. */
    SONDE_TRY(sondep_config_check(config, path));
    SONDE_TRY(sondep_family_by_name(out, config->family));
    SONDE_TRY(sondep_act_parse(&act, config->activation));
    if (!has_model_type(*out, config->model_type))
        return SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s': 'model_type' is '%s', which is none of the %s family", path,
                          config->model_type, config->family);
    return (*out)->check_config(config, path);
}

sonde_status sondep_config_write(const sonde_config *config, sonde_dtype dtype, const char *path)
{
    const sondep_family *family;
    sondep_json_writer json = {0};

    /* An id of -1 is null, which is not the same as an absent one: classes have defaults. */
    SONDE_TRY(sondep_config_check_family(&family, config, path));
    sondep_json_put_begin(&json, NULL, '{');
    family->write_config(&json, config);
    sondep_json_put_text(&json, "model_type", config->model_type);
    sondep_json_put_int(&json, "vocab_size", config->n_vocab);
    sondep_json_put_bool(&json, "tie_word_embeddings", config->tied);
    sondep_config_put_id(&json, "bos_token_id", config->bos_id);
    sondep_config_put_id(&json, "eos_token_id", config->eos_id);
    sondep_json_put_null(&json, "pad_token_id");
    sondep_json_put_number(&json, "initializer_range", 0.02);
    sondep_json_put_text(&json, "dtype", torch_name(dtype));
    sondep_json_put_text(&json, "torch_dtype", torch_name(dtype));
    sondep_json_put_bool(&json, "use_cache", true);
    sondep_json_put_end(&json, '}');
    return sondep_json_write(&json, path);
}

sonde_status sonde_config_save(const sonde_config *config, const char *path)
{
    return sondep_config_write(config, SONDE_F32, path);
}
