/* coder.c - rows to features and back, whatever the architecture.               floor 7: sae
 *
 *   x -> normalised -> minus b_dec -> W_enc, b_enc -> activation (one file each) -> features
 *   features -> W_dec, b_dec -> (+ W_skip x) -> the normalisation undone -> y
 *
 * Sums over a row (its mean, its length) are in double.
 */
#include "sae/sae.h"

#include <math.h>

enum {
    BLOCK = 256,   /* rows that are encoded at a time, */
    DECODED = 64,  /* and that are decoded, which takes pairs for all of their features */
    ROWS_EACH = 16 /* rows that a thread takes at a time */
};

struct sonde_sae_coder {
    const sonde_sae *sae;
    float *x;           /* (BLOCK, D) rows as they are encoded */
    float *rest;        /* (BLOCK, D) of matching pursuit without a Gram matrix */
    float *gram;        /* (S, S) of matching pursuit, or NULL */
    sondep_codes codes; /* room for BLOCK rows of k pairs and DECODED rows of S pairs */
    int64_t *order;     /* (BLOCK) of TopK and of matching pursuit */
    void *scratch;      /* of products */
    size_t scratch_bytes;
    int threads; /* that the scratch is for */
};

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static bool is_topk(const sonde_sae_config *c)
{
    return c->activation == SONDE_SAE_TOPK || c->activation == SONDE_SAE_ABSTOPK;
}

/* Room for the products of blocks of any number of rows: fewer rows may be cut so that they take more. */
static size_t scratch_bytes(const sonde_sae_config *c)
{
    size_t bytes = 64;

    for (int64_t n = 1; n <= BLOCK; n++) {
        bytes = larger(bytes, is_topk(c) ? sondep_encode_scratch_bytes(n, c->d_sae, c->d_in, c->k)
                                         : sondep_product_scratch_bytes(n, c->d_sae, c->d_in));
        bytes = larger(bytes, c->has_skip ? sondep_product_scratch_bytes(n, c->d_out, c->d_in) : 0);
    }
    return bytes;
}

/* The scratch follows the number of threads. */
static sonde_status make_scratch(sonde_sae_coder *coder)
{
    if (coder->scratch != NULL && coder->threads == sonde_threads())
        return SONDE_OK;
    if (coder->scratch != NULL)
        sondep_unmap_block(coder->scratch, coder->scratch_bytes);
    coder->scratch = NULL;
    coder->threads = sonde_threads();
    coder->scratch_bytes = scratch_bytes(&coder->sae->config);
    return sondep_map_block(&coder->scratch, coder->scratch_bytes);
}

/* Pairs of a row, where they come before features: as many as TopK keeps, and as matching pursuit has steps; the first feature that comes
 * again ends it, so that there are not many more than features. */
static int64_t pairs_of(const sonde_sae_config *c)
{
    if (c->activation == SONDE_SAE_PURSUIT)
        return c->stops_on_duplicate && c->max_iterations > c->d_sae ? c->d_sae + 1 : c->max_iterations;
    return is_topk(c) ? c->k : 0;
}

/* The Gram matrix of matching pursuit: weights stay as they are, so that it is made once. */
static sonde_status make_gram(sonde_sae_coder *coder, const sonde_sae_config *c)
{
    void *scratch;
    size_t bytes = sondep_product_scratch_bytes(c->d_sae, c->d_sae, c->d_in);

    if (!sondep_sae_has_gram(c->d_sae))
        return SONDE_NEW(coder->rest, BLOCK * c->d_in);
    SONDE_TRY(SONDE_NEW(coder->gram, c->d_sae * c->d_sae));
    SONDE_TRY(sondep_map_block(&scratch, bytes));
    sondep_sae_make_gram(coder->gram, coder->sae->w[SONDEP_W_DEC], c->d_sae, c->d_in, scratch);
    sondep_unmap_block(scratch, bytes);
    return SONDE_OK;
}

/* Pairs of a block: those that TopK keeps, or all features of the rows that are decoded. */
static sonde_status make_codes(sondep_codes *out, const sonde_sae_config *c)
{
    int64_t n, kept;

    SONDE_TRY(sondep_mul_i64(&kept, BLOCK, pairs_of(c), "pairs of a coder"));
    SONDE_TRY(sondep_mul_i64(&n, DECODED, c->d_sae, "features of a coder"));
    n = n > kept ? n : kept;
    SONDE_TRY(SONDE_NEW(out->index, n));
    SONDE_TRY(SONDE_NEW(out->value, n));
    return SONDE_NEW(out->count, BLOCK);
}

