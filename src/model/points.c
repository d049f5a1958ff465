/* points.c - the hook points that a model has, from its config.                floor 5: model
 *
 * The list of kinds stands in model.h. Here each kind becomes a named point of every layer, in the order in which a pass
 * reaches them: [before | block 0 | block 1 | ... | after]. All blocks have the same points, so that the index of a point is
 * that of its kind in block 0 and a multiple of the points of a block.
 */
#include "model/model.h"

#include <stdio.h>

/* The three parts of the list in model.h, as rows. */
#define ROW(kind, name, axes, by_default, condition) {SONDEP_POINT_##kind, name, axes, by_default, condition},
typedef struct point_row {
    sondep_point_kind kind;
    const char *name, *axes;
    bool by_default;
    int condition;
} point_row;
static const point_row rows_before[] = {SONDEP_POINTS_BEFORE(ROW)};
static const point_row rows_block[] = {SONDEP_POINTS_BLOCK(ROW)};
static const point_row rows_after[] = {SONDEP_POINTS_AFTER(ROW)};
#undef ROW

enum {
    N_BEFORE = sizeof rows_before / sizeof *rows_before,
    N_BLOCK = sizeof rows_block / sizeof *rows_block,
    N_AFTER = sizeof rows_after / sizeof *rows_after
};

/* Length of an axis; 0 for those that depend on the input. */
static int64_t axis_width(char letter, const sonde_config *config)
{
    switch (letter) {
    case 'D': return config->d_model;
    case 'H': return config->n_heads;
    case 'K': return config->n_kv_heads;
    case 'h': return config->d_head;
    case 'M': return config->d_mlp;
    case 'V': return config->n_vocab;
    case '1': return 1;
    default: return 0;
    }
}

/* A point whose condition the model does not meet is left out: it would never fire. */
static bool is_present(const point_row *row, const sonde_config *config)
{
    int has = (config->positions == SONDE_POSITIONS_LEARNED ? HAS_LEARNED : HAS_ROTARY) | (config->gated_mlp ? HAS_GATE : 0);
    return (row->condition & ~has) == 0;
}

/* Adds the points of one part; layer -1 is outside the blocks. Only layer 0 decides where a kind is first. */
static sonde_status add_rows(sondep_points *out, const point_row *rows, int n_rows, int layer, const sonde_config *config)
{
    for (int r = 0; r < n_rows; r++) {
        sonde_hook_point *point = &out->points[out->n];
        sondep_string name = {0};

        if (!is_present(&rows[r], config))
            continue;
        /* Names are owned by the list; the points borrow them. */
        if (layer >= 0)
            SONDE_TRY(sondep_string_printf(&name, "blocks.%d.%s", layer, rows[r].name));
        else
            SONDE_TRY(sondep_string_printf(&name, "%s", rows[r].name));
        out->names[out->n] = name.text;
        *point = (sonde_hook_point){.name = name.text,
                                    .axes = rows[r].axes,
                                    .rank = (int)strlen(rows[r].axes),
                                    .layer = layer,
                                    .fires_by_default = rows[r].by_default};
        for (int i = 0; i < point->rank; i++)
            point->width[i] = axis_width(rows[r].axes[i], config);
        if (layer <= 0)
            out->first[rows[r].kind] = out->n;
        out->n++;
    }
    return SONDE_OK;
}

sonde_status sondep_points_make(sondep_points *out, const sonde_config *config)
{
    int64_t n, per_layer;
    sonde_status status;

    *out = (sondep_points){0};
    /* A kind that stays at -1 is one that the model lacks. */
    for (int kind = 0; kind < SONDEP_N_POINT_KINDS; kind++)
        out->first[kind] = -1;
    SONDE_TRY_DONE(sondep_mul_i64(&n, config->n_layers, N_BLOCK, "number of hook points"));
    n += N_BEFORE + N_AFTER;
    SONDE_TRY_DONE(SONDE_NEW(out->points, n));
    SONDE_TRY_DONE(SONDE_NEW(out->names, n));
    SONDE_TRY_DONE(add_rows(out, rows_before, N_BEFORE, -1, config));
    /* Every layer has the same points, so a point of layer l is that of layer 0 and l steps on. */
    per_layer = out->n;
    for (int layer = 0; layer < config->n_layers; layer++) {
        SONDE_TRY_DONE(add_rows(out, rows_block, N_BLOCK, layer, config));
        if (layer == 0)
            out->per_layer = out->n - per_layer;
    }
    status = add_rows(out, rows_after, N_AFTER, -1, config);
done:
    if (status != SONDE_OK)
        sondep_points_release(out);
    return status;
}

void sondep_points_release(sondep_points *points)
{
    for (int64_t i = 0; i < points->n; i++)
        sondep_free(points->names[i]);
    sondep_free(points->names);
    sondep_free(points->points);
    *points = (sondep_points){0};
}
