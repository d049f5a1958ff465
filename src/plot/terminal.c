/* terminal.c - pens, blocks of lines, the colour bar in a terminal.            floor 2: plot */
#include "plot/terminal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The conventions of no-color.org and of terminals that show 24 bits. */
sonde_plot_depth sonde_plot_terminal_colours(int fd)
{
    const char *term = getenv("TERM"), *colour = getenv("COLORTERM");

    if (!isatty(fd) || getenv("NO_COLOR") != NULL || term == NULL || *term == '\0' || strcmp(term, "dumb") == 0)
        return SONDE_PLOT_DEPTH_NONE;
    if (colour != NULL && (strcmp(colour, "truecolor") == 0 || strcmp(colour, "24bit") == 0))
        return SONDE_PLOT_DEPTH_TRUE;
    return SONDE_PLOT_DEPTH_256;
}

/* ---- colours ---------------------------------------------------------------------------------------------------- */

/* `which` is 38 for the text and 48 for its ground (ECMA-48, ISO 8613-6). */
static sonde_status set_one(sondep_string *out, sonde_plot_depth depth, int which, int32_t colour)
{
    sondep_rgb c = {(unsigned char)(colour >> 16), (unsigned char)(colour >> 8), (unsigned char)colour};
    if (depth == SONDE_PLOT_DEPTH_TRUE)
        return sondep_string_printf(out, "\033[%d;2;%d;%d;%dm", which, c.r, c.g, c.b);
    return sondep_string_printf(out, "\033[%d;5;%dm", which, sondep_colour_256(c));
}

/* The terminal's own colour is only reached by a reset, which takes both; the other is then set again. */
sonde_status sondep_pen_set(sondep_string *out, sondep_pen *pen, int32_t text, int32_t ground)
{
    if (pen->depth == SONDE_PLOT_DEPTH_NONE)
        return SONDE_OK;
    if ((text < 0 && pen->text >= 0) || (ground < 0 && pen->ground >= 0)) {
        SONDE_TRY(sondep_string_append(out, "\033[0m", 4));
        pen->text = pen->ground = -1;
    }
    if (text >= 0 && text != pen->text)
        SONDE_TRY(set_one(out, pen->depth, 38, text));
    if (ground >= 0 && ground != pen->ground)
        SONDE_TRY(set_one(out, pen->depth, 48, ground));
    pen->text = text;
    pen->ground = ground;
    return SONDE_OK;
}

/* CIE lightness 60 is where both are read about equally well. */
int32_t sondep_pen_on(sondep_rgb ground)
{
    return sondep_lightness(ground) < 60 ? 0xffffff : 0x000000;
}

/* ---- cells ------------------------------------------------------------------------------------------------------ */

static const char *const kind_signs[SONDEP_N_CELLS] = {"", "?", "↓", "↑", " "};
static const char *const shades[5] = {" ", "░", "▒", "▓", "█"};

/* The text n times; not at all for n below 1. */
static sonde_status repeat(sondep_string *out, const char *text, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        SONDE_TRY(sondep_string_append(out, text, strlen(text)));
    return SONDE_OK;
}

/* Sign and tenth of the larger end: -9 to +9; a dot is less than a tenth. At least two columns. */
static sonde_status put_digit(sondep_string *out, const sondep_range *range, double value, int64_t width)
{
    double tenths = 10 * (fabs(value) / fmax(-range->low, range->high));
    int digit = tenths >= 9 ? 9 : (int)tenths;

    SONDE_TRY(repeat(out, " ", width - 2));
    if (digit == 0)
        return sondep_string_append(out, " ·", strlen(" ·"));
    return sondep_string_printf(out, "%c%d", value < 0 ? '-' : '+', digit);
}

/* Five shades, a fifth of the range each. */
static sonde_status put_shade(sondep_string *out, const sondep_range *range, double value, int64_t width)
{
    double t = (value / 2 - range->low / 2) / (range->high / 2 - range->low / 2);
    return repeat(out, shades[t >= 0.8 ? 4 : t <= 0 ? 0 : (int)(5 * t)], width);
}

/* With colours a patch of the ground; without, a sign that is as wide as the cell or stands at its right. */
sonde_status sondep_terminal_cell(sondep_string *out, sondep_pen *pen, const sondep_range *range, sondep_cell kind,
                                  double value, int64_t width)
{
    if (pen->depth != SONDE_PLOT_DEPTH_NONE) {
        int32_t ground = kind == SONDEP_CELL_EMPTY ? -1 : sondep_pen_colour(sondep_cell_colour(range, kind, value));
        SONDE_TRY(sondep_pen_set(out, pen, -1, ground));
        return repeat(out, " ", width);
    }
    if (kind == SONDEP_CELL_FINITE)
        return range->is_diverging ? put_digit(out, range, value, width) : put_shade(out, range, value, width);
    SONDE_TRY(repeat(out, " ", width - 1));
    return repeat(out, kind_signs[kind], 1);
}

/* ---- the colour bar --------------------------------------------------------------------------------------------- */

/* Parts that follow each other in a line, or begin another where it is full. */
typedef struct flow {
    sondep_string *out;
    int64_t columns, at;
} flow;

