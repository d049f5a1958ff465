/* zip.c - reading zip archives.                                                floor 2: format
 *
 * The archive is mapped and handed to libzip as memory, so that files are opened in one place of this library only. Opening it reads
 * the directory alone; a member is unpacked when it is asked for.
 */
#include "format/zip.h"

/* Mapped, since archives of weights are large, and most of one is never looked at. */
sonde_status sondep_zip_open(sondep_zip *out, const char *path, const char *what)
{
    zip_error_t error;
    zip_source_t *source;
    sonde_status status = SONDE_OK;

    SONDE_TRY(sondep_copy_string(&out->path, path));
    SONDE_TRY(sondep_file_map(&out->file, path));
    zip_error_init(&error);
    source = zip_source_buffer_create(out->file.data, out->file.bytes, 0, &error);
    out->zip = source ? zip_open_from_source(source, ZIP_RDONLY, &error) : NULL;
    if (out->zip == NULL) {
        bool is_memory = zip_error_code_zip(&error) == ZIP_ER_MEMORY;
        status = SONDE_FAIL(is_memory ? SONDE_E_NOMEM : SONDE_E_FORMAT, "cannot read '%s' as %s: %s", path, what,
                            zip_error_strerror(&error));
        zip_source_free(source);
    }
    zip_error_fini(&error);
    return status;
}

/* Discarded, not closed: nothing was changed, and nothing may be written. */
void sondep_zip_close(sondep_zip *zip)
{
    if (zip->zip != NULL)
        zip_discard(zip->zip);
    sondep_file_release(&zip->file);
    sondep_free(zip->path);
}

/* Members that were deleted do not count. */
int64_t sondep_zip_n(const sondep_zip *zip)
{
    return zip_get_num_entries(zip->zip, 0);
}

/* In whatever encoding the archive has it: libzip guesses, as it has no better way. */
const char *sondep_zip_name(const sondep_zip *zip, int64_t i)
{
    const char *name = zip_get_name(zip->zip, (zip_uint64_t)i, ZIP_FL_ENC_GUESS);

    return name ? name : "";
}

/* The size that the archive claims is not trusted: room grows as bytes come. */
sonde_status sondep_zip_read(sondep_string *out, const sondep_zip *zip, int64_t i, size_t most)
{
    static const size_t piece = 1 << 16;
    zip_file_t *member = zip_fopen_index(zip->zip, (zip_uint64_t)i, 0);
    zip_int64_t got = -1;
    char *buffer = NULL;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(buffer, (int64_t)piece));
    /* libzip checks the CRC when the last piece is read, and fails there. */
    while (member != NULL && out->n <= most && (got = zip_fread(member, buffer, piece)) > 0)
        SONDE_TRY_DONE(sondep_string_append(out, buffer, (size_t)got));
    /* A member that would not open, or one whose bytes are damaged. */
    if (got < 0)
        status = SONDE_FAIL(SONDE_E_FORMAT, "cannot read '%s': '%s', after %zu bytes: %s", zip->path,
                            sondep_zip_name(zip, i), out->n, member ? zip_file_strerror(member) : zip_strerror(zip->zip));
    else if (out->n > most)
        status = SONDE_FAIL(SONDE_E_FORMAT, "cannot read '%s': '%s' has more than %zu bytes", zip->path,
                            sondep_zip_name(zip, i), most);
done:
    if (member != NULL)
        zip_fclose(member);
    sondep_free(buffer);
    return status;
}
