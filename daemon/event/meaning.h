#ifndef MMF_DAEMON_EVENT_MEANING_H
#define MMF_DAEMON_EVENT_MEANING_H

/* From an event's fields to the item: names, types and bounds (event.h). Knows no wire format. */

#include "daemon/event/envelope.h"

/* ERR_SKIP bad_schema: names the field and what was expected; the item may be half filled. */
int meaning_read(struct item *item, const struct envelope *e, struct err *err);
int meaning_read_tags(struct item *item, struct field tags, struct err *err);

#endif
