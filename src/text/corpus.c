/* corpus.c - documents as one stream of token ids in memory.                   floor 3: text
 *
 * A file is read in batches of documents. While the threads encode one batch, the thread that asked reads the next one and
 * then joins in; each thread has a lane that its ids go to, and when a batch is done its documents are taken out of the
 * lanes in their order. So the stream does not depend on the number of threads, nor does the error that is reported: the one
 * of the first document that has one. A file that counts several times is a part of the stream with that many rounds: its
 * ids lie in memory once.
 */
#include "text/tokenizer.h"

#include "base/file.h"

#include <omp.h>

/* A batch ends when it has this much. */
enum { BATCH_BYTES = 4 << 20, BATCH_DOCUMENTS = 8192, MOST_REPEATS = 1 << 20 };

/* A document in memory. */
typedef struct document {
    int64_t first, n_bytes; /* its first id, which is the separator; bytes of its text */
} document;

/* A file in the stream. */
typedef struct part {
    int64_t first_id, n_ids;             /* in memory */
    int64_t first_document, n_documents; /* in memory */
    int64_t at_id, at_document;          /* where it begins in the stream */
    int64_t repeat;
} part;

struct sonde_corpus {
    const sonde_tokenizer *tokenizer;
    int32_t separator;
    int64_t n_vocab;
    bool is_wide; /* ids of 4 bytes */
    void *ids;
    int64_t n_ids, ids_capacity;
    document *documents;
    int64_t n_documents, documents_capacity;
    part *parts;
    int64_t n_parts, parts_capacity;
    int64_t stream_ids, stream_documents, stream_bytes; /* rounds counted */
    uint64_t hash;
};

/* ---- batches ------------------------------------------------------------------------------------------------------- */

/* A document of a batch: where its text lies, and then its ids. */
typedef struct waiting {
    int64_t at, n_bytes; /* in the batch's bytes */
    int64_t lane, first, n_ids;
} waiting;

typedef struct batch {
    char *bytes;
    int64_t n_bytes, bytes_capacity;
    waiting *documents;
    int64_t n, capacity;
} batch;

/* What one thread makes of a batch. */
typedef struct lane {
    sonde_tokens tokens; /* of one document */
    int32_t *ids;        /* of all that this thread had, without separators */
    int64_t n, capacity;
    int64_t failed_at; /* the first document that this thread could not encode; -1: none */
    sonde_error failed;
} lane;

/* One file on its way. */
typedef struct adding {
    sonde_corpus *corpus;
    const char *path;
    sonde_corpus_opts opts;
    sonde_documents *documents;
    batch batches[2];
    lane *lanes;
    int n_lanes;
    int64_t first_id, first_document; /* of this file, in memory */
    int64_t n_read;                   /* documents */
    bool is_done;
} adding;

static void adding_release(adding *a)
{
    for (int i = 0; i < 2; i++) {
        sondep_free(a->batches[i].bytes);
        sondep_free(a->batches[i].documents);
    }
    for (int i = 0; a->lanes != NULL && i < a->n_lanes; i++) {
        sonde_tokens_release(&a->lanes[i].tokens);
        sondep_free(a->lanes[i].ids);
    }
    sondep_free(a->lanes);
    sonde_documents_close(a->documents);
}

/* One more document; its text is copied, since the reader keeps only the last. */
static sonde_status put_waiting(batch *b, const char *text, size_t n_bytes)
{
    SONDE_TRY(sondep_grow(&b->documents, &b->capacity, b->n + 1, sizeof *b->documents));
    SONDE_TRY(sondep_grow(&b->bytes, &b->bytes_capacity, b->n_bytes + (int64_t)n_bytes + 1, 1));
    memcpy(b->bytes + b->n_bytes, text, n_bytes);
    b->documents[b->n++] = (waiting){.at = b->n_bytes, .n_bytes = (int64_t)n_bytes};
    b->n_bytes += (int64_t)n_bytes;
    return SONDE_OK;
}

