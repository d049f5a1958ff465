/* cmd_sae_eval.c - `sonde sae eval`: what an autoencoder keeps of a model's activations and predictions.   floor 10: cli
 *
 * Each text is a context of its own, cut at the model's. Special tokens are neither measured nor changed, unless they are asked
 * for. All texts are held as tokens: two walks go over them. Several autoencoders share the passes that do not depend on them, and are
 * printed as one row each.
 */
#include "sae_eval.h"
#include "token_texts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What the command line says. */
static const char *hook, *hook_out;
static int64_t protocol, n_resamples = 1000, seed, batch = 1024;
static double batch_topk;
static bool no_loss, include_special, saebench;
static cli_strings also;

static const cli_option options[] = {
    {"hook", 0, CLI_TEXT, &hook, "NAME", 0, 0, "hook point that is read (as cfg.json says)"},
    {"hook-out", 0, CLI_TEXT, &hook_out, "NAME", 0, 0, "hook point that a transcoder writes (as cfg.json says)"},
    {"also", 0, CLI_LIST, &also, "SAE", 0, 0,
     "one more autoencoder of the same hook points, from the same passes; may be repeated"},
    {"no-loss", 0, CLI_FLAG, &no_loss, NULL, 0, 0, "only what needs no logits: the model ends behind the hook"},
    {"protocol", 0, CLI_CHOICE, &protocol, "sonde|saelens", 0, 0,
     "which positions are ablated, which losses count (see below)"},
    {"batch-topk", 0, CLI_REAL, &batch_topk, "K", 0, 1e9,
     "BatchTopK, Matryoshka: the K x rows largest features of a pass, as in training, not those above thresholds"},
    {"batch", 0, CLI_INT, &batch, "N", 1, 1e9, "tokens of a pass, at least one text"},
    {"include-special", 0, CLI_FLAG, &include_special, NULL, 0, 0, "measure and change special tokens (BOS), too"},
    {"resamples", 0, CLI_INT, &n_resamples, "N", 0, 1e6, "drawings of texts for the intervals; 0: none (1000)"},
    {"saebench", 0, CLI_FLAG, &saebench, NULL, 0, 0, "print JSON as SAEBench's core evaluation writes it"},
    {"seed", 0, CLI_INT, &seed, "N", 0, 1e18, "of these drawings"},
    {0},
};

/* One of the autoencoders. */
typedef struct subject {
    const char *path;
    const sonde_sae *sae;
    const sonde_sae_config *config;
    const sonde_sae_feature *features; /* (S) */
    const sonde_sae_report *report;
} subject;

/* One evaluation, and the texts as tokens. */
typedef struct work {
    cli_model m;
    int64_t n;
    sonde_sae **saes;             /* (n) */
    sonde_sae_feature **features; /* (n) of (S) */
    sonde_sae_report *reports;    /* (n) */
    cli_progress progress;
    cli_token_texts texts;
} work;

/* Autoencoder i, as those who print it see it. */
static subject subject_of(const work *w, const cli_call *call, int64_t i)
{
    return (subject){i == 0 ? call->arguments[1] : also.items[i - 1], w->saes[i], sonde_sae_get_config(w->saes[i]),
                     w->features[i], &w->reports[i]};
}

/* ---- results ---------------------------------------------------------------------------------------------------------------- */

/* Whether a metric was measured at all. */
static bool is_measured(const subject *s, int i)
{
    return isfinite(s->report->metrics[i].value);
}

