/* weights.c - operands of products out of a file, or out of random numbers.    floor 5: model
 *
 * Matrices are used where they lie in the mapped file, in the type in which they are stored. Only vectors that are not
 * float, and matrices that lie unaligned, are copied. Each tensor that is taken is remembered by name, so that a model can
 * count its parameters and show its weights, and so that what was never taken can be pointed out.
 *
 *   stored (in, out), Conv1D      row_stride out, col_stride 1
 *   stored (out, in), nn.Linear   row_stride 1,   col_stride in
 *
 * are both read as (in, out) by the products, which pack either layout.
 */
#include "model/model.h"

#include <omp.h>
#include <stdio.h>

/* A block of the model's own, freed with it. */
static sonde_status own_block(sonde_model *model, void **out, size_t bytes)
{
    /* Room in the list first: a block that is not in it would never be freed. */
    SONDE_TRY(sondep_grow(&model->mapped, &model->mapped_capacity, model->n_mapped + 1, sizeof *model->mapped));
    SONDE_TRY(sondep_map_block(out, bytes));
    model->mapped[model->n_mapped++] = (sondep_mapped){*out, bytes};
    return SONDE_OK;
}

/* A small array of the model's own, freed with it. */
static sonde_status own_floats(sonde_model *model, float **out, int64_t n)
{
    SONDE_TRY(sondep_grow(&model->owned, &model->owned_capacity, model->n_owned + 1, sizeof *model->owned));
    SONDE_TRY(SONDE_NEW(*out, n));
    model->owned[model->n_owned++] = *out;
    return SONDE_OK;
}

/* Adds a tensor to the list that the model's name, size and weights are read from. */
static sonde_status remember(sonde_model *model, const char *name, const sonde_tensor *tensor)
{
    SONDE_TRY(sondep_grow(&model->named, &model->named_capacity, model->n_named + 1, sizeof *model->named));
    SONDE_TRY(sondep_copy_string(&model->named[model->n_named].name, name));
    model->named[model->n_named++].tensor = *tensor;
    return SONDE_OK;
}

void sondep_weights_release(sonde_model *model)
{
    for (int64_t i = 0; i < model->n_named; i++)
        sondep_free(model->named[i].name);
    for (int64_t i = 0; i < model->n_owned; i++)
        sondep_free(model->owned[i]);
    for (int64_t i = 0; i < model->n_mapped; i++)
        sondep_unmap_block(model->mapped[i].block, model->mapped[i].bytes);
    sondep_free(model->named);
    sondep_free(model->owned);
    sondep_free(model->mapped);
}

/* ---- random numbers --------------------------------------------------------------------------------------------------- */

/* Nearly normal numbers of deviation 0.02: the sum of four uniform 16-bit numbers, two sums from each draw. Exact normals
 * would take seconds for a large model, and nothing that random weights are for would see the difference. */
static void fill_random(float *out, int64_t n, uint64_t seed, uint64_t stream)
{
    static const double deviation_of_sum = 65536.0 * 0.57735026918962573; /* sqrt(4 / 12) */
    /* Each number depends on its place alone, so the weights are the same for any number of threads. */
    const float scale = (float)(0.02 / deviation_of_sum);

#pragma omp parallel for schedule(static) num_threads(sonde_threads())
    for (int64_t i = 0; i < n; i += 2) {
        uint32_t bits[4];
        sonde_random_bits(bits, seed, stream, (uint64_t)i / 2);
        for (int half = 0; half < 2 && i + half < n; half++) {
            uint32_t a = bits[2 * half], b = bits[2 * half + 1];
            int32_t sum = (int32_t)((a & 0xffff) + (a >> 16) + (b & 0xffff) + (b >> 16)) - 2 * 65535;
            out[i + half] = scale * (float)sum;
        }
    }
}

/* ---- taking ------------------------------------------------------------------------------------------------------------ */

/* The types that products can read. */
static bool is_float_type(sonde_dtype dtype)
{
    return dtype == SONDE_F32 || dtype == SONDE_F16 || dtype == SONDE_BF16;
}

/* The name of a tensor in the file. lm_head never has the prefix. */
static sonde_status full_name(char *out, size_t bytes, const sondep_source *source, const char *name)
{
    bool has_prefix = strncmp(name, "lm_head.", 8) != 0;
    int n = snprintf(out, bytes, "%s%s", has_prefix ? source->prefix : "", name);
    SONDE_ASSERT(n > 0 && (size_t)n < bytes);
    return SONDE_OK;
}

