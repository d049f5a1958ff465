/* cmd_bench_generate.c - `sonde bench generate`: how fast texts are continued here.   floor 10: cli
 *
 * A speed is printed only after two checks: the likeliest tokens are those of passes over the whole texts without a cache,
 * and what is drawn for a sequence in the batch is what is drawn for it alone. The peak is measured before and after on the
 * same threads. The operations that count are those of the model: as many as one pass over all tokens would take.
 */
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* Sequences and tokens that are checked: passes without a cache are slow. */
enum { CHECKED_SEQUENCES = 3, CHECKED_TOKENS = 12 };

/* The logit of a token may be less than the largest by this share of it: rounding decides ties. */
static const double LIMIT_F32 = 2e-5, LIMIT_BF16 = 5e-2;

/* what the command line says */
static const char *shape;
static int64_t batch = 256, n_tokens = 128, n_repeats = 3, top_k;
static double temperature = 1.0, top_p = 1.0;

static const cli_option options[] = {
    {"shape", 0, CLI_TEXT, &shape, "NAME", 0, 0, "random weights of a known shape in place of a model: gpt2-small, ..."},
    {"batch", 0, CLI_INT, &batch, "B", 1, 65536, "sequences side by side"},
    {"tokens", 0, CLI_INT, &n_tokens, "T", 1, 1e9, "new tokens of each, from a prompt of one token on"},
    {"temperature", 0, CLI_REAL, &temperature, "X", 0, 100, "0 takes the likeliest token"},
    {"top-k", 0, CLI_INT, &top_k, "K", 0, 1e9, "draw from the K likeliest; 0: all"},
    {"top-p", 0, CLI_REAL, &top_p, "P", 0, 1, "draw from the smallest set with at least this probability"},
    {"repeat", 0, CLI_INT, &n_repeats, "N", 1, 10000, "timed batches, of which the median counts"},
    {0},
};

/* seconds: of the median batch; cpu_seconds: of all threads for a batch, on average. */
typedef struct bench_result {
    double seconds, cpu_seconds, flops, peak_gflops;
    int64_t peak_bytes, n_checked;
} bench_result;

/* New tokens of sequences, n_each of each. */
typedef struct transcript {
    int32_t *ids;
    int64_t *n, n_each;
} transcript;

/* Keeps each token in the row of its sequence. */
static sonde_status write_down(int64_t sequence, int32_t id, void *ctx)
{
    transcript *t = ctx;
    t->ids[sequence * t->n_each + t->n[sequence]++] = id;
    return SONDE_OK;
}

/* Options of the command line over the defaults of the library. */
static sonde_generate_opts read_options(int64_t n, bool is_greedy)
{
    sonde_generate_opts opts;

    sonde_generate_opts_init(&opts);
    opts.max_tokens = n;
    opts.temperature = is_greedy ? 0 : temperature;
    opts.top_k = top_k;
    opts.top_p = top_p;
    opts.width = batch;
    return opts;
}

/* Continues B prompts of one token each by n. */
static sonde_status generate(transcript *t, const cli_model *m, const int32_t *prompts, int64_t B, int64_t n, bool is_greedy)
{
    sonde_generate_opts opts = read_options(n, is_greedy);
    sonde_run *run;
    sonde_status status;

    /* each call begins with empty rows */
    t->n_each = n;
    memset(t->n, 0, (size_t)B * sizeof *t->n);
    CLI_TRY(sonde_run_new(&run, m->model));
    status = sonde_generate(run, prompts, NULL, B, 1, &opts, write_down, t);
    sonde_run_free(run);
    return status;
}

/* ---- the checks -------------------------------------------------------------------------------------------------- */

/* Whether `id` has the largest of n logits, or one that rounding could make so. */
static bool is_likeliest(const float *logits, int64_t n, int32_t id)
{
    double limit = cli.products == SONDE_PRODUCTS_BF16 ? LIMIT_BF16 : LIMIT_F32, most = logits[0], size = 0;

    for (int64_t v = 0; v < n; v++) {
        /* the largest, and the largest magnitude */
        most = logits[v] > most ? logits[v] : most;
        size = fmax(size, fabs((double)logits[v]));
    }
    return most - logits[id] <= limit * size; /* false for NaN */
}

