#include "daemon/base/steady.h"

#include "config/clock.h"
#include "config/text.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

static struct {
    pthread_mutex_t lock;
    bool known, seen;
    int64_t offset_us; /* of the second clock against the monotonic one */
    int64_t seen_us,
        since_us; /* the wall clock's, and since when, monotonic, it has been that */
} s = {.lock = PTHREAD_MUTEX_INITIALIZER};

void steady_begin(int64_t noted_us)
{
    pthread_mutex_lock(&s.lock);
    s.known = noted_us > 0;
    s.offset_us = noted_us - clock_mono_us();
    s.seen = false;
    pthread_mutex_unlock(&s.lock);
}

/* With the lock held. */
static void follow(int64_t wall_us, int64_t mono_us)
{
    int64_t offset_us = wall_us - mono_us;

    if (!s.seen || llabs(offset_us - s.seen_us) > STEADY_DRIFT_US) {
        s.seen = true;
    } else if (mono_us - s.since_us >= CLOCK_HOUR_US) {
        s.known = true;
        s.offset_us = offset_us;
    } else {
        return;
    }
    s.seen_us = offset_us;
    s.since_us = mono_us;
}

struct steady steady_look(void)
{
    struct steady look = {.now_us = INT64_MIN};

    pthread_mutex_lock(&s.lock);
    int64_t wall_us = clock_real_us(), mono_us = clock_mono_us();
    follow(wall_us, mono_us);
    look.known = s.known;
    look.settle_us = s.since_us + CLOCK_HOUR_US - mono_us;
    if (s.known) {
        look.noted_us = mono_us + s.offset_us;
        look.ahead_us = wall_us - look.noted_us;
        look.now_us = look.ahead_us > 0 ? look.noted_us : wall_us;
    }
    pthread_mutex_unlock(&s.lock);
    return look;
}

int64_t steady_now_us(void)
{
    return steady_look().now_us;
}

int64_t steady_stamp_us(void)
{
    struct steady look = steady_look();

    return look.known && look.ahead_us <= -CLOCK_DAY_US ? look.noted_us : clock_real_us();
}

void steady_wait(char *ret_text, size_t bytes)
{
    struct steady look = steady_look();
    int64_t minutes = (look.settle_us + 59999999) / 60000000;

    if (!look.known)
        text_format(ret_text, bytes,
                    "no clock has been right here for an hour yet; this one is believed in "
                    "%" PRId64 " min",
                    minutes);
    else if (look.ahead_us >= CLOCK_DAY_US)
        text_format(ret_text, bytes,
                    "the clock jumped ahead by %" PRId64 " days; it is believed in %" PRId64
                    " min",
                    look.ahead_us / CLOCK_DAY_US, minutes);
    else
        ret_text[0] = '\0';
}
