#include "daemon/pipeline/pipeline.h"

#include "config/clock.h"
#include "config/log.h"
#include "config/text.h"
#include "daemon/base/metrics.h"
#include "daemon/event/event.h"
#include "daemon/media/media_file.h"
#include "daemon/model/factors.h"
#include "daemon/pipeline/dispatch.h"
#include "daemon/pipeline/queue.h"
#include "daemon/pipeline/retention.h"
#include "daemon/pipeline/sink.h"
#include "daemon/pipeline/source.h"
#include "daemon/pipeline/workers.h"
#include "daemon/refresh/refresh.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

enum { DRAIN_LOOK_MS = 100 };

struct pipeline {
    _Atomic(const struct settings *) settings;
    struct event_rules rules;
    char *dlq_topic;
    struct store *st;
    struct ledger *ledger;
    struct queue *work, *done;
    struct pool *pool;
    struct active_model model; /* until the sink has it */
    char lost[256];            /* why it has none, "" = it has */
    struct dispatch *dispatch;
    struct sink *sink;
    struct store_writer writer; /* the way to it */
    struct refresh *refresh;

    pthread_mutex_t lock;
    pthread_cond_t settled; /* on the monotonic clock */
    bool failed;
    struct err err;

    pthread_mutex_t source_lock; /* held while the source is told */
    struct source *source;
};

/* ---- what the threads report -------------------------------------------------------------- */

static void on_failed(void *arg, const struct err *err)
{
    struct pipeline *p = arg;
    pthread_mutex_lock(&p->lock);
    bool first = !p->failed;
    if (first)
        p->err = *err;
    p->failed = true;
    pthread_cond_broadcast(&p->settled);
    pthread_mutex_unlock(&p->lock);
    if (first)
        log_error("the pipeline stops: %s", err->text);
}

static void on_settled(void *arg, const struct item *item)
{
    struct pipeline *p = arg;
    dispatch_settled(p->dispatch, item);
}

static void on_committed(void *arg, const struct ledger_next *next, size_t n)
{
    struct pipeline *p = arg;
    pthread_mutex_lock(&p->source_lock);
    if (p->source && p->source->ops->committed)
        p->source->ops->committed(p->source, next, n);
    pthread_mutex_unlock(&p->source_lock);

    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->settled);
    if (p->refresh)
        refresh_wake(p->refresh);
    pthread_mutex_unlock(&p->lock);
}

/* ---- the sources' side -------------------------------------------------------------------- */

void pipeline_attach(struct pipeline *p, struct source *src)
{
    pthread_mutex_lock(&p->source_lock);
    p->source = src;
    pthread_mutex_unlock(&p->source_lock);
}

struct ledger *pipeline_ledger(struct pipeline *p)
{
    return p->ledger;
}

const struct encoder_identity *pipeline_encoders(const struct pipeline *p)
{
    return pool_encoders(p->pool);
}

int pipeline_parse(const struct pipeline *p, struct item *item, struct err *err)
{
    return event_parse(&p->rules, item, err);
}

void pipeline_submit(struct pipeline *p, struct item *item)
{
    struct err err;
    if (item->ticket) { /* a re-extraction is no event */
        queue_push(p->work, item);
        return;
    }
    if (item->kind != ITEM_GAP && item->letter_id == 0)
        metrics_event(item->topic);
    if (item->kind != ITEM_DEAD && item->kind != ITEM_GAP &&
        event_parse(&p->rules, item, &err) != ERR_OK) {
        item->is_raw = err.status == ERR_RETRY;
        if (!item->is_raw)
            item_kill(item, "parse", &err);
    }
    queue_push(p->work, item);
}

bool pipeline_is_full(struct pipeline *p)
{
    return queue_is_high(p->work);
}

/* ---- everybody else's --------------------------------------------------------------------- */

/* Sleeps until something settles, at most DRAIN_LOOK_MS: a revoked partition settles nothing. */
static void wait_settled(struct pipeline *p)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += DRAIN_LOOK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&p->settled, &p->lock, &until);
}

