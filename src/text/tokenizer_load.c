/* tokenizer_load.c - tokenizer.json to a tokenizer.                             floor 3: text
 *
 * The two long tables (vocab, merges) are read where they lie (tokenizer_reader.h); every other field is small and
 * goes through jansson. Fields are noted first and read in the order in which they depend on one another, whatever
 * their order in the file.
 *
 * Nothing of the file is trusted: types, ids and merges are checked where they are read, and every error names the
 * file and the field. What the library would load and we do not handle (other models, dropout) is refused by name.
 */
#include "text/tokenizer.h"

#include "base/file.h"
#include "format/json.h"

/* Where the fields of the file and of its model lie; {0, 0} is missing. */
typedef struct fields {
    sondep_extent version, truncation, padding, added_tokens, normalizer, pre_tokenizer, post_processor, decoder, model;
    sondep_extent type, dropout, unk_token, prefix, suffix, fuse_unk, byte_fallback, ignore_merges, vocab, merges;
} fields;

typedef struct field_name {
    const char *name;
    size_t offset;
} field_name;

static const field_name top_fields[] = {
    {"version", offsetof(fields, version)},
    {"truncation", offsetof(fields, truncation)},
    {"padding", offsetof(fields, padding)},
    {"added_tokens", offsetof(fields, added_tokens)},
    {"normalizer", offsetof(fields, normalizer)},
    {"pre_tokenizer", offsetof(fields, pre_tokenizer)},
    {"post_processor", offsetof(fields, post_processor)},
    {"decoder", offsetof(fields, decoder)},
    {"model", offsetof(fields, model)},
    {NULL, 0},
};

static const field_name model_fields[] = {
    {"type", offsetof(fields, type)},
    {"dropout", offsetof(fields, dropout)},
    {"unk_token", offsetof(fields, unk_token)},
    {"continuing_subword_prefix", offsetof(fields, prefix)},
    {"end_of_word_suffix", offsetof(fields, suffix)},
    {"fuse_unk", offsetof(fields, fuse_unk)},
    {"byte_fallback", offsetof(fields, byte_fallback)},
    {"ignore_merges", offsetof(fields, ignore_merges)},
    {"vocab", offsetof(fields, vocab)},
    {"merges", offsetof(fields, merges)},
    {NULL, 0},
};

/* ---- fields ----------------------------------------------------------------------------------------------------- */

/* Notes where the values of known keys lie; of a key that comes twice the last counts. */
static sonde_status find_fields(sondep_reader *r, const field_name *names, fields *out)
{
    bool first = true, more;
    const char *key;
    size_t n;

    SONDE_TRY(sondep_reader_expect(r, '{'));
    for (;;) {
        sondep_extent *extent = NULL;
        SONDE_TRY(sondep_reader_key(r, &first, &more, &key, &n));
        if (!more)
            return SONDE_OK;
        for (const field_name *f = names; f->name != NULL; f++)
            if (strlen(f->name) == n && memcmp(f->name, key, n) == 0)
                extent = (sondep_extent *)((char *)out + f->offset);
        (void)sondep_reader_peek(r);
        if (extent != NULL)
            extent->from = r->at;
        /* The model's own fields are noted on the way, so that its tables are passed over once only. */
        if (names == top_fields && n == 5 && memcmp(key, "model", 5) == 0 && sondep_reader_peek(r) == '{')
            SONDE_TRY(find_fields(r, model_fields, out));
        else
            SONDE_TRY(sondep_reader_skip(r));
        if (extent != NULL)
            extent->to = r->at;
    }
}

/* Not there, or null. */
static bool is_missing(const sondep_reader *r, sondep_extent e)
{
    return e.to == 0 || (e.to - e.from == 4 && memcmp(r->text + e.from, "null", 4) == 0);
}

/* true or false, or missing: then *out is as it was. */
static sonde_status read_bool(bool *out, const sondep_reader *r, sondep_extent e, const char *name)
{
    if (is_missing(r, e))
        return SONDE_OK;
    *out = r->text[e.from] == 't';
    if (r->text[e.from] != 't' && r->text[e.from] != 'f')
        return SONDE_FAIL(SONDE_E_FORMAT, "field '%s' of '%s' is neither true nor false", name, r->path);
    return SONDE_OK;
}

/* A string that may be missing: *out is then as it was. */
static sonde_status read_string(char **out, size_t *n_bytes, sondep_reader *r, sondep_extent e, const char *name)
{
    const char *text;
    size_t n;

    if (is_missing(r, e))
        return SONDE_OK;
    r->at = e.from;
    if (sondep_reader_peek(r) != '"')
        return SONDE_FAIL(SONDE_E_FORMAT, "field '%s' of '%s' is not a string", name, r->path);
    SONDE_TRY(sondep_reader_string(r, &text, &n));
    sondep_free(*out);
    *out = NULL;
    SONDE_TRY(sondep_copy_bytes(out, text, n));
    *n_bytes = n;
    return SONDE_OK;
}

