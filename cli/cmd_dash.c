/* cmd_dash.c - `sonde dash`: a database of features as one page.                floor 10: cli
 *
 * The page is one file without a network: it can be sent to somebody, and opens in twenty years.
 */
#include "cli.h"

#include <sonde/report.h>

/* What the command line says. */
static const char *output = "features.html", *title;
static int64_t n_examples, n_documents = -1;

static const cli_option options[] = {
    {"output", 'o', CLI_TEXT, &output, "FILE", 0, 0, "the page (features.html)"},
    {"title", 0, CLI_TEXT, &title, "TEXT", 0, 0, "what stands above it"},
    {"examples", 0, CLI_INT, &n_examples, "N", 0, 1e6, "examples of each feature; 0: as many as keep it below some 50 MB"},
    {"documents", 0, CLI_INT, &n_documents, "N", -1, 1e9, "texts that are shown whole; -1: all that the database has"},
    {0},
};

/* One call of the library, and what came of it. */
static sonde_status run(const cli_call *call)
{
    sonde_dash_opts opts;
    sonde_dash_report r;
    json_t *out;

    sonde_dash_opts_init(&opts);
    opts.title = title;
    opts.n_examples = n_examples;
    opts.n_documents = n_documents;
    CLI_TRY(sonde_dash_write(&r, output, call->arguments[0], &opts));
    /* what is not shown is said */
    if (r.n_left_out > 0)
        cli_note("up to %s of each feature are left out, so that the page stays small: '--examples N' takes more",
                 cli_counted(r.n_left_out, "example"));
    if (!cli.json) {
        printf("%s: %s, %s, ", output, cli_counted(r.n_features, "feature"), cli_counted(r.n_examples, "example"));
        printf("%s, %s\n", cli_counted(r.n_documents, "text"), cli_bytes((double)r.n_bytes));
        return SONDE_OK;
    }
    out = cli_json("sonde.dash/1");
    json_object_set_new(out, "page", json_string(output));
    json_object_set_new(out, "features", json_integer(r.n_features));
    json_object_set_new(out, "examples", json_integer(r.n_examples));
    json_object_set_new(out, "left_out", json_integer(r.n_left_out));
    json_object_set_new(out, "texts", json_integer(r.n_documents));
    json_object_set_new(out, "bytes", json_integer(r.n_bytes));
    return cli_json_write(out);
}

const cli_command cli_cmd_dash = {
    .name = "dash",
    .summary = "a database of features as one page that a browser opens",
    .arguments = "DATABASE",
    .min_arguments = 1,
    .max_arguments = 1,
    .examples =
        {"sonde features models/stories sae -f stories.jsonl -o features.db && sonde dash features.db -o features.html",
         "sonde features models/stories sae -f stories.jsonl -o features.db && sonde dash features.db --documents 2 --json"},
    .options = {options},
    .notes = "DATABASE is what 'sonde features' wrote. The page needs nothing else and no network.",
    .run = run,
};
