/* cmd_stats.c - `sonde stats`: statistics of activations, per token and per neuron.      floor 10: cli
 *
 * A hook on each point adds what passes by to a sonde_stats; no activation is kept, so that a data set of any size takes the
 * memory of one batch. Per token is the default for one text only: it keeps a line for each token.
 */
#include "picture.h"

#include <stdlib.h>
#include <string.h>

enum { BY_AUTO, BY_TOKEN, BY_NEURON };
static int64_t by, n_top = 10, rank;
static double threshold = 1e-3;

static const cli_option options[] = {
    {"by", 0, CLI_CHOICE, &by, "auto|token|neuron", 0, 0, "what to list; auto: both for one text, neurons for several"},
    {"top", 0, CLI_INT, &n_top, "N", 0, 1e6, "most and least active neurons to list (10)"},
    {"rank", 0, CLI_CHOICE, &rank, "abs|value", 0, 0, "active means: large |x|, or large x"},
    {"threshold", 0, CLI_REAL, &threshold, "X", 0, 1e30, "`below` is the share of |x| < X (0.001)"},
    {0},
};

/* A token that was counted, in the order in which it was. */
typedef struct counted {
    int64_t sequence, position;
    int32_t id;
} counted;

/* One pass over the texts: which points, what of the present batch is left out, which tokens were counted. */
typedef struct survey {
    cli_model m;
    const sonde_hook_point *points;
    int64_t n_points, *wanted, n_wanted; /* wanted: indices into points */
    sonde_stats **stats;                 /* (n_wanted) */
    struct listener {
        struct survey *survey;
        sonde_stats *stats;
    } * listeners;
    sonde_run *run;
    bool *leave_out; /* (B,T) of the present batch */
    counted *tokens; /* only if they are listed */
    int64_t n_tokens, capacity, n_counted, n_sequences, n_bos;
    bool lists_tokens;
} survey;

static sonde_status on_activation(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    struct listener *listener = ctx;
    return sonde_stats_add(listener->stats, event, x, listener->survey->leave_out);
}

static void survey_close(survey *s)
{
    sonde_run_free(s->run);
    for (int64_t i = 0; s->stats != NULL && i < s->n_wanted; i++)
        sonde_stats_free(s->stats[i]);
    free(s->stats);
    free(s->listeners);
    free(s->wanted);
    free(s->leave_out);
    free(s->tokens);
    cli_model_close(&s->m);
}

/* Listens at every wanted point. */
static sonde_status listen(survey *s)
{
    sonde_stats_opts opts;

    sonde_stats_opts_init(&opts);
    opts.threshold = threshold;
    opts.rank = rank;
    opts.keep_tokens = s->lists_tokens;
    opts.top = s->lists_tokens ? n_top : 0;
    CLI_TRY(CLI_NEW(s->stats, s->n_wanted));
    CLI_TRY(CLI_NEW(s->listeners, s->n_wanted));
    CLI_TRY(sonde_run_new(&s->run, s->m.model));
    for (int64_t i = 0; i < s->n_wanted; i++) {
        const sonde_hook_point *point = &s->points[s->wanted[i]];
        CLI_TRY(sonde_stats_new(&s->stats[i], point, &opts));
        s->listeners[i] = (struct listener){s, s->stats[i]};
        CLI_TRY(sonde_run_hook(s->run, point->name, SONDE_HOOK_READ, on_activation, &s->listeners[i], NULL));
    }
    return SONDE_OK;
}

/* Marks what is left out of a batch and notes what is counted. */
static sonde_status note_batch(survey *s, const cli_batch *batch)
{
    int32_t bos = cli_bos_id(&s->m);

    free(s->leave_out);
    CLI_TRY(CLI_NEW(s->leave_out, batch->B * batch->T));
    for (int64_t b = 0; b < batch->B; b++) {
        const int32_t *ids = batch->tokens + b * batch->T;
        bool has_bos = batch->lengths[b] > 0 && ids[0] == bos;
        s->n_bos += has_bos;
        s->leave_out[b * batch->T] = has_bos && cli_exclude_bos;
        for (int64_t t = has_bos && cli_exclude_bos; t < batch->lengths[b]; t++) {
            s->n_counted++;
            if (!s->lists_tokens)
                continue;
            CLI_TRY(CLI_GROW(s->tokens, s->n_tokens, s->capacity));
            s->tokens[s->n_tokens++] = (counted){batch->first + b, t, ids[t]};
        }
    }
    s->n_sequences += batch->B;
    return SONDE_OK;
}

