#include "daemon/pipeline/standstill.h"

#include "config/log.h"
#include "daemon/base/health.h"

#include <stddef.h>

static const char *const waits[] = {
    [STANDSTILL_NONE] = NULL,
    [STANDSTILL_WORKERS] = "no worker can be started",
    [STANDSTILL_MEDIA] = "media does not open",
};

static enum standstill find(const struct pool *pool, const struct fetching *f,
                            struct err *ret_why)
{
    if (pool_is_down(pool, ret_why))
        return STANDSTILL_WORKERS;
    return fetching_n_slow(f) == FETCH_THREADS ? STANDSTILL_MEDIA : STANDSTILL_NONE;
}

int standstill_look(enum standstill *told, const struct pool *pool, const struct fetching *f,
                    struct err *err)
{
    struct err why = {0};
    enum standstill now = find(pool, f, &why);
    if (why.status == ERR_FATAL) {
        *err = why;
        return ERR_FATAL;
    }
    if (now == *told)
        return ERR_OK;
    if (now == STANDSTILL_WORKERS)
        log_error(
            "no worker can be started: %s: nothing is lost; tried again every few seconds",
            why.text);
    else if (now == STANDSTILL_MEDIA)
        log_error(
            "%d media have not opened for %d s, and no more are tried meanwhile: events wait, "
            "nothing is lost",
            FETCH_THREADS, FETCHING_SLOW_MS / 1000);
    else
        log_notice("items go on: no more \"%s\"", waits[*told]);
    health_wait(HEALTH_EXTRACT, waits[now]);
    *told = now;
    return ERR_OK;
}
