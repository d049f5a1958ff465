/* base/base.h - what every file of the library stands on.                      floor 0: base
 *
 * Errors that are forwarded unchanged, memory through one door (so that tests can make the nth allocation fail),
 * checked sizes, growing strings, and an arena for scratch that is planned before a run.
 */
#ifndef SONDEP_BASE_H
#define SONDEP_BASE_H

#include <sonde/base.h>

#include <stdarg.h>
#include <string.h>

/* ---- errors ---------------------------------------------------------------------------------------------------- */

/* Records an error of this thread and returns `status`. Control characters and bytes that are not UTF-8 are escaped
 * as \xHH, so that the message is one clean line whatever a file's names hold. */
sonde_status sondep_fail(sonde_status status, const char *file, int line, const char *format, ...) SONDE_PRINTF(4, 5);

/* Adds what to do about it to the error just recorded; returns `status`. */
sonde_status sondep_hint(sonde_status status, const char *format, ...) SONDE_PRINTF(2, 3);

/* The status is also the value of the macro itself, so that a compiler sees that it is not SONDE_OK. */
#define SONDE_FAIL(status, ...) sondep_as_status(sondep_fail((status), __FILE__, __LINE__, __VA_ARGS__), (status))
static inline sonde_status sondep_as_status(sonde_status recorded, sonde_status status)
{
    (void)recorded;
    return status;
}

/* Forwards an error unchanged: by returning it, or by `goto done` where something must be freed first (the function
 * then has a local `status`). */
#define SONDE_TRY(call)                       \
    do {                                      \
        sonde_status status_of_try_ = (call); \
        if (status_of_try_ != SONDE_OK)       \
            return status_of_try_;            \
    } while (0)
#define SONDE_TRY_DONE(call)    \
    do {                        \
        status = (call);        \
        if (status != SONDE_OK) \
            goto done;          \
    } while (0)

/* The caller's bug: prints the place to stderr and aborts, in release builds too. */
void sondep_assert_failed(const char *what, const char *file, int line);
#define SONDE_ASSERT(condition) ((condition) ? (void)0 : sondep_assert_failed(#condition, __FILE__, __LINE__))

/* A line to the log sink; nothing is formatted while there is none. */
void sondep_log(sonde_log_level level, const char *format, ...) SONDE_PRINTF(2, 3);

/* ---- options ---------------------------------------------------------------------------------------------------- */

/* The caller's options over the defaults that `out` holds; both begin with their struct_size. A shorter struct of an older
 * caller leaves the newer fields at their defaults; NULL leaves all. `what` names them in the error.
 * Errors: SONDE_E_ARG for a size below that of struct_size or above `bytes`, which is that of `out`. */
sonde_status sondep_opts_read(void *out, size_t bytes, const void *opts, const char *what);

/* ---- memory ---------------------------------------------------------------------------------------------------- */

/* n objects of `size` bytes, zeroed; NULL and an error recorded if there is no memory or n * size overflows.
 * n = 0 gives a pointer that may be freed. */
void *sondep_alloc(int64_t n, size_t size);

/* As realloc for n objects: the old block is untouched on failure; what is new is not zeroed. */
void *sondep_resize(void *p, int64_t n, size_t size);

/* Room for n objects of `size` bytes at least, in the array whose pointer `array` is the address of; what is new is not zeroed. Twice as much
 * each time: n objects, added one by one, cost O(n) copies in all. The array is untouched on failure. */
sonde_status sondep_grow(void *array, int64_t *capacity, int64_t n, size_t size);

/* Frees what the three above gave; NULL is fine. */
void sondep_free(void *p);

/* `p = n zeroed objects of its type`, as a status. */
#define SONDE_NEW(p, n) (((p) = sondep_alloc((n), sizeof *(p))) ? SONDE_OK : SONDE_E_NOMEM)

/* A copy of n bytes with a NUL behind it. */
sonde_status sondep_copy_bytes(char **out, const char *bytes, size_t n);
sonde_status sondep_copy_string(char **out, const char *text);

/* out = a * b or a + b; SONDE_E_RANGE names `what` if it does not fit (or an argument is negative). */
sonde_status sondep_mul_size(size_t *out, size_t a, size_t b, const char *what);
sonde_status sondep_mul_i64(int64_t *out, int64_t a, int64_t b, const char *what);

/* A large block for activations and scratch, 64-byte aligned, in huge pages where the system gives them, zeroed.
 * (First touch of 4 KiB pages runs at 3 GB/s, of huge ones at 21-24.) */
sonde_status sondep_map_block(void **out, size_t bytes);
void sondep_unmap_block(void *block, size_t bytes);

/* Scratch that is taken in order and given back all at once. The block grows only between runs: reserve() what the plan
 * says, take() cannot fail then. */
typedef struct sondep_arena {
    char *block;
    size_t bytes, used, peak;
} sondep_arena;

sonde_status sondep_arena_reserve(sondep_arena *arena, size_t bytes); /* only while nothing is taken */
void *sondep_arena_take(sondep_arena *arena, size_t bytes);           /* 64-byte aligned; asserts that it was reserved */
void sondep_arena_reset(sondep_arena *arena, size_t used);            /* gives back all that was taken since `used` */
void sondep_arena_release(sondep_arena *arena);

/* Bytes that take() needs for an array of n floats. */
static inline size_t sondep_arena_floats(int64_t n)
{
    return ((size_t)n * sizeof(float) + 63) & ~(size_t)63;
}

/* Takes n floats from an arena, or only counts their bytes while it is NULL: the same lines plan and lay out. */
static inline float *sondep_arena_plan(sondep_arena *arena, size_t *bytes, int64_t n)
{
    *bytes += sondep_arena_floats(n);
    return arena && n > 0 ? sondep_arena_take(arena, (size_t)n * sizeof(float)) : NULL;
}

/* ---- strings ---------------------------------------------------------------------------------------------------- */

/* A growing string, always with a NUL behind its n bytes. Zero-initialise it. */
typedef struct sondep_string {
    char *text;
    size_t n, capacity;
} sondep_string;

sonde_status sondep_string_append(sondep_string *s, const char *bytes, size_t n);
sonde_status sondep_string_printf(sondep_string *s, const char *format, ...) SONDE_PRINTF(2, 3);
void sondep_string_release(sondep_string *s);

/* Length of the UTF-8 character at text[0..n) (1 to 4), its code point in *out; 0 if the bytes are not valid UTF-8
 * (overlong forms, surrogates and code points above 0x10FFFF are not). n >= 1. */
int sondep_utf8_decode(uint32_t *out, const char *text, size_t n);

/* Writes a code point as 1 to 4 bytes and returns how many. */
int sondep_utf8_encode(char out[4], uint32_t code_point);

/* SONDE_OK, or SONDE_E_FORMAT naming `what` and the first byte that is not UTF-8. */
sonde_status sondep_utf8_check(const char *text, size_t n, const char *what);

/* ---- orders ------------------------------------------------------------------------------------------------------ */

/* Place of number i of n in an order: a permutation of [0, n) for each seed and stream. n < 2^62. */
int64_t sondep_permute(int64_t i, int64_t n, uint64_t seed, uint64_t stream);

/* ---- time and machine ------------------------------------------------------------------------------------------- */

double sondep_seconds(void);     /* a steady clock */
int64_t sondep_peak_bytes(void); /* peak resident memory of this process */
bool sondep_interrupted(void);   /* true once sonde_interrupt() was called */

#endif
