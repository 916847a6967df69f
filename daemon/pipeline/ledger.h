#ifndef MMF_DAEMON_PIPELINE_LEDGER_H
#define MMF_DAEMON_PIPELINE_LEDGER_H

/* Which offsets are in flight, partition by partition, so that the stored next_offset advances
 * only over the contiguous finished prefix although items finish out of order. Offsets may have
 * holes (compaction, transaction markers); next_offset is the oldest unfinished offset, or one
 * past the newest seen. An epoch counts assignments: results of an old one are dropped.
 *
 * Thread-safe: the source begins, the sink finishes. */

#include "config/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ledger;

struct ledger *ledger_new(void);
void ledger_free(struct ledger *l);

/* Starts (or restarts) a partition at next_offset and returns its new epoch (never 0). */
int ledger_assign(struct ledger *l, const char *topic, int32_t partition, int64_t next_offset,
                  uint32_t *ret_epoch, struct err *err);
/* Takes a partition that nobody has assigned, at offset 0; ERR_BUSY when somebody has. */
int ledger_claim(struct ledger *l, const char *topic, int32_t partition, uint32_t *ret_epoch,
                 struct err *err);
/* Raises the epoch: what is in flight will be dropped by the sink. */
void ledger_revoke(struct ledger *l, const char *topic, int32_t partition);
/* False when the offset is below next or already in flight (a message delivered twice), or the
 * partition is not assigned: drop the message. */
bool ledger_begin(struct ledger *l, const char *topic, int32_t partition, int64_t offset,
                  uint32_t *ret_epoch);
/* A lane: what is followed without a place in a log. It is partition 0 of a topic of that name, from
 * offset 0, and its offsets are not stored. */
int ledger_open_lane(struct ledger *l, const char *name, uint32_t *ret_epoch, struct err *err);
/* The digest of the record at an offset in flight, not 0: it is stored with next_offset. */
void ledger_set_digest(struct ledger *l, const char *topic, int32_t partition, int64_t offset,
                       int64_t digest);
/* What next_offset would be with these offsets finished too; changes nothing until
 * ledger_finish. The sink asks, commits the transaction, then finishes. */
struct ledger_mark {
    const char *topic;
    int32_t partition;
    int64_t offset;
    uint32_t epoch;
};
struct ledger_next {
    const char *topic; /* borrowed from the mark */
    int32_t partition;
    int64_t next_offset;
    int64_t record_offset, record_digest; /* the last one before it; digest 0 = has none */
};
struct item;
/* The item's place in the ledger. */
struct ledger_mark ledger_mark_of(const struct item *item);
/* False: its partition was revoked, or assigned anew. */
bool ledger_is_current(struct ledger *l, const struct ledger_mark *mark);
/* ret_next has room for n entries; returns how many partitions advanced; lanes are left
 * out. */
size_t ledger_preview(struct ledger *l, const struct ledger_mark *marks, size_t n,
                      struct ledger_next *ret_next);
void ledger_finish(struct ledger *l, const struct ledger_mark *marks, size_t n);
/* In flight now, over all partitions or one topic's partition. */
size_t ledger_in_flight(struct ledger *l);
size_t ledger_in_flight_of(struct ledger *l, const char *topic, int32_t partition);

#endif
