/* What is captured does not depend on what else is captured, on the neighbours in a batch, or on how far the pass goes. */
#include "property/property.h"

/* Each point by itself, without logits: the pass ends early and gives the same bytes as one that goes on to the end. */
static void a_short_pass_gives_the_same(const golden_model *golden)
{
    int64_t n;
    const sonde_hook_point *points = sonde_model_hook_points(golden->model, &n);
    sonde_run *full;

    assert_ok(sonde_run_new(&full, golden->model));
    for (int64_t i = 0; i < n; i++)
        if (!is_attention_square(points[i].name))
            assert_ok(sonde_run_capture(full, points[i].name, NULL));
    run_golden(full, golden);
    for (int64_t i = 0; i < n; i++) {
        sonde_run *alone;
        sonde_plan plan;
        if (is_attention_square(points[i].name))
            continue;
        assert_ok(sonde_run_new(&alone, golden->model));
        assert_ok(sonde_run_capture(alone, points[i].name, NULL));
        assert_ok(sonde_run_plan(&plan, alone, golden->B, golden->T));
        if (points[i].layer >= 0)
            assert_int_equal(plan.n_layers, points[i].layer + 1);
        assert_ok(sonde_run_forward(alone, golden->tokens, golden->lengths, golden->B, golden->T));
        assert_same(full, alone, points[i].name, golden, "captured alone, without logits");
        sonde_run_free(alone);
    }
    sonde_run_free(full);
}

/* Row [b, position] of a tensor whose axis 1 (axis 2 of squares) is the position: its slices, one for each head of a square.
 */
static void assert_row(const sonde_tensor *slice, int64_t to, const sonde_tensor *full, int64_t from, int64_t b,
                       const char *name)
{
    bool is_square = is_attention_square(name);
    int64_t n_slices = is_square ? full->shape[1] : 1, axis = is_square ? 2 : 1, width = 1;

    for (int i = (int)axis + 1; i < full->rank; i++)
        width *= full->shape[i];
    for (int64_t s = 0; s < n_slices; s++) {
        const float *x = (const float *)slice->data + ((b * n_slices + s) * slice->shape[axis] + to) * width;
        const float *y = (const float *)full->data + ((b * n_slices + s) * full->shape[axis] + from) * width;
        if (memcmp(x, y, (size_t)width * sizeof *x) != 0)
            fail_msg("'%s': position %lld of sequence %lld is not the row of the full capture", name, (long long)from,
                     (long long)b);
    }
}

static void chosen_positions_are_slices(const golden_model *golden)
{
    const int64_t positions[] = {-1, 0};
    const sonde_position_list where = {positions, 2};
    int64_t n;
    const sonde_hook_point *points = sonde_model_hook_points(golden->model, &n);
    sonde_run *full, *some;

    golden_run_all(&full, golden);
    assert_ok(sonde_run_new(&some, golden->model));
    for (int64_t i = 0; i < n; i++)
        assert_ok(sonde_run_capture(some, points[i].name, &where));
    assert_ok(sonde_run_forward(some, golden->tokens, golden->lengths, golden->B, golden->T));
    for (int64_t i = 0; i < n; i++) {
        sonde_tensor x, y;
        assert_ok(sonde_run_get(&x, some, points[i].name));
        assert_ok(sonde_run_get(&y, full, points[i].name));
        assert_int_equal(x.rank, y.rank);
        assert_int_equal(x.shape[is_attention_square(points[i].name) ? 2 : 1], 2);
        for (int64_t b = 0; b < golden->B; b++) {
            assert_row(&x, 0, &y, golden->lengths[b] - 1, b, points[i].name);
            assert_row(&x, 1, &y, 0, b, points[i].name);
        }
    }
    sonde_run_free(some);
    sonde_run_free(full);
}

