/* sonde/train.h - training of language models.                                floor 6: train
 *
 * A trainer owns a model whose weights it changes, step by step, on the contexts of a corpus. What a step does depends on
 * the weights, the options and the step's number alone, so training that was saved and goes on gives the same bytes as
 * training that was never stopped, for any number of threads.
 */
#ifndef SONDE_TRAIN_H
#define SONDE_TRAIN_H

#include <sonde/model.h>
#include <sonde/text.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- options ------------------------------------------------------------------------------------------------------- */

/* How the step size runs. All warm up linearly first. */
typedef enum sonde_schedule {
    SONDE_SCHEDULE_CONSTANT = 0,
    SONDE_SCHEDULE_LINEAR = 1, /* down to last_lr at the end */
    SONDE_SCHEDULE_COSINE = 2, /* the same along half a cosine */
    SONDE_SCHEDULE_WSD = 3     /* warm-up, stable, decay: constant, then linear to last_lr over the last decay_steps */
} sonde_schedule;

/* What turns gradients into changes. Muon takes the matrices between layers and leaves the rest to AdamW. */
typedef enum sonde_optimizer { SONDE_OPTIMIZER_ADAMW = 0, SONDE_OPTIMIZER_MUON = 1 } sonde_optimizer;

/* The one list of options: name, flag of the program, default, least and most (of a choice: the names), what it is. From it
 * come the struct, its defaults, the errors of values outside their bounds, and the program's command line. WHOLE and CHOICE
 * are an int64_t, REAL a double. */
#define SONDE_LM_OPTION_LIST(WHOLE, CHOICE, REAL)                                                                  \
    WHOLE(steps, "steps", 1000, 1, 1e9, "steps of the whole training")                                             \
    WHOLE(batch, "batch", 64, 1, 1e6, "contexts of a step")                                                        \
    WHOLE(context, "context", 0, 0, 1e6, "tokens of a context; 0: the model's")                                    \
    WHOLE(micro_batch, "micro-batch", 0, 0, 1e6, "contexts at a time, gradients added up; 0: some 2,048 tokens")   \
    WHOLE(seed, "seed", 0, 0, 9007199254740992.0, "of the order of the contexts, and of new weights")              \
    CHOICE(optimizer, "optimizer", SONDE_OPTIMIZER_ADAMW, "adamw|muon", "muon: for the matrices between layers")   \
    CHOICE(schedule, "schedule", SONDE_SCHEDULE_COSINE, "constant|linear|cosine|wsd", "how the step size runs")    \
    WHOLE(warmup, "warmup", 100, 0, 1e9, "steps over which the step size grows to its largest")                    \
    WHOLE(decay_steps, "decay-steps", 0, 0, 1e9, "of wsd: the last steps, over which it falls; 0: a fifth of all") \
    REAL(lr, "lr", 1e-3, 0, 100, "largest step size")                                                              \
    REAL(last_lr, "last-lr", 0.05, 0, 1, "step size at the end, as a share of the largest")                        \
    REAL(beta1, "beta1", 0.9, 0, 0.999999, "decay of AdamW's mean of gradients")                                   \
    REAL(beta2, "beta2", 0.95, 0, 0.9999999, "decay of AdamW's mean of squared gradients")                         \
    REAL(eps, "eps", 1e-8, 1e-30, 1, "added to the root of AdamW's squares")                                       \
    REAL(weight_decay, "weight-decay", 0.1, 0, 100, "matrices and embeddings shrink by this times the step size")  \
    REAL(momentum, "momentum", 0.95, 0, 0.999999, "decay of Muon's mean of gradients")                             \
    REAL(clip, "clip", 1.0, 0, 1e30, "largest norm of all gradients together; 0: none")                            \
    CHOICE(products, "products", SONDE_PRODUCTS_F32, "f32|bf16", "factors of products; sums are f32")

#define SONDE_LM_WHOLE(name, flag, value, least, most, what) int64_t name;
#define SONDE_LM_CHOICE(name, flag, value, names, what) int64_t name;
#define SONDE_LM_REAL(name, flag, value, least, most, what) double name;
typedef struct sonde_lm_opts {
    size_t struct_size;
    SONDE_LM_OPTION_LIST(SONDE_LM_WHOLE, SONDE_LM_CHOICE, SONDE_LM_REAL)
    int64_t separator; /* id that begins a document: attention and positions begin anew there; -1 (default): none */
} sonde_lm_opts;
#undef SONDE_LM_WHOLE
#undef SONDE_LM_CHOICE
#undef SONDE_LM_REAL

/* The defaults. Owns: nothing. Errors: none. */
SONDE_API void sonde_lm_opts_init(sonde_lm_opts *out);

/* ---- the trainer ------------------------------------------------------------------------------------------------------ */

typedef struct sonde_lm_trainer sonde_lm_trainer;

/* A trainer at step 0, with the weights of `model` as floats.
 *
 * model    copied; it is not needed any more
 * corpus   what is trained on, of the model's vocabulary or a smaller one
 * opts     NULL means defaults
 *
 * Owns: *out is yours: sonde_lm_trainer_free; borrows the corpus. One thread at a time.
 * Errors: SONDE_E_ARG (an option outside its bounds, or a context longer than the model's: both numbers), SONDE_E_RANGE (a corpus
 * smaller than one step, or of a larger vocabulary than the model's: both numbers), SONDE_E_NOMEM. *out is NULL then. */
