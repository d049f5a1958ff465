/* terminal_tokens.c - a text whose tokens lie on colours, and bars, in a terminal.   floor 2: plot */
#include "plot/terminal.h"

#include <math.h>

/* ---- tokens ----------------------------------------------------------------------------------------------------- */

typedef struct strip {
    const sonde_plot_opts *opts;
    sondep_range range;
    sondep_pen pen;
    int64_t at; /* columns of the line that are taken */
} strip;

/* Writes a shown text on a ground (-1: none) and breaks the line where it is full. */
static sonde_status put_token(sondep_string *out, strip *s, const char *text, size_t n, int32_t on, int32_t ground)
{
    while (n > 0) {
        int64_t width;
        size_t fits = sondep_text_prefix(&width, text, n, s->opts->terminal_columns - s->at);

        /* The whole token, or as much as an empty line takes. */
        if (fits == n || (fits > 0 && s->at == 0)) {
            SONDE_TRY(sondep_pen_set(out, &s->pen, on, ground));
            SONDE_TRY(sondep_string_append(out, text, fits));
            s->at += width;
            text += fits;
            n -= fits;
        }
        if (n > 0) { /* a token goes to the next line whole, unless it is longer than one */
            SONDE_TRY(sondep_pen_set(out, &s->pen, -1, -1));
            SONDE_TRY(sondep_string_append(out, "\n", 1));
            s->at = 0;
        }
    }
    return SONDE_OK;
}

/* The colours of token i: its value's, or one of two in turn. */
static void token_colours(int32_t *on, int32_t *ground, const strip *s, const float *values, int64_t i)
{
    static const sondep_rgb turn[2] = {{200, 221, 240}, {250, 219, 190}};
    sondep_rgb c = values ? sondep_cell_colour(&s->range, SONDEP_CELL_FINITE, values[i]) : turn[i % 2];
    bool is_plain = values && isnan(values[i]);

    *on = is_plain ? -1 : sondep_pen_on(c);
    *ground = is_plain ? -1 : sondep_pen_colour(c);
}

/* Token after token; without colours each value stands in braces behind its token. */
static sonde_status put_tokens(sondep_string *out, strip *s, const sonde_plot_label *tokens, const float *values, int64_t n)
{
    bool is_coloured = s->opts->depth != SONDE_PLOT_DEPTH_NONE;
    sondep_string shown = {0};
    sonde_status status = SONDE_OK;

    for (int64_t i = 0; i < n; i++) {
        int32_t on, ground;
        char number[SONDEP_TICK_BYTES];

        shown.n = 0;
        token_colours(&on, &ground, s, values, i);
        SONDE_TRY_DONE(sondep_token_append(&shown, tokens[i]));
        if (!is_coloured && values != NULL)
            SONDE_TRY_DONE(sondep_string_printf(&shown, "{%s}", sondep_number(number, values[i], 3, false)));
        if (!is_coloured && i + 1 < n)
            SONDE_TRY_DONE(sondep_string_append(&shown, "|", 1));
        SONDE_TRY_DONE(put_token(out, s, shown.text, shown.n, on, ground));
        if (sondep_label_ends_line(tokens[i]) && i + 1 < n) {
            SONDE_TRY_DONE(sondep_pen_set(out, &s->pen, -1, -1));
            SONDE_TRY_DONE(sondep_string_append(out, "\n", 1));
            s->at = 0;
        }
    }
    SONDE_TRY_DONE(sondep_pen_set(out, &s->pen, -1, -1));
    SONDE_TRY_DONE(sondep_string_append(out, "\n", 1));
done:
    sondep_string_release(&shown);
    return status;
}

/* Values are a matrix of one row, for the range. */
sonde_status sonde_plot_tokens_text(char **out, size_t *n_bytes, const sonde_plot_label *tokens, const float *values,
                                    int64_t n, const sonde_plot_opts *opts)
{
    sonde_plot_opts effective;
    sonde_plot_matrix m = {.values = values, .n_rows = 1, .n_columns = n};
    sondep_string text = {0};
    strip s = {.opts = &effective, .pen = {SONDE_PLOT_DEPTH_NONE, -1, -1}};
    sonde_status status;

    *out = NULL;
    SONDE_TRY(sondep_plot_options(&effective, opts));
    if (n < 1)
        return SONDE_FAIL(SONDE_E_SHAPE, "nothing to plot: %lld tokens", (long long)n);
    s.pen.depth = (sonde_plot_depth)effective.depth;
    if (values != NULL)
        SONDE_TRY(sondep_range_of(&s.range, &m, 1, &effective));
    SONDE_TRY_DONE(sondep_terminal_head(&text, &effective));
    SONDE_TRY_DONE(put_tokens(&text, &s, tokens, values, n));
    if (values != NULL && effective.depth != SONDE_PLOT_DEPTH_NONE) {
        s.range.n_cells[SONDEP_CELL_NAN] = 0; /* tokens without a value have no colour to explain */
        SONDE_TRY_DONE(sondep_terminal_bar(&text, &s.range, &effective));
    }
done:
    return sondep_terminal_hand_over(out, n_bytes, &text, status);
}

