/* tokenizer_parts.c - normalizers, pre-tokenizers and decoders from their JSON.  floor 3: text
 *
 * A table for each of the three kinds of component: name, and the function that reads its fields.
 *
 * A component that is not in its table is refused by its name: a tokenizer that leaves one out would give other ids
 * and say nothing. Fields that the library needs but that do not change ids (trim_offsets) are not looked at.
 */
#include "text/tokenizer.h"

#include "format/json.h"

/* A part and all inside it. */
void sondep_part_release(sondep_part *part)
{
    for (int64_t i = 0; i < part->n_parts; i++)
        sondep_part_release(&part->parts[i]);
    sondep_free(part->parts);
    sondep_free(part->content);
    sondep_pattern_release(&part->pattern);
    *part = (sondep_part){0};
}

/* ---- fields ----------------------------------------------------------------------------------------------------- */

typedef sonde_status fields_fn(sondep_part *out, const json_t *json, const char *path);

/* A string field, which may hold NULs. */
static sonde_status get_text(char **out, size_t *n, const json_t *json, const char *key, const char *path)
{
    const json_t *value = json_object_get(json, key);
    if (!json_is_string(value))
        return SONDE_FAIL(SONDE_E_FORMAT, "field '%s' of '%s' is not a string", key, path);
    *n = json_string_length(value);
    return sondep_copy_bytes(out, json_string_value(value), *n);
}

/* A string of one character. */
static sonde_status get_char(sondep_part *out, const json_t *json, const char *key, const char *path)
{
    uint32_t c;
    SONDE_TRY(get_text(&out->content, &out->content_bytes, json, key, path));
    if (out->content_bytes == 0 || sondep_utf8_decode(&c, out->content, out->content_bytes) != (int)out->content_bytes)
        return SONDE_FAIL(SONDE_E_FORMAT, "field '%s' of '%s' is '%s', not one character", key, path, out->content);
    return SONDE_OK;
}

/* A pattern that is a text. */
static sonde_status make_literal(sondep_pattern *out, const char *text, size_t n)
{
    out->kind = SONDEP_PATTERN_LITERAL;
    out->literal_bytes = n;
    return sondep_copy_bytes(&out->literal, text, n);
}

/* {"String": text} or {"Regex": expression} */
static sonde_status get_pattern(sondep_pattern *out, const json_t *json, const char *path)
{
    const json_t *value = json_object_get(json, "pattern");
    const json_t *text = json_object_get(value, "String"), *regex = json_object_get(value, "Regex");

    if (json_is_string(text) && json_object_size(value) == 1)
        return make_literal(out, json_string_value(text), json_string_length(text));
    if (json_is_string(regex) && json_object_size(value) == 1)
        return sondep_pattern_regex(out, json_string_value(regex), json_string_length(regex));
    return SONDE_FAIL(SONDE_E_FORMAT, "field 'pattern' of '%s' is neither a String nor a Regex", path);
}

/* One of n names; missing leaves *out as it was. */
static sonde_status get_choice(int *out, const json_t *json, const char *key, const char *const *names, int n,
                               const char *path)
{
    const char *name = NULL;

    SONDE_TRY(sondep_json_opt_string(&name, json, key, path));
    for (int i = 0; name != NULL && i < n; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = i;
            return SONDE_OK;
        }
    }
    return name == NULL ? SONDE_OK : SONDE_FAIL(SONDE_E_FORMAT, "field '%s' of '%s' is '%s'", key, path, name);
}

/* What becomes of matches, by the library's names. */
static sonde_status get_behavior(sondep_part *out, const json_t *json, sondep_behavior otherwise, const char *path)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    int choice = (int)otherwise;
    SONDE_TRY(get_choice(&choice, json, "behavior", names, 5, path));
    out->behavior = (sondep_behavior)choice;
    return SONDE_OK;
}

/* A number that is not negative. */
static sonde_status get_count(int64_t *out, const json_t *json, const char *key, const char *path)
{
    SONDE_TRY(sondep_json_opt_int(out, json, key, path));
    if (*out < 0)
        return SONDE_FAIL(SONDE_E_FORMAT, "field '%s' of '%s' is %lld", key, path, (long long)*out);
    return SONDE_OK;
}

