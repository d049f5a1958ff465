/* bench/bench_tokenizer.c - how fast a tokenizer loads and encodes.
 *
 *   bench_tokenizer TOKENIZER.json TEXT...      MB/s of UTF-8 text, one thread; medians of 7
 *
 * Whole files, and line by line as short texts come. Every encoding is checked first: its tokens must cover the text.
 * Times are of the thread's processor, so that other work on the machine disturbs less.
 */
#include <sonde/text.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { REPEATS = 7 };

typedef struct text {
    char *bytes;
    size_t n;
} text;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(sonde_status status)
{
    if (status != SONDE_OK) {
        fprintf(stderr, "bench_tokenizer: %s\n", sonde_last_error()->message);
        exit(1);
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *times)
{
    qsort(times, REPEATS, sizeof *times, compare);
    return times[REPEATS / 2];
}

static text read_text(const char *path)
{
    FILE *f = fopen(path, "rb");
    text t = {NULL, 0};
    long n;

    if (f == NULL || fseek(f, 0, SEEK_END) != 0 || (n = ftell(f)) < 0 || fseek(f, 0, SEEK_SET) != 0 ||
        (t.bytes = malloc((size_t)n + 1)) == NULL || fread(t.bytes, 1, (size_t)n, f) != (size_t)n) {
        fprintf(stderr, "bench_tokenizer: cannot read '%s'\n", path);
        exit(1);
    }
    fclose(f);
    t.n = (size_t)n;
    return t;
}

/* Tokens follow one another and cover the text. */
static void check_cover(const sonde_tokens *tokens, size_t n)
{
    int64_t at = 0;
    for (int64_t i = 0; i < tokens->n; i++) {
        if (tokens->start[i] == tokens->end[i])
            continue;
        if (tokens->start[i] != at) {
            fprintf(stderr, "bench_tokenizer: byte %lld belongs to no token\n", (long long)at);
            exit(1);
        }
        at = tokens->end[i];
    }
    if ((size_t)at != n) {
        fprintf(stderr, "bench_tokenizer: %lld bytes of %zu are covered\n", (long long)at, n);
        exit(1);
    }
}

static void encode_lines(sonde_tokens *tokens, const sonde_tokenizer *t, const text *x)
{
    for (const char *line = x->bytes, *end = x->bytes + x->n, *next; line < end; line = next) {
        next = memchr(line, '\n', (size_t)(end - line));
        next = next ? next + 1 : end;
        check(sonde_tokenizer_encode(tokens, t, line, (size_t)(next - line), SONDE_SPECIALS_NONE));
    }
}

/* Seconds for all texts. */
static double encode_all(sonde_tokens *tokens, const sonde_tokenizer *t, const text *texts, int n, int by_line)
{
    double start = now();
    for (int i = 0; i < n; i++) {
        if (by_line)
            encode_lines(tokens, t, &texts[i]);
        else
            check(sonde_tokenizer_encode(tokens, t, texts[i].bytes, texts[i].n, SONDE_SPECIALS_NONE));
    }
    return now() - start;
}

int main(int argc, char **argv)
{
    sonde_tokenizer *t = NULL;
    sonde_tokens tokens = {0};
    int n = argc - 2;
    text *texts = calloc((size_t)(n > 0 ? n : 1), sizeof *texts);
    double times[REPEATS], bytes = 0, first;

    if (n < 1 || texts == NULL) {
        fprintf(stderr, "usage: bench_tokenizer TOKENIZER.json TEXT...\n");
        return 2;
    }
    for (int i = 0; i < n; i++) {
        texts[i] = read_text(argv[2 + i]);
        bytes += (double)texts[i].n;
    }
    for (int i = 0; i < REPEATS; i++) {
        double start = now();
        sonde_tokenizer_free(t);
        check(sonde_tokenizer_load(&t, argv[1]));
        times[i] = now() - start;
    }
    printf("load          %8.1f ms\n", 1e3 * median(times));
    first = encode_all(&tokens, t, texts, n, 0);
    for (int i = 0; i < n; i++) {
        check(sonde_tokenizer_encode(&tokens, t, texts[i].bytes, texts[i].n, SONDE_SPECIALS_NONE));
        check_cover(&tokens, texts[i].n);
    }
    printf("first pass    %8.1f MB/s\n", bytes / first / 1e6);
    for (int by_line = 0; by_line < 2; by_line++) {
        for (int i = 0; i < REPEATS; i++)
            times[i] = encode_all(&tokens, t, texts, n, by_line);
        printf("%s %8.1f MB/s\n", by_line ? "line by line " : "whole files  ", bytes / median(times) / 1e6);
    }
    for (int i = 0; i < n; i++)
        free(texts[i].bytes);
    free(texts);
    sonde_tokens_release(&tokens);
    sonde_tokenizer_free(t);
    return 0;
}
