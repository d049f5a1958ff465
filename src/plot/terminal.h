/* plot/terminal.h - lines of coloured text.                                    floor 2: plot
 *
 * Only numbers are ever written into an escape sequence; labels are escaped before they come here.
 */
#ifndef SONDEP_PLOT_TERMINAL_H
#define SONDEP_PLOT_TERMINAL_H

#include "plot/parts.h"

/* Colours as they are set at the end of a string; -1: the terminal's own. */
typedef struct sondep_pen {
    sonde_plot_depth depth;
    int32_t text, ground; /* 0xRRGGBB */
} sondep_pen;

/* Sets the colours of what comes next, by as few bytes as that needs; nothing at depth NONE. */
sonde_status sondep_pen_set(sondep_string *out, sondep_pen *pen, int32_t text, int32_t ground);

static inline int32_t sondep_pen_colour(sondep_rgb c)
{
    return (int32_t)c.r << 16 | (int32_t)c.g << 8 | c.b;
}

/* Black or white, whichever is read better on a ground. */
int32_t sondep_pen_on(sondep_rgb ground);

/* Lines that lie beside or below others: each is a string of known width, without its newline. */
typedef struct sondep_block {
    sondep_string *lines;
    int64_t *widths;
    int64_t n, capacity;
} sondep_block;

/* The next line, empty; valid until the next call. */
sonde_status sondep_block_line(sondep_string **out, sondep_block *block);
void sondep_block_width(sondep_block *block, int64_t width); /* of the last line */
void sondep_block_release(sondep_block *block);

/* Appends n blocks beside each other, `gap` columns apart, each line with a newline. */
sonde_status sondep_block_join(sondep_string *out, const sondep_block *blocks, int64_t n, int64_t gap);

/* A title, subtitle or note, wrapped between words into lines of at most `columns`. Control characters are escaped. */
sonde_status sondep_paragraph(sondep_string *out, const char *text, int64_t columns);

/* The colour bar, or what shades and digits mean; and a legend of what is not finite. */
sonde_status sondep_terminal_bar(sondep_string *out, const sondep_range *range, const sonde_plot_opts *opts);

/* One cell, `width` columns wide, of a row: colour, shade or digit. */
sonde_status sondep_terminal_cell(sondep_string *out, sondep_pen *pen, const sondep_range *range, sondep_cell kind,
                                  double value, int64_t width);

/* Title and subtitle. */
sonde_status sondep_terminal_head(sondep_string *out, const sonde_plot_opts *opts);

/* Hands a finished text over, or frees it; either way `text` is empty then. */
sonde_status sondep_terminal_hand_over(char **out, size_t *n_bytes, sondep_string *text, sonde_status status);

#endif
