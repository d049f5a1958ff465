/* kernel/ref.h - the definition of every operation of kernel.h, in plain C.    floor 2: kernel
 *
 * Sums in double, one file each in kernel/ref/. This is what `ref` runs, and what the fast versions are checked against.
 */
#ifndef SONDEP_KERNEL_REF_H
#define SONDEP_KERNEL_REF_H

#include "kernel/kernel.h"

void sondep_product_ref(float *c, int64_t ldc, const sondep_matrix *a, const sondep_matrix *b, int64_t M, int64_t N,
                        int64_t K, const sondep_epilogue *epilogue, sondep_precision precision, void *scratch);
float sondep_finish_ref(const sondep_epilogue *e, float v, int64_t i, int64_t j); /* the epilogue (may be NULL) of one sum */
size_t sondep_product_scratch_bytes_ref(int64_t M, int64_t N, int64_t K);
void sondep_attend_ref(const sondep_attention *sequences, int64_t n, void *scratch);
size_t sondep_attention_scratch_bytes_ref(int64_t d_head);
void sondep_attention_scores_ref(float *scores, const sondep_attention *sequence, void *scratch);
void sondep_softmax_rows_ref(float *x, int64_t n_rows, int64_t n_columns);
void sondep_attention_mix_ref(const float *pattern, const sondep_attention *sequence, void *scratch);
void sondep_norm_ref(float *y, float *normalized, float *scale, const float *x, const float *w, const float *b, bool is_rms,
                     double eps, int64_t N, int64_t D);
void sondep_norm_gain_ref(float *y, const float *normalized, const float *w, const float *b, int64_t N, int64_t D);
double sondep_act_ref(sondep_act act, double x); /* the formulas, in double */
void sondep_activate_ref(float *out, const float *in, sondep_act act, int64_t n);
void sondep_add_ref(float *out, const float *a, const float *b, int64_t n);
void sondep_multiply_ref(float *out, const float *a, const float *b, int64_t n);
void sondep_rotate_ref(float *out, const float *x, const int64_t *position, const float *cos, const float *sin, int64_t N,
                       int64_t n_heads, int64_t d, int64_t ld_out, int64_t ld_x);
void sondep_gather_rows_ref(float *out, const sondep_matrix *table, const int64_t *ids, bool add, int64_t N, int64_t D);
double sondep_log_sum_exp_ref(const float *x, int64_t n);
int64_t sondep_find_nonfinite_ref(const float *x, int64_t n, bool allow_minus_infinity);
void sondep_norm_backward_ref(float *dx, float *dw, float *db, const float *dy, const float *x, const float *w, bool is_rms,
                              double eps, int64_t N, int64_t D, bool adds, void *scratch);
size_t sondep_norm_backward_scratch_bytes_ref(int64_t N, int64_t D);
double sondep_act_slope_ref(sondep_act act, double x); /* the derivatives of the formulas, in double */
void sondep_activate_backward_ref(float *dpre, float *dup, float *post, const float *dpost, const float *pre,
                                  const float *up, sondep_act act, int64_t n);
void sondep_attend_backward_ref(const sondep_attention_backward *sequences, int64_t n, void *scratch);
size_t sondep_attend_backward_scratch_bytes_ref(int64_t d_head, int64_t n_key);
void sondep_cross_entropy_ref(double *loss, float *x, int64_t ld, const int64_t *target, float weight, bool is_gradient,
                              int64_t N, int64_t V);
void sondep_add_column_sums_ref(float *out, const float *x, int64_t ld, int64_t N, int64_t D, void *scratch);
void sondep_scatter_add_rows_ref(float *table, const float *x, const int64_t *ids, int64_t N, int64_t D);
double sondep_sum_squares_ref(const float *x, int64_t n);
void sondep_adamw_step_ref(float *w, float *m, float *v, const float *g, const sondep_adamw *a, int64_t n);

void sondep_encode_ref(const sondep_codes *out, int64_t *found, const float *x, int64_t ld_x, const float *w, const float *b,
                       const sondep_selection *selection, int64_t N, int64_t S, int64_t D, sondep_precision precision,
                       void *scratch);
float sondep_key_ref(const sondep_selection *selection, float v, int64_t s); /* what of v[s] is compared */
size_t sondep_encode_scratch_bytes_ref(int64_t N, int64_t S, int64_t D, int64_t k);
void sondep_decode_ref(float *y, const sondep_codes *codes, const float *w, const float *b,
                       const sondep_decode_backward *backward, int64_t N, int64_t D);
void sondep_pursue_ref(const sondep_codes *out, const sondep_pursuit *p, int64_t N, int64_t S, int64_t D);
void sondep_list_columns_ref(const sondep_columns *out, const sondep_codes *codes, int64_t N, int64_t S, void *scratch);
size_t sondep_list_columns_scratch_bytes_ref(int64_t S);
void sondep_feature_step_ref(const sondep_features *f, const sondep_feature_term *terms, int64_t n_terms,
                             const sondep_adamw *a, int64_t S, int64_t D, int64_t D_out, void *scratch);
double sondep_feature_squares_ref(const sondep_features *f, const sondep_feature_term *terms, int64_t n_terms, int64_t S,
                                  int64_t D, int64_t D_out, void *scratch);
size_t sondep_feature_scratch_bytes_ref(int64_t D, int64_t D_out);
double sondep_toy_rows_ref(const sondep_toy *t, const float *x, float *scratch);
void sondep_toy_draw_ref(float *x, const sondep_toy_sets *sets, uint32_t *state);

void sondep_draw_ref(int32_t *ids, const float *logits, int64_t N, int64_t V, const sondep_draw_rule *rule,
                     const double *uniform, void *scratch);
size_t sondep_draw_scratch_bytes_ref(int64_t V);
double sondep_fma_flops_ref(int64_t n); /* n rounds of independent multiply-adds; returns how many flops */

/* Element (i, j) of an operand as float; data may lie at any address, as it does in a mapped file. */
float sondep_matrix_get(const sondep_matrix *m, int64_t i, int64_t j);

#endif
