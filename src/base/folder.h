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

/* What a folder of some kind has, so that another one is not taken for it. */
typedef struct sondep_folder_kind {
    const char *what;           /* with its article: "a model" */
    const char *marker;         /* the file that makes it one */
    const char *const *names;   /* of other files, ending with NULL, ... */
    const char *const *endings; /* ... and how others end */
} sondep_folder_kind;

/* SONDE_OK if there is nothing at `directory`, an empty folder, or one of this kind: it may be replaced as a whole. Every name is
 * looked at, since all of it goes. Errors: SONDE_E_ARG (a file; a folder without the marker; a file that such a folder has not), SONDE_E_IO. */
sonde_status sondep_folder_may_replace(const char *directory, const sondep_folder_kind *kind);

/* Calls fn with the name of each entry of a folder, until one returns another status than SONDE_OK, which is handed on.
 * Errors: SONDE_E_NOTFOUND, SONDE_E_IO. */
typedef sonde_status sondep_entry_fn(const char *name, void *ctx);
sonde_status sondep_folder_each(const char *path, sondep_entry_fn *fn, void *ctx);

#endif
