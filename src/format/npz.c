/* npz.c - reading .npz: a zip of .npy files, stored or deflated.               floor 2: format
 *
 * The archive is mapped and handed to libzip as memory. Opening it reads the directory alone; each array is unpacked when it
 * is asked for. Nothing that the archive says about sizes is believed before the bytes are there.
 */
#include "format/npy.h"

#include "base/base.h"
#include "base/file.h"

#include <zip.h>

struct sonde_npz {
    char *path;
    sondep_file file;
    zip_t *zip;   /* reads from the mapped file */
    char **names; /* of the members that end in .npy, without that ending; in order of the file */
    zip_uint64_t *members;
    int64_t n;
};

/* libzip reads from the mapped file, so that files are opened in one place of this library only. */
static sonde_status open_zip(sonde_npz *file)
{
    zip_error_t error;
    zip_source_t *source;
    sonde_status status = SONDE_OK;

    zip_error_init(&error);
    source = zip_source_buffer_create(file->file.data, file->file.bytes, 0, &error);
    file->zip = source ? zip_open_from_source(source, ZIP_RDONLY, &error) : NULL;
    if (file->zip == NULL) {
        bool is_memory = zip_error_code_zip(&error) == ZIP_ER_MEMORY;
        status = SONDE_FAIL(is_memory ? SONDE_E_NOMEM : SONDE_E_FORMAT, "cannot read '%s' as .npz: %s", file->path,
                            zip_error_strerror(&error));
        zip_source_free(source);
    }
    zip_error_fini(&error);
    return status;
}

/* Notes the members that are arrays, under the names that numpy shows. */
static sonde_status list_members(sonde_npz *file)
{
    zip_int64_t n = zip_get_num_entries(file->zip, 0);

    SONDE_TRY(SONDE_NEW(file->names, n));
    SONDE_TRY(SONDE_NEW(file->members, n));
    for (zip_int64_t i = 0; i < n; i++) {
        const char *name = zip_get_name(file->zip, (zip_uint64_t)i, ZIP_FL_ENC_GUESS);
        size_t length = name ? strlen(name) : 0;
        if (length < 4 || strcmp(name + length - 4, ".npy") != 0)
            continue;
        SONDE_TRY(sondep_copy_bytes(&file->names[file->n], name, length - 4));
        file->members[file->n++] = (zip_uint64_t)i;
    }
    return SONDE_OK;
}

/* What a failed opening leaves behind is freed by close, which takes a half-made file. */
sonde_status sonde_npz_open(sonde_npz **out, const char *path)
{
    sonde_npz *file;
    sonde_status status;

    *out = NULL;
    SONDE_TRY(SONDE_NEW(file, 1));
    SONDE_TRY_DONE(sondep_copy_string(&file->path, path));
    SONDE_TRY_DONE(sondep_file_map(&file->file, path));
    SONDE_TRY_DONE(open_zip(file));
    SONDE_TRY_DONE(list_members(file));
    *out = file;
done:
    if (status != SONDE_OK)
        sonde_npz_close(file);
    return status;
}

void sonde_npz_close(sonde_npz *file)
{
    if (file == NULL)
        return;
    for (int64_t i = 0; i < file->n; i++)
        sondep_free(file->names[i]);
    if (file->zip != NULL)
        zip_discard(file->zip);
    sondep_file_release(&file->file);
    sondep_free(file->names);
    sondep_free(file->members);
    sondep_free(file->path);
    sondep_free(file);
}

int64_t sonde_npz_n(const sonde_npz *file)
{
    return file->n;
}

const char *sonde_npz_name(const sonde_npz *file, int64_t i)
{
    SONDE_ASSERT(i >= 0 && i < file->n);
    return file->names[i];
}

/* All bytes of a member. The size that the archive claims is not trusted: room grows as bytes come. */
static sonde_status read_member(sondep_string *out, const sonde_npz *file, int64_t i)
{
    static const size_t piece = 1 << 16;
    zip_file_t *member = zip_fopen_index(file->zip, file->members[i], 0);
    zip_int64_t got = -1;
    char *buffer = NULL;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(buffer, (int64_t)piece));
    /* libzip checks the CRC when the last piece is read, and fails there. */
    while (member != NULL && (got = zip_fread(member, buffer, piece)) > 0)
        SONDE_TRY_DONE(sondep_string_append(out, buffer, (size_t)got));
    /* A member that would not open, or one whose bytes are damaged. */
    if (got < 0)
        status = SONDE_FAIL(SONDE_E_FORMAT, "cannot read '%s': array '%s', after %zu bytes: %s", file->path, file->names[i],
                            out->n, member ? zip_file_strerror(member) : zip_strerror(file->zip));
done:
    if (member != NULL)
        zip_fclose(member);
    sondep_free(buffer);
    return status;
}

/* Archives hold few arrays: a plain search by name. The first of several with one name is read. */
sonde_status sonde_npz_read(sonde_tensor *out, const sonde_npz *file, const char *name)
{
    sondep_string bytes = {0};
    sonde_status status;

    for (int64_t i = 0; i < file->n; i++) {
        if (strcmp(file->names[i], name) != 0)
            continue;
        status = read_member(&bytes, file, i);
        if (status == SONDE_OK)
            status = sondep_npy_decode(out, bytes.text ? bytes.text : "", bytes.n, name);
        sondep_string_release(&bytes);
        return status;
    }
    return SONDE_FAIL(SONDE_E_NOTFOUND, "array '%s' is missing in '%s'", name, file->path);
}
