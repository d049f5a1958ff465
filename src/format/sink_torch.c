/* sink_torch.c - .pt: an ordered dictionary of tensors as torch.save writes it, a zip of a pickle and of storages.    floor 2: format
 *
 * Source: torch/serialization.py of PyTorch 2.13, _save. Reference: tests/oracle/format_live.py.
 */
#include "format/pickle.h"
#include "format/zip.h"

enum { OTHERS = 3 }; /* members that are no storages */

/* A member that is bytes alone. */
static sonde_status add_bytes(sondep_zip_member *out, const char *name, const char *bytes)
{
    out->tensor = -1;
    SONDE_TRY(sondep_string_printf(&out->name, "archive/%s", name));
    return sondep_string_append(&out->head, bytes, strlen(bytes));
}

/* In torch's order: it takes the name of the archive from the first member. */
static sonde_status finish_torch(sonde_sink *sink)
{
    int64_t n = sink->n + OTHERS;
    sondep_zip_member *members;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(members, n));
    members[0].tensor = -1;
    SONDE_TRY_DONE(sondep_string_printf(&members[0].name, "archive/data.pkl"));
    SONDE_TRY_DONE(sondep_pickle_write(&members[0].head, sink->names, sink->declared, sink->n));
    SONDE_TRY_DONE(add_bytes(&members[1], "byteorder", "little"));
    for (int64_t i = 0; i < sink->n; i++) {
        members[2 + i].tensor = i;
        SONDE_TRY_DONE(sondep_string_printf(&members[2 + i].name, "archive/data/%lld", (long long)i));
    }
    SONDE_TRY_DONE(add_bytes(&members[n - 1], "version", "3\n"));
    status = sondep_zip_write(sink, members, n);
done:
    sondep_zip_members_free(members, n);
    return status;
}

/* Types are looked at before a file appears. */
static sonde_status open_torch(sonde_sink *sink)
{
    for (int64_t i = 0; i < sink->n; i++)
        if (sondep_pickle_storage(sink->declared[i].dtype) == NULL)
            return SONDE_FAIL(SONDE_E_UNSUPPORTED, "cannot write tensor '%s' to '%s': PyTorch has no storage of the type %s",
                              sink->names[i], sink->path, sonde_dtype_name(sink->declared[i].dtype));
    SONDE_TRY(sondep_sink_needs_file(sink));
    return sondep_spill_open(sink);
}

const sondep_sink_format sondep_sink_torch = {".pt", "", open_torch, finish_torch};
