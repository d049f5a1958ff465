/* kernel/kernel.h - the operations that time goes into, behind one table.      floor 2: kernel
 *
 * Each operation is defined by plain C in kernel/ref/, with sums in double; fast versions are laid over it by what the
 * processor has. Operations marked (parallel) run on sonde_threads() threads and give the same bytes for any number of
 * them: work is cut by shape alone and each output element is summed by one thread in a fixed order. The others are
 * single-threaded building blocks.
 */
#ifndef SONDEP_KERNEL_H
#define SONDEP_KERNEL_H

#include <sonde/tensor.h>

#include "base/base.h"

/* ---- activation functions ---------------------------------------------------------------------------------------- */

/* The one list: those of transformers' ACT2FN that are a function of one number: value, names there. */
typedef enum sondep_act {
    SONDEP_ACT_LINEAR,
    SONDEP_ACT_RELU,
    SONDEP_ACT_GELU,      /* x Phi(x), by erf */
    SONDEP_ACT_GELU_TANH, /* gelu_new, gelu_pytorch_tanh, gelu_fast, ... */
    SONDEP_ACT_SILU,
    SONDEP_ACT_QUICK_GELU, /* x sigmoid(1.702 x) */
    SONDEP_ACT_TANH,
    SONDEP_ACT_SIGMOID,
    SONDEP_ACT_RELU2,
    SONDEP_ACT_RELU6,
    SONDEP_ACT_LEAKY_RELU, /* slope 0.01 */
    SONDEP_ACT_MISH,
    SONDEP_ACT_LAPLACE,
    SONDEP_ACT_GELU_10, /* gelu clipped to [-10, 10] */
    SONDEP_ACT_HARDSWISH,
    SONDEP_ACT_SQRT_SOFTPLUS,
    SONDEP_N_ACTS
} sondep_act;

/* Activation by transformers' name. Errors: SONDE_E_UNSUPPORTED names it. */
sonde_status sondep_act_parse(sondep_act *out, const char *name);

/* ---- products ------------------------------------------------------------------------------------------------------- */

/* A matrix operand with any strides, in elements; weights are used in the type and layout in which they are stored (a
 * Conv1D weight [K, N] has row_stride N, col_stride 1; an nn.Linear weight [N, K] read as [K, N] has row_stride 1,
 * col_stride K). */
typedef struct sondep_matrix {
    const void *data;
    sonde_dtype dtype; /* f32, bf16, f16 */
    int64_t row_stride, col_stride;
} sondep_matrix;

/* What happens to a product before it is stored: v = sum + bias[j]; pre[i,j] = v; v = act(v); v *= gate[i,j];
 * v = residual[i,j] + v. NULL leaves a step out. Each step rounds to float by itself, so that doing it later in a pass of
 * its own gives the same bits. residual may be the output itself. */
typedef struct sondep_epilogue {
    const float *bias; /* (N) */
    float *pre;        /* (M,N), row stride ld_pre */
    int64_t ld_pre;
    sondep_act act;
    const float *gate; /* (M,N) */
    int64_t ld_gate;
    const float *residual; /* (M,N) */
    int64_t ld_residual;
} sondep_epilogue;

typedef enum sondep_precision { SONDEP_F32, SONDEP_BF16 } sondep_precision;

/* C = epilogue(A B)  (parallel)
 *
 * c (M,N) row stride ldc; a (M,K) f32, any strides; b (K,N) any of the types; epilogue NULL: plain product
 * scratch: sondep_product_scratch_bytes(M, N, K) bytes, 64-byte aligned, for packed panels
 *
 * M of a few rows (8 or fewer) takes a path that reads B where it lies. The bits of a row do not depend on M (with BLAS they
 * may). bf16 precision rounds both factors to nearest-even bf16 and sums in f32.
 * Cost: 2 M N K flops. Reference: kernel/ref/product.c. */
void sondep_product(float *c, int64_t ldc, const sondep_matrix *a, const sondep_matrix *b, int64_t M, int64_t N, int64_t K,
                    const sondep_epilogue *epilogue, sondep_precision precision, void *scratch);
size_t sondep_product_scratch_bytes(int64_t M, int64_t N, int64_t K);

