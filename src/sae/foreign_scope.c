/* foreign_scope.c - Gemma Scope, Gemma Scope 2, Llama Scope.                   floor 7: sae
 *
 * Source: sae_lens 6.54.12, loading/pretrained_sae_loaders.py: gemma_2, gemma_2_transcoder, gemma_3, llama_scope. What a model and a hook
 * point are called stands in the names of folders alone, as these are on Hugging Face; under other names both stay empty.
 */
#include "sae/foreign.h"

#include "base/file.h"
#include "format/json.h"

#include <math.h>
#include <stdio.h>

/* ---- Gemma Scope --------------------------------------------------------------------------------------------------- */

/* Each weight under its own name, in whatever case the first letter is. */
static const sondep_place gemma_places[] = {
    {SONDEP_W_ENC, "W_enc", "w_enc", false},      {SONDEP_B_ENC, "b_enc", NULL, false},
    {SONDEP_W_DEC, "W_dec", "w_dec", false},      {SONDEP_B_DEC, "b_dec", NULL, false},
    {SONDEP_THRESHOLD, "threshold", NULL, false}, {SONDEP_W_SKIP, "affine_skip_connection", NULL, true}};
enum { N_GEMMA = sizeof gemma_places / sizeof *gemma_places };

/* Of a path .../gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71: the model and the hook points. */
static void describe_gemma_scope(sonde_sae_config *c, const char *path)
{
    static const char *const models[] = {"2b-it", "9b-it", "27b-it", "27b", "2b", "9b"};
    const char *kind = strstr(path, "gemma-scope-");
    long long layer = sondep_number_behind(path, "layer_");

    for (size_t i = 0; kind != NULL && c->model_name[0] == '\0' && i < sizeof models / sizeof *models; i++)
        if (strstr(kind, models[i]) != NULL)
            snprintf(c->model_name, sizeof c->model_name, "gemma-2-%s", models[i]);
    if (kind == NULL || layer < 0)
        return;
    if (c->is_transcoder) {
        snprintf(c->hook_name, sizeof c->hook_name, "blocks.%lld.ln2.hook_normalized", layer);
        snprintf(c->hook_name_out, sizeof c->hook_name_out, "blocks.%lld.hook_mlp_out", layer);
    } else if (strstr(kind, "-res") != NULL) {
        snprintf(c->hook_name, sizeof c->hook_name, "blocks.%lld.hook_resid_post", layer);
    } else if (strstr(kind, "-mlp") != NULL) {
        snprintf(c->hook_name, sizeof c->hook_name, "blocks.%lld.hook_mlp_out", layer);
    } else if (strstr(kind, "-att") != NULL) {
        snprintf(c->hook_name, sizeof c->hook_name, "blocks.%lld.attn.hook_z", layer);
        c->joins_heads = true;
    }
}

/* Sizes by what is there; jumprelu, and nothing taken from the input. The matrix is looked at last: it is what is wanted next. */
static sonde_status read_gemma_sizes(sonde_sae_config *c, sondep_bag *bag)
{
    sonde_tensor bias;

    c->activation = SONDE_SAE_JUMPRELU;
    SONDE_TRY(sondep_bag_read(&bias, bag, "b_dec"));
    c->d_out = sonde_tensor_n_elements(&bias);
    sondep_free(bias.data);
    SONDE_TRY(sondep_foreign_sizes(&c->d_in, &c->d_sae, bag, "W_enc", "w_enc"));
    c->is_transcoder = c->is_transcoder || c->d_out != c->d_in;
    snprintf(c->architecture, sizeof c->architecture, "%s",
             !c->is_transcoder ? "jumprelu"
             : c->has_skip     ? "jumprelu_skip_transcoder"
                               : "jumprelu_transcoder");
    return SONDE_OK;
}

/* The embeddings that it was trained on were not yet multiplied by sqrt(D), as Gemma does. */
static void scale_embedding(sonde_sae *sae)
{
    int64_t n = sae->config.d_in * sae->config.d_sae;
    double scale = sqrt((double)sae->config.d_in);

    for (int64_t i = 0; i < n; i++) {
        sae->w[SONDEP_W_ENC][i] = (float)(sae->w[SONDEP_W_ENC][i] / scale);
        sae->w[SONDEP_W_DEC][i] = (float)(sae->w[SONDEP_W_DEC][i] * scale);
    }
}

