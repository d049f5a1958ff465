/* pictures.c - pictures of toy models, in the paper's manner.                  floor 8: toy
 *
 *   lines    curves over steps, or over sparsity
 *   arrows   rows of W in two dimensions, from the origin, a panel for each model; colours are importance, or which set a feature is of
 *   grams    W W^T, features in order of importance, and the bias behind a gap: the diagonal is what a feature gives itself, the rest interference
 *   stacks   a bar for each feature, as long as |W_i|, coloured by how much of its direction others have
 *
 * Colours are those of sonde's other pictures, whose lightness alone tells the value.
 */
#include "toy/experiment.h"

#include <math.h>

/* A path, drawn to, and freed. */
#define DRAW(status, path, call) \
    do {                         \
        (status) = (call);       \
        sondep_free(path);       \
    } while (0)

/* Whatever is drawn over. */
sonde_status sondep_toy_draw_lines(sondep_toy_run *r, const char *name, const char *caption, const sonde_plot_series *series,
                                   int64_t n, const sonde_plot_opts *opts)
{
    sonde_plot_opts o = *opts;
    char *path;
    sonde_status status;

    o.title = o.title != NULL ? o.title : r->experiment->title;
    SONDE_TRY(sondep_toy_picture_path(&path, r, name, caption));
    DRAW(status, path, sonde_plot_lines(path, series, n, &o));
    return status;
}

/* As the paper draws them. */
void sondep_toy_sparsity_axes(sonde_plot_opts *out, const char *y_name)
{
    sonde_plot_opts_init(out);
    out->x_name = "1 / density";
    out->y_name = y_name;
    out->x_log = 1;
    out->y_low = 0.0;
}

/* From the origin to each row, over a faint cross. */
static sonde_status arrows_of(sonde_plot_shape *shapes, const float *w, const double *values, int64_t n)
{
    shapes[0] = (sonde_plot_shape){SONDE_PLOT_SHAPE_LINE, -1.5, 0, 1.5, 0, 0.5, NAN, -1};
    shapes[1] = (sonde_plot_shape){SONDE_PLOT_SHAPE_LINE, 0, -1.5, 0, 1.5, 0.5, NAN, -1};
    for (int64_t i = 0; i < n; i++)
        /* an arrow from the middle */
        shapes[2 + i] = (sonde_plot_shape){SONDE_PLOT_SHAPE_ARROW, 0, 0, w[2 * i], w[2 * i + 1], 2, values[i], 0};
    return SONDE_OK;
}

/* All panels have the same scale, so that lengths can be compared. */
sonde_status sondep_toy_draw_arrows(sondep_toy_run *r, const char *name, const char *caption, const char *title,
                                    const float *const *w, const char *const *titles, const double *values,
                                    const char *value_name, int64_t n_models, int64_t n)
{
    sonde_plot_drawing *panels = NULL;
    sonde_plot_shape *shapes = NULL;
    sonde_plot_opts o;
    char *path;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(panels, n_models));
    SONDE_TRY_DONE(SONDE_NEW(shapes, n_models * (n + 2)));
    for (int64_t k = 0; k < n_models; k++) {
        SONDE_TRY_DONE(arrows_of(shapes + k * (n + 2), w[k], values + k * n, n));
        panels[k] = (sonde_plot_drawing){titles[k], shapes + k * (n + 2), n + 2, -1.5, 1.5, -1.5, 1.5, 0};
    }
    sonde_plot_opts_init(&o);
    o.title = title;
    o.value_name = value_name;
    SONDE_TRY_DONE(sondep_toy_picture_path(&path, r, name, caption));
    DRAW(status, path, sonde_plot_drawings(path, panels, n_models, &o));
done:
    sondep_free(panels);
    sondep_free(shapes);
    return status;
}

