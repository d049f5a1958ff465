/* stats_print.c - what `sonde stats` found: as tables and as JSON.                    floor 10: cli */
#include "stats.h"

#include <stdlib.h>
#include <string.h>

/* What was done about BOS, as every output says. */
static const char *bos_text(const survey *s)
{
    return s->n_bos == 0 ? "no BOS" : cli_exclude_bos ? "BOS left out" : "BOS included";
}

/* ---- the order of neurons ---------------------------------------------------------------------------------------- */

/* The n neurons that are most or least active over all tokens. Owns: *out (free). */
static sonde_status rank_neurons(int64_t **out, int64_t *n, const sonde_stats *stats, bool most)
{
    int64_t n_neurons;
    const sonde_moments *neurons = sonde_stats_neurons(stats, &n_neurons);
    double *values;

    /* Fewer where the point has fewer neurons; fewer still where a mean is not defined. */
    *n = stats_asked.n_top < n_neurons ? stats_asked.n_top : n_neurons;
    CLI_TRY(CLI_NEW(values, n_neurons));
    *out = cli_alloc(*n, sizeof **out);
    for (int64_t i = 0; i < n_neurons; i++)
        values[i] =
            sonde_moments_get(&neurons[i], stats_asked.rank == SONDE_RANK_ABS ? SONDE_STAT_MEAN_ABS : SONDE_STAT_MEAN);
    if (*out != NULL)
        *n = sonde_top_k(*out, values, n_neurons, *n, most);
    free(values);
    return *out != NULL ? SONDE_OK : SONDE_E_NOMEM;
}

