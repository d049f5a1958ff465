/* What a config.json means, and what is refused by name. The forward pass itself is held against transformers in
 * tests/golden; here are the fields. */
#include "format/json.h"
#include "model/config.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "folder.h"

static sonde_config config;

/* Reads a config from a text in which ' stands for ". */
static sonde_status read_text(const char *text)
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
    assert_int_equal(read_text(text), status);
    if (strstr(sonde_last_error()->message, named) == NULL || strstr(sonde_last_error()->message, "config.json") == NULL)
        fail_msg("'%s' does not name '%s' and the file", sonde_last_error()->message, named);
}

static void absent_fields_have_the_defaults_of_transformers(void **state)
{
    (void)state;
    assert_int_equal(read_text("{'model_type': 'gpt2'}"), SONDE_OK);
    assert_int_equal(config.n_layers, 12);
    assert_int_equal(config.d_model, 768);
    assert_int_equal(config.d_mlp, 3072);
    assert_int_equal(config.n_vocab, 50257);
    assert_int_equal(config.eos_id, 50256);
    assert_string_equal(config.activation, "gelu_new");
    assert_true(config.tied && config.scale_attention);

    assert_int_equal(read_text("{'model_type': 'llama'}"), SONDE_OK);
    assert_int_equal(config.d_mlp, 11008);
    assert_int_equal(config.n_kv_heads, 32);
    assert_int_equal(config.d_head, 128);
    assert_true(config.norm_eps == 1e-6 && config.rope.theta == 10000.0 && !config.tied);
}

static void a_family_is_known_by_its_fields_where_model_type_is_missing(void **state)
{
    (void)state;
    assert_int_equal(read_text("{'n_embd': 8, 'n_head': 2}"), SONDE_OK);
    assert_string_equal(config.family, "gpt2");
    assert_int_equal(read_text("{'rms_norm_eps': 1e-5, 'hidden_size': 64, 'num_attention_heads': 4}"), SONDE_OK);
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
    assert_int_equal(read_text(text), SONDE_OK);
    old = config;
    snprintf(
        text, sizeof text,
        "{%s, 'rope_parameters': {'rope_type': 'llama3', 'rope_theta': 500000.0, 'factor': 8.0, 'low_freq_factor': 1.0, "
        "'high_freq_factor': 4.0, 'original_max_position_embeddings': 64}, 'dtype': 'float32'}",
        sizes);
    assert_int_equal(read_text(text), SONDE_OK);
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
    assert_int_equal(read_text(text), SONDE_OK);
    assert_string_equal(config.rope.type, "linear");
    snprintf(text, sizeof text, "{'model_type': 'llama', 'rope_scaling': {}, 'rope_parameters': {%s}}", llama3);
    assert_int_equal(read_text(text), SONDE_OK);
    assert_string_equal(config.rope.type, "llama3");
    assert_int_equal(config.rope.original_context, 2048); /* the context, where nothing says otherwise */
    snprintf(text, sizeof text,
             "{'model_type': 'llama', 'original_max_position_embeddings': 77, 'rope_scaling': {%s, "
             "'original_max_position_embeddings': 99}}",
             llama3);
    assert_int_equal(read_text(text), SONDE_OK);
    assert_int_equal(config.rope.original_context, 77);
}

