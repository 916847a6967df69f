#ifndef MMF_DAEMON_EVENT_RFC3339_H
#define MMF_DAEMON_EVENT_RFC3339_H

/* Timestamps of RFC 3339: "2026-01-02T03:04:05.25+01:00". The zone is required; digits past the
 * microsecond are cut off; second 60 (a leap second) is the next minute's second 0. */

#include <stdbool.h>
#include <stdint.h>

/* False when the text is no such timestamp or a field is out of range (years 1 … 9999). */
bool rfc3339_parse(const char *text, int64_t *ret_us);

#endif
