/* Training by itself: it learns; it does not depend on threads, parts of a batch, or on where it was stopped; documents do not see
 * each other; what is refused changes nothing. tests/oracle/train_live.py holds the steps against PyTorch. */
#include "unit/train/lm_support.h"

#include "train/lm.h"

#include "folder.h"
#include "statuses.h"

static const char *const families[] = {"small", "stories"};

static sonde_lm_trainer *new_trainer(const char *shape, const sonde_corpus *corpus, const sonde_lm_opts *opts)
{
    sonde_model *model = lm_model(shape);
    sonde_lm_trainer *t;
    assert_ok(sonde_lm_trainer_new(&t, model, corpus, opts));
    sonde_model_free(model);
    return t;
}

/* n steps; the report of the last. */
static sonde_lm_report run_steps(sonde_lm_trainer *t, int64_t n)
{
    sonde_lm_report r = {0};
    for (int64_t i = 0; i < n; i++)
        assert_ok(sonde_lm_trainer_step(t, &r));
    return r;
}

/* ---- learning ------------------------------------------------------------------------------------------------------------- */

static void a_small_corpus_is_learnt_by_heart(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        sonde_corpus *corpus = lm_corpus(10, LM_VOCAB, 3);
        sonde_lm_opts o = lm_opts(i / 2 ? SONDE_OPTIMIZER_MUON : SONDE_OPTIMIZER_ADAMW, 150);
        sonde_lm_trainer *t = new_trainer(families[i % 2], corpus, &o);
        sonde_lm_report first = run_steps(t, 1), last = run_steps(t, 149);

        /* Before: nearly uniform over the vocabulary. After: what is left is which document comes next, and how it begins. */
        assert_true(fabs(first.loss - log(LM_VOCAB)) < 0.1);
        if (!(last.loss < 0.8))
            fail_msg("%s, optimizer %d: loss %g", families[i % 2], i / 2, last.loss);
        assert_int_equal(last.step, 150);
        assert_int_equal(last.n_tokens, 4 * LM_CONTEXT);
        assert_int_equal(sonde_lm_trainer_steps(t), 150);
        assert_refused(sonde_lm_trainer_step(t, &last), SONDE_E_STATE, "150 steps");
        sonde_lm_trainer_free(t);
        sonde_corpus_free(corpus);
    }
}

/* Loss and gradients of the first step, in parts of `micro` contexts. */
static float *first_gradients(sonde_lm_report *r, int64_t *n, const char *shape, const sonde_corpus *corpus, int64_t micro)
{
    sonde_lm_opts o = lm_opts(SONDE_OPTIMIZER_ADAMW, 2);
    sonde_lm_trainer *t;
    float *copy;

    o.micro_batch = micro;
    t = new_trainer(shape, corpus, &o);
    *r = run_steps(t, 1);
    *n = t->model->n_parameters;
    copy = malloc((size_t)*n * sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, t->gradients, (size_t)*n * sizeof *copy);
    sonde_lm_trainer_free(t);
    return copy;
}

static void parts_of_a_batch_add_up(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        sonde_corpus *corpus = lm_corpus(20, LM_VOCAB, 4);
        sonde_lm_report want, got;
        int64_t n;
        float *whole = first_gradients(&want, &n, families[i], corpus, 4);
        double largest = 0;

        for (int64_t k = 0; k < n; k++)
            largest = fmax(largest, fabs(whole[k]));
        for (int64_t micro = 1; micro < 4; micro++) {
            float *parts = first_gradients(&got, &n, families[i], corpus, micro);
            assert_true(fabs(got.loss / want.loss - 1) <= 1e-9 && fabs(got.gradient_norm / want.gradient_norm - 1) <= 1e-6);
            for (int64_t k = 0; k < n; k++)
                assert_true(fabs((double)parts[k] - whole[k]) <= 1e-6 * largest);
            free(parts);
        }
        free(whole);
        sonde_corpus_free(corpus);
    }
}

/* ---- documents -------------------------------------------------------------------------------------------------------------- */

enum { DOCUMENT = 5, N_DOCUMENTS = 6, STREAM = N_DOCUMENTS * (DOCUMENT + 1) };

/* Losses of all tokens of a stream of documents, one context, by their place in the stream. Document 2 begins with `ids[0]`. */
static void stream_losses(double *out, const char *shape, int32_t first_id, int64_t separator)
{
    sonde_config c = lm_config(shape);
    sonde_lm_opts o = lm_opts(SONDE_OPTIMIZER_ADAMW, 1);
    sonde_corpus *corpus;
    sonde_model *model;
    sonde_lm_trainer *t;
    int64_t first;

    c.n_context = STREAM;
    o.batch = 1;
    o.separator = separator;
    assert_ok(sonde_lm_initial(&model, &c, 1));
    assert_ok(sonde_corpus_new(&corpus, NULL, 0, LM_VOCAB));
    for (int32_t i = 0; i < N_DOCUMENTS; i++) {
        int32_t ids[DOCUMENT] = {i == 2 ? first_id : 3 + i, 4 + i, 5, 6 + i, 7};
        assert_ok(sonde_corpus_add_ids(corpus, ids, DOCUMENT));
    }
    assert_ok(sonde_lm_trainer_new(&t, model, corpus, &o));
    first = sonde_contexts_first(&t->contexts, 0);
    run_steps(t, 1);
    for (int64_t row = 0; row < STREAM; row++)
        out[(first + row) % STREAM] = t->batch.loss[row];
    sonde_lm_trainer_free(t);
    sonde_corpus_free(corpus);
    sonde_model_free(model);
}

