/* tokenizer_decode.c - tokens back to text.                                     floor 3: text
 *
 * The library makes a list of the tokens' strings and lets each decoder rewrite the list; what is left is joined. The
 * list is kept here as one text and the ends of its strings.
 *
 * Decoding happens for what people read, not in the inner loop of anything: each decoder writes the list anew, which
 * keeps each of them a few lines long and as the library has them.
 */
#include "text/tokenizer.h"

/* One more string at the end. */
sonde_status sondep_list_put(sondep_list *list, const char *text, size_t n)
{
    SONDE_TRY(sondep_string_append(&list->text, text, n));
    SONDE_TRY(sondep_grow(&list->ends, &list->capacity, list->n + 1, sizeof *list->ends));
    list->ends[list->n++] = (int64_t)list->text.n;
    return SONDE_OK;
}

/* The text and the ends. */
void sondep_list_release(sondep_list *list)
{
    sondep_string_release(&list->text);
    sondep_free(list->ends);
    *list = (sondep_list){0};
}

/* String i of a list. */
static const char *get(const sondep_list *list, int64_t i, size_t *n)
{
    int64_t start = i > 0 ? list->ends[i - 1] : 0;
    *n = (size_t)(list->ends[i] - start);
    return list->text.text + start;
}

/* Ends the string that has been appended to out->text. */
static sonde_status end_string(sondep_list *out)
{
    return sondep_list_put(out, "", 0);
}

/* ---- bytes ------------------------------------------------------------------------------------------------------ */

/* Length of the stretch at text[0..n) that from_utf8_lossy makes one U+FFFD: the longest beginning of a valid
 * character. */
static size_t broken_length(const unsigned char *b, size_t n)
{
    unsigned low = 0x80, high = 0xbf;
    size_t length = b[0] >= 0xc2 && b[0] < 0xe0 ? 2 : (b[0] & 0xf0) == 0xe0 ? 3 : b[0] >= 0xf0 && b[0] < 0xf5 ? 4 : 1, i = 1;

    if (b[0] == 0xe0)
        low = 0xa0;
    else if (b[0] == 0xed)
        high = 0x9f;
    else if (b[0] == 0xf0)
        low = 0x90;
    else if (b[0] == 0xf4)
        high = 0x8f;
    /* only the second byte has bounds of its own */
    for (; i < length && i < n && b[i] >= low && b[i] <= high; i++) {
        low = 0x80;
        high = 0xbf;
    }
    return i;
}

/* Appends bytes that may not be UTF-8. */
static sonde_status append_lossy(sondep_string *out, const char *bytes, size_t n)
{
    for (size_t i = 0, length; i < n; i += length) {
        uint32_t c;
        int good = sondep_utf8_decode(&c, bytes + i, n - i);
        length = good > 0 ? (size_t)good : broken_length((const unsigned char *)bytes + i, n - i);
        SONDE_TRY(good > 0 ? sondep_string_append(out, bytes + i, length) : sondep_string_append(out, "\xef\xbf\xbd", 3));
    }
    return SONDE_OK;
}

/* The bytes of a byte-level token; a token with any other character stands for itself. */
static sonde_status append_byte_chars(sondep_string *out, const char *text, size_t n)
{
    size_t before = out->n;
    int length;

    for (size_t i = 0; i < n; i += (size_t)length) {
        int byte = sondep_char_byte(sondep_utf8_next(&length, text + i));
        char c = (char)byte;
        if (byte < 0) {
            out->n = before;
            return sondep_string_append(out, text, n);
        }
        SONDE_TRY(sondep_string_append(out, &c, 1));
    }
    return SONDE_OK;
}

/* All tokens at once: a character may be spread over several. */
static sonde_status decode_byte_level(sondep_list *out, const sondep_list *in)
{
    sondep_string bytes = {0};
    sonde_status status = SONDE_OK;
    size_t n;

    for (int64_t i = 0; i < in->n; i++) {
        const char *token = get(in, i, &n);
        SONDE_TRY_DONE(append_byte_chars(&bytes, token, n));
    }
    SONDE_TRY_DONE(append_lossy(&out->text, bytes.text, bytes.n));
    SONDE_TRY_DONE(end_string(out));
done:
    sondep_string_release(&bytes);
    return status;
}

