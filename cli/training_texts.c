/* training_texts.c - files of texts as a corpus, and what the manifest says of them.     floor 10: cli */
#include "training.h"

#include <stdlib.h>
#include <string.h>

/* The token that begins a text. */
sonde_status training_separator(int32_t *out, cli_model *m)
{
    CLI_TRY(cli_model_tokenizer(m));
    *out = sonde_tokenizer_bos(m->tokenizer);
    if (*out < 0)
        *out = cli_bos_id(m);
    return *out >= 0 ? SONDE_OK
                     : cli_fail(SONDE_E_UNSUPPORTED, "'%s' has no token that begins a text (<|endoftext|>, <s>)", m->path);
}

/* --with-special: a list that is there, and empty. */
sonde_status training_left_out(int32_t **ids, int64_t *n, const cli_model *m, const char *text, bool with_special)
{
    int64_t *wide = NULL;
    sonde_status status = SONDE_OK;

    *ids = NULL;
    *n = 0;
    if (with_special && text != NULL)
        return cli_misuse("'--with-special' leaves nothing out: it cannot stand beside '--leave-out'");
    if (text == NULL && !with_special)
        return SONDE_OK;
    if (text != NULL)
        CLI_TRY(cli_parse_integers(&wide, n, text, "--leave-out"));
    CLI_TRY_DONE(CLI_NEW(*ids, *n));
    for (int64_t i = 0; i < *n && status == SONDE_OK; i++) {
        /* an id that no token has is a slip */
        if (wide[i] < 0 || wide[i] >= m->config->n_vocab)
            status = cli_fail(SONDE_E_RANGE, "id %lld of '--leave-out' is outside the vocabulary of %lld",
                              (long long)wide[i], (long long)m->config->n_vocab);
        else
            (*ids)[i] = (int32_t)wide[i];
    }
done:
    free(wide);
    return status;
}

/* How far the reading of a file is. */
static void on_read(double share, int64_t n_tokens, void *ctx)
{
    cli_progress_step(ctx, (double)n_tokens, share);
}

/* What a corpus has, before a file and behind it. */
typedef struct sizes {
    int64_t documents, tokens, bytes;
} sizes;

/* What a corpus has by now. */
static sizes sizes_of(const sonde_corpus *corpus)
{
    return (sizes){sonde_corpus_n_documents(corpus), sonde_corpus_n_tokens(corpus), sonde_corpus_n_bytes(corpus)};
}

/* The manifest says of each file what it gave, so that another machine's texts can be held against it. */
static void list_file(json_t *files, const sonde_corpus *corpus, const char *path, int64_t repeat, sizes before,
                      bool is_held_out)
{
    json_t *row = json_object();
    sizes now = sizes_of(corpus);

    json_object_set_new(row, "path", json_string(path));
    json_object_set_new(row, "repeat", json_integer(repeat));
    json_object_set_new(row, "documents", json_integer(now.documents - before.documents));
    json_object_set_new(row, "tokens", json_integer(now.tokens - before.tokens));
    json_object_set_new(row, "bytes", json_integer(now.bytes - before.bytes));
    json_object_set_new(row, "held_out", json_boolean(is_held_out));
    json_array_append_new(files, row);
}

/* The manifest says of each file what it gave. */
sonde_status training_add_file(json_t *files, sonde_corpus *corpus, const char *text, int64_t limit, bool is_held_out)
{
    cli_progress progress;
    sonde_corpus_opts how;
    sizes before = sizes_of(corpus);
    size_t path_bytes;
    char *path;
    sonde_status status;

    sonde_corpus_opts_init(&how);
    how.field = cli.field;
    how.limit = limit;
    how.progress = on_read;
    how.ctx = &progress;
    /* "FILE:3" */
    CLI_TRY(sonde_corpus_split(&path_bytes, &how.repeat, text));
    CLI_TRY(CLI_NEW(path, (int64_t)path_bytes + 1));
    memcpy(path, text, path_bytes);
    /* large files take minutes: progress is that of reading */
    cli_progress_begin(&progress, "tokens");
    status = sonde_corpus_add(corpus, path, &how);
    cli_progress_end(&progress);
    if (status == SONDE_OK)
        list_file(files, corpus, path, how.repeat, before, is_held_out);
    free(path);
    return status;
}
