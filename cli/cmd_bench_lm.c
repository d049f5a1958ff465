/* cmd_bench_lm.c - `sonde bench lm`: how fast a training step of a language model is here.   floor 10: cli
 *
 * A whole step is timed: forward, loss, backward, clipping and the change of the weights, on random ids. Before a speed is
 * printed, the chosen kernels must have given the same loss and the same norm of gradients as the plain-C ones on a short batch.
 */
#include "bench.h"

#include <sonde/train.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Contexts of the check, and how far loss and norm may be apart: seen are 1e-7 and 2e-6 (bf16: 2e-4 and 1e-2). */
enum { CHECKED_TOKENS = 16 };
static const double LIMIT_F32 = 2e-5, LIMIT_BF16 = 5e-2;

/* what the command line says */
static const char *shape = "small";
static int64_t batch, context, n_repeats = 5, optimizer, products;

static const cli_option options[] = {
    {"shape", 0, CLI_TEXT, &shape, "NAME", 0, 0, "one-layer (32 x 128 tokens), small (16 x 256), or another known shape"},
    {"batch", 0, CLI_INT, &batch, "B", 0, 1e6, "contexts of a step; 0: that of the shape"},
    {"context", 0, CLI_INT, &context, "T", 0, 1e6, "tokens of each; 0: the model's"},
    {"repeat", 0, CLI_INT, &n_repeats, "N", 1, 10000, "timed steps, of which the median counts"},
    {"optimizer", 0, CLI_CHOICE, &optimizer, "adamw|muon", 0, 0, "what changes the weights"},
    {"products", 0, CLI_CHOICE, &products, "f32|bf16", 0, 0, "factors of products; sums are f32"},
    {0},
};

/* What is measured, and what came of it. seconds: of the median step; check_error: as in LIMIT_F32. */
typedef struct lm_bench {
    sonde_config config;
    sonde_model *model;
    sonde_corpus *corpus;
    int64_t B, T;
    double seconds, flops, loss, check_error;
    bench_peak peak;
    int64_t state_bytes, scratch_bytes;
} lm_bench;

/* A trainer of B contexts of T random ids. */
static sonde_status make_trainer(sonde_lm_trainer **out, const lm_bench *b, int64_t B, int64_t T)
{
    sonde_lm_opts opts;

    sonde_lm_opts_init(&opts);
    /* more steps than are taken: the schedule plays no part */
    opts.batch = B;
    opts.context = T;
    opts.steps = 1 << 20;
    opts.optimizer = optimizer;
    opts.products = products;
    return sonde_lm_trainer_new(out, b->model, b->corpus, &opts);
}

/* Loss and norm of one short step with the kernels that are chosen. */
static sonde_status short_step(sonde_lm_report *out, const lm_bench *b)
{
    int64_t T = CHECKED_TOKENS < b->T ? CHECKED_TOKENS : b->T;
    sonde_lm_trainer *trainer;
    sonde_status status;

    CLI_TRY(make_trainer(&trainer, b, 1, T));
    status = sonde_lm_trainer_step(trainer, out);
    sonde_lm_trainer_free(trainer);
    return status;
}

/* The chosen kernels against the plain-C ones. */
static sonde_status check_kernels(lm_bench *b)
{
    double limit = products == SONDE_PRODUCTS_BF16 ? LIMIT_BF16 : LIMIT_F32;
    sonde_lm_report got, want;
    char chosen[64];
    sonde_status status;

    /* Few tokens: the plain-C kernels take a thousand times as long. */
    CLI_TRY(short_step(&got, b));
    snprintf(chosen, sizeof chosen, "%s", sonde_kernel_name());
    /* the same step by the definition of each operation, then back, whatever came of it */
    CLI_TRY(sonde_kernel_choose("ref"));
    status = short_step(&want, b);
    CLI_TRY(sonde_kernel_choose(chosen));
    CLI_TRY(status);
    /* The norm stands for all gradients: an error in any of them moves it. fmax would hide a NaN: the comparison below fails for it. */
    b->check_error = fmax(fabs(got.loss / want.loss - 1), fabs(got.gradient_norm / want.gradient_norm - 1));
    if (b->check_error <= limit && isfinite(got.loss) && isfinite(got.gradient_norm))
        return SONDE_OK;
    return cli_fail(SONDE_E_NONFINITE,
                    "no speed is printed: loss or gradients of '%s' differ from 'ref' by %.3g, allowed is %.3g", chosen,
                    b->check_error, limit);
}

/* Times whole steps; the first one fills caches and pages, and does not count. */
static sonde_status time_steps(lm_bench *b)
{
    sonde_lm_trainer *trainer = NULL;
    sonde_lm_report report = {0};
    sonde_lm_plan plan;
    double *seconds;
    sonde_status status = SONDE_OK;

    CLI_TRY(CLI_NEW(seconds, n_repeats));
    CLI_TRY_DONE(make_trainer(&trainer, b, b->B, b->T));
    bench_measure_peak(&b->peak);
    /* negative: not counted */
    for (int64_t i = -1; i < n_repeats; i++) {
        double start = cli_seconds();
        CLI_TRY_DONE(sonde_lm_trainer_step(trainer, &report));
        if (i >= 0)
            seconds[i] = cli_seconds() - start;
    }
    /* before and after, the higher counts: a machine that slowed down in between shows */
    bench_measure_peak(&b->peak);
    b->seconds = bench_median(seconds, n_repeats);
    b->loss = report.loss;
    sonde_lm_trainer_plan(&plan, trainer);
    b->flops = plan.flops;
    b->state_bytes = plan.state_bytes;
    b->scratch_bytes = plan.scratch_bytes;
done:
    sonde_lm_trainer_free(trainer);
    free(seconds);
    return status;
}