/* Shares, and the histogram. */
static json_t *density_json(const sae_density *d, int64_t S)
{
    json_t *out = json_pack("{s:I, s:f, s:f, s:f}", "dead", (json_int_t)d->n_dead, "dead_share",
                            (double)d->n_dead / (double)S, "freq_over_1_percent", (double)d->n_over_1 / (double)S,
                            "freq_over_10_percent", (double)d->n_over_10 / (double)S);
    json_t *bins = json_array();

    json_object_set_new(out, "normalized_freq_over_1_percent",
                        cli_json_real(d->total > 0 ? d->total_over_1 / d->total : NAN));
    json_object_set_new(out, "normalized_freq_over_10_percent",
                        cli_json_real(d->total > 0 ? d->total_over_10 / d->total : NAN));
    for (int i = 0; i < 28; i++)
        json_array_append_new(bins,
                              json_pack("{s:f, s:I}", "log10_from", -7.0 + i / 4.0, "features", (json_int_t)d->bins[i]));
    json_object_set_new(out, "histogram", bins);
    return out;
}

/* All digits. Owns: the caller's. */
static json_t *to_json(const work *w, const subject *s)
{
    sae_density d = sae_measure_density(s->features, s->config->d_sae, s->report->n_positions);
    json_t *out = cli_json("sonde.sae.eval/1"), *metrics = json_object();

    json_object_set_new(out, "model", json_string(w->m.path));
    json_object_set_new(out, "sae", json_string(s->path));
    json_object_set_new(out, "hook", json_string(hook ? hook : s->config->hook_name));
    json_object_set_new(out, "protocol", json_string(protocol ? "saelens" : "sonde"));
    json_object_set_new(out, "texts", json_integer(s->report->n_texts));
    json_object_set_new(out, "positions", json_integer(s->report->n_positions));
    json_object_set_new(out, "predicted", json_integer(s->report->n_predicted));
    for (int i = 0; i < SONDE_N_SAE_METRICS; i++) {
        const sonde_sae_estimate *e = &s->report->metrics[i];
        if (is_measured(s, i))
            json_object_set_new(metrics, sonde_sae_metric_name((sonde_sae_metric)i),
                                json_pack("{s:o, s:o, s:o}", "value", cli_json_real(e->value), "low", cli_json_real(e->low),
                                          "high", cli_json_real(e->high)));
    }
    json_object_set_new(out, "metrics", metrics);
    json_object_set_new(out, "density", density_json(&d, s->config->d_sae));
    return out;
}

/* One by itself, or a list of several. */
static sonde_status print_json(const work *w, const cli_call *call)
{
    json_t *out = cli_json("sonde.sae.evals/1"), *list = json_array();

    for (int64_t i = 0; i < w->n; i++) {
        subject s = subject_of(w, call, i);
        json_array_append_new(list, to_json(w, &s));
    }
    /* whoever asks for one gets what it always was */
    if (w->n == 1) {
        json_decref(out);
        out = json_incref(json_array_get(list, 0));
        json_decref(list);
    } else
        json_object_set_new(out, "saes", list);
    return cli_json_write(out);
}

/* The same in the words of SAEBench. */
static sonde_status print_saebench(const work *w, const subject *s)
{
    sae_results r = {.model = w->m.path,
                     .dataset = cli.files.n > 0 ? cli.files.items[0] : "texts of the command line",
                     .context = w->m.config->n_context,
                     .leaves_out_special = !include_special,
                     .sae = s->sae,
                     .report = s->report,
                     .features = s->features};

    return sae_print_saebench(&r);
}

/* What was measured, under what it was measured on. */
static void print_sizes(const sonde_sae_report *r)
{
    printf("%s, %s measured", cli_counted(r->n_texts, "text"), cli_counted(r->n_positions, "position"));
    printf(r->n_predicted > 0 ? ", %s predicted\n\n" : "\n\n", cli_counted(r->n_predicted, "token"));
}

