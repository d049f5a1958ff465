/* folder.c - a folder of files that appears under its name only when it is complete.          floor 0: base
 *
 * Written beside its place as `<path>.<pid>.part`, flushed, and exchanged with what is there in one step (renameat2 in
 * Linux, renamex_np in macOS); the old folder then lies under the temporary name and is removed. File systems that cannot
 * exchange take two renames, and the first is taken back where the second fails. Folders hold files alone: nothing here
 * removes a folder inside a folder.
 */
#include "base/folder.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Removes a folder and its files. No memory is taken: it may have run out. */
static void remove_folder(const char *path)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;

    while (folder != NULL && (entry = readdir(folder)) != NULL)
        (void)unlinkat(dirfd(folder), entry->d_name, 0); /* "." and ".." refuse */
    if (folder != NULL)
        closedir(folder);
    if (rmdir(path) != 0 && errno != ENOENT)
        sondep_log(SONDE_LOG_WARN, "cannot remove '%s': %s", path, strerror(errno));
}

static void folder_release(sondep_folder *f)
{
    sondep_free(f->path);
    sondep_free(f->part);
    sondep_free(f->old);
    *f = (sondep_folder){0};
}

/* Where `path` leads, without slashes at its end, which would stand before the temporary ending. */
static sonde_status resolve(char **out, const char *path)
{
    sonde_status status = sondep_path_resolve(out, path);
    size_t n = status == SONDE_OK ? strlen(*out) : 0;

    while (n > 1 && (*out)[n - 1] == '/')
        (*out)[--n] = '\0';
    return status;
}

/* The path with the process's number and an ending behind it. */
static sonde_status beside(char **out, const char *path, const char *ending)
{
    sondep_string s = {0};
    sonde_status status = sondep_string_printf(&s, "%s.%ld.%s", path, (long)getpid(), ending);
    *out = s.text;
    return status;
}

sonde_status sondep_folder_open(sondep_folder *out, const char *path)
{
    struct stat info;
    mode_t mode;
    sonde_status status;

    /* All names are made now: at the end there may be no memory for them. */
    *out = (sondep_folder){0};
    SONDE_TRY_DONE(resolve(&out->path, path));
    SONDE_TRY_DONE(beside(&out->part, out->path, "part"));
    SONDE_TRY_DONE(beside(&out->old, out->path, "old"));
    /* What replaces a private folder is private too. */
    mode = stat(out->path, &info) == 0 ? (info.st_mode & 0777) | 0700 : 0777;
    /* A folder of that name was left by a process of the same number that died. */
    remove_folder(out->part);
    if (sondep_syscalls.mkdir(out->part, mode) != 0)
        status = SONDE_FAIL(SONDE_E_IO, "cannot make the folder '%s': %s", out->path, strerror(errno));
done:
    if (status != SONDE_OK)
        folder_release(out);
    return status;
}

