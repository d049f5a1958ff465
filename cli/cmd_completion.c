/* cmd_completion.c - `sonde completion`: completion for bash, zsh and fish, from the option tables.   floor 10: cli
 *
 * Each shell has a script of its own kind, and each is printed from the same tables that parse the command line: an option
 * that exists is completed, and nothing else. Values with choices are offered; other values and arguments are files.
 */
#include "cli.h"

#include <string.h>

/* No options of its own: those that all commands have are added by the parser. */
static const cli_option options[] = {{0}};

/* The verbs of a noun, in their order: "train eval". */
static void print_verbs(const char *noun)
{
    const char *between = "";

    for (int i = 0; cli_commands[i] != NULL; i++) {
        const char *verb = cli_verb_of(cli_commands[i], noun);
        if (verb == NULL)
            continue;
        printf("%s%s", between, verb);
        between = " ";
    }
}

/* A text inside single quotes of a shell, with some characters behind a backslash and quotes taken out. */
static void print_quoted(const char *text, const char *escaped)
{
    for (; *text != '\0'; text++) {
        /* a quote would end the quoted text */
        if (*text == '\'')
            continue;
        if (strchr(escaped, *text) != NULL)
            putchar('\\');
        putchar(*text);
    }
}

/* "f32|bf16" as "f32 bf16". */
static void print_choices(const char *value)
{
    for (; *value != '\0'; value++)
        putchar(*value == '|' ? ' ' : *value);
}

/* ---- bash -------------------------------------------------------------------------------------------------------- */

/* " --output -o" */
static void bash_option(const cli_option *option, void *ctx)
{
    (void)ctx;
    printf(" --%s", option->name);
    if (option->letter != 0)
        printf(" -%c", option->letter);
}

/* After an option with choices, these are offered. */
static void bash_choice(const cli_option *option, void *ctx)
{
    if (option->kind != CLI_CHOICE)
        return;
    printf("        '%s --%s') COMPREPLY=($(compgen -W '", (const char *)ctx, option->name);
    print_choices(option->value);
    printf("' -- \"$word\")); return ;;\n");
}

/* A function that looks at the words before the cursor: commands, then choices, then options. */
static void print_bash(void)
{
    char noun[64];

    printf("# bash completion of sonde; source it, or put it into /etc/bash_completion.d\n"
           "_sonde() {\n"
           "    local word=\"${COMP_WORDS[COMP_CWORD]}\" before=\"${COMP_WORDS[COMP_CWORD-1]}\" name=\"${COMP_WORDS[1]}\" "
           "options=''\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W '");
    /* The first word: nouns, each once. */
    for (int i = 0; cli_commands[i] != NULL; i++) {
        cli_noun_of(noun, sizeof noun, cli_commands[i]);
        if (cli_begins_noun(i))
            printf("%s ", noun);
    }
    printf("--help --version' -- \"$word\"))\n        return\n    fi\n"
           "    case \"$name %s\" in\n",
           "${COMP_WORDS[2]}");
    /* Commands of two words: once both stand there, they are looked up together. */
    for (int i = 0; cli_commands[i] != NULL; i++) {
        if (strchr(cli_commands[i]->name, ' ') != NULL)
            printf("        '%s') name='%s' ;;\n", cli_commands[i]->name, cli_commands[i]->name);
    }
    printf("    esac\n    case \"$name $before\" in\n");
    for (int i = 0; cli_commands[i] != NULL; i++)
        cli_each_option(cli_commands[i], bash_choice, (void *)cli_commands[i]->name);
    printf("    esac\n    case \"$name\" in\n");
    /* Options of each command, by its full name. */
    for (int i = 0; cli_commands[i] != NULL; i++) {
        const char *verb = cli_noun_of(noun, sizeof noun, cli_commands[i]);
        printf("        '%s') options='", cli_commands[i]->name);
        cli_each_option(cli_commands[i], bash_option, NULL);
        printf("' ;;\n");
        /* a noun alone offers its verbs */
        if (verb[0] != '\0' && cli_begins_noun(i)) {
            printf("        '%s') verbs='", noun);
            print_verbs(noun);
            printf("' ;;\n");
        }
    }
    /* A word that begins with a dash is an option; else verbs, and files where bash has nothing better. */
    printf(
        "    esac\n"
        "    case \"$word\" in\n"
        "        -*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")) ;;\n"
        "        *) [ \"$COMP_CWORD\" -eq 2 ] && [ -n \"$verbs\" ] && COMPREPLY=($(compgen -W \"$verbs\" -- \"$word\")) ;;\n"
        "    esac\n}\n"
        "complete -o default -F _sonde sonde\n");
}

/* ---- zsh --------------------------------------------------------------------------------------------------------- */

/* One or two lines of _arguments: the long form, and the letter if there is one. */
static void zsh_option(const cli_option *option, void *ctx)
{
    (void)ctx;
    /* A repeatable option begins with a star, so that zsh offers it again. */
    for (int is_letter = 0; is_letter <= (option->letter != 0); is_letter++) {
        printf("            '%s", option->kind == CLI_LIST ? "*" : "");
        if (is_letter)
            printf("-%c%s[", option->letter, option->value != NULL ? "+" : "");
        else
            printf("--%s%s[", option->name, option->value != NULL ? "=" : "");
        /* Brackets and colons would end the description. */
        print_quoted(option->help, "[]:\\");
        putchar(']');
        /* Values: choices in brackets, files where the option takes one, else only the name of the value. */
        if (option->kind == CLI_CHOICE) {
            printf(":%s:(", option->name);
            print_choices(option->value);
            putchar(')');
        } else if (option->value != NULL) {
            printf(":%s:%s", option->value, strcmp(option->value, "FILE") == 0 ? "_files" : "");
        }
        printf("' \\\n");
    }
}

