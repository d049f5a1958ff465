/* sae_eval.c - densities of features, and results as SAEBench writes them.     floor 10: cli
 *
 * Source: SAEBench 0.6.0, sae_bench/evals/core/eval_output.py and base_eval_output.py. Its explained_variance and mse are ours, by their
 * definitions: its own formulas for both divide by something else. Reference: tests/oracle/sae_eval_live.py.
 */
#include "sae_eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* From how often each feature fired. */
sae_density sae_measure_density(const sonde_sae_feature *features, int64_t S, int64_t n_positions)
{
    sae_density d = {0};

    for (int64_t s = 0; s < S; s++) {
        double share = (double)features[s].n_fired / (double)n_positions;
        int bin = share > 0 ? (int)floor((log10(share) + 7.0) * 4.0) : 0;
        d.n_dead += share == 0;
        d.n_over_1 += share > 0.01;
        d.n_over_10 += share > 0.1;
        d.total += share;
        d.total_over_1 += share > 0.01 ? share : 0;
        d.total_over_10 += share > 0.1 ? share : 0;
        if (share > 0)
            d.bins[bin < 0 ? 0 : bin > 27 ? 27 : bin]++;
    }
    return d;
}

/* ---- SAEBench ------------------------------------------------------------------------------------------------------------ */

/* A metric's value. */
static double value(const sae_results *r, sonde_sae_metric which)
{
    return r->report->metrics[which].value;
}

/* A number that the schema wants: 0 for what there is none of, as SAEBench has it. */
static double or_zero(double x)
{
    return isfinite(x) ? x : 0.0;
}

/* A name for this evaluation that no other has: version 4 of RFC 9562. */
static void make_uuid(char out[40])
{
    unsigned char b[16] = {0};
    FILE *file = fopen("/dev/urandom", "rb");

    if (file == NULL || fread(b, 1, sizeof b, file) != sizeof b)
        snprintf((char *)b, sizeof b, "%lld", (long long)time(NULL));
    if (file != NULL)
        fclose(file);
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    snprintf(out, 40, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3], b[4],
             b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

/* What was measured, with what. */
static json_t *config_json(const sae_results *r)
{
    return json_pack("{s:s, s:s, s:i, s:i, s:i, s:s, s:I, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b}", "model_name",
                     r->model, "llm_dtype", "float32", "batch_size_prompts", 1, "n_eval_reconstruction_batches",
                     (int)r->report->n_texts, "n_eval_sparsity_variance_batches", (int)r->report->n_texts, "dataset",
                     r->dataset, "context_size", (json_int_t)r->context, "compute_kl", 1, "compute_ce_loss", 1,
                     "compute_l2_norms", 1, "compute_sparsity_metrics", 1, "compute_variance_metrics", 1,
                     "compute_featurewise_density_statistics", 1, "compute_featurewise_weight_based_metrics", 1,
                     "exclude_special_tokens_from_reconstruction", r->leaves_out_special, "verbose", 0);
}

/* Metrics by category. */
static json_t *metrics_json(const sae_results *r, const sonde_sae_geometry *g)
{
    int64_t S = sonde_sae_get_config(r->sae)->d_sae;
    sae_density d = sae_measure_density(r->features, S, r->report->n_positions);
    double encoder = 0.0, decoder = 0.0, all = d.total > 0 ? d.total : 1.0;

    for (int64_t s = 0; s < S; s++) {
        encoder += or_zero(g[s].nearest_encoder) / (double)S;
        decoder += or_zero(g[s].nearest_decoder) / (double)S;
    }
    return json_pack(
        "{s:{s:f, s:f, s:f}, s:{s:f, s:f, s:f, s:f}, s:{s:f, s:f, s:f, s:f}, s:{s:f, s:f, s:f, s:f}, s:{s:f, s:f}, s:{s:I, "
        "s:I}, "
        "s:{s:f, s:f, s:f, s:f, s:f, s:f, s:f}}",
        "model_behavior_preservation", "kl_div_score", value(r, SONDE_SAE_KL_SCORE), "kl_div_with_ablation",
        value(r, SONDE_SAE_KL_ZERO), "kl_div_with_sae", value(r, SONDE_SAE_KL_SPLICED), "model_performance_preservation",
        "ce_loss_score", value(r, SONDE_SAE_RECOVERED), "ce_loss_with_ablation", value(r, SONDE_SAE_CE_ZERO),
        "ce_loss_with_sae", value(r, SONDE_SAE_CE_SPLICED), "ce_loss_without_sae", value(r, SONDE_SAE_CE_CLEAN),
        "reconstruction_quality", "explained_variance", value(r, SONDE_SAE_EV), "explained_variance_legacy",
        value(r, SONDE_SAE_EV_LEGACY), "mse", value(r, SONDE_SAE_MSE), "cossim", value(r, SONDE_SAE_COSINE), "shrinkage",
        "l2_norm_in", value(r, SONDE_SAE_L2_IN), "l2_norm_out", value(r, SONDE_SAE_L2_OUT), "l2_ratio",
        value(r, SONDE_SAE_L2_RATIO), "relative_reconstruction_bias", value(r, SONDE_SAE_BIAS), "sparsity", "l0",
        value(r, SONDE_SAE_L0), "l1", value(r, SONDE_SAE_L1), "token_stats", "total_tokens_eval_reconstruction",
        (json_int_t)r->report->n_predicted, "total_tokens_eval_sparsity_variance", (json_int_t)r->report->n_positions,
        "misc_metrics", "freq_over_1_percent", (double)d.n_over_1 / (double)S, "freq_over_10_percent",
        (double)d.n_over_10 / (double)S, "normalized_freq_over_1_percent", d.total_over_1 / all,
        "normalized_freq_over_10_percent", d.total_over_10 / all, "average_max_encoder_cosine_sim", encoder,
        "average_max_decoder_cosine_sim", decoder, "frac_alive", 1.0 - (double)d.n_dead / (double)S);
}

/* A line for each feature. */
static json_t *details_json(const sae_results *r, const sonde_sae_geometry *g)
{
    json_t *out = json_array();

    for (int64_t s = 0; s < sonde_sae_get_config(r->sae)->d_sae; s++) {
        const sonde_sae_feature *f = &r->features[s];
        json_array_append_new(
            out, json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "index", (json_int_t)s, "feature_density",
                           (double)f->n_fired / (double)r->report->n_positions, "consistent_activation_heuristic",
                           f->n_texts > 0 ? (double)f->n_fired / (double)f->n_texts : 0.0, "encoder_bias",
                           or_zero(g[s].encoder_bias), "encoder_norm", or_zero(g[s].encoder_norm),
                           "encoder_decoder_cosine_sim", or_zero(g[s].encoder_decoder), "max_decoder_cosine_sim",
                           or_zero(g[s].nearest_decoder), "max_encoder_cosine_sim", or_zero(g[s].nearest_encoder)));
    }
    return out;
}

