/* The spool: a folder into which event files are renamed, for sites without Kafka.
 *
 * A producer writes `upload.tmp` and renames it to `upload.ndjson` (or .jsonl): the rename is what
 * says "whole". inotify reports it (IN_MOVED_TO); the folder is also read at the start, after an
 * overflow of the event queue, and after an error. Writing a file in place under such a name is
 * not noticed before the next of these and may then be read half written, so don't. Names with a
 * leading dot are left alone.
 *
 *   found (by name) ─► reading: submit its lines ─► waiting: in flight ─► deleted, or done/
 *
 * A file is finished when all its events are committed; until then it stays, so a crash anywhere
 * only means that it is found again and goes on at the store's next offset. Several small files
 * may be waiting at once. Two files with the same bytes are the same events: the second waits for
 * the first and is then done at once. A file that is overwritten by a rename while it is in flight
 * is read to its end all the same, and the new one after it (spool_folder_finish).
 *
 * Thread: its own; committed() only wakes it. */

#include "daemon/source/spool.h"
#include "config/clock.h"
#include "config/log_limit.h"
#include "config/wake.h"
#include "daemon/base/health.h"
#include "daemon/base/metrics.h"
#include "daemon/base/steady.h"
#include "daemon/source/event_file.h"
#include "daemon/source/spool_folder.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum {
    PAUSE_MS = 10,
    TICK_MS = 1000,
    RESCAN_MS = 5000,
    HEALTH_LIMIT_MS = 30000,
    WAITING_MAX = 256
};

struct spool_file {
    struct event_file *file;
    char *name;
    struct spool_file *next;
};

struct spool {
    struct source source;
    struct pipeline *p;
    struct spool_folder folder;
    bool keep_files;
    int64_t keep_done_days, retain_due_us; /* 0 = for ever; monotonic */
    struct spool_file *reading;            /* NULL = none */
    struct spool_file *waiting;            /* all submitted, not all committed */
    size_t n_waiting;
    bool rescan; /* in a while: something could not be read or removed */

    pthread_t thread;
    bool started;
    atomic_bool stopping;
    int wake_fd; /* wake.h: committed, or stop */

    pthread_mutex_t lock;
    struct source_status status;
};

/* ---- a file's end ------------------------------------------------------------------------- */

static void spool_file_free(struct spool *s, struct spool_file *file)
{
    if (!file)
        return;
    event_file_close(file->file, s->p);
    free(file->name);
    free(file);
}

static void finish_file(struct spool *s, struct spool_file *file)
{
    struct err err;
    bool replaced;
    int status = spool_folder_finish(&s->folder, file->name, event_file_fd(file->file),
                                     s->keep_files, &replaced, &err);
    if (status == ERR_OK && log_limit(LOG_LEVEL_INFO, "spool files done", "", "%s", file->name))
        log_info("spool: %s: %lld lines done%s", file->name,
                 (long long)event_file_lines(file->file),
                 replaced ? "; another file has its name now and is read next" : "");
    else if (status != ERR_OK &&
             log_limit(LOG_LEVEL_ERROR, "spool files that stay", "", "%s", file->name))
        log_error("%s: it stays; its events are stored and will not be repeated", err.text);
    spool_folder_forget(&s->folder, file->name);
    spool_file_free(s, file);
}

/* What cannot be read stays in the folder and is tried again with the next scan. */
static void give_up(struct spool *s, const char *name, const struct err *err)
{
    if (log_limit(LOG_LEVEL_WARNING, "spool files that are tried again", "", "%s", name))
        log_warning("spool: %s: tried again in %d s", err->text, RESCAN_MS / 1000);
    spool_folder_forget(&s->folder, name);
    s->rescan = true;
}

static void finish_settled(struct spool *s)
{
    struct spool_file **link = &s->waiting;
    while (*link) {
        struct spool_file *file = *link;
        if (!event_file_is_settled(file->file, s->p)) {
            link = &file->next;
            continue;
        }
        *link = file->next;
        s->n_waiting--;
        finish_file(s, file);
    }
}

