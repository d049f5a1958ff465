/* tokenizer_normalize.c - the normalizers of a tokenizer.json.                  floor 3: text
 *
 * Each rewrites a piece and says for every new byte where it comes from. A character that is put in place of others
 * comes from all of them; what is inserted comes from nowhere: an empty span at its place.
 */
#include "text/tokenizer.h"

/* ---- character by character: a function gives what a character becomes ------------------------------------------ */

enum { LONGEST_CHANGE = 4 };

/* What c becomes: 0 to LONGEST_CHANGE code points in `out`; returns how many. */
typedef int change_fn(uint32_t out[LONGEST_CHANGE], uint32_t c);

/* Letter by letter, as Rust's to_lowercase does: no rule looks at neighbours. */
static int to_lower(uint32_t out[LONGEST_CHANGE], uint32_t c)
{
    int n = 1;
    const uint32_t *lower = sondep_unicode_map_of(&n, &sondep_unicode_lower, c);
    for (int i = 0; lower != NULL && i < n && i < LONGEST_CHANGE; i++)
        out[i] = lower[i];
    if (lower == NULL)
        out[0] = c;
    return n;
}

/* StripAccents: a mark becomes nothing. */
static int drop_mark(uint32_t out[LONGEST_CHANGE], uint32_t c)
{
    out[0] = c;
    return !(sondep_unicode_of(c)->flags & SONDEP_UNICODE_MARK);
}

/* The rules of the library's Nmt: control characters go, odd white space becomes a space. */
static int clean_nmt(uint32_t out[LONGEST_CHANGE], uint32_t c)
{
    bool is_gone = (c >= 1 && c <= 8) || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f;
    bool is_space = c == 9 || c == 0x0a || c == 0x0c || c == 0x0d || c == 0x1680 || (c >= 0x200b && c <= 0x200f) ||
                    c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xfeff || c == 0xfffd;
    out[0] = is_space ? ' ' : c;
    return !is_gone;
}

/* Each byte as its printable character: the normalizer ByteLevel, and the pre-tokenizer where it is not the last. */
static sonde_status write_byte_chars(sondep_room *room, sondep_piece *piece)
{
    sondep_writing w = {0};
    sonde_status status = SONDE_OK;

    for (int64_t i = 0; i < piece->n; i++) {
        char character[4];
        int length = sondep_utf8_encode(character, sondep_byte_char((unsigned char)piece->text[i]));
        SONDE_TRY_DONE(sondep_write_bytes(&w, character, length, sondep_piece_span(piece, i)));
    }
    SONDE_TRY_DONE(sondep_write_done(&w, room, piece));
done:
    sondep_write_abort(&w);
    return status;
}

/* A character that becomes several gives them all its span. */
static sonde_status change_chars(sondep_room *room, sondep_piece *piece, change_fn *change)
{
    sondep_writing w = {0};
    sonde_status status = SONDE_OK;
    int length;

    for (int64_t i = 0; i < piece->n; i += length) {
        uint32_t c = sondep_utf8_next(&length, piece->text + i), out[LONGEST_CHANGE];
        int n = change(out, c);
        if (n == 1 && out[0] == c) {
            SONDE_TRY_DONE(sondep_write_part(&w, piece, i, i + length));
            continue;
        }
        for (int k = 0; k < n; k++) {
            char bytes[4];
            int n_bytes = sondep_utf8_encode(bytes, out[k]);
            SONDE_TRY_DONE(sondep_write_bytes(&w, bytes, n_bytes, sondep_piece_cover(piece, i, i + length)));
        }
    }
    SONDE_TRY_DONE(sondep_write_done(&w, room, piece));
done:
    sondep_write_abort(&w);
    return status;
}

/* ---- the others ------------------------------------------------------------------------------------------------- */

/* An empty text stays empty. */
static sonde_status prepend(sondep_room *room, const char *text, size_t n, sondep_piece *piece)
{
    sondep_writing w = {0};
    sonde_status status = SONDE_OK;

    if (piece->n == 0)
        return SONDE_OK;
    SONDE_TRY_DONE(sondep_write_bytes(&w, text, (int64_t)n, sondep_piece_cover(piece, 0, 0)));
    SONDE_TRY_DONE(sondep_write_part(&w, piece, 0, piece->n));
    SONDE_TRY_DONE(sondep_write_done(&w, room, piece));
done:
    sondep_write_abort(&w);
    return status;
}

/* Stretches between the matches keep their bytes and where they come from. */
static sonde_status replace(sondep_room *room, const sondep_part *part, sondep_piece *piece)
{
    sondep_writing w = {0};
    sonde_status status = SONDE_OK;

    SONDE_TRY(sondep_pattern_find(room, &part->pattern, piece->text, piece->n));
    for (int64_t i = 0; i < room->matches.n; i++) {
        const sondep_match *m = &room->matches.items[i];
        if (m->is_match)
            SONDE_TRY_DONE(sondep_write_bytes(&w, part->content, (int64_t)part->content_bytes,
                                              sondep_piece_cover(piece, m->start, m->end)));
        else
            SONDE_TRY_DONE(sondep_write_part(&w, piece, m->start, m->end));
    }
    SONDE_TRY_DONE(sondep_write_done(&w, room, piece));
done:
    sondep_write_abort(&w);
    return status;
}

/* Nothing is written: a part of the piece is enough. */
static void strip(const sondep_part *part, sondep_piece *piece)
{
    int64_t start = 0, end = piece->n;
    int length;

    while (part->strip_left && start < end &&
           sondep_unicode_of(sondep_utf8_next(&length, piece->text + start))->flags & SONDEP_UNICODE_SPACE)
        start += length;
    while (part->strip_right && end > start) {
        int64_t before = sondep_utf8_before(piece->text, end);
        if (!(sondep_unicode_of(sondep_utf8_next(&length, piece->text + before))->flags & SONDEP_UNICODE_SPACE))
            break;
        end = before;
    }
    *piece = sondep_piece_part(piece, start, end);
}

/* One after another, each on what the one before left. */
static sonde_status normalize_sequence(sondep_room *room, const sondep_part *part, sondep_piece *piece)
{
    for (int64_t i = 0; i < part->n_parts; i++)
        SONDE_TRY(sondep_normalize(room, &part->parts[i], piece));
    return SONDE_OK;
}

/* One case for each row of the table of normalizers. */
sonde_status sondep_normalize(sondep_room *room, const sondep_part *part, sondep_piece *piece)
{
    switch (part->kind) {
    case SONDEP_PART_SEQUENCE: return normalize_sequence(room, part, piece);
    case SONDEP_PART_NFC: return sondep_normal_form(room, piece, false, true);
    case SONDEP_PART_NFD: return sondep_normal_form(room, piece, false, false);
    case SONDEP_PART_NFKC: return sondep_normal_form(room, piece, true, true);
    case SONDEP_PART_NFKD: return sondep_normal_form(room, piece, true, false);
    case SONDEP_PART_PREPEND: return prepend(room, part->content, part->content_bytes, piece);
    case SONDEP_PART_REPLACE: return replace(room, part, piece);
    case SONDEP_PART_LOWERCASE: return change_chars(room, piece, to_lower);
    case SONDEP_PART_STRIP_ACCENTS: return change_chars(room, piece, drop_mark);
    case SONDEP_PART_NMT: return change_chars(room, piece, clean_nmt);
    case SONDEP_PART_BYTE_LEVEL: return write_byte_chars(room, piece);
    case SONDEP_PART_STRIP: strip(part, piece); return SONDE_OK;
    default: SONDE_ASSERT(false); return SONDE_E_STATE;
    }
}
