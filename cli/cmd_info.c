/* cmd_info.c - `sonde info`: what a model is, what can be hooked, what a pass costs.     floor 10: cli
 *
 * Everything comes from config.json and the headers of the weight files: no weight is read. Layers look alike, so their
 * hook points are listed once for all of them, unless -v or --hook asks for each.
 */
#include "info.h"

#include <stdlib.h>
#include <string.h>

static int64_t n_tokens, batch = 1; /* of the plan; 0 tokens: the context, 1024 at most */

static const cli_option options[] = {
    {"tokens", 0, CLI_INT, &n_tokens, "T", 0, 1e9, "plan a pass of T tokens; 0: the model's context, 1024 at most"},
    {"batch", 0, CLI_INT, &batch, "B", 1, 1e6, "plan a pass of B sequences"},
    {0},
};

/* "[B, T, 288]": letters for what the input decides. */
static void format_axes(char *out, size_t out_bytes, const sonde_hook_point *point)
{
    size_t used = 0;

    /* A width of 0 marks an axis that the input decides. */
    for (int i = 0; i < point->rank && used < out_bytes; i++) {
        const char *comma = i > 0 ? ", " : "[";
        if (point->width[i] > 0)
            used += (size_t)snprintf(out + used, out_bytes - used, "%s%lld", comma, (long long)point->width[i]);
        else
            used += (size_t)snprintf(out + used, out_bytes - used, "%s%c", comma, point->axes[i]);
    }
    if (used < out_bytes)
        snprintf(out + used, out_bytes - used, "]");
}

/* The plan of a pass that keeps the hooked points (all that fire by default, if none is named) and the logits. */
static sonde_status make_plan(sonde_plan *out, const sonde_model *model)
{
    sonde_run *run;
    sonde_status status;

    CLI_TRY(sonde_run_new(&run, model));
    /* Logits of all positions: the most that a pass can be asked for. */
    sonde_run_want_logits(run, SONDE_LOGITS_ALL);
    if (cli.hooks.n == 0)
        CLI_TRY_DONE(sonde_run_capture(run, "*", NULL));
    for (int64_t i = 0; i < cli.hooks.n; i++)
        CLI_TRY_DONE(sonde_run_capture(run, cli.hooks.items[i], NULL));
    CLI_TRY_DONE(sonde_run_plan(out, run, batch, n_tokens));
done:
    sonde_run_free(run);
    return status;
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

/* One hook point; axes that the input decides stand as letters. */
static json_t *point_json(const sonde_hook_point *point)
{
    json_t *shape = json_array();

    for (int i = 0; i < point->rank; i++) {
        if (point->width[i] > 0)
            json_array_append_new(shape, json_integer(point->width[i]));
        else
            json_array_append_new(shape, json_stringn(&point->axes[i], 1));
    }
    return json_pack("{s:s, s:s, s:o, s:i, s:b}", "name", point->name, "axes", point->axes, "shape", shape, "layer",
                     point->layer, "fires_by_default", (int)point->fires_by_default);
}

/* The fields of the config, by the names that the library gives them. What does not apply is left out or null. */
static json_t *config_json(const sonde_config *c)
{
    json_t *rope = NULL, *out;

    /* Learned positions have no rope; the key is left out then. */
    if (c->positions == SONDE_POSITIONS_ROTARY)
        rope = json_pack("{s:s, s:f, s:f}", "type", c->rope.type, "theta", c->rope.theta, "factor", c->rope.factor);
    out = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "family", c->family, "model_type",
                    c->model_type, "activation", c->activation, "n_layers", (json_int_t)c->n_layers, "d_model",
                    (json_int_t)c->d_model, "n_heads", (json_int_t)c->n_heads, "n_kv_heads", (json_int_t)c->n_kv_heads,
                    "d_head", (json_int_t)c->d_head, "d_mlp", (json_int_t)c->d_mlp, "n_vocab", (json_int_t)c->n_vocab,
                    "n_context", (json_int_t)c->n_context);
    if (out == NULL)
        return NULL;
    json_object_set_new(out, "norm", json_string(c->norm == SONDE_RMSNORM ? "rmsnorm" : "layernorm"));
    json_object_set_new(out, "norm_eps", cli_json_real(c->norm_eps));
    json_object_set_new(out, "positions", json_string(rope != NULL ? "rotary" : "learned"));
    if (rope != NULL)
        json_object_set_new(out, "rope", rope);
    json_object_set_new(out, "gated_mlp", json_boolean(c->gated_mlp));
    json_object_set_new(out, "tied", json_boolean(c->tied));
    /* Ids below 0 mean that the model has none. */
    json_object_set_new(out, "bos_id", c->bos_id < 0 ? json_null() : json_integer(c->bos_id));
    json_object_set_new(out, "eos_id", c->eos_id < 0 ? json_null() : json_integer(c->eos_id));
    return out;
}

