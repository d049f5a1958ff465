/* common_picture.c - pictures of the commands: options, to a file or into the terminal.  floor 10: cli */
#include "picture.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* What the command line says; all zero is: auto colours, the range of the values, to stdout as text. */
cli_picture_settings cli_picture;

const cli_option cli_picture_options[] = {
    {"output", 'o', CLI_TEXT, &cli_picture.output, "FILE", 0, 0, "write FILE; without it the picture is drawn as text"},
    {"map", 0, CLI_CHOICE, &cli_picture.colours, "auto|sequential|diverging", 0, 0,
     "colours; auto: diverging if there are values of both signs"},
    {"range", 0, CLI_TEXT, &cli_picture.range, "RANGE", 0, 0,
     "ends of the colours: full, symmetric, quantile (clips 1 %), or LOW,HIGH"},
    {"title", 0, CLI_TEXT, &cli_picture.title, "TEXT", 0, 0, "line above the picture"},
    {"values", 0, CLI_FLAG, &cli_picture.values, NULL, 0, 0, "write the numbers into the cells"},
    {0},
};

/* The extension alone, in small letters, decides between a picture and a file of numbers. */
bool cli_is_picture(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot != NULL && (strcmp(dot, ".png") == 0 || strcmp(dot, ".svg") == 0 || strcmp(dot, ".pdf") == 0);
}

/* --range: a name, or the two ends. */
static sonde_status parse_range(sonde_plot_opts *out, const char *text)
{
    static const char *const names[] = {"auto", "full", "symmetric", "quantile"};
    char *end;

    /* A name's place in the list is its sonde_plot_range. */
    for (int i = 0; i < 4; i++) {
        if (strcmp(text, names[i]) == 0) {
            out->range = i;
            return SONDE_OK;
        }
    }
    /* Two ends: numbers and nothing behind them, the lower one first; NaN fails the comparison. */
    out->low = strtod(text, &end);
    if (end != text && *end == ',') {
        const char *second = end + 1;
        out->high = strtod(second, &end);
        if (end != second && *end == '\0' && out->low < out->high)
            return SONDE_OK;
    }
    return cli_misuse("option '--range' is '%s', not full, symmetric, quantile or LOW,HIGH", text);
}

/* Columns of the terminal that stdout is, 100 where it is none. */
static int64_t terminal_columns(void)
{
    struct winsize size;
    /* A terminal narrower than 20 columns has no room for labels and cells: it is treated as none. */
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20)
        return size.ws_col;
    return 100;
}

/* What the command line says, over the defaults. */
sonde_status cli_picture_opts(sonde_plot_opts *out)
{
    sonde_plot_opts_init(out);
    out->colours = cli_picture.colours;
    out->title = cli_picture.title;
    out->show_values = cli_picture.values;
    out->terminal_columns = terminal_columns();
    out->depth = sonde_plot_terminal_colours(STDOUT_FILENO);
    /* Without --range the field stays "auto", which a command may replace by what suits its picture. */
    return cli_picture.range != NULL ? parse_range(out, cli_picture.range) : SONDE_OK;
}

/* To a file, or to the terminal where none is named. */
sonde_status cli_draw(const sonde_plot_matrix *panels, int64_t n_panels, const sonde_plot_opts *opts)
{
    char *text;
    size_t n_bytes;

    /* A file: its kind follows from the extension, and the library writes it beside and renames it. */
    if (cli_picture.output != NULL)
        return n_panels == 1 ? sonde_plot_heatmap(cli_picture.output, panels, opts)
                             : sonde_plot_panels(cli_picture.output, panels, n_panels, opts);
    /* Text: drawn whole before anything is printed, so that a failure leaves no half picture behind. */
    if (n_panels == 1)
        CLI_TRY(sonde_plot_heatmap_text(&text, &n_bytes, panels, opts));
    else
        CLI_TRY(sonde_plot_panels_text(&text, &n_bytes, panels, n_panels, opts));
    /* A failed write shows in ferror(stdout), which main looks at before the program ends. */
    fwrite(text, 1, n_bytes, stdout);
    sonde_plot_text_free(text);
    return SONDE_OK;
}