/* "5.17" for coordinate 17 of head 5, "17" where there are no heads. */
static void format_neuron(char out[48], const sonde_hook_point *point, int64_t neuron)
{
    /* The width of a head, for points [B, T, H, h]. */
    int64_t width = point->rank == 4 && point->width[3] > 0 ? point->width[3] : 0;

    if (width > 0)
        snprintf(out, 48, "%lld.%lld", (long long)(neuron / width), (long long)(neuron % width));
    else
        snprintf(out, 48, "%lld", (long long)neuron);
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

/* All statistics of a series, under their names; null where one is not defined. */
static void add_moments(json_t *out, const sonde_moments *m)
{
    for (int i = 0; i < SONDE_N_STATISTICS; i++)
        json_object_set_new(out, sonde_statistic_name((sonde_statistic)i),
                            cli_json_real(sonde_moments_get(m, (sonde_statistic)i)));
    json_object_set_new(out, "n", json_integer(m->n));
}

/* A row for each neuron, in order. */
static json_t *neurons_json(const sonde_stats *stats, const sonde_hook_point *point)
{
    int64_t n;
    const sonde_moments *neurons = sonde_stats_neurons(stats, &n);
    json_t *list = json_array();

    for (int64_t i = 0; i < n; i++) {
        json_t *row = json_pack("{s:I}", "neuron", (json_int_t)i);
        /* The plain number stays the key; head is what it belongs to. */
        if (point->rank == 4 && point->width[3] > 0)
            json_object_set_new(row, "head", json_integer(i / point->width[3]));
        add_moments(row, &neurons[i]);
        json_array_append_new(list, row);
    }
    return list;
}

/* The most or least active neurons over all tokens, best first. */
static json_t *ranked_json(const sonde_stats *stats, bool most)
{
    int64_t *order = NULL, n = 0, n_neurons;
    const sonde_moments *neurons = sonde_stats_neurons(stats, &n_neurons);
    json_t *list = json_array();

    /* Both means of each, whichever ranks them: a large mean |x| beside a small mean says that signs differ. */
    if (rank_neurons(&order, &n, stats, most) == SONDE_OK) {
        for (int64_t i = 0; i < n; i++)
            json_array_append_new(list,
                                  json_pack("{s:I, s:o, s:o}", "neuron", (json_int_t)order[i], "mean_abs",
                                            cli_json_real(sonde_moments_get(&neurons[order[i]], SONDE_STAT_MEAN_ABS)),
                                            "mean", cli_json_real(sonde_moments_get(&neurons[order[i]], SONDE_STAT_MEAN))));
    }
    free(order);
    return list;
}

/* The same for one token: neurons and their activations. */
static json_t *token_top_json(const sonde_stats *stats, int64_t i, bool most)
{
    int64_t n;
    const sonde_activity *top = sonde_stats_token_top(stats, i, most, &n);
    json_t *list = json_array();

    for (int64_t k = 0; k < n; k++)
        json_array_append_new(list, json_pack("{s:I, s:f}", "neuron", (json_int_t)top[k].neuron, "value", top[k].value));
    return list;
}

/* A row for each token that counted: where it stands, what it is, its statistics. */
static json_t *tokens_json(const survey *s, const sonde_stats *stats)
{
    int64_t n;
    const sonde_moments *tokens = sonde_stats_tokens(stats, &n);
    json_t *list = json_array();

    for (int64_t i = 0; i < n; i++) {
        /* Row i of the statistics belongs to the i-th token that was counted. */
        const counted *token = &s->tokens[i];
        size_t n_bytes = 0;
        /* Null without a tokenizer: the id says it then. */
        const char *bytes = s->m.tokenizer ? sonde_tokenizer_bytes(&n_bytes, s->m.tokenizer, token->id) : NULL;
        json_t *row = json_pack("{s:I, s:I, s:i, s:o}", "sequence", (json_int_t)token->sequence, "position",
                                (json_int_t)token->position, "id", (int)token->id, "token",
                                bytes ? cli_label_json((sonde_plot_label){bytes, (int64_t)n_bytes}) : json_null());
        add_moments(row, &tokens[i]);
        json_object_set_new(row, "most_active", token_top_json(stats, i, true));
        json_object_set_new(row, "least_active", token_top_json(stats, i, false));
        json_array_append_new(list, row);
    }
    return list;
}

/* One hook point: all values as one series, then tokens and neurons as far as they were asked for. */
static json_t *hook_json(const survey *s, int64_t i)
{
    const sonde_hook_point *point = &s->points[s->wanted[i]];
    const sonde_stats *stats = s->stats[i];
    json_t *out = json_object(), *total = json_object();

    add_moments(total, sonde_stats_total(stats));
    json_object_set_new(out, "hook", json_string(point->name));
    json_object_set_new(out, "layer", point->layer < 0 ? json_null() : json_integer(point->layer));
    json_object_set_new(out, "n_neurons", json_integer(sonde_hook_n_neurons(point)));
    /* `all`: every value of every token as one series. */
    json_object_set_new(out, "all", total);
    if (s->lists_tokens)
        json_object_set_new(out, "tokens", tokens_json(s, stats));
    /* --by token has no neurons; --by auto and --by neuron do. */
    if (stats_asked.by != BY_TOKEN) {
        json_object_set_new(out, "neurons", neurons_json(stats, point));
        json_object_set_new(out, "most_active", ranked_json(stats, true));
        json_object_set_new(out, "least_active", ranked_json(stats, false));
    }
    return out;
}

/* Everything, with the formulas of the statistics beside their numbers. */
sonde_status stats_print_json(const survey *s)
{
    json_t *out = cli_json("sonde.stats/1"), *hooks = json_array(), *definitions = json_object();

    /* A reader of the file need not guess whether std is over n or n - 1. */
    for (int i = 0; i < SONDE_N_STATISTICS; i++)
        json_object_set_new(definitions, sonde_statistic_name((sonde_statistic)i),
                            json_string(sonde_statistic_formula((sonde_statistic)i)));
    for (int64_t i = 0; i < s->n_wanted; i++)
        json_array_append_new(hooks, hook_json(s, i));
    /* What was counted, and by which rules, before the numbers. */
    json_object_set_new(out, "model", json_string(s->m.path));
    json_object_set_new(out, "sequences", json_integer(s->n_sequences));
    json_object_set_new(out, "n_tokens", json_integer(s->n_counted));
    json_object_set_new(out, "bos", json_string(s->n_bos == 0 ? "none" : cli_exclude_bos ? "excluded" : "included"));
    json_object_set_new(out, "rank", json_string(stats_asked.rank == SONDE_RANK_ABS ? "abs" : "value"));
    json_object_set_new(out, "threshold", cli_json_real(stats_asked.threshold));
    json_object_set_new(out, "definitions", definitions);
    json_object_set_new(out, "hooks", hooks);
    return cli_json_write(out);
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

/* A number of a table: five digits, "-" where it is not defined. Buffers rotate. */
static const char *number(double x)
{
    static char buffers[16][32];
    static int next;
    char *out = buffers[next++ & 15];

    snprintf(out, 32, x == x ? "%.5g" : "-", x);
    return out;
}

/* One statistic of a series, as tables show it. */
static const char *statistic(const sonde_moments *m, sonde_statistic which)
{
    return number(sonde_moments_get(m, which));
}

/* What fits a line of a wide terminal; the other statistics are in the JSON. */
#define STATISTIC_HEADERS "mean\tstd\tmin\tmax\tl2\tsparsity\tkurtosis"

/* The statistics that tables have room for, joined by tabs in the order of the headers. */
static void format_statistics(char *out, size_t out_bytes, const sonde_moments *m)
{
    snprintf(out, out_bytes, "%s\t%s\t%s\t%s\t%s\t%s\t%s", statistic(m, SONDE_STAT_MEAN), statistic(m, SONDE_STAT_STD),
             statistic(m, SONDE_STAT_MIN), statistic(m, SONDE_STAT_MAX), statistic(m, SONDE_STAT_L2),
             statistic(m, SONDE_STAT_SPARSITY), statistic(m, SONDE_STAT_KURTOSIS));
}

/* The first few active neurons of a token: "138 +2.51, 7 -2.33". */
static void format_top(char *out, size_t out_bytes, const survey *s, int64_t hook, int64_t i, bool most)
{
    enum { SHOWN = 3 };
    const sonde_hook_point *point = &s->points[s->wanted[hook]];
    int64_t n;
    /* Best first, as sonde_stats keeps them. */
    const sonde_activity *top = sonde_stats_token_top(s->stats[hook], i, most, &n);
    size_t used = 0;

    out[0] = '\0';
    for (int64_t k = 0; k < n && k < SHOWN && used < out_bytes; k++) {
        char name[48];
        format_neuron(name, point, top[k].neuron);
        used += (size_t)snprintf(out + used, out_bytes - used, "%s%s %+.3g", k > 0 ? ", " : "", name, top[k].value);
    }
}

/* A line for each token. */
static sonde_status print_tokens(const survey *s, int64_t hook)
{
    int64_t n;
    const sonde_moments *tokens = sonde_stats_tokens(s->stats[hook], &n);
    cli_table *table =
        cli_table_new("rrlrrrrrrrll", "text\tposition\ttoken\t" STATISTIC_HEADERS "\tmost active\tleast active");

    /* Numbers and names are made as text first, as the cells between them are of several columns. */
    for (int64_t i = 0; i < n; i++) {
        char numbers[256], most[160], least[160], *label = NULL;
        format_statistics(numbers, sizeof numbers, &tokens[i]);
        format_top(most, sizeof most, s, hook, i, true);
        format_top(least, sizeof least, s, hook, i, false);
        /* Bars around the token show its spaces. */
        if (cli_token_label(&label, &s->m, s->tokens[i].id) == SONDE_OK)
            cli_table_row(table, "%lld\t%lld\t|%s|\t%s\t%s\t%s", (long long)s->tokens[i].sequence,
                          (long long)s->tokens[i].position, label, numbers, most, least);
        free(label);
    }
    return cli_table_print(table);
}

/* A line for each of the most or least active neurons; of attention points, heads. */
static sonde_status print_neurons(const survey *s, int64_t hook, bool most)
{
    const sonde_hook_point *point = &s->points[s->wanted[hook]];
    int64_t *order, n, n_neurons;
    const sonde_moments *neurons = sonde_stats_neurons(s->stats[hook], &n_neurons);
    cli_table *table;

    CLI_TRY(rank_neurons(&order, &n, s->stats[hook], most));
    /* Says by which mean they are ranked: |x| and x give different lists. */
    printf("\n%s active %lld of %lld %s, by mean %s over %s tokens\n", most ? "most" : "least", (long long)n,
           (long long)n_neurons, point->width[2] == 0 ? "heads" : "neurons",
           stats_asked.rank == SONDE_RANK_ABS ? "|x|" : "x", cli_count(s->n_counted));
    table = cli_table_new("rrrrrrrrr", "neuron\tmean |x|\t" STATISTIC_HEADERS);
    for (int64_t i = 0; i < n; i++) {
        char numbers[256], name[48];
        format_statistics(numbers, sizeof numbers, &neurons[order[i]]);
        format_neuron(name, point, order[i]);
        cli_table_row(table, "%s\t%s\t%s", name, statistic(&neurons[order[i]], SONDE_STAT_MEAN_ABS), numbers);
    }
    free(order);
    return cli_table_print(table);
}

/* One hook point: a line about all values, then its tables. */
static sonde_status print_hook(const survey *s, int64_t hook)
{
    const sonde_hook_point *point = &s->points[s->wanted[hook]];
    const sonde_moments *all = sonde_stats_total(s->stats[hook]);

    /* One line stands for the point where no table is asked for. */
    printf("%s%s: %s values: mean %s, std %s, min %s, max %s, zeros %s, |x| < %g %s, kurtosis %s\n", hook > 0 ? "\n" : "",
           point->name, cli_count(all->n), statistic(all, SONDE_STAT_MEAN), statistic(all, SONDE_STAT_STD),
           statistic(all, SONDE_STAT_MIN), statistic(all, SONDE_STAT_MAX), statistic(all, SONDE_STAT_SPARSITY),
           stats_asked.threshold, statistic(all, SONDE_STAT_BELOW), statistic(all, SONDE_STAT_KURTOSIS));
    if (s->lists_tokens) {
        putchar('\n');
        CLI_TRY(print_tokens(s, hook));
    }
    /* --top 0 leaves both lists out. */
    if (stats_asked.by != BY_TOKEN && stats_asked.n_top > 0) {
        CLI_TRY(print_neurons(s, hook, true));
        CLI_TRY(print_neurons(s, hook, false));
    }
    return cli_check_stdout();
}

/* The head says how much was counted; every mean below is over that. */
sonde_status stats_print_tables(const survey *s)
{
    printf("%s: %s token%s of %s text%s, %s\n\n", s->m.path, cli_count(s->n_counted), s->n_counted > 1 ? "s" : "",
           cli_count(s->n_sequences), s->n_sequences > 1 ? "s" : "", bos_text(s));
    for (int64_t i = 0; i < s->n_wanted; i++)
        CLI_TRY(print_hook(s, i));
    return SONDE_OK;
}
