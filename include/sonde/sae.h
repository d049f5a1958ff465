/* sonde/sae.h - sparse autoencoders and transcoders from the files that people have.   floor 7: sae
 *
 * A sparse autoencoder writes an activation as a sum of a few directions out of many: encode gives the features of each row,
 * decode the row that they stand for. Legend of shapes: N rows (positions), D width of the input, O width of the output (D,
 * but for transcoders, which read one hook point and write another), S features. Features are S floats for each row.
 *
 * A folder is SAELens's: cfg.json and sae_weights.safetensors. Those of Gemma Scope, Llama Scope, dictionary_learning, sparsify and
 * OpenAI are read, too.
 */
#ifndef SONDE_SAE_H
#define SONDE_SAE_H

#include <sonde/run.h>
#include <sonde/train.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sonde_sae sonde_sae;

/* How features follow from v = (x - b_dec) W_enc + b_enc. */
typedef enum sonde_sae_activation {
    SONDE_SAE_RELU = 0,     /* max(v, 0) */
    SONDE_SAE_GATED = 1,    /* [u + b_gate > 0] max(u exp(r_mag) + b_mag, 0),  u = (x - b_dec) W_enc */
    SONDE_SAE_TOPK = 2,     /* the k largest of max(v, 0) */
    SONDE_SAE_ABSTOPK = 3,  /* the k of largest |v|, with their signs */
    SONDE_SAE_JUMPRELU = 4, /* max(v, 0) where v > threshold */
    SONDE_SAE_PURSUIT = 5   /* matching pursuit: one feature after another, each explaining what is left */
} sonde_sae_activation;

/* What is done to a row before it is encoded, and undone behind the decoder (but for transcoders). */
typedef enum sonde_sae_normalization {
    SONDE_SAE_AS_IT_IS = 0,
    SONDE_SAE_CONSTANT_NORM = 1, /* x sqrt(D) / |x| */
    SONDE_SAE_LAYER_NORM = 2     /* (x - mean) / (std + 1e-5), std with D - 1 */
} sonde_sae_normalization;

/* What an autoencoder is, read from cfg.json. */
typedef struct sonde_sae_config {
    char architecture[32]; /* as cfg.json says: standard, topk, jumprelu, gated, skip_transcoder, ... */
    sonde_sae_activation activation;
    sonde_sae_normalization normalization;
    int64_t d_in, d_sae, d_out;
    int64_t k;             /* of TOPK and ABSTOPK */
    bool applies_b_dec;    /* b_dec is subtracted from the input */
    bool rescales_by_norm; /* TOPK, ABSTOPK: features are v |W_dec[s]|, and decoder rows count as if they had length 1 */
    bool joins_heads;      /* of hook_z: rows are all heads side by side */
    bool
        centres_input; /* the model that it was trained on had its writing weights centred: the mean of a row is taken away, and given back */
    bool is_transcoder;        /* reads one hook point and writes another */
    bool has_skip;             /* W_skip x is added to the output */
    bool stops_on_duplicate;   /* PURSUIT: ends for a row that got no new feature */
    int64_t max_iterations;    /* of PURSUIT */
    double residual_threshold; /* of PURSUIT: ends for a row that has less length left; 0: does not */
    char model_name[128];      /* "" where cfg.json does not say */
    char hook_name[128], hook_name_out[128];
} sonde_sae_config;

/* Loads a folder. Folders that SAELens wrote before version 6 are read as it reads them; an input scale that was not folded
 * into the weights is folded (activation_scaler.json). By the files in it the folder may also be one of
 *
 *   Gemma Scope          params.npz                                Gemma Scope 2  config.json, params.safetensors
 *   Llama Scope          hyperparams.json, checkpoints/            sparsify       cfg.json, sae.safetensors
 *   dictionary_learning  ae.pt, with config.json or without        OpenAI         the .pt itself, in place of a folder
 *
 * What becomes of it is SAELens's: names of weights, shapes, conventions. Model and hook point come from where the layout has them, which
 * for some is the names of folders; else they are empty.
 *
 * Owns: *out is yours: sonde_sae_free. Cost: the weights as floats.
 * Errors: SONDE_E_NOTFOUND (no such folder, file or tensor; an unfolded scale without its file), SONDE_E_FORMAT,
 * SONDE_E_UNSUPPORTED (an architecture or a field that would change the result and is not handled: its name), SONDE_E_SHAPE (a
 * tensor does not fit cfg.json: name and both shapes), SONDE_E_NONFINITE (the tensor and its element), SONDE_E_RANGE, SONDE_E_NOMEM. *out is NULL then.
 * Source: sae_lens 6.54.12, SAE.load_from_disk and pretrained_sae_loaders.py; dictionary_learning 0.1.0; eai-sparsify 1.3.3;
 * openai/sparse_autoencoder. Reference: tests/oracle/sae_foreign_live.py. */
SONDE_API sonde_status sonde_sae_load(sonde_sae **out, const char *path) SONDE_MUST_USE;

