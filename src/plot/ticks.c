/* ticks.c - numbers as text and round values along an axis.                    floor 2: plot
 *
 * printf follows the locale's decimal point, so what it writes between digits is replaced by a point.
 */
#include "plot/parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Copies printf's number: the locale's decimal point (whatever bytes it has) becomes '.', '-' the sign that is asked for. */
static char *copy_number(char *out, const char *raw, bool is_typeset)
{
    char *at = out;
    bool was_point = false;

    for (; *raw != '\0'; raw++) {
        bool is_plain = (*raw >= '0' && *raw <= '9') || *raw == 'e' || *raw == '-' || *raw == '+';
        if (*raw == '-' && is_typeset) {
            memcpy(at, "−", strlen("−"));
            at += strlen("−");
        } else if (is_plain) {
            *at++ = *raw;
        } else if (!was_point) {
            *at++ = '.';
        }
        was_point = !is_plain;
    }
    *at = '\0';
    return out;
}

/* %g is what people write; minus zero is zero to them. */
char *sondep_number(char out[SONDEP_TICK_BYTES], double value, int digits, bool is_typeset)
{
    char raw[SONDEP_TICK_BYTES];

    if (isnan(value))
        return strcpy(out, "NaN");
    if (isinf(value))
        return strcpy(out, is_typeset ? value < 0 ? "−∞" : "∞" : value < 0 ? "-inf" : "inf");
    snprintf(raw, sizeof raw, "%.*g", digits, value == 0 ? 0 : value);
    return copy_number(out, raw, is_typeset);
}

/* Unicode has raised digits, so no markup is needed. */
char *sondep_power_text(char out[SONDEP_TICK_BYTES], int exponent)
{
    static const char *const raised[10] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
    char digits[16];

    out[0] = '\0';
    if (exponent == 0)
        return out;
    snprintf(digits, sizeof digits, "%d", abs(exponent));
    strcpy(out, " (×10");
    if (exponent < 0)
        strcat(out, "⁻");
    for (const char *d = digits; *d != '\0'; d++)
        strcat(out, raised[*d - '0']);
    return strcat(out, ")");
}

/* The round step that is nearest above (high - low) / wanted. */
static double round_step(double span, int wanted)
{
    static const double steps[5] = {1, 2, 2.5, 5, 10};
    double raw = span / wanted, power = pow(10, floor(log10(raw)));

    for (int i = 0; i < 5; i++)
        if (steps[i] * power >= raw * 0.999)
            return steps[i] * power;
    return 10 * power;
}

/* Power of ten to take out of all texts: 0 while they are short without. */
static int common_exponent(double largest, double step)
{
    int top = (int)floor(log10(largest)), bottom = (int)floor(log10(step));
    return top > 4 || (top < -3 && bottom < -3) ? top : 0;
}

/* Multiples of the step are computed as such, not by adding it up: no error grows along the axis. */
void sondep_ticks_linear(sondep_ticks *out, double low, double high, int wanted)
{
    double largest = fmax(fabs(low), fabs(high)), unit = 1, first, step;
    int decimals;

    /* In units of a huge or tiny range's own size nothing overflows. */
    if (largest > 1e15 || largest < 1e-15)
        unit = pow(10, floor(log10(largest)));
    if (unit == 0 || !isfinite(1 / unit))
        unit = largest;
    low /= unit;
    high /= unit;
    step = round_step(high - low, wanted);
    /* As many decimals as the step has, counted after the common power is taken out. */
    out->exponent = common_exponent(largest / unit, step);
    /* The first multiple within, with a little tolerance: an end that is round shall have its tick. */
    first = ceil(low / step - 1e-6);
    decimals = (int)ceil(-log10(step) + out->exponent - 1e-9);
    if (fabs(step / pow(10, floor(log10(step) + 1e-9)) - 2.5) < 0.01)
        decimals++;
    out->n = 0;
    for (int i = 0; i < SONDEP_MAX_TICKS && (first + i) * step <= high + step * 1e-6; i++) {
        double value = (first + i) * step;
        char raw[SONDEP_TICK_BYTES];
        /* Zero, not the rounding error beside it. */
        if (fabs(value) < step / 2)
            value = 0;
        out->at[out->n] = value * unit;
        snprintf(raw, sizeof raw, "%.*f", decimals < 0 ? 0 : decimals > 12 ? 12 : decimals, value * pow(10, -out->exponent));
        copy_number(out->text[out->n++], raw, true);
    }
    out->exponent += unit == 1 ? 0 : (int)lround(log10(unit));
}

/* The texts of a logarithmic axis: 0.01, 1, 100, then 10⁵. */
static void log_text(char out[SONDEP_TICK_BYTES], int exponent, int factor)
{
    char power[SONDEP_TICK_BYTES];
    size_t n;

    if (exponent >= -3 && exponent <= 4) {
        sondep_number(out, factor * pow(10, exponent), 6, true);
        return;
    }
    sondep_power_text(power, exponent); /* " (×10⁵)": what lies between × and ) */
    n = strlen(power) - strlen(" (×") - 1;
    out[0] = '\0';
    if (factor != 1)
        snprintf(out, SONDEP_TICK_BYTES, "%d×", factor);
    strncat(out, power + strlen(" (×"), n);
}

/* Powers of ten, every nth where there are many; 1, 2 and 5 of each where there are few. */
void sondep_ticks_log(sondep_ticks *out, double low, double high, int wanted)
{
    int from = (int)ceil(log10(low) - 1e-9), to = (int)floor(log10(high) + 1e-9);
    int stride = (to - from) / (wanted > 1 ? wanted : 1) + 1;

    *out = (sondep_ticks){0};
    for (int e = from; e <= to && out->n < SONDEP_MAX_TICKS; e += stride) {
        out->at[out->n] = pow(10, e);
        log_text(out->text[out->n++], e, 1);
    }
    if (out->n > 2)
        return;
    /* Under two decades: 1, 2 and 5 of each. */
    out->n = 0;
    for (int e = from - 1; e <= to; e++) {
        static const int factors[3] = {1, 2, 5};
        for (int i = 0; i < 3 && out->n < SONDEP_MAX_TICKS; i++) {
            double at = factors[i] * pow(10, e);
            if (at < low * (1 - 1e-9) || at > high * (1 + 1e-9))
                continue;
            out->at[out->n] = at;
            log_text(out->text[out->n++], e, factors[i]);
        }
    }
    if (out->n == 0) { /* within one step: the ends are round enough */
        out->at[0] = low;
        sondep_number(out->text[0], low, 4, true);
        out->at[1] = high;
        sondep_number(out->text[1], high, 4, true);
        out->n = 2;
    }
}
