/* The gradients of the kernels, on every set, against central differences of the forward formulas in double; a gradient with
 * its sign turned must be told apart. AdamW against torch.optim.AdamW (tests/golden/adamw.json). */
#include "kernel/kernel_support.h"

#include <jansson.h>

/* ---- central differences ------------------------------------------------------------------------------------------------- */

/* A loss of n numbers. */
typedef double (*loss_function)(const double *x, const void *ctx);

enum { MOST = 2000 };
static const double step = 1e-5, limit = 2e-6; /* in double, the difference itself is good to about 1e-9 */

/* Largest error of `got` against the slopes of `loss` at x (n floats), relative to the largest slope; NaN counts as infinite. */
static double slope_error(const float *got, loss_function loss, const void *ctx, const float *x, int64_t n, double sign)
{
    double at[MOST], worst = 0.0, greatest = 0.0;

    assert_true(n <= MOST);
    for (int64_t i = 0; i < n; i++)
        at[i] = x[i];
    for (int64_t i = 0; i < n; i++) {
        double up, down, slope;
        at[i] = (double)x[i] + step;
        up = loss(at, ctx);
        at[i] = (double)x[i] - step;
        down = loss(at, ctx);
        at[i] = x[i];
        slope = (up - down) / (2.0 * step);
        greatest = fmax(greatest, fabs(slope));
        if (!(fabs(sign * got[i] - slope) <= worst))
            worst = isnan(got[i]) ? INFINITY : fabs(sign * got[i] - slope);
    }
    return worst / greatest;
}

static void assert_gradient(const float *got, loss_function loss, const void *ctx, const float *x, int64_t n,
                            const char *what)
{
    double error = slope_error(got, loss, ctx, x, n, 1.0), turned = slope_error(got, loss, ctx, x, n, -1.0);

    if (!(error <= limit))
        fail_msg("gradient of %s with %s: error %g, allowed %g", what, sondep_kernel_name(), error, limit);
    if (!(turned > 1.0))
        fail_msg("gradient of %s with %s: its sign does not matter (%g)", what, sondep_kernel_name(), turned);
}

/* ---- norms --------------------------------------------------------------------------------------------------------------- */

enum { NORM_N = 3, NORM_D = 21, NORM_ALL = NORM_N * NORM_D };
typedef struct norm_case {
    const float *dy;
    bool is_rms;
} norm_case;

/* sum(dy y); x holds the rows, then w, then b. */
static double norm_loss(const double *x, const void *ctx)
{
    const norm_case *c = ctx;
    const double *w = x + NORM_ALL, *b = w + NORM_D;
    double loss = 0.0;

    for (int n = 0; n < NORM_N; n++) {
        const double *row = x + n * NORM_D;
        double mean = 0.0, squares = 0.0;
        for (int d = 0; d < NORM_D && !c->is_rms; d++)
            mean += row[d] / NORM_D;
        for (int d = 0; d < NORM_D; d++)
            squares += (row[d] - mean) * (row[d] - mean) / NORM_D;
        for (int d = 0; d < NORM_D; d++)
            loss += c->dy[n * NORM_D + d] * ((row[d] - mean) / sqrt(squares + 1e-3) * w[d] + b[d]);
    }
    return loss;
}

static void norms_have_the_slopes_of_their_forward(void **unused)
{
    enum { ALL = NORM_ALL + 2 * NORM_D };
    float *x = numbers(ALL, 1), *dy = numbers(NORM_ALL, 2), got[ALL];
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        for (int rms = 0; choose_set(set) && rms < 2; rms++) {
            norm_case c = {dy, rms};
            void *scratch = take_scratch(sondep_norm_backward_scratch_bytes(NORM_N, NORM_D));
            memset(got, 0, sizeof got);
            sondep_norm_backward(got, got + NORM_ALL, got + NORM_ALL + NORM_D, dy, x, x + NORM_ALL, rms, 1e-3, NORM_N,
                                 NORM_D, false, scratch);
            assert_gradient(got, norm_loss, &c, x, ALL, rms ? "RMSNorm" : "LayerNorm");
            free(scratch);
        }
    }
    free(x), free(dy);
}

/* ---- activation functions -------------------------------------------------------------------------------------------------- */

