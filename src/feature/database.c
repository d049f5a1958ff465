/* database.c - what was gathered, as SQLite's tables.                           floor 8: feature
 *
 * One transaction into a file beside, without a journal: it is renamed when it is complete, and removed when it is not. Rows come in the
 * order of their keys, so that the same features give the same bytes.
 */
#include "feature/feature.h"

#include "base/file.h"
#include "run/run.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char schema[] =
    "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA application_id = 0x736f6e64; PRAGMA user_version = 1; "
    "BEGIN;"
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE token (id INTEGER PRIMARY KEY, text TEXT NOT NULL);"
    "CREATE TABLE feature (id INTEGER PRIMARY KEY, n_fired INTEGER NOT NULL, n_documents INTEGER NOT NULL, density REAL NOT "
    "NULL,"
    " max REAL NOT NULL, mean REAL NOT NULL, encoder_norm REAL, decoder_norm REAL, encoder_bias REAL, encoder_decoder REAL,"
    " label TEXT, summary TEXT NOT NULL);"
    "CREATE TABLE histogram (feature INTEGER PRIMARY KEY, low REAL NOT NULL, high REAL NOT NULL, counts BLOB NOT NULL);"
    "CREATE TABLE logit (feature INTEGER NOT NULL, rank INTEGER NOT NULL, token INTEGER NOT NULL, value REAL NOT NULL,"
    " PRIMARY KEY (feature, rank)) WITHOUT ROWID;"
    "CREATE TABLE neighbour (feature INTEGER NOT NULL, rank INTEGER NOT NULL, other INTEGER NOT NULL, cosine REAL NOT NULL,"
    " PRIMARY KEY (feature, rank)) WITHOUT ROWID;"
    "CREATE TABLE neuron (feature INTEGER NOT NULL, rank INTEGER NOT NULL, hook TEXT NOT NULL, neuron INTEGER NOT NULL,"
    " correlation REAL NOT NULL, PRIMARY KEY (feature, rank)) WITHOUT ROWID;"
    "CREATE TABLE top_token (feature INTEGER NOT NULL, rank INTEGER NOT NULL, token INTEGER NOT NULL, n INTEGER NOT NULL,"
    " sum REAL NOT NULL, PRIMARY KEY (feature, rank)) WITHOUT ROWID;"
    "CREATE TABLE before_token (feature INTEGER NOT NULL, rank INTEGER NOT NULL, token INTEGER NOT NULL, n INTEGER NOT NULL,"
    " PRIMARY KEY (feature, rank)) WITHOUT ROWID;"
    "CREATE TABLE class (name TEXT PRIMARY KEY, what TEXT NOT NULL, n INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE feature_class (feature INTEGER NOT NULL, class TEXT NOT NULL, n INTEGER NOT NULL, llr REAL NOT NULL,"
    " PRIMARY KEY (feature, class)) WITHOUT ROWID;"
    "CREATE TABLE example (feature INTEGER NOT NULL, band INTEGER NOT NULL, rank INTEGER NOT NULL, document INTEGER NOT "
    "NULL,"
    " position INTEGER NOT NULL, value REAL NOT NULL, first INTEGER NOT NULL, tokens BLOB NOT NULL, acts BLOB NOT NULL,"
    " PRIMARY KEY (feature, band, rank)) WITHOUT ROWID;"
    "CREATE TABLE document (id INTEGER PRIMARY KEY, n_tokens INTEGER NOT NULL, tokens BLOB NOT NULL);"
    "CREATE TABLE active (document INTEGER NOT NULL, position INTEGER NOT NULL, features BLOB NOT NULL, acts BLOB NOT NULL,"
    " PRIMARY KEY (document, position)) WITHOUT ROWID;"
    "CREATE VIRTUAL TABLE context USING fts5 (text, feature UNINDEXED, band UNINDEXED, place UNINDEXED, tokenize = "
    "'unicode61');";

