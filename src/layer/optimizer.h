/* layer/optimizer.h - AdamW and Muon over the parameters of a model, and schedules of the step size.   floor 4: layer
 *
 * Parameters, gradients and moments are blocks of floats of one layout; an entry of a table says what lies where.
 */
#ifndef SONDEP_OPTIMIZER_H
#define SONDEP_OPTIMIZER_H

#include "layer/layer.h"

/* One tensor of a model. */
typedef struct sondep_parameter {
    const char *name;      /* borrowed */
    int64_t first, n;      /* floats of the blocks */
    int64_t rows, columns; /* of a matrix as it lies; a vector has 1 row */
    int64_t parts;         /* matrices side by side in it (3 for queries, keys and values in one), each of columns / parts */
    bool decays;           /* matrices and embeddings, not gains and biases */
    bool is_hidden;        /* a matrix between two layers: not an embedding, not the unembedding */
} sondep_parameter;

typedef enum sondep_optimizer_kind { SONDEP_ADAMW, SONDEP_MUON } sondep_optimizer_kind;

/* What a step needs to know. With Muon, hidden matrices take its step and the rest AdamW's, at the same rate.
 *
 *   Muon, for a hidden matrix W (r,c) with gradient g:  m = m + (1 - momentum) (g - m);   u = g + momentum (m - g)
 *     W = W (1 - rate decay) - rate 0.2 sqrt(max(r, c)) orthogonal(u)
 *   orthogonal(u): five steps x = a x + (b A + c A^2) x, A = x x^T, from x = u / max(|u|_F, 1e-7), (a, b, c) = (3.4445, -4.7750, 2.0315)
 *
 * Source: Jordan et al. 2024, kellerjordan.github.io/posts/muon; the scale, with which Muon takes AdamW's rates, from Liu et
 * al. 2025, arXiv 2502.16982, equation 4; torch.optim.Muon(adjust_lr_fn="match_rms_adamw") in float32. */
typedef struct sondep_optimizer {
    sondep_optimizer_kind kind;
    double beta1, beta2, eps, decay, momentum;
    double clip; /* largest norm of all gradients together; 0: none */
} sondep_optimizer;

/* Blocks that a step reads and writes. v is not read for hidden matrices under Muon. */
typedef struct sondep_moments {
    float *w, *m, *v;
    const float *g;
} sondep_moments;

/* The norm of n gradients, and the factor that brings it down to `clip`. */
double sondep_gradient_norm(const float *g, int64_t n);
double sondep_clip_factor(double norm, double clip);

/* Step number `step` (from 1) of all parameters at a rate; gradients are multiplied by `factor` on the way.
 * scratch: sondep_optimizer_scratch_bytes. */
void sondep_optimizer_step(const sondep_optimizer *o, const sondep_moments *x, const sondep_parameter *parameters, int64_t n,
                           int64_t step, double rate, double factor, void *scratch);
size_t sondep_optimizer_scratch_bytes(const sondep_optimizer *o, const sondep_parameter *parameters, int64_t n);

/* ---- schedules --------------------------------------------------------------------------------------------------------- */

typedef enum sondep_schedule_kind {
    SONDEP_SCHEDULE_CONSTANT,
    SONDEP_SCHEDULE_LINEAR, /* down to `last` over what follows the warm-up */
    SONDEP_SCHEDULE_COSINE, /* the same along half a cosine */
    SONDEP_SCHEDULE_WSD     /* warm-up, stable, decay: constant, then linear to `last` over the last `decay` steps */
} sondep_schedule_kind;

typedef struct sondep_schedule {
    sondep_schedule_kind kind;
    int64_t steps, warmup, decay;
    double rate, last; /* the largest, and the last one */
} sondep_schedule;

/* Rate of step `step`, from 0: (step + 1) / warmup of it while it warms up; `last` is reached by the step behind the end. */
double sondep_schedule_rate(const sondep_schedule *s, int64_t step);

#endif
