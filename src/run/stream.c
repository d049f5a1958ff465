/* stream.c - rows straight from a model.                                        floor 6: run
 *
 * A piece is a document. Those of a chunk go through the model in batches of about the same length, so that few positions are
 * padding, and their rows are put where they belong.
 */
#include "run/stream.h"

#include <stdlib.h>

enum { MOST_ROWS = 1 << 18, BATCH = 4096 };

/* Who listens at a point. */
struct sondep_listener {
    sondep_stream *stream;
    int64_t hook;
};

/* A quarter of a million rows are some thousand documents. */
void sonde_stream_opts_init(sonde_stream_opts *out)
{
    *out = (sonde_stream_opts){.struct_size = sizeof *out, .most_rows = MOST_ROWS, .batch = BATCH};
}

bool sondep_stream_is_row(const sondep_stream *s, int32_t id)
{
    for (int64_t i = 0; i < s->n_left_out; i++)
        if (s->left_out[i] == id)
            return false;
    return true;
}

void sondep_stream_free(void *stream)
{
    sondep_stream *s = stream;

    if (s == NULL)
        return;
    sonde_run_free(s->run);
    for (int64_t h = 0; h < s->n_hooks && s->hooks != NULL; h++)
        sondep_free(s->hooks[h]);
    void *const blocks[] = {s->widths,  s->hooks, s->left_out,  s->n_rows,   s->tokens,
                            s->lengths, s->first, s->documents, s->listeners};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        sondep_free(blocks[i]);
    sondep_free(s);
}

/* ---- a batch --------------------------------------------------------------------------------------------------------------- */

/* What a point has at the positions that are rows. */
static sonde_status on_point(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    const struct sondep_listener *l = ctx;
    const sondep_stream *s = l->stream;
    int64_t width = s->widths[l->hook];

    (void)event;
    for (int64_t b = 0; b < s->B; b++) {
        float *to = s->out[l->hook] + s->first[b] * width;
        for (int64_t t = 0; t < s->lengths[b]; t++) {
            const float *row = (const float *)x->data + (b * s->T + t) * width;
            if (!sondep_stream_is_row(s, s->tokens[b * s->T + t]))
                continue;
            memcpy(to, row, (size_t)width * sizeof *to);
            to += width;
        }
    }
    return SONDE_OK;
}

/* The end of a long document is cut. */
int64_t sondep_stream_length(const sondep_stream *s, int64_t document)
{
    int64_t first, n, n_bytes;

    sonde_corpus_document(&first, &n, &n_bytes, s->corpus, document);
    return n < s->context ? n : s->context;
}

/* A document of a chunk, and where its rows go. */
typedef struct place {
    int64_t document, length, first;
} place;

