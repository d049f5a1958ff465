/* unicode_normalize.c - the normal forms NFC, NFD, NFKC, NFKD of a piece.        floor 3: text
 *
 * The text is cut before every character that nothing before it can change or join: such a segment is normalized
 * alone, in the three steps of Unicode's annex 15 (decompose, order marks by class, compose). Most segments are one
 * letter that stays as it is; of the others, the characters at both ends that did not change keep their place, and
 * what lies between comes from the whole changed stretch.
 */
#include "text/tokenizer.h"

/* One segment while it is worked on. Zero-initialise it. */
typedef struct segment {
    uint32_t *points;
    int64_t n, capacity;
} segment;

/* One more code point of the segment. */
static sonde_status put_point(segment *s, uint32_t c)
{
    SONDE_TRY(sondep_grow(&s->points, &s->capacity, s->n + 1, sizeof *s->points));
    s->points[s->n++] = c;
    return SONDE_OK;
}

/* Marks in the order of their classes; equal ones keep theirs. Insertion sort: the library bounds nothing, runs are
 * short, and a hostile run costs time only. */
static void order_marks(segment *s)
{
    for (int64_t i = 1; i < s->n; i++) {
        uint32_t c = s->points[i];
        int class = sondep_unicode_of(c)->combining;
        int64_t at = i;
        if (class == 0)
            continue;
        for (; at > 0 && sondep_unicode_of(s->points[at - 1])->combining > class; at--)
            s->points[at] = s->points[at - 1];
        s->points[at] = c;
    }
}

/* Joins each character with the last starter before it, unless something of its class or a higher one stands between. */
static void compose(segment *s)
{
    int64_t starter = -1, kept = 0;
    int last_class = -1; /* of what stands between the starter and here; -1: nothing */

    for (int64_t i = 0; i < s->n; i++) {
        uint32_t c = s->points[i];
        int class = sondep_unicode_of(c)->combining;
        uint32_t composed = starter >= 0 && last_class < class ? sondep_unicode_compose(s->points[starter], c) : 0;
        /* the starter takes it in, and nothing new stands between them */
        if (composed != 0) {
            s->points[starter] = composed;
            continue;
        }
        if (class == 0) {
            starter = kept;
            last_class = -1;
        } else {
            last_class = class;
        }
        s->points[kept++] = c;
    }
    s->n = kept;
}

/* Whether a normalized text may be cut before c: what it begins with, decomposed, is a starter that joins nothing. */
static bool starts_segment(uint32_t c, bool compatible, bool composed)
{
    uint32_t parts[SONDEP_UNICODE_LONGEST];
    int flag = composed ? SONDEP_UNICODE_COMPOSED : SONDEP_UNICODE_DECOMPOSED;

    if (!(sondep_unicode_of(c)->flags & (SONDEP_UNICODE_COMPOSED | SONDEP_UNICODE_DECOMPOSED)))
        return true;
    (void)sondep_unicode_decompose(parts, c, compatible);
    if (!composed)
        return sondep_unicode_of(parts[0])->combining == 0;
    return !(sondep_unicode_of(parts[0])->flags & flag);
}

/* Length of a prefix of the segment [start, end) that is unchanged, in bytes; the code points passed are counted. */
static int64_t same_prefix(const sondep_piece *p, int64_t start, int64_t end, const segment *s, int64_t *n_same)
{
    int64_t at = start;
    int length;
    for (*n_same = 0; at < end && *n_same < s->n; ++*n_same, at += length)
        if (sondep_utf8_next(&length, p->text + at) != s->points[*n_same])
            break;
    return at;
}

/* The same from the end, of what the prefix left. */
static int64_t same_suffix(const sondep_piece *p, int64_t start, int64_t end, const segment *s, int64_t n_taken,
                           int64_t *n_same)
{
    int64_t at = end;
    int length;
    for (*n_same = 0; at > start && *n_same < s->n - n_taken; ++*n_same) {
        int64_t before = sondep_utf8_before(p->text, at);
        if (sondep_utf8_next(&length, p->text + before) != s->points[s->n - 1 - *n_same])
            break;
        at = before;
    }
    return at;
}

/* Prefix and suffix as they were, what lies between from the whole stretch between them. */
static sonde_status write_segment(sondep_writing *w, const sondep_piece *p, int64_t start, int64_t end, const segment *s)
{
    int64_t n_first, n_last, first = same_prefix(p, start, end, s, &n_first);
    int64_t last = same_suffix(p, first, end, s, n_first, &n_last);

    SONDE_TRY(sondep_write_part(w, p, start, first));
    for (int64_t i = n_first; i < s->n - n_last; i++) {
        char bytes[4];
        int n = sondep_utf8_encode(bytes, s->points[i]);
        SONDE_TRY(sondep_write_bytes(w, bytes, n, sondep_piece_cover(p, first, last)));
    }
    return sondep_write_part(w, p, last, end);
}

/* Decompose every character, order the marks, and compose if the form asks for it. */
static sonde_status normalize_segment(segment *s, const sondep_piece *p, int64_t start, int64_t end, bool compatible,
                                      bool composed)
{
    int length;

    s->n = 0;
    for (int64_t i = start; i < end; i += length) {
        uint32_t parts[SONDEP_UNICODE_LONGEST];
        int n = sondep_unicode_decompose(parts, sondep_utf8_next(&length, p->text + i), compatible);
        for (int k = 0; k < n; k++)
            SONDE_TRY(put_point(s, parts[k]));
    }
    order_marks(s);
    if (composed)
        compose(s);
    return SONDE_OK;
}

/* The first character that the form could change, p->n if there is none. */
static int64_t first_suspect(const sondep_piece *p, bool compatible, bool composed)
{
    int flag = composed && !compatible ? SONDEP_UNICODE_COMPOSED
               : composed              ? SONDEP_UNICODE_COMPOSED | SONDEP_UNICODE_DECOMPOSED
                                       : SONDEP_UNICODE_DECOMPOSED;
    int length;

    for (int64_t i = 0; i < p->n; i += length) {
        if ((unsigned char)p->text[i] < 0x80)
            length = 1;
        else if (sondep_unicode_of(sondep_utf8_next(&length, p->text + i))->flags & flag)
            return i;
    }
    return p->n;
}

/* Most texts have no suspect: then the piece stays as it is, without a copy. */
sonde_status sondep_normal_form(sondep_room *room, sondep_piece *piece, bool compatible, bool composed)
{
    int64_t suspect = first_suspect(piece, compatible, composed), start, end;
    sondep_writing w = {0};
    segment s = {0};
    sonde_status status;

    if (suspect == piece->n)
        return SONDE_OK;
    /* the character before the first suspect may be joined with it: its segment begins there */
    start = suspect > 0 ? sondep_utf8_before(piece->text, suspect) : 0;
    SONDE_TRY_DONE(sondep_write_part(&w, piece, 0, start));
    for (; start < piece->n; start = end) {
        int length;
        (void)sondep_utf8_next(&length, piece->text + start);
        for (end = start + length; end < piece->n; end += length)
            if (starts_segment(sondep_utf8_next(&length, piece->text + end), compatible, composed))
                break;
        SONDE_TRY_DONE(normalize_segment(&s, piece, start, end, compatible, composed));
        SONDE_TRY_DONE(write_segment(&w, piece, start, end, &s));
    }
    SONDE_TRY_DONE(sondep_write_done(&w, room, piece));
done:
    sondep_write_abort(&w);
    sondep_free(s.points);
    return status;
}
