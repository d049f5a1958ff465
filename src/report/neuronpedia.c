/* neuronpedia.c - a database of features as Neuronpedia imports it.            floor 9: report
 *
 *   model.jsonl, sourceset.jsonl, source.jsonl     a line each
 *   features/batch-N.jsonl.gz      256 features each: density, histogram, logits, neighbours, neurons, with an autoencoder its vector
 *   activations/batch-N.jsonl.gz   examples of the same features: tokens, activations, the interval that they were drawn from
 *   explanations/batch-N.jsonl.gz  labels, where the database has any
 *
 * The largest examples have binMin = binMax = binContains = -1, as SAEDashboard writes them. Those of band b of n were drawn from
 * (max (1 - b/n), max (1 - (b-1)/n)], of which binContains is the share of the feature's firings: by the bins of the histogram whose middle
 * lies there, so that it is exact where bins and bands have common borders.
 *
 *   theirs                              the database's
 *   frac_nonzero, maxActApprox          feature.density, feature.max
 *   pos_str, pos_values; neg_..         logit, rank above and below 0
 *   topkCosSimIndices, ..Values         neighbour
 *   correlated_neurons_..               neuron, Pearson's correlation
 *   freq_hist_data_bar_values, ..       left ends of the histogram's bins, and counts
 *   tokens, values, qualifyingTokenIndex    example: its window, and the place that it is for
 *
 * Names of fields are Neuronpedia's; what the database does not know is left out. Each file appears under its name when it is complete; gzip's
 * headers have no time, so that the same database gives the same bytes.
 *
 * Source: neuronpedia.org's export of its own data, and SAEDashboard's converter.
 */
#include <sonde/report.h>

#include "base/file.h"
#include "format/json.h"
#include "report/tables.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <zlib.h>

enum { IN_BATCH = 256, LEVEL = 5 /* of gzip: that of their own files */ };

/* What one feature has in a list of pairs: names of the two columns, and the rows. */
static const struct {
    const char *names[2], *sql;
    bool is_token;
} lists[] = {
    {{"pos_str", "pos_values"}, "SELECT token, value FROM logit WHERE feature = ? AND rank > 0 ORDER BY rank", true},
    {{"neg_str", "neg_values"}, "SELECT token, value FROM logit WHERE feature = ? AND rank < 0 ORDER BY rank DESC", true},
    {{"topkCosSimIndices", "topkCosSimValues"},
     "SELECT other, cosine FROM neighbour WHERE feature = ? ORDER BY rank",
     false},
    {{"correlated_neurons_indices", "correlated_neurons_pearson"},
     "SELECT neuron, correlation FROM neuron WHERE feature = ? ORDER BY rank",
     false},
};
enum { N_LISTS = sizeof lists / sizeof *lists };

typedef struct job {
    sondep_tables in;
    const char *folder;
    sonde_neuronpedia_opts opts;
    char *model, *layer, *hook, *corpus; /* owned */
    const sonde_sae *sae;
    int64_t n_bands, n_bins;
    sondep_string features, activations, explanations; /* of this batch */
    sondep_string made; /* paths of files and folders that were not there before, each with its NUL */
    sqlite3_stmt *feature, *histogram, *examples, *lists[N_LISTS];
    sonde_neuronpedia_report report;
} job;

/* The largest examples alone name the model and the layer of themselves. */
void sonde_neuronpedia_opts_init(sonde_neuronpedia_opts *out)
{
    *out = (sonde_neuronpedia_opts){.struct_size = sizeof *out};
}

/* ---- files ----------------------------------------------------------------------------------------------------------- */

/* gzip's bytes of a text: no name and no time, so that the same text gives the same bytes. Owns: *out is the caller's: sondep_free. */
static sonde_status deflate_text(unsigned char **out, size_t *n, const sondep_string *text)
{
    z_stream z = {0};
    int code;

    if (deflateInit2(&z, LEVEL, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) != Z_OK)
        return SONDE_FAIL(SONDE_E_NOMEM, "out of memory while deflating %zu bytes", text->n);
    z.avail_out = (uInt)deflateBound(&z, (uLong)text->n);
    if (SONDE_NEW(*out, (int64_t)z.avail_out) != SONDE_OK) {
        deflateEnd(&z);
        return SONDE_E_NOMEM;
    }
    z.next_in = (Bytef *)text->text;
    z.avail_in = (uInt)text->n;
    z.next_out = *out;
    code = deflate(&z, Z_FINISH);
    *n = (size_t)z.total_out;
    deflateEnd(&z);
    /* the bound is one for the whole text */
    SONDE_ASSERT(code == Z_STREAM_END);
    return SONDE_OK;
}

