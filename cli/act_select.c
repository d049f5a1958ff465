/* act_select.c - `sonde act`: documents, and the positions of each that were asked for.    floor 10: cli
 *
 * Texts are read once, as tokens, and kept as ids (4 bytes a token): the file's shapes must be known before the first pass.
 * Which positions are meant is decided here too, while a text and the bytes of its tokens are at hand:
 *
 *   --token   a table over the vocabulary is filled once, so that a token costs one look-up
 *   --pos     counted from the front, or from the end of each text
 *   --word    the bytes of a word, then all tokens that own one of them
 */
#include "act.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* What --token, --pos and --word came down to. */
typedef struct selector {
    bool *is_match; /* (V) of the vocabulary: --token */
    int64_t n_vocab;
    int64_t *pos, n_pos; /* --pos */
    int64_t word;        /* --word */
    bool has_word;
} selector;

/* ---- --token ----------------------------------------------------------------------------------------------------- */

/* A token matches by its text (" cat"), by its text without the space in front if the query has none ("cat"), by the
 * vocabulary's own string ("Ġcat"), or as tables show it ("\n"). */
static sonde_status token_matches(bool *out, const sonde_tokenizer *tokenizer, int32_t id, const char *query)
{
    size_t n_bytes, n = strlen(query);
    const char *bytes = sonde_tokenizer_bytes(&n_bytes, tokenizer, id), *own = sonde_tokenizer_token(tokenizer, id);
    char *label;

    *out = own != NULL && strcmp(own, query) == 0;
    if (*out || bytes == NULL)
        return SONDE_OK;
    *out = (n_bytes == n && memcmp(bytes, query, n) == 0) ||
           (n_bytes == n + 1 && bytes[0] == ' ' && query[0] != ' ' && memcmp(bytes + 1, query, n) == 0);
    if (*out || strchr(query, '\\') == NULL)
        return SONDE_OK;
    CLI_TRY(cli_escape(&label, bytes, n_bytes));
    *out = strcmp(label, query) == 0;
    free(label);
    return SONDE_OK;
}

/* Fills the table of ids that match, once for all texts. */
static sonde_status select_token(selector *s, cli_model *m, const char *query)
{
    if (query[0] == '\0')
        return cli_misuse("option '--token' is empty");
    CLI_TRY(cli_model_tokenizer(m));
    s->n_vocab = sonde_tokenizer_n_vocab(m->tokenizer);
    CLI_TRY(CLI_NEW(s->is_match, s->n_vocab));
    for (int64_t id = 0; id < s->n_vocab; id++)
        CLI_TRY(token_matches(&s->is_match[id], m->tokenizer, (int32_t)id, query));
    return SONDE_OK;
}

/* Says why a token was not found, where that is known: it is several tokens here. */
static sonde_status explain_no_match(const cli_model *m, const char *query)
{
    sonde_tokens tokens = {0};
    sonde_status status;

    status = cli_answer_no("no token '%s' in the text", query);
    if (sonde_tokenizer_encode(&tokens, m->tokenizer, query, strlen(query), SONDE_SPECIALS_NONE) == SONDE_OK && tokens.n > 1)
        cli_note("'%s' is %lld tokens in this vocabulary ('sonde tokenize' shows them); --word takes whole words", query,
                 (long long)tokens.n);
    sonde_tokens_release(&tokens);
    return status;
}

/* ---- --word ------------------------------------------------------------------------------------------------------ */

/* Whether a character parts words: what Unicode calls white space. */
static bool is_space(utf8proc_int32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f) || c == 0x85 || utf8proc_category(c) == UTF8PROC_CATEGORY_ZS ||
           c == 0x2028 || c == 0x2029;
}

/* Finds word `wanted` of a text as bytes [*start, *end), and counts the words; false if there is no such word. */
static bool find_word(const char *text, size_t n_bytes, int64_t wanted, size_t *start, size_t *end, int64_t *n_words)
{
    bool inside = false, is_found = false;

    *n_words = 0;
    for (size_t i = 0; i < n_bytes;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t length = utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(n_bytes - i), &c);
        bool space = length > 0 && is_space(c);

        /* a word begins where a space or nothing was before */
        if (!space && !inside && (*n_words)++ == wanted) {
            *start = i;
            is_found = true;
        }
        i += length > 0 ? (size_t)length : 1;
        if (!space && is_found && *n_words == wanted + 1)
            *end = i;
        inside = !space;
    }
    return is_found;
}

/* ---- one document ------------------------------------------------------------------------------------------------ */

/* Notes one position of the document that is being read. */
static sonde_status add_position(act *a, act_document *document, int64_t position)
{
    CLI_TRY(CLI_GROW(a->positions, a->n_positions, a->positions_capacity));
    a->positions[a->n_positions++] = position;
    document->n_positions++;
    return SONDE_OK;
}

/* The positions of --pos; one that a text does not have is an error, whichever text it is. */
static sonde_status choose_by_pos(act *a, act_document *document, const selector *s)
{
    for (int64_t i = 0; i < s->n_pos; i++) {
        int64_t position = s->pos[i] < 0 ? s->pos[i] + document->n : s->pos[i];
        if (position < 0 || position >= document->n)
            return cli_fail(SONDE_E_RANGE, "position %lld is outside text %lld, which has %lld tokens", (long long)s->pos[i],
                            (long long)a->n_documents, (long long)document->n);
        CLI_TRY(add_position(a, document, position));
    }
    return SONDE_OK;
}

