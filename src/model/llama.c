/* llama.c - Llama and its relatives: config fields and tensor names.           floor 5: model
 *
 * RMSNorm before attention and MLP, rotary positions, grouped key/value heads, a gated MLP. Matrices are nn.Linear: they lie
 * (out, in). Source: transformers models/llama, models/mistral, models/qwen2, modeling_rope_utils.py.
 *
 *   x += W_O attention(rot(W_q y), rot(W_k y), W_v y),  y = rmsnorm(x)
 *   x += W_down (act(W_gate y) * W_up y),               y = rmsnorm(x)
 *
 * A head's width is head_dim, or hidden_size / heads; heads x head_dim need not be hidden_size. Key/value head j serves the
 * query heads j * H/K .. (j + 1) * H/K - 1. Mistral is this with another set of defaults and a window that must not bite;
 * Qwen2 is this with biases on queries, keys and values.
 */
#include "model/config.h"

#include "format/json.h"

#include <stdio.h>

static const char *const model_types[] = {"llama", "mistral", "qwen2", NULL};
static const char *const prefixes[] = {"model.", "", NULL};

/* What the config classes take for absent fields. */
typedef struct defaults {
    const char *model_type;
    int64_t n_vocab, d_model, d_mlp, n_layers, n_heads, n_kv_heads, n_context; /* n_kv_heads 0: as many as heads */
    int64_t bos_id, eos_id;
} defaults;
static const defaults defaults_of[] = {
    {"llama", 32000, 4096, 11008, 32, 32, 0, 2048, 1, 2},
    {"mistral", 32000, 4096, 14336, 32, 32, 8, 131072, 1, 2},
    {"qwen2", 151936, 4096, 22016, 32, 32, 32, 32768, -1, -1},
};

/* A model_type that is missing was known by its fields: those are Llama's. */
static const defaults *find_defaults(const char *model_type)
{
    for (size_t i = 0; i < sizeof defaults_of / sizeof *defaults_of; i++)
        if (strcmp(defaults_of[i].model_type, model_type) == 0)
            return &defaults_of[i];
    return &defaults_of[0];
}

/* Sizes; the width of a head is free. */
static sonde_status read_sizes(sonde_config *out, const json_t *json, const char *path)
{
    const defaults *d = find_defaults(out->model_type);

    out->n_vocab = d->n_vocab;
    out->d_model = d->d_model;
    out->d_mlp = d->d_mlp;
    out->n_layers = d->n_layers;
    out->n_heads = d->n_heads;
    out->n_context = d->n_context;
    SONDE_TRY(sondep_json_opt_int(&out->n_vocab, json, "vocab_size", path));
    SONDE_TRY(sondep_json_opt_int(&out->d_model, json, "hidden_size", path));
    SONDE_TRY(sondep_json_opt_int(&out->d_mlp, json, "intermediate_size", path));
    SONDE_TRY(sondep_json_opt_int(&out->n_layers, json, "num_hidden_layers", path));
    SONDE_TRY(sondep_json_opt_int(&out->n_heads, json, "num_attention_heads", path));
    SONDE_TRY(sondep_json_opt_int(&out->n_context, json, "max_position_embeddings", path));
    /* A null means "as many as heads"; an absent field means the class's default. */
    out->n_kv_heads = d->n_kv_heads && !json_object_get(json, "num_key_value_heads") ? d->n_kv_heads : out->n_heads;
    SONDE_TRY(sondep_json_opt_int(&out->n_kv_heads, json, "num_key_value_heads", path));
    if (out->n_heads < 1 || out->n_kv_heads < 1)
        return SONDE_FAIL(SONDE_E_RANGE, "'%s': %lld attention heads and %lld key/value heads", path,
                          (long long)out->n_heads, (long long)out->n_kv_heads);
    out->d_head = out->d_model / out->n_heads;
    return sondep_json_opt_int(&out->d_head, json, "head_dim", path);
}

/* The fields of the rope object of a config. The length that a llama3 model was first trained with may also stand outside of
 * it, which then counts, or nowhere: then it is the context. */
