/* base/file.h - files: read whole or mapped, written beside and renamed.       floor 0: base
 *
 * Every system call of the library that touches a file goes through `sondep_sys`, so that tests can make the nth one
 * fail or come up short.
 */
#ifndef SONDEP_FILE_H
#define SONDEP_FILE_H

#include "base/base.h"

#include <sys/types.h>

/* The system calls that can fail, as a table that tests replace (tests/fault). */
typedef struct sondep_sys {
    int (*open)(const char *path, int flags, mode_t mode);
    ssize_t (*read)(int fd, void *buffer, size_t n);
    ssize_t (*write)(int fd, const void *buffer, size_t n);
    ssize_t (*pwrite)(int fd, const void *buffer, size_t n, off_t offset);
    int (*fsync)(int fd);
    int (*close)(int fd);
    int (*rename)(const char *from, const char *to);
    int (*ftruncate)(int fd, off_t length);
    void *(*mmap)(void *address, size_t n, int protection, int flags, int fd, off_t offset);
    int (*mkdir)(const char *path, mode_t mode);
    int (*exchange)(const char *a,
                    const char *b); /* two names of one file system, in one step; ENOSYS where there is none */
} sondep_sys;
extern sondep_sys sondep_syscalls;

/* ---- reading ---------------------------------------------------------------------------------------------------- */

/* A file in memory, read-only: mapped where that is possible, else read. `data` has no NUL behind it. */
typedef struct sondep_file {
    const char *data;
    size_t bytes;
    char *path; /* owned, for messages */
    bool is_mapped;
} sondep_file;

/* Errors: SONDE_E_NOTFOUND if there is none, SONDE_E_IO with the system's words. `out` is zero on failure. */
sonde_status sondep_file_map(sondep_file *out, const char *path); /* pages are read as they are touched */
sonde_status sondep_file_read(sondep_file *out, const char *path,
                              size_t limit_bytes); /* whole, now; E_RANGE beyond the limit */
void sondep_file_release(sondep_file *file);

/* Gives the pages of a mapped file back: they are read again when they are touched. Nothing where it is not mapped. */
void sondep_file_forget(const sondep_file *file);

/* Bytes of a mapped file, wherever they lie, are wanted soon: exactly their pages are read meanwhile. Pages that are touched first bring the system's
 * read-ahead with them, megabytes in places. Nothing where they are not mapped. */
void sondep_file_want(const void *data, size_t bytes);

/* Whether both paths lead to one file that is there. */
bool sondep_is_same_file(const char *a, const char *b);

bool sondep_is_directory(const char *path);
bool sondep_is_file(const char *path);

/* Where `path` really leads: through symbolic links, so that a link stays and its target is replaced. Owns *out. */
sonde_status sondep_path_resolve(char **out, const char *path);
sonde_status sondep_path_join(char **out, const char *directory, const char *name); /* owns *out */

/* ---- writing ---------------------------------------------------------------------------------------------------- */

/* A file that appears under its name only when it is complete: written to `<path>.<pid>.part` in the same folder, then
 * flushed and renamed. Symbolic links are followed; a device or a pipe is written to directly (then `part` is NULL). */
typedef struct sondep_writer {
    char *path, *part; /* owned */
    int fd;
    char *buffer; /* sequential writes are gathered here */
    size_t n_buffered;
    int64_t n_bytes; /* written so far through sondep_writer_put */
} sondep_writer;

sonde_status sondep_writer_open(sondep_writer *out, const char *path);
sonde_status sondep_writer_put(sondep_writer *w, const void *bytes, size_t n);
sonde_status sondep_writer_put_base64(sondep_writer *w, const unsigned char *bytes, size_t n); /* as text in base64 */
sonde_status sondep_writer_put_at(sondep_writer *w, int64_t offset, const void *bytes,
                                  size_t n);         /* random access; does not move put */
sonde_status sondep_writer_commit(sondep_writer *w); /* flush, fsync, rename; releases w whether or not it succeeds */
void sondep_writer_abort(sondep_writer *w);          /* removes what was written; fine after commit, fine on a zero struct */

#endif
