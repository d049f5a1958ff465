/* cmd_bench.c - `sonde bench forward`: how fast a forward pass with hooks is here.   floor 10: cli
 *
 * A speed is printed only after the chosen kernels have agreed with the plain-C ones on a short input. What is timed is a
 * whole pass as a user sees it: hooked activations kept, logits computed. The peak that it is held against is measured
 * before and after on the same threads, since other programs and the processor's clock change it.
 */
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A few tokens are enough to tell kernels apart, and the plain-C ones are slow. */
enum { N_WARM_UP = 2, CHECKED_TOKENS = 4 };

/* Largest error of a logit, relative to the largest logit, that passes: seen are 2e-6 (f32) and 1e-2 (bf16). */
static const double LIMIT_F32 = 2e-5, LIMIT_BF16 = 5e-2;

/* what the command line says */
static const char *shape;
static int64_t batch = 1, n_tokens = 1024, n_repeats = 5;
static bool no_logits;

static const cli_option options[] = {
    {"shape", 0, CLI_TEXT, &shape, "NAME", 0, 0, "random weights of a known shape in place of a model: gpt2-small, ..."},
    {"batch", 0, CLI_INT, &batch, "B", 1, 1e6, "sequences of a pass"},
    {"tokens", 0, CLI_INT, &n_tokens, "T", 1, 1e9, "tokens of each"},
    {"no-logits", 0, CLI_FLAG, &no_logits, NULL, 0, 0, "end behind the last hooked layer"},
    {"repeat", 0, CLI_INT, &n_repeats, "N", 1, 10000, "timed passes, of which the median counts"},
    {0},
};

/* seconds: of the median pass; peak_gflops: what all threads reach on products alone; check_error: as in LIMIT_F32. */
typedef struct bench_result {
    double seconds, flops, peak_gflops;
    int64_t peak_bytes;
    double check_error;
} bench_result;

sonde_status bench_open_model(cli_model *m, const cli_call *call, const char *command, const char *name)
{
    sonde_config config;
    sonde_model_opts opts;

    /* Exactly one of them: a folder or a shape. */
    if ((name != NULL) == (call->n_arguments == 1))
        return cli_misuse("'%s' takes MODEL or '--shape NAME'", command);
    if (name == NULL)
        return cli_model_open(m, call->arguments[0]);
    /* Random weights take the same options as loaded ones; seed 0, so that each run has the same. */
    sonde_model_opts_init(&opts);
    opts.products = cli.products;
    CLI_TRY(sonde_config_shape(&config, name));
    m->path = name;
    CLI_TRY(sonde_model_random(&m->model, &config, 0, &opts));
    m->config = sonde_model_config(m->model);
    return SONDE_OK;
}

/* ---- the check --------------------------------------------------------------------------------------------------- */

/* Logits behind the last of a few tokens, with the kernels that are chosen. */
static sonde_status last_logits(float *out, const sonde_model *model, int64_t n)
{
    int32_t tokens[CHECKED_TOKENS];
    sonde_run *run;
    sonde_tensor logits;
    int64_t V = sonde_model_config(model)->n_vocab;
    sonde_status status;

    CLI_TRY(sonde_run_new(&run, model));
    /* Both passes of the check get the same ids, whatever the seed of the weights. */
    bench_fill_tokens(tokens, n, V);
    sonde_run_want_logits(run, SONDE_LOGITS_LAST);
    CLI_TRY_DONE(sonde_run_forward(run, tokens, NULL, 1, n));
    CLI_TRY_DONE(sonde_run_get(&logits, run, "logits"));
    memcpy(out, logits.data, (size_t)V * sizeof *out);
done:
    sonde_run_free(run);
    return status;
}

/* Largest difference of two vectors over the largest of the second; NaN if anything is. */
static double relative_error(const float *got, const float *want, int64_t n)
{
    double error = 0, largest = 0;

    for (int64_t i = 0; i < n; i++) {
        double difference = fabs((double)got[i] - want[i]);
        /* NaN first: it would pass every comparison */
        if (!isfinite(difference))
            return NAN;
        error = difference > error ? difference : error;
        largest = fabs((double)want[i]) > largest ? fabs((double)want[i]) : largest;
    }
    return largest > 0 ? error / largest : error;
}

