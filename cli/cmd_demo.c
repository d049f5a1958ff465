/* cmd_demo.c - `sonde demo`: a tour of what the program does, on the model that comes with it.  floor 10: cli
 *
 * The tour is a table of command lines with a few plain words each. Every one is shown and then run as it stands, in a
 * child process, so that what the tour shows is what a person gets who types it. Pictures and files go to one folder; a
 * page there (index.html) has them all.
 */
#include "common.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *model_path, *directory = "build/demo";
static int64_t n_tokens = 400000;

static const cli_option options[] = {
    {"model", 0, CLI_TEXT, &model_path, "DIR", 0, 0,
     "model to show; else the environment variable SONDE_MODEL, else the one that comes with sonde"},
    {"output", 'o', CLI_TEXT, &directory, "DIR", 0, 0, "folder to write to (build/demo)"},
    {"tokens", 0, CLI_INT, &n_tokens, "N", 1024, 1e9, "activations that the tour's autoencoder is trained on (400000)"},
    {0},
};

/* Short enough for a line of the terminal, with a name, a full stop and a second sentence to compare with. */
#define SENTENCE "Once upon a time, there was a little girl named Lily. She had a big red ball."

/* A stop of the tour. In words, {model}, {dir}, {layer} (the middle one), {sae}, {texts} and {tokens} stand for themselves; `file` is what
 * the command writes, `keep` where its stdout goes, NULL: to the reader. */
typedef struct stop {
    const char *title, *explanation, *file, *keep;
    const char *words[20]; /* the command line behind "sonde", NULL ends it */
} stop;

