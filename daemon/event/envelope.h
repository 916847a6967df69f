#ifndef MMF_DAEMON_EVENT_ENVELOPE_H
#define MMF_DAEMON_EVENT_ENVELOPE_H

/* What is around an event's fields: bare, or CloudEvents 1.0 structured or binary (event.h). */

#include "daemon/event/field.h"
#include "daemon/event/item.h"

struct envelope {
    const char *type;  /* NULL = the role tells, or the fields (bare form) */
    const char *time;  /* CloudEvents' own, NULL = none */
    struct field data; /* FIELD_OBJECT: the event's fields */
};

/* root: the value as its wire format gives it. ERR_SKIP bad_schema. */
int envelope_open(struct item *item, struct field root, struct envelope *ret_e,
                  struct err *err);

/* Names as HTTP's, whatever their case; NULL when there is none. */
const struct item_header *envelope_header(const struct item *item, const char *name);
bool envelope_header_is(const struct item_header *header, const char *text); /* takes NULL */

#endif