/* All tokens that own a byte of the word. */
static sonde_status choose_by_word(act *a, act_document *document, const selector *s, const cli_sequence *sequence)
{
    size_t start = 0, end = 0;
    int64_t n_words, wanted = s->word;

    if (wanted < 0) { /* from the end: count first */
        find_word(sequence->text, sequence->text_bytes, -1, &start, &end, &n_words);
        wanted += n_words;
    }
    if (wanted < 0 || !find_word(sequence->text, sequence->text_bytes, wanted, &start, &end, &n_words))
        return SONDE_OK;
    for (int64_t t = 0; t < sequence->n; t++) {
        if (sequence->start[t] < (int64_t)end && sequence->end[t] > (int64_t)start)
            CLI_TRY(add_position(a, document, t));
    }
    return SONDE_OK;
}

/* Positions of one document by whichever option was given; none without one. */
static sonde_status choose_positions(act *a, act_document *document, const selector *s, const cli_sequence *sequence)
{
    document->first_position = a->n_positions;
    if (s->pos != NULL)
        return choose_by_pos(a, document, s);
    if (s->has_word)
        return choose_by_word(a, document, s, sequence);
    for (int64_t t = 0; s->is_match != NULL && t < sequence->n; t++) {
        if (sequence->ids[t] < s->n_vocab && s->is_match[sequence->ids[t]])
            CLI_TRY(add_position(a, document, t));
    }
    return SONDE_OK;
}

/* Keeps the ids of one sequence and the positions chosen in it. */
static sonde_status add_document(act *a, const selector *s, const cli_sequence *sequence)
{
    act_document document = {.first_id = a->n_ids, .n = sequence->n, .has_bos = sequence->has_bos};
    size_t n_bytes = (size_t)sequence->n * sizeof *a->ids;

    while (a->ids_capacity < a->n_ids + sequence->n)
        CLI_TRY(CLI_GROW(a->ids, a->ids_capacity, a->ids_capacity));
    CLI_TRY(CLI_GROW(a->documents, a->n_documents, a->documents_capacity));
    if (sequence->n > 0)
        memcpy(a->ids + a->n_ids, sequence->ids, n_bytes);
    CLI_TRY(choose_positions(a, &document, s, sequence));
    /* lengths are hashed too: two texts are not the same as their sum */
    a->hash = cli_hash(cli_hash(a->hash, &document.n, sizeof document.n), sequence->ids, n_bytes);
    a->n_ids += document.n;
    a->documents[a->n_documents++] = document;
    a->T = document.n > a->T ? document.n : a->T;
    a->P = document.n_positions > a->P ? document.n_positions : a->P;
    return SONDE_OK;
}

/* Reads the option that chooses positions; two of them exclude each other. */
static sonde_status make_selector(selector *s, act *a, const act_choice *choice)
{
    char *end;

    if ((choice->token != NULL) + (choice->pos != NULL) + (choice->word != NULL) > 1)
        return cli_misuse("'--token', '--pos' and '--word' exclude each other");
    a->has_chosen = choice->token != NULL || choice->pos != NULL || choice->word != NULL;
    if (choice->token != NULL)
        return select_token(s, &a->m, choice->token);
    if (choice->pos != NULL)
        return cli_parse_integers(&s->pos, &s->n_pos, choice->pos, "--pos");
    /* without any of them all positions are taken */
    if (choice->word == NULL)
        return SONDE_OK;
    if (cli.ids.n > 0)
        return cli_misuse("'--word' needs a text, '--ids' gives none");
    s->has_word = true;
    s->word = strtoll(choice->word, &end, 10);
    if (end == choice->word || *end != '\0')
        return cli_misuse("option '--word' is '%s', not a whole number", choice->word);
    return SONDE_OK;
}

/* All texts; then whether there is anything to run. */
sonde_status act_read_documents(act *a, const cli_call *call, const act_choice *choice)
{
    selector s = {0};
    cli_source *source = NULL;
    cli_sequence sequence;
    bool has_more = true;
    sonde_status status;

    a->hash = CLI_HASH_START;
    CLI_TRY_DONE(cli_source_open(&source, &a->m, call->arguments + 1, call->n_arguments - 1, CLI_LONG_FAILS));
    CLI_TRY_DONE(make_selector(&s, a, choice));
    while (has_more) {
        CLI_TRY_DONE(cli_source_next(source, &sequence, &has_more));
        if (has_more)
            CLI_TRY_DONE(add_document(a, &s, &sequence));
        CLI_TRY_DONE(cli_check_interrupt());
    }
    /* a file could have no tensors of 0 tokens, and an answer "no" writes none */
    if (a->n_ids == 0)
        status = cli_fail(SONDE_E_RANGE, "nothing to run: the text has 0 tokens");
    else if (a->has_chosen && a->P == 0)
        status = choice->token != NULL ? explain_no_match(&a->m, choice->token)
                                       : cli_answer_no("no text has a word %s", choice->word);
done:
    cli_source_close(source);
    free(s.is_match);
    free(s.pos);
    return status;
}

/* The one place that knows how "all positions" is written. */
const int64_t *act_chosen(const act *a, int64_t d, int64_t *n)
{
    const act_document *document = &a->documents[d];

    *n = a->has_chosen ? document->n_positions : document->n;
    return a->has_chosen ? a->positions + document->first_position : NULL;
}
