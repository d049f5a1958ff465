/* sae_report.c - texts of a training of autoencoders, its manifest, and what it says at the end.     floor 10: cli
 *
 * The manifest is for whoever asks later how an autoencoder was made: arguments, texts with what they had, every option with
 * what was chosen for it, machine, time, and where each autoencoder stands. It is written with each checkpoint.
 */
#include "sae_train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Number i of the names between bars. */
const char *sae_arch_name(const sonde_sae_train_opts *opts)
{
    static char name[32];
    const char *names = SONDE_SAE_ARCHS;

    for (int64_t i = 0; i < opts->arch; i++)
        names = strchr(names, '|') + 1;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(names, "|/"), names);
    return name;
}

/* ---- texts ------------------------------------------------------------------------------------------------------------------ */

/* Which positions of a document are left out: those of the ids that are, or (NULL) the first. */
static void leave_out(bool *left_out, const int32_t *tokens, int64_t n, const int32_t *ids, int64_t n_ids)
{
    for (int64_t i = 0; i < n; i++) {
        left_out[i] = ids == NULL && i == 0;
        for (int64_t k = 0; ids != NULL && k < n_ids; k++)
            left_out[i] = left_out[i] || tokens[i] == ids[k];
    }
}

/* Documents of a corpus as texts that are measured: each cut at the context, and what is not trained on left out. */
static sonde_status list_texts(sonde_sae_texts *out, const sonde_corpus *corpus, int64_t context, const int32_t *ids,
                               int64_t n_ids)
{
    int64_t n = sonde_corpus_n_documents(corpus), total = 0, first, n_tokens, n_bytes, *lengths;
    int32_t *tokens;
    bool *left_out;

    CLI_TRY(CLI_NEW(lengths, n));
    out->lengths = lengths;
    CLI_TRY(CLI_NEW(tokens, sonde_corpus_n_tokens(corpus)));
    out->tokens = tokens;
    CLI_TRY(CLI_NEW(left_out, sonde_corpus_n_tokens(corpus)));
    out->left_out = left_out;
    for (int64_t i = 0; i < n; i++) {
        sonde_corpus_document(&first, &n_tokens, &n_bytes, corpus, i);
        lengths[i] = n_tokens < context ? n_tokens : context;
        /* behind the context nothing is read */
        sonde_corpus_read(tokens + total, corpus, first, lengths[i]);
        leave_out(left_out + total, tokens + total, lengths[i], ids, n_ids);
        total += lengths[i];
    }
    out->n = n;
    return SONDE_OK;
}

/* Held-out documents are read whole and then cut, as those of the training are. */
sonde_status sae_read_texts(sae_training *t, const cli_strings *data, const char *held_out_path, int64_t n_held_out)
{
    int32_t separator;
    sonde_corpus *held_out;
    sonde_status status;

    CLI_TRY(training_separator(&separator, &t->m));
    CLI_TRY(sonde_corpus_new(&t->corpus, t->m.tokenizer, separator, t->m.config->n_vocab));
    for (int64_t i = 0; i < data->n; i++)
        CLI_TRY(training_add_file(t->files, t->corpus, data->items[i], cli.limit, false));
    if (held_out_path == NULL)
        return SONDE_OK;
    CLI_TRY(sonde_corpus_new(&held_out, t->m.tokenizer, separator, t->m.config->n_vocab));
    status = training_add_file(t->files, held_out, held_out_path, n_held_out, true);
    if (status == SONDE_OK)
        status = list_texts(&t->held_out, held_out, t->m.config->n_context, t->ids, t->n_ids);
    sonde_corpus_free(held_out);
    return status;
}

/* Whatever was made. */
void sae_training_free(sae_training *t)
{
    for (int64_t i = 0; i < t->n_units && t->units != NULL; i++) {
        sonde_sae_trainer_free(t->units[i].trainer);
        free(t->units[i].curve.points);
        free(t->units[i].copy);
    }
    for (int64_t i = 0; i < t->n_hooks && t->rows != NULL; i++)
        free(t->rows[i]);
    free(t->rows);
    free(t->hooks);
    free(t->units);
    sonde_source_free(t->source);
    sonde_store_close(t->store);
    sonde_corpus_free(t->corpus);
    free(t->ids);
    free((void *)t->held_out.tokens);
    free((void *)t->held_out.left_out);
    free((void *)t->held_out.lengths);
    cli_model_close(&t->m);
    json_decref(t->files);
    json_decref(t->earlier);
}

/* ---- what was done ------------------------------------------------------------------------------------------------------------ */

/* The options of a training, with what was chosen for it. */
static json_t *options_of(const sonde_sae_train_opts *o)
{
    json_t *out = json_object();
#define PUT_WHOLE(name, flag, value, least, most, what) json_object_set_new(out, flag, json_integer(o->name));
#define PUT_CHOICE(name, flag, value, names, what) json_object_set_new(out, flag, training_choice(names, o->name));
#define PUT_REAL(name, flag, value, least, most, what) json_object_set_new(out, flag, cli_json_real(o->name));
    SONDE_SAE_TRAIN_OPTION_LIST(PUT_WHOLE, PUT_CHOICE, PUT_REAL)
#undef PUT_WHOLE
#undef PUT_CHOICE
#undef PUT_REAL
    /* sizes are no options of the command line: they follow from hook points and width */
    json_object_set_new(out, "d_in", json_integer(o->d_in));
    json_object_set_new(out, "d_sae", json_integer(o->d_sae));
    json_object_set_new(out, "d_out", json_integer(o->d_out > 0 ? o->d_out : o->d_in));
    return out;
}

