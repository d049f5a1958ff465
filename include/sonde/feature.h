/* sonde/feature.h - what each feature of an autoencoder responds to, as one SQLite file.    floor 8: feature
 *
 * The file is what pages, explanations and other people's tools read. Its tables:
 *
 *   meta            key, value: model, autoencoder, hook, sizes, how it was made
 *   token           text of each id that occurs in the file
 *   feature         density, largest and mean activation, lengths of its vectors, a label, its typical tokens
 *   histogram       activations in equal bins
 *   example         positions where it is on, with the tokens around: band 0 the largest, bands 1 .. n samples of equal parts up to it
 *   logit           tokens that its decoder row makes likelier (rank > 0) and less likely (rank < 0)
 *   neighbour       features with the most similar decoder rows
 *   neuron          neurons of the same layer's MLP whose activations correlate with it
 *   top_token, before_token   tokens on which it is on most often, and those before them
 *   class, feature_class      classes of tokens, and how much more often it is on in them than anywhere
 *   document, active          some documents with the largest features of each position
 *   context         full-text search over the texts of band 0
 */
#ifndef SONDE_FEATURE_H
#define SONDE_FEATURE_H

#include <sonde/sae.h>
#include <sonde/text.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a database is built. Texts may be NULL. */
typedef struct sonde_features_opts {
    size_t struct_size;
    const char *hook, *hook_out; /* NULL: as cfg.json says */
    int64_t n_examples;          /* of the largest; one for each document at most */
    int64_t n_bands, n_in_band;  /* equal parts of what is between 0 and the maximum, and samples of each */
    int64_t n_before, n_after;   /* tokens around an example */
    int64_t n_bins;              /* of histograms */
    int64_t n_logits;            /* on either side */
    int64_t n_neighbours, n_neurons, n_tokens;
    int64_t n_documents, n_active; /* documents that are kept whole, and features of each of their positions */
    int64_t batch;                 /* tokens of a pass, at least one text */
    uint64_t seed;                 /* of the samples */
    const char *model_path, *sae_path, *corpus, *command, *created; /* noted in the file as they are */
} sonde_features_opts;

/* The defaults. Owns: nothing. Errors: none. */
SONDE_API void sonde_features_opts_init(sonde_features_opts *out);

typedef struct sonde_features_report {
    int64_t n_positions, n_documents, n_features, n_dead, n_examples, n_bytes;
    double l0;
} sonde_features_report;

/* Walks twice over texts with a model and an autoencoder, and writes what each feature did into a new database, which appears at
 * `path` when it is complete.
 *
 *   first walk    firings, sums, maxima, the largest examples, candidates for tokens, classes, correlations with neurons
 *   second walk   histograms and samples within bands, which need the maxima; windows of activations; tokens counted exactly
 *
 * tokenizer   of the model; its tokens' bytes are what is shown
 * texts       each a context of its own; positions that are left out are shown, but no feature is on there
 * class's ratio   llr = ln( P(class | feature on) / P(class) ), from counts of positions
 * logits          d diag(g) W_U, centred over the vocabulary: d the decoder's row in the residual stream (through W_out or W_O where the hook point
 *                 is neurons or heads; mean taken away for LayerNorm), g the gain of the last normalisation; none for other points
 * correlations    Pearson's, over measured positions
 *
 * Ties: the earlier example, the lower feature, token, neuron. Owns: nothing; borrows all. Threads: bytes do not depend on their number.
 * Cost: two passes of the model up to the hook, and of the encoder; memory 4 (n_before + 1 + n_after) bytes for each of S (n_examples +
 * n_bands n_in_band) examples, 1 KB a feature, and 8 S M for M neurons, if that is below 1 GB (else there are none).
 * Errors: those of sonde_sae_evaluate; SONDE_E_IO (the database cannot be written: SQLite's words), SONDE_E_RANGE (no position is measured).
 * What was at `path` is as it was then.
 * Source: Bricken et al. 2023, "Feature visualization" (examples by intervals); McDougall 2024, sae_vis. Reference: tests/oracle/features_live.py. */
SONDE_API sonde_status sonde_features_build(sonde_features_report *out, const char *path, const sonde_model *model,
                                            const sonde_tokenizer *tokenizer, const sonde_sae *sae,
                                            const sonde_sae_texts *texts, const sonde_features_opts *opts,
                                            sonde_sae_progress_fn *progress, void *ctx) SONDE_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
