/* cli/cli.h - what every command of the program stands on.                     floor 10: cli
 *
 * A command is a file cmd_<name>.c that ends with one `const cli_command cli_cmd_<name>`, and one line in CLI_COMMANDS.
 * Its options are rows of a table: from the rows come parsing, bounds errors, --help and the completion of bash, zsh and
 * fish. Results go to stdout, everything else to stderr. Commands stand on the public headers of the library only.
 *
 * From easy to hard: errors, options and commands, output, progress, models and texts, batches.
 */
#ifndef CLI_H
#define CLI_H

#include <sonde/base.h>
#include <sonde/format.h>
#include <sonde/hook.h>
#include <sonde/kernel.h>
#include <sonde/model.h>
#include <sonde/run.h>
#include <sonde/tensor.h>
#include <sonde/text.h>

#include <jansson.h>
#include <stdio.h>

/* The one list of commands, in the order of `sonde --help`. */
#define CLI_COMMANDS(X) \
    X(info)             \
    X(tokenize)         \
    X(tokenizer_train)  \
    X(act)              \
    X(harvest)          \
    X(stats)            \
    X(heatmap)          \
    X(compare)          \
    X(loss)             \
    X(generate)         \
    X(lm_train)         \
    X(sae_train)        \
    X(sae_eval)         \
    X(sae_info)         \
    X(sae_convert)      \
    X(features)         \
    X(features_export)  \
    X(explain)          \
    X(dash)             \
    X(toy)              \
    X(demo)             \
    X(bench_forward)    \
    X(bench_lm)         \
    X(bench_generate)   \
    X(bench_sae)        \
    X(bench_toy)        \
    X(doctor)           \
    X(completion)

/* ---- errors ------------------------------------------------------------------------------------------------------ */

/* Records an error of the program itself (one line, problem first, subject in single quotes) and returns `status`; the
 * library's own errors are forwarded as they are. A hint says what to do about whichever came last. */
sonde_status cli_fail(sonde_status status, const char *format, ...) SONDE_PRINTF(2, 3);
sonde_status cli_hint(sonde_status status, const char *format, ...) SONDE_PRINTF(2, 3);

/* A wrong use of the command line: SONDE_E_ARG, with a pointer to the command's --help as its hint. */
sonde_status cli_misuse(const char *format, ...) SONDE_PRINTF(1, 2);

/* The answer is "no" (nothing matched): `message` goes to stderr and the program will exit 1. Returns SONDE_OK. */
sonde_status cli_answer_no(const char *format, ...) SONDE_PRINTF(1, 2);

/* A remark on stderr: "sonde: note: ...", silenced by -q. */
void cli_note(const char *format, ...) SONDE_PRINTF(1, 2);

#define CLI_TRY(call)                         \
    do {                                      \
        sonde_status status_of_try_ = (call); \
        if (status_of_try_ != SONDE_OK)       \
            return status_of_try_;            \
    } while (0)
#define CLI_TRY_DONE(call)      \
    do {                        \
        status = (call);        \
        if (status != SONDE_OK) \
            goto done;          \
    } while (0)

/* n zeroed objects, or more room for them (what is new is not zeroed); SONDE_E_NOMEM is recorded if there is none.
 * free() gives them back. */
void *cli_alloc(int64_t n, size_t size);
void *cli_resize(void *p, int64_t n, size_t size);
#define CLI_NEW(p, n) (((p) = cli_alloc((n), sizeof *(p))) ? SONDE_OK : SONDE_E_NOMEM)

/* Makes room for one more element: `p` has room for *capacity and holds n. */
#define CLI_GROW(p, n, capacity) cli_grow((void **)&(p), (n), &(capacity), sizeof *(p))
sonde_status cli_grow(void **p, int64_t n, int64_t *capacity, size_t size);

/* ---- options and commands ---------------------------------------------------------------------------------------- */

typedef enum cli_kind {
    CLI_END = 0,
    CLI_FLAG,   /* bool; --no-NAME takes it back (--NAME if it is called no-NAME) */
    CLI_INT,    /* int64_t within [min, max] */
    CLI_REAL,   /* double within [min, max] */
    CLI_TEXT,   /* const char * */
    CLI_CHOICE, /* int64_t: index into `value`, "f32|bf16" */
    CLI_LIST    /* cli_strings: may be repeated */
} cli_kind;