/* Eigenvalues, ascending, and eigenvectors of a symmetric matrix a (n,n) in double, of which the lower triangle is read: row j of a
 * becomes the vector of value j, of length 1. One thread. Errors: SONDE_E_RANGE, SONDE_E_NONFINITE, SONDE_E_NOMEM.
 * Source: LAPACK's dsyev. */
sonde_status sondep_eigen_symmetric(double *values, double *a, int64_t n);

/* ---- attention ------------------------------------------------------------------------------------------------------- */

/* Rows of q, k, v and z are positions; heads lie side by side within a row. */
typedef struct sondep_attention {
    const float *q, *k, *v; /* q: n_query rows; k, v: n_key rows */
    float *z;               /* n_query rows */
    int64_t ld_q, ld_k, ld_v, ld_z;
    int64_t n_query, n_key; /* query i sees keys 0 .. n_key - n_query + i (causal) */
    int64_t n_heads, n_kv_heads, d_head;
    float scale; /* scores are q . k * scale */
} sondep_attention;

/* z = softmax(q k^T scale + causal) v for n sequences  (parallel over sequences, heads and blocks of queries); T x T is never
 * held. scratch: sondep_attention_scratch_bytes(largest d_head). Reference: kernel/ref/attention.c. */
void sondep_attend(const sondep_attention *sequences, int64_t n, void *scratch);
size_t sondep_attention_scratch_bytes(int64_t d_head);

/* The same in three steps, for when the interior is hooked (each parallel), one sequence:
 * scores (H, n_query, n_key) = q k^T scale, -inf where masked; pattern = softmax of each row, in place, a row that is all
 * -inf becomes 0; z = pattern v. */
void sondep_attention_scores(float *scores, const sondep_attention *sequence, void *scratch);
void sondep_softmax_rows(float *x, int64_t n_rows, int64_t n_columns);
void sondep_attention_mix(const float *pattern, const sondep_attention *sequence, void *scratch);

/* ---- rows ------------------------------------------------------------------------------------------------------------- */

/* LayerNorm (is_rms false: mean subtracted) or RMSNorm of N rows  (parallel).
 * normalized = (x - mean) / scale, scale = sqrt(mean((x - mean)^2) + eps); y = normalized * w + b (b may be NULL).
 * y, normalized (N,D) and scale (N) may each be NULL; bits do not depend on which are wanted. Mean and squares are summed in double. */
void sondep_norm(float *y, float *normalized, float *scale, const float *x, const float *w, const float *b, bool is_rms,
                 double eps, int64_t N, int64_t D);

/* y = normalized * w + b: the second half of the above, when the first was changed by a hook (parallel). */
void sondep_norm_gain(float *y, const float *normalized, const float *w, const float *b, int64_t N, int64_t D);

/* out[i] = act(in[i]); out may be in  (parallel). Largest error in units of the last place: see kernel/x86/act.c. */
void sondep_activate(float *out, const float *in, sondep_act act, int64_t n);

/* out = a + b, out = a * b element by element (parallel); out may be either. */
void sondep_add(float *out, const float *a, const float *b, int64_t n);
void sondep_multiply(float *out, const float *a, const float *b, int64_t n);

/* Rotary embedding in place on N rows of n_heads heads of width d (parallel): with (c, s) = table[position[n]][i],
 * i < d/2:  x[i] = x[i] c - x[i + d/2] s,  x[i + d/2] = x[i + d/2] c + x[i] s   (Hugging Face's half layout). out may be x.
 * cos, sin (positions, d/2). */
void sondep_rotate(float *out, const float *x, const int64_t *position, const float *cos, const float *sin, int64_t N,
                   int64_t n_heads, int64_t d, int64_t ld_out, int64_t ld_x);

/* out[n] (N,D) = table row ids[n] as f32 (+ if add) (parallel). */
void sondep_gather_rows(float *out, const sondep_matrix *table, const int64_t *ids, bool add, int64_t N, int64_t D);

/* log(sum(exp(x))) of a row, in double around the row's maximum; -inf entries count as 0. */
double sondep_log_sum_exp(const float *x, int64_t n);

