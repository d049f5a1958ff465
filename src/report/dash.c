/* dash.c - a database of features as one page.                                 floor 9: report
 *
 * The page is src/report/page/, with the data in it as blocks of JSON, each deflated and in base64: one with columns of all features, one
 * with the tokens' texts, and then some features or texts each, which the page opens when somebody looks at them.
 *
 *   meta     what the page shows at once: names, sizes, classes        plain JSON
 *   index    columns of all features: what the list sorts and searches
 *   tokens   id -> text
 *   f0 f1 .. 256 features each: histogram, logits, neighbours, examples
 *   d0 d1 .. 20 texts each, with the features of their positions
 *
 * Everything that comes from texts is escaped here so that it ends no script, and goes into the page as text.
 */
#include "report/dash.h"

#include "format/json.h"
#include "report/page.h"

#include <stdio.h>

enum {
    EXAMPLE = 75,      /* bytes that an example takes, deflated, */
    BUDGET = 38 << 20, /* and that all of them may take */
    LEAST_EXAMPLES = 8
};

/* Everything that there is room for. */
void sonde_dash_opts_init(sonde_dash_opts *out)
{
    *out = (sonde_dash_opts){.struct_size = sizeof *out, .n_documents = -1};
}

/* ---- the page -------------------------------------------------------------------------------------------------------------------------- */

/* Pairs of texts as an object, or as an array of pairs. */
static sonde_status put_text_pairs(sondep_dash *d, const char *sql, bool is_object)
{
    sqlite3_stmt *statement;
    bool has, is_first = true;
    sonde_status status;

    SONDE_TRY(sondep_tables_prepare(&statement, &d->in, sql));
    SONDE_TRY_DONE(sondep_dash_put(d, is_object ? "{" : "["));
    for (;;) {
        SONDE_TRY_DONE(sondep_tables_next(&has, statement, &d->in));
        if (!has)
            break;
        SONDE_TRY_DONE(sondep_dash_put(d, is_first ? "" : ","));
        SONDE_TRY_DONE(sondep_dash_put(d, is_object ? "" : "["));
        is_first = false;
        SONDE_TRY_DONE(sondep_dash_put_text(d, (const char *)sqlite3_column_text(statement, 0)));
        SONDE_TRY_DONE(sondep_dash_put(d, is_object ? ":" : ","));
        SONDE_TRY_DONE(sondep_dash_put_text(d, (const char *)sqlite3_column_text(statement, 1)));
        SONDE_TRY_DONE(sondep_dash_put(d, is_object ? "" : "]"));
    }
    status = sondep_dash_put(d, is_object ? "}" : "]");
done:
    sqlite3_finalize(statement);
    return status;
}

/* One text of the database under its name. */
static sonde_status put_meta_text(sondep_dash *d, const char *name, const char *sql)
{
    sqlite3_stmt *statement;
    bool has;
    sonde_status status;

    SONDE_TRY(sondep_tables_prepare(&statement, &d->in, sql));
    SONDE_TRY_DONE(sondep_string_printf(&d->json, ",\"%s\":", name));
    SONDE_TRY_DONE(sondep_tables_next(&has, statement, &d->in));
    status = sondep_dash_put_text(d, has ? (const char *)sqlite3_column_text(statement, 0) : "");
done:
    sqlite3_finalize(statement);
    return status;
}

/* Numbers of the database under their name. */
static sonde_status put_numbers(sondep_dash *d, const char *name, const char *sql)
{
    sqlite3_stmt *statement;
    sonde_status status;

    SONDE_TRY(sondep_tables_prepare(&statement, &d->in, sql));
    SONDE_TRY_DONE(sondep_string_printf(&d->json, ",\"%s\":", name));
    status = sondep_dash_put_rows(d, statement, 0, 1);
done:
    sqlite3_finalize(statement);
    return status;
}

