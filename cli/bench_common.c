/* bench_common.c - what the commands that measure speed share.                 floor 10: cli */
#include "bench.h"

#include <stdlib.h>

/* Order of numbers for qsort. */
static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts in place: repeats are few, and of no use afterwards. */
double bench_median(double *x, int64_t n)
{
    /* an even number of them has two in the middle */
    qsort(x, (size_t)n, sizeof *x, by_value);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* Philox: number i of stream 0, whoever asks. */
void bench_fill_tokens(int32_t *tokens, int64_t n, int64_t n_vocab)
{
    for (int64_t i = 0; i < n; i++)
        tokens[i] = (int32_t)(sonde_random_uniform(1, 0, (uint64_t)i) * (double)n_vocab);
}

/* Called before and after what is timed. */
void bench_measure_peak(bench_peak *peak)
{
    double gflops = sonde_measure_peak_gflops();
    peak->gflops = gflops > peak->gflops ? gflops : peak->gflops;
}
