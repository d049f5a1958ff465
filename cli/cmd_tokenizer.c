/* cmd_tokenizer.c - `sonde tokenizer train`: a byte-level BPE tokenizer from texts.   floor 10: cli
 *
 * Documents are streamed: words are kept, texts are not. Nothing is written unless the vocabulary that was asked for is
 * learnt in full.
 */
#include "cli.h"

#include <string.h>
#include <sys/stat.h>

static const char *output;
static int64_t n_vocab, min_frequency = 2, pattern, limit;
static const char *field;
static cli_strings specials;
static bool no_special, prepends_bos;

static const cli_option options[] = {
    {"output", 'o', CLI_TEXT, &output, "FILE", 0, 0, "write this .json file, or tokenizer.json in this folder"},
    {"vocab", 0, CLI_INT, &n_vocab, "N", 1, 1 << 24, "number of tokens: special tokens, 256 bytes, merges"},
    {"min-frequency", 0, CLI_INT, &min_frequency, "N", 0, 1e15, "merge only pairs that are met so often"},
    {"special", 0, CLI_LIST, &specials, "TOKEN", 0, 0,
     "special token, ids from 0 on (may be repeated; default: <|endoftext|>)"},
    {"no-special", 0, CLI_FLAG, &no_special, NULL, 0, 0, "no special tokens"},
    {"prepend-bos", 0, CLI_FLAG, &prepends_bos, NULL, 0, 0, "encoding puts the first special token before every text"},
    {"pattern", 0, CLI_CHOICE, &pattern, "gpt2|llama3", 0, 0, "how texts are cut into words"},
    {"field", 0, CLI_TEXT, &field, "NAME", 0, 0, "field of jsonl objects that holds the text (default: text)"},
    {"limit", 0, CLI_INT, &limit, "N", 0, 1e15, "take the first N documents; 0: all"},
    {0},
};

/* What the options say, for the library. */
static sonde_status make_trainer(sonde_bpe_trainer **out)
{
    sonde_bpe_trainer_opts opts;

    /* what is missing is said before a file is read */
    if (output == NULL)
        return cli_misuse("nowhere to write: give '-o FILE' or '-o FOLDER'");
    if (strcmp(output, "-") == 0)
        return cli_misuse("'--output' is a file or a folder, not standard output");
    if (n_vocab == 0)
        return cli_misuse("how many tokens? give '--vocab N'");
    if (no_special && specials.n > 0)
        return cli_misuse("'--special' and '--no-special' exclude each other");
    if (no_special && prepends_bos)
        return cli_misuse("'--prepend-bos' needs a special token: '--no-special' leaves none");
    sonde_bpe_trainer_opts_init(&opts);
    opts.n_vocab = n_vocab;
    opts.min_frequency = min_frequency;
    opts.pattern = (sonde_bpe_pattern)pattern;
    opts.prepends_bos = prepends_bos;
    /* without either, the library's own special token */
    if (no_special || specials.n > 0) {
        opts.specials = specials.items;
        opts.n_specials = specials.n;
    }
    return sonde_bpe_trainer_new(out, &opts);
}

/* What has been read of all files. */
typedef struct reading {
    sonde_bpe_trainer *trainer;
    double bytes, bytes_before, bytes_of_file; /* of all files, of those before this one, of this one; -1: not known */
    cli_progress progress;
} reading;

/* Size of a file; -1 for what has none. */
static double file_bytes(const char *path)
{
    struct stat info;
    return strcmp(path, "-") != 0 && stat(path, &info) == 0 && S_ISREG(info.st_mode) ? (double)info.st_size : -1;
}

/* How much of all files has been read: small files weigh little. */
static double share_read(const reading *r, const sonde_documents *documents, int64_t n_texts)
{
    if (limit > 0)
        return (double)n_texts / (double)limit;
    return r->bytes > 0 ? (r->bytes_before + r->bytes_of_file * sonde_documents_progress(documents)) / r->bytes : -1;
}

