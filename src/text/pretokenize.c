/* pretokenize.c - pre-tokenizers: pieces split into words.                      floor 3: text
 *
 * A pattern cuts a piece into stretches that match and stretches that do not; a behavior says which of them stay, and
 * which are joined to a neighbour.
 *
 * Patterns come in six kinds: a text, a set of characters by their flags, Rust's \w+|[^\w\s]+, two scanners for the
 * known regular expressions, and everything else through PCRE2. All give the same: stretches that cover the text. What
 * a piece of the text becomes is a part of it; bytes are rewritten only by Metaspace and by a space that is put in
 * front.
 */
#include "text/tokenizer.h"

/* ---- patterns --------------------------------------------------------------------------------------------------- */

/* What a pattern owns; the struct is zero then. */
void sondep_pattern_release(sondep_pattern *p)
{
    sondep_free(p->literal);
    sondep_regex_free(p->regex);
    *p = (sondep_pattern){0};
}

#define CONTRACTIONS_ANY_CASE "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define SYMBOLS_AND_SPACES "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const struct known_pattern {
    const char *expression;
    sondep_pattern_kind kind;
    int64_t max_digits;
} known[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", SONDEP_PATTERN_GPT2, 0},
    {CONTRACTIONS_ANY_CASE "\\p{N}{1,3}" SYMBOLS_AND_SPACES, SONDEP_PATTERN_LLAMA3, 3},
    {CONTRACTIONS_ANY_CASE "\\p{N}" SYMBOLS_AND_SPACES, SONDEP_PATTERN_LLAMA3, 1},
    {CONTRACTIONS_ANY_CASE "\\p{N}+" SYMBOLS_AND_SPACES, SONDEP_PATTERN_LLAMA3, INT64_MAX},
};
enum { N_KNOWN = sizeof known / sizeof *known };

/* An expression that is one of the known ones, letter for letter, gets its scanner. */
sonde_status sondep_pattern_regex(sondep_pattern *out, const char *expression, size_t n)
{
    for (int i = 0; i < N_KNOWN; i++) {
        if (strlen(known[i].expression) == n && memcmp(known[i].expression, expression, n) == 0) {
            out->kind = known[i].kind;
            out->max_digits = known[i].max_digits;
            return SONDE_OK;
        }
    }
    out->kind = SONDEP_PATTERN_REGEX;
    return sondep_regex_new(&out->regex, expression, n);
}

/* The reverse, for those that have scanners. */
const char *sondep_pattern_expression(const sondep_pattern *p)
{
    for (int i = 0; i < N_KNOWN; i++)
        if (known[i].kind == p->kind && known[i].max_digits == p->max_digits)
            return known[i].expression;
    return NULL;
}

/* A match [start, end) behind what was covered so far, and the gap before it. */
static sonde_status put_found(sondep_matches *m, int64_t *done, int64_t start, int64_t end)
{
    if (*done != start)
        SONDE_TRY(sondep_put_match(m, *done, start, false));
    *done = end;
    return sondep_put_match(m, start, end, true);
}

/* Every place of a string, from the left, none overlapping. */
static sonde_status find_literal(sondep_matches *m, const sondep_pattern *p, const char *text, int64_t n, int64_t *done)
{
    int64_t length = (int64_t)p->literal_bytes, step;

    for (int64_t at = 0; at + length <= n; at += step) {
        const char *hit = length > 0 ? memchr(text + at, p->literal[0], (size_t)(n - at - length + 1)) : text + at;
        if (hit == NULL)
            break;
        at = hit - text;
        step = 1;
        if (length > 0 && memcmp(hit, p->literal, (size_t)length) != 0)
            continue;
        SONDE_TRY(put_found(m, done, at, at + length));
        step = length;
        if (length == 0 && at < n) { /* the empty pattern matches before every character, and at the end */
            int one;
            (void)sondep_utf8_next(&one, text + at);
            step = one;
        }
        if (step == 0)
            break;
    }
    return SONDE_OK;
}

/* Every character with one of the flags is a match by itself. */
static sonde_status find_flags(sondep_matches *m, const sondep_pattern *p, const char *text, int64_t n, int64_t *done)
{
    int length;
    for (int64_t at = 0; at < n; at += length)
        if (sondep_unicode_of(sondep_utf8_next(&length, text + at))->flags & p->flags)
            SONDE_TRY(put_found(m, done, at, at + length));
    return SONDE_OK;
}

/* \w+|[^\w\s]+ */
static sonde_status find_words(sondep_matches *m, const char *text, int64_t n, int64_t *done)
{
    enum { KINDS = SONDEP_UNICODE_REGEX_WORD | SONDEP_UNICODE_SPACE };
    int length;

    for (int64_t at = 0, end; at < n; at = end) {
        int kind = sondep_unicode_of(sondep_utf8_next(&length, text + at))->flags & KINDS;
        for (end = at + length; end < n; end += length)
            if ((sondep_unicode_of(sondep_utf8_next(&length, text + end))->flags & KINDS) != kind)
                break;
        if (kind != SONDEP_UNICODE_SPACE)
            SONDE_TRY(put_found(m, done, at, end));
    }
    return SONDE_OK;
}

