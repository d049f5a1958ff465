/* documents.c - texts one by one: .txt, .jsonl, and both packed with zstd.     floor 3: text
 *
 * Bytes come through a source (a file or standard input, unpacked where the name ends in .zst) in pieces; a document of
 * .jsonl is a line, found in a buffer that grows to the longest one. What a text holds is kept as Python's open(...,
 * encoding="utf-8", newline="") keeps it: a byte order mark at its start, carriage returns and NULs are text. Around the
 * JSON of a line, white space and a carriage return mean nothing, and lines of white space alone are skipped.
 */
#include <sonde/text.h>

#include "base/base.h"
#include "base/file.h"
#include "format/json.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

enum { READ_BYTES = 1 << 16 };

struct sonde_documents {
    char *path, *field;
    bool is_lines, is_done, is_stdin;
    int fd;
    int64_t file_bytes, read_bytes; /* -1: the size is not known */

    /* Packed bytes on their way; unpacker is NULL where there is nothing to unpack. */
    ZSTD_DStream *unpacker;
    char *packed;
    size_t n_packed, packed_at;
    size_t frame_hint; /* 0 when the last frame is complete */
    bool source_ended;

    /* Unpacked bytes: [begin, end) is not yet given out. */
    char *buffer;
    size_t capacity, begin, end;
    int64_t line, line_byte; /* the line last given out: its number from 1, its first byte from 0 */
    int64_t next_line_byte;
    json_t *object; /* the last line, which owns the text given out */
};

/* Whether a text ends in `end`. */
static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && memcmp(text + n - m, end, m) == 0;
}

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

/* Bytes as they lie in the file. *got is 0 at its end only. */
static sonde_status read_source(size_t *got, sonde_documents *d, char *out, size_t n)
{
    ssize_t r;
    do
        r = sondep_syscalls.read(d->fd, out, n);
    while (r < 0 && errno == EINTR && !sondep_interrupted());
    if (r < 0 && errno == EINTR)
        return SONDE_FAIL(SONDE_E_INTERRUPTED, "interrupted while reading '%s'", d->path);
    if (r < 0)
        return SONDE_FAIL(SONDE_E_IO, "cannot read '%s': %s", d->path, strerror(errno));
    d->read_bytes += r;
    *got = (size_t)r;
    return SONDE_OK;
}

/* Unpacks up to n bytes. *got is 0 at the end of the last frame only: an end inside one is an error. */
static sonde_status read_packed(size_t *got, sonde_documents *d, char *out, size_t n)
{
    ZSTD_outBuffer to = {out, n, 0};

    while (to.pos == 0) {
        ZSTD_inBuffer from = {d->packed, d->n_packed, d->packed_at};
        size_t result;
        /* More packed bytes, once all are used. */
        if (from.pos == from.size && !d->source_ended) {
            SONDE_TRY(read_source(&from.size, d, d->packed, READ_BYTES));
            from.pos = 0;
            d->source_ended = from.size == 0;
        }
        /* All used and no frame open: the end. */
        if (from.pos == from.size && d->frame_hint == 0)
            break;
        result = ZSTD_decompressStream(d->unpacker, &to, &from);
        if (ZSTD_isError(result))
            return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is damaged: at about byte %lld: %s", d->path,
                              (long long)(d->read_bytes - (int64_t)(from.size - from.pos)), ZSTD_getErrorName(result));
        /* Nothing more to come, nothing held back, and the frame is not complete. */
        if (d->source_ended && from.pos == from.size && to.pos == 0 && result != 0)
            return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is truncated: it ends at byte %lld, inside a zstd frame", d->path,
                              (long long)d->read_bytes);
        d->frame_hint = result;
        d->n_packed = from.size;
        d->packed_at = from.pos;
    }
    *got = to.pos;
    return SONDE_OK;
}

