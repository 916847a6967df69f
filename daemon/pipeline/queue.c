/* The queue: a linked list under one mutex. The descriptor mirrors "not empty or shut", so that a
 * consumer may sleep in poll() with other descriptors; it is written only when that changes,
 * which is twice a burst and not once an item. */

#include "daemon/pipeline/queue.h"

#include "config/clock.h"
#include "config/wake.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct queue {
    pthread_mutex_t lock;
    struct queue_limits limits;
    struct item_list list;
    size_t n_items, n_bytes;
    bool high, shut;
    int fd;
};

int queue_open(const struct queue_limits *limits, struct queue **ret_q, struct err *err)
{
    struct queue *q = calloc(1, sizeof(*q));
    if (!q)
        return err_oom(err, "queue");
    q->limits = *limits;
    int status = wake_open("queue", &q->fd, err);
    if (status != ERR_OK) {
        free(q);
        return status;
    }
    pthread_mutex_init(&q->lock, NULL);
    *ret_q = q;
    return ERR_OK;
}

static bool over(size_t level, size_t limit, unsigned percent)
{
    return (double)level >= (double)limit * percent / 100.0;
}

/* Both bounds must have fallen below the low mark; either one at the high mark is enough. */
static void update_high(struct queue *q)
{
    unsigned percent = q->high ? q->limits.low_percent : q->limits.high_percent;
    q->high = q->n_items > 0 && (over(q->n_items, q->limits.items, percent) ||
                                 over(q->n_bytes, q->limits.bytes, percent));
}

void queue_push(struct queue *q, struct item *item)
{
    pthread_mutex_lock(&q->lock);
    bool refused = q->shut;
    if (!refused) {
        item_list_push(&q->list, item);
        q->n_items++;
        q->n_bytes += item_bytes(item);
        update_high(q);
        if (q->n_items == 1)
            wake_set(q->fd);
    }
    pthread_mutex_unlock(&q->lock);
    if (refused)
        item_free(item);
}

/* *ret_is_end: of the same look, for one may push and shut between two. */
static struct item *take(struct queue *q, bool *ret_is_end)
{
    pthread_mutex_lock(&q->lock);
    struct item *item = item_list_pop(&q->list);
    if (item) {
        q->n_items--;
        q->n_bytes -= item_bytes(item);
        update_high(q);
        if (q->n_items == 0 && !q->shut)
            wake_clear(q->fd);
    }
    *ret_is_end = !item && q->shut;
    pthread_mutex_unlock(&q->lock);
    return item;
}

static int left_ms(int64_t deadline_us)
{
    int64_t left_us = deadline_us - clock_mono_us();
    return left_us > 0 ? (int)((left_us + 999) / 1000) : 0;
}

struct item *queue_pop(struct queue *q, int timeout_ms)
{
    int64_t deadline_us = clock_mono_us() + (int64_t)timeout_ms * 1000;
    for (;;) {
        bool is_end;
        struct item *item = take(q, &is_end);
        if (item || is_end)
            return item;
        int wait_ms = timeout_ms < 0 ? -1 : left_ms(deadline_us);
        if (wait_ms == 0)
            return NULL;
        struct pollfd readable = {.fd = q->fd, .events = POLLIN};
        if (poll(&readable, 1, wait_ms) < 0)
            assert(errno == EINTR || errno == ENOMEM);
    }
}

bool queue_is_high(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    bool high = q->high;
    pthread_mutex_unlock(&q->lock);
    return high;
}

size_t queue_length(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    size_t n = q->n_items;
    pthread_mutex_unlock(&q->lock);
    return n;
}

int queue_fd(const struct queue *q)
{
    return q->fd;
}

void queue_shut(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->shut = true;
    wake_set(q->fd);
    pthread_mutex_unlock(&q->lock);
}

bool queue_is_shut(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    bool shut = q->shut;
    pthread_mutex_unlock(&q->lock);
    return shut;
}

void queue_close(struct queue *q)
{
    if (!q)
        return;
    item_list_free(&q->list);
    pthread_mutex_destroy(&q->lock);
    close(q->fd);
    free(q);
}