/* The statements that put rows in. */
typedef enum insertion {
    INTO_META,
    INTO_TOKEN,
    INTO_FEATURE,
    INTO_HISTOGRAM,
    INTO_LOGIT,
    INTO_NEIGHBOUR,
    INTO_NEURON,
    INTO_TOP,
    INTO_BEFORE,
    INTO_CLASS,
    INTO_FEATURE_CLASS,
    INTO_EXAMPLE,
    INTO_DOCUMENT,
    INTO_ACTIVE,
    INTO_CONTEXT,
    N_INSERTIONS
} insertion;

static const char *const insertions[N_INSERTIONS] = {
    [INTO_META] = "INSERT INTO meta VALUES (?, ?)",
    [INTO_TOKEN] = "INSERT INTO token VALUES (?, ?)",
    [INTO_FEATURE] = "INSERT INTO feature VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?)",
    [INTO_HISTOGRAM] = "INSERT INTO histogram VALUES (?, ?, ?, ?)",
    [INTO_LOGIT] = "INSERT INTO logit VALUES (?, ?, ?, ?)",
    [INTO_NEIGHBOUR] = "INSERT INTO neighbour VALUES (?, ?, ?, ?)",
    [INTO_NEURON] = "INSERT INTO neuron VALUES (?, ?, ?, ?, ?)",
    [INTO_TOP] = "INSERT INTO top_token VALUES (?, ?, ?, ?, ?)",
    [INTO_BEFORE] = "INSERT INTO before_token VALUES (?, ?, ?, ?)",
    [INTO_CLASS] = "INSERT INTO class VALUES (?, ?, ?)",
    [INTO_FEATURE_CLASS] = "INSERT INTO feature_class VALUES (?, ?, ?, ?)",
    [INTO_EXAMPLE] = "INSERT INTO example VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [INTO_DOCUMENT] = "INSERT INTO document VALUES (?, ?, ?)",
    [INTO_ACTIVE] = "INSERT INTO active VALUES (?, ?, ?, ?)",
    [INTO_CONTEXT] = "INSERT INTO context VALUES (?, ?, ?, ?)",
};

struct sondep_database {
    sqlite3 *sqlite;
    sqlite3_stmt *statements[N_INSERTIONS];
    char *path, *part;
    uint8_t *is_used; /* (V) ids that occur in the file */
    int64_t V;
};

/* ---- life ---------------------------------------------------------------------------------------------------------------------- */

/* In SQLite's words: a full disk, a folder that is not there. */
static sonde_status fail(const sondep_database *db)
{
    return SONDE_FAIL(SONDE_E_IO, "'%s' cannot be written: %s", db->path, sqlite3_errmsg(db->sqlite));
}

