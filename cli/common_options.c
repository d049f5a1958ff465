/* common_options.c - tables of options: parsing with popt, bounds, what was meant.      floor 10: cli
 *
 * popt splits the command line (--x=v, --x v, -f FILE, --); which options there are, what they may be and where they go
 * stands in the tables. Each flag can be taken back: --quiet by --no-quiet, --no-special by --special.
 *
 * A value that is out of bounds is an error with the bounds in it, never clamped. A name that is not known is answered
 * with the nearest one that is.
 */
#include "common.h"

#include <errno.h>
#include <math.h>
#include <popt.h>
#include <stdlib.h>
#include <string.h>

enum { OPPOSITE = 1 << 16 }; /* added to an option's number for the opposite of a flag */

cli_settings cli;
const char *cli_current_command = "";

static struct {
    const void **to;
    int64_t n, capacity;
} given;                 /* where the options of the command line went */
static cli_strings kept; /* texts of options and arguments: what points at them lives as long as the program */

const cli_option cli_common_options[] = {
    {"json", 0, CLI_FLAG, &cli.json, NULL, 0, 0, "print JSON"},
    {"threads", 0, CLI_INT, &cli.threads, "N", 0, 4096, "threads to use; 0: all processors (results do not depend on it)"},
    {"kernel", 0, CLI_TEXT, &cli.kernel, "NAME", 0, 0,
     "versions of the operations: ref, avx2, avx512, ... ('sonde doctor')"},
    {"quiet", 'q', CLI_FLAG, &cli.quiet, NULL, 0, 0, "no notes, no progress"},
    {"verbose", 'v', CLI_FLAG, &cli.verbose, NULL, 0, 0, "say more"},
    {"help", 'h', CLI_FLAG, &cli.help, NULL, 0, 0, "print this"},
    {"version", 0, CLI_FLAG, &cli.version, NULL, 0, 0, "print the version"},
    {0},
};

const cli_option cli_model_options[] = {
    {"dtype", 0, CLI_CHOICE, &cli.products, "f32|bf16", 0, 0, "what products are computed in"},
    {0},
};

const cli_option cli_hook_options[] = {
    {"hook", 0, CLI_LIST, &cli.hooks, "PATTERN", 0, 0,
     "hook points: blocks.*.hook_resid_post, resid_post5, '*' (may be repeated)"},
    {0},
};

const cli_option cli_text_options[] = {
    {"file", 'f', CLI_LIST, &cli.files, "FILE", 0, 0, "take texts from a .txt, .jsonl, .jsonl.zst or - (may be repeated)"},
    {"ids", 0, CLI_LIST, &cli.ids, "IDS", 0, 0, "take token ids as they are: 1,2,3 (may be repeated: several sequences)"},
    {"field", 0, CLI_TEXT, &cli.field, "NAME", 0, 0, "field of jsonl objects that holds the text (default: text)"},
    {"limit", 0, CLI_INT, &cli.limit, "N", 0, 1e15, "take the first N documents; 0: all"},
    {"bos", 0, CLI_CHOICE, &cli.bos, "auto|always|never", 0, 0, "BOS token in front: as tokenizer.json says, always, never"},
    {"no-special", 0, CLI_FLAG, &cli.no_special, NULL, 0, 0, "add no special tokens"},
    {"truncate", 0, CLI_FLAG, &cli.truncate, NULL, 0, 0, "cut texts at the model's context (else a longer one is an error)"},
    {0},
};

const cli_option cli_dry_run_options[] = {
    {"dry-run", 0, CLI_FLAG, &cli.dry_run, NULL, 0, 0, "print the plan (memory, disk, work) and stop"},
    {0},
};

/* Own options first, common ones last: the order of --help. */
void cli_each_option(const cli_command *command, cli_option_fn *fn, void *ctx)
{
    for (int t = 0; command->options[t] != NULL; t++) {
        for (const cli_option *option = command->options[t]; option->kind != CLI_END; option++)
            fn(option, ctx);
    }
    for (const cli_option *option = cli_common_options; option->kind != CLI_END; option++)
        fn(option, ctx);
}

/* One rule for all flags: --no-x, and --x where the flag is called no-x. */
void cli_opposite(char *out, size_t out_bytes, const char *flag)
{
    if (strncmp(flag, "no-", 3) == 0)
        snprintf(out, out_bytes, "%s", flag + 3);
    else
        snprintf(out, out_bytes, "no-%s", flag);
}

