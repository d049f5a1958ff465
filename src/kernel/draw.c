/* draw.c - tokens drawn from rows of logits, without sorting a row.            floor 2: kernel
 *
 * A row is read once: each block of it gives its greatest logit and the sum of its weights exp((x - greatest) / temperature).
 *
 *   no filter   the cumulative sums of the blocks say in which block the uniform number ends, its weights at which token
 *   top_k       the k-th greatest of the blocks' maxima is no greater than the k-th greatest logit, so that the blocks
 *               below it are not looked at; of what is left, the k-th is found by partitioning (quickselect)
 *   top_p       tokens with less than (1 - p) / V hold less than 1 - p together: none of them is needed. Of the others the
 *               border of the set is found by partitioning by weight
 *
 * What is kept is walked by ids. Weights are floats, their sums doubles. Each row is one thread's. Reference: ref/draw.c.
 */
#include "kernel/leaf.h"
#include "kernel/meet.h"

#include <float.h>
#include <math.h>
#include <omp.h>

enum { BLOCK = SONDEP_DRAW_BLOCK, ROWS_AT_ONCE = 4, ALONE = 1 << 15 };

/* A token that a filter has not yet removed. */
typedef struct candidate {
    float logit, weight;
    int32_t id;
} candidate;

/* One row on its way, and a thread's scratch. */
typedef struct row {
    const sondep_leaf *leaf;
    const float *x;
    int64_t V, n_blocks;
    float factor;            /* 1 / temperature */
    float top;               /* the greatest logit */
    double total;            /* of the weights, relative to top */
    float *most, *sum;       /* (n_blocks) */
    float *share;            /* (n_blocks) weights of the blocks' maxima relative to top */
    float *values, *weights; /* (V) */
    candidate *list, *work;  /* (V) */
} row;

/* Lays a row's scratch out from `at` and returns its bytes; `at` may be NULL to measure only. */
static size_t lay_out(row *r, char *at, int64_t V)
{
    int64_t n_blocks = (V + BLOCK - 1) / BLOCK;
    int64_t bytes[] = {n_blocks * 4,
                       n_blocks * 4,
                       n_blocks * 4,
                       V * 4,
                       V * 4,
                       V * (int64_t)sizeof(candidate),
                       V * (int64_t)sizeof(candidate)};
    void *part[7];
    size_t total = 0;

    /* every part on a line of its own */
    for (int i = 0; i < 7; i++) {
        part[i] = (void *)((uintptr_t)at + total);
        total += ((size_t)bytes[i] + 63) & ~(size_t)63;
    }
    /* small ones of blocks first, then those of tokens */
    r->V = V;
    r->n_blocks = n_blocks;
    r->most = part[0], r->sum = part[1], r->share = part[2], r->values = part[3], r->weights = part[4];
    r->list = part[5], r->work = part[6];
    return total;
}

size_t sondep_blocks_draw_scratch_bytes(int64_t V)
{
    row r;
    return lay_out(&r, NULL, V) * (size_t)sonde_threads();
}

/* Numbers of block i. */
static int64_t block_width(const row *r, int64_t i)
{
    return r->V - i * BLOCK < BLOCK ? r->V - i * BLOCK : BLOCK;
}

/* The first of the greatest logits: in the first block that has it. */
static int32_t likeliest(const row *r)
{
    int64_t best = 0, i;

    for (int64_t k = 1; k < r->n_blocks; k++)
        best = r->most[k] > r->most[best] ? k : best;
    for (i = best * BLOCK; r->x[i] != r->most[best]; i++)
        ;
    return (int32_t)i;
}

/* The greatest logit, and the total of the weights relative to it. */
static void add_up(row *r)
{
    r->top = r->most[0];
    for (int64_t i = 1; i < r->n_blocks; i++)
        r->top = r->most[i] > r->top ? r->most[i] : r->top;
    /* each block's own greatest brings its sum to the row's */
    r->leaf->weigh(r->share, r->most, r->top, r->factor, r->n_blocks);
    r->total = 0.0;
    for (int64_t i = 0; i < r->n_blocks; i++)
        r->total += (double)r->sum[i] * r->share[i];
}