/* ---- the model -------------------------------------------------------------------------------------------------- */

/* Files of old have no type: a model with merges is BPE. */
static sonde_status check_type(sondep_reader *r, const fields *f)
{
    char *type = NULL;
    size_t n;
    sonde_status status = read_string(&type, &n, r, f->type, "model.type");

    if (status == SONDE_OK && type != NULL && strcmp(type, "BPE") != 0)
        status = SONDE_FAIL(SONDE_E_UNSUPPORTED, "model '%s' in '%s' is not handled (BPE is)", type, r->path);
    sondep_free(type);
    return status;
}

/* All that is not a table. */
static sonde_status read_settings(sondep_bpe *m, sondep_reader *r, const fields *f)
{
    size_t n;
    json_t *dropout = NULL;
    bool drops;

    SONDE_TRY(check_type(r, f));
    if (!is_missing(r, f->dropout)) {
        SONDE_TRY(sondep_reader_json(r, &dropout, f->dropout));
        drops = !json_is_number(dropout) || json_number_value(dropout) != 0;
        json_decref(dropout);
        if (drops)
            return SONDE_FAIL(SONDE_E_UNSUPPORTED, "'dropout' in '%s' is not handled: encoding would be random", r->path);
    }
    /* missing and empty mean the same for prefix and suffix, not for the unknown token */
    SONDE_TRY(sondep_copy_string(&m->prefix, ""));
    SONDE_TRY(sondep_copy_string(&m->suffix, ""));
    SONDE_TRY(read_string(&m->unk_token, &n, r, f->unk_token, "model.unk_token"));
    SONDE_TRY(read_string(&m->prefix, &m->prefix_bytes, r, f->prefix, "model.continuing_subword_prefix"));
    SONDE_TRY(read_string(&m->suffix, &m->suffix_bytes, r, f->suffix, "model.end_of_word_suffix"));
    SONDE_TRY(read_bool(&m->fuse_unk, r, f->fuse_unk, "model.fuse_unk"));
    SONDE_TRY(read_bool(&m->byte_fallback, r, f->byte_fallback, "model.byte_fallback"));
    return read_bool(&m->ignore_merges, r, f->ignore_merges, "model.ignore_merges");
}

/* {"token": id, ...}: one entry after another, without a tree of values in between. */
static sonde_status read_vocab(sondep_bpe *m, sondep_reader *r, sondep_extent e)
{
    bool first = true, more;
    const char *key;
    size_t n;
    int64_t id;

    if (is_missing(r, e))
        return SONDE_FAIL(SONDE_E_FORMAT, "field 'model.vocab' of '%s' is missing", r->path);
    r->at = e.from;
    if (r->text[e.from] != '{')
        return SONDE_FAIL(SONDE_E_FORMAT, "field 'model.vocab' of '%s' is not an object", r->path);
    SONDE_TRY(sondep_reader_expect(r, '{'));
    for (;;) {
        SONDE_TRY(sondep_reader_key(r, &first, &more, &key, &n));
        if (!more)
            return sondep_vocab_finish(&m->vocab);
        SONDE_TRY(sondep_reader_id(r, &id));
        if (id > SONDEP_MAX_ID)
            return SONDE_FAIL(SONDE_E_FORMAT, "field 'model.vocab' of '%s': '%.*s' has id %lld (limit %d)", r->path, (int)n,
                              key, (long long)id, SONDEP_MAX_ID);
        SONDE_TRY(sondep_vocab_put(&m->vocab, key, n, (int32_t)id));
    }
}

/* One side of a merge as an entry of the vocabulary. */
static sonde_status find_side(const sondep_bpe *m, const sondep_reader *r, int64_t rank, const char *text, size_t n,
                              int32_t *out)
{
    *out = sondep_vocab_find(&m->vocab, text, n);
    if (*out >= 0)
        return SONDE_OK;
    return SONDE_FAIL(SONDE_E_FORMAT, "field 'model.merges' of '%s': merge %lld: '%.*s' is not in the vocabulary", r->path,
                      (long long)rank, n < 100 ? (int)n : 100, text);
}