static sonde_status read_rope_object(sonde_config *out, const json_t *rope, const json_t *json, const char *path)
{
    const char *type = "default";

    SONDE_TRY(sondep_json_opt_string(&type, rope, "type", path));
    SONDE_TRY(sondep_json_opt_string(&type, rope, "rope_type", path));
    /* The other types change frequencies with the length of the text, or the scale of attention. */
    if (strcmp(type, "default") != 0 && strcmp(type, "linear") != 0 && strcmp(type, "llama3") != 0)
        return SONDE_FAIL(SONDE_E_UNSUPPORTED,
                          "'%s' has rope type '%s', which sonde does not handle (it handles default, linear, llama3)", path,
                          type);
    snprintf(out->rope.type, sizeof out->rope.type, "%s", type);
    SONDE_TRY(sondep_json_opt_double(&out->rope.theta, rope, "rope_theta", path));
    SONDE_TRY(sondep_config_refuse(rope, "partial_rotary_factor", "1.0", path));
    if (strcmp(type, "default") == 0)
        return SONDE_OK;
    /* What a scaled type needs has no defaults, there or here. */
    SONDE_TRY(sondep_json_get_double(&out->rope.factor, rope, "factor", path));
    if (!(out->rope.factor > 0.0))
        return SONDE_FAIL(SONDE_E_RANGE, "'%s': rope factor is %g, not positive", path, out->rope.factor);
    if (strcmp(type, "linear") == 0)
        return SONDE_OK;
    SONDE_TRY(sondep_json_get_double(&out->rope.low_freq_factor, rope, "low_freq_factor", path));
    SONDE_TRY(sondep_json_get_double(&out->rope.high_freq_factor, rope, "high_freq_factor", path));
    out->rope.original_context = out->n_context;
    SONDE_TRY(sondep_json_opt_int(&out->rope.original_context, rope, "original_max_position_embeddings", path));
    SONDE_TRY(sondep_json_opt_int(&out->rope.original_context, json, "original_max_position_embeddings", path));
    if (out->rope.original_context < 1)
        return SONDE_FAIL(SONDE_E_RANGE, "'%s': original_max_position_embeddings is %lld, below 1", path,
                          (long long)out->rope.original_context);
    if (!(out->rope.low_freq_factor > 0.0 && out->rope.high_freq_factor > out->rope.low_freq_factor))
        return SONDE_FAIL(SONDE_E_RANGE, "'%s': rope frequency factors are %g and %g, not rising from above 0", path,
                          out->rope.low_freq_factor, out->rope.high_freq_factor);
    return SONDE_OK;
}

/* transformers 4: rope_theta and rope_scaling; 5: rope_parameters with rope_theta inside. */
static sonde_status read_rope(sonde_config *out, const json_t *json, const char *path)
{
    const json_t *rope = NULL;

    /* Where a file has both objects, rope_scaling wins unless it is empty: so decides transformers 5. */
    out->rope = (sonde_rope){.theta = 10000.0, .type = "default", .factor = 1.0};
    SONDE_TRY(sondep_json_opt_double(&out->rope.theta, json, "rope_theta", path));
    SONDE_TRY(sondep_config_refuse(json, "partial_rotary_factor", "1.0", path));
    SONDE_TRY(sondep_json_opt_object(&rope, json, "rope_scaling", path));
    if (rope == NULL || json_object_size(rope) == 0)
        SONDE_TRY(sondep_json_opt_object(&rope, json, "rope_parameters", path));
    return rope ? read_rope_object(out, rope, json, path) : SONDE_OK;
}

/* A window that is shorter than the context changes the result; one that is longer, or switched off, does not. */
static sonde_status check_window(const sonde_config *out, const json_t *json, const char *path)
{
    bool is_used = true;
    int64_t window = out->n_context;

    if (strcmp(out->model_type, "qwen2") == 0)
        is_used = false;
    SONDE_TRY(sondep_json_opt_bool(&is_used, json, "use_sliding_window", path));
    if (strcmp(out->model_type, "mistral") == 0 && !json_object_get(json, "sliding_window"))
        window = 4096; /* the class's default */
    SONDE_TRY(sondep_json_opt_int(&window, json, "sliding_window", path));
    if (is_used && window < out->n_context && strcmp(out->model_type, "llama") != 0)
        return SONDE_FAIL(SONDE_E_UNSUPPORTED,
                          "'%s' has 'sliding_window' = %lld, shorter than the context of %lld, which sonde does not handle",
                          path, (long long)window, (long long)out->n_context);
    return SONDE_OK;
}

