/* pursue.c - matching pursuit of rows whose products with all features are at hand.      floor 2: kernel
 *
 * When a feature is taken from a row, what becomes of its product with another feature is known from the product of the two: a row of
 * the Gram matrix is subtracted, in place of a new product of the row with all features. A row is one thread's from its first feature to its
 * last, so that its products stay near.
 * AVX2, two cores, 4096 rows of 32 pairs, 288 x 2304: 90 ms; a product for each pair takes 2.5 s.
 */
#include "kernel/leaf.h"
#include "kernel/meet.h"

#include <math.h>

/* One row; see kernel.h. */
static void pursue_row(const sondep_leaf *leaf, const sondep_codes *out, const sondep_pursuit *p, int64_t n, int64_t S,
                       int64_t D)
{
    int32_t *index = out->index + n * out->capacity;
    float *value = out->value + n * out->capacity, *rest = p->rest + n * D, *v = p->v + n * S;
    int64_t count = 0, s = leaf->subtract_and_find(v, v, 0.0f, S);
    bool ends = false;

    while (count < out->capacity && !ends) {
        const float *w = p->w + s * D;
        float amount = leaf->dot(rest, w, D);
        if (!(amount > 0.0f))
            break;
        for (int64_t i = 0; i < count && !p->repeats; i++)
            ends = ends || index[i] == s;
        index[count] = (int32_t)s;
        value[count++] = amount;
        leaf->add_scaled(rest, w, -amount, D);
        ends = ends || sqrt(leaf->sum_squares(rest, D)) < p->least;
        if (count < out->capacity && !ends)
            s = leaf->subtract_and_find(v, p->gram + s * S, amount, S);
    }
    out->count[n] = count;
}

void sondep_rows_pursue(const sondep_leaf *leaf, const sondep_codes *out, const sondep_pursuit *p, int64_t N, int64_t S,
                        int64_t D)
{
    sondep_meeting meeting = SONDEP_MEETING;

#pragma omp parallel num_threads(sonde_threads()) if (N * S > SONDEP_ALONE / 8)
    {
#pragma omp for schedule(dynamic, 4) nowait
        for (int64_t n = 0; n < N; n++)
            pursue_row(leaf, out, p, n, S, D);
        sondep_meet(&meeting);
    }
}
