/* tokenizer_added_read.c - added tokens from a tokenizer.json.                  floor 3: text
 *
 * The library adds them one after another to the model's vocabulary: one that the vocabulary knows keeps its id there,
 * any other gets the next free one, whatever the file says.
 */
#include "text/tokenizer.h"

#include "format/json.h"

/* The token's content as the normalizer leaves it. */
static sonde_status normalize_content(sonde_tokenizer *t, sondep_room *room, sondep_added *a)
{
    sondep_piece piece = {a->content, (int64_t)a->content_bytes, NULL, 0, -1};

    if (a->is_normalized && t->has_normalizer)
        SONDE_TRY(sondep_normalize(room, &t->normalizer, &piece));
    a->normalized_bytes = (size_t)piece.n;
    return sondep_copy_bytes(&a->normalized, piece.text, (size_t)piece.n);
}

/* One entry of the list; what it does not say is as for a token that a person adds. */
static sonde_status read_added(sondep_added *out, const json_t *json, int64_t *id, const char *path)
{
    const json_t *content = json_object_get(json, "content");

    if (!json_is_string(content))
        return SONDE_FAIL(SONDE_E_FORMAT, "field 'added_tokens' of '%s': a token without a content", path);
    SONDE_TRY(sondep_json_get_int(id, json, "id", path));
    if (*id < 0 || *id > SONDEP_MAX_ID)
        return SONDE_FAIL(SONDE_E_FORMAT, "field 'added_tokens' of '%s': '%s' has id %lld (limit %d)", path,
                          json_string_value(content), (long long)*id, SONDEP_MAX_ID);
    SONDE_TRY(sondep_json_opt_bool(&out->is_special, json, "special", path));
    out->is_normalized = !out->is_special;
    SONDE_TRY(sondep_json_opt_bool(&out->single_word, json, "single_word", path));
    SONDE_TRY(sondep_json_opt_bool(&out->lstrip, json, "lstrip", path));
    SONDE_TRY(sondep_json_opt_bool(&out->rstrip, json, "rstrip", path));
    SONDE_TRY(sondep_json_opt_bool(&out->is_normalized, json, "normalized", path));
    out->content_bytes = json_string_length(content);
    return sondep_copy_bytes(&out->content, json_string_value(content), out->content_bytes);
}

/* What a token owns. */
static void free_added(sondep_added *a)
{
    sondep_free(a->content);
    sondep_free(a->normalized);
}

/* Puts a token into the list: at the place of one with the same content, or at the end. */
static sonde_status put_added(sonde_tokenizer *t, sondep_added a)
{
    sondep_added_tokens *all = &t->added;
    int64_t i = 0;

    while (i < all->n && !(all->items[i].content_bytes == a.content_bytes &&
                           memcmp(all->items[i].content, a.content, a.content_bytes) == 0))
        i++;
    if (i < all->n) {
        a.is_special |= all->items[i].is_special;
        free_added(&all->items[i]);
        all->items[i] = a;
        return SONDE_OK;
    }
    if (sondep_grow(&all->items, &all->capacity, all->n + 1, sizeof *all->items) != SONDE_OK) {
        free_added(&a);
        return SONDE_E_NOMEM;
    }
    all->items[all->n++] = a;
    return SONDE_OK;
}

/* The id that a token gets: the vocabulary's, or the next free one. The library pays no attention to the file's. */
static int32_t settle_id(const sonde_tokenizer *t, const sondep_added *a, int64_t id, int64_t *next_id, const char *path)
{
    int32_t known = sondep_vocab_id(&t->bpe.vocab, a->content, a->content_bytes);

    for (int64_t i = 0; i < t->added.n && known < 0; i++)
        if (t->added.items[i].content_bytes == a->content_bytes &&
            memcmp(t->added.items[i].content, a->content, a->content_bytes) == 0)
            known = t->added.items[i].id;
    /* the ids behind the vocabulary, one after another */
    if (known < 0)
        known = (int32_t)(*next_id)++;
    if (known != id)
        sondep_log(SONDE_LOG_NOTE, "'%s': added token '%s' has id %lld in the list, %d by its place: taken", path,
                   a->content, (long long)id, (int)known);
    return known;
}

/* Empty ones are passed over, as the library does. */
sonde_status sondep_added_read(sonde_tokenizer *t, sondep_room *room, const json_t *list, const char *path)
{
    int64_t next_id = t->bpe.vocab.n, id;

    if (!json_is_array(list))
        return SONDE_FAIL(SONDE_E_FORMAT, "field 'added_tokens' of '%s' is not a list", path);
    for (size_t i = 0; i < json_array_size(list); i++) {
        sondep_added a = {0};
        sonde_status status = read_added(&a, json_array_get(list, i), &id, path);
        if (status == SONDE_OK && a.content_bytes > 0) {
            a.id = settle_id(t, &a, id, &next_id, path);
            status = normalize_content(t, room, &a);
        }
        if (status != SONDE_OK || a.content_bytes == 0) {
            free_added(&a);
            SONDE_TRY(status);
            continue;
        }
        SONDE_TRY(put_added(t, a));
    }
    return SONDE_OK;
}

/* The trees that are searched, and the table by id. */
sonde_status sondep_added_index(sonde_tokenizer *t, const char *path)
{
    sondep_added_tokens *all = &t->added;

    all->n_ids = t->bpe.vocab.n_ids;
    for (int64_t i = 0; i < all->n; i++)
        all->n_ids = all->items[i].id >= all->n_ids ? all->items[i].id + (int64_t)1 : all->n_ids;
    SONDE_TRY(SONDE_NEW(all->by_id, all->n_ids));
    memset(all->by_id, 0xff, (size_t)all->n_ids * sizeof *all->by_id);
    for (int64_t i = 0; i < all->n; i++) {
        const sondep_added *a = &all->items[i];
        all->by_id[a->id] = (int32_t)i;
        if (a->normalized_bytes == 0) /* the library then finds it everywhere, and fails between the bytes of a character */
            return SONDE_FAIL(SONDE_E_UNSUPPORTED,
                              "added token '%s' of '%s' is not handled: nothing is left when it is normalized", a->content,
                              path);
        SONDE_TRY(sondep_trie_put(a->is_normalized ? &all->normalized : &all->raw, a->normalized, a->normalized_bytes,
                                  (int32_t)i));
    }
    t->n_ids = all->n_ids;
    return SONDE_OK;
}
