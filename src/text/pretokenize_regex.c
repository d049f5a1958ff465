/* pretokenize_regex.c - Oniguruma's regular expressions by way of PCRE2.        floor 3: text
 *
 * The library runs Oniguruma with its own version of Unicode; PCRE2 has another one, differently on every system. So
 * PCRE2 never sees a code point. The sets that an expression names (letters, classes, \p{..}, \s, letters in any case)
 * are worked out with our tables; characters that no set tells apart form a class; the expression is rewritten over
 * classes, one byte each, and so is the text. What PCRE2 then does, in its plainest and fastest mode, is the same on
 * every system.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pretokenize_syntax.h"
#include "text/tokenizer.h"

#include <pcre2.h>

struct sondep_regex {
    unsigned char class_of[SONDEP_UNICODE_POINTS];
    pcre2_code *code;
    pcre2_general_context *general;
    bool has_jit;
};

/* ---- classes of characters that no set tells apart -------------------------------------------------------------- */

/* How many code points each class has, and one of them. */
typedef struct classes {
    int n;
    int64_t size[256];
    uint32_t sample[256];
} classes;

/* Calls for each code point of a set, or of its complement, whichever is smaller: either divides classes alike. The
 * first pass counts what each class has in it, the second moves that to classes of its own. */
static void visit(sondep_regex *r, const sondep_set *set, bool invert, int64_t inside[256], const int *becomes)
{
    for (uint32_t w = 0; w < SONDEP_SET_WORDS; w++) {
        for (uint64_t bits = invert ? ~set[w] : set[w]; bits != 0; bits &= bits - 1) {
            uint32_t c = w * 64 + (uint32_t)__builtin_ctzll(bits);
            if (becomes == NULL)
                inside[r->class_of[c]]++;
            else
                r->class_of[c] = (unsigned char)becomes[r->class_of[c]];
        }
    }
}

/* Divides each class by a set. */
static sonde_status refine(sondep_regex *r, const sondep_syntax *p, const sondep_set *set, classes *all)
{
    int64_t inside[256] = {0}, n_bits = 0;
    int becomes[256], n_before = all->n;
    bool invert;

    for (int w = 0; w < SONDEP_SET_WORDS; w++)
        n_bits += __builtin_popcountll(set[w]);
    invert = n_bits > SONDEP_UNICODE_POINTS / 2;
    visit(r, set, invert, inside, NULL);
    for (int i = 0; i < n_before; i++) {
        becomes[i] = i;
        if (inside[i] == 0 || inside[i] == all->size[i])
            continue;
        if (all->n == 256)
            return sondep_syntax_unsupported(p, "more than 256 classes of characters");
        all->size[all->n] = inside[i];
        all->size[i] -= inside[i];
        becomes[i] = all->n++;
    }
    visit(r, set, invert, inside, becomes);
    return SONDE_OK;
}

/* Classes that no set of the expression divides. */
static sonde_status make_classes(sondep_regex *r, const sondep_syntax *p, classes *all)
{
    all->n = 1;
    all->size[0] = SONDEP_UNICODE_POINTS;
    for (int i = 0; i < p->n_sets; i++)
        SONDE_TRY(refine(r, p, p->sets[i], all));
    for (uint32_t c = 0; c < SONDEP_UNICODE_POINTS; c++)
        all->sample[r->class_of[c]] = c;
    return SONDE_OK;
}

/* A set as a class of PCRE2. */
static sonde_status write_set(sondep_string *out, const classes *all, const sondep_set *set)
{
    bool is_empty = true;

    for (int i = 0; i < all->n; i++)
        is_empty &= !sondep_set_has(set, all->sample[i]);
    if (is_empty)
        return sondep_string_append(out, "(?!)", 4);
    SONDE_TRY(sondep_string_append(out, "[", 1));
    for (int i = 0; i < all->n; i++)
        if (sondep_set_has(set, all->sample[i]))
            SONDE_TRY(sondep_string_printf(out, "\\x%02x", (unsigned)i));
    return sondep_string_append(out, "]", 1);
}

