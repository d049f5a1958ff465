/* text/tokenizer_reader.h - a strict reader of JSON for long tables.            floor 3: text
 *
 * A tokenizer.json is a few small settings and two tables of up to a million entries (vocab, merges). jansson takes 50
 * to 90 ms for GPT-2's file and 250 for Llama-3's, in half a million allocations. So the tables are read where they
 * lie, and everything else is handed to jansson as the text of its value. Nothing is skipped unread: a value that is
 * passed over is parsed by the same grammar (RFC 8259), and whatever is wrong anywhere is an error with its byte.
 */
#ifndef SONDEP_TOKENIZER_READER_H
#define SONDEP_TOKENIZER_READER_H

#include "base/base.h"

#include <jansson.h>

typedef struct sondep_reader {
    const char *text; /* borrowed; known to be UTF-8 */
    size_t n, at;
    const char *path;      /* for messages */
    sondep_string scratch; /* holds a string that had escapes */
} sondep_reader;

/* Bytes [from, to) of the text that hold one value. */
typedef struct sondep_extent {
    size_t from, to;
} sondep_extent;

void sondep_reader_release(sondep_reader *r);

/* SONDE_E_FORMAT naming the file, the byte and the problem. */
sonde_status sondep_reader_fail(const sondep_reader *r, const char *problem);

/* The next byte that is not white space, 0 at the end. */
char sondep_reader_peek(sondep_reader *r);

/* Takes `c`, or fails. */
sonde_status sondep_reader_expect(sondep_reader *r, char c);

/* A string without its quotes. Owns: borrows, until the next string is read. NULs may be inside. */
sonde_status sondep_reader_string(sondep_reader *r, const char **out, size_t *n);

/* An integer between 0 and 2^32 - 1. */
sonde_status sondep_reader_id(sondep_reader *r, int64_t *out);

/* Parses any value without keeping it. */
sonde_status sondep_reader_skip(sondep_reader *r);

/* Before each element of a list or object: *more says whether there is one; commas and the closing bracket are taken.
 * `first` starts as true. For an object, the key and the colon are taken too. */
sonde_status sondep_reader_element(sondep_reader *r, char close, bool *first, bool *more);
sonde_status sondep_reader_key(sondep_reader *r, bool *first, bool *more, const char **key, size_t *n);

/* The value at an extent as jansson has it, whatever its type. Owns: *out is yours: json_decref. */
sonde_status sondep_reader_json(const sondep_reader *r, json_t **out, sondep_extent extent);

#endif
