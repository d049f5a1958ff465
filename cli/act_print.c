/* act_print.c - `sonde act`: what was seen, as tables or as JSON.                  floor 10: cli
 *
 * Without a file: a line of statistics for each hook point, and for a few of them the first values at the first positions,
 * so that a person sees numbers at once. With --top, a table of the likeliest tokens for each position. All numbers come
 * from the sums and previews that act_write.c gathered while the model ran.
 */
#include "act.h"

#include <math.h>
#include <stdlib.h>

/* Mean over all elements that were stored. */
static double mean_of(const act_sums *sums)
{
    return sums->sum / sums->n;
}

/* Standard deviation over all elements. */
static double deviation_of(const act_sums *sums)
{
    double mean = mean_of(sums), variance = sums->squares / sums->n - mean * mean;
    return sqrt(variance > 0 ? variance : 0);
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

/* [1, 2, 288] */
static json_t *shape_json(const sonde_tensor *t)
{
    json_t *out = json_array();

    for (int i = 0; i < t->rank; i++)
        json_array_append_new(out, json_integer(t->shape[i]));
    return out;
}

/* One hook point: its tensor and its statistics. */
static json_t *slot_json(const act *a, const act_slot *slot)
{
    json_t *out = json_pack("{s:s, s:s, s:o}", "name", slot->name, "dtype", sonde_dtype_name(a->dtype), "shape",
                            shape_json(&slot->shape));

    if (out == NULL)
        return NULL;
    json_object_set_new(out, "mean", cli_json_real(mean_of(&slot->sums)));
    json_object_set_new(out, "std", cli_json_real(deviation_of(&slot->sums)));
    json_object_set_new(out, "min", cli_json_real(slot->sums.smallest));
    json_object_set_new(out, "max", cli_json_real(slot->sums.largest));
    return out;
}

/* Text of an id, or null without a tokenizer. */
static json_t *label_json(const act *a, int32_t id)
{
    char *label;
    json_t *out;

    /* no label is better than an error at the very end */
    if (a->m.tokenizer == NULL || cli_token_label(&label, &a->m, id) != SONDE_OK)
        return json_null();
    out = json_string(label);
    free(label);
    return out;
}

/* The likeliest tokens behind one position, with their probabilities. */
static json_t *next_json(const act *a, const act_next *next)
{
    json_t *list = json_array();
    int64_t k = a->top < a->m.config->n_vocab ? a->top : a->m.config->n_vocab;

    for (int64_t i = 0; i < k; i++)
        json_array_append_new(list, json_pack("{s:i, s:o, s:o, s:o}", "id", (int)next->ids[i], "token",
                                              label_json(a, next->ids[i]), "probability",
                                              cli_json_real(exp(next->logit[i] - next->log_sum_exp)), "logit",
                                              cli_json_real(next->logit[i])));
    return json_pack("{s:I, s:I, s:o}", "document", (json_int_t)next->document, "position", (json_int_t)next->position,
                     "next", list);
}

/* Ids and chosen positions of each document. */
static json_t *documents_json(const act *a)
{
    json_t *out = json_array();

    for (int64_t d = 0; d < a->n_documents; d++) {
        const act_document *document = &a->documents[d];
        json_t *ids = json_array(), *positions = json_array(), *row = json_object();

        for (int64_t t = 0; t < document->n; t++)
            json_array_append_new(ids, json_integer(a->ids[document->first_id + t]));
        for (int64_t k = 0; k < document->n_positions; k++)
            json_array_append_new(positions, json_integer(a->positions[document->first_position + k]));
        json_object_set_new(row, "tokens", ids);
        json_object_set_new(row, "bos", json_boolean(document->has_bos));
        if (a->has_chosen)
            json_object_set_new(row, "positions", positions);
        else
            json_decref(positions);
        json_array_append_new(out, row);
    }
    return out;
}

/* All of it as one object. Activations themselves go to a file (-o x.json), not here. */
static sonde_status print_json(const act *a, const char *path)
{
    json_t *out = cli_json("sonde.act/1"), *hooks = json_array(), *top = json_array();

    for (int64_t i = 0; i < a->n_slots; i++)
        json_array_append_new(hooks, slot_json(a, &a->slots[i]));
    for (int64_t i = 0; i < a->n_next; i++)
        json_array_append_new(top, next_json(a, &a->next[i]));
    json_object_set_new(out, "model", json_string(a->m.path));
    json_object_set_new(out, "output", path != NULL ? json_string(path) : json_null());
    json_object_set_new(out, "prepends_bos", json_string(act_bos(a)));
    json_object_set_new(out, "documents", documents_json(a));
    json_object_set_new(out, "hooks", hooks);
    if (a->goal.is_on)
        json_object_set_new(out, "gradient", act_goal_json(a));
    if (a->top > 0)
        json_object_set_new(out, "top", top);
    else
        json_decref(top);
    return cli_json_write(out);
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

/* A line of the summary. */
static void summary_row(cli_table *table, const char *name, const sonde_tensor *stored, const act_sums *sums)
{
    char shape[128];

    cli_table_row(table, "%s\t%s\t%.5g\t%.5g\t%.5g\t%.5g", name, sonde_tensor_format_shape(shape, sizeof shape, stored),
                  mean_of(sums), deviation_of(sums), sums->smallest, sums->largest);
}

/* A line for each hook point and token: numbers in full are for files and --json. */
static sonde_status print_summary(const act *a)
{
    cli_table *table = cli_table_new("llrrrr", "hook\tshape\tmean\tstd\tmin\tmax");
    sonde_tensor logits = {.rank = 3, .shape = {a->n_documents, a->has_chosen ? a->P : a->T, a->m.config->n_vocab}};

    for (int64_t i = 0; i < a->n_slots; i++)
        summary_row(table, a->slots[i].name, &a->slots[i].shape, &a->slots[i].sums);
    if (a->wants_logits)
        summary_row(table, "logits", &logits, &a->logits_sums);
    return cli_table_print(table);
}

/* Adds the row of one stored position: where it is, its norm, its first values. */
static void preview_row(cli_table *table, const act *a, const act_slot *slot, int64_t row, int64_t d, int64_t t)
{
    char values[256] = "", *label = NULL;
    size_t used = 0;
    int64_t inner = 1;

    for (int i = 2; i < slot->shape.rank; i++)
        inner *= slot->shape.shape[i];
    for (int64_t i = 0; i < ACT_PREVIEW && i < inner; i++)
        used += (size_t)snprintf(values + used, sizeof values - used, "%9.4f ", slot->preview[row * ACT_PREVIEW + i]);
    if (cli_token_label(&label, &a->m, a->ids[a->documents[d].first_id + t]) == SONDE_OK)
        cli_table_row(table, "%lld\t%lld\t|%s|\t%.5g\t%s%s", (long long)d, (long long)t, label, slot->norm[row], values,
                      inner > ACT_PREVIEW ? "..." : "");
    free(label);
}

/* The first values at the first stored positions of one hook. */
static sonde_status print_preview(const act *a, const act_slot *slot)
{
    cli_table *table = cli_table_new("rrlrl", "text\tposition\ttoken\tL2\tvalues");
    int64_t row = 0;

    printf("\n%s\n", slot->name);
    for (int64_t d = 0; d < a->n_documents; d++) {
        int64_t n;
        const int64_t *chosen = act_chosen(a, d, &n);
        for (int64_t k = 0; k < n && row < ACT_SHOWN; k++, row++)
            preview_row(table, a, slot, row, d, chosen != NULL ? chosen[k] : k);
    }
    return cli_table_print(table);
}

/* The likeliest tokens behind one position as a table. */
static sonde_status print_next(const act *a, const act_next *next)
{
    cli_table *table = cli_table_new("rrrl", "rank\tprobability\tid\ttoken");
    char *label = NULL;
    int64_t k = a->top < a->m.config->n_vocab ? a->top : a->m.config->n_vocab;

    if (cli_token_label(&label, &a->m, a->ids[a->documents[next->document].first_id + next->position]) == SONDE_OK)
        printf("\nlikeliest next tokens behind position %lld |%s| of text %lld\n", (long long)next->position, label,
               (long long)next->document);
    free(label);
    for (int64_t i = 0; i < k; i++) {
        label = NULL;
        if (cli_token_label(&label, &a->m, next->ids[i]) == SONDE_OK)
            cli_table_row(table, "%lld\t%.6f\t%d\t|%s|", (long long)i + 1, exp(next->logit[i] - next->log_sum_exp),
                          (int)next->ids[i], label);
        free(label);
    }
    return cli_table_print(table);
}

/* What was differentiated, and its value. */
static sonde_status print_goal(const act *a)
{
    char *goal;

    CLI_TRY(act_describe_goal(&goal, a));
    printf("gradient of %s: %.6g%s\n", goal, a->goal.value,
           a->n_documents > 1 && a->goal.objective.kind == SONDE_OBJECTIVE_LOGIT ? ", summed over texts" : "");
    free(goal);
    return SONDE_OK;
}

/* Statistics are for those who write no file: a file holds the numbers themselves. */
sonde_status act_print(const act *a, const char *path)
{
    if (cli.json)
        return print_json(a, path);
    if (path == NULL || !cli.quiet) /* that a file was written need not be said */
        printf("%s, %s, BOS in front: %s\n", cli_counted(a->n_documents, "text"), cli_counted(a->n_ids, "token"),
               act_bos(a));
    if (a->goal.is_on && (path == NULL || !cli.quiet))
        CLI_TRY(print_goal(a));
    if (path != NULL && !cli.quiet)
        printf("written to '%s'\n", path);
    if (path == NULL && (a->n_slots > 0 || a->wants_logits)) {
        putchar('\n');
        CLI_TRY(print_summary(a));
    }
    for (int64_t i = 0; path == NULL && i < a->n_slots; i++) {
        if (a->slots[i].preview != NULL)
            CLI_TRY(print_preview(a, &a->slots[i]));
    }
    for (int64_t i = 0; i < a->n_next; i++)
        CLI_TRY(print_next(a, &a->next[i]));
    return SONDE_OK;
}
