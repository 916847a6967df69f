/* The ledger: for each partition the offsets in flight, ascending, in a ring that doubles.
 *
 *   head                              newest
 *   41 ·  43 ✓  44 ·  47 ✓  48 ·            next_offset = 41; finishing 41 makes it 44
 *
 * begin appends; finish marks a slot and, when it is the head, drops the finished prefix, so
 * each slot is touched twice in its life. A slot is looked for at the place it would have in a
 * log without holes, which is right on the first try in such a log, then by bisection.
 *
 * Epochs come from one counter of the ledger, so that a revoked partition can be forgotten at
 * once (a spool has one partition a file, for ever) and its stale results are still told apart.
 *
 * When there is no memory for one more slot, the partition stands still at that offset until it
 * is assigned again: slower, but nothing is skipped. */

#include "daemon/pipeline/ledger.h"

#include "daemon/event/item.h"

#include <assert.h>
#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

enum { RING_FIRST = 64 }; /* slots; a power of two */

struct slot {
    int64_t offset;
    int64_t digest; /* of the record, 0 = none */
    bool finished;
    bool previewed; /* only inside ledger_preview */
};

struct partition {
    const char *topic;
    int32_t number;
    uint32_t epoch;
    int64_t after_newest; /* next_offset when nothing is in flight */
    int64_t stop_at;      /* no offset from here on is taken; INT64_MAX = no limit */
    struct slot *ring;    /* (size), size a power of two, 0 = none yet */
    size_t size, head, n_slots;
    size_t n_unfinished;
    struct partition *next_touched; /* only inside ledger_preview */
    bool touched;
    bool is_lane;
    char name[];
};

struct ledger {
    pthread_mutex_t lock;
    void *partitions; /* tsearch tree */
    uint32_t last_epoch;
    size_t n_in_flight;
};

static int compare(const void *a, const void *b)
{
    const struct partition *x = a, *y = b;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return strcmp(x->topic, y->topic);
}

static void partition_free(void *arg)
{
    struct partition *p = arg;
    free(p->ring);
    free(p);
}

struct ledger *ledger_new(void)
{
    struct ledger *l = calloc(1, sizeof(*l));
    if (l)
        pthread_mutex_init(&l->lock, NULL);
    return l;
}