/* The next batch; it is empty when the file, or what is wanted of it, has ended. */
static sonde_status read_batch(adding *a, batch *b)
{
    const char *text;
    size_t n_bytes;

    b->n = b->n_bytes = 0;
    while (!a->is_done && b->n < BATCH_DOCUMENTS && b->n_bytes < BATCH_BYTES) {
        SONDE_TRY(sonde_documents_next(a->documents, &text, &n_bytes));
        a->is_done = text == NULL;
        if (a->is_done)
            break;
        SONDE_TRY(put_waiting(b, text, n_bytes));
        a->n_read++;
        a->is_done = a->opts.limit > 0 && a->n_read >= a->opts.limit;
    }
    return SONDE_OK;
}

/* ---- encoding ------------------------------------------------------------------------------------------------------ */

/* The ids of one document, into a lane. */
static sonde_status encode(const adding *a, batch *b, int64_t i, int64_t which)
{
    lane *l = &a->lanes[which];
    waiting *w = &b->documents[i];

    /* The separator is all that is added: what the file's post-processor would add belongs to a prompt. */
    SONDE_TRY(
        sonde_tokenizer_encode(&l->tokens, a->corpus->tokenizer, b->bytes + w->at, (size_t)w->n_bytes, SONDE_SPECIALS_NONE));
    SONDE_TRY(sondep_grow(&l->ids, &l->capacity, l->n + l->tokens.n, sizeof *l->ids));
    if (l->tokens.n > 0)
        memcpy(l->ids + l->n, l->tokens.ids, (size_t)l->tokens.n * sizeof *l->ids);
    w->lane = which;
    w->first = l->n;
    w->n_ids = l->tokens.n;
    l->n += l->tokens.n;
    return SONDE_OK;
}

/* Errors belong to the thread in which they happen: that of the first document is carried over to the one that asked. Each
 * lane has the first of its own, since documents are handed out in their order. */
static sonde_status first_failure(const adding *a)
{
    const lane *first = NULL;

    for (int i = 0; i < a->n_lanes; i++)
        if (a->lanes[i].failed_at >= 0 && (first == NULL || a->lanes[i].failed_at < first->failed_at))
            first = &a->lanes[i];
    if (first == NULL)
        return SONDE_OK;
    return sondep_fail(first->failed.status, first->failed.file, first->failed.line, "%s", first->failed.message);
}

/* Encodes one batch and reads the next meanwhile. What is wrong with this batch comes before what is wrong with the next. */
static sonde_status encode_batch(adding *a, batch *now, batch *next)
{
    sonde_status reading = SONDE_OK;

    for (int i = 0; i < a->n_lanes; i++) {
        a->lanes[i].n = 0;
        a->lanes[i].failed_at = -1;
    }
    /* The thread that asked reads, so that an error of reading is its own; it takes documents when it has done that. */
#pragma omp parallel num_threads(a->n_lanes)
    {
        int which = omp_get_thread_num();
#pragma omp master
        reading = read_batch(a, next);
#pragma omp for schedule(dynamic, 8) nowait
        for (int64_t i = 0; i < now->n; i++)
            if (encode(a, now, i, which) != SONDE_OK && a->lanes[which].failed_at < 0) {
                a->lanes[which].failed_at = i;
                a->lanes[which].failed = *sonde_last_error();
            }
    }
    SONDE_TRY(first_failure(a));
    return reading;
}

/* ---- the stream ------------------------------------------------------------------------------------------------------ */

/* Adds ids to those in memory. They fit: their room was made, and they are inside the vocabulary. */
static void store_ids(sonde_corpus *c, const int32_t *ids, int64_t n)
{
    if (c->is_wide && n > 0)
        memcpy((int32_t *)c->ids + c->n_ids, ids, (size_t)n * sizeof *ids);
    for (int64_t i = 0; i < n && !c->is_wide; i++)
        ((uint16_t *)c->ids)[c->n_ids + i] = (uint16_t)ids[i];
    c->n_ids += n;
}

/* The first id that the model does not have is named by its document. */
static sonde_status check_ids(const adding *a, const int32_t *ids, int64_t n, int64_t number)
{
    const sonde_corpus *c = a->corpus;
    for (int64_t i = 0; i < n; i++)
        if (ids[i] >= c->n_vocab) {
            const char *token = c->tokenizer ? sonde_tokenizer_token(c->tokenizer, ids[i]) : NULL;
            return SONDE_FAIL(SONDE_E_RANGE,
                              "'%s': document %lld has the token id %d ('%s'), outside the vocabulary of %lld", a->path,
                              (long long)number, (int)ids[i], token ? token : "", (long long)c->n_vocab);
        }
    return SONDE_OK;
}

