/* replay.c - runs a fuzz target over the files of its corpus, without libFuzzer.
 *
 *   fuzz_NAME FILE|FOLDER...
 *
 * Every build, whatever its compiler, holds what fuzzing once found. It fails where there is nothing to run: a corpus that
 * was moved away must not look like one that passes.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int n_files;

static void replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    long size = -1;
    uint8_t *data;

    if (f != NULL && fseek(f, 0, SEEK_END) == 0)
        size = ftell(f);
    if (size < 0 || fseek(f, 0, SEEK_SET) != 0) {
        fprintf(stderr, "cannot read '%s'\n", path);
        exit(1);
    }
    /* Of exactly the file's size, so that a read behind its end is seen. */
    data = malloc(size > 0 ? (size_t)size : 1);
    if (data == NULL || fread(data, 1, (size_t)size, f) != (size_t)size) {
        fprintf(stderr, "cannot read '%s'\n", path);
        exit(1);
    }
    fclose(f);
    LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    n_files++;
}

static void replay(const char *path)
{
    struct stat info;
    struct dirent *entry;
    DIR *folder;
    char inside[4096];

    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) {
        replay_file(path);
        return;
    }
    folder = opendir(path);
    while (folder != NULL && (entry = readdir(folder)) != NULL)
        if (entry->d_name[0] != '.') {
            snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name);
            replay(inside);
        }
    if (folder != NULL)
        closedir(folder);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        replay(argv[i]);
    printf("%d inputs\n", n_files);
    return n_files > 0 ? 0 : 1;
}
