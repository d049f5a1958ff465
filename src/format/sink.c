/* sink.c - files of tensors that are written piece by piece: the common part.  floor 2: format
 *
 * The ending of the path picks a row of `formats`; that row's functions lay the file out and finish it. Names, types and
 * shapes are checked here, once for all formats.
 */
#include "format/sink.h"

#include <stdlib.h>
#include <unistd.h>

static const sondep_sink_format *const formats[] = {&sondep_sink_safetensors, &sondep_sink_npy, &sondep_sink_npz,
                                                    &sondep_sink_torch, &sondep_sink_json};
enum { N_FORMATS = sizeof formats / sizeof *formats };

/* The row of the path's ending; a bare ending is no name of a file. */
static sonde_status pick_format(const sondep_sink_format **out, const char *path)
{
    size_t n = strlen(path);
    for (int i = 0; i < N_FORMATS; i++) {
        size_t m = strlen(formats[i]->ending);
        if (n > m && strcmp(path + n - m, formats[i]->ending) == 0) {
            *out = formats[i];
            return SONDE_OK;
        }
    }
    return SONDE_FAIL(SONDE_E_ARG,
                      "cannot tell the format of '%s': its ending is none of .safetensors, .npy, .npz, .pt, .json", path);
}

/* Order of names as bytes. */
static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Two tensors of one name would overwrite each other, or make a file that nobody reads. */
static sonde_status check_distinct(const char *const *names, int64_t n, const char *path)
{
    const char **sorted;
    sonde_status status = SONDE_OK;

    SONDE_TRY(SONDE_NEW(sorted, n));
    for (int64_t i = 0; i < n; i++)
        sorted[i] = names[i];
    if (n > 0)
        qsort(sorted, (size_t)n, sizeof *sorted, by_text);
    for (int64_t i = 1; i < n && status == SONDE_OK; i++)
        if (strcmp(sorted[i], sorted[i - 1]) == 0)
            status = SONDE_FAIL(SONDE_E_ARG, "cannot write '%s': two tensors are named '%s'", path, sorted[i]);
    sondep_free((void *)sorted);
    return status;
}

/* What every format needs of a tensor, and the one type that numpy lacks. */
static sonde_status check_tensor(const sondep_sink_format *format, const char *name, const sonde_tensor *t, const char *path)
{
    sonde_tensor checked;

    SONDE_TRY(sondep_utf8_check(name, strlen(name), "name of a tensor"));
    SONDE_TRY(sonde_tensor_view(&checked, NULL, t->dtype, t->shape, t->rank));
    if (t->dtype == SONDE_BF16 && format->not_bf16[0] != '\0')
        return sondep_hint(SONDE_FAIL(SONDE_E_UNSUPPORTED, "cannot write tensor '%s' to '%s': %s has no type BF16", name,
                                      path, format->ending),
                           "%s", format->not_bf16);
    return SONDE_OK;
}

/* Copies n texts, which must be UTF-8: they end up in JSON. On failure the array holds what was copied so far. */
static sonde_status copy_strings(char ***out, const char *const *texts, int64_t n)
{
    SONDE_TRY(SONDE_NEW(*out, n));
    for (int64_t i = 0; i < n; i++) {
        SONDE_TRY(sondep_utf8_check(texts[i], strlen(texts[i]), "metadata"));
        SONDE_TRY(sondep_copy_string(&(*out)[i], texts[i]));
    }
    return SONDE_OK;
}

/* Frees an array of texts, of which the last may be missing. */
static void free_strings(char **texts, int64_t n)
{
    for (int64_t i = 0; texts != NULL && i < n; i++)
        sondep_free(texts[i]);
    sondep_free(texts);
}

/* Frees a sink, half-made or whole. What was written and not committed is removed. */
static void sink_free(sonde_sink *sink)
{
    sondep_writer_abort(&sink->writer);
    if (sink->spill >= 0)
        sondep_syscalls.close(sink->spill);
    free_strings(sink->names, sink->n);
    free_strings(sink->metadata, 2 * sink->n_metadata);
    sondep_free(sink->declared);
    sondep_free(sink->offsets);
    sondep_free(sink->path);
    sondep_free(sink);
}