/* Model and ids. Batches are those of the peers' script. */
static sonde_status begin(lm_bench *b)
{
    int32_t *ids;
    int64_t n;
    sonde_status status;

    CLI_TRY(sonde_config_shape(&b->config, shape));
    b->T = context ? context : b->config.n_context;
    b->B = batch ? batch : strcmp(shape, "one-layer") == 0 ? 32 : 16;
    /* Some steps of ids that are the same in every run; the corpus goes round. */
    n = 4 * b->B * b->T;
    /* one set of weights and ids for every kernel set and precision */
    CLI_TRY(sonde_lm_initial(&b->model, &b->config, 0));
    CLI_TRY(sonde_corpus_new(&b->corpus, NULL, 0, b->config.n_vocab));
    CLI_TRY(CLI_NEW(ids, n));
    bench_fill_tokens(ids, n, b->config.n_vocab);
    status = sonde_corpus_add_ids(b->corpus, ids, n);
    free(ids);
    return status;
}

/* All numbers under the names that scripts rely on. */
static sonde_status print_json(const lm_bench *b)
{
    double gflops = b->flops / b->seconds * 1e-9;
    json_t *out = cli_json("sonde.bench.lm/1");

    json_object_set_new(out, "shape", json_string(shape));
    json_object_set_new(out, "batch", json_integer(b->B));
    json_object_set_new(out, "tokens", json_integer(b->T));
    json_object_set_new(out, "parameters", json_integer(sonde_model_n_parameters(b->model)));
    json_object_set_new(out, "repeats", json_integer(n_repeats));
    json_object_set_new(out, "seconds", cli_json_real(b->seconds));
    json_object_set_new(out, "tokens_per_s", cli_json_real((double)(b->B * b->T) / b->seconds));
    json_object_set_new(out, "gflops", cli_json_real(gflops));
    json_object_set_new(out, "peak_gflops", cli_json_real(b->peak.gflops));
    json_object_set_new(out, "share", cli_json_real(gflops / b->peak.gflops));
    json_object_set_new(out, "peak_memory_bytes", json_integer(cli_peak_bytes()));
    json_object_set_new(out, "state_bytes", json_integer(b->state_bytes));
    json_object_set_new(out, "scratch_bytes", json_integer(b->scratch_bytes));
    json_object_set_new(out, "kernel", json_string(sonde_kernel_name()));
    json_object_set_new(out, "threads", json_integer(sonde_threads()));
    json_object_set_new(out, "dtype", json_string(products == SONDE_PRODUCTS_BF16 ? "bf16" : "f32"));
    json_object_set_new(out, "check_error", cli_json_real(b->check_error));
    return cli_json_write(out);
}

/* Check, measure, say it to people or to scripts. */
static sonde_status run(const cli_call *call)
{
    lm_bench b = {0};
    sonde_status status;

    (void)call;
    CLI_TRY_DONE(begin(&b));
    CLI_TRY_DONE(check_kernels(&b));
    CLI_TRY_DONE(time_steps(&b));
    if (cli.json) {
        status = print_json(&b);
        goto done;
    }
    /* one line for each number that is compared between machines */
    printf("training step of '%s', %lld x %lld tokens, kernels %s, %d threads: median of %lld\n", shape, (long long)b.B,
           (long long)b.T, sonde_kernel_name(), sonde_threads(), (long long)n_repeats);
    printf("  %.1f tokens/s  (%.4f s a step)\n", (double)(b.B * b.T) / b.seconds, b.seconds);
    printf("  %.1f GFLOP/s, %.1f %% of the %.1f that this machine reaches\n", b.flops / b.seconds * 1e-9,
           100 * b.flops / b.seconds * 1e-9 / b.peak.gflops, b.peak.gflops);
    printf("  peak memory %s: weights, gradients and moments %s, scratch %s\n", cli_bytes((double)cli_peak_bytes()),
           cli_bytes((double)b.state_bytes), cli_bytes((double)b.scratch_bytes));
    printf("  checked against plain C: loss and norm of gradients within %.2g\n", b.check_error);
done:
    sonde_corpus_free(b.corpus);
    sonde_model_free(b.model);
    return status;
}

const cli_command cli_cmd_bench_lm = {
    .name = "bench lm",
    .summary = "speed and memory of a training step of a language model",
    .arguments = "",
    .min_arguments = 0,
    .max_arguments = 0,
    .examples = {"sonde bench lm --shape one-layer --json", "sonde bench lm --shape small --repeat 3"},
    .options = {options},
    .run = run,
};
