/* load.c - an autoencoder from a folder: cfg.json and sae_weights.safetensors, or what other libraries write.     floor 7: sae
 *
 * Which library's folder it is, its files say: each layout has one that no other has.
 *
 * Weights of any element type become floats in one block; their shapes are held against cfg.json, and every number must be finite.
 * A scale of the whole input that SAELens kept beside the weights (activation_scaler.json) is folded into them, as it does itself.
 */
#include "sae/foreign.h"

#include <sonde/format.h>

#include "base/file.h"
#include "format/json.h"

#include <math.h>

/* ---- weights ------------------------------------------------------------------------------------------------------------ */

#define NAME(value, name, axes) name,
#define AXES(value, name, axes) axes,
static const char *const names[] = {SONDEP_SAE_WEIGHT_LIST(NAME)};
static const char *const axes_of[] = {SONDEP_SAE_WEIGHT_LIST(AXES)};

/* As SAELens has it. */
const char *sondep_sae_weight_name(int weight)
{
    return names[weight];
}

/* The letters of the list are axes. */
void sondep_sae_weight_shape(sonde_tensor *out, const sonde_sae_config *config, int weight)
{
    *out = (sonde_tensor){.dtype = SONDE_F32};
    for (const char *axis = axes_of[weight]; *axis != '\0'; axis++)
        out->shape[out->rank++] = *axis == 'I' ? config->d_in : *axis == 'S' ? config->d_sae : config->d_out;
}

/* Matching pursuit encodes by its decoder; gates have biases of their own. */
bool sondep_sae_has_weight(const sonde_sae_config *config, int weight)
{
    switch (weight) {
    case SONDEP_W_ENC: return config->activation != SONDE_SAE_PURSUIT;
    case SONDEP_B_ENC: return config->activation != SONDE_SAE_PURSUIT && config->activation != SONDE_SAE_GATED;
    case SONDEP_THRESHOLD: return config->activation == SONDE_SAE_JUMPRELU;
    case SONDEP_B_GATE:
    case SONDEP_B_MAG:
    case SONDEP_R_MAG: return config->activation == SONDE_SAE_GATED;
    case SONDEP_W_SKIP: return config->has_skip;
    default: return true;
    }
}

/* One block: what an autoencoder has is allocated, freed and counted as a whole. */
sonde_status sondep_sae_new(sonde_sae **out, const sonde_sae_config *config)
{
    sonde_sae *sae;
    sonde_tensor shape;
    int64_t n = 0;

    *out = NULL;
    SONDE_TRY(SONDE_NEW(sae, 1));
    sae->config = *config;
    for (int i = 0; i < SONDEP_N_SAE_WEIGHTS; i++) {
        sondep_sae_weight_shape(&shape, config, i);
        n += sondep_sae_has_weight(config, i) ? sonde_tensor_n_elements(&shape) : 0;
    }
    if (SONDE_NEW(sae->block, n) != SONDE_OK) {
        sonde_sae_free(sae);
        return SONDE_E_NOMEM;
    }
    n = 0;
    for (int i = 0; i < SONDEP_N_SAE_WEIGHTS; i++) {
        if (!sondep_sae_has_weight(config, i))
            continue;
        sae->w[i] = sae->block + n;
        sondep_sae_weight_shape(&shape, config, i);
        n += sonde_tensor_n_elements(&shape);
    }
    *out = sae;
    return SONDE_OK;
}

/* Takes a half-made one, too. */
void sonde_sae_free(sonde_sae *sae)
{
    if (sae == NULL)
        return;
    json_decref(sae->json);
    sondep_free(sae->block);
    sondep_free(sae->encoder);
    sondep_free(sae->norms);
    sondep_free(sae);
}

/* W_enc (D,S) as (S,D): the encoder that selects goes feature by feature. */
static sonde_status turn_encoder(sonde_sae *sae)
{
    int64_t D = sae->config.d_in, S = sae->config.d_sae;

    SONDE_TRY(SONDE_NEW(sae->encoder, S * D));
    for (int64_t s = 0; s < S; s++)
        for (int64_t d = 0; d < D; d++)
            sae->encoder[s * D + d] = sae->w[SONDEP_W_ENC][d * S + s];
    return SONDE_OK;
}

