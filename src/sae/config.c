/* config.c - cfg.json: which architecture, which sizes, and what is refused by name.   floor 7: sae
 *
 * SAELens wrote one flat object before version 6, and keeps what belongs to the model in `metadata` since: a field is looked for
 * in both. A field that is absent has SAELens's default; one that would change the result and is not handled is an error.
 * Source: sae_lens 6.54.12, handle_pre_6_0_config and the configs of each architecture.
 */
#include "sae/foreign.h"

#include "format/json.h"

#include <stdio.h>

/* The version of SAELens whose folders these are. */
static const char SAELENS_VERSION[] = "6.54.12";

/* What SAELens calls an architecture. */
typedef struct architecture {
    const char *name;
    sonde_sae_activation activation;
    bool is_transcoder, has_skip;
} architecture;

static const architecture architectures[] = {
    {"standard", SONDE_SAE_RELU, false, false},
    {"gated", SONDE_SAE_GATED, false, false},
    {"topk", SONDE_SAE_TOPK, false, false},
    {"abstopk", SONDE_SAE_ABSTOPK, false, false},
    {"jumprelu", SONDE_SAE_JUMPRELU, false, false},
    {"matching_pursuit", SONDE_SAE_PURSUIT, false, false},
    {"transcoder", SONDE_SAE_RELU, true, false},
    {"skip_transcoder", SONDE_SAE_RELU, true, true},
    {"jumprelu_transcoder", SONDE_SAE_JUMPRELU, true, false},
    {"jumprelu_skip_transcoder", SONDE_SAE_JUMPRELU, true, true},
    /* sonde's own: SAELens has no transcoders of TopK */
    {"topk_transcoder", SONDE_SAE_TOPK, true, false},
    {"topk_skip_transcoder", SONDE_SAE_TOPK, true, true},
};
enum { N_ARCHITECTURES = sizeof architectures / sizeof *architectures };

/* ---- reading ---------------------------------------------------------------------------------------------------------- */

/* The object that has a field: the file's own, or its metadata. */
static const json_t *holder(const json_t *json, const char *key)
{
    const json_t *metadata = json_object_get(json, "metadata");
    bool is_inside = json_object_get(json, key) == NULL && json_is_object(metadata);

    return is_inside ? metadata : json;
}

/* A text, under the first of two names that is there; "" if neither is. */
static sonde_status read_text(char *out, size_t out_bytes, const json_t *json, const char *name, const char *other,
                              const char *path)
{
    const char *text = "";

    SONDE_TRY(sondep_json_opt_string(&text, holder(json, name), name, path));
    if (*text == '\0' && other != NULL)
        SONDE_TRY(sondep_json_opt_string(&text, holder(json, other), other, path));
    if ((size_t)snprintf(out, out_bytes, "%s", text) >= out_bytes)
        return SONDE_FAIL(SONDE_E_RANGE, "'%s' in '%s' has %zu bytes, more than %zu", name, path, strlen(text),
                          out_bytes - 1);
    return SONDE_OK;
}

/* Before version 6 TopK was a standard one with another activation function. */
static sonde_status read_old_activation(const char **name, sonde_sae_config *out, const json_t *json, const char *path)
{
    const char *activation = "relu";
    const json_t *details = NULL;

    SONDE_TRY(sondep_json_opt_string(&activation, json, "activation_fn_str", path));
    SONDE_TRY(sondep_json_opt_string(&activation, json, "activation_fn", path));
    if (strcmp(activation, "relu") == 0)
        return SONDE_OK;
    if (strcmp(activation, "topk") != 0)
        return SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' has the activation function '%s'; sonde handles relu and topk", path,
                          activation);
    *name = "topk";
    SONDE_TRY(sondep_json_get_object(&details, json, "activation_fn_kwargs", path));
    return sondep_json_get_int(&out->k, details, "k", path);
}

