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

struct source_status {
    bool connected; /* the broker answers; the folder is there */
    bool paused;    /* by back-pressure */
    bool finished;  /* a file source: everything has been submitted */
    unsigned n_partitions;
    int64_t lag_records; /* over all assigned partitions, -1 = unknown */
    char detail[128];    /* for STATUS and metammf status: "2 brokers down" */
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
