/* cli/info.h - what else `sonde info` looks at.                                 floor 10: cli */
#ifndef CLI_INFO_H
#define CLI_INFO_H

#include "cli.h"

/* Whether a folder is a store of activations; what such a store has, as a table or as JSON. Errors: those of sonde_store_open. */
bool info_is_store(const char *folder);
sonde_status info_print_store(const char *folder);

#endif
