/* zip_write.c - writing zip archives.                                          floor 2: format
 *
 * libzip asks for the bytes of each member through one callback (its head, then the spill file) and hands us the bytes of the
 * archive through another, so that they go through the writer like every other file.
 */
#include "format/zip.h"

#include <errno.h>

/* One member being read by libzip. */
typedef struct zip_member {
    sonde_sink *sink;
    const sondep_zip_member *of;
    int64_t at, bytes; /* of head and elements together */
    sonde_status status;
    zip_error_t error;
} zip_member;

/* The archive being written by libzip. */
typedef struct zip_archive {
    sonde_sink *sink;
    int64_t at;
    sonde_status status;
    zip_error_t error;
} zip_archive;

enum { DOS_1980_01_01 = 0x21 };

/* ---- members ----------------------------------------------------------------------------------------------------- */

/* Some bytes of a member: of its header, or of its elements, which lie in one piece in the spill file. */
static sonde_status member_read_some(size_t *got, zip_member *m, char *out, size_t n)
{
    int64_t in_elements = m->at - (int64_t)m->of->head.n;

    if (in_elements < 0) { /* still in the head */
        *got = n < (size_t)-in_elements ? n : (size_t)-in_elements;
        memcpy(out, m->of->head.text + m->at, *got);
        return SONDE_OK;
    }
    if (in_elements == 0)
        SONDE_TRY(sondep_spill_seek(m->sink, m->sink->offsets[m->of->tensor]));
    return sondep_spill_read(got, m->sink, out, n);
}

/* Up to n bytes of the member; as many as libzip wants unless the member ends. -1 on failure. */
static zip_int64_t member_read(zip_member *m, char *out, zip_uint64_t n)
{
    zip_int64_t done = 0;
    size_t got;

    /* libzip asks for a full buffer to the end; what is behind the member in the spill file is another's. */
    if (n > (zip_uint64_t)(m->bytes - m->at))
        n = (zip_uint64_t)(m->bytes - m->at);
    while (n > 0) {
        m->status = member_read_some(&got, m, out + done, (size_t)n);
        if (m->status == SONDE_OK && got == 0)
            m->status = SONDE_FAIL(SONDE_E_IO, "cannot write '%s': its temporary file is cut short", m->sink->path);
        if (m->status != SONDE_OK) {
            zip_error_set(&m->error, ZIP_ER_READ, 0);
            return -1;
        }
        m->at += (int64_t)got;
        done += (zip_int64_t)got;
        n -= got;
    }
    return done;
}

/* libzip's questions about a member; it reads members one after the other, from their beginning to their end. */
static zip_int64_t member_callback(void *ctx, void *data, zip_uint64_t n, zip_source_cmd_t command)
{
    zip_member *m = ctx;
    zip_stat_t *info = data;

    switch (command) {
    case ZIP_SOURCE_OPEN: m->at = 0; return 0;
    case ZIP_SOURCE_READ: return member_read(m, data, n);
    case ZIP_SOURCE_STAT:
        zip_stat_init(info);
        info->size = (zip_uint64_t)m->bytes;
        info->valid = ZIP_STAT_SIZE;
        return (zip_int64_t)sizeof *info;
    case ZIP_SOURCE_ERROR: return zip_error_to_data(&m->error, data, n);
    case ZIP_SOURCE_SUPPORTS: return ZIP_SOURCE_SUPPORTS_READABLE;
    default: return 0; /* close, free: the member is the caller's */
    }
}

/* Announces a member to libzip. Its bytes are asked for when the archive is closed. */
static sonde_status add_member(zip_t *zip, zip_member *m, sonde_sink *sink, const sondep_zip_member *of)
{
    zip_source_t *source;
    zip_int64_t index = -1;

    m->sink = sink;
    m->of = of;
    zip_error_init(&m->error);
    m->bytes = (int64_t)of->head.n;
    if (of->tensor >= 0)
        m->bytes += (int64_t)sonde_tensor_bytes(&sink->declared[of->tensor]);
    /* The archive owns the source from zip_file_add on; before that it is ours to free. */
    source = zip_source_function_create(member_callback, m, NULL);
    if (source != NULL)
        index = zip_file_add(zip, of->name.text, source, ZIP_FL_ENC_UTF_8);
    if (source != NULL && index < 0)
        zip_source_free(source);
    if (index < 0 || zip_set_file_compression(zip, (zip_uint64_t)index, ZIP_CM_STORE, 0) != 0 ||
        zip_file_set_dostime(zip, (zip_uint64_t)index, 0, DOS_1980_01_01, 0) != 0)
        return SONDE_FAIL(SONDE_E_IO, "cannot write '%s': '%s': %s", sink->path, of->name.text, zip_strerror(zip));
    return SONDE_OK;
}