SONDE_API sonde_status sonde_lm_trainer_new(sonde_lm_trainer **out, const sonde_model *model, const sonde_corpus *corpus,
                                            const sonde_lm_opts *opts) SONDE_MUST_USE;
SONDE_API void sonde_lm_trainer_free(sonde_lm_trainer *trainer);

/* Random weights to begin with: matrices and embeddings normal with deviation 0.02, those that write to the residual stream
 * divided by sqrt(2 L), gains 1, biases 0. Source: Radford et al. 2019, section 2.3.
 * Owns: *out is yours: sonde_model_free. Errors: as sonde_model_random. */
SONDE_API sonde_status sonde_lm_initial(sonde_model **out, const sonde_config *config, uint64_t seed) SONDE_MUST_USE;

/* What a step did. */
typedef struct sonde_lm_report {
    int64_t step;         /* steps done, this one included */
    double loss;          /* nats per token, before the change */
    double gradient_norm; /* of all gradients together, before clipping */
    double lr;            /* step size that was taken */
    int64_t n_tokens;     /* of this step */
} sonde_lm_report;

/* One step: contexts step * batch .. of the corpus, loss = mean cross-entropy of the next token over all of them, gradients,
 * clipping, one change of the weights.
 *
 * Owns: nothing; allocates nothing. Cost: 6 x parameters x tokens flops, attention extra.
 * Errors: SONDE_E_NONFINITE (loss, activation or gradient: names the place and, as a hint, the step), SONDE_E_INTERRUPTED,
 * SONDE_E_STATE (all steps are done). Weights, moments and the number of steps are as they were then. */
SONDE_API sonde_status sonde_lm_trainer_step(sonde_lm_trainer *trainer, sonde_lm_report *out) SONDE_MUST_USE;

/* Steps done. Owns: nothing. Errors: none. */
SONDE_API int64_t sonde_lm_trainer_steps(const sonde_lm_trainer *trainer);

/* The model as it is now, for runs and for saving; its weights change with the next step.
 * Owns: borrows, from the trainer. Errors: none. */
SONDE_API const sonde_model *sonde_lm_trainer_model(const sonde_lm_trainer *trainer);

/* The options that it works with: no field is "choose" any more, but for decay_steps, which follows `steps`. Owns: borrows. Errors: none. */
SONDE_API const sonde_lm_opts *sonde_lm_trainer_opts(const sonde_lm_trainer *trainer);

/* Floating-point operations and memory of a step: 6 flops for each parameter that a token is multiplied by, and 12 for each
 * pair of query and key and each number of a head. Owns: nothing. Errors: none. */
typedef struct sonde_lm_plan {
    double flops;                       /* of a step */
    int64_t state_bytes, scratch_bytes; /* weights, gradients, moments; activations on their way and back */
} sonde_lm_plan;
SONDE_API void sonde_lm_trainer_plan(sonde_lm_plan *out, const sonde_lm_trainer *trainer);

/* ---- evaluation -------------------------------------------------------------------------------------------------------- */

typedef struct sonde_lm_score {
    double loss, bits_per_byte; /* nats per predicted token; nats of all of them / bytes that they stand for / ln 2 */
    int64_t n_tokens, n_bytes, n_documents;
} sonde_lm_score;

/* Cross-entropy of the first `limit` documents (0: all) of a corpus: each is a context of its own that begins with the
 * separator and is cut at the model's context; the end of a document is not predicted.
 *
 * tokenizer   of the corpus, whose tokens' bytes are counted
 *
 * Owns: nothing. Errors: SONDE_E_RANGE (no document has a token; a vocabulary larger than the model's), SONDE_E_NONFINITE, SONDE_E_INTERRUPTED, SONDE_E_NOMEM. */
SONDE_API sonde_status sonde_lm_evaluate(sonde_lm_score *out, const sonde_model *model, const sonde_corpus *corpus,
                                         const sonde_tokenizer *tokenizer, int64_t limit) SONDE_MUST_USE;

/* ---- state ---------------------------------------------------------------------------------------------------------------- */

/* Writes all that training needs to go on: weights and moments as floats, the step, the options, hashes of corpus and config,
 * as one safetensors file, written beside and renamed.
 * Owns: nothing. Errors: SONDE_E_NONFINITE (a weight or moment: its name; nothing is written), SONDE_E_IO, SONDE_E_NOMEM. What was
 * there is as it was then. */
SONDE_API sonde_status sonde_lm_trainer_save(const sonde_lm_trainer *trainer, const char *path) SONDE_MUST_USE;

/* The options of such a file, to make a trainer with that goes on from it.
 * Owns: nothing. Errors: SONDE_E_NOTFOUND, SONDE_E_FORMAT (no state of a training; an option that is missing, or outside its bounds),
 * SONDE_E_NOMEM. *out is as it was then. */
SONDE_API sonde_status sonde_lm_opts_load(sonde_lm_opts *out, const char *path) SONDE_MUST_USE;

/* Goes on from such a file. Options that decide what is computed must be those of the file, but for the length of the training
 * (`steps`), the schedule and its step size, weight decay and clipping: so that it may be made longer, or saved from steps
 * that are too large.
 * Owns: nothing. Errors: SONDE_E_NOTFOUND, SONDE_E_FORMAT, SONDE_E_ARG (another option, model or corpus: its name and both values;
 * a file behind the last of `steps`), SONDE_E_NOMEM. The trainer is as it was then. Another kernel set is a note in the log. */
SONDE_API sonde_status sonde_lm_trainer_load(sonde_lm_trainer *trainer, const char *path) SONDE_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
