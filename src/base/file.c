/* file.c - files: read whole or mapped, written beside and renamed.            floor 0: base
 *
 * Reading gives a block of bytes, however they came. Writing goes to `<path>.<pid>.part` in the same folder and is renamed
 * when it is complete and on the disk: a reader sees the old file or the new one, never half of one, and a crash leaves the
 * old one. Every call that can fail goes through `sondep_syscalls`; unlink and stat, whose failure changes nothing, do not.
 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif

static int system_open(const char *path, int flags, mode_t mode)
{
    return open(path, flags, mode);
}

/* Each of the two names has what the other had. The C library of Linux wraps the call only for GNU programs. */
static int system_exchange(const char *a, const char *b)
{
#if defined(__linux__) && defined(SYS_renameat2)
    const unsigned in_one_step = 2; /* RENAME_EXCHANGE */
    return (int)syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, in_one_step);
#elif defined(__APPLE__)
    return renamex_np(a, b, RENAME_SWAP);
#else
    (void)a, (void)b;
    errno = ENOSYS;
    return -1;
#endif
}

sondep_sys sondep_syscalls = {system_open, read,      write, pwrite, fsync,          close,
                              rename,      ftruncate, mmap,  mkdir,  system_exchange};

/* The system's words for what failed; a missing file is an error of its own. */
static sonde_status fail_system(const char *what, const char *path)
{
    int e = errno;
    bool is_missing = e == ENOENT || e == ENOTDIR;
    return SONDE_FAIL(is_missing ? SONDE_E_NOTFOUND : SONDE_E_IO, "cannot %s '%s': %s", what, path, strerror(e));
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

/* A read that a signal interrupted is done again. */
static ssize_t read_retrying(int fd, char *buffer, size_t n)
{
    ssize_t got;
    do
        got = sondep_syscalls.read(fd, buffer, n);
    while (got < 0 && errno == EINTR);
    return got;
}

/* Reads what is left of `fd`, whatever its size was said to be: pipes have none, and files grow and shrink. */
static sonde_status read_all(sondep_file *file, int fd, size_t limit_bytes)
{
    char *text = NULL;
    size_t n = 0, capacity = 0;

    for (;;) {
        ssize_t got;
        /* The buffer doubles; there is room for at least one byte more. */
        if (n == capacity) {
            char *larger = sondep_resize(text, (int64_t)(capacity ? 2 * capacity : 1 << 16), 1);
            if (larger == NULL) {
                sondep_free(text);
                return SONDE_E_NOMEM;
            }
            text = larger;
            capacity = capacity ? 2 * capacity : 1 << 16;
        }
        got = read_retrying(fd, text + n, capacity - n);
        if (got < 0 || n + (size_t)got > limit_bytes) {
            sondep_free(text);
            return got < 0 ? fail_system("read", file->path)
                           : SONDE_FAIL(SONDE_E_RANGE, "'%s' is larger than %zu bytes", file->path, limit_bytes);
        }
        if (got == 0)
            break;
        n += (size_t)got;
    }
    file->data = text;
    file->bytes = n;
    return SONDE_OK;
}

/* Opens `path` and asks what it is. A folder can be opened but not read. */
static sonde_status file_open(sondep_file *out, int *fd, struct stat *info, const char *path)
{
    *out = (sondep_file){0};
    *fd = -1;
    SONDE_TRY(sondep_copy_string(&out->path, path));
    *fd = sondep_syscalls.open(path, O_RDONLY | O_CLOEXEC, 0);
    if (*fd < 0 || fstat(*fd, info) != 0)
        return fail_system("open", path);
    if (S_ISDIR(info->st_mode))
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is a directory, not a file", path);
    return SONDE_OK;
}

/* Ends both ways of reading: closes the descriptor, and on failure leaves `out` zero. */
static sonde_status file_opened(sondep_file *out, int fd, sonde_status status)
{
    if (fd >= 0)
        sondep_syscalls.close(fd);
    if (status != SONDE_OK)
        sondep_file_release(out);
    return status;
}

/* Empty files cannot be mapped, and pipes have nothing to map: they are read. */
sonde_status sondep_file_map(sondep_file *out, const char *path)
{
    struct stat info;
    int fd;
    sonde_status status = file_open(out, &fd, &info, path);

    if (status == SONDE_OK && S_ISREG(info.st_mode) && info.st_size > 0) {
        void *data = sondep_syscalls.mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            status = fail_system("map", path);
        } else {
            out->data = data;
            out->bytes = (size_t)info.st_size;
            out->is_mapped = true;
        }
    } else if (status == SONDE_OK) {
        status = read_all(out, fd, PTRDIFF_MAX);
    }
    return file_opened(out, fd, status);
}