/* ---- walking ------------------------------------------------------------------------------------------------------------- */

/* The first of n weights at which the sum exceeds `target`, or the last one above 0 if rounding leaves it short. */
static int64_t walk(const float *weights, int64_t n, double target)
{
    double sum = 0.0;
    int64_t last = 0;

    for (int64_t i = 0; i < n; i++) {
        sum += weights[i];
        last = weights[i] > 0.0f ? i : last;
        if (target < sum)
            break;
    }
    return last;
}

/* From all tokens: to the block, then within it. */
static int32_t draw_from_all(const row *r, double uniform)
{
    double target = uniform * r->total, before = 0.0, before_block = 0.0;
    int64_t block = 0;

    for (int64_t i = 0; i < r->n_blocks; i++) {
        double sum = (double)r->sum[i] * r->share[i];
        if (sum > 0.0) {
            block = i;
            before_block = before;
        }
        before += sum;
        if (target < before)
            break;
    }
    r->leaf->weigh(r->weights, r->x + block * BLOCK, r->top, r->factor, block_width(r, block));
    return (int32_t)(block * BLOCK + walk(r->weights, block_width(r, block), target - before_block));
}

/* From what the filters have left. */
static int32_t draw_from_list(const row *r, int64_t n, double uniform)
{
    double total = 0.0;

    for (int64_t i = 0; i < n; i++) {
        r->weights[i] = r->list[i].weight;
        total += r->list[i].weight;
    }
    return r->list[walk(r->weights, n, uniform * total)].id;
}

/* ---- filters -------------------------------------------------------------------------------------------------------------- */

