/* table.c - which set of kernels runs, and the doors of kernel.h.              floor 2: kernel
 *
 * The first of `sets` that this processor can run is the default; SONDE_KERNEL in the environment or
 * sondep_kernel_choose() names another.
 *
 *   set          product                        everything else
 *   avx512       tiles of kernel/x86, bf16      kernel/vector compiled for it
 *   avx2, neon   the same                       the same
 *   blas         OpenBLAS or Accelerate         that of the best set that can run, else the definition
 *   ref          the definition                 the definition
 */
#include "kernel/leaf.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* One line for each way in which everything can run. The parts that a set does not bring (BLAS has products only) are
 * those of its leaf. */
typedef struct kernel_set {
    const char *name;
    const sondep_leaf *leaf; /* NULL: the reference */
    bool (*can_run)(void);
    bool blas; /* products go to BLAS */
} kernel_set;

#if defined(__x86_64__)
/* The compiler's builtin asks the processor, and the system too: whether it saves the wide registers. */
static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
}

/* Whether the processor has AVX2, FMA and F16C, and the system keeps their registers. */
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); /* and with them comes F16C */
}
#endif

/* The definition and BLAS run anywhere. */
static bool always(void)
{
    return true;
}

#if defined(__x86_64__)
static bool has_avx512bf16(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512bf16");
}
#endif

/* Best first; of several that can run under one name, the first. */
static const kernel_set sets[] = {
#if defined(__x86_64__)
    {"avx512", &sondep_leaf_avx512bf16, has_avx512bf16, false},
    {"avx512", &sondep_leaf_avx512, has_avx512, false},
    {"avx2", &sondep_leaf_avx2, has_avx2, false},
    {"blas", &sondep_leaf_avx512, has_avx512, true},
    {"blas", &sondep_leaf_avx2, has_avx2, true},
#elif defined(__aarch64__)
    {"neon", &sondep_leaf_neon, always, false},
    {"blas", &sondep_leaf_neon, always, true},
#endif
    {"blas", NULL, always, true},
    {"ref", NULL, always, false},
};
enum { N_SETS = sizeof sets / sizeof *sets };

/* What runs: set once at the first use, or by name. Reading it needs no lock: sets are constant, and a pass that runs while
 * another thread chooses is the caller's race. */
static const kernel_set *chosen;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The first set of that name that can run here; of any name for "auto". NULL if there is none. */
static const kernel_set *find(const char *name)
{
    for (int i = 0; i < N_SETS; i++)
        if (sets[i].can_run() && (strcmp(name, "auto") == 0 || strcmp(name, sets[i].name) == 0))
            return &sets[i];
    return NULL;
}

/* A name in the environment that is not known here is ignored: a program can be told of it by sondep_kernel_choose. */
static void choose_first(void)
{
    const char *name = getenv("SONDE_KERNEL");
    const kernel_set *set = find(name && *name ? name : "auto");
    chosen = set ? set : find("auto");
}

/* What is chosen; the environment is looked at once, at the first use. */
static const kernel_set *set(void)
{
    pthread_once(&once, choose_first);
    return chosen;
}

/* The message lists what this processor can run, each name once: the sets of AVX-512 with and without bf16 share theirs. */
sonde_status sondep_kernel_choose(const char *name)
{
    const kernel_set *wanted = find(name);
    char list[128] = "";

    (void)set();
    if (wanted == NULL) {
        for (int i = 0; i < N_SETS; i++)
            if (sets[i].can_run() && find(sets[i].name) == &sets[i])
                strcat(strcat(list, ", "), sets[i].name);
        return SONDE_FAIL(SONDE_E_ARG, "no such kernel set here: '%s'; this processor has auto%s", name, list);
    }
    chosen = wanted;
    return SONDE_OK;
}

const char *sondep_kernel_name(void)
{
    return set()->name;
}