/* The expression with its sets put in. */
static sonde_status write_expression(sondep_string *out, const sondep_syntax *p, const classes *all)
{
    size_t done = 0;
    sondep_string written[SONDEP_SYNTAX_SETS];
    sonde_status status = SONDE_OK;

    memset(written, 0, sizeof written);
    for (int i = 0; i < p->n_sets; i++)
        SONDE_TRY_DONE(write_set(&written[i], all, p->sets[i]));
    for (int64_t i = 0; i < p->n_uses; i++) {
        SONDE_TRY_DONE(sondep_string_append(out, p->out.text + done, p->uses[i].at - done));
        SONDE_TRY_DONE(sondep_string_append(out, written[p->uses[i].set].text, written[p->uses[i].set].n));
        done = p->uses[i].at;
    }
    SONDE_TRY_DONE(sondep_string_append(out, p->out.text + done, p->out.n - done));
done:
    for (int i = 0; i < p->n_sets; i++)
        sondep_string_release(&written[i]);
    return status;
}

/* ---- PCRE2 ------------------------------------------------------------------------------------------------------ */

/* PCRE2's memory comes through base's door too. */
static void *pcre_alloc(PCRE2_SIZE bytes, void *ctx)
{
    (void)ctx;
    return bytes <= PTRDIFF_MAX ? sondep_alloc((int64_t)bytes, 1) : NULL;
}

/* And goes back through it. */
static void pcre_free(void *p, void *ctx)
{
    (void)ctx;
    sondep_free(p);
}

/* PCRE2's words for a code; 121 is its other name for a lack of memory. */
static sonde_status fail_pcre(const char *expression, int code)
{
    unsigned char words[128] = "";
    if (code == PCRE2_ERROR_NOMEMORY || code == 121)
        return SONDE_FAIL(SONDE_E_NOMEM, "out of memory: regular expression '%.200s'", expression);
    pcre2_get_error_message(code, words, sizeof words);
    return SONDE_FAIL(SONDE_E_UNSUPPORTED, "regular expression '%.200s' is not handled: %s", expression,
                      (const char *)words);
}

/* Plain bytes, no Unicode, JIT where the system has it. */
static sonde_status compile(sondep_regex *r, const sondep_syntax *p, const classes *all)
{
    sondep_string expression = {0};
    pcre2_compile_context *context = NULL;
    sonde_status status;
    int code;
    PCRE2_SIZE at;

    SONDE_TRY_DONE(write_expression(&expression, p, all));
    r->general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    context = r->general ? pcre2_compile_context_create(r->general) : NULL;
    if (context == NULL)
        SONDE_TRY_DONE(fail_pcre(p->text, PCRE2_ERROR_NOMEMORY));
    r->code =
        pcre2_compile((PCRE2_SPTR)expression.text, expression.n, PCRE2_NEVER_UTF | PCRE2_NEVER_UCP, &code, &at, context);
    if (r->code == NULL)
        SONDE_TRY_DONE(fail_pcre(p->text, code));
    r->has_jit = pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE) == 0;
done:
    pcre2_compile_context_free(context);
    sondep_string_release(&expression);
    return status;
}

/* The code and what it was made with. */
void sondep_regex_free(sondep_regex *regex)
{
    if (regex == NULL)
        return;
    pcre2_code_free(regex->code);
    pcre2_general_context_free(regex->general);
    sondep_free(regex);
}

/* Read, divide into classes, write over classes, compile. */
sonde_status sondep_regex_new(sondep_regex **out, const char *expression, size_t n)
{
    sondep_syntax *p = NULL; /* too large for the stack */
    sondep_regex *r = NULL;
    sonde_status status;
    classes all = {0};

    *out = NULL;
    SONDE_TRY_DONE(SONDE_NEW(p, 1));
    SONDE_TRY_DONE(SONDE_NEW(r, 1));
    p->text = expression;
    p->n = n;
    SONDE_TRY_DONE(sondep_syntax_read(p));
    SONDE_TRY_DONE(make_classes(r, p, &all));
    SONDE_TRY_DONE(compile(r, p, &all));
    *out = r;
    r = NULL;
done:
    sondep_regex_free(r);
    if (p != NULL)
        sondep_syntax_release(p);
    sondep_free(p);
    return status;
}