/* Reads more behind `end`; what lies before `begin` makes room first. *got is 0 at the end. */
static sonde_status fill(size_t *got, sonde_documents *d)
{
    /* What was given out makes room. */
    if (d->begin > 0 && d->capacity - d->end < READ_BYTES) {
        memmove(d->buffer, d->buffer + d->begin, d->end - d->begin);
        d->end -= d->begin;
        d->begin = 0;
    }
    /* The line is longer than the buffer. */
    if (d->capacity - d->end < READ_BYTES) {
        char *larger = sondep_resize(d->buffer, 2 * (int64_t)d->capacity, 1);
        if (larger == NULL)
            return SONDE_E_NOMEM;
        d->buffer = larger;
        d->capacity *= 2;
    }
    SONDE_TRY(d->unpacker ? read_packed(got, d, d->buffer + d->end, d->capacity - d->end)
                          : read_source(got, d, d->buffer + d->end, d->capacity - d->end));
    d->end += *got;
    return SONDE_OK;
}

/* ---- documents ----------------------------------------------------------------------------------------------------- */

/* SONDE_OK, or the line and the byte at which a whole text is not UTF-8. */
static sonde_status check_whole(const sonde_documents *d)
{
    int64_t line = 1;
    uint32_t c;
    int length;

    for (size_t i = 0; i < d->end; i += (size_t)length) {
        length = sondep_utf8_decode(&c, d->buffer + i, d->end - i);
        if (length == 0)
            return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is not UTF-8: line %lld, byte %zu is 0x%02x", d->path, (long long)line,
                              i, (unsigned char)d->buffer[i]);
        line += c == '\n';
    }
    return SONDE_OK;
}

/* The whole of a file as one document, which must be UTF-8. */
static sonde_status next_whole(sonde_documents *d, const char **text, size_t *n_bytes)
{
    size_t got;

    do
        SONDE_TRY(fill(&got, d));
    while (got > 0);
    d->is_done = true;
    SONDE_TRY(check_whole(d));
    *text = d->buffer;
    *n_bytes = d->end;
    return SONDE_OK;
}

/* The next line without its end, or NULL at the end of the file. */
static sonde_status next_line(sonde_documents *d, const char **line, size_t *n)
{
    size_t searched = 0, got = 1;

    *line = NULL;
    while (got > 0) {
        const char *from = d->buffer + d->begin;
        const char *end = memchr(from + searched, '\n', d->end - d->begin - searched);
        if (end != NULL) {
            *line = from;
            *n = (size_t)(end - from);
            d->begin += *n + 1;
            return SONDE_OK;
        }
        /* No end of line yet: what was searched is not searched again. */
        searched = d->end - d->begin;
        SONDE_TRY(fill(&got, d));
    }
    /* The last line may lack its newline. */
    if (d->end > d->begin) {
        *line = d->buffer + d->begin;
        *n = d->end - d->begin;
        d->begin = d->end;
    }
    return SONDE_OK;
}

/* Whether a line is white space alone. */
static bool is_blank(const char *line, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
            return false;
    return true;
}

/* The text of one line's object. */
static sonde_status read_object(sonde_documents *d, const char *line, size_t n, const char **text, size_t *n_bytes)
{
    const json_t *value;

    json_decref(d->object);
    SONDE_TRY(sondep_json_parse(&d->object, line, n, d->path, d->line, d->line_byte));
    if (!json_is_object(d->object))
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s': line %lld is not a JSON object", d->path, (long long)d->line);
    value = json_object_get(d->object, d->field);
    /* jansson has checked the UTF-8 of the string and made one of its escapes. */
    if (value == NULL)
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s': line %lld has no field '%s'", d->path, (long long)d->line, d->field);
    if (!json_is_string(value))
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s': line %lld: field '%s' is not a string", d->path, (long long)d->line,
                          d->field);
    *text = json_string_value(value);
    *n_bytes = json_string_length(value);
    return SONDE_OK;
}