/* A folder that may be there already. */
static sonde_status make_folder(job *j, const char *path)
{
    if (sondep_is_directory(path))
        return SONDE_OK;
    if (sondep_syscalls.mkdir(path, 0777) != 0)
        return SONDE_FAIL(SONDE_E_IO, "cannot make the folder '%s': %s", path, strerror(errno));
    return sondep_string_append(&j->made, path, strlen(path) + 1);
}

/* What a failed export has made goes again, files before their folders: the last one first. */
static void remove_made(const job *j)
{
    size_t end = j->made.n;

    while (end > 0) {
        size_t first = end - 1;
        while (first > 0 && j->made.text[first - 1] != '\0')
            first--;
        (void)remove(j->made.text + first);
        end = first;
    }
}

/* One inside the folder, when there is something to write into it. */
static sonde_status make_inner(job *j, const char *name)
{
    char *path;
    sonde_status status;

    SONDE_TRY(sondep_path_join(&path, j->folder, name));
    status = make_folder(j, path);
    sondep_free(path);
    return status;
}

/* A file of the folder, complete or not there. */
static sonde_status write_file(job *j, const char *name, const void *bytes, size_t n)
{
    sondep_writer w = {.fd = -1};
    char *path;
    sonde_status status;

    SONDE_TRY(sondep_path_join(&path, j->folder, name));
    SONDE_TRY_DONE(sondep_writer_open(&w, path));
    SONDE_TRY_DONE(sondep_writer_put(&w, bytes, n));
    if (!sondep_is_file(path))
        SONDE_TRY_DONE(sondep_string_append(&j->made, path, strlen(path) + 1));
    status = sondep_writer_commit(&w);
    j->report.n_bytes += (int64_t)n;
    j->report.n_files++;
done:
    sondep_writer_abort(&w);
    sondep_free(path);
    return status;
}

/* Lines of a batch, deflated; the text is empty then. */
static sonde_status write_batch(job *j, const char *kind, int64_t batch, sondep_string *text)
{
    char name[64];
    unsigned char *bytes = NULL;
    size_t n;
    sonde_status status;

    if (text->n == 0)
        return SONDE_OK;
    SONDE_TRY(make_inner(j, kind));
    snprintf(name, sizeof name, "%s/batch-%lld.jsonl.gz", kind, (long long)batch);
    SONDE_TRY_DONE(deflate_text(&bytes, &n, text));
    status = write_file(j, name, bytes, n);
    text->n = 0;
done:
    sondep_free(bytes);
    return status;
}

/* ---- JSON ------------------------------------------------------------------------------------------------------------- */

/* A text that stays as it is. */
static sonde_status put(sondep_string *s, const char *text)
{
    return sondep_string_append(s, text, strlen(text));
}

/* A real number that reads back as the same float; null where it is not finite. */
static sonde_status put_float(sondep_string *s, double x)
{
    char text[SONDEP_NUMBER_BYTES];

    return sondep_string_append(s, text, (size_t)sondep_json_float(text, (float)x));
}

/* Field of a text, with a comma before it unless it is the first. */
static sonde_status put_field(sondep_string *s, bool is_first, const char *name, const char *value)
{
    SONDE_TRY(sondep_string_printf(s, "%s\"%s\":", is_first ? "{" : ",", name));
    return sondep_json_quote(s, value);
}

/* The fields that every line begins with. */
static sonde_status put_source(const job *j, sondep_string *s, const char *index_name, int64_t index)
{
    SONDE_TRY(put_field(s, true, "modelId", j->model));
    SONDE_TRY(put_field(s, false, "layer", j->layer));
    return sondep_string_printf(s, ",\"%s\":\"%lld\"", index_name, (long long)index);
}