static void documents_do_not_see_each_other(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        double one[STREAM], other[STREAM];
        int n_changed = 0;

        /* Document 2 has places 12 to 17; its first id, at place 13, is predicted by the separator at 12. */
        stream_losses(one, families[i], 9, 0);
        stream_losses(other, families[i], 20, 0);
        for (int k = 0; k < STREAM; k++) {
            bool is_inside = k >= 2 * (DOCUMENT + 1) && k < 3 * (DOCUMENT + 1);
            assert_true(is_inside || one[k] == other[k]);
            n_changed += one[k] != other[k];
        }
        assert_true(n_changed >= DOCUMENT);
        /* Without a separator what lies behind sees it. The context begins anywhere: more change than one document has. */
        stream_losses(one, families[i], 9, -1);
        stream_losses(other, families[i], 20, -1);
        n_changed = 0;
        for (int k = 0; k < STREAM; k++)
            n_changed += one[k] != other[k];
        assert_true(n_changed > DOCUMENT + 1);
    }
}

/* ---- evaluation ------------------------------------------------------------------------------------------------------------- */

/* Nats of one document by a run of its own, in double. */
static double document_nats(sonde_run *run, const int32_t *ids, int64_t n, int64_t V)
{
    sonde_tensor logits;
    double nats = 0;

    assert_ok(sonde_run_forward(run, ids, &n, 1, n));
    assert_ok(sonde_run_get(&logits, run, "logits"));
    for (int64_t t = 0; t + 1 < n; t++) {
        const float *x = (const float *)logits.data + t * V;
        double sum = 0;
        for (int64_t v = 0; v < V; v++)
            sum += exp((double)x[v]);
        nats += log(sum) - x[ids[t + 1]];
    }
    return nats;
}

/* The same sums over the first documents as sonde_lm_evaluate has, from runs of single documents. */
static sonde_lm_score score_by_runs(const sonde_model *model, const sonde_corpus *corpus, const sonde_tokenizer *tokenizer,
                                    int64_t n_documents)
{
    int64_t context = sonde_model_config(model)->n_context, V = sonde_model_config(model)->n_vocab;
    sonde_lm_score s = {.n_documents = n_documents};
    double nats = 0;
    sonde_run *run;

    assert_ok(sonde_run_new(&run, model));
    sonde_run_want_logits(run, SONDE_LOGITS_ALL);
    for (int64_t i = 0; i < n_documents; i++) {
        int64_t first, n, n_bytes;
        int32_t ids[64];
        sonde_corpus_document(&first, &n, &n_bytes, corpus, i);
        n = n < context ? n : context;
        sonde_corpus_read(ids, corpus, first, n);
        nats += document_nats(run, ids, n, V);
        s.n_tokens += n - 1;
        for (int64_t k = 1; k < n; k++) {
            size_t bytes = 0;
            sonde_tokenizer_bytes(&bytes, tokenizer, ids[k]);
            s.n_bytes += (int64_t)bytes;
        }
    }
    sonde_run_free(run);
    s.loss = nats / (double)s.n_tokens;
    s.bits_per_byte = nats / (double)s.n_bytes / log(2.0);
    return s;
}

static void evaluation_is_that_of_single_documents(void **state)
{
    sonde_tokenizer *tokenizer;
    sonde_corpus *corpus = lm_corpus(700, 300, 5); /* more rows than one pass takes */
    int32_t many[40];

    (void)state;
    for (int32_t i = 0; i < 40; i++)
        many[i] = 100 + i;
    assert_ok(sonde_corpus_add_ids(corpus, many, 40)); /* longer than the context: cut */
    assert_ok(sonde_corpus_add_ids(corpus, many, 0));  /* nothing to predict */
    assert_ok(sonde_tokenizer_load(&tokenizer, "tests/golden/tokenizers/byte_level.json"));
    for (int i = 0; i < 2; i++) {
        sonde_config c = lm_config(families[i]);
        sonde_model *model;
        c.n_vocab = 300;
        assert_ok(sonde_lm_initial(&model, &c, 2));
        for (int64_t limit = 0; limit < 8; limit += 7) {
            sonde_lm_score got, want = score_by_runs(model, corpus, tokenizer, limit ? limit : 702);
            assert_ok(sonde_lm_evaluate(&got, model, corpus, tokenizer, limit));
            assert_true(fabs(got.loss / want.loss - 1) <= 1e-7 && fabs(got.bits_per_byte / want.bits_per_byte - 1) <= 1e-7);
            assert_int_equal(got.n_tokens, want.n_tokens);
            assert_int_equal(got.n_bytes, want.n_bytes);
            assert_int_equal(got.n_documents, want.n_documents);
        }
        sonde_model_free(model);
    }
    sonde_tokenizer_free(tokenizer);
    sonde_corpus_free(corpus);
}

