#include "daemon/source/ingest.h"

#include "config/clock.h"
#include "daemon/base/metrics.h"
#include "daemon/event/item.h"
#include "daemon/pipeline/ledger.h"
#include "daemon/pipeline/pipeline.h"
#include "daemon/source/event_file.h"
#include "daemon/source/file_source.h"
#include "store/reading.h"
#include "store/writing.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define INGEST_TICK_MS   20
#define INGEST_RETRY_MAX ((size_t)10000) /* dead letters held in memory at once */

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static int busy(struct err *err)
{
    return err_retry(err, EX_TEMPFAIL,
                     "another ingest or retry is running: try again when it is over");
}

static void nap(void)
{
    struct timespec t = {.tv_nsec = INGEST_TICK_MS * 1000000L};

    nanosleep(&t, NULL);
}

/* Tells the watcher, at most ten times a second. False: it wants no more. */
static bool tell(struct pipeline *p, const struct ingest_watch *watch, int64_t done,
                 int64_t total, int64_t *told_us)
{
    int64_t now_us = clock_mono_us();
    struct pipeline_status status;
    struct ingest_progress now = {.done = done, .total = total};

    if (!watch || !watch->progress || now_us - *told_us < 100000)
        return true;
    *told_us = now_us;
    pipeline_status(p, &status);
    now.wait = status.wait;
    return watch->progress(watch->ctx, &now);
}

static int check_pipeline(struct pipeline *p, struct err *err)
{
    struct pipeline_status status;

    pipeline_status(p, &status);
    if (!status.failed)
        return ERR_OK;
    if (err)
        *err = status.err;
    return err_wrap(err, "pipeline stopped");
}

/* Of the newest n_new dead letters, how many have a topic that starts with prefix. */
static int count_dead(const char *store_path, const char *prefix, uint64_t n_new,
                      int64_t *ret_n, struct err *err)
{
    struct store_letter *rows = NULL;
    struct store *st;
    size_t n = 0;
    int r;

    *ret_n = 0;
    if (n_new == 0)
        return ERR_OK;
    r = store_open(store_path, STORE_READ, &st, err);
    if (r)
        return r;
    r = store_dead_letters(st, 0, NULL, (size_t)n_new, &rows, &n, err);
    for (size_t i = 0; r == ERR_OK && i < n; i++)
        *ret_n += strncmp(rows[i].topic, prefix, strlen(prefix)) == 0;
    if (r == ERR_OK)
        store_letters_free(rows, n);
    store_close(st);
    return r;
}

/* ---- one file ---------------------------------------------------------------------------- */

struct file_job {
    const char *topic; /* of the source, as long as that is open */
    int64_t n_lines, n_already;
    uint64_t dead_before; /* dead letters of the whole process when it started */
};

/* What an earlier run has stored of the file. */
static int file_already(const char *store_path, struct file_job *job, struct err *err)
{
    struct store *st;
    int r = store_open(store_path, STORE_READ, &st, err);

    if (r)
        return r;
    job->n_already = 0;
    r = store_next_offset(st, job->topic, 0, &job->n_already, err);
    store_close(st);
    return r == ERR_NONE ? ERR_OK : r;
}

static int file_wait(struct pipeline *p, struct source *src, const struct file_job *job,
                     const struct ingest_watch *watch, struct err *err)
{
    int64_t told_us = 0;

    for (;;) {
        struct source_status s = {0};
        size_t flying;

        src->ops->status(src, &s);
        flying = ledger_in_flight_of(pipeline_ledger(p), job->topic, 0);
        if (s.failed && s.err.status != ERR_OK) {
            if (err)
                *err = s.err;
            return s.err.status;
        }
        if (s.failed)
            return err_fatal(err, EX_IOERR, "%s", s.detail);
        if (s.finished && flying == 0)
            return ERR_OK;
        if (check_pipeline(p, err))
            return ERR_FATAL;
        int64_t left = (s.lag_records > 0 ? s.lag_records : 0) + (int64_t)flying;
        if (!tell(p, watch, job->n_lines > left ? job->n_lines - left : 0, job->n_lines,
                  &told_us))
            return err_retry(err, EX_TEMPFAIL, "stopped before the end: run it again");
        nap();
    }
}