/* ---- features ---------------------------------------------------------------------------------------------------------- */

/* Both columns of a list as arrays. */
static sonde_status put_list(const job *j, sondep_string *s, int which, int64_t feature)
{
    sqlite3_stmt *statement = j->lists[which];
    bool has;

    for (int column = 0; column < 2; column++) {
        bool is_first = true;
        sondep_tables_bind(statement, feature);
        SONDE_TRY(sondep_string_printf(s, ",\"%s\":[", lists[which].names[column]));
        for (;;) {
            SONDE_TRY(sondep_tables_next(&has, statement, &j->in));
            if (!has)
                break;
            SONDE_TRY(put(s, is_first ? "" : ","));
            is_first = false;
            if (column == 1)
                SONDE_TRY(put_float(s, sqlite3_column_double(statement, 1)));
            else if (lists[which].is_token)
                SONDE_TRY(sondep_json_quote(s, sondep_tables_token_of(&j->in, sqlite3_column_int64(statement, 0))));
            else
                SONDE_TRY(sondep_string_printf(s, "%lld", (long long)sqlite3_column_int64(statement, 0)));
        }
        SONDE_TRY(put(s, "]"));
    }
    return SONDE_OK;
}

/* Count i of a histogram's blob. */
static int64_t count_at(const void *blob, int64_t i)
{
    int64_t count;
    memcpy(&count, (const char *)blob + i * (int64_t)sizeof count, sizeof count);
    return count;
}

/* Left ends of equal bins up to the largest activation, and counts; the counts stay SQLite's. */
static sonde_status put_histogram(job *j, sondep_string *s, int64_t feature, double most)
{
    const void *blob;
    bool has;

    sondep_tables_bind(j->histogram, feature);
    SONDE_TRY(sondep_tables_next(&has, j->histogram, &j->in));
    blob = has ? sqlite3_column_blob(j->histogram, 0) : NULL;
    j->n_bins = blob != NULL ? sqlite3_column_bytes(j->histogram, 0) / 8 : 0;
    SONDE_TRY(put(s, ",\"freq_hist_data_bar_values\":["));
    for (int64_t i = 0; i < j->n_bins; i++) {
        SONDE_TRY(put(s, i > 0 ? "," : ""));
        SONDE_TRY(put_float(s, most * (double)i / (double)j->n_bins));
    }
    SONDE_TRY(put(s, "],\"freq_hist_data_bar_heights\":["));
    for (int64_t i = 0; i < j->n_bins; i++)
        SONDE_TRY(sondep_string_printf(s, "%s%lld", i > 0 ? "," : "", (long long)count_at(blob, i)));
    return put(s, "]");
}

/* The decoder's row, where there is an autoencoder to take it from. */
static sonde_status put_vector(const job *j, sondep_string *s, int64_t feature)
{
    sonde_tensor w;
    const float *row;
    int64_t n;

    if (j->sae == NULL)
        return put(s, ",\"hasVector\":false,\"vector\":[]");
    SONDE_TRY(sonde_sae_weight(&w, j->sae, "W_dec"));
    n = w.shape[1];
    row = (const float *)w.data + feature * n;
    SONDE_TRY(put(s, ",\"hasVector\":true,\"vector\":["));
    for (int64_t i = 0; i < n; i++) {
        SONDE_TRY(put(s, i > 0 ? "," : ""));
        SONDE_TRY(put_float(s, row[i]));
    }
    return put(s, "]");
}