/* From what the model is to what it can do. Most leave BOS out, whose values dwarf the rest. */
static const stop stops[] = {
    {"What the model is",
     "A model is a stack of layers. This one's parts, as its own files say them:",
     NULL,
     NULL,
     {"info", "{model}"}},
    {"A sentence becomes tokens",
     "The model reads pieces of words. Each has a number and owns some bytes of the text:",
     NULL,
     NULL,
     {"tokenize", "{model}", SENTENCE}},
    {"Activations",
     "For every token, every layer writes a list of numbers: its activations. Here are those behind every layer, as a file\n"
     "that numpy and torch read, each tensor under the name of its hook point:",
     "activations.safetensors",
     NULL,
     {"act", "{model}", SENTENCE, "--hook", "blocks.*.hook_resid_post", "-o", "{dir}/activations.safetensors"}},
    {"The activations of one token",
     "--pos picks a token (-1 is the last), --token picks by text. The full stop at the end, behind the middle layer:",
     NULL,
     NULL,
     {"act", "{model}", SENTENCE, "--hook", "blocks.{layer}.hook_resid_post", "--pos", "-1"}},
    {"Neurons as a heatmap",
     "A row is a token, a column one of the 40 neurons that are busiest on this sentence; red is positive, blue negative.\n"
     "Columns that light up on certain words only are what interpretability research looks for:",
     "neurons.png",
     NULL,
     {"heatmap", "{model}", SENTENCE, "--hook", "blocks.{layer}.mlp.hook_post", "--neurons", "top:40", "--exclude-bos", "-o",
      "{dir}/neurons.png"}},
    {"How strong activations are, layer by layer",
     "The length (L2 norm) of the residual stream at each layer and token. Every layer adds to it; mostly it grows with "
     "depth:",
     "norms.png",
     NULL,
     {"heatmap", "{model}", SENTENCE, "--hook", "blocks.*.hook_resid_post", "--stat", "l2", "--exclude-bos", "-o",
      "{dir}/norms.png"}},
    {"The same, live in the terminal",
     "Without -o a picture is drawn as text; on a terminal with colours, in colours:",
     NULL,
     NULL,
     {"heatmap", "{model}", SENTENCE, "--hook", "blocks.*.hook_resid_post", "--stat", "l2", "--exclude-bos"}},
    {"Attention",
     "Which earlier tokens (columns) each token (row) looks at, for every head of the middle layer. Heads differ: some look "
     "at\n"
     "the token before, some at the start, some at a certain word:",
     "attention.png",
     NULL,
     {"heatmap", "{model}", SENTENCE, "--hook", "blocks.{layer}.attn.hook_pattern", "-o", "{dir}/attention.png"}},
    {"Which tokens are alike",
     "The cosine between the activations of every two tokens: 1 is the same direction, 0 has nothing in common:",
     "tokens.png",
     NULL,
     {"compare", "{model}", SENTENCE, "--by", "token", "--exclude-bos", "-o", "{dir}/tokens.png"}},
    {"How much each layer changes",
     "Cosine, correlation, distance and relative change from each layer to the next, mean over the tokens:",
     NULL,
     NULL,
     {"compare", "{model}", SENTENCE, "--by", "layer", "--exclude-bos"}},
    {"Layers against layers",
     "The same as a picture, every layer with every other:",
     "layers.png",
     NULL,
     {"compare", "{model}", SENTENCE, "--by", "layer", "--exclude-bos", "--values", "-o", "{dir}/layers.png"}},
    {"Statistics",
     "Mean, deviation, extremes, length, sparsity and kurtosis of each token's activations (and, in the JSON file, of each\n"
     "neuron's). A high kurtosis means that few neurons carry most of it:",
     NULL,
     NULL,
     {"stats", "{model}", SENTENCE, "--hook", "blocks.{layer}.mlp.hook_post", "--by", "token", "--exclude-bos"}},
    {"The same statistics as JSON, for programs",
     "Every number in full:",
     "stats.json",
     "stats.json",
     {"stats", "{model}", SENTENCE, "--hook", "blocks.{layer}.mlp.hook_post", "--exclude-bos", "--json"}},
    {"A story",
     "What all this is for: the model goes on with a text, one token after the other:",
     "story.txt",
     "story.txt",
     {"generate", "{model}", "Once upon a time", "--max-tokens", "120", "--temperature", "0.8", "--top-p", "0.95", "--seed",
      "7"}},
    {"Many texts",
     "What follows needs texts to look at. The model writes them itself:",
     "texts.jsonl",
     NULL,
     {"generate", "{model}", "-n", "{texts}", "--max-tokens", "200", "--batch", "64", "--seed", "1", "-o",
      "{dir}/texts.jsonl"}},
    {"A sparse autoencoder, trained from nothing",
     "One neuron often means several things. A sparse autoencoder writes each activation as a sum of a few directions out "
     "of many,\n"
     "and such features often mean one thing. This one learns from the middle layer, while you wait (L0: features of a "
     "token; EV:\n"
     "share of the variance that they explain):",
     "sae/training/curve.png",
     NULL,
     {"sae", "train", "{model}", "--data", "{dir}/texts.jsonl:40", "--hook", "blocks.{layer}.hook_resid_post", "--arch",
      "topk", "--k", "16", "--width", "4x", "--batch", "1024", "--tokens", "{tokens}", "-o", "{dir}/sae"}},
    {"What an autoencoder keeps",
     "{sae} is measured: the model reads on with the reconstruction in place of the activation. CE recovered is the share "
     "of its\n"
     "predictions that survives:",
     NULL,
     NULL,
     {"sae", "eval", "{model}", "{sae}", "-f", "{dir}/texts.jsonl", "--limit", "40"}},
    {"What its features respond to",
     "Every feature with the places where it is strongest, the tokens that it makes likelier, its neighbours:",
     "features.db",
     NULL,
     {"features", "{model}", "{sae}", "-f", "{dir}/texts.jsonl", "-o", "{dir}/features.db"}},
    {"The same as a page",
     "To search, sort and read in a browser; one file, which needs no network:",
     "features.html",
     NULL,
     {"dash", "{dir}/features.db", "-o", "{dir}/features.html"}},
    {"The features of each token",
     "And in the terminal: what is on in our sentence, and what is known of it:",
     NULL,
     NULL,
     {"explain", "{model}", "{sae}", SENTENCE, "--db", "{dir}/features.db", "--top", "2"}},
};
enum { N_STOPS = sizeof stops / sizeof *stops };

/* ---- command lines ----------------------------------------------------------------------------------------------- */

/* What the words in braces stand for. */
typedef struct setting {
    const char *model, *directory;
    char layer[24], tokens[24], texts[24];
    char sae[4200]; /* the one that comes with the program, of its own model; else the tour's */
} setting;

