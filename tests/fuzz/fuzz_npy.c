/* A numpy file in memory: what is decoded has the bytes that its shape says. */
#include "format/npy.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    sonde_tensor t = {0};
    sonde_status status;
    char *copy = malloc(n + 1); /* of the input's size, with bytes behind it out of bounds for the sanitizer */

    FUZZ_REQUIRE(copy != NULL);
    memcpy(copy, data, n);
    copy = realloc(copy, n ? n : 1);
    sonde_clear_error();
    status = sondep_npy_decode(&t, copy, n, "x.npy");
    fuzz_check(status);
    free(copy);
    if (status != SONDE_OK)
        return 0;
    FUZZ_REQUIRE(sonde_tensor_bytes(&t) <= n);
    for (int64_t i = 0; i < sonde_tensor_n_elements(&t); i++) {
        double x;
        sonde_convert_to_f64(&x, (const char *)t.data + (size_t)i * sonde_dtype_bytes(t.dtype), t.dtype, 1);
    }
    sonde_npy_free(&t);
    return 0;
}
