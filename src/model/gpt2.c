/* gpt2.c - GPT-2 and its relatives: config fields and tensor names.            floor 5: model
 *
 * LayerNorm before attention and MLP, learned positions, one matrix for queries, keys and values. Matrices are Conv1D: they
 * lie (in, out), as they are multiplied. Source: transformers models/gpt2.
 *
 *   x  = wte[token] + wpe[position]
 *   x += attention(y W_qkv + b_qkv) W_O + b_O,          y = layernorm(x)
 *   x += act(y W_fc + b_fc) W_proj + b_proj,            y = layernorm(x)
 */
#include "model/config.h"

#include "format/json.h"

#include <stdio.h>

static const char *const model_types[] = {"gpt2", NULL};
static const char *const prefixes[] = {"transformer.", "", NULL};

/* Sizes have a name of their own and one that all configs share. */
static const char *const vocab_names[] = {"vocab_size", NULL};
static const char *const context_names[] = {"n_positions", "max_position_embeddings", NULL};
static const char *const width_names[] = {"n_embd", "hidden_size", NULL};
static const char *const layer_names[] = {"n_layer", "num_hidden_layers", NULL};
static const char *const head_names[] = {"n_head", "num_attention_heads", NULL};
static const char *const inner_names[] = {"n_inner", NULL};

/* Sizes, with the relations that the family fixes: one width of heads, a whole number of them. */
static sonde_status read_sizes(sonde_config *out, const json_t *json, const char *path)
{
    /* Defaults of GPT2Config, then what the file says. */
    out->n_vocab = 50257;
    out->n_context = 1024;
    out->d_model = 768;
    out->n_layers = 12;
    out->n_heads = 12;
    SONDE_TRY(sondep_config_size(&out->n_vocab, json, vocab_names, path));
    SONDE_TRY(sondep_config_size(&out->n_context, json, context_names, path));
    SONDE_TRY(sondep_config_size(&out->d_model, json, width_names, path));
    SONDE_TRY(sondep_config_size(&out->n_layers, json, layer_names, path));
    SONDE_TRY(sondep_config_size(&out->n_heads, json, head_names, path));
    if (out->d_model < 1 || out->n_heads < 1 || out->d_model > INT32_MAX || out->d_model % out->n_heads != 0)
        return SONDE_FAIL(SONDE_E_SHAPE, "'%s': n_embd %lld is not a multiple of n_head %lld", path, (long long)out->d_model,
                          (long long)out->n_heads);
    out->n_kv_heads = out->n_heads;
    out->d_head = out->d_model / out->n_heads;
    out->d_mlp = 4 * out->d_model;
    return sondep_config_size(&out->d_mlp, json, inner_names, path);
}

/* Everything of config.json that the result depends on. */
static sonde_status read_config(sonde_config *out, const json_t *json, const char *path)
{
    const char *activation = "gelu_new";

    SONDE_TRY(read_sizes(out, json, path));
    SONDE_TRY(sondep_json_opt_string(&activation, json, "activation_function", path));
    snprintf(out->activation, sizeof out->activation, "%s", activation);
    out->norm = SONDE_LAYERNORM;
    out->norm_eps = 1e-5;
    SONDE_TRY(sondep_json_opt_double(&out->norm_eps, json, "layer_norm_epsilon", path));
    out->positions = SONDE_POSITIONS_LEARNED;
    out->scale_attention = true;
    SONDE_TRY(sondep_json_opt_bool(&out->scale_attention, json, "scale_attn_weights", path));
    out->tied = true;
    SONDE_TRY(sondep_json_opt_bool(&out->tied, json, "tie_word_embeddings", path));
    out->has_qkv_bias = out->has_o_bias = out->has_mlp_bias = out->norm_bias = true;
    out->bos_id = out->eos_id = 50256;
    SONDE_TRY(sondep_config_special_ids(out, json));

    /* Both would change the result; reorder_and_upcast_attn only changes how it is rounded. */
    SONDE_TRY(sondep_config_refuse(json, "scale_attn_by_inverse_layer_idx", "false", path));
    return sondep_config_refuse(json, "add_cross_attention", "false", path);
}

