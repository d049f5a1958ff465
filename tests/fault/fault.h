/* fault.h - makes the nth allocation, read, write, ... of a case fail, for every n, and holds what must follow.
 *
 * A case is a function that does one whole thing (loads a model, writes a file) and frees all of it. It runs once without
 * faults, to count its calls; then once for each of them, with that one failing, or that one and all behind it, or coming
 * short, or being interrupted. What must follow: a failed call gives a status with a message; a call that was only short or
 * interrupted changes nothing; every allocation is given back; the folder holds what it held before.
 */
#ifndef FAULT_H
#define FAULT_H

#include <sonde/base.h>

#include "base/file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "folder.h"

/* What a case does; it asserts for itself that its result is right whenever it returns SONDE_OK. */
typedef sonde_status fault_case(void *ctx);

enum fault_kind {
    FAULT_ALLOC,
    FAULT_READ,
    FAULT_WRITE,
    FAULT_PWRITE,
    FAULT_OPEN,
    FAULT_FSYNC,
    FAULT_RENAME,
    FAULT_FTRUNCATE,
    FAULT_MMAP,
    FAULT_CLOSE,
    FAULT_MKDIR,
    FAULT_EXCHANGE,
    N_FAULTS
};

enum fault_mode { FAULT_NONE, FAULT_ONCE, FAULT_FROM, FAULT_SHORT, FAULT_INTERRUPT };

static struct {
    enum fault_kind kind;
    enum fault_mode mode;
    long nth;                      /* from 0 */
    atomic_long n_calls[N_FAULTS]; /* of this run */
    atomic_long n_live;            /* allocations not yet given back */
    atomic_bool has_struck;        /* in this run */
    long n_failed[N_FAULTS];       /* of all runs */
    sondep_sys system;             /* the real calls */
} fault;

/* Counts a call; true if this is one that the fault strikes. */
static bool fault_strikes(enum fault_kind kind)
{
    long n = atomic_fetch_add(&fault.n_calls[kind], 1);
    bool strikes =
        fault.mode != FAULT_NONE && kind == fault.kind && (fault.mode == FAULT_FROM ? n >= fault.nth : n == fault.nth);
    if (strikes)
        atomic_store(&fault.has_struck, true);
    return strikes;
}

/* ---- memory ---------------------------------------------------------------------------------------------------------- */

static void *fault_alloc(size_t bytes, void *ctx)
{
    void *p = fault_strikes(FAULT_ALLOC) ? NULL : malloc(bytes);
    (void)ctx;
    if (p != NULL)
        atomic_fetch_add(&fault.n_live, 1);
    return p;
}

static void *fault_resize(void *p, size_t bytes, void *ctx)
{
    void *q = fault_strikes(FAULT_ALLOC) ? NULL : realloc(p, bytes);
    (void)ctx;
    if (q != NULL && p == NULL)
        atomic_fetch_add(&fault.n_live, 1);
    return q;
}

static void fault_release(void *p, void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&fault.n_live, -1);
    free(p);
}

static const sonde_allocator fault_allocator = {fault_alloc, fault_resize, fault_release, NULL};

/* ---- files ------------------------------------------------------------------------------------------------------------ */

/* What a struck call does: -1 with errno set, or a length to come short with. 0: goes on. */
static int fault_call(enum fault_kind kind, size_t *n, int error)
{
    if (!fault_strikes(kind))
        return 0;
    if (fault.mode == FAULT_SHORT) {
        *n = *n > 1 ? *n / 2 : *n;
        return 0;
    }
    errno = fault.mode == FAULT_INTERRUPT ? EINTR : error;
    return -1;
}

static ssize_t fault_read(int fd, void *buffer, size_t n)
{
    return fault_call(FAULT_READ, &n, EIO) ? -1 : fault.system.read(fd, buffer, n);
}

static ssize_t fault_write(int fd, const void *buffer, size_t n)
{
    return fault_call(FAULT_WRITE, &n, ENOSPC) ? -1 : fault.system.write(fd, buffer, n);
}

static ssize_t fault_pwrite(int fd, const void *buffer, size_t n, off_t offset)
{
    return fault_call(FAULT_PWRITE, &n, ENOSPC) ? -1 : fault.system.pwrite(fd, buffer, n, offset);
}

static int fault_open(const char *path, int flags, mode_t mode)
{
    size_t n = 0;
    return fault_call(FAULT_OPEN, &n, EACCES) ? -1 : fault.system.open(path, flags, mode);
}

static int fault_fsync(int fd)
{
    size_t n = 0;
    return fault_call(FAULT_FSYNC, &n, EIO) ? -1 : fault.system.fsync(fd);
}

static int fault_rename(const char *from, const char *to)
{
    size_t n = 0;
    return fault_call(FAULT_RENAME, &n, EACCES) ? -1 : fault.system.rename(from, to);
}

static int fault_ftruncate(int fd, off_t length)
{
    size_t n = 0;
    return fault_call(FAULT_FTRUNCATE, &n, ENOSPC) ? -1 : fault.system.ftruncate(fd, length);
}

static void *fault_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    size_t n = 0;
    return fault_call(FAULT_MMAP, &n, ENOMEM) ? MAP_FAILED
                                              : fault.system.mmap(address, bytes, protection, flags, fd, offset);
}

static int fault_mkdir(const char *path, mode_t mode)
{
    size_t n = 0;
    return fault_call(FAULT_MKDIR, &n, EACCES) ? -1 : fault.system.mkdir(path, mode);
}

