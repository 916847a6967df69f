#ifndef MMF_DAEMON_PUBLISH_PUBLISH_H
#define MMF_DAEMON_PUBLISH_PUBLISH_H

/* From an outbox of the store to a broker: at least once, in order, on a thread of its own.
 *
 *   outbox                     this thread                   publisher
 *   ──────                     ───────────                   ─────────
 *   read: rows behind an id ─► message, submit, one batch ─► submit
 *                              wait for each of its rows  ◄─ poll: publish_acked
 *   forget: out of the store ◄ those that are acknowledged
 *
 * - A row leaves the outbox only after its acknowledgement: a missing topic or a broker away costs
 *   time, never a row. A kill between the two publishes the row once more.
 * - After a failure the reader goes back to the first row that is still in the outbox, after a
 *   pause that grows. Nothing is ever given up.
 * - A broker refuses the whole batch of a message that is too large, so the messages of that batch
 *   are sent once more one by one; one that is refused alone is cut by its outbox, step by step.
 *
 * Neither end knows the other: dead letters are one outbox (letters.h), Kafka is one publisher
 * (daemon/kafka/publisher.h), and no source of events is needed. */

#include "config/err.h"

#include <stddef.h>
#include <stdint.h>

struct publish_header {
    const char *name;
    const void *value;
    size_t value_bytes;
};

struct publish_message {
    int64_t id; /* of its row, above 0 */
    const char *topic;
    const void *key, *value; /* NULL = none */
    size_t key_bytes, value_bytes;
    const struct publish_header *headers;
    size_t n_headers;
};

/* ---- what is published -------------------------------------------------------------------- */

struct outbox;

/* Only publish.c calls these, all but close on its thread. */
struct outbox_ops {
    const char *name;   /* "dead letters", for texts */
    const char *thread; /* the thread's name, 15 bytes at most */
    unsigned n_cuts;    /* steps in which a message that is too large can be cut */
    /* The rows behind after_id, oldest first, at most max; *ret_n of them, 0 = there are none. */
    int (*read)(struct outbox *o, int64_t after_id, size_t max, size_t *ret_n, struct err *err);
    /* Row i of the rows read, cut so many steps, 0 = whole. It is borrowed until the next call.
     * ERR_SKIP, with the id: the row cannot be published; it is passed over and stays. */
    int (*message)(struct outbox *o, size_t i, unsigned cut,
                   struct publish_message *ret_message, struct err *err);
    /* Frees the rows read. */
    void (*release)(struct outbox *o);
    /* Takes acknowledged rows out of the store: all of them, or none and an error. */
    int (*forget)(struct outbox *o, const int64_t *ids, size_t n, struct err *err);
    void (*close)(struct outbox *o);
};

/* Embedded first in each outbox's own struct. */
struct outbox {
    const struct outbox_ops *ops;
};

/* ---- where to ----------------------------------------------------------------------------- */

struct publisher;

/* All but close on the thread of the struct publish that owns it. */
struct publisher_ops {
    /* Copies the message and returns at once. After ERR_OK its acknowledgement comes; after
     * ERR_SKIP (too large for the publisher itself) and ERR_RETRY none does. */
    int (*submit)(struct publisher *pub, const struct publish_message *m, struct err *err);
    /* Waits at most timeout_ms for acknowledgements and hands them to publish_acked. */
    void (*poll)(struct publisher *pub, int timeout_ms);
    /* After a failure: ERR_OK when it can go on. ERR_RETRY: it was beyond repair and no new one can
     * be had yet; call again. */
    int (*mend)(struct publisher *pub, struct err *err);
    /* Bounded in time. What is in flight is given up, without acknowledgements. */
    void (*close)(struct publisher *pub);
};

struct publish;

/* Embedded first in each publisher's own struct. */
struct publisher {
    const struct publisher_ops *ops;
    struct publish *owner; /* set by publish_open */
};

/* From inside poll: what became of a message. status is ERR_OK when the broker has it, ERR_SKIP when
 * it or its batch is too large, ERR_RETRY after any other failure, with why. */
void publish_acked(struct publisher *pub, int64_t id, int status, const char *topic,
                   const char *why);

/* ---- the thread --------------------------------------------------------------------------- */

/* Takes ownership of both ends, on an error too (they are closed then). */
int publish_open(struct outbox *o, struct publisher *pub, struct publish **ret_p,
                 struct err *err);
/* Call it when the broker is known to be the right one. */
int publish_start(struct publish *p, struct err *err);
/* What it waits for ("dead letters wait: videos.dlq: …"), "" = nothing. Any thread. */
void publish_describe(struct publish *p, char *ret_text, size_t bytes);
/* Rows acknowledged since the start. Any thread. */
uint64_t publish_count(const struct publish *p);
/* Ends the thread, in about a second at most. Takes NULL. */
void publish_stop(struct publish *p);
/* Stops it and closes both ends. Takes NULL. */
void publish_close(struct publish *p);

#endif
