/* cli/bench.h - what the verbs of `sonde bench` share.                         floor 10: cli */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "cli.h"

/* A model from its folder, or, where `shape` is not NULL, one with random weights of a known shape. */
sonde_status bench_open_model(cli_model *m, const cli_call *call, const char *command, const char *shape);

/* Ids that are the same in every run. */
void bench_fill_tokens(int32_t *tokens, int64_t n, int64_t n_vocab);

/* The middle of n numbers, which are sorted here. */
double bench_median(double *x, int64_t n);

/* The higher of two measurements of the peak, before and after what is timed: other programs and the clock change it. */
typedef struct bench_peak {
    double gflops;
} bench_peak;
void bench_measure_peak(bench_peak *peak);

#endif
