/* top.c - the k best of many without sorting them all.                         floor 8: analysis
 *
 * A heap of the k best so far, the worst of them at its root, in the caller's own array. A value enters only if it is better
 * than that one; at the end the heap is taken apart from the worst to the best.
 */
#include <sonde/analysis.h>

#include "base/base.h"

#include <math.h>

/* Whether index a comes before index b in the answer. */
static bool is_better(const double *values, int64_t a, int64_t b, bool largest)
{
    if (values[a] != values[b])
        return largest ? values[a] > values[b] : values[a] < values[b];
    return a < b;
}

/* Restores the heap below `root`: every parent is worse than its children. */
static void sink_root(int64_t *heap, int64_t n, int64_t root, const double *values, bool largest)
{
    for (int64_t child = 2 * root + 1; child < n; child = 2 * root + 1) {
        int64_t swap = heap[root];
        if (child + 1 < n && is_better(values, heap[child], heap[child + 1], largest))
            child++;
        if (!is_better(values, heap[root], heap[child], largest))
            return;
        heap[root] = heap[child];
        heap[child] = swap;
        root = child;
    }
}

int64_t sonde_top_k(int64_t *out, const double *values, int64_t n, int64_t k, bool largest)
{
    int64_t kept = 0, i = 0;

    /* The first k numbers, made a heap from the lowest parent up. */
    SONDE_ASSERT(k >= 0 && k <= n);
    for (; i < n && kept < k; i++)
        if (!isnan(values[i]))
            out[kept++] = i;
    for (int64_t root = kept / 2 - 1; root >= 0; root--)
        sink_root(out, kept, root, values, largest);
    /* Each other one against the worst of those. */
    for (; i < n && kept > 0; i++) {
        if (!isnan(values[i]) && is_better(values, i, out[0], largest)) {
            out[0] = i;
            sink_root(out, kept, 0, values, largest);
        }
    }
    for (int64_t left = kept - 1; left > 0; left--) { /* the worst goes to the end */
        int64_t worst = out[0];
        out[0] = out[left];
        out[left] = worst;
        sink_root(out, left, 0, values, largest);
    }
    return kept;
}
