/* Stores: the rows that captures have, in f32 and rounded; the same bytes however often a harvest was stopped; and what cannot be
 * opened or gone on with, by name. */
#include <sonde/format.h>
#include <sonde/run.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "folder.h"
#include "unit/run/store_support.h"

static const char *const hooks[] = {"blocks.1.hook_resid_post", "z0"};

static store_model m;
static store_rows want;

static int set_up(void **state)
{
    if (folder_make(state) != 0)
        return -1;
    store_model_open(&m);
    store_capture(&want, &m, 0);
    return 0;
}

static int tear_down(void **state)
{
    char line[300];
    store_rows_free(&want);
    store_model_close(&m);
    snprintf(line, sizeof line, "rm -rf '%s'/*", folder);
    return system(line) != 0 || folder_remove(state) != 0;
}

/* Options with small shards. */
static sonde_harvest_opts small_shards(void)
{
    sonde_harvest_opts how;
    sonde_harvest_opts_init(&how);
    how.shard_bytes = 40000;
    how.batch = 64;
    return how;
}

/* A whole harvest into a folder; gives what was planned. */
static sonde_harvest_plan harvest(const char *path, const sonde_harvest_opts *how)
{
    sonde_harvest *h;
    sonde_harvest_plan plan;
    assert_ok(sonde_harvest_new(&h, m.model, m.corpus, hooks, 2, path, how));
    assert_ok(sonde_harvest_get_plan(&plan, h));
    assert_ok(sonde_harvest_run(h, NULL, NULL));
    sonde_harvest_free(h);
    return plan;
}

static const char *shard(const char *folder_path, int i)
{
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%.400s/shard-%05d.safetensors", folder_path, i);
    return path;
}

static int64_t length_of(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (int64_t)info.st_size : -1;
}

static void assert_same_file(const char *a, const char *b)
{
    size_t n_a = 0, n_b = 0;
    char *x = read_whole(a, &n_a), *y = read_whole(b, &n_b);
    if (x == NULL || y == NULL || n_a != n_b || memcmp(x, y, n_a) != 0)
        fail_msg("'%s' and '%s' differ", a, b);
    free(x);
    free(y);
}

/* The same files with the same bytes. */
static void assert_same_store(const char *a, const char *b, int64_t n_shards)
{
    char x[512], y[512];
    snprintf(x, sizeof x, "%s/store.json", a);
    snprintf(y, sizeof y, "%s/store.json", b);
    assert_same_file(x, y);
    for (int i = 0; i < n_shards; i++)
        assert_same_file(shard(a, i), shard(b, i));
    assert_int_equal(length_of(shard(a, (int)n_shards)), -1);
}

/* ---- what is in it ------------------------------------------------------------------------------------------------------- */

/* n rows of a store as they must be, as floats or rounded. */
static void assert_rows(const sonde_store *s, const store_rows *rows, bool is_rounded)
{
    int64_t n = sonde_store_n_rows(s), N = n * STORE_WIDTH;
    float *x = malloc((size_t)N * sizeof *x), *z = malloc((size_t)N * sizeof *z);
    int32_t *tokens = malloc((size_t)n * sizeof *tokens), *positions = malloc((size_t)n * sizeof *positions);
    int64_t *documents = malloc((size_t)n * sizeof *documents);
    uint16_t *half = malloc((size_t)N * sizeof *half);

    assert_true(x && z && tokens && positions && documents && half);
    assert_int_equal(n, rows->n);
    assert_ok(sonde_store_read(x, s, 0, 0, n));
    assert_ok(sonde_store_read(z, s, 1, 0, n));
    sonde_store_places(tokens, documents, positions, s, 0, n);
    for (int k = 0; k < 2; k++) {
        float *have = k == 0 ? x : z, *wanted = k == 0 ? rows->resid : rows->z;
        sonde_convert_from_f32(half, SONDE_BF16, wanted, N);
        for (int64_t i = 0; i < N; i++) {
            float rounded;
            sonde_convert_to_f32(&rounded, &half[i], SONDE_BF16, 1);
            assert_true(have[i] == (is_rounded ? rounded : wanted[i]));
        }
    }
    assert_memory_equal(tokens, rows->tokens, (size_t)n * sizeof *tokens);
    assert_memory_equal(documents, rows->documents, (size_t)n * sizeof *documents);
    assert_memory_equal(positions, rows->positions, (size_t)n * sizeof *positions);
    free(x);
    free(z);
    free(tokens);
    free(positions);
    free(documents);
    free(half);
}

