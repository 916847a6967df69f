/* The file source: one NDJSON file from its first line that is not done to its end, as fast as
 * the pipeline takes it. Its thread ends there; the caller then drains the pipeline. An error of
 * reading is the source's failure: what was submitted before is kept, a second run goes on from
 * there. */

#include "daemon/source/file_source.h"
#include "config/text.h"
#include "config/wake.h"
#include "daemon/base/health.h"
#include "daemon/source/event_file.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { PAUSE_MS = 10, HEALTH_LIMIT_MS = 10000 };

struct file_source {
    struct source source;
    struct pipeline *p;
    char *media_root;
    struct event_file *file;
    pthread_t thread;
    bool started;
    int stop_fd; /* wake.h */

    pthread_mutex_t lock;
    struct source_status status;
};

static bool wants_stop(const struct file_source *f, int wait_ms)
{
    struct pollfd stop = {.fd = f->stop_fd, .events = POLLIN};
    return poll(&stop, 1, wait_ms) > 0;
}

static void show(struct file_source *f, bool paused)
{
    pthread_mutex_lock(&f->lock);
    f->status.paused = paused;
    (void)snprintf(f->status.detail, sizeof(f->status.detail), "line %lld",
                   (long long)event_file_lines(f->file));
    pthread_mutex_unlock(&f->lock);
}

static void end(struct file_source *f, int status, const struct err *err)
{
    pthread_mutex_lock(&f->lock);
    f->status.finished = status == ERR_END;
    f->status.failed = status != ERR_END && status != ERR_OK;
    if (f->status.failed) {
        f->status.err = *err;
        text_format(f->status.detail, sizeof(f->status.detail), "%s", err->text);
    }
    pthread_mutex_unlock(&f->lock);
}

static void *file_main(void *arg)
{
    struct file_source *f = arg;
    struct err err;
    int status = ERR_OK;
    health_start(HEALTH_SOURCE, HEALTH_LIMIT_MS);
    while (status == ERR_OK && !wants_stop(f, 0)) {
        health_tick(HEALTH_SOURCE);
        bool paused = pipeline_is_full(f->p);
        show(f, paused);
        if (paused)
            wants_stop(f, PAUSE_MS);
        else
            status = event_file_submit(f->file, f->p, f->media_root, &err);
    }
    health_stop(HEALTH_SOURCE);
    end(f, status, &err);
    return NULL;
}

static int file_start(struct source *src, struct err *err)
{
    struct file_source *f = (struct file_source *)src;
    int status = event_file_begin(f->file, f->p, err);
    if (status != ERR_OK)
        return status;
    int code = pthread_create(&f->thread, NULL, file_main, f);
    if (code)
        return err_retry(err, EX_OSERR, "file source: start its thread: %s", strerror(code));
    f->started = true;
    return ERR_OK;
}

static void file_stop(struct source *src)
{
    struct file_source *f = (struct file_source *)src;
    if (!f->started)
        return;
    wake_set(f->stop_fd);
    pthread_join(f->thread, NULL);
    f->started = false;
}

static void file_status(struct source *src, struct source_status *ret_status)
{
    struct file_source *f = (struct file_source *)src;
    pthread_mutex_lock(&f->lock);
    *ret_status = f->status;
    pthread_mutex_unlock(&f->lock);
}

static void file_close(struct source *src)
{
    struct file_source *f = (struct file_source *)src;
    file_stop(src);
    event_file_close(f->file, f->p);
    if (f->stop_fd >= 0)
        close(f->stop_fd);
    free(f->media_root);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

static const struct source_ops file_ops = {
    .name = "file",
    .start = file_start,
    .stop = file_stop,
    .status = file_status,
    .close = file_close,
};

static int prepare(struct file_source *f, const char *media_root, struct err *err)
{
    int status = wake_open("file source", &f->stop_fd, err);
    if (status != ERR_OK)
        return status;
    f->media_root = media_root ? strdup(media_root) : NULL;
    return media_root && !f->media_root ? err_oom(err, "file source") : ERR_OK;
}

int file_source_open(int fd, const char *media_root, struct pipeline *p,
                     bool (*go_on)(void *ctx), void *ctx, struct source **ret_src,
                     struct err *err)
{
    struct file_source *f = calloc(1, sizeof(*f));
    if (!f)
        return err_oom(err, "file source");
    f->source.ops = &file_ops;
    f->p = p;
    f->status = (struct source_status){.connected = true, .n_partitions = 1, .lag_records = -1};
    pthread_mutex_init(&f->lock, NULL);
    int status = prepare(f, media_root, err);
    if (status == ERR_OK)
        status = event_file_adopt(fd, go_on, ctx, &f->file, err);
    if (status != ERR_OK) {
        file_close(&f->source);
        return status;
    }
    *ret_src = &f->source;
    return ERR_OK;
}

const struct event_file *file_source_file(const struct source *src)
{
    return ((const struct file_source *)(const void *)src)->file;
}
