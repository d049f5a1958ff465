/* Whole steps of training a sparse autoencoder by the kernels of sparse codes, against dense arithmetic in double: losses and
 * weights of TopK with biases, unit decoder rows, gradients tangent to them, and clipping by the global norm. */
#include "kernel/codes_support.h"

enum { N = 40, D = 12, S = 30, K = 4, STEPS = 5, CODER = S * D, N_WEIGHTS = 2 * CODER + S + D };
static const double RATE = 2e-2, MOST_NORM = 0.5;

/* All weights in one row: encoder (S,D), decoder (S,D), bias of the encoder (S), of the decoder (D). */
enum { W_IN = 0, W_OUT = CODER, B_IN = 2 * CODER, B_OUT = 2 * CODER + S };

/* eps is large enough that a gradient near 0, which is rounding beside its terms, is no step of full size. */
static sondep_adamw adam_of(int step, double clip)
{
    return (sondep_adamw){RATE, 0.9, 0.999, 1e-4, 0.0, clip, 1.0 - pow(0.9, step), 1.0 - pow(0.999, step)};
}

static void first_weights(float *w)
{
    for (int i = 0; i < N_WEIGHTS; i++)
        w[i] = number(1, i) * (i < B_IN ? 0.6f : 0.1f);
    for (int s = 0; s < S; s++) {
        float *row = w + W_OUT + s * D;
        double norm = sqrt(sondep_sum_squares_ref(row, D));
        for (int d = 0; d < D; d++)
            row[d] = (float)(row[d] / norm);
    }
}

/* ---- in double ------------------------------------------------------------------------------------------------------------------- */

/* Codes of one row, dense: the K greatest positive pre-activations. */
static void dense_codes(double *z, const double *w, const float *x)
{
    double pre[S];

    for (int s = 0; s < S; s++) {
        pre[s] = w[B_IN + s];
        for (int d = 0; d < D; d++)
            pre[s] += w[W_IN + s * D + d] * x[d];
    }
    for (int s = 0; s < S; s++) {
        int n_greater = 0;
        for (int t = 0; t < S; t++)
            n_greater += pre[t] > pre[s];
        z[s] = pre[s] > 0.0 && n_greater < K ? pre[s] : 0.0;
    }
}

/* Adds one row's share to the gradient of mean |y - x|^2; returns its share of the loss. */
static double dense_row(double *g, const double *w, const float *x)
{
    double z[S], r[D], loss = 0.0;

    dense_codes(z, w, x);
    for (int d = 0; d < D; d++) {
        double y = w[B_OUT + d];
        for (int s = 0; s < S; s++)
            y += z[s] * w[W_OUT + s * D + d];
        loss += (y - x[d]) * (y - x[d]) / N;
        r[d] = 2.0 * (y - x[d]) / N;
        g[B_OUT + d] += r[d];
    }
    for (int s = 0; s < S; s++) {
        double to_code = 0.0;
        for (int d = 0; d < D; d++) {
            g[W_OUT + s * D + d] += z[s] * r[d];
            to_code += z[s] > 0.0 ? r[d] * w[W_OUT + s * D + d] : 0.0;
        }
        g[B_IN + s] += to_code;
        for (int d = 0; d < D; d++)
            g[W_IN + s * D + d] += to_code * x[d];
    }
    return loss;
}

/* What of the decoder's gradients is along its rows, taken out. */
static void dense_tangent(double *g, const double *w)
{
    for (int s = 0; s < S; s++) {
        double along = 0.0, squares = 0.0;
        for (int i = W_OUT + s * D; i < W_OUT + (s + 1) * D; i++)
            along += g[i] * w[i], squares += w[i] * w[i];
        for (int i = W_OUT + s * D; i < W_OUT + (s + 1) * D; i++)
            g[i] -= along / squares * w[i];
    }
}

/* One step; returns the loss before it. */
static double dense_step(double *w, double *m, double *v, const float *x, int step)
{
    double g[N_WEIGHTS] = {0}, loss = 0.0, squares = 0.0, clip;

    for (int n = 0; n < N; n++)
        loss += dense_row(g, w, x + n * D);
    dense_tangent(g, w);
    for (int i = 0; i < N_WEIGHTS; i++)
        squares += g[i] * g[i];
    clip = fmin(1.0, MOST_NORM / sqrt(squares));
    for (int i = 0; i < N_WEIGHTS; i++) {
        sondep_adamw a = adam_of(step, clip);
        m[i] += (1.0 - a.beta1) * (g[i] * clip - m[i]);
        v[i] += (1.0 - a.beta2) * (g[i] * clip * g[i] * clip - v[i]);
        w[i] -= a.rate * (m[i] / a.correction1) / (sqrt(v[i] / a.correction2) + a.eps);
    }
    for (int s = 0; s < S; s++) {
        double norm = 0.0;
        for (int i = W_OUT + s * D; i < W_OUT + (s + 1) * D; i++)
            norm += w[i] * w[i];
        for (int i = W_OUT + s * D; i < W_OUT + (s + 1) * D; i++)
            w[i] /= sqrt(norm);
    }
    return loss;
}

