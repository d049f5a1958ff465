/* ref/codes.c - the definition of decoding, of the gradient of codes, and of codes by features. */
#include "kernel/ref.h"

/* Row n of the reconstruction. */
static void decode_row(float *y, const sondep_codes *codes, const float *w, const float *b, int64_t n, int64_t D)
{
    const int32_t *index = codes->index + n * codes->capacity;
    const float *value = codes->value + n * codes->capacity;

    for (int64_t d = 0; d < D; d++) {
        double sum = b ? b[d] : 0.0;
        for (int64_t i = 0; i < codes->count[n]; i++)
            sum += (double)value[i] * w[index[i] * D + d];
        y[d] = (float)sum;
    }
}

/* Row n of the residual, where y may lie, and what comes of it. */
static void backward_row(const sondep_decode_backward *back, const float *y, const sondep_codes *codes, const float *w,
                         int64_t n, int64_t D)
{
    const float *target = back->target + n * back->ld_target;
    const int32_t *index = codes->index + n * codes->capacity;
    float *r = back->residual + n * D;
    double error = 0.0;

    for (int64_t d = 0; d < D; d++) {
        double difference = (double)y[d] - target[d];
        error += difference * difference;
        r[d] = (float)(difference * back->factor);
    }
    for (int64_t i = 0; i < codes->count[n] && back->dvalue; i++) {
        double sum = 0.0;
        for (int64_t d = 0; d < D; d++)
            sum += (double)r[d] * w[index[i] * D + d];
        back->dvalue[n * codes->capacity + i] = (float)sum;
    }
    if (back->error)
        back->error[n] = error;
}

/* Rows have nothing to do with each other. */
void sondep_decode_ref(float *y, const sondep_codes *codes, const float *w, const float *b,
                       const sondep_decode_backward *backward, int64_t N, int64_t D)
{
#pragma omp parallel for schedule(static) num_threads(sonde_threads())
    for (int64_t n = 0; n < N; n++) {
        float *row = (y ? y : backward->residual) + n * D;
        decode_row(row, codes, w, b, n, D);
        if (backward)
            backward_row(backward, row, codes, w, n, D);
    }
}

/* Each feature's pairs in the order of rows: counted, given their places, and put there. */
void sondep_list_columns_ref(const sondep_columns *out, const sondep_codes *codes, int64_t N, int64_t S, void *scratch)
{
    int64_t *next = scratch;

    memset(out->first, 0, (size_t)(S + 1) * sizeof *out->first);
    for (int64_t n = 0; n < N; n++)
        for (int64_t i = 0; i < codes->count[n]; i++)
            out->first[codes->index[n * codes->capacity + i] + 1]++;
    for (int64_t s = 0; s < S; s++) {
        next[s] = out->first[s];
        out->first[s + 1] += out->first[s];
    }
    for (int64_t n = 0; n < N; n++) {
        for (int64_t i = 0; i < codes->count[n]; i++) {
            int64_t at = n * codes->capacity + i, place = next[codes->index[at]]++;
            out->row[place] = (int32_t)n;
            out->at[place] = at;
        }
    }
}

/* A place for each feature. */
size_t sondep_list_columns_scratch_bytes_ref(int64_t S)
{
    return (size_t)S * sizeof(int64_t) + 64;
}
