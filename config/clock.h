#ifndef MMF_CONFIG_CLOCK_H
#define MMF_CONFIG_CLOCK_H

/* Time, injectable by tests. Deadlines and timers use the monotonic clock, so that a jump of
 * the wall clock neither trips a watchdog nor sticks a timer. */

#include <stdint.h>

#define CLOCK_HOUR_US INT64_C(3600000000)
#define CLOCK_DAY_US  (24 * CLOCK_HOUR_US)

struct clock_source {
    int64_t (*real_us)(void); /* microseconds since 1970-01-01T00:00:00Z */
    int64_t (*mono_us)(void); /* microseconds, never backwards */
};

int64_t clock_real_us(void);
int64_t clock_mono_us(void);
/* Times since 1970 as others write them say their unit by their size: in the years that matter, seconds are
 * below 1e11, milliseconds below 1e14. Returns the unit in us. */
int64_t clock_unit_us(double time);
/* Tests only; NULL puts the system's clocks back. */
void clock_inject(const struct clock_source *source);

#endif