/* Everything of config.json that the result depends on. */
static sonde_status read_config(sonde_config *out, const json_t *json, const char *path)
{
    const char *activation = "silu";
    bool is_qwen2 = strcmp(out->model_type, "qwen2") == 0, is_mistral = strcmp(out->model_type, "mistral") == 0;
    bool attention_bias = false;

    SONDE_TRY(read_sizes(out, json, path));
    SONDE_TRY(sondep_json_opt_string(&activation, json, "hidden_act", path));
    snprintf(out->activation, sizeof out->activation, "%s", activation);
    out->norm = SONDE_RMSNORM;
    out->norm_eps = 1e-6;
    SONDE_TRY(sondep_json_opt_double(&out->norm_eps, json, "rms_norm_eps", path));
    out->positions = SONDE_POSITIONS_ROTARY;
    SONDE_TRY(read_rope(out, json, path));
    out->scale_attention = true;
    out->gated_mlp = true;
    SONDE_TRY(sondep_json_opt_bool(&out->tied, json, "tie_word_embeddings", path));

    /* Mistral's class has no biases whatever its config says; Qwen2's has them on queries, keys and values alone. */
    if (!is_qwen2 && !is_mistral) {
        SONDE_TRY(sondep_json_opt_bool(&attention_bias, json, "attention_bias", path));
        SONDE_TRY(sondep_json_opt_bool(&out->has_mlp_bias, json, "mlp_bias", path));
    }
    out->has_qkv_bias = attention_bias || is_qwen2;
    out->has_o_bias = attention_bias;
    out->bos_id = find_defaults(out->model_type)->bos_id;
    out->eos_id = find_defaults(out->model_type)->eos_id;
    SONDE_TRY(sondep_config_special_ids(out, json));
    return check_window(out, json, path);
}

/* Tensors layers.<layer>.* of the file. */
static sonde_status take_block(sonde_model *model, const sondep_source *source, int64_t layer)
{
    const sonde_config *c = &model->config;
    sondep_block *b = &model->blocks[layer];
    int64_t D = c->d_model, M = c->d_mlp, n_q = c->n_heads * c->d_head, n_kv = c->n_kv_heads * c->d_head;
    char name[64];

#define NAME(part) (snprintf(name, sizeof name, "layers.%lld.%s", (long long)layer, part), name)
    SONDE_TRY(sondep_take_norm(model, source, &b->ln1, false, NAME("input_layernorm")));
    SONDE_TRY(sondep_take_linear(model, source, &b->q, SONDEP_OUT_IN, D, n_q, c->has_qkv_bias, NAME("self_attn.q_proj")));
    SONDE_TRY(sondep_take_linear(model, source, &b->k, SONDEP_OUT_IN, D, n_kv, c->has_qkv_bias, NAME("self_attn.k_proj")));
    SONDE_TRY(sondep_take_linear(model, source, &b->v, SONDEP_OUT_IN, D, n_kv, c->has_qkv_bias, NAME("self_attn.v_proj")));
    SONDE_TRY(sondep_take_linear(model, source, &b->o, SONDEP_OUT_IN, n_q, D, c->has_o_bias, NAME("self_attn.o_proj")));
    SONDE_TRY(sondep_take_norm(model, source, &b->ln2, false, NAME("post_attention_layernorm")));
    SONDE_TRY(sondep_take_linear(model, source, &b->gate, SONDEP_OUT_IN, D, M, c->has_mlp_bias, NAME("mlp.gate_proj")));
    SONDE_TRY(sondep_take_linear(model, source, &b->up, SONDEP_OUT_IN, D, M, c->has_mlp_bias, NAME("mlp.up_proj")));
    return sondep_take_linear(model, source, &b->down, SONDEP_OUT_IN, M, D, c->has_mlp_bias, NAME("mlp.down_proj"));
#undef NAME
}

/* All tensors, in the order of the forward pass. */
static sonde_status take_weights(sonde_model *model, const sondep_source *source)
{
    SONDE_TRY(sondep_take_embeddings(model, source, "embed_tokens.weight"));
    for (int64_t layer = 0; layer < model->config.n_layers; layer++)
        SONDE_TRY(take_block(model, source, layer));
    return sondep_take_norm(model, source, &model->ln_final, false, "norm");
}

/* Which biases there are is a matter of the class: Llama's has one switch for attention, Mistral's none at all, and Qwen2's
 * has them on queries, keys and values alone. */
