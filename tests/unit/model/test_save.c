/* A model that is saved and loaded again is the same one, bit for bit; a folder is replaced as a whole or not at all.
 * That transformers reads it is held in tests/oracle/save_live.py; failing calls, in tests/fault. */
#include <sonde/format.h>
#include <sonde/model.h>

#include "base/file.h"

#include "golden/golden_model.h"

#include "folder.h"
#include "statuses.h"

#include <errno.h>
#include <sys/stat.h>

/* Removes a folder of files in the test's folder. */
static void remove_inside(const char *name)
{
    char path[512];
    DIR *d;
    const struct dirent *entry;

    snprintf(path, sizeof path, "%s", in_folder(name));
    d = opendir(path);
    while (d != NULL && (entry = readdir(d)) != NULL)
        (void)unlinkat(dirfd(d), entry->d_name, 0);
    if (d != NULL)
        closedir(d);
    (void)rmdir(path);
}

static bool has_file(const char *name)
{
    return access(in_folder(name), F_OK) == 0;
}

static sonde_model *random_model(const char *shape, bool tied)
{
    sonde_config c;
    sonde_model *model;
    assert_ok(sonde_config_shape(&c, shape));
    c.n_layers = 2;
    c.n_vocab = 67;
    c.n_context = 16;
    c.tied = tied;
    c.eos_id = 2;
    assert_ok(sonde_model_random(&model, &c, 7, NULL));
    return model;
}

/* ---- what comes back ---------------------------------------------------------------------------------------------- */

/* The tensor of a file under the name with or without its prefix. */
static void get_either(sonde_tensor *out, const sonde_safetensors *file, const char *name, bool tied)
{
    const char *bare = strncmp(name, "transformer.", 12) == 0 ? name + 12
                       : strncmp(name, "model.", 6) == 0      ? name + 6
                                                              : name;
    const char *is_there = sonde_safetensors_has(file, name) ? name : bare;
    if (!sonde_safetensors_has(file, is_there) && tied) /* a tied matrix that came under its other name */
        is_there = "lm_head.weight";
    assert_ok(sonde_safetensors_get(out, file, is_there));
}

/* Every tensor of the saved file is one of the original, and their numbers are as many as the model's. */
static void assert_same_weights(const char *saved, const char *original, bool tied)
{
    sonde_safetensors *a, *b;
    sonde_model *model;
    int64_t n_parameters = 0;

    assert_ok(sonde_safetensors_open(&a, saved));
    assert_ok(sonde_safetensors_open(&b, original));
    for (int64_t i = 0; i < sonde_safetensors_n(a); i++) {
        sonde_tensor x, y;
        sonde_safetensors_at(&x, a, i);
        get_either(&y, b, sonde_safetensors_name(a, i), tied);
        assert_true(x.dtype == y.dtype && x.rank == y.rank && memcmp(x.shape, y.shape, sizeof x.shape) == 0);
        assert_memory_equal(x.data, y.data, sonde_tensor_bytes(&x));
        n_parameters += sonde_tensor_n_elements(&x);
    }
    sonde_safetensors_close(a);
    sonde_safetensors_close(b);
    assert_ok(sonde_model_load(&model, original, NULL));
    assert_int_equal(n_parameters, sonde_model_n_parameters(model));
    sonde_model_free(model);
}

static void every_golden_model_is_the_same_when_saved(void **state)
{
    char names[GOLDEN_MAX_MODELS][256], path[GOLDEN_PATH];
    int n = golden_list(names);

    (void)state;
    for (int i = 0; i < n; i++) {
        sonde_model *model, *back;
        snprintf(path, sizeof path, GOLDEN_ROOT "/%.255s", names[i]);
        assert_ok(sonde_model_load(&model, path, NULL));
        assert_ok(sonde_model_save(model, in_folder("m"), NULL));
        assert_ok(sonde_model_load(&back, in_folder("m"), NULL));
        assert_memory_equal(sonde_model_config(model), sonde_model_config(back), sizeof(sonde_config));
        assert_int_equal(sonde_model_weight_dtype(model), sonde_model_weight_dtype(back));
        assert_same_weights(in_folder("m"), path, sonde_model_config(model)->tied);
        sonde_model_free(back);
        sonde_model_free(model);
        assert_int_equal(folder_n_files(), 1);
    }
    remove_inside("m");
}

