/* sonde/analysis.h - what activations look like in numbers, and how alike they are.    floor 8: analysis
 *
 * Everything here is summed in double, whatever the tensors hold. Statistics stream: they take values piece by piece and
 * never need all of them; the result depends on the order of the values only, not on how they were cut into calls nor on
 * the number of threads. What is not defined (the kurtosis of a constant, the cosine with a vector of zeros) is NaN, which
 * the program prints as null in JSON and as `-` in tables.
 *
 * Terms: a neuron is one coordinate of a hook point (`blocks.0.hook_resid_post` of stories15M has 288); where a point has
 * heads, neuron i is head i / h, coordinate i % h. Attention scores and patterns have a row of keys for each head and
 * query; their "neuron" is the head.
 */
#ifndef SONDE_ANALYSIS_H
#define SONDE_ANALYSIS_H

#include <sonde/hook.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- one series of numbers --------------------------------------------------------------------------------------- */

/* The one list of statistics: value, name on the command line and in JSON, what it is (n values x, m_k = mean((x - mean)^k)). */
#define SONDE_STATISTIC_LIST(X)                                                                        \
    X(SONDE_STAT_MEAN, "mean", "sum(x) / n")                                                           \
    X(SONDE_STAT_STD, "std", "sqrt(m_2): of the population, as numpy's default (ddof 0)")              \
    X(SONDE_STAT_MIN, "min", "smallest value")                                                         \
    X(SONDE_STAT_MAX, "max", "largest value")                                                          \
    X(SONDE_STAT_L2, "l2", "sqrt(sum(x^2))")                                                           \
    X(SONDE_STAT_RMS, "rms", "sqrt(sum(x^2) / n)")                                                     \
    X(SONDE_STAT_MEAN_ABS, "mean_abs", "sum(|x|) / n")                                                 \
    X(SONDE_STAT_SPARSITY, "sparsity", "share of values that are exactly 0")                           \
    X(SONDE_STAT_BELOW, "below", "share of values with |x| below the threshold")                       \
    X(SONDE_STAT_SKEWNESS, "skewness", "m_3 / m_2^1.5, of the population; not defined for a constant") \
    X(SONDE_STAT_KURTOSIS, "kurtosis",                                                                 \
      "m_4 / m_2^2 - 3: excess (a normal distribution has 0), of the population; not defined for a constant")

#define SONDE_STATISTIC_ENUM(value, name, formula) value,
typedef enum sonde_statistic { SONDE_STATISTIC_LIST(SONDE_STATISTIC_ENUM) SONDE_N_STATISTICS } sonde_statistic;
#undef SONDE_STATISTIC_ENUM

/* Name and formula of a statistic ("?" for a value outside the list). Owns: borrows; static strings. Errors: none. */
SONDE_API const char *sonde_statistic_name(sonde_statistic which);
SONDE_API const char *sonde_statistic_formula(sonde_statistic which);

/* Statistic with a name. Owns: nothing. Errors: SONDE_E_ARG names the text, its hint lists the names; `out` is untouched. */
SONDE_API sonde_status sonde_statistic_parse(sonde_statistic *out, const char *name) SONDE_MUST_USE;

/* All that is needed of a series to state every statistic above, and to join it to another. Zero-initialised it is the
 * empty series; two empty ones joined are empty. */
typedef struct sonde_moments {
    int64_t n;        /* values that count */
    int64_t n_masked; /* -inf that were left out */
    int64_t n_zero, n_below;
    double origin, offset; /* the first value, and how far the mean lies from it: mean = origin + offset */
    double m2, m3, m4;     /* sums (not means) of (x - mean)^k */
    double min, max, sum_abs, sum_squares;
} sonde_moments;

/* Adds n values in two passes: the mean first, then powers of the distance from it.
 *
 * m          in and out
 * x          n values; with `skip_masked`, -inf is left out and counted in n_masked
 * threshold  |x| < threshold counts in n_below
 *
 * Owns: nothing. Cost: 16 n flops. m is untouched on failure.
 * Errors: SONDE_E_NONFINITE names the index of the first NaN or infinity.
 * Source: Chan, Golub, LeVeque 1983 (corrected two-pass); joined as sonde_moments_merge.
 * Reference: exact fractions, numpy and scipy: tests/oracle/analysis_golden.py. */
