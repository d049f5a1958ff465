/* tokenizer_train.c - a trainer: texts in, merges out.                           floor 3: text
 *
 * Texts wait in one block until there is work for all threads, and are forgotten once their words are counted. The
 * vocabulary begins with the special tokens and the 256 bytes, in the order of the characters that stand for them.
 */
#include "text/tokenizer_train.h"

enum { WAITING_BYTES = 1 << 24 };

void sonde_bpe_trainer_opts_init(sonde_bpe_trainer_opts *out)
{
    static const char *const end_of_text[] = {"<|endoftext|>"};
    *out =
        (sonde_bpe_trainer_opts){.struct_size = sizeof *out, .min_frequency = 2, .specials = end_of_text, .n_specials = 1};
}

/* The caller's options over the defaults, each within its bounds. */
static sonde_status read_opts(sonde_bpe_trainer_opts *out, const sonde_bpe_trainer_opts *opts)
{
    sonde_bpe_trainer_opts_init(out);
    if (opts == NULL) /* there is no default size of a vocabulary */
        return SONDE_FAIL(SONDE_E_ARG, "no trainer options, of which 'n_vocab' has no default");
    SONDE_TRY(sondep_opts_read(out, sizeof *out, opts, "the struct of trainer options"));
    if (out->n_vocab < 0 || out->n_vocab > SONDEP_MAX_ID + 1)
        return SONDE_FAIL(SONDE_E_ARG, "option 'n_vocab' is %lld, outside [0, %d]", (long long)out->n_vocab,
                          SONDEP_MAX_ID + 1);
    if (out->min_frequency < 0)
        return SONDE_FAIL(SONDE_E_ARG, "option 'min_frequency' is %lld, below 0", (long long)out->min_frequency);
    if (out->pattern != SONDE_BPE_PATTERN_GPT2 && out->pattern != SONDE_BPE_PATTERN_LLAMA3)
        return SONDE_FAIL(SONDE_E_ARG, "option 'pattern' is %d, not a known one", (int)out->pattern);
    if (out->n_specials < 0 || (out->n_specials > 0 && out->specials == NULL))
        return SONDE_FAIL(SONDE_E_ARG, "option 'specials' is not a list of %lld", (long long)out->n_specials);
    if (out->prepends_bos && out->n_specials == 0)
        return SONDE_FAIL(SONDE_E_ARG, "option 'prepends_bos' is set, but there is no special token to put before a text");
    return SONDE_OK;
}

/* A token that is there from the start, unless it is there already. */
static sonde_status put_token(sondep_vocab *v, const char *text, size_t n)
{
    return v->n > 0 && sondep_vocab_id(v, text, n) >= 0 ? SONDE_OK : sondep_vocab_put(v, text, n, (int32_t)v->n);
}

/* The special tokens, each once. */
static sonde_status put_specials(sonde_bpe_trainer *t, const sonde_bpe_trainer_opts *opts)
{
    for (int64_t i = 0; i < opts->n_specials; i++) {
        const char *special = opts->specials[i];
        size_t n = strlen(special);
        if (n == 0)
            return SONDE_FAIL(SONDE_E_ARG, "special token %lld is empty", (long long)i);
        SONDE_TRY(sondep_text_check(special, n, special));
        SONDE_TRY(put_token(&t->learned.vocab, special, n));
    }
    t->n_specials = t->learned.vocab.n;
    return SONDE_OK;
}

/* The 256 bytes in the order of their characters' code points. */
static sonde_status put_bytes(sonde_bpe_trainer *t)
{
    enum { LAST = 0x143 };
    char text[4];

    for (uint32_t c = 0; c <= LAST; c++)
        if (sondep_char_byte(c) >= 0)
            SONDE_TRY(put_token(&t->learned.vocab, text, (size_t)sondep_utf8_encode(text, c)));
    return SONDE_OK;
}

/* What a vocabulary of n_vocab must hold before anything is learnt. */
static sonde_status start_vocabulary(sonde_bpe_trainer *t, const sonde_bpe_trainer_opts *opts)
{
    SONDE_TRY(put_specials(t, opts));
    SONDE_TRY(put_bytes(t));
    if (t->n_vocab < t->learned.vocab.n)
        return SONDE_FAIL(SONDE_E_RANGE, "a vocabulary of %lld is too small: 256 bytes and the special tokens take %lld",
                          (long long)t->n_vocab, (long long)t->learned.vocab.n);
    return SONDE_OK;
}

sonde_status sonde_bpe_trainer_new(sonde_bpe_trainer **out, const sonde_bpe_trainer_opts *opts)
{
    sonde_bpe_trainer_opts o;
    sonde_bpe_trainer *t;
    sonde_status status;

    *out = NULL;
    SONDE_TRY(read_opts(&o, opts));
    SONDE_TRY(SONDE_NEW(t, 1));
    t->n_vocab = o.n_vocab;
    t->min_frequency = o.min_frequency;
    t->prepends_bos = o.prepends_bos;
    t->pattern = (sondep_pattern){.kind = SONDEP_PATTERN_GPT2};
    if (o.pattern == SONDE_BPE_PATTERN_LLAMA3)
        t->pattern = (sondep_pattern){.kind = SONDEP_PATTERN_LLAMA3, .max_digits = 3};
    SONDE_TRY_DONE(start_vocabulary(t, &o));
    SONDE_TRY_DONE(SONDE_NEW(t->tables, sonde_threads()));
    t->n_tables = sonde_threads();
    *out = t;
done:
    if (status != SONDE_OK)
        sonde_bpe_trainer_free(t);
    return status;
}