/* Some rows alone are those of the whole, across shards. */
static void assert_parts(const sonde_store *s)
{
    int64_t n = sonde_store_n_rows(s);
    float *all = malloc((size_t)(n * STORE_WIDTH) * sizeof *all), *some = malloc((size_t)(n * STORE_WIDTH) * sizeof *some);

    assert_true(all && some);
    assert_ok(sonde_store_read(all, s, 1, 0, n));
    for (int64_t first = 0; first < n; first += 37) {
        int64_t k = n - first < 400 ? n - first : 400;
        assert_ok(sonde_store_read(some, s, 1, first, k));
        assert_memory_equal(some, all + first * STORE_WIDTH, (size_t)(k * STORE_WIDTH) * sizeof *some);
    }
    free(all);
    free(some);
}

static void a_store_has_what_captures_have(void **unused)
{
    sonde_harvest_opts how = small_shards();
    (void)unused;
    for (int k = 0; k < 2; k++) {
        const char *path = in_folder(k == 0 ? "f32" : "bf16");
        sonde_store *s;
        sonde_harvest_plan plan;
        int64_t bytes = 0, at;
        how.dtype = k == 0 ? SONDE_F32 : SONDE_BF16;
        how.model = "some model";
        plan = harvest(path, &how);
        assert_ok(sonde_store_open(&s, path));
        assert_rows(s, &want, k == 1);
        assert_parts(s);
        /* what it says of itself */
        assert_int_equal(sonde_store_n_documents(s), STORE_DOCUMENTS);
        assert_int_equal(sonde_store_n_shards(s), plan.n_shards);
        assert_true(plan.n_shards > 3);
        assert_int_equal(sonde_store_dtype(s), how.dtype);
        assert_string_equal(sonde_store_model(s), "some model");
        assert_string_equal(sonde_store_hook(s, 1), "blocks.0.attn.hook_z");
        assert_int_equal(sonde_store_width(s, 1), STORE_WIDTH);
        assert_ok(sonde_store_find_hook(&at, s, "blocks.0.attn.hook_z"));
        assert_int_equal(at, 1);
        assert_refused(sonde_store_find_hook(&at, s, "z1"), SONDE_E_HOOK, "blocks.1.hook_resid_post");
        assert_ok(sonde_store_check_model(s, m.model));
        /* the plan was exact */
        for (int i = 0; i < plan.n_shards; i++) {
            int64_t n = length_of(shard(path, i));
            assert_true(n <= how.shard_bytes + 2000);
            bytes += n;
        }
        bytes += length_of(in_folder(k == 0 ? "f32/store.json" : "bf16/store.json"));
        assert_int_equal(bytes, plan.file_bytes);
        assert_int_equal(bytes, plan.missing_bytes);
        assert_int_equal(plan.n_rows, want.n);
        assert_int_equal(plan.missing_rows, want.n);
        assert_int_equal(plan.n_left_out, STORE_DOCUMENTS);
        assert_int_equal(plan.n_tokens + plan.n_behind, sonde_corpus_n_tokens(m.corpus));
        assert_int_equal(plan.pass.n_layers, 2);
        sonde_store_close(s);
    }
}

