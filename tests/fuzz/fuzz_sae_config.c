/* cfg.json of an autoencoder: what is accepted has sizes that fit together, and gives the same when it is written and read again. */
#include "format/json.h"
#include "sae/sae.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    sonde_sae_config config = {0}, again = {0};
    json_t *json, *written;
    sonde_status status;

    sonde_clear_error();
    status = sondep_json_parse(&json, (const char *)data, n, "cfg.json", 1, 0);
    fuzz_check(status);
    if (status != SONDE_OK)
        return 0;
    status = sondep_sae_config_read(&config, json, "cfg.json");
    fuzz_check(status);
    if (status == SONDE_OK) {
        FUZZ_REQUIRE(config.d_in > 0 && config.d_sae > 0 && config.d_out > 0);
        FUZZ_REQUIRE(config.activation != SONDE_SAE_TOPK || (config.k > 0 && config.k <= config.d_sae));
        FUZZ_REQUIRE(sondep_sae_config_write(&written, &config, json) == SONDE_OK);
        FUZZ_REQUIRE(sondep_sae_config_read(&again, written, "cfg.json") == SONDE_OK);
        FUZZ_REQUIRE(again.activation == config.activation && again.normalization == config.normalization);
        FUZZ_REQUIRE(again.d_in == config.d_in && again.d_sae == config.d_sae && again.d_out == config.d_out);
        FUZZ_REQUIRE(again.applies_b_dec == config.applies_b_dec && again.has_skip == config.has_skip);
        FUZZ_REQUIRE(strcmp(again.hook_name, config.hook_name) == 0 && strcmp(again.model_name, config.model_name) == 0);
        json_decref(written);
    }
    json_decref(json);
    return 0;
}