/* `word` with what stands in braces put in. Owns: *out (free). */
static sonde_status expand(char **out, const char *word, const setting *s)
{
    const struct {
        const char *name, *value;
    } names[] = {{"{model}", s->model},   {"{dir}", s->directory}, {"{layer}", s->layer},
                 {"{tokens}", s->tokens}, {"{texts}", s->texts},   {"{sae}", s->sae}};
    enum { N_NAMES = sizeof names / sizeof *names };
    /* Room for each of them once: no word names one twice. */
    size_t n = 0, room = strlen(word) + strlen(s->model) + strlen(s->directory) + sizeof *s;
    char *to;

    CLI_TRY(CLI_NEW(to, (int64_t)room + 1));
    while (*word != '\0') {
        int i = 0;
        /* The name that begins here; N_NAMES if there is none, and the character stands for itself. */
        while (i < N_NAMES && strncmp(word, names[i].name, strlen(names[i].name)) != 0)
            i++;
        if (i == N_NAMES) {
            to[n++] = *word++;
            continue;
        }
        memcpy(to + n, names[i].value, strlen(names[i].value));
        n += strlen(names[i].value);
        word += strlen(names[i].name);
    }
    *out = to;
    return SONDE_OK;
}

enum { MOST_WORDS = 22 };
/* A command line as words of its own. */
typedef struct command_line {
    char *words[MOST_WORDS]; /* "sonde" first, NULL behind the last */
    int n;
} command_line;

/* Words that were never filled are NULL, which free takes. */
static void command_line_release(command_line *line)
{
    for (int i = 0; i < line->n; i++)
        free(line->words[i]);
}

/* The command line of a stop. May be half-filled on failure; release it in any case. */
static sonde_status command_line_init(command_line *line, const stop *s, const setting *with)
{
    *line = (command_line){.n = 1};
    CLI_TRY(expand(&line->words[0], "sonde", with));
    for (int i = 0; s->words[i] != NULL; i++)
        CLI_TRY(expand(&line->words[line->n++], s->words[i], with));
    return SONDE_OK;
}

/* As a person would type it: words that the shell would split or expand in quotes. */
static void print_command(FILE *to, const command_line *line)
{
    for (int i = 0; i < line->n; i++) {
        /* Single quotes, unless the word has one of its own. */
        const char *quote = strpbrk(line->words[i], " *'{}$") == NULL ? ""
                            : strchr(line->words[i], '\'') != NULL    ? "\""
                                                                      : "'";
        fprintf(to, "%s%s%s%s", i > 0 ? " " : "", quote, line->words[i], quote);
    }
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

/* In the child: the command with its stdout to a file, to the reader, or nowhere. Never returns. */
static void run_in_child(const command_line *line, const char *keep)
{
    const char *to = keep != NULL ? keep : cli.json || cli.quiet ? "/dev/null" : NULL;

    if (to != NULL && freopen(to, "w", stdout) == NULL)
        _exit(cli_report(cli_fail(SONDE_E_IO, "cannot write '%s': %s", to, strerror(errno))));
    /* A child starts from settings as a new process has them: --json of the tour is not the command's. */
    cli = (cli_settings){.quiet = true};
    _exit(cli_main(line->n, (char **)line->words));
}

/* The status whose exit code a child left with. */
static sonde_status status_of_child(int code)
{
    /* Several statuses may share a code; the first is as good as any, since the child has printed the message. */
    for (int s = 0; s > -64; s--)
        if (sonde_status_exit_code((sonde_status)s) == code)
            return (sonde_status)s;
    return SONDE_E_STATE;
}

/* Runs a command line in a child, which has its own options and its own threads, and waits for it. */
static sonde_status run_command_line(const command_line *line, const char *keep)
{
    int how = 0;
    pid_t child;

    /* What is buffered would be printed twice, by the child too. */
    fflush(stdout);
    child = fork();
    if (child < 0)
        return cli_fail(SONDE_E_IO, "cannot start a process: %s", strerror(errno));
    if (child == 0)
        run_in_child(line, keep);
    /* A signal that interrupts waiting does not end the child. */
    while (waitpid(child, &how, 0) < 0 && errno == EINTR)
        continue;
    /* Ctrl-C reaches both: it is reported as such, not as a failure of the command. */
    CLI_TRY(cli_check_interrupt());
    if (WIFEXITED(how) && WEXITSTATUS(how) == 0)
        return SONDE_OK;
    return cli_fail(WIFEXITED(how) ? status_of_child(WEXITSTATUS(how)) : SONDE_E_STATE, "the tour stopped at 'sonde %s'",
                    line->words[1]);
}

/* Makes a folder and those above it. */
static sonde_status make_directory(const char *path)
{
    size_t n = strlen(path);
    char *part;
    sonde_status status = SONDE_OK;

    CLI_TRY(CLI_NEW(part, (int64_t)n + 1));
    /* Every prefix that ends at a slash, from the outside in; folders that exist are fine. */
    for (size_t i = 1; i <= n && status == SONDE_OK; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            status = cli_fail(SONDE_E_IO, "cannot make the folder '%s': %s", part, strerror(errno));
    }
    free(part);
    return status;
}

/* ---- the page ---------------------------------------------------------------------------------------------------- */

/* Text with what HTML would take for its own escaped. */
static void print_html(FILE *to, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '<' || *text == '&' || *text == '>')
            fprintf(to, "&#%d;", *text);
        else
            putc(*text, to);
    }
}

