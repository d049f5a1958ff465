/* folder.h - a temporary folder for a test, with what tests do to files in it. */
#ifndef FOLDER_H
#define FOLDER_H

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[256]; /* made by folder_make, "/tmp/..." */

static inline int folder_make(void **unused)
{
    const char *base = getenv("TMPDIR");
    (void)unused;
    snprintf(folder, sizeof folder, "%s/sonde-test-XXXXXX", base ? base : "/tmp");
    return mkdtemp(folder) == NULL;
}

/* A path in the folder; eight of them live at a time. */
static inline const char *in_folder(const char *name)
{
    static char paths[8][512];
    static int next;
    next = (next + 1) % 8;
    snprintf(paths[next], sizeof paths[next], "%s/%s", folder, name);
    return paths[next];
}

/* Number of files in the folder, folders not counted; -1 if it cannot be read. */
static inline int folder_n_files(void)
{
    DIR *d = opendir(folder);
    const struct dirent *entry;
    int n = 0;
    if (d == NULL)
        return -1;
    while ((entry = readdir(d)) != NULL)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(d);
    return n;
}

static inline void folder_clear(void)
{
    DIR *d = opendir(folder);
    const struct dirent *entry;
    while (d != NULL && (entry = readdir(d)) != NULL) {
        const char *path = in_folder(entry->d_name);
        if (entry->d_name[0] != '.' && unlink(path) != 0)
            (void)rmdir(path);
    }
    if (d != NULL)
        closedir(d);
}

static inline int folder_remove(void **unused)
{
    (void)unused;
    folder_clear();
    return rmdir(folder);
}

/* Writes n bytes as a file; returns its path. */
static inline const char *make_file(const char *name, const void *bytes, size_t n)
{
    const char *path = in_folder(name);
    FILE *f = fopen(path, "wb");
    bool ok = f != NULL && fwrite(bytes, 1, n, f) == n;
    if (f == NULL || fclose(f) != 0 || !ok)
        abort();
    return path;
}

/* The whole of a file and its length; the caller frees it. NULL if there is none. */
static inline char *read_whole(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    char *bytes = NULL;
    struct stat info;
    if (f != NULL && fstat(fileno(f), &info) == 0) {
        bytes = malloc((size_t)info.st_size + 1);
        *n = bytes ? fread(bytes, 1, (size_t)info.st_size, f) : 0;
    }
    if (f != NULL)
        fclose(f);
    return bytes;
}

#endif
