/* Rows of toy models against the definition, gradients against central differences, and draws: the same numbers with every set, as
 * often on as was asked for, and uniform where they are. */
#include "kernel/kernel_support.h"

enum { ROWS = SONDEP_TOY_ROWS, MOST = 70 * 45 };

/* Everything of one model, and what comes of it. */
typedef struct workspace {
    float w_in[MOST], w_out[MOST], b[70], importance[70], g_in[MOST], g_out[MOST], g_b[70];
    float *x, *scratch;
    sondep_toy t;
} workspace;

/* Bits of `how`: tied, hidden ReLU, ReLU, |x|. */
static workspace *make(int64_t n, int64_t m, int how)
{
    workspace *k = take(sizeof *k);

    for (int64_t i = 0; i < n * m; i++) {
        k->w_in[i] = number(1, i);
        k->w_out[i] = number(2, i);
    }
    for (int64_t i = 0; i < n; i++) {
        k->b[i] = 0.3f * number(3, i);
        k->importance[i] = 1.2f + number(4, i);
    }
    k->x = numbers(n * ROWS, 5);
    k->scratch = take_scratch((size_t)((2 * m + n) * ROWS) * sizeof(float));
    memset(k->g_in, 0, sizeof k->g_in), memset(k->g_out, 0, sizeof k->g_out), memset(k->g_b, 0, sizeof k->g_b);
    k->t = (sondep_toy){n,       m,       k->w_in, how & 1 ? k->w_in : k->w_out, k->b,    k->importance,
                        how & 2, how & 4, how & 8, 2.0f / (float)(ROWS * n),     k->g_in, how & 1 ? k->g_in : k->g_out,
                        k->g_b};
    return k;
}

static void drop(workspace *k)
{
    free(k->x), free(k->scratch), free(k);
}

static void rows_are_those_of_the_definition(void **unused)
{
    static const int64_t sizes[][2] = {{1, 1}, {2, 1}, {5, 2}, {3, 6}, {20, 5}, {7, 8}, {70, 45}, {33, 3}};
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++)
        for (int i = 0; choose_set(set) && i < 8 * 16; i += SANITIZED ? 3 : 1) {
            int64_t n = sizes[i % 8][0], m = sizes[i % 8][1];
            workspace *got = make(n, m, i / 8), *want = make(n, m, i / 8);
            float loss[2] = {(float)sondep_toy_rows(&got->t, got->x, got->scratch)};
            float want_loss[2] = {(float)sondep_toy_rows_ref(&want->t, want->x, want->scratch)};
            assert_within(loss, want_loss, 1, "toy_loss", "f32");
            assert_within(got->g_in, want->g_in, n * m, "toy_gradients", "f32");
            assert_within(got->g_out, want->g_out, n * m, "toy_gradients", "f32");
            assert_within(got->g_b, want->g_b, n, "toy_gradients", "f32");
            got->t.g_in = got->t.g_out = got->t.g_b = NULL;
            assert_true((float)sondep_toy_rows(&got->t, got->x, got->scratch) == loss[0]);
            drop(got), drop(want);
        }
}

/* The definition itself: (L(w + e) - L(w - e)) / 2 e, where no row lies at a bend. */
static void gradients_are_those_of_the_loss(void **unused)
{
    enum { FEW = 4, HIDDEN = 3 };
    (void)unused;

    for (int how = 0; how < 16; how++) {
        workspace *k = make(FEW, HIDDEN, how);
        float *of[] = {k->w_in, k->w_out, k->b}, *g[] = {k->g_in, k->g_out, k->g_b};
        sondep_toy_rows_ref(&k->t, k->x, k->scratch);
        for (int which = 0; which < 3; which++)
            for (int i = 0; i < (which < 2 ? FEW * HIDDEN : FEW) && !(which == 1 && how & 1); i++) {
                sondep_toy plain = k->t;
                float at = of[which][i];
                float up = at + 2e-4f, down = at - 2e-4f;
                double difference;
                plain.g_in = plain.g_out = plain.g_b = NULL;
                of[which][i] = up;
                difference = sondep_toy_rows_ref(&plain, k->x, k->scratch);
                of[which][i] = down;
                difference -= sondep_toy_rows_ref(&plain, k->x, k->scratch);
                difference /= (double)(ROWS * FEW) * ((double)up - (double)down);
                of[which][i] = at;
                if (!(fabs(difference - g[which][i]) <= 2e-3 * (fabs(difference) + 0.05)))
                    fail_msg("kind %d, array %d, %d: %g, want %g", how, which, i, (double)g[which][i], difference);
            }
        drop(k);
    }
}

