#ifndef MMF_DAEMON_PIPELINE_PIPELINE_H
#define MMF_DAEMON_PIPELINE_PIPELINE_H

/* The pipeline: from an event to a row that people can query.
 *
 *   source thread          extract thread               sink thread
 *   ─────────────          ──────────────               ───────────
 *   Kafka | spool | file   queue `work`                 queue `done`
 *     │ ledger_begin         │ one item_id at a time      │ collect a batch: 100 rows, 50 ms, 2 MB
 *     │ item_new             │ fetch.h: media → fd        │ fuse_items: features → embedding
 *     │ event_parse          │ pool_submit ──► worker     │ store_write_batch: ONE transaction of
 *     ▼                      │            ◄── features    │   rows, touches, dead letters, offsets
 *   pipeline_submit ─► work  ▼                            ▼ ledger_finish, source committed()
 *                       done ─────────────────────────►  item_free
 *
 * Ownership. One struct item travels by pointer and has one owner: the source until
 * pipeline_submit, then a queue, the extract thread, the next queue, the sink, which frees it.
 * Interactions, deletes of unknown media and dead letters need no extraction and pass the extract
 * thread untouched; items of one item_id keep their order, because the extract thread holds back
 * a later event of an item that is in flight.
 *
 * Failure. A fault of the input (ERR_SKIP) turns the item into a dead letter with its original
 * bytes and goes on: it is written in the same transaction as the offset. A fault of ours
 * (ERR_RETRY: disk full, no memory) keeps the batch and tries again; the queues fill, the source
 * pauses; nothing is skipped. ERR_FATAL stops the pipeline and the daemon exits; after a restart
 * the sources go on from the offsets in the store, and inserts are idempotent on
 * (topic, partition, offset): kill -9 anywhere loses nothing and repeats nothing.
 *
 * Rebalance. Each assignment of a partition has an epoch in the ledger; the sink drops results
 * of an old one.
 *
 * Beside the path. Two more threads move vectors without an event: refresh.h follows the
 * interactions by the touches that a batch leaves, retrain.h trains, judges and publishes. Both
 * read by handles of their own and write through pipeline_writer, between two batches, so that the
 * sink stays the only writer. reextract.h sends items down the same path without an event: they
 * have a ticket (ticket.h), which says what became of them in place of a dead letter.
 *
 * Example: v1 arrives as videos/3@41 → ledger in flight {41} → worker 2 decodes 8 frames and 4 s
 * of sound in 90 ms → the sink fuses and commits item, feature ×3, embedding, kafka_offset
 * (videos, 3, 42) → `metammf get v1` answers.
 */

#include "config/err.h"
#include "config/settings.h"
#include "daemon/event/item.h"
#include "daemon/pipeline/ledger.h"
#include "daemon/refresh/refresh.h"
#include "extract/pool/pool.h"
#include "store/writing.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pipeline;
struct source;

/* Opens the store for writing, loads or creates the active model, starts the workers, the extract
 * thread and the sink thread. Call before any thread of librdkafka exists. The settings must
 * outlive the pipeline; pipeline_reload swaps them. dlq_topic NULL = dead letters stay in the
 * store. */
int pipeline_open(const struct settings *s, const char *dlq_topic, struct pipeline **ret_p,
                  struct err *err);
/* The source whose committed() the sink calls; NULL to detach. */
void pipeline_attach(struct pipeline *p, struct source *src);

struct ledger *pipeline_ledger(struct pipeline *p);
/* (MODALITY_COUNT) by modality: of the workers, as long as the pipeline lives. Any thread. */
const struct encoder_identity *pipeline_encoders(const struct pipeline *p);
/* What an item whose raw part is filled says, by the rules in force (event_parse). Any thread. */
int pipeline_parse(const struct pipeline *p, struct item *item, struct err *err);
/* Takes ownership of an item whose raw part is filled (topic … headers, epoch, received_us);
 * parses it and queues it. Never blocks. */
void pipeline_submit(struct pipeline *p, struct item *item);
/* The source should pause (hysteresis), see queue_is_high. */
bool pipeline_is_full(struct pipeline *p);
/* Waits until nothing is in flight; ERR_RETRY after timeout_ms, ERR_FATAL when the pipeline has
 * failed. */
int pipeline_drain(struct pipeline *p, int64_t timeout_ms, struct err *err);
/* The way to the sink's thread, which runs work with the writing store between two batches: how
 * everybody else writes. Long work calls health_tick(HEALTH_SINK) now and then. It runs, or fails
 * with ERR_FATAL, in every state until pipeline_close; not from the sink's own thread (committed).
 * When it has activated another model, the sink loads that afterwards. */
struct store_writer pipeline_writer(struct pipeline *p);
/* store_work of that way. */
int pipeline_write(struct pipeline *p, store_work_fn *work, void *arg, struct err *err);
/* Waits until every vector holds the interactions that are stored, at most timeout_ms; whether that
 * is so. */
bool pipeline_refresh(struct pipeline *p, int64_t timeout_ms);
/* New settings after SIGHUP: what can change at run time changes; what cannot is named in the
 * log. The old ones must outlive the pipeline too: its threads may still be reading them. */
void pipeline_reload(struct pipeline *p, const struct settings *s);

struct pipeline_status {
    size_t n_work, n_done, n_in_flight; /* queue lengths, offsets in flight */
    bool failed;                        /* err says why; the daemon must exit */
    struct err err;
    char wait[96];        /* "disk full since 12:01:03", "" = none */
    int64_t failing_us;   /* for how long commits have failed, 0 = they do not */
    int64_t committed_us; /* the last commit, wall clock, 0 = none since the start */
    char model_lost[256]; /* why the active model's file is not accepted, "" = it serves */
    int64_t model_id;     /* 0 = lost */
    bool model_trained;
    int32_t dim;
    struct pool_stats pool;
    struct refresh_status refresh;
};
void pipeline_status(struct pipeline *p, struct pipeline_status *ret_status);
/* Stops threads and workers; what is in flight is dropped (its offsets are not stored). */
void pipeline_close(struct pipeline *p);

#endif