/* What serves each operation: its name, and in what it is written. */
static int describe(char *out, size_t bytes, int64_t i)
{
    static const char *const small[] = {"attention",     "softmax",
                                        "norm",          "activation",
                                        "rotary",        "rows",
                                        "draw",          "attention backward",
                                        "norm backward", "activation backward",
                                        "loss",          "optimizer",
                                        "codes"};
    const kernel_set *k = set();
    const sondep_tiler *f32 = k->leaf ? &k->leaf->f32 : NULL, *bf16 = k->leaf ? &k->leaf->bf16 : NULL;
    const char *written = k->leaf ? f32->name : "ref";

    if (i >= 2 && i - 2 < (int64_t)(sizeof small / sizeof *small))
        return snprintf(out, bytes, "%s: %s", small[i - 2], written);
    if (i < 0 || i >= 2)
        return 0;
    if (k->blas)
        return snprintf(out, bytes, "%s: blas %s", i ? "product bf16" : "product", sondep_blas_core());
    if (k->leaf == NULL)
        return snprintf(out, bytes, "%s: ref", i ? "product bf16" : "product");
    return i ? snprintf(out, bytes, "product bf16: %s %dx%d", bf16->name, bf16->rows, bf16->columns)
             : snprintf(out, bytes, "product: %s %dx%d", f32->name, f32->rows, f32->columns);
}

const char *sondep_kernel_describe(int64_t i)
{
    static _Thread_local char text[96];
    return describe(text, sizeof text, i) > 0 ? text : NULL;
}

#if defined(__x86_64__)
/* Whether OpenBLAS's core uses 512 bits. */
static bool is_wide_core(const char *core)
{
    static const char *const wide[] = {"skylakex", "cooperlake", "sapphirerapids", "graniterapids", "zen4", "zen5"};

    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (strcasecmp(core, wide[i]) == 0)
            return true;
    return false;
}

/* OpenBLAS chooses its core when it is loaded; which one it took is asked once. */
static void make_warning(char *out, size_t bytes)
{
    const char *core = sondep_blas_core(), *forced = getenv("OPENBLAS_CORETYPE");

    if (!has_avx512() || *core == '\0' || is_wide_core(core))
        return;
    snprintf(out, bytes, "OpenBLAS runs its 256-bit core '%s' on a 512-bit machine%s; %s", core,
             forced && *forced ? " (OPENBLAS_CORETYPE is set)" : "",
             set()->blas ? "products are slower than they could be" : "products here do not use it");
}
#else
static void make_warning(char *out, size_t bytes)
{
    (void)out, (void)bytes;
}
#endif

const char *sondep_kernel_warning(void)
{
    static _Thread_local char text[160];
    text[0] = '\0';
    make_warning(text, sizeof text);
    return text;
}

/* Runs are short, some milliseconds, so that one of them meets no other process; the best one counts. */
double sondep_measure_peak_gflops(void)
{
    const sondep_leaf *leaf = set()->leaf;
    double best = 0.0;

    for (int run = 0; run < 25; run++) {
        double flops = 0.0, start = sondep_seconds(), rate;
#pragma omp parallel num_threads(sonde_threads()) reduction(+ : flops)
        flops += (leaf ? leaf->fma_flops : sondep_fma_flops_ref)(500000);
        rate = flops / (sondep_seconds() - start) * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}

/* ---- the doors ------------------------------------------------------------------------------------------------------ */

/* Each door is the definition or the loops over tiles, by what is chosen; comments are in kernel.h. */
void sondep_product(float *c, int64_t ldc, const sondep_matrix *a, const sondep_matrix *b, int64_t M, int64_t N, int64_t K,
                    const sondep_epilogue *epilogue, sondep_precision precision, void *scratch)
{
    const sondep_leaf *leaf = set()->leaf;
    if (set()->blas)
        sondep_blas_product(leaf, c, ldc, a, b, M, N, K, epilogue, precision, scratch);
    else if (leaf)
        sondep_tiled_product(leaf, c, ldc, a, b, M, N, K, epilogue, precision, scratch);
    else
        sondep_product_ref(c, ldc, a, b, M, N, K, epilogue, precision, scratch);
}

/* From here on: each operation goes to the set's version, or to the definition. */
size_t sondep_product_scratch_bytes(int64_t M, int64_t N, int64_t K)
{
    const sondep_leaf *leaf = set()->leaf;
    if (set()->blas)
        return sondep_blas_scratch_bytes(M, N, K);
    return leaf ? sondep_tiled_product_scratch_bytes(leaf, M, N, K) : sondep_product_scratch_bytes_ref(M, N, K);
}

void sondep_attend(const sondep_attention *sequences, int64_t n, void *scratch)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_tiled_attend(leaf, sequences, n, scratch);
    else
        sondep_attend_ref(sequences, n, scratch);
}

