/* ref/product.c - the definition of sondep_product: sums in double, each step of the epilogue rounded to float. */
#include "kernel/ref.h"
#include "tensor/half.h"

enum { COLUMNS = 64 }; /* that are summed side by side, so that B is read along its rows */

float sondep_matrix_get(const sondep_matrix *m, int64_t i, int64_t j)
{
    int64_t at = i * m->row_stride + j * m->col_stride;
    uint16_t half;
    float x;

    if (m->dtype == SONDE_F32) {
        memcpy(&x, (const char *)m->data + at * 4, sizeof x);
        return x;
    }
    memcpy(&half, (const char *)m->data + at * 2, sizeof half);
    return m->dtype == SONDE_BF16 ? sondep_bf16_to_f32(half) : sondep_f16_to_f32(half);
}

/* A factor as it enters the sum: rounded to bf16 first if that is the precision. */
static float factor(const sondep_matrix *m, int64_t i, int64_t j, sondep_precision precision)
{
    float x = sondep_matrix_get(m, i, j);
    return precision == SONDEP_BF16 ? sondep_bf16_to_f32(sondep_f32_to_bf16(x)) : x;
}

/* One element of C from its sum. The steps stand in the order of kernel.h, and each assignment rounds to float, so that the
 * same steps taken later, each in a pass of its own, give the same bits. */
float sondep_finish_ref(const sondep_epilogue *e, float v, int64_t i, int64_t j)
{
    if (e == NULL)
        return v;
    if (e->bias)
        v += e->bias[j];
    if (e->pre)
        e->pre[i * e->ld_pre + j] = v;
    if (e->act != SONDEP_ACT_LINEAR)
        sondep_activate_ref(&v, &v, e->act, 1);
    if (e->gate)
        v *= e->gate[i * e->ld_gate + j];
    if (e->residual)
        v = e->residual[i * e->ld_residual + j] + v;
    return v;
}

/* c[i,j] = epilogue(sum over k of a[i,k] b[k,j]), k from 0 up, in double.
 * A piece of COLUMNS sums at a time, each by one thread: no number of threads changes them. */
void sondep_product_ref(float *c, int64_t ldc, const sondep_matrix *a, const sondep_matrix *b, int64_t M, int64_t N,
                        int64_t K, const sondep_epilogue *epilogue, sondep_precision precision, void *scratch)
{
    (void)scratch;
#pragma omp parallel for schedule(dynamic, 1) collapse(2) num_threads(sonde_threads())
    for (int64_t i = 0; i < M; i++) {
        for (int64_t j0 = 0; j0 < N; j0 += COLUMNS) {
            double sum[COLUMNS] = {0};
            int64_t n = N - j0 < COLUMNS ? N - j0 : COLUMNS;

            for (int64_t k = 0; k < K; k++) {
                double a_ik = factor(a, i, k, precision);
                for (int64_t j = 0; j < n; j++)
                    sum[j] += a_ik * factor(b, k, j0 + j, precision);
            }
            for (int64_t j = 0; j < n; j++)
                c[i * ldc + j0 + j] = sondep_finish_ref(epilogue, (float)sum[j], i, j0 + j);
        }
    }
}

/* Nothing is packed; not 0, so that a caller may always take it from an arena. */
size_t sondep_product_scratch_bytes_ref(int64_t M, int64_t N, int64_t K)
{
    (void)M, (void)N, (void)K;
    return 64;
}
