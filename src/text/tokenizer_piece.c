/* tokenizer_piece.c - pieces of text, rewriting them, and the room for it.      floor 3: text
 *
 * A span is kept for each byte of a piece that was rewritten, 16 bytes each; a piece that was not needs none.
 * Everything that a call makes is kept in the room and freed at its end at once, so that no function needs to know who
 * still borrows what.
 */
#include "text/tokenizer.h"

/* The list keeps its memory between texts. */
sonde_status sondep_put_piece(sondep_pieces *pieces, sondep_piece piece)
{
    if (piece.n == 0)
        return SONDE_OK;
    SONDE_TRY(sondep_grow(&pieces->items, &pieces->capacity, pieces->n + 1, sizeof *pieces->items));
    pieces->items[pieces->n++] = piece;
    return SONDE_OK;
}

/* The list keeps its memory between texts. */
sonde_status sondep_put_match(sondep_matches *matches, int64_t start, int64_t end, bool is_match)
{
    SONDE_TRY(sondep_grow(&matches->items, &matches->capacity, matches->n + 1, sizeof *matches->items));
    matches->items[matches->n++] = (sondep_match){start, end, is_match};
    return SONDE_OK;
}

/* The part borrows what the piece borrows. */
sondep_piece sondep_piece_part(const sondep_piece *p, int64_t start, int64_t end)
{
    return (sondep_piece){p->text + start, end - start, p->spans ? p->spans + start : NULL, p->base + start, -1};
}

/* From where the first byte begins to where the last one ends: spans never go back. */
sondep_span sondep_piece_cover(const sondep_piece *p, int64_t start, int64_t end)
{
    if (start < end)
        return (sondep_span){sondep_piece_span(p, start).start, sondep_piece_span(p, end - 1).end};
    if (start < p->n)
        return (sondep_span){sondep_piece_span(p, start).start, sondep_piece_span(p, start).start};
    if (p->n > 0)
        return (sondep_span){sondep_piece_span(p, p->n - 1).end, sondep_piece_span(p, p->n - 1).end};
    return (sondep_span){p->base, p->base};
}

/* ---- rewriting -------------------------------------------------------------------------------------------------- */

/* Room for n more bytes, each with its span. */
static sonde_status write_grow(sondep_writing *w, int64_t n)
{
    int64_t capacity = w->capacity;
    SONDE_TRY(sondep_grow(&w->text, &capacity, w->n + n, 1));
    return sondep_grow(&w->spans, &w->capacity, w->n + n, sizeof *w->spans);
}

/* What is put in place of something, or from nowhere. */
sonde_status sondep_write_bytes(sondep_writing *w, const char *bytes, int64_t n, sondep_span span)
{
    if (w->n + n > w->capacity)
        SONDE_TRY(write_grow(w, n));
    for (int64_t i = 0; i < n; i++) {
        w->text[w->n + i] = bytes[i];
        w->spans[w->n + i] = span;
    }
    w->n += n;
    return SONDE_OK;
}

/* Bytes keep the spans that they have. */
sonde_status sondep_write_part(sondep_writing *w, const sondep_piece *p, int64_t start, int64_t end)
{
    if (w->n + end - start > w->capacity)
        SONDE_TRY(write_grow(w, end - start));
    if (end > start)
        memcpy(w->text + w->n, p->text + start, (size_t)(end - start));
    for (int64_t i = start; i < end; i++)
        w->spans[w->n++] = sondep_piece_span(p, i);
    return SONDE_OK;
}

/* Fine after done: there is nothing left then. */
void sondep_write_abort(sondep_writing *w)
{
    sondep_free(w->text);
    sondep_free(w->spans);
    *w = (sondep_writing){0};
}

/* The room takes both arrays over, one after the other: a failure in between must free the second. */
sonde_status sondep_write_done(sondep_writing *w, sondep_room *room, sondep_piece *piece)
{
    char *text = w->text;
    sondep_span *spans = w->spans;
    int64_t n = w->n;

    *w = (sondep_writing){0};
    if (sondep_room_keep(room, text) != SONDE_OK) {
        sondep_free(spans);
        return SONDE_E_NOMEM;
    }
    SONDE_TRY(sondep_room_keep(room, spans));
    *piece = (sondep_piece){text, n, spans, piece->base, -1};
    return SONDE_OK;
}

/* ---- rooms ------------------------------------------------------------------------------------------------------ */

/* So that no caller needs a branch for the case that even the list of blocks has no room. */
sonde_status sondep_room_keep(sondep_room *room, void *block)
{
    if (block == NULL)
        return SONDE_OK;
    if (sondep_grow(&room->blocks, &room->blocks_capacity, room->n_blocks + 1, sizeof *room->blocks) != SONDE_OK) {
        sondep_free(block);
        return SONDE_E_NOMEM;
    }
    room->blocks[room->n_blocks++] = block;
    return SONDE_OK;
}

/* All of a room; NULL is fine. */
void sondep_room_free(sondep_room *room)
{
    if (room == NULL)
        return;
    for (int64_t i = 0; i < room->n_blocks; i++)
        sondep_free(room->blocks[i]);
    sondep_word_room_release(&room->words);
    sondep_free(room->pieces.items);
    sondep_free(room->others.items);
    sondep_free(room->matches.items);
    sondep_free(room->blocks);
    sondep_free(room->classes);
    sondep_free(room->places);
    sondep_free(room);
}

/* An idle room, or a new one: there are as many as threads that encode at once. */
sonde_status sondep_room_take(sondep_room **out, const sonde_tokenizer *tokenizer)
{
    sonde_tokenizer *t = (sonde_tokenizer *)tokenizer; /* the list of idle rooms changes, nothing that anyone sees */
    sondep_room *room;

    pthread_mutex_lock(&t->lock);
    room = t->rooms;
    if (room != NULL)
        t->rooms = room->next;
    pthread_mutex_unlock(&t->lock);
    /* none is idle: one more thread than ever before */
    if (room == NULL) {
        SONDE_TRY(SONDE_NEW(room, 1));
        if (sondep_word_room_init(&room->words) != SONDE_OK) {
            sondep_room_free(room);
            return SONDE_E_NOMEM;
        }
    }
    *out = room;
    return SONDE_OK;
}

/* The blocks of the call go, the room's own arrays stay for the next. */
void sondep_room_give(const sonde_tokenizer *tokenizer, sondep_room *room)
{
    sonde_tokenizer *t = (sonde_tokenizer *)tokenizer;

    if (room == NULL)
        return;
    for (int64_t i = 0; i < room->n_blocks; i++)
        sondep_free(room->blocks[i]);
    room->n_blocks = 0;
    pthread_mutex_lock(&t->lock);
    room->next = t->rooms;
    t->rooms = room;
    pthread_mutex_unlock(&t->lock);
}
