/* Attention against its definition: lengths around every block, odd and wide heads, groups, decoding, padded batches. */
#include "kernel/kernel_support.h"

typedef struct shape {
    int64_t n_query, n_key, n_heads, n_kv_heads, d_head;
} shape;

static const shape shapes[] = {
    {1, 1, 1, 1, 1},      {1, 7, 2, 1, 3},     {2, 2, 3, 3, 8},     {3, 40, 4, 2, 16},    {4, 300, 8, 1, 33},
    {5, 5, 2, 2, 48},     {13, 13, 2, 1, 64},  {14, 14, 1, 1, 65},  {15, 15, 4, 4, 31},   {16, 270, 2, 2, 32},
    {33, 33, 2, 1, 128},  {64, 64, 3, 1, 7},   {224, 224, 1, 1, 9}, {225, 255, 2, 2, 64}, {257, 257, 1, 1, 80},
    {300, 600, 2, 1, 17}, {40, 40, 1, 1, 256}, {20, 20, 2, 2, 300}, {1, 520, 36, 1, 64},  {6, 3, 2, 2, 8},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

/* A sequence with gaps between its rows; free_sequence gives everything back. */
static sondep_attention make_sequence(const shape *s, uint64_t seed)
{
    sondep_attention a = {.n_query = s->n_query,
                          .n_key = s->n_key,
                          .n_heads = s->n_heads,
                          .n_kv_heads = s->n_kv_heads,
                          .d_head = s->d_head,
                          .scale = 1.0f / sqrtf((float)s->d_head)};

    a.ld_q = s->n_heads * s->d_head + 3;
    a.ld_k = s->n_kv_heads * s->d_head + 1;
    a.ld_v = s->n_kv_heads * s->d_head + 5;
    a.ld_z = s->n_heads * s->d_head + 2;
    a.q = numbers(s->n_query * a.ld_q, seed);
    a.k = numbers(s->n_key * a.ld_k, seed + 1);
    a.v = numbers(s->n_key * a.ld_v, seed + 2);
    a.z = numbers(s->n_query * a.ld_z, seed + 3);
    for (int64_t i = 0; i < s->n_query * a.ld_q; i++)
        ((float *)a.q)[i] *= 6.0f; /* so that the softmax is not flat */
    return a;
}

static void free_sequence(sondep_attention *a)
{
    free((void *)a->q), free((void *)a->k), free((void *)a->v), free(a->z);
}

static void *scratch_for(int64_t d_head)
{
    return take_scratch(sondep_attention_scratch_bytes(d_head));
}

static void blocks_agree_with_the_definition(void **unused)
{
    (void)unused;
    for (int i = 0; i < N_SHAPES; i++) {
        sondep_attention got = make_sequence(&shapes[i], 10), want = make_sequence(&shapes[i], 10);
        sondep_attend_ref(&want, 1, NULL);
        for (int set = 0; set < N_ALL_SETS; set++) {
            void *scratch = choose_set(set) ? scratch_for(got.d_head) : NULL;
            if (scratch == NULL)
                continue;
            sondep_attend(&got, 1, scratch);
            assert_within(got.z, want.z, got.n_query * got.ld_z, "attend", "f32");
            free(scratch);
        }
        free_sequence(&got), free_sequence(&want);
    }
}

static void three_steps_agree_with_the_definition(void **unused)
{
    (void)unused;
    for (int i = 0; i < N_SHAPES; i++) {
        sondep_attention s = make_sequence(&shapes[i], 20), want_z = make_sequence(&shapes[i], 20);
        int64_t rows = s.n_heads * s.n_query, n = rows * s.n_key;
        float *want = numbers(n, 1), *got = numbers(n, 2);

        for (int set = 0; set < N_ALL_SETS; set++) {
            void *scratch = choose_set(set) ? scratch_for(s.d_head) : NULL;
            if (scratch == NULL)
                continue;
            sondep_attention_scores_ref(want, &s, NULL);
            sondep_attention_scores(got, &s, scratch);
            assert_within(got, want, n, "scores", "f32");
            memcpy(got, want, (size_t)n * sizeof *got);
            sondep_softmax_rows_ref(want, rows, s.n_key);
            sondep_softmax_rows(got, rows, s.n_key);
            assert_within(got, want, n, "softmax", "f32");
            sondep_attention_mix_ref(want, &want_z, NULL);
            sondep_attention_mix(want, &s, scratch);
            assert_within(s.z, want_z.z, s.n_query * s.ld_z, "mix", "f32");
            free(scratch);
        }
        free(want), free(got), free_sequence(&s), free_sequence(&want_z);
    }
}

/* Sequences of different lengths in one call, on any number of threads, are what each is alone on one. */
static void batches_and_threads_do_not_matter(void **unused)
{
    static const shape lengths[] = {
        {1, 1, 4, 2, 24}, {300, 300, 4, 2, 24}, {3, 9, 4, 2, 24}, {30, 290, 4, 2, 24}, {17, 17, 4, 2, 24}};
    enum { N = sizeof lengths / sizeof *lengths };
    sondep_attention together[N], alone[N];
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        if (!choose_set(set))
            continue;
        for (int i = 0; i < N; i++) {
            together[i] = make_sequence(&lengths[i], 30);
            alone[i] = make_sequence(&lengths[i], 30);
        }
        for (int threads = 1; threads <= 4; threads++) {
            assert_int_equal(sonde_set_threads(threads), SONDE_OK);
            void *scratch = scratch_for(24);
            for (int i = 0; threads == 1 && i < N; i++)
                sondep_attend(&alone[i], 1, scratch);
            sondep_attend(together, N, scratch);
            for (int i = 0; i < N; i++)
                assert_same_bytes(together[i].z, alone[i].z, (size_t)(alone[i].n_query * alone[i].ld_z) * sizeof(float),
                                  "attention in a batch");
            free(scratch);
        }
        for (int i = 0; i < N; i++)
            free_sequence(&together[i]), free_sequence(&alone[i]);
    }
    assert_int_equal(sonde_set_threads(0), SONDE_OK);
}

