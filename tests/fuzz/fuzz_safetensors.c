/* A safetensors file, or (where the input begins with a brace) an index beside a good shard: every byte of every tensor that
 * is given out can be read. */
#include <sonde/format.h>

#include "fuzz.h"

static const char shard[] =
    "\x40\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}          \1\2\3\4";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    bool is_index = n > 0 && data[0] == '{';
    const char *path;
    sonde_safetensors *file;
    sonde_status status;
    unsigned sum = 0;

    if (is_index)
        (void)fuzz_file("s.safetensors", shard, sizeof shard - 1);
    path = fuzz_file(is_index ? "model.safetensors.index.json" : "x.safetensors", data, n);
    sonde_clear_error();
    status = sonde_safetensors_open(&file, path);
    fuzz_check(status);
    FUZZ_REQUIRE((status == SONDE_OK) == (file != NULL));
    if (status != SONDE_OK)
        return 0;
    for (int64_t i = 0; i < sonde_safetensors_n(file); i++) {
        const char *name = sonde_safetensors_name(file, i);
        sonde_tensor t, again;
        size_t bytes;
        sonde_safetensors_at(&t, file, i);
        FUZZ_REQUIRE(sonde_safetensors_get(&again, file, name) == SONDE_OK && again.data == t.data);
        bytes = sonde_tensor_bytes(&t);
        FUZZ_REQUIRE(bytes <= n + sizeof shard);
        for (size_t b = 0; b < bytes; b++)
            sum += ((const unsigned char *)t.data)[b];
    }
    (void)sonde_safetensors_metadata(file, "format");
    sonde_safetensors_close(file);
    return sum == 1u << 31 ? -1 : 0; /* uses the sum, so that the reads stay */
}
