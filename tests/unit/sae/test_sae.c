/* Autoencoders of every architecture against sae-lens in float64 (tests/golden/sae), their folders, their geometry. */
#include <sonde/format.h>
#include <sonde/sae.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const cases[] = {"standard",
                                    "gated",
                                    "topk",
                                    "abstopk",
                                    "jumprelu",
                                    "matching_pursuit",
                                    "transcoder",
                                    "skip_transcoder",
                                    "jumprelu_transcoder",
                                    "jumprelu_skip_transcoder",
                                    "standard_layer_norm",
                                    "topk_constant_norm"};
enum { N_CASES = sizeof cases / sizeof *cases };

static void assert_ok(sonde_status status)
{
    if (status != SONDE_OK)
        fail_msg("%s", sonde_last_error()->message);
}

/* Fails on NaN before it compares: each number within 2e-6 of the largest. */
static void assert_like(const char *what, const float *got, const sonde_tensor *want)
{
    int64_t n = sonde_tensor_n_elements(want);
    const double *w = want->data;
    double most = 0.0;

    for (int64_t i = 0; i < n; i++)
        most = fabs(w[i]) > most ? fabs(w[i]) : most;
    assert_true(most > 0.0);
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - w[i]) <= 2e-6 * most))
            fail_msg("%s, element %lld: %g, want %g", what, (long long)i, (double)got[i], w[i]);
}

/* Encodes and decodes the rows of a golden folder with an autoencoder from anywhere. */
static void check_against(const char *name, const char *directory)
{
    char path[200];
    sonde_safetensors *file;
    sonde_tensor x, features, y;
    sonde_sae *sae;
    sonde_sae_coder *coder;

    snprintf(path, sizeof path, "tests/golden/sae/%s/expected.safetensors", name);
    assert_ok(sonde_safetensors_open(&file, path));
    assert_ok(sonde_safetensors_get(&x, file, "x"));
    assert_ok(sonde_safetensors_get(&features, file, "features"));
    assert_ok(sonde_safetensors_get(&y, file, "y"));
    assert_ok(sonde_sae_load(&sae, directory));
    assert_ok(sonde_sae_coder_new(&coder, sae));
    float *f = calloc((size_t)sonde_tensor_n_elements(&features), sizeof *f);
    float *out = calloc((size_t)sonde_tensor_n_elements(&y), sizeof *out);
    assert_ok(sonde_sae_encode(coder, f, x.data, x.shape[0]));
    assert_ok(sonde_sae_decode(coder, out, f, x.data, x.shape[0]));
    assert_like(name, f, &features);
    assert_like(name, out, &y);
    ((float *)memcpy(out, x.data, 8))[1] = NAN;
    assert_int_equal(sonde_sae_encode(coder, f, out, 1), SONDE_E_NONFINITE);
    free(f);
    free(out);
    sonde_sae_coder_free(coder);
    sonde_sae_free(sae);
    sonde_safetensors_close(file);
}

static void test_every_architecture(void **unused)
{
    char path[200];

    (void)unused;
    for (int i = 0; i < N_CASES; i++) {
        snprintf(path, sizeof path, "tests/golden/sae/%s", cases[i]);
        check_against(cases[i], path);
    }
}

/* Many rows at once, in several blocks, the last one short, have the bits that each has alone; so have other numbers of threads. */
static void test_many_rows(void **unused)
{
    enum { N = 700, D = 6, S = 17, O = 6 };
    static float x[N * D], f[2][N * S], y[2][N * O];

    (void)unused;
    for (int i = 0; i < N * D; i++)
        x[i] = (float)sonde_random_normal(1, 2, (uint64_t)i);
    for (int i = 0; i < N_CASES; i++) {
        char path[200];
        sonde_sae *sae;
        sonde_sae_coder *coder;
        int64_t n_out;
        snprintf(path, sizeof path, "tests/golden/sae/%s", cases[i]);
        assert_ok(sonde_sae_load(&sae, path));
        n_out = sonde_sae_get_config(sae)->d_out;
        assert_ok(sonde_sae_coder_new(&coder, sae));
        assert_ok(sonde_sae_encode(coder, f[0], x, N));
        assert_ok(sonde_sae_decode(coder, y[0], f[0], x, N));
        assert_ok(sonde_set_threads(3));
        for (int n = 0; n < N; n++) {
            assert_ok(sonde_sae_encode(coder, f[1] + n * S, x + n * D, 1));
            assert_ok(sonde_sae_decode(coder, y[1] + n * n_out, f[1] + n * S, x + n * D, 1));
        }
        assert_ok(sonde_set_threads(0));
        assert_memory_equal(f[0], f[1], sizeof f[0]);
        assert_memory_equal(y[0], y[1], (size_t)(N * n_out) * sizeof(float));
        sonde_sae_coder_free(coder);
        sonde_sae_free(sae);
    }
}

