/* memory.c - one door to memory: small objects, huge-page blocks, the arena.   floor 0: base
 *
 * Everything that the library allocates passes through `hooks`, so that a caller can bring an allocator and a test can
 * make the nth allocation fail. A size of 0 is asked for as 1 byte, so that NULL always means that there is no memory. Large blocks are mapped instead: they get huge pages, and are zero without being touched.
 */
#include "base/base.h"

#include <stdlib.h>
#include <sys/mman.h>

/* The C library, which is what callers get who bring no allocator. */
static void *system_alloc(size_t bytes, void *ctx)
{
    (void)ctx;
    return malloc(bytes);
}

static void *system_resize(void *p, size_t bytes, void *ctx)
{
    (void)ctx;
    return realloc(p, bytes);
}

static void system_release(void *p, void *ctx)
{
    (void)ctx;
    free(p);
}

static const sonde_allocator system_allocator = {system_alloc, system_resize, system_release, NULL};
static const sonde_allocator *hooks = &system_allocator;

sonde_status sonde_set_allocator(const sonde_allocator *allocator)
{
    if (allocator != NULL && (!allocator->alloc || !allocator->resize || !allocator->release))
        return SONDE_FAIL(SONDE_E_ARG, "an allocator needs all of alloc, resize and release");
    hooks = allocator ? allocator : &system_allocator;
    return SONDE_OK;
}

/* Records the error, whose record needs no memory. */
static void *fail_no_memory(int64_t n, size_t size)
{
    SONDE_FAIL(SONDE_E_NOMEM, "out of memory: %lld x %zu bytes", (long long)n, size);
    return NULL;
}

/* Bytes of n objects, at least 1; 0 if that overflows. */
static size_t object_bytes(int64_t n, size_t size)
{
    size_t bytes;
    if (n < 0 || __builtin_mul_overflow((size_t)n, size, &bytes) || bytes > PTRDIFF_MAX)
        return 0;
    return bytes ? bytes : 1;
}

/* Zeroed, so that a half-made object can be freed by the code that frees a whole one. */
void *sondep_alloc(int64_t n, size_t size)
{
    size_t bytes = object_bytes(n, size);
    void *p = bytes ? hooks->alloc(bytes, hooks->ctx) : NULL;
    return p ? memset(p, 0, bytes) : fail_no_memory(n, size);
}

void *sondep_resize(void *p, int64_t n, size_t size)
{
    size_t bytes = object_bytes(n, size);
    void *q = bytes ? hooks->resize(p, bytes, hooks->ctx) : NULL;
    return q ? q : fail_no_memory(n, size);
}

/* Copied, not cast: the pointer may be one of any type. */
sonde_status sondep_grow(void *array, int64_t *capacity, int64_t n, size_t size)
{
    void *old, *grown;
    int64_t wanted = *capacity ? *capacity : 64;

    if (n <= *capacity)
        return SONDE_OK;
    while (wanted < n)
        wanted *= 2;
    memcpy(&old, array, sizeof old);
    grown = sondep_resize(old, wanted, size);
    if (grown == NULL)
        return SONDE_E_NOMEM;
    memcpy(array, &grown, sizeof grown);
    *capacity = wanted;
    return SONDE_OK;
}

void sondep_free(void *p)
{
    if (p != NULL)
        hooks->release(p, hooks->ctx);
}

sonde_status sondep_copy_bytes(char **out, const char *bytes, size_t n)
{
    char *copy;
    SONDE_TRY(SONDE_NEW(copy, (int64_t)n + 1));
    if (n > 0)
        memcpy(copy, bytes, n);
    *out = copy;
    return SONDE_OK;
}

sonde_status sondep_copy_string(char **out, const char *text)
{
    return sondep_copy_bytes(out, text, strlen(text));
}

sonde_status sondep_mul_size(size_t *out, size_t a, size_t b, const char *what)
{
    if (__builtin_mul_overflow(a, b, out) || *out > PTRDIFF_MAX)
        return SONDE_FAIL(SONDE_E_RANGE, "%s is too large: %zu x %zu", what, a, b);
    return SONDE_OK;
}

sonde_status sondep_mul_i64(int64_t *out, int64_t a, int64_t b, const char *what)
{
    if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, out))
        return SONDE_FAIL(SONDE_E_RANGE, "%s is too large: %lld x %lld", what, (long long)a, (long long)b);
    return SONDE_OK;
}

/* Blocks of this size and more are worth huge pages. */
enum { HUGE_PAGE = 2 << 20 };

sonde_status sondep_map_block(void **out, size_t bytes)
{
    void *block;
    *out = NULL;
    if (bytes == 0)
        return SONDE_OK;
    block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
        return SONDE_FAIL(SONDE_E_NOMEM, "out of memory: a block of %zu bytes", bytes);
#ifdef MADV_HUGEPAGE
    if (bytes >= HUGE_PAGE)
        (void)madvise(block, bytes, MADV_HUGEPAGE); /* a wish: where it is refused, small pages do */
#endif
    *out = block;
    return SONDE_OK;
}

void sondep_unmap_block(void *block, size_t bytes)
{
    if (block != NULL)
        munmap(block, bytes);
}

/* The old block is given back after the new one is there: on failure nothing has changed. */
sonde_status sondep_arena_reserve(sondep_arena *arena, size_t bytes)
{
    void *block;
    SONDE_ASSERT(arena->used == 0);
    if (bytes <= arena->bytes)
        return SONDE_OK;
    SONDE_TRY(sondep_map_block(&block, bytes));
    sondep_unmap_block(arena->block, arena->bytes);
    arena->block = block;
    arena->bytes = bytes;
    return SONDE_OK;
}

/* A plan that was too small is our own bug, not the caller's data: an assertion. */
void *sondep_arena_take(sondep_arena *arena, size_t bytes)
{
    size_t at = arena->used, rounded = (bytes + 63) & ~(size_t)63;
    SONDE_ASSERT(rounded >= bytes && rounded <= arena->bytes - at);
    arena->used = at + rounded;
    if (arena->used > arena->peak)
        arena->peak = arena->used;
    return arena->block + at;
}

void sondep_arena_reset(sondep_arena *arena, size_t used)
{
    SONDE_ASSERT(used <= arena->used);
    arena->used = used;
}

void sondep_arena_release(sondep_arena *arena)
{
    sondep_unmap_block(arena->block, arena->bytes);
    *arena = (sondep_arena){0};
}
