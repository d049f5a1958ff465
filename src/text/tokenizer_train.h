/* text/tokenizer_train.h - a trainer, as training and writing see it.            floor 3: text */
#ifndef SONDEP_TOKENIZER_TRAIN_H
#define SONDEP_TOKENIZER_TRAIN_H

#include "text/bpe_train.h"

#include <sonde/text.h>

struct sonde_bpe_trainer {
    int64_t n_vocab, min_frequency;
    sondep_pattern pattern;
    sondep_words *tables; /* (n_tables) one for each thread; all words are in the first once learnt */
    int64_t n_tables;
    char *texts; /* that wait to be counted, one behind the other */
    int64_t texts_capacity;
    int64_t *ends; /* (n_ends) of the texts that wait */
    int64_t n_ends, ends_capacity;
    int64_t n_specials;     /* the first ids */
    sondep_learned learned; /* before learning: special tokens and bytes */
    bool prepends_bos;
    bool is_learned, is_done;
    sonde_bpe_trainer_totals totals;
};

#endif