/* A row for each metric, with what it is. */
static sonde_status print_table(const subject *s)
{
    sae_density d = sae_measure_density(s->features, s->config->d_sae, s->report->n_positions);
    double S = (double)s->config->d_sae;
    cli_table *table = cli_table_new("lrrrl", "metric\tvalue\t2.5 %\t97.5 %\tis");

    printf("%s: %lld features over %s of %lld numbers\n", s->config->architecture, (long long)s->config->d_sae,
           hook ? hook : s->config->hook_name, (long long)s->config->d_in);
    print_sizes(s->report);
    for (int i = 0; i < SONDE_N_SAE_METRICS; i++) {
        const sonde_sae_estimate *e = &s->report->metrics[i];
        char low[32] = "-", high[32] = "-";
        if (isfinite(e->low)) {
            snprintf(low, sizeof low, "%.4f", e->low);
            snprintf(high, sizeof high, "%.4f", e->high);
        }
        if (is_measured(s, i))
            cli_table_row(table, "%s\t%.4f\t%s\t%s\t%s", sonde_sae_metric_name((sonde_sae_metric)i), e->value, low, high,
                          sonde_sae_metric_formula((sonde_sae_metric)i));
    }
    CLI_TRY(cli_table_print(table));
    printf("\nfeatures that never fired in these positions: %lld (%.2f %%); that fire in more than 1 %%: %.2f %%; 10 %%: "
           "%.2f %%\n",
           (long long)d.n_dead, 100.0 * (double)d.n_dead / S, 100.0 * (double)d.n_over_1 / S,
           100.0 * (double)d.n_over_10 / S);
    return SONDE_OK;
}

/* Several beside each other: a row for each, with the metrics that one looks at first. */
static sonde_status print_rows(const work *w, const cli_call *call)
{
    static const sonde_sae_metric some[] = {
        SONDE_SAE_L0,         SONDE_SAE_EV,        SONDE_SAE_COSINE,        SONDE_SAE_L2_RATIO,
        SONDE_SAE_CE_SPLICED, SONDE_SAE_RECOVERED, SONDE_SAE_RECOVERED_MEAN};
    enum { N = sizeof some / sizeof *some, CELL = 330 }; /* bytes that the largest double takes in full */
    cli_table *table =
        cli_table_new(no_loss ? "lrrrrrr" : "lrrrrrrrrr",
                      no_loss ? "autoencoder\tl0\texplained_variance\tcosine\tl2_ratio\tdead\t> 10 %"
                              : "autoencoder\tl0\texplained_variance\tcosine\tl2_ratio\tce_spliced\tce_recovered\t"
                                "ce_recovered_mean\tdead\t> 10 %");

    print_sizes(w->reports);
    for (int64_t i = 0; i < w->n; i++) {
        subject s = subject_of(w, call, i);
        sae_density d = sae_measure_density(s.features, s.config->d_sae, s.report->n_positions);
        char cells[N * CELL] = "";
        /* losses that were not asked for have no column; what is not finite has its place */
        for (int k = 0, at = 0; k < N && !(no_loss && some[k] >= SONDE_SAE_CE_CLEAN); k++)
            at += is_measured(&s, some[k]) ? snprintf(cells + at, CELL, "\t%.4f", s.report->metrics[some[k]].value)
                                           : snprintf(cells + at, CELL, "\t-");
        cli_table_row(table, "%s%s\t%.2f %%\t%.2f %%", s.path, cells, 100.0 * (double)d.n_dead / (double)s.config->d_sae,
                      100.0 * (double)d.n_over_10 / (double)s.config->d_sae);
    }
    return cli_table_print(table);
}

/* ---- the command ------------------------------------------------------------------------------------------------------------ */

/* Of all passes together. */
static sonde_status on_progress(int64_t n_done, int64_t n_tokens, void *ctx)
{
    work *w = ctx;

    cli_progress_step(&w->progress, (double)n_done, (double)n_done / (double)n_tokens);
    return cli_check_interrupt();
}

/* Whatever was made. */
static void free_work(work *w)
{
    cli_progress_end(&w->progress);
    for (int64_t i = 0; i < w->n; i++) {
        sonde_sae_free(w->saes[i]);
        free(w->features[i]);
    }
    free(w->saes);
    free(w->features);
    free(w->reports);
    cli_token_texts_free(&w->texts);
    cli_model_close(&w->m);
}