typedef struct cli_strings {
    const char **items;
    int64_t n, capacity;
} cli_strings;

/* One option. What `to` points at before parsing is the default. A table ends with a row {0}. */
typedef struct cli_option {
    const char *name; /* without the dashes */
    char letter;      /* short form, or 0 */
    cli_kind kind;
    void *to;
    const char *value; /* name of the value in --help ("N", "FILE": completed as a file), or the choices */
    double min, max;   /* bounds, for numbers */
    const char *help;  /* one line */
} cli_option;

/* A call of a command: its positional arguments, and all words behind its name as they were typed. */
typedef struct cli_call {
    const char **arguments;
    int n_arguments;
    const char *const *words;
    int n_words;
} cli_call;

typedef struct cli_command {
    const char *name;      /* "act"; two words for <noun> <verb>: "bench forward" */
    const char *summary;   /* one line for `sonde --help`, lower case, no full stop */
    const char *arguments; /* "MODEL [TEXT]" */
    int min_arguments, max_arguments;
    const char *examples[5];      /* at least two command lines that work; NULL ends them */
    const cli_option *options[8]; /* tables: its own and shared ones; NULL ends them (the common ones are always added) */
    const char *notes;            /* paragraphs behind the options in --help, or NULL */
    sonde_status (*run)(const cli_call *call);
} cli_command;

#define CLI_DECLARE(name) extern const cli_command cli_cmd_##name;
CLI_COMMANDS(CLI_DECLARE)
#undef CLI_DECLARE

/* All commands, ending with NULL. */
extern const cli_command *const cli_commands[];

/* Values of the shared options, filled before a command runs. */
typedef enum cli_bos { CLI_BOS_AUTO, CLI_BOS_ALWAYS, CLI_BOS_NEVER } cli_bos;
typedef struct cli_settings {
    bool json, quiet, verbose, help, version, dry_run; /* common */
    int64_t threads;                                   /* common; 0: all */
    const char *kernel;                                /* common; NULL: automatic */
    int64_t products;                                  /* model: sonde_products */
    cli_strings hooks;                                 /* hooks */
    cli_strings files, ids;                            /* text */
    const char *field;
    int64_t limit; /* documents; 0: all */
    int64_t bos;   /* cli_bos */
    bool no_special, truncate;
} cli_settings;
extern cli_settings cli;

/* The shared tables. */
extern const cli_option cli_common_options[];  /* --json -q -v --threads --kernel --help --version */
extern const cli_option cli_model_options[];   /* --dtype */
extern const cli_option cli_hook_options[];    /* --hook */
extern const cli_option cli_text_options[];    /* -f --ids --field --limit --no-special --bos --truncate */
extern const cli_option cli_dry_run_options[]; /* --dry-run */

/* Fills options and arguments of a command from the command line behind its name. Owns: what it parsed lives until exit.
 * Errors: SONDE_E_ARG, one line, with the nearest option as a hint. */
sonde_status cli_parse(cli_call *out, const cli_command *command, int n, char **arguments);

/* Whether the command line has an option whose value goes to `to`: else what stands there is the default. */
bool cli_is_given(const void *to);

/* Place of a name among names between bars, of which each may have others behind a slash ("a|b/also-b|c"); false if it is none of them. */
bool cli_find_choice(int64_t *out, const char *text, const char *names);

/* Calls `fn` for each option of a command, common ones last. */
typedef void cli_option_fn(const cli_option *option, void *ctx);
void cli_each_option(const cli_command *command, cli_option_fn *fn, void *ctx);

/* A command by its name ("bench forward"), or NULL. */
const cli_command *cli_find_command(const char *name);

/* The verb of a command that has this noun ("forward" for "bench"), else NULL. The first word of any command, copied, and
 * what follows it ("" for most). Whether command i is the first of its noun; a command of one word always is. */
const char *cli_verb_of(const cli_command *command, const char *noun);
const char *cli_noun_of(char *out, size_t out_bytes, const cli_command *command);
bool cli_begins_noun(int i);

