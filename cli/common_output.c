/* common_output.c - errors, memory, texts that are safe to show, numbers.                floor 10: cli
 *
 * An error is one line on stderr, and a hint in a second one. It is the library's own, or one that a command recorded with
 * cli_fail; whichever is newer is shown. Texts that come from files or models never reach a terminal as they are: control
 * characters could move its cursor or change its title.
 */
#include "common.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <utf8proc.h>

/* ---- errors -------------------------------------------------------------------------------------------------------- */

/* The program's own last error. It is the newest one whenever the library's record is empty. */
static struct {
    char message[1024], hint[512];
    bool says_no, pipe_is_closed;
} state;

/* Forgets the library's error: from here on this one is the newest. */
sonde_status cli_fail(sonde_status status, const char *format, ...)
{
    va_list arguments;

    sonde_clear_error();
    state.hint[0] = '\0';
    va_start(arguments, format);
    vsnprintf(state.message, sizeof state.message, format, arguments);
    va_end(arguments);
    return status;
}

/* May follow an error of the library, too, which has no hint of its own. */
sonde_status cli_hint(sonde_status status, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(state.hint, sizeof state.hint, format, arguments);
    va_end(arguments);
    return status;
}

/* What was typed is wrong: where to read how it is right. */
sonde_status cli_misuse(const char *format, ...)
{
    va_list arguments;

    cli_fail(SONDE_E_ARG, "%s", "");
    va_start(arguments, format);
    vsnprintf(state.message, sizeof state.message, format, arguments);
    va_end(arguments);
    return cli_hint(SONDE_E_ARG, "'sonde %s --help' shows how it is used", cli_current_command);
}

/* One line to stderr, escaped. */
static void say(const char *prefix, const char *text)
{
    char *clean = NULL;

    /* a message may quote names from files: it is escaped like everything else */
    cli_progress_clear();
    if (cli_escape(&clean, text, strlen(text)) == SONDE_OK)
        fprintf(stderr, "%s%s\n", prefix, clean);
    free(clean);
}

/* Said at once, since it is no error: the command may go on to clean up. */
sonde_status cli_answer_no(const char *format, ...)
{
    char line[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    say("sonde: ", line);
    state.says_no = true;
    return SONDE_OK;
}

/* A remark; results never depend on whether somebody reads it. */
void cli_note(const char *format, ...)
{
    char line[1024];
    va_list arguments;

    if (cli.quiet)
        return;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    say("sonde: note: ", line);
}

/* Warnings and notes of the library are shown, its debug lines with -v. */
void cli_log(sonde_log_level level, const char *line, void *ctx)
{
    (void)ctx;
    if (cli.quiet || (level == SONDE_LOG_DEBUG && !cli.verbose))
        return;
    say(level == SONDE_LOG_WARN ? "sonde: warning: " : level == SONDE_LOG_NOTE ? "sonde: note: " : "sonde: debug: ", line);
}

/* The last error as one line, its hint as a second one. */
int cli_report(sonde_status status)
{
    const sonde_error *error = sonde_last_error();
    const char *message = error->status != SONDE_OK ? error->message : state.message;
    const char *hint = error->status != SONDE_OK && error->hint[0] != '\0' ? error->hint : state.hint;

    if (status == SONDE_OK)
        return state.says_no ? 1 : 0;
    say("sonde: ", message[0] != '\0' ? message : sonde_status_text(status));
    if (hint[0] != '\0')
        say("  hint: ", hint);
    if (cli.verbose && error->status != SONDE_OK)
        fprintf(stderr, "  from: %s:%d (%s)\n", error->file, error->line, sonde_status_name(status));
    return sonde_status_exit_code(status);
}

/* A reader that has gone away (head) is no failure; a full disk is one. 0: stdio says that it failed earlier, and no longer why. */
sonde_status cli_stdout_failed(int error_number)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};

    /* stdio may have met the closed pipe earlier and lost its errno: the pipe itself still says so */
    if (error_number == EPIPE || (poll(&out, 1, 0) > 0 && (out.revents & (POLLERR | POLLHUP))))
        state.pipe_is_closed = true;
    return cli_fail(SONDE_E_IO, "cannot write to standard output: %s",
                    error_number != 0 ? strerror(error_number) : "something that was written earlier is lost");
}

