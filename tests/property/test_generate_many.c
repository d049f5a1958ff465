/* Many sequences in few slots: each becomes what it becomes alone, the batch stays full, and nothing is allocated per token. */
#include "property/property.h"

enum { N = 23, MAX_NEW = 9, CONTEXT = 64, SHORTEST = 2 };

/* What came of N sequences, and what was seen on the way. */
typedef struct record {
    const golden_model *golden;
    int64_t first;
    int32_t ids[N][CONTEXT];
    int n_tokens[N], n_ended[N];
    bool is_stopped[N];
    int64_t n_asked;                      /* prompts */
    int64_t n_live, most_live;            /* sequences that run */
    int64_t n_rows[CONTEXT * N], n_steps; /* sequences that a hook saw, step by step */
} record;

/* Sequence b has a golden text, cut to a length of its own. */
static sonde_status prompt_of(const int32_t **ids, int64_t *n, int64_t sequence, void *ctx)
{
    record *r = ctx;
    const golden_model *golden = r->golden;
    int64_t longest = golden->lengths[sequence % golden->B];

    assert_int_equal(sequence - r->first, r->n_asked++);
    *ids = golden->tokens + sequence % golden->B * golden->T;
    *n = longest - sequence % 4 < SHORTEST ? SHORTEST : longest - sequence % 4;
    *n = *n > longest ? longest : *n;
    r->n_live++;
    r->most_live = r->n_live > r->most_live ? r->n_live : r->most_live;
    return SONDE_OK;
}

static sonde_status token_of(int64_t sequence, int32_t id, void *ctx)
{
    record *r = ctx;
    int64_t b = sequence - r->first;

    assert_true(b >= 0 && b < N && r->n_ended[b] == 0 && r->n_tokens[b] < CONTEXT);
    r->ids[b][r->n_tokens[b]++] = id;
    return SONDE_OK;
}

static sonde_status end_of(int64_t sequence, const int32_t *ids, int64_t n, bool is_stopped, void *ctx)
{
    record *r = ctx;
    int64_t b = sequence - r->first;

    assert_int_equal(n, r->n_tokens[b]);
    assert_memory_equal(ids, r->ids[b], (size_t)n * sizeof *ids);
    r->n_ended[b]++;
    r->is_stopped[b] = is_stopped;
    r->n_live--;
    return SONDE_OK;
}

static sonde_generate_opts options(double temperature, int64_t width)
{
    sonde_generate_opts opts;
    sonde_generate_opts_init(&opts);
    opts.max_tokens = MAX_NEW;
    opts.temperature = temperature;
    opts.seed = 5;
    opts.width = width;
    return opts;
}

static record *generate(const golden_model *golden, sonde_run *run, int64_t first, int64_t n,
                        const sonde_generate_opts *opts)
{
    record *r = calloc(1, sizeof *r);
    sonde_sequences sequences = {first, n, golden->T, prompt_of, token_of, end_of, r};
    sonde_run *own = NULL;

    assert_non_null(r);
    r->golden = golden;
    r->first = first;
    if (run == NULL)
        assert_ok(sonde_run_new(&own, golden->model));
    assert_ok(sonde_generate_many(run ? run : own, &sequences, opts));
    sonde_run_free(own);
    for (int64_t b = 0; b < n; b++)
        assert_int_equal(r->n_ended[b], 1);
    assert_int_equal(r->n_asked, n);
    return r;
}

/* Ids that end some sequences early and others not: what greedy continuations have as their third token. */
static void stop_early(sonde_generate_opts *opts, int32_t stops[2], const golden_model *golden)
{
    sonde_generate_opts greedy = options(0, 0);
    record *r = generate(golden, NULL, 0, 2, &greedy);
    stops[0] = r->ids[0][2 % r->n_tokens[0]];
    stops[1] = r->ids[1][2 % r->n_tokens[1]];
    opts->stop_ids = stops;
    opts->n_stop_ids = 2;
    free(r);
}

