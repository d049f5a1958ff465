/* cmd_tokenize.c - `sonde tokenize`: texts to tokens with the bytes they own, and ids to text.   floor 10: cli
 *
 * The text in the colours of its tokens on a terminal, a table of ids and offsets, or one JSON object a document. Documents
 * are streamed: one is in memory at a time. Only the tokenizer is loaded, never the model.
 */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static bool keep_special; /* in the text that --ids gives */

static const cli_option options[] = {
    {"keep-special", 0, CLI_FLAG, &keep_special, NULL, 0, 0, "with --ids: leave special tokens in the text"},
    {0},
};

/* The vocabulary's own string of an id, or null. */
static json_t *token_json(const sonde_tokenizer *tokenizer, int32_t id)
{
    const char *token = sonde_tokenizer_token(tokenizer, id);
    return token != NULL ? json_string(token) : json_null();
}

/* One document as one line: ids, tokens, offsets. It is written as it goes: a book as a tree of JSON values would take a
 * hundred times its size. */
static sonde_status print_json(const cli_model *m, const cli_sequence *sequence)
{
    printf("{\"schema\":\"sonde.tokenize/1\",\"ids\":[");
    for (int64_t i = 0; i < sequence->n; i++)
        printf("%s%d", i > 0 ? "," : "", (int)sequence->ids[i]);
    printf("],\"tokens\":[");
    for (int64_t i = 0; i < sequence->n; i++) {
        size_t n_bytes;
        const char *shown = sonde_tokenizer_shown(&n_bytes, m->tokenizer, sequence->ids[i], sequence->text,
                                                  sequence->start[i], sequence->end[i]);
        json_t *token = shown != NULL ? json_stringn(shown, n_bytes) : json_null();
        int failed;

        if (i > 0)
            putchar(',');
        failed = token == NULL || json_dumpf(token, stdout, JSON_ENCODE_ANY) != 0;
        json_decref(token);
        if (failed)
            return ferror(stdout) ? cli_check_stdout() : cli_fail(SONDE_E_NOMEM, "out of memory while writing JSON");
    }
    printf("],\"offsets\":[");
    for (int64_t i = 0; i < sequence->n; i++)
        printf("%s[%lld,%lld]", i > 0 ? "," : "", (long long)sequence->start[i], (long long)sequence->end[i]);
    printf("],\"bos\":%s}\n", sequence->has_bos ? "true" : "false");
    return SONDE_OK;
}

/* The text in colours that change from token to token. */
static sonde_status print_coloured(const cli_model *m, const cli_sequence *sequence)
{
    static const int backgrounds[] = {24, 58, 22, 53, 60}; /* dark, of the 256-colour palette; text stays readable on them */

    /* each token as it is shown in the table, so that spaces and line ends are seen */
    for (int64_t i = 0; i < sequence->n; i++) {
        char *label;
        CLI_TRY(cli_token_label(&label, m, sequence->ids[i]));
        printf("\033[97;48;5;%dm%s\033[0m", backgrounds[i % 5], label);
        free(label);
    }
    printf("\n\n");
    return SONDE_OK;
}

/* One document as a table. The bytes of a token are shown escaped, between bars so that spaces are seen. */
static sonde_status print_table(const cli_model *m, const cli_sequence *sequence)
{
    cli_table *table = cli_table_new("rrrrl", "position\tid\tstart\tend\ttoken");

    for (int64_t i = 0; i < sequence->n; i++) {
        char *label = NULL;
        if (cli_token_label(&label, m, sequence->ids[i]) == SONDE_OK)
            cli_table_row(table, "%lld\t%d\t%lld\t%lld\t|%s|", (long long)i, (int)sequence->ids[i],
                          (long long)sequence->start[i], (long long)sequence->end[i], label);
        free(label);
    }
    CLI_TRY(cli_table_print(table));
    printf("%s, %s, BOS in front: %s\n", cli_counted(sequence->n, "token"),
           cli_counted((int64_t)sequence->text_bytes, "byte"), sequence->has_bos ? "true" : "false");
    return SONDE_OK;
}

