/* compare.h - what `sonde compare` is made of: two sides, and a matrix of each measure.   floor 10: cli */
#ifndef CLI_COMPARE_H
#define CLI_COMPARE_H

#include "picture.h"

/* What was asked for: tokens or layers, which measure is shown, how many pairs are listed. */
enum { BY_TOKEN, BY_LAYER };
typedef struct compare_settings {
    int64_t by, measure, n_top;
    const char *positions; /* of --pos, or NULL */
} compare_settings;
extern compare_settings compare_asked;

/* One text: chosen positions and, for each point, their rows. */
typedef struct side {
    const cli_subject *text;
    int64_t *positions, n;
    float **rows;             /* (n_wanted): (n, width) */
    int64_t *width;           /* (n_wanted) */
    sonde_plot_label *labels; /* (n) */
} side;

/* A matrix of each measure. */
typedef struct result {
    double *values[SONDE_N_SIMILARITIES];
    int64_t n_rows, n_columns;
} result;

typedef struct comparison {
    cli_model m;
    const sonde_hook_point *points;
    int64_t n_points, *wanted, n_wanted; /* wanted: indices into points */
    cli_subject *texts;
    int64_t n_texts;
    side sides[2];   /* of one text: the second is a copy of the first */
    result *results; /* by token: (n_wanted); by layer: one */
    int64_t n_results;
    char (*layers)[64]; /* labels of the points */
    char what[128];     /* what all points are together: "blocks.*.hook_resid_post", for titles */
} comparison;

/* The i-th hook point that is compared. */
const sonde_hook_point *compare_point(const comparison *c, int64_t i);

/* Prints the results as tables or JSON, and writes the file of -o. */
sonde_status compare_show(const comparison *c);

#endif
