/* generate_write.c - samples of `sonde generate` in order: as text, lines of JSON, or one object.   floor 10: cli
 *
 * Samples end in any order. Each waits in a ring until those before it are written, so that memory holds only what runs and
 * what has overtaken the slowest. One sample alone is printed while it grows: a token may be a part of a character, so what
 * is decoded is printed up to its last complete one.
 */
#include "generate.h"

#include <stdlib.h>
#include <string.h>

/* The list grows to twice its size, so that n tokens cost n. */
sonde_status generate_push(generate_ids *to, int32_t id)
{
    CLI_TRY(CLI_GROW(to->ids, to->n, to->capacity));
    to->ids[to->n++] = id;
    return SONDE_OK;
}

/* Appends tokens, but not what marks the beginning and the end of texts: the decoder of some files would print it. */
static sonde_status push_shown(generate_ids *to, const generation *g, const int32_t *ids, int64_t n)
{
    int32_t bos = cli_bos_id(&g->m);

    for (int64_t i = 0; i < n; i++) {
        if (ids[i] != bos && ids[i] != g->m.config->eos_id)
            CLI_TRY(generate_push(to, ids[i]));
    }
    return SONDE_OK;
}

/* Text of a prompt and what was added to it. They are decoded together: a token alone may lack its space, or be a part of a
 * character. Owns: *out is the caller's (sonde_text_free). */
static sonde_status text_of(char **out, size_t *n_bytes, const generation *g, const generate_ids *prompt,
                            const generate_ids *added)
{
    generate_ids shown = {0};
    sonde_status status;

    /* a list of its own: the sample keeps its ids as they are */
    CLI_TRY_DONE(push_shown(&shown, g, prompt->ids, prompt->n));
    if (added != NULL)
        CLI_TRY_DONE(push_shown(&shown, g, added->ids, added->n));
    status = sonde_tokenizer_decode(out, n_bytes, g->m.tokenizer, shown.ids, shown.n, true);
done:
    free(shown.ids);
    return status;
}