/* The library whose layout it was read from: "SAELens", "Gemma Scope", ... Owns: borrows; a static string. Errors: none. */
SONDE_API const char *sonde_sae_layout(const sonde_sae *sae);

/* Frees it; NULL is fine. Owns: takes the autoencoder. Errors: none. */
SONDE_API void sonde_sae_free(sonde_sae *sae);

/* Writes a folder that sonde_sae_load and SAELens load, weights as floats; what was there is replaced as a whole, unless it is
 * something else than an autoencoder's folder.
 * Owns: nothing. Errors: SONDE_E_ARG (what is there is something else), SONDE_E_IO, SONDE_E_NOMEM. What was there is as it was then. */
SONDE_API sonde_status sonde_sae_save(const sonde_sae *sae, const char *directory) SONDE_MUST_USE;

/* Writes the same two files into a folder that may be there, each beside and renamed; what else is in it stays: what training does.
 * Owns: nothing. Errors: SONDE_E_IO, SONDE_E_NOMEM. Each file is the old or the new one then. */
SONDE_API sonde_status sonde_sae_write(const sonde_sae *sae, const char *directory) SONDE_MUST_USE;

/* Writes it for another library: "sparsify" (TopK, also transcoders), "dictionary_learning" (standard, gated, TopK, JumpReLU), or "saelens", which is
 * sonde_sae_save. What the other one cannot say otherwise goes into the weights: lengths of decoder rows where features are chosen by them,
 * b_dec where one takes it from the input and the other does not; features and reconstructions stay what they are, but for rounding. Replaces what
 * was there as sonde_sae_save does.
 * Owns: nothing. Cost: a copy of the weights. Errors: SONDE_E_ARG (another layout), SONDE_E_UNSUPPORTED (what the layout cannot say: its name),
 * those of sonde_sae_save. Source: as sonde_sae_load. Reference: tests/oracle/sae_foreign_live.py. */
SONDE_API sonde_status sonde_sae_save_as(const sonde_sae *sae, const char *directory, const char *layout) SONDE_MUST_USE;

/* What it is. Owns: borrows. Errors: none. */
SONDE_API const sonde_sae_config *sonde_sae_get_config(const sonde_sae *sae);

/* A number that tells one autoencoder from another: a hash of how features are chosen and of all weights. The same on every machine of little-endian
 * floats, for any number of threads; another after what changes a weight, a conversion for instance. Owns: nothing. Errors: none. */
SONDE_API uint64_t sonde_sae_hash(const sonde_sae *sae);

/* A weight by its name in SAELens: W_enc (D,S), b_enc (S), W_dec (S,O), b_dec (O), threshold, b_gate, b_mag, r_mag (S), W_skip (O,D).
 * Owns: a view, valid while the autoencoder lives. Errors: SONDE_E_NOTFOUND. */
SONDE_API sonde_status sonde_sae_weight(sonde_tensor *out, const sonde_sae *sae, const char *name) SONDE_MUST_USE;

/* ---- encode and decode ---------------------------------------------------------------------------------------------- */

typedef struct sonde_sae_coder sonde_sae_coder;

/* Room for encoding and decoding, whatever the number of rows.
 * Owns: *out is yours: sonde_sae_coder_free; borrows the autoencoder. One thread at a time. Errors: SONDE_E_NOMEM, SONDE_E_RANGE (sizes that do not fit). */
SONDE_API sonde_status sonde_sae_coder_new(sonde_sae_coder **out, const sonde_sae *sae) SONDE_MUST_USE;
SONDE_API void sonde_sae_coder_free(sonde_sae_coder *coder);

/* Features of N rows.
 *
 * features  (N,S)  written whole
 * x         (N,D)  as the model has them: no scaling is asked of the caller
 *
 * Ties: of equal values the lower feature is kept. Owns: nothing; allocates nothing, unless the number of threads has changed.
 * Threads: bytes do not depend on their number.
 * Cost: 2 N D S flops (PURSUIT: for each iteration).
 * Errors: SONDE_E_NONFINITE (row and column of x; a row of TOPK or ABSTOPK whose pre-activations overflow).
 * Source: sae_lens 6.54.12, the encode of each architecture; Bricken et al. 2023, Rajamanoharan et al. 2024 (arXiv 2404.16014,
 * 2407.14435), Gao et al. 2024 (arXiv 2406.04093). Reference: tests/oracle/sae_live.py, tests/golden/sae. */
SONDE_API sonde_status sonde_sae_encode(sonde_sae_coder *coder, float *features, const float *x, int64_t N) SONDE_MUST_USE;

/* The rows that features stand for: y = features W_dec + b_dec (+ W_skip x), the normalisation of the input undone.
 *
 * y         (N,O)  written whole
 * features  (N,S)
 * x         (N,D)  the input of these features: its scale is given back
 *
 * Owns: nothing; allocates nothing, unless the number of threads has changed. Cost: 2 N L0 O flops. Errors: SONDE_E_NOMEM (then).
 * Source: as sonde_sae_encode. */
