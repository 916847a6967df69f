#ifndef MMF_DAEMON_KAFKA_PARTS_H
#define MMF_DAEMON_KAFKA_PARTS_H

/* The partitions that are assigned to us now, sorted by topic and number. Plain data: its owner
 * locks. */

#include "config/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kafka_part {
    char *topic;
    int32_t partition;
    int64_t position;    /* offset of the next message that we expect; -1 = unknown */
    int64_t stored_next; /* next_offset in the store; -1 = no row yet */
    int64_t told_next; /* what Kafka was told: for lag tools, and where another member begins */
    int64_t high;      /* end of the log as last fetched; -1 = unknown */
    bool paused;       /* by us */
    /* Out of step with the log: messages are ignored until a seek back to position (or over a
     * gap) has worked. */
    bool resync;
    bool out_of_range; /* resync because position is outside the log */
    bool ledger_full;  /* resync because the ledger had no memory for position */
    int resync_tries;
    int64_t resync_at_us;    /* monotonic: not before */
    int64_t beyond_since_us; /* position is past the end of the log since; 0 = it is not */
};

struct kafka_parts {
    struct kafka_part *rows;
    size_t n;
};

/* Adds (or resets) a partition. The pointer lives until the next add or remove. */
int kafka_parts_add(struct kafka_parts *parts, const char *topic, int32_t partition,
                    struct kafka_part **ret_part, struct err *err);
struct kafka_part *kafka_parts_find(const struct kafka_parts *parts, const char *topic,
                                    int32_t partition); /* NULL = not ours */
void kafka_parts_remove(struct kafka_parts *parts, const char *topic, int32_t partition);
/* The partition's messages are ignored from now on, until a seek to its position has worked; the first
 * try is delay_us from now. */
void kafka_parts_resync(struct kafka_part *part, bool out_of_range, int64_t delay_us);
/* Records behind the end of the log, over all partitions; -1 while any end is unknown. */
int64_t kafka_parts_lag(const struct kafka_parts *parts);
void kafka_parts_clear(struct kafka_parts *parts);

#endif
