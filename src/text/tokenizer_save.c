/* tokenizer_save.c - what a trainer learnt as a tokenizer.json.                  floor 3: text
 *
 * Byte for byte what `tokenizers` 0.23 writes with pretty=True for a BPE model with a byte-level pre-tokenizer and decoder, and
 * a byte-level or template post-processor: two spaces a level, strings with the escapes of RFC 8259 that are needed and no others.
 */
#include "text/tokenizer_train.h"

#include "base/file.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

/* A text that ends with a NUL. */
static sonde_status put(sondep_writer *w, const char *text)
{
    return sondep_writer_put(w, text, strlen(text));
}

/* A number. */
static sonde_status put_id(sondep_writer *w, int64_t id)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)id);
    return put(w, text);
}

/* A character that a JSON string has escaped; "" if it stands for itself. */
static const char *escape_of(char *room, size_t room_bytes, unsigned char c)
{
    static const struct {
        char c;
        const char *escape;
    } short_forms[] = {{'"', "\\\""}, {'\\', "\\\\"}, {'\b', "\\b"}, {'\f', "\\f"},
                       {'\n', "\\n"}, {'\r', "\\r"},  {'\t', "\\t"}};

    for (size_t i = 0; i < sizeof short_forms / sizeof *short_forms; i++)
        if (short_forms[i].c == (char)c)
            return short_forms[i].escape;
    room[0] = '\0';
    if (c < 0x20)
        snprintf(room, room_bytes, "\\u%04x", (unsigned)c);
    return room;
}

/* A string in its quotes: stretches that stand for themselves, and what lies between them. */
static sonde_status put_string(sondep_writer *w, const char *text, size_t n)
{
    char room[8];
    size_t done = 0;

    SONDE_TRY(put(w, "\""));
    for (size_t i = 0; i < n; i++) {
        const char *escape = escape_of(room, sizeof room, (unsigned char)text[i]);
        if (*escape == '\0')
            continue;
        SONDE_TRY(sondep_writer_put(w, text + done, i - done));
        SONDE_TRY(put(w, escape));
        done = i + 1;
    }
    SONDE_TRY(sondep_writer_put(w, text + done, n - done));
    return put(w, "\"");
}

/* The string of an id. */
static sonde_status put_token(sondep_writer *w, const sondep_vocab *v, int64_t id)
{
    return put_string(w, v->blob + v->entries[id].at, v->entries[id].n);
}

/* The special tokens: the first ids. */
static sonde_status put_added(sondep_writer *w, const sonde_bpe_trainer *t)
{
    for (int64_t i = 0; i < t->n_specials; i++) {
        SONDE_TRY(put(w, i > 0 ? ",\n    {\n      \"id\": " : "\n    {\n      \"id\": "));
        SONDE_TRY(put_id(w, i));
        SONDE_TRY(put(w, ",\n      \"content\": "));
        SONDE_TRY(put_token(w, &t->learned.vocab, i));
        SONDE_TRY(put(w, ",\n      \"single_word\": false,\n      \"lstrip\": false,\n      \"rstrip\": false,\n"
                         "      \"normalized\": false,\n      \"special\": true\n    }"));
    }
    return put(w, t->n_specials > 0 ? "\n  ],\n" : "],\n");
}

/* GPT-2's words are those of ByteLevel itself; any other pattern stands before it. */
static sonde_status put_pre_tokenizer(sondep_writer *w, const sonde_bpe_trainer *t)
{
    const char *expression = sondep_pattern_expression(&t->pattern);

    if (t->pattern.kind == SONDEP_PATTERN_GPT2)
        return put(w, "  \"pre_tokenizer\": {\n    \"type\": \"ByteLevel\",\n    \"add_prefix_space\": false,\n"
                      "    \"trim_offsets\": true,\n    \"use_regex\": true\n  },\n");
    SONDE_TRY(put(w, "  \"pre_tokenizer\": {\n    \"type\": \"Sequence\",\n    \"pretokenizers\": [\n      {\n"
                     "        \"type\": \"Split\",\n        \"pattern\": {\n          \"Regex\": "));
    SONDE_TRY(put_string(w, expression, strlen(expression)));
    return put(w, "\n        },\n        \"behavior\": \"Isolated\",\n        \"invert\": false\n      },\n      {\n"
                  "        \"type\": \"ByteLevel\",\n        \"add_prefix_space\": false,\n        \"trim_offsets\": true,\n"
                  "        \"use_regex\": false\n      }\n    ]\n  },\n");
}

/* Tokens by id. */
static sonde_status put_vocabulary(sondep_writer *w, const sondep_vocab *v)
{
    for (int64_t id = 0; id < v->n; id++) {
        SONDE_TRY(put(w, id > 0 ? ",\n      " : "\n      "));
        SONDE_TRY(put_token(w, v, id));
        SONDE_TRY(put(w, ": "));
        SONDE_TRY(put_id(w, id));
    }
    return put(w, "\n    },\n    \"merges\": [");
}

/* Pairs by rank. */
static sonde_status put_merges(sondep_writer *w, const sondep_learned *learned)
{
    for (int64_t i = 0; i < learned->n_merges; i++) {
        SONDE_TRY(put(w, i > 0 ? ",\n      [\n        " : "\n      [\n        "));
        SONDE_TRY(put_token(w, &learned->vocab, learned->merges[i].left));
        SONDE_TRY(put(w, ",\n        "));
        SONDE_TRY(put_token(w, &learned->vocab, learned->merges[i].right));
        SONDE_TRY(put(w, "\n      ]"));
    }
    return put(w, learned->n_merges > 0 ? "\n    ]\n  }\n}" : "]\n  }\n}");
}

