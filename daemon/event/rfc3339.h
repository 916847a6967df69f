#ifndef MMF_DAEMON_EVENT_RFC3339_H
#define MMF_DAEMON_EVENT_RFC3339_H

/* Timestamps of RFC 3339: "2026-01-02T03:04:05.25+01:00". Digits past the microsecond are cut off; second
 * 60 (a leap second) is the next minute's second 0. More lenient than the RFC as databases print them:
 * a blank for the T, a zone without its colon or minutes, or none, which is taken for UTC. */

#include <stdbool.h>
#include <stdint.h>

/* False when the text is no such timestamp or a field is out of range (years 1 … 9999). */
bool rfc3339_parse(const char *text, int64_t *ret_us, bool *ret_has_zone);

#endif