/* ---- what was meant ------------------------------------------------------------------------------------------------ */

/* Insertions, deletions, changes and swaps of neighbours that lead from a to b; 99 for long words. */
static int edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 40 };
    int d[LONGEST + 1][LONGEST + 1], n = (int)strlen(a), m = (int)strlen(b);

    if (n > LONGEST || m > LONGEST)
        return 99;
    /* to or from the empty word: every letter is a change */
    for (int i = 0; i <= n; i++)
        d[i][0] = i;
    for (int j = 0; j <= m; j++)
        d[0][j] = j;
    /* d[i][j] is the distance of the first i letters from the first j */
    for (int i = 1; i <= n; i++) {
        for (int j = 1; j <= m; j++) {
            int best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            best = best < d[i - 1][j] + 1 ? best : d[i - 1][j] + 1;
            best = best < d[i][j - 1] + 1 ? best : d[i][j - 1] + 1;
            /* two letters in the wrong order are one mistake */
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    }
    return d[n][m];
}

/* A third of the letters may be wrong; what is farther away was not meant. */
const char *cli_nearest(const char *word, const char *const *words, int64_t n)
{
    const char *nearest = NULL;
    int limit = (int)strlen(word) / 3 + 1, best = limit + 1;

    for (int64_t i = 0; i < n; i++) {
        int distance = edit_distance(word, words[i]);
        if (distance < best && distance < (int)strlen(words[i])) {
            best = distance;
            nearest = words[i];
        }
    }
    return nearest;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

/* "-f FILE" or "--file", as messages call an option. */
static const char *option_title(const cli_option *option)
{
    static char title[64];
    snprintf(title, sizeof title, "--%s", option->name);
    return title;
}

/* A number that is outside the bounds of its option, in the words of the user. */
static sonde_status out_of_bounds(const cli_option *option, const char *text)
{
    return cli_misuse("option '%s' is %s, outside [%.16g, %.16g]", option_title(option), text, option->min, option->max);
}

/* A whole number within bounds. */
static sonde_status parse_int(const cli_option *option, const char *text)
{
    char *end;
    long long value;

    /* base 10: "010" is ten */
    errno = 0;
    value = strtoll(text, &end, 10);
    if (end == text || *end != '\0')
        return cli_misuse("option '%s' is '%s', not a whole number", option_title(option), text);
    if (errno != 0 || (double)value < option->min || (double)value > option->max)
        return out_of_bounds(option, text);
    *(int64_t *)option->to = value;
    return SONDE_OK;
}

/* A number within bounds; NaN is in none. */
static sonde_status parse_real(const cli_option *option, const char *text)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end != '\0')
        return cli_misuse("option '%s' is '%s', not a number", option_title(option), text);
    if (!(value >= option->min && value <= option->max))
        return out_of_bounds(option, text);
    *(double *)option->to = value;
    return SONDE_OK;
}

/* Names lie between bars; behind a slash are others for the same one: "standard/relu". */
bool cli_find_choice(int64_t *out, const char *text, const char *names)
{
    size_t n = strlen(text);

    for (*out = 0; *names != '\0'; names += *names != '\0') {
        size_t length = strcspn(names, "|/");
        /* whole words: "f" is not f32 */
        if (length == n && strncmp(names, text, n) == 0)
            return true;
        names += length;
        *out += *names == '|';
    }
    return false;
}

/* The index of `text` among choices. */
static sonde_status parse_choice(const cli_option *option, const char *text)
{
    if (cli_find_choice(option->to, text, option->value))
        return SONDE_OK;
    return cli_misuse("option '%s' is '%s', not one of %s", option_title(option), text, option->value);
}

/* One more text of an option that may be repeated. */
static sonde_status append_text(cli_strings *list, const char *text)
{
    CLI_TRY(CLI_GROW(list->items, list->n, list->capacity));
    list->items[list->n++] = text;
    return SONDE_OK;
}

/* Puts the value of one option where its row says. */
static sonde_status set_option(const cli_option *option, const char *text, bool is_opposite)
{
    switch (option->kind) {
    case CLI_FLAG: *(bool *)option->to = !is_opposite; return SONDE_OK;
    case CLI_INT: return parse_int(option, text);
    case CLI_REAL: return parse_real(option, text);
    case CLI_TEXT: *(const char **)option->to = text; return SONDE_OK;
    case CLI_CHOICE: return parse_choice(option, text);
    case CLI_LIST: return append_text(option->to, text);
    case CLI_END: break;
    }
    return SONDE_OK;
}