/* Sequence b of a batch (length n) against the same sequence by itself, for every point; logits too. */
static double compare_alone(const golden_model *golden, const sonde_run *batch, int64_t b)
{
    int64_t n_points, length = golden->lengths[b];
    const sonde_hook_point *points = sonde_model_hook_points(golden->model, &n_points);
    golden_model one = *golden;
    sonde_run *alone;
    double worst = 0;

    one.tokens = golden->tokens + b * golden->T;
    one.lengths = NULL;
    one.B = 1;
    one.T = length;
    golden_run_all(&alone, &one);
    for (int64_t i = 0; i < n_points; i++) {
        sonde_tensor x, y;
        bool is_square = is_attention_square(points[i].name);
        int64_t heads = is_square ? points[i].width[1] : 1, width = 1, at;
        assert_ok(sonde_run_get(&x, batch, points[i].name));
        assert_ok(sonde_run_get(&y, alone, points[i].name));
        for (int k = is_square ? 3 : 2; k < y.rank; k++)
            width *= y.shape[k];
        for (int64_t h = 0; h < heads; h++)
            for (int64_t t = 0; t < length; t++) {
                int64_t shape[] = {width}, stride = is_square ? golden->T : width;
                sonde_tensor got, want;
                assert_ok(sonde_tensor_view(&got, (float *)x.data + ((b * heads + h) * golden->T + t) * stride, SONDE_F32,
                                            shape, 1));
                assert_ok(sonde_tensor_view(&want, (float *)y.data + (h * length + t) * width, SONDE_F32, shape, 1));
                worst = fmax(worst, golden_error(&got, &want, &at));
            }
    }
    sonde_run_free(alone);
    return worst;
}

/* A row's own largest value is the unit here, which is stricter than the tensor's. */
static void a_batch_gives_what_each_gives_alone(const golden_model *golden)
{
    sonde_run *batch;
    double worst = 0;
    golden_run_all(&batch, golden);
    for (int64_t b = 0; b < golden->B; b++)
        worst = fmax(worst, compare_alone(golden, batch, b));
    print_message("%-40s alone or in a batch: largest difference %.2e\n", golden->directory, worst);
    if (!(worst <= 2e-5))
        fail_msg("%s: a sequence depends on its batch: %.3g", golden->directory, worst);
    sonde_run_free(batch);
}

/* The same lengths with other neighbours, other padding ids: not one byte of sequence 0 changes. */
static void neighbours_do_not_matter(const golden_model *golden)
{
    int64_t n_points, V = sonde_model_config(golden->model)->n_vocab;
    const sonde_hook_point *points = sonde_model_hook_points(golden->model, &n_points);
    golden_model other = *golden;
    sonde_run *a, *b;

    other.tokens = malloc((size_t)(golden->B * golden->T) * sizeof *other.tokens);
    assert_non_null(other.tokens);
    for (int64_t i = 0; i < golden->B * golden->T; i++)
        other.tokens[i] = i < golden->lengths[0] ? golden->tokens[i] : (int32_t)((golden->tokens[i] + 3) % V);
    for (int64_t s = 0; s < golden->B; s++)
        for (int64_t t = golden->lengths[s]; t < golden->T; t++)
            other.tokens[s * golden->T + t] = -5; /* entries behind a length are not read */
    golden_run_all(&a, golden);
    golden_run_all(&b, &other);
    for (int64_t i = 0; i < n_points; i++) {
        sonde_tensor x, y;
        assert_ok(sonde_run_get(&x, a, points[i].name));
        assert_ok(sonde_run_get(&y, b, points[i].name));
        if (memcmp(x.data, y.data, sonde_tensor_bytes(&x) / (size_t)golden->B) != 0)
            fail_msg("%s: '%s' of sequence 0 depends on its neighbours", golden->directory, points[i].name);
    }
    sonde_run_free(a);
    sonde_run_free(b);
    free(other.tokens);
}

