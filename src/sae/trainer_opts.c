/* trainer_opts.c - options of the training of an autoencoder, and the architectures' rules.    floor 7: sae
 *
 * Defaults and bounds come from the one list in sonde/sae.h. What the list cannot say is checked here: what a transcoder may
 * be, what k means to an architecture, whether groups grow. The table of rules is what an architecture is to the rest of the
 * trainer: which vectors it has and what their gradients are sums of, how features are chosen, whether a second reconstruction
 * goes along, and the two functions of a row.
 */
#include "sae/trainer.h"

#include "train/state.h"

#include <math.h>

/* Which rule an architecture follows. */
const sondep_sae_rule sondep_sae_rules[] = {
    [SONDE_SAE_ARCH_STANDARD_2023] = {.vectors = {"b_enc"},
                                      .gradients = {SONDEP_SAE_SUM_DH},
                                      .is_unit = true,
                                      .lifts = true,
                                      .activate = sondep_sae_relu_activate,
                                      .back = sondep_sae_relu_back},
    [SONDE_SAE_ARCH_STANDARD] = {.vectors = {"b_enc"},
                                 .gradients = {SONDEP_SAE_SUM_DH},
                                 .has_pull = true,
                                 .pull = SONDEP_SAE_SUM_VALUE,
                                 .lifts = true,
                                 .activate = sondep_sae_relu_activate,
                                 .back = sondep_sae_relu_back},
    [SONDE_SAE_ARCH_GATED] = {.vectors = {"b_gate", "b_mag", "r_mag"},
                              .gradients = {SONDEP_SAE_SUM_EXTRA, SONDEP_SAE_SUM_EXTRA + 1, SONDEP_SAE_SUM_EXTRA + 2},
                              .keeps_h = true,
                              .has_gate = true,
                              .n_extras = 3,
                              .has_pull = true,
                              .pull = SONDEP_SAE_SUM_GATE,
                              .activate = sondep_sae_gated_activate,
                              .back = sondep_sae_gated_back},
    [SONDE_SAE_ARCH_TOPK] = {.vectors = {"b_enc"}, .gradients = {SONDEP_SAE_SUM_DH}, .is_topk = true},
    [SONDE_SAE_ARCH_BATCHTOPK] = {.vectors = {"b_enc"}, .gradients = {SONDEP_SAE_SUM_DH}, .is_topk = true, .is_batch = true},
    [SONDE_SAE_ARCH_ABSTOPK] = {.vectors = {"b_enc"},
                                .gradients = {SONDEP_SAE_SUM_DH},
                                .is_topk = true,
                                .is_absolute = true},
    [SONDE_SAE_ARCH_MATRYOSHKA] =
        {.vectors = {"b_enc"}, .gradients = {SONDEP_SAE_SUM_DH}, .is_topk = true, .is_batch = true, .is_nested = true},
    [SONDE_SAE_ARCH_JUMPRELU] = {.vectors = {"b_enc", "threshold"},
                                 .gradients = {SONDEP_SAE_SUM_DH, SONDEP_SAE_SUM_EXTRA},
                                 .keeps_h = true,
                                 .n_extras = 2,
                                 .has_pull = true,
                                 .pull = SONDEP_SAE_SUM_EXTRA + 1,
                                 .lifts = true,
                                 .activate = sondep_sae_jumprelu_activate,
                                 .back = sondep_sae_jumprelu_back},
    [SONDE_SAE_ARCH_PANNEAL] = {.vectors = {"b_enc"},
                                .gradients = {SONDEP_SAE_SUM_DH},
                                .is_unit = true,
                                .lifts = true,
                                .activate = sondep_sae_relu_activate,
                                .back = sondep_sae_panneal_back},
    [SONDE_SAE_ARCH_PURSUIT] = {.vectors = {NULL}},
    [SONDE_SAE_ARCH_KL] = {.vectors = {"b_enc"},
                           .gradients = {SONDEP_SAE_SUM_DH},
                           .has_means = true,
                           .activate = sondep_sae_relu_activate,
                           .back = sondep_sae_kl_back},
};

