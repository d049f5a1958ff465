/* table.c - which set of kernels runs, and the doors of kernel.h.              floor 2: kernel
 *
 * The first set of `sets` that this processor can run is the default; SONDE_KERNEL in the environment or
 * sondep_kernel_choose() names another.
 */
#include "kernel/table.h"

#include <pthread.h>
#include <stdlib.h>

/* Best first; "ref" runs everywhere. */
static const sondep_table *const sets[] = {&sondep_ref};
enum { N_SETS = sizeof sets / sizeof *sets };

static const sondep_table *chosen;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool can_run(const sondep_table *set)
{
    return set == &sondep_ref;
}

static const sondep_table *find(const char *name)
{
    for (int i = 0; i < N_SETS; i++)
        if (can_run(sets[i]) && (strcmp(name, "auto") == 0 || strcmp(name, sets[i]->name) == 0))
            return sets[i];
    return NULL;
}

static void choose_first(void)
{
    const char *name = getenv("SONDE_KERNEL");
    const sondep_table *set = find(name && *name ? name : "auto");
    chosen = set ? set : find("auto");
}

static const sondep_table *table(void)
{
    pthread_once(&once, choose_first);
    return chosen;
}

sonde_status sondep_kernel_choose(const char *name)
{
    const sondep_table *set = find(name);
    sondep_string list = {0};

    table();
    if (set == NULL) {
        for (int i = 0; i < N_SETS; i++)
            if (can_run(sets[i]))
                SONDE_TRY(sondep_string_printf(&list, ", %s", sets[i]->name));
        (void)SONDE_FAIL(SONDE_E_ARG, "no such kernel set here: '%s'; this processor has auto%s", name, list.text);
        sondep_string_release(&list);
        return SONDE_E_ARG;
    }
    chosen = set;
    return SONDE_OK;
}

const char *sondep_kernel_name(void)
{
    return table()->name;
}

const char *sondep_kernel_describe(int64_t i)
{
    return i == 0 ? table()->name : NULL;
}

const char *sondep_kernel_warning(void)
{
    return "";
}

double sondep_measure_peak_gflops(void)
{
    const sondep_table *t = table();
    double best = 0.0;

    for (int run = 0; run < 5; run++) {
        double flops = 0.0, start = sondep_seconds(), rate;
#pragma omp parallel num_threads(sonde_threads()) reduction(+ : flops)
        flops += t->fma_flops(2000000);
        rate = flops / (sondep_seconds() - start) * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}

/* ---- the doors ------------------------------------------------------------------------------------------------------ */

void sondep_product(float *c, int64_t ldc, const sondep_matrix *a, const sondep_matrix *b, int64_t M, int64_t N, int64_t K,
                    const sondep_epilogue *epilogue, sondep_precision precision, void *scratch)
{
    table()->product(c, ldc, a, b, M, N, K, epilogue, precision, scratch);
}

size_t sondep_product_scratch_bytes(int64_t M, int64_t N, int64_t K)
{
    return table()->product_scratch_bytes(M, N, K);
}

void sondep_attend(const sondep_attention *sequences, int64_t n, void *scratch)
{
    table()->attend(sequences, n, scratch);
}

size_t sondep_attention_scratch_bytes(int64_t d_head)
{
    return table()->attention_scratch_bytes(d_head);
}

void sondep_attention_scores(float *scores, const sondep_attention *sequence, void *scratch)
{
    table()->attention_scores(scores, sequence, scratch);
}

void sondep_softmax_rows(float *x, int64_t n_rows, int64_t n_columns)
{
    table()->softmax_rows(x, n_rows, n_columns);
}

void sondep_attention_mix(const float *pattern, const sondep_attention *sequence, void *scratch)
{
    table()->attention_mix(pattern, sequence, scratch);
}

void sondep_norm(float *y, float *normalized, float *scale, const float *x, const float *w, const float *b, bool is_rms,
                 double eps, int64_t N, int64_t D)
{
    table()->norm(y, normalized, scale, x, w, b, is_rms, eps, N, D);
}

void sondep_norm_gain(float *y, const float *normalized, const float *w, const float *b, int64_t N, int64_t D)
{
    table()->norm_gain(y, normalized, w, b, N, D);
}

void sondep_activate(float *out, const float *in, sondep_act act, int64_t n)
{
    table()->activate(out, in, act, n);
}

void sondep_add(float *out, const float *a, const float *b, int64_t n)
{
    table()->add(out, a, b, n);
}

void sondep_multiply(float *out, const float *a, const float *b, int64_t n)
{
    table()->multiply(out, a, b, n);
}

void sondep_rotate(float *out, const float *x, const int64_t *position, const float *cos, const float *sin, int64_t N,
                   int64_t n_heads, int64_t d, int64_t ld_out, int64_t ld_x)
{
    table()->rotate(out, x, position, cos, sin, N, n_heads, d, ld_out, ld_x);
}

void sondep_gather_rows(float *out, const sondep_matrix *m, const int64_t *ids, bool add, int64_t N, int64_t D)
{
    table()->gather_rows(out, m, ids, add, N, D);
}

double sondep_log_sum_exp(const float *x, int64_t n)
{
    return table()->log_sum_exp(x, n);
}

int64_t sondep_find_nonfinite(const float *x, int64_t n, bool allow_minus_infinity)
{
    return table()->find_nonfinite(x, n, allow_minus_infinity);
}
