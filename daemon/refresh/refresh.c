/* What others see of the thread (thread.c): it is woken, asked and ended. */

#include "daemon/refresh/refresh.h"

#include "config/clock.h"
#include "daemon/refresh/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

enum { PAGES = 64 << 20 }; /* bytes of the reader's page cache */

void refresh_wake(struct refresh *r)
{
    pthread_mutex_lock(&r->lock);
    r->woken = true;
    r->at_rest = false;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

bool refresh_drain(struct refresh *r, int64_t timeout_ms)
{
    int64_t until_us = clock_mono_us() + timeout_ms * 1000;
    struct timespec until = {.tv_sec = until_us / 1000000,
                             .tv_nsec = until_us % 1000000 * 1000};

    refresh_wake(r);
    pthread_mutex_lock(&r->lock);
    while (!r->at_rest && clock_mono_us() < until_us)
        pthread_cond_timedwait(&r->idle, &r->lock, &until);
    bool done = r->at_rest;
    pthread_mutex_unlock(&r->lock);
    return done;
}

void refresh_reload(struct refresh *r, const struct settings *s)
{
    atomic_store(&r->settings, s);
}

void refresh_status(struct refresh *r, struct refresh_status *ret_status)
{
    pthread_mutex_lock(&r->lock);
    *ret_status = r->status;
    if (r->oldest_ms > 0)
        ret_status->staleness_s = (double)clock_real_us() / 1e6 - r->oldest_ms / 1e3;
    pthread_mutex_unlock(&r->lock);
    if (ret_status->staleness_s < 0) /* the wall clock was set back */
        ret_status->staleness_s = 0;
}

/* ---- opening and closing -------------------------------------------------------------------- */

static void refresh_free(struct refresh *r)
{
    refresh_world_done(r->world);
    free(r->world);
    store_close(r->reader);
    refresh_neighbours_done(&r->pass.neighbours);
    free(r->pass.vec);
    pthread_cond_destroy(&r->wake);
    pthread_cond_destroy(&r->idle);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

int refresh_open(const struct refresh_options *options, struct refresh **ret_r, struct err *err)
{
    struct refresh *r = calloc(1, sizeof(*r));
    pthread_condattr_t monotonic;

    if (!r)
        return err_oom(err, "refresh");
    r->o = *options;
    atomic_init(&r->settings, options->settings);
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&r->wake, &monotonic);
    pthread_cond_init(&r->idle, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int status = store_open(options->settings->store.path, STORE_READ, &r->reader, err);
    if (status == ERR_OK)
        status = store_keep_pages(r->reader, PAGES, err);
    if (status == ERR_OK) {
        int code = pthread_create(&r->thread, NULL, refresh_thread, r);
        if (code)
            status = err_retry(err, EX_OSERR, "refresh: start its thread: %s", strerror(code));
    }
    if (status != ERR_OK) {
        refresh_free(r);
        return status;
    }
    *ret_r = r;
    return ERR_OK;
}

void refresh_close(struct refresh *r)
{
    if (!r)
        return;
    atomic_store(&r->stopping, true);
    refresh_wake(r);
    pthread_join(r->thread, NULL);
    refresh_free(r);
}