/* A tensor of the file, checked against the shape that the config asks for. */
static sonde_status find_tensor(sonde_tensor *out, const sondep_source *source, const char *name, const int64_t *shape,
                                int rank)
{
    char want[64], have[160];
    sonde_tensor wanted = {.rank = rank};
    bool agrees;

    SONDE_TRY(sonde_safetensors_get(out, source->file, name));
    /* Both shapes go into the message, so that the config can be mended without another tool. */
    agrees = out->rank == rank;
    for (int i = 0; i < rank; i++) {
        wanted.shape[i] = shape[i];
        agrees = agrees && out->shape[i] == shape[i];
    }
    if (!agrees)
        return SONDE_FAIL(SONDE_E_SHAPE, "'%s': tensor '%s' is %s, the config asks for %s", source->path, name,
                          sonde_tensor_format_shape(have, sizeof have, out),
                          sonde_tensor_format_shape(want, sizeof want, &wanted));
    if (!is_float_type(out->dtype))
        return SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s': tensor '%s' is %s; weights must be F32, F16 or BF16", source->path,
                          name, sonde_dtype_name(out->dtype));
    return SONDE_OK;
}

/* Data that may be read as its type: where it lies, or a copy if that is unaligned. */
static sonde_status align_data(sonde_model *model, sonde_tensor *tensor)
{
    size_t bytes = sonde_tensor_bytes(tensor);
    void *copy;

    /* safetensors aligns its header to 8 bytes, but nothing forces a writer to. */
    if ((uintptr_t)tensor->data % sonde_dtype_bytes(tensor->dtype) == 0)
        return SONDE_OK;
    SONDE_TRY(own_block(model, &copy, bytes));
    memcpy(copy, tensor->data, bytes);
    tensor->data = copy;
    return SONDE_OK;
}

/* Floats that a tensor takes in the block of a trainable model: whole lines of the cache. */
static int64_t floats_of(const sonde_tensor *tensor)
{
    return (sonde_tensor_n_elements(tensor) + 15) / 16 * 16;
}

/* The next piece of a trainable model's block, filled with the weight of another model. */
static sonde_status copy_weight(sonde_model *model, const sonde_model *from, sonde_tensor *out, const char *name)
{
    float *to = model->parameters + model->n_parameters;
    sonde_tensor stored;

    SONDE_TRY(sonde_model_weight(&stored, from, name));
    sonde_convert_to_f32(to, stored.data, stored.dtype, sonde_tensor_n_elements(&stored));
    model->n_parameters += floats_of(&stored);
    return sonde_tensor_view(out, to, SONDE_F32, stored.shape, stored.rank);
}

sonde_status sondep_weights_reserve(sonde_model *model, const sonde_model *from)
{
    int64_t n = 0;
    void *block;

    for (int64_t i = 0; i < from->n_named; i++)
        n += floats_of(&from->named[i].tensor);
    SONDE_TRY(own_block(model, &block, (size_t)n * sizeof(float)));
    model->parameters = block;
    return SONDE_OK;
}

sonde_status sondep_take_matrix(sonde_model *model, const sondep_source *source, sondep_matrix *out, sondep_layout layout,
                                int64_t n_in, int64_t n_out, const char *name)
{
    int64_t shape[2] = {layout == SONDEP_IN_OUT ? n_in : n_out, layout == SONDEP_IN_OUT ? n_out : n_in};
    char text[256];
    sonde_tensor tensor;

    SONDE_TRY(full_name(text, sizeof text, source, name));
    if (source->from != NULL) {
        SONDE_TRY(copy_weight(model, source->from, &tensor, text));
    } else if (source->file != NULL) {
        SONDE_TRY(find_tensor(&tensor, source, text, shape, 2));
        SONDE_TRY(align_data(model, &tensor));
    } else {
        SONDE_TRY(sonde_tensor_view(&tensor, NULL, SONDE_F32, shape, 2));
        SONDE_TRY(own_block(model, &tensor.data, sonde_tensor_bytes(&tensor)));
        fill_random(tensor.data, n_in * n_out, source->seed, (uint64_t)model->n_named);
    }
    *out = (sondep_matrix){.data = tensor.data,
                           .dtype = tensor.dtype,
                           .row_stride = layout == SONDEP_IN_OUT ? n_out : 1,
                           .col_stride = layout == SONDEP_IN_OUT ? 1 : n_in};
    return remember(model, text, &tensor);
}