/* Longer ones first; of equal ones the first. */
static int compare_places(const void *a, const void *b)
{
    const place *x = a, *y = b;

    if (x->length != y->length)
        return x->length < y->length ? 1 : -1;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* Room for a batch of so many tokens. */
static sonde_status make_batch(sondep_stream *s, int64_t n)
{
    if (n <= s->capacity)
        return SONDE_OK;
    sondep_free(s->tokens);
    s->tokens = NULL;
    s->capacity = 0;
    SONDE_TRY(SONDE_NEW(s->tokens, n));
    s->capacity = n;
    return SONDE_OK;
}

/* A pass that came upon a number which is none says where in the batch: of which document is seen when they run one by one. */
static sonde_status name_document(sondep_stream *s, sonde_status status)
{
    static const char alone[] = "sequence 0, ";
    int64_t B = s->B;
    sonde_error error;
    char *at;

    for (int64_t b = 0; status == SONDE_E_NONFINITE && b < B; b++) {
        /* in the place of the first, which is done with */
        s->B = 1;
        s->lengths[0] = s->lengths[b];
        s->first[0] = s->first[b];
        memmove(s->tokens, s->tokens + b * s->T, (size_t)s->T * sizeof *s->tokens);
        if (sonde_run_forward(s->run, s->tokens, s->lengths, 1, s->T) != SONDE_E_NONFINITE)
            continue;
        error = *sonde_last_error();
        at = strstr(error.message, alone);
        if (at != NULL)
            memmove(at, at + sizeof alone - 1, strlen(at + sizeof alone - 1) + 1);
        return SONDE_FAIL(SONDE_E_NONFINITE, "document %lld: %s", (long long)s->documents[b], error.message);
    }
    return status;
}

/* A pass over the documents places[0 .. n). */
static sonde_status run_batch(sondep_stream *s, const place *places, int64_t n)
{
    int64_t first, n_tokens, n_bytes;

    s->B = n;
    s->T = places[0].length;
    SONDE_TRY(make_batch(s, s->B * s->T));
    for (int64_t b = 0; b < n; b++) {
        s->lengths[b] = places[b].length;
        s->first[b] = places[b].first;
        s->documents[b] = places[b].document;
        sonde_corpus_document(&first, &n_tokens, &n_bytes, s->corpus, places[b].document);
        sonde_corpus_read(s->tokens + b * s->T, s->corpus, first, places[b].length);
    }
    return name_document(s, sonde_run_forward(s->run, s->tokens, s->lengths, s->B, s->T));
}

sonde_status sondep_stream_fill(float *const *out, const int64_t *documents, int64_t n, void *stream)
{
    sondep_stream *s = stream;
    place *places = NULL;
    int64_t row = 0;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(places, n));
    for (int64_t i = 0; i < n; i++) {
        places[i] = (place){documents[i], sondep_stream_length(s, documents[i]), row};
        row += s->n_rows[documents[i]];
    }
    /* long ones together and short ones together: padding is the difference to the longest of a batch */
    qsort(places, (size_t)n, sizeof *places, compare_places);
    s->out = out;
    for (int64_t i = 0, together; i < n && places[i].length > 0; i += together) {
        together = s->batch / places[i].length;
        together = together > 1 ? together : 1;
        together = together < n - i ? together : n - i;
        SONDE_TRY_DONE(run_batch(s, places + i, together));
    }
    status = SONDE_OK;
done:
    sondep_free(places);
    return status;
}

/* ---- life -------------------------------------------------------------------------------------------------------------------- */

/* Exact names and widths of the hooks, and a run that listens to them. */
static sonde_status make_hooks(sondep_stream *s, const char *const *hooks)
{
    const sonde_hook_point *point;

    SONDE_TRY(sonde_run_new(&s->run, s->model));
    for (int64_t h = 0; h < s->n_hooks; h++) {
        SONDE_TRY(sondep_find_one_point(&point, s->model, hooks[h]));
        SONDE_TRY(sondep_copy_string(&s->hooks[h], point->name));
        s->widths[h] = sonde_hook_n_neurons(point);
        s->listeners[h] = (struct sondep_listener){s, h};
        SONDE_TRY(sonde_run_hook(s->run, point->name, SONDE_HOOK_READ, on_point, &s->listeners[h], NULL));
    }
    return SONDE_OK;
}

/* Rows of each document. */
static sonde_status count_rows(sondep_stream *s)
{
    int32_t *ids = NULL;
    int64_t first, n, n_bytes;

    SONDE_TRY(SONDE_NEW(ids, s->context));
    for (int64_t i = 0; i < s->n_documents; i++) {
        sonde_corpus_document(&first, &n, &n_bytes, s->corpus, i);
        n = n < s->context ? n : s->context;
        sonde_corpus_read(ids, s->corpus, first, n);
        for (int64_t k = 0; k < n; k++)
            s->n_rows[i] += sondep_stream_is_row(s, ids[k]);
    }
    sondep_free(ids);
    return SONDE_OK;
}