/* Then the program ends without a word, as other tools do. */
bool cli_pipe_is_closed(void)
{
    return state.pipe_is_closed;
}

/* stdio keeps what it writes: only a flush tells whether it arrived. */
sonde_status cli_check_stdout(void)
{
    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout))
        return cli_stdout_failed(errno);
    return SONDE_OK;
}

/* ---- memory and machine ------------------------------------------------------------------------------------------ */

/* Zeroed, so that a struct of pointers can be freed at any time. */
void *cli_alloc(int64_t n, size_t size)
{
    void *p = n < 0 ? NULL : calloc(n > 0 ? (size_t)n : 1, size);

    if (p == NULL)
        cli_fail(SONDE_E_NOMEM, "out of memory: %lld x %zu bytes", (long long)n, size);
    return p;
}

/* The old block is untouched on failure. */
void *cli_resize(void *p, int64_t n, size_t size)
{
    void *larger = n <= 0 || (size_t)n > SIZE_MAX / size ? NULL : realloc(p, (size_t)n * size);

    if (larger == NULL)
        cli_fail(SONDE_E_NOMEM, "out of memory: %lld x %zu bytes", (long long)n, size);
    return larger;
}

/* Twice as much each time, so that appending n elements costs n. */
sonde_status cli_grow(void **p, int64_t n, int64_t *capacity, size_t size)
{
    int64_t wanted = *capacity < 16 ? 16 : *capacity * 2;
    void *larger;

    if (n < *capacity)
        return SONDE_OK;
    larger = cli_resize(*p, wanted > n ? wanted : n + 1, size);
    if (larger == NULL)
        return SONDE_E_NOMEM;
    *p = larger;
    *capacity = wanted > n ? wanted : n + 1;
    return SONDE_OK;
}

/* Does not jump when somebody sets the clock. */
double cli_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Linux counts in ru_maxrss what the process was before exec, too; VmHWM does not. */
int64_t cli_peak_bytes(void)
{
    struct rusage usage;
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long long kib = 0;

    while (file != NULL && kib == 0 && fgets(line, sizeof line, file) != NULL)
        kib = strncmp(line, "VmHWM:", 6) == 0 ? strtoll(line + 6, NULL, 10) : 0;
    if (file != NULL)
        fclose(file);
    if (kib > 0)
        return kib * 1024;
    getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
    return usage.ru_maxrss;
#else
    return (int64_t)usage.ru_maxrss * 1024;
#endif
}

/* ---- texts and numbers ------------------------------------------------------------------------------------------- */

/* NO_COLOR counts where it is not empty, as no-color.org has it. */
bool cli_has_colour(FILE *stream)
{
    const char *no_colour = getenv("NO_COLOR"), *terminal = getenv("TERM");

    return isatty(fileno(stream)) && (no_colour == NULL || no_colour[0] == '\0') && terminal != NULL &&
           strcmp(terminal, "dumb") != 0;
}

/* FNV-1a: for telling things apart, not against anybody who means harm. */
uint64_t cli_hash(uint64_t hash, const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3u;
    return hash;
}

/* Whether a character may be shown as it is: no controls, no line separators, none that turn the reading direction. */
static bool is_shown(utf8proc_int32_t c)
{
    return c >= 0x20 && !(c >= 0x7f && c <= 0x9f) && !(c >= 0x2028 && c <= 0x202e) && !(c >= 0x2066 && c <= 0x2069);
}

/* The escape of one byte. */
static int escape_byte(char out[5], unsigned char byte)
{
    if (byte == '\n' || byte == '\t' || byte == '\r')
        return snprintf(out, 5, "\\%c", byte == '\n' ? 'n' : byte == '\t' ? 't' : 'r');
    return snprintf(out, 5, "\\x%02x", byte);
}