SONDE_API sonde_status sonde_moments_add(sonde_moments *m, const float *x, int64_t n, double threshold,
                                         bool skip_masked) SONDE_MUST_USE;

/* Adds N rows to a series for each column, one row after the other.
 *
 * columns    (C) with the same number of rows each so far
 * x          (N,C)
 *
 * Owns: nothing. Threads: columns are spread over sonde_threads(); each is summed by one thread in the order of rows, so
 * bytes depend neither on threads nor on how rows were cut into calls. Cost: 30 N C flops. Columns are untouched on failure.
 * Errors: SONDE_E_NONFINITE names row and column of the first one; SONDE_E_STATE if the numbers of rows differ.
 * Source: Pebay 2008, SAND2008-6212, eqs. 2.1 and 3.1 with one added value. Reference: as above. */
SONDE_API sonde_status sonde_moments_add_rows(sonde_moments *columns, const float *x, int64_t N, int64_t C,
                                              double threshold) SONDE_MUST_USE;

/* Joins series b to series a: a becomes what adding b's values to it would have made it.
 * Owns: nothing. Errors: none. Source: Pebay 2008, eq. 2.1 (Chan et al. for m2). Reference: as above. */
SONDE_API void sonde_moments_merge(sonde_moments *a, const sonde_moments *b);

/* A statistic of a series; NaN for an empty one, and where the list says that it is not defined.
 * Owns: nothing. Errors: none. Source: the list above. Reference: as above. */
SONDE_API double sonde_moments_get(const sonde_moments *m, sonde_statistic which);

/* Indices of the k largest (or smallest) of n values, best first. Ties: the lower index wins. NaN is never chosen.
 *
 * out     (k)  room for k; k <= n
 *
 * Owns: nothing; allocates nothing. Cost: n log k. Errors: none. Returns how many were chosen: k, or fewer where values are NaN. */
SONDE_API int64_t sonde_top_k(int64_t *out, const double *values, int64_t n, int64_t k, bool largest);

/* ---- statistics of a hook point ---------------------------------------------------------------------------------- */

/* Values of one token at a point: all neurons, or for attention points (H, n_keys) of one query.
 *
 * out     width floats are needed: sonde_hook_n_neurons(point), times n_keys for attention points
 * x       what a hook got or a run captured: [B, T, ...] or [B, H, T, T]
 * b, t    sequence and position (query)
 * n_keys  keys to take, <= the last axis: the sequence's own length; ignored for other points
 *
 * Owns: nothing. Errors: none: indices outside the tensor are the caller's bug. Returns width. */
SONDE_API int64_t sonde_hook_token(float *out, const sonde_hook_point *point, const sonde_tensor *x, int64_t b, int64_t t,
                                   int64_t n_keys);

/* By what neurons are called more or less active: |x| or x itself. */
typedef enum sonde_rank { SONDE_RANK_ABS = 0, SONDE_RANK_VALUE = 1 } sonde_rank;

typedef struct sonde_stats_opts {
    size_t struct_size;
    double threshold;    /* of `below`; 1e-3 */
    int64_t rank;        /* sonde_rank; of the neurons that are kept for each token */
    int64_t keep_tokens; /* 1: a series for each token is kept (100 bytes each); 0: only neurons and all values together */
    int64_t top;         /* most and least active neurons that are kept for each token; 0 */
} sonde_stats_opts;

/* The defaults: threshold 1e-3, |x|, nothing kept for each token. Owns: nothing. Errors: none. */
SONDE_API void sonde_stats_opts_init(sonde_stats_opts *out);

/* Statistics of one hook point over any number of passes. */
typedef struct sonde_stats sonde_stats;

/* An empty collection. `opts` NULL means defaults.
 * Owns: *out is yours: sonde_stats_free; copies what it needs of the point. Errors: SONDE_E_ARG (an option outside its
 * bounds), SONDE_E_NOMEM. *out is NULL then. */
SONDE_API sonde_status sonde_stats_new(sonde_stats **out, const sonde_hook_point *point,
                                       const sonde_stats_opts *opts) SONDE_MUST_USE;
SONDE_API void sonde_stats_free(sonde_stats *stats);

