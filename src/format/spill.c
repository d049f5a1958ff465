/* spill.c - elements kept in a nameless file until the real one is written.    floor 2: format
 *
 * It lies in the folder of the target, where room for the result is anyway needed, and has no name, so that nothing is
 * left of it whatever happens. Reads are in order, from a place that was sought.
 */
#include "format/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* The user knows the target, not the spill file: the message names the former. */
static sonde_status fail_spill(const sonde_sink *sink)
{
    return SONDE_FAIL(SONDE_E_IO, "cannot write '%s': its temporary file: %s", sink->path, strerror(errno));
}

/* Tensors in order of declaration, one behind the other: the order in which they are read. */
static sonde_status place_tensors(int64_t *bytes, sonde_sink *sink)
{
    *bytes = 0;
    for (int64_t i = 0; i < sink->n; i++) {
        sink->offsets[i] = *bytes;
        if (__builtin_add_overflow(*bytes, (int64_t)sonde_tensor_bytes(&sink->declared[i]), bytes))
            return SONDE_FAIL(SONDE_E_RANGE, "cannot write '%s': its tensors are too large", sink->path);
    }
    return SONDE_OK;
}

sonde_status sondep_spill_open(sonde_sink *sink)
{
    const char *folder = getenv("TMPDIR");
    sondep_string path = {0};
    int64_t bytes;
    sonde_status status;

    SONDE_TRY_DONE(place_tensors(&bytes, sink));
    /* Beside the target; for a device, in the folder for temporary files. */
    if (sink->writer.part != NULL)
        SONDE_TRY_DONE(sondep_string_printf(&path, "%s.spill", sink->writer.part));
    else
        SONDE_TRY_DONE(
            sondep_string_printf(&path, "%s/sonde.%ld.%p.spill", folder ? folder : "/tmp", (long)getpid(), (void *)sink));
    sink->spill = sondep_syscalls.open(path.text, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    /* Nameless from here on. */
    if (sink->spill >= 0)
        unlink(path.text);
    if (sink->spill < 0 || sondep_syscalls.ftruncate(sink->spill, (off_t)bytes) != 0)
        status = fail_spill(sink);
done:
    sondep_string_release(&path);
    return status;
}

sonde_status sondep_spill_write(sonde_sink *sink, int64_t offset, const void *bytes, size_t n)
{
    const char *from = bytes;
    /* A write may be interrupted or come short. */
    while (n > 0) {
        ssize_t put = sondep_syscalls.pwrite(sink->spill, from, n, (off_t)offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return fail_spill(sink);
        from += put;
        offset += put;
        n -= (size_t)put;
    }
    return SONDE_OK;
}

/* The only place that moves the descriptor's position, beside reading. */
sonde_status sondep_spill_seek(sonde_sink *sink, int64_t offset)
{
    return lseek(sink->spill, (off_t)offset, SEEK_SET) < 0 ? fail_spill(sink) : SONDE_OK;
}

/* May come short; the callers go on until they have what they want. */
sonde_status sondep_spill_read(size_t *got, sonde_sink *sink, void *out, size_t n)
{
    ssize_t r;
    do
        r = sondep_syscalls.read(sink->spill, out, n);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return fail_spill(sink);
    *got = (size_t)r;
    return SONDE_OK;
}