/* All statements are prepared once. */
sonde_status sondep_database_open(sondep_database **out, const char *path)
{
    sondep_database *db;
    sondep_string part = {0};
    sonde_status status;

    *out = NULL;
    SONDE_TRY(SONDE_NEW(db, 1));
    SONDE_TRY_DONE(sondep_path_resolve(&db->path, path));
    SONDE_TRY_DONE(sondep_string_printf(&part, "%s.%ld.part", db->path, (long)getpid()));
    db->part = part.text;
    part.text = NULL;
    /* what a killed process left under this name */
    unlink(db->part);
    if (sqlite3_open_v2(db->part, &db->sqlite, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK ||
        sqlite3_exec(db->sqlite, schema, NULL, NULL, NULL) != SQLITE_OK) {
        status = fail(db);
        goto done;
    }
    for (int i = 0; i < N_INSERTIONS; i++)
        if (sqlite3_prepare_v2(db->sqlite, insertions[i], -1, &db->statements[i], NULL) != SQLITE_OK) {
            status = fail(db);
            goto done;
        }
    *out = db;
    db = NULL;
    status = SONDE_OK;
done:
    sondep_string_release(&part);
    sondep_database_close(db);
    return status;
}

/* Gives SQLite's memory back. */
static bool close_sqlite(sondep_database *db)
{
    bool is_closed;

    for (int i = 0; i < N_INSERTIONS; i++)
        sqlite3_finalize(db->statements[i]);
    memset(db->statements, 0, sizeof db->statements);
    is_closed = sqlite3_close(db->sqlite) == SQLITE_OK;
    db->sqlite = NULL;
    return is_closed;
}

/* The index of the full-text search is merged into one piece first. */
sonde_status sondep_database_commit(sondep_database *db, int64_t *n_bytes)
{
    sqlite3_stmt *count;

    if (sqlite3_exec(db->sqlite, "INSERT INTO context (context) VALUES ('optimize'); COMMIT;", NULL, NULL, NULL) !=
        SQLITE_OK)
        return fail(db);
    *n_bytes = 0;
    if (sqlite3_prepare_v2(db->sqlite, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", -1, &count,
                           NULL) == SQLITE_OK &&
        sqlite3_step(count) == SQLITE_ROW)
        *n_bytes = sqlite3_column_int64(count, 0);
    sqlite3_finalize(count);
    if (!close_sqlite(db) || sondep_syscalls.rename(db->part, db->path) != 0)
        return SONDE_FAIL(SONDE_E_IO, "'%s' cannot be put in its place", db->path);
    sondep_free(db->part);
    db->part = NULL;
    return SONDE_OK;
}

/* Behind a commit there is nothing left to remove. */
void sondep_database_close(sondep_database *db)
{
    if (db == NULL)
        return;
    close_sqlite(db);
    if (db->part != NULL)
        unlink(db->part);
    sondep_free(db->path);
    sondep_free(db->part);
    sondep_free(db->is_used);
    sondep_free(db);
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------------ */

/* Columns are numbered from 1. */
static void put_int(const sondep_database *db, insertion which, int column, int64_t value)
{
    sqlite3_bind_int64(db->statements[which], column, value);
}

/* NaN is NULL. */
static void put_real(const sondep_database *db, insertion which, int column, double value)
{
    if (isnan(value))
        sqlite3_bind_null(db->statements[which], column);
    else
        sqlite3_bind_double(db->statements[which], column, value);
}

/* NULL is an empty text. */
static void put_text(const sondep_database *db, insertion which, int column, const char *text)
{
    sqlite3_bind_text(db->statements[which], column, text ? text : "", -1, SQLITE_TRANSIENT);
}

/* Numbers as they lie in memory: little-endian on every machine that is supported. */
static void put_blob(const sondep_database *db, insertion which, int column, const void *bytes, size_t n)
{
    sqlite3_bind_blob64(db->statements[which], column, n > 0 ? bytes : "", n, SQLITE_TRANSIENT);
}

/* The row that was put together. */
static sonde_status insert(const sondep_database *db, insertion which)
{
    int code = sqlite3_step(db->statements[which]);

    if (code != SQLITE_DONE || sqlite3_reset(db->statements[which]) != SQLITE_OK)
        return fail(db);
    return SONDE_OK;
}

/* ---- tokens ---------------------------------------------------------------------------------------------------------------------- */

/* An id that occurs. */
static void use(sondep_database *db, const int32_t *ids, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (ids[i] >= 0 && ids[i] < db->V)
            db->is_used[ids[i]] = 1;
}

/* What a token adds to a text, as UTF-8; bytes that are not become \xHH. */
static sonde_status append_token(sondep_string *out, const sonde_tokenizer *tokenizer, int32_t id)
{
    size_t n = 0;
    const char *bytes = id < sonde_tokenizer_n_vocab(tokenizer) ? sonde_tokenizer_bytes(&n, tokenizer, id) : NULL;
    uint32_t c;

    if (bytes == NULL)
        return sondep_string_printf(out, "#%d", id);
    for (size_t at = 0; at < n;) {
        int length = bytes[at] == '\0' ? 0 : sondep_utf8_decode(&c, bytes + at, n - at);
        if (length == 0)
            SONDE_TRY(sondep_string_printf(out, "\\x%02X", (unsigned char)bytes[at]));
        else
            SONDE_TRY(sondep_string_append(out, bytes + at, (size_t)length));
        at += (size_t)(length > 0 ? length : 1);
    }
    return SONDE_OK;
}

/* Texts of several tokens, with something between them. */
static sonde_status join_tokens(sondep_string *out, const sonde_tokenizer *tokenizer, const int32_t *ids, int64_t n,
                                const char *between)
{
    out->n = 0;
    SONDE_TRY(sondep_string_append(out, "", 0));
    for (int64_t i = 0; i < n; i++) {
        if (i > 0)
            SONDE_TRY(sondep_string_append(out, between, strlen(between)));
        SONDE_TRY(append_token(out, tokenizer, ids[i]));
    }
    out->text[out->n] = '\0';
    return SONDE_OK;
}

/* The table of all ids that occur. */
static sonde_status fill_tokens(const sondep_database *db, const sondep_gathering *g)
{
    sondep_string text = {0};
    sonde_status status = SONDE_OK;

    for (int32_t id = 0; id < db->V && status == SONDE_OK; id++) {
        if (!db->is_used[id])
            continue;
        SONDE_TRY_DONE(join_tokens(&text, g->tokenizer, &id, 1, ""));
        put_int(db, INTO_TOKEN, 1, id);
        put_text(db, INTO_TOKEN, 2, text.text);
        status = insert(db, INTO_TOKEN);
    }
done:
    sondep_string_release(&text);
    return status;
}

/* ---- documents ---------------------------------------------------------------------------------------------------------------------- */

/* As it is walked. */
sonde_status sondep_database_add_document(sondep_database *db, const sondep_text *text)
{
    put_int(db, INTO_DOCUMENT, 1, text->number);
    put_int(db, INTO_DOCUMENT, 2, text->n);
    put_blob(db, INTO_DOCUMENT, 3, text->tokens, (size_t)text->n * sizeof *text->tokens);
    return insert(db, INTO_DOCUMENT);
}

/* A pair of a position. */
typedef struct active {
    int32_t feature;
    float value;
} active;

/* The largest first; of equal ones the lower feature. */
static int compare_active(const void *a, const void *b)
{
    const active *x = a, *y = b;
    float p = fabsf(x->value), q = fabsf(y->value);

    return p != q ? (p > q ? -1 : 1) : (x->feature > y->feature) - (x->feature < y->feature);
}

/* The largest ones of a position. */
sonde_status sondep_database_add_active(sondep_database *db, const sondep_text *text, int64_t position, int64_t most)
{
    int64_t first = text->first[position], n = text->first[position + 1] - first;
    int64_t kept = n < most ? n : most;
    active *all;
    int32_t *features;
    float *acts;
    sonde_status status;

    SONDE_TRY(SONDE_NEW(all, n + kept + 1)); /* the lists of both columns lie behind the pairs */
    for (int64_t i = 0; i < n; i++)
        all[i] = (active){text->feature[first + i], text->value[first + i]};
    qsort(all, (size_t)n, sizeof *all, compare_active);
    features = (int32_t *)(all + n);
    acts = (float *)(features + kept);
    for (int64_t i = 0; i < kept; i++) {
        features[i] = all[i].feature;
        acts[i] = all[i].value;
    }
    put_int(db, INTO_ACTIVE, 1, text->number);
    put_int(db, INTO_ACTIVE, 2, position);
    put_blob(db, INTO_ACTIVE, 3, features, (size_t)kept * sizeof *features);
    put_blob(db, INTO_ACTIVE, 4, acts, (size_t)kept * sizeof *acts);
    status = insert(db, INTO_ACTIVE);
    sondep_free(all);
    return status;
}

/* ---- features ------------------------------------------------------------------------------------------------------------------------ */

/* Places of candidates, the most frequent first; of equal ones the lower token. Returns how many there are. */
static int rank_tokens(int *out, const sondep_candidates *c, int64_t most)
{
    int n = 0;

    for (int i = 0; i < c->n; i++) {
        int at = n;
        if (c->count[i] == 0)
            continue;
        for (; at > 0 && (c->count[i] > c->count[out[at - 1]] ||
                          (c->count[i] == c->count[out[at - 1]] && c->token[i] < c->token[out[at - 1]]));
             at--)
            if (at < most)
                out[at] = out[at - 1];
        if (at < most)
            out[at] = i;
        n += n < most;
    }
    return n;
}

/* The tokens that a feature is on at, and those before them; the summary of the first five. */
static sonde_status fill_feature_tokens(sondep_database *db, const sondep_gathering *g, int64_t s, sondep_string *summary)
{
    const sondep_candidates *at = &g->features[s].at, *before = &g->features[s].before;
    int order[SONDEP_CANDIDATES], n = rank_tokens(order, at, g->opts.n_tokens);
    int32_t typical[5];

    /* the summary has the first five, in the same order */
    for (int i = 0; i < n; i++) {
        if (i < 5)
            typical[i] = at->token[order[i]];
        use(db, &at->token[order[i]], 1);
        put_int(db, INTO_TOP, 1, s);
        put_int(db, INTO_TOP, 2, i + 1);
        put_int(db, INTO_TOP, 3, at->token[order[i]]);
        put_int(db, INTO_TOP, 4, at->count[order[i]]);
        put_real(db, INTO_TOP, 5, at->sum[order[i]]);
        SONDE_TRY(insert(db, INTO_TOP));
    }
    SONDE_TRY(join_tokens(summary, g->tokenizer, typical, n < 5 ? n : 5, "\u2009"));
    n = rank_tokens(order, before, g->opts.n_tokens);
    for (int i = 0; i < n; i++) {
        use(db, &before->token[order[i]], 1);
        put_int(db, INTO_BEFORE, 1, s);
        put_int(db, INTO_BEFORE, 2, i + 1);
        put_int(db, INTO_BEFORE, 3, before->token[order[i]]);
        put_int(db, INTO_BEFORE, 4, before->count[order[i]]);
        SONDE_TRY(insert(db, INTO_BEFORE));
    }
    return SONDE_OK;
}

/* The row of a feature, and its histogram. */
static sonde_status fill_feature(const sondep_database *db, const sondep_gathering *g, const sonde_sae_geometry *geometry,
                                 int64_t s, const char *summary)
{
    const sondep_feature *f = &g->features[s];
    double n = (double)f->n_fired;

    put_int(db, INTO_FEATURE, 1, s);
    put_int(db, INTO_FEATURE, 2, f->n_fired);
    put_int(db, INTO_FEATURE, 3, f->n_texts);
    put_real(db, INTO_FEATURE, 4, n / (double)g->n_positions);
    put_real(db, INTO_FEATURE, 5, f->most);
    put_real(db, INTO_FEATURE, 6, n > 0 ? f->sum / n : 0.0);
    put_real(db, INTO_FEATURE, 7, geometry[s].encoder_norm);
    put_real(db, INTO_FEATURE, 8, geometry[s].decoder_norm);
    put_real(db, INTO_FEATURE, 9, geometry[s].encoder_bias);
    put_real(db, INTO_FEATURE, 10, geometry[s].encoder_decoder);
    put_text(db, INTO_FEATURE, 11, summary);
    SONDE_TRY(insert(db, INTO_FEATURE));
    put_int(db, INTO_HISTOGRAM, 1, s);
    put_real(db, INTO_HISTOGRAM, 2, 0.0);
    put_real(db, INTO_HISTOGRAM, 3, f->most);
    put_blob(db, INTO_HISTOGRAM, 4, g->histograms + s * g->opts.n_bins, (size_t)g->opts.n_bins * sizeof *g->histograms);
    return insert(db, INTO_HISTOGRAM);
}

/* Classes in which it is on at all. */
static sonde_status fill_classes(const sondep_database *db, const sondep_gathering *g, int64_t s)
{
    const sondep_feature *f = &g->features[s];

    for (int c = 0; c < SONDEP_N_CLASSES; c++) {
        if (f->of_class[c] == 0)
            continue;
        put_int(db, INTO_FEATURE_CLASS, 1, s);
        put_text(db, INTO_FEATURE_CLASS, 2, sondep_class_name(c));
        put_int(db, INTO_FEATURE_CLASS, 3, f->of_class[c]);
        put_real(db, INTO_FEATURE_CLASS, 4,
                 log((double)f->of_class[c] / (double)f->n_fired / ((double)g->n_of_class[c] / (double)g->n_positions)));
        SONDE_TRY(insert(db, INTO_FEATURE_CLASS));
    }
    return SONDE_OK;
}

/* Pearson's correlation of feature s and neuron j over all measured positions. */
static double correlation(const sondep_gathering *g, int64_t s, int64_t j)
{
    const sondep_feature *f = &g->features[s];
    double n = (double)g->n_positions;
    double covariance = g->with_neurons[s * g->M + j] - f->sum * g->neuron_sums[j] / n;
    double of_feature = f->squares - f->sum * f->sum / n;
    double of_neuron = g->neuron_squares[j] - g->neuron_sums[j] * g->neuron_sums[j] / n;

    return of_feature > 0.0 && of_neuron > 0.0 ? covariance / sqrt(of_feature * of_neuron) : 0.0;
}

/* The neurons that go with it, or against it, most. */
static sonde_status fill_neurons(const sondep_database *db, const sondep_gathering *g, int64_t s)
{
    int64_t n = g->opts.n_neurons < g->M ? g->opts.n_neurons : g->M, last = -1;
    double bar = INFINITY;

    for (int64_t rank = 1; rank <= n && g->features[s].n_fired > 0; rank++) {
        double best = -1.0;
        int64_t which = -1;
        for (int64_t j = 0; j < g->M; j++) {
            double size = fabs(correlation(g, s, j));
            bool comes_later = size < bar || (size == bar && j > last);
            if (comes_later && size > best) {
                best = size;
                which = j;
            }
        }
        if (which < 0)
            break;
        bar = best;
        last = which;
        put_int(db, INTO_NEURON, 1, s);
        put_int(db, INTO_NEURON, 2, rank);
        put_text(db, INTO_NEURON, 3, g->neurons);
        put_int(db, INTO_NEURON, 4, which);
        put_real(db, INTO_NEURON, 5, correlation(g, s, which));
        SONDE_TRY(insert(db, INTO_NEURON));
    }
    return SONDE_OK;
}

/* ---- examples ------------------------------------------------------------------------------------------------------------------------- */

/* Where the tokens of each text begin. Owns: *out is the caller's. */
static sonde_status find_offsets(int64_t **out, const sonde_sae_texts *texts)
{
    SONDE_TRY(SONDE_NEW(*out, texts->n + 1));
    for (int64_t i = 0; i < texts->n; i++)
        (*out)[i + 1] = (*out)[i] + texts->lengths[i];
    return SONDE_OK;
}

/* One example; those of band 0 are searched for. */
static sonde_status fill_example(sondep_database *db, const sondep_gathering *g, const int64_t *offsets, int64_t place,
                                 int64_t band, int64_t rank, sondep_string *text)
{
    const sondep_example *e = &g->examples[place];
    const int32_t *tokens = g->texts->tokens + offsets[e->text] + e->first;

    /* tokens of windows are shown: their texts must be in the file */
    use(db, tokens, e->width);
    put_int(db, INTO_EXAMPLE, 1, place / g->slots);
    put_int(db, INTO_EXAMPLE, 2, band);
    put_int(db, INTO_EXAMPLE, 3, rank);
    put_int(db, INTO_EXAMPLE, 4, e->text);
    put_int(db, INTO_EXAMPLE, 5, e->position);
    put_real(db, INTO_EXAMPLE, 6, e->value);
    put_int(db, INTO_EXAMPLE, 7, e->first);
    put_blob(db, INTO_EXAMPLE, 8, tokens, (size_t)e->width * sizeof *tokens);
    put_blob(db, INTO_EXAMPLE, 9, g->acts + place * g->window, (size_t)e->width * sizeof *g->acts);
    SONDE_TRY(insert(db, INTO_EXAMPLE));
    if (band > 0)
        return SONDE_OK;
    SONDE_TRY(join_tokens(text, g->tokenizer, tokens, e->width, ""));
    put_text(db, INTO_CONTEXT, 1, text->text);
    put_int(db, INTO_CONTEXT, 2, place / g->slots);
    put_int(db, INTO_CONTEXT, 3, band);
    put_int(db, INTO_CONTEXT, 4, rank);
    return insert(db, INTO_CONTEXT);
}

/* All examples of a feature: the largest, then those of each band that has any. */
static sonde_status fill_examples(sondep_database *db, const sondep_gathering *g, const int64_t *offsets, int64_t s,
                                  sondep_string *text, int64_t *n_examples)
{
    int64_t first = s * g->slots;

    for (int64_t i = 0; i < g->slots; i++) {
        bool is_top = i < g->opts.n_examples;
        int64_t in_bands = i - g->opts.n_examples;
        if (!(g->examples[first + i].value > 0.0))
            continue;
        SONDE_TRY(fill_example(db, g, offsets, first + i, is_top ? 0 : 1 + in_bands / g->opts.n_in_band,
                               1 + (is_top ? i : in_bands % g->opts.n_in_band), text));
        ++*n_examples;
    }
    return SONDE_OK;
}

/* ---- weights ---------------------------------------------------------------------------------------------------------------------------- */

/* Largest logits as ranks 1, 2, ..; smallest as -1, -2, .. */
static sonde_status fill_logits(sondep_database *db, const sondep_gathering *g)
{
    const sonde_hook_point *point;
    int64_t n = g->opts.n_logits;
    int32_t *tokens = NULL;
    float *values = NULL;
    bool has = false;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(tokens, g->S * 2 * n));
    SONDE_TRY_DONE(SONDE_NEW(values, g->S * 2 * n));
    SONDE_TRY_DONE(sondep_find_one_point(&point, g->model, g->hook_out ? g->hook_out : g->hook));
    SONDE_TRY_DONE(sondep_feature_logits(tokens, values, &has, g->model, g->sae, point, n));
    for (int64_t s = 0; s < g->S && has; s++)
        for (int64_t i = 0; i < 2 * n; i++) {
            int64_t at = s * 2 * n + (i < n ? 2 * n - 1 - i : i - n); /* -n .. -1, then 1 .. n: the order of keys */
            if (tokens[at] < 0)
                continue;
            use(db, &tokens[at], 1);
            put_int(db, INTO_LOGIT, 1, s);
            put_int(db, INTO_LOGIT, 2, i < n ? i - n : i - n + 1);
            put_int(db, INTO_LOGIT, 3, tokens[at]);
            put_real(db, INTO_LOGIT, 4, values[at]);
            SONDE_TRY_DONE(insert(db, INTO_LOGIT));
        }
done:
    sondep_free(tokens);
    sondep_free(values);
    return status;
}

/* In the order of keys. */
static sonde_status fill_neighbours(const sondep_database *db, const sondep_gathering *g)
{
    int64_t n = g->opts.n_neighbours;
    int32_t *others = NULL;
    float *cosines = NULL;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(others, g->S * n));
    SONDE_TRY_DONE(SONDE_NEW(cosines, g->S * n));
    SONDE_TRY_DONE(sondep_feature_neighbours(others, cosines, g->sae, n));
    for (int64_t i = 0; i < g->S * n; i++) {
        if (others[i] < 0)
            continue;
        put_int(db, INTO_NEIGHBOUR, 1, i / n);
        put_int(db, INTO_NEIGHBOUR, 2, i % n + 1);
        put_int(db, INTO_NEIGHBOUR, 3, others[i]);
        put_real(db, INTO_NEIGHBOUR, 4, cosines[i]);
        SONDE_TRY_DONE(insert(db, INTO_NEIGHBOUR));
    }
    status = SONDE_OK;
done:
    sondep_free(others);
    sondep_free(cosines);
    return status;
}