/* Words follow one another: everything matches. */
static sonde_status find_scanned(sondep_matches *m, const sondep_pattern *p, const char *text, int64_t n, int64_t *done)
{
    for (int64_t at = 0, length; at < n; at += length) {
        length = p->kind == SONDEP_PATTERN_GPT2 ? sondep_scan_gpt2(text + at, n - at)
                                                : sondep_scan_llama3(text + at, n - at, p->max_digits);
        SONDE_TRY(put_found(m, done, at, at + length));
    }
    return SONDE_OK;
}

/* One pass over the text for any kind of pattern; the rest behind the last match is put here. */
sonde_status sondep_pattern_find(sondep_room *room, const sondep_pattern *p, const char *text, int64_t n)
{
    sondep_matches *m = &room->matches;
    int64_t done = 0;

    m->n = 0;
    if (n == 0) /* the library looks for nothing in an empty text */
        return sondep_put_match(m, 0, 0, false);
    switch (p->kind) {
    case SONDEP_PATTERN_LITERAL: SONDE_TRY(find_literal(m, p, text, n, &done)); break;
    case SONDEP_PATTERN_FLAGS: SONDE_TRY(find_flags(m, p, text, n, &done)); break;
    case SONDEP_PATTERN_WORDS: SONDE_TRY(find_words(m, text, n, &done)); break;
    case SONDEP_PATTERN_REGEX: return sondep_regex_find(room, p->regex, text, n);
    case SONDEP_PATTERN_GPT2:
    case SONDEP_PATTERN_LLAMA3: SONDE_TRY(find_scanned(m, p, text, n, &done)); break;
    }
    return done != n ? sondep_put_match(m, done, n, false) : SONDE_OK;
}

/* ---- behaviors -------------------------------------------------------------------------------------------------- */

/* Each match joined to the stretch behind it, unless that is a match too. */
static void join_with_next(sondep_matches *matches)
{
    sondep_match *m = matches->items;
    int64_t n = matches->n, at = n; /* stretches [at, n) are done */
    bool before = false;

    for (int64_t i = n - 1; i >= 0; i--) {
        bool is_match = m[i].is_match;
        if (at < n && is_match && !before)
            m[at].start = m[i].start;
        else
            m[--at] = (sondep_match){m[i].start, m[i].end, false};
        before = is_match;
    }
    memmove(m, m + at, (size_t)(n - at) * sizeof *m);
    matches->n = n - at;
}

/* The matches joined as the behavior says: stretches that stay have is_match false. */
static void apply_behavior(sondep_matches *matches, sondep_behavior behavior)
{
    sondep_match *m = matches->items;
    int64_t n = matches->n, kept = 0;

    if (behavior == SONDEP_REMOVED)
        return;
    if (behavior == SONDEP_MERGED_WITH_NEXT) {
        join_with_next(matches);
        return;
    }
    for (int64_t i = 0, before = 0; i < n; i++) {
        bool is_match = m[i].is_match;
        bool goes_on = behavior == SONDEP_CONTIGUOUS             ? is_match == (bool)before
                       : behavior == SONDEP_MERGED_WITH_PREVIOUS ? is_match && !before
                                                                 : false;
        if (goes_on && kept > 0)
            m[kept - 1].end = m[i].end;
        else
            m[kept++] = (sondep_match){m[i].start, m[i].end, false};
        before = is_match;
    }
    matches->n = kept;
}

/* A piece split by a pattern, its parts added to room->others. */
static sonde_status split_by(sondep_room *room, const sondep_pattern *pattern, sondep_behavior behavior, bool invert,
                             const sondep_piece *piece)
{
    SONDE_TRY(sondep_pattern_find(room, pattern, piece->text, piece->n));
    for (int64_t i = 0; invert && i < room->matches.n; i++)
        room->matches.items[i].is_match ^= true;
    apply_behavior(&room->matches, behavior);
    for (int64_t i = 0; i < room->matches.n; i++) {
        const sondep_match *m = &room->matches.items[i];
        if (!m->is_match)
            SONDE_TRY(sondep_put_piece(&room->others, sondep_piece_part(piece, m->start, m->end)));
    }
    return SONDE_OK;
}

/* ---- pre-tokenizers --------------------------------------------------------------------------------------------- */

/* Whether a piece begins with n bytes of text. */
static bool starts_with(const sondep_piece *piece, const char *text, size_t n)
{
    return (size_t)piece->n >= n && memcmp(piece->text, text, n) == 0;
}

