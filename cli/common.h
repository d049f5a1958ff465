/* cli/common.h - what main.c and common_*.c share and commands do not need.    floor 10: cli */
#ifndef CLI_COMMON_H
#define CLI_COMMON_H

#include "cli.h"

/* Runs one command line, argv[0] being the program, and gives its exit status; closes stdout. The tour calls it in children. */
int cli_main(int argc, char **argv);

/* Name of the command that runs, for pointers to its --help; "" before one is known. */
extern const char *cli_current_command;

/* The command that the first words of a command line name (argv[1], argv[2]) and how many words that are. A noun alone of
 * which help is wanted is the help of its only verb; where it has several they are printed and *out is NULL.
 * Errors: SONDE_E_ARG with the nearest name as a hint. */
sonde_status cli_choose_command(const cli_command **out, int *n_words, int argc, char **argv, bool wants_help);

/* What `sonde NOUN --help` prints where the noun has several verbs. */
void cli_print_noun(const char *noun);

/* Prints the last error, if `status` is one, and gives the exit status: that of the error, or 1 after cli_answer_no. */
int cli_report(sonde_status status);

/* The library's log lines, as notes on stderr. */
void cli_log(sonde_log_level level, const char *line, void *ctx);

/* A failed write to stdout, from errno; and whether it failed because the reader of a pipe has gone. */
sonde_status cli_stdout_failed(int error_number);
bool cli_pipe_is_closed(void);

/* Takes a redrawn progress line off the terminal, so that a message may stand there. */
void cli_progress_clear(void);

#endif