/* A piece of a template: a special token, or a text, each in quotes. */
static sonde_status put_piece(sondep_writer *w, const char *kind, const sonde_bpe_trainer *t, const char *sequence, int type)
{
    SONDE_TRY(put(w, "      {\n        \""));
    SONDE_TRY(put(w, kind));
    SONDE_TRY(put(w, "\": {\n          \"id\": "));
    SONDE_TRY(sequence ? put_string(w, sequence, strlen(sequence)) : put_token(w, &t->learned.vocab, 0));
    SONDE_TRY(put(w, ",\n          \"type_id\": "));
    SONDE_TRY(put_id(w, type));
    return put(w, "\n        }\n      }");
}

/* The first special token before each text of the first n of a pair. */
static sonde_status put_template(sondep_writer *w, const sonde_bpe_trainer *t, int n)
{
    for (int i = 0; i < n; i++) {
        SONDE_TRY(put(w, i > 0 ? ",\n" : ""));
        SONDE_TRY(put_piece(w, "SpecialToken", t, NULL, i));
        SONDE_TRY(put(w, ",\n"));
        SONDE_TRY(put_piece(w, "Sequence", t, i == 0 ? "A" : "B", i));
    }
    return put(w, "\n    ],\n");
}

/* Of ByteLevel, which adds nothing to a text; or the template that puts a special token before it. */
static sonde_status put_post_processor(sondep_writer *w, const sonde_bpe_trainer *t)
{
    if (!t->prepends_bos)
        return put(w, "  \"post_processor\": {\n    \"type\": \"ByteLevel\",\n    \"add_prefix_space\": true,\n"
                      "    \"trim_offsets\": false,\n    \"use_regex\": true\n  },\n");
    SONDE_TRY(put(w, "  \"post_processor\": {\n    \"type\": \"TemplateProcessing\",\n    \"single\": [\n"));
    SONDE_TRY(put_template(w, t, 1));
    SONDE_TRY(put(w, "    \"pair\": [\n"));
    SONDE_TRY(put_template(w, t, 2));
    SONDE_TRY(put(w, "    \"special_tokens\": {\n      "));
    SONDE_TRY(put_token(w, &t->learned.vocab, 0));
    SONDE_TRY(put(w, ": {\n        \"id\": "));
    SONDE_TRY(put_token(w, &t->learned.vocab, 0));
    SONDE_TRY(put(w, ",\n        \"ids\": [\n          0\n        ],\n        \"tokens\": [\n          "));
    SONDE_TRY(put_token(w, &t->learned.vocab, 0));
    return put(w, "\n        ]\n      }\n    }\n  },\n");
}

/* The whole file. */
static sonde_status put_all(sondep_writer *w, const sonde_bpe_trainer *t)
{
    SONDE_TRY(put(w, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": ["));
    SONDE_TRY(put_added(w, t));
    SONDE_TRY(put(w, "  \"normalizer\": null,\n"));
    SONDE_TRY(put_pre_tokenizer(w, t));
    SONDE_TRY(put_post_processor(w, t));
    SONDE_TRY(put(w, "  \"decoder\": {\n    \"type\": \"ByteLevel\",\n    \"add_prefix_space\": true,\n"
                     "    \"trim_offsets\": true,\n    \"use_regex\": true\n  },\n"
                     "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n"
                     "    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n"
                     "    \"fuse_unk\": false,\n    \"byte_fallback\": false,\n    \"ignore_merges\": false,\n"
                     "    \"vocab\": {"));
    SONDE_TRY(put_vocabulary(w, &t->learned.vocab));
    return put_merges(w, &t->learned);
}

/* The file that a path means: itself if it is one or is called so, else tokenizer.json in the folder, which *is_new says
 * was made. */
static sonde_status choose_file(char **out, bool *is_new, const char *path)
{
    size_t n = strlen(path);
    bool is_named = n >= 5 && memcmp(path + n - 5, ".json", 5) == 0;

    *is_new = false;
    if (sondep_is_file(path) || (is_named && !sondep_is_directory(path)))
        return sondep_copy_string(out, path);
    if (!sondep_is_directory(path)) {
        if (mkdir(path, 0777) != 0)
            return SONDE_FAIL(SONDE_E_IO, "cannot make the folder '%s': %s", path, strerror(errno));
        *is_new = true;
    }
    return sondep_path_join(out, path, "tokenizer.json");
}

/* A folder that was made for a file that could not be written goes with it. */
sonde_status sonde_bpe_trainer_save(const sonde_bpe_trainer *t, const char *path)
{
    sondep_writer w = {.fd = -1};
    char *file = NULL;
    bool is_new;
    sonde_status status;

    if (!t->is_learned)
        return SONDE_FAIL(SONDE_E_STATE, "a trainer that has learnt nothing has nothing to save");
    SONDE_TRY_DONE(choose_file(&file, &is_new, path));
    SONDE_TRY_DONE(sondep_writer_open(&w, file));
    SONDE_TRY_DONE(put_all(&w, t));
    status = sondep_writer_commit(&w);
done:
    if (status != SONDE_OK) {
        sondep_writer_abort(&w);
        if (is_new)
            (void)rmdir(path);
    }
    sondep_free(file);
    return status;
}
