/* The thread that empties an outbox.
 *
 * Thread     One of its own: forgetting a row may wait behind a full disk, which no source and no
 *            sink may be held up by.
 * Ownership  The outbox, the publisher, the ids of the batch in flight.
 * Failure    See publish.h. What goes wrong is a text of publish_describe at once, and a line of
 *            the log at most every 30 s.
 * Example    rows 7, 8, 9 read → submitted → 7 and 9 acknowledged, 8 refused → 7 and 9 forgotten →
 *            a pause of 1 s → row 8 read, submitted, acknowledged, forgotten.
 */

#include "daemon/publish/publish.h"

#include "config/clock.h"
#include "config/log.h"
#include "config/text.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#define BATCH          64
#define IDLE_MS        250
#define POLL_MS        50
#define LAST_ACKS_MS   1000
#define BACKOFF_US     (1000 * 1000)
#define BACKOFF_MAX_US (30 * 1000 * 1000)

struct publish {
    struct outbox *outbox;
    struct publisher *publisher;
    pthread_t thread;
    bool is_started;
    atomic_bool stopping;
    atomic_uint_least64_t n_acked;

    /* the thread's own */
    int64_t after_id;
    size_t n_in_flight, n_batch; /* of the n_batch messages of this batch */
    bool has_failed;             /* one of them */
    bool is_too_large;           /* this is why, and the next try is another one */
    size_t n_alone;              /* messages still to be sent one by one */
    int64_t cut_id;              /* the row that is sent cut, 0 = none */
    unsigned cut;
    int64_t done[BATCH];
    size_t n_done; /* acknowledged, not yet forgotten */
    int64_t backoff_us, quiet_until_us;

    pthread_mutex_t lock; /* guards wait */
    char wait[160];
};

static void set_wait(struct publish *p, const char *what, const char *why)
{
    pthread_mutex_lock(&p->lock);
    text_format(p->wait, sizeof(p->wait), "%s wait: %.60s: %s", p->outbox->ops->name, what,
                why);
    pthread_mutex_unlock(&p->lock);
}

static void end_wait(struct publish *p)
{
    pthread_mutex_lock(&p->lock);
    p->wait[0] = '\0';
    pthread_mutex_unlock(&p->lock);
}

static void fail(struct publish *p, const char *what, const char *why)
{
    p->has_failed = true;
    set_wait(p, what, why);
}

static void too_large(struct publish *p, int64_t id)
{
    unsigned cut = p->cut_id == id ? p->cut : 0, n_cuts = p->outbox->ops->n_cuts;
    if (p->n_batch > 1) {
        p->n_alone = BATCH;
        p->is_too_large = true;
        return;
    }
    p->is_too_large = cut < n_cuts;
    p->cut = cut < n_cuts ? cut + 1 : n_cuts;
    p->cut_id = id;
}

void publish_acked(struct publisher *pub, int64_t id, int status, const char *topic,
                   const char *why)
{
    struct publish *p = pub->owner;
    p->n_in_flight--;
    if (status == ERR_OK) {
        p->done[p->n_done++] = id;
        atomic_fetch_add(&p->n_acked, 1);
        return;
    }
    if (status == ERR_SKIP)
        too_large(p, id);
    fail(p, topic, why);
}

static void poll_once(struct publish *p)
{
    p->publisher->ops->poll(p->publisher, POLL_MS);
}

static void pause_for(struct publish *p, int64_t us)
{
    int64_t until_us = clock_mono_us() + us;
    while (!atomic_load(&p->stopping) && clock_mono_us() < until_us)
        poll_once(p);
}

/* Acknowledged rows leave the outbox; false = try again later. */
static bool forget_done(struct publish *p)
{
    struct err err = {0};
    if (p->n_done == 0)
        return true;
    if (p->outbox->ops->forget(p->outbox, p->done, p->n_done, &err) != ERR_OK) {
        set_wait(p, "outbox", err.text);
        return false;
    }
    p->n_done = 0;
    return true;
}

/* m is row i, whole. What is too large for the publisher itself is cut at once. */
static int submit(struct publish *p, size_t i, struct publish_message *m, struct err *err)
{
    const struct outbox_ops *ops = p->outbox->ops;
    unsigned cut = m->id == p->cut_id ? p->cut : 0;
    int status = cut > 0 ? ops->message(p->outbox, i, cut, m, err) : ERR_OK;
    if (status == ERR_OK)
        status = p->publisher->ops->submit(p->publisher, m, err);
    while (status == ERR_SKIP && cut < ops->n_cuts) {
        status = ops->message(p->outbox, i, ++cut, m, err);
        if (status == ERR_OK)
            status = p->publisher->ops->submit(p->publisher, m, err);
    }
    if (status != ERR_OK)
        return status;
    p->n_in_flight++;
    p->n_batch++;
    return ERR_OK;
}

