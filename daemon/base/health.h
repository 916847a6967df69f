#ifndef MMF_DAEMON_BASE_HEALTH_H
#define MMF_DAEMON_BASE_HEALTH_H

/* Real progress of each part, which is what WATCHDOG=1 and /livez depend on. A part ticks when
 * it went round its loop; a part in a known wait (disk full, broker down) says so and is
 * healthy. Monotonic clock; thread-safe. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum health_part { HEALTH_SOURCE, HEALTH_EXTRACT, HEALTH_SINK, HEALTH_TRAINER, HEALTH_PARTS };

void health_start(enum health_part part, int64_t limit_ms); /* from now on it must tick */
void health_stop(enum health_part part);                    /* not running: always healthy */
void health_tick(enum health_part part);
/* In a known wait, e.g. "disk full"; NULL ends it. Still ticks. */
void health_wait(enum health_part part, const char *why);
/* True when every started part ticked within its limit; otherwise ret_why names the first that
 * did not. */
bool health_ok(char *ret_why, size_t why_bytes);
/* The waits now, "; "-joined, "" = none. */
void health_waits(char *ret_text, size_t bytes);

#endif