/* The help of a command on stdout, and the usage of the program on a stream. */
void cli_print_help(const cli_command *command);
void cli_print_usage(FILE *stream);

/* "--dtype", "--no-special": how the opposite of a flag is called. */
void cli_opposite(char *out, size_t out_bytes, const char *flag);

/* The nearest of `n` words to `word`, or NULL if none is near. */
const char *cli_nearest(const char *word, const char *const *words, int64_t n);

/* A list of integers "3,-1" into a fresh array (free). Errors: SONDE_E_ARG names the option and the piece. */
sonde_status cli_parse_integers(int64_t **out, int64_t *n, const char *text, const char *option);

/* "18M": a number with k, M or B behind it. Errors: SONDE_E_ARG names the option. */
sonde_status cli_parse_count(int64_t *out, const char *text, const char *option);

/* ---- output ------------------------------------------------------------------------------------------------------ */

/* Whether colour may be used on a stream: a terminal, NO_COLOR unset, TERM not "dumb". */
bool cli_has_colour(FILE *stream);

/* A text as it may be shown: control characters and bytes that are not UTF-8 become \n, \t, \xHH; a backslash stays.
 * Owns: *out is the caller's (free). Errors: SONDE_E_NOMEM. */
sonde_status cli_escape(char **out, const char *text, size_t n_bytes);

/* A hash that goes on over n bytes: FNV-1a with 64 bits. */
#define CLI_HASH_START 0xcbf29ce484222325u
uint64_t cli_hash(uint64_t hash, const void *bytes, size_t n);

/* A text to stdout: as it is into a file or a pipe; onto a terminal with newlines and tabs kept and the rest escaped. */
sonde_status cli_print_text(const char *text, size_t n_bytes);

/* Columns that a UTF-8 text takes on a terminal. */
int64_t cli_width(const char *text);

/* A table that aligns its columns: `align` has one l or r a column; rows (and headers, which
 * may be NULL) are cells joined by tabs. print writes it to
 * stdout and frees it. Running out of memory shows at print. */
typedef struct cli_table cli_table;
cli_table *cli_table_new(const char *align, const char *headers);
void cli_table_row(cli_table *table, const char *format, ...) SONDE_PRINTF(2, 3);
sonde_status cli_table_print(cli_table *table);

/* A JSON object that starts with "schema"; write prints it as one line and gives it back (on failure too). A number that
 * is not finite is null. Errors: SONDE_E_NOMEM, SONDE_E_IO. */
json_t *cli_json(const char *schema);
json_t *cli_json_real(double x);
sonde_status cli_json_write(json_t *object);

/* Whether stdout has failed: SONDE_E_IO with the system's words; a closed pipe ends the program quietly. Long output calls
 * it between pieces. */
sonde_status cli_check_stdout(void);

/* The moment as ISO 8601, in UTC. Owns: a static buffer. */
const char *cli_now(void);

/* "12.3 MB", "1,234,567", and "1 text" or "1,234 texts", in buffers that rotate (8 of them). */
const char *cli_bytes(double n_bytes);
const char *cli_count(int64_t n);
const char *cli_counted(int64_t n, const char *what);

/* Peak resident memory of this process in bytes; seconds of a steady clock. */
int64_t cli_peak_bytes(void);
double cli_seconds(void);

/* ---- progress ----------------------------------------------------------------------------------------------------- */

/* Rate, time left and memory on stderr: redrawn on a terminal, a line every 10 s elsewhere, nothing with -q or for what
 * takes less than a second. The rate is that of the last 10 to 20 seconds. */
typedef struct cli_progress {
    const char *unit; /* "tokens" */
    double started, shown, done;
    struct {
        double time, done;
    } marks[2];    /* the older one is what the rate is measured from */
    char note[64]; /* what else to show at the end of the line, or "" */
    bool is_drawn;
} cli_progress;
void cli_progress_begin(cli_progress *p, const char *unit);
void cli_progress_step(cli_progress *p, double done, double share); /* share of the whole, 0 to 1; -1 if not known */
void cli_progress_end(cli_progress *p);