SONDE_API sonde_status sonde_sae_decode(sonde_sae_coder *coder, float *y, const float *features, const float *x,
                                        int64_t N) SONDE_MUST_USE;

/* ---- evaluation ------------------------------------------------------------------------------------------------------ */

/* Texts as tokens, one behind another; each is a context of its own. */
typedef struct sonde_sae_texts {
    const int32_t *tokens;  /* of all texts */
    const bool *left_out;   /* of all texts: positions that are neither measured nor changed (BOS); NULL: none */
    const int64_t *lengths; /* (n) at most the model's context */
    int64_t n;
} sonde_sae_texts;

/* The one list of metrics: value, name, formula. x is what is to be reconstructed (the output's hook point, for transcoders),
 * y the reconstruction, f the features, E the mean over positions; CE is the mean cross-entropy of the next token in nats, KL the
 * mean of KL(p clean, p changed) over the same rows; `spliced` has y in place of x, `zero` 0, `mean` the mean of x over these texts. */
#define SONDE_SAE_METRIC_LIST(X)                                                                                          \
    X(SONDE_SAE_L0, "l0", "E of the number of features that are not 0")                                                   \
    X(SONDE_SAE_L1, "l1", "E sum |f|")                                                                                    \
    X(SONDE_SAE_MSE, "mse", "E |x - y|^2, summed over dimensions")                                                        \
    X(SONDE_SAE_NMSE, "nmse", "E |x - y|^2 / |x|^2")                                                                      \
    X(SONDE_SAE_FVU, "fvu", "E |x - y|^2 / E |x - mean|^2")                                                               \
    X(SONDE_SAE_EV, "explained_variance", "1 - fvu")                                                                      \
    X(SONDE_SAE_COSINE, "cosine", "E x.y / (|x| |y|)")                                                                    \
    X(SONDE_SAE_L2_IN, "l2_norm_in", "E |x|")                                                                             \
    X(SONDE_SAE_L2_OUT, "l2_norm_out", "E |y|")                                                                           \
    X(SONDE_SAE_L2_RATIO, "l2_ratio", "E |y| / |x|")                                                                      \
    X(SONDE_SAE_BIAS, "relative_bias", "E |y|^2 / E x.y")                                                                 \
    X(SONDE_SAE_CE_CLEAN, "ce_clean", "CE of the model as it is")                                                         \
    X(SONDE_SAE_CE_SPLICED, "ce_spliced", "CE spliced")                                                                   \
    X(SONDE_SAE_CE_ZERO, "ce_zero", "CE zero")                                                                            \
    X(SONDE_SAE_CE_MEAN, "ce_mean", "CE mean")                                                                            \
    X(SONDE_SAE_RECOVERED, "ce_recovered", "(CE zero - CE spliced) / (CE zero - CE clean)")                               \
    X(SONDE_SAE_RECOVERED_MEAN, "ce_recovered_mean", "(CE mean - CE spliced) / (CE mean - CE clean)")                     \
    X(SONDE_SAE_KL_SPLICED, "kl_spliced", "KL spliced")                                                                   \
    X(SONDE_SAE_KL_ZERO, "kl_zero", "KL zero")                                                                            \
    X(SONDE_SAE_KL_MEAN, "kl_mean", "KL mean")                                                                            \
    X(SONDE_SAE_KL_SCORE, "kl_score", "(KL zero - KL spliced) / KL zero")                                                 \
    X(SONDE_SAE_KL_SCORE_MEAN, "kl_score_mean", "(KL mean - KL spliced) / KL mean")                                       \
    X(SONDE_SAE_EV_LEGACY, "ev_legacy", "E [1 - |x - y|^2 / |x - mean|^2]: what SAEBench's paper and sae-lens 5 call it") \
    X(SONDE_SAE_EV_060, "ev_saebench_060", "1 - E |x - y|^2 / (E |x|^2 - (E |x|^2 / d)^2): what SAEBench 0.6.0 computes")

#define SONDE_SAE_METRIC_ENUM(value, name, formula) value,
typedef enum sonde_sae_metric { SONDE_SAE_METRIC_LIST(SONDE_SAE_METRIC_ENUM) SONDE_N_SAE_METRICS } sonde_sae_metric;
#undef SONDE_SAE_METRIC_ENUM

/* Name and formula of a metric ("?" for a value outside the list). Owns: borrows; static strings. Errors: none. */
SONDE_API const char *sonde_sae_metric_name(sonde_sae_metric which);
SONDE_API const char *sonde_sae_metric_formula(sonde_sae_metric which);

/* Which positions are changed, and which losses count. */
typedef enum sonde_sae_protocol {
    SONDE_SAE_PROTOCOL_SONDE =
        0, /* left-out positions stay as they are, in splices and ablations; every predicted token counts */
    SONDE_SAE_PROTOCOL_SAELENS = 1 /* ablations change every position; what a left-out position predicts does not count */
} sonde_sae_protocol;

