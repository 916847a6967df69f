#include "daemon/pipeline/sink.h"

#include "config/clock.h"
#include "config/log.h"
#include "config/text.h"
#include "daemon/base/health.h"
#include "daemon/base/metrics.h"
#include "daemon/model/factors.h"
#include "daemon/pipeline/erasure.h"
#include "daemon/pipeline/fuser.h"
#include "daemon/pipeline/outcome.h"
#include "daemon/pipeline/requests.h"
#include "daemon/pipeline/retention.h"
#include "daemon/pipeline/row.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

enum { TICK_MS = 1000, HEALTH_LIMIT_MS = 60000 };

/* What an item is written as. */
struct built {
    bool is_there; /* false: to be built (again) before the item is written */
    struct row row;
    struct store_op op;
};

struct sink {
    struct sink_options o;
    _Atomic(const struct settings *) settings;
    struct active_model model;
    struct fuser fuser;
    pthread_t thread;
    atomic_bool stopping;
    bool broken; /* a fatal error: nothing more is written */
    struct retention retention;
    struct erasure erasure;
    const struct settings *applied; /* whose factors of kinds the store has */
    bool told;                      /* that those of a reload cannot be written for now */

    struct item **items; /* (room): the batch; NULL = settled */
    size_t n_items, n_bytes, room;
    int64_t since_us;     /* when its first item came */
    struct built *built;  /* (room): of each item */
    struct store_op *ops; /* (room): of one transaction, and so the following */
    struct ledger_mark *marks;
    struct ledger_next *next;
    struct store_offset *offsets;

    struct requests requests;
    bool look_for_model; /* a request has run: it may have activated another model */

    pthread_mutex_t lock;
    struct sink_status status;
};

static const struct settings *settings_of(struct sink *k)
{
    return atomic_load(&k->settings);
}

/* ---- one transaction ---------------------------------------------------------------------- */

/* The result of a revoked partition: somebody else has it now. */
static bool is_stale(struct sink *k, const struct item *item)
{
    const struct ledger_mark mark = ledger_mark_of(item);
    return !ledger_is_current(k->o.ledger, &mark);
}

/* Those that are missing: once an item, however often its transaction is tried, since what this needs
 * lives in its arena. */
static int build_rows(struct sink *k, struct item **items, size_t n, struct err *err)
{
    size_t first = (size_t)(items - k->items);
    int status = ERR_OK;
    for (size_t i = first; status == ERR_OK && i < first + n; i++) {
        struct built *b = &k->built[i];
        struct item_mark before;
        if (b->is_there)
            continue;
        item_mark(k->items[i], &before);
        status = row_from_item(k->items[i], k->o.dlq_topic, &b->row, &b->op, err);
        if (status == ERR_RETRY)
            item_rewind(k->items[i], &before);
        b->is_there = status == ERR_OK;
    }
    return status;
}

/* The operations and marks of all items but the stale ones, which get epoch 0. */
static size_t gather(struct sink *k, struct item *const *items, size_t n)
{
    size_t n_ops = 0;
    for (size_t i = 0; i < n; i++) {
        struct item *item = items[i];
        if (is_stale(k, item)) {
            item->epoch = 0;
            continue;
        }
        k->ops[n_ops] = k->built[&items[i] - k->items].op;
        k->marks[n_ops++] = ledger_mark_of(item);
    }
    return n_ops;
}

/* The offsets that these marks move; how many. */
static size_t next_offsets(struct sink *k, size_t n_marks)
{
    size_t n = ledger_preview(k->o.ledger, k->marks, n_marks, k->next);
    for (size_t i = 0; i < n; i++)
        k->offsets[i] = (struct store_offset){k->next[i].topic, k->next[i].partition,
                                              k->next[i].next_offset, k->next[i].record_offset,
                                              k->next[i].record_digest};
    return n;
}

static void settle(struct sink *k, struct item **item)
{
    k->o.settled(k->o.arg, *item);
    item_free(*item);
    *item = NULL;
}

static int follow_model(struct sink *k, struct err *err);

static int fuse(struct sink *k, struct item **items, size_t n, struct err *err)
{
    int64_t start_us = clock_mono_us();
    int status = fuser_run(&k->fuser, items, n, err);
    if (status == ERR_OK)
        metrics_stage_us(METRICS_FUSE, clock_mono_us() - start_us);
    return status;
}

/* Vectors of the active model, and rows that hold them. A request that ran while this batch waited may
 * have flipped the model: with the old one's vectors the items would have none under the new one. Each
 * item is looked at, since the flip may have met another part of the batch, or an earlier try. */