/* For components that are a name and nothing else. */
static sonde_status no_fields(sondep_part *out, const json_t *json, const char *path)
{
    (void)out, (void)json, (void)path;
    return SONDE_OK;
}

/* ---- normalizers ------------------------------------------------------------------------------------------------ */

/* {"prepend": text} */
static sonde_status prepend_fields(sondep_part *out, const json_t *json, const char *path)
{
    return get_text(&out->content, &out->content_bytes, json, "prepend", path);
}

/* {"pattern": pattern, "content": text}; decoders have the same. */
static sonde_status replace_fields(sondep_part *out, const json_t *json, const char *path)
{
    SONDE_TRY(get_pattern(&out->pattern, json, path));
    return get_text(&out->content, &out->content_bytes, json, "content", path);
}

/* {"strip_left": bool, "strip_right": bool} */
static sonde_status strip_fields(sondep_part *out, const json_t *json, const char *path)
{
    SONDE_TRY(sondep_json_get_bool(&out->strip_left, json, "strip_left", path));
    return sondep_json_get_bool(&out->strip_right, json, "strip_right", path);
}

/* ---- pre-tokenizers --------------------------------------------------------------------------------------------- */

/* {"add_prefix_space": bool, "use_regex": bool}; trim_offsets is about spans that we do not give. */
static sonde_status byte_level_fields(sondep_part *out, const json_t *json, const char *path)
{
    out->add_prefix_space = out->use_regex = true;
    SONDE_TRY(sondep_json_opt_bool(&out->add_prefix_space, json, "add_prefix_space", path));
    return sondep_json_opt_bool(&out->use_regex, json, "use_regex", path);
}

/* {"pattern": pattern, "behavior": name, "invert": bool} */
static sonde_status split_fields(sondep_part *out, const json_t *json, const char *path)
{
    SONDE_TRY(get_pattern(&out->pattern, json, path));
    SONDE_TRY(get_behavior(out, json, SONDEP_ISOLATED, path));
    return sondep_json_opt_bool(&out->invert, json, "invert", path);
}

/* {"replacement": character, "prepend_scheme": name, "split": bool}; older files say add_prefix_space. */
static sonde_status metaspace_fields(sondep_part *out, const json_t *json, const char *path)
{
    static const char *const names[] = {"always", "first", "never"};
    bool add_prefix_space = true;
    int choice = SONDEP_PREPEND_ALWAYS;

    out->split = true;
    SONDE_TRY(get_char(out, json, "replacement", path));
    SONDE_TRY(make_literal(&out->pattern, out->content, out->content_bytes));
    SONDE_TRY(sondep_json_opt_bool(&add_prefix_space, json, "add_prefix_space", path));
    SONDE_TRY(get_choice(&choice, json, "prepend_scheme", names, 3, path));
    SONDE_TRY(sondep_json_opt_bool(&out->split, json, "split", path));
    out->prepend = (sondep_prepend)choice;
    if (!add_prefix_space && out->prepend != SONDEP_PREPEND_NEVER)
        return SONDE_FAIL(SONDE_E_FORMAT, "field 'add_prefix_space' of '%s' is false, but 'prepend_scheme' is '%s'", path,
                          names[choice]);
    return SONDE_OK;
}

/* The pre-tokenizers that split at kinds of characters are a Split with a pattern of its own. */
static sonde_status split_at(sondep_part *out, int flags, sondep_behavior behavior)
{
    out->kind = SONDEP_PART_SPLIT;
    out->pattern.kind = SONDEP_PATTERN_FLAGS;
    out->pattern.flags = flags;
    out->behavior = behavior;
    return SONDE_OK;
}

/* {"individual_digits": bool} */
static sonde_status digits_fields(sondep_part *out, const json_t *json, const char *path)
{
    bool one_by_one = false;
    SONDE_TRY(sondep_json_opt_bool(&one_by_one, json, "individual_digits", path));
    return split_at(out, SONDEP_UNICODE_NUMERIC, one_by_one ? SONDEP_ISOLATED : SONDEP_CONTIGUOUS);
}

/* {"behavior": name} */
static sonde_status punctuation_fields(sondep_part *out, const json_t *json, const char *path)
{
    SONDE_TRY(get_behavior(out, json, SONDEP_ISOLATED, path));
    return split_at(out, SONDEP_UNICODE_PUNCTUATION, out->behavior);
}

