#ifndef MMF_DAEMON_PIPELINE_DISPATCH_H
#define MMF_DAEMON_PIPELINE_DISPATCH_H

/* The extract thread: takes events from `work`, has the videos described by the sandboxed
 * workers, and gives everything on to `done`.
 *
 *   work ─► admit ─► its turn? ─► begin ─► fetch ─► a worker? ─► submit ─► result ─► done
 *              │          │          │ └ text only ─────┘                        │
 *              │          │          └ nothing to extract ───────────────────────┤
 *              │          └ waits for the sink to settle the previous event      │
 *              │            of its item_id                                       │
 *              └ interactions, dead letters, gaps ───────────────────────────────┘
 *
 * Media is opened by other threads (fetch.h), however long that takes: meanwhile the rest goes on,
 * up to FETCH_THREADS that hang.
 *
 * An update reads the stored row, so a turn ends only when the sink has committed (or dropped)
 * the item: dispatch_settled. Faults of the input become dead letters; transient ones (a media
 * root that is not mounted, a read error) are tried RETRIES times with backoff while other items
 * pass, then become dead letters `internal`; a lack of memory, descriptors or processes is tried
 * until it has ended. No more items are begun than DISPATCH_HELD_MAX; the events that wait behind
 * them for their turn may be as many again as the work queue holds, so that a hot item_id does not
 * hold back the others at once. None is taken while `done` is above its high mark: that is how a
 * full disk reaches the source. */

#include "config/err.h"
#include "config/settings.h"
#include "daemon/event/item.h"
#include "daemon/event/rules.h"
#include "daemon/pipeline/ledger.h"
#include "daemon/pipeline/queue.h"
#include "extract/pool/pool.h"

#define DISPATCH_HELD_MAX 256
#define DISPATCH_RETRIES  3
#define DISPATCH_RETRY_MS 100 /* the first wait; each further one is four times as long */

struct dispatch;

struct dispatch_options {
    struct queue *work, *done;
    struct ledger *ledger;
    struct pool *pool; /* used by this thread only, closed by the owner after dispatch_close */
    const struct settings *settings;
    const struct event_rules *rules;
    void (*failed)(void *arg, const struct err *err); /* ERR_FATAL: stop everything */
    void *arg;
};

/* Opens its own reading store and starts the thread. */
int dispatch_open(const struct dispatch_options *options, struct dispatch **ret_d,
                  struct err *err);
/* From the sink's thread, before it frees the item. */
void dispatch_settled(struct dispatch *d, const struct item *item);
void dispatch_reload(struct dispatch *d, const struct settings *s);
void dispatch_stats(struct dispatch *d, struct pool_stats *ret_stats);
/* Stops the thread; frees what it holds. Takes NULL. */
void dispatch_close(struct dispatch *d);

#endif
