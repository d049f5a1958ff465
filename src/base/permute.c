/* permute.c - orders that are computed, not kept.                              floor 0: base
 *
 * A Feistel network over the next power of 4, whose rounds are Philox numbers; a result outside is put through again until it
 * lies inside, which it does after at most a few times, since what is permuted comes back to where it began.
 *
 *   (left, right) -> (right, left ^ F(round, right))
 */
#include "base/base.h"

enum { ROUNDS = 8 };

/* Number i of [0, 4^half_bits) through the network. */
static uint64_t encipher(uint64_t i, int half_bits, uint64_t seed, uint64_t stream)
{
    uint64_t mask = ((uint64_t)1 << half_bits) - 1, left = i >> half_bits, right = i & mask;

    /* Whatever F is, each round can be undone: so the whole is a permutation. */
    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint32_t bits[4];
        uint64_t other = left;
        sonde_random_bits(bits, seed, stream, round << 32 | right);
        left = right;
        right = other ^ (bits[0] & mask);
    }
    return left << half_bits | right;
}

int64_t sondep_permute(int64_t i, int64_t n, uint64_t seed, uint64_t stream)
{
    int half_bits = 1;
    uint64_t at = (uint64_t)i;

    /* Less than 4 times too large: the walk takes 4 steps on average at most. */
    while (((uint64_t)1 << (2 * half_bits)) < (uint64_t)n)
        half_bits++;
    do
        at = encipher(at, half_bits, seed, stream);
    while (at >= (uint64_t)n);
    return (int64_t)at;
}