/* There is no config: everything is in the shapes and in the path. */
sonde_status sondep_load_gemma_scope(sonde_sae **out, const char *directory, const char *file)
{
    bool is_embedding = strstr(directory, "/embedding/") != NULL;
    sonde_sae_config c = {.is_transcoder = strstr(directory, "transcoder") != NULL};
    sondep_bag bag;
    sonde_status status;

    SONDE_TRY_DONE(sondep_bag_open(&bag, file));
    SONDE_TRY_DONE(read_gemma_sizes(&c, &bag));
    describe_gemma_scope(&c, directory);
    if (is_embedding)
        snprintf(c.hook_name, sizeof c.hook_name, "hook_embed");
    SONDE_TRY_DONE(sondep_foreign_fill(out, &c, &bag, gemma_places, N_GEMMA));
    if (is_embedding)
        scale_embedding(*out);
done:
    sondep_bag_close(&bag);
    return status;
}

/* ---- Gemma Scope 2 ------------------------------------------------------------------------------------------------- */

/* Of a path .../resid_post/layer_9_width_16k_l0_small: the hook points; of config.json: the model. */
static sonde_status describe_gemma_scope_2(sonde_sae_config *c, const json_t *json, const char *directory, const char *path)
{
    const char *model = "", *architecture = "";
    long long layer = sondep_number_behind(directory, "layer_");

    SONDE_TRY(sondep_json_opt_string(&architecture, json, "architecture", path));
    SONDE_TRY(sondep_json_opt_string(&model, json, "model_name", path));
    if (strcmp(architecture, "jump_relu") != 0)
        return SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' has the architecture '%s'; Gemma Scope 2 has jump_relu", path,
                          architecture);
    snprintf(c->model_name, sizeof c->model_name, "%.100s", model);
    if (layer < 0)
        return SONDE_OK;
    if (c->is_transcoder) {
        snprintf(c->hook_name, sizeof c->hook_name, "blocks.%lld.hook_mlp_in", layer);
        snprintf(c->hook_name_out, sizeof c->hook_name_out, "blocks.%lld.hook_mlp_out", layer);
    } else if (strstr(directory, "resid_post") != NULL) {
        snprintf(c->hook_name, sizeof c->hook_name, "blocks.%lld.hook_resid_post", layer);
    } else if (strstr(directory, "attn_out") != NULL) {
        snprintf(c->hook_name, sizeof c->hook_name, "blocks.%lld.attn.hook_z", layer);
        c->joins_heads = true;
    } else if (strstr(directory, "mlp_out") != NULL) {
        snprintf(c->hook_name, sizeof c->hook_name, "blocks.%lld.hook_mlp_out", layer);
    }
    return SONDE_OK;
}

/* config.json has the model, and the path the hook point. */
sonde_status sondep_load_gemma_scope_2(sonde_sae **out, const char *directory, const char *file)
{
    sonde_sae_config c = {.is_transcoder = strstr(directory, "transcoder") != NULL};
    sondep_bag bag = {0};
    char *path = NULL;
    json_t *json = NULL;
    sonde_status status;

    SONDE_TRY_DONE(sondep_path_join(&path, directory, "config.json"));
    SONDE_TRY_DONE(sondep_json_load(&json, path));
    SONDE_TRY_DONE(sondep_bag_open(&bag, file));
    c.has_skip = c.is_transcoder && sondep_bag_has(&bag, "affine_skip_connection");
    SONDE_TRY_DONE(read_gemma_sizes(&c, &bag));
    SONDE_TRY_DONE(describe_gemma_scope_2(&c, json, directory, path));
    status = sondep_foreign_fill(out, &c, &bag, gemma_places, N_GEMMA);
done:
    sondep_bag_close(&bag);
    json_decref(json);
    sondep_free(path);
    return status;
}

