/* tokenizer_finish.c - what a tokenizer works out when its parts are there.     floor 3: text
 *
 * The post-processor as one template; whether words can stay raw bytes; whether the whole pre-tokenizer is one known
 * pattern; what each token stands for.
 */
#include "text/tokenizer.h"

#include "format/json.h"

/* ---- the template ----------------------------------------------------------------------------------------------- */

/* What the post-processor makes, worked out once: ids, and TEXT where the text's own tokens go. The library keeps it
 * as a list of encodings, on which a later processor of a sequence works one by one; ends[i] is the end of encoding i.
 * Zero-initialise it. */
typedef struct encodings {
    int32_t *items;
    int64_t *ends;
    int64_t n, capacity, n_ends, ends_capacity;
} encodings;

enum { TEXT = -1, MAX_TEMPLATE = 4096, MAX_DEPTH = 16 };

/* What the functions below share. */
typedef struct processing {
    const json_t *json; /* the processor */
    const char *path;
    bool with_specials;
} processing;

/* Both arrays. */
static void free_encodings(encodings *e)
{
    sondep_free(e->items);
    sondep_free(e->ends);
    *e = (encodings){0};
}

/* One more id or TEXT. Sequences of templates can double what they are given: hence the limit. */
static sonde_status put_item(encodings *out, int32_t id, const char *path)
{
    if (out->n == MAX_TEMPLATE)
        return SONDE_FAIL(SONDE_E_FORMAT, "field 'post_processor' of '%s' adds more than %d tokens", path, MAX_TEMPLATE);
    SONDE_TRY(sondep_grow(&out->items, &out->capacity, out->n + 1, sizeof *out->items));
    out->items[out->n++] = id;
    return SONDE_OK;
}

/* What was put since the last end is an encoding. */
static sonde_status end_encoding(encodings *out)
{
    SONDE_TRY(sondep_grow(&out->ends, &out->ends_capacity, out->n_ends + 1, sizeof *out->ends));
    out->ends[out->n_ends++] = out->n;
    return SONDE_OK;
}

/* Encoding i of another list, without an end. */
static sonde_status put_encoding(encodings *out, const encodings *in, int64_t i, const char *path)
{
    for (int64_t k = i > 0 ? in->ends[i - 1] : 0; k < in->ends[i]; k++)
        SONDE_TRY(put_item(out, in->items[k], path));
    return SONDE_OK;
}

/* An id from the file. */
static sonde_status put_id(encodings *out, const json_t *id, const char *path)
{
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > SONDEP_MAX_ID)
        return SONDE_FAIL(SONDE_E_FORMAT, "field 'post_processor' of '%s' has an id that is not an integer from 0 to %d",
                          path, SONDEP_MAX_ID);
    return put_item(out, (int32_t)json_integer_value(id), path);
}

/* A sequence of a template: A is the first encoding, B the second. */
static sonde_status put_sequence(encodings *out, const encodings *in, const json_t *sequence, const processing *p)
{
    const char *name;

    SONDE_TRY(sondep_json_get_string(&name, sequence, "id", p->path));
    if (strcmp(name, "A") != 0 && (strcmp(name, "B") != 0 || in->n_ends < 2))
        return SONDE_FAIL(SONDE_E_FORMAT, "field 'post_processor' of '%s' names sequence '%s'", p->path, name);
    SONDE_TRY(put_encoding(out, in, name[0] - 'A', p->path));
    return end_encoding(out);
}

/* A special token of a template, which may be several ids. */
static sonde_status put_special(encodings *out, const json_t *special, const processing *p)
{
    const json_t *ids;
    const char *name;

    SONDE_TRY(sondep_json_get_string(&name, special, "id", p->path));
    ids = json_object_get(json_object_get(json_object_get(p->json, "special_tokens"), name), "ids");
    if (!json_is_array(ids))
        return SONDE_FAIL(SONDE_E_FORMAT, "field 'post_processor.special_tokens' of '%s' has no ids for '%s'", p->path,
                          name);
    if (!p->with_specials)
        return SONDE_OK;
    for (size_t i = 0; i < json_array_size(ids); i++)
        SONDE_TRY(put_id(out, json_array_get(ids, i), p->path));
    return end_encoding(out);
}

