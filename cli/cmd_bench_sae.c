/* cmd_bench_sae.c - `sonde bench sae`: how fast a training step of an autoencoder is here.   floor 10: cli
 *
 * A whole step is timed, as `sonde sae train` takes it: forward, gradients, clipping by their exact norm, Adam, counting of dead
 * features, on Gaussian rows and fresh weights. Before a speed is printed, the chosen kernels must have given the same loss and the same
 * norm of gradients as the plain-C ones on a few rows.
 */
#include "bench.h"
#include "sae.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows of the check, and how far loss and norm may be apart. */
enum { CHECKED_ROWS = 8, WARM_UP = 3 };
static const double LIMIT = 2e-5;

/* what the command line says */
static int64_t d = 768, n_features = 24576, batch = 4096, arch = SONDE_SAE_ARCH_TOPK, n_repeats = 5;
static double k = 32, dead_percent, l1 = 1;

static const cli_option options[] = {
    {"d", 0, CLI_INT, &d, "D", 1, 1e6, "width of the rows"},
    {"width", 0, CLI_INT, &n_features, "S", 1, 1e8, "features"},
    {"batch", 0, CLI_INT, &batch, "N", 1, 1e6, "rows of a step"},
    {"arch", 0, CLI_CHOICE, &arch, SONDE_SAE_ARCHS, 0, 0, "what is trained"},
    {"k", 0, CLI_REAL, &k, "K", 1, 1e6, "features of a row"},
    {"l1", 0, CLI_REAL, &l1, "X", 0, 1e9, "weight of the penalty"},
    {"dead", 0, CLI_REAL, &dead_percent, "P", 0, 99,
     "percent of features that are dead: the loss that brings them back is in the step then"},
    {"repeat", 0, CLI_INT, &n_repeats, "N", 1, 10000, "timed steps, of which the median counts"},
    {0},
};

/* What is measured, and what came of it. seconds: of the median step. */
typedef struct sae_bench {
    float *x;
    double seconds, check_error;
    sonde_sae_train_report last;
    bench_peak peak;
    int64_t bytes;
} sae_bench;

/* Gives some features a bias under which they are never chosen. */
static sonde_status silence(sonde_sae_trainer *trainer)
{
    int64_t n = (int64_t)(dead_percent / 100.0 * (double)n_features);
    sonde_sae *sae;
    sonde_tensor bias;
    sonde_status status;

    if (n == 0)
        return SONDE_OK;
    /* through an autoencoder, since a trainer takes weights from nothing else */
    CLI_TRY(sonde_sae_trainer_export(&sae, trainer, NULL, NULL, NULL));
    status = sonde_sae_weight(&bias, sae, "b_enc");
    for (int64_t i = 0; i < n && status == SONDE_OK; i++)
        ((float *)bias.data)[i * n_features / n] = -1.0f;
    if (status == SONDE_OK)
        status = sonde_sae_trainer_start_from(trainer, sae);
    sonde_sae_free(sae);
    return status;
}

/* A trainer for N of the rows. */
static sonde_status make_trainer(sonde_sae_trainer **out, int64_t N)
{
    sonde_sae_train_opts opts;

    sonde_sae_train_opts_init(&opts);
    opts.arch = arch;
    opts.d_in = d;
    opts.d_sae = n_features;
    opts.batch = N;
    opts.k = k;
    opts.l1 = l1;
    opts.steps = 1 << 20;
    /* more steps than are taken: the schedule plays no part */
    opts.dead_window = dead_percent > 0 ? 1 : opts.dead_window;
    CLI_TRY(sonde_sae_trainer_new(out, &opts));
    return silence(*out);
}

/* Loss and norm of a step on a few rows, with the kernels that are chosen. */
static sonde_status short_step(sonde_sae_train_report *out, const sae_bench *b)
{
    sonde_sae_trainer *trainer;
    sonde_status status;

    CLI_TRY(make_trainer(&trainer, CHECKED_ROWS));
    status = sonde_sae_trainer_step(trainer, out, b->x, NULL);
    sonde_sae_trainer_free(trainer);
    return status;
}

/* The chosen kernels against the plain-C ones. */
static sonde_status check_kernels(sae_bench *b)
{
    sonde_sae_train_report got, want;
    char chosen[64];
    sonde_status status;

    /* few rows: the plain-C kernels take a thousand times as long */
    CLI_TRY(short_step(&got, b));
    snprintf(chosen, sizeof chosen, "%s", sonde_kernel_name());
    CLI_TRY(sonde_kernel_choose("ref"));
    status = short_step(&want, b);
    CLI_TRY(sonde_kernel_choose(chosen));
    CLI_TRY(status);
    /* the norm stands for all gradients: an error in any of them moves it; fmax would hide a NaN, isfinite does not */
    b->check_error = fmax(fabs(got.loss / want.loss - 1), fabs(got.gradient_norm / want.gradient_norm - 1));
    if (b->check_error <= LIMIT && isfinite(got.loss) && isfinite(got.gradient_norm))
        return SONDE_OK;
    return cli_fail(SONDE_E_NONFINITE,
                    "no speed is printed: loss or gradients of '%s' differ from 'ref' by %.3g, allowed is %.3g", chosen,
                    b->check_error, LIMIT);
}

