/* Drawing tokens against its definition: sizes around the blocks, filters, ties, extremes, threads, and what is not finite. */
#include "kernel/kernel_support.h"

enum { BLOCK = 128 };

/* Logits of some spread; every third row has many ties, every fifth is nearly flat. */
static float *rows_of(int64_t N, int64_t V, uint64_t seed)
{
    float *x = numbers(N * V, seed);
    for (int64_t n = 0; n < N; n++)
        for (int64_t v = 0; v < V; v++)
            x[n * V + v] = n % 3 == 2   ? roundf(3.0f * x[n * V + v])
                           : n % 5 == 4 ? 0.01f * x[n * V + v]
                                        : 12.0f * x[n * V + v];
    return x;
}

static void draw(int32_t *ids, const float *x, int64_t N, int64_t V, const sondep_draw_rule *rule, const double *uniform)
{
    void *scratch = take_scratch(sondep_draw_scratch_bytes(V));
    sondep_draw(ids, x, N, V, rule, uniform, scratch);
    free(scratch);
}

/* Whether the filters may keep a token, within rounding: those before it are fewer than k, and hold less than p. */
static bool may_stay(int32_t id, const float *x, int64_t V, const sondep_draw_rule *rule)
{
    double before = 0.0, total = 0.0, top = x[0], scale = rule->temperature == 0.0 ? 1.0 : rule->temperature;
    int64_t n_greater = 0;

    for (int64_t v = 0; v < V; v++)
        top = fmax(top, x[v]);
    for (int64_t v = 0; v < V; v++) {
        int64_t n_above = 0;
        for (int64_t w = 0; w < V && rule->top_k > 0 && rule->top_p < 1.0; w++)
            n_above += x[w] > x[v];
        n_greater += x[v] > x[id];
        if (rule->top_k > 0 && n_above >= rule->top_k)
            continue;
        total += exp((x[v] - top) / scale);
        before += x[v] > x[id] || (x[v] == x[id] && v < id) ? exp((x[v] - top) / scale) : 0.0;
    }
    return (rule->top_k <= 0 || n_greater < rule->top_k) && (rule->top_p >= 1.0 || before < (rule->top_p + 4e-6) * total);
}

/* Whether the definition draws `id` for a number that differs by no more than rounding does: ids grow with it. */
static bool is_near(int32_t id, const float *x, int64_t V, const sondep_draw_rule *rule, double uniform)
{
    void *scratch = take_scratch(sondep_draw_scratch_bytes_ref(V));
    double u[2] = {fmax(uniform - 1e-5, 0.0), fmin(uniform + 1e-5, 1.0 - 0x1p-53)};
    int32_t least, most;

    sondep_draw_ref(&least, x, 1, V, rule, &u[0], scratch);
    sondep_draw_ref(&most, x, 1, V, rule, &u[1], scratch);
    free(scratch);
    return least <= id && id <= most && may_stay(id, x, V, rule);
}

static void check(int64_t V, const sondep_draw_rule *rule)
{
    enum { N = 11 };
    float *x = rows_of(N, V, (uint64_t)V);
    double uniform[N];
    int32_t got[N];

    for (int n = 0; n < N; n++)
        uniform[n] = n == 0 ? 0.0 : n == 1 ? 1.0 - 0x1p-53 : sonde_random_uniform(7, (uint64_t)V, (uint64_t)n);
    for (int set = 0; set < N_ALL_SETS; set++) {
        if (!choose_set(set))
            continue;
        draw(got, x, N, V, rule, uniform);
        for (int n = 0; n < N; n++)
            if (got[n] < 0 || got[n] >= V || !is_near(got[n], x + n * V, V, rule, uniform[n]))
                fail_msg("%s: token %d of row %d, V %lld, temperature %g, top_k %lld, top_p %g, u %.9g", all_sets[set],
                         (int)got[n], n, (long long)V, rule->temperature, (long long)rule->top_k, rule->top_p, uniform[n]);
    }
    free(x);
}

static void draws_agree(void **unused)
{
    static const int64_t sizes[] = {1, 2, 3, 7, 8, 9, 63, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5, 700};
    static const int64_t ks[] = {0, 1, 2, 3, 7, 40, 500, 800};
    static const double ps[] = {1.0, 1e-9, 0.1, 0.5, 0.9, 0.999999, 1.0 - 1e-12},
                        temperatures[] = {1.0, 0.0, 0.3, 30.0, 1e-42};
    (void)unused;

    for (size_t v = 0; v < sizeof sizes / sizeof *sizes; v++)
        for (size_t k = 0; k < sizeof ks / sizeof *ks; k++)
            for (size_t p = 0; p < sizeof ps / sizeof *ps; p++) {
                sondep_draw_rule rule = {temperatures[(v + k + p) % 5], ks[k], ps[p]};
                check(sizes[v], &rule);
                rule.temperature = 1.0;
                check(sizes[v], &rule);
            }
}