/* With the separators, fewer documents, one shard; on one thread and three. */
static void options_decide_what_is_kept(void **unused)
{
    sonde_harvest_opts how;
    sonde_store *s;
    store_rows all;
    static const int32_t none;
    (void)unused;
    store_capture(&all, &m, 1);
    sonde_harvest_opts_init(&how);
    how.left_out = &none;
    how.n_left_out = 0;
    assert_ok(sonde_set_threads(1));
    harvest(in_folder("one"), &how);
    assert_ok(sonde_set_threads(3));
    harvest(in_folder("three"), &how);
    assert_ok(sonde_set_threads(0));
    assert_same_store(in_folder("one"), in_folder("three"), 1);
    assert_ok(sonde_store_open(&s, in_folder("one")));
    assert_rows(s, &all, false);
    sonde_store_close(s);
    /* documents are whole: as many as give 100 rows */
    how.n_rows = 100;
    harvest(in_folder("some"), &how);
    assert_ok(sonde_store_open(&s, in_folder("some")));
    all.n = sonde_store_n_rows(s);
    assert_true(all.n >= 100 && all.n < 100 + STORE_CONTEXT);
    assert_true(all.documents[all.n] == all.documents[all.n - 1] + 1);
    assert_rows(s, &all, false);
    sonde_store_close(s);
    store_rows_free(&all);
}

/* Shuffled, the rows of a store are the same rows; the order is that of its own seed, and both hooks stay together. */
static void a_store_is_a_source(void **unused)
{
    static const char *const names[] = {"blocks.1.hook_resid_post", "blocks.0.attn.hook_z"};
    sonde_harvest_opts how = small_shards();
    sonde_store_opts order;
    sonde_store *s;
    sonde_source *source, *again;
    int64_t n = want.n;
    float *a = malloc((size_t)(n * STORE_WIDTH) * sizeof *a), *b = malloc((size_t)(n * STORE_WIDTH) * sizeof *b);
    float *c = malloc((size_t)(n * STORE_WIDTH) * sizeof *c);

    (void)unused;
    assert_true(a && b && c);
    harvest(in_folder("shuffled"), &how);
    assert_ok(sonde_store_open(&s, in_folder("shuffled")));
    sonde_store_opts_init(&order);
    order.most_rows = 150;
    order.piece = 16;
    order.seed = 4;
    assert_ok(sonde_source_store(&source, s, names, 2, &order));
    assert_int_equal(sonde_source_n_rows(source), n);
    assert_ok(sonde_source_get(source, (float *const[]){a, b}, 0, n));
    store_assert_same_rows(&want, a, b, n);
    assert_memory_not_equal(a, want.resid, (size_t)(n * STORE_WIDTH) * sizeof *a);
    /* one hook alone, on one thread, from the second half on */
    assert_ok(sonde_set_threads(1));
    assert_ok(sonde_source_store(&again, s, names + 1, 1, &order));
    assert_ok(sonde_source_get(again, (float *const[]){c}, n / 2, n / 2));
    assert_memory_equal(c, b + n / 2 * STORE_WIDTH, (size_t)(n / 2 * STORE_WIDTH) * sizeof *c);
    assert_ok(sonde_set_threads(0));
    sonde_source_free(again);
    sonde_source_free(source);
    assert_refused(sonde_source_store(&source, s, (const char *const[]){"embed"}, 1, NULL), SONDE_E_HOOK,
                   "not in the store");
    sonde_store_close(s);
    free(a);
    free(b);
    free(c);
}

/* ---- stopping and going on ------------------------------------------------------------------------------------------------ */

static sonde_status stop_at(int64_t n_rows, void *ctx)
{
    return n_rows >= *(const int64_t *)ctx ? SONDE_E_INTERRUPTED : SONDE_OK;
}