/* ---- matching --------------------------------------------------------------------------------------------------- */

/* The text as classes, and where its characters begin. */
static sonde_status classify(sondep_room *room, const sondep_regex *r, const char *text, int64_t n, int64_t *n_chars)
{
    int length;

    SONDE_TRY(sondep_grow(&room->classes, &room->classes_capacity, n + 1, 1));
    SONDE_TRY(sondep_grow(&room->places, &room->places_capacity, n + 1, sizeof *room->places));
    *n_chars = 0;
    for (int64_t at = 0; at < n; at += length) {
        room->classes[*n_chars] = (char)r->class_of[sondep_utf8_next(&length, text + at)];
        room->places[(*n_chars)++] = at;
    }
    room->places[*n_chars] = n;
    return SONDE_OK;
}

/* As Oniguruma's iterator: an empty match right behind the last one does not count. */
static sonde_status find_all(sondep_room *room, const sondep_regex *r, pcre2_match_data *data, pcre2_match_context *context,
                             int64_t n_chars)
{
    int64_t from = 0, last_end = -1, done = 0;
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(data);

    while (from <= n_chars) {
        int64_t start, end;
        int code = pcre2_match(r->code, (PCRE2_SPTR)room->classes, (PCRE2_SIZE)n_chars, (PCRE2_SIZE)from, 0, data, context);
        if (code == PCRE2_ERROR_JIT_STACKLIMIT)
            code = pcre2_match(r->code, (PCRE2_SPTR)room->classes, (PCRE2_SIZE)n_chars, (PCRE2_SIZE)from, PCRE2_NO_JIT, data,
                               context);
        if (code == PCRE2_ERROR_NOMATCH)
            break;
        /* a limit that was reached must not look like a text without a match */
        if (code == PCRE2_ERROR_NOMEMORY)
            return SONDE_FAIL(SONDE_E_NOMEM, "out of memory: a regular expression of the tokenizer");
        if (code < 0)
            return SONDE_FAIL(SONDE_E_RANGE, "a regular expression of the tokenizer gave up at byte %lld (PCRE2 error %d)",
                              (long long)room->places[from], code);
        start = (int64_t)found[0];
        end = (int64_t)found[1];
        /* try again one character further on */
        if (end == start && last_end == end) {
            from++;
            continue;
        }
        from = last_end = end;
        if (done != start)
            SONDE_TRY(sondep_put_match(&room->matches, room->places[done], room->places[start], false));
        SONDE_TRY(sondep_put_match(&room->matches, room->places[start], room->places[end], true));
        done = end;
    }
    return done != n_chars ? sondep_put_match(&room->matches, room->places[done], room->places[n_chars], false) : SONDE_OK;
}

/* The match data, context and stack live for one call: a tokenizer serves many threads, and the call is long. */
sonde_status sondep_regex_find(sondep_room *room, const sondep_regex *regex, const char *text, int64_t n)
{
    enum { STACK_FIRST = 32 << 10, STACK_MOST = 16 << 20 };
    pcre2_match_data *data = NULL;
    pcre2_match_context *context = NULL;
    pcre2_jit_stack *stack = NULL;
    sonde_status status;
    int64_t n_chars;

    SONDE_TRY_DONE(classify(room, regex, text, n, &n_chars));
    data = pcre2_match_data_create(1, regex->general);
    context = data ? pcre2_match_context_create(regex->general) : NULL;
    stack = context && regex->has_jit ? pcre2_jit_stack_create(STACK_FIRST, STACK_MOST, regex->general) : NULL;
    if (context == NULL || (regex->has_jit && stack == NULL))
        SONDE_TRY_DONE(SONDE_FAIL(SONDE_E_NOMEM, "out of memory: a regular expression of the tokenizer"));
    if (stack != NULL)
        pcre2_jit_stack_assign(context, NULL, stack);
    SONDE_TRY_DONE(find_all(room, regex, data, context, n_chars));
done:
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
    return status;
}