/* What is saved is what was loaded. */
static void test_saved_again(void **unused)
{
    char folder[] = "/tmp/sonde-sae-XXXXXX", path[200], line[300];
    sonde_sae *sae;

    (void)unused;
    assert_non_null(mkdtemp(folder));
    for (int i = 0; i < N_CASES; i++) {
        snprintf(path, sizeof path, "tests/golden/sae/%s", cases[i]);
        assert_ok(sonde_sae_load(&sae, path));
        snprintf(path, sizeof path, "%s/%s", folder, cases[i]);
        assert_ok(sonde_sae_save(sae, path));
        assert_ok(sonde_sae_save(sae, path)); /* an old one is replaced */
        assert_string_equal(sonde_sae_get_config(sae)->hook_name, "blocks.1.hook_resid_post");
        sonde_sae_free(sae);
        check_against(cases[i], path);
    }
    snprintf(line, sizeof line, "rm -r '%s'", folder);
    assert_int_equal(system(line), 0);
}

/* Writes params.npz as Gemma Scope has it, of an autoencoder of JumpReLU that takes nothing from its input. */
static void write_gemma_scope(const char *path, const sonde_sae *sae)
{
    static const char *const names[] = {"W_enc", "W_dec", "b_enc", "b_dec", "threshold"};
    sonde_tensor tensors[5];
    sonde_sink *sink;

    for (int i = 0; i < 5; i++)
        assert_ok(sonde_sae_weight(&tensors[i], sae, names[i]));
    assert_ok(sonde_sink_open(&sink, path, names, tensors, 5, NULL, 0));
    for (int i = 0; i < 5; i++)
        assert_ok(sonde_sink_put(sink, i, 0, tensors[i].data, sonde_tensor_n_elements(&tensors[i])));
    assert_ok(sonde_sink_commit(sink));
}

/* What other libraries' layouts keep of an autoencoder are its features and reconstructions. */
static void test_other_layouts(void **unused)
{
    static const struct {
        const char *name, *layout, *read_as;
    } layouts[] = {{"standard", "dictionary_learning", "dictionary_learning"},
                   {"gated", "dictionary_learning", "dictionary_learning"},
                   {"jumprelu", "dictionary_learning", "dictionary_learning"},
                   {"topk", "dictionary_learning", "dictionary_learning"},
                   {"topk", "sparsify", "sparsify"}};
    char folder[] = "/tmp/sonde-sae-XXXXXX", path[300], line[400];
    sonde_sae *sae;

    (void)unused;
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        snprintf(path, sizeof path, "tests/golden/sae/%s", layouts[i].name);
        assert_ok(sonde_sae_load(&sae, path));
        assert_string_equal(sonde_sae_layout(sae), "SAELens");
        snprintf(path, sizeof path, "%s/%s-%s", folder, layouts[i].name, layouts[i].layout);
        assert_ok(sonde_sae_save_as(sae, path, layouts[i].layout));
        assert_ok(sonde_sae_save_as(sae, path, layouts[i].layout)); /* an old one is replaced */
        sonde_sae_free(sae);
        assert_ok(sonde_sae_load(&sae, path));
        assert_string_equal(sonde_sae_layout(sae), layouts[i].read_as);
        sonde_sae_free(sae);
        check_against(layouts[i].name, path);
    }
    snprintf(path, sizeof path, "%s/jumprelu-dictionary_learning/ae.pt", folder);
    assert_ok(sonde_sae_load(&sae, path)); /* the file by itself */
    snprintf(path, sizeof path, "%s/params.npz", folder);
    write_gemma_scope(path, sae);
    sonde_sae_free(sae);
    assert_ok(sonde_sae_load(&sae, folder));
    assert_string_equal(sonde_sae_layout(sae), "Gemma Scope");
    sonde_sae_free(sae);
    check_against("jumprelu", folder);
    snprintf(line, sizeof line, "rm -r '%s'", folder);
    assert_int_equal(system(line), 0);
}

