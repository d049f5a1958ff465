/* foreign_save.c - autoencoders for other libraries.                           floor 7: sae
 *
 * Sources: eai-sparsify 1.3.3, sparse_coder.py; dictionary_learning 0.1.0, dictionary.py.
 */
#include "sae/foreign.h"

#include "base/file.h"
#include "base/folder.h"
#include "format/json.h"

#include <math.h>
#include <stdio.h>

enum { MOST_TENSORS = 8 };

/* Tensors that are to be written. */
typedef struct outgoing {
    const sonde_sae *sae;
    const char *names[MOST_TENSORS];
    sonde_tensor tensors[MOST_TENSORS]; /* their elements are owned */
    int64_t n;
} outgoing;

/* Also of a list that is half-made. */
static void outgoing_free(outgoing *o)
{
    for (int64_t i = 0; i < o->n; i++)
        sondep_free(o->tensors[i].data);
}

/* Room for one more tensor of a shape. */
static sonde_status add_shape(float **out, outgoing *o, const char *name, const sonde_tensor *shape)
{
    SONDE_ASSERT(o->n < MOST_TENSORS);
    SONDE_TRY(SONDE_NEW(*out, sonde_tensor_n_elements(shape)));
    o->names[o->n] = name;
    o->tensors[o->n] = *shape;
    o->tensors[o->n++].data = *out;
    return SONDE_OK;
}

/* What feature s is multiplied by, where features are chosen by the lengths of decoder rows and the other library has rows of length 1. */
static double length_of(const sonde_sae *sae, int64_t s)
{
    double norm = sae->config.rescales_by_norm
                      ? sqrt(sondep_sum_squares(sae->w[SONDEP_W_DEC] + s * sae->config.d_out, sae->config.d_out))
                      : 1.0;

    return norm > 0.0 ? norm : 1.0;
}

/* A matrix, its axes the other way round if `is_turned`. */
static sonde_status add_matrix(outgoing *o, const char *name, int weight, bool is_turned)
{
    const sonde_sae *sae = o->sae;
    sonde_tensor shape, turned;
    float *to = NULL;

    sondep_sae_weight_shape(&shape, &sae->config, weight);
    turned = shape;
    if (is_turned) {
        turned.shape[0] = shape.shape[1];
        turned.shape[1] = shape.shape[0];
    }
    SONDE_TRY(add_shape(&to, o, name, &turned));
    for (int64_t i = 0; i < shape.shape[0]; i++)
        for (int64_t j = 0; j < shape.shape[1]; j++)
            to[is_turned ? j * shape.shape[0] + i : i * shape.shape[1] + j] = sae->w[weight][i * shape.shape[1] + j];
    for (int64_t s = 0; sae->config.rescales_by_norm && weight != SONDEP_W_SKIP && s < sae->config.d_sae; s++) {
        double length = length_of(sae, s), factor = weight == SONDEP_W_ENC ? length : 1.0 / length;
        bool is_row = (weight == SONDEP_W_ENC) == is_turned; /* of a feature */
        int64_t n = is_row ? turned.shape[1] : turned.shape[0];
        for (int64_t k = 0; k < n; k++) {
            float *at = is_row ? to + s * n + k : to + k * turned.shape[1] + s;
            *at = (float)(*at * factor);
        }
    }
    return SONDE_OK;
}

/* Vectors of features are not scaled here: only b_enc would be, which has its own function. */
static sonde_status add_vector(outgoing *o, const char *name, int weight)
{
    sonde_tensor shape;
    float *to = NULL;

    sondep_sae_weight_shape(&shape, &o->sae->config, weight);
    SONDE_TRY(add_shape(&to, o, name, &shape));
    memcpy(to, o->sae->w[weight], (size_t)sonde_tensor_n_elements(&shape) * sizeof *to);
    return SONDE_OK;
}

/* b_enc for a library that takes b_dec from the input, or does not: b_enc + b_dec W_enc, or b_enc - b_dec W_enc. */
static sonde_status add_encoder_bias(outgoing *o, const char *name, bool applies_b_dec)
{
    const sonde_sae *sae = o->sae;
    const sonde_sae_config *c = &sae->config;
    double sign = applies_b_dec == c->applies_b_dec ? 0.0 : applies_b_dec ? 1.0 : -1.0;
    sonde_tensor shape;
    float *to = NULL;

    sondep_sae_weight_shape(&shape, c, SONDEP_B_ENC);
    SONDE_TRY(add_shape(&to, o, name, &shape));
    for (int64_t s = 0; s < c->d_sae; s++) {
        double sum = 0.0;
        for (int64_t d = 0; d < c->d_in && sign != 0.0; d++)
            sum += (double)sae->w[SONDEP_B_DEC][d] * sae->w[SONDEP_W_ENC][d * c->d_sae + s];
        to[s] = (float)((sae->w[SONDEP_B_ENC][s] + sign * sum) * length_of(sae, s));
    }
    return SONDE_OK;
}

