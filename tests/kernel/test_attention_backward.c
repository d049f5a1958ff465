/* The gradients of attention against their definition: lengths around every block, groups, cuts, threads, what is not seen. */
#include "kernel/kernel_support.h"

typedef struct shape {
    int64_t n_query, n_key, n_heads, n_kv_heads, d_head;
} shape;

static const shape shapes[] = {
    {1, 1, 1, 1, 1},      {1, 7, 2, 1, 3},     {2, 2, 3, 3, 8},      {3, 40, 4, 2, 16},    {4, 300, 8, 1, 33},
    {5, 5, 2, 2, 48},     {6, 6, 1, 1, 16},    {7, 7, 1, 1, 15},     {13, 13, 2, 1, 64},   {14, 14, 1, 1, 65},
    {15, 15, 4, 4, 31},   {16, 16, 2, 2, 17},  {17, 17, 6, 2, 32},   {16, 270, 2, 2, 32},  {33, 33, 2, 1, 128},
    {64, 64, 3, 1, 7},    {95, 95, 1, 1, 32},  {96, 96, 1, 1, 32},   {97, 97, 1, 1, 32},   {193, 193, 1, 1, 9},
    {255, 255, 1, 1, 33}, {256, 256, 2, 1, 8}, {257, 257, 1, 1, 80}, {300, 600, 2, 1, 17}, {40, 40, 1, 1, 256},
    {20, 20, 2, 2, 300},  {6, 3, 2, 2, 8},     {0, 5, 2, 1, 8},      {4, 0, 2, 2, 8},      {513, 513, 2, 1, 24},
    {700, 700, 3, 1, 16}, {120, 5, 1, 1, 16},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

/* A sequence with gaps between its rows, z as the forward pass has it; outputs hold numbers that must go. */
static sondep_attention_backward make_sequence(const shape *s, uint64_t seed)
{
    int64_t wide = s->n_heads * s->d_head, narrow = s->n_kv_heads * s->d_head;
    sondep_attention_backward b = {.ld_dz = wide + 1, .ld_dq = wide + 4, .ld_dk = narrow + 2, .ld_dv = narrow + 3};
    sondep_attention *a = &b.forward;

    *a = (sondep_attention){.ld_q = wide + 3,
                            .ld_k = narrow + 1,
                            .ld_v = narrow + 5,
                            .ld_z = wide + 2,
                            .n_query = s->n_query,
                            .n_key = s->n_key,
                            .n_heads = s->n_heads,
                            .n_kv_heads = s->n_kv_heads,
                            .d_head = s->d_head,
                            .scale = 1.0f / sqrtf((float)s->d_head)};
    a->q = numbers(s->n_query * a->ld_q, seed);
    a->k = numbers(s->n_key * a->ld_k, seed + 1);
    a->v = numbers(s->n_key * a->ld_v, seed + 2);
    a->z = numbers(s->n_query * a->ld_z, seed + 3);
    b.dz = numbers(s->n_query * b.ld_dz, seed + 4);
    b.dq = numbers(s->n_query * b.ld_dq, seed + 5);
    b.dk = numbers(s->n_key * b.ld_dk, seed + 6);
    b.dv = numbers(s->n_key * b.ld_dv, seed + 7);
    for (int64_t i = 0; i < s->n_query * a->ld_q; i++)
        ((float *)a->q)[i] *= 4.0f; /* so that the softmax is not flat */
    sondep_attend_ref(a, 1, NULL);
    return b;
}

static void free_sequence(sondep_attention_backward *b)
{
    free((void *)b->forward.q), free((void *)b->forward.k), free((void *)b->forward.v), free(b->forward.z);
    free((void *)b->dz), free(b->dq), free(b->dk), free(b->dv);
}

static void run(const sondep_attention_backward *b, int64_t n, int64_t d_head, int64_t n_key)
{
    void *scratch = take_scratch(sondep_attend_backward_scratch_bytes(d_head, n_key));
    sondep_attend_backward(b, n, scratch);
    free(scratch);
}

static void run_ref(const sondep_attention_backward *b)
{
    void *scratch = take_scratch(sondep_attend_backward_scratch_bytes_ref(b->forward.d_head, b->forward.n_key));
    sondep_attend_backward_ref(b, 1, scratch);
    free(scratch);
}

/* All of dq, dk and dv, with what lies between the rows. */
static void compare(const sondep_attention_backward *got, const sondep_attention_backward *want)
{
    assert_within(got->dq, want->dq, got->forward.n_query * got->ld_dq, "attend_backward", "f32");
    assert_within(got->dk, want->dk, got->forward.n_key * got->ld_dk, "attend_backward", "f32");
    assert_within(got->dv, want->dv, got->forward.n_key * got->ld_dv, "attend_backward", "f32");
}

static void assert_same_gradients(const sondep_attention_backward *a, const sondep_attention_backward *b, const char *what)
{
    assert_same_bytes(a->dq, b->dq, (size_t)(a->forward.n_query * a->ld_dq) * sizeof(float), what);
    assert_same_bytes(a->dk, b->dk, (size_t)(a->forward.n_key * a->ld_dk) * sizeof(float), what);
    assert_same_bytes(a->dv, b->dv, (size_t)(a->forward.n_key * a->ld_dv) * sizeof(float), what);
}

static void blocks_agree_with_the_definition(void **unused)
{
    (void)unused;
    for (int i = 0; i < N_SHAPES; i++) {
        sondep_attention_backward want = make_sequence(&shapes[i], 10);
        run_ref(&want);
        for (int set = 0; set < N_ALL_SETS; set++) {
            if (!choose_set(set))
                continue;
            sondep_attention_backward got = make_sequence(&shapes[i], 10);
            run(&got, 1, shapes[i].d_head, shapes[i].n_key);
            compare(&got, &want);
            free_sequence(&got);
        }
        free_sequence(&want);
    }
}

/* Sequences of different lengths and widths in one call, on any number of threads, are what each is alone on one. */
static void batches_and_threads_do_not_matter(void **unused)
{
    static const shape lengths[] = {{1, 1, 4, 2, 24}, {800, 800, 4, 2, 24}, {3, 9, 4, 2, 24},
                                    {0, 3, 4, 2, 24}, {30, 290, 4, 2, 8},   {17, 17, 4, 2, 40},
                                    {9, 9, 6, 1, 24}, {600, 600, 2, 1, 16}, {1, 900, 4, 2, 24}};
    enum { N = sizeof lengths / sizeof *lengths };
    sondep_attention_backward together[N], alone[N];
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        if (!choose_set(set))
            continue;
        assert_int_equal(sonde_set_threads(1), SONDE_OK);
        for (int i = 0; i < N; i++) {
            alone[i] = make_sequence(&lengths[i], 30);
            run(&alone[i], 1, lengths[i].d_head, lengths[i].n_key);
        }
        for (int threads = 1; threads <= 4; threads++) {
            assert_int_equal(sonde_set_threads(threads), SONDE_OK);
            for (int i = 0; i < N; i++)
                together[i] = make_sequence(&lengths[i], 30);
            run(together, N, 40, 900);
            for (int i = 0; i < N; i++) {
                assert_same_gradients(&together[i], &alone[i], "gradients of attention in a batch");
                free_sequence(&together[i]);
            }
            if (strcmp(sondep_kernel_name(), "ref") == 0)
                break; /* which is slow, and has no threads */
        }
        for (int i = 0; i < N; i++)
            free_sequence(&alone[i]);
    }
    assert_int_equal(sonde_set_threads(0), SONDE_OK);
}

