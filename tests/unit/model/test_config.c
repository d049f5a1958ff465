/* What a config.json means, and what is refused by name. The forward pass itself is held against transformers in
 * tests/golden; here are the fields. */
#include "format/json.h"
#include "model/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static sonde_config config;

/* Reads a config from a text in which ' stands for ". */
static sonde_status read(const char *text)
{
    char json_text[2048];
    json_t *json;
    sonde_status status;

    snprintf(json_text, sizeof json_text, "%s", text);
    for (char *c = json_text; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    assert_int_equal(sondep_json_parse(&json, json_text, strlen(json_text), "config.json", 1, 0), SONDE_OK);
    memset(&config, 0, sizeof config);
    status = sondep_config_from_json(&config, json, "config.json");
    json_decref(json);
    return status;
}

static void assert_refused(const char *text, sonde_status status, const char *named)
{
    assert_int_equal(read(text), status);
    if (strstr(sonde_last_error()->message, named) == NULL || strstr(sonde_last_error()->message, "config.json") == NULL)
        fail_msg("'%s' does not name '%s' and the file", sonde_last_error()->message, named);
}

static void absent_fields_have_the_defaults_of_transformers(void **state)
{
    (void)state;
    assert_int_equal(read("{'model_type': 'gpt2'}"), SONDE_OK);
    assert_int_equal(config.n_layers, 12);
    assert_int_equal(config.d_model, 768);
    assert_int_equal(config.d_mlp, 3072);
    assert_int_equal(config.n_vocab, 50257);
    assert_int_equal(config.eos_id, 50256);
    assert_string_equal(config.activation, "gelu_new");
    assert_true(config.tied && config.scale_attention);

    assert_int_equal(read("{'model_type': 'llama'}"), SONDE_OK);
    assert_int_equal(config.d_mlp, 11008);
    assert_int_equal(config.n_kv_heads, 32);
    assert_int_equal(config.d_head, 128);
    assert_true(config.norm_eps == 1e-6 && config.rope.theta == 10000.0 && !config.tied);
}

static void a_family_is_known_by_its_fields_where_model_type_is_missing(void **state)
{
    (void)state;
    assert_int_equal(read("{'n_embd': 8, 'n_head': 2}"), SONDE_OK);
    assert_string_equal(config.family, "gpt2");
    assert_int_equal(read("{'rms_norm_eps': 1e-5, 'hidden_size': 64, 'num_attention_heads': 4}"), SONDE_OK);
    assert_string_equal(config.family, "llama");
}

static void transformers_4_and_5_say_the_same(void **state)
{
    static const char *const sizes = "'model_type': 'llama', 'hidden_size': 64, 'num_attention_heads': 4";
    char text[1024];
    sonde_config old;

    (void)state;
    snprintf(text, sizeof text,
             "{%s, 'rope_theta': 500000.0, 'rope_scaling': {'type': 'llama3', 'factor': 8.0, 'low_freq_factor': 1.0, "
             "'high_freq_factor': 4.0, 'original_max_position_embeddings': 64}, 'torch_dtype': 'float32'}",
             sizes);
    assert_int_equal(read(text), SONDE_OK);
    old = config;
    snprintf(
        text, sizeof text,
        "{%s, 'rope_parameters': {'rope_type': 'llama3', 'rope_theta': 500000.0, 'factor': 8.0, 'low_freq_factor': 1.0, "
        "'high_freq_factor': 4.0, 'original_max_position_embeddings': 64}, 'dtype': 'float32'}",
        sizes);
    assert_int_equal(read(text), SONDE_OK);
    assert_memory_equal(&old, &config, sizeof config);
    assert_true(config.rope.theta == 500000.0 && config.rope.factor == 8.0 && config.rope.original_context == 64);
}

static void rope_objects_have_the_priority_of_transformers(void **state)
{
    static const char *const llama3 =
        "'rope_type': 'llama3', 'factor': 8.0, 'low_freq_factor': 1.0, 'high_freq_factor': 4.0";
    char text[1024];

    (void)state;
    snprintf(text, sizeof text,
             "{'model_type': 'llama', 'rope_scaling': {'type': 'linear', 'factor': 2.0}, 'rope_parameters': {%s}}", llama3);
    assert_int_equal(read(text), SONDE_OK);
    assert_string_equal(config.rope.type, "linear");
    snprintf(text, sizeof text, "{'model_type': 'llama', 'rope_scaling': {}, 'rope_parameters': {%s}}", llama3);
    assert_int_equal(read(text), SONDE_OK);
    assert_string_equal(config.rope.type, "llama3");
    assert_int_equal(config.rope.original_context, 2048); /* the context, where nothing says otherwise */
    snprintf(text, sizeof text,
             "{'model_type': 'llama', 'original_max_position_embeddings': 77, 'rope_scaling': {%s, "
             "'original_max_position_embeddings': 99}}",
             llama3);
    assert_int_equal(read(text), SONDE_OK);
    assert_int_equal(config.rope.original_context, 77);
}

static void null_is_not_a_number(void **state)
{
    (void)state;
    assert_int_equal(read("{'model_type': 'llama', 'num_key_value_heads': null, 'head_dim': null, 'rope_scaling': null}"),
                     SONDE_OK);
    assert_int_equal(config.n_kv_heads, 32);
    assert_int_equal(read("{'model_type': 'gpt2', 'n_inner': null}"), SONDE_OK);
    assert_int_equal(config.d_mlp, 3072);
}

static void fields_that_would_change_the_result_are_refused(void **state)
{
    (void)state;
    assert_refused("{'model_type': 'gpt2', 'scale_attn_by_inverse_layer_idx': true}", SONDE_E_UNSUPPORTED,
                   "scale_attn_by_inverse_layer_idx");
    assert_refused("{'model_type': 'gpt2', 'add_cross_attention': true}", SONDE_E_UNSUPPORTED, "add_cross_attention");
    assert_refused("{'model_type': 'llama', 'rope_scaling': {'rope_type': 'yarn', 'factor': 4.0}}", SONDE_E_UNSUPPORTED,
                   "yarn");
    assert_refused("{'model_type': 'llama', 'partial_rotary_factor': 0.5}", SONDE_E_UNSUPPORTED, "partial_rotary_factor");
    assert_refused("{'model_type': 'llama', 'quantization_config': {'bits': 4}}", SONDE_E_UNSUPPORTED,
                   "quantization_config");
    assert_refused("{'model_type': 'mistral', 'sliding_window': 4096}", SONDE_E_UNSUPPORTED, "sliding_window");
    assert_refused("{'model_type': 'llama', 'hidden_act': 'swish_of_mine'}", SONDE_E_UNSUPPORTED, "swish_of_mine");
    assert_refused("{'model_type': 'mamba'}", SONDE_E_UNSUPPORTED, "mamba");
    /* The same fields with the value that changes nothing are fine. */
    assert_int_equal(read("{'model_type': 'gpt2', 'scale_attn_by_inverse_layer_idx': false}"), SONDE_OK);
    assert_int_equal(read("{'model_type': 'llama', 'partial_rotary_factor': 1}"), SONDE_OK);
    assert_int_equal(read("{'model_type': 'mistral', 'sliding_window': null}"), SONDE_OK);
    assert_int_equal(read("{'model_type': 'mistral', 'sliding_window': 4096, 'max_position_embeddings': 4096}"), SONDE_OK);
}

static void sizes_that_do_not_fit_are_named_with_their_numbers(void **state)
{
    (void)state;
    assert_refused("{'model_type': 'gpt2', 'n_embd': 10, 'n_head': 3}", SONDE_E_SHAPE, "10");
    assert_refused("{'model_type': 'gpt2', 'n_layer': 0}", SONDE_E_RANGE, "number of layers is 0");
    assert_refused("{'model_type': 'llama', 'num_hidden_layers': -2}", SONDE_E_RANGE, "-2");
    assert_refused("{'model_type': 'llama', 'num_key_value_heads': 5}", SONDE_E_SHAPE, "5");
    assert_refused("{'model_type': 'llama', 'num_attention_heads': 0}", SONDE_E_RANGE, "0 attention heads");
    assert_refused("{'model_type': 'llama', 'head_dim': 7}", SONDE_E_SHAPE, "7");
    assert_refused("{'model_type': 'llama', 'vocab_size': 1e300}", SONDE_E_FORMAT, "vocab_size");
    assert_refused("{'model_type': 'llama', 'hidden_size': 'wide'}", SONDE_E_FORMAT, "hidden_size");
    assert_refused("{'model_type': 7}", SONDE_E_FORMAT, "model_type");
    assert_refused("{'model_type': 'llama', 'rope_theta': -1}", SONDE_E_RANGE, "rope_theta");
    assert_refused("{'model_type': 'llama', 'rms_norm_eps': -1}", SONDE_E_RANGE, "epsilon");
}

static char noted[512];
static void note(sonde_log_level level, const char *line, void *ctx)
{
    (void)level, (void)ctx;
    snprintf(noted, sizeof noted, "%s", line);
}

static void special_ids_outside_the_vocabulary_are_ignored_with_a_note(void **state)
{
    (void)state;
    noted[0] = '\0';
    sonde_log_to(note, NULL);
    assert_int_equal(read("{'model_type': 'gpt2', 'vocab_size': 100, 'bos_token_id': 99, 'eos_token_id': [50256, 3]}"),
                     SONDE_OK);
    sonde_log_to(NULL, NULL);
    assert_int_equal(config.bos_id, 99);
    assert_int_equal(config.eos_id, -1);
    assert_non_null(strstr(noted, "eos_token_id"));
    assert_non_null(strstr(noted, "50256"));
}

static void shapes_by_name(void **state)
{
    (void)state;
    assert_int_equal(sonde_config_shape(&config, "gpt2-small"), SONDE_OK);
    assert_int_equal(config.d_head, 64);
    assert_int_equal(sonde_config_shape(&config, "gpt5"), SONDE_E_ARG);
    assert_non_null(strstr(sonde_last_error()->hint, "gpt2-small"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absent_fields_have_the_defaults_of_transformers),
        cmocka_unit_test(a_family_is_known_by_its_fields_where_model_type_is_missing),
        cmocka_unit_test(transformers_4_and_5_say_the_same),
        cmocka_unit_test(rope_objects_have_the_priority_of_transformers),
        cmocka_unit_test(null_is_not_a_number),
        cmocka_unit_test(fields_that_would_change_the_result_are_refused),
        cmocka_unit_test(sizes_that_do_not_fit_are_named_with_their_numbers),
        cmocka_unit_test(special_ids_outside_the_vocabulary_are_ignored_with_a_note),
        cmocka_unit_test(shapes_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
