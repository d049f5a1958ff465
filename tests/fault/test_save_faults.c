/* Saving a model under failing memory and failing system calls: what was there is whole, and nothing is left beside it. */
#include <sonde/model.h>

#include "fault/fault.h"

#include <sys/stat.h>

/* One file of a folder as it must be. */
typedef struct kept_file {
    const char *name;
    char *bytes; /* NULL: there must be none */
    size_t n;
} kept_file;

typedef struct save_case {
    const sonde_model *model;
    bool has_old;
    kept_file old[2], made[4]; /* the folder before, and after */
} save_case;

static bool is_file_as(const char *directory, const kept_file *kept)
{
    char path[512];
    size_t n = 0;
    char *bytes;
    bool same;
    snprintf(path, sizeof path, "%s/%s", directory, kept->name);
    bytes = read_whole(path, &n);
    same = kept->bytes == NULL ? bytes == NULL : bytes != NULL && n == kept->n && memcmp(bytes, kept->bytes, n) == 0;
    free(bytes);
    return same;
}

static void remove_model(const char *directory)
{
    static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"};
    char path[512];
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(directory);
}

/* The folder as it is before each run; the C library's own calls, which no fault strikes. */
static void lay_out(const save_case *c, const char *directory)
{
    remove_model(directory);
    if (!c->has_old)
        return;
    assert_int_equal(mkdir(directory, 0700), 0);
    for (int i = 0; i < 2; i++) {
        char path[64];
        snprintf(path, sizeof path, "m/%s", c->old[i].name);
        make_file(path, c->old[i].bytes, c->old[i].n);
    }
}

/* Saves; then the folder is the new model, or what it was. */
static sonde_status save(void *ctx)
{
    const save_case *c = ctx;
    char directory[300];
    sonde_save_opts opts;
    sonde_status status;

    snprintf(directory, sizeof directory, "%s/m", folder);
    lay_out(c, directory);
    sonde_save_opts_init(&opts);
    opts.dtype = SONDE_BF16;
    opts.tokenizer = "tests/golden/tokenizers/byte_level.json";
    status = sonde_model_save(c->model, directory, &opts);
    for (int i = 0; i < 4 && status == SONDE_OK; i++)
        if (c->made[i].name != NULL && !is_file_as(directory, &c->made[i]))
            fail_msg("saved, and '%s' is not what it should be", c->made[i].name);
    for (int i = 0; i < 2 && status != SONDE_OK && c->has_old; i++)
        if (!is_file_as(directory, &c->old[i]))
            fail_msg("not saved (%s), and the old '%s' is not what it was", sonde_last_error()->message, c->old[i].name);
    if (status != SONDE_OK && !c->has_old)
        assert_int_not_equal(access(directory, F_OK), 0);
    /* What the next run finds: a folder, where there is to be one. */
    if (c->has_old)
        lay_out(c, directory);
    else
        remove_model(directory);
    return status;
}

/* The bytes that a whole folder has, learnt from a run without faults. */
static void learn(kept_file *out, int n, const char *directory)
{
    static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"};
    char path[512];
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        out[i].name = names[i];
        out[i].bytes = read_whole(path, &out[i].n);
        assert_non_null(out[i].bytes);
    }
}

static void free_files(kept_file *files, int n)
{
    for (int i = 0; i < n; i++)
        free(files[i].bytes);
}

static int no_exchange(const char *a, const char *b)
{
    (void)a, (void)b;
    errno = ENOSYS;
    return -1;
}

/* With and without an old model, where folders can be exchanged and where they cannot. */
static void models_are_saved(void **unused)
{
    int (*exchange)(const char *, const char *) = fault.system.exchange;
    sonde_model *model;
    save_case c = {0};
    char directory[300];
    sonde_save_opts opts;

    (void)unused;
    snprintf(directory, sizeof directory, "%s/m", folder);
    fault.mode = FAULT_NONE;
    assert_int_equal(sonde_model_load(&model, "tests/golden/models/llama-gqa", NULL), SONDE_OK);
    c.model = model;
    assert_int_equal(sonde_model_save(model, directory, NULL), SONDE_OK);
    learn(c.old, 2, directory);
    sonde_save_opts_init(&opts);
    opts.dtype = SONDE_BF16;
    opts.tokenizer = "tests/golden/tokenizers/byte_level.json";
    assert_int_equal(sonde_model_save(model, directory, &opts), SONDE_OK);
    learn(c.made, 4, directory);
    remove_model(directory);

    fault_everywhere(save, &c, "save");
    c.has_old = true;
    lay_out(&c, directory);
    fault_everywhere(save, &c, "save over an old model");
    fault.system.exchange = no_exchange;
    fault_everywhere(save, &c, "save over an old model in two steps");
    fault.system.exchange = exchange;
    remove_model(directory);
    free_files(c.old, 2);
    free_files(c.made, 4);
    sonde_model_free(model);
}

static sonde_status save_config(void *config)
{
    const char *path = in_folder("config.json");
    SONDE_TRY(sonde_config_save(config, path));
    assert_int_equal(unlink(path), 0);
    return SONDE_OK;
}

static void configs_are_saved(void **unused)
{
    sonde_config config;
    (void)unused;
    fault.mode = FAULT_NONE;
    assert_int_equal(sonde_config_shape(&config, "stories"), SONDE_OK);
    fault_everywhere(save_config, &config, "config");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_are_saved),
        cmocka_unit_test(configs_are_saved),
    };
    return cmocka_run_group_tests(tests, fault_setup, fault_teardown);
}
