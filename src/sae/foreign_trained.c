/* foreign_trained.c - what dictionary_learning, sparsify and OpenAI's sparse_autoencoder save.    floor 7: sae
 *
 * Sources: dictionary_learning 0.1.0, dictionary.py and trainers; eai-sparsify 1.3.3, sparse_coder.py; openai/sparse_autoencoder, model.py.
 */
#include "sae/foreign.h"

#include "base/file.h"
#include "format/json.h"

#include <math.h>
#include <stdio.h>

/* ---- dictionary_learning ------------------------------------------------------------------------------------------- */

/* Its matrices are those of torch's linear layers, or have SAELens's names and shapes. */
static const sondep_place linear_places[] = {
    {SONDEP_W_ENC, "encoder.weight", NULL, true}, {SONDEP_B_ENC, "encoder.bias", NULL, false},
    {SONDEP_W_DEC, "decoder.weight", NULL, true}, {SONDEP_B_DEC, "b_dec", "bias", false},
    {SONDEP_THRESHOLD, "threshold", NULL, false}, {SONDEP_B_GATE, "gate_bias", NULL, false},
    {SONDEP_B_MAG, "mag_bias", NULL, false},      {SONDEP_R_MAG, "r_mag", NULL, false},
};
static const sondep_place own_places[] = {
    {SONDEP_W_ENC, "W_enc", NULL, false}, {SONDEP_B_ENC, "b_enc", NULL, false},         {SONDEP_W_DEC, "W_dec", NULL, false},
    {SONDEP_B_DEC, "b_dec", NULL, false}, {SONDEP_THRESHOLD, "threshold", NULL, false},
};
enum { N_LINEAR = sizeof linear_places / sizeof *linear_places, N_OWN = sizeof own_places / sizeof *own_places };

/* config.json beside the weights: model, layer, class. It may be absent. */
static sonde_status read_trainer(sonde_sae_config *c, const char **class, const json_t *json, const char *path)
{
    const json_t *trainer = NULL;
    const char *model = "", *submodule = "";
    int64_t layer = -1;

    SONDE_TRY(sondep_json_get_object(&trainer, json, "trainer", path));
    SONDE_TRY(sondep_json_opt_string(class, trainer, "dict_class", path));
    SONDE_TRY(sondep_json_opt_string(&model, trainer, "lm_name", path));
    SONDE_TRY(sondep_json_opt_string(&submodule, trainer, "submodule_name", path));
    SONDE_TRY(sondep_json_opt_int(&layer, trainer, "layer", path));
    snprintf(c->model_name, sizeof c->model_name, "%.100s", model);
    if (layer >= 0)
        snprintf(c->hook_name, sizeof c->hook_name, "blocks.%lld.%s", (long long)layer,
                 strstr(submodule, "attn") || strstr(submodule, "attention") ? "hook_attn_out"
                 : strstr(submodule, "mlp")                                  ? "hook_mlp_out"
                                                                             : "hook_resid_post");
    return SONDE_OK;
}

/* Which class it is, by what config.json says and by what is there. */
static sonde_status read_class(sonde_sae_config *c, sondep_bag *bag, const char *class)
{
    int64_t k = sonde_torch_find(bag->torch, "k");
    bool is_gated = sondep_bag_has(bag, "gate_bias"), has_threshold = sondep_bag_has(bag, "threshold");
    sonde_tensor t;

    c->applies_b_dec = true;
    if (is_gated) {
        c->activation = SONDE_SAE_GATED;
    } else if (k >= 0 && (strcmp(class, "AutoEncoderTopK") == 0 || !has_threshold)) {
        c->activation = SONDE_SAE_TOPK;
        if (sonde_torch_kind_of(bag->torch, k) == SONDE_TORCH_TENSOR) {
            SONDE_TRY(sondep_bag_read(&t, bag, "k"));
            c->k = sonde_tensor_n_elements(&t) > 0 ? (int64_t) * (float *)t.data : 0;
            sondep_free(t.data);
        } else {
            c->k = (int64_t)sonde_torch_number(bag->torch, k);
        }
    } else if (has_threshold) {
        c->activation = SONDE_SAE_JUMPRELU;
        c->applies_b_dec = k >= 0; /* of BatchTopKSAE and MatryoshkaBatchTopKSAE; JumpReluAutoEncoder has no k */
    } else {
        c->activation = SONDE_SAE_RELU;
        c->applies_b_dec = sondep_bag_has(bag, "bias"); /* AutoEncoderNew has decoder.bias */
    }
    snprintf(c->architecture, sizeof c->architecture, "%s",
             c->activation == SONDE_SAE_GATED      ? "gated"
             : c->activation == SONDE_SAE_TOPK     ? "topk"
             : c->activation == SONDE_SAE_JUMPRELU ? "jumprelu"
                                                   : "standard");
    return SONDE_OK;
}