/* ---- the archive ------------------------------------------------------------------------------------------------- */

/* The writer's error is kept; libzip only learns that there was one. */
static zip_int64_t archive_write(zip_archive *a, const void *data, zip_uint64_t n)
{
    a->status = sondep_writer_put_at(&a->sink->writer, a->at, data, (size_t)n);
    if (a->status != SONDE_OK) {
        zip_error_set(&a->error, ZIP_ER_WRITE, 0);
        return -1;
    }
    a->at += (int64_t)n;
    return (zip_int64_t)n;
}

/* libzip goes back to fill in sizes and check sums. */
static zip_int64_t archive_seek(zip_archive *a, void *data, zip_uint64_t n)
{
    zip_int64_t at = zip_source_seek_compute_offset((zip_uint64_t)a->at, INT64_MAX, data, n, &a->error);
    if (at >= 0)
        a->at = at;
    return at < 0 ? -1 : 0;
}

/* libzip's orders about the archive: it is new, and written through the sink's writer. */
static zip_int64_t archive_callback(void *ctx, void *data, zip_uint64_t n, zip_source_cmd_t command)
{
    zip_archive *a = ctx;

    switch (command) {
    case ZIP_SOURCE_BEGIN_WRITE: a->at = 0; return 0;
    case ZIP_SOURCE_WRITE: return archive_write(a, data, n);
    case ZIP_SOURCE_SEEK_WRITE: return archive_seek(a, data, n);
    case ZIP_SOURCE_TELL_WRITE: return a->at;
    case ZIP_SOURCE_STAT: /* the archive does not exist yet */ zip_error_set(&a->error, ZIP_ER_READ, ENOENT); return -1;
    case ZIP_SOURCE_ERROR: return zip_error_to_data(&a->error, data, n);
    case ZIP_SOURCE_SUPPORTS: return ZIP_SOURCE_SUPPORTS_WRITABLE;
    default: return 0;
    }
}

/* An empty archive over the callback above; NULL only for lack of memory. */
static zip_t *open_archive(zip_archive *a)
{
    zip_source_t *source = zip_source_function_create(archive_callback, a, NULL);
    zip_t *zip = source ? zip_open_from_source(source, ZIP_CREATE | ZIP_TRUNCATE, NULL) : NULL;
    if (zip == NULL && source != NULL)
        zip_source_free(source);
    return zip;
}

/* Writes the archive; the first error of ours comes before libzip's words for it: it says which file and why. */
static sonde_status close_archive(zip_t *zip, const zip_archive *a, const zip_member *members, int64_t n)
{
    if (zip_close(zip) == 0)
        return SONDE_OK;
    if (a->status != SONDE_OK)
        return a->status;
    for (int64_t i = 0; i < n; i++)
        if (members[i].status != SONDE_OK)
            return members[i].status;
    return SONDE_FAIL(SONDE_E_IO, "cannot write '%s': %s", a->sink->path, zip_strerror(zip));
}

/* Announces all members, then lets libzip write. */
sonde_status sondep_zip_write(sonde_sink *sink, const sondep_zip_member *members, int64_t n)
{
    zip_archive archive = {.sink = sink};
    zip_member *reading = NULL; /* lives until the archive is closed or discarded */
    zip_t *zip = NULL;
    sonde_status status;

    zip_error_init(&archive.error);
    SONDE_TRY_DONE(SONDE_NEW(reading, n));
    zip = open_archive(&archive);
    if (zip == NULL) {
        status = SONDE_FAIL(SONDE_E_NOMEM, "out of memory: a zip archive");
        goto done;
    }
    for (int64_t i = 0; i < n; i++)
        SONDE_TRY_DONE(add_member(zip, &reading[i], sink, &members[i]));
    SONDE_TRY_DONE(close_archive(zip, &archive, reading, n));
    zip = NULL; /* closed */
done:
    if (zip != NULL)
        zip_discard(zip);
    sondep_free(reading);
    return status;
}

/* Members that were not filled yet have nothing. */
void sondep_zip_members_free(sondep_zip_member *members, int64_t n)
{
    for (int64_t i = 0; members != NULL && i < n; i++) {
        sondep_string_release(&members[i].name);
        sondep_string_release(&members[i].head);
    }
    sondep_free(members);
}