/* The names of the files reach the disk with the folder; file systems that cannot flush one are none the worse. */
static sonde_status flush_folder(const sondep_folder *f)
{
    int fd = sondep_syscalls.open(f->part, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    bool ok = fd >= 0 && (sondep_syscalls.fsync(fd) == 0 || errno == EINVAL || errno == ENOTSUP);
    int e = errno;

    if (fd >= 0)
        sondep_syscalls.close(fd);
    return ok ? SONDE_OK : SONDE_FAIL(SONDE_E_IO, "cannot write '%s': %s", f->path, strerror(e));
}

/* Whether an exchange failed because this system, or this file system, has none. */
static bool is_not_possible(int e)
{
    return e == ENOSYS || e == EINVAL || e == ENOTSUP || e == EOPNOTSUPP || e == EXDEV;
}

/* Puts the new folder into the place of one that is there, whose files then lie in `part` or `old`. */
static sonde_status replace(const sondep_folder *f)
{
    if (sondep_syscalls.exchange(f->part, f->path) == 0)
        return SONDE_OK;
    if (!is_not_possible(errno))
        return SONDE_FAIL(SONDE_E_IO, "cannot replace '%s': %s", f->path, strerror(errno));
    /* In two steps, of which the first is taken back if the second fails. */
    remove_folder(f->old);
    if (sondep_syscalls.rename(f->path, f->old) != 0)
        return SONDE_FAIL(SONDE_E_IO, "cannot replace '%s': %s", f->path, strerror(errno));
    if (sondep_syscalls.rename(f->part, f->path) != 0) {
        SONDE_FAIL(SONDE_E_IO, "cannot replace '%s': %s", f->path, strerror(errno));
        if (rename(f->old, f->path) != 0)
            sondep_hint(SONDE_E_IO, "what was there is now '%s'", f->old);
        return SONDE_E_IO;
    }
    remove_folder(f->old);
    return SONDE_OK;
}

sonde_status sondep_folder_commit(sondep_folder *f)
{
    sonde_status status = flush_folder(f);

    if (status == SONDE_OK && sondep_is_directory(f->path))
        status = replace(f);
    else if (status == SONDE_OK && sondep_syscalls.rename(f->part, f->path) != 0)
        status = SONDE_FAIL(SONDE_E_IO, "cannot rename '%s' to '%s': %s", f->part, f->path, strerror(errno));
    /* Under the temporary name lies what was replaced, or what could not take its place, or nothing. */
    sondep_folder_abort(f);
    return status;
}

void sondep_folder_abort(sondep_folder *f)
{
    if (f->part != NULL)
        remove_folder(f->part);
    folder_release(f);
}

sonde_status sondep_folder_each(const char *path, sondep_entry_fn *fn, void *ctx)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;
    sonde_status status = SONDE_OK;

    if (folder == NULL)
        return SONDE_FAIL(errno == ENOENT || errno == ENOTDIR ? SONDE_E_NOTFOUND : SONDE_E_IO, "cannot open '%s': %s", path,
                          strerror(errno));
    /* In the order of the folder, which is any. */
    while (status == SONDE_OK && (entry = readdir(folder)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            status = fn(entry->d_name, ctx);
    closedir(folder);
    return status;
}

/* ---- which may be replaced ------------------------------------------------------------------------------------------- */

/* What is found in a folder that is to be replaced. */
typedef struct found {
    const char *directory;
    const sondep_folder_kind *kind;
    bool has_files, has_marker;
} found;

/* Whether a file is one that such folders have. */
static bool is_part(const sondep_folder_kind *kind, const char *name)
{
    size_t n = strlen(name);

    for (const char *const *other = kind->names; *other != NULL; other++)
        if (strcmp(name, *other) == 0)
            return true;
    for (const char *const *end = kind->endings; *end != NULL; end++)
        if (n > strlen(*end) && strcmp(name + n - strlen(*end), *end) == 0)
            return true;
    return false;
}

/* A file of another kind would be lost. */
static sonde_status look_at(const char *name, void *ctx)
{
    found *f = ctx;

    f->has_files = true;
    f->has_marker = f->has_marker || strcmp(name, f->kind->marker) == 0;
    if (!is_part(f->kind, name))
        return SONDE_FAIL(SONDE_E_ARG, "'%s' has '%s', which is no part of %s: the folder is not replaced", f->directory,
                          name, f->kind->what);
    return SONDE_OK;
}

sonde_status sondep_folder_may_replace(const char *directory, const sondep_folder_kind *kind)
{
    found f = {.directory = directory, .kind = kind};

    if (sondep_is_file(directory))
        return SONDE_FAIL(SONDE_E_ARG, "cannot write %s to '%s': it is a file, not a folder", kind->what, directory);
    if (!sondep_is_directory(directory))
        return SONDE_OK;
    SONDE_TRY(sondep_folder_each(directory, look_at, &f));
    if (f.has_files && !f.has_marker)
        return SONDE_FAIL(SONDE_E_ARG, "'%s' is a folder without a %s, and not %s: it is not replaced", directory,
                          kind->marker, kind->what);
    return SONDE_OK;
}
