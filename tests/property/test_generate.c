/* Generation with a cache against recomputing everything, and the options of sampling against what they must do. */
#include "property/property.h"

enum { MAX_NEW = 8, MAX_B = 4 };

typedef struct transcript {
    int32_t ids[MAX_B][64];
    int n[MAX_B];
} transcript;

static sonde_status write_down(int64_t sequence, int32_t id, void *ctx)
{
    transcript *t = ctx;
    assert_true(sequence >= 0 && sequence < MAX_B && t->n[sequence] < 64);
    t->ids[sequence][t->n[sequence]++] = id;
    return SONDE_OK;
}

static sonde_generate_opts options(double temperature, uint64_t seed)
{
    sonde_generate_opts opts;
    sonde_generate_opts_init(&opts);
    opts.max_tokens = MAX_NEW;
    opts.temperature = temperature;
    opts.seed = seed;
    opts.stop_id = -1;
    return opts;
}

static void generate(transcript *out, const golden_model *golden, const int32_t *prompts, const int64_t *lengths, int64_t B,
                     int64_t T, const sonde_generate_opts *opts)
{
    sonde_run *run;
    memset(out, 0, sizeof *out);
    assert_ok(sonde_run_new(&run, golden->model));
    assert_ok(sonde_generate(run, prompts, lengths, B, T, opts, write_down, out));
    sonde_run_free(run);
}

/* The likeliest next token by a pass over the whole text. */
static int32_t recompute(const golden_model *golden, const int32_t *tokens, int64_t n)
{
    sonde_run *run;
    sonde_tensor logits;
    const float *row;
    int32_t best = 0;
    assert_ok(sonde_run_new(&run, golden->model));
    sonde_run_want_logits(run, SONDE_LOGITS_LAST);
    assert_ok(sonde_run_forward(run, tokens, NULL, 1, n));
    assert_ok(sonde_run_get(&logits, run, "logits"));
    row = logits.data;
    for (int32_t v = 1; v < logits.shape[2]; v++)
        if (row[v] > row[best])
            best = v;
    sonde_run_free(run);
    return best;
}

static void greedy_with_a_cache_is_recomputation(const golden_model *golden)
{
    sonde_generate_opts opts = options(0, 0);
    transcript got;
    generate(&got, golden, golden->tokens, golden->lengths, golden->B, golden->T, &opts);
    for (int64_t b = 0; b < golden->B; b++) {
        int32_t text[64];
        int64_t n = golden->lengths[b];
        memcpy(text, golden->tokens + b * golden->T, (size_t)n * sizeof *text);
        assert_int_equal(got.n[b], MAX_NEW);
        for (int i = 0; i < MAX_NEW; i++) {
            int32_t want = recompute(golden, text, n);
            if (got.ids[b][i] != want)
                fail_msg("%s: token %d of sequence %lld is %d, recomputed %d", golden->directory, i, (long long)b,
                         (int)got.ids[b][i], (int)want);
            text[n++] = want;
        }
    }
}

static void top_1_is_greedy(const golden_model *golden)
{
    sonde_generate_opts greedy = options(0, 0), top = options(1.5, 7), nucleus = options(1.5, 8);
    transcript a, b, c;
    top.top_k = 1;
    nucleus.top_p = 1e-9;
    generate(&a, golden, golden->tokens, golden->lengths, golden->B, golden->T, &greedy);
    generate(&b, golden, golden->tokens, golden->lengths, golden->B, golden->T, &top);
    generate(&c, golden, golden->tokens, golden->lengths, golden->B, golden->T, &nucleus);
    assert_memory_equal(&a, &b, sizeof a);
    assert_memory_equal(&a, &c, sizeof a);
}

/* The same seed gives the same tokens, whatever the threads; another seed others. Sequence 0 alone draws as in its batch. */
static void sampling_depends_on_the_seed_alone(const golden_model *golden)
{
    sonde_generate_opts opts = options(1, 11), other = options(1, 12);
    transcript a, b, c, alone;
    generate(&a, golden, golden->tokens, golden->lengths, golden->B, golden->T, &opts);
    assert_ok(sonde_set_threads(3));
    generate(&b, golden, golden->tokens, golden->lengths, golden->B, golden->T, &opts);
    assert_ok(sonde_set_threads(0));
    generate(&c, golden, golden->tokens, golden->lengths, golden->B, golden->T, &other);
    generate(&alone, golden, golden->tokens, NULL, 1, golden->lengths[0], &opts);
    assert_memory_equal(&a, &b, sizeof a);
    assert_memory_not_equal(&a, &c, sizeof a);
    assert_memory_equal(a.ids[0], alone.ids[0], sizeof a.ids[0]);
}

static void a_stop_token_ends_its_sequence(const golden_model *golden)
{
    sonde_generate_opts opts = options(0, 0);
    transcript all, stopped;
    int n = 0;
    generate(&all, golden, golden->tokens, NULL, 1, golden->lengths[0], &opts);
    opts.stop_id = all.ids[0][2];
    while (all.ids[0][n] != opts.stop_id)
        n++;
    generate(&stopped, golden, golden->tokens, NULL, 1, golden->lengths[0], &opts);
    assert_int_equal(stopped.n[0], n + 1);
    assert_memory_equal(stopped.ids[0], all.ids[0], (size_t)(n + 1) * sizeof(int32_t));
}

/* Hooks fire at every step: a head or layer that is written to during generation changes what comes out. */
static sonde_status add_noise(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    (void)event;
    ++*(int *)ctx;
    for (int64_t i = 0; i < sonde_tensor_n_elements(x); i++)
        ((float *)x->data)[i] += (float)(i % 5) - 2.0f;
    return SONDE_OK;
}

