#ifndef MMF_EXTRACT_WORKER_WORKER_H
#define MMF_EXTRACT_WORKER_WORKER_H

/* One sandboxed worker: locks itself in, says hello, then one job after another until its
 * socket ends. Single-threaded; its encoders were warmed up before the fork. */

#include "extract/media/extractor.h"
#include "extract/wire/protocol.h"

/* socket on PROTOCOL_WORKER_FD, /proc/self/statm on PROTOCOL_STATM_FD, nothing else of use
 * open. Ends the process. */
_Noreturn void worker_run(const struct protocol_control *config, struct extractor *extractor);

#endif
