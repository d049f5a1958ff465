/* sonde/kernel.h - which versions of the operations run, and how fast the machine is.   floor 2: kernel
 *
 * Each operation has a definition in plain C and faster versions for what the processor has; they are chosen once, when
 * the first operation runs, or by name before that.
 */
#ifndef SONDE_KERNEL_H
#define SONDE_KERNEL_H

#include <sonde/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Chooses the versions by name: "ref", "avx2", "avx512", "neon", "blas", or "auto" for the best that this processor has
 * (the environment variable SONDE_KERNEL does the same at the first use). Process-wide; not while a run is under way.
 *
 * Owns: nothing. Errors: SONDE_E_ARG names it and lists what this processor has. */
SONDE_API sonde_status sonde_kernel_choose(const char *name) SONDE_MUST_USE;

/* Name of the chosen set ("avx512"). Owns: borrows; a static string. Errors: none. */
SONDE_API const char *sonde_kernel_name(void);

/* What serves operation i, as "product: avx512 14x32"; NULL behind the last. Owns: borrows; valid until the next choice.
 * Errors: none. */
SONDE_API const char *sonde_kernel_describe(int64_t i);

/* What makes this machine slower than it could be (a 256-bit BLAS core on a 512-bit machine), or "".
 * Owns: borrows; a static string. Errors: none. */
SONDE_API const char *sonde_kernel_warning(void);

/* Peak of this machine in GFLOP/s: independent fused multiply-adds in registers, on sonde_threads() threads, the best of a
 * few short runs. Cost: some tenths of a second. Owns: nothing. Errors: none. */
SONDE_API double sonde_measure_peak_gflops(void);

/* Log-sum-exp of each of N rows: out[n] = log(sum_v exp(x[n,v])), around the row's maximum; sums in double.
 *
 * out  (N)    written whole
 * x    (N,V)  f32; -inf entries count as 0, a row of nothing else gives -inf
 *
 * Owns: nothing. Threads: rows are shared out over sonde_threads(); bytes do not depend on their number.
 * Cost: N V exponentials. Errors: none (NaN gives NaN). Source: the definition.
 * Reference: tests/unit/kernel/test_public.c. */
SONDE_API void sonde_log_sum_exp(double *out, const float *x, int64_t N, int64_t V);

#ifdef __cplusplus
}
#endif
#endif
