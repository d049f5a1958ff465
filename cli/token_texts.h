/* cli/token_texts.h - texts of a command line as tokens, all of them at once.    floor 10: cli */
#ifndef CLI_TOKEN_TEXTS_H
#define CLI_TOKEN_TEXTS_H

#include "cli.h"

#include <sonde/sae.h>

/* Texts as the library takes them; what they point at is owned. */
typedef struct cli_token_texts {
    sonde_sae_texts texts;
    int32_t *tokens;
    bool *left_out;
    int64_t *lengths;
    int64_t n_tokens, tokens_capacity, left_out_capacity, lengths_capacity;
} cli_token_texts;

/* All texts (positional ones, --ids or the files of -f), each cut at the model's context; special tokens are left out, unless they
 * are included. Errors: those of cli_source_next. What was read is freed by cli_token_texts_free all the same. */
sonde_status cli_token_texts_read(cli_token_texts *out, cli_model *m, const char *const *texts, int n_texts,
                                  bool include_special);
void cli_token_texts_free(cli_token_texts *t);

#endif