static int prepare_items(struct sink *k, struct item **items, size_t n, struct err *err)
{
    bool any = false;
    if (k->look_for_model && follow_model(k, err) == ERR_RETRY)
        return ERR_RETRY;
    for (size_t i = 0; i < n; i++)
        if (fuser_wants(&k->fuser, items[i])) {
            k->built[&items[i] - k->items].is_there = false;
            any = true;
        }
    int status = any ? fuse(k, items, n, err) : ERR_OK;
    return status == ERR_OK ? build_rows(k, items, n, err) : status;
}

static void show_commit(struct sink *k)
{
    pthread_mutex_lock(&k->lock);
    k->status.committed_us = clock_real_us();
    pthread_mutex_unlock(&k->lock);
}

static int write_once(struct sink *k, struct item **items, size_t n, struct err *err)
{
    struct store_batch_result result = {0};
    int status = prepare_items(k, items, n, err);
    if (status != ERR_OK)
        return status;
    size_t n_ops = gather(k, items, n);
    size_t n_offsets = next_offsets(k, n_ops);
    if (n_ops > 0)
        status = store_write_batch(k->o.st, k->ops, n_ops, k->offsets, n_offsets, &result, err);
    if (status != ERR_OK)
        return status;
    /* counted before the ledger lets go: who waits for that (ingest.c) reads the counts then */
    for (size_t i = 0; i < n; i++)
        outcome_committed(items[i], settings_of(k), result.queryable_us);
    metrics_interactions_add(result.n_interactions);
    metrics_forgotten(result.n_forgotten, result.n_dropped);
    if (n_ops > 0) {
        ledger_finish(k->o.ledger, k->marks, n_ops);
        metrics_stage_us(METRICS_COMMIT, result.commit_us);
        show_commit(k);
        k->o.committed(k->o.arg, k->next, n_offsets);
    }
    for (size_t i = 0; i < n; i++)
        settle(k, &items[i]);
    return ERR_OK;
}

/* ---- waiting for the store ---------------------------------------------------------------- */

static void set_wait(struct sink *k, const char *text)
{
    pthread_mutex_lock(&k->lock);
    text_format(k->status.wait, sizeof(k->status.wait), "%s", text);
    k->status.failing_since_us = text[0] ? clock_mono_us() : 0;
    pthread_mutex_unlock(&k->lock);
    health_wait(HEALTH_SINK, text[0] ? text : NULL);
}

static const char *wait_word(const struct err *err)
{
    if (err->exit_code == EX_IOERR)
        return "disk full or failing";
    return err->exit_code == EX_TEMPFAIL ? "store locked by another process"
                                         : "out of memory or descriptors";
}

static void begin_wait(struct sink *k, const struct err *err)
{
    char text[96], since[16];
    time_t now = (time_t)(clock_real_us() / 1000000);
    struct tm tm;
    (void)strftime(since, sizeof(since), "%H:%M:%S", localtime_r(&now, &tm));
    (void)snprintf(text, sizeof(text), "%s since %s", wait_word(err), since);
    set_wait(k, text);
    log_error("%s: nothing is lost; tried again every %lld ms", err->text,
              (long long)settings_of(k)->store.retry_ms);
}

/* Sleeps retry_ms while requests are answered; false when the sink must stop. */
static bool wait_to_retry(struct sink *k)
{
    int64_t until_us = clock_mono_us() + settings_of(k)->store.retry_ms * 1000;
    while (!atomic_load(&k->stopping)) {
        int64_t left_us = until_us - clock_mono_us();
        if (left_us <= 0)
            return true;
        int64_t wait_ms = left_us / 1000 + 1;
        struct pollfd wake = {.fd = k->requests.fd, .events = POLLIN};
        poll(&wake, 1, wait_ms < TICK_MS ? (int)wait_ms : TICK_MS);
        health_tick(HEALTH_SINK);
        k->look_for_model |= requests_run(&k->requests, k->o.st);
    }
    return false;
}

/* Until it is written, or refused; ERR_RETRY only when stopped. */
static int persist(struct sink *k, struct item **items, size_t n, struct err *err)
{
    bool waited = false;
    int status;
    while ((status = write_once(k, items, n, err)) == ERR_RETRY) {
        if (!waited)
            begin_wait(k, err);
        waited = true;
        if (!wait_to_retry(k))
            break;
    }
    if (waited && status != ERR_RETRY) {
        set_wait(k, "");
        log_notice("the store can be written again");
    }
    return status;
}

/* ---- a batch ------------------------------------------------------------------------------ */

/* A row that the store refuses, as against a store that cannot go on. */
static bool is_refusal(const struct err *err)
{
    return err->status == ERR_SKIP ||
           (err->status == ERR_FATAL && err->exit_code == EX_SOFTWARE);
}