/* More tasks than turns are kept for. */
static void many_short_sequences_agree(void **unused)
{
    static const shape s = {3, 3, 2, 2, 5};
    enum { N = 400 };
    sondep_attention_backward *all = take(sizeof *all * N), want = make_sequence(&s, 60);
    (void)unused;

    run_ref(&want);
    for (int set = 0; set < N_ALL_SETS; set++) {
        if (!choose_set(set))
            continue;
        assert_int_equal(sonde_set_threads(3), SONDE_OK);
        for (int i = 0; i < N; i++)
            all[i] = make_sequence(&s, 60);
        run(all, N, s.d_head, s.n_key);
        for (int i = 0; i < N; i++) {
            compare(&all[i], &want);
            free_sequence(&all[i]);
        }
    }
    assert_int_equal(sonde_set_threads(0), SONDE_OK);
    free_sequence(&want), free(all);
}

/* Queries that do not see a key give its gradients nothing: changing them changes no byte there. */
static void the_past_does_not_feel_it(void **unused)
{
    static const shape s = {70, 70, 2, 2, 40};
    enum { FROM = 48 }; /* a whole number of strips and tiles on every set, so that none mixes both sides */
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        if (!choose_set(set))
            continue;
        sondep_attention_backward before = make_sequence(&s, 40), after = make_sequence(&s, 40);
        for (int64_t i = 0; i < FROM * after.ld_dz; i++)
            ((float *)after.dz)[i] *= -3.0f;
        run(&before, 1, s.d_head, s.n_key);
        run(&after, 1, s.d_head, s.n_key);
        assert_same_bytes(before.dk + FROM * before.ld_dk, after.dk + FROM * before.ld_dk,
                          (size_t)((s.n_key - FROM) * before.ld_dk) * sizeof(float), "keys behind the change");
        assert_same_bytes(before.dq + FROM * before.ld_dq, after.dq + FROM * before.ld_dq,
                          (size_t)((s.n_query - FROM) * before.ld_dq) * sizeof(float), "queries behind the change");
        assert_true(before.dk[0] != after.dk[0]);
        free_sequence(&before), free_sequence(&after);
    }
}

/* A NaN in a query's row reaches its dq and the keys that it sees; scores as large as floats hold do not overflow. */
static void extreme_numbers_are_right(void **unused)
{
    static const shape s = {40, 40, 1, 1, 16};
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        if (!choose_set(set))
            continue;
        sondep_attention_backward b = make_sequence(&s, 50);
        for (int64_t i = 0; i < s.n_query * b.forward.ld_q; i++)
            ((float *)b.forward.q)[i] *= 1e17f;
        for (int64_t i = 0; i < s.n_key * b.forward.ld_k; i++)
            ((float *)b.forward.k)[i] *= 1e17f;
        sondep_attend_ref(&b.forward, 1, NULL);
        run(&b, 1, s.d_head, s.n_key);
        for (int64_t i = 0; i < s.n_key; i++)
            for (int64_t d = 0; d < s.d_head; d++)
                assert_true(isfinite(b.dv[i * b.ld_dv + d]));
        ((float *)b.forward.q)[24 * b.forward.ld_q] = NAN;
        run(&b, 1, s.d_head, s.n_key);
        for (int64_t i = 0; i < s.n_query; i++) {
            assert_true(isnan(b.dq[i * b.ld_dq]) == (i == 24));
            assert_true(i > 24 || (isnan(b.dk[i * b.ld_dk]) && isnan(b.dv[i * b.ld_dv])));
        }
        free_sequence(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_agree_with_the_definition), cmocka_unit_test(batches_and_threads_do_not_matter),
        cmocka_unit_test(many_short_sequences_agree),       cmocka_unit_test(the_past_does_not_feel_it),
        cmocka_unit_test(extreme_numbers_are_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