enum { ACT_N = 150 };
typedef struct act_case {
    const float *dpost;
    sondep_act act;
    bool is_gated;
} act_case;

/* sum(dpost act(pre) [up]); x holds pre, then up. */
static double act_loss(const double *x, const void *ctx)
{
    const act_case *c = ctx;
    double loss = 0.0;

    for (int i = 0; i < ACT_N; i++)
        loss += c->dpost[i] * sondep_act_ref(c->act, x[i]) * (c->is_gated ? x[ACT_N + i] : 1.0);
    return loss;
}

static void activations_have_the_slopes_of_their_forward(void **unused)
{
    float *x = numbers(2 * ACT_N, 3), *dpost = numbers(ACT_N, 4), got[2 * ACT_N];
    (void)unused;

    for (int i = 0; i < ACT_N; i++)
        x[i] *= 8.0f; /* over all pieces of the functions that have pieces */
    for (int set = 0; set < N_ALL_SETS; set++) {
        for (int i = 0; choose_set(set) && i < 2 * SONDEP_N_ACTS; i++) {
            act_case c = {dpost, (sondep_act)(i / 2), i % 2};
            char what[32];
            snprintf(what, sizeof what, "activation %d%s", i / 2, i % 2 ? ", gated" : "");
            sondep_activate_backward(got, i % 2 ? got + ACT_N : NULL, NULL, dpost, x, i % 2 ? x + ACT_N : NULL, c.act,
                                     ACT_N);
            assert_gradient(got, act_loss, &c, x, i % 2 ? 2 * ACT_N : ACT_N, what);
        }
    }
    free(x), free(dpost);
}

/* ---- attention --------------------------------------------------------------------------------------------------------------- */

enum { QUERIES = 9, KEYS = 12, HEADS = 4, GROUPS = 2, WIDTH = 5, Q = QUERIES * HEADS * WIDTH, KV = KEYS * GROUPS * WIDTH };

/* sum(dz z) of one head's query; x holds q, k and v. */
static double query_loss(const double *x, const float *dz, int head, int i)
{
    const double *q = x + (i * HEADS + head) * WIDTH, *k = x + Q + head / (HEADS / GROUPS) * WIDTH, *v = k + KV;
    double score[KEYS], total = 0.0, loss = 0.0;
    int n = KEYS - QUERIES + i + 1;

    for (int j = 0; j < n; j++) {
        score[j] = 0.0;
        for (int d = 0; d < WIDTH; d++)
            score[j] += q[d] * k[j * GROUPS * WIDTH + d] * 0.7;
        total += score[j] = exp(score[j]);
    }
    for (int j = 0; j < n; j++)
        for (int d = 0; d < WIDTH; d++)
            loss += score[j] / total * v[j * GROUPS * WIDTH + d] * dz[(i * HEADS + head) * WIDTH + d];
    return loss;
}

static double attention_loss(const double *x, const void *ctx)
{
    double loss = 0.0;
    for (int head = 0; head < HEADS; head++)
        for (int i = 0; i < QUERIES; i++)
            loss += query_loss(x, ctx, head, i);
    return loss;
}

static void attention_has_the_slopes_of_its_forward(void **unused)
{
    enum { ALL = Q + 2 * KV };
    float *x = numbers(ALL, 5), *dz = numbers(Q, 6), z[Q], got[ALL];
    sondep_attention_backward b = {{x, x + Q, x + Q + KV, z, HEADS * WIDTH, GROUPS * WIDTH, GROUPS * WIDTH, HEADS * WIDTH,
                                    QUERIES, KEYS, HEADS, GROUPS, WIDTH, 0.7f},
                                   dz,
                                   got,
                                   got + Q,
                                   got + Q + KV,
                                   HEADS * WIDTH,
                                   HEADS * WIDTH,
                                   GROUPS * WIDTH,
                                   GROUPS * WIDTH};
    (void)unused;

    for (int i = 0; i < Q; i++)
        x[i] *= 2.0f;
    for (int set = 0; set < N_ALL_SETS; set++) {
        if (!choose_set(set))
            continue;
        void *scratch =
            take_scratch(sondep_attention_scratch_bytes(WIDTH) + sondep_attend_backward_scratch_bytes(WIDTH, KEYS));
        sondep_attend(&b.forward, 1, scratch);
        sondep_attend_backward(&b, 1, scratch);
        assert_gradient(got, attention_loss, dz, x, ALL, "attention");
        free(scratch);
    }
    free(x), free(dz);
}

