#ifndef MMF_DAEMON_REFRESH_REFRESH_H
#define MMF_DAEMON_REFRESH_REFRESH_H

/* Between two trainings: vectors that follow the interactions. Every interaction, and every item
 * that is written, leaves a touch in the store, in its own transaction (store/touch.h). A thread of
 * its own with a read-only handle makes the vectors of what was touched anew, exactly as a whole
 * forward pass over all interactions would (fusion/model/neighbourhood.h), and hands them to the sink,
 * which writes a pass of them and takes the touches away in one small transaction.
 *
 *   sink ── commit, refresh_wake ──► refresh thread ── store_work ──► sink, between two batches
 *                                     one read transaction a pass:
 *                                     touches → edges, inputs → vectors
 *
 * - The model, its users and whose rows they are come from the model folder (world.h). After
 *   a flip, in whatever direction, what the new model was not trained on is touched again
 *   (rebase.h), so that promotion, rollback and restart need nothing else.
 * - Bounds: refresh.rate vectors a second, one pass every refresh.interval_ms, refresh.max_edges of
 *   a neighbourhood, refresh.cache_bytes. The sink's part of a pass is writing rows; it computes
 *   nothing, so uploads wait for one short transaction at most.
 * - Failure: the touches stay, the pass is tried again after store.retry_ms.
 *
 * Example: u1 watches v1 → touch (u1, v1) → 30 ms later both have new vectors, v1 is warm, seq has
 * moved by two; their neighbours with the fewest interactions follow when nothing else waits. */

#include "config/err.h"
#include "config/settings.h"
#include "store/writing.h"

#include <stdbool.h>
#include <stdint.h>

struct refresh;

struct refresh_options {
    const struct settings *settings; /* outlives the thread, see refresh_reload */
    struct store_writer writer;
};

/* The store exists and has an active model. */
int refresh_open(const struct refresh_options *options, struct refresh **ret_r,
                 struct err *err);
/* Something has been committed. Any thread. */
void refresh_wake(struct refresh *r);
void refresh_reload(struct refresh *r, const struct settings *s);
/* Waits until nothing is left to do, at most timeout_ms; whether that is so. */
bool refresh_drain(struct refresh *r, int64_t timeout_ms);

struct refresh_status {
    int64_t n_touches;  /* that wait */
    double staleness_s; /* age of the oldest of them, 0 = none */
    uint64_t n_vectors; /* written since the start */
    uint64_t n_same;    /* made anew without a change */
    uint64_t n_rows;    /* of neighbours, written since the start */
    uint64_t n_too_big; /* vectors and rows left to the next training: refresh.max_edges */
    uint64_t n_edges;   /* looked at */
    uint64_t n_passes;
    double seconds; /* spent in passes, less the writing */
};
void refresh_status(struct refresh *r, struct refresh_status *ret_status);
/* Before the thread of the writing store ends. Takes NULL. */
void refresh_close(struct refresh *r);

#endif
