/* fuzz.h - what the fuzz targets share. A target returns 0; what it must not do is crash, leak, hang, or break a rule of the
 * library: an error has a status and one clean line. */
#ifndef FUZZ_H
#define FUZZ_H

#include <sonde/base.h>

#include "base/base.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define FUZZ_REQUIRE(condition)                                                             \
    do {                                                                                    \
        if (!(condition)) {                                                                 \
            fprintf(stderr, "%s:%d: '%s' does not hold\n", __FILE__, __LINE__, #condition); \
            abort();                                                                        \
        }                                                                                   \
    } while (0)

/* The rules of an error, after a call that returned `status`; the record was cleared before. */
static inline void fuzz_check(sonde_status status)
{
    const sonde_error *e = sonde_last_error();
    if (status == SONDE_OK)
        return;
    FUZZ_REQUIRE(e->status == status && e->message[0] != '\0' && sonde_status_exit_code(status) != 70);
    FUZZ_REQUIRE(sondep_utf8_check(e->message, strlen(e->message), "message") == SONDE_OK);
    for (const char *p = e->message; *p != '\0'; p++)
        FUZZ_REQUIRE((unsigned char)*p >= 0x20 && *p != 0x7f);
}

static char fuzz_folder[64];

static void fuzz_remove(void)
{
    char command[96];
    if (fuzz_folder[0] != '\0' && snprintf(command, sizeof command, "rm -rf '%s'", fuzz_folder) > 0 && system(command) != 0)
        fprintf(stderr, "cannot remove '%s'\n", fuzz_folder);
}

/* The input as a file of this name in a folder of this process; returns its path. */
static inline const char *fuzz_file(const char *name, const void *data, size_t n)
{
    static char path[128];
    int fd;
    if (fuzz_folder[0] == '\0') {
        strcpy(fuzz_folder, access("/dev/shm", W_OK) == 0 ? "/dev/shm/sonde-fuzz-XXXXXX" : "/tmp/sonde-fuzz-XXXXXX");
        FUZZ_REQUIRE(mkdtemp(fuzz_folder) != NULL && atexit(fuzz_remove) == 0);
    }
    snprintf(path, sizeof path, "%s/%s", fuzz_folder, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    FUZZ_REQUIRE(fd >= 0 && write(fd, data, n) == (ssize_t)n && close(fd) == 0);
    return path;
}

#endif
