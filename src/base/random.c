/* random.c - Philox4x32-10: random numbers that are a function of (seed, stream, counter).   floor 0: base
 *
 * No state: number i of a stream is the same whoever asks for it and in whatever order, so results do not depend on the
 * number of threads, and a run resumes from a counter. */
#include "base/base.h"

#include <math.h>

void sonde_random_bits(uint32_t out[4], uint64_t seed, uint64_t stream, uint64_t counter)
{
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)(counter >> 32);
    uint32_t c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);

    /* Ten rounds; multipliers and Weyl constants are those of the paper. */
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ key0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ key1;
        c3 = (uint32_t)a;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* 53 bits of two words as a double in [0, 1). */
static double unit_double(uint32_t high, uint32_t low)
{
    return (double)(((uint64_t)high << 32 | low) >> 11) * 0x1p-53;
}

double sonde_random_uniform(uint64_t seed, uint64_t stream, uint64_t counter)
{
    uint32_t bits[4];
    sonde_random_bits(bits, seed, stream, counter);
    return unit_double(bits[0], bits[1]);
}

double sonde_random_normal(uint64_t seed, uint64_t stream, uint64_t counter)
{
    static const double two_pi = 6.283185307179586476925286766559;
    uint32_t bits[4];
    sonde_random_bits(bits, seed, stream, counter);
    /* 1 - u lies in (0, 1], so that the logarithm is finite. */
    return sqrt(-2.0 * log(1.0 - unit_double(bits[0], bits[1]))) * cos(two_pi * unit_double(bits[2], bits[3]));
}
