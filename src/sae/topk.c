/* topk.c - TopK and AbsTopK: the k features of a row that are largest.            floor 7: sae
 *
 *   TopK      f = v where v is among the k largest of max(v, 0)
 *   AbsTopK   f = v where |v| is among the k largest
 *
 * With rescales_by_norm v is first multiplied by the length of the feature's decoder row. A row's best are kept as a heap whose
 * first is the worst of them: most values are not even better than that. Of equal ones the lower feature is better.
 *
 * Source: Gao et al. 2024, arXiv 2406.04093, equation 2; Zhu et al. 2026, arXiv 2510.00404.
 */
#include "sae/sae.h"

#include <math.h>

/* Whether pair a is worse than pair b. */
static bool is_worse(sondep_sae_pair a, sondep_sae_pair b)
{
    float size = fabsf(a.value), other = fabsf(b.value);
    return size < other || (size == other && a.index > b.index);
}

/* Moves the first of a heap of n down to where it belongs. */
static void sift_down(sondep_sae_pair *heap, int64_t n)
{
    for (int64_t at = 0, child; (child = 2 * at + 1) < n; at = child) {
        sondep_sae_pair moved = heap[at];
        if (child + 1 < n && is_worse(heap[child + 1], heap[child]))
            child++;
        if (!is_worse(heap[child], moved))
            return;
        heap[at] = heap[child];
        heap[child] = moved;
    }
}

/* Moves the last of a heap of n up to where it belongs. */
static void sift_up(sondep_sae_pair *heap, int64_t n)
{
    for (int64_t at = n - 1; at > 0 && is_worse(heap[at], heap[(at - 1) / 2]); at = (at - 1) / 2) {
        sondep_sae_pair moved = heap[at];
        heap[at] = heap[(at - 1) / 2];
        heap[(at - 1) / 2] = moved;
    }
}

/* The k best of a row into heap; how many there are: what is 0, or below it in TopK, is none. */
static int64_t choose(sondep_sae_pair *heap, int64_t k, const float *v, int64_t S, bool has_signs)
{
    int64_t n = 0;

    for (int32_t s = 0; s < S; s++) {
        sondep_sae_pair pair = {s, v[s]};
        if (!(v[s] > 0.0f || (has_signs && v[s] < 0.0f)) || (n == k && is_worse(pair, heap[0])))
            continue;
        if (n < k) {
            heap[n++] = pair;
            sift_up(heap, n);
        } else {
            heap[0] = pair;
            sift_down(heap, n);
        }
    }
    return n;
}

/* One row. */
static void keep_largest(float *v, const sonde_sae *sae, sondep_sae_pair *heap)
{
    const sonde_sae_config *c = &sae->config;
    int64_t n;

    if (sae->norms != NULL)
        for (int64_t s = 0; s < c->d_sae; s++)
            v[s] *= sae->norms[s];
    n = choose(heap, c->k, v, c->d_sae, c->activation == SONDE_SAE_ABSTOPK);
    memset(v, 0, (size_t)c->d_sae * sizeof *v);
    for (int64_t i = 0; i < n; i++)
        v[heap[i].index] = heap[i].value;
}

void sondep_sae_topk(const sondep_sae_rows *r)
{
    int64_t S = r->sae->config.d_sae, k = r->sae->config.k;

#pragma omp parallel for num_threads(sonde_threads()) schedule(dynamic, 8)
    for (int64_t n = 0; n < r->N; n++)
        keep_largest(r->v + n * S, r->sae, r->pairs + n * k);
}
