/* contexts.c - a stream of tokens cut into contexts, in an order of its own for each epoch.      floor 3: text
 *
 * Nothing is kept: where context number i lies is computed from the seed, its epoch and its number in there.
 */
#include <sonde/text.h>

#include "base/base.h"

/* Streams of random numbers that nothing else takes: one for each epoch. */
static uint64_t stream_of(int64_t epoch)
{
    static const uint64_t contexts = 0x636f6e7465787473u; /* "contexts" */
    return contexts ^ (uint64_t)epoch;
}

/* Where an epoch begins to cut: anywhere on the ring, so that no token is always the first or always left over. */
static int64_t offset_of(const sonde_contexts *c, int64_t epoch)
{
    uint32_t bits[4];
    sonde_random_bits(bits, c->seed, stream_of(epoch), UINT64_MAX);
    return (int64_t)(((uint64_t)bits[0] << 32 | bits[1]) % (uint64_t)sonde_corpus_n_tokens(c->corpus));
}

sonde_status sonde_contexts_init(sonde_contexts *out, const sonde_corpus *corpus, int64_t length, int64_t at_least,
                                 uint64_t seed)
{
    int64_t n_tokens = sonde_corpus_n_tokens(corpus);

    if (length < 1)
        return SONDE_FAIL(SONDE_E_ARG, "the length of a context is %lld, below 1", (long long)length);
    if (n_tokens == 0)
        return SONDE_FAIL(SONDE_E_RANGE, "the corpus is empty");
    /* Halves of the network are 32 bits at most. */
    if (n_tokens / length < (at_least > 1 ? at_least : 1) || n_tokens / length > (int64_t)1 << 62)
        return SONDE_FAIL(SONDE_E_RANGE, "the corpus has %lld tokens, which are %lld contexts of %lld; %lld are needed",
                          (long long)n_tokens, (long long)(n_tokens / length), (long long)length,
                          (long long)(at_least > 1 ? at_least : 1));
    *out = (sonde_contexts){.corpus = corpus, .length = length, .n = n_tokens / length, .seed = seed};
    return SONDE_OK;
}

int64_t sonde_contexts_first(const sonde_contexts *contexts, int64_t index)
{
    int64_t epoch = index / contexts->n, piece;

    SONDE_ASSERT(index >= 0);
    /* Both depend on the epoch: which pieces there are, and which of them comes when. */
    piece = sondep_permute(index % contexts->n, contexts->n, contexts->seed, stream_of(epoch));
    return (offset_of(contexts, epoch) + piece * contexts->length) % sonde_corpus_n_tokens(contexts->corpus);
}

void sonde_contexts_get(int32_t *out, const sonde_contexts *contexts, int64_t index)
{
    sonde_corpus_read(out, contexts->corpus, sonde_contexts_first(contexts, index), contexts->length + 1);
}
