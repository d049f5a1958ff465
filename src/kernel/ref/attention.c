/* ref/attention.c - the definition of attention: scores, softmax of each row, mix; sums in double. */
#include "kernel/ref.h"

#include <math.h>

/* Keys that query i sees. */
static int64_t n_visible(const sondep_attention *s, int64_t i)
{
    int64_t n = s->n_key - s->n_query + i + 1;
    return n < 0 ? 0 : n;
}

/* q_i . k_j scale of one head; several query heads share a key head when there are fewer of those. */
static float score(const sondep_attention *s, int64_t head, int64_t i, int64_t j)
{
    const float *q = s->q + i * s->ld_q + head * s->d_head;
    const float *k = s->k + j * s->ld_k + head / (s->n_heads / s->n_kv_heads) * s->d_head;
    double sum = 0.0;

    for (int64_t d = 0; d < s->d_head; d++)
        sum += (double)q[d] * k[d];
    return (float)(sum * s->scale);
}

/* scores[h,i,j] = q_i . k_j scale, or -inf where query i does not see key j. */
void sondep_attention_scores_ref(float *scores, const sondep_attention *s, void *scratch)
{
    (void)scratch;
#pragma omp parallel for schedule(dynamic, 1) collapse(2) num_threads(sonde_threads())
    for (int64_t head = 0; head < s->n_heads; head++)
        for (int64_t i = 0; i < s->n_query; i++)
            for (int64_t j = 0; j < s->n_key; j++)
                scores[(head * s->n_query + i) * s->n_key + j] = j < n_visible(s, i) ? score(s, head, i, j) : -INFINITY;
}

/* x = exp(x - max) / sum of that; subtracting the maximum keeps exp from overflowing and changes nothing else.
 * A row of nothing but -inf has no such sum, and becomes 0. */
static void softmax(float *x, int64_t n)
{
    float most = -INFINITY;
    double sum = 0.0;

    for (int64_t j = 0; j < n; j++)
        most = x[j] > most || isnan(x[j]) ? x[j] : most; /* a NaN makes the row NaN */
    for (int64_t j = 0; j < n; j++)
        sum += exp((double)x[j] - most);
    for (int64_t j = 0; j < n; j++)
        x[j] = most == -INFINITY ? 0.0f : (float)(exp((double)x[j] - most) / sum);
}

void sondep_softmax_rows_ref(float *x, int64_t n_rows, int64_t n_columns)
{
#pragma omp parallel for schedule(dynamic, 16) num_threads(sonde_threads())
    for (int64_t i = 0; i < n_rows; i++)
        softmax(x + i * n_columns, n_columns);
}

/* z[i,h,d] = sum over j of pattern[h,i,j] v[j,d]: all keys, since a hook may have written anywhere. */
void sondep_attention_mix_ref(const float *pattern, const sondep_attention *s, void *scratch)
{
    (void)scratch;
#pragma omp parallel for schedule(dynamic, 1) collapse(2) num_threads(sonde_threads())
    for (int64_t head = 0; head < s->n_heads; head++) {
        for (int64_t i = 0; i < s->n_query; i++) {
            const float *p = pattern + (head * s->n_query + i) * s->n_key;
            for (int64_t d = 0; d < s->d_head; d++) {
                const float *v = s->v + head / (s->n_heads / s->n_kv_heads) * s->d_head + d;
                double sum = 0.0;
                for (int64_t j = 0; j < s->n_key; j++)
                    sum += (double)p[j] * v[j * s->ld_v];
                s->z[i * s->ld_z + head * s->d_head + d] = (float)sum;
            }
        }
    }
}

enum { WIDTH = 64 }; /* of z that is summed at a time */

/* WIDTH elements of z of one query, from d0 on: the keys are walked once more for each such piece. */
static void mix_piece(const sondep_attention *s, int64_t head, int64_t i, float most, int64_t d0)
{
    float *z = s->z + i * s->ld_z + head * s->d_head + d0;
    const float *v = s->v + head / (s->n_heads / s->n_kv_heads) * s->d_head + d0;
    int64_t n = s->d_head - d0 < WIDTH ? s->d_head - d0 : WIDTH;
    double sum[WIDTH] = {0}, total = 0.0;

    for (int64_t j = 0; j < n_visible(s, i); j++) {
        double p = exp((double)score(s, head, i, j) - most);
        total += p;
        for (int64_t d = 0; d < n; d++)
            sum[d] += p * v[j * s->ld_v + d];
    }
    for (int64_t d = 0; d < n; d++)
        z[d] = most == -INFINITY ? 0.0f : (float)(sum[d] / total);
}

/* One query of one head: nothing is stored between the passes over the keys that it sees. */
static void attend_one(const sondep_attention *s, int64_t head, int64_t i)
{
    float most = -INFINITY;

    for (int64_t j = 0; j < n_visible(s, i); j++) {
        float x = score(s, head, i, j);
        most = x > most || isnan(x) ? x : most;
    }
    for (int64_t d = 0; d < s->d_head; d += WIDTH)
        mix_piece(s, head, i, most, d);
}

/* All of the above without storing the scores, for each sequence by itself. */
void sondep_attend_ref(const sondep_attention *sequences, int64_t n, void *scratch)
{
    (void)scratch;
    for (int64_t b = 0; b < n; b++) {
        const sondep_attention *s = &sequences[b];
#pragma omp parallel for schedule(dynamic, 1) collapse(2) num_threads(sonde_threads())
        for (int64_t head = 0; head < s->n_heads; head++)
            for (int64_t i = 0; i < s->n_query; i++)
                attend_one(s, head, i);
    }
}

size_t sondep_attention_scratch_bytes_ref(int64_t d_head)
{
    (void)d_head;
    return 64;
}
