/* training_folder.c - the folder of a training: what may be in it, who may write to it.     floor 10: cli */
#include "training.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LONGEST_PATH = 4096, LONGEST_FOLDER = 3800 }; /* the rest is for names in it */

/* Four at a time: enough for any one call. */
const char *training_path(const char *folder, const char *name)
{
    static char buffers[4][LONGEST_PATH];
    static int next;
    char *out = buffers[next++ % 4];

    /* a path that is cut would be another file: training_folder_check refuses folders that leave no room */
    snprintf(out, sizeof buffers[0], "%s/%s", folder, name);
    return out;
}

/* Whatever it is. */
bool training_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

/* ---- what may be there ------------------------------------------------------------------------------------------- */

/* Whether a name ends so, and is more than that. */
static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

/* What is written beside, and then renamed. */
static bool is_part(const char *name)
{
    return ends_with(name, ".part") || ends_with(name, ".old");
}

/* Whether a name is one that trainings of a kind give. */
static bool is_own(const training_kind *kind, const char *name)
{
    for (const char *const *own = kind->names; *own != NULL; own++)
        if (strcmp(name, *own) == 0)
            return true;
    return is_part(name) || strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* A folder of something else is not mixed into. */
static sonde_status check_names(const char *folder, const training_kind *kind)
{
    DIR *d = opendir(folder);
    const struct dirent *entry;
    sonde_status status = SONDE_OK;

    if (d == NULL)
        return cli_fail(SONDE_E_IO, "cannot open '%s': %s", folder, strerror(errno));
    while (status == SONDE_OK && (entry = readdir(d)) != NULL)
        if (!is_own(kind, entry->d_name)) {
            cli_fail(SONDE_E_ARG, "'%s' has '%s', which is no part of a %s", folder, entry->d_name, kind->what);
            status = cli_hint(SONDE_E_ARG, "'-o' takes a folder that is new, or empty");
        }
    closedir(d);
    return status;
}

/* Looked at before anything slow is done: a wrong folder should not cost an hour. */
sonde_status training_folder_check(const char *folder, const training_kind *kind, bool is_resumed)
{
    const char *state = training_path(folder, kind->state);
    struct stat info;
    bool is_there = stat(folder, &info) == 0;

    if (strlen(folder) == 0 || strlen(folder) > LONGEST_FOLDER)
        return cli_misuse("the name of the folder has %zu bytes, outside [1, %d]", strlen(folder), LONGEST_FOLDER);
    if (is_there && !S_ISDIR(info.st_mode))
        return cli_fail(SONDE_E_ARG, "'%s' is no folder", folder);
    /* a run goes on where there is a state, and begins where there is none */
    if (is_resumed && !training_exists(state)) {
        cli_fail(SONDE_E_NOTFOUND, "there is no %s to go on with in '%s': no '%s'", kind->what, folder, state);
        return cli_hint(SONDE_E_NOTFOUND, "without --resume it begins");
    }
    if (is_resumed || !is_there)
        return SONDE_OK;
    if (training_exists(state)) {
        cli_fail(SONDE_E_ARG, "'%s' holds a %s already", folder, kind->what);
        return cli_hint(SONDE_E_ARG, "--resume goes on with it; another one needs another folder");
    }
    if (kind->product != NULL && training_exists(training_path(folder, kind->product))) {
        cli_fail(SONDE_E_ARG, "'%s' has a '%s' that no training in it has made", folder, kind->product);
        return cli_hint(SONDE_E_ARG, "'-o' takes a folder that is new, or empty");
    }
    return check_names(folder, kind);
}

/* ---- taking it --------------------------------------------------------------------------------------------------- */

/* Removes a file, or a folder of files. */
static void remove_part(const char *path)
{
    DIR *d = unlink(path) == 0 ? NULL : opendir(path);
    const struct dirent *entry;

    if (d == NULL)
        return;
    while ((entry = readdir(d)) != NULL)
        (void)unlinkat(dirfd(d), entry->d_name, 0); /* "." and ".." refuse */
    closedir(d);
    (void)rmdir(path);
}

/* What processes that were killed left half-written. Nobody else writes here: the folder is taken. */
static void sweep(const char *folder)
{
    DIR *d = opendir(folder);
    const struct dirent *entry;

    while (d != NULL && (entry = readdir(d)) != NULL)
        if (is_part(entry->d_name))
            remove_part(training_path(folder, entry->d_name));
    if (d != NULL)
        closedir(d);
}

/* The lock goes with the process, however it ends. File systems without locks are written to as they are. */
sonde_status training_folder_open(const char *folder)
{
    int fd;

    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return cli_fail(SONDE_E_IO, "'%s' cannot be made: %s", folder, strerror(errno));
    /* kept open: closing it would give the lock back */
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return cli_fail(SONDE_E_IO, "cannot open '%s': %s", folder, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        close(fd);
        return cli_fail(SONDE_E_ARG, "another process writes to '%s'", folder);
    }
    sweep(folder);
    return SONDE_OK;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

/* File systems that cannot flush a file are none the worse. */
static bool reaches_disk(FILE *file)
{
    return fsync(fileno(file)) == 0 || errno == EINVAL || errno == ENOTSUP;
}

/* What was there stays until all of the new is on the disk. */
sonde_status training_write_text(const char *folder, const char *name, const char *text, size_t n_bytes)
{
    char part[LONGEST_PATH];
    const char *path = training_path(folder, name);
    FILE *file;
    bool is_written;

    snprintf(part, sizeof part, "%s/%s.%ld.part", folder, name, (long)getpid());
    file = fopen(part, "wb");
    is_written = file != NULL && fwrite(text, 1, n_bytes, file) == n_bytes && fflush(file) == 0 && reaches_disk(file);
    /* closed in any case; a full disk may show only then */
    is_written = (file == NULL || fclose(file) == 0) && is_written;
    if (is_written && rename(part, path) == 0)
        return SONDE_OK;
    cli_fail(SONDE_E_IO, "cannot write '%s': %s", path, strerror(errno));
    unlink(part);
    return SONDE_E_IO;
}

/* Everything that a stream has. */
static sonde_status read_stream(char **out, size_t *n_bytes, FILE *file, const char *path)
{
    int64_t n = 0, capacity = 0;
    size_t got = 1;
    char *text = NULL;
    sonde_status status = SONDE_OK;

    /* read until nothing comes: the size of a file may change meanwhile */
    while (status == SONDE_OK && got > 0) {
        status = CLI_GROW(text, n, capacity);
        got = status == SONDE_OK ? fread(text + n, 1, (size_t)(capacity - n), file) : 0;
        n += (int64_t)got;
    }
    if (status == SONDE_OK && ferror(file))
        status = cli_fail(SONDE_E_IO, "cannot read '%s': %s", path, strerror(errno));
    if (status != SONDE_OK) {
        free(text);
        return status;
    }
    text[n] = '\0'; /* there is room: the last read found none of what it had room for */
    *out = text;
    *n_bytes = (size_t)n;
    return SONDE_OK;
}

/* The stream keeps pointers into `out`, which must stay where it is. */
sonde_status training_memory_open(training_memory *out)
{
    *out = (training_memory){0};
    out->to = open_memstream(&out->text, &out->n_bytes);
    return out->to != NULL ? SONDE_OK : cli_fail(SONDE_E_NOMEM, "out of memory");
}

/* Only a stream that could be closed has all that was written to it. */
sonde_status training_memory_close(training_memory *m, const char *folder, const char *name)
{
    bool is_whole = fclose(m->to) == 0;
    sonde_status status;

    m->to = NULL;
    status = is_whole ? training_write_text(folder, name, m->text, m->n_bytes) : cli_fail(SONDE_E_NOMEM, "out of memory");
    training_memory_discard(m);
    return status;
}

/* Once or again. */
void training_memory_discard(training_memory *m)
{
    if (m->to != NULL)
        fclose(m->to);
    free(m->text);
    *m = (training_memory){0};
}

/* Whole: such files are small. */
sonde_status training_read_text(char **out, size_t *n_bytes, const char *path)
{
    FILE *file = fopen(path, "rb");
    sonde_status status;

    if (file == NULL)
        return cli_fail(errno == ENOENT ? SONDE_E_NOTFOUND : SONDE_E_IO, "cannot open '%s': %s", path, strerror(errno));
    status = read_stream(out, n_bytes, file, path);
    fclose(file);
    return status;
}

/* Small files: tokenizers and configs. */
sonde_status training_copy(const char *folder, const char *name, const char *from)
{
    char *text;
    size_t n_bytes;
    sonde_status status;

    CLI_TRY(training_read_text(&text, &n_bytes, from));
    status = training_write_text(folder, name, text, n_bytes);
    free(text);
    return status;
}
