/* tokenizer_finish.c - what a tokenizer works out when its parts are there.     floor 3: text
 *
 * The post-processor as one template; whether words can stay raw bytes; whether the whole pre-tokenizer is one known pattern;
 * what each token stands for.
 */
#include "text/tokenizer.h"

#include "format/json.h"

/* ---- the template ---------------------------------------------------------------------------------------------------------- */

/* Ids, and TEXT where the text's own tokens go. Zero-initialise it. */
typedef struct template {
    int32_t *ids;
    int64_t n, capacity;
} template;

enum { TEXT = -1, MAX_TEMPLATE = 4096, MAX_DEPTH = 16 };

static sonde_status put_item(template *out, int32_t id, const char *path)
{
    if (out->n == MAX_TEMPLATE)
        return SONDE_FAIL(SONDE_E_FORMAT, "field 'post_processor' of '%s' adds more than %d tokens", path, MAX_TEMPLATE);
    SONDE_TRY(sondep_room_grow(&out->ids, &out->capacity, out->n + 1, sizeof *out->ids));
    out->ids[out->n++] = id;
    return SONDE_OK;
}

static sonde_status put_id(template *out, const json_t *id, const char *path)
{
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > SONDEP_MAX_ID)
        return SONDE_FAIL(SONDE_E_FORMAT, "field 'post_processor' of '%s' has an id that is not an integer from 0 to %d", path,
                          SONDEP_MAX_ID);
    return put_item(out, (int32_t)json_integer_value(id), path);
}

/* One piece of a TemplateProcessing: the text, or a special token, which may be several ids. */
static sonde_status put_piece(template *out, const json_t *piece, const json_t *specials, const template *inner, const char *path)
{
    const json_t *sequence = json_object_get(piece, "Sequence"), *special = json_object_get(piece, "SpecialToken"), *ids;
    const char *name;

    if (sequence != NULL) {
        SONDE_TRY(sondep_json_get_string(&name, sequence, "id", path));
        if (strcmp(name, "A") != 0)
            return SONDE_FAIL(SONDE_E_FORMAT, "field 'post_processor.single' of '%s' names sequence '%s'", path, name);
        for (int64_t i = 0; i < inner->n; i++)
            SONDE_TRY(put_item(out, inner->ids[i], path));
        return SONDE_OK;
    }
    if (special == NULL)
        return SONDE_FAIL(SONDE_E_FORMAT, "field 'post_processor.single' of '%s' has a piece of no known kind", path);
    SONDE_TRY(sondep_json_get_string(&name, special, "id", path));
    ids = json_object_get(json_object_get(specials, name), "ids");
    if (!json_is_array(ids))
        return SONDE_FAIL(SONDE_E_FORMAT, "field 'post_processor.special_tokens' of '%s' has no ids for '%s'", path, name);
    for (size_t i = 0; i < json_array_size(ids); i++)
        SONDE_TRY(put_id(out, json_array_get(ids, i), path));
    return SONDE_OK;
}

static sonde_status apply_template(template *out, const json_t *json, const template *inner, const char *path)
{
    const json_t *single, *specials = json_object_get(json, "special_tokens");

    SONDE_TRY(sondep_json_get_array(&single, json, "single", path));
    for (size_t i = 0; i < json_array_size(single); i++)
        SONDE_TRY(put_piece(out, json_array_get(single, i), specials, inner, path));
    return SONDE_OK;
}

/* Bert's and Roberta's: [cls] text [sep]. */
static sonde_status apply_cls_sep(template *out, const json_t *json, const template *inner, const char *path)
{
    SONDE_TRY(put_id(out, json_array_get(json_object_get(json, "cls"), 1), path));
    for (int64_t i = 0; i < inner->n; i++)
        SONDE_TRY(put_item(out, inner->ids[i], path));
    return put_id(out, json_array_get(json_object_get(json, "sep"), 1), path);
}

