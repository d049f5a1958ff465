/* model/config.h - config.json as transformers 4 and 5 write it.               floor 5: model */
#ifndef SONDEP_CONFIG_H
#define SONDEP_CONFIG_H

#include "model/model.h"

/* Reads a config.json: the family's fields, their defaults in transformers, and a refusal by name of every field that would
 * change the result and is not handled.
 * Errors: SONDE_E_NOTFOUND, SONDE_E_FORMAT, SONDE_E_UNSUPPORTED (names the field), SONDE_E_RANGE. */
sonde_status sondep_config_load(sonde_config *out, const char *path);

/* The same for JSON that is already in memory; `path` is for messages. */
sonde_status sondep_config_from_json(sonde_config *out, const json_t *json, const char *path);

/* SONDE_OK if the sizes of a config are positive, fit together and fit in memory. `path` is for messages. */
sonde_status sondep_config_check(const sonde_config *config, const char *path);

/* The family of a config whose sizes fit and which that family can express.
 * Errors: those of sondep_config_check; SONDE_E_UNSUPPORTED names the field. */
sonde_status sondep_config_check_family(const sondep_family **out, const sonde_config *config, const char *path);

/* Writes a config.json, which says that the weights have type `dtype`. Errors: as above; SONDE_E_IO, SONDE_E_NOMEM. */
sonde_status sondep_config_write(const sonde_config *config, sonde_dtype dtype, const char *path);

/* For families: what must hold of a config for the family to express it. Errors: SONDE_E_UNSUPPORTED names the field. */
typedef struct sondep_fit {
    const char *field; /* of sonde_config */
    bool is_so;
    const char *must_be; /* in words */
} sondep_fit;
sonde_status sondep_config_fits(const sondep_fit *fits, int n, const sonde_config *config, const char *path);

/* For families: a special id, or null. */
void sondep_config_put_id(sondep_json_writer *out, const char *name, int64_t id);

/* For families: a field that must have one value (`text` as JSON: "false", "null", "1"), or be absent.
 * Errors: SONDE_E_UNSUPPORTED names field and value. */
sonde_status sondep_config_refuse(const json_t *json, const char *field, const char *allowed, const char *path);

/* For families: bos_token_id, eos_token_id (a number, the first of a list, or null). */
sonde_status sondep_config_special_ids(sonde_config *out, const json_t *json);

/* The first of several names for a size that the config has; *out is untouched where it has none. */
sonde_status sondep_config_size(int64_t *out, const json_t *json, const char *const *names, const char *path);

#endif
