/* Files of tensors and of documents under failing memory and failing system calls. */
#include <sonde/format.h>
#include <sonde/text.h>

#include "format/json.h"

#include <zstd.h>

#include "fault/fault.h"

/* ---- reading ------------------------------------------------------------------------------------------------------------- */

static sonde_status open_tensors(void *path)
{
    sonde_safetensors *file;
    sonde_tensor t;
    SONDE_TRY(sonde_safetensors_open(&file, path));
    for (int64_t i = 0; i < sonde_safetensors_n(file); i++)
        assert_int_equal(sonde_safetensors_get(&t, file, sonde_safetensors_name(file, i)), SONDE_OK);
    sonde_safetensors_close(file);
    return SONDE_OK;
}

static void tensors_are_opened(void **unused)
{
    (void)unused;
    fault_everywhere(open_tensors, "tests/golden/format/all_types.safetensors", "safetensors");
    fault_everywhere(open_tensors, "tests/golden/format/sharded", "shards");
}

static sonde_status read_array(void *path)
{
    sonde_tensor t;
    SONDE_TRY(sonde_npy_read(&t, path));
    assert_int_equal(sonde_tensor_n_elements(&t), 24);
    sonde_npy_free(&t);
    return SONDE_OK;
}

static sonde_status read_archive(void *path)
{
    sonde_npz *file;
    sonde_tensor t;
    sonde_status status;
    SONDE_TRY(sonde_npz_open(&file, path));
    status = sonde_npz_read(&t, file, "a");
    if (status == SONDE_OK)
        sonde_npy_free(&t);
    sonde_npz_close(file);
    return status;
}

static sonde_status read_torch(void *path)
{
    sonde_torch *file;
    sonde_tensor t;
    sonde_status status = SONDE_OK;
    SONDE_TRY(sonde_torch_open(&file, path));
    for (int64_t i = 0; i < sonde_torch_n(file) && status == SONDE_OK; i++) {
        if (sonde_torch_kind_of(file, i) != SONDE_TORCH_TENSOR)
            continue;
        status = sonde_torch_read(&t, file, i);
        if (status == SONDE_OK)
            sonde_npy_free(&t);
    }
    sonde_torch_close(file);
    return status;
}

static void arrays_are_read(void **unused)
{
    (void)unused;
    fault_everywhere(read_torch, "tests/golden/format/nested.pt", "torch");
    fault_everywhere(read_array, "tests/golden/format/fortran_big_u2_v1.npy", "npy");
    fault_everywhere(read_archive, "tests/golden/format/deflated.npz", "npz");
}

static sonde_status load_json(void *path)
{
    json_t *root;
    int64_t n = 0;
    SONDE_TRY(sondep_json_load(&root, path));
    assert_int_equal(sondep_json_get_int(&n, json_object_get(root, "metadata"), "total_size", path), SONDE_OK);
    assert_int_equal(n, 60);
    json_decref(root);
    return SONDE_OK;
}

static void json_is_loaded(void **unused)
{
    (void)unused;
    fault_everywhere(load_json, "tests/golden/format/sharded/model.safetensors.index.json", "json");
}

static sonde_status read_documents(void *path)
{
    sonde_documents *d;
    const char *text = "";
    size_t n, bytes = 0;
    sonde_status status = SONDE_OK;
    SONDE_TRY(sonde_documents_open(&d, path, NULL));
    while (status == SONDE_OK && text != NULL) {
        status = sonde_documents_next(d, &text, &n);
        bytes += n;
    }
    if (status == SONDE_OK)
        assert_int_equal(bytes, 3 + 300000 + 1);
    sonde_documents_close(d);
    return status;
}

/* Three documents, one longer than the buffers. */
static char *make_lines(size_t *n)
{
    static char lines[300100];
    char *p = lines;
    p += sprintf(p, "{\"text\": \"one\"}\n\n{\"text\": \"");
    for (int i = 0; i < 300000; i++)
        *p++ = (char)('a' + i % 25);
    p += sprintf(p, "\"}\n{\"text\": \"3\"}");
    *n = (size_t)(p - lines);
    return lines;
}

static void documents_are_read(void **unused)
{
    size_t n, room, packed;
    char *lines = make_lines(&n), *frame;
    (void)unused;
    room = ZSTD_compressBound(n);
    frame = malloc(room);
    packed = ZSTD_compress(frame, room, lines, n, 1);
    assert_false(ZSTD_isError(packed));
    fault_everywhere(read_documents, (void *)(uintptr_t)make_file("x.jsonl", lines, n), "jsonl");
    fault_everywhere(read_documents, (void *)(uintptr_t)make_file("x.jsonl.zst", frame, packed), "jsonl.zst");
    free(frame);
    folder_clear();
}

/* ---- writing --------------------------------------------------------------------------------------------------------------- */

static const float values[5000] = {1.5f, -2.0f, 0.1f};

