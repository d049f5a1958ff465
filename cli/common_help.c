/* common_help.c - --help and the usage of the program, printed from the tables.         floor 10: cli
 *
 * Help leads with examples that work; they are run by the tests. What is listed comes from the command's own rows, so that
 * help cannot name an option that does not exist.
 */
#include "common.h"

#include <string.h>

/* Commands with their summaries, those of one noun or (NULL) all, in a column as wide as the longest name needs. */
static void list_commands(FILE *stream, const char *noun)
{
    int width = 0;

    for (int i = 0; cli_commands[i] != NULL; i++) {
        int n = (int)strlen(cli_commands[i]->name);
        width = n > width ? n : width;
    }
    for (int i = 0; cli_commands[i] != NULL; i++) {
        if (noun == NULL || cli_verb_of(cli_commands[i], noun) != NULL)
            fprintf(stream, "  %-*s  %s\n", width, cli_commands[i]->name, cli_commands[i]->summary);
    }
}

/* The whole program on one screen. */
void cli_print_usage(FILE *stream)
{
    fputs("usage: sonde COMMAND [ARGUMENTS] [OPTIONS]\n\n"
          "Reads the activations inside a language model: by name, from the files that you have.\n\n",
          stream);
    fputs("  sonde info models/stories\n"
          "  sonde act models/stories \"The cat sat\" --hook resid_post3 --token \" cat\" -o cat.safetensors\n\n"
          "commands:\n",
          stream);
    list_commands(stream, NULL);
    fputs("\n'sonde COMMAND --help' has examples and options; 'sonde --version' the version.\n"
          "exit status: 0 done, 1 the answer is no, 2 usage, 3 bad input, 4 system, 5 not finite, 130 interrupted\n",
          stream);
}

/* A noun alone: what can be done to it. */
void cli_print_noun(const char *noun)
{
    printf("usage: sonde %s VERB [ARGUMENTS] [OPTIONS]\n\n", noun);
    list_commands(stdout, noun);
    printf("\n'sonde %s VERB --help' has examples and options\n", noun);
}

/* What an option is when nobody says otherwise, as " (default: 5)", for those where that is a value. */
static void print_default(const cli_option *option)
{
    if (option->kind == CLI_INT && *(const int64_t *)option->to != 0)
        printf(" (default: %lld)", (long long)*(const int64_t *)option->to);
    if (option->kind == CLI_REAL)
        printf(" (default: %g)", *(const double *)option->to);
    if (option->kind == CLI_CHOICE) {
        const char *at = option->value;
        for (int64_t skip = *(const int64_t *)option->to; skip > 0; skip--)
            at = strchr(at, '|') + 1;
        printf(" (default: %.*s)", (int)strcspn(at, "|"), at);
    }
}

/* One option: letter, name and value on the left, what it does on the right. */
static void print_option(const cli_option *option, void *ctx)
{
    enum { LEFT = 32 };
    char letter[8] = "    ";
    int width;

    (void)ctx;
    /* letters stand in a column of their own */
    if (option->letter != 0)
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    /* names and choices as long as they are; what does not fit has its help on the next line */
    width = printf("  %s--%s%s%s", letter, option->name, option->value ? " " : "", option->value ? option->value : "");
    printf("%s%*s%s", width >= LEFT ? "\n" : "", width >= LEFT ? LEFT : LEFT - width, "", option->help);
    print_default(option);
    putchar('\n');
}

/* Examples, usage, options, notes: in the order in which people look for them. */
void cli_print_help(const cli_command *command)
{
    cli.help = cli.version = false; /* they are not defaults */
    for (int i = 0; command->examples[i] != NULL; i++)
        printf("%s%s\n", i == 0 ? "examples:\n  " : "  ", command->examples[i]);
    printf("\nusage: sonde %s %s%s[OPTIONS]\n\n%s\n\noptions:\n", command->name, command->arguments,
           command->arguments[0] != '\0' ? " " : "", command->summary);
    cli_each_option(command, print_option, NULL);
    if (command->notes != NULL)
        printf("\n%s\n", command->notes);
}