static void evaluation_needs_tokens(void **state)
{
    sonde_model *model = lm_model("small");
    sonde_corpus *corpus, *wide = lm_corpus(3, LM_VOCAB + 1, 1);
    sonde_lm_score score = {.loss = 7};

    (void)state;
    assert_ok(sonde_corpus_new(&corpus, NULL, 0, LM_VOCAB));
    assert_refused(sonde_lm_evaluate(&score, model, corpus, NULL, 0), SONDE_E_RANGE, "no token");
    assert_ok(sonde_corpus_add_ids(corpus, NULL, 0));
    assert_refused(sonde_lm_evaluate(&score, model, corpus, NULL, 0), SONDE_E_RANGE, "no token");
    assert_refused(sonde_lm_evaluate(&score, model, wide, NULL, 0), SONDE_E_RANGE, "32");
    assert_true(score.loss == 7);
    sonde_corpus_free(wide);
    sonde_corpus_free(corpus);
    sonde_model_free(model);
}

/* ---- stopping and going on -------------------------------------------------------------------------------------------------- */

/* Whether two files have the same bytes. */
static bool same_files(const char *a, const char *b)
{
    size_t n = 0, m = 0;
    char *x = read_whole(a, &n), *y = read_whole(b, &m);
    bool same = x && y && n == m && memcmp(x, y, n) == 0;
    free(x);
    free(y);
    return same;
}

/* A training of 7 steps that stops behind step 3 and goes on in another trainer, with another number of threads. */
static void stop_and_go(const char *shape, const sonde_corpus *corpus, const sonde_lm_opts *o, int threads)
{
    sonde_lm_trainer *t = new_trainer(shape, corpus, o);

    run_steps(t, 3);
    assert_ok(sonde_lm_trainer_save(t, in_folder("stopped.safetensors")));
    sonde_lm_trainer_free(t);
    assert_ok(sonde_set_threads(threads));
    t = new_trainer(shape, corpus, o);
    assert_ok(sonde_lm_trainer_load(t, in_folder("stopped.safetensors")));
    assert_int_equal(sonde_lm_trainer_steps(t), 3);
    run_steps(t, 4);
    assert_ok(sonde_lm_trainer_save(t, in_folder("gone_on.safetensors")));
    sonde_lm_trainer_free(t);
}

static void training_goes_on_as_if_it_had_not_stopped(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        sonde_corpus *corpus = lm_corpus(20, LM_VOCAB, 6);
        sonde_lm_opts o = lm_opts(i / 2 ? SONDE_OPTIMIZER_MUON : SONDE_OPTIMIZER_ADAMW, 7);
        sonde_lm_trainer *t;

        assert_ok(sonde_set_threads(1));
        t = new_trainer(families[i % 2], corpus, &o);
        run_steps(t, 7);
        assert_ok(sonde_lm_trainer_save(t, in_folder("whole.safetensors")));
        sonde_lm_trainer_free(t);
        for (int threads = 1; threads <= 3; threads++) {
            stop_and_go(families[i % 2], corpus, &o, threads);
            assert_true(same_files(in_folder("whole.safetensors"), in_folder("gone_on.safetensors")));
        }
        sonde_corpus_free(corpus);
    }
    assert_ok(sonde_set_threads(0));
}

/* Three steps at a constant rate, then on with a schedule that begins so: the same as that schedule from the beginning. */
static void training_is_made_longer(void **state)
{
    sonde_corpus *corpus = lm_corpus(20, LM_VOCAB, 6);
    sonde_lm_opts o = lm_opts(SONDE_OPTIMIZER_MUON, 3);
    sonde_lm_trainer *t;

    (void)state;
    o.schedule = SONDE_SCHEDULE_CONSTANT;
    t = new_trainer("stories", corpus, &o);
    run_steps(t, 3);
    assert_ok(sonde_lm_trainer_save(t, in_folder("short.safetensors")));
    sonde_lm_trainer_free(t);
    o.schedule = SONDE_SCHEDULE_WSD;
    o.steps = 8;
    o.decay_steps = 5;
    t = new_trainer("stories", corpus, &o);
    assert_ok(sonde_lm_trainer_load(t, in_folder("short.safetensors")));
    run_steps(t, 5);
    assert_ok(sonde_lm_trainer_save(t, in_folder("gone_on.safetensors")));
    sonde_lm_trainer_free(t);
    t = new_trainer("stories", corpus, &o);
    run_steps(t, 8);
    assert_ok(sonde_lm_trainer_save(t, in_folder("whole.safetensors")));
    assert_true(same_files(in_folder("whole.safetensors"), in_folder("gone_on.safetensors")));
    sonde_lm_trainer_free(t);
    sonde_corpus_free(corpus);
}