/* What the page knows before it opens a block. */
static sonde_status put_meta(sondep_dash *d)
{
    static const char *const numbers[] = {"n_features", "n_tokens", "n_documents", "l0_max", "n_bands"};
    static const char *const texts[] = {"model", "model_name", "architecture", "hook"};
    char sql[160];
    int64_t value;

    SONDE_TRY(sondep_string_printf(
        &d->json, "{\"in_block\":%d,\"in_documents\":%d,\"n_kept\":%lld,\"left_out_examples\":%lld", SONDEP_DASH_FEATURES,
        SONDEP_DASH_DOCUMENTS, (long long)d->n_kept, (long long)d->report.n_left_out));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        SONDE_TRY(sondep_tables_meta(&value, &d->in, numbers[i], 0));
        SONDE_TRY(sondep_string_printf(&d->json, ",\"%s\":%lld", numbers[i], (long long)value));
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        snprintf(sql, sizeof sql, "SELECT value FROM meta WHERE key = '%s'", texts[i]);
        SONDE_TRY(put_meta_text(d, texts[i], sql));
    }
    SONDE_TRY(put_meta_text(d, "neurons", "SELECT hook FROM neuron LIMIT 1"));
    if (d->opts.title != NULL) {
        SONDE_TRY(sondep_dash_put(d, ",\"title\":"));
        SONDE_TRY(sondep_dash_put_text(d, d->opts.title));
    } else {
        SONDE_TRY(put_meta_text(d, "title", "SELECT 'Features of ' || value FROM meta WHERE key = 'hook'"));
    }
    SONDE_TRY(put_numbers(d, "l0", "SELECT CAST(value AS REAL) FROM meta WHERE key = 'l0'"));
    SONDE_TRY(
        put_numbers(d, "l0_histogram",
                    "SELECT CAST(value AS INTEGER) FROM json_each((SELECT value FROM meta WHERE key = 'l0_histogram'))"));
    SONDE_TRY(sondep_dash_put(d, ",\"classes\":"));
    SONDE_TRY(put_text_pairs(d, "SELECT name, what FROM class ORDER BY name", false));
    SONDE_TRY(sondep_dash_put(d, ",\"about\":"));
    SONDE_TRY(put_text_pairs(d, "SELECT key, value FROM meta WHERE key NOT IN ('l0_histogram', 'eval') ORDER BY key", true));
    return sondep_dash_put(d, "}");
}

/* Writes the template up to a mark, and moves behind it. */
static sonde_status write_until(sondep_dash *d, const char **at, const char *mark)
{
    const char *end = strstr(*at, mark);

    SONDE_ASSERT(end != NULL);
    SONDE_TRY(sondep_writer_put(&d->writer, *at, (size_t)(end - *at)));
    *at = end + strlen(mark);
    return SONDE_OK;
}

/* The template with everything in its places. */
static sonde_status write_page(sondep_dash *d)
{
    const char *at = (const char *)sondep_page_html;

    SONDE_TRY(write_until(d, &at, "@CSS@"));
    SONDE_TRY(sondep_writer_put(&d->writer, sondep_page_css, strlen((const char *)sondep_page_css)));
    SONDE_TRY(write_until(d, &at, "@META@"));
    SONDE_TRY(put_meta(d));
    SONDE_TRY(sondep_writer_put(&d->writer, d->json.text, d->json.n));
    d->json.n = 0;
    SONDE_TRY(write_until(d, &at, "@DATA@"));
    SONDE_TRY(sondep_dash_write_index(d));
    SONDE_TRY(sondep_dash_write_tokens(d));
    SONDE_TRY(sondep_dash_write_features(d));
    SONDE_TRY(sondep_dash_write_documents(d));
    SONDE_TRY(write_until(d, &at, "@JS@"));
    SONDE_TRY(sondep_writer_put(&d->writer, sondep_page_js, strlen((const char *)sondep_page_js)));
    return sondep_writer_put(&d->writer, at, strlen(at));
}

/* ---- what is shown ----------------------------------------------------------------------------------------------------------------------- */

