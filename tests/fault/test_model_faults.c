/* Models, tokenizers and runs under failing memory and failing system calls. */
#include <sonde/model.h>
#include <sonde/run.h>
#include <sonde/text.h>

#include "fault/fault.h"

#include <math.h>

/* ---- tokenizers ------------------------------------------------------------------------------------------------------------ */

static sonde_status load_tokenizer(void *path)
{
    sonde_tokenizer *tokenizer;
    SONDE_TRY(sonde_tokenizer_load(&tokenizer, path));
    assert_true(sonde_tokenizer_n_vocab(tokenizer) >= 256);
    sonde_tokenizer_free(tokenizer);
    return SONDE_OK;
}

static void tokenizers_are_loaded(void **unused)
{
    (void)unused;
    fault_everywhere(load_tokenizer, "tests/golden/tokenizers/byte_level.json", "byte-level tokenizer");
    fault_everywhere(load_tokenizer, "tests/golden/tokenizers/byte_fallback.json", "byte-fallback tokenizer");
}

/* There and back, with characters outside the vocabulary, a special token in the text and a long word. */
static sonde_status encode_decode(void *tokenizer)
{
    static const char text[] =
        "the cats <s><|endoftext|> \xe7\x8c\xab e\xcc\x81 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 12345";
    sonde_tokens tokens = {0};
    char *back = NULL;
    size_t n;
    sonde_status status = sonde_tokenizer_encode(&tokens, tokenizer, text, sizeof text - 1, SONDE_SPECIALS_AS_FILE);
    if (status == SONDE_OK)
        status = sonde_tokenizer_decode(&back, &n, tokenizer, tokens.ids, tokens.n, true);
    if (status == SONDE_OK)
        assert_true(n > 40 && tokens.n > 10);
    sonde_text_free(back);
    sonde_tokens_release(&tokens);
    return status;
}

static void texts_are_encoded(void **unused)
{
    static const char *const paths[] = {"tests/golden/tokenizers/byte_level.json",
                                        "tests/golden/tokenizers/byte_fallback.json"};
    (void)unused;
    for (int i = 0; i < 2; i++) {
        sonde_tokenizer *tokenizer;
        fault.mode = FAULT_NONE;
        assert_int_equal(sonde_tokenizer_load(&tokenizer, paths[i]), SONDE_OK);
        fault_everywhere(encode_decode, tokenizer, paths[i]);
        sonde_tokenizer_free(tokenizer);
    }
}

/* ---- models ------------------------------------------------------------------------------------------------------------------ */

static sonde_status load_model(void *path)
{
    sonde_model *model;
    SONDE_TRY(sonde_model_load(&model, path, NULL));
    assert_true(sonde_model_n_parameters(model) > 0);
    sonde_model_free(model);
    return SONDE_OK;
}

static void models_are_loaded(void **unused)
{
    static const char *const paths[] = {"tests/golden/models/gpt2-plain", "tests/golden/models/gpt2-sharded",
                                        "tests/golden/models/llama-llama3-rope", "tests/golden/models/llama-bf16"};
    (void)unused;
    for (int i = 0; i < 4; i++)
        fault_everywhere(load_model, (void *)(uintptr_t)paths[i], paths[i]);
}

static sonde_status read_hook(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    (void)event;
    *(int64_t *)ctx += sonde_tensor_n_elements(x);
    return SONDE_OK;
}

/* A batch with every point captured, a callback, a patch and logits. */
static sonde_status forward(void *model)
{
    static const int32_t tokens[2 * 5] = {1, 2, 3, 4, 5, 6, 7, 8, 0, 0};
    static const int64_t lengths[2] = {5, 3};
    int64_t n_seen = 0;
    sonde_tensor t;
    sonde_run *run;
    sonde_status status;

    SONDE_TRY(sonde_run_new(&run, model));
    SONDE_TRY_DONE(sonde_run_capture(run, "*", NULL));
    SONDE_TRY_DONE(sonde_run_hook(run, "blocks.*.hook_resid_post", SONDE_HOOK_READ, read_hook, &n_seen, NULL));
    sonde_run_want_logits(run, SONDE_LOGITS_ALL);
    SONDE_TRY_DONE(sonde_run_forward(run, tokens, lengths, 2, 5));
    SONDE_TRY_DONE(sonde_run_get(&t, run, "logits"));
    assert_true(n_seen > 0 && t.rank == 3 && t.shape[0] == 2 && t.shape[1] == 5);
    assert_true(isfinite(((const float *)t.data)[0]));
done:
    sonde_run_free(run);
    return status;
}