/* ---- draws -------------------------------------------------------------------------------------------------------------------- */

enum { FEATURES = 9, CALLS = 400 };
static const sondep_toy_set few_sets[] = {{SONDEP_TOY_ALONE, 0, 3}, {SONDEP_TOY_ALL_OF, 3, 2}, {SONDEP_TOY_ONE_OF, 5, 4}};

/* Probabilities of nine features: 1, 1/2, 1/100; two together at 1/4; one of four at 3/5. */
static sondep_toy_sets make_sets(int32_t *bar, float *scale, bool is_signed)
{
    static const double p[FEATURES] = {1.0, 0.5, 0.01, 0.25, 0.25, 0.6, 0.6, 0.6, 0.6};

    for (int i = 0; i < FEATURES; i++) {
        bar[i] = p[i] < 1.0 ? (int32_t)(p[i] * 0x1p31) : INT32_MAX;
        scale[i] = (float)(1.0 / (double)bar[i]);
    }
    return (sondep_toy_sets){few_sets, 3, bar, scale, is_signed};
}

static void seed(uint32_t *state)
{
    for (int i = 0; i < 4 * SONDEP_TOY_LANES; i += 4)
        sonde_random_bits(state + i, 7, 0, (uint64_t)i);
}

static void draws_are_the_same_everywhere(void **unused)
{
    float got[FEATURES * ROWS], want[FEATURES * ROWS], scale[FEATURES];
    uint32_t a[4 * SONDEP_TOY_LANES], b[4 * SONDEP_TOY_LANES];
    int32_t bar[FEATURES];
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++)
        for (int is_signed = 0; choose_set(set) && is_signed < 2; is_signed++) {
            sondep_toy_sets sets = make_sets(bar, scale, is_signed != 0);
            seed(a), seed(b);
            for (int call = 0; call < 5; call++) {
                sondep_toy_draw(got, &sets, a);
                sondep_toy_draw_ref(want, &sets, b);
                assert_same_bytes(got, want, sizeof got, "toy draws");
                assert_same_bytes(a, b, sizeof a, "toy generators");
            }
        }
}

/* Frequencies within five deviations, means of what is on within five of theirs, sets together and never two of one. */
static void draws_are_as_often_on(void **unused)
{
    double n_on[FEATURES] = {0}, sum[FEATURES] = {0}, n = (double)CALLS * ROWS;
    static const double want[FEATURES] = {1.0, 0.5, 0.01, 0.25, 0.25, 0.15, 0.15, 0.15, 0.15};
    float x[FEATURES * ROWS], scale[FEATURES];
    uint32_t state[4 * SONDEP_TOY_LANES];
    int32_t bar[FEATURES];
    sondep_toy_sets sets = make_sets(bar, scale, false);
    (void)unused;

    seed(state);
    for (int call = 0; call < CALLS; call++) {
        sondep_toy_draw(x, &sets, state);
        for (int r = 0; r < ROWS; r++) {
            int of_last = 0;
            for (int i = 0; i < FEATURES; i++) {
                assert_true(x[i * ROWS + r] >= 0.0f && x[i * ROWS + r] <= 1.0f);
                n_on[i] += x[i * ROWS + r] > 0.0f;
                sum[i] += x[i * ROWS + r];
                of_last += i >= 5 && x[i * ROWS + r] > 0.0f;
            }
            assert_true(of_last <= 1);
            assert_int_equal(x[3 * ROWS + r] > 0.0f, x[4 * ROWS + r] > 0.0f);
        }
    }
    for (int i = 0; i < FEATURES; i++) {
        double deviation = sqrt(want[i] * (1.0 - want[i]) * n) + 2.0;
        if (!(fabs(n_on[i] - want[i] * n) <= 5.0 * deviation))
            fail_msg("feature %d is on in %.0f of %.0f rows, %g is wanted", i, n_on[i], n, want[i] * n);
        if (!(fabs(sum[i] / n_on[i] - 0.5) <= 5.0 * sqrt(1.0 / 12.0 / n_on[i])))
            fail_msg("feature %d has the mean %g", i, sum[i] / n_on[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_those_of_the_definition),
        cmocka_unit_test(gradients_are_those_of_the_loss),
        cmocka_unit_test(draws_are_the_same_everywhere),
        cmocka_unit_test(draws_are_as_often_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