/* A run used again, for another shape and back, gives the same bytes: nothing is left over. */
static void a_run_can_be_used_again(const golden_model *golden)
{
    sonde_run *fresh, *used;
    int64_t n;
    const sonde_hook_point *points = sonde_model_hook_points(golden->model, &n);
    int32_t one[] = {3};

    golden_run_all(&fresh, golden);
    golden_run_all(&used, golden);
    assert_ok(sonde_run_forward(used, one, NULL, 1, 1));
    assert_ok(sonde_run_forward(used, golden->tokens, golden->lengths, golden->B, golden->T));
    for (int64_t i = 0; i < n; i++)
        assert_same(fresh, used, points[i].name, golden, "run used before");
    sonde_run_free(fresh);
    sonde_run_free(used);
}

static sonde_status keep_rows(const float *logits, int64_t first_row, int64_t n_rows, int64_t n_vocab, void *ctx)
{
    memcpy((float *)ctx + first_row * n_vocab, logits, (size_t)(n_rows * n_vocab) * sizeof *logits);
    return SONDE_OK;
}

/* Logits of the last token, and logits given in blocks, are rows of all logits. */
static void logits_are_the_same_in_every_form(const golden_model *golden)
{
    sonde_run *all = run_plain(golden), *last, *stream;
    sonde_tensor every, tail;
    int64_t V = sonde_model_config(golden->model)->n_vocab, row = 0;
    float *rows = calloc((size_t)(golden->B * golden->T * V), sizeof *rows);

    assert_non_null(rows);
    assert_ok(sonde_run_new(&last, golden->model));
    assert_ok(sonde_run_new(&stream, golden->model));
    sonde_run_want_logits(last, SONDE_LOGITS_LAST);
    assert_ok(sonde_run_forward(last, golden->tokens, golden->lengths, golden->B, golden->T));
    sonde_run_stream_logits(stream, keep_rows, rows);
    assert_ok(sonde_run_forward(stream, golden->tokens, golden->lengths, golden->B, golden->T));
    assert_ok(sonde_run_get(&every, all, "logits"));
    assert_ok(sonde_run_get(&tail, last, "logits"));
    assert_true(tail.rank == 3 && tail.shape[0] == golden->B && tail.shape[1] == 1 && tail.shape[2] == V);
    for (int64_t b = 0; b < golden->B; b++) {
        const float *of_sequence = (const float *)every.data + b * golden->T * V;
        sonde_tensor got, want;
        int64_t shape[] = {V}, at;
        for (int64_t t = 0; t < golden->lengths[b]; t++, row++)
            if (memcmp(rows + row * V, of_sequence + t * V, (size_t)V * sizeof *rows) != 0)
                fail_msg("%s: streamed logits of sequence %lld, position %lld differ", golden->directory, (long long)b,
                         (long long)t);
        assert_ok(sonde_tensor_view(&got, (float *)tail.data + b * V, SONDE_F32, shape, 1));
        assert_ok(sonde_tensor_view(&want, (float *)every.data + (b * golden->T + golden->lengths[b] - 1) * V, SONDE_F32,
                                    shape, 1));
        assert_true(golden_error(&got, &want, &at) <= 2e-6); /* few rows may take the matrix-vector path */
    }
    sonde_run_free(all);
    sonde_run_free(last);
    sonde_run_free(stream);
    free(rows);
}

#define EACH_MODEL(property)                   \
    static void test_##property(void **unused) \
    {                                          \
        (void)unused;                          \
        for_each_model(property);              \
    }
EACH_MODEL(a_short_pass_gives_the_same)
EACH_MODEL(chosen_positions_are_slices)
EACH_MODEL(a_batch_gives_what_each_gives_alone)
EACH_MODEL(neighbours_do_not_matter)
EACH_MODEL(a_run_can_be_used_again)
EACH_MODEL(logits_are_the_same_in_every_form)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_short_pass_gives_the_same),
        cmocka_unit_test(test_chosen_positions_are_slices),
        cmocka_unit_test(test_a_batch_gives_what_each_gives_alone),
        cmocka_unit_test(test_neighbours_do_not_matter),
        cmocka_unit_test(test_a_run_can_be_used_again),
        cmocka_unit_test(test_logits_are_the_same_in_every_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
