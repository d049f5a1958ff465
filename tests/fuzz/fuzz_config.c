/* config.json: what is accepted has sizes that fit together, and could be written again. */
#include "format/json.h"
#include "model/config.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    sonde_config config = {0};
    const sondep_family *family;
    json_t *json;
    sonde_status status;

    sonde_clear_error();
    status = sondep_json_parse(&json, (const char *)data, n, "config.json", 1, 0);
    fuzz_check(status);
    if (status != SONDE_OK)
        return 0;
    status = sondep_config_from_json(&config, json, "config.json");
    fuzz_check(status);
    json_decref(json);
    if (status != SONDE_OK)
        return 0;
    FUZZ_REQUIRE(config.n_layers > 0 && config.d_model > 0 && config.n_heads > 0 && config.d_head > 0 && config.n_vocab > 0);
    FUZZ_REQUIRE(config.n_kv_heads > 0 && config.n_heads % config.n_kv_heads == 0 && config.n_context > 0);
    FUZZ_REQUIRE(memchr(config.family, '\0', sizeof config.family) &&
                 memchr(config.activation, '\0', sizeof config.activation));
    FUZZ_REQUIRE(sondep_config_check_family(&family, &config, "config.json") == SONDE_OK);
    return 0;
}
