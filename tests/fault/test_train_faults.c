/* Training under failing memory and failing system calls: what fails says so, leaks nothing, and leaves weights and files as they
 * were. */
#include "unit/train/lm_support.h"

#include "train/lm.h"

#include "fault/fault.h"

/* What the cases work on, made without faults. */
static struct {
    sonde_corpus *corpus;
    sonde_model *model;
    sonde_tokenizer *tokenizer;
    sonde_lm_opts opts;
    sonde_lm_trainer *trainer;
} made;

/* Makes a trainer of its own and takes two steps. */
static sonde_status train(void *unused)
{
    sonde_lm_trainer *t;
    sonde_lm_report r = {0};
    sonde_status status;

    (void)unused;
    SONDE_TRY(sonde_lm_trainer_new(&t, made.model, made.corpus, &made.opts));
    SONDE_TRY_DONE(sonde_lm_trainer_step(t, &r));
    SONDE_TRY_DONE(sonde_lm_trainer_step(t, &r));
    assert_true(r.step == 2 && r.loss > 1 && isfinite(r.gradient_norm));
done:
    sonde_lm_trainer_free(t);
    return status;
}

/* Makes the weights that a training begins with. */
static sonde_status initial(void *unused)
{
    sonde_config c = lm_config("small");
    sonde_model *model;

    (void)unused;
    SONDE_TRY(sonde_lm_initial(&model, &c, 1));
    sonde_model_free(model);
    return SONDE_OK;
}

/* Over the state that is there, which stays readable whatever happens. */
static sonde_status save(void *unused)
{
    sonde_status status = sonde_lm_trainer_save(made.trainer, in_folder("state.safetensors"));
    enum fault_mode mode = fault.mode;
    sonde_error error = *sonde_last_error();
    sonde_lm_opts back;

    (void)unused;
    fault.mode = FAULT_NONE;
    assert_ok(sonde_lm_opts_load(&back, in_folder("state.safetensors")));
    assert_int_equal(back.steps, made.opts.steps);
    fault.mode = mode;
    /* The error of the case is the one that counts. */
    return status == SONDE_OK ? SONDE_OK : SONDE_FAIL(status, "%s", error.message);
}

static sonde_status load(void *unused)
{
    float before = made.trainer->model->parameters[3];
    int64_t steps = sonde_lm_trainer_steps(made.trainer);
    sonde_status status = sonde_lm_trainer_load(made.trainer, in_folder("state.safetensors"));

    (void)unused;
    /* The state is the trainer's own: nothing changes either way. */
    assert_true(made.trainer->model->parameters[3] == before && sonde_lm_trainer_steps(made.trainer) == steps);
    return status;
}

static sonde_status load_opts(void *unused)
{
    sonde_lm_opts back = {.steps = -5};
    sonde_status status = sonde_lm_opts_load(&back, in_folder("state.safetensors"));

    (void)unused;
    assert_int_equal(back.steps, status == SONDE_OK ? made.opts.steps : -5);
    return status;
}

static sonde_status evaluate(void *unused)
{
    sonde_lm_score score = {.n_tokens = -5};
    sonde_status status = sonde_lm_evaluate(&score, made.model, made.corpus, made.tokenizer, 0);

    (void)unused;
    assert_true(status == SONDE_OK ? score.n_tokens > 10 : score.n_tokens == -5);
    return status;
}

static void training_fails_cleanly(void **unused)
{
    (void)unused;
    for (int i = 0; i < 2; i++) {
        sonde_lm_report r;

        fault.mode = FAULT_NONE;
        made.opts = lm_opts(i ? SONDE_OPTIMIZER_MUON : SONDE_OPTIMIZER_ADAMW, 9);
        made.corpus = lm_corpus(12, LM_VOCAB, 2);
        made.model = lm_model(i ? "stories" : "small");
        assert_ok(sonde_tokenizer_load(&made.tokenizer, "tests/golden/tokenizers/byte_level.json"));
        assert_ok(sonde_lm_trainer_new(&made.trainer, made.model, made.corpus, &made.opts));
        assert_ok(sonde_lm_trainer_step(made.trainer, &r));
        assert_ok(sonde_lm_trainer_save(made.trainer, in_folder("state.safetensors")));
        fault_everywhere(train, NULL, "training");
        fault_everywhere(initial, NULL, "new weights");
        fault_everywhere(save, NULL, "saving a state");
        fault_everywhere(load, NULL, "loading a state");
        fault_everywhere(load_opts, NULL, "options of a state");
        fault_everywhere(evaluate, NULL, "evaluation");
        sonde_lm_trainer_free(made.trainer);
        sonde_tokenizer_free(made.tokenizer);
        sonde_corpus_free(made.corpus);
        sonde_model_free(made.model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(training_fails_cleanly)};
    return cmocka_run_group_tests(tests, fault_setup, fault_teardown);
}