/* ---- what it is about -------------------------------------------------------------------------------------------------------------------- */

/* One line of the table meta. */
static sonde_status put_meta(const sondep_database *db, const char *key, const char *value)
{
    put_text(db, INTO_META, 1, key);
    put_text(db, INTO_META, 2, value);
    return insert(db, INTO_META);
}

/* So that it reads back as the same double. */
static sonde_status put_number(const sondep_database *db, const char *key, double value)
{
    char text[64];
    snprintf(text, sizeof text, "%.17g", value);
    return put_meta(db, key, text);
}

/* How many features were on, as 64 equal bins. */
static sonde_status put_l0_bins(const sondep_database *db, const sondep_gathering *g)
{
    sondep_string text = {0};
    sonde_status status = SONDE_OK;

    for (int i = 0; i < 64 && status == SONDE_OK; i++)
        status = sondep_string_printf(&text, "%s%lld", i > 0 ? ", " : "[", (long long)g->l0_bins[i]);
    if (status == SONDE_OK)
        status = sondep_string_printf(&text, "]");
    if (status == SONDE_OK)
        status = put_meta(db, "l0_histogram", text.text);
    sondep_string_release(&text);
    return status;
}

/* Texts, numbers, classes. */
static sonde_status fill_meta(const sondep_database *db, const sondep_gathering *g)
{
    const sonde_sae_config *c = &g->sae->config;
    const struct {
        const char *key, *value;
    } texts[] = {{"schema", "sonde.features/1"},
                 {"version", sonde_version()},
                 {"command", g->opts.command},
                 {"model", g->opts.model_path},
                 {"model_name", c->model_name},
                 {"sae", g->opts.sae_path},
                 {"architecture", c->architecture},
                 {"hook", g->hook},
                 {"hook_out", g->hook_out ? g->hook_out : ""},
                 {"corpus", g->opts.corpus},
                 {"created", g->opts.created},
                 {"left_out", g->texts->left_out ? "special tokens" : ""}};
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"n_vocab", (double)g->V},
                   {"d_in", (double)c->d_in},
                   {"n_features", (double)g->S},
                   {"n_tokens", (double)g->n_positions},
                   {"n_documents", (double)g->texts->n},
                   {"context_before", (double)g->opts.n_before},
                   {"context_after", (double)g->opts.n_after},
                   {"n_bands", (double)g->opts.n_bands},
                   {"seed", (double)g->opts.seed},
                   {"l0", g->l0_sum / (double)g->n_positions},
                   {"l0_max", (double)g->most_on}};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        SONDE_TRY(put_meta(db, texts[i].key, texts[i].value));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        SONDE_TRY(put_number(db, numbers[i].key, numbers[i].value));
    for (int k = 0; k < SONDEP_N_CLASSES; k++) {
        put_text(db, INTO_CLASS, 1, sondep_class_name(k));
        put_text(db, INTO_CLASS, 2, sondep_class_what(k));
        put_int(db, INTO_CLASS, 3, g->n_of_class[k]);
        SONDE_TRY(insert(db, INTO_CLASS));
    }
    return put_l0_bins(db, g);
}