/* Frequencies of many draws from one row are its probabilities: the uniform numbers are a grid, so that there is no luck. */
static void frequencies_are_probabilities(void **unused)
{
    enum { V = 300, N = 60000 };
    sondep_draw_rule rule = {0.7, 0, 1.0};
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        float x[V];
        double total = 0.0;
        int count[V] = {0};
        if (!choose_set(set))
            continue;
        for (int v = 0; v < V; v++)
            total += exp((x[v] = 4.0f * number(3, v)) / 0.7);
        for (int i = 0; i < N; i++) {
            double uniform = (i + 0.5) / N;
            int32_t id;
            draw(&id, x, 1, V, &rule, &uniform);
            count[id]++;
        }
        for (int v = 0; v < V; v++)
            if (!(fabs(count[v] - N * exp(x[v] / 0.7) / total) <= 1.5))
                fail_msg("%s: token %d came %d times", all_sets[set], v, count[v]);
    }
}

/* Equal logits: the lowest id where one is taken, all that tie with the k-th, the lower ids of a set of probability p. */
static void ties_stay(void **unused)
{
    const float x[6] = {1, 2, 2, 2, 0, 2};
    static const struct {
        sondep_draw_rule rule;
        double uniform;
        int32_t want;
    } cases[] = {{{0, 0, 1}, 0.9, 1},     {{1, 1, 1}, 0.99, 5},    {{1, 2, 1}, 0.6, 3},
                 {{1, 0, 1e-9}, 0.99, 1}, {{1, 4, 0.5}, 0.99, 2},  {{1, 4, 0.5}, 0.49, 1},
                 {{1, 4, 0.51}, 0.99, 3}, {{1e-30, 0, 1}, 0.3, 2}, {{1e-300, 0, 1}, 0.8, 5}};
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++)
        for (size_t i = 0; choose_set(set) && i < sizeof cases / sizeof *cases; i++) {
            int32_t got;
            draw(&got, x, 1, 6, &cases[i].rule, &cases[i].uniform);
            if (got != cases[i].want)
                fail_msg("%s: case %d gives %d, not %d", all_sets[set], (int)i, (int)got, (int)cases[i].want);
        }
}

static void what_is_not_finite_is_found(void **unused)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    static const int64_t places[] = {0, 1, BLOCK - 1, BLOCK, 299};
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++)
        for (int i = 0; choose_set(set) && i < 30; i++) {
            sondep_draw_rule rule = {i < 15 ? 1.0 : 0.0, 0, 1.0};
            float *x = numbers(2 * 300, 5);
            double uniform[2] = {0.5, 0.5};
            int32_t ids[2];
            x[300 + places[i % 5]] = bad[i / 5 % 3];
            draw(ids, x, 2, 300, &rule, uniform);
            assert_true(ids[0] >= 0);
            assert_int_equal(ids[1], -1);
            free(x);
        }
}

static void draws_do_not_depend_on_threads(void **unused)
{
    enum { N = 40, V = 4000 };
    static const sondep_draw_rule rules[] = {{1.0, 0, 1.0}, {0.8, 40, 1.0}, {1.0, 0, 0.9}, {0.0, 0, 1.0}};
    float *x = rows_of(N, V, 1);
    double uniform[N];
    (void)unused;

    for (int n = 0; n < N; n++)
        uniform[n] = sonde_random_uniform(1, 2, (uint64_t)n);
    for (int set = 0; set < N_ALL_SETS; set++)
        for (int i = 0; choose_set(set) && i < 4; i++) {
            int32_t one[N], many[N];
            assert_int_equal(sonde_set_threads(1), SONDE_OK);
            draw(one, x, N, V, &rules[i], uniform);
            assert_int_equal(sonde_set_threads(3), SONDE_OK);
            draw(many, x, N, V, &rules[i], uniform);
            assert_same_bytes(one, many, sizeof one, "draw");
            assert_int_equal(sonde_set_threads(0), SONDE_OK);
        }
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_agree),
        cmocka_unit_test(frequencies_are_probabilities),
        cmocka_unit_test(ties_stay),
        cmocka_unit_test(what_is_not_finite_is_found),
        cmocka_unit_test(draws_do_not_depend_on_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