/* An interruption gives the step up; done again, it is as if nothing had been. */
static void an_interrupted_step_did_nothing(void **state)
{
    sonde_corpus *corpus = lm_corpus(20, LM_VOCAB, 6);
    sonde_lm_opts o = lm_opts(SONDE_OPTIMIZER_ADAMW, 4);
    sonde_lm_trainer *t = new_trainer("small", corpus, &o), *other = new_trainer("small", corpus, &o);
    sonde_lm_report r;

    (void)state;
    run_steps(t, 2);
    run_steps(other, 2);
    sonde_interrupt(true);
    assert_int_equal(sonde_lm_trainer_step(t, &r), SONDE_E_INTERRUPTED);
    sonde_interrupt(false);
    assert_int_equal(sonde_lm_trainer_steps(t), 2);
    run_steps(t, 2);
    run_steps(other, 2);
    assert_memory_equal(t->model->parameters, other->model->parameters, t->block_bytes);
    assert_memory_equal(t->m, other->m, t->block_bytes);
    assert_memory_equal(t->v, other->v, t->block_bytes);
    sonde_lm_trainer_free(t);
    sonde_lm_trainer_free(other);
    sonde_corpus_free(corpus);
}

/* ---- states that are refused -------------------------------------------------------------------------------------------------- */

/* The state of a short training in the folder. */
static void save_state(const char *name, const sonde_corpus *corpus, const sonde_lm_opts *o)
{
    sonde_lm_trainer *t = new_trainer("small", corpus, o);
    run_steps(t, 2);
    assert_ok(sonde_lm_trainer_save(t, in_folder(name)));
    sonde_lm_trainer_free(t);
}

/* A trainer of other options refuses the state, names what differs, and stays as it was. */
static void refused_by(const char *shape, const sonde_corpus *corpus, const sonde_lm_opts *o, const char *named)
{
    sonde_lm_trainer *t = new_trainer(shape, corpus, o);
    float before = t->model->parameters[5];

    assert_refused(sonde_lm_trainer_load(t, in_folder("state.safetensors")), SONDE_E_ARG, named);
    assert_true(t->step == 0 && t->model->parameters[5] == before && t->m[5] == 0.0f);
    sonde_lm_trainer_free(t);
}

static void states_of_other_trainings_are_refused(void **state)
{
    sonde_corpus *corpus = lm_corpus(20, LM_VOCAB, 6), *other = lm_corpus(20, LM_VOCAB, 7);
    const sonde_lm_opts o = lm_opts(SONDE_OPTIMIZER_ADAMW, 5);
    sonde_lm_opts p;

    (void)state;
    save_state("state.safetensors", corpus, &o);
    refused_by("stories", corpus, &o, "model.family");
    refused_by("small", other, &o, "corpus");
#define CHANGED(field, value, named)              \
    do {                                          \
        p = o;                                    \
        p.field = (value);                        \
        refused_by("small", corpus, &p, (named)); \
    } while (0)
    CHANGED(seed, 1, "'seed' is 0, here it is 1");
    CHANGED(batch, 5, "'batch' is 4, here it is 5");
    CHANGED(context, 8, "context");
    CHANGED(micro_batch, 2, "micro-batch");
    CHANGED(optimizer, SONDE_OPTIMIZER_MUON, "'optimizer' is adamw, here it is muon");
    CHANGED(products, SONDE_PRODUCTS_BF16, "'products' is f32, here it is bf16");
    CHANGED(beta2, 0.9, "'beta2' is 0.95, here it is 0.9");
    CHANGED(separator, -1, "separator");
    CHANGED(steps, 1, "step 2 already");
#undef CHANGED
    sonde_corpus_free(other);
    sonde_corpus_free(corpus);
}

/* Each field of a config that decides what is computed. */
static void states_of_other_models_are_refused(void **state)
{
    sonde_corpus *corpus = lm_corpus(20, LM_VOCAB, 6);
    const sonde_lm_opts o = lm_opts(SONDE_OPTIMIZER_ADAMW, 5);

    (void)state;
    save_state("state.safetensors", corpus, &o);
    for (int i = 0; i < 6; i++) {
        static const char *const names[] = {"n_layers", "d_mlp", "n_vocab", "norm_eps", "activation", "tied"};
        sonde_config c = lm_config("small");
        sonde_model *model;
        sonde_lm_trainer *t;

        c.n_layers += i == 0;
        c.d_mlp += i == 1;
        c.n_vocab += i == 2;
        c.norm_eps *= i == 3 ? 2 : 1;
        if (i == 4)
            snprintf(c.activation, sizeof c.activation, "relu");
        c.tied = c.tied != (i == 5);
        assert_ok(sonde_lm_initial(&model, &c, 1));
        assert_ok(sonde_lm_trainer_new(&t, model, corpus, &o));
        assert_refused(sonde_lm_trainer_load(t, in_folder("state.safetensors")), SONDE_E_ARG, names[i]);
        sonde_lm_trainer_free(t);
        sonde_model_free(model);
    }
    sonde_corpus_free(corpus);
}

/* What may be another: length, schedule, how far a step goes. */
static void length_and_schedule_may_change(void **state)
{
    sonde_corpus *corpus = lm_corpus(20, LM_VOCAB, 6);
    sonde_lm_opts o = lm_opts(SONDE_OPTIMIZER_ADAMW, 5);
    sonde_lm_trainer *t;

    (void)state;
    save_state("state.safetensors", corpus, &o);
    o.steps = 2;
    o.schedule = SONDE_SCHEDULE_WSD;
    o.warmup = 0;
    o.decay_steps = 1;
    o.lr = 0.5;
    o.last_lr = 0.5;
    o.weight_decay = 0;
    o.clip = 0;
    t = new_trainer("small", corpus, &o);
    assert_ok(sonde_lm_trainer_load(t, in_folder("state.safetensors")));
    assert_int_equal(sonde_lm_trainer_steps(t), 2);
    sonde_lm_trainer_free(t);
    sonde_corpus_free(corpus);
}