/* By where its value goes: that is the only name that an option has in the code. */
bool cli_is_given(const void *to)
{
    for (int64_t i = 0; i < given.n; i++)
        if (given.to[i] == to)
            return true;
    return false;
}

/* Sets an option and remembers that it was given. */
static sonde_status take_option(const cli_option *option, const char *text, bool is_opposite)
{
    CLI_TRY(set_option(option, text, is_opposite));
    CLI_TRY(CLI_GROW(given.to, given.n, given.capacity));
    given.to[given.n++] = option->to;
    return SONDE_OK;
}

/* One number at least; a comma at the end is wrong. */
sonde_status cli_parse_integers(int64_t **out, int64_t *n, const char *text, const char *option)
{
    int64_t capacity = 0, *numbers = NULL, count = 0;
    const char *at = text;

    for (;;) {
        char *end;
        sonde_status status = CLI_GROW(numbers, count, capacity);
        errno = 0;
        if (status == SONDE_OK) {
            numbers[count] = strtoll(at, &end, 10);
            if (end == at || errno != 0 || (*end != ',' && *end != '\0'))
                status = cli_misuse("option '%s' is '%s', not whole numbers with commas between them", option, text);
        }
        if (status != SONDE_OK) {
            free(numbers);
            return status;
        }
        count++;
        if (*end == '\0')
            break;
        at = end + 1;
    }
    *out = numbers;
    *n = count;
    return SONDE_OK;
}

/* A unit is the last letter. */
sonde_status cli_parse_count(int64_t *out, const char *text, const char *option)
{
    static const char units[] = "kMB";
    size_t n = strlen(text);
    const char *unit = n > 0 ? strchr(units, text[n - 1]) : NULL;
    char number[64], *end;
    double x;

    snprintf(number, sizeof number, "%.*s", (int)(unit ? n - 1 : n), text);
    x = strtod(number, &end);
    if (n >= sizeof number || end == number || *end != '\0' || !isfinite(x))
        return cli_misuse("option '--%s' is '%s', not a number like 500k or 18M", option, text);
    x *= unit ? pow(1000.0, (double)(unit - units + 1)) : 1.0;
    if (!(x >= 1.0 && x <= 1e15))
        return cli_misuse("option '--%s' is %s, outside [1, 1e15]", option, text);
    *out = (int64_t)llround(x);
    return SONDE_OK;
}

/* ---- popt -------------------------------------------------------------------------------------------------------- */

/* The tables of one command as popt wants them: row i of popt's is option i / 2, odd rows are the opposites of flags. */
typedef struct popt_table {
    struct poptOption *rows;
    const cli_option **options;
    char (*opposites)[64];
    int64_t n;
} popt_table;

/* For cli_each_option: how many rows there are. */
static void count_option(const cli_option *option, void *ctx)
{
    (void)option;
    *(int64_t *)ctx += 1;
}

/* For cli_each_option: the two rows of popt for one of ours. */
static void add_option(const cli_option *option, void *ctx)
{
    popt_table *table = ctx;
    int number = (int)table->n + 1;
    struct poptOption *row = &table->rows[2 * table->n];

    row[0] = (struct poptOption){.longName = option->name,
                                 .shortName = option->letter,
                                 .argInfo = option->kind == CLI_FLAG ? POPT_ARG_NONE : POPT_ARG_STRING,
                                 .val = number};
    /* the opposite of a flag; for the others the row is there twice, which popt does not mind */
    row[1] = row[0];
    row[1].shortName = 0;
    if (option->kind == CLI_FLAG) {
        cli_opposite(table->opposites[table->n], sizeof table->opposites[0], option->name);
        row[1].longName = table->opposites[table->n];
        row[1].val = number | OPPOSITE;
    }
    table->options[table->n++] = option;
}

/* Frees the tables; options that were read stay. */
static void popt_table_release(popt_table *table)
{
    free(table->rows);
    free(table->options);
    free(table->opposites);
}