/* ---- the loss ------------------------------------------------------------------------------------------------------------------ */

enum { ROWS = 4, V = 37 };
static const int64_t targets[ROWS] = {0, 36, -1, 17};

static double cross_entropy_loss(const double *x, const void *ctx)
{
    double loss = 0.0;
    (void)ctx;

    for (int n = 0; n < ROWS; n++) {
        double total = 0.0;
        for (int v = 0; v < V; v++)
            total += exp(x[n * V + v]);
        loss += targets[n] < 0 ? 0.0 : 0.5 * (log(total) - x[n * V + targets[n]]);
    }
    return loss;
}

static void the_loss_has_the_slopes_of_its_forward(void **unused)
{
    float *x = numbers(ROWS * V, 7), got[ROWS * V];
    double loss[ROWS], sum, at[ROWS * V];
    (void)unused;

    for (int i = 0; i < ROWS * V; i++)
        at[i] = x[i] *= 3.0f;
    for (int set = 0; set < N_ALL_SETS; set++) {
        if (!choose_set(set))
            continue;
        memcpy(got, x, sizeof got);
        sondep_cross_entropy(loss, got, V, targets, 0.5f, true, ROWS, V);
        assert_gradient(got, cross_entropy_loss, NULL, x, ROWS * V, "cross-entropy");
        sum = 0.5 * (loss[0] + loss[1] + loss[2] + loss[3]);
        assert_true(fabs(sum - cross_entropy_loss(at, NULL)) <= 1e-6 * sum);
    }
    free(x);
}

/* ---- AdamW ----------------------------------------------------------------------------------------------------------------------- */

static double field(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* Numbers of an array as floats. */
static void read_floats(float *to, const json_t *array, int64_t n)
{
    assert_int_equal(json_array_size(array), n);
    for (int64_t i = 0; i < n; i++)
        to[i] = (float)json_number_value(json_array_get(array, (size_t)i));
}

/* All steps of one run of torch, each compared; the clip is formed from the sum of squares as torch forms it. */
static void check_run(const json_t *run)
{
    enum { N = 21 };
    const json_t *gradients = json_object_get(run, "gradients"), *weights = json_object_get(run, "weights");
    float w[N], m[N] = {0}, v[N] = {0}, g[N], want[N];
    sondep_adamw a = {
        field(run, "rate"), field(run, "beta1"), field(run, "beta2"), field(run, "eps"), field(run, "decay"), 1.0, 0.0, 0.0};

    read_floats(w, json_object_get(run, "start"), N);
    for (size_t i = 0; i < json_array_size(gradients); i++) {
        read_floats(g, json_array_get(gradients, i), N);
        read_floats(want, json_array_get(weights, i), N);
        a.clip = fmin(1.0, field(run, "max_norm") / (sqrt(sondep_sum_squares(g, N)) + 1e-6));
        a.correction1 = 1.0 - pow(a.beta1, (double)i + 1.0);
        a.correction2 = 1.0 - pow(a.beta2, (double)i + 1.0);
        sondep_adamw_step(w, m, v, g, &a, N);
        assert_within(w, want, N, "adamw_torch", "f32");
    }
    assert_true(json_array_size(gradients) > 5);
}

static void steps_are_those_of_torch(void **unused)
{
    json_t *golden = json_load_file("tests/golden/adamw.json", 0, NULL);
    const json_t *run;
    size_t i;
    (void)unused;

    assert_non_null(golden);
    for (int set = 0; set < N_ALL_SETS; set++) {
        if (!choose_set(set))
            continue;
        json_array_foreach(json_object_get(golden, "runs"), i, run) check_run(run);
        assert_int_equal(i, 3);
    }
    json_decref(golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_have_the_slopes_of_their_forward),
        cmocka_unit_test(activations_have_the_slopes_of_their_forward),
        cmocka_unit_test(attention_has_the_slopes_of_its_forward),
        cmocka_unit_test(the_loss_has_the_slopes_of_its_forward),
        cmocka_unit_test(steps_are_those_of_torch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