/* Stopped again and again, it ends with the same bytes; what is whole is not written again, what is damaged is. */
static void a_stopped_harvest_goes_on(void **unused)
{
    sonde_harvest_opts how = small_shards();
    sonde_harvest_plan plan = harvest(in_folder("whole"), &how);
    const char *path = in_folder("parts");
    int64_t rows_there = -1, n_stops = 0;
    sonde_status status = SONDE_E_INTERRUPTED;
    sonde_store *s;

    (void)unused;
    while (status == SONDE_E_INTERRUPTED) {
        sonde_harvest *h;
        sonde_harvest_plan now;
        int64_t stop = 200;
        assert_ok(sonde_harvest_new(&h, m.model, m.corpus, hooks, 2, path, &how));
        assert_ok(sonde_harvest_get_plan(&now, h));
        assert_true(now.n_rows - now.missing_rows > rows_there);
        rows_there = now.n_rows - now.missing_rows;
        assert_int_equal(now.file_bytes, plan.file_bytes);
        status = sonde_harvest_run(h, stop_at, &stop);
        if (status == SONDE_E_INTERRUPTED) {
            n_stops++;
            assert_int_equal(sonde_store_open(&s, path), SONDE_E_NOTFOUND);
            assert_non_null(strstr(sonde_last_error()->message, "is not complete: shard"));
            assert_non_null(strstr(sonde_last_error()->hint, "--resume"));
        }
        sonde_harvest_free(h);
    }
    assert_ok(status);
    assert_true(n_stops >= 2);
    assert_same_store(path, in_folder("whole"), plan.n_shards);
    /* shards that are gone, cut, or another's */
    assert_int_equal(unlink(shard(path, 2)), 0);
    assert_int_equal(truncate(shard(path, 1), 5000), 0);
    assert_int_equal(rename(shard(path, 3), shard(path, 0)), 0);
    harvest(in_folder("parts"), &how);
    assert_same_store(in_folder("parts"), in_folder("whole"), plan.n_shards);
}

/* Another model, other texts, another type: which it is is said, and nothing is touched. */
static void another_store_is_not_gone_on_with(void **unused)
{
    sonde_harvest_opts how = small_shards();
    const char *path = in_folder("mine");
    sonde_harvest *h;
    sonde_store *s;
    sonde_tensor wte;
    float first;

    (void)unused;
    harvest(path, &how);
    how.dtype = SONDE_BF16;
    assert_refused(sonde_harvest_new(&h, m.model, m.corpus, hooks, 2, path, &how), SONDE_E_ARG,
                   "is of another harvest: its 'dtype' is \"F32\", here it is \"BF16\"");
    assert_null(h);
    how = small_shards();
    assert_refused(sonde_harvest_new(&h, m.model, m.corpus, hooks, 1, path, &how), SONDE_E_ARG, "its 'hooks' is");
    /* one weight of the model, by one bit */
    assert_ok(sonde_store_open(&s, path));
    assert_ok(sonde_model_weight(&wte, m.model, "model.embed_tokens.weight"));
    first = *(float *)wte.data;
    *(float *)wte.data = nextafterf(first, 1);
    assert_refused(sonde_harvest_new(&h, m.model, m.corpus, hooks, 2, path, &how), SONDE_E_ARG, "its 'model_hash' is");
    assert_refused(sonde_store_check_model(s, m.model), SONDE_E_ARG, "activations of another model");
    *(float *)wte.data = first;
    assert_ok(sonde_store_check_model(s, m.model));
    sonde_store_close(s);
}

/* What is wrong with a harvest itself. */
static void wrong_harvests_are_refused(void **unused)
{
    static const char *const twice[] = {"z0", "blocks.0.attn.hook_z"}, *const patterns[] = {"blocks.*.hook_resid_post",
                                                                                            "attn0"};
    sonde_harvest_opts how = small_shards();
    sonde_harvest *h;
    const char *path = in_folder("none");

    (void)unused;
    assert_refused(sonde_harvest_new(&h, m.model, m.corpus, twice, 2, path, &how), SONDE_E_ARG, "is asked for twice");
    assert_refused(sonde_harvest_new(&h, m.model, m.corpus, twice, 0, path, &how), SONDE_E_ARG, "no hook points");
    assert_refused(sonde_harvest_new(&h, m.model, m.corpus, patterns, 1, path, &how), SONDE_E_HOOK, "names 3 hook points");
    assert_refused(
        sonde_harvest_new(&h, m.model, m.corpus, (const char *const[]){"blocks.0.attn.hook_pattern"}, 1, path, &how),
        SONDE_E_SHAPE, "has a row of keys");
    how.dtype = SONDE_F16;
    assert_refused(sonde_harvest_new(&h, m.model, m.corpus, hooks, 2, path, &how), SONDE_E_ARG, "'dtype'");
    how = small_shards();
    how.shard_bytes = -1;
    assert_refused(sonde_harvest_new(&h, m.model, m.corpus, hooks, 2, path, &how), SONDE_E_ARG, "below 0");
    how = small_shards();
    assert_ok(sonde_harvest_new(&h, m.model, m.corpus, hooks, 2, in_folder("no/such/place"), &how));
    assert_refused(sonde_harvest_run(h, NULL, NULL), SONDE_E_IO, "no/such/place");
    sonde_harvest_free(h);
    assert_int_equal(length_of(path), -1);
}