/* Makes popt's table of all options of a command. */
static sonde_status popt_table_init(popt_table *table, const cli_command *command)
{
    int64_t n = 0;

    *table = (popt_table){0};
    cli_each_option(command, count_option, &n);
    table->rows = cli_alloc(2 * n + 1, sizeof *table->rows);
    table->options = cli_alloc(n, sizeof *table->options);
    table->opposites = cli_alloc(n, sizeof *table->opposites);
    if (table->rows == NULL || table->options == NULL || table->opposites == NULL) {
        popt_table_release(table);
        return SONDE_E_NOMEM;
    }
    cli_each_option(command, add_option, table);
    return SONDE_OK;
}

/* An option that popt refused, with the nearest known one as a hint. */
static sonde_status refuse_option(const popt_table *table, const char *bad, int why)
{
    const char *nearest, **names;
    char word[64];

    snprintf(word, sizeof word, "%s", bad + strspn(bad, "-"));
    word[strcspn(word, "=")] = '\0';
    /* a value that is missing or not wanted, before a name that is not known */
    if (why == POPT_ERROR_NOARG)
        return cli_misuse("option '%s' needs a value", bad);
    if (why != POPT_ERROR_BADOPT)
        return cli_misuse("option '%s': %s", bad, poptStrerror(why));
    CLI_TRY(CLI_NEW(names, 2 * table->n));
    for (int64_t i = 0; i < 2 * table->n; i++)
        names[i] = table->rows[i].longName;
    nearest = strncmp(bad, "--", 2) == 0 ? cli_nearest(word, names, 2 * table->n) : NULL;
    free(names);
    cli_misuse("unknown option: '%s'", bad);
    if (nearest != NULL)
        cli_hint(SONDE_E_ARG, "did you mean '--%s'? 'sonde %s --help' lists the options", nearest, cli_current_command);
    return SONDE_E_ARG;
}

/* Keeps a block until the program ends, or frees it if there is no memory for that. */
static sonde_status keep(void *block)
{
    sonde_status status = block != NULL ? append_text(&kept, block) : cli_fail(SONDE_E_NOMEM, "out of memory");

    if (status != SONDE_OK)
        free(block);
    return status;
}

/* The positional arguments, counted against what the command takes. --help and --version need none. */
static sonde_status take_arguments(cli_call *out, const cli_command *command, const char **rest)
{
    int n = 0;

    while (rest != NULL && rest[n] != NULL)
        n++;
    CLI_TRY(CLI_NEW(out->arguments, n + 1));
    CLI_TRY(keep(out->arguments));
    for (int i = 0; i < n; i++) { /* popt frees its own copies */
        char *copy = strdup(rest[i]);
        CLI_TRY(keep(copy));
        out->arguments[i] = copy;
    }
    out->n_arguments = n;
    if (cli.help || cli.version)
        return SONDE_OK;
    if (n < command->min_arguments)
        return cli_misuse("'%s' takes %s; %d of them given", command->name, command->arguments, n);
    if (rest != NULL && n > command->max_arguments)
        return cli_misuse("one argument too many for '%s': '%s'", command->name, rest[command->max_arguments]);
    return SONDE_OK;
}

/* Every error names what was typed. */
sonde_status cli_parse(cli_call *out, const cli_command *command, int n, char **arguments)
{
    popt_table table;
    const char **line = NULL;
    poptContext popt = NULL;
    sonde_status status;
    int number;

    *out = (cli_call){.words = (const char *const *)arguments, .n_words = n};
    CLI_TRY(popt_table_init(&table, command));
    CLI_TRY_DONE(CLI_NEW(line, n + 2));
    line[0] = "sonde";
    for (int i = 0; i < n; i++)
        line[i + 1] = arguments[i];
    /* popt takes the first word for the program's name */
    popt = poptGetContext("sonde", n + 1, line, table.rows, 0);
    if (popt == NULL) {
        status = cli_fail(SONDE_E_NOMEM, "out of memory");
        goto done;
    }
    /* options in the order of the command line: the last one wins, lists gather all */
    while ((number = poptGetNextOpt(popt)) > 0) {
        char *text = poptGetOptArg(popt); /* ours from here on; NULL for a flag */
        if (text != NULL)
            CLI_TRY_DONE(keep(text));
        CLI_TRY_DONE(take_option(table.options[(number & ~OPPOSITE) - 1], text, (number & OPPOSITE) != 0));
    }
    status = number < -1 ? refuse_option(&table, poptBadOption(popt, 0), number) : SONDE_OK;
    if (status == SONDE_OK)
        status = take_arguments(out, command, poptGetArgs(popt));
done:
    poptFreeContext(popt);
    popt_table_release(&table);
    free(line);
    return status;
}
