/* cmd_sae_convert.c - `sonde sae convert`: an autoencoder in another library's layout.    floor 10: cli */
#include "cli.h"

#include <sonde/sae.h>

/* What the command line says. */
static const char *output;
static int64_t layout;

#define LAYOUTS "saelens|sparsify|dictionary_learning"

static const cli_option options[] = {
    {"output", 'o', CLI_TEXT, &output, "DIR", 0, 0, "folder that is written"},
    {"to", 0, CLI_CHOICE, &layout, LAYOUTS, 0, 0, "whose layout it has"},
    {0},
};

/* Load, save. */
static sonde_status run(const cli_call *call)
{
    static const char *const names[] = {"saelens", "sparsify", "dictionary_learning"};
    sonde_sae *sae;
    sonde_status status;

    if (output == NULL)
        return cli_misuse("there is no --output: where is it to be written?");
    CLI_TRY(sonde_sae_load(&sae, call->arguments[0]));
    status = sonde_sae_save_as(sae, output, names[layout]);
    if (status == SONDE_OK)
        cli_note("'%s', from %s's layout to %s's", output, sonde_sae_layout(sae), names[layout]);
    sonde_sae_free(sae);
    return status;
}

const cli_command cli_cmd_sae_convert = {
    .name = "sae convert",
    .summary = "write an autoencoder in another library's layout",
    .arguments = "SAE",
    .min_arguments = 1,
    .max_arguments = 1,
    .examples = {"sonde sae convert sae -o theirs --to dictionary_learning",
                 "sonde sae convert sae -o theirs --to dictionary_learning && sonde sae convert theirs/ae.pt -o ours"},
    .options = {options},
    .notes =
        "SAE is anything that 'sonde sae info' reads. What the other layout cannot say goes into the weights: features and\n"
        "reconstructions stay what they are. sparsify has TopK alone, also transcoders; dictionary_learning has no "
        "transcoders.",
    .run = run,
};