static sonde_status survey_texts(survey *s, cli_source *source)
{
    cli_batch batch = {0};
    cli_progress progress;
    double n_done = 0;
    sonde_status status;

    cli_progress_begin(&progress, "tokens");
    for (;;) {
        CLI_TRY_DONE(cli_batch_next(&batch, source, CLI_BATCH_TOKENS));
        if (batch.B == 0)
            break;
        if (batch.n_tokens > 0) {
            CLI_TRY_DONE(note_batch(s, &batch));
            CLI_TRY_DONE(sonde_run_forward(s->run, batch.tokens, batch.lengths, batch.B, batch.T));
        } else {
            s->n_sequences += batch.B;
        }
        n_done += (double)batch.n_tokens;
        cli_progress_step(&progress, n_done, cli_source_progress(source));
    }
    if (s->n_counted == 0)
        status =
            cli_fail(SONDE_E_RANGE, "no tokens to count%s", s->n_bos > 0 ? ": --exclude-bos leaves out the only ones" : "");
done:
    cli_progress_end(&progress);
    cli_batch_release(&batch);
    return status;
}

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

    *n = n_top < n_neurons ? n_top : n_neurons;
    CLI_TRY(CLI_NEW(values, n_neurons));
    *out = cli_alloc(*n, sizeof **out);
    for (int64_t i = 0; i < n_neurons; i++)
        values[i] = sonde_moments_get(&neurons[i], rank == SONDE_RANK_ABS ? SONDE_STAT_MEAN_ABS : SONDE_STAT_MEAN);
    if (*out != NULL)
        *n = sonde_top_k(*out, values, n_neurons, *n, most);
    free(values);
    return *out != NULL ? SONDE_OK : SONDE_E_NOMEM;
}