/* W W^T (n,n), and the bias behind a gap as a column of its own. */
static void gram_of(float *out, const float *w, const float *b, int64_t n, int64_t m)
{
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = 0.0;
            for (int64_t k = 0; k < m; k++)
                sum += (double)w[i * m + k] * w[j * m + k];
            out[i * (n + 2) + j] = (float)sum;
        }
        out[i * (n + 2) + n + 1] = b[i];
    }
}

/* All panels have one range of colours; a diagonal of 1 is not at its end. */
sonde_status sondep_toy_draw_grams(sondep_toy_run *r, const char *name, const char *caption, const char *title,
                                   const float *const *w, const float *const *b, const char *const *titles, int64_t n_models,
                                   int64_t n, int64_t m)
{
    sonde_plot_matrix *panels = NULL;
    float *values = NULL;
    unsigned char *mask = NULL;
    sonde_plot_opts o;
    char *path;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(panels, n_models));
    SONDE_TRY_DONE(SONDE_NEW(values, n_models * n * (n + 2)));
    SONDE_TRY_DONE(SONDE_NEW(mask, n * (n + 2)));
    /* a gap between the matrix and the bias */
    for (int64_t i = 0; i < n; i++)
        mask[i * (n + 2) + n] = 1;
    for (int64_t k = 0; k < n_models; k++) {
        gram_of(values + k * n * (n + 2), w[k], b[k], n, m);
        panels[k] = (sonde_plot_matrix){
            .values = values + k * n * (n + 2), .n_rows = n, .n_columns = n + 2, .mask = mask, .title = titles[k]};
    }
    sonde_plot_opts_init(&o);
    o.title = title;
    o.low = -1.2;
    o.high = 1.2;
    o.colours = SONDE_PLOT_COLOURS_DIVERGING;
    o.value_name = "W W^T, and b at the right";
    SONDE_TRY_DONE(sondep_toy_picture_path(&path, r, name, caption));
    DRAW(status, path, sonde_plot_panels(path, panels, n_models, &o));
done:
    sondep_free(panels);
    sondep_free(values);
    sondep_free(mask);
    return status;
}

/* The first feature at the top. */
static void stack_of(sonde_plot_shape *shapes, const double *norms, const double *interference, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        shapes[i] = (sonde_plot_shape){SONDE_PLOT_SHAPE_BOX,  0, (double)(n - i) - 0.1, norms[i],
                                       (double)(n - i) - 0.9, 0, interference[i],       0};
}

/* Interference above 1 has the last colour. */
sonde_status sondep_toy_draw_stacks(sondep_toy_run *r, const char *name, const char *caption, const char *title,
                                    const float *const *w, const char *const *titles, int64_t n_models, int64_t n, int64_t m)
{
    sonde_plot_drawing *panels = NULL;
    sonde_plot_shape *shapes = NULL;
    double *norms = NULL, *interference = NULL;
    sonde_plot_opts o;
    char *path;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(panels, n_models));
    SONDE_TRY_DONE(SONDE_NEW(shapes, n_models * n));
    SONDE_TRY_DONE(SONDE_NEW(norms, n));
    SONDE_TRY_DONE(SONDE_NEW(interference, n));
    for (int64_t k = 0; k < n_models; k++) {
        /* length and colour of each bar */
        sonde_toy_features(norms, interference, NULL, w[k], n, m);
        stack_of(shapes + k * n, norms, interference, n);
        panels[k] = (sonde_plot_drawing){titles[k], shapes + k * n, n, 0, 1.3, 0, (double)n, 1};
    }
    sonde_plot_opts_init(&o);
    o.title = title;
    o.low = 0.0;
    o.high = 1.0;
    o.value_name = "interference: sum over others of (W_i/|W_i| . W_j)^2; length of a bar: |W_i|";
    SONDE_TRY_DONE(sondep_toy_picture_path(&path, r, name, caption));
    DRAW(status, path, sonde_plot_drawings(path, panels, n_models, &o));
done:
    sondep_free(panels);
    sondep_free(shapes);
    sondep_free(norms);
    sondep_free(interference);
    return status;
}