/* Two tensors (one for .npy) with metadata, in pieces; the result is checked and removed. */
static sonde_status write_tensors(void *path)
{
    static const char *const names[] = {"blocks.0.hook_resid_post", "tokens"}, *const metadata[] = {"format", "pt"};
    static const int64_t shape[2] = {50, 100}, one[1] = {1};
    int64_t n = strstr(path, ".npy") ? 1 : 2;
    const int64_t token = 7;
    sonde_tensor t[2];
    sonde_sink *sink;
    struct stat info;
    sonde_status status;

    assert_int_equal(sonde_tensor_view(&t[0], NULL, SONDE_F32, shape, 2), SONDE_OK);
    assert_int_equal(sonde_tensor_view(&t[1], NULL, SONDE_I64, one, 1), SONDE_OK);
    SONDE_TRY(sonde_sink_open(&sink, path, names, t, n, metadata, 1));
    status = sonde_sink_put(sink, 0, 2500, values + 2500, 2500);
    if (status == SONDE_OK && n > 1)
        status = sonde_sink_put(sink, 1, 0, &token, 1);
    if (status == SONDE_OK)
        status = sonde_sink_put(sink, 0, 0, values, 2500);
    if (status != SONDE_OK)
        sonde_sink_abort(sink);
    else
        status = sonde_sink_commit(sink);
    assert_true((stat(path, &info) == 0) == (status == SONDE_OK));
    if (status == SONDE_OK) {
        assert_true(info.st_size > 20000);
        assert_int_equal(unlink(path), 0);
    }
    return status;
}

static void tensors_are_written(void **unused)
{
    static const char *const names[] = {"x.safetensors", "x.npy", "x.npz", "x.json"};
    (void)unused;
    for (int i = 0; i < 4; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s", in_folder(names[i]));
        fault_everywhere(write_tensors, path, names[i]);
    }
}

/* A caller that goes on after a failed put does not get a file. */
static void a_failed_put_is_not_forgotten(void **unused)
{
    static const char *const names[] = {"x"};
    static const int64_t shape[1] = {5000};
    sonde_tensor t;
    sonde_sink *sink;
    (void)unused;
    fault.mode = FAULT_NONE;
    assert_int_equal(sonde_tensor_view(&t, NULL, SONDE_F32, shape, 1), SONDE_OK);
    assert_int_equal(sonde_sink_open(&sink, in_folder("x.safetensors"), names, &t, 1, NULL, 0), SONDE_OK);
    fault.kind = FAULT_PWRITE;
    fault.mode = FAULT_FROM;
    fault.nth = 0;
    assert_int_equal(sonde_sink_put(sink, 0, 0, values, 5000), SONDE_E_IO);
    assert_non_null(strstr(sonde_last_error()->message, "No space left"));
    fault.mode = FAULT_NONE;
    assert_int_equal(sonde_sink_commit(sink), SONDE_E_IO);
    assert_non_null(strstr(sonde_last_error()->message, "an earlier write failed"));
    assert_int_equal(folder_n_files(), 0);
}

/* Documents, one of them longer than the buffers; the file is there if and only if all went well. */
static sonde_status write_documents(void *path)
{
    size_t n;
    const char *lines = make_lines(&n);
    sonde_documents_writer *w;
    struct stat info;
    sonde_status status;

    SONDE_TRY(sonde_documents_create(&w, path, NULL));
    status = sonde_documents_write(w, "one", 3);
    if (status == SONDE_OK)
        status = sonde_documents_write(w, lines, n);
    if (status == SONDE_OK)
        status = sonde_documents_commit(w);
    else
        sonde_documents_abort(w);
    assert_true((stat(path, &info) == 0) == (status == SONDE_OK));
    if (status == SONDE_OK)
        assert_int_equal(unlink(path), 0);
    return status;
}

static void documents_are_written(void **unused)
{
    char path[512];
    (void)unused;
    snprintf(path, sizeof path, "%s", in_folder("x.jsonl"));
    fault_everywhere(write_documents, path, "jsonl");
    snprintf(path, sizeof path, "%s", in_folder("x.jsonl.zst"));
    fault_everywhere(write_documents, path, "jsonl.zst");
}

/* A caller that goes on after a failed line does not get a file. */
static void a_failed_line_is_not_forgotten(void **unused)
{
    size_t n;
    const char *lines = make_lines(&n);
    sonde_documents_writer *w;
    (void)unused;
    fault.mode = FAULT_NONE;
    assert_int_equal(sonde_documents_create(&w, in_folder("x.jsonl"), NULL), SONDE_OK);
    fault.kind = FAULT_WRITE;
    fault.mode = FAULT_FROM;
    fault.nth = 0;
    assert_int_equal(sonde_documents_write(w, lines, n), SONDE_E_IO);
    fault.mode = FAULT_NONE;
    assert_int_equal(sonde_documents_commit(w), SONDE_E_IO);
    assert_non_null(strstr(sonde_last_error()->message, "an earlier write failed"));
    assert_int_equal(folder_n_files(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_opened),    cmocka_unit_test(arrays_are_read),
        cmocka_unit_test(json_is_loaded),        cmocka_unit_test(documents_are_read),
        cmocka_unit_test(tensors_are_written),   cmocka_unit_test(a_failed_put_is_not_forgotten),
        cmocka_unit_test(documents_are_written), cmocka_unit_test(a_failed_line_is_not_forgotten),
    };
    return cmocka_run_group_tests(tests, fault_setup, fault_teardown);
}