/* ---- by the kernels ---------------------------------------------------------------------------------------------------------------- */

/* What a step needs besides weights. */
typedef struct workspace {
    sondep_codes codes;
    sondep_columns columns;
    float *residual, *dvalue, of_b_out[D], ones[S];
    double error[N];
    void *scratch;
} workspace;

static workspace take_workspace(void)
{
    workspace k = {
        .codes = take_codes(N, K), .residual = take(N * D * sizeof(float)), .dvalue = take(N * K * sizeof(float))};
    size_t bytes[] = {sondep_encode_scratch_bytes(N, S, D, K), sondep_list_columns_scratch_bytes(S),
                      sondep_feature_scratch_bytes(D, D), sondep_norm_backward_scratch_bytes(N, D)};
    size_t most = 0;

    for (int i = 0; i < 4; i++)
        most = bytes[i] > most ? bytes[i] : most;
    k.scratch = take_scratch(most);
    k.columns.first = take((S + 1) * sizeof(int64_t));
    k.columns.row = take(N * K * sizeof(int32_t));
    k.columns.at = take(N * K * sizeof(int64_t));
    for (int s = 0; s < S; s++)
        k.ones[s] = 1.0f;
    return k;
}

static void free_workspace(workspace *k)
{
    free_codes(&k->codes), free(k->residual), free(k->dvalue), free(k->scratch);
    free(k->columns.first), free(k->columns.row), free(k->columns.at);
}

/* Codes, reconstruction and what goes backward; returns the loss. */
static double forward(workspace *k, const float *w, const float *x)
{
    sondep_selection top = {K, NULL, NULL, false};
    sondep_decode_backward back = {x, D, 2.0f / N, k->residual, k->dvalue, k->error};
    double loss = 0.0;

    sondep_encode(&k->codes, NULL, x, D, w + W_IN, w + B_IN, &top, N, S, D, SONDEP_F32, k->scratch);
    sondep_decode(NULL, &k->codes, w + W_OUT, w + B_OUT, &back, N, D);
    sondep_list_columns(&k->columns, &k->codes, N, S, k->scratch);
    memset(k->of_b_out, 0, sizeof k->of_b_out);
    sondep_add_column_sums(k->of_b_out, k->residual, D, N, D, k->scratch);
    for (int n = 0; n < N; n++)
        loss += k->error[n] / N;
    return loss;
}

static double sparse_step(workspace *k, float *w, float *m, float *v, const float *x, int step)
{
    double loss = forward(k, w, x), squares;
    sondep_feature_term term = {&k->codes, &k->columns, k->dvalue, x, D, k->residual};
    sondep_features f = {w + W_IN, m + W_IN, v + W_IN, w + W_OUT, m + W_OUT, v + W_OUT, w + B_IN,
                         m + B_IN, v + B_IN, NULL,     0.0f,      true,      k->ones};
    sondep_adamw a;

    squares = sondep_feature_squares(&f, &term, 1, S, D, D, k->scratch) + sondep_sum_squares(k->of_b_out, D);
    a = adam_of(step, fmin(1.0, MOST_NORM / sqrt(squares)));
    sondep_feature_step(&f, &term, 1, &a, S, D, D, k->scratch);
    sondep_adamw_step(w + B_OUT, m + B_OUT, v + B_OUT, k->of_b_out, &a, D);
    return loss;
}

static void steps_are_those_of_dense_doubles(void **unused)
{
    (void)unused;
    for (int set = 0; set < N_ALL_SETS; set++) {
        float w[N_WEIGHTS], m[N_WEIGHTS] = {0}, v[N_WEIGHTS] = {0}, want_w[N_WEIGHTS], losses[STEPS], want_losses[STEPS];
        double dense_w[N_WEIGHTS], dense_m[N_WEIGHTS] = {0}, dense_v[N_WEIGHTS] = {0};
        float *x = numbers(STEPS * N * D, 2);
        workspace k;
        if (!choose_set(set)) {
            free(x);
            continue;
        }
        k = take_workspace();
        first_weights(w);
        for (int i = 0; i < N_WEIGHTS; i++)
            dense_w[i] = w[i];
        for (int step = 0; step < STEPS; step++) {
            losses[step] = (float)sparse_step(&k, w, m, v, x + step * N * D, step + 1);
            want_losses[step] = (float)dense_step(dense_w, dense_m, dense_v, x + step * N * D, step + 1);
        }
        for (int i = 0; i < N_WEIGHTS; i++)
            want_w[i] = (float)dense_w[i];
        assert_within(losses, want_losses, STEPS, "code_steps_loss", "f32");
        assert_within(w, want_w, N_WEIGHTS, "code_steps", "f32");
        assert_true(fabs(sqrt(sondep_sum_squares(w + W_OUT, D)) - 1.0) < 1e-6);
        free(x), free_workspace(&k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(steps_are_those_of_dense_doubles)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
