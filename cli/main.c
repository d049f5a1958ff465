/* main.c - finds the command, runs it, and turns what it returns into an exit status.   floor 10: cli
 *
 *   0 done   1 the answer is "no"   2 usage   3 bad input   4 system   5 non-finite   70 our bug   128 + n signal n
 */
#include "common.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROW(name) &cli_cmd_##name,
const cli_command *const cli_commands[] = {CLI_COMMANDS(ROW) NULL};
#undef ROW

static volatile sig_atomic_t caught_signal;

/* The first signal asks for an orderly end; the second takes the system's own course. */
static void on_signal(int number)
{
    caught_signal = number;
    sonde_interrupt(true);
    signal(number, SIG_DFL);
}

/* Set by the handler, read by loops. */
bool cli_interrupted(void)
{
    return caught_signal != 0;
}

/* Handlers for the process; the library installs none. */
static void install_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};

    /* no SA_RESTART: a read that waits for a person should end at once */
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN); /* a closed pipe shows as EPIPE, so that half-written files are removed first */
}

/* Flushes stdout and gives the program's exit status: what was not written is an error, unless the reader went away. */
static int finish(sonde_status status)
{
    int code;

    if (status == SONDE_OK)
        status = cli_check_stdout();
    if (status == SONDE_OK && fclose(stdout) != 0)
        status = cli_stdout_failed(errno);
    /* 128 + SIGPIPE: what the shell shows for tools that the signal ends */
    if (cli_pipe_is_closed())
        return 128 + SIGPIPE;
    code = cli_report(status);
    return status == SONDE_E_INTERRUPTED && caught_signal ? 128 + (int)caught_signal : code;
}

/* Settings that hold for the whole process. */
static sonde_status apply_settings(void)
{
    /* the library ignores a name in the environment that it does not know; a program can say so */
    const char *kernel = cli.kernel ? cli.kernel : getenv("SONDE_KERNEL");

    /* before the model is opened: notes on its config come then */
    sonde_log_to(cli_log, NULL);
    if (cli.threads > 0)
        CLI_TRY(sonde_set_threads((int)cli.threads));
    if (kernel != NULL && *kernel != '\0')
        CLI_TRY(sonde_kernel_choose(kernel));
    return SONDE_OK;
}

/* Parses what stands behind the command's name and runs it, unless only help or the version is asked for. */
static sonde_status run_command(const cli_command *command, int n, char **arguments)
{
    cli_call call;

    cli_current_command = command->name;
    CLI_TRY(cli_parse(&call, command, n, arguments));
    if (cli.version) {
        printf("sonde %s\n", sonde_version());
        return SONDE_OK;
    }
    if (cli.help) {
        cli_print_help(command);
        return SONDE_OK;
    }
    CLI_TRY(apply_settings());
    return command->run(&call);
}

/* `sonde help [COMMAND]`, `sonde --help`, `sonde --version`; *is_done says whether it was one of them. */
static sonde_status run_builtin(bool *is_done, int argc, char **argv)
{
    const cli_command *command;
    int n_words;

    *is_done = true;
    if (strcmp(argv[1], "--version") == 0)
        printf("sonde %s\n", sonde_version());
    else if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || (strcmp(argv[1], "help") == 0 && argc == 2))
        cli_print_usage(stdout);
    else if (strcmp(argv[1], "help") == 0) {
        CLI_TRY(cli_choose_command(&command, &n_words, argc - 1, argv + 1, true));
        if (command != NULL)
            cli_print_help(command);
    } else if (argv[1][0] == '-') {
        cli_fail(SONDE_E_ARG, "unknown option: '%s'", argv[1]);
        return cli_hint(SONDE_E_ARG, "the command comes first; 'sonde --help' lists them");
    } else {
        *is_done = false;
    }
    return SONDE_OK;
}

/* Also of a child of the tour, which has its own arguments. */
int cli_main(int argc, char **argv)
{
    static char buffer[1 << 16];
    const cli_command *command;
    int n_words;
    bool is_done;
    sonde_status status;

    /* what fits is written in one go, at the end, where a full disk says that it is full */
    if (!isatty(STDOUT_FILENO))
        (void)setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    if (argc < 2) {
        cli_print_usage(stderr);
        return sonde_status_exit_code(SONDE_E_ARG);
    }
    status = run_builtin(&is_done, argc, argv);
    if (status != SONDE_OK || is_done)
        return finish(status);
    status = cli_choose_command(&command, &n_words, argc, argv, false);
    if (status == SONDE_OK && command != NULL)
        status = run_command(command, argc - 1 - n_words, argv + 1 + n_words);
    return finish(status);
}

/* Threads that wait should sleep soon: where another process has a core, spinning ones (libgomp's default) took three
 * quarters of the time of short commands. libgomp reads its settings while it is loaded, before main, so the program starts
 * itself once more with the setting made; what the user has set stays. */
static void calm_waiting_threads(char **argv)
{
#ifdef __linux__
    if (getenv("OMP_WAIT_POLICY") != NULL || getenv("GOMP_SPINCOUNT") != NULL)
        return;
    if (setenv("GOMP_SPINCOUNT", "2000", 0) == 0)
        execv("/proc/self/exe", argv); /* where that fails, threads spin */
#else
    (void)argv;
#endif
}

/* All of the program is behind cli_main. */
int main(int argc, char **argv)
{
    calm_waiting_threads(argv);
    install_signals();
    return cli_main(argc, argv);
}
