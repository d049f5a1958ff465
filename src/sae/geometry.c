/* geometry.c - how the encoder and decoder vectors of features lie to each other.   floor 7: sae
 *
 * Vectors of length 1, in blocks of rows against all others: cosines of a block are all that is held.
 */
#include "sae/sae.h"

#include <math.h>

/* Rows whose cosines with all others are taken at a time. */
enum { BLOCK = 256 };

/* Row s of a matrix (S,n) with any strides, in length 1, and its length; a row of zeros stays one. */
static double unit_row(float *to, const float *x, int64_t stride, int64_t n)
{
    double sum = 0.0, length;

    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i * stride] * x[i * stride];
    length = sqrt(sum);
    for (int64_t i = 0; i < n; i++)
        to[i] = length > 0.0 ? (float)(x[i * stride] / length) : 0.0f;
    return length;
}

/* The largest cosine of each row with another one, and whose it is. */
static sonde_status nearest(double *cosine, int64_t *index, const float *unit, int64_t S, int64_t n)
{
    sondep_matrix all = {unit, SONDE_F32, 1, n};
    float *cosines = NULL;
    void *scratch = NULL;
    size_t bytes = sondep_product_scratch_bytes(BLOCK, S, n);
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(cosines, BLOCK * S));
    SONDE_TRY_DONE(sondep_map_block(&scratch, bytes));
    for (int64_t first = 0; first < S; first += BLOCK) {
        int64_t rows = S - first < BLOCK ? S - first : BLOCK;
        sondep_matrix some = {unit + first * n, SONDE_F32, n, 1};
        if (sondep_interrupted()) {
            status = SONDE_FAIL(SONDE_E_INTERRUPTED, "interrupted");
            goto done;
        }
        sondep_product(cosines, S, &some, &all, rows, S, n, NULL, SONDEP_F32, scratch);
        for (int64_t r = 0; r < rows; r++) {
            int64_t best = -1;
            for (int64_t s = 0; s < S; s++)
                if (s != first + r && (best < 0 || cosines[r * S + s] > cosines[r * S + best]))
                    best = s;
            cosine[first + r] = best < 0 ? NAN : (double)cosines[r * S + best];
            index[first + r] = best;
        }
    }
done:
    sondep_free(cosines);
    if (scratch != NULL)
        sondep_unmap_block(scratch, bytes);
    return status;
}

/* Vectors of all features in length 1, and what is said of each by itself. */
static void measure_rows(sonde_sae_geometry *out, float *encoder, float *decoder, const sonde_sae *sae)
{
    const sonde_sae_config *c = &sae->config;
    const float *w_enc = sae->w[SONDEP_W_ENC], *w_dec = sae->w[SONDEP_W_DEC], *bias = sae->w[SONDEP_B_ENC];

    if (bias == NULL)
        bias = sae->w[SONDEP_B_GATE];
#pragma omp parallel for num_threads(sonde_threads())
    for (int64_t s = 0; s < c->d_sae; s++) {
        sonde_sae_geometry g = {.encoder_norm = NAN, .encoder_bias = NAN, .encoder_decoder = NAN, .nearest = -1};
        double sum = 0.0;
        g.decoder_norm = unit_row(decoder + s * c->d_out, w_dec + s * c->d_out, 1, c->d_out);
        if (w_enc != NULL) {
            g.encoder_norm = unit_row(encoder + s * c->d_in, w_enc + s, c->d_sae, c->d_in);
            for (int64_t d = 0; d < c->d_in && !c->is_transcoder; d++)
                sum += (double)encoder[s * c->d_in + d] * decoder[s * c->d_out + d];
            g.encoder_decoder = c->is_transcoder ? NAN : sum;
        }
        if (bias != NULL)
            g.encoder_bias = bias[s];
        out[s] = g;
    }
}

sonde_status sonde_sae_measure_geometry(sonde_sae_geometry *out, const sonde_sae *sae)
{
    const sonde_sae_config *c = &sae->config;
    float *encoder = NULL, *decoder = NULL;
    double *cosine = NULL;
    int64_t *index = NULL;
    bool has_encoder = sae->w[SONDEP_W_ENC] != NULL;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(encoder, has_encoder ? c->d_sae * c->d_in : 0));
    SONDE_TRY_DONE(SONDE_NEW(decoder, c->d_sae * c->d_out));
    SONDE_TRY_DONE(SONDE_NEW(cosine, c->d_sae));
    SONDE_TRY_DONE(SONDE_NEW(index, c->d_sae));
    measure_rows(out, encoder, decoder, sae);
    if (has_encoder)
        SONDE_TRY_DONE(nearest(cosine, index, encoder, c->d_sae, c->d_in));
    for (int64_t s = 0; s < c->d_sae; s++)
        out[s].nearest_encoder = has_encoder ? cosine[s] : NAN;
    SONDE_TRY_DONE(nearest(cosine, index, decoder, c->d_sae, c->d_out));
    for (int64_t s = 0; s < c->d_sae; s++) {
        out[s].nearest_decoder = cosine[s];
        out[s].nearest = index[s];
    }
done:
    sondep_free(encoder);
    sondep_free(decoder);
    sondep_free(cosine);
    sondep_free(index);
    return status;
}