/* Every tensor of a file against the model's own. */
static void assert_file_is(const sonde_model *model, const char *directory)
{
    sonde_safetensors *file;
    assert_ok(sonde_safetensors_open(&file, directory));
    for (int64_t i = 0; i < sonde_safetensors_n(file); i++) {
        sonde_tensor x, y;
        sonde_safetensors_at(&x, file, i);
        assert_ok(sonde_model_weight(&y, model, sonde_safetensors_name(file, i)));
        assert_int_equal(sonde_tensor_bytes(&x), sonde_tensor_bytes(&y));
        assert_memory_equal(x.data, y.data, sonde_tensor_bytes(&x));
    }
    sonde_safetensors_close(file);
}

static void random_models_of_both_families_come_back(void **state)
{
    static const char *const shapes[] = {"small", "one-layer", "stories"};
    (void)state;
    for (int i = 0; i < 6; i++) {
        sonde_model *model = random_model(shapes[i / 2], i % 2), *back;
        sonde_safetensors *file;
        assert_ok(sonde_model_save(model, in_folder("m"), NULL));
        assert_file_is(model, in_folder("m"));
        assert_ok(sonde_model_load(&back, in_folder("m"), NULL));
        assert_memory_equal(sonde_model_config(model), sonde_model_config(back), sizeof(sonde_config));
        assert_int_equal(sonde_model_n_parameters(model), sonde_model_n_parameters(back));
        /* A tied unembedding is not stored. */
        assert_ok(sonde_safetensors_open(&file, in_folder("m")));
        assert_int_equal(sonde_safetensors_has(file, "lm_head.weight"), i % 2 == 0);
        sonde_safetensors_close(file);
        sonde_model_free(back);
        sonde_model_free(model);
    }
    remove_inside("m");
}

/* The bf16 next to a float, ties to even, found from both sides. */
static uint16_t nearest_bf16(float x)
{
    uint32_t bits, low, high;
    float below, above;
    memcpy(&bits, &x, 4);
    low = bits & 0xffff0000u;
    high = low + 0x10000u;
    memcpy(&below, &low, 4);
    memcpy(&above, &high, 4);
    if (fabs((double)x - below) != fabs((double)above - x))
        return (uint16_t)((fabs((double)x - below) < fabs((double)above - x) ? low : high) >> 16);
    return (uint16_t)((low >> 16) % 2 == 0 ? low >> 16 : high >> 16);
}

static void types_are_rounded_to_nearest(void **state)
{
    sonde_model *model = random_model("stories", true), *back, *wide;
    sonde_save_opts opts;
    sonde_tensor x, y, z;
    static const char name[] = "model.layers.1.mlp.down_proj.weight";

    (void)state;
    sonde_save_opts_init(&opts);
    opts.dtype = SONDE_BF16;
    assert_ok(sonde_model_save(model, in_folder("m"), &opts));
    assert_ok(sonde_model_load(&back, in_folder("m"), NULL));
    assert_int_equal(sonde_model_weight_dtype(back), SONDE_BF16);
    assert_ok(sonde_model_weight(&x, model, name));
    assert_ok(sonde_model_weight(&y, back, name));
    assert_int_equal(y.dtype, SONDE_BF16);
    for (int64_t i = 0; i < sonde_tensor_n_elements(&x); i++)
        assert_int_equal(((const uint16_t *)y.data)[i], nearest_bf16(((const float *)x.data)[i]));
    /* Wider again: the same numbers. */
    opts.dtype = SONDE_F32;
    assert_ok(sonde_model_save(back, in_folder("w"), &opts));
    assert_ok(sonde_model_load(&wide, in_folder("w"), NULL));
    assert_ok(sonde_model_weight(&z, wide, name));
    for (int64_t i = 0; i < sonde_tensor_n_elements(&z); i++) {
        uint32_t bits = (uint32_t)((const uint16_t *)y.data)[i] << 16;
        assert_memory_equal(&bits, (const float *)z.data + i, 4);
    }
    sonde_model_free(wide);
    sonde_model_free(back);
    sonde_model_free(model);
    remove_inside("m");
    remove_inside("w");
}