/* Whether `text` ends so. */
static bool ends_with(const char *text, const char *end)
{
    return strlen(text) >= strlen(end) && strcmp(text + strlen(text) - strlen(end), end) == 0;
}

/* What a stop wrote: its words, its command line, the picture or a link. */
static void write_stop(FILE *to, const stop *s, const setting *with)
{
    command_line line;
    char *explanation = NULL;

    /* Stops without a file were for the terminal only. */
    if (s->file == NULL)
        return;
    fprintf(to, "<h2>");
    print_html(to, s->title);
    fprintf(to, "</h2>\n<p>");
    if (expand(&explanation, s->explanation, with) == SONDE_OK)
        print_html(to, explanation);
    free(explanation);
    fprintf(to, "</p>\n<pre>$ ");
    if (command_line_init(&line, s, with) == SONDE_OK)
        print_command(to, &line);
    command_line_release(&line);
    fprintf(to, "%s%s</pre>\n", s->keep != NULL ? " > " : "", s->keep != NULL ? s->keep : "");
    /* Links are relative, so that the folder can be moved or sent. */
    if (ends_with(s->file, ".png"))
        fprintf(to, "<img src=\"%s\" alt=\"\">\n", s->file);
    else
        fprintf(to, "<p><a href=\"%s\">%s</a></p>\n", s->file, s->file);
}

/* All that was written, on one page, beside it. */
static sonde_status write_page(const setting *with)
{
    char *path, *part;
    FILE *to = NULL;
    sonde_status status = SONDE_OK;

    /* Written beside and renamed: a page is whole or not there. */
    CLI_TRY(expand(&path, "{dir}/index.html", with));
    status = expand(&part, "{dir}/index.html.part", with);
    if (status == SONDE_OK)
        to = fopen(part, "w");
    if (to != NULL) {
        fprintf(
            to,
            "<!doctype html>\n<meta charset=\"utf-8\">\n<title>sonde: the tour</title>\n"
            "<style>body{font:16px/1.5 sans-serif;max-width:960px;margin:2em auto;padding:0 1em}"
            "img{max-width:100%%}pre{overflow-x:auto;background:#f2f2f2;padding:.5em}</style>\n<h1>sonde: the tour</h1>\n");
        for (int i = 0; i < N_STOPS; i++)
            write_stop(to, &stops[i], with);
    }
    if (status == SONDE_OK && (to == NULL || ferror(to) || fclose(to) != 0 || rename(part, path) != 0))
        status = cli_fail(SONDE_E_IO, "cannot write '%s': %s", path, strerror(errno));
    free(path);
    free(part);
    return status;
}

/* ---- the tour ---------------------------------------------------------------------------------------------------- */

/* One stop: its words, the command line, and what that prints. */
static sonde_status visit(int i, const setting *with)
{
    const stop *s = &stops[i];
    command_line line;
    char *keep = NULL, *explanation = NULL;
    sonde_status status;

    CLI_TRY_DONE(command_line_init(&line, s, with));
    CLI_TRY_DONE(expand(&explanation, s->explanation, with));
    /* stdout of a stop goes to a file of the folder where a program is to read it. */
    if (s->keep != NULL) {
        CLI_TRY_DONE(CLI_NEW(keep, (int64_t)(strlen(with->directory) + strlen(s->keep)) + 2));
        sprintf(keep, "%s/%s", with->directory, s->keep);
    }
    /* The command as a person would type it, its redirection included, before its output. */
    if (!cli.json) {
        printf("\n%d. %s\n%s\n\n$ ", i + 1, s->title, explanation);
        print_command(stdout, &line);
        printf("%s%s\n", keep != NULL ? " > " : "", keep != NULL ? keep : "");
    }
    status = run_command_line(&line, keep);
done:
    command_line_release(&line);
    free(keep);
    free(explanation);
    return status;
}

