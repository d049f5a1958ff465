/* sonde/base.h - status, errors, log, threads, random numbers.                 floor 0: base
 *
 * Every function that can fail returns a sonde_status: 0 is success, negative an error. The text of the
 * last error of the calling thread lies in sonde_last_error(). The library never prints, never exits,
 * installs no signal handler and sets no locale.
 */
#ifndef SONDE_BASE_H
#define SONDE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SONDE_VERSION_MAJOR 0
#define SONDE_VERSION_MINOR 1
#define SONDE_VERSION_PATCH 0

#if defined(__GNUC__)
#define SONDE_API __attribute__((visibility("default")))
#define SONDE_MUST_USE __attribute__((warn_unused_result))
#define SONDE_PRINTF(text, first) __attribute__((__format__(__printf__, text, first)))
#else
#define SONDE_API
#define SONDE_MUST_USE
#define SONDE_PRINTF(text, first)
#endif

/* The one list of statuses: name, value, exit code of the program, what it means.
 * Values are pinned; new ones are appended. */
#define SONDE_STATUS_LIST(X)                                                         \
    X(SONDE_OK, 0, 0, "success")                                                     \
    X(SONDE_E_ARG, -1, 2, "an argument or option is wrong")                          \
    X(SONDE_E_NOMEM, -2, 4, "out of memory")                                         \
    X(SONDE_E_IO, -3, 4, "reading or writing failed")                                \
    X(SONDE_E_FORMAT, -4, 3, "a file is damaged or is not what it should be")        \
    X(SONDE_E_NONFINITE, -5, 5, "a number is not finite")                            \
    X(SONDE_E_SHAPE, -6, 3, "shapes do not agree")                                   \
    X(SONDE_E_UNSUPPORTED, -7, 3, "a valid input that sonde does not handle")        \
    X(SONDE_E_NOTFOUND, -8, 3, "a file, tensor or field is missing")                 \
    X(SONDE_E_RANGE, -9, 3, "a value of the input is outside its bounds")            \
    X(SONDE_E_HOOK, -10, 2, "a hook pattern matches nothing, or a hook never fired") \
    X(SONDE_E_INTERRUPTED, -11, 130, "interrupted")                                  \
    X(SONDE_E_STATE, -12, 70, "functions were called in the wrong order")

#define SONDE_STATUS_ENUM(name, value, exit_code, text) name = (value),
typedef enum sonde_status { SONDE_STATUS_LIST(SONDE_STATUS_ENUM) } sonde_status;
#undef SONDE_STATUS_ENUM

/* The last error of a thread. */
typedef struct sonde_error {
    sonde_status status; /* SONDE_OK while nothing has failed */
    int line;            /* where in sonde's source it was found */
    const char *file;
    char message[512]; /* one line of UTF-8, lower case, no full stop, subject in single quotes */
    char hint[256];    /* what to do about it, or "" */
} sonde_error;

/* Version of the library that is linked, as "major.minor.patch".
 * Owns: borrows; a static string. Errors: none. */
SONDE_API const char *sonde_version(void);

/* Name of a status ("SONDE_E_SHAPE"), its text, and the exit code that the program gives it.
 * An unknown value gives "SONDE_E_UNKNOWN", "unknown status" and 70.
 * Owns: borrows; static strings. Errors: none. */
SONDE_API const char *sonde_status_name(sonde_status status);
SONDE_API const char *sonde_status_text(sonde_status status);
SONDE_API int sonde_status_exit_code(sonde_status status);

/* The last error of the calling thread; its message is set whenever a function returned non-zero.
 * Owns: borrows; valid until the next call that fails on this thread. Errors: none. */
SONDE_API const sonde_error *sonde_last_error(void);

/* Forgets the last error of the calling thread. Owns: nothing. Errors: none. */
SONDE_API void sonde_clear_error(void);

/* Log levels, most important first. */
typedef enum sonde_log_level { SONDE_LOG_WARN = 1, SONDE_LOG_NOTE = 2, SONDE_LOG_DEBUG = 3 } sonde_log_level;

/* Receives one line without a newline; it may come from any thread, never from two at once. */
typedef void sonde_log_fn(sonde_log_level level, const char *line, void *ctx);

/* Sends the library's notes (an ignored config field, a skipped id) to `fn`; NULL silences them again,
 * which is how the library starts. Process-wide.
 * Owns: borrows ctx until the next call. Errors: none. */
SONDE_API void sonde_log_to(sonde_log_fn *fn, void *ctx);

/* Number of threads that kernels use, and how to set it (n >= 1; 0 means all processors). Process-wide.
 * Results do not depend on it. Owns: nothing. Errors: sonde_set_threads gives SONDE_E_ARG for n outside [0, 4096]. */
SONDE_API int sonde_threads(void);
SONDE_API sonde_status sonde_set_threads(int n) SONDE_MUST_USE;

/* Asks long work to stop at its next safe place, where it returns SONDE_E_INTERRUPTED; `false` takes it back.
 * May be called from a signal handler and from any thread. Process-wide. Owns: nothing. Errors: none. */
SONDE_API void sonde_interrupt(bool on);

/* Memory functions that the library takes in place of malloc, realloc and free; all three or none (NULL restores them).
 * To be called before anything else of the library. What is allocated is at least 16-byte aligned. */
typedef struct sonde_allocator {
    void *(*alloc)(size_t bytes, void *ctx);
    void *(*resize)(void *p, size_t bytes, void *ctx);
    void (*release)(void *p, void *ctx);
    void *ctx;
} sonde_allocator;

/* Sets them, process-wide. Owns: borrows `allocator`, which must live as long as the library is used. Errors: SONDE_E_ARG if a function is NULL. */
SONDE_API sonde_status sonde_set_allocator(const sonde_allocator *allocator) SONDE_MUST_USE;

/* Counter-based random numbers: Philox4x32-10. Number `counter` of stream `stream` of seed `seed`, whoever asks,
 * in whatever order, on however many threads.
 *
 * out      (4)  32 random bits each
 *
 * Errors: none. Owns: nothing. Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
 * Reference: the known answers of Random123 (tests/unit/base). */
SONDE_API void sonde_random_bits(uint32_t out[4], uint64_t seed, uint64_t stream, uint64_t counter);

/* Number `counter` of a stream as a double, uniform in [0, 1) with 53 bits, or normal (Box-Muller; mean 0, deviation 1).
 * Errors: none. Owns: nothing. Source: as above. */
SONDE_API double sonde_random_uniform(uint64_t seed, uint64_t stream, uint64_t counter);
SONDE_API double sonde_random_normal(uint64_t seed, uint64_t stream, uint64_t counter);

#ifdef __cplusplus
}
#endif
#endif
