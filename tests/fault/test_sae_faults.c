/* Autoencoders under failing memory and failing system calls: loaded, used, measured, saved over an old one. */
#include <sonde/sae.h>

#include "fault/fault.h"

enum { N = 3 };

/* Loads, encodes and decodes. */
static sonde_status use(void *path)
{
    static const float x[N * 6] = {0.3f, -1.0f, 2.0f, 0.5f, 0.1f, -0.2f, 1.0f, 1.5f, -0.7f};
    float features[N * 17], y[N * 6];
    sonde_sae *sae;
    sonde_sae_coder *coder = NULL;
    sonde_status status = sonde_sae_load(&sae, path);

    if (status == SONDE_OK)
        status = sonde_sae_coder_new(&coder, sae);
    if (status == SONDE_OK)
        status = sonde_sae_encode(coder, features, x, N);
    if (status == SONDE_OK)
        status = sonde_sae_decode(coder, y, features, x, N);
    sonde_sae_coder_free(coder);
    sonde_sae_free(sae);
    return status;
}

static void autoencoders_are_used(void **unused)
{
    (void)unused;
    fault_everywhere(use, "tests/golden/sae/standard", "standard");
    fault_everywhere(use, "tests/golden/sae/topk", "topk");
    fault_everywhere(use, "tests/golden/sae/matching_pursuit", "matching pursuit");
}

/* Geometry: the vectors of all features, and their cosines. */
static sonde_status measure(void *sae)
{
    sonde_sae_geometry g[17];
    return sonde_sae_measure_geometry(g, sae);
}

/* Saves over a folder that is there; however it ends, an autoencoder can be loaded from it. */
static sonde_status save(void *sae)
{
    char directory[300];
    sonde_sae *again;
    sonde_status status;
    enum fault_mode mode = fault.mode;

    snprintf(directory, sizeof directory, "%s/s", folder);
    status = sonde_sae_save(sae, directory);
    fault.mode = FAULT_NONE;
    if (access(directory, F_OK) == 0) {
        if (sonde_sae_load(&again, directory) != SONDE_OK)
            fail_msg("what is there cannot be loaded: %s", sonde_last_error()->message);
        sonde_sae_free(again);
    }
    fault.mode = mode;
    return status;
}

static void autoencoders_are_saved(void **unused)
{
    char directory[300], line[320];
    sonde_sae *sae;

    (void)unused;
    fault.mode = FAULT_NONE;
    assert_int_equal(sonde_sae_load(&sae, "tests/golden/sae/gated"), SONDE_OK);
    snprintf(directory, sizeof directory, "%s/s", folder);
    assert_int_equal(sonde_sae_save(sae, directory), SONDE_OK);
    fault_everywhere(save, sae, "save");
    fault_everywhere(measure, sae, "geometry");
    fault.mode = FAULT_NONE;
    sonde_sae_free(sae);
    snprintf(line, sizeof line, "rm -r '%s'", directory);
    assert_int_equal(system(line), 0);
}

/* The same for another library: however it ends, what is there is whole. */
static sonde_status save_as(void *layout)
{
    char directory[300];
    sonde_sae *sae, *again;
    sonde_status status;
    enum fault_mode mode = fault.mode;

    snprintf(directory, sizeof directory, "%s/%s", folder, (char *)layout);
    fault.mode = FAULT_NONE;
    assert_int_equal(sonde_sae_load(&sae, "tests/golden/sae/topk"), SONDE_OK);
    fault.mode = mode;
    status = sonde_sae_save_as(sae, directory, layout);
    fault.mode = FAULT_NONE;
    if (access(directory, F_OK) == 0) {
        if (sonde_sae_load(&again, directory) != SONDE_OK)
            fail_msg("what is there cannot be loaded: %s", sonde_last_error()->message);
        sonde_sae_free(again);
    }
    sonde_sae_free(sae);
    fault.mode = mode;
    return status;
}

static void other_layouts(void **unused)
{
    static const char *const layouts[] = {"sparsify", "dictionary_learning"};
    char path[300], line[320];

    (void)unused;
    for (int i = 0; i < 2; i++) {
        fault_everywhere(save_as, (void *)layouts[i], layouts[i]);
        fault.mode = FAULT_NONE;
        snprintf(path, sizeof path, "%s/%s", folder, layouts[i]);
        fault_everywhere(use, path, layouts[i]);
        fault.mode = FAULT_NONE;
        snprintf(line, sizeof line, "rm -r '%s'", path);
        assert_int_equal(system(line), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(autoencoders_are_used),
        cmocka_unit_test(autoencoders_are_saved),
        cmocka_unit_test(other_layouts),
    };
    return cmocka_run_group_tests(tests, fault_setup, fault_teardown);
}
