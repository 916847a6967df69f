#ifndef MMF_DAEMON_CLI_TRAIN_H
#define MMF_DAEMON_CLI_TRAIN_H

/* Between train.c and its options. */

#include "config/settings_table.h"
#include "daemon/cli/cli.h"
#include "daemon/model/training.h"

/* What the options say; input is first. */
struct cli_train {
    struct cli_input input;
    struct training_request r;
    const char *told[SETTINGS_OPTIONS_MAX]; /* by settings_option; NULL = left out */
    bool as_configured;
    const char *out;
    bool no_promote, now;
};

/* Exits 64 on a usage error, 0 after --help. */
void cli_train_parse(struct cli *cli, int argc, char **argv, struct cli_train *ret_t);
/* After cli_load: t->r.options are the loaded settings' with --as-configured, else the defaults,
 * and in either case what was told. */
int cli_train_settle(struct cli_train *t, struct err *err);

#endif
