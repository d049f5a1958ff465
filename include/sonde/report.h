/* sonde/report.h - pages that people read.                                     floor 9: report */
#ifndef SONDE_REPORT_H
#define SONDE_REPORT_H

#include <sonde/sae.h>
#include <sonde/toy.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sonde_dash_opts {
    size_t struct_size;
    const char *title;   /* NULL: from the model and the hook point */
    int64_t n_examples;  /* of each feature at most; 0: as many as keep the page below some 50 MB */
    int64_t n_documents; /* texts that are shown whole at most; -1: all that the database has */
} sonde_dash_opts;

/* The defaults. Owns: nothing. Errors: none. */
SONDE_API void sonde_dash_opts_init(sonde_dash_opts *out);

typedef struct sonde_dash_report {
    int64_t n_features, n_documents, n_examples, n_bytes;
    int64_t n_left_out; /* examples of each feature that the database has and the page has not, at most */
} sonde_dash_report;

/* Writes one HTML file that shows a database of features (sonde/feature.h): it needs nothing else, no network, and runs from a disk.
 * Activations around an example are shown in 255 steps of the feature's largest.
 *
 * Owns: nothing. Cost: the database once; about 75 bytes an example. The same database gives the same bytes.
 * Errors: SONDE_E_NOTFOUND (no such file), SONDE_E_FORMAT (no database of features, or a damaged one: SQLite's words), SONDE_E_UNSUPPORTED (of a newer
 * version), SONDE_E_IO, SONDE_E_INTERRUPTED, SONDE_E_NOMEM. What was at `path` is as it was then. */
SONDE_API sonde_status sonde_dash_write(sonde_dash_report *out, const char *path, const char *database,
                                        const sonde_dash_opts *opts) SONDE_MUST_USE;

/* ---- Neuronpedia --------------------------------------------------------------------------------------------------------- */

typedef struct sonde_neuronpedia_opts {
    size_t struct_size;
    const char *model; /* as Neuronpedia calls it: gpt2-small; NULL: the name in the database */
    const char *
        set; /* of the source, behind the number of the layer: res-jb; NULL: res-sonde, mlp-sonde or att-sonde, by the hook point */
} sonde_neuronpedia_opts;

/* The defaults. Owns: nothing. Errors: none. */
SONDE_API void sonde_neuronpedia_opts_init(sonde_neuronpedia_opts *out);

typedef struct sonde_neuronpedia_report {
    int64_t n_features, n_activations, n_explanations, n_files, n_bytes;
} sonde_neuronpedia_report;

/* Writes a database of features (sonde/feature.h) as Neuronpedia imports it: a folder with lines of JSON for the model, the set of
 * sources and the source, and for each 256 features a gzipped file of features, one of activations, and one of explanations where labels are.
 *
 * sae   NULL, or the autoencoder: its decoder's rows become the features' vectors
 *
 * Owns: nothing. Cost: the database once; a batch is in memory. The same database gives the same bytes.
 * Errors: those of sonde_dash_write; SONDE_E_SHAPE (an autoencoder of another size), SONDE_E_IO. Files that are complete stay.
 * Source: Neuronpedia's export of its own data; SAEDashboard's converter. Reference: tests/oracle/features_live.py. */
SONDE_API sonde_status sonde_neuronpedia_write(sonde_neuronpedia_report *out, const char *folder, const char *database,
                                               const sonde_sae *sae, const sonde_neuronpedia_opts *opts) SONDE_MUST_USE;

/* ---- toy models ------------------------------------------------------------------------------------------------------------ */

/* Writes one HTML file for runs of toy experiments (sonde/toy.h): what each is about, what was set, what was found beside what was wanted, and the
 * pictures, which are read from `folder` and put into the file. It needs no network.
 *
 * Owns: nothing. Errors: SONDE_E_IO, SONDE_E_NOTFOUND (a picture), SONDE_E_NOMEM. What was at `path` is as it was then. */
SONDE_API sonde_status sonde_toy_report_write(const char *path, const char *folder, const sonde_toy_result *const *results,
                                              int64_t n_results) SONDE_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
