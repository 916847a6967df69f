#include "daemon/pipeline/dispatch.h"

#include "config/clock.h"
#include "config/log_limit.h"
#include "config/wake.h"
#include "daemon/base/health.h"
#include "daemon/base/metrics.h"
#include "daemon/event/event.h"
#include "daemon/pipeline/fetching.h"
#include "daemon/pipeline/standstill.h"
#include "daemon/pipeline/turns.h"
#include "daemon/pipeline/update.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sysexits.h>
#include <unistd.h>

enum { TICK_MS = 1000, HEALTH_LIMIT_MS = 5000 };

struct dispatch {
    struct dispatch_options o;
    _Atomic(const struct settings *) settings;
    struct store *reader;
    struct turns turns;
    struct item *refused;     /* no memory to parse it or for its turn: nothing overtakes it */
    struct fetching fetching; /* have their turn, their media is not open */
    struct item_list ready;   /* wait for a worker; of these n_open hold a descriptor */
    struct item_list delayed; /* tried again at retry_us */
    enum standstill told;
    size_t n_open;
    size_t n_held; /* of all these and in jobs; those who wait in turns do not count */
    size_t max_waiting, max_waiting_bytes; /* of these */
    struct item **jobs;                    /* (n_jobs) NULL = free; a job's id is its index */
    size_t n_jobs;                         /* what there were of workers at most */
    int64_t n_asked;  /* of workers, as by extract.workers, the last time that this changed */
    size_t n_workers; /* that there are to be */
    struct pool_result result;

    int notice_fd; /* wake.h: something settled, or stop */
    int wake_fd;   /* epoll over notice_fd, what was fetched and, while there is room, `work` */
    bool listening;
    atomic_bool stopping;
    pthread_t thread;

    pthread_mutex_t lock;
    struct turn *settled; /* to be given back, newest first */
    struct pool_stats stats;
};

/* ---- leaving ----------------------------------------------------------------------------- */

static void pass_on(struct dispatch *d, struct item *item)
{
    d->n_held--;
    queue_push(d->o.done, item);
}

static void delay(struct dispatch *d, struct item *item, int64_t wait_ms)
{
    item->retry_us = clock_mono_us() + wait_ms * 1000;
    item_list_push(&d->delayed, item);
}

/* Memory, descriptors, processes: never the item's fault, however often it is tried. */
static bool is_ours(const struct err *err)
{
    return err->status == ERR_RETRY && err->exit_code == EX_OSERR;
}

/* Waits of 0.1, 0.4 and 1.6 s. A shortage of ours is tried every 1.6 s until it has ended. */
static void try_later(struct dispatch *d, struct item *item, const struct err *err)
{
    int n = item->tries < DISPATCH_RETRIES ? item->tries : DISPATCH_RETRIES - 1;
    if (item->tries == DISPATCH_RETRIES &&
        log_limit(LOG_LEVEL_ERROR, "items that are tried again", "", "item %s", item->item_id))
        log_error("item %s (%s/%d@%lld): %s: nothing is lost; tried again every %d ms",
                  item->item_id, item->topic, item->partition, (long long)item->offset,
                  err->text, DISPATCH_RETRY_MS << (2 * n));
    delay(d, item, (int64_t)DISPATCH_RETRY_MS << (2 * n));
    item->tries++;
}

/* Skip: a dead letter. Retry: later, a few times, or until it works. Fatal: the item waits for
 * the end. */
static void fault(struct dispatch *d, struct item *item, const struct err *err)
{
    if (err->status == ERR_FATAL) {
        d->o.failed(d->o.arg, err);
        delay(d, item, TICK_MS);
    } else if (is_ours(err) || (err->status == ERR_RETRY && item->tries < DISPATCH_RETRIES)) {
        try_later(d, item, err);
    } else {
        item_kill(item, "extract", err);
        pass_on(d, item);
    }
}

/* ---- media and workers ------------------------------------------------------------------- */

static bool has_text(const struct item *item)
{
    return item->title || item->description || item->n_tags > 0;
}

static bool needs_media(const struct item *item)
{
    return item->media_uri && !item->keeps_media;
}

static void take_fetched(struct dispatch *d)
{
    struct err err;
    struct item *item;
    while ((item = fetching_take(&d->fetching, &err))) {
        if (err.status == ERR_OK) {
            item_list_push(&d->ready, item);
            d->n_open++;
        } else {
            fault(d, item, &err);
        }
    }
}

/* As many media are kept open ahead as there are workers, besides what comes in from threads that
 * have begun: that bounds the descriptors. */