/* ---- a file's beginning ------------------------------------------------------------------- */

static struct spool_file *open_file(struct spool *s, const char *name)
{
    struct err err;
    struct spool_file *file = calloc(1, sizeof(*file));
    if (file)
        file->name = strdup(name);
    int status = file && file->name ? event_file_open(s->folder.fd, name, &file->file, &err)
                                    : err_oom(&err, "a spool file");
    if (status == ERR_OK)
        return file;
    give_up(s, name, &err);
    if (file)
        free(file->name);
    free(file);
    return NULL;
}

/* The next file that can be read now, in the order of names; NULL = none. */
static void begin_next(struct spool *s)
{
    struct err err;
    const char *name = spool_folder_next(&s->folder);
    struct spool_file *file = name ? open_file(s, name) : NULL;
    if (!file)
        return;
    int status = event_file_begin(file->file, s->p, &err);
    if (status == ERR_OK) {
        s->reading = file;
        return;
    }
    if (status == ERR_BUSY)
        spool_folder_put_back(&s->folder, file->name);
    else
        give_up(s, file->name, &err);
    spool_file_free(s, file);
}

/* One line; false when there is nothing to do for now. */
static bool step(struct spool *s)
{
    struct err err;
    if (!s->reading && s->n_waiting < WAITING_MAX)
        begin_next(s);
    if (!s->reading || pipeline_is_full(s->p))
        return false;
    int status = event_file_submit(s->reading->file, s->p, NULL, &err);
    if (status == ERR_OK)
        return true;
    struct spool_file *file = s->reading;
    s->reading = NULL;
    if (status == ERR_END) {
        file->next = s->waiting;
        s->waiting = file;
        s->n_waiting++;
        finish_settled(s);
    } else {
        give_up(s, file->name, &err);
        spool_file_free(s, file);
    }
    return true;
}

/* ---- the thread --------------------------------------------------------------------------- */

static void show(struct spool *s)
{
    pthread_mutex_lock(&s->lock);
    s->status.connected = spool_folder_is_there(&s->folder);
    s->status.paused = s->reading && pipeline_is_full(s->p);
    s->status.n_partitions = (unsigned)(s->n_waiting + (s->reading ? 1 : 0));
    (void)snprintf(s->status.detail, sizeof(s->status.detail),
                   "%zu files to read, %u under way", spool_folder_n_found(&s->folder),
                   s->status.n_partitions);
    pthread_mutex_unlock(&s->lock);
}

static void scan(struct spool *s)
{
    struct err err;
    s->rescan = spool_folder_scan(&s->folder, &err) != ERR_OK;
    if (s->rescan &&
        log_limit(LOG_LEVEL_WARNING, "scans of the spool that failed", "", "%s", err.text))
        log_warning("%s", err.text);
}

/* What is in done/ for longer than it is kept; once an hour, and soon again while there is more. */
static void retain(struct spool *s)
{
    int64_t now_us = steady_now_us();
    size_t n = 0;
    struct err err;
    if (s->keep_done_days == 0 || now_us == INT64_MIN || clock_mono_us() < s->retain_due_us)
        return;
    int status =
        spool_folder_retain(&s->folder, now_us - s->keep_done_days * CLOCK_DAY_US, &n, &err);
    s->retain_due_us = clock_mono_us() + (n < SPOOL_FOLDER_RETAIN ? CLOCK_HOUR_US : 0);
    metrics_retained(METRICS_RETAINED_SPOOL_FILES, n);
    if (n > 0)
        log_info("retention: removed %zu files from %s/done that were there for %lld days", n,
                 s->folder.path, (long long)s->keep_done_days);
    if (status != ERR_OK)
        log_warning("%s: tried again in an hour", err.text);
}

