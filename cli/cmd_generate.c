/* cmd_generate.c - `sonde generate`: continues texts, streamed as the tokens come.   floor 10: cli
 *
 * All samples run side by side. One sample alone is printed while it grows: a token may be a part of a character, so what
 * is decoded is printed up to its last complete one. Several samples, and JSON, are printed at the end.
 */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

/* what the command line says; these are the defaults */
static int64_t max_tokens = 128, top_k, seed, n_samples = 1;
static double temperature = 1.0, top_p = 1.0;
static bool is_greedy, no_echo, ignore_eos;

static const cli_option options[] = {
    {"max-tokens", 0, CLI_INT, &max_tokens, "N", 0, 1e9, "new tokens at most; 0: up to the context"},
    {"temperature", 0, CLI_REAL, &temperature, "X", 0, 100, "0 takes the likeliest token"},
    {"greedy", 0, CLI_FLAG, &is_greedy, NULL, 0, 0, "the likeliest token, always (temperature 0)"},
    {"top-k", 0, CLI_INT, &top_k, "K", 0, 1e9, "draw from the K likeliest; 0: all"},
    {"top-p", 0, CLI_REAL, &top_p, "P", 0, 1, "draw from the smallest set with at least this probability"},
    {"seed", 0, CLI_INT, &seed, "N", 0, 9007199254740992.0, "same seed, same text"},
    {"n", 'n', CLI_INT, &n_samples, "N", 1, 4096, "samples of each prompt, side by side"},
    {"no-echo", 0, CLI_FLAG, &no_echo, NULL, 0, 0, "print the continuation without the prompt"},
    {"ignore-eos", 0, CLI_FLAG, &ignore_eos, NULL, 0, 0, "go on behind EOS and BOS"},
    {0},
};

/* One sequence: prompt and what was added. */
typedef struct sample {
    int32_t *ids;
    int64_t n, n_prompt, capacity;
    bool is_finished;
} sample;

/* What a run of the command holds; --n copies of a prompt lie one behind the other. */
typedef struct generation {
    cli_model m;
    sample *samples;
    int64_t n, capacity, n_finished;
    bool streams;     /* one sample, as text: print it as it comes */
    size_t n_printed; /* bytes of its text on stdout */
} generation;

enum { ALL_FINISHED = 1 }; /* what the token callback returns to end a run; no status of the library */

/* Appends a token to a sample. */
static sonde_status push_id(sample *s, int32_t id)
{
    CLI_TRY(CLI_GROW(s->ids, s->n, s->capacity));
    s->ids[s->n++] = id;
    return SONDE_OK;
}

/* ---- text as it comes -------------------------------------------------------------------------------------------- */

/* Bytes of a decoded text that will not change any more: U+FFFD at its end may be the beginning of a character. */
static size_t settled_bytes(const char *text, size_t n_bytes)
{
    while (n_bytes >= 3 && memcmp(text + n_bytes - 3, "\xef\xbf\xbd", 3) == 0)
        n_bytes -= 3;
    return n_bytes;
}

/* Text of the first n tokens of a sample. What marks the beginning and the end of texts is left out; the decoder of some
 * files would print it. Owns: *out is the caller's (sonde_text_free). */
static sonde_status sample_text(char **out, size_t *n_bytes, const generation *g, const sample *s, int64_t n)
{
    int32_t *shown, bos = cli_bos_id(&g->m);
    int64_t n_shown = 0;
    sonde_status status;

    /* Decoded together: a token alone may lack its space, or be a part of a character. */
    CLI_TRY(CLI_NEW(shown, n));
    for (int64_t i = 0; i < n; i++) {
        if (s->ids[i] != bos && s->ids[i] != g->m.config->eos_id)
            shown[n_shown++] = s->ids[i];
    }
    status = sonde_tokenizer_decode(out, n_bytes, g->m.tokenizer, shown, n_shown, true);
    free(shown);
    return status;
}

/* Prints what is new in the text of a sample. Prompt and continuation are decoded together, for a space at their border. */
static sonde_status print_new(generation *g, const sample *s, bool is_end)
{
    char *text;
    size_t n_bytes, settled;
    sonde_status status = SONDE_OK;

    CLI_TRY(sample_text(&text, &n_bytes, g, s, s->n));
    settled = is_end ? n_bytes : settled_bytes(text, n_bytes);
    /* Text that is printed cannot be taken back: only what is settled, and only what is new. */
    if (settled > g->n_printed) {
        status = cli_print_text(text + g->n_printed, settled - g->n_printed);
        g->n_printed = settled;
        if (status == SONDE_OK)
            status = cli_check_stdout();
    }
    sonde_text_free(text);
    return status;
}