/* All rows that belong to one feature. */
static sonde_status fill_one(sondep_database *db, sonde_features_report *report, const sondep_gathering *g,
                             const sonde_sae_geometry *geometry, const int64_t *offsets, int64_t s, sondep_string *text)
{
    report->n_dead += g->features[s].n_fired == 0;
    SONDE_TRY(fill_feature_tokens(db, g, s, text));
    SONDE_TRY(fill_feature(db, g, geometry, s, text->text));
    SONDE_TRY(fill_classes(db, g, s));
    if (g->M > 0)
        SONDE_TRY(fill_neurons(db, g, s));
    return fill_examples(db, g, offsets, s, text, &report->n_examples);
}

/* Tokens last: by then it is known which occur. */
sonde_status sondep_database_fill(sondep_database *db, sonde_features_report *report, const sondep_gathering *g)
{
    sonde_sae_geometry *geometry = NULL;
    int64_t *offsets = NULL;
    sondep_string text = {0};
    sonde_status status;

    db->V = g->V;
    SONDE_TRY_DONE(SONDE_NEW(db->is_used, g->V));
    SONDE_TRY_DONE(SONDE_NEW(geometry, g->S));
    SONDE_TRY_DONE(find_offsets(&offsets, g->texts));
    SONDE_TRY_DONE(sonde_sae_measure_geometry(geometry, g->sae));
    for (int64_t s = 0; s < g->S; s++)
        SONDE_TRY_DONE(fill_one(db, report, g, geometry, offsets, s, &text));
    SONDE_TRY_DONE(fill_logits(db, g));
    SONDE_TRY_DONE(fill_neighbours(db, g));
    for (int64_t i = 0; i < g->texts->n && i < g->opts.n_documents; i++)
        use(db, g->texts->tokens + offsets[i], g->texts->lengths[i]);
    SONDE_TRY_DONE(fill_tokens(db, g));
    SONDE_TRY_DONE(fill_meta(db, g));
    report->n_positions = g->n_positions;
    report->n_documents = g->texts->n;
    report->n_features = g->S;
    report->l0 = g->l0_sum / (double)g->n_positions;
done:
    sondep_string_release(&text);
    sondep_free(geometry);
    sondep_free(offsets);
    return status;
}