/* A line of features, and one of explanations where somebody gave it a label. */
static sonde_status put_feature(job *j, int64_t feature, double *most)
{
    sondep_string *s = &j->features;
    const char *label;
    bool has;

    /* one row of the table, then what lies in others */
    sondep_tables_bind(j->feature, feature);
    SONDE_TRY(sondep_tables_next(&has, j->feature, &j->in));
    *most = has ? sqlite3_column_double(j->feature, 1) : 0.0;
    SONDE_TRY(put_source(j, s, "index", feature));
    SONDE_TRY(put_field(s, false, "hookName", j->hook));
    SONDE_TRY(put(s, ",\"frac_nonzero\":"));
    SONDE_TRY(put_float(s, has ? sqlite3_column_double(j->feature, 0) : 0.0));
    SONDE_TRY(put(s, ",\"maxActApprox\":"));
    SONDE_TRY(put_float(s, *most));
    for (int i = 0; i < N_LISTS; i++)
        SONDE_TRY(put_list(j, s, i, feature));
    SONDE_TRY(put_histogram(j, s, feature, *most));
    SONDE_TRY(put_vector(j, s, feature));
    SONDE_TRY(put(s, "}\n"));
    /* a label is an explanation that somebody wrote */
    label = has ? (const char *)sqlite3_column_text(j->feature, 2) : NULL;
    if (label == NULL || *label == '\0')
        return SONDE_OK;
    SONDE_TRY(put_source(j, &j->explanations, "index", feature));
    SONDE_TRY(put_field(&j->explanations, false, "description", label));
    j->report.n_explanations++;
    return put(&j->explanations, "}\n");
}

/* ---- activations -------------------------------------------------------------------------------------------------------- */

/* The interval of a band, and the share of the feature's firings that lie in it: bands are numbered from the largest. */
static sonde_status put_interval(const job *j, sondep_string *s, int64_t band, double most)
{
    double n = (double)j->n_bands, low = most * (1.0 - (double)band / n), high = most * (1.0 - (double)(band - 1) / n);
    const void *blob = sqlite3_column_blob(j->histogram, 0);
    int64_t inside = 0, all = 0;

    /* the largest examples are of no interval */
    if (band == 0)
        return put(s, ",\"binMin\":-1,\"binMax\":-1,\"binContains\":-1");
    for (int64_t i = 0; i < j->n_bins && blob != NULL; i++) {
        double middle = most * ((double)i + 0.5) / (double)j->n_bins;
        inside += middle > low && middle <= high ? count_at(blob, i) : 0;
        all += count_at(blob, i);
    }
    SONDE_TRY(put(s, ",\"binMin\":"));
    SONDE_TRY(put_float(s, low));
    SONDE_TRY(put(s, ",\"binMax\":"));
    SONDE_TRY(put_float(s, high));
    SONDE_TRY(put(s, ",\"binContains\":"));
    return put_float(s, all > 0 ? (double)inside / (double)all : 0.0);
}

/* Texts of the window's tokens, its activations, and where the largest and the smallest are. */
static sonde_status put_window(const job *j, sondep_string *s, const void *ids, const void *acts, int64_t n)
{
    float most = -INFINITY, least = INFINITY;
    int64_t at = 0;

    SONDE_TRY(put(s, ",\"tokens\":["));
    for (int64_t i = 0; i < n; i++) {
        SONDE_TRY(put(s, i > 0 ? "," : ""));
        SONDE_TRY(sondep_json_quote(s, sondep_tables_token(&j->in, ids, n, i)));
    }
    SONDE_TRY(put(s, "],\"values\":["));
    for (int64_t i = 0; i < n; i++) {
        float x;
        memcpy(&x, (const char *)acts + i * 4, sizeof x);
        at = x > most ? i : at;
        most = fmaxf(most, x);
        least = fminf(least, x);
        SONDE_TRY(put(s, i > 0 ? "," : ""));
        SONDE_TRY(put_float(s, x));
    }
    SONDE_TRY(sondep_string_printf(s, "],\"maxValueTokenIndex\":%lld,\"maxValue\":", (long long)at));
    SONDE_TRY(put_float(s, n > 0 ? most : 0.0));
    SONDE_TRY(put(s, ",\"minValue\":"));
    return put_float(s, n > 0 ? least : 0.0);
}

