/* pattern.c - which hook points a pattern names: globs, braces, shorthand.     floor 4: hook
 *
 * A pattern becomes plain globs (braces are written out), each glob is matched against every name once, before the run.
 * A text that is neither a name nor a glob is tried as shorthand: TransformerLens's get_act_name, rewritten from its rules.
 *
 *   blocks.{0,5}.attn.hook_{q,k}   ->  blocks.0.attn.hook_q  blocks.0.attn.hook_k  blocks.5.attn.hook_q  ...
 *   k6  scale4ln1  resid_post5     ->  blocks.6.attn.hook_k  blocks.4.ln1.hook_scale  blocks.5.hook_resid_post
 *
 * Each of these texts must match something by itself. The number of globs is limited: braces multiply.
 */
#include <sonde/hook.h>

#include "base/base.h"

#include <ctype.h>
#include <stdio.h>

enum { MAX_GLOBS = 4096, MAX_NAME = 256 };

/* Whether `name` matches a glob of literals, ? and *. Backtracks to the last star only, so it is linear in practice. */
static bool glob_matches(const char *glob, const char *name)
{
    const char *star = NULL, *resume = NULL;

    /* A star first stands for nothing; after each mismatch it takes one character more. */
    while (*name) {
        if (*glob == '*') {
            star = glob++;
            resume = name;
        } else if (*glob == '?' || *glob == *name) {
            glob++;
            name++;
        } else if (star != NULL) {
            glob = star + 1;
            name = ++resume;
        } else {
            return false;
        }
    }
    while (*glob == '*')
        glob++;
    return *glob == '\0';
}

/* A growing list of texts: the globs that a pattern stands for. */
typedef struct globs {
    char **text;
    int64_t n, capacity;
} globs;

/* Frees the texts and the list. */
static void globs_release(globs *list)
{
    for (int64_t i = 0; i < list->n; i++)
        sondep_free(list->text[i]);
    sondep_free(list->text);
    *list = (globs){0};
}

/* Adds a copy of a text. */
static sonde_status globs_add(globs *list, const char *text)
{
    if (list->n == MAX_GLOBS)
        return SONDE_FAIL(SONDE_E_HOOK, "a pattern stands for more than %d texts", (int)MAX_GLOBS);
    SONDE_TRY(sondep_grow(&list->text, &list->capacity, list->n + 1, sizeof *list->text));
    SONDE_TRY(sondep_copy_string(&list->text[list->n], text));
    list->n++;
    return SONDE_OK;
}

/* The brace that closes the one at text[0], or NULL. */
static const char *closing_brace(const char *text)
{
    int depth = 0;
    for (; *text; text++) {
        depth += *text == '{' ? 1 : *text == '}' ? -1 : 0;
        if (depth == 0)
            return text;
    }
    return NULL;
}

/* The end of the alternative that begins at `text`: its comma, or `close`. Inner braces are stepped over. */
static const char *alternative_end(const char *text, const char *close)
{
    int depth = 0;
    for (; text < close; text++) {
        if (*text == ',' && depth == 0)
            break;
        depth += *text == '{' ? 1 : *text == '}' ? -1 : 0;
    }
    return text;
}

/* Writes out the first pair of braces and goes on with each of the texts that it gives. */
static sonde_status expand(globs *list, const char *pattern, const char *whole)
{
    const char *open = strchr(pattern, '{'), *close;
    sonde_status status = SONDE_OK;

    /* Nothing left to write out. */
    if (open == NULL)
        return strchr(pattern, '}') ? SONDE_FAIL(SONDE_E_HOOK, "'}' without '{' in hook pattern '%s'", whole)
                                    : globs_add(list, pattern);
    close = closing_brace(open);
    if (close == NULL)
        return SONDE_FAIL(SONDE_E_HOOK, "'{' without '}' in hook pattern '%s'", whole);
    /* <before><alternative><after> for each alternative; what stands behind may hold braces too. */
    for (const char *at = open + 1; at <= close && status == SONDE_OK;) {
        const char *end = alternative_end(at, close);
        sondep_string text = {0};

        SONDE_TRY_DONE(sondep_string_append(&text, pattern, (size_t)(open - pattern)));
        SONDE_TRY_DONE(sondep_string_append(&text, at, (size_t)(end - at)));
        SONDE_TRY_DONE(sondep_string_printf(&text, "%s", close + 1));
        status = expand(list, text.text, whole);
    done:
        sondep_string_release(&text);
        at = end + 1;
    }
    return status;
}

/* ---- shorthand ---------------------------------------------------------------------------------------------------- */

/* Where a word of TransformerLens's shorthand lies within a block, and what it is called there. */
static const struct {
    const char *word, *part, *name;
} shorthand[] = {
    {"k", "attn.", "k"},
    {"v", "attn.", "v"},
    {"q", "attn.", "q"},
    {"z", "attn.", "z"},
    {"rot_k", "attn.", "rot_k"},
    {"rot_q", "attn.", "rot_q"},
    {"result", "attn.", "result"},
    {"pattern", "attn.", "pattern"},
    {"attn_scores", "attn.", "attn_scores"},
    {"attn", "attn.", "pattern"},
    {"attn_logits", "attn.", "attn_scores"},
    {"key", "attn.", "k"},
    {"query", "attn.", "q"},
    {"value", "attn.", "v"},
    {"pre", "mlp.", "pre"},
    {"post", "mlp.", "post"},
    {"mid", "mlp.", "mid"},
    {"pre_linear", "mlp.", "pre_linear"},
    {"mlp_pre", "mlp.", "pre"},
    {"mlp_mid", "mlp.", "mid"},
    {"mlp_post", "mlp.", "post"},
};