static sonde_status apply_processor(template *inner, const json_t *json, int depth, const char *path)
{
    template out = {0};
    const char *type;
    const json_t *list;
    sonde_status status;

    if (depth == MAX_DEPTH)
        return SONDE_FAIL(SONDE_E_FORMAT, "field 'post_processor' of '%s': sequences are nested deeper than %d", path, MAX_DEPTH);
    SONDE_TRY(sondep_json_get_string(&type, json, "type", path));
    if (strcmp(type, "ByteLevel") == 0) /* trims white space off the library's spans; ours are the bytes that a token owns */
        return SONDE_OK;
    if (strcmp(type, "Sequence") == 0) {
        SONDE_TRY(sondep_json_get_array(&list, json, "processors", path));
        for (size_t i = 0; i < json_array_size(list); i++)
            SONDE_TRY(apply_processor(inner, json_array_get(list, i), depth + 1, path));
        return SONDE_OK;
    }
    if (strcmp(type, "TemplateProcessing") == 0)
        status = apply_template(&out, json, inner, path);
    else if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0)
        status = apply_cls_sep(&out, json, inner, path);
    else
        status = SONDE_FAIL(SONDE_E_UNSUPPORTED, "post_processor '%s' in '%s' is not handled", type, path);
    sondep_free(status == SONDE_OK ? inner->ids : out.ids);
    if (status == SONDE_OK)
        *inner = out;
    return status;
}

sonde_status sondep_tokenizer_template(sonde_tokenizer *t, const json_t *json, const char *path)
{
    template all = {0};
    sonde_status status;

    SONDE_TRY_DONE(put_item(&all, TEXT, path));
    if (json != NULL)
        SONDE_TRY_DONE(apply_processor(&all, json, 0, path));
    t->template_ids = all.ids;
    t->n_template = all.n;
    all.ids = NULL;
    for (int64_t i = 0; i < t->n_template; i++)
        t->n_ids = t->template_ids[i] >= t->n_ids ? t->template_ids[i] + (int64_t)1 : t->n_ids;
done:
    sondep_free(all.ids);
    return status;
}

/* ---- short cuts --------------------------------------------------------------------------------------------------------------- */

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
    return split->pattern.kind == SONDEP_PATTERN_GPT2 || split->pattern.kind == SONDEP_PATTERN_LLAMA3 ? &split->pattern : NULL;
}

/* ---- what each token stands for ------------------------------------------------------------------------------------------------- */

/* Whether a part, or one inside it, is of a kind. */
static bool has_part(const sondep_part *part, sondep_part_kind kind)
{
    for (int64_t i = 0; i < part->n_parts; i++)
        if (has_part(&part->parts[i], kind))
            return true;
    return part->kind == kind;
}

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
static sonde_status append_decoded(sondep_string *out, const sondep_part *part, sondep_room *room, const char *text, size_t n)
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

static sonde_status append_token(sondep_string *out, const sonde_tokenizer *t, sondep_room *room, int32_t id)
{
    const char *text = sonde_tokenizer_token(t, id);
    size_t n = text ? strlen(text) : 0;
    int32_t fallback = -1;

    if (text == NULL)
        return SONDE_OK;
    if (id < t->added.n_ids && t->added.by_id[id] >= 0)
        return sondep_string_append(out, text, t->added.items[t->added.by_id[id]].content_bytes);
    n = t->bpe.vocab.entries[t->bpe.vocab.by_id[id]].n;
    for (int b = 0; b < 256 && n == 6 && t->has_decoder && has_part(&t->decoder, SONDEP_PART_BYTE_FALLBACK); b++)
        fallback = t->bpe.fallback_ids[b] == id ? b : fallback;
    if (fallback >= 0)
        return sondep_string_append(out, (char[]){(char)fallback}, 1);
    if (t->has_decoder ? has_part(&t->decoder, SONDEP_PART_BYTE_LEVEL) : t->is_raw)
        return append_chars_as_bytes(out, text, n);
    return t->has_decoder ? append_decoded(out, &t->decoder, room, text, n) : sondep_string_append(out, text, n);
}

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

sonde_status sondep_tokenizer_finish(sonde_tokenizer *t)
{
    static const char *const names[] = {"<s>", "<|begin_of_text|>", "<|endoftext|>", "<bos>", "<|startoftext|>", "[BOS]"};

    t->is_raw = t->has_pre_tokenizer && ends_raw(&t->pre_tokenizer) && t->bpe.prefix_bytes == 0 && t->bpe.suffix_bytes == 0;
    t->scanner = t->is_raw ? only_pattern(&t->pre_tokenizer) : NULL;
    t->bos = sonde_tokenizer_first_added(t);
    for (size_t i = 0; i < sizeof names / sizeof *names && t->bos < 0; i++)
        t->bos = sonde_tokenizer_id(t, names[i]);
    return fill_bytes(t);
}