void sonde_bpe_trainer_free(sonde_bpe_trainer *t)
{
    if (t == NULL)
        return;
    for (int64_t i = 0; i < t->n_tables; i++)
        sondep_words_release(&t->tables[i]);
    sondep_free(t->tables);
    sondep_free(t->texts);
    sondep_free(t->ends);
    sondep_learned_release(&t->learned);
    sondep_free(t);
}

/* Counts texts. Where that fails some of their words are counted and some are not: nothing can be learnt any more. */
static sonde_status count(sonde_bpe_trainer *t, const char *bytes, const int64_t *ends, int64_t n)
{
    sondep_texts texts = {bytes, ends, n};
    sonde_status status;

    if (sondep_interrupted())
        status = SONDE_FAIL(SONDE_E_INTERRUPTED, "interrupted after %lld texts", (long long)t->totals.n_texts);
    else
        status = sondep_words_count(t->tables, t->n_tables, &texts, &t->pattern);
    t->is_done |= status != SONDE_OK;
    return status;
}

/* Counts the texts that wait. */
static sonde_status count_waiting(sonde_bpe_trainer *t)
{
    int64_t n = t->n_ends;
    t->n_ends = 0;
    return n > 0 ? count(t, t->texts, t->ends, n) : SONDE_OK;
}

/* A text joins those that wait, which end at byte `at`. */
static sonde_status put_waiting(sonde_bpe_trainer *t, const char *text, int64_t n, int64_t at)
{
    if (n == 0)
        return SONDE_OK;
    SONDE_TRY(sondep_grow(&t->texts, &t->texts_capacity, at + n, 1));
    SONDE_TRY(sondep_grow(&t->ends, &t->ends_capacity, t->n_ends + 1, sizeof *t->ends));
    memcpy(t->texts + at, text, (size_t)n);
    t->ends[t->n_ends++] = at + n;
    return SONDE_OK;
}

/* A long text is counted where it lies. */
sonde_status sonde_bpe_trainer_add(sonde_bpe_trainer *t, const char *text, size_t n_bytes)
{
    int64_t n = (int64_t)n_bytes, waiting = t->n_ends > 0 ? t->ends[t->n_ends - 1] : 0;

    if (t->is_done)
        return SONDE_FAIL(SONDE_E_STATE, "a trainer that has learnt, or failed, takes no more texts");
    SONDE_TRY(sondep_text_check(text, n_bytes, "text"));
    if (waiting + n > WAITING_BYTES) {
        SONDE_TRY(count_waiting(t));
        waiting = 0;
    }
    SONDE_TRY(n > WAITING_BYTES ? count(t, text, &n, 1) : put_waiting(t, text, n, waiting));
    t->totals.n_texts++;
    t->totals.n_bytes += n;
    return SONDE_OK;
}

/* The words of all tables in the first. */
static sonde_status join_tables(sonde_bpe_trainer *t)
{
    sondep_words *all = &t->tables[0];

    for (int64_t i = 1; i < t->n_tables; i++) {
        sondep_words *table = &t->tables[i];
        for (int64_t k = 0; k < table->n; k++)
            SONDE_TRY(sondep_words_add(all, table->blob + table->items[k].at, table->items[k].n, table->items[k].count));
        sondep_words_release(table);
    }
    t->totals.n_different = all->n;
    for (int64_t k = 0; k < all->n; k++)
        t->totals.n_words += all->items[k].count;
    return SONDE_OK;
}

/* Fewer tokens than were asked for are an error: a model would be built for ids that never come. */
sonde_status sonde_bpe_trainer_learn(sonde_bpe_trainer *t)
{
    if (t->is_done)
        return SONDE_FAIL(SONDE_E_STATE, "a trainer learns once, and not after it failed");
    t->is_done = true;
    if (t->totals.n_bytes == 0)
        return SONDE_FAIL(SONDE_E_NOTFOUND, "no text to learn from: 0 bytes in all");
    SONDE_TRY(count_waiting(t));
    SONDE_TRY(join_tables(t));
    SONDE_TRY(sondep_learn(&t->learned, &t->tables[0], t->n_vocab, t->min_frequency));
    t->totals.n_vocab = t->learned.vocab.n;
    t->totals.n_merges = t->learned.n_merges;
    if (t->learned.vocab.n < t->n_vocab) {
        (void)SONDE_FAIL(SONDE_E_RANGE, "the text supports a vocabulary of %lld tokens, %lld are asked for",
                         (long long)t->learned.vocab.n, (long long)t->n_vocab);
        return sondep_hint(SONDE_E_RANGE,
                           "ask for %lld at most, or give more text, or a lower minimal frequency (it is %lld)",
                           (long long)t->learned.vocab.n, (long long)t->min_frequency);
    }
    t->is_learned = true;
    return SONDE_OK;
}

const sonde_bpe_trainer_totals *sonde_bpe_trainer_get_totals(const sonde_bpe_trainer *t)
{
    return &t->totals;
}