static void what_it_is_stands_in_the_file(void **state)
{
    static const char *const pairs[] = {"sonde.seed", "7", "sonde.data", "a \"story\"\n"};
    sonde_model *model = random_model("small", true);
    sonde_save_opts opts;
    sonde_safetensors *file;
    char *text;
    size_t n = 0;

    (void)state;
    sonde_save_opts_init(&opts);
    opts.metadata = pairs;
    opts.n_metadata = 2;
    opts.dtype = SONDE_F16;
    assert_ok(sonde_model_save(model, in_folder("m"), &opts));
    assert_ok(sonde_safetensors_open(&file, in_folder("m")));
    assert_string_equal(sonde_safetensors_metadata(file, "format"), "pt");
    assert_string_equal(sonde_safetensors_metadata(file, "sonde.seed"), "7");
    assert_string_equal(sonde_safetensors_metadata(file, "sonde.data"), pairs[3]);
    sonde_safetensors_close(file);
    text = read_whole(in_folder("m/config.json"), &n);
    assert_non_null(text);
    text[n] = '\0';
    assert_non_null(strstr(text, "\"dtype\": \"float16\""));
    assert_non_null(strstr(text, "\"torch_dtype\": \"float16\""));
    assert_non_null(strstr(text, "\"GPT2LMHeadModel\""));
    free(text);
    sonde_model_free(model);
    remove_inside("m");
}

static void the_tokenizer_goes_with_it(void **state)
{
    static const char source[] = "tests/golden/tokenizers/byte_fallback.json";
    sonde_model *model = random_model("stories", true);
    sonde_save_opts opts;
    char *a, *b;
    size_t n_a = 0, n_b = 0;

    (void)state;
    sonde_save_opts_init(&opts);
    opts.tokenizer = source;
    assert_ok(sonde_model_save(model, in_folder("m"), &opts));
    a = read_whole(source, &n_a);
    b = read_whole(in_folder("m/tokenizer.json"), &n_b);
    assert_true(a && b && n_a == n_b);
    assert_memory_equal(a, b, n_a);
    free(a);
    free(b);
    a = read_whole(in_folder("m/tokenizer_config.json"), &n_a);
    assert_non_null(a);
    a[n_a] = '\0';
    assert_non_null(strstr(a, "\"PreTrainedTokenizerFast\""));
    assert_non_null(strstr(a, "\"eos_token\": \"</s>\""));
    free(a);
    /* A folder that has one; and one that has none writes nothing. */
    opts.tokenizer = in_folder("m");
    assert_ok(sonde_model_save(model, in_folder("n"), &opts));
    assert_true(has_file("n/tokenizer.json"));
    opts.tokenizer = in_folder("nowhere");
    assert_refused(sonde_model_save(model, in_folder("o"), &opts), SONDE_E_NOTFOUND, "nowhere");
    assert_false(has_file("o"));
    sonde_model_free(model);
    remove_inside("m");
    remove_inside("n");
}

/* ---- the folder ---------------------------------------------------------------------------------------------------- */

static int no_exchange(const char *a, const char *b)
{
    (void)a, (void)b;
    errno = ENOSYS;
    return -1;
}

/* A model takes the place of another, whose other files go with it; by either way of replacing, and through a link. */
static void a_model_is_replaced_as_a_whole(void **state)
{
    sonde_model *first = random_model("small", false), *second = random_model("stories", true);
    sondep_sys kept = sondep_syscalls;

    (void)state;
    for (int way = 0; way < 2; way++) {
        sondep_syscalls.exchange = way ? no_exchange : kept.exchange;
        assert_ok(sonde_model_save(first, in_folder("m"), NULL));
        make_file("m/tokenizer.json", "{}", 2);
        make_file("m/model.safetensors.index.json", "{}", 2);
        assert_ok(symlink("m", in_folder("link")) == 0 ? SONDE_OK : SONDE_E_IO);
        assert_ok(sonde_model_save(second, way ? in_folder("link") : in_folder("m///"), NULL));
        sondep_syscalls = kept;
        assert_false(has_file("m/tokenizer.json") || has_file("m/model.safetensors.index.json"));
        assert_file_is(second, in_folder("m"));
        assert_int_equal(folder_n_files(), 2);
        assert_int_equal(unlink(in_folder("link")), 0);
        remove_inside("m");
    }
    /* An empty folder is as good as none. */
    assert_int_equal(mkdir(in_folder("m"), 0700), 0);
    assert_ok(sonde_model_save(first, in_folder("m"), NULL));
    sonde_model_free(first);
    sonde_model_free(second);
    remove_inside("m");
}

