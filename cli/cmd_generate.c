/* cmd_generate.c - `sonde generate`: continues texts, streamed as the tokens come.   floor 10: cli
 *
 * Samples run side by side, --batch of them; as one ends, the next takes its place. They are written in order of their
 * numbers (generate_write.c). Sample b depends on its prompt, the options and (seed, b) alone, so that a corpus can be drawn
 * in parts: --first goes on where another run has ended.
 */
#include "generate.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TOKENS = 128 }; /* of a text that is printed */

/* what the command line says; these are the defaults (max_tokens: -1 means MAX_TOKENS, or, for lines, up to the context) */
static int64_t max_tokens = -1, top_k, seed, n_samples = 1, batch = 256, first;
static double temperature = 1.0, top_p = 1.0;
static bool is_greedy, no_echo, ignore_eos, is_jsonl, finished_only;
static const char *output;

static const cli_option options[] = {
    {"max-tokens", 0, CLI_INT, &max_tokens, "N", 0, 1e9,
     "new tokens at most; 0: up to the context (default: 128, with --jsonl or -o the context)"},
    {"temperature", 0, CLI_REAL, &temperature, "X", 0, 100, "0 takes the likeliest token"},
    {"greedy", 0, CLI_FLAG, &is_greedy, NULL, 0, 0, "the likeliest token, always (temperature 0)"},
    {"top-k", 0, CLI_INT, &top_k, "K", 0, 1e9, "draw from the K likeliest; 0: all"},
    {"top-p", 0, CLI_REAL, &top_p, "P", 0, 1, "draw from the smallest set with at least this probability"},
    {"seed", 0, CLI_INT, &seed, "N", 0, 9007199254740992.0, "same seed, same text"},
    {"n", 'n', CLI_INT, &n_samples, "N", 1, 1e12, "samples of each prompt"},
    {"batch", 0, CLI_INT, &batch, "B", 1, 65536, "samples side by side at most (what is drawn does not depend on it)"},
    {"first", 0, CLI_INT, &first, "B", 0, 1e15, "begin with sample number B: the rest of a run that was ended"},
    {"jsonl", 0, CLI_FLAG, &is_jsonl, NULL, 0, 0, "a line {\"text\": ...} for each sample"},
    {"output", 'o', CLI_TEXT, &output, "FILE", 0, 0, "write the lines to a .jsonl or .jsonl.zst"},
    {"finished-only", 0, CLI_FLAG, &finished_only, NULL, 0, 0, "leave out samples that did not come to their end"},
    {"no-echo", 0, CLI_FLAG, &no_echo, NULL, 0, 0, "print the continuation without the prompt"},
    {"ignore-eos", 0, CLI_FLAG, &ignore_eos, NULL, 0, 0, "go on behind EOS and BOS"},
    {0},
};

/* ---- prompts ------------------------------------------------------------------------------------------------------ */

/* One more prompt. An empty one begins with BOS: there would be nothing to predict the first token from. */
static sonde_status append_prompt(generation *g, const cli_sequence *sequence)
{
    int32_t bos = cli_bos_id(&g->m);
    generate_ids *prompt;

    /* The list owns it at once, so that a failure below leaks nothing. */
    CLI_TRY(CLI_GROW(g->prompts, g->n_prompts, g->prompts_capacity));
    prompt = &g->prompts[g->n_prompts++];
    *prompt = (generate_ids){0};
    for (int64_t t = 0; t < sequence->n; t++)
        CLI_TRY(generate_push(prompt, sequence->ids[t]));
    if (sequence->n > 0)
        return SONDE_OK;
    if (bos < 0)
        return cli_fail(SONDE_E_RANGE, "prompt %lld has 0 tokens, and '%s' names no BOS token to begin with",
                        (long long)sequence->index, g->m.path);
    return generate_push(prompt, bos);
}

/* All prompts; without any, the empty one. */
static sonde_status read_prompts(generation *g, const cli_call *call)
{
    static const char *const nothing[] = {""};
    bool has_none = call->n_arguments == 1 && cli.files.n == 0 && cli.ids.n == 0;
    cli_source *source;
    cli_sequence sequence;
    bool has_more = true;
    sonde_status status;

    /* A folder without a tokenizer has no empty text, but a BOS id. */
    if (has_none && !cli_model_has_tokenizer(&g->m))
        return append_prompt(g, &(cli_sequence){0});
    /* Prompts longer than the context fail: there would be no room for a token. */
    CLI_TRY(cli_source_open(&source, &g->m, has_none ? nothing : call->arguments + 1, has_none ? 1 : call->n_arguments - 1,
                            CLI_LONG_FAILS));
    while (has_more) {
        CLI_TRY_DONE(cli_source_next(source, &sequence, &has_more));
        if (has_more)
            CLI_TRY_DONE(append_prompt(g, &sequence));
    }
    if (g->n_prompts == 0)
        status = cli_fail(SONDE_E_RANGE, "no prompt: the files have 0 texts");
done:
    cli_source_close(source);
    return status;
}

