/* Files: read whole or mapped; written beside and renamed, and what is left when that fails. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "folder.h"

static void assert_content(const char *path, const char *want)
{
    size_t n = 0;
    char *got = read_whole(path, &n);
    assert_non_null(got);
    assert_int_equal(n, strlen(want));
    assert_memory_equal(got, want, n);
    free(got);
}

static void check_reading(sonde_status (*map_or_read)(sondep_file *, const char *))
{
    sondep_file f;
    assert_int_equal(map_or_read(&f, make_file("a", "x\0y", 3)), SONDE_OK);
    assert_int_equal(f.bytes, 3);
    assert_memory_equal(f.data, "x\0y", 3);
    sondep_file_release(&f);
    assert_null(f.data);
    assert_int_equal(map_or_read(&f, make_file("a", "", 0)), SONDE_OK);
    assert_int_equal(f.bytes, 0);
    sondep_file_release(&f);
    assert_int_equal(map_or_read(&f, in_folder("none")), SONDE_E_NOTFOUND);
    assert_non_null(strstr(sonde_last_error()->message, "none"));
    assert_null(f.path);
    assert_int_equal(map_or_read(&f, folder), SONDE_E_FORMAT);
    assert_int_equal(map_or_read(&f, "/proc/self/cmdline"), SONDE_OK); /* its size is said to be 0 */
    assert_true(f.bytes > 0);
    sondep_file_release(&f);
}

static sonde_status read_any(sondep_file *out, const char *path)
{
    return sondep_file_read(out, path, SIZE_MAX);
}

static void files_are_read(void **unused)
{
    sondep_file f;
    (void)unused;
    check_reading(sondep_file_map);
    check_reading(read_any);
    assert_int_equal(sondep_file_read(&f, make_file("a", "12345", 5), 4), SONDE_E_RANGE);
    assert_non_null(strstr(sonde_last_error()->message, "larger than 4 bytes"));
    assert_int_equal(sondep_file_read(&f, in_folder("a"), 5), SONDE_OK);
    sondep_file_release(&f);
    assert_true(sondep_is_file(in_folder("a")) && !sondep_is_file(folder) && sondep_is_directory(folder));
    folder_clear();
}

static void *feed(void *path)
{
    int fd = open(path, O_WRONLY);
    ssize_t a = write(fd, "half", 4), b = write(fd, "half", 4);
    close(fd);
    return (void *)(intptr_t)(a + b);
}

static void a_pipe_is_read_to_its_end(void **unused)
{
    const char *path = in_folder("pipe");
    pthread_t thread;
    sondep_file f;
    (void)unused;
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(pthread_create(&thread, NULL, feed, (void *)(uintptr_t)path), 0);
    assert_int_equal(sondep_file_map(&f, path), SONDE_OK);
    pthread_join(thread, NULL);
    assert_int_equal(f.bytes, 8);
    sondep_file_release(&f);
    folder_clear();
}

static void paths_are_joined(void **unused)
{
    char *path;
    (void)unused;
    assert_int_equal(sondep_path_join(&path, "a", "b"), SONDE_OK);
    assert_string_equal(path, "a/b");
    sondep_free(path);
    assert_int_equal(sondep_path_join(&path, "a/", "b"), SONDE_OK);
    assert_string_equal(path, "a/b");
    sondep_free(path);
}

static void a_file_appears_when_it_is_complete(void **unused)
{
    sondep_writer w;
    const char *path = in_folder("out");
    (void)unused;
    assert_int_equal(sondep_writer_open(&w, path), SONDE_OK);
    assert_int_equal(sondep_writer_put(&w, "hello ", 6), SONDE_OK);
    assert_int_equal(sondep_writer_put(&w, "world", 5), SONDE_OK);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(w.n_bytes, 11);
    assert_int_equal(sondep_writer_put_at(&w, 1, "E", 1), SONDE_OK);
    assert_int_equal(sondep_writer_put(&w, "!", 1), SONDE_OK); /* behind the last put, not behind put_at */
    assert_int_equal(sondep_writer_commit(&w), SONDE_OK);
    assert_content(path, "hEllo world!");
    assert_int_equal(folder_n_files(), 1);
    sondep_writer_abort(&w); /* after commit: nothing to do */
    assert_content(path, "hEllo world!");
    folder_clear();
}