typedef struct sonde_sae_eval_opts {
    size_t struct_size;
    const char *hook, *hook_out; /* where it reads, and where it writes; NULL: as cfg.json says, and hook_out as hook */
    int64_t protocol;            /* of sonde_sae_protocol */
    int64_t has_loss;            /* 0: only what needs no logits: the model ends behind the hook */
    int64_t n_resamples;         /* of texts, for intervals; 0: none */
    uint64_t seed;               /* of these */
    int64_t batch;               /* tokens of a pass, at least one text */
    double
        batch_topk; /* above 0: of autoencoders with thresholds, the batch_topk x rows largest features of a pass in place of these, as BatchTopK and
                       Matryoshka are trained */
} sonde_sae_eval_opts;

/* The defaults: hooks of cfg.json, our own protocol, with loss, 1,000 resamples, seed 0, 1,024 tokens. Owns: nothing. Errors: none. */
SONDE_API void sonde_sae_eval_opts_init(sonde_sae_eval_opts *out);

/* A metric, and where it lies in 95 of 100 samples of as many texts; NaN where it was not measured. */
typedef struct sonde_sae_estimate {
    double value, low, high;
} sonde_sae_estimate;

typedef struct sonde_sae_report {
    int64_t n_texts, n_positions, n_predicted; /* positions that were measured; tokens whose loss counts */
    sonde_sae_estimate metrics[SONDE_N_SAE_METRICS];
} sonde_sae_report;

/* What a feature did on some texts. */
typedef struct sonde_sae_feature {
    int64_t n_fired, n_texts; /* positions, and texts, where it was not 0 */
    double sum, most;         /* of |f| */
} sonde_sae_feature;

/* Told now and then how many tokens of all passes are done; non-zero stops the evaluation. */
typedef sonde_status sonde_sae_progress_fn(int64_t n_done, int64_t n_tokens, void *ctx);

/* Measures autoencoders that read and write the same hook points on texts: two walks, the first for the mean of x, the second for all else (with loss:
 * a pass for each, and three that are the same for all).
 *
 * out       (n_saes)  of each
 * features  (n_saes)  what each feature of each did, (S) of that one; NULL, or a NULL in it: not wanted
 *
 * Intervals: percentiles 2.5 and 97.5 of the metric over resamples of texts with replacement. Sums are in double. An autoencoder's numbers do not
 * depend on the others.
 *
 * Owns: nothing. Cost: 4 + n_saes passes of the model, the encoders and the decoders; a pass's logits are held once.
 * Errors: SONDE_E_HOOK (no such hook, or not the first one's), SONDE_E_SHAPE (it does not have the autoencoder's width: both numbers),
 * SONDE_E_RANGE (no position to measure), SONDE_E_ARG, SONDE_E_NONFINITE, SONDE_E_INTERRUPTED, SONDE_E_NOMEM, those of sonde_run_forward, what
 * `progress` returned.
 * Threads: bytes do not depend on their number.
 * Source: the list above; Efron and Tibshirani 1993, chapter 13. Reference: tests/oracle/sae_eval_live.py. */
SONDE_API sonde_status sonde_sae_evaluate(sonde_sae_report *out, sonde_sae_feature *const *features,
                                          const sonde_model *model, const sonde_sae *const *saes, int64_t n_saes,
                                          const sonde_sae_texts *texts, const sonde_sae_eval_opts *opts,
                                          sonde_sae_progress_fn *progress, void *ctx) SONDE_MUST_USE;

/* How a feature's two vectors lie; NaN where it has none. */
typedef struct sonde_sae_geometry {
    double encoder_norm, decoder_norm, encoder_bias;
    double encoder_decoder;                  /* cosine of its encoder and its decoder (not of transcoders) */
    double nearest_encoder, nearest_decoder; /* largest cosine with another feature's */
    int64_t nearest;                         /* the feature whose decoder is nearest; -1: there is no other */
} sonde_sae_geometry;

/* Geometry of all features.
 *
 * out  (S)
 *
 * Ties: the lower feature is the nearest. Owns: nothing. Cost: 2 S^2 (D + O) flops.
 * Errors: SONDE_E_NOMEM, SONDE_E_INTERRUPTED. Source: the definitions; of a feature by itself, sae_lens's evals.py. Reference: tests/oracle/sae_live.py. */
SONDE_API sonde_status sonde_sae_measure_geometry(sonde_sae_geometry *out, const sonde_sae *sae) SONDE_MUST_USE;

/* ---- training ---------------------------------------------------------------------------------------------------------- */

