#ifndef MMF_DAEMON_PIPELINE_QUEUE_H
#define MMF_DAEMON_PIPELINE_QUEUE_H

/* A bounded FIFO of items between two threads, bounded in items and in bytes. The consumer may
 * wait on queue_fd (an eventfd, readable while the queue is not empty or is closed) together
 * with other descriptors. Pushing past the bound is allowed to the caller that must not lose an
 * item (a paused Kafka consumer still holds a few): the bound is what queue_is_high tells. */

#include "config/err.h"
#include "daemon/event/item.h"

#include <stdbool.h>
#include <stddef.h>

struct queue;

struct queue_limits {
    size_t items, bytes;
    unsigned high_percent, low_percent; /* hysteresis of queue_is_high */
};

int queue_open(const struct queue_limits *limits, struct queue **ret_q, struct err *err);
/* Takes ownership. After queue_shut the item is freed. */
void queue_push(struct queue *q, struct item *item);
/* The oldest item, NULL when nothing came within timeout_ms (-1 = wait) or the queue is shut and
 * empty. */
struct item *queue_pop(struct queue *q, int timeout_ms);
/* True from the high-water mark until the level has fallen below the low one. */
bool queue_is_high(struct queue *q);
size_t queue_length(struct queue *q);
int queue_fd(const struct queue *q);
/* No more pushes; what is inside can still be popped. */
void queue_shut(struct queue *q);
bool queue_is_shut(struct queue *q);
void queue_close(struct queue *q); /* frees what is inside; takes NULL */

#endif
