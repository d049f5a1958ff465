/* Every activation of every golden model against transformers in float64, for every set of kernels that this processor has;
 * and the same bytes for 1, 2 and 3 threads. */
#include "golden/golden_model.h"

/* The limit of the project, in units of the tensor's largest value. Largest seen: see the table that the test prints;
 * transformers' own float32 run is at 3e-7 to 1.6e-6. */
static const double LIMIT = 2e-5;
static const char *const KERNELS[] = {"ref", "avx2", "avx512", "neon", "blas", "auto"};
enum { N_KERNELS = sizeof KERNELS / sizeof *KERNELS };

/* Points that copy another one, once for each head where they have a head axis: the golden file leaves them out. */
static const struct {
    const char *copy, *source;
} COPIES[] = {{"hook_attn_in", "hook_resid_pre"},
              {"hook_q_input", "hook_resid_pre"},
              {"hook_k_input", "hook_resid_pre"},
              {"hook_v_input", "hook_resid_pre"},
              {"hook_mlp_in", "hook_resid_mid"}};

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* What a copying point must hold: rows (B,T) of D repeated `heads` times. The caller frees the data. */
static void repeat_rows(sonde_tensor *out, const sonde_tensor *source, int64_t heads, int rank)
{
    int64_t rows = source->shape[0] * source->shape[1], D = source->shape[2];
    int64_t shape[] = {source->shape[0], source->shape[1], heads, D};
    float *data = malloc((size_t)(rows * heads * D) * sizeof *data);
    assert_non_null(data);
    for (int64_t r = 0; r < rows * heads; r++)
        memcpy(data + r * D, (const float *)source->data + r / heads * D, (size_t)D * sizeof *data);
    if (rank == 3)
        shape[2] = D;
    assert_ok(sonde_tensor_view(out, data, SONDE_F32, shape, rank));
}

/* The tensor that point `p` must hold, borrowed from the file or made into *made; false if a partial file has none. */
static bool wanted(sonde_tensor *out, void **made, const golden_model *golden, const sonde_hook_point *p)
{
    char name[256];
    *made = NULL;
    for (size_t i = 0; i < sizeof COPIES / sizeof *COPIES; i++) {
        sonde_tensor source;
        if (!ends_with(p->name, COPIES[i].copy))
            continue;
        snprintf(name, sizeof name, "blocks.%d.%s", p->layer, COPIES[i].source);
        if (!sonde_safetensors_has(golden->file, name))
            return false;
        assert_ok(sonde_safetensors_get(&source, golden->file, name));
        repeat_rows(out, &source, p->rank == 4 ? p->width[2] : 1, p->rank);
        *made = out->data;
        return true;
    }
    if (golden->is_partial && !sonde_safetensors_has(golden->file, p->name))
        return false;
    assert_ok(sonde_safetensors_get(out, golden->file, p->name));
    return true;
}

/* Compares one point; returns its error, and says which element is wrong if it is too large. */
static double compare_point(const golden_model *golden, const sonde_run *run, const sonde_hook_point *p, const char *get)
{
    sonde_tensor got, want;
    char got_shape[64], want_shape[64];
    void *made;
    int64_t at;
    double error;

    if (!wanted(&want, &made, golden, p))
        return 0;
    assert_ok(sonde_run_get(&got, run, get));
    error = golden_error(&got, &want, &at);
    if (!(error <= LIMIT))
        print_error("  %s %s %s: error %.3g at element %lld, %s for %s\n", golden->directory, sonde_kernel_name(), get,
                    error, (long long)at, sonde_tensor_format_shape(got_shape, sizeof got_shape, &got),
                    sonde_tensor_format_shape(want_shape, sizeof want_shape, &want));
    free(made);
    return error;
}

/* The residual stream and the logits of a pass without hooks inside blocks; returns the number of points that are wrong. */
static int compare_fused(const golden_model *golden, const sonde_hook_point *points, int64_t n, double *worst)
{
    sonde_run *run;
    int wrong = 0;

    golden_run_fused(&run, golden);
    for (int64_t i = 0; i < n; i++) {
        double error;
        if (!ends_with(points[i].name, "hook_resid_post") && i < n - 1)
            continue;
        error = compare_point(golden, run, &points[i], i < n - 1 ? points[i].name : "logits");
        wrong += !(error <= LIMIT);
        *worst = !(error <= *worst) ? error : *worst;
    }
    sonde_run_free(run);
    return wrong;
}