/* As many examples as there is room for: three of five are of the largest, the others are spread over the bands. */
static sonde_status choose_examples(sondep_dash *d)
{
    int64_t top, in_band, all, most;

    SONDE_TRY(sondep_tables_number(&top, &d->in, "SELECT max(rank) FROM example WHERE band = 0"));
    SONDE_TRY(sondep_tables_number(&in_band, &d->in, "SELECT max(rank) FROM example WHERE band > 0"));
    all = top + in_band * d->n_bands;
    most = d->opts.n_examples > 0 ? d->opts.n_examples : BUDGET / EXAMPLE / (d->n_features > 0 ? d->n_features : 1);
    most = most > LEAST_EXAMPLES || d->opts.n_examples > 0 ? most : LEAST_EXAMPLES;
    d->n_top = top;
    d->n_in_band = in_band;
    /* one example less at a time, of whichever side has more than its share */
    while (d->n_top + d->n_in_band * d->n_bands > most && (d->n_top > 1 || d->n_in_band > 0)) {
        if (d->n_in_band > 0 && 3 * d->n_in_band * d->n_bands > 2 * d->n_top)
            d->n_in_band--;
        else
            d->n_top--;
    }
    d->report.n_left_out = all - d->n_top - d->n_in_band * d->n_bands;
    return SONDE_OK;
}

/* Sizes, largest activations, and how much is shown. */
static sonde_status read_sizes(sondep_dash *d)
{
    sqlite3_stmt *statement;
    bool has;
    sonde_status status;

    SONDE_TRY(sondep_tables_number(&d->n_features, &d->in, "SELECT count(*) FROM feature"));
    SONDE_TRY(sondep_tables_number(&d->n_kept, &d->in, "SELECT count(*) FROM document"));
    SONDE_TRY(sondep_tables_meta(&d->n_bands, &d->in, "n_bands", 0));
    if (d->opts.n_documents >= 0 && d->opts.n_documents < d->n_kept)
        d->n_kept = d->opts.n_documents;
    SONDE_TRY(choose_examples(d));
    SONDE_TRY(sondep_tables_read_tokens(&d->in));
    SONDE_TRY(SONDE_NEW(d->most, d->n_features));
    SONDE_TRY(sondep_tables_prepare(&statement, &d->in, "SELECT max FROM feature ORDER BY id"));
    for (int64_t s = 0; s < d->n_features; s++) {
        SONDE_TRY_DONE(sondep_tables_next(&has, statement, &d->in));
        d->most[s] = has ? sqlite3_column_double(statement, 0) : 0.0;
    }
    d->report.n_features = d->n_features;
    status = SONDE_OK;
done:
    sqlite3_finalize(statement);
    return status;
}

/* Sizes first: what is shown depends on them. */
sonde_status sonde_dash_write(sonde_dash_report *out, const char *path, const char *database, const sonde_dash_opts *opts)
{
    sondep_dash d = {.writer = {.fd = -1}};
    sonde_status status;

    *out = (sonde_dash_report){0};
    sonde_dash_opts_init(&d.opts);
    SONDE_TRY(sondep_opts_read(&d.opts, sizeof d.opts, opts, "the struct of a page's options"));
    if (sondep_is_same_file(path, database))
        return SONDE_FAIL(SONDE_E_ARG, "'%s' is the database: the page needs a path of its own", path);
    SONDE_TRY_DONE(sondep_tables_open(&d.in, database));
    SONDE_TRY_DONE(read_sizes(&d));
    SONDE_TRY_DONE(sondep_writer_open(&d.writer, path));
    SONDE_TRY_DONE(write_page(&d));
    d.report.n_bytes = d.writer.n_bytes;
    SONDE_TRY_DONE(sondep_writer_commit(&d.writer));
    *out = d.report;
done:
    sondep_writer_abort(&d.writer);
    sondep_string_release(&d.json);
    sondep_free(d.most);
    sondep_tables_close(&d.in);
    return status;
}