static int fault_exchange(const char *a, const char *b)
{
    size_t n = 0;
    return fault_call(FAULT_EXCHANGE, &n, EACCES) ? -1 : fault.system.exchange(a, b);
}

/* A failing close closes all the same, as it does in Linux. */
static int fault_close(int fd)
{
    size_t n = 0;
    int status = fault_call(FAULT_CLOSE, &n, EIO), closed = fault.system.close(fd);
    return status ? -1 : closed;
}

/* ---- runs -------------------------------------------------------------------------------------------------------------- */

static int fault_setup(void **state)
{
    if (folder_make(state) != 0)
        return -1;
    fault.system = sondep_syscalls;
    sondep_syscalls = (sondep_sys){fault_open,   fault_read,      fault_write, fault_pwrite, fault_fsync,   fault_close,
                                   fault_rename, fault_ftruncate, fault_mmap,  fault_mkdir,  fault_exchange};
    return sonde_set_allocator(&fault_allocator) != SONDE_OK;
}

/* Prints what was done; `make test` repeats the line. */
static int fault_teardown(void **state)
{
    long others = fault.n_failed[FAULT_OPEN] + fault.n_failed[FAULT_FSYNC] + fault.n_failed[FAULT_RENAME] +
                  fault.n_failed[FAULT_FTRUNCATE] + fault.n_failed[FAULT_MMAP] + fault.n_failed[FAULT_CLOSE] +
                  fault.n_failed[FAULT_MKDIR] + fault.n_failed[FAULT_EXCHANGE];
    printf(
        "note: faults: %ld allocations, %ld reads, %ld writes made to fail, and %ld other calls (open, mmap, fsync, ...)\n",
        fault.n_failed[FAULT_ALLOC], fault.n_failed[FAULT_READ], fault.n_failed[FAULT_WRITE] + fault.n_failed[FAULT_PWRITE],
        others);
    sondep_syscalls = fault.system;
    return sonde_set_allocator(NULL) != SONDE_OK || folder_remove(state) != 0;
}

/* Once without faults: it must succeed. Libraries that set themselves up at first use do so here. */
static void fault_free_run(fault_case *run, void *ctx)
{
    fault.mode = FAULT_NONE;
    for (int k = 0; k < N_FAULTS; k++)
        fault.n_calls[k] = 0;
    if (run(ctx) != SONDE_OK)
        fail_msg("without a fault: %s", sonde_last_error()->message);
}

/* One run with one fault; what it does to the folder is undone by the case itself where it succeeds. */
static void fault_run(fault_case *run, void *ctx, const char *name, enum fault_kind kind, enum fault_mode mode, long nth)
{
    static const char *const kinds[] = {"allocation", "read",      "write", "pwrite", "open",  "fsync",
                                        "rename",     "ftruncate", "mmap",  "close",  "mkdir", "exchange"};
    bool must_succeed = mode == FAULT_SHORT || mode == FAULT_INTERRUPT;
    long live = fault.n_live;
    int n_files = folder_n_files();
    sonde_status status;

    fault.kind = kind;
    fault.mode = mode;
    fault.nth = nth;
    fault.has_struck = false;
    for (int k = 0; k < N_FAULTS; k++)
        fault.n_calls[k] = 0;
    sonde_clear_error();
    status = run(ctx);
    fault.mode = FAULT_NONE;
    fault.n_failed[kind] += fault.has_struck;
    if (status != SONDE_OK &&
        (must_succeed || sonde_last_error()->status != status || sonde_last_error()->message[0] == '\0'))
        fail_msg("%s, %s %ld, mode %d: status %d, message '%s'", name, kinds[kind], nth, (int)mode, status,
                 sonde_last_error()->message);
    if (status == SONDE_OK && !must_succeed && fault.has_struck && kind != FAULT_CLOSE)
        fail_msg("%s: %s %ld failed, and nobody said so", name, kinds[kind], nth);
    if (kind == FAULT_ALLOC && status != SONDE_OK && status != SONDE_E_NOMEM)
        fail_msg("%s: allocation %ld failed: status %d, message '%s'", name, nth, status, sonde_last_error()->message);
    if (fault.n_live != live)
        fail_msg("%s, %s %ld, mode %d: %ld allocations leak", name, kinds[kind], nth, (int)mode, fault.n_live - live);
    if (folder_n_files() != n_files)
        fail_msg("%s, %s %ld, mode %d: %d files in the folder, before %d", name, kinds[kind], nth, (int)mode,
                 folder_n_files(), n_files);
}

/* Every fault in turn. Cases with very many allocations have each of the first 2000 fail, then every 17th. */
static void fault_everywhere(fault_case *run, void *ctx, const char *name)
{
    long n_calls[N_FAULTS];

    fault_free_run(run, ctx);
    fault_free_run(run, ctx);
    for (int k = 0; k < N_FAULTS; k++)
        n_calls[k] = fault.n_calls[k];
    for (int k = 0; k < N_FAULTS; k++)
        for (long n = 0; n < n_calls[k]; n += k == FAULT_ALLOC && n >= 2000 ? 17 : 1) {
            fault_run(run, ctx, name, (enum fault_kind)k, FAULT_ONCE, n);
            if (k != FAULT_ALLOC || n < 200)
                fault_run(run, ctx, name, (enum fault_kind)k, FAULT_FROM, n);
            if (k == FAULT_READ || k == FAULT_WRITE || k == FAULT_PWRITE) {
                fault_run(run, ctx, name, (enum fault_kind)k, FAULT_SHORT, n);
                fault_run(run, ctx, name, (enum fault_kind)k, FAULT_INTERRUPT, n);
            }
        }
}

#endif