size_t sondep_attention_scratch_bytes(int64_t d_head)
{
    const sondep_leaf *leaf = set()->leaf;
    return leaf ? sondep_tiled_attention_scratch_bytes(leaf, d_head) : sondep_attention_scratch_bytes_ref(d_head);
}

void sondep_attention_scores(float *scores, const sondep_attention *sequence, void *scratch)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_tiled_scores(leaf, scores, sequence, scratch);
    else
        sondep_attention_scores_ref(scores, sequence, scratch);
}

void sondep_softmax_rows(float *x, int64_t n_rows, int64_t n_columns)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_rows_softmax(leaf, x, n_rows, n_columns);
    else
        sondep_softmax_rows_ref(x, n_rows, n_columns);
}

void sondep_attention_mix(const float *pattern, const sondep_attention *sequence, void *scratch)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_tiled_mix(leaf, pattern, sequence, scratch);
    else
        sondep_attention_mix_ref(pattern, sequence, scratch);
}

void sondep_norm(float *y, float *normalized, float *scale, const float *x, const float *w, const float *b, bool is_rms,
                 double eps, int64_t N, int64_t D)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_rows_norm(leaf, y, normalized, scale, x, w, b, is_rms, eps, N, D);
    else
        sondep_norm_ref(y, normalized, scale, x, w, b, is_rms, eps, N, D);
}

void sondep_norm_gain(float *y, const float *normalized, const float *w, const float *b, int64_t N, int64_t D)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_rows_gain(leaf, y, normalized, w, b, N, D);
    else
        sondep_norm_gain_ref(y, normalized, w, b, N, D);
}

void sondep_activate(float *out, const float *in, sondep_act act, int64_t n)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_rows_activate(leaf, out, in, act, n);
    else
        sondep_activate_ref(out, in, act, n);
}

void sondep_add(float *out, const float *a, const float *b, int64_t n)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_rows_add(leaf, out, a, b, n);
    else
        sondep_add_ref(out, a, b, n);
}

void sondep_multiply(float *out, const float *a, const float *b, int64_t n)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_rows_multiply(leaf, out, a, b, n);
    else
        sondep_multiply_ref(out, a, b, n);
}

void sondep_rotate(float *out, const float *x, const int64_t *position, const float *cos, const float *sin, int64_t N,
                   int64_t n_heads, int64_t d, int64_t ld_out, int64_t ld_x)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_rows_rotate(leaf, out, x, position, cos, sin, N, n_heads, d, ld_out, ld_x);
    else
        sondep_rotate_ref(out, x, position, cos, sin, N, n_heads, d, ld_out, ld_x);
}

void sondep_gather_rows(float *out, const sondep_matrix *table, const int64_t *ids, bool add, int64_t N, int64_t D)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_rows_gather(leaf, out, table, ids, add, N, D);
    else
        sondep_gather_rows_ref(out, table, ids, add, N, D);
}

