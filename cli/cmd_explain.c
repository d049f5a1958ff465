/* cmd_explain.c - `sonde explain`: the features of each token of a text, and what a database knows of them.   floor 10: cli
 *
 * The model and the autoencoder say which features are on, and how strong; the database, which was made from other texts, says
 * what that means: how large the activation is beside the largest that was seen, how often the feature is on at all, on which
 * tokens, and what it makes likelier. Without a database there are numbers alone.
 */
#include "token_texts.h"

#include <math.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

/* What the command line says. */
static const char *database, *hook;
static int64_t n_top = 3;

static const cli_option options[] = {
    {"db", 0, CLI_TEXT, &database, "FILE", 0, 0, "what 'sonde features' wrote of this autoencoder"},
    {"hook", 0, CLI_TEXT, &hook, "NAME", 0, 0, "hook point that is read (as cfg.json says)"},
    {"top", 0, CLI_INT, &n_top, "N", 1, 1000, "features of each token that are shown (3)"},
    {0},
};

typedef struct work {
    cli_model m;
    sonde_sae *sae;
    const sonde_sae_config *config;
    cli_token_texts texts;
    sqlite3 *db;
    sqlite3_stmt *feature, *logits;
    float *features; /* (T,S) of a text */
    json_t *json;
    cli_table *table;
} work;

/* ---- the database ------------------------------------------------------------------------------------------------------------ */

/* A value of the table meta, or -1. */
static double meta_number(sqlite3 *db, const char *key)
{
    sqlite3_stmt *statement;
    double value = -1.0;

    if (sqlite3_prepare_v2(db, "SELECT value FROM meta WHERE key = ?", -1, &statement, NULL) == SQLITE_OK) {
        sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
        if (sqlite3_step(statement) == SQLITE_ROW)
            value = sqlite3_column_double(statement, 0);
    }
    sqlite3_finalize(statement);
    return value;
}

/* Whether it is of this autoencoder, and of activations of this hook point; older ones do not say the first. */
static sonde_status check_database(const work *w)
{
    char of_database[2][256] = {"", ""}, hash[20];
    const char *const keys[] = {"sae_hash", "hook"}, *point = hook ? hook : w->config->hook_name;
    sqlite3_stmt *statement = NULL;

    for (int i = 0; i < 2; i++) {
        if (sqlite3_prepare_v2(w->db, "SELECT value FROM meta WHERE key = ?", -1, &statement, NULL) == SQLITE_OK) {
            sqlite3_bind_text(statement, 1, keys[i], -1, SQLITE_STATIC);
            if (sqlite3_step(statement) == SQLITE_ROW)
                snprintf(of_database[i], sizeof *of_database, "%s", (const char *)sqlite3_column_text(statement, 0));
        }
        sqlite3_finalize(statement);
        statement = NULL;
    }
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)sonde_sae_hash(w->sae));
    if (*of_database[0] != '\0' && strcmp(of_database[0], hash) != 0)
        return cli_fail(SONDE_E_FORMAT, "'%s' is of another autoencoder: its weights have another hash", database);
    /* short names of hook points are as good as long ones: only those that are no part of it are others */
    if (*point != '\0' && strchr(point, '.') != NULL && strcmp(of_database[1], point) != 0)
        return cli_fail(SONDE_E_HOOK, "'%s' is of '%s', what is read here is '%s'", database, of_database[1], point);
    return SONDE_OK;
}

