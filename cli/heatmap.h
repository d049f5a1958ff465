/* heatmap.h - what `sonde heatmap` is made of: a view of one text, and the picture in the making.   floor 10: cli */
#ifndef CLI_HEATMAP_H
#define CLI_HEATMAP_H

#include "picture.h"

/* What was asked for: --stat, --neurons (NULL where not given), --head, --threshold. */
typedef struct heatmap_settings {
    const char *statistic, *neurons;
    cli_strings heads;
    double threshold;
} heatmap_settings;
extern heatmap_settings heatmap_asked;

/* A picture in the making: one matrix, or one for each head. Values and labels are its own. */
typedef struct picture {
    const char *kind; /* for JSON */
    sonde_plot_matrix *panels;
    int64_t n_panels;
    float **values;           /* (n_panels) */
    char (*titles)[48];       /* (n_panels) */
    sonde_plot_label *labels; /* rows or columns that are not tokens, or NULL */
    char (*texts)[32];        /* what labels point to */
    sonde_plot_opts opts;
    char title[256], subtitle[256];
} picture;

/* One text, the points that were asked for, and a run. */
typedef struct view {
    cli_model m;
    const sonde_hook_point *points;
    int64_t n_points, *wanted, n_wanted; /* wanted: indices into points */
    cli_subject *text;
    int64_t n_texts;
    sonde_run *run;
} view;

/* The i-th hook point that is drawn. */
const sonde_hook_point *heatmap_point(const view *v, int64_t i);

/* Fills a picture from what the run captured: what is drawn follows from the hook points and --stat.
 * Errors: SONDE_E_ARG where an option does not go with the picture; `p` may be half-filled, heatmap_release frees it. */
sonde_status heatmap_build(picture *p, const view *v);
void heatmap_release(picture *p);

#endif