sonde_status sondep_take_vector(sonde_model *model, const sondep_source *source, const float **out, int64_t n,
                                const char *name, float random_value)
{
    char text[256];
    sonde_tensor tensor;
    float *copy;

    SONDE_TRY(full_name(text, sizeof text, source, name));
    if (source->from != NULL) {
        SONDE_TRY(copy_weight(model, source->from, &tensor, text));
        *out = tensor.data;
        return remember(model, text, &tensor);
    }
    /* Random gains are 1 and biases 0, as a model begins its training. */
    if (source->file == NULL) {
        SONDE_TRY(own_floats(model, &copy, n));
        for (int64_t i = 0; i < n; i++)
            copy[i] = random_value;
        SONDE_TRY(sonde_tensor_view(&tensor, copy, SONDE_F32, &n, 1));
        *out = copy;
        return remember(model, text, &tensor);
    }
    SONDE_TRY(find_tensor(&tensor, source, text, &n, 1));
    /* Vectors are read by loops over floats: others are widened once, here. */
    if (tensor.dtype == SONDE_F32 && (uintptr_t)tensor.data % sizeof(float) == 0) {
        *out = tensor.data;
    } else {
        SONDE_TRY(own_floats(model, &copy, n));
        sonde_convert_to_f32(copy, tensor.data, tensor.dtype, n);
        *out = copy;
    }
    return remember(model, text, &tensor);
}

sonde_status sondep_take_linear(sonde_model *model, const sondep_source *source, sondep_linear *out, sondep_layout layout,
                                int64_t n_in, int64_t n_out, bool has_bias, const char *name)
{
    char text[128];

    /* A layer without a bias has none in the file either: its absence is not looked for. */
    *out = (sondep_linear){.n_in = n_in, .n_out = n_out};
    snprintf(text, sizeof text, "%s.weight", name);
    SONDE_TRY(sondep_take_matrix(model, source, &out->w, layout, n_in, n_out, text));
    if (!has_bias)
        return SONDE_OK;
    snprintf(text, sizeof text, "%s.bias", name);
    return sondep_take_vector(model, source, &out->b, n_out, text, 0.0f);
}

sonde_status sondep_take_norm(sonde_model *model, const sondep_source *source, sondep_norm_weights *out, bool has_bias,
                              const char *name)
{
    char text[128];

    *out = (sondep_norm_weights){0};
    snprintf(text, sizeof text, "%s.weight", name);
    SONDE_TRY(sondep_take_vector(model, source, &out->w, model->config.d_model, text, 1.0f));
    if (!has_bias)
        return SONDE_OK;
    snprintf(text, sizeof text, "%s.bias", name);
    return sondep_take_vector(model, source, &out->b, model->config.d_model, text, 0.0f);
}

/* Whether two matrices of the file hold the same bytes. */
static bool same_tensor(const sonde_safetensors *file, const char *a, const char *b)
{
    sonde_tensor x, y;
    size_t bytes;

    if (sonde_safetensors_get(&x, file, a) != SONDE_OK || sonde_safetensors_get(&y, file, b) != SONDE_OK)
        return false;
    bytes = sonde_tensor_bytes(&x);
    return x.dtype == y.dtype && bytes == sonde_tensor_bytes(&y) && (x.data == y.data || memcmp(x.data, y.data, bytes) == 0);
}

sonde_status sondep_take_embeddings(sonde_model *model, const sondep_source *source, const char *name)
{
    static const char head[] = "lm_head.weight";
    sonde_config *c = &model->config;
    char text[256];
    bool has_embedding = true, has_head = !c->tied;

    SONDE_TRY(full_name(text, sizeof text, source, name));
    if (source->from != NULL && c->tied) {
        has_head = strcmp(source->from->named[0].name, head) == 0; /* the one matrix has the name that it had */
        has_embedding = !has_head;
    }
    if (source->file != NULL && c->tied) {
        has_embedding = sonde_safetensors_has(source->file, text);
        has_head = sonde_safetensors_has(source->file, head);
        if (has_embedding && has_head && !same_tensor(source->file, text, head)) {
            sondep_log(SONDE_LOG_WARN,
                       "'%s' says that embedding and unembedding are tied, but both are there and differ: not tied",
                       source->path);
            c->tied = false;
        }
    }
    /* One matrix under either name; as unembedding it is read transposed, where it lies. */
    SONDE_TRY(sondep_take_matrix(model, source, &model->wte, SONDEP_IN_OUT, c->n_vocab, c->d_model,
                                 has_embedding || !has_head ? name : head));
    model->unembed =
        (sondep_linear){.w = {model->wte.data, model->wte.dtype, 1, c->d_model}, .n_in = c->d_model, .n_out = c->n_vocab};
    return c->tied ? SONDE_OK
                   : sondep_take_matrix(model, source, &model->unembed.w, SONDEP_OUT_IN, c->d_model, c->n_vocab, head);
}