double sondep_log_sum_exp(const float *x, int64_t n)
{
    const sondep_leaf *leaf = set()->leaf;
    return leaf ? leaf->log_sum_exp(x, n) : sondep_log_sum_exp_ref(x, n);
}

int64_t sondep_find_nonfinite(const float *x, int64_t n, bool allow_minus_infinity)
{
    const sondep_leaf *leaf = set()->leaf;
    return leaf ? sondep_rows_find_nonfinite(leaf, x, n, allow_minus_infinity)
                : sondep_find_nonfinite_ref(x, n, allow_minus_infinity);
}

/* The gradients. */
void sondep_norm_backward(float *dx, float *dw, float *db, const float *dy, const float *x, const float *w, bool is_rms,
                          double eps, int64_t N, int64_t D, bool adds, void *scratch)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_rows_norm_backward(leaf, dx, dw, db, dy, x, w, is_rms, eps, N, D, adds, scratch);
    else
        sondep_norm_backward_ref(dx, dw, db, dy, x, w, is_rms, eps, N, D, adds, scratch);
}

size_t sondep_norm_backward_scratch_bytes(int64_t N, int64_t D)
{
    return set()->leaf ? sondep_rows_norm_backward_scratch_bytes(N, D) : sondep_norm_backward_scratch_bytes_ref(N, D);
}

void sondep_activate_backward(float *dpre, float *dup, float *post, const float *dpost, const float *pre, const float *up,
                              sondep_act act, int64_t n)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_rows_activate_backward(leaf, dpre, dup, post, dpost, pre, up, act, n);
    else
        sondep_activate_backward_ref(dpre, dup, post, dpost, pre, up, act, n);
}

void sondep_attend_backward(const sondep_attention_backward *sequences, int64_t n, void *scratch)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_tiled_attend_backward(leaf, sequences, n, scratch);
    else
        sondep_attend_backward_ref(sequences, n, scratch);
}

size_t sondep_attend_backward_scratch_bytes(int64_t d_head, int64_t n_key)
{
    const sondep_leaf *leaf = set()->leaf;
    return leaf ? sondep_tiled_attend_backward_scratch_bytes(leaf, d_head, n_key)
                : sondep_attend_backward_scratch_bytes_ref(d_head, n_key);
}

void sondep_cross_entropy(double *loss, float *x, int64_t ld, const int64_t *target, float weight, bool is_gradient,
                          int64_t N, int64_t V)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_rows_cross_entropy(leaf, loss, x, ld, target, weight, is_gradient, N, V);
    else
        sondep_cross_entropy_ref(loss, x, ld, target, weight, is_gradient, N, V);
}

void sondep_add_column_sums(float *out, const float *x, int64_t ld, int64_t N, int64_t D, void *scratch)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_rows_add_column_sums(leaf, out, x, ld, N, D, scratch);
    else
        sondep_add_column_sums_ref(out, x, ld, N, D, scratch);
}

void sondep_scatter_add_rows(float *table, const float *x, const int64_t *ids, int64_t N, int64_t D)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_rows_scatter_add(leaf, table, x, ids, N, D);
    else
        sondep_scatter_add_rows_ref(table, x, ids, N, D);
}

double sondep_sum_squares(const float *x, int64_t n)
{
    const sondep_leaf *leaf = set()->leaf;
    return leaf ? sondep_rows_sum_squares(leaf, x, n) : sondep_sum_squares_ref(x, n);
}

void sondep_adamw_step(float *w, float *m, float *v, const float *g, const sondep_adamw *a, int64_t n)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_rows_adamw(leaf, w, m, v, g, a, n);
    else
        sondep_adamw_step_ref(w, m, v, g, a, n);
}

void sondep_draw(int32_t *ids, const float *logits, int64_t N, int64_t V, const sondep_draw_rule *rule,
                 const double *uniform, void *scratch)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_blocks_draw(leaf, ids, logits, N, V, rule, uniform, scratch);
    else
        sondep_draw_ref(ids, logits, N, V, rule, uniform, scratch);
}