/* Names that cfg.json may have, but that are no inference form. */
static sonde_status refuse_architecture(const char *name, const char *path)
{
    sonde_status status =
        SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' has the architecture '%s', which sonde does not know", path, name);

    if (strcmp(name, "batchtopk") == 0 || strcmp(name, "matryoshka_batchtopk") == 0)
        return sondep_hint(status,
                           "this is its form for training; what SAELens saves for use has the architecture jumprelu");
    return status;
}

/* The architecture, and what its name says. */
static sonde_status read_architecture(sonde_sae_config *out, const json_t *json, const char *path)
{
    const char *name = "standard";

    SONDE_TRY(sondep_json_opt_string(&name, json, "architecture", path));
    if (json_object_get(json, "architecture") == NULL || strcmp(name, "standard") == 0)
        SONDE_TRY(read_old_activation(&name, out, json, path));
    for (int i = 0; i < N_ARCHITECTURES; i++) {
        const architecture *a = &architectures[i];
        if (strcmp(name, a->name) != 0)
            continue;
        snprintf(out->architecture, sizeof out->architecture, "%s", name);
        out->activation = a->activation;
        out->is_transcoder = a->is_transcoder;
        out->has_skip = a->has_skip;
        return SONDE_OK;
    }
    return refuse_architecture(name, path);
}

/* none, constant_norm_rescale, layer_norm; a scale over a whole data set is folded into the weights, or stands in a file of its
 * own, which is read with the weights. */
static sonde_status read_normalization(sonde_sae_config *out, const json_t *json, const char *path)
{
    static const char *const names[] = {"none", "constant_norm_rescale", "layer_norm", NULL};
    const json_t *value = json_object_get(json, "normalize_activations");
    const char *name = "none";

    if (json_is_boolean(value))
        return SONDE_OK;
    SONDE_TRY(sondep_json_opt_string(&name, json, "normalize_activations", path));
    for (int i = 0; names[i] != NULL; i++)
        if (strcmp(name, names[i]) == 0) {
            out->normalization = (sonde_sae_normalization)i;
            return SONDE_OK;
        }
    if (strcmp(name, "expected_average_only_in") == 0)
        return SONDE_OK;
    return SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' has 'normalize_activations' = '%s', which sonde does not handle", path,
                      name);
}

/* Whether rows are heads side by side: since version 6 a field says so, before it the name of the hook. */
static sonde_status read_reshaping(sonde_sae_config *out, const json_t *json, const char *path)
{
    const char *how = strstr(out->hook_name, "hook_z") != NULL ? "hook_z" : "none";

    SONDE_TRY(sondep_json_opt_string(&how, json, "reshape_activations", path));
    if (strcmp(how, "hook_z") != 0 && strcmp(how, "none") != 0)
        return SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' has 'reshape_activations' = '%s', which sonde does not handle", path,
                          how);
    out->joins_heads = strcmp(how, "hook_z") == 0;
    return SONDE_OK;
}

/* What was done to the model that it was trained on. Centred writing weights take the mean over d_model from everything that is
 * added to the residual stream; nothing else of these options changes what a hook point has. */
static sonde_status read_model_changes(sonde_sae_config *out, const json_t *json, const char *path)
{
    const json_t *changes = NULL;
    const json_t *head = json_object_get(holder(json, "hook_head_index"), "hook_head_index");
    bool is_written = strstr(out->hook_name, "resid") != NULL || strstr(out->hook_name, "_out") != NULL ||
                      strstr(out->hook_name, "embed") != NULL;

    if (head != NULL && !json_is_null(head))
        return SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' has 'hook_head_index': autoencoders of one head are not handled", path);
    SONDE_TRY(sondep_json_opt_object(&changes, holder(json, "model_from_pretrained_kwargs"), "model_from_pretrained_kwargs",
                                     path));
    if (changes != NULL)
        SONDE_TRY(sondep_json_opt_bool(&out->centres_input, changes, "center_writing_weights", path));
    out->centres_input = out->centres_input && is_written;
    return SONDE_OK;
}

