/* tests/kernel/kernel_support.h - numbers, comparisons and kernel sets for the kernel tests. */
#ifndef KERNEL_SUPPORT_H
#define KERNEL_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernel/ref.h"

#if defined(__has_feature)
#define SANITIZED __has_feature(address_sanitizer)
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif
#include "kernel/tolerances.h"
#include "tensor/half.h"

static const char *const all_sets[] = {"avx512", "avx2", "neon", "blas", "ref"};
enum { N_ALL_SETS = sizeof all_sets / sizeof *all_sets };

/* Chooses set i; false if this processor does not have it. */
static inline bool choose_set(int i)
{
    return sondep_kernel_choose(all_sets[i]) == SONDE_OK;
}

static inline void *take(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    assert_non_null(p);
    return p;
}

/* Uniform in [-1, 1), the same for the same seed. */
static inline float number(uint64_t seed, int64_t i)
{
    return (float)(2.0 * sonde_random_uniform(seed, 0, (uint64_t)i) - 1.0);
}

static inline float *numbers(int64_t n, uint64_t seed)
{
    float *x = take((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = number(seed, i);
    return x;
}

/* Scratch on a line of the cache; freed with free_scratch. */
static inline void *take_scratch(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 127) & ~(size_t)63);
    assert_non_null(p);
    memset(p, 0x7f, (bytes + 127) & ~(size_t)63); /* nothing may rely on zeros: 0x7f7f7f7f is 3e38 */
    return p;
}

/* Largest difference relative to the greatest magnitude of `want`; infinity if one is finite or NaN and the other not. */
static inline double difference(const float *got, const float *want, int64_t n)
{
    double worst = 0.0, greatest = 0.0;

    for (int64_t i = 0; i < n; i++) {
        if (isnan(got[i]) || isnan(want[i]) || isinf(got[i]) || isinf(want[i])) {
            if (isnan(got[i]) != isnan(want[i]) || (!isnan(got[i]) && got[i] != want[i]))
                return INFINITY;
            continue;
        }
        worst = fmax(worst, fabs((double)got[i] - want[i]));
        greatest = fmax(greatest, fabs((double)want[i]));
    }
    return worst == 0.0 ? 0.0 : worst / greatest;
}

/* Fails unless the difference is within the table's limit; SHOW_ERRORS=1 prints it, to keep the table's last column. */
static inline void assert_within(const float *got, const float *want, int64_t n, const char *op, const char *dtype)
{
    double error = difference(got, want, n), limit = limit_of(op, dtype);

    if (getenv("SHOW_ERRORS"))
        print_message("error %s %s %s %.3g\n", sondep_kernel_name(), op, dtype, error);
    if (!(error <= limit))
        fail_msg("%s %s with %s: error %g, allowed %g", op, dtype, sondep_kernel_name(), error, limit);
}

static inline void assert_same_bytes(const void *a, const void *b, size_t bytes, const char *what)
{
    if (memcmp(a, b, bytes) != 0)
        fail_msg("%s with %s: bytes differ", what, sondep_kernel_name());
}

#endif