/* Done once, behind the last change of a weight: folding a scale changes both. */
sonde_status sondep_sae_finish(sonde_sae *sae)
{
    const sonde_sae_config *c = &sae->config;

    if (c->activation == SONDE_SAE_TOPK || c->activation == SONDE_SAE_ABSTOPK)
        SONDE_TRY(turn_encoder(sae));
    if (!c->rescales_by_norm)
        return SONDE_OK;
    SONDE_TRY(SONDE_NEW(sae->norms, c->d_sae));
    for (int64_t s = 0; s < c->d_sae; s++)
        sae->norms[s] = (float)sqrt(sondep_sum_squares(sae->w[SONDEP_W_DEC] + s * c->d_out, c->d_out));
    return SONDE_OK;
}

/* Borrowed: it lives as long as the autoencoder. */
const sonde_sae_config *sonde_sae_get_config(const sonde_sae *sae)
{
    return &sae->config;
}

/* By name, so that callers need no list of what each architecture has. */
sonde_status sonde_sae_weight(sonde_tensor *out, const sonde_sae *sae, const char *name)
{
    for (int i = 0; i < SONDEP_N_SAE_WEIGHTS; i++)
        if (sae->w[i] != NULL && strcmp(names[i], name) == 0) {
            sondep_sae_weight_shape(out, &sae->config, i);
            out->data = sae->w[i];
            return SONDE_OK;
        }
    return SONDE_FAIL(SONDE_E_NOTFOUND, "an autoencoder of the architecture '%s' has no weight '%s'",
                      sae->config.architecture, name);
}

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

/* The paths of a folder, and what is open of it. */
typedef struct folder {
    char *config, *weights, *scale;
    sonde_safetensors *file;
} folder;

/* Also one that is half-open. */
static void folder_close(folder *f)
{
    sondep_free(f->config);
    sondep_free(f->weights);
    sondep_free(f->scale);
    sonde_safetensors_close(f->file);
}

/* One weight as floats, each of them finite. */
static sonde_status read_weight(sonde_sae *sae, int i, const folder *f)
{
    sonde_tensor want, got;
    int64_t n, at;
    char is[80], should[80];

    sondep_sae_weight_shape(&want, &sae->config, i);
    SONDE_TRY(sonde_safetensors_get(&got, f->file, names[i]));
    if (got.rank != want.rank || memcmp(got.shape, want.shape, sizeof got.shape) != 0)
        return SONDE_FAIL(SONDE_E_SHAPE, "shapes do not agree: '%s' in '%s' is %s, cfg.json makes it %s", names[i],
                          f->weights, sonde_tensor_format_shape(is, sizeof is, &got),
                          sonde_tensor_format_shape(should, sizeof should, &want));
    n = sonde_tensor_n_elements(&want);
    sonde_convert_to_f32(sae->w[i], got.data, got.dtype, n);
    at = sondep_find_nonfinite(sae->w[i], n, false);
    if (at >= 0)
        return SONDE_FAIL(SONDE_E_NONFINITE, "weight '%s' in '%s' is %g at element %lld", names[i], f->weights,
                          (double)sae->w[i][at], (long long)at);
    return SONDE_OK;
}

/* A factor for each feature that folders before version 6 may have; all ones mean nothing. */
static sonde_status check_scaling_factor(const folder *f)
{
    static const char name[] = "scaling_factor";
    sonde_tensor t;
    float x;

    if (!sonde_safetensors_has(f->file, name))
        return SONDE_OK;
    SONDE_TRY(sonde_safetensors_get(&t, f->file, name));
    for (int64_t i = 0; i < sonde_tensor_n_elements(&t); i++) {
        sonde_convert_to_f32(&x, (const char *)t.data + (size_t)i * sonde_dtype_bytes(t.dtype), t.dtype, 1);
        if (!(fabsf(x - 1.0f) <= 1e-5f))
            return SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' has a 'scaling_factor' other than 1 (a fine-tuned autoencoder)",
                              f->weights);
    }
    return SONDE_OK;
}