/* Sizes are positive and fit in memory: features are counted in 32 bits. */
sonde_status sondep_sae_check_sizes(const sonde_sae_config *c, const char *path)
{
    int64_t n;

    if (c->d_in < 1 || c->d_sae < 1 || c->d_out < 1 || c->d_in > INT32_MAX || c->d_sae > INT32_MAX || c->d_out > INT32_MAX)
        return SONDE_FAIL(SONDE_E_RANGE, "'%s' has sizes outside [1, %d]: d_in %lld, d_sae %lld, d_out %lld", path,
                          INT32_MAX, (long long)c->d_in, (long long)c->d_sae, (long long)c->d_out);
    if ((c->activation == SONDE_SAE_TOPK || c->activation == SONDE_SAE_ABSTOPK) && (c->k < 1 || c->k > c->d_sae))
        return SONDE_FAIL(SONDE_E_RANGE, "'%s' has k %lld, outside [1, %lld]", path, (long long)c->k, (long long)c->d_sae);
    if (c->activation == SONDE_SAE_PURSUIT && c->max_iterations < 1)
        return SONDE_FAIL(SONDE_E_RANGE, "'%s' has max_iterations %lld, less than 1", path, (long long)c->max_iterations);
    return sondep_mul_i64(&n, c->d_sae, c->d_in + c->d_out, "weights of an autoencoder");
}

/* Sizes, and the fields of single architectures. */
static sonde_status read_sizes(sonde_sae_config *out, const json_t *json, const char *path)
{
    SONDE_TRY(sondep_json_get_int(&out->d_in, json, "d_in", path));
    SONDE_TRY(sondep_json_get_int(&out->d_sae, json, "d_sae", path));
    out->d_out = out->max_iterations = out->d_in;
    if (out->is_transcoder)
        SONDE_TRY(sondep_json_opt_int(&out->d_out, json, "d_out", path));
    SONDE_TRY(sondep_json_opt_int(&out->k, json, "k", path));
    SONDE_TRY(sondep_json_opt_bool(&out->rescales_by_norm, json, "rescale_acts_by_decoder_norm", path));
    SONDE_TRY(sondep_json_opt_bool(&out->stops_on_duplicate, json, "stop_on_duplicate_support", path));
    SONDE_TRY(sondep_json_opt_int(&out->max_iterations, json, "max_iterations", path));
    SONDE_TRY(sondep_json_opt_double(&out->residual_threshold, json, "residual_threshold", path));
    out->applies_b_dec = !out->is_transcoder;
    SONDE_TRY(sondep_json_opt_bool(&out->applies_b_dec, json, "apply_b_dec_to_input", path));
    if (out->is_transcoder && out->applies_b_dec)
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is a transcoder with 'apply_b_dec_to_input': b_dec belongs to its output",
                          path);
    return sondep_sae_check_sizes(out, path);
}

/* Names first: whether rows are heads, and whether they are centred, the hook point says. */
sonde_status sondep_sae_config_read(sonde_sae_config *out, const json_t *json, const char *path)
{
    sonde_sae_config c = {.k = 100, .residual_threshold = 1e-2, .stops_on_duplicate = true};

    SONDE_TRY(read_architecture(&c, json, path));
    SONDE_TRY(read_sizes(&c, json, path));
    SONDE_TRY(read_text(c.model_name, sizeof c.model_name, json, "model_name", NULL, path));
    SONDE_TRY(read_text(c.hook_name, sizeof c.hook_name, json, "hook_name", "hook_point", path));
    SONDE_TRY(read_text(c.hook_name_out, sizeof c.hook_name_out, json, "hook_name_out", NULL, path));
    SONDE_TRY(read_normalization(&c, json, path));
    SONDE_TRY(read_reshaping(&c, json, path));
    SONDE_TRY(read_model_changes(&c, json, path));
    /* what an architecture has no use for would only be said wrongly */
    c.rescales_by_norm = c.rescales_by_norm && (c.activation == SONDE_SAE_TOPK || c.activation == SONDE_SAE_ABSTOPK);
    *out = c;
    return SONDE_OK;
}

/* ---- writing ---------------------------------------------------------------------------------------------------------- */

/* An object that grows; what there was no memory for is remembered. */
typedef struct growing {
    json_t *object;
    bool has_failed;
} growing;