/* Class, sizes and weights. */
static sonde_status read_dictionary(sonde_sae **out, sonde_sae_config *c, sondep_bag *bag, const char *class)
{
    bool is_linear = sondep_bag_has(bag, "encoder.weight");
    sondep_place places[N_LINEAR];

    SONDE_TRY(read_class(c, bag, class));
    /* the matrix is looked at last: it is what is wanted next */
    if (is_linear)
        SONDE_TRY(sondep_foreign_sizes(&c->d_sae, &c->d_in, bag, "encoder.weight", NULL));
    else
        SONDE_TRY(sondep_foreign_sizes(&c->d_in, &c->d_sae, bag, "W_enc", NULL));
    c->d_out = c->d_in;
    memcpy(places, linear_places, sizeof places);
    /* b_dec has four names */
    if (is_linear && sondep_bag_has(bag, "decoder_bias"))
        places[3].name = "decoder_bias";
    else if (is_linear && sondep_bag_has(bag, "decoder.bias"))
        places[3].name = "decoder.bias";
    SONDE_TRY(sondep_foreign_fill(out, c, bag, is_linear ? places : own_places, is_linear ? N_LINEAR : N_OWN));
    /* a threshold of -1 was never set: everything above 0 counts */
    for (int64_t s = 0; c->activation == SONDE_SAE_JUMPRELU && s < c->d_sae; s++)
        (*out)->w[SONDEP_THRESHOLD][s] = fmaxf((*out)->w[SONDEP_THRESHOLD][s], 0.0f);
    return SONDE_OK;
}

/* Weights without config.json are read, too: then model and hook point are empty. */
sonde_status sondep_load_dictionary_learning(sonde_sae **out, const char *directory, const char *file)
{
    sonde_sae_config c = {0};
    const char *class = "";
    sondep_bag bag = {0};
    char *path = NULL;
    json_t *json = NULL;
    sonde_status status;

    SONDE_TRY_DONE(sondep_path_join(&path, directory, "config.json"));
    if (sondep_is_file(path)) {
        SONDE_TRY_DONE(sondep_json_load(&json, path));
        SONDE_TRY_DONE(read_trainer(&c, &class, json, path));
    }
    SONDE_TRY_DONE(sondep_bag_open(&bag, file));
    status = read_dictionary(out, &c, &bag, class);
done:
    sondep_bag_close(&bag);
    json_decref(json);
    sondep_free(path);
    return status;
}

/* ---- sparsify ------------------------------------------------------------------------------------------------------ */

/* layers.10, layers.10.mlp, h.3.attn, embed_tokens: the hook point that a module's output is. */
static void describe_module(sonde_sae_config *c, const char *directory)
{
    const char *name = strrchr(directory, '/') ? strrchr(directory, '/') + 1 : directory;
    long long layer = sondep_number_behind(name, "layers.");

    layer = layer >= 0 ? layer : sondep_number_behind(name, "h.");
    if (strcmp(name, "embed_tokens") == 0)
        snprintf(c->hook_name, sizeof c->hook_name, "hook_embed");
    else if (layer >= 0)
        snprintf(c->hook_name, sizeof c->hook_name, "blocks.%lld.%s", layer,
                 strstr(name, "mlp")                                 ? "hook_mlp_out"
                 : strstr(name, "attn") || strstr(name, "attention") ? "hook_attn_out"
                                                                     : "hook_resid_post");
}