/* A spool may be reading the same bytes: they are ours when it has ended. */
static int file_start(struct pipeline *p, struct source *src, const char *store_path,
                      struct file_job *job, const struct ingest_watch *watch, struct err *err)
{
    int64_t told_us = 0;

    for (;;) {
        int r = file_already(store_path, job, err);
        job->dead_before = metrics_items(METRICS_DEAD);
        if (r == ERR_OK)
            r = src->ops->start(src, err);
        if (r != ERR_BUSY)
            return r;
        if (check_pipeline(p, err))
            return ERR_FATAL;
        if (!tell(p, watch, job->n_already, job->n_lines, &told_us))
            return err_retry(err, EX_TEMPFAIL,
                             "stopped while another source reads the same "
                             "events: run it again");
        nap();
    }
}

/* While the file is looked at, before its lines are read. */
struct file_look {
    struct pipeline *p;
    const struct ingest_watch *watch;
    int64_t told_us;
};

static bool look_on(void *ctx)
{
    struct file_look *look = ctx;

    return tell(look->p, look->watch, 0, 0, &look->told_us);
}

static int file_read(struct pipeline *p, struct source *src, const char *store_path,
                     struct file_job *job, const struct ingest_watch *watch,
                     struct ingest_result *result, struct err *err)
{
    int r = file_start(p, src, store_path, job, watch, err);

    if (r)
        return r;
    r = file_wait(p, src, job, watch, err);
    src->ops->stop(src);
    if (r == ERR_OK)
        r = count_dead(store_path, job->topic, metrics_items(METRICS_DEAD) - job->dead_before,
                       &result->n_dead_letters, err);
    if (r == ERR_OK && event_file_is_changed(file_source_file(src)))
        r = err_retry(
            err, EX_TEMPFAIL,
            "the file was written to while it was read: what was read is stored; ingest "
            "it again when nobody writes to it");
    return r;
}

static int file_run(struct pipeline *p, int fd, const char *media_root, const char *store_path,
                    struct file_job *job, const struct ingest_watch *watch,
                    struct ingest_result *result, struct err *err)
{
    struct file_look look = {.p = p, .watch = watch, .told_us = clock_mono_us()};
    struct source *src = NULL;
    int r = file_source_open(fd, media_root, p, look_on, &look, &src, err);

    if (r)
        return r;
    job->topic = event_file_topic(file_source_file(src));
    job->n_lines = event_file_n_lines(file_source_file(src));
    r = file_read(p, src, store_path, job, watch, result, err);
    src->ops->close(src);
    return r;
}

int ingest_file(struct pipeline *p, const char *store_path, int fd, const char *media_root,
                const struct ingest_watch *watch, struct ingest_result *ret_result,
                struct err *err)
{
    int64_t started_us = clock_mono_us();
    struct ingest_result result = {0};
    struct file_job job = {0};

    if (pthread_mutex_trylock(&one_at_a_time) != 0)
        return busy(err);
    int r = file_run(p, fd, media_root, store_path, &job, watch, &result, err);
    pthread_mutex_unlock(&one_at_a_time);
    if (r)
        return r;
    result.n_events = job.n_lines;
    result.n_already = job.n_already;
    result.n_stored = job.n_lines - job.n_already - result.n_dead_letters;
    result.seconds = (double)(clock_mono_us() - started_us) / 1e6;
    *ret_result = result;
    return ERR_OK;
}

/* ---- dead letters again ------------------------------------------------------------------ */

struct retry_job {
    struct store_letter *rows;
    size_t n;
    bool *is_taken; /* (n) false = superseded */
    const char *media_root;
};

/* What the ledger follows it by. */
static const char *lane_of(const struct store_letter *row, char lane[32])
{
    (void)snprintf(lane, 32, "retry:%" PRId64, row->id);
    return lane;
}

static int copy_headers(struct item *item, const struct store_letter *row)
{
    struct item_header *headers = arena_array(&item->arena, row->n_headers, sizeof(*headers));

    if (!headers)
        return ERR_RETRY;
    for (size_t i = 0; i < row->n_headers; i++) {
        const struct store_header *from = &row->headers[i];

        headers[i].name = arena_strdup(&item->arena, from->name);
        headers[i].value =
            from->value ? arena_copy(&item->arena, from->value, from->value_bytes) : NULL;
        headers[i].value_bytes = from->value_bytes;
        if (!headers[i].name || (from->value && !headers[i].value))
            return ERR_RETRY;
    }
    item->headers = headers;
    item->n_headers = row->n_headers;
    return ERR_OK;
}

