/* cmd_harvest.c - `sonde harvest`: activations of many texts as a store, from which autoencoders are trained.     floor 10: cli
 *
 *   DIR/store.json, shard-*.safetensors   the store: run.h says what it has
 *   DIR/manifest.json                     what was done, with what; what --resume takes its options from
 *
 * The plan comes first: rows, bytes on the disk, memory and time. Whole shards stay whatever happens, and --resume writes those that
 * are missing.
 */
#include "training.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

/* what the command line says */
static const char *output, *tokens, *left_out, *model_name;
static bool is_resumed, with_special;
static int64_t act_dtype, context, shard_bytes = 1 << 28;

static const cli_option options[] = {
    {"output", 'o', CLI_TEXT, &output, "DIR", 0, 0,
     "folder of the store: a new one, or with --resume that of an earlier run"},
    {"resume", 0, CLI_FLAG, &is_resumed, NULL, 0, 0, "write the shards that are missing in DIR; options stay as they were"},
    {0},
};

/* What a resumed run takes over from the manifest. */
static const cli_option settings[] = {
    {"file", 'f', CLI_LIST, &cli.files, "FILE", 0, 0,
     "texts (.txt, .jsonl, .jsonl.zst; may be repeated); FILE:3 reads it three times"},
    {"field", 0, CLI_TEXT, &cli.field, "NAME", 0, 0, "field of .jsonl that holds the text"},
    {"limit", 0, CLI_INT, &cli.limit, "N", 0, 1e12, "documents of each file that are read at most; 0: all"},
    {"hook", 0, CLI_LIST, &cli.hooks, "PATTERN", 0, 0,
     "hook points: blocks.3.hook_resid_post, 'blocks.*.hook_mlp_out' (may be repeated)"},
    {"tokens", 0, CLI_TEXT, &tokens, "N", 0, 0, "take documents until they have so many rows (18M); default: all"},
    {"context", 0, CLI_INT, &context, "N", 0, 1e9, "tokens of a document at most; 0: the model's context"},
    {"with-special", 0, CLI_FLAG, &with_special, NULL, 0, 0, "the token that begins a text is a row, too"},
    {"leave-out", 0, CLI_TEXT, &left_out, "IDS", 0, 0, "ids that are no rows: 1,2 (default: the token that begins a text)"},
    {"act-dtype", 0, CLI_CHOICE, &act_dtype, "f32|bf16", 0, 0, "type in which activations are stored"},
    {"shard-bytes", 0, CLI_INT, &shard_bytes, "N", 1, 1e15, "of a file at most; a document is never split"},
    {"dtype", 0, CLI_CHOICE, &cli.products, "f32|bf16", 0, 0, "what products are computed in"},
    {"model", 0, CLI_TEXT, &model_name, "MODEL", 0, 0, "of --resume: the model, where it lies elsewhere now"},
    {0},
};

/* What is in the folder before there is a store. */
static const char *const own_names[] = {"manifest.json", NULL};
static const training_kind kind = {"store", "store.json", NULL, own_names};

/* A run of the command. */
typedef struct harvesting {
    const cli_call *call;
    json_t *earlier, *files; /* the manifest that is there, or NULL; texts, and what they have */
    cli_model m;
    sonde_corpus *corpus;
    const char **hooks;
    int64_t n_hooks, *points;
    int32_t *ids; /* that are left out */
    sonde_harvest *harvest;
    sonde_harvest_plan plan;
    double tokens_per_s, started;
    cli_progress progress;
} harvesting;

/* ---- what is asked for ---------------------------------------------------------------------------------------------------- */

/* One line a misuse. */
static sonde_status check_call(harvesting *h)
{
    if (output == NULL)
        return cli_misuse("'harvest' needs a folder: '-o DIR'");
    if (h->call->n_arguments > 0)
        model_name = h->call->arguments[0];
    CLI_TRY(training_folder_check(output, &kind, is_resumed));
    /* what is not given is as it was */
    if (is_resumed)
        CLI_TRY(training_manifest_read(&h->earlier, output, settings));
    if (model_name == NULL)
        return cli_misuse("'harvest' needs a MODEL");
    if (cli.files.n == 0)
        return cli_misuse("'harvest' needs texts: '-f FILE'");
    if (cli.hooks.n == 0)
        return cli_misuse("'harvest' needs hook points: '--hook blocks.3.hook_resid_post'");
    return SONDE_OK;
}

/* Points that the patterns name, by their exact names. */
static sonde_status list_hooks(harvesting *h)
{
    int64_t n_points;
    const sonde_hook_point *points = sonde_model_hook_points(h->m.model, &n_points);

    /* a pattern may name many; each is a tensor of its own */
    CLI_TRY(cli_match_hooks(&h->points, &h->n_hooks, h->m.model));
    CLI_TRY(CLI_NEW(h->hooks, h->n_hooks));
    for (int64_t i = 0; i < h->n_hooks; i++)
        h->hooks[i] = points[h->points[i]].name;
    return SONDE_OK;
}