/* A character is kept whole or escaped byte by byte; four bytes of output for one is the most. */
sonde_status cli_escape(char **out, const char *text, size_t n_bytes)
{
    char *to;
    size_t n = 0;

    CLI_TRY(CLI_NEW(to, (int64_t)n_bytes * 4 + 1));
    for (size_t i = 0; i < n_bytes;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t length = utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(n_bytes - i), &c);
        char piece[5];

        /* a whole character that may be seen */
        if (length > 0 && is_shown(c)) {
            memcpy(to + n, text + i, (size_t)length);
            n += (size_t)length;
            i += (size_t)length;
            continue;
        }
        /* a control character, or one stray byte */
        for (utf8proc_ssize_t k = 0; k < (length > 0 ? length : 1); k++, i++) {
            int written = escape_byte(piece, (unsigned char)text[i]);
            memcpy(to + n, piece, (size_t)written);
            n += (size_t)written;
        }
    }
    to[n] = '\0';
    *out = to;
    return SONDE_OK;
}

/* A file should hold exactly what was generated or decoded; a terminal should not obey it. */
sonde_status cli_print_text(const char *text, size_t n_bytes)
{
    if (!isatty(STDOUT_FILENO)) {
        fwrite(text, 1, n_bytes, stdout);
        return SONDE_OK;
    }
    for (size_t i = 0; i < n_bytes; i++) { /* piece by piece between newlines and tabs, which may pass */
        size_t n = 0;
        char *piece;
        while (i + n < n_bytes && text[i + n] != '\n' && text[i + n] != '\t')
            n++;
        CLI_TRY(cli_escape(&piece, text + i, n));
        fputs(piece, stdout);
        free(piece);
        i += n;
        if (i < n_bytes)
            putchar(text[i]);
    }
    return SONDE_OK;
}

/* Bytes that are not UTF-8 count as one column each. */
int64_t cli_width(const char *text)
{
    int64_t width = 0;

    for (size_t i = 0, n = strlen(text); i < n;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t length = utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(n - i), &c);
        width += length > 0 ? utf8proc_charwidth(c) : 1;
        i += length > 0 ? (size_t)length : 1;
    }
    return width;
}

/* One of eight buffers in turn. */
static char *rotating_buffer(void)
{
    static char buffers[8][48];
    static int next;
    return buffers[next++ & 7];
}

/* Decimal units, three digits. */
const char *cli_bytes(double n_bytes)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB"};
    char *out = rotating_buffer();
    int unit = 0;

    /* 999.5 would be shown as 1000 */
    while (n_bytes >= 999.5 && unit < 5) {
        n_bytes /= 1000;
        unit++;
    }
    snprintf(out, 48, unit == 0 ? "%.0f %s" : "%.3g %s", n_bytes, units[unit]);
    return out;
}

/* With commas, for people; JSON has the plain number. */
const char *cli_count(int64_t n)
{
    char digits[32], *out = rotating_buffer();
    int length = snprintf(digits, sizeof digits, "%lld", (long long)n), used = 0;

    /* a comma behind every digit that has a multiple of three behind it */
    for (int i = 0; i < length; i++) {
        out[used++] = digits[i];
        if (digits[i] != '-' && i + 1 < length && (length - 1 - i) % 3 == 0)
            out[used++] = ',';
    }
    out[used] = '\0';
    return out;
}

/* An s is enough for all that is counted here. */
const char *cli_counted(int64_t n, const char *what)
{
    const char *number = cli_count(n);
    char *out = rotating_buffer();

    snprintf(out, 48, "%s %s%s", number, what, n == 1 ? "" : "s");
    return out;
}

/* In UTC: files are read at other places, too. */
const char *cli_now(void)
{
    static char text[32];
    time_t now = time(NULL);
    struct tm parts;

    if (gmtime_r(&now, &parts) == NULL || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        text[0] = '\0';
    return text;
}
