/* cmd_doctor.c - `sonde doctor`: what this machine gives, and what slows it down.   floor 10: cli
 *
 * Speed depends on what the processor has and on which BLAS was found: this is where a user sees what was chosen, and what
 * a bug report should begin with.
 */
#include "cli.h"

#include <sonde/plot.h>

#include <unistd.h>

static const cli_option options[] = {{0}};

/* The same for scripts. */
static sonde_status print_json(double peak, int64_t n_families, int64_t n_noto)
{
    json_t *out = cli_json("sonde.doctor/1"), *operations = json_array();
    const char *line, *warning = sonde_kernel_warning();

    for (int64_t i = 0; (line = sonde_kernel_describe(i)) != NULL; i++)
        json_array_append_new(operations, json_string(line));
    json_object_set_new(out, "version", json_string(sonde_version()));
    json_object_set_new(out, "kernel", json_string(sonde_kernel_name()));
    json_object_set_new(out, "operations", operations);
    json_object_set_new(out, "threads", json_integer(sonde_threads()));
    json_object_set_new(out, "processors", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    json_object_set_new(out, "peak_gflops", cli_json_real(peak));
    json_object_set_new(out, "warning", warning[0] != '\0' ? json_string(warning) : json_null());
    json_object_set_new(out, "font_families", json_integer(n_families));
    json_object_set_new(out, "noto_families", json_integer(n_noto));
    return cli_json_write(out);
}

/* The peak is measured first, while nothing else runs. */
static sonde_status run(const cli_call *call)
{
    double peak = sonde_measure_peak_gflops();
    int64_t n_families, n_noto;
    const char *line;

    (void)call;
    sonde_plot_fonts(&n_families, &n_noto);
    if (cli.json)
        return print_json(peak, n_families, n_noto);
    printf("sonde %s\n", sonde_version());
    printf("threads   %d of %ld processors\n", sonde_threads(), sysconf(_SC_NPROCESSORS_ONLN));
    printf("peak      %.1f GFLOP/s in fp32, measured on these threads\n", peak);
    printf("fonts     %lld families, %lld of them Noto%s\n", (long long)n_families, (long long)n_noto,
           n_noto > 0 ? "" : ": labels in other scripts may show as boxes (install fonts-noto)");
    printf("kernels   %s\n", sonde_kernel_name());
    for (int64_t i = 0; (line = sonde_kernel_describe(i)) != NULL; i++)
        printf("  %s\n", line);
    if (sonde_kernel_warning()[0] != '\0')
        printf("warning   %s\n", sonde_kernel_warning());
    return SONDE_OK;
}

const cli_command cli_cmd_doctor = {
    .name = "doctor",
    .summary = "this machine: kernels chosen for each operation, threads, measured peak, fonts, warnings",
    .arguments = "",
    .examples = {"sonde doctor", "sonde doctor --threads 1 --json"},
    .options = {options},
    .run = run,
};
