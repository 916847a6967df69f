#ifndef MMF_DAEMON_EVENT_JSON_H
#define MMF_DAEMON_EVENT_JSON_H

/* The wire format JSON (RFC 8259). Duplicate keys are refused: what counts would be a guess. */

#include "daemon/event/field.h"

/* takes_text: the root may be a text, a number, a truth value or null as well. ERR_SKIP bad_json with line
 * and column; ERR_RETRY when memory is out. d->close ends it. */
int json_document_open(const void *bytes, size_t n_bytes, bool takes_text,
                       struct document *ret_d, struct err *err);

#endif