/* Everything that can be wrong with what was asked for is found here, before a file is written. */
static sonde_status prepare(harvesting *h)
{
    sonde_harvest_opts how;
    int32_t separator;

    sonde_harvest_opts_init(&how);
    /* what the options say, in the library's words */
    how.dtype = act_dtype == 1 ? SONDE_BF16 : SONDE_F32;
    how.shard_bytes = shard_bytes;
    how.context = context;
    how.model = model_name;
    if (tokens != NULL)
        CLI_TRY(cli_parse_count(&how.n_rows, tokens, "tokens"));
    /* the model first: the texts need its tokenizer, the hooks its points */
    CLI_TRY(cli_model_open(&h->m, model_name));
    if (context > h->m.config->n_context)
        return cli_fail(SONDE_E_RANGE, "option '--context' is %lld, the model has %lld", (long long)context,
                        (long long)h->m.config->n_context);
    CLI_TRY(list_hooks(h));
    CLI_TRY(training_left_out(&h->ids, &how.n_left_out, &h->m, left_out, with_special));
    how.left_out = h->ids;
    CLI_TRY(training_separator(&separator, &h->m));
    CLI_TRY(sonde_corpus_new(&h->corpus, h->m.tokenizer, separator, h->m.config->n_vocab));
    for (int64_t i = 0; i < cli.files.n; i++)
        CLI_TRY(training_add_file(h->files, h->corpus, cli.files.items[i], cli.limit, false));
    /* counts everything, and looks at what is there */
    CLI_TRY(sonde_harvest_new(&h->harvest, h->m.model, h->corpus, h->hooks, h->n_hooks, output, &how));
    return sonde_harvest_get_plan(&h->plan, h->harvest);
}

/* ---- the plan ------------------------------------------------------------------------------------------------------------- */

/* Bytes that are free where the folder is, or will be; -1 if the system does not say. */
static double free_bytes(void)
{
    struct statvfs info;
    const char *slash = strrchr(output, '/');
    char above[4096];

    snprintf(above, sizeof above, "%.*s", slash ? (int)(slash - output) + 1 : 1, slash ? output : ".");
    /* the folder may not be there yet; the one above it is */
    if (statvfs(output, &info) != 0 && statvfs(above, &info) != 0)
        return -1;
    return (double)info.f_bavail * (double)info.f_frsize;
}

/* Memory of a harvest: weights that are read, a pass, rows on their way, and the texts. */
static double memory_bytes(const harvesting *h)
{
    const sonde_harvest_plan *p = &h->plan;
    double texts = (double)sonde_corpus_n_tokens(h->corpus) * (sonde_corpus_n_vocab(h->corpus) > 65536 ? 4 : 2);

    return (double)(p->pass.weight_bytes + p->pass.kept_bytes + p->pass.scratch_bytes + p->buffer_bytes) + texts;
}

/* Seconds that the missing rows take. */
static double seconds_of(const harvesting *h)
{
    const sonde_harvest_plan *p = &h->plan;
    return (double)p->missing_rows / (double)p->n_rows * (double)p->n_tokens / h->tokens_per_s;
}

/* "1 h 12 min", "3 min", "12 s". */
static const char *duration(double seconds)
{
    static char text[40];
    int64_t minutes = (int64_t)(seconds / 60);

    /* no more digits than such a guess has */
    if (seconds < 120)
        snprintf(text, sizeof text, "%.0f s", seconds);
    else if (minutes < 120)
        snprintf(text, sizeof text, "%lld min", (long long)minutes);
    else
        snprintf(text, sizeof text, "%lld h %lld min", (long long)(minutes / 60), (long long)(minutes % 60));
    return text;
}

/* Lines of the plan, to whoever says them. */
static void say_plan(const harvesting *h, void (*say)(const char *format, ...))
{
    const sonde_harvest_plan *p = &h->plan;

    say("%s, %s: %s, %s left out, %s behind the context not read", cli_counted(p->n_documents, "document"),
        cli_counted(p->n_tokens, "token"), cli_counted(p->n_rows, "row"), cli_count(p->n_left_out), cli_count(p->n_behind));
    say("%s in %s, %s bytes", cli_counted(h->n_hooks, "hook point"), act_dtype == 1 ? "bf16" : "f32",
        cli_count(p->file_bytes));
    /* where the folder above is not there either, no disk can say what it has */
    say("to write: %s, %s bytes, %s; the disk has %s free", cli_counted(p->n_shards - p->n_there, "shard"),
        cli_count(p->missing_bytes), duration(seconds_of(h)), free_bytes() < 0 ? "?" : cli_bytes(free_bytes()));
    say("memory %s; %s of the model, %s tokens/s", cli_bytes(memory_bytes(h)), cli_counted(p->pass.n_layers, "layer"),
        cli_count((int64_t)h->tokens_per_s));
}