/* The documents of a batch, in their order. */
static sonde_status store_batch(adding *a, const batch *b)
{
    sonde_corpus *c = a->corpus;
    int64_t n_ids = b->n, size = c->is_wide ? 4 : 2;

    /* Room for all first, so that storing cannot fail half-way through a document. */
    for (int i = 0; i < a->n_lanes; i++)
        n_ids += a->lanes[i].n;
    SONDE_TRY(sondep_grow(&c->ids, &c->ids_capacity, c->n_ids + n_ids, (size_t)size));
    SONDE_TRY(sondep_grow(&c->documents, &c->documents_capacity, c->n_documents + b->n, sizeof *c->documents));
    for (int64_t i = 0; i < b->n; i++) {
        const waiting *w = &b->documents[i];
        const int32_t *ids = a->lanes[w->lane].ids + w->first;

        SONDE_TRY(check_ids(a, ids, w->n_ids, c->n_documents - a->first_document + 1));
        c->documents[c->n_documents++] = (document){c->n_ids, w->n_bytes};
        store_ids(c, &c->separator, 1);
        store_ids(c, ids, w->n_ids);
    }
    return SONDE_OK;
}

/* Id i in memory. */
static inline int32_t id_at(const sonde_corpus *c, int64_t i)
{
    return c->is_wide ? ((const int32_t *)c->ids)[i] : ((const uint16_t *)c->ids)[i];
}

/* A step of the hash: a multiplication spreads what came before over all bits (FNV-1a, on ids in place of bytes). */
static inline uint64_t mix(uint64_t hash, uint64_t value)
{
    return (hash ^ value) * 0x100000001b3u;
}

/* The hash goes on over a part: its ids, once, then how many they are and how often they count. */
static void hash_part(sonde_corpus *c, const part *p)
{
    for (int64_t i = 0; i < p->n_ids; i++)
        c->hash = mix(c->hash, (uint64_t)id_at(c, p->first_id + i));
    c->hash = mix(mix(c->hash, (uint64_t)p->n_ids), (uint64_t)p->repeat);
}

/* What was stored of this file becomes a part of the stream. */
static sonde_status put_part(const adding *a)
{
    sonde_corpus *c = a->corpus;
    int64_t repeat = a->opts.repeat, n_bytes = 0, ids, documents, bytes;
    part p = {.first_id = a->first_id,
              .n_ids = c->n_ids - a->first_id,
              .first_document = a->first_document,
              .n_documents = c->n_documents - a->first_document,
              .at_id = c->stream_ids,
              .at_document = c->stream_documents,
              .repeat = repeat};

    if (p.n_documents == 0)
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s' has no documents", a->path);
    for (int64_t i = p.first_document; i < c->n_documents; i++)
        n_bytes += c->documents[i].n_bytes;
    /* Rounds cost nothing in memory, but their numbers must fit. */
    SONDE_TRY(sondep_mul_i64(&ids, p.n_ids, repeat, "number of tokens"));
    SONDE_TRY(sondep_mul_i64(&documents, p.n_documents, repeat, "number of documents"));
    SONDE_TRY(sondep_mul_i64(&bytes, n_bytes, repeat, "number of bytes"));
    SONDE_TRY(sondep_grow(&c->parts, &c->parts_capacity, c->n_parts + 1, sizeof *c->parts));
    c->parts[c->n_parts++] = p;
    c->stream_ids += ids;
    c->stream_documents += documents;
    c->stream_bytes += bytes;
    hash_part(c, &p);
    return SONDE_OK;
}

/* ---- adding ---------------------------------------------------------------------------------------------------------- */

void sonde_corpus_opts_init(sonde_corpus_opts *out)
{
    *out = (sonde_corpus_opts){.struct_size = sizeof *out, .repeat = 1};
}