/* All points of one model under the kernels chosen; returns the number of points that are wrong. */
static int compare_model(const char *name)
{
    golden_model golden;
    sonde_run *run;
    int64_t n;
    const sonde_hook_point *points;
    double worst = 0, worst_fused = 0;
    const char *worst_name = "-";
    int wrong = 0;

    golden_open(&golden, name);
    points = sonde_model_hook_points(golden.model, &n);
    golden_run_all(&run, &golden);
    for (int64_t i = 0; i <= n; i++) {
        bool is_logits = i == n; /* the logits as such come last: they are unembed.hook_out */
        const sonde_hook_point *p = &points[is_logits ? n - 1 : i];
        double error = compare_point(&golden, run, p, is_logits ? "logits" : p->name);
        wrong += !(error <= LIMIT);
        if (!(error <= worst)) {
            worst = error;
            worst_name = p->name;
        }
    }
    assert_string_equal(points[n - 1].name, "unembed.hook_out");
    wrong += compare_fused(&golden, points, n, &worst_fused);
    print_message("%-22s %-7s %5lld points, largest error %.2e at %s; fused %.2e\n", name, sonde_kernel_name(),
                  (long long)n + 1, worst, worst_name, worst_fused);
    sonde_run_free(run);
    golden_close(&golden);
    return wrong;
}

static void every_point_agrees_with_transformers(void **unused)
{
    static char names[GOLDEN_MAX_MODELS][256];
    int n = golden_list(names), wrong = 0;
    (void)unused;
    assert_true(n >= 26);
    for (int k = 0; k < N_KERNELS; k++) {
        if (sonde_kernel_choose(KERNELS[k]) != SONDE_OK) {
            print_message("kernels '%s': not on this processor, left out\n", KERNELS[k]);
            continue;
        }
        for (int i = 0; i < n; i++)
            wrong += compare_model(names[i]);
    }
    assert_int_equal(wrong, 0);
}

/* The file and the model name the same points: none is missing, none is extra. */
static void hook_points_are_those_of_the_golden_files(void **unused)
{
    static char names[GOLDEN_MAX_MODELS][256];
    int n_models = golden_list(names);
    (void)unused;
    for (int i = 0; i < n_models; i++) {
        golden_model golden;
        int64_t n, n_copies = 0;
        const sonde_hook_point *points;
        golden_open(&golden, names[i]);
        points = sonde_model_hook_points(golden.model, &n);
        for (int64_t p = 0; p < n; p++) {
            bool is_copy = false;
            for (size_t c = 0; c < sizeof COPIES / sizeof *COPIES; c++)
                is_copy = is_copy || ends_with(points[p].name, COPIES[c].copy);
            n_copies += is_copy;
            if (!is_copy && !golden.is_partial && !sonde_safetensors_has(golden.file, points[p].name))
                fail_msg("%s: '%s' is not in the golden file", names[i], points[p].name);
            assert_int_equal(points[p].fires_by_default, !is_copy && !ends_with(points[p].name, "hook_result"));
        }
        if (!golden.is_partial)
            assert_int_equal(n - n_copies + 2, sonde_safetensors_n(golden.file));
        golden_close(&golden);
    }
}

static void assert_same_bytes(const sonde_run *a, const sonde_run *b, const char *name, int threads)
{
    sonde_tensor x, y;
    assert_ok(sonde_run_get(&x, a, name));
    assert_ok(sonde_run_get(&y, b, name));
    assert_int_equal(sonde_tensor_bytes(&x), sonde_tensor_bytes(&y));
    if (memcmp(x.data, y.data, sonde_tensor_bytes(&x)) != 0)
        fail_msg("'%s' has other bytes with %d threads (%s)", name, threads, sonde_kernel_name());
}

static void compare_threads(const char *name)
{
    golden_model golden;
    sonde_run *one;
    int64_t n;
    const sonde_hook_point *points;

    golden_open(&golden, name);
    points = sonde_model_hook_points(golden.model, &n);
    assert_ok(sonde_set_threads(1));
    golden_run_all(&one, &golden);
    for (int threads = 2; threads <= 3; threads++) {
        sonde_run *more;
        assert_ok(sonde_set_threads(threads));
        golden_run_all(&more, &golden);
        for (int64_t i = 0; i < n; i++)
            assert_same_bytes(one, more, points[i].name, threads);
        assert_same_bytes(one, more, "logits", threads);
        sonde_run_free(more);
    }
    sonde_run_free(one);
    golden_close(&golden);
}

static void bytes_do_not_depend_on_threads(void **unused)
{
    static char names[GOLDEN_MAX_MODELS][256];
    int n = golden_list(names);
    (void)unused;
    for (int k = 0; k < N_KERNELS; k++) {
        if (sonde_kernel_choose(KERNELS[k]) != SONDE_OK)
            continue;
        for (int i = 0; i < n; i++)
            compare_threads(names[i]);
    }
    assert_ok(sonde_set_threads(0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hook_points_are_those_of_the_golden_files),
        cmocka_unit_test(every_point_agrees_with_transformers),
        cmocka_unit_test(bytes_do_not_depend_on_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
