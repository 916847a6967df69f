#ifndef MMF_DAEMON_REFRESH_REBASE_H
#define MMF_DAEMON_REFRESH_REBASE_H

/* After a change of the model: its vectors hold the pairs that it was trained on. Whoever has others
 * (held out, or come meanwhile), and items that it met after its training, are touched; touches from
 * before are settled with that. A crash in between does it again: touching twice changes nothing. */

#include "daemon/refresh/refresh.h"
#include "daemon/refresh/world.h"

/* ERR_OK also when there is nothing to do. Reads in transactions of its own. */
int refresh_rebase(struct refresh_world *w, const struct refresh_options *o, struct err *err);

#endif
