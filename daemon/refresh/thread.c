/* The thread: when there is a pass, and with which model. */

#include "config/clock.h"
#include "config/log.h"
#include "daemon/refresh/internal.h"
#include "daemon/refresh/rebase.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    LOOK_MS = 1000, /* without a wake: another model may be active */
    NICE = 10,
};

/* ---- one turn -------------------------------------------------------------------------------- */

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
    refresh_world_done(r->world);
    free(r->world);
    r->world = w;
    r->known.model_id = r->known.active_id = w->active.model_id;
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
        return status == ERR_NONE ? ERR_OK : status;
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

/* ERR_NONE: there is none to refresh for, as long as no other model is activated. */
static int turn(struct refresh *r, struct err *err)
{
    int status = follow_model(r, err);

    if (status != ERR_OK)
        return status;
    if (!r->world || r->world->active.model_id != r->known.active_id)
        return ERR_NONE;
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
    if (status == ERR_NONE)
        return;
    if (status == ERR_FATAL && r->known.refused_id)
        log_warning("refresh: %s: nothing is made anew until another model is active",
                    err->text);
    else if (status != ERR_OK && !r->told)
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

void *refresh_thread(void *arg)
{
    struct refresh *r = arg;

    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
    while (!atomic_load(&r->stopping))
        one_turn(r);
    return NULL;
}