size_t sondep_draw_scratch_bytes(int64_t V)
{
    return set()->leaf ? sondep_blocks_draw_scratch_bytes(V) : sondep_draw_scratch_bytes_ref(V);
}

/* Sparse codes. */
void sondep_encode(const sondep_codes *out, int64_t *found, const float *x, int64_t ld_x, const float *w, const float *b,
                   const sondep_selection *selection, int64_t N, int64_t S, int64_t D, sondep_precision precision,
                   void *scratch)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_tiled_encode(leaf, out, found, x, ld_x, w, b, selection, N, S, D, precision, scratch);
    else
        sondep_encode_ref(out, found, x, ld_x, w, b, selection, N, S, D, precision, scratch);
}

size_t sondep_encode_scratch_bytes(int64_t N, int64_t S, int64_t D, int64_t k)
{
    const sondep_leaf *leaf = set()->leaf;
    return leaf ? sondep_tiled_encode_scratch_bytes(leaf, N, S, D, k) : sondep_encode_scratch_bytes_ref(N, S, D, k);
}

void sondep_decode(float *y, const sondep_codes *codes, const float *w, const float *b,
                   const sondep_decode_backward *backward, int64_t N, int64_t D)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_rows_decode(leaf, y, codes, w, b, backward, N, D);
    else
        sondep_decode_ref(y, codes, w, b, backward, N, D);
}

void sondep_pursue(const sondep_codes *out, const sondep_pursuit *p, int64_t N, int64_t S, int64_t D)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_rows_pursue(leaf, out, p, N, S, D);
    else
        sondep_pursue_ref(out, p, N, S, D);
}

void sondep_list_columns(const sondep_columns *out, const sondep_codes *codes, int64_t N, int64_t S, void *scratch)
{
    if (set()->leaf)
        sondep_blocks_list_columns(out, codes, N, S, scratch);
    else
        sondep_list_columns_ref(out, codes, N, S, scratch);
}

size_t sondep_list_columns_scratch_bytes(int64_t S)
{
    return set()->leaf ? sondep_blocks_list_columns_scratch_bytes(S) : sondep_list_columns_scratch_bytes_ref(S);
}

void sondep_feature_step(const sondep_features *f, const sondep_feature_term *terms, int64_t n_terms, const sondep_adamw *a,
                         int64_t S, int64_t D, int64_t D_out, void *scratch)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_tasks_feature_step(leaf, f, terms, n_terms, a, S, D, D_out, scratch);
    else
        sondep_feature_step_ref(f, terms, n_terms, a, S, D, D_out, scratch);
}

double sondep_feature_squares(const sondep_features *f, const sondep_feature_term *terms, int64_t n_terms, int64_t S,
                              int64_t D, int64_t D_out, void *scratch)
{
    const sondep_leaf *leaf = set()->leaf;
    return leaf ? sondep_tasks_feature_squares(leaf, f, terms, n_terms, S, D, D_out, scratch)
                : sondep_feature_squares_ref(f, terms, n_terms, S, D, D_out, scratch);
}

size_t sondep_feature_scratch_bytes(int64_t D, int64_t D_out)
{
    return set()->leaf ? sondep_tasks_feature_scratch_bytes(D, D_out) : sondep_feature_scratch_bytes_ref(D, D_out);
}

double sondep_toy_rows(const sondep_toy *t, const float *x, float *scratch)
{
    const sondep_leaf *leaf = set()->leaf;
    return leaf ? leaf->toy_rows(t, x, scratch) : sondep_toy_rows_ref(t, x, scratch);
}

void sondep_toy_draw(float *x, const sondep_toy_sets *features, uint32_t *state)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        leaf->toy_draw(x, features, state);
    else
        sondep_toy_draw_ref(x, features, state);
}