/* Whether the input is to be multiplied by a number that was measured over a data set. */
static bool has_outer_scale(const json_t *json)
{
    const json_t *value = json_object_get(json, "normalize_activations");

    return json_is_true(value) ||
           (json_is_string(value) && strcmp(json_string_value(value), "expected_average_only_in") == 0);
}

/* x -> c x before the encoder and y -> y / c behind the decoder: W_enc c, W_dec / c, b_dec / c. Source: SAE.fold_activation_norm_scaling_factor. */
void sondep_sae_fold_scale(sonde_sae *sae, double scale)
{
    const double factors[SONDEP_N_SAE_WEIGHTS] = {
        [SONDEP_W_ENC] = scale, [SONDEP_W_DEC] = 1.0 / scale, [SONDEP_B_DEC] = 1.0 / scale};
    sonde_tensor shape;

    for (int i = 0; i < SONDEP_N_SAE_WEIGHTS; i++) {
        if (sae->w[i] == NULL || factors[i] == 0.0)
            continue;
        sondep_sae_weight_shape(&shape, &sae->config, i);
        for (int64_t k = 0; k < sonde_tensor_n_elements(&shape); k++)
            sae->w[i][k] = (float)(sae->w[i][k] * factors[i]);
    }
    sae->config.residual_threshold /= scale;
}

/* Reads that number and folds it. */
static sonde_status read_outer_scale(sonde_sae *sae, const folder *f)
{
    json_t *json = NULL;
    double scale = 0.0;
    sonde_status status;

    if (!has_outer_scale(sae->json))
        return SONDE_OK;
    if (!sondep_is_file(f->scale))
        return SONDE_FAIL(SONDE_E_NOTFOUND,
                          "'%s' has an input scale that is not folded into the weights, and there is no '%s'", f->config,
                          f->scale);
    SONDE_TRY_DONE(sondep_json_load(&json, f->scale));
    SONDE_TRY_DONE(sondep_json_get_double(&scale, json, "scaling_factor", f->scale));
    if (!(scale > 0.0) || !isfinite(scale)) {
        status = SONDE_FAIL(SONDE_E_RANGE, "'%s' has the scaling factor %g", f->scale, scale);
        goto done;
    }
    sondep_sae_fold_scale(sae, scale);
done:
    json_decref(json);
    return status;
}

/* All weights of a folder whose config was read. */
static sonde_status read_weights(sonde_sae *sae, folder *f)
{
    SONDE_TRY(sonde_safetensors_open(&f->file, f->weights));
    for (int i = 0; i < SONDEP_N_SAE_WEIGHTS; i++)
        if (sae->w[i] != NULL)
            SONDE_TRY(read_weight(sae, i, f));
    SONDE_TRY(check_scaling_factor(f));
    SONDE_TRY(read_outer_scale(sae, f));
    return sondep_sae_finish(sae);
}

/* SAELens's folder. */
static sonde_status load_saelens(sonde_sae **out, const char *directory, const char *file)
{
    folder f = {0};
    json_t *json = NULL;
    sonde_sae_config config;
    sonde_sae *sae = NULL;
    sonde_status status;

    (void)file;
    SONDE_TRY_DONE(sondep_path_join(&f.config, directory, "cfg.json"));
    SONDE_TRY_DONE(sondep_path_join(&f.weights, directory, "sae_weights.safetensors"));
    SONDE_TRY_DONE(sondep_path_join(&f.scale, directory, "activation_scaler.json"));
    SONDE_TRY_DONE(sondep_json_load(&json, f.config));
    if (!json_is_object(json)) {
        status = SONDE_FAIL(SONDE_E_FORMAT, "'%s' is not a JSON object", f.config);
        goto done;
    }
    SONDE_TRY_DONE(sondep_sae_config_read(&config, json, f.config));
    SONDE_TRY_DONE(sondep_sae_new(&sae, &config));
    sae->json = json_incref(json);
    SONDE_TRY_DONE(read_weights(sae, &f));
    *out = sae;
    sae = NULL;
done:
    sonde_sae_free(sae);
    json_decref(json);
    folder_close(&f);
    return status;
}