/* Index of the first element that is not finite (skipping -inf if allowed), or -1  (parallel). */
int64_t sondep_find_nonfinite(const float *x, int64_t n, bool allow_minus_infinity);

/* ---- gradients --------------------------------------------------------------------------------------------------------- */

/* Backward partners of the operations above, all (parallel). d<name> is the derivative of the loss by <name>. Where a
 * gradient is said to be added to, what lies there before counts; parameters' gradients are always added to. */

/* Gradient of sondep_norm, from its input x: with n = (x - mean) / scale and g = dy w,
 *   dx = (g - mean(g) - n mean(g n)) / scale   (RMSNorm: without mean(g));   dw += sum_rows dy n;   db += sum_rows dy
 * dx (N,D) is written, or added to with `adds`; it may be dy unless it is added to. dw, db (D) may be NULL. Sums over rows go by blocks whose size
 * depends on the shape alone. scratch: sondep_norm_backward_scratch_bytes. */
void sondep_norm_backward(float *dx, float *dw, float *db, const float *dy, const float *x, const float *w, bool is_rms,
                          double eps, int64_t N, int64_t D, bool adds, void *scratch);
size_t sondep_norm_backward_scratch_bytes(int64_t N, int64_t D);

/* Gradient of post = act(pre), or of post = act(pre) up:   dpre = dpost act'(pre) [up];   dup = dpost act(pre)
 * and post once more, as the forward pass had it. up and dup are both NULL or both not; post may be NULL; dpre may be dpost,
 * post may be pre and dup may be up: each element is read before it is written. */
void sondep_activate_backward(float *dpre, float *dup, float *post, const float *dpost, const float *pre, const float *up,
                              sondep_act act, int64_t n);

/* Gradient of sondep_attend, from its inputs; heads lie side by side as there. dk and dv are summed over the heads of a group. */
typedef struct sondep_attention_backward {
    sondep_attention forward; /* z as it was computed; n_query and n_key as there */
    const float *dz;          /* n_query rows */
    float *dq, *dk, *dv;      /* written whole; n_query, n_key, n_key rows */
    int64_t ld_dz, ld_dq, ld_dk, ld_dv;
} sondep_attention_backward;

/* With p = softmax(q k^T scale + causal), s_i = sum_d dz_id z_id:   dv = p^T dz;   ds = p (dz v^T - s);
 * dq = ds k scale;   dk = ds^T q scale   for n sequences (parallel over sequences and groups of heads); only a block of queries
 * by all keys is held. scratch: sondep_attend_backward_scratch_bytes(largest d_head, largest n_key).
 * Source: Dao et al. 2022, arXiv 2205.14135, algorithm 4. */
void sondep_attend_backward(const sondep_attention_backward *sequences, int64_t n, void *scratch);
size_t sondep_attend_backward_scratch_bytes(int64_t d_head, int64_t n_key);

/* Cross-entropy of rows of logits, and its gradient in their place:
 *   loss[i] = log(sum_v exp(x[i,v])) - x[i,target[i]];   x[i,v] = (softmax(x[i])[v] - [v == target[i]]) weight
 * x (N,V), rows ld apart; target -1: the row does not count, its loss and gradient are 0. With is_gradient false x stays as it is. */
void sondep_cross_entropy(double *loss, float *x, int64_t ld, const int64_t *target, float weight, bool is_gradient,
                          int64_t N, int64_t V);

/* out[c] += sum_rows x[n,c], rows ld apart; by blocks of rows as in sondep_norm_backward, with its scratch. */
void sondep_add_column_sums(float *out, const float *x, int64_t ld, int64_t N, int64_t D, void *scratch);

/* table[ids[n]] += x[n], rows of D floats, in the order of n. */
void sondep_scatter_add_rows(float *table, const float *x, const int64_t *ids, int64_t N, int64_t D);

/* Sum of squares in double: blocks of a fixed size, joined in order. */
double sondep_sum_squares(const float *x, int64_t n);

/* One step of AdamW on n parameters, with step size and bias corrections as numbers:
 *   g' = g clip;  m = m + (1 - beta1) (g' - m);  v = v + (1 - beta2) (g'^2 - v);
 *   w = w (1 - rate decay) - rate (m / correction1) / (sqrt(v / correction2) + eps);   correction_i = 1 - beta_i^step
 * Source: Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2, as torch.optim.AdamW computes it. */
