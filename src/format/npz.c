/* npz.c - reading .npz: a zip of .npy files, stored or deflated.               floor 2: format */
#include "format/npy.h"
#include "format/zip.h"

struct sonde_npz {
    sondep_zip zip;
    char **names; /* of the members that end in .npy, without that ending; in order of the file */
    int64_t *members;
    int64_t n;
};

/* Notes the members that are arrays, under the names that numpy shows. */
static sonde_status list_members(sonde_npz *file)
{
    int64_t n = sondep_zip_n(&file->zip);

    SONDE_TRY(SONDE_NEW(file->names, n));
    SONDE_TRY(SONDE_NEW(file->members, n));
    for (int64_t i = 0; i < n; i++) {
        const char *name = sondep_zip_name(&file->zip, i);
        size_t length = strlen(name);
        if (length < 4 || strcmp(name + length - 4, ".npy") != 0)
            continue;
        SONDE_TRY(sondep_copy_bytes(&file->names[file->n], name, length - 4));
        file->members[file->n++] = i;
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
    SONDE_TRY_DONE(sondep_zip_open(&file->zip, path, ".npz"));
    SONDE_TRY_DONE(list_members(file));
    *out = file;
done:
    if (status != SONDE_OK)
        sonde_npz_close(file);
    return status;
}

/* Takes a half-made file, too. */
void sonde_npz_close(sonde_npz *file)
{
    if (file == NULL)
        return;
    for (int64_t i = 0; i < file->n; i++)
        sondep_free(file->names[i]);
    sondep_zip_close(&file->zip);
    sondep_free(file->names);
    sondep_free(file->members);
    sondep_free(file);
}

/* Of the arrays, not of the members. */
int64_t sonde_npz_n(const sonde_npz *file)
{
    return file->n;
}

const char *sonde_npz_name(const sonde_npz *file, int64_t i)
{
    SONDE_ASSERT(i >= 0 && i < file->n);
    return file->names[i];
}

/* Archives hold few arrays: a plain search by name. The first of several with one name is read. */
sonde_status sonde_npz_read(sonde_tensor *out, const sonde_npz *file, const char *name)
{
    sondep_string bytes = {0}, place = {0};
    sonde_status status;

    for (int64_t i = 0; i < file->n; i++) {
        if (strcmp(file->names[i], name) != 0)
            continue;
        status = sondep_zip_read(&bytes, &file->zip, file->members[i], SIZE_MAX - 1);
        /* what is wrong with an array is said with its file */
        if (status == SONDE_OK)
            status = sondep_string_printf(&place, "%s: %s", file->zip.path, name);
        if (status == SONDE_OK)
            status = sondep_npy_decode(out, bytes.text ? bytes.text : "", bytes.n, place.text);
        sondep_string_release(&bytes);
        sondep_string_release(&place);
        return status;
    }
    return SONDE_FAIL(SONDE_E_NOTFOUND, "array '%s' is missing in '%s'", name, file->zip.path);
}
