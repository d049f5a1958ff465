/* sink_flat.c - .safetensors and .npy, whose elements are written in place.    floor 2: format
 *
 * The header is written first, the file is stretched to its full length (so that what is never written is 0), and every
 * piece goes to its place. Tensors of a .safetensors file lie in order of element size, largest first, behind a header
 * of a multiple of 8 bytes: so each is aligned to its type, as the official library arranges it.
 */
#include "format/sink.h"

#include "format/json.h"

#include <errno.h>

/* ---- both -------------------------------------------------------------------------------------------------------- */

/* Writes the header and sets the length of the file. */
static sonde_status begin_file(sonde_sink *sink, const sondep_string *header, int64_t data_bytes)
{
    int64_t bytes;
    if (__builtin_add_overflow((int64_t)header->n, data_bytes, &bytes))
        return SONDE_FAIL(SONDE_E_RANGE, "cannot write '%s': %lld bytes of data are too many", sink->path,
                          (long long)data_bytes);
    if (sondep_syscalls.ftruncate(sink->writer.fd, (off_t)bytes) != 0)
        return SONDE_FAIL(SONDE_E_IO, "cannot write '%s': %lld bytes: %s", sink->path, (long long)bytes, strerror(errno));
    return sondep_writer_put_at(&sink->writer, 0, header->text, header->n);
}

/* ---- safetensors --------------------------------------------------------------------------------------------------- */

/* Gives each tensor its place in the data, `order` (n) being the order of places. *bytes is the length of the data. */
static sonde_status place_tensors(int64_t *order, int64_t *bytes, sonde_sink *sink)
{
    int64_t n = 0;

    *bytes = 0;
    /* One pass for each size of element, largest first, in order of declaration within a size. */
    for (size_t size = 8; size > 0; size /= 2)
        for (int64_t i = 0; i < sink->n; i++) {
            if (sonde_dtype_bytes(sink->declared[i].dtype) != size)
                continue;
            order[n++] = i;
            sink->offsets[i] = *bytes;
            if (__builtin_add_overflow(*bytes, (int64_t)sonde_tensor_bytes(&sink->declared[i]), bytes))
                return SONDE_FAIL(SONDE_E_RANGE, "cannot write '%s': its tensors are too large", sink->path);
        }
    SONDE_ASSERT(n == sink->n);
    return SONDE_OK;
}

/* __metadata__ comes first, as the official library writes it. */
static sonde_status append_metadata(sondep_string *header, const sonde_sink *sink)
{
    if (sink->n_metadata == 0)
        return SONDE_OK;
    SONDE_TRY(sondep_string_printf(header, "\"__metadata__\":{"));
    for (int64_t i = 0; i < sink->n_metadata; i++) {
        SONDE_TRY(sondep_string_append(header, ",", i > 0));
        SONDE_TRY(sondep_json_quote(header, sink->metadata[2 * i]));
        SONDE_TRY(sondep_string_append(header, ":", 1));
        SONDE_TRY(sondep_json_quote(header, sink->metadata[2 * i + 1]));
    }
    return sondep_string_append(header, "}", 1);
}

/* Name, type, shape and place of tensor i. */
static sonde_status append_entry(sondep_string *header, const sonde_sink *sink, int64_t i)
{
    const sonde_tensor *t = &sink->declared[i];
    int64_t begin = sink->offsets[i];

    SONDE_TRY(sondep_json_quote(header, sink->names[i]));
    SONDE_TRY(sondep_string_printf(header, ":{\"dtype\":\"%s\",\"shape\":[", sonde_dtype_name(t->dtype)));
    for (int a = 0; a < t->rank; a++)
        SONDE_TRY(sondep_string_printf(header, "%s%lld", a ? "," : "", (long long)t->shape[a]));
    return sondep_string_printf(header, "],\"data_offsets\":[%lld,%lld]}", (long long)begin,
                                (long long)begin + (long long)sonde_tensor_bytes(t));
}

