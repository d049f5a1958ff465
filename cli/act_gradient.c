/* act_gradient.c - `sonde act --grad`: what is differentiated.                   floor 10: cli
 *
 *   loss           the mean cross-entropy of the next token, over all tokens of all texts
 *   logit:A        the logit of a token behind one position of each text, summed over texts
 *   logit:A,B      that of A minus that of B
 *
 * Texts go through in batches; the loss of a batch is weighted with its share, so that results do not depend on how texts
 * were put together. A and B are texts of one token each, or ids: #11.
 */
#include "act.h"

#include <stdlib.h>
#include <string.h>

/* ---- tokens -------------------------------------------------------------------------------------------------------- */

/* How well an id fits a query: 3 the vocabulary's own string, 2 its bytes, 1 its bytes without the space in front; 0 not. */
static int fit_of(const sonde_tokenizer *tokenizer, int32_t id, const char *query)
{
    size_t n_bytes, n = strlen(query);
    const char *bytes = sonde_tokenizer_bytes(&n_bytes, tokenizer, id), *own = sonde_tokenizer_token(tokenizer, id);

    if (own != NULL && strcmp(own, query) == 0)
        return 3;
    /* an id may have no bytes: a special token, a hole in the vocabulary */
    if (bytes == NULL)
        return 0;
    if (n_bytes == n && memcmp(bytes, query, n) == 0)
        return 2;
    return n_bytes == n + 1 && bytes[0] == ' ' && memcmp(bytes + 1, query, n) == 0;
}

/* No token of the vocabulary is this text: says how many it is, where that is known. */
static sonde_status no_token(const cli_model *m, const char *query)
{
    sonde_tokens tokens = {0};
    sonde_status status = cli_fail(SONDE_E_NOTFOUND, "option '--grad': '%s' is not a token of this vocabulary", query);

    if (sonde_tokenizer_encode(&tokens, m->tokenizer, query, strlen(query), SONDE_SPECIALS_NONE) == SONDE_OK && tokens.n > 1)
        status = cli_fail(SONDE_E_NOTFOUND, "option '--grad': '%s' is %lld tokens of this vocabulary, not one", query,
                          (long long)tokens.n);
    sonde_tokens_release(&tokens);
    return cli_hint(status, "'sonde tokenize' shows tokens; #ID names one by its number");
}

/* #11 */
static sonde_status read_id(int64_t *out, const cli_model *m, const char *text)
{
    char *end;

    /* the model's vocabulary counts: it may be larger than the tokenizer's */
    *out = strtoll(text + 1, &end, 10);
    if (end == text + 1 || *end != '\0')
        return cli_misuse("option '--grad': '%s' is no token: '#' and a number, or a text", text);
    if (*out < 0 || *out >= m->config->n_vocab)
        return cli_fail(SONDE_E_RANGE, "option '--grad': token %s is outside the vocabulary of %lld", text,
                        (long long)m->config->n_vocab);
    return SONDE_OK;
}

/* The one token that fits a text best. Two that fit alike (a letter and the byte that it is) are refused. */
static sonde_status find_token(int64_t *out, cli_model *m, const char *text)
{
    int64_t best = -1, other = -1;
    int best_fit = 0;

    if (text[0] == '#' && text[1] != '\0')
        return read_id(out, m, text);
    if (text[0] == '\0')
        return cli_misuse("option '--grad' names an empty token");
    CLI_TRY(cli_model_tokenizer(m));
    /* the best fit of all ids, and whether another one fits as well */
    for (int32_t id = 0; id < sonde_tokenizer_n_vocab(m->tokenizer) && id < m->config->n_vocab; id++) {
        int fit = fit_of(m->tokenizer, id, text);
        if (fit == 0 || fit < best_fit)
            continue;
        other = fit == best_fit ? best : -1;
        best = id;
        best_fit = fit;
    }
    if (best < 0)
        return no_token(m, text);
    if (other >= 0) {
        cli_fail(SONDE_E_ARG, "option '--grad': '%s' is several tokens, #%lld and #%lld among them", text, (long long)other,
                 (long long)best);
        return cli_hint(SONDE_E_ARG, "name it by its number");
    }
    *out = best;
    return SONDE_OK;
}

/* ---- the option ------------------------------------------------------------------------------------------------------- */

/* "A" or "A,B"; a comma in first place is the token itself. */
static sonde_status read_tokens(sonde_objective *out, cli_model *m, const char *text)
{
    const char *comma = text[0] != '\0' ? strchr(text + 1, ',') : NULL;
    char *first;
    sonde_status status;

    if (comma == NULL)
        return find_token(&out->token, m, text);
    /* A in a text of its own, B where it stands */
    CLI_TRY(CLI_NEW(first, comma - text + 1));
    memcpy(first, text, (size_t)(comma - text));
    status = find_token(&out->token, m, first);
    free(first);
    CLI_TRY(status);
    return find_token(&out->minus, m, comma + 1);
}

