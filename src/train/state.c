/* state.c - texts of the states of trainings: written, read back, compared.      floor 6: train */
#include "train/state.h"

#include "format/json.h"

#include <sonde/kernel.h>

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- options ------------------------------------------------------------------------------------------------------------ */

/* A number within its bounds; the comparison fails for NaN. */
sonde_status sondep_check_option(const char *flag, double value, double least, double most)
{
    if (value >= least && value <= most)
        return SONDE_OK;
    return SONDE_FAIL(SONDE_E_ARG, "option '%s' is %g, outside [%g, %g]", flag, value, least, most);
}

const char *sondep_choice_name(size_t *n_bytes, const char *names, int64_t i)
{
    for (; i > 0 && names != NULL; i--) {
        names = strchr(names, '|');
        names = names ? names + 1 : NULL;
    }
    *n_bytes = names ? strcspn(names, "|") : 0;
    return i == 0 ? names : NULL;
}

/* One of the names of a choice. */
sonde_status sondep_check_choice(const char *flag, int64_t value, const char *names)
{
    size_t n_bytes;

    if (sondep_choice_name(&n_bytes, names, value) != NULL)
        return SONDE_OK;
    return SONDE_FAIL(SONDE_E_ARG, "option '%s' is number %lld of %s", flag, (long long)value, names);
}

/* ---- writing ------------------------------------------------------------------------------------------------------------- */

/* Keys are literals; values are copied. Both counts are ours, so that too many are our bug. */
void sondep_state_add(sondep_state_texts *x, const char *key, const char *value)
{
    SONDE_ASSERT(x->n < SONDEP_STATE_TEXTS && strlen(value) < SONDEP_STATE_TEXT);
    snprintf(x->values[x->n], SONDEP_STATE_TEXT, "%s", value);
    x->pairs[2 * x->n] = key;
    x->pairs[2 * x->n + 1] = x->values[x->n];
    x->n++;
}

void sondep_state_add_whole(sondep_state_texts *x, const char *key, int64_t value)
{
    char text[SONDEP_STATE_TEXT];
    snprintf(text, sizeof text, "%lld", (long long)value);
    sondep_state_add(x, key, text);
}

/* A number that reads back as the same. */
void sondep_state_add_real(sondep_state_texts *x, const char *key, double value)
{
    char text[SONDEP_NUMBER_BYTES];
    sondep_json_double(text, value);
    sondep_state_add(x, key, text);
}

/* By its name: its number may be another's in another version. */
void sondep_state_add_choice(sondep_state_texts *x, const char *key, const char *names, int64_t value)
{
    char text[SONDEP_STATE_TEXT];
    size_t n_bytes;
    const char *name = sondep_choice_name(&n_bytes, names, value);

    snprintf(text, sizeof text, "%.*s", (int)n_bytes, name);
    sondep_state_add(x, key, text);
}

/* As the manifest shows it. */
void sondep_state_add_hash(sondep_state_texts *x, const char *key, uint64_t value)
{
    char text[SONDEP_STATE_TEXT];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)value);
    sondep_state_add(x, key, text);
}

/* ---- reading ------------------------------------------------------------------------------------------------------------- */

/* A text of the file. */
sonde_status sondep_state_get(const char **out, const sonde_safetensors *file, const char *key, const char *path)
{
    *out = sonde_safetensors_metadata(file, key);
    return *out ? SONDE_OK : SONDE_FAIL(SONDE_E_FORMAT, "'%s' is no state of a training: it has no '%s'", path, key);
}

/* Fails if the file's text is another one than this training's. */
static sonde_status check_text(const sonde_safetensors *file, const char *key, const char *own, const char *path)
{
    const char *text;

    SONDE_TRY(sondep_state_get(&text, file, key, path));
    if (strcmp(text, own) != 0)
        return SONDE_FAIL(SONDE_E_ARG, "'%s' is of another training: its '%s' is %s, here it is %s", path, key, text, own);
    return SONDE_OK;
}

/* A file of another kind, or of another version of this one. */
sonde_status sondep_state_check_schema(const sonde_safetensors *file, const char *schema, const char *path)
{
    const char *text;

    SONDE_TRY(sondep_state_get(&text, file, "schema", path));
    if (strcmp(text, schema) != 0)
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is no state of a training that is read here: its schema is '%s', not '%s'",
                          path, text, schema);
    return SONDE_OK;
}

/* Whether a name is in a list that NULL ends. */
static bool is_listed(const char *name, const char *const *list)
{
    for (; *list != NULL; list++)
        if (strcmp(name, *list) == 0)
            return true;
    return false;
}

/* In the order of the file: the first text that differs is the one that is named. */
sonde_status sondep_state_check(const char **key, const sonde_safetensors *file, const sondep_state_texts *own,
                                const char *const *may_differ, const char *path)
{
    const char *kernels;

    for (int64_t i = 0; i < own->n; i++) {
        *key = own->pairs[2 * i];
        if (!is_listed(*key, may_differ))
            SONDE_TRY(check_text(file, *key, own->pairs[2 * i + 1], path));
    }
    /* Kernels that add up in another order give other roundings, which are as good. */
    SONDE_TRY(sondep_state_get(&kernels, file, "kernels", path));
    if (strcmp(kernels, sonde_kernel_name()) != 0)
        sondep_log(SONDE_LOG_WARN,
                   "'%s' was computed with the kernels '%s', here they are '%s': bytes will differ by rounding", path,
                   kernels, sonde_kernel_name());
    return SONDE_OK;
}

/* A number of the file within [least, most]. The files have points; strtod wants what the locale has. */
sonde_status sondep_state_read_real(double *out, const sonde_safetensors *file, const char *key, double least, double most,
                                    const char *path)
{
    char copy[SONDEP_STATE_TEXT], *end;
    const char *text;

    SONDE_TRY(sondep_state_get(&text, file, key, path));
    snprintf(copy, sizeof copy, "%s", text);
    if (strchr(copy, '.') != NULL)
        *strchr(copy, '.') = localeconv()->decimal_point[0];
    *out = strtod(copy, &end);
    /* The trailing parts must be gone: "12x" is no number. */
    if (end == copy || *end != '\0' || !(*out >= least && *out <= most))
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s': '%s' is '%s', not a number in [%.16g, %.16g]", path, key, text, least,
                          most);
    return SONDE_OK;
}

/* A whole one. */
sonde_status sondep_state_read_whole(int64_t *out, const sonde_safetensors *file, const char *key, double least, double most,
                                     const char *path)
{
    double x;

    SONDE_TRY(sondep_state_read_real(&x, file, key, least, most, path));
    if (x != floor(x))
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s': '%s' is %g, not a whole number", path, key, x);
    *out = (int64_t)x;
    return SONDE_OK;
}

/* One of the names of a choice, as its number. */
sonde_status sondep_state_read_choice(int64_t *out, const sonde_safetensors *file, const char *key, const char *names,
                                      const char *path)
{
    const char *text, *name;
    size_t n_bytes;

    SONDE_TRY(sondep_state_get(&text, file, key, path));
    for (int64_t i = 0; (name = sondep_choice_name(&n_bytes, names, i)) != NULL; i++)
        if (strlen(text) == n_bytes && memcmp(text, name, n_bytes) == 0) {
            *out = i;
            return SONDE_OK;
        }
    return SONDE_FAIL(SONDE_E_FORMAT, "'%s': '%s' is '%s', not one of %s", path, key, text, names);
}