/* Puts `to` over the first `from` of a file's copy; both have the same length. */
static const char *patched(const char *name, const char *from, const char *to)
{
    size_t n = 0;
    char *bytes = read_whole(in_folder("state.safetensors"), &n), *at = NULL;
    const char *path;

    assert_non_null(bytes);
    assert_int_equal(strlen(from), strlen(to));
    for (size_t i = 0; i + strlen(from) <= n && at == NULL; i++)
        at = memcmp(bytes + i, from, strlen(from)) == 0 ? bytes + i : NULL;
    if (at == NULL)
        fail_msg("the file has no '%s'", from);
    memcpy(at, to, strlen(to));
    path = make_file(name, bytes, n);
    free(bytes);
    return path;
}

/* Neither the options nor the state of such a file is taken. */
static void damaged(const sonde_corpus *corpus, const char *path, bool options_are_read, const char *named)
{
    sonde_lm_opts o = lm_opts(SONDE_OPTIMIZER_ADAMW, 5), read = {.lr = 77};
    sonde_lm_trainer *t = new_trainer("small", corpus, &o);

    assert_refused(sonde_lm_trainer_load(t, path), SONDE_E_FORMAT, named);
    assert_int_equal(t->step, 0);
    if (options_are_read) {
        assert_ok(sonde_lm_opts_load(&read, path));
    } else {
        assert_refused(sonde_lm_opts_load(&read, path), SONDE_E_FORMAT, named);
        assert_true(read.lr == 77);
    }
    sonde_lm_trainer_free(t);
}

static void damaged_states_are_refused(void **state)
{
    sonde_corpus *corpus = lm_corpus(20, LM_VOCAB, 6);
    sonde_lm_opts o = lm_opts(SONDE_OPTIMIZER_ADAMW, 5), read = {.lr = 77};
    sonde_lm_trainer *t = new_trainer("small", corpus, &o);
    size_t n = 0;
    char *bytes;

    (void)state;
    save_state("state.safetensors", corpus, &o);
    bytes = read_whole(in_folder("state.safetensors"), &n);
    assert_non_null(bytes);
    for (size_t cut = 0; cut < n; cut += cut < 40 ? 7 : n / 13)
        damaged(corpus, make_file("cut.safetensors", bytes, cut), false, "cut.safetensors");
    damaged(corpus, patched("p.safetensors", "sonde.lm-training/2", "sonde.lm-training/9"), false, "schema");
    damaged(corpus, patched("p.safetensors", "\"schema\"", "\"scheme\""), false, "schema");
    damaged(corpus, patched("p.safetensors", "\"step\":\"2\"", "\"step\":\"x\""), true, "'step' is 'x'");
    damaged(corpus, patched("p.safetensors", "\"step\":\"2\"", "\"step\":\"-\""), true, "'step' is '-'");
    assert_refused(sonde_lm_opts_load(&read, patched("p.safetensors", "\"optimizer\":\"adamw\"", "\"optimizer\":\"adamx\"")),
                   SONDE_E_FORMAT, "adamw|muon");
    assert_refused(sonde_lm_opts_load(&read, patched("p.safetensors", "\"batch\":\"4\"", "\"batch\":\"0\"")), SONDE_E_FORMAT,
                   "batch");
    assert_refused(sonde_lm_opts_load(&read, patched("p.safetensors", "\"clip\":\"1.0\"", "\"clip\":\"nan\"")),
                   SONDE_E_FORMAT, "clip");
    assert_refused(sonde_lm_opts_load(&read, in_folder("nowhere.safetensors")), SONDE_E_NOTFOUND, "nowhere");
    assert_refused(sonde_lm_opts_load(&read, "tests/golden/models/gpt2-plain/model.safetensors"), SONDE_E_FORMAT, "schema");
    assert_true(read.lr == 77);
    assert_refused(sonde_lm_trainer_load(t, in_folder("nowhere.safetensors")), SONDE_E_NOTFOUND, "nowhere");
    free(bytes);
    sonde_lm_trainer_free(t);
    sonde_corpus_free(corpus);
}

/* What opts_load gives makes a trainer that takes the state. */
static void options_come_back(void **state)
{
    sonde_corpus *corpus = lm_corpus(20, LM_VOCAB, 6);
    sonde_lm_opts o = lm_opts(SONDE_OPTIMIZER_MUON, 123456), back;
    sonde_lm_trainer *t;

    (void)state;
    o.seed = (int64_t)1 << 53;
    o.lr = 0.1 + 0.2;
    o.eps = 1e-30;
    o.schedule = SONDE_SCHEDULE_WSD;
    o.products = SONDE_PRODUCTS_BF16;
    save_state("state.safetensors", corpus, &o);
    assert_ok(sonde_lm_opts_load(&back, in_folder("state.safetensors")));
    o.context = LM_CONTEXT; /* chosen */
    assert_memory_equal(&o, &back, sizeof o);
    t = new_trainer("small", corpus, &back);
    assert_ok(sonde_lm_trainer_load(t, in_folder("state.safetensors")));
    sonde_lm_trainer_free(t);
    sonde_corpus_free(corpus);
}

