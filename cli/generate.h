/* cli/generate.h - samples of `sonde generate`: how they are kept and written.     floor 10: cli */
#ifndef CLI_GENERATE_H
#define CLI_GENERATE_H

#include "cli.h"

/* Tokens: a prompt, or the new ones of a sample. */
typedef struct generate_ids {
    int32_t *ids;
    int64_t n, capacity;
} generate_ids;

/* A sample that has ended and waits for those before it. */
typedef struct generate_sample {
    generate_ids added;
    bool is_there, is_stopped; /* is_stopped: EOS or BOS ended it */
} generate_sample;

/* What a run of the command holds. Sample b continues prompt b / n_each; samples are written in order of their numbers. */
typedef struct generation {
    cli_model m;
    generate_ids *prompts;
    int64_t n_prompts, prompts_capacity;
    int64_t n_each, first, end; /* samples `first` to `end` are drawn */

    bool no_echo, finished_only, is_jsonl; /* as the options say */
    sonde_documents_writer *writer;        /* of -o, or NULL: standard output */
    json_t *list;                          /* of --json, or NULL */
    generate_sample *waiting;              /* sample b at b % capacity */
    int64_t capacity, next;                /* next: the number of the sample that is written next */
    int64_t n_written, n_left_out, n_tokens;

    bool streams;         /* one sample, as text: it is printed as it comes */
    generate_ids growing; /* its tokens, and those of its prompt */
    size_t n_printed;     /* bytes of its text on stdout */
    cli_progress progress;
} generation;

/* Appends a token. */
sonde_status generate_push(generate_ids *to, int32_t id);

/* Takes the new tokens of a sample, and writes all samples whose turn has come. */
sonde_status generate_take(generation *g, int64_t number, const int32_t *ids, int64_t n, bool is_stopped);

/* The streamed sample: its prompt, what is new in its text, and at the end the rest and a newline. */
sonde_status generate_stream_begin(generation *g);
sonde_status generate_stream_token(generation *g, int32_t id);

/* Ids as a JSON list. */
json_t *generate_ids_json(const int32_t *ids, int64_t n);

void generate_release(generation *g);

#endif
