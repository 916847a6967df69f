#include "config/clock.h"

#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

static _Atomic(const struct clock_source *) injected;

/* clock_gettime cannot fail for these two clocks: both always exist on Linux. */
static int64_t read_us(clockid_t id)
{
    struct timespec ts = {0};

    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clock_real_us(void)
{
    const struct clock_source *source = atomic_load(&injected);

    return source != NULL ? source->real_us() : read_us(CLOCK_REALTIME);
}

int64_t clock_mono_us(void)
{
    const struct clock_source *source = atomic_load(&injected);

    return source != NULL ? source->mono_us() : read_us(CLOCK_MONOTONIC);
}

void clock_inject(const struct clock_source *source)
{
    atomic_store(&injected, source);
}

int64_t clock_unit_us(double time)
{
    double size = time < 0 ? -time : time;

    return size < 1e11 ? 1000000 : size < 1e14 ? 1000 : 1;
}