/* Value of a hexadecimal digit, -1 if it is none. */
static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* The byte of "<0x41>", -1 if the token is none. Rust's parser takes "+A" as a number too. */
static int fallback_byte(const char *text, size_t n)
{
    int high, low;
    if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    high = text[3] == '+' ? 0 : hex_digit(text[3]);
    low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* A run of byte tokens: one string if it is UTF-8, else a U+FFFD for each byte. */
static sonde_status put_byte_run(sondep_list *out, sondep_string *run)
{
    uint32_t c;
    size_t at = 0;
    int length = 1;

    for (; at < run->n && length > 0; at += (size_t)length)
        length = sondep_utf8_decode(&c, run->text + at, run->n - at);
    if (run->n > 0 && length > 0)
        SONDE_TRY(sondep_list_put(out, run->text, run->n));
    for (size_t i = 0; i < run->n && length == 0; i++)
        SONDE_TRY(sondep_list_put(out, "\xef\xbf\xbd", 3));
    run->n = 0;
    return SONDE_OK;
}

/* Byte tokens that stand together make characters together. */
static sonde_status decode_byte_fallback(sondep_list *out, const sondep_list *in)
{
    sondep_string run = {0};
    sonde_status status = SONDE_OK;
    size_t n;

    for (int64_t i = 0; i < in->n; i++) {
        const char *token = get(in, i, &n);
        int byte = fallback_byte(token, n);
        char c = (char)byte;
        if (byte >= 0) {
            SONDE_TRY_DONE(sondep_string_append(&run, &c, 1));
            continue;
        }
        SONDE_TRY_DONE(put_byte_run(out, &run));
        SONDE_TRY_DONE(sondep_list_put(out, token, n));
    }
    /* and what stands at the end */
    SONDE_TRY_DONE(put_byte_run(out, &run));
done:
    sondep_string_release(&run);
    return status;
}

/* ---- strings ---------------------------------------------------------------------------------------------------- */

/* Appends `text` with every `from` as `to`. */
static sonde_status append_replaced(sondep_string *out, const char *text, size_t n, const char *from, size_t from_bytes,
                                    const char *to)
{
    size_t done = 0;
    for (size_t i = 0; from_bytes > 0 && i + from_bytes <= n;) {
        if (memcmp(text + i, from, from_bytes) != 0) {
            i++;
            continue;
        }
        SONDE_TRY(sondep_string_append(out, text + done, i - done));
        SONDE_TRY(sondep_string_append(out, to, strlen(to)));
        done = i += from_bytes;
    }
    return sondep_string_append(out, text + done, n - done);
}

/* The replacement is a space, but nothing at the beginning of the first token. */
static sonde_status decode_metaspace(sondep_list *out, const sondep_part *part, const char *token, size_t n, int64_t i)
{
    bool drop = i == 0 && part->prepend != SONDEP_PREPEND_NEVER;
    SONDE_TRY(append_replaced(&out->text, token, n, part->content, part->content_bytes, drop ? "" : " "));
    return end_string(out);
}

/* Every match in a token by the content. */
static sonde_status decode_replace(sondep_list *out, const sondep_part *part, const char *token, size_t n, sondep_room *room)
{
    SONDE_TRY(sondep_pattern_find(room, &part->pattern, token, (int64_t)n));
    for (int64_t i = 0; i < room->matches.n; i++) {
        const sondep_match *m = &room->matches.items[i];
        if (m->is_match)
            SONDE_TRY(sondep_string_append(&out->text, part->content, part->content_bytes));
        else
            SONDE_TRY(sondep_string_append(&out->text, token + m->start, (size_t)(m->end - m->start)));
    }
    return end_string(out);
}

/* Takes up to `start` of a character off the front and `stop` off the back. */
static sonde_status decode_strip(sondep_list *out, const sondep_part *part, const char *token, size_t n)
{
    size_t from = 0, to = n, width = part->content_bytes;

    for (int64_t i = 0; i < part->start && to - from >= width && memcmp(token + from, part->content, width) == 0; i++)
        from += width;
    for (int64_t i = 0; i < part->stop && to >= from + width && memcmp(token + to - width, part->content, width) == 0; i++)
        to -= width;
    return sondep_list_put(out, token + from, to - from);
}

/* The library's clean-up of spaces before punctuation, in its order. */
static sonde_status clean_up(sondep_string *text)
{
    static const char *const pairs[][2] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                                           {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                                           {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        sondep_string next = {0};
        sonde_status status = append_replaced(&next, text->text, text->n, pairs[i][0], strlen(pairs[i][0]), pairs[i][1]);
        sondep_string_release(text);
        *text = next;
        SONDE_TRY(status);
    }
    return SONDE_OK;
}

/* A token without the prefix begins a word: a space goes before it. */
static sonde_status decode_wordpiece(sondep_list *out, const sondep_part *part, const char *token, size_t n, int64_t i)
{
    sondep_string text = {0};
    sonde_status status;
    bool goes_on = n >= part->content_bytes && memcmp(token, part->content, part->content_bytes) == 0;

    if (i > 0 && goes_on) {
        token += part->content_bytes;
        n -= part->content_bytes;
    }
    SONDE_TRY_DONE(sondep_string_append(&text, " ", i > 0 && !goes_on));
    SONDE_TRY_DONE(sondep_string_append(&text, token, n));
    if (part->cleanup)
        SONDE_TRY_DONE(clean_up(&text));
    SONDE_TRY_DONE(sondep_list_put(out, text.text, text.n));
done:
    sondep_string_release(&text);
    return status;
}

/* ---- a decoder -------------------------------------------------------------------------------------------------- */

/* The decoders that look at one string at a time; Fuse makes one of all. */
static sonde_status decode_each(sondep_list *out, const sondep_list *in, const sondep_part *part, sondep_room *room)
{
    size_t n;

    for (int64_t i = 0; i < in->n; i++) {
        const char *token = get(in, i, &n);
        switch (part->kind) {
        case SONDEP_PART_METASPACE: SONDE_TRY(decode_metaspace(out, part, token, n, i)); break;
        case SONDEP_PART_REPLACE: SONDE_TRY(decode_replace(out, part, token, n, room)); break;
        case SONDEP_PART_STRIP_CHAR: SONDE_TRY(decode_strip(out, part, token, n)); break;
        case SONDEP_PART_WORDPIECE: SONDE_TRY(decode_wordpiece(out, part, token, n, i)); break;
        case SONDEP_PART_BPE_DECODER:
            SONDE_TRY(append_replaced(&out->text, token, n, part->content, part->content_bytes, i == in->n - 1 ? "" : " "));
            SONDE_TRY(end_string(out));
            break;
        default:
            SONDE_ASSERT(part->kind == SONDEP_PART_FUSE);
            SONDE_TRY(sondep_string_append(&out->text, token, n));
            break;
        }
    }
    return part->kind == SONDEP_PART_FUSE ? end_string(out) : SONDE_OK;
}

/* The list is written anew by each decoder of a sequence. */
sonde_status sondep_decode_list(sondep_list *list, const sondep_part *part, sondep_room *room)
{
    sondep_list out = {0};
    sonde_status status;

    if (part->kind == SONDEP_PART_SEQUENCE) {
        for (int64_t i = 0; i < part->n_parts; i++)
            SONDE_TRY(sondep_decode_list(list, &part->parts[i], room));
        return SONDE_OK;
    }
    status = part->kind == SONDEP_PART_BYTE_LEVEL      ? decode_byte_level(&out, list)
             : part->kind == SONDEP_PART_BYTE_FALLBACK ? decode_byte_fallback(&out, list)
                                                       : decode_each(&out, list, part, room);
    sondep_list_release(list);
    *list = out;
    return status;
}

/* ---- the tokenizer ---------------------------------------------------------------------------------------------- */

/* The library asks of an added token's string, not of its id, whether it is special. */
static bool is_special_string(const sonde_tokenizer *t, const char *text, size_t n)
{
    for (int64_t i = 0; i < t->added.n; i++) {
        const sondep_added *a = &t->added.items[i];
        if (a->is_special && a->content_bytes == n && memcmp(a->content, text, n) == 0)
            return true;
    }
    return false;
}

/* The strings that decoding starts from; ids that have none are left out, as the library does. */
static sonde_status list_tokens(sondep_list *out, const sonde_tokenizer *t, const int32_t *ids, int64_t n,
                                bool skip_specials)
{
    for (int64_t i = 0; i < n; i++) {
        size_t n_bytes;
        const char *token;
        if (ids[i] < 0 || ids[i] >= t->n_ids)
            return SONDE_FAIL(SONDE_E_RANGE, "token %d is outside the vocabulary of %lld", (int)ids[i], (long long)t->n_ids);
        token = sondep_token_string(&n_bytes, t, ids[i]);
        if (token != NULL && !(skip_specials && t->added.by_id[ids[i]] >= 0 && is_special_string(t, token, n_bytes)))
            SONDE_TRY(sondep_list_put(out, token, n_bytes));
    }
    return SONDE_OK;
}

/* Without a decoder the library puts spaces between the tokens. */
static sonde_status join_tokens(sondep_string *out, const sonde_tokenizer *t, const sondep_list *list)
{
    size_t n;
    SONDE_TRY(sondep_string_append(out, "", 0));
    for (int64_t i = 0; i < list->n; i++) {
        const char *token = get(list, i, &n);
        SONDE_TRY(sondep_string_append(out, " ", i > 0 && !t->has_decoder));
        SONDE_TRY(sondep_string_append(out, token, n));
    }
    return SONDE_OK;
}

/* The string is handed over, not copied. */
sonde_status sonde_tokenizer_decode(char **out, size_t *out_bytes, const sonde_tokenizer *tokenizer, const int32_t *ids,
                                    int64_t n, bool skip_specials)
{
    sondep_list list = {0};
    sondep_string text = {0};
    sondep_room *room = NULL;
    sonde_status status;

    *out = NULL;
    *out_bytes = 0;
    SONDE_TRY_DONE(sondep_room_take(&room, tokenizer));
    SONDE_TRY_DONE(list_tokens(&list, tokenizer, ids, n, skip_specials));
    if (tokenizer->has_decoder && list.n > 0)
        SONDE_TRY_DONE(sondep_decode_list(&list, &tokenizer->decoder, room));
    SONDE_TRY_DONE(join_tokens(&text, tokenizer, &list));
    *out = text.text;
    *out_bytes = text.n;
    text = (sondep_string){0};
done:
    sondep_room_give(tokenizer, room);
    sondep_list_release(&list);
    sondep_string_release(&text);
    return status;
}

/* What decode gave. */
void sonde_text_free(char *text)
{
    sondep_free(text);
}
