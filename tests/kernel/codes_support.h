/* tests/kernel/codes_support.h - sparse codes for the tests of their kernels. */
#ifndef CODES_SUPPORT_H
#define CODES_SUPPORT_H

#include "kernel/kernel_support.h"

/* Room for N rows, filled with what no kernel writes. */
static inline sondep_codes take_codes(int64_t N, int64_t capacity)
{
    sondep_codes c = {take((size_t)(N * capacity) * sizeof(int32_t)), take((size_t)(N * capacity) * sizeof(float)),
                      take((size_t)N * sizeof(int64_t)), capacity};
    memset(c.index, 0x55, (size_t)(N * capacity) * sizeof(int32_t));
    memset(c.value, 0x55, (size_t)(N * capacity) * sizeof(float));
    memset(c.count, 0x55, (size_t)N * sizeof(int64_t));
    return c;
}

static inline void free_codes(sondep_codes *c)
{
    free(c->index), free(c->value), free(c->count);
}

/* All of it: also what lies behind the pairs, which nobody may touch. */
static inline void assert_same_codes(const sondep_codes *a, const sondep_codes *b, int64_t N, const char *what)
{
    assert_same_bytes(a->count, b->count, (size_t)N * sizeof *a->count, what);
    assert_same_bytes(a->index, b->index, (size_t)(N * a->capacity) * sizeof *a->index, what);
    assert_same_bytes(a->value, b->value, (size_t)(N * a->capacity) * sizeof *a->value, what);
}

#endif
