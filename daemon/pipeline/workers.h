#ifndef MMF_DAEMON_PIPELINE_WORKERS_H
#define MMF_DAEMON_PIPELINE_WORKERS_H

/* The pool of sandboxed workers as the settings want it: one list of what they are given. */

#include "config/err.h"
#include "config/settings.h"
#include "extract/pool/pool.h"

/* n 0 = extract.workers. ERR_FATAL EX_CONFIG when there is no worker (paths.h). */
int workers_open(const struct settings *s, unsigned n, struct pool **ret_pool, struct err *err);

#endif