/* The 8 bytes of length and the JSON, padded with spaces to a multiple of 8. */
static sonde_status make_header(sondep_string *header, const sonde_sink *sink, const int64_t *order)
{
    static const char eight[8] = {0};

    SONDE_TRY(sondep_string_append(header, eight, sizeof eight));
    SONDE_TRY(sondep_string_append(header, "{", 1));
    SONDE_TRY(append_metadata(header, sink));
    for (int64_t k = 0; k < sink->n; k++) {
        SONDE_TRY(sondep_string_append(header, ",", k > 0 || sink->n_metadata > 0));
        SONDE_TRY(append_entry(header, sink, order[k]));
    }
    SONDE_TRY(sondep_string_append(header, "}", 1));
    SONDE_TRY(sondep_string_append(header, "       ", (8 - header->n % 8) % 8));
    /* The length is known now. */
    for (int b = 0; b < 8; b++)
        header->text[b] = (char)((header->n - sizeof eight) >> (8 * b) & 0xff);
    return SONDE_OK;
}

/* The header is made and thrown away: its length depends on the digits of all numbers in it. */
sonde_status sondep_safetensors_bytes(int64_t *out, const char *const *names, const sonde_tensor *declared, int64_t n,
                                      const char *const *metadata, int64_t n_metadata)
{
    sonde_sink sink = {.path = (char *)(uintptr_t) "",
                       .n = n,
                       .names = (char **)(uintptr_t)names,
                       .declared = (sonde_tensor *)(uintptr_t)declared,
                       .metadata = (char **)(uintptr_t)metadata,
                       .n_metadata = n_metadata};
    sondep_string header = {0};
    int64_t *order = NULL, bytes;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(order, n));
    SONDE_TRY_DONE(SONDE_NEW(sink.offsets, n));
    SONDE_TRY_DONE(place_tensors(order, &bytes, &sink));
    SONDE_TRY_DONE(make_header(&header, &sink, order));
    *out = (int64_t)header.n + bytes;
done:
    sondep_string_release(&header);
    sondep_free(sink.offsets);
    sondep_free(order);
    return status;
}

/* Offsets are relative to the data in the header, and to the file in the sink. */
static sonde_status open_safetensors(sonde_sink *sink)
{
    sondep_string header = {0};
    int64_t *order = NULL, bytes;
    sonde_status status;

    SONDE_TRY(sondep_sink_needs_file(sink));
    for (int64_t i = 0; i < sink->n; i++)
        if (strcmp(sink->names[i], "__metadata__") == 0)
            return SONDE_FAIL(SONDE_E_ARG, "cannot write '%s': '__metadata__' cannot be the name of a tensor", sink->path);
    SONDE_TRY_DONE(SONDE_NEW(order, sink->n));
    SONDE_TRY_DONE(place_tensors(order, &bytes, sink));
    SONDE_TRY_DONE(make_header(&header, sink, order));
    SONDE_TRY_DONE(begin_file(sink, &header, bytes));
    for (int64_t i = 0; i < sink->n; i++)
        sink->offsets[i] += (int64_t)header.n;
done:
    sondep_string_release(&header);
    sondep_free(order);
    return status;
}

const sondep_sink_format sondep_sink_safetensors = {".safetensors", "", open_safetensors, NULL};

/* ---- npy --------------------------------------------------------------------------------------------------------- */

/* One array; its name has no place in the file. */
static sonde_status open_npy(sonde_sink *sink)
{
    sondep_string header = {0};
    sonde_status status;

    SONDE_TRY(sondep_sink_needs_file(sink));
    if (sink->n != 1)
        return sondep_hint(
            SONDE_FAIL(SONDE_E_ARG, "cannot write %lld tensors to '%s': .npy holds one", (long long)sink->n, sink->path),
            "use .npz or .safetensors");
    SONDE_TRY_DONE(sondep_npy_header(&header, &sink->declared[0]));
    sink->offsets[0] = (int64_t)header.n;
    status = begin_file(sink, &header, (int64_t)sonde_tensor_bytes(&sink->declared[0]));
done:
    sondep_string_release(&header);
    return status;
}

const sondep_sink_format sondep_sink_npy = {".npy", "use .safetensors", open_npy, NULL};
