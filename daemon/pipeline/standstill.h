#ifndef MMF_DAEMON_PIPELINE_STANDSTILL_H
#define MMF_DAEMON_PIPELINE_STANDSTILL_H

/* What holds up every item that needs a worker or media: no worker can be started, or all threads
 * that fetch media hang. Told once, when it begins and when it ends: to the log, and to health, by
 * which STATUS, /readyz and `metammf status` say what is waited for. The extract thread's. */

#include "daemon/pipeline/fetching.h"
#include "extract/pool/pool.h"

enum standstill { STANDSTILL_NONE, STANDSTILL_WORKERS, STANDSTILL_MEDIA };

/* *told: what was told last; a zeroed one is nothing. ERR_FATAL when only another start helps
 * (pool_is_down). */
int standstill_look(enum standstill *told, const struct pool *pool, const struct fetching *f,
                    struct err *err);

#endif