/* Times whole steps; the first ones fill caches and pages, and find out which features are dead. */
static sonde_status time_steps(sae_bench *b)
{
    sonde_sae_trainer *trainer = NULL;
    double *seconds;
    sonde_status status = SONDE_OK;

    CLI_TRY(CLI_NEW(seconds, n_repeats));
    CLI_TRY_DONE(make_trainer(&trainer, batch));
    bench_measure_peak(&b->peak);
    /* negative: not counted */
    for (int64_t i = -WARM_UP; i < n_repeats; i++) {
        double start = cli_seconds();
        CLI_TRY_DONE(sonde_sae_trainer_step(trainer, &b->last, b->x, NULL));
        if (i >= 0)
            seconds[i] = cli_seconds() - start;
    }
    bench_measure_peak(&b->peak);
    b->seconds = bench_median(seconds, n_repeats);
    b->bytes = sonde_sae_trainer_bytes(trainer);
done:
    sonde_sae_trainer_free(trainer);
    free(seconds);
    return status;
}

/* What the products of a step cost at least: one over all features for those that choose, five where all are on. */
static double flops_of(void)
{
    double product = 2.0 * (double)batch * (double)d * (double)n_features;
    bool is_dense = arch == SONDE_SAE_ARCH_STANDARD_2023 || arch == SONDE_SAE_ARCH_STANDARD ||
                    arch == SONDE_SAE_ARCH_GATED || arch == SONDE_SAE_ARCH_JUMPRELU || arch == SONDE_SAE_ARCH_PANNEAL;

    return product * (is_dense ? 5.0 : 1.0);
}

/* All numbers under the names that scripts rely on. */
static sonde_status print_json(const sae_bench *b)
{
    sonde_sae_train_opts o = {.arch = arch};
    double gflops = flops_of() / b->seconds * 1e-9;
    json_t *out = cli_json("sonde.bench.sae/1");

    json_object_set_new(out, "arch", json_string(sae_arch_name(&o)));
    json_object_set_new(out, "d", json_integer(d));
    json_object_set_new(out, "width", json_integer(n_features));
    json_object_set_new(out, "batch", json_integer(batch));
    json_object_set_new(out, "k", cli_json_real(k));
    json_object_set_new(out, "dead", json_integer(b->last.n_dead));
    json_object_set_new(out, "l0", cli_json_real(b->last.l0));
    json_object_set_new(out, "repeats", json_integer(n_repeats));
    json_object_set_new(out, "seconds", cli_json_real(b->seconds));
    /* the rate is what peers print */
    json_object_set_new(out, "tokens_per_s", cli_json_real((double)batch / b->seconds));
    json_object_set_new(out, "gflops", cli_json_real(gflops));
    json_object_set_new(out, "peak_gflops", cli_json_real(b->peak.gflops));
    json_object_set_new(out, "share", cli_json_real(gflops / b->peak.gflops));
    json_object_set_new(out, "peak_memory_bytes", json_integer(cli_peak_bytes()));
    json_object_set_new(out, "trainer_bytes", json_integer(b->bytes));
    json_object_set_new(out, "kernel", json_string(sonde_kernel_name()));
    json_object_set_new(out, "threads", json_integer(sonde_threads()));
    json_object_set_new(out, "check_error", cli_json_real(b->check_error));
    return cli_json_write(out);
}

/* One line for each number that is compared between machines. */
static sonde_status print_text(const sae_bench *b)
{
    sonde_sae_train_opts o = {.arch = arch};
    double gflops = flops_of() / b->seconds * 1e-9;

    printf("training step of '%s', %lld rows of %lld, %s features, kernels %s, %d threads: median of %lld\n",
           sae_arch_name(&o), (long long)batch, (long long)d, cli_count(n_features), sonde_kernel_name(), sonde_threads(),
           (long long)n_repeats);
    printf("  %.1f tokens/s  (%.4f s a step), L0 %.1f, %s dead\n", (double)batch / b->seconds, b->seconds, b->last.l0,
           cli_count(b->last.n_dead));
    printf("  %.1f GFLOP/s of products that cannot be left out, %.1f %% of the %.1f that this machine reaches\n", gflops,
           100 * gflops / b->peak.gflops, b->peak.gflops);
    printf("  peak memory %s\n", cli_bytes((double)cli_peak_bytes()));
    printf("  checked against plain C: loss and norm of gradients within %.2g\n", b->check_error);
    return SONDE_OK;
}

/* Check, measure, say it. */
static sonde_status run(const cli_call *call)
{
    sae_bench b = {0};
    sonde_status status;

    (void)call;
    CLI_TRY(CLI_NEW(b.x, (batch > CHECKED_ROWS ? batch : CHECKED_ROWS) * d));
    /* Gaussian rows, the same in every run */
    for (int64_t i = 0; i < (batch > CHECKED_ROWS ? batch : CHECKED_ROWS) * d; i++)
        b.x[i] = (float)sonde_random_normal(1, 0, (uint64_t)i);
    CLI_TRY_DONE(check_kernels(&b));
    CLI_TRY_DONE(time_steps(&b));
    status = cli.json ? print_json(&b) : print_text(&b);
done:
    free(b.x);
    return status;
}

const cli_command cli_cmd_bench_sae = {
    .name = "bench sae",
    .summary = "speed and memory of a training step of an autoencoder",
    .arguments = "",
    .min_arguments = 0,
    .max_arguments = 0,
    .examples = {"sonde bench sae --d 64 --width 512 --batch 256 --arch topk --k 8 --json",
                 "sonde bench sae --d 64 --width 512 --batch 256 --arch standard --repeat 3"},
    .options = {options},
    .run = run,
};