/* What is trained, and how. Legend: h = (x - b_dec) W_enc + b_enc the pre-activations, f the features, y their reconstruction, t what
 * it is to be (x, or the output of a transcoder), d_s the decoder's row of feature s; all losses are means over the rows of a step.
 *
 *   standard-2023     |y - t|^2 + l1 sum f,  |d_s| = 1, its gradient without what lies along d_s; b_dec begins at the geometric median
 *   standard          |y - t|^2 + l1 sum f |d_s|
 *   gated             |y - t|^2 + l1 sum g |d_s| + |b_dec + sum g d_s - t|^2,  g = max(h_gate, 0)
 *   topk              |y - t|^2 + aux (dead features explain what is left)
 *   batchtopk         the same with the k N largest of all N rows; used with the threshold that follows them
 *   abstopk           as topk, by |h|, with signs
 *   matryoshka        batchtopk, its losses summed over the first features of growing groups
 *   jumprelu          |y - t|^2 + l0 penalty,  f = h where h > threshold
 *   panneal           |y - t|^2 + l1 sum f^p,  p falls from 1
 *   kl                |y - t|^2 + kl sum KL(rho | mean of f) + weight-l1 (|W_enc|_1 + |W_dec|_1)
 *   matching-pursuit  |y - t|^2, features one after another, each from what the others left
 *   pre-act           of dead features, beside the others: pre_act sum max(threshold - h, 0) |d_s|; thresholds of ReLU are 0
 *
 * Sources: Bricken et al. 2023; Conerly et al. 2024 (Circuits Updates, April); Rajamanoharan et al. 2024 (arXiv 2404.16014, 2407.14435);
 * Gao et al. 2024 (2406.04093); Bussmann et al. 2024 (2412.06410), 2025 (2503.17547); Zhu et al. 2026 (2510.00404); Karvonen et al.
 * 2024 (2408.00113); as sae_lens 6.54.12 and dictionary_learning compute them. */
#define SONDE_SAE_ARCHS \
    "standard-2023|standard/relu|gated|topk|batchtopk|abstopk|matryoshka|jumprelu|panneal|matching-pursuit|kl"
typedef enum sonde_sae_arch {
    SONDE_SAE_ARCH_STANDARD_2023 = 0,
    SONDE_SAE_ARCH_STANDARD = 1,
    SONDE_SAE_ARCH_GATED = 2,
    SONDE_SAE_ARCH_TOPK = 3,
    SONDE_SAE_ARCH_BATCHTOPK = 4,
    SONDE_SAE_ARCH_ABSTOPK = 5,
    SONDE_SAE_ARCH_MATRYOSHKA = 6,
    SONDE_SAE_ARCH_JUMPRELU = 7,
    SONDE_SAE_ARCH_PANNEAL = 8,
    SONDE_SAE_ARCH_PURSUIT = 9,
    SONDE_SAE_ARCH_KL = 10
} sonde_sae_arch;

/* What the penalty of JumpReLU counts: [h > threshold]; tanh(scale f |d_s|); 2/target (L0 - target)^2. */
typedef enum sonde_sae_penalty {
    SONDE_SAE_PENALTY_STEP = 0,
    SONDE_SAE_PENALTY_TANH = 1,
    SONDE_SAE_PENALTY_QUADRATIC = 2
} sonde_sae_penalty;

/* What is done to the rows of a training, and folded into the weights when they are exported. */
typedef enum sonde_sae_scaling {
    SONDE_SAE_SCALE_NONE = 0,
    SONDE_SAE_SCALE_AVERAGE = 1,       /* x sqrt(D) / mean |x| */
    SONDE_SAE_SCALE_WHITENING = 2,     /* (x - mean) E diag(lambda + 1e-3)^(-1/2), with the covariance E diag(lambda) E^T */
    SONDE_SAE_SCALE_CONSTANT_NORM = 3, /* x sqrt(D) / |x|, row by row: nothing to fold in, the autoencoder does it, too */
    SONDE_SAE_SCALE_LAYER_NORM = 4     /* (x - mean) / (std + 1e-5), as well; losses are those of the rows as they became */
} sonde_sae_scaling;

/* The one list of options: name, flag of the program, default, least and most (of a choice: the names), what it is.
 *
 * Step i, from 0, has (i + 1) / warmup of the schedule's step size while that warms up, and i / sparsity_warmup of the penalty's weight: the first
 * step has no penalty. The first step of a decay has the whole step size still; last_lr would be that of the step behind the last. So it is in
 * sae_lens 6.54.12 (get_lr_scheduler, CoefficientScheduler), whose names for it are
 *
 *   constant, lr_warm_up_steps w, lr_decay_steps n > 0     wsd, warmup w, decay_steps n
 *   constant, lr_warm_up_steps w, lr_decay_steps 0         constant, warmup w: wsd with decay_steps 0 falls over a fifth of all
 *   cosineannealing, lr_warm_up_steps w, lr_end            cosine, warmup w, last_lr = lr_end / lr: 0.1 there, and 0 here, where it is not said
 *   l1_warm_up_steps, l0_warm_up_steps                     sparsity_warmup
 *
 * A decay that begins within the warm-up ends the warm-up there; here the two shares are multiplied. cosineannealing with lr_decay_steps is not here. */
