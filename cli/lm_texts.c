/* lm_texts.c - the texts of a training as corpora, and what the manifest says of them.     floor 10: cli */
#include "lm.h"

/* One tokenizer and one separator for both: what is held out is like what is trained on. */
sonde_status lm_read_texts(lm_training *t, const cli_strings *data, const char *held_out_path)
{
    CLI_TRY(sonde_corpus_new(&t->corpus, t->tokenizer, t->separator, t->config.n_vocab));
    for (int64_t i = 0; i < data->n; i++)
        CLI_TRY(training_add_file(t->files, t->corpus, data->items[i], cli.limit, false));
    if (held_out_path == NULL)
        return SONDE_OK;
    CLI_TRY(sonde_corpus_new(&t->held_out, t->tokenizer, t->separator, t->config.n_vocab));
    return training_add_file(t->files, t->held_out, held_out_path, cli.limit, true);
}