/* White space goes, and parts what it stood between. */
static sonde_status whitespace_split_fields(sondep_part *out, const json_t *json, const char *path)
{
    (void)json, (void)path;
    return split_at(out, SONDEP_UNICODE_SPACE, SONDEP_REMOVED);
}

/* What stays are the matches: an inverted pattern whose matches are removed. */
static sonde_status whitespace_fields(sondep_part *out, const json_t *json, const char *path)
{
    (void)json, (void)path;
    out->kind = SONDEP_PART_SPLIT;
    out->pattern.kind = SONDEP_PATTERN_WORDS;
    out->behavior = SONDEP_REMOVED;
    out->invert = true;
    return SONDE_OK;
}

/* Bert's: white space goes, punctuation stands alone. */
static sonde_status bert_fields(sondep_part *out, const json_t *json, const char *path)
{
    out->kind = SONDEP_PART_SEQUENCE;
    SONDE_TRY(SONDE_NEW(out->parts, 2));
    out->n_parts = 2;
    SONDE_TRY(whitespace_split_fields(&out->parts[0], json, path));
    return split_at(&out->parts[1], SONDEP_UNICODE_PUNCTUATION, SONDEP_ISOLATED);
}

/* {"delimiter": character} */
static sonde_status delimiter_fields(sondep_part *out, const json_t *json, const char *path)
{
    out->kind = SONDEP_PART_SPLIT;
    out->behavior = SONDEP_REMOVED;
    SONDE_TRY(get_char(out, json, "delimiter", path));
    return make_literal(&out->pattern, out->content, out->content_bytes);
}

/* {"length": n} */
static sonde_status fixed_length_fields(sondep_part *out, const json_t *json, const char *path)
{
    out->length = 5;
    SONDE_TRY(get_count(&out->length, json, "length", path));
    return out->length > 0 ? SONDE_OK : SONDE_FAIL(SONDE_E_FORMAT, "field 'length' of '%s' is 0", path);
}

/* ---- decoders --------------------------------------------------------------------------------------------------- */

/* {"content": character, "start": n, "stop": n} */
static sonde_status strip_char_fields(sondep_part *out, const json_t *json, const char *path)
{
    SONDE_TRY(get_char(out, json, "content", path));
    SONDE_TRY(get_count(&out->start, json, "start", path));
    return get_count(&out->stop, json, "stop", path);
}

/* {"suffix": text} */
static sonde_status suffix_fields(sondep_part *out, const json_t *json, const char *path)
{
    return get_text(&out->content, &out->content_bytes, json, "suffix", path);
}

/* {"prefix": text, "cleanup": bool} */
static sonde_status wordpiece_fields(sondep_part *out, const json_t *json, const char *path)
{
    out->cleanup = true;
    SONDE_TRY(get_text(&out->content, &out->content_bytes, json, "prefix", path));
    return sondep_json_opt_bool(&out->cleanup, json, "cleanup", path);
}

/* ---- tables ----------------------------------------------------------------------------------------------------- */

typedef struct component {
    const char *name;
    sondep_part_kind kind;
    fields_fn *fields; /* may change the kind */
} component;

static const component normalizers[] = {
    {"NFC", SONDEP_PART_NFC, no_fields},
    {"NFD", SONDEP_PART_NFD, no_fields},
    {"NFKC", SONDEP_PART_NFKC, no_fields},
    {"NFKD", SONDEP_PART_NFKD, no_fields},
    {"Prepend", SONDEP_PART_PREPEND, prepend_fields},
    {"Replace", SONDEP_PART_REPLACE, replace_fields},
    {"Strip", SONDEP_PART_STRIP, strip_fields},
    {"StripAccents", SONDEP_PART_STRIP_ACCENTS, no_fields},
    {"Lowercase", SONDEP_PART_LOWERCASE, no_fields},
    {"Nmt", SONDEP_PART_NMT, no_fields},
    {"ByteLevel", SONDEP_PART_BYTE_LEVEL, no_fields},
    {NULL, SONDEP_PART_SEQUENCE, NULL},
};

