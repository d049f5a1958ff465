/* table.c - which set of kernels runs, and the doors of kernel.h.              floor 2: kernel
 *
 * The first of `sets` that this processor can run is the default; SONDE_KERNEL in the environment or
 * sondep_kernel_choose() names another.
 */
#include "kernel/leaf.h"

#include <pthread.h>
#include <stdlib.h>

typedef struct kernel_set {
    const char *name;
    const sondep_leaf *leaf; /* NULL: the reference */
    bool (*can_run)(void);
} kernel_set;

#if defined(__x86_64__)
static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); /* and with them comes F16C */
}
#endif

static bool always(void)
{
    return true;
}

/* Best first. */
static const kernel_set sets[] = {
#if defined(__x86_64__)
    {"avx512", &sondep_leaf_avx512, has_avx512},
    {"avx2", &sondep_leaf_avx2, has_avx2},
#endif
    {"ref", NULL, always},
};
enum { N_SETS = sizeof sets / sizeof *sets };

static const kernel_set *chosen;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const kernel_set *find(const char *name)
{
    for (int i = 0; i < N_SETS; i++)
        if (sets[i].can_run() && (strcmp(name, "auto") == 0 || strcmp(name, sets[i].name) == 0))
            return &sets[i];
    return NULL;
}

static void choose_first(void)
{
    const char *name = getenv("SONDE_KERNEL");
    const kernel_set *set = find(name && *name ? name : "auto");
    chosen = set ? set : find("auto");
}

static const kernel_set *set(void)
{
    pthread_once(&once, choose_first);
    return chosen;
}

sonde_status sondep_kernel_choose(const char *name)
{
    const kernel_set *wanted = find(name);
    char list[128] = "";

    (void)set();
    if (wanted == NULL) {
        for (int i = 0; i < N_SETS; i++)
            if (sets[i].can_run())
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

const char *sondep_kernel_describe(int64_t i)
{
    return i == 0 ? set()->name : NULL;
}

const char *sondep_kernel_warning(void)
{
    return "";
}

double sondep_measure_peak_gflops(void)
{
    const sondep_leaf *leaf = set()->leaf;
    double best = 0.0;

    for (int run = 0; run < 5; run++) {
        double flops = 0.0, start = sondep_seconds(), rate;
#pragma omp parallel num_threads(sonde_threads()) reduction(+ : flops)
        flops += (leaf ? leaf->fma_flops : sondep_fma_flops_ref)(2000000);
        rate = flops / (sondep_seconds() - start) * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}

/* ---- the doors ------------------------------------------------------------------------------------------------------ */

void sondep_product(float *c, int64_t ldc, const sondep_matrix *a, const sondep_matrix *b, int64_t M, int64_t N, int64_t K,
                    const sondep_epilogue *epilogue, sondep_precision precision, void *scratch)
{
    const sondep_leaf *leaf = set()->leaf;
    if (leaf)
        sondep_tiled_product(leaf, c, ldc, a, b, M, N, K, epilogue, precision, scratch);
    else
        sondep_product_ref(c, ldc, a, b, M, N, K, epilogue, precision, scratch);
}

size_t sondep_product_scratch_bytes(int64_t M, int64_t N, int64_t K)
{
    const sondep_leaf *leaf = set()->leaf;
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