/* ---- bars ------------------------------------------------------------------------------------------------------- */

/* Widths of the parts of a line: label, bar, number. */
typedef struct bar_layout {
    int64_t label, bar, zero; /* zero: columns left of zero, within the bar */
    double low, high;
} bar_layout;

/* One pass for the widths of labels and numbers and the extremes of the values. */
static sonde_status lay_bars(bar_layout *out, const sonde_plot_label *labels, const double *values, int64_t n,
                             const sonde_plot_opts *opts)
{
    sondep_string text = {0};
    int64_t label = 0, number = 0;
    sonde_status status = SONDE_OK;

    *out = (bar_layout){0};
    for (int64_t i = 0; i < n && status == SONDE_OK; i++) {
        char digits[SONDEP_TICK_BYTES];
        int64_t width = 0, taken = (int64_t)strlen(sondep_number(digits, values[i], 4, false));
        text.n = 0;
        status = sondep_label_at(&text, &width, labels, 0, i);
        label = width > label ? width : label;
        number = taken > number ? taken : number;
        if (isfinite(values[i])) {
            out->low = fmin(out->low, values[i]);
            out->high = fmax(out->high, values[i]);
        }
    }
    sondep_string_release(&text);
    /* A third of the line for labels, the rest without the number for the bar, 60 columns at most. */
    out->label = label < opts->terminal_columns / 3 ? label : opts->terminal_columns / 3;
    out->bar = opts->terminal_columns - out->label - number - 2;
    out->bar = out->bar > 60 ? 60 : out->bar < 4 ? 4 : out->bar;
    /* Bars below zero need room at the left. */
    if (out->low < 0)
        out->zero = (int64_t)lround((double)out->bar * (out->low / (out->low - out->high)));
    return status;
}

/* A bar to the right in eighths of a column, to the left in whole ones. */
static sonde_status put_bar(sondep_string *out, const bar_layout *at, double value)
{
    static const char *const parts[8] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    double scale = (double)at->bar / (at->high - at->low > 0 ? at->high - at->low : 1);
    int64_t eighths = (int64_t)lround(8 * fabs(value) * scale), whole = eighths / 8, left = at->zero;
    const char *part = parts[eighths % 8];

    /* To the left: whole columns, rounded, up against zero. */
    if (value < 0) {
        whole = (eighths + 4) / 8 < at->zero ? (eighths + 4) / 8 : at->zero;
        left = at->zero - whole;
        part = "";
    } else if (whole >= at->bar - at->zero) {
        whole = at->bar - at->zero;
        part = "";
    }
    SONDE_TRY(sondep_text_fit(out, "", 0, left, false));
    for (int64_t i = 0; i < whole; i++)
        SONDE_TRY(sondep_string_append(out, "█", strlen("█")));
    return sondep_string_append(out, part, strlen(part));
}

/* A line each: label, bar in one of two colours by sign, number. */
static sonde_status put_bars(sondep_string *out, const bar_layout *at, const sonde_plot_label *labels, const double *values,
                             int64_t n, const sonde_plot_opts *opts)
{
    sondep_pen pen = {(sonde_plot_depth)opts->depth, -1, -1};
    sondep_string text = {0};
    sonde_status status = SONDE_OK;

    for (int64_t i = 0; i < n; i++) {
        char number[SONDEP_TICK_BYTES];
        text.n = 0;
        SONDE_TRY_DONE(sondep_label_at(&text, NULL, labels, 0, i));
        SONDE_TRY_DONE(sondep_text_fit(out, text.text, text.n, at->label, true));
        SONDE_TRY_DONE(sondep_string_append(out, " ", 1));
        if (isfinite(values[i])) {
            SONDE_TRY_DONE(sondep_pen_set(out, &pen, sondep_pen_colour(sondep_series_colour(values[i] < 0)), -1));
            SONDE_TRY_DONE(put_bar(out, at, values[i]));
            SONDE_TRY_DONE(sondep_pen_set(out, &pen, -1, -1));
        }
        SONDE_TRY_DONE(sondep_string_printf(out, " %s\n", sondep_number(number, values[i], 4, false)));
    }
done:
    sondep_string_release(&text);
    return status;
}

/* No axis: each bar has its number. */
sonde_status sonde_plot_bars_text(char **out, size_t *n_bytes, const sonde_plot_label *labels, const double *values,
                                  int64_t n, const sonde_plot_opts *opts)
{
    sonde_plot_opts effective;
    bar_layout at;
    sondep_string text = {0};
    sonde_status status;

    *out = NULL;
    SONDE_TRY(sondep_plot_options(&effective, opts));
    if (n < 1)
        return SONDE_FAIL(SONDE_E_SHAPE, "nothing to plot: %lld bars", (long long)n);
    SONDE_TRY_DONE(lay_bars(&at, labels, values, n, &effective));
    SONDE_TRY_DONE(sondep_terminal_head(&text, &effective));
    status = put_bars(&text, &at, labels, values, n, &effective);
done:
    return sondep_terminal_hand_over(out, n_bytes, &text, status);
}
