/* lm_sample.c - what a model writes while it is trained.                       floor 10: cli */
#include "lm.h"

#include <stdlib.h>
#include <string.h>

enum { SAMPLE_TOKENS = 200, MOST_SAMPLES = 16 };

static const char name[] = "samples.txt", head[] = "--- step ";

/* Tokens of samples as they come. */
typedef struct samples {
    int32_t ids[MOST_SAMPLES][SAMPLE_TOKENS];
    int64_t n[MOST_SAMPLES];
    int32_t stop;
} samples;

static sonde_status on_token(int64_t sequence, int32_t id, void *ctx)
{
    samples *s = ctx;

    if (id != s->stop && s->n[sequence] < SAMPLE_TOKENS)
        s->ids[sequence][s->n[sequence]++] = id;
    return SONDE_OK;
}

/* Runs the model; the same step gives the same texts. */
static sonde_status generate(samples *out, const sonde_model *model, int32_t bos, int64_t step, int64_t n)
{
    sonde_generate_opts opts;
    int32_t prompts[MOST_SAMPLES];
    int64_t lengths[MOST_SAMPLES];
    sonde_run *run;
    sonde_status status;

    sonde_generate_opts_init(&opts);
    opts.max_tokens = SAMPLE_TOKENS;
    opts.temperature = 0.8;
    /* the same step, the same texts: a resumed run does not repeat them another way */
    opts.seed = (uint64_t)step;
    opts.stop_id = out->stop = bos;
    for (int64_t i = 0; i < n; i++) {
        prompts[i] = bos;
        lengths[i] = 1;
    }
    CLI_TRY(sonde_run_new(&run, model));
    status = sonde_generate(run, prompts, lengths, n, 1, &opts, on_token, out);
    sonde_run_free(run);
    return status;
}

/* The step of the line at `line`, if it is the head of a sample; -1 if not. */
static int64_t step_of(const char *line)
{
    return strncmp(line, head, sizeof head - 1) == 0 ? strtoll(line + sizeof head - 1, NULL, 10) : -1;
}

/* One sample under its head. A line of its own that looks like one is set in. */
static void print_sample(FILE *to, int64_t step, const char *text, size_t n_bytes)
{
    fprintf(to, "%s%lld\n", head, (long long)step);
    for (size_t i = 0; i < n_bytes; i++) {
        if ((i == 0 || text[i - 1] == '\n') && step_of(text + i) >= 0)
            fputc(' ', to);
        fputc(text[i], to);
    }
    fputc('\n', to);
}

/* All samples of a step behind what the file has. */
static sonde_status print_samples(FILE *to, const samples *s, const sonde_tokenizer *tokenizer, int64_t step, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        char *text = NULL;
        size_t n_bytes;

        CLI_TRY(sonde_tokenizer_decode(&text, &n_bytes, tokenizer, s->ids[i], s->n[i], true));
        cli_note("step %lld writes: %.*s", (long long)step, (int)(n_bytes < 300 ? n_bytes : 300), text);
        print_sample(to, step, text, n_bytes);
        sonde_text_free(text);
    }
    return SONDE_OK;
}

/* The samples that are there; none is no error. */
static sonde_status read_samples(char **out, size_t *n_bytes, const char *folder)
{
    const char *path = training_path(folder, name);

    *out = NULL;
    *n_bytes = 0;
    return training_exists(path) ? training_read_text(out, n_bytes, path) : SONDE_OK;
}

/* The file is written anew as a whole: a run that is killed leaves the samples of a step, or none of them. */
sonde_status lm_sample(const sonde_model *model, const sonde_tokenizer *tokenizer, int32_t bos, const char *folder,
                       int64_t step, int64_t n)
{
    training_memory m = {0};
    char *old = NULL;
    size_t old_bytes;
    samples *s = NULL;
    sonde_status status;

    n = n < MOST_SAMPLES ? n : MOST_SAMPLES;
    CLI_TRY_DONE(CLI_NEW(s, 1));
    CLI_TRY_DONE(generate(s, model, bos, step, n));
    CLI_TRY_DONE(read_samples(&old, &old_bytes, folder));
    CLI_TRY_DONE(training_memory_open(&m));
    if (old_bytes > 0)
        fwrite(old, 1, old_bytes, m.to);
    CLI_TRY_DONE(print_samples(m.to, s, tokenizer, step, n));
    CLI_TRY_DONE(training_memory_close(&m, folder, name));
done:
    training_memory_discard(&m);
    free(old);
    free(s);
    return status;
}

sonde_status lm_samples_cut(int64_t *out, const char *folder, int64_t last_step)
{
    char *text;
    size_t n_bytes, at = 0;
    sonde_status status;

    *out = 0;
    CLI_TRY(read_samples(&text, &n_bytes, folder));
    /* Line by line, up to the head of a step that lies behind. */
    while (at < n_bytes && step_of(text + at) <= last_step) {
        const char *end = memchr(text + at, '\n', n_bytes - at);
        *out = step_of(text + at) > *out ? step_of(text + at) : *out;
        at = end ? (size_t)(end - text) + 1 : n_bytes;
    }
    status = at < n_bytes ? training_write_text(folder, name, text, at) : SONDE_OK;
    free(text);
    return status;
}