static void fetch_more(struct dispatch *d)
{
    if (d->n_open < d->n_workers)
        fetching_start(&d->fetching, atomic_load(&d->settings));
    fetching_look(&d->fetching);
}

static size_t free_slot(const struct dispatch *d)
{
    size_t i = 0;
    while (i < d->n_jobs && d->jobs[i])
        i++;
    return i;
}

/* The worker checks the sha256, before it decodes: here the 42 ms of CPU for 64 MB would hold
 * up every other item. The time counts against extract.deadline_ms. */
static int submit(struct dispatch *d, struct item *item, struct err *err)
{
    size_t slot = free_slot(d);
    if (slot == d->n_jobs)
        return err_retry(err, EX_SOFTWARE, "extract: more idle workers than jobs");
    struct pool_job job = {.id = slot,
                           .media_fd = item->media_fd,
                           .sha256 = item->sha256,
                           .text = {.title = item->title,
                                    .description = item->description,
                                    .lang = item->lang,
                                    .tags = item->tags,
                                    .n_tags = item->n_tags}};
    int status = pool_submit(d->o.pool, &job, err);
    if (status == ERR_OK)
        d->jobs[slot] = item;
    return status;
}

static void start(struct dispatch *d, struct item *item)
{
    struct err err;
    d->n_open -= item->media_fd >= 0;
    if (submit(d, item, &err) != ERR_OK) {
        item_close_media(item);
        fault(d, item, &err);
    } else {
        metrics_stage_us(METRICS_QUEUE, clock_real_us() - item->received_us);
    }
}

static void start_ready(struct dispatch *d)
{
    while (d->ready.head && pool_n_idle(d->o.pool) > 0)
        start(d, item_list_pop(&d->ready));
}

/* No dead letter says it. */
static void tell_text_only(const struct item *item, const struct err *why)
{
    if (log_limit(LOG_LEVEL_WARNING, "items of their text alone with reason", why->reason,
                  "item %s", item->item_id))
        log_warning("item %s (%s/%d@%lld): %s: %s: the row is of the text alone", item->item_id,
                    item->topic, item->partition, (long long)item->offset, why->reason,
                    why->text);
}

static void finish(struct dispatch *d, const struct pool_result *result)
{
    assert(result->id < d->n_jobs && d->jobs[result->id]);
    struct item *item = d->jobs[result->id];
    d->jobs[result->id] = NULL;
    item_close_media(item);

    struct err err = result->err;
    if (err.status == ERR_OK)
        update_adopt(item, &result->features, &result->media_err, &err);
    if (err.status != ERR_OK) {
        fault(d, item, &err);
        return;
    }
    if (result->media_err.status != ERR_OK)
        tell_text_only(item, &result->media_err);
    item->extract_us = result->features.extract_us;
    item->extracted_us = clock_real_us();
    metrics_stage_us(METRICS_EXTRACT, item->extract_us);
    pass_on(d, item);
}

/* ---- turns ------------------------------------------------------------------------------- */

/* Videos keep the order of their item_id; the rest does not depend on a row. */
static bool takes_turns(const struct item *item)
{
    return item->kind == ITEM_PUBLISHED || item->kind == ITEM_UPDATED ||
           item->kind == ITEM_DELETED;
}

/* Has its turn (again, when it was delayed). */
static void begin(struct dispatch *d, struct item *item)
{
    struct err err;
    const struct ledger_mark mark = ledger_mark_of(item);
    bool stale = !ledger_is_current(d->o.ledger, &mark);
    if (stale || item->kind == ITEM_DELETED) {
        pass_on(d, item);
        return;
    }
    if (item->kind == ITEM_UPDATED &&
        update_complete(item, d->reader, pool_encoders(d->o.pool), &err) != ERR_OK) {
        if (err.status == ERR_FATAL) /* a damaged row: this item's fault, not the daemon's */
            err.status = ERR_SKIP;
        if (err.status == ERR_RETRY) /* the store's, and so ours */
            try_later(d, item, &err);
        else
            fault(d, item, &err);
        return;
    }
    if (needs_media(item))
        fetching_add(&d->fetching, item);
    else if (has_text(item))
        item_list_push(&d->ready, item);
    else
        pass_on(d, item);
}

/* The source had no memory to parse it. False when there is still none. */
static bool parse_raw(struct dispatch *d, struct item *item)
{
    struct err err;
    int status = event_parse(d->o.rules, item, &err);
    if (status == ERR_RETRY)
        return false;
    item->is_raw = false;
    if (status != ERR_OK)
        item_kill(item, "parse", &err);
    return true;
}