/* The part of a block that a suffix names: a or attn, m or mlp, b or nothing for the block itself, else itself ("ln1"). */
static const char *part_of_suffix(const char *suffix)
{
    static const char *const aliases[][2] = {
        {"a", "attn"}, {"attention", "attn"}, {"m", "mlp"}, {"b", ""}, {"block", ""}, {"blocks", ""},
    };
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (strcmp(suffix, aliases[i][0]) == 0)
            return aliases[i][1];
    return suffix;
}

/* Full name of a shorthand <word>[<layer>[<part>]], false if it has not that form. */
static bool shorthand_name(char out[MAX_NAME], const char *text)
{
    char word[64];
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz_"), digits = strspn(text + n, "0123456789");
    const char *suffix = text + n + digits, *part;

    /* A word, perhaps a layer, perhaps a part; anything else is no shorthand. */
    if (n == 0 || n >= sizeof word || digits > 9 || strlen(text) > 64 || (digits == 0 && *suffix))
        return false;
    memcpy(word, text, n);
    word[n] = '\0';
    if (digits == 0) {
        bool is_norm = strcmp(word, "scale") == 0 || strcmp(word, "normalized") == 0;
        snprintf(out, MAX_NAME, "%shook_%s", is_norm ? "ln_final." : "", word);
        return true;
    }
    /* Words that belong to attention or MLP need no part; others say it behind the layer. */
    for (size_t i = 0; i < sizeof shorthand / sizeof *shorthand; i++)
        if (strcmp(word, shorthand[i].word) == 0) {
            snprintf(out, MAX_NAME, "blocks.%.*s.%shook_%s", (int)digits, text + n, shorthand[i].part, shorthand[i].name);
            return true;
        }
    part = part_of_suffix(suffix);
    snprintf(out, MAX_NAME, "blocks.%.*s.%s%shook_%s", (int)digits, text + n, part, *part ? "." : "", word);
    return true;
}

/* ---- matching ----------------------------------------------------------------------------------------------------- */

/* The last component of a point's name: "hook_result". */
static const char *own_word(const sonde_hook_point *point)
{
    const char *dot = strrchr(point->name, '.');
    return dot ? dot + 1 : point->name;
}

/* Marks what a glob names, in two goes: what fires by default or is named by its own word, then, if that was nothing,
 * whatever else matches. */
static bool match_glob(bool *out, const char *glob, const sonde_hook_point *points, int64_t n_points)
{
    bool found = false;
    for (int go = 0; go < 2 && !found; go++)
        for (int64_t i = 0; i < n_points; i++) {
            bool is_meant = points[i].fires_by_default || strstr(glob, own_word(&points[i])) != NULL;
            if ((is_meant || go == 1) && glob_matches(glob, points[i].name)) {
                out[i] = true;
                found = true;
            }
        }
    return found;
}

/* Levenshtein distance of two short texts, for suggestions. */
static int edit_distance(const char *a, const char *b)
{
    int row[MAX_NAME + 1], n = (int)strnlen(b, MAX_NAME);

    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (int i = 1; a[i - 1] && i <= MAX_NAME; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int change = diagonal + (a[i - 1] != b[j - 1]), insert = row[j - 1] + 1, drop = row[j] + 1;
            diagonal = row[j];
            row[j] = change < insert ? change : insert;
            row[j] = drop < row[j] ? drop : row[j];
        }
    }
    return row[n];
}

/* The error, with the nearest name as its hint; of shorthand, the nearest to what it stands for. */
static sonde_status fail_no_match(const char *pattern, const sonde_hook_point *points, int64_t n_points)
{
    char name[MAX_NAME];
    const char *nearest = NULL, *meant = shorthand_name(name, pattern) ? name : pattern;
    int best = MAX_NAME;

    for (int64_t i = 0; i < n_points; i++) {
        int distance = edit_distance(meant, points[i].name);
        if (distance < best) {
            best = distance;
            nearest = points[i].name;
        }
    }
    SONDE_FAIL(SONDE_E_HOOK, "hook pattern '%s' matches none of the model's %lld hook points", pattern, (long long)n_points);
    if (nearest != NULL)
        sondep_hint(SONDE_E_HOOK, "the nearest name is '%s'; 'sonde info' lists them all", nearest);
    return SONDE_E_HOOK;
}

sonde_status sonde_hook_match(bool *out, const char *pattern, const sonde_hook_point *points, int64_t n_points)
{
    globs list = {0};
    char name[MAX_NAME];
    sonde_status status;

    SONDE_TRY_DONE(expand(&list, pattern, pattern));
    /* Every alternative must match something: one that is misspelt would be lost among the others. */
    for (int64_t i = 0; i < list.n && status == SONDE_OK; i++)
        if (!match_glob(out, list.text[i], points, n_points) &&
            !(shorthand_name(name, list.text[i]) && match_glob(out, name, points, n_points)))
            status = fail_no_match(list.text[i], points, n_points);
done:
    globs_release(&list);
    return status;
}
