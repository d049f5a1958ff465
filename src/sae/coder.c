/* coder.c - rows to features and back, whatever the architecture.               floor 7: sae
 *
 *   x -> normalised -> minus b_dec -> W_enc, b_enc -> activation (one file each) -> features
 *   features -> W_dec, b_dec -> (+ W_skip x) -> the normalisation undone -> y
 *
 * Sums over a row (its mean, its length) are in double.
 */
#include "sae/sae.h"

#include <math.h>

struct sonde_sae_coder {
    const sonde_sae *sae;
    int64_t n_rows;
    float *x;               /* (n_rows, D) rows as they are encoded */
    float *spare;           /* (n_rows, S) of decoding with norms, and of matching pursuit */
    sondep_sae_pair *pairs; /* (n_rows, k) of TopK */
    int64_t *order;         /* (n_rows) of matching pursuit */
    void *scratch;          /* of products */
    size_t scratch_bytes;
};

/* Rows that a thread takes at a time. */
enum { ROWS_EACH = 16 };

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Room for every product of a pass: encoder, decoder, skip. */
static size_t scratch_bytes(const sonde_sae_config *c, int64_t N)
{
    size_t bytes = sondep_product_scratch_bytes(N, c->d_sae, c->d_in);

    bytes = larger(bytes, sondep_product_scratch_bytes(N, c->d_out, c->d_sae));
    return c->has_skip ? larger(bytes, sondep_product_scratch_bytes(N, c->d_out, c->d_in)) : bytes;
}

sonde_status sonde_sae_coder_new(sonde_sae_coder **out, const sonde_sae *sae, int64_t n_rows)
{
    const sonde_sae_config *c = &sae->config;
    sonde_sae_coder *coder;
    int64_t n;
    sonde_status status;

    *out = NULL;
    SONDE_TRY(SONDE_NEW(coder, 1));
    coder->sae = sae;
    coder->n_rows = n_rows;
    SONDE_TRY_DONE(sondep_mul_i64(&n, n_rows, c->d_in, "rows of a coder"));
    SONDE_TRY_DONE(SONDE_NEW(coder->x, n));
    SONDE_TRY_DONE(sondep_mul_i64(&n, n_rows, c->d_sae, "features of a coder"));
    if (sae->norms != NULL || c->activation == SONDE_SAE_PURSUIT)
        SONDE_TRY_DONE(SONDE_NEW(coder->spare, n));
    if (c->activation == SONDE_SAE_TOPK || c->activation == SONDE_SAE_ABSTOPK)
        SONDE_TRY_DONE(SONDE_NEW(coder->pairs, n_rows * c->k));
    if (c->activation == SONDE_SAE_PURSUIT)
        SONDE_TRY_DONE(SONDE_NEW(coder->order, n_rows));
    coder->scratch_bytes = scratch_bytes(c, n_rows);
    SONDE_TRY_DONE(sondep_map_block(&coder->scratch, coder->scratch_bytes));
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
    sondep_free(coder->spare);
    sondep_free(coder->pairs);
    sondep_free(coder->order);
    if (coder->scratch != NULL)
        sondep_unmap_block(coder->scratch, coder->scratch_bytes);
    sondep_free(coder);
}

/* ---- rows --------------------------------------------------------------------------------------------------------------- */

/* What a row becomes before b_dec is taken away: (x - shift) factor; and back: y back + shift. */
typedef struct scaling {
    double shift, factor, back;
} scaling;

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
static scaling scaling_of(const sonde_sae_config *c, const float *x)
{
    double D = (double)c->d_in, mean = mean_of(x, c->d_in), std;

    switch (c->normalization) {
    case SONDE_SAE_CONSTANT_NORM: std = sqrt(squares_around(x, c->d_in, 0.0) / D); return (scaling){0.0, 1.0 / std, std};
    case SONDE_SAE_LAYER_NORM:
        std = sqrt(squares_around(x, c->d_in, mean) / (D - 1.0));
        return (scaling){mean, 1.0 / (std + 1e-5), std};
    default: return (scaling){c->centres_input ? mean : 0.0, 1.0, 1.0};
    }
}

/* A row as it is encoded. A row of zeros has no length to scale to: it stays 0. */
static void prepare_row(float *to, const sonde_sae *sae, const float *x)
{
    const sonde_sae_config *c = &sae->config;
    const float *bias = sae->w[SONDEP_B_DEC];
    scaling s = scaling_of(c, x);
    double factor = isfinite(s.factor) ? s.factor : 0.0;

    for (int64_t d = 0; d < c->d_in; d++)
        to[d] = (float)(((double)x[d] - s.shift) * factor) - (c->applies_b_dec ? bias[d] : 0.0f);
}

/* A decoded row in the scale of its input. */
static void restore_row(float *y, const sonde_sae_config *c, const float *x)
{
    scaling s = scaling_of(c, x);

    for (int64_t d = 0; d < c->d_out; d++)
        y[d] = (float)((double)y[d] * s.back + s.shift);
}

/* Whether rows are changed before they are encoded, but for b_dec. */
static bool is_scaled(const sonde_sae_config *c)
{
    return c->normalization != SONDE_SAE_AS_IT_IS || c->centres_input;
}

/* ---- encode ------------------------------------------------------------------------------------------------------------- */

