#ifndef MMF_DAEMON_PIPELINE_RETENTION_H
#define MMF_DAEMON_PIPELINE_RETENTION_H

/* What the store no longer has to keep (store_retain), a few rows at a time, by the sink's thread
 * between two batches. Age is told by steady.h, never by one look at the wall clock; the time that it
 * goes by is noted in the store for the next start.
 *
 * What has gone is counted (metammf_retention_removed_total{kind}) and told in the log: at once, then a sum an
 * hour while more goes; while age cannot be told, a line says so and another when it is over. */

#include "config/settings.h"
#include "store/writing.h"

#include <stdint.h>

/* A zeroed one is due now. */
struct retention {
    int64_t due_us; /* monotonic */
    int64_t noted_us;
    int64_t removed[STORE_RETAINED]; /* and not yet told */
    int64_t told_us; /* monotonic: not again before an hour after that; 0 = never */
    int64_t days[2]; /* that interactions and dead letters were kept, of what is not told */
    int64_t now_us;  /* by which they were */
    bool waits;
};

/* Before the first run and before any thread asks steady.h: from where the second clock goes on. A store without a
 * model has nothing to lose yet; its second clock begins at the wall clock. */
int retention_begin(struct store *st, struct err *err);
/* Removes some rows when it is due; soon due again while there are more. */
void retention_run(struct retention *r, struct store *st, const struct settings *s);
/* At the end: what has not been told. */
void retention_end(struct retention *r);

#endif