static void hooks_fire_while_generating(const golden_model *golden)
{
    sonde_generate_opts opts = options(0, 0);
    transcript got = {0};
    sonde_run *run;
    int calls = 0;
    assert_ok(sonde_run_new(&run, golden->model));
    assert_ok(sonde_run_hook(run, "blocks.0.hook_resid_post", SONDE_HOOK_WRITE, add_noise, &calls, NULL));
    assert_ok(sonde_generate(run, golden->tokens, NULL, 1, golden->lengths[0], &opts, write_down, &got));
    assert_int_equal(calls, MAX_NEW); /* the prompt once, then a step for each token but the last */
    sonde_run_free(run);
}

/* Frequencies of the first sampled token against the softmax of the logits, with top_k and top_p applied by hand. */
static void softmax_of_first(double *p, const golden_model *golden)
{
    sonde_run *run;
    sonde_tensor logits;
    double sum = 0;
    assert_ok(sonde_run_new(&run, golden->model));
    sonde_run_want_logits(run, SONDE_LOGITS_LAST);
    assert_ok(sonde_run_forward(run, golden->tokens, NULL, 1, golden->lengths[0]));
    assert_ok(sonde_run_get(&logits, run, "logits"));
    for (int64_t v = 0; v < logits.shape[2]; v++)
        sum += p[v] = exp(((const float *)logits.data)[v] / 0.8);
    for (int64_t v = 0; v < logits.shape[2]; v++)
        p[v] /= sum;
    sonde_run_free(run);
}

/* Keeps the k likeliest of p and scales them to one. */
static void keep_top(double *p, int64_t V, int k)
{
    double kept[64] = {0}, sum = 0;
    for (int i = 0; i < k; i++) {
        int64_t best = -1;
        for (int64_t v = 0; v < V; v++)
            if (kept[v] == 0 && (best < 0 || p[v] > p[best]))
                best = v;
        kept[best] = p[best];
        sum += p[best];
    }
    for (int64_t v = 0; v < V; v++)
        p[v] = kept[v] / sum;
}

static void sampled_frequencies_fit(const golden_model *golden)
{
    enum { N = 4000, K = 6 };
    int64_t V = sonde_model_config(golden->model)->n_vocab;
    double p[64], chi = 0;
    int count[64] = {0};
    softmax_of_first(p, golden);
    keep_top(p, V, K);
    for (int i = 0; i < N; i++) {
        sonde_generate_opts opts = options(0.8, (uint64_t)i);
        transcript got;
        opts.max_tokens = 1;
        opts.top_k = K;
        generate(&got, golden, golden->tokens, NULL, 1, golden->lengths[0], &opts);
        count[got.ids[0][0]]++;
    }
    for (int64_t v = 0; v < V; v++) {
        if (p[v] == 0)
            assert_int_equal(count[v], 0);
        else
            chi += (count[v] - N * p[v]) * (count[v] - N * p[v]) / (N * p[v]);
    }
    if (!(chi <= 20.5)) /* chi-square with 5 degrees of freedom exceeds it with probability 0.001; seeds are fixed */
        fail_msg("%s: chi-square of the sampled tokens is %.1f", golden->directory, chi);
}

static void options_outside_their_bounds(void **unused)
{
    golden_model golden;
    sonde_run *run;
    transcript t = {0};
    sonde_generate_opts bad[5];
    int32_t prompt[16] = {1, 2, 3};
    int64_t empty[] = {0};
    (void)unused;
    golden_open(&golden, "gpt2-plain");
    assert_ok(sonde_run_new(&run, golden.model));
    for (int i = 0; i < 5; i++)
        bad[i] = options(1, 0);
    bad[0].temperature = -1;
    bad[1].temperature = NAN;
    bad[2].top_p = 1.5;
    bad[3].top_k = -2;
    bad[4].max_tokens = -1;
    for (int i = 0; i < 5; i++)
        assert_int_equal(sonde_generate(run, prompt, NULL, 1, 3, &bad[i], write_down, &t), SONDE_E_ARG);
    bad[0] = options(0, 0);
    assert_true(sonde_generate(run, prompt, empty, 1, 3, &bad[0], write_down, &t) != SONDE_OK);
    bad[0].max_tokens = 0; /* up to the context of 16 */
    assert_ok(sonde_generate(run, prompt, NULL, 1, 3, &bad[0], write_down, &t));
    assert_true(t.n[0] == 13 || t.n[0] == 14);
    sonde_run_free(run);
    golden_close(&golden);
}

#define EACH_MODEL(property)                   \
    static void test_##property(void **unused) \
    {                                          \
        (void)unused;                          \
        for_each_model(property);              \
    }
EACH_MODEL(greedy_with_a_cache_is_recomputation)
EACH_MODEL(top_1_is_greedy)
EACH_MODEL(sampling_depends_on_the_seed_alone)
EACH_MODEL(a_stop_token_ends_its_sequence)
EACH_MODEL(hooks_fire_while_generating)
EACH_MODEL(sampled_frequencies_fit)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy_with_a_cache_is_recomputation),
        cmocka_unit_test(test_top_1_is_greedy),
        cmocka_unit_test(test_sampling_depends_on_the_seed_alone),
        cmocka_unit_test(test_a_stop_token_ends_its_sequence),
        cmocka_unit_test(test_hooks_fire_while_generating),
        cmocka_unit_test(test_sampled_frequencies_fit),
        cmocka_unit_test(options_outside_their_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
