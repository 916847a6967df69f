#ifndef MMF_DAEMON_EVENT_KIND_H
#define MMF_DAEMON_EVENT_KIND_H

/* What an event is: event.h has the rules. */

#include "config/err.h"
#include "daemon/event/envelope.h"
#include "daemon/event/item.h"
#include "daemon/event/rules.h"

/* ERR_SKIP bad_schema when the event says nothing, or too much, or contradicts where it comes from, or
 * would erase what it does not name. */
int event_kind(const struct event_rules *rules, enum item_role role, const struct envelope *e,
               const struct event_fields *f, enum item_kind *ret_kind, struct err *err);
/* What a type means: a name of the site's own, one of the five, or one of these after a prefix and a
 * dot. False when it is none. */
bool event_kind_of_type(const struct event_rules *rules, const char *type,
                        enum item_kind *ret_kind);

#endif
