/* A pickle: what is accepted names values that are there, whatever it holds within each other. */
#include "format/pickle.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    sondep_pickle pickle;
    sonde_status status;
    char *copy = malloc(n ? n : 1); /* of the input's size, with bytes behind it out of bounds for the sanitizer */

    FUZZ_REQUIRE(copy != NULL);
    memcpy(copy, data, n);
    sonde_clear_error();
    status = sondep_pickle_read(&pickle, copy, n, "x.pt");
    fuzz_check(status);
    FUZZ_REQUIRE(pickle.n <= (int64_t)n);
    FUZZ_REQUIRE(status != SONDE_OK || (pickle.root >= 0 && pickle.root < pickle.n));
    for (int64_t i = 0; i < pickle.n; i++) {
        const sondep_pickle_node *node = &pickle.nodes[i];
        FUZZ_REQUIRE(node->text == NULL || (node->text >= copy && node->text + node->n <= copy + n));
        for (int64_t k = 0; k < node->n_items; k++)
            FUZZ_REQUIRE(node->items[k] >= 0 && node->items[k] < pickle.n);
    }
    sondep_pickle_release(&pickle);
    free(copy);
    return 0;
}
