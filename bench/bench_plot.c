/* bench/bench_plot.c - how long pictures take.
 *
 *   bench_plot [FOLDER]      FOLDER is where pictures go (default: /tmp)
 *
 * The first picture of a process also finds and loads fonts; it is timed apart. Of the others the median of 15 is printed,
 * in milliseconds of wall time. A picture that fails stops the program.
 */
#include <sonde/plot.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { REPEATS = 15, MOST = 64 * 3072 };
static float values[MOST];
static sonde_plot_label labels[3072];
static char path[512];

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static void check(sonde_status status)
{
    if (status != SONDE_OK) {
        fprintf(stderr, "bench_plot: %s\n", sonde_last_error()->message);
        exit(1);
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double draw(const sonde_plot_matrix *m, int64_t n_panels, const char *ending, int64_t depth)
{
    const char *folder = path;
    char file[600], *text;
    sonde_plot_opts opts;
    double start = now_ms();

    sonde_plot_opts_init(&opts);
    opts.title = "A title";
    opts.x_name = "column";
    opts.y_name = "row";
    opts.value_name = "value";
    opts.depth = depth;
    snprintf(file, sizeof file, "%s/bench_plot%s", folder, ending);
    if (*ending != '\0') {
        check(sonde_plot_panels(file, m, n_panels, &opts));
    } else {
        check(sonde_plot_panels_text(&text, NULL, m, n_panels, &opts));
        sonde_plot_text_free(text);
    }
    return now_ms() - start;
}

static void row(const char *name, const sonde_plot_matrix *m, int64_t n_panels, const char *ending, int64_t depth)
{
    double times[REPEATS];
    for (int i = 0; i < REPEATS; i++)
        times[i] = draw(m, n_panels, ending, depth);
    qsort(times, REPEATS, sizeof *times, compare);
    printf("%-34s %-9s %8.2f ms\n", name, *ending ? ending : depth ? "colour" : "plain", times[REPEATS / 2]);
}

int main(int argc, char **argv)
{
    static const char *const words[8] = {"<s>", " Once", " upon", " a", " time", ",", " there", "\n"};
    sonde_plot_matrix tokens = {.values = values, .n_rows = 17, .n_columns = 288, .row_labels = labels};
    sonde_plot_matrix wide = {.values = values, .n_rows = 64, .n_columns = 3072, .row_labels = labels};
    sonde_plot_matrix layers = {.values = values, .n_rows = 12, .n_columns = 500, .column_labels = labels};
    sonde_plot_matrix live = {.values = values, .n_rows = 32, .n_columns = 2000, .row_labels = labels};
    sonde_plot_matrix heads[36];

    snprintf(path, sizeof path, "%s", argc > 1 ? argv[1] : "/tmp");
    for (int64_t i = 0; i < MOST; i++)
        values[i] = (float)sonde_random_normal(1, 0, (uint64_t)i);
    for (int i = 0; i < 3072; i++)
        labels[i] = (sonde_plot_label){words[i % 8], -1};
    for (int i = 0; i < 36; i++)
        heads[i] = (sonde_plot_matrix){.values = values + 289 * i,
                                       .n_rows = 17,
                                       .n_columns = 17,
                                       .row_labels = labels,
                                       .column_labels = labels,
                                       .is_causal = 1,
                                       .title = "L0 H0"};

    printf("%-34s %-9s %8.2f ms\n", "17 x 288, first of the process", ".png", draw(&tokens, 1, ".png", 0));
    for (int e = 0; e < 3; e++) {
        static const char *const endings[3] = {".png", ".svg", ".pdf"};
        row("17 x 288", &tokens, 1, endings[e], 0);
        row("64 x 3072", &wide, 1, endings[e], 0);
        row("12 x 500, labels below", &layers, 1, endings[e], 0);
        row("36 panels of 17 x 17", heads, 36, endings[e], 0);
    }
    row("32 x 2000", &live, 1, "", SONDE_PLOT_DEPTH_NONE);
    row("32 x 2000", &live, 1, "", SONDE_PLOT_DEPTH_TRUE);
    row("36 panels of 17 x 17", heads, 36, "", SONDE_PLOT_DEPTH_TRUE);
    return 0;
}