/* Takes `value`, which is NULL where there was no memory for it. */
static void put(growing *g, const char *key, json_t *value)
{
    /* json_object_set_new frees the value that it cannot keep */
    if (g->object == NULL || json_object_set_new(g->object, key, value) != 0)
        g->has_failed = true;
    if (g->object == NULL)
        json_decref(value);
}

/* A text, where there is one. */
static void put_text(growing *g, const char *key, const char *text)
{
    if (*text != '\0')
        put(g, key, json_string(text));
}

/* The fields of all architectures and of this one. */
static void put_fields(growing *g, const sonde_sae_config *c)
{
    static const char *const normalizations[] = {"none", "constant_norm_rescale", "layer_norm"};

    put(g, "architecture", json_string(c->architecture));
    put(g, "d_in", json_integer(c->d_in));
    put(g, "d_sae", json_integer(c->d_sae));
    put(g, "dtype", json_string("float32"));
    put(g, "device", json_string("cpu"));
    put(g, "apply_b_dec_to_input", json_boolean(c->applies_b_dec));
    put(g, "normalize_activations", json_string(normalizations[c->normalization]));
    put(g, "reshape_activations", json_string(c->joins_heads ? "hook_z" : "none"));
    if (c->is_transcoder)
        put(g, "d_out", json_integer(c->d_out));
    if (c->activation == SONDE_SAE_TOPK || c->activation == SONDE_SAE_ABSTOPK) {
        put(g, "k", json_integer(c->k));
        put(g, "rescale_acts_by_decoder_norm", json_boolean(c->rescales_by_norm));
    }
    if (c->activation == SONDE_SAE_PURSUIT) {
        put(g, "max_iterations", json_integer(c->max_iterations));
        put(g, "residual_threshold", json_real(c->residual_threshold));
        put(g, "stop_on_duplicate_support", json_boolean(c->stops_on_duplicate));
    }
}

/* What SAELens keeps in its metadata of what it had at the top before version 6. */
static const char *const flat_fields[] = {"model_from_pretrained_kwargs",
                                          "prepend_bos",
                                          "context_size",
                                          "dataset_path",
                                          "neuronpedia_id",
                                          "model_class_name",
                                          "seqpos_slice",
                                          "sae_lens_training_version"};

/* What belongs to the model: the old metadata, with the names as they are now. */
static json_t *own_metadata(growing *whole, const sonde_sae_config *c, const json_t *json)
{
    json_t *old = json_object_get(json, "metadata");
    growing g = {json_is_object(old) ? json_deep_copy(old) : json_object(), false};

    /* before version 6 they stood beside the sizes */
    for (size_t i = 0; old == NULL && i < sizeof flat_fields / sizeof *flat_fields; i++)
        if (json_object_get(json, flat_fields[i]) != NULL)
            put(&g, flat_fields[i], json_deep_copy(json_object_get(json, flat_fields[i])));
    if (g.object == NULL || json_object_get(g.object, "sae_lens_version") == NULL)
        put(&g, "sae_lens_version", json_string(SAELENS_VERSION));
    put_text(&g, "model_name", c->model_name);
    put_text(&g, "hook_name", c->hook_name);
    put_text(&g, "hook_name_out", c->hook_name_out);
    if (c->centres_input && json_object_get(g.object, "model_from_pretrained_kwargs") == NULL)
        put(&g, "model_from_pretrained_kwargs", json_pack("{s:b}", "center_writing_weights", 1));
    whole->has_failed = whole->has_failed || g.has_failed;
    return g.object;
}

/* What there was no memory for is noticed at the end, once. */
sonde_status sondep_sae_config_write(json_t **out, const sonde_sae_config *config, const json_t *json)
{
    growing g = {0};

    sondep_json_setup();
    g.object = json_object();
    put_fields(&g, config);
    put(&g, "metadata", own_metadata(&g, config, json));
    *out = g.object;
    if (!g.has_failed)
        return SONDE_OK;
    json_decref(*out);
    *out = NULL;
    return SONDE_FAIL(SONDE_E_NOMEM, "out of memory while writing the config of an autoencoder");
}