#define DEFAULT(name, flag, value, least, most, what) .name = (value),
#define DEFAULT_CHOICE(name, flag, value, names, what) .name = (value),
/* From the one list. */
void sonde_sae_train_opts_init(sonde_sae_train_opts *out)
{
    *out = (sonde_sae_train_opts){.struct_size = sizeof *out,
                                  SONDE_SAE_TRAIN_OPTION_LIST(DEFAULT, DEFAULT_CHOICE, DEFAULT).d_in = 0};
}
#undef DEFAULT
#undef DEFAULT_CHOICE

/* What an option can be of use to. */
enum {
    TO_ALL = 1 << 0,
    TO_TOPK = 1 << 1, /* and its relatives */
    TO_BATCH = 1 << 2,
    TO_PENALTY = 1 << 3,
    TO_L1 = 1 << 4,
    TO_JUMPRELU = 1 << 5,
    TO_TANH = 1 << 6,
    TO_PANNEAL = 1 << 7,
    TO_PURSUIT = 1 << 8,
    TO_KL = 1 << 9,
    TO_TARGET = 1 << 10,  /* there is an L0 that is wanted */
    TO_LENGTHS = 1 << 11, /* decoder rows may have any */
    TO_WSD = 1 << 12,
    TO_FALL = 1 << 13, /* of the step size */
    TO_PLATEAU = 1 << 14,
    TO_LIFT = 1 << 15 /* of dead features */
};

/* Which of these a training is. */
static unsigned uses_of(const sonde_sae_train_opts *o)
{
    const sondep_sae_rule *rule = &sondep_sae_rules[o->arch];
    bool is_jumprelu = o->arch == SONDE_SAE_ARCH_JUMPRELU, is_kl = o->arch == SONDE_SAE_ARCH_KL;
    bool is_pursuit = o->arch == SONDE_SAE_ARCH_PURSUIT, has_penalty = rule->back != NULL;
    bool has_target = has_penalty && (o->l0_control > 0.0 || (is_jumprelu && o->penalty == SONDE_SAE_PENALTY_QUADRATIC));
    const struct {
        unsigned use;
        bool has;
    } some[] = {{TO_ALL, true},
                {TO_TOPK, rule->is_topk},
                {TO_BATCH, rule->is_batch},
                {TO_PENALTY, has_penalty},
                {TO_L1, has_penalty && !is_jumprelu && !is_kl},
                {TO_JUMPRELU, is_jumprelu},
                {TO_TANH, is_jumprelu && o->penalty == SONDE_SAE_PENALTY_TANH},
                {TO_PANNEAL, o->arch == SONDE_SAE_ARCH_PANNEAL},
                {TO_PURSUIT, is_pursuit},
                {TO_KL, is_kl},
                {TO_TARGET, has_target},
                {TO_LENGTHS, !rule->is_unit && !is_pursuit},
                {TO_WSD, o->schedule == SONDE_SCHEDULE_WSD},
                {TO_FALL, o->schedule != SONDE_SCHEDULE_CONSTANT},
                {TO_PLATEAU, o->plateau_every > 0},
                {TO_LIFT, rule->lifts}};
    unsigned uses = 0;

    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        uses |= some[i].has ? some[i].use : 0;
    return uses;
}

