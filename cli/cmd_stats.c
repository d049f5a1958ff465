/* cmd_stats.c - `sonde stats`: statistics of activations, per token and per neuron.      floor 10: cli
 *
 * A hook on each point adds what passes by to a sonde_stats; no activation is kept, so that a data set of any size takes the
 * memory of one batch. Per token is the default for one text only: it keeps a line for each token.
 */
#include "stats.h"

#include <stdlib.h>
#include <string.h>

/* What the command line says; these are the defaults. */
stats_settings stats_asked = {.n_top = 10, .threshold = 1e-3};

static const cli_option options[] = {
    {"by", 0, CLI_CHOICE, &stats_asked.by, "auto|token|neuron", 0, 0,
     "what to list; auto: both for one text, neurons for several"},
    {"top", 0, CLI_INT, &stats_asked.n_top, "N", 0, 1e6, "most and least active neurons to list (10)"},
    {"rank", 0, CLI_CHOICE, &stats_asked.rank, "abs|value", 0, 0, "active means: large |x|, or large x"},
    {"threshold", 0, CLI_REAL, &stats_asked.threshold, "X", 0, 1e30, "`below` is the share of |x| < X (0.001)"},
    {0},
};

/* The hook: what passes by is counted, nothing of it is kept. */
static sonde_status on_activation(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    struct listener *listener = ctx;
    return sonde_stats_add(listener->stats, event, x, listener->survey->leave_out);
}

/* Frees all that a survey holds; fine on a zero one. */
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

    /* Lists for each token cost memory that grows with the text: only where they are printed. */
    sonde_stats_opts_init(&opts);
    opts.threshold = stats_asked.threshold;
    opts.rank = stats_asked.rank;
    opts.keep_tokens = s->lists_tokens;
    opts.top = s->lists_tokens ? stats_asked.n_top : 0;
    CLI_TRY(CLI_NEW(s->stats, s->n_wanted));
    CLI_TRY(CLI_NEW(s->listeners, s->n_wanted));
    CLI_TRY(sonde_run_new(&s->run, s->m.model));
    /* Hooks keep a pointer into listeners, which is never resized after this. */
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

    /* Batches differ in shape; a fresh block is zero, which means that all counts. */
    free(s->leave_out);
    CLI_TRY(CLI_NEW(s->leave_out, batch->B * batch->T));
    for (int64_t b = 0; b < batch->B; b++) {
        const int32_t *ids = batch->tokens + b * batch->T;
        /* Known by its id, not by the option: texts of --ids may bring their own BOS. */
        bool has_bos = batch->lengths[b] > 0 && ids[0] == bos;
        s->n_bos += has_bos;
        s->leave_out[b * batch->T] = has_bos && cli_exclude_bos;
        /* In the order in which sonde_stats keeps tokens, so that row i of both lists is the same token. */
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

/* Every text once, batch by batch, with progress. */
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
        /* A batch of empty texts has nothing to run, but its texts count. */
        if (batch.n_tokens > 0) {
            CLI_TRY_DONE(note_batch(s, &batch));
            CLI_TRY_DONE(sonde_run_forward(s->run, batch.tokens, batch.lengths, batch.B, batch.T));
        } else {
            s->n_sequences += batch.B;
        }
        n_done += (double)batch.n_tokens;
        cli_progress_step(&progress, n_done, cli_source_progress(source));
    }
    /* Means of nothing would be NaN everywhere. */
    if (s->n_counted == 0)
        status =
            cli_fail(SONDE_E_RANGE, "no tokens to count%s", s->n_bos > 0 ? ": --exclude-bos leaves out the only ones" : "");
done:
    cli_progress_end(&progress);
    cli_batch_release(&batch);
    return status;
}

/* Points are chosen before any text is read: a name that matches nothing fails at once. */
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
    /* Given ids need no tokenizer; it is opened for the labels, and its absence is no error. */
    if (cli.ids.n > 0)
        cli_model_has_tokenizer(&s.m);
    CLI_TRY_DONE(cli_source_open(&source, &s.m, call->arguments + 1, call->n_arguments - 1, CLI_LONG_FAILS));
    /* --by auto: tokens are listed for one text from the command line, never for files, which may be of any size. */
    s.lists_tokens = stats_asked.by == BY_TOKEN ||
                     (stats_asked.by == BY_AUTO && cli.files.n == 0 && cli.ids.n + call->n_arguments - 1 == 1);
    CLI_TRY_DONE(listen(&s));
    CLI_TRY_DONE(survey_texts(&s, source));
    status = cli.json ? stats_print_json(&s) : stats_print_tables(&s);
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
    .examples = {"sonde stats models/stories \"Once upon a time\" --hook resid_post3 --exclude-bos",
                 "sonde stats models/stories -f stories.jsonl.zst --truncate --hook 'blocks.*.mlp.hook_post' --json"},
    .options = {options, cli_bos_options, cli_hook_options, cli_text_options, cli_model_options},
    .notes =
        "Everything is summed in double. std is that of the population (numpy's default); kurtosis is the excess (0 for a\n"
        "normal distribution) of the population, and not defined for a constant (- in tables, null in JSON); sparsity is\n"
        "the share of exact zeros, `below` (JSON) that of |x| < --threshold. Padding never counts, nor does the -inf of\n"
        "masked attention scores; BOS counts unless --exclude-bos. Active means a large |x|, over several tokens a large\n"
        "mean |x| (--rank value: x itself); ties go to the lower neuron. Neuron 5.17 is coordinate 17 of head 5.",
    .run = run,
};
