/* error.c - the last error of each thread, statuses as text, the log sink.     floor 0: base
 *
 * An error is recorded where it is found and forwarded unchanged. The record is thread-local and of fixed size, so that
 * running out of memory can be reported without memory.
 */
#include "base/base.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* Of this thread. */
static _Thread_local sonde_error last_error;

/* Where notes go; the lock keeps two threads from calling the function at once. */
static struct {
    pthread_mutex_t lock;
    sonde_log_fn *fn;
    void *ctx;
} sink = {.lock = PTHREAD_MUTEX_INITIALIZER};

#define STRING_OF(number) #number
#define STRING(number) STRING_OF(number)

const char *sonde_version(void)
{
    return STRING(SONDE_VERSION_MAJOR) "." STRING(SONDE_VERSION_MINOR) "." STRING(SONDE_VERSION_PATCH);
}

#define ROW(name, value, exit_code, text) {name, exit_code, #name, text},
static const struct {
    sonde_status status;
    int exit_code;
    const char *name, *text;
} statuses[] = {SONDE_STATUS_LIST(ROW)};
#undef ROW

/* Index of a status in the table, or -1. Values are 0, -1, -2, ... in the list's order; a test holds that. */
static int status_row(sonde_status status)
{
    int row = -(int)status;
    return row >= 0 && row < (int)(sizeof statuses / sizeof *statuses) ? row : -1;
}

const char *sonde_status_name(sonde_status status)
{
    int row = status_row(status);
    return row < 0 ? "SONDE_E_UNKNOWN" : statuses[row].name;
}

const char *sonde_status_text(sonde_status status)
{
    int row = status_row(status);
    return row < 0 ? "unknown status" : statuses[row].text;
}

int sonde_status_exit_code(sonde_status status)
{
    int row = status_row(status);
    return row < 0 ? 70 : statuses[row].exit_code;
}

const sonde_error *sonde_last_error(void)
{
    return &last_error;
}

void sonde_clear_error(void)
{
    last_error = (sonde_error){0};
}

/* Copies `raw` as one clean line: control characters and stray bytes become \xHH, and a cut falls between characters. */
static void copy_clean(char *out, size_t out_bytes, const char *raw)
{
    size_t n = strlen(raw), used = 0;
    for (size_t i = 0; i < n;) {
        char piece[5];
        uint32_t c;
        int length = sondep_utf8_decode(&c, raw + i, n - i);
        bool is_clean = length > 0 && c >= 0x20 && !(c >= 0x7f && c <= 0x9f) && c != 0x2028 && c != 0x2029;
        size_t piece_bytes = is_clean ? (size_t)length : 4;

        if (used + piece_bytes >= out_bytes)
            break;
        if (is_clean)
            memcpy(out + used, raw + i, piece_bytes);
        else if (snprintf(piece, sizeof piece, "\\x%02x", (unsigned char)raw[i]) == 4)
            memcpy(out + used, piece, 4);
        used += piece_bytes;
        i += is_clean ? (size_t)length : 1;
    }
    out[used] = '\0';
}

sonde_status sondep_fail(sonde_status status, const char *file, int line, const char *format, ...)
{
    char raw[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(raw, sizeof raw, format, arguments);
    va_end(arguments);
    /* The hint of an earlier error does not belong to this one. */
    last_error.status = status;
    last_error.file = file;
    last_error.line = line;
    last_error.hint[0] = '\0';
    copy_clean(last_error.message, sizeof last_error.message, raw);
    return status;
}

sonde_status sondep_hint(sonde_status status, const char *format, ...)
{
    char raw[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(raw, sizeof raw, format, arguments);
    va_end(arguments);
    copy_clean(last_error.hint, sizeof last_error.hint, raw);
    return status;
}

void sondep_assert_failed(const char *what, const char *file, int line)
{
    fprintf(stderr, "sonde: bug: %s:%d: '%s' does not hold\n", file, line, what);
    abort();
}

/* Waits for a call that is under way, so that `ctx` can be freed afterwards. */
void sonde_log_to(sonde_log_fn *fn, void *ctx)
{
    pthread_mutex_lock(&sink.lock);
    sink.fn = fn;
    sink.ctx = ctx;
    pthread_mutex_unlock(&sink.lock);
}

/* Formats only where somebody listens. */
void sondep_log(sonde_log_level level, const char *format, ...)
{
    char raw[1024], line[1024];
    va_list arguments;

    pthread_mutex_lock(&sink.lock);
    if (sink.fn != NULL) {
        va_start(arguments, format);
        vsnprintf(raw, sizeof raw, format, arguments);
        va_end(arguments);
        copy_clean(line, sizeof line, raw);
        sink.fn(level, line, sink.ctx);
    }
    pthread_mutex_unlock(&sink.lock);
}
