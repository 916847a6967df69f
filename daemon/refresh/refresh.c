/* The thread: when there is a pass, and with which model. */

#include "daemon/refresh/refresh.h"

#include "config/clock.h"
#include "config/log.h"
#include "daemon/refresh/internal.h"
#include "daemon/refresh/rebase.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

enum {
    LOOK_MS = 1000, /* without a wake: another model may be active */
    NICE = 10,
    PAGES = 64 << 20, /* bytes of the reader's page cache */
};

/* ---- one turn -------------------------------------------------------------------------------- */

static void free_world(struct refresh_world *w)
{
    if (w)
        refresh_world_done(w);
    free(w);
}

static int take_over(struct refresh *r, struct refresh_world *w, struct active_model *newer,
                     struct err *err)
{
    size_t D = (size_t)model_shape(newer->model)->D;
    float *vec = malloc(REFRESH_BATCH * D * sizeof(*vec));
    int status = vec ? refresh_world_open(w, r->reader, refresh_settings(r), newer, err)
                     : err_oom(err, "refresh: a pass");

    if (status != ERR_OK) { /* the old world goes on, should its model be active again */
        free(vec);
        return status;
    }
    free(r->pass.vec);
    r->pass.vec = vec;
    free_world(r->world);
    r->world = w;
    r->known.model_id = w->active.model_id;
    r->n_spread = 0;
    r->rebased = false;
    return ERR_OK;
}

/* Another model since the last turn: a world of its own. */
static int follow_model(struct refresh *r, struct err *err)
{
    struct active_model newer = {0};
    int status = active_model_newer(&r->known, r->reader, refresh_settings(r), &newer, err);

    if (status != ERR_OK)
        return status == ERR_END ? ERR_OK : status;
    struct refresh_world *w = calloc(1, sizeof(*w));
    if (w)
        w->stopping = &r->stopping;
    status = w ? take_over(r, w, &newer, err) : err_oom(err, "refresh");
    if (status != ERR_OK) {
        active_model_done(&newer);
        free(w);
    }
    return status;
}

static int turn(struct refresh *r, struct err *err)
{
    int status = follow_model(r, err);

    if (status != ERR_OK || !r->world)
        return status;
    if (!r->rebased)
        status = refresh_rebase(r->world, &r->o, err);
    r->rebased = status == ERR_OK;
    return status == ERR_OK ? refresh_run_pass(r, err) : status;
}

/* ---- pace ---------------------------------------------------------------------------------- */

/* Whether something waits. */
static bool publish_status(struct refresh *r)
{
    struct store_backlog backlog = {0};

    if (store_touch_backlog(r->reader, &backlog, NULL) != ERR_OK)
        return true;
    pthread_mutex_lock(&r->lock);
    r->sums.n_touches = backlog.n_touches;
    r->status = r->sums;
    r->oldest_ms = backlog.oldest_ms;
    pthread_mutex_unlock(&r->lock);
    return backlog.n_touches > 0 || r->n_spread > 0;
}

/* Until then, or until `or_wake` and somebody wakes, or the end. */
static void wait_until(struct refresh *r, int64_t until_us, bool or_wake)
{
    struct timespec until = {.tv_sec = until_us / 1000000,
                             .tv_nsec = until_us % 1000000 * 1000};

    pthread_mutex_lock(&r->lock);
    while (!atomic_load(&r->stopping) && !(or_wake && r->woken) && clock_mono_us() < until_us)
        pthread_cond_timedwait(&r->wake, &r->lock, &until);
    pthread_mutex_unlock(&r->lock);
}

static void rest(struct refresh *r)
{
    pthread_mutex_lock(&r->lock);
    r->at_rest = !r->woken;
    if (r->at_rest)
        pthread_cond_broadcast(&r->idle);
    pthread_mutex_unlock(&r->lock);
    wait_until(r, clock_mono_us() + LOOK_MS * 1000, true);
}

static void tell(struct refresh *r, int status, const struct err *err)
{
    if (status != ERR_OK && !r->told)
        log_warning("refresh: %s: tried again every %lld ms", err->text,
                    (long long)refresh_settings(r)->store.retry_ms);
    else if (status == ERR_OK && r->told)
        log_notice("refresh: goes on");
    r->told = status != ERR_OK;
}

static void one_turn(struct refresh *r)
{
    const struct settings *s = refresh_settings(r);
    int64_t start_us = clock_mono_us();
    struct err err;

    pthread_mutex_lock(&r->lock);
    r->woken = r->at_rest = false;
    pthread_mutex_unlock(&r->lock);
    r->pass.n = 0;
    int status = turn(r, &err);
    tell(r, status, &err);
    bool more = publish_status(r);
    if (status != ERR_OK) {
        wait_until(r, start_us + s->store.retry_ms * 1000, false);
        return;
    }
    int64_t pause_us = (int64_t)r->pass.n * 1000000 / s->refresh.rate;
    if (pause_us < s->refresh.interval_ms * 1000)
        pause_us = s->refresh.interval_ms * 1000;
    if (r->pass.n)
        r->next_us = start_us + pause_us;
    if (!more)
        rest(r);
    wait_until(r, r->next_us, false);
}

static void *refresh_main(void *arg)
{
    struct refresh *r = arg;

    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
    while (!atomic_load(&r->stopping))
        one_turn(r);
    return NULL;
}

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
    free_world(r->world);
    store_close(r->reader);
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
        int code = pthread_create(&r->thread, NULL, refresh_main, r);
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
