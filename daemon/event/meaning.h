#ifndef MMF_DAEMON_EVENT_MEANING_H
#define MMF_DAEMON_EVENT_MEANING_H

/* From an event's fields to the item: names, types and bounds (event.h). Knows no wire format. */

#include "daemon/event/envelope.h"
#include "daemon/event/rules.h"

/* ERR_SKIP bad_schema: names the field and what was expected; the item may be half filled. */
int meaning_read(const struct event_rules *rules, struct item *item, const struct envelope *e,
                 struct err *err);
int meaning_read_tags(struct item *item, struct field tags, struct err *err);
/* A text of 1 to 256 bytes without control characters, or a whole number, which becomes its decimal
 * digits. An id in which characters were replaced is refused: two such ids may have become one. */
int meaning_read_id(struct item *item, struct field f, const char *name, const char **ret_id,
                    struct err *err);

#endif