void ledger_free(struct ledger *l)
{
    if (!l)
        return;
    tdestroy(l->partitions, partition_free);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static struct partition *find(struct ledger *l, const char *topic, int32_t number)
{
    struct partition key = {.topic = topic, .number = number};
    struct partition **node = tfind(&key, &l->partitions, compare);
    return node ? *node : NULL;
}

static struct partition *find_epoch(struct ledger *l, const struct ledger_mark *mark)
{
    struct partition *p = find(l, mark->topic, mark->partition);
    return p && p->epoch == mark->epoch ? p : NULL;
}

static struct partition *add(struct ledger *l, const char *topic, int32_t number)
{
    size_t topic_bytes = strlen(topic) + 1;
    struct partition *p = calloc(1, sizeof(*p) + topic_bytes);
    if (!p)
        return NULL;
    memcpy(p->name, topic, topic_bytes);
    p->topic = p->name;
    p->number = number;
    if (tsearch(p, &l->partitions, compare))
        return p;
    free(p);
    return NULL;
}

static void forget(struct ledger *l, struct partition *p)
{
    l->n_in_flight -= p->n_unfinished;
    p->n_unfinished = p->n_slots = p->head = 0;
}

static uint32_t next_epoch(struct ledger *l)
{
    if (++l->last_epoch == 0)
        l->last_epoch = 1;
    return l->last_epoch;
}

static int assign(struct ledger *l, struct partition *p, int64_t next_offset,
                  uint32_t *ret_epoch, struct err *err)
{
    if (!p)
        return err_oom(err, "ledger: assign a partition");
    forget(l, p);
    p->after_newest = next_offset;
    p->stop_at = INT64_MAX;
    p->epoch = *ret_epoch = next_epoch(l);
    p->is_lane = false;
    return ERR_OK;
}

int ledger_assign(struct ledger *l, const char *topic, int32_t partition, int64_t next_offset,
                  uint32_t *ret_epoch, struct err *err)
{
    pthread_mutex_lock(&l->lock);
    struct partition *p = find(l, topic, partition);
    int status = assign(l, p ? p : add(l, topic, partition), next_offset, ret_epoch, err);
    pthread_mutex_unlock(&l->lock);
    return status;
}

int ledger_open_lane(struct ledger *l, const char *name, uint32_t *ret_epoch, struct err *err)
{
    pthread_mutex_lock(&l->lock);
    struct partition *p = find(l, name, 0);
    if (!p)
        p = add(l, name, 0);
    int status = assign(l, p, 0, ret_epoch, err);
    if (status == ERR_OK)
        p->is_lane = true;
    pthread_mutex_unlock(&l->lock);
    return status;
}

int ledger_claim(struct ledger *l, const char *topic, int32_t partition, uint32_t *ret_epoch,
                 struct err *err)
{
    pthread_mutex_lock(&l->lock);
    int status = find(l, topic, partition)
                     ? ERR_BUSY
                     : assign(l, add(l, topic, partition), 0, ret_epoch, err);
    pthread_mutex_unlock(&l->lock);
    return status;
}

void ledger_revoke(struct ledger *l, const char *topic, int32_t partition)
{
    pthread_mutex_lock(&l->lock);
    struct partition *p = find(l, topic, partition);
    if (p) {
        forget(l, p);
        tdelete(p, &l->partitions, compare);
        partition_free(p);
    }
    pthread_mutex_unlock(&l->lock);
}

static struct slot *at(const struct partition *p, size_t i)
{
    return &p->ring[(p->head + i) & (p->size - 1)];
}

static int64_t limited(const struct partition *p, int64_t next_offset)
{
    return next_offset < p->stop_at ? next_offset : p->stop_at;
}

static int64_t next_of(const struct partition *p)
{
    return limited(p, p->n_slots > 0 ? at(p, 0)->offset : p->after_newest);
}

/* Index of the first entry whose offset is not below `offset`. In a log without holes it is
 * offset - head: tried first. */
static size_t lower_bound(const struct partition *p, int64_t offset)
{
    size_t low = 0, high = p->n_slots;
    if (high == 0 || offset <= at(p, 0)->offset)
        return 0;
    uint64_t guess = (uint64_t)offset - (uint64_t)at(p, 0)->offset;
    if (guess < high && at(p, (size_t)guess)->offset == offset)
        return (size_t)guess;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (at(p, middle)->offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct slot *find_slot(const struct partition *p, int64_t offset)
{
    size_t i = lower_bound(p, offset);
    return i < p->n_slots && at(p, i)->offset == offset ? at(p, i) : NULL;
}

static bool make_room(struct partition *p)
{
    if (p->n_slots < p->size)
        return true;
    size_t size = p->size > 0 ? 2 * p->size : RING_FIRST;
    struct slot *ring = calloc(size, sizeof(*ring));
    if (!ring)
        return false;
    for (size_t i = 0; i < p->n_slots; i++)
        ring[i] = *at(p, i);
    free(p->ring);
    p->ring = ring;
    p->size = size;
    p->head = 0;
    return true;
}

/* Offsets arrive ascending, so this appends; one that arrives late is put in its place. */
static bool insert(struct partition *p, int64_t offset)
{
    size_t place = offset >= p->after_newest ? p->n_slots : lower_bound(p, offset);
    if (place < p->n_slots && at(p, place)->offset == offset)
        return false;
    if (!make_room(p)) {
        p->stop_at = offset;
        return false;
    }
    for (size_t i = p->n_slots++; i > place; i--)
        *at(p, i) = *at(p, i - 1);
    *at(p, place) = (struct slot){.offset = offset};
    if (offset >= p->after_newest)
        p->after_newest = offset + 1;
    return true;
}

bool ledger_begin(struct ledger *l, const char *topic, int32_t partition, int64_t offset,
                  uint32_t *ret_epoch)
{
    pthread_mutex_lock(&l->lock);
    struct partition *p = find(l, topic, partition);
    bool begun = p && offset >= next_of(p) && offset < p->stop_at && insert(p, offset);
    if (begun) {
        p->n_unfinished++;
        l->n_in_flight++;
        *ret_epoch = p->epoch;
    }
    pthread_mutex_unlock(&l->lock);
    return begun;
}

struct ledger_mark ledger_mark_of(const struct item *item)
{
    if (item->lane)
        return (struct ledger_mark){item->lane, 0, item->lane_offset, item->epoch};
    return (struct ledger_mark){item->topic, item->partition, item->offset, item->epoch};
}

void ledger_set_digest(struct ledger *l, const char *topic, int32_t partition, int64_t offset,
                       int64_t digest)
{
    pthread_mutex_lock(&l->lock);
    struct partition *p = find(l, topic, partition);
    struct slot *slot = p ? find_slot(p, offset) : NULL;
    if (slot)
        slot->digest = digest;
    pthread_mutex_unlock(&l->lock);
}

bool ledger_is_current(struct ledger *l, const struct ledger_mark *mark)
{
    pthread_mutex_lock(&l->lock);
    bool current = find_epoch(l, mark) != NULL;
    pthread_mutex_unlock(&l->lock);
    return current;
}

/* next_offset if the previewed slots were finished too, and the last record before it. */
static int64_t next_with_previewed(const struct partition *p, struct ledger_next *next)
{
    for (size_t i = 0; i < p->n_slots; i++) {
        if (!at(p, i)->finished && !at(p, i)->previewed)
            return limited(p, at(p, i)->offset);
        if (at(p, i)->digest != 0) {
            next->record_offset = at(p, i)->offset;
            next->record_digest = at(p, i)->digest;
        }
    }
    return limited(p, p->after_newest);
}

static void set_previewed(struct ledger *l, const struct ledger_mark *mark, bool value)
{
    struct partition *p = find_epoch(l, mark);
    struct slot *slot = p ? find_slot(p, mark->offset) : NULL;
    if (slot)
        slot->previewed = value;
}

size_t ledger_preview(struct ledger *l, const struct ledger_mark *marks, size_t n,
                      struct ledger_next *ret_next)
{
    size_t n_next = 0;
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < n; i++)
        set_previewed(l, &marks[i], true);

    struct partition *touched = NULL;
    for (size_t i = 0; i < n; i++) {
        struct partition *p = find_epoch(l, &marks[i]);
        if (!p || p->touched)
            continue;
        p->touched = true;
        p->next_touched = touched;
        touched = p;
        struct ledger_next next = {.topic = marks[i].topic, .partition = marks[i].partition};
        next.next_offset = next_with_previewed(p, &next);
        if (next.next_offset > next_of(p) && !p->is_lane)
            ret_next[n_next++] = next;
    }

    for (; touched; touched = touched->next_touched)
        touched->touched = false;
    for (size_t i = 0; i < n; i++)
        set_previewed(l, &marks[i], false);
    pthread_mutex_unlock(&l->lock);
    return n_next;
}

static void drop_finished_prefix(struct partition *p)
{
    while (p->n_slots > 0 && at(p, 0)->finished) {
        p->head = (p->head + 1) & (p->size - 1);
        p->n_slots--;
    }
}

void ledger_finish(struct ledger *l, const struct ledger_mark *marks, size_t n)
{
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < n; i++) {
        struct partition *p = find_epoch(l, &marks[i]);
        struct slot *slot = p ? find_slot(p, marks[i].offset) : NULL;
        if (!slot || slot->finished)
            continue;
        slot->finished = true;
        p->n_unfinished--;
        l->n_in_flight--;
        drop_finished_prefix(p);
    }
    pthread_mutex_unlock(&l->lock);
}

size_t ledger_in_flight(struct ledger *l)
{
    pthread_mutex_lock(&l->lock);
    size_t n = l->n_in_flight;
    pthread_mutex_unlock(&l->lock);
    return n;
}

size_t ledger_in_flight_of(struct ledger *l, const char *topic, int32_t partition)
{
    pthread_mutex_lock(&l->lock);
    struct partition *p = find(l, topic, partition);
    size_t n = p ? p->n_unfinished : 0;
    pthread_mutex_unlock(&l->lock);
    return n;
}
