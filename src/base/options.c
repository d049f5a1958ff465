/* options.c - option structs of callers of other versions.                    floor 0: base */
#include "base/base.h"

sonde_status sondep_opts_read(void *out, size_t bytes, const void *opts, const char *what)
{
    size_t size;

    if (opts == NULL)
        return SONDE_OK;
    memcpy(&size, opts, sizeof size);
    if (size < sizeof size || size > bytes)
        return SONDE_FAIL(SONDE_E_ARG, "%s has struct_size %zu, expected at most %zu", what, size, bytes);
    memcpy(out, opts, size);
    memcpy(out, &bytes, sizeof bytes);
    return SONDE_OK;
}
