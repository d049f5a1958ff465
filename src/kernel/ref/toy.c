/* ref/toy.c - the definition of toy models and of the draws of their features.  floor 2: kernel
 *
 * Row by row, sums in double; what is stored in between is rounded to floats where the fast versions store it, so that both have the
 * same zeros. Draws are lane by lane what vector/toy.h does to whole vectors: integers and one product of floats, equal bit for bit.
 */
#include "kernel/ref.h"

#include <math.h>

enum { ROWS = SONDEP_TOY_ROWS, LANES = SONDEP_TOY_LANES };

/* Hidden number j, or output i, of row r. */
static double hidden_of(const sondep_toy *t, const float *x, int64_t j, int64_t r)
{
    double sum = 0.0;

    for (int64_t i = 0; i < t->n; i++)
        sum += (double)t->w_in[i * t->m + j] * x[i * ROWS + r];
    return t->has_hidden_relu && sum < 0.0 ? 0.0 : sum;
}

/* Before the ReLU, from hidden numbers as they are stored. */
static double output_of(const sondep_toy *t, const float *h, int64_t i, int64_t r)
{
    double sum = t->b[i];

    for (int64_t j = 0; j < t->m; j++)
        sum += (double)t->w_out[i * t->m + j] * h[j * ROWS + r];
    return sum;
}

/* Gradients of one row: h and dpre of it are there. */
static void add_gradients(const sondep_toy *t, const float *x, const float *h, const float *dpre, int64_t r)
{
    for (int64_t i = 0; i < t->n; i++) {
        t->g_b[i] += dpre[i * ROWS + r];
        for (int64_t j = 0; j < t->m; j++)
            t->g_out[i * t->m + j] += dpre[i * ROWS + r] * h[j * ROWS + r];
    }
    for (int64_t j = 0; j < t->m; j++) {
        double dh = 0.0;
        for (int64_t i = 0; i < t->n; i++)
            dh += (double)t->w_out[i * t->m + j] * dpre[i * ROWS + r];
        if (t->has_hidden_relu && !(h[j * ROWS + r] > 0.0f))
            dh = 0.0;
        for (int64_t i = 0; i < t->n; i++)
            t->g_in[i * t->m + j] += (float)(dh * x[i * ROWS + r]);
    }
}

/* Row by row. */
double sondep_toy_rows_ref(const sondep_toy *t, const float *x, float *scratch)
{
    float *h = scratch, *dpre = h + 2 * t->m * ROWS;
    double loss = 0.0;

    for (int64_t r = 0; r < ROWS; r++) {
        for (int64_t j = 0; j < t->m; j++)
            h[j * ROWS + r] = (float)hidden_of(t, x, j, r);
        for (int64_t i = 0; i < t->n; i++) {
            double pre = output_of(t, h, i, r), out = t->has_relu && pre < 0.0 ? 0.0 : pre;
            double error = out - (t->is_absolute ? fabs((double)x[i * ROWS + r]) : (double)x[i * ROWS + r]);
            loss += t->importance[i] * error * error;
            dpre[i * ROWS + r] = t->has_relu && !(pre > 0.0) ? 0.0f : (float)(t->factor * t->importance[i] * error);
        }
        if (t->g_b)
            add_gradients(t, x, h, dpre, r);
    }
    return loss;
}

/* ---- draws ------------------------------------------------------------------------------------------------------------ */

/* To the left, by k bits. */
static uint32_t turn(uint32_t x, int k)
{
    return x << k | x >> (32 - k);
}

/* The next 31 bits of one generator, whose words are LANES apart. */
static int32_t next(uint32_t *s)
{
    uint32_t out = turn(s[0] + s[3 * LANES], 7) + s[0], t = s[LANES] << 9;

    s[2 * LANES] ^= s[0];
    s[3 * LANES] ^= s[LANES];
    s[LANES] ^= s[2 * LANES];
    s[0] ^= s[3 * LANES];
    s[2 * LANES] ^= t;
    s[3 * LANES] = turn(s[3 * LANES], 11);
    return (int32_t)(out >> 1);
}

/* Its number, where the feature is on. */
static float value_of(const sondep_toy_sets *sets, bool on, int32_t bits, float scale)
{
    float value = (float)bits * scale;

    if (!on)
        return 0.0f;
    return sets->is_signed ? value * 2.0f - 1.0f : value;
}

/* Features of a set that are not drawn alone, in LANES rows from r on. */
static void draw_together(float *x, const sondep_toy_sets *sets, const sondep_toy_set *set, uint32_t *state, int64_t r)
{
    for (int64_t lane = 0; lane < LANES; lane++) {
        int32_t bits = next(state + lane), bar = sets->bar[set->first];
        int32_t which = (int32_t)((float)bits * (sets->scale[set->first] * (float)set->n));
        for (int64_t i = 0; i < set->n; i++) {
            bool on = bits < bar && (set->kind != SONDEP_TOY_ONE_OF || which == (int32_t)i);
            x[(set->first + i) * ROWS + r + lane] = value_of(sets, on, next(state + lane), 0x1p-31f);
        }
    }
}

/* Feature by feature, LANES rows at a time. */
void sondep_toy_draw_ref(float *x, const sondep_toy_sets *sets, uint32_t *state)
{
    for (int64_t g = 0; g < sets->n; g++) {
        const sondep_toy_set *set = &sets->sets[g];
        for (int64_t i = set->first; i < set->first + set->n && set->kind == SONDEP_TOY_ALONE; i++)
            for (int64_t r = 0; r < ROWS; r++) {
                int32_t bits = next(state + r % LANES);
                x[i * ROWS + r] = value_of(sets, bits < sets->bar[i], bits, sets->scale[i]);
            }
        for (int64_t r = 0; r < ROWS && set->kind != SONDEP_TOY_ALONE; r += LANES)
            draw_together(x, sets, set, state, r);
    }
}
