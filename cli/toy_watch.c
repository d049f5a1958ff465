/* toy_watch.c - toy models while they train: their weights as arrows in the terminal, and the loss.     floor 10: cli
 *
 * In a terminal the picture is drawn over the last one, ten times a second at most; into a file go lines. Without --watch there is a line of
 * progress, in a terminal alone. Models of other than two hidden numbers have no picture, only the line.
 */
#include "toy.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Characters of a model's picture, and how many stand beside each other. */
enum { WIDE = 25, HIGH = 13, MOST_MODELS = 3 };
static const double reach = 1.4; /* of the picture, in lengths */

/* Rows W_i of one model: a line of dots from the middle, the number of the feature at its end. */
static void draw_model(char canvas[HIGH][WIDE + 1], const float *w, int64_t n)
{
    for (int y = 0; y < HIGH; y++) {
        memset(canvas[y], ' ', WIDE);
        canvas[y][WIDE] = '\0';
    }
    canvas[HIGH / 2][WIDE / 2] = '+';
    for (int64_t i = 0; i < n; i++)
        for (int step = 1; step <= 12; step++) {
            double t = step / 12.0;
            long x = lrint((WIDE - 1) / 2.0 * (1.0 + t * w[2 * i] / reach)),
                 y = lrint((HIGH - 1) / 2.0 * (1.0 - t * w[2 * i + 1] / reach));
            if (x < 0 || x >= WIDE || y < 0 || y >= HIGH)
                continue;
            if (step == 12)
                canvas[y][x] = "0123456789abcdefghijklmnopqrstuvwxyz"[i % 36];
            else if (canvas[y][x] == ' ')
                canvas[y][x] = '.';
        }
}

/* Some models of two hidden numbers side by side; the last picture is covered. */
static void draw_models(toy_watch *watch, sonde_toy *toy)
{
    const sonde_toy_opts *o = sonde_toy_get_opts(toy);
    int64_t n = o->n_instances < MOST_MODELS ? o->n_instances : MOST_MODELS;
    static char canvas[MOST_MODELS][HIGH][WIDE + 1];

    /* spread over all instances, which go from dense to sparse */
    for (int64_t k = 0; k < n; k++)
        draw_model(canvas[k], sonde_toy_weights(toy, n > 1 ? k * (o->n_instances - 1) / (n - 1) : 0), o->n_features);
    for (int y = 0; y < HIGH; y++) {
        for (int64_t k = 0; k < n; k++)
            fprintf(stderr, "%s  ", canvas[k][y]);
        fputc('\n', stderr);
    }
    watch->n_lines += HIGH;
}

/* Mean of the losses of all instances: of the steps since the last look, not since the beginning.
 * Instances of other densities have other losses; what is seen is whether it still falls. */
static double mean_loss(const sonde_toy *toy, const double *losses)
{
    int64_t n = sonde_toy_get_opts(toy)->n_instances;
    double sum = 0.0;

    for (int64_t i = 0; i < n; i++)
        sum += losses[i] / (double)n;
    return sum;
}

/* A line in place of the last one, ten times a second at most; with --watch the weights above it. */
sonde_status toy_watch_step(sonde_toy *toy, const double *losses, void *ctx)
{
    toy_watch *watch = ctx;
    const sonde_toy_opts *o = sonde_toy_get_opts(toy);
    double now = cli_seconds();
    bool is_terminal = isatty(STDERR_FILENO), is_last = sonde_toy_steps(toy) == o->steps;

    CLI_TRY(cli_check_interrupt());
    if (cli.quiet || (!watch->is_seen && !is_terminal) || (now - watch->last < 0.1 && !is_last && is_terminal))
        return SONDE_OK;
    watch->last = now;
    /* up to where the last picture began */
    if (is_terminal && watch->n_lines > 0)
        fprintf(stderr, "\033[%lldA\033[J", (long long)watch->n_lines);
    watch->n_lines = 0;
    if (watch->is_seen && o->n_hidden == 2)
        draw_models(watch, toy);
    fprintf(stderr, "%s: step %lld of %lld, %lld models, loss %.6g\n", watch->name, (long long)sonde_toy_steps(toy),
            (long long)o->steps, (long long)o->n_instances, mean_loss(toy, losses));
    watch->n_lines++;
    return SONDE_OK;
}

/* What was drawn goes, unless somebody wanted to see it. */
void toy_watch_end(toy_watch *watch)
{
    if (isatty(STDERR_FILENO) && watch->n_lines > 0 && !watch->is_seen)
        fprintf(stderr, "\033[%lldA\033[J", (long long)watch->n_lines);
    watch->n_lines = 0;
}

/* Only the folder itself: those above it must be there. */
sonde_status toy_make_folder(const char *path)
{
    struct stat info;

    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return cli_fail(SONDE_E_IO, "'%s' cannot be made: %s", path, strerror(errno));
    /* before anything is trained */
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        return cli_fail(SONDE_E_ARG, "'%s' is a file, not a folder", path);
    return SONDE_OK;
}
