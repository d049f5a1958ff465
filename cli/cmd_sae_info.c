/* cmd_sae_info.c - `sonde sae info`: what an autoencoder is, whatever library wrote it.   floor 10: cli */
#include "cli.h"

#include <sonde/sae.h>

#include <math.h>
#include <stdlib.h>

static const cli_option options[] = {{0}};

/* The names that a weight can have, in SAELens's order. */
static const char *const weights[] = {"W_enc", "b_enc", "W_dec", "b_dec", "threshold", "b_gate", "b_mag", "r_mag", "W_skip"};
enum { N_WEIGHTS = sizeof weights / sizeof *weights };

/* What can be said of a weight at one look. */
typedef struct summary {
    double mean, rms, least, most;
} summary;

/* In doubles: matrices have millions of numbers. */
static summary summarise(const sonde_tensor *t)
{
    const float *x = t->data;
    int64_t n = sonde_tensor_n_elements(t);
    summary s = {0.0, 0.0, INFINITY, -INFINITY};

    for (int64_t i = 0; i < n; i++) {
        s.mean += x[i];
        s.rms += (double)x[i] * x[i];
        s.least = fmin(s.least, x[i]);
        s.most = fmax(s.most, x[i]);
    }
    s.mean /= (double)n;
    s.rms = sqrt(s.rms / (double)n);
    return s;
}

/* Whether there is a weight of this name. */
static bool has_weight(sonde_tensor *out, const sonde_sae *sae, const char *name)
{
    return sonde_sae_weight(out, sae, name) == SONDE_OK;
}

/* What is done to rows before they are encoded. */
static const char *input_of(const sonde_sae_config *c)
{
    static const char *const names[] = {"as it is", "scaled to length sqrt(d_in)", "layer-normed"};
    static char text[96];

    snprintf(text, sizeof text, "%s%s%s", c->centres_input ? "centred, " : "", names[c->normalization],
             c->applies_b_dec ? ", less b_dec" : "");
    return text;
}

/* What it is, and its weights at one look: a weight that is all zeros or huge is seen at once. */
static sonde_status print_table(const sonde_sae *sae, const char *path)
{
    const sonde_sae_config *c = sonde_sae_get_config(sae);
    cli_table *table = cli_table_new("ll", NULL);

    cli_table_row(table, "autoencoder\t%s", path);
    cli_table_row(table, "layout\t%s", sonde_sae_layout(sae));
    cli_table_row(table, "architecture\t%s", c->architecture);
    cli_table_row(table, "features\t%s (%.3g for each of %lld numbers)", cli_count(c->d_sae),
                  (double)c->d_sae / (double)c->d_in, (long long)c->d_in);
    if (c->k > 0 && (c->activation == SONDE_SAE_TOPK || c->activation == SONDE_SAE_ABSTOPK))
        cli_table_row(table, "k\t%lld%s", (long long)c->k,
                      c->rescales_by_norm ? ", chosen by lengths of decoder rows, too" : "");
    cli_table_row(table, "model\t%s", *c->model_name ? c->model_name : "-");
    cli_table_row(table, "reads\t%s, %s", *c->hook_name ? c->hook_name : "-", input_of(c));
    if (c->is_transcoder)
        cli_table_row(table, "writes\t%s (%lld)%s", *c->hook_name_out ? c->hook_name_out : "-", (long long)c->d_out,
                      c->has_skip ? ", with a skip" : "");
    CLI_TRY(cli_table_print(table));
    printf("\n");
    table = cli_table_new("llrrrr", "weight\tshape\tmean\trms\tleast\tmost");
    for (int i = 0; i < N_WEIGHTS; i++) {
        sonde_tensor t;
        char shape[80];
        summary s;
        if (!has_weight(&t, sae, weights[i]))
            continue;
        s = summarise(&t);
        cli_table_row(table, "%s\t%s\t%.4g\t%.4g\t%.4g\t%.4g", weights[i],
                      sonde_tensor_format_shape(shape, sizeof shape, &t), s.mean, s.rms, s.least, s.most);
    }
    return cli_table_print(table);
}

/* The same as JSON. */
static sonde_status print_json(const sonde_sae *sae, const char *path)
{
    const sonde_sae_config *c = sonde_sae_get_config(sae);
    json_t *out = cli_json("sonde.sae.info/1"), *list = json_array();

    json_object_set_new(out, "sae", json_string(path));
    json_object_set_new(out, "layout", json_string(sonde_sae_layout(sae)));
    json_object_set_new(out, "architecture", json_string(c->architecture));
    json_object_set_new(out, "d_in", json_integer(c->d_in));
    json_object_set_new(out, "d_sae", json_integer(c->d_sae));
    json_object_set_new(out, "d_out", json_integer(c->d_out));
    if (c->activation == SONDE_SAE_TOPK || c->activation == SONDE_SAE_ABSTOPK)
        json_object_set_new(out, "k", json_integer(c->k));
    json_object_set_new(out, "model", json_string(c->model_name));
    json_object_set_new(out, "hook", json_string(c->hook_name));
    json_object_set_new(out, "hook_out", json_string(c->hook_name_out));
    json_object_set_new(out, "input", json_string(input_of(c)));
    for (int i = 0; i < N_WEIGHTS; i++) {
        sonde_tensor t;
        summary s;
        json_t *shape;
        if (!has_weight(&t, sae, weights[i]))
            continue;
        s = summarise(&t);
        shape = json_array();
        for (int axis = 0; axis < t.rank; axis++)
            json_array_append_new(shape, json_integer(t.shape[axis]));
        json_array_append_new(list, json_pack("{s:s, s:o, s:f, s:f, s:f, s:f}", "name", weights[i], "shape", shape, "mean",
                                              s.mean, "rms", s.rms, "least", s.least, "most", s.most));
    }
    json_object_set_new(out, "weights", list);
    return cli_json_write(out);
}

/* Loading it is the check. */
static sonde_status run(const cli_call *call)
{
    sonde_sae *sae;
    sonde_status status;

    CLI_TRY(sonde_sae_load(&sae, call->arguments[0]));
    status = cli.json ? print_json(sae, call->arguments[0]) : print_table(sae, call->arguments[0]);
    sonde_sae_free(sae);
    return status;
}

const cli_command cli_cmd_sae_info = {
    .name = "sae info",
    .summary = "what an autoencoder is, whatever library wrote it",
    .arguments = "SAE",
    .min_arguments = 1,
    .max_arguments = 1,
    .examples = {"sonde sae info sae", "sonde sae info sae --json"},
    .options = {options},
    .notes = "SAE is a folder of SAELens, Gemma Scope (params.npz), Gemma Scope 2 (params.safetensors), Llama Scope "
             "(hyperparams.json),\n"
             "dictionary_learning (ae.pt) or sparsify (sae.safetensors), or a .pt of OpenAI. Nothing in a .pt is run.",
    .run = run,
};