static void an_abort_leaves_the_old_file(void **unused)
{
    sondep_writer w, zero = {0};
    const char *path = make_file("out", "old", 3);
    (void)unused;
    assert_int_equal(sondep_writer_open(&w, path), SONDE_OK);
    assert_int_equal(sondep_writer_put(&w, "new", 3), SONDE_OK);
    sondep_writer_abort(&w);
    assert_content(path, "old");
    assert_int_equal(folder_n_files(), 1);
    sondep_writer_abort(&zero);
    assert_int_not_equal(fcntl(0, F_GETFD), -1); /* a zero struct does not close descriptor 0 */
    folder_clear();
}

static void a_link_stays_and_its_mode_too(void **unused)
{
    const char *target = make_file("target", "old", 3), *link_path = in_folder("link");
    sondep_writer w;
    struct stat info;
    (void)unused;
    assert_int_equal(symlink(target, link_path), 0);
    assert_int_equal(chmod(target, 0600), 0);
    assert_int_equal(sondep_writer_open(&w, link_path), SONDE_OK);
    assert_int_equal(sondep_writer_put(&w, "new", 3), SONDE_OK);
    assert_int_equal(sondep_writer_commit(&w), SONDE_OK);
    assert_int_equal(lstat(link_path, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(stat(target, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_content(target, "new");
    assert_int_equal(folder_n_files(), 2);
    folder_clear();
}

static void large_writes_pass_the_buffer(void **unused)
{
    enum { N = 3 << 18 };
    char *bytes = malloc(N), *got;
    size_t n = 0;
    sondep_writer w;
    (void)unused;
    for (int i = 0; i < N; i++)
        bytes[i] = (char)(i * 7 >> 3);
    assert_int_equal(sondep_writer_open(&w, in_folder("out")), SONDE_OK);
    for (int at = 0, piece = 1; at < N; at += piece, piece = piece * 3 % 400009 + 1) {
        if (piece > N - at)
            piece = N - at;
        assert_int_equal(sondep_writer_put(&w, bytes + at, (size_t)piece), SONDE_OK);
    }
    assert_int_equal(sondep_writer_commit(&w), SONDE_OK);
    got = read_whole(in_folder("out"), &n);
    assert_int_equal(n, N);
    assert_memory_equal(got, bytes, N);
    free(got);
    free(bytes);
    folder_clear();
}

static void failures_name_the_file(void **unused)
{
    sondep_writer w;
    (void)unused;
    assert_int_equal(sondep_writer_open(&w, in_folder("no/such/out")), SONDE_E_IO);
    assert_non_null(strstr(sonde_last_error()->message, "no/such/out': No such file"));
    assert_int_equal(sondep_writer_open(&w, folder), SONDE_E_IO);
    assert_non_null(strstr(sonde_last_error()->message, "it is a directory"));
    sondep_writer_abort(&w);

    assert_int_equal(sondep_writer_open(&w, "/dev/full"), SONDE_OK);
    assert_int_equal(sondep_writer_put(&w, "x", 1), SONDE_OK); /* still in the buffer */
    assert_int_equal(sondep_writer_commit(&w), SONDE_E_IO);
    assert_non_null(strstr(sonde_last_error()->message, "'/dev/full': No space left"));
    assert_int_equal(access("/dev/full", F_OK), 0);

    assert_int_equal(sondep_writer_open(&w, "/dev/null"), SONDE_OK);
    assert_int_equal(sondep_writer_put(&w, "x", 1), SONDE_OK);
    assert_int_equal(sondep_writer_commit(&w), SONDE_OK);
    assert_int_equal(folder_n_files(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_read),
        cmocka_unit_test(a_pipe_is_read_to_its_end),
        cmocka_unit_test(paths_are_joined),
        cmocka_unit_test(a_file_appears_when_it_is_complete),
        cmocka_unit_test(an_abort_leaves_the_old_file),
        cmocka_unit_test(a_link_stays_and_its_mode_too),
        cmocka_unit_test(large_writes_pass_the_buffer),
        cmocka_unit_test(failures_name_the_file),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
