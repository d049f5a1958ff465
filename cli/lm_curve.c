/* lm_curve.c - the learning curve of a training: kept, written, drawn.         floor 10: cli
 *
 * The file holds nothing that a clock says, so that a training that was resumed leaves the same bytes as one that was not.
 */
#include "lm.h"

#include <sonde/plot.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char header[] = "step,tokens,loss,lr,gradient_norm,held_out_loss,held_out_bits_per_byte\n";
enum { SMOOTH = 200 }; /* points of the drawn curve: means of as many equal pieces */

/* The curve grows by doubling. */
sonde_status lm_curve_add(lm_curve *curve, const lm_point *point)
{
    CLI_TRY(CLI_GROW(curve->points, curve->n, curve->capacity));
    curve->points[curve->n++] = *point;
    return SONDE_OK;
}

/* An empty curve, too. */
void lm_curve_free(lm_curve *curve)
{
    free(curve->points);
    *curve = (lm_curve){0};
}

/* What a training that has no step yet stands at. */
lm_point lm_curve_last(const lm_curve *curve)
{
    static const lm_point none = {.loss = NAN, .lr = NAN, .gradient_norm = NAN, .held_out_loss = NAN, .held_out_bits = NAN};
    return curve->n > 0 ? curve->points[curve->n - 1] : none;
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

/* Lines behind the last checkpoint are of steps that were lost: they come again. */
sonde_status lm_curve_read(lm_curve *curve, const char *folder, int64_t last_step)
{
    FILE *file = fopen(training_path(folder, "curve.csv"), "rb");
    char line[256];
    sonde_status status = SONDE_OK;

    /* a first run has no file: that is an empty curve */
    if (file == NULL)
        return SONDE_OK;
    while (status == SONDE_OK && fgets(line, sizeof line, file) != NULL) {
        char *at = line;
        lm_point p = {.step = (int64_t)read_field(&at)};
        /* the header, and what lies behind the state that is resumed */
        if (line[0] < '0' || line[0] > '9' || p.step > last_step)
            continue;
        /* the order of the header */
        p.n_tokens = (int64_t)read_field(&at);
        p.loss = read_field(&at);
        p.lr = read_field(&at);
        p.gradient_norm = read_field(&at);
        p.held_out_loss = read_field(&at);
        p.held_out_bits = read_field(&at);
        status = lm_curve_add(curve, &p);
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

/* All of it, in one go. */
sonde_status lm_curve_write(const lm_curve *curve, const char *folder)
{
    training_memory m;
    FILE *to;

    CLI_TRY(training_memory_open(&m));
    to = m.to;
    fputs(header, to);
    for (int64_t i = 0; i < curve->n; i++) {
        const lm_point *p = &curve->points[i];
        fprintf(to, "%lld,%lld", (long long)p->step, (long long)p->n_tokens);
        print_field(to, p->loss);
        print_field(to, p->lr);
        print_field(to, p->gradient_norm);
        print_field(to, p->held_out_loss);
        print_field(to, p->held_out_bits);
        fputc('\n', to);
    }
    return training_memory_close(&m, folder, "curve.csv");
}

/* Means of equal pieces of the training losses: single steps scatter more than they tell. Returns how many points there are. */
static int64_t smooth(double *x, double *y, const lm_curve *curve)
{
    int64_t n = curve->n < SMOOTH ? curve->n : SMOOTH;

    for (int64_t i = 0; i < n; i++) {
        /* pieces of as many steps as can be, give or take one */
        int64_t first = i * curve->n / n, end = (i + 1) * curve->n / n;
        double tokens = 0, loss = 0;
        for (int64_t k = first; k < end; k++) {
            tokens += (double)curve->points[k].n_tokens / 1e6;
            loss += curve->points[k].loss;
        }
        x[i] = tokens / (double)(end - first);
        y[i] = loss / (double)(end - first);
    }
    return n;
}

/* The points at which held-out text was measured. */
static int64_t held_out(double *x, double *y, const lm_curve *curve)
{
    int64_t n = 0;

    for (int64_t i = 0; i < curve->n; i++)
        if (isfinite(curve->points[i].held_out_loss)) {
            x[n] = (double)curve->points[i].n_tokens / 1e6;
            y[n++] = curve->points[i].held_out_loss;
        }
    return n;
}

/* Training smoothed, held-out as it was measured. */
sonde_status lm_curve_draw(const lm_curve *curve, const char *folder, const char *subtitle)
{
    sonde_plot_opts opts;
    sonde_plot_series series[2] = {{.name = "training"}, {.name = "held-out"}};
    double *numbers;
    sonde_status status;

    /* a line needs two points */
    if (curve->n < 2)
        return SONDE_OK;
    /* x and y of the smoothed curve, then those of the held-out one, in one block */
    CLI_TRY(CLI_NEW(numbers, 2 * SMOOTH + 2 * curve->n));
    series[0] = (sonde_plot_series){"training", numbers, numbers + SMOOTH, smooth(numbers, numbers + SMOOTH, curve)};
    series[1] = (sonde_plot_series){"held-out", numbers + 2 * SMOOTH, numbers + 2 * SMOOTH + curve->n, 0};
    series[1].n = held_out(numbers + 2 * SMOOTH, numbers + 2 * SMOOTH + curve->n, curve);
    sonde_plot_opts_init(&opts);
    opts.title = "Learning curve";
    opts.subtitle = subtitle;
    opts.x_name = "tokens seen, millions";
    opts.y_name = "cross-entropy, nats per token";
    status = sonde_plot_lines(training_path(folder, "curve.png"), series, series[1].n > 0 ? 2 : 1, &opts);
    free(numbers);
    return status;
}
