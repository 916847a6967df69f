#ifndef MMF_DAEMON_PIPELINE_ERASURE_H
#define MMF_DAEMON_PIPELINE_ERASURE_H

/* What a forgotten user leaves goes a piece at a time between two batches of the sink, and afterwards the
 * last of the bytes. */

#include "store/writing.h"

#include <stdbool.h>
#include <stdint.h>

struct erasure {                 /* a zeroed struct: it looks at once */
    int64_t due_us, wipe_due_us; /* monotonic */
    bool is_wiped;
};

/* One piece, if there is one; whether there are more. A fault is told in the log, and tried again a minute
 * later. */
bool erasure_run(struct erasure *e, struct store *st);

#endif
