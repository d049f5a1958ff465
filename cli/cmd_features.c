/* cmd_features.c - `sonde features`: what each feature of an autoencoder responds to, as one SQLite file.   floor 10: cli
 *
 * All texts are held as tokens, since two walks go over them; what each feature does is not held but added up. The file appears
 * under its name when it is complete: an interruption leaves what was there.
 */
#include "token_texts.h"

#include <sonde/feature.h>

#include <stdlib.h>
#include <string.h>

/* What the command line says. */
static const char *output = "features.db", *hook, *hook_out;
static int64_t n_examples = 20, n_in_band = 4, n_before = 16, n_after = 8, n_documents = 200, seed;

static const cli_option options[] = {
    {"output", 'o', CLI_TEXT, &output, "FILE", 0, 0, "the database (features.db)"},
    {"hook", 0, CLI_TEXT, &hook, "NAME", 0, 0, "hook point that is read (as cfg.json says)"},
    {"hook-out", 0, CLI_TEXT, &hook_out, "NAME", 0, 0, "hook point that a transcoder writes (as cfg.json says)"},
    /* examples */
    {"examples", 0, CLI_INT, &n_examples, "N", 0, 1000, "largest activations of each feature, one of a text at most"},
    {"in-band", 0, CLI_INT, &n_in_band, "N", 0, 1000, "samples of each fifth of (0, max]"},
    {"before", 0, CLI_INT, &n_before, "N", 0, 1000, "tokens that are shown before an example"},
    {"after", 0, CLI_INT, &n_after, "N", 0, 1000, "tokens behind it"},
    {"documents", 0, CLI_INT, &n_documents, "N", 0, 1e6, "texts that are kept whole, with the features of each position"},
    {"seed", 0, CLI_INT, &seed, "N", 0, 1e18, "of the samples"},
    {0},
};

typedef struct work {
    cli_model m;
    sonde_sae *sae;
    cli_token_texts texts;
    cli_progress progress;
    sonde_features_report report;
} work;

/* Of both walks together. */
static sonde_status on_progress(int64_t n_done, int64_t n_tokens, void *ctx)
{
    work *w = ctx;

    cli_progress_step(&w->progress, (double)n_done, (double)n_done / (double)n_tokens);
    return cli_check_interrupt();
}

/* Words with spaces between them, behind `first`. Owns: *out is the caller's. */
static sonde_status join_words(char **out, const char *first, const char *const *words, int64_t n)
{
    size_t bytes = strlen(first) + 1;

    for (int64_t i = 0; i < n; i++)
        bytes += strlen(words[i]) + 1;
    CLI_TRY(CLI_NEW(*out, (int64_t)bytes));
    strcpy(*out, first);
    for (int64_t i = 0; i < n; i++) {
        strcat(*out, words[i]);
        strcat(*out, i + 1 < n ? " " : "");
    }
    return SONDE_OK;
}

/* What was written, in a line. */
static sonde_status print_report(const work *w)
{
    const sonde_features_report *r = &w->report;
    json_t *out;

    if (!cli.json) {
        printf("%s: %s (%s dead), %s of ", output, cli_counted(r->n_features, "feature"), cli_count(r->n_dead),
               cli_counted(r->n_positions, "position"));
        printf("%s, L0 %.1f, %s, %s\n", cli_counted(r->n_documents, "text"), r->l0, cli_counted(r->n_examples, "example"),
               cli_bytes((double)r->n_bytes));
        return SONDE_OK;
    }
    out = cli_json("sonde.features.build/1");
    json_object_set_new(out, "database", json_string(output));
    json_object_set_new(out, "features", json_integer(r->n_features));
    json_object_set_new(out, "dead", json_integer(r->n_dead));
    json_object_set_new(out, "positions", json_integer(r->n_positions));
    json_object_set_new(out, "texts", json_integer(r->n_documents));
    json_object_set_new(out, "examples", json_integer(r->n_examples));
    json_object_set_new(out, "l0", cli_json_real(r->l0));
    json_object_set_new(out, "bytes", json_integer(r->n_bytes));
    return cli_json_write(out);
}

/* The moment, unless it is pinned so that the file has the same bytes. */
static const char *created(void)
{
    return getenv("SOURCE_DATE_EPOCH") ? "" : cli_now();
}

/* Model, autoencoder and texts, then both walks. */
static sonde_status run(const cli_call *call)
{
    work w = {0};
    sonde_features_opts opts;
    char *command = NULL, *corpus = NULL;
    sonde_status status;

    cli_progress_begin(&w.progress, "tokens");
    CLI_TRY_DONE(cli_model_open(&w.m, call->arguments[0]));
    CLI_TRY_DONE(cli_model_tokenizer(&w.m));
    CLI_TRY_DONE(sonde_sae_load(&w.sae, call->arguments[1]));
    /* all of them: the second walk needs them again */
    CLI_TRY_DONE(cli_token_texts_read(&w.texts, &w.m, call->arguments + 2, call->n_arguments - 2, false));
    CLI_TRY_DONE(join_words(&command, "sonde features ", call->words, call->n_words));
    CLI_TRY_DONE(join_words(&corpus, "", cli.files.items, cli.files.n));
    sonde_features_opts_init(&opts);
    opts.hook = hook;
    opts.hook_out = hook_out;
    opts.n_examples = n_examples;
    opts.n_in_band = n_in_band;
    opts.n_before = n_before;
    opts.n_after = n_after;
    opts.n_documents = n_documents;
    opts.seed = (uint64_t)seed;
    opts.model_path = call->arguments[0];
    opts.sae_path = call->arguments[1];
    opts.corpus = corpus;
    opts.command = command;
    opts.created = created();
    CLI_TRY_DONE(
        sonde_features_build(&w.report, output, w.m.model, w.m.tokenizer, w.sae, &w.texts.texts, &opts, on_progress, &w));
    cli_progress_end(&w.progress);
    status = print_report(&w);
done:
    cli_progress_end(&w.progress);
    free(command);
    free(corpus);
    sonde_sae_free(w.sae);
    cli_token_texts_free(&w.texts);
    cli_model_close(&w.m);
    return status;
}

const cli_command cli_cmd_features = {
    .name = "features",
    .summary = "what each feature of an autoencoder responds to, as one database",
    .arguments = "MODEL SAE [TEXT...]",
    .min_arguments = 2,
    .max_arguments = 1 << 20,
    .examples = {"sonde features models/stories sae -f stories.jsonl -o features.db",
                 "sonde features models/stories sae -f stories.jsonl --examples 5 --documents 3 --json"},
    .options = {options, cli_text_options, cli_model_options},
    .notes = "The file is SQLite's: 'sonde dash' makes a page of it, 'sonde explain' reads it, and so can anybody's SQL. "
             "Texts are walked\n"
             "twice. Each text is a context of its own, cut at the model's; special tokens are shown, but no feature is on "
             "there.",
    .run = run,
};