/* Everything that a stream needs, in one that is zero. */
static sonde_status stream_make(sondep_stream *s, const char *const *hooks, const sonde_stream_opts *o)
{
    int64_t all = sonde_corpus_n_documents(s->corpus), n_context = sonde_model_config(s->model)->n_context;
    int32_t separator = -1;

    s->n_documents = o->n_documents > 0 && o->n_documents < all ? o->n_documents : all;
    s->batch = o->batch > 0 ? o->batch : BATCH;
    s->context = o->context > 0 && o->context < n_context ? o->context : n_context;
    if (sonde_corpus_n_vocab(s->corpus) > sonde_model_config(s->model)->n_vocab)
        return SONDE_FAIL(SONDE_E_RANGE, "the corpus has a vocabulary of %lld, the model of %lld",
                          (long long)sonde_corpus_n_vocab(s->corpus), (long long)sonde_model_config(s->model)->n_vocab);
    if (all == 0)
        return SONDE_FAIL(SONDE_E_RANGE, "the corpus has no documents");
    sonde_corpus_read(&separator, s->corpus, 0, 1);
    /* the separator is no word of the text: its activation is the same everywhere */
    s->n_left_out = o->left_out != NULL ? o->n_left_out : 1;
    SONDE_TRY(SONDE_NEW(s->left_out, s->n_left_out));
    memcpy(s->left_out, o->left_out != NULL ? o->left_out : &separator, (size_t)s->n_left_out * sizeof *s->left_out);
    SONDE_TRY(SONDE_NEW(s->widths, s->n_hooks));
    SONDE_TRY(SONDE_NEW(s->hooks, s->n_hooks));
    SONDE_TRY(SONDE_NEW(s->listeners, s->n_hooks));
    SONDE_TRY(SONDE_NEW(s->n_rows, s->n_documents));
    SONDE_TRY(SONDE_NEW(s->lengths, s->batch));
    SONDE_TRY(SONDE_NEW(s->first, s->batch));
    SONDE_TRY(SONDE_NEW(s->documents, s->batch));
    SONDE_TRY(make_hooks(s, hooks));
    return count_rows(s);
}

sonde_status sondep_stream_new(sondep_stream **out, const sonde_model *model, const sonde_corpus *corpus,
                               const char *const *hooks, int64_t n_hooks, const sonde_stream_opts *opts)
{
    sondep_stream *s;
    sonde_status status;

    *out = NULL;
    SONDE_TRY(SONDE_NEW(s, 1));
    s->model = model;
    s->corpus = corpus;
    s->n_hooks = n_hooks;
    status = stream_make(s, hooks, opts);
    if (status == SONDE_OK)
        *out = s;
    else
        sondep_stream_free(s);
    return status;
}

/* So that equal halves of two hashes do not cancel. */
static uint64_t turned(uint64_t hash)
{
    return hash << 17 | hash >> 47;
}

/* Of what is left out, where that was said: other rows are another source. */
static uint64_t hash_of_list(const sonde_stream_opts *o)
{
    uint64_t hash = o->left_out != NULL ? 0x9e3779b97f4a7c15u : 0;

    for (int64_t i = 0; o->left_out != NULL && i < o->n_left_out; i++)
        hash = (hash ^ (uint32_t)o->left_out[i]) * 0x100000001b3u;
    return hash;
}

sonde_status sonde_source_stream(sonde_source **out, const sonde_model *model, const sonde_corpus *corpus,
                                 const char *const *hooks, int64_t n_hooks, const sonde_stream_opts *opts)
{
    sonde_stream_opts o;
    sonde_source_parts parts;
    sondep_stream *s;
    sonde_status status;

    *out = NULL;
    sonde_stream_opts_init(&o);
    SONDE_TRY(sondep_opts_read(&o, sizeof o, opts, "the struct of a stream's options"));
    SONDE_TRY(sondep_stream_new(&s, model, corpus, hooks, n_hooks, &o));
    parts = (sonde_source_parts){.n_pieces = s->n_documents,
                                 .n_rows = s->n_rows,
                                 .n_hooks = n_hooks,
                                 .hooks = (const char *const *)s->hooks,
                                 .widths = s->widths,
                                 .hash = sonde_corpus_hash(corpus) ^ turned(sonde_model_hash(model)) ^ hash_of_list(&o),
                                 .fill = sondep_stream_fill,
                                 .release = sondep_stream_free,
                                 .ctx = s};
    status = sonde_source_new(out, &parts, o.most_rows > 0 ? o.most_rows : MOST_ROWS, o.seed);
    if (status != SONDE_OK)
        sondep_stream_free(s);
    return status;
}