static void null_is_not_a_number(void **state)
{
    (void)state;
    assert_int_equal(
        read_text("{'model_type': 'llama', 'num_key_value_heads': null, 'head_dim': null, 'rope_scaling': null}"), SONDE_OK);
    assert_int_equal(config.n_kv_heads, 32);
    assert_int_equal(read_text("{'model_type': 'gpt2', 'n_inner': null}"), SONDE_OK);
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
    assert_int_equal(read_text("{'model_type': 'gpt2', 'scale_attn_by_inverse_layer_idx': false}"), SONDE_OK);
    assert_int_equal(read_text("{'model_type': 'llama', 'partial_rotary_factor': 1}"), SONDE_OK);
    assert_int_equal(read_text("{'model_type': 'mistral', 'sliding_window': null}"), SONDE_OK);
    assert_int_equal(read_text("{'model_type': 'mistral', 'sliding_window': 4096, 'max_position_embeddings': 4096}"),
                     SONDE_OK);
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
    assert_int_equal(read_text("{'model_type': 'gpt2', 'vocab_size': 100, 'bos_token_id': 99, 'eos_token_id': [50256, 3]}"),
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

/* ---- written ------------------------------------------------------------------------------------------------------ */

/* A config that is saved and read again is the same one. */
static void assert_same_when_saved(const sonde_config *c, const char *name)
{
    sonde_config back;
    memset(&back, 0, sizeof back);
    if (sonde_config_save(c, in_folder("config.json")) != SONDE_OK ||
        sonde_config_load(&back, in_folder("config.json")) != SONDE_OK)
        fail_msg("%s: %s", name, sonde_last_error()->message);
    if (memcmp(c, &back, sizeof back) != 0)
        fail_msg("%s: what is read is not what was written", name);
    memset(&back, 0, sizeof back);
    assert_int_equal(sonde_config_load(&back, folder), SONDE_OK); /* the folder that has it */
    assert_memory_equal(c, &back, sizeof back);
}

static void every_golden_config_is_the_same_when_saved(void **state)
{
    DIR *models = opendir("tests/golden/models");
    const struct dirent *entry;
    char path[512];
    int n = 0;

    (void)state;
    assert_non_null(models);
    while ((entry = readdir(models)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "tests/golden/models/%s", entry->d_name);
        memset(&config, 0, sizeof config);
        assert_int_equal(sonde_config_load(&config, path), SONDE_OK);
        assert_same_when_saved(&config, entry->d_name);
        n++;
    }
    closedir(models);
    assert_true(n >= 20);
}

static void every_shape_is_the_same_when_saved(void **state)
{
    static const char *const names[] = {"gpt2-small", "gpt2-medium", "one-layer", "small", "stories15m", "stories"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        memset(&config, 0, sizeof config);
        assert_int_equal(sonde_config_shape(&config, names[i]), SONDE_OK);
        assert_same_when_saved(&config, names[i]);
    }
    assert_true(config.n_layers == 7 && config.d_head == 32 && config.n_vocab == 4096 && config.n_context == 512);
}

static void configs_of_every_kind_are_the_same_when_saved(void **state)
{
    static const char *const texts[] = {
        "{'model_type': 'gpt2', 'n_inner': 100, 'activation_function': 'relu', 'layer_norm_epsilon': 1e-12, "
        "'scale_attn_weights': false, 'tie_word_embeddings': false, 'bos_token_id': null, 'eos_token_id': [7, 8]}",
        "{'model_type': 'llama', 'attention_bias': true, 'mlp_bias': true, 'head_dim': 6, 'num_key_value_heads': 4, "
        "'tie_word_embeddings': true, 'rope_theta': 123.456789, 'rms_norm_eps': 0.1, 'hidden_act': 'swish'}",
        "{'model_type': 'llama', 'rope_scaling': {'rope_type': 'linear', 'factor': 2.5}, 'rope_theta': 5e5}",
        "{'model_type': 'llama', 'rope_scaling': {'rope_type': 'llama3', 'factor': 8.0, 'low_freq_factor': 1.0, "
        "'high_freq_factor': 4.0, 'original_max_position_embeddings': 64}}",
        "{'model_type': 'mistral', 'sliding_window': null}",
        "{'model_type': 'qwen2', 'head_dim': 64}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(read_text(texts[i]), SONDE_OK);
        assert_same_when_saved(&config, texts[i]);
    }
}

/* A config that cannot be expressed is refused by the name of its field, for a file and for a model of random numbers. */
static void assert_not_saved(sonde_status status, const char *named)
{
    sonde_model *model;
    unlink(in_folder("config.json"));
    assert_int_equal(sonde_config_save(&config, in_folder("config.json")), status);
    if (strstr(sonde_last_error()->message, named) == NULL)
        fail_msg("'%s' does not name '%s'", sonde_last_error()->message, named);
    assert_int_equal(folder_n_files(), 0);
    assert_int_equal(sonde_model_random(&model, &config, 0, NULL), status);
    assert_non_null(strstr(sonde_last_error()->message, named));
}

#define REFUSED(shape, change, status, named)                           \
    do {                                                                \
        assert_int_equal(sonde_config_shape(&config, shape), SONDE_OK); \
        change;                                                         \
        assert_not_saved(status, named);                                \
    } while (0)

static void what_a_family_cannot_express_is_refused(void **state)
{
    (void)state;
    REFUSED("small", config.norm = SONDE_RMSNORM, SONDE_E_UNSUPPORTED, "'norm'");
    REFUSED("small", config.positions = SONDE_POSITIONS_ROTARY; config.rope.theta = 1e4, SONDE_E_UNSUPPORTED, "'positions'");
    REFUSED("small", config.gated_mlp = true, SONDE_E_UNSUPPORTED, "'gated_mlp'");
    REFUSED("small", config.n_kv_heads = 4, SONDE_E_UNSUPPORTED, "'n_kv_heads'");
    REFUSED("small", config.d_head = 16, SONDE_E_UNSUPPORTED, "'d_head'");
    REFUSED("small", config.has_qkv_bias = false, SONDE_E_UNSUPPORTED, "'has_qkv_bias'");
    REFUSED("small", config.norm_bias = false, SONDE_E_UNSUPPORTED, "'norm_bias'");
    REFUSED("small", config.unembed_bias = true, SONDE_E_UNSUPPORTED, "'unembed_bias'");
    REFUSED("stories", config.norm = SONDE_LAYERNORM, SONDE_E_UNSUPPORTED, "'norm'");
    REFUSED("stories", config.gated_mlp = false, SONDE_E_UNSUPPORTED, "'gated_mlp'");
    REFUSED("stories", config.scale_attention = false, SONDE_E_UNSUPPORTED, "'scale_attention'");
    REFUSED("stories", config.has_qkv_bias = true, SONDE_E_UNSUPPORTED, "'has_qkv_bias'");
    REFUSED("stories", strcpy(config.rope.type, "yarn"), SONDE_E_UNSUPPORTED, "'rope.type'");
    REFUSED("stories", strcpy(config.rope.type, "linear"); config.rope.factor = 0, SONDE_E_UNSUPPORTED, "'rope.factor'");
    REFUSED("stories", strcpy(config.model_type, "mistral");
            config.has_mlp_bias = true, SONDE_E_UNSUPPORTED, "'has_mlp_bias'");
    REFUSED("stories", strcpy(config.model_type, "gpt2"), SONDE_E_UNSUPPORTED, "'model_type'");
    REFUSED("stories", strcpy(config.family, "mamba"), SONDE_E_UNSUPPORTED, "'mamba'");
    REFUSED("stories", strcpy(config.activation, "swish_of_mine"), SONDE_E_UNSUPPORTED, "'swish_of_mine'");
}

static void what_does_not_fit_is_not_saved(void **state)
{
    (void)state;
    REFUSED("small", config.n_layers = 0, SONDE_E_RANGE, "number of layers is 0");
    REFUSED("stories", config.n_kv_heads = 4, SONDE_E_SHAPE, "4 key/value heads");
    REFUSED("stories", config.d_head = 7, SONDE_E_SHAPE, "7");
    REFUSED("stories", config.norm_eps = -1, SONDE_E_RANGE, "-1");
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
        cmocka_unit_test_setup_teardown(every_golden_config_is_the_same_when_saved, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(every_shape_is_the_same_when_saved, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(configs_of_every_kind_are_the_same_when_saved, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(what_a_family_cannot_express_is_refused, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(what_does_not_fit_is_not_saved, folder_make, folder_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