/* Copies what was declared into the sink. */
static sonde_status declare(sonde_sink *sink, const char *path, const char *const *names, const sonde_tensor *declared,
                            const char *const *metadata)
{
    /* What is wrong is found before anything is copied or opened. */
    SONDE_TRY(pick_format(&sink->format, path));
    SONDE_TRY(sondep_copy_string(&sink->path, path));
    for (int64_t i = 0; i < sink->n; i++)
        SONDE_TRY(check_tensor(sink->format, names[i], &declared[i], path));
    SONDE_TRY(check_distinct(names, sink->n, path));
    SONDE_TRY(copy_strings(&sink->names, names, sink->n));
    SONDE_TRY(copy_strings(&sink->metadata, metadata, 2 * sink->n_metadata));
    SONDE_TRY(SONDE_NEW(sink->offsets, sink->n));
    SONDE_TRY(SONDE_NEW(sink->declared, sink->n));
    for (int64_t i = 0; i < sink->n; i++) {
        sink->declared[i] = declared[i];
        sink->declared[i].data = NULL;
    }
    return SONDE_OK;
}

/* Everything is checked before a file appears; the format then lays it out. */
sonde_status sonde_sink_open(sonde_sink **out, const char *path, const char *const *names, const sonde_tensor *declared,
                             int64_t n, const char *const *metadata, int64_t n_metadata)
{
    sonde_sink *sink;
    sonde_status status;

    *out = NULL;
    SONDE_ASSERT(n >= 0 && n_metadata >= 0);
    SONDE_TRY(SONDE_NEW(sink, 1));
    sink->writer.fd = -1;
    sink->spill = -1;
    sink->n = n;
    sink->n_metadata = n_metadata;
    SONDE_TRY_DONE(declare(sink, path, names, declared, metadata));
    SONDE_TRY_DONE(sondep_writer_open(&sink->writer, path));
    SONDE_TRY_DONE(sink->format->open(sink));
    *out = sink;
done:
    if (status != SONDE_OK)
        sink_free(sink);
    return status;
}

/* A failure is remembered: a file with a hole must not be committed by a caller who went on. */
sonde_status sonde_sink_put(sonde_sink *sink, int64_t i, int64_t first, const void *data, int64_t n)
{
    const sonde_tensor *t = &sink->declared[i];
    size_t size = sonde_dtype_bytes(t->dtype);
    int64_t offset = sink->offsets[i] + first * (int64_t)size;
    sonde_status status;

    SONDE_ASSERT(i >= 0 && i < sink->n && first >= 0 && n >= 0 && n <= sonde_tensor_n_elements(t) - first);
    /* In place, or into the spill file: both take any order. */
    status = sink->spill >= 0 ? sondep_spill_write(sink, offset, data, (size_t)n * size)
                              : sondep_writer_put_at(&sink->writer, offset, data, (size_t)n * size);
    if (status != SONDE_OK)
        sink->failed = status;
    return status;
}

/* Finish, flush, rename; the sink is gone whatever happens. */
sonde_status sonde_sink_commit(sonde_sink *sink)
{
    sonde_status status = sink->failed;

    if (status != SONDE_OK)
        SONDE_FAIL(status, "cannot complete '%s': an earlier write failed", sink->path);
    if (status == SONDE_OK && sink->format->finish != NULL)
        status = sink->format->finish(sink);
    if (status == SONDE_OK)
        status = sondep_writer_commit(&sink->writer);
    sink_free(sink);
    return status;
}

void sonde_sink_abort(sonde_sink *sink)
{
    if (sink != NULL)
        sink_free(sink);
}

/* Devices and pipes have no places to write at. */
sonde_status sondep_sink_needs_file(const sonde_sink *sink)
{
    if (sink->writer.part == NULL)
        return SONDE_FAIL(SONDE_E_IO, "cannot write '%s': %s needs a regular file, not a device or a pipe", sink->path,
                          sink->format->ending);
    return SONDE_OK;
}
