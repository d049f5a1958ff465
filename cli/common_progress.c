/* common_progress.c - how far a long run is: rate, time left, memory, on stderr.         floor 10: cli
 *
 * On a terminal one line is drawn over and over; messages take it away before they are printed. Elsewhere (a log file) a
 * line is written each ten seconds. What is done within a second says nothing.
 */
#include "common.h"

#include <unistd.h>

static const double FIRST_AFTER = 1.0, REDRAW_EVERY = 0.2, LINE_EVERY = 10.0, MARK_EVERY = 10.0; /* seconds */

static cli_progress *drawn; /* whose line stands on the terminal */

/* Time runs from here. */
void cli_progress_begin(cli_progress *p, const char *unit)
{
    *p = (cli_progress){.unit = unit, .started = cli_seconds()};
    p->shown = p->marks[0].time = p->marks[1].time = p->started;
}

/* Called before anything else is written to stderr. */
void cli_progress_clear(void)
{
    if (drawn != NULL && drawn->is_drawn)
        fputs("\r\033[K", stderr);
    if (drawn != NULL)
        drawn->is_drawn = false;
    drawn = NULL;
}

/* Units a second since the older mark, which follows every ten seconds: what was fast an hour ago does not count. */
static double recent_rate(cli_progress *p, double now)
{
    if (now - p->marks[1].time >= MARK_EVERY) {
        p->marks[0] = p->marks[1];
        p->marks[1].time = now;
        p->marks[1].done = p->done;
    }
    return now > p->marks[0].time ? (p->done - p->marks[0].done) / (now - p->marks[0].time) : 0;
}

/* "42 %  1,234 tokens  567 tokens/s  0:12 left  123 MB  loss 2.3" */
static void format_line(char *out, size_t out_bytes, cli_progress *p, double share, double now)
{
    char left[32] = "";
    double seconds = share > 0 && share < 1 ? (now - p->started) * (1 - share) / share : 0;
    int minutes = (int)(seconds / 60);

    if (seconds > 0 && seconds < 1e6)
        snprintf(left, sizeof left, "  %d:%02d left", minutes, (int)(seconds - 60.0 * minutes));
    snprintf(out, out_bytes, "%.0f %s  %.0f %s/s%s  %s%s%s", p->done, p->unit, recent_rate(p, now), p->unit, left,
             cli_bytes((double)cli_peak_bytes()), p->note[0] != '\0' ? "  " : "", p->note);
}

/* Cheap enough to be called after every pass: mostly it only looks at the clock. */
void cli_progress_step(cli_progress *p, double done, double share)
{
    double now = cli_seconds(), elapsed = now - p->started;
    bool is_terminal = isatty(STDERR_FILENO);
    char line[224];

    p->done = done;
    /* short runs, and looks that come too early, are silent */
    if (cli.quiet || elapsed < FIRST_AFTER || now - p->shown < (is_terminal ? REDRAW_EVERY : LINE_EVERY))
        return;
    /* one line: what is done, how fast, how long it will take, how much memory it took */
    p->shown = now;
    format_line(line, sizeof line, p, share, now);
    if (share >= 0)
        fprintf(stderr, is_terminal ? "\r\033[K%3.0f %%  %s" : "%3.0f %%  %s\n", 100 * share, line);
    else
        fprintf(stderr, is_terminal ? "\r\033[K%s" : "%s\n", line);
    p->is_drawn = is_terminal;
    drawn = is_terminal ? p : NULL;
    fflush(stderr);
}

/* Leaves no trace on the terminal; results follow. */
void cli_progress_end(cli_progress *p)
{
    cli_progress_clear();
    p->is_drawn = false;
}

/* For loops that call nothing of the library that would notice. */
sonde_status cli_check_interrupt(void)
{
    return cli_interrupted() ? cli_fail(SONDE_E_INTERRUPTED, "interrupted") : SONDE_OK;
}
