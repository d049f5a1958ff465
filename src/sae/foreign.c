/* foreign.c - what the layouts of other libraries share.                       floor 7: sae */
#include "sae/foreign.h"

#include <stdlib.h>

/* Whether a text ends so. */
static bool ends_in(const char *text, const char *ending)
{
    size_t n = strlen(text), m = strlen(ending);

    return n >= m && strcmp(text + n - m, ending) == 0;
}

/* The ending, not the content: each layout has one format. */
sonde_status sondep_bag_open(sondep_bag *out, const char *path)
{
    *out = (sondep_bag){0};
    SONDE_TRY(sondep_copy_string(&out->path, path));
    if (ends_in(path, ".safetensors"))
        return sonde_safetensors_open(&out->safetensors, path);
    if (ends_in(path, ".npz"))
        return sonde_npz_open(&out->npz, path);
    if (ends_in(path, ".pt"))
        return sonde_torch_open(&out->torch, path);
    return SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' ends in none of .safetensors, .npz, .pt", path);
}

/* One of the three is open, or none. */
void sondep_bag_close(sondep_bag *bag)
{
    sondep_free(bag->path);
    sonde_safetensors_close(bag->safetensors);
    sonde_npz_close(bag->npz);
    sonde_torch_close(bag->torch);
    sonde_npy_free(&bag->last);
}

/* By the name as it stands in the file. */
bool sondep_bag_has(const sondep_bag *bag, const char *name)
{
    if (bag->safetensors != NULL)
        return sonde_safetensors_has(bag->safetensors, name);
    if (bag->torch != NULL)
        return sonde_torch_find(bag->torch, name) >= 0;
    for (int64_t i = 0; bag->npz != NULL && i < sonde_npz_n(bag->npz); i++)
        if (strcmp(sonde_npz_name(bag->npz, i), name) == 0)
            return true;
    return false;
}

/* Reads a tensor of an .npz or a .pt in the place of the one before it. */
static sonde_status read_anew(sondep_bag *bag, const char *name)
{
    int64_t i = bag->torch != NULL ? sonde_torch_find(bag->torch, name) : 0;

    sonde_npy_free(&bag->last);
    bag->name = NULL;
    if (i < 0)
        return SONDE_FAIL(SONDE_E_NOTFOUND, "tensor '%s' is missing in '%s'", name, bag->path);
    SONDE_TRY(bag->torch != NULL ? sonde_torch_read(&bag->last, bag->torch, i) : sonde_npz_read(&bag->last, bag->npz, name));
    bag->name = name;
    return SONDE_OK;
}

/* A tensor as it lies in the file; a view, until the next one. */
static sonde_status look_at(sonde_tensor *out, sondep_bag *bag, const char *name)
{
    if (bag->safetensors != NULL)
        return sonde_safetensors_get(out, bag->safetensors, name);
    if (bag->name == NULL || strcmp(bag->name, name) != 0)
        SONDE_TRY(read_anew(bag, name));
    *out = bag->last;
    return SONDE_OK;
}

/* A copy even of floats: most weights are turned or scaled afterwards. */
sonde_status sondep_bag_read(sonde_tensor *out, sondep_bag *bag, const char *name)
{
    sonde_tensor raw;
    float *floats;
    int64_t n, at;

    *out = (sonde_tensor){0};
    SONDE_TRY(look_at(&raw, bag, name));
    n = sonde_tensor_n_elements(&raw);
    SONDE_TRY(SONDE_NEW(floats, n));
    sonde_convert_to_f32(floats, raw.data, raw.dtype, n);
    at = sondep_find_nonfinite(floats, n, false);
    if (at >= 0) {
        SONDE_FAIL(SONDE_E_NONFINITE, "weight '%s' in '%s' is %g at element %lld", name, bag->path, (double)floats[at],
                   (long long)at);
        sondep_free(floats);
        return SONDE_E_NONFINITE;
    }
    *out = raw;
    out->dtype = SONDE_F32;
    out->data = floats;
    return SONDE_OK;
}

/* The name under which it is there. */
static const char *name_in(const sondep_bag *bag, const char *name, const char *other)
{
    return other != NULL && !sondep_bag_has(bag, name) && sondep_bag_has(bag, other) ? other : name;
}

/* Layouts that have no config say their sizes by the shapes of their matrices. */
sonde_status sondep_foreign_sizes(int64_t *rows, int64_t *columns, sondep_bag *bag, const char *name, const char *other)
{
    sonde_tensor t;

    name = name_in(bag, name, other);
    SONDE_TRY(look_at(&t, bag, name));
    if (t.rank != 2)
        return SONDE_FAIL(SONDE_E_SHAPE, "'%s' in '%s' has %d axes, not the 2 of a matrix", name, bag->path, t.rank);
    *rows = t.shape[0];
    *columns = t.shape[1];
    return SONDE_OK;
}

/* One weight from its place. */
static sonde_status fill_weight(sonde_sae *sae, sondep_bag *bag, const sondep_place *p)
{
    const char *name = name_in(bag, p->name, p->other);
    sonde_tensor want, got, turned;
    const float *from;
    float *to = sae->w[p->weight];
    int64_t n;
    char is[80], should[80];

    sondep_sae_weight_shape(&want, &sae->config, p->weight);
    turned = want;
    if (p->is_turned) {
        turned.shape[0] = want.shape[1];
        turned.shape[1] = want.shape[0];
    }
    SONDE_TRY(sondep_bag_read(&got, bag, name));
    from = got.data;
    n = sonde_tensor_n_elements(&want);
    if (sonde_tensor_n_elements(&got) == 1 && want.rank == 1) {
        for (int64_t i = 0; i < n; i++)
            to[i] = from[0];
    } else if (got.rank != turned.rank || memcmp(got.shape, turned.shape, sizeof got.shape) != 0) {
        sondep_free(got.data);
        return SONDE_FAIL(SONDE_E_SHAPE, "shapes do not agree: '%s' in '%s' is %s, and should be %s", name, bag->path,
                          sonde_tensor_format_shape(is, sizeof is, &got),
                          sonde_tensor_format_shape(should, sizeof should, &turned));
    } else if (p->is_turned) {
        for (int64_t i = 0; i < want.shape[0]; i++)
            for (int64_t j = 0; j < want.shape[1]; j++)
                to[i * want.shape[1] + j] = from[j * want.shape[0] + i];
    } else {
        memcpy(to, from, (size_t)n * sizeof *to);
    }
    sondep_free(got.data);
    return SONDE_OK;
}

/* What an autoencoder of this config does not have is passed over: one list of places serves several architectures. */
sonde_status sondep_foreign_fill(sonde_sae **out, const sonde_sae_config *config, sondep_bag *bag,
                                 const sondep_place *places, int64_t n)
{
    sonde_status status;

    SONDE_TRY(sondep_sae_check_sizes(config, bag->path));
    SONDE_TRY(sondep_sae_new(out, config));
    for (int64_t i = 0; i < n; i++)
        if ((*out)->w[places[i].weight] != NULL)
            SONDE_TRY_DONE(fill_weight(*out, bag, &places[i]));
    return SONDE_OK;
done:
    sonde_sae_free(*out);
    *out = NULL;
    return status;
}

/* The first place with a number behind it: "layer_norm/layer_3" has 3. */
int64_t sondep_number_behind(const char *text, const char *before)
{
    for (const char *at = strstr(text, before); at != NULL; at = strstr(at + 1, before)) {
        const char *digits = at + strlen(before);
        if (*digits >= '0' && *digits <= '9')
            return strtol(digits, NULL, 10);
    }
    return -1;
}
