#ifndef MMF_DAEMON_EVENT_KIND_H
#define MMF_DAEMON_EVENT_KIND_H

/* What an event is: event.h has the rules. */

#include "config/err.h"
#include "daemon/event/field.h"
#include "daemon/event/item.h"

/* type NULL = the event names none. data: its fields. ERR_SKIP bad_schema when that
 * says nothing, or too much, or would erase what it does not name. */
int event_kind(enum item_role role, const char *type, struct field data,
               enum item_kind *ret_kind, struct err *err);

#endif