/* TemplateProcessing: `single` for one encoding, `pair` for two. */
static sonde_status apply_template(encodings *out, const encodings *in, const processing *p)
{
    const json_t *pieces;

    if (in->n_ends != 1 && in->n_ends != 2)
        return SONDE_FAIL(SONDE_E_UNSUPPORTED,
                          "field 'post_processor' of '%s' is not handled: a template gets %lld sequences", p->path,
                          (long long)in->n_ends); /* the library fails when it encodes */
    SONDE_TRY(sondep_json_get_array(&pieces, p->json, in->n_ends == 1 ? "single" : "pair", p->path));
    for (size_t i = 0; i < json_array_size(pieces); i++) {
        const json_t *piece = json_array_get(pieces, i);
        const json_t *sequence = json_object_get(piece, "Sequence"), *special = json_object_get(piece, "SpecialToken");
        if (sequence == NULL && special == NULL)
            return SONDE_FAIL(SONDE_E_FORMAT, "field 'post_processor' of '%s' has a piece of no known kind", p->path);
        SONDE_TRY(sequence != NULL ? put_sequence(out, in, sequence, p) : put_special(out, special, p));
    }
    return SONDE_OK;
}

/* Bert's and Roberta's: [cls] text [sep], and of further encodings Bert's is text [sep], Roberta's [sep] text [sep]. */
static sonde_status apply_cls_sep(encodings *out, const encodings *in, const processing *p, bool is_roberta)
{
    const json_t *cls = json_array_get(json_object_get(p->json, "cls"), 1),
                 *sep = json_array_get(json_object_get(p->json, "sep"), 1);

    for (int64_t i = 0; i < in->n_ends; i++) {
        if (p->with_specials && (i == 0 || is_roberta))
            SONDE_TRY(put_id(out, i == 0 ? cls : sep, p->path));
        SONDE_TRY(put_encoding(out, in, i, p->path));
        if (p->with_specials)
            SONDE_TRY(put_id(out, sep, p->path));
        SONDE_TRY(end_encoding(out));
    }
    return SONDE_OK;
}

/* *all becomes what the processor makes of it. */
static sonde_status apply_processor(encodings *all, processing p, int depth)
{
    encodings out = {0};
    const char *type;
    const json_t *list;
    sonde_status status;

    if (depth == MAX_DEPTH)
        return SONDE_FAIL(SONDE_E_FORMAT, "field 'post_processor' of '%s': sequences are nested deeper than %d", p.path,
                          MAX_DEPTH);
    SONDE_TRY(sondep_json_get_string(&type, p.json, "type", p.path));
    if (strcmp(type, "ByteLevel") == 0) /* trims white space off the library's spans; ours are the bytes that a token owns */
        return SONDE_OK;
    if (strcmp(type, "Sequence") == 0) {
        SONDE_TRY(sondep_json_get_array(&list, p.json, "processors", p.path));
        for (size_t i = 0; i < json_array_size(list); i++)
            SONDE_TRY(apply_processor(all, (processing){json_array_get(list, i), p.path, p.with_specials}, depth + 1));
        return SONDE_OK;
    }
    /* out is written from all, then takes its place */
    if (strcmp(type, "TemplateProcessing") == 0)
        status = apply_template(&out, all, &p);
    else if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0)
        status = apply_cls_sep(&out, all, &p, type[0] == 'R');
    else
        status = SONDE_FAIL(SONDE_E_UNSUPPORTED, "post_processor '%s' in '%s' is not handled", type, p.path);
    free_encodings(status == SONDE_OK ? all : &out);
    if (status == SONDE_OK)
        *all = out;
    return status;
}