/* True once Ctrl-C was pressed. As a status: SONDE_E_INTERRUPTED. */
bool cli_interrupted(void);
sonde_status cli_check_interrupt(void);

/* ---- models and texts ---------------------------------------------------------------------------------------------- */

/* A model and its tokenizer. `tokenizer` is NULL until cli_model_tokenizer; `model` may stay NULL (tokenize). */
typedef struct cli_model {
    const char *path;
    sonde_model *model;
    sonde_tokenizer *tokenizer;
    const sonde_config *config; /* of the model, or NULL */
} cli_model;

sonde_status cli_model_open(cli_model *out, const char *path); /* with --dtype */
sonde_status cli_model_tokenizer(cli_model *m);                /* loads it once; an error if there is none */
bool cli_model_has_tokenizer(cli_model *m);                    /* loads it if it is there; never an error */
void cli_model_close(cli_model *m);

/* The folder of a model that comes with the program ("stories", "one-layer"), NULL if it is not there. Owns: a static string. */
const char *cli_shipped_model(const char *name);

/* The points that the --hook patterns name, as indices into sonde_model_hook_points, in the model's order; none is
 * SONDE_E_HOOK. Owns: *out is the caller's (free). */
sonde_status cli_match_hooks(int64_t **out, int64_t *n, const sonde_model *model);

/* What a token looks like in a table: its bytes, escaped, or #id where there is no tokenizer. Owns: *out (free). */
sonde_status cli_token_label(char **out, const cli_model *m, int32_t id);

/* One text as tokens. All pointers borrow until the next call on the source. */
typedef struct cli_sequence {
    const int32_t *ids;
    int64_t n;
    const int64_t *start, *end; /* bytes of the text that each token owns (empty for what was added); NULL for --ids */
    const char *text;           /* NULL for --ids */
    size_t text_bytes;
    int64_t index;     /* number of the document, from 0 */
    bool has_bos;      /* the first id is the BOS token */
    bool is_truncated; /* cut at the context */
} cli_sequence;

/* What to do with sequences longer than the model's context. */
typedef enum cli_too_long { CLI_LONG_FAILS, CLI_LONG_IS_CUT, CLI_LONG_IS_FINE } cli_too_long;

/* A stream of sequences: the positional texts (if any), or --ids, or the files of -f; exactly one kind, else SONDE_E_ARG.
 * --truncate turns CLI_LONG_FAILS into CLI_LONG_IS_CUT. The tokenizer is loaded only if there is text.
 * Owns: *out is the caller's: cli_source_close. */
typedef struct cli_source cli_source;
sonde_status cli_source_open(cli_source **out, cli_model *m, const char *const *texts, int n_texts, cli_too_long too_long);
void cli_source_close(cli_source *source);

/* The next sequence; *has_more is false at the end. Errors: SONDE_E_RANGE (longer than the context, both numbers), those of
 * documents and tokenizers. */
sonde_status cli_source_next(cli_source *source, cli_sequence *out, bool *has_more);
double cli_source_progress(const cli_source *source); /* 0 to 1, -1 if not known */

/* Id of the BOS token: the tokenizer's, else the config's; -1 if there is none. */
int32_t cli_bos_id(const cli_model *m);

/* ---- batches ----------------------------------------------------------------------------------------------------- */

/* Sequences side by side, padded to the longest: what sonde_run_forward takes. Zero-initialise. */
typedef struct cli_batch {
    int32_t *tokens;  /* (B,T) */
    int64_t *lengths; /* (B) */
    int64_t B, T, n_tokens;
    int64_t first; /* index of row 0 among all sequences */
    int32_t *flat; /* ids one after another; the last sequence is `pending` if it did not fit */
    int64_t n_flat, flat_capacity, row_capacity, n_pending;
    bool has_pending;
} cli_batch;

enum { CLI_BATCH_TOKENS = 1024 };

/* Gathers sequences while B x T stays within max_tokens (one sequence at least); B is 0 at the end. */
sonde_status cli_batch_next(cli_batch *batch, cli_source *source, int64_t max_tokens);
void cli_batch_release(cli_batch *batch);

#endif
