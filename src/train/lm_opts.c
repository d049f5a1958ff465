/* lm_opts.c - the options of a training: defaults, bounds, what is left to us.  floor 6: train */
#include "train/lm.h"
#include "train/state.h"

enum { MICRO_TOKENS = 2048 }; /* a few thousand rows: enough for the products, few enough for the caches */

#define DEFAULT(name, flag, value, least, most, what) .name = (value),
#define DEFAULT_CHOICE(name, flag, value, names, what) .name = (value),
void sonde_lm_opts_init(sonde_lm_opts *out)
{
    *out =
        (sonde_lm_opts){.struct_size = sizeof *out, SONDE_LM_OPTION_LIST(DEFAULT, DEFAULT_CHOICE, DEFAULT).separator = -1};
}
#undef DEFAULT
#undef DEFAULT_CHOICE

#define CHECK(name, flag, value, least, most, what) SONDE_TRY(sondep_check_option(flag, (double)o->name, least, most));
#define CHECK_CHOICE(name, flag, value, names, what) SONDE_TRY(sondep_check_choice(flag, o->name, names));
static sonde_status check_bounds(const sonde_lm_opts *o)
{
    SONDE_LM_OPTION_LIST(CHECK, CHECK_CHOICE, CHECK)
    return SONDE_OK;
}
#undef CHECK
#undef CHECK_CHOICE

sonde_status sondep_lm_opts_read(sonde_lm_opts *out, const sonde_lm_opts *opts, const sonde_config *config)
{
    sonde_lm_opts_init(out);
    SONDE_TRY(sondep_opts_read(out, sizeof *out, opts, "the struct of training options"));
    SONDE_TRY(check_bounds(out));
    if (out->separator < -1 || out->separator >= config->n_vocab)
        return SONDE_FAIL(SONDE_E_ARG, "option 'separator' is %lld, outside the vocabulary of %lld",
                          (long long)out->separator, (long long)config->n_vocab);
    out->context = out->context ? out->context : config->n_context;
    if (out->context > config->n_context)
        return SONDE_FAIL(SONDE_E_ARG, "option 'context' is %lld, the model's context is %lld", (long long)out->context,
                          (long long)config->n_context);
    if (out->micro_batch == 0)
        out->micro_batch = out->context >= MICRO_TOKENS ? 1 : MICRO_TOKENS / out->context;
    out->micro_batch = out->micro_batch > out->batch ? out->batch : out->micro_batch;
    return SONDE_OK;
}
