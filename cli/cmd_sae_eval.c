/* cmd_sae_eval.c - `sonde sae eval`: what an autoencoder keeps of a model's activations and predictions.   floor 10: cli
 *
 * Each text is a context of its own, cut at the model's. Special tokens are neither measured nor changed, unless they are asked
 * for. All texts are held as tokens: two walks go over them.
 */
#include "sae_eval.h"
#include "token_texts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What the command line says. */
static const char *hook, *hook_out;
static int64_t protocol, n_resamples = 1000, seed;
static bool no_loss, include_special, saebench;

static const cli_option options[] = {
    {"hook", 0, CLI_TEXT, &hook, "NAME", 0, 0, "hook point that is read (as cfg.json says)"},
    {"hook-out", 0, CLI_TEXT, &hook_out, "NAME", 0, 0, "hook point that a transcoder writes (as cfg.json says)"},
    {"no-loss", 0, CLI_FLAG, &no_loss, NULL, 0, 0, "only what needs no logits: the model ends behind the hook"},
    {"protocol", 0, CLI_CHOICE, &protocol, "sonde|saelens", 0, 0,
     "which positions are ablated, which losses count (see below)"},
    {"include-special", 0, CLI_FLAG, &include_special, NULL, 0, 0, "measure and change special tokens (BOS), too"},
    {"resamples", 0, CLI_INT, &n_resamples, "N", 0, 1e6, "drawings of texts for the intervals; 0: none (1000)"},
    {"saebench", 0, CLI_FLAG, &saebench, NULL, 0, 0, "print JSON as SAEBench's core evaluation writes it"},
    {"seed", 0, CLI_INT, &seed, "N", 0, 1e18, "of these drawings"},
    {0},
};

/* One evaluation, and the texts as tokens. */
typedef struct work {
    cli_model m;
    sonde_sae *sae;
    const sonde_sae_config *config;
    cli_progress progress;
    cli_token_texts texts;
    sonde_sae_feature *features; /* (S) */
    sonde_sae_report report;
} work;

/* ---- results ---------------------------------------------------------------------------------------------------------------- */

/* Whether a metric was measured at all. */
static bool is_measured(const work *w, int i)
{
    return isfinite(w->report.metrics[i].value);
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

/* All digits. */
static sonde_status print_json(const work *w, const char *path)
{
    sae_density d = sae_measure_density(w->features, w->config->d_sae, w->report.n_positions);
    json_t *out = cli_json("sonde.sae.eval/1"), *metrics = json_object();

    json_object_set_new(out, "model", json_string(w->m.path));
    json_object_set_new(out, "sae", json_string(path));
    json_object_set_new(out, "hook", json_string(hook ? hook : w->config->hook_name));
    json_object_set_new(out, "protocol", json_string(protocol ? "saelens" : "sonde"));
    json_object_set_new(out, "texts", json_integer(w->report.n_texts));
    json_object_set_new(out, "positions", json_integer(w->report.n_positions));
    json_object_set_new(out, "predicted", json_integer(w->report.n_predicted));
    for (int i = 0; i < SONDE_N_SAE_METRICS; i++) {
        const sonde_sae_estimate *e = &w->report.metrics[i];
        if (is_measured(w, i))
            json_object_set_new(metrics, sonde_sae_metric_name((sonde_sae_metric)i),
                                json_pack("{s:o, s:o, s:o}", "value", cli_json_real(e->value), "low", cli_json_real(e->low),
                                          "high", cli_json_real(e->high)));
    }
    json_object_set_new(out, "metrics", metrics);
    json_object_set_new(out, "density", density_json(&d, w->config->d_sae));
    return cli_json_write(out);
}

/* The same in the words of SAEBench. */
static sonde_status print_saebench(const work *w)
{
    sae_results r = {.model = w->m.path,
                     .dataset = cli.files.n > 0 ? cli.files.items[0] : "texts of the command line",
                     .context = w->m.config->n_context,
                     .leaves_out_special = !include_special,
                     .sae = w->sae,
                     .report = &w->report,
                     .features = w->features};

    return sae_print_saebench(&r);
}

/* A row for each metric, with what it is. */
static sonde_status print_table(const work *w)
{
    sae_density d = sae_measure_density(w->features, w->config->d_sae, w->report.n_positions);
    double S = (double)w->config->d_sae;
    cli_table *table = cli_table_new("lrrrl", "metric\tvalue\t2.5 %\t97.5 %\tis");

    printf("%s: %lld features over %s of %lld numbers\n%s, %s measured", w->config->architecture,
           (long long)w->config->d_sae, hook ? hook : w->config->hook_name, (long long)w->config->d_in,
           cli_counted(w->report.n_texts, "text"), cli_counted(w->report.n_positions, "position"));
    printf(w->report.n_predicted > 0 ? ", %s predicted\n\n" : "\n\n", cli_counted(w->report.n_predicted, "token"));
    for (int i = 0; i < SONDE_N_SAE_METRICS; i++) {
        const sonde_sae_estimate *e = &w->report.metrics[i];
        char low[32] = "-", high[32] = "-";
        if (isfinite(e->low)) {
            snprintf(low, sizeof low, "%.4f", e->low);
            snprintf(high, sizeof high, "%.4f", e->high);
        }
        if (is_measured(w, i))
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
    sonde_sae_free(w->sae);
    cli_token_texts_free(&w->texts);
    free(w->features);
    cli_model_close(&w->m);
}

/* Model, autoencoder, texts; then the library. */
static sonde_status run(const cli_call *call)
{
    work w = {0};
    sonde_sae_eval_opts opts;
    sonde_status status;

    if (saebench && no_loss)
        return cli_misuse("'--saebench' needs the losses that '--no-loss' leaves out");
    cli_progress_begin(&w.progress, "tokens");
    CLI_TRY_DONE(cli_model_open(&w.m, call->arguments[0]));
    CLI_TRY_DONE(sonde_sae_load(&w.sae, call->arguments[1]));
    w.config = sonde_sae_get_config(w.sae);
    cli_model_has_tokenizer(&w.m);
    CLI_TRY_DONE(cli_token_texts_read(&w.texts, &w.m, call->arguments + 2, call->n_arguments - 2, include_special));
    CLI_TRY_DONE(CLI_NEW(w.features, w.config->d_sae));
    sonde_sae_eval_opts_init(&opts);
    opts.hook = hook;
    opts.hook_out = hook_out;
    opts.protocol = protocol;
    opts.has_loss = !no_loss;
    opts.n_resamples = n_resamples;
    opts.seed = (uint64_t)seed;
    CLI_TRY_DONE(sonde_sae_evaluate(&w.report, w.features, w.m.model, w.sae, &w.texts.texts, &opts, on_progress, &w));
    cli_progress_end(&w.progress);
    status = saebench ? print_saebench(&w) : cli.json ? print_json(&w, call->arguments[1]) : print_table(&w);
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
                 "sonde sae eval models/stories sae -f stories.jsonl --saebench > stories_sae_eval_results.json"},
    .options = {options, cli_text_options, cli_model_options},
    .notes =
        "SAE is a folder with cfg.json and sae_weights.safetensors. Each text is a context of its own, cut at the model's.\n"
        "Special tokens are neither measured nor changed. Intervals: percentiles over drawings of texts with replacement.\n"
        "--protocol saelens: ablations change every position, and what a special token predicts does not count.",
    .run = run,
};