/* What comes later must not be seen: changing it changes no byte. */
static void the_future_is_not_seen(void **unused)
{
    static const shape s = {60, 60, 2, 2, 40};
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        if (!choose_set(set))
            continue;
        sondep_attention before = make_sequence(&s, 40), after = make_sequence(&s, 40);
        void *scratch = scratch_for(s.d_head);
        for (int64_t i = 33 * after.ld_k; i < s.n_key * after.ld_k; i++)
            ((float *)after.k)[i] = 50.0f;
        for (int64_t i = 33 * after.ld_v; i < s.n_key * after.ld_v; i++)
            ((float *)after.v)[i] = -50.0f;
        sondep_attend(&before, 1, scratch);
        sondep_attend(&after, 1, scratch);
        assert_same_bytes(before.z, after.z, (size_t)(33 * before.ld_z) * sizeof(float), "rows before the change");
        assert_true(memcmp(before.z + 33 * before.ld_z, after.z + 33 * before.ld_z, sizeof(float)) != 0);
        free(scratch), free_sequence(&before), free_sequence(&after);
    }
}

/* Scores as large as floats hold do not overflow; a NaN in a query stays in its row; an all -inf row becomes 0. */
static void extreme_scores_are_right(void **unused)
{
    static const shape s = {20, 20, 1, 1, 16};
    float row[] = {-INFINITY, -INFINITY, -INFINITY}, mixed[] = {-INFINITY, 3.0f, NAN}, half[] = {1e38f, 1e38f, -1e38f};
    (void)unused;

    for (int set = 0; set < N_ALL_SETS; set++) {
        if (!choose_set(set))
            continue;
        sondep_attention a = make_sequence(&s, 50);
        void *scratch = scratch_for(s.d_head);
        for (int64_t i = 0; i < s.n_query * a.ld_q; i++)
            ((float *)a.q)[i] *= 1e18f;
        for (int64_t i = 0; i < s.n_key * a.ld_k; i++)
            ((float *)a.k)[i] *= 1e18f;
        ((float *)a.q)[7 * a.ld_q] = NAN;
        sondep_attend(&a, 1, scratch);
        for (int64_t i = 0; i < s.n_query; i++)
            for (int64_t d = 0; d < s.d_head; d++)
                assert_true(i == 7 ? isnan(a.z[i * a.ld_z + d]) : fabsf(a.z[i * a.ld_z + d]) <= 1.0f);
        sondep_softmax_rows(row, 1, 3);
        assert_true(row[0] == 0.0f && row[1] == 0.0f && row[2] == 0.0f);
        sondep_softmax_rows(mixed, 1, 3);
        assert_true(isnan(mixed[1]) && isnan(mixed[2]));
        sondep_softmax_rows(half, 1, 3);
        assert_true(half[0] == 0.5f && half[1] == 0.5f && half[2] == 0.0f);
        free(scratch), free_sequence(&a);
        row[0] = row[1] = row[2] = mixed[0] = -INFINITY, mixed[1] = 3.0f, half[0] = half[1] = 1e38f, half[2] = -1e38f;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_agree_with_the_definition),  cmocka_unit_test(three_steps_agree_with_the_definition),
        cmocka_unit_test(batches_and_threads_do_not_matter), cmocka_unit_test(the_future_is_not_seen),
        cmocka_unit_test(extreme_scores_are_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