/* The commands with what they do; a noun of several verbs has these. */
static void zsh_commands(void)
{
    char noun[64];

    for (int i = 0; cli_commands[i] != NULL; i++) {
        const char *verb = cli_noun_of(noun, sizeof noun, cli_commands[i]);
        bool is_alone = true;
        if (!cli_begins_noun(i))
            continue;
        for (int k = i + 1; verb[0] != '\0' && cli_commands[k] != NULL; k++)
            is_alone &= cli_verb_of(cli_commands[k], noun) == NULL;
        printf("        '%s:", noun);
        if (is_alone)
            print_quoted(cli_commands[i]->summary, ":\\");
        else
            print_verbs(noun);
        printf("'\n");
    }
}

/* _describe for commands, compadd for the verbs of a noun, _arguments for the options of each. */
static void print_zsh(void)
{
    char noun[64];

    printf("#compdef sonde\n# zsh completion of sonde; put it as _sonde into a folder of $fpath\n"
           "_sonde() {\n    local name=\"${words[2]}\"\n    local -a commands\n    commands=(\n");
    zsh_commands();
    printf("    )\n    if (( CURRENT == 2 )); then\n        _describe command commands\n        return\n    fi\n"
           "    case \"$name\" in\n");
    /* A noun: its verbs are offered, and behind one the name has two words. */
    for (int i = 0; cli_commands[i] != NULL; i++) {
        const char *verb = cli_noun_of(noun, sizeof noun, cli_commands[i]);
        if (verb[0] == '\0' || !cli_begins_noun(i))
            continue;
        printf("    %s)\n        if (( CURRENT == 3 )); then\n            compadd ", noun);
        print_verbs(noun);
        printf("\n            return\n        fi\n        name=\"$name ${words[3]}\" ;;\n");
    }
    printf("    esac\n    case \"$name\" in\n");
    for (int i = 0; cli_commands[i] != NULL; i++) {
        printf("    '%s')\n        _arguments \\\n", cli_commands[i]->name);
        cli_each_option(cli_commands[i], zsh_option, NULL);
        printf("            '*:file:_files' ;;\n");
    }
    printf("    esac\n}\n_sonde \"$@\"\n");
}

/* ---- fish -------------------------------------------------------------------------------------------------------- */

/* One `complete` line, valid behind its command; ctx is the condition. */
static void fish_option(const cli_option *option, void *ctx)
{
    printf("complete -c sonde -n '%s' -l %s", (const char *)ctx, option->name);
    if (option->letter != 0)
        printf(" -s %c", option->letter);
    /* -x: takes a value and no files; -r -F: takes a file. */
    if (option->kind == CLI_CHOICE) {
        printf(" -x -a '");
        print_choices(option->value);
        putchar('\'');
    } else if (option->value != NULL) {
        printf(strcmp(option->value, "FILE") == 0 ? " -r -F" : " -x");
    }
    printf(" -d '");
    print_quoted(option->help, "\\");
    printf("'\n");
}

/* Lines that fish reads one by one: commands, verbs, options. */
static void print_fish(void)
{
    char noun[64], when[192];

    printf("# fish completion of sonde; put it into ~/.config/fish/completions/sonde.fish\n");
    for (int i = 0; cli_commands[i] != NULL; i++) {
        const char *verb = cli_noun_of(noun, sizeof noun, cli_commands[i]);
        snprintf(when, sizeof when, "__fish_seen_subcommand_from %s", noun);
        if (cli_begins_noun(i)) {
            printf("complete -c sonde -n __fish_use_subcommand -f -a %s -d '", noun);
            print_quoted(cli_commands[i]->summary, "\\");
            printf("'\n");
        }
        /* The options of a noun's verb, once that stands there too. */
        if (verb[0] != '\0') {
            printf("complete -c sonde -n '%s' -f -a %s\n", when, verb);
            snprintf(when, sizeof when, "__fish_seen_subcommand_from %s; and __fish_seen_subcommand_from %s", noun, verb);
        }
        cli_each_option(cli_commands[i], fish_option, when);
    }
}

/* The script goes to stdout, for `source` or for a file. */
static sonde_status run(const cli_call *call)
{
    static const struct {
        const char *shell;
        void (*print)(void);
    } shells[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};

    cli.json = false; /* a script is a script */
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++) {
        if (strcmp(call->arguments[0], shells[i].shell) == 0) {
            shells[i].print();
            return SONDE_OK;
        }
    }
    return cli_misuse("unknown shell: '%s', not one of bash, zsh, fish", call->arguments[0]);
}

const cli_command cli_cmd_completion = {
    .name = "completion",
    .summary = "print the completion of bash, zsh or fish",
    .arguments = "SHELL",
    .min_arguments = 1,
    .max_arguments = 1,
    .examples = {"sonde completion bash > sonde.bash", "sonde completion fish > sonde.fish"},
    .options = {options},
    .run = run,
};
