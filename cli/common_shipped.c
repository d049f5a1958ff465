/* common_shipped.c - where the models lie that come with the program.          floor 10: cli
 *
 * Beside the program, wherever that was moved to: in the folder of a build (build/sonde, models/) or of an installation
 * (bin/sonde, share/sonde/models).
 */
#include "common.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <mach-o/dyld.h>
#endif

/* The folder that the program lies in; false if the system does not say. */
static bool program_folder(char *out, size_t out_bytes)
{
#if defined(__APPLE__)
    uint32_t bytes = (uint32_t)out_bytes;
    if (_NSGetExecutablePath(out, &bytes) != 0)
        return false;
#else
    ssize_t n = readlink("/proc/self/exe", out, out_bytes - 1);
    if (n <= 0)
        return false;
    out[n] = '\0';
#endif
    if (strrchr(out, '/') == NULL)
        return false;
    *strrchr(out, '/') = '\0';
    return true;
}

/* Nothing of the environment is asked: a tour should be the same everywhere. */
const char *cli_shipped_model(const char *name)
{
    static const char *const places[] = {"../models", "../share/sonde/models"};
    static char found[PATH_MAX];
    char path[8192], folder[4096];

    if (!program_folder(folder, sizeof folder))
        return NULL;
    /* the first that is there: a build before an installation */
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, "%s/%s/%s", folder, places[i], name);
        if (realpath(path, found) != NULL)
            return found;
    }
    return NULL;
}