/* Options that are not there for all; one of the list that is not here is. */
static unsigned uses_of_flag(const char *flag)
{
    static const struct {
        const char *flag;
        unsigned uses; /* any of them */
    } narrow[] = {{"k", TO_TOPK | TO_PURSUIT},
                  {"l1", TO_L1},
                  {"l0", TO_JUMPRELU},
                  {"sparsity-warmup", TO_PENALTY},
                  {"decay-steps", TO_WSD},
                  {"last-lr", TO_FALL},
                  {"init-norm", TO_LENGTHS},
                  {"by-norm", TO_TOPK},
                  {"aux", TO_TOPK},
                  {"aux-k", TO_TOPK},
                  {"threshold-rate", TO_BATCH},
                  {"init-threshold", TO_JUMPRELU},
                  {"bandwidth", TO_JUMPRELU},
                  {"penalty", TO_JUMPRELU},
                  {"tanh-scale", TO_TANH},
                  {"target-l0", TO_TARGET},
                  {"l0-control", TO_PENALTY},
                  {"pre-act", TO_LIFT},
                  {"ste-to-input", TO_JUMPRELU},
                  {"anneal-start", TO_PANNEAL},
                  {"last-p", TO_PANNEAL},
                  {"residual-threshold", TO_PURSUIT},
                  {"kl", TO_KL},
                  {"rho", TO_KL},
                  {"weight-l1", TO_KL},
                  {"plateau-patience", TO_PLATEAU},
                  {"plateau-factor", TO_PLATEAU}};
#define KNOWN(name, own, ...) || strcmp(flag, own) == 0

    for (size_t i = 0; i < sizeof narrow / sizeof *narrow; i++)
        if (strcmp(flag, narrow[i].flag) == 0)
            return narrow[i].uses;
    return false SONDE_SAE_TRAIN_OPTION_LIST(KNOWN, KNOWN, KNOWN) ? TO_ALL : 0;
#undef KNOWN
}

bool sonde_sae_train_opts_use(const sonde_sae_train_opts *opts, const char *flag)
{
    bool is_known = opts->arch >= 0 && opts->arch <= SONDE_SAE_ARCH_KL;
    return is_known && (uses_of(opts) & uses_of_flag(flag)) != 0;
}

#define CHECK(name, flag, value, least, most, what) SONDE_TRY(sondep_check_option(flag, (double)o->name, least, most));
#define CHECK_CHOICE(name, flag, value, names, what) SONDE_TRY(sondep_check_choice(flag, o->name, names));
/* Every option of the list, and the sizes beside it. */
static sonde_status check_bounds(const sonde_sae_train_opts *o)
{
    static const double most = 1 << 30;

    SONDE_SAE_TRAIN_OPTION_LIST(CHECK, CHECK_CHOICE, CHECK)
    SONDE_TRY(sondep_check_option("d_in", (double)o->d_in, 1, most));
    SONDE_TRY(sondep_check_option("d_sae", (double)o->d_sae, 1, most));
    return sondep_check_option("d_out", (double)o->d_out, 0, most);
}
#undef CHECK
#undef CHECK_CHOICE

/* What a transcoder may be: other architectures have no reader. */
static sonde_status check_transcoder(const sonde_sae_train_opts *o)
{
    bool is_known = o->arch == SONDE_SAE_ARCH_STANDARD || o->arch == SONDE_SAE_ARCH_TOPK ||
                    o->arch == SONDE_SAE_ARCH_BATCHTOPK || o->arch == SONDE_SAE_ARCH_JUMPRELU;

    if (o->d_out == 0 && o->has_skip)
        return SONDE_FAIL(SONDE_E_ARG, "'skip' is for transcoders, which write another hook point than they read");
    if (o->d_out > 0 && !is_known)
        return SONDE_FAIL(SONDE_E_ARG, "a transcoder is standard, topk, batchtopk or jumprelu");
    if (o->d_out > 0 && o->scaling > SONDE_SAE_SCALE_AVERAGE)
        return SONDE_FAIL(SONDE_E_ARG, "'scaling' of transcoders is none or average");
    return SONDE_OK;
}

/* k as the architecture takes it. */
static sonde_status check_k(const sonde_sae_train_opts *o)
{
    bool counts = o->arch == SONDE_SAE_ARCH_TOPK || o->arch == SONDE_SAE_ARCH_ABSTOPK || o->arch == SONDE_SAE_ARCH_PURSUIT;

    if (counts && (o->k < 1 || o->k != floor(o->k)))
        return SONDE_FAIL(SONDE_E_ARG, "option 'k' is %g, not a whole number of features", o->k);
    if (sondep_sae_rules[o->arch].is_topk && o->k > (double)o->d_sae)
        return SONDE_FAIL(SONDE_E_ARG, "option 'k' is %g, there are %lld features", o->k, (long long)o->d_sae);
    return SONDE_OK;
}