/* All autoencoders, and room for what is said of them. */
static sonde_status load_all(work *w, const char *first)
{
    CLI_TRY(CLI_NEW(w->saes, 1 + also.n));
    CLI_TRY(CLI_NEW(w->features, 1 + also.n));
    CLI_TRY(CLI_NEW(w->reports, 1 + also.n));
    /* all places are NULL until they are filled: free_work goes over them */
    w->n = 1 + also.n;
    for (int64_t i = 0; i < w->n; i++) {
        CLI_TRY(sonde_sae_load(&w->saes[i], i == 0 ? first : also.items[i - 1]));
        CLI_TRY(CLI_NEW(w->features[i], sonde_sae_get_config(w->saes[i])->d_sae));
    }
    return SONDE_OK;
}

/* As they were asked for. */
static sonde_status print(const work *w, const cli_call *call)
{
    subject first = subject_of(w, call, 0);

    /* the words of others are for one at a time */
    if (saebench)
        return print_saebench(w, &first);
    if (cli.json)
        return print_json(w, call);
    return w->n > 1 ? print_rows(w, call) : print_table(&first);
}

/* Model, autoencoder, texts; then the library. */
static sonde_status run(const cli_call *call)
{
    work w = {0};
    sonde_sae_eval_opts opts;
    sonde_status status;

    if (saebench && no_loss)
        return cli_misuse("'--saebench' needs the losses that '--no-loss' leaves out");
    if (saebench && also.n > 0)
        return cli_misuse("'--saebench' prints one autoencoder, '--also' names more");
    cli_progress_begin(&w.progress, "tokens");
    CLI_TRY_DONE(cli_model_open(&w.m, call->arguments[0]));
    CLI_TRY_DONE(load_all(&w, call->arguments[1]));
    cli_model_has_tokenizer(&w.m);
    CLI_TRY_DONE(cli_token_texts_read(&w.texts, &w.m, call->arguments + 2, call->n_arguments - 2, include_special));
    sonde_sae_eval_opts_init(&opts);
    opts.hook = hook;
    opts.hook_out = hook_out;
    opts.protocol = protocol;
    opts.has_loss = !no_loss;
    opts.n_resamples = n_resamples;
    opts.seed = (uint64_t)seed;
    opts.batch = batch;
    opts.batch_topk = batch_topk;
    CLI_TRY_DONE(sonde_sae_evaluate(w.reports, w.features, w.m.model, (const sonde_sae *const *)w.saes, w.n, &w.texts.texts,
                                    &opts, on_progress, &w));
    cli_progress_end(&w.progress);
    status = print(&w, call);
done:
    free_work(&w);
    return status;
}

const cli_command cli_cmd_sae_eval = {
    .name = "sae eval",
    .summary = "what an autoencoder keeps of a model's activations and predictions",
    .arguments = "MODEL SAE [TEXT...]",
    .min_arguments = 2,
    .max_arguments = 1 << 20,
    .examples = {"sonde sae eval models/stories sae -f stories.jsonl",
                 "sonde sae eval models/stories sae -f stories.jsonl --hook resid_post2 --no-loss --json",
                 "sonde sae train models/stories --data stories.jsonl --hook blocks.3.hook_resid_post --k 8 --width 2x "
                 "--batch 64 --steps 5 "
                 "-o one --also k=4,name=two && sonde sae eval models/stories one/first -f stories.jsonl --also one/two",
                 "sonde sae eval models/stories sae -f stories.jsonl --saebench > stories_sae_eval_results.json"},
    .options = {options, cli_text_options, cli_model_options},
    .notes =
        "SAE is a folder with cfg.json and sae_weights.safetensors. Each text is a context of its own, cut at the model's.\n"
        "Special tokens are neither measured nor changed. Intervals: percentiles over drawings of texts with replacement.\n"
        "--protocol saelens: ablations change every position, and what a special token predicts does not count.",
    .run = run,
};