static void assert_same_sequences(const record *a, const record *b, int64_t from_a, int64_t n, const char *why)
{
    for (int64_t i = 0; i < n; i++)
        if (a->n_tokens[from_a + i] != b->n_tokens[i] || a->is_stopped[from_a + i] != b->is_stopped[i] ||
            memcmp(a->ids[from_a + i], b->ids[i], sizeof a->ids[0]) != 0)
            fail_msg("%s: sequence %lld is another one: %s", a->golden->directory, (long long)i, why);
}

/* Alone, in slots that are refilled, all at once, in parts, on other numbers of threads: the same tokens. */
static void a_sequence_is_what_it_is_alone(const golden_model *golden)
{
    static const int64_t widths[] = {2, 3, 7, 17, N};

    for (int how = 0; how < 3; how++) { /* greedy; drawn; drawn with filters */
        sonde_generate_opts opts = options(how == 0 ? 0 : 1.2, 1);
        int32_t stops[2];
        record *alone, *other;
        stop_early(&opts, stops, golden);
        opts.top_k = how == 2 ? 9 : 0;
        opts.top_p = how == 2 ? 0.8 : 1;
        alone = generate(golden, NULL, 0, N, &opts);
        for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
            opts.width = widths[i];
            assert_ok(sonde_set_threads((int)i % 3 + 1));
            other = generate(golden, NULL, 0, N, &opts);
            assert_same_sequences(alone, other, 0, N, "in a batch");
            assert_int_equal(other->most_live, widths[i]);
            free(other);
        }
        assert_ok(sonde_set_threads(0));
        other = generate(golden, NULL, 9, 6, &opts);
        assert_same_sequences(alone, other, 9, 6, "begun with number 9");
        free(other);
        free(alone);
    }
}

/* The hook sees the sequences of each step; what it writes changes each as it would change it alone. */
static sonde_status count_rows(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    record *r = ctx;
    (void)event;
    r->n_rows[r->n_steps++] = x->shape[0];
    return SONDE_OK;
}

static sonde_status add_noise(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    (void)event, (void)ctx;
    for (int64_t i = 0; i < sonde_tensor_n_elements(x); i++)
        ((float *)x->data)[i] += (float)(i % x->shape[2] % 5) - 2.0f;
    return SONDE_OK;
}

static void the_batch_stays_full(const golden_model *golden)
{
    enum { WIDTH = 5 };
    sonde_generate_opts opts = options(1.2, WIDTH);
    int32_t stops[2];
    record *seen = calloc(1, sizeof *seen), *r;
    sonde_run *run;
    int64_t n_done = 0;

    stop_early(&opts, stops, golden);
    assert_ok(sonde_run_new(&run, golden->model));
    assert_ok(sonde_run_hook(run, "blocks.0.hook_resid_post", SONDE_HOOK_READ, count_rows, seen, NULL));
    r = generate(golden, run, 0, N, &opts);
    /* full until the last sequence has begun; then never fuller than before */
    for (int64_t i = 0; i < seen->n_steps; i++) {
        assert_true(seen->n_rows[i] > 0 && seen->n_rows[i] <= WIDTH);
        assert_true(i == 0 || seen->n_rows[i] == WIDTH || seen->n_rows[i] <= seen->n_rows[i - 1]);
        n_done += seen->n_rows[i];
    }
    for (int b = 0; b < N; b++)
        n_done -= r->n_tokens[b];
    assert_int_equal(n_done, 0); /* a token of each sequence in each step, and no other work */
    sonde_run_free(run);
    free(seen);
    free(r);
}

static void hooks_change_each_sequence_alike(const golden_model *golden)
{
    sonde_generate_opts opts = options(0, 1);
    record *plain = generate(golden, NULL, 0, N, &opts), *alone, *together;
    sonde_run *run;

    assert_ok(sonde_run_new(&run, golden->model));
    assert_ok(sonde_run_hook(run, "blocks.0.hook_resid_post", SONDE_HOOK_WRITE, add_noise, NULL, NULL));
    alone = generate(golden, run, 0, N, &opts);
    opts.width = 6;
    together = generate(golden, run, 0, N, &opts);
    assert_same_sequences(alone, together, 0, N, "with a hook");
    assert_memory_not_equal(alone->ids, plain->ids, sizeof alone->ids);
    sonde_run_free(run);
    free(plain);
    free(alone);
    free(together);
}

