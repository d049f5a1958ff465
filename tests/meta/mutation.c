/* mutation.c - wrong kernels, to see that the tests which compare them turn red.
 *
 * Linked (with ld's --wrap) into a second copy of such a test, it stands between the kernels and everyone who calls them.
 * The environment variable SONDE_MUTATION chooses what is wrong; without it nothing is, and the copy must pass. SONDE_TESTS
 * names the tests of it that run (with * and ?): the one that should notice is enough.
 */
#include "kernel/kernel.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Whether the mutation `name` is asked for. */
static bool is_on(const char *name)
{
    const char *wanted = getenv("SONDE_MUTATION");
    return wanted != NULL && strcmp(wanted, name) == 0;
}

/* Before main. */
__attribute__((constructor)) static void choose_tests(void)
{
    if (getenv("SONDE_TESTS") != NULL)
        cmocka_set_test_filter(getenv("SONDE_TESTS"));
}

/* Makes n numbers wrong as the mutation says; `kernel` is the first half of its name. */
static void spoil(const char *kernel, float *x, int64_t n)
{
    static const char *const kinds[] = {"nan", "sign", "zero", "scale"};
    char name[64];

    for (int kind = 0; kind < 4 && n > 0; kind++) {
        snprintf(name, sizeof name, "%s-%s", kernel, kinds[kind]);
        if (!is_on(name))
            continue;
        if (kind == 0)
            x[n - 1] = NAN;
        for (int64_t i = 0; i < n && kind > 0; i++)
            x[i] = kind == 1 ? -x[i] : kind == 2 ? 0.0f : x[i] * 1.0005f;
    }
}

void __real_sondep_product(float *c, int64_t ldc, const sondep_matrix *a, const sondep_matrix *b, int64_t M, int64_t N,
                           int64_t K, const sondep_epilogue *epilogue, sondep_precision precision, void *scratch);
void __wrap_sondep_product(float *c, int64_t ldc, const sondep_matrix *a, const sondep_matrix *b, int64_t M, int64_t N,
                           int64_t K, const sondep_epilogue *epilogue, sondep_precision precision, void *scratch);
void __wrap_sondep_product(float *c, int64_t ldc, const sondep_matrix *a, const sondep_matrix *b, int64_t M, int64_t N,
                           int64_t K, const sondep_epilogue *epilogue, sondep_precision precision, void *scratch)
{
    __real_sondep_product(c, ldc, a, b, M, N, K, epilogue, precision, scratch);
    for (int64_t i = 0; i < M; i++)
        spoil("product", c + i * ldc, N);
}

void __real_sondep_activate(float *out, const float *in, sondep_act act, int64_t n);
void __wrap_sondep_activate(float *out, const float *in, sondep_act act, int64_t n);
void __wrap_sondep_activate(float *out, const float *in, sondep_act act, int64_t n)
{
    __real_sondep_activate(out, in, act, n);
    spoil("activate", out, n);
}

void __real_sondep_softmax_rows(float *x, int64_t n_rows, int64_t n_columns);
void __wrap_sondep_softmax_rows(float *x, int64_t n_rows, int64_t n_columns);
void __wrap_sondep_softmax_rows(float *x, int64_t n_rows, int64_t n_columns)
{
    __real_sondep_softmax_rows(x, n_rows, n_columns);
    spoil("softmax", x, n_rows * n_columns);
}

void __real_sondep_attend(const sondep_attention *sequences, int64_t n, void *scratch);
void __wrap_sondep_attend(const sondep_attention *sequences, int64_t n, void *scratch);
void __wrap_sondep_attend(const sondep_attention *sequences, int64_t n, void *scratch)
{
    __real_sondep_attend(sequences, n, scratch);
    for (int64_t s = 0; s < n; s++)
        for (int64_t i = 0; i < sequences[s].n_query; i++)
            spoil("attend", sequences[s].z + i * sequences[s].ld_z, sequences[s].n_heads * sequences[s].d_head);
}

void __real_sondep_norm(float *y, float *normalized, float *scale, const float *x, const float *w, const float *b,
                        bool is_rms, double eps, int64_t N, int64_t D);