static int wait_for_news(struct spool *s, int timeout_ms)
{
    struct pollfd fds[] = {{.fd = s->wake_fd, .events = POLLIN},
                           {.fd = s->folder.inotify_fd, .events = POLLIN}};
    int ready = poll(fds, 2, timeout_ms);
    wake_clear(s->wake_fd);
    return ready;
}

static int patience_ms(const struct spool *s)
{
    if (s->reading)
        return PAUSE_MS; /* the pipeline is full */
    return s->rescan ? RESCAN_MS : TICK_MS;
}

static void *spool_main(void *arg)
{
    struct spool *s = arg;
    health_start(HEALTH_SOURCE, HEALTH_LIMIT_MS);
    scan(s);
    while (!atomic_load(&s->stopping)) {
        health_tick(HEALTH_SOURCE);
        if (spool_folder_read_events(&s->folder))
            scan(s);
        finish_settled(s);
        retain(s);
        show(s);
        while (!atomic_load(&s->stopping) && step(s))
            health_tick(HEALTH_SOURCE);
        if (wait_for_news(s, patience_ms(s)) == 0 && s->rescan)
            scan(s);
    }
    health_stop(HEALTH_SOURCE);
    return NULL;
}

/* ---- the source --------------------------------------------------------------------------- */

static void wake(struct spool *s)
{
    wake_set(s->wake_fd);
}

static int spool_start(struct source *src, struct err *err)
{
    struct spool *s = (struct spool *)src;
    int code = pthread_create(&s->thread, NULL, spool_main, s);
    if (code)
        return err_retry(err, EX_OSERR, "spool: start its thread: %s", strerror(code));
    s->started = true;
    return ERR_OK;
}

static void spool_stop(struct source *src)
{
    struct spool *s = (struct spool *)src;
    if (!s->started)
        return;
    atomic_store(&s->stopping, true);
    wake(s);
    pthread_join(s->thread, NULL);
    s->started = false;
}

static void spool_status(struct source *src, struct source_status *ret_status)
{
    struct spool *s = (struct spool *)src;
    pthread_mutex_lock(&s->lock);
    *ret_status = s->status;
    pthread_mutex_unlock(&s->lock);
}

static void spool_committed(struct source *src, const struct ledger_next *next, size_t n)
{
    (void)next;
    (void)n;
    wake((struct spool *)src);
}

/* Files that are all committed by now are finished here too: a drain ends after the stop. */
static void spool_close(struct source *src)
{
    struct spool *s = (struct spool *)src;
    spool_stop(src);
    finish_settled(s);
    while (s->waiting) {
        struct spool_file *next = s->waiting->next;
        spool_file_free(s, s->waiting);
        s->waiting = next;
    }
    spool_file_free(s, s->reading);
    spool_folder_close(&s->folder);
    if (s->wake_fd >= 0)
        close(s->wake_fd);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static const struct source_ops spool_ops = {
    .name = "spool",
    .start = spool_start,
    .stop = spool_stop,
    .status = spool_status,
    .committed = spool_committed,
    .close = spool_close,
};

int spool_open(const struct settings *settings, struct pipeline *p, struct source **ret_src,
               struct err *err)
{
    struct spool *s = calloc(1, sizeof(*s));
    if (!s)
        return err_oom(err, "spool");
    s->source.ops = &spool_ops;
    s->p = p;
    s->keep_files = settings->spool.keep_files;
    s->keep_done_days = settings->spool.keep_done_days;
    s->status.lag_records = -1;
    pthread_mutex_init(&s->lock, NULL);
    spool_folder_init(&s->folder);
    s->wake_fd = -1;
    int status = wake_open("spool", &s->wake_fd, err);
    if (status == ERR_OK)
        status = spool_folder_open(&s->folder, settings->spool.directory, err);
    if (status != ERR_OK) {
        spool_close(&s->source);
        return status;
    }
    *ret_src = &s->source;
    return ERR_OK;
}