/* The documents of one file, or as many as the limit leaves. */
static sonde_status add_file(reading *r, const char *path)
{
    const sonde_bpe_trainer_totals *totals = sonde_bpe_trainer_get_totals(r->trainer);
    sonde_documents *documents;
    const char *text;
    size_t n_bytes;
    sonde_status status = SONDE_OK;

    CLI_TRY(sonde_documents_open(&documents, path, field));
    while (limit == 0 || totals->n_texts < limit) {
        CLI_TRY_DONE(sonde_documents_next(documents, &text, &n_bytes));
        if (text == NULL)
            break;
        CLI_TRY_DONE(sonde_bpe_trainer_add(r->trainer, text, n_bytes));
        /* a text is the step that Ctrl-C waits for */
        CLI_TRY_DONE(cli_check_interrupt());
        cli_progress_step(&r->progress, (double)totals->n_bytes, share_read(r, documents, totals->n_texts));
    }
done:
    sonde_documents_close(documents);
    return status;
}

/* Results: what was seen, what was learnt, how long each took. */
static sonde_status print_totals(const sonde_bpe_trainer *trainer, double read_s, double learn_s)
{
    const sonde_bpe_trainer_totals *t = sonde_bpe_trainer_get_totals(trainer);

    if (cli.json) {
        json_t *out = cli_json("sonde.tokenizer.train/1");
        json_object_set_new(out, "documents", json_integer(t->n_texts));
        json_object_set_new(out, "bytes", json_integer(t->n_bytes));
        json_object_set_new(out, "words", json_integer(t->n_words));
        json_object_set_new(out, "different_words", json_integer(t->n_different));
        json_object_set_new(out, "vocab", json_integer(t->n_vocab));
        json_object_set_new(out, "merges", json_integer(t->n_merges));
        json_object_set_new(out, "read_seconds", cli_json_real(read_s));
        json_object_set_new(out, "learn_seconds", cli_json_real(learn_s));
        json_object_set_new(out, "output", json_string(output));
        return cli_json_write(out);
    }
    printf("%s, %s: %s, %s of them different\n", cli_counted(t->n_texts, "document"), cli_bytes((double)t->n_bytes),
           cli_counted(t->n_words, "word"), cli_count(t->n_different));
    printf("%s: %s, written to %s\n", cli_counted(t->n_vocab, "token"), cli_counted(t->n_merges, "merge"), output);
    cli_note("read in %.1f s, learnt in %.1f s", read_s, learn_s);
    return SONDE_OK;
}

/* All files, one after the other. */
static sonde_status add_files(reading *r, const char *const *paths, int64_t n)
{
    /* one file of unknown size, and the share of all is unknown */
    for (int64_t i = 0; i < n && r->bytes >= 0; i++) {
        double bytes = file_bytes(paths[i]);
        r->bytes = bytes < 0 ? -1 : r->bytes + bytes;
    }
    for (int64_t i = 0; i < n; i++) {
        r->bytes_of_file = file_bytes(paths[i]);
        CLI_TRY(add_file(r, paths[i]));
        r->bytes_before += r->bytes_of_file;
    }
    return SONDE_OK;
}

/* All files, then all merges, then one file. */
static sonde_status run(const cli_call *call)
{
    reading r = {0};
    double started = cli_seconds(), read;
    sonde_status status;

    CLI_TRY(make_trainer(&r.trainer));
    cli_progress_begin(&r.progress, "bytes");
    CLI_TRY_DONE(add_files(&r, call->arguments, call->n_arguments));
    read = cli_seconds();
    CLI_TRY_DONE(sonde_bpe_trainer_learn(r.trainer));
    CLI_TRY_DONE(sonde_bpe_trainer_save(r.trainer, output));
    cli_progress_end(&r.progress);
    status = print_totals(r.trainer, read - started, cli_seconds() - read);
done:
    cli_progress_end(&r.progress);
    sonde_bpe_trainer_free(r.trainer);
    return status;
}

const cli_command cli_cmd_tokenizer_train = {
    .name = "tokenizer train",
    .summary = "a byte-level BPE tokenizer from texts: the tokenizer.json that the tokenizers library would train",
    .arguments = "FILE...",
    .min_arguments = 1,
    .max_arguments = 1 << 20,
    .examples =
        {"sonde tokenizer train stories.jsonl -o my-tokenizer --vocab 280",
         "sonde tokenizer train stories.jsonl story.txt -o tokenizer.json --vocab 270 --special '<s>' --special '</s>'"},
    .options = {options},
    .notes = "FILE is a .txt (one document), .jsonl, .jsonl.zst or - (standard input).",
    .run = run,
};