#define SONDE_SAE_TRAIN_OPTION_LIST(WHOLE, CHOICE, REAL)                                                                   \
    CHOICE(arch, "arch", SONDE_SAE_ARCH_TOPK, SONDE_SAE_ARCHS, "what is trained")                                          \
    WHOLE(steps, "steps", 1000, 1, 1e9, "steps of the whole training")                                                     \
    WHOLE(batch, "batch", 4096, 1, 1e6, "rows of a step")                                                                  \
    WHOLE(seed, "seed", 0, 0, 9007199254740992.0, "of the weights to begin with and of the order of the rows")             \
    REAL(k, "k", 32, 0.001, 1e6,                                                                                           \
         "topk, abstopk: features of a row; batchtopk, matryoshka: on average; matching-pursuit: at most")                 \
    REAL(l1, "l1", 1, 0, 1e9, "standard, gated, panneal: weight of the penalty")                                           \
    REAL(l0, "l0", 1, 0, 1e9, "jumprelu: weight of the penalty")                                                           \
    WHOLE(sparsity_warmup, "sparsity-warmup", 0, 0, 1e9, "steps over which the penalty grows to its weight")               \
    REAL(lr, "lr", 0, 0, 100, "largest step size; 0: what was measured to be good for the architecture and width")         \
    CHOICE(schedule, "schedule", SONDE_SCHEDULE_WSD, "constant|linear|cosine|wsd", "how the step size runs")               \
    WHOLE(warmup, "warmup", 200, 0, 1e9, "steps over which the step size grows to its largest")                            \
    WHOLE(decay_steps, "decay-steps", 0, 0, 1e9, "of wsd: the last steps, over which it falls; 0: a fifth of all")         \
    REAL(last_lr, "last-lr", 0, 0, 1, "step size at the end, as a share of the largest")                                   \
    REAL(beta1, "beta1", 0.9, 0, 0.999999, "decay of Adam's mean of gradients")                                            \
    REAL(beta2, "beta2", 0.999, 0, 0.9999999, "decay of Adam's mean of squared gradients")                                 \
    REAL(eps, "eps", 1e-8, 1e-30, 1, "added to the root of Adam's squares")                                                \
    REAL(clip, "clip", 1, 0, 1e30, "largest norm of all gradients together; 0: none")                                      \
    REAL(weight_decay, "weight-decay", 0, 0, 1e6, "of all parameters, beside their gradients: AdamW")                      \
    CHOICE(scaling, "scaling", SONDE_SAE_SCALE_AVERAGE, "none|average|whitening|constant-norm|layer-norm",                 \
           "what is done to the rows; folded in at the end, but for norms of each row")                                    \
    REAL(init_norm, "init-norm", 0.1, 1e-6, 1e6, "length of the decoder's rows at the beginning (standard-2023: 1)")       \
    WHOLE(ties_bias, "b-dec-to-input", 1, 0, 1, "1: b_dec is taken from the input (never of transcoders)")                 \
    WHOLE(rescales, "by-norm", 1, 0, 1, "topk and its relatives: 1: features are chosen by h |d_s|")                       \
    WHOLE(dead_window, "dead-window", 100, 1, 1e9, "a feature is dead that was silent for more steps than this")           \
    REAL(aux, "aux", 1, 0, 1e9, "topk and its relatives: weight of the loss that brings dead features back")               \
    WHOLE(aux_k, "aux-k", 0, 0, 1e6, "dead features of a row in that loss; 0: half of the width of the output")            \
    REAL(threshold_rate, "threshold-rate", 0.01, 0, 1, "batchtopk: how fast the threshold follows the batches")            \
    REAL(init_threshold, "init-threshold", 0.01, 0, 1e6, "jumprelu: threshold at the beginning")                           \
    REAL(bandwidth, "bandwidth", 0.05, 1e-9, 1e6, "jumprelu: width around a threshold in which it has a gradient")         \
    CHOICE(penalty, "penalty", SONDE_SAE_PENALTY_STEP, "step|tanh|quadratic", "jumprelu: what the penalty counts")         \
    REAL(tanh_scale, "tanh-scale", 4, 1e-6, 1e6, "jumprelu, tanh: scale of features")                                      \
    REAL(target_l0, "target-l0", 32, 1e-3, 1e6,                                                                            \
         "features of a row that are wanted: by l0-control, and jumprelu's quadratic")                                     \
    REAL(l0_control, "l0-control", 0, 0, 1,                                                                                \
         "penalties: how fast their weight follows what target-l0 needs: 0.005 (0: it stays)")                             \
    REAL(pre_act, "pre-act", 0, 0, 1e9,                                                                                    \
         "standard, jumprelu, panneal: weight of the loss that lifts dead features to their thresholds: 3e-6")             \
    WHOLE(ste_to_input, "ste-to-input", 0, 0, 1, "jumprelu: 1: the estimate of its gradient goes to the input too")        \
    WHOLE(anneal_start, "anneal-start", 0, 0, 1e9, "panneal: steps before the exponent begins to fall; 0: a fifth of all") \
    REAL(last_p, "last-p", 0.2, 0.01, 1, "panneal: exponent at the end")                                                   \
    REAL(residual_threshold, "residual-threshold", 0.01, 0, 1e9,                                                           \
         "matching-pursuit: length of the rest at which a row ends")                                                       \
    REAL(kl, "kl", 1, 0, 1e9, "kl: weight of the penalty of features' means")                                              \
    REAL(rho, "rho", 0.05, 1e-6, 0.999, "kl: mean that features are to have")                                              \
    REAL(weight_l1, "weight-l1", 1e-5, 0, 1e9, "kl: weight of the L1 penalty of both matrices")                            \
    WHOLE(plateau_every, "plateau-every", 0, 0, 1e9,                                                                       \
          "steps whose mean loss must go down, or the step size does: ReduceLROnPlateau; 0: no such thing")                \
    WHOLE(plateau_patience, "plateau-patience", 10, 0, 1e9, "how often in a row it need not")                              \
    REAL(plateau_factor, "plateau-factor", 0.1, 0, 1, "what the step size is multiplied by then")