/* Opens it, and sees that it is of an autoencoder of this size. */
static sonde_status open_database(work *w)
{
    static const char of_feature[] = "SELECT density, max, summary, label FROM feature WHERE id = ?";
    static const char of_logits[] =
        "SELECT group_concat(text, char(8201)) FROM (SELECT text FROM logit JOIN token ON token.id = logit.token "
        "WHERE feature = ? AND rank > 0 ORDER BY rank LIMIT 5)";

    if (database == NULL)
        return SONDE_OK;
    if (sqlite3_open_v2(database, &w->db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
        return cli_fail(SONDE_E_NOTFOUND, "cannot open '%s': %s", database, sqlite3_errmsg(w->db));
    if (sqlite3_prepare_v2(w->db, of_feature, -1, &w->feature, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(w->db, of_logits, -1, &w->logits, NULL) != SQLITE_OK)
        return cli_fail(SONDE_E_FORMAT, "'%s' is no database of features: %s", database, sqlite3_errmsg(w->db));
    if (meta_number(w->db, "n_features") != (double)w->config->d_sae)
        return cli_fail(SONDE_E_SHAPE, "'%s' is of %.0f features, the autoencoder has %lld", database,
                        meta_number(w->db, "n_features"), (long long)w->config->d_sae);
    return check_database(w);
}

/* What is known of a feature. Texts are SQLite's, until the next call. */
typedef struct known {
    double density, most;
    const char *summary, *label, *logits;
} known;

/* Nothing, where there is no database. */
static known look_up(const work *w, int64_t s)
{
    known k = {.density = NAN, .most = NAN, .summary = "", .label = "", .logits = ""};

    if (w->db == NULL)
        return k;
    sqlite3_reset(w->feature);
    sqlite3_bind_int64(w->feature, 1, s);
    if (sqlite3_step(w->feature) == SQLITE_ROW) {
        const char *label = (const char *)sqlite3_column_text(w->feature, 3);
        k.density = sqlite3_column_double(w->feature, 0);
        k.most = sqlite3_column_double(w->feature, 1);
        k.summary = (const char *)sqlite3_column_text(w->feature, 2);
        k.label = label ? label : "";
    }
    sqlite3_reset(w->logits);
    sqlite3_bind_int64(w->logits, 1, s);
    if (sqlite3_step(w->logits) == SQLITE_ROW && sqlite3_column_text(w->logits, 0) != NULL)
        k.logits = (const char *)sqlite3_column_text(w->logits, 0);
    return k;
}

/* ---- a token ------------------------------------------------------------------------------------------------------------------- */

/* The feature of a row with the largest |activation| below what was taken before; of equal ones the lower. -1: there is none. */
static int64_t next_feature(const float *f, int64_t S, int64_t last)
{
    int64_t best = -1;

    for (int64_t s = 0; s < S; s++) {
        bool comes_later = last < 0 || fabsf(f[s]) < fabsf(f[last]) || (fabsf(f[s]) == fabsf(f[last]) && s > last);
        if (f[s] != 0.0f && comes_later && (best < 0 || fabsf(f[s]) > fabsf(f[best])))
            best = s;
    }
    return best;
}

/* One feature of a token. */
static json_t *feature_json(const work *w, int64_t s, double value)
{
    known k = look_up(w, s);
    json_t *out = json_object();

    json_object_set_new(out, "feature", json_integer(s));
    json_object_set_new(out, "value", cli_json_real(value));
    if (w->db == NULL)
        return out;
    /* what the database knows */
    json_object_set_new(out, "density", cli_json_real(k.density));
    json_object_set_new(out, "max", cli_json_real(k.most));
    json_object_set_new(out, "tokens", json_string(k.summary));
    json_object_set_new(out, "logits", json_string(k.logits));
    json_object_set_new(out, "label", json_string(k.label));
    return out;
}

/* One line of the table: what a feature is on at, and what it makes likelier. */
static sonde_status feature_row(const work *w, const char *token, int64_t s, double value)
{
    known k = look_up(w, s);
    char *tokens = NULL, *logits = NULL;
    sonde_status status;

    if (w->db == NULL) {
        cli_table_row(w->table, "%s\t%lld\t%.3f", token, (long long)s, value);
        return SONDE_OK;
    }
    CLI_TRY_DONE(cli_escape(&tokens, k.label[0] ? k.label : k.summary, strlen(k.label[0] ? k.label : k.summary)));
    CLI_TRY_DONE(cli_escape(&logits, k.logits, strlen(k.logits)));
    cli_table_row(w->table, "%s\t%lld\t%.3f\t%.0f %%\t%.3f %%\t%s\t%s", token, (long long)s, value,
                  100 * fabs(value) / k.most, 100 * k.density, tokens, logits);
    status = SONDE_OK;
done:
    free(tokens);
    free(logits);
    return status;
}

/* The features of one position. */
static sonde_status explain_token(work *w, int32_t id, const float *f, json_t *tokens)
{
    json_t *list = json_array(), *token;
    char *label;
    int64_t s = -1;
    sonde_status status = cli_token_label(&label, &w->m, id);

    for (int64_t i = 0; i < n_top && status == SONDE_OK && (s = next_feature(f, w->config->d_sae, s)) >= 0; i++) {
        if (cli.json)
            json_array_append_new(list, feature_json(w, s, f[s]));
        else
            status = feature_row(w, i == 0 ? label : "", s, f[s]);
    }
    if (status == SONDE_OK && !cli.json && json_array_size(list) == 0 && s < 0 && next_feature(f, w->config->d_sae, -1) < 0)
        cli_table_row(w->table, "%s\t-\t-", label);
    /* it is put together for a table, too: little beside the model */
    token = json_pack("{s:i, s:s, s:O}", "id", id, "token", status == SONDE_OK ? label : "", "features", list);
    json_array_append_new(tokens, token);
    json_decref(list);
    if (status == SONDE_OK)
        free(label);
    return status;
}

/* ---- texts --------------------------------------------------------------------------------------------------------------------- */

/* Features of the positions of a text. */
static sonde_status encode_text(work *w, const int32_t *tokens, int64_t n)
{
    const char *name = hook ? hook : w->config->hook_name;
    sonde_run *run = NULL;
    sonde_sae_coder *coder = NULL;
    sonde_tensor x;
    int64_t width = 1;
    sonde_status status;

    /* a pass of its own for each text: texts are few here */
    if (name[0] == '\0')
        return cli_misuse("the autoencoder does not say which hook point it reads: '--hook POINT'");
    CLI_TRY_DONE(sonde_run_new(&run, w->m.model));
    CLI_TRY_DONE(sonde_run_capture(run, name, NULL));
    CLI_TRY_DONE(sonde_run_forward(run, tokens, NULL, 1, n));
    CLI_TRY_DONE(sonde_run_get(&x, run, name));
    for (int i = 2; i < x.rank; i++)
        width *= x.shape[i];
    if (width != w->config->d_in) {
        status = cli_fail(SONDE_E_SHAPE, "'%s' has %lld numbers for each position, the autoencoder reads %lld", name,
                          (long long)width, (long long)w->config->d_in);
        goto done;
    }
    /* of the text before */
    free(w->features);
    CLI_TRY_DONE(CLI_NEW(w->features, n * w->config->d_sae));
    CLI_TRY_DONE(sonde_sae_coder_new(&coder, w->sae));
    status = sonde_sae_encode(coder, w->features, x.data, n);
done:
    sonde_sae_coder_free(coder);
    sonde_run_free(run);
    return status;
}

/* One text, all of its positions that are measured. */
static sonde_status explain_text(work *w, int64_t first, int64_t n)
{
    json_t *tokens = json_array();
    sonde_status status = encode_text(w, w->texts.tokens + first, n);

    if (status == SONDE_OK && !cli.json)
        w->table = cli_table_new(w->db ? "lrrrrll" : "lrr",
                                 w->db ? "token\tfeature\tvalue\tof max\tdensity\tis on at\tmakes likelier"
                                       : "token\tfeature\tvalue");
    for (int64_t t = 0; t < n && status == SONDE_OK; t++)
        if (!w->texts.left_out[first + t])
            status = explain_token(w, w->texts.tokens[first + t], w->features + t * w->config->d_sae, tokens);
    json_array_append(w->json, tokens);
    json_decref(tokens);
    if (cli.json || status != SONDE_OK)
        return status;
    return cli_table_print(w->table);
}

/* Texts one after another, an empty line between them. */
static sonde_status explain_all(work *w, const char *path)
{
    int64_t first = 0;
    json_t *out;

    for (int64_t i = 0; i < w->texts.texts.n; i++) {
        if (!cli.json && i > 0)
            putchar('\n');
        CLI_TRY(explain_text(w, first, w->texts.lengths[i]));
        first += w->texts.lengths[i];
    }
    /* tables were printed as they came */
    if (!cli.json)
        return SONDE_OK;
    out = cli_json("sonde.explain/1");
    json_object_set_new(out, "sae", json_string(path));
    json_object_set(out, "texts", w->json);
    return cli_json_write(out);
}

/* What is opened is closed here, however it ends. */
static sonde_status run(const cli_call *call)
{
    work w = {.json = json_array()};
    sonde_status status;

    CLI_TRY_DONE(cli_model_open(&w.m, call->arguments[0]));
    CLI_TRY_DONE(sonde_sae_load(&w.sae, call->arguments[1]));
    w.config = sonde_sae_get_config(w.sae);
    CLI_TRY_DONE(open_database(&w));
    cli_model_has_tokenizer(&w.m);
    CLI_TRY_DONE(cli_token_texts_read(&w.texts, &w.m, call->arguments + 2, call->n_arguments - 2, false));
    status = explain_all(&w, call->arguments[1]);
done:
    /* SQLite takes NULL for all of them */
    sqlite3_finalize(w.feature);
    sqlite3_finalize(w.logits);
    sqlite3_close(w.db);
    json_decref(w.json);
    free(w.features);
    sonde_sae_free(w.sae);
    cli_token_texts_free(&w.texts);
    cli_model_close(&w.m);
    return status;
}

const cli_command cli_cmd_explain = {
    .name = "explain",
    .summary = "the features of each token of a text, and what is known of them",
    .arguments = "MODEL SAE [TEXT...]",
    .min_arguments = 2,
    .max_arguments = 1 << 20,
    .examples = {"sonde explain models/stories sae \"Once upon a time\"",
                 "sonde features models/stories sae -f stories.jsonl -o features.db && "
                 "sonde explain models/stories sae \"Once upon a time\" --db features.db --top 2"},
    .options = {options, cli_text_options, cli_model_options},
    .notes = "Without --db, numbers alone. With it: how large the activation is beside the feature's largest, how often it "
             "is on, the tokens\n"
             "on which it is on most often (or its label), and those that its decoder row makes likelier.",
    .run = run,
};