void __wrap_sondep_norm(float *y, float *normalized, float *scale, const float *x, const float *w, const float *b,
                        bool is_rms, double eps, int64_t N, int64_t D);
void __wrap_sondep_norm(float *y, float *normalized, float *scale, const float *x, const float *w, const float *b,
                        bool is_rms, double eps, int64_t N, int64_t D)
{
    __real_sondep_norm(y, normalized, scale, x, w, b, is_rms, eps, N, D);
    spoil("norm", scale, scale != NULL ? N : 0);
}

void __real_sondep_rotate(float *out, const float *x, const int64_t *position, const float *cos, const float *sin, int64_t N,
                          int64_t n_heads, int64_t d, int64_t ld_out, int64_t ld_x);
void __wrap_sondep_rotate(float *out, const float *x, const int64_t *position, const float *cos, const float *sin, int64_t N,
                          int64_t n_heads, int64_t d, int64_t ld_out, int64_t ld_x);
void __wrap_sondep_rotate(float *out, const float *x, const int64_t *position, const float *cos, const float *sin, int64_t N,
                          int64_t n_heads, int64_t d, int64_t ld_out, int64_t ld_x)
{
    __real_sondep_rotate(out, x, position, cos, sin, N, n_heads, d, ld_out, ld_x);
    for (int64_t i = 0; i < N; i++)
        spoil("rotate", out + i * ld_out, n_heads * d);
}

/* ---- the way back --------------------------------------------------------------------------------------------------------- */

void __real_sondep_norm_backward(float *dx, float *dw, float *db, const float *dy, const float *x, const float *w,
                                 bool is_rms, double eps, int64_t N, int64_t D, bool adds, void *scratch);
void __wrap_sondep_norm_backward(float *dx, float *dw, float *db, const float *dy, const float *x, const float *w,
                                 bool is_rms, double eps, int64_t N, int64_t D, bool adds, void *scratch);
void __wrap_sondep_norm_backward(float *dx, float *dw, float *db, const float *dy, const float *x, const float *w,
                                 bool is_rms, double eps, int64_t N, int64_t D, bool adds, void *scratch)
{
    __real_sondep_norm_backward(dx, dw, db, dy, x, w, is_rms, eps, N, D, adds, scratch);
    spoil("norm_backward", dx, N * D);
}

void __real_sondep_activate_backward(float *dpre, float *dup, float *post, const float *dpost, const float *pre,
                                     const float *up, sondep_act act, int64_t n);
void __wrap_sondep_activate_backward(float *dpre, float *dup, float *post, const float *dpost, const float *pre,
                                     const float *up, sondep_act act, int64_t n);
void __wrap_sondep_activate_backward(float *dpre, float *dup, float *post, const float *dpost, const float *pre,
                                     const float *up, sondep_act act, int64_t n)
{
    __real_sondep_activate_backward(dpre, dup, post, dpost, pre, up, act, n);
    spoil("activate_backward", dpre, n);
}

void __real_sondep_attend_backward(const sondep_attention_backward *sequences, int64_t n, void *scratch);
void __wrap_sondep_attend_backward(const sondep_attention_backward *sequences, int64_t n, void *scratch);
void __wrap_sondep_attend_backward(const sondep_attention_backward *sequences, int64_t n, void *scratch)
{
    __real_sondep_attend_backward(sequences, n, scratch);
    for (int64_t s = 0; s < n; s++)
        for (int64_t j = 0; j < sequences[s].forward.n_key; j++)
            spoil("attend_backward", sequences[s].dk + j * sequences[s].ld_dk,
                  sequences[s].forward.n_kv_heads * sequences[s].forward.d_head);
}

void __real_sondep_cross_entropy(double *loss, float *x, int64_t ld, const int64_t *target, float weight, bool is_gradient,
                                 int64_t N, int64_t V);
void __wrap_sondep_cross_entropy(double *loss, float *x, int64_t ld, const int64_t *target, float weight, bool is_gradient,
                                 int64_t N, int64_t V);