/* Results of a plan go where results go. */
static void say_line(const char *format, ...) SONDE_PRINTF(1, 2);
/* A line of the plan to stdout: it is the result of --dry-run. */
static void say_line(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

/* The plan's numbers. */
static json_t *plan_json(const harvesting *h)
{
    const sonde_harvest_plan *p = &h->plan;
    json_t *out = json_object();

    json_object_set_new(out, "documents", json_integer(p->n_documents));
    json_object_set_new(out, "tokens", json_integer(p->n_tokens));
    json_object_set_new(out, "rows", json_integer(p->n_rows));
    json_object_set_new(out, "left_out", json_integer(p->n_left_out));
    json_object_set_new(out, "behind_context", json_integer(p->n_behind));
    json_object_set_new(out, "shards", json_integer(p->n_shards));
    json_object_set_new(out, "file_bytes", json_integer(p->file_bytes));
    json_object_set_new(out, "hooks", training_texts(h->hooks, h->n_hooks));
    return out;
}

/* What it will take, before it is taken. */
static sonde_status print_plan(const harvesting *h)
{
    json_t *out;

    if (!cli.json) {
        say_plan(h, say_line);
        return SONDE_OK;
    }
    out = cli_json("sonde.harvest.plan/1");
    json_object_update_new(out, plan_json(h));
    json_object_set_new(out, "missing_shards", json_integer(h->plan.n_shards - h->plan.n_there));
    json_object_set_new(out, "missing_bytes", json_integer(h->plan.missing_bytes));
    json_object_set_new(out, "free_bytes", cli_json_real(free_bytes()));
    json_object_set_new(out, "memory_bytes", cli_json_real(memory_bytes(h)));
    json_object_set_new(out, "layers", json_integer(h->plan.pass.n_layers));
    json_object_set_new(out, "tokens_per_s", cli_json_real(h->tokens_per_s));
    json_object_set_new(out, "seconds", cli_json_real(seconds_of(h)));
    return cli_json_write(out);
}

/* A disk that cannot take it is found before the first pass. */
static sonde_status check_disk(const harvesting *h)
{
    double has = free_bytes();

    /* where the system does not say, the disk will */
    if (has < 0 || has >= (double)h->plan.missing_bytes)
        return SONDE_OK;
    cli_fail(SONDE_E_IO, "'%s' needs %s bytes, the disk has %s free", output, cli_count(h->plan.missing_bytes),
             cli_count((int64_t)has));
    return cli_hint(SONDE_E_IO, "'--act-dtype bf16' takes half of it; '--tokens N' takes as many as fit");
}

/* ---- what it leaves ------------------------------------------------------------------------------------------------------- */

/* Arguments, texts, machine, for whoever asks later how it was made, and for --resume. */
static sonde_status write_manifest(const harvesting *h)
{
    json_t *out = cli_json("sonde.manifest/1"), *own = training_settings(settings);
    double before = json_number_value(json_object_get(h->earlier, "seconds"));

    json_object_set_new(out, "command", json_string("harvest"));
    json_object_set_new(out, "arguments", training_texts(h->call->words, h->call->n_words));
    json_object_set_new(out, "version", json_string(sonde_version()));
    json_object_set_new(own, "model", training_text(model_name));
    json_object_set_new(out, "settings", own);
    json_object_set(out, "data", h->files);
    json_object_set_new(out, "store", plan_json(h));
    json_object_set_new(out, "kernels", json_string(sonde_kernel_name()));
    json_object_set_new(out, "threads", json_integer(sonde_threads()));
    json_object_set_new(out, "began", training_earlier(h->earlier, "began", training_time((int64_t)time(NULL))));
    json_object_set_new(out, "written", training_time((int64_t)time(NULL)));
    json_object_set_new(out, "seconds", cli_json_real(before + cli_seconds() - h->started));
    json_object_set_new(out, "peak_memory_bytes", json_integer(cli_peak_bytes()));
    return training_manifest_write(out, output);
}

/* What is there now. */
static sonde_status print_report(const harvesting *h, double seconds)
{
    const sonde_harvest_plan *p = &h->plan;
    double n = (double)p->missing_rows / (double)p->n_rows * (double)p->n_tokens;
    json_t *out;

    if (!cli.json) {
        printf("%s: %s in %s, %s bytes\n", output, cli_counted(p->n_rows, "row"), cli_counted(p->n_shards, "shard"),
               cli_count(p->file_bytes));
        printf("%s written in %.1f s, %.0f tokens/s, peak memory %s\n", cli_counted(p->missing_rows, "row"), seconds,
               seconds > 0 ? n / seconds : 0, cli_bytes((double)cli_peak_bytes()));
        return SONDE_OK;
    }
    out = cli_json("sonde.harvest/1");
    json_object_set_new(out, "folder", training_text(output));
    json_object_update_new(out, plan_json(h));
    json_object_set_new(out, "written_rows", json_integer(p->missing_rows));
    json_object_set_new(out, "seconds", cli_json_real(seconds));
    json_object_set_new(out, "tokens_per_s", cli_json_real(n / seconds));
    return cli_json_write(out);
}

/* ---- the command ---------------------------------------------------------------------------------------------------------- */

/* How far it is. */
static sonde_status on_rows(int64_t n_rows, void *ctx)
{
    harvesting *h = ctx;

    cli_progress_step(&h->progress, (double)n_rows, (double)n_rows / (double)h->plan.missing_rows);
    return cli_check_interrupt();
}

/* How a harvest ends that did not come to its end. */
static sonde_status stop(harvesting *h, sonde_status status)
{
    sonde_harvest_plan now;
    sonde_error error = *sonde_last_error();

    /* what is asked below must not see the interruption that it answers */
    sonde_interrupt(false);
    CLI_TRY(sonde_harvest_get_plan(&now, h->harvest));
    if (status == SONDE_E_INTERRUPTED)
        cli_fail(status, "interrupted: %lld of %lld shards are written", (long long)now.n_there, (long long)now.n_shards);
    else
        cli_fail(status, "%s", error.message);
    /* what is not finite now is not finite again */
    if (status == SONDE_E_NONFINITE)
        return cli_hint(status, "%lld of %lld shards stay in '%s'", (long long)now.n_there, (long long)now.n_shards, output);
    return cli_hint(status, "'sonde harvest --resume -o %s' goes on; %lld of %lld shards stay", output,
                    (long long)now.n_there, (long long)now.n_shards);
}

/* All shards that are missing. */
static sonde_status gather(harvesting *h)
{
    double began = cli_seconds();
    sonde_status status;

    /* nothing is written before it is known to fit */
    CLI_TRY(check_disk(h));
    CLI_TRY(training_folder_open(output));
    /* before the first shard: --resume takes the options from there */
    CLI_TRY(write_manifest(h));
    cli_progress_begin(&h->progress, "rows");
    status = sonde_harvest_run(h->harvest, on_rows, h);
    cli_progress_end(&h->progress);
    if (status != SONDE_OK)
        return stop(h, status);
    CLI_TRY(write_manifest(h));
    return print_report(h, cli_seconds() - began);
}

/* The plan first; with --dry-run, nothing but the plan. */
static sonde_status work(harvesting *h)
{
    CLI_TRY(check_call(h));
    CLI_TRY(prepare(h));
    /* nobody asks for the time with -q */
    if (cli.dry_run || !cli.quiet)
        CLI_TRY(sonde_harvest_measure(&h->tokens_per_s, h->harvest, 0.5));
    if (cli.dry_run)
        return print_plan(h);
    say_plan(h, cli_note);
    return gather(h);
}

/* Everything of a call is freed here, however it ended. */
static sonde_status run(const cli_call *call)
{
    harvesting h = {.call = call, .files = json_array(), .started = cli_seconds()};
    sonde_status status = work(&h);

    sonde_harvest_free(h.harvest);
    sonde_corpus_free(h.corpus);
    free(h.hooks);
    free(h.points);
    free(h.ids);
    cli_model_close(&h.m);
    json_decref(h.files);
    json_decref(h.earlier);
    return status;
}

const cli_command cli_cmd_harvest = {
    .name = "harvest",
    .summary = "activations of many texts as a store on the disk, to train autoencoders from",
    .arguments = "[MODEL]",
    .min_arguments = 0,
    .max_arguments = 1,
    .examples =
        {"sonde harvest models/stories -f stories.jsonl --hook blocks.3.hook_resid_post -o store",
         "sonde harvest models/stories -f stories.jsonl --hook 'blocks.*.hook_mlp_out' --act-dtype bf16 -o mlps --dry-run",
         "sonde harvest --resume -o store"},
    .options = {options, settings, cli_dry_run_options},
    .notes =
        "Each document is a context of its own: the token that begins a text, then its tokens up to the context. Rows stand "
        "in the order\n"
        "of the texts. Each shard is a safetensors file with a tensor for each hook point, and tokens, document and "
        "position of each row;\n"
        "it appears when it is whole. Ctrl-C stops, and --resume goes on: the bytes are those of a run that never stopped.",
    .run = run,
};
