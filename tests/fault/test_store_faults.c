/* Stores under failing memory and failing system calls: a harvest leaves whole shards and nothing else, and goes on from them to the
 * same bytes; a full disk is one of the calls that fail. */
#include <sonde/run.h>

#include "fault/fault.h"

#include "unit/run/store_support.h"

static const char *const hooks[] = {"blocks.1.hook_resid_post", "blocks.0.attn.hook_z"};

enum { MOST_FILES = 16 };

/* The files of a store that was written without a fault. */
static struct {
    char name[64], *bytes;
    size_t n;
} files[MOST_FILES];
static int n_files;

static char store[300];

/* Calls fn with the name of each file of the store's folder; 0 where there is none. */
static int each_file(void (*fn)(const char *name, const char *path))
{
    DIR *d = opendir(store);
    const struct dirent *entry;
    int n = 0;
    while (d != NULL && (entry = readdir(d)) != NULL) {
        char path[600];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", store, entry->d_name);
        fn(entry->d_name, path);
        n++;
    }
    if (d != NULL)
        closedir(d);
    return n;
}

static void keep(const char *name, const char *path)
{
    assert_true(n_files < MOST_FILES);
    snprintf(files[n_files].name, sizeof files[0].name, "%.63s", name);
    files[n_files].bytes = read_whole(path, &files[n_files].n);
    assert_non_null(files[n_files++].bytes);
}

/* A file that is there is one that a whole store has. */
static void compare(const char *name, const char *path)
{
    for (int i = 0; i < n_files; i++) {
        size_t n = 0;
        char *bytes;
        if (strcmp(files[i].name, name) != 0)
            continue;
        bytes = read_whole(path, &n);
        if (bytes == NULL || n != files[i].n || memcmp(bytes, files[i].bytes, n) != 0)
            fail_msg("'%s' is not whole", name);
        free(bytes);
        return;
    }
    fail_msg("'%s' is left", name);
}

static void drop(const char *name, const char *path)
{
    (void)name;
    (void)unlink(path);
}

static void clear(void)
{
    each_file(drop);
    (void)rmdir(store);
}

static sonde_status gather(const store_model *m)
{
    sonde_harvest_opts how;
    sonde_harvest *h;
    sonde_harvest_plan plan;
    sonde_status status;

    sonde_harvest_opts_init(&how);
    how.shard_bytes = 15000;
    how.n_rows = 140;
    how.dtype = SONDE_BF16;
    status = sonde_harvest_new(&h, m->model, m->corpus, hooks, 2, store, &how);
    if (status == SONDE_OK)
        status = sonde_harvest_get_plan(&plan, h);
    if (status == SONDE_OK)
        status = sonde_harvest_run(h, NULL, NULL);
    sonde_harvest_free(h);
    return status;
}

/* A harvest with a fault. What is left is whole, and a second one without a fault completes it. */
static sonde_status harvest(void *ctx)
{
    enum fault_mode mode = fault.mode;
    sonde_error error;
    sonde_status status = gather(ctx);

    error = *sonde_last_error();
    fault.mode = FAULT_NONE;
    each_file(compare);
    if (status != SONDE_OK && mode != FAULT_NONE) {
        assert_ok(gather(ctx));
        /* which it then says again, for the one who asks what the fault was */
        sondep_fail(status, error.file, error.line, "%s", error.message);
    }
    assert_int_equal(each_file(compare), n_files);
    clear();
    fault.mode = mode;
    return status;
}

static void harvests_are_made(void **unused)
{
    store_model m;

    (void)unused;
    fault.mode = FAULT_NONE;
    snprintf(store, sizeof store, "%s/s", folder);
    store_model_open(&m);
    assert_ok(gather(&m));
    each_file(keep);
    assert_true(n_files >= 3);
    clear();
    fault_everywhere(harvest, &m, "harvest");
    fault.mode = FAULT_NONE;
    store_model_close(&m);
}

/* Opened, read, shuffled. */
static sonde_status use(void *unused)
{
    float rows[64 * STORE_WIDTH], *const out[] = {rows};
    sonde_store *s;
    sonde_source *source = NULL;
    sonde_store_opts how;
    sonde_status status = sonde_store_open(&s, store);

    (void)unused;
    sonde_store_opts_init(&how);
    how.most_rows = 50;
    how.piece = 10;
    if (status == SONDE_OK)
        status = sonde_store_read(rows, s, 0, 60, 64);
    if (status == SONDE_OK)
        status = sonde_source_store(&source, s, hooks, 1, &how);
    if (status == SONDE_OK)
        status = sonde_source_get(source, out, 30, 64);
    sonde_source_free(source);
    sonde_store_close(s);
    return status;
}

static void stores_are_used(void **unused)
{
    store_model m;

    (void)unused;
    fault.mode = FAULT_NONE;
    store_model_open(&m);
    assert_ok(gather(&m));
    fault_everywhere(use, NULL, "store");
    fault.mode = FAULT_NONE;
    clear();
    store_model_close(&m);
}

/* A source straight from the model. */
static sonde_status stream(void *ctx)
{
    const store_model *m = ctx;
    float rows[8 * STORE_WIDTH], z[8 * STORE_WIDTH], *const out[] = {rows, z};
    sonde_stream_opts how;
    sonde_source *source;
    sonde_status status;

    sonde_stream_opts_init(&how);
    how.n_documents = 6;
    status = sonde_source_stream(&source, m->model, m->corpus, hooks, 2, &how);
    if (status == SONDE_OK)
        status = sonde_source_get(source, out, 0, 8);
    sonde_source_free(source);
    return status;
}

static void streams_are_read(void **unused)
{
    store_model m;

    (void)unused;
    fault.mode = FAULT_NONE;
    store_model_open(&m);
    fault_everywhere(stream, &m, "stream");
    fault.mode = FAULT_NONE;
    store_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(harvests_are_made),
        cmocka_unit_test(stores_are_used),
        cmocka_unit_test(streams_are_read),
    };
    int status = cmocka_run_group_tests(tests, fault_setup, fault_teardown);
    for (int i = 0; i < n_files; i++)
        free(files[i].bytes);
    return status;
}