/* All rows as they are encoded; the first number that is not finite is an error. */
static sonde_status prepare(sonde_sae_coder *coder, const float *x, int64_t N)
{
    const sonde_sae *sae = coder->sae;
    int64_t D = sae->config.d_in, at = sondep_find_nonfinite(x, N * D, false);

    if (at >= 0)
        return SONDE_FAIL(SONDE_E_NONFINITE, "an activation is %g: row %lld, column %lld", (double)x[at],
                          (long long)(at / D), (long long)(at % D));
#pragma omp parallel for num_threads(sonde_threads()) schedule(dynamic, ROWS_EACH)
    for (int64_t n = 0; n < N; n++)
        prepare_row(coder->x + n * D, sae, x + n * D);
    return SONDE_OK;
}

/* Pre-activations: gates add their biases themselves, pursuit has a product for each of its steps. */
static void multiply(const sonde_sae_coder *coder, float *v, int64_t N)
{
    const sonde_sae *sae = coder->sae;
    int64_t D = sae->config.d_in, S = sae->config.d_sae;
    sondep_matrix a = {coder->x, SONDE_F32, D, 1}, b = {sae->w[SONDEP_W_ENC], SONDE_F32, S, 1};
    sondep_epilogue bias = {.bias = sae->w[SONDEP_B_ENC]};

    if (sae->w[SONDEP_W_ENC] != NULL)
        sondep_product(v, S, &a, &b, N, S, D, &bias, SONDEP_F32, coder->scratch);
}

/* Too many rows are the caller's, not a bug of ours: it may be told how many a store has. */
static sonde_status check_rows(const sonde_sae_coder *coder, int64_t N)
{
    if (N < 0 || N > coder->n_rows)
        return SONDE_FAIL(SONDE_E_RANGE, "%lld rows, but the coder has room for %lld", (long long)N,
                          (long long)coder->n_rows);
    return SONDE_OK;
}

sonde_status sonde_sae_encode(sonde_sae_coder *coder, float *features, const float *x, int64_t N)
{
    static void (*const activations[])(const sondep_sae_rows *) = {
        [SONDE_SAE_RELU] = sondep_sae_relu,         [SONDE_SAE_GATED] = sondep_sae_gated,
        [SONDE_SAE_TOPK] = sondep_sae_topk,         [SONDE_SAE_ABSTOPK] = sondep_sae_topk,
        [SONDE_SAE_JUMPRELU] = sondep_sae_jumprelu, [SONDE_SAE_PURSUIT] = sondep_sae_pursuit,
    };
    sondep_sae_rows rows = {coder->sae, features, coder->x, N, coder->scratch, coder->pairs, coder->spare, coder->order};

    SONDE_TRY(check_rows(coder, N));
    SONDE_TRY(prepare(coder, x, N));
    multiply(coder, features, N);
    activations[coder->sae->config.activation](&rows);
    return SONDE_OK;
}

/* ---- decode ------------------------------------------------------------------------------------------------------------- */

/* Features over the lengths of decoder rows, so that these count as if they had length 1; a row of length 0 gives nothing. */
static const float *over_norms(const sonde_sae_coder *coder, const float *features, int64_t N)
{
    const float *norms = coder->sae->norms;
    int64_t S = coder->sae->config.d_sae;

    if (norms == NULL)
        return features;
#pragma omp parallel for num_threads(sonde_threads()) schedule(dynamic, ROWS_EACH)
    for (int64_t n = 0; n < N; n++)
        for (int64_t s = 0; s < S; s++)
            coder->spare[n * S + s] = norms[s] > 0.0f ? features[n * S + s] / norms[s] : 0.0f;
    return coder->spare;
}

sonde_status sonde_sae_decode(sonde_sae_coder *coder, float *y, const float *features, const float *x, int64_t N)
{
    const sonde_sae *sae = coder->sae;
    const sonde_sae_config *c = &sae->config;
    sondep_matrix f, dec = {sae->w[SONDEP_W_DEC], SONDE_F32, c->d_out, 1};
    sondep_matrix in = {x, SONDE_F32, c->d_in, 1}, skip = {sae->w[SONDEP_W_SKIP], SONDE_F32, 1, c->d_in};
    sondep_epilogue onto = {.bias = sae->w[SONDEP_B_DEC]};

    SONDE_TRY(check_rows(coder, N));
    /* matching pursuit gives back what it took away, and nothing else */
    if (c->activation == SONDE_SAE_PURSUIT && !c->applies_b_dec)
        onto.bias = NULL;
    f = (sondep_matrix){over_norms(coder, features, N), SONDE_F32, c->d_sae, 1};
    sondep_product(y, c->d_out, &f, &dec, N, c->d_out, c->d_sae, &onto, SONDEP_F32, coder->scratch);
    onto = (sondep_epilogue){.residual = y, .ld_residual = c->d_out};
    if (c->has_skip)
        sondep_product(y, c->d_out, &in, &skip, N, c->d_out, c->d_in, &onto, SONDEP_F32, coder->scratch);
    if (!is_scaled(c) || c->is_transcoder)
        return SONDE_OK;
#pragma omp parallel for num_threads(sonde_threads()) schedule(dynamic, ROWS_EACH)
    for (int64_t n = 0; n < N; n++)
        restore_row(y + n * c->d_out, c, x + n * c->d_in);
    return SONDE_OK;
}