/* A number by itself. */
static sonde_status add_number(outgoing *o, const char *name, sonde_dtype dtype, double value)
{
    sonde_tensor shape = {.dtype = dtype};
    float *to = NULL;
    int32_t whole = (int32_t)value;

    SONDE_TRY(add_shape(&to, o, name, &shape));
    *to = (float)value;
    if (dtype == SONDE_I32)
        memcpy(to, &whole, sizeof whole);
    return SONDE_OK;
}

/* What no other library's layout can say. */
static sonde_status check_plain(const sonde_sae_config *c, const char *layout)
{
    if (c->normalization != SONDE_SAE_AS_IT_IS || c->centres_input)
        return SONDE_FAIL(SONDE_E_UNSUPPORTED, "the layout of %s cannot say that rows are %s before they are encoded",
                          layout, c->centres_input ? "centred" : "scaled one by one");
    return SONDE_OK;
}

/* Writes the two files into a new folder, which takes the place of what was there. */
static sonde_status commit(const outgoing *o, const json_t *json, const char *directory, const char *config,
                           const char *weights, const sondep_folder_kind *kind)
{
    sondep_folder folder = {0};
    char *config_path = NULL, *weights_path = NULL;
    sonde_status status;

    SONDE_TRY_DONE(sondep_folder_may_replace(directory, kind));
    SONDE_TRY_DONE(sondep_folder_open(&folder, directory));
    SONDE_TRY_DONE(sondep_path_join(&config_path, folder.part, config));
    SONDE_TRY_DONE(sondep_path_join(&weights_path, folder.part, weights));
    SONDE_TRY_DONE(sondep_sae_save_json(json, config_path));
    SONDE_TRY_DONE(sondep_sae_save_tensors(weights_path, o->names, o->tensors, o->n));
    status = sondep_folder_commit(&folder);
done:
    sondep_folder_abort(&folder);
    sondep_free(config_path);
    sondep_free(weights_path);
    return status;
}

/* A JSON value that there was memory for. */
static sonde_status made(const json_t *json)
{
    return json != NULL ? SONDE_OK : SONDE_FAIL(SONDE_E_NOMEM, "out of memory while writing the config of an autoencoder");
}

/* ---- sparsify ------------------------------------------------------------------------------------------------------------- */

/* It takes b_dec from the input unless it is a transcoder. */
static sonde_status save_sparsify(outgoing *o, const char *directory)
{
    static const char *const endings[] = {".json", ".safetensors", NULL}, *const names[] = {NULL};
    static const sondep_folder_kind kind = {"an autoencoder", "cfg.json", names, endings};
    const sonde_sae_config *c = &o->sae->config;
    json_t *json = NULL;
    sonde_status status;

    if (c->activation != SONDE_SAE_TOPK || c->d_in != c->d_out)
        return SONDE_FAIL(SONDE_E_UNSUPPORTED,
                          "the layout of sparsify has TopK with as many outputs as inputs; this is '%s', %lld to %lld",
                          c->architecture, (long long)c->d_in, (long long)c->d_out);
    SONDE_TRY_DONE(add_matrix(o, "encoder.weight", SONDEP_W_ENC, true));
    SONDE_TRY_DONE(add_encoder_bias(o, "encoder.bias", !c->is_transcoder));
    SONDE_TRY_DONE(add_matrix(o, "W_dec", SONDEP_W_DEC, false));
    SONDE_TRY_DONE(add_vector(o, "b_dec", SONDEP_B_DEC));
    if (c->has_skip)
        SONDE_TRY_DONE(add_matrix(o, "W_skip", SONDEP_W_SKIP, false));
    json =
        json_pack("{s:s, s:i, s:b, s:I, s:I, s:b, s:b, s:b, s:I, s:s, s:s, s:s}", "activation", "topk", "expansion_factor",
                  32, "normalize_decoder", 0, "num_latents", (json_int_t)c->d_sae, "k", (json_int_t)c->k, "multi_topk", 0,
                  "skip_connection", c->has_skip, "transcode", c->is_transcoder, "d_in", (json_int_t)c->d_in, "model_name",
                  c->model_name, "hook_name", c->hook_name, "hook_name_out", c->hook_name_out);
    SONDE_TRY_DONE(made(json));
    status = commit(o, json, directory, "cfg.json", "sae.safetensors", &kind);
done:
    json_decref(json);
    return status;
}

/* ---- dictionary_learning -------------------------------------------------------------------------------------------------- */