int pipeline_drain(struct pipeline *p, int64_t timeout_ms, struct err *err)
{
    int64_t until_us = clock_mono_us() + timeout_ms * 1000;
    size_t n;
    pthread_mutex_lock(&p->lock);
    while ((n = ledger_in_flight(p->ledger)) > 0 && !p->failed && clock_mono_us() < until_us)
        wait_settled(p);
    bool failed = p->failed;
    if (failed && err)
        *err = p->err;
    pthread_mutex_unlock(&p->lock);
    if (failed)
        return ERR_FATAL;
    return n == 0 ? ERR_OK
                  : err_retry(err, EX_TEMPFAIL, "pipeline: %zu events in flight after %lld ms",
                              n, (long long)timeout_ms);
}

struct store_writer pipeline_writer(struct pipeline *p)
{
    return p->writer;
}

int pipeline_write(struct pipeline *p, store_work_fn *work, void *arg, struct err *err)
{
    return store_work(&p->writer, work, arg, err);
}

bool pipeline_refresh(struct pipeline *p, int64_t timeout_ms)
{
    return refresh_drain(p->refresh, timeout_ms);
}

static void expect_kinds(const struct settings *s)
{
    for (size_t i = 0; i < s->interactions.kinds.n; i++)
        metrics_expect_kind(s->interactions.kinds.items[i].name);
}

void pipeline_reload(struct pipeline *p, const struct settings *s)
{
    expect_kinds(s);
    atomic_store(&p->settings, s);
    dispatch_reload(p->dispatch, s);
    refresh_reload(p->refresh, s);
    sink_reload(p->sink, s);
}

void pipeline_status(struct pipeline *p, struct pipeline_status *ret_status)
{
    struct sink_status sink;
    sink_status(p->sink, &sink);
    *ret_status = (struct pipeline_status){.n_work = queue_length(p->work),
                                           .n_done = queue_length(p->done),
                                           .n_in_flight = ledger_in_flight(p->ledger),
                                           .committed_us = sink.committed_us,
                                           .model_id = sink.model_id,
                                           .model_trained = sink.model_trained,
                                           .dim = sink.dim};
    memcpy(ret_status->wait, sink.wait, sizeof(ret_status->wait));
    if (sink.failing_since_us > 0)
        ret_status->failing_us = clock_mono_us() - sink.failing_since_us;
    memcpy(ret_status->model_lost, sink.lost, sizeof(ret_status->model_lost));
    dispatch_stats(p->dispatch, &ret_status->pool);
    refresh_status(p->refresh, &ret_status->refresh);
    pthread_mutex_lock(&p->lock);
    ret_status->failed = p->failed;
    ret_status->err = p->err;
    pthread_mutex_unlock(&p->lock);
}

/* ---- opening and closing ------------------------------------------------------------------ */

static int open_queues(struct pipeline *p, const struct settings *s, struct err *err)
{
    struct queue_limits limits = {.items = (size_t)s->queue.items,
                                  .bytes = (size_t)s->queue.bytes,
                                  .high_percent = (unsigned)s->queue.high_percent,
                                  .low_percent = (unsigned)s->queue.low_percent};
    int status = queue_open(&limits, &p->work, err);
    if (status == ERR_OK)
        status = queue_open(&limits, &p->done, err);
    p->ledger = ledger_new();
    if (status == ERR_OK && !p->ledger)
        status = err_oom(err, "ledger");
    return status;
}

static int open_threads(struct pipeline *p, const struct settings *s, struct err *err)
{
    struct dispatch_options dispatch = {.work = p->work,
                                        .done = p->done,
                                        .ledger = p->ledger,
                                        .pool = p->pool,
                                        .settings = s,
                                        .rules = &p->rules,
                                        .failed = on_failed,
                                        .arg = p};
    struct sink_options sink = {.done = p->done,
                                .ledger = p->ledger,
                                .st = p->st,
                                .settings = s,
                                .dlq_topic = p->dlq_topic,
                                .settled = on_settled,
                                .committed = on_committed,
                                .failed = on_failed,
                                .arg = p,
                                .lost = p->lost};
    int status = dispatch_open(&dispatch, &p->dispatch, err);
    if (status == ERR_OK)
        status = sink_open(&sink, &p->model, &p->sink, err);
    if (status == ERR_OK)
        p->writer = sink_writer(p->sink);
    return status;
}