/* One for encoding with special tokens, one for without: processors of a sequence see different lists. */
static sonde_status make_template(sondep_template *out, const json_t *json, const char *path, bool with_specials)
{
    encodings all = {0};
    sonde_status status;

    SONDE_TRY_DONE(put_item(&all, TEXT, path));
    SONDE_TRY_DONE(end_encoding(&all));
    if (json != NULL)
        SONDE_TRY_DONE(apply_processor(&all, (processing){json, path, with_specials}, 0));
    *out = (sondep_template){all.items, all.n};
    all.items = NULL;
done:
    free_encodings(&all);
    return status;
}

/* A file without a post-processor has the template: the text. */
sonde_status sondep_tokenizer_template(sonde_tokenizer *t, const json_t *json, const char *path)
{
    SONDE_TRY(make_template(&t->bare, json, path, false));
    SONDE_TRY(make_template(&t->full, json, path, true));
    for (int64_t i = 0; i < t->full.n; i++)
        t->n_ids = t->full.ids[i] >= t->n_ids ? t->full.ids[i] + (int64_t)1 : t->n_ids;
    return SONDE_OK;
}

/* ---- short cuts ------------------------------------------------------------------------------------------------- */

/* Whether the last pre-tokenizer is ByteLevel: what it would write is looked up instead. */
static bool ends_raw(const sondep_part *part)
{
    if (part->kind == SONDEP_PART_SEQUENCE)
        return part->n_parts > 0 && ends_raw(&part->parts[part->n_parts - 1]);
    return part->kind == SONDEP_PART_BYTE_LEVEL;
}

/* The pattern that alone cuts the text into words; NULL if there is more to it. */
static const sondep_pattern *only_pattern(const sondep_part *part)
{
    static const sondep_pattern gpt2 = {.kind = SONDEP_PATTERN_GPT2};
    const sondep_part *split, *bytes;

    if (part->kind == SONDEP_PART_SEQUENCE && part->n_parts == 1)
        return only_pattern(&part->parts[0]);
    if (part->kind == SONDEP_PART_BYTE_LEVEL && part->use_regex && !part->add_prefix_space)
        return &gpt2;
    if (part->kind != SONDEP_PART_SEQUENCE || part->n_parts != 2)
        return NULL;
    split = &part->parts[0];
    bytes = &part->parts[1];
    if (bytes->kind != SONDEP_PART_BYTE_LEVEL || bytes->use_regex || bytes->add_prefix_space)
        return NULL;
    if (split->kind != SONDEP_PART_SPLIT || split->behavior != SONDEP_ISOLATED)
        return NULL;
    return split->pattern.kind == SONDEP_PATTERN_GPT2 || split->pattern.kind == SONDEP_PATTERN_LLAMA3 ? &split->pattern
                                                                                                      : NULL;
}

/* ---- what each token stands for --------------------------------------------------------------------------------- */

/* Whether a part, or one inside it, is of a kind. */
static bool has_part(const sondep_part *part, sondep_part_kind kind)
{
    for (int64_t i = 0; i < part->n_parts; i++)
        if (has_part(&part->parts[i], kind))
            return true;
    return part->kind == kind;
}

/* A byte-level token's bytes; characters that stand for none stay. */
static sonde_status append_chars_as_bytes(sondep_string *out, const char *text, size_t n)
{
    int length;
    for (size_t i = 0; i < n; i += (size_t)length) {
        int byte = sondep_char_byte(sondep_utf8_next(&length, text + i));
        char c = (char)byte;
        SONDE_TRY(byte >= 0 ? sondep_string_append(out, &c, 1) : sondep_string_append(out, text + i, (size_t)length));
    }
    return SONDE_OK;
}