/* Copies everything: the row is freed before the item may be. */
static int copy_letter(struct item *item, const struct store_letter *row,
                       const char *media_root)
{
    struct arena *a = &item->arena;
    char lane[32];

    item->letter_id = row->id;
    item->lane = arena_strdup(a, lane_of(row, lane));
    item->topic = arena_strdup(a, row->topic);
    item->partition = row->partition;
    item->offset = row->offset;
    item->role = item_role_parse(row->role, row->topic);
    item->key = row->key ? arena_copy(a, row->key, row->key_bytes) : NULL;
    item->key_bytes = row->key_bytes;
    item->value = row->value ? arena_copy(a, row->value, row->value_bytes) : NULL;
    item->value_bytes = row->value_bytes;
    item->received_us = clock_real_us();
    item->record_us = row->said_us ? row->said_us : row->ts_us;
    item->media_root = media_root ? arena_strdup(a, media_root) : NULL;
    if (!item->topic || !item->lane || (!item->media_root && media_root) ||
        (!item->key && row->key) || (!item->value && row->value))
        return ERR_RETRY;
    return copy_headers(item, row);
}

static struct item *retry_item(const struct store_letter *row, const char *media_root)
{
    struct item *item = item_new();

    if (item && copy_letter(item, row, media_root) == ERR_OK)
        return item;
    item_free(item);
    return NULL;
}

static bool is_overtaken(const struct store_item *item, const struct store_letter *row)
{
    return item->topic && item->partition == row->partition &&
           strcmp(item->topic, row->topic) == 0 && item->offset >= row->offset;
}

/* A file has videos and interactions: what a user did stays what it is, whatever came of the video. */
static int is_of_video(const struct pipeline *p, const struct store_letter *row,
                       bool *ret_of_video, struct err *err)
{
    struct item *item = retry_item(row, NULL);

    if (!item)
        return err_oom(err, "dead letter");
    if (pipeline_parse(p, item, err) == ERR_RETRY) {
        item_free(item);
        return ERR_RETRY;
    }
    *ret_of_video = item->kind != ITEM_INTERACTION && item->kind != ITEM_USER_DELETED;
    item_free(item);
    return ERR_OK;
}

static int is_superseded(const struct pipeline *p, struct store *st,
                         const struct store_letter *row, bool *ret_superseded, struct err *err)
{
    struct store_item item = {0};
    int r;

    *ret_superseded = store_letter_is_erased(row);
    if (*ret_superseded || !row->item_id)
        return ERR_OK;
    r = store_get_item(st, row->item_id, &item, err);
    if (r == ERR_NONE)
        return ERR_OK;
    if (r)
        return r;
    if (is_overtaken(&item, row))
        r = is_of_video(p, row, ret_superseded, err);
    store_item_done(&item);
    return r;
}

static int retry_load(const struct pipeline *p, const char *store_path,
                      const struct ingest_which *which, struct retry_job *job,
                      int64_t *ret_superseded, struct err *err)
{
    struct store *st;
    int r = store_open(store_path, STORE_READ, &st, err);

    if (r)
        return r;
    r = store_dead_letters(st, which->id, which->reason, INGEST_RETRY_MAX, &job->rows, &job->n,
                           err);
    if (r == ERR_OK && job->n == 0)
        r = err_fatal(err, EX_NOINPUT, "no such dead letter: see metammf dlq list");
    if (r == ERR_OK && !(job->is_taken = calloc(job->n, sizeof(*job->is_taken))))
        r = err_oom(err, "dead letters");
    for (size_t i = 0; r == ERR_OK && i < job->n; i++) {
        const struct store_letter *row = &job->rows[i];
        bool superseded;

        r = is_superseded(p, st, row, &superseded, err);
        job->is_taken[i] = r == ERR_OK && !superseded;
        *ret_superseded += r == ERR_OK && superseded;
    }
    store_close(st);
    return r;
}

static void retry_free(struct retry_job *job)
{
    if (job->rows)
        store_letters_free(job->rows, job->n);
    free(job->is_taken);
}

