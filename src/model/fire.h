/* model/fire.h - hook points seen from inside a pass.                          floor 5: model */
#ifndef SONDEP_FIRE_H
#define SONDEP_FIRE_H

#include "model/forward.h"

/* Modes with which a point is hooked: bits of sonde_hook_mode, 0 if nobody listens or the model lacks it. */
static inline int sondep_wanted(const sondep_pass *pass, sondep_point_kind kind, int64_t layer)
{
    int64_t point = sondep_point(&pass->model->points, kind, layer);
    return point < 0 ? 0 : pass->hooks->wanted[point];
}

/* Whether nobody listens at this point or behind it. `kind` is one that every model has. */
static inline bool sondep_finished_hooks(const sondep_pass *pass, sondep_point_kind kind, int64_t layer)
{
    return sondep_point(&pass->model->points, kind, layer) > pass->hooks->last;
}

/* The same, and nobody wants logits or a tape either: the pass may end here. */
static inline bool sondep_finished(const sondep_pass *pass, sondep_point_kind kind, int64_t layer)
{
    return pass->logits == SONDE_LOGITS_NONE && pass->stream == NULL && pass->tape == NULL &&
           sondep_finished_hooks(pass, kind, layer);
}

/* Hands rows of tokens to whoever listens at a point: N rows of `width` floats, `ld` apart. The values are checked to be
 * finite first. */
sonde_status sondep_fire(const sondep_pass *pass, sondep_point_kind kind, int64_t layer, float *data, int64_t ld,
                         int64_t width);

/* The same for dense scores or patterns (B, H, T, n_keys), where -inf is a masked entry. */
sonde_status sondep_fire_scores(const sondep_pass *pass, sondep_point_kind kind, int64_t layer, float *data);

/* SONDE_OK, or SONDE_E_NONFINITE naming point, sequence, position and column. Line i of the data belongs to row
 * rows[first + i] of the batch, or to row first + i where `rows` is NULL. */
sonde_status sondep_check_finite(const sondep_pass *pass, sondep_point_kind kind, int64_t layer, const float *data,
                                 int64_t ld, int64_t width, int64_t n_lines, const int64_t *rows, int64_t first);

#endif
