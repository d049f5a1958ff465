/* cli/toy.h - what the commands of toy models share.                           floor 10: cli
 *
 * The library trains and judges; the program chooses, shows and writes down. Whoever looks on while models train does it here.
 */
#ifndef CLI_TOY_H
#define CLI_TOY_H

#include "cli.h"

#include <sonde/toy.h>

/* Who looks while models train: --watch, or the line of progress. */
typedef struct toy_watch {
    const char *name; /* of the experiment */
    bool is_seen;     /* weights are drawn */
    int64_t n_lines;  /* of the last picture, which the next one covers */
    double last;      /* when the line was drawn */
} toy_watch;

/* A sonde_toy_watch_fn; ctx is a toy_watch. */
sonde_status toy_watch_step(sonde_toy *toy, const double *losses, void *ctx);
void toy_watch_end(toy_watch *watch);

/* A folder that may be there. Errors: SONDE_E_IO. */
sonde_status toy_make_folder(const char *path);

#endif
