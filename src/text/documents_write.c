/* documents_write.c - texts into .jsonl and .jsonl.zst, one object a line.     floor 3: text
 *
 * A line is put together in a growing string, packed where the file is, and handed to base's writer, which gathers what is
 * small and gives the file its name only when all of it is there.
 */
#include <sonde/text.h>

#include "base/base.h"
#include "base/file.h"
#include "format/json.h"

#include <zstd.h>

enum { PACKED_BYTES = 1 << 16, LEVEL = 9 }; /* stories are drawn far slower than level 9 packs them */

struct sonde_documents_writer {
    sondep_writer file;
    char *path;
    sondep_string line;
    size_t n_prefix;      /* {"text": at the front of every line */
    ZSTD_CStream *packer; /* NULL where nothing is packed */
    char *packed;
    bool has_failed; /* a line is missing, or a part of one: there will be no file */
};

/* Whether a text ends in `end`. */
static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && memcmp(text + n - m, end, m) == 0;
}

/* Frees all but the file. */
static void release(sonde_documents_writer *w)
{
    ZSTD_freeCStream(w->packer);
    sondep_string_release(&w->line);
    sondep_free(w->packed);
    sondep_free(w->path);
    sondep_free(w);
}

/* Packs n bytes and writes what comes of them; `how` says whether the frame ends here. */
static sonde_status put_packed(sonde_documents_writer *w, const char *bytes, size_t n, ZSTD_EndDirective how)
{
    ZSTD_inBuffer from = {bytes, n, 0};
    size_t left = 1;

    /* All of the input taken, and, at the end, nothing held back. */
    while (from.pos < from.size || (how == ZSTD_e_end && left > 0)) {
        ZSTD_outBuffer to = {w->packed, PACKED_BYTES, 0};
        left = ZSTD_compressStream2(w->packer, &to, &from, how);
        if (ZSTD_isError(left))
            return SONDE_FAIL(SONDE_E_NOMEM, "cannot pack '%s': %s", w->path, ZSTD_getErrorName(left));
        SONDE_TRY(sondep_writer_put(&w->file, w->packed, to.pos));
    }
    return SONDE_OK;
}

/* The front of every line, and the stream that packs them. */
static sonde_status prepare(sonde_documents_writer *w, const char *path, const char *field)
{
    /* {"text": stays at the front of the string; each line is put behind it */
    SONDE_TRY(sondep_copy_string(&w->path, path));
    SONDE_TRY(sondep_string_append(&w->line, "{", 1));
    SONDE_TRY(sondep_json_quote(&w->line, field ? field : "text"));
    SONDE_TRY(sondep_string_append(&w->line, ": ", 2));
    w->n_prefix = w->line.n;
    if (!ends_with(path, ".zst"))
        return SONDE_OK;
    SONDE_TRY(SONDE_NEW(w->packed, PACKED_BYTES));
    w->packer = ZSTD_createCStream();
    if (w->packer == NULL || ZSTD_isError(ZSTD_CCtx_setParameter(w->packer, ZSTD_c_compressionLevel, LEVEL)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(w->packer, ZSTD_c_checksumFlag, 1)))
        return SONDE_FAIL(SONDE_E_NOMEM, "out of memory: a zstd stream");
    return SONDE_OK;
}

/* The file comes last: what fails before leaves nothing on the disk. */
sonde_status sonde_documents_create(sonde_documents_writer **out, const char *path, const char *field)
{
    sonde_documents_writer *w;
    sonde_status status;

    *out = NULL;
    if (!ends_with(path, ".jsonl") && !ends_with(path, ".jsonl.zst"))
        return SONDE_FAIL(SONDE_E_ARG, "cannot write documents to '%s': its name ends neither in .jsonl nor in .jsonl.zst",
                          path);
    SONDE_TRY(SONDE_NEW(w, 1));
    SONDE_TRY_DONE(prepare(w, path, field));
    SONDE_TRY_DONE(sondep_writer_open(&w->file, path));
    *out = w;
done:
    if (status != SONDE_OK)
        release(w);
    return status;
}

/* A line, put together and handed on. */
static sonde_status put_line(sonde_documents_writer *w, const char *text, size_t n_bytes)
{
    w->line.n = w->n_prefix;
    SONDE_TRY(sondep_json_quote_bytes(&w->line, text, n_bytes));
    SONDE_TRY(sondep_string_append(&w->line, "}\n", 2));
    return w->packer ? put_packed(w, w->line.text, w->line.n, ZSTD_e_continue)
                     : sondep_writer_put(&w->file, w->line.text, w->line.n);
}

/* A text that is refused leaves the file as it was; a line that failed on its way does not. */
sonde_status sonde_documents_write(sonde_documents_writer *w, const char *text, size_t n_bytes)
{
    sonde_status status;

    SONDE_TRY(sondep_utf8_check(text, n_bytes, "document"));
    status = put_line(w, text, n_bytes);
    w->has_failed = w->has_failed || status != SONDE_OK;
    return status;
}

/* The frame ends, then the file gets its name. */
sonde_status sonde_documents_commit(sonde_documents_writer *w)
{
    sonde_status status = SONDE_OK;

    if (w->has_failed)
        status = SONDE_FAIL(SONDE_E_IO, "cannot write '%s': an earlier write failed", w->path);
    else if (w->packer)
        status = put_packed(w, NULL, 0, ZSTD_e_end);
    if (status == SONDE_OK)
        status = sondep_writer_commit(&w->file);
    else
        sondep_writer_abort(&w->file);
    release(w);
    return status;
}

/* Nothing is left on the disk. */
void sonde_documents_abort(sonde_documents_writer *w)
{
    if (w == NULL)
        return;
    sondep_writer_abort(&w->file);
    release(w);
}