/* The chosen kernels against the plain-C ones. */
static sonde_status check_kernels(double *error, const sonde_model *model)
{
    const sonde_config *config = sonde_model_config(model);
    int64_t V = config->n_vocab, n = CHECKED_TOKENS < config->n_context ? CHECKED_TOKENS : config->n_context;
    double limit = cli.products == SONDE_PRODUCTS_BF16 ? LIMIT_BF16 : LIMIT_F32;
    float *got, *want = NULL;
    char chosen[64];
    sonde_status status;

    CLI_TRY(CLI_NEW(got, V));
    CLI_TRY_DONE(CLI_NEW(want, V));
    CLI_TRY_DONE(last_logits(got, model, n));
    snprintf(chosen, sizeof chosen, "%s", sonde_kernel_name());
    /* the same input by the definition of each operation, then back */
    CLI_TRY_DONE(sonde_kernel_choose("ref"));
    status = last_logits(want, model, n);
    CLI_TRY_DONE(status != SONDE_OK ? status : sonde_kernel_choose(chosen));
    /* !(error <= limit) is true for NaN */
    *error = relative_error(got, want, V);
    if (!(*error <= limit))
        status =
            cli_fail(SONDE_E_NONFINITE,
                     "no speed is printed: kernels '%s' differ from 'ref' by %.3g of the largest logit, allowed is %.3g",
                     chosen, *error, limit);
done:
    free(got);
    free(want);
    return status;
}

/* ---- the measurement --------------------------------------------------------------------------------------------- */

/* Times the passes. The first ones fill caches and pages, and do not count. */
static sonde_status time_passes(bench_result *out, sonde_run *run, const int32_t *tokens)
{
    double *seconds;
    sonde_status status = SONDE_OK;

    CLI_TRY(CLI_NEW(seconds, n_repeats));
    /* negative: not counted */
    for (int64_t i = -N_WARM_UP; i < n_repeats && status == SONDE_OK; i++) {
        double start = cli_seconds();
        status = sonde_run_forward(run, tokens, NULL, batch, n_tokens);
        if (i >= 0)
            seconds[i] = cli_seconds() - start;
    }
    if (status == SONDE_OK)
        out->seconds = bench_median(seconds, n_repeats);
    free(seconds);
    return status;
}

/* Check first, then the passes between two measurements of the peak, of which the higher counts. */
static sonde_status measure(bench_result *out, const cli_model *m)
{
    sonde_run *run = NULL;
    int32_t *tokens = NULL;
    sonde_plan plan;
    bench_peak peak = {0};
    sonde_status status;

    CLI_TRY_DONE(check_kernels(&out->check_error, m->model));
    CLI_TRY_DONE(CLI_NEW(tokens, batch * n_tokens));
    bench_fill_tokens(tokens, batch * n_tokens, m->config->n_vocab);
    CLI_TRY_DONE(sonde_run_new(&run, m->model));
    for (int64_t i = 0; i < cli.hooks.n; i++)
        CLI_TRY_DONE(sonde_run_capture(run, cli.hooks.items[i], NULL));
    sonde_run_want_logits(run, no_logits ? SONDE_LOGITS_NONE : SONDE_LOGITS_ALL);
    CLI_TRY_DONE(sonde_run_plan(&plan, run, batch, n_tokens));
    bench_measure_peak(&peak);
    CLI_TRY_DONE(time_passes(out, run, tokens));
    bench_measure_peak(&peak);
    out->peak_gflops = peak.gflops;
    out->flops = plan.flops;
    /* Of the whole process so far: loading, check and passes. */
    out->peak_bytes = cli_peak_bytes();
done:
    sonde_run_free(run);
    free(tokens);
    return status;
}