/* A line for each example. */
static sonde_status put_examples(job *j, int64_t feature, double most)
{
    sondep_string *s = &j->activations;
    bool has;

    sondep_tables_bind(j->examples, feature);
    for (;;) {
        int64_t band, n;
        SONDE_TRY(sondep_tables_next(&has, j->examples, &j->in));
        if (!has)
            return SONDE_OK;
        band = sqlite3_column_int64(j->examples, 0);
        /* a damaged blob may be shorter than the other */
        n = sqlite3_column_bytes(j->examples, 3) / 4;
        n = sqlite3_column_bytes(j->examples, 4) / 4 < n ? sqlite3_column_bytes(j->examples, 4) / 4 : n;
        SONDE_TRY(put_source(j, s, "index", feature));
        SONDE_TRY(sondep_string_printf(s, ",\"id\":\"%s-%lld-%lld-%lld\"", j->layer, (long long)feature, (long long)band,
                                       (long long)sqlite3_column_int64(j->examples, 1)));
        SONDE_TRY(put_field(s, false, "dataSource", j->corpus));
        SONDE_TRY(
            sondep_string_printf(s, ",\"qualifyingTokenIndex\":%lld", (long long)sqlite3_column_int64(j->examples, 2)));
        SONDE_TRY(put_window(j, s, sqlite3_column_blob(j->examples, 3), sqlite3_column_blob(j->examples, 4), n));
        SONDE_TRY(put_interval(j, s, band, most));
        SONDE_TRY(put(s, "}\n"));
        j->report.n_activations++;
    }
}

/* ---- all of it ----------------------------------------------------------------------------------------------------------- */

/* Number of the layer in a hook point's name; -1: it has none. */
static int layer_of(const char *hook)
{
    int layer;

    return sscanf(hook, "blocks.%d.", &layer) == 1 ? layer : -1;
}

/* "3-res-sonde": the layer, and what Neuronpedia calls a set of sources: by the place that is read. */
static sonde_status name_layer(job *j)
{
    const char *set = strstr(j->hook, "resid")  ? "res"
                      : strstr(j->hook, "mlp")  ? "mlp"
                      : strstr(j->hook, "attn") ? "att"
                                                : "all";
    sondep_string name = {0};
    int layer = layer_of(j->hook);

    if (layer >= 0)
        SONDE_TRY(sondep_string_printf(&name, "%d-", layer));
    if (j->opts.set != NULL)
        SONDE_TRY(put(&name, j->opts.set));
    else
        SONDE_TRY(sondep_string_printf(&name, "%s-sonde", set));
    SONDE_TRY(sondep_string_append(&name, "", 1));
    j->layer = name.text;
    return SONDE_OK;
}

/* Whether the database is of this autoencoder; older ones do not say. */
static sonde_status check_hash(const job *j)
{
    char *of_database, hash[20];
    sonde_status status = SONDE_OK;

    SONDE_TRY(sondep_tables_meta_text(&of_database, &j->in, "sae_hash"));
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)sonde_sae_hash(j->sae));
    if (*of_database != '\0' && strcmp(of_database, hash) != 0)
        status = SONDE_FAIL(SONDE_E_FORMAT, "'%s' is of another autoencoder: its weights have another hash", j->in.path);
    sondep_free(of_database);
    return status;
}

/* Names, sizes and statements. */
static sonde_status prepare(job *j)
{
    char *path;

    SONDE_TRY(sondep_tables_meta_text(&j->hook, &j->in, "hook"));
    SONDE_TRY(sondep_tables_meta_text(&j->corpus, &j->in, "corpus"));
    SONDE_TRY(sondep_tables_meta_text(&path, &j->in, "model_name"));
    /* the name that they know it by is the caller's to say */
    if (j->opts.model != NULL || *path == '\0') {
        sondep_free(path);
        SONDE_TRY(sondep_copy_string(&path, j->opts.model ? j->opts.model : "model"));
    }
    j->model = path;
    SONDE_TRY(name_layer(j));
    SONDE_TRY(sondep_tables_number(&j->report.n_features, &j->in, "SELECT count(*) FROM feature"));
    SONDE_TRY(sondep_tables_meta(&j->n_bands, &j->in, "n_bands", 0));
    SONDE_TRY(sondep_tables_read_tokens(&j->in));
    SONDE_TRY(sondep_tables_prepare(&j->feature, &j->in, "SELECT density, max, label FROM feature WHERE id = ?"));
    SONDE_TRY(sondep_tables_prepare(&j->histogram, &j->in, "SELECT counts FROM histogram WHERE feature = ?"));
    SONDE_TRY(sondep_tables_prepare(&j->examples, &j->in,
                                    "SELECT band, rank, position - first, tokens, acts FROM example WHERE feature = ? ORDER "
                                    "BY band, rank"));
    for (int i = 0; i < N_LISTS; i++)
        SONDE_TRY(sondep_tables_prepare(&j->lists[i], &j->in, lists[i].sql));
    if (j->sae != NULL && sonde_sae_get_config(j->sae)->d_sae != j->report.n_features)
        return SONDE_FAIL(SONDE_E_SHAPE, "'%s' is of %lld features, the autoencoder has %lld", j->in.path,
                          (long long)j->report.n_features, (long long)sonde_sae_get_config(j->sae)->d_sae);
    return j->sae != NULL ? check_hash(j) : SONDE_OK;
}

