/* token_texts.c - texts of a command line as tokens, all of them at once.       floor 10: cli */
#include "token_texts.h"

#include <stdlib.h>

/* Appends one text. */
static sonde_status add_text(cli_token_texts *t, const cli_model *m, const cli_sequence *sequence, bool include_special)
{
    for (int64_t i = 0; i < sequence->n; i++) {
        int32_t id = sequence->ids[i];
        bool is_special = (m->tokenizer != NULL && sonde_tokenizer_is_special(m->tokenizer, id)) || id == cli_bos_id(m);
        CLI_TRY(CLI_GROW(t->tokens, t->n_tokens, t->tokens_capacity));
        CLI_TRY(CLI_GROW(t->left_out, t->n_tokens, t->left_out_capacity));
        t->left_out[t->n_tokens] = is_special && !include_special;
        t->tokens[t->n_tokens++] = id;
    }
    CLI_TRY(CLI_GROW(t->lengths, t->texts.n, t->lengths_capacity));
    t->lengths[t->texts.n++] = sequence->n;
    return SONDE_OK;
}

/* Two walks will go over them: they are read once. */
sonde_status cli_token_texts_read(cli_token_texts *t, cli_model *m, const char *const *texts, int n_texts,
                                  bool include_special)
{
    cli_source *source;
    cli_sequence sequence;
    bool has_more = true;
    sonde_status status = SONDE_OK;

    CLI_TRY(cli_source_open(&source, m, texts, n_texts, CLI_LONG_IS_CUT));
    while (has_more) {
        CLI_TRY_DONE(cli_source_next(source, &sequence, &has_more));
        if (has_more)
            CLI_TRY_DONE(add_text(t, m, &sequence, include_special));
        CLI_TRY_DONE(cli_check_interrupt());
    }
    /* the arrays have moved while they grew */
    t->texts = (sonde_sae_texts){t->tokens, t->left_out, t->lengths, t->texts.n};
done:
    cli_source_close(source);
    return status;
}

/* Zeroed ones are fine. */
void cli_token_texts_free(cli_token_texts *t)
{
    free(t->tokens);
    free(t->left_out);
    free(t->lengths);
}