static void a_model_is_saved_over_itself(void **state)
{
    sonde_model *model = random_model("small", true), *loaded;
    (void)state;
    assert_ok(sonde_model_save(model, in_folder("m"), NULL));
    assert_ok(sonde_model_load(&loaded, in_folder("m"), NULL));
    for (int i = 0; i < 3; i++)
        assert_ok(sonde_model_save(loaded, in_folder("m"), NULL));
    assert_file_is(model, in_folder("m"));
    sonde_model_free(loaded);
    sonde_model_free(model);
    remove_inside("m");
}

static void what_is_no_model_is_not_replaced(void **state)
{
    sonde_model *model = random_model("small", true);

    (void)state;
    make_file("file", "x", 1);
    assert_refused(sonde_model_save(model, in_folder("file"), NULL), SONDE_E_ARG, "is a file");
    assert_int_equal(mkdir(in_folder("d"), 0700), 0);
    make_file("d/package.json", "{}", 2);
    assert_refused(sonde_model_save(model, in_folder("d"), NULL), SONDE_E_ARG, "without a config.json");
    make_file("d/config.json", "{}", 2);
    make_file("d/notes.txt", "{}", 2);
    assert_refused(sonde_model_save(model, in_folder("d"), NULL), SONDE_E_ARG, "'notes.txt'");
    assert_true(has_file("d/notes.txt") && has_file("d/package.json"));
    assert_refused(sonde_model_save(model, in_folder("none/m"), NULL), SONDE_E_IO, "none/m");
    assert_int_equal(folder_n_files(), 2);
    sonde_model_free(model);
    remove_inside("d");
    folder_clear();
}

/* ---- what cannot be saved ------------------------------------------------------------------------------------------- */

static void numbers_that_would_be_lost_are_named(void **state)
{
    sonde_model *model = random_model("small", true), *old;
    sonde_save_opts opts;
    sonde_tensor x;

    (void)state;
    assert_ok(sonde_model_save(model, in_folder("m"), NULL));
    assert_ok(sonde_model_weight(&x, model, "transformer.h.1.mlp.c_fc.weight"));
    ((float *)x.data)[70000] = 65520.0f;
    sonde_save_opts_init(&opts);
    opts.dtype = SONDE_F16;
    assert_refused(sonde_model_save(model, in_folder("m"), &opts), SONDE_E_RANGE,
                   "'transformer.h.1.mlp.c_fc.weight' is 65520 at element 70000");
    ((float *)x.data)[70000] = NAN;
    assert_refused(sonde_model_save(model, in_folder("m"), NULL), SONDE_E_NONFINITE, "element 70000");
    /* The old one is whole. */
    assert_int_equal(folder_n_files(), 1);
    assert_ok(sonde_model_load(&old, in_folder("m"), NULL));
    ((float *)x.data)[70000] = 0.0f;
    sonde_model_free(old);
    sonde_model_free(model);
    remove_inside("m");
}

static void options_are_checked(void **state)
{
    static const char *const pairs[] = {"format", "np"};
    sonde_model *model = random_model("small", true);
    sonde_save_opts opts;

    (void)state;
    sonde_save_opts_init(&opts);
    opts.dtype = SONDE_I32;
    assert_refused(sonde_model_save(model, in_folder("m"), &opts), SONDE_E_ARG, "'dtype'");
    opts.dtype = SONDE_AS_STORED;
    opts.metadata = pairs;
    opts.n_metadata = 1;
    assert_refused(sonde_model_save(model, in_folder("m"), &opts), SONDE_E_ARG, "'format'");
    opts.struct_size = 4096;
    assert_refused(sonde_model_save(model, in_folder("m"), &opts), SONDE_E_ARG, "4096");
    assert_int_equal(folder_n_files(), 0);
    sonde_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_golden_model_is_the_same_when_saved),
        cmocka_unit_test(random_models_of_both_families_come_back),
        cmocka_unit_test(types_are_rounded_to_nearest),
        cmocka_unit_test(what_it_is_stands_in_the_file),
        cmocka_unit_test(the_tokenizer_goes_with_it),
        cmocka_unit_test(a_model_is_replaced_as_a_whole),
        cmocka_unit_test(a_model_is_saved_over_itself),
        cmocka_unit_test(what_is_no_model_is_not_replaced),
        cmocka_unit_test(numbers_that_would_be_lost_are_named),
        cmocka_unit_test(options_are_checked),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