sonde_status sonde_sae_coder_new(sonde_sae_coder **out, const sonde_sae *sae)
{
    const sonde_sae_config *c = &sae->config;
    sonde_sae_coder *coder;
    sonde_status status;

    *out = NULL;
    SONDE_TRY(SONDE_NEW(coder, 1));
    coder->sae = sae;
    SONDE_TRY_DONE(SONDE_NEW(coder->x, BLOCK * c->d_in));
    SONDE_TRY_DONE(SONDE_NEW(coder->order, BLOCK));
    SONDE_TRY_DONE(make_codes(&coder->codes, c));
    if (c->activation == SONDE_SAE_PURSUIT)
        SONDE_TRY_DONE(make_gram(coder, c));
    SONDE_TRY_DONE(make_scratch(coder));
    *out = coder;
    return SONDE_OK;
done:
    sonde_sae_coder_free(coder);
    return status;
}

void sonde_sae_coder_free(sonde_sae_coder *coder)
{
    if (coder == NULL)
        return;
    sondep_free(coder->x);
    sondep_free(coder->rest);
    sondep_free(coder->gram);
    sondep_free(coder->order);
    sondep_free(coder->codes.index);
    sondep_free(coder->codes.value);
    sondep_free(coder->codes.count);
    if (coder->scratch != NULL)
        sondep_unmap_block(coder->scratch, coder->scratch_bytes);
    sondep_free(coder);
}

/* ---- rows --------------------------------------------------------------------------------------------------------------- */

/* Mean of a row, and the sum of squares around `centre`. */
static double mean_of(const float *x, int64_t D)
{
    double sum = 0.0;

    for (int64_t d = 0; d < D; d++)
        sum += (double)x[d];
    return sum / (double)D;
}

static double squares_around(const float *x, int64_t D, double centre)
{
    double sum = 0.0;

    for (int64_t d = 0; d < D; d++)
        sum += ((double)x[d] - centre) * ((double)x[d] - centre);
    return sum;
}

/* LayerNorm divides by std + eps, and is undone by std alone: so is SAELens's. */
sondep_sae_scaling sondep_sae_scaling_of(sonde_sae_normalization kind, bool is_centred, const float *x, int64_t D)
{
    double mean = mean_of(x, D), size;

    switch (kind) {
    case SONDE_SAE_CONSTANT_NORM:
        size = sqrt(squares_around(x, D, 0.0) / (double)D);
        return (sondep_sae_scaling){0.0, size > 0.0 ? 1.0 / size : 0.0, size};
    case SONDE_SAE_LAYER_NORM:
        size = sqrt(squares_around(x, D, mean) / fmax(1.0, (double)D - 1.0));
        return (sondep_sae_scaling){mean, 1.0 / (size + 1e-5), size};
    default: return (sondep_sae_scaling){is_centred ? mean : 0.0, 1.0, 1.0};
    }
}

/* A row as it is encoded. */
static void prepare_row(float *to, const sonde_sae *sae, const float *x)
{
    const sonde_sae_config *c = &sae->config;
    const float *bias = sae->w[SONDEP_B_DEC];
    sondep_sae_scaling s = sondep_sae_scaling_of(c->normalization, c->centres_input, x, c->d_in);

    for (int64_t d = 0; d < c->d_in; d++)
        to[d] = (float)(((double)x[d] - s.shift) * s.factor) - (c->applies_b_dec ? bias[d] : 0.0f);
}

/* A decoded row in the scale of its input. */
static void restore_row(float *y, const sonde_sae_config *c, const float *x)
{
    sondep_sae_scaling s = sondep_sae_scaling_of(c->normalization, c->centres_input, x, c->d_in);

    for (int64_t d = 0; d < c->d_out; d++)
        y[d] = (float)((double)y[d] * s.back + s.shift);
}

/* Whether rows are changed before they are encoded, but for b_dec. */
static bool is_scaled(const sonde_sae_config *c)
{
    return c->normalization != SONDE_SAE_AS_IT_IS || c->centres_input;
}

/* ---- encode ------------------------------------------------------------------------------------------------------------- */

/* Pre-activations. Gates add their biases themselves; TopK and pursuit have products of their own. */
static void multiply(const sonde_sae_coder *coder, float *v, int64_t N)
{
    const sonde_sae *sae = coder->sae;
    int64_t D = sae->config.d_in, S = sae->config.d_sae;
    sondep_matrix a = {coder->x, SONDE_F32, D, 1}, b = {sae->w[SONDEP_W_ENC], SONDE_F32, S, 1};
    sondep_epilogue bias = {.bias = sae->w[SONDEP_B_ENC]};

    if (sae->w[SONDEP_W_ENC] != NULL && sae->encoder == NULL)
        sondep_product(v, S, &a, &b, N, S, D, &bias, SONDEP_F32, coder->scratch);
}

