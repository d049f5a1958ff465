/* lm_sample.c - what a model writes while it is trained.                       floor 10: cli */
#include "lm.h"

#include <stdlib.h>
#include <string.h>

enum { SAMPLE_TOKENS = 200, MOST_SAMPLES = 16 };

/* Tokens of samples as they come. */
typedef struct samples {
    int32_t ids[MOST_SAMPLES][SAMPLE_TOKENS];
    int64_t n[MOST_SAMPLES];
    int32_t stop;
} samples;

/* Called for each new token; what is too long is cut. */
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

sonde_status lm_sample(const sonde_model *model, const sonde_tokenizer *tokenizer, int32_t bos, const char *folder, int64_t step,
                       int64_t n)
{
    FILE *file;
    samples *s;
    sonde_status status;

    /* A file that cannot be opened is no reason to stop a training: the samples are on stderr too. */
    n = n < MOST_SAMPLES ? n : MOST_SAMPLES;
    CLI_TRY(CLI_NEW(s, 1));
    file = fopen(lm_path(folder, "samples.txt"), "ab");
    CLI_TRY_DONE(generate(s, model, bos, step, n));
    for (int64_t i = 0; i < n; i++) {
        char *text = NULL;
        size_t n_bytes;

        CLI_TRY_DONE(sonde_tokenizer_decode(&text, &n_bytes, tokenizer, s->ids[i], s->n[i], true));
        cli_note("step %lld writes: %.*s", (long long)step, (int)(n_bytes < 300 ? n_bytes : 300), text);
        if (file != NULL)
            fprintf(file, "--- step %lld\n%s\n", (long long)step, text);
        sonde_text_free(text);
    }
done:
    if (file != NULL)
        fclose(file);
    free(s);
    return status;
}
