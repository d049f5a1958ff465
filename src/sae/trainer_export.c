/* trainer_export.c - what was trained, as it is used.                           floor 7: sae
 *
 *   x' = x scale_in                           W_enc scale_in;   W_dec / scale_out;   b_dec / scale_out
 *   x' = (x - mean) M, M^-1 = U               M W_enc;   W_dec U;   b_dec U + mean     (b_enc less mean M W_enc where b_dec is not taken from x)
 *   features chosen by h |d_s|                W_enc |d_s|;   b_enc |d_s|;   W_dec / |d_s|, with the lengths behind the scale
 *   matching pursuit                          W_dec as it is, which is its encoder: v = rest . d has the scale of the rest
 *   BatchTopK                                 JumpReLU with the threshold that followed the batches, / scale_out: a mean that began
 *                                             at 0, over the weight that its batches have by now (SAELens leaves that out)
 *
 * Source: sae_lens 6.54.12, fold_activation_norm_scaling_factor, fold_activation_whitening, process_state_dict_for_saving_inference.
 */
#include "sae/trainer.h"

#include <math.h>
#include <stdio.h>

/* The architecture's name as SAELens has it. */
static const char *architecture_of(const sonde_sae_trainer *t)
{
    bool has_skip = t->opts.has_skip != 0;

    switch (t->opts.arch) {
    case SONDE_SAE_ARCH_GATED: return "gated";
    case SONDE_SAE_ARCH_TOPK: return !t->is_transcoder ? "topk" : has_skip ? "topk_skip_transcoder" : "topk_transcoder";
    case SONDE_SAE_ARCH_ABSTOPK: return "abstopk";
    case SONDE_SAE_ARCH_PURSUIT: return "matching_pursuit";
    case SONDE_SAE_ARCH_BATCHTOPK:
    case SONDE_SAE_ARCH_MATRYOSHKA:
    case SONDE_SAE_ARCH_JUMPRELU:
        return !t->is_transcoder ? "jumprelu" : has_skip ? "jumprelu_skip_transcoder" : "jumprelu_transcoder";
    default: return !t->is_transcoder ? "standard" : has_skip ? "skip_transcoder" : "transcoder";
    }
}

/* How its features follow from pre-activations when it is used. */
static sonde_sae_activation activation_of(const sonde_sae_trainer *t)
{
    switch (t->opts.arch) {
    case SONDE_SAE_ARCH_GATED: return SONDE_SAE_GATED;
    case SONDE_SAE_ARCH_TOPK: return SONDE_SAE_TOPK;
    case SONDE_SAE_ARCH_ABSTOPK: return SONDE_SAE_ABSTOPK;
    case SONDE_SAE_ARCH_PURSUIT: return SONDE_SAE_PURSUIT;
    case SONDE_SAE_ARCH_BATCHTOPK:
    case SONDE_SAE_ARCH_MATRYOSHKA:
    case SONDE_SAE_ARCH_JUMPRELU: return SONDE_SAE_JUMPRELU;
    default: return SONDE_SAE_RELU;
    }
}

/* What cfg.json will say. */
static void describe(sonde_sae_config *c, const sonde_sae_trainer *t, const char *model, const char *hook,
                     const char *hook_out)
{
    *c = (sonde_sae_config){.activation = activation_of(t),
                            .d_in = t->D,
                            .d_sae = t->S,
                            .d_out = t->O,
                            .normalization = t->normalization,
                            .applies_b_dec = t->ties_bias,
                            .is_transcoder = t->is_transcoder,
                            .has_skip = t->opts.has_skip != 0};
    snprintf(c->architecture, sizeof c->architecture, "%s", architecture_of(t));
    snprintf(c->model_name, sizeof c->model_name, "%s", model ? model : "");
    snprintf(c->hook_name, sizeof c->hook_name, "%s", hook ? hook : "");
    snprintf(c->hook_name_out, sizeof c->hook_name_out, "%s", hook_out ? hook_out : "");
    if (c->activation == SONDE_SAE_TOPK || c->activation == SONDE_SAE_ABSTOPK)
        c->k = (int64_t)t->opts.k;
    if (c->activation == SONDE_SAE_PURSUIT) {
        c->max_iterations = (int64_t)t->opts.k;
        c->stops_on_duplicate = true;
        c->residual_threshold = t->opts.residual_threshold / t->scale_in;
    }
}

/* Row s of a matrix of features, through a matrix of the whitening: out (D) = sum_i row[i] m[i * row_step + d * column_step]. */
static void turn_row(double *out, const float *row, const double *m, int64_t D, int64_t row_step, int64_t column_step)
{
    for (int64_t d = 0; d < D; d++) {
        out[d] = 0.0;
        for (int64_t i = 0; i < D; i++)
            out[d] += row[i] * m[i * row_step + d * column_step];
    }
}