void __wrap_sondep_cross_entropy(double *loss, float *x, int64_t ld, const int64_t *target, float weight, bool is_gradient,
                                 int64_t N, int64_t V)
{
    __real_sondep_cross_entropy(loss, x, ld, target, weight, is_gradient, N, V);
    for (int64_t i = 0; i < N; i++)
        spoil("cross_entropy", x + i * ld, is_gradient ? V : 0);
}

void __real_sondep_add_column_sums(float *out, const float *x, int64_t ld, int64_t N, int64_t D, void *scratch);
void __wrap_sondep_add_column_sums(float *out, const float *x, int64_t ld, int64_t N, int64_t D, void *scratch);
void __wrap_sondep_add_column_sums(float *out, const float *x, int64_t ld, int64_t N, int64_t D, void *scratch)
{
    __real_sondep_add_column_sums(out, x, ld, N, D, scratch);
    spoil("add_column_sums", out, D);
}

void __real_sondep_scatter_add_rows(float *table, const float *x, const int64_t *ids, int64_t N, int64_t D);
void __wrap_sondep_scatter_add_rows(float *table, const float *x, const int64_t *ids, int64_t N, int64_t D);
void __wrap_sondep_scatter_add_rows(float *table, const float *x, const int64_t *ids, int64_t N, int64_t D)
{
    __real_sondep_scatter_add_rows(table, x, ids, N, D);
    if (N > 0)
        spoil("scatter_add_rows", table + ids[N - 1] * D, D);
}

double __real_sondep_sum_squares(const float *x, int64_t n);
double __wrap_sondep_sum_squares(const float *x, int64_t n);
double __wrap_sondep_sum_squares(const float *x, int64_t n)
{
    double sum = __real_sondep_sum_squares(x, n);
    return is_on("sum_squares-scale") ? sum * 1.0005 : sum;
}

void __real_sondep_adamw_step(float *w, float *m, float *v, const float *g, const sondep_adamw *a, int64_t n);
void __wrap_sondep_adamw_step(float *w, float *m, float *v, const float *g, const sondep_adamw *a, int64_t n);
void __wrap_sondep_adamw_step(float *w, float *m, float *v, const float *g, const sondep_adamw *a, int64_t n)
{
    __real_sondep_adamw_step(w, m, v, g, a, n);
    spoil("adamw_step", v, n);
}

/* ---- drawing tokens ------------------------------------------------------------------------------------------------------- */

void __real_sondep_draw(int32_t *ids, const float *logits, int64_t N, int64_t V, const sondep_draw_rule *rule,
                        const double *uniform, void *scratch);
void __wrap_sondep_draw(int32_t *ids, const float *logits, int64_t N, int64_t V, const sondep_draw_rule *rule,
                        const double *uniform, void *scratch);
void __wrap_sondep_draw(int32_t *ids, const float *logits, int64_t N, int64_t V, const sondep_draw_rule *rule,
                        const double *uniform, void *scratch)
{
    __real_sondep_draw(ids, logits, N, V, rule, uniform, scratch);
    /* the token behind the one that was drawn */
    for (int64_t i = 0; i < N && is_on("draw-next"); i++)
        ids[i] = ids[i] + 1 < V ? ids[i] + 1 : ids[i];
}

/* ---- sparse codes ----------------------------------------------------------------------------------------------------------- */

void __real_sondep_encode(const sondep_codes *out, int64_t *found, const float *x, int64_t ld_x, const float *w,
                          const float *b, const sondep_selection *selection, int64_t N, int64_t S, int64_t D,
                          sondep_precision precision, void *scratch);
void __wrap_sondep_encode(const sondep_codes *out, int64_t *found, const float *x, int64_t ld_x, const float *w,
                          const float *b, const sondep_selection *selection, int64_t N, int64_t S, int64_t D,
                          sondep_precision precision, void *scratch);
void __wrap_sondep_encode(const sondep_codes *out, int64_t *found, const float *x, int64_t ld_x, const float *w,
                          const float *b, const sondep_selection *selection, int64_t N, int64_t S, int64_t D,
                          sondep_precision precision, void *scratch)
{
    __real_sondep_encode(out, found, x, ld_x, w, b, selection, N, S, D, precision, scratch);
    for (int64_t n = 0; n < N; n++) {
        spoil("encode", out->value + n * out->capacity, out->count[n]);
        /* one pair fewer, as if it were not among the k largest; one that is not counted */
        out->count[n] -= out->count[n] > 0 && is_on("encode-fewer");
        if (found && is_on("encode-found"))
            found[n] += found[n] >= 0;
    }
}