/* Where one autoencoder stands. */
static json_t *unit_json(const sae_unit *u)
{
    const sae_point *last = sae_curve_last(&u->curve, false), *held_out = sae_curve_last(&u->curve, true);
    json_t *out = json_object();

    json_object_set_new(out, "folder", training_text(u->folder));
    json_object_set_new(out, "hook", training_text(u->hook));
    json_object_set_new(out, "hook_out", training_text(u->hook_out));
    json_object_set_new(out, "options", options_of(sonde_sae_trainer_opts(u->trainer)));
    json_object_set_new(out, "step", json_integer(sonde_sae_trainer_steps(u->trainer)));
    if (last != NULL) {
        json_object_set_new(out, "loss", cli_json_real(last->loss));
        json_object_set_new(out, "l0", cli_json_real(last->l0));
        json_object_set_new(out, "explained_variance", cli_json_real(last->explained_variance));
        json_object_set_new(out, "dead", cli_json_real(last->n_dead));
    }
    /* the last measurement, which may be some steps behind */
    if (held_out != NULL) {
        json_object_set_new(out, "held_out_l0", cli_json_real(held_out->held_out_l0));
        json_object_set_new(out, "held_out_explained_variance", cli_json_real(held_out->held_out_variance));
        json_object_set_new(out, "held_out_ce_recovered", cli_json_real(held_out->held_out_recovered));
    }
    return out;
}

/* All of them. */
static json_t *units_json(const sae_training *t)
{
    json_t *out = json_array();
    for (int64_t i = 0; i < t->n_units; i++)
        json_array_append_new(out, unit_json(&t->units[i]));
    return out;
}

/* Seconds of earlier runs are added. */
sonde_status sae_manifest_write(const sae_training *t, const cli_option *settings)
{
    json_t *out = cli_json("sonde.manifest/1");
    double seconds = cli_seconds() - t->started, before = json_number_value(json_object_get(t->earlier, "seconds"));
    json_t *own = training_settings(settings);

    json_object_set_new(out, "command", json_string("sae train"));
    json_object_set_new(out, "arguments", training_texts(t->call->words, t->call->n_words));
    json_object_set_new(out, "version", json_string(sonde_version()));
    /* --resume may leave the model out: it is a setting like others then */
    json_object_set_new(own, "model", training_text(t->model_name));
    json_object_set_new(out, "settings", own);
    json_object_set(out, "data", t->files);
    json_object_set_new(out, t->store ? "store_hash" : "corpus_hash",
                        training_hash(t->store ? sonde_store_hash(t->store) : sonde_corpus_hash(t->corpus)));
    json_object_set_new(out, "activations_of_an_epoch", json_integer(sonde_source_n_rows(t->source)));
    json_object_set_new(out, "autoencoders", units_json(t));
    json_object_set_new(out, "kernels", json_string(sonde_kernel_name()));
    json_object_set_new(out, "threads", json_integer(sonde_threads()));
    json_object_set_new(out, "began", training_earlier(t->earlier, "began", training_time(t->began)));
    json_object_set_new(out, "written", training_time((int64_t)time(NULL)));
    json_object_set_new(out, "seconds", cli_json_real(before + seconds));
    json_object_set_new(out, "peak_memory_bytes", json_integer(cli_peak_bytes()));
    return training_manifest_write(out, t->folder);
}

/* A share, or "-" where there is none. */
static void write_share(char out[32], double x)
{
    if (isfinite(x))
        snprintf(out, 32, "%.4f", x);
    else
        strcpy(out, "-");
}

/* A line for each autoencoder. */
sonde_status sae_print_report(const sae_training *t)
{
    double seconds = cli_seconds() - t->started;
    double n = (double)((t->opts->steps - t->first_step) * t->opts->batch);
    cli_table *table;

    if (cli.json) {
        json_t *out = cli_json("sonde.sae.train/1");
        json_object_set_new(out, "autoencoders", units_json(t));
        json_object_set_new(out, "seconds", cli_json_real(seconds));
        json_object_set_new(out, "activations_per_s", cli_json_real(n / seconds));
        return cli_json_write(out);
    }
    table = cli_table_new("llrrrrrr", "folder\tarch\tfeatures\tL0\tEV\tdead\theld-out EV\tCE recovered");
    for (int64_t i = 0; i < t->n_units; i++) {
        const sae_unit *u = &t->units[i];
        const sae_point *last = sae_curve_last(&u->curve, false), *held_out = sae_curve_last(&u->curve, true);
        char share[3][32];
        if (last == NULL)
            continue;
        write_share(share[0], last->explained_variance);
        write_share(share[1], held_out != NULL ? held_out->held_out_variance : NAN);
        write_share(share[2], held_out != NULL ? held_out->held_out_recovered : NAN);
        cli_table_row(table, "%s\t%s\t%s\t%.1f\t%s\t%.0f\t%s\t%s", u->folder, sae_arch_name(&u->opts),
                      cli_count(u->opts.d_sae), last->l0, share[0], last->n_dead, share[1], share[2]);
    }
    CLI_TRY(cli_table_print(table));
    printf("%s in %.0f s, %.0f activations/s, peak memory %s\n", cli_counted((int64_t)n, "activation"), seconds, n / seconds,
           cli_bytes((double)cli_peak_bytes()));
    return SONDE_OK;
}