/* At most BLOCK rows. */
static sonde_status encode_block(sonde_sae_coder *coder, float *features, const float *x, int64_t N)
{
    static sondep_sae_activation_fn *const activations[] = {
        [SONDE_SAE_RELU] = sondep_sae_relu,         [SONDE_SAE_GATED] = sondep_sae_gated,
        [SONDE_SAE_TOPK] = sondep_sae_topk,         [SONDE_SAE_ABSTOPK] = sondep_sae_topk,
        [SONDE_SAE_JUMPRELU] = sondep_sae_jumprelu, [SONDE_SAE_PURSUIT] = sondep_sae_pursuit,
    };
    const sonde_sae *sae = coder->sae;
    sondep_sae_rows rows = {sae,          features,     coder->x,    N,          coder->scratch,
                            coder->codes, coder->order, coder->rest, coder->gram};

    rows.codes.capacity = pairs_of(&sae->config);
#pragma omp parallel for num_threads(sonde_threads()) schedule(dynamic, ROWS_EACH)
    for (int64_t n = 0; n < N; n++)
        prepare_row(coder->x + n * sae->config.d_in, sae, x + n * sae->config.d_in);
    multiply(coder, features, N);
    return activations[sae->config.activation](&rows);
}

sonde_status sonde_sae_encode(sonde_sae_coder *coder, float *features, const float *x, int64_t N)
{
    int64_t D = coder->sae->config.d_in, S = coder->sae->config.d_sae, at = sondep_find_nonfinite(x, N * D, false);

    if (at >= 0)
        return SONDE_FAIL(SONDE_E_NONFINITE, "an activation is %g: row %lld, column %lld", (double)x[at],
                          (long long)(at / D), (long long)(at % D));
    SONDE_TRY(make_scratch(coder));
    for (int64_t n = 0; n < N; n += BLOCK)
        SONDE_TRY(encode_block(coder, features + n * S, x + n * D, N - n < BLOCK ? N - n : BLOCK));
    return SONDE_OK;
}

/* ---- decode ------------------------------------------------------------------------------------------------------------- */

/* The features of row n that are not 0, as pairs. Where decoder rows count as if they had length 1, features are divided by their
 * lengths; a row of length 0 gives nothing. */
static void list_pairs(const sondep_codes *out, const sonde_sae *sae, const float *features, int64_t n)
{
    int32_t *index = out->index + n * out->capacity;
    float *value = out->value + n * out->capacity;
    int64_t count = 0;

    for (int64_t s = 0; s < sae->config.d_sae; s++) {
        if (features[s] == 0.0f || (sae->norms != NULL && sae->norms[s] == 0.0f))
            continue;
        index[count] = (int32_t)s;
        value[count++] = sae->norms != NULL ? features[s] / sae->norms[s] : features[s];
    }
    out->count[n] = count;
}

/* At most DECODED rows. */
static void decode_block(const sonde_sae_coder *coder, float *y, const float *features, const float *x, int64_t N)
{
    const sonde_sae *sae = coder->sae;
    const sonde_sae_config *c = &sae->config;
    /* matching pursuit gives back what it took away, and nothing else */
    bool has_bias = c->activation != SONDE_SAE_PURSUIT || c->applies_b_dec;
    sondep_matrix in = {x, SONDE_F32, c->d_in, 1}, skip = {sae->w[SONDEP_W_SKIP], SONDE_F32, 1, c->d_in};
    sondep_epilogue onto = {.residual = y, .ld_residual = c->d_out};
    sondep_codes codes = coder->codes;

    codes.capacity = c->d_sae;
#pragma omp parallel for num_threads(sonde_threads()) schedule(dynamic, ROWS_EACH)
    for (int64_t n = 0; n < N; n++)
        list_pairs(&codes, sae, features + n * c->d_sae, n);
    sondep_decode(y, &codes, sae->w[SONDEP_W_DEC], has_bias ? sae->w[SONDEP_B_DEC] : NULL, NULL, N, c->d_out);
    if (c->has_skip)
        sondep_product(y, c->d_out, &in, &skip, N, c->d_out, c->d_in, &onto, SONDEP_F32, coder->scratch);
    if (!is_scaled(c) || c->is_transcoder)
        return;
#pragma omp parallel for num_threads(sonde_threads()) schedule(dynamic, ROWS_EACH)
    for (int64_t n = 0; n < N; n++)
        restore_row(y + n * c->d_out, c, x + n * c->d_in);
}

sonde_status sonde_sae_decode(sonde_sae_coder *coder, float *y, const float *features, const float *x, int64_t N)
{
    const sonde_sae_config *c = &coder->sae->config;

    SONDE_TRY(make_scratch(coder));
    for (int64_t n = 0; n < N; n += DECODED)
        decode_block(coder, y + n * c->d_out, features + n * c->d_sae, x + n * c->d_in, N - n < DECODED ? N - n : DECODED);
    return SONDE_OK;
}