/* ["a", "b"], or "a b" as older files have it. */
static sonde_status read_merge(sondep_bpe *m, sondep_reader *r, int64_t rank, int32_t *left, int32_t *right)
{
    const char *text, *space;
    size_t n;

    /* the left side is found before the right one is read: a string with escapes lives until the next */
    if (sondep_reader_peek(r) == '[') {
        r->at++;
        SONDE_TRY(sondep_reader_string(r, &text, &n));
        SONDE_TRY(find_side(m, r, rank, text, n, left));
        SONDE_TRY(sondep_reader_expect(r, ','));
        SONDE_TRY(sondep_reader_string(r, &text, &n));
        SONDE_TRY(find_side(m, r, rank, text, n, right));
        return sondep_reader_expect(r, ']');
    }
    SONDE_TRY(sondep_reader_string(r, &text, &n));
    /* merges.txt begins with a line about its version, and some files took it over */
    if (n >= 8 && memcmp(text, "#version", 8) == 0) {
        *left = -1;
        return SONDE_OK;
    }
    /* exactly one space parts the two */
    space = n > 0 ? memchr(text, ' ', n) : NULL;
    if (space == NULL || memchr(space + 1, ' ', n - (size_t)(space + 1 - text)) != NULL)
        return SONDE_FAIL(SONDE_E_FORMAT, "field 'model.merges' of '%s': merge %lld: '%.*s' is not a pair", r->path,
                          (long long)rank, n < 100 ? (int)n : 100, text);
    SONDE_TRY(find_side(m, r, rank, text, (size_t)(space - text), left));
    return find_side(m, r, rank, space + 1, n - (size_t)(space + 1 - text), right);
}

/* The model says that the merged string is missing; the file and the merge are known here. */
static sonde_status add_merge(sondep_bpe *m, const sondep_reader *r, int64_t rank, int32_t left, int32_t right,
                              sondep_string *joined)
{
    sonde_status status = sondep_bpe_add_merge(m, left, right, joined);
    if (status == SONDE_E_NOTFOUND)
        return SONDE_FAIL(SONDE_E_FORMAT, "field 'model.merges' of '%s': merge %lld: '%.100s' is not in the vocabulary",
                          r->path, (long long)rank, joined->text);
    return status;
}

/* In the order of their ranks. */
static sonde_status read_merges(sondep_bpe *m, sondep_reader *r, sondep_extent e)
{
    bool first = true, more;
    sondep_string joined = {0};
    sonde_status status = SONDE_OK;
    int32_t left, right;

    if (is_missing(r, e) || r->text[e.from] != '[')
        return SONDE_FAIL(SONDE_E_FORMAT, "field 'model.merges' of '%s' is missing or not a list", r->path);
    r->at = e.from + 1;
    SONDE_TRY(sondep_bpe_start(m));
    for (;;) {
        SONDE_TRY_DONE(sondep_reader_element(r, ']', &first, &more));
        if (!more)
            break;
        if (m->n_ranks == INT32_MAX)
            SONDE_TRY_DONE(
                SONDE_FAIL(SONDE_E_RANGE, "field 'model.merges' of '%s' has more than %d merges", r->path, INT32_MAX));
        SONDE_TRY_DONE(read_merge(m, r, m->n_ranks, &left, &right));
        if (left >= 0)
            SONDE_TRY_DONE(add_merge(m, r, m->n_ranks, left, right, &joined));
    }
    SONDE_TRY_DONE(sondep_bpe_finish(m));
done:
    sondep_string_release(&joined);
    return status;
}

/* ---- the file --------------------------------------------------------------------------------------------------- */

typedef sonde_status part_fn(sondep_part *out, const json_t *json, const char *path);

/* A normalizer, pre-tokenizer or decoder, if the file has one. */
static sonde_status read_part(sondep_part *out, bool *is_there, const sondep_reader *r, sondep_extent e, part_fn *read)
{
    json_t *json = NULL;
    sonde_status status;

    *is_there = !is_missing(r, e);
    if (!*is_there)
        return SONDE_OK;
    SONDE_TRY_DONE(sondep_reader_json(r, &json, e));
    SONDE_TRY_DONE(read(out, json, r->path));
done:
    json_decref(json);
    return status;
}

/* Added tokens pass through the normalizer, which needs a room. */
static sonde_status read_list(sonde_tokenizer *t, const sondep_reader *r, sondep_extent e)
{
    json_t *json = NULL;
    sondep_room *room = NULL;
    sonde_status status;

    SONDE_TRY_DONE(sondep_room_take(&room, t));
    if (!is_missing(r, e)) {
        SONDE_TRY_DONE(sondep_reader_json(r, &json, e));
        SONDE_TRY_DONE(sondep_added_read(t, room, json, r->path));
    }
    SONDE_TRY_DONE(sondep_added_index(t, r->path));
done:
    sondep_room_give(t, room);
    json_decref(json);
    return status;
}