/* The caller's options over the defaults, each within its bounds. */
static sonde_status read_opts(sonde_corpus_opts *out, const sonde_corpus_opts *opts)
{
    sonde_corpus_opts_init(out);
    SONDE_TRY(sondep_opts_read(out, sizeof *out, opts, "the struct of corpus options"));
    if (out->repeat < 1 || out->repeat > MOST_REPEATS)
        return SONDE_FAIL(SONDE_E_ARG, "option 'repeat' is %lld, outside [1, %d]", (long long)out->repeat, MOST_REPEATS);
    if (out->limit < 0)
        return SONDE_FAIL(SONDE_E_ARG, "option 'limit' is %lld, below 0", (long long)out->limit);
    return SONDE_OK;
}

/* Batch after batch, until one is empty. */
static sonde_status add_documents(adding *a)
{
    batch *now = &a->batches[0], *next = &a->batches[1];

    SONDE_TRY(read_batch(a, now));
    while (now->n > 0) {
        batch *done = now;
        SONDE_TRY(encode_batch(a, now, next));
        SONDE_TRY(store_batch(a, done));
        now = next;
        next = done;
        if (a->opts.progress != NULL)
            a->opts.progress(sonde_documents_progress(a->documents), a->corpus->n_ids, a->opts.ctx);
        if (sondep_interrupted())
            return SONDE_FAIL(SONDE_E_INTERRUPTED, "interrupted while reading '%s'", a->path);
    }
    return SONDE_OK;
}

sonde_status sonde_corpus_add(sonde_corpus *corpus, const char *path, const sonde_corpus_opts *opts)
{
    adding a = {.corpus = corpus,
                .path = path,
                .n_lanes = sonde_threads(),
                .first_id = corpus->n_ids,
                .first_document = corpus->n_documents};
    sonde_status status;

    SONDE_TRY(read_opts(&a.opts, opts));
    SONDE_TRY_DONE(SONDE_NEW(a.lanes, a.n_lanes));
    SONDE_TRY_DONE(sonde_documents_open(&a.documents, path, a.opts.field));
    SONDE_TRY_DONE(add_documents(&a));
    status = put_part(&a);
done:
    /* A file is in the stream as a whole or not at all. */
    if (status != SONDE_OK) {
        corpus->n_ids = a.first_id;
        corpus->n_documents = a.first_document;
    }
    adding_release(&a);
    return status;
}

sonde_status sonde_corpus_add_ids(sonde_corpus *corpus, const int32_t *ids, int64_t n)
{
    adding a = {.corpus = corpus,
                .path = "ids",
                .opts = {.repeat = 1},
                .first_id = corpus->n_ids,
                .first_document = corpus->n_documents};
    sonde_status status;

    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0)
            return SONDE_FAIL(SONDE_E_RANGE, "token %lld is %d, below 0", (long long)i, (int)ids[i]);
    SONDE_TRY(check_ids(&a, ids, n, 1));
    SONDE_TRY(sondep_grow(&corpus->ids, &corpus->ids_capacity, corpus->n_ids + n + 1, corpus->is_wide ? 4 : 2));
    SONDE_TRY(
        sondep_grow(&corpus->documents, &corpus->documents_capacity, corpus->n_documents + 1, sizeof *corpus->documents));
    corpus->documents[corpus->n_documents++] = (document){corpus->n_ids, 0};
    store_ids(corpus, &corpus->separator, 1);
    store_ids(corpus, ids, n);
    status = put_part(&a);
    if (status != SONDE_OK) {
        corpus->n_ids = a.first_id;
        corpus->n_documents = a.first_document;
    }
    return status;
}

sonde_status sonde_corpus_split(size_t *path_bytes, int64_t *repeat, const char *text)
{
    const char *colon = strrchr(text, ':'), *digit;
    int64_t n = 0;

    /* Without a colon, or where it ends the text or begins it, the whole is a name. */
    *path_bytes = strlen(text);
    *repeat = 1;
    if (colon == NULL || colon == text || colon[1] == '\0' || sondep_is_file(text))
        return SONDE_OK;
    for (digit = colon + 1; *digit >= '0' && *digit <= '9'; digit++)
        n = n > MOST_REPEATS ? n : 10 * n + (*digit - '0');
    if (*digit != '\0')
        return SONDE_OK; /* a colon inside a name */
    if (n < 1 || n > MOST_REPEATS)
        return SONDE_FAIL(SONDE_E_ARG, "'%s': a file can count from 1 to %d times", text, MOST_REPEATS);
    *path_bytes = (size_t)(colon - text);
    *repeat = n;
    return SONDE_OK;
}