/* ---- what is not finite -------------------------------------------------------------------------------------------------------- */

static void what_is_not_finite_is_named_and_not_saved(void **state)
{
    sonde_corpus *corpus = lm_corpus(20, LM_VOCAB, 6);
    sonde_lm_opts o = lm_opts(SONDE_OPTIMIZER_ADAMW, 9);
    sonde_lm_trainer *t = new_trainer("small", corpus, &o);
    size_t n = 0, m = 0;
    char *before, *after;
    float kept;
    sonde_lm_report r;

    (void)state;
    run_steps(t, 2);
    assert_ok(sonde_lm_trainer_save(t, in_folder("state.safetensors")));
    before = read_whole(in_folder("state.safetensors"), &n);
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"blocks.1.hook_resid_post", "hook_embed", "ln_final"};
        const float *const places[] = {t->model->blocks[1].down.b, t->model->parameters, t->model->ln_final.w};
        float *w = t->model->parameters + (places[i] - t->model->parameters);
        kept = w[0];
        w[0] = i == 2 ? INFINITY : NAN;
        /* The separator's row of the embedding is in every context. */
        assert_refused(sonde_lm_trainer_step(t, &r), SONDE_E_NONFINITE, names[i]);
        assert_non_null(strstr(sonde_last_error()->hint, "step 3"));
        assert_int_equal(sonde_lm_trainer_steps(t), 2);
        assert_refused(sonde_lm_trainer_save(t, in_folder("state.safetensors")), SONDE_E_NONFINITE, "'weights'");
        w[0] = kept;
    }
    t->v[3] = INFINITY;
    assert_refused(sonde_lm_trainer_save(t, in_folder("state.safetensors")), SONDE_E_NONFINITE, "'v'");
    after = read_whole(in_folder("state.safetensors"), &m);
    assert_true(before && after && n == m && memcmp(before, after, n) == 0);
    free(before);
    free(after);
    sonde_lm_trainer_free(t);
    sonde_corpus_free(corpus);
}

/* ---- options and corpora ---------------------------------------------------------------------------------------------------------- */

static void wrong_options_are_refused(void **state)
{
    sonde_corpus *corpus = lm_corpus(20, LM_VOCAB, 6), *wide = lm_corpus(20, LM_VOCAB + 1, 6), *empty;
    sonde_model *model = lm_model("small");
    sonde_lm_opts o;
    sonde_lm_trainer *t;

    (void)state;
#define REFUSED(field, value, status, named)                                        \
    do {                                                                            \
        o = lm_opts(0, 5);                                                          \
        o.field = (value);                                                          \
        assert_refused(sonde_lm_trainer_new(&t, model, corpus, &o), status, named); \
        assert_null(t);                                                             \
    } while (0)
    REFUSED(struct_size, 1000, SONDE_E_ARG, "struct_size");
    REFUSED(struct_size, 0, SONDE_E_ARG, "struct_size");
    REFUSED(steps, 0, SONDE_E_ARG, "steps");
    REFUSED(lr, (double)NAN, SONDE_E_ARG, "lr");
    REFUSED(lr, -1, SONDE_E_ARG, "lr");
    REFUSED(beta1, 1, SONDE_E_ARG, "beta1");
    REFUSED(eps, 0, SONDE_E_ARG, "eps");
    REFUSED(schedule, 4, SONDE_E_ARG, "constant|linear|cosine|wsd");
    REFUSED(optimizer, -1, SONDE_E_ARG, "adamw|muon");
    REFUSED(context, LM_CONTEXT + 1, SONDE_E_ARG, "the model's context is 16");
    REFUSED(separator, LM_VOCAB, SONDE_E_ARG, "separator");
    REFUSED(separator, -2, SONDE_E_ARG, "separator");
    REFUSED(batch, 1000, SONDE_E_RANGE, "1000 are needed");
#undef REFUSED
    assert_refused(sonde_lm_trainer_new(&t, model, wide, NULL), SONDE_E_RANGE, "32");
    assert_ok(sonde_corpus_new(&empty, NULL, 0, LM_VOCAB));
    assert_refused(sonde_lm_trainer_new(&t, model, empty, NULL), SONDE_E_RANGE, "empty");
    /* An older caller's struct ends earlier: what it lacks are defaults. */
    o = lm_opts(0, 5);
    o.separator = 3;
    o.struct_size = offsetof(sonde_lm_opts, separator);
    assert_ok(sonde_lm_trainer_new(&t, model, corpus, &o));
    assert_int_equal(sonde_lm_trainer_opts(t)->separator, -1);
    assert_int_equal(sonde_lm_trainer_opts(t)->steps, 5);
    sonde_lm_trainer_free(t);
    sonde_lm_trainer_free(NULL);
    sonde_corpus_free(empty);
    sonde_corpus_free(wide);
    sonde_corpus_free(corpus);
    sonde_model_free(model);
}