typedef struct sondep_adamw {
    double rate, beta1, beta2, eps, decay, clip, correction1, correction2;
} sondep_adamw;
void sondep_adamw_step(float *w, float *m, float *v, const float *g, const sondep_adamw *a, int64_t n);

/* ---- sparse codes --------------------------------------------------------------------------------------------------------- */

/* What training of sparse autoencoders stands on. Rows of the encoder and of the decoder are features: both are feature-major.
 * The S pre-activations of a row are never written, and neither are gradients of features. */

/* Codes of N rows: row n has count[n] pairs from n * capacity on, indices ascending. What is behind them is not touched. */
typedef struct sondep_codes {
    int32_t *index; /* (N,capacity) */
    float *value;   /* (N,capacity) */
    int64_t *count; /* (N) */
    int64_t capacity;
} sondep_codes;

/* What a row keeps of its S pre-activations: of those whose key is above the threshold, the k with the largest keys, the
 * lower index first among equals. The key of v is v, or |v|, times scale. */
typedef struct sondep_selection {
    int64_t k;              /* 1 .. capacity */
    const float *scale;     /* (S), norms of decoder rows for instance; NULL: 1 */
    const float *threshold; /* (S); NULL: 0 */
    bool is_absolute;       /* keys are |v|; values keep their sign */
} sondep_selection;

/* v[n,s] = sum_d x[n,d] w[s,d] + b[s]; pairs of row n: those that the selection keeps, value = v  (parallel)
 * x (N,D) row stride ld_x; w (S,D); b (S) or NULL; S < 2^31
 * found (N) or NULL: how many keys of the row were above their thresholds, which may be more than k; -1 where a key or a
 *   threshold is NaN: the row then has no pairs
 * precision: bf16 rounds both factors, as in sondep_product
 * scratch: sondep_encode_scratch_bytes(N, S, D, k) bytes, 64-byte aligned
 *
 * The bits of a row do not depend on N. Cost: 2 N S D flops. Reference: kernel/ref/encode.c. */
void sondep_encode(const sondep_codes *out, int64_t *found, const float *x, int64_t ld_x, const float *w, const float *b,
                   const sondep_selection *selection, int64_t N, int64_t S, int64_t D, sondep_precision precision,
                   void *scratch);
size_t sondep_encode_scratch_bytes(int64_t N, int64_t S, int64_t D, int64_t k);

/* What a pass over rows of codes gives besides y: r[n] = (y[n] - target[n]) factor;  dvalue[n,i] = r[n] . w[index[n,i]];
 * error[n] = |y[n] - target[n]|^2. With the factor of the loss, r is its gradient by y, and dvalue by the values. */
typedef struct sondep_decode_backward {
    const float *target; /* (N,D), row stride ld_target */
    int64_t ld_target;
    float factor;
    float *residual; /* r (N,D) */
    float *dvalue;   /* (N,capacity), or NULL */
    double *error;   /* (N), or NULL */
} sondep_decode_backward;

/* y[n] = b + sum_i value[n,i] w[index[n,i]]  (parallel over rows)
 * y (N,D), may be NULL if there is a backward; w (S,D); b (D) or NULL; backward or NULL. Reference: kernel/ref/codes.c. */
void sondep_decode(float *y, const sondep_codes *codes, const float *w, const float *b,
                   const sondep_decode_backward *backward, int64_t N, int64_t D);

/* Matching pursuit with the products of all features at hand: what is left of rows, and of their products with features. */
typedef struct sondep_pursuit {
    const float *w;    /* (S,D) */
    const float *gram; /* (S,S) W W^T */
    float *rest, *v;   /* (N,D), (N,S) = rest W^T; both are changed */
    double least;      /* a row ends when |rest| is below it */
    bool repeats;      /* a row goes on behind a feature that it had */
} sondep_pursuit;

