/* training_manifest.c - what manifests of trainings are made of, and the settings that --resume takes over.     floor 10: cli */
#include "training.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* A text; null where it is none, or is not UTF-8, which JSON cannot hold. */
json_t *training_text(const char *text)
{
    json_t *out = text ? json_string(text) : NULL;
    return out ? out : json_null();
}

/* Texts as JSON has them, in their order. */
json_t *training_texts(const char *const *items, int64_t n)
{
    json_t *out = json_array();
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(out, training_text(items[i]));
    return out;
}

/* Name number i of "a|b|c"; null if there is none. */
json_t *training_choice(const char *names, int64_t i)
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
    case CLI_CHOICE: return training_choice(option->value, *(const int64_t *)option->to);
    case CLI_REAL: return cli_json_real(*(const double *)option->to);
    case CLI_TEXT: return training_text(*(const char *const *)option->to);
    case CLI_LIST: return training_texts(list->items, list->n);
    case CLI_END: break;
    }
    return json_null();
}

/* The settings of the program, each under the name of its option. */
json_t *training_settings(const cli_option *settings)
{
    json_t *out = json_object();
    for (const cli_option *option = settings; option->kind != CLI_END; option++)
        json_object_set_new(out, option->name, value_of(option));
    return out;
}

/* As all hashes are shown: 16 digits. */
json_t *training_hash(uint64_t hash)
{
    char text[24];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    return json_string(text);
}

/* The hash of a file's bytes; null where it cannot be read. */
json_t *training_file_hash(const char *path)
{
    char *text;
    size_t n_bytes;
    json_t *hash;

    if (training_read_text(&text, &n_bytes, path) != SONDE_OK)
        return json_null();
    hash = training_hash(cli_hash(CLI_HASH_START, text, n_bytes));
    free(text);
    return hash;
}

/* ISO 8601, in UTC. */
json_t *training_time(int64_t seconds)
{
    time_t moment = (time_t)seconds;
    struct tm parts;
    char text[32];

    if (gmtime_r(&moment, &parts) == NULL || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        return json_null();
    return json_string(text);
}

/* A field of the earlier manifest, or what stands for it. */
json_t *training_earlier(const json_t *manifest, const char *key, json_t *otherwise)
{
    json_t *value = json_object_get(manifest, key);

    if (value == NULL)
        return otherwise;
    json_decref(otherwise);
    return json_incref(value);
}

/* Beside, then renamed, like everything else. */
sonde_status training_manifest_write(json_t *manifest, const char *folder)
{
    char *text = json_dumps(manifest, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    size_t n_bytes;
    sonde_status status;

    json_decref(manifest);
    /* the object is taken whether or not it can be written */
    if (text == NULL)
        return cli_fail(SONDE_E_NOMEM, "out of memory");
    n_bytes = strlen(text);
    text[n_bytes] = '\n'; /* in the NUL's place, which is not written */
    status = training_write_text(folder, "manifest.json", text, n_bytes + 1);
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
        json_t *name = training_choice(option->value, i);
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

/* A folder without one is a training that was killed early: defaults serve. */
sonde_status training_manifest_read(json_t **out, const char *folder, const cli_option *settings)
{
    const char *path = training_path(folder, "manifest.json");
    json_error_t error;
    const json_t *values;

    if (!training_exists(path))
        return SONDE_OK;
    *out = json_load_file(path, 0, &error);
    if (*out == NULL)
        return cli_fail(SONDE_E_FORMAT, "'%s': %s (line %d)", path, error.text, error.line);
    /* what is taken over was written by the program: anything else was changed by hand */
    values = json_object_get(*out, "settings");
    for (const cli_option *option = settings; option->kind != CLI_END; option++) {
        const json_t *value = json_object_get(values, option->name);
        if (value != NULL && !cli_is_given(option->to) && !take_value(option, value))
            return cli_fail(SONDE_E_FORMAT, "'%s': the setting '%s' is not one that the program wrote", path, option->name);
    }
    return SONDE_OK;
}