/* Writes all the items, in order; halves them until a refused one stands alone. One among 100
 * costs 14 transactions more. */
static int write_all(struct sink *k, struct item **items, size_t n, struct err *err)
{
    int status = persist(k, items, n, err);
    if (status == ERR_OK || status == ERR_RETRY || !is_refusal(err))
        return status;
    if (n > 1) {
        status = write_all(k, items, n / 2, err);
        return status == ERR_OK ? write_all(k, items + n / 2, n - n / 2, err) : status;
    }
    if (items[0]->kind == ITEM_DEAD)
        return status;
    item_kill(items[0], "store", err);
    k->built[items - k->items].is_there = false;
    return write_all(k, items, 1, err);
}

static void flush(struct sink *k)
{
    struct err err;
    memset(k->built, 0, k->n_items * sizeof(*k->built));
    int status = write_all(k, k->items, k->n_items, &err);
    if (status == ERR_OK) {
        k->n_items = k->n_bytes = 0;
    } else {
        k->broken = true;
        if (status != ERR_RETRY)
            k->o.failed(k->o.arg, &err);
    }
}

static size_t batch_rows(struct sink *k)
{
    size_t wanted = (size_t)settings_of(k)->store.batch_rows;
    return wanted < k->room ? wanted : k->room;
}

static bool is_full(struct sink *k)
{
    return k->n_items >= batch_rows(k) ||
           k->n_bytes >= (size_t)settings_of(k)->store.batch_bytes;
}

static int64_t patience_us(struct sink *k)
{
    return k->since_us + settings_of(k)->store.batch_ms * 1000 - clock_mono_us();
}

static void collect(struct sink *k)
{
    struct item *item;
    while (!is_full(k) && (item = queue_pop(k->o.done, 0))) {
        if (k->n_items == 0)
            k->since_us = clock_mono_us();
        k->items[k->n_items++] = item;
        k->n_bytes += item_bytes(item);
    }
}

static bool is_due(struct sink *k)
{
    return k->n_items > 0 &&
           (is_full(k) || patience_us(k) <= 0 || ledger_in_flight(k->o.ledger) <= k->n_items);
}

/* ---- between batches ---------------------------------------------------------------------- */

static void show_model(struct sink *k)
{
    const struct model_shape *shape = model_shape(k->model.model);
    pthread_mutex_lock(&k->lock);
    k->status.lost[0] = '\0';
    k->status.model_id = k->model.model_id;
    k->status.model_trained = shape->trained;
    k->status.dim = shape->D;
    pthread_mutex_unlock(&k->lock);
}

/* ERR_NONE: there is no newer one. */
static int change_model(struct sink *k, struct err *err)
{
    struct active_model newer;
    int status = active_model_newer(&k->model, k->o.st, settings_of(k), &newer, err);
    if (status != ERR_OK)
        return status;
    status = fuser_set_model(&k->fuser, &newer, err);
    if (status != ERR_OK) {
        active_model_done(&newer);
        return status;
    }
    active_model_done(&k->model);
    k->model = newer;
    return ERR_OK;
}

/* ERR_NONE: there is no newer one. ERR_RETRY: there is one, or may be, and for now it cannot be
 * loaded. One that can never be loaded is named in the log, and the old one goes on serving. */
static int follow_model(struct sink *k, struct err *err)
{
    int64_t old_id = k->model.model_id;
    int status = change_model(k, err);
    k->look_for_model = status == ERR_RETRY;
    if (status == ERR_OK) {
        show_model(k);
        k->retention.due_us =
            0; /* the oldest of the models that it joins has something to lose */
        if (old_id)
            log_notice("model %lld is active, after model %lld", (long long)k->model.model_id,
                       (long long)old_id);
        else
            log_notice("model %lld is active: items have vectors again",
                       (long long)k->model.model_id);
    } else if (status != ERR_NONE && status != ERR_RETRY) {
        if (old_id)
            log_error("model %lld goes on serving: %s", (long long)old_id, err->text);
        else
            log_error("still no model: %s", err->text);
    }
    return status;
}

/* After a reload. Refused for now, it is tried again with each turn. */
static void follow_settings(struct sink *k)
{
    const struct settings *s = settings_of(k);
    struct err err;

    if (s == k->applied)
        return;
    if (factors_apply(k->o.st, s, &err) == ERR_OK)
        k->applied = s;
    else if (!k->told)
        log_warning("interactions.kinds stays as it was for now: %s: tried again", err.text);
    k->told = k->applied != s;
}

/* ---- the thread --------------------------------------------------------------------------- */