/* ---- logits ---------------------------------------------------------------------------------------------------------- */

/* The logits of the last row of a sequence that runs alone, step by step. */
typedef struct logits_seen {
    float rows[CONTEXT][256];
    int64_t n, V;
} logits_seen;

static sonde_status keep_last(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    logits_seen *seen = ctx;
    (void)event;
    seen->V = x->shape[2];
    assert_true(seen->V <= 256 && seen->n < CONTEXT);
    memcpy(seen->rows[seen->n++], (const float *)x->data + (x->shape[1] - 1) * seen->V, (size_t)seen->V * sizeof(float));
    return SONDE_OK;
}

/* Step by step with a cache as in one pass without. */
static void cached_logits_are_those_of_a_whole_pass(const golden_model *golden)
{
    sonde_generate_opts opts = options(0, 1);
    logits_seen *seen = calloc(1, sizeof *seen);
    int32_t text[CONTEXT];
    int64_t n = golden->lengths[0];
    sonde_run *run;
    sonde_tensor logits;
    record *r;

    assert_ok(sonde_run_new(&run, golden->model));
    assert_ok(sonde_run_hook(run, "unembed.hook_out", SONDE_HOOK_READ, keep_last, seen, NULL));
    r = generate(golden, run, 0, 1, &opts);
    sonde_run_reset(run);
    memcpy(text, golden->tokens, (size_t)n * sizeof *text);
    memcpy(text + n, r->ids[0], (size_t)(r->n_tokens[0] - 1) * sizeof *text);
    sonde_run_want_logits(run, SONDE_LOGITS_ALL);
    assert_ok(sonde_run_forward(run, text, NULL, 1, n + r->n_tokens[0] - 1));
    assert_ok(sonde_run_get(&logits, run, "logits"));
    assert_int_equal(seen->n, r->n_tokens[0]);
    for (int64_t i = 0; i < seen->n; i++) {
        const float *want = (const float *)logits.data + (n - 1 + i) * seen->V;
        double error = 0, largest = 0;
        for (int64_t v = 0; v < seen->V; v++) {
            error = fmax(error, fabs((double)seen->rows[i][v] - want[v]));
            largest = fmax(largest, fabs((double)want[v]));
        }
        if (!(error <= 5e-6 * largest)) /* seen: 1.1e-6 */
            fail_msg("%s: logits of step %lld differ by %g of the largest", golden->directory, (long long)i,
                     error / largest);
    }
    sonde_run_free(run);
    free(seen);
    free(r);
}

/* ---- memory ---------------------------------------------------------------------------------------------------------- */

static int64_t n_allocations;

static void *counted_alloc(size_t bytes, void *ctx)
{
    (void)ctx;
    n_allocations++;
    return malloc(bytes);
}

static void *counted_resize(void *p, size_t bytes, void *ctx)
{
    (void)ctx;
    n_allocations++;
    return realloc(p, bytes);
}

static void counted_release(void *p, void *ctx)
{
    (void)ctx;
    free(p);
}

/* Allocations up to the first token, and up to the last one. */
typedef struct count {
    int64_t at_first, at_last, n;
} count;

static sonde_status look_at_count(int64_t sequence, int32_t id, void *ctx)
{
    count *c = ctx;
    (void)sequence, (void)id;
    if (c->n++ == 0)
        c->at_first = n_allocations;
    c->at_last = n_allocations;
    return SONDE_OK;
}

static sonde_status first_tokens(const int32_t **ids, int64_t *n, int64_t sequence, void *ctx)
{
    static const int32_t some[] = {1, 2, 3, 4, 5};
    (void)ctx;
    *ids = some;
    *n = 1 + sequence % 5;
    return SONDE_OK;
}

