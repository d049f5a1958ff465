/* lm_manifest.c - manifest.json of a language model: how it was trained.     floor 10: cli
 *
 * Options of the training itself are in its state, which is as old as the weights; what is here are those of the program:
 * texts, how often to measure and to save. It is written before the first step, so that a run that is killed has one.
 */
#include "lm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* The options of the training, with what was chosen for it. */
static json_t *options_of(const sonde_lm_opts *o)
{
    json_t *out = json_object();
#define PUT_WHOLE(name, flag, value, least, most, what) json_object_set_new(out, flag, json_integer(o->name));
#define PUT_CHOICE(name, flag, value, names, what) json_object_set_new(out, flag, training_choice(names, o->name));
#define PUT_REAL(name, flag, value, least, most, what) json_object_set_new(out, flag, cli_json_real(o->name));
    SONDE_LM_OPTION_LIST(PUT_WHOLE, PUT_CHOICE, PUT_REAL)
#undef PUT_WHOLE
#undef PUT_CHOICE
#undef PUT_REAL
    json_object_set_new(out, "separator", json_integer(o->separator));
    return out;
}

/* Where the training stands. */
static void put_results(json_t *out, const lm_training *t)
{
    lm_point last = lm_curve_last(&t->curve);
    /* a number that is missing counts as 0 */
    double seconds = cli_seconds() - t->started, before = json_number_value(json_object_get(t->earlier, "seconds"));

    json_object_set_new(out, "step", json_integer(sonde_lm_trainer_steps(t->trainer)));
    json_object_set_new(out, "tokens", json_integer(last.n_tokens));
    json_object_set_new(out, "loss", cli_json_real(last.loss));
    json_object_set_new(out, "held_out_loss", cli_json_real(last.held_out_loss));
    json_object_set_new(out, "held_out_bits_per_byte", cli_json_real(last.held_out_bits));
    json_object_set_new(out, "began", training_earlier(t->earlier, "began", training_time(t->began)));
    json_object_set_new(out, "written", training_time((int64_t)time(NULL)));
    json_object_set_new(out, "seconds", cli_json_real(before + seconds));
    json_object_set_new(out, "seconds_of_this_run", cli_json_real(seconds));
    json_object_set_new(out, "first_step_of_this_run", json_integer(t->first_step));
    json_object_set_new(out, "peak_memory_bytes", json_integer(cli_peak_bytes()));
}

/* With each checkpoint, so that it says what the weights beside it are. */
sonde_status lm_manifest_write(const lm_training *t)
{
    json_t *out = cli_json("sonde.manifest/1");

    json_object_set_new(out, "command", json_string("lm train"));
    json_object_set_new(out, "arguments", training_texts(t->call->words, t->call->n_words));
    json_object_set_new(out, "version", json_string(sonde_version()));
    json_object_set_new(out, "init", training_earlier(t->earlier, "init", training_text(t->init)));
    json_object_set_new(out, "settings", training_settings(t->settings));
    json_object_set_new(out, "options", options_of(sonde_lm_trainer_opts(t->trainer)));
    json_object_set(out, "data", t->files);
    json_object_set_new(out, "corpus_tokens", json_integer(sonde_corpus_n_tokens(t->corpus)));
    json_object_set_new(out, "corpus_hash", training_hash(sonde_corpus_hash(t->corpus)));
    json_object_set_new(out, "config_hash", training_file_hash(training_path(t->folder, "config.json")));
    json_object_set_new(out, "parameters", json_integer(sonde_model_n_parameters(sonde_lm_trainer_model(t->trainer))));
    json_object_set_new(out, "kernels", json_string(sonde_kernel_name()));
    json_object_set_new(out, "threads", json_integer(sonde_threads()));
    put_results(out, t);
    return training_manifest_write(out, t->folder);
}