/* The next line that is not blank; every line counts. */
static sonde_status next_object(sonde_documents *d, const char **text, size_t *n_bytes)
{
    const char *line;
    size_t n;

    do {
        d->line_byte = d->next_line_byte;
        SONDE_TRY(next_line(d, &line, &n));
        if (line == NULL) {
            d->is_done = true;
            return SONDE_OK;
        }
        d->line++;
        d->next_line_byte += (int64_t)n + 1;
    } while (is_blank(line, n));
    return read_object(d, line, n, text, n_bytes);
}

/* Asking again after the end gives the end again. */
sonde_status sonde_documents_next(sonde_documents *d, const char **text, size_t *n_bytes)
{
    /* NULL in every case but one, so that a caller who ignores a failure has no text either. */
    *text = NULL;
    *n_bytes = 0;
    if (d->is_done)
        return SONDE_OK;
    return d->is_lines ? next_object(d, text, n_bytes) : next_whole(d, text, n_bytes);
}

/* Packed files count in packed bytes, which is what their size counts. */
double sonde_documents_progress(const sonde_documents *d)
{
    if (d->file_bytes < 0)
        return -1.0;
    if (d->is_done || d->read_bytes >= d->file_bytes)
        return 1.0;
    return (double)d->read_bytes / (double)d->file_bytes;
}

/* ---- opening ------------------------------------------------------------------------------------------------------- */

/* Standard input is borrowed; a regular file has a size, for progress. */
static sonde_status open_source(sonde_documents *d, const char *path)
{
    struct stat info;

    d->file_bytes = -1;
    if (d->is_stdin) {
        d->fd = STDIN_FILENO;
        return SONDE_OK;
    }
    d->fd = sondep_syscalls.open(path, O_RDONLY | O_CLOEXEC, 0);
    if (d->fd < 0)
        return SONDE_FAIL(errno == ENOENT || errno == ENOTDIR ? SONDE_E_NOTFOUND : SONDE_E_IO, "cannot open '%s': %s", path,
                          strerror(errno));
    if (fstat(d->fd, &info) == 0 && S_ISREG(info.st_mode))
        d->file_bytes = (int64_t)info.st_size;
    if (sondep_is_directory(path))
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is a directory, not a file", path);
    return SONDE_OK;
}

/* The ending says how to read; what a failed opening leaves behind is freed by close. */
sonde_status sonde_documents_open(sonde_documents **out, const char *path, const char *field)
{
    sonde_documents *d;
    sonde_status status;

    *out = NULL;
    SONDE_TRY(SONDE_NEW(d, 1));
    d->fd = -1;
    d->is_stdin = strcmp(path, "-") == 0;
    d->is_lines = ends_with(path, ".jsonl") || ends_with(path, ".jsonl.zst");
    SONDE_TRY_DONE(sondep_copy_string(&d->path, d->is_stdin ? "standard input" : path));
    SONDE_TRY_DONE(sondep_copy_string(&d->field, field ? field : "text"));
    SONDE_TRY_DONE(SONDE_NEW(d->buffer, 2 * READ_BYTES));
    d->capacity = 2 * READ_BYTES;
    if (ends_with(path, ".zst")) {
        SONDE_TRY_DONE(SONDE_NEW(d->packed, READ_BYTES));
        d->unpacker = ZSTD_createDStream();
        if (d->unpacker == NULL) {
            status = SONDE_FAIL(SONDE_E_NOMEM, "out of memory: a zstd stream");
            goto done;
        }
    }
    SONDE_TRY_DONE(open_source(d, path));
    *out = d;
done:
    if (status != SONDE_OK)
        sonde_documents_close(d);
    return status;
}

void sonde_documents_close(sonde_documents *d)
{
    if (d == NULL)
        return;
    if (d->fd >= 0 && !d->is_stdin)
        sondep_syscalls.close(d->fd);
    /* All of these take NULL: a half-made stream is closed by the same lines. */
    ZSTD_freeDStream(d->unpacker);
    json_decref(d->object);
    sondep_free(d->packed);
    sondep_free(d->buffer);
    sondep_free(d->path);
    sondep_free(d->field);
    sondep_free(d);
}
