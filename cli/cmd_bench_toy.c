/* cmd_bench_toy.c - `sonde bench toy`: how fast toy models train here.         floor 10: cli
 *
 * The introduction of the paper: ten instances of five features in two numbers, 1,024 rows a step; a step is one of all instances. Before a speed
 * is printed, the chosen kernels must have given the same loss as the plain-C ones.
 *
 * The peer's number is that of torch with one batched problem (bench/peers/toy_step.py); make bench measures both in one run. Steps are
 * timed some thousands together: one takes a few tens of microseconds.
 */
#include "bench.h"
#include "toy.h"

#include <math.h>
#include <stdlib.h>

static const double LIMIT = 1e-4;

/* what the command line says */
static int64_t n_features = 5, n_hidden = 2, n_instances = 10, batch = 1024, steps = 5000, n_repeats = 5;

static const cli_option options[] = {
    {"features", 0, CLI_INT, &n_features, "N", 1, 1e5, "features of a model"},
    {"hidden", 0, CLI_INT, &n_hidden, "N", 1, 1e5, "hidden numbers"},
    {"instances", 0, CLI_INT, &n_instances, "N", 1, 1e6, "models that train side by side"},
    {"batch", 0, CLI_INT, &batch, "N", 128, 1e6, "rows of a step, a multiple of 128"},
    {"steps", 0, CLI_INT, &steps, "N", 1, 1e8, "steps that are timed together"},
    {"repeat", 0, CLI_INT, &n_repeats, "N", 1, 10000, "timings, of which the median counts"},
    {0},
};

/* Models as the paper's notebook has them: importance falls, density goes from 1 to 1/20. Owns: *out is the caller's. */
static sonde_status make_models(sonde_toy **out, int64_t n_steps)
{
    sonde_toy_opts o;
    double *p = NULL, *importance = NULL;
    sonde_status status;

    sonde_toy_opts_init(&o);
    CLI_TRY_DONE(CLI_NEW(p, n_instances * n_features));
    CLI_TRY_DONE(CLI_NEW(importance, n_instances * n_features));
    for (int64_t i = 0; i < n_instances * n_features; i++) {
        p[i] = pow(20.0, n_instances > 1 ? -(double)(i / n_features) / (double)(n_instances - 1) : 0.0);
        importance[i] = pow(0.9, (double)(i % n_features));
    }
    /* step size, decay and schedule are the defaults: those of the notebook */
    o.n_features = n_features;
    o.n_hidden = n_hidden;
    o.n_instances = n_instances;
    o.batch = batch;
    o.steps = n_steps;
    o.probability = p;
    o.importance = importance;
    status = sonde_toy_new(out, &o);
done:
    free(p);
    free(importance);
    return status;
}

/* Mean loss of all instances over a few steps, with the kernels that are chosen. */
static sonde_status short_run(double *loss)
{
    enum { CHECKED = 20 };
    double *losses = NULL;
    sonde_toy *toy = NULL;
    sonde_status status;

    CLI_TRY_DONE(CLI_NEW(losses, n_instances));
    CLI_TRY_DONE(make_models(&toy, CHECKED));
    CLI_TRY_DONE(sonde_toy_train(toy, losses, CHECKED));
    /* one number for all: an error in any of them moves it */
    *loss = 0.0;
    for (int64_t i = 0; i < n_instances; i++)
        *loss += losses[i] / (double)n_instances;
done:
    sonde_toy_free(toy);
    free(losses);
    return status;
}

/* The chosen kernels against the plain-C ones. */
static sonde_status check_kernels(double *error)
{
    char chosen[64];
    double got, want;
    sonde_status status;

    CLI_TRY(short_run(&got));
    snprintf(chosen, sizeof chosen, "%s", sonde_kernel_name());
    CLI_TRY(sonde_kernel_choose("ref"));
    status = short_run(&want);
    CLI_TRY(sonde_kernel_choose(chosen));
    CLI_TRY(status);
    *error = fabs(got / want - 1.0);
    return *error <= LIMIT
               ? SONDE_OK
               : cli_fail(SONDE_E_NONFINITE, "no speed is printed: the loss of '%s' differs from that of 'ref' by %.3g",
                          chosen, *error);
}

/* Steps a second of every repeat. */
static sonde_status time_steps(double *rates)
{
    sonde_toy *toy;
    sonde_status status = SONDE_OK;

    CLI_TRY(make_models(&toy, steps * (n_repeats + 1)));
    for (int64_t i = 0; i <= n_repeats && status == SONDE_OK; i++) {
        double start = cli_seconds();
        status = cli_check_interrupt();
        if (status == SONDE_OK)
            status = sonde_toy_train(toy, NULL, steps);
        /* the first one finds caches and the clock as they were */
        if (i > 0)
            rates[i - 1] = (double)steps / (cli_seconds() - start);
    }
    sonde_toy_free(toy);
    return status;
}

/* Checked, timed, printed. */
static sonde_status run(const cli_call *call)
{
    double *rates = NULL, error = 0.0, rate;
    json_t *out;
    sonde_status status;

    (void)call;
    CLI_TRY_DONE(CLI_NEW(rates, n_repeats));
    CLI_TRY_DONE(check_kernels(&error));
    CLI_TRY_DONE(time_steps(rates));
    rate = bench_median(rates, n_repeats);
    if (!cli.json) {
        printf("%s of %lld features in %lld numbers, %lld rows: %.0f steps/s, kernel %s\n",
               cli_counted(n_instances, "model"), (long long)n_features, (long long)n_hidden, (long long)batch, rate,
               sonde_kernel_name());
        goto done;
    }
    out = cli_json("sonde.bench.toy/1");
    json_object_set_new(out, "features", json_integer(n_features));
    json_object_set_new(out, "hidden", json_integer(n_hidden));
    json_object_set_new(out, "instances", json_integer(n_instances));
    json_object_set_new(out, "batch", json_integer(batch));
    json_object_set_new(out, "steps_per_s", cli_json_real(rate));
    json_object_set_new(out, "repeats", json_integer(n_repeats));
    json_object_set_new(out, "kernel", json_string(sonde_kernel_name()));
    json_object_set_new(out, "threads", json_integer(sonde_threads()));
    json_object_set_new(out, "check_error", cli_json_real(error));
    status = cli_json_write(out);
done:
    free(rates);
    return status;
}

const cli_command cli_cmd_bench_toy = {
    .name = "bench toy",
    .summary = "speed of toy models that train side by side",
    .arguments = "",
    .min_arguments = 0,
    .max_arguments = 0,
    .examples = {"sonde bench toy --steps 500 --repeat 1",
                 "sonde bench toy --features 20 --hidden 5 --instances 4 --steps 200 --repeat 1 --json"},
    .options = {options},
    .notes = "The defaults are the paper's introduction: ten instances of five features in two numbers. A step is one of "
             "all instances.",
    .run = run,
};