/* Returns how many rows it has gone through. */
static size_t submit_batch(struct publish *p)
{
    const struct outbox_ops *ops = p->outbox->ops;
    size_t n = 0;
    struct err err = {0};
    p->n_batch = 0;
    if (ops->read(p->outbox, p->after_id, p->n_alone > 0 ? 1 : BATCH, &n, &err) != ERR_OK) {
        fail(p, "outbox", err.text);
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        struct publish_message m = {.topic = "outbox"};
        int status = ops->message(p->outbox, i, 0, &m, &err);
        bool is_passed_over = status == ERR_SKIP;
        if (status == ERR_OK)
            status = submit(p, i, &m, &err);
        if (status != ERR_OK && !is_passed_over) {
            fail(p, m.topic, err.text);
            break;
        }
        p->after_id = m.id;
    }
    ops->release(p->outbox);
    return n;
}

static void mend(struct publish *p)
{
    struct err err = {0};
    while (p->publisher->ops->mend(p->publisher, &err) != ERR_OK &&
           !atomic_load(&p->stopping)) {
        set_wait(p, "producer", err.text);
        pause_for(p, BACKOFF_US);
    }
}

/* After a batch of which something failed: the rest of it is sent again, later. */
static void recover(struct publish *p)
{
    mend(p);
    bool is_too_large = p->is_too_large;
    p->has_failed = p->is_too_large = false;
    p->after_id = 0;
    if (is_too_large)
        return; /* the next try is another one */
    int64_t now_us = clock_mono_us();
    if (now_us >= p->quiet_until_us) {
        p->quiet_until_us = now_us + BACKOFF_MAX_US;
        char why[sizeof(p->wait)];
        publish_describe(p, why, sizeof(why));
        log_warning("%s; trying again (they are safe in the store)", why);
    }
    pause_for(p, p->backoff_us);
    p->backoff_us = p->backoff_us * 2 < BACKOFF_MAX_US ? p->backoff_us * 2 : BACKOFF_MAX_US;
}

/* A whole batch: submit, wait for every acknowledgement, forget. */
static void round_of_batch(struct publish *p)
{
    bool is_idle = submit_batch(p) == 0 && !p->has_failed;
    while (p->n_in_flight > 0 && !atomic_load(&p->stopping))
        poll_once(p);
    size_t n_done = p->n_done;
    if (!forget_done(p)) {
        pause_for(p, BACKOFF_US);
        return;
    }
    if (p->has_failed) {
        recover(p);
        return;
    }
    if (n_done > 0)
        p->backoff_us = BACKOFF_US;
    if (p->n_alone > 0)
        p->n_alone--;
    end_wait(p);
    if (is_idle) {
        p->after_id = 0;
        pause_for(p, IDLE_MS * 1000);
    }
}

static void *thread_main(void *arg)
{
    struct publish *p = arg;
    while (!atomic_load(&p->stopping)) {
        if (p->n_done > 0 && !forget_done(p))
            pause_for(p, BACKOFF_US);
        else
            round_of_batch(p);
    }
    /* What the broker acknowledges in the last moment need not be published again. */
    int64_t until_us = clock_mono_us() + LAST_ACKS_MS * 1000;
    while (p->n_in_flight > 0 && clock_mono_us() < until_us)
        poll_once(p);
    forget_done(p);
    return NULL;
}

int publish_open(struct outbox *o, struct publisher *pub, struct publish **ret_p,
                 struct err *err)
{
    struct publish *p = calloc(1, sizeof(*p));
    if (p == NULL) {
        pub->ops->close(pub);
        o->ops->close(o);
        return err_oom(err, "opening an outbox");
    }
    p->outbox = o;
    p->publisher = pub;
    p->backoff_us = BACKOFF_US;
    pthread_mutex_init(&p->lock, NULL);
    pub->owner = p;
    *ret_p = p;
    return ERR_OK;
}

int publish_start(struct publish *p, struct err *err)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int why = pthread_create(&p->thread, NULL, thread_main, p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (why != 0)
        return err_fatal(err, EX_OSERR, "outbox of %s: start a thread: %s",
                         p->outbox->ops->name, strerror(why));
    pthread_setname_np(p->thread, p->outbox->ops->thread);
    p->is_started = true;
    return ERR_OK;
}

void publish_describe(struct publish *p, char *ret_text, size_t bytes)
{
    pthread_mutex_lock(&p->lock);
    text_format(ret_text, bytes, "%s", p->wait);
    pthread_mutex_unlock(&p->lock);
}

uint64_t publish_count(const struct publish *p)
{
    return atomic_load(&p->n_acked);
}

void publish_stop(struct publish *p)
{
    if (p == NULL)
        return;
    atomic_store(&p->stopping, true);
    if (p->is_started)
        pthread_join(p->thread, NULL);
    p->is_started = false;
}

void publish_close(struct publish *p)
{
    if (p == NULL)
        return;
    publish_stop(p);
    p->publisher->ops->close(p->publisher);
    p->outbox->ops->close(p->outbox);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