/* ---- which layout --------------------------------------------------------------------------------------------------------- */

/* Each layout with the file that it alone has, its file of weights, and what loads it. */
typedef struct layout {
    const char *name, *marker, *weights;
    sondep_foreign_load_fn *load;
} layout;

static const layout layouts[] = {
    {"Gemma Scope", "params.npz", "params.npz", sondep_load_gemma_scope},
    {"Gemma Scope 2", "params.safetensors", "params.safetensors", sondep_load_gemma_scope_2},
    {"Llama Scope", "hyperparams.json", "checkpoints/final.safetensors", sondep_load_llama_scope},
    {"dictionary_learning", "ae.pt", "ae.pt", sondep_load_dictionary_learning},
    {"sparsify", "sae.safetensors", "sae.safetensors", sondep_load_sparsify},
};
enum { N_LAYOUTS = sizeof layouts / sizeof *layouts };
static const layout saelens = {"SAELens", "cfg.json", "", load_saelens}, openai = {"OpenAI", "", "", sondep_load_openai};

/* A file by itself: one that a layout knows by its name, or a .pt whose tensors say whose it is. */
static sonde_status find_of_file(const layout **out, const char *path)
{
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    size_t n = strlen(name);
    sonde_torch *file;

    *out = NULL;
    for (int i = 0; i < N_LAYOUTS; i++)
        if (strcmp(name, layouts[i].weights) == 0) {
            *out = &layouts[i];
            return SONDE_OK;
        }
    if (n > 4 && strcmp(name + n - 4, ".npz") == 0)
        *out = &layouts[0];
    if (n < 3 || strcmp(name + n - 3, ".pt") != 0)
        return *out ? SONDE_OK : SONDE_FAIL(SONDE_E_ARG, "'%s' is a file, and no autoencoder's: name its folder", path);
    SONDE_TRY(sonde_torch_open(&file, path));
    *out = sonde_torch_find(file, "pre_bias") >= 0 ? &openai : &layouts[3];
    sonde_torch_close(file);
    return SONDE_OK;
}

/* Of a folder: the first layout whose marker is there; SAELens's, whose error then says what is missing, if there is none. */
static sonde_status find_of_folder(const layout **out, char **file, const char *directory)
{
    bool is_there;
    char *marker;

    for (int i = 0; i < N_LAYOUTS; i++) {
        SONDE_TRY(sondep_path_join(&marker, directory, layouts[i].marker));
        is_there = sondep_is_file(marker);
        sondep_free(marker);
        if (!is_there)
            continue;
        *out = &layouts[i];
        return sondep_path_join(file, directory, layouts[i].weights);
    }
    *out = &saelens;
    return SONDE_OK;
}

/* The path as it really is: names of folders say what the files do not. */
sonde_status sonde_sae_load(sonde_sae **out, const char *path)
{
    const layout *found = NULL;
    char *whole = NULL, *file = NULL;
    sonde_status status;

    *out = NULL;
    SONDE_TRY_DONE(sondep_path_resolve(&whole, path));
    if (sondep_is_file(whole)) {
        SONDE_TRY_DONE(find_of_file(&found, whole));
        SONDE_TRY_DONE(sondep_copy_string(&file, whole));
        if (strrchr(whole, '/') != NULL)
            *strrchr(whole, '/') = '\0';
    } else {
        SONDE_TRY_DONE(find_of_folder(&found, &file, whole));
    }
    SONDE_TRY_DONE(found->load(out, found == &saelens ? path : whole, file));
    (*out)->layout = found->name;
    if (found != &saelens)
        SONDE_TRY_DONE(sondep_sae_finish(*out));
done:
    if (status != SONDE_OK) {
        sonde_sae_free(*out);
        *out = NULL;
    }
    sondep_free(whole);
    sondep_free(file);
    return status;
}

/* One that was trained here and never saved has the layout that it would be saved in. */
const char *sonde_sae_layout(const sonde_sae *sae)
{
    return sae->layout != NULL ? sae->layout : saelens.name;
}
