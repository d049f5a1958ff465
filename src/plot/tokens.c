/* tokens.c - a text whose tokens lie on the colours of their values.           floor 2: plot
 *
 * Laid out as a text is: token after token, a new line where one is full or a token ends its own. The values' bar lies flat
 * below.
 */
#include "plot/canvas.h"
#include "plot/parts.h"

#include <math.h>

enum { MARGIN = 14, LINE_PITCH = 24, BAR_WIDTH = 200, BAR_HEIGHT = 10, BAR_BLOCK = 46, LEAST_WIDTH = 300 };

/* Where a token lies. */
typedef struct place {
    double x, y, width;
} place;

typedef struct strip {
    sonde_plot_opts opts;
    sondep_canvas canvas;
    sondep_range range;
    const sonde_plot_label *tokens;
    const float *values;
    int64_t n;
    place *places; /* (n), owned */
    double width, height, title_height, header_height;
} strip;

/* Height of a text that is wrapped to the page; none for no text. */
static double height_of(strip *s, sondep_style style, const char *text)
{
    sondep_placing wrapped = {.max_width = s->width - 2 * MARGIN, .is_wrapped = true};
    double width, height;
    if (text == NULL || *text == '\0')
        return 0;
    sondep_canvas_measure(&width, &height, &s->canvas, style, text, -1, &wrapped);
    return height;
}

/* Places every token in lines of max_width; a longer token is cut with an ellipsis when it is drawn. */
static sonde_status place_tokens(strip *s)
{
    double x = 0, y = 0, right = LEAST_WIDTH, height;
    sondep_string text = {0};
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(s->places, s->n));
    for (int64_t i = 0; i < s->n; i++) {
        place *p = &s->places[i];
        text.n = 0;
        SONDE_TRY_DONE(sondep_token_append(&text, s->tokens[i]));
        sondep_canvas_measure(&p->width, &height, &s->canvas, SONDEP_STYLE_TOKEN, text.text, (int64_t)text.n, NULL);
        p->width = fmin(ceil(2 * (p->width + 1)) / 2, s->opts.max_width);
        /* A token that does not fit goes to the next line whole. */
        if (x > 0 && x + p->width > s->opts.max_width) {
            x = 0;
            y += LINE_PITCH;
        }
        p->x = x;
        p->y = y;
        x += p->width;
        right = fmax(right, x);
        if (sondep_label_ends_line(s->tokens[i])) {
            x = 0;
            y += LINE_PITCH;
        }
    }
    /* The last line, unless a line feed has closed it already. */
    y += x > 0 ? LINE_PITCH : 0;
    s->width = ceil(right) + 2 * MARGIN;
    s->title_height = height_of(s, SONDEP_STYLE_TITLE, s->opts.title);
    s->header_height = s->title_height + height_of(s, SONDEP_STYLE_SUBTITLE, s->opts.subtitle);
    s->header_height = ceil(s->header_height + (s->header_height > 0 ? 10 : 0));
    s->height = MARGIN + s->header_height + y + BAR_BLOCK + MARGIN;
done:
    sondep_string_release(&text);
    return status;
}

/* Grounds as wide as the tokens, touching; letters are black or white by the ground's lightness. */
static sonde_status draw_tokens(strip *s)
{
    sondep_string text = {0};
    sonde_status status = SONDE_OK;

    for (int64_t i = 0; i < s->n; i++) {
        sondep_box box = {MARGIN + s->places[i].x, MARGIN + s->header_height + s->places[i].y, s->places[i].width,
                          LINE_PITCH - 4};
        sondep_placing placing = {.down = 0.5, .max_width = box.width + 1};
        bool has_value = !isnan(s->values[i]);
        sondep_rgb ground = sondep_cell_colour(
            &s->range, sondep_cell_kind(&(sonde_plot_matrix){.values = s->values, .n_rows = 1, .n_columns = s->n}, 0, i),
            s->values[i]);

        text.n = 0;
        SONDE_TRY_DONE(sondep_token_append(&text, s->tokens[i]));
        if (has_value)
            sondep_canvas_fill(&s->canvas, box, ground);
        sondep_canvas_text(&s->canvas, SONDEP_STYLE_TOKEN, text.text, (int64_t)text.n, box.x + 0.5, box.y + box.height / 2,
                           &placing,
                           has_value && sondep_lightness(ground) < 60 ? (sondep_rgb){255, 255, 255} : sondep_black);
    }
done:
    sondep_string_release(&text);
    return status;
}