/* Bytes of the text of a prompt: the continuation begins behind them. */
static sonde_status prompt_bytes(size_t *out, const generation *g, const generate_ids *prompt)
{
    char *text;

    CLI_TRY(text_of(&text, out, g, prompt, NULL));
    sonde_text_free(text);
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

/* Prints what is new in the text of the growing sample. What is printed cannot be taken back: only what is settled. */
static sonde_status print_new(generation *g, bool is_end)
{
    char *text;
    size_t n_bytes, settled;
    sonde_status status = SONDE_OK;

    CLI_TRY(text_of(&text, &n_bytes, g, &g->growing, NULL));
    settled = is_end ? n_bytes : settled_bytes(text, n_bytes);
    /* only what is new, and at once: somebody may be reading */
    if (settled > g->n_printed) {
        status = cli_print_text(text + g->n_printed, settled - g->n_printed);
        g->n_printed = settled;
        if (status == SONDE_OK)
            status = cli_check_stdout();
    }
    sonde_text_free(text);
    return status;
}

/* The prompt is printed before the first token comes, so that a reader sees that it began. */
sonde_status generate_stream_begin(generation *g)
{
    const generate_ids *prompt = &g->prompts[g->first / g->n_each];

    /* the prompt is the beginning of the text that grows */
    for (int64_t t = 0; t < prompt->n; t++)
        CLI_TRY(generate_push(&g->growing, prompt->ids[t]));
    return g->no_echo ? prompt_bytes(&g->n_printed, g, prompt) : print_new(g, false);
}

/* Decoded anew with each token: texts of a context are short. */
sonde_status generate_stream_token(generation *g, int32_t id)
{
    CLI_TRY(generate_push(&g->growing, id));
    return print_new(g, false);
}

/* ---- one sample -------------------------------------------------------------------------------------------------- */

json_t *generate_ids_json(const int32_t *ids, int64_t n)
{
    json_t *out = json_array();

    for (int64_t i = 0; i < n; i++)
        json_array_append_new(out, json_integer(ids[i]));
    return out;
}

/* A text from byte `from` on as a JSON string, null where it could not be decoded. */
static json_t *text_json(const generation *g, const generate_ids *prompt, const generate_ids *added, size_t from)
{
    char *text;
    size_t n_bytes;
    json_t *out;

    if (g->m.tokenizer == NULL || text_of(&text, &n_bytes, g, prompt, added) != SONDE_OK)
        return json_null();
    out = n_bytes > from ? json_stringn(text + from, n_bytes - from) : json_string("");
    sonde_text_free(text);
    return out;
}

/* A sample of --json. */
static sonde_status append_json(generation *g, const generate_ids *prompt, const generate_sample *s)
{
    size_t from = 0;

    /* "text" is the continuation alone, "ids" too */
    if (g->m.tokenizer != NULL)
        CLI_TRY(prompt_bytes(&from, g, prompt));
    json_array_append_new(g->list, json_pack("{s:o, s:o, s:o, s:o, s:b}", "prompt", text_json(g, prompt, NULL, 0), "text",
                                             text_json(g, prompt, &s->added, from), "prompt_ids",
                                             generate_ids_json(prompt->ids, prompt->n), "ids",
                                             generate_ids_json(s->added.ids, s->added.n), "stopped", (int)s->is_stopped));
    return SONDE_OK;
}

/* A line of JSON on standard output, as the writer of files has it. */
static sonde_status print_line(const char *text, size_t n_bytes)
{
    json_t *line = json_pack("{s:o}", "text", json_stringn(text, n_bytes));
    bool is_written = line != NULL && json_dumpf(line, stdout, 0) == 0;

    json_decref(line);
    /* what stdout itself refuses shows below */
    if (!is_written)
        return cli_fail(SONDE_E_NOMEM, "out of memory: a line of JSON");
    putchar('\n');
    return cli_check_stdout();
}

/* A sample without a tokenizer: its ids, as --ids takes them. */
static void print_ids(const generation *g, const generate_ids *prompt, const generate_ids *added)
{
    int64_t n_prompt = g->no_echo ? 0 : prompt->n;

    for (int64_t i = 0; i < n_prompt + added->n; i++)
        printf("%s%d", i > 0 ? "," : "", (int)(i < n_prompt ? prompt->ids[i] : added->ids[i - n_prompt]));
    putchar('\n');
}

/* Text or a line of JSON, on standard output or into the file. */
static sonde_status write_text(generation *g, const generate_ids *prompt, const generate_sample *s)
{
    char *text;
    size_t n_bytes, from = 0;
    sonde_status status;

    if (g->no_echo)
        CLI_TRY(prompt_bytes(&from, g, prompt));
    CLI_TRY(text_of(&text, &n_bytes, g, prompt, &s->added));
    /* the last bytes of a prompt may become another character with what follows */
    from = from < n_bytes ? from : n_bytes;
    if (g->writer != NULL)
        status = sonde_documents_write(g->writer, text + from, n_bytes - from);
    else if (g->is_jsonl)
        status = print_line(text + from, n_bytes - from);
    else
        status = cli_print_text(text + from, n_bytes - from);
    sonde_text_free(text);
    return status;
}

/* A sample as people read it; a line stands between samples, as texts may have empty lines themselves. */
static sonde_status print_sample(generation *g, const generate_ids *prompt, const generate_sample *s, int64_t number)
{
    if (g->end - g->first > 1)
        printf("%s--- sample %lld\n", g->n_written > 0 ? "\n" : "", (long long)number);
    /* no tokenizer: ids are what there is */
    if (g->m.tokenizer == NULL) {
        print_ids(g, prompt, &s->added);
        return SONDE_OK;
    }
    CLI_TRY(g->streams ? print_new(g, true) : write_text(g, prompt, s));
    putchar('\n');
    return cli_check_stdout();
}

/* In the form that was asked for. */
static sonde_status write_sample(generation *g, const generate_sample *s, int64_t number)
{
    const generate_ids *prompt = &g->prompts[number / g->n_each];
    sonde_status status;

    /* It has its number all the same: what is left out moves no other sample. */
    if (g->finished_only && !s->is_stopped) {
        g->n_left_out++;
        return SONDE_OK;
    }
    if (g->list != NULL)
        status = append_json(g, prompt, s);
    else
        status = g->is_jsonl ? write_text(g, prompt, s) : print_sample(g, prompt, s, number);
    g->n_written++;
    return status;
}

/* ---- order ------------------------------------------------------------------------------------------------------- */

/* A ring that has room for a sample; those that wait move to their places in it. */
static sonde_status widen(generation *g, int64_t number)
{
    /* doubled until it fits: samples that overtake are few */
    int64_t capacity = g->capacity > 0 ? g->capacity : 16;
    generate_sample *wider;

    while (number - g->next >= capacity)
        capacity *= 2;
    if (capacity == g->capacity)
        return SONDE_OK;
    /* the ring begins at the sample that is written next */
    CLI_TRY(CLI_NEW(wider, capacity));
    for (int64_t i = g->next; i < g->next + g->capacity; i++)
        wider[i % capacity] = g->waiting[i % g->capacity];
    free(g->waiting);
    g->waiting = wider;
    g->capacity = capacity;
    return SONDE_OK;
}

/* A copy waits: the library's own room serves the next sequence. */
sonde_status generate_take(generation *g, int64_t number, const int32_t *ids, int64_t n, bool is_stopped)
{
    generate_sample *s;

    CLI_TRY(widen(g, number));
    s = &g->waiting[number % g->capacity];
    for (int64_t i = 0; i < n; i++)
        CLI_TRY(generate_push(&s->added, ids[i]));
    s->is_there = true;
    s->is_stopped = is_stopped;
    /* all whose turn has come */
    for (s = &g->waiting[g->next % g->capacity]; s->is_there; s = &g->waiting[g->next % g->capacity]) {
        /* the next one may be there already, or come much later */
        CLI_TRY(write_sample(g, s, g->next));
        s->added.n = 0; /* the room serves the next one that comes here */
        s->is_there = false;
        g->next++;
    }
    return SONDE_OK;
}

/* Fine on what is half made; a file that was not committed goes. */
void generate_release(generation *g)
{
    /* those that never had their turn, too */
    for (int64_t i = 0; i < g->capacity; i++)
        free(g->waiting[i].added.ids);
    for (int64_t i = 0; i < g->n_prompts; i++)
        free(g->prompts[i].ids);
    free(g->waiting);
    free(g->prompts);
    free(g->growing.ids);
    json_decref(g->list);
    sonde_documents_abort(g->writer);
    cli_model_close(&g->m);
}