/* Numbers of the samples: those of a prompt one behind the other. */
static sonde_status number_samples(generation *g)
{
    if (__builtin_mul_overflow(g->n_prompts, n_samples, &g->end))
        return cli_fail(SONDE_E_RANGE, "too many samples: %lld prompts, %lld of each", (long long)g->n_prompts,
                        (long long)n_samples);
    if (first >= g->end)
        return cli_misuse("option '--first' is %lld, but samples are numbered from 0 to %lld", (long long)first,
                          (long long)g->end - 1);
    g->n_each = n_samples;
    g->first = g->next = first;
    return SONDE_OK;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

/* Samples of a prompt share its ids. */
static sonde_status on_prompt(const int32_t **ids, int64_t *n, int64_t sequence, void *ctx)
{
    const generation *g = ctx;
    const generate_ids *prompt = &g->prompts[sequence / g->n_each];

    *ids = prompt->ids;
    *n = prompt->n;
    return SONDE_OK;
}

/* Each new token, of any sample: what ends a text is not shown. */
static sonde_status on_token(int64_t sequence, int32_t id, void *ctx)
{
    generation *g = ctx;

    (void)sequence;
    g->n_tokens++;
    if (g->streams)
        return generate_stream_token(g, id);
    /* The share is that of samples: how long one becomes is not known before. */
    cli_progress_step(&g->progress, (double)g->n_tokens, (double)(g->next - g->first) / (double)(g->end - g->first));
    return SONDE_OK;
}

/* A sample has ended: it is written when its turn comes. */
static sonde_status on_done(int64_t sequence, const int32_t *ids, int64_t n, bool is_stopped, void *ctx)
{
    return generate_take(ctx, sequence, ids, n, is_stopped);
}

/* Options of the command line over the defaults of the library; `stops` is room for what ends a text. */
static sonde_generate_opts read_options(const generation *g, int32_t stops[2])
{
    sonde_generate_opts opts;

    sonde_generate_opts_init(&opts);
    opts.max_tokens = max_tokens >= 0 ? max_tokens : g->is_jsonl ? 0 : MAX_TOKENS;
    opts.top_k = top_k;
    opts.top_p = top_p;
    opts.temperature = is_greedy ? 0 : temperature;
    opts.seed = (uint64_t)seed;
    opts.width = batch;
    /* The end of a text: EOS, or BOS where the model begins another. */
    stops[0] = (int32_t)g->m.config->eos_id;
    stops[1] = cli_bos_id(&g->m);
    opts.stop_ids = stops;
    opts.n_stop_ids = ignore_eos ? 0 : 2;
    return opts;
}

/* Runs the model until all samples have ended. */
static sonde_status generate(generation *g)
{
    int32_t stops[2];
    sonde_generate_opts opts = read_options(g, stops);
    sonde_sequences sequences = {
        .first = g->first, .n = g->end - g->first, .prompt = on_prompt, .token = on_token, .done = on_done, .ctx = g};
    sonde_run *run;
    sonde_status status;

    /* room in the cache is for the longest prompt */
    for (int64_t i = 0; i < g->n_prompts; i++)
        sequences.longest = g->prompts[i].n > sequences.longest ? g->prompts[i].n : sequences.longest;
    CLI_TRY(sonde_run_new(&run, g->m.model));
    /* all of the work: samples come back through the callbacks */
    cli_progress_begin(&g->progress, "tokens");
    status = sonde_generate_many(run, &sequences, &opts);
    cli_progress_end(&g->progress);
    sonde_run_free(run);
    return status;
}

/* All samples as one object. */
static sonde_status print_json(generation *g)
{
    json_t *out = cli_json("sonde.generate/1");

    /* What the tokens were drawn with, so that a reader can draw them again. */
    json_object_set_new(out, "model", json_string(g->m.path));
    json_object_set_new(out, "seed", json_integer(seed));
    json_object_set_new(out, "first", json_integer(first));
    json_object_set_new(out, "temperature", cli_json_real(is_greedy ? 0 : temperature));
    json_object_set_new(out, "top_k", json_integer(top_k));
    json_object_set_new(out, "top_p", cli_json_real(top_p));
    json_object_set_new(out, "prepends_bos", json_boolean(g->prompts[0].ids[0] == cli_bos_id(&g->m)));
    json_object_set(out, "samples", g->list);
    return cli_json_write(out);
}

/* Where samples go. Lines of JSON are text: they need a tokenizer. */
static sonde_status open_output(generation *g)
{
    g->no_echo = no_echo;
    g->finished_only = finished_only;
    g->is_jsonl = is_jsonl || output != NULL;
    /* what excludes each other is said before anything is computed */
    if (g->is_jsonl && cli.json)
        return cli_misuse("'--json' is one object: it excludes '--jsonl' and '--output'");
    if (g->is_jsonl)
        CLI_TRY(cli_model_tokenizer(&g->m));
    /* Only --json keeps all samples in memory. */
    if (cli.json)
        g->list = json_array();
    /* One sample, for a person who reads along. */
    g->streams = cli_model_has_tokenizer(&g->m) && g->end - g->first == 1 && !g->is_jsonl && !cli.json && !finished_only;
    return output != NULL ? sonde_documents_create(&g->writer, output, NULL) : SONDE_OK;
}

/* The file is whole after an interruption too: it has all samples up to the one that is named. */
static sonde_status close_output(generation *g, sonde_status status)
{
    sonde_documents_writer *writer = g->writer;
    bool is_interrupted = status == SONDE_E_INTERRUPTED;

    /* Numbers of samples and not of lines: some may have been left out. */
    if (is_interrupted && g->is_jsonl)
        cli_hint(status, "samples up to number %lld are written; '--first %lld' draws the others", (long long)g->next - 1,
                 (long long)g->next);
    /* Any other failure leaves no file: release removes what was written. */
    if (writer == NULL || (status != SONDE_OK && !is_interrupted))
        return status;
    g->writer = NULL;
    if (!is_interrupted)
        return sonde_documents_commit(writer);
    return sonde_documents_commit(writer) == SONDE_OK ? status : SONDE_E_IO;
}

/* What scripts and people want to know behind a corpus. */
static void note_counts(const generation *g)
{
    if (g->finished_only && g->n_left_out > 0)
        cli_note("%s of %s left out: they did not come to their end", cli_counted(g->n_left_out, "sample"),
                 cli_count(g->end - g->first));
}

/* Prompts, then samples as they end, then what is said about all of them. */
static sonde_status run(const cli_call *call)
{
    generation g = {0};
    sonde_status status;

    /* What is wrong with prompts, numbers or the output is found before the first pass. */
    CLI_TRY_DONE(cli_model_open(&g.m, call->arguments[0]));
    CLI_TRY_DONE(read_prompts(&g, call));
    CLI_TRY_DONE(number_samples(&g));
    CLI_TRY_DONE(open_output(&g));
    if (g.streams)
        CLI_TRY_DONE(generate_stream_begin(&g));
    status = generate(&g);
    CLI_TRY_DONE(close_output(&g, status));
    note_counts(&g);
    if (cli.json)
        status = print_json(&g);
done:
    if (status != SONDE_OK && g.streams && g.n_printed > 0)
        putchar('\n'); /* the message begins a line of its own */
    generate_release(&g);
    return status;
}

const cli_command cli_cmd_generate = {
    .name = "generate",
    .summary = "continue a text: greedy, or drawn with temperature, top-k, top-p and a seed",
    .arguments = "MODEL [PROMPT]",
    .min_arguments = 1,
    .max_arguments = 2,
    .examples = {"sonde generate models/stories \"Once upon a time\" --temperature 0.8 --seed 7",
                 "sonde generate models/stories \"The dog\" -n 3 --max-tokens 40 --json",
                 "sonde generate models/stories -n 8 --finished-only -o sampled.jsonl.zst"},
    .options = {options, cli_text_options, cli_model_options},
    .notes = "A text ends at EOS, or where the model begins another one with BOS. The order of filters is temperature, "
             "top-k, top-p. An empty prompt, or none, begins with BOS. Sample number b depends on (seed, b) alone: not on "
             "--batch, --threads or the other samples.",
    .run = run,
};