/* What a layout cannot say is no folder of it. */
static void test_layouts_that_cannot(void **unused)
{
    static const struct {
        const char *name, *layout;
        sonde_status status;
    } no[] = {{"standard", "sparsify", SONDE_E_UNSUPPORTED},
              {"abstopk", "dictionary_learning", SONDE_E_UNSUPPORTED},
              {"transcoder", "dictionary_learning", SONDE_E_UNSUPPORTED},
              {"matching_pursuit", "dictionary_learning", SONDE_E_UNSUPPORTED},
              {"standard_layer_norm", "dictionary_learning", SONDE_E_UNSUPPORTED},
              {"topk", "gguf", SONDE_E_ARG}};
    char path[200];
    sonde_sae *sae;

    (void)unused;
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        snprintf(path, sizeof path, "tests/golden/sae/%s", no[i].name);
        assert_ok(sonde_sae_load(&sae, path));
        assert_int_equal(sonde_sae_save_as(sae, "/tmp/sonde-not-written", no[i].layout), no[i].status);
        assert_int_equal(access("/tmp/sonde-not-written", F_OK), -1);
        sonde_sae_free(sae);
    }
    assert_int_equal(sonde_sae_load(&sae, "tests/golden/format/wants.pt"), SONDE_E_UNSUPPORTED);
    assert_null(sae);
    assert_int_equal(sonde_sae_load(&sae, "tests/golden/format/state.pt"), SONDE_E_NOTFOUND);
    assert_int_equal(sonde_sae_load(&sae, "README.md"), SONDE_E_ARG);
}

/* A folder that is something else stays. */
static void test_other_folders_stay(void **unused)
{
    char folder[] = "/tmp/sonde-sae-XXXXXX", path[300];
    sonde_sae *sae;

    (void)unused;
    assert_ok(sonde_sae_load(&sae, "tests/golden/sae/standard"));
    assert_int_equal(sonde_sae_save(sae, "tests/golden"), SONDE_E_ARG);
    assert_int_equal(sonde_sae_save(sae, "README.md"), SONDE_E_ARG);
    /* an autoencoder's, but with a file that is somebody's own: it would be lost */
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a", folder);
    assert_ok(sonde_sae_save(sae, path));
    snprintf(path, sizeof path, "touch '%s/a/notes.txt'", folder);
    assert_int_equal(system(path), 0);
    snprintf(path, sizeof path, "%s/a", folder);
    assert_int_equal(sonde_sae_save(sae, path), SONDE_E_ARG);
    snprintf(path, sizeof path, "rm '%s/a/notes.txt' && rm -r '%s'", folder, folder);
    assert_int_equal(system(path), 0);
    sonde_sae_free(sae);
    assert_int_equal(sonde_sae_load(&sae, "tests/golden"), SONDE_E_NOTFOUND);
    assert_null(sae);
}

/* Geometry against the definition. */
static void test_geometry(void **unused)
{
    enum { D = 6, S = 17 };
    sonde_sae *sae;
    sonde_sae_geometry g[S];
    sonde_tensor enc, dec;

    (void)unused;
    assert_ok(sonde_sae_load(&sae, "tests/golden/sae/standard"));
    assert_ok(sonde_sae_measure_geometry(g, sae));
    assert_ok(sonde_sae_weight(&enc, sae, "W_enc"));
    assert_ok(sonde_sae_weight(&dec, sae, "W_dec"));
    for (int s = 0; s < S; s++) {
        const float *e = enc.data, *d = dec.data;
        double ee = 0.0, dd = 0.0, ed = 0.0, best = -2.0;
        int nearest = -1;
        for (int i = 0; i < D; i++) {
            ee += (double)e[i * S + s] * e[i * S + s];
            dd += (double)d[s * D + i] * d[s * D + i];
            ed += (double)e[i * S + s] * d[s * D + i];
        }
        for (int t = 0; t < S; t++) {
            double tt = 0.0, st = 0.0;
            for (int i = 0; i < D; i++) {
                tt += (double)d[t * D + i] * d[t * D + i];
                st += (double)d[t * D + i] * d[s * D + i];
            }
            if (t != s && st / sqrt(tt * dd) > best) {
                best = st / sqrt(tt * dd);
                nearest = t;
            }
        }
        assert_true(fabs(g[s].encoder_norm - sqrt(ee)) <= 1e-6 && fabs(g[s].decoder_norm - sqrt(dd)) <= 1e-6);
        assert_true(fabs(g[s].encoder_decoder - ed / sqrt(ee * dd)) <= 1e-6);
        assert_true(fabs(g[s].nearest_decoder - best) <= 1e-6 && g[s].nearest == nearest);
    }
    sonde_sae_free(sae);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_architecture),  cmocka_unit_test(test_many_rows), cmocka_unit_test(test_saved_again),
        cmocka_unit_test(test_other_folders_stay),  cmocka_unit_test(test_geometry),  cmocka_unit_test(test_other_layouts),
        cmocka_unit_test(test_layouts_that_cannot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
