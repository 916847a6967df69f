#ifndef MMF_CONFIG_LOG_LIMIT_H
#define MMF_CONFIG_LOG_LIMIT_H

/* Lines of the log that an input can cause as often as it likes: of each kind the first five within a
 * minute are written, the others are counted, and one line a minute says how many they were.
 *
 *     if (log_limit(LOG_LEVEL_WARNING, "dead letters with reason", reason, "%s/%d@%lld", …))
 *         log_warning("…");
 *     → "49995 more dead letters with reason bad_json in the last 60 s; the last was videos/0@49999"
 *
 * A kind is `what`, a string constant, and `word`. There is room for 64 kinds within a minute; what
 * comes beyond them shares one. Thread-safe; by the monotonic clock of clock.h. */

#include "config/log.h"

#include <stdbool.h>

#define LOG_LIMIT_FIRST    5
#define LOG_LIMIT_WINDOW_S 60

/* Whether the caller is to write its line; otherwise it is counted, and fmt names it as the last. */
bool log_limit(enum log_level level, const char *what, const char *word, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Writes the counts of the minutes that are over; to be called every few seconds. */
void log_limit_tick(void);
/* Writes what has been counted so far and forgets it: the end, or a test's beginning. */
void log_limit_flush(void);

#endif