/* A token's text by the decoders that work on single tokens; those that look at the place in the text are left out. */
static sonde_status append_decoded(sondep_string *out, const sondep_part *part, sondep_room *room, const char *text,
                                   size_t n)
{
    sondep_list list = {0};
    sonde_status status;
    const sondep_part *parts = part->kind == SONDEP_PART_SEQUENCE ? part->parts : part;
    int64_t n_parts = part->kind == SONDEP_PART_SEQUENCE ? part->n_parts : 1;

    SONDE_TRY_DONE(sondep_list_put(&list, text, n));
    for (int64_t i = 0; i < n_parts; i++) {
        sondep_part anywhere = parts[i];
        anywhere.prepend = SONDEP_PREPEND_NEVER; /* Metaspace drops a space at the beginning of a text only */
        if (parts[i].kind == SONDEP_PART_REPLACE || parts[i].kind == SONDEP_PART_METASPACE)
            SONDE_TRY_DONE(sondep_decode_list(&list, &anywhere, room));
    }
    SONDE_TRY_DONE(sondep_string_append(out, list.text.text, list.text.n));
done:
    sondep_list_release(&list);
    return status;
}

/* What one id stands for: an added token's text, a byte, or the token as the decoders have it. */
static sonde_status append_token(sondep_string *out, const sonde_tokenizer *t, sondep_room *room, int32_t id)
{
    const char *text = sonde_tokenizer_token(t, id);
    size_t n;
    int32_t fallback = -1;

    if (text == NULL)
        return SONDE_OK;
    if (id < t->added.n_ids && t->added.by_id[id] >= 0)
        return sondep_string_append(out, text, t->added.items[t->added.by_id[id]].content_bytes);
    n = t->bpe.vocab.entries[t->bpe.vocab.by_id[id]].n;
    for (int b = 0; b < 256 && n == 6 && t->has_decoder && has_part(&t->decoder, SONDEP_PART_BYTE_FALLBACK); b++)
        fallback = t->bpe.fallback_ids[b] == id ? b : fallback;
    /* the decoder says whether <0x41> is a byte, and characters are bytes */
    if (fallback >= 0)
        return sondep_string_append(out, (char[]){(char)fallback}, 1);
    if (t->has_decoder ? has_part(&t->decoder, SONDEP_PART_BYTE_LEVEL) : t->is_raw)
        return append_chars_as_bytes(out, text, n);
    return t->has_decoder ? append_decoded(out, &t->decoder, room, text, n) : sondep_string_append(out, text, n);
}

/* All ids one after another in one block. */
static sonde_status fill_bytes(sonde_tokenizer *t)
{
    sondep_string all = {0};
    sondep_room *room = NULL;
    sonde_status status;

    SONDE_TRY_DONE(sondep_room_take(&room, t));
    SONDE_TRY_DONE(SONDE_NEW(t->byte_at, t->n_ids + 1));
    SONDE_TRY_DONE(sondep_string_append(&all, "", 0));
    for (int64_t id = 0; id < t->n_ids; id++) {
        SONDE_TRY_DONE(append_token(&all, t, room, (int32_t)id));
        t->byte_at[id + 1] = (int64_t)all.n;
    }
    t->bytes = all.text;
    all = (sondep_string){0};
done:
    sondep_room_give(t, room);
    sondep_string_release(&all);
    return status;
}

/* Names that files give to the token at the beginning of a text, if the post-processor adds none. */
sonde_status sondep_tokenizer_finish(sonde_tokenizer *t)
{
    static const char *const names[] = {"<s>", "<|begin_of_text|>", "<|endoftext|>", "<bos>", "<|startoftext|>", "[BOS]"};

    /* a prefix or suffix is put around characters, not around bytes */
    t->is_raw = t->has_pre_tokenizer && ends_raw(&t->pre_tokenizer) && t->bpe.prefix_bytes == 0 && t->bpe.suffix_bytes == 0;
    t->scanner = t->is_raw ? only_pattern(&t->pre_tokenizer) : NULL;
    t->bos = sonde_tokenizer_first_added(t);
    for (size_t i = 0; i < sizeof names / sizeof *names && t->bos < 0; i++)
        t->bos = sonde_tokenizer_id(t, names[i]);
    return fill_bytes(t);
}
