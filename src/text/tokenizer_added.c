/* tokenizer_added.c - added tokens: found in the text before the model sees it.  floor 3: text
 *
 * Of all added tokens that match, the leftmost counts, and of those the longest; the search goes on behind it. The checks
 * (single word, white space beside it) come after, in the library's order, with the library's effects.
 */
#include "text/tokenizer.h"

/* ---- the tree --------------------------------------------------------------------------------------------------- */

/* No roots. */
void sondep_trie_init(sondep_trie *trie)
{
    *trie = (sondep_trie){0};
    memset(trie->roots, 0xff, sizeof trie->roots);
}

/* As after init. */
void sondep_trie_release(sondep_trie *trie)
{
    sondep_free(trie->nodes);
    sondep_trie_init(trie);
}

/* A leaf for a byte; its number in *out. */
static sonde_status new_node(sondep_trie *trie, unsigned char byte, int32_t *out)
{
    SONDE_TRY(sondep_grow(&trie->nodes, &trie->capacity, trie->n + 1, sizeof *trie->nodes));
    if (trie->n == INT32_MAX)
        return SONDE_FAIL(SONDE_E_RANGE, "the added tokens are too long: %lld bytes", (long long)trie->n);
    trie->nodes[trie->n].child = trie->nodes[trie->n].sibling = trie->nodes[trie->n].token = -1;
    trie->nodes[trie->n].byte = byte;
    *out = (int32_t)trie->n++;
    return SONDE_OK;
}

/* The child for a byte, -1 if there is none. Lists are short: tokens differ early. */
static int32_t find_child(const sondep_trie *trie, int32_t node, unsigned char byte)
{
    int32_t child = trie->nodes[node].child;
    while (child >= 0 && trie->nodes[child].byte != byte)
        child = trie->nodes[child].sibling;
    return child;
}

/* Walks down as far as others have gone, and on from there. */
sonde_status sondep_trie_put(sondep_trie *trie, const char *text, size_t n, int32_t token)
{
    int32_t node = -1;

    for (size_t i = 0; i < n; i++) {
        unsigned char byte = (unsigned char)text[i];
        int32_t child = node < 0 ? trie->roots[byte] : find_child(trie, node, byte);
        if (child < 0) {
            SONDE_TRY(new_node(trie, byte, &child));
            if (node < 0) {
                trie->roots[byte] = child;
            } else {
                trie->nodes[child].sibling = trie->nodes[node].child;
                trie->nodes[node].child = child;
            }
        }
        node = child;
    }
    if (trie->nodes[node].token < 0) /* of two that are normalized alike, the first is found; the library takes either */
        trie->nodes[node].token = token;
    return SONDE_OK;
}

/* The longest pattern that stands at text[at], -1 if there is none; its end in *end. */
static int32_t longest_at(const sondep_trie *trie, const char *text, int64_t n, int64_t at, int64_t *end)
{
    int32_t node = trie->roots[(unsigned char)text[at]], token = -1;
    for (int64_t i = at + 1; node >= 0; i++) {
        if (trie->nodes[node].token >= 0) {
            token = trie->nodes[node].token;
            *end = i;
        }
        node = i < n ? find_child(trie, node, (unsigned char)text[i]) : -1;
    }
    return token;
}

/* The tokens and the two trees. */
void sondep_added_release(sondep_added_tokens *added)
{
    for (int64_t i = 0; i < added->n; i++) {
        sondep_free(added->items[i].content);
        sondep_free(added->items[i].normalized);
    }
    sondep_free(added->items);
    sondep_free(added->by_id);
    sondep_trie_release(&added->raw);
    sondep_trie_release(&added->normalized);
    *added = (sondep_added_tokens){0};
}

/* ---- finding them ----------------------------------------------------------------------------------------------- */

/* Whether the character that ends at `at` has a flag. */
static bool has_flag_before(const char *text, int64_t at, int flag)
{
    int length;
    return at > 0 && sondep_unicode_of(sondep_utf8_next(&length, text + sondep_utf8_before(text, at)))->flags & flag;
}

/* Whether the character that begins at `at` has a flag. */
static bool has_flag_at(const char *text, int64_t n, int64_t at, int flag)
{
    int length;
    return at < n && sondep_unicode_of(sondep_utf8_next(&length, text + at))->flags & flag;
}

/* Start of the white space that ends at `at`. */
static int64_t skip_spaces_back(const char *text, int64_t at)
{
    while (has_flag_before(text, at, SONDEP_UNICODE_SPACE))
        at = sondep_utf8_before(text, at);
    return at;
}

/* End of the white space that begins at `at`. */
static int64_t skip_spaces(const char *text, int64_t n, int64_t at)
{
    int length;
    while (has_flag_at(text, n, at, SONDEP_UNICODE_SPACE)) {
        (void)sondep_utf8_next(&length, text + at);
        at += length;
    }
    return at;
}

/* What does not pass the checks is passed over, as text: the search goes on behind it. White space that a token takes
 * in on its right may hold the beginning of the next one, which is then found all the same. */
static sonde_status split_piece(sondep_pieces *out, const sondep_added_tokens *added, const sondep_trie *trie,
                                const sondep_piece *p)
{
    int64_t done = 0, next;

    for (int64_t at = 0; at < p->n; at = next) {
        int64_t start = at, stop = at;
        int32_t found = longest_at(trie, p->text, p->n, at, &stop);
        const sondep_added *token = found >= 0 ? &added->items[found] : NULL;
        sondep_piece part;

        if (trie->roots[(unsigned char)p->text[at]] < 0) { /* most bytes begin no added token */
            next = at + 1;
            continue;
        }
        next = token ? stop : at + 1;
        if (token == NULL || (token->single_word && (has_flag_before(p->text, start, SONDEP_UNICODE_REGEX_WORD) ||
                                                     has_flag_at(p->text, p->n, stop, SONDEP_UNICODE_REGEX_WORD))))
            continue;
        /* white space on its left, as far as no token before has taken it */
        if (token->lstrip)
            start = skip_spaces_back(p->text, start) > done ? skip_spaces_back(p->text, start) : done;
        if (token->rstrip)
            stop = skip_spaces(p->text, p->n, stop);
        /* the text before it, then the token itself */
        if (done < start)
            SONDE_TRY(sondep_put_piece(out, sondep_piece_part(p, done, start)));
        part = sondep_piece_part(p, start, stop);
        part.id = token->id;
        SONDE_TRY(sondep_put_piece(out, part));
        done = stop;
    }
    return done != p->n ? sondep_put_piece(out, sondep_piece_part(p, done, p->n)) : SONDE_OK;
}

/* The lists change roles: what was written becomes what is read. */
sonde_status sondep_added_split(sondep_room *room, const sondep_added_tokens *added, const sondep_trie *trie)
{
    sondep_pieces all = room->pieces;

    if (trie->n == 0)
        return SONDE_OK;
    room->others.n = 0;
    for (int64_t i = 0; i < all.n; i++) {
        if (all.items[i].id >= 0)
            SONDE_TRY(sondep_put_piece(&room->others, all.items[i]));
        else
            SONDE_TRY(split_piece(&room->others, added, trie, &all.items[i]));
    }
    room->pieces = room->others;
    room->others = all;
    return SONDE_OK;
}
