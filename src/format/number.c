/* number.c - numbers as the shortest text that reads back as the same number.  floor 2: format
 *
 * Fewer digits are tried until the text no longer reads back: what was tried last before that is the answer. printf and
 * strtod follow the locale's decimal point, which is put right at the end.
 */
#include "format/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* "1" becomes "1.0" and "-0" "-0.0", so that it reads as a real number; a locale's decimal point becomes a point. */
static int tidy(char *text, int n)
{
    bool is_real = false;
    for (int i = 0; i < n; i++) {
        if (strchr("+-0123456789e", text[i]) == NULL)
            text[i] = '.';
        is_real = is_real || text[i] == '.' || text[i] == 'e';
    }
    if (!is_real) {
        memcpy(text + n, ".0", 3);
        n += 2;
    }
    return n;
}

/* JSON has no infinities and no NaN. */
static int format_null(char out[SONDEP_NUMBER_BYTES])
{
    memcpy(out, "null", 5);
    return 4;
}

/* Most floats need 8 or 9 digits, so that the search starts there and goes down. */
int sondep_json_float(char out[SONDEP_NUMBER_BYTES], float x)
{
    int digits = 8, n;

    if (!isfinite(x))
        return format_null(out);
    snprintf(out, SONDEP_NUMBER_BYTES, "%.*g", digits, (double)x);
    if (strtof(out, NULL) != x)
        digits = 9; /* always enough */
    while (digits > 1 && digits < 9) {
        snprintf(out, SONDEP_NUMBER_BYTES, "%.*g", digits - 1, (double)x);
        if (strtof(out, NULL) != x)
            break;
        digits--;
    }
    n = snprintf(out, SONDEP_NUMBER_BYTES, "%.*g", digits, (double)x);
    return tidy(out, n);
}

/* The same with 16 or 17. */
int sondep_json_double(char out[SONDEP_NUMBER_BYTES], double x)
{
    int digits = 16, n;

    if (!isfinite(x))
        return format_null(out);
    snprintf(out, SONDEP_NUMBER_BYTES, "%.*g", digits, x);
    if (strtod(out, NULL) != x)
        digits = 17; /* always enough */
    while (digits > 1 && digits < 17) {
        snprintf(out, SONDEP_NUMBER_BYTES, "%.*g", digits - 1, x);
        if (strtod(out, NULL) != x)
            break;
        digits--;
    }
    n = snprintf(out, SONDEP_NUMBER_BYTES, "%.*g", digits, x);
    return tidy(out, n);
}