/* The colour bar, flat, at the bottom left with its name beside it. */
static sonde_status draw_bar(strip *s)
{
    enum { STEPS = 256 };
    uint32_t colours[STEPS];
    sondep_box bar = {MARGIN, s->height - MARGIN - BAR_BLOCK + 14, BAR_WIDTH, BAR_HEIGHT};
    sondep_placing below = {.across = 0.5}, beside = {.down = 0.5, .max_width = s->width - 2 * MARGIN - BAR_WIDTH - 24};
    sondep_string name = {0};
    char power[SONDEP_TICK_BYTES];
    sondep_ticks ticks;
    sonde_status status;

    for (int i = 0; i < STEPS; i++) {
        double t = (i + 0.5) / STEPS;
        sondep_rgb c = sondep_range_colour(&s->range, s->range.low * (1 - t) + s->range.high * t);
        colours[i] = (uint32_t)c.r << 16 | (uint32_t)c.g << 8 | c.b;
    }
    SONDE_TRY(sondep_canvas_image(&s->canvas, bar, colours, 1, STEPS));
    sondep_canvas_frame(&s->canvas, (sondep_box){bar.x - 0.25, bar.y - 0.25, bar.width + 0.5, bar.height + 0.5}, 0.5,
                        sondep_mid_grey);
    sondep_ticks_linear(&ticks, s->range.low, s->range.high, 4);
    for (int i = 0; i < ticks.n; i++) {
        double x = bar.x + bar.width * ((ticks.at[i] / 2 - s->range.low / 2) / (s->range.high / 2 - s->range.low / 2));
        sondep_canvas_line(&s->canvas, x, bar.y + bar.height, x, bar.y + bar.height + 4, 0.75, sondep_dark_grey);
        sondep_canvas_text(&s->canvas, SONDEP_STYLE_LABEL, ticks.text[i], -1, x, bar.y + bar.height + 5, &below,
                           sondep_black);
    }
    /* Name and power of ten in one. */
    status = sondep_string_printf(&name, "%s%s", s->opts.value_name ? s->opts.value_name : "",
                                  sondep_power_text(power, ticks.exponent));
    if (status == SONDE_OK)
        sondep_canvas_text(&s->canvas, SONDEP_STYLE_NAME, name.text, -1, bar.x + bar.width + 18, bar.y + bar.height / 2,
                           &beside, sondep_black);
    sondep_string_release(&name);
    return status;
}

/* Measure, begin, draw: as every picture. */
static sonde_status draw_strip(strip *s, const char *path)
{
    sondep_placing wrapped;

    SONDE_TRY(sondep_canvas_open(&s->canvas, path, s->opts.scale));
    SONDE_TRY(place_tokens(s));
    SONDE_TRY(sondep_canvas_begin(&s->canvas, s->width, s->height));
    wrapped = (sondep_placing){.max_width = s->width - 2 * MARGIN, .is_wrapped = true};
    if (s->opts.title)
        sondep_canvas_text(&s->canvas, SONDEP_STYLE_TITLE, s->opts.title, -1, MARGIN, MARGIN, &wrapped, sondep_black);
    if (s->opts.subtitle)
        sondep_canvas_text(&s->canvas, SONDEP_STYLE_SUBTITLE, s->opts.subtitle, -1, MARGIN, MARGIN + s->title_height,
                           &wrapped, sondep_dark_grey);
    SONDE_TRY(draw_tokens(s));
    SONDE_TRY(draw_bar(s));
    return sondep_canvas_end(&s->canvas);
}

/* Values are a matrix of one row, for the range. */
sonde_status sonde_plot_tokens(const char *path, const sonde_plot_label *tokens, const float *values, int64_t n,
                               const sonde_plot_opts *opts)
{
    strip s = {.tokens = tokens, .values = values, .n = n};
    sonde_plot_matrix m = {.values = values, .n_rows = 1, .n_columns = n};
    sonde_status status;

    SONDE_TRY(sondep_plot_options(&s.opts, opts));
    if (n < 1)
        return SONDE_FAIL(SONDE_E_SHAPE, "nothing to plot: %lld tokens", (long long)n);
    SONDE_TRY(sondep_range_of(&s.range, &m, 1, &s.opts));
    status = draw_strip(&s, path);
    sondep_canvas_close(&s.canvas);
    sondep_free(s.places);
    return status;
}
