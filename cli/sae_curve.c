/* sae_curve.c - the learning curve of an autoencoder: kept, written, drawn.      floor 10: cli
 *
 * The file holds nothing that a clock says, so that a training that was resumed leaves the same bytes as one that was not.
 */
#include "sae.h"

#include <sonde/plot.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SMOOTH = 200, LINE = 1024 }; /* points of the drawn curve: means of as many equal pieces; bytes of a line */

/* The curve grows by doubling. */
sonde_status sae_curve_add(sae_curve *curve, const sae_point *point)
{
    CLI_TRY(CLI_GROW(curve->points, curve->n, curve->capacity));
    curve->points[curve->n++] = *point;
    return SONDE_OK;
}

/* From the end. */
const sae_point *sae_curve_last(const sae_curve *curve, bool is_held_out)
{
    for (int64_t i = curve->n - 1; i >= 0; i--)
        if (!is_held_out || isfinite(curve->points[i].held_out_variance))
            return &curve->points[i];
    return NULL;
}

/* A number between commas; an empty one is NAN. */
static double read_field(char **at)
{
    char *end;
    double x = strtod(*at, &end);

    x = end == *at ? NAN : x;
    *at = *end == ',' ? end + 1 : end;
    return x;
}

/* A first run has no file: that is an empty curve. */
sonde_status sae_curve_read(sae_curve *curve, const char *folder, int64_t last_step)
{
    FILE *file = fopen(training_path(folder, "curve.csv"), "rb");
    char line[LINE];
    sonde_status status = SONDE_OK;

    if (file == NULL)
        return SONDE_OK;
    while (status == SONDE_OK && fgets(line, sizeof line, file) != NULL) {
        char *at = line;
        sae_point p = {.step = (int64_t)read_field(&at)};
        /* the header, and what lies behind the state that is resumed */
        if (line[0] < '0' || line[0] > '9' || p.step > last_step)
            continue;
        /* in the order of the header, which comes from the same list */
        p.n_rows = (int64_t)read_field(&at);
#define READ(name, column) p.name = read_field(&at);
        SAE_CURVE_FIELDS(READ)
#undef READ
        status = sae_curve_add(curve, &p);
    }
    fclose(file);
    return status;
}

/* A number that reads back as it was, or nothing. */
static void print_field(FILE *to, double x)
{
    if (isfinite(x))
        fprintf(to, ",%.9g", x);
    else
        fputc(',', to);
}

/* Header and lines come from the one list of fields. */
sonde_status sae_curve_write(const sae_curve *curve, const char *folder)
{
    training_memory m;
    FILE *to;

    CLI_TRY(training_memory_open(&m));
    to = m.to;
    fputs("step,rows", to);
#define PRINT(name, column) fputs("," column, to);
    SAE_CURVE_FIELDS(PRINT)
#undef PRINT
    fputc('\n', to);
    for (int64_t i = 0; i < curve->n; i++) {
        const sae_point *p = &curve->points[i];
        fprintf(to, "%lld,%lld", (long long)p->step, (long long)p->n_rows);
#define PRINT(name, column) print_field(to, p->name);
        SAE_CURVE_FIELDS(PRINT)
#undef PRINT
        fputc('\n', to);
    }
    return training_memory_close(&m, folder, "curve.csv");
}

/* Tags and values come from the one list of fields. */
sonde_status sae_curve_write_events(const sae_curve *curve, const char *folder)
{
#define TAG(name, column) column,
    static const char *const tags[] = {SAE_CURVE_FIELDS(TAG)};
#undef TAG
    training_memory m;

    CLI_TRY(training_memory_open(&m));
    training_events_begin(m.to);
    for (int64_t i = 0; i < curve->n; i++) {
        const sae_point *p = &curve->points[i];
#define VALUE(name, column) p->name,
        double values[] = {SAE_CURVE_FIELDS(VALUE)};
#undef VALUE
        training_events_add(m.to, p->step, tags, values, sizeof tags / sizeof *tags);
    }
    return training_memory_close(&m, folder, TRAINING_EVENTS);
}

/* What is not explained, as means of equal pieces of the training. Returns how many points there are. */
static int64_t smooth(double *x, double *y, const sae_curve *curve)
{
    int64_t n = curve->n < SMOOTH ? curve->n : SMOOTH;

    for (int64_t i = 0; i < n; i++) {
        int64_t first = i * curve->n / n, end = (i + 1) * curve->n / n;
        x[i] = y[i] = 0;
        for (int64_t k = first; k < end; k++) {
            x[i] += (double)curve->points[k].n_rows / 1e6 / (double)(end - first);
            y[i] += (1.0 - curve->points[k].explained_variance) / (double)(end - first);
        }
    }
    return n;
}

/* The points at which held-out text was measured. */
static int64_t held_out(double *x, double *y, const sae_curve *curve)
{
    int64_t n = 0;

    for (int64_t i = 0; i < curve->n; i++)
        if (isfinite(curve->points[i].held_out_variance)) {
            x[n] = (double)curve->points[i].n_rows / 1e6;
            y[n++] = 1.0 - curve->points[i].held_out_variance;
        }
    return n;
}

/* What is not explained falls: on a picture that is easier to see than a share near 1. */
sonde_status sae_curve_draw(const sae_curve *curve, const char *folder, const char *subtitle)
{
    sonde_plot_opts opts;
    sonde_plot_series series[2] = {{.name = "training"}, {.name = "held-out"}};
    double *numbers;
    sonde_status status;

    /* a line needs two points */
    if (curve->n < 2)
        return SONDE_OK;
    CLI_TRY(CLI_NEW(numbers, 2 * SMOOTH + 2 * curve->n));
    series[0] = (sonde_plot_series){"training", numbers, numbers + SMOOTH, smooth(numbers, numbers + SMOOTH, curve)};
    series[1] = (sonde_plot_series){"held-out", numbers + 2 * SMOOTH, numbers + 2 * SMOOTH + curve->n, 0};
    series[1].n = held_out(numbers + 2 * SMOOTH, numbers + 2 * SMOOTH + curve->n, curve);
    sonde_plot_opts_init(&opts);
    opts.title = "Variance that is not explained";
    opts.subtitle = subtitle;
    opts.x_name = "activations seen, millions";
    opts.y_name = "1 - explained variance";
    status = sonde_plot_lines(training_path(folder, "curve.png"), series, series[1].n > 0 ? 2 : 1, &opts);
    free(numbers);
    return status;
}
