#ifndef MMF_DAEMON_SOURCE_REEXTRACT_H
#define MMF_DAEMON_SOURCE_REEXTRACT_H

/* Features made anew from the media that items have, on a running pipeline: when an encoder has
 * changed, or a file was overwritten in place. For the control socket and for a command line that
 * opened the store itself; waits for the end, on the caller's thread; one at a time in a process
 * (a second one gets ERR_RETRY EX_TEMPFAIL).
 *
 * Each item goes through the pipeline as an update that names nothing and has a ticket. Its turn
 * keeps it in order with events of the same item; media is opened below the roots only. What is
 * written is a store_reextraction: no event, so position, trail and texts stay. An item whose media is
 * gone, or that fails in any way, is reported and stays as it was: no dead letter.
 *
 * New features that the active model was not trained on do not become a vector: the item keeps
 * the one it has until a model is trained on them. Vectors of two encoders are never fused as one.
 *
 * At most one item a worker but one is under way, and `rate` a second, so that uploads find a
 * worker free. Resumable: stale items that are done are stale no more; `all` begins after `after`. */

#include "config/err.h"
#include "daemon/event/ticket.h"
#include "daemon/source/ingest.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct encoder_identity;
struct store;

/* How many items are stale: others than these encoders (MODALITY_COUNT, by modality) made features of
 * theirs. */
int reextract_count_stale(struct store *st, const struct encoder_identity *encoders,
                          int64_t *ret_n, struct err *err);

struct reextract_which {
    const char *const *item_ids; /* these; n_ids 0 = the stale ones, or all */
    size_t n_ids;
    bool all;
    const char
        *after;   /* begin after this item, in the order of the rows; NULL = at the first */
    int64_t rate; /* items a second, 0 = as many as the workers can */
    const char *media_root; /* as for ingest_file */
};

struct reextract_result {
    int64_t n_selected;
    struct ticket_result t;
    double seconds;
};

/* ERR_FATAL EX_NOINPUT for an `after` that is no item. An item of item_ids that is none counts as
 * failed. */
int reextract_run(struct pipeline *p, const char *store_path,
                  const struct reextract_which *which, const struct ingest_watch *watch,
                  struct reextract_result *ret_result, struct err *err);

struct json_t;
/* {selected, done, kept, gone, failed, seconds, failures: [{item_id, reason, error}]}: a new object,
 * NULL when memory is out. */
struct json_t *reextract_json(const struct reextract_result *r);

#endif