/* Makes room for a part of `width` columns; one that is wider than the line begins one all the same. */
static sonde_status flow_next(flow *f, int64_t width)
{
    bool is_first = f->at == 0, fits = f->at + 2 + width <= f->columns;
    f->at = is_first || !fits ? width : f->at + 2 + width;
    return is_first ? SONDE_OK : sondep_string_append(f->out, fits ? "  " : "\n", fits ? 2 : 1);
}

/* A text that may be longer than the line. */
static sonde_status flow_text(flow *f, const char *text)
{
    int64_t width = sondep_text_columns(text, strlen(text));

    SONDE_TRY(flow_next(f, width));
    if (width <= f->columns)
        return sondep_string_append(f->out, text, strlen(text));
    SONDE_TRY(sondep_paragraph(f->out, text, f->columns));
    f->out->text[--f->out->n] = '\0'; /* the paragraph's last newline; what comes next begins a line */
    f->at = f->columns;
    return SONDE_OK;
}

/* "-2.5 [24 patches] 2.5", with fewer patches where the line is short. */
static sonde_status bar_in_colour(flow *f, const sondep_range *range, const sonde_plot_opts *opts)
{
    sondep_pen pen = {(sonde_plot_depth)opts->depth, -1, -1};
    char low[SONDEP_TICK_BYTES], high[SONDEP_TICK_BYTES];
    int64_t numbers =
        (int64_t)(strlen(sondep_number(low, range->low, 3, false)) + strlen(sondep_number(high, range->high, 3, false)));
    int64_t n = f->columns - numbers - 2 < 24 ? f->columns - numbers - 2 : 24;

    SONDE_TRY(flow_next(f, numbers + n + 2));
    SONDE_TRY(sondep_string_printf(f->out, "%s ", low));
    for (int64_t i = 0; i < n; i++) {
        double t = ((double)i + 0.5) / (double)n;
        sondep_rgb c = sondep_range_colour(range, range->low * (1 - t) + range->high * t);
        SONDE_TRY(sondep_pen_set(f->out, &pen, -1, sondep_pen_colour(c)));
        SONDE_TRY(sondep_string_append(f->out, " ", 1));
    }
    SONDE_TRY(sondep_pen_set(f->out, &pen, -1, -1));
    return sondep_string_printf(f->out, " %s", high);
}

/* What the shades or the digits of put_digit mean. */
static sonde_status bar_in_signs(flow *f, const sondep_range *range)
{
    char low[SONDEP_TICK_BYTES], high[SONDEP_TICK_BYTES], text[160];

    sondep_number(low, range->low, 3, false);
    sondep_number(high, range->is_diverging ? fmax(-range->low, range->high) : range->high, 3, false);
    if (range->is_diverging)
        snprintf(text, sizeof text, "digits are tenths of %s, · is less than one", high);
    else
        snprintf(text, sizeof text, "%s [ ░▒▓█] %s", low, high);
    return flow_text(f, text);
}

/* A sample and a name for each kind of value that occurs and is not finite. */
static sonde_status legend(flow *f, const sondep_range *range, const sonde_plot_opts *opts)
{
    sondep_pen pen = {(sonde_plot_depth)opts->depth, -1, -1};
    int64_t patch = opts->depth == SONDE_PLOT_DEPTH_NONE ? 1 : 2;

    for (int kind = SONDEP_CELL_NAN; kind <= SONDEP_CELL_HIGH_INFINITE; kind++) {
        const char *name = sondep_cell_name((sondep_cell)kind);
        if (range->n_cells[kind] == 0)
            continue;
        SONDE_TRY(flow_next(f, patch + 1 + sondep_text_columns(name, strlen(name))));
        SONDE_TRY(sondep_terminal_cell(f->out, &pen, range, (sondep_cell)kind, 0, patch));
        SONDE_TRY(sondep_pen_set(f->out, &pen, -1, -1));
        SONDE_TRY(sondep_string_printf(f->out, " %s", name));
    }
    return SONDE_OK;
}

/* Bar, name of the values, legend: in one line where they fit. */
sonde_status sondep_terminal_bar(sondep_string *out, const sondep_range *range, const sonde_plot_opts *opts)
{
    flow f = {out, opts->terminal_columns, 0};
    sondep_string name = {0};
    sonde_status status;

    if (opts->depth == SONDE_PLOT_DEPTH_NONE)
        SONDE_TRY_DONE(bar_in_signs(&f, range));
    else
        SONDE_TRY_DONE(bar_in_colour(&f, range, opts));
    if (opts->value_name != NULL) {
        SONDE_TRY_DONE(sondep_label_append(&name, NULL, (sonde_plot_label){opts->value_name, -1}));
        SONDE_TRY_DONE(flow_text(&f, name.text));
    }
    SONDE_TRY_DONE(legend(&f, range, opts));
    status = sondep_string_append(out, "\n", 1);
done:
    sondep_string_release(&name);
    return status;
}

/* ---- lines ------------------------------------------------------------------------------------------------------ */

