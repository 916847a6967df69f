/* Real progress of each part (see health.h). One mutex over a few words a part: a tick costs
 * some tens of nanoseconds and happens a few times a second. */
#include "daemon/base/health.h"

#include "config/clock.h"
#include "config/text.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct part {
    bool started;
    int64_t limit_us, ticked_us; /* monotonic */
    char wait[192];
};

static const char *const names[HEALTH_PARTS] = {"source", "extract", "sink", "trainer"};
static struct part parts[HEALTH_PARTS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void health_start(enum health_part part, int64_t limit_ms)
{
    pthread_mutex_lock(&mutex);
    parts[part] = (struct part){
        .started = true, .limit_us = limit_ms * 1000, .ticked_us = clock_mono_us()};
    pthread_mutex_unlock(&mutex);
}

void health_stop(enum health_part part)
{
    pthread_mutex_lock(&mutex);
    parts[part] = (struct part){.started = false};
    pthread_mutex_unlock(&mutex);
}

void health_tick(enum health_part part)
{
    pthread_mutex_lock(&mutex);
    parts[part].ticked_us = clock_mono_us();
    pthread_mutex_unlock(&mutex);
}

void health_wait(enum health_part part, const char *why)
{
    pthread_mutex_lock(&mutex);
    text_format(parts[part].wait, sizeof(parts[part].wait), "%s", why ? why : "");
    pthread_mutex_unlock(&mutex);
}

bool health_ok(char *ret_why, size_t why_bytes)
{
    int64_t now_us = clock_mono_us();
    bool ok = true;

    pthread_mutex_lock(&mutex);
    for (int i = 0; i < HEALTH_PARTS && ok; i++) {
        int64_t silent_us = now_us - parts[i].ticked_us;

        ok = !parts[i].started || silent_us <= parts[i].limit_us;
        if (!ok)
            snprintf(ret_why, why_bytes,
                     "%s has made no progress for %" PRId64 " ms (limit %" PRId64 " ms)",
                     names[i], silent_us / 1000, parts[i].limit_us / 1000);
    }
    pthread_mutex_unlock(&mutex);
    return ok;
}

void health_waits(char *ret_text, size_t bytes)
{
    char all[HEALTH_PARTS * (sizeof(parts[0].wait) + 2)] = "";
    char *end = all;

    if (bytes == 0)
        return;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < HEALTH_PARTS; i++) {
        if (!parts[i].started || !parts[i].wait[0])
            continue;
        if (end > all)
            end = stpcpy(end, "; ");
        end = stpcpy(end, parts[i].wait);
    }
    pthread_mutex_unlock(&mutex);
    text_format(ret_text, bytes, "%s", all);
}