/* Whether a comes before b: likelier first, then the lower id. */
static bool is_before(const candidate *a, const candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

/* By value: a candidate is three words. */
static void swap(candidate *a, candidate *b)
{
    candidate c = *a;
    *a = *b;
    *b = c;
}

/* Puts the middle one of the first, the middle and the last into the first place. */
static void choose_pivot(candidate *c, int64_t n)
{
    candidate *middle = c + n / 2, *last = c + n - 1;

    if (is_before(middle, c) != is_before(middle, last))
        swap(c, middle);
    else if (is_before(last, c) != is_before(last, middle))
        swap(c, last);
}

/* Brings what comes before the pivot to the front; gives its new place and the weight before it. */
static int64_t partition(candidate *c, int64_t n, double *before)
{
    int64_t at = 0;

    /* c[1..at] come before the pivot, c[0], which goes behind them at the end */
    choose_pivot(c, n);
    *before = 0.0;
    for (int64_t i = 1; i < n; i++) {
        if (is_before(&c[i], &c[0])) {
            *before += c[i].weight;
            swap(&c[i], &c[++at]);
        }
    }
    swap(&c[0], &c[at]);
    return at;
}

/* The last candidate that stays if those stay before which there is less than `target` of weight. */
static candidate find_border(candidate *c, int64_t n, double target)
{
    double before = 0.0, within;
    candidate border = c[0];

    while (n > 0) {
        int64_t at = partition(c, n, &within);
        if (before + within < target) { /* the pivot stays, and all before it */
            border = c[at];
            before += within + border.weight;
            c += at + 1;
            n -= at + 1;
        } else { /* the border lies before the pivot */
            n = at;
        }
    }
    return border;
}

/* The list of all tokens whose logit is at least `least`, by ids. */
static int64_t gather(const row *r, float least)
{
    int64_t n = 0;

    for (int64_t i = 0; i < r->n_blocks; i++) {
        if (r->most[i] < least)
            continue;
        /* without a branch: each is written, and stays if the count moves on */
        for (int64_t j = i * BLOCK; j < i * BLOCK + block_width(r, i); j++) {
            r->list[n] = (candidate){r->x[j], 1.0f, (int32_t)j};
            n += r->x[j] >= least;
        }
    }
    return n;
}

/* Removes what comes behind the border; with `ties`, equals of the border stay. */
static int64_t cut(const row *r, int64_t n, const candidate *border, bool ties)
{
    int64_t kept = 0;

    for (int64_t i = 0; i < n; i++) {
        r->list[kept] = r->list[i];
        kept += ties ? r->list[i].logit >= border->logit : !is_before(border, &r->list[i]);
    }
    return kept;
}

/* The k-th greatest of the blocks' maxima: k logits at least are no less. -inf where there are fewer blocks. */
static float least_of_top_k(const row *r, int64_t k)
{
    if (k > r->n_blocks)
        return -INFINITY;
    for (int64_t i = 0; i < r->n_blocks; i++)
        r->work[i] = (candidate){r->most[i], 1.0f, (int32_t)i};
    return find_border(r->work, r->n_blocks, (double)k).logit;
}

/* Every token weighs 1: the border is the k-th. */
static int64_t keep_top_k(const row *r, int64_t k)
{
    int64_t n = gather(r, least_of_top_k(r, k));
    candidate border;

    if (k >= n)
        return n;
    /* partitioning mixes the order: it works on a copy */
    memcpy(r->work, r->list, (size_t)n * sizeof *r->work);
    border = find_border(r->work, n, (double)k);
    return cut(r, n, &border, true);
}

/* The logit below which nothing can belong to a set of probability p, a little less for rounding. */
static float least_of_top_p(const row *r, double p)
{
    double weight = 0.999 * (1.0 - p) * r->total / (double)r->V;
    return nextafterf((float)(r->top + log(weight) / r->factor), -INFINITY);
}

/* Weights of the n candidates on the list, and their total. */
static double weigh_list(const row *r, int64_t n)
{
    double total = 0.0;

    for (int64_t i = 0; i < n; i++)
        r->values[i] = r->list[i].logit;
    r->leaf->weigh(r->weights, r->values, r->top, r->factor, n);
    for (int64_t i = 0; i < n; i++) {
        r->list[i].weight = r->weights[i];
        total += r->weights[i];
    }
    return total;
}

/* Of the n candidates on the list, whose weights are known. */
static int64_t keep_top_p(const row *r, int64_t n, double p, double total)
{
    candidate border;

    memcpy(r->work, r->list, (size_t)n * sizeof *r->work);
    border = find_border(r->work, n, p * total);
    return cut(r, n, &border, false);
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------ */

/* Greedy needs no weights, a draw without filters no list. */
static int32_t draw_row(row *r, const sondep_draw_rule *rule, double uniform)
{
    bool is_greedy = rule->temperature == 0.0;
    double total;
    int64_t n;

    /* Lower temperatures than a float can divide by leave nothing but the largest logits, as this one does. */
    r->factor = is_greedy || 1.0 / rule->temperature > FLT_MAX ? FLT_MAX : (float)(1.0 / rule->temperature);
    if (!r->leaf->sum_blocks(r->most, is_greedy ? NULL : r->sum, r->x, r->factor, r->V))
        return -1;
    if (is_greedy)
        return likeliest(r);
    add_up(r);
    if (rule->top_k <= 0 && rule->top_p >= 1.0)
        return draw_from_all(r, uniform);
    /* Both filters work on the list of what may stay.
     * top_k first; the probabilities that top_p means are those of what it has left. */
    n = rule->top_k > 0 ? keep_top_k(r, rule->top_k) : gather(r, least_of_top_p(r, rule->top_p));
    total = weigh_list(r, n);
    if (rule->top_p < 1.0)
        n = keep_top_p(r, n, rule->top_p, rule->top_k > 0 ? total : r->total);
    return draw_from_list(r, n, uniform);
}

void sondep_blocks_draw(const sondep_leaf *leaf, int32_t *ids, const float *logits, int64_t N, int64_t V,
                        const sondep_draw_rule *rule, const double *uniform, void *scratch)
{
    sondep_meeting meeting = SONDEP_MEETING;

#pragma omp parallel num_threads(sonde_threads()) if (N * V > ALONE)
    {
        row r = {.leaf = leaf};
        size_t bytes = lay_out(&r, NULL, V);

        lay_out(&r, (char *)scratch + (size_t)omp_get_thread_num() * bytes, V);
#pragma omp for schedule(dynamic, ROWS_AT_ONCE) nowait
        for (int64_t n = 0; n < N; n++) {
            r.x = logits + n * V;
            ids[n] = draw_row(&r, rule, uniform[n]);
        }
        sondep_meet(&meeting);
    }
}