/* The likeliest tokens of one sequence against a pass over all of them. */
static sonde_status check_sequence(const cli_model *m, int32_t prompt, const int32_t *ids, int64_t n)
{
    int32_t tokens[CHECKED_TOKENS + 1] = {prompt};
    int64_t V = m->config->n_vocab;
    sonde_run *run;
    sonde_tensor logits;
    sonde_status status;

    /* the prompt and its continuation as one text: the last token predicts nothing that is checked */
    memcpy(tokens + 1, ids, (size_t)n * sizeof *ids);
    CLI_TRY(sonde_run_new(&run, m->model));
    sonde_run_want_logits(run, SONDE_LOGITS_ALL);
    CLI_TRY_DONE(sonde_run_forward(run, tokens, NULL, 1, n));
    CLI_TRY_DONE(sonde_run_get(&logits, run, "logits"));
    /* logits of position t decide token t */
    for (int64_t t = 0; t < n && status == SONDE_OK; t++)
        if (!is_likeliest((const float *)logits.data + t * V, V, ids[t]))
            status = cli_fail(SONDE_E_NONFINITE,
                              "no speed is printed: token %lld is %d with a cache, and not the likeliest without one",
                              (long long)t, (int)ids[t]);
done:
    sonde_run_free(run);
    return status;
}

/* Both checks; `t` and `alone` are room for the checked tokens of the batch. */
static sonde_status check(bench_result *out, const cli_model *m, const int32_t *prompts, transcript *t, transcript *alone)
{
    /* as much as there is of it */
    int64_t n = CHECKED_TOKENS < n_tokens ? CHECKED_TOKENS : n_tokens;
    int64_t n_sequences = CHECKED_SEQUENCES < batch ? CHECKED_SEQUENCES : batch;

    /* the likeliest tokens, against passes without a cache */
    CLI_TRY(generate(t, m, prompts, batch, n, true));
    for (int64_t i = 0; i < n_sequences; i++) /* from all over the batch */
        CLI_TRY(check_sequence(m, prompts[i * batch / n_sequences], t->ids + i * batch / n_sequences * n, n));
    /* drawn tokens, against the same sequence alone */
    CLI_TRY(generate(t, m, prompts, batch, n, false));
    CLI_TRY(generate(alone, m, prompts, 1, n, false));
    if (memcmp(t->ids, alone->ids, (size_t)n * sizeof *t->ids) != 0 && strcmp(sonde_kernel_name(), "blas") != 0)
        return cli_fail(SONDE_E_NONFINITE, "no speed is printed: sequence 0 is another one in a batch of %lld than alone",
                        (long long)batch);
    out->n_checked = (n_sequences + 1) * n;
    return SONDE_OK;
}

/* ---- the measurement --------------------------------------------------------------------------------------------- */

/* Processor time of all threads so far. */
static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* What one pass over all tokens would take, with the logits of all. */
static sonde_status count_flops(bench_result *out, const cli_model *m)
{
    sonde_run *run;
    sonde_plan plan = {0};
    sonde_status status;

    CLI_TRY(sonde_run_new(&run, m->model));
    sonde_run_want_logits(run, SONDE_LOGITS_ALL);
    status = sonde_run_plan(&plan, run, batch, n_tokens);
    out->flops = plan.flops;
    sonde_run_free(run);
    return status;
}

/* The clocks at the end of each batch: `ends` and `cpu_ends` (n_repeats + 1). */
typedef struct stopwatch {
    const int32_t *prompts;
    int64_t n_done;
    double *ends, *cpu_ends;
} stopwatch;

/* One token, the same in every round. */
static sonde_status on_prompt(const int32_t **ids, int64_t *n, int64_t sequence, void *ctx)
{
    const stopwatch *w = ctx;

    *ids = w->prompts + sequence % batch;
    *n = 1;
    return SONDE_OK;
}

