/* save.c - an autoencoder as SAELens's folder.                                  floor 7: sae
 *
 * cfg.json and sae_weights.safetensors go into a folder beside, which then takes the place of the old one. A folder that is no
 * autoencoder's is never replaced: someone may have named the wrong one.
 */
#include "sae/sae.h"

#include <sonde/format.h>

#include "base/file.h"
#include "base/folder.h"
#include "format/json.h"

#include <errno.h>

/* What folders of autoencoders have. */
static const char *const other_names[] = {"trainer_state.pt", NULL};
static const char *const endings[] = {".json", ".safetensors", NULL};
static const sondep_folder_kind sae_folder = {"an autoencoder", "cfg.json", other_names, endings};

/* A JSON value as text, in a buffer of its exact size. (json_dumps loses pieces where memory runs out while its text grows.)
 * Owns: *out is the caller's: sondep_free. */
static sonde_status print_json(char **out, size_t *n, const json_t *json, const char *path)
{
    static const size_t how = JSON_INDENT(2) | JSON_REAL_PRECISION(17);

    *n = json_dumpb(json, NULL, 0, how);
    *out = *n > 0 ? sondep_alloc((int64_t)*n, 1) : NULL;
    if (*out != NULL && json_dumpb(json, *out, *n, how) == *n)
        return SONDE_OK;
    return SONDE_FAIL(SONDE_E_NOMEM, "out of memory while writing '%s'", path);
}

/* Written beside and renamed, as every file. */
sonde_status sondep_sae_save_json(const json_t *json, const char *path)
{
    sondep_writer writer = {.fd = -1};
    char *text = NULL;
    size_t n = 0;
    sonde_status status;

    SONDE_TRY_DONE(print_json(&text, &n, json, path));
    SONDE_TRY_DONE(sondep_writer_open(&writer, path));
    SONDE_TRY_DONE(sondep_writer_put(&writer, text, n));
    SONDE_TRY_DONE(sondep_writer_put(&writer, "\n", 1));
    status = sondep_writer_commit(&writer);
done:
    sondep_writer_abort(&writer);
    sondep_free(text);
    return status;
}

/* cfg.json. */
static sonde_status save_config(const sonde_sae *sae, const char *path)
{
    json_t *json = NULL;
    sonde_status status;

    SONDE_TRY_DONE(sondep_sae_config_write(&json, &sae->config, sae->json));
    status = sondep_sae_save_json(json, path);
done:
    json_decref(json);
    return status;
}

/* Whole tensors, one after the other; "format": "pt" is what PyTorch's users expect in safetensors. */
sonde_status sondep_sae_save_tensors(const char *path, const char *const *names, const sonde_tensor *tensors, int64_t n)
{
    static const char *const metadata[] = {"format", "pt"};
    sonde_sink *sink;

    SONDE_TRY(sonde_sink_open(&sink, path, names, tensors, n, metadata, 1));
    for (int64_t i = 0; i < n; i++) {
        sonde_status status = sonde_sink_put(sink, i, 0, tensors[i].data, sonde_tensor_n_elements(&tensors[i]));
        if (status != SONDE_OK) {
            sonde_sink_abort(sink);
            return status;
        }
    }
    return sonde_sink_commit(sink);
}

/* sae_weights.safetensors: what it has, in the order of the list. */
static sonde_status save_weights(const sonde_sae *sae, const char *path)
{
    const char *weights[SONDEP_N_SAE_WEIGHTS];
    sonde_tensor tensors[SONDEP_N_SAE_WEIGHTS];
    int64_t n = 0;

    for (int i = 0; i < SONDEP_N_SAE_WEIGHTS; i++) {
        if (sae->w[i] == NULL)
            continue;
        weights[n] = sondep_sae_weight_name(i);
        sondep_sae_weight_shape(&tensors[n], &sae->config, i);
        tensors[n++].data = sae->w[i];
    }
    return sondep_sae_save_tensors(path, weights, tensors, n);
}

/* Both files appear together, or neither. */
sonde_status sonde_sae_save(const sonde_sae *sae, const char *directory)
{
    sondep_folder folder = {0};
    char *config = NULL, *weights = NULL;
    sonde_status status;

    SONDE_TRY_DONE(sondep_folder_may_replace(directory, &sae_folder));
    SONDE_TRY_DONE(sondep_folder_open(&folder, directory));
    SONDE_TRY_DONE(sondep_path_join(&config, folder.part, "cfg.json"));
    SONDE_TRY_DONE(sondep_path_join(&weights, folder.part, "sae_weights.safetensors"));
    SONDE_TRY_DONE(save_config(sae, config));
    SONDE_TRY_DONE(save_weights(sae, weights));
    status = sondep_folder_commit(&folder);
done:
    sondep_folder_abort(&folder);
    sondep_free(config);
    sondep_free(weights);
    return status;
}

/* Weights first: a cfg.json without them would look like an autoencoder. */
sonde_status sonde_sae_write(const sonde_sae *sae, const char *directory)
{
    char *config = NULL, *weights = NULL;
    sonde_status status;

    if (!sondep_is_directory(directory) && sondep_syscalls.mkdir(directory, 0777) != 0)
        return SONDE_FAIL(SONDE_E_IO, "'%s' cannot be made: %s", directory, strerror(errno));
    SONDE_TRY_DONE(sondep_path_join(&config, directory, "cfg.json"));
    SONDE_TRY_DONE(sondep_path_join(&weights, directory, "sae_weights.safetensors"));
    SONDE_TRY_DONE(save_weights(sae, weights));
    status = save_config(sae, config);
done:
    sondep_free(config);
    sondep_free(weights);
    return status;
}