static void corpora_take_ids(void **state)
{
    static const int32_t one[] = {4, 5, 6}, wrong[] = {4, 31}, below[] = {1, -1};
    sonde_corpus *corpus, *other;
    int32_t ids[7];
    int64_t first, n, n_bytes;
    uint64_t hash;

    (void)state;
    assert_ok(sonde_corpus_new(&corpus, NULL, 2, LM_VOCAB));
    assert_int_equal(sonde_corpus_n_vocab(corpus), LM_VOCAB);
    assert_ok(sonde_corpus_add_ids(corpus, one, 3));
    assert_ok(sonde_corpus_add_ids(corpus, one, 1));
    hash = sonde_corpus_hash(corpus);
    assert_refused(sonde_corpus_add_ids(corpus, wrong, 2), SONDE_E_RANGE, "31");
    assert_refused(sonde_corpus_add_ids(corpus, below, 2), SONDE_E_RANGE, "token 1 is -1");
    assert_true(sonde_corpus_hash(corpus) == hash);
    assert_int_equal(sonde_corpus_n_tokens(corpus), 6);
    assert_int_equal(sonde_corpus_n_documents(corpus), 2);
    assert_int_equal(sonde_corpus_n_bytes(corpus), 0);
    sonde_corpus_read(ids, corpus, 0, 7); /* a ring */
    assert_memory_equal(ids, ((const int32_t[]){2, 4, 5, 6, 2, 4, 2}), sizeof ids);
    sonde_corpus_document(&first, &n, &n_bytes, corpus, 1);
    assert_true(first == 4 && n == 2 && n_bytes == 0);
    /* The same ids cut otherwise into documents are another corpus. */
    assert_ok(sonde_corpus_new(&other, NULL, 2, LM_VOCAB));
    assert_ok(sonde_corpus_add_ids(other, ((const int32_t[]){4, 5, 6, 2, 4}), 5));
    assert_true(sonde_corpus_hash(other) != hash);
    sonde_corpus_free(other);
    sonde_corpus_free(corpus);
}

/* ---- models ------------------------------------------------------------------------------------------------------------------------- */

/* Mean and deviation of a tensor. */
static void moments_of(double *mean, double *deviation, const sonde_model *model, const char *name)
{
    sonde_tensor t;
    const float *x;
    int64_t n;

    assert_ok(sonde_model_weight(&t, model, name));
    x = t.data;
    n = sonde_tensor_n_elements(&t);
    *mean = *deviation = 0;
    for (int64_t i = 0; i < n; i++)
        *mean += x[i] / (double)n;
    for (int64_t i = 0; i < n; i++)
        *deviation += (x[i] - *mean) * (x[i] - *mean) / (double)n;
    *deviation = sqrt(*deviation);
}

static void new_weights_have_their_deviations(void **state)
{
    static const struct {
        const char *name;
        double mean, deviation;
    } wanted[] = {
        {"transformer.wte.weight", 0, 0.02},
        {"transformer.wpe.weight", 0, 0.02},
        {"transformer.h.1.attn.c_attn.weight", 0, 0.02},
        {"transformer.h.1.attn.c_proj.weight", 0, 0.01}, /* / sqrt(2 L) */
        {"transformer.h.0.mlp.c_fc.weight", 0, 0.02},
        {"transformer.h.0.mlp.c_proj.weight", 0, 0.01},
        {"transformer.h.0.mlp.c_proj.bias", 0, 0},
        {"transformer.h.0.attn.c_attn.bias", 0, 0},
        {"transformer.h.1.ln_1.weight", 1, 0},
        {"transformer.h.1.ln_2.bias", 0, 0},
        {"transformer.ln_f.weight", 1, 0},
    };
    sonde_config c;
    sonde_model *model, *same, *other;
    int64_t n_equal = 0;

    (void)state;
    assert_ok(sonde_config_shape(&c, "small"));
    c.n_layers = 2;
    c.d_model = 64;
    c.n_heads = c.n_kv_heads = 4;
    c.d_head = 16;
    c.d_mlp = 256;
    c.n_vocab = 500;
    assert_ok(sonde_set_threads(3));
    assert_ok(sonde_lm_initial(&model, &c, 1));
    assert_ok(sonde_set_threads(1));
    assert_ok(sonde_lm_initial(&same, &c, 1));
    assert_ok(sonde_set_threads(0));
    assert_ok(sonde_lm_initial(&other, &c, 2));
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        double mean, deviation;
        moments_of(&mean, &deviation, model, wanted[i].name);
        if (!(fabs(mean - wanted[i].mean) <= 0.001 && fabs(deviation - wanted[i].deviation) <= 0.03 * wanted[i].deviation))
            fail_msg("%s: mean %g, deviation %g", wanted[i].name, mean, deviation);
    }
    assert_memory_equal(model->parameters, same->parameters, (size_t)model->n_parameters * sizeof(float));
    for (int64_t i = 0; i < 500 * 64; i++)
        n_equal += model->parameters[i] == other->parameters[i];
    assert_true(n_equal < 500);
    sonde_model_free(other);
    sonde_model_free(same);
    sonde_model_free(model);
}