/* Pairs of row n, in the order of choice  (parallel over rows):
 *
 *   s = the first of the largest v[n];   value = rest[n] . w[s], the last where it is not above 0;   rest[n] -= value w[s];   v[n] -= value gram[s]
 *
 * until there are out->capacity, or less than `least` is left, or a feature comes again, whose pair is then the last one. v must be finite.
 * Cost: 2 S flops a pair, in place of the 2 S D of a product. Source: Mallat and Zhang 1993. Reference: kernel/ref/pursue.c. */
void sondep_pursue(const sondep_codes *out, const sondep_pursuit *p, int64_t N, int64_t S, int64_t D);

/* The pairs of codes by features: those of feature s are first[s] .. first[s + 1], in the order of rows. */
typedef struct sondep_columns {
    int64_t *first; /* (S + 1) */
    int32_t *row;   /* n of each pair; room for all pairs of the codes */
    int64_t *at;    /* its place in index and value: n * capacity + i */
} sondep_columns;

/* Sorts them by counting (parallel). scratch: sondep_list_columns_scratch_bytes. Reference: kernel/ref/codes.c. */
void sondep_list_columns(const sondep_columns *out, const sondep_codes *codes, int64_t N, int64_t S, void *scratch);
size_t sondep_list_columns_scratch_bytes(int64_t S);

/* A share of the gradient of features, by the pairs (n, i) of a feature:
 *   g_in[s] += sum dpre[n,i] x[n];   g_out[s] += sum value[n,i] residual[n];   g_b[s] += sum dpre[n,i]
 * An auxiliary loss, with codes and a residual of its own, is a second term. */
typedef struct sondep_feature_term {
    const sondep_codes *codes;
    const sondep_columns *columns; /* of these codes */
    const float *dpre; /* (N,capacity): by the pre-activations; dvalue where a value is its pre-activation; NULL: 0 */
    const float *x;    /* (N,D), row stride ld_x */
    int64_t ld_x;
    const float *residual; /* (N,D_out); NULL: 0 */
} sondep_feature_term;

/* Rows of S features, what AdamW keeps of them, and what else happens to the decoder's rows, in this order. A part of the
 * features is the same with pointers moved on (also first of their columns). */
typedef struct sondep_features {
    float *w_in, *m_in, *v_in;    /* (S,D) */
    float *w_out, *m_out, *v_out; /* (S,D_out) */
    float *b, *m_b, *v_b;         /* (S), or all NULL */
    const float *pull;            /* (S) or NULL: g_out[s] += pull[s] w_out[s], the gradient of a penalty on norms */
    float shrink;      /* g_in[s] += shrink sign(w_in[s]), g_out as well: the gradient of an L1 penalty on weights */
    bool is_tangent;   /* what of g_out[s] is along w_out[s] is taken out, before the step */
    const float *norm; /* (S) or NULL: w_out[s] is scaled to |w_out[s]| = norm[s] behind the step */
} sondep_features;

/* Gradients of all features, each formed and used at once: a step of AdamW, also on features that no row chose (their
 * gradient is 0)  (parallel over features, of about as many pairs). Rows of norm 0 are neither tangent to anything nor scaled.
 * scratch: sondep_feature_scratch_bytes. Cost: 24 bytes of memory for each of S (D + D_out) weights. Source: Bricken et al.
 * 2023, Towards Monosemanticity, for is_tangent and norm. Reference: kernel/ref/features.c. */
void sondep_feature_step(const sondep_features *f, const sondep_feature_term *terms, int64_t n_terms, const sondep_adamw *a,
                         int64_t S, int64_t D, int64_t D_out, void *scratch);

/* Sum over features of |g_in|^2 + |g_out|^2 + g_b^2, g_out with what pull and is_tangent do to it, in double: nothing is
 * written, so that clipping by the norm is exact. Bits of the gradients are those of the step. */
double sondep_feature_squares(const sondep_features *f, const sondep_feature_term *terms, int64_t n_terms, int64_t S,
                              int64_t D, int64_t D_out, void *scratch);
size_t sondep_feature_scratch_bytes(int64_t D, int64_t D_out);

/* ---- toy models ---------------------------------------------------------------------------------------------------------- */

/* Rows of a call, and generators of random numbers side by side. */
enum { SONDEP_TOY_ROWS = 128, SONDEP_TOY_LANES = 16 };

