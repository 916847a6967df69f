#ifndef MMF_DAEMON_EVENT_ENVELOPE_H
#define MMF_DAEMON_EVENT_ENVELOPE_H

/* What is around an event's fields: nothing (bare), CloudEvents 1.0 structured or binary, a change of
 * Debezium's, or what its outbox event router sends (event.h). */

#include "daemon/event/field.h"
#include "daemon/event/item.h"
#include "daemon/event/rules.h"

enum envelope_change {
    ENVELOPE_NONE, /* the envelope does not say */
    ENVELOPE_CREATED,
    ENVELOPE_UPDATED,
    ENVELOPE_DELETED
};

struct envelope {
    const char *type; /* NULL = none */
    enum envelope_change change;
    struct field time; /* the envelope's own; FIELD_ABSENT = none */
    struct field row;  /* FIELD_OBJECT: where the fields are; FIELD_ABSENT: only a key says what
                        * is deleted */
    struct document inner; /* when the row was a text */
};

/* root: the value as its wire format gives it. ERR_SKIP bad_schema. */
int envelope_open(const struct event_rules *rules, struct item *item, struct field root,
                  struct envelope *ret_e, struct err *err);
void envelope_close(struct envelope *e);
/* {"schema": …, "payload": …} of Kafka Connect's JsonConverter → the payload; anything else as it is. */
struct field envelope_payload(struct field root);

/* Names as HTTP's, whatever their case; NULL when there is none. */
const struct item_header *envelope_header(const struct item *item, const char *name);
/* Its text in the arena; NULL when it is absent, empty, longer than an id, or holds a NUL. */
const char *envelope_header_text(struct item *item, const char *name);

#endif