static int open_refresh(struct pipeline *p, const struct settings *s, struct err *err)
{
    struct refresh_options options = {.settings = s, .writer = p->writer};
    struct refresh *r;
    int status = refresh_open(&options, &r, err);
    if (status != ERR_OK)
        return status;
    pthread_mutex_lock(&p->lock);
    p->refresh = r;
    pthread_mutex_unlock(&p->lock);
    return ERR_OK;
}

/* Without the file of its model a store still takes events: what they give is kept, and fused when there is a
 * model. The store notes that, for the next start. */
static int open_model(struct pipeline *p, const struct settings *s, struct err *err)
{
    struct err why = {0};
    int status = active_model_open(p->st, s, pool_encoders(p->pool), &p->model, &why);

    if (status != ERR_OK) {
        *err = why;
        return status;
    }
    if (p->model.model)
        return ERR_OK;
    text_format(p->lost, sizeof(p->lost), "%s", why.text);
    log_error("%s; what is stored is served, and new items wait without vectors until then",
              why.text);
    return store_put_unfused(p->st, p->model.refused_id, err);
}

/* The workers before the first thread, the store before its reader. */
static int open_parts(struct pipeline *p, const struct settings *s, struct err *err)
{
    int status;
    if ((status = media_file_probe(err)) != ERR_OK ||
        (status = workers_open(s, 0, &p->pool, err)) != ERR_OK ||
        (status = store_open(s->store.path, STORE_WRITE, &p->st, err)) != ERR_OK ||
        (status = retention_begin(p->st, err)) != ERR_OK ||
        (status = factors_apply(p->st, s, err)) != ERR_OK ||
        (status = open_model(p, s, err)) != ERR_OK ||
        (status = open_queues(p, s, err)) != ERR_OK)
        return status;
    status = open_threads(p, s, err);
    return status == ERR_OK ? open_refresh(p, s, err) : status;
}

static void init_locks(struct pipeline *p)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&p->settled, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_init(&p->source_lock, NULL);
}

/* What will be counted, from the start with 0. */
static void expect_series(const struct settings *s)
{
    const struct settings_strings *topics[] = {&s->kafka.video_topics,
                                               &s->kafka.interaction_topics};

    for (int i = 0; i < ITEM_WARNINGS; i++)
        metrics_event_warning(item_warning_names[i], 0);
    metrics_expect_topic("file");
    for (int i = 0; i < 2 && s->source == SETTINGS_SOURCE_KAFKA; i++)
        for (size_t j = 0; j < topics[i]->n; j++)
            metrics_expect_topic(topics[i]->items[j]);
    expect_kinds(s);
}

int pipeline_open(const struct settings *s, const char *dlq_topic, struct pipeline **ret_p,
                  struct err *err)
{
    struct pipeline *p = calloc(1, sizeof(*p));
    if (!p)
        return err_oom(err, "pipeline");
    expect_series(s);
    atomic_init(&p->settings, s);
    init_locks(p);
    p->dlq_topic = dlq_topic ? strdup(dlq_topic) : NULL;
    int status = dlq_topic && !p->dlq_topic ? err_oom(err, "pipeline: name of the DLQ topic")
                                            : event_rules_open(s, &p->rules, err);
    if (status == ERR_OK)
        status = open_parts(p, s, err);
    if (status != ERR_OK) {
        pipeline_close(p);
        return status;
    }
    *ret_p = p;
    return ERR_OK;
}

/* What refreshes ends before the sink that writes for it; the sink before the extract thread, to
 * which it reports. */
void pipeline_close(struct pipeline *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    struct refresh *refresh = p->refresh;
    p->refresh = NULL;
    pthread_mutex_unlock(&p->lock);
    refresh_close(refresh); /* while the sink waits: a queue that is shut lets it go round */
    if (p->work)
        queue_shut(p->work);
    if (p->done)
        queue_shut(p->done);
    if (p->sink)
        sink_stop(p->sink);
    dispatch_close(p->dispatch);
    sink_close(p->sink);
    active_model_done(&p->model);
    pool_close(p->pool);
    queue_close(p->work);
    queue_close(p->done);
    ledger_free(p->ledger);
    store_close(p->st);
    event_rules_done(&p->rules);
    free(p->dlq_topic);
    pthread_cond_destroy(&p->settled);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->source_lock);
    free(p);
}