/* Each text must have the position, or, for the loss, one of them two tokens. */
static sonde_status check_documents(act *a)
{
    int64_t position = a->goal.objective.position;

    /* before the first pass: a run of hours should not end at its last text */
    for (int64_t d = 0; d < a->n_documents; d++) {
        int64_t n = a->documents[d].n;
        a->goal.n_predictions += n > 0 ? n - 1 : 0;
        if (a->goal.objective.kind == SONDE_OBJECTIVE_LOGIT && (position < -n || position >= n))
            return cli_fail(SONDE_E_RANGE, "position %lld is outside text %lld, which has %lld tokens", (long long)position,
                            (long long)d, (long long)n);
    }
    if (a->goal.objective.kind == SONDE_OBJECTIVE_LOSS && a->goal.n_predictions == 0)
        return cli_fail(SONDE_E_RANGE, "nothing to differentiate: no text has a token that predicts another");
    return SONDE_OK;
}

sonde_status act_read_goal(act *a, const char *text, int64_t position)
{
    sonde_objective *o = &a->goal.objective;

    if (text == NULL)
        return SONDE_OK;
    a->goal.is_on = true;
    /* what the words say, then whether the texts have it */
    sonde_objective_init(o);
    if (strncmp(text, "logit:", 6) == 0) {
        o->kind = SONDE_OBJECTIVE_LOGIT;
        o->position = position;
        CLI_TRY(read_tokens(o, &a->m, text + 6));
    } else if (strcmp(text, "loss") != 0) {
        return cli_misuse("option '--grad' is '%s', not 'loss', 'logit:TOKEN' or 'logit:A,B'", text);
    } else if (position != -1) {
        return cli_misuse("'--grad-position' belongs to 'logit:', the loss is of all positions");
    }
    return check_documents(a);
}

/* ---- the pass ---------------------------------------------------------------------------------------------------------- */

sonde_status act_run_back(act *a, sonde_run *run, const int32_t *tokens, const int64_t *lengths, int64_t first, int64_t B,
                          int64_t T)
{
    sonde_objective objective = a->goal.objective;
    int64_t n = 0;
    double value;

    /* The mean over this batch becomes its share of the mean over all texts. */
    for (int64_t b = 0; b < B; b++)
        n += a->documents[first + b].n > 0 ? a->documents[first + b].n - 1 : 0;
    if (objective.kind == SONDE_OBJECTIVE_LOSS)
        objective.weight = (double)n / (double)a->goal.n_predictions;
    CLI_TRY(sonde_run_backward(run, tokens, lengths, B, T, &objective, &value));
    a->goal.value += value;
    return SONDE_OK;
}

/* ---- words for it ------------------------------------------------------------------------------------------------------- */

sonde_status act_describe_goal(char **out, const act *a)
{
    const sonde_objective *o = &a->goal.objective;
    char *token = NULL, *minus = NULL;
    size_t n;
    sonde_status status = SONDE_OK;

    *out = NULL;
    if (o->kind == SONDE_OBJECTIVE_LOGIT)
        CLI_TRY_DONE(cli_token_label(&token, &a->m, (int32_t)o->token));
    if (o->kind == SONDE_OBJECTIVE_LOGIT && o->minus >= 0)
        CLI_TRY_DONE(cli_token_label(&minus, &a->m, (int32_t)o->minus));
    /* labels are as long as tokens are; the rest is short */
    n = (token ? strlen(token) : 0) + (minus ? strlen(minus) : 0) + 64;
    CLI_TRY_DONE(CLI_NEW(*out, (int64_t)n));
    if (token == NULL)
        snprintf(*out, n, "loss");
    else
        snprintf(*out, n, "logit |%s|%s%s%s at position %lld", token, minus ? " - |" : "", minus ? minus : "",
                 minus ? "|" : "", (long long)o->position);
done:
    free(token);
    free(minus);
    return status;
}

/* As the command line said it. */
json_t *act_goal_json(const act *a)
{
    const sonde_objective *o = &a->goal.objective;
    bool is_logit = o->kind == SONDE_OBJECTIVE_LOGIT;

    return json_pack("{s:s, s:o, s:o, s:o, s:o}", "of", is_logit ? "logit" : "loss", "value", cli_json_real(a->goal.value),
                     "token", is_logit ? json_integer(o->token) : json_null(), "minus",
                     is_logit && o->minus >= 0 ? json_integer(o->minus) : json_null(), "position",
                     is_logit ? json_integer(o->position) : json_null());
}