/* The configuration as far as SAEBench's plots read it. */
static json_t *sae_json(const sonde_sae_config *c)
{
    return json_pack("{s:s, s:I, s:I, s:s, s:s}", "architecture", c->architecture, "d_in", (json_int_t)c->d_in, "d_sae",
                     (json_int_t)c->d_sae, "model_name", c->model_name, "hook_name", c->hook_name);
}

/* The geometry is measured here: nothing else that is printed needs it. */
sonde_status sae_print_saebench(const sae_results *r)
{
    const sonde_sae_config *c = sonde_sae_get_config(r->sae);
    sonde_sae_geometry *g;
    char uuid[40];
    json_t *out;
    sonde_status status;

    CLI_TRY(CLI_NEW(g, c->d_sae));
    status = sonde_sae_measure_geometry(g, r->sae);
    make_uuid(uuid);
    out = status == SONDE_OK
              ? json_pack("{s:s, s:o, s:s, s:I, s:o, s:o, s:s, s:n, s:n, s:n, s:o, s:n}", "eval_type_id", "core",
                          "eval_config", config_json(r), "eval_id", uuid, "datetime_epoch_millis",
                          (json_int_t)time(NULL) * 1000, "eval_result_metrics", metrics_json(r, g), "eval_result_details",
                          details_json(r, g), "sae_bench_commit_hash", "none: measured by sonde", "sae_lens_id",
                          "sae_lens_release_id", "sae_lens_version", "sae_cfg_dict", sae_json(c), "eval_result_unstructured")
              : NULL;
    free(g);
    CLI_TRY(status);
    return out != NULL ? cli_json_write(out) : cli_fail(SONDE_E_NOMEM, "out of memory: the results as JSON");
}