/* The tensors of its class; *class: its name. */
static sonde_status add_dictionary(outgoing *o, const char **class)
{
    const sonde_sae_config *c = &o->sae->config;

    if (c->is_transcoder || c->activation == SONDE_SAE_ABSTOPK || c->activation == SONDE_SAE_PURSUIT ||
        (c->activation == SONDE_SAE_GATED && !c->applies_b_dec))
        return SONDE_FAIL(SONDE_E_UNSUPPORTED, "dictionary_learning has no class for '%s'%s", c->architecture,
                          c->activation == SONDE_SAE_GATED ? " that does not take b_dec from its input" : "");
    if (c->activation == SONDE_SAE_JUMPRELU) {
        *class = "JumpReluAutoEncoder";
        SONDE_TRY(add_matrix(o, "W_enc", SONDEP_W_ENC, false));
        SONDE_TRY(add_encoder_bias(o, "b_enc", false));
        SONDE_TRY(add_matrix(o, "W_dec", SONDEP_W_DEC, false));
        SONDE_TRY(add_vector(o, "b_dec", SONDEP_B_DEC));
        return add_vector(o, "threshold", SONDEP_THRESHOLD);
    }
    SONDE_TRY(add_matrix(o, "encoder.weight", SONDEP_W_ENC, true));
    SONDE_TRY(add_matrix(o, "decoder.weight", SONDEP_W_DEC, true));
    if (c->activation == SONDE_SAE_GATED) {
        *class = "GatedAutoEncoder";
        SONDE_TRY(add_vector(o, "r_mag", SONDEP_R_MAG));
        SONDE_TRY(add_vector(o, "gate_bias", SONDEP_B_GATE));
        SONDE_TRY(add_vector(o, "mag_bias", SONDEP_B_MAG));
        return add_vector(o, "decoder_bias", SONDEP_B_DEC);
    }
    if (c->activation == SONDE_SAE_TOPK) {
        *class = "AutoEncoderTopK";
        SONDE_TRY(add_number(o, "k", SONDE_I32, (double)c->k));
        SONDE_TRY(add_number(o, "threshold", SONDE_F32, -1.0));
        SONDE_TRY(add_encoder_bias(o, "encoder.bias", true));
        return add_vector(o, "b_dec", SONDEP_B_DEC);
    }
    *class = c->applies_b_dec ? "AutoEncoder" : "AutoEncoderNew";
    SONDE_TRY(add_encoder_bias(o, "encoder.bias", c->applies_b_dec));
    return add_vector(o, c->applies_b_dec ? "bias" : "decoder.bias", SONDEP_B_DEC);
}

/* Its own loader reads k, class and sizes from config.json; sae_lens also the layer, the model and the context. */
static sonde_status save_dictionary(outgoing *o, const char *directory)
{
    static const char *const names[] = {"config.json", "ae.pt", NULL}, *const endings[] = {NULL};
    static const sondep_folder_kind kind = {"an autoencoder of dictionary_learning", "ae.pt", names, endings};
    const sonde_sae_config *c = &o->sae->config;
    const json_t *context = json_object_get(json_object_get(o->sae->json, "metadata"), "context_size");
    const char *class = "";
    json_t *json = NULL;
    sonde_status status;

    SONDE_TRY_DONE(add_dictionary(o, &class));
    json = json_pack("{s:{s:s, s:I, s:I, s:I, s:I, s:s, s:s}, s:{s:O?}}", "trainer", "dict_class", class, "activation_dim",
                     (json_int_t)c->d_in, "dict_size", (json_int_t)c->d_sae, "k", (json_int_t)c->k, "layer",
                     (json_int_t)sondep_number_behind(c->hook_name, "blocks."), "lm_name", c->model_name, "submodule_name",
                     c->hook_name, "buffer", "ctx_len", context);
    SONDE_TRY_DONE(made(json));
    status = commit(o, json, directory, "config.json", "ae.pt", &kind);
done:
    json_decref(json);
    return status;
}

/* The layout is looked at before anything is made. */
sonde_status sonde_sae_save_as(const sonde_sae *sae, const char *directory, const char *layout)
{
    outgoing o = {.sae = sae};
    sonde_status status;

    if (strcmp(layout, "saelens") == 0)
        return sonde_sae_save(sae, directory);
    if (strcmp(layout, "sparsify") != 0 && strcmp(layout, "dictionary_learning") != 0)
        return SONDE_FAIL(SONDE_E_ARG, "'%s' is no layout that sonde writes: saelens, sparsify, dictionary_learning",
                          layout);
    SONDE_TRY(check_plain(&sae->config, layout));
    sondep_json_setup();
    status = strcmp(layout, "sparsify") == 0 ? save_sparsify(&o, directory) : save_dictionary(&o, directory);
    outgoing_free(&o);
    return status;
}
