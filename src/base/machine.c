/* machine.c - clock, memory of the process, threads, interruption.             floor 0: base
 *
 * The only state of the process that the library keeps besides allocator and log sink: how many threads kernels use, and
 * whether somebody asked for long work to stop. Both are plain words that may be set at any time.
 */
#include "base/base.h"

#include <omp.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

enum { MAX_THREADS = 4096 };

/* 0: as many as OpenMP says. */
static int n_threads;
static volatile sig_atomic_t was_interrupted;

double sondep_seconds(void)
{
    struct timespec now;
    /* Does not jump when somebody sets the clock. */
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int64_t sondep_peak_bytes(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
    return usage.ru_maxrss; /* bytes there, KiB elsewhere */
#else
    return (int64_t)usage.ru_maxrss * 1024;
#endif
}

int sonde_threads(void)
{
    return n_threads > 0 ? n_threads : omp_get_max_threads();
}

sonde_status sonde_set_threads(int n)
{
    if (n < 0 || n > MAX_THREADS)
        return SONDE_FAIL(SONDE_E_ARG, "number of threads is %d, outside [0, %d]", n, (int)MAX_THREADS);
    /* Products inside BLAS ask OpenMP, not us. */
    n_threads = n;
    omp_set_num_threads(n > 0 ? n : omp_get_num_procs());
    return SONDE_OK;
}

void sonde_interrupt(bool on)
{
    was_interrupted = on;
}

bool sondep_interrupted(void)
{
    return was_interrupted != 0;
}