/* All numbers under the names that scripts rely on. */
static sonde_status print_json(const cli_model *m, const bench_result *r)
{
    double gflops = r->flops / r->seconds * 1e-9;
    json_t *out = cli_json("sonde.bench.forward/1"), *hooks = json_array();

    for (int64_t i = 0; i < cli.hooks.n; i++)
        json_array_append_new(hooks, json_string(cli.hooks.items[i]));
    json_object_set_new(out, "model", json_string(m->path));
    json_object_set_new(out, "batch", json_integer(batch));
    json_object_set_new(out, "tokens", json_integer(n_tokens));
    json_object_set_new(out, "hooks", hooks);
    json_object_set_new(out, "logits", json_boolean(!no_logits));
    json_object_set_new(out, "repeats", json_integer(n_repeats));
    json_object_set_new(out, "seconds", cli_json_real(r->seconds));
    json_object_set_new(out, "tokens_per_s", cli_json_real((double)(batch * n_tokens) / r->seconds));
    json_object_set_new(out, "gflops", cli_json_real(gflops));
    json_object_set_new(out, "peak_gflops", cli_json_real(r->peak_gflops));
    json_object_set_new(out, "share", cli_json_real(gflops / r->peak_gflops));
    json_object_set_new(out, "peak_memory_bytes", json_integer(r->peak_bytes));
    json_object_set_new(out, "weight_bytes", json_integer((json_int_t)sonde_model_weight_bytes(m->model)));
    json_object_set_new(out, "kernel", json_string(sonde_kernel_name()));
    json_object_set_new(out, "threads", json_integer(sonde_threads()));
    json_object_set_new(out, "dtype", json_string(cli.products == SONDE_PRODUCTS_BF16 ? "bf16" : "f32"));
    json_object_set_new(out, "check_error", cli_json_real(r->check_error));
    return cli_json_write(out);
}

/* Measure, then say it to people or to scripts. */
static sonde_status run(const cli_call *call)
{
    cli_model m = {0};
    bench_result r = {0};
    sonde_status status;

    /* Without logits a pass ends behind the last hooked layer; without hooks nothing is left of it. */
    if (cli.hooks.n == 0 && no_logits)
        return cli_misuse("nothing to compute: '--no-logits' without '--hook'");
    CLI_TRY_DONE(bench_open_model(&m, call, "bench forward", shape));
    CLI_TRY_DONE(measure(&r, &m));
    /* What keeps this machine below its best: a speed should not stand without that. */
    if (sonde_kernel_warning()[0] != '\0')
        cli_note("%s", sonde_kernel_warning());
    if (cli.json) {
        status = print_json(&m, &r);
        goto done;
    }
    /* One line for each number that is compared between machines. */
    printf("%s, %lld x %lld tokens, kernels %s, %d threads: median of %lld\n", m.path, (long long)batch, (long long)n_tokens,
           sonde_kernel_name(), sonde_threads(), (long long)n_repeats);
    printf("  %.1f tokens/s  (%.4f s a pass)\n", (double)(batch * n_tokens) / r.seconds, r.seconds);
    printf("  %.1f GFLOP/s, %.1f %% of the %.1f that this machine reaches\n", r.flops / r.seconds * 1e-9,
           100 * r.flops / r.seconds * 1e-9 / r.peak_gflops, r.peak_gflops);
    printf("  peak memory %s, of it weights %s\n", cli_bytes((double)r.peak_bytes),
           cli_bytes((double)sonde_model_weight_bytes(m.model)));
    printf("  checked against plain C: largest error %.2g of the largest logit\n", r.check_error);
done:
    cli_model_close(&m);
    return status;
}

const cli_command cli_cmd_bench_forward = {
    .name = "bench forward",
    .summary = "speed and memory of a forward pass whose hooked activations are kept",
    .arguments = "[MODEL]",
    .min_arguments = 0,
    .max_arguments = 1,
    .examples = {"sonde bench forward models/stories --batch 4 --tokens 64 --hook '*.hook_resid_post'",
                 "sonde bench forward --shape gpt2-small --batch 1 --tokens 32 --repeat 1 --json"},
    .options = {options, cli_hook_options, cli_model_options},
    .run = run,
};