void __real_sondep_decode(float *y, const sondep_codes *codes, const float *w, const float *b,
                          const sondep_decode_backward *backward, int64_t N, int64_t D);
void __wrap_sondep_decode(float *y, const sondep_codes *codes, const float *w, const float *b,
                          const sondep_decode_backward *backward, int64_t N, int64_t D);
void __wrap_sondep_decode(float *y, const sondep_codes *codes, const float *w, const float *b,
                          const sondep_decode_backward *backward, int64_t N, int64_t D)
{
    __real_sondep_decode(y, codes, w, b, backward, N, D);
    if (backward)
        spoil("decode", backward->residual, N * D);
    for (int64_t n = 0; n < N && backward && backward->dvalue; n++)
        spoil("decode_dvalue", backward->dvalue + n * codes->capacity, codes->count[n]);
}

void __real_sondep_pursue(const sondep_codes *out, const sondep_pursuit *p, int64_t N, int64_t S, int64_t D);
void __wrap_sondep_pursue(const sondep_codes *out, const sondep_pursuit *p, int64_t N, int64_t S, int64_t D);
void __wrap_sondep_pursue(const sondep_codes *out, const sondep_pursuit *p, int64_t N, int64_t S, int64_t D)
{
    __real_sondep_pursue(out, p, N, S, D);
    for (int64_t n = 0; n < N; n++)
        spoil("pursue", out->value + n * out->capacity, out->count[n]);
}

void __real_sondep_list_columns(const sondep_columns *out, const sondep_codes *codes, int64_t N, int64_t S, void *scratch);
void __wrap_sondep_list_columns(const sondep_columns *out, const sondep_codes *codes, int64_t N, int64_t S, void *scratch);
void __wrap_sondep_list_columns(const sondep_columns *out, const sondep_codes *codes, int64_t N, int64_t S, void *scratch)
{
    __real_sondep_list_columns(out, codes, N, S, scratch);
    /* two neighbours the wrong way round */
    if (out->first[S] > 1 && is_on("list_columns-order")) {
        int64_t at = out->at[0];
        out->at[0] = out->at[1];
        out->at[1] = at;
    }
}

void __real_sondep_feature_step(const sondep_features *f, const sondep_feature_term *terms, int64_t n_terms,
                                const sondep_adamw *a, int64_t S, int64_t D, int64_t D_out, void *scratch);
void __wrap_sondep_feature_step(const sondep_features *f, const sondep_feature_term *terms, int64_t n_terms,
                                const sondep_adamw *a, int64_t S, int64_t D, int64_t D_out, void *scratch);
void __wrap_sondep_feature_step(const sondep_features *f, const sondep_feature_term *terms, int64_t n_terms,
                                const sondep_adamw *a, int64_t S, int64_t D, int64_t D_out, void *scratch)
{
    __real_sondep_feature_step(f, terms, n_terms, a, S, D, D_out, scratch);
    spoil("feature_step", f->w_in, S * D);
    spoil("feature_step_out", f->w_out, S * D_out);
    spoil("feature_step_moment", f->v_in, S * D);
}

double __real_sondep_feature_squares(const sondep_features *f, const sondep_feature_term *terms, int64_t n_terms, int64_t S,
                                     int64_t D, int64_t D_out, void *scratch);
double __wrap_sondep_feature_squares(const sondep_features *f, const sondep_feature_term *terms, int64_t n_terms, int64_t S,
                                     int64_t D, int64_t D_out, void *scratch);
double __wrap_sondep_feature_squares(const sondep_features *f, const sondep_feature_term *terms, int64_t n_terms, int64_t S,
                                     int64_t D, int64_t D_out, void *scratch)
{
    double sum = __real_sondep_feature_squares(f, terms, n_terms, S, D, D_out, scratch);
    return is_on("feature_squares-scale") ? sum * 1.0005 : sum;
}
