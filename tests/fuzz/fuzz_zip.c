/* Archives: the first byte picks .npz or .pt; everything in them that can be read has the bytes that its shape says. */
#include <sonde/format.h>

#include "fuzz.h"

/* Reads all elements, and gives them back. */
static void use(sonde_tensor *t)
{
    for (int64_t i = 0; i < sonde_tensor_n_elements(t); i++) {
        double x;
        sonde_convert_to_f64(&x, (const char *)t->data + (size_t)i * sonde_dtype_bytes(t->dtype), t->dtype, 1);
    }
    sonde_npy_free(t);
}

static void walk_npz(const char *path)
{
    sonde_npz *file;
    sonde_status status = sonde_npz_open(&file, path);

    fuzz_check(status);
    for (int64_t i = 0; status == SONDE_OK && i < sonde_npz_n(file); i++) {
        sonde_tensor t;
        sonde_clear_error();
        if (sonde_npz_read(&t, file, sonde_npz_name(file, i)) == SONDE_OK)
            use(&t);
        else
            fuzz_check(sonde_last_error()->status);
    }
    if (status == SONDE_OK)
        sonde_npz_close(file);
}

static void walk_torch(const char *path)
{
    sonde_torch *file;
    sonde_status status = sonde_torch_open(&file, path);

    fuzz_check(status);
    for (int64_t i = 0; status == SONDE_OK && i < sonde_torch_n(file); i++) {
        sonde_tensor t;
        sonde_clear_error();
        FUZZ_REQUIRE(sonde_torch_find(file, sonde_torch_name(file, i)) <= i);
        sonde_torch_number(file, i);
        sonde_torch_text(file, i);
        if (sonde_torch_read(&t, file, i) == SONDE_OK)
            use(&t);
        else
            fuzz_check(sonde_last_error()->status);
    }
    if (status == SONDE_OK)
        sonde_torch_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0 || n > 1 << 16)
        return 0;
    sonde_clear_error();
    if (data[0] % 2 == 0)
        walk_npz(fuzz_file("x.npz", data + 1, n - 1));
    else
        walk_torch(fuzz_file("x.pt", data + 1, n - 1));
    return 0;
}
