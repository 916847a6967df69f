#ifndef MMF_DAEMON_CLI_OWNER_H
#define MMF_DAEMON_CLI_OWNER_H

#include "daemon/cli/cli.h"

/* Before a verb writes to the store, or makes files beside it: root becomes the owner of the store's folder,
 * for good, so that the daemon can use what is left there. What root may read can still be read; what is
 * written to lies with the store. For others than root this does nothing. After cli_load. ERR_FATAL
 * EX_NOPERM. */
int cli_become_owner(const struct cli *cli, struct err *err);
/* Whether root may write where the store's name leads: not through a link that a user has put there into a
 * folder of somebody else. Part of the call before. ERR_FATAL EX_NOPERM. */
int cli_check_link(const struct cli *cli, struct err *err);

#endif
