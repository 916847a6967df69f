#ifndef MMF_DAEMON_SERVICE_NOTIFY_H
#define MMF_DAEMON_SERVICE_NOTIFY_H

/* What the service manager hears (sd_notify(3)). Without $NOTIFY_SOCKET every call is a no-op,
 * so the daemon runs the same from a terminal. Main thread only. */

#include <stdint.h>

void notify_ready(void);
/* RELOADING=1 with MONOTONIC_USEC; followed by notify_ready when the reload is over. */
void notify_reloading(void);
void notify_stopping(void);
/* STATUS=text, sent only when it differs from the last one. */
void notify_status(const char *text);
void notify_watchdog(void);
/* How often WATCHDOG=1 is due at most, half of WatchdogSec; 0 = no watchdog. */
int64_t notify_watchdog_us(void);

#endif