/* Tensors h.<layer>.* of the file. */
static sonde_status take_block(sonde_model *model, const sondep_source *source, int64_t layer)
{
    const sonde_config *c = &model->config;
    sondep_block *block = &model->blocks[layer];
    int64_t D = c->d_model;
    char name[64];

#define NAME(part) (snprintf(name, sizeof name, "h.%lld.%s", (long long)layer, part), name)
    SONDE_TRY(sondep_take_norm(model, source, &block->ln1, true, NAME("ln_1")));
    /* One matrix (D, 3D) holds all three; each is also reachable by itself, for hooks on its input. */
    SONDE_TRY(sondep_take_linear(model, source, &block->qkv, SONDEP_IN_OUT, D, 3 * D, true, NAME("attn.c_attn")));
    block->q = sondep_linear_columns(&block->qkv, 0, D);
    block->k = sondep_linear_columns(&block->qkv, D, D);
    block->v = sondep_linear_columns(&block->qkv, 2 * D, D);
    SONDE_TRY(sondep_take_linear(model, source, &block->o, SONDEP_IN_OUT, D, D, true, NAME("attn.c_proj")));
    SONDE_TRY(sondep_take_norm(model, source, &block->ln2, true, NAME("ln_2")));
    SONDE_TRY(sondep_take_linear(model, source, &block->up, SONDEP_IN_OUT, D, c->d_mlp, true, NAME("mlp.c_fc")));
    return sondep_take_linear(model, source, &block->down, SONDEP_IN_OUT, c->d_mlp, D, true, NAME("mlp.c_proj"));
#undef NAME
}

/* All tensors, in the order of the forward pass. */
static sonde_status take_weights(sonde_model *model, const sondep_source *source)
{
    const sonde_config *c = &model->config;

    SONDE_TRY(sondep_take_embeddings(model, source, "wte.weight"));
    /* A row of wpe is a position: read as (context, D), which is how it lies. */
    SONDE_TRY(sondep_take_matrix(model, source, &model->wpe, SONDEP_IN_OUT, c->n_context, c->d_model, "wpe.weight"));
    for (int64_t layer = 0; layer < c->n_layers; layer++)
        SONDE_TRY(take_block(model, source, layer));
    return sondep_take_norm(model, source, &model->ln_final, true, "ln_f");
}

/* The class has one kind of block, all of it with biases. */
static sonde_status check_config(const sonde_config *c, const char *path)
{
    const sondep_fit fits[] = {
        {"norm", c->norm == SONDE_LAYERNORM, "LayerNorm"},
        {"positions", c->positions == SONDE_POSITIONS_LEARNED, "learned"},
        {"gated_mlp", !c->gated_mlp, "false"},
        {"n_kv_heads", c->n_kv_heads == c->n_heads, "the number of heads"},
        {"d_head", c->d_head * c->n_heads == c->d_model, "the width of the residual stream by the number of heads"},
        {"has_qkv_bias", c->has_qkv_bias, "true"},
        {"has_o_bias", c->has_o_bias, "true"},
        {"has_mlp_bias", c->has_mlp_bias, "true"},
        {"norm_bias", c->norm_bias, "true"},
        {"unembed_bias", !c->unembed_bias, "false"},
    };
    return sondep_config_fits(fits, sizeof fits / sizeof *fits, c, path);
}

/* Dropout is written as none, where the class would take 0.1: nothing here trains with it. */
static void write_config(sondep_json_writer *out, const sonde_config *c)
{
    sondep_json_put_begin(out, "architectures", '[');
    sondep_json_put_text(out, NULL, "GPT2LMHeadModel");
    sondep_json_put_end(out, ']');
    sondep_json_put_int(out, "n_layer", c->n_layers);
    sondep_json_put_int(out, "n_embd", c->d_model);
    sondep_json_put_int(out, "n_head", c->n_heads);
    sondep_json_put_int(out, "n_inner", c->d_mlp);
    sondep_json_put_int(out, "n_positions", c->n_context);
    sondep_json_put_int(out, "n_ctx", c->n_context);
    sondep_json_put_text(out, "activation_function", c->activation);
    sondep_json_put_number(out, "layer_norm_epsilon", c->norm_eps);
    sondep_json_put_bool(out, "scale_attn_weights", c->scale_attention);
    sondep_json_put_number(out, "attn_pdrop", 0.0);
    sondep_json_put_number(out, "embd_pdrop", 0.0);
    sondep_json_put_number(out, "resid_pdrop", 0.0);
}

const sondep_family sondep_gpt2 = {"gpt2",       model_types, "n_embd",     prefixes,     "ln_f.weight",
                                   "wte.weight", read_config, take_weights, check_config, write_config};