/* All sequences of a batch are equally long: they end together, and the next batch begins in the same step. */
static sonde_status on_done(int64_t sequence, const int32_t *ids, int64_t n, bool is_stopped, void *ctx)
{
    stopwatch *w = ctx;

    (void)sequence, (void)ids, (void)n, (void)is_stopped;
    if (++w->n_done % batch == 0) {
        w->ends[w->n_done / batch - 1] = cli_seconds();
        w->cpu_ends[w->n_done / batch - 1] = cpu_seconds();
    }
    return SONDE_OK;
}

/* Times batches one behind the other, as a long run draws them. The first one fills caches and pages, and does not count. */
static sonde_status time_batches(bench_result *out, const cli_model *m, stopwatch *w)
{
    sonde_sequences sequences = {.n = batch * (n_repeats + 1), .longest = 1, .prompt = on_prompt, .done = on_done, .ctx = w};
    sonde_generate_opts opts = read_options(n_tokens, false);
    sonde_run *run;
    sonde_status status;

    CLI_TRY(sonde_run_new(&run, m->model));
    status = sonde_generate_many(run, &sequences, &opts);
    sonde_run_free(run);
    CLI_TRY(status);
    /* from the end of the first batch on */
    out->cpu_seconds = (w->cpu_ends[n_repeats] - w->cpu_ends[0]) / (double)n_repeats;
    for (int64_t i = 0; i < n_repeats; i++)
        w->ends[i] = w->ends[i + 1] - w->ends[i];
    out->seconds = bench_median(w->ends, n_repeats);
    return SONDE_OK;
}

/* Room for the clocks. */
static sonde_status time_runs(bench_result *out, const cli_model *m, const int32_t *prompts)
{
    stopwatch w = {.prompts = prompts};
    sonde_status status;

    CLI_TRY_DONE(CLI_NEW(w.ends, n_repeats + 1));
    CLI_TRY_DONE(CLI_NEW(w.cpu_ends, n_repeats + 1));
    status = time_batches(out, m, &w);
done:
    free(w.ends);
    free(w.cpu_ends);
    return status;
}

/* Checks first, then the batches between two measurements of the peak, of which the higher counts. */
static sonde_status measure(bench_result *out, const cli_model *m)
{
    transcript t = {0}, alone = {0};
    int32_t *prompts = NULL;
    double peak_before, peak_after;
    sonde_status status;

    CLI_TRY_DONE(CLI_NEW(prompts, batch));
    CLI_TRY_DONE(CLI_NEW(t.n, batch));
    CLI_TRY_DONE(CLI_NEW(t.ids, batch * CHECKED_TOKENS));
    CLI_TRY_DONE(CLI_NEW(alone.n, 1));
    CLI_TRY_DONE(CLI_NEW(alone.ids, CHECKED_TOKENS));
    /* any token will do: the work does not depend on it */
    bench_fill_tokens(prompts, batch, m->config->n_vocab);
    CLI_TRY_DONE(count_flops(out, m));
    CLI_TRY_DONE(check(out, m, prompts, &t, &alone));
    /* the clock of a processor changes: a peak before and one behind */
    peak_before = sonde_measure_peak_gflops();
    CLI_TRY_DONE(time_runs(out, m, prompts));
    peak_after = sonde_measure_peak_gflops();
    out->peak_gflops = peak_before > peak_after ? peak_before : peak_after;
    /* Of the whole process so far: loading, checks and runs. */
    out->peak_bytes = cli_peak_bytes();
done:
    free(prompts);
    free(t.n);
    free(t.ids);
    free(alone.n);
    free(alone.ids);
    return status;
}

/* ---- printing ---------------------------------------------------------------------------------------------------- */

/* Share of the peak that the processor time would reach if the threads had the machine to themselves. */
static double cpu_share(const bench_result *r)
{
    return r->flops / r->cpu_seconds * 1e-9 / (r->peak_gflops / sonde_threads());
}

