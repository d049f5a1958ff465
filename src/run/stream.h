/* run/stream.h - documents of a corpus through a model: their rows.             floor 6: run */
#ifndef SONDEP_STREAM_H
#define SONDEP_STREAM_H

#include "run/run.h"

struct sondep_listener;

/* Documents of a corpus, and how many rows each has. Made by sondep_stream_new; what stands here does not change then. */
typedef struct sondep_stream {
    const sonde_model *model;
    const sonde_corpus *corpus;
    int64_t n_hooks, *widths;
    char **hooks;      /* exact names */
    int32_t *left_out; /* ids whose positions are no rows */
    int64_t n_left_out, batch, context;
    int64_t *n_rows; /* (n_documents) */
    int64_t n_documents;

    /* the batch that is on its way */
    sonde_run *run;
    int32_t *tokens;          /* (B,T) */
    int64_t *lengths, *first; /* (B) and the row of its first token among those that are filled */
    int64_t *documents;       /* (B) */
    int64_t B, T, capacity;
    float *const *out;
    struct sondep_listener *listeners; /* (n_hooks) */
} sondep_stream;

/* A stream; options that are 0 or NULL are the defaults of sonde_stream_opts. Owns: *out is yours: sondep_stream_free; borrows model and
 * corpus. Errors: those of sonde_source_stream. */
sonde_status sondep_stream_new(sondep_stream **out, const sonde_model *model, const sonde_corpus *corpus,
                               const char *const *hooks, int64_t n_hooks, const sonde_stream_opts *opts);
void sondep_stream_free(void *stream);

/* The rows of documents, one behind another (a sonde_fill_fn, whose ctx is the stream). */
sonde_status sondep_stream_fill(float *const *out, const int64_t *documents, int64_t n, void *stream);

/* Tokens of a document that the model sees: the separator and what follows it, up to the context. */
int64_t sondep_stream_length(const sondep_stream *s, int64_t document);

/* Whether a position with this id is a row. */
bool sondep_stream_is_row(const sondep_stream *s, int32_t id);

#endif