/* False when nothing more can be admitted for now. */
static bool admit_one(struct dispatch *d, struct item *item)
{
    if (item->is_raw && !parse_raw(d, item)) {
        d->refused = item;
        return false;
    }
    if (!takes_turns(item)) {
        pass_on(d, item);
        return true;
    }
    bool has_turn;
    if (turns_take(&d->turns, item, &has_turn, NULL) != ERR_OK) {
        d->refused = item;
        return false;
    }
    if (has_turn)
        begin(d, item);
    else
        d->n_held--;
    return true;
}

/* Events that wait for their turn are not held: otherwise one hot item_id would hold up all
 * others (seen with 300 events of one). */
static bool has_room(struct dispatch *d)
{
    return d->n_held < DISPATCH_HELD_MAX && d->turns.n_waiting < d->max_waiting &&
           d->turns.waiting_bytes < d->max_waiting_bytes && !d->refused &&
           !queue_is_high(d->o.done);
}

static void admit(struct dispatch *d)
{
    struct item *item = d->refused;
    d->refused = NULL;
    if (item && !admit_one(d, item))
        return;
    while (has_room(d) && (item = queue_pop(d->o.work, 0))) {
        d->n_held++;
        admit_one(d, item);
    }
}

void dispatch_settled(struct dispatch *d, const struct item *item)
{
    if (item->turn) {
        pthread_mutex_lock(&d->lock);
        item->turn->next_settled = d->settled;
        d->settled = item->turn;
        pthread_mutex_unlock(&d->lock);
    }
    wake_set(d->notice_fd);
}

static void give_back_settled(struct dispatch *d)
{
    wake_clear(d->notice_fd);
    pthread_mutex_lock(&d->lock);
    struct turn *turn = d->settled;
    d->settled = NULL;
    pthread_mutex_unlock(&d->lock);
    while (turn) {
        struct turn *next_turn = turn->next_settled;
        struct item *next = turns_give_back(&d->turns, turn);
        if (next) {
            d->n_held++;
            begin(d, next);
        }
        turn = next_turn;
    }
}

/* ---- the thread -------------------------------------------------------------------------- */

static void resume_delayed(struct dispatch *d)
{
    int64_t now_us = clock_mono_us();
    struct item_list delayed = d->delayed;
    struct item *item;
    d->delayed = (struct item_list){0};
    while ((item = item_list_pop(&delayed))) {
        if (item->retry_us <= now_us)
            begin(d, item);
        else
            item_list_push(&d->delayed, item);
    }
}

/* Until the next delayed item, at most a tick. */
static int patience_ms(const struct dispatch *d)
{
    if (d->refused)
        return DISPATCH_RETRY_MS;
    int64_t now_us = clock_mono_us(), wait_us = (int64_t)TICK_MS * 1000;
    for (const struct item *item = d->delayed.head; item; item = item->next)
        if (item->retry_us - now_us < wait_us)
            wait_us = item->retry_us - now_us;
    return wait_us > 0 ? (int)((wait_us + 999) / 1000) : 0;
}

/* The work queue wakes us only while there is room for what is in it. */
static void listen_to_work(struct dispatch *d)
{
    bool wanted = has_room(d) && !queue_is_shut(d->o.work);
    if (wanted == d->listening)
        return;
    struct epoll_event event = {.events = wanted ? EPOLLIN : 0};
    if (epoll_ctl(d->wake_fd, EPOLL_CTL_MOD, queue_fd(d->o.work), &event) == 0)
        d->listening = wanted;
}

static int room_for_jobs(struct dispatch *d, size_t n, struct err *err)
{
    struct item **jobs = n > d->n_jobs ? realloc(d->jobs, n * sizeof(*jobs)) : d->jobs;
    if (!jobs)
        return err_oom(err, "extract thread: jobs");
    d->jobs = jobs;
    for (; d->n_jobs < n; d->n_jobs++)
        jobs[d->n_jobs] = NULL;
    return ERR_OK;
}

/* As many workers as a reload asks for. */
static void follow_settings(struct dispatch *d)
{
    int64_t n_asked = atomic_load(&d->settings)->extract.workers;
    struct err err;
    if (n_asked == d->n_asked)
        return;
    d->n_asked = n_asked;
    int status = pool_resize(d->o.pool, (unsigned)n_asked, &err);
    size_t n = pool_n_wanted(d->o.pool);
    if (status == ERR_OK && (status = room_for_jobs(d, n, &err)) != ERR_OK)
        (void)pool_resize(d->o.pool, (unsigned)d->n_workers, NULL); /* fewer: needs no memory */
    if (status != ERR_OK) {
        log_error("extract.workers: %s: %zu as before", err.text, d->n_workers);
        return;
    }
    log_notice("extract.workers: %zu from now on, %zu before", n, d->n_workers);
    d->n_workers = n;
}