/* All numbers under the names that scripts rely on. */
static sonde_status print_json(const cli_model *m, const bench_result *r)
{
    double gflops = r->flops / r->seconds * 1e-9;
    json_t *out = cli_json("sonde.bench.generate/1");

    json_object_set_new(out, "model", json_string(m->path));
    json_object_set_new(out, "batch", json_integer(batch));
    json_object_set_new(out, "tokens", json_integer(n_tokens));
    json_object_set_new(out, "temperature", cli_json_real(temperature));
    json_object_set_new(out, "top_k", json_integer(top_k));
    json_object_set_new(out, "top_p", cli_json_real(top_p));
    json_object_set_new(out, "repeats", json_integer(n_repeats));
    json_object_set_new(out, "seconds", cli_json_real(r->seconds));
    json_object_set_new(out, "cpu_seconds", cli_json_real(r->cpu_seconds));
    json_object_set_new(out, "tokens_per_s", cli_json_real((double)(batch * n_tokens) / r->seconds));
    json_object_set_new(out, "gflops", cli_json_real(gflops));
    json_object_set_new(out, "peak_gflops", cli_json_real(r->peak_gflops));
    json_object_set_new(out, "share", cli_json_real(gflops / r->peak_gflops));
    json_object_set_new(out, "cpu_share", cli_json_real(cpu_share(r)));
    json_object_set_new(out, "peak_memory_bytes", json_integer(r->peak_bytes));
    json_object_set_new(out, "kernel", json_string(sonde_kernel_name()));
    json_object_set_new(out, "threads", json_integer(sonde_threads()));
    json_object_set_new(out, "dtype", json_string(cli.products == SONDE_PRODUCTS_BF16 ? "bf16" : "f32"));
    json_object_set_new(out, "checked_tokens", json_integer(r->n_checked));
    return cli_json_write(out);
}

/* One line for each number that is compared between machines. */
static void print_text(const cli_model *m, const bench_result *r)
{
    double gflops = r->flops / r->seconds * 1e-9;

    printf("%s, %lld x %lld tokens, kernels %s, %d threads: median of %lld\n", m->path, (long long)batch,
           (long long)n_tokens, sonde_kernel_name(), sonde_threads(), (long long)n_repeats);
    printf("  %.1f tokens/s  (%.4f s a batch, %.4f s of processor time)\n", (double)(batch * n_tokens) / r->seconds,
           r->seconds, r->cpu_seconds);
    printf("  %.1f GFLOP/s, %.1f %% of the %.1f that this machine reaches; %.1f %% by processor time\n", gflops,
           100 * gflops / r->peak_gflops, r->peak_gflops, 100 * cpu_share(r));
    printf("  peak memory %s\n", cli_bytes((double)r->peak_bytes));
    printf("  checked: %s as without a cache and as alone\n", cli_counted(r->n_checked, "token"));
}

/* Measure, then say it to people or to scripts. */
static sonde_status run(const cli_call *call)
{
    cli_model m = {0};
    bench_result r = {0};
    sonde_status status;

    CLI_TRY_DONE(bench_open_model(&m, call, "bench generate", shape));
    /* the last token that is drawn is not fed back, but counted as if it were */
    if (n_tokens > m.config->n_context) {
        status = cli_fail(SONDE_E_RANGE, "option '--tokens' is %lld, the context of '%s' is %lld", (long long)n_tokens,
                          m.path, (long long)m.config->n_context);
        goto done;
    }
    CLI_TRY_DONE(measure(&r, &m));
    if (sonde_kernel_warning()[0] != '\0')
        cli_note("%s", sonde_kernel_warning());
    if (cli.json)
        status = print_json(&m, &r);
    else
        print_text(&m, &r);
done:
    cli_model_close(&m);
    return status;
}

const cli_command cli_cmd_bench_generate = {
    .name = "bench generate",
    .summary = "speed of drawing many texts side by side",
    .arguments = "[MODEL]",
    .min_arguments = 0,
    .max_arguments = 1,
    .examples = {"sonde bench generate models/stories --batch 8 --tokens 16 --repeat 1",
                 "sonde bench generate --shape one-layer --batch 4 --tokens 8 --repeat 1 --json"},
    .options = {options, cli_model_options},
    .run = run,
};