/* For files whose bytes are all wanted at once, and bounded. */
sonde_status sondep_file_read(sondep_file *out, const char *path, size_t limit_bytes)
{
    struct stat info;
    int fd;
    sonde_status status = file_open(out, &fd, &info, path);
    if (status == SONDE_OK)
        status = read_all(out, fd, limit_bytes);
    return file_opened(out, fd, status);
}

/* A wish: where it is refused, pages stay until the system wants them. */
void sondep_file_forget(const sondep_file *file)
{
    if (file->is_mapped)
        (void)madvise((void *)(uintptr_t)file->data, file->bytes, MADV_DONTNEED);
}

/* Whole pages, as the system wants them. */
void sondep_file_want(const void *data, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), before = (uintptr_t)data & (page - 1);

    if (bytes > 0)
        (void)madvise((char *)(uintptr_t)data - before, bytes + before, MADV_WILLNEED);
}

/* By what the system calls it, whatever the links. */
bool sondep_is_same_file(const char *a, const char *b)
{
    struct stat x, y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* `data` points to const for readers; it is ours to give back. */
void sondep_file_release(sondep_file *file)
{
    if (file->is_mapped)
        munmap((void *)(uintptr_t)file->data, file->bytes);
    else
        sondep_free((void *)(uintptr_t)file->data);
    sondep_free(file->path);
    *file = (sondep_file){0};
}

bool sondep_is_directory(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool sondep_is_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && !S_ISDIR(info.st_mode);
}

sonde_status sondep_path_join(char **out, const char *directory, const char *name)
{
    sondep_string s = {0};
    size_t n = strlen(directory);
    sonde_status status = sondep_string_printf(&s, "%s%s%s", directory, n > 0 && directory[n - 1] == '/' ? "" : "/", name);
    if (status == SONDE_OK)
        *out = s.text;
    else
        sondep_string_release(&s);
    return status;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

enum { WRITE_BUFFER = 1 << 18 };

/* Closes and frees; files stay as they are. */
static void writer_release(sondep_writer *w)
{
    if (w->fd >= 0 && w->path != NULL) /* a zero struct has no path, and its descriptor 0 is not ours */
        sondep_syscalls.close(w->fd);
    sondep_free(w->path);
    sondep_free(w->part);
    sondep_free(w->buffer);
    *w = (sondep_writer){.fd = -1};
}

/* What is not there yet leads to itself. */
sonde_status sondep_path_resolve(char **out, const char *path)
{
    char *target = realpath(path, NULL);
    sonde_status status = sondep_copy_string(out, target ? target : path);
    free(target);
    return status;
}

sonde_status sondep_writer_open(sondep_writer *out, const char *path)
{
    struct stat info;
    sonde_status status;
    sondep_string part = {0};
    /* A device or a pipe is written to, never replaced. */
    bool exists = stat(path, &info) == 0, is_special = exists && !S_ISREG(info.st_mode);
    mode_t mode = exists ? info.st_mode & 0777 : 0666; /* what replaces a private file is private too */

    *out = (sondep_writer){.fd = -1};
    if (is_special && S_ISDIR(info.st_mode))
        return SONDE_FAIL(SONDE_E_IO, "cannot write '%s': it is a directory", path);
    /* Nothing exists yet that a failure would have to remove. */
    SONDE_TRY_DONE(sondep_path_resolve(&out->path, path));
    SONDE_TRY_DONE(SONDE_NEW(out->buffer, WRITE_BUFFER));
    /* In the same folder as the target: rename does not cross file systems. */
    if (!is_special) {
        SONDE_TRY_DONE(sondep_string_printf(&part, "%s.%ld.part", out->path, (long)getpid()));
        out->part = part.text;
    }
    out->fd = sondep_syscalls.open(out->part ? out->part : out->path,
                                   is_special ? O_WRONLY | O_CLOEXEC : O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, mode | 0200);
    if (out->fd < 0)
        status = SONDE_FAIL(SONDE_E_IO, "cannot write '%s': %s", path, strerror(errno));
done:
    if (status != SONDE_OK)
        writer_release(out);
    return status;
}

/* Writes n bytes at `offset`, or behind the last sequential write where offset is -1. */
static sonde_status write_all(sondep_writer *w, const char *bytes, size_t n, int64_t offset)
{
    while (n > 0) {
        ssize_t put =
            offset < 0 ? sondep_syscalls.write(w->fd, bytes, n) : sondep_syscalls.pwrite(w->fd, bytes, n, (off_t)offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return SONDE_FAIL(SONDE_E_IO, "cannot write '%s': %s", w->path, put < 0 ? strerror(errno) : "no progress");
        bytes += put;
        n -= (size_t)put;
        offset += offset < 0 ? 0 : put;
    }
    return SONDE_OK;
}

/* What the buffer holds goes to the file. A failed flush is not tried again: the file is lost. */
static sonde_status writer_flush(sondep_writer *w)
{
    size_t n = w->n_buffered;
    w->n_buffered = 0;
    return write_all(w, w->buffer, n, -1);
}

/* Small pieces are gathered, large ones pass the buffer. */
sonde_status sondep_writer_put(sondep_writer *w, const void *bytes, size_t n)
{
    if (w->n_buffered + n > WRITE_BUFFER)
        SONDE_TRY(writer_flush(w));
    if (n > WRITE_BUFFER) {
        SONDE_TRY(write_all(w, bytes, n, -1));
    } else if (n > 0) {
        memcpy(w->buffer + w->n_buffered, bytes, n);
        w->n_buffered += n;
    }
    w->n_bytes += (int64_t)n;
    return SONDE_OK;
}

/* The buffer goes first, so that the two kinds of writes do not overtake each other. */
sonde_status sondep_writer_put_at(sondep_writer *w, int64_t offset, const void *bytes, size_t n)
{
    SONDE_TRY(writer_flush(w));
    return write_all(w, bytes, n, offset);
}

/* Nothing is left under the temporary name, whether or not it succeeds. */
sonde_status sondep_writer_commit(sondep_writer *w)
{
    sonde_status status = writer_flush(w);
    int fd = w->fd;

    /* Some systems report a failed write only here, so each step is checked; a file that cannot be flushed to a disk
     * (a pipe, a special file) is no error. */
    if (status == SONDE_OK && sondep_syscalls.fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP)
        status = SONDE_FAIL(SONDE_E_IO, "cannot write '%s': %s", w->path, strerror(errno));
    w->fd = -1;
    if (sondep_syscalls.close(fd) != 0 && status == SONDE_OK)
        status = SONDE_FAIL(SONDE_E_IO, "cannot write '%s': %s", w->path, strerror(errno));
    /* The one moment at which the file appears. */
    if (status == SONDE_OK && w->part && sondep_syscalls.rename(w->part, w->path) != 0)
        status = SONDE_FAIL(SONDE_E_IO, "cannot rename '%s' to '%s': %s", w->part, w->path, strerror(errno));
    if (status != SONDE_OK && w->part)
        unlink(w->part);
    writer_release(w);
    return status;
}

void sondep_writer_abort(sondep_writer *w)
{
    if (w->part != NULL)
        unlink(w->part);
    writer_release(w);
}

/* Three bytes to four digits, a few thousand digits at a time. */
sonde_status sondep_writer_put_base64(sondep_writer *w, const unsigned char *bytes, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char out[4096];
    size_t at = 0;

    for (size_t i = 0; i < n; i += 3) {
        uint32_t x =
            (uint32_t)bytes[i] << 16 | (i + 1 < n ? (uint32_t)bytes[i + 1] << 8 : 0) | (i + 2 < n ? bytes[i + 2] : 0);
        out[at++] = digits[x >> 18];
        out[at++] = digits[x >> 12 & 63];
        out[at++] = i + 1 < n ? digits[x >> 6 & 63] : '=';
        out[at++] = i + 2 < n ? digits[x & 63] : '=';
        if (at == sizeof out) {
            SONDE_TRY(sondep_writer_put(w, out, at));
            at = 0;
        }
    }
    return sondep_writer_put(w, out, at);
}