static const component pre_tokenizers[] = {
    {"ByteLevel", SONDEP_PART_BYTE_LEVEL, byte_level_fields},
    {"Split", SONDEP_PART_SPLIT, split_fields},
    {"Metaspace", SONDEP_PART_METASPACE, metaspace_fields},
    {"Digits", SONDEP_PART_SPLIT, digits_fields},
    {"Whitespace", SONDEP_PART_SPLIT, whitespace_fields},
    {"WhitespaceSplit", SONDEP_PART_SPLIT, whitespace_split_fields},
    {"Punctuation", SONDEP_PART_SPLIT, punctuation_fields},
    {"BertPreTokenizer", SONDEP_PART_SEQUENCE, bert_fields},
    {"CharDelimiterSplit", SONDEP_PART_SPLIT, delimiter_fields},
    {"FixedLength", SONDEP_PART_FIXED_LENGTH, fixed_length_fields},
    {NULL, SONDEP_PART_SEQUENCE, NULL},
};

static const component decoders[] = {
    {"ByteLevel", SONDEP_PART_BYTE_LEVEL, no_fields},
    {"Metaspace", SONDEP_PART_METASPACE, metaspace_fields},
    {"Replace", SONDEP_PART_REPLACE, replace_fields},
    {"ByteFallback", SONDEP_PART_BYTE_FALLBACK, no_fields},
    {"Fuse", SONDEP_PART_FUSE, no_fields},
    {"Strip", SONDEP_PART_STRIP_CHAR, strip_char_fields},
    {"BPEDecoder", SONDEP_PART_BPE_DECODER, suffix_fields},
    {"WordPiece", SONDEP_PART_WORDPIECE, wordpiece_fields},
    {NULL, SONDEP_PART_SEQUENCE, NULL},
};

/* What a table is for: the words of messages, and the field of a Sequence that holds its members. */
typedef struct table {
    const component *rows;
    const char *what, *members;
} table;

enum { MAX_DEPTH = 16 };

static sonde_status read_part(sondep_part *out, const json_t *json, const table *t, int depth, const char *path);

/* n_parts grows before a part is read, so that one that fails half-way is released too. */
static sonde_status read_sequence(sondep_part *out, const json_t *json, const table *t, int depth, const char *path)
{
    const json_t *list;

    if (depth == MAX_DEPTH)
        return SONDE_FAIL(SONDE_E_FORMAT, "field '%s' of '%s': sequences are nested deeper than %d", t->members, path,
                          MAX_DEPTH);
    SONDE_TRY(sondep_json_get_array(&list, json, t->members, path));
    out->kind = SONDEP_PART_SEQUENCE;
    SONDE_TRY(SONDE_NEW(out->parts, (int64_t)json_array_size(list)));
    for (size_t i = 0; i < json_array_size(list); i++) {
        out->n_parts++;
        SONDE_TRY(read_part(&out->parts[i], json_array_get(list, i), t, depth + 1, path));
    }
    return SONDE_OK;
}

/* The row of the table with the component's name. */
static sonde_status read_part(sondep_part *out, const json_t *json, const table *t, int depth, const char *path)
{
    const char *type;

    if (!json_is_object(json))
        return SONDE_FAIL(SONDE_E_FORMAT, "field '%s' of '%s' is not an object", t->what, path);
    SONDE_TRY(sondep_json_get_string(&type, json, "type", path));
    if (strcmp(type, "Sequence") == 0)
        return read_sequence(out, json, t, depth, path);
    for (const component *row = t->rows; row->name != NULL; row++) {
        if (strcmp(row->name, type) == 0) {
            out->kind = row->kind;
            return row->fields(out, json, path);
        }
    }
    return SONDE_FAIL(SONDE_E_UNSUPPORTED, "%s '%s' in '%s' is not handled", t->what, type, path);
}

/* The table of normalizers. */
sonde_status sondep_part_normalizer(sondep_part *out, const json_t *json, const char *path)
{
    static const table t = {normalizers, "normalizer", "normalizers"};
    return read_part(out, json, &t, 0, path);
}

/* The table of pre-tokenizers. */
sonde_status sondep_part_pre_tokenizer(sondep_part *out, const json_t *json, const char *path)
{
    static const table t = {pre_tokenizers, "pre_tokenizer", "pretokenizers"};
    return read_part(out, json, &t, 0, path);
}

/* The table of decoders. */
sonde_status sondep_part_decoder(sondep_part *out, const json_t *json, const char *path)
{
    static const table t = {decoders, "decoder", "decoders"};
    return read_part(out, json, &t, 0, path);
}