static void tokens_allocate_nothing(const golden_model *golden)
{
    static const sonde_allocator counting = {counted_alloc, counted_resize, counted_release, NULL};
    sonde_generate_opts opts = options(1, 3);
    count c = {0};
    sonde_sequences sequences = {0, 40, 5, first_tokens, look_at_count, NULL, &c};
    sonde_run *run;

    assert_ok(sonde_set_allocator(&counting));
    assert_ok(sonde_run_new(&run, golden->model));
    assert_ok(sonde_generate_many(run, &sequences, &opts));
    sonde_run_free(run);
    assert_ok(sonde_set_allocator(NULL));
    assert_true(c.n > 200);
    assert_true(c.at_first > 0);
    assert_int_equal(c.at_last - c.at_first, 0);
}

/* ---- what is refused --------------------------------------------------------------------------------------------------- */

static sonde_status bad_prompt(const int32_t **ids, int64_t *n, int64_t sequence, void *ctx)
{
    static const int32_t some[] = {1, 2, 3};
    *ids = some;
    *n = sequence == 3 ? *(int64_t *)ctx : 1;
    return SONDE_OK;
}

static sonde_status stop_at_once(int64_t sequence, int32_t id, void *ctx)
{
    (void)sequence, (void)id, (void)ctx;
    return (sonde_status)77;
}

static sonde_status write_nan(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    (void)event, (void)ctx;
    if (x->shape[0] > 1)
        ((float *)x->data)[x->shape[1] * x->shape[2]] = NAN; /* of the second sequence */
    return SONDE_OK;
}

static void what_is_wrong_is_refused(void **unused)
{
    golden_model golden;
    int64_t length = 0;
    sonde_generate_opts opts = options(1, 2);
    sonde_sequences sequences = {0, 5, 2, bad_prompt, NULL, NULL, &length};
    sonde_run *run;
    (void)unused;

    golden_open(&golden, "gpt2-plain");
    assert_ok(sonde_run_new(&run, golden.model));
    assert_int_equal(sonde_generate_many(run, &sequences, &opts), SONDE_E_ARG); /* prompt 3 has no tokens */
    length = 3;
    assert_int_equal(sonde_generate_many(run, &sequences, &opts), SONDE_E_ARG); /* or more than was said */
    length = 2;
    assert_ok(sonde_generate_many(run, &sequences, &opts));
    sequences.token = stop_at_once;
    assert_int_equal(sonde_generate_many(run, &sequences, &opts), 77);
    sequences.token = NULL;
    sequences.longest = 17; /* the context is 16 */
    assert_int_equal(sonde_generate_many(run, &sequences, &opts), SONDE_E_RANGE);
    sequences.longest = 2;
    opts.width = -1;
    assert_int_equal(sonde_generate_many(run, &sequences, &opts), SONDE_E_ARG);
    opts.width = 2;
    sequences.first = -1;
    assert_int_equal(sonde_generate_many(run, &sequences, &opts), SONDE_E_ARG);
    sequences.first = 0;
    sequences.n = 0;
    assert_ok(sonde_generate_many(run, &sequences, &opts));
    /* a logit that is not finite is found, though the pass does not look at it, and named by its sequence */
    sequences.n = 5;
    assert_ok(sonde_run_hook(run, "unembed.hook_in", SONDE_HOOK_WRITE, write_nan, NULL, NULL));
    assert_int_equal(sonde_generate_many(run, &sequences, &opts), SONDE_E_NONFINITE);
    assert_non_null(strstr(sonde_last_error()->message, "sequence 1, position 0"));
    sonde_run_free(run);
    golden_close(&golden);
}

#define EACH_MODEL(property)                   \
    static void test_##property(void **unused) \
    {                                          \
        (void)unused;                          \
        for_each_model(property);              \
    }
EACH_MODEL(a_sequence_is_what_it_is_alone)
EACH_MODEL(the_batch_stays_full)
EACH_MODEL(hooks_change_each_sequence_alike)
EACH_MODEL(cached_logits_are_those_of_a_whole_pass)
EACH_MODEL(tokens_allocate_nothing)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_sequence_is_what_it_is_alone),
        cmocka_unit_test(test_the_batch_stays_full),
        cmocka_unit_test(test_hooks_change_each_sequence_alike),
        cmocka_unit_test(test_cached_logits_are_those_of_a_whole_pass),
        cmocka_unit_test(test_tokens_allocate_nothing),
        cmocka_unit_test(what_is_wrong_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
