/* sink_npz.c - .npz: a zip of .npy files, stored, as numpy.savez writes it.    floor 2: format */
#include "format/zip.h"

/* A member for each tensor: the header of an .npy file, and the elements. */
static sonde_status finish_npz(sonde_sink *sink)
{
    sondep_zip_member *members;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(members, sink->n));
    for (int64_t i = 0; i < sink->n; i++) {
        members[i].tensor = i;
        SONDE_TRY_DONE(sondep_string_printf(&members[i].name, "%s.npy", sink->names[i]));
        SONDE_TRY_DONE(sondep_npy_header(&members[i].head, &sink->declared[i]));
    }
    status = sondep_zip_write(sink, members, sink->n);
done:
    sondep_zip_members_free(members, sink->n);
    return status;
}

/* libzip removes an archive without members, so that one is refused. */
static sonde_status open_npz(sonde_sink *sink)
{
    SONDE_TRY(sondep_sink_needs_file(sink));
    if (sink->n == 0)
        return SONDE_FAIL(SONDE_E_ARG, "cannot write '%s': .npz needs a tensor", sink->path);
    return sondep_spill_open(sink);
}

const sondep_sink_format sondep_sink_npz = {".npz", "use .safetensors", open_npz, finish_npz};