#define SONDE_SAE_WHOLE(name, flag, value, least, most, what) int64_t name;
#define SONDE_SAE_CHOICE(name, flag, value, names, what) int64_t name;
#define SONDE_SAE_REAL(name, flag, value, least, most, what) double name;
typedef struct sonde_sae_train_opts {
    size_t struct_size;
    SONDE_SAE_TRAIN_OPTION_LIST(SONDE_SAE_WHOLE, SONDE_SAE_CHOICE, SONDE_SAE_REAL)
    int64_t d_in, d_sae, d_out; /* D, S, O; d_out 0 (default): no transcoder */
    int64_t has_skip;           /* of transcoders: W_skip x is added to the output */
    const int64_t *groups; /* of matryoshka: growing numbers of first features, the last S; NULL: S/16, S/8, S/4, S/2, S */
    int64_t n_groups;      /* at most 16 */
} sonde_sae_train_opts;
#undef SONDE_SAE_WHOLE
#undef SONDE_SAE_CHOICE
#undef SONDE_SAE_REAL

/* The defaults; sizes are the caller's to set. Owns: nothing. Errors: none. */
SONDE_API void sonde_sae_train_opts_init(sonde_sae_train_opts *out);

/* Whether a training with these options looks at the one of this flag ("l1"): false where another value of it would change nothing, such as of l1
 * for topk, of target-l0 without l0-control, of decay-steps for another schedule than wsd. Owns: nothing. Errors: none; a flag that there is not is false. */
SONDE_API bool sonde_sae_train_opts_use(const sonde_sae_train_opts *opts, const char *flag);

typedef struct sonde_sae_trainer sonde_sae_trainer;

/* A trainer at step 0: decoder rows in random directions (uniform numbers, as Kaiming's), the encoder their transpose, biases 0.
 *
 * Owns: *out is yours: sonde_sae_trainer_free; copies the options. One thread at a time.
 * Errors: SONDE_E_ARG (an option outside its bounds, or that the architecture does not have), SONDE_E_RANGE (sizes), SONDE_E_NOMEM. *out is NULL then.
 * Source: sae_lens 6.54.12, TrainingSAE.initialize_weights. */
SONDE_API sonde_status sonde_sae_trainer_new(sonde_sae_trainer **out, const sonde_sae_train_opts *opts) SONDE_MUST_USE;
SONDE_API void sonde_sae_trainer_free(sonde_sae_trainer *trainer);

/* What the rows say before the first step: their scale, or mean and covariance; of standard-2023, the geometric median of t for b_dec.
 * A trainer that did not see any takes rows as they are.
 *
 * x  (N,D)   some rows, the more the better: tens of thousands
 * y  (N,O)   of transcoders; else NULL
 *
 * Owns: nothing. Errors: SONDE_E_NONFINITE (row and column), SONDE_E_RANGE (no rows; rows of zeros alone), SONDE_E_STATE (steps were done), SONDE_E_NOMEM.
 * Source: sae_lens 6.54.12, ActivationScaler; Vardi and Zhang 2000 for the median. */
SONDE_API sonde_status sonde_sae_trainer_begin(sonde_sae_trainer *trainer, const float *x, const float *y,
                                               int64_t N) SONDE_MUST_USE;

/* What a step did, before its change of the weights. Losses are means over rows, in the scale of the training. */
typedef struct sonde_sae_train_report {
    int64_t step;         /* steps done, this one included */
    double loss, mse;     /* all of it; |y - t|^2 */
    double sparsity, aux; /* the penalty with its weight; what the dead features' loss (gated: that of the gates) adds */
    double l0;            /* features of a row */
    double explained_variance; /* of these rows: 1 - sum |y - t|^2 / sum |t - mean|^2; NaN where they are all the same */
    int64_t n_dead;            /* features that are dead, before this step */
    double gradient_norm, lr;  /* before clipping; step size that was taken */
    double threshold;          /* of batchtopk and matryoshka; else 0 */
} sonde_sae_train_report;