static sonde_status check_config(const sonde_config *c, const char *path)
{
    bool is_qwen2 = strcmp(c->model_type, "qwen2") == 0, is_mistral = strcmp(c->model_type, "mistral") == 0;
    bool is_llama3 = strcmp(c->rope.type, "llama3") == 0, is_linear = strcmp(c->rope.type, "linear") == 0;
    bool qkv_bias = is_qwen2 || (!is_mistral && c->has_o_bias);
    const sondep_fit fits[] = {
        {"norm", c->norm == SONDE_RMSNORM, "RMSNorm"},
        {"positions", c->positions == SONDE_POSITIONS_ROTARY, "rotary"},
        {"gated_mlp", c->gated_mlp, "true"},
        {"scale_attention", c->scale_attention, "true"},
        {"norm_bias", !c->norm_bias, "false"},
        {"unembed_bias", !c->unembed_bias, "false"},
        {"has_o_bias", !c->has_o_bias || !(is_qwen2 || is_mistral), "false for this model_type"},
        {"has_qkv_bias", c->has_qkv_bias == qkv_bias, qkv_bias ? "true here" : "false here (qwen2 has such models)"},
        {"has_mlp_bias", !c->has_mlp_bias || !(is_qwen2 || is_mistral), "false for this model_type"},
        {"rope.type", is_llama3 || is_linear || strcmp(c->rope.type, "default") == 0, "default, linear or llama3"},
        {"rope.factor", !(is_llama3 || is_linear) || c->rope.factor > 0.0, "positive"},
        {"rope.low_freq_factor", !is_llama3 || c->rope.low_freq_factor > 0.0, "positive"},
        {"rope.high_freq_factor", !is_llama3 || c->rope.high_freq_factor > c->rope.low_freq_factor, "above the low one"},
        {"rope.original_context", !is_llama3 || c->rope.original_context > 0, "positive"},
    };
    return sondep_config_fits(fits, sizeof fits / sizeof *fits, c, path);
}

/* The object of a rope type, which transformers 5 calls rope_parameters and 4 rope_scaling; 4 has theta beside it. */
static void write_rope(sondep_json_writer *out, const sonde_rope *rope, const char *name, bool has_theta)
{
    sondep_json_put_begin(out, name, '{');
    sondep_json_put_text(out, "rope_type", rope->type);
    if (has_theta)
        sondep_json_put_number(out, "rope_theta", rope->theta);
    if (strcmp(rope->type, "default") != 0)
        sondep_json_put_number(out, "factor", rope->factor);
    if (strcmp(rope->type, "llama3") == 0) {
        sondep_json_put_number(out, "low_freq_factor", rope->low_freq_factor);
        sondep_json_put_number(out, "high_freq_factor", rope->high_freq_factor);
        sondep_json_put_int(out, "original_max_position_embeddings", rope->original_context);
    }
    sondep_json_put_end(out, '}');
}

/* The names of the class, and of a field where the classes differ. */
static void write_class(sondep_json_writer *out, const sonde_config *c)
{
    bool is_qwen2 = strcmp(c->model_type, "qwen2") == 0, is_mistral = strcmp(c->model_type, "mistral") == 0;

    sondep_json_put_begin(out, "architectures", '[');
    sondep_json_put_text(out, NULL, is_qwen2 ? "Qwen2ForCausalLM" : is_mistral ? "MistralForCausalLM" : "LlamaForCausalLM");
    sondep_json_put_end(out, ']');
    /* A window is Mistral's default, so that none must be said; Qwen2's is off unless it is said. */
    if (is_qwen2 || is_mistral)
        sondep_json_put_null(out, "sliding_window");
    if (is_qwen2)
        sondep_json_put_bool(out, "use_sliding_window", false);
    if (!is_qwen2 && !is_mistral) {
        sondep_json_put_bool(out, "attention_bias", c->has_o_bias);
        sondep_json_put_bool(out, "mlp_bias", c->has_mlp_bias);
    }
}

/* The fields of all three classes. */
static void write_config(sondep_json_writer *out, const sonde_config *c)
{
    write_class(out, c);
    sondep_json_put_int(out, "num_hidden_layers", c->n_layers);
    sondep_json_put_int(out, "hidden_size", c->d_model);
    sondep_json_put_int(out, "num_attention_heads", c->n_heads);
    sondep_json_put_int(out, "num_key_value_heads", c->n_kv_heads);
    sondep_json_put_int(out, "head_dim", c->d_head);
    sondep_json_put_int(out, "intermediate_size", c->d_mlp);
    sondep_json_put_int(out, "max_position_embeddings", c->n_context);
    sondep_json_put_text(out, "hidden_act", c->activation);
    sondep_json_put_number(out, "rms_norm_eps", c->norm_eps);
    sondep_json_put_number(out, "attention_dropout", 0.0);
    sondep_json_put_number(out, "rope_theta", c->rope.theta);
    if (strcmp(c->rope.type, "default") == 0)
        sondep_json_put_null(out, "rope_scaling");
    else
        write_rope(out, &c->rope, "rope_scaling", false);
    write_rope(out, &c->rope, "rope_parameters", true);
}

const sondep_family sondep_llama = {"llama",       model_types,           "rms_norm_eps", prefixes,
                                    "norm.weight", "embed_tokens.weight", read_config,    take_weights,
                                    check_config,  write_config};
