/* public.c - the part of the kernels that programs see: sonde/kernel.h over kernel/kernel.h.    floor 2: kernel */
#include <sonde/kernel.h>

#include "kernel/kernel.h"

sonde_status sonde_kernel_choose(const char *name)
{
    return sondep_kernel_choose(name);
}

const char *sonde_kernel_name(void)
{
    return sondep_kernel_name();
}

const char *sonde_kernel_describe(int64_t i)
{
    return sondep_kernel_describe(i);
}

const char *sonde_kernel_warning(void)
{
    return sondep_kernel_warning();
}

double sonde_measure_peak_gflops(void)
{
    return sondep_measure_peak_gflops();
}

void sonde_log_sum_exp(double *out, const float *x, int64_t N, int64_t V)
{
#pragma omp parallel for schedule(static) num_threads(sonde_threads())
    for (int64_t n = 0; n < N; n++)
        out[n] = sondep_log_sum_exp(x + n * V, V);
}