/* cfg.json; hook_name and hook_name_out are ours, and stand above the name of the folder. */
static sonde_status read_sparsify(sonde_sae_config *c, const json_t *json, const char *directory, const char *path)
{
    const char *activation = "topk", *hook = "", *hook_out = "", *model = "";
    int64_t times = 32;
    bool is_signed = false;

    SONDE_TRY(sondep_json_get_int(&c->d_in, json, "d_in", path));
    SONDE_TRY(sondep_json_get_int(&c->k, json, "k", path));
    SONDE_TRY(sondep_json_opt_int(&c->d_sae, json, "num_latents", path));
    SONDE_TRY(sondep_json_opt_int(&times, json, "expansion_factor", path));
    SONDE_TRY(sondep_json_opt_string(&activation, json, "activation", path));
    SONDE_TRY(sondep_json_opt_bool(&is_signed, json, "signed", path));
    SONDE_TRY(sondep_json_opt_bool(&c->is_transcoder, json, "transcode", path));
    SONDE_TRY(sondep_json_opt_bool(&c->has_skip, json, "skip_connection", path));
    SONDE_TRY(sondep_json_opt_string(&hook, json, "hook_name", path));
    SONDE_TRY(sondep_json_opt_string(&hook_out, json, "hook_name_out", path));
    SONDE_TRY(sondep_json_opt_string(&model, json, "model_name", path));
    if (strcmp(activation, "topk") != 0 || is_signed)
        return SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' has the activation '%s%s'; sonde handles topk", path,
                          is_signed ? "signed " : "", activation);
    if (c->has_skip && !c->is_transcoder)
        return SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' has a skip connection and is no transcoder", path);
    if (c->d_sae == 0)
        SONDE_TRY(sondep_mul_i64(&c->d_sae, c->d_in, times, "expansion_factor times d_in"));
    c->d_out = c->d_in;
    c->activation = SONDE_SAE_TOPK;
    c->applies_b_dec = !c->is_transcoder;
    snprintf(c->architecture, sizeof c->architecture, "%s",
             !c->is_transcoder ? "topk"
             : c->has_skip     ? "topk_skip_transcoder"
                               : "topk_transcoder");
    if (!c->is_transcoder)
        describe_module(c, directory);
    if (*hook != '\0')
        snprintf(c->hook_name, sizeof c->hook_name, "%.100s", hook);
    snprintf(c->hook_name_out, sizeof c->hook_name_out, "%.100s", hook_out);
    snprintf(c->model_name, sizeof c->model_name, "%.100s", model);
    return SONDE_OK;
}

/* The model stands in the config.json of the folder above. */
static sonde_status read_sparsify_model(sonde_sae_config *c, const char *directory)
{
    const char *model = "";
    char *path = NULL;
    json_t *json = NULL;
    sonde_status status;

    SONDE_TRY_DONE(sondep_path_join(&path, directory, "../config.json"));
    if (c->model_name[0] == '\0' && sondep_is_file(path)) {
        SONDE_TRY_DONE(sondep_json_load(&json, path));
        SONDE_TRY_DONE(sondep_json_opt_string(&model, json, "model", path));
        snprintf(c->model_name, sizeof c->model_name, "%.100s", model);
    }
done:
    json_decref(json);
    sondep_free(path);
    return status;
}

/* W_dec is (S,O), as a decoder's rows; older files have decoder.weight, a linear layer's (O,S). */
sonde_status sondep_load_sparsify(sonde_sae **out, const char *directory, const char *file)
{
    sondep_place places[] = {{SONDEP_W_ENC, "encoder.weight", NULL, true},
                             {SONDEP_B_ENC, "encoder.bias", NULL, false},
                             {SONDEP_B_DEC, "b_dec", NULL, false},
                             {SONDEP_W_SKIP, "W_skip", NULL, false},
                             {SONDEP_W_DEC, "W_dec", NULL, false}};
    sonde_sae_config c = {0};
    sondep_bag bag = {0};
    char *path = NULL;
    json_t *json = NULL;
    sonde_status status;

    SONDE_TRY_DONE(sondep_path_join(&path, directory, "cfg.json"));
    SONDE_TRY_DONE(sondep_json_load(&json, path));
    SONDE_TRY_DONE(read_sparsify(&c, json, directory, path));
    SONDE_TRY_DONE(read_sparsify_model(&c, directory));
    SONDE_TRY_DONE(sondep_bag_open(&bag, file));
    if (!sondep_bag_has(&bag, "W_dec"))
        places[4] = (sondep_place){SONDEP_W_DEC, "decoder.weight", NULL, true};
    status = sondep_foreign_fill(out, &c, &bag, places, sizeof places / sizeof *places);
done:
    sondep_bag_close(&bag);
    json_decref(json);
    sondep_free(path);
    return status;
}