/* Model, set and source, a line each. */
static sonde_status write_names(job *j)
{
    static const char *const files[] = {"model.jsonl", "sourceset.jsonl", "source.jsonl"};
    const char *set = layer_of(j->hook) >= 0 ? strchr(j->layer, '-') + 1 : j->layer;
    sondep_string s = {0};
    sonde_status status = SONDE_OK;

    for (int i = 0; i < 3 && status == SONDE_OK; i++) {
        s.n = 0;
        SONDE_TRY_DONE(put_field(&s, true,
                                 i == 0   ? "id"
                                 : i == 1 ? "name"
                                          : "id",
                                 i == 0   ? j->model
                                 : i == 1 ? set
                                          : j->layer));
        if (i > 0)
            SONDE_TRY_DONE(put_field(&s, false, "modelId", j->model));
        if (i == 2) {
            SONDE_TRY_DONE(put_field(&s, false, "setName", set));
            SONDE_TRY_DONE(put_field(&s, false, "hookName", j->hook));
            SONDE_TRY_DONE(put_field(&s, false, "dataset", j->corpus));
        }
        SONDE_TRY_DONE(put(&s, "}\n"));
        status = write_file(j, files[i], s.text, s.n);
    }
done:
    sondep_string_release(&s);
    return status;
}

/* Batch by batch: what is in memory is one of them. */
static sonde_status write_all(job *j)
{
    SONDE_TRY(make_folder(j, j->folder));
    SONDE_TRY(write_names(j));
    for (int64_t s = 0; s < j->report.n_features; s++) {
        double most;
        SONDE_TRY(put_feature(j, s, &most));
        SONDE_TRY(put_examples(j, s, most));
        /* a batch is complete, or it was the last feature */
        if (s % IN_BATCH != IN_BATCH - 1 && s != j->report.n_features - 1)
            continue;
        SONDE_TRY(write_batch(j, "features", s / IN_BATCH, &j->features));
        SONDE_TRY(write_batch(j, "activations", s / IN_BATCH, &j->activations));
        SONDE_TRY(write_batch(j, "explanations", s / IN_BATCH, &j->explanations));
        if (sondep_interrupted())
            return SONDE_FAIL(SONDE_E_INTERRUPTED, "interrupted");
    }
    return SONDE_OK;
}

/* Everything is freed here, however it ended. */
sonde_status sonde_neuronpedia_write(sonde_neuronpedia_report *out, const char *folder, const char *database,
                                     const sonde_sae *sae, const sonde_neuronpedia_opts *opts)
{
    job j = {.folder = folder, .sae = sae};
    sonde_status status;

    *out = (sonde_neuronpedia_report){0};
    sonde_neuronpedia_opts_init(&j.opts);
    SONDE_TRY(sondep_opts_read(&j.opts, sizeof j.opts, opts, "the struct of an export's options"));
    SONDE_TRY_DONE(sondep_tables_open(&j.in, database));
    SONDE_TRY_DONE(prepare(&j));
    SONDE_TRY_DONE(write_all(&j));
    *out = j.report;
done:
    if (status != SONDE_OK)
        remove_made(&j);
    sondep_string_release(&j.made);
    sqlite3_finalize(j.feature);
    sqlite3_finalize(j.histogram);
    sqlite3_finalize(j.examples);
    for (int i = 0; i < N_LISTS; i++)
        sqlite3_finalize(j.lists[i]);
    sondep_string_release(&j.features);
    sondep_string_release(&j.activations);
    sondep_string_release(&j.explanations);
    sondep_free(j.model);
    sondep_free(j.layer);
    sondep_free(j.hook);
    sondep_free(j.corpus);
    sondep_tables_close(&j.in);
    return status;
}