/* Counts the bytes of the prompt's text as printed. */
static sonde_status skip_prompt(generation *g, const sample *s)
{
    char *text;

    CLI_TRY(sample_text(&text, &g->n_printed, g, s, s->n_prompt));
    sonde_text_free(text);
    return SONDE_OK;
}

/* The end of a text: EOS, or BOS where the model begins another. */
static bool is_end_id(const generation *g, int32_t id)
{
    return !ignore_eos && (id == g->m.config->eos_id || id == cli_bos_id(&g->m));
}

/* Each new token, of any sample. Ends the run when every sample has come to its end. */
static sonde_status on_token(int64_t sequence, int32_t id, void *ctx)
{
    generation *g = ctx;
    sample *s = &g->samples[sequence];

    /* The library knows EOS alone: a sample that BOS ended goes on there, and what comes is dropped. */
    if (s->is_finished)
        return SONDE_OK;
    CLI_TRY(push_id(s, id));
    /* what ends a text is kept as an id, but not shown */
    if (is_end_id(g, id)) {
        s->is_finished = true;
        g->n_finished++;
    } else if (g->streams) {
        CLI_TRY(print_new(g, s, false));
    }
    return g->n_finished == g->n ? (sonde_status)ALL_FINISHED : SONDE_OK;
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

/* Ids as a JSON list. */
static json_t *ids_json(const int32_t *ids, int64_t n)
{
    json_t *out = json_array();

    for (int64_t i = 0; i < n; i++)
        json_array_append_new(out, json_integer(ids[i]));
    return out;
}

/* The text of a sample from byte `skip` of the whole on, or null without a tokenizer. */
static json_t *text_json(generation *g, const sample *s, bool is_prompt)
{
    char *text;
    size_t n_bytes;
    json_t *out;

    /* The continuation begins where the text of the prompt alone ends. */
    if (g->m.tokenizer == NULL || skip_prompt(g, s) != SONDE_OK)
        return json_null();
    if (sample_text(&text, &n_bytes, g, s, is_prompt ? s->n_prompt : s->n) != SONDE_OK)
        return json_null();
    if (is_prompt)
        out = json_stringn(text, n_bytes);
    else
        out = n_bytes > g->n_printed ? json_stringn(text + g->n_printed, n_bytes - g->n_printed) : json_string("");
    sonde_text_free(text);
    return out;
}

/* All samples as one object. */
static sonde_status print_json(generation *g)
{
    json_t *out = cli_json("sonde.generate/1"), *list = json_array();

    for (int64_t i = 0; i < g->n; i++) {
        sample *s = &g->samples[i];
        json_array_append_new(list,
                              json_pack("{s:o, s:o, s:o, s:o, s:b}", "prompt", text_json(g, s, true), "text",
                                        text_json(g, s, false), "prompt_ids", ids_json(s->ids, s->n_prompt), "ids",
                                        ids_json(s->ids + s->n_prompt, s->n - s->n_prompt), "stopped", (int)s->is_finished));
    }
    /* What the tokens were drawn with, so that a reader can draw them again. */
    json_object_set_new(out, "model", json_string(g->m.path));
    json_object_set_new(out, "seed", json_integer(seed));
    json_object_set_new(out, "temperature", cli_json_real(is_greedy ? 0 : temperature));
    json_object_set_new(out, "top_k", json_integer(top_k));
    json_object_set_new(out, "top_p", cli_json_real(top_p));
    json_object_set_new(out, "prepends_bos", json_boolean(g->samples[0].ids[0] == cli_bos_id(&g->m)));
    json_object_set_new(out, "samples", list);
    return cli_json_write(out);
}

/* A sample without a tokenizer: its ids, as --ids takes them. */
static void print_ids(const sample *s)
{
    for (int64_t i = no_echo ? s->n_prompt : 0; i < s->n; i++)
        printf("%s%d", i > (no_echo ? s->n_prompt : 0) ? "," : "", (int)s->ids[i]);
    putchar('\n');
}

/* Samples at the end of the run; the one that was streamed only lacks its last bytes. */
static sonde_status print_samples(generation *g)
{
    if (cli.json)
        return print_json(g);
    for (int64_t i = 0; i < g->n; i++) {
        const sample *s = &g->samples[i];
        /* A line between samples, as texts may have empty lines themselves. */
        if (g->n > 1)
            printf("%s--- sample %lld\n", i > 0 ? "\n" : "", (long long)i);
        if (g->m.tokenizer == NULL) {
            print_ids(s);
            continue;
        }
        /* print_new prints what lies behind n_printed: all of it here, or all but the prompt */
        if (!g->streams) {
            g->n_printed = 0;
            if (no_echo)
                CLI_TRY(skip_prompt(g, s));
        }
        CLI_TRY(print_new(g, s, true));
        putchar('\n');
    }
    return SONDE_OK;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

/* n_samples copies of each prompt. */
static sonde_status read_prompts(generation *g, const cli_call *call)
{
    cli_source *source;
    cli_sequence sequence;
    bool has_more = true;
    sonde_status status;

    /* Prompts longer than the context fail: there would be no room for a token. */
    CLI_TRY(cli_source_open(&source, &g->m, call->arguments + 1, call->n_arguments - 1, CLI_LONG_FAILS));
    while (has_more) {
        CLI_TRY_DONE(cli_source_next(source, &sequence, &has_more));
        /* Copies of a prompt differ by their place: each sample draws from its own sequence of numbers. */
        for (int64_t k = 0; has_more && k < n_samples; k++) {
            CLI_TRY_DONE(CLI_GROW(g->samples, g->n, g->capacity));
            g->samples[g->n] = (sample){.n_prompt = sequence.n};
            for (int64_t t = 0; t < sequence.n; t++)
                CLI_TRY_DONE(push_id(&g->samples[g->n], sequence.ids[t]));
            g->n++;
        }
        /* there is nothing to predict the first token from */
        if (has_more && sequence.n == 0) {
            cli_fail(SONDE_E_RANGE, "prompt %lld has 0 tokens, at least 1 is needed", (long long)sequence.index);
            status = cli_hint(SONDE_E_RANGE, "--bos always puts one there");
            goto done;
        }
    }
    if (g->n == 0)
        status = cli_fail(SONDE_E_RANGE, "no prompt: the files have 0 texts");
done:
    cli_source_close(source);
    return status;
}

/* Lays the prompts side by side and runs the model until all are finished. */
static sonde_status generate(generation *g)
{
    sonde_generate_opts opts;
    sonde_run *run = NULL;
    int32_t *prompts = NULL;
    int64_t *lengths = NULL, T = 0;
    sonde_status status;

    /* options of the command line over the defaults of the library */
    sonde_generate_opts_init(&opts);
    opts.max_tokens = max_tokens;
    opts.top_k = top_k;
    opts.top_p = top_p;
    opts.temperature = is_greedy ? 0 : temperature;
    opts.seed = (uint64_t)seed;
    opts.stop_id = ignore_eos ? -1 : g->m.config->eos_id;
    /* prompts side by side, padded to the longest */
    for (int64_t b = 0; b < g->n; b++)
        T = g->samples[b].n > T ? g->samples[b].n : T;
    CLI_TRY_DONE(CLI_NEW(prompts, g->n * T));
    CLI_TRY_DONE(CLI_NEW(lengths, g->n));
    for (int64_t b = 0; b < g->n; b++) {
        lengths[b] = g->samples[b].n;
        memcpy(prompts + b * T, g->samples[b].ids, (size_t)lengths[b] * sizeof *prompts);
    }
    CLI_TRY_DONE(sonde_run_new(&run, g->m.model));
    status = sonde_generate(run, prompts, lengths, g->n, T, &opts, on_token, g);
    /* The callback's own way to end is no failure. */
    if ((int)status == ALL_FINISHED)
        status = SONDE_OK;
done:
    sonde_run_free(run);
    free(prompts);
    free(lengths);
    return status;
}

/* The prompt is printed before the first token comes, so that a reader sees that it began. */
static sonde_status run(const cli_call *call)
{
    generation g = {0};
    sonde_status status;

    CLI_TRY_DONE(cli_model_open(&g.m, call->arguments[0]));
    CLI_TRY_DONE(read_prompts(&g, call));
    g.streams = cli_model_has_tokenizer(&g.m) && g.n == 1 && !cli.json;
    if (g.streams && no_echo)
        CLI_TRY_DONE(skip_prompt(&g, &g.samples[0]));
    else if (g.streams)
        CLI_TRY_DONE(print_new(&g, &g.samples[0], false));
    CLI_TRY_DONE(generate(&g));
    status = print_samples(&g);
done:
    if (status != SONDE_OK && g.streams && g.n_printed > 0)
        putchar('\n'); /* the message begins a line of its own */
    for (int64_t i = 0; i < g.n; i++)
        free(g.samples[i].ids);
    free(g.samples);
    cli_model_close(&g.m);
    return status;
}

const cli_command cli_cmd_generate = {
    .name = "generate",
    .summary = "continue a text: greedy, or drawn with temperature, top-k, top-p and a seed",
    .arguments = "MODEL [PROMPT]",
    .min_arguments = 1,
    .max_arguments = 2,
    .examples = {"sonde generate stories15M \"Once upon a time\" --temperature 0.8 --seed 7",
                 "sonde generate stories15M \"The dog\" -n 3 --max-tokens 40 --json"},
    .options = {options, cli_text_options, cli_model_options},
    .notes = "A text ends at EOS, or where the model begins another one with BOS. The order of filters is temperature, "
             "top-k, top-p.",
    .run = run,
};
