/* colour.c - colours of values, cells and curves.                              floor 2: plot
 *
 * The maps are tables (tools/colourmaps.py). What is not finite is grey, which neither map has but at the diverging
 * one's nearly white middle: three greys far from each other and from it. Curves use the eight colours of Okabe and Ito
 * 2008 ("Color universal design"), yellow last since it is faint on white.
 */
#include "plot/colour.h"

#include <math.h>

static const sondep_rgb cell_greys[SONDEP_N_CELLS] = {
    [SONDEP_CELL_NAN] = {150, 150, 150},
    [SONDEP_CELL_LOW_INFINITE] = {205, 205, 205},
    [SONDEP_CELL_HIGH_INFINITE] = {80, 80, 80},
    [SONDEP_CELL_EMPTY] = {255, 255, 255},
};

/* The entry nearest to t of 257; a NaN counts as 0 here, callers ask for its grey by kind. */
static sondep_rgb table_colour(bool is_diverging, double t)
{
    const unsigned char(*table)[3] = is_diverging ? sondep_diverging_table : sondep_sequential_table;
    double clipped = t > 0 ? t < 1 ? t : 1 : 0;
    const unsigned char *c = table[(int)(clipped * (SONDEP_N_COLOURS - 1) + 0.5)];
    return (sondep_rgb){c[0], c[1], c[2]};
}

/* The door for other modules: reports and tests. */
void sonde_plot_colour(unsigned char out[3], sonde_plot_colours map, double t)
{
    sondep_rgb c = isnan(t) ? cell_greys[SONDEP_CELL_NAN] : table_colour(map == SONDE_PLOT_COLOURS_DIVERGING, t);
    out[0] = c.r;
    out[1] = c.g;
    out[2] = c.b;
}

/* Two ways: about zero, or from end to end. See the header of the public function for the formula. */
sondep_rgb sondep_range_colour(const sondep_range *range, double value)
{
    double t;
    if (range->is_diverging && range->low < 0 && range->high > 0) /* zero keeps the neutral colour */
        t = 0.5 + 0.5 * (value / fmax(-range->low, range->high));
    else /* halves: the difference of two finite doubles can be infinite */
        t = (value / 2 - range->low / 2) / (range->high / 2 - range->low / 2);
    return table_colour(range->is_diverging, t);
}

/* A finite value beyond the ends has the colour of the end; the picture says how many there are. */
sondep_rgb sondep_cell_colour(const sondep_range *range, sondep_cell kind, double value)
{
    return kind == SONDEP_CELL_FINITE ? sondep_range_colour(range, fmin(fmax(value, range->low), range->high))
                                      : cell_greys[kind];
}

/* Kinds that need no explanation have no name. */
const char *sondep_cell_name(sondep_cell kind)
{
    static const char *const names[SONDEP_N_CELLS] = {"", "NaN", "−∞", "+∞", ""};
    return names[kind];
}

/* From the ninth curve on colours come again; dashes and markers still differ. */
sondep_rgb sondep_series_colour(int64_t i)
{
    static const sondep_rgb palette[8] = {{0, 114, 178}, {213, 94, 0},   {0, 158, 115}, {204, 121, 167},
                                          {0, 0, 0},     {86, 180, 233}, {230, 159, 0}, {200, 185, 40}};
    return palette[i % 8];
}

/* From sRGB bytes to light (IEC 61966-2-1). */
static double linear_light(int c)
{
    double s = c / 255.0;
    return s <= 0.04045 ? s / 12.92 : pow((s + 0.055) / 1.055, 2.4);
}

/* CIE 1976 L*, from the luminance of sRGB's primaries. */
double sondep_lightness(sondep_rgb c)
{
    double y = 0.2126 * linear_light(c.r) + 0.7152 * linear_light(c.g) + 0.0722 * linear_light(c.b);
    return y <= 0.008856 ? 903.3 * y : 116 * cbrt(y) - 16;
}

/* Level of the 6 x 6 x 6 cube (0, 95, 135, 175, 215, 255) that is nearest to c. */
static int cube_level(int c)
{
    return c < 48 ? 0 : c < 115 ? 1 : (c - 35) / 40;
}

/* Plain Euclid in sRGB, as terminals and their palettes are. */
static int squared_distance(sondep_rgb c, int r, int g, int b)
{
    return (c.r - r) * (c.r - r) + (c.g - g) * (c.g - g) + (c.b - b) * (c.b - b);
}

/* Either the nearest corner of the cube or the nearest grey, whichever is nearer. */
int sondep_colour_256(sondep_rgb c)
{
    static const int levels[6] = {0, 95, 135, 175, 215, 255};
    int r = cube_level(c.r), g = cube_level(c.g), b = cube_level(c.b);
    int step = ((c.r + c.g + c.b) / 3 - 3) / 10, grey = step < 0 ? 0 : step > 23 ? 23 : step; /* greys are 8, 18, ..., 238 */
    int level = 8 + 10 * grey;

    if (squared_distance(c, level, level, level) < squared_distance(c, levels[r], levels[g], levels[b]))
        return 232 + grey;
    return 16 + 36 * r + 6 * g + b;
}
