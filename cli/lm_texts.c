/* lm_texts.c - the texts of a training as corpora, and what the manifest says of them.     floor 10: cli */
#include "lm.h"

#include <stdlib.h>
#include <string.h>

/* How far the reading of a file is. */
static void on_read(double share, int64_t n_tokens, void *ctx)
{
    cli_progress_step(ctx, (double)n_tokens, share);
}

/* Adds one file to a corpus, and to the list of the manifest. */
static sonde_status add_file(lm_training *t, sonde_corpus *corpus, const char *text)
{
    sonde_corpus_opts how;
    int64_t tokens = sonde_corpus_n_tokens(corpus), documents = sonde_corpus_n_documents(corpus);
    int64_t bytes = sonde_corpus_n_bytes(corpus);
    size_t path_bytes;
    char *path;
    json_t *row;
    sonde_status status;

    sonde_corpus_opts_init(&how);
    how.field = cli.field;
    how.limit = cli.limit;
    how.progress = on_read;
    how.ctx = &t->progress;
    CLI_TRY(sonde_corpus_split(&path_bytes, &how.repeat, text));
    CLI_TRY(CLI_NEW(path, (int64_t)path_bytes + 1));
    memcpy(path, text, path_bytes);
    cli_progress_begin(&t->progress, "tokens");
    status = sonde_corpus_add(corpus, path, &how);
    cli_progress_end(&t->progress);
    if (status == SONDE_OK) {
        /* the manifest says of each file what it gave, so that another machine's texts can be held against it */
        row = json_object();
        json_object_set_new(row, "path", json_string(path));
        json_object_set_new(row, "repeat", json_integer(how.repeat));
        json_object_set_new(row, "documents", json_integer(sonde_corpus_n_documents(corpus) - documents));
        json_object_set_new(row, "tokens", json_integer(sonde_corpus_n_tokens(corpus) - tokens));
        json_object_set_new(row, "bytes", json_integer(sonde_corpus_n_bytes(corpus) - bytes));
        json_object_set_new(row, "held_out", json_boolean(corpus == t->held_out));
        json_array_append_new(t->files, row);
    }
    free(path);
    return status;
}

sonde_status lm_read_texts(lm_training *t, const cli_strings *data, const char *held_out_path)
{
    CLI_TRY(sonde_corpus_new(&t->corpus, t->tokenizer, t->separator, t->config.n_vocab));
    for (int64_t i = 0; i < data->n; i++)
        CLI_TRY(add_file(t, t->corpus, data->items[i]));
    if (held_out_path == NULL)
        return SONDE_OK;
    CLI_TRY(sonde_corpus_new(&t->held_out, t->tokenizer, t->separator, t->config.n_vocab));
    return add_file(t, t->held_out, held_out_path);
}