/* "5.17" for coordinate 17 of head 5, "17" where there are no heads. */
static void format_neuron(char out[48], const sonde_hook_point *point, int64_t neuron)
{
    int64_t width = point->rank == 4 && point->width[3] > 0 ? point->width[3] : 0;

    if (width > 0)
        snprintf(out, 48, "%lld.%lld", (long long)(neuron / width), (long long)(neuron % width));
    else
        snprintf(out, 48, "%lld", (long long)neuron);
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static void add_moments(json_t *out, const sonde_moments *m)
{
    for (int i = 0; i < SONDE_N_STATISTICS; i++)
        json_object_set_new(out, sonde_statistic_name((sonde_statistic)i),
                            cli_json_real(sonde_moments_get(m, (sonde_statistic)i)));
    json_object_set_new(out, "n", json_integer(m->n));
}

static json_t *neurons_json(const sonde_stats *stats, const sonde_hook_point *point)
{
    int64_t n;
    const sonde_moments *neurons = sonde_stats_neurons(stats, &n);
    json_t *list = json_array();

    for (int64_t i = 0; i < n; i++) {
        json_t *row = json_pack("{s:I}", "neuron", (json_int_t)i);
        if (point->rank == 4 && point->width[3] > 0)
            json_object_set_new(row, "head", json_integer(i / point->width[3]));
        add_moments(row, &neurons[i]);
        json_array_append_new(list, row);
    }
    return list;
}

static json_t *ranked_json(const sonde_stats *stats, bool most)
{
    int64_t *order = NULL, n = 0, n_neurons;
    const sonde_moments *neurons = sonde_stats_neurons(stats, &n_neurons);
    json_t *list = json_array();

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

static json_t *token_top_json(const sonde_stats *stats, int64_t i, bool most)
{
    int64_t n;
    const sonde_activity *top = sonde_stats_token_top(stats, i, most, &n);
    json_t *list = json_array();

    for (int64_t k = 0; k < n; k++)
        json_array_append_new(list, json_pack("{s:I, s:f}", "neuron", (json_int_t)top[k].neuron, "value", top[k].value));
    return list;
}

static json_t *tokens_json(const survey *s, const sonde_stats *stats)
{
    int64_t n;
    const sonde_moments *tokens = sonde_stats_tokens(stats, &n);
    json_t *list = json_array();

    for (int64_t i = 0; i < n; i++) {
        const counted *token = &s->tokens[i];
        size_t n_bytes = 0;
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

static json_t *hook_json(const survey *s, int64_t i)
{
    const sonde_hook_point *point = &s->points[s->wanted[i]];
    const sonde_stats *stats = s->stats[i];
    json_t *out = json_object(), *total = json_object();

    add_moments(total, sonde_stats_total(stats));
    json_object_set_new(out, "hook", json_string(point->name));
    json_object_set_new(out, "layer", point->layer < 0 ? json_null() : json_integer(point->layer));
    json_object_set_new(out, "n_neurons", json_integer(sonde_hook_n_neurons(point)));
    json_object_set_new(out, "all", total);
    if (s->lists_tokens)
        json_object_set_new(out, "tokens", tokens_json(s, stats));
    if (by != BY_TOKEN) {
        json_object_set_new(out, "neurons", neurons_json(stats, point));
        json_object_set_new(out, "most_active", ranked_json(stats, true));
        json_object_set_new(out, "least_active", ranked_json(stats, false));
    }
    return out;
}

static sonde_status print_json(const survey *s)
{
    json_t *out = cli_json("sonde.stats/1"), *hooks = json_array(), *definitions = json_object();

    for (int i = 0; i < SONDE_N_STATISTICS; i++)
        json_object_set_new(definitions, sonde_statistic_name((sonde_statistic)i),
                            json_string(sonde_statistic_formula((sonde_statistic)i)));
    for (int64_t i = 0; i < s->n_wanted; i++)
        json_array_append_new(hooks, hook_json(s, i));
    json_object_set_new(out, "model", json_string(s->m.path));
    json_object_set_new(out, "sequences", json_integer(s->n_sequences));
    json_object_set_new(out, "n_tokens", json_integer(s->n_counted));
    json_object_set_new(out, "bos", json_string(s->n_bos == 0 ? "none" : cli_exclude_bos ? "excluded" : "included"));
    json_object_set_new(out, "rank", json_string(rank == SONDE_RANK_ABS ? "abs" : "value"));
    json_object_set_new(out, "threshold", cli_json_real(threshold));
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

static const char *statistic(const sonde_moments *m, sonde_statistic which)
{
    return number(sonde_moments_get(m, which));
}

#define STATISTIC_HEADERS "mean\tstd\tmin\tmax\tl2\tsparsity\tkurtosis"

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
    const sonde_activity *top = sonde_stats_token_top(s->stats[hook], i, most, &n);
    size_t used = 0;

    out[0] = '\0';
    for (int64_t k = 0; k < n && k < SHOWN && used < out_bytes; k++) {
        char name[48];
        format_neuron(name, point, top[k].neuron);
        used += (size_t)snprintf(out + used, out_bytes - used, "%s%s %+.3g", k > 0 ? ", " : "", name, top[k].value);
    }
}

static sonde_status print_tokens(const survey *s, int64_t hook)
{
    int64_t n;
    const sonde_moments *tokens = sonde_stats_tokens(s->stats[hook], &n);
    cli_table *table =
        cli_table_new("rrlrrrrrrrll", "text\tposition\ttoken\t" STATISTIC_HEADERS "\tmost active\tleast active");

    for (int64_t i = 0; i < n; i++) {
        char numbers[256], most[160], least[160], *label = NULL;
        format_statistics(numbers, sizeof numbers, &tokens[i]);
        format_top(most, sizeof most, s, hook, i, true);
        format_top(least, sizeof least, s, hook, i, false);
        if (cli_token_label(&label, &s->m, s->tokens[i].id) == SONDE_OK)
            cli_table_row(table, "%lld\t%lld\t|%s|\t%s\t%s\t%s", (long long)s->tokens[i].sequence,
                          (long long)s->tokens[i].position, label, numbers, most, least);
        free(label);
    }
    return cli_table_print(table);
}

static sonde_status print_neurons(const survey *s, int64_t hook, bool most)
{
    const sonde_hook_point *point = &s->points[s->wanted[hook]];
    int64_t *order, n, n_neurons;
    const sonde_moments *neurons = sonde_stats_neurons(s->stats[hook], &n_neurons);
    cli_table *table;

    CLI_TRY(rank_neurons(&order, &n, s->stats[hook], most));
    printf("\n%s active %lld of %lld %s, by mean %s over %s tokens\n", most ? "most" : "least", (long long)n,
           (long long)n_neurons, point->width[2] == 0 ? "heads" : "neurons", rank == SONDE_RANK_ABS ? "|x|" : "x",
           cli_count(s->n_counted));
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

static sonde_status print_hook(const survey *s, int64_t hook)
{
    const sonde_hook_point *point = &s->points[s->wanted[hook]];
    const sonde_moments *all = sonde_stats_total(s->stats[hook]);

    printf("%s%s: %s values: mean %s, std %s, min %s, max %s, zeros %s, |x| < %g %s, kurtosis %s\n", hook > 0 ? "\n" : "",
           point->name, cli_count(all->n), statistic(all, SONDE_STAT_MEAN), statistic(all, SONDE_STAT_STD),
           statistic(all, SONDE_STAT_MIN), statistic(all, SONDE_STAT_MAX), statistic(all, SONDE_STAT_SPARSITY), threshold,
           statistic(all, SONDE_STAT_BELOW), statistic(all, SONDE_STAT_KURTOSIS));
    if (s->lists_tokens) {
        putchar('\n');
        CLI_TRY(print_tokens(s, hook));
    }
    if (by != BY_TOKEN && n_top > 0) {
        CLI_TRY(print_neurons(s, hook, true));
        CLI_TRY(print_neurons(s, hook, false));
    }
    return cli_check_stdout();
}

static sonde_status print_tables(const survey *s)
{
    printf("%s: %s token%s of %s text%s, %s\n\n", s->m.path, cli_count(s->n_counted), s->n_counted > 1 ? "s" : "",
           cli_count(s->n_sequences), s->n_sequences > 1 ? "s" : "", bos_text(s));
    for (int64_t i = 0; i < s->n_wanted; i++)
        CLI_TRY(print_hook(s, i));
    return SONDE_OK;
}

static sonde_status run(const cli_call *call)
{
    survey s = {0};
    cli_source *source = NULL;
    sonde_status status;

    if (cli.hooks.n == 0)
        return cli_misuse("no hook: give '--hook PATTERN', as in --hook resid_post0");
    CLI_TRY_DONE(cli_model_open(&s.m, call->arguments[0]));
    s.points = sonde_model_hook_points(s.m.model, &s.n_points);
    CLI_TRY_DONE(cli_match_hooks(&s.wanted, &s.n_wanted, s.m.model));
    if (cli.ids.n > 0)
        cli_model_has_tokenizer(&s.m);
    CLI_TRY_DONE(cli_source_open(&source, &s.m, call->arguments + 1, call->n_arguments - 1, CLI_LONG_FAILS));
    s.lists_tokens = by == BY_TOKEN || (by == BY_AUTO && cli.files.n == 0 && cli.ids.n + call->n_arguments - 1 == 1);
    CLI_TRY_DONE(listen(&s));
    CLI_TRY_DONE(survey_texts(&s, source));
    status = cli.json ? print_json(&s) : print_tables(&s);
done:
    cli_source_close(source);
    survey_close(&s);
    return status;
}

const cli_command cli_cmd_stats = {
    .name = "stats",
    .summary = "statistics of activations: mean, std, L2, sparsity, kurtosis, most active neurons; by token and by neuron",
    .arguments = "MODEL [TEXT...]",
    .min_arguments = 1,
    .max_arguments = 1 << 20,
    .examples = {"sonde stats stories15M \"Once upon a time\" --hook resid_post3 --exclude-bos",
                 "sonde stats stories15M -f stories.jsonl.zst --truncate --hook 'blocks.*.mlp.hook_post' --json"},
    .options = {options, cli_bos_options, cli_hook_options, cli_text_options, cli_model_options},
    .notes =
        "Everything is summed in double. std is that of the population (numpy's default); kurtosis is the excess (0 for a\n"
        "normal distribution) of the population, and not defined for a constant (- in tables, null in JSON); sparsity is\n"
        "the share of exact zeros, `below` (JSON) that of |x| < --threshold. Padding never counts, nor does the -inf of\n"
        "masked attention scores; BOS counts unless --exclude-bos. Active means a large |x|, over several tokens a large\n"
        "mean |x| (--rank value: x itself); ties go to the lower neuron. Neuron 5.17 is coordinate 17 of head 5.",
    .run = run,
};
