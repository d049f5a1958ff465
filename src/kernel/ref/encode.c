/* ref/encode.c - the definition of an encoder's codes: all pre-activations of a row, sorted. */
#include "kernel/ref.h"

#include <math.h>
#include <stdlib.h>

/* A pre-activation that is above its threshold. */
typedef struct candidate {
    float key, value;
    int32_t index;
} candidate;

/* Larger keys first; the lower index first among equals. */
static int by_key(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* The order in which codes lie. */
static int by_index(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* What is compared, in float. */
float sondep_key_ref(const sondep_selection *selection, float v, int64_t s)
{
    float key = selection->is_absolute ? fabsf(v) : v;
    return selection->scale ? key * selection->scale[s] : key;
}

/* Puts the k first candidates of a row into `list`, by indices; gives how many passed, -1 if a comparison had a NaN. */
static int64_t select_row(candidate *list, const float *pre, const sondep_selection *selection, int64_t S)
{
    int64_t n = 0;

    for (int64_t s = 0; s < S; s++) {
        float key = sondep_key_ref(selection, pre[s], s), threshold = selection->threshold ? selection->threshold[s] : 0.0f;
        if (isnan(key) || isnan(threshold))
            return -1;
        if (key > threshold)
            list[n++] = (candidate){key, pre[s], (int32_t)s};
    }
    qsort(list, (size_t)n, sizeof *list, by_key);
    qsort(list, (size_t)(n < selection->k ? n : selection->k), sizeof *list, by_index);
    return n;
}

/* Row by row; pre-activations are those of the product, bias and all. */
void sondep_encode_ref(const sondep_codes *out, int64_t *found, const float *x, int64_t ld_x, const float *w, const float *b,
                       const sondep_selection *selection, int64_t N, int64_t S, int64_t D, sondep_precision precision,
                       void *scratch)
{
    candidate *list = scratch;
    float *pre = (float *)(list + S);
    sondep_matrix columns = {w, SONDE_F32, 1, D};
    sondep_epilogue epilogue = {.bias = b};

    for (int64_t n = 0; n < N; n++) {
        sondep_matrix row = {x + n * ld_x, SONDE_F32, ld_x, 1};
        int64_t passed, kept;
        sondep_product_ref(pre, S, &row, &columns, 1, S, D, &epilogue, precision, NULL);
        passed = select_row(list, pre, selection, S);
        kept = passed < 0 ? 0 : passed < selection->k ? passed : selection->k;
        for (int64_t i = 0; i < kept; i++) {
            out->index[n * out->capacity + i] = list[i].index;
            out->value[n * out->capacity + i] = list[i].value;
        }
        out->count[n] = kept;
        if (found)
            found[n] = passed;
    }
}

/* One row's candidates and pre-activations. */
size_t sondep_encode_scratch_bytes_ref(int64_t N, int64_t S, int64_t D, int64_t k)
{
    (void)N, (void)D, (void)k;
    return (size_t)S * (sizeof(candidate) + sizeof(float)) + 64;
}
