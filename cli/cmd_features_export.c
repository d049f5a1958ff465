/* cmd_features_export.c - `sonde features export`: a database of features in other people's format.   floor 10: cli
 *
 * The lines are those that Neuronpedia exports of its own data, and imports. What it calls the model and the set of sources
 * is its own to say; what is not given comes from the database. A folder may be written again: files are replaced whole.
 */
#include "cli.h"

#include <sonde/report.h>

/* What the command line says. */
static const char *output = "neuronpedia", *sae_path, *model, *set;

static const cli_option options[] = {
    {"output", 'o', CLI_TEXT, &output, "DIR", 0, 0, "folder that is written to (neuronpedia)"},
    {"sae", 0, CLI_TEXT, &sae_path, "SAE", 0, 0, "the autoencoder: decoder rows become the features' vectors"},
    {"model-id", 0, CLI_TEXT, &model, "NAME", 0, 0, "what Neuronpedia calls the model: gpt2-small"},
    {"set", 0, CLI_TEXT, &set, "NAME", 0, 0, "name of the source behind its layer: res-jb (by the hook point: res-sonde)"},
    {0},
};

/* In a line, or as JSON: how much was written, in how many files. */
static sonde_status print(const sonde_neuronpedia_report *r)
{
    json_t *out;

    if (!cli.json) {
        printf("%s: %s, %s, ", output, cli_counted(r->n_features, "feature"), cli_counted(r->n_activations, "activation"));
        printf("%s, %s\n", cli_counted(r->n_files, "file"), cli_bytes((double)r->n_bytes));
        return SONDE_OK;
    }
    out = cli_json("sonde.features.export/1");
    json_object_set_new(out, "folder", json_string(output));
    json_object_set_new(out, "features", json_integer(r->n_features));
    json_object_set_new(out, "activations", json_integer(r->n_activations));
    json_object_set_new(out, "explanations", json_integer(r->n_explanations));
    json_object_set_new(out, "files", json_integer(r->n_files));
    json_object_set_new(out, "bytes", json_integer(r->n_bytes));
    return cli_json_write(out);
}

/* One call of the library. */
static sonde_status run(const cli_call *call)
{
    sonde_neuronpedia_opts opts;
    sonde_neuronpedia_report report;
    sonde_sae *sae = NULL;
    sonde_status status;

    sonde_neuronpedia_opts_init(&opts);
    opts.model = model;
    opts.set = set;
    if (sae_path != NULL)
        CLI_TRY(sonde_sae_load(&sae, sae_path));
    status = sonde_neuronpedia_write(&report, output, call->arguments[0], sae, &opts);
    sonde_sae_free(sae);
    CLI_TRY(status);
    return print(&report);
}

const cli_command cli_cmd_features_export = {
    .name = "features export",
    .summary = "a database of features as Neuronpedia imports it",
    .arguments = "DATABASE",
    .min_arguments = 1,
    .max_arguments = 1,
    .examples = {"sonde features models/stories sae -f stories.jsonl -o features.db && sonde features export features.db "
                 "--sae sae -o neuronpedia",
                 "sonde features models/stories sae -f stories.jsonl -o features.db && sonde features export features.db "
                 "--model-id stories --set res-mine -o neuronpedia --json"},
    .options = {options},
    .notes = "DATABASE is what 'sonde features' wrote. DIR has model.jsonl, sourceset.jsonl, source.jsonl, and features, "
             "activations and\n"
             "explanations (labels, where there are any) in gzipped batches of 256 features.",
    .run = run,
};