/* One document in the form that was asked for. */
static sonde_status print_document(const cli_model *m, const cli_sequence *sequence)
{
    if (cli.json)
        return print_json(m, sequence);
    /* documents are parted by an empty line */
    if (sequence->index > 0)
        putchar('\n');
    if (cli_has_colour(stdout))
        CLI_TRY(print_coloured(m, sequence));
    return print_table(m, sequence);
}

/* Ids with their strings and the text that they make. */
static json_t *decoded_json(const cli_model *m, const cli_sequence *sequence, const char *text, size_t n_bytes)
{
    json_t *out = cli_json("sonde.tokenize/1"), *ids = json_array(), *tokens = json_array();

    for (int64_t i = 0; i < sequence->n; i++) {
        json_array_append_new(ids, json_integer(sequence->ids[i]));
        json_array_append_new(tokens, token_json(m->tokenizer, sequence->ids[i]));
    }
    json_object_set_new(out, "ids", ids);
    json_object_set_new(out, "tokens", tokens);
    json_object_set_new(out, "text", json_stringn(text, n_bytes));
    return out;
}

/* Ids back to text. */
static sonde_status print_decoded(const cli_model *m, const cli_sequence *sequence)
{
    char *text;
    size_t n_bytes;
    sonde_status status = SONDE_OK;

    CLI_TRY(sonde_tokenizer_decode(&text, &n_bytes, m->tokenizer, sequence->ids, sequence->n, !keep_special));
    if (cli.json)
        status = cli_json_write(decoded_json(m, sequence, text, n_bytes));
    else
        status = cli_print_text(text, n_bytes);
    if (!cli.json)
        putchar('\n');
    sonde_text_free(text);
    return status;
}

/* One document after another; a closed pipe ends it after the one that is being printed. */
static sonde_status run(const cli_call *call)
{
    cli_model m = {.path = call->arguments[0]};
    cli_source *source = NULL;
    cli_sequence sequence;
    cli_progress progress;
    double n_tokens = 0;
    bool has_more;
    sonde_status status;

    cli_progress_begin(&progress, "tokens");
    CLI_TRY_DONE(cli_model_tokenizer(&m));
    CLI_TRY_DONE(cli_source_open(&source, &m, call->arguments + 1, call->n_arguments - 1, CLI_LONG_IS_FINE));
    for (;;) {
        CLI_TRY_DONE(cli_source_next(source, &sequence, &has_more));
        if (!has_more)
            break;
        CLI_TRY_DONE(sequence.text == NULL ? print_decoded(&m, &sequence) : print_document(&m, &sequence));
        /* a reader that has gone, or a person that has had enough */
        CLI_TRY_DONE(ferror(stdout) ? cli_check_stdout() : cli_check_interrupt());
        n_tokens += (double)sequence.n;
        cli_progress_step(&progress, n_tokens, cli_source_progress(source));
    }
done:
    cli_progress_end(&progress);
    cli_source_close(source);
    cli_model_close(&m);
    return status;
}

const cli_command cli_cmd_tokenize = {
    .name = "tokenize",
    .summary = "texts as tokens: ids, strings, the bytes that each owns; with --ids, ids as text",
    .arguments = "MODEL [TEXT]",
    .min_arguments = 1,
    .max_arguments = 2,
    .examples = {"sonde tokenize models/stories \"Once upon a time\"",
                 "sonde tokenize models/stories -f stories.jsonl --json",
                 "sonde tokenize models/stories --ids 0,392,393,259,372"},
    .options = {options, cli_text_options},
    .notes =
        "A folder with a tokenizer.json is enough. --json prints one object a document, a line each: 'ids', 'tokens' (the\n"
        "vocabulary's own strings) and 'offsets' (bytes [start, end) of the text; empty for tokens that were added).\n"
        "--ids leaves special tokens out of the text as the tokenizers library does, unless --keep-special.",
    .run = run,
};
