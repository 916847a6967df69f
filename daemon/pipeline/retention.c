#include "daemon/pipeline/retention.h"

#include "config/clock.h"
#include "config/log.h"
#include "config/text.h"
#include "daemon/base/metrics.h"
#include "daemon/base/steady.h"
#include "store/models.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROWS = 500, EVERY_MS = 60000 };

#define NOTE_EVERY_US INT64_C(600000000)

/* ---- the second clock ----------------------------------------------------------------------- */

/* A store without a model: its active one is the first thing that the daemon writes. */
static int is_new(struct store *st, bool *ret_new, struct err *err)
{
    struct store_model m = {0};
    int status = store_model_active(st, &m, err);

    store_model_done(&m);
    *ret_new = status == ERR_NONE;
    return status == ERR_NONE ? ERR_OK : status;
}

int retention_begin(struct store *st, struct err *err)
{
    int64_t noted_us = 0;
    bool fresh = false;

    int status = store_clock(st, &noted_us, err);
    if (status == ERR_OK && noted_us == 0)
        status = is_new(st, &fresh, err);
    if (status == ERR_OK && fresh) {
        noted_us = clock_real_us();
        status = store_put_clock(st, noted_us, err);
    }
    if (status == ERR_OK)
        steady_begin(noted_us);
    return status;
}

static void note(struct retention *r, struct store *st, const struct steady *now)
{
    struct err err;

    if (!now->known || llabs(now->noted_us - r->noted_us) < NOTE_EVERY_US)
        return;
    if (store_put_clock(st, now->noted_us, &err) == ERR_OK)
        r->noted_us = now->noted_us;
    else
        log_warning("retention: %s", err.text);
}

static void tell_wait(struct retention *r)
{
    char why[128];

    steady_wait(why, sizeof(why));
    if (why[0] && !r->waits)
        log_warning("retention waits: %s", why);
    else if (!why[0] && r->waits)
        log_notice("retention goes on");
    r->waits = why[0] != '\0';
}

/* ---- what has gone -------------------------------------------------------------------------- */

/* "; interactions older than 2026-05-01 12:00:00 UTC" */
static size_t append_age(char *text, size_t bytes, int64_t n, int64_t days, int64_t now_us,
                         const char *what)
{
    time_t at = (time_t)((now_us - days * CLOCK_DAY_US) / 1000000);
    char when[32] = "";
    struct tm utc;

    if (n == 0)
        return 0;
    (void)strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", gmtime_r(&at, &utc));
    int written = snprintf(text, bytes, "%" PRId64 " %s older than %s UTC, ", n, what, when);
    return written > 0 ? (size_t)written : 0;
}

static size_t append_count(char *text, size_t bytes, int64_t n, const char *what)
{
    int written = n ? snprintf(text, bytes, "%" PRId64 " %s, ", n, what) : 0;

    return written > 0 ? (size_t)written : 0;
}

static void tell(struct retention *r)
{
    char text[512];
    size_t n = 0;

    n += append_age(text + n, sizeof(text) - n, r->removed[STORE_RETAINED_INTERACTIONS],
                    r->days[0], r->now_us, "interactions");
    n += append_age(text + n, sizeof(text) - n, r->removed[STORE_RETAINED_DEAD_LETTERS],
                    r->days[1], r->now_us, "dead letters");
    n += append_count(text + n, sizeof(text) - n, r->removed[STORE_RETAINED_VECTORS],
                      "vectors and neighbours of models that are given up");
    n += append_count(text + n, sizeof(text) - n, r->removed[STORE_RETAINED_TRAININGS],
                      "lists of pairs that such a model was trained on");
    if (n == 0)
        return;
    text[n - 2] = '\0'; /* the last comma */
    log_info("retention: removed %s", text);
    memset(r->removed, 0, sizeof(r->removed));
    r->told_us = clock_mono_us();
}

static void count(struct retention *r, const int64_t removed[STORE_RETAINED])
{
    static const enum metrics_retained kinds[STORE_RETAINED] = {
        [STORE_RETAINED_INTERACTIONS] = METRICS_RETAINED_INTERACTIONS,
        [STORE_RETAINED_DEAD_LETTERS] = METRICS_RETAINED_DEAD_LETTERS,
        [STORE_RETAINED_VECTORS] = METRICS_RETAINED_VECTORS,
        [STORE_RETAINED_TRAININGS] = METRICS_RETAINED_TRAININGS};

    for (int i = 0; i < STORE_RETAINED; i++) {
        metrics_retained(kinds[i], (uint64_t)removed[i]);
        r->removed[i] += removed[i];
    }
}

/* ---- a run ---------------------------------------------------------------------------------- */

void retention_run(struct retention *r, struct store *st, const struct settings *s)
{
    if (clock_mono_us() < r->due_us)
        return;
    struct steady now = steady_look();
    int64_t removed[STORE_RETAINED] = {0};
    struct store_retention keep = {now.known ? s->store.keep_interactions_days : 0,
                                   now.known ? s->store.keep_dead_letters_days : 0,
                                   s->store.keep_model_versions, removed};
    struct err err;
    bool more = false;
    tell_wait(r);
    if (store_retain(st, &keep, now.now_us, ROWS, &more, &err) != ERR_OK)
        log_warning("retention: %s", err.text);
    count(r, removed);
    r->days[0] = keep.interactions_days;
    r->days[1] = keep.dead_letters_days;
    r->now_us = now.now_us;
    if (!more && (r->told_us == 0 || clock_mono_us() >= r->told_us + CLOCK_HOUR_US))
        tell(r);
    note(r, st, &now);
    r->due_us = clock_mono_us() + (more ? 0 : (int64_t)EVERY_MS * 1000);
}

void retention_end(struct retention *r)
{
    tell(r);
}
