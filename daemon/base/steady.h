#ifndef MMF_DAEMON_BASE_STEADY_H
#define MMF_DAEMON_BASE_STEADY_H

/* The time by which what is old may be removed for good. The wall clock alone is not enough: a machine may
 * start with a wrong one, and a wrong one may be set while it runs. So there is a second clock, which was
 * right once and has gone on by monotonic time since, and the earlier of the two is taken:
 *
 *   the wall clock jumps ahead   nothing is older than it was; what grows old goes all the same
 *   it goes back                 nothing is older than the wall clock says
 *   it stays an hour where it is the second clock is set by it
 *
 * The hour is one of monotonic time, in which the wall clock did not move against it by more than
 * STEADY_DRIFT_US; two looks that far apart are enough. The second clock outlives a restart: the caller
 * keeps noted_us (store_put_clock) and begins with it; the time in between is made up after an hour.
 *
 * Thread: any. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STEADY_DRIFT_US INT64_C(600000000)

struct steady {
    bool known;        /* false: the second clock has never been set */
    int64_t now_us;    /* the earlier of the two; INT64_MIN when not known */
    int64_t noted_us;  /* the second clock, to begin with after a restart; 0 when not known */
    int64_t ahead_us;  /* the wall clock is ahead of it; below 0: behind */
    int64_t settle_us; /* until it is set by the wall clock, if that goes on as it does */
};

/* From now on the second clock goes on from this time, 0 = it is not known yet. */
void steady_begin(int64_t noted_us);
/* A look at both clocks. */
struct steady steady_look(void);
/* INT64_MIN while it is not known: nothing is old then. */
int64_t steady_now_us(void);
/* For what is removed by its age later: the wall clock, unless it is a day or more behind the second one, as after
 * a start without a battery. What was stamped 1970 would be gone as soon as the time is right. */
int64_t steady_stamp_us(void);
/* Why what is old waits: "the clock jumped ahead by 730 days; it is believed in 58 min". "" while nothing
 * waits: a jump of less than a day goes without a word. */
void steady_wait(char *ret_text, size_t bytes);

#endif
