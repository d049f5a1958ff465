/* cli/picture.h - what the commands that look at one text share: the text, its rows, pictures.   floor 10: cli */
#ifndef CLI_PICTURE_H
#define CLI_PICTURE_H

#include "cli.h"

#include <sonde/analysis.h>
#include <sonde/plot.h>

/* ---- texts to look at -------------------------------------------------------------------------------------------- */

/* --exclude-bos: leave the BOS token out; its activations are often a hundred times as large as all others. */
extern bool cli_exclude_bos;
extern const cli_option cli_bos_options[];

/* One text, whole, with the labels of its tokens. `first` is 1 where BOS is left out, else 0. */
typedef struct cli_subject {
    int32_t *ids;
    int64_t n, first;
    bool has_bos;
    sonde_plot_label *labels; /* (n) raw bytes of the tokens, or #id */
    char (*numbers)[16];      /* (n) what the labels without bytes point to */
} cli_subject;

/* Reads all texts that were given; more than `max` of them, or a text without tokens, is an error.
 * Owns: *out is the caller's: cli_subjects_free. */
sonde_status cli_subjects_read(cli_subject **out, int64_t *n, cli_model *m, const char *const *texts, int n_texts,
                               int64_t max);
void cli_subjects_free(cli_subject *subjects, int64_t n);

/* "BOS included", "BOS left out", "no BOS": what every output says. */
const char *cli_bos_text(const cli_subject *subject);

/* Runs the model over a subject; what the run captures is there afterwards. */
sonde_status cli_subject_forward(sonde_run *run, const cli_subject *subject);

/* Activations of a captured point as one row for each token, BOS left out if asked: (n - first, width).
 * Owns: *out is the caller's (free). */
sonde_status cli_subject_rows(float **out, int64_t *width, const sonde_run *run, const sonde_hook_point *point,
                              const cli_subject *subject);

/* [{"position", "id", "token"}, ...] of the tokens that count. */
json_t *cli_subject_json(const cli_subject *subject);

/* A label as JSON (bytes that are not UTF-8 as U+FFFD) and as text for tables (escaped; free). */
json_t *cli_label_json(sonde_plot_label label);

/* The last part of a path, and the part of a hook's name behind "blocks.N.". */
const char *cli_base_name(const char *path);
const char *cli_hook_suffix(const sonde_hook_point *point);

/* ---- pictures ---------------------------------------------------------------------------------------------------- */

typedef struct cli_picture_settings {
    const char *output, *title, *range;
    int64_t colours; /* sonde_plot_colours */
    bool values;
} cli_picture_settings;
extern cli_picture_settings cli_picture;
extern const cli_option cli_picture_options[]; /* -o --map --range --title --values */

/* Fills options from --map, --range, --title, --values and the terminal. */
sonde_status cli_picture_opts(sonde_plot_opts *out);

/* Whether a path ends in .png, .svg or .pdf. */
bool cli_is_picture(const char *path);

/* One matrix (n_panels 1) or several side by side: to the file of -o, or to stdout as text. */
sonde_status cli_draw(const sonde_plot_matrix *panels, int64_t n_panels, const sonde_plot_opts *opts);

#endif