/* A model of n features in m hidden numbers:
 *
 *   h = W_in^T x, or max(W_in^T x, 0);   y = W_out h + b, or max(W_out h + b, 0);   loss = sum over rows and features of importance (y - t)^2
 *   t = x, or |x|
 *
 * Weights are (n,m); tied ones are the same array twice, and so are their gradients. */
typedef struct sondep_toy {
    int64_t n, m;
    const float *w_in, *w_out, *b, *importance; /* (n,m), (n,m), (n), (n) */
    bool has_hidden_relu, has_relu, is_absolute;
    float factor;              /* of the gradient: 2 / (rows features) for that of the mean */
    float *g_in, *g_out, *g_b; /* what is added to; all NULL: the loss alone */
} sondep_toy;

/* Forward and back over SONDEP_TOY_ROWS rows, which lie side by side: x (n, SONDEP_TOY_ROWS). Returns the loss. On the calling thread.
 * scratch: (2 m + n) SONDEP_TOY_ROWS floats. Cost: 10 n m flops a row. Source: Elhage et al. 2022. Reference: kernel/ref/toy.c. */
double sondep_toy_rows(const sondep_toy *t, const float *x, float *scratch);

/* How some features that follow each other are on: each with a probability of its own; all of them together; one of them. */
typedef enum sondep_toy_together { SONDEP_TOY_ALONE, SONDEP_TOY_ALL_OF, SONDEP_TOY_ONE_OF } sondep_toy_together;
typedef struct sondep_toy_set {
    sondep_toy_together kind;
    int64_t first, n;
} sondep_toy_set;
typedef struct sondep_toy_sets {
    const sondep_toy_set *sets; /* in order of features */
    int64_t n;
    const int32_t *bar; /* (features) p 2^31; of a set that is on together, its first feature's */
    const float *scale; /* (features) 1 / bar */
    bool is_signed;     /* uniform in [-1, 1), not [0, 1) */
} sondep_toy_sets;

/* x (features, SONDEP_TOY_ROWS): 0, or a uniform number where a feature is on. state: 4 SONDEP_TOY_LANES words, not all 0, which go on. The same
 * numbers with every set of kernels. On the calling thread. Reference: kernel/ref/toy.c. */
void sondep_toy_draw(float *x, const sondep_toy_sets *sets, uint32_t *state);

/* ---- drawing tokens ------------------------------------------------------------------------------------------------------ */

/* How a token is chosen from a row of logits. Filters come in the order of transformers. */
typedef struct sondep_draw_rule {
    double temperature; /* logits are divided by it; 0: the largest logit, the lower id among equals */
    int64_t top_k;      /* keeps the k largest, and what ties with the last of them; 0: all */
    double top_p;       /* keeps the smallest set with at least this probability, lower ids first among equals; 1: all */
} sondep_draw_rule;

/* ids[n] = the token of row n of logits (N,V) that a uniform number in [0, 1) points at: what the filters keep is walked by
 * ids until its cumulative probability exceeds uniform[n] (parallel over rows). -1 where a logit of the row is not finite.
 * V >= 1; scratch: sondep_draw_scratch_bytes(V), 64-byte aligned. Reference: kernel/ref/draw.c. */
void sondep_draw(int32_t *ids, const float *logits, int64_t N, int64_t V, const sondep_draw_rule *rule,
                 const double *uniform, void *scratch);
size_t sondep_draw_scratch_bytes(int64_t V);

/* ---- which versions run ------------------------------------------------------------------------------------------------ */

/* Chooses by name: "ref", "avx2", "avx512", "neon", "blas", or "auto" (also: environment SONDE_KERNEL at first use).
 * Errors: SONDE_E_ARG lists what this processor has. */
sonde_status sondep_kernel_choose(const char *name);

/* The chosen set ("avx512"); what serves each operation, row i of n, as "product: avx512 14x32"; a warning or "" (a 256-bit
 * BLAS core on a 512-bit machine, say). */
const char *sondep_kernel_name(void);
const char *sondep_kernel_describe(int64_t i); /* NULL behind the last */
const char *sondep_kernel_warning(void);

/* Peak of this machine in GFLOP/s: independent fused multiply-adds in registers on all threads, best of a few short runs. */
double sondep_measure_peak_gflops(void);

#endif