/* The two arrays grow together; capacity is what both have. */
sonde_status sondep_block_line(sondep_string **out, sondep_block *block)
{
    if (block->n == block->capacity) {
        int64_t capacity = block->capacity ? 2 * block->capacity : 16;
        sondep_string *lines = sondep_resize(block->lines, capacity, sizeof *lines);
        int64_t *widths;
        if (lines == NULL)
            return SONDE_E_NOMEM;
        block->lines = lines;
        widths = sondep_resize(block->widths, capacity, sizeof *widths);
        if (widths == NULL)
            return SONDE_E_NOMEM;
        block->widths = widths;
        block->capacity = capacity;
    }
    block->lines[block->n] = (sondep_string){0};
    block->widths[block->n] = 0;
    *out = &block->lines[block->n++];
    return SONDE_OK;
}

/* Escape sequences make the number of bytes useless, so whoever writes a line says its width. */
void sondep_block_width(sondep_block *block, int64_t width)
{
    block->widths[block->n - 1] = width;
}

/* Fine on a zero struct. */
void sondep_block_release(sondep_block *block)
{
    for (int64_t i = 0; i < block->n; i++)
        sondep_string_release(&block->lines[i]);
    sondep_free(block->lines);
    sondep_free(block->widths);
    *block = (sondep_block){0};
}

/* Spaces are owed until something follows: lines have none at their ends. */
sonde_status sondep_block_join(sondep_string *out, const sondep_block *blocks, int64_t n, int64_t gap)
{
    int64_t n_lines = 0;
    for (int64_t b = 0; b < n; b++)
        n_lines = blocks[b].n > n_lines ? blocks[b].n : n_lines;
    for (int64_t line = 0; line < n_lines; line++) {
        int64_t owed = 0; /* spaces, written only if something follows */
        for (int64_t b = 0; b < n; b++) {
            int64_t width = 0, widest = 0;
            for (int64_t i = 0; i < blocks[b].n; i++)
                widest = blocks[b].widths[i] > widest ? blocks[b].widths[i] : widest;
            if (line < blocks[b].n && blocks[b].lines[line].n > 0) {
                width = blocks[b].widths[line];
                SONDE_TRY(repeat(out, " ", owed));
                SONDE_TRY(sondep_string_append(out, blocks[b].lines[line].text, blocks[b].lines[line].n));
                owed = 0;
            }
            owed += widest - width + gap;
        }
        SONDE_TRY(sondep_string_append(out, "\n", 1));
    }
    return SONDE_OK;
}

/* Greedy: as many words as fit; a word longer than the line is cut. */
sonde_status sondep_paragraph(sondep_string *out, const char *text, int64_t columns)
{
    size_t n = strlen(text);

    while (n > 0) {
        int64_t width;
        size_t fits = sondep_text_prefix(&width, text, n, columns), end = fits;

        if (fits == 0) /* one character wider than the line: nothing else helps */
            return sondep_string_append(out, "\n", 1);
        for (; fits < n && end > 0 && text[end] != ' '; end--)
            ;
        end = end > 0 ? end : fits;
        SONDE_TRY(sondep_string_append(out, text, end));
        SONDE_TRY(sondep_string_append(out, "\n", 1));
        while (end < n && text[end] == ' ')
            end++;
        text += end;
        n -= end;
    }
    return SONDE_OK;
}

/* Each line has its own sequence and its end: a pager shows any of them alone. */
static sonde_status put_heading(sondep_string *out, const char *text, const sonde_plot_opts *opts, const char *sequence)
{
    bool is_coloured = opts->depth != SONDE_PLOT_DEPTH_NONE;
    sondep_string shown = {0}, lines = {0};
    sonde_status status;

    if (text == NULL || *text == '\0')
        return SONDE_OK;
    SONDE_TRY_DONE(sondep_label_append(&shown, NULL, (sonde_plot_label){text, -1}));
    SONDE_TRY_DONE(sondep_paragraph(&lines, shown.text, opts->terminal_columns));
    for (const char *line = lines.text; *line != '\0'; line += strcspn(line, "\n") + 1)
        SONDE_TRY_DONE(sondep_string_printf(out, "%s%.*s%s\n", is_coloured ? sequence : "", (int)strcspn(line, "\n"), line,
                                            is_coloured ? "\033[0m" : ""));
done:
    sondep_string_release(&shown);
    sondep_string_release(&lines);
    return status;
}

/* Bold, then faint; both plain without colours. */
sonde_status sondep_terminal_head(sondep_string *out, const sonde_plot_opts *opts)
{
    SONDE_TRY(put_heading(out, opts->title, opts, "\033[1m"));
    return put_heading(out, opts->subtitle, opts, "\033[2m");
}

/* The one way out of every function that gives a text. */
sonde_status sondep_terminal_hand_over(char **out, size_t *n_bytes, sondep_string *text, sonde_status status)
{
    *out = NULL;
    if (status == SONDE_OK)
        status = sondep_string_append(text, "", 0); /* a text, if only an empty one */
    if (status != SONDE_OK) {
        sondep_string_release(text);
        return status;
    }
    if (n_bytes != NULL)
        *n_bytes = text->n;
    *out = text->text;
    *text = (sondep_string){0};
    return SONDE_OK;
}