/* A weight that moves is that of a penalty. */
static sonde_status check_control(const sonde_sae_train_opts *o)
{
    bool has_weight = sondep_sae_rules[o->arch].back != NULL && sondep_sae_penalty_weight(o) > 0.0;

    if (o->l0_control > 0.0 && !has_weight)
        return SONDE_FAIL(SONDE_E_ARG, "option 'l0-control' is for architectures with a penalty, whose weight is not 0");
    return SONDE_OK;
}

/* Groups that grow and end with all features. */
static sonde_status check_groups(const sonde_sae_train_opts *o)
{
    if (o->groups == NULL || o->arch != SONDE_SAE_ARCH_MATRYOSHKA)
        return o->groups == NULL ? SONDE_OK : SONDE_FAIL(SONDE_E_ARG, "option 'groups' is for the architecture matryoshka");
    SONDE_TRY(sondep_check_option("n_groups", (double)o->n_groups, 1, SONDEP_SAE_GROUPS));
    for (int64_t i = 0; i < o->n_groups; i++)
        if (o->groups[i] <= (i > 0 ? o->groups[i - 1] : 0))
            return SONDE_FAIL(SONDE_E_ARG, "option 'groups': %lld does not follow %lld", (long long)o->groups[i],
                              (long long)(i > 0 ? o->groups[i - 1] : 0));
    if (o->groups[o->n_groups - 1] != o->d_sae)
        return SONDE_FAIL(SONDE_E_ARG, "option 'groups' ends with %lld, there are %lld features",
                          (long long)o->groups[o->n_groups - 1], (long long)o->d_sae);
    return SONDE_OK;
}

/* What was measured to be best, or as good as the best, at 2,304 features (docs/results/stories15M.md), and smaller by the root of the width for
 * more, as Gao et al. 2024 find. kl, whose plateaus are to cut it, begins with Adam's usual one. */
static double good_lr(const sonde_sae_train_opts *o)
{
    return (o->arch == SONDE_SAE_ARCH_KL ? 1e-3 : 3.2e-3) * fmin(1.0, sqrt(2304.0 / (double)o->d_sae));
}

/* Of the option that an architecture has for it. */
double sondep_sae_penalty_weight(const sonde_sae_train_opts *o)
{
    switch (o->arch) {
    case SONDE_SAE_ARCH_JUMPRELU: return o->l0;
    case SONDE_SAE_ARCH_KL: return o->kl;
    default: return o->l1;
    }
}

/* What an option of 0 leaves to us is chosen behind all checks. */
sonde_status sondep_sae_opts_read(sonde_sae_train_opts *out, const sonde_sae_train_opts *opts)
{
    sonde_sae_train_opts_init(out);
    SONDE_TRY(sondep_opts_read(out, sizeof *out, opts, "the struct of training options"));
    SONDE_TRY(check_bounds(out));
    SONDE_TRY(check_transcoder(out));
    SONDE_TRY(check_k(out));
    SONDE_TRY(check_control(out));
    SONDE_TRY(check_groups(out));
    out->ties_bias = out->d_out > 0 ? 0 : out->ties_bias;
    out->lr = out->lr > 0.0 ? out->lr : good_lr(out);
    if (out->aux_k == 0)
        out->aux_k = out->d_in > 1 ? out->d_in / 2 : 1;
    out->aux_k = out->aux_k < out->d_sae ? out->aux_k : out->d_sae;
    if (sondep_sae_rules[out->arch].is_unit || out->arch == SONDE_SAE_ARCH_PURSUIT)
        out->init_norm = 1.0;
    return SONDE_OK;
}
