/* lm_manifest.c - manifest.json: how a training was made, and the settings that --resume takes over.     floor 10: cli
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

/* A text; null where it is none, or is not UTF-8, which JSON cannot hold. */
static json_t *text_or_null(const char *text)
{
    json_t *out = text ? json_string(text) : NULL;
    return out ? out : json_null();
}

/* Texts as JSON has them, in their order. */
static json_t *texts(const char *const *items, int64_t n)
{
    json_t *out = json_array();
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(out, text_or_null(items[i]));
    return out;
}

/* Name number i of "a|b|c"; null if there is none. */
static json_t *choice_text(const char *names, int64_t i)
{
    while (i-- > 0 && names != NULL) {
        names = strchr(names, '|');
        names = names ? names + 1 : NULL;
    }
    return names ? json_stringn(names, strcspn(names, "|")) : json_null();
}

/* The value of an option. */
static json_t *value_of(const cli_option *option)
{
    const cli_strings *list = option->to;

    switch (option->kind) {
    case CLI_FLAG: return json_boolean(*(const bool *)option->to);
    case CLI_INT: return json_integer(*(const int64_t *)option->to);
    case CLI_CHOICE: return choice_text(option->value, *(const int64_t *)option->to);
    case CLI_REAL: return cli_json_real(*(const double *)option->to);
    case CLI_TEXT: return text_or_null(*(const char *const *)option->to);
    case CLI_LIST: return texts(list->items, list->n);
    case CLI_END: break;
    }
    return json_null();
}

/* The settings of the program, each under the name of its option. */
static json_t *settings_of(const lm_training *t)
{
    json_t *out = json_object();
    for (const cli_option *option = t->settings; option->kind != CLI_END; option++)
        json_object_set_new(out, option->name, value_of(option));
    return out;
}

/* The options of the training, with what was chosen for it. */
static json_t *options_of(const sonde_lm_opts *o)
{
    json_t *out = json_object();
#define PUT_WHOLE(name, flag, value, least, most, what) json_object_set_new(out, flag, json_integer(o->name));
#define PUT_CHOICE(name, flag, value, names, what) json_object_set_new(out, flag, choice_text(names, o->name));
#define PUT_REAL(name, flag, value, least, most, what) json_object_set_new(out, flag, cli_json_real(o->name));
    SONDE_LM_OPTION_LIST(PUT_WHOLE, PUT_CHOICE, PUT_REAL)
#undef PUT_WHOLE
#undef PUT_CHOICE
#undef PUT_REAL
    json_object_set_new(out, "separator", json_integer(o->separator));
    return out;
}

/* As all hashes are shown: 16 digits. */
static json_t *hash_text(uint64_t hash)
{
    char text[24];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    return json_string(text);
}

/* The hash of a file's bytes; null where it cannot be read. */
static json_t *hash_of_file(const char *path)
{
    char *text;
    size_t n_bytes;
    json_t *hash;

    if (lm_read_text(&text, &n_bytes, path) != SONDE_OK)
        return json_null();
    hash = hash_text(cli_hash(CLI_HASH_START, text, n_bytes));
    free(text);
    return hash;
}