/* The shards before a number that is none stay, and nothing of its own. */
static void what_is_not_finite_stops_it(void **unused)
{
    sonde_harvest_opts how = small_shards();
    const char *path = in_folder("poisoned");
    sonde_harvest *h;
    sonde_harvest_plan plan;
    store_model poisoned;
    struct stat info;

    (void)unused;
    store_model_open(&poisoned);
    store_poison(&poisoned);
    how.shard_bytes = 15000;
    assert_ok(sonde_harvest_new(&h, poisoned.model, poisoned.corpus, hooks, 2, path, &how));
    assert_refused(sonde_harvest_run(h, NULL, NULL), SONDE_E_NONFINITE, "document 11: 'hook_embed' is nan at position 3");
    assert_ok(sonde_harvest_get_plan(&plan, h));
    assert_true(plan.n_there >= 2 && plan.n_there < plan.n_shards);
    for (int i = 0; i < plan.n_shards; i++)
        assert_int_equal(stat(shard(path, i), &info) == 0, i < plan.n_there);
    sonde_harvest_free(h);
    store_model_close(&poisoned);
}

/* ---- damage ---------------------------------------------------------------------------------------------------------------- */

/* Writes bytes at a place of a file. */
static void patch(const char *path, long at, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* Bytes of a shard's header, its length with it. */
static int64_t header_of(const char *path)
{
    size_t n = 0;
    char *bytes = read_whole(path, &n);

    assert_true(bytes != NULL && n > 8);
    n = 8 + (size_t)(unsigned char)bytes[0] + 256 * (size_t)(unsigned char)bytes[1];
    free(bytes);
    return (int64_t)n;
}

/* Where an element of the first hook lies in a shard: behind the header and the documents, which are the widest. */
static long place_of(const char *path, int64_t row, int64_t column)
{
    sonde_safetensors *file;
    sonde_tensor tokens;

    assert_ok(sonde_safetensors_open(&file, path));
    assert_ok(sonde_safetensors_get(&tokens, file, "tokens"));
    sonde_safetensors_close(file);
    return (long)(header_of(path) + 8 * tokens.shape[0] + 4 * (row * STORE_WIDTH + column));
}

/* The last shard, cut everywhere: how much is missing is said, and where the header is cut, that. */
static void a_cut_shard_is_named(void **unused)
{
    sonde_harvest_opts how = small_shards();
    sonde_harvest_plan plan = harvest(in_folder("cut"), &how);
    const char *path = shard(in_folder("cut"), (int)plan.n_shards - 1);
    int64_t bytes = length_of(path), header = header_of(path);
    char missing[128];
    sonde_store *s;

    (void)unused;
    for (int64_t left = bytes - 1; left > 0; left = left * 2 / 3) {
        assert_int_equal(truncate(path, left), 0);
        assert_refused(sonde_store_open(&s, in_folder("cut")), SONDE_E_FORMAT, path);
        assert_null(s);
        if (left >= header) {
            snprintf(missing, sizeof missing, "is cut: it has %lld of %lld bytes, %lld are missing", (long long)left,
                     (long long)bytes, (long long)(bytes - left));
            assert_non_null(strstr(sonde_last_error()->message, missing));
        } else {
            assert_non_null(strstr(sonde_last_error()->message, "truncated"));
        }
        assert_non_null(strstr(sonde_last_error()->hint, "--resume"));
    }
}

/* Files of another store, a number that is none in the data, a store.json that is not one. */
static void damaged_stores_are_refused(void **unused)
{
    static const struct {
        const char *from, *to, *named;
        sonde_status status;
    } changes[] = {
        {"sonde.store/1", "sonde.store/2", "has the schema 'sonde.store/2'", SONDE_E_UNSUPPORTED},
        {"\"n_rows\": ", "\"n_rows\": 1", "store.json says 1", SONDE_E_FORMAT},
        {"\"n_shards\": ", "\"n_shards\": -", "'n_shards' is -", SONDE_E_FORMAT},
        {"\"dtype\": \"F32\"", "\"dtype\": \"BF16\"", "is F32 [", SONDE_E_FORMAT},
        {"\"width\": 32", "\"width\": 33", "not F32 [", SONDE_E_FORMAT},
        {"blocks.1.hook_resid_post", "blocks.2.hook_resid_post", "is missing", SONDE_E_NOTFOUND},
        {"\"hooks\"", "\"hook\"", "'hooks'", SONDE_E_NOTFOUND},
        {"\"id\": \"", "\"id\": \"x", "is no hash", SONDE_E_FORMAT},
    };
    sonde_harvest_opts how = small_shards();
    sonde_store *s;
    size_t n = 0, n_other = 0;
    char *text, *other;

    (void)unused;
    harvest(in_folder("damaged"), &how);
    text = read_whole(in_folder("damaged/store.json"), &n);
    assert_non_null(text);
    text[n] = '\0';
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char changed[4096];
        const char *at = strstr(text, changes[i].from);
        assert_non_null(at);
        snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, changes[i].to, at + strlen(changes[i].from));
        make_file("damaged/store.json", changed, strlen(changed));
        assert_refused(sonde_store_open(&s, in_folder("damaged")), changes[i].status, changes[i].named);
    }
    make_file("damaged/store.json", text, n);
    /* the first shard of another store */
    how.n_rows = 900;
    harvest(in_folder("other"), &how);
    other = read_whole(shard(in_folder("other"), 0), &n_other);
    assert_int_equal(rename(shard(in_folder("damaged"), 0), in_folder("kept")), 0);
    make_file("damaged/shard-00000.safetensors", other, n_other);
    assert_refused(sonde_store_open(&s, in_folder("damaged")), SONDE_E_FORMAT, "is no shard of this store: its 'store' is");
    assert_int_equal(rename(in_folder("kept"), shard(in_folder("damaged"), 0)), 0);
    free(other);
    free(text);
    assert_refused(sonde_store_open(&s, in_folder("nothing")), SONDE_E_NOTFOUND, "is no store of activations");
}