static int retry_submit(struct pipeline *p, const struct retry_job *job, size_t i,
                        struct err *err)
{
    const struct store_letter *row = &job->rows[i];
    struct ledger *l = pipeline_ledger(p);
    char lane[32];
    struct item *item;
    uint32_t epoch;
    int r = ledger_open_lane(l, lane_of(row, lane), &epoch, err);

    if (r)
        return r;
    item = retry_item(row, job->media_root);
    if (!item)
        return err_oom(err, "dead letter");
    if (!ledger_begin(l, lane, 0, 0, &item->epoch)) {
        item_free(item);
        return err_fatal(err, EX_SOFTWARE, "dead letter %" PRId64 ": already in flight",
                         row->id);
    }
    pipeline_submit(p, item);
    return ERR_OK;
}

static size_t retry_flying(struct pipeline *p, const struct retry_job *job)
{
    char lane[32];
    size_t n = 0;

    for (size_t i = 0; i < job->n; i++)
        if (job->is_taken[i])
            n += ledger_in_flight_of(pipeline_ledger(p), lane_of(&job->rows[i], lane), 0);
    return n;
}

static int retry_run(struct pipeline *p, const struct retry_job *job,
                     const struct ingest_watch *watch, struct err *err)
{
    int64_t told_us = 0;
    size_t flying;
    int r = ERR_OK;

    for (size_t i = 0; r == ERR_OK && i < job->n; i++) {
        while (r == ERR_OK && pipeline_is_full(p)) {
            nap();
            r = check_pipeline(p, err);
        }
        if (r == ERR_OK && job->is_taken[i])
            r = retry_submit(p, job, i, err);
    }
    while (r == ERR_OK && (flying = retry_flying(p, job)) > 0) {
        r = check_pipeline(p, err);
        if (r == ERR_OK &&
            !tell(p, watch, (int64_t)(job->n - flying), (int64_t)job->n, &told_us))
            r = err_retry(err, EX_TEMPFAIL, "stopped before the end: run it again");
        nap();
    }
    return r;
}

/* Those that are dead letters again: their rows are still there. */
static int count_failed(const char *store_path, const struct retry_job *job, int64_t *ret_n,
                        struct err *err)
{
    struct store *st;
    int r = store_open(store_path, STORE_READ, &st, err);

    if (r)
        return r;
    *ret_n = 0;
    for (size_t i = 0; r == ERR_OK && i < job->n; i++) {
        struct store_letter *rows = NULL;
        size_t n = 0;

        if (!job->is_taken[i])
            continue;
        r = store_dead_letters(st, job->rows[i].id, NULL, 1, &rows, &n, err);
        if (r == ERR_OK)
            store_letters_free(rows, n);
        *ret_n += (int64_t)n;
    }
    store_close(st);
    return r;
}

static int retry_locked(struct pipeline *p, const char *store_path, struct retry_job *job,
                        const struct ingest_watch *watch, struct ingest_result *result,
                        struct err *err)
{
    char lane[32];
    int r = retry_run(p, job, watch, err);

    if (r == ERR_OK)
        r = count_failed(store_path, job, &result->n_dead_letters, err);
    for (size_t i = 0; i < job->n; i++)
        if (job->is_taken[i])
            ledger_revoke(pipeline_ledger(p), lane_of(&job->rows[i], lane), 0);
    return r;
}

int ingest_retry(struct pipeline *p, const char *store_path, const struct ingest_which *which,
                 const struct ingest_watch *watch, struct ingest_result *ret_result,
                 struct err *err)
{
    int64_t started_us = clock_mono_us();
    struct ingest_result result = {0};
    struct retry_job job = {.media_root = which->media_root};
    int r;

    if (pthread_mutex_trylock(&one_at_a_time) != 0)
        return busy(err);
    r = retry_load(p, store_path, which, &job, &result.n_superseded, err);
    if (r == ERR_OK)
        r = retry_locked(p, store_path, &job, watch, &result, err);
    pthread_mutex_unlock(&one_at_a_time);
    result.n_events = (int64_t)job.n;
    retry_free(&job);
    if (r)
        return r;
    result.n_stored = result.n_events - result.n_superseded - result.n_dead_letters;
    result.seconds = (double)(clock_mono_us() - started_us) / 1e6;
    *ret_result = result;
    return ERR_OK;
}