/* The post-processor, or none. */
static sonde_status read_template(sonde_tokenizer *t, const sondep_reader *r, sondep_extent e)
{
    json_t *json = NULL;
    sonde_status status = SONDE_OK;

    if (!is_missing(r, e))
        SONDE_TRY(sondep_reader_json(r, &json, e));
    status = sondep_tokenizer_template(t, json, r->path);
    json_decref(json);
    return status;
}

/* Model first: added tokens ask it for ids. Normalizer before added tokens: they pass through it. */
static sonde_status read_file(sonde_tokenizer *t, sondep_reader *r)
{
    fields f = {0};

    SONDE_TRY(find_fields(r, top_fields, &f));
    if (sondep_reader_peek(r) != '\0' || r->at < r->n)
        return sondep_reader_fail(r, "something follows the end of the object");
    if (f.type.to == 0 && f.vocab.to == 0)
        return SONDE_FAIL(SONDE_E_FORMAT, "field 'model' of '%s' is missing or has no vocab", r->path);
    if (!is_missing(r, f.truncation) || !is_missing(r, f.padding))
        sondep_log(SONDE_LOG_NOTE, "'%s': truncation and padding are left to the caller", r->path);
    /* the model */
    SONDE_TRY(read_settings(&t->bpe, r, &f));
    SONDE_TRY(read_vocab(&t->bpe, r, f.vocab));
    SONDE_TRY(read_merges(&t->bpe, r, f.merges));
    /* what stands before and behind it */
    SONDE_TRY(read_part(&t->normalizer, &t->has_normalizer, r, f.normalizer, sondep_part_normalizer));
    SONDE_TRY(read_part(&t->pre_tokenizer, &t->has_pre_tokenizer, r, f.pre_tokenizer, sondep_part_pre_tokenizer));
    SONDE_TRY(read_part(&t->decoder, &t->has_decoder, r, f.decoder, sondep_part_decoder));
    /* what needs all of them */
    SONDE_TRY(read_list(t, r, f.added_tokens));
    SONDE_TRY(read_template(t, r, f.post_processor));
    return sondep_tokenizer_finish(t);
}

/* The text may go when this returns: everything that is kept is copied. */
sonde_status sondep_tokenizer_parse(sonde_tokenizer **out, const char *text, size_t n, const char *path)
{
    sonde_tokenizer *t = NULL;
    sondep_reader reader = {.text = text, .n = n, .path = path};
    sonde_status status;

    *out = NULL;
    SONDE_TRY_DONE(SONDE_NEW(t, 1));
    sondep_trie_init(&t->added.raw);
    sondep_trie_init(&t->added.normalized);
    t->has_lock = pthread_mutex_init(&t->lock, NULL) == 0;
    if (!t->has_lock)
        SONDE_TRY_DONE(SONDE_FAIL(SONDE_E_NOMEM, "out of memory: a lock"));
    SONDE_TRY_DONE(sondep_text_check(text, n, path));
    SONDE_TRY_DONE(read_file(t, &reader));
    *out = t;
    t = NULL;
done:
    sondep_reader_release(&reader);
    sonde_tokenizer_free(t);
    return status;
}

/* A folder stands for the tokenizer.json in it. */
sonde_status sonde_tokenizer_load(sonde_tokenizer **out, const char *path)
{
    sondep_file file = {0};
    char *name = NULL;
    sonde_status status;

    *out = NULL;
    if (sondep_is_directory(path))
        SONDE_TRY_DONE(sondep_path_join(&name, path, "tokenizer.json"));
    else
        SONDE_TRY_DONE(sondep_copy_string(&name, path));
    SONDE_TRY_DONE(sondep_file_read(&file, name, SONDEP_JSON_MAX_BYTES));
    SONDE_TRY_DONE(sondep_tokenizer_parse(out, file.data, file.bytes, name));
done:
    sondep_file_release(&file);
    sondep_free(name);
    return status;
}

/* Nobody may be encoding any more. */
void sonde_tokenizer_free(sonde_tokenizer *t)
{
    if (t == NULL)
        return;
    /* idle rooms, of which there is one for each thread that ever encoded beside others */
    while (t->rooms != NULL) {
        sondep_room *room = t->rooms;
        t->rooms = room->next;
        sondep_room_free(room);
    }
    if (t->has_lock)
        pthread_mutex_destroy(&t->lock);
    sondep_bpe_release(&t->bpe);
    sondep_added_release(&t->added);
    sondep_part_release(&t->normalizer);
    sondep_part_release(&t->pre_tokenizer);
    sondep_part_release(&t->decoder);
    sondep_free(t->full.ids);
    sondep_free(t->bare.ids);
    sondep_free(t->bytes);
    sondep_free(t->byte_at);
    sondep_free(t);
}
