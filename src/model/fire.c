/* fire.c - events of a pass, and the check that their values are finite.       floor 5: model */
#include "model/fire.h"

#include <math.h>

/* Names the place of a value that is not finite: row and column of a point. */
static sonde_status fail_nonfinite(const sondep_pass *pass, sondep_point_kind kind, int64_t layer, int64_t row,
                                   int64_t column, float value)
{
    const sondep_batch *batch = pass->batch;
    const sondep_points *points = &pass->model->points;
    int64_t b = 0;

    /* The sequence that holds the row; empty sequences hold none. */
    while (b + 1 < batch->B && batch->offset[b + 1] <= row)
        b++;
    return SONDE_FAIL(SONDE_E_NONFINITE, "'%s' is %g at sequence %lld, position %lld, column %lld",
                      points->points[sondep_point(points, kind, layer)].name, (double)value, (long long)b,
                      (long long)batch->position[row], (long long)column);
}

sonde_status sondep_check_finite(const sondep_pass *pass, sondep_point_kind kind, int64_t layer, const float *data,
                                 int64_t ld, int64_t width, int64_t n_lines, const int64_t *rows, int64_t first)
{
    /* Lines without gaps are one long line, which is looked through at once by all threads. */
    int64_t n_pieces = ld == width ? 1 : n_lines, piece = ld == width ? n_lines * width : width;

    for (int64_t i = 0; i < n_pieces; i++) {
        int64_t at = sondep_find_nonfinite(data + i * ld, piece, false);
        if (at >= 0) {
            int64_t line = first + i + at / width;
            return fail_nonfinite(pass, kind, layer, rows ? rows[line] : line, at % width, data[i * ld + at]);
        }
    }
    return SONDE_OK;
}

sonde_status sondep_fire(const sondep_pass *pass, sondep_point_kind kind, int64_t layer, float *data, int64_t ld,
                         int64_t width)
{
    sondep_values values = {.data = data, .ld = ld, .width = width};

    /* The byte test that an unhooked point costs. */
    if (sondep_wanted(pass, kind, layer) == 0)
        return SONDE_OK;
    SONDE_TRY(sondep_check_finite(pass, kind, layer, data, ld, width, pass->batch->N, NULL, 0));
    return pass->hooks->fire(sondep_point(&pass->model->points, kind, layer), &values, pass->hooks->ctx);
}

sonde_status sondep_fire_scores(const sondep_pass *pass, sondep_point_kind kind, int64_t layer, float *data)
{
    const sondep_batch *batch = pass->batch;
    int64_t point = sondep_point(&pass->model->points, kind, layer);
    sondep_values values = {.data = data, .n_keys = batch->most_keys};
    int64_t at;

    if (pass->hooks->wanted[point] == 0)
        return SONDE_OK;
    /* Masked entries are -inf by definition; anything else that is not finite is a fault. */
    at = sondep_find_nonfinite(data, batch->B * pass->model->config.n_heads * batch->T * batch->most_keys, true);
    if (at >= 0)
        return SONDE_FAIL(SONDE_E_NONFINITE, "'%s' is %g at element %lld", pass->model->points.points[point].name,
                          (double)data[at], (long long)at);
    return pass->hooks->fire(point, &values, pass->hooks->ctx);
}
