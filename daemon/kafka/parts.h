#ifndef MMF_DAEMON_KAFKA_PARTS_H
#define MMF_DAEMON_KAFKA_PARTS_H

/* The partitions that are assigned to us now, sorted by topic and number, and what each is doing.
 * Plain data: its owner locks. */

#include "config/err.h"
#include "daemon/pipeline/source.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KAFKA_STILL_US     (3LL * 1000 * 1000)  /* longer than a fetch takes */
#define KAFKA_SILENT_US    (10LL * 1000 * 1000) /* so silent may a partition just assigned be */
#define KAFKA_TOO_LARGE_US (60LL * 1000 * 1000) /* librdkafka tries again sooner */

struct kafka_part {
    char *topic;
    int32_t partition;
    int64_t position;    /* offset of the next message that we expect; -1 = unknown */
    int64_t stored_next; /* next_offset in the store; -1 = no row yet */
    /* The last record that is stored, digest 0 = none known; while it is read once more, what comes
     * before position is thrown away. */
    int64_t record_offset, record_digest;
    bool is_checking;
    int64_t last_ms; /* timestamp of the last record taken, 0 = none yet */
    /* No record of this log before anchor_offset is as late as anchor_ms; 0 = not asked yet */
    int64_t anchor_ms, anchor_offset;
    bool is_anew;      /* and it was another one: see anew.c */
    int64_t told_next; /* what Kafka was told: for lag tools, and where another member begins */
    /* as last fetched; -1 = unknown: the log's beginning, its end, and the end of what can be read,
     * which an open transaction keeps back */
    int64_t low, high, stable;
    int64_t asked_end; /* of what can be read, when we had to ask; -1 */
    bool paused;       /* by us */
    bool is_heard;     /* the broker has answered for it since it was assigned */
    int64_t moved_us;  /* monotonic: when position last changed, or it was assigned */
    /* The broker's word about it, taken back by any answer to a fetch. */
    bool is_denied, is_unknown;
    int64_t ask_at_us; /* then: fetch anew, since that word is given once only */
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
/* Where to fetch from: position (-1 = the beginning), or the last stored record to be checked. */
int64_t kafka_part_fetch_at(const struct kafka_part *part);
/* The log may be another one from here on: it is fetched anew, from the last stored record. */
void kafka_part_check(struct kafka_part *part);
/* Offsets that can be read and are not stored; -1 = unknown. */
int64_t kafka_part_lag(const struct kafka_part *part);
/* The sum of those that are known; -1 = of none. */
int64_t kafka_parts_lag(const struct kafka_parts *parts);
/* What it is doing. too_large_us: when a broker last sent more than librdkafka may receive, 0 =
 * never. */
enum source_part_state kafka_part_state(const struct kafka_part *part, int64_t too_large_us,
                                        int64_t now_us);
/* An answer to a fetch has come. */
void kafka_part_hear(struct kafka_part *part);
void kafka_parts_clear(struct kafka_parts *parts);

#endif
