#ifndef MMF_DAEMON_PIPELINE_SOURCE_H
#define MMF_DAEMON_PIPELINE_SOURCE_H

/* Where events come from: Kafka (daemon/kafka), a spool folder or one NDJSON file
 * (daemon/source). A source has its own thread; it asks the store for the next offset of each
 * partition, calls ledger_begin for each message, fills an item's raw part and gives it to
 * pipeline_submit. It never commits offsets anywhere that it later reads: the store's
 * transaction does. */

#include "config/err.h"
#include "config/settings.h"
#include "daemon/pipeline/ledger.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pipeline;
struct source;

/* What a partition is doing. Where more than one holds, the first of this list is named. Each ends
 * with what it speaks of; none is kept for its own sake. */
enum source_part_state {
    SOURCE_PART_MADE_ANEW,   /* the topic is another one of the same name, or was cut; see
                                kafka.topic_made_anew */
    SOURCE_PART_DENIED,      /* the broker refuses us the topic or the group */
    SOURCE_PART_UNKNOWN,     /* no broker knows the topic */
    SOURCE_PART_REBALANCE,   /* the group has given us nothing yet */
    SOURCE_PART_GAP,         /* our place is outside the log: it is being found again */
    SOURCE_PART_TOO_LARGE,   /* stands still at a message that librdkafka may not receive */
    SOURCE_PART_ASSIGNED,    /* ours, nothing heard of it yet */
    SOURCE_PART_READING,     /* there is more */
    SOURCE_PART_TRANSACTION, /* all that may be read is; the rest is of an open transaction */
    SOURCE_PART_CAUGHT_UP,
    SOURCE_PART_STATES
};
/* "made_anew": for metrics and JSON. */
const char *source_part_state_name(enum source_part_state state);
/* "behind an open transaction": for people. */
const char *source_part_state_text(enum source_part_state state);

#define SOURCE_TOPIC_BYTES 250 /* Kafka's longest name, and the NUL */
/* So many partitions are shown one by one, in /metrics and by the control socket; the sums hold
 * all. */
#define SOURCE_PARTS_SHOWN 100

struct source_part {
    char topic[SOURCE_TOPIC_BYTES];
    int32_t partition; /* -1 = the topic as a whole */
    bool is_group;     /* it is the consumer group's state */
    enum source_part_state state;
    int64_t lag;         /* records that could be read and are not stored; -1 = unknown */
    int64_t next_offset; /* in the store, -1 = none */
    char why[160];       /* what the state's name does not say, "" = nothing */
};

struct source_status {
    bool connected; /* the broker answers; the folder is there */
    bool paused;    /* by back-pressure */
    bool finished;  /* a file source: everything has been submitted */
    unsigned n_partitions;
    unsigned n_in_state[SOURCE_PART_STATES]; /* Kafka only */
    int64_t lag_records; /* over all assigned partitions whose lag is known, -1 = of none */
    char detail[192];    /* why it does not read, or not all: "2 brokers down", "" = it does */
    char warning[192];   /* what holds up something else than reading, "" = nothing */
    bool failed;         /* cannot go on: the daemon drains and exits with err.exit_code */
    struct err err;
    /* since the start; Kafka only, 0 elsewhere */
    uint64_t n_rebalances; /* assignments and revocations */
    uint64_t n_lost;       /* assignments lost without a revocation */
    uint64_t n_gaps;       /* holes in the log, each a data_gap row */
    uint64_t n_repeats;    /* messages delivered again and dropped */
};

struct source_ops {
    const char *name;
    /* Starts its thread. ERR_BUSY (a file): the same bytes are being read; try again later. */
    int (*start)(struct source *src, struct err *err);
    void (*stop)(struct source *src); /* no new items after it returns; bounded in time */
    void (*status)(struct source *src, struct source_status *ret_status);
    /* At most `room` partitions in a lasting order; how many there are in all. NULL = none. */
    size_t (*parts)(struct source *src, struct source_part *ret_rows, size_t room);
    /* On the sink's thread, after the database commit: tell lag tools, delete spool files. NULL =
     * not interested. Must not block. */
    void (*committed)(struct source *src, const struct ledger_next *next, size_t n);
    void (*close)(struct source *src);
};

/* Embedded first in each source's own struct. */
struct source {
    const struct source_ops *ops;
};

#endif
