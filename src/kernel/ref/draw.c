/* ref/draw.c - the definition of drawing a token from logits. */
#include "kernel/ref.h"

#include <math.h>
#include <stdlib.h>

/* A token that may be drawn. */
typedef struct candidate {
    double weight; /* exp of its logit over the temperature, the largest one's being 1 */
    float logit;
    int32_t id;
} candidate;

/* Likelier first; the lower id first among equals. */
static int by_logit(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit < y->logit ? 1 : -1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* The order in which what is kept is walked. */
static int by_id(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Keeps the k likeliest, and whatever ties with the last of them; gives how many. */
static int64_t keep_top_k(const candidate *sorted, int64_t n, int64_t k)
{
    int64_t kept = k < n ? k : n;
    while (kept > 0 && kept < n && sorted[kept].logit == sorted[kept - 1].logit)
        kept++;
    return kept;
}

/* Keeps the smallest set whose probability is at least p: a token stays while those before it hold less than p. */
static int64_t keep_top_p(const candidate *sorted, int64_t n, double p)
{
    double total = 0.0, before = 0.0;
    int64_t kept = 0;

    /* p is a share of what is still there */
    for (int64_t i = 0; i < n; i++)
        total += sorted[i].weight;
    while (kept < n && before < p * total)
        before += sorted[kept++].weight;
    return kept;
}

/* The first token whose cumulative weight exceeds its share; the last one that has any takes what rounding leaves. */
static int32_t walk(const candidate *list, int64_t n, double uniform)
{
    double total = 0.0, sum = 0.0;
    int32_t last = list[0].id;

    for (int64_t i = 0; i < n; i++)
        total += list[i].weight;
    for (int64_t i = 0; i < n; i++) {
        sum += list[i].weight;
        last = list[i].weight > 0.0 ? list[i].id : last;
        if (uniform * total < sum)
            break;
    }
    return last;
}

/* One row, by sorting all of it. */
static int32_t draw_row(candidate *list, const float *logits, int64_t V, const sondep_draw_rule *rule, double uniform)
{
    int64_t n = V;

    for (int64_t i = 0; i < V; i++) {
        if (!isfinite(logits[i]))
            return -1;
        list[i] = (candidate){0.0, logits[i], (int32_t)i};
    }
    /* Greedy: no filter can remove the likeliest token. */
    qsort(list, (size_t)V, sizeof *list, by_logit);
    if (rule->temperature == 0.0)
        return list[0].id;
    for (int64_t i = 0; i < V; i++)
        list[i].weight = exp(((double)list[i].logit - list[0].logit) / rule->temperature);
    /* the order of transformers */
    if (rule->top_k > 0)
        n = keep_top_k(list, n, rule->top_k);
    if (rule->top_p < 1.0)
        n = keep_top_p(list, n, rule->top_p);
    qsort(list, (size_t)n, sizeof *list, by_id);
    return walk(list, n, uniform);
}

/* Rows have nothing to do with each other. */
void sondep_draw_ref(int32_t *ids, const float *logits, int64_t N, int64_t V, const sondep_draw_rule *rule,
                     const double *uniform, void *scratch)
{
    for (int64_t n = 0; n < N; n++)
        ids[n] = draw_row(scratch, logits + n * V, V, rule, uniform[n]);
}

size_t sondep_draw_scratch_bytes_ref(int64_t V)
{
    return (size_t)V * sizeof(candidate);
}