/* One step on `batch` rows: forward, gradients, clipping by their exact norm, Adam.
 *
 * x  (batch,D);  y (batch,O) of transcoders, else NULL
 *
 * Owns: nothing; allocates nothing, unless the number of threads has changed. Threads: bytes do not depend on their number.
 * Cost: 2 N D S flops, and the k (2 D + 2 O) N of the features that are on; 10 N D S where very many are.
 * Errors: SONDE_E_NONFINITE (of x, or of what comes of it: row and column, or the parameter), SONDE_E_STATE (all steps are done). Weights, moments and
 * the number of steps are as they were then.
 * Source: the list above. Reference: tests/golden/sae_train, central differences in tests/unit/sae. */
SONDE_API sonde_status sonde_sae_trainer_step(sonde_sae_trainer *trainer, sonde_sae_train_report *out, const float *x,
                                              const float *y) SONDE_MUST_USE;

/* Steps done; the options it works with, nothing left to choose (but for decay_steps and anneal_start, which follow `steps`); bytes that it holds.
 * Owns: options are borrowed. Errors: none. */
SONDE_API int64_t sonde_sae_trainer_steps(const sonde_sae_trainer *trainer);
SONDE_API const sonde_sae_train_opts *sonde_sae_trainer_opts(const sonde_sae_trainer *trainer);
SONDE_API int64_t sonde_sae_trainer_bytes(const sonde_sae_trainer *trainer);

/* Steps since each feature was on, as (S). Owns: borrows, valid while the trainer lives. Errors: none. */
SONDE_API const int64_t *sonde_sae_trainer_silent(const sonde_sae_trainer *trainer);

/* The autoencoder as it is used: scale, whitening and lengths of decoder rows folded in; batchtopk and matryoshka become JumpReLU with
 * their threshold. Names of model and hook points are noted in it (NULL: none).
 *
 * Owns: *out is yours: sonde_sae_free. Errors: SONDE_E_UNSUPPORTED (whitening with tied weights), SONDE_E_NOMEM. *out is NULL then.
 * Source: sae_lens 6.54.12, fold_activation_norm_scaling_factor, fold_activation_whitening, process_state_dict_for_saving_inference. */
SONDE_API sonde_status sonde_sae_trainer_export(sonde_sae **out, const sonde_sae_trainer *trainer, const char *model_name,
                                                const char *hook, const char *hook_out) SONDE_MUST_USE;

/* Neuron resampling of standard-2023: features that are dead take the direction of rows that are badly reconstructed.
 *
 * x (N,D)  some rows: each is drawn with a probability as its squared loss; the decoder's row becomes its direction, the encoder's that
 *          times 0.2 of the mean length of living encoders' rows, the bias 0; moments begin anew
 * *n_resampled (may be NULL)  how many
 *
 * Owns: nothing. Errors: SONDE_E_NONFINITE, SONDE_E_ARG (another architecture), SONDE_E_NOMEM.
 * Source: Bricken et al. 2023, appendix, "Neuron resampling". */
SONDE_API sonde_status sonde_sae_trainer_resample(sonde_sae_trainer *trainer, int64_t *n_resampled, const float *x,
                                                  int64_t N) SONDE_MUST_USE;

/* All that training needs to go on, as one safetensors file, written beside and renamed; `source` (at most 90 bytes) says what rows it is trained on.
 * Owns: nothing. Errors: SONDE_E_NONFINITE (a weight or moment: its name; nothing is written), SONDE_E_IO, SONDE_E_NOMEM. What was there is as it was then. */
SONDE_API sonde_status sonde_sae_trainer_save(const sonde_sae_trainer *trainer, const char *path,
                                              const char *source) SONDE_MUST_USE;

/* The options of such a file; its groups go to `groups` (16).
 * Owns: out->groups is `groups`, or NULL. Errors: SONDE_E_NOTFOUND, SONDE_E_FORMAT, SONDE_E_NOMEM. */
SONDE_API sonde_status sonde_sae_train_opts_load(sonde_sae_train_opts *out, int64_t *groups,
                                                 const char *path) SONDE_MUST_USE;

/* A trainer that goes on from such a file.
 *
 * opts    NULL: those of the file. Else they must be those of the file, but for steps, the schedule with its step sizes, and clipping
 * source  what it is trained on now: must be that of the file; NULL: not compared
 *
 * Owns: *out is yours: sonde_sae_trainer_free. Errors: SONDE_E_NOTFOUND, SONDE_E_FORMAT, SONDE_E_ARG (another option or source: its name and both values),
 * SONDE_E_NOMEM. *out is NULL then. Another kernel set is a note in the log. */
SONDE_API sonde_status sonde_sae_trainer_load(sonde_sae_trainer **out, const char *path, const sonde_sae_train_opts *opts,
                                              const char *source) SONDE_MUST_USE;

/* Begins from the weights of an autoencoder of the same architecture and sizes in place of random ones: fine-tuning.
 * Owns: nothing. Errors: SONDE_E_ARG (another architecture, size or kind: both), SONDE_E_STATE (steps were done). */
SONDE_API sonde_status sonde_sae_trainer_start_from(sonde_sae_trainer *trainer, const sonde_sae *sae) SONDE_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