/* Every kind of model that is read can be trained: types of 16 bits, tied or not, biases, fewer keys than queries. */
static void every_golden_model_can_be_trained(void **state)
{
    char names[GOLDEN_MAX_MODELS][256], path[GOLDEN_PATH];
    int n = golden_list(names);

    (void)state;
    for (int i = 0; i < n; i++) {
        sonde_model *model;
        sonde_corpus *corpus;
        sonde_lm_opts o = lm_opts(i % 2 ? SONDE_OPTIMIZER_MUON : SONDE_OPTIMIZER_ADAMW, 12);
        sonde_lm_report first, last;
        sonde_lm_trainer *t;

        snprintf(path, sizeof path, GOLDEN_ROOT "/%.255s", names[i]);
        assert_ok(sonde_model_load(&model, path, NULL));
        corpus = lm_corpus(4, sonde_model_config(model)->n_vocab, 8);
        o.context = 8;
        o.batch = 2;
        assert_ok(sonde_lm_trainer_new(&t, model, corpus, &o));
        first = run_steps(t, 1);
        last = run_steps(t, 11);
        if (!(last.loss < first.loss))
            fail_msg("%s: loss %g, then %g", names[i], first.loss, last.loss);
        assert_int_equal(sonde_model_n_parameters(sonde_lm_trainer_model(t)), sonde_model_n_parameters(model));
        assert_int_equal(sonde_model_weight_dtype(sonde_lm_trainer_model(t)), SONDE_F32);
        sonde_lm_trainer_free(t);
        sonde_corpus_free(corpus);
        sonde_model_free(model);
    }
}

/* ---- cost --------------------------------------------------------------------------------------------------------------------------- */

static long n_allocations;

static void *count_alloc(size_t bytes, void *ctx)
{
    (void)ctx;
    n_allocations++;
    return malloc(bytes);
}

static void *count_resize(void *p, size_t bytes, void *ctx)
{
    (void)ctx;
    n_allocations++;
    return realloc(p, bytes);
}

static void count_release(void *p, void *ctx)
{
    (void)ctx;
    free(p);
}

static void steps_allocate_nothing(void **state)
{
    static const sonde_allocator counting = {count_alloc, count_resize, count_release, NULL};
    (void)state;
    assert_ok(sonde_set_allocator(&counting));
    for (int i = 0; i < 4; i++) {
        sonde_corpus *corpus = lm_corpus(40, LM_VOCAB, 9);
        sonde_lm_opts o = lm_opts(i / 2 ? SONDE_OPTIMIZER_MUON : SONDE_OPTIMIZER_ADAMW, 30);
        sonde_lm_trainer *t = new_trainer(families[i % 2], corpus, &o);
        size_t scratch = t->arena.bytes;
        long before = n_allocations;

        run_steps(t, 30);
        assert_int_equal(n_allocations - before, 0);
        assert_int_equal(t->arena.bytes, scratch); /* blocks for scratch are mapped, and not counted above */
        assert_true(t->arena.peak <= scratch && t->arena.peak > 0);
        sonde_lm_trainer_free(t);
        sonde_corpus_free(corpus);
    }
    assert_ok(sonde_set_allocator(NULL));
}

/* 6 for each parameter that a token is multiplied by, 12 for each pair of query and key and number of a head: causal, so half. */
static void the_plan_counts(void **state)
{
    sonde_corpus *corpus = lm_corpus(40, LM_VOCAB, 9);
    sonde_lm_opts o = lm_opts(SONDE_OPTIMIZER_ADAMW, 1);
    sonde_lm_trainer *t = new_trainer("stories", corpus, &o);
    const sonde_config *c = sonde_model_config(sonde_lm_trainer_model(t));
    double D = 16, matrices = 2 * (4 * D * D + 3 * D * 24) + LM_VOCAB * D, gains = 5 * D, tokens = 4 * LM_CONTEXT;
    sonde_lm_plan plan;

    (void)state;
    sonde_lm_trainer_plan(&plan, t);
    assert_true(c->gated_mlp && fabs(plan.flops - tokens * (6 * (matrices + gains) + 6 * 2 * LM_CONTEXT * D)) < 1);
    assert_true(plan.state_bytes >= 16 * sonde_model_n_parameters(sonde_lm_trainer_model(t)));
    assert_int_equal(plan.scratch_bytes, t->arena.bytes);
    sonde_lm_trainer_free(t);
    sonde_corpus_free(corpus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_corpus_is_learnt_by_heart),
        cmocka_unit_test(parts_of_a_batch_add_up),
        cmocka_unit_test(documents_do_not_see_each_other),
        cmocka_unit_test(evaluation_is_that_of_single_documents),
        cmocka_unit_test(evaluation_needs_tokens),
        cmocka_unit_test(training_goes_on_as_if_it_had_not_stopped),
        cmocka_unit_test(training_is_made_longer),
        cmocka_unit_test(an_interrupted_step_did_nothing),
        cmocka_unit_test(states_of_other_trainings_are_refused),
        cmocka_unit_test(states_of_other_models_are_refused),
        cmocka_unit_test(length_and_schedule_may_change),
        cmocka_unit_test(damaged_states_are_refused),
        cmocka_unit_test(options_come_back),
        cmocka_unit_test(what_is_not_finite_is_named_and_not_saved),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(corpora_take_ids),
        cmocka_unit_test(new_weights_have_their_deviations),
        cmocka_unit_test(every_golden_model_can_be_trained),
        cmocka_unit_test(steps_allocate_nothing),
        cmocka_unit_test(the_plan_counts),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