static void publish_stats(struct dispatch *d)
{
    pthread_mutex_lock(&d->lock);
    pool_stats(d->o.pool, &d->stats);
    pthread_mutex_unlock(&d->lock);
}

static void *dispatch_main(void *arg)
{
    struct dispatch *d = arg;
    struct err err;
    health_start(HEALTH_EXTRACT, HEALTH_LIMIT_MS);
    while (!atomic_load(&d->stopping)) {
        health_tick(HEALTH_EXTRACT);
        follow_settings(d);
        give_back_settled(d);
        resume_delayed(d);
        admit(d);
        take_fetched(d);
        start_ready(d);
        fetch_more(d);
        if (standstill_look(&d->told, d->o.pool, &d->fetching, &err) != ERR_OK)
            d->o.failed(d->o.arg, &err);
        listen_to_work(d);
        publish_stats(d);
        if (pool_wait(d->o.pool, d->wake_fd, patience_ms(d), &d->result))
            finish(d, &d->result);
    }
    health_stop(HEALTH_EXTRACT);
    return NULL;
}

void dispatch_stats(struct dispatch *d, struct pool_stats *ret_stats)
{
    pthread_mutex_lock(&d->lock);
    *ret_stats = d->stats;
    pthread_mutex_unlock(&d->lock);
}

void dispatch_reload(struct dispatch *d, const struct settings *s)
{
    atomic_store(&d->settings, s);
    wake_set(d->notice_fd);
}

/* ---- opening and closing ----------------------------------------------------------------- */

static int watch(int epoll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static int open_descriptors(struct dispatch *d, struct err *err)
{
    int status = wake_open("extract thread", &d->notice_fd, err);
    if (status != ERR_OK)
        return status;
    d->wake_fd = epoll_create1(EPOLL_CLOEXEC);
    if (d->wake_fd < 0 || watch(d->wake_fd, d->notice_fd) < 0 ||
        watch(d->wake_fd, fetching_fd(&d->fetching)) < 0 ||
        watch(d->wake_fd, queue_fd(d->o.work)) < 0)
        return err_retry(err, EX_OSERR, "extract thread: descriptors: %s: raise LimitNOFILE",
                         strerror(errno));
    d->listening = true;
    return ERR_OK;
}

static int open_jobs(struct dispatch *d, struct err *err)
{
    pool_stats(d->o.pool, &d->stats);
    d->n_workers = d->stats.n_workers;
    d->n_asked = d->o.settings->extract.workers;
    return room_for_jobs(d, d->n_workers, err);
}

static void dispatch_free(struct dispatch *d)
{
    for (size_t i = 0; d->jobs && i < d->n_jobs; i++)
        item_free(d->jobs[i]);
    free(d->jobs);
    fetching_close(&d->fetching);
    item_free(d->refused);
    item_list_free(&d->ready);
    item_list_free(&d->delayed);
    turns_done(&d->turns);
    store_close(d->reader);
    if (d->notice_fd >= 0)
        close(d->notice_fd);
    if (d->wake_fd >= 0)
        close(d->wake_fd);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

static int start_thread(struct dispatch *d, struct err *err)
{
    int code = pthread_create(&d->thread, NULL, dispatch_main, d);
    return code ? err_retry(err, EX_OSERR, "extract thread: start: %s", strerror(code))
                : ERR_OK;
}

int dispatch_open(const struct dispatch_options *options, struct dispatch **ret_d,
                  struct err *err)
{
    struct dispatch *d = calloc(1, sizeof(*d));
    if (!d)
        return err_oom(err, "extract thread");
    d->o = *options;
    d->notice_fd = d->wake_fd = -1;
    d->max_waiting = (size_t)options->settings->queue.items;
    d->max_waiting_bytes = (size_t)options->settings->queue.bytes;
    atomic_init(&d->settings, options->settings);
    pthread_mutex_init(&d->lock, NULL);
    int status;
    if ((status = open_jobs(d, err)) != ERR_OK ||
        (status = fetching_open(&d->fetching, err)) != ERR_OK ||
        (status = open_descriptors(d, err)) != ERR_OK ||
        (status = store_open(options->settings->store.path, STORE_READ, &d->reader, err)) !=
            ERR_OK ||
        (status = start_thread(d, err)) != ERR_OK) {
        dispatch_free(d);
        return status;
    }
    *ret_d = d;
    return ERR_OK;
}

void dispatch_close(struct dispatch *d)
{
    if (!d)
        return;
    atomic_store(&d->stopping, true);
    wake_set(d->notice_fd);
    pthread_join(d->thread, NULL);
    dispatch_free(d);
}