/* A number that is none, on the disk. */
static void damaged_rows_are_refused(void **unused)
{
    sonde_harvest_opts how = small_shards();
    uint32_t nan_bits = 0x7fc00000u;
    sonde_store *s;
    sonde_source *source;
    float *rows = malloc((size_t)(want.n * STORE_WIDTH) * sizeof *rows);

    (void)unused;
    assert_non_null(rows);
    harvest(in_folder("rows"), &how);
    patch(shard(in_folder("rows"), 1), place_of(shard(in_folder("rows"), 1), 5, 7), &nan_bits, sizeof nan_bits);
    assert_ok(sonde_store_open(&s, in_folder("rows")));
    assert_ok(sonde_store_read(rows, s, 1, 0, want.n));
    assert_refused(sonde_store_read(rows, s, 0, 0, want.n), SONDE_E_NONFINITE,
                   "shard 1: 'blocks.1.hook_resid_post' is nan at row 5, column 7");
    assert_ok(sonde_source_store(&source, s, hooks, 1, NULL));
    assert_refused(sonde_source_get(source, (float *const[]){rows}, 0, 1), SONDE_E_NONFINITE, "is nan at row 5, column 7");
    sonde_source_free(source);
    sonde_store_close(s);
    free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_has_what_captures_have),
        cmocka_unit_test(options_decide_what_is_kept),
        cmocka_unit_test(a_store_is_a_source),
        cmocka_unit_test(a_stopped_harvest_goes_on),
        cmocka_unit_test(another_store_is_not_gone_on_with),
        cmocka_unit_test(wrong_harvests_are_refused),
        cmocka_unit_test(what_is_not_finite_stops_it),
        cmocka_unit_test(a_cut_shard_is_named),
        cmocka_unit_test(damaged_stores_are_refused),
        cmocka_unit_test(damaged_rows_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
