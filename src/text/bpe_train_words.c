/* bpe_train_words.c - the words of texts, counted.                               floor 3: text
 *
 * A table of different words, their bytes in a blob. Texts are cut into stretches that threads take as they come free,
 * each with a table of its own, so that nothing is shared while they count.
 *
 * A stretch begins where any scan of the whole text finds the beginning of a word: at the start of a text, or behind a
 * line break that is followed by an ASCII character that is not white space. (None of the known patterns carries a line
 * break over to a word that begins with something else.) Scanners still see the text behind the stretch's end, for what
 * depends on the next character.
 */
#include "text/bpe_train.h"

#include <omp.h>

enum { STRETCH = 1 << 18 };

void sondep_words_release(sondep_words *words)
{
    sondep_free(words->blob);
    sondep_free(words->items);
    sondep_free(words->slots);
    *words = (sondep_words){0};
}

/* ---- a table ------------------------------------------------------------------------------------------------------ */

/* The slot of a word: its own, or the free one where it would go. */
static struct sondep_slot *find_slot(const sondep_words *words, const char *text, int64_t n, uint32_t hash)
{
    uint32_t mask = (uint32_t)(words->n_slots - 1), at = hash & mask;

    for (; words->slots[at].entry != 0; at = (at + 1) & mask) {
        const sondep_word *w = &words->items[words->slots[at].entry - 1];
        if (words->slots[at].hash == hash && w->n == n && memcmp(words->blob + w->at, text, (size_t)n) == 0)
            break;
    }
    return &words->slots[at];
}

/* Twice as many slots, when half are taken. */
static sonde_status grow_slots(sondep_words *words)
{
    struct sondep_slot *slots;
    int64_t n_slots = words->n_slots ? 2 * words->n_slots : 4096;

    if (words->n_slots > 2 * words->n)
        return SONDE_OK;
    SONDE_TRY(SONDE_NEW(slots, n_slots));
    for (int64_t i = 0; i < words->n; i++) {
        uint32_t at = words->items[i].hash & (uint32_t)(n_slots - 1);
        while (slots[at].entry != 0)
            at = (at + 1) & (uint32_t)(n_slots - 1);
        slots[at] = (struct sondep_slot){words->items[i].hash, (int32_t)i + 1};
    }
    sondep_free(words->slots);
    words->slots = slots;
    words->n_slots = n_slots;
    return SONDE_OK;
}

/* A word that was not met before. */
static sonde_status put_word(sondep_words *words, const char *text, int64_t n, uint32_t hash, int64_t count)
{
    if (words->n == INT32_MAX)
        return SONDE_FAIL(SONDE_E_RANGE, "the texts have more than %d different words", INT32_MAX);
    SONDE_TRY(sondep_grow(&words->items, &words->capacity, words->n + 1, sizeof *words->items));
    SONDE_TRY(sondep_grow(&words->blob, &words->blob_capacity, words->blob_bytes + n, 1));
    memcpy(words->blob + words->blob_bytes, text, (size_t)n);
    words->items[words->n++] = (sondep_word){words->blob_bytes, n, count, hash};
    words->blob_bytes += n;
    return SONDE_OK;
}

sonde_status sondep_words_add(sondep_words *words, const char *text, int64_t n, int64_t count)
{
    uint32_t hash = sondep_hash_bytes(text, (size_t)n);
    struct sondep_slot *slot;

    SONDE_TRY(grow_slots(words));
    slot = find_slot(words, text, n, hash);
    if (slot->entry != 0) {
        words->items[slot->entry - 1].count += count;
        return SONDE_OK;
    }
    SONDE_TRY(put_word(words, text, n, hash, count));
    *slot = (struct sondep_slot){hash, (int32_t)words->n};
    return SONDE_OK;
}

/* ---- stretches ---------------------------------------------------------------------------------------------------- */

/* The first text that ends behind byte `at`. */
static int64_t text_at(const sondep_texts *texts, int64_t at)
{
    int64_t low = 0, high = texts->n;

    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (texts->ends[middle] > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Where a stretch may begin, from byte `at` on. */
static int64_t next_start(const sondep_texts *texts, int64_t at)
{
    int64_t i = text_at(texts, at), end;

    if (i == texts->n)
        return texts->ends[texts->n - 1];
    if (at == (i > 0 ? texts->ends[i - 1] : 0))
        return at;
    end = texts->ends[i];
    /* a line break, and what stands behind it */
    for (const char *hit; (hit = memchr(texts->bytes + at, '\n', (size_t)(end - at))) != NULL;) {
        at = hit - texts->bytes + 1;
        if (at == end || (texts->bytes[at] > ' ' && texts->bytes[at] < 0x7f))
            return at;
    }
    return end;
}

/* The words of bytes [from, to), which may lie in several texts. */
static sonde_status count_stretch(sondep_words *words, const sondep_texts *texts, const sondep_pattern *pattern,
                                  int64_t from, int64_t to)
{
    for (int64_t i = text_at(texts, from), n; from < to; i++) {
        int64_t end = texts->ends[i];
        for (; from < end && from < to; from += n) {
            const char *text = texts->bytes + from;
            n = pattern->kind == SONDEP_PATTERN_GPT2 ? sondep_scan_gpt2(text, end - from)
                                                     : sondep_scan_llama3(text, end - from, pattern->max_digits);
            SONDE_TRY(sondep_words_add(words, text, n, 1));
        }
    }
    return SONDE_OK;
}

/* An error belongs to the thread that had it: it is told again by the caller's. */
static sonde_status tell_again(sonde_status status)
{
    if (status == SONDE_E_NOMEM)
        return SONDE_FAIL(status, "out of memory: the words of the texts");
    return status == SONDE_OK ? status : SONDE_FAIL(status, "the texts have more than %d different words", INT32_MAX);
}

sonde_status sondep_words_count(sondep_words *tables, int64_t n_tables, const sondep_texts *texts,
                                const sondep_pattern *pattern)
{
    int64_t n_bytes = texts->n > 0 ? texts->ends[texts->n - 1] : 0;
    int64_t n_stretches = (n_bytes + STRETCH - 1) / STRETCH;
    int worst = SONDE_OK; /* errors are below 0 */

#pragma omp parallel for schedule(dynamic, 1)                                                                    \
    num_threads(sonde_threads() < n_tables ? sonde_threads() : (int)n_tables) if (n_stretches > 1) reduction(min \
                                                                                                             : worst)
    for (int64_t i = 0; i < n_stretches; i++) {
        int64_t from = next_start(texts, i * STRETCH);
        int64_t to = i + 1 < n_stretches ? next_start(texts, (i + 1) * STRETCH) : n_bytes;
        int status = count_stretch(&tables[omp_get_thread_num()], texts, pattern, from, to);
        worst = status < worst ? status : worst;
    }
    return tell_again((sonde_status)worst);
}
