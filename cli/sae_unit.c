/* sae_unit.c - what --also and --width say.                                     floor 10: cli
 *
 * --also takes the flags of the training as they are on the command line, without the dashes: the one list of options serves
 * for both, so that a new option is known here, too.
 */
#include "sae.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A number that is all of a text. */
static bool read_number(double *out, const char *text)
{
    char *end;

    *out = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*out);
}

/* Of the hook point that is read, also for transcoders. */
sonde_status sae_read_width(int64_t *out, const char *text, int64_t d_in)
{
    size_t n = strlen(text);
    bool is_times = n > 1 && text[n - 1] == 'x';
    char number[64];
    double x;

    snprintf(number, sizeof number, "%.*s", (int)(is_times ? n - 1 : n), text);
    if (n >= sizeof number || !read_number(&x, number) || !(x > 0.0))
        return cli_misuse("option '--width' is '%s', not a number of features, or one like 8x", text);
    /* 8x of 288 are 2304 */
    x *= is_times ? (double)d_in : 1.0;
    if (!(x >= 1.0 && x <= 1 << 30) || x != floor(x))
        return cli_misuse("option '--width' is '%s': %g features", text, x);
    *out = (int64_t)x;
    return SONDE_OK;
}

/* An option of the training by its flag; false if there is none of this name, or it cannot have this value. */
static bool set_option(sonde_sae_train_opts *o, const char *flag, const char *value)
{
    double x;
    bool is_number = read_number(&x, value);

#define SET_WHOLE(name, own, standard, least, most, what)                 \
    if (strcmp(flag, own) == 0) {                                         \
        o->name = is_number ? (int64_t)x : 0;                             \
        return is_number && x == floor(x) && x >= (least) && x <= (most); \
    }
#define SET_CHOICE(name, own, standard, names, what) \
    if (strcmp(flag, own) == 0)                      \
        return cli_find_choice(&o->name, value, names);
#define SET_REAL(name, own, standard, least, most, what) \
    if (strcmp(flag, own) == 0) {                        \
        o->name = x;                                     \
        return is_number && x >= (least) && x <= (most); \
    }
    SONDE_SAE_TRAIN_OPTION_LIST(SET_WHOLE, SET_CHOICE, SET_REAL)
#undef SET_WHOLE
#undef SET_CHOICE
#undef SET_REAL
    return false;
}

/* One "flag=value". */
static sonde_status take_pair(sae_unit *u, char *pair, const char *also)
{
    char *value = strchr(pair, '=');

    if (value == NULL)
        return cli_misuse("'--also %s': '%s' is not OPTION=VALUE", also, pair);
    *value++ = '\0';
    if (strcmp(pair, "hook") == 0)
        u->hook = value;
    else if (strcmp(pair, "hook-out") == 0)
        u->hook_out = *value ? value : NULL;
    else if (strcmp(pair, "width") == 0)
        u->width = value;
    else if (strcmp(pair, "name") == 0)
        snprintf(u->name, sizeof u->name, "%s", value);
    else if (strcmp(pair, "steps") == 0 || strcmp(pair, "batch") == 0)
        return cli_misuse("'--also %s': all have the same '%s'", also, pair);
    else if (!set_option(&u->opts, pair, value))
        return cli_misuse("'--also %s': no option '%s' with the value '%s'", also, pair, value);
    return SONDE_OK;
}

/* A name from what it says: letters, digits, dots and dashes stay. */
static void make_name(char *out, size_t out_bytes, const char *also)
{
    static const char kept[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";

    snprintf(out, out_bytes, "%s", also);
    for (; *out != '\0'; out++)
        *out = strchr(kept, *out) != NULL ? *out : '_';
}

/* Whether a flag of --also is the program's own, and no option of the training. */
static bool is_own(const char *flag)
{
    static const char *const own[] = {"hook", "hook-out", "width", "name"};

    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(flag, own[i]) == 0)
            return true;
    return false;
}

/* In the copy a NUL stands behind each flag and each value. */
sonde_status sae_unit_check_uses(const sae_unit *u, const char *also)
{
    const char *end = u->copy + strlen(also);

    for (const char *flag = u->copy; flag < end; flag += strlen(flag) + 1) {
        if (!is_own(flag) && !sonde_sae_train_opts_use(&u->opts, flag))
            return cli_misuse("'--also %s': '%s' changes nothing in this training (%s)", also, flag,
                              sae_arch_name(&u->opts));
        flag += strlen(flag) + 1;
    }
    return SONDE_OK;
}

/* Pairs between commas. */
sonde_status sae_unit_read(sae_unit *out, const sae_unit *base, const char *also)
{
    char *copy, *next;

    *out = *base;
    CLI_TRY(CLI_NEW(copy, (int64_t)strlen(also) + 1));
    out->copy = copy;
    strcpy(copy, also);
    make_name(out->name, sizeof out->name, also);
    /* the copy stays: hook points and widths are texts of it */
    for (char *pair = copy; pair != NULL; pair = next) {
        next = strchr(pair, ',');
        if (next != NULL)
            *next++ = '\0';
        CLI_TRY(take_pair(out, pair, also));
    }
    if (strchr(out->name, '/') != NULL || out->name[0] == '.' || out->name[0] == '\0')
        return cli_misuse("'--also %s': '%s' cannot be the name of a folder", also, out->name);
    return SONDE_OK;
}