static void wait_for_news(struct sink *k)
{
    int64_t wait_us = (int64_t)TICK_MS * 1000;
    if (k->n_items > 0 && patience_us(k) < wait_us)
        wait_us = patience_us(k);
    struct pollfd fds[] = {{.fd = k->requests.fd, .events = POLLIN},
                           {.fd = queue_fd(k->o.done), .events = POLLIN}};
    if (wait_us > 0)
        poll(fds, 2, (int)((wait_us + 999) / 1000));
}

static void *sink_main(void *arg)
{
    struct sink *k = arg;
    struct err err;
    health_start(HEALTH_SINK, HEALTH_LIMIT_MS);
    while (!atomic_load(&k->stopping) && !k->broken) {
        health_tick(HEALTH_SINK);
        k->look_for_model |= requests_run(&k->requests, k->o.st);
        if (k->look_for_model && follow_model(k, &err) == ERR_RETRY)
            log_warning("%s: tried again before anything is written", err.text);
        follow_settings(k);
        collect(k);
        if (is_due(k))
            flush(k);
        else if (k->n_items == 0)
            retention_run(&k->retention, k->o.st, settings_of(k));
        bool more = !k->broken && erasure_run(&k->erasure, k->o.st);
        if (!k->broken && !more)
            wait_for_news(k);
    }
    retention_end(&k->retention);
    health_stop(HEALTH_SINK);
    requests_stop(&k->requests);
    return NULL;
}

struct store_writer sink_writer(struct sink *k)
{
    return requests_writer(&k->requests);
}

void sink_reload(struct sink *k, const struct settings *s)
{
    atomic_store(&k->settings, s);
}

void sink_status(struct sink *k, struct sink_status *ret_status)
{
    pthread_mutex_lock(&k->lock);
    *ret_status = k->status;
    pthread_mutex_unlock(&k->lock);
}

/* ---- opening and closing ------------------------------------------------------------------ */

static int allocate(struct sink *k, struct err *err)
{
    k->room = (size_t)settings_of(k)->store.batch_rows;
    k->items = calloc(k->room, sizeof(struct item *));
    k->built = calloc(k->room, sizeof(*k->built));
    k->ops = calloc(k->room, sizeof(*k->ops));
    k->marks = calloc(k->room, sizeof(*k->marks));
    k->next = calloc(k->room, sizeof(*k->next));
    k->offsets = calloc(k->room, sizeof(*k->offsets));
    if (!k->items || !k->built || !k->ops || !k->marks || !k->next || !k->offsets)
        return err_oom(err, "sink: a batch");
    return ERR_OK;
}

static void sink_free(struct sink *k)
{
    free(k->items);
    free(k->built);
    free(k->ops);
    free(k->marks);
    free(k->next);
    free(k->offsets);
    fuser_done(&k->fuser);
    requests_done(&k->requests);
    pthread_mutex_destroy(&k->lock);
    free(k);
}

static int prepare(struct sink *k, const struct active_model *model, struct err *err)
{
    int status = allocate(k, err);
    if (status == ERR_OK && model->model_id)
        status = fuser_set_model(&k->fuser, model, err);
    if (status != ERR_OK)
        return status;
    k->model = *model;
    if (model->model_id)
        show_model(k);
    else
        text_format(k->status.lost, sizeof(k->status.lost), "%s", k->o.lost);
    k->o.lost = NULL;
    int code = pthread_create(&k->thread, NULL, sink_main, k);
    return code ? err_retry(err, EX_OSERR, "sink: start its thread: %s", strerror(code))
                : ERR_OK;
}

int sink_open(const struct sink_options *options, struct active_model *model,
              struct sink **ret_k, struct err *err)
{
    struct sink *k = calloc(1, sizeof(*k));
    if (!k)
        return err_oom(err, "sink");
    int status = requests_init(&k->requests, err);
    if (status != ERR_OK) {
        free(k);
        return status;
    }
    k->o = *options;
    atomic_init(&k->settings, options->settings);
    k->applied = options->settings; /* pipeline.c has */
    pthread_mutex_init(&k->lock, NULL);
    status = prepare(k, model, err);
    if (status != ERR_OK) {
        sink_free(k);
        return status;
    }
    *model = (struct active_model){0};
    *ret_k = k;
    return ERR_OK;
}

void sink_stop(struct sink *k)
{
    atomic_store(&k->stopping, true);
    requests_wake(&k->requests);
    pthread_join(k->thread, NULL);
}

void sink_close(struct sink *k)
{
    if (!k)
        return;
    for (size_t i = 0; i < k->n_items; i++)
        item_free(k->items[i]);
    active_model_done(&k->model);
    sink_free(k);
}
