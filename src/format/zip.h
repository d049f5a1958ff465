/* format/zip.h - zip archives: read from the mapped file, written member by member.    floor 2: format */
#ifndef SONDEP_ZIP_H
#define SONDEP_ZIP_H

#include "format/sink.h"

#include <zip.h>

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* Nothing that an archive says about sizes is believed before the bytes are there. */
typedef struct sondep_zip {
    char *path;
    sondep_file file;
    zip_t *zip; /* reads from the mapped file */
} sondep_zip;

/* Maps a file and reads its directory; `what` names the kind of file in the error. What a failed opening leaves behind is for close.
 * Errors: SONDE_E_NOTFOUND, SONDE_E_IO, SONDE_E_FORMAT, SONDE_E_NOMEM. */
sonde_status sondep_zip_open(sondep_zip *out, const char *path, const char *what);
void sondep_zip_close(sondep_zip *zip);

/* Members, and the name of one ("" where it has none). */
int64_t sondep_zip_n(const sondep_zip *zip);
const char *sondep_zip_name(const sondep_zip *zip, int64_t i);

/* Appends all bytes of a member, at most `most` of them. Errors: SONDE_E_FORMAT (damaged, or longer: its name), SONDE_E_NOMEM. */
sonde_status sondep_zip_read(sondep_string *out, const sondep_zip *zip, int64_t i, size_t most);

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* A member: some bytes, and behind them the elements of a tensor of the sink, which lie in its spill file. */
typedef struct sondep_zip_member {
    sondep_string name, head; /* owned */
    int64_t tensor;           /* -1: none */
} sondep_zip_member;

/* Writes an archive of these members, stored, through the sink's writer. Dates are fixed: the same tensors give the same bytes.
 * Owns: nothing. Errors: SONDE_E_IO, SONDE_E_NOMEM. */
sonde_status sondep_zip_write(sonde_sink *sink, const sondep_zip_member *members, int64_t n);

/* Frees the names and heads of n members, and the array. */
void sondep_zip_members_free(sondep_zip_member *members, int64_t n);

#endif