/* ISO 8601, in UTC. */
static json_t *time_text(int64_t seconds)
{
    time_t moment = (time_t)seconds;
    struct tm parts;
    char text[32];

    if (gmtime_r(&moment, &parts) == NULL || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        return json_null();
    return json_string(text);
}

/* A field of the earlier manifest, or what stands for it. */
static json_t *earlier(const lm_training *t, const char *key, json_t *otherwise)
{
    json_t *value = json_object_get(t->earlier, key);

    if (value == NULL)
        return otherwise;
    json_decref(otherwise);
    return json_incref(value);
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
    json_object_set_new(out, "began", earlier(t, "began", time_text(t->began)));
    json_object_set_new(out, "written", time_text((int64_t)time(NULL)));
    json_object_set_new(out, "seconds", cli_json_real(before + seconds));
    json_object_set_new(out, "seconds_of_this_run", cli_json_real(seconds));
    json_object_set_new(out, "first_step_of_this_run", json_integer(t->first_step));
    json_object_set_new(out, "peak_memory_bytes", json_integer(cli_peak_bytes()));
}

sonde_status lm_manifest_write(const lm_training *t)
{
    json_t *out = cli_json("sonde.manifest/1");
    char *text;
    size_t n_bytes;
    sonde_status status;

    json_object_set_new(out, "command", json_string("lm train"));
    json_object_set_new(out, "arguments", texts(t->call->words, t->call->n_words));
    json_object_set_new(out, "version", json_string(sonde_version()));
    json_object_set_new(out, "init", earlier(t, "init", text_or_null(t->init)));
    json_object_set_new(out, "settings", settings_of(t));
    json_object_set_new(out, "options", options_of(sonde_lm_trainer_opts(t->trainer)));
    json_object_set(out, "data", t->files);
    json_object_set_new(out, "corpus_tokens", json_integer(sonde_corpus_n_tokens(t->corpus)));
    json_object_set_new(out, "corpus_hash", hash_text(sonde_corpus_hash(t->corpus)));
    json_object_set_new(out, "config_hash", hash_of_file(lm_path(t->folder, "config.json")));
    json_object_set_new(out, "parameters", json_integer(sonde_model_n_parameters(sonde_lm_trainer_model(t->trainer))));
    json_object_set_new(out, "kernels", json_string(sonde_kernel_name()));
    json_object_set_new(out, "threads", json_integer(sonde_threads()));
    put_results(out, t);
    text = json_dumps(out, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    json_decref(out);
    if (text == NULL)
        return cli_fail(SONDE_E_NOMEM, "out of memory");
    n_bytes = strlen(text);
    text[n_bytes] = '\n'; /* in the NUL's place, which is not written */
    status = lm_write_text(t->folder, "manifest.json", text, n_bytes + 1);
    free(text);
    return status;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* Texts that the list keeps pointing to: the manifest is freed after them. */
static bool take_list(cli_strings *list, const json_t *value)
{
    for (size_t i = 0; i < json_array_size(value); i++) {
        const char *text = json_string_value(json_array_get(value, i));
        if (text == NULL || CLI_GROW(list->items, list->n, list->capacity) != SONDE_OK)
            return false;
        list->items[list->n++] = text;
    }
    return json_is_array(value);
}

/* A whole number within the bounds of its option. */
static bool take_int(const cli_option *option, const json_t *value)
{
    json_int_t x = json_integer_value(value);

    if (!json_is_integer(value) || (double)x < option->min || (double)x > option->max)
        return false;
    *(int64_t *)option->to = x;
    return true;
}

/* One of the names of a choice, whose number the option holds. */
static bool take_choice(const cli_option *option, const json_t *value)
{
    bool is_name = true, is_same = false;

    for (int64_t i = 0; is_name && !is_same; i++) {
        json_t *name = choice_text(option->value, i);
        is_name = json_is_string(name);
        is_same = is_name && json_equal(name, value);
        if (is_same)
            *(int64_t *)option->to = i;
        json_decref(name);
    }
    return is_same;
}

/* Gives an option the value that it had; false if it cannot have had that. */
static bool take_value(const cli_option *option, const json_t *value)
{
    switch (option->kind) {
    case CLI_FLAG: *(bool *)option->to = json_is_true(value); return json_is_boolean(value);
    case CLI_INT: return take_int(option, value);
    case CLI_CHOICE: return take_choice(option, value);
    case CLI_REAL: *(double *)option->to = json_number_value(value); return json_is_number(value);
    case CLI_TEXT:
        *(const char **)option->to = json_string_value(value);
        return json_is_null(value) || json_is_string(value);
    case CLI_LIST: return take_list(option->to, value);
    case CLI_END: break;
    }
    return false;
}

sonde_status lm_manifest_read(lm_training *t)
{
    const char *path = lm_path(t->folder, "manifest.json");
    json_error_t error;
    const json_t *settings;

    if (!lm_exists(path))
        return SONDE_OK;
    t->earlier = json_load_file(path, 0, &error);
    if (t->earlier == NULL)
        return cli_fail(SONDE_E_FORMAT, "'%s': %s (line %d)", path, error.text, error.line);
    /* what is taken over was written by the program: anything else was changed by hand */
    settings = json_object_get(t->earlier, "settings");
    for (const cli_option *option = t->settings; option->kind != CLI_END; option++) {
        const json_t *value = json_object_get(settings, option->name);
        if (value != NULL && !cli_is_given(option->to) && !take_value(option, value))
            return cli_fail(SONDE_E_FORMAT, "'%s': the setting '%s' is not one that the program wrote", path, option->name);
    }
    return SONDE_OK;
}