/* Feature s: its rows in the scale of the input, and the factor that makes its decoder's row one of length 1, if that is asked for. */
static double fold_feature(sonde_sae *sae, const sonde_sae_trainer *t, int64_t s, double *in, double *out)
{
    const float *w_in = sondep_sae_at(t, t->w, SONDEP_SAE_IN), *w_out = sondep_sae_at(t, t->w, SONDEP_SAE_OUT) + s * t->O;
    double squares = 0.0, norm = 1.0;

    /* where the decoder is the encoder, too, features have the scale */
    for (int64_t d = 0; d < t->O; d++)
        out[d] = w_out[d] / (w_in != NULL ? t->scale_out : 1.0);
    for (int64_t d = 0; d < t->D && w_in != NULL; d++)
        in[d] = w_in[s * t->D + d] * t->scale_in;
    if (t->mean != NULL) {
        turn_row(out, w_out, t->unwhiten, t->D, t->D, 1);
        turn_row(in, w_in + s * t->D, t->whiten, t->D, 1, t->D);
    }
    /* whether it is chosen does not depend on the scale of the output, but on the lengths that it was trained with */
    for (int64_t d = 0; d < t->O; d++)
        squares += (double)w_out[d] * w_out[d];
    if (t->rule->is_topk && t->opts.rescales && squares > 0.0)
        norm = sqrt(squares) / t->scale_out;
    for (int64_t d = 0; d < t->O; d++)
        sae->w[SONDEP_W_DEC][s * t->O + d] = (float)(out[d] / norm);
    for (int64_t d = 0; d < t->D && w_in != NULL; d++)
        sae->w[SONDEP_W_ENC][d * t->S + s] = (float)(in[d] * norm);
    return norm;
}

/* What the mean of the whitening gives to h of a feature: nothing where b_dec is taken from the input, which it lies in then. */
static double shift_of(const sonde_sae_trainer *t, const double *in)
{
    double shift = 0.0;

    for (int64_t d = 0; d < t->D && t->mean != NULL && !t->ties_bias; d++)
        shift += t->mean[d] * in[d];
    return shift;
}

/* The threshold of BatchTopK in the scale of the input. */
static double threshold_of(const sonde_sae_trainer *t)
{
    double weight = t->threshold_weight;

    return t->threshold / (weight > 0.0 ? weight : 1.0) / (t->opts.rescales ? t->scale_out : 1.0);
}

/* Numbers of feature s. */
static void fold_vectors(sonde_sae *sae, const sonde_sae_trainer *t, int64_t s, double norm, double shift)
{
    static const int weights[] = {SONDEP_B_ENC, SONDEP_THRESHOLD, SONDEP_B_GATE, SONDEP_B_MAG, SONDEP_R_MAG};
    const float *r = sae->w[SONDEP_R_MAG] ? sondep_sae_at(t, t->w, SONDEP_SAE_VECTOR + 2) : NULL;

    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
        for (int k = 0; t->rule->vectors[k] != NULL; k++) {
            double value = sondep_sae_at(t, t->w, SONDEP_SAE_VECTOR + k)[s];
            if (strcmp(t->rule->vectors[k], sondep_sae_weight_name(weights[i])) != 0)
                continue;
            if (weights[i] == SONDEP_B_ENC || weights[i] == SONDEP_B_GATE)
                value = (value - shift) * norm;
            if (weights[i] == SONDEP_B_MAG)
                value -= shift * exp((double)r[s]);
            sae->w[weights[i]][s] = (float)value;
        }
    if (t->rule->is_batch)
        sae->w[SONDEP_THRESHOLD][s] = (float)threshold_of(t);
}

/* b_dec, and W_skip. */
static void fold_output(sonde_sae *sae, const sonde_sae_trainer *t, double *room)
{
    const float *b = sondep_sae_at(t, t->w, SONDEP_SAE_B_DEC), *skip = sondep_sae_at(t, t->w, SONDEP_SAE_SKIP);

    for (int64_t d = 0; d < t->O; d++)
        room[d] = b[d] / t->scale_out;
    if (t->mean != NULL)
        turn_row(room, b, t->unwhiten, t->D, t->D, 1);
    for (int64_t d = 0; d < t->O; d++)
        sae->w[SONDEP_B_DEC][d] = (float)(room[d] + (t->mean != NULL ? t->mean[d] : 0.0));
    for (int64_t i = 0; i < t->O * t->D && skip != NULL; i++)
        sae->w[SONDEP_W_SKIP][i] = (float)(skip[i] * t->scale_in / t->scale_out);
}

/* Feature by feature: what is folded into the encoder goes the other way into the decoder. */
sonde_status sonde_sae_trainer_export(sonde_sae **out, const sonde_sae_trainer *t, const char *model_name, const char *hook,
                                      const char *hook_out)
{
    sonde_sae_config config;
    sonde_sae *sae = NULL;
    double *in = NULL, *row = NULL;
    sonde_status status;

    *out = NULL;
    if (t->mean != NULL && t->opts.arch == SONDE_SAE_ARCH_PURSUIT)
        return SONDE_FAIL(SONDE_E_UNSUPPORTED,
                          "whitening cannot be folded into matching pursuit, whose encoder is its decoder");
    describe(&config, t, model_name, hook, hook_out);
    /* rows in double while they are scaled, turned and scaled again: rounded once */
    SONDE_TRY_DONE(SONDE_NEW(in, t->D));
    SONDE_TRY_DONE(SONDE_NEW(row, t->O));
    SONDE_TRY_DONE(sondep_sae_new(&sae, &config));
    for (int64_t s = 0; s < t->S; s++) {
        double norm = fold_feature(sae, t, s, in, row);
        fold_vectors(sae, t, s, norm, shift_of(t, in));
    }
    fold_output(sae, t, row);
    SONDE_TRY_DONE(sondep_sae_finish(sae));
    *out = sae;
    sae = NULL;
done:
    sonde_sae_free(sae);
    sondep_free(in);
    sondep_free(row);
    return status;
}
