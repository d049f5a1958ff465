/* common_names.c - which command the first words of a command line name.        floor 10: cli
 *
 * A command has one word ("act") or a noun and a verb ("bench forward"). Nouns are in no list of their own: they are the
 * first words of the commands that have two. Where a noun has several verbs, it alone shows them; where it has one, it
 * stands for that verb's help.
 */
#include "common.h"

#include <string.h>

/* A dozen commands: no need for more than a loop. */
const cli_command *cli_find_command(const char *name)
{
    for (int i = 0; cli_commands[i] != NULL; i++) {
        if (strcmp(cli_commands[i]->name, name) == 0)
            return cli_commands[i];
    }
    return NULL;
}

/* The noun must be the whole first word. */
const char *cli_verb_of(const cli_command *command, const char *noun)
{
    size_t n = strlen(noun);
    return strncmp(command->name, noun, n) == 0 && command->name[n] == ' ' ? command->name + n + 1 : NULL;
}

/* Names have one word or two. */
const char *cli_noun_of(char *out, size_t out_bytes, const cli_command *command)
{
    size_t n = strcspn(command->name, " ");

    snprintf(out, out_bytes, "%.*s", (int)n, command->name);
    return command->name[n] == ' ' ? command->name + n + 1 : "";
}

/* Looks at all commands before it. */
bool cli_begins_noun(int i)
{
    char noun[64];

    cli_noun_of(noun, sizeof noun, cli_commands[i]);
    for (int k = 0; k < i; k++) {
        if (cli_verb_of(cli_commands[k], noun) != NULL)
            return false;
    }
    return true;
}

enum { MAX_NAMES = 64 };

/* The verbs of a noun, or what may stand first where `noun` is NULL; at most MAX_NAMES. Nouns lie in `room`. */
static int64_t gather_names(const char *names[MAX_NAMES], char room[MAX_NAMES][64], const char *noun)
{
    int64_t n = 0;

    for (int i = 0; cli_commands[i] != NULL && n < MAX_NAMES; i++) {
        const char *verb = noun != NULL ? cli_verb_of(cli_commands[i], noun) : NULL;
        if (verb != NULL) {
            names[n++] = verb;
        } else if (noun == NULL && cli_begins_noun(i)) {
            cli_noun_of(room[n], sizeof room[n], cli_commands[i]);
            names[n] = room[n];
            n++;
        }
    }
    return n;
}

/* An unknown command, with the nearest one as a hint. */
static sonde_status unknown_command(const char *name)
{
    const char *names[MAX_NAMES], *nearest;
    char room[MAX_NAMES][64];

    cli_fail(SONDE_E_ARG, "unknown command: '%s'", name);
    nearest = cli_nearest(name, names, gather_names(names, room, NULL));
    if (nearest != NULL)
        return cli_hint(SONDE_E_ARG, "did you mean '%s'? 'sonde --help' lists the commands", nearest);
    return cli_hint(SONDE_E_ARG, "'sonde --help' lists the commands");
}

/* A noun whose verb is missing or is none of its verbs (`verb` is NULL, or what stands there). */
static sonde_status unknown_verb(const char *noun, const char *verb, const char *const *verbs, int64_t n_verbs)
{
    const char *nearest = verb != NULL ? cli_nearest(verb, verbs, n_verbs) : NULL;

    if (verb != NULL)
        cli_fail(SONDE_E_ARG, "unknown verb of '%s': '%s'", noun, verb);
    else
        cli_fail(SONDE_E_ARG, "'%s' needs a verb", noun);
    if (n_verbs == 1)
        return cli_hint(SONDE_E_ARG, "try 'sonde %s %s --help'", noun, verbs[0]);
    if (nearest != NULL)
        return cli_hint(SONDE_E_ARG, "did you mean '%s'? 'sonde %s --help' lists the verbs", nearest, noun);
    return cli_hint(SONDE_E_ARG, "'sonde %s --help' lists the verbs", noun);
}

/* A noun without a verb that is known: its verbs, or the help of the only one, where help is asked for. */
static sonde_status choose_verb(const cli_command **out, const char *noun, const char *verb, bool wants_help)
{
    const char *verbs[MAX_NAMES];
    int64_t n = gather_names(verbs, NULL, noun);
    char both[128];

    if (n == 0)
        return unknown_command(noun);
    if (!wants_help)
        return unknown_verb(noun, verb, verbs, n);
    if (n > 1) {
        cli_print_noun(noun);
        return SONDE_OK;
    }
    snprintf(both, sizeof both, "%s %s", noun, verbs[0]);
    *out = cli_find_command(both);
    return SONDE_OK;
}

/* What stands behind the noun may be a word of the command's own, or --help. */
sonde_status cli_choose_command(const cli_command **out, int *n_words, int argc, char **argv, bool wants_help)
{
    const char *verb = argc > 2 ? argv[2] : NULL;
    char both[128];

    /* two words before one: `bench forward` */
    *n_words = 2;
    if (verb != NULL && snprintf(both, sizeof both, "%s %s", argv[1], verb) < (int)sizeof both) {
        *out = cli_find_command(both);
        if (*out != NULL)
            return SONDE_OK;
    }
    *n_words = 1;
    *out = cli_find_command(argv[1]);
    if (*out != NULL)
        return SONDE_OK;
    wants_help = verb == NULL ? wants_help : strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0;
    return choose_verb(out, argv[1], verb, wants_help);
}