/* Puts text in front of a piece; its bytes come from nowhere. */
static sonde_status prepend(sondep_room *room, const char *text, size_t n, sondep_piece *piece)
{
    sondep_part part = {.kind = SONDEP_PART_PREPEND, .content = (char *)text, .content_bytes = n};
    return sondep_normalize(room, &part, piece);
}

/* Whether a piece begins in the first character of the text: the library counts whole characters. */
static bool is_at_start(const sondep_room *room, const sondep_piece *piece)
{
    int64_t start = sondep_piece_cover(piece, 0, 0).start;
    while (start > 0 && start < room->n_original && ((unsigned char)room->original[start] & 0xc0) == 0x80)
        start--;
    return start == 0;
}

/* Spaces become the replacement, one is put in front if the scheme says so, and a word begins at each. */
static sonde_status split_metaspace(sondep_room *room, const sondep_part *part, sondep_piece piece)
{
    static char space[] = " ";
    sondep_part replace = {.kind = SONDEP_PART_REPLACE,
                           .content = part->content,
                           .content_bytes = part->content_bytes,
                           .pattern = {.kind = SONDEP_PATTERN_LITERAL, .literal = space, .literal_bytes = 1}};

    SONDE_TRY(sondep_normalize(room, &replace, &piece));
    if (!starts_with(&piece, part->content, part->content_bytes) &&
        (part->prepend == SONDEP_PREPEND_ALWAYS || (part->prepend == SONDEP_PREPEND_FIRST && is_at_start(room, &piece))))
        SONDE_TRY(prepend(room, part->content, part->content_bytes, &piece));
    if (!part->split)
        return sondep_put_piece(&room->others, piece);
    return split_by(room, &part->pattern, SONDEP_MERGED_WITH_NEXT, false, &piece);
}

/* A space in front if asked for, GPT-2's words, and the bytes as characters unless the model takes them raw. */
static sonde_status split_byte_level(sondep_room *room, const sondep_part *part, sondep_piece piece, bool is_raw)
{
    static const sondep_pattern gpt2 = {.kind = SONDEP_PATTERN_GPT2};
    sondep_part bytes = {.kind = SONDEP_PART_BYTE_LEVEL};
    int64_t first = room->others.n;

    if (part->add_prefix_space && !starts_with(&piece, " ", 1))
        SONDE_TRY(prepend(room, " ", 1, &piece));
    /* words, and then what stands for their bytes */
    if (part->use_regex)
        SONDE_TRY(split_by(room, &gpt2, SONDEP_ISOLATED, false, &piece));
    else
        SONDE_TRY(sondep_put_piece(&room->others, piece));
    for (int64_t i = first; !is_raw && i < room->others.n; i++)
        SONDE_TRY(sondep_normalize(room, &bytes, &room->others.items[i]));
    return SONDE_OK;
}

/* Words of so many characters each; the last may be shorter. */
static sonde_status split_fixed_length(sondep_room *room, const sondep_part *part, const sondep_piece *piece)
{
    int length;
    for (int64_t at = 0, end; at < piece->n; at = end) {
        end = at;
        for (int64_t i = 0; i < part->length && end < piece->n; i++) {
            (void)sondep_utf8_next(&length, piece->text + end);
            end += length;
        }
        SONDE_TRY(sondep_put_piece(&room->others, sondep_piece_part(piece, at, end)));
    }
    return SONDE_OK;
}

/* One piece by one pre-tokenizer, its parts added to room->others. */
static sonde_status split_piece(sondep_room *room, const sondep_part *part, const sondep_piece *piece, bool is_raw)
{
    switch (part->kind) {
    case SONDEP_PART_SPLIT: return split_by(room, &part->pattern, part->behavior, part->invert, piece);
    case SONDEP_PART_METASPACE: return split_metaspace(room, part, *piece);
    case SONDEP_PART_BYTE_LEVEL: return split_byte_level(room, part, *piece, is_raw);
    case SONDEP_PART_FIXED_LENGTH: return split_fixed_length(room, part, piece);
    default: SONDE_ASSERT(false); return SONDE_E_STATE;
    }
}

/* The lists change roles after each pre-tokenizer: what was written becomes what is read. */
sonde_status sondep_pre_tokenize(sondep_room *room, const sondep_part *part, bool is_raw)
{
    sondep_pieces all;

    if (part->kind == SONDEP_PART_SEQUENCE) {
        for (int64_t i = 0; i < part->n_parts; i++)
            SONDE_TRY(sondep_pre_tokenize(room, &part->parts[i], is_raw && i == part->n_parts - 1));
        return SONDE_OK;
    }
    all = room->pieces;
    room->others.n = 0;
    for (int64_t i = 0; i < all.n; i++) {
        if (all.items[i].id >= 0)
            SONDE_TRY(sondep_put_piece(&room->others, all.items[i]));
        else
            SONDE_TRY(split_piece(room, part, &all.items[i], is_raw));
    }
    room->pieces = room->others;
    room->others = all;
    return SONDE_OK;
}