/* --json: what was written, instead of the tour's words. */
static sonde_status print_json(const setting *with)
{
    json_t *out = cli_json("sonde.demo/1"), *files = json_array();

    for (int i = 0; i < N_STOPS; i++)
        if (stops[i].file != NULL)
            json_array_append_new(files, json_string(stops[i].file));
    /* The page comes last: it is written after all stops. */
    json_array_append_new(files, json_string("index.html"));
    json_object_set_new(out, "model", json_string(with->model));
    json_object_set_new(out, "directory", json_string(with->directory));
    json_object_set_new(out, "files", files);
    return cli_json_write(out);
}

/* What lies where, at the end. */
static void print_files(const setting *with)
{
    cli_table *table = cli_table_new("ll", "file\twhat it is");

    for (int i = 0; i < N_STOPS; i++)
        if (stops[i].file != NULL)
            cli_table_row(table, "%s/%s\t%s", with->directory, stops[i].file, stops[i].title);
    cli_table_row(table, "%s/index.html\tall of it on one page", with->directory);
    printf("\nthat was the tour; all of it lies in '%s'\n\n", with->directory);
    if (cli_table_print(table) == SONDE_OK)
        printf("\n'sonde --help' lists the commands; each has examples in its own --help\n");
}

/* An earlier tour's training would be gone on with: without its state, and what came of it, this one begins anew in the same folder. */
static void forget_training(void)
{
    static const char *const names[] = {"training/state.safetensors", "sae_weights.safetensors"};
    char path[4300];

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if ((size_t)snprintf(path, sizeof path, "%s/sae/%s", directory, names[i]) < sizeof path)
            (void)unlink(path); /* most tours are the first ones */
}

/* The middle layer; the model is closed again before any child is made. */
static sonde_status look_at_model(setting *with)
{
    cli_model m;

    CLI_TRY(cli_model_open(&m, with->model));
    snprintf(with->layer, sizeof with->layer, "%lld", (long long)((m.config->n_layers - 1) / 2));
    cli_model_close(&m);
    return SONDE_OK;
}

/* The model is looked at first: a wrong one is one clean error, and no half of a tour. */
static sonde_status run(const cli_call *call)
{
    /* The option wins over the environment, and that over the model that comes with the program. */
    setting with = {.model = model_path != NULL ? model_path : getenv("SONDE_MODEL"), .directory = directory};

    (void)call;
    /* the tour is the same for any model; with none of its own it shows the one that came along, and its autoencoder */
    snprintf(with.sae, sizeof with.sae, "%s/sae", directory);
    if (with.model == NULL || with.model[0] == '\0') {
        const char *sae = cli_shipped_model("stories-sae");
        if (sae != NULL)
            snprintf(with.sae, sizeof with.sae, "%s", sae);
        with.model = cli_shipped_model("stories");
    }
    snprintf(with.tokens, sizeof with.tokens, "%lld", (long long)n_tokens);
    /* three hundred of some two hundred tokens, read several times; fewer for a short training */
    snprintf(with.texts, sizeof with.texts, "%d", n_tokens >= 300000 ? 300 : 8 + (int)(n_tokens / 1000));
    if (with.model == NULL)
        return cli_fail(SONDE_E_NOTFOUND, "no model to show: give --model DIR or set SONDE_MODEL");
    /* Before the first stop: it needs the middle layer, and a bad model should fail with its own message. */
    CLI_TRY(look_at_model(&with));
    CLI_TRY(make_directory(directory));
    forget_training();
    if (!cli.json)
        printf("sonde: a tour of '%s'\n", with.model);
    for (int i = 0; i < N_STOPS; i++)
        CLI_TRY(visit(i, &with));
    CLI_TRY(write_page(&with));
    if (cli.json)
        return print_json(&with);
    print_files(&with);
    return SONDE_OK;
}

const cli_command cli_cmd_demo = {
    .name = "demo",
    .summary = "a tour of a model: activations, heatmaps, attention, statistics, a story, an autoencoder and its features",
    .arguments = "",
    .min_arguments = 0,
    .max_arguments = 0,
    .examples = {"sonde demo --tokens 20000", "SONDE_MODEL=stories15M sonde demo --tokens 20000 -o /tmp/tour"},
    .options = {options},
    .notes = "Shows each command line and what it prints, and writes pictures, activations, statistics, a story, an "
             "autoencoder and a page\n"
             "of features to one folder, with a page (index.html) that has them all.",
    .run = run,
};
