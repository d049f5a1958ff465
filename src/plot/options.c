/* options.c - options in effect: defaults, the caller's over them, bounds.     floor 2: plot */
#include "plot/parts.h"

#define NO_TEXT(name, help) opts->name = NULL;
#define SET_DEFAULT(name, default_value, smallest, largest, help) opts->name = (default_value);

/* The list of the header, once more: its defaults. */
void sonde_plot_opts_init(sonde_plot_opts *opts)
{
    opts->struct_size = sizeof *opts;
    SONDE_PLOT_OPTION_LIST(NO_TEXT, SET_DEFAULT, SET_DEFAULT)
}

/* Bounds of one option. A NaN is in no interval; SONDE_PLOT_AUTO passes only where it is the default. */
static sonde_status check_real(const char *name, double value, double default_value, double smallest, double largest)
{
    if (value == default_value || (value >= smallest && value <= largest))
        return SONDE_OK;
    return SONDE_FAIL(SONDE_E_ARG, "option '%s' is %g, outside [%g, %g]", name, value, smallest, largest);
}

/* Bounds of one option. */
static sonde_status check_whole(const char *name, int64_t value, int64_t smallest, int64_t largest)
{
    if (value >= smallest && value <= largest)
        return SONDE_OK;
    return SONDE_FAIL(SONDE_E_ARG, "option '%s' is %lld, outside [%lld, %lld]", name, (long long)value, (long long)smallest,
                      (long long)largest);
}

#define CHECK_TEXT(name, help)
#define CHECK_WHOLE(name, default_value, smallest, largest, help) \
    SONDE_TRY(check_whole(#name, out->name, (smallest), (largest)));
#define CHECK_REAL(name, default_value, smallest, largest, help) \
    SONDE_TRY(check_real(#name, out->name, (default_value), (smallest), (largest)));

/* An older caller's struct is shorter: what it does not have keeps its default. A newer one is longer: what this
 * library does
 * not know must be zero, or the caller would believe that it had an effect. */
sonde_status sondep_plot_options(sonde_plot_opts *out, const sonde_plot_opts *given)
{
    sonde_plot_opts_init(out);
    if (given == NULL)
        return SONDE_OK;
    if (given->struct_size < sizeof given->struct_size)
        return SONDE_FAIL(SONDE_E_ARG, "options have struct_size %llu: sonde_plot_opts_init was not called",
                          (unsigned long long)given->struct_size);
    for (size_t i = sizeof *out; i < given->struct_size; i++)
        if (((const char *)given)[i] != 0)
            return SONDE_FAIL(SONDE_E_ARG, "options of %llu bytes use what this library does not know: it has %zu bytes",
                              (unsigned long long)given->struct_size, sizeof *out);
    memcpy(out, given, given->struct_size < sizeof *out ? (size_t)given->struct_size : sizeof *out);
    out->struct_size = sizeof *out;
    SONDE_PLOT_OPTION_LIST(CHECK_TEXT, CHECK_WHOLE, CHECK_REAL)
    return SONDE_OK;
}

/* Data of no size come from outside and are an error; a missing pointer is the caller's bug. */
sonde_status sondep_plot_check(const sonde_plot_matrix *m, int64_t n)
{
    int64_t n_elements;
    if (n < 1)
        return SONDE_FAIL(SONDE_E_SHAPE, "nothing to plot: %lld matrices", (long long)n);
    for (int64_t k = 0; k < n; k++) {
        if (m[k].n_rows < 1 || m[k].n_columns < 1)
            return SONDE_FAIL(SONDE_E_SHAPE, "nothing to plot: matrix %lld of %lld is [%lld, %lld]", (long long)k,
                              (long long)n, (long long)m[k].n_rows, (long long)m[k].n_columns);
        SONDE_TRY(sondep_mul_i64(&n_elements, m[k].n_rows, m[k].n_columns, "a matrix to plot"));
        SONDE_ASSERT(m[k].values != NULL);
    }
    return SONDE_OK;
}