/* ---- Llama Scope --------------------------------------------------------------------------------------------------- */

/* What hyperparams.json says; *scale: what the input is multiplied by, *threshold: that of all features. */
static sonde_status read_hyperparams(sonde_sae_config *c, double *scale, double *threshold, const json_t *json,
                                     const char *path)
{
    const json_t *norms = NULL;
    const char *hook = "", *hook_out = "", *norm = "dataset-wise", *activation = "jumprelu";
    double length = 0.0;

    SONDE_TRY(sondep_json_get_int(&c->d_in, json, "d_model", path));
    SONDE_TRY(sondep_json_get_int(&c->d_sae, json, "d_sae", path));
    SONDE_TRY(sondep_json_get_double(threshold, json, "jump_relu_threshold", path));
    SONDE_TRY(sondep_json_get_string(&hook, json, "hook_point_in", path));
    hook_out = hook;
    SONDE_TRY(sondep_json_opt_string(&hook_out, json, "hook_point_out", path));
    SONDE_TRY(sondep_json_opt_string(&norm, json, "norm_activation", path));
    SONDE_TRY(sondep_json_opt_string(&activation, json, "act_fn", path));
    SONDE_TRY(sondep_json_opt_bool(&c->applies_b_dec, json, "apply_decoder_bias_to_pre_encoder", path));
    SONDE_TRY(sondep_json_get_object(&norms, json, "dataset_average_activation_norm", path));
    SONDE_TRY(sondep_json_get_double(&length, norms, "in", path));
    if (strcmp(hook, hook_out) != 0 || strcmp(norm, "dataset-wise") != 0 || strcmp(activation, "jumprelu") != 0)
        return SONDE_FAIL(SONDE_E_UNSUPPORTED,
                          "'%s' has hook_point_out '%s', norm_activation '%s', act_fn '%s'; sonde handles the hook point "
                          "that is read, dataset-wise, jumprelu",
                          path, hook_out, norm, activation);
    if (!(length > 0.0) || !isfinite(length))
        return SONDE_FAIL(SONDE_E_RANGE, "'%s' has the average norm %g", path, length);
    *scale = sqrt((double)c->d_in) / length;
    c->d_out = c->d_in;
    snprintf(c->architecture, sizeof c->architecture, "jumprelu");
    snprintf(c->model_name, sizeof c->model_name, "meta-llama/Llama-3.1-8B");
    snprintf(c->hook_name, sizeof c->hook_name, "%.100s", hook);
    return SONDE_OK;
}

/* The scale goes into the weights; that of the threshold is sae_lens's: it is multiplied by the scale, too. */
sonde_status sondep_load_llama_scope(sonde_sae **out, const char *directory, const char *file)
{
    static const sondep_place places[] = {{SONDEP_W_ENC, "encoder.weight", NULL, true},
                                          {SONDEP_B_ENC, "encoder.bias", NULL, false},
                                          {SONDEP_W_DEC, "decoder.weight", NULL, true},
                                          {SONDEP_B_DEC, "decoder.bias", NULL, false}};
    sonde_sae_config c = {.activation = SONDE_SAE_JUMPRELU};
    sondep_bag bag = {0};
    char *path = NULL;
    json_t *json = NULL;
    double scale = 1.0, threshold = 0.0;
    sonde_status status;

    SONDE_TRY_DONE(sondep_path_join(&path, directory, "hyperparams.json"));
    SONDE_TRY_DONE(sondep_json_load(&json, path));
    SONDE_TRY_DONE(read_hyperparams(&c, &scale, &threshold, json, path));
    SONDE_TRY_DONE(sondep_bag_open(&bag, file));
    SONDE_TRY_DONE(sondep_foreign_fill(out, &c, &bag, places, sizeof places / sizeof *places));
    for (int64_t s = 0; s < c.d_sae; s++)
        (*out)->w[SONDEP_THRESHOLD][s] = (float)(threshold * scale);
    sondep_sae_fold_scale(*out, scale);
done:
    sondep_bag_close(&bag);
    json_decref(json);
    sondep_free(path);
    return status;
}
