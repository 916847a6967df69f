#include "daemon/pipeline/erasure.h"

#include "config/clock.h"
#include "config/log.h"
#include "daemon/model/forget.h"

enum { AGAIN_US = 60000000, WIPE_AGAIN_US = 1000000, REST = 100 };

static bool told(struct erasure *e, int status, const struct err *err)
{
    if (status == ERR_OK)
        return false;
    log_warning("forgetting a user: %s: tried again in a minute", err->text);
    e->due_us = clock_mono_us() + AGAIN_US;
    return true;
}

/* It takes 0.5 s for a million users: so many of its times pass before the next, however many are
 * forgotten. */
static void wipe(struct erasure *e, struct store *st)
{
    int64_t start_us = clock_mono_us();
    bool clean = false;
    struct err err;

    if (e->is_wiped || start_us < e->wipe_due_us || told(e, store_wipe(st, &clean, &err), &err))
        return;
    int64_t now_us = clock_mono_us(), rest_us = REST * (now_us - start_us);
    e->is_wiped = clean;
    e->wipe_due_us = now_us + (rest_us > WIPE_AGAIN_US ? rest_us : WIPE_AGAIN_US);
}

bool erasure_run(struct erasure *e, struct store *st)
{
    bool more = false;
    struct err err;

    if (clock_mono_us() < e->due_us || told(e, forget_piece(st, &more, &err), &err))
        return false;
    if (more)
        e->is_wiped = false;
    else
        wipe(e, st);
    return more;
}