/* What a pass of this size takes. */
static json_t *plan_json(const sonde_plan *plan)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:I}", "batch", (json_int_t)batch, "tokens", (json_int_t)n_tokens,
                     "weight_bytes", (json_int_t)plan->weight_bytes, "kept_bytes", (json_int_t)plan->kept_bytes,
                     "scratch_bytes", (json_int_t)plan->scratch_bytes, "flops", plan->flops, "layers",
                     (json_int_t)plan->n_layers);
}

/* Config, sizes, points and plan as one object. */
static sonde_status print_json(const cli_model *m, const int64_t *wanted, int64_t n_wanted, const sonde_plan *plan)
{
    int64_t n_points;
    const sonde_hook_point *points = sonde_model_hook_points(m->model, &n_points);
    json_t *out = cli_json("sonde.info/1"), *list = json_array();

    /* Layers are not folded here: programs look points up by name. */
    for (int64_t i = 0; i < n_wanted; i++)
        json_array_append_new(list, point_json(&points[wanted[i]]));
    json_object_set_new(out, "model", json_string(m->path));
    json_object_update_new(out, config_json(m->config));
    json_object_set_new(out, "parameters", json_integer(sonde_model_n_parameters(m->model)));
    json_object_set_new(out, "weight_bytes", json_integer((json_int_t)sonde_model_weight_bytes(m->model)));
    json_object_set_new(out, "dtype", json_string(sonde_dtype_name(sonde_model_weight_dtype(m->model))));
    json_object_set_new(out, "hook_points", list);
    json_object_set_new(out, "plan", plan_json(plan));
    return cli_json_write(out);
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

/* The config for a person: a line for each part. */
static sonde_status print_architecture(const cli_model *m)
{
    const sonde_config *c = m->config;
    cli_table *table = cli_table_new("ll", NULL);

    cli_table_row(table, "model\t%s", m->path);
    cli_table_row(table, "architecture\t%s (%s), %s", c->family, c->model_type,
                  c->norm == SONDE_RMSNORM ? "RMSNorm" : "LayerNorm");
    /* the base and the scaling decide how far a rotary model can look */
    if (c->positions == SONDE_POSITIONS_ROTARY)
        cli_table_row(table, "positions\trotary, theta %g, scaling %s", c->rope.theta, c->rope.type);
    else
        cli_table_row(table, "positions\tlearned");
    cli_table_row(table, "layers\t%lld of width %lld", (long long)c->n_layers, (long long)c->d_model);
    cli_table_row(table, "attention\t%lld heads of width %lld, %lld for keys and values", (long long)c->n_heads,
                  (long long)c->d_head, (long long)c->n_kv_heads);
    cli_table_row(table, "MLP\twidth %lld, %s%s", (long long)c->d_mlp, c->activation, c->gated_mlp ? ", gated" : "");
    cli_table_row(table, "vocabulary\t%s, unembedding %s", cli_count(c->n_vocab), c->tied ? "tied" : "untied");
    cli_table_row(table, "context\t%s tokens", cli_count(c->n_context));
    cli_table_row(table, "parameters\t%s", cli_count(sonde_model_n_parameters(m->model)));
    cli_table_row(table, "weights\t%s, %s", cli_bytes((double)sonde_model_weight_bytes(m->model)),
                  sonde_dtype_name(sonde_model_weight_dtype(m->model)));
    return cli_table_print(table);
}

/* Hook points, those of layers that look alike on one line unless -v or --hook asks for each. */
static sonde_status print_points(const cli_model *m, const int64_t *wanted, int64_t n_wanted)
{
    int64_t n_points;
    const sonde_hook_point *points = sonde_model_hook_points(m->model, &n_points);
    bool is_short = !cli.verbose && cli.hooks.n == 0;
    cli_table *table = cli_table_new("lll", "hook point\tshape\t");
    char shape[128];

    for (int64_t i = 0; i < n_wanted; i++) {
        const sonde_hook_point *point = &points[wanted[i]];
        const char *note = point->fires_by_default ? "" : "only where it is named";
        const char *rest = strncmp(point->name, "blocks.", 7) == 0 ? strchr(point->name + 7, '.') : NULL;

        format_axes(shape, sizeof shape, point);
        /* the first layer stands for all */
        if (is_short && point->layer > 0)
            continue;
        if (is_short && point->layer == 0 && rest != NULL && m->config->n_layers > 1)
            cli_table_row(table, "blocks.{0..%lld}%s\t%s\t%s", (long long)m->config->n_layers - 1, rest, shape, note);
        else
            cli_table_row(table, "%s\t%s\t%s", point->name, shape, note);
    }
    return cli_table_print(table);
}

/* What a pass takes, in one line. */
static void print_plan(const sonde_plan *plan)
{
    printf("a pass of %lld x %lld tokens that keeps %s and the logits: weights %s, kept %s, scratch %s, %.3g GFLOP\n",
           (long long)batch, (long long)n_tokens, cli.hooks.n > 0 ? "the hooked points" : "all points that fire by default",
           cli_bytes((double)plan->weight_bytes), cli_bytes((double)plan->kept_bytes),
           cli_bytes((double)plan->scratch_bytes), plan->flops * 1e-9);
}

/* The points to list: those of --hook, or all. */
static sonde_status choose_points(int64_t **out, int64_t *n, const sonde_model *model)
{
    if (cli.hooks.n > 0)
        return cli_match_hooks(out, n, model);
    /* Else every point, those too that fire only where they are named. */
    sonde_model_hook_points(model, n);
    CLI_TRY(CLI_NEW(*out, *n));
    for (int64_t i = 0; i < *n; i++)
        (*out)[i] = i;
    return SONDE_OK;
}

/* The plan is that of the model's own context, unless another size is asked for. */
static sonde_status run(const cli_call *call)
{
    cli_model m;
    sonde_plan plan;
    int64_t *wanted = NULL, n_wanted;
    sonde_status status;

    if (info_is_store(call->arguments[0]))
        return info_print_store(call->arguments[0]);
    CLI_TRY(cli_model_open(&m, call->arguments[0]));
    /* The context of some models is far longer than what people run: 1024 keeps the plan near a usual pass. */
    if (n_tokens == 0)
        n_tokens = m.config->n_context < 1024 ? m.config->n_context : 1024;
    CLI_TRY_DONE(choose_points(&wanted, &n_wanted, m.model));
    CLI_TRY_DONE(make_plan(&plan, m.model));
    if (cli.json) {
        status = print_json(&m, wanted, n_wanted, &plan);
        goto done;
    }
    CLI_TRY_DONE(print_architecture(&m));
    putchar('\n');
    CLI_TRY_DONE(print_points(&m, wanted, n_wanted));
    putchar('\n');
    print_plan(&plan);
done:
    free(wanted);
    cli_model_close(&m);
    return status;
}

const cli_command cli_cmd_info = {
    .name = "info",
    .summary = "what a model is: architecture, parameters, hook points with shapes, memory of a pass; or a store",
    .arguments = "MODEL",
    .min_arguments = 1,
    .max_arguments = 1,
    .examples = {"sonde info models/stories", "sonde info models/stories --hook 'blocks.0.*' --tokens 256 --json"},
    .options = {options, cli_hook_options, cli_model_options},
    .run = run,
};