/* ---- life ------------------------------------------------------------------------------------------------------------- */

sonde_status sonde_corpus_new(sonde_corpus **out, const sonde_tokenizer *tokenizer, int32_t separator, int64_t n_vocab)
{
    sonde_corpus *c;

    *out = NULL;
    if (n_vocab == 0 && tokenizer != NULL)
        n_vocab = sonde_tokenizer_n_vocab(tokenizer);
    if (n_vocab < 1 || n_vocab > INT32_MAX)
        return SONDE_FAIL(SONDE_E_RANGE, "the size of the vocabulary is %lld, outside [1, %d]", (long long)n_vocab,
                          INT32_MAX);
    if (separator < 0 || separator >= n_vocab)
        return SONDE_FAIL(SONDE_E_RANGE, "the separator's id is %d, outside the vocabulary of %lld", (int)separator,
                          (long long)n_vocab);
    /* Two bytes hold the ids of any vocabulary up to 65536. */
    SONDE_TRY(SONDE_NEW(c, 1));
    c->tokenizer = tokenizer;
    c->separator = separator;
    c->n_vocab = n_vocab;
    c->is_wide = n_vocab > 1 << 16;
    c->hash = 0xcbf29ce484222325u;
    *out = c;
    return SONDE_OK;
}

void sonde_corpus_free(sonde_corpus *corpus)
{
    if (corpus == NULL)
        return;
    sondep_free(corpus->ids);
    sondep_free(corpus->documents);
    sondep_free(corpus->parts);
    sondep_free(corpus);
}

/* ---- looking at it ---------------------------------------------------------------------------------------------------- */

int64_t sonde_corpus_n_tokens(const sonde_corpus *corpus)
{
    return corpus->stream_ids;
}

int64_t sonde_corpus_n_documents(const sonde_corpus *corpus)
{
    return corpus->stream_documents;
}

int64_t sonde_corpus_n_bytes(const sonde_corpus *corpus)
{
    return corpus->stream_bytes;
}

int64_t sonde_corpus_n_vocab(const sonde_corpus *corpus)
{
    return corpus->n_vocab;
}

uint64_t sonde_corpus_hash(const sonde_corpus *corpus)
{
    return corpus->hash;
}

/* Runs of ids that lie side by side in memory: to the end of a round, then on from its beginning or with the next part. */
void sonde_corpus_read(int32_t *out, const sonde_corpus *c, int64_t first, int64_t n)
{
    SONDE_ASSERT(n >= 0 && first >= 0 && first < c->stream_ids);
    while (n > 0) {
        const part *p = c->parts;
        int64_t within, run;
        /* Files are few: the part is looked for from the front. */
        while (first - p->at_id >= p->n_ids * p->repeat)
            p++;
        within = (first - p->at_id) % p->n_ids;
        run = p->n_ids - within < n ? p->n_ids - within : n;
        for (int64_t i = 0; i < run; i++)
            out[i] = id_at(c, p->first_id + within + i);
        out += run;
        n -= run;
        first = (first + run) % c->stream_ids;
    }
}

void sonde_corpus_document(int64_t *first, int64_t *n_tokens, int64_t *n_bytes, const sonde_corpus *c, int64_t i)
{
    const part *p = c->parts;
    int64_t round, within, end;
    const document *d;

    SONDE_ASSERT(i >= 0 && i < c->stream_documents);
    while (i - p->at_document >= p->n_documents * p->repeat)
        p++;
    round = (i - p->at_document) / p->n_documents;
    within = (i - p->at_document) % p->n_documents;
    /* A document ends where the next one begins, or with its file. */
    d = &c->documents[p->first_document + within];
    end = within + 1 < p->n_documents ? d[1].first : p->first_id + p->n_ids;
    *first = p->at_id + round * p->n_ids + (d->first - p->first_id);
    *n_tokens = end - d->first;
    *n_bytes = d->n_bytes;
}