/* Forward and back, with gradients of every point kept and some shown. */
static sonde_status backward(void *model)
{
    static const int32_t tokens[2 * 5] = {1, 2, 3, 4, 5, 6, 7, 8, 0, 0};
    static const int64_t lengths[2] = {5, 3};
    int64_t n_seen = 0;
    double value = NAN;
    sonde_tensor t;
    sonde_run *run;
    sonde_status status;

    SONDE_TRY(sonde_run_new(&run, model));
    SONDE_TRY_DONE(sonde_run_capture(run, "hook_embed", NULL));
    SONDE_TRY_DONE(sonde_run_want_gradient(run, "*", NULL));
    SONDE_TRY_DONE(sonde_run_hook_gradient(run, "blocks.*.hook_resid_post", read_hook, &n_seen, NULL));
    SONDE_TRY_DONE(sonde_run_backward(run, tokens, lengths, 2, 5, NULL, &value));
    SONDE_TRY_DONE(sonde_run_get_gradient(&t, run, "hook_embed"));
    assert_true(n_seen > 0 && t.rank == 3 && t.shape[0] == 2 && t.shape[1] == 5 && isfinite(value));
done:
    sonde_run_free(run);
    return status;
}

static sonde_status keep_nothing(int64_t sequence, int32_t id, void *ctx)
{
    (void)sequence;
    (void)id;
    ++*(int64_t *)ctx;
    return SONDE_OK;
}

static sonde_status generate(void *model)
{
    static const int32_t prompt[3] = {1, 2, 3};
    static const int64_t length[1] = {3};
    sonde_generate_opts opts;
    int64_t n = 0;
    sonde_run *run;
    sonde_status status;

    SONDE_TRY(sonde_run_new(&run, model));
    sonde_generate_opts_init(&opts);
    opts.max_tokens = 4;
    opts.temperature = 0.8;
    opts.top_k = 5;
    opts.top_p = 0.9;
    status = sonde_generate(run, prompt, length, 1, 3, &opts, keep_nothing, &n);
    if (status == SONDE_OK)
        assert_int_equal(n, 4);
    sonde_run_free(run);
    return status;
}

static sonde_status first_ids(const int32_t **ids, int64_t *n, int64_t sequence, void *ctx)
{
    static const int32_t prompt[3] = {1, 2, 3};
    (void)ctx;
    *ids = prompt;
    *n = 1 + sequence % 3;
    return SONDE_OK;
}

static sonde_status count_ends(int64_t sequence, const int32_t *ids, int64_t n, bool is_stopped, void *ctx)
{
    (void)sequence, (void)ids, (void)n, (void)is_stopped;
    ++*(int64_t *)ctx;
    return SONDE_OK;
}

/* More sequences than slots. */
static sonde_status generate_many(void *model)
{
    int64_t n = 0;
    sonde_sequences sequences = {.n = 5, .longest = 3, .prompt = first_ids, .done = count_ends, .ctx = &n};
    sonde_generate_opts opts;
    sonde_run *run;
    sonde_status status;

    SONDE_TRY(sonde_run_new(&run, model));
    sonde_generate_opts_init(&opts);
    opts.max_tokens = 3;
    opts.width = 2;
    status = sonde_generate_many(run, &sequences, &opts);
    if (status == SONDE_OK)
        assert_int_equal(n, 5);
    sonde_run_free(run);
    return status;
}

static void models_are_run(void **unused)
{
    static const char *const paths[] = {"tests/golden/models/gpt2-plain", "tests/golden/models/llama-gqa"};
    (void)unused;
    for (int i = 0; i < 2; i++) {
        sonde_model *model;
        fault.mode = FAULT_NONE;
        assert_int_equal(sonde_model_load(&model, paths[i], NULL), SONDE_OK);
        fault_everywhere(forward, model, "forward");
        fault_everywhere(backward, model, "backward");
        fault_everywhere(generate, model, "generate");
        fault_everywhere(generate_many, model, "generate many");
        sonde_model_free(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokenizers_are_loaded),
        cmocka_unit_test(texts_are_encoded),
        cmocka_unit_test(models_are_loaded),
        cmocka_unit_test(models_are_run),
    };
    return cmocka_run_group_tests(tests, fault_setup, fault_teardown);
}
