#ifndef MMF_DAEMON_PIPELINE_RETENTION_H
#define MMF_DAEMON_PIPELINE_RETENTION_H

/* What the store no longer has to keep (store_retain), a few rows at a time, by the sink's thread
 * between two batches. */

#include "config/settings.h"
#include "store/store.h"

#include <stdint.h>

/* A zeroed one is due now. */
struct retention {
    int64_t due_us; /* monotonic */
};

/* Removes some rows when it is due; soon due again while there are more. */
void retention_run(struct retention *r, struct store *st, const struct settings *s);

#endif