/* ---- OpenAI -------------------------------------------------------------------------------------------------------- */

/* Of a path .../gpt2-small/resid_post_mlp_v5_32k/autoencoders/8.pt: the model and the hook point. */
static void describe_openai(sonde_sae_config *c, const char *file)
{
    static const struct {
        const char *place, *hook;
    } hooks[] = {{"mlp_post_act", "mlp.hook_post"},
                 {"resid_delta_attn", "hook_attn_out"},
                 {"resid_post_attn", "hook_resid_mid"},
                 {"resid_delta_mlp", "hook_mlp_out"},
                 {"resid_post_mlp", "hook_resid_post"}};
    long long layer = sondep_number_behind(file, "autoencoders/");

    if (strstr(file, "gpt2-small") != NULL)
        snprintf(c->model_name, sizeof c->model_name, "gpt2");
    for (size_t i = 0; layer >= 0 && i < sizeof hooks / sizeof *hooks; i++)
        if (strstr(file, hooks[i].place) != NULL)
            snprintf(c->hook_name, sizeof c->hook_name, "blocks.%lld.%s", layer, hooks[i].hook);
}

/* TopK of layer-normed rows, or ReLU of rows as they are: what its own loader makes of the name of the activation. */
static sonde_status read_openai_activation(sonde_sae_config *c, const sonde_torch *file, const char *path)
{
    int64_t name = sonde_torch_find(file, "activation"), k = sonde_torch_find(file, "activation_state_dict.k");
    int64_t after = sonde_torch_find(file, "activation_state_dict.postact_fn");
    const char *activation = name >= 0 ? sonde_torch_text(file, name) : "ReLU",
               *then = after >= 0 ? sonde_torch_text(file, after) : "ReLU";

    if (strcmp(activation, "TopK") == 0 && k >= 0 && strcmp(then, "ReLU") == 0) {
        c->activation = SONDE_SAE_TOPK;
        c->normalization = SONDE_SAE_LAYER_NORM;
        c->k = (int64_t)sonde_torch_number(file, k);
    } else if (strcmp(activation, "ReLU") == 0) {
        c->activation = SONDE_SAE_RELU;
    } else {
        return SONDE_FAIL(SONDE_E_UNSUPPORTED,
                          "'%s' has the activation '%s' with '%s'; sonde handles TopK with ReLU, and ReLU", path, activation,
                          then);
    }
    snprintf(c->architecture, sizeof c->architecture, "%s", c->activation == SONDE_SAE_TOPK ? "topk" : "standard");
    return SONDE_OK;
}

/* All is in the one file, and in its path. */
sonde_status sondep_load_openai(sonde_sae **out, const char *directory, const char *file)
{
    static const sondep_place places[] = {{SONDEP_W_ENC, "encoder.weight", NULL, true},
                                          {SONDEP_B_ENC, "latent_bias", NULL, false},
                                          {SONDEP_W_DEC, "decoder.weight", NULL, true},
                                          {SONDEP_B_DEC, "pre_bias", NULL, false}};
    sonde_sae_config c = {.applies_b_dec = true};
    sondep_bag bag;
    sonde_status status;

    (void)directory;
    SONDE_TRY_DONE(sondep_bag_open(&bag, file));
    SONDE_TRY_DONE(sondep_foreign_sizes(&c.d_sae, &c.d_in, &bag, "encoder.weight", NULL));
    c.d_out = c.d_in;
    SONDE_TRY_DONE(read_openai_activation(&c, bag.torch, file));
    describe_openai(&c, file);
    status = sondep_foreign_fill(out, &c, &bag, places, sizeof places / sizeof *places);
done:
    sondep_bag_close(&bag);
    return status;
}