/* Adds the real tokens of a pass (padding is left out), sequence after sequence. Meant to be called from a hook.
 *
 * event      as a hook gets it: n_sequences, n_positions, lengths and first_positions are read
 * x          the tensor of the point, f32
 * leave_out  (B,T) tokens that do not count (a BOS, whose norm is often a hundred times the others'), or NULL
 *
 * For attention points -inf is left out, and so are the keys of padding; the exact zeros of a pattern behind the diagonal count.
 *
 * Owns: borrows during the call. Threads: bytes do not depend on their number.
 * Errors: SONDE_E_SHAPE (x does not fit the point), SONDE_E_NONFINITE (point, sequence, position, neuron), SONDE_E_NOMEM. */
SONDE_API sonde_status sonde_stats_add(sonde_stats *stats, const sonde_hook_event *event, const sonde_tensor *x,
                                       const bool *leave_out) SONDE_MUST_USE;

/* What was collected: all values as one series; a series for each neuron; the number of tokens that counted; and, if kept,
 * a series for each of these in order, NULL otherwise.
 * Owns: borrows; valid until the next add. Errors: none. */
SONDE_API const sonde_moments *sonde_stats_total(const sonde_stats *stats);
SONDE_API const sonde_moments *sonde_stats_neurons(const sonde_stats *stats, int64_t *n_neurons);
SONDE_API const sonde_moments *sonde_stats_tokens(const sonde_stats *stats, int64_t *n_tokens);

/* A neuron and its activation. */
typedef struct sonde_activity {
    int64_t neuron;
    double value;
} sonde_activity;

/* The most (or least) active neurons of kept token i, best first; for attention points the entries head * n_keys + key.
 * *n is how many (opts.top at most). Owns: borrows; valid until the next add. Errors: none; NULL and 0 if none are kept. */
SONDE_API const sonde_activity *sonde_stats_token_top(const sonde_stats *stats, int64_t i, bool most, int64_t *n);

/* ---- how alike two vectors are ----------------------------------------------------------------------------------- */

/* The one list of measures: value, name, formula for vectors a and b of n numbers. */
#define SONDE_SIMILARITY_LIST(X)                                                                            \
    X(SONDE_COSINE, "cosine", "a.b / (|a| |b|); not defined if either is 0")                                \
    X(SONDE_PEARSON, "pearson", "cosine of a - mean(a) and b - mean(b); not defined if either is constant") \
    X(SONDE_L2, "l2", "|b - a|")                                                                            \
    X(SONDE_RELATIVE, "relative", "|b - a| / |a|; not defined if a is 0; not symmetric")

#define SONDE_SIMILARITY_ENUM(value, name, formula) value,
typedef enum sonde_similarity { SONDE_SIMILARITY_LIST(SONDE_SIMILARITY_ENUM) SONDE_N_SIMILARITIES } sonde_similarity;
#undef SONDE_SIMILARITY_ENUM

/* Name and formula of a measure ("?" outside the list). Owns: borrows; static strings. Errors: none. */
SONDE_API const char *sonde_similarity_name(sonde_similarity which);
SONDE_API const char *sonde_similarity_formula(sonde_similarity which);

/* Measure with a name. Owns: nothing. Errors: SONDE_E_ARG names the text, its hint lists the names; `out` is untouched. */
SONDE_API sonde_status sonde_similarity_parse(sonde_similarity *out, const char *name) SONDE_MUST_USE;

/* out = the measure of a and b, each of n floats.
 * A vector compared with itself gives exactly 1, 1, 0 and 0 (NaN where it is not defined); cosine and pearson lie in [-1, 1].
 * Owns: nothing. Cost: 6 n flops. Errors: SONDE_E_NONFINITE names the index; `out` is untouched.
 * Source: the list above. Reference: numpy and scipy, tests/oracle/analysis_golden.py. */
SONDE_API sonde_status sonde_similarity_of(double *out, sonde_similarity which, const float *a, const float *b,
                                           int64_t n) SONDE_MUST_USE;

/* out[i][j] = the measure of row i of a and row j of b.
 *
 * out  (N,M)    a  (N,D)    b  (M,D), may be a itself
 *
 * Owns: nothing; takes 8 (N + M) D bytes while it works. Threads: rows are spread; bytes do not depend on their number.
 * Cost: 2 N M D flops. Errors: SONDE_E_NONFINITE names row and column; SONDE_E_NOMEM; SONDE_E_RANGE (sizes).
 * Source, Reference: as above. */
SONDE_API sonde_status sonde_similarity_matrix(double *out, sonde_similarity which, const float *a, int64_t N,
                                               const float *b, int64_t M, int64_t D) SONDE_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
