/* ref/attention_backward.c - the definition of the gradients of attention: one query of one head at a time, in double. */
#include "kernel/ref.h"

#include <math.h>
#include <stdlib.h>

/* Keys that query i sees. */
static int64_t n_visible(const sondep_attention *s, int64_t i)
{
    int64_t n = s->n_key - s->n_query + i + 1;
    return n < 0 ? 0 : n;
}

/* a . b */
static double dot(const float *a, const float *b, int64_t n)
{
    double sum = 0.0;
    for (int64_t d = 0; d < n; d++)
        sum += (double)a[d] * b[d];
    return sum;
}

/* p (n) = softmax of the scores of query i, whose row is q. */
static void pattern_row(double *p, const sondep_attention *s, const float *q, const float *k, int64_t n)
{
    double most = -INFINITY, sum = 0.0;

    for (int64_t j = 0; j < n; j++) {
        p[j] = dot(q, k + j * s->ld_k, s->d_head) * s->scale;
        most = p[j] > most ? p[j] : most;
    }
    for (int64_t j = 0; j < n; j++)
        sum += p[j] = exp(p[j] - most);
    for (int64_t j = 0; j < n; j++)
        p[j] /= sum;
}

/* What query i of a head adds to dk and dv (n_key, 2 h: sums in double), and its dq. p (n_key) is the pattern's row first, then
 * the gradient of the scores. */
static void backward_one(const sondep_attention_backward *b, double *sums, double *p, int64_t head, int64_t i)
{
    const sondep_attention *s = &b->forward;
    int64_t h = s->d_head, n = n_visible(s, i), kv = head / (s->n_heads / s->n_kv_heads) * h;
    const float *q = s->q + i * s->ld_q + head * h, *k = s->k + kv, *v = s->v + kv, *dz = b->dz + i * b->ld_dz + head * h;
    float *dq = b->dq + i * b->ld_dq + head * h;
    double along = 0.0;

    pattern_row(p, s, q, k, n);
    for (int64_t j = 0; j < n; j++)
        along += p[j] * dot(dz, v + j * s->ld_v, h);
    for (int64_t j = 0; j < n; j++) {
        double ds = p[j] * (dot(dz, v + j * s->ld_v, h) - along) * s->scale;
        for (int64_t d = 0; d < h; d++) {
            sums[j * 2 * h + d] += ds * q[d];
            sums[j * 2 * h + h + d] += p[j] * dz[d];
        }
        p[j] = ds;
    }
    for (int64_t d = 0; d < h; d++) {
        double to_q = 0.0;
        for (int64_t j = 0; j < n; j++)
            to_q += p[j] * k[j * s->ld_k + d];
        dq[d] = (float)to_q;
    }
}

/* One key/value head of one sequence: all queries of all heads that share it. `sums` is the thread's. */
static void backward_group(const sondep_attention_backward *b, double *sums, int64_t group)
{
    const sondep_attention *s = &b->forward;
    int64_t h = s->d_head, each = s->n_heads / s->n_kv_heads;

    memset(sums, 0, (size_t)(s->n_key * 2 * h) * sizeof *sums);
    for (int64_t head = group * each; head < (group + 1) * each; head++)
        for (int64_t i = 0; i < s->n_query; i++)
            backward_one(b, sums, sums + s->n_key * 2 * h, head, i);
    for (int64_t j = 0; j < s->n_key; j++) {
        for (int64_t d = 0; d < h; d++) {
            b->dk[j * b->ld_dk + group * h + d] = (float)sums[j * 2 * h + d];
            b->dv[j * b->ld_dv + group * h + d] = (float)sums[j * 2 * h + h + d];
        }
    }
}

void sondep_attend_backward_ref(const sondep_attention_backward *sequences, int64_t n, void *scratch)
{
    for (int64_t b = 0; b < n; b++)
        for (int64_t group = 0; group < sequences[b].forward.n_kv_heads; group++)
            backward_group(&sequences[b], scratch, group);
}

size_t sondep_attend_backward_scratch_bytes_ref(int64_t d_head, int64_t n_key)
{
    return (size_t)(n_key * (2 * d_head + 1) + 8) * sizeof(double);
}
