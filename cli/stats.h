/* stats.h - what `sonde stats` is made of: one survey of texts at some hook points.     floor 10: cli */
#ifndef CLI_STATS_H
#define CLI_STATS_H

#include "picture.h"

/* What was asked for: --by, --top, --rank (a sonde_rank), --threshold. */
enum { BY_AUTO, BY_TOKEN, BY_NEURON };
typedef struct stats_settings {
    int64_t by, n_top, rank;
    double threshold;
} stats_settings;
extern stats_settings stats_asked;

/* A token that was counted, in the order in which it was. */
typedef struct counted {
    int64_t sequence, position;
    int32_t id;
} counted;

/* One pass over the texts: which points, what of the present batch is left out, which tokens were counted. */
typedef struct survey {
    cli_model m;
    const sonde_hook_point *points;
    int64_t n_points, *wanted, n_wanted; /* wanted: indices into points */
    sonde_stats **stats;                 /* (n_wanted) */
    struct listener {
        struct survey *survey;
        sonde_stats *stats;
    } * listeners;
    sonde_run *run;
    bool *leave_out; /* (B,T) of the present batch */
    counted *tokens; /* only if they are listed */
    int64_t n_tokens, capacity, n_counted, n_sequences, n_bos;
    bool lists_tokens;
} survey;

/* Prints what was found, as tables or as JSON. */
sonde_status stats_print_tables(const survey *s);
sonde_status stats_print_json(const survey *s);

#endif
