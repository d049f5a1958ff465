/* base/folder.h - a folder of files that appears under its name only when it is complete.     floor 0: base */
#ifndef SONDEP_FOLDER_H
#define SONDEP_FOLDER_H

#include "base/base.h"

/* Files are written into `part`, a new folder beside `path`; commit puts it into the place of what was there, which is kept
 * whole until then. Where the system can exchange two folders, there is no moment without one under the name. */
typedef struct sondep_folder {
    char *path, *part, *old; /* owned; old: where the one that is replaced goes, where folders cannot be exchanged */
} sondep_folder;

/* Makes the folder that is written into; `path` is followed through symbolic links, and the folder above it must be there.
 * Errors: SONDE_E_IO, SONDE_E_NOMEM. Nothing is left then, and `out` is zero. */
sonde_status sondep_folder_open(sondep_folder *out, const char *path);

/* Flushes the folder and puts it under its name; what was there is removed. Releases `folder` whether or not it succeeds. */
sonde_status sondep_folder_commit(sondep_folder *folder);

/* Removes what was written; fine after commit, fine on a zero struct. */
void sondep_folder_abort(sondep_folder *folder);

/* Calls fn with the name of each entry of a folder, until one returns another status than SONDE_OK, which is handed on.
 * Errors: SONDE_E_NOTFOUND, SONDE_E_IO. */
typedef sonde_status sondep_entry_fn(const char *name, void *ctx);
sonde_status sondep_folder_each(const char *path, sondep_entry_fn *fn, void *ctx);

#endif
