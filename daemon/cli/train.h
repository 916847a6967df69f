#ifndef MMF_DAEMON_CLI_TRAIN_H
#define MMF_DAEMON_CLI_TRAIN_H

/* Between train.c and its options. */

#include "daemon/cli/cli.h"
#include "daemon/model/training.h"

/* What the options say; input is first. */
struct cli_train {
    struct cli_input input;
    struct training_request r;
    const char *out;
    bool no_promote, now;
};

/* Exits 64 on a usage error, 0 after --help. */
void cli_train_parse(struct cli *cli, int argc, char **argv, struct cli_train *ret_t);

#endif
